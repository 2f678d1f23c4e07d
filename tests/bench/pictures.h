/* Pictures, the same for every side of a comparison: a function of their number. */
#ifndef CADRE_BENCH_PICTURES_H
#define CADRE_BENCH_PICTURES_H

#include <cadre/image.h>

typedef enum picture_format { PICTURE_JPEG, PICTURE_PNG, PICTURE_WEBP, PICTURE_FORMATS } picture_format;

/* A sky, some discs and some grain: width × height × 3 bytes, to be freed. Ends the program on an error, as all of these do. */
uint8_t *picture_draw(unsigned number, uint32_t width, uint32_t height);

/* The same as a file, with quality 85 where there is one; to be freed by picture_file_free. */
typedef struct picture_file {
    uint8_t *bytes;
    size_t length;
} picture_file;

picture_file picture_encode(const uint8_t *pixels, uint32_t width, uint32_t height, picture_format format);
void picture_file_free(picture_file *file);

#endif
