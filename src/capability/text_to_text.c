#include "capability/generation.h"
#include "capability/typed.h"

CADRE__TYPED(cadre_text_to_text, cadre_spawn_text_to_text, cadre_registry_add_text_to_text, cadre_text_to_text_model, CADRE_TEXT_TO_TEXT)

int cadre_generate(cadre_pool *pool, const cadre_generate_params *theirs, cadre_request_id *out)
{
    if (out) *out = 0;
    if (!pool || !theirs) return CADRE_EINVAL;
    static const cadre_generate_params defaults = CADRE_GENERATE_PARAMS_INIT;
    cadre_generate_params old;
    const cadre_generate_params *params = cadre__view(theirs, &old, &defaults, sizeof old);
    if (!params) return cadre__pool_refuse(pool, CADRE_EINVAL, "params.size is not that of cadre_generate_params");
    cadre__generation_request request = {.capability = CADRE_TEXT_TO_TEXT,
                                         .key = params->key,
                                         .text = params->text,
                                         .messages = params->messages,
                                         .message_count = params->message_count,
                                         .raw = params->raw != 0,
                                         .sampling = &params->sampling,
                                         .options = &params->options,
                                         .on_text = params->on_text,
                                         .on_done = params->on_done,
                                         .data = params->data};
    return cadre__generation_submit(pool, &request, out);
}
