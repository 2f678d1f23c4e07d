/* shared: what each further worker adds to the memory of the process when all work on one copy of the weights: the proportional set size with four workers less
 * that with one, divided by three, in MiB.
 *
 *   extra_pss_llama             a text model's, against the buffers that llama.cpp names in its log for a context of the same options
 *   extra_pss_llama_vs_ledger   the same, against what the pool's ledger charges for the worker
 *   extra_pss_llama_vs_bare     the same, against contexts that were made by llama.cpp's own functions around one model
 *   extra_pss_onnx              a text embedding model's, at its highest, against what the pool's ledger charges for the worker, as measured by the backend
 *   extra_pss_onnx_vs_bare      the same, against threads that run one session of ONNX Runtime, which takes memory in its own way there
 *
 * Every measurement has a process of its own. */
#include "shared.h"

#include "engine.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LLAMA_OURS, LLAMA_BARE, ONNX_OURS, ONNX_BARE, SIDES };

double shared_pss(void)
{
    char line[256];
    long kib = -1;
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    while (file && kib < 0 && fgets(line, sizeof line, file))
        if (sscanf(line, "Pss: %ld kB", &kib) != 1) kib = -1;
    if (file) fclose(file);
    if (kib < 0) bench_fail("/proc/self/smaps_rollup has no Pss");
    return (double)kib / 1024;
}

static shared_sample measure(const bench_args *args, shared_measure function)
{
    shared_sample sample = {.own = NAN};
    int fds[2], status = 0;
    if (pipe(fds) != 0) bench_fail("pipe: %s", strerror(errno));
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0) bench_fail("fork: %s", strerror(errno));
    if (pid == 0) {
        close(fds[0]);
        function(args, &sample);
        _exit(write(fds[1], &sample, sizeof sample) == (ssize_t)sizeof sample ? 0 : 1);
    }
    close(fds[1]);
    if (read(fds[0], &sample, sizeof sample) != (ssize_t)sizeof sample) bench_fail("a measurement failed");
    close(fds[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    return sample;
}

static double further(const shared_sample *sample)
{
    return (sample->pss[SHARED_WORKERS - 1] - sample->pss[0]) / (SHARED_WORKERS - 1);
}

static void tell(const bench_args *args, const char *who, const shared_sample *sample)
{
    char text[256];
    size_t have = 0;
    for (int i = 0; i < SHARED_WORKERS; i++) have += (size_t)snprintf(text + have, sizeof text - have, " %.1f", sample->pss[i]);
    bench_note(args, "%s, MiB with 1 … %d:%s; each but the first %.1f; said to be %.1f", who, SHARED_WORKERS, text, further(sample), sample->own);
}

int main(int argc, char **argv)
{
    static const shared_measure functions[SIDES] = {shared_llama_ours, shared_llama_bare, shared_onnx_ours, shared_onnx_bare};
    static const char *const names[SIDES] = {"llama workers", "bare llama.cpp contexts", "onnx workers", "bare ONNX Runtime threads"};
    bench_args args;
    bench_row rows[5];
    shared_sample samples[SIDES] = {{{0}, 0}};
    bench_parse(&args, argc, argv);
    engine_need(args.smollm2, "--smollm2");
    engine_need(args.minilm_onnx, "--minilm-onnx");
    bench_row_init(&rows[0], "shared", "MiB", "buffers that llama.cpp names", "ratio <= 1.1", "extra_pss_llama");
    bench_row_init(&rows[1], "shared", "MiB", "charged by the ledger", "none", "extra_pss_llama_vs_ledger");
    bench_row_init(&rows[2], "shared", "MiB", "bare llama.cpp contexts", "none", "extra_pss_llama_vs_bare");
    bench_row_init(&rows[3], "shared", "MiB", "charged by the ledger", "ratio <= 1.1", "extra_pss_onnx");
    bench_row_init(&rows[4], "shared", "MiB", "bare ONNX Runtime threads", "none", "extra_pss_onnx_vs_bare");
    for (int round = 0; round < args.rounds; round++) {
        for (int i = 0; i < SIDES; i++) {
            int side = (i + round) % SIDES;
            samples[side] = measure(&args, functions[side]);
        }
        bench_row_add(&rows[0], further(&samples[LLAMA_OURS]), samples[LLAMA_BARE].own);
        bench_row_add(&rows[1], further(&samples[LLAMA_OURS]), samples[LLAMA_OURS].own);
        bench_row_add(&rows[2], further(&samples[LLAMA_OURS]), further(&samples[LLAMA_BARE]));
        bench_row_add(&rows[3], further(&samples[ONNX_OURS]), samples[ONNX_OURS].own);
        bench_row_add(&rows[4], further(&samples[ONNX_OURS]), further(&samples[ONNX_BARE]));
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) bench_row_print(&args, &rows[i]);
    for (int side = 0; side < SIDES; side++) tell(&args, names[side], &samples[side]);
    bench_finish(&args);
    return 0;
}
