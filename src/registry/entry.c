#include "registry/entry.h"

#include "core/weights.h"
#include "memory/ledger.h"
#include "pool/reaper.h"
#include "registry/files.h"
#include "registry/scale.h"

/* ---- configurations ---- */

cadre__config *cadre__config_ref(cadre__config *config)
{
    atomic_fetch_add_explicit(&config->refs, 1, memory_order_relaxed);
    return config;
}

static void config_free(cadre__config *config)
{
    cadre_port *port = config->port;
    cadre__free(&port->allocator, config->values, config->value_count * sizeof *config->values);
    cadre__free(&port->allocator, config->strings, config->strings_bytes);
    cadre__free(&port->allocator, config->references, config->references_bytes);
    for (size_t i = 0; config->paths && i < config->path_count; i++) cadre__strfree(&port->allocator, config->paths[i]);
    cadre__free(&port->allocator, config->paths, config->path_count * sizeof *config->paths);
    cadre__config_unref(config->origin);
    cadre__free(&port->allocator, config, sizeof *config);
    cadre_port_release(port);
}

static void run_close(cadre__task *task)
{
    cadre__config *config = CADRE__CONTAINER(task, cadre__config, closing);
    if (config->backend && config->backend->close && config->self) config->backend->close(config->self);
    config->self = NULL;
}

static void orphan_close(cadre__task *task)
{
    config_free(CADRE__CONTAINER(task, cadre__config, closing));
}

static void deliver_closed(cadre_pool *pool, cadre__message *message)
{
    pool->reaping--;
    config_free(CADRE__CONTAINER(message, cadre__config, closing.message));
}

void cadre__config_unref(cadre__config *config)
{
    if (!config || atomic_fetch_sub_explicit(&config->refs, 1, memory_order_acq_rel) != 1) return;
    if (config->loader.release) config->loader.release(config->loader.data);
    cadre_pool *pool = config->self ? cadre__port_pool_here(config->port) : NULL;
    if (pool) {
        config->closing.run = run_close;
        config->closing.orphan = orphan_close;
        config->closing.message.deliver = deliver_closed;
        cadre__reap(pool, &config->closing);
        return;
    }
    run_close(&config->closing);
    config_free(config);
}

/* ---- making and freeing ---- */

static void entry_due(cadre_pool *pool, cadre__deadline *deadline)
{
    cadre__deadline_set(&pool->deadlines, cadre__pool_allocator(pool), deadline, UINT64_MAX); /* it keeps its place */
    cadre__entry_touch(CADRE__CONTAINER(deadline, cadre__entry, due));
}

static void set_breaker(cadre__breaker *breaker, const cadre_entry *e)
{
    breaker->failures_max = (uint32_t)e->breaker_failures;
    breaker->open_ns = cadre__ms(e->breaker_open_ms);
    breaker->probes_max = (uint32_t)e->breaker_probes;
    breaker->successes_max = (uint32_t)e->breaker_successes;
}

