/* A batch is a chain of jobs. The worker lays their inputs out as one table of rows, calls the model for at most max_batch rows at a time, and gives each job
 * its rows. A row that fails fails its request alone; a call that fails fails every request that has a row in it. */
#include "capability/embedding.h"

#include "capability/generation.h"
#include "capability/images.h"
#include "pool/model.h"
#include "pool/pool.h"
#include "pool/request.h"

typedef struct payload {
    size_t count;
    const char **texts; /* of a text request: in the same block as the payload, with copies of the strings unless lent */
    const char *task;
    int truncate;
    cadre__images images; /* of a picture request */
    float *values;        /* count × dimension */
    size_t dimension;
    uint64_t tokens;
} payload;

static payload *payload_of(const cadre__job *job)
{
    return cadre__payload(job);
}

/* ---- the loop: submission ---- */

/* Adds up the bytes of the texts with their terminators. */
static int check_texts(cadre_pool *pool, const char *const *texts, size_t count, size_t *bytes)
{
    for (size_t i = 0; i < count; i++) {
        if (!texts[i]) return cadre__pool_refuse(pool, CADRE_EINVAL, "texts[%zu] is NULL", i);
        size_t length = strlen(texts[i]), wrong = cadre__utf8_invalid(texts[i], length);
        if (wrong != SIZE_MAX) return cadre__pool_refuse(pool, CADRE_EINVAL, "texts[%zu] is not UTF-8 at byte %zu", i, wrong);
        if (!cadre__add(*bytes, length + 1, bytes)) return cadre__pool_refuse(pool, CADRE_ENOMEM, "the texts are too long");
    }
    return CADRE_OK;
}

/* `bytes`: of the texts. */
static cadre__job *make_texts(cadre_pool *pool, const char *const *texts, size_t count, size_t bytes, const cadre_embed_params *params)
{
    bool lent = params->options.release != NULL;
    size_t task_bytes = params->task ? strlen(params->task) + 1 : 0, size = sizeof(payload) + count * sizeof(char *);
    if (!cadre__add(size, task_bytes, &size) || (!lent && !cadre__add(size, bytes, &size))) return NULL;
    cadre__job *job = cadre__job_create(&pool->heap, &cadre__kinds[CADRE_TEXT_EMBEDDING], size, sizeof(payload), lent);
    if (!job) return NULL;
    payload *p = payload_of(job);
    p->count = count;
    p->truncate = params->truncate != 0;
    p->texts = (const char **)(void *)(p + 1);
    char *end = (char *)(p->texts + count);
    p->task = params->task ? memcpy(end, params->task, task_bytes) : "";
    end += task_bytes;
    for (size_t i = 0; i < count; i++) {
        p->texts[i] = lent ? texts[i] : end;
        size_t length = lent ? 0 : count == 1 ? bytes : strlen(texts[i]) + 1;
        memcpy(end, texts[i], length);
        end += length;
    }
    return job;
}

static int check_embed(cadre_pool *pool, const cadre_embed_params *p, size_t *bytes)
{
    if (!p->on_done) return cadre__pool_refuse(pool, CADRE_EINVAL, "on_done is NULL");
    if (!p->text == !p->texts) return cadre__pool_refuse(pool, CADRE_EINVAL, p->text ? "both text and texts are set" : "text and texts are NULL");
    if (p->texts && (p->count < 1 || p->count > CADRE_EMBED_TEXTS_MAX))
        return cadre__pool_refuse(pool, CADRE_EINVAL, "count is %zu, not within 1…%d", p->count, CADRE_EMBED_TEXTS_MAX);
    if (p->task && cadre__utf8_invalid(p->task, strlen(p->task)) != SIZE_MAX) return cadre__pool_refuse(pool, CADRE_EINVAL, "task is not UTF-8");
    return p->texts ? check_texts(pool, p->texts, p->count, bytes) : check_texts(pool, &p->text, 1, bytes);
}

int cadre_embed(cadre_pool *pool, const cadre_embed_params *theirs, cadre_request_id *out)
{
    if (out) *out = 0;
    if (!pool || !theirs) return CADRE_EINVAL;
    static const cadre_embed_params defaults = CADRE_EMBED_PARAMS_INIT;
    cadre_embed_params old;
    const cadre_embed_params *params = cadre__view(theirs, &old, &defaults, sizeof old);
    if (!params) return cadre__pool_refuse(pool, CADRE_EINVAL, "params.size is not that of cadre_embed_params");
    cadre__submission submission = {.options = &params->options, .data = params->data, .on_done.embeddings = params->on_done};
    struct cadre__model *model = NULL;
    size_t bytes = 0;
    int rc = check_embed(pool, params, &bytes);
    if (rc == CADRE_OK) rc = cadre__request_admit(pool, CADRE_TEXT_EMBEDDING, params->key, &params->options, &model);
    if (rc != CADRE_OK) return cadre__refuse_lent(&params->options, rc);
    submission.job = params->texts ? make_texts(pool, params->texts, params->count, bytes, params) : make_texts(pool, &params->text, 1, bytes, params);
    rc = cadre__request_submit(pool, model, &submission, out);
    return rc == CADRE_OK ? rc : cadre__refuse_lent(&params->options, rc);
}

