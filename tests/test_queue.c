/* The queue of a model: bounded, by priority with aging, first in first out within one; and what becomes of those who wait when loads or workers end. */
#include "scripted.h"

static script *busy(fixture *fx, cadre_capability capability, int32_t capacity)
{
    script *s = script_new(fx, capability, KIND_BLOCKING, "m");
    cadre_spawn_options options = CADRE_SPAWN_OPTIONS_INIT;
    options.queue_capacity = capacity;
    options.batch_window_us = 0;
    assert_status(script_spawn_with(s, NULL, &options), 0);
    script_until_ready(s, 1);
    script_hold(s, script_work(s));
    ask(s, "running");
    script_until(s, script_work(s), 1);
    settle(fx);
    return s;
}

static int refused(script *s)
{
    answer *a = answer_new(s->fx);
    cadre_request_options options = CADRE_REQUEST_OPTIONS_INIT;
    options.release = answer_on_release;
    options.release_data = a;
    a->lent = true;
    int rc = submit(s, a, "more", &options);
    if (rc != 0) assert_size(a->releases, 1);
    return rc;
}

static void a_full_queue_refuses_at_once_and_takes_one_for_each_that_leaves(void **state)
{
    (void)state;
    for (int c = 0; c < CADRE_CAPABILITY_COUNT; c++) {
        if (c == CADRE_IMAGE_EMBEDDING || c == CADRE_VISION) continue; /* their inputs cannot be lent from a frame that is gone; the queue is the same */
        row("%s", cadre_capability_name((cadre_capability)c));
        fixture *fx = fixture_begin();
        script *s = busy(fx, (cadre_capability)c, 3);
        assert_size(model_info(fx, "m").queue_capacity, 3);
        answer *a[3];
        for (int i = 0; i < 3; i++) a[i] = ask(s, "waits");
        assert_size(model_info(fx, "m").queued, 3);
        assert_status(refused(s), CADRE_EFULL);
        assert_status(refused(s), CADRE_EFULL);
        assert_status(cadre_request_cancel(fx->pool, a[1]->id), 0);
        until_done(a[1]);
        answer *entered = ask(s, "enters");
        assert_status(refused(s), CADRE_EFULL);
        script_pass(s, script_work(s), 1);
        script_until(s, script_work(s), 2); /* the next one runs: a place is free, or more where they share a batch */
        settle(fx);
        assert_true(model_info(fx, "m").queued <= 2);
        script_open(s, script_work(s));
        until_all_done(fx);
        assert_answered(s, entered, "enters");
        fixture_end(fx);
    }
}

static void expiry_empties_the_queue(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    script *s = busy(fx, CADRE_TEXT_TO_TEXT, 3);
    cadre_request_options options = CADRE_REQUEST_OPTIONS_INIT;
    options.timeout_ms = 5;
    for (int round = 0; round < 3; round++) {
        answer *a[3];
        for (int i = 0; i < 3; i++) {
            a[i] = answer_new(fx);
            assert_status(submit(s, a[i], "late", &options), 0);
        }
        assert_status(refused(s), CADRE_EFULL);
        fixture_advance(fx, 5);
        for (int i = 0; i < 3; i++) {
            until_done(a[i]);
            assert_status(a[i]->status, CADRE_ETIMEDOUT);
        }
        assert_size(model_info(fx, "m").queued, 0);
    }
    script_open(s, OP_GENERATE);
    until_all_done(fx);
    assert_size(script_count(s, OP_GENERATE, "late"), 0);
    fixture_end(fx);
}

static void the_default_capacities_are_those_of_the_documentation(void **state)
{
    (void)state;
    static const uint64_t capacities[CADRE_CAPABILITY_COUNT] = {100, 100, 50, 50, 20};
    for (int c = 0; c < CADRE_CAPABILITY_COUNT; c++) {
        fixture *fx = fixture_begin();
        script_ready(fx, (cadre_capability)c, "m");
        assert_true(model_info(fx, "m").queue_capacity == capacities[c]);
        fixture_end(fx);
    }
}