cadre__entry *cadre__entry_create(cadre_pool *pool, cadre__spec *spec, cadre__config *config, const cadre_memory_need *needs, size_t need_count)
{
    const cadre_allocator *allocator = cadre__pool_allocator(pool);
    cadre__entry *entry = cadre__alloc(allocator, sizeof *entry);
    uint64_t *charged = entry ? cadre__alloc(allocator, pool->account_count * sizeof *charged) : NULL;
    if (!charged || !cadre__deadline_set(&pool->deadlines, allocator, &entry->due, UINT64_MAX)) {
        cadre__free(allocator, charged, pool->account_count * sizeof *charged);
        cadre__free(allocator, entry, entry ? sizeof *entry : 0);
        cadre__spec_free(spec);
        cadre__config_unref(config);
        return NULL;
    }
    const cadre_entry *e = &spec->entry;
    entry->pool = pool;
    entry->spec = spec;
    entry->config = config;
    entry->shares = config->backend && config->backend->shares_weights;
    entry->charged = charged;
    entry->need_count = need_count;
    if (need_count) memcpy(entry->needs, needs, need_count * sizeof *needs);
    entry->due.fire = entry_due;
    cadre__list_init(&entry->link);
    cadre__list_init(&entry->dirty);
    cadre__list_init(&entry->resident);
    cadre__list_init(&entry->reserve.link);
    entry->spawn = (cadre_spawn_options)CADRE_SPAWN_OPTIONS_INIT;
    entry->spawn.load_timeout_ms = e->load_timeout_ms;
    entry->spawn.stall_timeout_ms = e->stall_timeout_ms;
    entry->spawn.queue_capacity = e->queue_capacity;
    entry->spawn.batch_window_us = e->batch_window_us;
    entry->spawn.stream_window = e->stream_window;
    entry->spawn.hang_timeout_ms = e->hang_timeout_ms;
    cadre_spawn_options theirs = entry->spawn;
    cadre__spawn_options_check(pool, (cadre_capability)e->capability, &theirs, &entry->spawn); /* fills in the defaults; the values were checked */
    entry->pinned = e->pinned == 1;
    entry->idle_check_at = UINT64_MAX;
    entry->missing = !config->opened && config->reference_count > 0;
    entry->preload = e->loader == CADRE_LOADER_PRELOADED && cadre__entry_shares(entry);
    set_breaker(&entry->breaker, e);
    return entry;
}

bool cadre__entry_find_model(cadre__entry *entry)
{
    entry->model = cadre__model_adopt(entry->pool, entry->spec->entry.key, (cadre_capability)entry->spec->entry.capability);
    return entry->model != NULL;
}

void cadre__entry_install(cadre__entry *entry)
{
    cadre_pool *pool = entry->pool;
    cadre__model *model = entry->model;
    model->entry = entry;
    cadre__model_set_options(model, &entry->spawn);
    cadre__list_append(&pool->entries, &entry->link);
    pool->entry_count++;
    entry->last_used = pool->now;
    cadre__event(pool, CADRE_EVENT_MODEL_ADDED, model->key, 0, CADRE_OK, 0, 0, "%s", cadre_capability_name(model->kind->capability));
    cadre__entry_touch(entry);
}

void cadre__entry_drop_weights(cadre__entry *entry)
{
    cadre_future *weights = entry->weights;
    if (!weights) return;
    entry->weights = NULL;
    cadre__entry_forget_weights(entry, weights);
    cadre_future_release(weights);
}

void cadre__entry_free(cadre__entry *entry)
{
    cadre_pool *pool = entry->pool;
    const cadre_allocator *allocator = cadre__pool_allocator(pool);
    if (entry->reserving) cadre__reserve_cancel(&entry->reserve);
    cadre__files_stop(entry);
    cadre__entry_drop_weights(entry);
    if (entry->model && entry->model->entry == entry)
        entry->model->entry = NULL, pool->entry_count--;
    else if (entry->model) /* who waits for the key hears it when the addition is over */
        cadre__model_wait_to_be_known(entry->model);
    cadre__list_remove(&entry->link);
    cadre__list_remove(&entry->dirty);
    cadre__list_remove(&entry->resident);
    cadre__deadline_clear(&pool->deadlines, &entry->due);
    cadre__config_unref(entry->config);
    cadre__spec_free(entry->spec);
    cadre__strfree(allocator, entry->detail);
    cadre__free(allocator, entry->charged, pool->account_count * sizeof *entry->charged);
    cadre__free(allocator, entry, sizeof *entry);
}

void cadre__entry_touch(cadre__entry *entry)
{
    if (cadre__list_empty(&entry->dirty)) cadre__list_append(&entry->pool->entries_dirty, &entry->dirty);
    cadre__pool_touch(entry->pool);
}

/* ---- wishes ---- */

bool cadre__entry_wish(cadre__entry *entry, cadre__wish **list, cadre_registry_cb cb, void *data)
{
    cadre__wish *wish = cadre__alloc(cadre__pool_allocator(entry->pool), sizeof *wish);
    if (!wish) return false;
    *wish = (cadre__wish){.cb = cb, .data = data, .late = entry->unloading};
    while (*list) list = &(*list)->next;
    *list = wish;
    entry->pool->wishes++;
    cadre__entry_touch(entry);
    return true;
}

