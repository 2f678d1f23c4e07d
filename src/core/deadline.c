#include "core/deadline.h"

static void put(cadre__deadlines *all, size_t index, cadre__deadline *deadline)
{
    all->heap[index] = deadline;
    deadline->place = index + 1;
}

static void sift_up(cadre__deadlines *all, size_t index, cadre__deadline *deadline)
{
    while (index > 0) {
        size_t parent = (index - 1) / 2;
        if (all->heap[parent]->due <= deadline->due) break;
        put(all, index, all->heap[parent]);
        index = parent;
    }
    put(all, index, deadline);
}

static void sift_down(cadre__deadlines *all, size_t index, cadre__deadline *deadline)
{
    for (;;) {
        size_t child = 2 * index + 1;
        if (child >= all->count) break;
        if (child + 1 < all->count && all->heap[child + 1]->due < all->heap[child]->due) child++;
        if (deadline->due <= all->heap[child]->due) break;
        put(all, index, all->heap[child]);
        index = child;
    }
    put(all, index, deadline);
}

bool cadre__deadlines_reserve(cadre__deadlines *all, const cadre_allocator *allocator)
{
    if (all->count < all->capacity) return true;
    size_t capacity = all->capacity ? all->capacity * 2 : 16;
    cadre__deadline **heap = cadre__alloc(allocator, capacity * sizeof(cadre__deadline *));
    if (!heap) return false;
    if (all->count) memcpy(heap, all->heap, all->count * sizeof(cadre__deadline *));
    cadre__deadlines_free(all, allocator);
    all->heap = heap;
    all->capacity = capacity;
    return true;
}

bool cadre__deadline_set(cadre__deadlines *all, const cadre_allocator *allocator, cadre__deadline *deadline, uint64_t due)
{
    if (deadline->place) cadre__deadline_clear(all, deadline);
    if (!cadre__deadlines_reserve(all, allocator)) return false;
    deadline->due = due;
    sift_up(all, all->count++, deadline);
    return true;
}

void cadre__deadline_clear(cadre__deadlines *all, cadre__deadline *deadline)
{
    if (!deadline->place) return;
    size_t index = deadline->place - 1;
    cadre__deadline *last = all->heap[--all->count];
    deadline->place = 0;
    if (last == deadline) return;
    if (index > 0 && all->heap[(index - 1) / 2]->due > last->due)
        sift_up(all, index, last);
    else
        sift_down(all, index, last);
}

uint64_t cadre__deadlines_next(const cadre__deadlines *all)
{
    return all->count ? all->heap[0]->due : UINT64_MAX;
}

cadre__deadline *cadre__deadlines_pop(cadre__deadlines *all, uint64_t now)
{
    if (!all->count || all->heap[0]->due > now) return NULL;
    cadre__deadline *first = all->heap[0];
    cadre__deadline_clear(all, first);
    return first;
}

void cadre__deadlines_free(cadre__deadlines *all, const cadre_allocator *allocator)
{
    cadre__free(allocator, all->heap, all->capacity * sizeof(cadre__deadline *));
    all->heap = NULL;
    all->capacity = 0;
}
