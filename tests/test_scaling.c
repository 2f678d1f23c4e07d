/* How many workers a model of the registry has: cold starts, more while requests queue, fewer when they are idle, pins, warm-up. */
#include "scripted_backend.h"

#define MANY 40

/* ---- cold ---- */

static void forty_requests_of_a_cold_model_start_initial_workers_loads(void **state)
{
    (void)state;
    for (int32_t initial = 1; initial <= 3; initial++) {
        row("%d", initial);
        fixture *fx = registry_begin();
        script *s = text_script(fx, "m");
        cadre_entry entry = entry_of(s);
        entry.initial_workers = initial;
        add(fx, &entry);
        assert_state_of(fx, "m", CADRE_MODEL_COLD);
        script_hold(s, OP_LOAD);
        for (int i = 0; i < MANY; i++) ask(s, "together");
        script_until(s, OP_LOAD, initial > 2 ? 2 : initial); /* loads_at_once */
        settle(fx);
        assert_state_of(fx, "m", CADRE_MODEL_LOADING);
        assert_size(info_of(fx, "m").workers_loading, initial);
        assert_size(info_of(fx, "m").queued, MANY);
        script_open(s, OP_LOAD);
        until_all_done(fx);
        for (answer *a = fx->answers; a; a = a->next) assert_answered(s, a, "together");
        until_workers(fx, "m", (uint32_t)initial);
        assert_size(snapshot_of(fx).loads_started, initial);
        assert_int_equal(atomic_load(&s->made), initial);
        assert_size(info_of(fx, "m").loads, initial);
        assert_size(info_of(fx, "m").requests_done, MANY);
        fixture_end(fx);
    }
}

static void nothing_is_loaded_before_somebody_asks(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = added(fx, "m", 100);
    pass_time(fx, 100000);
    assert_int_equal(atomic_load(&s->begun[OP_LOAD]), 0);
    assert_size(charged(fx, 0), 0);
    assert_size(info_of(fx, "m").workers, 0);
    serve_once(s);
    assert_size(charged(fx, 0), 100);
    assert_size(info_of(fx, "m").resident_bytes, 100);
    fixture_end(fx);
}

static void initial_workers_never_pass_the_maximum(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = text_script(fx, "m");
    cadre_entry entry = entry_of(s);
    entry.initial_workers = entry.max_workers = 2;
    add(fx, &entry);
    script_hold(s, OP_GENERATE);
    for (int i = 0; i < MANY; i++) ask(s, "hello");
    until_workers(fx, "m", 2);
    for (int i = 0; i < 10; i++) pass_time(fx, 1000);
    assert_size(snapshot_of(fx).loads_started, 2);
    fixture_end(fx);
}

/* ---- more ---- */

/* One worker that is at a job, and `waiting` requests behind it. The load took load_ms, and a request run_ms. */
static script *one_at_work(fixture *fx, int64_t load_ms, int64_t run_ms, int32_t most, int waiting)
{
    script *s = text_script(fx, "m");
    cadre_entry entry = entry_of(s);
    entry.max_workers = most;
    entry.idle_timeout_ms = CADRE_NEVER;
    add(fx, &entry);
    script_hold(s, OP_LOAD);
    script_hold(s, OP_GENERATE);
    ask(s, "first");
    script_until(s, OP_LOAD, 1);
    pass_time(fx, load_ms);
    script_open(s, OP_LOAD);
    script_until(s, OP_GENERATE, 1);
    pass_time(fx, run_ms);
    script_pass(s, OP_GENERATE, 1);
    until_all_done(fx);
    script_hold(s, OP_LOAD); /* what is begun from here on is counted before it is ready */
    for (int i = 0; i < waiting; i++) ask(s, "more");
    script_until(s, OP_GENERATE, 2);
    settle(fx);
    return s;
}

