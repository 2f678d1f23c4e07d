/* Futures: the first event wins, everyone who waits hears once, and a late value is destroyed off the loop. */
#include "scripted.h"

/* What one waiter heard. */
typedef struct heard {
    fixture *fx;
    int times, status;
    char detail[128];
    void (*then)(struct heard *h, cadre_future *future);
    cadre_future *other;
} heard;

static void on_complete(cadre_future *future, int status, const char *detail, void *data)
{
    heard *h = data;
    if (!fixture_on_loop(h->fx) || h->fx->calling) fixture_fault(h->fx, "on_complete inside a call, or off the loop");
    if (cadre_future_status(future) != status) fixture_fault(h->fx, "on_complete's status is %d, the future's %d", status, cadre_future_status(future));
    if (strcmp(detail, cadre_future_detail(future)) != 0) fixture_fault(h->fx, "on_complete's detail is not the future's");
    h->times++;
    h->status = status;
    snprintf(h->detail, sizeof h->detail, "%s", detail);
    if (h->then) h->then(h, future);
}

static void await(heard *h, fixture *fx, cadre_future *future)
{
    *h = (heard){.fx = fx};
    fx->calling++;
    assert_status(cadre_future_on_complete(future, on_complete, h), 0);
    fx->calling--;
    assert_int_equal(h->times, 0);
}

/* A payload whose destruction is counted, off the loop. */
typedef struct parcel {
    fixture *fx;
    atomic_int destroyed;
} parcel;

static void parcel_destroy(void *payload)
{
    parcel *p = payload;
    if (fixture_on_loop(p->fx) && !p->fx->closed) fixture_fault(p->fx, "a value is destroyed on the loop");
    atomic_fetch_add(&p->destroyed, 1);
    fixture_wake(p->fx);
}

static cadre_weights_value parcel_value(parcel *p)
{
    return (cadre_weights_value){sizeof(cadre_weights_value), p, parcel_destroy, NULL};
}

/* A pending pair, and what may happen to it. */
typedef struct pair {
    fixture *fx;
    cadre_weights_promise *promise;
    cadre_weights_future *future;
    parcel parcel, second;
    int answers[2];
} pair;

static cadre_future *untyped(pair *p)
{
    return cadre_weights_future_untyped(p->future);
}
static cadre_promise *untyped_promise(pair *p)
{
    return cadre_weights_promise_untyped(p->promise);
}

static void pair_create(pair *p, fixture *fx)
{
    memset(p, 0, sizeof *p);
    p->fx = p->parcel.fx = p->second.fx = fx;
    assert_status(cadre_weights_promise_create(fx->pool, &p->promise, &p->future), 0);
    assert_status(cadre_future_status(untyped(p)), CADRE_EAGAIN);
    assert_string_equal(cadre_future_detail(untyped(p)), "");
    assert_null(cadre_weights_future_get(p->future));
    assert_int_equal(cadre_promise_cancelled(untyped_promise(p)), 0);
}

static void resolve(void *data)
{
    pair *p = data;
    cadre_weights_value value = parcel_value(&p->parcel);
    p->answers[0] = cadre_weights_promise_resolve(p->promise, &value);
}

static void resolve_twice(void *data)
{
    pair *p = data;
    cadre_weights_value value = parcel_value(&p->second);
    resolve(data);
    p->answers[1] = cadre_weights_promise_resolve(p->promise, &value);
}

static void break_it(void *data)
{
    pair *p = data;
    char detail[] = "disc full";
    p->answers[0] = cadre_weights_promise_fail(p->promise, UV_ENOSPC, detail);
    memset(detail, 'x', sizeof detail - 1); /* it was copied */
}

static void drop(void *data)
{
    pair *p = data;
    cadre_weights_promise_release(p->promise);
    p->promise = NULL;
}

static void elsewhere(void (*run)(void *data), pair *p)
{
    helper h;
    helper_start(&h, run, p);
    helper_join(&h);
}

/* Releases both handles and ends: every value that was taken has been destroyed, once. */
static void pair_end(pair *p)
{
    cadre_weights_promise_release(p->promise);
    cadre_weights_future_release(p->future);
    fixture *fx = p->fx;
    parcel *first = &p->parcel, *second = &p->second;
    bool took = p->answers[0] == 0 || p->answers[0] == CADRE_EALREADY;
    fixture_end(fx);
    if (took && atomic_load(&first->destroyed) > 1) fail_msg("a value is destroyed %d times", atomic_load(&first->destroyed));
    assert_true(atomic_load(&second->destroyed) <= 1);
}

