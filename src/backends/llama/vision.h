/* The vision part of this backend: a second file with a tower that turns a picture into embeddings for the language model, run by libmtmd.
 *
 * mmproj      what that file says of itself, checked before the engine reads it
 * spans       where pictures are among a prompt's tokens
 * vision      a worker's own tower; libmtmd's contexts are used by one thread at a time
 *
 * Without libmtmd (CADRE_LLAMA_VISION not defined) vision.c and pictures.c answer CADRE_ENOTSUP. */
#ifndef CADRE_LLAMA_VISION_H
#define CADRE_LLAMA_VISION_H

#include <stdbool.h>

#include <cadre/llama.h>
#include <llama.h>

typedef struct cadre__llama_options cadre__llama_options;
typedef struct cadre__llama_facts cadre__llama_facts;
typedef struct cadre__llama_weights cadre__llama_weights;
typedef struct cadre__llama_tokens cadre__llama_tokens;
typedef struct cadre__llama_context cadre__llama_context;

/* ---- mmproj.c ---- */

typedef struct cadre__llama_mmproj {
    char projector[32];
    uint32_t image_size;
    uint32_t patch_size;
    uint32_t width; /* of the tower */
    uint32_t feed_forward;
    uint32_t heads;
    uint32_t layers;
    uint32_t output; /* width of an embedding for the language model; 0: not known before it is loaded */
    uint64_t tensor_bytes;
    uint64_t file_bytes;
} cadre__llama_mmproj;

/* Blocks. Reads the header; all that the engine would assert on in towers of the LLaVA kind is checked, of other kinds the sizes. CADRE_EFORMAT with a detail
 * that names the path. */
int cadre__llama_mmproj_read(const char *path, cadre__llama_mmproj *out, char *detail, size_t detail_size);
/* Blocks. The options' mmproj: is there one, is it sound, does it fit the language model. CADRE_EINVAL, CADRE_EFORMAT, CADRE_ENOTSUP with a detail. */
int cadre__llama_mmproj_check(const cadre__llama_options *options, const cadre__llama_facts *facts, cadre__llama_mmproj *out, char *detail, size_t detail_size);

/* ---- spans.c ---- */

/* The tokens that stand for one picture, or a part of one. */
typedef struct cadre__llama_span {
    int32_t first, count; /* tokens; LLAMA_TOKEN_NULL each */
    int32_t positions;    /* that they take: as many as tokens, or fewer in models that count in two dimensions */
    char picture[33];     /* a keyed hash of the pixels, in hexadecimal */
    size_t chunk;         /* of the request that brought it */
} cadre__llama_span;

typedef struct cadre__llama_spans {
    cadre__llama_span *at; /* in order */
    int32_t count;
    int32_t capacity;
} cadre__llama_spans;

bool cadre__llama_spans_add(cadre__llama_spans *spans, const cadre__llama_span *span);
bool cadre__llama_spans_copy(cadre__llama_spans *to, const cadre__llama_spans *from);
/* Forgets those that do not end before `token`. */
void cadre__llama_spans_cut(cadre__llama_spans *spans, int32_t token);
void cadre__llama_spans_clear(cadre__llama_spans *spans);
/* The span that has this token, or NULL. */
const cadre__llama_span *cadre__llama_spans_find(const cadre__llama_spans *spans, int32_t token);
/* How many tokens from `from` on, before `end`, are text. */
int32_t cadre__llama_spans_text(const cadre__llama_spans *spans, int32_t from, int32_t end);
/* Where a token stands for the model; no token inside a span is asked for. */
llama_pos cadre__llama_spans_position(const cadre__llama_spans *spans, int32_t token);

/* ---- hash.c ---- */

typedef struct cadre__llama_hash_key {
    uint64_t half[2];
} cadre__llama_hash_key;

/* A random key. CADRE_EENGINE: the system has no random numbers. */
int cadre__llama_hash_key_make(cadre__llama_hash_key *key);
/* SipHash-2-4 with 128 bits over the picture's size and pixels: without the key nobody can make two pictures that are taken for one. */
void cadre__llama_hash_image(const cadre__llama_hash_key *key, const cadre_image *image, uint64_t out[2]);

/* ---- vision.c ---- */

typedef struct cadre__llama_vision cadre__llama_vision;
struct mtmd_input_chunks;

/* Loader or worker thread; reads the file. `load` (may be NULL) hears of progress and may cancel. *bytes: what it took of the host's memory. */
int cadre__llama_vision_create(cadre_load_context *load, const cadre__llama_weights *weights, const cadre__llama_options *options, cadre__llama_vision **out,
                               uint64_t *bytes, char *detail, size_t detail_size);
void cadre__llama_vision_destroy(cadre__llama_vision *vision);
/* What it will take, weights included, by what the file says. */
uint64_t cadre__llama_vision_bytes(const cadre__llama_mmproj *mmproj);
/* Worker thread. Encodes one picture and decodes it into the sequence. *output: the index of the last token's logits if they are `wanted`. An error: the
 * caller repairs the engine's memory. */
int cadre__llama_vision_see(cadre__llama_vision *vision, cadre__llama_context *context, cadre_op *op, const struct mtmd_input_chunks *chunks,
                            const cadre__llama_span *span, llama_seq_id sequence, llama_pos position, bool wanted, int32_t *output);

/* ---- pictures.c ---- */

/* Worker thread. The request's text and pictures as tokens with spans among them, and the pictures prepared for the encoder. CADRE_EINPUT: the text names
 * another number of pictures than there are; CADRE_ETOOLONG; CADRE_ENOMEM; CADRE_EENGINE. On failure nothing is left to free. */
int cadre__llama_vision_prompt(cadre__llama_vision *vision, cadre_op *op, const char *chat_template, const cadre_generation_input *input,
                               int32_t context_length, cadre__llama_tokens *tokens, cadre__llama_spans *spans, struct mtmd_input_chunks **chunks);
void cadre__llama_chunks_free(struct mtmd_input_chunks *chunks);

#endif
