/* Spawning, as a table: each scenario runs for five capabilities × the kinds of loader. After `ready` nothing can tell which kind it was, and every reservation
 * comes back. */
#include "scripted.h"

#define WEIGHT 1000u
#define ANY_CAPABILITY (-1)

typedef struct spawn_case {
    const char *name;
    void (*run)(fixture *fx, cadre_capability capability, script_kind kind);
    unsigned kinds; /* bits of script_kind for which it makes sense */
    int loads_at_once;
    int64_t abandon_after_ms;
} spawn_case;
#define KINDS_ALL 0xfu
#define KIND_BIT(kind) (1u << (kind))

static script *held_load(fixture *fx, cadre_capability capability, script_kind kind)
{
    script *s = script_new(fx, capability, kind, "model");
    script_hold(s, OP_LOAD);
    return s;
}

static void spawn_charged(script *s, const cadre_spawn_options *options)
{
    cadre_reservation *owned = reserve(s->fx, WEIGHT);
    assert_status(script_spawn_with(s, owned, options), 0);
    assert_size(charged(s->fx, 0), WEIGHT);
}

static void assert_state(script *s, cadre_worker_state state)
{
    cadre_worker_info info = CADRE_WORKER_INFO_INIT;
    assert_status(cadre_worker_get_info(s->fx->pool, s->worker, &info), 0);
    assert_string_equal(cadre_worker_state_name(info.state), cadre_worker_state_name(state));
    assert_string_equal(info.key, s->key);
    assert_int_equal(info.capability, s->capability);
    assert_true(info.id == s->worker);
}

static bool nothing_charged(void *data)
{
    return charged(data, 0) == 0 && reservations(data, 0) == 0;
}
static bool worker_gone(void *data)
{
    script *s = data;
    cadre_worker_info info = CADRE_WORKER_INFO_INIT;
    return cadre_worker_get_info(s->fx->pool, s->worker, &info) == CADRE_ESTALE;
}

static void assert_failed(script *s, int status, const char *detail)
{
    script_until_ready(s, 1);
    assert_status(s->ready_status, status);
    if (detail) assert_contains(s->ready_detail, detail);
    assert_true(s->ready_detail[0] != '\0');
    run_until(s->fx, worker_gone, s);
    assert_status(cadre_worker_stop(s->fx->pool, s->worker), CADRE_ESTALE);
}

/* ---- scenarios ---- */

static void success(fixture *fx, cadre_capability capability, script_kind kind)
{
    script *s = held_load(fx, capability, kind);
    spawn_charged(s, NULL);
    assert_int_equal(s->ready, 0);
    script_until(s, OP_LOAD, 1);
    settle(fx);
    assert_int_equal(s->ready, 0); /* "ready" before anything was loaded */
    assert_state(s, CADRE_WORKER_LOADING);
    assert_size(model_info(fx, s->key).workers_loading, 1);
    assert_size(model_info(fx, s->key).workers_ready, 0);
    script_hold(s, OP_ATTACH);
    script_open(s, OP_LOAD);
    script_until(s, OP_ATTACH, 1);
    settle(fx);
    assert_int_equal(s->ready, 0);
    assert_state(s, CADRE_WORKER_ATTACHING);
    script_open(s, OP_ATTACH);
    script_until_ready(s, 1);
    assert_status(s->ready_status, 0);
    assert_state(s, CADRE_WORKER_READY);
    run_until_atomic(fx, &s->released, 1);
    cadre_model_info info = model_info(fx, s->key);
    assert_size(info.workers_loading, 0);
    assert_size(info.workers_ready, 1);
    bool embeds = script_work(s) == OP_EMBED, streams = capability_streams(capability);
    assert_size(info.dimension, embeds ? s->dimension : 0);
    assert_size(info.context_length, streams || capability == CADRE_TEXT_EMBEDDING ? s->context_length : 0);
    assert_size(info.slots, embeds ? s->max_batch : 1);
    answer *a = ask(s, "hello");
    until_done(a);
    assert_answered(s, a, "hello");
    assert_state(s, CADRE_WORKER_IDLE);
    assert_size(charged(fx, 0), WEIGHT);
    script_hold(s, OP_DESTROY);
    assert_status(cadre_worker_stop(fx->pool, s->worker), 0);
    assert_status(cadre_worker_stop(fx->pool, s->worker), CADRE_EALREADY);
    script_until(s, OP_DESTROY, 1);
    settle(fx);
    assert_size(charged(fx, 0), WEIGHT); /* the memory is not back before destroy has returned */
    assert_int_equal(s->exited, 0);
    script_open(s, OP_DESTROY);
    run_until_int(fx, &s->exited, 1);
    assert_status(s->exit_status, 0);
    assert_size(charged(fx, 0), 0);
    /* The same trace for all kinds. */
    assert_string_equal(script_trace(s), embeds ? "attach embed:hello destroy" : "attach generate:hello destroy");
}

