/* Close, like libuv's: it never waits, drains, then cancels, then counts what it could not wait for; after its callback nothing is left. And the port, which
 * outlives the pool. */
#include "scripted.h"

static void an_idle_pool_does_not_hold_the_loop(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    assert_int_equal(uv_run(&fx->loop, UV_RUN_DEFAULT), 0);
    script *s = script_new(fx, CADRE_TEXT_TO_TEXT, KIND_BLOCKING, "m");
    script_spawn(s);
    assert_int_equal(uv_run(&fx->loop, UV_RUN_DEFAULT), 0); /* a load holds it until it is done */
    assert_int_equal(s->ready_ok, 1);
    answer *a = ask(s, "hello");
    assert_int_equal(uv_run(&fx->loop, UV_RUN_DEFAULT), 0); /* and so does a request */
    assert_answered(s, a, "hello");
    assert_int_equal(uv_run(&fx->loop, UV_RUN_DEFAULT), 0);
    fixture_start_close(fx, NULL);
    assert_int_equal(uv_run(&fx->loop, UV_RUN_DEFAULT), 0); /* and a close */
    assert_true(fx->closed);
    fixture_end(fx);
}

static void on_posted_once(cadre_pool *pool, void *data)
{
    (void)pool;
    ++*(int *)data;
}

static void on_far(uv_timer_t *timer)
{
    (void)timer;
}

