/* Text-to-text: chat and completion, streamed. */
#ifndef CADRE_TEXT_TO_TEXT_H
#define CADRE_TEXT_TO_TEXT_H

#include <cadre/generation.h>

CADRE_BEGIN

typedef cadre_generation_model cadre_text_to_text_model;
CADRE_LOADER_TYPE(cadre_text_to_text, cadre_text_to_text_model, CADRE_TEXT_TO_TEXT)

/* See CADRE_LOADER_TYPE in cadre/worker.h. */
CADRE_EXTERN int cadre_spawn_text_to_text(cadre_pool *pool, const char *registry_key, const cadre_text_to_text_loader *loader, cadre_reservation *owned,
                                          const cadre_spawn_options *options, cadre_worker_cb on_ready, void *data, cadre_worker_id *out);

typedef struct cadre_generate_params {
    size_t size;
    const char *key;                    /* the model */
    const char *text;                   /* one user message (the model's chat template is applied), or with raw the prompt itself */
    const cadre_chat_message *messages; /* or a chat, oldest first: exactly one of text and messages */
    size_t message_count;
    int raw;
    cadre_sampling sampling;
    cadre_request_options options;
    cadre_text_cb on_text;       /* NULL: the whole text comes with on_done */
    cadre_generation_cb on_done; /* required */
    void *data;
} cadre_generate_params;
#define CADRE_GENERATE_PARAMS_INIT                                                                                                                             \
    {                                                                                                                                                          \
        sizeof(cadre_generate_params), NULL, NULL, NULL, 0, 0, CADRE_SAMPLING_INIT, CADRE_REQUEST_OPTIONS_INIT, NULL, NULL, NULL                               \
    }

/* Loop thread; see cadre/request.h for what a return means, and for the errors. `out` may be NULL. text must be UTF-8 and not empty. */
CADRE_EXTERN int cadre_generate(cadre_pool *pool, const cadre_generate_params *params, cadre_request_id *out);

CADRE_END
#endif
