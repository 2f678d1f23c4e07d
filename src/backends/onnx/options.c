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

static bool pooling_of(const char *name, cadre__onnx_pooling *out)
{
    static const char *const names[] = {[CADRE__ONNX_MEAN] = "mean", [CADRE__ONNX_FIRST] = "cls", [CADRE__ONNX_LAST] = "last"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        *out = (cadre__onnx_pooling)i;
        if (strcmp(name ? name : names[0], names[i]) == 0) return true;
    }
    return false;
}

bool cadre__onnx_prompts_sound(const cadre_onnx_options *o)
{
    if (o->prompt_count > CADRE__ONNX_PROMPTS_MAX || (o->prompt_count > 0 && !o->prompts)) return false;
    for (size_t i = 0; i < o->prompt_count; i++) {
        if (!o->prompts[i].name || !o->prompts[i].name[0] || !o->prompts[i].text) return false;
        for (size_t j = 0; j < i; j++)
            if (strcmp(o->prompts[i].name, o->prompts[j].name) == 0) return false;
    }
    return true;
}

static bool in_range(const cadre_onnx_options *o)
{
    return within(o->threads, 1, CADRE__ONNX_THREADS_MAX) && within(o->max_batch, 1, CADRE__ONNX_BATCH_MAX) &&
           within(o->context_length, CADRE__ONNX_CONTEXT_MIN, CADRE__ONNX_CONTEXT_MAX) && within(o->truncate, 0, 1) && within(o->lower_case, 0, 1) &&
           within(o->normalize, 0, 1) && within(o->image_size, 1, CADRE__ONNX_IMAGE_MAX) && channels_in_range(o) &&
           (o->text_bytes == CADRE_DEFAULT || (o->text_bytes >= CADRE__ONNX_TEXT_BYTES_MIN && o->text_bytes <= CADRE__ONNX_TEXT_BYTES_MAX)) &&
           pooling_of(o->pooling, &(cadre__onnx_pooling){0}) && cadre__onnx_prompts_sound(o);
}

static bool copy_string(const char *from, char **out)
{
    *out = from ? strdup(from) : NULL;
    return !from || *out;
}

/* The last steps of making options, which hold no strings yet. */
static bool copy_strings(cadre__onnx_options *options, const char *path, const char *vocabulary, size_t prompt_count)
{
    if (!copy_string(path, &options->path) || !copy_string(vocabulary, &options->vocabulary)) return false;
    options->prompts = prompt_count > 0 ? calloc(prompt_count, sizeof(*options->prompts)) : NULL;
    return prompt_count == 0 || options->prompts;
}

static bool add_prompt(cadre__onnx_options *options, const char *name, const char *text)
{
    cadre__onnx_prompt *prompt = &options->prompts[options->prompt_count++];
    return copy_string(name, &prompt->name) && copy_string(text, &prompt->text);
}

static int finish(cadre__onnx_options *options, bool whole, cadre__onnx_options **out)
{
    if (!whole) {
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
    options->text_bytes = given.text_bytes == CADRE_DEFAULT ? INFINITY : (double)given.text_bytes;
    options->truncate = given.truncate == 1;
    options->lower_case = given.lower_case != 0;
    pooling_of(given.pooling, &options->pooling);
    options->normalize = given.normalize != 0;
    options->image_size = or_default(given.image_size, 0);
    for (int i = 0; i < 3; i++) {
        options->image_mean[i] = isnan(given.image_mean[i]) ? clip_mean[i] : given.image_mean[i];
        options->image_deviation[i] = isnan(given.image_deviation[i]) ? clip_deviation[i] : given.image_deviation[i];
    }
    bool whole = copy_strings(options, given.path, given.vocabulary, given.prompt_count);
    for (size_t i = 0; whole && i < given.prompt_count; i++) whole = add_prompt(options, given.prompts[i].name, given.prompts[i].text);
    return finish(options, whole, out);
}

int cadre__onnx_options_copy(const cadre__onnx_options *from, cadre__onnx_options **out)
{
    cadre__onnx_options *options = malloc(sizeof(*options));
    if (!options) return CADRE_ENOMEM;
    *options = *from;
    options->path = options->vocabulary = NULL;
    options->prompts = NULL;
    options->prompt_count = 0;
    bool whole = copy_strings(options, from->path, from->vocabulary, from->prompt_count);
    for (size_t i = 0; whole && i < from->prompt_count; i++) whole = add_prompt(options, from->prompts[i].name, from->prompts[i].text);
    return finish(options, whole, out);
}

void cadre__onnx_options_destroy(cadre__onnx_options *options)
{
    if (!options) return;
    free(options->path);
    free(options->vocabulary);
    for (size_t i = 0; i < options->prompt_count; i++) {
        free(options->prompts[i].name);
        free(options->prompts[i].text);
    }
    free(options->prompts);
    free(options);
}
