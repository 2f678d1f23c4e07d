#include "pool/worker.h"

#include "capability/generation.h"
#include "core/weights.h"
#include "memory/ledger.h"
#include "memory/reserve.h"
#include "pool/reaper.h"
#include "registry/entry.h"

#include <stdio.h>

/* A worker is handed jobs ahead of its free slots for at most this much work, so that microsecond operations do not wait for the loop, and priorities still
 * hold for longer ones. */
#define AHEAD_NS UINT64_C(100000)
#define AHEAD_MAX 256

static void deliver_starting(cadre_pool *pool, cadre__message *message);
static void stalled(cadre_pool *pool, cadre__deadline *deadline);
static void watch(cadre_pool *pool, cadre__deadline *deadline);

/* ---- spawn ---- */

static int check_key(cadre_pool *pool, const char *key)
{
    if (!key || !*key) return cadre__pool_refuse(pool, CADRE_EINVAL, "registry_key is %s", key ? "empty" : "NULL");
    size_t length = strnlen(key, 256);
    if (length > 255) return cadre__pool_refuse(pool, CADRE_EINVAL, "registry_key is longer than 255 bytes");
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)key[i] < 0x20 || key[i] == 0x7f)
            return cadre__pool_refuse(pool, CADRE_EINVAL, "registry_key has a control character at byte %zu", i);
    if (cadre__utf8_invalid(key, length) != SIZE_MAX)
        return cadre__pool_refuse(pool, CADRE_EINVAL, "registry_key is not UTF-8 at byte %zu", cadre__utf8_invalid(key, length));
    return CADRE_OK;
}

int cadre__spawn_options_check(cadre_pool *pool, cadre_capability capability, const cadre_spawn_options *theirs, cadre_spawn_options *options)
{
    static const int32_t capacities[CADRE_CAPABILITY_COUNT] = {100, 100, 50, 50, 20};
    *options = (cadre_spawn_options)CADRE_SPAWN_OPTIONS_INIT;
    if (theirs && !cadre__overlay(options, sizeof *options, theirs))
        return cadre__pool_refuse(pool, CADRE_EINVAL, "options.size is not that of cadre_spawn_options");
    if (options->load_timeout_ms == CADRE_DEFAULT) options->load_timeout_ms = CADRE_NEVER;
    if (options->stall_timeout_ms == CADRE_DEFAULT) options->stall_timeout_ms = 120000;
    if (options->queue_capacity == CADRE_DEFAULT) options->queue_capacity = capacities[capability];
    if (options->batch_window_us == CADRE_DEFAULT) options->batch_window_us = 500;
    if (options->stream_window == CADRE_DEFAULT) options->stream_window = 64;
    if (options->hang_timeout_ms != CADRE_DEFAULT && options->hang_timeout_ms <= 0)
        return cadre__pool_refuse(pool, CADRE_EINVAL, "hang_timeout_ms must be above 0");
    if (options->load_timeout_ms <= 0 || options->stall_timeout_ms <= 0)
        return cadre__pool_refuse(pool, CADRE_EINVAL, "load_timeout_ms and stall_timeout_ms must be above 0");
    if (options->queue_capacity < 1) return cadre__pool_refuse(pool, CADRE_EINVAL, "queue_capacity is %d, not at least 1", options->queue_capacity);
    if (options->batch_window_us < 0 || options->batch_window_us > 60000000)
        return cadre__pool_refuse(pool, CADRE_EINVAL, "batch_window_us is not within 0…60,000,000");
    if (options->stream_window < 1) return cadre__pool_refuse(pool, CADRE_EINVAL, "stream_window is %d, not at least 1", options->stream_window);
    return CADRE_OK;
}

static int check_spawn(cadre_pool *pool, cadre_capability capability, const char *key, const cadre__loader *loader, const cadre__spawning *spawning,
                       const cadre_spawn_options *theirs, cadre_spawn_options *options)
{
    if (!pool) return CADRE_EINVAL;
    if (pool->closing && !(spawning->entry && pool->closing == CADRE__DRAINING)) return cadre__pool_refuse(pool, CADRE_ECLOSED, "the pool is closing");
    if (loader->size != sizeof *loader || !loader->load)
        return cadre__pool_refuse(pool, CADRE_EINVAL, "the loader is NULL, has no load, or a size that is not its struct's");
    int rc = check_key(pool, key);
    if (rc == CADRE_OK) rc = cadre__spawn_options_check(pool, capability, theirs, options);
    if (rc != CADRE_OK) return rc;
    cadre__model *model = cadre__model_find(pool, key);
    if (model && model->entry != spawning->entry) return cadre__pool_refuse(pool, CADRE_EEXIST, "\"%s\" is a model of the registry", key);
    if (model && model->kind->capability != capability)
        return cadre__pool_refuse(pool, CADRE_ECAPABILITY, "\"%s\" is a model of %s already", key, cadre_capability_name(model->kind->capability));
    return CADRE_OK;
}

