/* WordPiece against the ids of the reference (reference/wordpiece.txt), and what it does at its limits. */
#define TESTS_wordpiece(X)                                                                                                                                     \
    X(hostile_texts_become_the_tokens_of_the_reference)                                                                                                        \
    X(the_limit_keeps_the_separator)                                                                                                                           \
    X(a_cut_text_is_not_read_to_its_end)                                                                                                                       \
    X(a_long_text_can_be_stopped)                                                                                                                              \
    X(what_is_not_utf8_is_refused)                                                                                                                             \
    X(of_equal_lines_the_last_counts)                                                                                                                          \
    X(marks_are_taken_in_their_canonical_order)                                                                                                                \
    X(files_that_are_no_vocabulary_say_why)

#include "support.h"

#include "backend.h"

#include <unistd.h>

static cadre__onnx_vocabulary *read_vocabulary(void)
{
    char detail[512] = "";
    cadre__onnx_vocabulary *v = NULL;
    const char *path = getenv("CADRE_TEST_MINILM_VOCAB");
    if (!path || !*path) fail_msg("CADRE_TEST_MINILM_VOCAB must name a file: sh examples/weights.sh makes it");
    int rc = cadre__onnx_vocabulary_read(path, &v, detail, sizeof detail);
    if (rc != 0) fail_msg("%s", detail);
    return v;
}

static int digit(char c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* "u HEX ID ID …" */
static void check_line(const cadre__onnx_vocabulary *v, char *line)
{
    static char text[65536];
    size_t length = 0;
    cadre__onnx_tokens tokens = {0};
    char *at = line + 2;
    for (; *at != ' ' && *at != '\n'; at += 2) {
        if (*at == '-') {
            at++;
            break;
        }
        text[length++] = (char)(digit(at[0]) * 16 + digit(at[1]));
    }
    text[length] = '\0';
    row("%.200s", line);
    assert_true(cadre__onnx_wordpiece(v, text, line[0] == 'u', SIZE_MAX, false, NULL, NULL, &tokens) >= 2);
    assert_true(tokens.count >= 2);
    assert_int_equal(tokens.at[0], cadre__onnx_vocabulary_specials(v)->first);
    assert_int_equal(tokens.at[tokens.count - 1], cadre__onnx_vocabulary_specials(v)->last);
    for (size_t i = 1; i < tokens.count - 1; i++) assert_int_equal(tokens.at[i], strtol(at, &at, 10));
    assert_int_equal(*at, '\n');
    cadre__onnx_tokens_clear(&tokens);
}

static void hostile_texts_become_the_tokens_of_the_reference(void **state)
{
    (void)state;
    cadre__onnx_vocabulary *v = read_vocabulary();
    FILE *file = fopen(CADRE_REFERENCE, "r");
    char *line = NULL;
    size_t capacity = 0, lines = 0;
    assert_non_null(file);
    for (; getline(&line, &capacity, file) > 0; lines++) check_line(v, line);
    assert_true(lines >= 700);
    free(line);
    fclose(file);
    cadre__onnx_vocabulary_destroy(v);
}

static void the_limit_keeps_the_separator(void **state)
{
    (void)state;
    cadre__onnx_vocabulary *v = read_vocabulary();
    cadre__onnx_tokens tokens = {0};
    assert_int_equal(cadre__onnx_wordpiece(v, "one two three four", true, 4, false, NULL, NULL, &tokens), 6);
    assert_size(tokens.count, 4);
    assert_int_equal(tokens.at[3], cadre__onnx_vocabulary_specials(v)->last);
    row("appended to what is there");
    assert_int_equal(cadre__onnx_wordpiece(v, "one two three four", true, 6, false, NULL, NULL, &tokens), 6);
    assert_size(tokens.count, 10);
    assert_int_equal(tokens.at[4], cadre__onnx_vocabulary_specials(v)->first);
    assert_memory_equal(tokens.at, tokens.at + 4, 3 * sizeof *tokens.at);
    cadre__onnx_tokens_clear(&tokens);
    cadre__onnx_vocabulary_destroy(v);
}

#define LONG_TEXT 4000000

static char *long_text(void)
{
    char *text = malloc(LONG_TEXT + 1);
    assert_non_null(text);
    for (size_t i = 0; i < LONG_TEXT; i++) text[i] = i % 2 ? ' ' : 'a';
    text[LONG_TEXT] = '\0';
    return text;
}

static bool count_looks(void *data)
{
    return ++*(int *)data == 3;
}

static void a_cut_text_is_not_read_to_its_end(void **state)
{
    (void)state;
    cadre__onnx_vocabulary *v = read_vocabulary();
    cadre__onnx_tokens tokens = {0};
    char *text = long_text();
    int looks = 0;
    assert_true(cadre__onnx_wordpiece(v, text, true, 100, true, count_looks, &looks, &tokens) < 200);
    assert_size(tokens.count, 100);
    assert_int_equal(looks, 0);
    row("but counted without the cut");
    tokens.count = 0;
    assert_int_equal(cadre__onnx_wordpiece(v, text, true, 100, false, NULL, NULL, &tokens), LONG_TEXT / 2 + 2);
    assert_size(tokens.count, 100);
    free(text);
    cadre__onnx_tokens_clear(&tokens);
    cadre__onnx_vocabulary_destroy(v);
}

static void a_long_text_can_be_stopped(void **state)
{
    (void)state;
    cadre__onnx_vocabulary *v = read_vocabulary();
    cadre__onnx_tokens tokens = {0};
    char *text = long_text();
    int looks = 0;
    assert_status((int)cadre__onnx_wordpiece(v, text, true, SIZE_MAX, false, count_looks, &looks, &tokens), CADRE_ECANCELED);
    assert_int_equal(looks, 3);
    free(text);
    cadre__onnx_tokens_clear(&tokens);
    cadre__onnx_vocabulary_destroy(v);
}

static void what_is_not_utf8_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"a\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "abc\xe2\x82", "\x80"};
    cadre__onnx_vocabulary *v = read_vocabulary();
    cadre__onnx_tokens tokens = {0};
    for (size_t i = 0; i < COUNT(texts); i++) {
        row("%zu", i);
        assert_status((int)cadre__onnx_wordpiece(v, texts[i], true, 512, false, NULL, NULL, &tokens), CADRE_EINPUT);
    }
    cadre__onnx_tokens_clear(&tokens);
    cadre__onnx_vocabulary_destroy(v);
}

