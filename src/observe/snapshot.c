/* The snapshot: counts are kept where things happen, depths are added up here. */
#include "observe/observe.h"

#include "pool/model.h"
#include "pool/worker.h"

static int count_entry(const cadre_entry_info *entry, void *data)
{
    cadre_snapshot *out = data;
    if (entry->state == CADRE_MODEL_READY) out->models_ready++;
    if (entry->state == CADRE_MODEL_WAITING) out->loads_waiting_memory++;
    return 0;
}

static void count_workers(const cadre_pool *pool, cadre_snapshot *out)
{
    CADRE__LIST_FOR (node, &pool->worker_list) {
        cadre_worker_state state = CADRE__CONTAINER(node, cadre__worker, link)->state;
        out->workers_loading += state <= CADRE_WORKER_ATTACHING;
        out->loads_running += state == CADRE_WORKER_LOADING || state == CADRE_WORKER_ATTACHING;
        out->workers_ready += state >= CADRE_WORKER_READY && state <= CADRE_WORKER_IDLE;
        out->workers_busy += state == CADRE_WORKER_PROCESSING;
    }
}

static void count_requests(const cadre_pool *pool, cadre_snapshot *out)
{
    for (size_t i = 0; i < pool->model_buckets; i++) {
        for (const cadre__model *model = pool->models[i]; model; model = model->next) {
            out->requests_queued += model->queued;
            out->requests_running += model->running;
            out->requests_abandoned += model->abandoned;
        }
    }
}

static void copy_counts(const cadre_pool *pool, cadre_snapshot *out)
{
    const cadre__stats *stats = &pool->stats;
    out->requests_accepted = stats->accepted;
    out->requests_refused = stats->refused;
    out->requests_done = stats->done;
    out->requests_failed = stats->failed;
    out->requests_cancelled = stats->cancelled;
    out->requests_timed_out = stats->timed_out;
    out->loads_started = stats->loads_started;
    out->loads_done = stats->loads_done;
    out->loads_failed = stats->loads_failed;
    out->evictions = stats->evictions;
    out->workers_hung = stats->hung;
    out->late_results = pool->late_values;
    out->loop_lag = stats->lag;
    out->request_wait = stats->wait;
    out->request_run = stats->run;
}

void cadre__snapshot(const cadre_pool *pool, cadre_snapshot *out)
{
    *out = (cadre_snapshot){.size = sizeof *out, .models = pool->entry_count, .pressure = pool->pressure, .cores = pool->port->cores};
    uint32_t busy = atomic_load_explicit(&pool->port->busy, memory_order_relaxed);
    out->cores_busy = busy < out->cores ? busy : out->cores;
    if (pool->account_count) {
        out->memory_budget_bytes = pool->accounts[0].budget;
        out->memory_charged_bytes = pool->accounts[0].charged;
    }
    cadre_registry_list(pool, NULL, count_entry, out);
    count_workers(pool, out);
    count_requests(pool, out);
    copy_counts(pool, out);
}

int cadre_pool_snapshot(const cadre_pool *pool, cadre_snapshot *out)
{
    if (!pool || !out) return CADRE_EINVAL;
    cadre_snapshot snapshot;
    cadre__snapshot(pool, &snapshot);
    return cadre__fill(out, &snapshot, sizeof snapshot) ? CADRE_OK : CADRE_EINVAL;
}