static void count_as(cadre__worker *worker, uint32_t *count)
{
    if (worker->counted) --*worker->counted;
    worker->counted = count;
    if (count) ++*count;
}

static void worker_free(cadre__worker *worker)
{
    cadre_pool *pool = worker->pool;
    const cadre_allocator *allocator = cadre__pool_allocator(pool);
    cadre__list_remove(&worker->link);
    cadre__list_remove(&worker->sibling);
    cadre__list_remove(&worker->free_link);
    cadre__list_remove(&worker->publish_link);
    cadre__deadline_clear(&pool->deadlines, &worker->stall);
    cadre__deadline_clear(&pool->deadlines, &worker->watch);
    cadre__table_remove(&pool->workers, worker->id);
    cadre_reservation_release(worker->charge);
    if (worker->evicted_for) cadre__reserve_victim_gone(pool, worker->evicted_for);
    cadre__strfree(allocator, worker->detail);
    cadre__free(allocator, worker, sizeof *worker);
}

static cadre__worker *worker_create(cadre_pool *pool, cadre__model *model)
{
    const cadre_allocator *allocator = cadre__pool_allocator(pool);
    cadre__worker *worker = cadre__alloc(allocator, sizeof *worker);
    if (!worker) return NULL;
    worker->pool = pool;
    worker->model = model;
    worker->starting.deliver = deliver_starting;
    worker->stall.fire = stalled;
    worker->watch.fire = watch;
    worker->spawned_at = cadre__pool_now(pool);
    cadre__list_init(&worker->free_link);
    cadre__list_init(&worker->publish_link);
    cadre__list_append(&pool->worker_list, &worker->link);
    cadre__list_append(&model->workers, &worker->sibling);
    worker->id = cadre__table_add(&pool->workers, allocator, worker);
    if (worker->id) return worker;
    worker_free(worker);
    return NULL;
}

int cadre__spawn(cadre_pool *pool, cadre_capability capability, const char *key, const void *loader, cadre__load_call call, cadre_reservation *owned,
                 const cadre_spawn_options *options, cadre_worker_cb on_ready, void *data, cadre_worker_id *out)
{
    cadre__spawning spawning = {.call = call, .on_ready = on_ready, .data = data};
    return cadre__spawn_worker(pool, capability, key, loader, &spawning, owned, options, out);
}

int cadre__spawn_worker(cadre_pool *pool, cadre_capability capability, const char *key, const void *theirs, const cadre__spawning *spawning,
                        cadre_reservation *owned, const cadre_spawn_options *options, cadre_worker_id *out)
{
    cadre__loader loader = {0};
    cadre_spawn_options checked;
    if (out) *out = 0;
    if (theirs) memcpy(&loader.size, theirs, sizeof loader.size);
    if (loader.size == sizeof loader) memcpy(&loader, theirs, sizeof loader);
    int rc = check_spawn(pool, capability, key, &loader, spawning, options, &checked);
    cadre_load_context *context = rc == CADRE_OK ? cadre__load_create(pool, key, loader.data, loader.release) : NULL;
    if (!context) { /* else the context owns the loader's data */
        if (loader.size == sizeof loader && loader.release) loader.release(loader.data);
        cadre_reservation_release(owned);
        return rc != CADRE_OK ? rc : cadre__pool_refuse(pool, CADRE_ENOMEM, "out of memory");
    }
    cadre__model *model = cadre__model_get(pool, key, capability);
    cadre__worker *worker = model ? worker_create(pool, model) : NULL;
    if (!worker) {
        if (model) cadre__model_settle(model);
        cadre__load_unref(context);
        cadre_reservation_release(owned);
        return cadre__pool_refuse(pool, CADRE_ENOMEM, "out of memory");
    }
    if (!model->capacity || model->unknown) cadre__model_set_options(model, &checked);
    cadre__model_known(model);
    worker->options = checked;
    worker->charge = owned;
    worker->on_ready = spawning->on_ready;
    worker->data = spawning->data;
    worker->managed = spawning->entry != NULL;
    worker->cold = spawning->cold;
    worker->loader = loader;
    worker->call = spawning->call;
    worker->context = context;
    context->worker = worker->id;
    count_as(worker, &model->loading);
    pool->transitions++;
    pool->stats.loads_started++;
    model->stats.loads_started++;
    uint64_t bytes = cadre__reservation_bytes(owned);
    if (spawning->entry && spawning->cold) bytes += cadre__entry_weights_bytes(spawning->entry);
    cadre__event(pool, CADRE_EVENT_LOAD_STARTED, model->key, worker->id, CADRE_OK, bytes, 0, "%s", "");
    cadre__pool_defer(pool, &worker->starting);
    if (out) *out = worker->id;
    return CADRE_OK;
}

