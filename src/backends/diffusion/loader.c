/* The public functions: loaders from options.
 *
 * Threads: the own-copy make function runs on a loader thread, the shared one on the loop, where it only lays a small struct around what is loaded; both end
 * before the loader's release runs, so the loader's data needs no lock. */
#include "backend.h"

#include <stdlib.h>

/* Its address tells our payloads from others'. */
static const char weights_type;

/* A loader's data. */
typedef struct source {
    cadre__diffusion_options *options; /* taken over by the model */
    cadre_future *weights;             /* counted; NULL: an own copy */
} source;

static void source_release(void *data)
{
    source *from = data;
    cadre_future_release(from->weights);
    cadre__diffusion_options_destroy(from->options);
    free(from);
}

int cadre__diffusion_around(cadre_load_context *context, cadre_weights *shared, cadre__diffusion_options **options, cadre_text_to_image_model *out)
{
    cadre__diffusion_weights *weights;
    if (!shared) {
        int rc = cadre__diffusion_weights_load(context, *options, &weights);
        return rc < 0 ? rc : cadre__diffusion_painter_create(context, weights, true, options, out);
    }
    if (cadre_weights_type(shared) != &weights_type) return cadre_load_fail(context, CADRE_EINVAL, "these weights are not from cadre_diffusion_weights");
    return cadre__diffusion_painter_create(context, cadre_weights_payload(shared), false, options, out);
}

static int make(cadre_load_context *context, cadre_weights *shared, void *data, cadre_text_to_image_model *out)
{
    source *from = data;
    return cadre__diffusion_around(context, shared, &from->options, out);
}

static cadre_text_to_image_future *load(cadre_load_context *context, void *data)
{
    source *from = data;
    if (from->weights) return cadre_text_to_image_load_shared(context, (cadre_weights_future *)from->weights, make, data);
    return cadre_text_to_image_load_blocking(context, NULL, make, data);
}

static int loader(const cadre_diffusion_options *options, cadre_weights_future *weights, cadre_text_to_image_loader *out)
{
    source *from = calloc(1, sizeof(*from));
    if (!from) return CADRE_ENOMEM;
    int rc = cadre__diffusion_options_create(options, weights == NULL, &from->options, NULL, 0);
    if (rc < 0) {
        free(from);
        return rc;
    }
    if (weights) from->weights = cadre_future_retain(cadre_weights_future_untyped(weights));
    *out = (cadre_text_to_image_loader){sizeof(*out), load, from, source_release};
    return CADRE_OK;
}

int cadre_diffusion_text_to_image(const cadre_diffusion_options *options, cadre_text_to_image_loader *out)
{
    return out ? loader(options, NULL, out) : CADRE_EINVAL;
}

int cadre_diffusion_text_to_image_shared(cadre_weights_future *weights, const cadre_diffusion_options *options, cadre_text_to_image_loader *out)
{
    return weights && out ? loader(options, weights, out) : CADRE_EINVAL;
}

/* ---- shared weights ---- */

int cadre__diffusion_share_weights(cadre_load_context *context, const cadre__diffusion_options *options, cadre_weights_value *out)
{
    cadre__diffusion_weights *weights;
    int rc = cadre__diffusion_weights_load(context, options, &weights);
    if (rc < 0) return rc;
    cadre_load_measured(context, CADRE_DEVICE_HOST, weights->bytes);
    *out = (cadre_weights_value){sizeof(*out), weights, cadre__diffusion_weights_destroy, &weights_type};
    return CADRE_OK;
}

static int load_weights(cadre_load_context *context, void *data, cadre_weights_value *out)
{
    return cadre__diffusion_share_weights(context, data, out);
}

static void options_release(void *data)
{
    cadre__diffusion_options_destroy(data);
}

int cadre_diffusion_weights(cadre_pool *pool, const cadre_diffusion_options *options, cadre_reservation *owned, cadre_weights_future **out)
{
    cadre__diffusion_options *copy;
    int rc = pool && out ? cadre__diffusion_options_create(options, true, &copy, NULL, 0) : CADRE_EINVAL;
    if (rc < 0) {
        cadre_reservation_release(owned);
        return rc;
    }
    return cadre_weights_load_blocking(pool, load_weights, copy, options_release, owned, out);
}
