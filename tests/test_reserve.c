/* Those who wait for memory, what a plan says in words, what is measured, and the system's pressure. Budgets are small numbers of bytes. */
#include "room.h"

#include "memory/reserve.h"

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

static void pin(cadre_entry *entry)
{
    entry->pinned = 1;
}
static void keep_one(cadre_entry *entry)
{
    entry->min_workers = 1;
}

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

#define SUITE reserve
#include "suite.h"
