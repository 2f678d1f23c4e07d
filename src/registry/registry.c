#include "registry/registry.h"

#include "registry/files.h"

#include <stdarg.h>
#include <stdio.h>

#define UNKNOWN_MAX 1000 /* keys that requests may name while an addition is under way */

/* ---- additions: making and freeing ---- */

static void prepared_free(const cadre_allocator *allocator, cadre__prepared *prepared, size_t count)
{
    for (size_t i = 0; i < count; i++) cadre__config_unref(prepared[i].config);
    cadre__free(allocator, prepared, count * sizeof *prepared);
}

/* The loop, or the thread of a pool that is gone. */
static void addition_free(cadre__addition *addition)
{
    cadre_port *port = addition->port;
    const cadre_allocator *allocator = &port->allocator;
    prepared_free(allocator, addition->prepared, addition->prepared_count);
    cadre__specs_free(addition->specs);
    if (addition->text) cadre__free(allocator, addition->text, addition->text_length + 1);
    cadre__strfree(allocator, addition->path);
    cadre__strfree(allocator, addition->folder);
    cadre__strfree(allocator, addition->backend_path);
    cadre__free(allocator, addition->backends, addition->backend_count * sizeof *addition->backends);
    cadre__device_names_free(allocator, addition->device_names, addition->device_count);
    cadre__free(allocator, addition, sizeof *addition);
    cadre_port_release(port);
}

const char **cadre__device_names_copy(const cadre_pool *pool)
{
    const cadre_allocator *allocator = cadre__pool_allocator(pool);
    const char **names = cadre__alloc(allocator, pool->account_count * sizeof *names);
    if (!names) return NULL;
    for (size_t i = 0; i < pool->account_count; i++) {
        names[i] = cadre__strdup(allocator, pool->accounts[i].name);
        if (names[i]) continue;
        cadre__device_names_free(allocator, names, pool->account_count);
        return NULL;
    }
    return names;
}

void cadre__device_names_free(const cadre_allocator *allocator, const char **names, size_t count)
{
    for (size_t i = 0; names && i < count; i++) cadre__strfree(allocator, (char *)(uintptr_t)names[i]);
    cadre__free(allocator, names, count * sizeof *names);
}

static bool copy_pool(cadre__addition *addition, const cadre_pool *pool)
{
    const cadre_allocator *allocator = cadre__pool_allocator(pool);
    if (pool->backend_path && !(addition->backend_path = cadre__strdup(allocator, pool->backend_path))) return false;
    if (pool->backend_count) {
        addition->backends = cadre__alloc(allocator, pool->backend_count * sizeof *addition->backends);
        if (!addition->backends) return false;
        addition->backend_count = pool->backend_count;
        memcpy(addition->backends, pool->backends, pool->backend_count * sizeof *addition->backends);
    }
    addition->files = pool->files;
    addition->device_names = cadre__device_names_copy(pool);
    addition->device_count = pool->account_count;
    return addition->device_names != NULL;
}

static void run_check(cadre__task *task)
{
    cadre__addition_check(CADRE__CONTAINER(task, cadre__addition, task));
}

static void orphan_check(cadre__task *task)
{
    addition_free(CADRE__CONTAINER(task, cadre__addition, task));
}

static void deliver_checked(cadre_pool *pool, cadre__message *message);
static void refuse_check(cadre_pool *pool, cadre__task *task, int error, const char *detail);

static cadre__addition *addition_create(cadre_pool *pool, cadre_registry_cb cb, void *data)
{
    cadre__addition *addition = cadre__alloc(cadre__pool_allocator(pool), sizeof *addition);
    if (!addition) return NULL;
    addition->port = cadre_port_retain(pool->port);
    addition->cb = cb;
    addition->data = data;
    addition->task.run = run_check;
    addition->task.orphan = orphan_check;
    addition->task.refuse = refuse_check;
    addition->task.message.deliver = deliver_checked;
    cadre__list_init(&addition->task.link);
    cadre__list_init(&addition->link);
    if (copy_pool(addition, pool)) return addition;
    addition_free(addition);
    return NULL;
}