#define MANY 10000
static void ten_thousand_requests_wait_for_one_load(void **state)
{
    (void)state;
    for (int c = 0; c < CADRE_CAPABILITY_COUNT; c++)
        for (uint32_t slots = 0; slots < (capability_streams((cadre_capability)c) ? 9u : 1u); slots += 8) {
            row("%s slots %u", cadre_capability_name((cadre_capability)c), slots);
            fixture *fx = fixture_begin();
            script *s = script_new(fx, (cadre_capability)c, KIND_BLOCKING, "m");
            s->slots = slots;
            s->max_batch = 64;
            cadre_spawn_options options = CADRE_SPAWN_OPTIONS_INIT;
            options.queue_capacity = MANY;
            options.batch_window_us = 0;
            script_hold(s, OP_LOAD);
            assert_status(script_spawn_with(s, NULL, &options), 0);
            static answer *a[MANY];
            char text[16];
            for (int i = 0; i < MANY; i++) {
                snprintf(text, sizeof text, "%d", i);
                a[i] = ask(s, text);
            }
            assert_size(model_info(fx, "m").queued, MANY);
            assert_status(refused(s), CADRE_EFULL);
            assert_int_equal(atomic_load(&s->begun[OP_LOAD]) <= 1, 1);
            script_open(s, OP_LOAD);
            until_all_done(fx);
            for (int i = 0; i < MANY; i++) {
                snprintf(text, sizeof text, "%d", i);
                assert_answered(s, a[i], text);
            }
            assert_int_equal(s->load_calls, 1);
            assert_size(model_info(fx, "m").queued, 0);
            fixture_end(fx);
        }
}

static answer *ask_at(script *s, const char *text, cadre_priority priority)
{
    answer *a = answer_new(s->fx);
    cadre_request_options options = CADRE_REQUEST_OPTIONS_INIT;
    options.priority = (int32_t)priority;
    assert_status(submit(s, a, text, &options), 0);
    return a;
}

static void the_highest_priority_goes_first_and_within_one_the_oldest(void **state)
{
    (void)state;
    for (int c = 0; c < CADRE_CAPABILITY_COUNT; c++) {
        row("%s", cadre_capability_name((cadre_capability)c));
        fixture *fx = fixture_begin();
        script *s = script_new(fx, (cadre_capability)c, KIND_BLOCKING, "m");
        s->max_batch = 1;
        script_spawn(s);
        script_until_ready(s, 1);
        script_hold(s, script_work(s));
        ask(s, "running");
        script_until(s, script_work(s), 1);
        answer *a[CADRE_PRIORITY_COUNT][2];
        char text[8];
        for (int i = 0; i < 2; i++)
            for (int p = CADRE_PRIORITY_COUNT - 1; p >= 0; p--) {
                snprintf(text, sizeof text, "%d%d", p, i);
                a[p][i] = ask_at(s, text, (cadre_priority)p);
            }
        script_open(s, script_work(s));
        until_all_done(fx);
        unsigned order = 2; /* 1: "running" */
        for (int p = 0; p < CADRE_PRIORITY_COUNT; p++)
            for (int i = 0; i < 2; i++) assert_size(a[p][i]->order, order++);
        fixture_end(fx);
    }
}

static void a_request_rises_one_priority_per_aging_ms(void **state)
{
    (void)state;
    /* After n × aging_ms, an old batch request against a new one of each priority. */
    for (int64_t aging = 0; aging <= 10; aging += 10)
        for (int n = 0; n <= 4; n++)
            for (int p = 0; p < CADRE_PRIORITY_COUNT; p++) {
                row("aging %lld ms, after %d, against priority %d", (long long)aging, n, p);
                cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
                options.aging_ms = aging;
                fixture *fx = fixture_begin_with(&options);
                script *s = busy(fx, CADRE_TEXT_TO_TEXT, 10);
                answer *old = ask_at(s, "old", CADRE_PRIORITY_BATCH);
                settle(fx);
                for (int i = 0; i < n; i++) {
                    fixture_advance(fx, 10);
                    settle(fx);
                }
                answer *young = ask_at(s, "young", (cadre_priority)p);
                script_open(s, OP_GENERATE);
                until_all_done(fx);
                int level = CADRE_PRIORITY_BATCH - (aging ? n : 0);
                assert_int_equal(old->order < young->order, level <= p);
                fixture_end(fx);
            }
}

