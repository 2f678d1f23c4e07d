#include "bench.h"

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static cpu_set_t all_cpus; /* what the program was started with */
static int all_cpus_known;
static uint64_t began_ns;
static double began_busy;

void bench_fail(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fputs("bench: ", stderr);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    exit(1);
}

void bench_note(const bench_args *args, const char *format, ...)
{
    FILE *out = args->json ? stderr : stdout;
    va_list list;
    va_start(list, format);
    fputs("  ", out);
    vfprintf(out, format, list);
    fputc('\n', out);
    va_end(list);
    fflush(out);
}

static void know_cpus(void)
{
    if (all_cpus_known) return;
    if (sched_getaffinity(0, sizeof all_cpus, &all_cpus) != 0) bench_fail("sched_getaffinity: %s", strerror(errno));
    all_cpus_known = 1;
}

static int parse_count(const char *name, const char *text, int max)
{
    char *end;
    long value = strtol(text, &end, 10);
    if (*text == '\0' || *end != '\0' || value < 1 || value > max) bench_fail("%s takes a number from 1 to %d, not \"%s\"", name, max, text);
    return (int)value;
}

/* Seconds of CPU time since boot: all that was not idle, and what this process and its children used. */
static void cpu_seconds(double *busy, double *own)
{
    unsigned long long user, nice, system, idle, wait, irq, soft, steal;
    struct rusage self, children;
    FILE *file = fopen("/proc/stat", "r");
    int found = file ? fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &wait, &irq, &soft, &steal) : 0;
    if (file) fclose(file);
    getrusage(RUSAGE_SELF, &self);
    getrusage(RUSAGE_CHILDREN, &children);
    *busy = found == 8 ? (double)(user + nice + system + irq + soft + steal) / (double)sysconf(_SC_CLK_TCK) : NAN;
    *own = (double)(self.ru_utime.tv_sec + self.ru_stime.tv_sec + children.ru_utime.tv_sec + children.ru_stime.tv_sec) +
           (double)(self.ru_utime.tv_usec + self.ru_stime.tv_usec + children.ru_utime.tv_usec + children.ru_stime.tv_usec) / 1e6;
}

void bench_finish(const bench_args *args)
{
    double busy, own, seconds = (double)(bench_now_ns() - began_ns) / 1e9;
    cpu_seconds(&busy, &own);
    double others = fmax(0, busy - began_busy - own) / (seconds * (double)CPU_COUNT(&all_cpus)) * 100;
    bench_note(args, "%.0f s, during which other processes and the hypervisor took %.0f %% of the CPUs", seconds, others);
}

/* Where the value of an option goes that is taken as it is. */
typedef struct text_option {
    const char *name;
    size_t offset;
} text_option;

static const text_option text_options[] = {
    {"--server", offsetof(bench_args, server)},
    {"--server-same", offsetof(bench_args, server_same)},
    {"--smollm2", offsetof(bench_args, smollm2)},
    {"--minilm", offsetof(bench_args, minilm)},
    {"--engine", offsetof(bench_args, engine)},
    {"--folder", offsetof(bench_args, folder)},
    {"--clip-onnx", offsetof(bench_args, clip_onnx)},
    {"--clip-onnx-large", offsetof(bench_args, clip_onnx_large)},
    {"--minilm-onnx", offsetof(bench_args, minilm_onnx)},
    {"--minilm-vocab", offsetof(bench_args, minilm_vocab)},
    {"--mtmd-cli", offsetof(bench_args, mtmd_cli)},
    {"--mtmd-cli-own", offsetof(bench_args, mtmd_cli_own)},
    {"--llava", offsetof(bench_args, llava)},
    {"--llava-mmproj", offsetof(bench_args, llava_mmproj)},
    {"--llava-large", offsetof(bench_args, llava_large)},
    {"--llava-large-mmproj", offsetof(bench_args, llava_large_mmproj)},
    {"--sd-cli", offsetof(bench_args, sd_cli)},
    {"--flux", offsetof(bench_args, flux)},
    {"--sd35", offsetof(bench_args, sd35)},
    {"--clip-l", offsetof(bench_args, clip_l)},
    {"--clip-g", offsetof(bench_args, clip_g)},
    {"--taesd", offsetof(bench_args, taesd)},
    {"--taesd3", offsetof(bench_args, taesd3)},
};

static void parse_text(bench_args *args, const char *name, const char *value)
{
    for (size_t i = 0; i < sizeof text_options / sizeof *text_options; i++) {
        if (strcmp(name, text_options[i].name) != 0) continue;
        memcpy((char *)args + text_options[i].offset, &value, sizeof value);
        return;
    }
    bench_fail("unknown argument: %s", name);
}

