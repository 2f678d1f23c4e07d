/* What the tests of the ONNX Runtime backend share: models that are spawned, questions that are asked, and small files that are made. */
#ifndef CADRE_TESTS_ONNX_ASK_H
#define CADRE_TESTS_ONNX_ASK_H

#include "support.h"

#include <cadre/onnx.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

/* The files; a test fails where they are not named. */
const char *minilm(void);
const char *vocabulary(void);
const char *clip(void);

/* A fixture whose pool has 1 GiB and two cores; libuv's own threads, and the engine's environment, are there before it counts those of the process. */
fixture *ask_begin(void);

/* ---- spawning ---- */
typedef struct spawned {
    cadre_worker_id id;
    int settled;
    int status;
    char detail[512];
} spawned;

cadre_onnx_options ask_options(const char *path);
/* Spawns; _wait turns the loop until it is ready or has failed. `weights` NULL: an own copy. */
void ask_spawn(fixture *fx, spawned *worker, const char *key, bool text, const cadre_onnx_options *options, cadre_weights_future *weights);
void ask_spawn_wait(fixture *fx, spawned *worker, const char *key, bool text, const cadre_onnx_options *options, cadre_weights_future *weights);
/* As _wait, and it must be ready. */
void ask_spawned(fixture *fx, const char *key, bool text, const cadre_onnx_options *options);
cadre_model_info ask_info(fixture *fx, const char *key);
/* Turns the loop until no worker of the key has anything to do. */
void ask_until_quiet(fixture *fx, const char *key);

/* ---- asking ---- */
#define VALUES_MAX 65536
typedef struct reply {
    int done;
    int status;
    cadre_request_id id;
    char detail[512];
    size_t count, dimension;
    uint64_t tokens;
    float values[VALUES_MAX];
} reply;

/* Fills in the reply that is the request's data. */
void ask_on_done(cadre_request *request, int status, const cadre_embeddings *result);
void ask_texts(fixture *fx, reply *r, const char *key, const char *const *texts, size_t count, bool truncate);
void ask_text(fixture *fx, reply *r, const char *key, const char *text);
void ask_images(fixture *fx, reply *r, const char *key, const cadre_image_input *images, size_t count);
void ask_wait(fixture *fx, reply *r);
/* Waits, and it must have been answered. */
void ask_answered(fixture *fx, reply *r);
double ask_cosine(const float *a, const float *b, size_t count);
double ask_distance(const float *a, const float *b, size_t count); /* the largest difference */

/* A picture of so many pixels, all different from another `seed`'s; freed by the caller. */
uint8_t *ask_picture(uint32_t width, uint32_t height, uint32_t seed);

/* ---- entries ---- */
typedef struct outcome {
    int done;
    int status;
    char detail[1024];
} outcome;
fixture *ask_registered(void);
outcome ask_add(fixture *fx, const char *folder, const char *format, ...) CADRE_PRINTF(3, 4);
void ask_unload(fixture *fx, const char *key);
cadre_entry_info ask_entry(fixture *fx, const char *key);
void ask_outcome(cadre_pool *pool, int status, const char *detail, void *data);

/* ---- small models, written as ONNX files (make.c) ---- */

typedef struct made {
    unsigned char *data;
    size_t length, capacity;
} made;

typedef struct value_of {
    const char *name;
    int type; /* ONNX's: 1 float, 7 int64 */
    int rank;
    int64_t dims[5]; /* negative: free */
} value_of;

void made_value(made *graph, bool input, value_of value);
/* `attributes`: "name=number,…" or NULL. */
void made_node(made *graph, const char *type, const char *inputs, const char *outputs, const char *attributes);
void made_int64(made *graph, const char *name, const int64_t *values, int64_t count);
/* A float tensor of a shape with `bytes` of zeros in the file. */
void made_floats(made *graph, const char *name, const int64_t *dims, int rank, size_t bytes);
void made_external(made *graph, const char *name, int64_t count, const char *location, const char *offset, const char *length);
/* A tensor of sparse external data: of the graph (attribute 0), or of a node that makes it, in the attribute's field 22 or 23. */
void made_sparse(made *graph, const char *name, int64_t count, const char *location, unsigned attribute);
/* Writes the model and frees the graph. */
void made_write(made *graph, const char *path);
/* Likewise, with out = flat + the tensor, and with a function that makes the tensor `name` from external data that is the default of the function's attribute.
 */
void made_write_function(made *graph, const char *name, int64_t count, const char *location, const char *path);
/* A copy of a file's first `bytes`, with zeros from `spoilt_from` on for 64 bytes. */
void made_cut(const char *from, const char *path, size_t bytes, size_t spoilt_from);

/* [batch, 3, 4, 4] → its 48 numbers. */
void make_flat(const char *path);
/* Ids → [batch, tokens, 1], the ids as numbers. */
void make_ids(const char *path, bool types);
/* Likewise, and fails with more than `limit` tokens, as a model does that has so many positions. */
void make_limited(const char *path, int64_t limit);
/* As make_ids, and fails with a text that has the token `id`. */
void make_picky(const char *path, int64_t id);
/* [batch, 3, 4, 4] → 48 numbers, by so many products of matrices of 64 × batch rows: for one picture nothing, for 32 minutes. */
void make_slow(const char *path);

#endif
