/* What every suite shares: a counting allocator, a clock that stands still until a test moves it, gates that hold an operation, and a fixture (loop, pool, both
 * of them) that ends with nothing left over.
 *
 * Threads: a test body runs on the loop thread. cmocka's assertions jump, so they belong to that thread; whatever another thread finds wrong goes through
 * fixture_fault(), which fixture_end() turns into a failure. Nothing here waits for time: run_until() turns the loop until a condition holds, and an alarm far
 * away kills a test that hangs. */
#ifndef CADRE_TESTS_SUPPORT_H
#define CADRE_TESTS_SUPPORT_H

#include <cadre.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include <cmocka.h>

#define WATCHDOG_S 300
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- assertions with names in them ---- */
#define assert_status(actual, expected) support_assert_status((actual), (expected), #actual, __FILE__, __LINE__)
#define assert_size(actual, expected) assert_int_equal((size_t)(actual), (size_t)(expected))
#define assert_contains(text, part) support_assert_contains((text), (part), __FILE__, __LINE__)
void support_assert_status(int actual, int expected, const char *expression, const char *file, int line);
void support_assert_contains(const char *text, const char *part, const char *file, int line);
/* Names the row of a table that runs now; printed when the test fails or hangs. fixture_end() forgets it. */
void row(const char *format, ...) CADRE_PRINTF(1, 2);

/* ---- memory: any thread ----
 * Only relaxed atomics inside, so that the allocator orders nothing that ThreadSanitizer should see unordered. */
typedef struct test_memory {
    atomic_long blocks, bytes;
    atomic_ulong allocations;
    atomic_long fail_at; /* the allocation with this number (from 1) fails, and with `fail_all` every later one; 0: none */
    atomic_int fail_all;
    atomic_int failures; /* allocations that were made to fail */
    atomic_int faults;   /* frees with another size than the allocation's, double frees */
} test_memory;
cadre_allocator test_allocator(test_memory *memory);

/* ---- gates: hold an operation until the test lets it go ---- */
typedef struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool held;
    unsigned passes, waiting;
} gate;
void gate_init(gate *g);
void gate_destroy(gate *g);
void gate_hold(gate *g);
void gate_open(gate *g);             /* lets everyone through from now on */
void gate_pass(gate *g, unsigned n); /* lets n through a held gate */
void gate_wait(gate *g);             /* the operation's side */
unsigned gate_waiting(gate *g);      /* how many stand at it */

/* ---- the fixture ---- */
struct answer;
struct script;
/* Set while fixtures live in several threads: each does not wait for the others' threads to end. */
extern bool several_fixtures;
typedef bool (*condition)(void *data);
typedef struct fixture {
    uv_loop_t loop;
    cadre_pool *pool;
    cadre_port *port;
    test_memory memory;
    atomic_uint_fast64_t now_ns;
    pthread_t loop_thread;
    uv_async_t wake;   /* other threads signal it when a condition may have changed; referenced inside run_until only */
    uv_prepare_t look; /* runs after the pool's: a condition that came true there must not wait for the poll */
    condition holds;   /* what run_until waits for */
    void *holds_data;
    atomic_int faults; /* fixture_fault() was called */
    int calling;       /* depth of library calls that must not call back */
    unsigned calls;    /* callbacks seen, in order: the next one's number */
    bool closing, closed;
    cadre_close_report report;
    bool expect_report; /* the test looked at the close report itself */
    int threads;        /* of the process, before the pool; INT_MAX: other tests' threads come and go */
    struct answer *answers;
    struct script *scripts;
} fixture;

fixture *fixture_begin(void);
/* `options`: allocator, clock and log are filled in. */
fixture *fixture_begin_with(const cadre_pool_options *options);
/* As fixture_begin_with, but a pool that cannot be created is an answer: its error, and *out has no pool. */
int fixture_try_begin(const cadre_pool_options *options, long fail_at, bool fail_all, fixture **out);
/* Closes the pool if the test has not, turns the loop until it is closed, and asserts: every answer came exactly once, every model that was made was destroyed,
 * the loop closes, not one byte is left. */
void fixture_end(fixture *fx);
/* Closes and turns the loop until the close callback has run. */
void fixture_close(fixture *fx, const cadre_close_options *options);
/* Only calls close; fx->closed becomes true later. */
void fixture_start_close(fixture *fx, const cadre_close_options *options);
/* Moves the clock and wakes the loop. The pool's timer is a real one: use deadlines of a few ms. */
void fixture_advance(fixture *fx, int64_t ms);
/* Any thread: something is wrong. */
void fixture_fault(fixture *fx, const char *format, ...) CADRE_PRINTF(2, 3);
/* Any thread: a condition may have changed. */
void fixture_wake(fixture *fx);
bool fixture_on_loop(const fixture *fx);
void fixture_turn(fixture *fx); /* one turn that does not wait */

void run_until(fixture *fx, condition holds, void *data);
/* Turns the loop until an int is at least n. */
void run_until_int(fixture *fx, const int *value, int n);
void run_until_atomic(fixture *fx, atomic_int *value, int n);
/* Turns the loop until everything posted so far has been served, a number of times over: what was going to happen without anyone's help has happened on the
 * loop's side. */
void settle(fixture *fx);

/* A thread of the test's own; joining it is the one wait that a test body does. */
typedef struct helper {
    pthread_t thread;
    void (*run)(void *data);
    void *data;
} helper;
void helper_start(helper *h, void (*run)(void *data), void *data);
void helper_join(helper *h);

uint64_t charged(fixture *fx, uint32_t device);
uint64_t reservations(fixture *fx, uint32_t device);
cadre_reservation *reserve(fixture *fx, uint64_t bytes);

/* The interposer's hooks (tests/interpose.c), when it is preloaded; else they do nothing. */
void guard_enter(void);
void guard_leave(void);
void guard_allow_join(void); /* a pool is closed from now on: its reaper may be joined on the loop */

int support_setup(void **state);
int support_teardown(void **state);

#endif
