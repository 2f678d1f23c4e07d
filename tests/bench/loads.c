#include "loads.h"

#include "bench.h"
#include "interpose.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK (1u << 20)
#define COMPUTE_MS 200
#define KEY "stall"

enum { KIND_BLOCKING, KIND_ASYNC, KIND_PRELOADED, KIND_COUNT };

static void start_next(loads *l);

/* ---- the work itself ---- */

static uint64_t compute(uint64_t steps)
{
    uint64_t x = 88172645463325252u;
    for (uint64_t i = 0; i < steps; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    return x;
}

/* So that the computing is not thrown away. */
static _Atomic uint64_t sink;

static void do_compute(const loads *l)
{
    atomic_fetch_xor_explicit(&sink, compute(l->compute_steps), memory_order_relaxed);
}

static void do_read(const loads *l)
{
    int fd = open(l->path, O_RDONLY | O_CLOEXEC);
    char *buffer = malloc(CHUNK);
    if (fd < 0 || !buffer) bench_fail("cannot read %s: %s", l->path, strerror(errno));
    ssize_t got;
    uint64_t sum = 0;
    while ((got = read(fd, buffer, CHUNK)) > 0) sum += (unsigned char)buffer[(size_t)got - 1];
    if (got < 0) bench_fail("reading %s: %s", l->path, strerror(errno));
    atomic_fetch_xor_explicit(&sink, sum, memory_order_relaxed);
    free(buffer);
    close(fd);
}

/* Load `index` as a plain function. */
static void do_load(const loads *l, int index)
{
    int kind = index % KIND_COUNT;
    if (kind != KIND_PRELOADED) do_read(l);
    if (kind == KIND_BLOCKING) do_compute(l);
}

/* ---- the model ---- */

static int no_embed(void *self, cadre_op *const *ops, const char *const *texts, size_t count, const char *task, int truncate, float *out, uint32_t *tokens,
                    int *status)
{
    (void)self, (void)ops, (void)texts, (void)task, (void)truncate, (void)status;
    memset(out, 0, count * sizeof *out);
    memset(tokens, 0, count * sizeof *tokens);
    return 0;
}

static const cadre_text_embedding_ops ops = {.size = sizeof ops, .embed = no_embed};

static void fill_model(cadre_text_embedding_model *model)
{
    *model = (cadre_text_embedding_model)CADRE_TEXT_EMBEDDING_MODEL_INIT;
    model->ops = &ops;
    model->dimension = 1;
}

/* ---- by the library: three kinds of loader ---- */

static int make_blocking(cadre_load_context *context, cadre_weights *source, void *data, cadre_text_embedding_model *out)
{
    (void)context, (void)source;
    do_load(data, KIND_BLOCKING);
    fill_model(out);
    return 0;
}

static cadre_text_embedding_future *load_blocking(cadre_load_context *context, void *data)
{
    return cadre_text_embedding_load_blocking(context, NULL, make_blocking, data);
}

static int make_preloaded(cadre_load_context *context, cadre_weights *source, void *data, cadre_text_embedding_model *out)
{
    (void)context, (void)source, (void)data;
    fill_model(out);
    return 0;
}

static cadre_text_embedding_future *load_preloaded(cadre_load_context *context, void *data)
{
    return cadre_text_embedding_load_shared(context, ((loads *)data)->weights, make_preloaded, NULL);
}

typedef struct async_read {
    uv_fs_t request;
    uv_buf_t buffer;
    cadre_text_embedding_promise *promise;
    loads *l;
} async_read;

static void on_read(uv_fs_t *request)
{
    async_read *r = request->data;
    ssize_t got = request->result;
    uv_fs_req_cleanup(request);
    if (got > 0 && uv_fs_read(r->l->loop, request, r->l->fd, &r->buffer, 1, request->off + got, on_read) == 0) return;
    cadre_text_embedding_model model;
    fill_model(&model);
    int rc = got == 0 ? cadre_text_embedding_promise_resolve(r->promise, &model) : cadre_text_embedding_promise_fail(r->promise, (int)got, "uv_fs_read");
    if (rc < 0) bench_fail("settling a promise: %s", cadre_err_name(rc));
    cadre_text_embedding_promise_release(r->promise);
    free(r->buffer.base);
    free(r);
}

static cadre_text_embedding_future *load_async(cadre_load_context *context, void *data)
{
    cadre_text_embedding_future *future;
    async_read *r = calloc(1, sizeof *r);
    if (!r || !(r->buffer.base = malloc(CHUNK)) || cadre_text_embedding_promise_create(cadre_load_pool(context), &r->promise, &future) < 0)
        bench_fail("out of memory");
    r->buffer.len = CHUNK;
    r->l = data;
    r->request.data = r;
    if (uv_fs_read(r->l->loop, &r->request, r->l->fd, &r->buffer, 1, 0, on_read) != 0) bench_fail("uv_fs_read");
    return future;
}

static void on_exit_worker(cadre_pool *pool, cadre_worker_id worker, int status, void *data)
{
    (void)pool, (void)worker, (void)status;
    ((loads *)data)->exited++;
}

static void on_ready(cadre_pool *pool, cadre_worker_id worker, int status, const char *detail, void *data)
{
    loads *l = data;
    if (status < 0) bench_fail("a load failed: %s (%s)", cadre_err_name(status), detail);
    cadre_worker_stop(pool, worker);
    l->finished++;
    start_next(l);
}

static const cadre_text_embedding_load_cb kinds[KIND_COUNT] = {load_blocking, load_async, load_preloaded};

static void start_next(loads *l)
{
    cadre_spawn_options options = CADRE_SPAWN_OPTIONS_INIT;
    if (l->started == LOAD_COUNT) return;
    cadre_text_embedding_loader loader = {.size = sizeof loader, .load = kinds[l->started % KIND_COUNT], .data = l};
    options.on_exit = on_exit_worker;
    l->started++;
    int rc = cadre_spawn_text_embedding(l->pool, KEY, &loader, NULL, &options, on_ready, l, NULL);
    if (rc < 0) bench_fail("spawning: %s", cadre_err_name(rc));
}

/* ---- by the registry ---- */

static void name_key(int index, char key[16])
{
    snprintf(key, 16, "load-%d", index);
}

typedef struct registered {
    loads *l;
    char key[16];
} registered;

static void load_next(loads *l);

static void on_called(cadre_pool *pool, int status, const char *detail, void *data)
{
    (void)pool;
    if (status < 0) bench_fail("the registry says: %s (%s)", cadre_err_name(status), detail);
    ((loads *)data)->exited++;
}

static void on_loaded(cadre_pool *pool, int status, const char *detail, void *data)
{
    registered *r = data;
    if (status < 0) bench_fail("a load failed: %s (%s)", cadre_err_name(status), detail);
    int rc = cadre_model_unload(pool, r->key, on_called, r->l);
    if (rc < 0) bench_fail("unloading: %s", cadre_err_name(rc));
    r->l->finished++;
    load_next(r->l);
}

static void load_next(loads *l)
{
    static registered all[LOAD_COUNT];
    if (l->started == LOAD_COUNT) return;
    registered *r = &all[l->started];
    r->l = l;
    name_key(l->started++, r->key);
    int rc = cadre_model_load(l->pool, r->key, on_loaded, r);
    if (rc < 0) bench_fail("loading: %s", cadre_err_name(rc));
}

void loads_register(loads *l)
{
    l->exited = 0;
    for (int i = 0; i < LOAD_COUNT; i++) {
        char key[16];
        cadre_entry entry = CADRE_ENTRY_INIT;
        cadre_text_embedding_loader loader = {.size = sizeof loader, .load = kinds[i % KIND_COUNT], .data = l};
        name_key(i, key);
        entry.key = key;
        entry.capability = CADRE_TEXT_EMBEDDING;
        int rc = cadre_registry_add_text_embedding(l->pool, &entry, &loader, on_called, l);
        if (rc < 0) bench_fail("adding an entry: %s (%s)", cadre_err_name(rc), cadre_pool_error_detail(l->pool));
    }
    while (l->exited < LOAD_COUNT) uv_run(l->loop, UV_RUN_ONCE);
}

static double run_library(loads *l, void (*next)(loads *l))
{
    l->started = l->finished = l->exited = 0;
    uint64_t start = bench_now_ns();
    interpose_begin();
    next(l);
    next(l);
    interpose_end();
    while (l->finished < LOAD_COUNT) uv_run(l->loop, UV_RUN_ONCE);
    uint64_t elapsed = bench_now_ns() - start;
    while (l->exited < LOAD_COUNT) uv_run(l->loop, UV_RUN_ONCE);
    return (double)elapsed / 1e9;
}

double loads_by_library(loads *l)
{
    return run_library(l, start_next);
}

double loads_by_registry(loads *l)
{
    return run_library(l, load_next);
}

/* ---- by bare threads ---- */

typedef struct bare_run {
    const loads *l;
    atomic_int next;
    atomic_int done;
} bare_run;

static void *bare_thread(void *data)
{
    bare_run *run = data;
    int index;
    while ((index = atomic_fetch_add(&run->next, 1)) < LOAD_COUNT) {
        do_load(run->l, index);
        atomic_fetch_add(&run->done, 1);
    }
    return NULL;
}

double loads_by_threads(loads *l)
{
    bare_run run = {.l = l};
    pthread_t threads[2];
    uint64_t start = bench_now_ns();
    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, bare_thread, &run) != 0) bench_fail("pthread_create");
    while (atomic_load(&run.done) < LOAD_COUNT) uv_run(l->loop, UV_RUN_ONCE); /* the probe's timer ends each turn within a millisecond */
    uint64_t elapsed = bench_now_ns() - start;
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    return (double)elapsed / 1e9;
}

