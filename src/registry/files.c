/* The loop's part of files that may not be here: see registry/files.h. */
#include "registry/files.h"

#include "pool/loader.h"
#include "registry/registry.h"

#include <stdio.h>

typedef struct cadre__look {
    cadre__task task;      /* first */
    cadre_port *port;      /* counted */
    cadre__list link;      /* loop: in pool->looks */
    cadre__entry *entry;   /* loop; NULL: nobody wants to know any more */
    cadre__config *origin; /* counted */
    char *key;
    const char **device_names;
    size_t device_count;
    cadre__inspection inspection;
} cadre__look;

static cadre__config *origin_of(const cadre__entry *entry)
{
    return entry->config->origin ? entry->config->origin : entry->config->reference_count ? entry->config : NULL;
}

/* ---- what comes of it ---- */

static void stop_waiting(cadre__entry *entry)
{
    entry->load_waits = false;
    cadre__deadline_clear(&entry->pool->deadlines, &entry->fetch_limit);
}

/* The files could not be had: everybody who waits for them hears it. */
static void fail(cadre__entry *entry, int status, const char *detail)
{
    bool load = entry->load_waits;
    char copy[CADRE__DETAIL_SIZE]; /* it may be an object's that a callback ends */
    snprintf(copy, sizeof copy, "%s", detail && *detail ? detail : cadre_strerror(status));
    stop_waiting(entry);
    entry->fetched = false;
    cadre__entry_grant_fetches(entry, status, copy);
    if (load && !entry->stopped) cadre__entry_no_load(entry, status, copy);
    cadre__entry_touch(entry);
}

/* The backend has looked at the files: from now on loads use this configuration. 0, or an error with its detail in the inspection. */
static int adopt(cadre__entry *entry, cadre__inspection *ins)
{
    bool shares = cadre__entry_shares(entry);
    if (cadre__needs_exceed(entry->pool, &entry->spec->entry, shares, ins->needs, ins->need_count, ins->detail, sizeof ins->detail)) return CADRE_EBUDGET;
    cadre__config *before = entry->config;
    entry->config = ins->opened;
    ins->opened = NULL;
    memcpy(entry->needs, ins->needs, sizeof entry->needs);
    entry->need_count = ins->need_count;
    entry->doubted = false;
    cadre__config_unref(before);
    return CADRE_OK;
}

static void all_here(cadre__entry *entry, cadre__inspection *ins)
{
    int status = ins->status;
    if (status == CADRE_OK && ins->opened) status = adopt(entry, ins);
    if (status == CADRE_OK && entry->fetched) { /* whatever failed before, it was without them */
        entry->retry_at = 0;
        entry->refused = false;
    }
    bool load = entry->load_waits;
    stop_waiting(entry);
    entry->fetched = false;
    cadre__entry_grant_fetches(entry, CADRE_OK, "");
    if (status == CADRE_OK || entry->stopped) return;
    if (load)
        cadre__entry_no_load(entry, status, ins->detail);
    else
        cadre__log(entry->pool->port, CADRE_LOG_WARN, "the files of \"%s\" are here, but: %s (%s)", entry->spec->entry.key, ins->detail,
                   cadre_err_name(status));
}

/* ---- fetching ---- */

static void start_look(cadre__entry *entry, bool open);

static void end_fetch(cadre__entry *entry)
{
    cadre_future *fetch = entry->fetch;
    entry->fetch = NULL;
    cadre__deadline_clear(&entry->pool->deadlines, &entry->fetch_stall);
    cadre_future_on_progress(fetch, NULL, NULL);
    cadre_future_release(fetch);
}

static void fetch_over(cadre_future *fetch, int status, const char *detail, void *data)
{
    cadre__entry *entry = data;
    if (fetch != entry->fetch) return;
    end_fetch(entry); /* who calls this still holds it */
    if (status < 0) {
        fail(entry, status, detail);
        return;
    }
    entry->fetched = true;
    start_look(entry, !entry->config->opened || entry->load_waits);
}

/* As loads: from the first progress on, it must not be silent for too long. */
static void fetch_progress(cadre_future *fetch, const cadre_progress *progress, void *data)
{
    (void)fetch;
    cadre__entry *entry = data;
    entry->progress = *progress;
    if (entry->spawn.stall_timeout_ms == CADRE_NEVER) return;
    cadre__pool_deadline(entry->pool, &entry->fetch_stall, cadre__ms(entry->spawn.stall_timeout_ms));
}

static void fetch_stalled(cadre_pool *pool, cadre__deadline *deadline)
{
    (void)pool;
    cadre__entry *entry = CADRE__CONTAINER(deadline, cadre__entry, fetch_stall);
    cadre__future_settle(entry->fetch, CADRE_ETIMEDOUT, NULL, "the download has reported no progress for stall_timeout_ms");
}

