#include "reference.h"

#include <zlib.h>

FILE *reference_open(const char *path)
{
    char full[4096];
    snprintf(full, sizeof full, "%s/%s", CADRE_REFERENCE, path);
    FILE *f = fopen(full, "rb");
    if (!f) row("%s", full);
    assert_non_null(f);
    return f;
}

uint8_t *reference_read(const char *path, size_t *length)
{
    FILE *f = reference_open(path);
    size_t size = 1 << 16;
    uint8_t *bytes = malloc(size);
    assert_non_null(bytes);
    *length = fread(bytes, 1, size, f);
    assert_true(*length > 0 && *length < size);
    fclose(f);
    uint8_t *exact = malloc(*length); /* so that a read beyond it is seen */
    assert_non_null(exact);
    memcpy(exact, bytes, *length);
    free(bytes);
    return exact;
}

sample sample_read(const char *name)
{
    sample s = {{0}, NULL, 0};
    char path[128];
    snprintf(s.name, sizeof s.name, "%s", name);
    snprintf(path, sizeof path, "files/%s", name);
    s.bytes = reference_read(path, &s.length);
    return s;
}

void sample_free(sample *s)
{
    free(s->bytes);
    s->bytes = NULL;
}

size_t sample_names(const char *list, char names[FILES_MAX][64])
{
    FILE *f = reference_open(list);
    char line[256];
    size_t count = 0;
    while (fgets(line, sizeof line, f)) {
        char name[64];
        assert_int_equal(sscanf(line, "%63s", name), 1);
        if (count > 0 && strcmp(names[count - 1], name) == 0) continue;
        assert_true(count < FILES_MAX);
        memcpy(names[count++], name, sizeof name);
    }
    fclose(f);
    assert_true(count > 0);
    return count;
}

uint8_t *pattern(uint32_t width, uint32_t height, size_t stride)
{
    uint8_t *pixels = malloc(stride * height);
    assert_non_null(pixels);
    memset(pixels, 0xa5, stride * height);
    for (uint32_t y = 0; y < height; y++)
        for (uint32_t x = 0; x < width; x++)
            for (uint32_t c = 0; c < 3; c++) pixels[y * stride + (size_t)x * 3 + c] = (uint8_t)((x * 7 + y * 13 + c * 50) ^ (x * y >> 2));
    return pixels;
}

uint32_t bytes_crc(const void *bytes, size_t length)
{
    return (uint32_t)crc32_z(0, bytes, length);
}

uint32_t image_crc(const cadre_image *image)
{
    uLong sum = 0;
    for (uint32_t y = 0; y < image->height; y++) sum = crc32_z(sum, image->pixels + y * image->stride, (size_t)image->width * 3);
    return (uint32_t)sum;
}

void blob_free(cadre_blob *blob)
{
    if (blob->free) blob->free(blob->data, blob->length);
    *blob = (cadre_blob){0};
}
