#include "capability/generation.h"
#include "capability/typed.h"

CADRE__TYPED(cadre_vision, cadre_spawn_vision, cadre_registry_add_vision, cadre_vision_model, CADRE_VISION)

int cadre_describe(cadre_pool *pool, const cadre_describe_params *theirs, cadre_request_id *out)
{
    if (out) *out = 0;
    if (!pool || !theirs) return CADRE_EINVAL;
    static const cadre_describe_params defaults = CADRE_DESCRIBE_PARAMS_INIT;
    cadre_describe_params old;
    const cadre_describe_params *params = cadre__view(theirs, &old, &defaults, sizeof old);
    if (!params) return cadre__pool_refuse(pool, CADRE_EINVAL, "params.size is not that of cadre_describe_params");
    cadre__generation_request request = {.capability = CADRE_VISION,
                                         .key = params->key,
                                         .text = params->query,
                                         .images = params->images,
                                         .image_count = params->image_count,
                                         .sampling = &params->sampling,
                                         .options = &params->options,
                                         .on_text = params->on_text,
                                         .on_done = params->on_done,
                                         .data = params->data};
    return cadre__generation_submit(pool, &request, out);
}
