#include "trace.h"

#include "bench.h"

#include <stdlib.h>

#define MODELS_MAX 64

/* splitmix64 (Steele, Lea and Flood 2014). */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static uint8_t draw(double u, const double *weights, unsigned models)
{
    double sum = 0, reached = 0;
    for (unsigned i = 0; i < models; i++) sum += weights[i];
    for (unsigned i = 0; i + 1 < models; i++) {
        reached += weights[i] / sum;
        if (u < reached) return (uint8_t)i;
    }
    return (uint8_t)(models - 1);
}

void trace_make(trace_kind kind, uint64_t seed, uint8_t *out, size_t count, unsigned models)
{
    double weights[MODELS_MAX];
    uint64_t state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    if (models < 1 || models > MODELS_MAX) bench_fail("a trace of 1 to %d models", MODELS_MAX);
    for (unsigned i = 0; i < models; i++) weights[i] = kind == TRACE_ZIPF ? 1.0 / (i + 1) : 1.0;
    for (size_t i = 0; i < count; i++) {
        double u = (double)(next_random(&state) >> 11) / 9007199254740992.0;
        out[i] = kind == TRACE_CYCLIC ? (uint8_t)(i % models) : draw(u, weights, models);
    }
}

/* Loads when the victim is the one with the largest key; key[m] is given a new value at each request of m. */
static size_t count_loads(const uint8_t *trace, size_t count, unsigned models, unsigned room, const size_t *keys)
{
    size_t key[MODELS_MAX] = {0}, loads = 0;
    int there[MODELS_MAX] = {0};
    unsigned held = 0;
    for (size_t i = 0; i < count; i++) {
        unsigned m = trace[i];
        if (!there[m]) {
            unsigned victim = models;
            for (unsigned k = 0; held == room && k < models; k++)
                if (there[k] && (victim == models || key[k] > key[victim])) victim = k;
            if (victim < models)
                there[victim] = 0;
            else
                held++;
            there[m] = 1;
            loads++;
        }
        key[m] = keys[i];
    }
    return loads;
}

static size_t *make_keys(size_t count)
{
    size_t *keys = calloc(count, sizeof *keys);
    if (!keys) bench_fail("out of memory");
    return keys;
}

size_t trace_optimum(const uint8_t *trace, size_t count, unsigned models, unsigned room)
{
    size_t next[MODELS_MAX], loads;
    size_t *keys = make_keys(count);
    for (unsigned m = 0; m < models; m++) next[m] = SIZE_MAX;
    for (size_t i = count; i-- > 0;) {
        keys[i] = next[trace[i]];
        next[trace[i]] = i;
    }
    loads = count_loads(trace, count, models, room, keys);
    free(keys);
    return loads;
}

size_t trace_lru(const uint8_t *trace, size_t count, unsigned models, unsigned room)
{
    size_t *keys = make_keys(count), loads;
    for (size_t i = 0; i < count; i++) keys[i] = SIZE_MAX - i; /* the latest has the smallest */
    loads = count_loads(trace, count, models, room, keys);
    free(keys);
    return loads;
}
