#include "pool/request.h"

#include "capability/fetch.h"
#include "pool/model.h"
#include "pool/worker.h"
#include "registry/entry.h"
#include "registry/registry.h"

#include <stdio.h>

static void deliver_wake(cadre_pool *pool, cadre__message *message);
static void deadline_fired(cadre_pool *pool, cadre__deadline *deadline);
static void wake(cadre_request *request);

/* ---- submission ---- */

static int check_options(cadre_pool *pool, const cadre_request_options *options)
{
    if (options->size != sizeof *options) return cadre__pool_refuse(pool, CADRE_EINVAL, "options.size is not that of cadre_request_options");
    if (options->priority != CADRE_DEFAULT && (options->priority < 0 || options->priority >= CADRE_PRIORITY_COUNT))
        return cadre__pool_refuse(pool, CADRE_EINVAL, "options.priority is %d, not a cadre_priority", options->priority);
    if (options->timeout_ms != CADRE_DEFAULT && options->timeout_ms <= 0)
        return cadre__pool_refuse(pool, CADRE_EINVAL, "options.timeout_ms is %lld, not above 0", (long long)options->timeout_ms);
    return CADRE_OK;
}

static int refuse_full(cadre__model *model)
{
    int64_t after = model->entry ? cadre__entry_retry_after(model->entry) : 0;
    int rc = cadre__pool_refuse(model->pool, CADRE_EFULL, "%llu requests wait for \"%.200s\", which is its capacity", (unsigned long long)model->queued,
                                model->key);
    model->pool->retry_after_ms = after;
    return rc;
}

static int admit(cadre_pool *pool, cadre_capability capability, const char *key, const cadre_request_options *options, cadre__model **out)
{
    int rc = check_options(pool, options);
    if (rc != CADRE_OK) return rc;
    if (pool->closing) return cadre__pool_refuse(pool, CADRE_ECLOSED, "the pool is closing");
    if (!key) return cadre__pool_refuse(pool, CADRE_EINVAL, "key is NULL");
    cadre__model *model = cadre__model_find(pool, key);
    if ((!model || (!model->entry && !model->unknown && !model->loading && !model->ready && !model->leaving)) && pool->additions) {
        rc = cadre__registry_unknown(pool, key, capability, &model);
        if (rc != CADRE_OK) return rc;
    }
    if (!model || (!model->loading && !model->ready && !model->entry && !model->unknown))
        return cadre__pool_refuse(pool, CADRE_ENOENT, "%s \"%.200s\"", pool->entry_count ? "there is no model of the key" : "no worker serves the key", key);
    *out = model;
    if (model->kind->capability != capability)
        return cadre__pool_refuse(pool, CADRE_ECAPABILITY, "\"%.200s\" is a model of %s, not of %s", key, cadre_capability_name(model->kind->capability),
                                  cadre_capability_name(capability));
    if (model->queued >= model->capacity) return refuse_full(model);
    if (!model->entry) return CADRE_OK;
    bool timed = options->timeout_ms != CADRE_DEFAULT && options->timeout_ms != CADRE_NEVER;
    return cadre__entry_admit(model->entry, timed ? cadre__ms(options->timeout_ms) : UINT64_MAX, &model->next_probe);
}

int cadre__request_admit(cadre_pool *pool, cadre_capability capability, const char *key, const cadre_request_options *options, cadre__model **out)
{
    cadre__model *model = NULL;
    int rc = admit(pool, capability, key, options, &model);
    if (rc != CADRE_OK) {
        pool->stats.refused++;
        if (model) model->stats.refused++;
        return rc;
    }
    pool->recent = model;
    *out = model;
    return CADRE_OK;
}

static void note_arrival(cadre__model *model, uint64_t now)
{
    uint64_t gap = now - model->last_arrival;
    model->mean_gap = model->last_arrival ? (model->mean_gap * 7 + gap) / 8 : UINT64_MAX / 16;
    model->last_arrival = now;
}

