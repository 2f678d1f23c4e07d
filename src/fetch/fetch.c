/* A host's call for several files: done when all of them are there, failed with the first that fails.
 *
 * Nothing is transferred before the hub has said how large each file is, and the disk was asked for room for what is left to come. At the end the references
 * are looked up as `find` does it; a revision that has moved on in between leaves some of the files behind, and those are asked for again, a few times at most.
 */
#include "fetch.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static cadre__fetch *of(cadre__chore *chore)
{
    return (cadre__fetch *)(void *)((char *)chore - offsetof(cadre__fetch, chore));
}

/* ---- ends ---- */

static void free_fetch(cadre__fetch *fetch)
{
    cadre_fetcher *fetcher = fetch->fetcher;
    for (cadre__fetch **p = &fetcher->fetches; *p; p = &(*p)->next)
        if (*p == fetch) {
            *p = fetch->next;
            break;
        }
    for (size_t i = 0; i < fetch->count; i++)
        if (fetch->files[i].file) cadre__file_leave(fetch->files[i].file);
    free(fetch->files);
    free(fetch);
    cadre__fetcher_ended(fetcher);
}

/* The promise is settled, or was. A chore that is under way reads the files' names. */
static void end(cadre__fetch *fetch)
{
    cadre_weights_promise *promise = fetch->promise;
    fetch->promise = NULL;
    cadre_weights_promise_release(promise);
    if (!fetch->busy) free_fetch(fetch);
}

static void on_cancel(void *data)
{
    cadre__fetch *fetch = data;
    cadre_fetcher *fetcher = fetch->fetcher;
    end(fetch);
    cadre__files_go_on(fetcher);
}

/* A future that is settled already has its on_cancel under way, which ends the fetch. */
static bool left(const cadre__fetch *fetch)
{
    return !fetch->promise || cadre_weights_promise_cancelled(fetch->promise);
}

void cadre__fetch_fail(cadre__fetch *fetch, int status, const char *detail)
{
    if (left(fetch)) return;
    (void)cadre_weights_promise_fail(fetch->promise, status, detail);
    end(fetch);
}

static void succeed(cadre__fetch *fetch)
{
    cadre_weights_value value = CADRE_WEIGHTS_VALUE_INIT;
    if (left(fetch)) return;
    (void)cadre_weights_promise_resolve(fetch->promise, &value);
    end(fetch);
}

/* ---- steps ---- */

static bool wants(const cadre__fetch *fetch, const cadre__file *file)
{
    for (size_t i = 0; i < fetch->count; i++)
        if (fetch->files[i].file == file) return true;
    return false;
}

static bool at(const cadre__fetch *fetch, bool (*is)(const cadre__file *file))
{
    for (size_t i = 0; i < fetch->count; i++)
        if (is(fetch->files[i].file)) return true;
    return false;
}

static bool is_unknown(const cadre__file *file)
{
    return file->step < CADRE__FILE_SIZED || (file->step == CADRE__FILE_PAUSED && file->after == CADRE__FILE_ASKING);
}

static bool is_sized(const cadre__file *file)
{
    return file->step == CADRE__FILE_SIZED;
}

static void look(cadre__fetch *fetch);

static void post(cadre__fetch *fetch, void (*run)(cadre__chore *), void (*done)(cadre__chore *))
{
    fetch->chore.run = run;
    fetch->chore.done = done;
    fetch->busy = true;
    fetch->detail[0] = '\0';
    cadre__disk_post(&fetch->fetcher->disk, &fetch->chore);
}

/* A chore is back. False: nobody waits any more, and the fetch may be gone. */
static bool back(cadre__fetch *fetch)
{
    cadre_fetcher *fetcher = fetch->fetcher;
    fetch->busy = false;
    if (!fetch->promise) {
        free_fetch(fetch);
        cadre__files_go_on(fetcher);
        return false;
    }
    return !left(fetch);
}

static void clear(cadre__fetch *fetch)
{
    for (size_t i = 0; i < fetch->count; i++)
        if (is_sized(fetch->files[i].file)) fetch->files[i].file->step = CADRE__FILE_CLEARED;
    cadre__files_go_on(fetch->fetcher);
}

