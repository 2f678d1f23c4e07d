/* Weights: an engine's context with all parts. It draws one picture at a time, so its workers take turns.
 *
 * Threads: loaded on a loader thread. `taken` is under `lock`; who has taken it alone touches `context` and `compute_mib`, and sets `broken`. Waiting workers
 * count themselves in `waiting`, whose part of the cores the one that draws uses. They look at their request's cancel a few times a second, and give a sign of
 * life only where the one that draws has given one: when that one hangs, they count as hanging too, instead of waiting for ever. Destroyed on a reaper thread,
 * when no worker is left. */
#include "backend.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOK_NS 20000000 /* between looks at a cancel */

/* ---- loading ---- */

typedef struct loading {
    cadre_load_context *context;
    cadre__diffusion_weights *weights;
} loading;

static void on_loaded(void *data, int done, int total)
{
    loading *self = data;
    cadre_load_progress(self->context, total > 0 ? (double)done / total : 0, 0, 0, "read");
}

static void on_buffer(void *data, const char *name, double mib)
{
    loading *self = data;
    if (strcmp(name, "params") == 0) self->weights->params_mib = mib;
}

static int start_engine(cadre_load_context *context, const cadre__diffusion_options *options, cadre__diffusion_weights *weights)
{
    loading self = {context, weights};
    cadre_sd_call call = {.data = &self, .loaded = on_loaded, .buffer = on_buffer};
    char *const *paths = options->paths;
    sd_ctx_params_t params;
    sd_ctx_params_init(&params);
    params.model_path = paths[CADRE__PART_ALL];
    params.diffusion_model_path = paths[CADRE__PART_TRANSFORMER];
    params.vae_path = paths[CADRE__PART_VAE];
    params.taesd_path = paths[CADRE__PART_TAESD];
    params.clip_l_path = paths[CADRE__PART_CLIP_L];
    params.clip_g_path = paths[CADRE__PART_CLIP_G];
    params.t5xxl_path = paths[CADRE__PART_T5XXL];
    params.vae_decode_only = true;
    params.free_params_immediately = false; /* else a context draws one picture */
    params.n_threads = options->threads > 0 ? options->threads : (int)cadre_load_threads(context);
    const char *path = paths[CADRE__PART_ALL] ? paths[CADRE__PART_ALL] : paths[CADRE__PART_TRANSFORMER];
    switch (cadre_sd_load(&params, &call, &weights->context)) {
    case CADRE_SD_OK: return CADRE_OK;
    case CADRE_SD_NO_MEMORY: return CADRE_ENOMEM;
    case CADRE_SD_BROKEN: weights->context = NULL; return cadre_load_fail(context, CADRE_EENGINE, "%s: stable-diffusion.cpp gave up: %s", path, call.error);
    default: return cadre_load_fail(context, CADRE_EFORMAT, "%s: %s", path, call.error[0] ? call.error : "stable-diffusion.cpp refused it");
    }
}

static int load(cadre_load_context *context, const cadre__diffusion_options *options, cadre__diffusion_weights *weights)
{
    char detail[480] = "";
    const char *lacks = cadre_sd_lacks();
    if (lacks) return cadre_load_fail(context, CADRE_ENOTSUP, "stable-diffusion.cpp was built for processors with %s", lacks);
    int rc = cadre__diffusion_look(options, &weights->facts, detail, sizeof(detail));
    if (rc < 0) return *detail ? cadre_load_fail(context, rc, "%s", detail) : rc;
    if (cadre_load_cancelled(context)) return CADRE_ECANCELED;
    rc = start_engine(context, options, weights);
    weights->cores = cadre_load_cores(context);
    weights->picture_bytes = cadre__diffusion_picture_bytes(&weights->facts, (uint32_t)options->width, (uint32_t)options->height, options->vae_tiling);
    weights->bytes = (weights->params_mib > 0 ? (uint64_t)(weights->params_mib * 1024 * 1024) : weights->facts.weights_bytes) + weights->picture_bytes;
    return rc == CADRE_OK && cadre_load_cancelled(context) ? CADRE_ECANCELED : rc;
}

int cadre__diffusion_weights_load(cadre_load_context *context, const cadre__diffusion_options *options, cadre__diffusion_weights **out)
{
    pthread_condattr_t attributes;
    cadre__diffusion_weights *weights = calloc(1, sizeof(*weights));
    if (!weights) return CADRE_ENOMEM;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&weights->lock, NULL);
    pthread_cond_init(&weights->free, &attributes);
    pthread_condattr_destroy(&attributes);
    int rc = load(context, options, weights);
    if (rc < 0)
        cadre__diffusion_weights_destroy(weights);
    else
        *out = weights;
    return rc;
}

void cadre__diffusion_weights_destroy(void *payload)
{
    cadre__diffusion_weights *weights = payload;
    if (!weights) return;
    if (weights->context && !weights->broken) free_sd_ctx(weights->context);
    pthread_cond_destroy(&weights->free);
    pthread_mutex_destroy(&weights->lock);
    free(weights);
}

/* ---- turns ---- */

static void soon(struct timespec *out)
{
    clock_gettime(CLOCK_MONOTONIC, out);
    out->tv_nsec += LOOK_NS;
    if (out->tv_nsec < 1000000000) return;
    out->tv_nsec -= 1000000000;
    out->tv_sec++;
}

int cadre__diffusion_take(cadre__diffusion_weights *weights, cadre_op *op)
{
    struct timespec until;
    int rc = CADRE_OK;
    pthread_mutex_lock(&weights->lock);
    unsigned seen = atomic_load(&weights->signs);
    atomic_fetch_add(&weights->waiting, 1);
    while (weights->taken && rc == CADRE_OK) {
        soon(&until);
        pthread_cond_timedwait(&weights->free, &weights->lock, &until);
        unsigned signs = atomic_load(&weights->signs);
        if (signs != seen) cadre_op_heartbeat(op);
        seen = signs;
        if (cadre_op_cancelled(op)) rc = CADRE_ECANCELED;
    }
    atomic_fetch_sub(&weights->waiting, 1);
    if (rc == CADRE_OK) {
        weights->taken = true;
        cadre_op_heartbeat(op);
        cadre__diffusion_sign(weights);
    }
    pthread_mutex_unlock(&weights->lock);
    return rc;
}

void cadre__diffusion_sign(cadre__diffusion_weights *weights)
{
    atomic_fetch_add(&weights->signs, 1);
}

void cadre__diffusion_give(cadre__diffusion_weights *weights)
{
    pthread_mutex_lock(&weights->lock);
    weights->taken = false;
    pthread_cond_signal(&weights->free);
    pthread_mutex_unlock(&weights->lock);
}
