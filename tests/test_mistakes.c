/* One test for each mistake that such a library has been seen to make, named after it; a naive version fails it. More of each is in the suites of its subject.
 */
#include "scripted_backend.h"

static script *added_as(fixture *fx, const char *key, uint64_t bytes, void (*change)(cadre_entry *entry))
{
    script *s = text_script(fx, key);
    cadre_entry entry = entry_of(s);
    cadre_memory_need need;
    if (bytes) entry_takes(&entry, &need, 0, bytes);
    if (change) change(&entry);
    add(fx, &entry);
    return s;
}

static void one_worker(cadre_entry *entry)
{
    entry->max_workers = 1;
    entry->load_retries = 0;
}

/* ---- memory ---- */

static void a_guard_that_credits_a_copy_of_the_counter(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 2);
    script *s = added_as(fx, "m", 700, one_worker);
    for (int i = 0; i < 20; i++) { /* what does not come back would be missing soon */
        cadre_reservation *own = reserve(fx, 300);
        if (i % 2) atomic_store(&s->status[i % 4 == 1 ? OP_LOAD : OP_ATTACH], CADRE_ELOAD);
        assert_status(load_now(fx, "m").status, i % 2 ? CADRE_ELOAD : 0);
        atomic_store(&s->status[OP_LOAD], 0);
        atomic_store(&s->status[OP_ATTACH], 0);
        assert_status(unload_now(fx, "m").status, 0);
        assert_size(charged(fx, 0), 300);
        cadre_reservation_release(own);
        assert_size(charged(fx, 0), 0);
        assert_size(reservations(fx, 0), 0);
    }
    cadre_reservation_release(reserve(fx, 1000));
    fixture_end(fx);
}

static void probing_for_memory_and_then_reserving_again(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 2);
    script *a = added_as(fx, "a", 600, NULL), *b = added_as(fx, "b", 600, NULL);
    script_hold(a, OP_LOAD);
    ask(a, "both in one turn");
    ask(b, "both in one turn");
    script_until(a, OP_LOAD, 1);
    settle(fx);
    assert_size(charged(fx, 0), 600); /* once, for one of them */
    assert_size(reservations(fx, 0), 1);
    assert_state_of(fx, "b", CADRE_MODEL_WAITING);
    script_open(a, OP_LOAD);
    until_all_done(fx);
    assert_size(charged(fx, 0), 600);
    assert_size(reservations(fx, 0), 1);
    fixture_end(fx);
}

static void limit_minus_reserved_wrapping_around(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 2);
    script *s = text_script(fx, "m"), *other = added_as(fx, "other", 10, one_worker);
    s->measured_attach = 1500; /* larger than the whole budget, as it turns out */
    cadre_entry entry = entry_of(s);
    cadre_memory_need need;
    entry_takes(&entry, &need, 0, 400);
    entry.pinned = 1;
    add(fx, &entry);
    until_workers(fx, "m", 1);
    settle(fx);
    cadre_memory_usage usage = CADRE_MEMORY_USAGE_INIT;
    assert_status(cadre_memory_get_usage(fx->pool, 0, &usage), 0);
    assert_size(usage.charged_bytes, 1500);
    cadre_memory_amount amount = {0, 1};
    cadre_reservation *none = NULL;
    assert_status(cadre_memory_try_reserve(fx->pool, &amount, 1, &none), CADRE_EBUDGET);
    answer *a = ask(other, "no room");
    until_done(a);
    assert_status(a->status, CADRE_EBUDGET);
    fixture_end(fx);
}

static void one_budget_per_capability_five_times_80_percent(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 2);
    static const char *const keys[] = {"a", "b", "c", "d", "e"};
    script *s[CADRE_CAPABILITY_COUNT];
    for (int i = 0; i < CADRE_CAPABILITY_COUNT; i++) {
        s[i] = script_new(fx, (cadre_capability)i, KIND_BLOCKING, keys[i]);
        cadre_entry entry = entry_of(s[i]);
        cadre_memory_need need;
        entry_takes(&entry, &need, 0, 800);
        add(fx, &entry);
    }
    for (int i = 0; i < CADRE_CAPABILITY_COUNT; i++) {
        serve_once(s[i]);
        assert_size(charged(fx, 0), 800);
        assert_size(snapshot_of(fx).workers_ready, 1);
    }
    fixture_end(fx);
}

static void a_failed_load_released_twice(void **state)
{
    (void)state;
    static const script_op where[] = {OP_LOAD, OP_ATTACH};
    static const char *const backends[] = {"plain", "shared"};
    for (size_t i = 0; i < 4; i++) {
        row("%s, %s", op_name(where[i % 2]), backends[i / 2]);
        fixture *fx = registry_begin_with(1000, 2);
        cadre_reservation *own = reserve(fx, 300);
        script *s = text_script(fx, "m");
        cadre_entry entry = entry_of(s);
        cadre_memory_need need;
        entry_takes(&entry, &need, 400, 100);
        entry.backend = backends[i / 2];
        one_worker(&entry);
        add(fx, &entry);
        atomic_store(&s->status[where[i % 2]], CADRE_ELOAD);
        answer *a = ask(s, "hello");
        until_done(a);
        assert_status(a->status, CADRE_ELOAD);
        until_charged(fx, 300);
        for (int k = 0; k < 3; k++) settle(fx);
        assert_size(charged(fx, 0), 300);
        assert_size(reservations(fx, 0), 1);
        cadre_reservation_release(own);
        fixture_end(fx);
    }
}

