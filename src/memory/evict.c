#include "memory/evict.h"

#include "core/weights.h"
#include "memory/ledger.h"
#include "registry/entry.h"

#include <stdarg.h>
#include <stdio.h>

#define HEAT_ONE 256                                        /* one request */
#define HALVING_NS (UINT64_C(300000) * CADRE__NS_PER_MS)    /* the count's half-life */
#define UNKNOWN_LOAD_NS (UINT64_C(1000) * CADRE__NS_PER_MS) /* before a first load was measured */

/* Why a model stays, or how it may go. */
typedef enum verdict { IDLE, BUSY, YOUNG, PINNED, MINIMUM, LOADING, LEAVING } verdict;

/* One worker (NULL: the weights alone), and whether the model is gone with it. */
typedef struct unit {
    cadre__entry *entry;
    cadre__worker *worker;
    bool last, taken;
    double cost; /* per byte that helps */
    uint64_t used;
} unit;

typedef struct plan {
    cadre_pool *pool;
    size_t device_count;
    uint32_t devices[CADRE__AMOUNTS_MAX]; /* that lack something, */
    uint64_t needed[CADRE__AMOUNTS_MAX];  /* so much, */
    uint64_t freed[CADRE__AMOUNTS_MAX];   /* of which the units that are taken give so much */
    unit *units;
    size_t count, capacity;
} plan;

/* ---- what is asked, what it would free ---- */

static uint64_t on_device(const cadre_memory_amount *amounts, size_t count, uint32_t device)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) sum += amounts[i].device == device ? amounts[i].bytes : 0;
    return sum;
}

static uint64_t charged_on(const cadre_reservation *reservation, uint32_t device)
{
    return reservation ? on_device(reservation->amounts, reservation->count, device) : 0;
}

static uint64_t frees(const unit *u, uint32_t device)
{
    uint64_t bytes = u->worker ? charged_on(u->worker->charge, device) : 0;
    if (u->last && u->entry->weights && u->entry->weights->weights) bytes += charged_on(u->entry->weights->weights->charge, device);
    return bytes;
}

static void plan_begin(plan *p, cadre_pool *pool, const cadre_memory_amount *asked, size_t count)
{
    p->pool = pool;
    p->device_count = p->count = p->capacity = 0;
    p->units = NULL;
    for (size_t i = 0; i < count; i++) {
        uint64_t bytes = on_device(asked, count, asked[i].device), room = cadre__reserve_room(pool, asked[i].device);
        bool named = on_device(asked, i, asked[i].device) > 0;
        if (named || bytes <= room) continue;
        p->devices[p->device_count] = asked[i].device;
        p->needed[p->device_count] = bytes - room;
        p->freed[p->device_count++] = 0;
    }
}

static bool suffices(const plan *p)
{
    for (size_t i = 0; i < p->device_count; i++)
        if (p->freed[i] < p->needed[i]) return false;
    return true;
}

/* How many bytes of it are of use. */
static uint64_t helps(const plan *p, const unit *u)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < p->device_count; i++) {
        uint64_t lacks = p->freed[i] < p->needed[i] ? p->needed[i] - p->freed[i] : 0, freed = frees(u, p->devices[i]);
        bytes += freed < lacks ? freed : lacks;
    }
    return bytes;
}

static void take(plan *p, unit *u, bool taken)
{
    u->taken = taken;
    for (size_t i = 0; i < p->device_count; i++) {
        uint64_t bytes = frees(u, p->devices[i]);
        p->freed[i] = taken ? p->freed[i] + bytes : p->freed[i] - bytes;
    }
    if (!u->last) u->entry->extras = taken ? u->entry->extras - 1 : u->entry->extras + 1;
}

/* ---- heat ---- */

static uint64_t heat_now(const cadre__entry *entry, uint64_t now)
{
    uint64_t halvings = now / HALVING_NS - entry->heat_epoch;
    return halvings < 64 ? entry->heat >> halvings : 0;
}

