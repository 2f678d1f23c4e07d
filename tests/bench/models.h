/* A pool whose models come from its registry, and what its events say about loads and workers. Ends the program on an error, as all of these do. */
#ifndef CADRE_BENCH_MODELS_H
#define CADRE_BENCH_MODELS_H

#include "bench.h"

#include <cadre.h>
#include <uv.h>

typedef struct models_count {
    uint64_t loads;        /* begun */
    uint64_t before_ready; /* of those, before any worker was ready */
    uint64_t failed;
    uint64_t ready;
    uint64_t evictions;
    uint64_t workers, workers_most; /* loading and there, now and at most */
} models_count;

typedef struct models_host {
    uv_loop_t loop;
    cadre_pool *pool;
    models_count count; /* since models_count_again */
    int pending;        /* calls whose callback has not come */
} models_host;

/* The options' log and on_event are set here. */
void models_open(models_host *host, const cadre_pool_options *options);
void models_close(models_host *host);

/* Starts counting from nothing; workers that are there stay counted. */
void models_count_again(models_host *host);

/* Wait until what they ask for is done: the loop runs. `loader` NULL: an entry with a backend. */
void models_add(models_host *host, const cadre_entry *entry, const cadre_text_embedding_loader *loader);
void models_load(models_host *host, const char *key);
void models_unload(models_host *host, const char *key);

/* As `cadre_registry_cb`, for calls that were made with pending++. */
void models_called(cadre_pool *pool, int status, const char *detail, void *data);

/* A loader whose load blocks for `load_us` and whose model writes zeroes: a text embedding model of one dimension. */
cadre_text_embedding_loader models_noop(uint64_t *load_us);

#endif
