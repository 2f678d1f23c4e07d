#include "pool/model.h"

#include "pool/worker.h"
#include "registry/entry.h"

/* ---- the table of keys: FNV-1a (Fowler, Noll, Vo), chained, doubled at load 1 ---- */

static uint64_t hash_of(const char *key)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (; *key; key++) hash = (hash ^ (unsigned char)*key) * UINT64_C(1099511628211);
    return hash;
}

static bool grow(cadre_pool *pool)
{
    size_t buckets = pool->model_buckets ? pool->model_buckets * 2 : 16;
    cadre__model **models = cadre__alloc(cadre__pool_allocator(pool), buckets * sizeof *models);
    if (!models) return pool->model_buckets > 0;
    for (size_t i = 0; i < pool->model_buckets; i++) {
        for (cadre__model *model = pool->models[i], *next; model; model = next) {
            next = model->next;
            model->next = models[model->hash % buckets];
            models[model->hash % buckets] = model;
        }
    }
    cadre__free(cadre__pool_allocator(pool), pool->models, pool->model_buckets * sizeof *models);
    pool->models = models;
    pool->model_buckets = buckets;
    return true;
}

cadre__model *cadre__model_find(const cadre_pool *pool, const char *key)
{
    if (!pool->model_buckets) return NULL;
    if (pool->recent && strcmp(pool->recent->key, key) == 0) return pool->recent;
    uint64_t hash = hash_of(key);
    for (cadre__model *model = pool->models[hash % pool->model_buckets]; model; model = model->next)
        if (model->hash == hash && strcmp(model->key, key) == 0) return model;
    return NULL;
}

static void window_due(cadre_pool *pool, cadre__deadline *deadline)
{
    (void)pool;
    cadre__model *model = CADRE__CONTAINER(deadline, cadre__model, window);
    model->window_over = true;
    cadre__model_touch(model);
}

static cadre__model *make(cadre_pool *pool, const char *key, cadre_capability capability)
{
    cadre__model *model;
    if (pool->model_count >= pool->model_buckets && !grow(pool)) return NULL;
    const cadre_allocator *allocator = cadre__pool_allocator(pool);
    model = cadre__alloc(allocator, sizeof *model);
    if (!model) return NULL;
    model->key = cadre__strdup(allocator, key);
    if (!model->key) {
        cadre__free(allocator, model, sizeof *model);
        return NULL;
    }
    model->pool = pool;
    model->kind = &cadre__kinds[capability];
    model->hash = hash_of(key);
    model->window.fire = window_due;
    for (int i = 0; i < CADRE_PRIORITY_COUNT; i++) cadre__list_init(&model->queues[i]);
    cadre__list_init(&model->workers);
    cadre__list_init(&model->free_workers);
    cadre__list_init(&model->starved);
    cadre__list_init(&model->dirty);
    model->next = pool->models[model->hash % pool->model_buckets];
    pool->models[model->hash % pool->model_buckets] = model;
    pool->model_count++;
    return model;
}

cadre__model *cadre__model_get(cadre_pool *pool, const char *key, cadre_capability capability)
{
    cadre__model *model = cadre__model_find(pool, key);
    return model ? model : make(pool, key, capability);
}

static void model_free(cadre__model *model)
{
    cadre_pool *pool = model->pool;
    if (pool->recent == model) pool->recent = NULL;
    cadre__list_remove(&model->dirty);
    cadre__list_remove(&model->starved);
    cadre__deadline_clear(&pool->deadlines, &model->window);
    cadre__strfree(cadre__pool_allocator(pool), model->key);
    cadre__free(cadre__pool_allocator(pool), model, sizeof *model);
}

/* It is no longer found by its key. */
static void detach(cadre__model *model)
{
    cadre_pool *pool = model->pool;
    if (model->detached) return;
    cadre__model **place = &pool->models[model->hash % pool->model_buckets];
    while (*place != model) place = &(*place)->next;
    *place = model->next;
    if (pool->recent == model) pool->recent = NULL;
    model->detached = true;
}

