/* The backend's table for the registry: an entry's options, what they need, and how weights and models are made of them.
 *
 * Threads: as cadre/backend.h says of each function. An entry is constant after `open`, so that several loads may use it at once. */
#include "backend.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PATH,
    VOCABULARY,
    THREADS,
    MAX_BATCH,
    CONTEXT_LENGTH,
    TRUNCATE,
    LOWER_CASE,
    POOLING,
    NORMALIZE,
    IMAGE_SIZE,
    MEAN,
    DEVIATION = MEAN + 3,
    PROMPTS = DEVIATION + 3,
    TEXT_BYTES,
    OPTION_COUNT
};

static const cadre_option_spec specs[OPTION_COUNT] = {
    [PATH] = {"path", CADRE_OPTION_PATH, 1, 0, 0, "an ONNX file; its external data lies beside it"},
    [VOCABULARY] = {"vocabulary", CADRE_OPTION_PATH, 0, 0, 0,
                    "text: WordPiece's vocab.txt, or a GGUF file with a tokenizer; default: \"vocab.txt\" in the file's folder"},
    [THREADS] = {"threads", CADRE_OPTION_INTEGER, 0, 1, CADRE__ONNX_THREADS_MAX, "of the engine; default: the pool's cores"},
    [MAX_BATCH] = {"max_batch", CADRE_OPTION_INTEGER, 0, 1, CADRE__ONNX_BATCH_MAX, "inputs of one call; default 32"},
    [CONTEXT_LENGTH] = {"context_length", CADRE_OPTION_INTEGER, 0, CADRE__ONNX_CONTEXT_MIN, CADRE__ONNX_CONTEXT_MAX,
                        "text: tokens one text may have; default 512"},
    [TRUNCATE] = {"truncate", CADRE_OPTION_BOOLEAN, 0, 0, 1, "text: true: cut longer texts; false: refuse them (default)"},
    [LOWER_CASE] = {"lower_case", CADRE_OPTION_BOOLEAN, 0, 0, 1, "text: true: lower case without accents, for uncased models (default)"},
    [POOLING] = {"pooling", CADRE_OPTION_STRING, 0, 0, 0, "text, for an output per token: \"mean\" (default), \"cls\" or \"last\""},
    [NORMALIZE] = {"normalize", CADRE_OPTION_BOOLEAN, 0, 0, 1, "true: vectors of length 1 (default); false: as the model gives them"},
    [IMAGE_SIZE] = {"image_size", CADRE_OPTION_INTEGER, 0, 1, CADRE__ONNX_IMAGE_MAX, "image: pixels a side, where the file leaves them free"},
    [MEAN] = {"image_mean_r", CADRE_OPTION_NUMBER, 0, -1000, 1000, "image: mean of red, of 0 to 1; default CLIP's"},
    [MEAN + 1] = {"image_mean_g", CADRE_OPTION_NUMBER, 0, -1000, 1000, "image: mean of green, of 0 to 1; default CLIP's"},
    [MEAN + 2] = {"image_mean_b", CADRE_OPTION_NUMBER, 0, -1000, 1000, "image: mean of blue, of 0 to 1; default CLIP's"},
    [DEVIATION] = {"image_deviation_r", CADRE_OPTION_NUMBER, 0, 1e-6, 1000, "image: standard deviation of red; default CLIP's"},
    [DEVIATION + 1] = {"image_deviation_g", CADRE_OPTION_NUMBER, 0, 1e-6, 1000, "image: standard deviation of green; default CLIP's"},
    [DEVIATION + 2] = {"image_deviation_b", CADRE_OPTION_NUMBER, 0, 1e-6, 1000, "image: standard deviation of blue; default CLIP's"},
    [PROMPTS] = {"prompts", CADRE_OPTION_TEXTS, 0, 0, 0, "text: what is put before a text, by the name that a request's task gives"},
    [TEXT_BYTES] = {"text_bytes", CADRE_OPTION_INTEGER, 0, CADRE__ONNX_TEXT_BYTES_MIN, CADRE__ONNX_TEXT_BYTES_MAX,
                    "text: memory that one text may take; texts are shorter where context_length would take more; default: no limit"},
};

