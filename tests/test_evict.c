/* Room for a load: who leaves, who never does, in what order those who wait are served, and what is measured. Budgets are small numbers of bytes. */
#include "scripted_backend.h"

#include "memory/reserve.h"

typedef struct room {
    int count, status;
    unsigned order;
    cadre_reservation *owned;
    cadre_reserve_id id;
    char detail[512];
    fixture *fx;
} room;

static void on_room(cadre_pool *pool, int status, cadre_reservation *owned, const char *detail, void *data)
{
    room *r = data;
    fixture *fx = cadre_pool_get_data(pool);
    if (!fixture_on_loop(fx) || fx->calling) fixture_fault(fx, "a reservation is told inside a call, or off the loop");
    if ((status == 0) != (owned != NULL)) fixture_fault(fx, "%s with%s a reservation", cadre_err_name(status), owned ? "" : "out");
    r->count++;
    r->status = status;
    r->owned = owned;
    r->order = ++fx->calls;
    snprintf(r->detail, sizeof r->detail, "%s", detail);
}

static int ask_room(fixture *fx, room *r, uint64_t bytes, int32_t priority, int64_t timeout_ms)
{
    cadre_memory_amount amount = {CADRE_DEVICE_HOST, bytes};
    cadre_reserve_options options = CADRE_RESERVE_OPTIONS_INIT;
    options.priority = priority;
    options.timeout_ms = timeout_ms;
    *r = (room){.fx = fx};
    fx->calling++;
    int rc = cadre_memory_reserve(fx->pool, &amount, 1, &options, on_room, r, &r->id);
    fx->calling--;
    return rc;
}

/* An entry with more to it than added() has. */
static script *added_as(fixture *fx, const char *key, uint64_t bytes, void (*change)(cadre_entry *entry))
{
    script *s = text_script(fx, key);
    cadre_entry entry = entry_of(s);
    cadre_memory_need need;
    entry_takes(&entry, &need, 0, bytes);
    entry.idle_timeout_ms = CADRE_NEVER;
    entry.load_retries = 0;
    if (change) change(&entry);
    add(fx, &entry);
    return s;
}

static script *idle_model(fixture *fx, const char *key, uint64_t bytes)
{
    script *s = added_as(fx, key, bytes, NULL);
    serve_once(s);
    return s;
}

/* It has a worker, which stands at a gate; the answer is open. */
static script *busy_model(fixture *fx, const char *key, uint64_t bytes)
{
    script *s = added_as(fx, key, bytes, NULL);
    script_hold(s, OP_GENERATE);
    ask(s, "busy");
    script_until(s, OP_GENERATE, 1);
    settle(fx);
    return s;
}

static void serve(script *s)
{
    answer *a = ask(s, "serve");
    until_done(a);
    assert_answered(s, a, "serve");
}

/* ---- who leaves ---- */

static void an_idle_model_makes_room_and_comes_back_when_it_is_asked(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 2);
    script *a = idle_model(fx, "a", 600), *b = added_as(fx, "b", 600, NULL);
    for (int i = 0; i < 3; i++) {
        serve(b);
        assert_state_of(fx, "a", CADRE_MODEL_COLD);
        assert_size(charged(fx, 0), 600);
        settle(fx);
        serve(a);
        assert_state_of(fx, "b", CADRE_MODEL_COLD);
        settle(fx);
    }
    assert_size(info_of(fx, "a").evictions, 3);
    assert_size(info_of(fx, "b").evictions, 3);
    assert_size(snapshot_of(fx).evictions, 6);
    size_t evicted = event_after(CADRE_EVENT_EVICTED, "a", 0), stopping = event_after(CADRE_EVENT_WORKER_STOPPING, "a", 0);
    size_t gone = event_after(CADRE_EVENT_WORKER_GONE, "a", 0), started = event_after(CADRE_EVENT_LOAD_STARTED, "b", 0);
    assert_string_equal(events[evicted].detail, "b");
    assert_contains(events[stopping].detail, "evicted for b");
    assert_true(evicted < stopping && stopping < gone && gone < started);
    assert_size(events[gone].bytes, 600);
    assert_size(events[started].bytes, 600);
    fixture_end(fx);
}

