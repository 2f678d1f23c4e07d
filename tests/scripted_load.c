/* The loaders of scripted models. Loader callbacks run on the loop; blocking loads on the library's loader threads; a fetch is a thread of the test's own,
 * which holds a promise. */
#include "scripted_model.h"

#define FETCH_TEXT "fetch"

typedef struct fetch {
    struct fetch *next;
    script *s;
    cadre_promise *promise;
    bool weights;
    helper thread;
} fetch;

/* ---- weights ---- */

typedef struct payload {
    script *s;
} payload;

static const char payload_type;

static void payload_destroy(void *data)
{
    payload *p = data;
    script *s = p->s;
    if (fixture_on_loop(s->fx) && !s->fx->closed) fixture_fault(s->fx, "weights are destroyed on the loop");
    free(p);
    atomic_fetch_add(&s->payloads_destroyed, 1);
    fixture_wake(s->fx);
}

cadre_weights_value script_payload(script *s)
{
    payload *p = malloc(sizeof *p);
    if (!p) abort();
    p->s = s;
    atomic_fetch_add(&s->payloads_made, 1);
    return (cadre_weights_value){sizeof(cadre_weights_value), p, payload_destroy, &payload_type};
}

bool script_owns(script *s, cadre_weights *weights)
{
    payload *p = weights ? cadre_weights_payload(weights) : NULL;
    return p && p->s == s && cadre_weights_type(weights) == &payload_type;
}

static int said(script *s, cadre_load_context *context, int status)
{
    return s->detail ? cadre_load_fail(context, status, "%s", s->detail) : status;
}

/* On a loader thread: what a blocking load and a blocking load of weights have in common. */
int script_load_here(script *s, cadre_load_context *context)
{
    if (fixture_on_loop(s->fx)) fixture_fault(s->fx, "a blocking load runs on the loop");
    if (cadre_load_threads(context) < 1 || cadre_load_cores(context) < cadre_load_threads(context)) fixture_fault(s->fx, "cadre_load_threads or _cores");
    cadre_load_progress(context, 0.5, 50, 100, "read");
    script_record(s, OP_LOAD, NULL, 0);
    atomic_fetch_add(&s->ended[OP_LOAD], 1);
    if (cadre_load_cancelled(context)) {
        atomic_fetch_add(&s->load_cancel_seen, 1);
        if (s->obey_cancel) return CADRE_ECANCELED;
    }
    int status = atomic_load(&s->status[OP_LOAD]);
    return status < 0 ? said(s, context, status) : 0;
}

static int weights_load(cadre_load_context *context, void *data, cadre_weights_value *out)
{
    script *s = data;
    int rc = script_load_here(s, context);
    if (rc == 0) *out = script_payload(s);
    return rc;
}

static void weights_release(void *data)
{
    script *s = data;
    if (!fixture_on_loop(s->fx) && !s->abandoned) fixture_fault(s->fx, "a load's release runs off the loop");
    atomic_fetch_add(&s->weights_released, 1);
}

/* ---- fetches: promises resolved on another thread ---- */

static void fetch_resolve(fetch *f)
{
    script *s = f->s;
    model_value model;
    cadre_weights_value weights;
    void *value = f->weights ? (void *)&weights : (void *)&model;
    if (f->weights)
        weights = script_payload(s);
    else
        script_fill(s, &model);
    int rc = cadre_promise_resolve(f->promise, f->weights ? CADRE_VALUE_WEIGHTS : (cadre_value_type)s->capability, value);
    atomic_fetch_add(&s->promise_answers[rc == 0 ? 0 : rc == CADRE_EALREADY ? 1 : 2], 1);
    if (rc == 0 || rc == CADRE_EALREADY) return;
    if (rc != CADRE_ECLOSED) fixture_fault(s->fx, "resolve answers %s", cadre_err_name(rc));
    if (f->weights)
        payload_destroy(weights.payload);
    else if (s->capability == CADRE_TEXT_EMBEDDING)
        model_destroy(model.texts.self);
    else if (s->capability == CADRE_IMAGE_EMBEDDING)
        model_destroy(model.images.self);
    else if (s->capability == CADRE_TEXT_TO_IMAGE)
        model_destroy(model.painter.self);
    else
        model_destroy(model.generation.self);
}

