/* One picture on its way from a file's bytes to RGB. Everything happens on the caller's thread; nothing is shared. */
#ifndef CADRE_IMAGES_PICTURE_H
#define CADRE_IMAGES_PICTURE_H

#include <cadre/images.h>
#include <stdbool.h>

typedef struct cadre__picture {
    cadre_op *op; /* asked whether the work is still wanted; may be NULL */
    const uint8_t *bytes;
    size_t length;
    uint64_t max_pixels, max_encoded_bytes;
    uint32_t max_side;
    int32_t background; /* 0xRRGGBB; CADRE_DEFAULT: alpha is dropped */
    bool ignore_orientation;

    uint32_t width, height;
    uint8_t *pixels; /* of malloc, `capacity` bytes; in the end rows of 3 × width */
    size_t capacity;
    int orientation; /* 1 … 8, of the EXIF block */
    char detail[256];
} cadre__picture;

/* Records what went wrong and returns `error`. */
int cadre__images_fail(cadre__picture *p, int error, const char *format, ...) CADRE_PRINTF(3, 4);
bool cadre__images_cancelled(const cadre__picture *p);
/* A size from a file's header, against the limits. */
int cadre__images_check_size(cadre__picture *p, uint64_t width, uint64_t height);
/* Makes p->pixels, p->width × p->height, zeroed if `clear`. */
int cadre__images_allocate(cadre__picture *p, uint32_t channels, bool clear);
/* p->pixels from RGBA to RGB, in place, over the background. */
void cadre__images_compose(cadre__picture *p);
/* Turns p->pixels as p->orientation says. */
int cadre__images_orient(cadre__picture *p);

/* Each decodes into p->pixels (3 bytes a pixel) and sets p->orientation. What they leave in p->pixels on an error is freed by the caller. */
int cadre__images_png(cadre__picture *p);
int cadre__images_jpeg(cadre__picture *p);
int cadre__images_webp(cadre__picture *p);

/* The orientation that an EXIF block (a TIFF file) names; 1 where there is none, or the block is damaged. */
int cadre__images_exif_orientation(const uint8_t *exif, size_t length);

#endif
