/* As test_mistakes, for requests, streams, queues and what is counted. */
#include "scripted_backend.h"

static script *added_as(fixture *fx, const char *key, cadre_capability capability, uint32_t slots, void (*change)(cadre_entry *entry))
{
    script *s = script_new(fx, capability, KIND_BLOCKING, key);
    s->slots = slots;
    cadre_entry entry = entry_of(s);
    entry.max_workers = 1;
    if (change) change(&entry);
    add(fx, &entry);
    return s;
}

static script *text_model(fixture *fx, void (*change)(cadre_entry *entry))
{
    return added_as(fx, "m", CADRE_TEXT_TO_TEXT, 0, change);
}

static void a_lock_held_across_a_request(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = text_model(fx, NULL), *other = added_as(fx, "other", CADRE_TEXT_TO_TEXT, 0, NULL);
    script_hold(s, OP_GENERATE);
    ask(s, "stands at the gate");
    script_until(s, OP_GENERATE, 1);
    char text[1024];
    cadre_memory_amount amount = {0, 1};
    assert_size(snapshot_of(fx).workers_busy, 1); /* all of these return */
    assert_int_equal(cadre_registry_list(fx->pool, NULL, NULL, NULL), 2);
    assert_true(cadre_memory_explain(fx->pool, &amount, 1, text, sizeof text) > 0);
    assert_size(model_info(fx, "m").running, 1);
    assert_status(cadre_model_pin(fx->pool, "m", 1), 0);
    serve_once(other);
    answer *queued = ask(s, "queued");
    assert_status(cadre_request_cancel(fx->pool, queued->id), 0);
    until_done(queued);
    assert_status(remove_now(fx, "other").status, 0);
    script_open(s, OP_GENERATE);
    until_all_done(fx);
    fixture_end(fx);
}

static void a_stream_counted_as_done_when_it_was_opened(void **state)
{
    (void)state;
    static const uint32_t slots[] = {0, 2};
    for (size_t i = 0; i < COUNT(slots); i++) {
        row("%u slots", slots[i]);
        fixture *fx = registry_begin();
        script *s = added_as(fx, "m", CADRE_TEXT_TO_TEXT, slots[i], NULL);
        script_op op = slots[i] ? OP_STEP : OP_PIECE;
        script_hold(s, op);
        answer *a = ask(s, "streams");
        script_until(s, op, 1);
        script_pass(s, op, 1);
        while (a->pieces < 1) settle(fx);
        assert_size(info_of(fx, "m").requests_done, 0);
        assert_size(snapshot_of(fx).requests_done, 0);
        assert_size(snapshot_of(fx).requests_running, 1);
        assert_size(snapshot_of(fx).request_run.count, 0);
        assert_size(info_of(fx, "m").workers_busy, 1);
        script_open(s, op);
        until_done(a);
        assert_size(info_of(fx, "m").requests_done, 1);
        assert_size(snapshot_of(fx).request_run.count, 1);
        fixture_end(fx);
    }
}

static void a_time_out_after_which_the_work_still_runs(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = text_model(fx, NULL);
    script_hold(s, OP_GENERATE);
    answer *late = ask_within(s, "late", 100), *next = ask(s, "next");
    script_until(s, OP_GENERATE, 1);
    settle(fx);
    pass_time(fx, 101);
    until_done(late);
    assert_status(late->status, CADRE_ETIMEDOUT);
    pass_time(fx, 100000);
    assert_int_equal(atomic_load(&s->begun[OP_GENERATE]), 1); /* the slot is free when the worker says so */
    assert_size(model_info(fx, "m").abandoned, 1);
    assert_size(snapshot_of(fx).requests_abandoned, 1);
    assert_size(info_of(fx, "m").workers_busy, 1);
    assert_int_equal(next->done, 0);
    script_open(s, OP_GENERATE);
    until_done(next);
    assert_answered(s, next, "next");
    assert_true(atomic_load(&s->cancel_seen) > 0);
    assert_size(model_info(fx, "m").abandoned, 0);
    fixture_end(fx);
}