static cadre__job *make_images(cadre_pool *pool, const cadre_embed_images_params *params)
{
    cadre__job *job = cadre__job_create(&pool->heap, &cadre__kinds[CADRE_IMAGE_EMBEDDING], sizeof(payload), sizeof(payload), params->options.release != NULL);
    if (!job) return NULL;
    payload *p = payload_of(job);
    p->count = params->count;
    p->task = "";
    if (cadre__images_copy(cadre__pool_allocator(pool), &p->images, params->images, params->count, params->options.release != NULL) == CADRE_OK) return job;
    cadre__job_free(&pool->heap, job);
    return NULL;
}

int cadre_embed_images(cadre_pool *pool, const cadre_embed_images_params *theirs, cadre_request_id *out)
{
    if (out) *out = 0;
    if (!pool || !theirs) return CADRE_EINVAL;
    static const cadre_embed_images_params defaults = CADRE_EMBED_IMAGES_PARAMS_INIT;
    cadre_embed_images_params old;
    const cadre_embed_images_params *params = cadre__view(theirs, &old, &defaults, sizeof old);
    if (!params) return cadre__pool_refuse(pool, CADRE_EINVAL, "params.size is not that of cadre_embed_images_params");
    cadre__submission submission = {.options = &params->options, .data = params->data, .on_done.embeddings = params->on_done};
    struct cadre__model *model = NULL;
    int rc = params->on_done ? cadre__images_check(pool, params->images, params->count, CADRE_EMBED_IMAGES_MAX)
                             : cadre__pool_refuse(pool, CADRE_EINVAL, "on_done is NULL");
    if (rc == CADRE_OK) rc = cadre__request_admit(pool, CADRE_IMAGE_EMBEDDING, params->key, &params->options, &model);
    if (rc != CADRE_OK) return cadre__refuse_lent(&params->options, rc);
    submission.job = make_images(pool, params);
    rc = cadre__request_submit(pool, model, &submission, out);
    return rc == CADRE_OK ? rc : cadre__refuse_lent(&params->options, rc);
}

/* ---- the loop: batching and results ---- */

size_t cadre__embedding_rows(const cadre__job *job)
{
    return payload_of(job)->count;
}

bool cadre__embedding_joins(const cadre__job *a, const cadre__job *b)
{
    const payload *p = payload_of(a), *q = payload_of(b);
    return p->truncate == q->truncate && (p->task == q->task || strcmp(p->task, q->task) == 0);
}

void cadre__embedding_finish(cadre_request *request, cadre__job *job, int status)
{
    cadre_embeddings result = {.size = sizeof result};
    if (status >= 0) {
        const payload *p = payload_of(job);
        result.values = p->values;
        result.count = p->count;
        result.dimension = p->dimension;
        result.tokens = p->tokens;
        request->model->stats.tokens_in += p->tokens;
    }
    request->on_done.embeddings(request, status, status < 0 ? NULL : &result);
}

cadre__images *cadre__embedding_images(const cadre__job *job)
{
    return &payload_of(job)->images;
}

void cadre__embedding_dispose(cadre__heap *heap, cadre__job *job)
{
    payload *p = payload_of(job);
    if (p->images.count) cadre__images_free(&heap->allocator, &p->images);
    if (p->values) cadre__heap_give(heap, p->values, p->count * p->dimension * sizeof *p->values);
}

void cadre__embedding_moved(cadre__job *from, cadre__job *to)
{
    payload *old = payload_of(from), *p = payload_of(to);
    p->task = cadre__moved(p->task, from, to);
    if (p->texts) p->texts = (const char **)(uintptr_t)cadre__moved(p->texts, from, to);
    for (size_t i = 0; p->texts && i < p->count; i++) p->texts[i] = cadre__moved(p->texts[i], from, to);
    old->images = (cadre__images){0};
    old->values = NULL;
}

void cadre__embedding_equip(cadre__heap *heap, cadre__job *job, const cadre__model *model)
{
    payload *p = payload_of(job);
    size_t bytes;
    if (p->values) cadre__heap_give(heap, p->values, p->count * p->dimension * sizeof *p->values); /* of a worker that did not begin it */
    p->values = NULL;
    if (!cadre__mul(p->count, model->dimension * sizeof(float), &bytes)) return;
    p->values = cadre__heap_take(heap, bytes);
    p->dimension = model->dimension;
}

/* ---- the worker ---- */

