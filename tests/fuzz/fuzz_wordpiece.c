/* WordPiece: a vocabulary as its file says it, and texts cut by it. An input is a byte of options, a byte for the limit, the vocabulary up to the first zero
 * byte, and texts, each up to the next one. Half of the vocabularies get the four special pieces put before them, without which none is accepted.
 *
 * Each line must be found under its number, the later of two that are alike. Whatever the text: [CLS] first, [SEP] last, every token of the vocabulary, and a
 * limit changes nothing but where it ends. Texts in ASCII are cut once more by a splitter of this file's own, which looks every piece up line by line. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memfd_create */
#endif
#include "fuzz.h"

#include <backend.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define VOCABULARY_FD 203
#define LINES_MAX 4096
#define WORD_MAX 100

typedef struct words {
    const char *at[LINES_MAX];
    size_t length[LINES_MAX];
    int32_t count;
} words;

static words lines;

static void split_lines(const char *text, size_t size)
{
    lines.count = 0;
    for (size_t at = 0; at < size;) {
        const char *newline = memchr(text + at, '\n', size - at);
        size_t end = newline ? (size_t)(newline - text) : size, length = end - at;
        if (lines.count == LINES_MAX) fuzz_fail("too many lines");
        if (length && text[end - 1] == '\r') length--;
        lines.at[lines.count] = text + at;
        lines.length[lines.count++] = length;
        at = end + 1;
    }
}

static int32_t look_up(const char *piece, size_t length, bool inside)
{
    for (int32_t i = lines.count - 1; i >= 0; i--) {
        bool marked = lines.length[i] > 2 && memcmp(lines.at[i], "##", 2) == 0;
        if (marked == inside && lines.length[i] - 2 * marked == length && memcmp(lines.at[i] + 2 * marked, piece, length) == 0 && length) return i;
    }
    return -1;
}

static void check_lines(const cadre__onnx_vocabulary *v)
{
    FUZZ_CHECK(cadre__onnx_vocabulary_size(v) == lines.count, "%d pieces of %d lines", (int)cadre__onnx_vocabulary_size(v), (int)lines.count);
    for (int32_t i = 0; i < lines.count; i++) {
        bool inside = lines.length[i] > 2 && memcmp(lines.at[i], "##", 2) == 0;
        const char *piece = lines.at[i] + 2 * inside;
        size_t length = lines.length[i] - 2 * inside;
        for (int other = 0; other < 2; other++)
            FUZZ_CHECK(cadre__onnx_vocabulary_find(v, piece, length, other) == look_up(piece, length, other), "line %d is found as %d", (int)i,
                       (int)cadre__onnx_vocabulary_find(v, piece, length, other));
    }
}

/* ---- the reference, of ASCII ---- */

static void push(cadre__onnx_tokens *out, int32_t token)
{
    if (out->count == out->capacity) {
        out->capacity = 2 * out->capacity + 16;
        out->at = realloc(out->at, out->capacity * sizeof *out->at);
        if (!out->at) abort();
    }
    out->at[out->count++] = token;
}

static void cut_word(const char *word, size_t length, int32_t unknown, cadre__onnx_tokens *out)
{
    size_t before = out->count;
    for (size_t at = 0, end; at < length; at = end) {
        int32_t found = -1;
        for (end = length > WORD_MAX ? at : length; end > at; end--)
            if ((found = look_up(word + at, end - at, at > 0)) >= 0) break;
        if (found < 0) {
            out->count = before;
            push(out, unknown);
            return;
        }
        push(out, found);
    }
}

/* False: the text is not ASCII. */
static bool reference(const char *text, bool lower_case, const cadre__onnx_specials *specials, cadre__onnx_tokens *out)
{
    char *word = malloc(strlen(text) + 1);
    size_t length = 0;
    bool ascii = word != NULL;
    push(out, specials->first);
    for (const char *c = text; ascii; c++) {
        bool space = !*c || strchr(" \t\n\r", *c), punctuation = *c > ' ' && *c < 127 && !strchr("0123456789", *c) && ((*c | 32) < 'a' || (*c | 32) > 'z');
        if ((space || punctuation) && length) cut_word(word, length, specials->unknown, out), length = 0;
        if (!*c) break;
        if (punctuation) cut_word(c, 1, specials->unknown, out);
        if (!space && !punctuation && *c > ' ' && *c < 127) word[length++] = lower_case && *c < 'a' && *c > '9' ? (char)(*c + 32) : *c;
        ascii = (unsigned char)*c < 128;
    }
    push(out, specials->last);
    free(word);
    return ascii;
}

