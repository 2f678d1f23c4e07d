/* The public functions: loaders of the three kinds from a path and options.
 *
 * Threads: the own-copy make functions run on a loader thread, the shared ones on the loop, where they only lay a small struct around what is loaded; both end
 * before the loader's release runs, so the loader's data needs no lock. */
#include "backend.h"

#include <stdlib.h>

/* Its address tells our payloads from others'. */
static const char weights_type;

/* A loader's data. */
typedef struct source {
    cadre__llama_options *options; /* taken over by the model */
    cadre_future *weights;         /* counted; NULL: an own copy */
} source;

static void source_release(void *data)
{
    source *from = data;
    cadre_future_release(from->weights);
    cadre__llama_options_destroy(from->options);
    free(from);
}

/* A vision model needs a tower, and others have none; only text embedding has prompts, a pooling and a choice of attention. */
static bool fits(const cadre__llama_options *options, cadre_capability capability)
{
    bool embeds = options->prompt_count > 0 || options->pooling != CADRE_DEFAULT || options->causal != CADRE_DEFAULT;
    return (options->mmproj != NULL) == (capability == CADRE_VISION) && (!embeds || capability == CADRE_TEXT_EMBEDDING);
}

static int source_create(const cadre_llama_options *options, cadre_weights_future *weights, cadre_capability capability, source **out)
{
    source *from = calloc(1, sizeof(*from));
    if (!from) return CADRE_ENOMEM;
    int rc = cadre__llama_options_create(options, weights == NULL, &from->options);
    if (rc == CADRE_OK && !fits(from->options, capability)) rc = CADRE_EINVAL;
    if (rc < 0) {
        cadre__llama_options_destroy(from->options);
        free(from);
        return rc;
    }
    if (weights) from->weights = cadre_future_retain(cadre_weights_future_untyped(weights));
    *out = from;
    return CADRE_OK;
}

/* The weights that a model is made around: the shared ones, or its own, read here. */
static int find_weights(cadre_load_context *context, cadre_weights *shared, const cadre__llama_options *options, cadre_capability capability,
                        cadre__llama_weights **out)
{
    if (!shared) return cadre__llama_weights_load(context, options, (int)capability, out);
    if (cadre_weights_type(shared) != &weights_type) return cadre_load_fail(context, CADRE_EINVAL, "these weights are not from cadre_llama_weights");
    *out = cadre_weights_payload(shared);
    return CADRE_OK;
}

/* For a host's own loader: its options become ours. */
static int host_options(cadre_load_context *context, const cadre_weights *shared, const void *data, cadre_capability capability, cadre__llama_options **out)
{
    int rc = cadre__llama_options_create(data, shared == NULL, out);
    if (rc == CADRE_EINVAL) return cadre_load_fail(context, rc, "cadre_llama_options: no path, a wrong size, or a value out of range");
    if (rc < 0 || fits(*out, capability)) return rc;
    cadre__llama_options_destroy(*out);
    *out = NULL;
    return cadre_load_fail(
        context, CADRE_EINVAL,
        "cadre_llama_options: mmproj is for vision models, which need it; prompts, pooling and causal are for text embedding; this one is %s",
        cadre_capability_name(capability));
}

/* ---- text-to-text ---- */

int cadre__llama_text_around(cadre_load_context *context, cadre_weights *shared, cadre__llama_options **options, cadre_text_to_text_model *out)
{
    cadre__llama_weights *weights;
    int rc = find_weights(context, shared, *options, CADRE_TEXT_TO_TEXT, &weights);
    return rc < 0 ? rc : cadre__llama_generator_create(context, weights, !shared, CADRE_TEXT_TO_TEXT, options, out);
}

