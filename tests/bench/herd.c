/* herd: many requests at once for one cold model; at most four workers, a queue of 10,000.
 *
 *   wall_40           until the last of 40 answers of eight tokens, against llama-server's router getting the same 40 at once, the better of its defaults and
 *                     of --no-warmup
 *   loads_40, loads_10000       begun before the first worker was ready (initial_workers is 1)
 *   workers_40, workers_10000   that were there or loading at the same time, at most
 *   refused_10000     requests that were not accepted
 *
 * The file is in the page cache. Both sides: four slots of 1,024 tokens, the engine threads that are theirs by default. Of the 10,000, those that have no
 * answer 15 s after the first one are cancelled: more workers come, if they come, long before that. Between two rounds the model is unloaded. */
#include "inputs.h"
#include "texts.h"

#include <math.h>
#include <stdio.h>

#define FEW 40
#define MANY 10000
#define MANY_ROUNDS 3
#define AFTER_MS 15000
#define TOKENS 8

typedef struct many {
    models_host *host;
    cadre_request_id ids[MANY];
    size_t refused, over, answered;
    uint64_t first_ns;
} many;

static void on_done(cadre_request *request, int status, const cadre_generation *result)
{
    many *m = cadre_request_data(request);
    (void)result;
    if (status < 0 && status != CADRE_ECANCELED) bench_fail("a request failed: %s (%s)", cadre_err_name(status), cadre_request_detail(request));
    m->over++;
    m->answered += status == 0;
    if (!m->first_ns && status == 0) m->first_ns = bench_now_ns();
}

static void on_timer(uv_timer_t *timer)
{
    many *m = timer->data;
    if (!m->first_ns || bench_now_ns() - m->first_ns < AFTER_MS * 1000000ull) return;
    for (size_t i = 0; i < MANY; i++) cadre_request_cancel(m->host->pool, m->ids[i]);
    uv_timer_stop(timer);
}

static void run_many(many *m)
{
    static size_t number = 1000000;
    uv_timer_t timer;
    *m = (many){.host = m->host};
    models_count_again(m->host);
    for (size_t i = 0; i < MANY; i++) {
        char prompt[256], name[24];
        cadre_generate_params params = CADRE_GENERATE_PARAMS_INIT;
        input_prompt(number++, prompt, sizeof prompt);
        params.key = texts_name(0, name);
        params.text = prompt;
        params.raw = 1;
        params.sampling.temperature = 0;
        params.sampling.max_tokens = TOKENS;
        params.on_done = on_done;
        params.data = m;
        m->refused += cadre_generate(m->host->pool, &params, &m->ids[i]) != 0;
    }
    uv_timer_init(&m->host->loop, &timer);
    timer.data = m;
    uv_timer_start(&timer, on_timer, 100, 100);
    while (m->over + m->refused < MANY) uv_run(&m->host->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&m->host->loop, UV_RUN_NOWAIT);
}

typedef struct rows {
    bench_row wall, loads_few, workers_few, loads_many, workers_many, refused;
} rows;

static void measure_few(const bench_args *args, models_host *host, const server routers[2], rows *r)
{
    int no_warmup_won = 0;
    texts_batch batch = {.models = 1, .count = FEW, .tokens = TOKENS};
    for (int round = -1; round < args->rounds; round++) { /* the first one warms the page cache */
        double figures[3] = {NAN, NAN, NAN};
        for (int i = 0; i < 3; i++) {
            char name[24];
            int side = (i + round + 3) % 3;
            if (side > 0 && args->server) {
                figures[side] = texts_router(&routers[side - 1], &batch);
                router_empty(&routers[side - 1], 1);
            } else if (side == 0) {
                models_count_again(host);
                figures[side] = texts_ours(host, &batch);
                models_unload(host, texts_name(0, name));
            }
        }
        if (round < 0) continue;
        no_warmup_won += figures[2] < figures[1];
        bench_row_add(&r->wall, figures[0], fmin(figures[1], figures[2]));
        bench_row_add(&r->loads_few, (double)host->count.before_ready, 0);
        bench_row_add(&r->workers_few, (double)host->count.workers_most, 0);
    }
    if (args->server) bench_note(args, "llama-server was faster without its warm-up in %d of %d rounds", no_warmup_won, args->rounds);
}

static void measure_many(const bench_args *args, models_host *host, rows *r)
{
    static many m;
    m.host = host;
    for (int round = 0; round < MANY_ROUNDS; round++) {
        char name[24];
        run_many(&m);
        models_unload(host, texts_name(0, name));
        bench_row_add(&r->loads_many, (double)host->count.before_ready, 0);
        bench_row_add(&r->workers_many, (double)host->count.workers_most, 0);
        bench_row_add(&r->refused, (double)m.refused, 0);
    }
    bench_note(args, "of the last %d requests at once, %zu were answered before the others were cancelled", MANY, m.answered);
}

int main(int argc, char **argv)
{
    bench_args args;
    models_host host;
    server routers[2] = {{0}};
    rows r;
    bench_parse(&args, argc, argv);
    bench_row_init(&r.wall, "herd", "ms", args.server ? "llama-server, router mode" : NULL, "ratio <= 0.7", "wall_%d", FEW);
    bench_row_init(&r.loads_few, "herd", "loads", NULL, "value = 1", "loads_%d", FEW);
    bench_row_init(&r.workers_few, "herd", "workers", NULL, "value <= 4", "workers_%d", FEW);
    bench_row_init(&r.loads_many, "herd", "loads", NULL, "value = 1", "loads_%d", MANY);
    bench_row_init(&r.workers_many, "herd", "workers", NULL, "value <= 4", "workers_%d", MANY);
    bench_row_init(&r.refused, "herd", "requests", NULL, "value = 0", "refused_%d", MANY);
    for (int i = 0; args.server && i < 2; i++) {
        router_options options = {.models = 1, .models_max = 1, .no_warmup = i};
        routers[i] = router_start(&args, &options);
    }
    texts_open(&host, &args, 0, NULL);
    texts_add(&host, &args, 0, MANY);
    measure_few(&args, &host, routers, &r);
    measure_many(&args, &host, &r);
    const bench_row *const all[] = {&r.wall, &r.loads_few, &r.workers_few, &r.loads_many, &r.workers_many, &r.refused};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) bench_row_print(&args, all[i]);
    for (int i = 0; i < 2; i++) server_stop(&routers[i]);
    models_close(&host);
    bench_finish(&args);
    return 0;
}