static void run_space(cadre__chore *chore)
{
    cadre__fetch *fetch = of(chore);
    chore->status = cadre__cache_free_bytes(&fetch->fetcher->settings, &fetch->free_bytes, fetch->detail, sizeof fetch->detail);
}

static void space_known(cadre__chore *chore)
{
    cadre__fetch *fetch = of(chore);
    cadre_fetcher *fetcher = fetch->fetcher;
    uint64_t keep = (uint64_t)fetcher->settings.keep_free_bytes;
    if (!back(fetch)) return;
    if (chore->status < 0) {
        cadre__fetch_fail(fetch, chore->status, fetch->detail);
    } else if (fetch->need > UINT64_MAX - keep || fetch->free_bytes < fetch->need + keep) {
        snprintf(fetch->detail, sizeof fetch->detail, "%.300s: %" PRIu64 " bytes are to come and %" PRIu64 " are to stay free, but %" PRIu64 " are free",
                 fetcher->settings.cache, fetch->need, keep, fetch->free_bytes);
        cadre__fetch_fail(fetch, UV_ENOSPC, fetch->detail);
    } else {
        clear(fetch);
        return;
    }
    cadre__files_go_on(fetcher);
}

/* What is left to come of this fetch, and of all that is under way already. */
static uint64_t need_of(const cadre__fetch *fetch)
{
    uint64_t need = 0;
    for (const cadre__file *file = fetch->fetcher->files; file; file = file->next) {
        if (!file->sized || !cadre__file_unfinished(file) || !(file->step > CADRE__FILE_SIZED || wants(fetch, file))) continue;
        uint64_t more = file->size - cadre__file_here(file);
        need = need > UINT64_MAX - more ? UINT64_MAX : need + more;
    }
    return need;
}

static void run_check(cadre__chore *chore)
{
    cadre__fetch *fetch = of(chore);
    const cadre__settings *settings = &fetch->fetcher->settings;
    char path[CADRE__FETCH_PATH];
    int rc = CADRE_OK;
    for (size_t i = 0; i < fetch->count && rc == CADRE_OK; i++)
        if (fetch->files[i].commit[0])
            rc = cadre__cache_write_ref(settings, &fetch->files[i].file->reference, fetch->files[i].commit, false, fetch->detail, sizeof fetch->detail);
    for (fetch->missing = 0; fetch->missing < fetch->count && rc == CADRE_OK; fetch->missing++)
        rc = cadre__cache_find(settings, &fetch->files[fetch->missing].file->reference, path, NULL, fetch->detail, sizeof fetch->detail);
    if (rc == UV_ENOENT) {
        fetch->missing--;
        rc = CADRE_OK;
    }
    chore->status = rc;
}

static void checked(cadre__chore *chore)
{
    cadre__fetch *fetch = of(chore);
    cadre_fetcher *fetcher = fetch->fetcher;
    if (!back(fetch)) return;
    if (chore->status < 0) {
        cadre__fetch_fail(fetch, chore->status, fetch->detail);
    } else if (fetch->missing == fetch->count) {
        succeed(fetch);
    } else if (++fetch->rounds >= CADRE__FETCH_ROUNDS) {
        cadre__fetch_fail(fetch, CADRE_ELOAD, "the revision moves on while its files are fetched, or the cache is being emptied");
    } else { /* all of them are looked for once more: what is there is found at once */
        for (size_t i = 0; i < fetch->count; i++) cadre__file_look_again(fetch->files[i].file);
        cadre__files_go_on(fetcher);
    }
}

static void look(cadre__fetch *fetch)
{
    if (fetch->busy || left(fetch) || at(fetch, is_unknown)) return;
    if (at(fetch, is_sized)) {
        fetch->need = need_of(fetch);
        if (fetch->need)
            post(fetch, run_space, space_known);
        else
            clear(fetch);
    } else if (!at(fetch, cadre__file_unfinished)) {
        for (size_t i = 0; i < fetch->count; i++) memcpy(fetch->files[i].commit, fetch->files[i].file->blob.meta.commit, sizeof fetch->files[i].commit);
        post(fetch, run_check, checked);
    }
}

