/* A file's GET: from where .incomplete ends, through a bounded number of pieces, to the disk.
 *
 * What libcurl brings is copied into pieces; as soon as enough of them are full, and no chore is under way, they go to a disk thread, which appends and hashes
 * them. When all pieces are taken, the transfer rests until some come back. A piece that is not full goes too when the last one went a while ago, so that
 * little is lost when the process dies on a slow line. When the transfer is over and the last piece is written, decide() says how it goes on: finish, again, or
 * fail. */
#include "fetch.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FLUSH_MS 100
#define REFUSAL_BYTES ((uint64_t)64 << 10)

/* Why a transfer's callback ended it; none of them reaches a host. */
enum { WHY_CHANGED = 1, WHY_RANGE, WHY_TOO_LONG, WHY_REFUSED, WHY_MEMORY };

static cadre__file *of(cadre__chore *chore)
{
    return (cadre__file *)(void *)((char *)chore - offsetof(cadre__file, chore));
}

/* ---- pieces ---- */

static void free_pieces(cadre__piece *piece)
{
    while (piece) {
        cadre__piece *next = piece->next;
        free(piece);
        piece = next;
    }
}

void cadre__transfer_drop(cadre__file *file)
{
    free_pieces(file->pieces);
    free_pieces(file->filling);
    free_pieces(file->writing);
    free_pieces(file->spare);
    file->pieces = file->filling = file->writing = file->spare = NULL;
    file->pieces_last = &file->pieces;
    file->piece_count = 0;
}

static cadre__piece *new_piece(cadre__file *file)
{
    cadre__piece *piece = file->spare;
    if (piece)
        file->spare = piece->next;
    else if (!(piece = malloc(sizeof *piece + CADRE__PIECE_BYTES)))
        return NULL;
    piece->next = NULL;
    piece->length = 0;
    file->piece_count++;
    return piece;
}

static void queue_filling(cadre__file *file)
{
    *file->pieces_last = file->filling;
    file->pieces_last = &file->filling->next;
    file->filling = NULL;
}

static void run_write(cadre__chore *chore)
{
    cadre__file *file = of(chore);
    int rc = file->restart ? cadre__blob_restart(&file->blob) : CADRE_OK;
    file->restart = false;
    chore->status = rc < 0 ? rc : cadre__blob_write(&file->blob, file->writing);
}

static void decide(cadre__file *file);

static void wrote(cadre__chore *chore)
{
    cadre__file *file = of(chore);
    file->busy = false;
    for (cadre__piece *piece = file->writing, *next; piece; piece = next) {
        next = piece->next;
        piece->next = file->spare;
        file->spare = piece;
        file->piece_count--;
    }
    file->writing = NULL;
    file->here = file->blob.have;
    if (file->here > file->reached) {
        file->reached = file->here;
        file->attempts = 0;
    }
    if (chore->status < 0) {
        cadre__transfer_drop(file);
        if (file->step == CADRE__FILE_STOPPED)
            cadre__file_release_disk(file);
        else
            cadre__file_fail(file, chore->status, chore->status == CADRE_ETHREAD ? NULL : file->blob.detail);
        return;
    }
    if (file->step == CADRE__FILE_STOPPED) {
        cadre__file_release_disk(file);
        return;
    }
    cadre__fetches_progress(file);
    if (file->ended) {
        if (!cadre__transfer_flush(file, true)) decide(file);
        return;
    }
    (void)cadre__transfer_flush(file, false);
    if (file->paused && file->transfer) {
        file->paused = false;
        cadre__http_resume(file->transfer);
    }
}

bool cadre__transfer_flush(cadre__file *file, bool all)
{
    if (file->busy) return true;
    if (file->filling && (all || file->filling->length == CADRE__PIECE_BYTES || uv_now(file->fetcher->loop) - file->flushed_at >= FLUSH_MS))
        queue_filling(file);
    if (!file->pieces) return false;
    file->writing = file->pieces;
    file->pieces = NULL;
    file->pieces_last = &file->pieces;
    file->flushed_at = uv_now(file->fetcher->loop);
    cadre__file_post(file, run_write, wrote);
    return true;
}

/* ---- the answer ---- */

static void changed(cadre__file *file, cadre__transfer *transfer, const char *what)
{
    snprintf(file->detail, sizeof file->detail, "%s: %s is another than the hub said", cadre__http_origin(transfer), what);
    file->why = WHY_CHANGED;
}

/* Digits and the character behind them; false: there is something else. */
static bool read_number(const char **text, char end, uint64_t *out)
{
    char *behind;
    if (!isdigit((unsigned char)**text)) return false;
    *out = strtoull(*text, &behind, 10);
    if (*behind != end) return false;
    *text = behind + 1;
    return true;
}