static void failure_with_detail(fixture *fx, cadre_capability capability, script_kind kind)
{
    script *s = script_new(fx, capability, kind, "model");
    atomic_store(&s->status[OP_LOAD], UV_ENOENT);
    s->detail = "tensor blk.0 is missing";
    spawn_charged(s, NULL);
    assert_failed(s, UV_ENOENT, "tensor blk.0 is missing");
    run_until(fx, nothing_charged, fx);
    assert_int_equal(atomic_load(&s->made), 0);
}

static void make_fails(fixture *fx, cadre_capability capability, script_kind kind)
{
    script *s = script_new(fx, capability, kind, "model");
    s->make_status = CADRE_EFORMAT;
    s->detail = "no such context";
    spawn_charged(s, NULL);
    assert_failed(s, CADRE_EFORMAT, "no such context");
    run_until(fx, nothing_charged, fx);
}

static void attach_fails(fixture *fx, cadre_capability capability, script_kind kind)
{
    script *s = script_new(fx, capability, kind, "model");
    atomic_store(&s->status[OP_ATTACH], CADRE_EENGINE);
    s->detail = "no compute threads";
    spawn_charged(s, NULL);
    assert_failed(s, CADRE_EENGINE, "no compute threads");
    run_until(fx, nothing_charged, fx);
    assert_string_equal(script_trace(s), "attach destroy");
}

static void cancel_before_start(fixture *fx, cadre_capability capability, script_kind kind)
{
    script *s = script_new(fx, capability, kind, "model");
    spawn_charged(s, NULL);
    fx->calling++;
    assert_status(cadre_worker_stop(fx->pool, s->worker), 0);
    fx->calling--;
    assert_int_equal(s->ready, 0);
    assert_failed(s, CADRE_ECANCELED, NULL);
    run_until(fx, nothing_charged, fx);
    assert_int_equal(atomic_load(&s->begun[OP_ATTACH]), 0);
}

static void cancel_in_flight(fixture *fx, cadre_capability capability, script_kind kind)
{
    script *s = held_load(fx, capability, kind);
    spawn_charged(s, NULL);
    script_until(s, OP_LOAD, 1);
    assert_status(cadre_worker_stop(fx->pool, s->worker), 0);
    assert_status(cadre_worker_stop(fx->pool, s->worker), CADRE_EALREADY);
    /* The host hears at once, while the load goes on. */
    script_until_ready(s, 1);
    assert_status(s->ready_status, CADRE_ECANCELED);
    /* A blocking load still has the memory. */
    if (kind == KIND_BLOCKING) {
        settle(fx);
        assert_size(charged(fx, 0), WEIGHT);
    }
    script_open(s, OP_LOAD);
    script_until_ended(s, OP_LOAD, 1);
    run_until(fx, nothing_charged, fx);
    if (kind != KIND_PRELOADED) assert_int_equal(atomic_load(&s->load_cancel_seen), 1);
    assert_int_equal(atomic_load(&s->begun[OP_ATTACH]), 0);
}

