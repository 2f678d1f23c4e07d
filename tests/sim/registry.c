/* The host and the registry: additions, loads, unloads, removals, pins, lookups, reservations that wait; and what it is told of them. */
#include "host.h"

#include "memory/reserve.h"
#include "pool/model.h"

#include <stdlib.h>

/* ---- additions ---- */

void registry_released(void *data)
{
    sim_entry *e = data;
    simulator *sim = &e->host->sim;
    if (e->released) sim_violation(sim, "e%u: its loader is released twice", e->number);
    if (sim->current && !sim->current->abandoned) sim_violation(sim, "e%u: its loader is released on another thread than the loop", e->number);
    e->released = true;
    sim_log(sim, "e%u is released", e->number);
}

static bool fits(const sim_entry *e)
{
    uint64_t workers = e->asked.min_workers > 1 ? (uint64_t)e->asked.min_workers : 1;
    for (size_t i = 0; i < e->need_count; i++) {
        const cadre_memory_need *need = &e->needs[i];
        uint64_t asked = need->weights_bytes * (e->backend == 0 ? 1 : workers) + need->worker_bytes * workers;
        if (asked > e->host->pool->accounts[need->device].budget) return false;
    }
    return true;
}

static void added(cadre_pool *pool, int status, const char *detail, void *data)
{
    sim_entry *e = data;
    host *h = e->host;
    simulator *sim = &h->sim;
    sim_model *m = e->model;
    sim_log(sim, "e%u of %s is added: %s (%s)", e->number, m->key, cadre_err_name(status), detail);
    if (sim->current || pool != h->pool) sim_violation(sim, "e%u: its callback runs on a thread", e->number);
    if (!e->accepted || e->told) sim_violation(sim, "e%u: its callback runs twice, or inside its addition", e->number);
    if (!status != !*detail) sim_violation(sim, "e%u: %s with the detail \"%s\"", e->number, cadre_err_name(status), detail);
    e->told = true;
    m->adding--;
    const cadre__model *model = cadre__model_find(pool, m->key);
    bool expected = status == CADRE_OK ? !e->open_fails || e->backend < 0
                    : status == CADRE_EEXIST
                        ? model && (model->entry || model->ready || model->loading || model->leaving || model->ending || model->running || model->abandoned)
                    : status == CADRE_EBUDGET ? !fits(e)
                    : status == CADRE_EFORMAT ? e->open_fails && e->backend >= 0
                    : status == CADRE_ECLOSED ? h->closing
                    : status == CADRE_ETHREAD ? sim->starts_fail > 0 || h->out_of_memory
                                              : status == CADRE_ENOMEM && h->out_of_memory;
    if (!expected) sim_violation(sim, "e%u: its addition ends with %s, \"%s\"", e->number, cadre_err_name(status), detail);
    if (status != CADRE_OK) return;
    if (m->entry || !fits(e)) sim_violation(sim, "e%u: it is added beside another, or although it does not fit", e->number);
    e->added = true;
    m->entry = e;
    if (e->asked.load_timeout_ms > 0 || e->asked.stall_timeout_ms > 0) m->turmoil = true;
    host_reenter(h);
}

static int add_by_text(sim_entry *e)
{
    char text[512];
    static const char *const kinds[] = {"sync", "async", "preloaded"};
    cadre_entry *a = &e->asked, plain = CADRE_ENTRY_INIT;
    plain.key = a->key, plain.capability = a->capability, plain.backend = a->backend, plain.options = a->options;
    plain.loader = a->loader == CADRE_DEFAULT ? CADRE_LOADER_SYNC : a->loader;
    plain.max_workers = 2, plain.idle_timeout_ms = 100;
    *a = plain;
    int length = snprintf(text, sizeof text,
                          "{\"models\": [{\"key\": \"%s\", \"capability\": \"%s\", \"backend\": \"%s\", \"options\": %s, \"loader\": \"%s\", "
                          "\"workers\": {\"max\": 2}, \"idle_timeout_ms\": 100}]}",
                          a->key, cadre_capability_name((cadre_capability)a->capability), a->backend, a->options, kinds[a->loader]);
    return cadre_registry_load_text(e->host->pool, text, (size_t)length, NULL, added, e);
}

