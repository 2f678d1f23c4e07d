/* One file's way: look in the cache, ask the hub, measure what is here, and, once its fetch has found room on the disk, open, bring, finish.
 *
 * All of it is the loop's; what blocks is one chore at a time on a disk thread (`busy`), during which the blob is that thread's. Several fetches may wait for
 * one file; it goes when the last has left, or with them when it fails. A file that is stopped is out of the table's sight for newcomers, and is freed once its
 * chore is back and what it holds on the disk is let go. */
#include "fetch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOCK_POLL_MS 200
#define RETRY_DELAY_MAX_MS 30000
#define RETRY_AFTER_MAX_MS 300000

static void start_look(cadre__file *file);
static void start_ask(cadre__file *file);
static void start_open(cadre__file *file);

void cadre__file_post(cadre__file *file, void (*run)(cadre__chore *), void (*done)(cadre__chore *))
{
    file->chore.run = run;
    file->chore.done = done;
    file->busy = true;
    cadre__disk_post(&file->fetcher->disk, &file->chore);
}

static cadre__file *of(cadre__chore *chore)
{
    return (cadre__file *)(void *)((char *)chore - offsetof(cadre__file, chore));
}

/* ---- ends ---- */

static void free_file(cadre__file *file)
{
    cadre_fetcher *fetcher = file->fetcher;
    for (cadre__file **p = &fetcher->files; *p; p = &(*p)->next)
        if (*p == file) {
            *p = file->next;
            break;
        }
    cadre__transfer_drop(file);
    if (file->token) OPENSSL_cleanse(file->token, strlen(file->token));
    free(file->token);
    cadre__reference_clear(&file->reference);
    free(file);
    cadre__fetcher_ended(fetcher);
}

static void run_close(cadre__chore *chore)
{
    cadre__blob_close(&of(chore)->blob);
}

static void closed(cadre__chore *chore)
{
    cadre__file *file = of(chore);
    if (chore->status < 0) cadre__blob_close(&file->blob); /* no thread could be made for it */
    file->busy = file->opened = false;
    free_file(file);
}

void cadre__file_release_disk(cadre__file *file)
{
    if (file->busy) return; /* its chore's end comes here again */
    if (file->opened && cadre__transfer_flush(file, true)) return;
    if (file->opened)
        cadre__file_post(file, run_close, closed);
    else
        free_file(file);
}

static void stop(cadre__file *file)
{
    if (file->step == CADRE__FILE_STOPPED) return;
    file->step = CADRE__FILE_STOPPED;
    if (file->transfer) cadre__http_cancel(file->transfer);
    file->transfer = NULL;
    atomic_store_explicit(&file->blob.stop, true, memory_order_relaxed);
    cadre__file_release_disk(file);
}

void cadre__file_fail(cadre__file *file, int status, const char *detail)
{
    char name[512], text[CADRE__FETCH_DETAIL + sizeof name + 2];
    cadre_fetcher *fetcher = file->fetcher;
    cadre__reference_print(&file->reference, name, sizeof name);
    snprintf(text, sizeof text, "%s: %.*s", name, CADRE__FETCH_DETAIL - 1, detail && *detail ? detail : cadre_strerror(status));
    file->step = CADRE__FILE_FAILED; /* a waiter may be unable to leave at once, and nobody joins any more */
    if (file->transfer) cadre__http_cancel(file->transfer);
    file->transfer = NULL;
    if (file->waiters) cadre__fetches_fail(file, status, text); /* they leave, and the last stops it */
    cadre__files_go_on(fetcher);
}

void cadre__file_leave(cadre__file *file)
{
    if (--file->waiters) return;
    if (file->step == CADRE__FILE_DONE)
        free_file(file);
    else
        stop(file);
}

static int64_t delay_of(cadre__file *file, int64_t after_ms)
{
    cadre_fetcher *fetcher = file->fetcher;
    if (after_ms >= 0) return after_ms < RETRY_AFTER_MAX_MS ? after_ms : RETRY_AFTER_MAX_MS;
    int64_t delay = fetcher->settings.retry_delay_ms;
    for (int i = 1; i < file->attempts && delay < RETRY_DELAY_MAX_MS; i++) delay *= 2;
    if (delay > RETRY_DELAY_MAX_MS) delay = RETRY_DELAY_MAX_MS;
    fetcher->random ^= fetcher->random << 13; /* xorshift64 */
    fetcher->random ^= fetcher->random >> 7;
    fetcher->random ^= fetcher->random << 17;
    return delay * (int64_t)(75 + fetcher->random % 51) / 100;
}

