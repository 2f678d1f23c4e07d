/* Prometheus' text format, version 0.0.4: https://prometheus.io/docs/instrumenting/exposition_formats. All samples of a metric stand together, so each metric
 * of the models is one pass over them. */
#include "observe/text.h"
#include "pool/model.h"
#include "pool/worker.h"

/* A number in a struct: where, and how wide. */
typedef struct sample {
    const char *labels; /* "outcome=\"done\"", or NULL */
    size_t offset, width;
} sample;
#define FIELD(type, member) offsetof(type, member), sizeof(((type *)0)->member)
#define SAMPLES_MAX 4

typedef struct metric {
    const char *name, *type, *help;
    sample samples[SAMPLES_MAX]; /* up to one of width 0 */
    bool seconds;                /* they are nanoseconds */
} metric;

#define POOL(member) FIELD(cadre_snapshot, member)
static const metric of_pool[] = {
    {"cadre_models", "gauge", "Models in the registry.", {{NULL, POOL(models)}}, false},
    {"cadre_models_ready", "gauge", "Models in the registry that have a worker which serves.", {{NULL, POOL(models_ready)}}, false},
    {"cadre_requests_queued", "gauge", "Requests that no worker has.", {{NULL, POOL(requests_queued)}}, false},
    {"cadre_requests_running", "gauge", "Requests that a worker has and the host waits for.", {{NULL, POOL(requests_running)}}, false},
    {"cadre_requests_abandoned", "gauge", "Jobs that a worker still has although the host was answered.", {{NULL, POOL(requests_abandoned)}}, false},
    {"cadre_requests_accepted_total", "counter", "Requests that were accepted.", {{NULL, POOL(requests_accepted)}}, false},
    {"cadre_requests_refused_total", "counter", "Requests that were refused at the call.", {{NULL, POOL(requests_refused)}}, false},
    {"cadre_requests_completed_total",
     "counter",
     "Accepted requests that were answered.",
     {{"outcome=\"done\"", POOL(requests_done)},
      {"outcome=\"failed\"", POOL(requests_failed)},
      {"outcome=\"cancelled\"", POOL(requests_cancelled)},
      {"outcome=\"timed_out\"", POOL(requests_timed_out)}},
     false},
    {"cadre_loads_waiting_memory", "gauge", "Models whose load waits for memory.", {{NULL, POOL(loads_waiting_memory)}}, false},
    {"cadre_loads_running", "gauge", "Workers that load or attach a model.", {{NULL, POOL(loads_running)}}, false},
    {"cadre_loads_started_total", "counter", "Loads that were started.", {{NULL, POOL(loads_started)}}, false},
    {"cadre_loads_done_total", "counter", "Loads that made a worker ready.", {{NULL, POOL(loads_done)}}, false},
    {"cadre_loads_failed_total", "counter", "Loads that failed.", {{NULL, POOL(loads_failed)}}, false},
    {"cadre_evictions_total", "counter", "Workers that were stopped to make room for another model.", {{NULL, POOL(evictions)}}, false},
    {"cadre_workers_hung_total", "counter", "Workers that gave no sign of life and were replaced.", {{NULL, POOL(workers_hung)}}, false},
    {"cadre_late_results_total", "counter", "Values that came after nobody waited for them any longer.", {{NULL, POOL(late_results)}}, false},
    {"cadre_memory_pressure", "gauge", "Pressure on the host's memory: 0 low, 1 normal, 2 high, 3 critical.", {{NULL, POOL(pressure)}}, false},
    {"cadre_cores", "gauge", "Cores that the workers share.", {{NULL, POOL(cores)}}, false},
    {"cadre_cores_busy", "gauge", "Workers and loads that work now, at most the cores.", {{NULL, POOL(cores_busy)}}, false},
};