static void errors_delivered_as_model_text(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = text_model(fx, NULL);
    s->detail = "CUDA error";
    for (int streamed = 0; streamed < 2; streamed++) {
        atomic_store(&s->status[OP_GENERATE], CADRE_EENGINE);
        answer *a = answer_new(fx);
        a->unstreamed = !streamed;
        assert_status(submit(s, a, "hello", NULL), 0);
        until_done(a);
        assert_status(a->status, CADRE_EENGINE);
        assert_string_equal(a->detail, "CUDA error");
        assert_false(a->result);
        assert_null(a->text);
        assert_size(a->pieces, 0);
    }
    fixture_end(fx);
}

static void a_stream_cut_by_a_dead_engine_that_looks_complete(void **state)
{
    (void)state;
    static const int errors[] = {CADRE_EENGINE, CADRE_EWORKER};
    for (size_t i = 0; i < COUNT(errors); i++) {
        row("%s", cadre_err_name(errors[i]));
        fixture *fx = registry_begin();
        script *s = added_as(fx, "m", CADRE_TEXT_TO_TEXT, 2, NULL);
        s->detail = "the engine is gone";
        script_hold(s, OP_STEP);
        answer *a = ask(s, "hello"), *whole = answer_new(fx);
        whole->unstreamed = true;
        assert_status(submit(s, whole, "whole", NULL), 0);
        script_until(s, OP_STEP, 1);
        script_pass(s, OP_STEP, 1);
        script_until(s, OP_STEP, 2);
        settle(fx);
        atomic_store(&s->status[OP_STEP], errors[i]);
        script_open(s, OP_STEP);
        until_done(a);
        until_done(whole);
        assert_string_equal(a->text, "hello"); /* a piece had come */
        assert_status(a->status, errors[i]);
        assert_false(a->result);
        assert_contains(a->detail, "the engine is gone");
        assert_status(whole->status, errors[i]);
        assert_null(whole->text);
        atomic_store(&s->status[OP_STEP], 0);
        serve_once(s);
        fixture_end(fx);
    }
}

static void a_priority_heap_that_pops_the_lowest(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = text_model(fx, NULL);
    script_hold(s, OP_LOAD);
    static const int32_t priorities[] = {CADRE_PRIORITY_BATCH, CADRE_PRIORITY_CRITICAL, CADRE_PRIORITY_LOW, CADRE_PRIORITY_HIGH, CADRE_PRIORITY_NORMAL};
    static const char *const texts[] = {"4", "0", "3", "1", "2"};
    for (int i = 0; i < 5; i++) {
        cadre_request_options options = CADRE_REQUEST_OPTIONS_INIT;
        options.priority = priorities[i];
        assert_status(submit(s, answer_new(fx), texts[i], &options), 0);
    }
    script_open(s, OP_LOAD);
    until_all_done(fx);
    assert_string_equal(script_trace(s), "attach generate:0 generate:1 generate:2 generate:3 generate:4");
    fixture_end(fx);
}

static void a_full_batch_that_drops_what_does_not_fit(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = added_as(fx, "m", CADRE_TEXT_EMBEDDING, 0, NULL); /* four texts a batch */
    static const char *const texts[] = {"a", "b", "c"};
    answer *a[11];
    for (size_t i = 0; i < COUNT(a); i++) {
        cadre_embed_params p = CADRE_EMBED_PARAMS_INIT;
        a[i] = answer_new(fx);
        p.key = "m";
        p.texts = texts;
        p.count = 1 + i % 3;
        p.on_done = answer_on_embeddings;
        p.data = a[i];
        a[i]->rc = cadre_embed(fx->pool, &p, &a[i]->id);
        assert_status(a[i]->rc, 0);
    }
    until_all_done(fx);
    for (size_t i = 0; i < COUNT(a); i++) {
        assert_status(a[i]->status, 0);
        assert_size(a[i]->count, 1 + i % 3);
        for (size_t k = 0; k < a[i]->count; k++) assert_true(a[i]->values[k * s->dimension] == script_hash(texts[k], 1));
    }
    fixture_end(fx);
}

static void two_waiting(cadre_entry *entry)
{
    entry->queue_capacity = 2;
}