static void a_slot_without_room_has_the_request_queued_again(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    script *s = script_new(fx, CADRE_TEXT_TO_TEXT, KIND_BLOCKING, "m");
    s->slots = 2;
    s->begin_again = 3;
    script_spawn(s);
    script_until_ready(s, 1);
    script_hold(s, OP_STEP);
    answer *first = ask(s, "first");
    script_until(s, OP_STEP, 1);
    answer *second = ask(s, "second"), *third = ask(s, "third");
    settle(fx);
    script_open(s, OP_STEP);
    until_all_done(fx);
    assert_answered(s, first, "first");
    assert_answered(s, second, "second");
    assert_answered(s, third, "third");
    assert_true(atomic_load(&s->again_said) >= 1);
    assert_true(second->order < third->order); /* it keeps its place */
    fixture_end(fx);
}

static void a_request_that_is_queued_again_can_be_cancelled_and_times_out(void **state)
{
    (void)state;
    for (int by_deadline = 0; by_deadline < 2; by_deadline++) {
        fixture *fx = fixture_begin();
        script *s = script_new(fx, CADRE_TEXT_TO_TEXT, KIND_BLOCKING, "m");
        s->slots = 2;
        s->pieces = 100;
        s->begin_again = 1000;
        script_spawn(s);
        script_until_ready(s, 1);
        script_hold(s, OP_STEP);
        answer *first = ask(s, "first"), *second = answer_new(fx);
        script_until(s, OP_STEP, 1);
        cadre_request_options options = CADRE_REQUEST_OPTIONS_INIT;
        if (by_deadline) options.timeout_ms = 5;
        assert_status(submit(s, second, "second", &options), 0);
        settle(fx); /* it is in the mailbox */
        script_pass(s, OP_STEP, 3);
        script_until(s, OP_STEP, 4);
        settle(fx);
        assert_true(atomic_load(&s->again_said) >= 1);
        if (by_deadline)
            fixture_advance(fx, 5);
        else
            assert_status(cadre_request_cancel(fx->pool, second->id), 0);
        until_done(second);
        assert_status(second->status, by_deadline ? CADRE_ETIMEDOUT : CADRE_ECANCELED);
        script_open(s, OP_STEP);
        until_done(first);
        assert_answered(s, first, "first");
        fixture_end(fx);
    }
}

static void a_failing_step_fails_all_its_slots_and_the_worker_goes_on(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    script *s = script_new(fx, CADRE_VISION, KIND_BLOCKING, "m");
    s->slots = 3;
    s->detail = "decode failed: no KV slot";
    script_spawn(s);
    script_until_ready(s, 1);
    script_hold(s, OP_STEP);
    answer *a[3];
    for (int i = 0; i < 3; i++) a[i] = ask(s, "abc");
    script_pass(s, OP_STEP, 1); /* whoever is in it gets a piece */
    script_until(s, OP_STEP, 2);
    settle(fx);
    atomic_store(&s->status[OP_STEP], CADRE_EENGINE);
    script_pass(s, OP_STEP, 1);
    script_until(s, OP_END, 1);
    settle(fx);
    atomic_store(&s->status[OP_STEP], 0);
    script_open(s, OP_STEP);
    until_all_done(fx);
    int failed = 0;
    for (int i = 0; i < 3; i++) {
        if (a[i]->status == 0) continue;
        failed++;
        assert_status(a[i]->status, CADRE_EENGINE);
        assert_contains(a[i]->detail, "decode failed: no KV slot");
    }
    assert_true(failed >= 1);
    answer *next = ask(s, "next");
    until_done(next);
    assert_answered(s, next, "next");
    fixture_end(fx);
}

static void a_failed_load_fails_those_who_wait_with_its_reason(void **state)
{
    (void)state;
    for (int c = 0; c < CADRE_CAPABILITY_COUNT; c++) {
        fixture *fx = fixture_begin();
        script *s = script_new(fx, (cadre_capability)c, KIND_BLOCKING, "m");
        script_hold(s, OP_LOAD);
        atomic_store(&s->status[OP_LOAD], CADRE_EFORMAT);
        s->detail = "no magic";
        script_spawn(s);
        answer *a[40];
        for (int i = 0; i < 20; i++) a[i] = ask(s, "hello");
        script_open(s, OP_LOAD);
        until_all_done(fx);
        for (int i = 0; i < 20; i++) {
            assert_status(a[i]->status, CADRE_EFORMAT);
            assert_contains(a[i]->detail, "no magic");
        }
        run_until_int(fx, &s->ready, 1);
        settle(fx);
        cadre_model_info info = CADRE_MODEL_INFO_INIT;
        assert_status(cadre_model_get_info(fx->pool, "m", &info), CADRE_ENOENT);
        assert_status(refused(s), CADRE_ENOENT);
        fixture_end(fx);
    }
}

