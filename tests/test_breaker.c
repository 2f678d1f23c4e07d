/* The breaker: a model whose requests keep failing rests, then is tried with a few. */
#include "scripted_backend.h"

static script *added_as(fixture *fx, const char *key, void (*change)(cadre_entry *entry))
{
    script *s = text_script(fx, key);
    cadre_entry entry = entry_of(s);
    entry.idle_timeout_ms = CADRE_NEVER;
    if (change) change(&entry);
    add(fx, &entry);
    return s;
}

static int64_t retry_after(fixture *fx)
{
    return cadre_pool_retry_after_ms(fx->pool);
}

static void failed(answer *a, int status, const char *detail)
{
    until_done(a);
    assert_status(a->status, status);
    assert_contains(a->detail, detail);
}

/* ---- the breaker ---- */

static void small_breaker(cadre_entry *entry)
{
    entry->breaker_failures = 3;
    entry->breaker_open_ms = 10000;
    entry->breaker_probes = 2;
    entry->breaker_successes = 3;
    entry->max_workers = 4;
}

static void fail_times(script *s, int times, int status)
{
    atomic_store(&s->status[OP_GENERATE], status);
    for (int i = 0; i < times; i++) failed(ask(s, "hello"), status, "");
    atomic_store(&s->status[OP_GENERATE], 0);
    settle(s->fx);
}

static void a_model_that_keeps_failing_rests_is_tried_and_serves_again(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = added_as(fx, "m", small_breaker);
    s->detail = "CUDA error 700";
    fail_times(s, 3, CADRE_EENGINE);
    assert_state_of(fx, "m", CADRE_MODEL_RESTING);
    assert_contains(info_of(fx, "m").detail, "CUDA error 700");
    assert_status(info_of(fx, "m").status, CADRE_EENGINE);
    assert_refused(s, CADRE_EBREAKER, "CUDA error 700");
    assert_size(retry_after(fx), 10000);
    pass_time(fx, 9999);
    assert_refused(s, CADRE_EBREAKER, "rests");
    assert_size(retry_after(fx), 1);
    size_t opened = event_after(CADRE_EVENT_BREAKER_OPENED, "m", 0);
    assert_status(events[opened].status, CADRE_EENGINE);
    assert_contains(events[opened].detail, "CUDA error 700");
    pass_time(fx, 1);
    for (int i = 0; i < 3; i++) {
        assert_size(events_of(CADRE_EVENT_BREAKER_CLOSED, "m", 0), 0);
        serve_once(s);
    }
    assert_size(events_of(CADRE_EVENT_BREAKER_HALF_OPEN, "m", 0), 1);
    assert_size(events_of(CADRE_EVENT_BREAKER_CLOSED, "m", 0), 1);
    fail_times(s, 2, CADRE_EENGINE);
    assert_state_of(fx, "m", CADRE_MODEL_READY);
    fixture_end(fx);
}

static void a_success_resets_the_count_of_failures(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = added_as(fx, "m", small_breaker);
    for (int i = 0; i < 5; i++) {
        fail_times(s, 2, CADRE_EENGINE);
        serve_once(s);
    }
    assert_size(events_of(CADRE_EVENT_BREAKER_OPENED, "m", 0), 0);
    fail_times(s, 3, CADRE_EENGINE);
    assert_size(events_of(CADRE_EVENT_BREAKER_OPENED, "m", 0), 1);
    fixture_end(fx);
}

static void half_open_lets_so_many_through_at_a_time(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = added_as(fx, "m", small_breaker);
    fail_times(s, 3, CADRE_EENGINE);
    pass_time(fx, 10000);
    script_hold(s, OP_GENERATE);
    for (int round = 0; round < 2; round++) {
        answer *one = ask(s, "probe"), *two = ask(s, "probe");
        assert_refused(s, CADRE_EBREAKER, "rests");
        settle(fx);
        assert_refused(s, CADRE_EBREAKER, "rests");
        if (round == 0) { /* one that is cancelled makes room for another */
            assert_status(cadre_request_cancel(fx->pool, two->id), 0);
            until_done(two);
            two = ask(s, "probe");
            assert_refused(s, CADRE_EBREAKER, "rests");
        }
        if (round == 1) break;
        script_pass(s, OP_GENERATE, 2);
        until_done(one);
        until_done(two);
        settle(fx);
    }
    script_open(s, OP_GENERATE);
    until_all_done(fx);
    assert_size(events_of(CADRE_EVENT_BREAKER_CLOSED, "m", 0), 1);
    for (int i = 0; i < 10; i++) ask(s, "free");
    until_all_done(fx);
    fixture_end(fx);
}

