/* What ends, or does not, in unusual ways: promises kept beyond the close, loads that stand still, workers that hang or are stopped, callbacks that ask for
 * more, requests that outlive their entry. */
#include "room.h"

#define RETRY_MS 1000
#define STALL_MS 2000

/* How long it takes at most until the first retry is due. */
#define RETRY_DUE_MS (RETRY_MS * 5 / 4 + 1)

static void until_failures(fixture *fx, const char *key, int n)
{
    while (events_of(CADRE_EVENT_LOAD_FAILED, key, 0) < (size_t)n) settle(fx);
}

/* ---- the close ---- */

/* A loader whose promise the test keeps. */
typedef struct keeper {
    fixture *fx;
    cadre_text_to_text_promise *promise;
    int made;
    bool in_callback; /* it lets go in the close callback, else after it */
} keeper;

static cadre_text_to_text_future *load_kept(cadre_load_context *context, void *data)
{
    keeper *k = data;
    cadre_text_to_text_future *future = NULL;
    if (cadre_text_to_text_promise_create(cadre_load_pool(context), &k->promise, &future) < 0) return NULL;
    k->made++;
    return future;
}

static void on_close_of_kept(cadre_pool *pool, const cadre_close_report *report, void *data)
{
    keeper *k = data;
    if (pool != k->fx->pool || k->fx->closed) fixture_fault(k->fx, "the close callback ran twice, or with another pool");
    if (k->in_callback) cadre_text_to_text_promise_release(k->promise);
    k->fx->report = *report;
    k->fx->closed = true;
    k->fx->pool = NULL;
}

static void close_kept(keeper *k)
{
    cadre_close_options options = CADRE_CLOSE_OPTIONS_INIT;
    options.drain_ms = 0;
    options.abandon_after_ms = 5;
    options.data = k;
    guard_allow_join();
    assert_status(cadre_pool_close(k->fx->pool, &options, on_close_of_kept), 0);
    k->fx->closing = true;
}

/* The promise has a share in the worker's reservation, which knows the entry; the allocator overwrites what is freed. */
static void a_promise_kept_beyond_the_close_touches_nothing_of_its_entry(void **state)
{
    (void)state;
    for (int in_callback = 0; in_callback < 2; in_callback++) {
        row("let go %s the close callback", in_callback ? "in" : "after");
        keeper k = {.fx = registry_begin(), .in_callback = in_callback};
        fixture *fx = k.fx;
        script *s = text_script(fx, "m"); /* only to ask by */
        cadre_text_to_text_loader loader = {sizeof loader, load_kept, &k, NULL};
        cadre_entry entry = entry_of(s);
        cadre_memory_need need;
        told t = {0};
        entry_takes(&entry, &need, 0, 100);
        assert_status(cadre_registry_add_text_to_text(fx->pool, &entry, &loader, on_told, &t), 0);
        run_until_int(fx, &t.count, 1);
        assert_status(t.status, 0);
        answer *a = ask(s, "hello");
        run_until_int(fx, &k.made, 1);
        settle(fx);
        assert_size(charged(fx, 0), 100);
        close_kept(&k);
        until_done(a);
        assert_status(a->status, CADRE_ECLOSED);
        settle(fx);
        assert_false(fx->closed); /* it waits for the promise */
        fixture_advance(fx, 5);
        fixture_close(fx, NULL);
        assert_size(fx->report.held_promises, 1);
        fx->expect_report = true;
        if (!in_callback) cadre_text_to_text_promise_release(k.promise);
        fixture_end(fx);
    }
}

/* A backend of one line, which notes where it is closed. */
typedef struct closings {
    fixture *fx;
    atomic_int opened, off_loop, on_loop;
} closings;

static int noting_open(const cadre_backend *backend, cadre_backend_entry *entry, void **self)
{
    closings *c = backend->data;
    (void)entry;
    atomic_fetch_add(&c->opened, 1);
    *self = c;
    return 0;
}

static void noting_close(void *self)
{
    closings *c = self;
    atomic_fetch_add(fixture_on_loop(c->fx) ? &c->on_loop : &c->off_loop, 1);
}

