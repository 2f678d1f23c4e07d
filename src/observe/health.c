/* Health, as one JSON object. It is streamed: a registry of any size needs one small buffer. */
#include "observe/text.h"
#include "pool/model.h"
#include "pool/worker.h"

typedef struct writer {
    cadre__text text;
    const cadre_pool *pool;
    bool some; /* a comma is due */
} writer;

static int find_fault(const cadre_entry_info *entry, void *data)
{
    bool *found = data;
    *found = entry->state == CADRE_MODEL_FAILED || entry->state == CADRE_MODEL_RESTING;
    return *found;
}

/* A worker that hangs stays listed until its thread returns. */
static uint64_t count_hung(const cadre_pool *pool)
{
    uint64_t hung = 0;
    CADRE__LIST_FOR (node, &pool->worker_list) hung += CADRE__CONTAINER(node, cadre__worker, link)->state == CADRE_WORKER_ABANDONED;
    return hung;
}

static const char *status_of(const cadre_pool *pool, uint64_t hung)
{
    bool fault = hung > 0;
    if (pool->closing != CADRE__OPEN) return "closing";
    if (!fault) cadre_registry_list(pool, NULL, find_fault, &fault);
    return fault ? "degraded" : "ok";
}

static void field(cadre__text *text, const char *before, uint64_t value)
{
    cadre__text_add(text, before);
    cadre__text_uint(text, value);
}

static void word(cadre__text *text, const char *before, const char *string)
{
    cadre__text_add(text, before);
    cadre__text_json(text, string);
}

static void begin_model(writer *w, const char *key, const char *state, cadre_capability capability)
{
    cadre__text_add(&w->text, w->some ? ",\n  " : "\n  ");
    w->some = true;
    word(&w->text, "{\"key\": ", key);
    word(&w->text, ", \"state\": ", state);
    word(&w->text, ", \"capability\": ", cadre_capability_name(capability));
}

static int write_entry(const cadre_entry_info *entry, void *data)
{
    writer *w = data;
    cadre__text *text = &w->text;
    begin_model(w, entry->key, cadre_model_state_name(entry->state), entry->capability);
    field(text, ", \"workers\": ", entry->workers);
    field(text, ", \"queued\": ", entry->queued);
    field(text, ", \"resident_bytes\": ", entry->resident_bytes);
    cadre__text_add(text, entry->pinned ? ", \"pinned\": true" : ", \"pinned\": false");
    if (entry->status < 0) word(text, ", \"error\": ", cadre_err_name(entry->status));
    if (entry->detail && *entry->detail) word(text, ", \"detail\": ", entry->detail);
    if (entry->retry_after_ms > 0) field(text, ", \"retry_after_ms\": ", (uint64_t)entry->retry_after_ms);
    cadre__text_add(text, "}");
    return 0;
}

/* Those whose workers the host spawned itself. */
static void write_spawned(writer *w)
{
    for (size_t i = 0; i < w->pool->model_buckets; i++) {
        for (const cadre__model *model = w->pool->models[i]; model; model = model->next) {
            if (model->entry || model->unknown) continue;
            begin_model(w, model->key, model->ready ? "ready" : model->loading ? "loading" : "removing", model->kind->capability);
            field(&w->text, ", \"workers\": ", model->ready);
            field(&w->text, ", \"queued\": ", model->queued);
            cadre__text_add(&w->text, "}");
        }
    }
}

static void write_memory(cadre__text *text, const cadre_pool *pool)
{
    cadre__text_add(text, "],\n \"memory\": [");
    for (size_t i = 0; i < pool->account_count; i++) {
        word(text, i ? ", {\"device\": " : "{\"device\": ", i ? pool->accounts[i].name : "host");
        field(text, ", \"budget_bytes\": ", pool->accounts[i].budget);
        field(text, ", \"charged_bytes\": ", pool->accounts[i].charged);
        cadre__text_add(text, "}");
    }
    cadre__text_add(text, "]}\n");
}

int cadre_pool_health_json(const cadre_pool *pool, cadre_write_cb write, void *data)
{
    static const char *const levels[] = {"low", "normal", "high", "critical"};
    if (!pool || !write) return CADRE_EINVAL;
    char buffer[4096];
    writer w = {{buffer, sizeof buffer, 0, write, data, false}, pool, false};
    cadre__text *text = &w.text;
    cadre_snapshot now;
    cadre__snapshot(pool, &now);
    uint64_t hung = count_hung(pool);
    word(text, "{\"status\": ", status_of(pool, hung));
    word(text, ", \"version\": ", cadre_version());
    word(text, ", \"pressure\": ", levels[pool->pressure]);
    field(text, ",\n \"workers\": {\"loading\": ", now.workers_loading);
    field(text, ", \"ready\": ", now.workers_ready);
    field(text, ", \"busy\": ", now.workers_busy);
    field(text, ", \"hung\": ", hung);
    field(text, "},\n \"requests\": {\"queued\": ", now.requests_queued);
    field(text, ", \"running\": ", now.requests_running);
    field(text, ", \"abandoned\": ", now.requests_abandoned);
    cadre__text_add(text, "},\n \"models\": [");
    cadre_registry_list(pool, NULL, write_entry, &w);
    write_spawned(&w);
    write_memory(text, pool);
    cadre__text_flush(text);
    return CADRE_OK;
}
