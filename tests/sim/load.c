/* Loaders of every kind, weights, and the life of workers as a host is told of it. */
#include "host.h"

#include <stdlib.h>

/* ---- weights ---- */

static void payload_destroy(void *data)
{
    sim_payload *p = data;
    host *h = p->host;
    if (!p->made || p->gone) sim_violation(&h->sim, "weights are destroyed twice");
    if (p->users) sim_violation(&h->sim, "weights are destroyed while %u models are made around them", p->users);
    if (!h->sim.current && !h->sim.closing) sim_violation(&h->sim, "weights are destroyed on the loop");
    sim_busy(&h->sim, sim_span(&h->sim, CADRE__NS_PER_MS));
    if (!memory_charged(h, p->charge) && h->pool) sim_violation(&h->sim, "weights' reservation is given back before they are destroyed");
    p->gone = true;
    sim_log(&h->sim, "weights are destroyed");
}

static int payload_make(sim_payload *p, cadre_weights_value *out)
{
    if (p->outcome != CADRE_OK) return p->outcome;
    *out = (cadre_weights_value){sizeof *out, p, payload_destroy, &p->host->models};
    p->made = true;
    return CADRE_OK;
}

static int weights_load(cadre_load_context *context, void *data, cadre_weights_value *out)
{
    sim_payload *p = data;
    simulator *sim = &p->host->sim;
    if (!sim->current) sim_violation(sim, "weights are loaded on the loop");
    sim_busy(sim, sim_span(sim, 20 * CADRE__NS_PER_MS));
    if (cadre_load_cancelled(context) && sim_one_in(sim, 2)) return CADRE_ECANCELED;
    return payload_make(p, out);
}

static void weights_release(void *data)
{
    sim_payload *p = data;
    if (p->released) sim_violation(&p->host->sim, "a weights loader's data is released twice");
    p->released = true;
}

static void weights_settle(void *data)
{
    sim_payload *p = data;
    cadre_promise *promise = p->promise;
    if (!promise) return;
    p->promise = NULL;
    cadre_weights_value value = CADRE_WEIGHTS_VALUE_INIT;
    if (payload_make(p, &value) == CADRE_OK) {
        int rc = cadre_promise_resolve(promise, CADRE_VALUE_WEIGHTS, &value);
        if (rc != CADRE_OK && rc != CADRE_EALREADY) p->made = false;
    } else if (sim_one_in(&p->host->sim, 2)) {
        cadre_promise_fail(promise, p->outcome, "the weights' promise fails");
    }
    cadre_promise_release(promise);
}

static void waited(cadre_future *future, int status, const char *detail, void *data)
{
    (void)detail;
    host *h = data;
    if (h->sim.current) sim_violation(&h->sim, "a future's callback on another thread than the loop");
    if (status != cadre_future_status(future)) sim_violation(&h->sim, "a future's callback and its status differ");
    h->waits_told++;
    host_reenter(h);
}

void load_weights(host *h, sim_model *m)
{
    sim_payload *p = calloc(1, sizeof *p);
    if (!p) abort();
    p->host = h;
    p->next = h->payloads;
    h->payloads = p;
    p->blocking = sim_one_in(&h->sim, 2);
    p->outcome = sim_one_in(&h->sim, 8) ? CADRE_EFORMAT : CADRE_OK;
    cadre_reservation *owned = sim_one_in(&h->sim, 2) ? memory_reserve(h, &p->charge) : NULL;
    if (!owned) p->charge = -1;
    cadre_weights_future *future = NULL;
    cadre_weights_promise *promise = NULL;
    int rc;
    if (p->blocking) {
        rc = cadre_weights_load_blocking(h->pool, weights_load, p, weights_release, owned, &future);
    } else {
        rc = cadre_weights_promise_create(h->pool, &promise, &future);
        p->promise = (cadre_promise *)promise;
        if (rc == CADRE_OK)
            cadre_weights_future_charge(future, owned);
        else
            cadre_reservation_release(owned);
        if (rc == CADRE_OK && !sim_one_in(&h->sim, 20)) sim_plan(&h->sim, sim_span(&h->sim, 20 * CADRE__NS_PER_MS), weights_settle, p);
    }
    sim_log(&h->sim, "weights for %s: %s", m->key, cadre_err_name(rc));
    if (rc != (h->pool->closing ? CADRE_ECLOSED : CADRE_OK) && !(rc == CADRE_ENOMEM && h->out_of_memory))
        sim_violation(&h->sim, "weights are answered with %s", cadre_err_name(rc));
    if (rc != CADRE_OK && future) sim_violation(&h->sim, "refused weights have a future");
    if (rc != CADRE_OK && p->charge >= 0 && memory_charged(h, p->charge)) sim_violation(&h->sim, "refused weights keep their reservation");
    if (rc != CADRE_OK && p->blocking && !p->released) sim_violation(&h->sim, "refused weights keep their loader's data");
    m->weights = future;
}

