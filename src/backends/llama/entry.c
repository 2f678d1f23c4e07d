/* The backend's table for the registry: an entry's options, what they need, and how weights and models are made of them.
 *
 * Threads: as cadre/backend.h says of each function. An entry is constant after `open`, so that several loads may use it at once. */
#include "backend.h"

#include <cadre/backend.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH, CONTEXT_LENGTH, SLOTS, BATCH_TOKENS, THREADS, GPU_LAYERS, USE_MMAP, CHAT_TEMPLATE, ENGINE_PATH, MMPROJ, POOLING, CAUSAL, PROMPTS, OPTION_COUNT };

static const cadre_option_spec specs[OPTION_COUNT] = {
    [PATH] = {"path", CADRE_OPTION_PATH, 1, 0, 0, "a GGUF file; of a split one the first part"},
    [CONTEXT_LENGTH] = {"context_length", CADRE_OPTION_INTEGER, 0, 1, INT32_MAX, "tokens one request may use in all; default: the model's own, at most 4096"},
    [SLOTS] = {"slots", CADRE_OPTION_INTEGER, 0, 1, CADRE__LLAMA_SLOTS_MAX,
               "requests one worker runs together, default 4; text embedding: texts per batch, default 32"},
    [BATCH_TOKENS] = {"batch_tokens", CADRE_OPTION_INTEGER, 0, CADRE__LLAMA_BATCH_MIN, CADRE__LLAMA_BATCH_MAX,
                      "tokens one step may process; default 512, for text embedding at least one whole text"},
    [THREADS] = {"threads", CADRE_OPTION_INTEGER, 0, 1, CADRE__LLAMA_THREADS_MAX, "a fixed number; default: a worker's part of the pool's cores at each step"},
    [GPU_LAYERS] = {"gpu_layers", CADRE_OPTION_INTEGER, 0, 0, INT32_MAX, "layers to put on a GPU; default 0; the entry's memory then says what lies there"},
    [USE_MMAP] = {"use_mmap", CADRE_OPTION_BOOLEAN, 0, 0, 1, "true: map the file (default); false: read it into memory"},
    [CHAT_TEMPLATE] = {"chat_template", CADRE_OPTION_STRING, 0, 0, 0, "instead of the model's own: a name or a Jinja text that llama.cpp recognises"},
    [ENGINE_PATH] = {"engine_path", CADRE_OPTION_PATH, 0, 0, 0, "folder of llama.cpp's CPU modules; the first load of the process decides"},
    [MMPROJ] = {"mmproj", CADRE_OPTION_PATH, 0, 0, 0, "vision: a GGUF file with the vision tower and its projector; each worker has its own copy"},
    [POOLING] = {"pooling", CADRE_OPTION_STRING, 0, 0, 0, "text embedding: \"mean\", \"cls\" or \"last\"; default: as the file says"},
    [CAUSAL] = {"causal", CADRE_OPTION_BOOLEAN, 0, 0, 1, "text embedding: false: every token sees all of the text; default: as the file says"},
    [PROMPTS] = {"prompts", CADRE_OPTION_TEXTS, 0, 0, 0, "text embedding: what is put before the texts of a request, by the name of its task"},
};

#define CAPABILITIES ((1u << CADRE_TEXT_TO_TEXT) | (1u << CADRE_TEXT_EMBEDDING) | (1u << CADRE_VISION))

typedef struct entry {
    cadre__llama_options *options;
    cadre_capability capability;
    int32_t parts; /* of the language model's file */
} entry;

static void close_entry(void *data)
{
    entry *self = data;
    if (self) cadre__llama_options_destroy(self->options);
    free(self);
}

/* ---- open ---- */

