/* The registry's insides: entries against their models, reservations against the ledger, evictions as they happen; and at rest, that whatever waits has a
 * reason that will pass. */
#include "host.h"

#include "memory/ledger.h"
#include "pool/model.h"
#include "pool/worker.h"

/* ---- as they happen ---- */

/* The linker puts these before the library's own, for callers in other files. */
__typeof__(cadre__entry_evict) __real_cadre__entry_evict, __wrap_cadre__entry_evict;
void __wrap_cadre__entry_evict(cadre__entry *entry, cadre__worker *worker, bool last, const char *by, const char *reason)
{
    simulator *sim = &sim_host->sim;
    const cadre__model *model = entry->model;
    uint32_t least = (uint32_t)entry->spec->entry.min_workers;
    sim_log(sim, "%s: eviction, %s", model->key, reason);
    if (worker && (worker->running || worker->model != model)) sim_violation(sim, "%s: a busy worker is evicted", model->key);
    if (entry->pinned) sim_violation(sim, "%s: it is pinned, and evicted", model->key);
    if (model->loading || (entry->weights && entry->weights->status == 0)) sim_violation(sim, "%s: it is evicted while it loads", model->key);
    if (worker && !worker->ended && model->ready <= least) sim_violation(sim, "%s: a worker of its minimum is evicted", model->key);
    if (last && model->ready > 1) sim_violation(sim, "%s: its weights are evicted, and %u workers stay", model->key, model->ready - 1);
    __real_cadre__entry_evict(entry, worker, last, by, reason);
}

__typeof__(cadre__worker_end) __real_cadre__worker_end, __wrap_cadre__worker_end;
void __wrap_cadre__worker_end(cadre__worker *worker, int status, const char *detail)
{
    simulator *sim = &sim_host->sim;
    const cadre__model *model = worker->model;
    const cadre__entry *entry = model->entry;
    if (entry && !worker->ended && strcmp(detail, "idle") == 0) {
        uint32_t least = (uint32_t)entry->spec->entry.min_workers;
        if (worker->running || model->ready <= least || (entry->pinned && model->ready <= 1))
            sim_violation(sim, "%s: a worker that is needed goes for idleness", model->key);
    }
    __real_cadre__worker_end(worker, status, detail);
}

/* ---- after every event ---- */

static void check_charges(host *h, const cadre__entry *entry)
{
    uint64_t bytes[DEVICES_MAX] = {0};
    uint32_t count = 0;
    for (unsigned i = 0; i < h->live_charge_count; i++) {
        const cadre_reservation *r = h->charges[h->live_charges[i]].handle;
        if (r->entry != entry) continue;
        count++;
        for (size_t k = 0; k < r->count; k++) bytes[r->amounts[k].device] += r->amounts[k].bytes;
    }
    const char *key = entry->model->key;
    if (h->pool->closing >= CADRE__REAPING) return; /* what a thread gives back after the port has closed is not told */
    if (count != entry->reservations) sim_violation(&h->sim, "%s: %u live reservations, but it counts %u", key, count, entry->reservations);
    if (count ? cadre__list_empty(&entry->resident) : !cadre__list_empty(&entry->resident)) sim_violation(&h->sim, "%s: whether it is resident is wrong", key);
    for (size_t d = 0; d < h->pool->account_count; d++)
        if (bytes[d] != entry->charged[d])
            sim_violation(&h->sim, "%s: %llu bytes of live reservations on device %zu, but %llu charged", key, (unsigned long long)bytes[d], d,
                          (unsigned long long)entry->charged[d]);
}

static void check_loads(host *h, const cadre__entry *entry)
{
    const cadre__model *model = entry->model;
    const cadre_entry *e = &entry->spec->entry;
    int32_t first = e->initial_workers > e->min_workers ? e->initial_workers : e->min_workers;
    if (first < 1) first = 1;
    if (model->loading > (uint32_t)first) sim_violation(&h->sim, "%s: %u loads at once, and %d workers come first", model->key, model->loading, first);
    if (model->loading + model->ready > (uint32_t)e->max_workers)
        sim_violation(&h->sim, "%s: %u workers load and %u are ready, and %d are the most", model->key, model->loading, model->ready, e->max_workers);
}

static void check_entry(host *h, const cadre__entry *entry)
{
    const cadre__model *model = entry->model;
    if (model->entry != entry || cadre__model_find(h->pool, model->key) != model) sim_violation(&h->sim, "%s: its model is another's", model->key);
    if (model->unknown) sim_violation(&h->sim, "%s: it is known and unknown", model->key);
    if (!entry->due.place && !entry->stopped) sim_violation(&h->sim, "%s: its deadline is not set", model->key);
    if (entry->reserving != (entry->reserve.id != 0)) sim_violation(&h->sim, "%s: it waits for memory, and does not", model->key);
    check_charges(h, entry);
    check_loads(h, entry);
    uint32_t probes = 0;
    for (unsigned i = 0; i < h->open_count; i++) {
        const cadre_request *r = cadre__table_get(&h->pool->requests, h->open[i]->id);
        probes += r && r->model == model && r->probe;
    }
    if (probes > entry->breaker.probes_max) sim_violation(&h->sim, "%s: %u probes at a time", model->key, probes);
    if (probes != entry->breaker.probes) sim_violation(&h->sim, "%s: %u probes are under way, and it counts %u", model->key, probes, entry->breaker.probes);
}

