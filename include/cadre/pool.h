/* The pool: created on a host's loop, closed like a libuv handle; its options; and the port through which other threads reach it.
 *
 * Threads: every function of the library belongs to the loop thread unless its comment says "any thread". A pool never blocks that thread. No callback ever
 * runs from inside a call of the host's, but for the release of what a failing call was given.
 *
 * A pool keeps the loop alive only while it has work: additions to the registry, loads, unloads and reservations that a callback of the host's waits for,
 * accepted requests (paused ones too) and what their workers still do for them, loads and pending futures, workers on their way in or out, destructors, its own
 * close. Ready workers, held ports, promises and weights are no work: a host whose other threads may post later keeps a handle of its own. */
#ifndef CADRE_POOL_H
#define CADRE_POOL_H

#include <cadre/memory.h>

CADRE_BEGIN

/* Where all memory of the core comes from. Both functions may be called from any thread, and must stay callable for as long as a thread that was abandoned at
 * close may still return (see cadre_close_report): in practice, for ever. `alloc` returns memory aligned for any type, or NULL; `free` is told the size. */
typedef struct cadre_allocator {
    size_t size;
    void *(*alloc)(size_t bytes, void *data);
    void (*free)(void *pointer, size_t bytes, void *data);
    void *data;
} cadre_allocator;

/* Monotonic time in nanoseconds; uv_hrtime() when none is given. Any thread. A clock that stands still stops deadlines and batch windows. */
typedef struct cadre_clock {
    size_t size;
    uint64_t (*now_ns)(void *data);
    void *data;
} cadre_clock;

typedef enum cadre_log_level { CADRE_LOG_ERROR = 0, CADRE_LOG_WARN = 1, CADRE_LOG_INFO = 2, CADRE_LOG_DEBUG = 3 } cadre_log_level;

/* One line without a newline; `message` is valid during the call only. Runs on the thread that has something to say: the loop, a worker or a loader. */
typedef void (*cadre_log_cb)(cadre_log_level level, const char *message, void *data);

struct cadre_image_decoder; /* cadre/image.h */
struct cadre_image_fetcher;
struct cadre_file_fetcher; /* cadre/registry.h */
struct cadre_event;        /* cadre/observe.h */

typedef struct cadre_pool_options {
    size_t size;
    const cadre_allocator *allocator; /* copied; NULL: malloc and free */
    const cadre_clock *clock;         /* copied; NULL: uv_hrtime */
    cadre_log_cb log;                 /* NULL: silent */
    void *log_data;
    int32_t log_level;    /* cadre_log_level: the most detailed that is wanted; default CADRE_LOG_INFO */
    int32_t cores;        /* shared out by cadre_op_threads(); default: the cores this process may run on */
    int64_t memory_bytes; /* budget of device 0; default: 80 % of min(RAM, cgroup limit) less 2 GiB, the 2 GiB being an eighth on machines below 16 GiB */
    const cadre_device *devices; /* further devices; copied */
    size_t device_count;
    int32_t loads_at_once;    /* loader threads, ≥ 1; default 2 */
    int64_t abandon_after_ms; /* a load that was given up and has not returned: its thread is replaced after this; default 10,000 */
    int64_t aging_ms;         /* a queued request rises one priority per this; default 1,000; 0 never ages */
    const struct cadre_image_decoder
        *decoder; /* copied (its `self` is the host's, alive until the close callback); NULL: encoded pictures answer CADRE_ENOTSUP */
    const struct cadre_image_fetcher *fetcher; /* likewise; NULL: URLs answer CADRE_ENOTSUP */
    void *data;                                /* for cadre_pool_get_data */
    const char
        *backend_path; /* folders with backend modules, separated by ':'; copied; NULL: $CADRE_BACKEND_PATH, then the `cadre` folder beside the library */
    void (*on_event)(cadre_pool *pool, const struct cadre_event *event, void *data); /* what happens to models and workers; may be NULL */
    void *event_data;
    const char *trace_path; /* a file to write a Chrome trace-event timeline to; copied; NULL: none. One that cannot be written is told by the log */
    int64_t seed;           /* of the jitter of retries, ≥ 0; default: from the clock */
    const struct cadre_file_fetcher *files; /* likewise copied; NULL: references to files answer CADRE_ENOTSUP */
} cadre_pool_options;
#define CADRE_POOL_OPTIONS_INIT                                                                                                                                \
    {                                                                                                                                                          \
        sizeof(cadre_pool_options), NULL, NULL, NULL, NULL, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT, NULL, 0, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT, \
            NULL, NULL, NULL, NULL, NULL, NULL, NULL, CADRE_DEFAULT, NULL                                                                                      \
    }