static void fetch_run(void *data)
{
    fetch *f = data;
    script *s = f->s;
    cadre_promise_progress(f->promise, 0.5, 50, 100, FETCH_TEXT);
    script_record(s, OP_LOAD, NULL, 0);
    if (cadre_promise_cancelled(f->promise)) atomic_fetch_add(&s->load_cancel_seen, 1);
    int status = atomic_load(&s->status[OP_LOAD]);
    if (status < 0) {
        int rc = cadre_promise_fail(f->promise, status, s->detail);
        if (rc != 0 && rc != CADRE_EALREADY && rc != CADRE_ECLOSED) fixture_fault(s->fx, "fail answers %s", cadre_err_name(rc));
    } else if (s->settle != SETTLE_DROP) {
        fetch_resolve(f);
        if (s->settle == SETTLE_TWICE) fetch_resolve(f);
    }
    cadre_promise_release(f->promise);
    atomic_fetch_add(&s->ended[OP_LOAD], 1);
    fixture_wake(s->fx);
}

static void on_fetch_cancel(void *data)
{
    script *s = data;
    if (!fixture_on_loop(s->fx) || s->fx->calling) fixture_fault(s->fx, "on_cancel runs inside a call, or off the loop");
    s->cancels++;
}

/* Takes over the promise. */
static void fetch_start(script *s, cadre_promise *promise, bool weights)
{
    fetch *f = calloc(1, sizeof *f);
    if (!f) abort();
    f->s = s;
    f->promise = promise;
    f->weights = weights;
    f->next = s->fetches;
    s->fetches = f;
    int rc = cadre_promise_on_cancel(promise, on_fetch_cancel, s);
    if (rc != 0 && rc != CADRE_ENOMEM) fixture_fault(s->fx, "cadre_promise_on_cancel answers %s", cadre_err_name(rc));
    helper_start(&f->thread, fetch_run, f);
}

int script_fetch(script *s, cadre_weights_future **out)
{
    cadre_weights_promise *promise = NULL;
    int rc = cadre_weights_promise_create(s->fx->pool, &promise, out);
    if (rc == 0) fetch_start(s, cadre_weights_promise_untyped(promise), true);
    return rc;
}

/* ---- loader callbacks, typed by capability ---- */

static bool load_called(script *s, cadre_load_context *context)
{
    fixture *fx = s->fx;
    if (!fixture_on_loop(fx) || fx->calling) fixture_fault(fx, "a loader runs inside a call, or off the loop");
    if (++s->load_calls > s->spawned_ok && !s->registered) fixture_fault(fx, "a loader is called twice");
    if (cadre_load_pool(context) != fx->pool || cadre_load_loop(context) != &fx->loop) fixture_fault(fx, "the context has another pool or loop");
    if (strcmp(cadre_load_key(context), s->key) != 0) fixture_fault(fx, "the context's key is %s", cadre_load_key(context));
    if (cadre_load_worker(context) == 0) fixture_fault(fx, "the context has no worker");
    if (cadre_load_threads(context) < 1) fixture_fault(fx, "cadre_load_threads is 0");
    return !s->load_null;
}

static int make(script *s, cadre_load_context *context, cadre_weights *source, model_value *out)
{
    if (fixture_on_loop(s->fx) != (s->kind == KIND_PRELOADED))
        fixture_fault(s->fx, "the make function of kind %s runs on the wrong thread", kind_name(s->kind));
    if (strcmp(cadre_load_key(context), s->key) != 0 || cadre_load_worker(context) == 0) fixture_fault(s->fx, "the context's key or worker is wrong");
    if (s->kind == KIND_BLOCKING) {
        if (source) fixture_fault(s->fx, "a blocking load without a source got one");
        int rc = script_load_here(s, context);
        if (rc < 0) return rc;
    } else {
        payload *p = source ? cadre_weights_payload(source) : NULL;
        if (!p || p->s != s || cadre_weights_type(source) != &payload_type) fixture_fault(s->fx, "the make function got another payload");
        if (s->make_status < 0) return said(s, context, s->make_status);
    }
    script_fill(s, out);
    return 0;
}