/* ---- load ---- */

/* The end of a worker, once nothing of it runs any more. */
static void bury(cadre__worker *worker)
{
    cadre_pool *pool = worker->pool;
    cadre__model *model = worker->model;
    bool served = worker->served;
    int status = worker->status;
    cadre_worker_id id = worker->id;
    uint64_t bytes = cadre__reservation_bytes(worker->charge);
    cadre_worker_exit_cb on_exit = worker->options.on_exit;
    void *data = worker->data;
    worker->state = CADRE_WORKER_DEAD;
    count_as(worker, NULL);
    pool->transitions--;
    worker_free(worker);
    if (served) cadre__event(pool, CADRE_EVENT_WORKER_GONE, model->key, id, status, bytes, 0, "%s", "");
    if (model->entry) cadre__entry_touch(model->entry);
    cadre__model_settle(model);
    if (served && on_exit) on_exit(pool, id, status, data);
}

/* It will never be ready: whoever waits for the key hears it, if nobody else can serve it. */
static void tell_failure(cadre__worker *worker, int status, const char *detail)
{
    cadre__model *model = worker->model;
    if (worker->told) return;
    worker->told = true;
    worker->state = CADRE_WORKER_FAILED;
    count_as(worker, &model->leaving);
    if (!model->loading && !model->ready && !worker->managed) cadre__model_fail_waiting(model, status, detail);
    if (worker->pool->trace) cadre__trace_span(worker->pool, worker->id, model->key, "load", worker->spawned_at, worker->pool->now, "\"failed\": true");
    cadre__log(worker->pool->port, CADRE_LOG_WARN, "%s: the worker failed: %s (%s)", model->key, cadre_err_name(status), detail);
    worker->pool->stats.loads_failed++;
    model->stats.loads_failed++;
    cadre__event(worker->pool, CADRE_EVENT_LOAD_FAILED, model->key, worker->id, status, 0, 0, "%s", detail);
    if (worker->on_ready) worker->on_ready(worker->pool, worker->id, status, detail, worker->data);
    if (worker->managed) cadre__entry_worker_failed(model->entry, worker, status, detail);
}

static void end_load(cadre__worker *worker)
{
    worker->context->on_progress = NULL;
    cadre__load_unref(worker->context);
    worker->context = NULL;
    cadre__deadline_clear(&worker->pool->deadlines, &worker->stall);
}

static void fail_load(cadre__worker *worker, int status, const char *detail)
{
    if (worker->status) { /* it was ended meanwhile */
        status = worker->status;
        detail = worker->detail ? worker->detail : cadre_strerror(status);
    }
    end_load(worker);
    if (CADRE__FAULT(RELEASED_TWICE)) cadre_reservation_release(worker->charge);
    tell_failure(worker, status, detail);
    bury(worker);
}

static void stalled(cadre_pool *pool, cadre__deadline *deadline)
{
    (void)pool;
    cadre__worker *worker = CADRE__CONTAINER(deadline, cadre__worker, stall);
    cadre__worker_end(worker, CADRE_ETIMEDOUT,
                      worker->runner ? "the load took longer than load_timeout_ms" : "the load has reported no progress for stall_timeout_ms");
}

void cadre__worker_progress(cadre__worker *worker, const cadre_progress *progress)
{
    cadre_pool *pool = worker->pool;
    if (!worker->context || worker->ended) return;
    if (worker->managed) worker->model->entry->progress = *progress;
    if (worker->options.stall_timeout_ms != CADRE_NEVER) cadre__pool_deadline(pool, &worker->stall, cadre__ms(worker->options.stall_timeout_ms));
    if (worker->options.on_progress) worker->options.on_progress(pool, worker->id, progress, worker->data);
}

