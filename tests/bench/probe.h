/* A tick of 1 ms and a uv_fs_stat at each of them on a loop: how late it serves what is due.
 *
 * The tick is a timerfd under a uv_poll_t. A uv_timer_t counts in whole milliseconds, and whatever else wakes the loop between two ticks (the reads of
 * asynchronous loads) puts it off by up to one, which says nothing about how soon the loop serves what is due. */
#ifndef CADRE_BENCH_PROBE_H
#define CADRE_BENCH_PROBE_H

#include "bench.h"

#include <uv.h>

#define PROBE_IDLE_MS 2500

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
    double lag_p99, lag_p999, stat_p99, seconds; /* µs */
} figures;

void probe_start(probe *p, uv_loop_t *loop, const char *path);
/* Lets open stats end, closes the timer, and works out the figures. */
figures probe_stop(probe *p, double seconds);
/* Lets the loop run for PROBE_IDLE_MS with the probe alone; returns that in seconds. */
double probe_idle(uv_loop_t *loop);

#endif
