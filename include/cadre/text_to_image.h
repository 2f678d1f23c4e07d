/* Text-to-image: a prompt in, a picture out, with step progress. */
#ifndef CADRE_TEXT_TO_IMAGE_H
#define CADRE_TEXT_TO_IMAGE_H

#include <cadre/image.h>
#include <cadre/request.h>

CADRE_BEGIN

/* What a generate operation reads; valid until it returns. Defaults still as sentinels: the model knows its own. */
typedef struct cadre_text_to_image_input {
    size_t size;
    const char *prompt;
    const char *negative_prompt; /* "" for none */
    int32_t width, height, steps;
    float guidance;
    int64_t seed;
} cadre_text_to_image_input;

/* Worker thread, all of them, one at a time. */
typedef struct cadre_text_to_image_ops {
    size_t size;
    int (*attach)(void *self, cadre_op *op); /* see cadre_generation_ops */
    void (*destroy)(void *self);
    /* Fills *out and the blob that owns its pixels; cadre_op_step reports how far it is. */
    int (*generate)(void *self, cadre_op *op, const cadre_text_to_image_input *input, cadre_image *out, cadre_blob *pixels);
} cadre_text_to_image_ops;

typedef struct cadre_text_to_image_model {
    size_t size;
    const cadre_text_to_image_ops *ops;
    void *self;
    uint32_t heartbeat_ms; /* see cadre_generation_model */
    uint32_t threads;      /* likewise */
} cadre_text_to_image_model;
#define CADRE_TEXT_TO_IMAGE_MODEL_INIT                                                                                                                         \
    {                                                                                                                                                          \
        sizeof(cadre_text_to_image_model), NULL, NULL, 0, 0                                                                                                    \
    }

CADRE_LOADER_TYPE(cadre_text_to_image, cadre_text_to_image_model, CADRE_TEXT_TO_IMAGE)

/* See CADRE_LOADER_TYPE in cadre/worker.h. */
CADRE_EXTERN int cadre_spawn_text_to_image(cadre_pool *pool, const char *registry_key, const cadre_text_to_image_loader *loader, cadre_reservation *owned,
                                           const cadre_spawn_options *options, cadre_worker_cb on_ready, void *data, cadre_worker_id *out);

/* Loop thread; coalesced, at most one report a turn: step `done` of `total`. The last step may come with on_done alone. */
typedef void (*cadre_step_cb)(cadre_request *request, uint32_t done, uint32_t total);
/* Loop thread, exactly once. result is NULL when status < 0, and valid during the call. */
typedef void (*cadre_image_cb)(cadre_request *request, int status, const cadre_image *result);

typedef struct cadre_generate_image_params {
    size_t size;
    const char *key;
    const char *prompt;
    const char *negative_prompt; /* NULL: none */
    int32_t width, height;       /* pixels, 1 … 16,384; default the model's */
    int32_t steps;               /* 1 … 1,000; default the model's */
    float guidance;              /* ≥ 0; default the model's */
    int64_t seed;                /* 0 … 2³²−1; default: a random one */
    cadre_request_options options;
    cadre_step_cb on_step;  /* may be NULL */
    cadre_image_cb on_done; /* required */
    void *data;
} cadre_generate_image_params;
#define CADRE_GENERATE_IMAGE_PARAMS_INIT                                                                                                                       \
    {                                                                                                                                                          \
        sizeof(cadre_generate_image_params), NULL, NULL, NULL, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT_FLOAT, CADRE_DEFAULT,                \
            CADRE_REQUEST_OPTIONS_INIT, NULL, NULL, NULL                                                                                                       \
    }

/* Loop thread. Errors as cadre_generate. */
CADRE_EXTERN int cadre_generate_image(cadre_pool *pool, const cadre_generate_image_params *params, cadre_request_id *out);

CADRE_END
#endif
