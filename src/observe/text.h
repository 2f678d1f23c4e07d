/* Text made piece by piece: into a buffer that goes to a callback whenever it is full, or into one that is all there is. No printf in here: a number must not
 * depend on the locale, and ten thousand models are many lines. */
#ifndef CADRE__TEXT_H
#define CADRE__TEXT_H

#include "core/base.h"

typedef struct cadre__text {
    char *buffer;
    size_t size, used;
    cadre_write_cb write; /* NULL: what does not fit is cut */
    void *data;
    bool cut;
} cadre__text;

void cadre__text_bytes(cadre__text *text, const char *bytes, size_t length);
void cadre__text_flush(cadre__text *text);
void cadre__text_uint(cadre__text *text, uint64_t value);
void cadre__text_int(cadre__text *text, int64_t value);
/* Nanoseconds as decimals of seconds, without trailing zeros; as microseconds with three digits. */
void cadre__text_seconds(cadre__text *text, uint64_t ns);
void cadre__text_micros(cadre__text *text, uint64_t ns);
/* A string with its quotes. What is not UTF-8 becomes U+FFFD. */
void cadre__text_json(cadre__text *text, const char *string);
void cadre__text_label(cadre__text *text, const char *string);

static inline void cadre__text_add(cadre__text *text, const char *string)
{
    cadre__text_bytes(text, string, strlen(string));
}

#endif
