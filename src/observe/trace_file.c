#include "observe/trace_file.h"

#include "pool/pool.h"
#include "pool/reaper.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define CHUNK_BYTES ((size_t)64 << 10)
#define CHUNKS_WAITING 16
#define HAND_OVER_NS UINT64_C(1000000000) /* a chunk that is not full is not kept for longer, once an entry comes */

typedef struct chunk {
    struct chunk *next;
    size_t used;
    char text[CHUNK_BYTES - sizeof(void *) - sizeof(size_t)];
} chunk;

typedef struct writer {
    cadre__task task;        /* first */
    cadre_port *port;        /* counted */
    cadre__trace_file *file; /* loop */
    char *path;
    int fd, error;
    chunk *chunk; /* may be NULL in the last one */
    bool last;    /* the tail goes behind it */
    char tail[CADRE__TRACE_TAIL];
    size_t tail_length;
} writer;

struct cadre__trace_file {
    writer *writer;
    bool out;      /* the reaper has the writer */
    bool stopped;  /* an error: nothing is kept any more */
    bool finished; /* nothing more comes */
    bool ended;    /* the last task was handed over */
    chunk *filling, *spare, *first, **last;
    uint32_t waiting;
    uint64_t handed_at;
    char tail[CADRE__TRACE_TAIL];
    size_t tail_length;
};

/* ---- the thread ---- */

static int write_all(int fd, const char *bytes, size_t length)
{
    while (length) {
        ssize_t n = write(fd, bytes, length);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return n < 0 ? uv_translate_sys_error(errno) : UV_EIO;
        bytes += n;
        length -= (size_t)n;
    }
    return CADRE_OK;
}

static int open_file(const char *path, int *out)
{
    int fd;
    do {
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) return uv_translate_sys_error(errno);
    *out = fd;
    return CADRE_OK;
}

static void run_write(cadre__task *task)
{
    writer *w = CADRE__CONTAINER(task, writer, task);
    if (w->fd < 0) w->error = open_file(w->path, &w->fd);
    if (!w->error && w->chunk) w->error = write_all(w->fd, w->chunk->text, w->chunk->used);
    if (!w->error && w->last) w->error = write_all(w->fd, w->tail, w->tail_length);
    if (w->fd < 0 || (!w->error && !w->last)) return;
    if (close(w->fd) < 0 && !w->error) w->error = uv_translate_sys_error(errno);
    w->fd = -1;
}

static void writer_free(writer *w)
{
    cadre_port *port = w->port;
    if (w->fd >= 0) close(w->fd);
    cadre__free(&port->allocator, w->chunk, sizeof *w->chunk);
    cadre__strfree(&port->allocator, w->path);
    cadre__free(&port->allocator, w, sizeof *w);
    cadre_port_release(port);
}

static void orphan_write(cadre__task *task)
{
    writer_free(CADRE__CONTAINER(task, writer, task));
}

/* ---- the loop ---- */

static void stop(cadre_pool *pool, cadre__trace_file *file)
{
    const cadre_allocator *allocator = cadre__pool_allocator(pool);
    file->stopped = true;
    cadre__free(allocator, file->filling, sizeof *file->filling);
    cadre__free(allocator, file->spare, sizeof *file->spare);
    while (file->first) {
        chunk *next = file->first->next;
        cadre__free(allocator, file->first, sizeof *file->first);
        file->first = next;
    }
    file->filling = file->spare = NULL;
    file->last = &file->first;
    file->waiting = 0;
}

static void hand_over(cadre_pool *pool, cadre__trace_file *file)
{
    writer *w = file->writer;
    bool end = file->finished && !file->ended;
    if (file->out || file->stopped || (!file->first && !end)) return;
    if (!pool->reaper) { /* it was abandoned; nobody else may block */
        cadre__log(pool->port, CADRE_LOG_WARN, "%s: the trace has no end: its thread is gone", w->path);
        stop(pool, file);
        return;
    }
    w->chunk = file->first;
    if (w->chunk) {
        file->first = w->chunk->next;
        file->waiting--;
    }
    if (!file->first) file->last = &file->first;
    w->last = file->ended = end && !file->first;
    if (w->last) memcpy(w->tail, file->tail, w->tail_length = file->tail_length);
    file->out = true;
    file->handed_at = cadre__pool_now(pool);
    cadre__reap(pool, &w->task);
}