/* The load's patience ends, whether a look or the fetch takes so long; who fetches by hand has his own. */
static void fetch_too_long(cadre_pool *pool, cadre__deadline *deadline)
{
    (void)pool;
    cadre__entry *entry = CADRE__CONTAINER(deadline, cadre__entry, fetch_limit);
    const char *detail = entry->fetch ? "the download took longer than load_timeout_ms" : "looking at the files took longer than load_timeout_ms";
    if (entry->fetch && !entry->fetches) {
        cadre__future_settle(entry->fetch, CADRE_ETIMEDOUT, NULL, detail);
        return;
    }
    stop_waiting(entry);
    cadre__entry_no_load(entry, CADRE_ETIMEDOUT, detail);
}

static void watch_limit(cadre__entry *entry)
{
    entry->fetch_limit.fire = fetch_too_long;
    if (!entry->load_waits || entry->spawn.load_timeout_ms == CADRE_NEVER)
        cadre__deadline_clear(&entry->pool->deadlines, &entry->fetch_limit);
    else if (!entry->fetch_limit.place)
        cadre__pool_deadline(entry->pool, &entry->fetch_limit, cadre__ms(entry->spawn.load_timeout_ms));
}

static uint64_t whole_budget(const cadre_pool *pool)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < pool->account_count; i++)
        if (__builtin_add_overflow(sum, pool->accounts[i].budget, &sum)) return UINT64_MAX;
    return sum;
}

static cadre_future *ask_fetcher(cadre__entry *entry, const cadre__inspection *ins)
{
    cadre_pool *pool = entry->pool;
    const cadre_allocator *allocator = cadre__pool_allocator(pool);
    const cadre__config *origin = ins->config;
    const char **texts = cadre__alloc(allocator, ins->absent * sizeof *texts);
    if (!texts) return NULL;
    size_t count = 0;
    for (size_t i = 0; i < origin->reference_count; i++)
        if (!ins->found[i]) texts[count++] = origin->references[i].text;
    pool->in_load = true;
    cadre_future *fetch = cadre_weights_future_untyped(pool->files.fetch(pool->files.self, pool, texts, count));
    pool->in_load = false;
    cadre__free(allocator, texts, ins->absent * sizeof *texts);
    return fetch;
}

static void start_fetch(cadre__entry *entry, const cadre__inspection *ins)
{
    cadre_future *fetch = ask_fetcher(entry, ins);
    if (!fetch || cadre_future_on_complete(fetch, fetch_over, entry) != CADRE_OK) {
        cadre_future_release(fetch);
        fail(entry, CADRE_ENOMEM, "the download could not be started: out of memory");
        return;
    }
    entry->fetch = fetch;
    entry->progress = cadre__no_progress;
    entry->fetch_stall.fire = fetch_stalled;
    cadre_future_on_progress(fetch, fetch_progress, entry);
    cadre__log(entry->pool->port, CADRE_LOG_INFO, "fetching %zu file%s of \"%s\"", ins->absent, ins->absent == 1 ? "" : "s", entry->spec->entry.key);
}

static void some_missing(cadre__entry *entry, const cadre__inspection *ins)
{
    const cadre_entry *e = &entry->spec->entry;
    char detail[CADRE__DETAIL_SIZE];
    if (entry->fetched) {
        snprintf(detail, sizeof detail, "%.440s; it was fetched, and is not in the cache all the same", ins->detail);
        fail(entry, UV_ENOENT, detail);
        return;
    }
    if (entry->load_waits && e->estimate_bytes > 0 && (uint64_t)e->estimate_bytes > whole_budget(entry->pool)) {
        snprintf(detail, sizeof detail, "\"%s\" is expected to need %lld bytes, which is more than the whole budget of %llu; nothing was downloaded", e->key,
                 (long long)e->estimate_bytes, (unsigned long long)whole_budget(entry->pool));
        stop_waiting(entry);
        cadre__entry_no_load(entry, CADRE_EBUDGET, detail);
    }
    if (entry->load_waits && e->loader != CADRE_LOADER_ASYNC && !entry->fetches) {
        const char *text = ins->config->references[ins->at].text;
        snprintf(detail, sizeof detail, "%.200s is not in the cache; bring it with cadre_registry_fetch (cadre-cli fetch %.100s), or make the entry \"async\"",
                 text, e->key);
        fail(entry, UV_ENOENT, detail);
        return;
    }
    if ((entry->load_waits || entry->fetches) && !entry->stopped) start_fetch(entry, ins);
}

/* ---- looking ---- */