static void cancel_while_attaching(fixture *fx, cadre_capability capability, script_kind kind)
{
    script *s = script_new(fx, capability, kind, "model");
    script_hold(s, OP_ATTACH);
    spawn_charged(s, NULL);
    script_until(s, OP_ATTACH, 1);
    assert_status(cadre_worker_stop(fx->pool, s->worker), 0);
    script_open(s, OP_ATTACH);
    script_until_ready(s, 1);
    assert_status(s->ready_status, CADRE_ECANCELED);
    run_until(fx, nothing_charged, fx);
    assert_string_equal(script_trace(s), "attach destroy");
}

static void deadline(fixture *fx, cadre_capability capability, script_kind kind)
{
    script *s = held_load(fx, capability, kind);
    cadre_spawn_options options = CADRE_SPAWN_OPTIONS_INIT;
    options.load_timeout_ms = 5;
    spawn_charged(s, &options);
    script_until(s, OP_LOAD, 1);
    fixture_advance(fx, 4);
    settle(fx);
    assert_int_equal(s->ready, 0);
    fixture_advance(fx, 1);
    script_until_ready(s, 1);
    assert_status(s->ready_status, CADRE_ETIMEDOUT);
    script_open(s, OP_LOAD);
    run_until(fx, nothing_charged, fx);
}

static bool reported(void *data)
{
    return ((script *)data)->progressed > 0;
}

static void stall(fixture *fx, cadre_capability capability, script_kind kind)
{
    script *s = held_load(fx, capability, kind);
    cadre_spawn_options options = CADRE_SPAWN_OPTIONS_INIT;
    options.stall_timeout_ms = 5;
    spawn_charged(s, &options);
    run_until(fx, reported, s); /* half done, and then silence */
    assert_true(s->last_fraction == 0.5);
    fixture_advance(fx, 5);
    script_until_ready(s, 1);
    assert_status(s->ready_status, CADRE_ETIMEDOUT);
    script_open(s, OP_LOAD);
    run_until(fx, nothing_charged, fx);
}

static void resolved_from_another_thread(fixture *fx, cadre_capability capability, script_kind kind)
{
    script *s = script_new(fx, capability, kind, "model");
    s->weights_promise = true;
    spawn_charged(s, NULL);
    script_until_ready(s, 1);
    assert_status(s->ready_status, 0);
    answer *a = ask(s, "hi");
    until_done(a);
    assert_answered(s, a, "hi");
}

static void resolved_twice(fixture *fx, cadre_capability capability, script_kind kind)
{
    script *s = script_new(fx, capability, kind, "model");
    s->weights_promise = true;
    s->settle = SETTLE_TWICE;
    spawn_charged(s, NULL);
    script_until_ready(s, 1);
    assert_status(s->ready_status, 0);
    script_until_ended(s, OP_LOAD, 1);
    assert_int_equal(atomic_load(&s->promise_answers[0]), 1);
    assert_int_equal(atomic_load(&s->promise_answers[1]), 1);
    run_until_atomic(fx, kind == KIND_ASYNC ? &s->destroyed : &s->payloads_destroyed, 1);
    answer *a = ask(s, "hi");
    until_done(a);
    assert_answered(s, a, "hi");
}

static void dropped_promise(fixture *fx, cadre_capability capability, script_kind kind)
{
    script *s = script_new(fx, capability, kind, "model");
    s->weights_promise = true;
    s->settle = SETTLE_DROP;
    spawn_charged(s, NULL);
    assert_failed(s, CADRE_EABANDONED, NULL);
    run_until(fx, nothing_charged, fx);
}

static void loader_returns_null(fixture *fx, cadre_capability capability, script_kind kind)
{
    script *s = script_new(fx, capability, kind, "model");
    s->load_null = true;
    spawn_charged(s, NULL);
    assert_failed(s, CADRE_ELOAD, NULL);
    run_until(fx, nothing_charged, fx);
}