/* ---- by uv_queue_work ---- */

typedef struct queued_load {
    uv_work_t work;
    loads *l;
    int index;
} queued_load;

static void queue_next(queued_load *q);

static void queued_work(uv_work_t *work)
{
    queued_load *q = work->data;
    do_load(q->l, q->index);
}

static void queued_done(uv_work_t *work, int status)
{
    queued_load *q = work->data;
    if (status != 0) bench_fail("uv_queue_work: %s", uv_strerror(status));
    q->l->finished++;
    queue_next(q);
}

static void queue_next(queued_load *q)
{
    if (q->l->started == LOAD_COUNT) return;
    q->index = q->l->started++;
    q->work.data = q;
    uv_queue_work(q->l->loop, &q->work, queued_work, queued_done);
}

double loads_by_queue_work(loads *l, int at_once)
{
    static queued_load queued[LOAD_COUNT];
    l->started = l->finished = 0;
    uint64_t start = bench_now_ns();
    for (int i = 0; i < at_once; i++) {
        queued[i].l = l;
        queue_next(&queued[i]);
    }
    while (l->finished < LOAD_COUNT) uv_run(l->loop, UV_RUN_ONCE);
    return (double)(bench_now_ns() - start) / 1e9;
}

/* ---- setting up ---- */

static void make_file(loads *l, const char *folder)
{
    struct stat s;
    snprintf(l->path, sizeof l->path, "%s/load.100MB", folder);
    if (stat(l->path, &s) == 0 && s.st_size == LOAD_FILE_BYTES) return;
    FILE *file = fopen(l->path, "wb");
    unsigned char *chunk = malloc(CHUNK);
    if (!file || !chunk) bench_fail("cannot write %s: %s", l->path, strerror(errno));
    uint32_t x = 1;
    for (size_t left = LOAD_FILE_BYTES; left > 0;) {
        size_t n = left < CHUNK ? left : CHUNK;
        for (size_t i = 0; i < n; i++) chunk[i] = (unsigned char)((x = x * 1664525u + 1013904223u) >> 24);
        if (fwrite(chunk, 1, n, file) != n) bench_fail("cannot write %s: %s", l->path, strerror(errno));
        left -= n;
    }
    free(chunk);
    if (fclose(file) != 0) bench_fail("cannot write %s: %s", l->path, strerror(errno));
}