static void a_ready_future_is_resolved_from_the_start(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    parcel p = {.fx = fx};
    cadre_weights_value value = parcel_value(&p);
    cadre_weights_future *future = cadre_weights_future_ready(fx->pool, &value);
    assert_non_null(future);
    assert_status(cadre_weights_future_status(future), 0);
    assert_ptr_equal(cadre_weights_payload(cadre_weights_future_get(future)), &p);
    heard h;
    await(&h, fx, cadre_weights_future_untyped(future));
    run_until_int(fx, &h.times, 1);
    assert_status(h.status, 0);
    assert_string_equal(h.detail, "");
    assert_int_equal(atomic_load(&p.destroyed), 0);
    cadre_weights_future_release(future);
    run_until_atomic(fx, &p.destroyed, 1);
    fixture_end(fx);
    assert_int_equal(atomic_load(&p.destroyed), 1);
}

static void a_failed_future_has_its_error_and_detail(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    cadre_weights_future *future = cadre_weights_future_failed(fx->pool, CADRE_EFORMAT, "not a GGUF file");
    assert_non_null(future);
    assert_status(cadre_weights_future_status(future), CADRE_EFORMAT);
    assert_string_equal(cadre_weights_future_detail(future), "not a GGUF file");
    assert_null(cadre_weights_future_get(future));
    heard h;
    await(&h, fx, cadre_weights_future_untyped(future));
    run_until_int(fx, &h.times, 1);
    assert_status(h.status, CADRE_EFORMAT);
    assert_string_equal(h.detail, "not a GGUF file");
    cadre_weights_future_release(future);
    fixture_end(fx);
}

static void a_promise_resolves_from_any_thread(void **state)
{
    (void)state;
    for (int on_loop = 0; on_loop < 2; on_loop++) {
        row(on_loop ? "loop" : "another thread");
        pair p;
        fixture *fx = fixture_begin();
        heard h;
        pair_create(&p, fx);
        await(&h, fx, untyped(&p));
        fx->calling++;
        if (on_loop)
            resolve(&p);
        else
            elsewhere(resolve, &p);
        fx->calling--;
        assert_status(p.answers[0], 0);
        run_until_int(fx, &h.times, 1);
        assert_status(h.status, 0);
        assert_ptr_equal(cadre_weights_payload(cadre_weights_future_get(p.future)), &p.parcel);
        assert_int_equal(atomic_load(&p.parcel.destroyed), 0);
        pair_end(&p);
        assert_int_equal(atomic_load(&p.parcel.destroyed), 1);
    }
}

static void the_second_resolve_is_already_and_destroyed_off_the_loop(void **state)
{
    (void)state;
    for (int on_loop = 0; on_loop < 2; on_loop++) {
        pair p;
        fixture *fx = fixture_begin();
        pair_create(&p, fx);
        if (on_loop)
            resolve_twice(&p);
        else
            elsewhere(resolve_twice, &p);
        assert_status(p.answers[0], 0);
        assert_status(p.answers[1], CADRE_EALREADY);
        run_until_atomic(fx, &p.second.destroyed, 1);
        heard h;
        await(&h, fx, untyped(&p));
        run_until_int(fx, &h.times, 1);
        assert_status(h.status, 0);
        assert_status(cadre_weights_promise_fail(p.promise, CADRE_ELOAD, "late"), CADRE_EALREADY);
        assert_int_equal(atomic_load(&p.parcel.destroyed), 0);
        pair_end(&p);
        assert_int_equal(atomic_load(&p.parcel.destroyed), 1);
    }
}

static void a_failed_promise_tells_everyone_why(void **state)
{
    (void)state;
    pair p;
    fixture *fx = fixture_begin();
    heard h[3];
    pair_create(&p, fx);
    for (int i = 0; i < 2; i++) await(&h[i], fx, untyped(&p));
    elsewhere(break_it, &p);
    assert_status(p.answers[0], 0);
    run_until_int(fx, &h[1].times, 1);
    await(&h[2], fx, untyped(&p)); /* settled: it hears all the same */
    run_until_int(fx, &h[2].times, 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(h[i].times, 1);
        assert_status(h[i].status, UV_ENOSPC);
        assert_string_equal(h[i].detail, "disc full");
    }
    p.answers[0] = CADRE_EINVAL; /* nothing was taken */
    pair_end(&p);
}