static void what_is_cheapest_to_bring_back_goes_first(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 2);
    script *slow = added_as(fx, "slow", 300, NULL), *d = added_as(fx, "d", 300, NULL);
    script_hold(slow, OP_LOAD);
    answer *first = ask(slow, "first");
    script_until(slow, OP_LOAD, 1);
    pass_time(fx, 5000);
    script_open(slow, OP_LOAD);
    until_done(first);
    script *hot = idle_model(fx, "hot", 300);
    for (int i = 0; i < 10; i++) serve(hot);
    idle_model(fx, "cheap", 300); /* used last, and still the one to go */
    settle(fx);
    serve(d);
    assert_state_of(fx, "cheap", CADRE_MODEL_COLD);
    assert_state_of(fx, "slow", CADRE_MODEL_READY);
    assert_state_of(fx, "hot", CADRE_MODEL_READY);
    fixture_end(fx);
}

static void among_equals_the_one_used_longest_ago_goes(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(900, 2);
    script *a = idle_model(fx, "a", 300);
    pass_time(fx, 10);
    idle_model(fx, "b", 300);
    pass_time(fx, 10);
    script *c = idle_model(fx, "c", 300);
    pass_time(fx, 10);
    (void)a, (void)c;
    serve(added_as(fx, "d", 300, NULL));
    assert_state_of(fx, "a", CADRE_MODEL_COLD);
    assert_state_of(fx, "b", CADRE_MODEL_READY);
    assert_state_of(fx, "c", CADRE_MODEL_READY);
    fixture_end(fx);
}

static void what_was_asked_for_long_ago_counts_less(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(700, 2);
    script *once_hot = idle_model(fx, "once_hot", 300), *now = added_as(fx, "now", 300, NULL);
    for (int i = 0; i < 20; i++) serve(once_hot);
    pass_time(fx, 3600 * 1000); /* twelve half-lives */
    for (int i = 0; i < 3; i++) serve(now);
    settle(fx);
    serve(added_as(fx, "d", 300, NULL));
    assert_state_of(fx, "once_hot", CADRE_MODEL_COLD);
    assert_state_of(fx, "now", CADRE_MODEL_READY);
    fixture_end(fx);
}

static void what_turned_out_superfluous_is_spared(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(600, 2);
    script *big = idle_model(fx, "big", 500);
    for (int i = 0; i < 10; i++) serve(big); /* per byte, the small one is cheaper */
    idle_model(fx, "small", 100);
    settle(fx);
    serve(added_as(fx, "d", 500, NULL));
    assert_state_of(fx, "big", CADRE_MODEL_COLD);
    assert_state_of(fx, "small", CADRE_MODEL_READY);
    assert_size(snapshot_of(fx).evictions, 1);
    fixture_end(fx);
}

static void only_what_helps_on_the_device_leaves(void **state)
{
    (void)state;
    cadre_device gpu = {sizeof gpu, "gpu", 1000};
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    options.memory_bytes = 1000;
    options.devices = &gpu;
    options.device_count = 1;
    fixture *fx = registry_begin_all(&options);
    idle_model(fx, "host", 600);
    static const char *const keys[] = {"first", "second"};
    for (int i = 0; i < 2; i++) {
        script *s = text_script(fx, keys[i]);
        cadre_entry entry = entry_of(s);
        cadre_memory_need needs[2] = {{0, 0, 100}, {1, 0, 700}};
        entry.memory = needs;
        entry.memory_count = 2;
        add(fx, &entry);
        serve_once(s);
    }
    assert_state_of(fx, "first", CADRE_MODEL_COLD);
    assert_state_of(fx, "second", CADRE_MODEL_READY);
    assert_state_of(fx, "host", CADRE_MODEL_READY);
    assert_size(charged(fx, 0), 700);
    assert_size(charged(fx, 1), 700);
    fixture_end(fx);
}

static void three_workers(cadre_entry *entry)
{
    entry->backend = "shared";
    entry->initial_workers = 3;
}

