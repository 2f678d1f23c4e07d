/* The decoder as a host uses it: every stored picture in every form gives the pixels of the reference, what is damaged or too large is refused with a reason,
 * and a pool with it takes pictures from paths, bytes, base64 and data: URLs. */
#define TESTS_images_decode(X)                                                                                                                                 \
    X(pixels_are_those_of_the_reference)                                                                                                                       \
    X(damaged_files_are_refused_with_the_reason)                                                                                                               \
    X(other_formats_are_refused)                                                                                                                               \
    X(limits_hold)                                                                                                                                             \
    X(options_out_of_range_are_refused)                                                                                                                        \
    X(a_reason_is_cut_to_the_room_there_is)                                                                                                                    \
    X(threads_decode_at_the_same_time)                                                                                                                         \
    X(a_pool_takes_every_form)                                                                                                                                 \
    X(a_pool_says_why_a_picture_is_refused)                                                                                                                    \
    X(a_cancelled_request_is_not_decoded)

#include "reference.h"

#include "scripted.h"

#include <unistd.h>

static int decode(const cadre_images_options *options, const sample *s, cadre_image *image, cadre_blob *pixels, char detail[256])
{
    return cadre_images_decode(options, s->bytes, s->length, image, pixels, detail, 256);
}

static cadre_images_options options_of(const char *text)
{
    cadre_images_options o = CADRE_IMAGES_OPTIONS_INIT;
    if (strcmp(text, "stored") == 0) o.ignore_orientation = 1;
    if (strncmp(text, "bg", 2) == 0) o.background = (int32_t)strtol(text + 2, NULL, 16);
    return o;
}

static void pixels_are_those_of_the_reference(void **state)
{
    (void)state;
    FILE *f = reference_open("decode.txt");
    char name[64], option[64], detail[256];
    uint32_t width, height, sum, count = 0;
    while (fscanf(f, "%63s %63s %u %u %x", name, option, &width, &height, &sum) == 5) {
        row("%s %s", name, option);
        sample s = sample_read(name);
        cadre_images_options options = options_of(option);
        cadre_image image;
        cadre_blob pixels;
        int rc = decode(&options, &s, &image, &pixels, detail);
        if (rc) fail_msg("%s: %s", name, detail);
        assert_string_equal(detail, "");
        assert_size(image.size, sizeof image);
        assert_int_equal(image.width, width);
        assert_int_equal(image.height, height);
        assert_true(image.stride >= (size_t)width * 3 && image.stride * height <= pixels.length);
        if (image_crc(&image) != sum) fail_msg("%s %s: other pixels", name, option);
        blob_free(&pixels);
        sample_free(&s);
        count++;
    }
    fclose(f);
    assert_true(count > 250);
}

static void damaged_files_are_refused_with_the_reason(void **state)
{
    (void)state;
    FILE *f = reference_open("refused.txt");
    char line[256], name[64], words[128], detail[256];
    int count = 0;
    while (fgets(line, sizeof line, f)) {
        assert_int_equal(sscanf(line, "%63s %127[^\n]", name, words), 2);
        row("%s", name);
        sample s = sample_read(name);
        cadre_image image;
        cadre_blob pixels;
        assert_status(decode(NULL, &s, &image, &pixels, detail), CADRE_EINPUT);
        assert_contains(detail, words);
        assert_null(pixels.data);
        assert_null(image.pixels);
        sample_free(&s);
        count++;
    }
    fclose(f);
    assert_int_equal(count, 13);
}

static void other_formats_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t length;
    } none[] = {{"", 0},
                {"G", 1},
                {"GIF89a\1\0\1\0\0\0\0;", 14},
                {"BM", 2},
                {"RIFF\4\0\0\0WAVE", 12},
                {"RIFF\4\0\0\0WEB", 11},
                {"\xff\xd8", 2},
                {"\x89PNG\r\n\x1a", 7}};
    for (size_t i = 0; i < COUNT(none); i++) {
        char detail[256];
        cadre_image image;
        cadre_blob pixels;
        assert_status(cadre_images_decode(NULL, none[i].bytes, none[i].length, &image, &pixels, detail, sizeof detail), CADRE_EINPUT);
        assert_contains(detail, "no PNG, JPEG or WebP file");
    }
}

