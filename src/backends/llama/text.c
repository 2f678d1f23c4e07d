/* From bytes of tokens to text: UTF-8 is completed or replaced, stop strings are found across pieces. */
#include "backend.h"

#include <stdlib.h>
#include <string.h>

static const char replacement[] = "\xEF\xBF\xBD"; /* U+FFFD */

/* Bytes of the code point that `lead` begins; 0: none begins so. */
static size_t sequence_length(unsigned char lead)
{
    if (lead < 0x80) return 1;
    if (lead >= 0xC2 && lead <= 0xDF) return 2;
    if (lead >= 0xE0 && lead <= 0xEF) return 3;
    if (lead >= 0xF0 && lead <= 0xF4) return 4;
    return 0;
}

/* Whether `byte` may be the second byte after `lead`, or a later one: no overlong forms, no surrogates, nothing over U+10FFFF (Unicode 15, table 3-7). */
static bool may_follow(unsigned char lead, size_t index, unsigned char byte)
{
    unsigned char low = 0x80, high = 0xBF;
    if (index == 1) {
        if (lead == 0xE0) low = 0xA0;
        if (lead == 0xED) high = 0x9F;
        if (lead == 0xF0) low = 0x90;
        if (lead == 0xF4) high = 0x8F;
    }
    return byte >= low && byte <= high;
}

bool cadre__llama_utf8_valid(const char *text, size_t length)
{
    const unsigned char *at = (const unsigned char *)text;
    for (size_t i = 0; i < length;) {
        size_t need = sequence_length(at[i]);
        if (need == 0 || need > length - i) return false;
        for (size_t k = 1; k < need; k++) {
            if (!may_follow(at[i], k, at[i + k])) return false;
        }
        i += need;
    }
    return true;
}

int cadre__llama_text_cut(const char *text, int most)
{
    int length = (int)strnlen(text, (size_t)most);
    if (text[length] == '\0') return length;
    while (length > 0 && ((unsigned char)text[length] & 0xC0) == 0x80) length--;
    return length;
}

void cadre__llama_text_start(cadre__llama_text *text, const char *const *stop, size_t stop_count)
{
    text->stop = stop;
    text->stop_count = stop_count;
    text->length = 0;
    text->partial_length = 0;
}

static int hold(cadre__llama_text *text, const void *bytes, size_t length)
{
    if (length > text->capacity - text->length) {
        size_t capacity = (text->length + length) * 2;
        char *held = realloc(text->held, capacity);
        if (!held) return CADRE_ENOMEM;
        text->held = held;
        text->capacity = capacity;
    }
    memcpy(text->held + text->length, bytes, length);
    text->length += length;
    return CADRE_OK;
}

/* What began a code point and was not completed counts as one replacement character. */
static int give_up_partial(cadre__llama_text *text)
{
    if (text->partial_length == 0) return CADRE_OK;
    text->partial_length = 0;
    return hold(text, replacement, 3);
}

static int take_byte(cadre__llama_text *text, unsigned char byte)
{
    if (text->partial_length > 0 && !may_follow(text->partial[0], text->partial_length, byte)) {
        int rc = give_up_partial(text);
        if (rc < 0) return rc;
    }
    if (text->partial_length == 0 && sequence_length(byte) == 0) return hold(text, replacement, 3);
    text->partial[text->partial_length++] = byte;
    if (text->partial_length < sequence_length(text->partial[0])) return CADRE_OK;
    size_t length = text->partial_length;
    text->partial_length = 0;
    return hold(text, text->partial, length);
}

/* Where the first stop string begins in what is held; its length when there is none. */
static size_t find_stop(const cadre__llama_text *text)
{
    size_t first = text->length;
    for (size_t i = 0; i < text->stop_count; i++) {
        size_t length = strlen(text->stop[i]);
        for (size_t at = 0; length > 0 && at < first && at + length <= text->length; at++) {
            if (memcmp(text->held + at, text->stop[i], length) == 0) first = at;
        }
    }
    return first;
}

/* How many of the last bytes may still become a stop string. */
static size_t stop_begun(const cadre__llama_text *text)
{
    size_t longest = 0;
    for (size_t i = 0; i < text->stop_count; i++) {
        size_t length = strlen(text->stop[i]);
        size_t most = length > 0 ? length - 1 : 0;
        if (most > text->length) most = text->length;
        while (most > longest && memcmp(text->held + text->length - most, text->stop[i], most) != 0) most--;
        if (most > longest) longest = most;
    }
    return longest;
}

static int emit(cadre__llama_text *text, cadre_op *op, size_t length)
{
    if (length == 0) return CADRE_OK;
    int rc = cadre_op_emit(op, text->held, length);
    memmove(text->held, text->held + length, text->length - length);
    text->length -= length;
    return rc;
}

/* Emits up to a stop string; else all but what may become one, or with `last` all. */
static int release(cadre__llama_text *text, cadre_op *op, bool last)
{
    size_t stop = find_stop(text);
    bool stopped = stop < text->length;
    size_t length = stop;
    if (!stopped && !last) length -= stop_begun(text);
    int rc = emit(text, op, length);
    if (stopped) text->length = 0;
    return rc < 0 ? rc : stopped;
}

int cadre__llama_text_push(cadre__llama_text *text, cadre_op *op, const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        int rc = take_byte(text, (unsigned char)bytes[i]);
        if (rc < 0) return rc;
    }
    return release(text, op, false);
}

int cadre__llama_text_finish(cadre__llama_text *text, cadre_op *op, bool cut)
{
    if (cut) text->partial_length = 0;
    int rc = give_up_partial(text);
    return rc < 0 ? rc : release(text, op, true);
}

void cadre__llama_text_clear(cadre__llama_text *text)
{
    free(text->held);
    memset(text, 0, sizeof(*text));
}
