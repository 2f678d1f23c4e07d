/* Simulated backends: one that shares weights, one that does not, and one that has no asynchronous loads. */
#include "host.h"

#include "memory/ledger.h"
#include "pool/loader.h"

#include <stdlib.h>

static const cadre_option_spec specs[] = {{"number", CADRE_OPTION_INTEGER, 1, 0, 1e9, "which addition of the host's this is"}};

/* A step of something that may block: time passes, and it is not the loop. */
static void block(const host *h, const char *what, uint64_t most)
{
    simulator *sim = &sim_host->sim;
    if (!sim->current) sim_violation(sim, "a backend's %s runs on the loop", what);
    sim_busy(sim, sim_span(sim, h->fair ? most / 4 : most));
}

static int open_entry(const cadre_backend *backend, cadre_backend_entry *said, void **self)
{
    host *h = backend->data;
    simulator *sim = &h->sim;
    if (!said->options[0].given || said->options[0].integer >= (int64_t)h->entry_count) sim_violation(sim, "open is told options that nobody gave");
    sim_entry *e = h->entries[said->options[0].integer];
    if (e->opened || strcmp(said->key, e->model->key) != 0) sim_violation(sim, "e%u: open is called twice, or for another key", e->number);
    block(h, "open", 5 * CADRE__NS_PER_MS);
    if (e->open_fails) {
        snprintf(said->detail, sizeof said->detail, "open fails");
        return CADRE_EFORMAT;
    }
    said->need_count = e->need_count;
    for (size_t i = 0; i < e->need_count; i++) said->needs[i] = e->needs[i];
    e->opened = true;
    *self = e;
    return CADRE_OK;
}

static void close_entry(void *self)
{
    sim_entry *e = self;
    simulator *sim = &e->host->sim;
    if (!sim->current && !sim->closing) sim_violation(sim, "e%u: close runs on the loop", e->number);
    if (e->closed || !e->opened) sim_violation(sim, "e%u: close is called twice, or without an open", e->number);
    if (e->instances || e->payloads) sim_violation(sim, "e%u: close is called with %u models and %u weights of it left", e->number, e->instances, e->payloads);
    e->closed = true;
    sim_log(sim, "e%u is closed", e->number);
}

static int draw_failure(const sim_entry *e)
{
    host *h = e->host;
    if (h->calm || !e->fails || !sim_one_in(&h->sim, e->fails)) return CADRE_OK;
    e->model->turmoil = true;
    return e->permanent ? CADRE_EFORMAT : CADRE_EENGINE;
}

static cadre_weights_future *fetch(void *self, cadre_load_context *context)
{
    sim_entry *e = self;
    host *h = e->host;
    if (h->sim.current) sim_violation(&h->sim, "e%u: fetch runs on a thread", e->number);
    if (strcmp(cadre_load_key(context), e->model->key) != 0) sim_violation(&h->sim, "e%u: fetch is told another key", e->number);
    int outcome = draw_failure(e);
    if (outcome && sim_one_in(&h->sim, 3)) return NULL;
    sim_payload *p = payload_new(h);
    p->entry = e;
    p->outcome = outcome;
    cadre_weights_future *future = NULL;
    cadre_weights_promise *promise = NULL;
    if (cadre_weights_promise_create(h->pool, &promise, &future) != CADRE_OK) {
        e->model->turmoil = true;
        return NULL;
    }
    p->promise = (cadre_promise *)promise;
    bool stalls = e->sticks && !h->calm && !h->relented && sim_one_in(&h->sim, 8); /* settled when everything relents */
    if (stalls) e->model->turmoil = true;
    if (!stalls) sim_plan(&h->sim, sim_span(&h->sim, 20 * CADRE__NS_PER_MS), weights_settle, p);
    return future;
}

static void measure(const sim_entry *e, cadre_load_context *context, bool weights)
{
    simulator *sim = &e->host->sim;
    for (size_t i = 0; e->measures && i < e->need_count; i++) {
        uint64_t bytes = weights ? e->needs[i].weights_bytes : e->needs[i].weights_bytes + e->needs[i].worker_bytes;
        if (sim_one_in(sim, 2)) cadre_load_measured(context, e->needs[i].device, bytes / 2 + sim_below(sim, bytes * (sim_one_in(sim, 4) ? 4 : 1) + 1));
    }
}

