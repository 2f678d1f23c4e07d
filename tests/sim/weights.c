/* Weights that are shared: how they are made and destroyed, and the futures that a host holds of them. */
#include "host.h"

#include <stdlib.h>

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
    if (p->entry) p->entry->payloads--;
    if (p->entry && p->charge >= 0) p->entry->weights--;
    sim_log(&h->sim, "weights are destroyed");
}

int weights_fill(sim_payload *p, cadre_weights_value *out)
{
    if (p->outcome != CADRE_OK) return p->outcome;
    *out = (cadre_weights_value){sizeof *out, p, payload_destroy, &p->host->models};
    p->made = true;
    if (p->entry) p->entry->payloads++;
    if (p->entry && p->charge >= 0) p->entry->weights++;
    return CADRE_OK;
}

sim_payload *payload_new(host *h)
{
    sim_payload *p = calloc(1, sizeof *p);
    if (!p) abort();
    p->host = h;
    p->charge = -1;
    p->next = h->payloads;
    h->payloads = p;
    return p;
}

static int weights_load(cadre_load_context *context, void *data, cadre_weights_value *out)
{
    sim_payload *p = data;
    simulator *sim = &p->host->sim;
    if (!sim->current) sim_violation(sim, "weights are loaded on the loop");
    sim_busy(sim, sim_span(sim, 20 * CADRE__NS_PER_MS));
    if (cadre_load_cancelled(context) && sim_one_in(sim, 2)) return CADRE_ECANCELED;
    return weights_fill(p, out);
}

static void weights_release(void *data)
{
    sim_payload *p = data;
    if (p->released) sim_violation(&p->host->sim, "a weights loader's data is released twice");
    p->released = true;
}

void weights_settle(void *data)
{
    sim_payload *p = data;
    cadre_promise *promise = p->promise;
    if (!promise) return;
    p->promise = NULL;
    cadre_weights_value value = CADRE_WEIGHTS_VALUE_INIT;
    if (weights_fill(p, &value) == CADRE_OK) {
        int rc = cadre_promise_resolve(promise, CADRE_VALUE_WEIGHTS, &value);
        if (rc != CADRE_OK && rc != CADRE_EALREADY) {
            p->made = false;
            if (p->entry) p->entry->payloads--;
        }
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
    sim_payload *p = payload_new(h);
    p->blocking = sim_one_in(&h->sim, 2);
    p->outcome = sim_one_in(&h->sim, 8) && !h->calm ? CADRE_EFORMAT : CADRE_OK;
    if (p->outcome) m->turmoil = true;
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
        if (rc == CADRE_OK && (h->calm || h->relented || !sim_one_in(&h->sim, 20)))
            sim_plan(&h->sim, sim_span(&h->sim, 20 * CADRE__NS_PER_MS), weights_settle, p);
    }
    sim_log(&h->sim, "weights for %s: %s", m->key, cadre_err_name(rc));
    if (rc != (h->pool->closing && !h->pool->in_load ? CADRE_ECLOSED : CADRE_OK) && !(rc == CADRE_ENOMEM && h->out_of_memory))
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

void use_weights(host *h, sim_model *m)
{
    if (!m->weights) {
        load_weights(h, m);
        return;
    }
    m->turmoil = true;
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
