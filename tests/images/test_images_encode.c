/* PNG out, read again. */
#define TESTS_images_encode(X)                                                                                                                                 \
    X(what_is_encoded_is_decoded_to_the_same_pixels)                                                                                                           \
    X(it_is_an_8_bit_rgb_file)                                                                                                                                 \
    X(what_is_no_picture_is_refused)

#include "reference.h"

static void what_is_encoded_is_decoded_to_the_same_pixels(void **state)
{
    (void)state;
    static const struct {
        uint32_t width, height;
        size_t more; /* of the stride */
    } sizes[] = {{1, 1, 0}, {1, 1, 5}, {2, 3, 0}, {64, 64, 0}, {65, 31, 1}, {3, 1000, 7}, {1000, 3, 0}, {300, 200, 100}, {1, 65535, 0}, {65535, 1, 0}};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        row("%u × %u", sizes[i].width, sizes[i].height);
        size_t stride = (size_t)sizes[i].width * 3 + sizes[i].more;
        uint8_t *pixels = pattern(sizes[i].width, sizes[i].height, stride);
        cadre_image in = {sizeof in, sizes[i].width, sizes[i].height, stride, pixels}, out;
        cadre_blob file, decoded;
        cadre_images_options options = CADRE_IMAGES_OPTIONS_INIT;
        options.max_side = 65535;
        assert_status(cadre_images_encode_png(&in, &file), 0);
        assert_status(cadre_images_decode(&options, file.data, file.length, &out, &decoded, NULL, 0), 0);
        assert_int_equal(out.width, in.width);
        assert_int_equal(out.height, in.height);
        assert_int_equal(image_crc(&out), image_crc(&in));
        blob_free(&decoded);
        blob_free(&file);
        free(pixels);
    }
}

static void it_is_an_8_bit_rgb_file(void **state)
{
    (void)state;
    static const uint8_t begin[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0, 0, 0, 13, 'I', 'H', 'D', 'R', 0, 0, 0, 5, 0, 0, 0, 4, 8, 2, 0, 0, 0};
    uint8_t *pixels = pattern(5, 4, 15);
    cadre_image image = {sizeof image, 5, 4, 15, pixels};
    cadre_blob file;
    assert_status(cadre_images_encode_png(&image, &file), 0);
    assert_true(file.length > sizeof begin);
    assert_memory_equal(file.data, begin, sizeof begin);
    blob_free(&file);
    free(pixels);
}

static void what_is_no_picture_is_refused(void **state)
{
    (void)state;
    uint8_t pixels[12] = {0};
    const cadre_image good = {sizeof good, 2, 2, 6, pixels};
    cadre_blob file = {pixels, 1, NULL};
    assert_status(cadre_images_encode_png(&good, NULL), CADRE_EINVAL);
    assert_status(cadre_images_encode_png(NULL, &file), CADRE_EINVAL);
    assert_null(file.data);
    for (int i = 0; i < 9; i++) {
        cadre_image bad = good;
        switch (i) {
        case 0: bad.size = 0; break;
        case 1: bad.width = 0; break;
        case 2: bad.height = 0; break;
        case 3: bad.pixels = NULL; break;
        case 4: bad.stride = 5; break;
        case 5: bad.stride = SIZE_MAX / 2 + 1; break;
        case 6:
            bad.width = 65536;
            bad.stride = 65536 * 3;
            break;
        case 7: bad.height = 65536; break;
        default: bad.size = sizeof bad + 8; break;
        }
        row("%d", i);
        assert_status(cadre_images_encode_png(&bad, &file), CADRE_EINVAL);
        assert_null(file.data);
    }
}

#define SUITE images_encode
#include "suite.h"