/* A host that turns its loop by UV_RUN_ONCE until something has happened: the turn in which it happens returns, although nothing else would end the poll. */
static void a_host_that_runs_its_loop_once_at_a_time_is_not_held_after_a_callback(void **state)
{
    (void)state;
    uv_loop_t loop;
    uv_timer_t far; /* keeps the loop alive, and would end the poll after the watchdog only */
    cadre_pool *pool = NULL;
    int ran = 0;
    assert_int_equal(uv_loop_init(&loop), 0);
    uv_timer_init(&loop, &far);
    uv_timer_start(&far, on_far, 1000000000, 0);
    assert_status(cadre_pool_create(&pool, &loop, NULL), 0);
    cadre_port *port = cadre_pool_port(pool);
    for (int i = 1; i <= 3; i++) {
        assert_status(cadre_port_post(port, on_posted_once, &ran), 0);
        while (ran < i) uv_run(&loop, UV_RUN_ONCE);
    }
    cadre_port_release(port);
    uv_close((uv_handle_t *)&far, NULL);
    assert_status(cadre_pool_close(pool, NULL, NULL), 0);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void a_close_with_nothing_to_do_calls_back_once_and_never_inside(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    fixture_start_close(fx, NULL);
    assert_status(cadre_pool_close(fx->pool, NULL, NULL), CADRE_EALREADY);
    fixture_end(fx);
}

static void a_close_needs_no_callback_and_no_options(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    guard_allow_join();
    assert_status(cadre_pool_close(fx->pool, NULL, NULL), 0);
    assert_int_equal(uv_run(&fx->loop, UV_RUN_DEFAULT), 0);
    fx->closed = true;
    fixture_end(fx);
}

static void what_was_accepted_is_drained_and_nothing_new_is_taken(void **state)
{
    (void)state;
    for (int c = 0; c < CADRE_CAPABILITY_COUNT; c++) {
        row("%s", cadre_capability_name((cadre_capability)c));
        fixture *fx = fixture_begin();
        script *s = script_ready(fx, (cadre_capability)c, "m"), *loading = script_new(fx, (cadre_capability)c, KIND_BLOCKING, "loading");
        script_hold(s, script_work(s));
        script_hold(loading, OP_LOAD);
        script_spawn(loading);
        answer *running = ask(s, "running"), *waiting = ask(loading, "waiting");
        script_until(s, script_work(s), 1);
        answer *queued = ask(s, "queued");
        fixture_start_close(fx, NULL);
        answer *late = answer_new(fx);
        assert_status(submit(s, late, "late", NULL), CADRE_ECLOSED);
        script *another = script_new(fx, (cadre_capability)c, KIND_BLOCKING, "another");
        assert_status(script_spawn_with(another, NULL, NULL), CADRE_ECLOSED);
        cadre_reservation *reservation = NULL;
        assert_status(cadre_memory_try_reserve(fx->pool, NULL, 0, &reservation), CADRE_ECLOSED);
        settle(fx);
        assert_false(fx->closed);
        script_open(s, script_work(s));
        script_open(loading, OP_LOAD);
        until_all_done(fx);
        assert_answered(s, running, "running");
        assert_answered(s, queued, "queued");
        assert_answered(loading, waiting, "waiting");
        fixture_end(fx);
    }
}

static void a_drain_of_zero_cancels_at_once(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    script *s = script_ready(fx, CADRE_TEXT_TO_TEXT, "m");
    script_hold(s, OP_GENERATE);
    answer *running = ask(s, "running");
    script_until(s, OP_GENERATE, 1);
    answer *queued = ask(s, "queued");
    cadre_close_options options = CADRE_CLOSE_OPTIONS_INIT;
    options.drain_ms = 0;
    fixture_start_close(fx, &options);
    until_all_done(fx);
    assert_status(running->status, CADRE_ECLOSED);
    assert_status(queued->status, CADRE_ECLOSED);
    assert_false(fx->closed); /* the worker is still inside */
    fixture_end(fx);
}

static void a_thread_that_does_not_return_is_abandoned_and_counted(void **state)
{
    (void)state;
    for (int where = 0; where < 3; where++) {
        static const script_op ops[] = {OP_GENERATE, OP_LOAD, OP_DESTROY};
        row("in %s", op_name(ops[where]));
        fixture *fx = fixture_begin();
        script *s = script_new(fx, CADRE_TEXT_TO_TEXT, KIND_BLOCKING, "m");
        s->abandoned = true;
        script_hold(s, ops[where]);
        assert_status(script_spawn_with(s, reserve(fx, 100), NULL), 0);
        if (where != 1) script_until_ready(s, 1);
        if (where == 0) ask(s, "stuck");
        if (where < 2) script_until(s, ops[where], 1);
        cadre_close_options options = CADRE_CLOSE_OPTIONS_INIT;
        options.drain_ms = 0;
        options.abandon_after_ms = 5;
        fixture_start_close(fx, &options);
        if (where == 2) script_until(s, OP_DESTROY, 1);
        until_all_done(fx);
        settle(fx);
        assert_false(fx->closed);
        fixture_advance(fx, 5);
        fixture_close(fx, NULL);
        assert_size(fx->report.abandoned_threads, 1);
        assert_size(fx->report.held_promises, 0);
        fx->expect_report = true;
        fixture_end(fx); /* lets it go: it cleans up after itself */
    }
}

static void weights_that_the_host_still_holds_are_counted_and_destroyed_by_the_last_release(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    script *s = script_new(fx, CADRE_IMAGE_EMBEDDING, KIND_PRELOADED, "m");
    script_spawn(s);
    script_until_ready(s, 1);
    cadre_weights *weights = cadre_weights_retain(cadre_weights_future_get(s->weights));
    cadre_close_options options = CADRE_CLOSE_OPTIONS_INIT;
    options.abandon_after_ms = 5;
    fixture_start_close(fx, &options);
    scripts_let_go(fx);
    run_until_int(fx, &s->exited, 1);
    settle(fx);
    assert_false(fx->closed);
    fixture_advance(fx, 5);
    fixture_close(fx, NULL);
    assert_size(fx->report.held_weights, 1);
    fx->expect_report = true;
    assert_int_equal(atomic_load(&s->payloads_destroyed), 0);
    cadre_weights_release(weights);
    assert_int_equal(atomic_load(&s->payloads_destroyed), 1); /* on this thread */
    fixture_end(fx);
}

/* What they were charged is given back with them. */
static void charged_weights_held_past_close_leave_nothing(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    script *s = script_new(fx, CADRE_IMAGE_EMBEDDING, KIND_PRELOADED, "m");
    s->weights_promise = true;
    assert_status(script_spawn_with(s, reserve(fx, 10), NULL), 0);
    assert_status(cadre_weights_future_charge(s->weights, reserve(fx, 100)), 0);
    script_until_ready(s, 1);
    cadre_weights *weights = cadre_weights_retain(cadre_weights_future_get(s->weights));
    cadre_close_options options = CADRE_CLOSE_OPTIONS_INIT;
    options.abandon_after_ms = 5;
    fixture_start_close(fx, &options);
    scripts_let_go(fx);
    run_until_int(fx, &s->exited, 1);
    fixture_advance(fx, 5);
    fixture_close(fx, NULL);
    assert_size(fx->report.held_weights, 1);
    fx->expect_report = true;
    cadre_weights_release(weights);
    fixture_end(fx);
}

static void a_reservation_released_after_close_leaves_nothing(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    cadre_reservation *kept = reserve(fx, 10);
    fixture_close(fx, NULL);
    cadre_reservation_release(kept);
    fixture_end(fx);
}

static void weights_released_while_close_waits_are_not_counted(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    script *s = script_new(fx, CADRE_IMAGE_EMBEDDING, KIND_PRELOADED, "m");
    script_spawn(s);
    script_until_ready(s, 1);
    cadre_weights *weights = cadre_weights_retain(cadre_weights_future_get(s->weights));
    fixture_start_close(fx, NULL);
    scripts_let_go(fx);
    run_until_int(fx, &s->exited, 1);
    settle(fx);
    assert_false(fx->closed);
    cadre_weights_release(weights);
    fixture_end(fx);
}

/* ---- the port ---- */

typedef struct posted {
    fixture *fx;
    int order[64], count;
    bool close;
} posted;
typedef struct post_item {
    posted *list;
    int number;
} post_item;

static void on_posted(cadre_pool *pool, void *data)
{
    post_item *item = data;
    posted *p = item->list;
    if (pool != p->fx->pool || !fixture_on_loop(p->fx) || p->fx->calling || p->fx->closed)
        fixture_fault(p->fx, "a posted function runs off the loop, inside a call, or after close");
    p->order[p->count++] = item->number;
    if (p->close && item->number == 0) fixture_start_close(p->fx, NULL);
}

static post_item items[64];
static void post_all(void *data)
{
    posted *p = data;
    for (int i = 0; i < 64; i++) {
        items[i] = (post_item){p, i};
        if (cadre_port_post(p->fx->port, on_posted, &items[i]) != 0) fixture_fault(p->fx, "a post is refused");
    }
}

static void posts_run_once_in_order_and_before_the_close_callback(void **state)
{
    (void)state;
    for (int how = 0; how < 4; how++) {
        row("%s, %s", how & 1 ? "another thread" : "loop", how & 2 ? "the first one closes" : "no close");
        fixture *fx = fixture_begin();
        posted p = {.fx = fx, .close = how & 2};
        helper h;
        fx->calling++;
        if (how & 1) {
            helper_start(&h, post_all, &p);
            helper_join(&h);
        } else {
            post_all(&p);
        }
        fx->calling--;
        assert_int_equal(p.count, 0);
        run_until_int(fx, &p.count, 64);
        for (int i = 0; i < 64; i++) assert_int_equal(p.order[i], i);
        fixture_end(fx);
        assert_int_equal(p.count, 64);
    }
}

static void after_close_the_port_answers_eclosed(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    posted p = {.fx = fx};
    items[0] = (post_item){&p, 0};
    cadre_port *another = cadre_port_retain(fx->port);
    assert_ptr_equal(another, fx->port);
    fixture_close(fx, NULL);
    assert_status(cadre_port_post(another, on_posted, &items[0]), CADRE_ECLOSED);
    assert_status(cadre_port_cancel(another, 1), CADRE_ECLOSED);
    cadre_port_release(another);
    fixture_end(fx);
    assert_int_equal(p.count, 0);
}

static void count_posted(cadre_pool *pool, void *data)
{
    (void)pool;
    ++*(int *)data;
}
static struct race {
    fixture *fx;
    int ran, accepted;
} race;
static void post_in_a_race(void *data)
{
    struct race *r = data;
    while (cadre_port_post(r->fx->port, count_posted, &r->ran) == 0) r->accepted++;
}

static void every_accepted_post_runs_even_in_a_race_with_close(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        fixture *fx = fixture_begin();
        race = (struct race){.fx = fx};
        helper h;
        helper_start(&h, post_in_a_race, &race);
        run_until_int(fx, &race.ran, 10);
        fixture_close(fx, NULL);
        helper_join(&h);
        assert_int_equal(race.ran, race.accepted);
        fixture_end(fx);
    }
}

