/* A pool whose models come from the llama backend, for the cases with a real engine. */
#ifndef CADRE_BENCH_ENGINE_H
#define CADRE_BENCH_ENGINE_H

#include "bench.h"

#include <cadre/llama.h>
#include <uv.h>

#define ENGINE_KEY "model"

typedef struct engine_host {
    uv_loop_t loop;
    cadre_pool *pool;
    cadre_worker_id worker;
    int ready;
    int gone;
} engine_host;

/* A pool with args->threads cores, no worker yet. Ends the program on an error, as all of these do. */
void engine_open(engine_host *host, const bench_args *args);
/* Spawns the worker for ENGINE_KEY and returns; engine_wait_ready runs the loop until it is ready. */
void engine_spawn(engine_host *host, const bench_args *args, const cadre_llama_options *options, cadre_capability capability);
void engine_wait_ready(engine_host *host);
/* Stops the worker and runs the loop until its model is gone. */
void engine_stop(engine_host *host);
void engine_close(engine_host *host);

/* Fails unless the option was given. */
const char *engine_need(const char *value, const char *option);

#endif
