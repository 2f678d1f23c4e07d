#include "scale.h"

#include "bench.h"
#include "sim/executor_sim.h"
#include "sim/shrink.h"

#include <stdio.h>
#include <stdlib.h>
#include <valgrind/callgrind.h>

#define IN_FLIGHT 8

typedef struct host {
    simulator sim;
    cadre_pool *pool;
    unsigned models, serving, next;
    size_t to_start, to_finish;
    int pending;
    bool closed;
} host;

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

static cadre_text_embedding_future *load(cadre_load_context *context, void *data)
{
    static const cadre_text_embedding_ops ops = {.size = sizeof ops, .embed = noop_embed};
    cadre_text_embedding_model model = CADRE_TEXT_EMBEDDING_MODEL_INIT;
    (void)data;
    model.ops = &ops;
    model.dimension = 1;
    model.max_batch = 1;
    return cadre_text_embedding_future_ready(cadre_load_pool(context), &model);
}

static void called(cadre_pool *pool, int status, const char *detail, void *data)
{
    (void)pool;
    if (status < 0) bench_fail("the registry says: %s (%s)", cadre_err_name(status), detail);
    ((host *)data)->pending--;
}

static void step(host *h)
{
    if (!sim_step(&h->sim)) bench_fail("the simulation stands still");
}

static void call(host *h, int rc)
{
    if (rc != 0) bench_fail("the registry refuses: %s (%s)", cadre_err_name(rc), cadre_pool_error_detail(h->pool));
    h->pending++;
}

/* The one of `serving` that has the number, spread over all models. */
static void name_key(const host *h, unsigned number, char key[16])
{
    snprintf(key, 16, "m%u", number * (h->models / h->serving));
}

static void submit(host *h);

static void on_done(cadre_request *request, int status, const cadre_embeddings *result)
{
    host *h = cadre_request_data(request);
    (void)result;
    if (status < 0) bench_fail("a request failed: %s (%s)", cadre_err_name(status), cadre_request_detail(request));
    h->to_finish--;
    if (h->to_start > 0) submit(h);
}

static void submit(host *h)
{
    char key[16];
    cadre_embed_params params = CADRE_EMBED_PARAMS_INIT;
    name_key(h, h->next, key);
    h->next = (h->next + 1) % h->serving;
    params.key = key;
    params.text = "x";
    params.on_done = on_done;
    params.data = h;
    h->to_start--;
    int rc = cadre_embed(h->pool, &params, NULL);
    if (rc != 0) bench_fail("cadre_embed: %s (%s)", cadre_err_name(rc), cadre_pool_error_detail(h->pool));
}

static void serve(host *h, size_t count)
{
    h->to_start = h->to_finish = count;
    for (int i = 0; i < IN_FLIGHT; i++) submit(h);
    while (h->to_finish > 0) step(h);
}

static void on_closed(cadre_pool *pool, const cadre_close_report *report, void *data)
{
    (void)pool, (void)report;
    ((host *)data)->closed = true;
}

static void add_models(host *h, unsigned workers)
{
    cadre_text_embedding_loader loader = {.size = sizeof loader, .load = load};
    for (unsigned i = 0; i < h->models; i++) {
        char key[16];
        cadre_entry entry = CADRE_ENTRY_INIT;
        snprintf(key, sizeof key, "m%u", i);
        entry.key = key;
        entry.capability = CADRE_TEXT_EMBEDDING;
        entry.initial_workers = entry.max_workers = (int32_t)(workers / h->serving);
        entry.idle_timeout_ms = CADRE_NEVER;
        call(h, cadre_registry_add_text_embedding(h->pool, &entry, &loader, called, h));
    }
    while (h->pending > 0) step(h);
}

void scale_dispatch(unsigned models, unsigned serving, unsigned workers, size_t count)
{
    static host h; /* fibers point into it */
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    cadre_close_options close = CADRE_CLOSE_OPTIONS_INIT;
    h.models = models;
    h.serving = serving;
    sim_open(&h.sim, 1, NULL);
    h.sim.waits = true;
    h.sim.tick = 100;
    cadre_clock clock = {sizeof clock, sim_clock, &h.sim};
    options.clock = &clock;
    options.cores = 4;
    int rc = cadre__pool_create_on(&h.pool, (uv_loop_t *)(void *)&h, &options, &executor_sim, &h.sim);
    if (rc != 0) bench_fail("making a pool: %s", cadre_err_name(rc));
    add_models(&h, workers);
    for (unsigned i = 0; i < serving; i++) {
        char key[16];
        name_key(&h, i, key);
        h.to_start = h.to_finish = 1; /* a request brings all initial workers */
        h.next = i;
        submit(&h);
        while (h.to_finish > 0) step(&h);
    }
    cadre_snapshot now = {.size = sizeof now};
    while (cadre_pool_snapshot(h.pool, &now) == 0 && now.workers_ready < workers) step(&h);
    h.next = 0;
    serve(&h, 2 * (size_t)serving + 64);
    CALLGRIND_TOGGLE_COLLECT;
    serve(&h, count);
    CALLGRIND_TOGGLE_COLLECT;
    close.data = &h;
    rc = cadre_pool_close(h.pool, &close, on_closed);
    while (rc == 0 && !h.closed) step(&h);
    if (rc != 0) bench_fail("closing the pool: %s", cadre_err_name(rc));
    sim_free(&h.sim);
    fiber_free_stacks();
}
