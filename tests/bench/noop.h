/* A pool with one worker that does nothing: a text embedding model of one dimension whose operation writes one zero. One text a request and one request an
 * operation, so that every request pays for its own way to the worker and back. */
#ifndef CADRE_BENCH_NOOP_H
#define CADRE_BENCH_NOOP_H

#include <cadre.h>
#include <uv.h>

typedef struct noop_host {
    uv_loop_t loop;
    cadre_pool *pool;
    cadre_worker_id worker;
    int worker_cpu; /* read by the worker's thread when it attaches */
    int ready;
    int closed;
    /* the run in progress */
    size_t to_start;
    size_t to_finish;
    uint64_t submitted_ns;
    double *latencies_ns; /* one in flight: where the next latency goes; NULL: none wanted */
} noop_host;

/* Makes loop, pool and worker, and runs the loop until the worker is ready; ends the program on an error. */
void noop_open(noop_host *host, int worker_cpu);
/* `count` requests, `in_flight` at a time: each answer starts the next one. Returns the wall time in ns. */
uint64_t noop_run(noop_host *host, size_t count, size_t in_flight, double *latencies_ns);
void noop_close(noop_host *host);

#endif
