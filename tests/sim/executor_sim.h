/* The executor of the tests' simulator: a pool's threads and its loop's turns in one thread, with a virtual clock and one seed.
 *
 * Everything that happens is an event with a time and a random rank among events of that time: a thread that goes on, the loop's turn, whatever the host plans.
 * A cadre__thread is a fiber: between its turns, and inside an operation that calls sim_busy, others go on. The loop sleeps as it does on libuv: after a turn
 * that wants no other it announces it, and the next turn comes when somebody signals, when the pool asks (`soon`), or when its timer is due. Nothing else wakes
 * it, so a lost wake-up leaves a pool that stands still. */
#ifndef CADRE_SIM_EXECUTOR_H
#define CADRE_SIM_EXECUTOR_H

#include "fiber.h"
#include "pool/pool.h"

#include <stdio.h>

typedef void (*sim_event_cb)(void *data);

typedef struct sim_event {
    uint64_t time, rank, order;
    sim_event_cb run;
    void *data;
} sim_event;

typedef enum sim_thread_state { SIM_SLEEPS, SIM_PLANNED, SIM_RUNS, SIM_STUCK, SIM_ENDED } sim_thread_state;

typedef struct sim_thread {
    cadre__list link; /* in simulator.threads, until the host's end */
    fiber fiber;      /* its function */
    struct simulator *sim;
    cadre__thread *thread; /* NULL once it may be gone */
    unsigned number;
    sim_thread_state state;
    bool exited, abandoned;
} sim_thread;

typedef struct simulator {
    uint64_t seed, random, now, rank, order;
    uint64_t hash;  /* of the log */
    uint64_t steps; /* events so far */
    FILE *text;     /* the log itself, or NULL */
    sim_event *events;
    size_t event_count, event_capacity;
    cadre__list threads;
    sim_thread *current; /* NULL: the loop, or a thread of the host's */
    unsigned thread_count;

    /* how this machine is */
    bool waits;           /* thread_wait can wait */
    unsigned starts_fail; /* one thread in so many cannot be started; 0: none */
    uint64_t lag, tick;   /* at most so long until somebody who was woken goes on; what a look at the clock takes */

    /* the loop */
    cadre_pool *pool;
    uint64_t turn_at, timer_at;
    bool sticky;                /* a thread has stuck */
    bool held, closing, turned; /* turned: the event was a turn that wants no other */
    void (*closed)(cadre_pool *pool);
} simulator;

extern const cadre__executor executor_sim;

void sim_open(simulator *sim, uint64_t seed, FILE *text);
void sim_free(simulator *sim);

/* 0 … n − 1; and: true once in n. */
uint64_t sim_below(simulator *sim, uint64_t n);
bool sim_one_in(simulator *sim, uint64_t n);
/* A time that is often short and seldom long, below `most`. */
uint64_t sim_span(simulator *sim, uint64_t most);

void sim_log(simulator *sim, const char *format, ...) CADRE_PRINTF(2, 3);
/* An invariant does not hold: says which, and how to see it again; ends the process. */
_Noreturn void sim_violation(simulator *sim, const char *format, ...) CADRE_PRINTF(2, 3);

void sim_plan(simulator *sim, uint64_t delay, sim_event_cb run, void *data);
/* Runs the earliest event; false when there is none. */
bool sim_step(simulator *sim);
/* On a thread: time passes, others go on. On the loop: nothing. */
void sim_busy(simulator *sim, uint64_t ns);
/* On a thread: stands still until sim_unstick. */
void sim_stick(simulator *sim);
void sim_unstick(simulator *sim);
/* The host: what follows is done by a thread of its own, or by the loop's again. */
void sim_elsewhere(simulator *sim, bool elsewhere);
uint64_t sim_clock(void *simulator);

#endif