static void closed_while_loading(fixture *fx, cadre_capability capability, script_kind kind)
{
    script *s = held_load(fx, capability, kind);
    spawn_charged(s, NULL);
    script_until(s, OP_LOAD, 1);
    fixture_start_close(fx, NULL);
    script_until_ready(s, 1);
    assert_false(fx->closed);
    if (s->ready_status != CADRE_ECANCELED) assert_status(s->ready_status, CADRE_ECLOSED);
    script_open(s, OP_LOAD);
}

static void a_load_that_never_returns(fixture *fx, cadre_capability capability, script_kind kind)
{
    script *stuck = script_new(fx, capability, kind, "stuck"), *next = script_new(fx, capability, kind, "next");
    script_hold(stuck, OP_LOAD);
    stuck->abandoned = true;
    cadre_spawn_options options = CADRE_SPAWN_OPTIONS_INIT;
    options.load_timeout_ms = 5;
    spawn_charged(stuck, &options);
    script_until(stuck, OP_LOAD, 1);
    fixture_advance(fx, 5);
    script_until_ready(stuck, 1);
    assert_status(stuck->ready_status, CADRE_ETIMEDOUT);
    scripts_let_go(fx); /* nobody waits for the weights either */
    script_spawn(next);
    settle(fx);
    if (kind == KIND_BLOCKING) assert_int_equal(next->ready, 0); /* one loader thread, and it is taken */
    fixture_advance(fx, 7);                                      /* abandon_after_ms */
    script_until_ready(next, 1);
    assert_status(next->ready_status, 0);
    if (kind == KIND_BLOCKING) assert_size(charged(fx, 0), WEIGHT); /* the stuck load still has its memory */
    answer *a = ask(next, "hi");
    until_done(a);
    assert_answered(next, a, "hi");
    script_open(stuck, OP_LOAD);
    script_until_ended(stuck, OP_LOAD, 1);
    run_until(fx, nothing_charged, fx);
}

static void spawn_another(script *s)
{
    script *other = s->data;
    if (script_spawn_with(other, NULL, NULL) != 0) fixture_fault(s->fx, "a spawn from inside a callback");
    if (cadre_worker_stop(s->fx->pool, s->worker) != 0) fixture_fault(s->fx, "a stop from inside on_ready");
}

static void spawned_from_inside_a_callback(fixture *fx, cadre_capability capability, script_kind kind)
{
    script *s = script_new(fx, capability, kind, "first"), *other = script_new(fx, capability, kind, "second");
    s->on_ready = spawn_another;
    s->data = other;
    spawn_charged(s, NULL);
    script_until_ready(other, 1);
    assert_status(other->ready_status, 0);
    run_until_int(fx, &s->exited, 1);
    run_until(fx, nothing_charged, fx);
}

static void close_the_pool(script *s)
{
    fixture_start_close(s->fx, NULL);
}

static void closed_from_on_ready(fixture *fx, cadre_capability capability, script_kind kind)
{
    script *s = script_new(fx, capability, kind, "model");
    s->on_ready = close_the_pool;
    spawn_charged(s, NULL);
    fx->closing = true; /* fixture_end waits only */
    script_until_ready(s, 1);
}

static void two_workers_of_one_key(fixture *fx, cadre_capability capability, script_kind kind)
{
    script *s = script_new(fx, capability, kind, "model");
    s->max_batch = 1;
    script_spawn(s);
    cadre_worker_id first = s->worker;
    script_spawn(s);
    assert_true(first != s->worker);
    script_until_ready(s, 2);
    assert_int_equal(s->ready_ok, 2);
    assert_size(model_info(fx, "model").workers_ready, 2);
    /* Both are held at work: two requests, two workers. */
    script_hold(s, script_work(s));
    answer *a = ask(s, "a"), *b = ask(s, "b");
    script_until(s, script_work(s), 2);
    script_open(s, script_work(s));
    until_all_done(fx);
    assert_answered(s, a, "a");
    assert_answered(s, b, "b");
    assert_int_equal(atomic_load(&s->load_cancel_seen), 0);
    assert_status(cadre_worker_stop(fx->pool, first), 0);
    run_until_int(fx, &s->exited, 1);
    answer *c = ask(s, "c");
    until_done(c);
    assert_answered(s, c, "c");
}

