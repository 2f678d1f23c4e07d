/* Weights: what several workers share, loaded once, counted by reference.
 *
 * A `cadre_weights` is an opaque payload with a destructor and a reservation. It is what a preloaded loader shares between its workers, and also what a first
 * step of a chain (a download, an async read) hands to the next. The payload is never destroyed on the loop. */
#ifndef CADRE_WEIGHTS_H
#define CADRE_WEIGHTS_H

#include <cadre/error.h>
#include <cadre/future.h>
#include <cadre/memory.h>

CADRE_BEGIN

typedef struct cadre_weights cadre_weights;
typedef struct cadre_load_context cadre_load_context; /* cadre/worker.h */

typedef struct cadre_weights_value {
    size_t size;
    void *payload;
    void (*destroy)(void *payload); /* the reaper thread, once; may block; may release other weights; NULL: nothing to do */
    const void *type;               /* whose payload it is: an address that only its maker uses, so that others can refuse it; may be NULL */
} cadre_weights_value;
#define CADRE_WEIGHTS_VALUE_INIT                                                                                                                               \
    {                                                                                                                                                          \
        sizeof(cadre_weights_value), NULL, NULL, NULL                                                                                                          \
    }

/* Families: cadre_weights_promise_create / _resolve / _fail / _release, cadre_weights_future_ready / _failed / _release. See cadre/future.h. */
CADRE_FUTURE_TYPE(cadre_weights, cadre_weights_value, CADRE_VALUE_WEIGHTS)

/* Runs on a loader thread and may block: fills *out and returns 0, or a negative error (say why with cadre_load_fail). */
typedef int (*cadre_weights_load_cb)(cadre_load_context *context, void *data, cadre_weights_value *out);

/* Loop thread. Loads weights on a loader thread. `owned` (NULL: charge nothing) is consumed and given back when the payload has been destroyed, or when the
 * load has failed. `release` (may be NULL) runs once with `data`: on the loop after the load, or before a failing return; if the load's thread had to be
 * abandoned, on that thread should it ever return. On 0 *out is owned by the caller. CADRE_EINVAL, CADRE_ENOMEM, CADRE_ECLOSED. */
CADRE_EXTERN int cadre_weights_load_blocking(cadre_pool *pool, cadre_weights_load_cb load, void *data, void (*release)(void *data), cadre_reservation *owned,
                                             cadre_weights_future **out);

/* Loop thread. Hands a reservation to weights that the host loads by its own promise: given back when the payload has been destroyed or the future failed.
 * Consumes `owned` always. CADRE_EINVAL, CADRE_EALREADY: the future has one, or is settled as failed. */
CADRE_EXTERN int cadre_weights_future_charge(cadre_weights_future *future, cadre_reservation *owned);

/* Loop thread, within a load callback or a backend's `fetch`. Reads the files once, one after another, through the loop's own file requests, so that the engine
 * finds them in the page cache; progress in bytes, stage "read"; a cancel is heard after one read. Paths are copied. Resolves to weights without a payload;
 * fails with libuv's error and a detail that names the file. NULL: out of memory. */
CADRE_EXTERN cadre_weights_future *cadre_load_read_files(cadre_load_context *context, const char *const *paths, size_t count);

/* Loop thread. The weights of a resolved future, borrowed; NULL while pending or failed. */
CADRE_EXTERN cadre_weights *cadre_weights_future_get(const cadre_weights_future *future);

/* Any thread. */
CADRE_EXTERN void *cadre_weights_payload(const cadre_weights *weights);
CADRE_EXTERN const void *cadre_weights_type(const cadre_weights *weights);
CADRE_EXTERN cadre_weights *cadre_weights_retain(cadre_weights *weights);
/* The last release has the payload destroyed on the reaper thread (after the pool's close: on this one). NULL is allowed. */
CADRE_EXTERN void cadre_weights_release(cadre_weights *weights);

CADRE_END
#endif