static void load_progress(cadre_pool *pool, cadre_load_context *context, const cadre_progress *progress)
{
    (void)pool;
    cadre__worker_progress(context->owner, progress);
}

static void future_progress(cadre_future *future, const cadre_progress *progress, void *data)
{
    (void)future;
    cadre__worker_progress(data, progress);
}

static void attached(cadre_pool *pool, cadre__message *message);
static void exited(cadre_pool *pool, cadre__message *message);

/* CADRE_OK, or with a detail: it is not what its entry says. */
static int check_dimension(const cadre__worker *worker, const cadre__box *box, char *detail, size_t size)
{
    const int32_t said = worker->managed ? worker->model->entry->spec->entry.dimension : CADRE_DEFAULT;
    uint32_t dimension;
    switch (worker->model->kind->capability) {
    case CADRE_TEXT_EMBEDDING: dimension = box->value.text_embedding.dimension; break;
    case CADRE_IMAGE_EMBEDDING: dimension = box->value.image_embedding.dimension; break;
    default: return CADRE_OK;
    }
    if (said == CADRE_DEFAULT || dimension == (uint32_t)said) return CADRE_OK;
    snprintf(detail, size, "gives vectors of %u, the entry says %d", dimension, said);
    return CADRE_EFORMAT;
}

static void loaded(cadre_future *future, int status, const char *detail, void *data)
{
    cadre__worker *worker = data;
    worker->future = NULL;
    cadre_future_on_progress(future, NULL, NULL);
    if (status < 0 || worker->status) {
        if (status == CADRE_ETIMEDOUT && !worker->status) detail = "the load took longer than load_timeout_ms";
        cadre_load_context *context = cadre__load_ref(worker->context);
        if (status < 0) atomic_store_explicit(&context->cancelled, true, memory_order_release);
        fail_load(worker, status, detail);
        cadre__load_unref(context);
        cadre_future_release(future);
        return;
    }
    cadre__box *box = cadre__future_take(future);
    cadre_future_release(future);
    if (!box || (int)box->type != (int)worker->model->kind->capability) {
        if (box) cadre__box_discard(box);
        fail_load(worker, CADRE_ECAPABILITY, "the loader's future was used before, or is of another type");
        return;
    }
    if (!box->charge) box->charge = cadre__reservation_retain(worker->charge);
    char wrong[CADRE__DETAIL_SIZE];
    int rc = check_dimension(worker, box, wrong, sizeof wrong);
    if (rc != CADRE_OK) {
        cadre__box_discard(box);
        fail_load(worker, rc, wrong);
        return;
    }
    rc = cadre__runner_start(worker->pool, worker, worker->model->kind, box, attached, exited, &worker->runner);
    if (rc != CADRE_OK) {
        cadre__box_discard(box);
        fail_load(worker, rc, rc == CADRE_ETHREAD ? "the worker's thread could not be created" : cadre_strerror(rc));
        return;
    }
    end_load(worker);
    worker->state = CADRE_WORKER_ATTACHING;
    uint64_t gone = worker->pool->now - worker->spawned_at, most = cadre__ms(worker->options.load_timeout_ms);
    if (worker->options.load_timeout_ms != CADRE_NEVER) cadre__pool_deadline(worker->pool, &worker->stall, most > gone ? most - gone : 0);
}

static void deliver_starting(cadre_pool *pool, cadre__message *message)
{
    (void)pool;
    cadre__worker *worker = CADRE__CONTAINER(message, cadre__worker, starting);
    if (worker->status) {
        fail_load(worker, worker->status, worker->detail);
        return;
    }
    worker->state = CADRE_WORKER_LOADING;
    worker->context->owner = worker;
    worker->context->on_progress = load_progress;
    cadre_load_context *context = cadre__load_ref(worker->context);
    worker->pool->in_load = worker->managed;
    cadre_future *future = worker->call(&worker->loader, context);
    worker->pool->in_load = false;
    cadre__box *box = !future ? NULL : future->promise ? future->promise->box : future->box;
    if (box && !box->charge) box->charge = cadre__reservation_retain(worker->charge); /* whatever becomes of the worker */
    if (box && worker->managed && !box->config) box->config = cadre__config_ref(worker->model->entry->config);
    if (!future) {
        fail_load(worker, CADRE_ELOAD, context->detail[0] ? context->detail : "the loader returned no future");
    } else if (cadre_future_on_complete(future, loaded, worker) != CADRE_OK) {
        atomic_store_explicit(&context->cancelled, true, memory_order_release);
        cadre_future_release(future);
        fail_load(worker, CADRE_ENOMEM, cadre_strerror(CADRE_ENOMEM));
    } else {
        worker->future = future;
        cadre_future_on_progress(future, future_progress, worker);
        if (future->status == 0 && worker->options.load_timeout_ms != CADRE_NEVER) cadre_future_set_deadline(future, worker->options.load_timeout_ms);
        if (worker->status) cadre_future_cancel(future); /* the load callback stopped its own worker */
    }
    cadre__load_unref(context);
}