static void write_file(const char *path, const char *text, size_t length)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static void of_equal_lines_the_last_counts(void **state)
{
    (void)state;
    static const char text[] = "[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\nab\r\n##c\r\n\r\nab";
    char detail[512] = "";
    cadre__onnx_vocabulary *v = NULL;
    cadre__onnx_tokens tokens = {0};
    write_file("words.txt", text, sizeof text - 1);
    assert_status(cadre__onnx_vocabulary_read("words.txt", &v, detail, sizeof detail), 0);
    unlink("words.txt");
    assert_int_equal(cadre__onnx_vocabulary_size(v), 8);
    assert_int_equal(cadre__onnx_wordpiece(v, "abc abd", true, 512, false, NULL, NULL, &tokens), 5);
    static const int32_t expected[] = {2, 7, 5, 1, 3};
    assert_memory_equal(tokens.at, expected, sizeof expected);
    cadre__onnx_tokens_clear(&tokens);
    cadre__onnx_vocabulary_destroy(v);
}

/* U+1D165 has the combining class 216, U+1D16D 226, U+0301 230 and goes, U+093E 0: what follows that stays behind it. */
static void marks_are_taken_in_their_canonical_order(void **state)
{
    (void)state;
    static const char text[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\U0001D165\U0001D16D\na\U0001D16D\u093E\U0001D165\n";
    static const struct {
        const char *text;
        int32_t expected;
    } cases[] = {{"a\U0001D165\U0001D16D", 4},       {"a\U0001D16D\U0001D165", 4},       {"a\u0301\U0001D16D\U0001D165", 4},
                 {"a\U0001D16D\u0301\U0001D165", 4}, {"a\U0001D16D\u093E\U0001D165", 5}, {"a\U0001D165\u093E\U0001D16D", 1}};
    char detail[512] = "";
    cadre__onnx_vocabulary *v = NULL;
    write_file("marks.txt", text, sizeof text - 1);
    assert_status(cadre__onnx_vocabulary_read("marks.txt", &v, detail, sizeof detail), 0);
    unlink("marks.txt");
    for (size_t i = 0; i < COUNT(cases); i++) {
        cadre__onnx_tokens tokens = {0};
        row("%zu", i);
        assert_int_equal(cadre__onnx_wordpiece(v, cases[i].text, true, 512, false, NULL, NULL, &tokens), 3);
        assert_int_equal(tokens.at[1], cases[i].expected);
        cadre__onnx_tokens_clear(&tokens);
    }
    cadre__onnx_vocabulary_destroy(v);
}

static void files_that_are_no_vocabulary_say_why(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text, *says;
    } cases[] = {{"no-such.txt", NULL, "no such file"},
                 {".", NULL, "directory"},
                 {"/dev/null", NULL, "not a regular file"},
                 {"empty.txt", "", "0 lines is [PAD]"},
                 {"text.txt", "hello\nworld\n", "2 lines is [PAD]"},
                 {"half.txt", "[PAD]\n[UNK]\n[CLS]\n", "3 lines is [SEP]"},
                 {"inside.txt", "##[PAD]\n[UNK]\n[CLS]\n[SEP]\n", "[PAD]"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        char detail[512] = "";
        cadre__onnx_vocabulary *v = NULL;
        row("%s", cases[i].name);
        if (cases[i].text) write_file(cases[i].name, cases[i].text, strlen(cases[i].text));
        assert_status(cadre__onnx_vocabulary_read(cases[i].name, &v, detail, sizeof detail), CADRE_EFORMAT);
        assert_contains(detail, cases[i].name);
        assert_contains(detail, cases[i].says);
        if (cases[i].text) unlink(cases[i].name);
    }
}

#define SUITE wordpiece
#include "suite.h"
