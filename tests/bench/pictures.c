#include "pictures.h"

#include "bench.h"

#include <cadre/images.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <webp/encode.h>

#define QUALITY 85
#define DISCS 12

typedef struct disc {
    int x, y, radius;
    uint8_t colour[3];
} disc;

static uint32_t next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static uint8_t clamp(int value)
{
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

uint8_t *picture_draw(unsigned number, uint32_t width, uint32_t height)
{
    uint32_t random = number * 2654435761u + 1;
    disc discs[DISCS];
    uint8_t *pixels = malloc((size_t)width * height * 3), *at = pixels;
    if (!pixels) bench_fail("out of memory");
    for (int i = 0; i < DISCS; i++) {
        discs[i] = (disc){(int)(next(&random) % width), (int)(next(&random) % height), (int)(next(&random) % (width / 6) + 4), {0}};
        for (int c = 0; c < 3; c++) discs[i].colour[c] = (uint8_t)next(&random);
    }
    for (int y = 0; y < (int)height; y++) {
        for (int x = 0; x < (int)width; x++, at += 3) {
            int grain = (int)(next(&random) % 13) - 6;
            uint8_t colour[3] = {clamp(90 + 100 * y / (int)height), clamp(140 + 60 * x / (int)width), clamp(220 - 120 * y / (int)height)};
            for (int i = 0; i < DISCS; i++) {
                int dx = x - discs[i].x, dy = y - discs[i].y;
                if (dx * dx + dy * dy < discs[i].radius * discs[i].radius) memcpy(colour, discs[i].colour, sizeof colour);
            }
            for (int c = 0; c < 3; c++) at[c] = clamp(colour[c] + grain);
        }
    }
    return pixels;
}

static picture_file copied(const void *bytes, size_t length)
{
    picture_file file = {malloc(length), length};
    if (!file.bytes || length == 0) bench_fail("a picture cannot be encoded");
    memcpy(file.bytes, bytes, length);
    return file;
}

static picture_file encode_jpeg(const uint8_t *pixels, uint32_t width, uint32_t height)
{
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    unsigned char *bytes = NULL;
    unsigned long length = 0;
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &bytes, &length);
    jpeg.image_width = width;
    jpeg.image_height = height;
    jpeg.input_components = 3;
    jpeg.in_color_space = JCS_RGB;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, QUALITY, TRUE);
    jpeg_start_compress(&jpeg, TRUE);
    uint8_t *row = malloc((size_t)width * 3);
    if (!row) bench_fail("out of memory");
    while (jpeg.next_scanline < jpeg.image_height) {
        memcpy(row, pixels + (size_t)jpeg.next_scanline * width * 3, (size_t)width * 3);
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    free(row);
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    picture_file file = copied(bytes, length);
    free(bytes);
    return file;
}

static picture_file encode_webp(const uint8_t *pixels, uint32_t width, uint32_t height)
{
    uint8_t *bytes = NULL;
    size_t length = WebPEncodeRGB(pixels, (int)width, (int)height, (int)width * 3, QUALITY, &bytes);
    picture_file file = copied(bytes, length);
    WebPFree(bytes);
    return file;
}

static picture_file encode_png(const uint8_t *pixels, uint32_t width, uint32_t height)
{
    cadre_image image = CADRE_IMAGE_INIT;
    cadre_blob blob = {0};
    image.width = width;
    image.height = height;
    image.stride = (size_t)width * 3;
    image.pixels = pixels;
    int rc = cadre_images_encode_png(&image, &blob);
    if (rc != 0) bench_fail("cadre_images_encode_png: %s", cadre_err_name(rc));
    picture_file file = copied(blob.data, blob.length);
    blob.free(blob.data, blob.length);
    return file;
}

picture_file picture_encode(const uint8_t *pixels, uint32_t width, uint32_t height, picture_format format)
{
    if (format == PICTURE_JPEG) return encode_jpeg(pixels, width, height);
    return format == PICTURE_WEBP ? encode_webp(pixels, width, height) : encode_png(pixels, width, height);
}

void picture_file_free(picture_file *file)
{
    free(file->bytes);
    *file = (picture_file){0};
}