void cadre__evict_heat(cadre__entry *entry, uint64_t now)
{
    entry->heat = heat_now(entry, now) + HEAT_ONE;
    entry->heat_epoch = now / HALVING_NS;
    entry->last_used = now;
}

/* ---- who may go ---- */

/* Requests that it serves before its turn ends, or jobs that a worker still has; one that hangs has them for ever. */
static bool has_work(const cadre__model *model)
{
    if (model->queued && cadre__model_has_turn(model)) return true;
    CADRE__LIST_FOR (node, &model->workers) {
        const cadre__worker *worker = CADRE__CONTAINER(node, cadre__worker, sibling);
        if (worker->running && !worker->hung) return true;
    }
    return false;
}

static bool is_idle(const cadre__worker *worker)
{
    return !worker->ended && worker->running == 0 && (worker->state == CADRE_WORKER_IDLE || worker->state == CADRE_WORKER_READY);
}

/* since: when it may go, for the young. */
static verdict judge(const cadre__entry *entry, uint64_t now, uint64_t *since)
{
    const cadre__model *model = entry->model;
    uint64_t resident = cadre__ms(entry->spec->entry.min_residency_ms);
    if (entry->pinned && !CADRE__FAULT(EVICT_PINNED)) return PINNED;
    if ((model->loading || (entry->weights && entry->weights->status == 0)) && !CADRE__FAULT(EVICT_LOADING)) return LOADING;
    if (!model->ready && (!entry->weights || entry->reserving)) return LEAVING;
    if (entry->spec->entry.min_workers > 0 && model->ready <= (uint32_t)entry->spec->entry.min_workers) return MINIMUM;
    *since = cadre__after(entry->turn_since, resident);
    if (CADRE__FAULT(EVICT_BUSY)) return IDLE;
    if (!has_work(model)) {
        return entry->served || !model->ready || now >= *since ? IDLE : YOUNG;
    }
    return now >= *since ? BUSY : YOUNG;
}

static bool add_unit(plan *p, cadre__entry *entry, cadre__worker *worker, bool last)
{
    if (p->count == p->capacity) {
        size_t capacity = p->capacity ? p->capacity * 2 : 16;
        unit *units = cadre__alloc(cadre__pool_allocator(p->pool), capacity * sizeof *units);
        if (!units) return false;
        if (p->count) memcpy(units, p->units, p->count * sizeof *units);
        cadre__free(cadre__pool_allocator(p->pool), p->units, p->capacity * sizeof *units);
        p->units = units;
        p->capacity = capacity;
    }
    p->units[p->count++] = (unit){.entry = entry, .worker = worker, .last = last, .used = entry->last_used};
    return true;
}

/* A model whose weights stay costs little to bring back. */
#define EXTRA_COST 8.0

static void price(const plan *p, unit *u)
{
    uint64_t bytes = helps(p, u);
    double load = (double)(u->entry->load_ns ? u->entry->load_ns : UNKNOWN_LOAD_NS);
    double cost = (1.0 + (double)heat_now(u->entry, p->pool->now)) * load / (u->last ? 1.0 : EXTRA_COST);
    u->cost = bytes ? cost / (double)bytes : -1.0; /* of no use: never taken */
}

/* Of those that are not in the plan yet; workers of one model may have turned out to be of different sizes. */
static cadre__worker *largest_idle(const cadre__model *model)
{
    cadre__worker *largest = NULL;
    uint64_t most = 0;
    CADRE__LIST_FOR (node, &model->workers) {
        cadre__worker *worker = CADRE__CONTAINER(node, cadre__worker, sibling);
        uint64_t bytes = cadre__reservation_bytes(worker->charge);
        if (worker->planned || !(is_idle(worker) || (CADRE__FAULT(EVICT_BUSY) && !worker->ended && worker->served))) continue;
        if (!largest || bytes > most) {
            largest = worker;
            most = bytes;
        }
    }
    return largest;
}

