/* From a request with pictures to tokens, spans and pictures that are ready for the encoder.
 *
 * libmtmd splits the text at its markers, tokenizes the parts, puts the model's own begin and end of a picture around each, and scales the pixels: cost goes
 * with the tower's picture size, so this belongs to `begin`. Encoding is a step's work. */
#include "backend.h"

#ifdef CADRE_LLAMA_VISION

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tower.h"

/* ---- the text ---- */

static size_t count_markers(const char *text)
{
    size_t count = 0;
    for (const char *at = strstr(text, CADRE__LLAMA_MARKER); at; at = strstr(at + sizeof(CADRE__LLAMA_MARKER) - 1, CADRE__LLAMA_MARKER)) count++;
    return count;
}

static size_t markers_of(const cadre_generation_input *input)
{
    size_t count = input->text ? count_markers(input->text) : 0;
    for (size_t i = 0; i < input->message_count; i++) count += count_markers(input->messages[i].content);
    return count;
}

/* The pictures before the text, which names none. */
static int put_markers(const char *text, size_t count, char **owned)
{
    const size_t marker = sizeof(CADRE__LLAMA_MARKER) - 1;
    size_t length = strlen(text);
    char *out = malloc(count * marker + length + 1);
    if (!out) return CADRE_ENOMEM;
    for (size_t i = 0; i < count; i++) memcpy(out + i * marker, CADRE__LLAMA_MARKER, marker);
    memcpy(out + count * marker, text, length + 1);
    *owned = out;
    return CADRE_OK;
}

static int make_text(cadre_op *op, const char *chat_template, const cadre_generation_input *given, const char **out, char **owned)
{
    cadre_generation_input input = *given;
    char *marked = NULL;
    size_t markers = markers_of(given);
    *owned = NULL;
    if (markers != given->image_count && (markers > 0 || !given->text))
        return cadre_op_fail(op, CADRE_EINPUT, "the text has the marker %s %zu times, and there are %zu pictures", CADRE__LLAMA_MARKER, markers,
                             given->image_count);
    int rc = markers == given->image_count ? CADRE_OK : put_markers(given->text, given->image_count, &marked);
    if (rc < 0) return rc;
    if (marked) input.text = marked;
    rc = cadre__llama_prompt(op, chat_template, &input, out, owned);
    if (rc == CADRE_OK && marked && !*owned) {
        *owned = marked;
        return CADRE_OK;
    }
    free(marked);
    if (rc == CADRE_OK && count_markers(*out) != given->image_count) {
        rc = cadre_op_fail(op, CADRE_EINPUT, "the chat template leaves %zu of %zu pictures", count_markers(*out), given->image_count);
        free(*owned);
        *owned = NULL;
    }
    return rc;
}

/* ---- the pixels ---- */

static void free_bitmaps(mtmd_bitmap **bitmaps, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (bitmaps[i]) mtmd_bitmap_free(bitmaps[i]);
    }
    free(bitmaps);
}

/* libmtmd takes rows without gaps, and copies them twice. */
static int make_bitmap(const cadre__llama_vision *vision, cadre_op *op, const cadre_image *image, size_t index, mtmd_bitmap **out)
{
    size_t row = (size_t)image->width * 3, bytes;
    if (image->width == 0 || image->height == 0 || image->width > INT32_MAX / 4 || image->height > INT32_MAX / 4 || image->stride < row || !image->pixels)
        return cadre_op_fail(op, CADRE_EINPUT, "picture %zu: %u × %u pixels with rows of %zu bytes", index, image->width, image->height, image->stride);
    if (__builtin_mul_overflow(row, (size_t)image->height, &bytes) || bytes > INT32_MAX)
        return cadre_op_fail(op, CADRE_ETOOLONG, "picture %zu: %u × %u pixels are more than the engine counts", index, image->width, image->height);
    unsigned char *packed = malloc(bytes);
    void *volatile trial = malloc(2 * bytes + (1u << 20));
    free(trial);
    if (!packed || !trial) {
        free(packed);
        return CADRE_ENOMEM;
    }
    for (uint32_t y = 0; y < image->height; y++) memcpy(packed + y * row, image->pixels + y * image->stride, row);
    *out = mtmd_bitmap_init(image->width, image->height, packed);
    free(packed);
    uint64_t hash[2];
    char name[33];
    cadre__llama_hash_image(&vision->key, image, hash);
    snprintf(name, sizeof(name), "%016llx%016llx", (unsigned long long)hash[0], (unsigned long long)hash[1]);
    mtmd_bitmap_set_id(*out, name);
    return CADRE_OK;
}

