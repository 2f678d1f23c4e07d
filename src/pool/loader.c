/* Loads. A blocking load is a task on a loader thread: it holds its context and its promise, resolves the promise from the thread, and comes back to be freed.
 *
 * A load that nobody waits for any longer is told by its context's `cancelled`. If its function has not returned abandon_after_ms later, its loader is counted
 * as lost and its place is given to a new thread; should the function return after all, the lost thread ends and is joined as any other. */
#include "pool/loader.h"

#include "core/weights.h"
#include "memory/ledger.h"
#include "pool/pool.h"
#include "pool/reaper.h"
#include "pool/worker.h"
#include "registry/entry.h"

#include <stdarg.h>
#include <stdio.h>

#define LOADER_NICENESS 10

/* ---- contexts ---- */

static void deliver_progress(cadre_pool *pool, cadre__message *message)
{
    cadre_load_context *context = CADRE__CONTAINER(message, cadre_load_context, meter.message);
    cadre_progress progress = cadre__meter_take(&context->meter);
    if (context->on_progress) context->on_progress(pool, context, &progress);
    cadre__load_unref(context);
}

cadre_load_context *cadre__load_create(cadre_pool *pool, const char *key, void *data, void (*release)(void *data))
{
    const cadre_allocator *allocator = cadre__pool_allocator(pool);
    cadre_load_context *context = cadre__alloc(allocator, sizeof *context);
    if (!context) return NULL;
    context->key = cadre__strdup(allocator, key);
    if (!context->key) {
        cadre__free(allocator, context, sizeof *context);
        return NULL;
    }
    atomic_init(&context->refs, 1);
    context->port = cadre_port_retain(pool->port);
    context->data = data;
    context->release = release;
    context->meter.message.deliver = deliver_progress;
    return context;
}

cadre_load_context *cadre__load_ref(cadre_load_context *context)
{
    atomic_fetch_add_explicit(&context->refs, 1, memory_order_relaxed);
    return context;
}

void cadre__load_unref(cadre_load_context *context)
{
    if (!context || atomic_fetch_sub_explicit(&context->refs, 1, memory_order_acq_rel) != 1) return;
    cadre_port *port = context->port;
    if (context->release) context->release(context->data);
    cadre__strfree(&port->allocator, context->key);
    cadre__free(&port->allocator, context, sizeof *context);
    cadre_port_release(port);
}

cadre_pool *cadre_load_pool(const cadre_load_context *context)
{
    return context->port->pool;
}

uv_loop_t *cadre_load_loop(const cadre_load_context *context)
{
    return context->port->pool ? context->port->pool->loop : NULL;
}

const char *cadre_load_key(const cadre_load_context *context)
{
    return context->key;
}

cadre_worker_id cadre_load_worker(const cadre_load_context *context)
{
    return context->worker;
}

uint32_t cadre_load_threads(const cadre_load_context *context)
{
    uint32_t busy = atomic_load_explicit(&context->port->busy, memory_order_relaxed), cores = context->port->cores;
    return busy < cores ? cores - busy : 1;
}

uint32_t cadre_load_cores(const cadre_load_context *context)
{
    return context->port->cores;
}

int cadre_load_may_block(const cadre_load_context *context)
{
    return context->may_block;
}

int cadre_load_cancelled(const cadre_load_context *context)
{
    return atomic_load_explicit(&context->cancelled, memory_order_acquire);
}

void cadre_load_progress(cadre_load_context *context, double fraction, uint64_t done_bytes, uint64_t total_bytes, const char *stage)
{
    if (context->promise) {
        cadre_promise_progress(context->promise, fraction, done_bytes, total_bytes, stage);
        return;
    }
    if (!cadre__meter_set(&context->meter, fraction, done_bytes, total_bytes, stage)) return;
    cadre__load_ref(context);
    if (!cadre__port_send(context->port, &context->meter.message)) cadre__load_unref(context);
}

int cadre_load_fail(cadre_load_context *context, int error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(context->detail, sizeof context->detail, format, arguments);
    va_end(arguments);
    return error;
}

typedef struct measure {
    cadre__message message;
    cadre_load_context *context; /* counted */
    uint32_t device;
    uint64_t bytes;
} measure;

