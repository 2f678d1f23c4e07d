/* Loaders of every kind, weights, and the life of workers as a host is told of it. */
#include "host.h"

#include "pool/worker.h"

#include <stdlib.h>

/* ---- loads of models ---- */

static int make(cadre_load_context *context, cadre_weights *source, void *data, model_value *out)
{
    sim_worker *w = data;
    host *h = w->host;
    bool blocking = w->kind == LOAD_BLOCKING || w->kind == LOAD_CHAINED;
    sim_payload *payload = cadre_weights_payload(source);
    if (blocking != (h->sim.current != NULL)) sim_violation(&h->sim, "w%u: loaded on the wrong thread", w->number);
    if (!source != (w->kind == LOAD_BLOCKING)) sim_violation(&h->sim, "w%u: loaded with, or without, weights", w->number);
    if (w->entry ? w->entry->released || w->entry->closed : w->released) sim_violation(&h->sim, "w%u: loaded after its loader's release", w->number);
    for (unsigned i = 0; blocking && i < 3; i++) {
        if (sim_one_in(&h->sim, 2)) cadre_load_progress(context, i / 3.0, i, 3, "read");
        sim_busy(&h->sim, sim_span(&h->sim, 10 * CADRE__NS_PER_MS));
        if (w->entry ? w->entry->released : w->released) sim_violation(&h->sim, "w%u: its loader is released while it loads", w->number);
    }
    if (blocking && w->sticks && !h->relented && !h->calm) sim_stick(&h->sim);
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
    int (*add)(sim_entry *e, const cadre_entry *entry, cadre_registry_cb cb);
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
    static int NAME##_add(sim_entry *e, const cadre_entry *entry, cadre_registry_cb cb);                                                                       \
    static const family NAME##_family = {NAME##_blocking, NAME##_shared, NAME##_spawn, NAME##_add};                                                            \
    static NAME##_future *NAME##_load(cadre_load_context *context, void *data)                                                                                 \
    {                                                                                                                                                          \
        return (NAME##_future *)load(&NAME##_family, context, data);                                                                                           \
    }                                                                                                                                                          \
    static int NAME##_spawn(sim_worker *w, cadre_reservation *owned, const cadre_spawn_options *options)                                                       \
    {                                                                                                                                                          \
        NAME##_loader loader = {sizeof loader, NAME##_load, w, release};                                                                                       \
        return cadre_spawn_##CAPABILITY(w->host->pool, w->model->key, &loader, owned, options, on_ready, w, &w->id);                                           \
    }                                                                                                                                                          \
    static NAME##_future *NAME##_attempt(cadre_load_context *context, void *data)                                                                              \
    {                                                                                                                                                          \
        return (NAME##_future *)load(&NAME##_family, context, load_attempt(data, cadre_load_worker(context)));                                                 \
    }                                                                                                                                                          \
    static int NAME##_add(sim_entry *e, const cadre_entry *entry, cadre_registry_cb cb)                                                                        \
    {                                                                                                                                                          \
        NAME##_loader loader = {sizeof loader, NAME##_attempt, e, registry_released};                                                                          \
        return cadre_registry_add_##CAPABILITY(e->host->pool, entry, &loader, cb, e);                                                                          \
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
        if (made->unpaid && made->paid) made->paid = false, w->model->instances--;
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
    if (!w->sticks || h->calm || h->relented) sim_plan(&h->sim, sim_span(&h->sim, 50 * CADRE__NS_PER_MS), settle, w);
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
    sim_log(&h->sim, "w%u of %s loads, kind %d%s%s", w->number, m->key, w->kind, w->outcome ? ", fails" : "", w->sticks ? ", sticks" : "");
    if ((w->kind == LOAD_SHARED || w->kind == LOAD_CHAINED) && !m->weights) load_weights(h, m);
    if (!m->weights) m->turmoil = true;
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

static sim_worker *worker_new(host *h, sim_model *m)
{
    sim_worker *w = calloc(1, sizeof *w);
    if (!w) abort();
    if (h->worker_count == h->worker_capacity) {
        h->worker_capacity = h->worker_capacity ? h->worker_capacity * 2 : 16;
        h->workers = realloc(h->workers, h->worker_capacity * sizeof *h->workers);
        if (!h->workers) abort();
    }
    *w = (sim_worker){.host = h, .model = m, .number = h->worker_count, .charge = -1};
    h->workers[h->worker_count++] = w;
    return w;
}

int load_add(sim_entry *e, const cadre_entry *entry, cadre_registry_cb cb)
{
    return families[e->model->capability]->add(e, entry, cb);
}

sim_worker *load_attempt(sim_entry *e, cadre_worker_id id)
{
    host *h = e->host;
    simulator *sim = &h->sim;
    sim_worker *w = worker_new(h, e->model);
    w->entry = e;
    w->id = id;
    const cadre__worker *worker = cadre__table_get(&h->pool->workers, id);
    w->charge = worker ? memory_index(h, worker->charge) : -1;
    w->kind = h->fair ? (load_kind)sim_below(sim, LOAD_SHARED) : (load_kind)sim_below(sim, LOAD_NULL);
    if (e->backend >= 0) w->kind = LOAD_BLOCKING;
    if (h->fair || h->calm) return w;
    if (sim_one_in(sim, 40)) w->kind = (load_kind)sim_below(sim, LOAD_KINDS);
    if (e->backend >= 0) w->kind = LOAD_BLOCKING;
    if (e->fails && sim_one_in(sim, e->fails)) w->outcome = e->permanent ? CADRE_EFORMAT : CADRE_EENGINE;
    if (w->kind == LOAD_READY) w->outcome = CADRE_OK;
    w->sticks = e->sticks && sim_one_in(sim, 6);
    w->again = sim_one_in(sim, 6);
    w->wrong = sim_one_in(sim, 80) && w->kind <= LOAD_CHAINED;
    if (w->outcome || w->sticks || w->wrong || w->again || w->kind >= LOAD_NULL) e->model->turmoil = true;
    return w;
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
    sim_worker *w = worker_new(h, m);
    w->kind = (load_kind)sim_below(sim, LOAD_KINDS);
    if (w->kind >= LOAD_NULL && !sim_one_in(sim, 4)) w->kind = (load_kind)sim_below(sim, LOAD_NULL);
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
    bool taken = rc == CADRE_ECAPABILITY && m->misnamed; /* requests of another capability wait for the key */
    if (rc != expected && !taken && !(rc == CADRE_ENOMEM && h->out_of_memory)) sim_violation(sim, "w%u: spawn answers %s", w->number, cadre_err_name(rc));
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
    w->model->failed = w->model->turmoil = true;
    int rc = cadre_worker_stop(h->pool, w->id);
    sim_log(&h->sim, "stop of w%u: %s", w->number, cadre_err_name(rc));
    if (w->entry) return;
    bool gone = w->exited || (w->told && !w->ready);
    if (rc == CADRE_ESTALE     ? !gone
        : rc == CADRE_EALREADY ? !w->stopped && !h->closing && !(w->told && !w->ready) && w->rc == 1 && w->kind == LOAD_NULL
                               : rc != CADRE_OK)
        sim_violation(&h->sim, "w%u: stop answers %s", w->number, cadre_err_name(rc));
    if (rc == CADRE_OK) w->stopped = true;
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
        if (w->refused || w->entry) continue;
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
        if (!w->released && !w->entry) sim_violation(&h->sim, "w%u: its loader is never released", w->number);
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