static void loader_release(void *data)
{
    script *s = data;
    if (!fixture_on_loop(s->fx) && !s->abandoned) fixture_fault(s->fx, "a loader's release runs off the loop");
    atomic_fetch_add(&s->released, 1);
}

static void on_ready(cadre_pool *pool, cadre_worker_id worker, int status, const char *detail, void *data)
{
    script *s = data;
    fixture *fx = s->fx;
    if (!fixture_on_loop(fx) || fx->calling || pool != fx->pool) fixture_fault(fx, "on_ready inside a call, off the loop, or with another pool");
    if (!detail || (status == 0 && detail[0])) fixture_fault(fx, "on_ready's detail is %s", detail ? detail : "NULL");
    if (worker == 0) fixture_fault(fx, "on_ready's worker is 0");
    cadre_worker_info info = CADRE_WORKER_INFO_INIT;
    int rc = cadre_worker_get_info(pool, worker, &info);
    if (status == 0 && (rc != 0 || info.state != CADRE_WORKER_READY || info.id != worker || info.capability != s->capability || strcmp(info.key, s->key) != 0))
        fixture_fault(fx, "a ready worker's info: %s, state %s", cadre_err_name(rc), cadre_worker_state_name(info.state));
    s->ready++;
    s->ready_ok += status == 0;
    s->ready_status = status;
    snprintf(s->ready_detail, sizeof s->ready_detail, "%s", detail ? detail : "(null)");
    if (s->on_ready) s->on_ready(s);
}

static void on_exit_cb(cadre_pool *pool, cadre_worker_id worker, int status, void *data)
{
    script *s = data;
    if (!fixture_on_loop(s->fx) || s->fx->calling || pool != s->fx->pool || worker == 0)
        fixture_fault(s->fx, "on_exit inside a call, off the loop, or for nobody");
    s->exited++;
    s->exit_status = status;
}

static void on_progress(cadre_pool *pool, cadre_worker_id worker, const cadre_progress *progress, void *data)
{
    script *s = data;
    fixture *fx = s->fx;
    if (!fixture_on_loop(fx) || fx->calling || pool != fx->pool || worker == 0) fixture_fault(fx, "on_progress inside a call, off the loop, or for nobody");
    if (progress->size != sizeof *progress || !progress->stage) fixture_fault(fx, "progress has no size or no stage");
    if (s->ready == s->spawned_ok) fixture_fault(fx, "progress after the worker's callback");
    s->progressed++;
    s->last_fraction = progress->fraction;
}

