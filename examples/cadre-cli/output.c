/* Standard output, and messages in step with it. What is written waits in a queue; one write at a time runs on libuv's threads, so a reader that is slow, or a
 * terminal that is stopped, holds up neither the loop nor Ctrl-C. (libuv's streams would set the descriptor non-blocking, which other processes share.) A
 * message goes to standard error at once when nothing waits, else through the queue, so that the two keep their order on a terminal. A request whose text piles
 * up is paused. Loop thread alone. */
#include "cli.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PILE_MOST = 256 << 10, PIECE_MOST = 1 << 20, RETRY_MS = 20 };

struct segment {
    struct segment *next;
    int fd;
    size_t written;
    struct buffer text;
};

static struct {
    struct segment *first, *last;
    size_t waiting; /* bytes */
    uv_fs_t request;
    uv_timer_t retry; /* open only while it waits, as a part of the write */
    int busy, broken, paused;
} out;

static void on_written(uv_fs_t *request);

static void drop_first(void)
{
    struct segment *segment = out.first;
    out.first = segment->next;
    if (!out.first) out.last = NULL;
    out.waiting -= segment->text.length - segment->written;
    free(segment->text.data);
    free(segment);
}

static void write_more(void)
{
    while (out.first && ((out.broken && out.first->fd == STDOUT_FILENO) || out.first->written == out.first->text.length)) drop_first();
    if (!out.first || out.busy) return;
    size_t left = out.first->text.length - out.first->written;
    uv_buf_t piece = uv_buf_init(out.first->text.data + out.first->written, left > PIECE_MOST ? PIECE_MOST : (unsigned)left);
    out.busy = uv_fs_write(&app.loop, &out.request, out.first->fd, &piece, 1, -1, on_written) == 0;
}

static void on_retry_closed(uv_handle_t *handle)
{
    (void)handle;
    out.busy = 0;
    write_more();
}

static void on_retry(uv_timer_t *timer)
{
    uv_close((uv_handle_t *)timer, on_retry_closed);
}

static void on_written(uv_fs_t *request)
{
    ssize_t result = request->result;
    int is_output = out.first->fd == STDOUT_FILENO;
    uv_fs_req_cleanup(request);
    if (result == UV_EAGAIN) { /* another process has set it non-blocking, and it is full */
        uv_timer_init(&app.loop, &out.retry);
        uv_timer_start(&out.retry, on_retry, RETRY_MS, 0);
        return;
    }
    out.busy = 0;
    if (result >= 0) {
        out.first->written += (size_t)result;
        out.waiting -= (size_t)result;
    } else if (result != UV_EINTR) {
        drop_first();
        if (is_output) out.broken = 1;
    }
    write_more();
    if (is_output && out.broken) { /* the request may be over and well, its answer is not */
        if (result != UV_EPIPE && app.exit_code == 0) complain(0, "standard output: %s", uv_strerror((int)result));
        if (app.ending && app.exit_code == 0) app.exit_code = result == UV_EPIPE ? CLI_CLOSED_STDOUT : CLI_FAILED;
        app_end(result == UV_EPIPE ? CLI_CLOSED_STDOUT : CLI_FAILED);
    }
    if (out.paused && out.waiting == 0) {
        out.paused = 0;
        cadre_request_resume(app.pool, app.request); /* stale: it is over */
    }
}

/* What is being written must stay where it is: a segment that a write has begun on is not added to. */
static void enqueue(int fd, const char *bytes, size_t length)
{
    if (!out.last || out.last->fd != fd || (out.busy && out.last == out.first)) {
        struct segment *segment = allocate(1, sizeof *segment);
        segment->fd = fd;
        if (out.last)
            out.last->next = segment;
        else
            out.first = segment;
        out.last = segment;
    }
    buffer_add(&out.last->text, bytes, length);
    out.waiting += length;
    write_more();
}

void out_write(const char *bytes, size_t length)
{
    if (out.broken || length == 0) return;
    progress_clear();
    enqueue(STDOUT_FILENO, bytes, length);
    if (out.waiting > PILE_MOST && !out.paused && app.pool && app.request) out.paused = cadre_request_pause(app.pool, app.request) == 0;
}

void out_message(const char *bytes, size_t length)
{
    progress_clear();
    if (out.first && isatty(STDOUT_FILENO) && isatty(STDERR_FILENO)) /* else an error would wait for whoever reads the output */
        enqueue(STDERR_FILENO, bytes, length);
    else
        fwrite(bytes, 1, length, stderr);
}

void out_text(const char *text)
{
    out_write(text, strlen(text));
}

void out_buffer(struct buffer *buffer)
{
    out_write(buffer->data, buffer->length);
    free(buffer->data);
    *buffer = (struct buffer){NULL, 0, 0};
}
