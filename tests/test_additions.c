/* Additions take time, and requests may come before them; removals take time, and requests may come after them. */
#include "scripted_backend.h"

/* A backend whose open stands at a gate. */
static gate opening;
static atomic_int opens;

static int slow_open(const cadre_backend *backend, cadre_backend_entry *entry, void **self)
{
    (void)backend, (void)entry;
    *self = NULL;
    atomic_fetch_add(&opens, 1);
    gate_wait(&opening);
    return strcmp(entry->key, "refused") == 0 ? cadre_backend_fail(entry, CADRE_EFORMAT, "no such model") : 0;
}

static int slow_make(void *self, cadre_load_context *context, cadre_weights *source, cadre_any_model *out)
{
    (void)self, (void)source, (void)out;
    return cadre_load_fail(context, CADRE_ELOAD, "never made");
}

static const cadre_backend slow = {
    CADRE_BACKEND_VERSION, sizeof slow, "slow", 1u << CADRE_TEXT_TO_TEXT, 0, NULL, 0, slow_open, NULL, NULL, NULL, slow_make, NULL};

static fixture *begin(void)
{
    fixture *fx = registry_begin();
    gate_init(&opening);
    gate_hold(&opening);
    atomic_store(&opens, 0);
    assert_status(cadre_backend_register(fx->pool, &slow), 0);
    return fx;
}

static void end(fixture *fx)
{
    gate_open(&opening);
    fixture_end(fx);
    gate_destroy(&opening);
}

/* Begins an addition of `key`, which waits at the gate. */
static void start_slow(fixture *fx, const char *key, told *t)
{
    cadre_entry entry = CADRE_ENTRY_INIT;
    *t = (told){0};
    entry.key = key;
    entry.capability = CADRE_TEXT_TO_TEXT;
    entry.backend = "slow";
    entry.load_retries = 0;
    fx->calling++;
    assert_status(cadre_registry_add(fx->pool, &entry, on_told, t), 0);
    fx->calling--;
}

static void a_request_may_come_before_its_addition_is_over(void **state)
{
    (void)state;
    fixture *fx = begin();
    script *s = text_script(fx, "early");
    told slow_one, t = {0};
    start_slow(fx, "other", &slow_one);
    cadre_entry entry = entry_of(s);
    answer *a = ask(s, "hello"), *nobody = answer_new(fx);
    script *unknown = text_script(fx, "unknown");
    assert_status(submit(unknown, nobody, "hello", NULL), 0);
    assert_status(cadre_registry_add(fx->pool, &entry, on_told, &t), 0);
    settle(fx);
    assert_int_equal(a->done + nobody->done, 0);
    gate_open(&opening);
    until_done(a);
    assert_answered(s, a, "hello");
    until_done(nobody);
    assert_status(nobody->status, CADRE_ENOENT);
    assert_true(nobody->detail[0] != '\0');
    assert_refused(unknown, CADRE_ENOENT, "unknown");
    end(fx);
}

static void who_waits_for_an_addition_that_fails_hears_why(void **state)
{
    (void)state;
    fixture *fx = begin();
    script *s = text_script(fx, "refused");
    told t;
    start_slow(fx, "refused", &t);
    answer *a = ask(s, "hello");
    settle(fx);
    gate_open(&opening);
    until_done(a);
    assert_status(a->status, CADRE_EFORMAT);
    assert_contains(a->detail, "no such model");
    run_until_int(fx, &t.count, 1);
    assert_status(t.status, CADRE_EFORMAT);
    assert_refused(s, CADRE_ENOENT, "refused");
    end(fx);
}

static void a_request_of_another_capability_is_told_when_the_key_is_known(void **state)
{
    (void)state;
    fixture *fx = begin();
    script *s = script_new(fx, CADRE_TEXT_EMBEDDING, KIND_BLOCKING, "m");
    told t;
    start_slow(fx, "m", &t);
    answer *a = ask(s, "hello");
    gate_open(&opening);
    until_done(a);
    assert_status(a->status, CADRE_ECAPABILITY);
    assert_refused(s, CADRE_ECAPABILITY, "text-to-text");
    end(fx);
}

