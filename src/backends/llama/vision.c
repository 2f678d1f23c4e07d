/* A worker's vision tower: libmtmd's context, and the way of one picture from pixels to the language model's memory.
 *
 * Threads: made where the model is made (a loader thread, or the worker's in attach), used by the worker's thread only; libmtmd's encoder is not for two at
 * once, so each worker has its own, with its own copy of the tower's weights. The engine calls `on_node` on the thread that encodes.
 *
 * An encoding is stopped by that callback: libmtmd then reports success with unfinished numbers, so the flag `stopped` is what counts. The encoder's threads
 * are set before each picture where our libmtmd has a call for that (CADRE_LLAMA_MTMD_THREADS); an installed one keeps the number it was made with.
 *
 * libmtmd's functions in use catch C++ exceptions (init, tokenize, encode); those that only allocate (a bitmap, a list) do not, so what they will need is
 * allocated once before, on trial. */
#include "backend.h"

#define FIXED_BYTES (UINT64_C(8) * 1024 * 1024) /* the graph's nodes, the list of tensors, scaled pictures */

#ifdef CADRE_LLAMA_VISION

#include <mtmd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "tower.h"

#define NODES_PER_LOOK 32 /* a twelfth of a large tower. After each look the engine starts its threads anew, which costs as much as several nodes */

#ifdef CADRE_LLAMA_MTMD_THREADS
void cadre_mtmd_set_threads(mtmd_context *engine, int threads); /* fetch.sh adds it to libmtmd */
#endif

/* ---- making ---- */

static void on_log(enum ggml_log_level level, const char *text, void *data)
{
    (void)data;
    cadre__llama_engine_hear(level, text);
}

/* Once for the process: libmtmd's log goes where the engine's goes. */
static void hear_log(void)
{
    mtmd_log_set(on_log, NULL);
}

static bool on_progress(float fraction, void *data)
{
    cadre_load_context *load = data;
    cadre_load_progress(load, fraction, 0, 0, "read the vision tower");
    return !cadre_load_cancelled(load);
}

/* Asked before each graph node whether the next pause shall come after it, and, in the pause, whether to go on. */
static bool on_node(struct ggml_tensor *node, bool ask, void *data)
{
    cadre__llama_vision *vision = data;
    (void)node;
    if (!vision->op) return !ask;
    if (ask) return vision->stopped || ++vision->nodes % NODES_PER_LOOK == 0;
    cadre_op_heartbeat(vision->op);
    if (cadre_op_cancelled(vision->op)) vision->stopped = true;
    return !vision->stopped;
}

static bool make_batch(cadre__llama_vision *vision, int32_t tokens)
{
    size_t count = (size_t)tokens;
    vision->positions = calloc(count * 4, sizeof(*vision->positions));
    vision->sequence_counts = calloc(count, sizeof(*vision->sequence_counts));
    vision->sequences = calloc(count + 1, sizeof(*vision->sequences));
    vision->outputs = calloc(count, sizeof(*vision->outputs));
    vision->batch_tokens = tokens;
    if (!vision->positions || !vision->sequence_counts || !vision->sequences || !vision->outputs) return false;
    for (size_t i = 0; i < count; i++) {
        vision->sequence_counts[i] = 1;
        vision->sequences[i] = &vision->sequence;
    }
    return true;
}

/* The engine would end the process where it gets no memory for the weights. (Volatile: a compiler may leave out an allocation that nobody looks at.) */
static bool room_for(uint64_t bytes)
{
    void *volatile trial = bytes < SIZE_MAX ? malloc((size_t)bytes + 1) : NULL;
    free(trial);
    return trial != NULL;
}