void cadre__fetches_look(cadre__file *file)
{
    for (cadre__fetch *fetch = file->fetcher->fetches, *next; fetch; fetch = next) {
        next = fetch->next;
        if (wants(fetch, file)) look(fetch);
    }
    cadre__fetches_progress(file);
}

void cadre__fetches_fail(cadre__file *file, int status, const char *detail)
{
    file->waiters++; /* it stays until all have been told */
    for (cadre__fetch *fetch = file->fetcher->fetches, *next; fetch; fetch = next) {
        next = fetch->next;
        if (wants(fetch, file)) cadre__fetch_fail(fetch, status, detail);
    }
    cadre__file_leave(file);
}

void cadre__fetches_progress(cadre__file *file)
{
    for (cadre__fetch *fetch = file->fetcher->fetches; fetch; fetch = fetch->next) {
        if (!fetch->promise || !wants(fetch, file)) continue;
        uint64_t done = 0, total = 0;
        bool known = true;
        for (size_t i = 0; i < fetch->count; i++) {
            const cadre__file *one = fetch->files[i].file;
            done += cadre__file_here(one);
            total = total > UINT64_MAX - one->size ? UINT64_MAX : total + one->size; /* as the hub says it, whatever it says */
            known = known && one->sized;
        }
        if (!known) total = 0;
        cadre_weights_promise_progress(fetch->promise, total ? (double)done / (double)total : (double)NAN, done, total, "download");
    }
}

/* ---- begin ---- */

static int add(cadre__fetch *fetch, cadre__reference *reference)
{
    cadre__file *file = cadre__file_join(fetch->fetcher, reference);
    if (!file) return CADRE_ENOMEM;
    if (wants(fetch, file)) {
        cadre__file_leave(file);
        return CADRE_OK;
    }
    if (fetch->count == CADRE__FILES_MAX) {
        cadre__file_leave(file);
        snprintf(fetch->detail, sizeof fetch->detail, "more than %d files at once", CADRE__FILES_MAX);
        return CADRE_EINVAL;
    }
    if ((fetch->count & (fetch->count + 1)) == 0) { /* room for a power of two less one */
        cadre__wanted *files = realloc(fetch->files, (2 * fetch->count + 1) * sizeof *files);
        if (!files) {
            cadre__file_leave(file);
            return CADRE_ENOMEM;
        }
        fetch->files = files;
    }
    fetch->files[fetch->count++] = (cadre__wanted){.file = file};
    return CADRE_OK;
}

static int add_all(cadre__fetch *fetch, const char *text)
{
    cadre__reference first, part;
    int rc = cadre__reference_parse(&first, text, fetch->detail, sizeof fetch->detail);
    if (rc < 0) return rc;
    for (unsigned i = 1; i <= first.parts && rc == CADRE_OK; i++) {
        rc = cadre__reference_part(&part, &first, first.parts > 1 ? i : first.part);
        if (rc == CADRE_OK) rc = add(fetch, &part);
    }
    cadre__reference_clear(&first);
    return rc;
}

cadre_weights_future *cadre__fetch_begin(cadre_fetcher *fetcher, cadre_pool *pool, const char *const *references, size_t count)
{
    cadre_weights_future *future = NULL;
    cadre__fetch *fetch = calloc(1, sizeof *fetch), **last = &fetcher->fetches;
    if (!fetch) return NULL;
    fetch->fetcher = fetcher;
    int rc = cadre_weights_promise_create(pool, &fetch->promise, &future);
    if (rc == CADRE_OK) rc = cadre_weights_promise_on_cancel(fetch->promise, on_cancel, fetch);
    if (rc < 0) {
        cadre_weights_future_release(future);
        cadre_weights_promise_release(fetch->promise);
        free(fetch);
        return NULL;
    }
    while (*last) last = &(*last)->next;
    *last = fetch;
    if (fetcher->closing) rc = CADRE_ECLOSED;
    for (size_t i = 0; i < count && rc == CADRE_OK; i++) rc = add_all(fetch, references[i]);
    if (rc < 0) {
        cadre__fetch_fail(fetch, rc, fetch->detail[0] ? fetch->detail : cadre_strerror(rc));
        return future;
    }
    look(fetch);
    cadre__files_go_on(fetcher);
    return future;
}
