/* How an entry's weights and workers are loaded: by its backend in one of the three ways, or by the host's loader. */
#include "core/weights.h"
#include "memory/ledger.h"
#include "registry/entry.h"

#include <math.h>

uint64_t cadre__entry_weights_bytes(const cadre__entry *entry)
{
    if (!entry->weights) return 0;
    return cadre__reservation_bytes(entry->weights->weights ? entry->weights->weights->charge : entry->weights->charge);
}

const cadre_progress cadre__no_progress = {sizeof(cadre_progress), NAN, 0, 0, ""};

static void release_config(void *data)
{
    cadre__config_unref(data);
}

/* ---- the calls into a backend ---- */

static int call_make(cadre__make_fn function, cadre_load_context *context, cadre_weights *source, void *data, void *value)
{
    (void)function;
    const cadre__config *config = data;
    return config->backend->make(config->self, context, source, value);
}

static int call_load(cadre__make_fn function, cadre_load_context *context, cadre_weights *source, void *data, void *value)
{
    (void)function;
    const cadre__config *config = data;
    return config->backend->load(config->self, context, source, value);
}

static void no_function(void)
{
}

/* The asynchronous part. NULL: it could not be started; the context says why. */
static cadre_future *fetch(cadre__config *config, cadre_load_context *context)
{
    cadre_future *fetched = (cadre_future *)(void *)config->backend->fetch(config->self, context);
    if (!fetched && !context->detail[0]) cadre_load_fail(context, CADRE_ELOAD, "the backend returned no future");
    cadre__box *box = !fetched ? NULL : fetched->promise ? fetched->promise->box : fetched->weights ? fetched->weights->box : NULL;
    if (box && !box->config) box->config = cadre__config_ref(config); /* what was fetched may come, and go, after the load */
    return fetched;
}

/* ---- workers ---- */

/* The load callback of a backend's worker. The future of shared weights may still be pending: the worker's load waits for it. */
static cadre_future *load_worker(const void *loader, cadre_load_context *context)
{
    cadre__loader typed;
    memcpy(&typed, loader, sizeof typed);
    cadre__config *config = typed.data;
    cadre_value_type type = (cadre_value_type)config->capability;
    cadre__entry *entry = ((cadre__worker *)context->owner)->model->entry;
    if (entry->weights) return cadre__load_blocking(context, type, entry->weights, call_make, no_function, config); /* contexts take a while, too */
    cadre_future *source = NULL;
    if (cadre__entry_shares(entry)) { /* they failed since this was spawned */
        cadre_load_fail(context, CADRE_ELOAD, "the shared weights could not be loaded");
        return NULL;
    }
    if (config->kind == CADRE_LOADER_ASYNC) {
        source = fetch(config, context);
        if (!source) return NULL;
    }
    cadre_future *future = cadre__load_blocking(context, type, source, call_make, no_function, config);
    cadre_future_release(source);
    return future;
}

/* The load callback of the host's loader. */
static cadre_future *load_own(const void *loader, cadre_load_context *context)
{
    cadre__loader typed;
    memcpy(&typed, loader, sizeof typed);
    cadre__config *config = typed.data;
    return config->call(&config->loader, context);
}

int cadre__entry_spawn(cadre__entry *entry, cadre_reservation *owned, bool cold)
{
    if (!entry->model->loading && !entry->weights_watched) entry->progress = cadre__no_progress;
    cadre__config *config = cadre__config_ref(entry->config);
    cadre__loader loader = {sizeof loader, no_function, config, release_config};
    cadre__spawning spawning = {.entry = entry, .cold = cold, .call = config->backend ? load_worker : load_own};
    return cadre__spawn_worker(entry->pool, config->capability, entry->spec->entry.key, &loader, &spawning, owned, &entry->spawn, NULL);
}

/* ---- shared weights ---- */

static void weights_over(cadre_future *future, int status, const char *detail, void *data)
{
    cadre__entry *entry = data;
    (void)detail;
    if (future != entry->weights) return;
    entry->weights_watched = false;
    cadre_future_on_progress(future, NULL, NULL);
    if (status < 0) {
        if (entry->model->loading) return; /* its workers fail with it, and tell */
        cadre__entry_drop_weights(entry);
        cadre__entry_no_load(entry, status, detail);
    } else if (!entry->turn_since) {
        if (!entry->load_ns) entry->load_ns = entry->pool->now - entry->weights_since + 1; /* of preloaded ones: nearly all of it */
        entry->turn_since = entry->pool->now ? entry->pool->now : 1;
    }
    cadre__entry_touch(entry);
    cadre__reserves_touch(entry->pool);
}

static void weights_progress(cadre_future *future, const cadre_progress *progress, void *data)
{
    (void)future;
    cadre__entry *entry = data;
    entry->progress = *progress; /* preloaded ones have no worker */
    CADRE__LIST_FOR (node, &entry->model->workers) cadre__worker_progress(CADRE__CONTAINER(node, cadre__worker, sibling), progress);
}

void cadre__entry_forget_weights(cadre__entry *entry, cadre_future *weights)
{
    if (!entry->weights_watched) return;
    entry->weights_watched = false;
    cadre_future_on_progress(weights, NULL, NULL);
    cadre__future_forget(weights, weights_over, entry);
}

/* The future of the load; NULL: it could not be started, and `detail` may say why. */
static cadre_future *start_weights(cadre__entry *entry, char *detail)
{
    cadre_pool *pool = entry->pool;
    cadre__config *config = entry->config;
    cadre_load_context *context = cadre__load_create(pool, entry->spec->entry.key, cadre__config_ref(config), release_config);
    cadre_future *source = NULL, *future = NULL;
    if (!context) {
        cadre__config_unref(config);
        return NULL;
    }
    context->weights_of = entry;
    pool->in_load = true;
    if (config->kind == CADRE_LOADER_ASYNC) source = fetch(config, context);
    if (source || config->kind != CADRE_LOADER_ASYNC) future = cadre__load_blocking(context, CADRE_VALUE_WEIGHTS, source, call_load, no_function, config);
    pool->in_load = false;
    if (!future) memcpy(detail, context->detail, CADRE__DETAIL_SIZE);
    cadre_future_release(source);
    cadre__load_unref(context);
    return future;
}

int cadre__entry_load_weights(cadre__entry *entry, cadre_reservation *owned, char detail[CADRE__DETAIL_SIZE])
{
    detail[0] = '\0';
    cadre_future *future = start_weights(entry, detail);
    if (!future) {
        cadre_reservation_release(owned);
        if (detail[0]) return CADRE_ELOAD;
        strcpy(detail, cadre_strerror(CADRE_ENOMEM));
        return CADRE_ENOMEM;
    }
    future->charge = owned;
    if (future->promise && !future->promise->box->config) future->promise->box->config = cadre__config_ref(entry->config); /* until they are destroyed */
    if (cadre_future_on_complete(future, weights_over, entry) != CADRE_OK) {
        cadre_future_release(future);
        strcpy(detail, cadre_strerror(CADRE_ENOMEM));
        return CADRE_ENOMEM;
    }
    entry->weights = future;
    entry->weights_since = entry->pool->now;
    entry->weights_watched = true;
    entry->progress = cadre__no_progress;
    cadre_future_on_progress(future, weights_progress, entry);
    if (entry->spawn.load_timeout_ms != CADRE_NEVER) cadre_future_set_deadline(future, entry->spawn.load_timeout_ms);
    return CADRE_OK;
}
