/* What happens to the decoder: files cut and altered at every byte, headers that promise what is not there, no memory at any allocation (libspng's, libjpeg's
 * and libwebp's own included: this program's malloc is in front of the system's), and a cancel at every moment. The library's sources are built into this
 * program. */
#define TESTS_images_faults(X)                                                                                                                                 \
    X(a_file_cut_at_any_byte_is_refused)                                                                                                                       \
    X(a_file_with_any_byte_altered_is_decoded_or_refused)                                                                                                      \
    X(a_header_that_promises_too_much_costs_nothing)                                                                                                           \
    X(a_progressive_file_costs_no_more_than_its_size_says)                                                                                                     \
    X(a_want_of_memory_is_enomem)                                                                                                                              \
    X(a_want_of_memory_of_the_encoder_and_of_the_preprocessing_is_enomem)                                                                                      \
    X(a_cancel_at_any_moment_ends_it)

#include "reference.h"

#include "preprocess.h"

/* ---- memory ---- */

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !defined(SANITIZED)
#define WATCHED 1
#else
#define WATCHED 0
#endif

static struct {
    bool on;
    long allocations, fail_at; /* the allocation with this number (from 1) fails; 0: none */
    size_t budget;             /* what would live beyond so many bytes fails; 0: none */
    long blocks;
    size_t bytes, peak;
    bool failed;
} watch;

#if WATCHED
#include <malloc.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void __libc_free(void *block);

static pthread_t watched_thread;

static bool watching(void)
{
    return watch.on && pthread_equal(pthread_self(), watched_thread);
}

static bool fails(size_t size)
{
    if (!watching()) return false;
    if (watch.bytes + size > watch.peak) watch.peak = watch.bytes + size;
    bool now = ++watch.allocations == watch.fail_at || (watch.budget && watch.bytes + size > watch.budget);
    watch.failed = watch.failed || now;
    return now;
}

static void *came(void *block)
{
    if (!block || !watching()) return block;
    watch.blocks++;
    watch.bytes += malloc_usable_size(block);
    return block;
}

static void goes(void *block)
{
    if (!block || !watching()) return;
    watch.blocks--;
    watch.bytes -= malloc_usable_size(block);
}

