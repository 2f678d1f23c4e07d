/* Loads that fail, and what becomes of them: errors, retries, the negative cache, timeouts; and what is refused because it cannot be in time. */
#include "scripted_backend.h"

#define RETRY_MS 1000

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

/* ---- loads ---- */

static void no_retries(cadre_entry *entry)
{
    entry->load_retries = 0;
    entry->retry_delay_ms = RETRY_MS;
}

static void a_failed_load_keeps_its_error_and_its_words(void **state)
{
    (void)state;
    static const int errors[] = {CADRE_ELOAD, CADRE_EFORMAT, CADRE_EENGINE, CADRE_ENOMEM, CADRE_ENOTSUP, UV_ENOENT, UV_EACCES, UV_EIO};
    static const script_op where[] = {OP_LOAD, OP_ATTACH};
    for (size_t i = 0; i < COUNT(errors) * COUNT(where); i++) {
        script_op op = where[i % COUNT(where)];
        int error = errors[i / COUNT(where)];
        row("%s in %s", cadre_err_name(error), op_name(op));
        fixture *fx = registry_begin();
        script *s = added_as(fx, "m", no_retries);
        atomic_store(&s->status[op], error);
        s->detail = "tensor 7 is missing";
        answer *a = ask(s, "one"), *b = ask(s, "two");
        failed(a, error, "tensor 7 is missing");
        failed(b, error, "tensor 7 is missing");
        settle(fx);
        cadre_entry_info info = info_of(fx, "m");
        assert_state_of(fx, "m", CADRE_MODEL_FAILED);
        assert_status(info.status, error);
        assert_contains(info.detail, "tensor 7 is missing");
        assert_true(info.retry_after_ms >= RETRY_MS * 3 / 4 && info.retry_after_ms <= RETRY_MS * 5 / 4 + 1);
        assert_size(info.load_failures, 1);
        size_t told_at = event_after(CADRE_EVENT_LOAD_FAILED, "m", 0);
        assert_status(events[told_at].status, error);
        assert_contains(events[told_at].detail, "tensor 7 is missing");
        fixture_end(fx);
    }
}

static void twice_more(cadre_entry *entry)
{
    entry->load_retries = 2;
    entry->retry_delay_ms = RETRY_MS;
}

static void a_load_that_may_pass_is_tried_again_with_growing_delays(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = added_as(fx, "m", twice_more);
    atomic_store(&s->status[OP_LOAD], CADRE_ELOAD);
    answer *a = ask(s, "hello");
    int64_t delay = RETRY_MS;
    for (int i = 1; i <= 2; i++, delay *= 2) {
        script_until_ended(s, OP_LOAD, i);
        while (events_of(CADRE_EVENT_LOAD_FAILED, "m", 0) < (size_t)i) settle(fx);
        pass_time(fx, delay * 3 / 4 - 1);
        assert_int_equal(atomic_load(&s->begun[OP_LOAD]), i);
        assert_int_equal(a->done, 0);
        pass_time(fx, delay / 2 + 1);
        script_until(s, OP_LOAD, i + 1);
    }
    failed(a, CADRE_ELOAD, "");
    pass_time(fx, 100000);
    assert_int_equal(atomic_load(&s->begun[OP_LOAD]), 3);
    assert_size(info_of(fx, "m").load_failures, 3);
    fixture_end(fx);
}

static void a_retry_that_succeeds_serves_who_waited(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = added_as(fx, "m", twice_more);
    atomic_store(&s->status[OP_LOAD], CADRE_ELOAD);
    answer *a = ask(s, "hello");
    while (events_of(CADRE_EVENT_LOAD_FAILED, "m", 0) < 1) settle(fx);
    atomic_store(&s->status[OP_LOAD], 0);
    answer *b = ask(s, "meanwhile"); /* somebody who comes during the wait waits too */
    pass_time(fx, RETRY_MS * 5 / 4);
    until_done(a);
    until_done(b);
    assert_answered(s, a, "hello");
    assert_answered(s, b, "meanwhile");
    assert_state_of(fx, "m", CADRE_MODEL_READY);
    assert_status(info_of(fx, "m").status, 0);
    fixture_end(fx);
}

static void an_error_that_stays_is_not_tried_again(void **state)
{
    (void)state;
    static const int errors[] = {CADRE_EFORMAT, CADRE_ENOTSUP, UV_ENOENT, UV_EACCES, UV_EISDIR};
    for (size_t i = 0; i < COUNT(errors); i++) {
        row("%s", cadre_err_name(errors[i]));
        fixture *fx = registry_begin();
        script *s = added_as(fx, "m", twice_more);
        atomic_store(&s->status[OP_LOAD], errors[i]);
        failed(ask(s, "hello"), errors[i], "");
        pass_time(fx, 100000);
        assert_int_equal(atomic_load(&s->begun[OP_LOAD]), 1);
        fixture_end(fx);
    }
}

