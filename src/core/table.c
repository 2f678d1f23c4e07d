#include "core/table.h"

static bool grow(cadre__table *table, const cadre_allocator *allocator)
{
    uint32_t capacity = table->capacity ? table->capacity * 2 : 64;
    if (capacity < table->capacity) return false;
    cadre__table_slot *slots = cadre__alloc(allocator, capacity * sizeof *slots);
    if (!slots) return false;
    if (table->count) memcpy(slots, table->slots, table->count * sizeof *slots);
    cadre__free(allocator, table->slots, table->capacity * sizeof *slots);
    table->slots = slots;
    table->capacity = capacity;
    return true;
}

uint64_t cadre__table_add(cadre__table *table, const cadre_allocator *allocator, void *object)
{
    uint32_t index;
    if (table->first_free) {
        index = table->first_free - 1;
        table->first_free = table->slots[index].next_free;
    } else {
        if (table->count == table->capacity && !grow(table, allocator)) return 0;
        index = table->count++;
        table->slots[index].generation = 1;
    }
    table->slots[index].object = object;
    return (uint64_t)table->slots[index].generation << 32 | index;
}

void *cadre__table_remove(cadre__table *table, uint64_t id)
{
    void *object = cadre__table_get(table, id);
    if (!object) return NULL;
    cadre__table_slot *slot = &table->slots[(uint32_t)id];
    slot->object = NULL;
    if (++slot->generation == 0) slot->generation = 1;
    slot->next_free = table->first_free;
    table->first_free = (uint32_t)id + 1;
    return object;
}

void cadre__table_free(cadre__table *table, const cadre_allocator *allocator)
{
    cadre__free(allocator, table->slots, table->capacity * sizeof *table->slots);
    memset(table, 0, sizeof *table);
}
