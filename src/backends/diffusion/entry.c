/* The backend's table for the registry: an entry's options, what they need, and how weights and models are made of them.
 *
 * Threads: as cadre/backend.h says of each function. An entry is constant after `open`, so that several loads may use it at once. */
#include "backend.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { PATH, DIFFUSION_MODEL, VAE, TAESD, CLIP_L, CLIP_G, T5XXL, THREADS, WIDTH, HEIGHT, STEPS, GUIDANCE, VAE_TILING, OPTION_COUNT };

static const cadre_option_spec specs[OPTION_COUNT] = {
    [PATH] = {"path", CADRE_OPTION_PATH, 0, 0, 0, "one safetensors or GGUF file with all parts; or:"},
    [DIFFUSION_MODEL] = {"diffusion_model", CADRE_OPTION_PATH, 0, 0, 0, "the transformer of FLUX or SD 3.5"},
    [VAE] = {"vae", CADRE_OPTION_PATH, 0, 0, 0, "the autoencoder; or"},
    [TAESD] = {"taesd", CADRE_OPTION_PATH, 0, 0, 0, "its small replacement"},
    [CLIP_L] = {"clip_l", CADRE_OPTION_PATH, 0, 0, 0, "text encoder CLIP-L"},
    [CLIP_G] = {"clip_g", CADRE_OPTION_PATH, 0, 0, 0, "text encoder CLIP-G (SD 3.5)"},
    [T5XXL] = {"t5xxl", CADRE_OPTION_PATH, 0, 0, 0, "text encoder T5-XXL"},
    [THREADS] = {"threads", CADRE_OPTION_INTEGER, 0, 1, CADRE__DIFFUSION_THREADS_MAX, "a fixed number; default: a part of the pool's cores at each step"},
    [WIDTH] = {"width", CADRE_OPTION_INTEGER, 0, CADRE__DIFFUSION_SIZE_MIN, CADRE__DIFFUSION_SIZE_MAX, "of requests that name none; default 1024"},
    [HEIGHT] = {"height", CADRE_OPTION_INTEGER, 0, CADRE__DIFFUSION_SIZE_MIN, CADRE__DIFFUSION_SIZE_MAX, "likewise"},
    [STEPS] = {"steps", CADRE_OPTION_INTEGER, 0, 1, CADRE__DIFFUSION_STEPS_MAX, "likewise; default 4"},
    [GUIDANCE] = {"guidance", CADRE_OPTION_NUMBER, 0, 0, 1000, "likewise; default 3.5; FLUX.1-schnell has none"},
    [VAE_TILING] = {"vae_tiling", CADRE_OPTION_BOOLEAN, 0, 0, 1, "true: decode in tiles, which takes less memory"},
};

typedef struct entry {
    cadre__diffusion_options *options;
} entry;

static void close_entry(void *data)
{
    entry *self = data;
    if (self) cadre__diffusion_options_destroy(self->options);
    free(self);
}

/* ---- open ---- */

static int32_t integer(const cadre_option_value *value)
{
    return value->given ? (int32_t)value->integer : CADRE_DEFAULT;
}

static const char *string(const cadre_option_value *value)
{
    return value->given ? value->string : NULL;
}

/* The registry has checked the ranges; a host that calls the table itself may not have. */
static int check_values(const cadre_option_value *values, cadre_backend_entry *given)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const cadre_option_spec *spec = &specs[i];
        bool text = spec->type == CADRE_OPTION_PATH;
        double value = spec->type == CADRE_OPTION_NUMBER ? values[i].number : (double)values[i].integer;
        if (!values[i].given || (text ? values[i].string != NULL : value >= spec->least && value <= spec->most)) continue;
        if (text) return cadre_backend_fail(given, CADRE_EINVAL, "options.%s is NULL", spec->name);
        return cadre_backend_fail(given, CADRE_EINVAL, "options.%s is %g; it may be %g to %g", spec->name, value, spec->least, spec->most);
    }
    return CADRE_OK;
}

