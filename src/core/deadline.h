/* All that is due at a time: one binary heap of intrusive entries, so that one timer serves the whole pool. Loop thread. */
#ifndef CADRE__DEADLINE_H
#define CADRE__DEADLINE_H

#include "core/base.h"

typedef struct cadre__deadline {
    uint64_t due; /* ns */
    size_t place; /* 1 + index in the heap; 0: not set */
    void (*fire)(cadre_pool *pool, struct cadre__deadline *deadline);
} cadre__deadline;

typedef struct cadre__deadlines {
    cadre__deadline **heap;
    size_t count, capacity;
} cadre__deadlines;

/* Makes room for one more entry, so that a later set cannot fail. */
bool cadre__deadlines_reserve(cadre__deadlines *all, const cadre_allocator *allocator);
/* Sets or moves. False: out of memory (never after a reserve). */
bool cadre__deadline_set(cadre__deadlines *all, const cadre_allocator *allocator, cadre__deadline *deadline, uint64_t due);
void cadre__deadline_clear(cadre__deadlines *all, cadre__deadline *deadline);
/* The earliest, or UINT64_MAX. */
uint64_t cadre__deadlines_next(const cadre__deadlines *all);
/* Removes and returns the earliest that is due, or NULL. */
cadre__deadline *cadre__deadlines_pop(cadre__deadlines *all, uint64_t now);
void cadre__deadlines_free(cadre__deadlines *all, const cadre_allocator *allocator);

#endif