#define MODEL(member) FIELD(cadre__model, member)
static const metric of_models[] = {
    {"cadre_model_requests_queued", "gauge", "Requests of a model that no worker has.", {{NULL, MODEL(queued)}}, false},
    {"cadre_model_requests_running", "gauge", "Requests of a model that a worker has.", {{NULL, MODEL(running)}}, false},
    {"cadre_model_requests_abandoned", "gauge", "Jobs of a model whose host was answered before the worker.", {{NULL, MODEL(abandoned)}}, false},
    {"cadre_model_workers",
     "gauge",
     "Workers of a model: before, in and after service.",
     {{"state=\"loading\"", MODEL(loading)}, {"state=\"ready\"", MODEL(ready)}, {"state=\"leaving\"", MODEL(leaving)}},
     false},
    {"cadre_model_requests_accepted_total", "counter", "Requests of a model that were accepted.", {{NULL, MODEL(stats.accepted)}}, false},
    {"cadre_model_requests_refused_total", "counter", "Requests of a model that were refused at the call.", {{NULL, MODEL(stats.refused)}}, false},
    {"cadre_model_requests_completed_total",
     "counter",
     "Accepted requests of a model that were answered.",
     {{"outcome=\"done\"", MODEL(stats.done)},
      {"outcome=\"failed\"", MODEL(stats.failed)},
      {"outcome=\"cancelled\"", MODEL(stats.cancelled)},
      {"outcome=\"timed_out\"", MODEL(stats.timed_out)}},
     false},
    {"cadre_model_request_wait_seconds_total", "counter", "Time that requests waited for a worker.", {{NULL, MODEL(stats.wait_ns)}}, true},
    {"cadre_model_request_run_seconds_total", "counter", "Time that requests were with a worker.", {{NULL, MODEL(stats.run_ns)}}, true},
    {"cadre_model_operations_total", "counter", "Batches that were run, or steps of slots.", {{NULL, MODEL(operations)}}, false},
    {"cadre_model_tokens_total",
     "counter",
     "Tokens that were read and written.",
     {{"direction=\"in\"", MODEL(stats.tokens_in)}, {"direction=\"out\"", MODEL(stats.tokens_out)}},
     false},
    {"cadre_model_loads_started_total", "counter", "Loads of a model that were started.", {{NULL, MODEL(stats.loads_started)}}, false},
    {"cadre_model_loads_done_total", "counter", "Loads of a model that made a worker ready.", {{NULL, MODEL(stats.loads_done)}}, false},
    {"cadre_model_loads_failed_total", "counter", "Loads of a model that failed.", {{NULL, MODEL(stats.loads_failed)}}, false},
    {"cadre_model_evictions_total", "counter", "Workers of a model that were stopped to make room.", {{NULL, MODEL(stats.evictions)}}, false},
};

