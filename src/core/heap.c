#include "core/heap.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED true
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

void cadre__heap_open(cadre__heap *heap, const cadre_allocator *allocator)
{
    *heap = (cadre__heap){.allocator = *allocator};
    heap->keeps = !SANITIZED;
}

void cadre__heap_close(cadre__heap *heap)
{
    heap->keeps = false;
    for (size_t i = 0; i < CADRE__SHELVES; i++) {
        while (heap->shelves[i].first) {
            void *block = heap->shelves[i].first;
            memcpy(&heap->shelves[i].first, block, sizeof(void *));
            heap->allocator.free(block, (i + 1) * CADRE__SHELF_UNIT, heap->allocator.data);
        }
    }
}