static int one_line(void *self, cadre_op *op, const cadre_generation_input *input, cadre_generation_output *output)
{
    (void)self, (void)input, (void)output;
    return cadre_op_emit(op, "line", 4);
}

static int noting_make(void *self, cadre_load_context *context, cadre_weights *source, cadre_any_model *out)
{
    static const cadre_generation_ops ops = {sizeof ops, NULL, NULL, one_line, NULL, NULL, NULL};
    (void)self, (void)context, (void)source;
    out->text_to_text.ops = &ops;
    return 0;
}

static void a_backends_close_runs_off_the_loop_also_when_the_pool_closes(void **state)
{
    (void)state;
    for (int loaded = 0; loaded < 2; loaded++) {
        row("loaded %d", loaded);
        closings c = {.fx = registry_begin()};
        fixture *fx = c.fx;
        cadre_backend backend = {
            CADRE_BACKEND_VERSION, sizeof backend, "noting", 1u << CADRE_TEXT_TO_TEXT, 0, NULL, 0, noting_open, noting_close, NULL, NULL, noting_make, &c};
        assert_status(cadre_backend_register(fx->pool, &backend), 0);
        script *s = text_script(fx, "m"); /* only to ask by */
        cadre_entry entry = entry_of(s);
        entry.backend = "noting";
        add(fx, &entry);
        if (loaded) {
            answer *a = ask(s, "hello");
            until_done(a);
            assert_status(a->status, 0);
            assert_string_equal(a->text, "line");
        }
        assert_int_equal(atomic_load(&c.off_loop), 0);
        fixture_close(fx, NULL);
        assert_int_equal(atomic_load(&c.opened), 1);
        assert_int_equal(atomic_load(&c.off_loop), 1);
        assert_int_equal(atomic_load(&c.on_loop), 0);
        fixture_end(fx);
    }
}

/* ---- loads ---- */

/* Shared weights whose load has reported progress, and stands at a gate. */
static script *stalling(fixture *fx)
{
    script *s = text_script(fx, "m");
    s->obey_cancel = true;
    cadre_entry entry = entry_of(s);
    cadre_memory_need need;
    entry_takes(&entry, &need, 500, 50);
    entry.backend = "shared";
    entry.stall_timeout_ms = STALL_MS;
    entry.load_retries = 1;
    entry.retry_delay_ms = RETRY_MS;
    add(fx, &entry);
    script_hold(s, OP_LOAD);
    return s;
}

/* The load with this number is given up, and not a moment too early. */
static void until_given_up(script *s, int number)
{
    fixture *fx = s->fx;
    script_until(s, OP_LOAD, number);
    settle(fx);
    pass_time(fx, STALL_MS - 1);
    assert_size(events_of(CADRE_EVENT_LOAD_FAILED, "m", 0), number - 1);
    pass_time(fx, 2);
    until_failures(fx, "m", number);
    size_t last = 0;
    for (int i = 0; i < number; i++) last = event_after(CADRE_EVENT_LOAD_FAILED, "m", last) + 1;
    assert_status(events[last - 1].status, CADRE_ETIMEDOUT);
    assert_contains(events[last - 1].detail, "stall_timeout_ms");
}

static void shared_weights_that_stall_are_given_up_and_loaded_anew(void **state)
{
    (void)state;
    for (int returns = 0; returns < 2; returns++) {
        row("a load that is given up %s", returns ? "returns" : "stays");
        fixture *fx = registry_begin();
        script *s = stalling(fx);
        answer *a = ask(s, "one"), *b = ask(s, "two");
        for (int i = 1; i <= 2; i++) {
            until_given_up(s, i);
            if (returns) script_pass(s, OP_LOAD, 1);
            if (returns) run_until_atomic(fx, &s->load_cancel_seen, i);
            if (i == 2) break;
            settle(fx);
            assert_int_equal(a->done + b->done, 0);
            assert_int_equal(atomic_load(&s->begun[OP_LOAD]), 1);
            pass_time(fx, RETRY_DUE_MS);
        }
        until_done(a);
        until_done(b);
        assert_status(a->status, CADRE_ETIMEDOUT);
        assert_status(b->status, CADRE_ETIMEDOUT);
        assert_contains(a->detail, "stall_timeout_ms");
        script_open(s, OP_LOAD);
        run_until_atomic(fx, &s->load_cancel_seen, 2);
        until_charged(fx, 0);
        assert_int_equal(atomic_load(&s->payloads_made), 0);
        pass_time(fx, 10 * RETRY_MS);
        serve_once(s);
        assert_int_equal(atomic_load(&s->begun[OP_LOAD]), 3);
        fixture_end(fx);
    }
}