void registry_add(host *h, sim_model *m)
{
    simulator *sim = &h->sim;
    sim_entry *e = entry_make(h, m);
    int rc;
    if (e->backend < 0)
        rc = load_add(e, &e->asked, added);
    else if (sim_one_in(sim, 5) && !h->fair)
        rc = add_by_text(e);
    else
        rc = cadre_registry_add(h->pool, &e->asked, added, e);
    sim_log(sim, "e%u of %s, backend %d, kind %d, workers %d %d %d%s: %s", e->number, m->key, e->backend, e->asked.loader, e->asked.initial_workers,
            e->asked.min_workers, e->asked.max_workers, e->asked.pinned == 1 ? ", pinned" : "", cadre_err_name(rc));
    for (size_t i = 0; i < e->need_count; i++)
        sim_log(sim, "  device %u: %llu + %llu of %llu", e->needs[i].device, (unsigned long long)e->needs[i].weights_bytes,
                (unsigned long long)e->needs[i].worker_bytes, (unsigned long long)h->pool->accounts[e->needs[i].device].budget);
    if (rc != (h->pool->closing ? CADRE_ECLOSED : CADRE_OK) && !(rc == CADRE_ENOMEM && h->out_of_memory))
        sim_violation(sim, "e%u: its addition is answered with %s (%s)", e->number, cadre_err_name(rc), cadre_pool_error_detail(h->pool));
    e->accepted = rc == CADRE_OK;
    if (e->accepted) m->adding++;
    if (!e->accepted && e->backend < 0 && !e->released) sim_violation(sim, "e%u: it is refused, but its loader is not released", e->number);
    if (e->accepted && e->released) sim_violation(sim, "e%u: its loader is released inside its addition", e->number);
}

/* ---- those who wait ---- */

static sim_wish *wish_new(host *h, sim_model *m, wish_kind kind)
{
    sim_wish *w = calloc(1, sizeof *w);
    if (!w) abort();
    *w = (sim_wish){.next = h->wishes, .host = h, .model = m, .entry = m ? m->entry : NULL, .kind = kind};
    h->wishes = w;
    return w;
}

static void wish_drop(host *h)
{
    sim_wish *w = h->wishes;
    h->wishes = w->next;
    free(w);
}

static void heard(sim_wish *w, const cadre_pool *pool, int status, const char *detail)
{
    static const char *const names[] = {"load", "unload", "removal", "reservation", "manifest"};
    host *h = w->host;
    sim_log(&h->sim, "%s of %s is over: %s (%s)", names[w->kind], w->model ? w->model->key : "", cadre_err_name(status), detail);
    if (h->sim.current || pool != h->pool) sim_violation(&h->sim, "a %s is told on a thread", names[w->kind]);
    if (w->told) sim_violation(&h->sim, "a %s is told twice", names[w->kind]);
    w->told = true;
    if (!status != !*detail) sim_violation(&h->sim, "a %s: %s with the detail \"%s\"", names[w->kind], cadre_err_name(status), detail);
    if (h->fair && status != CADRE_OK) sim_violation(&h->sim, "a %s ends with %s, \"%s\", for no reason", names[w->kind], cadre_err_name(status), detail);
}

static void check_empty(sim_wish *w, const char *what)
{
    host *h = w->host;
    sim_model *m = w->model;
    const cadre__model *model = cadre__model_find(h->pool, m->key);
    if (m->entry != w->entry) return;
    if (w->entry->instances && m->instances) sim_violation(&h->sim, "%s: its %s is over, and %u models are left", m->key, what, m->instances);
    if (w->entry->weights) sim_violation(&h->sim, "%s: its %s is over, and %u weights are left", m->key, what, w->entry->weights);
    if (model && model->entry && model->entry->reservations)
        sim_violation(&h->sim, "%s: its %s is over, and %u reservations are left", m->key, what, model->entry->reservations);
}

static void loaded(cadre_pool *pool, int status, const char *detail, void *data)
{
    sim_wish *w = data;
    heard(w, pool, status, detail);
    const cadre__model *model = cadre__model_find(pool, w->model->key);
    if (status == CADRE_OK && (!model || !model->ready) && !w->model->failed)
        sim_violation(&w->host->sim, "%s: a load is done, and no worker is ready", w->model->key);
    if (status != CADRE_OK && !w->model->turmoil && !w->host->out_of_memory && !w->host->sim.starts_fail && status != CADRE_EBUDGET &&
        status != CADRE_ECANCELED && !(status == CADRE_ECLOSED && w->host->closing) && !(status == CADRE_ETIMEDOUT && w->host->sim.sticky))
        sim_violation(&w->host->sim, "%s: a load ends with %s, \"%s\", for no reason", w->model->key, cadre_err_name(status), detail);
    host_reenter(w->host);
}

