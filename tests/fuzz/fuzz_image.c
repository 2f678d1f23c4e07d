/* Any bytes as a picture, under small limits: decoded, laid over a background or not, turned or not, and made a tensor of 16 × 16. The first byte says which
 * options; the rest is the file, whose PNG checksums are put right first, so that what is altered is not always refused at once. The libraries that decode
 * are the system's, without instrumentation; what they do wrong is seen where it leaves their memory. */
#include "fuzz.h"

#include "preprocess.h"

#include <cadre/images.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define SIZE 16

static uint32_t read_u32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void mend_checksums(uint8_t *png, size_t size)
{
    for (size_t at = 8; size > at && size - at >= 12;) {
        size_t length = read_u32(png + at);
        if (length > size - at - 12) return;
        uint32_t sum = (uint32_t)crc32_z(0, png + at + 4, length + 4);
        for (size_t i = 0; i < 4; i++) png[at + 8 + length + i] = (uint8_t)(sum >> (24 - 8 * i));
        at += length + 12;
    }
}

static void check_tensor(const cadre_image *image)
{
    static const float zero[3] = {0, 0, 0}, one[3] = {1, 1, 1};
    float *out = malloc(sizeof(float) * 3 * SIZE * SIZE);
    if (!out) abort();
    int rc = cadre__onnx_preprocess(image, SIZE, zero, one, out);
    FUZZ_CHECK(rc == CADRE_OK, "the preprocessing answers %s", cadre_err_name(rc));
    for (size_t i = 0; i < 3 * SIZE * SIZE; i++) FUZZ_CHECK(out[i] >= 0 && out[i] <= 1, "a value of the tensor is %g", (double)out[i]);
    free(out);
}

/* What was decoded comes back from a PNG file. */
static void check_encoder(const cadre_image *image)
{
    cadre_image again;
    cadre_blob file, pixels;
    int rc = cadre_images_encode_png(image, &file);
    FUZZ_CHECK(rc == CADRE_OK, "the encoder answers %s", cadre_err_name(rc));
    rc = cadre_images_decode(NULL, file.data, file.length, &again, &pixels, NULL, 0);
    FUZZ_CHECK(rc == CADRE_OK && again.width == image->width && again.height == image->height, "what was encoded is not decoded: %s", cadre_err_name(rc));
    for (uint32_t y = 0; y < image->height; y++)
        FUZZ_CHECK(memcmp(image->pixels + y * image->stride, again.pixels + y * again.stride, (size_t)image->width * 3) == 0, "row %u is another", (unsigned)y);
    pixels.free(pixels.data, pixels.length);
    file.free(file.data, file.length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_bytes b = {data, size};
    uint8_t choice = fuzz_byte(&b);
    cadre_images_options options = CADRE_IMAGES_OPTIONS_INIT;
    options.max_pixels = 1 << 14;
    options.max_side = 1 << 12;
    if (choice & 1) options.background = 0x3080c0;
    if (choice & 2) options.ignore_orientation = 1;

    uint8_t *bytes = malloc(b.left ? b.left : 1); /* of exactly its size, so that a read beyond it is seen */
    if (!bytes) abort();
    if (b.left) memcpy(bytes, b.at, b.left);
    if (!(choice & 4) && b.left > 1 && bytes[1] == 'P') mend_checksums(bytes, b.left);
    char detail[256];
    cadre_image image;
    cadre_blob pixels;
    int rc = cadre_images_decode(&options, bytes, b.left, &image, &pixels, detail, sizeof detail);
    FUZZ_CHECK(rc == CADRE_OK || rc == CADRE_EINPUT, "%s: %s", cadre_err_name(rc), detail);
    FUZZ_CHECK((rc == CADRE_OK) == (detail[0] == '\0') && (rc == CADRE_OK) == (image.pixels != NULL), "%s with the detail \"%s\"", cadre_err_name(rc), detail);
    if (rc == CADRE_OK) {
        FUZZ_CHECK((uint64_t)image.width * image.height <= 1 << 14 && image.stride * image.height <= pixels.length, "%u × %u pixels in %zu bytes",
                   (unsigned)image.width, (unsigned)image.height, pixels.length);
        check_tensor(&image);
        check_encoder(&image);
        pixels.free(pixels.data, pixels.length);
    }
    free(bytes);
    return 0;
}