int cadre_llama_text_to_text_make(cadre_load_context *context, cadre_weights *shared, void *data, cadre_text_to_text_model *out)
{
    cadre__llama_options *options = NULL;
    int rc = host_options(context, shared, data, CADRE_TEXT_TO_TEXT, &options);
    if (rc == CADRE_OK) rc = cadre__llama_text_around(context, shared, &options, out);
    cadre__llama_options_destroy(options);
    return rc;
}

static int make_text(cadre_load_context *context, cadre_weights *shared, void *data, cadre_text_to_text_model *out)
{
    source *from = data;
    return cadre__llama_text_around(context, shared, &from->options, out);
}

static cadre_text_to_text_future *load_text(cadre_load_context *context, void *data)
{
    source *from = data;
    if (from->weights) return cadre_text_to_text_load_shared(context, (cadre_weights_future *)from->weights, make_text, data);
    return cadre_text_to_text_load_blocking(context, NULL, make_text, data);
}

static int text_loader(const cadre_llama_options *options, cadre_weights_future *weights, cadre_text_to_text_loader *out)
{
    source *from;
    int rc = source_create(options, weights, CADRE_TEXT_TO_TEXT, &from);
    if (rc == CADRE_OK) *out = (cadre_text_to_text_loader){sizeof(*out), load_text, from, source_release};
    return rc;
}

int cadre_llama_text_to_text(const cadre_llama_options *options, cadre_text_to_text_loader *out)
{
    return out ? text_loader(options, NULL, out) : CADRE_EINVAL;
}

int cadre_llama_text_to_text_shared(cadre_weights_future *weights, const cadre_llama_options *options, cadre_text_to_text_loader *out)
{
    return weights && out ? text_loader(options, weights, out) : CADRE_EINVAL;
}

/* ---- vision ---- */

/* The second file is looked at before the weights of the first are read. */
int cadre__llama_vision_around(cadre_load_context *context, cadre_weights *shared, cadre__llama_options **options, cadre_vision_model *out)
{
    cadre__llama_weights *weights;
    cadre__llama_mmproj mmproj;
    cadre__llama_facts facts;
    char detail[480] = "";
    if (!shared) {
        int early = cadre__llama_file_read(*options, &facts, detail, sizeof(detail));
        if (early == CADRE_OK) early = cadre__llama_mmproj_check(*options, &facts, &mmproj, detail, sizeof(detail));
        if (early < 0) return cadre_load_fail(context, early, "%s", detail);
    }
    int rc = find_weights(context, shared, *options, CADRE_VISION, &weights);
    return rc < 0 ? rc : cadre__llama_generator_create(context, weights, !shared, CADRE_VISION, options, out);
}

int cadre_llama_vision_make(cadre_load_context *context, cadre_weights *shared, void *data, cadre_vision_model *out)
{
    cadre__llama_options *options = NULL;
    int rc = host_options(context, shared, data, CADRE_VISION, &options);
    if (rc == CADRE_OK) rc = cadre__llama_vision_around(context, shared, &options, out);
    cadre__llama_options_destroy(options);
    return rc;
}

static int make_vision(cadre_load_context *context, cadre_weights *shared, void *data, cadre_vision_model *out)
{
    source *from = data;
    return cadre__llama_vision_around(context, shared, &from->options, out);
}

static cadre_vision_future *load_vision(cadre_load_context *context, void *data)
{
    source *from = data;
    if (from->weights) return cadre_vision_load_shared(context, (cadre_weights_future *)from->weights, make_vision, data);
    return cadre_vision_load_blocking(context, NULL, make_vision, data);
}

static int vision_loader(const cadre_llama_options *options, cadre_weights_future *weights, cadre_vision_loader *out)
{
    source *from;
    int rc = source_create(options, weights, CADRE_VISION, &from);
    if (rc == CADRE_OK) *out = (cadre_vision_loader){sizeof(*out), load_vision, from, source_release};
    return rc;
}

int cadre_llama_vision(const cadre_llama_options *options, cadre_vision_loader *out)
{
    return out ? vision_loader(options, NULL, out) : CADRE_EINVAL;
}