static void a_model_that_is_loading_evicted_by_the_next_request(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 2);
    script *a = added_as(fx, "a", 600, NULL), *b = added_as(fx, "b", 600, NULL);
    script_hold(a, OP_LOAD);
    answer *first = ask(a, "first");
    script_until(a, OP_LOAD, 1);
    answer *second = ask(b, "second");
    for (int i = 0; i < 10; i++) {
        pass_time(fx, 1000);
        assert_state_of(fx, "a", CADRE_MODEL_LOADING);
        assert_state_of(fx, "b", CADRE_MODEL_WAITING);
    }
    script_open(a, OP_LOAD);
    until_done(first);
    assert_answered(a, first, "first");
    until_done(second);
    assert_answered(b, second, "second");
    assert_int_equal(atomic_load(&a->made), 1);
    fixture_end(fx);
}

static void two_models_wanted_at_once_with_room_for_one_and_only_one_ever_served(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 2);
    script *a = added_as(fx, "a", 600, NULL), *b = added_as(fx, "b", 600, NULL);
    for (int i = 0; i < 8; i++) {
        script *first = i % 2 ? a : b, *second = i % 2 ? b : a;
        answer *x = ask(first, "x"), *y = ask(second, "y");
        until_done(x);
        until_done(y);
        assert_answered(first, x, "x");
        assert_answered(second, y, "y");
    }
    fixture_end(fx);
}

static void a_small_load_stuck_behind_a_big_one(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 2);
    script *big = added_as(fx, "big", 700, NULL), *bigger = added_as(fx, "bigger", 900, NULL), *small = added_as(fx, "small", 100, NULL);
    script_hold(big, OP_LOAD);
    ask(big, "reads for long");
    script_until(big, OP_LOAD, 1);
    ask(bigger, "waits for memory");
    settle(fx);
    assert_state_of(fx, "bigger", CADRE_MODEL_WAITING);
    serve_once(small);
    assert_state_of(fx, "big", CADRE_MODEL_LOADING);
    script_open(big, OP_LOAD);
    until_all_done(fx);
    fixture_end(fx);
}

static void eviction_by_a_stale_index_taking_a_busy_workers_queue_with_it(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 4);
    script *a = text_script(fx, "a"), *b = added_as(fx, "b", 600, NULL);
    cadre_entry entry = entry_of(a);
    cadre_memory_need need;
    entry_takes(&entry, &need, 0, 300);
    entry.initial_workers = 3;
    add(fx, &entry);
    script_hold(a, OP_LOAD);
    answer *x = ask(a, "x");
    script_until(a, OP_LOAD, 2);
    script_open(a, OP_LOAD);
    until_workers(fx, "a", 3);
    until_done(x);
    settle(fx);
    script_hold(a, OP_GENERATE);
    answer *busy = ask(a, "busy");
    script_until(a, OP_GENERATE, 2);
    answer *queued[5], *y = ask(b, "y");
    settle(fx);
    pass_time(fx, 5001); /* its turn is over, its work is not */
    assert_size(info_of(fx, "a").workers_busy, 1);
    assert_int_equal(busy->done, 0);
    for (int i = 0; i < 5; i++) queued[i] = ask(a, "queued");
    settle(fx);
    script_open(a, OP_GENERATE);
    until_all_done(fx);
    assert_answered(a, busy, "busy");
    assert_answered(b, y, "y");
    for (int i = 0; i < 5; i++) assert_answered(a, queued[i], "queued");
    fixture_end(fx);
}

static void an_unload_that_reports_done_before_memory_is_back(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 2);
    script *s = added_as(fx, "m", 600, NULL);
    serve_once(s);
    script_hold(s, OP_DESTROY);
    told t = {0};
    assert_status(cadre_model_unload(fx->pool, "m", on_told, &t), 0);
    script_until(s, OP_DESTROY, 1);
    pass_time(fx, 100000);
    assert_int_equal(t.count, 0);
    assert_size(charged(fx, 0), 600);
    script_open(s, OP_DESTROY);
    run_until_int(fx, &t.count, 1);
    assert_size(charged(fx, 0), 0);
    assert_int_equal(atomic_load(&s->destroyed), 1);
    fixture_end(fx);
}

/* ---- loads ---- */