void cadre__model_settle(cadre__model *model)
{
    if (model->loading || model->ready || model->leaving || model->queued || model->running || model->abandoned || model->ending) return;
    if (model->entry || model->unknown) return;
    detach(model);
    model->pool->model_count--;
    model_free(model);
}

/* ---- keys that an addition may name ---- */

void cadre__model_known(cadre__model *model)
{
    if (model->unknown) model->pool->unknown_count--;
    model->unknown = false;
}

void cadre__model_wait_to_be_known(cadre__model *model)
{
    if (!model->unknown) model->pool->unknown_count++;
    model->unknown = true;
}

/* Its requests end; it goes when they are told. */
static void forget_unknown(cadre__model *model, int status, const char *detail)
{
    cadre__model_known(model);
    cadre__model_fail_waiting(model, status, detail);
    cadre__model_settle(model);
}

cadre__model *cadre__model_adopt(cadre_pool *pool, const char *key, cadre_capability capability)
{
    cadre__model *model = cadre__model_find(pool, key);
    if (model && model->kind->capability != capability) {
        detach(model);
        forget_unknown(model, CADRE_ECAPABILITY, "the key was added as a model of another capability");
        model = NULL;
    }
    if (!model) model = make(pool, key, capability);
    if (model) cadre__model_known(model);
    return model;
}

void cadre__models_forget_unknown(cadre_pool *pool, int status, const char *detail)
{
    for (size_t i = 0; i < pool->model_buckets; i++) {
        for (cadre__model *model = pool->models[i], *next; model; model = next) {
            next = model->next;
            if (model->unknown) forget_unknown(model, status, detail);
        }
    }
}

void cadre__model_set_options(cadre__model *model, const cadre_spawn_options *options)
{
    model->capacity = (uint64_t)options->queue_capacity;
    model->window_ns = (uint64_t)options->batch_window_us * 1000;
    model->stream_window = (uint32_t)options->stream_window;
}

void cadre__models_free(cadre_pool *pool)
{
    for (size_t i = 0; i < pool->model_buckets; i++) {
        for (cadre__model *model = pool->models[i], *next; model; model = next) {
            next = model->next;
            model_free(model);
        }
        pool->models[i] = NULL;
    }
}

/* ---- the queue ---- */

void cadre__model_touch(cadre__model *model)
{
    if (cadre__list_empty(&model->dirty)) cadre__list_append(&model->pool->dirty, &model->dirty);
    cadre__pool_touch(model->pool);
}

void cadre__model_enqueue(cadre__model *model, cadre_request *request)
{
    cadre__list_append(&model->queues[request->priority], &request->link);
    model->waiting |= 1u << request->priority;
    model->queued++;
    cadre__model_touch(model);
}

void cadre__model_requeue(cadre_request *request)
{
    cadre__model *model = request->model;
    cadre__list *after = &model->queues[request->priority]; /* before the first that came later */
    while (after->next != &model->queues[request->priority] && CADRE__CONTAINER(after->next, cadre_request, link)->queued_at <= request->queued_at)
        after = after->next;
    cadre__list_append(after->next, &request->link);
    model->waiting |= 1u << request->priority;
    model->queued++;
    cadre__model_touch(model);
}

void cadre__model_unqueue(cadre_request *request)
{
    cadre__model *model = request->model;
    cadre__list_remove(&request->link);
    if (cadre__list_empty(&model->queues[request->priority])) model->waiting &= ~(1u << request->priority);
    model->queued--;
}

void cadre__model_fetch(cadre_request *request)
{
    cadre__model *model = request->model;
    model->fetching++;
    model->queued++;
    cadre__pool_touch(model->pool);
}

void cadre__model_unfetch(cadre_request *request)
{
    request->model->fetching--;
    request->model->queued--;
}