/* Takes the list first: a callback may call anything. */
static void grant(cadre_pool *pool, cadre__wish *wishes, int status, const char *detail)
{
    while (wishes) {
        cadre__wish wish = *wishes;
        cadre__free(cadre__pool_allocator(pool), wishes, sizeof *wishes);
        pool->wishes--;
        if (wish.cb) wish.cb(pool, status, detail, wish.data);
        wishes = wish.next;
    }
}

void cadre__entry_grant_loads(cadre__entry *entry, int status, const char *detail)
{
    cadre__wish *wishes = entry->loads;
    entry->loads = NULL;
    grant(entry->pool, wishes, status, detail);
}

void cadre__entry_grant_fetches(cadre__entry *entry, int status, const char *detail)
{
    cadre__wish *wishes = entry->fetches;
    entry->fetches = NULL;
    grant(entry->pool, wishes, status, detail);
}

/* ---- what goes ---- */

static void cancel_reserve(cadre__entry *entry)
{
    if (!entry->reserving) return;
    entry->reserving = false;
    cadre__reserve_cancel(&entry->reserve);
}

static void stop_workers(cadre__entry *entry, const char *why)
{
    CADRE__LIST_FOR (node, &entry->model->workers) {
        cadre__worker *worker = CADRE__CONTAINER(node, cadre__worker, sibling);
        cadre__worker_end(worker, CADRE_ECANCELED, why);
    }
}

void cadre__entry_evict(cadre__entry *entry, cadre__worker *worker, bool last, const char *by, const char *reason)
{
    cadre_pool *pool = entry->pool;
    uint64_t bytes = (worker ? cadre__reservation_bytes(worker->charge) : 0) + (last ? cadre__entry_weights_bytes(entry) : 0);
    pool->stats.evictions++;
    entry->model->stats.evictions++;
    cadre__event(pool, CADRE_EVENT_EVICTED, entry->model->key, worker ? worker->id : 0, CADRE_OK, bytes, 0, "%s", by);
    if (last) cadre__entry_drop_weights(entry);
    if (worker) cadre__worker_end(worker, CADRE_ECANCELED, reason);
    cadre__entry_touch(entry);
}

static bool is_gone(const cadre__entry *entry)
{
    const cadre__model *model = entry->model;
    if (CADRE__FAULT(EARLY_UNLOAD)) return !model->loading && !model->ready;
    return !model->loading && !model->ready && !model->leaving && !entry->reservations && !entry->weights && !entry->reserving;
}

static const char was_removed[] = "the model was removed";

/* True: the entry is no more. */
static bool finish_unload(cadre__entry *entry)
{
    cadre_pool *pool = entry->pool;
    if (!entry->unloading || !is_gone(entry)) return false;
    cadre__wish *wishes = entry->unloads;
    entry->unloads = NULL;
    entry->unloading = false;
    for (cadre__wish *wish = entry->loads; wish; wish = wish->next) wish->late = false;
    for (cadre__wish *wish = entry->fetches; wish; wish = wish->next) wish->late = false;
    bool removed = entry->removing && !entry->model->queued && !entry->model->running; /* those who were accepted meanwhile come first */
    cadre__wish *removals = removed ? entry->removals : NULL;
    cadre__wish *loads = removed ? entry->loads : NULL, *fetches = removed ? entry->fetches : NULL; /* of who asked, and then removed it, in a callback */
    if (removed) {
        cadre__model *model = entry->model;
        cadre__event(pool, CADRE_EVENT_MODEL_REMOVED, model->key, 0, CADRE_OK, 0, 0, "%s", "");
        cadre__entry_free(entry);
        cadre__model_settle(model);
    }
    grant(pool, loads, CADRE_ECANCELED, was_removed);
    grant(pool, fetches, CADRE_ECANCELED, was_removed);
    grant(pool, wishes, CADRE_OK, "");
    grant(pool, removals, CADRE_OK, "");
    return removed;
}