static void further_workers_go_before_the_last_one_and_its_weights(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 2);
    script *s = text_script(fx, "a");
    cadre_entry entry = entry_of(s);
    cadre_memory_need need;
    entry_takes(&entry, &need, 300, 100);
    three_workers(&entry);
    add(fx, &entry);
    script_hold(s, OP_LOAD);
    ask(s, "hello");
    script_until(s, OP_LOAD, 1);
    script_open(s, OP_LOAD);
    until_workers(fx, "a", 3);
    until_all_done(fx);
    settle(fx);
    assert_size(charged(fx, 0), 600);
    serve(added_as(fx, "b", 550, NULL));
    until_workers(fx, "a", 1);
    assert_size(charged(fx, 0), 950);
    settle(fx);
    serve(added_as(fx, "c", 450, NULL));
    assert_size(info_of(fx, "a").workers + info_of(fx, "b").workers, 1);
    fixture_end(fx);
}

/* ---- who stays ---- */

static void pin(cadre_entry *entry)
{
    entry->pinned = 1;
}
static void keep_one(cadre_entry *entry)
{
    entry->min_workers = 1;
}

static void pinned_models_minimums_and_the_hosts_own_never_leave(void **state)
{
    (void)state;
    static const char *const names[] = {"pinned", "minimum", "host"};
    for (int i = 0; i < 3; i++) {
        row("%s", names[i]);
        fixture *fx = registry_begin_with(1000, 2);
        cadre_reservation *own = NULL;
        if (i < 2) {
            added_as(fx, "stays", 600, i == 0 ? pin : keep_one);
            until_workers(fx, "stays", 1);
        } else {
            own = reserve(fx, 600);
        }
        pass_time(fx, 100000);
        script *s = added_as(fx, "b", 600, NULL);
        answer *a = ask(s, "no room");
        until_done(a);
        assert_status(a->status, CADRE_EBUDGET);
        assert_contains(a->detail, "600 bytes asked, 400 of 1000 free");
        assert_size(charged(fx, 0), 600);
        assert_size(snapshot_of(fx).evictions, 0);
        assert_int_equal(atomic_load(&s->begun[OP_LOAD]), 0);
        room r;
        assert_status(ask_room(fx, &r, 600, CADRE_DEFAULT, CADRE_DEFAULT), CADRE_EBUDGET);
        assert_contains(cadre_pool_error_detail(fx->pool), "600 bytes asked, 400 of 1000 free");
        serve(added_as(fx, "small", 400, NULL));
        cadre_reservation_release(own);
        fixture_end(fx);
    }
}

static void keep_one_of_two(cadre_entry *entry)
{
    entry->min_workers = 1;
    entry->initial_workers = 2;
}

static void what_is_above_the_minimum_leaves(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 2);
    script *a = text_script(fx, "a");
    cadre_entry entry = entry_of(a);
    cadre_memory_need need;
    entry_takes(&entry, &need, 0, 400);
    keep_one_of_two(&entry);
    entry.idle_timeout_ms = CADRE_NEVER;
    script_hold(a, OP_LOAD);
    add(fx, &entry);
    ask(a, "two");
    script_until(a, OP_LOAD, 2);
    script_open(a, OP_LOAD);
    until_workers(fx, "a", 2);
    until_all_done(fx);
    settle(fx);
    serve(added_as(fx, "b", 600, NULL));
    until_workers(fx, "a", 1);
    assert_size(charged(fx, 0), 1000);
    fixture_end(fx);
}

static void nobody_leaves_for_a_plan_that_does_not_suffice(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 4);
    idle_model(fx, "idle", 300);
    script *busy = busy_model(fx, "busy", 700), *big = added_as(fx, "big", 900, NULL);
    answer *a = ask(big, "big");
    for (int i = 0; i < 4; i++) {
        pass_time(fx, 1000);
        assert_state_of(fx, "idle", CADRE_MODEL_READY);
        assert_state_of(fx, "big", CADRE_MODEL_WAITING);
    }
    assert_size(snapshot_of(fx).evictions, 0);
    assert_size(snapshot_of(fx).loads_waiting_memory, 1);
    size_t waits = event_after(CADRE_EVENT_LOAD_WAITS, "big", 0);
    assert_size(events[waits].bytes, 900);
    script_open(busy, OP_GENERATE);
    until_done(a);
    assert_answered(big, a, "big");
    assert_size(snapshot_of(fx).evictions, 2);
    fixture_end(fx);
}