void bench_parse(bench_args *args, int argc, char **argv)
{
    double own;
    know_cpus();
    began_ns = bench_now_ns();
    cpu_seconds(&began_busy, &own);
    *args = (bench_args){.rounds = 7, .threads = CPU_COUNT(&all_cpus), .folder = "."};
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (strcmp(name, "--json") == 0) {
            args->json = 1;
            continue;
        }
        if (i + 1 == argc) bench_fail("unknown argument, or one without its value: %s", name);
        const char *value = argv[++i];
        if (strcmp(name, "--rounds") == 0)
            args->rounds = parse_count(name, value, BENCH_ROUNDS_MAX);
        else if (strcmp(name, "--threads") == 0)
            args->threads = parse_count(name, value, 1024);
        else
            parse_text(args, name, value);
    }
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t bench_now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t bench_thread_cpu_ns(void)
{
    return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

void bench_samples_add(bench_samples *samples, double value)
{
    if (samples->count == samples->capacity) {
        samples->capacity = samples->capacity ? samples->capacity * 2 : 1024;
        samples->values = realloc(samples->values, samples->capacity * sizeof *samples->values);
        if (!samples->values) bench_fail("out of memory");
    }
    samples->values[samples->count++] = value;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_percentile(bench_samples *samples, double p)
{
    if (samples->count == 0) return NAN;
    qsort(samples->values, samples->count, sizeof *samples->values, compare_doubles);
    size_t rank = (size_t)ceil(p * (double)samples->count);
    return samples->values[rank > 0 ? rank - 1 : 0];
}

void bench_samples_free(bench_samples *samples)
{
    free(samples->values);
    *samples = (bench_samples){0};
}

double bench_median(const double *values, int count)
{
    double sorted[BENCH_ROUNDS_MAX];
    if (count < 1) return NAN;
    memcpy(sorted, values, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, compare_doubles);
    return count % 2 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

static double spread_of(const double *values, int count)
{
    double low = values[0], high = values[0];
    for (int i = 1; i < count; i++) {
        low = fmin(low, values[i]);
        high = fmax(high, values[i]);
    }
    return high > low ? (high - low) / bench_median(values, count) : 0;
}

int bench_placements(bench_placement out[3])
{
    int cpus[2], found = 0, count = 0;
    know_cpus();
    for (size_t i = 0; i < CPU_SETSIZE && found < 2; i++)
        if (CPU_ISSET(i, &all_cpus)) cpus[found++] = (int)i;
    out[count++] = (bench_placement){"same_cpu", cpus[0], cpus[0]};
    if (found == 2) out[count++] = (bench_placement){"two_cpus", cpus[0], cpus[1]};
    out[count++] = (bench_placement){"free", -1, -1};
    return count;
}

void bench_pin(int cpu)
{
    cpu_set_t set;
    know_cpus();
    CPU_ZERO(&set);
    if (cpu >= 0)
        CPU_SET((size_t)cpu, &set);
    else
        set = all_cpus;
    if (sched_setaffinity(0, sizeof set, &set) != 0) bench_fail("sched_setaffinity: %s", strerror(errno));
}

void bench_row_init(bench_row *row, const char *name, const char *unit, const char *peer, const char *target, const char *metric, ...)
{
    va_list list;
    *row = (bench_row){.name = name, .unit = unit, .peer = peer, .target = target};
    va_start(list, metric);
    vsnprintf(row->metric, sizeof row->metric, metric, list);
    va_end(list);
}

void bench_row_add(bench_row *row, double value, double peer_value)
{
    if (row->rounds == BENCH_ROUNDS_MAX) return;
    row->values[row->rounds] = value;
    row->peer_values[row->rounds] = peer_value;
    row->rounds++;
}

void bench_row_round(bench_row *row, int round, bench_side ours, bench_side peer, void *data)
{
    double value, peer_value;
    if (round % 2 == 0) {
        value = ours(data);
        peer_value = peer(data);
    } else {
        peer_value = peer(data);
        value = ours(data);
    }
    bench_row_add(row, value, peer_value);
}

static void print_number(const char *name, double value)
{
    if (isfinite(value))
        printf(", \"%s\": %.6g", name, value);
    else
        printf(", \"%s\": null", name);
}

static void print_json(const bench_row *row, double value, double peer_value, double ratio, double spread)
{
    printf("{\"case\": \"%s\", \"metric\": \"%s\"", row->name, row->metric);
    print_number("value", value);
    printf(", \"unit\": \"%s\", \"peer\": ", row->unit);
    if (row->peer)
        printf("\"%s\"", row->peer);
    else
        printf("null");
    print_number("peer_value", peer_value);
    print_number("ratio", ratio);
    print_number("spread", spread);
    printf(", \"rounds\": %d, \"target\": \"%s\"}\n", row->rounds, row->target);
}

static void print_text(const bench_row *row, double value, double peer_value, double ratio, double spread)
{
    printf("%-11s %-34s %11.5g %-13s", row->name, row->metric, value, row->unit);
    if (row->peer)
        printf(" %-38s %11.5g  ratio %-8.4g spread %-5.2f", row->peer, peer_value, ratio, spread);
    else
        printf(" %-38s %11s        %-8s spread %-5.2f", "-", "", "", spread);
    printf(" (target: %s)\n", row->target);
}

void bench_row_print(const bench_args *args, const bench_row *row)
{
    double ratios[BENCH_ROUNDS_MAX] = {0}, ratio = NAN, peer_value = NAN, spread;
    if (row->rounds == 0) return;
    double value = bench_median(row->values, row->rounds);
    if (row->peer) {
        for (int i = 0; i < row->rounds; i++) ratios[i] = row->values[i] / row->peer_values[i];
        ratio = bench_median(ratios, row->rounds);
        peer_value = bench_median(row->peer_values, row->rounds);
        spread = spread_of(ratios, row->rounds);
    } else {
        spread = spread_of(row->values, row->rounds);
    }
    (args->json ? print_json : print_text)(row, value, peer_value, ratio, spread);
    fflush(stdout);
}
