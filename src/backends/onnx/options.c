/* The host's options: range checks, defaults, copies. */
#include "backend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const float clip_mean[3] = {0.48145466f, 0.4578275f, 0.40821073f};
static const float clip_deviation[3] = {0.26862954f, 0.26130258f, 0.27577711f};

static bool within(int32_t value, int32_t low, int32_t high)
{
    return value == CADRE_DEFAULT || (value >= low && value <= high);
}

static bool channels_in_range(const cadre_onnx_options *o)
{
    for (int i = 0; i < 3; i++) {
        if (!isnan(o->image_mean[i]) && !isfinite(o->image_mean[i])) return false;
        if (!isnan(o->image_deviation[i]) && !(o->image_deviation[i] > 0.0f && isfinite(o->image_deviation[i]))) return false;
    }
    return true;
}

static bool in_range(const cadre_onnx_options *o)
{
    return within(o->threads, 1, CADRE__ONNX_THREADS_MAX) && within(o->max_batch, 1, CADRE__ONNX_BATCH_MAX) &&
           within(o->context_length, CADRE__ONNX_CONTEXT_MIN, CADRE__ONNX_CONTEXT_MAX) && within(o->truncate, 0, 1) && within(o->lower_case, 0, 1) &&
           within(o->normalize, 0, 1) && within(o->image_size, 1, CADRE__ONNX_IMAGE_MAX) && channels_in_range(o) &&
           (!o->pooling || strcmp(o->pooling, "mean") == 0 || strcmp(o->pooling, "cls") == 0);
}

static bool copy_string(const char *from, char **out)
{
    *out = from ? strdup(from) : NULL;
    return !from || *out;
}

/* The last step of making options; consumes them. */
static int copy_strings(cadre__onnx_options *options, const char *path, const char *vocabulary, cadre__onnx_options **out)
{
    options->path = options->vocabulary = NULL;
    if (!copy_string(path, &options->path) || !copy_string(vocabulary, &options->vocabulary)) {
        cadre__onnx_options_destroy(options);
        return CADRE_ENOMEM;
    }
    *out = options;
    return CADRE_OK;
}

static int32_t or_default(int32_t value, int32_t otherwise)
{
    return value == CADRE_DEFAULT ? otherwise : value;
}

int cadre__onnx_options_create(const cadre_onnx_options *from, bool path_needed, cadre__onnx_options **out)
{
    cadre_onnx_options given = CADRE_ONNX_OPTIONS_INIT;
    if (!from || from->size < sizeof(from->size) || from->size > sizeof(given)) return CADRE_EINVAL;
    memcpy(&given, from, from->size);
    if (!in_range(&given) || (path_needed && (!given.path || !given.path[0])) || (given.vocabulary && !given.vocabulary[0])) return CADRE_EINVAL;

    cadre__onnx_options *options = calloc(1, sizeof(*options));
    if (!options) return CADRE_ENOMEM;
    options->threads = given.threads;
    options->max_batch = or_default(given.max_batch, 32);
    options->context_length = or_default(given.context_length, 512);
    options->truncate = given.truncate == 1;
    options->lower_case = given.lower_case != 0;
    options->pool_first = given.pooling && strcmp(given.pooling, "cls") == 0;
    options->normalize = given.normalize != 0;
    options->image_size = or_default(given.image_size, 0);
    for (int i = 0; i < 3; i++) {
        options->image_mean[i] = isnan(given.image_mean[i]) ? clip_mean[i] : given.image_mean[i];
        options->image_deviation[i] = isnan(given.image_deviation[i]) ? clip_deviation[i] : given.image_deviation[i];
    }
    return copy_strings(options, given.path, given.vocabulary, out);
}

int cadre__onnx_options_copy(const cadre__onnx_options *from, cadre__onnx_options **out)
{
    cadre__onnx_options *options = malloc(sizeof(*options));
    if (!options) return CADRE_ENOMEM;
    *options = *from;
    return copy_strings(options, from->path, from->vocabulary, out);
}

void cadre__onnx_options_destroy(cadre__onnx_options *options)
{
    if (!options) return;
    free(options->path);
    free(options->vocabulary);
    free(options);
}
