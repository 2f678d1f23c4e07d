#include "core/base.h"

void *cadre__alloc(const cadre_allocator *allocator, size_t bytes)
{
    void *pointer = allocator->alloc(bytes, allocator->data);
    if (pointer) memset(pointer, 0, bytes);
    return pointer;
}

void cadre__free(const cadre_allocator *allocator, void *pointer, size_t bytes)
{
    if (pointer) allocator->free(pointer, bytes, allocator->data);
}

char *cadre__strdup(const cadre_allocator *allocator, const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = allocator->alloc(bytes, allocator->data);
    if (copy) memcpy(copy, text, bytes);
    return copy;
}

void cadre__strfree(const cadre_allocator *allocator, char *text)
{
    if (text) cadre__free(allocator, text, strlen(text) + 1);
}

void cadre__one_line(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f) *text = '?';
}

bool cadre__overlay(void *ours, size_t our_size, const void *theirs)
{
    size_t size;
    memcpy(&size, theirs, sizeof size);
    if (size < sizeof size || size > our_size) return false;
    memcpy(ours, theirs, size);
    memcpy(ours, &our_size, sizeof our_size);
    return true;
}

bool cadre__fill(void *theirs, const void *ours, size_t our_size)
{
    size_t size;
    memcpy(&size, theirs, sizeof size);
    if (size < sizeof size || size > our_size) return false;
    memcpy((char *)theirs + sizeof size, (const char *)ours + sizeof size, size - sizeof size);
    return true;
}

/* The well-formed sequences of the Unicode standard, table 3-7. */
static size_t utf8_sequence(const unsigned char *s, size_t left)
{
    if (s[0] < 0x80) return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf) return left >= 2 && (s[1] & 0xc0) == 0x80 ? 2 : 0;
    if ((s[0] & 0xf0) == 0xe0) {
        unsigned char low = s[0] == 0xe0 ? 0xa0 : 0x80, high = s[0] == 0xed ? 0x9f : 0xbf;
        return left >= 3 && s[1] >= low && s[1] <= high && (s[2] & 0xc0) == 0x80 ? 3 : 0;
    }
    if (s[0] >= 0xf0 && s[0] <= 0xf4) {
        unsigned char low = s[0] == 0xf0 ? 0x90 : 0x80, high = s[0] == 0xf4 ? 0x8f : 0xbf;
        return left >= 4 && s[1] >= low && s[1] <= high && (s[2] & 0xc0) == 0x80 && (s[3] & 0xc0) == 0x80 ? 4 : 0;
    }
    return 0;
}

size_t cadre__utf8_invalid(const char *text, size_t length)
{
    const unsigned char *bytes = (const unsigned char *)text;
    size_t i = 0;
    for (uint64_t word; length - i >= sizeof word; i += sizeof word) { /* most text is ASCII */
        memcpy(&word, bytes + i, sizeof word);
        if (word & UINT64_C(0x8080808080808080)) break;
    }
    while (i < length) {
        size_t n = utf8_sequence(bytes + i, length - i);
        if (n == 0) return i;
        i += n;
    }
    return SIZE_MAX;
}