static void waiters_hanging_after_a_failed_load(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = added_as(fx, "m", 100, one_worker);
    atomic_store(&s->status[OP_LOAD], CADRE_ELOAD);
    script_hold(s, OP_LOAD);
    for (int i = 0; i < 20; i++) ask(s, "waits");
    told t[2] = {{0}};
    for (int i = 0; i < 2; i++) assert_status(cadre_model_load(fx->pool, "m", on_told, &t[i]), 0);
    script_until(s, OP_LOAD, 1);
    script_open(s, OP_LOAD);
    until_all_done(fx);
    for (answer *a = fx->answers; a; a = a->next) assert_status(a->status, CADRE_ELOAD);
    for (int i = 0; i < 2; i++) {
        run_until_int(fx, &t[i].count, 1);
        assert_status(t[i].status, CADRE_ELOAD);
    }
    fixture_end(fx);
}

static int joined;
static void join(answer *a)
{
    script *s = a->data;
    answer *next = answer_new(s->fx);
    next->data = s;
    joined++;
    submit(s, next, "just after", NULL);
}

static void requests_that_join_just_after_a_load_has_failed_and_wait_for_ever(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = added_as(fx, "m", 100, one_worker);
    atomic_store(&s->status[OP_LOAD], CADRE_ELOAD);
    joined = 0;
    for (int i = 0; i < 5; i++) {
        answer *a = answer_new(fx);
        a->then = join; /* from inside the failure of the ones before */
        a->data = s;
        assert_status(submit(s, a, "waits", NULL), 0);
    }
    while (events_of(CADRE_EVENT_LOAD_FAILED, "m", 0) < 1) settle(fx);
    answer *late = answer_new(fx);
    submit(s, late, "after the event", NULL);
    until_all_done(fx);
    assert_int_equal(joined, 5);
    for (answer *a = fx->answers; a; a = a->next) assert_status(a->rc < 0 ? a->rc : a->status, CADRE_ELOAD);
    fixture_end(fx);
}

static void a_busy_worker_read_as_spawn_failed(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = added_as(fx, "m", 100, one_worker);
    script_hold(s, OP_GENERATE);
    answer *busy = ask(s, "busy");
    script_until(s, OP_GENERATE, 1);
    answer *waits = ask(s, "waits");
    pass_time(fx, 10000);
    assert_int_equal(waits->done, 0);
    script_open(s, OP_GENERATE);
    until_done(waits);
    assert_answered(s, busy, "busy");
    assert_answered(s, waits, "waits");
    assert_size(info_of(fx, "m").load_failures, 0);
    assert_size(snapshot_of(fx).loads_started, 1);
    fixture_end(fx);
}

static void forty_requests_starting_forty_loads(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = added_as(fx, "m", 100, NULL);
    script_hold(s, OP_LOAD);
    for (int i = 0; i < 40; i++) {
        ask(s, "hello");
        if (i % 10 == 0) settle(fx);
    }
    settle(fx);
    assert_size(charged(fx, 0), 100);
    script_open(s, OP_LOAD);
    until_all_done(fx);
    assert_size(snapshot_of(fx).loads_started, 1);
    fixture_end(fx);
}

static void ready_before_anything_was_loaded(void **state)
{
    (void)state;
    static const script_op where[] = {OP_LOAD, OP_ATTACH};
    for (size_t i = 0; i < COUNT(where); i++) {
        row("%s", op_name(where[i]));
        fixture *fx = registry_begin();
        script *s = added_as(fx, "m", 100, NULL);
        script_hold(s, where[i]);
        told t = {0};
        assert_status(cadre_model_load(fx->pool, "m", on_told, &t), 0);
        script_until(s, where[i], 1);
        settle(fx);
        assert_int_equal(t.count, 0);
        assert_state_of(fx, "m", CADRE_MODEL_LOADING);
        assert_size(info_of(fx, "m").workers, 0);
        assert_size(snapshot_of(fx).workers_ready + snapshot_of(fx).models_ready, 0);
        assert_size(events_of(CADRE_EVENT_WORKER_READY, "m", 0), 0);
        script_open(s, where[i]);
        run_until_int(fx, &t.count, 1);
        settle(fx);
        assert_size(events_of(CADRE_EVENT_WORKER_READY, "m", 0), 1);
        fixture_end(fx);
    }
}

static void a_blocking_load_dressed_as_an_async_one(void **state)
{
    (void)state;
    static const char *const backends[] = {"plain", "shared"};
    for (int i = 0; i < 4; i++) {
        row("%s, async %d", backends[i / 2], i % 2);
        fixture *fx = registry_begin();
        script *s = text_script(fx, "m"), *other = added_as(fx, "other", 0, NULL);
        cadre_entry entry = entry_of(s);
        entry.backend = backends[i / 2];
        entry.loader = i % 2 ? CADRE_LOADER_ASYNC : CADRE_LOADER_SYNC;
        add(fx, &entry);
        script_hold(s, OP_LOAD);
        ask(s, "hello");
        script_until(s, OP_LOAD, 1);
        serve_once(other); /* the loop turns, and serves others */
        script_open(s, OP_LOAD);
        until_all_done(fx);
        for (size_t k = 0; k < s->traced; k++) assert_false(s->trace[k].on_loop);
        fixture_end(fx);
    }
}

#define SUITE mistakes
#include "suite.h"