static void deliver_written(cadre_pool *pool, cadre__message *message)
{
    writer *w = CADRE__CONTAINER(message, writer, task.message);
    cadre__trace_file *file = w->file;
    pool->reaping--;
    file->out = false;
    if (file->spare || file->finished || file->stopped)
        cadre__free(cadre__pool_allocator(pool), w->chunk, sizeof *w->chunk);
    else
        file->spare = w->chunk;
    w->chunk = NULL;
    if (w->error && !file->stopped) {
        cadre__log(pool->port, CADRE_LOG_WARN, "%s: the trace stops: %s", w->path, cadre_strerror(w->error));
        stop(pool, file);
    }
    hand_over(pool, file);
}

static void seal(cadre_pool *pool, cadre__trace_file *file)
{
    if (!file->filling) return;
    file->filling->next = NULL;
    *file->last = file->filling;
    file->last = &file->filling->next;
    file->filling = NULL;
    file->waiting++;
    hand_over(pool, file);
}

static chunk *take_chunk(cadre_pool *pool, cadre__trace_file *file)
{
    const cadre_allocator *allocator = cadre__pool_allocator(pool);
    chunk *taken = file->spare ? file->spare : allocator->alloc(sizeof *taken, allocator->data); /* not zeroed: `used` says how much there is */
    file->spare = NULL;
    if (taken) taken->used = 0;
    return taken;
}

cadre__trace_file *cadre__trace_file_create(cadre_pool *pool, const char *path)
{
    const cadre_allocator *allocator = cadre__pool_allocator(pool);
    cadre__trace_file *file = cadre__alloc(allocator, sizeof *file);
    writer *w = file ? cadre__alloc(allocator, sizeof *w) : NULL;
    char *copy = w ? cadre__strdup(allocator, path) : NULL;
    if (!copy) {
        cadre__free(allocator, w, sizeof *w);
        cadre__free(allocator, file, sizeof *file);
        return NULL;
    }
    w->task.run = run_write;
    w->task.orphan = orphan_write;
    w->task.message.deliver = deliver_written;
    w->port = cadre_port_retain(pool->port);
    w->file = file;
    w->path = copy;
    w->fd = -1;
    file->writer = w;
    file->last = &file->first;
    file->handed_at = cadre__pool_now(pool);
    return file;
}

bool cadre__trace_file_live(const cadre__trace_file *file)
{
    return !file->stopped && !file->finished;
}

bool cadre__trace_file_add(cadre_pool *pool, cadre__trace_file *file, const char *entry, size_t length)
{
    if (!cadre__trace_file_live(file)) return false;
    if (file->filling && length > sizeof file->filling->text - file->filling->used) {
        if (file->waiting >= CHUNKS_WAITING) return false;
        seal(pool, file);
    }
    if (!file->filling) file->filling = take_chunk(pool, file);
    if (!file->filling || length > sizeof file->filling->text - file->filling->used) return false;
    memcpy(file->filling->text + file->filling->used, entry, length);
    file->filling->used += length;
    if (!file->out && !file->waiting && cadre__pool_now(pool) - file->handed_at >= HAND_OVER_NS) seal(pool, file);
    return true;
}

void cadre__trace_file_finish(cadre_pool *pool, cadre__trace_file *file, const char *tail, size_t length)
{
    if (!cadre__trace_file_live(file) || length > sizeof file->tail) return;
    memcpy(file->tail, tail, length);
    file->tail_length = length;
    file->finished = true;
    seal(pool, file);
    hand_over(pool, file);
}

void cadre__trace_file_free(cadre_pool *pool, cadre__trace_file *file)
{
    const cadre_allocator *allocator = cadre__pool_allocator(pool);
    stop(pool, file);
    if (!file->out) writer_free(file->writer);
    cadre__free(allocator, file, sizeof *file);
}
