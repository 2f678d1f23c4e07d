/* Text embedding: texts are sequences of one batch, pooled by the engine as the model states, and made unit vectors here.
 *
 * Threads: as generate.c. Nothing is kept between calls: attention is over whole texts, so each batch begins with an empty memory. */
#include "backend.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct embedder {
    cadre__llama_weights *weights;
    bool owns_weights;
    bool prepared; /* the context is there */
    cadre__llama_options *options;
    cadre__llama_facts facts; /* the weights', with this worker's pooling and attention */
    int32_t context_length;
    int32_t max_batch;
    int32_t dimension;
    cadre__llama_context context;
    cadre__llama_tokens tokens;
    char *joined; /* a prompt and a text; grows */
    size_t joined_size;
    cadre_op **waiting;  /* the ops of the texts in the batch: max_batch of them, */
    size_t *rows;        /* and which texts they are */
    int32_t batch_count; /* texts in the batch */
} embedder;

/* One call of embed. */
typedef struct call {
    cadre_op *const *ops;
    float *out;
    int *status;
} call;

/* ---- one batch ---- */

/* A unit vector; false where the engine gave something that is none. Zero stays zero. */
static bool normalise(const float *from, float *to, int32_t dimension)
{
    double sum = 0.0;
    for (int32_t i = 0; i < dimension; i++) sum += (double)from[i] * (double)from[i];
    if (!isfinite(sum)) return false;
    double scale = sum > 0.0 ? 1.0 / sqrt(sum) : 0.0;
    for (int32_t i = 0; i < dimension; i++) to[i] = (float)(from[i] * scale);
    return true;
}

static void store(embedder *self, const call *now)
{
    for (int32_t i = 0; i < self->batch_count; i++) {
        size_t row = self->rows[i];
        const float *vector = llama_get_embeddings_seq(self->context.engine, i);
        if (!vector || !normalise(vector, now->out + row * (size_t)self->dimension, self->dimension))
            now->status[row] = cadre_op_fail(now->ops[row], CADRE_EENGINE, "the engine gave no vector");
    }
}

/* Decodes the texts of the batch and empties it. */
static int flush(embedder *self, const call *now)
{
    if (self->batch_count == 0) return CADRE_OK;
    llama_memory_t memory = llama_get_memory(self->context.engine); /* NULL for an encoder, which keeps nothing */
    if (memory) llama_memory_clear(memory, false);
    int rc = cadre__llama_context_run(&self->context, self->waiting, (size_t)self->batch_count, self->options->threads);
    if (rc == CADRE_OK)
        store(self, now);
    else
        for (int32_t i = 0; i < self->batch_count; i++) now->status[self->rows[i]] = rc;
    self->context.batch.n_tokens = 0;
    self->batch_count = 0;
    return CADRE_OK;
}

static void add(embedder *self, const call *now, size_t row)
{
    for (int32_t i = 0; i < self->tokens.count; i++) cadre__llama_context_add(&self->context, self->tokens.at[i], i, self->batch_count, true);
    self->waiting[self->batch_count] = now->ops[row];
    self->rows[self->batch_count++] = row;
}

/* ---- texts to tokens ---- */

/* A text without any token, of a tokenizer that adds none, is its end-of-text or beginning-of-text token. */
static int stand_in(embedder *self, cadre_op *op)
{
    llama_token token = llama_vocab_eos(self->weights->vocab);
    if (token == LLAMA_TOKEN_NULL) token = llama_vocab_bos(self->weights->vocab);
    if (token == LLAMA_TOKEN_NULL || self->tokens.capacity == 0) return cadre_op_fail(op, CADRE_EINPUT, "the model has no token for an empty text");
    self->tokens.at[0] = token;
    self->tokens.count = 1;
    return CADRE_OK;
}

static int read_text(embedder *self, cadre_op *op, const char *text, bool truncate)
{
    cadre__llama_tokens *tokens = &self->tokens;
    int rc = cadre__llama_tokenize(self->weights, op, text, self->context_length, false, truncate, tokens);
    if (rc < 0) return rc;
    if (tokens->count == 0) return stand_in(self, op);
    if (tokens->count <= self->context_length) return CADRE_OK;
    if (!truncate) return cadre_op_fail(op, CADRE_ETOOLONG, "the text has %d tokens; the model takes %d", tokens->count, self->context_length);
    llama_token last = tokens->at[tokens->count - 1];
    tokens->count = self->context_length;
    /* The separator or end token that the model ends every text with stays. */
    if (llama_vocab_is_control(self->weights->vocab, last)) tokens->at[tokens->count - 1] = last;
    return CADRE_OK;
}

/* ---- the operation ---- */

/* The text with the prompt before it, valid until the next; NULL: out of memory. */
static const char *join(embedder *self, const char *prompt, const char *text)
{
    size_t size;
    if (!prompt) return text;
    if (__builtin_add_overflow(strlen(prompt) + 1, strlen(text), &size)) return NULL;
    if (size > self->joined_size) {
        char *grown = realloc(self->joined, size);
        if (!grown) return NULL;
        self->joined = grown;
        self->joined_size = size;
    }
    strcpy(stpcpy(self->joined, prompt), text);
    return self->joined;
}

static int read_joined(embedder *self, cadre_op *op, const char *prompt, const char *text, bool truncate)
{
    const char *joined = join(self, prompt, text);
    return joined ? read_text(self, op, joined, truncate) : CADRE_ENOMEM;
}