static void look_free(cadre__look *look)
{
    cadre_port *port = look->port;
    const cadre_allocator *allocator = &port->allocator;
    cadre__inspection_end(&look->inspection);
    cadre__config_unref(look->origin);
    cadre__strfree(allocator, look->key);
    cadre__device_names_free(allocator, look->device_names, look->device_count);
    cadre__free(allocator, look, sizeof *look);
    cadre_port_release(port);
}

static void run_look(cadre__task *task)
{
    cadre__inspect(&CADRE__CONTAINER(task, cadre__look, task)->inspection);
}

static void orphan_look(cadre__task *task)
{
    look_free(CADRE__CONTAINER(task, cadre__look, task));
}

static void end_look(cadre__look *look)
{
    cadre__entry *entry = look->entry;
    cadre__inspection *ins = &look->inspection;
    cadre__list_remove(&look->link);
    if (entry) {
        entry->look = NULL;
        if (ins->here || ins->absent) entry->missing = !ins->here;
        if (ins->here)
            all_here(entry, ins);
        else if (ins->status == UV_ENOENT && ins->absent)
            some_missing(entry, ins);
        else
            fail(entry, ins->status, ins->detail);
        cadre__entry_touch(entry);
    }
    look_free(look);
}

static void deliver_looked(cadre_pool *pool, cadre__message *message)
{
    cadre__look *look = CADRE__CONTAINER(message, cadre__look, task.message);
    cadre__loader_done(pool, &look->task);
    end_look(look);
}

static void refuse_look(cadre_pool *pool, cadre__task *task, int error, const char *detail)
{
    (void)pool;
    cadre__look *look = CADRE__CONTAINER(task, cadre__look, task);
    look->inspection.status = error;
    snprintf(look->inspection.detail, sizeof look->inspection.detail, "%s", detail);
    end_look(look);
}

static cadre__look *look_create(cadre__entry *entry, bool open)
{
    cadre_pool *pool = entry->pool;
    const cadre_entry *e = &entry->spec->entry;
    cadre__look *look = cadre__alloc(cadre__pool_allocator(pool), sizeof *look);
    if (!look) return NULL;
    look->port = cadre_port_retain(pool->port);
    look->origin = cadre__config_ref(origin_of(entry));
    look->inspection.config = look->origin;
    look->task.run = run_look;
    look->task.orphan = orphan_look;
    look->task.refuse = refuse_look;
    look->task.message.deliver = deliver_looked;
    cadre__list_init(&look->task.link);
    cadre__list_init(&look->link);
    look->key = cadre__strdup(cadre__pool_allocator(pool), e->key);
    look->device_names = cadre__device_names_copy(pool);
    look->device_count = pool->account_count;
    look->inspection.files = pool->files;
    look->inspection.key = look->key;
    look->inspection.device_names = look->device_names;
    look->inspection.device_count = look->device_count;
    look->inspection.own_count = e->memory_count;
    if (e->memory_count) memcpy(look->inspection.own, e->memory, e->memory_count * sizeof *e->memory);
    look->inspection.open = open;
    if (look->key && look->device_names) return look;
    look_free(look);
    return NULL;
}

static void start_look(cadre__entry *entry, bool open)
{
    cadre__look *look = look_create(entry, open);
    if (!look) {
        fail(entry, CADRE_ENOMEM, cadre_strerror(CADRE_ENOMEM));
        return;
    }
    look->entry = entry;
    entry->look = look;
    cadre__list_append(&entry->pool->looks, &look->link);
    cadre__check_run(entry->pool, &look->task);
}

/* ---- what is wanted ---- */

bool cadre__files_here(cadre__entry *entry, uint32_t wanted)
{
    const cadre__model *model = entry->model;
    if (!origin_of(entry)) {
        cadre__entry_grant_fetches(entry, CADRE_OK, "");
        return true;
    }
    bool in_use = model->ready || model->loading || entry->weights || entry->reserving;
    bool usable = entry->config->opened && (!entry->doubted || in_use);
    entry->load_waits = !usable && model->ready + model->loading < wanted && entry->retry_at <= entry->pool->now;
    watch_limit(entry);
    if (!entry->look && !entry->fetch && (entry->fetches || entry->load_waits)) {
        entry->fetched = false;
        start_look(entry, !usable);
    }
    return usable;
}

void cadre__files_stop(cadre__entry *entry)
{
    if (entry->look) entry->look->entry = NULL; /* it ends by itself, and its result is dropped */
    entry->look = NULL;
    if (entry->fetch) {
        cadre__future_forget(entry->fetch, fetch_over, entry);
        end_fetch(entry);
    }
    stop_waiting(entry);
    entry->fetched = false;
}
