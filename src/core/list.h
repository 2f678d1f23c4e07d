/* An intrusive doubly linked ring. A node that is in no list points at itself. */
#ifndef CADRE__LIST_H
#define CADRE__LIST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct cadre__list {
    struct cadre__list *next, *prev;
} cadre__list;

#define CADRE__CONTAINER(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

static inline void cadre__list_init(cadre__list *node)
{
    node->next = node->prev = node;
}

static inline bool cadre__list_empty(const cadre__list *head)
{
    return head->next == head;
}

static inline void cadre__list_append(cadre__list *head, cadre__list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

static inline void cadre__list_remove(cadre__list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    cadre__list_init(node);
}

#define CADRE__LIST_FOR(node, head)                                                                                                                            \
    for (cadre__list *node = (head)->next, *node##_next = node->next; node != (head); node = node##_next, node##_next = node->next)

#endif