static void addition_start(cadre_pool *pool, cadre__addition *addition)
{
    pool->additions++;
    cadre__list_append(&pool->addition_list, &addition->link);
    cadre__check_run(pool, &addition->task);
}

/* ---- additions: making the change ---- */

static int reject(cadre__addition *addition, const cadre__spec *spec, int status, const char *format, ...) CADRE_PRINTF(4, 5);
static int reject(cadre__addition *addition, const cadre__spec *spec, int status, const char *format, ...)
{
    const cadre__place *place = &spec->place;
    int at = place->file ? snprintf(addition->detail, sizeof addition->detail, "%s:%u:%u: %s: ", place->file, place->line, place->column, place->path) : 0;
    va_list arguments;
    va_start(arguments, format);
    if (at >= 0 && (size_t)at < sizeof addition->detail) vsnprintf(addition->detail + at, sizeof addition->detail - (size_t)at, format, arguments);
    va_end(arguments);
    return status;
}

bool cadre__needs_exceed(const cadre_pool *pool, const cadre_entry *entry, bool shares, const cadre_memory_need *needs, size_t count, char *detail, size_t size)
{
    uint64_t workers = entry->min_workers > 1 ? (uint64_t)entry->min_workers : 1;
    for (size_t i = 0; i < count; i++) {
        const cadre_memory_need *need = &needs[i];
        const cadre__account *account = &pool->accounts[need->device];
        uint64_t each = need->worker_bytes + (shares ? 0 : need->weights_bytes), asked;
        if (!__builtin_mul_overflow(each, workers, &asked) && !__builtin_add_overflow(asked, shares ? need->weights_bytes : 0, &asked) &&
            asked <= account->budget)
            continue;
        snprintf(detail, size, "\"%s\" needs %llu bytes of %s for %llu worker%s, which is more than the whole budget of %llu", entry->key,
                 (unsigned long long)asked, account->name, (unsigned long long)workers, workers == 1 ? "" : "s", (unsigned long long)account->budget);
        return true;
    }
    return false;
}

static int check_entry(cadre_pool *pool, cadre__addition *addition, const cadre__spec *spec, const cadre__prepared *prepared)
{
    const char *key = spec->entry.key;
    cadre__model *model = cadre__model_find(pool, key);
    if (model && model->entry) return reject(addition, spec, CADRE_EEXIST, "the key \"%s\" is in the registry already", key);
    if (model && (model->loading || model->ready || model->leaving))
        return reject(addition, spec, CADRE_EEXIST, "the key \"%s\" has workers that were spawned by the host", key);
    char detail[CADRE__DETAIL_SIZE];
    bool shares = prepared->config->backend && prepared->config->backend->shares_weights;
    if (!cadre__needs_exceed(pool, &spec->entry, shares, prepared->needs, prepared->need_count, detail, sizeof detail)) return CADRE_OK;
    return reject(addition, spec, CADRE_EBUDGET, "%s", detail);
}

/* All entries or none. */
static int apply(cadre_pool *pool, cadre__addition *addition)
{
    if (pool->closing) {
        snprintf(addition->detail, sizeof addition->detail, "the pool is closing");
        return CADRE_ECLOSED;
    }
    cadre__prepared *prepared = addition->prepared;
    for (const cadre__spec *spec = addition->specs; spec; spec = spec->next) {
        int rc = check_entry(pool, addition, spec, prepared++);
        if (rc != CADRE_OK) return rc;
    }
    cadre__list made;
    cadre__list_init(&made);
    prepared = addition->prepared;
    bool enough = true;
    for (cadre__spec *spec; enough && (spec = addition->specs); prepared++) {
        cadre__config *config = prepared->config;
        prepared->config = NULL;
        addition->specs = spec->next;
        spec->next = NULL;
        cadre__entry *entry = cadre__entry_create(pool, spec, config, prepared->needs, prepared->need_count);
        enough = entry && cadre__entry_find_model(entry);
        if (entry) cadre__list_append(&made, &entry->link);
    }
    CADRE__LIST_FOR (node, &made) {
        cadre__entry *entry = CADRE__CONTAINER(node, cadre__entry, link);
        cadre__list_remove(node);
        if (enough)
            cadre__entry_install(entry);
        else
            cadre__entry_free(entry);
    }
    if (enough) return CADRE_OK;
    snprintf(addition->detail, sizeof addition->detail, "%s", cadre_strerror(CADRE_ENOMEM));
    return CADRE_ENOMEM;
}