static void unloaded(cadre_pool *pool, int status, const char *detail, void *data)
{
    sim_wish *w = data;
    heard(w, pool, status, detail);
    if (status == CADRE_OK)
        check_empty(w, "unload");
    else if (status != CADRE_ECLOSED || !w->host->closing)
        sim_violation(&w->host->sim, "%s: an unload ends with %s", w->model->key, cadre_err_name(status));
    host_reenter(w->host);
}

static void removed(cadre_pool *pool, int status, const char *detail, void *data)
{
    sim_wish *w = data;
    heard(w, pool, status, detail);
    if (status == CADRE_OK) {
        check_empty(w, "removal");
        if (w->model->entry != w->entry) sim_violation(&w->host->sim, "%s: another entry was removed", w->model->key);
        w->entry->removed = true;
        w->model->entry = NULL;
    } else if (status != CADRE_ECLOSED || !w->host->closing) {
        sim_violation(&w->host->sim, "%s: a removal ends with %s", w->model->key, cadre_err_name(status));
    }
    host_reenter(w->host);
}

static void act_on_one(host *h, sim_model *m, wish_kind kind)
{
    simulator *sim = &h->sim;
    cadre__model *model = cadre__model_find(h->pool, m->key);
    const cadre__entry *entry = model ? model->entry : NULL;
    int expected = !entry || (kind == WISH_LOAD && entry->removing) ? CADRE_ENOENT : CADRE_OK;
    if (!expected && kind == WISH_UNLOAD && (entry->pinned || entry->spec->entry.min_workers > 0)) expected = CADRE_EBUSY;
    if (!expected && kind == WISH_REMOVE && entry->removing) expected = CADRE_EBUSY;
    if (!expected && kind == WISH_REMOVE && !model->ready && (model->loading || entry->reserving)) expected = CADRE_EBUSY;
    if (!expected && h->pool->closing) expected = CADRE_ECLOSED;
    if ((entry != NULL) != (m->entry != NULL) && !h->closing && !h->depth)
        sim_violation(sim, "%s: the host and the pool do not agree whether it is there", m->key);
    sim_wish *w = wish_new(h, m, kind);
    int rc = kind == WISH_LOAD     ? cadre_model_load(h->pool, m->key, loaded, w)
             : kind == WISH_UNLOAD ? cadre_model_unload(h->pool, m->key, unloaded, w)
                                   : cadre_registry_remove(h->pool, m->key, removed, w);
    sim_log(sim, "%s of %s: %s", kind == WISH_LOAD ? "load" : kind == WISH_UNLOAD ? "unload" : "remove", m->key, cadre_err_name(rc));
    if (rc != expected && !(rc == CADRE_ENOMEM && h->out_of_memory))
        sim_violation(sim, "%s: wish %d is answered with %s, not %s", m->key, kind, cadre_err_name(rc), cadre_err_name(expected));
    if (rc != CADRE_OK) wish_drop(h);
}

static void pin(host *h, sim_model *m)
{
    const cadre__model *model = cadre__model_find(h->pool, m->key);
    bool known = model && model->entry && !model->entry->removing, pinned = sim_one_in(&h->sim, 4);
    int rc = cadre_model_pin(h->pool, m->key, pinned);
    sim_log(&h->sim, "%s of %s: %s", pinned ? "pin" : "unpin", m->key, cadre_err_name(rc));
    if (rc != (known ? CADRE_OK : CADRE_ENOENT)) sim_violation(&h->sim, "%s: pin answers %s", m->key, cadre_err_name(rc));
}

/* ---- memory ---- */

static void draw_amounts(host *h, cadre_memory_amount *amounts, size_t *count)
{
    *count = sim_below(&h->sim, h->device_count + 2);
    for (size_t i = 0; i < *count; i++) {
        uint32_t device = (uint32_t)sim_below(&h->sim, h->device_count + 1);
        amounts[i] = (cadre_memory_amount){device, sim_below(&h->sim, h->pool->accounts[device].budget / (sim_one_in(&h->sim, 3) ? 1 : 4) + 2)};
    }
}