static void a_dropped_promise_fails_with_eabandoned(void **state)
{
    (void)state;
    for (int on_loop = 0; on_loop < 2; on_loop++) {
        pair p;
        fixture *fx = fixture_begin();
        heard h;
        pair_create(&p, fx);
        await(&h, fx, untyped(&p));
        /* A second reference: only the last release counts. */
        assert_ptr_equal(cadre_promise_retain(untyped_promise(&p)), untyped_promise(&p));
        cadre_promise_release(untyped_promise(&p));
        settle(fx);
        assert_int_equal(h.times, 0);
        if (on_loop)
            drop(&p);
        else
            elsewhere(drop, &p);
        run_until_int(fx, &h.times, 1);
        assert_status(h.status, CADRE_EABANDONED);
        pair_end(&p);
    }
}

static void count_cancel(void *data)
{
    ++*(int *)data;
}

/* What ends a pending future before its promise does. */
typedef enum ending { END_CANCEL, END_DEADLINE, END_RELEASE, END_CLOSE, END_COUNT } ending;

static void whatever_ends_a_future_first_wins_and_tells_the_promise(void **state)
{
    (void)state;
    static const char *const names[END_COUNT] = {"cancel", "deadline", "last release", "close"};
    static const int statuses[END_COUNT] = {CADRE_ECANCELED, CADRE_ETIMEDOUT, 0, CADRE_ECLOSED};
    for (int e = 0; e < END_COUNT; e++)
        for (int resolved_late = 0; resolved_late < 2; resolved_late++) {
            row("%s, %s", names[e], resolved_late ? "then resolved" : "then dropped");
            pair p;
            fixture *fx = fixture_begin();
            heard h = {.fx = fx};
            int cancels = 0;
            pair_create(&p, fx);
            assert_status(cadre_promise_on_cancel(untyped_promise(&p), count_cancel, &cancels), 0);
            if (e != END_RELEASE) await(&h, fx, untyped(&p));
            if (e == END_DEADLINE) assert_status(cadre_future_set_deadline(untyped(&p), 5), 0);
            settle(fx);
            assert_int_equal(cancels, 0);
            assert_int_equal(h.times, 0);
            fx->calling++;
            if (e == END_CANCEL) cadre_future_cancel(untyped(&p));
            if (e == END_RELEASE) cadre_weights_future_release(p.future);
            fx->calling--;
            if (e == END_RELEASE) p.future = NULL;
            if (e == END_DEADLINE) fixture_advance(fx, 5);
            if (e == END_CLOSE) fixture_start_close(fx, NULL);
            if (e != END_RELEASE) {
                run_until_int(fx, &h.times, 1);
                if (h.status != statuses[e] && !(e == END_CLOSE && h.status == CADRE_ECANCELED)) assert_status(h.status, statuses[e]);
                cadre_weights_future_release(p.future); /* before the close ends */
                p.future = NULL;
            }
            run_until_int(fx, &cancels, 1);
            assert_int_equal(cadre_promise_cancelled(untyped_promise(&p)), 1);
            if (resolved_late) {
                elsewhere(resolve, &p);
                if (p.answers[0] != 0) assert_status(p.answers[0], CADRE_EALREADY);
                run_until_atomic(fx, &p.parcel.destroyed, 1);
            } else {
                p.answers[0] = CADRE_EINVAL;
            }
            assert_int_equal(cancels, 1);
            pair_end(&p);
            assert_int_equal(atomic_load(&p.parcel.destroyed), resolved_late);
            assert_int_equal(cancels, 1);
        }
}

