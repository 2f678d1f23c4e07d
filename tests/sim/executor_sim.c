#include "executor_sim.h"

#include "shrink.h"

#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- chance, log, verdict ---- */

/* splitmix64 (Steele, Lea and Flood 2014). */
static uint64_t next_random(simulator *sim)
{
    uint64_t z = sim->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

uint64_t sim_below(simulator *sim, uint64_t n)
{
    return n ? next_random(sim) % n : 0;
}

bool sim_one_in(simulator *sim, uint64_t n)
{
    return sim_below(sim, n) == 0;
}

uint64_t sim_span(simulator *sim, uint64_t most)
{
    uint64_t shift = sim_below(sim, 16);
    return sim_below(sim, (most >> shift) + 1);
}

void sim_log(simulator *sim, const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    for (int i = 0; i < length && i < (int)sizeof line - 1; i++) sim->hash = (sim->hash ^ (unsigned char)line[i]) * UINT64_C(1099511628211);
    sim->hash = (sim->hash ^ sim->now) * UINT64_C(1099511628211);
    if (sim->text) fprintf(sim->text, "%12.6f %s\n", (double)sim->now / 1e6, line);
}

sim_watch *sim_watched; /* NULL: nobody looks on */

void sim_violation(simulator *sim, const char *format, ...)
{
    va_list arguments;
    fprintf(stderr, "sim: VIOLATION at event %llu, %.6f ms: ", (unsigned long long)sim->steps, (double)sim->now / 1e6);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\nsim: again with: sim --operations 1 --seed %llu --log\n", (unsigned long long)sim->seed);
    if (sim_watched) snprintf(sim_watched->what, sizeof sim_watched->what, "%s", format);
    fflush(NULL);
    _exit(1); /* not exit(): it may be a fiber's stack that we stand on */
}

/* ---- events: a binary heap ---- */

static bool before(const sim_event *a, const sim_event *b)
{
    if (a->time != b->time) return a->time < b->time;
    return a->rank != b->rank ? a->rank < b->rank : a->order < b->order;
}

void sim_plan(simulator *sim, uint64_t delay, sim_event_cb run, void *data)
{
    if (sim->event_count == sim->event_capacity) {
        sim->event_capacity = sim->event_capacity ? sim->event_capacity * 2 : 64;
        sim->events = realloc(sim->events, sim->event_capacity * sizeof *sim->events);
        if (!sim->events) abort();
    }
    sim_event event = {cadre__after(sim->now, delay), next_random(sim) % 4, sim->order++, run, data};
    size_t i = sim->event_count++;
    for (; i > 0 && before(&event, &sim->events[(i - 1) / 2]); i = (i - 1) / 2) sim->events[i] = sim->events[(i - 1) / 2];
    sim->events[i] = event;
}

static sim_event pop_event(simulator *sim)
{
    sim_event first = sim->events[0], last = sim->events[--sim->event_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= sim->event_count) break;
        if (child + 1 < sim->event_count && before(&sim->events[child + 1], &sim->events[child])) child++;
        if (!before(&sim->events[child], &last)) break;
        sim->events[i] = sim->events[child];
        i = child;
    }
    sim->events[i] = last;
    return first;
}

#define EVENTS_MAX 3000000 /* of one host: it cannot be that busy */

bool sim_step(simulator *sim)
{
    if (!sim->event_count) return false;
    sim_event event = pop_event(sim);
    if (event.time > sim->now) sim->now = event.time;
    if (++sim->steps > EVENTS_MAX) sim_violation(sim, "something goes round and round");
    sim->turned = false;
    event.run(event.data);
    return true;
}

uint64_t sim_clock(void *data)
{
    simulator *sim = data;
    return sim->now += sim->tick;
}

/* ---- threads ---- */

void sim_elsewhere(simulator *sim, bool elsewhere)
{
    if (!sim->pool) return;
    uv_thread_t nobody = {0};
    sim->pool->port->loop_thread = elsewhere ? nobody : uv_thread_self();
}

static void go_on(void *data)
{
    sim_thread *t = data;
    t->state = SIM_RUNS;
    t->sim->current = t;
    sim_elsewhere(t->sim, true);
    fiber_resume(&t->fiber);
    sim_elsewhere(t->sim, false);
    t->sim->current = NULL;
    if (t->fiber.done) {
        t->state = SIM_ENDED;
        fiber_free(&t->fiber);
    }
}

static void plan_thread(sim_thread *t, uint64_t delay)
{
    t->state = SIM_PLANNED;
    sim_plan(t->sim, delay, go_on, t);
}

void sim_busy(simulator *sim, uint64_t ns)
{
    sim_thread *t = sim->current;
    if (!t) return;
    plan_thread(t, ns);
    fiber_yield(&t->fiber);
}

