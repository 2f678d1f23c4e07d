/* Text embedding. A call's texts become tokens first; then they run in parts of texts that are about equally long, so that little is padded and no part needs
 * more memory than was reserved.
 *
 * Threads: made where it is loaded, used on the worker's thread; the weights are constant and may be run by other workers at the same time. */
#include "backend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A text of the call that has become tokens. */
typedef struct row {
    size_t text;
    size_t at, count; /* in the tokens */
} row;

typedef struct embedder {
    cadre__onnx_weights *weights;
    bool owns_weights;
    cadre__onnx_options *options;
    cadre__onnx_runner runner;
    cadre__onnx_tokens tokens;
    row *rows;        /* max_batch of them */
    cadre_op **ops;   /* likewise: of the part that runs */
    int64_t *numbers; /* ids, mask and types of a part */
    size_t room;      /* numbers of each */
} embedder;

/* One call of embed. */
typedef struct call {
    cadre_op *const *ops;
    float *out;
    int *status;
} call;

/* ---- a part ---- */

static bool make_room(embedder *self, size_t numbers)
{
    if (numbers <= self->room) return true;
    int64_t *grown = realloc(self->numbers, numbers * 3 * sizeof(*grown));
    if (!grown) return false;
    self->numbers = grown;
    self->room = numbers;
    return true;
}

static void lay_out(embedder *self, const row *rows, size_t count, size_t width, cadre__onnx_part *part)
{
    int32_t pad = cadre__onnx_vocabulary_specials(self->weights->vocabulary)->pad;
    *part = (cadre__onnx_part){count, width, self->numbers, self->numbers + self->room, self->numbers + 2 * self->room, NULL};
    memset(part->types, 0, count * width * sizeof(*part->types));
    for (size_t r = 0; r < count; r++) {
        for (size_t i = 0; i < width; i++) {
            bool token = i < rows[r].count;
            part->ids[r * width + i] = token ? self->tokens.at[rows[r].at + i] : pad;
            part->mask[r * width + i] = token;
        }
    }
}

/* The vector of one text, from its tokens' where the model gives those. */
static bool store(const embedder *self, const row *r, const float *values, float *to)
{
    int32_t dimension = self->weights->plan.dimension;
    const float *from = values;
    if (self->weights->plan.per_token && !self->options->pool_first) {
        for (int32_t d = 0; d < dimension; d++) {
            double sum = 0.0;
            for (size_t i = 0; i < r->count; i++) sum += (double)values[i * (size_t)dimension + (size_t)d];
            to[d] = (float)(sum / (double)r->count);
        }
        from = to;
    }
    return cadre__onnx_store(from, to, dimension, self->options->normalize);
}

static void fail_rows(const call *now, const row *rows, size_t count, int error, const char *detail)
{
    for (size_t r = 0; r < count; r++) {
        if (*detail) cadre_op_fail(now->ops[rows[r].text], error, "%s", detail);
        now->status[rows[r].text] = error;
    }
}

/* One Run. */
static int run_rows(embedder *self, const call *now, const row *rows, size_t count, char *detail, size_t detail_size)
{
    cadre__onnx_part part;
    OrtValue *result;
    const float *values;
    int32_t dimension;
    size_t width = rows[count - 1].count, stride = (size_t)self->weights->plan.dimension * (self->weights->plan.per_token ? width : 1);
    if (!make_room(self, count * width)) return CADRE_ENOMEM;
    lay_out(self, rows, count, width, &part);
    for (size_t r = 0; r < count; r++) self->ops[r] = now->ops[rows[r].text];
    int rc = cadre__onnx_run(&self->runner, &part, self->ops, count, &result, &values, &dimension, detail, detail_size);
    if (rc < 0) return rc;
    for (size_t r = 0; r < count; r++) {
        float *to = now->out + rows[r].text * (size_t)dimension;
        if (!store(self, &rows[r], values + r * stride, to)) fail_rows(now, &rows[r], 1, CADRE_EENGINE, "the engine gave no number");
    }
    self->weights->api->ReleaseValue(result);
    return CADRE_OK;
}

/* The texts of a part are of different requests: where the engine fails, each is tried alone, so that one it cannot take fails no other. */
static void run_part(embedder *self, const call *now, const row *rows, size_t count)
{
    char detail[CADRE__ONNX_DETAIL] = "";
    int rc = run_rows(self, now, rows, count, detail, sizeof(detail));
    if (rc == CADRE_OK) return;
    if (count == 1 || (rc != CADRE_EENGINE && rc != CADRE_ENOMEM)) {
        fail_rows(now, rows, count, rc, rc == CADRE_ECANCELED ? "" : detail);
        return;
    }
    for (size_t r = 0; r < count; r++) {
        if (cadre_op_cancelled(now->ops[rows[r].text]))
            fail_rows(now, &rows[r], 1, CADRE_ECANCELED, "");
        else
            run_part(self, now, &rows[r], 1);
    }
}

/* ---- the operation ---- */

static bool cancelled(void *data)
{
    return cadre_op_cancelled(data);
}

