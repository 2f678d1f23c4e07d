/* PNG out, by libspng. */
#include "picture.h"

#include <spng.h>
#include <stdlib.h>

#define MAX_SIDE 65535

static void free_file(void *data, size_t length)
{
    (void)length;
    free(data);
}

static int encode(spng_ctx *ctx, const cadre_image *image, cadre_blob *out)
{
    struct spng_ihdr ihdr = {.width = image->width, .height = image->height, .bit_depth = 8, .color_type = SPNG_COLOR_TYPE_TRUECOLOR};
    int error = spng_set_option(ctx, SPNG_ENCODE_TO_BUFFER, 1);
    if (!error) error = spng_set_ihdr(ctx, &ihdr);
    if (!error) error = spng_encode_image(ctx, NULL, 0, SPNG_FMT_PNG, SPNG_ENCODE_PROGRESSIVE | SPNG_ENCODE_FINALIZE);
    for (uint32_t y = 0; !error && y < image->height; y++) error = spng_encode_row(ctx, image->pixels + y * image->stride, (size_t)image->width * 3);
    if (error != SPNG_EOI) return CADRE_ENOMEM; /* all else has been checked */
    size_t length = 0;
    void *file = spng_get_png_buffer(ctx, &length, &error);
    if (!file) return CADRE_ENOMEM;
    *out = (cadre_blob){file, length, free_file};
    return CADRE_OK;
}

int cadre_images_encode_png(const cadre_image *image, cadre_blob *out)
{
    if (out) *out = (cadre_blob){0};
    if (!image || !out || image->size != sizeof *image || !image->pixels) return CADRE_EINVAL;
    if (image->width < 1 || image->height < 1 || image->width > MAX_SIDE || image->height > MAX_SIDE) return CADRE_EINVAL;
    if (image->stride < (size_t)image->width * 3 || image->stride > SIZE_MAX / image->height) return CADRE_EINVAL;
    spng_ctx *ctx = spng_ctx_new(SPNG_CTX_ENCODER);
    if (!ctx) return CADRE_ENOMEM;
    int rc = encode(ctx, image, out);
    spng_ctx_free(ctx);
    return rc;
}
