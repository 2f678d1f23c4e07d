#include "registry/suggest.h"

#define LONGEST 64

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Damerau and Levenshtein's distance, in which no part is edited twice: insertions, deletions, substitutions and swaps of neighbours, each 1. */
static size_t distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
    size_t rows[3][LONGEST + 1], *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= b_length; j++) last[j] = j, before[j] = 0;
    for (size_t i = 1; i <= a_length; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            row[j] = least(least(last[j], row[j - 1]) + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = least(row[j], before[j - 2] + 1);
        }
        size_t *oldest = before;
        before = last, last = row, row = oldest;
    }
    return last[b_length];
}

const char *cadre__nearest_of(const char *name, const void *first, size_t stride, size_t count)
{
    const char *nearest = NULL;
    size_t length = strnlen(name, LONGEST + 1), best = LONGEST;
    if (length > LONGEST) return NULL;
    for (size_t i = 0; i < count; i++) {
        const char *other;
        memcpy(&other, (const char *)first + i * stride, sizeof other);
        size_t other_length = strnlen(other, LONGEST + 1);
        if (other_length > LONGEST) continue;
        size_t d = distance(name, length, other, other_length);
        if (d >= best || d * 3 > (length > other_length ? length : other_length)) continue;
        nearest = other;
        best = d;
    }
    return nearest;
}

const char *cadre__nearest(const char *name, const char *const *names, size_t count)
{
    return cadre__nearest_of(name, names, sizeof *names, count);
}