static void granted(cadre_pool *pool, int status, cadre_reservation *owned, const char *detail, void *data)
{
    sim_wish *w = data;
    host *h = w->host;
    heard(w, pool, status, detail);
    bool expected = status == CADRE_OK          ? owned && !w->cancelled
                    : status == CADRE_ECANCELED ? w->cancelled
                    : status == CADRE_ETIMEDOUT ? w->timed
                    : status == CADRE_ECLOSED   ? h->closing
                                                : status == CADRE_EBUDGET || (status == CADRE_ENOMEM && h->out_of_memory);
    if (!expected || (status != CADRE_OK && owned)) sim_violation(&h->sim, "a reservation ends with %s, \"%s\"", cadre_err_name(status), detail);
    cadre_reservation **place = &h->held[sim_below(&h->sim, sizeof h->held / sizeof *h->held)];
    if (h->calm || *place || sim_one_in(&h->sim, 3))
        cadre_reservation_release(owned);
    else
        *place = owned;
    host_reenter(h);
}

static void reserve(host *h)
{
    simulator *sim = &h->sim;
    cadre_memory_amount amounts[DEVICES_MAX];
    size_t count;
    draw_amounts(h, amounts, &count);
    cadre_reserve_options options = CADRE_RESERVE_OPTIONS_INIT;
    options.priority = sim_one_in(sim, 2) ? CADRE_DEFAULT : (int32_t)sim_below(sim, CADRE_PRIORITY_COUNT);
    sim_wish *w = wish_new(h, NULL, WISH_RESERVE);
    w->timed = sim_one_in(sim, 2);
    if (w->timed) options.timeout_ms = 1 + (int64_t)sim_span(sim, 200);
    int rc = cadre_memory_reserve(h->pool, amounts, count, &options, granted, w, &w->id);
    sim_log(sim, "reservation of %zu amounts, timeout %lld: %s", count, (long long)options.timeout_ms, cadre_err_name(rc));
    bool expected = h->pool->closing ? rc == CADRE_ECLOSED : rc == CADRE_OK || rc == CADRE_EBUDGET || (rc == CADRE_ENOMEM && h->out_of_memory);
    if (!expected || (rc == CADRE_OK) != (w->id != 0)) sim_violation(sim, "a reservation is answered with %s", cadre_err_name(rc));
    if (rc != CADRE_OK) wish_drop(h);
}

static void cancel_reserve(host *h)
{
    sim_wish *w = h->wishes;
    for (uint64_t skip = sim_below(&h->sim, 4); w && (w->kind != WISH_RESERVE || w->told || skip--);) w = w->next;
    if (!w) return;
    int rc = cadre_memory_cancel(h->pool, w->id);
    sim_log(&h->sim, "cancel of a reservation: %s", cadre_err_name(rc));
    if (rc != CADRE_OK && !w->cancelled) sim_violation(&h->sim, "the cancel of a reservation that waits answers %s", cadre_err_name(rc));
    w->cancelled = true;
}

static void explain(host *h)
{
    static char text[8192], again[64];
    cadre_memory_amount amounts[DEVICES_MAX];
    size_t count;
    draw_amounts(h, amounts, &count);
    int64_t length = cadre_memory_explain(h->pool, amounts, count, text, sizeof text);
    if (length == CADRE_ENOMEM && h->out_of_memory) return;
    if (length < 0 || (length < (int64_t)sizeof text && (size_t)length != strlen(text))) sim_violation(&h->sim, "explain has %lld bytes", (long long)length);
    if (h->out_of_memory || h->sim.tick) return; /* then it may say something else */
    if (cadre_memory_explain(h->pool, amounts, count, again, sizeof again) != length || strncmp(again, text, sizeof again - 1) != 0)
        sim_violation(&h->sim, "explain says two things");
}

/* ---- seeing inside ---- */

static void take_text(const char *text, size_t length, void *data)
{
    uint64_t *sum = data;
    for (size_t i = 0; i < length; i++) *sum = *sum * 31 + (unsigned char)text[i];
}

static void look(host *h)
{
    uint64_t sum = 0, workers = 0;
    cadre_snapshot snapshot = {.size = sizeof snapshot};
    if (cadre_pool_prometheus(h->pool, take_text, &sum) != CADRE_OK && !h->out_of_memory) sim_violation(&h->sim, "prometheus fails");
    if (cadre_pool_health_json(h->pool, take_text, &sum) != CADRE_OK && !h->out_of_memory) sim_violation(&h->sim, "health fails");
    if (cadre_pool_snapshot(h->pool, &snapshot) != CADRE_OK) sim_violation(&h->sim, "snapshot fails");
    if (snapshot.requests_queued + snapshot.requests_running > h->pool->open_requests || snapshot.models != h->pool->entry_count)
        sim_violation(&h->sim, "the snapshot does not show what is there");
    int64_t count = cadre_registry_list(h->pool, NULL, NULL, NULL);
    for (unsigned i = 0; i < h->model_count; i++) workers += h->models[i].entry != NULL;
    if (count != (int64_t)workers && !h->closing && !h->depth)
        sim_violation(&h->sim, "%lld models are listed, not %llu", (long long)count, (unsigned long long)workers);
    for (unsigned i = 0; i < h->model_count; i++) {
        cadre_entry_info info = CADRE_ENTRY_INFO_INIT;
        cadre_registry_get(h->pool, h->models[i].key, &info);
    }
}

