/* CLIP's preprocessing against what transformers and Pillow make of the same pictures: every float, bit for bit. */
#define TESTS_preprocess(X)                                                                                                                                    \
    X(tensors_of_made_pictures_are_those_of_transformers)                                                                                                      \
    X(tensors_of_files_are_those_of_transformers)                                                                                                              \
    X(the_stride_is_honoured)                                                                                                                                  \
    X(mean_and_deviation_are_those_that_are_given)                                                                                                             \
    X(very_long_pictures_take_no_more_memory)                                                                                                                  \
    X(what_cannot_be_is_refused)

#include "reference.h"

#include "preprocess.h"

#include <sys/resource.h>

static const float mean[3] = {0.48145466f, 0.4578275f, 0.40821073f}, deviation[3] = {0.26862954f, 0.26130258f, 0.27577711f}; /* OpenAI's CLIP */

static size_t floats(uint32_t size)
{
    return (size_t)size * size * 3;
}

static float *tensor_of(const cadre_image *image, uint32_t size)
{
    float *out = malloc(floats(size) * sizeof *out);
    assert_non_null(out);
    assert_status(cadre__onnx_preprocess(image, size, mean, deviation, out), 0);
    return out;
}

static uint32_t tensor_crc(const cadre_image *image, uint32_t size)
{
    float *out = tensor_of(image, size);
    uint32_t sum = bytes_crc(out, floats(size) * sizeof *out);
    free(out);
    return sum;
}

static void tensors_of_made_pictures_are_those_of_transformers(void **state)
{
    (void)state;
    FILE *f = reference_open("tensors.txt");
    uint32_t width, height, size, sum, count = 0;
    while (fscanf(f, "%u %u %u %x", &width, &height, &size, &sum) == 4) {
        row("%u × %u to %u", width, height, size);
        uint8_t *pixels = pattern(width, height, (size_t)width * 3);
        cadre_image image = {sizeof image, width, height, (size_t)width * 3, pixels};
        assert_int_equal(tensor_crc(&image, size), sum);
        free(pixels);
        count++;
    }
    fclose(f);
    assert_true(count > 20);
}

static void tensors_of_files_are_those_of_transformers(void **state)
{
    (void)state;
    FILE *f = reference_open("clip.txt");
    char name[64], stored[80], path[128];
    uint32_t size, count = 0;
    while (fscanf(f, "%63s %u %79s", name, &size, stored) == 3) {
        row("%s to %u", name, size);
        sample s = sample_read(name);
        cadre_image image;
        cadre_blob pixels;
        assert_status(cadre_images_decode(NULL, s.bytes, s.length, &image, &pixels, NULL, 0), 0);
        float *got = tensor_of(&image, size);
        size_t length;
        snprintf(path, sizeof path, "tensors/%s", stored);
        uint8_t *bytes = reference_read(path, &length);
        assert_size(length, floats(size) * sizeof *got);
        float *expected = (float *)(void *)bytes;
        for (size_t i = 0; i < floats(size); i++)
            if (memcmp(&got[i], &expected[i], sizeof *got) != 0) fail_msg("float %zu is %.9g, not %.9g", i, (double)got[i], (double)expected[i]);
        free(bytes);
        free(got);
        blob_free(&pixels);
        sample_free(&s);
        count++;
    }
    fclose(f);
    assert_int_equal(count, 10);
}

static void the_stride_is_honoured(void **state)
{
    (void)state;
    uint8_t *tight = pattern(53, 41, 159), *wide = pattern(53, 41, 200);
    cadre_image a = {sizeof a, 53, 41, 159, tight}, b = {sizeof b, 53, 41, 200, wide};
    assert_int_equal(tensor_crc(&a, 24), tensor_crc(&b, 24));
    free(tight);
    free(wide);
}

static void mean_and_deviation_are_those_that_are_given(void **state)
{
    (void)state;
    static const float zero[3] = {0, 0.5f, 1}, one[3] = {1, 0.5f, 0.25f};
    uint8_t white[3] = {255, 255, 0};
    cadre_image image = {sizeof image, 1, 1, 3, white};
    float out[12];
    assert_status(cadre__onnx_preprocess(&image, 2, zero, one, out), 0);
    for (int i = 0; i < 12; i++) assert_true(out[i] == (i < 8 ? 1.0f : -4.0f));
}

/* 3 × 65,535 to 224 is 224 × 4,893,280 in transformers. */
static void very_long_pictures_take_no_more_memory(void **state)
{
    (void)state;
    static const uint32_t sides[][2] = {{3, 65535}, {65535, 3}, {1, 2000000}, {2000000, 1}};
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    for (size_t i = 0; i < COUNT(sides); i++) {
        uint8_t *pixels = pattern(sides[i][0], sides[i][1], (size_t)sides[i][0] * 3);
        cadre_image image = {sizeof image, sides[i][0], sides[i][1], (size_t)sides[i][0] * 3, pixels};
        float *out = tensor_of(&image, 224);
        for (size_t k = 0; k < floats(224); k++) assert_true(out[k] >= -2 && out[k] <= 3);
        free(out);
        free(pixels);
    }
    getrusage(RUSAGE_SELF, &after);
#if !defined(__SANITIZE_ADDRESS__)
    assert_true(after.ru_maxrss - before.ru_maxrss < 64 << 10); /* KiB */
#endif
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    uint8_t pixels[12] = {0};
    float out[3];
    cadre_image good = {sizeof good, 2, 2, 6, pixels}, bad = good;
    assert_status(cadre__onnx_preprocess(&good, 1, mean, deviation, out), 0);
    assert_status(cadre__onnx_preprocess(&good, 0, mean, deviation, out), CADRE_EINVAL);
    bad.stride = 5;
    assert_status(cadre__onnx_preprocess(&bad, 1, mean, deviation, out), CADRE_EINVAL);
    bad = good;
    bad.width = 0;
    assert_status(cadre__onnx_preprocess(&bad, 1, mean, deviation, out), CADRE_EINVAL);
    bad = good;
    bad.height = 0;
    assert_status(cadre__onnx_preprocess(&bad, 1, mean, deviation, out), CADRE_EINVAL);
    bad = good;
    bad.pixels = NULL;
    assert_status(cadre__onnx_preprocess(&bad, 1, mean, deviation, out), CADRE_EINVAL);
    bad = (cadre_image){sizeof bad, CADRE__ONNX_SHORT_SIDE_MAX + 1, CADRE__ONNX_SHORT_SIDE_MAX + 1, SIZE_MAX, pixels};
    assert_status(cadre__onnx_preprocess(&bad, 1, mean, deviation, out), CADRE_EINVAL);
    assert_status(cadre__onnx_preprocess(&good, UINT32_MAX, mean, deviation, out), CADRE_ENOMEM);
}

#define SUITE preprocess
#include "suite.h"
