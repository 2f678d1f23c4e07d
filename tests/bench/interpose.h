/* The CPU time that the loop's thread spends in the library's callbacks, one by one.
 *
 * This program defines the functions by which a callback is given to libuv (uv_poll_start, uv_prepare_start, uv_check_start, uv_idle_start, uv_timer_start,
 * uv_async_init, uv_close), so the library's calls come here: its callback is kept aside and one is given to libuv that reads CLOCK_THREAD_CPUTIME_ID before
 * and after. That counts each callback whole, with the host's callbacks that it runs, and nothing else; time during which the thread did not run is not in it.
 * Handles of the bench are opened between interpose_mine(1) and interpose_mine(0). It needs libuv as a shared library. */
#ifndef CADRE_BENCH_INTERPOSE_H
#define CADRE_BENCH_INTERPOSE_H

#include "bench.h"

void interpose_mine(int mine);
/* Brackets for the host's own calls into the library outside of callbacks: counted as one callback. */
void interpose_begin(void);
void interpose_end(void);
/* Callbacks in µs since the last interpose_take, which hands them over. */
bench_samples interpose_take(void);

#endif
