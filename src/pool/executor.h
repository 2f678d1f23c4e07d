/* The executor: where things run, behind one small interface.
 *
 * The pool decides; an executor carries out. It gives a pool threads (workers, loaders and the reaper are all cadre__threads: an inbox and a turn function) and
 * the loop's turn (a wake signal, one timer, a reference that keeps the loop alive). Two implementations: threads of the host on libuv (pool/executor_uv.c),
 * and the tests' simulator (one thread, virtual clock, one seed). Nothing else in the pool knows a thread, a handle or a wait. */
#ifndef CADRE__EXECUTOR_H
#define CADRE__EXECUTOR_H

#include "core/port.h"

#include <uv.h>

struct cadre__executor;

typedef enum cadre__turn {
    CADRE__TURN_WAIT,  /* nothing to do before the inbox has something */
    CADRE__TURN_AGAIN, /* more to do now */
    CADRE__TURN_EXIT   /* the end; `exited` is sent by the executor */
} cadre__turn;

/* One thread's block. It is self-contained: a thread that was abandoned touches nothing else of the pool's memory. */
typedef struct cadre__thread {
    cadre_port *port; /* counted */
    const struct cadre__executor *executor;
    const char *name;
    cadre__turn (*turn)(struct cadre__thread *thread, cadre__node *work); /* the thread; work: what came, oldest first, may be NULL */
    void (*dispose)(struct cadre__thread *thread);                        /* frees the block: the loop after the join, or an abandoned thread itself */
    cadre__inbox inbox;
    cadre__inbox *home; /* where its messages to the loop go: the port's inbox; of the reaper, port->reaped */
    atomic_bool nudge;  /* look again, although the inbox is empty */
    atomic_int cpu;     /* where it last ran; a hint */
    atomic_bool brisk;  /* its operations take microseconds: spinning before sleeping pays; a hint */
    int niceness;
    bool abandoned;        /* loop */
    bool stopping;         /* loop: told to end */
    cadre__message exited; /* the last message; deliver is the owner's */
    cadre__message stop;   /* loop → thread; recognised by its address */
    uv_thread_t handle;
#ifndef __linux__
    uv_sem_t wake;
#endif
} cadre__thread;

typedef struct cadre__executor {
    /* loop */
    int (*thread_start)(cadre__thread *thread); /* 0 or CADRE_ETHREAD */
    void (*thread_join)(cadre__thread *thread); /* a thread that has sent `exited`: returns soon. The reaper; for the reaper itself the loop */
    void (*thread_detach)(cadre__thread *thread);
    int (*prepare)(cadre_pool *pool);               /* takes what the loop's side needs; may be NULL */
    void (*unprepare)(cadre_pool *pool);            /* gives it back, when open was not reached */
    int (*open)(cadre_pool *pool, uv_loop_t *loop); /* makes the loop's side: signal, timer, turn */
    void (*close)(cadre_pool *pool, void (*done)(cadre_pool *pool));
    void (*hold)(cadre_pool *pool, bool hold);   /* keep the loop alive */
    void (*soon)(cadre_pool *pool);              /* a turn is wanted without waiting for a signal */
    void (*arm)(cadre_pool *pool, uint64_t due); /* a turn is wanted at `due` (ns; UINT64_MAX: none) */
    /* any thread */
    void (*thread_wake)(cadre__thread *thread); /* it sleeps and has something to do */
    /* the thread itself, inside a turn: waits for a nudge, which the caller takes. False: this executor cannot wait, go on */
    bool (*thread_wait)(cadre__thread *thread);
    uint64_t (*now)(void *data); /* when the host gave no clock */
} cadre__executor;

extern const cadre__executor cadre__executor_uv;

int cadre__pool_create_on(cadre_pool **out, uv_loop_t *loop, const cadre_pool_options *options, const cadre__executor *executor, void *executor_data);

/* Loop: publishes a chain in a thread's inbox. */
static inline void cadre__thread_post_chain(cadre__thread *thread, cadre__node *newest, cadre__node *oldest)
{
    cadre__inbox_push_chain(&thread->inbox, newest, oldest);
    if (cadre__inbox_must_wake(&thread->inbox)) thread->executor->thread_wake(thread);
}
static inline void cadre__thread_post(cadre__thread *thread, cadre__node *node)
{
    cadre__thread_post_chain(thread, node, node);
}
/* Loop: has a thread look at its state again. */
static inline void cadre__thread_nudge(cadre__thread *thread)
{
    atomic_store_explicit(&thread->nudge, true, memory_order_seq_cst);
    if (cadre__inbox_must_wake(&thread->inbox)) thread->executor->thread_wake(thread);
}
/* Loop: asks it to end, once. */
static inline void cadre__thread_stop(cadre__thread *thread)
{
    if (thread->stopping) return;
    thread->stopping = true;
    cadre__thread_post(thread, &thread->stop.node);
}

#endif