/* The host hears it, and the requests that waited for keys. */
static void conclude(cadre_pool *pool, cadre__addition *addition)
{
    cadre_registry_cb cb = addition->cb;
    void *data = addition->data;
    int status = addition->status;
    bool told = addition->told;
    char detail[sizeof addition->detail];
    memcpy(detail, status < 0 ? addition->detail : "", status < 0 ? sizeof detail : 1);
    cadre__list_remove(&addition->link);
    if (!told) pool->additions--;
    addition_free(addition);
    if (status < 0) cadre__log(pool->port, CADRE_LOG_ERROR, "registry: %s (%s)", detail, cadre_err_name(status));
    if (status < 0) {
        pool->addition_status = status;
        snprintf(pool->addition_detail, sizeof pool->addition_detail, "%.500s", detail);
    }
    if (!pool->additions) {
        cadre__models_forget_unknown(pool, pool->addition_status < 0 ? pool->addition_status : CADRE_ENOENT,
                                     pool->addition_status < 0 ? pool->addition_detail : "no entry of the registry has this key");
        pool->addition_status = 0;
    }
    if (cb && !told) cb(pool, status, detail, data);
}

static void deliver_checked(cadre_pool *pool, cadre__message *message)
{
    cadre__addition *addition = CADRE__CONTAINER(message, cadre__addition, task.message);
    cadre__loader_done(pool, &addition->task);
    if (addition->status == CADRE_OK) addition->status = apply(pool, addition);
    conclude(pool, addition);
}

static void refuse_check(cadre_pool *pool, cadre__task *task, int error, const char *detail)
{
    cadre__addition *addition = CADRE__CONTAINER(task, cadre__addition, task);
    addition->status = error;
    snprintf(addition->detail, sizeof addition->detail, "%s", detail);
    conclude(pool, addition);
}

void cadre__additions_close(cadre_pool *pool)
{
    CADRE__LIST_FOR (node, &pool->addition_list) {
        cadre__addition *addition = CADRE__CONTAINER(node, cadre__addition, link);
        if (!cadre__list_empty(&addition->task.link)) continue; /* no thread has it: it is refused */
        if (addition->told) continue;
        addition->told = true; /* from here on it is its thread's */
        cadre__list_remove(&addition->link);
        pool->additions--;
        if (addition->cb) addition->cb(pool, CADRE_ECLOSED, "the pool was closed", addition->data);
    }
}

/* ---- the host's calls ---- */

static int add_manifest(cadre_pool *pool, const char *path, const char *json, size_t length, const char *folder, cadre_registry_cb cb, void *data)
{
    if (pool->closing) return cadre__pool_refuse(pool, CADRE_ECLOSED, "the pool is closing");
    const cadre_allocator *allocator = cadre__pool_allocator(pool);
    cadre__addition *addition = addition_create(pool, cb, data);
    bool enough = addition != NULL;
    if (enough && path) enough = (addition->path = cadre__strdup(allocator, path)) != NULL;
    if (enough && folder) enough = (addition->folder = cadre__strdup(allocator, folder)) != NULL;
    if (enough && json) {
        enough = (addition->text = cadre__alloc(allocator, length + 1)) != NULL;
        if (enough && length) memcpy(addition->text, json, length);
        addition->text_length = length;
    }
    if (!enough) {
        if (addition) addition_free(addition);
        return cadre__pool_refuse(pool, CADRE_ENOMEM, "out of memory");
    }
    addition_start(pool, addition);
    return CADRE_OK;
}