static int copy_options(const cadre_option_value *values, cadre__diffusion_options **out, cadre_backend_entry *given)
{
    cadre_diffusion_options options = CADRE_DIFFUSION_OPTIONS_INIT;
    char reason[128] = "";
    int rc = check_values(values, given);
    if (rc < 0) return rc;
    options.path = string(&values[PATH]);
    options.diffusion_model = string(&values[DIFFUSION_MODEL]);
    options.vae = string(&values[VAE]);
    options.taesd = string(&values[TAESD]);
    options.clip_l = string(&values[CLIP_L]);
    options.clip_g = string(&values[CLIP_G]);
    options.t5xxl = string(&values[T5XXL]);
    options.threads = integer(&values[THREADS]);
    options.width = integer(&values[WIDTH]);
    options.height = integer(&values[HEIGHT]);
    options.steps = integer(&values[STEPS]);
    if (values[GUIDANCE].given) options.guidance = (float)values[GUIDANCE].number;
    options.vae_tiling = integer(&values[VAE_TILING]);
    rc = cadre__diffusion_options_create(&options, true, out, reason, sizeof(reason));
    return rc == CADRE_EINVAL ? cadre_backend_fail(given, rc, "options: %s", reason) : rc;
}

/* Reads the files' headers, and says what the entry needs. */
static int look(const entry *self, cadre_backend_entry *out)
{
    const cadre__diffusion_options *options = self->options;
    cadre__diffusion_facts facts;
    int rc = cadre__diffusion_look(options, &facts, out->detail, sizeof(out->detail));
    if (rc < 0) return rc;
    if ((uint32_t)options->width > facts.most || (uint32_t)options->height > facts.most)
        return cadre_backend_fail(out, CADRE_EINVAL, "options: width or height is more than the model's %u", facts.most);
    uint64_t picture = cadre__diffusion_picture_bytes(&facts, (uint32_t)options->width, (uint32_t)options->height, options->vae_tiling);
    out->needs[0] = (cadre_memory_need){CADRE_DEVICE_HOST, facts.weights_bytes + picture, CADRE__DIFFUSION_WORKER_BYTES}; /* workers draw in turn */
    out->need_count = 1;
    return CADRE_OK;
}

static int open_entry(const struct cadre_backend *backend, cadre_backend_entry *given, void **out)
{
    if (given->capability != CADRE_TEXT_TO_IMAGE)
        return cadre_backend_fail(given, CADRE_ECAPABILITY, "%s has no %s models", backend->name, cadre_capability_name(given->capability));
    entry *self = calloc(1, sizeof(*self));
    if (!self) return CADRE_ENOMEM;
    int rc = copy_options(given->options, &self->options, given);
    if (rc == CADRE_OK) rc = look(self, given);
    if (rc == CADRE_OK)
        *out = self;
    else
        close_entry(self);
    return rc;
}

/* ---- loads ---- */

static int load(void *data, cadre_load_context *context, cadre_weights *fetched, cadre_weights_value *out)
{
    const entry *self = data;
    (void)fetched; /* this backend has no `fetch` */
    return cadre__diffusion_share_weights(context, self->options, out);
}

static int make(void *data, cadre_load_context *context, cadre_weights *source, cadre_any_model *out)
{
    const entry *self = data;
    cadre__diffusion_options *options;
    int rc = cadre__diffusion_options_copy(self->options, &options);
    if (rc < 0) return rc;
    rc = cadre__diffusion_around(context, source, &options, &out->text_to_image);
    cadre__diffusion_options_destroy(options); /* NULL where the model took them */
    return rc;
}

const cadre_backend *cadre_diffusion_backend(void)
{
    static const cadre_backend backend = {.version = CADRE_BACKEND_VERSION,
                                          .size = sizeof(backend),
                                          .name = "diffusion",
                                          .capabilities = 1u << CADRE_TEXT_TO_IMAGE,
                                          .shares_weights = 1,
                                          .options = specs,
                                          .option_count = OPTION_COUNT,
                                          .open = open_entry,
                                          .close = close_entry,
                                          .load = load,
                                          .make = make};
    return &backend;
}