static void nobody_waits_nothing_is_tried_again(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = added_as(fx, "m", twice_more);
    atomic_store(&s->status[OP_LOAD], CADRE_ELOAD);
    answer *a = ask(s, "hello");
    while (events_of(CADRE_EVENT_LOAD_FAILED, "m", 0) < 1) settle(fx);
    assert_status(cadre_request_cancel(fx->pool, a->id), 0);
    until_done(a);
    pass_time(fx, 100000);
    assert_int_equal(atomic_load(&s->begun[OP_LOAD]), 1);
    fixture_end(fx);
}

static void after_a_failure_requests_are_refused_with_the_reason_until_the_next_attempt(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = added_as(fx, "m", no_retries);
    atomic_store(&s->status[OP_LOAD], CADRE_ELOAD);
    s->detail = "device lost";
    failed(ask(s, "hello"), CADRE_ELOAD, "device lost");
    settle(fx);
    for (int i = 0; i < 5; i++) {
        assert_refused(s, CADRE_ELOAD, "device lost");
        assert_true(retry_after(fx) >= RETRY_MS * 3 / 4 && retry_after(fx) <= RETRY_MS * 5 / 4 + 1);
    }
    assert_int_equal(atomic_load(&s->begun[OP_LOAD]), 1);
    assert_size(snapshot_of(fx).requests_refused, 5);
    pass_time(fx, 100);
    assert_refused(s, CADRE_ELOAD, "device lost");
    assert_true(retry_after(fx) <= RETRY_MS * 5 / 4 - 99);
    atomic_store(&s->status[OP_LOAD], 0);
    pass_time(fx, RETRY_MS * 5 / 4);
    assert_int_equal(atomic_load(&s->begun[OP_LOAD]), 1); /* nobody has asked */
    assert_state_of(fx, "m", CADRE_MODEL_COLD);
    serve_once(s);
    fixture_end(fx);
}

static void a_host_that_asks_by_hand_is_not_put_off(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = added_as(fx, "m", no_retries);
    atomic_store(&s->status[OP_LOAD], CADRE_ELOAD);
    failed(ask(s, "hello"), CADRE_ELOAD, "");
    settle(fx);
    atomic_store(&s->status[OP_LOAD], 0);
    assert_status(load_now(fx, "m").status, 0);
    serve_once(s);
    fixture_end(fx);
}

static void one_of_two_loads_that_fails_harms_nobody(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = text_script(fx, "m");
    cadre_entry entry = entry_of(s);
    entry.initial_workers = 2;
    entry.load_retries = 0;
    add(fx, &entry);
    script_hold(s, OP_LOAD);
    answer *a = ask(s, "hello");
    script_until(s, OP_LOAD, 2);
    atomic_store(&s->status[OP_LOAD], CADRE_EFORMAT);
    script_pass(s, OP_LOAD, 1);
    while (events_of(CADRE_EVENT_LOAD_FAILED, "m", 0) < 1) settle(fx);
    assert_int_equal(a->done, 0);
    assert_state_of(fx, "m", CADRE_MODEL_LOADING);
    atomic_store(&s->status[OP_LOAD], 0);
    script_open(s, OP_LOAD);
    until_done(a);
    assert_answered(s, a, "hello");
    fixture_end(fx);
}

static void shared_weights_that_fail_fail_all_who_wait_and_are_loaded_again(void **state)
{
    (void)state;
    for (int preloaded = 0; preloaded < 2; preloaded++) {
        row("preloaded %d", preloaded);
        fixture *fx = registry_begin();
        script *s = text_script(fx, "m");
        cadre_entry entry = entry_of(s);
        cadre_memory_need need;
        entry_takes(&entry, &need, 500, 50);
        entry.backend = "shared";
        entry.loader = preloaded ? CADRE_LOADER_PRELOADED : CADRE_LOADER_SYNC;
        entry.initial_workers = 2;
        no_retries(&entry);
        atomic_store(&s->status[OP_LOAD], CADRE_EFORMAT);
        s->detail = "bad magic";
        script_hold(s, OP_LOAD);
        add(fx, &entry);
        answer *a = ask(s, "one"), *b = ask(s, "two");
        script_until(s, OP_LOAD, 1);
        settle(fx);
        script_open(s, OP_LOAD);
        failed(a, CADRE_EFORMAT, "bad magic");
        failed(b, CADRE_EFORMAT, "bad magic");
        until_charged(fx, 0);
        atomic_store(&s->status[OP_LOAD], 0);
        pass_time(fx, 2 * RETRY_MS);
        serve_once(s);
        assert_int_equal(atomic_load(&s->payloads_made), 1);
        fixture_end(fx);
    }
}