int cadre_registry_load(cadre_pool *pool, const char *path, cadre_registry_cb cb, void *data)
{
    if (!pool) return CADRE_EINVAL;
    if (!path || !*path) return cadre__pool_refuse(pool, CADRE_EINVAL, "path is %s", path ? "empty" : "NULL");
    return add_manifest(pool, path, NULL, 0, NULL, cb, data);
}

int cadre_registry_load_text(cadre_pool *pool, const char *json, size_t length, const char *folder, cadre_registry_cb cb, void *data)
{
    if (!pool) return CADRE_EINVAL;
    if (!json) return cadre__pool_refuse(pool, CADRE_EINVAL, "json is NULL");
    if (length > CADRE__MANIFEST_MAX) return cadre__pool_refuse(pool, CADRE_EMANIFEST, "the manifest has %zu bytes, more than 4 MiB", length);
    return add_manifest(pool, NULL, json, length, folder, cb, data);
}

static int add_one(cadre_pool *pool, const cadre_entry *theirs, int capability, const cadre__loader *loader, cadre__load_call call, cadre_registry_cb cb,
                   void *data)
{
    const cadre_allocator *allocator = cadre__pool_allocator(pool);
    char detail[CADRE__DETAIL_SIZE] = "";
    cadre_entry entry = CADRE_ENTRY_INIT;
    if (!theirs || !cadre__overlay(&entry, sizeof entry, theirs)) return cadre__pool_refuse(pool, CADRE_EINVAL, "the entry is NULL, or its size is wrong");
    if (loader && entry.capability == CADRE_DEFAULT) entry.capability = capability;
    if (loader && entry.capability != capability) return cadre__pool_refuse(pool, CADRE_EINVAL, "entry.capability is not that of the function");
    if (loader) entry.backend = entry.options = entry.folder = NULL;
    if (loader) entry.loader = CADRE_DEFAULT;
    int rc = cadre__entry_check(&entry, loader != NULL, pool->account_count, detail, sizeof detail);
    if (rc != CADRE_OK) return cadre__pool_refuse(pool, rc, "%s", detail);
    if (pool->closing) return cadre__pool_refuse(pool, CADRE_ECLOSED, "the pool is closing");
    cadre__addition *addition = addition_create(pool, cb, data);
    if (addition) addition->specs = cadre__spec_copy(allocator, &entry);
    if (addition && addition->specs) addition->prepared = cadre__alloc(allocator, sizeof *addition->prepared);
    if (addition && addition->prepared) addition->prepared_count = 1;
    cadre__config *config = addition && addition->prepared && loader ? cadre__alloc(allocator, sizeof *config) : NULL;
    if (!addition || !addition->prepared || (loader && !config)) {
        if (addition) addition_free(addition);
        return cadre__pool_refuse(pool, CADRE_ENOMEM, "out of memory");
    }
    if (loader) {
        atomic_init(&config->refs, 1);
        config->port = cadre_port_retain(pool->port);
        config->call = call;
        config->loader = *loader;
        addition->prepared[0].config = config;
    }
    addition_start(pool, addition);
    return CADRE_OK;
}

int cadre_registry_add(cadre_pool *pool, const cadre_entry *entry, cadre_registry_cb cb, void *data)
{
    return pool ? add_one(pool, entry, CADRE_DEFAULT, NULL, NULL, cb, data) : CADRE_EINVAL;
}

int cadre__registry_add_loader(cadre_pool *pool, const cadre_entry *entry, cadre_capability capability, const void *theirs, cadre__load_call call,
                               cadre_registry_cb cb, void *data)
{
    cadre__loader loader = {0};
    if (theirs) memcpy(&loader.size, theirs, sizeof loader.size);
    if (loader.size == sizeof loader) memcpy(&loader, theirs, sizeof loader);
    int rc = CADRE_EINVAL;
    if (pool && loader.load)
        rc = add_one(pool, entry, (int)capability, &loader, call, cb, data);
    else if (pool)
        rc = cadre__pool_refuse(pool, CADRE_EINVAL, "the loader is NULL, has no load, or a size that is not its struct's");
    if (rc != CADRE_OK && loader.release) loader.release(loader.data);
    return rc;
}

