/* stall: what loads do to the host's loop. A timer of 1 ms and a uv_fs_stat at each tick run on the loop while 64 mixed loads (see loads.h) run beside it, two at a time.
 *
 *   timer_lag_p99       how much later than 1 ms after the one before a tick comes (0 when earlier): against the same loop, idle
 *   timer_lag_p99_9     likewise; the target is in µs above idle
 *   callback_longest    the longest library callback in CPU time of the loop's thread (see interpose.h), of the round
 *   load_time           for all loads, against two bare threads that do the same
 *   fs_stat_p99         from uv_fs_stat to its callback: against idle
 *   fs_stat_p99_queue_work_2 / _64   the same with the loads done by uv_queue_work, two at a time or all at once
 */
#include "bench.h"
#include "interpose.h"
#include "loads.h"

#include <math.h>
#include <string.h>

#define IDLE_MS 2500

typedef struct probe {
    uv_loop_t *loop;
    uv_timer_t timer;
    uv_fs_t stat;
    const char *path;
    uint64_t tick_ns;
    uint64_t stat_ns; /* 0: none under way */
    bench_samples lags_us;
    bench_samples stats_us;
} probe;

typedef struct figures {
    double lag_p99, lag_p999, stat_p99, seconds;
} figures;

static void on_stat(uv_fs_t *request)
{
    probe *p = request->data;
    bench_samples_add(&p->stats_us, (double)(bench_now_ns() - p->stat_ns) / 1000);
    p->stat_ns = 0;
    uv_fs_req_cleanup(request);
}

static void on_tick(uv_timer_t *timer)
{
    probe *p = timer->data;
    uint64_t now = bench_now_ns();
    bench_samples_add(&p->lags_us, fmax(0, (double)(now - p->tick_ns) / 1000 - 1000));
    p->tick_ns = now;
    if (p->stat_ns != 0) return;
    p->stat_ns = now;
    p->stat.data = p;
    if (uv_fs_stat(p->loop, &p->stat, p->path, on_stat) != 0) bench_fail("uv_fs_stat");
}

static void probe_start(probe *p, uv_loop_t *loop, const char *path)
{
    *p = (probe){.loop = loop, .path = path};
    interpose_mine(1);
    uv_timer_init(loop, &p->timer);
    p->timer.data = p;
    p->tick_ns = bench_now_ns();
    uv_timer_start(&p->timer, on_tick, 1, 1);
    interpose_mine(0);
}

/* Lets an open stat end, closes the timer, and works out the figures. */
static figures probe_stop(probe *p, double seconds)
{
    uv_timer_stop(&p->timer);
    while (p->stat_ns != 0) uv_run(p->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&p->timer, NULL);
    uv_run(p->loop, UV_RUN_NOWAIT);
    figures f = {bench_percentile(&p->lags_us, 0.99), bench_percentile(&p->lags_us, 0.999), bench_percentile(&p->stats_us, 0.99), seconds};
    bench_samples_free(&p->lags_us);
    bench_samples_free(&p->stats_us);
    return f;
}

typedef enum way { WAY_IDLE, WAY_LIBRARY, WAY_THREADS, WAY_QUEUE_2, WAY_QUEUE_64, WAY_COUNT } way;

static double run_idle(uv_loop_t *loop)
{
    uint64_t start = bench_now_ns();
    while (bench_now_ns() - start < IDLE_MS * 1000000ull) uv_run(loop, UV_RUN_ONCE);
    return (double)IDLE_MS / 1000;
}

static figures measure(loads *l, way w)
{
    probe p;
    double seconds = 0;
    probe_start(&p, l->loop, l->path);
    switch (w) {
    case WAY_LIBRARY: seconds = loads_by_library(l); break;
    case WAY_THREADS: seconds = loads_by_threads(l); break;
    case WAY_QUEUE_2: seconds = loads_by_queue_work(l, 2); break;
    case WAY_QUEUE_64: seconds = loads_by_queue_work(l, LOAD_COUNT); break;
    default: seconds = run_idle(l->loop); break;
    }
    return probe_stop(&p, seconds);
}

