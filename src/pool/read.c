/* Files read ahead for a load: once, one after another, on libuv's threads, so that the engine finds them in the page cache.
 *
 * Threads: all of it on the loop. One request is under way at most; its callback starts the next one or ends it, so a cancel is heard after one read at the
 * latest. First every file is asked for its size, then each is opened, read and closed; it is closed on every way, and the promise released after that: then
 * nothing of libuv's is left. The load's context is not looked at once this runs: it may be gone before the end. So may the pool: the port is counted. */
#include "pool/loader.h"
#include "pool/pool.h"

#include <fcntl.h>
#include <stdio.h>

#define PIECE ((size_t)1 << 20)

typedef struct reading {
    uv_fs_t fs;
    uv_loop_t *loop;
    cadre_port *port; /* counted */
    cadre_weights_promise *promise;
    uv_file file;
    int status; /* negative: why it ends */
    int64_t offset;
    uint64_t done, total;
    size_t count, at; /* files; the one in hand */
    char *path;       /* of that one; the next lies behind it */
    size_t bytes;     /* of this block */
    char piece[PIECE];
    char paths[];
} reading;

static void open_file(reading *self);
static void ask_size(reading *self);

static void finish(reading *self)
{
    cadre_weights_value value = CADRE_WEIGHTS_VALUE_INIT;
    char reason[128], detail[CADRE__DETAIL_SIZE];
    if (self->status == CADRE_OK) {
        (void)cadre_weights_promise_resolve(self->promise, &value); /* refused: nobody waits, and there is nothing to destroy */
    } else {
        const char *why = self->status == CADRE_ECANCELED ? cadre_strerror(self->status) : uv_strerror_r(self->status, reason, sizeof reason);
        snprintf(detail, sizeof detail, "%.360s: %s", self->path, why);
        (void)cadre_weights_promise_fail(self->promise, self->status, detail);
    }
    cadre_weights_promise_release(self->promise);
    cadre_port *port = self->port;
    if (port->pool) port->pool->own_promises--;
    cadre__free(&port->allocator, self, self->bytes);
    cadre_port_release(port);
}

/* What a callback found, once its request is cleaned up. */
static ssize_t result_of(uv_fs_t *fs)
{
    ssize_t result = fs->result;
    uv_fs_req_cleanup(fs);
    return result;
}

/* True: there is a further file, which is in hand now. */
static bool next_path(reading *self)
{
    if (++self->at == self->count) return false;
    self->path += strlen(self->path) + 1;
    return true;
}

static void on_close(uv_fs_t *fs)
{
    reading *self = fs->data;
    (void)result_of(fs); /* nothing was written */
    if (self->status == CADRE_OK && next_path(self))
        open_file(self);
    else
        finish(self);
}

static void close_file(reading *self, int status)
{
    self->status = status;
    int rc = uv_fs_close(self->loop, &self->fs, self->file, on_close);
    if (rc == 0) return;
    if (self->status == CADRE_OK) self->status = rc;
    finish(self);
}

static void on_read(uv_fs_t *fs);

static void read_piece(reading *self)
{
    uv_buf_t piece = uv_buf_init(self->piece, (unsigned)PIECE);
    int rc = cadre_weights_promise_cancelled(self->promise) ? CADRE_ECANCELED : uv_fs_read(self->loop, &self->fs, self->file, &piece, 1, self->offset, on_read);
    if (rc < 0) close_file(self, rc);
}

static void on_read(uv_fs_t *fs)
{
    reading *self = fs->data;
    ssize_t count = result_of(fs);
    if (count <= 0) {
        close_file(self, (int)count);
        return;
    }
    self->offset += count;
    self->done += (uint64_t)count;
    double fraction = self->done >= self->total ? 1.0 : (double)self->done / (double)self->total; /* it may have grown */
    cadre_weights_promise_progress(self->promise, fraction, self->done, self->done > self->total ? self->done : self->total, "read");
    read_piece(self);
}

static void on_open(uv_fs_t *fs)
{
    reading *self = fs->data;
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
static void open_file(reading *self)
{
    self->status = uv_fs_open(self->loop, &self->fs, self->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC, 0, on_open);
    if (self->status < 0) finish(self);
}

static void on_size(uv_fs_t *fs)
{
    reading *self = fs->data;
    uint64_t size = fs->statbuf.st_size;
    self->status = (int)result_of(fs);
    if (self->status == CADRE_OK && cadre_weights_promise_cancelled(self->promise)) self->status = CADRE_ECANCELED;
    if (self->status == CADRE_OK && __builtin_add_overflow(self->total, size, &self->total)) self->total = UINT64_MAX;
    if (self->status != CADRE_OK) {
        finish(self);
    } else if (next_path(self)) {
        ask_size(self);
    } else {
        self->at = 0;
        self->path = self->paths;
        open_file(self);
    }
}

static void ask_size(reading *self)
{
    self->status = uv_fs_stat(self->loop, &self->fs, self->path, on_size);
    if (self->status < 0) finish(self);
}

/* The block with its paths copied. NULL: out of memory. */
static reading *reading_create(cadre_port *port, const char *const *paths, size_t count)
{
    size_t bytes = sizeof(reading);
    for (size_t i = 0; i < count; i++)
        if (!cadre__add(bytes, strlen(paths[i]) + 1, &bytes)) return NULL;
    reading *self = cadre__alloc(&port->allocator, bytes);
    if (!self) return NULL;
    self->bytes = bytes;
    self->count = count;
    self->path = self->paths;
    char *to = self->paths;
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(paths[i]) + 1;
        memcpy(to, paths[i], length);
        to += length;
    }
    return self;
}

cadre_weights_future *cadre_load_read_files(cadre_load_context *context, const char *const *paths, size_t count)
{
    cadre_weights_future *future;
    const cadre_weights_value nothing = CADRE_WEIGHTS_VALUE_INIT;
    cadre_pool *pool = context ? cadre_load_pool(context) : NULL;
    if (!pool) return NULL;
    for (size_t i = 0; i < count; i++)
        if (!paths || !paths[i]) return cadre_weights_future_failed(pool, CADRE_EINVAL, "a path of the files to read is NULL");
    if (count == 0) return cadre_weights_future_ready(pool, &nothing);
    if (!pool->loop) return cadre_weights_future_failed(pool, CADRE_ENOTSUP, "files are read on a loop, and the pool has none");
    reading *self = reading_create(pool->port, paths, count);
    if (!self) return NULL;
    int rc = cadre_weights_promise_create(pool, &self->promise, &future);
    if (rc < 0) {
        cadre__free(&pool->port->allocator, self, self->bytes);
        return cadre_weights_future_failed(pool, rc, NULL);
    }
    pool->own_promises++;
    self->port = cadre_port_retain(pool->port);
    self->fs.data = self;
    self->loop = pool->loop;
    ask_size(self);
    return future;
}
