/* What the measuring programs share: arguments, time, statistics, placement of threads, and rows.
 *
 * A row compares one figure with a peer or floor that was measured in the same run, round by round, in alternation: its value and peer_value are the medians
 * over the rounds, its ratio the median of the rounds' ratios (value to peer_value), its spread (max − min) / median of those ratios. A row without a peer has
 * no ratio; its spread is that of the values. */
#ifndef CADRE_BENCH_H
#define CADRE_BENCH_H

#include <stddef.h>
#include <stdint.h>

#define BENCH_ROUNDS_MAX 101

typedef struct bench_args {
    int json;
    int rounds;
    int threads;             /* for engines: the CPUs of this process */
    const char *server;      /* the llama-server program; NULL: none */
    const char *server_same; /* one that computes with the backend's own CPU modules; NULL: none */
    const char *smollm2;
    const char *minilm;
    const char *engine; /* folder of the engine's libraries */
    const char *folder; /* where files may be written */
    /* image, shared; `_large` here and below: NULL: that part of the case is left out */
    const char *clip_onnx, *clip_onnx_large;
    const char *minilm_onnx, *minilm_vocab;
    /* vision */
    const char *mtmd_cli, *mtmd_cli_own; /* llama-mtmd-cli with the backend's own CPU modules; with those of its own build; NULL: none */
    const char *llava, *llava_mmproj, *llava_large, *llava_large_mmproj;
    /* draw */
    const char *sd_cli;                                         /* the command-line program of stable-diffusion.cpp */
    const char *flux, *sd35, *clip_l, *clip_g, *taesd, *taesd3; /* clip_g may be NULL */
} bench_args;

/* --json, --rounds N, --threads N, and --NAME VALUE for each member above, with hyphens; ends the program on anything else. */
void bench_parse(bench_args *args, int argc, char **argv);

/* Last: a note of how busy other processes kept the CPUs meanwhile, which is what the spreads come from. Children must have been waited for. */
void bench_finish(const bench_args *args);

/* Prints "bench: …" to stderr and ends the program. */
_Noreturn void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A line for the reader: to stdout, or to stderr with --json. */
void bench_note(const bench_args *args, const char *format, ...) __attribute__((format(printf, 2, 3)));

uint64_t bench_now_ns(void);
uint64_t bench_thread_cpu_ns(void);

/* A growing array of samples. */
typedef struct bench_samples {
    double *values;
    size_t count;
    size_t capacity;
} bench_samples;

void bench_samples_add(bench_samples *samples, double value);
/* Nearest rank, p in 0…1; sorts the samples. NaN when there are none. */
double bench_percentile(bench_samples *samples, double p);
void bench_samples_free(bench_samples *samples);
double bench_median(const double *values, int count);

/* Where the loop's thread and the worker's thread run; −1: wherever the scheduler puts them. */
typedef struct bench_placement {
    const char *name;
    int loop_cpu;
    int worker_cpu;
} bench_placement;

/* Fills in same_cpu, two_cpus and free, or same_cpu and free where there is one CPU; returns how many. Call it before anything is pinned. */
int bench_placements(bench_placement out[3]);
/* Pins the calling thread; −1 lets it run on all CPUs that the program was started with. */
void bench_pin(int cpu);

typedef struct bench_row {
    const char *name; /* the case */
    char metric[64];
    const char *unit;
    const char *peer;   /* NULL: none */
    const char *target; /* for the reader */
    int rounds;
    double values[BENCH_ROUNDS_MAX];
    double peer_values[BENCH_ROUNDS_MAX];
} bench_row;

void bench_row_init(bench_row *row, const char *name, const char *unit, const char *peer, const char *target, const char *metric, ...)
    __attribute__((format(printf, 6, 7)));
/* One round; the peer's value is not looked at in a row without a peer. */
void bench_row_add(bench_row *row, double value, double peer_value);
void bench_row_print(const bench_args *args, const bench_row *row);

/* One side of a comparison: measures once and returns the figure. */
typedef double (*bench_side)(void *data);
/* Adds one round to the row; even rounds measure our side first, odd ones the peer. */
void bench_row_round(bench_row *row, int round, bench_side ours, bench_side peer, void *data);

#endif
