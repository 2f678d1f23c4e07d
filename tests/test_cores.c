/* Cores: what an operation is told to use, and when a model with a fixed number of threads may begin. */
#include "scripted_backend.h"

static script *with_threads(fixture *fx, const char *key, uint32_t threads)
{
    script *s = text_script(fx, key);
    s->fixed_threads = threads;
    cadre_entry entry = entry_of(s);
    entry.max_workers = 1;
    add(fx, &entry);
    return s;
}

/* It stands before its first piece. */
static answer *at_work(script *s)
{
    int begun = atomic_load(&s->begun[OP_PIECE]);
    script_hold(s, OP_PIECE);
    answer *a = ask(s, "work");
    script_until(s, OP_PIECE, begun + 1);
    settle(s->fx);
    return a;
}

/* How many threads its operation is told to use with its next piece. */
static int share_now(script *s)
{
    int ended = atomic_load(&s->ended[OP_PIECE]);
    atomic_store(&s->threads, -1);
    script_pass(s, OP_PIECE, 1);
    script_until_ended(s, OP_PIECE, ended + 1);
    return atomic_load(&s->threads);
}

static void the_share_is_the_cores_by_the_workers_that_are_busy_now(void **state)
{
    (void)state;
    static const int32_t cores[] = {1, 2, 8, 9};
    for (size_t i = 0; i < COUNT(cores); i++) {
        row("%d cores", cores[i]);
        fixture *fx = registry_begin_with(1 << 20, cores[i]);
        static const char *const keys[] = {"a", "b", "c"};
        script *s[3];
        for (int k = 0; k < 3; k++) {
            s[k] = with_threads(fx, keys[k], 0);
            s[k]->pieces = 6;
            serve_once(s[k]);
        }
        for (int k = 0; k < 3; k++) {
            at_work(s[k]);
            for (int j = 0; j <= k; j++) assert_int_equal(share_now(s[j]), cores[i] / (k + 1) > 0 ? cores[i] / (k + 1) : 1);
        }
        scripts_open(fx);
        until_all_done(fx);
        fixture_end(fx);
    }
}

static void fixed_threads_begin_when_so_many_cores_are_free(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1 << 20, 8);
    script *a = with_threads(fx, "a", 5), *b = with_threads(fx, "b", 5), *c = with_threads(fx, "c", 3), *asks = with_threads(fx, "asks", 0);
    asks->pieces = 6;
    at_work(a);
    assert_size(snapshot_of(fx).workers_busy, 1);
    answer *waits = ask(b, "waits");
    until_workers(fx, "b", 1);
    settle(fx);
    assert_int_equal(atomic_load(&b->begun[OP_GENERATE]), 0);
    assert_size(info_of(fx, "b").queued, 1);
    at_work(c); /* three are free */
    assert_size(snapshot_of(fx).workers_busy, 2);
    at_work(asks); /* one that asks is never kept waiting; nothing is left for it but one */
    assert_int_equal(share_now(asks), 1);
    script_open(c, OP_PIECE);
    script_until_ended(c, OP_GENERATE, 1);
    settle(fx);
    assert_int_equal(share_now(asks), 3);
    assert_int_equal(atomic_load(&b->begun[OP_GENERATE]), 0);
    script_open(a, OP_PIECE);
    until_done(waits);
    assert_answered(b, waits, "waits");
    script_open(asks, OP_PIECE);
    until_all_done(fx);
    settle(fx);
    assert_size(snapshot_of(fx).cores_busy, 0);
    fixture_end(fx);
}

static void more_threads_than_cores_run_alone(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1 << 20, 2);
    script *a = with_threads(fx, "a", 64), *b = with_threads(fx, "b", 64);
    answer *first = at_work(a), *second = ask(b, "waits");
    until_workers(fx, "b", 1);
    settle(fx);
    assert_int_equal(atomic_load(&b->begun[OP_GENERATE]), 0);
    script_open(a, OP_PIECE);
    until_done(first);
    until_done(second);
    assert_answered(b, second, "waits");
    fixture_end(fx);
}

static void who_waits_for_cores_may_still_leave(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1 << 20, 2);
    script *a = with_threads(fx, "a", 2), *b = with_threads(fx, "b", 2);
    at_work(a);
    answer *late = ask_within(b, "late", 100), *cancelled = ask(b, "cancelled");
    until_workers(fx, "b", 1);
    settle(fx);
    assert_status(cadre_request_cancel(fx->pool, cancelled->id), 0);
    pass_time(fx, 101);
    until_done(late);
    until_done(cancelled);
    assert_status(late->status, CADRE_ETIMEDOUT);
    assert_int_equal(atomic_load(&b->begun[OP_GENERATE]), 0);
    assert_status(unload_now(fx, "b").status, 0);
    script_open(a, OP_PIECE);
    until_all_done(fx);
    serve_once(b);
    fixture_end(fx);
}

static void every_capability_says_its_threads_and_its_heartbeat(void **state)
{
    (void)state;
    for (int capability = 0; capability < CADRE_CAPABILITY_COUNT; capability++) {
        row("%s", cadre_capability_name((cadre_capability)capability));
        fixture *fx = registry_begin_with(1 << 20, 4);
        script *s = script_new(fx, (cadre_capability)capability, KIND_BLOCKING, "m");
        s->fixed_threads = 3;
        s->heartbeat_ms = 100;
        cadre_entry entry = entry_of(s);
        entry.max_workers = 1;
        add(fx, &entry);
        script_hold(s, script_work(s));
        answer *a = ask(s, "hello");
        script_until(s, script_work(s), 1);
        settle(fx);
        assert_size(snapshot_of(fx).workers_busy, 1);
        pass_time(fx, 101);
        until_done(a);
        assert_status(a->status, CADRE_EHUNG);
        script_open(s, script_work(s));
        run_until_atomic(fx, &s->destroyed, 1);
        settle(fx);
        assert_size(snapshot_of(fx).cores_busy, 0);
        serve_once(s);
        fixture_end(fx);
    }
}

#define SUITE cores
#include "suite.h"
