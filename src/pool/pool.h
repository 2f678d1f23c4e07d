/* The pool's state: owned by the loop thread, no lock, a deterministic function of the messages, deadlines and calls that reach it. */
#ifndef CADRE__POOL_H
#define CADRE__POOL_H

#include "core/deadline.h"
#include "core/future.h"
#include "core/heap.h"
#include "core/port.h"
#include "core/table.h"
#include "observe/observe.h"
#include "pool/executor.h"

/* A thread that runs tasks: a loader or the reaper. */
typedef struct cadre__task_thread {
    cadre__thread thread; /* first */
    cadre__task joining;  /* its own join, on the reaper */
    cadre__node *tasks;   /* the thread: taken, not run yet */
    cadre__task *current; /* loop, loaders: what it was given */
    uint64_t given_up;    /* loop, loaders: since when nobody waits for `current`; 0: somebody does */
} cadre__task_thread;

typedef enum cadre__phase {
    CADRE__OPEN,
    CADRE__DRAINING,   /* accepted requests go on */
    CADRE__CANCELLING, /* they are being ended; workers and loads are told to stop */
    CADRE__STOPPING,   /* threads, promises and weights are waited for */
    CADRE__REAPING,    /* only the reaper is left */
    CADRE__CLOSED
} cadre__phase;

typedef struct cadre__account {
    char *name;
    uint64_t budget, charged, reservations;
    uint64_t claimed; /* set aside for those who wait */
} cadre__account;

struct cadre_pool {
    cadre_port *port;
    uv_loop_t *loop;
    void *data;
    const cadre__executor *executor;
    void *executor_data;
    uint64_t now; /* of this turn, ns */
    cadre__heap heap;

    /* what is to be delivered: messages taken from the port and those deferred on the loop, in one line */
    cadre__node *first, **last;
    cadre__deadlines deadlines;
    uint64_t armed;
    bool in_turn, parked, held;
    bool emptied;  /* closed: entries and models are freed, nothing is counted any more */
    bool in_load;  /* an entry's load is being started: accepted requests wait for it, so a pool that drains allows it */
    int brisk_cpu; /* where the latest finished operation ran, if it took microseconds; else −1 */
    uint64_t turns, delivered, late_values;

    /* objects */
    cadre__table workers, requests;
    cadre__list worker_list;      /* all that are not freed */
    struct cadre__model **models; /* hash table by key */
    struct cadre__model *recent;  /* the one that was asked for last */
    size_t model_count, model_buckets;
    cadre__list dirty;      /* models that may have something to dispatch */
    cadre__list publishing; /* workers with jobs to publish */
    cadre__list starved;    /* models that wait for cores */
    uint32_t fixed_cores;   /* taken by workers with a fixed number of threads that work now */

    cadre__list futures; /* pending */
    uint64_t aging_ns;

    cadre__box *spare; /* for a value that must be destroyed when there is no memory for a box of its own */

    /* work that keeps the loop alive, and what a close waits for */
    uint64_t open_requests, jobs_out, transitions, pending_futures, reaping, promises, own_promises, weights;

    /* loader threads */
    cadre__task_thread **loaders; /* loader_count of them, and the checks thread */
    uint32_t loader_count;
    cadre__list loads_waiting;
    uint32_t threads_leaving; /* loaders that were told to end, or were replaced */
    cadre__list threads_lost; /* replaced loaders (tasks' links) */
    cadre__deadline abandon;  /* always set, at UINT64_MAX when nothing is due: so moving it cannot fail */
    uint64_t abandon_ns;
    cadre__task_thread *reaper;

    /* memory */
    cadre__account *accounts;
    size_t account_count;
    cadre__list residents; /* entries of the registry that hold memory */
    cadre__list reserves;  /* reservations that wait, by priority, then arrival */
    cadre__table reserve_ids;
    bool reserves_touched;        /* memory came free, or somebody came: look again */
    cadre__deadline reserves_due; /* look again then; always set */
    cadre_pressure pressure, system_pressure;
    bool pressure_touched;
    cadre__deadline pressure_due; /* the system's level is forgotten; always set */
                                  /* the registry */
    cadre__list entries;          /* in the order of addition */
    cadre__list entries_dirty;    /* whose plans may have changed */
    size_t entry_count;
    uint64_t wishes; /* of the host: loads, unloads, removals, reservations that it waits for */
    cadre__list addition_list;
    int addition_status; /* of the latest that failed, while others are under way */
    char addition_detail[CADRE__DETAIL_SIZE];
    uint32_t unknown_count; /* keys that wait for an addition to name them */
    uint64_t pressure_seen; /* the count in memory.events */
    uint64_t additions;     /* under way */
    const cadre_backend **backends;
    size_t backend_count;
    char *backend_path;
    cadre__list checks_waiting; /* tasks for the checks thread */
    cadre__list looks;          /* at entries' files, under way */
    uint64_t random;            /* of jitter: splitmix64 */

    /* observe */
    cadre__stats stats;
    void (*on_event)(cadre_pool *pool, const cadre_event *event, void *data);
    void *event_data;
    struct cadre__trace *trace;
    int64_t retry_after_ms; /* of the latest refusal */

    cadre_image_decoder decoder; /* size 0: none */
    cadre_image_fetcher fetcher;
    cadre_file_fetcher files;

    /* close */
    cadre__phase closing;
    cadre__deadline close_deadline; /* likewise */
    uint64_t close_abandon_ns;
    bool close_expired;
    cadre_close_cb close_cb;
    void *close_data;
    cadre_close_report report;

    char error_detail[CADRE__DETAIL_SIZE];
};

/* Appends to what is delivered in this turn or the next. */
void cadre__pool_defer(cadre_pool *pool, cadre__message *message);
/* Appends a chain, oldest first; NULL is allowed. */
void cadre__pool_line_up(cadre_pool *pool, cadre__node *node);
/* One turn: deliver (capped), fire deadlines (capped), dispatch, publish, go on closing. True: another turn is wanted at once. */
bool cadre__pool_turn(cadre_pool *pool);
/* Sets or moves a deadline to `delta` ns from now. */
bool cadre__pool_deadline(cadre_pool *pool, cadre__deadline *deadline, uint64_t delta);
/* Something was queued by a call: makes sure that a turn follows and that the loop lives. */
void cadre__pool_touch(cadre_pool *pool);
/* Records why a call is refused, and returns error. */
int cadre__pool_refuse(cadre_pool *pool, int error, const char *format, ...) CADRE_PRINTF(3, 4);
/* Frees everything but the executor's side and the reaper. */
void cadre__pool_free(cadre_pool *pool);

/* The time, read once a turn. */
static inline uint64_t cadre__pool_now(const cadre_pool *pool)
{
    return pool->in_turn ? pool->now : cadre__now(pool->port);
}

static inline const cadre_allocator *cadre__pool_allocator(const cadre_pool *pool)
{
    return &pool->port->allocator;
}

#endif