/* Those who waited for a load, or for files, before the unload; when the model is removed, all. */
static void cancel_wishes(cadre__entry *entry, cadre__wish **place)
{
    cadre__wish *early = NULL, **last = &early;
    while (*place) {
        if ((*place)->late && !entry->removing) {
            place = &(*place)->next;
            continue;
        }
        *last = *place;
        *place = (*place)->next;
        last = &(*last)->next;
        *last = NULL;
    }
    grant(entry->pool, early, CADRE_ECANCELED, entry->removing ? was_removed : "the model was unloaded");
}

static void unload(cadre__entry *entry)
{
    cancel_reserve(entry);
    entry->idle_check_at = UINT64_MAX; /* nobody is left to look at, however long a thread takes to return */
    entry->lonely_since = 0;
    stop_workers(entry, entry->removing ? "the model was removed" : "unloaded");
    cadre__entry_drop_weights(entry);
    cadre__files_stop(entry);
    cancel_wishes(entry, &entry->loads);
    cancel_wishes(entry, &entry->fetches);
}

/* Workers that were idle for too long, the weights that nobody uses. */
static void scale_down(cadre__entry *entry, uint32_t wanted)
{
    cadre_pool *pool = entry->pool;
    cadre__model *model = entry->model;
    const cadre_entry *e = &entry->spec->entry;
    if (!model->ready && !model->loading && !entry->reserving && wanted == 0 && e->loader != CADRE_LOADER_PRELOADED) cadre__entry_drop_weights(entry);
    if (pool->now < entry->idle_check_at) return;
    uint32_t keep = (uint32_t)e->min_workers;
    if (entry->pinned && keep == 0) keep = 1;
    entry->idle_check_at = UINT64_MAX;
    if (e->idle_timeout_ms == CADRE_NEVER) return;
    CADRE__LIST_FOR (node, &model->workers) {
        cadre__worker *worker = CADRE__CONTAINER(node, cadre__worker, sibling);
        if (worker->ended || worker->running || (worker->state != CADRE_WORKER_IDLE && worker->state != CADRE_WORKER_READY)) continue;
        uint64_t due = cadre__after(worker->idle_since, cadre__ms(e->idle_timeout_ms));
        if (due <= pool->now && model->ready > keep && !model->queued)
            cadre__worker_end(worker, CADRE_ECANCELED, "idle");
        else if (due <= pool->now && model->queued) /* it may yet be needed: later */
            due = cadre__after(pool->now, cadre__ms(e->idle_timeout_ms));
        if (due > pool->now && due < entry->idle_check_at) entry->idle_check_at = due;
    }
}

/* Nobody waits for the load any more: it is cancelled after a grace. */
#define GRACE_NS (UINT64_C(5000) * CADRE__NS_PER_MS)

static void give_up_lonely(cadre__entry *entry, uint32_t wanted)
{
    cadre_pool *pool = entry->pool;
    cadre__model *model = entry->model;
    if (entry->reserving && model->ready + model->loading >= wanted) cancel_reserve(entry);
    bool fetch = entry->fetch && !entry->fetches && wanted == 0;
    bool lonely = model->loading > 0 && model->ready + model->loading > wanted && !model->queued && !entry->loads && !entry->pinned;
    if (!lonely && !fetch) {
        entry->lonely_since = 0;
        return;
    }
    if (!entry->lonely_since) entry->lonely_since = pool->now ? pool->now : 1;
    if (pool->now - entry->lonely_since < GRACE_NS) return;
    entry->lonely_since = 0;
    if (fetch) cadre__files_stop(entry);
    if (!lonely) return;
    CADRE__LIST_FOR (node, &model->workers) {
        cadre__worker *worker = CADRE__CONTAINER(node, cadre__worker, sibling);
        if (!worker->told && !worker->ended) cadre__worker_end(worker, CADRE_ECANCELED, "nobody waits for the load any more");
    }
    if (!model->ready && entry->weights && entry->weights->status == 0) cadre__entry_drop_weights(entry);
}

