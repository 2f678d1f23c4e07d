/* The stable-diffusion.cpp backend (libcadre-diffusion): text-to-image, Stable Diffusion 3.5 and FLUX.
 *
 * The registry knows it as "diffusion", and an entry's "options" are the fields of cadre_diffusion_options: {"diffusion_model": "flux.gguf", "clip_l": …}. It
 * is found as the module cadre-diffusion.so; a host that links libcadre-diffusion may register it instead (cadre_diffusion_backend), or spawn from the loader
 * below. The engine's own copy of ggml is hidden inside, so it runs beside llama.cpp in one process.
 *
 * Files: safetensors or GGUF. Either one `path` with everything, or the parts; a part beside a `path` that lacks it is possible. The engine ends the process on
 * some unsuitable files; so headers, tensors and sizes are checked before it is called, and what does not fit is CADRE_EFORMAT with a text that names the file
 * and what is wrong or missing. FLUX.1 needs clip_l or t5xxl, SD 3.5 at least one of clip_l, clip_g and t5xxl; both need a vae or a taesd (which is used where
 * both are). Text encoders are CLIP-L, CLIP-G and T5-XXL in their one size. Other families (SD 1 to 3's U-Nets, FLUX.2, Chroma, …) are CADRE_EFORMAT.
 *
 * One set of weights is loaded for an entry's workers. The engine draws one picture at a time with it, so workers of one entry take turns; max_workers 1 loses
 * nothing. The weights' charge includes one picture of the options' size, and each worker adds 1 MiB; the one that draws also uses the threads of those that
 * wait, except where `threads` is fixed. A cancel takes effect between two sampling steps, and before and after them; reading a model, encoding the prompt and
 * decoding the picture cannot be stopped, and their late result is dropped. A step may take minutes, so workers declare no heartbeat. Where a host sets
 * hang_timeout_ms, a step, an encoding and a decoding must each fit in it; when the worker that draws hangs, those that wait for their turn count as hanging
 * too.
 *
 * A failed check inside the engine, which would have ended the process, ends the worker instead: its request, and those of other workers with the same weights,
 * get CADRE_EWORKER, and no further worker is made of them (the load fails with CADRE_EWORKER). An entry loads its files again once these weights are let go
 * of: when no worker is left and none is wanted. A preloaded entry keeps them until the
 * host unloads it (cadre_model_unload), one with min_workers until it is removed, a pinned one until it is unpinned, and a cadre_weights_future while it is
 * held.
 *
 * Requests: width and height are multiples of 16 from 64 to 4,096 (SD 3.5 large: 3,072, where its learned positions end), else CADRE_EINPUT. The
 * options' width × height is also the most pixels that a request may have, for memory is charged for so many: more is CADRE_EINPUT, other sides of the same or
 * a smaller area are fine. A prompt has at most 2,048 bytes (CADRE_ETOOLONG); "(red:1.3)" and "[red]" weigh words as is usual. Sampling is Euler over the
 * family's own schedule. Without a seed each picture has another one. FLUX.1-dev takes guidance as an input of the model (its "distilled guidance");
 * FLUX.1-schnell has none, there any value changes nothing. With SD 3.5 it is classifier-free guidance, which draws each step twice; 1 and less mean none,
 * which turbo models want. The default is 3.5. A negative prompt needs classifier-free guidance: CADRE_EINPUT for FLUX, and for SD 3.5 without guidance. */
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
    int32_t threads;       /* 1 … 512, fixed; default: a part of the pool's cores, asked for before each step */
    int32_t width, height; /* of a request that names none, and the most pixels of any: 64 … 4,096, multiples of 16; default 1,024 */
    int32_t steps;         /* likewise: 1 … 1,000; default 4 */
    float guidance;        /* likewise: ≥ 0; default 3.5; see above */
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

/* Loop thread. Loads the weights once, on a loader thread, for shared loaders, which take turns. `owned` (may be NULL) is consumed and pays for the weights
 * and one picture of the options' size. A shared loader has its own width and height; where they are larger, its spawn's reservation pays for the difference.
 * CADRE_EINVAL, CADRE_ENOMEM, CADRE_ECLOSED. */
CADRE_EXTERN int cadre_diffusion_weights(cadre_pool *pool, const cadre_diffusion_options *options, cadre_reservation *owned, cadre_weights_future **out);
CADRE_EXTERN int cadre_diffusion_text_to_image_shared(cadre_weights_future *weights, const cadre_diffusion_options *options, cadre_text_to_image_loader *out);

CADRE_END
#endif