static void pause_until(cadre__file *file, cadre__step after, int64_t delay_ms)
{
    file->step = CADRE__FILE_PAUSED;
    file->after = after;
    file->due = uv_now(file->fetcher->loop) + (uint64_t)delay_ms;
    cadre__fetcher_arm(file->fetcher);
    cadre__files_go_on(file->fetcher); /* its place is free */
}

/* Fails it from the timer: whoever is in the midst of a list of files goes on undisturbed. */
void cadre__file_no_memory(cadre__file *file)
{
    file->step = CADRE__FILE_PAUSED;
    file->after = CADRE__FILE_STOPPED;
    file->due = 0;
    cadre__fetcher_arm(file->fetcher);
}

void cadre__file_retry(cadre__file *file, cadre__step step, int status, int64_t after_ms, const char *detail)
{
    char name[512];
    if (file->attempts++ >= file->fetcher->settings.retries) {
        cadre__file_fail(file, status, detail);
        return;
    }
    cadre__reference_print(&file->reference, name, sizeof name);
    uv_update_time(file->fetcher->loop);
    int64_t delay = delay_of(file, after_ms);
    cadre__fetcher_log(file->fetcher, CADRE_LOG_WARN, "%s: %s; attempt %d of %d in %lld ms", name, detail, file->attempts + 1,
                       file->fetcher->settings.retries + 1, (long long)delay);
    pause_until(file, step, delay);
}

/* A chore is back. False: the file is stopped, and perhaps gone. */
static bool back(cadre__file *file)
{
    file->busy = false;
    if (file->step == CADRE__FILE_STOPPED) {
        cadre__file_release_disk(file);
        return false;
    }
    if (file->chore.status == CADRE_ETHREAD) snprintf(file->blob.detail, sizeof file->blob.detail, "%s", cadre_strerror(CADRE_ETHREAD));
    return true;
}

static void finish(cadre__file *file)
{
    file->step = CADRE__FILE_DONE;
    cadre__fetches_look(file);
    cadre__files_go_on(file->fetcher);
}

/* ---- is it here? ---- */

static void run_look(cadre__chore *chore)
{
    cadre__file *file = of(chore);
    const cadre__settings *settings = &file->fetcher->settings;
    uint64_t size = 0;
    file->blob.detail[0] = '\0';
    chore->status = cadre__cache_find(settings, &file->reference, file->cached, &size, file->blob.detail, sizeof file->blob.detail);
    if (chore->status == CADRE_OK) file->blob.meta.size = file->blob.have = size;
    if (chore->status == UV_ENOENT && file->wants_token) file->token = cadre__settings_read_token(settings);
}

static void looked(cadre__chore *chore)
{
    cadre__file *file = of(chore);
    cadre_fetcher *fetcher = file->fetcher;
    if (!back(file)) return;
    if (file->token && !fetcher->token_known) {
        fetcher->settings.token = file->token; /* read by the loop alone */
        file->token = NULL;
    }
    if (chore->status == CADRE_OK) {
        file->size = file->here = file->blob.meta.size;
        file->sized = true;
        finish(file);
    } else if (chore->status < 0 && chore->status != UV_ENOENT) {
        cadre__file_fail(file, chore->status, file->blob.detail);
    } else if (fetcher->settings.offline) {
        snprintf(file->detail, sizeof file->detail, "it is not in the cache %s, and the fetcher is offline", fetcher->settings.cache);
        cadre__file_fail(file, UV_ENETUNREACH, file->detail);
    } else {
        fetcher->token_known = true;
        start_ask(file);
    }
}

static void start_look(cadre__file *file)
{
    file->step = CADRE__FILE_LOOKING;
    file->wants_token = !file->fetcher->token_known && !file->fetcher->settings.token;
    cadre__file_post(file, run_look, looked);
}

/* ---- what is it? ---- */

static void run_measure(cadre__chore *chore)
{
    cadre__file *file = of(chore);
    chore->status = cadre__blob_measure(&file->blob);
}

static void measured(cadre__chore *chore)
{
    cadre__file *file = of(chore);
    if (!back(file)) return;
    if (chore->status < 0) {
        cadre__file_fail(file, chore->status, file->blob.detail);
        return;
    }
    file->size = file->blob.meta.size;
    file->here = file->blob.there ? file->size : file->blob.have;
    if (file->here > file->reached) file->reached = file->here;
    file->sized = true;
    file->step = CADRE__FILE_SIZED;
    cadre__fetches_progress(file);
    cadre__fetches_look(file);
    cadre__files_go_on(file->fetcher);
}