/* ---- service ---- */

static void note_model(cadre__worker *worker)
{
    cadre__model *model = worker->model;
    const cadre__box *box = worker->runner->box;
    uint32_t heartbeat_ms = 0;
    worker->capacity = 1;
    switch (model->kind->capability) {
    case CADRE_TEXT_TO_TEXT:
    case CADRE_VISION:
        worker->capacity = model->slots = box->value.generation.slots;
        model->context_length = box->value.generation.context_length;
        heartbeat_ms = box->value.generation.heartbeat_ms;
        worker->threads = box->value.generation.threads;
        break;
    case CADRE_TEXT_EMBEDDING:
        model->dimension = box->value.text_embedding.dimension;
        model->slots = box->value.text_embedding.max_batch;
        model->context_length = box->value.text_embedding.context_length;
        heartbeat_ms = box->value.text_embedding.heartbeat_ms;
        worker->threads = box->value.text_embedding.threads;
        break;
    case CADRE_IMAGE_EMBEDDING:
        model->dimension = box->value.image_embedding.dimension;
        model->slots = box->value.image_embedding.max_batch;
        heartbeat_ms = box->value.image_embedding.heartbeat_ms;
        worker->threads = box->value.image_embedding.threads;
        break;
    case CADRE_TEXT_TO_IMAGE:
        model->slots = 1;
        heartbeat_ms = box->value.text_to_image.heartbeat_ms;
        worker->threads = box->value.text_to_image.threads;
        break;
    }
    if (worker->threads > worker->pool->port->cores) worker->threads = worker->pool->port->cores;
    int64_t hang_ms = worker->options.hang_timeout_ms;
    worker->hang_ns = hang_ms == CADRE_DEFAULT ? cadre__ms(heartbeat_ms) : hang_ms == CADRE_NEVER ? 0 : cadre__ms(hang_ms);
}

static void offer(cadre__worker *worker)
{
    cadre__model *model = worker->model;
    bool serves = worker->state == CADRE_WORKER_READY || worker->state == CADRE_WORKER_PROCESSING || worker->state == CADRE_WORKER_IDLE;
    bool room = serves && worker->running < worker->capacity + worker->ahead;
    bool alone = worker->free_link.next == worker->free_link.prev && !cadre__list_empty(&worker->free_link); /* nobody to take turns with */
    if (!(room && alone)) {
        cadre__list_remove(&worker->free_link);
        if (!room) return;
        cadre__list_append(&model->free_workers, &worker->free_link);
    }
    if (model->queued) cadre__model_touch(model);
}

/* A first request of the library's own, whose answer is dropped. */
static void warm_up(cadre__worker *worker)
{
    const char *text = worker->model->entry->spec->entry.warm_up;
    cadre__job *job = text && cadre__worker_has_cores(worker) ? cadre__generation_warm_up(worker->pool, worker->model->kind, text) : NULL;
    if (!job) return;
    worker->model->abandoned++;
    cadre__worker_give(worker, job);
}