static void run_case(const spawn_case *c)
{
    for (int capability = 0; capability < CADRE_CAPABILITY_COUNT; capability++)
        for (int kind = 0; kind < KIND_COUNT; kind++) {
            if (!(c->kinds & KIND_BIT(kind))) continue;
            row("%s %s %s", c->name, cadre_capability_name((cadre_capability)capability), kind_name((script_kind)kind));
            cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
            if (c->loads_at_once) options.loads_at_once = c->loads_at_once;
            if (c->abandon_after_ms) options.abandon_after_ms = c->abandon_after_ms;
            fixture *fx = fixture_begin_with(&options);
            c->run(fx, (cadre_capability)capability, (script_kind)kind);
            fixture_end(fx);
        }
}

#define SPAWN_TEST(NAME, SCENARIO, ...)                                                                                                                        \
    static void NAME(void **state)                                                                                                                             \
    {                                                                                                                                                          \
        (void)state;                                                                                                                                           \
        static const spawn_case c = {#NAME, SCENARIO, __VA_ARGS__};                                                                                            \
        run_case(&c);                                                                                                                                          \
    }
#define BY_PROMISE (KIND_BIT(KIND_ASYNC) | KIND_BIT(KIND_PRELOADED) | KIND_BIT(KIND_CHAINED))

SPAWN_TEST(after_ready_nothing_tells_the_kind_and_the_reservation_comes_back_after_destroy, success, KINDS_ALL, 0, 0)
SPAWN_TEST(a_failed_load_tells_its_error_and_detail, failure_with_detail, KINDS_ALL, 0, 0)
SPAWN_TEST(a_failing_make_function_fails_the_load, make_fails, KIND_BIT(KIND_PRELOADED) | KIND_BIT(KIND_CHAINED), 0, 0)
SPAWN_TEST(a_failing_attach_fails_the_spawn_and_destroys_on_the_workers_thread, attach_fails, KINDS_ALL, 0, 0)
SPAWN_TEST(stop_before_the_load_starts_is_ecanceled, cancel_before_start, KINDS_ALL, 0, 0)
SPAWN_TEST(stop_while_loading_is_heard_at_once_and_the_late_model_is_destroyed, cancel_in_flight, KINDS_ALL, 0, 0)
SPAWN_TEST(stop_while_attaching_is_ecanceled, cancel_while_attaching, KINDS_ALL, 0, 0)
SPAWN_TEST(a_load_has_a_deadline, deadline, KINDS_ALL, 0, 0)
SPAWN_TEST(a_load_that_falls_silent_is_failed, stall, KIND_BIT(KIND_BLOCKING) | KIND_BIT(KIND_ASYNC), 0, 0)
SPAWN_TEST(a_load_may_be_resolved_from_another_thread, resolved_from_another_thread, BY_PROMISE, 0, 0)
SPAWN_TEST(a_load_resolved_twice_keeps_the_first, resolved_twice, BY_PROMISE, 0, 0)
SPAWN_TEST(a_dropped_promise_fails_the_load, dropped_promise, BY_PROMISE, 0, 0)
SPAWN_TEST(a_loader_that_returns_null_is_eload, loader_returns_null, KINDS_ALL, 0, 0)
SPAWN_TEST(close_ends_a_load, closed_while_loading, KINDS_ALL, 0, 0)
SPAWN_TEST(a_load_that_never_returns_is_replaced_and_later_loads_go_on, a_load_that_never_returns, KIND_BIT(KIND_BLOCKING) | KIND_BIT(KIND_ASYNC), 1, 7)
SPAWN_TEST(a_worker_may_be_spawned_and_stopped_from_a_callback, spawned_from_inside_a_callback, KINDS_ALL, 0, 0)
SPAWN_TEST(the_pool_may_be_closed_from_on_ready, closed_from_on_ready, KINDS_ALL, 0, 0)
SPAWN_TEST(workers_of_one_key_serve_one_queue, two_workers_of_one_key, KINDS_ALL, 0, 0)

static void shared_weights_are_loaded_once_for_many_workers(void **state)
{
    (void)state;
    for (int c = 0; c < CADRE_CAPABILITY_COUNT; c++) {
        row("%s", cadre_capability_name((cadre_capability)c));
        fixture *fx = fixture_begin();
        script *s = script_new(fx, (cadre_capability)c, KIND_PRELOADED, "m");
        for (int i = 0; i < 4; i++) script_spawn(s);
        script_until_ready(s, 4);
        assert_int_equal(s->ready_ok, 4);
        assert_int_equal(atomic_load(&s->begun[OP_LOAD]), 1);
        scripts_let_go(fx);
        settle(fx);
        assert_int_equal(atomic_load(&s->payloads_destroyed), 0);
        fixture_end(fx);
    }
}

static void as_many_loads_run_at_once_as_there_are_loader_threads(void **state)
{
    (void)state;
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    options.loads_at_once = 2;
    fixture *fx = fixture_begin_with(&options);
    script *s = held_load(fx, CADRE_TEXT_EMBEDDING, KIND_BLOCKING);
    for (int i = 0; i < 5; i++) script_spawn(s);
    script_until(s, OP_LOAD, 2);
    settle(fx);
    assert_int_equal(atomic_load(&s->begun[OP_LOAD]), 2);
    script_pass(s, OP_LOAD, 1);
    script_until(s, OP_LOAD, 3);
    settle(fx);
    assert_int_equal(atomic_load(&s->begun[OP_LOAD]), 3);
    script_open(s, OP_LOAD);
    script_until_ready(s, 5);
    assert_int_equal(s->ready_ok, 5);
    fixture_end(fx);
}

/* The option's default is two, and a load that is stuck must not hold up a small one for ever (see above); here both run. */
static void a_small_load_is_not_stuck_behind_a_big_one(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    script *big = held_load(fx, CADRE_TEXT_TO_TEXT, KIND_BLOCKING), *small = script_new(fx, CADRE_TEXT_EMBEDDING, KIND_BLOCKING, "small");
    script_spawn(big);
    script_until(big, OP_LOAD, 1);
    script_spawn(small);
    script_until_ready(small, 1);
    assert_status(small->ready_status, 0);
    assert_int_equal(big->ready, 0);
    fixture_end(fx);
}

static void a_cancelled_load_that_waits_for_a_thread_is_never_begun(void **state)
{
    (void)state;
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    options.loads_at_once = 1;
    fixture *fx = fixture_begin_with(&options);
    script *first = script_new(fx, CADRE_VISION, KIND_BLOCKING, "first"), *second = script_new(fx, CADRE_VISION, KIND_BLOCKING, "second");
    script_hold(first, OP_LOAD);
    script_spawn(first);
    script_until(first, OP_LOAD, 1);
    spawn_charged(second, NULL);
    settle(fx);
    assert_status(cadre_worker_stop(fx->pool, second->worker), 0);
    assert_failed(second, CADRE_ECANCELED, NULL);
    run_until(fx, nothing_charged, fx);
    script_open(first, OP_LOAD);
    script_until_ready(first, 1);
    assert_int_equal(atomic_load(&second->begun[OP_LOAD]), 0);
    fixture_end(fx);
}

#define SUITE spawn
#include "suite.h"