#define CAPABILITIES ((1u << CADRE_IMAGE_EMBEDDING) | (1u << CADRE_TEXT_EMBEDDING))

typedef struct entry {
    cadre__onnx_options *options;
    cadre_capability capability;
    char **files; /* the ONNX file, what lies beside it, and the vocabulary */
    size_t file_count;
} entry;

static void close_entry(void *data)
{
    entry *self = data;
    if (!self) return;
    for (size_t i = 0; i < self->file_count; i++) free(self->files[i]);
    free(self->files);
    cadre__onnx_options_destroy(self->options);
    free(self);
}

/* ---- open ---- */

/* The registry has checked them; a host that calls the table itself may not have. */
static int check_values(const cadre_option_value *values, char *detail, size_t detail_size)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const cadre_option_spec *spec = &specs[i];
        bool text = spec->type == CADRE_OPTION_STRING || spec->type == CADRE_OPTION_PATH;
        if (spec->type == CADRE_OPTION_TEXTS) continue; /* cadre__onnx_options_create looks at them */
        double number = spec->type == CADRE_OPTION_NUMBER ? values[i].number : (double)values[i].integer;
        if (values[i].given && (text ? values[i].string != NULL : number >= spec->least && number <= spec->most)) continue;
        if (!values[i].given && !spec->required) continue;
        if (text)
            snprintf(detail, detail_size, "options.%s is missing", spec->name);
        else
            snprintf(detail, detail_size, "options.%s is %g; it may be %g to %g", spec->name, number, spec->least, spec->most);
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

static float number(const cadre_option_value *value)
{
    return value->given ? (float)value->number : CADRE_DEFAULT_FLOAT;
}

static int copy_options(const cadre_option_value *values, cadre__onnx_options **out, char *detail, size_t detail_size)
{
    cadre_onnx_options options = CADRE_ONNX_OPTIONS_INIT;
    int rc = check_values(values, detail, detail_size);
    if (rc < 0) return rc;
    options.path = string(&values[PATH]);
    options.vocabulary = string(&values[VOCABULARY]);
    options.threads = integer(&values[THREADS]);
    options.max_batch = integer(&values[MAX_BATCH]);
    options.context_length = integer(&values[CONTEXT_LENGTH]);
    options.truncate = integer(&values[TRUNCATE]);
    options.lower_case = integer(&values[LOWER_CASE]);
    options.pooling = string(&values[POOLING]);
    options.normalize = integer(&values[NORMALIZE]);
    options.image_size = integer(&values[IMAGE_SIZE]);
    for (int i = 0; i < 3; i++) {
        options.image_mean[i] = number(&values[MEAN + i]);
        options.image_deviation[i] = number(&values[DEVIATION + i]);
    }
    if (values[TEXT_BYTES].given) options.text_bytes = values[TEXT_BYTES].integer;
    if (values[PROMPTS].given) {
        options.prompts = values[PROMPTS].texts;
        options.prompt_count = values[PROMPTS].text_count;
    }
    rc = cadre__onnx_options_create(&options, true, out);
    if (rc != CADRE_EINVAL) return rc;
    bool empty = !options.path[0] || (options.vocabulary && !options.vocabulary[0]);
    if (empty)
        snprintf(detail, detail_size, "options.%s is empty", options.path[0] ? "vocabulary" : "path");
    else if (options.prompt_count > 0 && !cadre__onnx_prompts_sound(&options))
        snprintf(detail, detail_size, "options.prompts needs 1 to %d texts, each with a name of its own", CADRE__ONNX_PROMPTS_MAX);
    else
        snprintf(detail, detail_size, "options.pooling is \"%.64s\"; it may be \"mean\", \"cls\" or \"last\"", options.pooling ? options.pooling : "");
    return rc;
}