static void limits_hold(void **state)
{
    (void)state;
    static const char *const names[] = {"rgb8.png", "exif6.jpg", "exif6.webp", "animated.webp"};
    for (size_t i = 0; i < COUNT(names); i++) {
        row("%s", names[i]);
        sample s = sample_read(names[i]);
        cadre_image image;
        cadre_blob pixels;
        char detail[256];
        assert_status(decode(NULL, &s, &image, &pixels, detail), 0);
        int64_t count = (int64_t)image.width * image.height, longest = image.width > image.height ? image.width : image.height;
        blob_free(&pixels);

        cadre_images_options o = CADRE_IMAGES_OPTIONS_INIT;
        o.max_pixels = count;
        o.max_side = longest;
        o.max_encoded_bytes = (int64_t)s.length;
        assert_status(decode(&o, &s, &image, &pixels, detail), 0);
        blob_free(&pixels);
        o.max_pixels--;
        assert_status(decode(&o, &s, &image, &pixels, detail), CADRE_EINPUT);
        assert_contains(detail, "in all");
        o.max_pixels = CADRE_DEFAULT;
        o.max_side--;
        assert_status(decode(&o, &s, &image, &pixels, detail), CADRE_EINPUT);
        assert_contains(detail, "a side above the limit");
        o.max_side = CADRE_DEFAULT;
        o.max_encoded_bytes--;
        assert_status(decode(&o, &s, &image, &pixels, detail), CADRE_EINPUT);
        assert_contains(detail, "encoded bytes");
        sample_free(&s);
    }
}

static void options_out_of_range_are_refused(void **state)
{
    (void)state;
    sample s = sample_read("rgb8.png");
    cadre_image image;
    cadre_blob pixels;
    cadre_image_decoder decoder;
    const cadre_images_options good = CADRE_IMAGES_OPTIONS_INIT;
    for (int i = 0; i < 12; i++) {
        cadre_images_options o = good;
        switch (i) {
        case 0: o.size = 0; break;
        case 1: o.size = sizeof o + 1; break;
        case 2: o.max_pixels = 0; break;
        case 3: o.max_pixels = -2; break;
        case 4: o.max_side = 0; break;
        case 5: o.max_side = 65536; break;
        case 6: o.max_encoded_bytes = 0; break;
        case 7: o.background = 0x1000000; break;
        case 8: o.background = -2; break;
        case 9: o.ignore_orientation = 2; break;
        case 10: o.ignore_orientation = -2; break;
        default: o.max_encoded_bytes = INT64_MIN; break;
        }
        row("%d", i);
        assert_status(cadre_images_decoder(&o, &decoder), CADRE_EINVAL);
        assert_null(decoder.decode);
        assert_status(decode(&o, &s, &image, &pixels, (char[256]){0}), CADRE_EINVAL);
    }
    assert_status(cadre_images_decoder(&good, NULL), CADRE_EINVAL);
    assert_status(cadre_images_decode(NULL, NULL, 1, &image, &pixels, NULL, 0), CADRE_EINVAL);
    assert_status(cadre_images_decode(NULL, s.bytes, s.length, NULL, &pixels, NULL, 0), CADRE_EINVAL);
    assert_status(cadre_images_decode(NULL, s.bytes, s.length, &image, NULL, NULL, 0), CADRE_EINVAL);
    assert_status(cadre_images_decoder(NULL, &decoder), 0);
    assert_true(decoder.max_pixels == UINT64_C(67108864) && decoder.max_encoded_bytes == UINT64_C(67108864) && !decoder.self);
    assert_status(cadre_images_decoder(&good, &decoder), 0);
    assert_ptr_equal(decoder.self, &good);
    sample_free(&s);
}

