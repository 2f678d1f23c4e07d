#include "bare_onnx.h"
#include "engine.h"
#include "inputs.h"
#include "shared.h"

#include <cadre/onnx.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXTS 4
#define TOKENS 512
#define BATCHES 2 /* of each worker */
#define WORDS_MOST 24
#define TEXT_MAX (TOKENS * 12)

/* ---- ours ---- */

typedef struct run {
    engine_host host;
    char texts[TEXTS][TEXT_MAX];
    const char *pointers[TEXTS];
    int workers;
    size_t pending;
    double highest;
} run;

typedef struct worker {
    run *r;
    char key[24];
    int left;
} worker;

static void submit(worker *w);

static void on_done(cadre_request *request, int status, const cadre_embeddings *result)
{
    worker *w = cadre_request_data(request);
    if (status < 0) bench_fail("an embedding failed: %s (%s)", cadre_err_name(status), cadre_request_detail(request));
    if (result->tokens < (uint64_t)TEXTS * TOKENS) bench_fail("the texts have only %llu tokens", (unsigned long long)result->tokens);
    w->r->pending--;
    submit(w);
    w->r->highest = fmax(w->r->highest, shared_pss());
}

static void submit(worker *w)
{
    cadre_embed_params params = CADRE_EMBED_PARAMS_INIT;
    if (w->left-- <= 0) return;
    params.key = w->key;
    params.texts = w->r->pointers;
    params.count = TEXTS;
    params.on_done = on_done;
    params.data = w;
    int rc = cadre_embed(w->r->host.pool, &params, NULL);
    if (rc != 0) bench_fail("cadre_embed: %s (%s)", cadre_err_name(rc), cadre_pool_error_detail(w->r->host.pool));
    w->r->pending++;
}

static void on_tick(uv_timer_t *timer)
{
    run *r = timer->data;
    r->highest = fmax(r->highest, shared_pss());
}

/* All workers at once, and a look at the memory every few milliseconds. */
static double work(run *r, worker *workers, int count)
{
    uv_timer_t timer;
    r->highest = 0;
    uv_timer_init(&r->host.loop, &timer);
    timer.data = r;
    uv_timer_start(&timer, on_tick, 10, 10);
    for (int i = 0; i < count; i++) {
        workers[i].left = BATCHES;
        submit(&workers[i]);
    }
    while (r->pending > 0) uv_run(&r->host.loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&r->host.loop, UV_RUN_NOWAIT);
    return r->highest;
}

static double charged(const engine_host *host)
{
    cadre_memory_usage usage = CADRE_MEMORY_USAGE_INIT;
    int rc = cadre_memory_get_usage(host->pool, CADRE_DEVICE_HOST, &usage);
    if (rc != 0) bench_fail("cadre_memory_get_usage: %s", cadre_err_name(rc));
    return (double)usage.charged_bytes / 1048576;
}

static void add_worker(engine_host *host, cadre_weights_future *weights, const cadre_onnx_options *options, const char *key)
{
    cadre_text_embedding_loader loader;
    cadre_reservation *room = NULL;
    cadre_memory_amount amount = {CADRE_DEVICE_HOST, 1 << 20}; /* the backend sets it to what it measures */
    cadre_spawn_options spawn = engine_spawning(host);
    int rc = cadre_memory_try_reserve(host->pool, &amount, 1, &room);
    if (rc == 0) rc = cadre_onnx_text_embedding_shared(weights, options, &loader);
    if (rc == 0) rc = cadre_spawn_text_embedding(host->pool, key, &loader, room, &spawn, engine_on_ready, host, NULL);
    engine_spawned(host, rc);
    engine_wait_ready(host);
}

static void make_texts(run *r)
{
    for (size_t i = 0; i < TEXTS; i++) {
        size_t have = 0, number = i;
        for (size_t words = 0; words < TOKENS; words += 8 + number % 17, number += TEXTS) {
            if (TEXT_MAX - have < WORDS_MOST * 12) bench_fail("a text does not fit");
            if (have) r->texts[i][have++] = ' ';
            input_text(number, r->texts[i] + have, TEXT_MAX - have);
            have += strlen(r->texts[i] + have);
        }
        r->pointers[i] = r->texts[i];
    }
}

void shared_onnx_ours(const bench_args *args, shared_sample *out)
{
    static run r;
    static worker workers[SHARED_WORKERS];
    bench_args enough_cores = *args;
    cadre_onnx_options options = CADRE_ONNX_OPTIONS_INIT;
    cadre_weights_future *weights;
    double after_first = 0;
    make_texts(&r);
    options.path = args->minilm_onnx;
    options.vocabulary = args->minilm_vocab;
    options.threads = 1;
    options.truncate = 1;
    options.context_length = TOKENS;
    enough_cores.threads = SHARED_WORKERS; /* so that all may run at once */
    engine_open(&r.host, &enough_cores, NULL);
    int rc = cadre_onnx_weights(r.host.pool, &options, NULL, &weights);
    if (rc != 0) bench_fail("loading the weights: %s (%s)", cadre_err_name(rc), cadre_pool_error_detail(r.host.pool));
    for (int i = 0; i < SHARED_WORKERS; i++) {
        workers[i].r = &r;
        snprintf(workers[i].key, sizeof workers[i].key, "model-%d", i);
        add_worker(&r.host, weights, &options, workers[i].key);
        out->pss[i] = work(&r, workers, i + 1);
        if (i == 0) after_first = charged(&r.host);
    }
    out->own = (charged(&r.host) - after_first) / (SHARED_WORKERS - 1);
}

/* ---- bare ---- */

typedef struct bare_run {
    bare_onnx *session;
    _Atomic int working;
} bare_run;

static void *bare_worker(void *data)
{
    bare_run *r = data;
    int64_t *ids = malloc(sizeof *ids * TEXTS * TOKENS);
    if (!ids) bench_fail("out of memory");
    for (size_t i = 0; i < (size_t)TEXTS * TOKENS; i++) ids[i] = 2000 + (int64_t)(i * 7 % 20000);
    for (int i = 0; i < BATCHES; i++) bare_onnx_texts(r->session, ids, TEXTS, TOKENS);
    free(ids);
    r->working--;
    return NULL;
}

void shared_onnx_bare(const bench_args *args, shared_sample *out)
{
    bare_run r = {.session = bare_onnx_open(args->minilm_onnx, 1, 0)};
    for (int count = 1; count <= SHARED_WORKERS; count++) {
        pthread_t threads[SHARED_WORKERS];
        double highest = 0;
        r.working = count;
        for (int i = 0; i < count; i++)
            if (pthread_create(&threads[i], NULL, bare_worker, &r) != 0) bench_fail("no thread");
        while (r.working > 0) {
            highest = fmax(highest, shared_pss());
            uv_sleep(10);
        }
        for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
        out->pss[count - 1] = fmax(highest, shared_pss());
    }
    out->own = NAN;
}
