/* The host's options: range checks, defaults, copies. */
#include "backend.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const cadre__part_names[CADRE__PARTS] = {"path", "diffusion_model", "vae", "taesd", "clip_l", "clip_g", "t5xxl"};

static bool within(int32_t value, int32_t low, int32_t high)
{
    return value == CADRE_DEFAULT || (value >= low && value <= high);
}

static bool is_side(int32_t value)
{
    return within(value, CADRE__DIFFUSION_SIZE_MIN, CADRE__DIFFUSION_SIZE_MAX) && (value == CADRE_DEFAULT || value % CADRE__DIFFUSION_SIZE_STEP == 0);
}

/* NULL, or what is wrong. */
static const char *wrong(const cadre_diffusion_options *o, bool files_needed)
{
    bool all = o->path && o->path[0], transformer = o->diffusion_model && o->diffusion_model[0];
    if (files_needed && !all && !transformer) return "needs path or diffusion_model";
    if (all && transformer) return "has both path and diffusion_model";
    if (!within(o->threads, 1, CADRE__DIFFUSION_THREADS_MAX)) return "threads is not 1 to 512";
    if (!is_side(o->width) || !is_side(o->height)) return "width and height are multiples of 16 from 64 to 4096";
    if (!within(o->steps, 1, CADRE__DIFFUSION_STEPS_MAX)) return "steps is not 1 to 1000";
    if (!isnan(o->guidance) && (o->guidance < 0 || isinf(o->guidance))) return "guidance is negative or infinite";
    return within(o->vae_tiling, 0, 1) ? NULL : "vae_tiling is not 0 or 1";
}

static int32_t or_default(int32_t value, int32_t otherwise)
{
    return value == CADRE_DEFAULT ? otherwise : value;
}

/* Copies of `from`, NULL of what is NULL or empty. Consumes *options when out of memory. */
static int copy_paths(cadre__diffusion_options *options, const char *const *from, cadre__diffusion_options **out)
{
    memset(options->paths, 0, sizeof(options->paths));
    for (int part = 0; part < CADRE__PARTS; part++) {
        if (!from[part] || !from[part][0]) continue;
        size_t size = strlen(from[part]) + 1;
        options->paths[part] = malloc(size);
        if (!options->paths[part]) {
            cadre__diffusion_options_destroy(options);
            return CADRE_ENOMEM;
        }
        memcpy(options->paths[part], from[part], size);
    }
    *out = options;
    return CADRE_OK;
}

int cadre__diffusion_options_create(const cadre_diffusion_options *from, bool files_needed, cadre__diffusion_options **out, char *reason, size_t reason_size)
{
    cadre_diffusion_options given = CADRE_DIFFUSION_OPTIONS_INIT;
    const char *problem = "a wrong size";
    if (from && from->size >= sizeof(from->size) && from->size <= sizeof(given)) {
        memcpy(&given, from, from->size);
        problem = wrong(&given, files_needed);
    }
    if (problem) {
        if (reason) snprintf(reason, reason_size, "%s", problem);
        return CADRE_EINVAL;
    }
    cadre__diffusion_options *options = calloc(1, sizeof(*options));
    if (!options) return CADRE_ENOMEM;
    options->threads = or_default(given.threads, 0);
    options->width = or_default(given.width, 1024);
    options->height = or_default(given.height, 1024);
    options->steps = or_default(given.steps, 4);
    options->guidance = given.guidance;
    options->vae_tiling = given.vae_tiling == 1;
    const char *const paths[CADRE__PARTS] = {given.path, given.diffusion_model, given.vae, given.taesd, given.clip_l, given.clip_g, given.t5xxl};
    return copy_paths(options, paths, out);
}

int cadre__diffusion_options_copy(const cadre__diffusion_options *from, cadre__diffusion_options **out)
{
    const char *paths[CADRE__PARTS];
    cadre__diffusion_options *options = malloc(sizeof(*options));
    if (!options) return CADRE_ENOMEM;
    *options = *from;
    for (int part = 0; part < CADRE__PARTS; part++) paths[part] = from->paths[part];
    return copy_paths(options, paths, out);
}

void cadre__diffusion_options_destroy(cadre__diffusion_options *options)
{
    if (!options) return;
    for (int part = 0; part < CADRE__PARTS; part++) free(options->paths[part]);
    free(options);
}