static int read_text(embedder *self, cadre_op *op, const char *text, bool truncate, row *out)
{
    size_t limit = (size_t)self->options->context_length, before = self->tokens.count;
    truncate = truncate || self->options->truncate;
    cadre__onnx_tokens *tokens = &self->tokens;
    int64_t count = cadre__onnx_wordpiece(self->weights->vocabulary, text, self->options->lower_case, limit, truncate, cancelled, op, tokens);
    if (count > (int64_t)limit && !truncate)
        count = cadre_op_fail(op, CADRE_ETOOLONG, "the text has %lld tokens; the model takes %zu", (long long)count, limit);
    else if (count == CADRE_EINPUT)
        cadre_op_fail(op, CADRE_EINPUT, "the text is not UTF-8");
    if (count < 0) {
        tokens->count = before;
        return (int)count;
    }
    out->at = before;
    out->count = tokens->count - before;
    return CADRE_OK;
}

static int by_length(const void *a, const void *b)
{
    const row *x = a, *y = b;
    if (x->count != y->count) return x->count < y->count ? -1 : 1;
    return x->text < y->text ? -1 : x->text > y->text;
}

static int refuse_task(cadre_op *const *ops, size_t count, const char *task)
{
    for (size_t i = 0; i < count; i++)
        cadre_op_fail(ops[i], CADRE_ENOTSUP, "the task \"%.64s\": models of this backend know no tasks, put its words into the text", task);
    return CADRE_ENOTSUP;
}

static int embed(void *data, cadre_op *const *ops, const char *const *texts, size_t count, const char *task, int truncate, float *out, uint32_t *token_counts,
                 int *status)
{
    embedder *self = data;
    const call now = {ops, out, status};
    size_t rows = 0;
    if (task && *task) return refuse_task(ops, count, task);
    self->tokens.count = 0;
    for (size_t i = 0; i < count; i++) {
        row *r = &self->rows[rows];
        r->text = i;
        status[i] = cadre_op_cancelled(ops[i]) ? CADRE_ECANCELED : read_text(self, ops[i], texts[i], truncate != 0, r);
        if (status[i] < 0) continue;
        token_counts[i] = (uint32_t)r->count;
        rows++;
    }
    qsort(self->rows, rows, sizeof(*self->rows), by_length);
    for (size_t begin = 0, end; begin < rows; begin = end) {
        for (end = begin + 1; end < rows && (end + 1 - begin) * self->rows[end].count <= CADRE__ONNX_PART_TOKENS; end++) {
        }
        run_part(self, &now, self->rows + begin, end - begin);
    }
    return CADRE_OK;
}

/* ---- life ---- */

static uint64_t own_bytes(const embedder *self)
{
    uint64_t own = cadre__onnx_worker_bytes(&self->weights->cost, &self->weights->plan, self->options);
    return cadre__onnx_sum(own, self->owns_weights ? self->weights->bytes : 0);
}

static int attach(void *data, cadre_op *op)
{
    embedder *self = data;
    cadre_op_measured(op, CADRE_DEVICE_HOST, own_bytes(self));
    int rc = cadre__onnx_threads_start(self->weights->threads);
    return rc < 0 ? cadre_op_fail(op, rc, "the engine's %d threads could not be started", self->weights->thread_count) : CADRE_OK;
}

static void destroy(void *data)
{
    embedder *self = data;
    cadre__onnx_runner_clear(&self->runner);
    cadre__onnx_tokens_clear(&self->tokens);
    free(self->rows);
    free(self->ops);
    free(self->numbers);
    if (self->owns_weights) cadre__onnx_weights_destroy(self->weights);
    cadre__onnx_options_destroy(self->options);
    free(self);
}

static const cadre_text_embedding_ops ops_table = {sizeof(ops_table), attach, destroy, embed};

int cadre__onnx_text_create(cadre_load_context *context, cadre__onnx_weights *weights, bool owned, cadre__onnx_options **options,
                            cadre_text_embedding_model *out)
{
    embedder *self = calloc(1, sizeof(*self));
    if (!self) {
        if (owned) cadre__onnx_weights_destroy(weights);
        return CADRE_ENOMEM;
    }
    self->weights = weights;
    self->owns_weights = owned;
    size_t max_batch = (size_t)(*options)->max_batch;
    int rc = weights->vocabulary ? cadre__onnx_runner_create(&self->runner, weights)
                                 : cadre_load_fail(context, CADRE_ECAPABILITY, "these weights are a model of pictures, not of texts");
    self->rows = calloc(max_batch, sizeof(*self->rows));
    self->ops = calloc(max_batch, sizeof(*self->ops));
    if (rc == CADRE_OK && (!self->rows || !self->ops)) rc = CADRE_ENOMEM;
    if (rc < 0) {
        destroy(self);
        return rc;
    }
    self->options = *options;
    *options = NULL;
    out->size = sizeof(*out);
    out->ops = &ops_table;
    out->self = self;
    out->dimension = (uint32_t)weights->plan.dimension;
    out->max_batch = (uint32_t)max_batch;
    out->context_length = (uint32_t)self->options->context_length;
    out->heartbeat_ms = 0; /* the engine gives no sign within a Run */
    out->threads = (uint32_t)weights->thread_count;
    return CADRE_OK;
}