/* Ten thousand messages that come at once do not hold the loop: each turn serves a part of them, also with a clock that stands still. */
static void a_burst_is_served_in_parts(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    int ran = 0, parts = 0;
    for (int i = 0; i < 10000; i++) assert_status(cadre_port_post(fx->port, count_posted, &ran), 0);
    for (; ran < 10000; parts++) {
        int before = ran;
        fixture_turn(fx);
        assert_true(ran - before < 10000);
    }
    assert_true(parts > 1);
    fixture_end(fx);
}

/* Promises that are resolved just when close stops waiting for them: each value is either taken, and destroyed once and off the loop, or refused and untouched.
 */
#define HELD 200
static struct late {
    fixture *fx;
    cadre_weights_promise *promises[HELD];
    atomic_int destroyed[HELD];
    int answers[HELD];
    gate go;
} late;

static void late_destroy(void *payload)
{
    if (fixture_on_loop(late.fx)) fixture_fault(late.fx, "a value that was taken is destroyed on the loop");
    atomic_fetch_add((atomic_int *)payload, 1);
}

static void resolve_late(void *data)
{
    (void)data;
    gate_wait(&late.go);
    for (int i = 0; i < HELD; i++) {
        cadre_weights_value value = {sizeof value, &late.destroyed[i], late_destroy, NULL};
        late.answers[i] = cadre_weights_promise_resolve(late.promises[i], &value);
        cadre_weights_promise_release(late.promises[i]);
    }
}

