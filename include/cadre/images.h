/* Pictures in the usual formats (libcadre-images): the decoder for pool options, and PNG out.
 *
 *     cadre_image_decoder decoder;
 *     cadre_images_decoder(NULL, &decoder);
 *     pool_options.decoder = &decoder;
 *
 * PNG by libspng, JPEG by libjpeg-turbo, WebP by libwebp; the content decides which, not a name. What comes out is always RGB, 8 bits a channel:
 *
 *     gray               the three channels alike; below 8 bits scaled to 0…255
 *     palette            its colours
 *     16 bits            the upper 8
 *     alpha              dropped, as Pillow's convert("RGB") does, or laid over options.background
 *     CMYK, YCCK (JPEG)  R = (255 − C) × (255 − K) / 255 and so on; Adobe's inverted values are turned first. Colour profiles are ignored
 *     EXIF orientation   applied, in all three formats, unless options.ignore_orientation
 *     animations         the first frame (WebP, APNG)
 *
 * Refused with CADRE_EINPUT and a text that says what and where: other formats, damaged and truncated files (also those that other programs show in part), and
 * a picture above a limit. Width and height are read from the header, and the limits are checked before anything is allocated for pixels. */
#ifndef CADRE_IMAGES_H
#define CADRE_IMAGES_H

#include <cadre/image.h>

CADRE_BEGIN

typedef struct cadre_images_options {
    size_t size;
    int64_t max_pixels;         /* width × height, ≥ 1; default 67,108,864 (64 Mi) */
    int64_t max_side;           /* width and height, 1 … 65,535; default 32,768 */
    int64_t max_encoded_bytes;  /* ≥ 1; default 67,108,864 (64 MiB) */
    int32_t background;         /* 0xRRGGBB, which transparent pixels are laid over; default: alpha is dropped */
    int32_t ignore_orientation; /* 1: pixels as they are stored; default 0 */
} cadre_images_options;
#define CADRE_IMAGES_OPTIONS_INIT                                                                                                                              \
    {                                                                                                                                                          \
        sizeof(cadre_images_options), CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT                                                \
    }

/* Any thread. The decoder for pool_options.decoder. `options` may be NULL; it is read here, and kept by reference in out->self when it is given: alive until
 * the pool's close callback. CADRE_EINVAL: a NULL `out`, a wrong size, an option out of range. */
CADRE_EXTERN int cadre_images_decoder(const cadre_images_options *options, cadre_image_decoder *out);

/* Any thread; blocks for as long as it computes. Without a pool: the same decoder. `detail` (may be NULL) gets the reason of CADRE_EINPUT, NUL-terminated.
 * CADRE_EINVAL, CADRE_EINPUT, CADRE_ENOMEM; on an error nothing is kept. */
CADRE_EXTERN int cadre_images_decode(const cadre_images_options *options, const void *bytes, size_t length, cadre_image *out, cadre_blob *pixels, char *detail,
                                     size_t detail_size);

/* Any thread; blocks for as long as it computes. A PNG file of the picture, 8-bit RGB. out->free frees it. CADRE_EINVAL: a NULL, a wrong size, no pixels, a
 * side above 65,535; CADRE_ENOMEM. */
CADRE_EXTERN int cadre_images_encode_png(const cadre_image *image, cadre_blob *out);

CADRE_END
#endif
