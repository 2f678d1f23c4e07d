/* Text-to-image: a request becomes the engine's parameters, its picture the request's.
 *
 * Threads: creation on the loader's thread or the loop, generate on the worker's, destruction on the worker's or the reaper's. The engine's context belongs to
 * the worker whose turn it is (weights.c); `on_step` runs inside the engine on that worker's thread. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "backend.h"
#include "tensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

/* The engine splits prompts by recursion over their characters. Every 75 tokens are another run of the encoders, which no
 * cancel stops, and more for each step to attend to. */
#define PROMPT_MAX 2048

typedef struct painter {
    cadre__diffusion_weights *weights;
    bool owns_weights;
    cadre__diffusion_options *options;
} painter;

/* One picture. */
typedef struct drawing {
    painter *self;
    cadre_op *op;
} drawing;

/* ---- what the engine reports ---- */

static void use_threads(const painter *self, const cadre_op *op)
{
    cadre__diffusion_weights *weights = self->weights;
    uint32_t threads = (uint32_t)self->options->threads;
    if (threads == 0) { /* those that wait for their turn count as busy, and leave their part unused */
        threads = cadre_op_threads(op) * (1 + atomic_load(&weights->waiting));
        if (threads > weights->cores) threads = weights->cores > 0 ? weights->cores : 1;
    }
    sd_ctx_set_n_threads(weights->context, (int)threads);
}

static int on_step(void *data, int done, int total)
{
    drawing *now = data;
    cadre_op_step(now->op, (uint32_t)done, (uint32_t)total);
    cadre__diffusion_sign(now->self->weights);
    if (cadre_op_cancelled(now->op)) return 1;
    use_threads(now->self, now->op);
    return 0;
}

static void on_buffer(void *data, const char *name, double mib)
{
    drawing *now = data;
    if (strcmp(name, "params") != 0 && mib > now->self->weights->compute_mib) now->self->weights->compute_mib = mib;
}

/* ---- parameters ---- */

static int check_text(cadre_op *op, const char *what, const char *text)
{
    if (strlen(text) > PROMPT_MAX) return cadre_op_fail(op, CADRE_ETOOLONG, "the %s has more than %d bytes", what, PROMPT_MAX);
    return cadre__utf8_valid(text, strlen(text)) ? CADRE_OK : cadre_op_fail(op, CADRE_EINPUT, "the %s is not UTF-8", what);
}

static int check_side(cadre_op *op, const char *what, int32_t value, uint32_t most)
{
    if (value >= CADRE__DIFFUSION_SIZE_MIN && (uint32_t)value <= most && value % CADRE__DIFFUSION_SIZE_STEP == 0) return CADRE_OK;
    return cadre_op_fail(op, CADRE_EINPUT, "%s is %d; it may be a multiple of %d from %d to %u", what, (int)value, CADRE__DIFFUSION_SIZE_STEP,
                         CADRE__DIFFUSION_SIZE_MIN, most);
}

/* The options' size is what memory was charged for. */
static int check_memory(const painter *self, cadre_op *op, const sd_img_gen_params_t *params)
{
    const cadre__diffusion_options *options = self->options;
    const cadre__diffusion_facts *facts = &self->weights->facts;
    uint64_t paid = cadre__diffusion_picture_bytes(facts, (uint32_t)options->width, (uint32_t)options->height, options->vae_tiling);
    uint64_t bytes = cadre__diffusion_picture_bytes(facts, (uint32_t)params->width, (uint32_t)params->height, options->vae_tiling);
    if (bytes <= paid) return CADRE_OK;
    return cadre_op_fail(op, CADRE_EINPUT, "a picture of %d × %d takes %llu MiB; this model was loaded for %d × %d", params->width, params->height,
                         (unsigned long long)((bytes + (1 << 20) - 1) >> 20), (int)options->width, (int)options->height);
}

