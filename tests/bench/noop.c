#include "noop.h"

#include "bench.h"

#define HOST __attribute__((noinline)) /* callgrind tells the host's own instructions by these names */

void bench_host_done(cadre_request *request, int status, const cadre_embeddings *result);
void bench_host_submit(noop_host *host);

static int noop_attach(void *self, cadre_op *op)
{
    noop_host *host = self;
    (void)op;
    bench_pin(host->worker_cpu);
    return 0;
}

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

static const cadre_text_embedding_ops noop_ops = {.size = sizeof noop_ops, .attach = noop_attach, .embed = noop_embed};

static cadre_text_embedding_future *noop_load(cadre_load_context *context, void *data)
{
    cadre_text_embedding_model model = CADRE_TEXT_EMBEDDING_MODEL_INIT;
    model.ops = &noop_ops;
    model.self = data;
    model.dimension = 1;
    model.max_batch = 1;
    return cadre_text_embedding_future_ready(cadre_load_pool(context), &model);
}

static void on_ready(cadre_pool *pool, cadre_worker_id worker, int status, const char *detail, void *data)
{
    noop_host *host = data;
    (void)pool;
    if (status < 0) bench_fail("the no-op worker failed: %s (%s)", cadre_err_name(status), detail);
    host->worker = worker;
    host->ready = 1;
}

static void on_closed(cadre_pool *pool, const cadre_close_report *report, void *data)
{
    (void)pool, (void)report;
    ((noop_host *)data)->closed = 1;
}

HOST void bench_host_submit(noop_host *host)
{
    cadre_embed_params params = CADRE_EMBED_PARAMS_INIT;
    params.key = "noop";
    params.text = "no-op";
    params.on_done = bench_host_done;
    params.data = host;
    host->to_start--;
    if (host->latencies_ns) host->submitted_ns = bench_now_ns();
    int rc = cadre_embed(host->pool, &params, NULL);
    if (rc < 0) bench_fail("cadre_embed: %s", cadre_err_name(rc));
}

HOST void bench_host_done(cadre_request *request, int status, const cadre_embeddings *result)
{
    noop_host *host = cadre_request_data(request);
    if (host->latencies_ns) *host->latencies_ns++ = (double)(bench_now_ns() - host->submitted_ns);
    if (status < 0 || result->count != 1) bench_fail("a no-op request failed: %s (%s)", cadre_err_name(status), cadre_request_detail(request));
    host->to_finish--;
    if (host->to_start > 0) bench_host_submit(host);
}

void noop_open(noop_host *host, int worker_cpu)
{
    cadre_text_embedding_loader loader = {.size = sizeof loader, .load = noop_load, .data = host};
    *host = (noop_host){.worker_cpu = worker_cpu};
    int rc = uv_loop_init(&host->loop);
    if (rc == 0) rc = cadre_pool_create(&host->pool, &host->loop, NULL);
    if (rc == 0) rc = cadre_spawn_text_embedding(host->pool, "noop", &loader, NULL, NULL, on_ready, host, NULL);
    if (rc != 0) bench_fail("making a pool: %s", cadre_err_name(rc));
    while (!host->ready) uv_run(&host->loop, UV_RUN_ONCE);
}

uint64_t noop_run(noop_host *host, size_t count, size_t in_flight, double *latencies_ns)
{
    host->to_start = count;
    host->to_finish = count;
    host->latencies_ns = latencies_ns;
    uint64_t start = bench_now_ns();
    for (size_t i = 0; i < in_flight && host->to_start > 0; i++) bench_host_submit(host);
    uv_run(&host->loop, UV_RUN_DEFAULT);
    uint64_t elapsed = bench_now_ns() - start;
    if (host->to_finish != 0) bench_fail("the loop ended with %zu requests open", host->to_finish);
    return elapsed;
}

void noop_close(noop_host *host)
{
    cadre_close_options options = CADRE_CLOSE_OPTIONS_INIT;
    options.data = host;
    int rc = cadre_pool_close(host->pool, &options, on_closed);
    if (rc == 0) {
        uv_run(&host->loop, UV_RUN_DEFAULT);
        rc = uv_loop_close(&host->loop);
    }
    if (rc != 0 || !host->closed) bench_fail("closing the pool: %s", cadre_err_name(rc));
}