static void read_slowly(const sim_entry *e, cadre_load_context *context)
{
    host *h = e->host;
    for (unsigned i = 0; i < 3; i++) {
        if (sim_one_in(&h->sim, 2)) cadre_load_progress(context, i / 3.0, i, 3, "read");
        block(h, "load", 10 * CADRE__NS_PER_MS);
        if (e->closed) sim_violation(&h->sim, "e%u: it is closed while it loads", e->number);
    }
    if (!e->sticks || h->calm || h->relented || !sim_one_in(&h->sim, 8)) return;
    e->model->turmoil = true;
    sim_stick(&h->sim);
}

static int load(void *self, cadre_load_context *context, cadre_weights *fetched, cadre_weights_value *out)
{
    sim_entry *e = self;
    host *h = e->host;
    if (!fetched == (e->asked.loader == CADRE_LOADER_ASYNC)) sim_violation(&h->sim, "e%u: loaded with, or without, what was fetched", e->number);
    sim_payload *p = payload_new(h);
    p->entry = e;
    p->blocking = true;
    const cadre__entry *entry = context->weights_of; /* the pool's: it stands still while a fiber runs */
    bool stands = e->model->entry == e && e->added;
    if (stands && entry && entry->weights && entry->weights->promise == context->promise) p->charge = memory_index(h, entry->weights->charge);
    read_slowly(e, context);
    if (cadre_load_cancelled(context) && sim_one_in(&h->sim, 2)) return CADRE_ECANCELED;
    p->outcome = draw_failure(e);
    if (p->outcome) return cadre_load_fail(context, p->outcome, "e%u: the weights' load fails", e->number);
    measure(e, context, true);
    return weights_fill(p, out);
}

static int make(void *self, cadre_load_context *context, cadre_weights *source, cadre_any_model *out)
{
    sim_entry *e = self;
    host *h = e->host;
    bool shares = h->backends[e->backend].shares_weights;
    if (!h->sim.current) sim_violation(&h->sim, "e%u: made on the wrong thread", e->number);
    if (!source == (shares || e->asked.loader == CADRE_LOADER_ASYNC)) sim_violation(&h->sim, "e%u: made with, or without, weights", e->number);
    sim_worker *w = load_attempt(e, cadre_load_worker(context));
    if (!shares) read_slowly(e, context);
    if (cadre_load_cancelled(context) && sim_one_in(&h->sim, 2)) return CADRE_ECANCELED;
    sim_payload *payload = cadre_weights_payload(source);
    if (payload && payload->gone) sim_violation(&h->sim, "e%u: the weights are destroyed while a model is made of them", e->number);
    if (w->outcome) return cadre_load_fail(context, w->outcome, "e%u: the load fails", e->number);
    if (w->wrong) return CADRE_OK;
    model_value value;
    model_make(w, payload, &value);
    memcpy(out, &value, sizeof value < sizeof *out ? sizeof value : sizeof *out);
    if (!shares) measure(e, context, false);
    return CADRE_OK;
}

void backend_open(host *h)
{
    static const char *const names[BACKENDS] = {"shares", "copies", "plain"};
    for (int i = 0; i < BACKENDS; i++) {
        h->backends[i] = (cadre_backend){.version = CADRE_BACKEND_VERSION,
                                         .size = sizeof h->backends[i],
                                         .name = names[i],
                                         .capabilities = (1u << CADRE_CAPABILITY_COUNT) - 1,
                                         .shares_weights = i == 0,
                                         .options = specs,
                                         .option_count = 1,
                                         .open = open_entry,
                                         .close = close_entry,
                                         .fetch = i < 2 ? fetch : NULL,
                                         .load = i == 0 ? load : NULL,
                                         .make = make,
                                         .data = h};
        int rc = cadre_backend_register(h->pool, &h->backends[i]);
        if (rc != CADRE_OK) sim_violation(&h->sim, "a backend is refused with %s", cadre_err_name(rc));
    }
}