/* The registry has checked them; a host that calls the table itself may not have. */
static int check_values(const cadre_option_value *values, char *detail, size_t detail_size)
{
    const cadre_option_value *prompts = &values[PROMPTS];
    if (prompts->given && !cadre__llama_prompts_sound(prompts->texts, prompts->text_count)) {
        snprintf(detail, detail_size, "options.prompts has an empty name, a name twice, or more than %d prompts", CADRE__LLAMA_PROMPTS_MAX);
        return CADRE_EINVAL;
    }
    int32_t pooling;
    if (values[POOLING].given && !cadre__llama_pooling_named(values[POOLING].string, &pooling)) {
        snprintf(detail, detail_size, "options.pooling is \"%.32s\"; it may be \"mean\", \"cls\" or \"last\"", values[POOLING].string);
        return CADRE_EINVAL;
    }
    for (size_t i = 0; i < PROMPTS; i++) {
        const cadre_option_spec *spec = &specs[i];
        bool text = spec->type == CADRE_OPTION_STRING || spec->type == CADRE_OPTION_PATH;
        if (values[i].given && (text ? values[i].string != NULL : (double)values[i].integer >= spec->least && (double)values[i].integer <= spec->most))
            continue;
        if (!values[i].given && !spec->required) continue;
        if (text)
            snprintf(detail, detail_size, "options.%s is missing", spec->name);
        else
            snprintf(detail, detail_size, "options.%s is %lld; it may be %.0f to %.0f", spec->name, (long long)values[i].integer, spec->least, spec->most);
        return CADRE_EINVAL;
    }
    return CADRE_OK;
}

static int32_t integer(const cadre_option_value *value)
{
    return value->given ? (int32_t)value->integer : CADRE_DEFAULT;
}

static const char *string(const cadre_option_value *value)
{
    return value->given ? value->string : NULL;
}

static int copy_options(const cadre_option_value *values, cadre__llama_options **out, char *detail, size_t detail_size)
{
    cadre_llama_options options = CADRE_LLAMA_OPTIONS_INIT;
    int rc = check_values(values, detail, detail_size);
    if (rc < 0) return rc;
    options.path = string(&values[PATH]);
    options.context_length = integer(&values[CONTEXT_LENGTH]);
    options.slots = integer(&values[SLOTS]);
    options.batch_tokens = integer(&values[BATCH_TOKENS]);
    options.threads = integer(&values[THREADS]);
    options.gpu_layers = integer(&values[GPU_LAYERS]);
    options.use_mmap = integer(&values[USE_MMAP]);
    options.chat_template = string(&values[CHAT_TEMPLATE]);
    options.engine_path = string(&values[ENGINE_PATH]);
    options.mmproj = string(&values[MMPROJ]);
    options.pooling = string(&values[POOLING]);
    options.causal = integer(&values[CAUSAL]);
    if (values[PROMPTS].given) {
        options.prompts = values[PROMPTS].texts;
        options.prompt_count = values[PROMPTS].text_count;
    }
    rc = cadre__llama_options_create(&options, true, out);
    if (rc == CADRE_EINVAL) snprintf(detail, detail_size, "options.%s is empty", options.path[0] ? "mmproj" : "path"); /* all that check_values leaves */
    return rc;
}

/* Options that other capabilities have; looked at before the file, which they would seem to change. */
static int check_capability(const entry *self, char *detail, size_t detail_size)
{
    const cadre__llama_options *options = self->options;
    const char *wrong = options->prompt_count > 0           ? "prompts are"
                        : options->pooling != CADRE_DEFAULT ? "pooling is"
                        : options->causal != CADRE_DEFAULT  ? "causal is"
                                                            : NULL;
    const char *whose = "text embedding";
    if (self->capability == CADRE_TEXT_EMBEDDING) wrong = NULL;
    if (!wrong && options->mmproj && self->capability != CADRE_VISION) {
        wrong = "mmproj is";
        whose = "vision models";
    }
    if (!wrong) return CADRE_OK;
    snprintf(detail, detail_size, "options.%s for %s; this entry is %s", wrong, whose, cadre_capability_name(self->capability));
    return CADRE_EINVAL;
}

/* The second file of a vision model. */
static int look_at_tower(const entry *self, const cadre__llama_facts *facts, cadre__llama_mmproj *mmproj, char *detail, size_t detail_size)
{
    char reason[480];
    if (self->capability != CADRE_VISION) return CADRE_OK;
    int rc = cadre__llama_mmproj_check(self->options, facts, mmproj, reason, sizeof(reason));
    if (rc < 0) snprintf(detail, detail_size, "options.mmproj: %s", reason);
    return rc;
}

/* Reads the files' headers, and says what the entry needs. What gpu_layers takes away from the host and puts elsewhere is not known here: all of it is said to
 * be the host's, and the entry's own "memory" is where a host that uses a GPU says better. */