static void bad_text(cadre_pool *pool, int status, const char *detail, void *data)
{
    sim_wish *w = data;
    heard(w, pool, status, detail);
    bool closed = status == CADRE_ECLOSED && w->host->closing,
         poor = (status == CADRE_ENOMEM || status == CADRE_ETHREAD) && (w->host->out_of_memory || w->host->sim.starts_fail);
    if (status != w->expected && !closed && !poor) sim_violation(&w->host->sim, "a manifest ends with %s, \"%s\"", cadre_err_name(status), detail);
}

static void load_text(host *h)
{
    static const char bad[] = "{\"models\": [{\"kye\": 1}]}", empty[] = "{\"models\": []}", torn[] = "{\"models\": [";
    static const char *const texts[] = {bad, empty, torn};
    uint64_t which = sim_below(&h->sim, 3);
    sim_wish *w = wish_new(h, NULL, WISH_TEXT);
    w->expected = which == 1 ? CADRE_OK : CADRE_EMANIFEST;
    int rc = cadre_registry_load_text(h->pool, texts[which], strlen(texts[which]), NULL, bad_text, w);
    if (rc != (h->pool->closing ? CADRE_ECLOSED : CADRE_OK) && !(rc == CADRE_ENOMEM && h->out_of_memory))
        sim_violation(&h->sim, "a manifest is answered with %s", cadre_err_name(rc));
    if (rc != CADRE_OK) wish_drop(h);
}

/* ---- operations ---- */

static sim_model *registered(host *h)
{
    for (int i = 0; i < 8; i++) {
        sim_model *m = &h->models[sim_below(&h->sim, h->model_count)];
        if (m->registered) return m;
    }
    return NULL;
}

void registry_act(host *h)
{
    sim_model *m = registered(h);
    uint64_t what = sim_below(&h->sim, 100);
    if (!m) return;
    if (what < 14)
        registry_add(h, m);
    else if (what < 30)
        act_on_one(h, m, WISH_LOAD);
    else if (what < 42)
        act_on_one(h, m, WISH_UNLOAD);
    else if (what < 50)
        act_on_one(h, m, WISH_REMOVE);
    else if (what < 56)
        pin(h, m);
    else if (what < 68)
        reserve(h);
    else if (what < 72)
        cancel_reserve(h);
    else if (what < 76)
        explain(h);
    else if (what < 80)
        look(h);
    else if (what < 83)
        load_text(h);
    else if (what < 88)
        cadre__pressure_system(h->pool, (cadre_pressure)sim_below(&h->sim, 4));
    else
        memory_release_held(h);
}

void registry_open(host *h)
{
    for (unsigned i = 0; i < h->model_count; i++)
        if (h->models[i].registered) registry_add(h, &h->models[i]);
}

void registry_rest(host *h)
{
    memory_release_held(h);
}

void registry_check_closed(host *h)
{
    for (const sim_wish *w = h->wishes; w; w = w->next)
        if (!w->told) sim_violation(&h->sim, "wish %d of %s is never told", w->kind, w->model ? w->model->key : "the host");
    for (unsigned i = 0; i < h->entry_count; i++) {
        const sim_entry *e = h->entries[i];
        if (e->accepted && !e->told) sim_violation(&h->sim, "e%u: its addition is never told", e->number);
    }
}

void registry_check_end(host *h)
{
    for (unsigned i = 0; i < h->entry_count; i++) {
        sim_entry *e = h->entries[i];
        if (e->backend < 0 && !e->released) sim_violation(&h->sim, "e%u: its loader is never released", e->number);
        if (e->opened && !e->closed) sim_violation(&h->sim, "e%u: it is opened and never closed", e->number);
        free(e);
    }
    free(h->entries);
    while (h->wishes) wish_drop(h);
}
