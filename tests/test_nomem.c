/* A host whose allocator fails: each scenario is run again and again, with the n-th allocation failing, until it passes without a failure. Each time: a clean
 * error or a completion, nothing leaked and nothing stuck. Once with only the n-th failing, and once with every one from the n-th on. */
#include "scripted.h"

typedef void (*scenario)(fixture *fx);

/* Stops early when something was refused; fixture_end then checks that nothing is left. */
static script *spawned(fixture *fx, cadre_capability capability, script_kind kind, uint32_t slots, uint64_t bytes)
{
    script *s = script_new(fx, capability, kind, "m");
    s->slots = slots;
    cadre_memory_amount amount = {CADRE_DEVICE_HOST, bytes};
    cadre_reservation *owned = NULL;
    int rc = cadre_memory_try_reserve(fx->pool, &amount, 1, &owned);
    if (rc == 0) rc = script_spawn_with(s, owned, NULL);
    if (rc != 0) assert_status(rc, CADRE_ENOMEM);
    return rc == 0 ? s : NULL;
}

static bool no_memory(int status)
{
    return status == CADRE_ENOMEM || status == CADRE_ELOAD || status == CADRE_ETHREAD;
}

static bool became_ready(script *s)
{
    script_until_ready(s, 1);
    if (s->ready_status == 0) return true;
    if (!no_memory(s->ready_status) && s->ready_status != CADRE_EABANDONED) assert_status(s->ready_status, CADRE_ENOMEM);
    return false;
}

static void serve(fixture *fx, script *s)
{
    answer *a[5];
    for (int i = 0; i < 5; i++) {
        a[i] = answer_new(fx);
        a[i]->unstreamed = i == 3;
        int rc = submit(s, a[i], "hello", NULL);
        if (rc != 0 && rc != CADRE_ENOENT) assert_status(rc, CADRE_ENOMEM);
        if (rc == 0 && i == 4) cadre_request_cancel(fx->pool, a[i]->id);
    }
    until_all_done(fx);
    for (int i = 0; i < 5; i++) {
        if (a[i]->rc != 0) continue;
        if (a[i]->status == 0)
            assert_answered(s, a[i], "hello");
        else if (i == 4 && a[i]->status == CADRE_ECANCELED)
            continue;
        else
            assert_true(no_memory(a[i]->status) || a[i]->status == CADRE_EWORKER);
    }
}

#define SERVING(NAME, CAPABILITY, KIND, SLOTS)                                                                                                                 \
    static void NAME(fixture *fx)                                                                                                                              \
    {                                                                                                                                                          \
        script *s = spawned(fx, CAPABILITY, KIND, SLOTS, 100);                                                                                                 \
        if (s && became_ready(s)) serve(fx, s);                                                                                                                \
    }
SERVING(text_slots, CADRE_TEXT_TO_TEXT, KIND_BLOCKING, 2)
SERVING(text_generate, CADRE_TEXT_TO_TEXT, KIND_ASYNC, 0)
SERVING(vision, CADRE_VISION, KIND_PRELOADED, 3)
SERVING(text_vectors, CADRE_TEXT_EMBEDDING, KIND_CHAINED, 0)
SERVING(image_vectors, CADRE_IMAGE_EMBEDDING, KIND_PRELOADED, 0)
SERVING(painting, CADRE_TEXT_TO_IMAGE, KIND_BLOCKING, 0)

static void waiting_for_the_load(fixture *fx)
{
    script *s = spawned(fx, CADRE_TEXT_EMBEDDING, KIND_BLOCKING, 0, 10);
    if (s) serve(fx, s);
}

static void on_post(cadre_pool *pool, void *data)
{
    (void)pool;
    ++*(int *)data;
}

static void on_complete(cadre_future *future, int status, const char *detail, void *data)
{
    (void)future;
    (void)status;
    (void)detail;
    ++*(int *)data;
}

static void count_destroy(void *payload)
{
    atomic_fetch_add((atomic_int *)payload, 1);
}

