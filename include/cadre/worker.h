/* Workers: what a loader is told, what an operation may call, how a worker is spawned and what it reports.
 *
 * A worker is one thread with one model. It is made by one of five spawn functions, one per capability (cadre/text_to_text.h and its siblings), from a loader
 * and a reservation. Several workers spawned with one key serve one queue. */
#ifndef CADRE_WORKER_H
#define CADRE_WORKER_H

#include <cadre/error.h>
#include <cadre/future.h>
#include <cadre/memory.h>
#include <cadre/pool.h>
#include <cadre/weights.h>

CADRE_BEGIN

/* ---- what a loader is told ----
 * A context lives from the start of its load until the load's future is settled; beyond that, until a blocking load's function has returned, and in a chain
 * until the source future is settled. An asynchronous loader that may be cancelled in the middle of its work therefore talks to its promise (progress,
 * cancelled), which it holds, not to the context. */

CADRE_EXTERN cadre_pool *cadre_load_pool(const cadre_load_context *context);       /* loop thread; not for blocking functions */
CADRE_EXTERN uv_loop_t *cadre_load_loop(const cadre_load_context *context);        /* loop thread; not for blocking functions */
CADRE_EXTERN const char *cadre_load_key(const cadre_load_context *context);        /* any thread */
CADRE_EXTERN cadre_worker_id cadre_load_worker(const cadre_load_context *context); /* any thread; 0 when weights are loaded for nobody in particular */
CADRE_EXTERN uint32_t cadre_load_threads(const cadre_load_context *context);       /* any thread; how many threads the load may keep busy, ≥ 1 */
CADRE_EXTERN uint32_t
cadre_load_cores(const cadre_load_context *context); /* any thread; the pool's cores: for engines whose thread count is fixed by the load */
CADRE_EXTERN int cadre_load_may_block(const cadre_load_context *context); /* any thread; 1: in a blocking load's function; 0: on the loop */
CADRE_EXTERN int cadre_load_cancelled(const cadre_load_context *context); /* any thread; 1: stop and return CADRE_ECANCELED */
/* Any thread. As cadre_promise_progress. A load that reports progress and then stalls for stall_timeout_ms is failed with CADRE_ETIMEDOUT. */
CADRE_EXTERN void cadre_load_progress(cadre_load_context *context, double fraction, uint64_t done_bytes, uint64_t total_bytes, const char *stage);
/* Any thread, during a load. What it turned out to take on a device: the reservation that pays for it (that of shared weights; else the worker's) is set to
 * this. */
CADRE_EXTERN void cadre_load_measured(cadre_load_context *context, uint32_t device, uint64_t bytes);
/* Any thread. Records what went wrong (cut at 511 bytes) and returns `error`: `return cadre_load_fail(context, CADRE_EFORMAT, "%s: not a GGUF file", path);` */
CADRE_EXTERN int cadre_load_fail(cadre_load_context *context, int error, const char *format, ...) CADRE_PRINTF(3, 4);

/* ---- what an operation may call ----
 * A cadre_op is one request as the worker sees it. It is valid during the op's call (for slots: from `begin` to `end`) on the worker's thread only. */

typedef struct cadre_op cadre_op;

/* 1 once nobody waits for the result: cancel, deadline, close. Stop soon, return CADRE_ECANCELED. Cheap: one relaxed load. While the call runs that was given
 * the op, another thread of the model's may ask too: where an engine's call takes long and can only be stopped from outside. */
CADRE_EXTERN int cadre_op_cancelled(const cadre_op *op);
/* A piece of text (UTF-8, whole code points). Copied. With a full window (the consumer has paused) a one-at-a-time operation waits here; a slot is not stepped
 * instead. 0; CADRE_ECANCELED; CADRE_ENOMEM (the request then fails with it). */
CADRE_EXTERN int cadre_op_emit(cadre_op *op, const char *text, size_t length);
/* A sign of life, for models that declare `heartbeat_ms`. Emits, steps of a picture and the steps of slots are signs of life too. */
CADRE_EXTERN void cadre_op_heartbeat(cadre_op *op);
/* In `attach`: what the worker turned out to take on a device: all that its reservation pays for (context, caches, compute buffers; its own copy of weights,
 * but no shared ones). The reservation is set to this. */