static uint64_t count_wishes(const cadre_pool *pool)
{
    uint64_t wishes = 0;
    CADRE__LIST_FOR (node, &pool->entries) {
        const cadre__entry *entry = CADRE__CONTAINER(node, cadre__entry, link);
        for (const cadre__wish *w = entry->loads; w; w = w->next) wishes++;
        for (const cadre__wish *w = entry->unloads; w; w = w->next) wishes++;
        for (const cadre__wish *w = entry->removals; w; w = w->next) wishes++;
    }
    CADRE__LIST_FOR (node, &pool->reserves) wishes += !CADRE__CONTAINER(node, cadre__reserve, link)->entry;
    return wishes;
}

static void check_order(host *h)
{
    const cadre__reserve *before = NULL;
    CADRE__LIST_FOR (node, &h->pool->reserves) {
        const cadre__reserve *r = CADRE__CONTAINER(node, cadre__reserve, link);
        if (cadre__table_get(&h->pool->reserve_ids, r->id) != r) sim_violation(&h->sim, "a reservation's id finds another");
        if (before && (before->priority > r->priority || (before->priority == r->priority && before->arrived > r->arrived)))
            sim_violation(&h->sim, "those who wait for memory are not in order");
        before = r;
    }
}

void check_registry(host *h)
{
    cadre_pool *pool = h->pool;
    uint64_t entries = 0, cancelled = 0;
    CADRE__LIST_FOR (node, &pool->entries) {
        check_entry(h, CADRE__CONTAINER(node, cadre__entry, link));
        entries++;
    }
    if (entries != pool->entry_count) sim_violation(&h->sim, "%llu entries, but the pool counts %zu", (unsigned long long)entries, pool->entry_count);
    for (const sim_wish *w = h->wishes; w; w = w->next) cancelled += w->cancelled && !w->told;
    uint64_t wishes = count_wishes(pool) + cancelled;
    if (wishes != pool->wishes) sim_violation(&h->sim, "%llu wait, but the pool counts %llu", (unsigned long long)wishes, (unsigned long long)pool->wishes);
    check_order(h);
}

/* ---- at rest ---- */

static bool whole_of(const cadre_pool *pool, const cadre__reserve *r, const uint64_t *claimed)
{
    for (size_t i = 0; i < r->count; i++) {
        uint32_t device = r->amounts[i].device;
        uint64_t asked = 0, charged = pool->accounts[device].charged, budget = pool->accounts[device].budget;
        for (size_t k = 0; k < r->count; k++) asked += r->amounts[k].device == device ? r->amounts[k].bytes : 0;
        if (charged > budget || claimed[device] > budget - charged || asked > budget - charged - claimed[device]) return false;
    }
    return true;
}

#define LOOKS 32
#define CLAIM_NS (UINT64_C(5000) * CADRE__NS_PER_MS)

/* Who fits is served; a later one too, unless it takes from an earlier one what is being freed for it. */
static void check_waiting(host *h)
{
    const cadre_pool *pool = h->pool;
    uint64_t claimed[DEVICES_MAX] = {0};
    unsigned looked = 0;
    CADRE__LIST_FOR (node, &pool->reserves) {
        const cadre__reserve *r = CADRE__CONTAINER(node, cadre__reserve, link);
        if (looked++ == LOOKS) return;
        if (whole_of(pool, r, claimed))
            sim_violation(&h->sim, "%s waits for memory that is free", r->entry ? r->entry->model->key : "a reservation of the host's");
        if (!r->victims && !r->yields && pool->now < r->arrived + CLAIM_NS) continue;
        for (size_t i = 0; i < r->count; i++) claimed[r->amounts[i].device] += r->amounts[i].bytes;
    }
}

static void check_reason(host *h, const cadre__entry *entry)
{
    const cadre__model *model = entry->model;
    const cadre_pool *pool = h->pool;
    bool wanted = model->queued || entry->loads;
    if (!wanted || model->loading || model->ready || entry->stopped) return;
    bool waits = entry->reserving, backs_off = entry->retry_at > pool->now && entry->due.due <= entry->retry_at, unloads = entry->unloading;
    if (!waits && !backs_off && !unloads)
        sim_violation(&h->sim, "%s: %llu requests%s wait for nothing", model->key, (unsigned long long)model->queued, entry->loads ? " and a load" : "");
}

void check_registry_idle(host *h)
{
    cadre_pool *pool = h->pool;
    if (!cadre__list_empty(&pool->entries_dirty) || pool->reserves_touched) sim_violation(&h->sim, "a turn has left entries or reservations to look at");
    CADRE__LIST_FOR (node, &pool->entries) {
        const cadre__entry *entry = CADRE__CONTAINER(node, cadre__entry, link);
        check_reason(h, entry);
        if (entry->model->turn_end && cadre__list_empty(&pool->reserves)) sim_violation(&h->sim, "%s: its turn has ended for nobody", entry->model->key);
        if (entry->unloading && !entry->stopped && !entry->model->loading && !entry->model->ready && !entry->model->leaving && !entry->reservations &&
            !entry->weights)
            sim_violation(&h->sim, "%s: it is unloaded, and nobody is told", entry->model->key);
    }
    if (pool->closing < CADRE__CANCELLING && !h->out_of_memory) check_waiting(h);
}
