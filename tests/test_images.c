/* The forms in which a picture may come, for both capabilities that take pictures; test_urls.c has what is special about URLs. */
#include "codec.h"

#include <unistd.h>

typedef struct form_case {
    const char *name;
    cadre_image_form form;
    const char *string;
    const char *expected; /* the text in the picture; NULL: on_done has CADRE_EINPUT */
    bool decodes;
} form_case;

static char path_good[64], path_bad[64], path_big[64], path_none[64];
static char base64_big[8192];

static void write_file(char *path, size_t size, const char *name, const char *content, size_t length)
{
    snprintf(path, size, "/tmp/cadre_test_%d_%s", (int)getpid(), name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    for (size_t i = 0; i < length; i++) fputc(content[i % strlen(content)], f);
    fclose(f);
}

static cadre_image_input input_of(const form_case *c, uint8_t *buffer, size_t size)
{
    if (c->form == CADRE_IMAGE_RGB8) return picture(c->string, buffer, size);
    if (c->form == CADRE_IMAGE_BYTES) {
        memcpy(buffer, c->string, strlen(c->string));
        return cadre_image_from_bytes(buffer, strlen(c->string));
    }
    return cadre_image_from_string(c->form, c->string);
}

static const form_case forms[] = {
    {"RGB8", CADRE_IMAGE_RGB8, "dot", "dot", false},
    {"bytes", CADRE_IMAGE_BYTES, "PIC:cat", "cat", true},
    {"damaged bytes", CADRE_IMAGE_BYTES, "JPG:cat", NULL, true},
    {"path", CADRE_IMAGE_PATH, path_good, "cat", true},
    {"path to something else", CADRE_IMAGE_PATH, path_bad, NULL, true},
    {"path to too much", CADRE_IMAGE_PATH, path_big, NULL, false},
    {"path to nothing", CADRE_IMAGE_PATH, path_none, NULL, false},
    {"path to a folder", CADRE_IMAGE_PATH, "/tmp", NULL, false},
    {"base64", CADRE_IMAGE_BASE64, "UElDOmNhdA==", "cat", true},
    {"base64 in lines", CADRE_IMAGE_BASE64, "UElD\nOmNh\r\ndA==\n", NULL, false},
    {"data URL", CADRE_IMAGE_BASE64, "data:image/png;base64,UElDOmNhdA==", "cat", true},
    {"base64 without an end", CADRE_IMAGE_BASE64, "UElDOmNhdA", NULL, false},
    {"base64 of something else", CADRE_IMAGE_BASE64, "SlBHOmNhdA==", NULL, true},
    {"base64 with a wrong sign", CADRE_IMAGE_BASE64, "UElD!mNhdA==", NULL, false},
    {"base64 that stops", CADRE_IMAGE_BASE64, "UElDO", NULL, false},
    {"base64 of too much", CADRE_IMAGE_BASE64, base64_big, NULL, false},
    {"data URL without base64", CADRE_IMAGE_BASE64, "data:image/png,PIC:cat", NULL, false},
    {"URL", CADRE_IMAGE_URL, "https://host/cat", "cat", true},
    {"URL that is not there", CADRE_IMAGE_URL, "https://host/dog", NULL, false},
};

static void every_form_of_picture_reaches_the_model_decoded(void **state)
{
    (void)state;
    write_file(path_good, sizeof path_good, "good", "PIC:cat", 7);
    write_file(path_bad, sizeof path_bad, "bad", "JPG:cat", 7);
    write_file(path_big, sizeof path_big, "big", "PIC:cat", 4097);
    snprintf(path_none, sizeof path_none, "/tmp/cadre_test_%d_none", (int)getpid());
    memset(base64_big, 'A', 8000);
    for (size_t k = 0; k < COUNT(both); k++)
        for (size_t i = 0; i < COUNT(forms); i++) {
            const form_case *form = &forms[i];
            row("%s %s", cadre_capability_name(both[k]), form->name);
            codec c;
            fixture *fx = begin(&c, true, true);
            script *s = script_ready(fx, both[k], "m");
            uint8_t buffer[64], expected_buffer[64];
            cadre_image_input input = input_of(form, buffer, sizeof buffer);
            cadre_image_input expected_input = picture(form->expected ? form->expected : "", expected_buffer, sizeof expected_buffer);
            cadre_describe_params expected = CADRE_DESCRIBE_PARAMS_INIT;
            expected.query = "look";
            expected.images = &expected_input;
            expected.image_count = 1;
            if (both[k] == CADRE_VISION) script_expect(s, &expected);
            answer *a = answer_new(fx);
            assert_status(look_at(s, a, &input, 1), 0);
            memset(buffer, 0xff, sizeof buffer);
            until_done(a);
            if (form->expected)
                assert_answered(s, a, both[k] == CADRE_VISION ? "look" : form->expected);
            else
                assert_status(a->status, CADRE_EINPUT);
            if (!form->expected) assert_true(a->detail[0] != '\0');
            assert_int_equal(atomic_load(&c.decoded), form->decodes);
            assert_int_equal(atomic_load(&c.fetched), form->form == CADRE_IMAGE_URL);
            s->expected_count = 0;
            /* A bad picture is the request's fault alone. */
            answer *next = ask(s, "next");
            until_done(next);
            assert_answered(s, next, "next");
            settle(fx);
            assert_int_equal(atomic_load(&c.blobs), 0);
            fixture_end(fx);
        }
    unlink(path_good);
    unlink(path_bad);
    unlink(path_big);
}

static void forms_without_a_decoder_or_fetcher_are_enotsup(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT(both); k++)
        for (size_t i = 0; i < COUNT(forms); i++)
            for (int decoder = 0; decoder < 2; decoder++) {
                const form_case *form = &forms[i];
                if (decoder && form->form != CADRE_IMAGE_URL) continue;
                row("%s %s", cadre_capability_name(both[k]), form->name);
                codec c;
                fixture *fx = begin(&c, decoder, false);
                script *s = script_ready(fx, both[k], "m");
                uint8_t buffer[64];
                cadre_image_input input = input_of(form, buffer, sizeof buffer);
                answer *a = answer_new(fx);
                assert_status(look_at(s, a, &input, 1), form->form == CADRE_IMAGE_RGB8 ? 0 : CADRE_ENOTSUP);
                if (a->rc < 0) assert_contains(cadre_pool_error_detail(fx->pool), decoder ? "fetcher" : "decoder");
                until_all_done(fx);
                fixture_end(fx);
            }
}

static void one_bad_picture_of_a_batch_fails_the_request(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT(both); k++) {
        codec c;
        fixture *fx = begin(&c, true, true);
        script *s = script_ready(fx, both[k], "m");
        uint8_t buffer[6][64];
        cadre_image_input inputs[6];
        for (size_t i = 0; i < 6; i++) inputs[i] = input_of(&forms[i == 5 ? 2 : 1], buffer[i], sizeof buffer[i]);
        answer *bad = answer_new(fx), *good = answer_new(fx);
        assert_status(look_at(s, bad, inputs, 6), 0);
        assert_status(look_at(s, good, inputs, 5), 0);
        until_all_done(fx);
        assert_status(bad->status, CADRE_EINPUT);
        assert_contains(bad->detail, "no picture in 7 bytes");
        assert_status(good->status, 0);
        if (both[k] == CADRE_IMAGE_EMBEDDING) assert_size(good->count, 5);
        settle(fx);
        assert_int_equal(atomic_load(&c.blobs), 0);
        fixture_end(fx);
    }
}

#define SUITE images
#include "suite.h"