static int64_t random_seed(void)
{
    uint32_t seed;
    struct timespec now;
    if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) == (ssize_t)sizeof(seed)) return seed;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint32_t)now.tv_nsec ^ (uint32_t)now.tv_sec;
}

/* FLUX takes its guidance as an input, where it takes any; SD 3 draws each step with and without the prompt and goes on from the difference. */
static int set_guidance(const painter *self, cadre_op *op, const cadre_text_to_image_input *input, sd_guidance_params_t *out)
{
    float guidance = !isnan(input->guidance) ? input->guidance : self->options->guidance;
    bool flux = self->weights->facts.family == CADRE__FAMILY_FLUX;
    out->txt_cfg = 1;
    if (flux) {
        out->distilled_guidance = isnan(guidance) ? 3.5f : guidance;
    } else {
        out->txt_cfg = isnan(guidance) ? 3.5f : guidance > 1 ? guidance : 1;
    }
    if (out->txt_cfg > 1 || !input->negative_prompt || !input->negative_prompt[0]) return CADRE_OK;
    return cadre_op_fail(op, CADRE_EINPUT, "a negative prompt needs %s", flux ? "SD 3: FLUX has no use for one" : "a guidance above 1");
}

static int fill(const painter *self, cadre_op *op, const cadre_text_to_image_input *input, sd_img_gen_params_t *out)
{
    const cadre__diffusion_options *options = self->options;
    uint32_t most = self->weights->facts.most;
    sd_img_gen_params_init(out);
    out->prompt = input->prompt;
    out->negative_prompt = input->negative_prompt ? input->negative_prompt : "";
    out->width = input->width == CADRE_DEFAULT ? options->width : input->width;
    out->height = input->height == CADRE_DEFAULT ? options->height : input->height;
    out->sample_params.sample_steps = input->steps == CADRE_DEFAULT ? options->steps : input->steps;
    out->seed = input->seed == CADRE_DEFAULT ? random_seed() : input->seed;
    out->vae_tiling_params.enabled = options->vae_tiling;
    int rc = check_side(op, "width", out->width, most);
    if (rc == CADRE_OK) rc = check_side(op, "height", out->height, most);
    if (rc == CADRE_OK) rc = check_memory(self, op, out);
    if (rc == CADRE_OK) rc = check_text(op, "prompt", out->prompt);
    if (rc == CADRE_OK) rc = check_text(op, "negative prompt", out->negative_prompt);
    if (rc == CADRE_OK && (out->sample_params.sample_steps < 1 || out->sample_params.sample_steps > CADRE__DIFFUSION_STEPS_MAX))
        rc = cadre_op_fail(op, CADRE_EINPUT, "steps is %d; it may be 1 to %d", out->sample_params.sample_steps, CADRE__DIFFUSION_STEPS_MAX);
    return rc < 0 ? rc : set_guidance(self, op, input, &out->sample_params.guidance);
}

/* ---- operations ---- */

/* What the worker's reservation pays for: its own copy with a picture, or by how much its pictures are larger than the one that shared weights pay for. */
static int attach(void *data, cadre_op *op)
{
    const painter *self = data;
    const cadre__diffusion_options *options = self->options;
    const cadre__diffusion_weights *weights = self->weights;
    uint64_t bytes = CADRE__DIFFUSION_WORKER_BYTES;
    uint64_t picture = cadre__diffusion_picture_bytes(&weights->facts, (uint32_t)options->width, (uint32_t)options->height, options->vae_tiling);
    if (self->owns_weights)
        bytes += weights->bytes;
    else if (picture > weights->picture_bytes)
        bytes += picture - weights->picture_bytes;
    cadre_op_measured(op, CADRE_DEVICE_HOST, bytes);
    return CADRE_OK;
}

static void free_pixels(void *data, size_t length)
{
    (void)length;
    free(data);
}

