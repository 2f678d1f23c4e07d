/* Pictures: how a request names one, and how the host's decoder and fetcher make pixels of it. The core decodes nothing itself. */
#ifndef CADRE_IMAGE_H
#define CADRE_IMAGE_H

#include <cadre/worker.h>
#include <string.h>

CADRE_BEGIN

/* Pixels: RGB, 8 bits a channel, row-major from the top left; row y begins at pixels + y × stride; stride ≥ 3 × width. */
typedef struct cadre_image {
    size_t size;
    uint32_t width, height; /* ≥ 1 */
    size_t stride;          /* bytes */
    const uint8_t *pixels;  /* stride × height bytes */
} cadre_image;
#define CADRE_IMAGE_INIT                                                                                                                                       \
    {                                                                                                                                                          \
        sizeof(cadre_image), 0, 0, 0, NULL                                                                                                                     \
    }

typedef enum cadre_image_form {
    CADRE_IMAGE_RGB8 = 0, /* `rgb8` */
    CADRE_IMAGE_PATH =
        1, /* `string`: a file, as the system names it, relative to the working folder; read on the worker's thread. What fails is CADRE_EINPUT */
    CADRE_IMAGE_BYTES = 2,  /* `bytes`, `length`: an encoded picture (PNG, JPEG, … whatever the decoder knows) */
    CADRE_IMAGE_BASE64 = 3, /* `string`: base64 (RFC 4648: padded, no white space) of an encoded picture, or a data: URL of it */
    CADRE_IMAGE_URL = 4     /* `string`: needs a fetcher */
} cadre_image_form;

typedef struct cadre_image_input {
    size_t size;
    cadre_image_form form;
    cadre_image rgb8;
    const char *string;
    const void *bytes;
    size_t length;
} cadre_image_input;
#define CADRE_IMAGE_INPUT_INIT                                                                                                                                 \
    {                                                                                                                                                          \
        sizeof(cadre_image_input), CADRE_IMAGE_RGB8, CADRE_IMAGE_INIT, NULL, NULL, 0                                                                           \
    }

static inline cadre_image_input cadre_image_from_rgb8(const uint8_t *pixels, uint32_t width, uint32_t height)
{
    cadre_image_input input = CADRE_IMAGE_INPUT_INIT;
    input.rgb8.width = width;
    input.rgb8.height = height;
    input.rgb8.stride = (size_t)width * 3;
    input.rgb8.pixels = pixels;
    return input;
}

/* form: CADRE_IMAGE_PATH, CADRE_IMAGE_BASE64 or CADRE_IMAGE_URL. */
static inline cadre_image_input cadre_image_from_string(cadre_image_form form, const char *string)
{
    cadre_image_input input = CADRE_IMAGE_INPUT_INIT;
    input.form = form;
    input.string = string;
    return input;
}

static inline cadre_image_input cadre_image_from_bytes(const void *bytes, size_t length)
{
    cadre_image_input input = CADRE_IMAGE_INPUT_INIT;
    input.form = CADRE_IMAGE_BYTES;
    input.bytes = bytes;
    input.length = length;
    return input;
}

/* Memory that a decoder or fetcher made. */
typedef struct cadre_blob {
    void *data;
    size_t length;
    void (*free)(void *data, size_t length); /* any thread */
} cadre_blob;

/* Encoded bytes in, pixels out. */
typedef struct cadre_image_decoder {
    size_t size;
    void *self;
    uint64_t max_pixels;        /* width × height above this must be refused from the header, before anything is allocated */
    uint64_t max_encoded_bytes; /* files and base64 above this are refused by the core, before they are read */
    /* Worker thread, several at a time; may block. Fills *out and the blob that owns its pixels. CADRE_EINPUT: not a picture, damaged, or too large
     * (cadre_op_fail says which). */
    int (*decode)(void *self, cadre_op *op, const void *bytes, size_t length, uint64_t max_pixels, cadre_image *out, cadre_blob *pixels);
} cadre_image_decoder;

/* A URL in, encoded bytes out. The library brings a request's pictures before a worker is asked for: no thread waits for the network. libcadre-fetch has one
 * (cadre/fetch.h). */
typedef struct cadre_image_fetcher {
    size_t size;
    void *self;
    /* Loop thread; must not block. Starts to bring what `url` names (valid during the call), at most max_bytes of it. The future resolves to weights whose
     * payload is a cadre_blob * (freed by their destroy), or fails: CADRE_EINPUT where the URL is not allowed, not there or too large, else what went wrong,
     * with a detail that names the host and never a password, token or query. NULL: out of memory. Releasing the future cancels it. */
    cadre_weights_future *(*fetch)(void *self, cadre_pool *pool, const char *url, uint64_t max_bytes);
} cadre_image_fetcher;

CADRE_END
#endif