static void expiry_that_leaves_the_depth_counter_high(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = text_model(fx, two_waiting);
    script_hold(s, OP_LOAD);
    for (int i = 0; i < 5; i++) {
        answer *a = ask_within(s, "a", 100), *b = ask(s, "b");
        assert_refused(s, CADRE_EFULL, "2 requests wait");
        settle(fx);
        pass_time(fx, 101);
        until_done(a);
        assert_status(a->status, CADRE_ETIMEDOUT);
        assert_size(info_of(fx, "m").queued, 1);
        assert_status(cadre_request_cancel(fx->pool, b->id), 0);
        until_done(b);
        assert_size(info_of(fx, "m").queued, 0);
    }
    script_open(s, OP_LOAD);
    serve_once(s);
    fixture_end(fx);
}

static void two_failures(cadre_entry *entry)
{
    entry->breaker_failures = 2;
    entry->breaker_open_ms = 1000;
    entry->breaker_probes = 1;
    entry->breaker_successes = 2;
}

static void fail_once(script *s)
{
    atomic_store(&s->status[OP_GENERATE], CADRE_EENGINE);
    answer *a = ask(s, "hello");
    until_done(a);
    assert_status(a->status, CADRE_EENGINE);
    atomic_store(&s->status[OP_GENERATE], 0);
    settle(s->fx);
}

static void a_breaker_whose_failures_never_reset(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = text_model(fx, two_failures);
    for (int i = 0; i < 6; i++) {
        fail_once(s);
        serve_once(s);
        pass_time(fx, 10);
    }
    assert_state_of(fx, "m", CADRE_MODEL_READY);
    fixture_end(fx);
}

static void a_breaker_whose_half_open_state_is_unbounded(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = text_model(fx, two_failures);
    fail_once(s);
    fail_once(s);
    pass_time(fx, 1000);
    script_hold(s, OP_GENERATE);
    ask(s, "the one probe");
    for (int i = 0; i < 10; i++) assert_refused(s, CADRE_EBREAKER, "rests");
    script_open(s, OP_GENERATE);
    until_all_done(fx);
    serve_once(s);
    serve_once(s);
    assert_size(events_of(CADRE_EVENT_BREAKER_CLOSED, "m", 0), 1);
    fixture_end(fx);
}

static void metrics_that_nothing_feeds(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 2);
    script *s = text_script(fx, "m"), *other = text_script(fx, "other");
    cadre_memory_need need;
    cadre_entry entry = entry_of(s);
    entry_takes(&entry, &need, 0, 600);
    s->heartbeat_ms = 1000;
    entry.load_retries = 0;
    add(fx, &entry);
    entry.key = "other";
    add(fx, &entry);
    serve_once(s);
    serve_once(other); /* evicts it */
    atomic_store(&s->status[OP_LOAD], CADRE_ELOAD);
    until_done(ask(s, "load fails"));
    assert_refused(s, CADRE_ELOAD, "");
    script_hold(other, OP_GENERATE);
    answer *late = ask_within(other, "late", 10), *cancelled = ask(other, "cancelled");
    script_until(other, OP_GENERATE, 2);
    settle(fx);
    assert_status(cadre_request_cancel(fx->pool, cancelled->id), 0);
    pass_time(fx, 11);
    until_done(late);
    script_open(other, OP_GENERATE);
    until_all_done(fx);
    settle(fx);
    atomic_store(&s->status[OP_LOAD], 0);
    pass_time(fx, 10000);
    script_hold(s, OP_LOAD);
    cancelled = ask(s, "nobody waits for the load");
    script_until(s, OP_LOAD, 3);
    assert_status(cadre_request_cancel(fx->pool, cancelled->id), 0);
    settle(fx);
    pass_time(fx, 5001);
    script_open(s, OP_LOAD);
    until_charged(fx, 0);
    cadre_snapshot now = snapshot_of(fx);
    assert_size(now.models, 2);
    assert_size(now.requests_accepted, 6);
    assert_size(now.requests_refused, 1);
    assert_size(now.requests_done, 2);
    assert_size(now.requests_failed, 1);
    assert_size(now.requests_cancelled, 2);
    assert_size(now.requests_timed_out, 1);
    assert_size(now.loads_started, 5);
    assert_size(now.loads_done, 3);
    assert_size(now.loads_failed, 2);
    assert_true(now.evictions >= 1);
    assert_true(now.late_results >= 1);
    assert_true(now.request_wait.count >= 2 && now.request_run.count >= 2 && now.loop_lag.count >= 1);
    assert_size(info_of(fx, "m").loads, 1);
    assert_size(info_of(fx, "m").load_failures, 2);
    assert_size(info_of(fx, "m").requests_failed, 1);
    assert_true(info_of(fx, "m").evictions >= 1);
    fixture_end(fx);
}

