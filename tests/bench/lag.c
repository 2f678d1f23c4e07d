/* lag: the stall case again (see stall.c) with 64 models of the registry, which are loaded and unloaded two at a time, the metrics scraped each second
 * (cadre_pool_prometheus), and the trace written to a file.
 *
 *   timer_lag_p99, timer_lag_p99_9, callback_longest, load_time, fs_stat_p99   as there; the longest callback may be a scrape
 *   scrape   the longest, CPU time */
#include "interpose.h"
#include "loads.h"
#include "probe.h"

#include <stdio.h>

#define SCRAPE_MS 1000

typedef struct scraper {
    uv_timer_t timer;
    cadre_pool *pool;
    size_t bytes;
    double longest_us;
} scraper;

static void take_text(const char *text, size_t length, void *data)
{
    (void)text;
    ((scraper *)data)->bytes += length;
}

static void on_scrape(uv_timer_t *timer)
{
    scraper *s = timer->data;
    uint64_t start = bench_thread_cpu_ns();
    s->bytes = 0;
    interpose_begin();
    int rc = cadre_pool_prometheus(s->pool, take_text, s);
    interpose_end();
    double us = (double)(bench_thread_cpu_ns() - start) / 1000;
    if (rc != 0) bench_fail("cadre_pool_prometheus: %s", cadre_err_name(rc));
    if (us > s->longest_us) s->longest_us = us;
}

static void scrape(scraper *s, int on)
{
    if (!on) {
        uv_timer_stop(&s->timer);
        return;
    }
    s->longest_us = 0;
    interpose_mine(1);
    uv_timer_start(&s->timer, on_scrape, SCRAPE_MS, SCRAPE_MS);
    interpose_mine(0);
}

typedef enum way { WAY_IDLE, WAY_REGISTRY, WAY_THREADS, WAY_COUNT } way;

static figures measure(loads *l, scraper *s, way w)
{
    probe p;
    double seconds;
    probe_start(&p, l->loop, l->path);
    if (w == WAY_REGISTRY) scrape(s, 1);
    seconds = w == WAY_REGISTRY ? loads_by_registry(l) : w == WAY_THREADS ? loads_by_threads(l) : probe_idle(l->loop);
    if (w == WAY_REGISTRY) scrape(s, 0);
    return probe_stop(&p, seconds);
}

typedef struct rows {
    bench_row lag, lag999, longest, time, stat, scrape;
} rows;

static void init_rows(rows *r)
{
    static const char *const name = "lag", *const idle = "the same loop, idle";
    bench_row_init(&r->lag, name, "us p99", idle, "ratio <= 1.1", "timer_lag_p99");
    bench_row_init(&r->lag999, name, "us p99.9", idle, "at most 1000 us above the peer", "timer_lag_p99_9");
    bench_row_init(&r->longest, name, "us CPU", NULL, "value <= 200", "callback_longest");
    bench_row_init(&r->time, name, "s", "two bare threads", "ratio <= 1.1", "load_time");
    bench_row_init(&r->stat, name, "us p99", idle, "ratio <= 1.5", "fs_stat_p99");
    bench_row_init(&r->scrape, name, "us CPU", NULL, "value <= 200", "scrape");
}

static void measure_round(rows *r, loads *l, scraper *s, int round)
{
    figures f[WAY_COUNT];
    bench_samples callbacks = {0};
    for (int i = 0; i < WAY_COUNT; i++) {
        way w = (way)((i + round) % WAY_COUNT);
        bench_samples before = interpose_take();
        bench_samples_free(&before);
        f[w] = measure(l, s, w);
        if (w == WAY_REGISTRY) callbacks = interpose_take();
    }
    bench_row_add(&r->lag, f[WAY_REGISTRY].lag_p99, f[WAY_IDLE].lag_p99);
    bench_row_add(&r->lag999, f[WAY_REGISTRY].lag_p999, f[WAY_IDLE].lag_p999);
    bench_row_add(&r->longest, bench_percentile(&callbacks, 1), 0);
    bench_row_add(&r->time, f[WAY_REGISTRY].seconds, f[WAY_THREADS].seconds);
    bench_row_add(&r->stat, f[WAY_REGISTRY].stat_p99, f[WAY_IDLE].stat_p99);
    bench_row_add(&r->scrape, s->longest_us, 0);
    bench_samples_free(&callbacks);
}

int main(int argc, char **argv)
{
    bench_args args;
    uv_loop_t loop;
    scraper s = {.longest_us = 0};
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    char trace[600];
    rows r;
    loads l;
    bench_parse(&args, argc, argv);
    snprintf(trace, sizeof trace, "%s/lag.trace.json", args.folder);
    options.trace_path = trace;
    int rc = uv_loop_init(&loop);
    if (rc == 0) rc = cadre_pool_create(&s.pool, &loop, &options);
    if (rc != 0) bench_fail("making a pool: %s", cadre_err_name(rc));
    init_rows(&r);
    uv_timer_init(&loop, &s.timer);
    s.timer.data = &s;
    loads_open(&l, &loop, s.pool, args.folder);
    loads_register(&l);
    for (int round = 0; round < args.rounds; round++) measure_round(&r, &l, &s, round);
    const bench_row *const all[] = {&r.lag, &r.lag999, &r.longest, &r.time, &r.stat, &r.scrape};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) bench_row_print(&args, all[i]);
    bench_note(&args, "a scrape of %d models is %zu bytes", LOAD_COUNT, s.bytes);
    loads_close(&l);
    uv_close((uv_handle_t *)&s.timer, NULL);
    rc = cadre_pool_close(s.pool, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    if (rc != 0 || uv_loop_close(&loop) != 0) bench_fail("closing the pool");
    bench_finish(&args);
    return 0;
}