static void a_later_deadline_replaces_an_earlier_one_and_never_removes_it(void **state)
{
    (void)state;
    pair p;
    fixture *fx = fixture_begin();
    heard h;
    pair_create(&p, fx);
    await(&h, fx, untyped(&p));
    assert_status(cadre_future_set_deadline(untyped(&p), 5), 0);
    assert_status(cadre_future_set_deadline(untyped(&p), 20), 0);
    fixture_advance(fx, 10);
    settle(fx);
    assert_int_equal(h.times, 0);
    assert_status(cadre_future_set_deadline(untyped(&p), CADRE_NEVER), 0);
    fixture_advance(fx, 1000000);
    settle(fx);
    assert_int_equal(h.times, 0);
    assert_status(cadre_future_set_deadline(untyped(&p), 1), 0);
    fixture_advance(fx, 1);
    run_until_int(fx, &h.times, 1);
    assert_status(h.status, CADRE_ETIMEDOUT);
    p.answers[0] = CADRE_EINVAL;
    pair_end(&p);
}

static void cancelling_a_settled_future_changes_nothing(void **state)
{
    (void)state;
    pair p;
    fixture *fx = fixture_begin();
    heard h, again;
    pair_create(&p, fx);
    await(&h, fx, untyped(&p));
    resolve(&p);
    run_until_int(fx, &h.times, 1);
    cadre_future_cancel(untyped(&p));
    await(&again, fx, untyped(&p));
    run_until_int(fx, &again.times, 1);
    assert_status(again.status, 0);
    assert_status(cadre_future_status(untyped(&p)), 0);
    pair_end(&p);
}

static void on_cancel_of_a_settled_future_runs_on_the_next_turn(void **state)
{
    (void)state;
    pair p;
    fixture *fx = fixture_begin();
    heard h;
    int cancels = 0;
    pair_create(&p, fx);
    await(&h, fx, untyped(&p));
    cadre_future_cancel(untyped(&p));
    run_until_int(fx, &h.times, 1);
    assert_status(cadre_promise_on_cancel(untyped_promise(&p), count_cancel, &cancels), 0);
    assert_int_equal(cancels, 0);
    run_until_int(fx, &cancels, 1);
    p.answers[0] = CADRE_EINVAL;
    pair_end(&p);
    assert_int_equal(cancels, 1);
}

static void on_cancel_does_not_run_for_a_promise_that_was_kept(void **state)
{
    (void)state;
    pair p;
    fixture *fx = fixture_begin();
    int cancels = 0;
    heard h;
    pair_create(&p, fx);
    assert_status(cadre_promise_on_cancel(untyped_promise(&p), count_cancel, &cancels), 0);
    await(&h, fx, untyped(&p));
    resolve(&p);
    run_until_int(fx, &h.times, 1);
    settle(fx);
    pair_end(&p);
    assert_int_equal(cancels, 0);
}

typedef struct reports {
    fixture *fx;
    int times;
    double fraction;
    uint64_t done, total;
    const char *stage;
} reports;

static void on_progress(cadre_future *future, const cadre_progress *progress, void *data)
{
    reports *r = data;
    if (!fixture_on_loop(r->fx) || r->fx->calling) fixture_fault(r->fx, "progress inside a call, or off the loop");
    if (!future || progress->size != sizeof *progress) fixture_fault(r->fx, "progress without a future or a size");
    r->times++;
    r->fraction = progress->fraction;
    r->done = progress->done_bytes;
    r->total = progress->total_bytes;
    r->stage = progress->stage;
}

static void report_a_thousand(void *data)
{
    pair *p = data;
    for (uint64_t i = 1; i <= 1000; i++) cadre_promise_progress(untyped_promise(p), (double)i / 1000, i, 1000, "read");
}

static void progress_is_coalesced_and_the_last_report_arrives(void **state)
{
    (void)state;
    pair p;
    fixture *fx = fixture_begin();
    reports r = {.fx = fx}, ignored = {.fx = fx};
    pair_create(&p, fx);
    cadre_future_on_progress(untyped(&p), on_progress, &ignored);
    cadre_future_on_progress(untyped(&p), on_progress, &r); /* replaces */
    elsewhere(report_a_thousand, &p);
    run_until_int(fx, &r.times, 1);
    settle(fx);
    /* A thousand reports, made while the loop did not turn, are one. */
    assert_int_equal(r.times, 1);
    assert_int_equal(ignored.times, 0);
    assert_true(r.fraction == 1.0);
    assert_size(r.done, 1000);
    assert_size(r.total, 1000);
    assert_string_equal(r.stage, "read");
    cadre_promise_progress(untyped_promise(&p), (double)NAN, 0, 0, "sort");
    run_until_int(fx, &r.times, 2);
    assert_true(isnan(r.fraction));
    assert_string_equal(r.stage, "sort");
    cadre_future_on_progress(untyped(&p), NULL, NULL);
    cadre_promise_progress(untyped_promise(&p), 0.5, 0, 0, "unheard");
    settle(fx);
    assert_int_equal(r.times, 2);
    resolve(&p);
    pair_end(&p);
}

