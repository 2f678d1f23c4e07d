/* The loads of the stall case, and the ways to run all of them: by the library (spawned, or as models of its registry), by bare threads, by
 * uv_queue_work.
 *
 * Load i is of kind i % 3: blocking (reads the file of 100 MB in pieces of 1 MB, then computes for about 200 ms of CPU time, a fixed amount of work),
 * asynchronous (reads the same file by uv_fs_read), preloaded (a model around weights that are there already). */
#ifndef CADRE_BENCH_LOADS_H
#define CADRE_BENCH_LOADS_H

#include <cadre.h>
#include <uv.h>

#define LOAD_COUNT 64
#define LOAD_FILE_BYTES (100u * 1000 * 1000)

typedef struct loads {
    uv_loop_t *loop;
    cadre_pool *pool;
    cadre_weights_future *weights; /* of the preloaded kind */
    char path[512];
    int fd;
    uint64_t compute_steps;
    /* the run in progress */
    int started;
    int finished;
    int exited; /* workers that are gone again */
} loads;

/* Makes the file in `folder` (or uses the one that is there), finds out how much 200 ms of computing is, and loads the weights. */
void loads_open(loads *l, uv_loop_t *loop, cadre_pool *pool, const char *folder);
void loads_close(loads *l);

/* Makes an entry of each load. */
void loads_register(loads *l);

/* Run all loads while the loop runs, two at a time where nothing else is said; return the wall time in seconds. */
double loads_by_library(loads *l);
double loads_by_registry(loads *l); /* 64 entries, loaded and unloaded again; loads_register comes before */
double loads_by_threads(loads *l);
double loads_by_queue_work(loads *l, int at_once);

#endif