static void a_thousand_unknown_keys_wait_and_no_more(void **state)
{
    (void)state;
    fixture *fx = begin();
    script *s = text_script(fx, "m");
    told t;
    start_slow(fx, "other", &t);
    for (int i = 0; i < 1000; i++) {
        snprintf(s->key, sizeof s->key, "key %d", i);
        ask(s, "hello");
    }
    snprintf(s->key, sizeof s->key, "one more");
    assert_refused(s, CADRE_EFULL, "too many keys");
    snprintf(s->key, sizeof s->key, "key 7");
    for (int i = 1; i < 100; i++) ask(s, "hello");
    assert_refused(s, CADRE_EFULL, "100 requests wait");
    gate_open(&opening);
    until_all_done(fx);
    for (answer *a = fx->answers; a; a = a->next)
        if (a->rc == 0) assert_status(a->status, CADRE_ENOENT);
    end(fx);
}

static void a_request_for_an_unknown_key_keeps_its_deadline(void **state)
{
    (void)state;
    fixture *fx = begin();
    script *s = text_script(fx, "unknown");
    told t;
    start_slow(fx, "other", &t);
    answer *late = ask_within(s, "late", 100), *cancelled = ask(s, "cancelled");
    settle(fx);
    assert_status(cadre_request_cancel(fx->pool, cancelled->id), 0);
    pass_time(fx, 101);
    until_done(late);
    until_done(cancelled);
    assert_status(late->status, CADRE_ETIMEDOUT);
    assert_status(cancelled->status, CADRE_ECANCELED);
    end(fx);
}

static void a_close_ends_additions(void **state)
{
    (void)state;
    fixture *fx = begin();
    script *s = text_script(fx, "m");
    told running, waiting;
    start_slow(fx, "one", &running);
    start_slow(fx, "two", &waiting);
    answer *a = ask(s, "hello");
    run_until_atomic(fx, &opens, 0);
    settle(fx);
    cadre_close_options options = CADRE_CLOSE_OPTIONS_INIT;
    options.drain_ms = 0;
    fixture_start_close(fx, &options);
    cadre_entry entry = entry_of(s);
    assert_status(cadre_registry_add(fx->pool, &entry, NULL, NULL), CADRE_ECLOSED);
    assert_status(cadre_registry_load_text(fx->pool, "{}", 2, NULL, NULL, NULL), CADRE_ECLOSED);
    until_done(a);
    assert_status(a->status, CADRE_ECLOSED);
    gate_open(&opening);
    run_until_int(fx, &running.count, 1);
    run_until_int(fx, &waiting.count, 1);
    assert_status(running.status, CADRE_ECLOSED);
    assert_status(waiting.status, CADRE_ECLOSED);
    end(fx);
}

static void a_check_that_never_returns_does_not_hold_up_the_close(void **state)
{
    (void)state;
    fixture *fx = begin();
    told t;
    start_slow(fx, "one", &t);
    while (atomic_load(&opens) == 0) settle(fx);
    cadre_close_options options = CADRE_CLOSE_OPTIONS_INIT;
    options.drain_ms = 0;
    options.abandon_after_ms = 50;
    fixture_start_close(fx, &options);
    settle(fx);
    assert_int_equal(t.count, 0);
    fixture_advance(fx, 51);
    run_until_int(fx, &t.count, 1);
    assert_status(t.status, CADRE_ECLOSED);
    fixture_close(fx, NULL);
    assert_size(fx->report.abandoned_threads, 1);
    fx->expect_report = true;
    end(fx);
}

/* ---- removal ---- */

static void a_removal_serves_what_was_accepted_and_refuses_the_rest(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = added(fx, "m", 100);
    serve_once(s);
    script_hold(s, OP_GENERATE);
    script_hold(s, OP_DESTROY);
    answer *runs = ask(s, "runs"), *waits = ask(s, "waits");
    script_until(s, OP_GENERATE, 2);
    told t = {0};
    assert_status(cadre_registry_remove(fx->pool, "m", on_told, &t), 0);
    assert_refused(s, CADRE_ENOENT, "\"m\" is being removed");
    assert_status(cadre_registry_remove(fx->pool, "m", on_told, &t), CADRE_EBUSY);
    assert_status(cadre_model_load(fx->pool, "m", on_told, &t), CADRE_ENOENT);
    assert_status(cadre_model_pin(fx->pool, "m", 1), CADRE_ENOENT);
    assert_state_of(fx, "m", CADRE_MODEL_REMOVING);
    cadre_entry entry = entry_of(s);
    told again = {0};
    assert_status(cadre_registry_add(fx->pool, &entry, on_told, &again), 0);
    run_until_int(fx, &again.count, 1);
    assert_status(again.status, CADRE_EEXIST);
    script_open(s, OP_GENERATE);
    until_done(runs);
    until_done(waits);
    assert_answered(s, runs, "runs");
    assert_answered(s, waits, "waits");
    script_until(s, OP_DESTROY, 1);
    settle(fx);
    assert_int_equal(t.count, 0);
    assert_size(charged(fx, 0), 100);
    script_open(s, OP_DESTROY);
    run_until_int(fx, &t.count, 1);
    assert_status(t.status, 0);
    assert_size(charged(fx, 0), 0);
    assert_refused(s, CADRE_ENOENT, "m");
    settle(fx);
    assert_size(events_of(CADRE_EVENT_MODEL_REMOVED, "m", 0), 1);
    run_until_atomic(fx, &s->closed, 2);
    add(fx, &entry);
    serve_once(s);
    fixture_end(fx);
}

