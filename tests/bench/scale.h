/* The scale case's dispatches on the simulated executor, which one thread runs: what valgrind can count with a thousand workers. */
#ifndef CADRE_BENCH_SCALE_H
#define CADRE_BENCH_SCALE_H

#include <stddef.h>

/* `models` in the registry, of which `serving` have `workers` in all; then `count` requests, eight in flight, to one serving model after the other, between
 * two CALLGRIND_TOGGLE_COLLECT. */
void scale_dispatch(unsigned models, unsigned serving, unsigned workers, size_t count);

#endif
