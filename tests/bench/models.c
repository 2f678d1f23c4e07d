#include "models.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static void on_log(cadre_log_level level, const char *message, void *data)
{
    (void)data;
    if (level == CADRE_LOG_ERROR) fprintf(stderr, "bench: cadre: %s\n", message);
}

static void on_event(cadre_pool *pool, const cadre_event *event, void *data)
{
    models_count *count = &((models_host *)data)->count;
    (void)pool;
    switch (event->type) {
    case CADRE_EVENT_LOAD_STARTED:
        count->loads++;
        count->before_ready += count->ready == 0;
        if (++count->workers > count->workers_most) count->workers_most = count->workers;
        break;
    case CADRE_EVENT_LOAD_FAILED:
        count->failed++;
        if (event->worker && count->workers > 0) count->workers--;
        break;
    case CADRE_EVENT_WORKER_READY: count->ready++; break;
    case CADRE_EVENT_WORKER_GONE: count->workers--; break;
    case CADRE_EVENT_EVICTED: count->evictions++; break;
    default: break;
    }
}

void models_open(models_host *host, const cadre_pool_options *options)
{
    cadre_pool_options with_events = *options;
    *host = (models_host){0};
    with_events.log = on_log;
    with_events.log_level = CADRE_LOG_ERROR;
    with_events.on_event = on_event;
    with_events.event_data = host;
    int rc = uv_loop_init(&host->loop);
    if (rc == 0) rc = cadre_pool_create(&host->pool, &host->loop, &with_events);
    if (rc != 0) bench_fail("making a pool: %s", cadre_err_name(rc));
}

void models_close(models_host *host)
{
    cadre_close_options options = CADRE_CLOSE_OPTIONS_INIT;
    options.drain_ms = 0;
    int rc = cadre_pool_close(host->pool, &options, NULL);
    uv_run(&host->loop, UV_RUN_DEFAULT);
    if (rc != 0 || uv_loop_close(&host->loop) != 0) bench_fail("closing the pool: %s", cadre_err_name(rc));
}

void models_count_again(models_host *host)
{
    uint64_t workers = host->count.workers;
    host->count = (models_count){.workers = workers, .workers_most = workers};
}

void models_called(cadre_pool *pool, int status, const char *detail, void *data)
{
    (void)pool;
    if (status < 0) bench_fail("the registry says: %s (%s)", cadre_err_name(status), detail);
    ((models_host *)data)->pending--;
}

static void wait_for(models_host *host, int rc)
{
    if (rc != 0) bench_fail("the registry refuses: %s (%s)", cadre_err_name(rc), cadre_pool_error_detail(host->pool));
    host->pending++;
    while (host->pending > 0) uv_run(&host->loop, UV_RUN_ONCE);
}

void models_add(models_host *host, const cadre_entry *entry, const cadre_text_embedding_loader *loader)
{
    if (loader)
        wait_for(host, cadre_registry_add_text_embedding(host->pool, entry, loader, models_called, host));
    else
        wait_for(host, cadre_registry_add(host->pool, entry, models_called, host));
}

void models_load(models_host *host, const char *key)
{
    wait_for(host, cadre_model_load(host->pool, key, models_called, host));
}

void models_unload(models_host *host, const char *key)
{
    wait_for(host, cadre_model_unload(host->pool, key, models_called, host));
}

/* ---- a model that does nothing ---- */

static int noop_embed(void *self, cadre_op *const *ops, const char *const *texts, size_t count, const char *task, int truncate, float *out, uint32_t *tokens,
                      int *status)
{
    (void)self, (void)ops, (void)texts, (void)task, (void)truncate, (void)status;
    for (size_t i = 0; i < count; i++) {
        out[i] = 0;
        tokens[i] = 1;
    }
    return 0;
}

static const cadre_text_embedding_ops noop_ops = {.size = sizeof noop_ops, .embed = noop_embed};

static void fill_noop(cadre_text_embedding_model *model)
{
    *model = (cadre_text_embedding_model)CADRE_TEXT_EMBEDDING_MODEL_INIT;
    model->ops = &noop_ops;
    model->dimension = 1;
    model->max_batch = 1;
}

static int noop_make(cadre_load_context *context, cadre_weights *source, void *data, cadre_text_embedding_model *out)
{
    const uint64_t *load_us = data;
    (void)context, (void)source;
    nanosleep(&(struct timespec){(time_t)(*load_us / 1000000), (long)(*load_us % 1000000) * 1000}, NULL); /* what the load takes */
    fill_noop(out);
    return 0;
}

static cadre_text_embedding_future *noop_load(cadre_load_context *context, void *data)
{
    cadre_text_embedding_model model;
    if (*(uint64_t *)data) return cadre_text_embedding_load_blocking(context, NULL, noop_make, data);
    fill_noop(&model);
    return cadre_text_embedding_future_ready(cadre_load_pool(context), &model);
}

cadre_text_embedding_loader models_noop(uint64_t *load_us)
{
    return (cadre_text_embedding_loader){.size = sizeof(cadre_text_embedding_loader), .load = noop_load, .data = load_us};
}
