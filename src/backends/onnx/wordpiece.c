/* BERT's tokens, as the tokenizers library makes them (BertNormalizer, BertPreTokenizer, WordPiece), which follows tokenization.py of google-research/bert. In
 * their order, for each code point:
 *     clean       U+0000, U+FFFD and control characters (Cc, Cf, Co, but tab, LF, CR) go; white space parts words
 *     ideographs  CJK ideographs stand alone
 *     accents     with lower_case: canonical decomposition, nonspacing marks (Mn) go
 *     lower case  with lower_case: each code point for itself, so that a final sigma is as any other
 *     punctuation ASCII's, and categories P*, stands alone
 * A word is then cut into the longest pieces that the vocabulary has, from its beginning; one that cannot be, or has more than 100 code points, is [UNK]. The
 * names of special tokens within a text are text. Properties are Unicode's, by libutf8proc. */
#include "backend.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define WORD_MAX 100                   /* code points: max_input_chars_per_word of the reference */
#define LOOK_EVERY (UINT64_C(1) << 16) /* bytes between two looks at `stop` */

typedef struct splitter {
    const cadre__onnx_vocabulary *vocabulary;
    bool lower_case;
    size_t room; /* of `out`, but for [SEP] */
    int64_t total;
    cadre__onnx_tokens *out;
    bool failed; /* no memory */
    /* the word so far; when it has become too long it only counts */
    int32_t word[WORD_MAX + 1];
    size_t length;
    size_t barrier; /* what is before it in the word is in canonical order for good */
} splitter;

void cadre__onnx_tokens_clear(cadre__onnx_tokens *tokens)
{
    free(tokens->at);
    *tokens = (cadre__onnx_tokens){0};
}

static void push(splitter *s, int32_t token)
{
    cadre__onnx_tokens *out = s->out;
    if ((uint64_t)s->total++ >= s->room) return;
    if (out->count == out->capacity) {
        size_t capacity = out->capacity ? 2 * out->capacity : 256;
        int32_t *at = realloc(out->at, capacity * sizeof(*at));
        if (!at) {
            s->failed = true;
            return;
        }
        out->at = at;
        out->capacity = capacity;
    }
    out->at[out->count++] = token;
}

/* ---- words to pieces ---- */

/* Takes pieces[] for the word's UTF-8; 0: it cannot be cut. */
static size_t cut_word(const splitter *s, const char *bytes, size_t size, int32_t *pieces)
{
    size_t count = 0, longest = cadre__onnx_vocabulary_longest(s->vocabulary);
    for (size_t at = 0; at < size;) {
        size_t end = size - at < longest ? size : at + longest;
        int32_t found = -1;
        for (; end > at; end--) {
            if (end < size && ((unsigned char)bytes[end] & 0xC0) == 0x80) continue;
            found = cadre__onnx_vocabulary_find(s->vocabulary, bytes + at, end - at, at > 0);
            if (found >= 0) break;
        }
        if (found < 0) return 0;
        pieces[count++] = found;
        at = end;
    }
    return count;
}

static void end_word(splitter *s)
{
    char bytes[4 * WORD_MAX];
    int32_t pieces[WORD_MAX];
    size_t size = 0, count = 0;
    if (s->length == 0) return;
    if (s->length <= WORD_MAX) {
        for (size_t i = 0; i < s->length; i++) size += (size_t)utf8proc_encode_char(s->word[i], (utf8proc_uint8_t *)bytes + size);
        count = cut_word(s, bytes, size, pieces);
    }
    s->length = s->barrier = 0;
    if (count == 0) push(s, cadre__onnx_vocabulary_specials(s->vocabulary)->unknown);
    for (size_t i = 0; i < count; i++) push(s, pieces[i]);
}

/* ---- text to words ---- */