CADRE_EXTERN void cadre_op_measured(cadre_op *op, uint32_t device, uint64_t bytes);
/* Step `done` of `total`. Counts as a heartbeat, as does an emit. */
CADRE_EXTERN void cadre_op_step(cadre_op *op, uint32_t done, uint32_t total);
/* How many threads to use for the next step: this worker's part of the pool's cores among the workers that are busy now, ≥ 1. Ask before each step. */
CADRE_EXTERN uint32_t cadre_op_threads(const cadre_op *op);
/* Records what went wrong (cut at 511 bytes) and returns `error`. */
CADRE_EXTERN int cadre_op_fail(cadre_op *op, int error, const char *format, ...) CADRE_PRINTF(3, 4);

/* ---- spawning ---- */

/* Loop thread, once for each spawn that returned 0: status 0, the worker is ready; negative, it failed and is gone (detail says why: which step, what the
 * backend said). `worker` can be asked and stopped from here. detail is valid during the call, "" when ready. */
typedef void (*cadre_worker_cb)(cadre_pool *pool, cadre_worker_id worker, int status, const char *detail, void *data);
/* Loop thread; coalesced, at most one report a turn, none after the worker's callback. */
typedef void (*cadre_worker_progress_cb)(cadre_pool *pool, cadre_worker_id worker, const cadre_progress *progress, void *data);
/* Loop thread, once for each worker that became ready: its model is destroyed and its reservation given back. status 0: it was stopped; negative: why it died.
 */
typedef void (*cadre_worker_exit_cb)(cadre_pool *pool, cadre_worker_id worker, int status, void *data);

typedef struct cadre_spawn_options {
    size_t size;
    int64_t load_timeout_ms;  /* CADRE_ETIMEDOUT after this; default CADRE_NEVER */
    int64_t stall_timeout_ms; /* likewise, when a load that has reported progress is silent for this; default 120,000 */
    int32_t queue_capacity;   /* of the model, set by the first spawn of a key; default by capability: 100, 100, 50, 50, 20 in the order of cadre_capability */
    int64_t batch_window_us;  /* embeddings: how long a free worker may wait for more texts when others are likely to come; default 500; 0 never waits */
    int32_t stream_window;    /* pieces of text in flight to a consumer before its slot rests; ≥ 1; default 64 */
    int64_t hang_timeout_ms;  /* a working model without a sign of life for this hangs: its requests fail with CADRE_EHUNG; default: what the model declares */
    cadre_worker_progress_cb on_progress; /* may be NULL; `data` of both is the spawn's */
    cadre_worker_exit_cb on_exit;         /* may be NULL; runs at the pool's close at the latest */
} cadre_spawn_options;
#define CADRE_SPAWN_OPTIONS_INIT                                                                                                                               \
    {                                                                                                                                                          \
        sizeof(cadre_spawn_options), CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT, NULL, NULL                      \
    }

typedef enum cadre_worker_state {
    CADRE_WORKER_SPAWNING = 0,
    CADRE_WORKER_LOADING = 1,
    CADRE_WORKER_ATTACHING = 2,
    CADRE_WORKER_READY = 3, /* has never worked */
    CADRE_WORKER_PROCESSING = 4,
    CADRE_WORKER_IDLE = 5,
    CADRE_WORKER_EVICTING = 6, /* stopping: it finishes what it has begun */
    CADRE_WORKER_FAILED = 7,
    CADRE_WORKER_DEAD = 8,
    CADRE_WORKER_ABANDONED = 9
} cadre_worker_state;

/* "loading", …; "unknown". Any thread; static storage. */
CADRE_EXTERN const char *cadre_worker_state_name(cadre_worker_state state);

typedef struct cadre_worker_info {
    size_t size; /* set by the caller */
    cadre_worker_id id;
    const char *key; /* valid until the loop turns */
    cadre_capability capability;
    cadre_worker_state state;
    uint32_t running; /* jobs handed to it and not finished */
} cadre_worker_info;
#define CADRE_WORKER_INFO_INIT                                                                                                                                 \
    {                                                                                                                                                          \
        sizeof(cadre_worker_info), 0, NULL, CADRE_TEXT_TO_TEXT, CADRE_WORKER_DEAD, 0                                                                           \
    }

/* CADRE_ESTALE: the worker is gone; CADRE_EINVAL. */
CADRE_EXTERN int cadre_worker_get_info(const cadre_pool *pool, cadre_worker_id worker, cadre_worker_info *out);

/* Stops a worker in any state: what it runs is finished, nothing more is given to it, then its model is destroyed and its reservation given back. One that is
 * not ready yet gets CADRE_ECANCELED in its callback. What waits goes to the key's other workers, or fails with CADRE_EWORKER when there are none.
 * CADRE_ESTALE; CADRE_EALREADY: it is stopping. */
