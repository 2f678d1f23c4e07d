/* Text models of one GGUF file under several names, in the registry and in a llama-server in router mode, and requests to both: what the cases with several
 * real models share. Name i is "model-i", a link in args->folder. */
#ifndef CADRE_BENCH_TEXTS_H
#define CADRE_BENCH_TEXTS_H

#include "models.h"
#include "server.h"

#define TEXTS_SLOTS 4
#define TEXTS_CONTEXT 1024 /* tokens of one slot */

/* Writes the name of model `index`. */
const char *texts_name(int index, char buffer[24]);

/* ---- ours ---- */

/* A pool with the llama backend. `room`: for so many models (0: all); *budget (may be NULL) is what that comes to. */
void texts_open(models_host *host, const bench_args *args, int room, uint64_t *budget);
void texts_add(models_host *host, const bench_args *args, int index, int queue_capacity);

/* ---- llama-server ---- */

typedef struct router_options {
    int models;     /* how many names */
    int models_max; /* loaded at once */
    int threads;    /* 0: its default */
    int no_warmup;
    int passive; /* --poll 0, OMP_WAIT_POLICY=passive */
} router_options;

/* Three routers, which differ in how they use the cores: llama-server's defaults; one engine thread for each model; passive waiting (--poll 0 and
 * OMP_WAIT_POLICY=passive). The latter two have --no-warmup, too. With its defaults, two busy models on two CPUs spin against each other and take many times as
 * long; so each is measured once, and what is slower than half the best is told and left out of the rounds. */
#define ROUTERS 3
typedef struct router_set {
    const bench_args *args;
    server servers[ROUTERS];
    int count; /* 0 without --server */
    int models;
} router_set;

void routers_open(router_set *r, const bench_args *args, int models, int models_max);
/* The router's name for people. */
const char *routers_name(int index);
/* ms: what each took; NaN for one that was left out before. */
void routers_keep(router_set *r, const double ms[ROUTERS]);
int routers_has(const router_set *r, int index);
void routers_close(router_set *r);

server router_start(const bench_args *args, const router_options *options);
/* Asks for it and returns. */
void router_ask(const server *router, const char *verb, const char *name);
/* How many models are in a state ("loaded", "unloaded", …). */
int router_count(const server *router, const char *state);
/* Unloads what is loaded and waits until nothing is. */
void router_empty(const server *router, int models);

/* ---- requests ---- */

/* `count` requests of `tokens` tokens each, request i to model i % models, from `clients` that send their next one when they have an answer; 0: all at once. */
typedef struct texts_batch {
    int models;
    size_t count;
    int clients;
    int tokens;
    size_t number; /* of the first prompt; moved on by a run */
    /* of the latest run */
    size_t answered, generated;
} texts_batch;

/* Wall time in ms from the first request to the last answer. */
double texts_ours(models_host *host, texts_batch *batch);
double texts_router(const server *router, texts_batch *batch);

#endif
