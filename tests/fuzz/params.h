/* The parameter structs of the five request functions, made from bytes, and what the contract says about them: an independent reading of the headers. */
#ifndef CADRE_FUZZ_PARAMS_H
#define CADRE_FUZZ_PARAMS_H

#include "fuzz.h"

#define PICTURES_MAX 4

typedef union any_params {
    size_t size;
    cadre_generate_params generate;
    cadre_embed_params embed;
    cadre_embed_images_params embed_images;
    cadre_describe_params describe;
    cadre_generate_image_params generate_image;
} any_params;

typedef struct params_setup {
    cadre_capability capability;
    bool decoder, fetcher;
    const char *key; /* that is served */
    void (*on_text)(cadre_request *request, const char *text, size_t length);
    void (*on_generation)(cadre_request *request, int status, const cadre_generation *result);
    void (*on_embeddings)(cadre_request *request, int status, const cadre_embeddings *result);
    void (*on_step)(cadre_request *request, uint32_t done, uint32_t total);
    void (*on_image)(cadre_request *request, int status, const cadre_image *result);
    void (*release)(void *data);
    void *data;
} params_setup;

/* The struct as the library should see it: the fields that `size` leaves out are defaults. What it points to lies in `scraps`. */
void params_read(fuzz_bytes *b, const params_setup *setup, fuzz_scrap **scraps, any_params *out);

typedef struct params_verdict {
    bool invalid, unsupported, unknown_key; /* CADRE_EINVAL, CADRE_ENOTSUP, CADRE_ENOENT: at least one of those that hold is answered */
    bool unsure;                            /* the headers leave it open */
} params_verdict;
params_verdict params_judge(const any_params *p, const params_setup *setup);

/* The options that the struct has, NULL when its size is wrong. */
const cadre_request_options *params_options(const any_params *p, cadre_capability capability);

/* NULL: what an operation reads is what was asked. Else the field that differs. */
const char *params_differ(const any_params *p, const params_setup *setup, const fuzz_seen *seen);

bool is_utf8(const char *text);

#endif