void sim_stick(simulator *sim)
{
    sim_thread *t = sim->current;
    if (!t) return;
    sim_log(sim, "t%u is stuck", t->number);
    t->state = SIM_STUCK;
    sim->sticky = true;
    fiber_yield(&t->fiber);
}

void sim_unstick(simulator *sim)
{
    CADRE__LIST_FOR (node, &sim->threads) {
        sim_thread *t = CADRE__CONTAINER(node, sim_thread, link);
        if (t->state == SIM_STUCK) plan_thread(t, sim_span(sim, sim->lag));
    }
}

static sim_thread *of(const cadre__thread *thread)
{
    sim_thread *t;
    memcpy(&t, &thread->handle, sizeof t);
    return t;
}

/* Announce, look again, sleep: as on libuv. */
static void sleep_until(cadre__thread *thread, bool inbox)
{
    sim_thread *t = of(thread);
    for (;;) {
        atomic_store_explicit(&thread->inbox.asleep, 1, memory_order_seq_cst);
        if (atomic_load_explicit(&thread->nudge, memory_order_seq_cst) || (inbox && !cadre__inbox_empty(&thread->inbox))) break;
        t->state = SIM_SLEEPS;
        fiber_yield(&t->fiber);
    }
    atomic_store_explicit(&thread->inbox.asleep, 0, memory_order_seq_cst);
}

static void thread_wake(cadre__thread *thread)
{
    sim_thread *t = of(thread);
    if (t->state != SIM_SLEEPS) sim_violation(t->sim, "t%u (%s) is woken but does not sleep", t->number, thread->name);
    plan_thread(t, sim_span(t->sim, t->sim->lag));
}

static bool thread_wait(cadre__thread *thread)
{
    sim_thread *t = of(thread);
    if (!t->sim->waits) return false;
    if (t->sim->current != t) sim_violation(t->sim, "a wait that is not on the thread itself");
    sleep_until(thread, false);
    return true;
}

static void thread_main(void *data)
{
    sim_thread *t = data;
    simulator *sim = t->sim;
    cadre__thread *thread = t->thread;
    cadre__turn turn = CADRE__TURN_AGAIN;
    while (turn != CADRE__TURN_EXIT) {
        cadre__node *work = cadre__inbox_take(&thread->inbox);
        if (work || turn == CADRE__TURN_AGAIN || atomic_exchange_explicit(&thread->nudge, false, memory_order_seq_cst)) {
            turn = thread->turn(thread, work);
            sim_log(sim, "t%u %s: %s", t->number, thread->name, turn == CADRE__TURN_EXIT ? "exit" : turn == CADRE__TURN_AGAIN ? "again" : "wait");
            sim_busy(sim, sim_span(sim, sim->lag));
        } else {
            sleep_until(thread, true);
        }
    }
    cadre_port *port = cadre_port_retain(thread->port);
    t->exited = true;
    t->thread = NULL;
    if (!cadre__port_send_to(port, thread->home, &thread->exited.node, &thread->exited.node)) {
        if (!t->abandoned) sim_violation(sim, "t%u ends after its pool but was never let go", t->number);
        thread->dispose(thread);
    }
    cadre_port_release(port);
}

static int thread_start(cadre__thread *thread)
{
    simulator *sim = thread->port->pool->executor_data;
    if (sim->starts_fail && thread->port->pool->reaper && sim_one_in(sim, sim->starts_fail)) {
        sim_log(sim, "%s cannot be started", thread->name);
        return CADRE_ETHREAD;
    }
    sim_thread *t = calloc(1, sizeof *t);
    if (!t) abort();
    t->sim = sim;
    t->thread = thread;
    t->number = sim->thread_count++;
    _Static_assert(sizeof thread->handle >= sizeof t, "a thread's handle takes a pointer");
    memcpy(&thread->handle, &t, sizeof t);
    cadre__list_append(&sim->threads, &t->link);
    fiber_start(&t->fiber, thread_main, t);
    sim_log(sim, "t%u %s starts", t->number, thread->name);
    plan_thread(t, sim_span(sim, sim->lag));
    return CADRE_OK;
}

static void thread_join(cadre__thread *thread)
{
    sim_thread *t = of(thread);
    if (thread->abandoned) return;
    if (!t->exited) sim_violation(t->sim, "t%u (%s) is joined but has not ended: that would block", t->number, thread->name);
    sim_log(t->sim, "t%u joined", t->number);
}

static void thread_detach(cadre__thread *thread)
{
    sim_thread *t = of(thread);
    if (thread->abandoned) sim_violation(t->sim, "t%u (%s) is detached twice", t->number, thread->name);
    sim_log(t->sim, "t%u %s abandoned", t->number, thread->name);
    thread->abandoned = t->abandoned = true;
}

/* ---- the loop ---- */

