/* Events, counts and the trace. Loop thread. What happens is counted where it happens; texts are made when somebody asks. */
#ifndef CADRE__OBSERVE_H
#define CADRE__OBSERVE_H

#include "core/base.h"

typedef struct cadre__stats {
    uint64_t accepted, refused, done, failed, cancelled, timed_out;
    uint64_t loads_started, loads_done, loads_failed, evictions, hung;
    cadre_histogram lag, wait, run;
} cadre__stats;

/* Of one model. */
typedef struct cadre__model_stats {
    uint64_t accepted, refused, done, failed, cancelled, timed_out;
    uint64_t loads_started, loads_done, loads_failed, evictions;
    uint64_t wait_ns, run_ns; /* sums over requests that a worker had */
    uint64_t tokens_in, tokens_out;
} cadre__model_stats;

static inline void cadre__histogram_note(cadre_histogram *histogram, uint64_t ns)
{
    uint64_t steps = ns ? (ns - 1) / 10000 : 0; /* 0: within 10 µs */
    unsigned bucket = steps == 0 ? 0 : 64u - (unsigned)__builtin_clzll(steps);
    if (bucket >= CADRE_HISTOGRAM_BUCKETS) bucket = CADRE_HISTOGRAM_BUCKETS - 1;
    histogram->count++;
    histogram->sum_ns += ns;
    histogram->counts[bucket]++;
}

/* Tells the host's on_event on a later delivery, and the trace. Cheap when there is neither. An event that finds no memory is dropped, and counted in the log.
 */
void cadre__event(cadre_pool *pool, cadre_event_type type, const char *key, cadre_worker_id worker, int status, uint64_t bytes, uint64_t ns, const char *format,
                  ...) CADRE_PRINTF(8, 9);

/* What cadre_pool_snapshot gives. */
void cadre__snapshot(const cadre_pool *pool, cadre_snapshot *out);

/* ---- the trace: chunks of Chrome trace-event JSON, formatted on the loop, written by tasks on the reaper ---- */

struct cadre__trace;
/* At the pool's creation; opens nothing yet (the first chunk's task does). NULL path: no trace. CADRE_ENOMEM. */
int cadre__trace_create(cadre_pool *pool, const char *path);
/* A span on a worker's track (worker 0: the pool's): category "load" for each load, "run" for each request that a worker had, and "wait" for what came before
 * (these overlap at will, and are drawn apart from the track). `args` is a JSON object without braces, or "". */
void cadre__trace_span(cadre_pool *pool, cadre_worker_id worker, const char *name, const char *category, uint64_t begin_ns, uint64_t end_ns, const char *args);
/* An instant, on the track of its worker. */
void cadre__trace_event(cadre_pool *pool, const cadre_event *event);
/* Whether anything is still written down. */
bool cadre__trace_live(const cadre_pool *pool);
/* At the close, once nothing more is to be told: hands the rest to the reaper (it counts in pool->reaping), the file ends as valid JSON. */
void cadre__trace_finish(cadre_pool *pool);
/* Part of cadre__pool_free. */
void cadre__trace_free(cadre_pool *pool);

#endif
