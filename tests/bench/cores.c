/* cores: models that share the cores.
 *
 *   two_models_vs_one      tokens a second of two busy models together, one client each, against one busy model alone with one client
 *   two_models_vs_router   the same against two busy models in the fastest of three llama-server routers (see texts.h)
 *   …_4_clients            likewise with four clients each: batches of four fill two cores with one model, so nothing can be won there
 *   loaded_latency_p99     of requests of four tokens, one at a time, to a loaded model while six others are loaded and unloaded all the time, against the same
 *                          without them
 *   loaded_latency_p99_router   that of llama-server's router with passive waiting and no warm-up, against its own without loads
 *
 * Both sides have the engine threads that are theirs by default. */
#include "inputs.h"
#include "texts.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define EACH 4 /* requests of a client */
#define TOKENS 48
#define OTHERS 6
#define MODELS (OTHERS + 1)
#define SHORT_TOKENS 4
#define PHASE_MS 5000
#define SHORT_MIN 100 /* requests of a phase, at least, but for no longer than three times as long */

/* ---- throughput ---- */

static texts_batch busy(int models, int clients)
{
    static size_t number;
    return (texts_batch){.models = models, .count = (size_t)(clients * EACH * models), .clients = clients * models, .tokens = TOKENS, .number = number += 1000};
}

static double per_second(const texts_batch *batch, double ms)
{
    return (double)batch->generated / (ms / 1e3);
}

static double ours_busy(models_host *host, int models, int clients)
{
    texts_batch batch = busy(models, clients);
    double ms = texts_ours(host, &batch);
    return per_second(&batch, ms);
}

static double router_busy(const router_set *r, int index, int clients, double *ms)
{
    texts_batch batch = busy(2, clients);
    *ms = NAN;
    if (!routers_has(r, index)) return NAN;
    *ms = texts_router(&r->servers[index], &batch);
    return per_second(&batch, *ms);
}

/* One row against ourselves and one against the routers, with so many clients for each model. */
static void rounds(const bench_args *args, models_host *host, router_set *peers, int clients)
{
    bench_row alone, router;
    double ms[ROUTERS] = {NAN, NAN, NAN};
    bench_row_init(&alone, "cores", "tokens/s", "one busy model alone", clients == 1 ? "ratio >= 1.4" : "none",
                   clients == 1 ? "two_models_vs_one" : "two_models_vs_one_4_clients");
    bench_row_init(&router, "cores", "tokens/s", "llama-server, router mode", clients == 1 ? "ratio >= 1.0" : "none",
                   clients == 1 ? "two_models_vs_router" : "two_models_vs_router_4_clients");
    ours_busy(host, 2, clients);
    for (int i = 0; i < peers->count; i++) router_busy(peers, i, clients, &ms[i]); /* loads, too, but these are short */
    if (clients == 1) routers_keep(peers, ms);
    for (int round = 0; round < args->rounds; round++) {
        double figures[2] = {NAN, NAN}, best = NAN;
        for (int i = 0; i < ROUTERS + 2; i++) {
            int side = (i + round) % (ROUTERS + 2);
            if (side >= ROUTERS)
                figures[side - ROUTERS] = ours_busy(host, 1 + side - ROUTERS, clients);
            else
                best = fmax(best, router_busy(peers, side, clients, &ms[side]));
        }
        bench_row_add(&alone, figures[1], figures[0]);
        if (peers->count) bench_row_add(&router, figures[1], best);
    }
    bench_row_print(args, &alone);
    bench_row_print(args, &router);
}

static void measure_throughput(const bench_args *args)
{
    models_host host;
    router_set peers;
    char name[24];
    routers_open(&peers, args, 2, 2);
    texts_open(&host, args, 0, NULL);
    for (int i = 0; i < 2; i++) {
        texts_add(&host, args, i, CADRE_DEFAULT);
        models_load(&host, texts_name(i, name));
    }
    rounds(args, &host, &peers, 1);
    rounds(args, &host, &peers, 4);
    routers_close(&peers);
    models_close(&host);
}

/* ---- latency: ours ---- */

typedef struct other {
    models_host *host;
    char name[24];
    int loaded;
    const int *stop;
    uint64_t *loads;
} other;

static void go_on(other *o);

static void on_other(cadre_pool *pool, int status, const char *detail, void *data)
{
    other *o = data;
    (void)pool;
    if (status < 0) bench_fail("the registry says: %s (%s)", cadre_err_name(status), detail);
    o->host->pending--;
    o->loaded = !o->loaded;
    *o->loads += (uint64_t)o->loaded;
    if (o->loaded || !*o->stop) go_on(o);
}

static void go_on(other *o)
{
    int rc = (o->loaded ? cadre_model_unload : cadre_model_load)(o->host->pool, o->name, on_other, o);
    if (rc != 0) bench_fail("the registry refuses: %s (%s)", cadre_err_name(rc), cadre_pool_error_detail(o->host->pool));
    o->host->pending++;
}