int cadre_llama_vision_shared(cadre_weights_future *weights, const cadre_llama_options *options, cadre_vision_loader *out)
{
    return weights && out ? vision_loader(options, weights, out) : CADRE_EINVAL;
}

/* ---- text embedding ---- */

int cadre__llama_embedding_around(cadre_load_context *context, cadre_weights *shared, cadre__llama_options **options, cadre_text_embedding_model *out)
{
    cadre__llama_weights *weights;
    int rc = find_weights(context, shared, *options, CADRE_TEXT_EMBEDDING, &weights);
    return rc < 0 ? rc : cadre__llama_embedder_create(context, weights, !shared, options, out);
}

int cadre_llama_text_embedding_make(cadre_load_context *context, cadre_weights *shared, void *data, cadre_text_embedding_model *out)
{
    cadre__llama_options *options = NULL;
    int rc = host_options(context, shared, data, CADRE_TEXT_EMBEDDING, &options);
    if (rc == CADRE_OK) rc = cadre__llama_embedding_around(context, shared, &options, out);
    cadre__llama_options_destroy(options);
    return rc;
}

static int make_embedding(cadre_load_context *context, cadre_weights *shared, void *data, cadre_text_embedding_model *out)
{
    source *from = data;
    return cadre__llama_embedding_around(context, shared, &from->options, out);
}

static cadre_text_embedding_future *load_embedding(cadre_load_context *context, void *data)
{
    source *from = data;
    if (from->weights) return cadre_text_embedding_load_shared(context, (cadre_weights_future *)from->weights, make_embedding, data);
    return cadre_text_embedding_load_blocking(context, NULL, make_embedding, data);
}

static int embedding_loader(const cadre_llama_options *options, cadre_weights_future *weights, cadre_text_embedding_loader *out)
{
    source *from;
    int rc = source_create(options, weights, CADRE_TEXT_EMBEDDING, &from);
    if (rc == CADRE_OK) *out = (cadre_text_embedding_loader){sizeof(*out), load_embedding, from, source_release};
    return rc;
}

int cadre_llama_text_embedding(const cadre_llama_options *options, cadre_text_embedding_loader *out)
{
    return out ? embedding_loader(options, NULL, out) : CADRE_EINVAL;
}

int cadre_llama_text_embedding_shared(cadre_weights_future *weights, const cadre_llama_options *options, cadre_text_embedding_loader *out)
{
    return weights && out ? embedding_loader(options, weights, out) : CADRE_EINVAL;
}

/* ---- shared weights ---- */

int cadre__llama_share_weights(cadre_load_context *context, const cadre__llama_options *options, int capability, cadre_weights_value *out)
{
    cadre__llama_weights *weights;
    int rc = cadre__llama_weights_load(context, options, capability, &weights);
    if (rc < 0) return rc;
    /* How many of them went to a GPU is not told. */
    if (options->gpu_layers == 0) cadre_load_measured(context, CADRE_DEVICE_HOST, llama_model_size(weights->model));
    *out = (cadre_weights_value){sizeof(*out), weights, cadre__llama_weights_destroy, &weights_type};
    return CADRE_OK;
}

static int load_weights(cadre_load_context *context, void *data, cadre_weights_value *out)
{
    return cadre__llama_share_weights(context, data, -1, out);
}

static void options_release(void *data)
{
    cadre__llama_options_destroy(data);
}

int cadre_llama_weights(cadre_pool *pool, const cadre_llama_options *options, cadre_reservation *owned, cadre_weights_future **out)
{
    cadre__llama_options *copy;
    int rc = pool && out ? cadre__llama_options_create(options, true, &copy) : CADRE_EINVAL;
    if (rc < 0) {
        cadre_reservation_release(owned);
        return rc;
    }
    return cadre_weights_load_blocking(pool, load_weights, copy, options_release, owned, out);
}