static void what_is_loading_is_not_removed(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 2);
    script *s = added(fx, "m", 600), *big = added(fx, "big", 900);
    script_hold(s, OP_LOAD);
    answer *a = ask(s, "hello");
    script_until(s, OP_LOAD, 1);
    assert_status(cadre_registry_remove(fx->pool, "m", NULL, NULL), CADRE_EBUSY);
    assert_contains(cadre_pool_error_detail(fx->pool), "\"m\" is loading");
    ask(big, "waits for memory");
    settle(fx);
    assert_status(cadre_registry_remove(fx->pool, "big", NULL, NULL), CADRE_EBUSY);
    assert_status(cadre_registry_remove(fx->pool, "nobody", NULL, NULL), CADRE_ENOENT);
    assert_status(cadre_registry_remove(fx->pool, NULL, NULL, NULL), CADRE_ENOENT);
    assert_status(cadre_registry_remove(NULL, "m", NULL, NULL), CADRE_EINVAL);
    script_open(s, OP_LOAD);
    until_all_done(fx);
    assert_answered(s, a, "hello");
    fixture_end(fx);
}

static void a_cold_model_is_removed_at_once_and_many_are_removed_together(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    static const char *const keys[] = {"a", "b", "c", "d"};
    told t[4] = {{0}};
    for (int i = 0; i < 4; i++) {
        script *s = added(fx, keys[i], 10);
        if (i % 2) serve_once(s);
    }
    for (int i = 0; i < 4; i++) assert_status(cadre_registry_remove(fx->pool, keys[i], on_told, &t[i]), 0);
    for (int i = 0; i < 4; i++) {
        run_until_int(fx, &t[i].count, 1);
        assert_status(t[i].status, 0);
    }
    assert_int_equal(cadre_registry_list(fx->pool, NULL, NULL, NULL), 0);
    assert_size(charged(fx, 0), 0);
    fixture_end(fx);
}

static void a_removal_overtakes_min_workers_and_pins(void **state)
{
    (void)state;
    for (int pinned = 0; pinned < 2; pinned++) {
        fixture *fx = registry_begin();
        script *s = text_script(fx, "m");
        cadre_entry entry = entry_of(s);
        entry.pinned = pinned;
        entry.min_workers = !pinned;
        add(fx, &entry);
        until_workers(fx, "m", 1);
        settle(fx);
        assert_status(remove_now(fx, "m").status, 0);
        assert_int_equal(atomic_load(&s->destroyed), 1);
        assert_int_equal(atomic_load(&s->made), 1);
        fixture_end(fx);
    }
}

static void a_close_ends_a_removal_and_an_unload(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = added(fx, "m", 100), *other = added(fx, "n", 100);
    serve_once(s);
    serve_once(other);
    script_hold(s, OP_DESTROY);
    script_hold(other, OP_DESTROY);
    told removal = {0}, unload = {0};
    assert_status(cadre_registry_remove(fx->pool, "m", on_told, &removal), 0);
    assert_status(cadre_model_unload(fx->pool, "n", on_told, &unload), 0);
    script_until(s, OP_DESTROY, 1);
    script_until(other, OP_DESTROY, 1);
    fixture_start_close(fx, NULL);
    run_until_int(fx, &removal.count, 1);
    run_until_int(fx, &unload.count, 1);
    assert_status(removal.status, CADRE_ECLOSED);
    assert_status(unload.status, CADRE_ECLOSED);
    scripts_open(fx);
    fixture_end(fx);
}

#define SUITE additions
#include "suite.h"