static int hand_over(cadre_op *op, const sd_image_t *from, const sd_img_gen_params_t *params, cadre_image *out, cadre_blob *pixels)
{
    if (from->channel != 3 || from->width != (uint32_t)params->width || from->height != (uint32_t)params->height) {
        free(from->data);
        return cadre_op_fail(op, CADRE_EENGINE, "stable-diffusion.cpp made a picture of %u × %u with %u channels", from->width, from->height, from->channel);
    }
    out->width = from->width;
    out->height = from->height;
    out->stride = (size_t)from->width * 3;
    out->pixels = from->data;
    *pixels = (cadre_blob){from->data, out->stride * from->height, free_pixels};
    return CADRE_OK;
}

/* On the worker's turn. */
static int draw(painter *self, cadre_op *op, const sd_img_gen_params_t *params, cadre_image *out, cadre_blob *pixels)
{
    cadre__diffusion_weights *weights = self->weights;
    drawing now = {self, op};
    cadre_sd_call call = {.data = &now, .step = on_step, .buffer = on_buffer, .steps = params->sample_params.sample_steps};
    sd_image_t image = {0};
    if (weights->broken) return cadre_op_fail(op, CADRE_EWORKER, "stable-diffusion.cpp gave up on an earlier picture: the model must be loaded again");
    use_threads(self, op);
    switch (cadre_sd_generate(weights->context, params, &call, &image)) {
    case CADRE_SD_OK: return hand_over(op, &image, params, out, pixels);
    case CADRE_SD_STOPPED: return CADRE_ECANCELED;
    case CADRE_SD_REFUSED: return cadre_op_fail(op, CADRE_EINPUT, "stable-diffusion.cpp cannot read the prompt: %s", call.error);
    case CADRE_SD_NO_MEMORY: return CADRE_ENOMEM;
    case CADRE_SD_BROKEN: weights->broken = true; return cadre_op_fail(op, CADRE_EWORKER, "stable-diffusion.cpp gave up: %s", call.error);
    default: return cadre_op_fail(op, CADRE_EENGINE, "stable-diffusion.cpp: %s", call.error[0] ? call.error : "no picture");
    }
}

static int generate(void *data, cadre_op *op, const cadre_text_to_image_input *input, cadre_image *out, cadre_blob *pixels)
{
    painter *self = data;
    sd_img_gen_params_t params;
    int rc = fill(self, op, input, &params);
    if (rc == CADRE_OK) rc = cadre__diffusion_take(self->weights, op);
    if (rc < 0) return rc;
    rc = draw(self, op, &params, out, pixels);
    cadre__diffusion_give(self->weights);
    return rc;
}

static void destroy(void *data)
{
    painter *self = data;
    if (self->owns_weights) cadre__diffusion_weights_destroy(self->weights);
    cadre__diffusion_options_destroy(self->options);
    free(self);
}

int cadre__diffusion_painter_create(cadre_load_context *context, cadre__diffusion_weights *weights, bool owned, cadre__diffusion_options **options,
                                    cadre_text_to_image_model *out)
{
    static const cadre_text_to_image_ops ops = {.size = sizeof(ops), .attach = attach, .destroy = destroy, .generate = generate};
    uint32_t most = weights->facts.most;
    const cadre__diffusion_options *given = *options;
    int rc = CADRE_OK;
    if ((uint32_t)given->width > most || (uint32_t)given->height > most)
        rc = cadre_load_fail(context, CADRE_EINVAL, "width or height is more than the model's %u", most);
    if (rc == CADRE_OK && weights->broken) rc = cadre_load_fail(context, CADRE_EWORKER, "stable-diffusion.cpp gave up on a picture with these weights");
    painter *self = rc == CADRE_OK ? calloc(1, sizeof(*self)) : NULL;
    if (!self) {
        if (owned) cadre__diffusion_weights_destroy(weights);
        return rc < 0 ? rc : CADRE_ENOMEM;
    }
    self->weights = weights;
    self->owns_weights = owned;
    self->options = *options;
    *options = NULL;
    out->ops = &ops;
    out->self = self;
    out->threads = (uint32_t)self->options->threads;
    return CADRE_OK;
}