void cadre__model_fetched(cadre_request *request)
{
    cadre__model_unfetch(request);
    cadre__list_init(&request->link);
    cadre__model_requeue(request);
}

void cadre__model_fail_waiting(cadre__model *model, int status, const char *detail)
{
    const cadre__table *requests = &model->pool->requests;
    for (uint32_t i = 0; i < requests->count && model->fetching; i++) {
        cadre_request *request = requests->slots[i].object;
        if (request && request->model == model && request->state == CADRE__FETCHING) cadre__request_end(request, status, detail);
    }
    for (int i = 0; i < CADRE_PRIORITY_COUNT; i++)
        while (!cadre__list_empty(&model->queues[i])) cadre__request_end(CADRE__CONTAINER(model->queues[i].next, cadre_request, link), status, detail);
}

static cadre_request *head_of(const cadre__model *model, int priority)
{
    return CADRE__CONTAINER(model->queues[priority].next, cadre_request, link);
}

bool cadre__model_has_turn(const cadre__model *model)
{
    if (!model->turn_end) return model->waiting != 0;
    for (int i = 0; i < CADRE_PRIORITY_COUNT; i++)
        if (!cadre__list_empty(&model->queues[i]) && head_of(model, i)->queued_at <= model->turn_end) return true;
    return false;
}

void cadre__model_set_turn(cadre__model *model, uint64_t end)
{
    if (end && model->turn_end) return; /* the earlier end stands */
    if (!end && model->turn_end && model->queued) cadre__model_touch(model);
    model->turn_end = end;
}

/* The head that comes first: its priority, raised by one for each aging period it has waited; among equals the one that has waited longest. Those that came
 * after the end of the model's turn are passed over. */
static cadre_request *first_in_line(const cadre__model *model)
{
    const cadre_pool *pool = model->pool;
    if ((model->waiting & (model->waiting - 1)) == 0 && !model->turn_end) return head_of(model, __builtin_ctz(model->waiting));
    cadre_request *best = NULL;
    int64_t best_rank = 0;
    for (int i = 0; i < CADRE_PRIORITY_COUNT; i++) {
        if (cadre__list_empty(&model->queues[i])) continue;
        cadre_request *head = head_of(model, i);
        if (model->turn_end && head->queued_at > model->turn_end && !CADRE__FAULT(TURN_IGNORED)) continue;
        uint64_t waited = pool->now > head->queued_at ? pool->now - head->queued_at : 0;
        int64_t rank = (int64_t)i - (pool->aging_ns ? (int64_t)(waited / pool->aging_ns) : 0);
        if (rank < 0) rank = 0;
        if (CADRE__FAULT(QUEUE_ORDER)) rank = -rank;
        if (best && (rank > best_rank || (rank == best_rank && head->queued_at >= best->queued_at))) continue;
        best = head;
        best_rank = rank;
    }
    return best;
}

/* ---- dispatch ---- */

#define WINDOW_SKIP 32

/* A batch that is not full waits only when that helps: requests have lately come faster than the window is long, and the latest wait brought more. */
static bool wait_for_more(cadre__model *model, size_t rows)
{
    cadre_pool *pool = model->pool;
    if (!model->window_ns || rows >= model->slots) return false;
    if (model->window_over) {
        if (rows <= model->window_rows) model->window_skip = WINDOW_SKIP;
        return false;
    }
    if (model->window.place) return true;
    if (model->mean_gap * 2 > model->window_ns) return false;
    if (model->window_skip) {
        model->window_skip--;
        return false;
    }
    model->window_rows = rows;
    return cadre__deadline_set(&pool->deadlines, cadre__pool_allocator(pool), &model->window, pool->now + model->window_ns);
}