/* p99 in ms of one phase. */
static double phase(bench_samples *samples, double (*once)(void *), void *data)
{
    uint64_t start = bench_now_ns();
    for (uint64_t ms = 0; ms < PHASE_MS || (samples->count < SHORT_MIN && ms < 3 * PHASE_MS); ms = (bench_now_ns() - start) / 1000000)
        bench_samples_add(samples, once(data));
    double p99 = bench_percentile(samples, 0.99);
    bench_samples_free(samples);
    return p99;
}

static texts_batch short_request(void)
{
    static size_t number = 100000;
    return (texts_batch){.models = 1, .count = 1, .tokens = SHORT_TOKENS, .number = number++};
}

static double ours_short(void *data)
{
    texts_batch batch = short_request();
    return texts_ours(data, &batch);
}

static double ours_p99(models_host *host, int with_loads, uint64_t *loads)
{
    static other others[OTHERS];
    bench_samples samples = {0};
    int stop = 0;
    for (int i = 0; with_loads && i < OTHERS; i++) {
        others[i] = (other){.host = host, .stop = &stop, .loads = loads};
        texts_name(i + 1, others[i].name);
        go_on(&others[i]);
    }
    double p99 = phase(&samples, ours_short, host);
    stop = 1;
    while (host->pending > 0) uv_run(&host->loop, UV_RUN_ONCE);
    return p99;
}

/* ---- latency: llama-server ---- */

typedef struct driver {
    const server *router;
    atomic_int stop;
    uint64_t loads;
} driver;

static void wait_for(const server *router, const char *state, int count)
{
    uint64_t start = bench_now_ns();
    while (router_count(router, state) < count) {
        if (bench_now_ns() - start > 60000000000ull) bench_fail("llama-server does not get %d models %s", count, state);
        nanosleep(&(struct timespec){0, 50000000}, NULL); /* between two questions */
    }
}

static void *drive(void *data)
{
    driver *d = data;
    char name[24];
    while (!atomic_load(&d->stop)) {
        for (int i = 1; i <= OTHERS; i++) router_ask(d->router, "load", texts_name(i, name));
        wait_for(d->router, "loaded", MODELS);
        d->loads += OTHERS;
        for (int i = 1; i <= OTHERS; i++) router_ask(d->router, "unload", texts_name(i, name));
        wait_for(d->router, "unloaded", OTHERS);
    }
    return NULL;
}

static double router_short(void *data)
{
    texts_batch batch = short_request();
    return texts_router(data, &batch);
}

static double router_p99(server *router, int with_loads, uint64_t *loads)
{
    bench_samples samples = {0};
    driver d = {.router = router};
    pthread_t thread;
    if (with_loads && pthread_create(&thread, NULL, drive, &d) != 0) bench_fail("pthread_create");
    double p99 = phase(&samples, router_short, router);
    atomic_store(&d.stop, 1);
    if (with_loads) pthread_join(thread, NULL);
    *loads += d.loads;
    return p99;
}

static void measure_latency(const bench_args *args)
{
    models_host host;
    server router = {0};
    bench_row row, router_row;
    uint64_t loads = 0, router_loads = 0;
    char name[24];
    bench_row_init(&row, "cores", "ms p99", "the same, no loads", "ratio <= 1.2", "loaded_latency_p99");
    bench_row_init(&router_row, "cores", "ms p99", "the same, no loads", "none", "loaded_latency_p99_router");
    texts_open(&host, args, 0, NULL);
    for (int i = 0; i < MODELS; i++) texts_add(&host, args, i, CADRE_DEFAULT);
    models_load(&host, texts_name(0, name));
    ours_short(&host);
    if (args->server) {
        router_options options = {.models = MODELS, .models_max = MODELS, .no_warmup = 1, .passive = 1};
        router = router_start(args, &options);
        router_short(&router);
    }
    for (int round = 0; round < args->rounds; round++) {
        double quiet = ours_p99(&host, 0, &loads);
        bench_row_add(&row, ours_p99(&host, 1, &loads), quiet);
        if (!args->server) continue;
        quiet = router_p99(&router, 0, &router_loads);
        bench_row_add(&router_row, router_p99(&router, 1, &router_loads), quiet);
    }
    bench_row_print(args, &row);
    bench_row_print(args, &router_row);
    bench_note(args, "loads that were made meanwhile: ours %llu, the router's %llu", (unsigned long long)loads, (unsigned long long)router_loads);
    server_stop(&router);
    models_close(&host);
}

int main(int argc, char **argv)
{
    bench_args args;
    bench_parse(&args, argc, argv);
    measure_throughput(&args);
    measure_latency(&args);
    bench_finish(&args);
    return 0;
}
