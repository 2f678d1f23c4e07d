/* Futures and promises: how a loader hands over a model, whenever and on whichever thread it is ready.
 *
 * A future is single-assignment and belongs to the loop thread. Its promise belongs to any thread. The first of resolve, fail, cancel, deadline and
 * "the last promise reference was dropped" settles it; later ones are counted and dropped, and a model that comes too late is destroyed on the pool's reaper
 * thread, never on the loop.
 *
 * The functions below are untyped; CADRE_FUTURE_TYPE at the end makes the typed family of each capability and of weights, which is what hosts use:
 *
 *     cadre_text_embedding_promise *promise;  cadre_text_embedding_future *future;
 *     int rc = cadre_text_embedding_promise_create(pool, &promise, &future);
 *     ... on any thread, once the model is there:
 *     rc = cadre_text_embedding_promise_resolve(promise, &model);
 *     cadre_text_embedding_promise_release(promise);
 */
#ifndef CADRE_FUTURE_H
#define CADRE_FUTURE_H

#include <cadre/platform.h>

CADRE_BEGIN

typedef struct cadre_future cadre_future;   /* loop thread */
typedef struct cadre_promise cadre_promise; /* any thread */

typedef enum cadre_value_type {
    /* 0…4: the model of that cadre_capability */
    CADRE_VALUE_WEIGHTS = 5
} cadre_value_type;

/* How far a piece of long work is. */
typedef struct cadre_progress {
    size_t size;
    double fraction;      /* 0…1, or NaN when unknown */
    uint64_t done_bytes;  /* 0 when bytes are not what is counted */
    uint64_t total_bytes; /* 0 when unknown */
    const char *stage;    /* static storage: "read", "download", …; never NULL */
} cadre_progress;

/* Loop thread. status is 0 or an error; detail says what failed in which step ("" on success) and is valid during the call. */
typedef void (*cadre_future_cb)(cadre_future *future, int status, const char *detail, void *data);
typedef void (*cadre_future_progress_cb)(cadre_future *future, const cadre_progress *progress, void *data); /* loop thread */
typedef void (*cadre_cancel_cb)(void *data);                                                                /* loop thread */

/* ---- loop thread ---- */

/* `future` starts with one reference, the caller's. */
CADRE_EXTERN cadre_future *cadre_future_retain(cadre_future *future);
/* The last release of a pending future cancels it. NULL is allowed. */
CADRE_EXTERN void cadre_future_release(cadre_future *future);

/* CADRE_EAGAIN: pending; 0: resolved; else failed with that error. */
CADRE_EXTERN int cadre_future_status(const cadre_future *future);
/* Why it failed; "" otherwise. Valid until the future is released. */
CADRE_EXTERN const char *cadre_future_detail(const cadre_future *future);

/* cb runs once, never from inside this call, for a settled future too. Any number of waiters; each holds a reference until it has run.
 * CADRE_ENOMEM, CADRE_EINVAL, CADRE_ECLOSED: it will never run. */
CADRE_EXTERN int cadre_future_on_complete(cadre_future *future, cadre_future_cb cb, void *data);
/* One watcher, replaced by the next call; NULL removes it. Reports are coalesced: at most one a turn of the loop. */
CADRE_EXTERN void cadre_future_on_progress(cadre_future *future, cadre_future_progress_cb cb, void *data);

/* Fails a pending future with CADRE_ECANCELED and tells its maker. A settled one is left as it is. */
CADRE_EXTERN void cadre_future_cancel(cadre_future *future);
/* Fails a pending future with CADRE_ETIMEDOUT after ms (from now, replacing an earlier deadline; CADRE_NEVER removes it), and tells its maker. */
CADRE_EXTERN int cadre_future_set_deadline(cadre_future *future, int64_t ms);

/* ---- any thread ---- */

CADRE_EXTERN cadre_promise *cadre_promise_retain(cadre_promise *promise);
/* The last release of an unresolved promise fails its future with CADRE_EABANDONED. NULL is allowed. */
CADRE_EXTERN void cadre_promise_release(cadre_promise *promise);