static void a_model_that_was_loaded_for_nobody_yet_stays_for_its_residency(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 2);
    added_as(fx, "a", 600, NULL);
    assert_status(load_now(fx, "a").status, 0);
    script *b = added_as(fx, "b", 600, NULL);
    answer *waits = ask(b, "hello");
    pass_time(fx, 4998);
    assert_state_of(fx, "a", CADRE_MODEL_READY);
    assert_state_of(fx, "b", CADRE_MODEL_WAITING);
    pass_time(fx, 3);
    until_done(waits);
    assert_answered(b, waits, "hello");
    assert_state_of(fx, "a", CADRE_MODEL_COLD);
    fixture_end(fx);
}

static void short_residency(cadre_entry *entry)
{
    entry->min_residency_ms = 100;
}

static void the_residency_is_the_entrys(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 2);
    added_as(fx, "a", 600, short_residency);
    assert_status(load_now(fx, "a").status, 0);
    script *b = added_as(fx, "b", 600, NULL);
    answer *waits = ask(b, "hello");
    pass_time(fx, 98);
    assert_state_of(fx, "a", CADRE_MODEL_READY);
    pass_time(fx, 3);
    until_done(waits);
    fixture_end(fx);
}

/* ---- turns ---- */

static void two_models_with_room_for_one_are_both_served(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 2);
    script *a = added_as(fx, "a", 600, NULL), *b = added_as(fx, "b", 600, NULL);
    for (int i = 0; i < 5; i++) {
        ask(a, "hello");
        ask(b, "hello");
    }
    until_all_done(fx);
    for (answer *each = fx->answers; each; each = each->next) assert_answered(a, each, "hello");
    fixture_end(fx);
}

static void ask_again(answer *a)
{
    script *s = a->data;
    if (atomic_load(&s->begun[OP_GENERATE]) >= 100) return;
    fixture_advance(s->fx, 1);
    answer *next = answer_new(s->fx);
    next->then = ask_again;
    next->data = s;
    if (submit(s, next, "again", NULL) < 0) fixture_fault(s->fx, "a request is refused");
}

static void a_model_that_is_never_idle_ends_its_turn(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 4);
    script *a = busy_model(fx, "a", 600), *b = added_as(fx, "b", 600, NULL);
    for (int i = 0; i < 3; i++) {
        answer *chain = answer_new(fx);
        chain->then = ask_again;
        chain->data = a;
        assert_status(submit(a, chain, "chain", NULL), 0);
    }
    answer *waits = ask(b, "waits");
    pass_time(fx, 4000); /* it may stay for so long */
    script_pass(a, OP_GENERATE, 5);
    script_until(a, OP_GENERATE, 6);
    settle(fx);
    assert_state_of(fx, "b", CADRE_MODEL_WAITING);
    pass_time(fx, 1001);
    script_open(a, OP_GENERATE);
    until_done(waits);
    assert_answered(b, waits, "waits");
    assert_size(info_of(fx, "a").evictions, 1);
    assert_true(info_of(fx, "a").queued > 0); /* what came after waits for its next turn */
    script_until_ended(a, OP_GENERATE, 100);
    until_all_done(fx);
    fixture_end(fx);
}

static void the_next_load_begins_when_the_victims_memory_is_back(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 2);
    script *a = idle_model(fx, "a", 600), *b = added_as(fx, "b", 600, NULL);
    script_hold(a, OP_DESTROY);
    answer *waits = ask(b, "waits");
    script_until(a, OP_DESTROY, 1);
    pass_time(fx, 1000);
    assert_int_equal(atomic_load(&b->begun[OP_LOAD]), 0);
    assert_size(charged(fx, 0), 600);
    assert_state_of(fx, "b", CADRE_MODEL_WAITING);
    script_open(a, OP_DESTROY);
    until_done(waits);
    assert_answered(b, waits, "waits");
    assert_size(snapshot_of(fx).evictions, 1);
    fixture_end(fx);
}