/* The idle workers of one model. Its last goes with the weights, and stays while the model has work. */
static bool add_entry(plan *p, cadre__entry *entry, bool busy)
{
    uint32_t keep = (uint32_t)entry->spec->entry.min_workers, left = entry->model->ready;
    entry->extras = 0;
    if (keep == 0 && busy) keep = 1;
    if (left == 0) return busy || add_unit(p, entry, NULL, true);
    CADRE__LIST_FOR (node, &entry->model->workers) CADRE__CONTAINER(node, cadre__worker, sibling)->planned = false;
    for (cadre__worker *worker; left > keep && (worker = largest_idle(entry->model)); left--) {
        worker->planned = true;
        if (!add_unit(p, entry, worker, left == 1)) return false;
        if (left > 1) entry->extras++;
    }
    return true;
}

static bool gather(plan *p, uint64_t *look_at)
{
    CADRE__LIST_FOR (node, &p->pool->residents) {
        cadre__entry *entry = CADRE__CONTAINER(node, cadre__entry, resident);
        uint64_t since = UINT64_MAX;
        verdict v = judge(entry, p->pool->now, &since);
        if (v == YOUNG && since < *look_at) *look_at = since;
        if (v == IDLE && !add_entry(p, entry, false)) return false;
        if (v == BUSY && !entry->model->queued && !add_entry(p, entry, true)) return false;
    }
    return true;
}

static bool comes_before(const unit *a, const unit *b)
{
    return a->cost < b->cost || (a->cost <= b->cost && a->used < b->used);
}

/* Heapsort: nothing is allocated, and a thousand idle models cost microseconds. */
static void sift(unit *units, size_t root, size_t count)
{
    for (size_t child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && comes_before(&units[child], &units[child + 1])) child++;
        if (!comes_before(&units[root], &units[child])) return;
        unit swap = units[root];
        units[root] = units[child];
        units[child] = swap;
    }
}

static void sort(plan *p)
{
    for (size_t i = 0; i < p->count; i++) price(p, &p->units[i]);
    for (size_t i = p->count / 2; i-- > 0;) sift(p->units, i, p->count);
    for (size_t end = p->count; end-- > 1;) {
        unit swap = p->units[0];
        p->units[0] = p->units[end];
        p->units[end] = swap;
        sift(p->units, 0, end);
    }
}

static bool is_superfluous(const plan *p, const unit *u)
{
    for (size_t i = 0; i < p->device_count; i++)
        if (p->freed[i] - frees(u, p->devices[i]) < p->needed[i]) return false;
    return true;
}

static bool last_is_taken(const plan *p, const cadre__entry *entry)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->units[i].entry == entry && p->units[i].last && p->units[i].taken) return true;
    return false;
}

/* A model's last goes after its others. */
static void take_others(plan *p, const cadre__entry *entry)
{
    for (size_t i = 0; i < p->count && entry->extras; i++)
        if (p->units[i].entry == entry && !p->units[i].last && !p->units[i].taken) take(p, &p->units[i], true);
}

/* Whether all units together would do. */
static bool all_suffice(const plan *p)
{
    for (size_t i = 0; i < p->device_count; i++) {
        uint64_t sum = 0;
        for (size_t k = 0; k < p->count; k++) sum += frees(&p->units[k], p->devices[i]);
        if (sum < p->needed[i]) return false;
    }
    return true;
}

/* The cheapest that suffice; what turns out to be superfluous is spared, the dearest first. */
static bool choose(plan *p)
{
    if (!all_suffice(p)) return false;
    sort(p);
    for (size_t i = 0; i < p->count && !suffices(p); i++) {
        unit *u = &p->units[i];
        if (u->taken || u->cost < 0) continue;
        if (u->last) take_others(p, u->entry);
        take(p, u, true);
    }
    for (size_t i = p->count; i-- > 0;) {
        unit *u = &p->units[i];
        if (u->taken && is_superfluous(p, u) && (u->last || !last_is_taken(p, u->entry))) take(p, u, false);
    }
    return true;
}