typedef struct rows {
    bench_row lag, lag999, longest, time, stat, queue2, queue64;
} rows;

static void init_rows(rows *r)
{
    static const char *const name = "stall", *const idle = "the same loop, idle";
    bench_row_init(&r->lag, name, "us p99", idle, "ratio <= 1.1", "timer_lag_p99");
    bench_row_init(&r->lag999, name, "us p99.9", idle, "at most 1000 us above the peer", "timer_lag_p99_9");
    bench_row_init(&r->longest, name, "us CPU", NULL, "value <= 200", "callback_longest");
    bench_row_init(&r->time, name, "s", "two bare threads", "ratio <= 1.1", "load_time");
    bench_row_init(&r->stat, name, "us p99", idle, "ratio <= 1.5", "fs_stat_p99");
    bench_row_init(&r->queue2, name, "us p99", idle, "none: the loads by uv_queue_work, 2 at a time", "fs_stat_p99_queue_work_2");
    bench_row_init(&r->queue64, name, "us p99", idle, "none: the loads by uv_queue_work, all at once", "fs_stat_p99_queue_work_64");
}

/* The ways take turns, each round beginning with another one. */
static void measure_round(rows *r, loads *l, int round)
{
    figures f[WAY_COUNT];
    bench_samples callbacks = {0};
    for (int i = 0; i < WAY_COUNT; i++) {
        way w = (way)((i + round) % WAY_COUNT);
        bench_samples before = interpose_take();
        bench_samples_free(&before);
        f[w] = measure(l, w);
        if (w == WAY_LIBRARY) callbacks = interpose_take();
    }
    bench_row_add(&r->lag, f[WAY_LIBRARY].lag_p99, f[WAY_IDLE].lag_p99);
    bench_row_add(&r->lag999, f[WAY_LIBRARY].lag_p999, f[WAY_IDLE].lag_p999);
    bench_row_add(&r->longest, bench_percentile(&callbacks, 1), 0);
    bench_row_add(&r->time, f[WAY_LIBRARY].seconds, f[WAY_THREADS].seconds);
    bench_row_add(&r->stat, f[WAY_LIBRARY].stat_p99, f[WAY_IDLE].stat_p99);
    bench_row_add(&r->queue2, f[WAY_QUEUE_2].stat_p99, f[WAY_IDLE].stat_p99);
    bench_row_add(&r->queue64, f[WAY_QUEUE_64].stat_p99, f[WAY_IDLE].stat_p99);
    bench_samples_free(&callbacks);
}

static void print_rows(const bench_args *args, const rows *r)
{
    const bench_row *const all[] = {&r->lag, &r->lag999, &r->longest, &r->time, &r->stat, &r->queue2, &r->queue64};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) bench_row_print(args, all[i]);
    bench_note(args, "callback_longest counts whole callbacks of the library's handles, and the host's callbacks inside them, by CLOCK_THREAD_CPUTIME_ID");
}

int main(int argc, char **argv)
{
    bench_args args;
    uv_loop_t loop;
    cadre_pool *pool;
    rows r;
    loads l;
    bench_parse(&args, argc, argv);
    int rc = uv_loop_init(&loop);
    if (rc == 0) rc = cadre_pool_create(&pool, &loop, NULL);
    if (rc != 0) bench_fail("making a pool: %s", cadre_err_name(rc));
    init_rows(&r);
    loads_open(&l, &loop, pool, args.folder);
    for (int round = 0; round < args.rounds; round++) measure_round(&r, &l, round);
    print_rows(&args, &r);
    loads_close(&l);
    rc = cadre_pool_close(pool, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    if (rc != 0 || uv_loop_close(&loop) != 0) bench_fail("closing the pool");
    return 0;
}
