/* scale: what much of everything costs.
 *
 *   bytes_per_request        of 1,000,000 requests that wait for a load which never ends: all that the pool has taken from its allocator for them, less the
 *                            capability's payload (the parameters and the text, which lie behind the job's head). What is left: the request's record, the
 *                            job's head, the slot of its id (the table has grown to 2^20 slots), and what the blocks are rounded up by
 *   bytes_per_timed_request  the same with a deadline each, which adds its place in the heap
 *   dispatch_growth          instructions of the library per request, both sides of the way, on the simulated executor: 10,000 models in the registry and
 *                            1,000 workers of 1,000 models, against 10 and 10. The simulator's own and the C library's are not counted
 *   dispatch_growth_one_key  the same with all workers on one model
 *   idle_cpu                 CPU time of a pool with 1,000 idle workers in 10 s (getrusage), and the context switches in that time
 *
 * For the dispatches, this program runs itself under valgrind as "--work MODELS SERVING WORKERS COUNT". */
#include "scale.h"

#include "callgrind.h"
#include "models.h"

#include "pool/request.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define REQUESTS 1000000
#define COUNTED 4000 /* requests under valgrind */
#define IDLE_WORKERS 1000
#define IDLE_MS 10000
#define TOP 16

/* ---- memory ---- */

static _Atomic uint64_t live;

static void *count_alloc(size_t bytes, void *data)
{
    (void)data;
    void *pointer = malloc(bytes);
    if (pointer) atomic_fetch_add_explicit(&live, bytes, memory_order_relaxed);
    return pointer;
}

static void count_free(void *pointer, size_t bytes, void *data)
{
    (void)data;
    if (pointer) atomic_fetch_sub_explicit(&live, bytes, memory_order_relaxed);
    free(pointer);
}

static cadre_text_embedding_promise *promise; /* of the load that never ends */
static size_t answered;

static cadre_text_embedding_future *load_never(cadre_load_context *context, void *data)
{
    cadre_text_embedding_future *future;
    (void)data;
    if (cadre_text_embedding_promise_create(cadre_load_pool(context), &promise, &future) < 0) bench_fail("out of memory");
    return future;
}

static void on_done(cadre_request *request, int status, const cadre_embeddings *result)
{
    (void)request, (void)result;
    if (status != CADRE_EFORMAT) bench_fail("a request ended with %s", cadre_err_name(status));
    answered++;
}

static cadre_request_id ask(cadre_pool *pool, int timed)
{
    cadre_request_id id;
    cadre_embed_params params = CADRE_EMBED_PARAMS_INIT;
    params.key = "never";
    params.text = "x";
    params.on_done = on_done;
    if (timed) params.options.timeout_ms = 3600000;
    int rc = cadre_embed(pool, &params, &id);
    if (rc != 0) bench_fail("cadre_embed: %s (%s)", cadre_err_name(rc), cadre_pool_error_detail(pool));
    return id;
}

typedef struct memory {
    double of_ours, payload;
} memory;

static memory bytes_per_request(int timed)
{
    models_host host;
    cadre_allocator allocator = {sizeof allocator, count_alloc, count_free, NULL};
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    cadre_text_embedding_loader loader = {.size = sizeof loader, .load = load_never};
    cadre_entry entry = CADRE_ENTRY_INIT;
    options.allocator = &allocator;
    models_open(&host, &options);
    entry.key = "never";
    entry.capability = CADRE_TEXT_EMBEDDING;
    entry.queue_capacity = REQUESTS + 1;
    models_add(&host, &entry, &loader);
    promise = NULL;
    answered = 0;
    cadre_request_id first = ask(host.pool, timed); /* begins the load */
    while (!promise) uv_run(&host.loop, UV_RUN_ONCE);
    const cadre_request *record = cadre__table_get(&host.pool->requests, first);
    double payload = (double)(record->job->bytes - sizeof(cadre__job));
    uint64_t before = atomic_load(&live);
    for (size_t i = 0; i < REQUESTS; i++) ask(host.pool, timed);
    memory m = {(double)(atomic_load(&live) - before) / REQUESTS - payload, payload};
    cadre_text_embedding_promise_fail(promise, CADRE_EFORMAT, "the end");
    cadre_text_embedding_promise_release(promise);
    while (answered <= REQUESTS) uv_run(&host.loop, UV_RUN_ONCE);
    models_close(&host);
    return m;
}

static void measure_memory(const bench_args *args)
{
    bench_row row, timed;
    double payload = 0;
    bench_row_init(&row, "scale", "bytes", NULL, "value <= 256", "bytes_per_request");
    bench_row_init(&timed, "scale", "bytes", NULL, "value <= 256", "bytes_per_timed_request");
    for (int round = 0; round < args->rounds; round++) {
        memory m = bytes_per_request(0);
        payload = m.payload;
        bench_row_add(&row, m.of_ours, 0);
        bench_row_add(&timed, bytes_per_request(1).of_ours, 0);
    }
    bench_row_print(args, &row);
    bench_row_print(args, &timed);
    bench_note(args, "the record takes %zu bytes, the job's head %zu, the id's slot %zu, the place in the heap %zu; %.0f of payload are not counted",
               sizeof(cadre_request), sizeof(cadre__job), sizeof(cadre__table_slot), sizeof(cadre__deadline *), payload);
}

