/* Reservations that wait: in order of priority, then arrival; room is made for them by evicting (memory/evict.h). Loop thread. */
#ifndef CADRE__RESERVE_H
#define CADRE__RESERVE_H

#include "pool/pool.h"

struct cadre__entry;

typedef struct cadre__reserve {
    cadre__list link; /* in pool->reserves while it waits */
    cadre_pool *pool;
    uint64_t id;
    struct cadre__entry *entry; /* for which it is; NULL: the host's own */
    int32_t priority;
    uint64_t arrived;
    const cadre_memory_amount *amounts; /* alive while it waits */
    size_t count;
    /* In the turn, once, unless it is cancelled. status 0: reservation is charged and the callee's. */
    void (*over)(struct cadre__reserve *reserve, int status, cadre_reservation *reservation, const char *detail);
    cadre__deadline deadline;
    uint32_t victims; /* on their way out for it */
    uint64_t planned_at;
    bool yields; /* busy models end their turn for it */
} cadre__reserve;

/* What stands aside for earlier ones is not free: the room that a newcomer finds. */
uint64_t cadre__reserve_room(const cadre_pool *pool, uint32_t device);
/* Charges at once if there is room. NULL: no room, or out of memory. */
cadre_reservation *cadre__reserve_now(cadre_pool *pool, const cadre_memory_amount *amounts, size_t count, struct cadre__entry *entry);
/* Begins to wait; timeout_ns UINT64_MAX: for ever. pool, entry, priority, amounts and over are set. False: out of memory. */
bool cadre__reserve_begin(cadre__reserve *reserve, uint64_t timeout_ns);
/* No longer waits; `over` will not run. */
void cadre__reserve_cancel(cadre__reserve *reserve);

/* Memory came free, a worker is idle, or somebody came: the turn looks again. */
void cadre__reserves_touch(cadre_pool *pool);
/* Part of the turn. */
void cadre__reserves_step(cadre_pool *pool);
/* pool->reserves_due */
void cadre__reserves_look(cadre_pool *pool, cadre__deadline *deadline);
/* Part of the close: all of them end. */
void cadre__reserves_close(cadre_pool *pool);
/* A victim is gone. */
void cadre__reserve_victim_gone(cadre_pool *pool, uint64_t reserve_id);

/* memory/pressure.c: what is charged has changed; the turn tells the level if it is another one. */
void cadre__pressure_update(cadre_pool *pool);
/* Part of the turn. */
void cadre__pressure_step(cadre_pool *pool);
/* The system's (cgroup, PSI): at critical, the cheapest of what is idle is evicted. Holds for ten seconds after the latest report. */
void cadre__pressure_system(cadre_pool *pool, cadre_pressure level);
/* pool->pressure_due */
void cadre__pressure_forget(cadre_pool *pool, cadre__deadline *deadline);
/* Descriptors that become readable (or urgent: *priority) when the system is short of memory; −1 where there is none. */
#define CADRE__PRESSURE_SOURCES 2
void cadre__pressure_open(cadre_pool *pool, int fds[CADRE__PRESSURE_SOURCES]);
/* One of them spoke: takes what it said. */
void cadre__pressure_read(cadre_pool *pool, int source, int fd);

#endif