/* ---- those who wait ---- */

static void waiting_reservations_are_served_by_priority_then_arrival(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 2);
    script *busy = busy_model(fx, "busy", 1000);
    static const int32_t priorities[] = {CADRE_PRIORITY_LOW, CADRE_PRIORITY_NORMAL, CADRE_PRIORITY_CRITICAL, CADRE_DEFAULT, CADRE_PRIORITY_BATCH};
    static const unsigned order[] = {4, 2, 1, 3, 5};
    room rooms[5];
    for (int i = 0; i < 5; i++) assert_status(ask_room(fx, &rooms[i], 200, priorities[i], CADRE_DEFAULT), 0);
    settle(fx);
    for (int i = 0; i < 5; i++) assert_int_equal(rooms[i].count, 0);
    script_open(busy, OP_GENERATE);
    for (int i = 0; i < 5; i++) run_until_int(fx, &rooms[i].count, 1);
    unsigned base = fx->calls - 5;
    for (int i = 0; i < 5; i++) {
        assert_status(rooms[i].status, 0);
        assert_size(rooms[i].order, base + order[i]);
        assert_int_equal(rooms[i].count, 1);
        cadre_reservation_release(rooms[i].owned);
    }
    assert_size(charged(fx, 0), 0);
    fixture_end(fx);
}

static void what_the_host_has_taken_meanwhile_ends_a_wait_that_is_in_vain(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 2);
    script *busy = busy_model(fx, "busy", 1000);
    room first, second;
    assert_status(ask_room(fx, &first, 900, CADRE_DEFAULT, CADRE_DEFAULT), 0);
    assert_status(ask_room(fx, &second, 900, CADRE_DEFAULT, CADRE_DEFAULT), 0);
    script_open(busy, OP_GENERATE);
    run_until_int(fx, &second.count, 1);
    assert_status(first.status, 0);
    assert_status(second.status, CADRE_EBUDGET);
    assert_contains(second.detail, "900 bytes asked, 100 of 1000 free");
    cadre_reservation_release(first.owned);
    fixture_end(fx);
}

static void critical_load(cadre_entry *entry)
{
    entry->priority = CADRE_PRIORITY_CRITICAL;
}

static void the_priority_of_an_entry_is_that_of_its_loads(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 2);
    script *busy = busy_model(fx, "busy", 1000), *normal = added_as(fx, "normal", 600, NULL), *critical = added_as(fx, "critical", 600, critical_load);
    ask(normal, "hello");
    settle(fx);
    ask(critical, "hello");
    settle(fx);
    script_open(busy, OP_GENERATE);
    until_all_done(fx);
    assert_true(event_after(CADRE_EVENT_LOAD_STARTED, "critical", 0) < event_after(CADRE_EVENT_LOAD_STARTED, "normal", 0));
    fixture_end(fx);
}

static void a_small_load_passes_a_big_one_that_waits(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 4);
    script *busy = busy_model(fx, "busy", 600), *big = added_as(fx, "big", 900, NULL), *small = added_as(fx, "small", 300, NULL);
    answer *waits = ask(big, "waits");
    settle(fx);
    assert_state_of(fx, "big", CADRE_MODEL_WAITING);
    serve(small);
    assert_state_of(fx, "big", CADRE_MODEL_WAITING);
    assert_int_equal(waits->done, 0);
    pass_time(fx, 5001); /* from here on what comes free is the big one's */
    script *late = added_as(fx, "late", 100, NULL);
    answer *behind = ask(late, "behind");
    settle(fx);
    assert_state_of(fx, "late", CADRE_MODEL_WAITING);
    script_open(busy, OP_GENERATE);
    until_done(waits);
    assert_answered(big, waits, "waits");
    until_done(behind);
    fixture_end(fx);
}