/* ---- limits ---- */

static const char limits[] =
    "{\"models\": [{\"key\": \"m\", \"capability\": \"text-to-text\", \"backend\": \"plain\", \"workers\": {\"initial\": 2, \"min\": 1, \"max\": 2},"
    " \"idle_timeout_ms\": 7000, \"queue_capacity\": 3, \"stream_window\": 2, \"hang_timeout_ms\": 900, \"name\": \"N\", \"provider\": \"P\","
    " \"memory\": {\"host\": {\"weights_bytes\": 10, \"worker_bytes\": 20}}, \"warm_up\": \"warm\"}]}";

static void configured_limits_that_nothing_reads(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = text_script(fx, "m");
    s->pieces = 10;
    told t = {0};
    script_hold(s, OP_LOAD);
    assert_status(cadre_registry_load_text(fx->pool, limits, strlen(limits), NULL, on_told, &t), 0);
    run_until_int(fx, &t.count, 1);
    assert_status(t.status, 0);
    script_until(s, OP_LOAD, 1); /* min */
    assert_string_equal(info_of(fx, "m").name, "N");
    assert_string_equal(info_of(fx, "m").provider, "P");
    for (int i = 0; i < 3; i++) ask(s, "waits");
    assert_refused(s, CADRE_EFULL, "3 requests wait");
    settle(fx);
    script_open(s, OP_LOAD);
    until_workers(fx, "m", 2); /* initial */
    assert_size(charged(fx, 0), 60);
    until_all_done(fx);
    script_until_ended(s, OP_GENERATE, 5);
    assert_size(script_count(s, OP_GENERATE, "warm"), 2);
    answer *slow = ask(s, "slow");
    assert_status(cadre_request_pause(fx->pool, slow->id), 0);
    int before = atomic_load(&s->emitted);
    run_until_atomic(fx, &s->emitted, before + 2);
    for (int i = 0; i < 20; i++) settle(fx);
    assert_int_equal(atomic_load(&s->emitted), before + 2); /* stream_window */
    assert_status(cadre_request_resume(fx->pool, slow->id), 0);
    until_done(slow);
    script_hold(s, OP_GENERATE);
    int begun = atomic_load(&s->begun[OP_GENERATE]);
    answer *hangs = ask(s, "hangs");
    script_until(s, OP_GENERATE, begun + 1);
    settle(fx);
    pass_time(fx, 899);
    assert_int_equal(hangs->done, 0);
    pass_time(fx, 2);
    until_done(hangs);
    assert_status(hangs->status, CADRE_EHUNG);
    script_open(s, OP_GENERATE);
    run_until_atomic(fx, &s->destroyed, 1);
    settle(fx);
    pass_time(fx, 7001); /* idle_timeout, down to min */
    until_workers(fx, "m", 1);
    fixture_end(fx);
}

static void a_batch_window_that_nothing_reads(void **state)
{
    (void)state;
    for (int window = 0; window < 2; window++) {
        row("window %d", window);
        fixture *fx = registry_begin();
        script *s = script_new(fx, CADRE_TEXT_EMBEDDING, KIND_BLOCKING, "m");
        cadre_entry entry = entry_of(s);
        entry.batch_window_us = window ? 50000 : 0;
        add(fx, &entry);
        for (int i = 0; i < 400; i++) { /* they come fast */
            ask(s, "steady");
            if (i % 40 == 39) {
                fixture_advance(fx, 60);
                until_all_done(fx);
            }
        }
        settle(fx);
        pass_time(fx, 60);
        int begun = atomic_load(&s->begun[OP_EMBED]);
        for (int i = 0; i < 2; i++) ask(s, "pair");
        for (int i = 0; i < 10; i++) settle(fx);
        if (window) assert_int_equal(atomic_load(&s->begun[OP_EMBED]), begun);
        pass_time(fx, 60);
        until_all_done(fx);
        fixture_end(fx);
    }
}

#define SUITE mistakes_requests
#include "suite.h"
