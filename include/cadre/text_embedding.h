/* Text embedding: texts in, vectors out. */
#ifndef CADRE_TEXT_EMBEDDING_H
#define CADRE_TEXT_EMBEDDING_H

#include <cadre/request.h>
#include <cadre/worker.h>

CADRE_BEGIN

/* A text by its name: a prompt that a request's `task` names. */
typedef struct cadre_named_text {
    const char *name;
    const char *text;
} cadre_named_text;

/* Worker thread, all of them, one at a time. */
typedef struct cadre_text_embedding_ops {
    size_t size;
    int (*attach)(void *self, cadre_op *op); /* see cadre_generation_ops */
    void (*destroy)(void *self);
    /* count ≤ max_batch texts of one or several requests with the same task ("" for none) and truncate; writes out[count × dimension], row-major. `status[i]`
     * is 0 on entry: a negative value fails the request that text i belongs to (cadre_op_fail on ops[i] says why) and no other. A negative return fails all of
     * them. `tokens[i]` takes the number of tokens read. */
    int (*embed)(void *self, cadre_op *const *ops, const char *const *texts, size_t count, const char *task, int truncate, float *out, uint32_t *tokens,
                 int *status);
} cadre_text_embedding_ops;

typedef struct cadre_text_embedding_model {
    size_t size;
    const cadre_text_embedding_ops *ops;
    void *self;
    uint32_t dimension;      /* ≥ 1: floats per vector */
    uint32_t max_batch;      /* ≥ 1: texts per call of embed */
    uint32_t context_length; /* tokens one text may have; 0 unknown */
    uint32_t heartbeat_ms;   /* see cadre_generation_model */
    uint32_t threads;        /* likewise */
} cadre_text_embedding_model;
#define CADRE_TEXT_EMBEDDING_MODEL_INIT                                                                                                                        \
    {                                                                                                                                                          \
        sizeof(cadre_text_embedding_model), NULL, NULL, 0, 1, 0, 0, 0                                                                                          \
    }

CADRE_LOADER_TYPE(cadre_text_embedding, cadre_text_embedding_model, CADRE_TEXT_EMBEDDING)

/* See CADRE_LOADER_TYPE in cadre/worker.h. */
CADRE_EXTERN int cadre_spawn_text_embedding(cadre_pool *pool, const char *registry_key, const cadre_text_embedding_loader *loader, cadre_reservation *owned,
                                            const cadre_spawn_options *options, cadre_worker_cb on_ready, void *data, cadre_worker_id *out);

/* Valid during on_done. */
typedef struct cadre_embeddings {
    size_t size;
    const float *values; /* count × dimension, row-major; row i belongs to input i */
    size_t count;
    size_t dimension;
    uint64_t tokens; /* read in all; 0 for pictures */
} cadre_embeddings;

/* Loop thread, exactly once. result is NULL when status < 0. */
typedef void (*cadre_embeddings_cb)(cadre_request *request, int status, const cadre_embeddings *result);

#define CADRE_EMBED_TEXTS_MAX 65536

typedef struct cadre_embed_params {
    size_t size;
    const char *key;
    const char *text;         /* one text, */
    const char *const *texts; /* or 1 … CADRE_EMBED_TEXTS_MAX of them: exactly one of the two */
    size_t count;
    const char *task; /* what the vectors are for, in the model's own words ("query"); NULL: none */
    int truncate;     /* 1: cut a text that is longer than the model takes; 0: CADRE_ETOOLONG */
    cadre_request_options options;
    cadre_embeddings_cb on_done; /* required */
    void *data;
} cadre_embed_params;
#define CADRE_EMBED_PARAMS_INIT                                                                                                                                \
    {                                                                                                                                                          \
        sizeof(cadre_embed_params), NULL, NULL, NULL, 0, NULL, 0, CADRE_REQUEST_OPTIONS_INIT, NULL, NULL                                                       \
    }

/* Loop thread; one request, however many texts: they are cut into batches, and small requests share one. Errors as cadre_generate. An empty text is a text. */
CADRE_EXTERN int cadre_embed(cadre_pool *pool, const cadre_embed_params *params, cadre_request_id *out);

CADRE_END
#endif
