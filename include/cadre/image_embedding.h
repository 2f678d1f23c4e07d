/* Image embedding: pictures in, vectors out. */
#ifndef CADRE_IMAGE_EMBEDDING_H
#define CADRE_IMAGE_EMBEDDING_H

#include <cadre/image.h>
#include <cadre/text_embedding.h>

CADRE_BEGIN

/* Worker thread, all of them, one at a time. */
typedef struct cadre_image_embedding_ops {
    size_t size;
    int (*attach)(void *self, cadre_op *op); /* see cadre_generation_ops */
    void (*destroy)(void *self);
    /* As cadre_text_embedding_ops.embed, for count ≤ max_batch pictures. */
    int (*embed)(void *self, cadre_op *const *ops, const cadre_image *images, size_t count, float *out, int *status);
} cadre_image_embedding_ops;

typedef struct cadre_image_embedding_model {
    size_t size;
    const cadre_image_embedding_ops *ops;
    void *self;
    uint32_t dimension;    /* ≥ 1: floats per vector */
    uint32_t max_batch;    /* ≥ 1: pictures per call of embed */
    uint32_t heartbeat_ms; /* see cadre_generation_model */
    uint32_t threads;      /* likewise */
} cadre_image_embedding_model;
#define CADRE_IMAGE_EMBEDDING_MODEL_INIT                                                                                                                       \
    {                                                                                                                                                          \
        sizeof(cadre_image_embedding_model), NULL, NULL, 0, 1, 0, 0                                                                                            \
    }

CADRE_LOADER_TYPE(cadre_image_embedding, cadre_image_embedding_model, CADRE_IMAGE_EMBEDDING)

/* See CADRE_LOADER_TYPE in cadre/worker.h. */
CADRE_EXTERN int cadre_spawn_image_embedding(cadre_pool *pool, const char *registry_key, const cadre_image_embedding_loader *loader, cadre_reservation *owned,
                                             const cadre_spawn_options *options, cadre_worker_cb on_ready, void *data, cadre_worker_id *out);

#define CADRE_EMBED_IMAGES_MAX 4096

typedef struct cadre_embed_images_params {
    size_t size;
    const char *key;
    const cadre_image_input *images; /* 1 … CADRE_EMBED_IMAGES_MAX */
    size_t count;
    cadre_request_options options;
    cadre_embeddings_cb on_done; /* required (cadre/text_embedding.h); row i belongs to picture i */
    void *data;
} cadre_embed_images_params;
#define CADRE_EMBED_IMAGES_PARAMS_INIT                                                                                                                         \
    {                                                                                                                                                          \
        sizeof(cadre_embed_images_params), NULL, NULL, 0, CADRE_REQUEST_OPTIONS_INIT, NULL, NULL                                                               \
    }

/* Loop thread. Errors as cadre_generate; CADRE_ENOTSUP: a form that needs a decoder or fetcher that the pool does not have; on_done with CADRE_EINPUT: a
 * picture that cannot be read. */
CADRE_EXTERN int cadre_embed_images(cadre_pool *pool, const cadre_embed_images_params *params, cadre_request_id *out);

CADRE_END
#endif