static cadre_request *make_request(cadre__model *model, const cadre__submission *submission)
{
    cadre_pool *pool = model->pool;
    const cadre_allocator *allocator = cadre__pool_allocator(pool);
    const cadre_request_options *options = submission->options;
    cadre_request *request = cadre__heap_zero(&pool->heap, sizeof *request);
    if (!request) return NULL;
    request->model = model;
    request->deadline.fire = deadline_fired;
    request->queued_at = cadre__pool_now(pool);
    request->data = submission->data;
    request->on_part = submission->on_part;
    request->on_done = submission->on_done;
    request->priority = options->priority == CADRE_DEFAULT ? CADRE_PRIORITY_NORMAL : (uint8_t)options->priority;
    request->probe = model->next_probe;
    request->id = cadre__table_add(&pool->requests, allocator, request);
    bool timed = options->timeout_ms != CADRE_DEFAULT && options->timeout_ms != CADRE_NEVER;
    if (request->id &&
        (!timed || cadre__deadline_set(&pool->deadlines, allocator, &request->deadline, cadre__after(request->queued_at, cadre__ms(options->timeout_ms)))))
        return request;
    cadre__table_remove(&pool->requests, request->id);
    cadre__heap_give(&pool->heap, request, sizeof *request);
    return NULL;
}

int cadre__request_submit(cadre_pool *pool, cadre__model *model, const cadre__submission *submission, cadre_request_id *out)
{
    cadre__job *job = submission->job;
    cadre_request *request = job ? make_request(model, submission) : NULL;
    bool probe = model->next_probe;
    model->next_probe = false;
    if (!request) {
        if (probe) cadre__breaker_forget(&model->entry->breaker);
        if (job) cadre__job_free(&pool->heap, job);
        return cadre__pool_refuse(pool, CADRE_ENOMEM, "out of memory");
    }
    /* From here on nothing fails; only now are lent inputs the library's to release. */
    if (job->lent) *cadre__job_lent(job) = (cadre__lent){submission->options->release, submission->options->release_data};
    job->window = model->stream_window;
    job->request = request;
    request->job = job;
    pool->open_requests++;
    note_arrival(model, request->queued_at);
    pool->stats.accepted++;
    model->stats.accepted++;
    if (cadre__fetch_wanted(job)) {
        request->state = CADRE__FETCHING;
        cadre__model_fetch(request);
        wake(request);
    } else {
        request->state = CADRE__QUEUED;
        cadre__model_enqueue(model, request);
    }
    if (model->entry) cadre__entry_asked(model->entry);
    if (out) *out = request->id;
    return CADRE_OK;
}

/* ---- ends ---- */

void cadre__piece_free(const cadre_allocator *allocator, cadre__piece *piece)
{
    cadre__free(allocator, piece, sizeof *piece + piece->length + 1);
}

static void hold_piece(cadre_request *request, cadre__piece *piece)
{
    cadre__node *node = &piece->message.node;
    node->next = request->held ? request->held->next : node;
    if (request->held) request->held->next = node;
    request->held = node;
}

/* The oldest. */
static cadre__piece *take_held(cadre_request *request)
{
    cadre__node *oldest = request->held->next;
    if (oldest == request->held)
        request->held = NULL;
    else
        request->held->next = oldest->next;
    return CADRE__CONTAINER(oldest, cadre__piece, message.node);
}

static void drop_held(cadre_request *request)
{
    while (request->held) cadre__piece_free(cadre__pool_allocator(request->model->pool), take_held(request));
}

cadre__job *cadre__job_create(cadre__heap *heap, const cadre__kind *kind, size_t payload_bytes, size_t zeroed, bool lent)
{
    const size_t align = sizeof(void *);
    size_t bytes;
    if (!cadre__add(payload_bytes, sizeof(cadre__job) + align - 1 + sizeof(cadre__lent), &bytes)) return NULL;
    bytes = (bytes / align) * align - (lent ? 0 : sizeof(cadre__lent));
    cadre__job *job = cadre__heap_take(heap, bytes);
    if (!job) return NULL;
    memset(job, 0, sizeof *job + zeroed);
    job->kind = kind;
    job->bytes = bytes;
    job->lent = lent;
    if (lent) *cadre__job_lent(job) = (cadre__lent){0};
    return job;
}

void cadre__job_free(cadre__heap *heap, cadre__job *job)
{
    job->kind->dispose(heap, job);
    cadre__lent *lent = cadre__job_lent(job);
    if (lent && lent->release) lent->release(lent->data);
    if (job->detail) cadre__free(&heap->allocator, job->detail, CADRE__DETAIL_SIZE);
    cadre__heap_give(heap, job, job->bytes);
}

static void wake(cadre_request *request)
{
    if (request->waking) return;
    request->waking = true;
    request->wake.deliver = deliver_wake;
    cadre__pool_defer(request->model->pool, &request->wake);
}