/* ---- dispatch ---- */

typedef struct dispatch_side {
    const bench_args *args;
    const char *self;
    int one_key;
    callgrind_profile profile; /* of the last count of many */
} dispatch_side;

static double count_instructions(dispatch_side *s, unsigned models, unsigned workers, int keep)
{
    char text[4][16];
    const unsigned values[4] = {models, s->one_key ? 1 : workers, workers, COUNTED};
    for (int i = 0; i < 4; i++) snprintf(text[i], sizeof text[i], "%u", values[i]);
    const char *argv[] = {s->self, "--work", text[0], text[1], text[2], text[3], NULL};
    callgrind_profile profile = callgrind_run(s->args->folder, NULL, argv);
    double total = 0;
    for (size_t i = 0; i < profile.count; i++) {
        callgrind_function *function = &profile.functions[i];
        if (strstr(function->file, "/src/"))
            total += (double)function->instructions;
        else
            function->instructions = 0;
    }
    if (total <= 0) bench_fail("callgrind knows no function of the library: it needs -g");
    callgrind_free(keep ? &s->profile : &profile);
    if (keep) s->profile = profile;
    return total / COUNTED;
}

static double many(void *data)
{
    return count_instructions(data, 10000, 1000, 1);
}

static double few(void *data)
{
    return count_instructions(data, 10, 10, 0);
}

/* The count is the same each time but for addresses, and takes long: two rounds. */
static void measure_dispatch(const bench_args *args, const char *self, int one_key)
{
    dispatch_side s = {.args = args, .self = self, .one_key = one_key};
    bench_row row;
    bench_row_init(&row, "scale", "instructions", "10 models, 10 workers", "ratio <= 1.2", one_key ? "dispatch_growth_one_key" : "dispatch_growth");
    for (int round = 0; round < 2; round++) bench_row_round(&row, round, many, few, &s);
    bench_row_print(args, &row);
    for (size_t i = 0, told = 0; i < s.profile.count && told < TOP; i++) {
        const callgrind_function *function = &s.profile.functions[i];
        if (!function->instructions) continue;
        bench_note(args, "%8.1f  %s", (double)function->instructions / COUNTED, function->name);
        told++;
    }
    callgrind_free(&s.profile);
}

/* ---- idle ---- */

static void on_timer(uv_timer_t *timer)
{
    *(int *)timer->data = 1;
}

static void run_for(uv_loop_t *loop, uint64_t ms)
{
    int over = 0;
    uv_timer_t timer;
    uv_timer_init(loop, &timer);
    timer.data = &over;
    uv_timer_start(&timer, on_timer, ms, 0);
    while (!over) uv_run(loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(loop, UV_RUN_NOWAIT);
}

static double cpu_ms(const struct rusage *usage)
{
    return (double)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1e3 + (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) / 1e3;
}

static void measure_idle(const bench_args *args)
{
    static uint64_t at_once = 0;
    models_host host;
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    cadre_text_embedding_loader loader = models_noop(&at_once);
    bench_row cpu, switches;
    models_open(&host, &options);
    for (int i = 0; i < IDLE_WORKERS; i++) {
        char key[16];
        cadre_entry entry = CADRE_ENTRY_INIT;
        snprintf(key, sizeof key, "idle-%d", i);
        entry.key = key;
        entry.capability = CADRE_TEXT_EMBEDDING;
        entry.pinned = 1;
        models_add(&host, &entry, &loader);
    }
    while (host.count.ready < IDLE_WORKERS) uv_run(&host.loop, UV_RUN_ONCE);
    run_for(&host.loop, 1000); /* the way to sleep */
    bench_row_init(&cpu, "scale", "ms", NULL, "value <= 5", "idle_cpu");
    bench_row_init(&switches, "scale", "in 10 s", NULL, "none", "idle_context_switches");
    for (int round = 0; round < args->rounds; round++) {
        struct rusage before, after;
        getrusage(RUSAGE_SELF, &before);
        run_for(&host.loop, IDLE_MS);
        getrusage(RUSAGE_SELF, &after);
        bench_row_add(&cpu, cpu_ms(&after) - cpu_ms(&before), 0);
        bench_row_add(&switches, (double)(after.ru_nvcsw + after.ru_nivcsw - before.ru_nvcsw - before.ru_nivcsw), 0);
    }
    bench_row_print(args, &cpu);
    bench_row_print(args, &switches);
    models_close(&host);
}

int main(int argc, char **argv)
{
    bench_args args;
    if (argc == 6 && strcmp(argv[1], "--work") == 0) {
        unsigned values[4];
        for (int i = 0; i < 4; i++) values[i] = (unsigned)strtoul(argv[2 + i], NULL, 10);
        scale_dispatch(values[0], values[1], values[2], values[3]);
        return 0;
    }
    bench_parse(&args, argc, argv);
    measure_memory(&args);
    measure_idle(&args);
    measure_dispatch(&args, argv[0], 0);
    measure_dispatch(&args, argv[0], 1);
    bench_finish(&args);
    return 0;
}