static int make_bitmaps(const cadre__llama_vision *vision, cadre_op *op, const cadre_generation_input *input, mtmd_bitmap ***out)
{
    mtmd_bitmap **bitmaps = calloc(input->image_count + 1, sizeof(*bitmaps));
    int rc = bitmaps ? CADRE_OK : CADRE_ENOMEM;
    for (size_t i = 0; rc == CADRE_OK && i < input->image_count; i++) {
        cadre_op_heartbeat(op);
        rc = cadre_op_cancelled(op) ? CADRE_ECANCELED : make_bitmap(vision, op, &input->images[i], i, &bitmaps[i]);
    }
    if (rc < 0 && bitmaps) free_bitmaps(bitmaps, input->image_count);
    if (rc == CADRE_OK) *out = bitmaps;
    return rc;
}

/* ---- tokens ---- */

/* In 64 bits: the engine's chunks may hold more than a batch of ours counts. */
static int count_tokens(cadre_op *op, const mtmd_input_chunks *chunks, size_t pictures, int32_t context_length, int32_t *out)
{
    uint64_t text = 0, seen = 0;
    for (size_t i = 0; i < mtmd_input_chunks_size(chunks); i++) {
        const mtmd_input_chunk *chunk = mtmd_input_chunks_get(chunks, i);
        *(mtmd_input_chunk_get_type(chunk) == MTMD_INPUT_CHUNK_TYPE_TEXT ? &text : &seen) += mtmd_input_chunk_get_n_tokens(chunk);
    }
    if (text + seen >= (uint64_t)context_length)
        return cadre_op_fail(op, CADRE_ETOOLONG,
                             "the prompt has %llu tokens, %llu of them for %zu pictures; the context has room for %d, of which the answer needs one at least",
                             (unsigned long long)(text + seen), (unsigned long long)seen, pictures, context_length);
    *out = (int32_t)(text + seen);
    return CADRE_OK;
}

static bool reserve(cadre__llama_tokens *tokens, int32_t capacity)
{
    if (capacity <= tokens->capacity) return true;
    llama_token *at = realloc(tokens->at, (size_t)capacity * sizeof(*at));
    if (!at) return false;
    tokens->at = at;
    tokens->capacity = capacity;
    return true;
}

/* A picture that the model attends to in both directions must be decoded at once. */
static int check_span(const cadre__llama_vision *vision, cadre_op *op, const mtmd_input_chunk *chunk, int32_t count)
{
    if (count <= vision->batch_tokens || !mtmd_decode_use_non_causal(vision->engine, chunk)) return CADRE_OK;
    return cadre_op_fail(op, CADRE_ETOOLONG, "a picture has %d tokens, which this model needs in one batch; batch_tokens is %d", count, vision->batch_tokens);
}

static int add_picture(const cadre__llama_vision *vision, cadre_op *op, const mtmd_input_chunk *chunk, size_t index, cadre__llama_tokens *tokens,
                       cadre__llama_spans *spans)
{
    const char *picture = mtmd_input_chunk_get_id(chunk);
    cadre__llama_span span = {.first = tokens->count, .count = (int32_t)mtmd_input_chunk_get_n_tokens(chunk), .chunk = index};
    span.positions = mtmd_input_chunk_get_n_pos(chunk);
    snprintf(span.picture, sizeof(span.picture), "%s", picture ? picture : "");
    if (span.count == 0) return CADRE_OK;
    int rc = check_span(vision, op, chunk, span.count);
    if (rc < 0) return rc;
    for (int32_t i = 0; i < span.count; i++) tokens->at[tokens->count++] = LLAMA_TOKEN_NULL;
    return cadre__llama_spans_add(spans, &span) ? CADRE_OK : CADRE_ENOMEM;
}