/* ---- the end of turns ---- */

void cadre__evict_forget_turns(cadre_pool *pool)
{
    CADRE__LIST_FOR (node, &pool->residents) cadre__model_set_turn(CADRE__CONTAINER(node, cadre__entry, resident)->model, 0);
}

#define YIELDS UINT32_MAX /* extras: its turn ends in this plan */

/* The busy model that is there longest and is not counted yet. */
static cadre__entry *oldest_turn(cadre_pool *pool, const cadre__entry *own)
{
    cadre__entry *oldest = NULL;
    CADRE__LIST_FOR (node, &pool->residents) {
        cadre__entry *entry = CADRE__CONTAINER(node, cadre__entry, resident);
        uint64_t since;
        if (entry == own || entry->extras == YIELDS || entry->spec->entry.min_workers > 0 || judge(entry, pool->now, &since) != BUSY) continue;
        if (!oldest || entry->turn_since < oldest->turn_since) oldest = entry;
    }
    return oldest;
}

/* What an entry gives back when its turn is over; what hangs stays. */
static uint64_t would_leave(const cadre__entry *entry, uint32_t device)
{
    uint64_t bytes = entry->charged[device];
    CADRE__LIST_FOR (node, &entry->model->workers) {
        const cadre__worker *worker = CADRE__CONTAINER(node, cadre__worker, sibling);
        if (worker->hung) bytes -= charged_on(worker->charge, device);
    }
    return bytes;
}

/* Ends the turn of busy models, those first that are there longest, if together with what is idle they suffice. */
static cadre__evict_result end_turns(plan *p, const cadre__entry *own)
{
    if (CADRE__FAULT(ONE_SERVED)) return CADRE__EVICT_WAIT;
    CADRE__LIST_FOR (node, &p->pool->residents) CADRE__CONTAINER(node, cadre__entry, resident)->extras = 0;
    for (size_t i = 0; i < p->device_count; i++) {
        p->freed[i] = 0;
        for (size_t k = 0; k < p->count; k++) p->freed[i] += frees(&p->units[k], p->devices[i]);
    }
    while (!suffices(p)) {
        cadre__entry *oldest = oldest_turn(p->pool, own);
        if (!oldest) return CADRE__EVICT_WAIT;
        oldest->extras = YIELDS;
        for (size_t i = 0; i < p->device_count; i++) p->freed[i] += would_leave(oldest, p->devices[i]);
    }
    CADRE__LIST_FOR (node, &p->pool->residents) {
        cadre__entry *entry = CADRE__CONTAINER(node, cadre__entry, resident);
        if (entry->extras == YIELDS) cadre__model_set_turn(entry->model, p->pool->now);
    }
    return CADRE__EVICT_YIELDS;
}

/* ---- the plan ---- */

/* What an entry could be made to give back: all of it, or what is above its minimum. */
static uint64_t can_leave(const cadre__entry *entry, uint32_t device)
{
    uint32_t keep = entry->pinned ? UINT32_MAX : (uint32_t)entry->spec->entry.min_workers; /* of what is pinned only what is on its way out */
    uint64_t bytes = 0, live = 0, count = 0, smallest = UINT64_MAX;
    if (keep == 0) return entry->charged[device];
    CADRE__LIST_FOR (node, &entry->model->workers) {
        const cadre__worker *worker = CADRE__CONTAINER(node, cadre__worker, sibling);
        uint64_t charged = charged_on(worker->charge, device);
        *(worker->ended ? &bytes : &live) += charged;
        if (worker->ended) continue;
        count++;
        if (charged < smallest) smallest = charged;
    }
    return count > keep ? bytes + live - keep * smallest : bytes;
}

static uint64_t weights_on(const cadre__entry *entry, uint32_t device)
{
    const cadre_future *weights = entry ? entry->weights : NULL;
    return !weights ? 0 : charged_on(weights->weights ? weights->weights->charge : weights->charge, device);
}