void cadre__request_begun(cadre_request *request)
{
    uint64_t now = request->model->pool->now, us = now > request->queued_at ? (now - request->queued_at + 999) / 1000 : 0;
    request->waited_us = us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
    request->begun = true;
}

static uint64_t begun_at(const cadre_request *request)
{
    return request->queued_at + (uint64_t)request->waited_us * 1000;
}

static void trace_request(const cadre_request *request)
{
    cadre_pool *pool = request->model->pool;
    char arguments[96];
    snprintf(arguments, sizeof arguments, "\"request\": %llu, \"status\": \"%s\"", (unsigned long long)request->id, cadre_err_name(request->status));
    uint64_t began = request->begun ? begun_at(request) : pool->now;
    cadre__trace_span(pool, 0, request->model->key, "wait", request->queued_at, began, arguments);
    if (request->begun) cadre__trace_span(pool, cadre_request_worker(request), request->model->key, "run", began, pool->now, arguments);
}

/* What became of it, counted. */
static void count(cadre_request *request)
{
    cadre_pool *pool = request->model->pool;
    cadre__model *model = request->model;
    uint64_t now = pool->now, waited = (uint64_t)request->waited_us * 1000, began = begun_at(request), ran = request->begun && now > began ? now - began : 0;
    switch (request->status) {
    case CADRE_ECANCELED: pool->stats.cancelled++, model->stats.cancelled++; break;
    case CADRE_ETIMEDOUT: pool->stats.timed_out++, model->stats.timed_out++; break;
    default:
        if (request->status < 0)
            pool->stats.failed++, model->stats.failed++;
        else
            pool->stats.done++, model->stats.done++;
    }
    if (request->begun) {
        cadre__histogram_note(&pool->stats.wait, waited);
        cadre__histogram_note(&pool->stats.run, ran);
        model->stats.wait_ns += waited;
        model->stats.run_ns += ran;
    }
    if (pool->trace) trace_request(request);
    if (model->entry) cadre__entry_answered(model->entry, request->status, request->detail, request->begun, ran, request->probe);
}

/* Tells the host and frees the record. The state is consistent before: the id is stale, the counts are down. */
static void finish(cadre_request *request)
{
    cadre_pool *pool = request->model->pool;
    cadre__model *model = request->model;
    cadre__table_remove(&pool->requests, request->id);
    cadre__deadline_clear(&pool->deadlines, &request->deadline);
    pool->open_requests--;
    cadre__job *job = request->job;
    count(request);
    model->kind->finish(request, job, request->status);
    if (CADRE__FAULT(DOUBLE_DONE) && request->state == CADRE__ENDING) model->kind->finish(request, job, request->status);
    model->ending--; /* until here it keeps the model */
    drop_held(request);
    if (job) cadre__job_free(&pool->heap, job);
    cadre__strfree(cadre__pool_allocator(pool), request->detail);
    cadre__heap_give(&pool->heap, request, sizeof *request);
    cadre__model_settle(model);
}

void cadre__request_end(cadre_request *request, int status, const char *detail)
{
    cadre_pool *pool = request->model->pool;
    cadre__model *model = request->model;
    if (request->state == CADRE__ENDING) return;
    const bool waited = request->state <= CADRE__QUEUED;
    if (request->state == CADRE__FETCHING) {
        cadre__fetch_drop(request->job);
        cadre__model_unfetch(request);
    } else if (request->state == CADRE__QUEUED) {
        cadre__model_unqueue(request);
    } else if (request->state == CADRE__RUNNING) {
        cadre__job *job = request->job;
        request->job = NULL;
        job->request = NULL;
        model->running--;
        model->abandoned++;
        atomic_store_explicit(&job->cancelled, true, memory_order_release);
        if (CADRE__FAULT(SLOT_FREE_EARLY) && status == CADRE_ETIMEDOUT) job->runner->worker->running--;
        cadre__thread_nudge(&job->runner->thread);
    }
    if (model->entry && waited && !model->queued) cadre__entry_touch(model->entry); /* nobody may wait for its load any more */
    drop_held(request);
    if (request->state != CADRE__HOLDING) model->ending++;
    request->state = CADRE__ENDING;
    request->status = status;
    cadre__strfree(cadre__pool_allocator(pool), request->detail);
    request->detail = detail && *detail ? cadre__strdup(cadre__pool_allocator(pool), detail) : NULL;
    cadre__deadline_clear(&pool->deadlines, &request->deadline);
    wake(request);
}