/* One call's worth of rows. The tables lie in the runner's scratch buffer, behind the vectors. */
typedef struct table {
    size_t capacity, count, dimension;
    float *values;
    cadre_op **ops;
    const char **texts;
    cadre_image *images;
    uint32_t *tokens;
    int *status;
    size_t *rows; /* which row of its request */
} table;

static bool make_table(cadre__runner *runner, table *t, size_t rows, size_t dimension)
{
    size_t row = dimension * sizeof(float), bytes;
    const size_t each = sizeof *t->ops + sizeof *t->texts + sizeof *t->images + sizeof *t->rows + sizeof *t->tokens + sizeof *t->status;
    if (!cadre__mul((row + 7) / 8 * 8 + each, rows, &bytes)) return false;
    char *base = cadre__runner_scratch(runner, bytes);
    if (!base) return false;
    *t = (table){.capacity = rows, .dimension = dimension, .values = (float *)(void *)base};
    base += (row * rows + 7) / 8 * 8;
    t->images = (cadre_image *)(void *)base;
    t->ops = (cadre_op **)(void *)(t->images + rows);
    t->texts = (const char **)(void *)(t->ops + rows);
    t->rows = (size_t *)(void *)(t->texts + rows);
    t->tokens = (uint32_t *)(void *)(t->rows + rows);
    t->status = (int *)(void *)(t->tokens + rows);
    return true;
}

static int call_model(const cadre__runner *runner, const table *t, const payload *first)
{
    if (runner->kind->capability == CADRE_TEXT_EMBEDDING) {
        const cadre_text_embedding_model *model = &runner->box->value.text_embedding;
        return model->ops->embed(model->self, t->ops, t->texts, t->count, first->task, first->truncate, t->values, t->tokens, t->status);
    }
    const cadre_image_embedding_model *model = &runner->box->value.image_embedding;
    return model->ops->embed(model->self, t->ops, t->images, t->count, t->values, t->status);
}

/* Runs the table, deals its rows out, and empties it. */
static void run_table(cadre__runner *runner, table *t)
{
    if (t->count == 0) return;
    memset(t->tokens, 0, t->count * sizeof *t->tokens);
    memset(t->status, 0, t->count * sizeof *t->status);
    runner->operations++;
    int rc = call_model(runner, t, payload_of(t->ops[0]));
    for (size_t i = 0; i < t->count; i++) {
        cadre__job *job = t->ops[i];
        payload *p = payload_of(job);
        int status = rc < 0 ? rc : t->status[i];
        if (status < 0) {
            if (job->status >= 0) job->status = status;
            continue;
        }
        p->tokens += t->tokens[i];
        memcpy(p->values + t->rows[i] * t->dimension, t->values + i * t->dimension, t->dimension * sizeof(float));
    }
    t->count = 0;
}

static int prepare(cadre__runner *runner, cadre__job *job, size_t dimension)
{
    payload *p = payload_of(job);
    if (cadre_op_cancelled(job)) return CADRE_ECANCELED;
    if (!p->values) return CADRE_ENOMEM;
    if (p->dimension != dimension)
        return cadre_op_fail(job, CADRE_EENGINE, "workers of one key disagree on the dimension: %zu and %zu", p->dimension, dimension);
    return p->images.count ? cadre__images_decode(runner, job, &p->images) : CADRE_OK;
}

static void add_rows(cadre__runner *runner, table *t, cadre__job *job)
{
    payload *p = payload_of(job);
    for (size_t row = 0; row < p->count && job->status >= 0; row++) {
        if (cadre_op_cancelled(job)) {
            job->status = CADRE_ECANCELED;
            return;
        }
        t->ops[t->count] = job;
        t->rows[t->count] = row;
        if (p->texts)
            t->texts[t->count] = p->texts[row];
        else
            t->images[t->count] = p->images.pixels[row];
        if (++t->count == t->capacity) run_table(runner, t);
    }
}

static void run(cadre__runner *runner, cadre__job *first, size_t dimension, size_t max_batch)
{
    table t;
    size_t rows = 0;
    for (cadre__job *job = first; job && rows < max_batch; job = job->batch) rows += payload_of(job)->count;
    bool made = make_table(runner, &t, rows < max_batch ? rows : max_batch, dimension);
    for (cadre__job *job = first; job; job = job->batch) {
        job->status = made ? prepare(runner, job, dimension) : CADRE_ENOMEM;
        if (job->status >= 0) add_rows(runner, &t, job);
    }
    if (made) run_table(runner, &t);
    for (cadre__job *job = first, *next; job; job = next) {
        next = job->batch;
        cadre__runner_complete(runner, job, job->status);
    }
}

void cadre__text_embedding_run(cadre__runner *runner, cadre__job *job)
{
    run(runner, job, runner->box->value.text_embedding.dimension, runner->box->value.text_embedding.max_batch);
}

void cadre__image_embedding_run(cadre__runner *runner, cadre__job *job)
{
    run(runner, job, runner->box->value.image_embedding.dimension, runner->box->value.image_embedding.max_batch);
}
