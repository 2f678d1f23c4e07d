/* Text embedding. A call's texts become tokens first; then they run in parts of texts that are about equally long, so that little is padded and no part needs
 * more memory than was reserved.
 *
 * Threads: made where it is loaded, used on the worker's thread; the weights are constant and may be run by other workers at the same time. */
#include "backend.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A text of the call that has become tokens. */
typedef struct row {
    size_t text;
    size_t at, count; /* in the tokens */
    size_t skipped;   /* of them, the first ones, which do not count in the pooling */
} row;

typedef struct embedder {
    cadre__onnx_weights *weights;
    bool owns_weights;
    cadre__onnx_options *options;
    size_t *prompt_tokens; /* of each of the options' prompts, how many positions do not count; NULL: they all do */
    int32_t longest;       /* tokens that a text may have */
    cadre__onnx_runner runner;
    cadre__onnx_tokens tokens;
    row *rows;        /* max_batch of them */
    cadre_op **ops;   /* likewise: of the part that runs */
    int64_t *numbers; /* ids, mask, types and pool of a part */
    size_t room;      /* numbers of each */
    char *prompted;   /* a text behind its prompt */
    size_t prompted_room;
} embedder;

/* One call of embed. */
typedef struct call {
    cadre_op *const *ops;
    float *out;
    int *status;
    const cadre__onnx_prompt *prompt; /* NULL: none */
    bool truncate;
} call;

/* ---- a part ---- */

static bool make_room(embedder *self, size_t numbers)
{
    if (numbers <= self->room) return true;
    int64_t *grown = realloc(self->numbers, numbers * 4 * sizeof(*grown));
    if (!grown) return false;
    self->numbers = grown;
    self->room = numbers;
    return true;
}

static void lay_out(embedder *self, const row *rows, size_t count, size_t width, cadre__onnx_part *part)
{
    int32_t pad = cadre__onnx_tokenizer_pad(self->weights->tokenizer);
    *part = (cadre__onnx_part){count, width, self->numbers, self->numbers + self->room, self->numbers + 2 * self->room, self->numbers + 3 * self->room, NULL};
    memset(part->types, 0, count * width * sizeof(*part->types));
    for (size_t r = 0; r < count; r++) {
        for (size_t i = 0; i < width; i++) {
            bool token = i < rows[r].count;
            part->ids[r * width + i] = token ? self->tokens.at[rows[r].at + i] : pad;
            part->mask[r * width + i] = token;
            part->pool[r * width + i] = token && i >= rows[r].skipped;
        }
    }
}