static void attached(cadre_pool *pool, cadre__message *message)
{
    cadre__runner *runner = CADRE__CONTAINER(message, cadre__runner, attached);
    cadre__worker *worker = runner->worker;
    cadre__deadline_clear(&pool->deadlines, &worker->stall);
    if (worker->status || runner->status < 0) {
        int status = worker->status ? worker->status : runner->status;
        const char *detail = worker->status             ? (worker->detail ? worker->detail : cadre_strerror(status))
                             : runner->attach_detail[0] ? runner->attach_detail
                                                        : cadre_strerror(status);
        worker->status = status;
        cadre__thread_stop(&runner->thread);
        tell_failure(worker, status, detail);
        return;
    }
    note_model(worker);
    worker->served = worker->told = true;
    worker->state = CADRE_WORKER_READY;
    count_as(worker, &worker->model->ready);
    worker->idle_since = pool->now;
    pool->transitions--;
    if (worker->managed) warm_up(worker);
    offer(worker);
    cadre__log(pool->port, CADRE_LOG_INFO, "%s: a worker is ready", worker->model->key);
    cadre_worker_id id = worker->id;
    if (pool->trace) cadre__trace_span(pool, id, worker->model->key, "load", worker->spawned_at, pool->now, "");
    cadre__entry *entry = worker->managed ? worker->model->entry : NULL;
    pool->stats.loads_done++;
    worker->model->stats.loads_done++;
    cadre__event(pool, CADRE_EVENT_WORKER_READY, worker->model->key, id, CADRE_OK, 0, pool->now - worker->spawned_at, "%s", "");
    if (entry) cadre__entry_worker_ready(entry, worker);
    if (worker->on_ready) worker->on_ready(pool, id, CADRE_OK, "", worker->data);
}

/* ---- cores ---- */

bool cadre__worker_has_cores(const cadre__worker *worker)
{
    const cadre_pool *pool = worker->pool;
    if (!worker->threads || worker->running || CADRE__FAULT(CORES)) return true;
    return pool->fixed_cores == 0 || pool->fixed_cores + worker->threads <= pool->port->cores;
}

static void take_cores(cadre__worker *worker)
{
    if (!worker->threads) return;
    worker->pool->fixed_cores += worker->threads;
    atomic_fetch_add_explicit(&worker->pool->port->fixed_cores, worker->threads, memory_order_relaxed);
    atomic_fetch_add_explicit(&worker->pool->port->fixed_busy, 1, memory_order_relaxed);
}

static void give_cores(cadre__worker *worker)
{
    cadre_pool *pool = worker->pool;
    if (!worker->threads) return;
    pool->fixed_cores -= worker->threads;
    atomic_fetch_sub_explicit(&pool->port->fixed_cores, worker->threads, memory_order_relaxed);
    atomic_fetch_sub_explicit(&pool->port->fixed_busy, 1, memory_order_relaxed);
    CADRE__LIST_FOR (node, &pool->starved) {
        cadre__list_remove(node);
        cadre__model_touch(CADRE__CONTAINER(node, cadre__model, starved));
    }
}

static void begin_work(cadre__worker *worker)
{
    take_cores(worker);
    if (!worker->hang_ns || worker->watch.place) return;
    atomic_store_explicit(&worker->runner->beat, cadre__pool_now(worker->pool), memory_order_relaxed);
    cadre__pool_deadline(worker->pool, &worker->watch, worker->hang_ns);
}

static void end_work(cadre__worker *worker)
{
    give_cores(worker);
    cadre__deadline_clear(&worker->pool->deadlines, &worker->watch);
    worker->idle_since = worker->pool->now;
    if (worker->state == CADRE_WORKER_PROCESSING) worker->state = CADRE_WORKER_IDLE;
    if (worker->managed && !worker->ended) cadre__entry_worker_idle(worker->model->entry);
}

void cadre__worker_give(cadre__worker *worker, cadre__job *job)
{
    for (cadre__job *each = job; each; each = each->batch) {
        each->head = each == job;
        each->runner = worker->runner;
        each->message.deliver = cadre__deliver_done;
        worker->pool->jobs_out++;
    }
    if (!worker->oldest) worker->oldest = &job->message.node;
    job->message.node.next = worker->newest;
    worker->newest = &job->message.node;
    if (cadre__list_empty(&worker->publish_link)) cadre__list_append(&worker->pool->publishing, &worker->publish_link);
    if (worker->running++ == 0) begin_work(worker);
    worker->state = CADRE_WORKER_PROCESSING;
    offer(worker);
}

void cadre__worker_publish(cadre__worker *worker)
{
    cadre__thread_post_chain(&worker->runner->thread, worker->newest, worker->oldest);
    worker->newest = worker->oldest = NULL;
}