int cadre__registry_unknown(cadre_pool *pool, const char *key, cadre_capability capability, cadre__model **out)
{
    if (pool->unknown_count >= UNKNOWN_MAX) return cadre__pool_refuse(pool, CADRE_EFULL, "too many keys wait for the registry");
    cadre_spawn_options options;
    int rc = cadre__spawn_options_check(pool, capability, NULL, &options);
    if (rc != CADRE_OK) return rc;
    *out = cadre__model_get(pool, key, capability);
    if (!*out) return cadre__pool_refuse(pool, CADRE_ENOMEM, "out of memory");
    cadre__model_set_options(*out, &options);
    cadre__model_wait_to_be_known(*out);
    return CADRE_OK;
}

/* ---- one model ---- */

static cadre__entry *find(const cadre_pool *pool, const char *key)
{
    cadre__model *model = key ? cadre__model_find(pool, key) : NULL;
    return model ? model->entry : NULL;
}

static int no_model(cadre_pool *pool, const char *key)
{
    return cadre__pool_refuse(pool, CADRE_ENOENT, "there is no model of the key \"%.200s\"", key ? key : "(NULL)");
}

static int wish(cadre__entry *entry, cadre__wish **list, cadre_registry_cb cb, void *data)
{
    if (entry->pool->closing) return cadre__pool_refuse(entry->pool, CADRE_ECLOSED, "the pool is closing");
    return cadre__entry_wish(entry, list, cb, data) ? CADRE_OK : cadre__pool_refuse(entry->pool, CADRE_ENOMEM, "out of memory");
}

int cadre_registry_remove(cadre_pool *pool, const char *key, cadre_registry_cb cb, void *data)
{
    if (!pool) return CADRE_EINVAL;
    cadre__entry *entry = find(pool, key);
    if (!entry) return no_model(pool, key);
    if (entry->removing) return cadre__pool_refuse(pool, CADRE_EBUSY, "\"%.200s\" is being removed", key);
    if (!entry->model->ready && (entry->model->loading || entry->reserving || entry->load_waits))
        return cadre__pool_refuse(pool, CADRE_EBUSY, "\"%.200s\" is loading; remove it when it is loaded", key);
    int rc = wish(entry, &entry->removals, cb, data);
    if (rc == CADRE_OK) entry->removing = true;
    return rc;
}

int cadre_model_unload(cadre_pool *pool, const char *key, cadre_registry_cb cb, void *data)
{
    if (!pool) return CADRE_EINVAL;
    cadre__entry *entry = find(pool, key);
    if (!entry) return no_model(pool, key);
    if (entry->pinned || entry->spec->entry.min_workers > 0) return cadre__pool_refuse(pool, CADRE_EBUSY, "\"%.200s\" is pinned, or has min_workers", key);
    int rc = wish(entry, &entry->unloads, cb, data);
    if (rc == CADRE_OK) entry->unloading = true;
    return rc;
}

int cadre_model_load(cadre_pool *pool, const char *key, cadre_registry_cb cb, void *data)
{
    if (!pool) return CADRE_EINVAL;
    cadre__entry *entry = find(pool, key);
    if (!entry || entry->removing) return no_model(pool, key);
    int rc = wish(entry, &entry->loads, cb, data);
    if (rc == CADRE_OK) entry->refused = false; /* whoever asks by hand is not put off */
    if (rc == CADRE_OK && !entry->model->loading && !entry->reserving) entry->retry_at = 0;
    return rc;
}

int cadre_registry_fetch(cadre_pool *pool, const char *key, cadre_registry_cb cb, void *data)
{
    if (!pool) return CADRE_EINVAL;
    cadre__entry *entry = find(pool, key);
    if (!entry || entry->removing) return no_model(pool, key);
    return wish(entry, &entry->fetches, cb, data);
}