/* 1 once the future was cancelled, timed out or released by all who waited: the work may stop. */
CADRE_EXTERN int cadre_promise_cancelled(const cadre_promise *promise);
/* `stage` is static storage; fraction NaN when unknown; bytes 0 when not counted. */
CADRE_EXTERN void cadre_promise_progress(cadre_promise *promise, double fraction, uint64_t done_bytes, uint64_t total_bytes, const char *stage);
/* error is negative; detail (copied, may be NULL) reaches everyone who waits. 0, CADRE_EALREADY, CADRE_ECLOSED, CADRE_EINVAL. */
CADRE_EXTERN int cadre_promise_fail(cadre_promise *promise, int error, const char *detail);

/* Loop thread: cb runs once if the future is settled before the promise is (cancel, deadline, close), so that the host can stop its handles and release the
 * promise. One per promise; a future that is settled already runs it on the next turn. The promise stays alive until cb has run or the promise was settled. */
CADRE_EXTERN int cadre_promise_on_cancel(cadre_promise *promise, cadre_cancel_cb cb, void *data);

/* ---- under the typed families ---- */

/* Loop thread. Two handles to one pending value, both owned by the caller. CADRE_ENOMEM, CADRE_ECLOSED, CADRE_EINVAL. */
CADRE_EXTERN int cadre_promise_create(cadre_pool *pool, cadre_value_type type, cadre_promise **promise, cadre_future **future);
/* Any thread. Consumes the value: on 0 it belongs to the future (or, if that is settled already, is destroyed on the reaper); on CADRE_EALREADY it is destroyed
 * on the reaper too. CADRE_ECLOSED (the pool is gone), CADRE_EINVAL (a NULL, or a value whose size or ops are wrong), CADRE_ENOMEM (a second resolve): nothing
 * is consumed, the value is still the caller's. */
CADRE_EXTERN int cadre_promise_resolve(cadre_promise *promise, cadre_value_type type, const void *value);
/* Loop thread. A future that is settled from the start. NULL: out of memory, the value is destroyed on the reaper; or the value is wrong (its size, its ops),
 * and still the caller's. */
CADRE_EXTERN cadre_future *cadre_future_ready(cadre_pool *pool, cadre_value_type type, const void *value);
CADRE_EXTERN cadre_future *cadre_future_failed(cadre_pool *pool, cadre_value_type type, int error, const char *detail);