CADRE_EXTERN int cadre_worker_stop(cadre_pool *pool, cadre_worker_id worker);

typedef struct cadre_model_info {
    size_t size; /* set by the caller */
    cadre_capability capability;
    uint32_t workers_loading; /* not ready yet */
    uint32_t workers_ready;   /* ready, processing or idle */
    uint32_t dimension;       /* embeddings: floats per vector; 0 before the first worker is ready, and for other capabilities */
    uint32_t context_length;  /* text and vision: tokens a request may use in all, prompt and answer; text embedding: tokens a text may have; 0 unknown */
    uint32_t slots;           /* requests one worker runs at a time; for embeddings, inputs per batch */
    uint64_t queued;          /* requests that no worker has */
    uint64_t running;         /* requests a worker has and the host waits for */
    uint64_t abandoned;       /* jobs a worker still has although the host was answered (cancel, deadline) */
    uint64_t queue_capacity; /* a new request is refused when so many wait; those given back by a worker, or accepted before the model was known, may be more */
    uint64_t operations;     /* calls of an embed or generate operation, and steps of slots, so far: shows how requests share them */
} cadre_model_info;
#define CADRE_MODEL_INFO_INIT                                                                                                                                  \
    {                                                                                                                                                          \
        sizeof(cadre_model_info), CADRE_TEXT_TO_TEXT, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0                                                                             \
    }

/* CADRE_ENOENT: no worker and no request has this key; CADRE_EINVAL. */
CADRE_EXTERN int cadre_model_get_info(const cadre_pool *pool, const char *key, cadre_model_info *out);

/* ---- the loader family of one capability: the same five names for each ----
 *
 * NAME_loader       one value that serves one spawn. `load` is called once, on the loop thread, soon after the spawn; it must not block, and returns a future
 * (consumed; NULL fails the load with CADRE_ELOAD). `release` (may be NULL) runs once with `data`, on the loop, when the load is over or before a failing
 * return of spawn; if the load's thread had to be abandoned, on that thread should it ever return. The three kinds of load are three ways to make that future:
 *   blocking        return NAME_load_blocking(context, NULL, function, data): `function` runs on a loader thread and may take as long as it likes
 *   asynchronous    NAME_promise_create(), start your own libuv work, resolve the promise when it is done; or fetch into a weights future and chain:
 *                   NAME_load_blocking(context, weights_future, function, data), where `function` gets the fetched payload
 *   preloaded       return NAME_load_shared(context, weights_future, function, data): `function` runs on the loop, must not block, and makes a model around
 *                   the shared weights
 * In the registry (cadre/registry.h) one loader serves all attempts: `load` is called for each, and `release` runs when the entry is gone. Both helpers take a
 * reference of their own to `source`; `function` gets *out as its _INIT makes it, sets fields and returns 0, or an error (cadre_load_fail says why); `source`
 * stays alive until the model made from it has been destroyed. They return NULL when out of memory.
 *
 * cadre_spawn_CAPABILITY(pool, registry_key, loader, owned, options, on_ready, data, out)
 *   registry_key   1 to 255 bytes without control characters, copied; the key requests name. All workers of a key have one capability (else CADRE_ECAPABILITY).
 *   loader         copied; consumed on success and failure alike
 *   owned          the reservation, consumed likewise; NULL: charge nothing
 *   options, on_ready, out   may be NULL
 * CADRE_EINVAL, CADRE_ENOMEM, CADRE_ECLOSED, CADRE_ECAPABILITY. */
#define CADRE_LOADER_TYPE(NAME, MODEL, CAPABILITY)                                                                                                             \
    CADRE_FUTURE_TYPE(NAME, MODEL, CAPABILITY)                                                                                                                 \
    typedef NAME##_future *(*NAME##_load_cb)(cadre_load_context * context, void *data);                                                                        \
    typedef int (*NAME##_make_cb)(cadre_load_context * context, cadre_weights * source, void *data, MODEL *out);                                               \
    typedef struct NAME##_loader {                                                                                                                             \
        size_t size;                                                                                                                                           \
        NAME##_load_cb load;                                                                                                                                   \
        void *data;                                                                                                                                            \
        void (*release)(void *data);                                                                                                                           \
    } NAME##_loader;                                                                                                                                           \
    CADRE_EXTERN NAME##_future *NAME##_load_blocking(cadre_load_context *context, cadre_weights_future *source, NAME##_make_cb function, void *data);          \
    CADRE_EXTERN NAME##_future *NAME##_load_shared(cadre_load_context *context, cadre_weights_future *source, NAME##_make_cb function, void *data);

CADRE_END
#endif