static void release_and_wait_on_another(heard *h, cadre_future *future)
{
    (void)future;
    cadre_future_release(h->other); /* the host's last reference, from inside the callback */
}

static void a_waiter_holds_a_reference_until_it_has_run(void **state)
{
    (void)state;
    pair p;
    fixture *fx = fixture_begin();
    heard h;
    pair_create(&p, fx);
    await(&h, fx, untyped(&p));
    cadre_future *extra = cadre_future_retain(untyped(&p));
    h.then = release_and_wait_on_another;
    h.other = extra;
    cadre_weights_future_release(p.future);
    p.future = NULL;
    settle(fx);
    assert_int_equal(h.times, 0); /* not cancelled: the waiter holds it, and so do we */
    assert_int_equal(cadre_promise_cancelled(untyped_promise(&p)), 0);
    resolve(&p);
    run_until_int(fx, &h.times, 1);
    assert_status(h.status, 0);
    run_until_atomic(fx, &p.parcel.destroyed, 1);
    pair_end(&p);
}

static void listen_again(heard *h, cadre_future *future)
{
    h->then = NULL;
    if (cadre_future_on_complete(future, on_complete, h) != 0) fixture_fault(h->fx, "on_complete from inside on_complete");
}

static void a_waiter_may_wait_again_from_inside_its_callback(void **state)
{
    (void)state;
    pair p;
    fixture *fx = fixture_begin();
    heard h;
    pair_create(&p, fx);
    await(&h, fx, untyped(&p));
    h.then = listen_again;
    resolve(&p);
    run_until_int(fx, &h.times, 2);
    pair_end(&p);
}

static void a_promise_held_past_close_answers_eclosed_and_consumes_nothing(void **state)
{
    (void)state;
    for (int expired = 0; expired < 2; expired++) {
        row(expired ? "held past abandon_after_ms" : "released while close waits");
        pair p;
        fixture *fx = fixture_begin();
        pair_create(&p, fx);
        cadre_weights_future_release(p.future);
        p.future = NULL;
        cadre_close_options options = CADRE_CLOSE_OPTIONS_INIT;
        options.abandon_after_ms = 5;
        fixture_start_close(fx, &options);
        settle(fx);
        assert_false(fx->closed);
        if (!expired) {
            drop(&p);
            fixture_close(fx, NULL);
            assert_size(fx->report.held_promises, 0);
        } else {
            fixture_advance(fx, 5);
            fixture_close(fx, NULL);
            assert_size(fx->report.held_promises, 1);
            fx->expect_report = true;
            elsewhere(resolve, &p);
            assert_status(p.answers[0], CADRE_ECLOSED);
            assert_status(cadre_weights_promise_fail(p.promise, CADRE_ELOAD, "late"), CADRE_ECLOSED);
            assert_int_equal(cadre_promise_cancelled(untyped_promise(&p)), 1);
            cadre_promise_progress(untyped_promise(&p), 0.5, 0, 0, "read");
        }
        pair_end(&p);
        assert_int_equal(atomic_load(&p.parcel.destroyed), 0);
    }
}

static void a_promise_of_a_closing_pool_cannot_be_made(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    pair p = {.fx = fx};
    fixture_start_close(fx, NULL);
    assert_status(cadre_weights_promise_create(fx->pool, &p.promise, &p.future), CADRE_ECLOSED);
    assert_null(p.promise);
    assert_null(p.future);
    fixture_end(fx);
}

