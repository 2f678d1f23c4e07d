/* The stable-diffusion.cpp backend (libcadre-diffusion): text-to-image, Stable Diffusion 3.5 and FLUX.
 *
 * The registry knows it as "diffusion", and an entry's "options" are the fields of cadre_diffusion_options: {"diffusion_model": "flux.gguf", "clip_l": …}. It
 * is found as the module cadre-diffusion.so; a host that links libcadre-diffusion may register it instead (cadre_diffusion_backend), or spawn from the loader
 * below. The engine's own copy of ggml is hidden inside, so it runs beside llama.cpp in one process.
 *
 * Files: safetensors or GGUF. Either one `path` with everything, or the parts. The engine ends the process on some unsuitable files; so headers, tensors and
 * sizes are checked before it is called, and what does not fit is CADRE_EFORMAT with a text that names the file and what is missing: FLUX needs clip_l or
 * t5xxl, SD 3.5 needs at least one of clip_l with clip_g, or t5xxl; both need a vae or a taesd, unless `path` has them.
 *
 * One set of weights is loaded for an entry's workers. The engine runs one picture at a time with it, so workers of one entry take turns; max_workers 1 loses
 * nothing. The thread count is fixed when it is loaded. A cancel takes effect between two sampling steps; loading cannot be stopped within one file's tensors,
 * and its late result is dropped. */
#ifndef CADRE_DIFFUSION_H
#define CADRE_DIFFUSION_H

#include <cadre.h>
#include <cadre/backend.h>

CADRE_BEGIN

typedef struct cadre_diffusion_options {
    size_t size;                 /* strings are copied; NULL: none */
    const char *path;            /* one file with all parts; or: */
    const char *diffusion_model; /* FLUX's or SD 3.5's transformer */
    const char *vae;             /* the autoencoder; or */
    const char *taesd;           /* its small replacement */
    const char *clip_l;          /* text encoders */
    const char *clip_g;
    const char *t5xxl;
    int32_t threads;       /* 1 … 512; default: the pool's cores */
    int32_t width, height; /* of a request that names none: 64 … 4,096, multiples of 16; default 1,024 */
    int32_t steps;         /* likewise: 1 … 1,000; default 4 */
    float guidance;        /* likewise: classifier-free guidance, ≥ 0; 1 and 0: none; default: 1 for FLUX, 3.5 for SD 3.5 */
    int32_t vae_tiling;    /* 1: the picture is decoded in tiles, which takes less memory; default 0 */
} cadre_diffusion_options;
#define CADRE_DIFFUSION_OPTIONS_INIT                                                                                                                           \
    {                                                                                                                                                          \
        sizeof(cadre_diffusion_options), NULL, NULL, NULL, NULL, NULL, NULL, NULL, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT,                 \
            CADRE_DEFAULT_FLOAT, CADRE_DEFAULT                                                                                                                 \
    }

/* Any thread; static storage. For cadre_backend_register. Errors of an entry: CADRE_EFORMAT, CADRE_ECAPABILITY, CADRE_EINVAL, with a detail that names the file
 * or the option. */
CADRE_EXTERN const cadre_backend *cadre_diffusion_backend(void);

/* Any thread. Makes a loader that serves one spawn (consumed by it, also when it fails). CADRE_EINVAL: a NULL, a wrong size, or an option out of range;
 * CADRE_ENOMEM. What is wrong with the files is told by the load. */
CADRE_EXTERN int cadre_diffusion_text_to_image(const cadre_diffusion_options *options, cadre_text_to_image_loader *out);

/* Loop thread. Loads the weights once, on a loader thread, for shared loaders, which take turns. `owned` (may be NULL) is consumed and pays for the weights.
 * CADRE_EINVAL, CADRE_ENOMEM, CADRE_ECLOSED. */
CADRE_EXTERN int cadre_diffusion_weights(cadre_pool *pool, const cadre_diffusion_options *options, cadre_reservation *owned, cadre_weights_future **out);
CADRE_EXTERN int cadre_diffusion_text_to_image_shared(cadre_weights_future *weights, const cadre_diffusion_options *options, cadre_text_to_image_loader *out);

CADRE_END
#endif
