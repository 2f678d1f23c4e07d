#include "probe.h"

#include "interpose.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define TICK_NS 1000000

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

void probe_start(probe *p, uv_loop_t *loop, const char *path)
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

figures probe_stop(probe *p, double seconds)
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

double probe_idle(uv_loop_t *loop)
{
    uint64_t start = bench_now_ns();
    while (bench_now_ns() - start < PROBE_IDLE_MS * 1000000ull) uv_run(loop, UV_RUN_ONCE);
    return (double)PROBE_IDLE_MS / 1000;
}
