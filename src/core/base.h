/* What every source file needs: allocation through the host's hooks, struct copying by size, strings. */
#ifndef CADRE__BASE_H
#define CADRE__BASE_H

#include "core/fault.h"
#include "core/list.h"

#include <cadre.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#define CADRE__NS_PER_MS UINT64_C(1000000)
#define CADRE__DETAIL_SIZE 512

/* Zeroed memory or NULL. */
void *cadre__alloc(const cadre_allocator *allocator, size_t bytes);
void cadre__free(const cadre_allocator *allocator, void *pointer, size_t bytes);
/* Copies what there is; NULL when out of memory. Freed with strlen + 1. */
char *cadre__strdup(const cadre_allocator *allocator, const char *text);
void cadre__strfree(const cadre_allocator *allocator, char *text);

/* Replaces control characters by '?': a message may quote what a client sent. */
void cadre__one_line(char *text);

/* a × b or a + b into *out; false when it does not fit. */
static inline bool cadre__mul(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool cadre__add(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

/* Lays a caller's struct (whose first member is its size) over one that holds the defaults. False: a size of 0 or a larger one than ours. */
bool cadre__overlay(void *ours, size_t our_size, const void *theirs);

/* As overlay, but a struct of our own size is used where it lies: returns theirs, ours (over the defaults), or NULL. */
static inline const void *cadre__view(const void *theirs, void *ours, const void *defaults, size_t our_size)
{
    size_t size;
    memcpy(&size, theirs, sizeof size);
    if (size == our_size) return theirs;
    memcpy(ours, defaults, our_size);
    return cadre__overlay(ours, our_size, theirs) ? ours : NULL;
}

/* A caller's output struct: fills min(theirs, ours). False: its size is 0 or too large. */
bool cadre__fill(void *theirs, const void *ours, size_t our_size);

/* Offset of the first byte that is not UTF-8, or SIZE_MAX when all of it is. */
size_t cadre__utf8_invalid(const char *text, size_t length);

/* Milliseconds to nanoseconds, saturating. */
static inline uint64_t cadre__ms(int64_t ms)
{
    return ms < 0 ? 0 : (uint64_t)ms > UINT64_MAX / CADRE__NS_PER_MS ? UINT64_MAX : (uint64_t)ms * CADRE__NS_PER_MS;
}
static inline uint64_t cadre__after(uint64_t now, uint64_t delta)
{
    return now > UINT64_MAX - delta ? UINT64_MAX : now + delta;
}

#endif