static int note_file(void *data, const char *path, uint64_t bytes)
{
    entry *self = data;
    (void)bytes;
    for (size_t i = 0; i < self->file_count; i++)
        if (strcmp(self->files[i], path) == 0) return CADRE_OK;
    char **grown = realloc(self->files, (self->file_count + 1) * sizeof(*grown));
    if (!grown) return CADRE_ENOMEM;
    self->files = grown;
    grown[self->file_count] = strdup(path);
    if (!grown[self->file_count]) return CADRE_ENOMEM;
    self->file_count++;
    return CADRE_OK;
}

static int look_at_vocabulary(entry *self, uint64_t *bytes, char *detail, size_t detail_size)
{
    char path[4096];
    const char *named = self->options->vocabulary;
    if (!named && !cadre__onnx_beside(self->options->path, "vocab.txt", path, sizeof(path))) {
        snprintf(detail, detail_size, "the path of the vocabulary is too long");
        return CADRE_EFORMAT;
    }
    int rc = cadre__onnx_tokenizer_read(named ? named : path, NULL, bytes, detail, detail_size);
    return rc == CADRE_OK ? note_file(self, named ? named : path, 0) : rc;
}

/* Walks the file, without the engine, and says what the entry needs. */
static int look(entry *self, cadre__onnx_facts *facts, cadre_backend_entry *out)
{
    cadre__onnx_plan plan;
    cadre__onnx_cost cost;
    char reason[CADRE__ONNX_DETAIL];
    uint64_t words = 0;
    int rc = cadre__onnx_file_read(self->options->path, facts, note_file, self, out->detail, sizeof(out->detail));
    if (rc == CADRE_OK) rc = note_file(self, self->options->path, facts->file_bytes);
    if (rc < 0) return rc;
    rc = cadre__onnx_plan_make(&facts->signature, (int)self->capability, self->options, false, &plan, reason, sizeof(reason));
    if (rc < 0) {
        snprintf(out->detail, sizeof(out->detail), "%.160s: %.340s", self->options->path, reason);
        return rc;
    }
    if (self->capability == CADRE_TEXT_EMBEDDING) rc = look_at_vocabulary(self, &words, out->detail, sizeof(out->detail));
    if (rc < 0) return rc;
    cadre__onnx_cost_guess(facts, &plan, &cost);
    out->needs[0] = (cadre_memory_need){CADRE_DEVICE_HOST, cadre__onnx_sum(cadre__onnx_weights_guess(facts), words),
                                        cadre__onnx_worker_bytes(&cost, &plan, self->options)};
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
    cadre__onnx_facts *facts = calloc(1, sizeof(*facts));
    int rc = self && facts ? CADRE_OK : CADRE_ENOMEM;
    if (self) self->capability = given->capability;
    if (rc == CADRE_OK) rc = copy_options(given->options, &self->options, given->detail, sizeof(given->detail));
    if (rc == CADRE_OK) rc = look(self, facts, given);
    free(facts);
    if (rc == CADRE_OK)
        *out = self;
    else
        close_entry(self);
    return rc;
}

/* ---- loads ---- */

static cadre_weights_future *fetch(void *data, cadre_load_context *context)
{
    const entry *self = data;
    return cadre_load_read_files(context, (const char *const *)self->files, self->file_count);
}

static int load(void *data, cadre_load_context *context, cadre_weights *fetched, cadre_weights_value *out)
{
    const entry *self = data;
    (void)fetched; /* it was only to be in memory by now */
    return cadre__onnx_share_weights(context, self->options, (int)self->capability, out);
}

static int make(void *data, cadre_load_context *context, cadre_weights *source, cadre_any_model *out)
{
    const entry *self = data;
    cadre__onnx_options *options;
    int rc = cadre__onnx_options_copy(self->options, &options);
    if (rc < 0) return rc;
    if (self->capability == CADRE_TEXT_EMBEDDING)
        rc = cadre__onnx_text_around(context, source, &options, &out->text_embedding);
    else
        rc = cadre__onnx_image_around(context, source, &options, &out->image_embedding);
    cadre__onnx_options_destroy(options); /* NULL where the model took them */
    return rc;
}

const cadre_backend *cadre_onnx_backend(void)
{
    static const cadre_backend backend = {.version = CADRE_BACKEND_VERSION,
                                          .size = sizeof(backend),
                                          .name = "onnx",
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