static void a_load_has_the_entrys_timeouts(void **state)
{
    (void)state;
    for (int stall = 0; stall < 2; stall++) {
        row("stall %d", stall);
        fixture *fx = registry_begin();
        script *s = text_script(fx, "m");
        s->obey_cancel = true;
        cadre_entry entry = entry_of(s);
        no_retries(&entry);
        if (stall)
            entry.stall_timeout_ms = 2000;
        else
            entry.load_timeout_ms = 2000;
        add(fx, &entry);
        script_hold(s, OP_LOAD);
        answer *a = ask(s, "hello");
        script_until(s, OP_LOAD, 1);
        settle(fx);
        pass_time(fx, 1999);
        assert_int_equal(a->done, 0);
        pass_time(fx, 2);
        failed(a, CADRE_ETIMEDOUT, stall ? "stall_timeout_ms" : "load_timeout_ms");
        script_open(s, OP_LOAD);
        fixture_end(fx);
    }
}

/* ---- early refusals ---- */

static void a_deadline_that_a_load_cannot_meet_is_refused_at_once(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = added(fx, "m", 0);
    cadre_request_options options = CADRE_REQUEST_OPTIONS_INIT;
    options.timeout_ms = 500;
    answer *a = answer_new(fx);
    assert_status(submit(s, a, "nothing is known yet", &options), 0);
    script_hold(s, OP_LOAD);
    script_until(s, OP_LOAD, 1);
    answer *stays = ask(s, "stays");
    pass_time(fx, 2000);
    script_open(s, OP_LOAD);
    until_done(stays);
    assert_status(a->status, CADRE_ETIMEDOUT);
    assert_size(info_of(fx, "m").load_ms, 2000);
    assert_status(unload_now(fx, "m").status, 0);
    answer *refused = answer_new(fx);
    assert_status(submit(s, refused, "too near", &options), CADRE_ETIMEDOUT);
    assert_contains(cadre_pool_error_detail(fx->pool), "\"m\" is not loaded");
    assert_true(retry_after(fx) == 2000 || retry_after(fx) == 2001);
    settle(fx);
    assert_int_equal(atomic_load(&s->begun[OP_LOAD]), 1); /* it starts nothing */
    script_hold(s, OP_LOAD);
    answer *far = ask_within(s, "far", 2500);
    script_until(s, OP_LOAD, 2);
    pass_time(fx, 1600); /* 400 are left */
    answer *near = ask_within(s, "near", 500);
    script_open(s, OP_LOAD);
    until_done(near);
    until_done(far);
    assert_answered(s, near, "near");
    assert_answered(s, far, "far");
    assert_status(submit(s, refused = answer_new(fx), "loaded", &options), 0);
    until_done(refused);
    fixture_end(fx);
}

static int64_t come_back;
static void on_generation(cadre_request *request, int status, const cadre_generation *result)
{
    come_back = cadre_request_retry_after_ms(request);
    answer_on_generation(request, status, result);
}

static answer *ask_when(script *s)
{
    answer *a = answer_new(s->fx);
    cadre_generate_params p = CADRE_GENERATE_PARAMS_INIT;
    p.key = s->key;
    p.text = "hello";
    p.on_text = answer_on_text;
    p.on_done = on_generation;
    p.data = a;
    a->rc = cadre_generate(s->fx->pool, &p, &a->id);
    assert_status(a->rc, 0);
    come_back = -1;
    until_done(a);
    return a;
}

static void a_failed_request_says_when_to_come_back(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = added_as(fx, "m", no_retries);
    atomic_store(&s->status[OP_LOAD], CADRE_ELOAD);
    assert_status(ask_when(s)->status, CADRE_ELOAD);
    assert_true(come_back >= RETRY_MS * 3 / 4 && come_back <= RETRY_MS * 5 / 4 + 1);
    atomic_store(&s->status[OP_LOAD], 0);
    pass_time(fx, RETRY_MS * 5 / 4);
    assert_status(ask_when(s)->status, 0);
    assert_int_equal(come_back, 0);
    fixture_end(fx);
}

static void a_full_queue_says_when_to_come_back(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = text_script(fx, "m");
    cadre_entry entry = entry_of(s);
    entry.queue_capacity = 2;
    entry.max_workers = 1;
    add(fx, &entry);
    script_hold(s, OP_GENERATE);
    ask(s, "measured");
    script_until(s, OP_GENERATE, 1);
    pass_time(fx, 300);
    script_pass(s, OP_GENERATE, 1);
    until_all_done(fx);
    ask(s, "runs");
    script_until(s, OP_GENERATE, 2);
    ask(s, "waits");
    ask(s, "waits");
    assert_refused(s, CADRE_EFULL, "2 requests wait for \"m\"");
    assert_true(retry_after(fx) >= 300 && retry_after(fx) <= 301);
    script_open(s, OP_GENERATE);
    until_all_done(fx);
    fixture_end(fx);
}

#define SUITE failure
#include "suite.h"