static void futures_and_posts(fixture *fx)
{
    int posts = 0, accepted = 0, heard = 0, expected = 0;
    for (int i = 0; i < 3; i++) accepted += cadre_port_post(fx->port, on_post, &posts) == 0;
    static atomic_int destroyed;
    atomic_store(&destroyed, 0);
    cadre_weights_value value = {sizeof value, &destroyed, count_destroy, NULL};
    cadre_weights_promise *promise = NULL;
    cadre_weights_future *future = NULL;
    int values = 0;
    int rc = cadre_weights_promise_create(fx->pool, &promise, &future);
    if (rc == 0) {
        for (int i = 0; i < 2; i++) expected += cadre_future_on_complete(cadre_weights_future_untyped(future), on_complete, &heard) == 0;
        (void)cadre_future_set_deadline(cadre_weights_future_untyped(future), 1000000);
        cadre_promise_progress(cadre_weights_promise_untyped(promise), 0.5, 0, 0, "read");
        assert_status(cadre_weights_promise_resolve(promise, &value), 0); /* memory for it was taken when the promise was made */
        values++;
        rc = cadre_weights_promise_resolve(promise, &value); /* a second one needs memory to be destroyed elsewhere */
        if (rc == CADRE_EALREADY)
            values++;
        else
            assert_status(rc, CADRE_ENOMEM);
    } else {
        assert_status(rc, CADRE_ENOMEM);
        assert_null(promise);
        assert_null(future);
    }
    cadre_weights_promise_release(promise);
    cadre_weights_future *ready = cadre_weights_future_ready(fx->pool, &value);
    values++; /* consumed all the same */
    cadre_weights_future *failed = cadre_weights_future_failed(fx->pool, CADRE_ELOAD, "a detail");
    run_until_int(fx, &posts, accepted);
    run_until_int(fx, &heard, expected);
    cadre_weights_future_release(future);
    cadre_weights_future_release(ready);
    cadre_weights_future_release(failed);
    fixture_close(fx, NULL);
    assert_int_equal(atomic_load(&destroyed), values);
    assert_int_equal(heard, expected);
    assert_int_equal(posts, accepted);
}

static void cancelled_loads(fixture *fx)
{
    script *s = script_new(fx, CADRE_TEXT_TO_TEXT, KIND_CHAINED, "m");
    script_hold(s, OP_LOAD);
    int rc = script_spawn_with(s, NULL, NULL);
    if (rc != 0) return;
    settle(fx);
    (void)cadre_worker_stop(fx->pool, s->worker);
    script_until_ready(s, 1);
}

static void run_scenario(const char *name, scenario run)
{
    for (int all = 0; all < 2; all++)
        for (long n = 1;; n++) {
            row("%s, allocation %ld fails%s", name, n, all ? " and all later ones" : "");
            fixture *fx = NULL;
            int rc = fixture_try_begin(NULL, n, all, &fx);
            if (rc == 0)
                run(fx);
            else
                assert_true(no_memory(rc));
            bool failed = atomic_load(&fx->memory.failures) > 0;
            fixture_end(fx);
            if (!failed) break; /* it has fewer than n allocations */
            assert_true(n < 5000);
        }
}

#define NOMEM_TEST(NAME, SCENARIO)                                                                                                                             \
    static void NAME(void **state)                                                                                                                             \
    {                                                                                                                                                          \
        (void)state;                                                                                                                                           \
        run_scenario(#SCENARIO, SCENARIO);                                                                                                                     \
    }
NOMEM_TEST(without_memory_futures_and_posts_fail_cleanly, futures_and_posts)
NOMEM_TEST(without_memory_text_by_slots_fails_cleanly, text_slots)
NOMEM_TEST(without_memory_text_one_at_a_time_fails_cleanly, text_generate)
NOMEM_TEST(without_memory_vision_fails_cleanly, vision)
NOMEM_TEST(without_memory_text_embedding_fails_cleanly, text_vectors)
NOMEM_TEST(without_memory_image_embedding_fails_cleanly, image_vectors)
NOMEM_TEST(without_memory_text_to_image_fails_cleanly, painting)
NOMEM_TEST(without_memory_waiting_for_a_load_fails_cleanly, waiting_for_the_load)
NOMEM_TEST(without_memory_a_cancelled_load_fails_cleanly, cancelled_loads)

#define SUITE nomem
#include "suite.h"
