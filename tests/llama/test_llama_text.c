/* Pieces of tokens become text: whole code points, U+FFFD for what is none, stop strings found across pieces. No engine. */
#define TESTS_llama_text(X)                                                                                                                                    \
    X(utf8_is_valid_or_not)                                                                                                                                    \
    X(a_text_is_cut_between_code_points)                                                                                                                       \
    X(code_points_are_emitted_whole_however_they_are_cut)                                                                                                      \
    X(what_is_no_code_point_is_replaced)                                                                                                                       \
    X(a_stop_string_is_found_however_it_is_cut)                                                                                                                \
    X(what_only_began_like_a_stop_string_is_emitted)                                                                                                           \
    X(an_unfinished_code_point_at_the_end)

#include "support.h"

#include "backend.h"

typedef struct sink {
    char text[256];
    size_t length;
    int fail;
} sink;

int sink_emit(cadre_op *op, const char *text, size_t length)
{
    sink *s = (sink *)(void *)op;
    assert_true(length > 0);
    assert_true(cadre__llama_utf8_valid(text, length));
    assert_true(s->length + length < sizeof s->text);
    memcpy(s->text + s->length, text, length);
    s->length += length;
    return s->fail;
}

/* Pushes `bytes` in pieces of `size`; the last return, and what came out in `s`. */
static int push_in(sink *s, const char *bytes, size_t size, const char *const *stop, size_t stop_count, bool cut)
{
    cadre__llama_text text = {0};
    size_t length = strlen(bytes);
    int rc = 0;
    memset(s, 0, sizeof *s);
    cadre__llama_text_start(&text, stop, stop_count);
    for (size_t at = 0; rc == 0 && at < length; at += size)
        rc = cadre__llama_text_push(&text, (cadre_op *)(void *)s, bytes + at, size < length - at ? size : length - at);
    if (rc == 0) rc = cadre__llama_text_finish(&text, (cadre_op *)(void *)s, cut);
    cadre__llama_text_clear(&text);
    return rc;
}

static void utf8_is_valid_or_not(void **state)
{
    (void)state;
    static const char *const good[] = {"", "a", "\xC2\x80", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"};
    static const char *const bad[] = {
        "\x80",     "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80",
        "\xE2\x82", "\xC2",     "a\xFF",    "\xE2\x82z"};
    for (size_t i = 0; i < COUNT(good); i++) assert_true(cadre__llama_utf8_valid(good[i], strlen(good[i])));
    for (size_t i = 0; i < COUNT(bad); i++) assert_false(cadre__llama_utf8_valid(bad[i], strlen(bad[i])));
}

static void a_text_is_cut_between_code_points(void **state)
{
    (void)state;
    static const char text[] = "a\xC3\xAF\xE2\x82\xAC\xF0\x9F\x8C\x88";
    static const int lengths[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 10, 10};
    for (int most = 0; most < (int)COUNT(lengths); most++) assert_int_equal(cadre__llama_text_cut(text, most), lengths[most]);
    assert_int_equal(cadre__llama_text_cut("\x80\x80\x80", 2), 0);
}

static void code_points_are_emitted_whole_however_they_are_cut(void **state)
{
    (void)state;
    static const char text[] = "na\xC3\xAFve \xE2\x82\xAC \xF0\x9F\x8C\x88!";
    sink s;
    for (size_t size = 1; size <= sizeof text; size++) {
        row("pieces of %zu", size);
        assert_int_equal(push_in(&s, text, size, NULL, 0, false), 0);
        assert_string_equal(s.text, text);
    }
}

static void what_is_no_code_point_is_replaced(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *text;
    } cases[] = {
        {"a\xFF"
         "b",
         "a\xEF\xBF\xBD"
         "b"},
        {"\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xE2\x82z", "\xEF\xBF\xBDz"},
        {"\xE2\xC3\xA9", "\xEF\xBF\xBD\xC3\xA9"},
        {"\xF0\x9F\x8C\xF0\x9F\x8C\x88", "\xEF\xBF\xBD\xF0\x9F\x8C\x88"},
        {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
    };
    sink s;
    for (size_t i = 0; i < COUNT(cases); i++)
        for (size_t size = 1; size < 5; size++) {
            row("case %zu, pieces of %zu", i, size);
            assert_int_equal(push_in(&s, cases[i].bytes, size, NULL, 0, false), 0);
            assert_string_equal(s.text, cases[i].text);
        }
}

static void a_stop_string_is_found_however_it_is_cut(void **state)
{
    (void)state;
    static const char *const stop[] = {"zzz", "</end>", "\xE2\x82\xAC"};
    static const struct {
        const char *bytes, *text;
    } cases[] = {{"one two</end> three", "one two"},      {"</end>", ""}, {"<</e</end>", "<</e"},
                 {"price: 4 \xE2\x82\xAC.", "price: 4 "}, {"zzzz", ""},   {"a zz zzz</end>", "a zz "}};
    sink s;
    for (size_t i = 0; i < COUNT(cases); i++)
        for (size_t size = 1; size < 24; size++) {
            row("case %zu, pieces of %zu", i, size);
            assert_int_equal(push_in(&s, cases[i].bytes, size, stop, COUNT(stop), false), 1);
            assert_string_equal(s.text, cases[i].text);
        }
}

static void what_only_began_like_a_stop_string_is_emitted(void **state)
{
    (void)state;
    static const char *const stop[] = {"</end>"};
    sink s;
    for (size_t size = 1; size < 12; size++) {
        assert_int_equal(push_in(&s, "a </e b </end", size, stop, 1, false), 0);
        assert_string_equal(s.text, "a </e b </end");
    }
}

/* Cut off by a limit it is dropped; where the model ended its answer it is a fault of the model's. */
static void an_unfinished_code_point_at_the_end(void **state)
{
    (void)state;
    sink s;
    assert_int_equal(push_in(&s, "a\xE2\x82", 1, NULL, 0, true), 0);
    assert_string_equal(s.text, "a");
    assert_int_equal(push_in(&s, "a\xE2\x82", 1, NULL, 0, false), 0);
    assert_string_equal(s.text, "a\xEF\xBF\xBD");
}

#define SUITE llama_text
#include "suite.h"
