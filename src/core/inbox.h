/* The one crossing between threads: an intrusive list that any thread pushes to and one thread takes whole.
 *
 * Push is a compare-and-swap of the head (release); take is an exchange (acquire), so everything a producer wrote before its push is seen by the taker. Nodes
 * of one producer come out in the order of their pushes. A chain is pushed with a single compare-and-swap. Closing swaps in a sentinel: from then on every push
 * fails, and no node is lost, because each one was either taken by the close or refused. There is no ABA: the taker never pops single nodes.
 *
 * Sleeping is announced with `asleep`: the taker sets it, looks at the head once more, and only then waits; a producer pushes, then looks at it. Both sides use
 * sequential consistency for these two accesses, so at least one of them sees the other. */
#ifndef CADRE__INBOX_H
#define CADRE__INBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct cadre__node {
    struct cadre__node *next;
} cadre__node;

typedef struct cadre__inbox {
    _Atomic(cadre__node *) head;
    atomic_int asleep;
} cadre__inbox;

#define CADRE__INBOX_CLOSED ((cadre__node *)(void *)1)

/* Any thread. newest … oldest is a chain linked from the newest. False: the inbox is closed and nothing was pushed. */
static inline bool cadre__inbox_push_chain(cadre__inbox *inbox, cadre__node *newest, cadre__node *oldest)
{
    cadre__node *head = atomic_load_explicit(&inbox->head, memory_order_acquire);
    do {
        if (head == CADRE__INBOX_CLOSED) return false;
        oldest->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&inbox->head, &head, newest, memory_order_seq_cst, memory_order_acquire));
    return true;
}

/* Any thread, after a push. True: the taker sleeps and it is this caller who must wake it. */
static inline bool cadre__inbox_must_wake(cadre__inbox *inbox)
{
    return atomic_load_explicit(&inbox->asleep, memory_order_seq_cst) && atomic_exchange_explicit(&inbox->asleep, 0, memory_order_seq_cst);
}

static inline bool cadre__inbox_empty(cadre__inbox *inbox)
{
    cadre__node *head = atomic_load_explicit(&inbox->head, memory_order_seq_cst);
    return head == NULL || head == CADRE__INBOX_CLOSED;
}

static inline cadre__node *cadre__inbox_reverse(cadre__node *node)
{
    cadre__node *oldest = NULL;
    while (node) {
        cadre__node *next = node->next;
        node->next = oldest;
        oldest = node;
        node = next;
    }
    return oldest;
}

/* The taker. All that was pushed, oldest first. */
static inline cadre__node *cadre__inbox_take(cadre__inbox *inbox)
{
    cadre__node *head = atomic_load_explicit(&inbox->head, memory_order_relaxed);
    if (head == NULL || head == CADRE__INBOX_CLOSED) return NULL;
    return cadre__inbox_reverse(atomic_exchange_explicit(&inbox->head, NULL, memory_order_acquire));
}

/* The taker, once. As take, and refuses every later push. */
static inline cadre__node *cadre__inbox_close(cadre__inbox *inbox)
{
    cadre__node *head = atomic_exchange_explicit(&inbox->head, CADRE__INBOX_CLOSED, memory_order_acq_rel);
    return head == CADRE__INBOX_CLOSED ? NULL : cadre__inbox_reverse(head);
}

#endif
