/* What a model will need, from its file, and what a worker takes at most, from what was measured. */
#include "backend.h"

#include <math.h>

#define BASE_BYTES (UINT64_C(4) << 20) /* a session's graph and kernels, a worker's run options and tables */

/* The engine keeps the residual, queries, keys, values and the two ends of the feed-forward (four times the width) of one layer, and the scores of attention
 * for each head, of at least 32 numbers (narrow models have four heads all the same), before and after the softmax. Measured on BERT of width 384 with 12
 * heads: 6.4 floats of its width for a token and 20 for a pair of tokens; on a vision tower of width 768: 13.4 for a token. */
static void layer_cost(double width, double *token, double *pair)
{
    double heads = width / 32.0 < 4.0 ? 4.0 : width / 32.0;
    *token = 4.0 * 14.0 * width;
    *pair = 4.0 * 2.0 * heads;
}

void cadre__onnx_cost_guess(const cadre__onnx_facts *facts, const cadre__onnx_plan *plan, cadre__onnx_cost *out)
{
    double width = facts->width ? facts->width : 1024, side = plan->image_size;
    *out = (cadre__onnx_cost){0};
    layer_cost(width, &out->token, &out->pair);
    if (plan->capability == CADRE_TEXT_EMBEDDING) return;
    if (facts->patch >= 8) {
        double patches = (side / facts->patch) * (side / facts->patch) + 1.0;
        out->picture = patches * (out->token + out->pair * patches) + 4.0 * 3.0 * side * side;
    } else {
        out->picture = 4.0 * 64.0 * side * side; /* a convolutional network: its first layers, at full size, with 64 channels */
    }
}

uint64_t cadre__onnx_sum(uint64_t a, uint64_t b)
{
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

/* Weights within the file are there twice while the engine packs them; those beside it are mapped, and packed one at a time. */
uint64_t cadre__onnx_weights_guess(const cadre__onnx_facts *facts)
{
    uint64_t twice = cadre__onnx_sum(facts->file_bytes, facts->file_bytes), external = cadre__onnx_sum(facts->external_bytes, facts->external_bytes / 10);
    return cadre__onnx_sum(cadre__onnx_sum(twice, external), BASE_BYTES);
}

static double picture_bytes(const cadre__onnx_plan *plan)
{
    return 4.0 * 3.0 * plan->image_size * (double)plan->image_size;
}

int32_t cadre__onnx_pictures(const cadre__onnx_cost *cost, const cadre__onnx_plan *plan, const cadre__onnx_options *options)
{
    double count = (double)CADRE__ONNX_PART_BYTES / (cost->picture + picture_bytes(plan));
    return count < 1.0 ? 1 : count > options->max_batch ? options->max_batch : (int32_t)count;
}

int32_t cadre__onnx_longest(const cadre__onnx_cost *cost, const cadre__onnx_options *options)
{
    /* n × (token + pair × n) = text_bytes */
    double token = cost->token + 4.0 * sizeof(int64_t), pair = cost->pair, bytes = options->text_bytes;
    if (!isfinite(bytes)) return options->context_length;
    double most = pair > 0 ? (sqrt(token * token + 4.0 * pair * bytes) - token) / (2.0 * pair) : bytes / token;
    return most >= options->context_length ? options->context_length : most < CADRE__ONNX_CONTEXT_MIN ? CADRE__ONNX_CONTEXT_MIN : (int32_t)most;
}

uint64_t cadre__onnx_worker_bytes(const cadre__onnx_cost *cost, const cadre__onnx_plan *plan, const cadre__onnx_options *options)
{
    double bytes = (double)BASE_BYTES;
    if (plan->capability == CADRE_TEXT_EMBEDDING) {
        double longest = cadre__onnx_longest(cost, options), most = (double)options->max_batch * longest;
        double tokens = longest > CADRE__ONNX_PART_TOKENS ? longest : most < CADRE__ONNX_PART_TOKENS ? most : CADRE__ONNX_PART_TOKENS;
        bytes += tokens * (cost->token + cost->pair * longest + 4.0 * sizeof(int64_t)) + most * sizeof(int32_t);
    } else {
        bytes += cadre__onnx_pictures(cost, plan, options) * (cost->picture + picture_bytes(plan));
    }
    return bytes < 9e18 ? (uint64_t)bytes : UINT64_MAX;
}