static bool is_ideograph(int32_t c)
{
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
           (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) || (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

static bool is_space(int32_t c, utf8proc_category_t category)
{
    return c == '\t' || c == '\n' || c == '\r' || category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
}

static bool is_dropped(int32_t c, utf8proc_category_t category)
{
    bool control = category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF || category == UTF8PROC_CATEGORY_CO;
    return c == 0 || c == 0xFFFD || (control && c != '\t' && c != '\n' && c != '\r');
}

static bool is_punctuation(int32_t c)
{
    if (c < 0x80) return c > ' ' && c < 0x7F && !((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'));
    utf8proc_category_t category = utf8proc_category(c);
    return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

static void add(splitter *s, int32_t c)
{
    if (s->length > WORD_MAX) return;
    s->word[s->length++] = c;
}

static void alone(splitter *s, int32_t c)
{
    end_word(s);
    add(s, c);
    end_word(s);
}

/* One code point of the normalised text. */
static void take(splitter *s, int32_t c)
{
    if (is_punctuation(c))
        alone(s, c);
    else
        add(s, c);
}

/* One code point of a decomposition. Combining marks that stay (of category Mc, with a class) are put in the canonical order of their classes. */
static void take_decomposed(splitter *s, int32_t c)
{
    const utf8proc_property_t *property = utf8proc_get_property(c);
    if (property->category != UTF8PROC_CATEGORY_MN) take(s, utf8proc_tolower(c));
    if (property->combining_class == 0) s->barrier = s->length;
    if (property->combining_class == 0 || property->category == UTF8PROC_CATEGORY_MN) return;
    if (s->length > WORD_MAX) return;
    for (size_t i = s->length; i > s->barrier + 1 && utf8proc_get_property(s->word[i - 2])->combining_class > property->combining_class; i--) {
        int32_t before = s->word[i - 2];
        s->word[i - 2] = s->word[i - 1];
        s->word[i - 1] = before;
    }
}

static void normalise(splitter *s, int32_t c)
{
    int32_t parts[32];
    int last_boundclass = 0;
    if (c < 0x80) {
        take(s, c >= 'A' && c <= 'Z' ? c + 32 : c);
        s->barrier = s->length;
        return;
    }
    utf8proc_ssize_t count = utf8proc_decompose_char(c, parts, 32, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, &last_boundclass);
    for (utf8proc_ssize_t i = 0; i < count && i < 32; i++) take_decomposed(s, parts[i]);
}

static void read_code_point(splitter *s, int32_t c)
{
    utf8proc_category_t category = utf8proc_category(c);
    if (is_dropped(c, category)) return;
    if (is_space(c, category)) {
        end_word(s);
        return;
    }
    bool ideograph = is_ideograph(c);
    if (ideograph) end_word(s);
    if (s->lower_case)
        normalise(s, c);
    else
        take(s, c);
    if (ideograph) end_word(s);
}

int64_t cadre__onnx_wordpiece(const cadre__onnx_vocabulary *vocabulary, const char *text, bool lower_case, size_t limit, bool cut, bool (*stop)(void *data),
                              void *data, cadre__onnx_tokens *out)
{
    const cadre__onnx_specials *specials = cadre__onnx_vocabulary_specials(vocabulary);
    splitter s = {.vocabulary = vocabulary, .lower_case = lower_case, .room = limit - 1, .out = out};
    size_t size = strlen(text);
    uint64_t look = LOOK_EVERY;
    push(&s, specials->first);
    for (size_t at = 0; at < size && !s.failed && !(cut && (uint64_t)s.total > s.room);) {
        utf8proc_int32_t c;
        utf8proc_ssize_t length = utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(size - at), &c);
        if (length <= 0) return CADRE_EINPUT;
        at += (size_t)length;
        read_code_point(&s, c);
        if (at < look) continue;
        look = at + LOOK_EVERY;
        if (stop && stop(data)) return CADRE_ECANCELED;
    }
    end_word(&s);
    s.room = SIZE_MAX;
    push(&s, specials->last);
    return s.failed ? CADRE_ENOMEM : s.total;
}