static void those_who_wait_go_on_waiting_while_another_load_can_serve_them(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    script *bad = script_new(fx, CADRE_TEXT_TO_TEXT, KIND_BLOCKING, "m"), *good = script_new(fx, CADRE_TEXT_TO_TEXT, KIND_BLOCKING, "m");
    atomic_store(&bad->status[OP_LOAD], CADRE_EFORMAT);
    script_hold(bad, OP_LOAD);
    script_hold(good, OP_LOAD);
    script_spawn(bad);
    script_spawn(good);
    answer *a = ask(good, "hello");
    script_open(bad, OP_LOAD);
    script_until_ready(bad, 1);
    assert_status(bad->ready_status, CADRE_EFORMAT);
    settle(fx);
    assert_false(a->done);
    script_open(good, OP_LOAD);
    until_done(a);
    assert_answered(good, a, "hello");
    fixture_end(fx);
}

static answer *joined[2];
static void join_from_on_ready(script *s)
{
    joined[0] = answer_new(s->fx);
    submit(s, joined[0], "join", NULL);
}
static void join_from_on_done(answer *a)
{
    joined[1] = answer_new(a->fx);
    submit(a->data, joined[1], "join", NULL);
}

static void a_request_that_joins_just_after_a_failed_load_does_not_wait_for_ever(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    script *s = script_new(fx, CADRE_TEXT_TO_TEXT, KIND_BLOCKING, "m");
    script_hold(s, OP_LOAD);
    atomic_store(&s->status[OP_LOAD], CADRE_EFORMAT);
    s->on_ready = join_from_on_ready;
    script_spawn(s);
    answer *a = ask(s, "hello");
    a->then = join_from_on_done;
    a->data = s;
    script_open(s, OP_LOAD);
    until_done(a);
    script_until_ready(s, 1);
    until_all_done(fx);
    for (int i = 0; i < 2; i++) {
        assert_non_null(joined[i]);
        if (joined[i]->rc != 0)
            assert_status(joined[i]->rc, CADRE_ENOENT);
        else
            assert_true(joined[i]->status == CADRE_EFORMAT);
    }
    fixture_end(fx);
}

static void a_stopped_worker_finishes_what_it_runs_and_the_rest_fails_or_moves(void **state)
{
    (void)state;
    for (int c = 0; c < CADRE_CAPABILITY_COUNT; c++)
        for (int others = 0; others < 2; others++) {
            row("%s, %d others", cadre_capability_name((cadre_capability)c), others);
            fixture *fx = fixture_begin();
            script *s = script_new(fx, (cadre_capability)c, KIND_BLOCKING, "m"), *second = script_new(fx, (cadre_capability)c, KIND_BLOCKING, "m");
            script_spawn(s);
            script_until_ready(s, 1);
            script_hold(s, script_work(s));
            answer *running = ask(s, "running");
            script_until(s, script_work(s), 1);
            script_hold(second, OP_LOAD);
            if (others) script_spawn(second);
            answer *waits = ask(s, "waits");
            settle(fx);
            assert_status(cadre_worker_stop(fx->pool, s->worker), 0);
            cadre_worker_info info = CADRE_WORKER_INFO_INIT;
            assert_status(cadre_worker_get_info(fx->pool, s->worker, &info), 0);
            assert_int_equal(info.state, CADRE_WORKER_EVICTING);
            if (!others) {
                until_done(waits);
                assert_status(waits->status, CADRE_EWORKER);
                answer *late = answer_new(fx);
                assert_true(submit(s, late, "late", NULL) < 0);
            }
            assert_false(running->done);
            script_open(s, script_work(s));
            until_done(running);
            assert_answered(s, running, "running");
            run_until_int(fx, &s->exited, 1);
            script_open(second, OP_LOAD);
            if (others) {
                until_done(waits);
                assert_answered(second, waits, "waits");
                assert_size(script_count(second, script_work(second), "waits"), 1);
            }
            fixture_end(fx);
        }
}

#define SUITE queue
#include "suite.h"