static void deliver_measure(cadre_pool *pool, cadre__message *message)
{
    measure *m = CADRE__CONTAINER(message, measure, message);
    cadre_load_context *context = m->context;
    cadre__entry *entry = context->weights_of;
    cadre__worker *worker = context->worker ? cadre__table_get(&pool->workers, context->worker) : NULL;
    if (worker) {
        cadre__worker_measured(worker, m->device, m->bytes);
    } else if (entry && entry->weights && entry->weights->promise == context->promise) {
        cadre__reservation_set(entry->weights->charge, m->device, m->bytes);
        cadre__entry_measured(entry, true, m->device, m->bytes);
    } else if (!entry && context->promise && context->promise->future && context->promise->future->charge) { /* the host's own weights */
        cadre__reservation_set(context->promise->future->charge, m->device, m->bytes);
    }
    cadre__free(cadre__pool_allocator(pool), m, sizeof *m);
    cadre__load_unref(context);
}

void cadre_load_measured(cadre_load_context *context, uint32_t device, uint64_t bytes)
{
    const cadre_allocator *allocator = &context->port->allocator;
    measure *m = cadre__alloc(allocator, sizeof *m);
    if (!m) return; /* the estimate stands */
    *m = (measure){.message.deliver = deliver_measure, .context = cadre__load_ref(context), .device = device, .bytes = bytes};
    if (cadre__port_send(context->port, &m->message)) return;
    cadre__free(allocator, m, sizeof *m);
    cadre__load_unref(context);
}

/* ---- the load of one value ---- */

typedef struct load {
    cadre__task task;            /* first */
    cadre_load_context *context; /* counted */
    cadre_promise *promise;      /* a handle */
    cadre_future *source;        /* while it is pending; the waiter's reference */
    cadre_weights *weights;      /* of the source; counted, once it is there */
    bool blocking;
    cadre_value_type type;
    cadre__make_call call;
    cadre__make_fn function;
    void *data;
} load;

/* The loop; or the thread when the pool is gone, which is NULL then. */
static void load_free(cadre_pool *pool, load *l)
{
    if (pool) pool->own_promises--;
    cadre_port *port = cadre_port_retain(l->context->port);
    l->promise->on_cancel = NULL;
    cadre_weights_release(l->weights);
    cadre_promise_release(l->promise);
    cadre__load_unref(l->context);
    cadre__free(&port->allocator, l, sizeof *l);
    cadre_port_release(port);
}

/* The value must not outlive its source: it takes a reference along. Settles the promise. */
static void make_value(load *l)
{
    union {
        size_t size;
        cadre_generation_model generation;
        cadre_text_embedding_model text_embedding;
        cadre_image_embedding_model image_embedding;
        cadre_text_to_image_model text_to_image;
        cadre_weights_value weights;
    } value;
    static const size_t sizes[] = {sizeof value.generation, sizeof value.text_embedding, sizeof value.image_embedding,
                                   sizeof value.generation, sizeof value.text_to_image,  sizeof value.weights};
    memset(&value, 0, sizeof value);
    value.size = sizes[l->type];
    if ((int)l->type == CADRE_TEXT_TO_TEXT || (int)l->type == CADRE_VISION) value.generation.slots = 1;
    if ((int)l->type == CADRE_TEXT_EMBEDDING) value.text_embedding.max_batch = 1;
    if ((int)l->type == CADRE_IMAGE_EMBEDDING) value.image_embedding.max_batch = 1;
    l->context->may_block = l->blocking;
    int rc = cadre_load_cancelled(l->context) ? CADRE_ECANCELED : l->call(l->function, l->context, l->weights, l->data, &value);
    if (rc == CADRE_OK) {
        const char *wrong = cadre__value_check(l->type, &value);
        if (!wrong) {
            l->promise->box->source = cadre_weights_retain(l->weights);
            if (cadre_promise_resolve(l->promise, l->type, &value) == CADRE_ECLOSED) {
                l->promise->box->full = true; /* not consumed, so it is this thread's to destroy */
                cadre__box_clear(l->promise->box);
            }
            return;
        }
        rc = cadre_load_fail(l->context, CADRE_EINVAL, "%s", wrong);
    }
    cadre_promise_fail(l->promise, rc < 0 ? rc : CADRE_ELOAD, l->context->detail[0] ? l->context->detail : cadre_strerror(rc));
}

