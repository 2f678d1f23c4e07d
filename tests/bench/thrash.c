/* thrash: six models, room for two of them, one request in flight at a time: how many loads a trace of 2,000 requests takes. The models do nothing and load in
 * 2 ms; memory is that of the ledger, so the requests pass through the registry's evictions in real time.
 *
 *   loads_zipf      the k-th most asked for has a share in proportion to 1 / k; against the offline optimum on the same trace (see trace.h)
 *   loads_uniform, loads_cyclic   all are asked for alike: no order of eviction helps the first much, and the second none but a clairvoyant
 *   loads_TRACE_lru what the least recently used one's eviction would take on the same trace: computed, for comparison
 *
 * Each round has a seed of its own. */
#include "models.h"
#include "trace.h"

#include <stdio.h>

#define MODELS 6
#define ROOM 2
#define REQUESTS 2000
#define LOAD_US 2000
#define MODEL_BYTES 1000

typedef struct run {
    models_host host;
    char keys[MODELS][16];
    uint8_t trace[REQUESTS];
    size_t sent;
    int done;
} run;

static const char *const names[TRACE_KINDS] = {"zipf", "uniform", "cyclic"};

static void send_next(run *r);

static void on_done(cadre_request *request, int status, const cadre_embeddings *result)
{
    run *r = cadre_request_data(request);
    (void)result;
    if (status < 0) bench_fail("a request failed: %s (%s)", cadre_err_name(status), cadre_request_detail(request));
    if (r->sent < REQUESTS)
        send_next(r);
    else
        r->done = 1;
}

static void send_next(run *r)
{
    cadre_embed_params params = CADRE_EMBED_PARAMS_INIT;
    params.key = r->keys[r->trace[r->sent++]];
    params.text = "x";
    params.on_done = on_done;
    params.data = r;
    int rc = cadre_embed(r->host.pool, &params, NULL);
    if (rc != 0) bench_fail("cadre_embed: %s (%s)", cadre_err_name(rc), cadre_pool_error_detail(r->host.pool));
}

/* The pool is a new one for each trace: nothing is known of the models. */
static uint64_t loads_of(run *r)
{
    static uint64_t load_us = LOAD_US;
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    cadre_text_embedding_loader loader = models_noop(&load_us);
    cadre_memory_need need = {CADRE_DEVICE_HOST, 0, MODEL_BYTES};
    options.memory_bytes = ROOM * MODEL_BYTES;
    models_open(&r->host, &options);
    for (int i = 0; i < MODELS; i++) {
        cadre_entry entry = CADRE_ENTRY_INIT;
        snprintf(r->keys[i], sizeof r->keys[i], "model-%d", i);
        entry.key = r->keys[i];
        entry.capability = CADRE_TEXT_EMBEDDING;
        entry.memory = &need;
        entry.memory_count = 1;
        models_add(&r->host, &entry, &loader);
    }
    r->sent = 0;
    r->done = 0;
    send_next(r);
    while (!r->done) uv_run(&r->host.loop, UV_RUN_ONCE);
    uint64_t loads = r->host.count.loads;
    if (r->host.count.failed) bench_fail("%llu loads failed", (unsigned long long)r->host.count.failed);
    models_close(&r->host);
    return loads;
}

int main(int argc, char **argv)
{
    static run r;
    bench_args args;
    bench_row rows[TRACE_KINDS], lru[TRACE_KINDS];
    bench_parse(&args, argc, argv);
    for (int kind = 0; kind < TRACE_KINDS; kind++) {
        static const char *const peer = "offline optimum";
        bench_row_init(&rows[kind], "thrash", "loads", peer, kind == TRACE_ZIPF ? "ratio <= 1.5" : "none", "loads_%s", names[kind]);
        bench_row_init(&lru[kind], "thrash", "loads", peer, "none: what LRU takes", "loads_%s_lru", names[kind]);
    }
    for (int round = 0; round < args.rounds; round++) {
        for (int kind = 0; kind < TRACE_KINDS; kind++) {
            trace_make((trace_kind)kind, (uint64_t)round + 1, r.trace, REQUESTS, MODELS);
            double optimum = (double)trace_optimum(r.trace, REQUESTS, MODELS, ROOM);
            bench_row_add(&rows[kind], (double)loads_of(&r), optimum);
            bench_row_add(&lru[kind], (double)trace_lru(r.trace, REQUESTS, MODELS, ROOM), optimum);
        }
    }
    for (int kind = 0; kind < TRACE_KINDS; kind++) {
        bench_row_print(&args, &rows[kind]);
        bench_row_print(&args, &lru[kind]);
    }
    bench_finish(&args);
    return 0;
}
