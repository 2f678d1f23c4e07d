/* stall: what loads do to the host's loop. A timer of 1 ms and a uv_fs_stat at each tick run on the loop while 64 mixed loads (see
 * loads.h) run beside it, two at a time.
 *
 *   timer_lag_p99       from the time a tick is due to its callback: against the same loop, idle
 *   timer_lag_p99_9     likewise; the target is in µs above idle
 *   callback_longest    the longest library callback in CPU time of the loop's thread (see interpose.h), of the round
 *   load_time           for all loads, against two bare threads that do the same
 *   fs_stat_p99         from uv_fs_stat to its callback: against idle
 *   fs_stat_p99_queue_work_2 / _64   the same with the loads done by uv_queue_work, two at a time or all at once
 *
 * The timer is a timerfd under a uv_poll_t. A uv_timer_t counts in whole milliseconds, and whatever else wakes the loop between two ticks
 * (here the reads of the asynchronous loads) puts it off by up to one, which says nothing about how soon the loop serves what is due. */
#include "bench.h"
#include "interpose.h"
#include "loads.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define IDLE_MS 2500
#define TICK_NS 1000000

typedef struct probe {
    uv_loop_t *loop;
    uv_poll_t poll;
    int timer; /* a timerfd */
    uint64_t due_ns;
    const char *path;
    size_t open_stats;
    bench_samples lags_us;
    bench_samples stats_us;
} probe;

typedef struct figures {
    double lag_p99, lag_p999, stat_p99, seconds;
} figures;

typedef struct timed_stat {
    uv_fs_t request;
    probe *probe;
    uint64_t start_ns;
} timed_stat;

static void on_stat(uv_fs_t *request)
{
    timed_stat *t = request->data;
    bench_samples_add(&t->probe->stats_us, (double)(bench_now_ns() - t->start_ns) / 1000);
    t->probe->open_stats--;
    uv_fs_req_cleanup(request);
    free(t);
}

/* A stat at every tick, whether or not the ones before have been answered: who waits for an answer first does not see the wait of the others. */
static void start_stat(probe *p)
{
    timed_stat *t = malloc(sizeof *t);
    if (!t) bench_fail("out of memory");
    t->probe = p;
    t->start_ns = bench_now_ns();
    t->request.data = t;
    p->open_stats++;
    if (uv_fs_stat(p->loop, &t->request, p->path, on_stat) != 0) bench_fail("uv_fs_stat");
}

/* Ticks that were missed count each for itself. */
static void on_tick(uv_poll_t *poll, int status, int events)
{
    probe *p = poll->data;
    uint64_t expirations, now = bench_now_ns();
    (void)events;
    if (status != 0) bench_fail("uv_poll: %s", uv_strerror(status));
    if (read(p->timer, &expirations, sizeof expirations) != sizeof expirations) return;
    for (; expirations > 0; expirations--, p->due_ns += TICK_NS) bench_samples_add(&p->lags_us, now > p->due_ns ? (double)(now - p->due_ns) / 1000 : 0);
    start_stat(p);
}

static void probe_start(probe *p, uv_loop_t *loop, const char *path)
{
    *p = (probe){.loop = loop, .path = path, .timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)};
    p->due_ns = bench_now_ns() + TICK_NS;
    struct itimerspec spec = {.it_interval = {0, TICK_NS}, .it_value = {(time_t)(p->due_ns / 1000000000u), (long)(p->due_ns % 1000000000u)}};
    if (p->timer < 0 || timerfd_settime(p->timer, TFD_TIMER_ABSTIME, &spec, NULL) != 0) bench_fail("timerfd: %s", strerror(errno));
    interpose_mine(1);
    uv_poll_init(loop, &p->poll, p->timer);
    p->poll.data = p;
    uv_poll_start(&p->poll, UV_READABLE, on_tick);
    interpose_mine(0);
}

/* Lets open stats end, closes the timer, and works out the figures. */
static figures probe_stop(probe *p, double seconds)
{
    uv_poll_stop(&p->poll);
    while (p->open_stats > 0) uv_run(p->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&p->poll, NULL);
    uv_run(p->loop, UV_RUN_NOWAIT);
    close(p->timer);
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
    bench_finish(&args);
    return 0;
}