static void a_race_of_late_resolves_with_the_end_of_close_loses_no_value(void **state)
{
    (void)state;
    for (int round = 0; round < 100; round++) {
        fixture *fx = fixture_begin();
        memset(&late, 0, sizeof late);
        late.fx = fx;
        gate_init(&late.go);
        gate_hold(&late.go);
        for (int i = 0; i < HELD; i++) {
            cadre_weights_future *future = NULL;
            assert_status(cadre_weights_promise_create(fx->pool, &late.promises[i], &future), 0);
            cadre_weights_future_release(future);
        }
        helper h;
        helper_start(&h, resolve_late, NULL);
        cadre_close_options options = CADRE_CLOSE_OPTIONS_INIT;
        options.drain_ms = 0;
        options.abandon_after_ms = 5;
        fixture_start_close(fx, &options);
        settle(fx);
        if (round % 2) gate_open(&late.go);
        fixture_advance(fx, 5);
        if (round % 2 == 0) gate_open(&late.go);
        fixture_close(fx, NULL);
        helper_join(&h);
        fx->expect_report = true;
        fixture_end(fx);
        gate_destroy(&late.go);
        for (int i = 0; i < HELD; i++) {
            bool taken = late.answers[i] == 0 || late.answers[i] == CADRE_EALREADY;
            if (!taken) assert_status(late.answers[i], CADRE_ECLOSED);
            assert_int_equal(atomic_load(&late.destroyed[i]), taken);
        }
    }
}

/* ---- two pools ---- */

static pthread_barrier_t both_are_open;

static void serve_on_a_loop_of_its_own(void *data)
{
    atomic_int *served = data;
    fixture *fx = fixture_begin();
    guard_leave();
    pthread_barrier_wait(
        &both_are_open); /* the number of a closed descriptor is not used again meanwhile, which ThreadSanitizer could not follow through libuv */
    guard_enter();
    script *s = script_ready(fx, CADRE_TEXT_TO_TEXT, "m");
    for (int i = 0; i < 50; i++) {
        answer *a = ask(s, "hello");
        until_done(a);
        assert_answered(s, a, "hello");
        atomic_fetch_add(served, 1);
    }
    guard_leave();
    pthread_barrier_wait(&both_are_open);
    guard_enter();
    fixture_end(fx);
}

static void two_pools_on_two_loops_do_not_meet(void **state)
{
    (void)state;
    atomic_int served = 0;
    helper h[2];
    several_fixtures = true;
    pthread_barrier_init(&both_are_open, NULL, 2);
    for (int i = 0; i < 2; i++) helper_start(&h[i], serve_on_a_loop_of_its_own, &served);
    for (int i = 0; i < 2; i++) helper_join(&h[i]);
    pthread_barrier_destroy(&both_are_open);
    several_fixtures = false;
    assert_int_equal(atomic_load(&served), 100);
}

static void on_second_closed(cadre_pool *pool, const cadre_close_report *report, void *data)
{
    (void)pool;
    (void)report;
    ++*(int *)data;
}

static void two_pools_share_a_loop(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    cadre_pool *second = NULL;
    assert_status(cadre_pool_create(&second, &fx->loop, NULL), 0); /* with malloc and the system's clock */
    assert_ptr_equal(cadre_pool_loop(second), &fx->loop);
    script *s = script_ready(fx, CADRE_TEXT_TO_TEXT, "m");
    answer *a = ask(s, "hello");
    until_done(a);
    int closed = 0;
    cadre_close_options options = CADRE_CLOSE_OPTIONS_INIT;
    options.data = &closed;
    guard_allow_join();
    assert_status(cadre_pool_close(second, &options, on_second_closed), 0);
    run_until_int(fx, &closed, 1);
    answer *b = ask(s, "hello");
    until_done(b);
    assert_answered(s, b, "hello");
    fixture_end(fx);
}

static void a_thousand_pools_leave_nothing(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++) {
        fixture *fx = fixture_begin();
        if (i % 2) fixture_turn(fx);
        fixture_end(fx);
    }
}

#define SUITE close
#include "suite.h"
