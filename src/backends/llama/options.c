/* The host's options: range checks, defaults, copies. */
#include "backend.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT_BATCH_TOKENS 512

static bool within(int32_t value, int32_t low, int32_t high)
{
    return value == CADRE_DEFAULT || (value >= low && value <= high);
}

bool cadre__llama_pooling_named(const char *name, int32_t *out)
{
    static const struct {
        const char *name;
        enum llama_pooling_type type;
    } known[] = {{"mean", LLAMA_POOLING_TYPE_MEAN}, {"cls", LLAMA_POOLING_TYPE_CLS}, {"last", LLAMA_POOLING_TYPE_LAST}};
    *out = CADRE_DEFAULT;
    for (size_t i = 0; name && i < sizeof(known) / sizeof(*known); i++)
        if (strcmp(known[i].name, name) == 0) *out = (int32_t)known[i].type;
    return !name || *out != CADRE_DEFAULT;
}

static bool in_range(const cadre_llama_options *o)
{
    return within(o->context_length, 1, INT32_MAX) && within(o->slots, 1, CADRE__LLAMA_SLOTS_MAX) &&
           within(o->batch_tokens, CADRE__LLAMA_BATCH_MIN, CADRE__LLAMA_BATCH_MAX) && within(o->threads, 1, CADRE__LLAMA_THREADS_MAX) &&
           within(o->gpu_layers, 0, INT32_MAX) && within(o->use_mmap, 0, 1) && within(o->causal, 0, 1);
}

/* A copy of `from`, NULL of NULL; false: out of memory. */
static bool copy_string(const char *from, char **out)
{
    *out = NULL;
    if (!from) return true;
    size_t size = strlen(from) + 1;
    *out = malloc(size);
    if (*out) memcpy(*out, from, size);
    return *out != NULL;
}

typedef struct strings {
    const char *path, *chat_template, *engine_path, *mmproj;
    const cadre_named_text *prompts;
    size_t prompt_count;
} strings;

/* The last step of making options; consumes them. */
static int copy_strings(cadre__llama_options *options, strings from, cadre__llama_options **out)
{
    options->path = options->chat_template = options->engine_path = options->mmproj = NULL;
    options->prompts = NULL;
    options->prompt_count = from.prompt_count;
    if (!copy_string(from.path, &options->path) || !copy_string(from.chat_template, &options->chat_template) ||
        !copy_string(from.engine_path, &options->engine_path) || !copy_string(from.mmproj, &options->mmproj) ||
        !cadre__llama_prompts_copy(from.prompts, from.prompt_count, &options->prompts)) {
        cadre__llama_options_destroy(options);
        return CADRE_ENOMEM;
    }
    *out = options;
    return CADRE_OK;
}

static int32_t or_default(int32_t value, int32_t otherwise)
{
    return value == CADRE_DEFAULT ? otherwise : value;
}

int cadre__llama_options_create(const cadre_llama_options *from, bool path_needed, cadre__llama_options **out)
{
    cadre_llama_options given = CADRE_LLAMA_OPTIONS_INIT;
    int32_t pooling;
    if (!from || from->size < sizeof(from->size) || from->size > sizeof(given)) return CADRE_EINVAL;
    memcpy(&given, from, from->size);
    if (!in_range(&given) || (path_needed && (!given.path || !given.path[0])) || (given.mmproj && !given.mmproj[0]) ||
        !cadre__llama_prompts_sound(given.prompts, given.prompt_count) || !cadre__llama_pooling_named(given.pooling, &pooling))
        return CADRE_EINVAL;

    cadre__llama_options *options = calloc(1, sizeof(*options));
    if (!options) return CADRE_ENOMEM;
    options->context_length = given.context_length;
    options->slots = given.slots;
    options->batch_tokens = or_default(given.batch_tokens, DEFAULT_BATCH_TOKENS);
    options->threads = or_default(given.threads, 0);
    options->gpu_layers = or_default(given.gpu_layers, 0);
    options->use_mmap = given.use_mmap != 0;
    options->pooling = pooling;
    options->causal = given.causal;
    return copy_strings(options, (strings){given.path, given.chat_template, given.engine_path, given.mmproj, given.prompts, given.prompt_count}, out);
}

int cadre__llama_options_copy(const cadre__llama_options *from, cadre__llama_options **out)
{
    cadre__llama_options *options = malloc(sizeof(*options));
    if (!options) return CADRE_ENOMEM;
    *options = *from;
    return copy_strings(options, (strings){from->path, from->chat_template, from->engine_path, from->mmproj, from->prompts, from->prompt_count}, out);
}

void cadre__llama_options_destroy(cadre__llama_options *options)
{
    if (!options) return;
    free(options->path);
    free(options->chat_template);
    free(options->engine_path);
    free(options->mmproj);
    free(options->prompts);
    free(options);
}