static int take_chunks(const cadre__llama_vision *vision, cadre_op *op, const mtmd_input_chunks *chunks, size_t pictures, int32_t context_length,
                       cadre__llama_tokens *tokens, cadre__llama_spans *spans)
{
    int32_t total = 0;
    int rc = count_tokens(op, chunks, pictures, context_length, &total);
    if (rc == CADRE_OK && !reserve(tokens, total)) rc = CADRE_ENOMEM;
    tokens->count = spans->count = 0;
    for (size_t i = 0; rc == CADRE_OK && i < mtmd_input_chunks_size(chunks); i++) {
        const mtmd_input_chunk *chunk = mtmd_input_chunks_get(chunks, i);
        size_t count = 0;
        if (mtmd_input_chunk_get_type(chunk) != MTMD_INPUT_CHUNK_TYPE_TEXT) {
            rc = add_picture(vision, op, chunk, i, tokens, spans);
            continue;
        }
        const llama_token *text = mtmd_input_chunk_get_tokens_text(chunk, &count);
        memcpy(tokens->at + tokens->count, text, count * sizeof(*text));
        tokens->count += (int32_t)count;
    }
    return rc;
}

static int tokenize(cadre__llama_vision *vision, cadre_op *op, const char *text, const cadre_generation_input *input, mtmd_input_chunks **out)
{
    mtmd_bitmap **bitmaps = NULL;
    int rc = make_bitmaps(vision, op, input, &bitmaps);
    if (rc < 0) return rc;
    struct mtmd_input_text whole = {.text = text, .text_len = strlen(text), .add_special = true, .parse_special = true};
    mtmd_input_chunks *chunks = mtmd_input_chunks_init();
    cadre__llama_engine_forget();
    int32_t status = mtmd_tokenize(vision->engine, chunks, &whole, (const mtmd_bitmap *const *)bitmaps, input->image_count);
    free_bitmaps(bitmaps, input->image_count);
    if (status == 0) {
        *out = chunks;
        return CADRE_OK;
    }
    mtmd_input_chunks_free(chunks);
    return cadre_op_fail(op, CADRE_EINPUT, "the pictures could not be prepared: %s", cadre__llama_engine_said());
}

int cadre__llama_vision_prompt(cadre__llama_vision *vision, cadre_op *op, const char *chat_template, const cadre_generation_input *input,
                               int32_t context_length, cadre__llama_tokens *tokens, cadre__llama_spans *spans, mtmd_input_chunks **chunks)
{
    const char *text;
    char *owned;
    int rc = make_text(op, chat_template, input, &text, &owned);
    *chunks = NULL;
    if (rc == CADRE_OK)
        rc = cadre__llama_text_check(vision->weights, op, text, strlen(text) - input->image_count * strlen(CADRE__LLAMA_MARKER), context_length);
    if (rc == CADRE_OK) rc = cadre__llama_runs_check(vision->weights, op, text, strlen(text));
    if (rc == CADRE_OK) rc = tokenize(vision, op, text, input, chunks);
    free(owned);
    if (rc == CADRE_OK) rc = take_chunks(vision, op, *chunks, input->image_count, context_length, tokens, spans);
    if (rc < 0 && *chunks) {
        mtmd_input_chunks_free(*chunks);
        *chunks = NULL;
    }
    return rc;
}

void cadre__llama_chunks_free(mtmd_input_chunks *chunks)
{
    if (chunks) mtmd_input_chunks_free(chunks);
}

#else

int cadre__llama_vision_prompt(cadre__llama_vision *vision, cadre_op *op, const char *chat_template, const cadre_generation_input *input,
                               int32_t context_length, cadre__llama_tokens *tokens, cadre__llama_spans *spans, struct mtmd_input_chunks **chunks)
{
    (void)vision, (void)op, (void)chat_template, (void)input, (void)context_length, (void)tokens, (void)spans, (void)chunks;
    return CADRE_ENOTSUP;
}

void cadre__llama_chunks_free(struct mtmd_input_chunks *chunks)
{
    (void)chunks;
}

#endif
