/* A pool with one worker of a real backend, for the cases with an engine. */
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

/* A pool with args->threads cores, no worker yet. `decoder` may be NULL. Ends the program on an error, as all of these do. */
void engine_open(engine_host *host, const bench_args *args, const cadre_image_decoder *decoder);
/* Spawns the worker for ENGINE_KEY and returns; engine_wait_ready runs the loop until it is ready. */
void engine_spawn(engine_host *host, const bench_args *args, const cadre_llama_options *options, cadre_capability capability);
void engine_wait_ready(engine_host *host);
/* Stops the worker and runs the loop until its model is gone. */
void engine_stop(engine_host *host);
void engine_close(engine_host *host);

/* A spawn of another kind: its options, its callback (whose data is the host), and, behind it, what it returned. */
cadre_spawn_options engine_spawning(engine_host *host);
void engine_on_ready(cadre_pool *pool, cadre_worker_id worker, int status, const char *detail, void *data);
void engine_spawned(engine_host *host, int rc);

/* Fails unless the option was given. */
const char *engine_need(const char *value, const char *option);

#endif
