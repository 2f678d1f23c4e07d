/* Plans: who leaves so that a reservation finds room. Loop thread.
 *
 * Only what the registry loaded can leave. A unit is one idle worker; with the last one of a model go its shared weights. A unit's cost is what its return is
 * expected to take: how often the model is asked for (a count that halves every five minutes) × what its load takes; units with the least cost per byte that
 * helps go first, among equals the one that was used longest ago. This is GreedyDual-Size-Frequency (Cherkasova, 1998) without its inflation, which the halving
 * replaces. A plan is carried out only if all of it suffices; then what turned out to be superfluous is spared.
 *
 * A model that nobody could evict because it is never idle ends its turn instead: after min_residency_ms it serves what has come before, then it is idle. */
#ifndef CADRE__EVICT_H
#define CADRE__EVICT_H

#include "memory/reserve.h"

struct cadre__entry;

typedef enum cadre__evict_result {
    CADRE__EVICT_STARTED, /* victims are on their way out */
    CADRE__EVICT_YIELDS,  /* busy models end their turn */
    CADRE__EVICT_WAIT,    /* not now; look again at *look_at, or when something happens */
    CADRE__EVICT_NEVER    /* more than could ever be made free */
} cadre__evict_result;

cadre__evict_result cadre__evict_plan(cadre__reserve *reserve, uint64_t *look_at);
/* Whether amounts could ever fit: what is neither the registry's nor pinned nor a minimum stays, and so do the weights of `own` (may be NULL), for whose worker
 * they are asked. */
bool cadre__evict_possible(const cadre_pool *pool, const cadre_memory_amount *amounts, size_t count, const struct cadre__entry *own);
/* Under pressure from outside: the cheapest idle unit leaves. False: there is none. */
bool cadre__evict_one(cadre_pool *pool, const char *reason);
/* Nobody waits for the end of turns any more. */
void cadre__evict_forget_turns(cadre_pool *pool);

/* A request was made of it. */
void cadre__evict_heat(struct cadre__entry *entry, uint64_t now);

#endif