static void each_type_of_value_is_destroyed_when_nobody_takes_it(void **state)
{
    (void)state;
    for (int c = 0; c < CADRE_CAPABILITY_COUNT; c++) {
        row("%s", cadre_capability_name((cadre_capability)c));
        fixture *fx = fixture_begin();
        /* The scripted asynchronous loader resolves a typed promise; here the worker was stopped long before. */
        script *s = script_new(fx, (cadre_capability)c, KIND_ASYNC, "m");
        script_hold(s, OP_LOAD);
        script_spawn(s);
        script_until(s, OP_LOAD, 1);
        assert_status(cadre_worker_stop(fx->pool, s->worker), 0);
        script_until_ready(s, 1);
        script_open(s, OP_LOAD);
        script_until_ended(s, OP_LOAD, 1);
        run_until_atomic(fx, &s->destroyed, 1);
        assert_int_equal(atomic_load(&s->promise_answers[2]), 0);
        assert_int_equal(s->cancels, 1);
        fixture_end(fx);
    }
}

/* A waiter that stops the worker whose load waits for the same future, behind it. */
static void stop_a_worker(heard *h, cadre_future *future)
{
    (void)future;
    script *s = h->fx->scripts;
    if (cadre_worker_stop(h->fx->pool, s->worker) != 0) fixture_fault(h->fx, "a stop from inside on_complete");
}

static void a_waiter_may_end_those_who_wait_behind_it(void **state)
{
    (void)state;
    for (int fails = 0; fails < 2; fails++)
        for (int workers = 1; workers <= 3; workers++) {
            row("%d workers wait for weights that %s", workers, fails ? "fail" : "come");
            fixture *fx = fixture_begin();
            heard h;
            script *s = script_new(fx, CADRE_TEXT_EMBEDDING, KIND_PRELOADED, "m");
            s->weights_promise = true;
            script_hold(s, OP_LOAD);
            if (fails) atomic_store(&s->status[OP_LOAD], CADRE_EFORMAT);
            script_spawn(s);
            await(&h, fx, cadre_weights_future_untyped(s->weights));
            h.then = stop_a_worker;
            for (int i = 1; i < workers; i++) script_spawn(s);
            script_until(s, OP_LOAD, 1);
            settle(fx);
            script_open(s, OP_LOAD);
            script_until_ready(s, workers);
            assert_int_equal(h.times, 1);
            fixture_end(fx);
        }
}

/* Many promises settled by several threads at once, some cancelled on the loop meanwhile: each settles once, each value is destroyed once. */
#define STORM 400
static struct storm {
    pair pairs[STORM];
    heard heard[STORM];
} storm;

static void resolve_all(void *data)
{
    (void)data;
    for (int i = 0; i < STORM; i++) resolve(&storm.pairs[i]);
}

static void resolve_all_again(void *data)
{
    (void)data;
    for (int i = STORM - 1; i >= 0; i--) {
        cadre_weights_value value = parcel_value(&storm.pairs[i].second);
        storm.pairs[i].answers[1] = cadre_weights_promise_resolve(storm.pairs[i].promise, &value);
    }
}

static bool storm_is_over(void *data)
{
    (void)data;
    for (int i = 0; i < STORM; i++)
        if (!storm.heard[i].times) return false;
    return true;
}

static void a_race_of_two_resolvers_and_a_cancel_settles_each_future_once(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    helper a, b;
    for (int i = 0; i < STORM; i++) {
        pair_create(&storm.pairs[i], fx);
        await(&storm.heard[i], fx, untyped(&storm.pairs[i]));
    }
    helper_start(&a, resolve_all, NULL);
    helper_start(&b, resolve_all_again, NULL);
    for (int i = 0; i < STORM; i += 3) {
        cadre_future_cancel(untyped(&storm.pairs[i]));
        fixture_turn(fx);
    }
    run_until(fx, storm_is_over, NULL);
    helper_join(&a);
    helper_join(&b);
    for (int i = 0; i < STORM; i++) {
        pair *p = &storm.pairs[i];
        assert_int_equal(storm.heard[i].times, 1);
        if (storm.heard[i].status != 0) assert_status(storm.heard[i].status, CADRE_ECANCELED);
        cadre_weights_promise_release(p->promise);
        cadre_weights_future_release(p->future);
    }
    fixture_end(fx);
    for (int i = 0; i < STORM; i++) {
        pair *p = &storm.pairs[i];
        for (int k = 0; k < 2; k++)
            if (p->answers[k] != 0) assert_status(p->answers[k], CADRE_EALREADY);
        assert_int_equal(atomic_load(&p->parcel.destroyed), 1);
        assert_int_equal(atomic_load(&p->second.destroyed), 1);
    }
}

#define SUITE futures
#include "suite.h"
