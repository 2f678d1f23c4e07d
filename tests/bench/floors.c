#include "floors.h"

#include "bench.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <uv.h>

#define IN_FLIGHT_MAX 1024
#define HOST __attribute__((noinline)) /* callgrind tells the host's own instructions by these names */

typedef struct ping_pong {
    int there, back;
    int cpu;
    size_t count;
} ping_pong;

static void hand(int fd)
{
    uint64_t word = 1;
    if (write(fd, &word, sizeof word) != sizeof word) bench_fail("writing to an eventfd");
}

static void take(int fd)
{
    uint64_t word;
    if (read(fd, &word, sizeof word) != sizeof word) bench_fail("reading from an eventfd");
}

static void *answer(void *data)
{
    ping_pong *game = data;
    bench_pin(game->cpu);
    for (size_t i = 0; i < game->count; i++) {
        take(game->there);
        hand(game->back);
    }
    return NULL;
}

void floor_eventfd(int worker_cpu, size_t count, double *latencies_ns)
{
    ping_pong game = {eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC), worker_cpu, count};
    pthread_t thread;
    if (game.there < 0 || game.back < 0 || pthread_create(&thread, NULL, answer, &game) != 0) bench_fail("cannot set up two threads with eventfds");
    for (size_t i = 0; i < count; i++) {
        uint64_t start = bench_now_ns();
        hand(game.there);
        take(game.back);
        latencies_ns[i] = (double)(bench_now_ns() - start);
    }
    pthread_join(thread, NULL);
    close(game.there);
    close(game.back);
}

struct queue_work_host {
    uv_loop_t loop;
    int worker_cpu;
    size_t to_start;
    size_t to_finish;
    uv_work_t works[IN_FLIGHT_MAX];
};

void bench_host_after_work(uv_work_t *work, int status);

static void pin_work(uv_work_t *work)
{
    bench_pin(((queue_work_host *)work->data)->worker_cpu);
}

static void no_work(uv_work_t *work)
{
    (void)work;
}

HOST void bench_host_after_work(uv_work_t *work, int status)
{
    queue_work_host *host = work->data;
    if (status != 0) bench_fail("uv_queue_work: %s", uv_strerror(status));
    host->to_finish--;
    if (host->to_start == 0) return;
    host->to_start--;
    uv_queue_work(&host->loop, work, no_work, bench_host_after_work);
}

queue_work_host *queue_work_open(int worker_cpu)
{
    queue_work_host *host = calloc(1, sizeof *host);
    setenv("UV_THREADPOOL_SIZE", "1", 1);
    if (!host || uv_loop_init(&host->loop) != 0) bench_fail("cannot make a loop");
    host->worker_cpu = worker_cpu;
    host->to_finish = 1;
    host->works[0].data = host;
    uv_queue_work(&host->loop, &host->works[0], pin_work, bench_host_after_work);
    uv_run(&host->loop, UV_RUN_DEFAULT);
    return host;
}

uint64_t queue_work_run(queue_work_host *host, size_t count, size_t in_flight)
{
    if (in_flight > IN_FLIGHT_MAX || in_flight > count) bench_fail("too many in flight");
    host->to_finish = count;
    host->to_start = count - in_flight;
    uint64_t start = bench_now_ns();
    for (size_t i = 0; i < in_flight; i++) {
        host->works[i].data = host;
        uv_queue_work(&host->loop, &host->works[i], no_work, bench_host_after_work);
    }
    uv_run(&host->loop, UV_RUN_DEFAULT);
    uint64_t elapsed = bench_now_ns() - start;
    if (host->to_finish != 0) bench_fail("the loop ended with %zu works open", host->to_finish);
    return elapsed;
}

void queue_work_close(queue_work_host *host)
{
    if (uv_loop_close(&host->loop) != 0) bench_fail("closing the peer's loop");
    free(host);
}