static void twice_more(cadre_entry *entry)
{
    entry->load_retries = 2;
    entry->retry_delay_ms = RETRY_MS;
}

static void an_attach_that_answers_ecanceled_is_a_failed_load(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *s = added_as(fx, "m", 100, twice_more);
    atomic_store(&s->status[OP_ATTACH], CADRE_ECANCELED);
    s->detail = "the device was taken away";
    answer *a = ask(s, "hello");
    for (int i = 1, delay = RETRY_MS; i <= 2; i++, delay *= 2) {
        until_failures(fx, "m", i);
        pass_time(fx, delay * 3 / 4 - 1);
        assert_int_equal(atomic_load(&s->begun[OP_LOAD]), i);
        assert_int_equal(a->done, 0);
        pass_time(fx, delay / 2 + 1);
        script_until(s, OP_LOAD, i + 1);
    }
    until_done(a);
    assert_status(a->status, CADRE_ECANCELED);
    assert_contains(a->detail, "the device was taken away");
    until_charged(fx, 0);
    pass_time(fx, 100000);
    assert_int_equal(atomic_load(&s->begun[OP_LOAD]), 3);
    assert_size(info_of(fx, "m").load_failures, 3);
    atomic_store(&s->status[OP_ATTACH], 0);
    serve_once(s);
    fixture_end(fx);
}

/* ---- memory ---- */

static void may_hang(cadre_entry *entry)
{
    entry->hang_timeout_ms = 200;
    entry->min_residency_ms = 100;
}

static void a_hung_worker_does_not_keep_its_models_idle_one(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(250, 2);
    script *a = added_as(fx, "a", 100, may_hang), *b = added_as(fx, "b", 150, NULL);
    script_hold(a, OP_GENERATE);
    answer *hangs = ask(a, "hangs");
    script_until(a, OP_GENERATE, 1);
    settle(fx);
    pass_time(fx, 201);
    until_done(hangs);
    assert_status(hangs->status, CADRE_EHUNG);
    assert_status(load_now(fx, "a").status, 0);
    assert_size(charged(fx, 0), 200);
    pass_time(fx, 101);
    serve(b);
    assert_state_of(fx, "a", CADRE_MODEL_COLD);
    assert_size(info_of(fx, "a").evictions, 1);
    assert_size(charged(fx, 0), 250); /* what hangs is still there */
    assert_int_equal(atomic_load(&a->destroyed), 1);
    settle(fx);
    answer *again = ask(a, "again");
    script_until(a, OP_GENERATE, 2);
    assert_size(info_of(fx, "b").evictions, 1);
    assert_size(charged(fx, 0), 200);
    assert_int_equal(again->done, 0);
    script_open(a, OP_GENERATE);
    until_done(again);
    assert_answered(a, again, "again");
    until_charged(fx, 100);
    fixture_end(fx);
}

/* Reserves, releases and reserves again, so many times; `longest`: how often without a callback of another handle of the host's in between. */
#define ROUNDS 2000
typedef struct rounds {
    int count, since, longest;
} rounds;