static int on_head(cadre__transfer *transfer, long status, void *data)
{
    cadre__file *file = data;
    cadre__meta meta;
    if (status >= 400) {
        cadre__hub_read_refusal(transfer, status, &file->refusal);
        return 0;
    }
    file->why = cadre__hub_read(transfer, &meta, file->detail, sizeof file->detail);
    if (file->why == CADRE_OK && cadre__is_commit(file->reference.revision) && strcmp(file->reference.revision, meta.commit) != 0) {
        snprintf(file->detail, sizeof file->detail, "%s: asked for this commit, it answers with %s", cadre__http_origin(transfer), meta.commit);
        file->why = CADRE_EFORMAT;
    }
    if (file->why == CADRE_OK) file->blob.meta = meta;
    return file->why;
}

static void on_asked(cadre__transfer *transfer, const cadre__http_result *result, void *data)
{
    cadre__file *file = data;
    cadre_fetcher *fetcher = file->fetcher;
    (void)transfer;
    file->transfer = NULL;
    if (file->why < 0) {
        cadre__file_fail(file, file->why, file->detail);
    } else if (file->refusal.status >= 400) {
        int rc = cadre__hub_refused(&fetcher->settings, &file->reference, fetcher->settings.token != NULL, &file->refusal, result->detail, file->detail,
                                    sizeof file->detail);
        if (cadre__hub_passes(file->refusal.status))
            cadre__file_retry(file, CADRE__FILE_ASKING, rc, result->retry_after_ms, file->detail);
        else
            cadre__file_fail(file, rc, file->detail);
    } else if (result->error < 0) {
        snprintf(file->detail, sizeof file->detail, "%s", result->detail);
        if (result->passes)
            cadre__file_retry(file, CADRE__FILE_ASKING, result->error, result->retry_after_ms, file->detail);
        else
            cadre__file_fail(file, result->error, file->detail);
    } else if (!file->blob.meta.commit[0]) {
        cadre__file_fail(file, CADRE_EFORMAT, result->detail); /* no head was seen */
    } else {
        file->step = CADRE__FILE_MEASURING;
        cadre__file_post(file, run_measure, measured);
    }
}

static void start_ask(cadre__file *file)
{
    const cadre__settings *settings = &file->fetcher->settings;
    char *url = cadre__reference_url(&file->reference, settings->endpoint, file->reference.revision);
    file->step = CADRE__FILE_ASKING;
    file->why = 0;
    file->refusal = (cadre__refusal){0};
    file->blob.meta = (cadre__meta){{0}, {0}, 0};
    cadre__http_request request = {.url = url,
                                   .head = true,
                                   .follow = CADRE__FOLLOW_SAME_ORIGIN,
                                   .token = settings->token,
                                   .max_bytes = UINT64_MAX,
                                   .connect_timeout_ms = settings->connect_timeout_ms,
                                   .stall_timeout_ms = settings->stall_timeout_ms,
                                   .timeout_ms = CADRE_NEVER,
                                   .on_head = on_head,
                                   .on_done = on_asked,
                                   .data = file};
    file->transfer = url ? cadre__http_begin(file->fetcher->http, &request) : NULL;
    free(url);
    if (!file->transfer) cadre__file_no_memory(file);
}

/* ---- bring it ---- */

static void run_open(cadre__chore *chore)
{
    cadre__file *file = of(chore);
    cadre__blob *blob = &file->blob;
    int rc = cadre__blob_open(blob);
    if (rc == CADRE_OK && !blob->there && blob->have == blob->meta.size) rc = cadre__blob_finish(blob); /* all of it came before */
    if (rc == CADRE_OK && blob->there) rc = cadre__cache_link(blob->settings, blob->reference, &blob->meta, blob->detail, sizeof blob->detail);
    if (rc == CADRE_OK && blob->there) rc = cadre__cache_write_ref(blob->settings, blob->reference, blob->meta.commit, true, blob->detail, sizeof blob->detail);
    if (rc < 0 || blob->there) cadre__blob_close(blob);
    chore->status = rc;
}

static void opened(cadre__chore *chore)
{
    cadre__file *file = of(chore);
    int rc = chore->status;
    file->opened = rc == CADRE_OK && !file->blob.there;
    if (!back(file)) return;
    file->here = file->blob.have;
    if (rc == CADRE_EBUSY) {
        if (file->blob.there) file->here = file->size;
        cadre__fetches_progress(file);
        pause_until(file, CADRE__FILE_CLEARED, LOCK_POLL_MS);
    } else if (rc == CADRE_EFORMAT && file->size && !file->old_wrong) { /* all of what was here, and wrong: it is gone now */
        file->old_wrong = true;
        cadre__fetcher_log(file->fetcher, CADRE_LOG_WARN, "%s: %s; from the beginning", file->reference.path, file->blob.detail);
        pause_until(file, CADRE__FILE_CLEARED, 0);
    } else if (rc < 0) {
        cadre__file_fail(file, rc, file->blob.detail);
    } else if (file->blob.there) {
        file->here = file->size;
        finish(file);
    } else {
        cadre__transfer_start(file);
    }
}