static void turn(void *data);

static void want_turn(simulator *sim, uint64_t delay)
{
    uint64_t at = sim->now + delay;
    if (at >= sim->turn_at) return;
    sim->turn_at = at;
    sim_plan(sim, delay, turn, sim);
}

static void turn(void *data)
{
    simulator *sim = data;
    cadre_pool *pool = sim->pool;
    if (!pool || sim->closing || sim->turn_at > sim->now) return;
    cadre__inbox *inbox = &pool->port->inbox;
    sim->turn_at = UINT64_MAX;
    atomic_store_explicit(&inbox->asleep, 0, memory_order_relaxed);
    pool->parked = false;
    uint64_t delivered = pool->delivered;
    bool more = cadre__pool_turn(pool);
    sim_log(sim, "turn %llu: %llu delivered%s", (unsigned long long)pool->turns, (unsigned long long)(pool->delivered - delivered), more ? ", more" : "");
    if (sim->closing) return;
    sim->turned = !more;
    if (!more) {
        atomic_store_explicit(&inbox->asleep, 1, memory_order_seq_cst);
        if (!cadre__inbox_empty(inbox) || !cadre__inbox_empty(&pool->port->reaped)) {
            atomic_store_explicit(&inbox->asleep, 0, memory_order_relaxed);
            more = true;
        }
    }
    pool->parked = true;
    if (more) want_turn(sim, sim_span(sim, sim->lag));
}

static void signal_loop(cadre_port *port)
{
    simulator *sim = port->pool->executor_data;
    want_turn(sim, sim_span(sim, sim->lag));
}

/* In `act` the pool's handles must still be open. */
static simulator *side(cadre_pool *pool, const char *act)
{
    simulator *sim = pool->executor_data;
    if (sim->closing) sim_violation(sim, "%s after the loop's side was closed", act);
    return sim;
}

static void soon(cadre_pool *pool)
{
    simulator *sim = side(pool, "soon");
    want_turn(sim, sim_span(sim, sim->lag));
}

static void timer(void *data)
{
    simulator *sim = data;
    if (!sim->pool || sim->closing || sim->timer_at > sim->now) return;
    sim->timer_at = UINT64_MAX;
    sim->pool->armed = UINT64_MAX;
    want_turn(sim, 0);
}

static void arm(cadre_pool *pool, uint64_t due)
{
    simulator *sim = side(pool, "arm");
    sim->timer_at = due;
    /* A timer fires late, by up to a millisecond on libuv. */
    if (due != UINT64_MAX) sim_plan(sim, (due > sim->now ? due - sim->now : 0) + sim_span(sim, CADRE__NS_PER_MS), timer, sim);
}

static void hold(cadre_pool *pool, bool on)
{
    side(pool, "hold")->held = on;
}

static int open_side(cadre_pool *pool, uv_loop_t *loop)
{
    (void)loop;
    simulator *sim = pool->executor_data;
    sim->pool = pool;
    sim->turn_at = sim->timer_at = UINT64_MAX;
    pool->port->signal = signal_loop;
    pool->parked = true;
    atomic_store(&pool->port->inbox.asleep, 1);
    return CADRE_OK;
}

static void side_closed(void *data)
{
    simulator *sim = data;
    cadre_pool *pool = sim->pool;
    sim_log(sim, "the loop's side is closed");
    sim->closed(pool);
    sim->pool = NULL;
}

static void close_side(cadre_pool *pool, void (*done)(cadre_pool *pool))
{
    simulator *sim = side(pool, "close");
    sim->closing = true;
    sim->closed = done;
    sim_plan(sim, sim_span(sim, sim->lag), side_closed, sim);
}

/* ---- life ---- */

void sim_open(simulator *sim, uint64_t seed, FILE *text)
{
    *sim = (simulator){.seed = seed, .random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1, .now = 1000000, .hash = UINT64_C(14695981039346656037), .text = text};
    cadre__list_init(&sim->threads);
    sim->turn_at = sim->timer_at = UINT64_MAX;
}

void sim_free(simulator *sim)
{
    while (!cadre__list_empty(&sim->threads)) {
        sim_thread *t = CADRE__CONTAINER(sim->threads.next, sim_thread, link);
        if (t->state != SIM_ENDED) sim_violation(sim, "t%u has not ended when everything is over", t->number);
        cadre__list_remove(&t->link);
        free(t);
    }
    free(sim->events);
}

const cadre__executor executor_sim = {
    .thread_start = thread_start,
    .thread_join = thread_join,
    .thread_detach = thread_detach,
    .thread_wake = thread_wake,
    .thread_wait = thread_wait,
    .open = open_side,
    .close = close_side,
    .hold = hold,
    .soon = soon,
    .arm = arm,
    .now = sim_clock,
};