bool cadre__evict_possible(const cadre_pool *pool, const cadre_memory_amount *amounts, size_t count, const cadre__entry *own)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t device = amounts[i].device;
        uint64_t asked = on_device(amounts, count, device), fixed = pool->accounts[device].charged;
        CADRE__LIST_FOR (node, &pool->residents) fixed -= can_leave(CADRE__CONTAINER(node, cadre__entry, resident), device);
        uint64_t budget = pool->accounts[device].budget;
        if (own && !own->pinned && own->spec->entry.min_workers <= 0) fixed += weights_on(own, device);
        if (asked > budget || fixed > budget - asked) return false;
    }
    return true;
}

static void release_plan(plan *p)
{
    cadre__free(cadre__pool_allocator(p->pool), p->units, p->capacity * sizeof *p->units);
}

static void carry_out_unit(unit *u, cadre__reserve *reserve, const char *reason)
{
    if (u->worker && CADRE__FAULT(STALE_VICTIM)) u->worker = CADRE__CONTAINER(u->entry->model->workers.next, cadre__worker, sibling);
    if (u->worker) {
        reserve->victims++;
        u->worker->evicted_for = reserve->id;
    }
    if (u->last && u->entry->weights) {
        reserve->victims++;
        u->entry->evicted_for = reserve->id;
    }
    cadre__entry_evict(u->entry, u->worker, u->last, reserve->entry ? reserve->entry->model->key : "", reason);
}

static void carry_out(plan *p, cadre__reserve *reserve)
{
    char reason[300];
    snprintf(reason, sizeof reason, "evicted for %.200s", reserve->entry ? reserve->entry->model->key : "a reservation of the host's");
    reserve->planned_at = p->pool->now;
    reserve->victims = 0;
    for (int last = 0; last < 2; last++) /* a model's last worker, and its weights, after its others */
        for (size_t i = 0; i < p->count; i++)
            if (p->units[i].taken && p->units[i].last == (last == 1)) carry_out_unit(&p->units[i], reserve, reason);
}

cadre__evict_result cadre__evict_plan(cadre__reserve *reserve, uint64_t *look_at)
{
    plan p;
    if (!cadre__evict_possible(reserve->pool, reserve->amounts, reserve->count, reserve->entry)) return CADRE__EVICT_NEVER;
    plan_begin(&p, reserve->pool, reserve->amounts, reserve->count);
    cadre__evict_result result = CADRE__EVICT_WAIT;
    if (!gather(&p, look_at)) {
        *look_at = cadre__after(p.pool->now, 100 * CADRE__NS_PER_MS);
    } else if (choose(&p)) {
        carry_out(&p, reserve);
        result = CADRE__EVICT_STARTED;
    } else {
        result = end_turns(&p, reserve->entry);
    }
    release_plan(&p);
    return result;
}

bool cadre__evict_one(cadre_pool *pool, const char *reason)
{
    uint64_t look_at = UINT64_MAX;
    cadre_memory_amount all = {CADRE_DEVICE_HOST, UINT64_MAX / 2};
    plan p;
    plan_begin(&p, pool, &all, 1);
    unit *u = NULL;
    if (gather(&p, &look_at)) sort(&p);
    for (size_t i = 0; i < p.count && !u; i++)
        if (p.units[i].cost >= 0 && !(p.units[i].last && p.units[i].entry->extras)) u = &p.units[i];
    if (u) cadre__entry_evict(u->entry, u->worker, u->last, "", reason);
    release_plan(&p);
    return u != NULL;
}

/* ---- in words ---- */

typedef struct page {
    char *out;
    size_t size, length;
} page;

static void say(page *text, const char *format, ...) CADRE_PRINTF(2, 3);
static void say(page *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    size_t at = text->length < text->size ? text->length : text->size;
    int n = vsnprintf(text->out ? text->out + at : NULL, text->out ? text->size - at : 0, format, arguments);
    va_end(arguments);
    if (n > 0) text->length += (size_t)n;
}