static void a_probe_that_fails_opens_it_again(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = added_as(fx, "m", small_breaker);
    fail_times(s, 3, CADRE_EENGINE);
    for (int i = 0; i < 3; i++) {
        pass_time(fx, 10000);
        fail_times(s, 1, CADRE_EENGINE);
        assert_refused(s, CADRE_EBREAKER, "rests");
        assert_size(retry_after(fx), 10000);
    }
    assert_size(events_of(CADRE_EVENT_BREAKER_OPENED, "m", 0), 4);
    fixture_end(fx);
}

static void probes_that_outlive_their_round_still_count(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = text_script(fx, "m");
    cadre_entry entry = entry_of(s);
    small_breaker(&entry);
    s->slots = 4;
    s->pieces = 20;
    add(fx, &entry);
    atomic_store(&s->status[OP_BEGIN], CADRE_EENGINE);
    for (int i = 0; i < 3; i++) failed(ask(s, "hello"), CADRE_EENGINE, "");
    pass_time(fx, 10000);
    atomic_store(&s->status[OP_BEGIN], 0);
    script_hold(s, OP_STEP);
    ask(s, "slow");
    script_until(s, OP_STEP, 1);
    answer *fails = ask(s, "fail at once");
    settle(fx);
    script_pass(s, OP_STEP, 2);
    until_done(fails);
    assert_status(fails->status, CADRE_EINPUT); /* says nothing of the model: no second probe is out */
    atomic_store(&s->status[OP_BEGIN], CADRE_EENGINE);
    fails = ask(s, "hello");
    settle(fx);
    script_pass(s, OP_STEP, 3);
    failed(fails, CADRE_EENGINE, "");
    atomic_store(&s->status[OP_BEGIN], 0);
    assert_refused(s, CADRE_EBREAKER, "rests");
    pass_time(fx, 10000);
    ask(s, "next"); /* beside the slow one, which is a probe still */
    assert_refused(s, CADRE_EBREAKER, "rests");
    script_open(s, OP_STEP);
    until_all_done(fx);
    fixture_end(fx);
}

static void who_waits_when_it_opens_is_told(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = added_as(fx, "m", small_breaker);
    script_hold(s, OP_GENERATE); /* one that takes its time: nothing is handed ahead */
    ask(s, "slow");
    script_until(s, OP_GENERATE, 1);
    pass_time(fx, 100);
    script_open(s, OP_GENERATE);
    until_all_done(fx);
    fail_times(s, 2, CADRE_EENGINE);
    atomic_store(&s->status[OP_GENERATE], CADRE_EENGINE);
    script_hold(s, OP_GENERATE);
    answer *runs = ask(s, "runs"), *waits = ask(s, "waits");
    script_until(s, OP_GENERATE, 4);
    settle(fx);
    script_pass(s, OP_GENERATE, 1);
    failed(runs, CADRE_EENGINE, "");
    failed(waits, CADRE_EBREAKER, "rests after repeated failures");
    fixture_end(fx);
}

static void what_a_client_does_wrong_does_not_count(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = added_as(fx, "m", small_breaker);
    for (int i = 0; i < 10; i++) failed(ask(s, "fail please"), CADRE_EINPUT, "refused: fail please");
    for (int i = 0; i < 10; i++) failed(ask(s, "long text"), CADRE_ETOOLONG, "too long");
    script_hold(s, OP_GENERATE);
    for (int i = 0; i < 5; i++) {
        answer *a = ask(s, "cancelled");
        settle(fx);
        assert_status(cadre_request_cancel(fx->pool, a->id), 0);
        until_done(a);
        answer *late = ask_within(s, "late", 10);
        pass_time(fx, 11);
        failed(late, CADRE_ETIMEDOUT, "");
    }
    script_open(s, OP_GENERATE);
    assert_size(events_of(CADRE_EVENT_BREAKER_OPENED, "m", 0), 0);
    serve_once(s);
    fixture_end(fx);
}

static void no_breaker(cadre_entry *entry)
{
    entry->breaker_failures = 0;
}

static void without_a_breaker_nothing_rests(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = added_as(fx, "m", no_breaker);
    fail_times(s, 30, CADRE_EENGINE);
    assert_state_of(fx, "m", CADRE_MODEL_READY);
    fixture_end(fx);
}

#define SUITE breaker
#include "suite.h"