static void start_open(cadre__file *file)
{
    if (file->opened) { /* an attempt after another */
        cadre__transfer_start(file);
        return;
    }
    file->restart = false;
    file->step = CADRE__FILE_OPENING;
    cadre__file_post(file, run_open, opened);
}

/* The GET brought all of it, the disk thread has looked at it. */
void cadre__file_finished(cadre__file *file, int status)
{
    char detail[CADRE__FETCH_DETAIL];
    if (!back(file)) return;
    cadre__transfer_drop(file);
    if (status == CADRE_OK) {
        if (cadre__blob_digest(&file->blob) == CADRE__NO_DIGEST)
            cadre__fetcher_log(file->fetcher, CADRE_LOG_INFO, "%s: %s: the hub's ETag is no hash: only the size was checked", file->reference.repository,
                               file->reference.path);
        finish(file);
    } else if (status == CADRE_EFORMAT && file->digests_wrong++ == 0) {
        snprintf(detail, sizeof detail, "%s", file->blob.detail);
        file->here = file->reached = 0;
        file->attempts = 0;
        cadre__fetcher_log(file->fetcher, CADRE_LOG_WARN, "%s: %s: %s; once more, from the beginning", file->reference.repository, file->reference.path,
                           detail);
        pause_until(file, CADRE__FILE_CLEARED, 0);
    } else {
        cadre__file_fail(file, status, file->blob.detail);
    }
}

/* ---- turns ---- */

static unsigned count(const cadre_fetcher *fetcher, cadre__step low, cadre__step high)
{
    unsigned n = 0;
    for (const cadre__file *file = fetcher->files; file; file = file->next) n += file->step >= low && file->step <= high;
    return n;
}

/* The oldest file at a step. */
static cadre__file *oldest(cadre_fetcher *fetcher, cadre__step step)
{
    for (cadre__file *file = fetcher->files; file; file = file->next)
        if (file->step == step) return file;
    return NULL;
}

void cadre__files_go_on(cadre_fetcher *fetcher)
{
    unsigned most = (unsigned)fetcher->settings.files_at_once;
    cadre__file *file;
    if (fetcher->closing) return;
    while (count(fetcher, CADRE__FILE_LOOKING, CADRE__FILE_MEASURING) < most && (file = oldest(fetcher, CADRE__FILE_NEW))) start_look(file);
    while (count(fetcher, CADRE__FILE_OPENING, CADRE__FILE_FINISHING) < most && (file = oldest(fetcher, CADRE__FILE_CLEARED))) start_open(file);
}

bool cadre__file_unfinished(const cadre__file *file)
{
    return file->step < CADRE__FILE_DONE;
}

uint64_t cadre__file_here(const cadre__file *file)
{
    return file->here < file->size ? file->here : file->size;
}

cadre__file *cadre__file_join(cadre_fetcher *fetcher, cadre__reference *reference)
{
    cadre__file **end = &fetcher->files;
    for (; *end; end = &(*end)->next)
        if ((*end)->step <= CADRE__FILE_DONE && cadre__reference_equal(&(*end)->reference, reference)) {
            cadre__reference_clear(reference);
            (*end)->waiters++;
            return *end;
        }
    cadre__file *file = calloc(1, sizeof *file);
    if (!file) {
        cadre__reference_clear(reference);
        return NULL;
    }
    file->fetcher = fetcher;
    file->reference = *reference;
    *reference = (cadre__reference){0};
    file->waiters = 1;
    file->pieces_last = &file->pieces;
    cadre__blob_init(&file->blob, &fetcher->settings, &file->reference);
    *end = file;
    return file;
}

void cadre__file_look_again(cadre__file *file)
{
    if (file->step != CADRE__FILE_DONE) return;
    file->attempts = file->digests_wrong = 0;
    file->here = file->reached = 0;
    file->sized = file->old_wrong = false;
    file->blob.meta = (cadre__meta){{0}, {0}, 0}; /* found in the cache it must not name the commit of before */
    file->step = CADRE__FILE_NEW;
}

/* A pause is over. */
void cadre__file_wake(cadre__file *file)
{
    if (file->after == CADRE__FILE_STOPPED)
        cadre__file_fail(file, CADRE_ENOMEM, NULL);
    else if (file->after == CADRE__FILE_ASKING)
        start_ask(file);
    else
        file->step = file->after;
}