static void a_queue_that_is_longer_than_two_loads_brings_another_worker(void **state)
{
    (void)state;
    static const struct {
        int64_t load_ms, run_ms;
        int waiting;
        bool more;
    } rows[] = {
        {1000, 100, 20, false}, /* 19 × 100 ms do not pay for 2 × 1,000 ms */
        {1000, 100, 30, true},
        {10, 10, 20, false}, /* below 250 ms nothing pays */
        {10, 10, 40, true},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        row("%zu", i);
        fixture *fx = registry_begin_with(1 << 20, 4);
        script *s = one_at_work(fx, rows[i].load_ms, rows[i].run_ms, 4, rows[i].waiting);
        assert_size(snapshot_of(fx).loads_started, rows[i].more ? 2 : 1);
        script_open(s, OP_LOAD);
        script_open(s, OP_GENERATE);
        until_all_done(fx);
        fixture_end(fx);
    }
}

static void workers_come_one_by_one_up_to_the_maximum(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1 << 20, 8);
    script *s = one_at_work(fx, 10, 100, 3, 90);
    script_open(s, OP_LOAD);
    until_workers(fx, "m", 2);
    script_until(s, OP_GENERATE, 3);
    settle(fx);
    until_workers(fx, "m", 3);
    for (int i = 0; i < 20; i++) pass_time(fx, 1000);
    assert_size(snapshot_of(fx).loads_started, 3);
    assert_size(info_of(fx, "m").workers, 3);
    assert_size(info_of(fx, "m").workers_busy, 3);
    script_open(s, OP_GENERATE);
    until_all_done(fx);
    fixture_end(fx);
}

static void a_further_worker_waits_for_a_core(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1 << 20, 1);
    script *s = one_at_work(fx, 10, 100, 4, 50);
    for (int i = 0; i < 5; i++) pass_time(fx, 1000);
    assert_size(snapshot_of(fx).loads_started, 1);
    script_open(s, OP_GENERATE);
    until_all_done(fx);
    fixture_end(fx);
}

static void a_further_worker_takes_free_memory_and_evicts_nobody(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 8);
    script *idle = added(fx, "idle", 500), *s = text_script(fx, "m");
    serve_once(idle);
    cadre_entry entry = entry_of(s);
    cadre_memory_need need;
    entry_takes(&entry, &need, 0, 400);
    add(fx, &entry);
    script_hold(s, OP_GENERATE);
    for (int i = 0; i < 60; i++) ask(s, "more");
    script_until(s, OP_GENERATE, 1);
    for (int i = 0; i < 20; i++) pass_time(fx, 1000);
    assert_size(info_of(fx, "m").workers, 1);
    assert_size(info_of(fx, "m").workers_loading, 0);
    assert_state_of(fx, "m", CADRE_MODEL_READY);
    assert_state_of(fx, "idle", CADRE_MODEL_READY);
    assert_size(snapshot_of(fx).evictions, 0);
    assert_status(unload_now(fx, "idle").status, 0);
    pass_time(fx, 2000); /* it looks again */
    until_workers(fx, "m", 2);
    script_open(s, OP_GENERATE);
    until_all_done(fx);
    fixture_end(fx);
}

/* ---- fewer ---- */

static void idle_workers_go_down_to_the_minimum(void **state)
{
    (void)state;
    for (int32_t least = 0; least <= 2; least++) {
        row("%d", least);
        fixture *fx = registry_begin();
        script *s = text_script(fx, "m");
        cadre_entry entry = entry_of(s);
        cadre_memory_need need;
        entry_takes(&entry, &need, 0, 100);
        entry.initial_workers = 3;
        entry.min_workers = least;
        entry.idle_timeout_ms = 1000;
        script_hold(s, OP_LOAD);
        add(fx, &entry);
        ask(s, "hello");
        settle(fx);
        script_open(s, OP_LOAD);
        until_all_done(fx);
        until_workers(fx, "m", 3);
        settle(fx);
        pass_time(fx, 999);
        assert_size(info_of(fx, "m").workers, 3);
        pass_time(fx, 1);
        until_workers(fx, "m", (uint32_t)least);
        until_charged(fx, (uint64_t)least * 100);
        pass_time(fx, 100000);
        assert_size(info_of(fx, "m").workers, least);
        size_t stopping = event_after(CADRE_EVENT_WORKER_STOPPING, "m", 0);
        assert_true(stopping < EVENTS_MAX);
        assert_string_equal(events[stopping].detail, "idle");
        assert_size(events_of(CADRE_EVENT_WORKER_GONE, "m", 0), 3 - (size_t)least);
        assert_state_of(fx, "m", least ? CADRE_MODEL_READY : CADRE_MODEL_COLD);
        serve_once(s);
        fixture_end(fx);
    }
}

