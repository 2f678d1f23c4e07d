/* Text generation, for text-to-text and vision: the payload of its jobs, and what the runner asks of it. */
#ifndef CADRE__GENERATION_H
#define CADRE__GENERATION_H

#include "capability/images.h"
#include "pool/job.h"
#include "pool/runner.h"

static inline bool cadre__is_generation(const cadre__kind *kind)
{
    return kind && (kind->capability == CADRE_TEXT_TO_TEXT || kind->capability == CADRE_VISION);
}

/* Worker: what must be done before the model sees it (pictures are decoded). 0 or an error. */
int cadre__generation_prepare(cadre__runner *runner, cadre__job *job);
const cadre_generation_input *cadre__generation_input(const cadre__job *job);
/* Worker: text came; kept when the request does not stream. 0 or CADRE_ENOMEM. */
int cadre__generation_emitted(cadre__job *job, const char *text, size_t length);
void cadre__generation_ended(cadre__job *job, const cadre_generation_output *output);

void cadre__generation_run(cadre__runner *runner, cadre__job *job);
void cadre__generation_finish(cadre_request *request, cadre__job *job, int status);
void cadre__generation_dispose(cadre__heap *heap, cadre__job *job);
void cadre__generation_moved(cadre__job *from, cadre__job *to);
cadre__images *cadre__generation_images(const cadre__job *job);
void cadre__generation_adopt(cadre__job *job, const cadre_request_defaults *defaults);
/* Loop: a job of the library's own that says `text` to a model and asks for one token. NULL: out of memory, or the model is no text-to-text. */
cadre__job *cadre__generation_warm_up(cadre_pool *pool, const cadre__kind *kind, const char *text);

/* Loop: the parameters of both capabilities, as one. */
typedef struct cadre__generation_request {
    cadre_capability capability;
    const char *key, *text;
    const cadre_chat_message *messages;
    size_t message_count;
    int raw;
    const cadre_image_input *images;
    size_t image_count;
    const cadre_sampling *sampling;
    const cadre_request_options *options;
    cadre_text_cb on_text;
    cadre_generation_cb on_done;
    void *data;
} cadre__generation_request;

int cadre__generation_submit(cadre_pool *pool, const cadre__generation_request *params, cadre_request_id *out);

/* Every request function ends its refusals here: what was lent is given back. */
int cadre__refuse_lent(const cadre_request_options *options, int error);

#endif