static void a_reason_is_cut_to_the_room_there_is(void **state)
{
    (void)state;
    cadre_image image;
    cadre_blob pixels;
    char whole[256], part[8] = "1234567";
    assert_status(cadre_images_decode(NULL, "GIF", 3, &image, &pixels, whole, sizeof whole), CADRE_EINPUT);
    assert_status(cadre_images_decode(NULL, "GIF", 3, &image, &pixels, part, sizeof part - 1), CADRE_EINPUT);
    assert_memory_equal(part, whole, 6);
    assert_true(part[6] == '\0' && part[7] == '\0');
    assert_status(cadre_images_decode(NULL, "GIF", 3, &image, &pixels, NULL, 100), CADRE_EINPUT);
    assert_status(cadre_images_decode(NULL, "GIF", 3, &image, &pixels, part, 0), CADRE_EINPUT);
}

/* ---- threads ---- */

static void decode_all(void *data)
{
    atomic_int *decoded = data;
    char names[FILES_MAX][64];
    size_t count = sample_names("decode.txt", names);
    for (size_t i = 0; i < count; i++) {
        sample s = sample_read(names[i]);
        cadre_image image;
        cadre_blob pixels;
        if (cadre_images_decode(NULL, s.bytes, s.length, &image, &pixels, NULL, 0) == CADRE_OK) atomic_fetch_add(decoded, 1);
        blob_free(&pixels);
        sample_free(&s);
    }
}

static void threads_decode_at_the_same_time(void **state)
{
    (void)state;
    char names[FILES_MAX][64];
    atomic_int decoded = 0;
    helper helpers[4];
    for (size_t i = 0; i < COUNT(helpers); i++) helper_start(&helpers[i], decode_all, &decoded);
    for (size_t i = 0; i < COUNT(helpers); i++) helper_join(&helpers[i]);
    assert_size(atomic_load(&decoded), COUNT(helpers) * sample_names("decode.txt", names));
}

/* ---- a pool ---- */

static void base64(const uint8_t *bytes, size_t length, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < length; i += 3) {
        size_t n = length - i < 3 ? length - i : 3;
        uint32_t word = (uint32_t)bytes[i] << 16 | (n > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) | (n > 2 ? bytes[i + 2] : 0);
        for (size_t k = 0; k < 4; k++) *out++ = k <= n ? digits[word >> (18 - 6 * k) & 63] : '=';
    }
    *out = '\0';
}

static fixture *begin(const cadre_images_options *options, cadre_image_decoder *decoder)
{
    cadre_pool_options pool = CADRE_POOL_OPTIONS_INIT;
    assert_status(cadre_images_decoder(options, decoder), 0);
    pool.decoder = decoder;
    return fixture_begin_with(&pool);
}

static answer *embed(script *s, cadre_image_input input)
{
    cadre_embed_images_params p = CADRE_EMBED_IMAGES_PARAMS_INIT;
    answer *a = answer_new(s->fx);
    p.key = s->key;
    p.images = &input;
    p.count = 1;
    p.on_done = answer_on_embeddings;
    p.data = a;
    a->rc = cadre_embed_images(s->fx->pool, &p, &a->id);
    assert_status(a->rc, 0);
    return a;
}

static void a_pool_takes_every_form(void **state)
{
    (void)state;
    /* A picture that carries a text, as the scripted models read it. */
    uint8_t buffer[64];
    cadre_image_input plain = picture("a cat on a mat", buffer, sizeof buffer);
    cadre_blob file;
    assert_status(cadre_images_encode_png(&plain.rgb8, &file), 0);
    char path[64], text[1024], url[1100];
    snprintf(path, sizeof path, "/tmp/cadre_test_%d.png", (int)getpid());
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_size(fwrite(file.data, 1, file.length, f), file.length);
    fclose(f);
    assert_true(file.length < 700);
    base64(file.data, file.length, text);
    snprintf(url, sizeof url, "data:image/png;base64,%s", text);

    cadre_image_decoder decoder;
    fixture *fx = begin(NULL, &decoder);
    script *s = script_ready(fx, CADRE_IMAGE_EMBEDDING, "m");
    answer *answers[] = {embed(s, cadre_image_from_bytes(file.data, file.length)), embed(s, cadre_image_from_string(CADRE_IMAGE_PATH, path)),
                         embed(s, cadre_image_from_string(CADRE_IMAGE_BASE64, text)), embed(s, cadre_image_from_string(CADRE_IMAGE_BASE64, url))};
    until_all_done(fx);
    for (size_t i = 0; i < COUNT(answers); i++) assert_answered(s, answers[i], "a cat on a mat");
    fixture_end(fx);
    unlink(path);
    blob_free(&file);
}

