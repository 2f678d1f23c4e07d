#include "bare.h"

#include "bench.h"

#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <llama.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_TOKENS_MAX 512

typedef struct ggml_threadpool *(*pool_new_fn)(struct ggml_threadpool_params *);
typedef void (*pool_free_fn)(struct ggml_threadpool *);

struct bare {
    struct llama_model *model;
    struct llama_context *context;
    const struct llama_vocab *vocab;
    struct llama_batch batch;
    struct ggml_threadpool *threads;
    pool_free_fn free_threads;
};

static void *cpu_function(const char *name)
{
    ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    return device ? ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(device), name) : NULL;
}

static void own_thread_pool(bare *b, int threads)
{
    struct ggml_threadpool_params params;
    void *make = cpu_function("ggml_threadpool_new"), *end = cpu_function("ggml_threadpool_free");
    pool_new_fn new_pool;
    memcpy(&new_pool, &make, sizeof new_pool);
    memcpy(&b->free_threads, &end, sizeof b->free_threads);
    if (!new_pool || !b->free_threads) return;
    ggml_threadpool_params_init(&params, threads);
    b->threads = new_pool(&params);
    if (b->threads) llama_attach_threadpool(b->context, b->threads, NULL);
}

bare *bare_open(const char *path, int sequences, int context_length, int threads, int embeddings, int own_threads)
{
    bare *b = calloc(1, sizeof *b);
    struct llama_context_params params = llama_context_default_params();
    b->model = llama_model_load_from_file(path, llama_model_default_params());
    if (!b->model) bench_fail("llama.cpp cannot load %s", path);
    params.n_ctx = (uint32_t)(sequences * context_length);
    params.n_seq_max = (uint32_t)sequences;
    params.n_threads = params.n_threads_batch = threads;
    params.embeddings = embeddings != 0;
    if (embeddings) params.n_batch = params.n_ubatch = params.n_ctx;
    b->context = llama_init_from_model(b->model, params);
    if (!b->context) bench_fail("llama.cpp cannot make a context for %s", path);
    b->vocab = llama_model_get_vocab(b->model);
    b->batch = llama_batch_init((int32_t)params.n_ctx, 0, 1);
    if (own_threads) own_thread_pool(b, threads);
    return b;
}

void bare_close(bare *b)
{
    if (b->threads) {
        llama_detach_threadpool(b->context);
        b->free_threads(b->threads);
    }
    llama_batch_free(b->batch);
    llama_free(b->context);
    llama_model_free(b->model);
    free(b);
}

static void add_token(bare *b, llama_token token, int position, int sequence, int wanted)
{
    int32_t i = b->batch.n_tokens++;
    b->batch.token[i] = token;
    b->batch.pos[i] = position;
    b->batch.n_seq_id[i] = 1;
    b->batch.seq_id[i][0] = sequence;
    b->batch.logits[i] = wanted != 0;
}

/* Adds the text to the batch as one sequence and returns its number of tokens. */
static int add_text(bare *b, const char *text, int sequence, int all_wanted)
{
    llama_token tokens[TEXT_TOKENS_MAX];
    int32_t count = llama_tokenize(b->vocab, text, (int32_t)strlen(text), tokens, TEXT_TOKENS_MAX, true, true);
    if (count <= 0) bench_fail("llama_tokenize: %d", (int)count);
    for (int32_t i = 0; i < count; i++) add_token(b, tokens[i], i, sequence, all_wanted || i == count - 1);
    return count;
}

static void decode(bare *b)
{
    int32_t rc = llama_decode(b->context, b->batch);
    if (rc != 0) bench_fail("llama_decode: %d", (int)rc);
}

static llama_token likeliest(const bare *b, int32_t output)
{
    const float *logits = llama_get_logits_ith(b->context, output);
    int32_t best = 0, count = llama_vocab_n_tokens(b->vocab);
    for (int32_t i = 1; i < count; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

size_t bare_generate(bare *b, const char *const *prompts, int count, int n)
{
    int *positions = calloc((size_t)count, sizeof *positions);
    int32_t *outputs = calloc((size_t)count, sizeof *outputs);
    llama_token *tokens = calloc((size_t)count, sizeof *tokens);
    llama_memory_clear(llama_get_memory(b->context), false);
    b->batch.n_tokens = 0;
    for (int s = 0; s < count; s++) {
        positions[s] = add_text(b, prompts[s], s, 0);
        outputs[s] = b->batch.n_tokens - 1;
    }
    decode(b);
    for (int step = 1;; step++) {
        for (int s = 0; s < count; s++) tokens[s] = likeliest(b, outputs[s]);
        if (step == n) break;
        b->batch.n_tokens = 0;
        for (int s = 0; s < count; s++) {
            outputs[s] = b->batch.n_tokens;
            add_token(b, tokens[s], positions[s]++, s, 1);
        }
        decode(b);
    }
    free(positions);
    free(outputs);
    free(tokens);
    return (size_t)count * (size_t)n;
}

size_t bare_embed(bare *b, const char *const *texts, int count, float *out)
{
    size_t dimension = (size_t)llama_model_n_embd(b->model);
    b->batch.n_tokens = 0;
    for (int s = 0; s < count; s++) add_text(b, texts[s], s, 1);
    decode(b);
    for (int s = 0; s < count; s++) {
        const float *row = llama_get_embeddings_seq(b->context, s);
        double sum = 0;
        if (!row) bench_fail("llama.cpp made no embedding");
        for (size_t i = 0; i < dimension; i++) sum += (double)row[i] * (double)row[i];
        float scale = (float)(sum > 0 ? 1 / sqrt(sum) : 0);
        for (size_t i = 0; i < dimension; i++) out[(size_t)s * dimension + i] = row[i] * scale;
    }
    return dimension;
}
