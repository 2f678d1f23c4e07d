/* Small blocks of the loop thread, kept for the next request instead of going back to the host's allocator: requests, jobs and their results come and go by the
 * hundred thousand.
 *
 * Shelf k keeps blocks of (k + 1) × 16 bytes. A heap without `keeps` (that of an abandoned thread, and under sanitizers, which would not see a use after free)
 * keeps nothing. */
#ifndef CADRE__HEAP_H
#define CADRE__HEAP_H

#include "core/base.h"

#define CADRE__SHELVES 128
#define CADRE__SHELF_UNIT 16
#define CADRE__SHELF_KEEPS 256

typedef struct cadre__heap {
    cadre_allocator allocator;
    bool keeps;
    struct {
        void *first; /* linked through their first word */
        uint32_t count;
    } shelves[CADRE__SHELVES];
} cadre__heap;

static inline size_t cadre__heap_shelf(size_t bytes)
{
    return (bytes - 1) / CADRE__SHELF_UNIT;
}

static inline size_t cadre__heap_rounded(size_t bytes)
{
    return cadre__heap_shelf(bytes) < CADRE__SHELVES ? (cadre__heap_shelf(bytes) + 1) * CADRE__SHELF_UNIT : bytes;
}

/* At least one byte, not zeroed; NULL when out of memory. */
static inline void *cadre__heap_take(cadre__heap *heap, size_t bytes)
{
    size_t shelf = cadre__heap_shelf(bytes);
    if (shelf < CADRE__SHELVES && heap->shelves[shelf].first) {
        void *block = heap->shelves[shelf].first;
        memcpy(&heap->shelves[shelf].first, block, sizeof(void *));
        heap->shelves[shelf].count--;
        return block;
    }
    return heap->allocator.alloc(cadre__heap_rounded(bytes), heap->allocator.data);
}

static inline void *cadre__heap_zero(cadre__heap *heap, size_t bytes)
{
    void *block = cadre__heap_take(heap, bytes);
    if (block) memset(block, 0, bytes);
    return block;
}

static inline void cadre__heap_give(cadre__heap *heap, void *block, size_t bytes)
{
    if (!block) return;
    size_t shelf = cadre__heap_shelf(bytes);
    if (heap->keeps && shelf < CADRE__SHELVES && heap->shelves[shelf].count < CADRE__SHELF_KEEPS) {
        memcpy(block, &heap->shelves[shelf].first, sizeof(void *));
        heap->shelves[shelf].first = block;
        heap->shelves[shelf].count++;
        return;
    }
    heap->allocator.free(block, cadre__heap_rounded(bytes), heap->allocator.data);
}

void cadre__heap_open(cadre__heap *heap, const cadre_allocator *allocator);
void cadre__heap_close(cadre__heap *heap);

#endif