static int look(entry *self, cadre_backend_entry *out)
{
    cadre__llama_facts facts;
    cadre__llama_mmproj mmproj = {0};
    int32_t context_length;
    char reason[320];
    int rc = check_capability(self, out->detail, sizeof(out->detail));
    if (rc == CADRE_OK) rc = cadre__llama_file_read(self->options, &facts, out->detail, sizeof(out->detail));
    if (rc < 0) return rc;
    rc = cadre__llama_check(&facts, self->options, self->capability, &context_length, reason, sizeof(reason));
    if (rc < 0) {
        snprintf(out->detail, sizeof(out->detail), "%s: %s", self->options->path, reason);
        return rc;
    }
    rc = look_at_tower(self, &facts, &mmproj, out->detail, sizeof(out->detail));
    if (rc < 0) return rc;
    self->parts = facts.parts;
    out->needs[0] = (cadre_memory_need){CADRE_DEVICE_HOST, facts.tensor_bytes, cadre__llama_worker_bytes(&facts, &mmproj, self->options, context_length)};
    out->need_count = 1;
    return CADRE_OK;
}

static int open_entry(const struct cadre_backend *backend, cadre_backend_entry *given, void **out)
{
    if ((unsigned)given->capability >= CADRE_CAPABILITY_COUNT || !(backend->capabilities >> given->capability & 1u)) {
        snprintf(given->detail, sizeof(given->detail), "%s has no %s models", backend->name, cadre_capability_name(given->capability));
        return CADRE_ECAPABILITY;
    }
    entry *self = calloc(1, sizeof(*self));
    if (!self) return CADRE_ENOMEM;
    self->capability = given->capability;
    int rc = copy_options(given->options, &self->options, given->detail, sizeof(given->detail));
    if (rc == CADRE_OK) rc = look(self, given);
    if (rc == CADRE_OK)
        *out = self;
    else
        close_entry(self);
    return rc;
}

/* ---- loads ---- */

/* All parts of the language model's file, then the tower's; false: out of memory, with what is there already. */
static bool list_files(const entry *self, char **paths)
{
    const cadre__llama_options *options = self->options;
    char part[4096 + 32];
    if (!(paths[0] = strdup(options->path))) return false;
    for (int32_t i = 1; i < self->parts; i++) { /* `open` has found them */
        if (cadre__llama_part_path(options->path, self->parts, i, part, sizeof(part)) < 0 || !(paths[i] = strdup(part))) return false;
    }
    return !options->mmproj || (paths[self->parts] = strdup(options->mmproj)) != NULL;
}

static cadre_weights_future *fetch(void *data, cadre_load_context *context)
{
    const entry *self = data;
    size_t count = (size_t)self->parts + (self->options->mmproj != NULL);
    cadre_weights_future *future = NULL;
    char **paths = calloc(count, sizeof(*paths));
    if (!paths) return NULL;
    if (list_files(self, paths)) future = cadre_load_read_files(context, (const char *const *)paths, count);
    for (size_t i = 0; i < count; i++) free(paths[i]);
    free(paths);
    return future;
}

static int load(void *data, cadre_load_context *context, cadre_weights *fetched, cadre_weights_value *out)
{
    const entry *self = data;
    (void)fetched; /* it was only to be in memory by now */
    return cadre__llama_share_weights(context, self->options, (int)self->capability, out);
}

static int make(void *data, cadre_load_context *context, cadre_weights *source, cadre_any_model *out)
{
    const entry *self = data;
    cadre__llama_options *options;
    int rc = cadre__llama_options_copy(self->options, &options);
    if (rc < 0) return rc;
    if (self->capability == CADRE_TEXT_TO_TEXT)
        rc = cadre__llama_text_around(context, source, &options, &out->text_to_text);
    else if (self->capability == CADRE_VISION)
        rc = cadre__llama_vision_around(context, source, &options, &out->vision);
    else
        rc = cadre__llama_embedding_around(context, source, &options, &out->text_embedding);
    cadre__llama_options_destroy(options); /* NULL where the model took them */
    return rc;
}

const cadre_backend *cadre_llama_backend(void)
{
    static const cadre_backend backend = {.version = CADRE_BACKEND_VERSION,
                                          .size = sizeof(backend),
                                          .name = "llama",
                                          .capabilities = CAPABILITIES,
                                          .shares_weights = 1,
                                          .options = specs,
                                          .option_count = OPTION_COUNT,
                                          .open = open_entry,
                                          .close = close_entry,
                                          .fetch = fetch,
                                          .load = load,
                                          .make = make};
    return &backend;
}
