/* The orientation tag of an EXIF block, and turning the pixels by it.
 *
 * An EXIF block is a TIFF file (TIFF 6.0, section 2): byte order, 42, the offset of the first directory; a directory is a count and entries of 12 bytes: tag,
 * type, count, value. Tag 0x0112 (Orientation) is one SHORT; some writers make it a LONG. */
#include "picture.h"

#include <stdlib.h>

#define TAG_ORIENTATION 0x0112
#define TYPE_SHORT 3
#define TYPE_LONG 4
#define TILE 32 /* pixels: of a tile's rows and columns both stay in the first cache */

static uint32_t read_number(const uint8_t *at, int bytes, bool little)
{
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++) value = value << 8 | at[little ? bytes - 1 - i : i];
    return value;
}

int cadre__images_exif_orientation(const uint8_t *exif, size_t length)
{
    if (length >= 6 && memcmp(exif, "Exif\0\0", 6) == 0) { /* JPEG's prefix, which some writers leave in the other formats */
        exif += 6;
        length -= 6;
    }
    if (length < 8) return 1;
    bool little = memcmp(exif, "II", 2) == 0;
    if ((!little && memcmp(exif, "MM", 2) != 0) || read_number(exif + 2, 2, little) != 42) return 1;
    size_t at = read_number(exif + 4, 4, little);
    if (at > length || length - at < 2) return 1;
    uint32_t count = read_number(exif + at, 2, little);
    at += 2;
    for (; count > 0 && length - at >= 12; count--, at += 12) {
        if (read_number(exif + at, 2, little) != TAG_ORIENTATION) continue;
        uint32_t type = read_number(exif + at + 2, 2, little);
        if ((type != TYPE_SHORT && type != TYPE_LONG) || read_number(exif + at + 4, 4, little) != 1) return 1;
        uint32_t value = read_number(exif + at + 8, type == TYPE_SHORT ? 2 : 4, little);
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}

static void swap_pixels(uint8_t *a, uint8_t *b)
{
    uint8_t keep[3] = {a[0], a[1], a[2]};
    memcpy(a, b, 3);
    memcpy(b, keep, 3);
}

static void mirror_rows(cadre__picture *p)
{
    for (uint32_t y = 0; y < p->height; y++) {
        uint8_t *row = p->pixels + (size_t)y * p->width * 3;
        for (uint32_t x = 0; x < p->width / 2; x++) swap_pixels(row + (size_t)x * 3, row + (size_t)(p->width - 1 - x) * 3);
    }
}

static void turn_half(cadre__picture *p)
{
    uint8_t *a = p->pixels, *b = p->pixels + ((size_t)p->width * p->height - 1) * 3;
    for (; a < b; a += 3, b -= 3) swap_pixels(a, b);
}

/* Where the source pixel (x, y) goes: `mirror_x`: it counts from the right, `mirror_y`: from the bottom; then the sides change places. */
static int transpose(cadre__picture *p, bool mirror_x, bool mirror_y)
{
    uint32_t w = p->width, h = p->height;
    size_t bytes = (size_t)w * h * 3;
    uint8_t *turned = malloc(bytes);
    if (!turned) return cadre__images_fail(p, CADRE_ENOMEM, "no memory for %zu bytes of pixels", bytes);
    for (uint32_t y0 = 0; y0 < h; y0 += TILE) {
        if (cadre__images_cancelled(p)) {
            free(turned);
            return CADRE_ECANCELED;
        }
        uint32_t y1 = h - y0 > TILE ? y0 + TILE : h;
        for (uint32_t x0 = 0; x0 < w; x0 += TILE) {
            uint32_t x1 = w - x0 > TILE ? x0 + TILE : w;
            for (uint32_t x = x0; x < x1; x++)
                for (uint32_t y = y0; y < y1; y++) {
                    size_t row = mirror_x ? w - 1 - x : x, column = mirror_y ? h - 1 - y : y;
                    memcpy(turned + (row * h + column) * 3, p->pixels + ((size_t)y * w + x) * 3, 3);
                }
        }
    }
    free(p->pixels);
    p->pixels = turned;
    p->capacity = bytes;
    p->width = h;
    p->height = w;
    return CADRE_OK;
}

/* What the values mean: EXIF 2.32, table "Orientation": where row 0 and column 0 of what is stored are to be seen. */
int cadre__images_orient(cadre__picture *p)
{
    switch (p->orientation) {
    case 2: mirror_rows(p); return CADRE_OK;
    case 3: turn_half(p); return CADRE_OK;
    case 4:
        turn_half(p);
        mirror_rows(p);
        return CADRE_OK;
    case 5: return transpose(p, false, false);
    case 6: return transpose(p, false, true);
    case 7: return transpose(p, true, true);
    case 8: return transpose(p, true, false);
    default: return CADRE_OK;
    }
}