static void a_reservation_of_the_hosts_makes_room(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 2);
    script *a = idle_model(fx, "a", 600);
    room r;
    script_hold(a, OP_DESTROY);
    assert_status(ask_room(fx, &r, 700, CADRE_DEFAULT, CADRE_DEFAULT), 0);
    assert_true(r.id != 0);
    script_until(a, OP_DESTROY, 1);
    settle(fx);
    assert_int_equal(r.count, 0);
    script_open(a, OP_DESTROY);
    run_until_int(fx, &r.count, 1);
    assert_status(r.status, 0);
    assert_string_equal(r.detail, "");
    assert_size(charged(fx, 0), 700);
    assert_status(cadre_memory_cancel(fx->pool, r.id), CADRE_ESTALE);
    cadre_reservation_release(r.owned);
    assert_size(charged(fx, 0), 0);
    fixture_end(fx);
}

static void a_reservation_that_waits_ends_by_cancel_deadline_and_close(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 2);
    busy_model(fx, "busy", 1000);
    room cancelled, late, open;
    assert_status(ask_room(fx, &cancelled, 500, CADRE_DEFAULT, CADRE_DEFAULT), 0);
    assert_status(ask_room(fx, &late, 500, CADRE_DEFAULT, 1000), 0);
    assert_status(ask_room(fx, &open, 500, CADRE_DEFAULT, CADRE_DEFAULT), 0);
    settle(fx);
    fx->calling++;
    assert_status(cadre_memory_cancel(fx->pool, cancelled.id), 0);
    assert_status(cadre_memory_cancel(fx->pool, cancelled.id), CADRE_ESTALE);
    fx->calling--;
    assert_int_equal(cancelled.count, 0);
    run_until_int(fx, &cancelled.count, 1);
    assert_status(cancelled.status, CADRE_ECANCELED);
    pass_time(fx, 1001);
    run_until_int(fx, &late.count, 1);
    assert_status(late.status, CADRE_ETIMEDOUT);
    assert_contains(late.detail, "500 bytes asked, 0 of 1000 free");
    cadre_close_options options = CADRE_CLOSE_OPTIONS_INIT;
    options.drain_ms = 0;
    fixture_start_close(fx, &options);
    run_until_int(fx, &open.count, 1);
    assert_status(open.status, CADRE_ECLOSED);
    scripts_open(fx);
    fixture_end(fx);
}

static void a_reservation_is_checked(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 2);
    room r;
    cadre_memory_amount wrap[2] = {{0, UINT64_MAX}, {0, 2}}, unknown = {7, 1}, twice[2] = {{0, 600}, {0, 600}};
    assert_status(ask_room(fx, &r, 1001, CADRE_DEFAULT, CADRE_DEFAULT), CADRE_EBUDGET);
    assert_status(ask_room(fx, &r, UINT64_MAX, CADRE_DEFAULT, CADRE_DEFAULT), CADRE_EBUDGET);
    assert_status(ask_room(fx, &r, 1, 5, CADRE_DEFAULT), CADRE_EINVAL);
    assert_status(ask_room(fx, &r, 1, CADRE_DEFAULT, 0), CADRE_EINVAL);
    assert_status(cadre_memory_reserve(fx->pool, wrap, 2, NULL, on_room, &r, NULL), CADRE_EBUDGET);
    assert_status(cadre_memory_reserve(fx->pool, twice, 2, NULL, on_room, &r, NULL), CADRE_EBUDGET);
    assert_status(cadre_memory_reserve(fx->pool, &unknown, 1, NULL, on_room, &r, NULL), CADRE_EINVAL);
    assert_status(cadre_memory_reserve(fx->pool, NULL, 1, NULL, on_room, &r, NULL), CADRE_EINVAL);
    assert_status(cadre_memory_reserve(fx->pool, wrap, 1, NULL, NULL, &r, NULL), CADRE_EINVAL);
    assert_status(cadre_memory_cancel(fx->pool, 12345), CADRE_ESTALE);
    r = (room){0};
    assert_status(cadre_memory_reserve(fx->pool, NULL, 0, NULL, on_room, &r, NULL), 0); /* an empty one */
    run_until_int(fx, &r.count, 1);
    assert_status(r.status, 0);
    cadre_reservation_release(r.owned);
    settle(fx);
    assert_int_equal(r.count, 1);
    fixture_end(fx);
}

