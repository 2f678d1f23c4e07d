#include "scripted_files.h"

static size_t index_of(const scripted_files *sf, const char *reference)
{
    size_t i = 0;
    while (i < sf->here_count && strcmp(sf->here[i], reference) != 0) i++;
    return i;
}

const char *files_path(scripted_files *sf, const char *reference, char *path, size_t size)
{
    snprintf(path, size, "/cache%c/%s", sf->version, reference + 3);
    return path;
}

static int find(void *self, const char *reference, char *path, size_t path_size, char *detail, size_t detail_size)
{
    scripted_files *sf = self;
    if (fixture_on_loop(sf->fx)) fixture_fault(sf->fx, "find runs on the loop");
    atomic_fetch_add(&sf->finds, 1);
    gate_wait(&sf->finding);
    int status = atomic_load(&sf->find_status);
    if (status < 0) {
        snprintf(detail, detail_size, "the cache cannot be read");
        return status;
    }
    const char *slash = strchr(reference, '/');
    if (strncmp(reference, "hf:", 3) != 0 || !slash || !strchr(slash + 1, '/')) {
        snprintf(detail, detail_size, "a reference has an owner, a name and a file");
        return CADRE_EINVAL;
    }
    pthread_mutex_lock(&sf->lock);
    bool here = index_of(sf, reference) < sf->here_count;
    if (here) files_path(sf, reference, path, path_size);
    pthread_mutex_unlock(&sf->lock);
    if (!here) snprintf(detail, detail_size, "is not in the cache");
    return here ? 0 : UV_ENOENT;
}

static void on_cancel(void *data)
{
    scripted_files *sf = data;
    for (int i = 0; i < sf->started; i++) {
        download *d = &sf->downloads[i];
        if (!d->promise || !cadre_weights_promise_cancelled(d->promise)) continue;
        d->cancelled = true;
        sf->cancelled++;
        cadre_weights_promise_release(d->promise);
        d->promise = NULL;
    }
}

static cadre_weights_future *fetch(void *self, cadre_pool *pool, const char *const *references, size_t count)
{
    scripted_files *sf = self;
    cadre_weights_future *future = NULL;
    if (!fixture_on_loop(sf->fx) || sf->fx->calling) fixture_fault(sf->fx, "fetch runs off the loop, or inside a call");
    if (pool != sf->fx->pool || count == 0) fixture_fault(sf->fx, "fetch got another pool, or nothing to fetch");
    if (sf->started == DOWNLOADS_MAX) fixture_fault(sf->fx, "more downloads than the script has room for");
    if (sf->start_fails || sf->started == DOWNLOADS_MAX) return NULL;
    download *d = &sf->downloads[sf->started];
    size_t used = 0;
    for (size_t i = 0; i < count; i++) used += (size_t)snprintf(d->references + used, sizeof d->references - used, "%s ", references[i]);
    if (cadre_weights_promise_create(pool, &d->promise, &future) != 0) return NULL;
    sf->started++;
    if (cadre_promise_on_cancel(cadre_weights_promise_untyped(d->promise), on_cancel, sf) != 0) fixture_fault(sf->fx, "on_cancel cannot be set");
    return future;
}

fixture *files_begin(scripted_files *sf, const cadre_pool_options *options)
{
    cadre_pool_options all = CADRE_POOL_OPTIONS_INIT;
    if (options) all = *options;
    *sf = (scripted_files){.fetcher = {sizeof(cadre_file_fetcher), sf, find, fetch}, .version = '1'};
    pthread_mutex_init(&sf->lock, NULL);
    gate_init(&sf->finding);
    all.files = &sf->fetcher;
    sf->fx = registry_begin_all(&all);
    register_file_backends(sf->fx);
    return sf->fx;
}

void files_end(scripted_files *sf)
{
    fixture_end(sf->fx);
    for (int i = 0; i < sf->started; i++) assert_null(sf->downloads[i].promise);
    gate_destroy(&sf->finding);
    pthread_mutex_destroy(&sf->lock);
}

void files_put(scripted_files *sf, const char *reference)
{
    pthread_mutex_lock(&sf->lock);
    size_t at = index_of(sf, reference);
    if (at == sf->here_count && at < FILES_MAX) snprintf(sf->here[sf->here_count++], sizeof *sf->here, "%s", reference);
    pthread_mutex_unlock(&sf->lock);
}

void files_remove(scripted_files *sf, const char *reference)
{
    pthread_mutex_lock(&sf->lock);
    size_t at = index_of(sf, reference);
    if (at < sf->here_count) memmove(sf->here[at], sf->here[--sf->here_count], sizeof *sf->here);
    pthread_mutex_unlock(&sf->lock);
}

download *files_pending(scripted_files *sf)
{
    assert_true(sf->started > 0);
    download *d = &sf->downloads[sf->started - 1];
    assert_non_null(d->promise);
    return d;
}

void files_until_started(scripted_files *sf, int n)
{
    run_until_int(sf->fx, &sf->started, n);
    settle(sf->fx);
}

void files_progress(scripted_files *sf, uint64_t done, uint64_t total)
{
    cadre_weights_promise_progress(files_pending(sf)->promise, (double)done / (double)total, done, total, "download");
    settle(sf->fx);
}

static void over(scripted_files *sf, download *d)
{
    cadre_weights_promise *promise = d->promise;
    d->promise = NULL;
    cadre_weights_promise_release(promise);
    settle(sf->fx);
}

void files_fail(scripted_files *sf, int status, const char *detail)
{
    download *d = files_pending(sf);
    cadre_weights_value nothing = CADRE_WEIGHTS_VALUE_INIT;
    if (status < 0)
        assert_status(cadre_weights_promise_fail(d->promise, status, detail), 0);
    else
        assert_status(cadre_weights_promise_resolve(d->promise, &nothing), 0);
    over(sf, d);
}

void files_arrive(scripted_files *sf)
{
    char references[600], *next = NULL;
    snprintf(references, sizeof references, "%s", files_pending(sf)->references);
    for (char *reference = strtok_r(references, " ", &next); reference; reference = strtok_r(NULL, " ", &next)) files_put(sf, reference);
    files_fail(sf, 0, NULL);
}