static void a_worker_that_is_used_stays(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = text_script(fx, "m");
    cadre_entry entry = entry_of(s);
    entry.idle_timeout_ms = 1000;
    add(fx, &entry);
    for (int i = 0; i < 5; i++) {
        serve_once(s);
        pass_time(fx, 900);
        assert_size(info_of(fx, "m").workers, 1);
    }
    assert_size(snapshot_of(fx).loads_started, 1);
    pass_time(fx, 100);
    until_workers(fx, "m", 0);
    fixture_end(fx);
}

static void who_waited_for_cores_and_left_does_not_keep_a_worker(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1 << 20, 2);
    script *a = text_script(fx, "a"), *b = text_script(fx, "b");
    a->fixed_threads = b->fixed_threads = 2;
    cadre_entry entry = entry_of(a);
    entry.idle_timeout_ms = CADRE_NEVER;
    add(fx, &entry);
    entry.key = "b";
    entry.idle_timeout_ms = 1000;
    add(fx, &entry);
    serve_once(b);
    script_hold(a, OP_GENERATE);
    ask(a, "has the cores");
    script_until(a, OP_GENERATE, 1);
    pass_time(fx, 900);
    answer *waits = ask(b, "waits");
    settle(fx);
    pass_time(fx, 200);
    assert_size(info_of(fx, "b").workers, 1);
    assert_status(cadre_request_cancel(fx->pool, waits->id), 0);
    until_done(waits);
    pass_time(fx, 1000);
    until_workers(fx, "b", 0);
    script_open(a, OP_GENERATE);
    until_all_done(fx);
    fixture_end(fx);
}

static void without_an_idle_timeout_workers_stay(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = text_script(fx, "m");
    cadre_entry entry = entry_of(s);
    entry.idle_timeout_ms = CADRE_NEVER;
    add(fx, &entry);
    serve_once(s);
    pass_time(fx, 1000000000);
    assert_size(info_of(fx, "m").workers, 1);
    fixture_end(fx);
}

static void the_minimum_is_there_from_the_addition_on_and_comes_back(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = text_script(fx, "m");
    cadre_entry entry = entry_of(s);
    entry.min_workers = 2;
    add(fx, &entry);
    until_workers(fx, "m", 2);
    settle(fx);
    assert_size(snapshot_of(fx).loads_started, 2);
    atomic_store(&s->status[OP_GENERATE], CADRE_EWORKER); /* one breaks */
    answer *a = ask(s, "breaks");
    until_done(a);
    assert_status(a->status, CADRE_EWORKER);
    atomic_store(&s->status[OP_GENERATE], 0);
    until_workers(fx, "m", 2);
    settle(fx);
    assert_size(info_of(fx, "m").loads, 3);
    fixture_end(fx);
}

static void shared_weights_stay_until_the_last_worker_goes(void **state)
{
    (void)state;
    for (int preloaded = 0; preloaded < 2; preloaded++) {
        row("preloaded %d", preloaded);
        fixture *fx = registry_begin();
        script *s = text_script(fx, "m");
        cadre_entry entry = entry_of(s);
        cadre_memory_need need;
        entry_takes(&entry, &need, 1000, 10);
        entry.backend = "shared";
        entry.loader = preloaded ? CADRE_LOADER_PRELOADED : CADRE_LOADER_SYNC;
        entry.initial_workers = 2;
        entry.idle_timeout_ms = 1000;
        add(fx, &entry);
        if (preloaded) {
            script_until_ended(s, OP_LOAD, 1);
            settle(fx);
        }
        assert_size(charged(fx, 0), preloaded ? 1000 : 0);
        ask(s, "hello");
        until_workers(fx, "m", 2);
        assert_size(charged(fx, 0), 1020);
        assert_int_equal(atomic_load(&s->begun[OP_LOAD]), 1);
        until_all_done(fx);
        settle(fx);
        pass_time(fx, 2000);
        until_workers(fx, "m", 0);
        until_charged(fx, preloaded ? 1000 : 0);
        serve_once(s);
        assert_int_equal(atomic_load(&s->payloads_made), preloaded ? 1 : 2);
        fixture_end(fx);
    }
}

