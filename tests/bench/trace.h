/* Traces of requests over a few models, and what a cache of models costs on them: every request needs its model there, and a load puts one model in the place
 * of another. */
#ifndef CADRE_BENCH_TRACE_H
#define CADRE_BENCH_TRACE_H

#include <stddef.h>
#include <stdint.h>

typedef enum trace_kind {
    TRACE_ZIPF,    /* model k (from 1) with a probability in proportion to 1 / k, independently each time */
    TRACE_UNIFORM, /* each with the same */
    TRACE_CYCLIC,  /* 0, 1, 2, …, 0, 1, … */
    TRACE_KINDS
} trace_kind;

/* Fills out[0 … count − 1] with models 0 … models − 1. The same seed gives the same trace everywhere. */
void trace_make(trace_kind kind, uint64_t seed, uint8_t *out, size_t count, unsigned models);

/* Loads with room for `room` models, none there at the beginning: with a clairvoyant cache that lets go the model whose next request is the farthest away
 * (Belady, 1966), which is the fewest; and with one that lets go the least recently used. */
size_t trace_optimum(const uint8_t *trace, size_t count, unsigned models, unsigned room);
size_t trace_lru(const uint8_t *trace, size_t count, unsigned models, unsigned room);

#endif
