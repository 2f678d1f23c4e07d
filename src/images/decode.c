/* The decoder: options and limits, which of the three formats it is, and what is the same for all of them. */
#include "picture.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_PIXELS (INT64_C(64) << 20)
#define MAX_ENCODED_BYTES (INT64_C(64) << 20)
#define MAX_SIDE 32768
#define MAX_SIDE_LIMIT 65535

int cadre__images_fail(cadre__picture *p, int error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(p->detail, sizeof p->detail, format, arguments);
    va_end(arguments);
    return error;
}

bool cadre__images_cancelled(const cadre__picture *p)
{
    return p->op && cadre_op_cancelled(p->op);
}

int cadre__images_check_size(cadre__picture *p, uint64_t width, uint64_t height)
{
    unsigned long long w = width, h = height;
    if (!w || !h) return cadre__images_fail(p, CADRE_EINPUT, "the picture is %llu × %llu pixels: a side is 0", w, h);
    if (w > p->max_side || h > p->max_side)
        return cadre__images_fail(p, CADRE_EINPUT, "the picture is %llu × %llu pixels, a side above the limit of %u", w, h, (unsigned)p->max_side);
    if (w * h > p->max_pixels)
        return cadre__images_fail(p, CADRE_EINPUT, "the picture is %llu × %llu pixels, above the limit of %llu in all", w, h,
                                  (unsigned long long)p->max_pixels);
    p->width = (uint32_t)width;
    p->height = (uint32_t)height;
    return CADRE_OK;
}

int cadre__images_allocate(cadre__picture *p, uint32_t channels, bool clear)
{
    uint64_t bytes = (uint64_t)p->width * p->height * channels; /* sides are at most 65,535 */
    if (bytes <= SIZE_MAX) p->pixels = clear ? calloc(1, (size_t)bytes) : malloc((size_t)bytes);
    if (!p->pixels) return cadre__images_fail(p, CADRE_ENOMEM, "no memory for %llu bytes of pixels", (unsigned long long)bytes);
    p->capacity = (size_t)bytes;
    return CADRE_OK;
}

void cadre__images_compose(cadre__picture *p)
{
    uint32_t background = (uint32_t)p->background;
    uint32_t under[3] = {background >> 16 & 255, background >> 8 & 255, background & 255};
    size_t count = (size_t)p->width * p->height;
    const uint8_t *from = p->pixels;
    uint8_t *to = p->pixels;
    for (size_t i = 0; i < count; i++, from += 4, to += 3) {
        uint32_t alpha = from[3];
        for (int c = 0; c < 3; c++) to[c] = (uint8_t)((from[c] * alpha + under[c] * (255 - alpha) + 127) / 255);
    }
}

static bool begins_with(const cadre__picture *p, size_t at, const char *bytes, size_t length)
{
    return p->length >= at + length && memcmp(p->bytes + at, bytes, length) == 0;
}

static int decode(cadre__picture *p)
{
    if (p->length > p->max_encoded_bytes)
        return cadre__images_fail(p, CADRE_EINPUT, "the picture has %zu encoded bytes, above the limit of %llu", p->length,
                                  (unsigned long long)p->max_encoded_bytes);
    if (cadre__images_cancelled(p)) return CADRE_ECANCELED;
    p->orientation = 1;
    int rc;
    if (begins_with(p, 0, "\x89PNG\r\n\x1a\n", 8))
        rc = cadre__images_png(p);
    else if (begins_with(p, 0, "\xff\xd8\xff", 3))
        rc = cadre__images_jpeg(p);
    else if (begins_with(p, 0, "RIFF", 4) && begins_with(p, 8, "WEBP", 4))
        rc = cadre__images_webp(p);
    else
        return cadre__images_fail(p, CADRE_EINPUT, "the %zu bytes are no PNG, JPEG or WebP file", p->length);
    if (rc == CADRE_OK && !p->ignore_orientation) rc = cadre__images_orient(p);
    return rc;
}