static void run_load(cadre__task *task)
{
    make_value(CADRE__CONTAINER(task, load, task));
}

static void orphan_load(cadre__task *task)
{
    load_free(NULL, CADRE__CONTAINER(task, load, task));
}

static void deliver_loaded(cadre_pool *pool, cadre__message *message)
{
    load *l = CADRE__CONTAINER(message, load, task.message);
    cadre__loader_done(pool, &l->task);
    load_free(pool, l);
}

static void refuse_load(cadre_pool *pool, cadre__task *task, int error, const char *detail)
{
    load *l = CADRE__CONTAINER(task, load, task);
    cadre_promise_fail(l->promise, error, detail);
    load_free(pool, l);
}

static void start_load(load *l)
{
    cadre_pool *pool = l->context->port->pool;
    if (l->blocking) {
        cadre__list_append(&pool->loads_waiting, &l->task.link);
        cadre__pool_touch(pool);
        return;
    }
    make_value(l);
    load_free(pool, l);
}

static void source_ready(cadre_future *source, int status, const char *detail, void *data)
{
    load *l = data;
    l->source = NULL;
    if (status == CADRE_OK) {
        l->weights = cadre_weights_retain(source->weights);
        start_load(l);
        return;
    }
    cadre_promise_fail(l->promise, status, detail);
    load_free(l->context->port->pool, l);
}

/* Nobody waits for the value any longer. */
static void load_given_up(void *data)
{
    load *l = data;
    cadre_pool *pool = l->context->port->pool;
    atomic_store_explicit(&l->context->cancelled, true, memory_order_release);
    if (l->source || !cadre__list_empty(&l->task.link)) { /* no thread has it */
        if (l->source) cadre__future_forget(l->source, source_ready, l);
        cadre__list_remove(&l->task.link);
        load_free(pool, l);
        return;
    }
    for (uint32_t i = 0; i < pool->loader_count; i++) {
        cadre__task_thread *loader = pool->loaders[i];
        if (!loader || loader->current != &l->task) continue;
        loader->given_up = cadre__now(pool->port);
        if (pool->abandon.due == UINT64_MAX) cadre__pool_deadline(pool, &pool->abandon, pool->abandon_ns);
    }
}

static cadre_future *make_load(cadre_load_context *context, cadre_value_type type, cadre_future *source, cadre__make_call call, cadre__make_fn function,
                               void *data, bool blocking)
{
    cadre_pool *pool = context ? context->port->pool : NULL;
    if (!pool || !function || (!blocking && !source)) return NULL;
    const cadre_allocator *allocator = cadre__pool_allocator(pool);
    load *l = cadre__alloc(allocator, sizeof *l);
    cadre_future *future = NULL;
    if (!l || cadre_promise_create(pool, type, &l->promise, &future) != CADRE_OK) {
        cadre__free(allocator, l, sizeof *l);
        return NULL;
    }
    l->task.message.deliver = deliver_loaded;
    l->task.run = run_load;
    l->task.orphan = orphan_load;
    l->task.refuse = refuse_load;
    cadre__list_init(&l->task.link);
    l->context = cadre__load_ref(context);
    if (type == CADRE_VALUE_WEIGHTS) context->promise = l->promise;
    pool->own_promises++;
    l->blocking = blocking;
    l->type = type;
    l->call = call;
    l->function = function;
    l->data = data;
    if (source && cadre_future_on_complete(source, source_ready, l) != CADRE_OK) {
        load_free(pool, l);
        cadre_future_release(future);
        return NULL;
    }
    l->source = source;
    cadre_promise_on_cancel(l->promise, load_given_up, l);
    if (!source) start_load(l);
    return future;
}

cadre_future *cadre__load_blocking(cadre_load_context *context, cadre_value_type type, cadre_future *source, cadre__make_call call, cadre__make_fn function,
                                   void *data)
{
    return make_load(context, type, source, call, function, data, true);
}