/* "bytes 5-9/10" must begin where the file ends, and be of as many bytes as the hub said. */
static void check_range(cadre__file *file, cadre__transfer *transfer)
{
    const char *range = cadre__http_header(transfer, "Content-Range");
    uint64_t first = 0, last = 0, total = 0;
    bool read = range && strncasecmp(range, "bytes ", 6) == 0;
    if (read) range += 6;
    read = read && read_number(&range, '-', &first) && read_number(&range, '/', &last);
    if (!read || first != file->received) {
        snprintf(file->detail, sizeof file->detail, "%s: asked for the bytes from %" PRIu64 ", it answers with others", cadre__http_origin(transfer),
                 file->received);
        file->why = WHY_RANGE;
    } else if (read_number(&range, '\0', &total) && total != file->blob.meta.size) { /* it may be "*" */
        changed(file, transfer, "the size");
    }
}

static void check_etag(cadre__file *file, cadre__transfer *transfer)
{
    const char *origin = cadre__http_origin(transfer), *endpoint = file->fetcher->settings.endpoint, *etag = cadre__http_header(transfer, "X-Linked-Etag");
    char text[CADRE__ETAG_MAX + 1];
    size_t length = origin ? strlen(origin) : 0;
    if (!length || strncasecmp(endpoint, origin, length) != 0 || (endpoint[length] && endpoint[length] != '/'))
        return; /* a store's own ETag is of another kind */
    if (!etag) etag = cadre__http_header(transfer, "ETag");
    if (cadre__hub_etag(etag, text) && strcmp(text, file->blob.meta.etag) != 0) changed(file, transfer, "the ETag");
}

static int on_head(cadre__transfer *transfer, long status, void *data)
{
    cadre__file *file = data;
    int64_t length = cadre__http_length(transfer);
    if (status != 200 && status != 206) {
        cadre__hub_read_refusal(transfer, status, &file->refusal);
        return 0;
    }
    check_etag(file, transfer);
    if (!file->why && status == 206) check_range(file, transfer);
    if (!file->why && status == 200 && file->received) { /* all of it comes, whatever was asked for */
        file->restart = true;
        file->received = 0;
    }
    if (!file->why && length >= 0 && (uint64_t)length != file->blob.meta.size - file->received) changed(file, transfer, "the length");
    return file->why ? CADRE_ECANCELED : 0;
}

static bool has_room(const cadre__file *file, size_t length)
{
    size_t room = (CADRE__PIECES - file->piece_count) * CADRE__PIECE_BYTES + (file->filling ? CADRE__PIECE_BYTES - file->filling->length : 0);
    return room >= length;
}

static bool take(cadre__file *file, const unsigned char *bytes, size_t length)
{
    while (length) {
        if (!file->filling && !(file->filling = new_piece(file))) return false;
        cadre__piece *piece = file->filling;
        size_t n = CADRE__PIECE_BYTES - piece->length;
        if (n > length) n = length;
        memcpy(piece->bytes + piece->length, bytes, n);
        piece->length += n;
        file->received += n;
        bytes += n;
        length -= n;
        if (piece->length == CADRE__PIECE_BYTES) queue_filling(file);
    }
    return true;
}

static int on_data(cadre__transfer *transfer, const void *bytes, size_t length, void *data)
{
    cadre__file *file = data;
    (void)transfer;
    if (file->refusal.status) {
        file->dropped += length;
        if (file->dropped <= REFUSAL_BYTES) return 0;
        file->why = WHY_REFUSED;
        return CADRE_ECANCELED;
    }
    uint64_t left = file->blob.meta.size - file->received;
    size_t wanted = length > left ? (size_t)left : length;
    if (!has_room(file, wanted)) {
        if (file->busy) {
            file->paused = true;
            return CADRE_EAGAIN;
        }
        wanted = 0; /* a piece larger than all the room: no caller makes one */
        file->why = WHY_MEMORY;
    }
    if (wanted && !take(file, bytes, wanted)) file->why = WHY_MEMORY;
    if (!file->why && length > left) file->why = WHY_TOO_LONG;
    (void)cadre__transfer_flush(file, false);
    return file->why ? CADRE_ECANCELED : 0;
}

/* Ended once the pieces are written: what on_done was told is kept until then. */
static void on_done(cadre__transfer *transfer, const cadre__http_result *result, void *data)
{
    cadre__file *file = data;
    (void)transfer;
    file->transfer = NULL;
    file->ended = true;
    file->paused = false;
    file->error = result->error;
    file->passes = result->passes;
    file->retry_after_ms = result->retry_after_ms;
    if (file->why != WHY_CHANGED && file->why != WHY_RANGE) snprintf(file->detail, sizeof file->detail, "%s", result->detail ? result->detail : "");
    if (!cadre__transfer_flush(file, true)) decide(file);
}

/* ---- how it goes on ---- */