/* ---- warm-up ---- */

static void each_new_worker_is_warmed_up_first(void **state)
{
    (void)state;
    static const uint32_t slots[] = {0, 4};
    for (size_t i = 0; i < COUNT(slots); i++) {
        row("%u slots", slots[i]);
        fixture *fx = registry_begin();
        script *s = text_script(fx, "m");
        s->slots = slots[i];
        cadre_entry entry = entry_of(s);
        entry.warm_up = "warm me";
        entry.initial_workers = 2;
        add(fx, &entry);
        answer *a = ask(s, "hello");
        until_done(a);
        assert_answered(s, a, "hello");
        until_workers(fx, "m", 2);
        script_op begins = slots[i] ? OP_BEGIN : OP_GENERATE;
        script_until(s, begins, 3);
        assert_size(script_count(s, begins, "warm me"), 2);
        assert_size(script_count(s, begins, "hello"), 1);
        const char *trace = script_trace(s);
        assert_true(strstr(trace, "warm me") < strstr(trace, ":hello"));
        assert_size(info_of(fx, "m").requests_done, 1);
        assert_size(snapshot_of(fx).requests_done, 1);
        fixture_end(fx);
    }
}

static void a_warm_up_that_fails_costs_nothing(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = text_script(fx, "m");
    cadre_entry entry = entry_of(s);
    entry.warm_up = "fail to warm up";
    entry.breaker_failures = 1;
    add(fx, &entry);
    serve_once(s);
    assert_size(info_of(fx, "m").requests_failed, 0);
    assert_state_of(fx, "m", CADRE_MODEL_READY);
    fixture_end(fx);
}

/* ---- pins ---- */

static void a_pinned_model_is_loaded_and_never_idle_for_too_long(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = text_script(fx, "m");
    cadre_entry entry = entry_of(s);
    entry.pinned = 1;
    entry.idle_timeout_ms = 1000;
    add(fx, &entry);
    until_workers(fx, "m", 1);
    assert_int_equal(info_of(fx, "m").pinned, 1);
    pass_time(fx, 1000000);
    assert_size(info_of(fx, "m").workers, 1);
    assert_status(cadre_model_unload(fx->pool, "m", NULL, NULL), CADRE_EBUSY);
    assert_contains(cadre_pool_error_detail(fx->pool), "pinned");
    assert_status(cadre_model_pin(fx->pool, "m", 0), 0);
    pass_time(fx, 1);
    until_workers(fx, "m", 0);
    assert_int_equal(info_of(fx, "m").pinned, 0);
    assert_status(cadre_model_pin(fx->pool, "m", 1), 0);
    until_workers(fx, "m", 1);
    assert_status(cadre_model_pin(fx->pool, "nobody", 1), CADRE_ENOENT);
    fixture_end(fx);
}

static void a_pinned_model_comes_back_after_a_crash(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = text_script(fx, "m");
    cadre_entry entry = entry_of(s);
    entry.pinned = 1;
    add(fx, &entry);
    until_workers(fx, "m", 1);
    atomic_store(&s->status[OP_GENERATE], CADRE_EWORKER);
    until_done(ask(s, "breaks"));
    atomic_store(&s->status[OP_GENERATE], 0);
    run_until_atomic(fx, &s->destroyed, 1);
    until_workers(fx, "m", 1);
    assert_int_equal(atomic_load(&s->made), 2);
    fixture_end(fx);
}

#define SUITE scaling
#include "suite.h"