cadre_future *cadre__load_shared(cadre_load_context *context, cadre_value_type type, cadre_future *source, cadre__make_call call, cadre__make_fn function,
                                 void *data)
{
    return make_load(context, type, source, call, function, data, false);
}

static int call_weights(cadre__make_fn function, cadre_load_context *context, cadre_weights *source, void *data, void *value)
{
    (void)source;
    return ((cadre_weights_load_cb)function)(context, data, value);
}

int cadre_weights_load_blocking(cadre_pool *pool, cadre_weights_load_cb function, void *data, void (*release)(void *data), cadre_reservation *owned,
                                cadre_weights_future **out)
{
    if (out) *out = NULL;
    int rc = !pool || !function || !out ? CADRE_EINVAL : pool->closing && !pool->in_load ? CADRE_ECLOSED : CADRE_OK;
    cadre_load_context *context = rc == CADRE_OK ? cadre__load_create(pool, "", data, release) : NULL;
    if (!context) {
        if (release) release(data);
        cadre_reservation_release(owned);
        return rc == CADRE_OK ? CADRE_ENOMEM : rc;
    }
    cadre_future *future = cadre__load_blocking(context, CADRE_VALUE_WEIGHTS, NULL, call_weights, (cadre__make_fn)function, data);
    cadre__load_unref(context);
    if (!future) {
        cadre_reservation_release(owned);
        return CADRE_ENOMEM;
    }
    future->charge = owned;
    *out = (cadre_weights_future *)(void *)future;
    return CADRE_OK;
}

/* ---- loader threads ---- */

static void deliver_joined(cadre_pool *pool, cadre__message *message)
{
    cadre__task_thread *loader = CADRE__CONTAINER(message, cadre__task_thread, joining.message);
    pool->reaping--;
    loader->thread.dispose(&loader->thread);
}

static void run_join(cadre__task *task)
{
    cadre__task_thread *loader = CADRE__CONTAINER(task, cadre__task_thread, joining);
    loader->thread.executor->thread_join(&loader->thread);
}

static void orphan_join(cadre__task *task)
{
    cadre__task_thread *loader = CADRE__CONTAINER(task, cadre__task_thread, joining);
    loader->thread.dispose(&loader->thread);
}

static void loader_exited(cadre_pool *pool, cadre__message *message)
{
    cadre__task_thread *loader = CADRE__CONTAINER(message, cadre__task_thread, thread.exited);
    if (!cadre__list_empty(&loader->joining.link)) cadre__list_remove(&loader->joining.link);
    if (!loader->thread.abandoned) pool->threads_leaving--;
    loader->joining.message.deliver = deliver_joined;
    loader->joining.run = run_join;
    loader->joining.orphan = orphan_join;
    cadre__reap(pool, &loader->joining);
}

void cadre__loaders_give_up(cadre_pool *pool, cadre__deadline *deadline)
{
    uint64_t next = UINT64_MAX;
    for (uint32_t i = 0; i < pool->loader_count; i++) {
        cadre__task_thread *loader = pool->loaders[i];
        if (!loader || !loader->given_up) continue;
        uint64_t due = cadre__after(loader->given_up, pool->abandon_ns);
        if (due > pool->now) {
            if (due < next) next = due;
            continue;
        }
        cadre__log(pool->port, CADRE_LOG_WARN, "a load that was given up has not returned; its thread is replaced");
        atomic_fetch_sub_explicit(&pool->port->loads, 1, memory_order_relaxed);
        pool->loaders[i] = NULL;
        pool->threads_leaving++;
        cadre__list_append(&pool->threads_lost, &loader->joining.link);
        cadre__thread_stop(&loader->thread);
    }
    cadre__deadline_set(&pool->deadlines, cadre__pool_allocator(pool), deadline, next);
}

/* The loaders, and behind them the checks thread. */
static uint32_t thread_count(const cadre_pool *pool)
{
    return pool->loader_count + 1;
}