static void say_device(page *text, const cadre_pool *pool, const cadre_memory_amount *asked, size_t count, uint32_t device)
{
    const cadre__account *account = &pool->accounts[device];
    uint64_t registry = 0;
    CADRE__LIST_FOR (node, &pool->residents) registry += CADRE__CONTAINER(node, cadre__entry, resident)->charged[device];
    say(text, "%s: %llu bytes asked, %llu of %llu free (%llu set aside for earlier ones); %llu held by models of the registry, %llu by the host\n",
        account->name, (unsigned long long)on_device(asked, count, device), (unsigned long long)cadre__reserve_room(pool, device),
        (unsigned long long)account->budget, (unsigned long long)account->claimed, (unsigned long long)registry,
        (unsigned long long)(account->charged - registry));
}

static void say_entry(page *text, const plan *p, const cadre__entry *entry, bool needed, bool enough)
{
    uint64_t since = 0, now = p->pool->now, bytes = 0, taken = 0, units = 0;
    for (size_t i = 0; i < p->pool->account_count; i++) bytes += entry->charged[i];
    for (size_t i = 0; i < p->count; i++) {
        units += p->units[i].entry == entry;
        taken += p->units[i].entry == entry && p->units[i].taken;
    }
    verdict v = judge(entry, now, &since);
    unsigned long long wait = since > now ? (unsigned long long)((since - now) / CADRE__NS_PER_MS) : 0;
    say(text, "  %s: %llu bytes, asked for %.1f times lately, loads in %llu ms: ", entry->model->key, (unsigned long long)bytes,
        (double)heat_now(entry, now) / HEAT_ONE, (unsigned long long)(entry->load_ns / CADRE__NS_PER_MS));
    switch (v) {
    case PINNED: say(text, "stays, it is pinned\n"); return;
    case MINIMUM: say(text, "stays, it has no more than min_workers\n"); return;
    case LOADING: say(text, "stays, it is loading\n"); return;
    case LEAVING: say(text, "is leaving already\n"); return;
    case YOUNG: say(text, "stays, it was loaded a moment ago and may go in %llu ms\n", wait); return;
    case BUSY:
        say(text, "busy (%llu running, %llu waiting); %s\n", (unsigned long long)entry->model->running, (unsigned long long)entry->model->queued,
            enough || !needed ? "stays" : "would end its turn");
        return;
    case IDLE: break;
    }
    if (taken)
        say(text, "idle, would be evicted (%llu of %llu workers)\n", (unsigned long long)taken, (unsigned long long)units);
    else
        say(text, "idle, stays: %s\n", !needed ? "there is room" : enough ? "others cost less" : "evicting all that is idle does not suffice");
}

int64_t cadre_memory_explain(cadre_pool *pool, const cadre_memory_amount *amounts, size_t count, char *out, size_t size)
{
    if (!pool || (size && !out) || cadre__ledger_check(pool, amounts, count) != CADRE_OK) return CADRE_EINVAL;
    page text = {out, size, 0};
    if (size) out[0] = '\0';
    if (!pool->in_turn) pool->now = cadre__now(pool->port);
    plan p;
    plan_begin(&p, pool, amounts, count);
    uint64_t look_at = UINT64_MAX;
    bool needed = !suffices(&p), possible = cadre__evict_possible(pool, amounts, count, NULL);
    bool enough = gather(&p, &look_at) && choose(&p);
    for (size_t i = 0; i < count; i++) say_device(&text, pool, amounts, count, amounts[i].device);
    say(&text, "%s\n",
        !needed    ? "granted at once"
        : enough   ? "granted after evictions"
        : possible ? "would wait: what is idle does not suffice"
                   : "refused: what is pinned, a minimum or the host's own leaves too little");
    CADRE__LIST_FOR (node, &pool->residents) say_entry(&text, &p, CADRE__CONTAINER(node, cadre__entry, resident), needed, enough);
    release_plan(&p);
    return (int64_t)text.length;
}