void load_drop_weights(host *h)
{
    for (unsigned i = 0; i < h->model_count; i++) {
        cadre_weights_future_release(h->models[i].weights);
        h->models[i].weights = NULL;
    }
}

/* ---- loads of models ---- */

static int make(cadre_load_context *context, cadre_weights *source, void *data, model_value *out)
{
    sim_worker *w = data;
    host *h = w->host;
    bool blocking = w->kind == LOAD_BLOCKING || w->kind == LOAD_CHAINED;
    sim_payload *payload = cadre_weights_payload(source);
    if (blocking != (h->sim.current != NULL)) sim_violation(&h->sim, "w%u: loaded on the wrong thread", w->number);
    if (!source != (w->kind == LOAD_BLOCKING)) sim_violation(&h->sim, "w%u: loaded with, or without, weights", w->number);
    if (w->released) sim_violation(&h->sim, "w%u: loaded after its loader's release", w->number);
    for (unsigned i = 0; blocking && i < 3; i++) {
        if (sim_one_in(&h->sim, 2)) cadre_load_progress(context, i / 3.0, i, 3, "read");
        sim_busy(&h->sim, sim_span(&h->sim, 10 * CADRE__NS_PER_MS));
        if (w->released) sim_violation(&h->sim, "w%u: its loader is released while it loads", w->number);
    }
    if (blocking && w->sticks && !h->relented) sim_stick(&h->sim);
    if (payload && payload->gone) sim_violation(&h->sim, "w%u: the weights are destroyed while a model is made of them", w->number);
    if (cadre_load_cancelled(context) && sim_one_in(&h->sim, 2)) return CADRE_ECANCELED;
    if (w->outcome != CADRE_OK) return cadre_load_fail(context, w->outcome, "w%u: the load fails", w->number);
    if (!w->wrong) model_make(w, payload, out);
    return CADRE_OK;
}

typedef struct family {
    cadre_future *(*blocking)(cadre_load_context *context, cadre_weights_future *source, void *data);
    cadre_future *(*shared)(cadre_load_context *context, cadre_weights_future *source, void *data);
    int (*spawn)(sim_worker *w, cadre_reservation *owned, const cadre_spawn_options *options);
} family;

static cadre_future *load(const family *f, cadre_load_context *context, sim_worker *w);
static void release(void *data);
static void on_ready(cadre_pool *pool, cadre_worker_id worker, int status, const char *detail, void *data);

