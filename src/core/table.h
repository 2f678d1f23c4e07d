/* Id tables: 64-bit handles of an index and a generation. A slot's generation changes when its object leaves, so a stale id finds nothing. Loop thread. */
#ifndef CADRE__TABLE_H
#define CADRE__TABLE_H

#include "core/base.h"

typedef struct cadre__table_slot {
    void *object;        /* NULL when free */
    uint32_t generation; /* of the present or next object; starts at 1 */
    uint32_t next_free;  /* 1 + index; 0: none */
} cadre__table_slot;

typedef struct cadre__table {
    cadre__table_slot *slots;
    uint32_t count, capacity, first_free;
} cadre__table;

/* A new id for object, or 0 when out of memory (or of 2³² slots). */
uint64_t cadre__table_add(cadre__table *table, const cadre_allocator *allocator, void *object);
void *cadre__table_remove(cadre__table *table, uint64_t id);
void cadre__table_free(cadre__table *table, const cadre_allocator *allocator);

static inline void *cadre__table_get(const cadre__table *table, uint64_t id)
{
    uint32_t index = (uint32_t)id;
    if (index >= table->count || table->slots[index].generation != (uint32_t)(id >> 32)) return NULL;
    return table->slots[index].object;
}

#endif