int cadre_model_pin(cadre_pool *pool, const char *key, int pinned)
{
    if (!pool) return CADRE_EINVAL;
    cadre__entry *entry = find(pool, key);
    if (!entry || entry->removing) return no_model(pool, key);
    entry->pinned = pinned != 0;
    entry->idle_check_at = 0;
    cadre__reserves_touch(pool);
    cadre__entry_touch(entry);
    return CADRE_OK;
}

/* ---- lookup ---- */

const char *cadre_model_state_name(cadre_model_state state)
{
    static const char *const names[] = {"cold", "waiting", "loading", "ready", "failed", "resting", "removing"};
    return (unsigned)state < sizeof names / sizeof *names ? names[state] : "unknown";
}

static cadre_entry_info describe(const cadre__entry *entry)
{
    const cadre_entry *e = &entry->spec->entry;
    const cadre__model *model = entry->model;
    cadre_entry_info info = {.size = sizeof info,
                             .key = e->key,
                             .name = e->name ? e->name : e->key,
                             .provider = e->provider ? e->provider : "",
                             .backend = e->backend,
                             .capability = (cadre_capability)e->capability,
                             .loader = (cadre_loader_kind)e->loader,
                             .state = cadre__entry_state(entry),
                             .pinned = entry->pinned,
                             .detail = "",
                             .workers = model->ready,
                             .workers_loading = model->loading,
                             .loads = model->stats.loads_done,
                             .load_failures = model->stats.loads_failed,
                             .evictions = model->stats.evictions,
                             .requests_done = model->stats.done,
                             .requests_failed = model->stats.failed,
                             .queued = model->queued,
                             .load_ms = entry->load_ns / CADRE__NS_PER_MS,
                             .progress = model->loading || entry->weights_watched || entry->fetch ? entry->progress : cadre__no_progress,
                             .license = e->license ? e->license : "",
                             .missing = entry->missing,
                             .fetching = entry->fetch != NULL};
    CADRE__LIST_FOR (node, &model->workers) info.workers_busy += CADRE__CONTAINER(node, cadre__worker, sibling)->state == CADRE_WORKER_PROCESSING;
    for (size_t i = 0; i < entry->pool->account_count; i++) info.resident_bytes += entry->charged[i];
    if (info.state != CADRE_MODEL_FAILED && info.state != CADRE_MODEL_RESTING) return info;
    info.status = entry->status;
    info.detail = entry->detail ? entry->detail : "";
    info.retry_after_ms = cadre__entry_retry_after(entry);
    return info;
}

int cadre_registry_get(const cadre_pool *pool, const char *key, cadre_entry_info *out)
{
    if (!pool || !key || !out) return CADRE_EINVAL;
    const cadre__entry *entry = find(pool, key);
    if (!entry) return CADRE_ENOENT;
    cadre_entry_info info = describe(entry);
    return cadre__fill(out, &info, sizeof info) ? CADRE_OK : CADRE_EINVAL;
}

int64_t cadre_registry_list(const cadre_pool *pool, const cadre_entry_filter *filter, cadre_entry_visit_cb visit, void *data)
{
    int64_t count = 0;
    cadre_entry_filter wanted = CADRE_ENTRY_FILTER_INIT;
    if (!pool || (filter && !cadre__overlay(&wanted, sizeof wanted, filter))) return CADRE_EINVAL;
    CADRE__LIST_FOR (node, &pool->entries) {
        const cadre_entry *e = &CADRE__CONTAINER(node, cadre__entry, link)->spec->entry;
        if (wanted.capability != CADRE_DEFAULT && wanted.capability != e->capability) continue;
        if (wanted.provider && strcmp(wanted.provider, e->provider ? e->provider : "") != 0) continue;
        if (wanted.name && strcmp(wanted.name, e->name ? e->name : e->key) != 0) continue;
        count++;
        if (!visit) continue;
        cadre_entry_info info = describe(CADRE__CONTAINER(node, cadre__entry, link));
        if (visit(&info, data)) break;
    }
    return count;
}
