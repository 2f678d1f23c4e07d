/* The shared case's measurements. Each is made in a process of its own, so that no memory that an earlier one gave back is there to be taken again. */
#ifndef CADRE_BENCH_SHARED_H
#define CADRE_BENCH_SHARED_H

#include "bench.h"

#define SHARED_WORKERS 4

typedef struct shared_sample {
    double pss[SHARED_WORKERS]; /* MiB of the process, with 1, 2, … workers (or contexts) that all have worked */
    double own;                 /* MiB of each but the first, by the ledger or by what the engine says; NaN: nothing is said */
} shared_sample;

typedef void (*shared_measure)(const bench_args *args, shared_sample *out);

/* Text of SmolLM2 with four slots of 1,024 tokens, one worker at work at a time: ours around cadre_llama_weights; and llama.cpp's contexts around one model. */
void shared_llama_ours(const bench_args *args, shared_sample *out);
void shared_llama_bare(const bench_args *args, shared_sample *out);
/* Vectors of MiniLM, four texts of 512 tokens at a time on one engine thread, all workers at work at once: ours around cadre_onnx_weights; and as many threads
 * that run one session of ONNX Runtime. The figures are the highest while they work. */
void shared_onnx_ours(const bench_args *args, shared_sample *out);
void shared_onnx_bare(const bench_args *args, shared_sample *out);

/* The proportional set size of this process in MiB. Any thread. */
double shared_pss(void);

#endif
