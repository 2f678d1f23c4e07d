/* What the files of this backend share.
 *
 * options   the host's, checked, completed and copied
 * facts     what the files say: family, parts, sizes, memory. Read before the engine sees a file
 * weights   an engine's context with all parts, and the turn that its workers take
 * painter   text-to-image: one worker around weights
 *
 * The engine is C++ (engine.h). It ends the process at what it does not expect; what is checked against here comes first, and engine.cpp catches what is left.
 */
#ifndef CADRE_DIFFUSION_BACKEND_H
#define CADRE_DIFFUSION_BACKEND_H

#include "engine.h"

#include <cadre/diffusion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* ---- options.c ---- */

typedef enum cadre__part {
    CADRE__PART_ALL,
    CADRE__PART_TRANSFORMER,
    CADRE__PART_VAE,
    CADRE__PART_TAESD,
    CADRE__PART_CLIP_L,
    CADRE__PART_CLIP_G,
    CADRE__PART_T5XXL,
    CADRE__PARTS
} cadre__part;

/* "path", "diffusion_model", …: the options' names. */
extern const char *const cadre__part_names[CADRE__PARTS];

typedef struct cadre__diffusion_options {
    char *paths[CADRE__PARTS]; /* NULL: none */
    int32_t threads;           /* 0: a part of the pool's cores, asked for before each step */
    int32_t width, height, steps;
    float guidance; /* NaN: the family's */
    bool vae_tiling;
} cadre__diffusion_options;

#define CADRE__DIFFUSION_THREADS_MAX 512
#define CADRE__DIFFUSION_SIZE_MIN 64
#define CADRE__DIFFUSION_SIZE_MAX 4096
#define CADRE__DIFFUSION_SIZE_STEP 16
#define CADRE__DIFFUSION_STEPS_MAX 1000

/* `files_needed`: the options name a transformer. CADRE_EINVAL, with a reason if `reason` is not NULL; CADRE_ENOMEM. */
int cadre__diffusion_options_create(const cadre_diffusion_options *from, bool files_needed, cadre__diffusion_options **out, char *reason, size_t reason_size);
int cadre__diffusion_options_copy(const cadre__diffusion_options *from, cadre__diffusion_options **out);
void cadre__diffusion_options_destroy(cadre__diffusion_options *options);

/* ---- files.c ---- */

typedef enum cadre__family { CADRE__FAMILY_FLUX, CADRE__FAMILY_SD3 } cadre__family;

typedef struct cadre__diffusion_facts {
    cadre__family family;
    bool guided; /* FLUX.1-dev: takes its guidance as an input */
    bool t5;
    bool tiny;                     /* a TAESD decodes */
    uint32_t hidden, heads, depth; /* of the transformer */
    uint32_t most;                 /* pixels of a side */
    uint64_t weights_bytes;        /* as the engine keeps them */
} cadre__diffusion_facts;

/* Blocks: reads the headers of all files. CADRE_EFORMAT with a detail that names the file and what is wrong or missing; CADRE_ENOMEM. */
int cadre__diffusion_look(const cadre__diffusion_options *options, cadre__diffusion_facts *out, char *detail, size_t detail_size);

/* ---- estimate.c ---- */

/* What a picture of that size takes while it is made. It depends on the number of pixels only, and grows with it. */
uint64_t cadre__diffusion_picture_bytes(const cadre__diffusion_facts *facts, uint32_t width, uint32_t height, bool tiling);

/* ---- weights.c ---- */

typedef struct cadre__diffusion_weights {
    sd_ctx_t *context;
    cadre__diffusion_facts facts;
    uint32_t cores;         /* of the pool */
    uint64_t picture_bytes; /* one of the options' size */
    uint64_t bytes;         /* all that is taken, with that picture */
    atomic_uint waiting;    /* workers that wait for their turn */
    atomic_uint signs;      /* of life, of whose turn it is; who waits passes them on as its own */
    double params_mib;      /* as the engine said */
    double compute_mib;     /* the largest of its compute buffers so far; of whose turn it is */
    pthread_mutex_t lock;
    pthread_cond_t free;
    bool taken;         /* by a worker */
    atomic_bool broken; /* never touched again */
} cadre__diffusion_weights;

/* Loader thread. */
int cadre__diffusion_weights_load(cadre_load_context *context, const cadre__diffusion_options *options, cadre__diffusion_weights **out);
void cadre__diffusion_weights_destroy(void *weights);
/* Worker thread. Waits for the turn; CADRE_ECANCELED. */
int cadre__diffusion_take(cadre__diffusion_weights *weights, cadre_op *op);
void cadre__diffusion_give(cadre__diffusion_weights *weights);
/* Whose turn it is: a sign of life for those that wait. */
void cadre__diffusion_sign(cadre__diffusion_weights *weights);

/* ---- generate.c ---- */

/* What a worker has of its own beside the weights and the picture that they pay for. */
#define CADRE__DIFFUSION_WORKER_BYTES (UINT64_C(1) << 20)

/* Makes a model around weights; with `owned` they are destroyed with it, on failure too. Takes over *options on success. Any thread. */
int cadre__diffusion_painter_create(cadre_load_context *context, cadre__diffusion_weights *weights, bool owned, cadre__diffusion_options **options,
                                    cadre_text_to_image_model *out);

/* ---- loader.c ---- */

/* Loader thread: weights that any number of workers share. */
int cadre__diffusion_share_weights(cadre_load_context *context, const cadre__diffusion_options *options, cadre_weights_value *out);
/* A model around shared weights (does not block) or, where `shared` is NULL, around its own copy (loader thread). Takes over *options on success. */
int cadre__diffusion_around(cadre_load_context *context, cadre_weights *shared, cadre__diffusion_options **options, cadre_text_to_image_model *out);

#endif