/* The typed family of one value type: NAME_promise and NAME_future are distinct types, so that a vision model cannot be handed to an embedding loader. */
#define CADRE_FUTURE_TYPE(NAME, VALUE, TYPE)                                                                                                                   \
    typedef struct NAME##_future NAME##_future;                                                                                                                \
    typedef struct NAME##_promise NAME##_promise;                                                                                                              \
    static inline cadre_future *NAME##_future_untyped(const NAME##_future *future)                                                                             \
    {                                                                                                                                                          \
        return (cadre_future *)(uintptr_t)future;                                                                                                              \
    }                                                                                                                                                          \
    static inline cadre_promise *NAME##_promise_untyped(const NAME##_promise *promise)                                                                         \
    {                                                                                                                                                          \
        return (cadre_promise *)(uintptr_t)promise;                                                                                                            \
    }                                                                                                                                                          \
    static inline int NAME##_promise_create(cadre_pool *pool, NAME##_promise **promise, NAME##_future **future)                                                \
    {                                                                                                                                                          \
        cadre_promise *p = NULL;                                                                                                                               \
        cadre_future *f = NULL;                                                                                                                                \
        int rc = cadre_promise_create(pool, (cadre_value_type)(TYPE), promise ? &p : NULL, future ? &f : NULL);                                                \
        if (promise) *promise = (NAME##_promise *)p;                                                                                                           \
        if (future) *future = (NAME##_future *)f;                                                                                                              \
        return rc;                                                                                                                                             \
    }                                                                                                                                                          \
    static inline int NAME##_promise_resolve(NAME##_promise *promise, const VALUE *value)                                                                      \
    {                                                                                                                                                          \
        return cadre_promise_resolve((cadre_promise *)promise, (cadre_value_type)(TYPE), value);                                                               \
    }                                                                                                                                                          \
    static inline int NAME##_promise_fail(NAME##_promise *promise, int error, const char *detail)                                                              \
    {                                                                                                                                                          \
        return cadre_promise_fail((cadre_promise *)promise, error, detail);                                                                                    \
    }                                                                                                                                                          \
    static inline void NAME##_promise_progress(NAME##_promise *promise, double fraction, uint64_t done_bytes, uint64_t total_bytes, const char *stage)         \
    {                                                                                                                                                          \
        cadre_promise_progress((cadre_promise *)promise, fraction, done_bytes, total_bytes, stage);                                                            \
    }                                                                                                                                                          \
    static inline int NAME##_promise_cancelled(const NAME##_promise *promise)                                                                                  \
    {                                                                                                                                                          \
        return cadre_promise_cancelled(NAME##_promise_untyped(promise));                                                                                       \
    }                                                                                                                                                          \
    static inline int NAME##_promise_on_cancel(NAME##_promise *promise, cadre_cancel_cb cb, void *data)                                                        \
    {                                                                                                                                                          \
        return cadre_promise_on_cancel((cadre_promise *)promise, cb, data);                                                                                    \
    }                                                                                                                                                          \
    static inline NAME##_promise *NAME##_promise_retain(NAME##_promise *promise)                                                                               \
    {                                                                                                                                                          \
        return (NAME##_promise *)cadre_promise_retain((cadre_promise *)promise);                                                                               \
    }                                                                                                                                                          \
    static inline void NAME##_promise_release(NAME##_promise *promise)                                                                                         \
    {                                                                                                                                                          \
        cadre_promise_release((cadre_promise *)promise);                                                                                                       \
    }                                                                                                                                                          \
    static inline NAME##_future *NAME##_future_ready(cadre_pool *pool, const VALUE *value)                                                                     \
    {                                                                                                                                                          \
        return (NAME##_future *)cadre_future_ready(pool, (cadre_value_type)(TYPE), value);                                                                     \
    }                                                                                                                                                          \
    static inline NAME##_future *NAME##_future_failed(cadre_pool *pool, int error, const char *detail)                                                         \
    {                                                                                                                                                          \
        return (NAME##_future *)cadre_future_failed(pool, (cadre_value_type)(TYPE), error, detail);                                                            \
    }                                                                                                                                                          \
    static inline int NAME##_future_on_complete(NAME##_future *future, cadre_future_cb cb, void *data)                                                         \
    {                                                                                                                                                          \
        return cadre_future_on_complete((cadre_future *)future, cb, data);                                                                                     \
    }                                                                                                                                                          \
    static inline void NAME##_future_on_progress(NAME##_future *future, cadre_future_progress_cb cb, void *data)                                               \
    {                                                                                                                                                          \
        cadre_future_on_progress((cadre_future *)future, cb, data);                                                                                            \
    }                                                                                                                                                          \
    static inline int NAME##_future_status(const NAME##_future *future)                                                                                        \
    {                                                                                                                                                          \
        return cadre_future_status(NAME##_future_untyped(future));                                                                                             \
    }                                                                                                                                                          \
    static inline const char *NAME##_future_detail(const NAME##_future *future)                                                                                \
    {                                                                                                                                                          \
        return cadre_future_detail(NAME##_future_untyped(future));                                                                                             \
    }                                                                                                                                                          \
    static inline void NAME##_future_cancel(NAME##_future *future)                                                                                             \
    {                                                                                                                                                          \
        cadre_future_cancel((cadre_future *)future);                                                                                                           \
    }                                                                                                                                                          \
    static inline int NAME##_future_set_deadline(NAME##_future *future, int64_t ms)                                                                            \
    {                                                                                                                                                          \
        return cadre_future_set_deadline((cadre_future *)future, ms);                                                                                          \
    }                                                                                                                                                          \
    static inline NAME##_future *NAME##_future_retain(NAME##_future *future)                                                                                   \
    {                                                                                                                                                          \
        return (NAME##_future *)cadre_future_retain((cadre_future *)future);                                                                                   \
    }                                                                                                                                                          \
    static inline void NAME##_future_release(NAME##_future *future)                                                                                            \
    {                                                                                                                                                          \
        cadre_future_release((cadre_future *)future);                                                                                                          \
    }

CADRE_END
#endif
