/* Room for a load: who leaves, who never does, and whose turn ends. Budgets are small numbers of bytes. */
#include "room.h"

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

#define SUITE evict
#include "suite.h"