void cadre__loader_done(cadre_pool *pool, const cadre__task *task)
{
    for (uint32_t i = 0; i < thread_count(pool); i++) {
        cadre__task_thread *loader = pool->loaders[i];
        if (!loader || loader->current != task) continue;
        loader->current = NULL;
        loader->given_up = 0;
        if (i < pool->loader_count) atomic_fetch_sub_explicit(&pool->port->loads, 1, memory_order_relaxed);
    }
}

void cadre__check_run(cadre_pool *pool, cadre__task *task)
{
    cadre__list_append(&pool->checks_waiting, &task->link);
    cadre__pool_touch(pool);
}

static void refuse_waiting(cadre_pool *pool, cadre__list *waiting, int error, const char *detail)
{
    cadre__list refused; /* those that are there now: a callback may bring more */
    cadre__list_init(&refused);
    CADRE__LIST_FOR (node, waiting) {
        cadre__list_remove(node);
        cadre__list_append(&refused, node);
    }
    while (!cadre__list_empty(&refused)) {
        cadre__task *task = CADRE__CONTAINER(refused.next, cadre__task, link);
        cadre__list_remove(&task->link);
        task->refuse(pool, task, error, detail);
    }
}

/* Gives what waits to threads first … last − 1. */
static void feed(cadre_pool *pool, cadre__list *waiting, uint32_t first, uint32_t last, const char *name, int niceness)
{
    if (cadre__list_empty(waiting)) return;
    uint32_t threads = 0;
    for (uint32_t i = first; i < last && !cadre__list_empty(waiting); i++) {
        cadre__task_thread *loader = pool->loaders[i];
        if (!loader) {
            loader = cadre__task_thread_create(pool, name, niceness, &pool->port->inbox, loader_exited);
            if (!loader) continue;
            cadre__list_init(&loader->joining.link);
            pool->loaders[i] = loader;
        }
        threads++;
        if (loader->current) continue;
        cadre__task *task = CADRE__CONTAINER(waiting->next, cadre__task, link);
        cadre__list_remove(&task->link);
        loader->current = task;
        if (i < pool->loader_count) atomic_fetch_add_explicit(&pool->port->loads, 1, memory_order_relaxed);
        cadre__thread_post(&loader->thread, &task->message.node);
    }
    for (uint32_t i = first; i < last && threads == 0; i++) threads += pool->loaders[i] != NULL;
    if (threads == 0) refuse_waiting(pool, waiting, CADRE_ETHREAD, "a loader thread could not be created");
}

void cadre__loaders_feed(cadre_pool *pool)
{
    feed(pool, &pool->loads_waiting, 0, pool->loader_count, "cadre-loader", LOADER_NICENESS);
    feed(pool, &pool->checks_waiting, pool->loader_count, pool->loader_count + 1, "cadre-checks", 0);
}

bool cadre__loaders_stop(cadre_pool *pool)
{
    bool left = false;
    for (uint32_t i = 0; i < thread_count(pool); i++) {
        cadre__task_thread *loader = pool->loaders[i];
        if (!loader) continue;
        if (loader->current) {
            left = true;
            continue;
        }
        pool->loaders[i] = NULL;
        pool->threads_leaving++;
        cadre__thread_stop(&loader->thread);
    }
    return !left && pool->threads_leaving == 0;
}

uint32_t cadre__loaders_abandon(cadre_pool *pool)
{
    uint32_t count = 0;
    refuse_waiting(pool, &pool->loads_waiting, CADRE_ECLOSED, "the pool was closed");
    refuse_waiting(pool, &pool->checks_waiting, CADRE_ECLOSED, "the pool was closed");
    for (uint32_t i = 0; i < thread_count(pool); i++) {
        cadre__task_thread *loader = pool->loaders[i];
        if (!loader) continue;
        pool->loaders[i] = NULL;
        cadre__thread_stop(&loader->thread);
        pool->executor->thread_detach(&loader->thread);
        count++;
    }
    CADRE__LIST_FOR (node, &pool->threads_lost) {
        cadre__task_thread *loader = CADRE__CONTAINER(node, cadre__task_thread, joining.link);
        cadre__list_remove(node);
        pool->executor->thread_detach(&loader->thread);
        pool->threads_leaving--;
        count++;
    }
    return count;
}
