/* Breakers and admission, counted once more: what an entry must answer, and in which state its breaker must be after each answer. */
#include "host.h"

#include "pool/model.h"
#include "pool/request.h"

static bool says_nothing(int status, bool ran)
{
    static const int neutral[] = {CADRE_EINVAL,  CADRE_EINPUT, CADRE_ETOOLONG, CADRE_ENOTSUP, CADRE_ECANCELED,
                                  CADRE_ECLOSED, CADRE_ENOENT, CADRE_EBREAKER, CADRE_EBUDGET};
    for (size_t i = 0; i < sizeof neutral / sizeof *neutral; i++)
        if (status == neutral[i]) return true;
    return status < 0 && !ran;
}

static void note(sim_entry *e, const cadre__breaker *real, int status, bool probe)
{
    if (status >= 0) {
        e->failures = 0;
        if (e->breaker == CADRE__BREAKER_HALF_OPEN && probe && ++e->successes >= real->successes_max) e->breaker = CADRE__BREAKER_CLOSED;
        return;
    }
    e->failures++;
    bool closed_opens = e->breaker == CADRE__BREAKER_CLOSED && real->failures_max && e->failures >= real->failures_max;
    if (closed_opens || (e->breaker == CADRE__BREAKER_HALF_OPEN && probe)) e->breaker = CADRE__BREAKER_OPEN;
}

void breaker_answered(sim_request *r, const cadre_request *request, int status)
{
    static const char *const names[] = {"closed", "open", "half open"};
    sim_entry *e = r->model->entry;
    const cadre__entry *entry = request->model->entry;
    if (!e || !entry) return;
    if (e->breaker == CADRE__BREAKER_OPEN && entry->breaker.state != CADRE__BREAKER_OPEN) { /* a request was let in */
        e->breaker = CADRE__BREAKER_HALF_OPEN;
        e->successes = 0;
    }
    bool ran = request->begun;
    if (!says_nothing(status, ran)) note(e, &entry->breaker, status, request->probe);
    if (e->breaker != entry->breaker.state)
        sim_violation(&r->host->sim, "%s: its breaker is %s, but after %u failures in a row and %u probes that succeeded it must be %s", r->model->key,
                      names[entry->breaker.state], e->failures, e->successes, names[e->breaker]);
}

static unsigned live_probes(const host *h, const cadre__model *model)
{
    unsigned probes = 0;
    for (unsigned i = 0; i < h->open_count; i++) {
        const cadre_request *request = cadre__table_get(&h->pool->requests, h->open[i]->id);
        probes += request && request->model == model && request->probe;
    }
    return probes;
}

int expected_of_entry(const host *h, const cadre__entry *entry, int *also)
{
    const cadre__model *model = entry->model;
    uint64_t now = cadre__pool_now(h->pool), soon = now + 10 * h->sim.tick;
    if (entry->removing) return CADRE_ENOENT;
    if (entry->refused && !model->ready && !model->loading && !entry->reserving && now < entry->retry_at) {
        if (soon >= entry->retry_at) *also = CADRE_OK;
        return entry->status;
    }
    if (entry->breaker.state == CADRE__BREAKER_CLOSED) return CADRE_OK;
    if (entry->breaker.state == CADRE__BREAKER_OPEN && now < entry->breaker.open_until) {
        if (soon >= entry->breaker.open_until) *also = CADRE_OK;
        return CADRE_EBREAKER;
    }
    return live_probes(h, model) >= entry->breaker.probes_max ? CADRE_EBREAKER : CADRE_OK;
}
