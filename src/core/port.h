/* The port: the inbox of a pool's loop, counted by reference, outliving the pool.
 *
 * Everything that reaches the loop from another thread is a cadre__message pushed here: finished jobs, pieces of text, settled promises, progress, ends of
 * threads, posted functions. The loop drains it in its turn (pool/turn.c). It also carries what other threads may read without asking the loop: the allocator,
 * the clock, the log hook, the count of busy workers (relaxed: a share of cores may be a step old) and the CPU that the loop last ran on (relaxed: a hint for
 * spinning). */
#ifndef CADRE__PORT_H
#define CADRE__PORT_H

#include "core/base.h"
#include "core/inbox.h"

#include <uv.h>

typedef struct cadre__message {
    cadre__node node; /* first */
    void (*deliver)(cadre_pool *pool, struct cadre__message *message);
} cadre__message;

struct cadre_port {
    atomic_uint refs;
    cadre_allocator allocator;
    cadre_clock clock;
    cadre_log_cb log;
    void *log_data;
    int32_t log_level;
    cadre_pool *pool; /* loop only; NULL once it is gone */
    atomic_bool open; /* cleared before the inbox is closed: whoever is refused there sees it */
    cadre__inbox inbox;
    cadre__inbox reaped; /* what comes back from the reaper, which works on for a moment after the inbox was closed */
    uv_thread_t loop_thread;
    void (*signal)(cadre_port *port); /* any thread: the loop sleeps and must wake */
    int read_fd, write_fd;            /* of the signal; −1 when it has none */
    uint32_t cores;
    atomic_uint busy;
    atomic_uint loads;                   /* on loader threads now */
    atomic_uint fixed_cores, fixed_busy; /* of those with a fixed number of threads */
    _Atomic uint64_t signalled_at;       /* when the sleeping loop was woken; 0: it was not */
    atomic_int loop_cpu;
};

cadre_port *cadre__port_create(const cadre_allocator *allocator);

static inline uint64_t cadre__now(const cadre_port *port)
{
    return port->clock.now_ns(port->clock.data);
}

/* Any thread. False: the pool is gone and the message still the caller's. */
static inline bool cadre__port_send_to(cadre_port *port, cadre__inbox *inbox, cadre__node *newest, cadre__node *oldest)
{
    if (!cadre__inbox_push_chain(inbox, newest, oldest)) return false;
    if (cadre__inbox_must_wake(&port->inbox)) { /* both inboxes have one sleeper */
        atomic_store_explicit(&port->signalled_at, cadre__now(port), memory_order_relaxed);
        port->signal(port);
    }
    return true;
}
static inline bool cadre__port_send_chain(cadre_port *port, cadre__node *newest, cadre__node *oldest)
{
    return cadre__port_send_to(port, &port->inbox, newest, oldest);
}
static inline bool cadre__port_send(cadre_port *port, cadre__message *message)
{
    return cadre__port_send_to(port, &port->inbox, &message->node, &message->node);
}

bool cadre__port_on_loop(const cadre_port *port);
/* The pool, when this is its loop's thread and it can still destroy things elsewhere; else NULL. */
cadre_pool *cadre__port_pool_here(const cadre_port *port);

/* Any thread. */
void cadre__log(const cadre_port *port, cadre_log_level level, const char *format, ...) CADRE_PRINTF(3, 4);

#endif