static void head(cadre__text *text, const char *name, const char *type, const char *help)
{
    const char *const parts[] = {"# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) cadre__text_add(text, parts[i]);
}

static uint64_t value_of(const void *base, const sample *s)
{
    uint64_t wide;
    uint32_t narrow;
    const char *from = (const char *)base + s->offset;
    if (s->width == sizeof wide) {
        memcpy(&wide, from, sizeof wide);
        return wide;
    }
    memcpy(&narrow, from, sizeof narrow);
    return narrow;
}

/* key: of the model, or NULL. */
static void samples(cadre__text *text, const metric *m, const void *base, const char *key)
{
    for (const sample *s = m->samples; s < m->samples + SAMPLES_MAX && s->width; s++) {
        cadre__text_add(text, m->name);
        if (key || s->labels) cadre__text_add(text, key ? "{key=" : "{");
        if (key) cadre__text_label(text, key);
        if (key && s->labels) cadre__text_add(text, ",");
        if (s->labels) cadre__text_add(text, s->labels);
        cadre__text_add(text, key || s->labels ? "} " : " ");
        if (m->seconds)
            cadre__text_seconds(text, value_of(base, s));
        else
            cadre__text_uint(text, value_of(base, s));
        cadre__text_add(text, "\n");
    }
}

static void histogram(cadre__text *text, const char *name, const char *help, const cadre_histogram *h)
{
    uint64_t below = 0;
    head(text, name, "histogram", help);
    for (int i = 0; i < CADRE_HISTOGRAM_BUCKETS; i++) {
        below += h->counts[i];
        cadre__text_add(text, name);
        cadre__text_add(text, "_bucket{le=\"");
        if (i + 1 < CADRE_HISTOGRAM_BUCKETS)
            cadre__text_seconds(text, UINT64_C(10000) << i);
        else
            cadre__text_add(text, "+Inf");
        cadre__text_add(text, "\"} ");
        cadre__text_uint(text, below);
        cadre__text_add(text, "\n");
    }
    cadre__text_add(text, name);
    cadre__text_add(text, "_sum ");
    cadre__text_seconds(text, h->sum_ns);
    cadre__text_add(text, "\n");
    cadre__text_add(text, name);
    cadre__text_add(text, "_count ");
    cadre__text_uint(text, h->count);
    cadre__text_add(text, "\n");
}

static void workers_by_state(cadre__text *text, const cadre_pool *pool)
{
    uint64_t counts[CADRE_WORKER_ABANDONED + 1] = {0};
    CADRE__LIST_FOR (node, &pool->worker_list) counts[CADRE__CONTAINER(node, cadre__worker, link)->state]++;
    head(text, "cadre_workers", "gauge", "Workers by state.");
    for (int i = 0; i <= CADRE_WORKER_ABANDONED; i++) {
        cadre__text_add(text, "cadre_workers{state=\"");
        cadre__text_add(text, cadre_worker_state_name((cadre_worker_state)i));
        cadre__text_add(text, "\"} ");
        cadre__text_uint(text, counts[i]);
        cadre__text_add(text, "\n");
    }
}

static void memory(cadre__text *text, const cadre_pool *pool)
{
    static const metric of_accounts[] = {
        {"cadre_memory_budget_bytes", "gauge", "What models may take of a device.", {{NULL, FIELD(cadre__account, budget)}}, false},
        {"cadre_memory_charged_bytes", "gauge", "What is charged on a device.", {{NULL, FIELD(cadre__account, charged)}}, false},
        {"cadre_memory_reservations", "gauge", "Live reservations on a device.", {{NULL, FIELD(cadre__account, reservations)}}, false},
    };
    for (size_t m = 0; m < sizeof of_accounts / sizeof *of_accounts; m++) {
        head(text, of_accounts[m].name, of_accounts[m].type, of_accounts[m].help);
        for (size_t i = 0; i < pool->account_count; i++) { /* the number tells devices of one name apart */
            cadre__text_add(text, of_accounts[m].name);
            cadre__text_add(text, "{device=\"");
            cadre__text_uint(text, i);
            cadre__text_add(text, "\",name=");
            cadre__text_label(text, i ? pool->accounts[i].name : "host");
            cadre__text_add(text, "} ");
            cadre__text_uint(text, value_of(&pool->accounts[i], of_accounts[m].samples));
            cadre__text_add(text, "\n");
        }
    }
}

static void entry_line(cadre__text *text, const char *name, const cadre_entry_info *entry, const char *state, uint64_t value)
{
    cadre__text_add(text, name);
    cadre__text_label(text, entry->key);
    if (state) {
        cadre__text_add(text, ",state=");
        cadre__text_label(text, state);
    }
    cadre__text_add(text, "} ");
    cadre__text_uint(text, value);
    cadre__text_add(text, "\n");
}

static int entry_state(const cadre_entry_info *entry, void *data)
{
    entry_line(data, "cadre_model_state{key=", entry, cadre_model_state_name(entry->state), 1);
    return 0;
}

static int entry_breaker(const cadre_entry_info *entry, void *data)
{
    entry_line(data, "cadre_model_breaker_open{key=", entry, NULL, entry->state == CADRE_MODEL_RESTING);
    return 0;
}

static int entry_bytes(const cadre_entry_info *entry, void *data)
{
    entry_line(data, "cadre_model_resident_bytes{key=", entry, NULL, entry->resident_bytes);
    return 0;
}

static void entries(cadre__text *text, const cadre_pool *pool)
{
    if (!pool->entry_count) return;
    head(text, "cadre_model_state", "gauge", "1 for the state that a model of the registry is in.");
    cadre_registry_list(pool, NULL, entry_state, text);
    head(text, "cadre_model_breaker_open", "gauge", "1 while a model rests because it failed too often.");
    cadre_registry_list(pool, NULL, entry_breaker, text);
    head(text, "cadre_model_resident_bytes", "gauge", "What is charged to a model, over all devices.");
    cadre_registry_list(pool, NULL, entry_bytes, text);
}

static void models(cadre__text *text, const cadre_pool *pool)
{
    if (!pool->model_count) return;
    for (size_t m = 0; m < sizeof of_models / sizeof *of_models; m++) {
        head(text, of_models[m].name, of_models[m].type, of_models[m].help);
        for (size_t i = 0; i < pool->model_buckets; i++)
            for (const cadre__model *model = pool->models[i]; model; model = model->next)
                if (!model->unknown) samples(text, &of_models[m], model, model->key); /* clients invent unknown keys */
    }
}

int cadre_pool_prometheus(const cadre_pool *pool, cadre_write_cb write, void *data)
{
    if (!pool || !write) return CADRE_EINVAL;
    char buffer[16384];
    cadre__text text = {buffer, sizeof buffer, 0, write, data, false};
    cadre_snapshot now;
    cadre__snapshot(pool, &now);
    head(&text, "cadre_build_info", "gauge", "1; the version is a label.");
    cadre__text_add(&text, "cadre_build_info{version=\"" CADRE_VERSION_STRING "\"} 1\n");
    for (size_t m = 0; m < sizeof of_pool / sizeof *of_pool; m++) {
        head(&text, of_pool[m].name, of_pool[m].type, of_pool[m].help);
        samples(&text, &of_pool[m], &now, NULL);
    }
    workers_by_state(&text, pool);
    memory(&text, pool);
    histogram(&text, "cadre_loop_lag_seconds", "How late the pool's signals and timers were served on the loop.", &now.loop_lag);
    histogram(&text, "cadre_request_wait_seconds", "From a request's acceptance to a worker.", &now.request_wait);
    histogram(&text, "cadre_request_run_seconds", "From a worker to the request's answer.", &now.request_run);
    entries(&text, pool);
    models(&text, pool);
    cadre__text_flush(&text);
    return CADRE_OK;
}