/* ---- the step ---- */

static void arm(cadre__entry *entry, uint64_t check_at)
{
    uint64_t due = entry->idle_check_at < check_at ? entry->idle_check_at : check_at;
    bool retries = entry->retry_at > entry->pool->now && (entry->model->queued || entry->loads || entry->pinned || entry->spec->entry.min_workers > 0);
    if (retries && entry->retry_at < due) due = entry->retry_at;
    if (entry->lonely_since && cadre__after(entry->lonely_since, GRACE_NS) < due) due = cadre__after(entry->lonely_since, GRACE_NS);
    if (due < entry->pool->now) due = entry->pool->now;
    if (entry->due.place && entry->due.due == due) return;
    cadre__deadline_set(&entry->pool->deadlines, cadre__pool_allocator(entry->pool), &entry->due, due);
}

static void step(cadre__entry *entry)
{
    cadre__model *model = entry->model;
    uint64_t check_at = UINT64_MAX;
    if (entry->stopped) return;
    if (entry->removing && !entry->unloading && !model->queued && !model->running) entry->unloading = true;
    if (entry->unloading) {
        unload(entry);
        if (finish_unload(entry)) return;
        if (!entry->unloading) cadre__entry_touch(entry); /* once more, for those who came meanwhile */
        arm(entry, check_at);
        return;
    }
    if (model->ready) cadre__entry_grant_loads(entry, CADRE_OK, "");
    uint32_t wanted = cadre__scale_wanted(entry, &check_at);
    cadre__scale_up(entry, wanted, &check_at);
    give_up_lonely(entry, wanted);
    if (entry->pool->closing && wanted == 0) cadre__files_stop(entry);
    if (entry->pool->closing) cadre__entry_grant_fetches(entry, CADRE_ECLOSED, "the pool was closed");
    if (entry->pool->closing && wanted == 0 && !model->ready && !model->loading) cadre__entry_grant_loads(entry, CADRE_ECLOSED, "the pool was closed");
    scale_down(entry, wanted);
    arm(entry, check_at);
}

void cadre__entries_step(cadre_pool *pool)
{
    cadre__list now;
    cadre__list_init(&now);
    CADRE__LIST_FOR (node, &pool->entries_dirty) {
        cadre__list_remove(node);
        cadre__list_append(&now, node);
    }
    while (!cadre__list_empty(&now)) {
        cadre__list *node = now.next;
        cadre__list_remove(node);
        step(CADRE__CONTAINER(node, cadre__entry, dirty));
    }
}

/* ---- close ---- */

void cadre__entries_stop(cadre_pool *pool)
{
    CADRE__LIST_FOR (node, &pool->entries) CADRE__CONTAINER(node, cadre__entry, link)->stopped = true;
    CADRE__LIST_FOR (node, &pool->entries) {
        cadre__entry *entry = CADRE__CONTAINER(node, cadre__entry, link);
        cancel_reserve(entry);
        cadre__files_stop(entry);
        cadre__entry_drop_weights(entry);
        cadre__wish *wishes[] = {entry->loads, entry->fetches, entry->unloads, entry->removals};
        entry->loads = entry->fetches = entry->unloads = entry->removals = NULL;
        for (size_t i = 0; i < sizeof wishes / sizeof *wishes; i++) grant(pool, wishes[i], CADRE_ECLOSED, "the pool was closed");
    }
}

void cadre__entries_let_go(cadre_pool *pool)
{
    CADRE__LIST_FOR (node, &pool->entries) {
        cadre__entry *entry = CADRE__CONTAINER(node, cadre__entry, link);
        cadre__config *config = entry->config;
        entry->config = NULL;
        cadre__config_unref(config);
    }
}

void cadre__entries_free(cadre_pool *pool)
{
    while (!cadre__list_empty(&pool->entries)) {
        cadre__entry *entry = CADRE__CONTAINER(pool->entries.next, cadre__entry, link);
        cadre__entry_free(entry);
    }
}