void cadre__request_fetched(cadre_request *request)
{
    request->state = CADRE__QUEUED;
    cadre__model_fetched(request);
    if (request->model->entry) cadre__entry_touch(request->model->entry);
}

static void deadline_fired(cadre_pool *pool, cadre__deadline *deadline)
{
    (void)pool;
    cadre_request *request = CADRE__CONTAINER(deadline, cadre_request, deadline);
    static const char *const where[] = {"the deadline passed while the pictures were fetched", "the deadline passed while the request waited",
                                        "the deadline passed while the worker was at it", "the deadline passed while the consumer had paused"};
    const char *detail = request->state == CADRE__QUEUED && !request->model->ready ? "the deadline passed while the model was loading" : where[request->state];
    if (CADRE__FAULT(DEPTH) && request->state == CADRE__QUEUED) request->model->queued++;
    cadre__request_end(request, CADRE_ETIMEDOUT, detail);
}

/* ---- the worker's answers ---- */

static void consume(cadre_request *request, cadre__piece *piece)
{
    cadre__job *job = request->job;
    if (job && job->runner && request->state == CADRE__RUNNING) {
        uint32_t before = atomic_fetch_sub_explicit(&job->pieces, 1, memory_order_seq_cst);
        if (before >= job->window) cadre__thread_nudge(&job->runner->thread);
    }
    request->on_part.text(request, piece->text, piece->length);
    cadre__piece_free(cadre__pool_allocator(request->model->pool), piece);
}

void cadre__deliver_piece(cadre_pool *pool, cadre__message *message)
{
    cadre__piece *piece = CADRE__CONTAINER(message, cadre__piece, message);
    cadre_request *request = piece->job->request;
    if (!request) {
        cadre__piece_free(cadre__pool_allocator(pool), piece);
    } else if (request->paused || request->held) {
        hold_piece(request, piece);
    } else {
        consume(request, piece);
    }
}

static void hand_out_held(cadre_request *request)
{
    while (request->held && !request->paused && request->state != CADRE__ENDING) consume(request, take_held(request));
}

static void deliver_wake(cadre_pool *pool, cadre__message *message)
{
    (void)pool;
    cadre_request *request = CADRE__CONTAINER(message, cadre_request, wake);
    request->waking = false;
    if (request->state == CADRE__FETCHING) {
        cadre__fetch_start(request);
        return;
    }
    if (request->state != CADRE__ENDING) hand_out_held(request);
    if (request->waking) return; /* a callback ended it: one more delivery follows */
    if (request->state == CADRE__ENDING || (request->state == CADRE__HOLDING && !request->held)) finish(request);
}

/* A job that no worker has begun goes back to its place in the queue. */
static void wait_again(cadre_request *request, cadre__job *job)
{
    job->runner = NULL;
    job->batch = NULL;
    job->status = CADRE_OK;
    job->state = CADRE__JOB_NEW;
    request->job = job;
    job->request = request;
    request->state = CADRE__QUEUED;
    request->begun = false;
    cadre__list_init(&request->link);
    cadre__model_requeue(request);
    if (request->model->entry) cadre__entry_touch(request->model->entry); /* it may need another worker */
}

/* Moves what one job of a batch owns into a new one, which waits; the old one comes back when its thread does. */
static bool move_job(cadre__job *job)
{
    cadre_request *request = job->request;
    if (!request) return false;
    cadre_pool *pool = request->model->pool;
    cadre__job *copy = cadre__heap_take(&pool->heap, job->bytes);
    if (!copy) return false;
    memset(copy, 0, sizeof *copy); /* the rest of the old head is its thread's */
    copy->kind = job->kind;
    copy->bytes = job->bytes;
    copy->window = job->window;
    copy->streams = job->streams;
    copy->accepts_steps = job->accepts_steps;
    copy->lent = job->lent;
    memcpy(cadre__payload(copy), cadre__payload(job), job->bytes - sizeof *job);
    job->kind->moved(job, copy);
    if (job->lent) cadre__job_lent(job)->release = NULL;
    job->request = NULL;
    request->model->running--;
    request->model->abandoned++;
    wait_again(request, copy);
    return true;
}

