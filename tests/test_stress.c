/* Races of every function that any thread may call, against the loop, against requests and against close: many short rounds, each with a seed that says who
 * does what and after how many steps. Nothing is timed; a round ends when everything that it started has ended, and leaves nothing. */
#include "scripted.h"

#include <sched.h>

#define THREADS 3
#define PROMISES 4
#define REQUESTS 12

/* ---- chance ---- */

/* splitmix64 (Steele, Lea and Flood 2014). */
static uint64_t draw(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static unsigned below(uint64_t *state, unsigned n)
{
    return (unsigned)(draw(state) % n);
}

/* Some work, or the processor for others. */
static void dawdle(uint64_t *state)
{
    unsigned n = below(state, 8);
    if (n == 0) sched_yield();
    for (unsigned i = 0; i < n * 40; i++) atomic_signal_fence(memory_order_seq_cst);
}

/* ---- a round ---- */

typedef struct bout bout;
typedef struct actor {
    helper thread;
    bout *in;
    uint64_t random;
    unsigned number;
} actor;

struct bout {
    fixture *fx;
    uint64_t random;
    atomic_int started, finished;
    actor actors[THREADS];
    void (*act)(actor *a);

    cadre_promise *promises[PROMISES];
    cadre_future *futures[PROMISES];
    int heard, expected, cancels;
    atomic_int values_made, values_destroyed, claims[PROMISES];
    cadre_weights *weights;
    atomic_int posted, ran;
    atomic_uint_fast64_t ids[REQUESTS];
    atomic_int released, models_made, models_destroyed;
};

/* Until all of them are there, so that they meet. */
static void actor_run(void *data)
{
    actor *a = data;
    atomic_fetch_add(&a->in->started, 1);
    while (atomic_load(&a->in->started) < THREADS) sched_yield();
    a->in->act(a);
    atomic_fetch_add(&a->in->finished, 1);
    fixture_wake(a->in->fx);
}

static void bout_begin(bout *r, uint64_t seed, const cadre_pool_options *options)
{
    row("seed %llu", (unsigned long long)seed);
    memset(r, 0, sizeof *r);
    r->random = seed;
    r->fx = fixture_begin_with(options);
}

static void bout_start(bout *r, void (*act)(actor *a))
{
    r->act = act;
    for (unsigned i = 0; i < THREADS; i++) {
        r->actors[i].in = r;
        r->actors[i].number = i;
        r->actors[i].random = draw(&r->random);
        helper_start(&r->actors[i].thread, actor_run, &r->actors[i]);
    }
}

/* Close comes somewhere in the middle, and is not waited for by anyone but the loop. */
static void bout_close(bout *r)
{
    static const int64_t drains[] = {0, 5000, CADRE_NEVER};
    cadre_close_options options = CADRE_CLOSE_OPTIONS_INIT;
    options.drain_ms = drains[below(&r->random, 3)];
    fixture_start_close(r->fx, &options);
}

static void bout_end(bout *r)
{
    run_until_atomic(r->fx, &r->finished, THREADS);
    for (unsigned i = 0; i < THREADS; i++) helper_join(&r->actors[i].thread);
    if (!r->fx->closing) bout_close(r);
    fixture_end(r->fx);
}

static unsigned rounds(unsigned n)
{
    const char *factor = getenv("CADRE_STRESS_FACTOR");
    return factor ? n * (unsigned)atoi(factor) : n;
}

/* ---- promises ---- */

static void value_destroy(void *payload)
{
    atomic_fetch_add(&((bout *)payload)->values_destroyed, 1);
}

static void resolve(bout *r, unsigned i)
{
    cadre_weights_value value = {sizeof value, r, value_destroy, NULL};
    atomic_fetch_add(&r->values_made, 1);
    int rc = cadre_promise_resolve(r->promises[i], CADRE_VALUE_WEIGHTS, &value);
    if (rc == 0) atomic_fetch_add(&r->claims[i], 1);
    if (rc == CADRE_ECLOSED) value_destroy(r);
    if (rc != 0 && rc != CADRE_ECLOSED && rc != CADRE_EALREADY) fixture_fault(r->fx, "resolve answers %s", cadre_err_name(rc));
}

static void use_promise(actor *a, unsigned i)
{
    bout *r = a->in;
    cadre_promise *promise = r->promises[i];
    switch (below(&a->random, 8)) {
    case 0: resolve(r, i); break;
    case 1: {
        int rc = cadre_promise_fail(promise, CADRE_ELOAD, below(&a->random, 2) ? "a detail" : NULL);
        if (rc == 0) atomic_fetch_add(&r->claims[i], 1);
        if (rc != 0 && rc != CADRE_ECLOSED && rc != CADRE_EALREADY) fixture_fault(r->fx, "fail answers %s", cadre_err_name(rc));
        break;
    }
    case 2: cadre_promise_release(cadre_promise_retain(promise)); break;
    case 3: (void)cadre_promise_cancelled(promise); break;
    default: cadre_promise_progress(promise, 0.5, below(&a->random, 100), 100, "read");
    }
}

static void act_on_promises(actor *a)
{
    for (unsigned n = 10 + below(&a->random, 60); n > 0; n--) {
        use_promise(a, below(&a->random, PROMISES));
        dawdle(&a->random);
    }
    for (unsigned i = 0; i < PROMISES; i++) cadre_promise_release(a->in->promises[i]);
}

static void on_complete(cadre_future *future, int status, const char *detail, void *data)
{
    bout *r = data;
    if (cadre_future_status(future) != status || !detail || !fixture_on_loop(r->fx)) fixture_fault(r->fx, "a future's callback and its status differ");
    r->heard++;
}

static void on_progress(cadre_future *future, const cadre_progress *progress, void *data)
{
    bout *r = data;
    if (!future || strcmp(progress->stage, "read") != 0) fixture_fault(r->fx, "a report has another stage");
}

static void on_cancel(void *data)
{
    ((bout *)data)->cancels++;
}

static void use_future(bout *r, unsigned i)
{
    cadre_future *future = r->futures[i];
    if (!future) return;
    switch (below(&r->random, 6)) {
    case 0: cadre_future_cancel(future); break;
    case 1: (void)cadre_future_set_deadline(future, 1 + below(&r->random, 3)); break;
    case 2: fixture_advance(r->fx, 1); break;
    case 3:
        cadre_future_release(future);
        r->futures[i] = NULL;
        break;
    default: r->expected += cadre_future_on_complete(future, on_complete, r) == 0;
    }
}

static void promises_race_with_futures_and_close(void **state)
{
    (void)state;
    bout *r = malloc(sizeof *r);
    for (unsigned n = 0; n < rounds(600); n++) {
        bout_begin(r, n + 1, NULL);
        for (unsigned i = 0; i < PROMISES; i++) {
            assert_status(cadre_promise_create(r->fx->pool, CADRE_VALUE_WEIGHTS, &r->promises[i], &r->futures[i]), 0);
            cadre_future_on_progress(r->futures[i], on_progress, r);
            if (i % 2) assert_status(cadre_promise_on_cancel(r->promises[i], on_cancel, r), 0);
            for (unsigned k = 1; k < THREADS; k++) cadre_promise_retain(r->promises[i]);
        }
        bout_start(r, act_on_promises);
        for (unsigned k = below(&r->random, 30); k > 0; k--) {
            use_future(r, below(&r->random, PROMISES));
            fixture_turn(r->fx);
        }
        if (n % 2) bout_close(r);
        run_until_atomic(r->fx, &r->finished, THREADS);
        for (unsigned i = 0; i < PROMISES; i++) cadre_future_release(r->futures[i]);
        bout_end(r);
        assert_int_equal(r->heard, r->expected);
        assert_int_equal(atomic_load(&r->values_made), atomic_load(&r->values_destroyed));
        for (unsigned i = 0; i < PROMISES; i++) assert_true(atomic_load(&r->claims[i]) <= 1);
    }
    free(r);
}

/* ---- weights ---- */

static void act_on_weights(actor *a)
{
    bout *r = a->in;
    for (unsigned n = 20 + below(&a->random, 100); n > 0; n--) {
        cadre_weights *mine = cadre_weights_retain(r->weights);
        if (cadre_weights_payload(mine) != r || cadre_weights_type(mine) != r->actors) fixture_fault(r->fx, "the weights have another payload");
        dawdle(&a->random);
        cadre_weights_release(mine);
    }
    cadre_weights_release(r->weights);
}

static void weights_race_with_the_reaper_and_close(void **state)
{
    (void)state;
    bout *r = malloc(sizeof *r);
    for (unsigned n = 0; n < rounds(400); n++) {
        bout_begin(r, 1000 + n, NULL);
        cadre_weights_value value = {sizeof value, r, value_destroy, r->actors};
        atomic_store(&r->values_made, 1);
        cadre_weights_future *future = cadre_weights_future_ready(r->fx->pool, &value);
        assert_non_null(future);
        if (n % 3) assert_status(cadre_weights_future_charge(future, reserve(r->fx, 100)), 0);
        r->weights = cadre_weights_future_get(future);
        for (unsigned i = 0; i < THREADS; i++) cadre_weights_retain(r->weights);
        bout_start(r, act_on_weights);
        for (unsigned k = below(&r->random, 20); k > 0; k--) fixture_turn(r->fx);
        cadre_weights_future_release(future);
        if (n % 2) bout_close(r);
        bout_end(r);
        assert_int_equal(atomic_load(&r->values_destroyed), 1);
    }
    free(r);
}

/* ---- the port ---- */

static void on_post(cadre_pool *pool, void *data)
{
    bout *r = data;
    if (pool != r->fx->pool || !fixture_on_loop(r->fx)) fixture_fault(r->fx, "a post runs for another pool, or off the loop");
    atomic_fetch_add(&r->ran, 1);
}

static void act_on_port(actor *a)
{
    bout *r = a->in;
    cadre_port *port = cadre_port_retain(r->fx->port);
    for (unsigned n = 20 + below(&a->random, 80); n > 0; n--) {
        int rc = 0;
        switch (below(&a->random, 4)) {
        case 0: cadre_port_release(cadre_port_retain(port)); break;
        case 1: {
            cadre_request_id id = atomic_load(&r->ids[below(&a->random, REQUESTS)]);
            if (id) rc = cadre_port_cancel(port, id);
            break;
        }
        case 2: rc = cadre_port_cancel(port, draw(&a->random)); break;
        default:
            rc = cadre_port_post(port, on_post, r);
            if (rc == 0) atomic_fetch_add(&r->posted, 1);
        }
        if (rc != 0 && rc != CADRE_ECLOSED) fixture_fault(r->fx, "the port answers %s", cadre_err_name(rc));
        if (!*cadre_strerror((int)below(&a->random, 100) - 9050) || !*cadre_err_name(rc)) fixture_fault(r->fx, "an error has no name");
        dawdle(&a->random);
    }
    cadre_port_release(port);
}

static void use_request(bout *r, script *s)
{
    unsigned i = below(&r->random, REQUESTS);
    cadre_request_id id = atomic_load(&r->ids[i]);
    switch (below(&r->random, 6)) {
    case 0: (void)cadre_request_cancel(r->fx->pool, id); break;
    case 1: (void)cadre_request_pause(r->fx->pool, id); break;
    case 2: (void)cadre_request_resume(r->fx->pool, id); break;
    default: {
        answer *a = answer_new(r->fx);
        (void)cadre_request_resume(r->fx->pool, id); /* nobody will know it any more */
        int rc = submit(s, a, "hello", NULL);
        if (rc == 0) atomic_store(&r->ids[i], a->id);
        if (rc != 0 && rc != CADRE_ECLOSED && rc != CADRE_EFULL && rc != CADRE_ENOENT) assert_status(rc, 0);
    }
    }
}

static void ports_race_with_requests_of_every_kind_and_close(void **state)
{
    (void)state;
    bout *r = malloc(sizeof *r);
    for (unsigned n = 0; n < rounds(400); n++) {
        bout_begin(r, 2000 + n, NULL);
        script *s = script_new(r->fx, (cadre_capability)(n % CADRE_CAPABILITY_COUNT), (script_kind)(n % KIND_COUNT), "m");
        s->slots = n % 3;
        script_spawn(s);
        bout_start(r, act_on_port);
        for (unsigned k = 10 + below(&r->random, 40); k > 0; k--) {
            use_request(r, s);
            if (below(&r->random, 3) == 0) fixture_turn(r->fx);
        }
        for (unsigned i = 0; i < REQUESTS; i++) (void)cadre_request_resume(r->fx->pool, atomic_load(&r->ids[i]));
        if (n % 2) {
            scripts_let_go(r->fx);
            bout_close(r);
        }
        run_until_atomic(r->fx, &r->finished, THREADS);
        if (!r->fx->closing) until_all_done(r->fx);
        scripts_let_go(r->fx);
        bout_end(r);
        assert_int_equal(atomic_load(&r->posted), atomic_load(&r->ran));
    }
    free(r);
}

/* ---- loaders and operations: a model that calls everything it may call ---- */

typedef struct chatty {
    bout *in;
    uint64_t random;
} chatty;

static int chatty_attach(void *self, cadre_op *op)
{
    chatty *c = self;
    if (cadre_op_threads(op) < 1) fixture_fault(c->in->fx, "cadre_op_threads is 0");
    return below(&c->random, 8) ? 0 : cadre_op_fail(op, CADRE_EENGINE, "attach %d", 1);
}

static void chatty_destroy(void *self)
{
    chatty *c = self;
    atomic_fetch_add(&c->in->models_destroyed, 1);
    free(c);
}

static int chatty_generate(void *self, cadre_op *op, const cadre_generation_input *input, cadre_generation_output *output)
{
    chatty *c = self;
    (void)input;
    (void)output;
    for (unsigned n = below(&c->random, 12); n > 0; n--) {
        if (cadre_op_cancelled(op)) return CADRE_ECANCELED;
        int rc = cadre_op_emit(op, "é", 2);
        if (rc != 0) return rc;
        cadre_op_heartbeat(op);
        if (cadre_op_threads(op) < 1) fixture_fault(c->in->fx, "cadre_op_threads is 0");
        dawdle(&c->random);
    }
    return below(&c->random, 6) ? 0 : cadre_op_fail(op, CADRE_EENGINE, "%s", cadre_strerror(CADRE_EENGINE));
}

static int chatty_make(cadre_load_context *context, cadre_weights *source, void *data, cadre_text_to_text_model *out)
{
    static const cadre_generation_ops ops = {sizeof ops, chatty_attach, chatty_destroy, chatty_generate, NULL, NULL, NULL};
    bout *r = data;
    uint64_t random = cadre_load_worker(context);
    if (source || strcmp(cadre_load_key(context), "m") != 0 || cadre_load_threads(context) < 1) fixture_fault(r->fx, "the context is another");
    for (unsigned n = below(&random, 60); n > 0; n--) {
        cadre_load_progress(context, 0.1, n, 60, "read");
        if (cadre_load_cancelled(context) && below(&random, 2)) return CADRE_ECANCELED;
        dawdle(&random);
    }
    if (below(&random, 5) == 0) return cadre_load_fail(context, CADRE_EFORMAT, "%s", cadre_strerror(CADRE_EFORMAT));
    chatty *c = malloc(sizeof *c);
    if (!c) abort();
    *c = (chatty){r, random};
    atomic_fetch_add(&r->models_made, 1);
    *out = (cadre_text_to_text_model){sizeof *out, &ops, c, 1, 0, 0, 0};
    return 0;
}

static cadre_text_to_text_future *chatty_load(cadre_load_context *context, void *data)
{
    return cadre_text_to_text_load_blocking(context, NULL, chatty_make, data);
}

static void chatty_release(void *data)
{
    atomic_fetch_add(&((bout *)data)->released, 1);
}

static void on_worker(cadre_pool *pool, cadre_worker_id worker, int status, const char *detail, void *data)
{
    (void)pool;
    (void)worker;
    bout *r = data;
    if (!status != !*detail) fixture_fault(r->fx, "%s with the detail \"%s\"", cadre_err_name(status), detail);
    r->heard++;
}

static void on_worker_progress(cadre_pool *pool, cadre_worker_id worker, const cadre_progress *progress, void *data)
{
    (void)pool;
    if (!worker || progress->done_bytes > 60) fixture_fault(((bout *)data)->fx, "a report that no load made");
}

static int spawn_chatty(bout *r, cadre_worker_id *out)
{
    const cadre_text_to_text_loader loader = {sizeof loader, chatty_load, r, chatty_release};
    cadre_spawn_options options = CADRE_SPAWN_OPTIONS_INIT;
    options.on_progress = on_worker_progress;
    options.stream_window = 2;
    return cadre_spawn_text_to_text(r->fx->pool, "m", &loader, reserve(r->fx, 10), &options, on_worker, r, out);
}

static void loads_and_operations_race_with_stops_and_close(void **state)
{
    (void)state;
    bout *r = malloc(sizeof *r);
    for (unsigned n = 0; n < rounds(400); n++) {
        bout_begin(r, 3000 + n, NULL);
        cadre_worker_id workers[3] = {0};
        script named = {.fx = r->fx, .capability = CADRE_TEXT_TO_TEXT, .key = "m"}; /* for submit alone */
        for (unsigned i = 0; i < 3; i++) {
            assert_status(spawn_chatty(r, &workers[i]), 0);
            r->expected++;
        }
        bout_start(r, act_on_port);
        for (unsigned k = 10 + below(&r->random, 40); k > 0; k--) {
            use_request(r, &named);
            if (below(&r->random, 20) == 0) (void)cadre_worker_stop(r->fx->pool, workers[below(&r->random, 3)]);
            if (below(&r->random, 3) == 0) fixture_turn(r->fx);
        }
        for (unsigned i = 0; i < REQUESTS; i++) (void)cadre_request_resume(r->fx->pool, atomic_load(&r->ids[i]));
        if (n % 2) bout_close(r);
        bout_end(r);
        assert_int_equal(r->heard, r->expected);
        assert_int_equal(atomic_load(&r->released), r->expected);
        assert_int_equal(atomic_load(&r->models_made), atomic_load(&r->models_destroyed));
        assert_int_equal(atomic_load(&r->posted), atomic_load(&r->ran));
    }
    free(r);
}

#define SUITE stress
#include "suite.h"