static bool within(int64_t value, int64_t low, int64_t high)
{
    return value == CADRE_DEFAULT || (value >= low && value <= high);
}

static int64_t or_default(int64_t value, int64_t otherwise)
{
    return value == CADRE_DEFAULT ? otherwise : value;
}

static int read_options(const cadre_images_options *from, cadre__picture *p)
{
    cadre_images_options o = CADRE_IMAGES_OPTIONS_INIT;
    if (from) {
        if (from->size < sizeof from->size || from->size > sizeof o) return CADRE_EINVAL;
        memcpy(&o, from, from->size);
    }
    if (!within(o.max_pixels, 1, INT64_MAX) || !within(o.max_side, 1, MAX_SIDE_LIMIT) || !within(o.max_encoded_bytes, 1, INT64_MAX) ||
        !within(o.background, 0, 0xffffff) || !within(o.ignore_orientation, 0, 1))
        return CADRE_EINVAL;
    p->max_pixels = (uint64_t)or_default(o.max_pixels, MAX_PIXELS);
    p->max_side = (uint32_t)or_default(o.max_side, MAX_SIDE);
    p->max_encoded_bytes = (uint64_t)or_default(o.max_encoded_bytes, MAX_ENCODED_BYTES);
    p->background = o.background;
    p->ignore_orientation = o.ignore_orientation == 1;
    return CADRE_OK;
}

static void free_pixels(void *data, size_t length)
{
    (void)length;
    free(data);
}

/* Decodes; on success the pixels are the caller's. */
static int run(cadre__picture *p, cadre_image *out, cadre_blob *pixels)
{
    int rc = decode(p);
    if (rc != CADRE_OK) {
        free(p->pixels);
        return rc;
    }
    *out = (cadre_image){sizeof *out, p->width, p->height, (size_t)p->width * 3, p->pixels};
    *pixels = (cadre_blob){p->pixels, p->capacity, free_pixels};
    return CADRE_OK;
}

static int decode_for_pool(void *self, cadre_op *op, const void *bytes, size_t length, uint64_t max_pixels, cadre_image *out, cadre_blob *pixels)
{
    cadre__picture p = {.op = op, .bytes = bytes, .length = length};
    int rc = read_options(self, &p);
    if (rc != CADRE_OK) return cadre_op_fail(op, rc, "the options of the image decoder have changed and are out of range");
    if (max_pixels < p.max_pixels) p.max_pixels = max_pixels;
    rc = run(&p, out, pixels);
    return rc == CADRE_OK || rc == CADRE_ECANCELED ? rc : cadre_op_fail(op, rc, "%s", p.detail);
}

int cadre_images_decoder(const cadre_images_options *options, cadre_image_decoder *out)
{
    cadre__picture p = {0};
    if (!out) return CADRE_EINVAL;
    *out = (cadre_image_decoder){0};
    int rc = read_options(options, &p);
    if (rc == CADRE_OK) *out = (cadre_image_decoder){sizeof *out, (void *)(uintptr_t)options, p.max_pixels, p.max_encoded_bytes, decode_for_pool};
    return rc;
}

int cadre_images_decode(const cadre_images_options *options, const void *bytes, size_t length, cadre_image *out, cadre_blob *pixels, char *detail,
                        size_t detail_size)
{
    cadre__picture p = {.bytes = bytes, .length = length};
    if (detail && detail_size) detail[0] = '\0';
    if (out) *out = (cadre_image)CADRE_IMAGE_INIT;
    if (pixels) *pixels = (cadre_blob){0};
    if (!bytes || !out || !pixels) return CADRE_EINVAL;
    int rc = read_options(options, &p);
    if (rc == CADRE_OK) rc = run(&p, out, pixels);
    if (detail && detail_size) snprintf(detail, detail_size, "%s", p.detail);
    return rc;
}