void cadre__worker_taken(cadre__worker *worker, cadre__job *job)
{
    cadre_pool *pool = worker->pool;
    pool->jobs_out--;
    if (!job->head) return;
    if (--worker->running == 0) end_work(worker);
    cadre__runner *runner = worker->runner;
    uint64_t each = atomic_load_explicit(&runner->nanoseconds, memory_order_relaxed);
    worker->ahead = each == 0 ? 0 : each * AHEAD_MAX <= AHEAD_NS ? AHEAD_MAX : (uint32_t)(AHEAD_NS / each);
    pool->brisk_cpu = atomic_load_explicit(&runner->thread.brisk, memory_order_relaxed) ? atomic_load_explicit(&runner->thread.cpu, memory_order_relaxed) : -1;
    offer(worker);
}

/* ---- the end ---- */

static void deliver_joined(cadre_pool *pool, cadre__message *message)
{
    cadre__runner *runner = CADRE__CONTAINER(message, cadre__runner, joining.message);
    cadre__worker *worker = runner->worker;
    pool->reaping--;
    runner->thread.dispose(&runner->thread);
    if (worker) bury(worker);
}

static void run_join(cadre__task *task)
{
    cadre__runner *runner = CADRE__CONTAINER(task, cadre__runner, joining);
    runner->thread.executor->thread_join(&runner->thread);
}

static void orphan_join(cadre__task *task)
{
    cadre__runner *runner = CADRE__CONTAINER(task, cadre__runner, joining);
    runner->thread.dispose(&runner->thread);
}

static void exited(cadre_pool *pool, cadre__message *message)
{
    cadre__runner *runner = CADRE__CONTAINER(message, cadre__runner, thread.exited);
    if (runner->worker) runner->worker->exited = true;
    runner->joining.message.deliver = deliver_joined;
    runner->joining.run = run_join;
    runner->joining.orphan = orphan_join;
    cadre__reap(pool, &runner->joining);
}

/* It gets nothing more. */
static void leave_service(cadre__worker *worker, cadre_worker_state state)
{
    worker->state = state;
    cadre__list_remove(&worker->free_link);
    count_as(worker, &worker->model->leaving);
    worker->pool->transitions++;
    if (worker->managed) cadre__entry_worker_leaving(worker->model->entry);
}

void cadre__worker_end(cadre__worker *worker, int status, const char *detail)
{
    cadre_pool *pool = worker->pool;
    cadre__model *model = worker->model;
    if (worker->ended) return;
    worker->ended = true;
    if (!worker->told) {
        worker->status = status;
        worker->detail = cadre__strdup(cadre__pool_allocator(pool), detail);
    }
    if (worker->context) atomic_store_explicit(&worker->context->cancelled, true, memory_order_release);
    if (worker->future) cadre_future_cancel(worker->future);
    if (worker->oldest) { /* what it was given must come before the end */
        cadre__list_remove(&worker->publish_link);
        cadre__worker_publish(worker);
    }
    if (!worker->runner) return; /* the start or the future's end is on the way */
    cadre__thread_stop(&worker->runner->thread);
    if (!worker->served) { /* attaching: its message is on the way; its entry may start another one meanwhile */
        if (!worker->managed) return;
        count_as(worker, &model->leaving);
        cadre__entry_touch(model->entry);
        return;
    }
    leave_service(worker, CADRE_WORKER_EVICTING);
    cadre__event(pool, CADRE_EVENT_WORKER_STOPPING, model->key, worker->id, worker->status, 0, 0, "%s", detail);
    if (!worker->managed && !model->loading && !model->ready) cadre__model_fail_waiting(model, CADRE_EWORKER, "the last worker of this key was stopped");
    cadre__pool_touch(pool);
}

void cadre__worker_abandon(cadre__worker *worker)
{
    if (worker->runner) {
        atomic_store_explicit(&worker->runner->attach_op.cancelled, true, memory_order_release);
        cadre__thread_stop(&worker->runner->thread);
        worker->pool->executor->thread_detach(&worker->runner->thread);
    }
    worker->detached = true;
    worker->status = CADRE_ECLOSED;
    if (!worker->told) tell_failure(worker, CADRE_ECLOSED, "the pool was closed and the worker's thread did not return");
    worker->state = CADRE_WORKER_ABANDONED;
}

void cadre__worker_broken(cadre__worker *worker, const char *detail)
{
    if (worker->ended) return;
    worker->status = CADRE_EWORKER;
    cadre__worker_end(worker, CADRE_EWORKER, detail ? detail : "the model is broken");
}

/* ---- signs of life ---- */

