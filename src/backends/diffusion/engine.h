/* What the engine's library offers besides its own C interface: its two long calls, with everything that a C caller cannot do about C++ (engine.cpp). */
#ifndef CADRE_DIFFUSION_ENGINE_H
#define CADRE_DIFFUSION_ENGINE_H

#include <stable-diffusion.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    CADRE_SD_OK = 0,
    CADRE_SD_STOPPED = 1, /* `step` said so */
    CADRE_SD_FAILED = 2,
    CADRE_SD_NO_MEMORY = 3,
    CADRE_SD_REFUSED = 4, /* the prompt */
    CADRE_SD_BROKEN = 5   /* a check of the engine failed, which would have ended the process: its context must not be touched any more */
};

/* One call; the engine's callbacks, which are the process's, find it by the thread that they run on. */
typedef struct cadre_sd_call {
    void *data;
    int (*step)(void *data, int done, int total);         /* sampling, 0 … total; 1: stop here */
    void (*loaded)(void *data, int done, int total);      /* loading, tensors */
    void (*buffer)(void *data, const char *name, double); /* MiB that the engine says it took; `name`: "params" for all weights, else whose compute buffer */
    int steps;                                            /* of the picture */
    char error[256];                                      /* the first error line; "" */
} cadre_sd_call;

/* On CADRE_SD_BROKEN what was loaded so far is lost. */
SD_API int cadre_sd_load(const sd_ctx_params_t *params, cadre_sd_call *call, sd_ctx_t **out);
/* After any result but CADRE_SD_BROKEN the context is as before. */
SD_API int cadre_sd_generate(sd_ctx_t *context, const sd_img_gen_params_t *params, cadre_sd_call *call, sd_image_t *out);
/* NULL, or the instructions that this build needs and this processor lacks. */
SD_API const char *cadre_sd_lacks(void);

#ifdef __cplusplus
}
#endif
#endif