static void a_pool_says_why_a_picture_is_refused(void **state)
{
    (void)state;
    cadre_images_options options = CADRE_IMAGES_OPTIONS_INIT;
    options.max_pixels = 300;
    cadre_image_decoder decoder;
    fixture *fx = begin(&options, &decoder);
    script *s = script_ready(fx, CADRE_IMAGE_EMBEDDING, "m");
    sample large = sample_read("rgb8.png"), damaged = sample_read("checksum.png"), one = sample_read("one.png");
    answer *a = embed(s, cadre_image_from_bytes(large.bytes, large.length));
    until_done(a);
    assert_status(a->status, CADRE_EINPUT);
    assert_contains(a->detail, "23 × 17 pixels, above the limit of 300");
    a = embed(s, cadre_image_from_bytes(one.bytes, one.length));
    until_done(a);
    assert_status(a->status, 0);
    options.max_pixels = CADRE_DEFAULT; /* kept by reference, but the pool's own limit stays */
    a = embed(s, cadre_image_from_bytes(large.bytes, large.length));
    until_done(a);
    assert_status(a->status, CADRE_EINPUT);
    options.max_pixels = 0;
    a = embed(s, cadre_image_from_bytes(one.bytes, one.length));
    until_done(a);
    assert_status(a->status, CADRE_EINVAL);
    assert_contains(a->detail, "out of range");
    fixture_end(fx);

    fx = begin(NULL, &decoder);
    s = script_ready(fx, CADRE_IMAGE_EMBEDDING, "m");
    a = embed(s, cadre_image_from_bytes(damaged.bytes, damaged.length));
    until_done(a);
    assert_status(a->status, CADRE_EINPUT);
    assert_contains(a->detail, "checksum of the PNG chunk IDAT at byte 33");
    fixture_end(fx);
    sample_free(&large);
    sample_free(&damaged);
    sample_free(&one);
}

/* The decoder behind a gate, and what it answered. */
typedef struct gated {
    cadre_image_decoder decoder;
    gate gate;
    atomic_int entered, answer, answered;
    fixture *fx;
} gated;

static int decode_gated(void *self, cadre_op *op, const void *bytes, size_t length, uint64_t max_pixels, cadre_image *out, cadre_blob *pixels)
{
    gated *g = self;
    atomic_store(&g->entered, 1);
    fixture_wake(g->fx);
    gate_wait(&g->gate);
    int rc = g->decoder.decode(g->decoder.self, op, bytes, length, max_pixels, out, pixels);
    atomic_store(&g->answer, rc);
    atomic_store(&g->answered, 1);
    fixture_wake(g->fx);
    return rc;
}

static void a_cancelled_request_is_not_decoded(void **state)
{
    (void)state;
    gated g = {0};
    cadre_pool_options pool = CADRE_POOL_OPTIONS_INIT;
    assert_status(cadre_images_decoder(NULL, &g.decoder), 0);
    cadre_image_decoder wrapper = {sizeof wrapper, &g, g.decoder.max_pixels, g.decoder.max_encoded_bytes, decode_gated};
    pool.decoder = &wrapper;
    gate_init(&g.gate);
    gate_hold(&g.gate);
    fixture *fx = g.fx = fixture_begin_with(&pool);
    script *s = script_ready(fx, CADRE_IMAGE_EMBEDDING, "m");
    sample file = sample_read("rgb8.png");
    answer *a = embed(s, cadre_image_from_bytes(file.bytes, file.length));
    run_until_atomic(fx, &g.entered, 1);
    assert_status(cadre_request_cancel(fx->pool, a->id), 0);
    until_done(a);
    assert_status(a->status, CADRE_ECANCELED);
    gate_open(&g.gate);
    run_until_atomic(fx, &g.answered, 1);
    assert_status(atomic_load(&g.answer), CADRE_ECANCELED);
    fixture_end(fx);
    gate_destroy(&g.gate);
    sample_free(&file);
}

#define SUITE images_decode
#include "suite.h"
