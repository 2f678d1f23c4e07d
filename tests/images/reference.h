/* The stored references, and small things that the suites share. */
#ifndef CADRE_TESTS_REFERENCE_H
#define CADRE_TESTS_REFERENCE_H

#include "support.h"

#include <cadre/images.h>

#define FILES_MAX 256

typedef struct sample {
    char name[64];
    uint8_t *bytes;
    size_t length;
} sample;

/* A file of the reference folder; free() it. Asserts that it is there. */
uint8_t *reference_read(const char *path, size_t *length);
FILE *reference_open(const char *path);
sample sample_read(const char *name);
void sample_free(sample *s);
/* The names in decode.txt (or another list), each once. */
size_t sample_names(const char *list, char names[FILES_MAX][64]);
/* The same pixels as pattern() of reference.py. */
uint8_t *pattern(uint32_t width, uint32_t height, size_t stride);
/* Of the pixels without what is between the rows. */
uint32_t image_crc(const cadre_image *image);
uint32_t bytes_crc(const void *bytes, size_t length);
void blob_free(cadre_blob *blob);

#endif