#define FAMILY(NAME, CAPABILITY)                                                                                                                               \
    static int NAME##_make(cadre_load_context *context, cadre_weights *source, void *data, NAME##_model *out)                                                  \
    {                                                                                                                                                          \
        model_value value;                                                                                                                                     \
        memcpy(&value, out, sizeof *out);                                                                                                                      \
        int rc = make(context, source, data, &value);                                                                                                          \
        memcpy(out, &value, sizeof *out);                                                                                                                      \
        return rc;                                                                                                                                             \
    }                                                                                                                                                          \
    static cadre_future *NAME##_blocking(cadre_load_context *context, cadre_weights_future *source, void *data)                                                \
    {                                                                                                                                                          \
        return (cadre_future *)NAME##_load_blocking(context, source, NAME##_make, data);                                                                       \
    }                                                                                                                                                          \
    static cadre_future *NAME##_shared(cadre_load_context *context, cadre_weights_future *source, void *data)                                                  \
    {                                                                                                                                                          \
        return (cadre_future *)NAME##_load_shared(context, source, NAME##_make, data);                                                                         \
    }                                                                                                                                                          \
    static int NAME##_spawn(sim_worker *w, cadre_reservation *owned, const cadre_spawn_options *options);                                                      \
    static const family NAME##_family = {NAME##_blocking, NAME##_shared, NAME##_spawn};                                                                        \
    static NAME##_future *NAME##_load(cadre_load_context *context, void *data)                                                                                 \
    {                                                                                                                                                          \
        return (NAME##_future *)load(&NAME##_family, context, data);                                                                                           \
    }                                                                                                                                                          \
    static int NAME##_spawn(sim_worker *w, cadre_reservation *owned, const cadre_spawn_options *options)                                                       \
    {                                                                                                                                                          \
        NAME##_loader loader = {sizeof loader, NAME##_load, w, release};                                                                                       \
        return cadre_spawn_##CAPABILITY(w->host->pool, w->model->key, &loader, owned, options, on_ready, w, &w->id);                                           \
    }

FAMILY(cadre_text_to_text, text_to_text)
FAMILY(cadre_text_embedding, text_embedding)
FAMILY(cadre_image_embedding, image_embedding)
FAMILY(cadre_vision, vision)
FAMILY(cadre_text_to_image, text_to_image)
static const family *const families[CADRE_CAPABILITY_COUNT] = {&cadre_text_to_text_family, &cadre_text_embedding_family, &cadre_image_embedding_family,
                                                               &cadre_vision_family, &cadre_text_to_image_family};

static void settle(void *data)
{
    sim_worker *w = data;
    host *h = w->host;
    cadre_promise *promise = w->promise;
    if (!promise) return;
    w->promise = NULL;
    bool elsewhere = sim_one_in(&h->sim, 2);
    sim_log(&h->sim, "w%u settles its promise%s", w->number, elsewhere ? " on a thread" : "");
    sim_elsewhere(&h->sim, elsewhere);
    for (int i = 0; w->outcome == CADRE_OK && !w->wrong && i <= w->again; i++) {
        model_value value;
        instance *made = model_make(w, NULL, &value);
        made->unpaid = i > 0;
        int rc = cadre_promise_resolve(promise, (cadre_value_type)w->model->capability, &value);
        bool expected = rc == CADRE_OK ? i == 0 : rc == CADRE_EALREADY ? i > 0 : rc == CADRE_ECLOSED ? h->closing : rc == CADRE_ENOMEM && h->out_of_memory;
        if (!expected) sim_violation(&h->sim, "w%u: resolve %d answers %s", w->number, i, cadre_err_name(rc));
        if (rc != CADRE_OK && rc != CADRE_EALREADY) model_unmake(&value);
    }
    if (w->outcome != CADRE_OK && !w->again) cadre_promise_fail(promise, w->outcome, "the promise fails"); /* else it is dropped */
    cadre_promise_release(promise);
    sim_elsewhere(&h->sim, false);
}

static void report(void *data)
{
    sim_worker *w = data;
    if (w->promise) cadre_promise_progress(w->promise, 0.5, 1, 2, "download");
}

static void on_cancel(void *data)
{
    sim_worker *w = data;
    sim_log(&w->host->sim, "w%u: its promise is cancelled", w->number);
    cadre_promise_release(w->promise);
    w->promise = NULL;
}

static cadre_future *load_by_promise(sim_worker *w)
{
    host *h = w->host;
    cadre_future *future = NULL;
    if (cadre_promise_create(h->pool, (cadre_value_type)w->model->capability, &w->promise, &future) != CADRE_OK) return NULL;
    if (sim_one_in(&h->sim, 2)) cadre_promise_on_cancel(w->promise, on_cancel, w);
    if (!w->sticks) sim_plan(&h->sim, sim_span(&h->sim, 50 * CADRE__NS_PER_MS), settle, w);
    if (sim_one_in(&h->sim, 2)) sim_plan(&h->sim, sim_span(&h->sim, 20 * CADRE__NS_PER_MS), report, w);
    return future;
}

static cadre_future *load(const family *f, cadre_load_context *context, sim_worker *w)
{
    host *h = w->host;
    sim_model *m = w->model;
    if (h->sim.current || w->rc != CADRE_OK) sim_violation(&h->sim, "w%u: load is called on a thread, or from inside its spawn", w->number);
    if (cadre_load_worker(context) != w->id || strcmp(cadre_load_key(context), m->key) != 0)
        sim_violation(&h->sim, "w%u: load is told another worker", w->number);
    w->rc = 1; /* once */
    if ((w->kind == LOAD_SHARED || w->kind == LOAD_CHAINED) && !m->weights) load_weights(h, m);
    switch (w->kind) {
    case LOAD_BLOCKING: return f->blocking(context, NULL, w);
    case LOAD_CHAINED: return m->weights ? f->blocking(context, m->weights, w) : NULL;
    case LOAD_SHARED: return m->weights ? f->shared(context, m->weights, w) : NULL;
    case LOAD_PROMISE: return load_by_promise(w);
    case LOAD_FAILED: return cadre_future_failed(h->pool, (cadre_value_type)m->capability, w->outcome = CADRE_EFORMAT, "it failed before");
    case LOAD_READY: {
        model_value value;
        instance *made = model_make(w, NULL, &value);
        made->unpaid = made->anywhere = h->out_of_memory; /* then it is destroyed at once, in the worst case here */
        return cadre_future_ready(h->pool, (cadre_value_type)m->capability, &value);
    }
    default: w->outcome = CADRE_ELOAD; return NULL;
    }
}

/* ---- what the host is told ---- */

static void release(void *data)
{
    sim_worker *w = data;
    host *h = w->host;
    if (w->released) sim_violation(&h->sim, "w%u: its loader is released twice", w->number);
    if (h->sim.current && !h->sim.current->abandoned) sim_violation(&h->sim, "w%u: its loader is released on another thread than the loop", w->number);
    w->released = true;
}

static void on_ready(cadre_pool *pool, cadre_worker_id worker, int status, const char *detail, void *data)
{
    sim_worker *w = data;
    host *h = w->host;
    sim_log(&h->sim, "w%u is %s: %s (%s)", w->number, status ? "gone" : "ready", cadre_err_name(status), detail);
    if (h->sim.current || pool != h->pool || worker != w->id) sim_violation(&h->sim, "w%u: on_ready on a thread, or of another worker", w->number);
    if (w->told) sim_violation(&h->sim, "w%u: on_ready twice", w->number);
    if (!status != !*detail) sim_violation(&h->sim, "w%u: %s with the detail \"%s\"", w->number, cadre_err_name(status), detail);
    if (!status && (w->outcome || w->wrong || !w->instances)) sim_violation(&h->sim, "w%u: it is ready, but nothing was loaded", w->number);
    w->told = true;
    w->ready = status == CADRE_OK;
    if (!w->ready) w->model->failed = true;
    host_reenter(h);
}

static void on_exit_of(cadre_pool *pool, cadre_worker_id worker, int status, void *data)
{
    sim_worker *w = data;
    host *h = w->host;
    sim_log(&h->sim, "w%u exits: %s", w->number, cadre_err_name(status));
    if (h->sim.current || pool != h->pool || worker != w->id) sim_violation(&h->sim, "w%u: on_exit on a thread, or of another worker", w->number);
    if (!w->ready || w->exited) sim_violation(&h->sim, "w%u: on_exit twice, or of a worker that never was ready", w->number);
    cadre_worker_info info = CADRE_WORKER_INFO_INIT;
    if (cadre_worker_get_info(pool, worker, &info) != CADRE_ESTALE && !h->sim.closing) sim_violation(&h->sim, "w%u: it is still there in on_exit", w->number);
    if (w->charge >= 0 && memory_charged(h, w->charge) && !w->instances && !h->sim.closing)
        sim_violation(&h->sim, "w%u: its reservation is not given back in on_exit", w->number);
    w->exited = true;
    host_reenter(h);
}

static void on_progress(cadre_pool *pool, cadre_worker_id worker, const cadre_progress *progress, void *data)
{
    (void)pool;
    sim_worker *w = data;
    if (worker != w->id || w->told || !progress->stage) sim_violation(&w->host->sim, "w%u: on_progress after on_ready, or of another worker", w->number);
    host_reenter(w->host);
}

/* ---- operations ---- */

void load_spawn(host *h, sim_model *m)
{
    simulator *sim = &h->sim;
    sim_worker *w = calloc(1, sizeof *w);
    if (!w) abort();
    if (h->worker_count == h->worker_capacity) {
        h->worker_capacity = h->worker_capacity ? h->worker_capacity * 2 : 16;
        h->workers = realloc(h->workers, h->worker_capacity * sizeof *h->workers);
        if (!h->workers) abort();
    }
    *w = (sim_worker){.host = h, .model = m, .number = h->worker_count, .charge = -1, .kind = (load_kind)sim_below(sim, LOAD_KINDS)};
    if (w->kind >= LOAD_NULL && !sim_one_in(sim, 4)) w->kind = (load_kind)sim_below(sim, LOAD_NULL);
    h->workers[h->worker_count++] = w;
    if (sim_one_in(sim, 8) && w->kind != LOAD_READY) w->outcome = CADRE_EFORMAT;
    w->wrong = sim_one_in(sim, 20) && w->kind <= LOAD_CHAINED;
    w->sticks = sim_one_in(sim, 15);
    w->again = sim_one_in(sim, 6);
    w->rc = 2; /* in the call */
    cadre_spawn_options options = m->options;
    options.on_exit = on_exit_of;
    options.on_progress = sim_one_in(sim, 2) ? on_progress : NULL;
    if (sim_one_in(sim, 5)) options.load_timeout_ms = 1 + (int64_t)sim_span(sim, 60);
    if (sim_one_in(sim, 4)) options.stall_timeout_ms = 1 + (int64_t)sim_span(sim, 60);
    cadre_reservation *owned = sim_below(sim, 5) ? memory_reserve(h, &w->charge) : NULL;
    int expected = h->pool->closing ? CADRE_ECLOSED : CADRE_OK, rc = families[m->capability]->spawn(w, owned, &options);
    sim_log(sim, "w%u of %s, kind %d%s%s: %s", w->number, m->key, w->kind, w->outcome ? ", fails" : "", w->sticks ? ", sticks" : "", cadre_err_name(rc));
    if (rc != expected && !(rc == CADRE_ENOMEM && h->out_of_memory)) sim_violation(sim, "w%u: spawn answers %s", w->number, cadre_err_name(rc));
    w->rc = rc;
    w->refused = rc != CADRE_OK;
    if (w->refused && !w->released) sim_violation(sim, "w%u: refused, but its loader is not released", w->number);
    if (w->refused && w->charge >= 0 && memory_charged(h, w->charge)) sim_violation(sim, "w%u: refused, but its reservation is not given back", w->number);
    if (!w->refused && w->released) sim_violation(sim, "w%u: released inside its spawn", w->number);
}

static void stop_one(host *h)
{
    if (!h->worker_count) return;
    sim_worker *w = h->workers[sim_below(&h->sim, h->worker_count)];
    if (w->refused) return;
    w->model->failed = true;
    int rc = cadre_worker_stop(h->pool, w->id);
    sim_log(&h->sim, "stop of w%u: %s", w->number, cadre_err_name(rc));
    bool gone = w->exited || (w->told && !w->ready);
    if (rc == CADRE_ESTALE     ? !gone
        : rc == CADRE_EALREADY ? !w->stopped && !h->closing && !(w->told && !w->ready) && w->rc == 1 && w->kind == LOAD_NULL
                               : rc != CADRE_OK)
        sim_violation(&h->sim, "w%u: stop answers %s", w->number, cadre_err_name(rc));
    if (rc == CADRE_OK) w->stopped = true;
}

static void use_weights(host *h, sim_model *m)
{
    if (!m->weights) {
        load_weights(h, m);
        return;
    }
    switch (sim_below(&h->sim, 5)) {
    case 0:
        cadre_weights_future_release(m->weights);
        m->weights = NULL;
        break;
    case 1: cadre_future_cancel((cadre_future *)m->weights); break;
    case 2: cadre_weights_future_set_deadline(m->weights, (int64_t)sim_span(&h->sim, 20)); break;
    default:
        if (cadre_future_on_complete((cadre_future *)m->weights, waited, h) == CADRE_OK) h->waits_asked++;
    }
}

void load_act(host *h)
{
    sim_model *m = &h->models[sim_below(&h->sim, h->model_count)];
    switch (sim_below(&h->sim, 4)) {
    case 0:
    case 1: stop_one(h); break;
    case 2: use_weights(h, m); break;
    default: cadre_reservation_release(memory_reserve(h, &(int){0}));
    }
}

void load_settle_all(host *h)
{
    for (unsigned i = 0; i < h->worker_count; i++) settle(h->workers[i]);
    for (sim_payload *p = h->payloads; p; p = p->next) weights_settle(p);
}

void load_check_closed(host *h)
{
    for (unsigned i = 0; i < h->worker_count; i++) {
        const sim_worker *w = h->workers[i];
        if (w->refused) continue;
        if (!w->told) sim_violation(&h->sim, "w%u: on_ready never runs", w->number);
        if (w->ready && !w->exited) sim_violation(&h->sim, "w%u: on_exit has not run at the close", w->number);
    }
    if (h->waits_asked != h->waits_told)
        sim_violation(&h->sim, "%llu waiters of futures, %llu were told", (unsigned long long)h->waits_asked, (unsigned long long)h->waits_told);
}

void load_check_end(host *h)
{
    for (unsigned i = 0; i < h->worker_count; i++) {
        sim_worker *w = h->workers[i];
        if (!w->released) sim_violation(&h->sim, "w%u: its loader is never released", w->number);
        if (w->instances) sim_violation(&h->sim, "w%u: %u models are never destroyed", w->number, w->instances);
        free(w);
    }
    free(h->workers);
    while (h->payloads) {
        sim_payload *p = h->payloads;
        h->payloads = p->next;
        if (p->made && !p->gone) sim_violation(&h->sim, "weights are never destroyed");
        free(p);
    }
}
