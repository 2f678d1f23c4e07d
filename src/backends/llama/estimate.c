/* What a model will need, from its file's header. */
#include "backend.h"

static uint64_t padded(int32_t tokens)
{
    return ((uint64_t)tokens + 255) / 256 * 256;
}

/* Keys and values of all layers in f16, for so many tokens. */
static uint64_t cache_bytes(const cadre__llama_facts *facts, uint64_t tokens)
{
    return tokens * facts->layers * 2u * ((uint64_t)facts->key_width + facts->value_width);
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* What one token takes in f32 while it goes through a layer: of a dense one the residual, its normed copy, queries, keys, values and two or three of the
 * feed-forward's width; of one with experts an output and three inner rows for each that is used; with latent attention each head's query against the
 * compressed row, its answer, and what they were made of. */
static uint64_t activations(const cadre__llama_facts *facts)
{
    uint64_t width = facts->embedding, inner = facts->feed_forward, experts = facts->experts_used;
    uint64_t dense = larger(6u * width + 2u * inner + facts->key_width + facts->value_width, 2u * width + 3u * inner);
    uint64_t sparse = 4u * width + experts * (width + 3u * (uint64_t)facts->expert_feed_forward);
    uint64_t latent = facts->latent ? 3u * width + facts->heads * (2u * (uint64_t)facts->latent + facts->key_width) : 0;
    return 4u * larger(dense, larger(experts ? sparse : 0, latent));
}

/* The engine's buffer for one decode: the activations of a layer at a time, which give way to the logits of the tokens that have them, and the attention mask;
 * with them the logits that the engine hands out, for each sequence. */
static uint64_t compute_bytes(const cadre__llama_facts *facts, uint64_t batch, uint64_t mask_width, uint64_t outputs, uint64_t sequences)
{
    uint64_t logits = facts->encoder ? 0 : UINT64_C(4) * facts->vocabulary;
    return larger(batch * activations(facts), outputs * logits + batch * 8u * facts->embedding) + batch * 3u * mask_width + sequences * 2u * logits;
}

/* The pages of a context that are neither: batches, candidates, the graph. */
static uint64_t fixed_bytes(const cadre__llama_facts *facts)
{
    return UINT64_C(8) * 1024 * 1024 + UINT64_C(12) * facts->vocabulary;
}

uint64_t cadre__llama_context_bytes(const cadre__llama_facts *facts, const cadre__llama_options *options, int32_t context_length)
{
    bool text = facts->causal && facts->pooling <= LLAMA_POOLING_TYPE_NONE;
    uint64_t batch = (uint64_t)options->batch_tokens;
    uint64_t slots = (uint64_t)(options->slots != CADRE_DEFAULT ? options->slots : text ? CADRE__LLAMA_TEXT_SLOTS : CADRE__LLAMA_EMBEDDING_SLOTS);
    if (!text) {
        /* All texts of a batch share one memory, and each of their tokens has logits, which nobody reads. */
        batch = larger(batch, (uint64_t)context_length);
        return (facts->encoder ? 0 : cache_bytes(facts, padded((int32_t)batch))) + compute_bytes(facts, batch, batch, batch, slots) + fixed_bytes(facts);
    }
    return cache_bytes(facts, padded(context_length) * slots) + compute_bytes(facts, batch, padded(context_length), slots, slots) + fixed_bytes(facts);
}

uint64_t cadre__llama_worker_bytes(const cadre__llama_facts *facts, const cadre__llama_mmproj *mmproj, const cadre__llama_options *options,
                                   int32_t context_length)
{
    uint64_t tower = options->mmproj ? cadre__llama_vision_bytes(mmproj) : 0;
    return cadre__llama_context_bytes(facts, options, context_length) + tower;
}

/* What the engine named when it made the context on this thread, and the pages that it does not name; an engine that names nothing leaves the estimate. How
 * weights lie between the host and a GPU is not told: then what was reserved stays. */
uint64_t cadre__llama_measured(const cadre__llama_weights *weights, bool owned, const cadre__llama_options *options, int32_t context_length)
{
    uint64_t bytes = cadre__llama_engine_buffers();
    if (options->gpu_layers > 0) return 0;
    bytes = bytes > 0 ? bytes + fixed_bytes(&weights->facts) : cadre__llama_context_bytes(&weights->facts, options, context_length);
    if (owned) bytes += llama_model_size(weights->model);
    return bytes;
}

int cadre_llama_estimate(const cadre_llama_options *options, uint64_t *weights_bytes, uint64_t *context_bytes)
{
    char detail[480];
    cadre__llama_options *copy;
    cadre__llama_facts facts;
    cadre__llama_mmproj mmproj;
    int32_t context_length;
    if (!weights_bytes || !context_bytes) return CADRE_EINVAL;
    int rc = cadre__llama_options_create(options, true, &copy);
    if (rc < 0) return rc;
    rc = cadre__llama_file_read(copy, &facts, detail, sizeof(detail));
    if (rc == CADRE_OK) rc = cadre__llama_context_length(&facts, copy, &context_length, detail, sizeof(detail));
    if (rc == CADRE_OK && copy->mmproj) rc = cadre__llama_mmproj_check(copy, &facts, &mmproj, detail, sizeof(detail));
    if (rc == CADRE_OK) {
        *weights_bytes = facts.tensor_bytes;
        *context_bytes = cadre__llama_worker_bytes(&facts, &mmproj, copy, context_length);
    }
    cadre__llama_options_destroy(copy);
    return rc;
}
