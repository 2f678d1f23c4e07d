/* stall: what loads do to the host's loop. A timer of 1 ms and a uv_fs_stat at each tick run on the loop while 64 mixed loads (see
 * loads.h) run beside it, two at a time.
 *
 *   timer_lag_p99       from the time a tick is due to its callback: against the same loop, idle
 *   timer_lag_p99_9     likewise; the target is in µs above idle
 *   callback_longest    the longest library callback in CPU time of the loop's thread (see interpose.h), of the round
 *   load_time           for all loads, against two bare threads that do the same
 *   fs_stat_p99         from uv_fs_stat to its callback: against idle
 *   fs_stat_p99_queue_work_2 / _64   the same with the loads done by uv_queue_work, two at a time or all at once */
#include "bench.h"
#include "interpose.h"
#include "loads.h"
#include "probe.h"

typedef enum way { WAY_IDLE, WAY_LIBRARY, WAY_THREADS, WAY_QUEUE_2, WAY_QUEUE_64, WAY_COUNT } way;

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
    default: seconds = probe_idle(l->loop); break;
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
    bench_finish(&args);
    return 0;
}