static void check_text(const cadre__onnx_vocabulary *v, const char *text, bool lower_case, size_t limit)
{
    const cadre__onnx_specials *specials = cadre__onnx_vocabulary_specials(v);
    cadre__onnx_tokens whole = {0}, part = {0}, expected = {0};
    int64_t total = cadre__onnx_wordpiece(v, text, lower_case, SIZE_MAX, false, NULL, NULL, &whole);
    int64_t again = cadre__onnx_wordpiece(v, text, lower_case, limit, false, NULL, NULL, &part);
    FUZZ_CHECK(total == again && (total == CADRE_EINPUT || total >= 2), "%lld tokens, with a limit %lld", (long long)total, (long long)again);
    if (total > 0) {
        size_t count = (size_t)total < limit ? (size_t)total : limit;
        FUZZ_CHECK(whole.count == (size_t)total && part.count == count, "%zu and %zu of %lld tokens", whole.count, part.count, (long long)total);
        FUZZ_CHECK(memcmp(whole.at, part.at, (count - 1) * sizeof *part.at) == 0 && part.at[count - 1] == specials->last, "a limit changes the tokens");
        FUZZ_CHECK(whole.at[0] == specials->first && whole.at[whole.count - 1] == specials->last, "the ends");
        for (size_t i = 0; i < whole.count; i++) FUZZ_CHECK(whole.at[i] >= 0 && whole.at[i] < lines.count, "the token %d", (int)whole.at[i]);
        if (reference(text, lower_case, specials, &expected))
            FUZZ_CHECK(expected.count == whole.count && memcmp(expected.at, whole.at, whole.count * sizeof *whole.at) == 0, "\"%s\" is cut into other tokens",
                       text);
        part.count = 0;
        again = cadre__onnx_wordpiece(v, text, lower_case, limit, true, NULL, NULL, &part);
        FUZZ_CHECK(part.count == count && (again == total || again > (int64_t)limit || (again == (int64_t)limit && again < total)), "cut: %lld of %lld tokens",
                   (long long)again, (long long)total);
        FUZZ_CHECK(memcmp(whole.at, part.at, (count - 1) * sizeof *part.at) == 0 && part.at[count - 1] == specials->last, "a cut changes the tokens");
    }
    free(expected.at);
    cadre__onnx_tokens_clear(&whole);
    cadre__onnx_tokens_clear(&part);
}

static void check_texts(const cadre__onnx_vocabulary *v, const fuzz_bytes *b, bool lower_case, size_t limit)
{
    for (size_t at = 0; at < b->left;) {
        const uint8_t *end = memchr(b->at + at, 0, b->left - at);
        size_t length = end ? (size_t)(end - b->at) - at : b->left - at;
        char *text = malloc(length + 1);
        if (!text) abort();
        memcpy(text, b->at + at, length);
        text[length] = '\0';
        check_text(v, text, lower_case, limit);
        free(text);
        at += length + 1;
    }
}

static char *make_vocabulary(fuzz_bytes *b, bool specials, size_t *size)
{
    static const char names[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n";
    const uint8_t *end = b->left ? memchr(b->at, 0, b->left) : NULL;
    size_t length = end ? (size_t)(end - b->at) : b->left, before = specials ? strlen(names) : 0;
    char *text = malloc(before + length + 1);
    if (!text) abort();
    memcpy(text, names, before);
    memcpy(text + before, b->at, length);
    *size = before + length;
    b->at += length + (end != NULL);
    b->left -= length + (end != NULL);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    fuzz_bytes b = {data, size > LINES_MAX - 8 ? LINES_MAX - 8 : size};
    char path[64], detail[CADRE__ONNX_DETAIL] = "";
    cadre__onnx_vocabulary *v;
    uint8_t options = fuzz_byte(&b);
    size_t limit = 2 + fuzz_byte(&b), length;
    if (!ready && dup2(memfd_create("fuzz", MFD_CLOEXEC), VOCABULARY_FD) < 0) fuzz_fail("no file in memory can be made");
    ready = true;
    char *text = make_vocabulary(&b, options & 1, &length);
    if (ftruncate(VOCABULARY_FD, 0) != 0 || pwrite(VOCABULARY_FD, text, length, 0) != (ssize_t)length) fuzz_fail("the file cannot be written");
    split_lines(text, length);
    snprintf(path, sizeof path, "/proc/self/fd/%d", VOCABULARY_FD);
    int rc = cadre__onnx_vocabulary_read(path, &v, detail, sizeof detail);
    bool whole = look_up("[PAD]", 5, false) >= 0 && look_up("[UNK]", 5, false) >= 0 && look_up("[CLS]", 5, false) >= 0 && look_up("[SEP]", 5, false) >= 0;
    FUZZ_CHECK(rc == (whole ? CADRE_OK : CADRE_EFORMAT) && (rc == CADRE_OK || detail[0]), "a vocabulary ends with %s, \"%s\"", cadre_err_name(rc), detail);
    if (rc == CADRE_OK) {
        check_lines(v);
        check_texts(v, &b, options & 2, limit);
        cadre__onnx_vocabulary_destroy(v);
    }
    free(text);
    return 0;
}
