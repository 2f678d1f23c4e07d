#include "registry/scale.h"

#include "memory/ledger.h"
#include "registry/files.h"

#define SCALE_NS (UINT64_C(250) * CADRE__NS_PER_MS)    /* a queue that is shorter than this pays for no further worker */
#define RECHECK_NS (UINT64_C(1000) * CADRE__NS_PER_MS) /* a further worker for which there was no room */

/* ---- how many ---- */

static uint64_t oldest_wait(const cadre__model *model)
{
    uint64_t oldest = UINT64_MAX;
    for (int i = 0; i < CADRE_PRIORITY_COUNT; i++) {
        if (cadre__list_empty(&model->queues[i])) continue;
        uint64_t at = CADRE__CONTAINER(model->queues[i].next, cadre_request, link)->queued_at;
        if (at < oldest) oldest = at;
    }
    return model->pool->now > oldest ? model->pool->now - oldest : 0;
}

/* What the queue takes with the workers that are there; before anything was measured, what its oldest has waited. */
static uint64_t queue_ns(const cadre__entry *entry)
{
    const cadre__model *model = entry->model;
    if (!entry->run_ns || !model->ready) return oldest_wait(model);
    uint64_t lanes = (uint64_t)(model->slots ? model->slots : 1) * model->ready, drain;
    if (__builtin_mul_overflow(model->queued - model->fetching, entry->run_ns, &drain)) return UINT64_MAX;
    return drain / lanes;
}

/* How many jobs its free workers take at once. */
static uint64_t rooms(const cadre__model *model)
{
    uint64_t sum = 0;
    CADRE__LIST_FOR (node, &model->free_workers) {
        const cadre__worker *worker = CADRE__CONTAINER(node, cadre__worker, free_link);
        uint32_t most = worker->capacity + worker->ahead;
        sum += most > worker->running ? most - worker->running : 0;
    }
    return sum;
}

/* One core for each worker at work, and all that a fixed number of threads takes. What the loop has handed out counts, whether its thread has begun or not; and
 * the workers of a model whose queue is longer than they take at once will all be at work in a moment. */
static bool has_free_core(const cadre__model *model)
{
    const cadre_pool *pool = model->pool;
    uint64_t busy = 0;
    CADRE__LIST_FOR (node, &pool->worker_list) {
        const cadre__worker *worker = CADRE__CONTAINER(node, cadre__worker, link);
        bool works = worker->running || (worker->model == model && worker->served && !worker->ended);
        if (works && !worker->hung) busy += worker->threads ? worker->threads : 1;
    }
    return busy < pool->port->cores;
}

/* Another worker pays when the queue is longer than what bringing it takes, twice over, and a core is free for it. */
static bool pays(const cadre__entry *entry, uint64_t *check_at)
{
    const cadre__model *model = entry->model;
    cadre_pool *pool = entry->pool;
    if (model->queued - model->fetching <= rooms(model) || model->loading || entry->reserving || model->turn_end) return false;
    uint64_t threshold = 2 * entry->load_ns > SCALE_NS ? 2 * entry->load_ns : SCALE_NS;
    uint64_t again = cadre__after(pool->now, threshold);
    if (again < *check_at) *check_at = again;
    return queue_ns(entry) >= threshold && has_free_core(model);
}

uint32_t cadre__scale_wanted(cadre__entry *entry, uint64_t *check_at)
{
    const cadre__model *model = entry->model;
    const cadre_entry *e = &entry->spec->entry;
    uint32_t wanted = 0, most = (uint32_t)e->max_workers;
    if (!entry->removing && !entry->pool->closing) {
        wanted = (uint32_t)e->min_workers;
        if (entry->pinned && wanted == 0) wanted = 1;
        if (entry->loads && wanted == 0) wanted = 1;
    }
    if (model->queued) {
        uint32_t there = model->ready + model->loading;
        if (!model->ready && wanted < (uint32_t)e->initial_workers) wanted = (uint32_t)e->initial_workers;
        if (CADRE__FAULT(HERD) && !model->ready) wanted = (uint32_t)model->queued + 4;
        if (model->ready && wanted < there) wanted = there;
        if (model->ready && there < most && wanted <= there && pays(entry, check_at)) wanted = there + 1;
    }
    return wanted < most || CADRE__FAULT(HERD) ? wanted : most;
}

/* ---- getting them ---- */

/* What one more worker needs: shared weights once, its own part always. Returns the count; *with_weights. */
static size_t ask(const cadre__entry *entry, cadre_memory_amount *amounts, bool *with_weights)
{
    bool shares = cadre__entry_shares(entry);
    *with_weights = shares && !entry->weights;
    for (size_t i = 0; i < entry->need_count; i++) {
        const cadre_memory_need *need = &entry->needs[i];
        uint64_t weights = shares && entry->weights ? 0 : need->weights_bytes;
        amounts[i] = (cadre_memory_amount){need->device, weights + need->worker_bytes};
    }
    return entry->need_count;
}