void *malloc(size_t size)
{
    return fails(size) ? NULL : came(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    return fails(count * size) ? NULL : came(__libc_calloc(count, size));
}

void *realloc(void *block, size_t size)
{
    if (fails(size)) return NULL;
    goes(block);
    void *grown = __libc_realloc(block, size);
    came(grown ? grown : block);
    return grown;
}

void free(void *block)
{
    goes(block);
    __libc_free(block);
}
#endif

static void watch_begin(long fail_at)
{
#if WATCHED
    watched_thread = pthread_self();
#endif
    memset(&watch, 0, sizeof watch);
    watch.fail_at = fail_at;
    watch.on = true;
}

/* Everything that was allocated since is freed again. */
static void watch_end(void)
{
    watch.on = false;
    assert_int_equal(watch.blocks, 0);
    assert_size(watch.bytes, 0);
}

/* ---- cancel ---- */

static long asked, cancel_at; /* the question with this number (from 1) is answered yes, and all later ones; 0: none */

int chosen_cancel(const cadre_op *op);
int chosen_cancel(const cadre_op *op)
{
    assert_non_null(op);
    asked++;
    return cancel_at > 0 && asked >= cancel_at;
}

/* ---- what is done to a file ---- */

static cadre_images_options small_limits(void)
{
    cadre_images_options o = CADRE_IMAGES_OPTIONS_INIT;
    o.max_pixels = 1 << 16;
    return o;
}

/* Decodes and frees; on success *sum is that of the pixels. */
static int decode(const cadre_images_options *options, const uint8_t *bytes, size_t length, uint32_t *sum, char detail[256])
{
    cadre_image image;
    cadre_blob pixels;
    int rc = cadre_images_decode(options, bytes, length, &image, &pixels, detail, 256);
    if (rc == CADRE_OK) {
        assert_true(image.width >= 1 && image.height >= 1 && image.stride >= (size_t)image.width * 3);
        *sum = image_crc(&image);
    } else {
        assert_null(image.pixels);
        assert_null(pixels.data);
    }
    blob_free(&pixels);
    return rc;
}

static void a_file_cut_at_any_byte_is_refused(void **state)
{
    (void)state;
    char names[FILES_MAX][64], detail[256];
    size_t count = sample_names("decode.txt", names);
    cadre_images_options options = small_limits();
    for (size_t i = 0; i < count; i++) {
        if (strncmp(names[i], "trailing", 8) == 0) continue;
        sample s = sample_read(names[i]);
        uint32_t sum = 0;
        size_t step = s.length > 6000 ? 7 : 1;
        for (size_t length = 0; length < s.length; length += length + 100 < s.length && length > 200 ? step : 1) {
            row("%s, %zu of %zu bytes", names[i], length, s.length);
            uint8_t *cut = malloc(length ? length : 1);
            assert_non_null(cut);
            memcpy(cut, s.bytes, length);
            watch_begin(0);
            int rc = decode(&options, cut, length, &sum, detail);
            watch_end();
            if (rc != CADRE_EINPUT) fail_msg("%s, %zu of %zu bytes: %s", names[i], length, s.length, cadre_err_name(rc));
            assert_true(detail[0] != '\0');
            free(cut);
        }
        sample_free(&s);
    }
}

static void a_file_with_any_byte_altered_is_decoded_or_refused(void **state)
{
    (void)state;
    static const float zero[3] = {0, 0, 0}, one[3] = {1, 1, 1};
    static const uint8_t masks[] = {0x01, 0x80, 0xff};
    char names[FILES_MAX][64], detail[256];
    size_t count = sample_names("decode.txt", names), decoded = 0, refused = 0;
    cadre_images_options options = small_limits();
    options.background = 0x808080;
    for (size_t i = 0; i < count; i++) {
        sample s = sample_read(names[i]);
        if (s.length > 6000) {
            sample_free(&s);
            continue;
        }
        for (size_t at = 0; at < s.length * COUNT(masks); at++) {
            uint8_t *byte = &s.bytes[at / COUNT(masks)], mask = masks[at % COUNT(masks)];
            row("%s, byte %zu, %02x", names[i], at / COUNT(masks), mask);
            *byte ^= mask;
            cadre_image image;
            cadre_blob pixels;
            watch_begin(0);
            int rc = cadre_images_decode(&options, s.bytes, s.length, &image, &pixels, detail, sizeof detail);
            float out[3 * 4 * 4];
            if (rc == CADRE_OK) assert_status(cadre__onnx_preprocess(&image, 4, zero, one, out), 0);
            blob_free(&pixels);
            watch_end();
            if (rc != CADRE_OK && rc != CADRE_EINPUT) fail_msg("%s: %s", cadre_err_name(rc), detail);
            *(rc ? &refused : &decoded) += 1;
            *byte ^= mask;
        }
        sample_free(&s);
    }
    assert_true(decoded > 1000 && refused > 10000);
}

/* ---- what is promised ---- */

static void put_u16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

/* The file with width and height set to the most that its header can say. */
static sample bomb(const char *name)
{
    sample s = sample_read(name);
    if (strcmp(strrchr(name, '.'), ".png") == 0) {
        put_u16(s.bytes + 18, 65535);
        put_u16(s.bytes + 22, 65535);
        uint32_t sum = bytes_crc(s.bytes + 12, 17);
        put_u16(s.bytes + 29, sum >> 16);
        put_u16(s.bytes + 31, sum & 0xffff);
    } else if (strcmp(strrchr(name, '.'), ".jpg") == 0) {
        size_t at = 2;
        while (s.bytes[at + 1] < 0xc0 || s.bytes[at + 1] > 0xc2) at += 2 + (size_t)(s.bytes[at + 2] << 8 | s.bytes[at + 3]);
        put_u16(s.bytes + at + 5, 65500);
        put_u16(s.bytes + at + 7, 65500);
    } else if (memcmp(s.bytes + 12, "VP8X", 4) == 0) {
        memset(s.bytes + 24, 0xff, 2); /* 65,536 */
        memset(s.bytes + 27, 0xff, 2);
    } else if (memcmp(s.bytes + 12, "VP8L", 4) == 0) {
        memset(s.bytes + 21, 0xff, 3); /* 14 bits each */
        s.bytes[24] |= 0x0f;
    } else {
        put_u16(s.bytes + 26, 0xff3f);
        put_u16(s.bytes + 28, 0xff3f);
    }
    return s;
}

static void a_header_that_promises_too_much_costs_nothing(void **state)
{
    (void)state;
    static const char *const names[] = {"gray1.png",  "rgb16-interlaced.png", "420.jpg",    "progressive.jpg", "cmyk.jpg",
                                        "lossy.webp", "lossless.webp",        "exif1.webp", "animated.webp"};
    for (size_t i = 0; i < COUNT(names); i++)
        for (int limit = 0; limit < 2; limit++) {
            row("%s", names[i]);
            sample s = bomb(names[i]);
            cadre_images_options o = CADRE_IMAGES_OPTIONS_INIT;
            if (limit) o.max_side = 16000;
            char detail[256];
            uint32_t sum = 0;
            watch_begin(0);
            int rc = decode(&o, s.bytes, s.length, &sum, detail);
            watch_end();
            assert_status(rc, CADRE_EINPUT);
            assert_contains(detail, limit || strstr(names[i], "png") || strstr(names[i], "jpg") || strncmp(names[i], "l", 1) != 0 ? "a side above the limit"
                                                                                                                                  : "above the limit");
            assert_true(watch.peak < 1 << 20);
            sample_free(&s);
        }
}

/* libjpeg keeps the coefficients of a progressive file: 4 components of 2 bytes a pixel at most, whatever the file says about sampling. */
static void a_progressive_file_costs_no_more_than_its_size_says(void **state)
{
    (void)state;
    static const uint8_t samplings[] = {0x11, 0x22, 0x44, 0x14, 0x41, 0x42};
    sample s = sample_read("progressive.jpg");
    size_t at = 2;
    while (s.bytes[at + 1] != 0xc2) at += 2 + (size_t)(s.bytes[at + 2] << 8 | s.bytes[at + 3]);
    put_u16(s.bytes + at + 5, 2000);
    put_u16(s.bytes + at + 7, 2000);
    for (size_t i = 0; i < COUNT(samplings) * COUNT(samplings); i++) {
        char detail[256];
        uint32_t sum = 0;
        row("%zu", i);
        s.bytes[at + 11] = samplings[i % COUNT(samplings)];
        s.bytes[at + 14] = samplings[i / COUNT(samplings)];
        watch_begin(0);
        assert_status(decode(NULL, s.bytes, s.length, &sum, detail), CADRE_EINPUT);
        watch_end();
        assert_null(strstr(detail, "more memory"));
        assert_true(watch.peak < ((size_t)2000 * 2000 * (8 + 3)) + (20u << 20));
    }
    sample_free(&s);
}

/* ---- no memory ---- */

/* Decodes s with allocation n failing, or within a budget; `right`: the sum of its pixels. */
static void decode_short(const sample *s, const cadre_images_options *options, long n, size_t budget, uint32_t right)
{
    char detail[256];
    uint32_t sum = 0;
    watch_begin(n);
    watch.budget = budget;
    int rc = decode(options, s->bytes, s->length, &sum, detail);
    watch_end();
    /* libjpeg asks again for less. */
    bool failed = watch.failed && !(rc == CADRE_OK && strstr(s->name, ".jpg"));
    if (rc != (failed ? CADRE_ENOMEM : CADRE_OK)) fail_msg("%s, allocation %ld: %s, %s", s->name, n, cadre_err_name(rc), detail);
    assert_int_equal(detail[0] != '\0', failed);
    assert_true(failed || sum == right);
}

/* libwebp does not survive each of its allocations' failing by itself; but a process has no room, or it has. */
static void a_want_of_memory_is_enomem(void **state)
{
    (void)state;
#if !WATCHED
    skip();
#endif
    char names[FILES_MAX][64], detail[256];
    size_t count = sample_names("decode.txt", names);
    for (size_t i = 0; i < count * 2; i++) {
        sample s = sample_read(names[i / 2]);
        cadre_images_options options = small_limits();
        if (i % 2) options.background = 0xff00ff;
        uint32_t right = 0;
        row("%s", s.name);
        assert_status(decode(&options, s.bytes, s.length, &right, detail), 0);
        watch.failed = true;
        for (long n = 1; watch.failed && !strstr(s.name, ".webp"); n++) decode_short(&s, &options, n, 0, right);
        for (size_t budget = 1; budget < 3 << 20; budget += budget < 65536 ? 3011 : 65521) decode_short(&s, &options, 0, budget, right);
        assert_false(watch.failed);
        sample_free(&s);
    }
}

static void a_want_of_memory_of_the_encoder_and_of_the_preprocessing_is_enomem(void **state)
{
    (void)state;
#if !WATCHED
    skip();
#endif
    uint8_t *pixels = pattern(100, 100, 300);
    cadre_image image = {sizeof image, 100, 100, 300, pixels};
    static const float one[3] = {1, 1, 1};
    float out[3 * 8 * 8];
    int rc = CADRE_ENOMEM;
    for (long n = 1; rc == CADRE_ENOMEM; n++) {
        cadre_blob file;
        watch_begin(n);
        rc = cadre_images_encode_png(&image, &file);
        blob_free(&file);
        watch_end();
        assert_status(rc, watch.failed ? CADRE_ENOMEM : CADRE_OK);
    }
    rc = CADRE_ENOMEM;
    for (long n = 1; rc == CADRE_ENOMEM; n++) {
        watch_begin(n);
        rc = cadre__onnx_preprocess(&image, 8, one, one, out);
        watch_end();
        assert_true(watch.peak <= 12 * 8 * 8 + 128 * (100 + 8)); /* what its header says */
        assert_status(rc, watch.failed ? CADRE_ENOMEM : CADRE_OK);
    }
    free(pixels);
}

/* ---- a cancel ---- */

static void a_cancel_at_any_moment_ends_it(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        long moments; /* at least */
    } files[] = {
        {"rgb8.png", 17}, {"rgba8-interlaced.png", 17}, {"420.jpg", 29}, {"progressive.jpg", 40}, {"exif6.jpg", 18}, {"cmyk.jpg", 17}, {"noise.webp", 3},
        {"lossy.webp", 2}};
    cadre_image_decoder decoder;
    int here; /* an operation that is only asked whether it is cancelled */
    cadre_op *op = (cadre_op *)(void *)&here;
    assert_status(cadre_images_decoder(NULL, &decoder), 0);
    for (size_t i = 0; i < COUNT(files); i++) {
        sample s = sample_read(files[i].name);
        cadre_image image;
        cadre_blob pixels = {0};
        asked = cancel_at = 0;
        assert_status(decoder.decode(NULL, op, s.bytes, s.length, 1 << 20, &image, &pixels), 0);
        blob_free(&pixels);
        long moments = asked;
        row("%s: %ld moments", files[i].name, moments);
        assert_true(moments >= files[i].moments);
        for (long n = 1; n <= moments; n++) {
            asked = 0;
            cancel_at = n;
            watch_begin(0);
            int rc = decoder.decode(NULL, op, s.bytes, s.length, 1 << 20, &image, &pixels);
            watch_end();
            assert_status(rc, CADRE_ECANCELED);
            assert_int_equal(asked, n);
            assert_null(pixels.data);
        }
        sample_free(&s);
    }
}

#define SUITE images_faults
#include "suite.h"
