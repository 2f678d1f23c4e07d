/* Pictures in the usual formats (libcadre-images): the decoder for pool options, and PNG out.
 *
 *     cadre_image_decoder decoder;
 *     cadre_images_decoder(NULL, &decoder);
 *     pool_options.decoder = &decoder;
 *
 * PNG by libspng, JPEG by libjpeg-turbo (baseline, progressive, arithmetic-coded), WebP by libwebp (lossy, lossless); the content decides which, not a name.
 * What comes out is always RGB, 8 bits a channel, and bit for bit what Pillow's convert("RGB") gives, but where this says otherwise:
 *
 *     gray               the three channels alike; below 8 bits scaled to 0…255
 *     palette            its colours
 *     16 bits            the upper 8 (also of gray, which Pillow cuts off at 255 instead)
 *     alpha              dropped, or laid over options.background: round((colour × alpha + background × (255 − alpha)) / 255), also for a PNG's colour that is
 *                        declared transparent
 *     CMYK, YCCK (JPEG)  R = round((255 − C) × (255 − K) / 255) and so on. With Adobe's marker the values are inverted ones and turned first; without it they
 *                        are not (Pillow turns them always). Colour profiles and gamma are ignored
 *     EXIF orientation   applied, in all three formats (APP1, eXIf, EXIF), unless options.ignore_orientation; a damaged EXIF block is ignored
 *     animations         the first frame, on a transparent black canvas (WebP); the default image (APNG)
 *
 * Refused with CADRE_EINPUT and a text that says what and where: other formats; damaged and truncated files, also those that other programs show in part: what
 * libjpeg only warns about, a wrong checksum in any chunk of a PNG file; a JPEG file of more than 100 scans; a picture above a limit. What follows the end of
 * the picture in the file is not looked at. Width and height are read from the header, and the limits are checked before anything is allocated for pixels.
 *
 * Memory, in bytes a pixel: 3 for the result; with a background and transparency 4; while it is turned by an orientation that swaps the sides 3 more; while a
 * progressive JPEG file is decoded up to 8 more, a WebP file 4. The decoders' own memory and the pixels come from malloc. (libwebp says of some wants of memory
 * that the file is damaged; what it needs is tried first, so that this is rare.) A cancelled request stops between rows (PNG, JPEG) or after 16 KiB of the file
 * (WebP). */
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

/* Any thread; blocks for as long as it computes. Without a pool: the same decoder. `detail` (may be NULL) gets the reason of CADRE_EINPUT and CADRE_ENOMEM,
 * NUL-terminated and cut to detail_size. pixels->free frees them. CADRE_EINVAL, CADRE_EINPUT, CADRE_ENOMEM; CADRE_ENOTSUP: libwebp is of another version; on an
 * error nothing is kept, and *out and *pixels are empty. */
CADRE_EXTERN int cadre_images_decode(const cadre_images_options *options, const void *bytes, size_t length, cadre_image *out, cadre_blob *pixels, char *detail,
                                     size_t detail_size);

/* Any thread; blocks for as long as it computes. A PNG file of the picture, 8-bit RGB. out->free frees it. CADRE_EINVAL: a NULL, a wrong size, no pixels, a
 * stride below 3 × width, a side above 65,535; CADRE_ENOMEM. */
CADRE_EXTERN int cadre_images_encode_png(const cadre_image *image, cadre_blob *out);

CADRE_END
#endif