/* The vector of one text, from its tokens' where the model gives those. */
static bool store(const embedder *self, const row *r, const float *values, float *to)
{
    int32_t dimension = self->weights->plan.dimension;
    const float *from = values;
    bool mean = self->options->pooling == CADRE__ONNX_MEAN, last = self->options->pooling == CADRE__ONNX_LAST;
    if (self->weights->plan.per_token && mean) {
        for (int32_t d = 0; d < dimension; d++) {
            double sum = 0.0;
            for (size_t i = r->skipped; i < r->count; i++) sum += (double)values[i * (size_t)dimension + (size_t)d];
            to[d] = (float)(sum / (double)(r->count - r->skipped));
        }
        from = to;
    } else if (self->weights->plan.per_token && last) {
        from = values + (r->count - 1) * (size_t)dimension;
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

/* NULL: out of memory. */
static const char *put_behind(embedder *self, const char *prompt, const char *text)
{
    size_t before = strlen(prompt), length = strlen(text), room;
    if (__builtin_add_overflow(before + 1, length, &room)) return NULL;
    if (room > self->prompted_room) {
        char *grown = realloc(self->prompted, room);
        if (!grown) return NULL;
        self->prompted = grown;
        self->prompted_room = room;
    }
    memcpy(self->prompted, prompt, before);
    memcpy(self->prompted + before, text, length + 1);
    return self->prompted;
}

static int read_tokens(embedder *self, const call *now, cadre_op *op, const char *text, row *out)
{
    size_t limit = (size_t)self->longest;
    cadre__onnx_tokens *tokens = &self->tokens;
    out->at = tokens->count;
    int64_t count = cadre__onnx_tokenize(self->weights->tokenizer, text, self->options->lower_case, limit, now->truncate, cancelled, op, tokens);
    if (count == CADRE_EINPUT) return cadre_op_fail(op, CADRE_EINPUT, "the text is not UTF-8");
    if (count == CADRE_ENOTSUP)
        return cadre_op_fail(op, CADRE_EINPUT, "the text has more characters of one kind in a row than the tokenizer takes; spaces between them would help");
    if (count > (int64_t)limit && !now->truncate)
        return cadre_op_fail(op, CADRE_ETOOLONG, "the text has at least %lld tokens; the model takes %zu%s", (long long)count, limit,
                             self->longest < self->options->context_length ? " with the memory that the option text_bytes gives a text" : "");
    if (count < 0) return (int)count;
    out->count = tokens->count - out->at;
    if (out->skipped < out->count) return CADRE_OK;
    return cadre_op_fail(op, CADRE_EINPUT, "nothing of the text is left behind the prompt \"%.64s\", whose tokens do not count", now->prompt->name);
}

static int read_text(embedder *self, const call *now, size_t index, const char *text, row *out)
{
    *out = (row){.text = index};
    if (now->prompt) text = put_behind(self, now->prompt->text, text);
    if (!text) return CADRE_ENOMEM;
    if (now->prompt && self->prompt_tokens) out->skipped = self->prompt_tokens[now->prompt - self->options->prompts];
    size_t before = self->tokens.count;
    int rc = read_tokens(self, now, now->ops[index], text, out);
    if (rc < 0) self->tokens.count = before;
    return rc;
}

static int by_length(const void *a, const void *b)
{
    const row *x = a, *y = b;
    if (x->count != y->count) return x->count < y->count ? -1 : 1;
    return x->text < y->text ? -1 : x->text > y->text;
}

static int refuse_task(const embedder *self, cadre_op *const *ops, size_t count, const char *task)
{
    char names[256] = "";
    size_t length = 0;
    int error = self->options->prompt_count > 0 ? CADRE_EINPUT : CADRE_ENOTSUP;
    for (size_t p = 0; p < self->options->prompt_count && length < sizeof(names); p++)
        length += (size_t)snprintf(names + length, sizeof(names) - length, "%s\"%s\"", p ? ", " : "", self->options->prompts[p].name);
    for (size_t i = 0; i < count; i++) {
        if (error == CADRE_EINPUT)
            cadre_op_fail(ops[i], error, "the task \"%.64s\" is none of the model's prompts: %s", task, names);
        else
            cadre_op_fail(ops[i], error, "the task \"%.64s\": the model has no prompts (option \"prompts\"), put its words into the text", task);
    }
    return error;
}

static const cadre__onnx_prompt *find_prompt(const embedder *self, const char *task)
{
    for (size_t i = 0; i < self->options->prompt_count; i++)
        if (strcmp(self->options->prompts[i].name, task) == 0) return &self->options->prompts[i];
    return NULL;
}

static int embed(void *data, cadre_op *const *ops, const char *const *texts, size_t count, const char *task, int truncate, float *out, uint32_t *token_counts,
                 int *status)
{
    embedder *self = data;
    bool named = task && *task;
    const call now = {ops, out, status, named ? find_prompt(self, task) : NULL, truncate || self->options->truncate};
    size_t rows = 0;
    if (named && !now.prompt) return refuse_task(self, ops, count, task);
    self->tokens.count = 0;
    for (size_t i = 0; i < count; i++) {
        row *r = &self->rows[rows];
        status[i] = cadre_op_cancelled(ops[i]) ? CADRE_ECANCELED : read_text(self, &now, i, texts[i], r);
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
    free(self->prompted);
    free(self->prompt_tokens);
    if (self->owns_weights) cadre__onnx_weights_destroy(self->weights);
    cadre__onnx_options_destroy(self->options);
    free(self);
}

/* As NV-Embed's code counts: so many positions from the first one on as the prompt alone has tokens, special ones not counted. */
static int count_prompts(embedder *self, cadre_load_context *context)
{
    const cadre__onnx_options *options = self->options;
    if (self->weights->plan.pool < 0 || options->prompt_count == 0) return CADRE_OK;
    self->prompt_tokens = calloc(options->prompt_count, sizeof(*self->prompt_tokens));
    if (!self->prompt_tokens) return CADRE_ENOMEM;
    for (size_t i = 0; i < options->prompt_count; i++) {
        int64_t count = cadre__onnx_tokenizer_count(self->weights->tokenizer, options->prompts[i].text, options->lower_case);
        if (count == CADRE_EINPUT) return cadre_load_fail(context, CADRE_EINVAL, "the prompt \"%.64s\" is not UTF-8", options->prompts[i].name);
        if (count == CADRE_ENOTSUP)
            return cadre_load_fail(context, CADRE_EINVAL, "the prompt \"%.64s\" has more characters of one kind in a row than the tokenizer takes",
                                   options->prompts[i].name);
        if (count < 0) return (int)count;
        self->prompt_tokens[i] = (size_t)count;
    }
    return CADRE_OK;
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
    self->options = *options;
    self->longest = cadre__onnx_longest(&weights->cost, *options);
    int rc = weights->tokenizer ? cadre__onnx_runner_create(&self->runner, weights)
                                : cadre_load_fail(context, CADRE_ECAPABILITY, "these weights are a model of pictures, not of texts");
    self->rows = calloc(max_batch, sizeof(*self->rows));
    self->ops = calloc(max_batch, sizeof(*self->ops));
    if (rc == CADRE_OK && (!self->rows || !self->ops)) rc = CADRE_ENOMEM;
    if (rc == CADRE_OK) rc = count_prompts(self, context);
    if (rc < 0) {
        self->options = NULL; /* the caller's still */
        destroy(self);
        return rc;
    }
    *options = NULL;
    out->size = sizeof(*out);
    out->ops = &ops_table;
    out->self = self;
    out->dimension = (uint32_t)weights->plan.dimension;
    out->max_batch = (uint32_t)max_batch;
    out->context_length = (uint32_t)self->longest;
    out->heartbeat_ms = 0; /* the engine gives no sign within a Run */
    out->threads = (uint32_t)weights->thread_count;
    return CADRE_OK;
}