bool cadre__job_steal(cadre_request *request)
{
    cadre__job *first = request->job;
    if (!first->head || !cadre__worker_others_serve(request->model)) return false;
    if (!cadre__job_claim(first, CADRE__CLAIM_LOOP)) return false;
    bool moved = move_job(first);
    for (cadre__job *job = first->batch; job; job = job->batch) move_job(job); /* who cannot move ends with the worker */
    return moved;
}

void cadre__deliver_done(cadre_pool *pool, cadre__message *message)
{
    cadre__job *job = CADRE__CONTAINER(message, cadre__job, message);
    cadre_request *request = job->request;
    cadre__worker *worker = job->runner->worker;
    cadre__model *model = worker->model;
    model->operations += job->operations;
    cadre__worker_taken(worker, job);
    if (job->status == CADRE_EWORKER && job->state != CADRE__JOB_NEW) cadre__worker_broken(worker, job->detail); /* whoever has asked, and may not wait */
    if (!request) {
        model->abandoned--;
        cadre__job_free(&pool->heap, job);
        cadre__model_settle(model);
        return;
    }
    model->running--;
    if (job->status == CADRE_EWORKER && job->state == CADRE__JOB_NEW && cadre__worker_others_serve(model) && !CADRE__FAULT(JOBS_LOST)) {
        wait_again(request, job);
        return;
    }
    model->ending++;
    request->status = CADRE__FAULT(ERROR_AS_RESULT) && job->status == CADRE_EENGINE ? CADRE_OK : job->status;
    if (job->status < 0 && job->detail) request->detail = cadre__strdup(cadre__pool_allocator(pool), job->detail);
    request->state = CADRE__HOLDING;
    if (!request->held) finish(request);
}

/* ---- the host's calls ---- */

static cadre_request *find(const cadre_pool *pool, cadre_request_id id)
{
    return pool ? cadre__table_get(&pool->requests, id) : NULL;
}

int cadre_request_cancel(cadre_pool *pool, cadre_request_id id)
{
    if (!pool) return CADRE_EINVAL;
    cadre_request *request = find(pool, id);
    if (!request) return CADRE_ESTALE;
    if (request->state == CADRE__ENDING) return CADRE_EALREADY;
    cadre__request_end(request, CADRE_ECANCELED, "cancelled by the host");
    return CADRE_OK;
}

static bool streamed(const cadre_request *request)
{
    cadre_capability capability = request->model->kind->capability;
    return (capability == CADRE_TEXT_TO_TEXT || capability == CADRE_VISION) && request->on_part.text;
}

int cadre_request_pause(cadre_pool *pool, cadre_request_id id)
{
    if (!pool) return CADRE_EINVAL;
    cadre_request *request = find(pool, id);
    if (!request) return CADRE_ESTALE;
    if (!streamed(request)) return CADRE_ENOTSUP;
    request->paused = true;
    return CADRE_OK;
}

int cadre_request_resume(cadre_pool *pool, cadre_request_id id)
{
    if (!pool) return CADRE_EINVAL;
    cadre_request *request = find(pool, id);
    if (!request) return CADRE_ESTALE;
    if (!streamed(request)) return CADRE_ENOTSUP;
    if (request->paused && request->held) wake(request);
    request->paused = false;
    return CADRE_OK;
}

cadre_worker_id cadre_request_worker(const cadre_request *request)
{
    return request->job && request->job->runner ? request->job->runner->worker->id : 0;
}

cadre_request_id cadre_request_get_id(const cadre_request *request)
{
    return request->id;
}

cadre_pool *cadre_request_pool(const cadre_request *request)
{
    return request->model->pool;
}

const char *cadre_request_key(const cadre_request *request)
{
    return request->model->key;
}

void *cadre_request_data(const cadre_request *request)
{
    return request->data;
}

const char *cadre_request_detail(const cadre_request *request)
{
    if (request->status >= 0) return "";
    return request->detail ? request->detail : cadre_strerror(request->status);
}

int64_t cadre_request_retry_after_ms(const cadre_request *request)
{
    switch (request->status) {
    case CADRE_EINPUT:
    case CADRE_ETOOLONG:
    case CADRE_ECANCELED:
    case CADRE_ECAPABILITY:
    case CADRE_ENOTSUP:
    case CADRE_ECLOSED: return 0; /* the same again would fail again */
    default: return request->status < 0 && request->model->entry ? cadre__entry_retry_after(request->model->entry) : 0;
    }
}