/* ---- in words ---- */

static const char *explained(fixture *fx, uint64_t bytes)
{
    static char text[4096];
    cadre_memory_amount amount = {CADRE_DEVICE_HOST, bytes};
    int64_t length = cadre_memory_explain(fx->pool, &amount, 1, text, sizeof text);
    assert_size(length, strlen(text));
    char cut[20];
    assert_int_equal(cadre_memory_explain(fx->pool, &amount, 1, cut, sizeof cut), length);
    assert_size(strlen(cut), sizeof cut - 1);
    assert_memory_equal(cut, text, sizeof cut - 1);
    assert_int_equal(cadre_memory_explain(fx->pool, &amount, 1, NULL, 0), length);
    return text;
}

static void the_plan_can_be_read(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 4);
    added_as(fx, "pinned", 100, pin);
    added_as(fx, "minimum", 100, keep_one);
    until_workers(fx, "pinned", 1);
    until_workers(fx, "minimum", 1);
    idle_model(fx, "idle", 200);
    script *loading = added_as(fx, "loading", 100, NULL);
    busy_model(fx, "busy", 200);
    script_hold(loading, OP_LOAD);
    ask(loading, "hello");
    script_until(loading, OP_LOAD, 1);
    settle(fx);
    cadre_reservation *own = reserve(fx, 100);
    assert_contains(explained(fx, 200), "granted at once");
    assert_contains(explained(fx, 200), "host: 200 bytes asked, 200 of 1000 free (0 set aside for earlier ones); 700 held by models of the registry, 100 by");
    const char *text = explained(fx, 400);
    assert_contains(text, "granted after evictions");
    assert_contains(text, "idle: 200 bytes");
    assert_contains(text, "idle, would be evicted (1 of 1 workers)");
    assert_contains(text, "stays, it is pinned");
    assert_contains(text, "stays, it has no more than min_workers");
    assert_contains(text, "stays, it is loading");
    assert_contains(explained(fx, 600), "would wait");
    assert_contains(explained(fx, 701), "refused: what is pinned, a minimum or the host's own leaves too little");
    cadre_memory_amount amount = {9, 1};
    assert_int_equal(cadre_memory_explain(fx->pool, &amount, 1, NULL, 0), CADRE_EINVAL);
    assert_int_equal(cadre_memory_explain(NULL, NULL, 0, NULL, 0), CADRE_EINVAL);
    settle(fx);
    assert_size(snapshot_of(fx).evictions, 0);
    assert_size(charged(fx, 0), 800);
    cadre_reservation_release(own);
    fixture_end(fx);
}

/* ---- measured ---- */

static void what_a_worker_takes_is_measured_and_kept(void **state)
{
    (void)state;
    static const struct {
        uint64_t load, attach, expected;
    } rows[] = {{0, 250, 250}, {0, 700, 700}, {350, 0, 350}, {350, 220, 220}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        row("%zu", i);
        fixture *fx = registry_begin_with(1000, 2);
        script *s = text_script(fx, "m");
        s->measured_load = rows[i].load;
        s->measured_attach = rows[i].attach;
        cadre_entry entry = entry_of(s);
        cadre_memory_need need;
        entry_takes(&entry, &need, 100, 300);
        add(fx, &entry);
        serve_once(s);
        assert_size(charged(fx, 0), rows[i].expected);
        assert_size(info_of(fx, "m").resident_bytes, rows[i].expected);
        assert_status(unload_now(fx, "m").status, 0);
        assert_size(charged(fx, 0), 0);
        size_t mark = event_count;
        s->measured_load = s->measured_attach = 0;
        serve_once(s);
        assert_size(events[event_after(CADRE_EVENT_LOAD_STARTED, "m", mark)].bytes, rows[i].expected);
        assert_size(charged(fx, 0), rows[i].expected);
        fixture_end(fx);
    }
}