static int embed(void *data, cadre_op *const *ops, const char *const *texts, size_t count, const char *task, int truncate, float *out, uint32_t *token_counts,
                 int *status)
{
    embedder *self = data;
    const call now = {ops, out, status};
    const char *prompt;
    int rc = cadre__llama_prompt_of(self->options, ops, count, task, &prompt);
    if (rc < 0) return rc;
    self->context.batch.n_tokens = 0;
    self->batch_count = 0;
    for (size_t i = 0; i < count; i++) {
        status[i] = cadre_op_cancelled(ops[i]) ? CADRE_ECANCELED : read_joined(self, ops[i], prompt, texts[i], truncate != 0);
        if (status[i] < 0) continue;
        token_counts[i] = (uint32_t)self->tokens.count;
        if (self->batch_count == self->max_batch || self->context.batch.n_tokens + self->tokens.count > self->context.batch_tokens) flush(self, &now);
        add(self, &now, i);
    }
    flush(self, &now);
    return CADRE_OK;
}

/* ---- life ---- */

/* A batch holds one whole text at the least, and goes through in one piece. */
static struct llama_context_params context_params(const embedder *self)
{
    struct llama_context_params params = llama_context_default_params();
    int32_t batch = self->options->batch_tokens > self->context_length ? self->options->batch_tokens : self->context_length;
    params.n_batch = params.n_ubatch = (uint32_t)batch;
    params.n_ctx = (params.n_batch + 255) / 256 * 256;
    params.n_seq_max = (uint32_t)self->max_batch;
    params.kv_unified = true; /* the texts of a batch share its tokens as they need them */
    params.embeddings = true;
    int32_t pooling = self->facts.pooling;
    params.pooling_type = pooling <= LLAMA_POOLING_TYPE_NONE ? LLAMA_POOLING_TYPE_MEAN : (enum llama_pooling_type)pooling;
    if (!self->facts.encoder) params.attention_type = self->facts.causal ? LLAMA_ATTENTION_TYPE_CAUSAL : LLAMA_ATTENTION_TYPE_NON_CAUSAL;
    return params;
}

/* The memory and the context, which take a while: made by the load where that may block, at its low priority, else by attach. */
static int prepare(embedder *self, char *detail, size_t detail_size, uint64_t *bytes)
{
    self->waiting = calloc((size_t)self->max_batch, sizeof(*self->waiting));
    self->rows = calloc((size_t)self->max_batch, sizeof(*self->rows));
    self->tokens.at = calloc((size_t)self->context_length, sizeof(*self->tokens.at));
    if (!self->waiting || !self->rows || !self->tokens.at) return CADRE_ENOMEM;
    self->tokens.capacity = self->context_length;
    int rc = cadre__llama_context_create(&self->context, self->weights, context_params(self), detail, detail_size);
    self->prepared = rc == CADRE_OK;
    *bytes = rc == CADRE_OK ? cadre__llama_measured(self->weights, self->owns_weights, self->options, self->context_length) : 0;
    return rc;
}

static int attach(void *data, cadre_op *op)
{
    embedder *self = data;
    char detail[480] = "";
    uint64_t bytes = 0;
    if (self->prepared) return CADRE_OK;
    int rc = prepare(self, detail, sizeof(detail), &bytes);
    if (bytes) cadre_op_measured(op, CADRE_DEVICE_HOST, bytes);
    return rc < 0 && *detail ? cadre_op_fail(op, rc, "%s", detail) : rc;
}

static void destroy(void *data)
{
    embedder *self = data;
    cadre__llama_context_clear(&self->context);
    cadre__llama_tokens_clear(&self->tokens);
    free(self->joined);
    free(self->waiting);
    free(self->rows);
    if (self->owns_weights) cadre__llama_weights_destroy(self->weights);
    cadre__llama_options_destroy(self->options);
    free(self);
}

static const cadre_text_embedding_ops ops_table = {sizeof(ops_table), attach, destroy, embed};

int cadre__llama_embedder_create(cadre_load_context *context, cadre__llama_weights *weights, bool owned, cadre__llama_options **options,
                                 cadre_text_embedding_model *out)
{
    char detail[480] = "";
    embedder *self = calloc(1, sizeof(*self));
    if (!self) {
        if (owned) cadre__llama_weights_destroy(weights);
        return CADRE_ENOMEM;
    }
    self->weights = weights;
    self->owns_weights = owned;
    self->dimension = llama_model_n_embd_out(weights->model);
    self->max_batch = (*options)->slots == CADRE_DEFAULT ? CADRE__LLAMA_EMBEDDING_SLOTS : (*options)->slots;
    self->facts = weights->facts;
    cadre__llama_facts_override(&self->facts, *options);
    int rc = cadre__llama_check(&self->facts, *options, CADRE_TEXT_EMBEDDING, &self->context_length, detail, sizeof(detail));
    if (rc < 0) {
        destroy(self);
        return cadre_load_fail(context, rc, "%s", detail);
    }
    self->options = *options;
    *options = NULL;
    uint64_t bytes = 0;
    if (cadre_load_may_block(context)) rc = prepare(self, detail, sizeof(detail), &bytes);
    if (rc < 0) {
        destroy(self);
        return *detail ? cadre_load_fail(context, rc, "%s", detail) : rc;
    }
    if (bytes) cadre_load_measured(context, CADRE_DEVICE_HOST, bytes);
    out->ops = &ops_table;
    out->self = self;
    out->dimension = (uint32_t)self->dimension;
    out->max_batch = (uint32_t)self->max_batch;
    out->context_length = (uint32_t)self->context_length;
    out->heartbeat_ms = CADRE__LLAMA_HEARTBEAT_MS;
    out->threads = (uint32_t)self->options->threads;
    return CADRE_OK;
}