static int load_weights(cadre_load_context *context, void *data, cadre_weights_value *out)
{
    (void)context;
    do_read(data);
    *out = (cadre_weights_value)CADRE_WEIGHTS_VALUE_INIT;
    out->payload = data;
    return 0;
}

void loads_open(loads *l, uv_loop_t *loop, cadre_pool *pool, const char *folder)
{
    *l = (loads){.loop = loop, .pool = pool};
    make_file(l, folder);
    l->fd = open(l->path, O_RDONLY | O_CLOEXEC);
    if (l->fd < 0) bench_fail("cannot open %s: %s", l->path, strerror(errno));
    for (uint64_t steps = 1000000, spent = 0; spent < 50000000; steps *= 2) {
        uint64_t start = bench_thread_cpu_ns();
        l->compute_steps = steps;
        do_compute(l);
        spent = bench_thread_cpu_ns() - start;
        l->compute_steps = steps * (COMPUTE_MS * 1000000u) / (spent + 1);
    }
    int rc = cadre_weights_load_blocking(pool, load_weights, l, NULL, NULL, &l->weights);
    if (rc < 0) bench_fail("loading weights: %s", cadre_err_name(rc));
    const cadre_future *weights = cadre_weights_future_untyped(l->weights);
    while ((rc = cadre_future_status(weights)) == CADRE_EAGAIN) uv_run(loop, UV_RUN_ONCE);
    if (rc < 0) bench_fail("loading weights: %s (%s)", cadre_err_name(rc), cadre_future_detail(weights));
}

void loads_close(loads *l)
{
    cadre_weights_future_release(l->weights);
    close(l->fd);
}
