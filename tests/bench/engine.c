#include "engine.h"

#include <stdio.h>

void engine_on_ready(cadre_pool *pool, cadre_worker_id worker, int status, const char *detail, void *data)
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

void engine_open(engine_host *host, const bench_args *args, const cadre_image_decoder *decoder)
{
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    options.cores = args->threads;
    options.log = on_log;
    options.log_level = CADRE_LOG_ERROR;
    options.decoder = decoder;
    *host = (engine_host){0};
    int rc = uv_loop_init(&host->loop);
    if (rc == 0) rc = cadre_pool_create(&host->pool, &host->loop, &options);
    if (rc != 0) bench_fail("making a pool: %s", cadre_err_name(rc));
}

cadre_spawn_options engine_spawning(engine_host *host)
{
    cadre_spawn_options spawn = CADRE_SPAWN_OPTIONS_INIT;
    spawn.on_exit = on_gone;
    host->ready = host->gone = 0;
    return spawn;
}

void engine_spawned(engine_host *host, int rc)
{
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