/* Splits what the shared weights are charged off a reservation. NULL: out of memory. */
static cadre_reservation *split_weights(cadre__entry *entry, cadre_reservation *reservation)
{
    cadre_memory_amount none[CADRE_MEMORY_NEEDS_MAX];
    for (size_t i = 0; i < entry->need_count; i++) none[i] = (cadre_memory_amount){entry->needs[i].device, 0};
    cadre_reservation *weights = cadre__ledger_charge(entry->pool, none, entry->need_count, entry);
    if (!weights) return NULL;
    weights->weights = true;
    for (size_t i = 0; i < entry->need_count; i++) {
        cadre__reservation_set(reservation, entry->needs[i].device, entry->needs[i].worker_bytes);
        cadre__reservation_set(weights, entry->needs[i].device, entry->needs[i].weights_bytes);
    }
    return weights;
}

/* Consumes the reservation. True: a load is on its way. */
static bool launch(cadre__entry *entry, cadre_reservation *reservation, bool with_weights)
{
    char detail[CADRE__DETAIL_SIZE];
    if (!entry->model->loading) entry->load_begun = entry->pool->now;
    if (CADRE__FAULT(READY_AT_ONCE)) cadre__entry_grant_loads(entry, CADRE_OK, "");
    if (with_weights) {
        cadre_reservation *weights = split_weights(entry, reservation);
        int rc = weights ? cadre__entry_load_weights(entry, weights, detail) : CADRE_ENOMEM;
        if (rc != CADRE_OK) {
            cadre_reservation_release(reservation);
            cadre__entry_no_load(entry, rc, weights ? detail : cadre_strerror(rc));
            return false;
        }
    }
    int rc = cadre__entry_spawn(entry, reservation, with_weights || !cadre__entry_shares(entry));
    if (rc != CADRE_OK) cadre__entry_no_load(entry, rc, entry->pool->error_detail);
    return rc == CADRE_OK;
}

static void reserved(cadre__reserve *reserve, int status, cadre_reservation *reservation, const char *detail)
{
    cadre__entry *entry = CADRE__CONTAINER(reserve, cadre__entry, reserve);
    entry->reserving = false;
    if (status == CADRE_OK)
        launch(entry, reservation, entry->reserving_weights);
    else
        cadre__entry_no_load(entry, status, detail);
    cadre__entry_touch(entry);
}

/* Queues up for memory. False: it cannot. */
static bool wait_for_memory(cadre__entry *entry, size_t count, bool with_weights)
{
    cadre_pool *pool = entry->pool;
    entry->reserve = (cadre__reserve){
        .pool = pool, .entry = entry, .priority = entry->spec->entry.priority, .amounts = entry->amounts, .count = count, .over = reserved};
    cadre__list_init(&entry->reserve.link);
    if (!cadre__reserve_begin(&entry->reserve, UINT64_MAX)) return false;
    entry->reserving = true;
    entry->reserving_weights = with_weights;
    uint64_t bytes = 0;
    for (size_t i = 0; i < count; i++) bytes += entry->amounts[i].bytes;
    cadre__event(pool, CADRE_EVENT_LOAD_WAITS, entry->model->key, 0, CADRE_OK, bytes, 0, "for %llu bytes", (unsigned long long)bytes);
    return true;
}

/* True: one more is on its way. */
static bool start_one(cadre__entry *entry, uint64_t *check_at)
{
    cadre_pool *pool = entry->pool;
    cadre__model *model = entry->model;
    bool with_weights;
    size_t count = ask(entry, entry->amounts, &with_weights);
    bool further = model->ready > 0 && model->ready + model->loading >= (uint32_t)entry->spec->entry.min_workers;
    bool behind = !cadre__list_empty(&pool->reserves) && CADRE__CONTAINER(pool->reserves.next, cadre__reserve, link)->priority < entry->spec->entry.priority;
    cadre_reservation *reservation = behind ? NULL : cadre__reserve_now(pool, entry->amounts, count, entry);
    if (reservation) return launch(entry, reservation, with_weights);
    if (further) { /* it is not worth another model's place */
        uint64_t again = cadre__after(pool->now, RECHECK_NS);
        if (again < *check_at) *check_at = again;
        return false;
    }
    if (!wait_for_memory(entry, count, with_weights)) cadre__entry_no_load(entry, CADRE_ENOMEM, cadre_strerror(CADRE_ENOMEM));
    return false;
}

static void preload(cadre__entry *entry)
{
    entry->preload = false;
    if (entry->weights || entry->pool->closing) return;
    for (size_t i = 0; i < entry->need_count; i++) entry->amounts[i] = (cadre_memory_amount){entry->needs[i].device, entry->needs[i].weights_bytes};
    cadre_reservation *reservation = cadre__reserve_now(entry->pool, entry->amounts, entry->need_count, entry);
    if (!reservation) return;
    reservation->weights = true;
    entry->load_begun = entry->pool->now;
    char detail[CADRE__DETAIL_SIZE];
    int rc = cadre__entry_load_weights(entry, reservation, detail);
    if (rc != CADRE_OK) cadre__entry_no_load(entry, rc, detail);
}

void cadre__scale_up(cadre__entry *entry, uint32_t wanted, uint64_t *check_at)
{
    const cadre__model *model = entry->model;
    if (!cadre__files_here(entry, wanted)) return;
    if (entry->preload) preload(entry);
    if (entry->retry_at > entry->pool->now) return;
    while (!entry->reserving && model->ready + model->loading < wanted)
        if (!start_one(entry, check_at)) return;
}
