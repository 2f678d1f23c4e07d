/* What dispatch is measured against: a word handed back and forth by eventfd, and libuv's own thread pool. */
#ifndef CADRE_BENCH_FLOORS_H
#define CADRE_BENCH_FLOORS_H

#include <stddef.h>
#include <stdint.h>

/* Two threads, one word: count round trips, one latency each. */
void floor_eventfd(int worker_cpu, size_t count, double *latencies_ns);

typedef struct queue_work_host queue_work_host;

/* uv_queue_work on a loop of its own with one pool thread (UV_THREADPOOL_SIZE=1 is set by the first open of the process). */
queue_work_host *queue_work_open(int worker_cpu);
/* No-op work, in_flight at a time, each completion queueing the same request again. Returns the wall time in ns. */
uint64_t queue_work_run(queue_work_host *host, size_t count, size_t in_flight);
void queue_work_close(queue_work_host *host);

#endif
