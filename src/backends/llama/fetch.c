/* The asynchronous part of a load: every part of the file, and a second file, are read once, on libuv's threads, so that the engine finds them in the page
 * cache.
 *
 * Threads: all of it on the loop. One request is under way at most; its callback starts the next one or ends the fetch, so a cancel is heard after one read at
 * the latest. The file is closed on every way, and the promise released after that: then nothing of libuv's is left. The load's context is not looked at once
 * the fetch runs, and the entry not at all: both may be gone before it ends. */
#include "backend.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define PIECE (1u << 20)

/* What a fetch resolves to says no more than "it is there". */
static char fetched;

typedef struct fetch {
    uv_fs_t fs;
    uv_loop_t *loop;
    cadre_weights_promise *promise;
    uv_file file;
    int status; /* negative: why it ends */
    int32_t parts, part;
    const char *second; /* within `path`; NULL: none, else it counts as the last part */
    int64_t offset;     /* in the part */
    uint64_t done, total;
    char part_path[4096 + 32];
    char piece[PIECE];
    char path[]; /* and `second`, each with its end */
} fetch;

static void open_part(fetch *self);

static const char *path_of(const fetch *self)
{
    if (self->part == 0) return self->path;
    return self->second && self->part == self->parts - 1 ? self->second : self->part_path;
}

static void finish(fetch *self)
{
    cadre_weights_value value = {sizeof(value), &fetched, NULL, &fetched};
    char reason[128], detail[480];
    if (self->status == CADRE_OK) {
        (void)cadre_weights_promise_resolve(self->promise, &value); /* refused: nobody waits, and there is nothing to destroy */
    } else {
        const char *why = self->status == CADRE_ECANCELED ? cadre_strerror(self->status) : uv_strerror_r(self->status, reason, sizeof(reason));
        snprintf(detail, sizeof(detail), "%.340s: %s", path_of(self), why);
        (void)cadre_weights_promise_fail(self->promise, self->status, detail);
    }
    cadre_weights_promise_release(self->promise);
    free(self);
}

/* What a callback found, once its request is cleaned up. */
static ssize_t result_of(uv_fs_t *fs)
{
    ssize_t result = fs->result;
    uv_fs_req_cleanup(fs);
    return result;
}

static void on_close(uv_fs_t *fs)
{
    fetch *self = fs->data;
    (void)result_of(fs); /* nothing was written */
    if (self->status == CADRE_OK && ++self->part < self->parts)
        open_part(self);
    else
        finish(self);
}

static void close_part(fetch *self, int status)
{
    self->status = status;
    int rc = uv_fs_close(self->loop, &self->fs, self->file, on_close);
    if (rc == 0) return;
    if (self->status == CADRE_OK) self->status = rc;
    finish(self);
}

static void on_read(uv_fs_t *fs);

static void read_piece(fetch *self)
{
    uv_buf_t piece = uv_buf_init(self->piece, PIECE);
    int rc = cadre_weights_promise_cancelled(self->promise) ? CADRE_ECANCELED : uv_fs_read(self->loop, &self->fs, self->file, &piece, 1, self->offset, on_read);
    if (rc < 0) close_part(self, rc);
}

static void on_read(uv_fs_t *fs)
{
    fetch *self = fs->data;
    ssize_t count = result_of(fs);
    if (count <= 0) {
        close_part(self, (int)count);
        return;
    }
    self->offset += count;
    self->done += (uint64_t)count;
    double fraction = self->total == 0 || self->done > self->total ? 1.0 : (double)self->done / (double)self->total;
    cadre_weights_promise_progress(self->promise, fraction, self->done, self->total, "fetch");
    read_piece(self);
}

static void on_open(uv_fs_t *fs)
{
    fetch *self = fs->data;
    ssize_t file = result_of(fs);
    if (file < 0) {
        self->status = (int)file;
        finish(self);
        return;
    }
    self->file = (uv_file)file;
    self->offset = 0;
    read_piece(self);
}

/* Not blocking: what has become a FIFO since it was checked must not hold one of libuv's threads. */
static void open_part(fetch *self)
{
    const char *path = path_of(self);
    if (path == self->part_path &&
        cadre__llama_part_path(self->path, self->parts - (self->second != NULL), self->part, self->part_path, sizeof(self->part_path)) < 0)
        self->status = UV_ENAMETOOLONG;
    else
        self->status = uv_fs_open(self->loop, &self->fs, path, O_RDONLY | O_NONBLOCK, 0, on_open);
    if (self->status < 0) finish(self);
}

cadre_weights_future *cadre__llama_fetch(cadre_load_context *context, const char *path, int32_t parts, const char *second, uint64_t total_bytes)
{
    cadre_weights_future *future;
    size_t length = strlen(path) + 1, second_length = second ? strlen(second) + 1 : 0;
    fetch *self = malloc(sizeof(*self) + length + second_length);
    if (!self) return NULL;
    int rc = cadre_weights_promise_create(cadre_load_pool(context), &self->promise, &future);
    if (rc < 0) {
        free(self);
        return cadre_weights_future_failed(cadre_load_pool(context), rc, NULL);
    }
    self->fs.data = self;
    self->loop = cadre_load_loop(context);
    self->parts = parts + (second != NULL);
    self->part = 0;
    self->second = second ? self->path + length : NULL;
    self->done = 0;
    self->total = total_bytes;
    memcpy(self->path, path, length);
    if (second) memcpy(self->path + length, second, second_length);
    open_part(self);
    return future;
}
