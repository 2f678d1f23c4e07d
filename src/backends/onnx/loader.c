/* The public functions: loaders of both kinds from a path and options.
 *
 * Threads: the own-copy make functions run on a loader thread, the shared ones on the loop, where they only lay a small struct around what is loaded; both end
 * before the loader's release runs, so the loader's data needs no lock. */
#include "backend.h"

#include <stdlib.h>

/* Its address tells our payloads from others'. */
static const char weights_type;

/* A loader's data. */
typedef struct source {
    cadre__onnx_options *options; /* taken over by the model */
    cadre_future *weights;        /* counted; NULL: an own copy */
} source;

static void source_release(void *data)
{
    source *from = data;
    cadre_future_release(from->weights);
    cadre__onnx_options_destroy(from->options);
    free(from);
}

static int source_create(const cadre_onnx_options *options, cadre_weights_future *weights, source **out)
{
    source *from = calloc(1, sizeof(*from));
    if (!from) return CADRE_ENOMEM;
    int rc = cadre__onnx_options_create(options, weights == NULL, &from->options);
    if (rc < 0) {
        free(from);
        return rc;
    }
    if (weights) from->weights = cadre_future_retain(cadre_weights_future_untyped(weights));
    *out = from;
    return CADRE_OK;
}

/* The weights that a model is made around: the shared ones, or its own, read here. */
static int find_weights(cadre_load_context *context, cadre_weights *shared, const cadre__onnx_options *options, cadre_capability capability,
                        cadre__onnx_weights **out)
{
    if (!shared) return cadre__onnx_weights_load(context, options, (int)capability, out);
    if (cadre_weights_type(shared) != &weights_type) return cadre_load_fail(context, CADRE_EINVAL, "these weights are not from cadre_onnx_weights");
    *out = cadre_weights_payload(shared);
    return CADRE_OK;
}

/* ---- text embedding ---- */

int cadre__onnx_text_around(cadre_load_context *context, cadre_weights *shared, cadre__onnx_options **options, cadre_text_embedding_model *out)
{
    cadre__onnx_weights *weights;
    int rc = find_weights(context, shared, *options, CADRE_TEXT_EMBEDDING, &weights);
    return rc < 0 ? rc : cadre__onnx_text_create(context, weights, !shared, options, out);
}

static int make_text(cadre_load_context *context, cadre_weights *shared, void *data, cadre_text_embedding_model *out)
{
    source *from = data;
    return cadre__onnx_text_around(context, shared, &from->options, out);
}

static cadre_text_embedding_future *load_text(cadre_load_context *context, void *data)
{
    source *from = data;
    if (from->weights) return cadre_text_embedding_load_shared(context, (cadre_weights_future *)from->weights, make_text, data);
    return cadre_text_embedding_load_blocking(context, NULL, make_text, data);
}

static int text_loader(const cadre_onnx_options *options, cadre_weights_future *weights, cadre_text_embedding_loader *out)
{
    source *from;
    int rc = source_create(options, weights, &from);
    if (rc == CADRE_OK) *out = (cadre_text_embedding_loader){sizeof(*out), load_text, from, source_release};
    return rc;
}

int cadre_onnx_text_embedding(const cadre_onnx_options *options, cadre_text_embedding_loader *out)
{
    return out ? text_loader(options, NULL, out) : CADRE_EINVAL;
}

int cadre_onnx_text_embedding_shared(cadre_weights_future *weights, const cadre_onnx_options *options, cadre_text_embedding_loader *out)
{
    return weights && out ? text_loader(options, weights, out) : CADRE_EINVAL;
}

/* ---- image embedding ---- */

int cadre__onnx_image_around(cadre_load_context *context, cadre_weights *shared, cadre__onnx_options **options, cadre_image_embedding_model *out)
{
    cadre__onnx_weights *weights;
    int rc = find_weights(context, shared, *options, CADRE_IMAGE_EMBEDDING, &weights);
    return rc < 0 ? rc : cadre__onnx_image_create(context, weights, !shared, options, out);
}

static int make_image(cadre_load_context *context, cadre_weights *shared, void *data, cadre_image_embedding_model *out)
{
    source *from = data;
    return cadre__onnx_image_around(context, shared, &from->options, out);
}

static cadre_image_embedding_future *load_image(cadre_load_context *context, void *data)
{
    source *from = data;
    if (from->weights) return cadre_image_embedding_load_shared(context, (cadre_weights_future *)from->weights, make_image, data);
    return cadre_image_embedding_load_blocking(context, NULL, make_image, data);
}

static int image_loader(const cadre_onnx_options *options, cadre_weights_future *weights, cadre_image_embedding_loader *out)
{
    source *from;
    int rc = source_create(options, weights, &from);
    if (rc == CADRE_OK) *out = (cadre_image_embedding_loader){sizeof(*out), load_image, from, source_release};
    return rc;
}

int cadre_onnx_image_embedding(const cadre_onnx_options *options, cadre_image_embedding_loader *out)
{
    return out ? image_loader(options, NULL, out) : CADRE_EINVAL;
}

int cadre_onnx_image_embedding_shared(cadre_weights_future *weights, const cadre_onnx_options *options, cadre_image_embedding_loader *out)
{
    return weights && out ? image_loader(options, weights, out) : CADRE_EINVAL;
}

/* ---- shared weights ---- */

int cadre__onnx_share_weights(cadre_load_context *context, const cadre__onnx_options *options, int capability, cadre_weights_value *out)
{
    cadre__onnx_weights *weights;
    int rc = cadre__onnx_weights_load(context, options, capability, &weights);
    if (rc < 0) return rc;
    cadre_load_measured(context, CADRE_DEVICE_HOST, weights->bytes);
    *out = (cadre_weights_value){sizeof(*out), weights, cadre__onnx_weights_destroy, &weights_type};
    return CADRE_OK;
}

static int load_weights(cadre_load_context *context, void *data, cadre_weights_value *out)
{
    return cadre__onnx_share_weights(context, data, -1, out);
}

static void options_release(void *data)
{
    cadre__onnx_options_destroy(data);
}

int cadre_onnx_weights(cadre_pool *pool, const cadre_onnx_options *options, cadre_reservation *owned, cadre_weights_future **out)
{
    cadre__onnx_options *copy;
    int rc = pool && out ? cadre__onnx_options_create(options, true, &copy) : CADRE_EINVAL;
    if (rc < 0) {
        cadre_reservation_release(owned);
        return rc;
    }
    return cadre_weights_load_blocking(pool, load_weights, copy, options_release, owned, out);
}