#define FAMILY(NAME)                                                                                                                                           \
    static int NAME##_make(cadre_load_context *context, cadre_weights *source, void *data, cadre_##NAME##_model *out)                                          \
    {                                                                                                                                                          \
        model_value value;                                                                                                                                     \
        int rc = make(data, context, source, &value);                                                                                                          \
        if (rc == 0) memcpy(out, &value, sizeof *out);                                                                                                         \
        return rc;                                                                                                                                             \
    }                                                                                                                                                          \
    static cadre_##NAME##_future *NAME##_load(cadre_load_context *context, void *data)                                                                         \
    {                                                                                                                                                          \
        script *s = data;                                                                                                                                      \
        if (!load_called(s, context)) return NULL;                                                                                                             \
        if (s->kind == KIND_BLOCKING) return cadre_##NAME##_load_blocking(context, NULL, NAME##_make, s);                                                      \
        if (s->kind == KIND_PRELOADED) return cadre_##NAME##_load_shared(context, s->weights, NAME##_make, s);                                                 \
        if (s->kind == KIND_CHAINED) {                                                                                                                         \
            cadre_weights_future *fetched = NULL;                                                                                                              \
            if (script_fetch(s, &fetched) < 0) return NULL;                                                                                                    \
            cadre_##NAME##_future *chained = cadre_##NAME##_load_blocking(context, fetched, NAME##_make, s);                                                   \
            cadre_weights_future_release(fetched);                                                                                                             \
            return chained;                                                                                                                                    \
        }                                                                                                                                                      \
        cadre_##NAME##_promise *promise = NULL;                                                                                                                \
        cadre_##NAME##_future *future = NULL;                                                                                                                  \
        if (cadre_##NAME##_promise_create(cadre_load_pool(context), &promise, &future) < 0) return NULL;                                                       \
        fetch_start(s, cadre_##NAME##_promise_untyped(promise), false);                                                                                        \
        return future;                                                                                                                                         \
    }                                                                                                                                                          \
    static int NAME##_spawn(script *s, cadre_reservation *owned, const cadre_spawn_options *options)                                                           \
    {                                                                                                                                                          \
        const cadre_##NAME##_loader loader = {sizeof loader, NAME##_load, s, loader_release};                                                                  \
        return cadre_spawn_##NAME(s->fx->pool, s->key, &loader, owned, options, on_ready, s, &s->worker);                                                      \
    }                                                                                                                                                          \
    static int NAME##_add(script *s, const cadre_entry *entry, cadre_registry_cb cb, void *data)                                                               \
    {                                                                                                                                                          \
        const cadre_##NAME##_loader loader = {sizeof loader, NAME##_load, s, loader_release};                                                                  \
        return cadre_registry_add_##NAME(s->fx->pool, entry, &loader, cb, data);                                                                               \
    }

FAMILY(text_to_text)
FAMILY(text_embedding)
FAMILY(image_embedding)
FAMILY(vision)
FAMILY(text_to_image)

int script_spawn_with(script *s, cadre_reservation *owned, const cadre_spawn_options *options)
{
    static int (*const spawn[CADRE_CAPABILITY_COUNT])(script *, cadre_reservation *, const cadre_spawn_options *) = {
        text_to_text_spawn, text_embedding_spawn, image_embedding_spawn, vision_spawn, text_to_image_spawn};
    cadre_spawn_options all = CADRE_SPAWN_OPTIONS_INIT;
    if (options)
        all = *options;
    else
        all.batch_window_us = 0; /* the clock stands still */
    all.on_exit = on_exit_cb;
    all.on_progress = on_progress;
    int rc = 0;
    s->fx->calling++;
    if (s->kind == KIND_PRELOADED && !s->weights) {
        rc = s->weights_promise ? script_fetch(s, &s->weights) : cadre_weights_load_blocking(s->fx->pool, weights_load, s, weights_release, NULL, &s->weights);
        s->weights_started += !s->weights_promise;
    }
    if (rc < 0) {
        cadre_reservation_release(owned);
    } else {
        s->spawned++;
        int released = atomic_load(&s->released);
        rc = spawn[s->capability](s, owned, &all);
        if (rc == 0)
            s->spawned_ok++;
        else if (atomic_load(&s->released) != released + 1)
            fixture_fault(s->fx, "a spawn that failed did not release its loader");
    }
    s->fx->calling--;
    return rc;
}

int script_add_typed(script *s, const cadre_entry *entry, cadre_registry_cb cb, void *data)
{
    static int (*const add[CADRE_CAPABILITY_COUNT])(script *, const cadre_entry *, cadre_registry_cb,
                                                    void *) = {text_to_text_add, text_embedding_add, image_embedding_add, vision_add, text_to_image_add};
    s->registered = true;
    s->spawned++;
    s->fx->calling++;
    if (s->kind == KIND_PRELOADED && !s->weights) {
        assert_status(cadre_weights_load_blocking(s->fx->pool, weights_load, s, weights_release, NULL, &s->weights), 0);
        s->weights_started++;
    }
    int rc = add[s->capability](s, entry, cb, data);
    s->fx->calling--;
    return rc;
}

void script_spawn(script *s)
{
    assert_status(script_spawn_with(s, NULL, NULL), 0);
}

/* ---- a script's life ---- */

script *script_new(fixture *fx, cadre_capability capability, script_kind kind, const char *key)
{
    script *s = calloc(1, sizeof *s);
    if (!s) abort();
    s->fx = fx;
    s->capability = capability;
    s->kind = kind;
    snprintf(s->key, sizeof s->key, "%s", key);
    s->context_length = 512;
    s->dimension = 3;
    s->max_batch = 4;
    s->pieces = 3;
    pthread_mutex_init(&s->lock, NULL);
    for (int i = 0; i < OP_COUNT; i++) gate_init(&s->gates[i]);
    s->next = fx->scripts;
    fx->scripts = s;
    return s;
}

void script_gate(script *s, script_op op)
{
    atomic_fetch_add(&s->begun[op], 1);
    fixture_wake(s->fx);
    gate_wait(&s->gates[op]);
}

void script_hold(script *s, script_op op)
{
    gate_hold(&s->gates[op]);
}
void script_pass(script *s, script_op op, unsigned n)
{
    gate_pass(&s->gates[op], n);
}
void script_open(script *s, script_op op)
{
    gate_open(&s->gates[op]);
}
void script_until(script *s, script_op op, int begun)
{
    run_until_atomic(s->fx, &s->begun[op], begun);
}
void script_until_ended(script *s, script_op op, int ended)
{
    run_until_atomic(s->fx, &s->ended[op], ended);
}
void script_until_ready(script *s, int n)
{
    run_until_int(s->fx, &s->ready, n);
}

void script_expect(script *s, const void *params)
{
    assert_true(s->expected_count < COUNT(s->expected));
    s->expected[s->expected_count++] = params;
}

script *script_ready(fixture *fx, cadre_capability capability, const char *key)
{
    script *s = script_new(fx, capability, KIND_BLOCKING, key);
    script_spawn(s);
    script_until_ready(s, 1);
    assert_status(s->ready_status, 0);
    return s;
}

void scripts_open(fixture *fx)
{
    for (script *s = fx->scripts; s; s = s->next)
        for (int i = 0; i < OP_COUNT; i++) gate_open(&s->gates[i]);
}

void scripts_let_go(fixture *fx)
{
    for (script *s = fx->scripts; s; s = s->next) {
        if (s->keep_weights) continue;
        cadre_weights_future_release(s->weights);
        s->weights = NULL;
    }
}

void scripts_join(fixture *fx)
{
    for (script *s = fx->scripts; s; s = s->next)
        while (s->fetches) {
            fetch *f = s->fetches;
            s->fetches = f->next;
            helper_join(&f->thread);
            free(f);
        }
}

static void check_count(fixture *fx, const script *s, const char *what, int actual, int expected)
{
    if (actual != expected)
        fixture_fault(fx, "%s (%s %s): %s is %d, not %d", s->key, kind_name(s->kind), cadre_capability_name(s->capability), what, actual, expected);
}

void scripts_finish(fixture *fx)
{
    while (fx->answers) {
        answer *a = fx->answers;
        fx->answers = a->next;
        if (a->rc == 0 && a->done != 1) fixture_fault(fx, "a request's on_done ran %d times", a->done);
        if (a->lent && a->releases != 1) fixture_fault(fx, "a request's release ran %u times", a->releases);
        if (a->rc != 0 && a->done != 0) fixture_fault(fx, "a refused request's on_done ran");
        free(a->text);
        free(a->values);
        free((void *)(uintptr_t)a->image.pixels);
        free(a);
    }
    while (fx->scripts) {
        script *s = fx->scripts;
        fx->scripts = s->next;
        check_count(fx, s, "loaders released", atomic_load(&s->released), s->spawned);
        check_count(fx, s, "weights loaders released", atomic_load(&s->weights_released), s->weights_started);
        check_count(fx, s, "on_ready calls", s->ready, s->spawned_ok);
        if (!fx->report.abandoned_threads && !s->exit_untold) check_count(fx, s, "on_exit calls", s->exited, s->ready_ok);
        check_count(fx, s, "models destroyed", atomic_load(&s->destroyed), atomic_load(&s->made));
        check_count(fx, s, "payloads destroyed", atomic_load(&s->payloads_destroyed), atomic_load(&s->payloads_made));
        check_count(fx, s, "pictures alive", atomic_load(&s->pixels_live), 0);
        check_count(fx, s, "slots ended", atomic_load(&s->ended[OP_END]),
                    atomic_load(&s->ended[OP_BEGIN]) - atomic_load(&s->again_said) - atomic_load(&s->begin_failed));
        for (int i = 0; i < OP_COUNT; i++) gate_destroy(&s->gates[i]);
        pthread_mutex_destroy(&s->lock);
        free(s);
    }
}