static int start(cadre__llama_vision *vision, cadre_load_context *load, const cadre__llama_options *options, char *detail, size_t detail_size)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, hear_log);
    struct mtmd_context_params params = mtmd_context_params_default();
    params.use_gpu = options->gpu_layers > 0;
    params.print_timings = false;
    params.n_threads = vision->fixed_threads;
    params.media_marker = CADRE__LLAMA_MARKER;
    params.cb_eval = on_node;
    params.cb_eval_user_data = vision;
    if (load) {
        params.progress_callback = on_progress;
        params.progress_callback_user_data = load;
    }
    cadre__llama_engine_forget();
    vision->engine = mtmd_init_from_file(options->mmproj, vision->weights->model, params);
    if (load && cadre_load_cancelled(load)) return CADRE_ECANCELED;
    if (!vision->engine) return cadre__llama_file_wrong(detail, detail_size, options->mmproj, "%s", cadre__llama_engine_said());
    if (!mtmd_support_vision(vision->engine)) return cadre__llama_file_wrong(detail, detail_size, options->mmproj, "has no vision encoder");
    return CADRE_OK;
}

int cadre__llama_vision_create(cadre_load_context *load, const cadre__llama_weights *weights, const cadre__llama_options *options, cadre__llama_vision **out,
                               uint64_t *bytes, char *detail, size_t detail_size)
{
    cadre__llama_mmproj mmproj;
    *out = NULL;
    int rc = cadre__llama_mmproj_check(options, &weights->facts, &mmproj, detail, detail_size);
    if (rc < 0) return rc;
    cadre__llama_vision *vision = calloc(1, sizeof(*vision));
    if (!vision) return CADRE_ENOMEM;
    vision->weights = weights;
    vision->threads = options->threads;
    vision->fixed_threads = options->threads > 0 ? options->threads : 1;
    vision->width = llama_model_n_embd_inp(weights->model);
    rc = cadre__llama_hash_key_make(&vision->key);
    if (rc == CADRE_OK && (!make_batch(vision, options->batch_tokens) || !room_for(mmproj.tensor_bytes))) rc = CADRE_ENOMEM;
    if (rc == CADRE_OK) rc = start(vision, load, options, detail, detail_size);
    if (rc < 0) {
        cadre__llama_vision_destroy(vision);
        return rc;
    }
    uint64_t buffers = cadre__llama_engine_buffers();
    *bytes = buffers > 0 ? buffers + mmproj.tensor_bytes + FIXED_BYTES : cadre__llama_vision_bytes(&mmproj);
    *out = vision;
    return CADRE_OK;
}

void cadre__llama_vision_destroy(cadre__llama_vision *vision)
{
    if (!vision) return;
    if (vision->engine) mtmd_free(vision->engine);
    free(vision->positions);
    free(vision->sequence_counts);
    free(vision->sequences);
    free(vision->outputs);
    free(vision);
}

/* ---- one picture ---- */

static int encode(cadre__llama_vision *vision, cadre_op *op, const mtmd_input_chunk *chunk, int32_t tokens)
{
#ifdef CADRE_LLAMA_MTMD_THREADS
    bool chosen = vision->threads <= 0;
    int32_t threads = chosen ? cadre__llama_pace_choose(&vision->pace, tokens, (int32_t)cadre_op_threads(op)) : vision->threads;
    cadre_mtmd_set_threads(vision->engine, threads);
#endif
    vision->op = op;
    vision->stopped = false;
    cadre__llama_engine_forget();
    uint64_t before = uv_hrtime();
    int32_t rc = mtmd_encode_chunk(vision->engine, chunk);
    uint64_t took = uv_hrtime() - before;
    vision->op = NULL;
    if (vision->stopped) return CADRE_ECANCELED;
    if (rc != 0) return cadre_op_fail(op, CADRE_EENGINE, "libmtmd could not encode a picture of %d tokens: %s", tokens, cadre__llama_engine_said());
#ifdef CADRE_LLAMA_MTMD_THREADS
    if (chosen) cadre__llama_pace_note(&vision->pace, tokens, threads, took);
#else
    (void)took;
#endif
    return CADRE_OK;
}