bool cadre__worker_others_serve(const cadre__model *model)
{
    return (model->entry && model->pool->closing <= CADRE__DRAINING) || model->ready || model->loading;
}

/* Sets it aside: its requests fail, what it had not begun goes elsewhere, and its memory stays charged until its thread returns. */
static void set_aside(cadre__worker *worker)
{
    cadre_pool *pool = worker->pool;
    cadre__model *model = worker->model;
    bool served = !worker->ended;
    worker->ended = worker->hung = true;
    worker->status = CADRE_EHUNG;
    if (worker->oldest) {
        cadre__list_remove(&worker->publish_link);
        cadre__worker_publish(worker);
    }
    give_cores(worker); /* its thread may never return; who takes its place needs them */
    worker->threads = 0;
    cadre__thread_stop(&worker->runner->thread);
    if (served) leave_service(worker, CADRE_WORKER_ABANDONED);
    worker->state = CADRE_WORKER_ABANDONED;
    pool->stats.hung++;
    cadre__event(pool, CADRE_EVENT_WORKER_HUNG, model->key, worker->id, CADRE_EHUNG, 0, 0, "no sign of life for %llu ms",
                 (unsigned long long)(worker->hang_ns / CADRE__NS_PER_MS));
    cadre__log(pool->port, CADRE_LOG_WARN, "%s: a worker hangs and is replaced", model->key);
    for (uint32_t i = 0; i < pool->requests.count; i++) {
        cadre_request *request = pool->requests.slots[i].object;
        if (!request || request->state != CADRE__RUNNING || request->job->runner != worker->runner) continue;
        if (!cadre__job_steal(request)) cadre__request_end(request, CADRE_EHUNG, "the worker gave no sign of life");
    }
    if (!cadre__worker_others_serve(model)) cadre__model_fail_waiting(model, CADRE_EWORKER, "the last worker of this key hangs");
    cadre__pool_touch(pool);
}

static void watch(cadre_pool *pool, cadre__deadline *deadline)
{
    cadre__worker *worker = CADRE__CONTAINER(deadline, cadre__worker, watch);
    uint64_t beat = atomic_load_explicit(&worker->runner->beat, memory_order_relaxed), due = cadre__after(beat, worker->hang_ns);
    if (worker->hung || worker->running == 0) return;
    if (atomic_load_explicit(&worker->runner->resting, memory_order_relaxed)) due = cadre__after(pool->now, worker->hang_ns); /* its consumers have paused */
    if (due > pool->now || CADRE__FAULT(NO_HANG))
        cadre__deadline_set(&pool->deadlines, cadre__pool_allocator(pool), deadline, due > pool->now ? due : cadre__after(pool->now, worker->hang_ns));
    else
        set_aside(worker);
}

void cadre__worker_measured(cadre__worker *worker, uint32_t device, uint64_t bytes)
{
    if (worker->managed) cadre__entry_measured(worker->model->entry, false, device, bytes);
    cadre__reservation_set(worker->charge, device, bytes);
}

void cadre__worker_forget(cadre__worker *worker)
{
    cadre_pool *pool = worker->pool;
    cadre_worker_id id = worker->id;
    cadre_worker_exit_cb on_exit = worker->served ? worker->options.on_exit : NULL;
    void *data = worker->data;
    count_as(worker, NULL);
    if (worker->context) end_load(worker);
    worker_free(worker);
    if (on_exit) on_exit(pool, id, CADRE_ECLOSED, data);
}

int cadre_worker_stop(cadre_pool *pool, cadre_worker_id id)
{
    if (!pool) return CADRE_EINVAL;
    cadre__worker *worker = cadre__table_get(&pool->workers, id);
    if (!worker) return CADRE_ESTALE;
    if (worker->ended || (worker->told && !worker->served)) return CADRE_EALREADY;
    cadre__worker_end(worker, CADRE_ECANCELED, "the worker was stopped before it was ready");
    return CADRE_OK;
}

int cadre_worker_get_info(const cadre_pool *pool, cadre_worker_id id, cadre_worker_info *out)
{
    if (!pool || !out) return CADRE_EINVAL;
    const cadre__worker *worker = cadre__table_get(&pool->workers, id);
    if (!worker) return CADRE_ESTALE;
    cadre_worker_info info = {sizeof info, worker->id, worker->model->key, worker->model->kind->capability, worker->state, worker->running};
    return cadre__fill(out, &info, sizeof info) ? CADRE_OK : CADRE_EINVAL;
}
