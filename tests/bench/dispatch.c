/* dispatch: what a request costs that does nothing.
 *
 *   round_trip_PLACEMENT    one in flight: from the request call to its callback, against a word handed back and forth by eventfd
 *   throughput_PLACEMENT    64 in flight on one worker, against uv_queue_work with one thread
 *   loop_instructions       of the loop's thread per request, 64 in flight, the host's own functions not counted, against uv_queue_work
 *
 * For the last one, this program runs itself under valgrind as "--work cadre|queue COUNT". */
#include "bench.h"
#include "callgrind.h"
#include "floors.h"
#include "noop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUND_TRIPS 10000
#define REQUESTS 400000
#define IN_FLIGHT 64
#define COUNTED 12800 /* requests under valgrind */
#define TOP 24

void bench_measured(noop_host *host, queue_work_host *queue, size_t count);

typedef struct sides {
    const bench_placement *placement;
    noop_host *host;
    queue_work_host *queue;
    const bench_args *args;
    const char *self;
    callgrind_profile profile; /* of the last count of ours */
    int keep_profile;
} sides;

static double p50_us(double *latencies_ns, size_t count)
{
    bench_samples samples = {latencies_ns, count, count};
    return bench_percentile(&samples, 0.5) / 1000;
}

static double round_trip(void *data)
{
    static double latencies_ns[ROUND_TRIPS];
    noop_run(((sides *)data)->host, ROUND_TRIPS, 1, latencies_ns);
    return p50_us(latencies_ns, ROUND_TRIPS);
}

static double round_trip_floor(void *data)
{
    static double latencies_ns[ROUND_TRIPS];
    floor_eventfd(((sides *)data)->placement->worker_cpu, ROUND_TRIPS, latencies_ns);
    return p50_us(latencies_ns, ROUND_TRIPS);
}

static double throughput(void *data)
{
    return REQUESTS / ((double)noop_run(((sides *)data)->host, REQUESTS, IN_FLIGHT, NULL) / 1e9);
}

static double throughput_peer(void *data)
{
    return REQUESTS / ((double)queue_work_run(((sides *)data)->queue, REQUESTS, IN_FLIGHT) / 1e9);
}

static void measure_placement(const bench_args *args, const bench_placement *placement)
{
    noop_host host;
    sides s = {.placement = placement, .host = &host};
    bench_row trips, rate;
    const char *trips_target = placement->loop_cpu < 0 ? "none" : "ratio <= 1.25";
    bench_row_init(&trips, "dispatch", "us p50", "two threads, eventfd", trips_target, "round_trip_%s", placement->name);
    bench_row_init(&rate, "dispatch", "requests/s", "uv_queue_work, one thread", "ratio >= 3", "throughput_%s", placement->name);
    bench_pin(placement->loop_cpu);
    s.queue = queue_work_open(placement->worker_cpu);
    noop_open(&host, placement->worker_cpu);
    noop_run(&host, 1000, IN_FLIGHT, NULL);
    for (int round = 0; round < args->rounds; round++) {
        bench_row_round(&trips, round, round_trip, round_trip_floor, &s);
        bench_row_round(&rate, round, throughput, throughput_peer, &s);
    }
    noop_close(&host);
    queue_work_close(s.queue);
    bench_pin(-1);
    bench_row_print(args, &trips);
    bench_row_print(args, &rate);
}

/* ---- instructions ---- */

__attribute__((noinline)) void bench_measured(noop_host *host, queue_work_host *queue, size_t count)
{
    if (host)
        noop_run(host, count, IN_FLIGHT, NULL);
    else
        queue_work_run(queue, count, IN_FLIGHT);
}

/* Both threads on one CPU: what valgrind's one-at-a-time scheduling amounts to anyway, and nothing spins. */
static int work_under_valgrind(const char *side, size_t count)
{
    bench_placement placements[3];
    bench_placements(placements);
    bench_pin(placements[0].loop_cpu);
    if (strcmp(side, "cadre") == 0) {
        noop_host host;
        noop_open(&host, placements[0].worker_cpu);
        noop_run(&host, IN_FLIGHT * 4, IN_FLIGHT, NULL);
        bench_measured(&host, NULL, count);
        noop_close(&host);
    } else {
        queue_work_host *queue = queue_work_open(placements[0].worker_cpu);
        queue_work_run(queue, IN_FLIGHT * 4, IN_FLIGHT);
        bench_measured(NULL, queue, count);
        queue_work_close(queue);
    }
    return 0;
}

static int of_the_host(const char *name)
{
    return strncmp(name, "bench_", 6) == 0 || strncmp(name, "noop_run", 8) == 0 || strncmp(name, "queue_work_run", 14) == 0;
}

static double count_instructions(sides *s, const char *side, int keep)
{
    char count[24];
    snprintf(count, sizeof count, "%d", COUNTED);
    const char *argv[] = {s->self, "--work", side, count, NULL};
    callgrind_profile profile = callgrind_run(s->args->folder, "bench_measured", argv);
    double total = 0;
    for (size_t i = 0; i < profile.count; i++)
        if (!of_the_host(profile.functions[i].name)) total += (double)profile.functions[i].instructions;
    callgrind_free(keep ? &s->profile : &profile);
    if (keep) s->profile = profile;
    return total / COUNTED;
}

static double instructions(void *data)
{
    return count_instructions(data, "cadre", 1);
}

static double instructions_peer(void *data)
{
    return count_instructions(data, "queue", 0);
}

static void measure_instructions(const bench_args *args, const char *self)
{
    sides s = {.args = args, .self = self};
    bench_row row;
    bench_row_init(&row, "dispatch", "instructions", "uv_queue_work", "value <= 500", "loop_instructions");
    for (int round = 0; round < args->rounds; round++) bench_row_round(&row, round, instructions, instructions_peer, &s);
    bench_row_print(args, &row);
    bench_note(args, "per request, by function (bench_ and noop_: the host, not counted):");
    for (size_t i = 0; i < s.profile.count && i < TOP; i++) {
        const callgrind_function *function = &s.profile.functions[i];
        bench_note(args, "%8.1f  %s", (double)function->instructions / COUNTED, function->name);
    }
    callgrind_free(&s.profile);
}

int main(int argc, char **argv)
{
    bench_args args;
    bench_placement placements[3];
    if (argc == 4 && strcmp(argv[1], "--work") == 0) return work_under_valgrind(argv[2], strtoul(argv[3], NULL, 10));
    bench_parse(&args, argc, argv);
    int count = bench_placements(placements);
    if (count < 3) bench_note(&args, "one CPU: no row with two");
    for (int i = 0; i < count; i++) measure_placement(&args, &placements[i]);
    measure_instructions(&args, argv[0]);
    bench_finish(&args);
    return 0;
}