static cadre__job *take(cadre_request *request)
{
    cadre__model_unqueue(request);
    request->state = CADRE__RUNNING;
    request->model->running++;
    if (CADRE__FAULT(DONE_AT_OPEN)) request->model->pool->stats.done++;
    cadre__request_begun(request);
    const cadre_request_defaults *defaults = request->model->entry ? request->model->entry->spec->entry.defaults : NULL;
    if (defaults && request->job->kind->adopt) request->job->kind->adopt(request->job, defaults);
    if (request->job->kind->equip) request->job->kind->equip(&request->model->pool->heap, request->job, request->model);
    return request->job;
}

static size_t rows_waiting(const cadre__model *model)
{
    size_t rows = 0;
    for (int i = 0; i < CADRE_PRIORITY_COUNT; i++) {
        CADRE__LIST_FOR (node, &model->queues[i]) {
            rows += model->kind->rows(CADRE__CONTAINER(node, cadre_request, link)->job);
            if (rows >= model->slots) return rows;
        }
    }
    return rows;
}

static cadre__job *gather(cadre__model *model)
{
    if (!model->kind->batches) return take(first_in_line(model));
    if (model->slots > 1 && wait_for_more(model, rows_waiting(model))) return NULL;
    cadre__job *first = take(first_in_line(model)), *last = first;
    size_t rows = model->kind->rows(first);
    while (rows < model->slots && model->waiting) {
        cadre_request *next = first_in_line(model);
        if (!next) break;
        size_t more = model->kind->rows(next->job);
        if (CADRE__FAULT(BATCH_DROPS) && more > model->slots - rows) cadre__model_unqueue(next);
        if (more > model->slots - rows || !model->kind->joins(first, next->job)) break;
        last = last->batch = take(next);
        rows += more;
    }
    model->window_over = false;
    cadre__deadline_clear(&model->pool->deadlines, &model->window);
    return first;
}

/* What is left in the queue may pay for another worker. */
static void note_backlog(cadre__model *model)
{
    bool behind = model->waiting && cadre__list_empty(&model->free_workers);
    if (behind && !model->behind) cadre__entry_touch(model->entry);
    model->behind = behind;
}

/* The free one whose turn it is; one that works already has its cores. NULL: they all wait for some. */
static cadre__worker *next_worker(const cadre__model *model)
{
    CADRE__LIST_FOR (node, &model->free_workers) {
        cadre__worker *worker = CADRE__CONTAINER(node, cadre__worker, free_link);
        if (cadre__worker_has_cores(worker)) return worker;
    }
    return NULL;
}

static void dispatch(cadre__model *model)
{
    while (model->waiting && !cadre__list_empty(&model->free_workers) && (!model->turn_end || cadre__model_has_turn(model))) {
        cadre__worker *worker = next_worker(model);
        if (!worker) {
            if (cadre__list_empty(&model->starved)) cadre__list_append(&model->pool->starved, &model->starved);
            return;
        }
        cadre__job *job = gather(model);
        if (!job) return;
        cadre__worker_give(worker, job);
    }
}

void cadre__models_dispatch(cadre_pool *pool)
{
    while (!cadre__list_empty(&pool->dirty)) {
        cadre__model *model = CADRE__CONTAINER(pool->dirty.next, cadre__model, dirty);
        cadre__list_remove(&model->dirty);
        dispatch(model);
        if (model->entry) note_backlog(model);
    }
}

int cadre_model_get_info(const cadre_pool *pool, const char *key, cadre_model_info *out)
{
    if (!pool || !key || !out) return CADRE_EINVAL;
    const cadre__model *model = cadre__model_find(pool, key);
    if (!model) return CADRE_ENOENT;
    cadre_model_info info = {.size = sizeof info,
                             .capability = model->kind->capability,
                             .workers_loading = model->loading,
                             .workers_ready = model->ready,
                             .dimension = model->dimension,
                             .context_length = model->context_length,
                             .slots = model->slots,
                             .queued = model->queued,
                             .running = model->running,
                             .abandoned = model->abandoned,
                             .queue_capacity = model->capacity,
                             .operations = model->operations};
    return cadre__fill(out, &info, sizeof info) ? CADRE_OK : CADRE_EINVAL;
}
