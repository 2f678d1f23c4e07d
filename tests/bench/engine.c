#include "engine.h"

#include <stdio.h>

static void on_ready(cadre_pool *pool, cadre_worker_id worker, int status, const char *detail, void *data)
{
    engine_host *host = data;
    (void)pool;
    if (status < 0) bench_fail("the model does not load: %s (%s)", cadre_err_name(status), detail);
    host->worker = worker;
    host->ready = 1;
}

static void on_gone(cadre_pool *pool, cadre_worker_id worker, int status, void *data)
{
    (void)pool, (void)worker, (void)status;
    ((engine_host *)data)->gone = 1;
}

static void on_log(cadre_log_level level, const char *message, void *data)
{
    (void)data;
    if (level == CADRE_LOG_ERROR) fprintf(stderr, "bench: cadre: %s\n", message);
}

void engine_open(engine_host *host, const bench_args *args)
{
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    options.cores = args->threads;
    options.log = on_log;
    options.log_level = CADRE_LOG_ERROR;
    *host = (engine_host){0};
    int rc = uv_loop_init(&host->loop);
    if (rc == 0) rc = cadre_pool_create(&host->pool, &host->loop, &options);
    if (rc != 0) bench_fail("making a pool: %s", cadre_err_name(rc));
}

void engine_spawn(engine_host *host, const bench_args *args, const cadre_llama_options *options, cadre_capability capability)
{
    cadre_llama_options with_engine = *options;
    cadre_spawn_options spawn = CADRE_SPAWN_OPTIONS_INIT;
    cadre_text_to_text_loader text;
    cadre_text_embedding_loader embedding;
    int rc;
    with_engine.engine_path = args->engine;
    spawn.on_exit = on_gone;
    host->ready = host->gone = 0;
    if (capability == CADRE_TEXT_EMBEDDING) {
        rc = cadre_llama_text_embedding(&with_engine, &embedding);
        if (rc == 0) rc = cadre_spawn_text_embedding(host->pool, ENGINE_KEY, &embedding, NULL, &spawn, on_ready, host, NULL);
    } else {
        rc = cadre_llama_text_to_text(&with_engine, &text);
        if (rc == 0) rc = cadre_spawn_text_to_text(host->pool, ENGINE_KEY, &text, NULL, &spawn, on_ready, host, NULL);
    }
    if (rc != 0) bench_fail("spawning: %s (%s)", cadre_err_name(rc), cadre_pool_error_detail(host->pool));
}

void engine_wait_ready(engine_host *host)
{
    while (!host->ready) uv_run(&host->loop, UV_RUN_ONCE);
}

void engine_stop(engine_host *host)
{
    int rc = cadre_worker_stop(host->pool, host->worker);
    if (rc != 0) bench_fail("stopping the worker: %s", cadre_err_name(rc));
    while (!host->gone) uv_run(&host->loop, UV_RUN_ONCE);
}

void engine_close(engine_host *host)
{
    int rc = cadre_pool_close(host->pool, NULL, NULL);
    uv_run(&host->loop, UV_RUN_DEFAULT);
    if (rc != 0 || uv_loop_close(&host->loop) != 0) bench_fail("closing the pool: %s", cadre_err_name(rc));
}

const char *engine_need(const char *value, const char *option)
{
    if (!value) bench_fail("this case needs %s", option);
    return value;
}