static void on_round(cadre_pool *pool, int status, cadre_reservation *owned, const char *detail, void *data)
{
    rounds *r = data;
    cadre_memory_amount amount = {CADRE_DEVICE_HOST, 10};
    (void)detail;
    if (status != 0) fixture_fault(cadre_pool_get_data(pool), "a reservation that fits is answered %s", cadre_err_name(status));
    if (++r->since > r->longest) r->longest = r->since;
    r->count++;
    cadre_reservation_release(owned);
    if (r->count >= ROUNDS) return;
    if (cadre_memory_reserve(pool, &amount, 1, NULL, on_round, r, NULL) != 0) fixture_fault(cadre_pool_get_data(pool), "a reservation is refused");
}

static void on_other(uv_idle_t *idle)
{
    rounds *r = idle->data;
    r->since = 0;
}

static void who_reserves_again_in_the_callback_does_not_hold_the_loop(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(1000, 2);
    cadre_memory_amount amount = {CADRE_DEVICE_HOST, 10};
    rounds r = {0};
    uv_idle_t other;
    assert_int_equal(uv_idle_init(&fx->loop, &other), 0);
    other.data = &r;
    assert_int_equal(uv_idle_start(&other, on_other), 0);
    assert_status(cadre_memory_reserve(fx->pool, &amount, 1, NULL, on_round, &r, NULL), 0);
    assert_int_equal(r.count, 0);
    run_until_int(fx, &r.count, ROUNDS);
    assert_true(r.longest <= ROUNDS / 4);
    assert_size(charged(fx, 0), 0);
    uv_close((uv_handle_t *)&other, NULL);
    fixture_end(fx);
}

static void pin(cadre_entry *entry)
{
    entry->pinned = 1;
}

static void a_pinned_model_whose_worker_was_stopped_comes_back_when_its_memory_is_free(void **state)
{
    (void)state;
    fixture *fx = registry_begin_with(250, 2);
    script *s = added_as(fx, "m", 150, pin);
    until_workers(fx, "m", 1);
    script_hold(s, OP_GENERATE);
    answer *slow = ask(s, "slow");
    script_until(s, OP_GENERATE, 1);
    settle(fx);
    cadre_worker_id worker = events[event_after(CADRE_EVENT_WORKER_READY, "m", 0)].worker;
    assert_status(cadre_worker_stop(fx->pool, worker), 0);
    answer *next = ask(s, "next");
    for (int i = 0; i < 3; i++) {
        pass_time(fx, 10000);
        assert_state_of(fx, "m", CADRE_MODEL_WAITING);
        assert_int_equal(slow->done + next->done, 0);
    }
    script_open(s, OP_GENERATE);
    until_done(slow);
    until_done(next);
    assert_answered(s, slow, "slow");
    assert_answered(s, next, "next");
    assert_size(charged(fx, 0), 150);
    assert_int_equal(atomic_load(&s->made), 2);
    assert_size(info_of(fx, "m").load_failures, 0);
    fixture_end(fx);
}

/* ---- removal ---- */

static void a_key_is_free_again_while_a_request_of_its_former_entry_holds_pieces(void **state)
{
    (void)state;
    static const cadre_capability later[] = {CADRE_TEXT_TO_TEXT, CADRE_TEXT_EMBEDDING};
    for (size_t i = 0; i < COUNT(later); i++) {
        row("added again as %s", cadre_capability_name(later[i]));
        fixture *fx = registry_begin();
        script *s = added(fx, "m", 100);
        answer *a = ask(s, "held");
        a->silent = true;
        assert_status(cadre_request_pause(fx->pool, a->id), 0);
        script_until_ended(s, OP_GENERATE, 1);
        assert_status(remove_now(fx, "m").status, 0);
        assert_size(charged(fx, 0), 0);
        assert_int_equal(a->done, 0);
        script *again = script_new(fx, later[i], KIND_BLOCKING, "m");
        cadre_entry entry = entry_of(again);
        add(fx, &entry);
        serve_once(again);
        assert_int_equal(a->done, 0);
        a->silent = false;
        assert_status(cadre_request_resume(fx->pool, a->id), 0);
        until_done(a);
        assert_answered(s, a, "held");
        serve_once(again);
        fixture_end(fx);
    }
}

#define SUITE endings
#include "suite.h"