/* Makes a pool on `loop`, which must outlive it; several pools may share a loop. `options` may be NULL. On failure *out is NULL.
 * CADRE_EINVAL: a NULL or an option out of range; CADRE_ENOMEM; CADRE_ETHREAD; or libuv's error from its handles. */
CADRE_EXTERN int cadre_pool_create(cadre_pool **out, uv_loop_t *loop, const cadre_pool_options *options);

CADRE_EXTERN uv_loop_t *cadre_pool_loop(const cadre_pool *pool);
CADRE_EXTERN void *cadre_pool_get_data(const cadre_pool *pool);

/* What the latest refused request, spawn, reservation or call of the registry had against it, in words that name the field ("sampling.top_p is 1.5, not within
 * 0…1"); "" before the first. Valid until the next such call. Functions without a pool, and handles that are stale, say nothing here. */
CADRE_EXTERN const char *cadre_pool_error_detail(const cadre_pool *pool);
/* When it makes sense to come back, after a request that was refused with CADRE_EFULL, CADRE_EBREAKER, CADRE_ETIMEDOUT or a load's error: milliseconds,
 * estimated from what the pool has measured. 0: not known, or of no use. */
CADRE_EXTERN int64_t cadre_pool_retry_after_ms(const cadre_pool *pool);

/* What close could not wait for. All zero: nothing of the pool is left, no thread and no memory. */
typedef struct cadre_close_report {
    size_t size;
    uint32_t abandoned_threads; /* did not return within abandon_after_ms; each keeps its own block and touches nothing of the pool */
    uint32_t held_promises;     /* still held by the host; resolving one answers CADRE_ECLOSED and consumes nothing */
    uint32_t held_weights;      /* still held by the host; the last release destroys them on the releasing thread */
} cadre_close_report;

/* Loop thread, once; the last callback of the pool. Its handles are closed. `pool` may still be asked for its data and loop here, and is gone afterwards. */
typedef void (*cadre_close_cb)(cadre_pool *pool, const cadre_close_report *report, void *data);

typedef struct cadre_close_options {
    size_t size;
    int64_t drain_ms; /* accepted requests, and the loads that they wait for, go on for this long, then they are cancelled; default 5,000; CADRE_NEVER waits */
    int64_t abandon_after_ms; /* then threads, promises and weights are waited for this long, without blocking; default 10,000 */
    void *data;               /* for the callback */
} cadre_close_options;
#define CADRE_CLOSE_OPTIONS_INIT                                                                                                                               \
    {                                                                                                                                                          \
        sizeof(cadre_close_options), CADRE_DEFAULT, CADRE_DEFAULT, NULL                                                                                        \
    }

/* Starts the close and returns; may be called from any callback of the pool. From now on new requests and spawns answer CADRE_ECLOSED; loads that no accepted
 * request waits for are cancelled at once. Accepted requests complete or, after drain_ms, end with CADRE_ECLOSED. `cb` may be NULL. uv_loop_close() returns 0
 * after `cb` (if the pool was the loop's last user). CADRE_EALREADY: it is closing, and the first call's callback stands; a shorter drain_ms is taken over (a
 * second Ctrl-C). CADRE_EINVAL. */
CADRE_EXTERN int cadre_pool_close(cadre_pool *pool, const cadre_close_options *options, cadre_close_cb cb);

/* ---- the port: any thread ----
 * A reference-counted inbox that outlives the pool; after the pool's close its functions answer CADRE_ECLOSED. */

/* A new reference to the pool's port, never NULL. Loop thread; release it from any thread. */
CADRE_EXTERN cadre_port *cadre_pool_port(cadre_pool *pool);
CADRE_EXTERN cadre_port *cadre_port_retain(cadre_port *port); /* any thread; returns port */
CADRE_EXTERN void cadre_port_release(cadre_port *port);       /* any thread; NULL is allowed */

typedef void (*cadre_post_cb)(cadre_pool *pool, void *data); /* loop thread */

/* Any thread. Runs cb once on the loop thread, before the pool's close callback at the latest; calls from one thread run in their order.
 * CADRE_ECLOSED, CADRE_ENOMEM, CADRE_EINVAL: it will never run. */
CADRE_EXTERN int cadre_port_post(cadre_port *port, cadre_post_cb cb, void *data);

/* Any thread. Cancels a request by id, later, on the loop; a stale id is ignored there. CADRE_ECLOSED, CADRE_ENOMEM, CADRE_EINVAL. */
CADRE_EXTERN int cadre_port_cancel(cadre_port *port, cadre_request_id request);

CADRE_END
#endif