static void run_finish(cadre__chore *chore)
{
    cadre__file *file = of(chore);
    cadre__blob *blob = &file->blob;
    int rc = cadre__blob_finish(blob);
    if (rc == CADRE_OK) rc = cadre__cache_link(blob->settings, blob->reference, &blob->meta, blob->detail, sizeof blob->detail);
    if (rc == CADRE_OK) rc = cadre__cache_write_ref(blob->settings, blob->reference, blob->meta.commit, true, blob->detail, sizeof blob->detail);
    cadre__blob_close(blob);
    chore->status = rc;
}

static void finished(cadre__chore *chore)
{
    cadre__file *file = of(chore);
    file->opened = chore->status == CADRE_ETHREAD;
    cadre__file_finished(file, chore->status);
}

static void run_let_go(cadre__chore *chore)
{
    cadre__file *file = of(chore);
    if (file->restart) (void)cadre__blob_restart(&file->blob);
    file->restart = false;
    cadre__blob_close(&file->blob);
}

/* The blob is closed: the hub is asked anew. */
static void let_go(cadre__chore *chore)
{
    cadre__file *file = of(chore);
    if (chore->status < 0) cadre__blob_close(&file->blob); /* no thread could be made for it */
    file->busy = false;
    file->opened = false;
    if (file->step == CADRE__FILE_STOPPED)
        cadre__file_release_disk(file);
    else
        cadre__file_retry(file, CADRE__FILE_ASKING, CADRE_EFORMAT, -1, file->detail);
}

static void refused(cadre__file *file)
{
    const cadre__settings *settings = &file->fetcher->settings;
    char text[CADRE__FETCH_DETAIL];
    int rc = cadre__hub_refused(settings, &file->reference, settings->token != NULL, &file->refusal, file->detail, text, sizeof text);
    if (file->refusal.status == 416) file->restart = true; /* what is here does not fit to what is there */
    if (file->refusal.status == 416 || cadre__hub_passes(file->refusal.status))
        cadre__file_retry(file, CADRE__FILE_CLEARED, rc, file->retry_after_ms, text);
    else
        cadre__file_fail(file, rc, text);
}

static void decide(cadre__file *file)
{
    bool whole = file->blob.have == file->blob.meta.size && !file->restart && !file->refusal.status;
    if (file->why == WHY_TOO_LONG && cadre__blob_digest(&file->blob) == CADRE__NO_DIGEST) {
        snprintf(file->detail, sizeof file->detail, "more comes than the %" PRIu64 " bytes that the hub said", file->blob.meta.size);
        file->why = WHY_CHANGED;
        file->restart = true; /* what came must not count as whole */
    }
    if (file->why == WHY_CHANGED) {
        cadre__file_post(file, run_let_go, let_go);
    } else if (whole) {
        file->step = CADRE__FILE_FINISHING;
        cadre__file_post(file, run_finish, finished);
    } else if (file->why == WHY_MEMORY) {
        cadre__file_fail(file, CADRE_ENOMEM, NULL);
    } else if (file->why == WHY_RANGE) {
        file->restart = true;
        cadre__file_retry(file, CADRE__FILE_CLEARED, CADRE_ELOAD, file->retry_after_ms, file->detail);
    } else if (file->refusal.status) {
        refused(file);
    } else if (file->error < 0 && !file->passes) {
        cadre__file_fail(file, file->error, file->detail);
    } else {
        char text[CADRE__FETCH_DETAIL];
        if (file->error == 0)
            snprintf(text, sizeof text, "%.512s: it ended after %" PRIu64 " of %" PRIu64 " bytes", file->detail, file->here, file->blob.meta.size);
        cadre__file_retry(file, CADRE__FILE_CLEARED, file->error ? file->error : CADRE_ELOAD, file->retry_after_ms, file->error ? file->detail : text);
    }
}

void cadre__transfer_start(cadre__file *file)
{
    const cadre__settings *settings = &file->fetcher->settings;
    char *url = cadre__reference_url(&file->reference, settings->endpoint, file->blob.meta.commit);
    file->step = CADRE__FILE_BRINGING;
    file->received = file->restart ? 0 : file->blob.have;
    file->ended = file->paused = false;
    file->why = file->error = 0;
    file->dropped = 0;
    file->refusal = (cadre__refusal){0};
    file->flushed_at = uv_now(file->fetcher->loop);
    cadre__http_request request = {.url = url,
                                   .follow = CADRE__FOLLOW_ALL,
                                   .token = settings->token,
                                   .from = file->received,
                                   .max_bytes = UINT64_MAX,
                                   .connect_timeout_ms = settings->connect_timeout_ms,
                                   .stall_timeout_ms = settings->stall_timeout_ms,
                                   .timeout_ms = CADRE_NEVER,
                                   .on_head = on_head,
                                   .on_data = on_data,
                                   .on_done = on_done,
                                   .data = file};
    file->transfer = url ? cadre__http_begin(file->fetcher->http, &request) : NULL;
    free(url);
    if (!file->transfer) cadre__file_no_memory(file);
}
