/* Workers that hang or break: set aside, replaced, their memory charged until it is back; what they had not begun goes elsewhere. */
#include "scripted_backend.h"

/* A model whose operations give a sign of life each 100 ms, of 300 bytes. */
static script *beating(fixture *fx, uint32_t slots, int64_t hang_timeout_ms)
{
    script *s = text_script(fx, "m");
    s->heartbeat_ms = 100;
    s->slots = slots;
    cadre_entry entry = entry_of(s);
    cadre_memory_need need;
    entry_takes(&entry, &need, 0, 300);
    entry.hang_timeout_ms = hang_timeout_ms;
    entry.max_workers = 1;
    add(fx, &entry);
    return s;
}

static void a_worker_that_hangs_is_set_aside_and_replaced(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = beating(fx, 0, CADRE_DEFAULT);
    script_hold(s, OP_GENERATE);
    answer *hangs = ask(s, "hangs"), *waits = ask(s, "waits");
    script_until(s, OP_GENERATE, 1);
    settle(fx);
    pass_time(fx, 99);
    assert_int_equal(hangs->done, 0);
    pass_time(fx, 2);
    until_done(hangs);
    assert_status(hangs->status, CADRE_EHUNG);
    script_until(s, OP_GENERATE, 2); /* the replacement has the other one */
    assert_size(charged(fx, 0), 600);
    assert_size(snapshot_of(fx).workers_hung, 1);
    assert_size(events_of(CADRE_EVENT_WORKER_HUNG, "m", 0), 1);
    assert_int_equal(atomic_load(&s->destroyed), 0);
    script_open(s, OP_GENERATE);
    until_done(waits);
    assert_answered(s, waits, "waits");
    until_charged(fx, 300);
    assert_int_equal(atomic_load(&s->destroyed), 1);
    serve_once(s);
    fixture_end(fx);
}

static void what_a_hung_worker_had_not_begun_goes_to_another(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = beating(fx, 4, CADRE_DEFAULT);
    serve_once(s);
    script_hold(s, OP_BEGIN);
    answer *first = ask(s, "first");
    script_until(s, OP_BEGIN, 2);
    answer *others[3];
    for (int i = 0; i < 3; i++) others[i] = ask(s, "other");
    settle(fx);
    assert_size(info_of(fx, "m").queued, 0); /* the worker has them all */
    pass_time(fx, 101);
    until_done(first);
    assert_status(first->status, CADRE_EHUNG);
    script_until(s, OP_BEGIN, 3);
    script_open(s, OP_BEGIN);
    for (int i = 0; i < 3; i++) {
        until_done(others[i]);
        assert_answered(s, others[i], "other");
    }
    fixture_end(fx);
}

static void signs_of_life_keep_a_worker(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = beating(fx, 0, CADRE_DEFAULT);
    script_hold(s, OP_PIECE);
    answer *a = ask(s, "slow");
    for (int i = 1; i <= 3; i++) {
        script_until(s, OP_PIECE, i);
        settle(fx);
        pass_time(fx, 90);
        script_pass(s, OP_PIECE, 1);
    }
    until_done(a);
    assert_answered(s, a, "slow");
    assert_size(snapshot_of(fx).workers_hung, 0);
    fixture_end(fx);
}

static void the_entry_says_when_a_worker_hangs(void **state)
{
    (void)state;
    static const int64_t timeouts[] = {500, CADRE_NEVER};
    for (size_t i = 0; i < COUNT(timeouts); i++) {
        row("%lld", (long long)timeouts[i]);
        fixture *fx = registry_begin();
        script *s = beating(fx, 0, timeouts[i]);
        script_hold(s, OP_GENERATE);
        answer *a = ask(s, "hangs");
        script_until(s, OP_GENERATE, 1);
        settle(fx);
        pass_time(fx, 499);
        assert_int_equal(a->done, 0);
        pass_time(fx, 1000000);
        if (i == 0) until_done(a);
        assert_int_equal(a->done, i == 0);
        script_open(s, OP_GENERATE);
        until_done(a);
        assert_status(a->status, i == 0 ? CADRE_EHUNG : 0);
        fixture_end(fx);
    }
}

static void a_hung_worker_gives_its_place_to_one_more_load_only_when_there_is_memory(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(500, 2);
    script *s = beating(fx, 0, CADRE_DEFAULT);
    script_hold(s, OP_GENERATE);
    answer *hangs = ask(s, "hangs"), *waits = ask(s, "waits");
    script_until(s, OP_GENERATE, 1);
    settle(fx);
    pass_time(fx, 101);
    until_done(hangs);
    settle(fx);
    assert_size(charged(fx, 0), 300);
    assert_int_equal(waits->done, 0);
    assert_state_of(fx, "m", CADRE_MODEL_WAITING);
    script_open(s, OP_GENERATE);
    until_done(waits);
    assert_answered(s, waits, "waits");
    fixture_end(fx);
}

/* ---- broken ---- */

static void a_worker_that_says_it_is_broken_is_replaced(void **state)
{
    (void)state;
    static const uint32_t slots[] = {0, 2};
    for (size_t i = 0; i < COUNT(slots); i++) {
        row("%u slots", slots[i]);
        fixture *fx = registry_begin();
        script *s = beating(fx, slots[i], CADRE_DEFAULT);
        script_op op = script_work(s);
        s->detail = "the device is lost";
        script_hold(s, op);
        answer *breaks = ask(s, "breaks");
        script_until(s, op, 1);
        answer *next = ask(s, "next");
        settle(fx);
        atomic_store(&s->status[op], CADRE_EWORKER);
        script_pass(s, op, 1);
        until_done(breaks);
        assert_status(breaks->status, CADRE_EWORKER);
        assert_contains(breaks->detail, "the device is lost");
        atomic_store(&s->status[op], 0);
        script_open(s, op);
        until_done(next);
        assert_answered(s, next, "next");
        assert_int_equal(atomic_load(&s->made), 2);
        until_charged(fx, 300);
        fixture_end(fx);
    }
}

static void nothing_more_is_begun_on_a_broken_worker(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = beating(fx, 4, CADRE_DEFAULT);
    serve_once(s);
    script_hold(s, OP_BEGIN);
    answer *breaks = ask(s, "breaks"), *others[3];
    for (int i = 0; i < 3; i++) others[i] = ask(s, "other"); /* taken by the worker together */
    script_until(s, OP_BEGIN, 2);
    settle(fx);
    atomic_store(&s->status[OP_BEGIN], CADRE_EWORKER);
    script_pass(s, OP_BEGIN, 1);
    until_done(breaks);
    assert_status(breaks->status, CADRE_EWORKER);
    atomic_store(&s->status[OP_BEGIN], 0);
    run_until_atomic(fx, &s->destroyed, 1);
    script_open(s, OP_BEGIN);
    for (int i = 0; i < 3; i++) {
        until_done(others[i]);
        assert_answered(s, others[i], "other");
    }
    assert_size(script_count(s, OP_BEGIN, "other"), 3);
    fixture_end(fx);
}

#define SUITE hang
#include "suite.h"