static void shared_weights_are_measured_apart_from_workers(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 2);
    script *s = text_script(fx, "m");
    s->measured_load = 444;
    s->measured_attach = 55;
    cadre_entry entry = entry_of(s);
    cadre_memory_need need;
    entry_takes(&entry, &need, 400, 50);
    entry.backend = "shared";
    entry.initial_workers = 2;
    add(fx, &entry);
    script_hold(s, OP_LOAD);
    ask(s, "hello");
    script_until(s, OP_LOAD, 1);
    assert_size(charged(fx, 0), 500);
    script_open(s, OP_LOAD);
    until_workers(fx, "m", 2);
    until_all_done(fx);
    settle(fx);
    assert_size(charged(fx, 0), 444 + 2 * 55);
    assert_status(unload_now(fx, "m").status, 0);
    assert_size(charged(fx, 0), 0);
    fixture_end(fx);
}

static void the_backends_estimate_is_taken_when_the_entry_says_nothing(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 2);
    script *s = text_script(fx, "m");
    s->estimate[0] = (cadre_memory_need){CADRE_DEVICE_HOST, 123, 45};
    s->estimate_count = 1;
    cadre_entry entry = entry_of(s);
    add(fx, &entry);
    serve_once(s);
    assert_size(charged(fx, 0), 168);
    fixture_end(fx);
}

/* ---- pressure ---- */

static void the_systems_pressure_evicts_the_cheapest_idle_model(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(10000, 2);
    script *hot = idle_model(fx, "hot", 600);
    for (int i = 0; i < 5; i++) serve(hot);
    idle_model(fx, "cold", 600);
    busy_model(fx, "busy", 600);
    settle(fx);
    cadre__pressure_system(fx->pool, CADRE_PRESSURE_HIGH);
    settle(fx);
    assert_int_equal(snapshot_of(fx).pressure, CADRE_PRESSURE_HIGH);
    assert_size(snapshot_of(fx).evictions, 0);
    cadre__pressure_system(fx->pool, CADRE_PRESSURE_CRITICAL);
    until_state(fx, "cold", CADRE_MODEL_COLD);
    settle(fx);
    assert_state_of(fx, "hot", CADRE_MODEL_READY);
    cadre__pressure_system(fx->pool, CADRE_PRESSURE_CRITICAL);
    until_state(fx, "hot", CADRE_MODEL_COLD);
    cadre__pressure_system(fx->pool, CADRE_PRESSURE_CRITICAL); /* nobody is idle */
    settle(fx);
    assert_state_of(fx, "busy", CADRE_MODEL_READY);
    assert_size(snapshot_of(fx).evictions, 2);
    size_t evicted = event_after(CADRE_EVENT_EVICTED, "cold", 0), level = event_after(CADRE_EVENT_PRESSURE, "", 0);
    assert_string_equal(events[evicted].detail, "");
    assert_string_equal(events[level].detail, "high");
    pass_time(fx, 10001); /* it holds for ten seconds */
    assert_int_equal(snapshot_of(fx).pressure, CADRE_PRESSURE_LOW);
    fixture_end(fx);
}

static void the_ledgers_own_level_is_told(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 2);
    static const struct {
        uint64_t bytes;
        const char *level;
    } rows[] = {{500, NULL}, {501, "normal"}, {701, "high"}, {851, "critical"}, {1, "low"}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        row("%zu", i);
        size_t mark = event_count;
        cadre_reservation *own = reserve(fx, rows[i].bytes);
        settle(fx);
        size_t at = event_after(CADRE_EVENT_PRESSURE, "", mark);
        if (rows[i].level && strcmp(rows[i].level, "low") != 0) {
            assert_true(at < EVENTS_MAX);
            assert_string_equal(events[at].detail, rows[i].level);
            assert_size(events[at].bytes, rows[i].bytes);
        } else {
            assert_true(at == EVENTS_MAX);
        }
        cadre_reservation_release(own);
        settle(fx);
        assert_int_equal(snapshot_of(fx).pressure, CADRE_PRESSURE_LOW);
    }
    fixture_end(fx);
}

#define SUITE evict
#include "suite.h"