/* One dimension: each token the next position. Two: the engine says where in time, height and width; four lists one after another. */
static void place(cadre__llama_vision *vision, const mtmd_input_chunk *chunk, llama_pos start, int32_t from, int32_t count)
{
    const mtmd_image_tokens *image = mtmd_decode_use_mrope(vision->engine) ? mtmd_input_chunk_get_tokens_image(chunk) : NULL;
    for (int32_t i = 0; i < count; i++) {
        if (!image) {
            vision->positions[i] = start + from + i;
            continue;
        }
        struct mtmd_decoder_pos at = mtmd_image_tokens_get_decoder_pos(image, start, (size_t)(from + i));
        vision->positions[i] = (llama_pos)at.t;
        vision->positions[i + count] = (llama_pos)at.y;
        vision->positions[i + 2 * count] = (llama_pos)at.x;
        vision->positions[i + 3 * count] = (llama_pos)at.z;
    }
}

int cadre__llama_vision_see(cadre__llama_vision *vision, cadre__llama_context *context, cadre_op *op, const struct mtmd_input_chunks *chunks,
                            const cadre__llama_span *span, llama_seq_id sequence, llama_pos position, bool wanted, int32_t *output)
{
    const mtmd_input_chunk *chunk = mtmd_input_chunks_get(chunks, span->chunk);
    int rc = encode(vision, op, chunk, span->count);
    if (rc < 0) return rc;
    float *embeddings = mtmd_get_output_embd(vision->engine);
    int32_t most = vision->batch_tokens < context->batch_tokens ? vision->batch_tokens : context->batch_tokens;
    bool both_ways = mtmd_decode_use_non_causal(vision->engine, chunk);
    vision->sequence = sequence;
    if (both_ways) llama_set_causal_attn(context->engine, false);
    for (int32_t from = 0; rc == CADRE_OK && from < span->count; from += most) {
        int32_t count = span->count - from < most ? span->count - from : most;
        bool last = from + count == span->count;
        place(vision, chunk, position, from, count);
        vision->outputs[count - 1] = wanted && last;
        struct llama_batch batch = {.n_tokens = count,
                                    .embd = embeddings + (size_t)from * (size_t)vision->width,
                                    .pos = vision->positions,
                                    .n_seq_id = vision->sequence_counts,
                                    .seq_id = vision->sequences,
                                    .logits = vision->outputs};
        rc = cadre__llama_context_decode(context, batch, &op, 1, vision->threads);
        vision->outputs[count - 1] = 0;
        *output = count - 1;
    }
    if (both_ways) llama_set_causal_attn(context->engine, true);
    return rc;
}

#else

int cadre__llama_vision_create(cadre_load_context *load, const cadre__llama_weights *weights, const cadre__llama_options *options, cadre__llama_vision **out,
                               uint64_t *bytes, char *detail, size_t detail_size)
{
    cadre__llama_mmproj mmproj;
    (void)load, (void)bytes;
    *out = NULL;
    return cadre__llama_mmproj_check(options, &weights->facts, &mmproj, detail, detail_size);
}

void cadre__llama_vision_destroy(cadre__llama_vision *vision)
{
    (void)vision;
}

int cadre__llama_vision_see(cadre__llama_vision *vision, cadre__llama_context *context, cadre_op *op, const struct mtmd_input_chunks *chunks,
                            const cadre__llama_span *span, llama_seq_id sequence, llama_pos position, bool wanted, int32_t *output)
{
    (void)vision, (void)context, (void)op, (void)chunks, (void)span, (void)sequence, (void)position, (void)wanted, (void)output;
    return CADRE_ENOTSUP;
}

#endif

/* The tower keeps the activations of one block at a time in f32 (the residual, its normed copy, queries, keys, values in f16 as well, two of the feed-forward's
 * width), the picture and its patches laid out for the first product. Attention runs without its table of weights. */
uint64_t cadre__llama_vision_bytes(const cadre__llama_mmproj *mmproj)
{
    uint64_t side = mmproj->image_size / mmproj->patch_size, places = side * side + 1;
    uint64_t per_place = 4u *
                         (8u * (uint64_t)mmproj->width + 2u * (uint64_t)mmproj->feed_forward + 6u * mmproj->patch_size * mmproj->patch_size + mmproj->output);
    uint64_t pixels = 3u * (uint64_t)mmproj->image_size * mmproj->image_size;
    return mmproj->tensor_bytes + places * per_place + pixels * 8u + FIXED_BYTES;
}
