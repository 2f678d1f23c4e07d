/* clang-format off */
/* Requests: what is common to all five capabilities.
 *
 * A request is one parameter struct, passed to cadre_generate, cadre_embed, cadre_embed_images, cadre_describe or cadre_generate_image on the loop thread. The
 * call checks the parameters, takes a place in the model's bounded queue, and returns; the answer comes by callbacks on the loop thread:
 *
 *   return ≠ 0   nothing was started, no callback will run; options.release has run
 *   return 0     on_done runs exactly once, after the last on_text, never from inside the call, whatever happens: success, failure, deadline, cancel,
 *                the worker's end, the pool's close
 *
 * Inputs are copied before the call returns, unless options.release is set: then they are lent, must stay as they are, and release runs on the loop thread once
 * after the worker's last read (which may be after on_done, when a cancelled operation is still running).
 *
 * A key is known while the registry has it (cadre/registry.h); or, for hosts that spawn, from its first spawn's return until its last worker is gone; else
 * CADRE_ENOENT. A request whose model is not loaded waits for the load, within its own deadline; one whose deadline is nearer than the load can be is refused
 * with CADRE_ETIMEDOUT at once. It fails as soon as no load is left that can serve it, with the load's error and detail (the worker's callback runs first).
 * A job that a worker had not begun when it died or hung goes to another one.
 *
 *   error                          returned  on_done  what it means for a client
 *   CADRE_EINVAL                       x              a parameter is missing or out of range (cadre_pool_error_detail names it)
 *   CADRE_ENOENT                       x        x     no such model; by on_done: the key was not among those that were being added
 *   CADRE_ECAPABILITY                  x        x     a model of another capability
 *   CADRE_ENOTSUP                      x        x     a form of input that the pool has no decoder or fetcher for
 *   CADRE_EFULL                        x              overload: come back after cadre_pool_retry_after_ms
 *   CADRE_EBREAKER                     x        x     the model failed too often and rests: likewise
 *   CADRE_ETIMEDOUT                    x        x     the deadline passed, or cannot be met
 *   CADRE_ELOAD, CADRE_EFORMAT, …      x        x     the model cannot be loaded; the answer to new requests too until the next attempt is due
 *   CADRE_EINPUT, CADRE_ETOOLONG                x     the model refuses the content
 *   CADRE_EENGINE                               x     the engine failed
 *   CADRE_EWORKER, CADRE_EHUNG                  x     the worker died, or gave no sign of life
 *   CADRE_ECANCELED                             x     cancelled by the host
 *   CADRE_ENOMEM, CADRE_ECLOSED        x        x     out of memory; the pool is closing
 */
/* clang-format on */
#ifndef CADRE_REQUEST_H
#define CADRE_REQUEST_H

#include <cadre/error.h>
#include <cadre/pool.h>

CADRE_BEGIN

/* A request as a callback sees it; valid during the callback only. Keep its id. */
typedef struct cadre_request cadre_request;

typedef enum cadre_priority {
    CADRE_PRIORITY_CRITICAL = 0,
    CADRE_PRIORITY_HIGH = 1,
    CADRE_PRIORITY_NORMAL = 2,
    CADRE_PRIORITY_LOW = 3,
    CADRE_PRIORITY_BATCH = 4
} cadre_priority;
#define CADRE_PRIORITY_COUNT 5

typedef struct cadre_request_options {
    size_t size;
    int32_t priority;            /* cadre_priority; default normal. FIFO within one; a waiting request rises one per cadre_pool_options.aging_ms */
    int64_t timeout_ms;          /* from now until the last result: CADRE_ETIMEDOUT; default CADRE_NEVER; 0 or less (but the default): CADRE_EINVAL */
    void (*release)(void *data); /* set: inputs are lent, see above */
    void *release_data;
} cadre_request_options;
#define CADRE_REQUEST_OPTIONS_INIT                                                                                                                             \
    {                                                                                                                                                          \
        sizeof(cadre_request_options), CADRE_DEFAULT, CADRE_DEFAULT, NULL, NULL                                                                                \
    }

/* ---- loop thread, inside a callback ---- */
CADRE_EXTERN cadre_request_id cadre_request_get_id(const cadre_request *request);
CADRE_EXTERN cadre_pool *cadre_request_pool(const cadre_request *request);
CADRE_EXTERN const char *cadre_request_key(const cadre_request *request);
CADRE_EXTERN void *cadre_request_data(const cadre_request *request); /* the params' data */
/* Which worker answered; 0 when none had it. The worker may be gone by now. */
CADRE_EXTERN cadre_worker_id cadre_request_worker(const cadre_request *request);
/* In on_done with a failure: when it makes sense to come back, in milliseconds; 0: not known, or of no use. */
CADRE_EXTERN int64_t cadre_request_retry_after_ms(const cadre_request *request);
/* In on_done: what went wrong, in words ("" on success). Valid during the callback. */
CADRE_EXTERN const char *cadre_request_detail(const cadre_request *request);

/* ---- loop thread, any time ---- */

/* No piece of text and no step is reported from here on; on_done follows on a later turn with CADRE_ECANCELED. What the worker still does for it is dropped.
 * CADRE_ESTALE: it is done already; CADRE_EALREADY: its end is decided, no piece will come, and its on_done is on the way. */
CADRE_EXTERN int cadre_request_cancel(cadre_pool *pool, cadre_request_id request);

/* For a consumer that is slow: no more on_text until resume. At most stream_window pieces are held meanwhile, then the request's slot rests; other slots go on.
 * The deadline runs on. on_done too waits behind pieces that are held. A request may be paused in any state; twice is once; a resume without a pause does
 * nothing. Held pieces come on a later turn. CADRE_ESTALE; CADRE_ENOTSUP: it has no on_text. */
CADRE_EXTERN int cadre_request_pause(cadre_pool *pool, cadre_request_id request);
CADRE_EXTERN int cadre_request_resume(cadre_pool *pool, cadre_request_id request);

CADRE_END
#endif
