/* Seeing inside: events as they happen, a snapshot, Prometheus text, health as JSON, a timeline. All functions: loop thread. */
#ifndef CADRE_OBSERVE_H
#define CADRE_OBSERVE_H

#include <cadre/registry.h>

CADRE_BEGIN

typedef enum cadre_event_type {
    CADRE_EVENT_MODEL_ADDED = 0,
    CADRE_EVENT_MODEL_REMOVED = 1,
    CADRE_EVENT_LOAD_WAITS = 2,      /* for memory; detail: how much, and for what */
    CADRE_EVENT_LOAD_STARTED = 3,    /* bytes: reserved for it */
    CADRE_EVENT_LOAD_FAILED = 4,     /* status, detail */
    CADRE_EVENT_WORKER_READY = 5,    /* ns: what its load took */
    CADRE_EVENT_WORKER_STOPPING = 6, /* detail: why ("idle", "evicted for KEY", "unloaded", …) */
    CADRE_EVENT_WORKER_GONE = 7,     /* its memory is free; bytes: how much of its own came back, shared weights apart */
    CADRE_EVENT_WORKER_HUNG = 8,     /* it gave no sign of life; it is replaced, and its memory stays charged until its thread returns */
    CADRE_EVENT_BREAKER_OPENED = 9,  /* status, detail: of the last failure */
    CADRE_EVENT_BREAKER_HALF_OPEN = 10,
    CADRE_EVENT_BREAKER_CLOSED = 11,
    CADRE_EVENT_PRESSURE = 12, /* detail: the new level; bytes: charged on the host's memory */
    CADRE_EVENT_EVICTED = 13   /* of its idle workers, or its weights, leave; detail: the key that gets the room, or "" */
} cadre_event_type;
#define CADRE_EVENT_COUNT 14

/* "model_added", …; "unknown". Any thread; static storage. */
CADRE_EXTERN const char *cadre_event_name(cadre_event_type type);

/* Handed to cadre_pool_options.on_event on the loop thread, in the order in which things happen, never from inside a call of the host's. Valid during the call.
 */
typedef struct cadre_event {
    size_t size;
    cadre_event_type type;
    uint64_t time_ns;       /* the pool's clock */
    const char *key;        /* "" when it concerns no model */
    cadre_worker_id worker; /* 0: none */
    int status;
    const char *detail; /* never NULL */
    uint64_t bytes, ns;
} cadre_event;

/* How late the pool was served: from the signal of another thread, or a timer's due time, to its turn on the loop. Also for waits and services of requests.
 * counts[i] is how many took at most 2^i × 10 µs (…, 10 µs, 20 µs, 40 µs, … 2^18 × 10 µs = 2.6 s), the last all that took longer. */
#define CADRE_HISTOGRAM_BUCKETS 20
typedef struct cadre_histogram {
    uint64_t count, sum_ns;
    uint64_t counts[CADRE_HISTOGRAM_BUCKETS]; /* not cumulative */
} cadre_histogram;

typedef enum cadre_pressure { CADRE_PRESSURE_LOW = 0, CADRE_PRESSURE_NORMAL = 1, CADRE_PRESSURE_HIGH = 2, CADRE_PRESSURE_CRITICAL = 3 } cadre_pressure;

typedef struct cadre_snapshot {
    size_t size; /* set by the caller */
    /* now */
    uint64_t models;       /* in the registry */
    uint64_t models_ready; /* of those */
    uint64_t workers_loading, workers_ready, workers_busy;
    uint64_t requests_queued, requests_running, requests_abandoned;
    uint64_t loads_waiting_memory, loads_running;
    uint64_t memory_budget_bytes, memory_charged_bytes; /* host */
    cadre_pressure pressure;
    uint32_t cores, cores_busy;
    /* since the pool was made */
    uint64_t requests_accepted, requests_refused; /* refused: a failing return */
    uint64_t requests_done;                       /* with success */
    uint64_t requests_failed, requests_cancelled, requests_timed_out;
    uint64_t loads_started, loads_done, loads_failed, evictions, workers_hung, late_results;
    cadre_histogram loop_lag;     /* how late the pool's signals and timers were served */
    cadre_histogram request_wait; /* of requests: from acceptance to a worker */
    cadre_histogram request_run;  /* from a worker to the answer */
} cadre_snapshot;

/* Zeroes *out but its size and fills it. CADRE_EINVAL. */
CADRE_EXTERN int cadre_pool_snapshot(const cadre_pool *pool, cadre_snapshot *out);

/* Takes the text piece by piece, inside the call; pieces are not NUL-terminated. */
typedef void (*cadre_write_cb)(const char *text, size_t length, void *data);

/* The snapshot and the models in Prometheus' text format, version 0.0.4; all names begin with "cadre_". CADRE_EINVAL. */
CADRE_EXTERN int cadre_pool_prometheus(const cadre_pool *pool, cadre_write_cb write, void *data);
/* One JSON object: {"status": "ok" | "degraded" | "closing", "models": [{"key", "state", "workers", …}], …}. Degraded: a model's loads fail or its breaker is
 * open, or a worker hangs; a cold or evicted model is not unhealthy. CADRE_EINVAL. */
CADRE_EXTERN int cadre_pool_health_json(const cadre_pool *pool, cadre_write_cb write, void *data);

CADRE_END
#endif
