/* The asynchronous part of a load: the files are read once, on libuv's threads, so that the engine finds them in the page cache.
 *
 * Threads: all of it on the loop. One request is under way at most; its callback starts the next one or ends the fetch, so a cancel is heard after one read at
 * the latest. A file is closed on every way, and the promise released after that: then nothing of libuv's is left. The load's context is not looked at once the
 * fetch runs, and the entry not at all: both may be gone before it ends. */
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
    int64_t offset;
    uint64_t done, total;
    size_t files; /* still to be read, the one in hand counted, */
    char *path;   /* of that one; the next lies behind it */
    char piece[PIECE];
    char paths[];
} fetch;

static void open_file(fetch *self);

static void finish(fetch *self)
{
    cadre_weights_value value = {sizeof(value), &fetched, NULL, &fetched};
    char reason[128], detail[480];
    if (self->status == CADRE_OK) {
        (void)cadre_weights_promise_resolve(self->promise, &value); /* refused: nobody waits, and there is nothing to destroy */
    } else {
        const char *why = self->status == CADRE_ECANCELED ? cadre_strerror(self->status) : uv_strerror_r(self->status, reason, sizeof(reason));
        snprintf(detail, sizeof(detail), "%.340s: %s", self->path, why);
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

static void next_file(fetch *self)
{
    if (self->status == CADRE_OK && --self->files > 0) {
        self->path += strlen(self->path) + 1;
        open_file(self);
    } else {
        finish(self);
    }
}

static void on_close(uv_fs_t *fs)
{
    fetch *self = fs->data;
    (void)result_of(fs); /* nothing was written */
    next_file(self);
}

static void close_file(fetch *self, int status)
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
    if (rc < 0) close_file(self, rc);
}

static void on_read(uv_fs_t *fs)
{
    fetch *self = fs->data;
    ssize_t count = result_of(fs);
    if (count <= 0) {
        close_file(self, (int)count);
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
static void open_file(fetch *self)
{
    self->status = uv_fs_open(self->loop, &self->fs, self->path, O_RDONLY | O_NONBLOCK, 0, on_open);
    if (self->status < 0) finish(self);
}

cadre_weights_future *cadre__onnx_fetch(cadre_load_context *context, const char *const *paths, size_t count, uint64_t total_bytes)
{
    cadre_weights_future *future;
    size_t length = 0;
    for (size_t i = 0; i < count; i++) length += strlen(paths[i]) + 1;
    fetch *self = malloc(sizeof(*self) + length);
    if (!self) return NULL;
    int rc = cadre_weights_promise_create(cadre_load_pool(context), &self->promise, &future);
    if (rc < 0) {
        free(self);
        return cadre_weights_future_failed(cadre_load_pool(context), rc, NULL);
    }
    self->fs.data = self;
    self->loop = cadre_load_loop(context);
    self->done = 0;
    self->total = total_bytes;
    self->files = count;
    self->path = self->paths;
    char *to = self->paths;
    for (size_t i = 0; i < count; i++) {
        size_t bytes = strlen(paths[i]) + 1;
        memcpy(to, paths[i], bytes);
        to += bytes;
    }
    open_file(self);
    return future;
}
