#include "core/heap.h"

void cadre__heap_open(cadre__heap *heap, const cadre_allocator *allocator)
{
    *heap = (cadre__heap){.allocator = *allocator};
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    heap->keeps = true;
#endif
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
