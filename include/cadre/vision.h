/* Vision: pictures and a question in, text out, streamed. */
#ifndef CADRE_VISION_H
#define CADRE_VISION_H

#include <cadre/generation.h>

CADRE_BEGIN

typedef cadre_generation_model cadre_vision_model;
CADRE_LOADER_TYPE(cadre_vision, cadre_vision_model, CADRE_VISION)

/* See CADRE_LOADER_TYPE in cadre/worker.h. */
CADRE_EXTERN int cadre_spawn_vision(cadre_pool *pool, const char *registry_key, const cadre_vision_loader *loader, cadre_reservation *owned,
                                    const cadre_spawn_options *options, cadre_worker_cb on_ready, void *data, cadre_worker_id *out);

#define CADRE_DESCRIBE_IMAGES_MAX 64

typedef struct cadre_describe_params {
    size_t size;
    const char *key;
    const char *query;               /* what to say about the pictures; not empty */
    const cadre_image_input *images; /* 1 … CADRE_DESCRIBE_IMAGES_MAX, in the order in which the query means them */
    size_t image_count;
    cadre_sampling sampling;
    cadre_request_options options;
    cadre_text_cb on_text;       /* NULL: the whole text comes with on_done. An answer may begin with a space, as the model's tokens do */
    cadre_generation_cb on_done; /* required */
    void *data;
} cadre_describe_params;
#define CADRE_DESCRIBE_PARAMS_INIT                                                                                                                             \
    {                                                                                                                                                          \
        sizeof(cadre_describe_params), NULL, NULL, NULL, 0, CADRE_SAMPLING_INIT, CADRE_REQUEST_OPTIONS_INIT, NULL, NULL, NULL                                  \
    }

/* Loop thread. Errors as cadre_generate and cadre_embed_images. */
CADRE_EXTERN int cadre_describe(cadre_pool *pool, const cadre_describe_params *params, cadre_request_id *out);

CADRE_END
#endif
