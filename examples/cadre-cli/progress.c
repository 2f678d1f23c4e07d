/* What goes on, on stderr: a bar where that is a terminal, plain lines with --verbose, else nothing. The bar takes one line, is never as wide as the terminal,
 * and is taken away before anything else is written. A load's bar shows what the load reports, and moves to and fro where it reports no part. */
#include "cli.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { FRAME_MS = 100, BAR_WIDTH = 24, LINE_MOST = 100 };

static struct {
    uv_timer_t timer;
    uv_signal_t resized;
    int wanted, open;  /* a bar may be shown; its handles are open */
    int active, shown; /* something goes on; columns of what is on the screen */
    char label[64], tail[96];
    char loading[256]; /* the key of the model that loads, or "" */
    double fraction;   /* NaN: unknown */
    uint64_t begun;
    unsigned frame;
} bar;

static int columns(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
    return size.ws_col;
}

/* Never waits: a terminal that takes nothing now gets no frame. */
static void put(const char *text, size_t length)
{
    struct pollfd poll_stderr = {STDERR_FILENO, POLLOUT, 0};
    if (poll(&poll_stderr, 1, 0) != 1 || !(poll_stderr.revents & POLLOUT)) return;
    while (write(STDERR_FILENO, text, length) < 0 && errno == EINTR) continue;
}

/* The terminal may be narrower by now than what is shown: the line has wrapped, and all of its rows go. */
void progress_clear(void)
{
    char text[64];
    int width = columns();
    int above = bar.shown > 0 ? (bar.shown - 1) / width : 0;
    if (bar.shown == 0) return;
    int length = above > 0 ? snprintf(text, sizeof text, "\r\033[%dA\033[J", above) : snprintf(text, sizeof text, "\r\033[J");
    bar.shown = 0;
    put(text, (size_t)length);
}

static void draw_bar(char out[BAR_WIDTH + 1])
{
    int filled = isnan(bar.fraction) ? 0 : (int)(bar.fraction * BAR_WIDTH);
    int swing = BAR_WIDTH - 4, at = (int)(bar.frame % (unsigned)(2 * swing));
    if (at > swing) at = 2 * swing - at;
    for (int i = 0; i < BAR_WIDTH; i++) {
        int on = isnan(bar.fraction) ? i >= at && i < at + 4 : i < filled;
        out[i] = on ? '=' : ' ';
    }
    out[BAR_WIDTH] = '\0';
}

static void draw(void)
{
    char line[256], percent[16] = "", blocks[BAR_WIDTH + 1];
    int width = columns() - 1;
    if (!bar.wanted || !bar.active || app.ending) return;
    if (width > LINE_MOST) width = LINE_MOST;
    draw_bar(blocks);
    if (!isnan(bar.fraction)) snprintf(percent, sizeof percent, " %3.0f %%", bar.fraction * 100);
    int length = snprintf(line, sizeof line, "\r%s [%s]%s  %s%s%.1f s", bar.label, blocks, percent, bar.tail, *bar.tail ? ", " : "",
                          (double)(uv_hrtime() - bar.begun) / 1e9);
    if (length > width + 1) length = width + 1; /* the label is ASCII: it is cut anywhere */
    if (length < 2) return;
    progress_clear();
    bar.shown = length - 1;
    put(line, (size_t)length);
}

/* What the load said last. */
static void look(void)
{
    char done[32], total[32];
    cadre_entry_info info = CADRE_ENTRY_INFO_INIT;
    if (!*bar.loading || cadre_registry_get(app.pool, bar.loading, &info) < 0 || !*info.progress.stage) return;
    const cadre_progress *p = &info.progress;
    bar.fraction = p->fraction;
    if (p->total_bytes)
        snprintf(bar.tail, sizeof bar.tail, "%.20s %s of %s", p->stage, human_bytes(p->done_bytes, done), human_bytes(p->total_bytes, total));
    else
        snprintf(bar.tail, sizeof bar.tail, "%.20s", p->stage);
}

static void on_frame(uv_timer_t *timer)
{
    (void)timer;
    bar.frame++;
    if (!app.ending) look();
    draw();
}

static void on_resized(uv_signal_t *handle, int number)
{
    (void)handle, (void)number;
    progress_clear();
    draw();
}

void progress_init(void)
{
    bar.wanted = isatty(STDERR_FILENO) && !app.options.quiet && !app.options.verbose;
    bar.open = 1;
    uv_timer_init(&app.loop, &bar.timer);
    uv_signal_init(&app.loop, &bar.resized);
    uv_unref((uv_handle_t *)&bar.timer);
    if (bar.wanted) uv_signal_start(&bar.resized, on_resized, SIGWINCH);
    uv_unref((uv_handle_t *)&bar.resized);
}

static void begin(const char *what, const char *key, const char *tail)
{
    snprintf(bar.label, sizeof bar.label, "%s %.40s", what, key);
    for (char *c = bar.label; *c; c++)
        if (*c < ' ' || *c > '~') *c = '?';
    snprintf(bar.tail, sizeof bar.tail, "%s", tail);
    if (!bar.active) bar.begun = uv_hrtime();
    bar.loading[0] = '\0';
    bar.fraction = NAN;
    bar.active = 1;
    if (bar.wanted) uv_timer_start(&bar.timer, on_frame, FRAME_MS, FRAME_MS);
    draw();
}

static void finish(void)
{
    bar.active = 0;
    if (bar.open) uv_timer_stop(&bar.timer);
    progress_clear();
}

void progress_event(const cadre_event *event)
{
    char size[32];
    if (event->type == CADRE_EVENT_LOAD_STARTED)
        begin("loading", event->key, event->bytes ? human_bytes(event->bytes, size) : ""), snprintf(bar.loading, sizeof bar.loading, "%s", event->key);
    else if (event->type == CADRE_EVENT_LOAD_WAITS)
        begin("loading", event->key, "waits for memory");
    else if (event->type == CADRE_EVENT_WORKER_READY || event->type == CADRE_EVENT_LOAD_FAILED)
        finish();
}

void progress_steps(uint32_t done, uint32_t total)
{
    if (done >= total) {
        finish();
        return;
    }
    if (!bar.active) begin("drawing", app.model->key, "");
    bar.fraction = (double)done / total;
    snprintf(bar.tail, sizeof bar.tail, "step %u of %u", done, total);
    draw();
}

void progress_close(void)
{
    finish();
    if (!bar.open) return;
    bar.open = 0;
    uv_close((uv_handle_t *)&bar.timer, NULL);
    uv_close((uv_handle_t *)&bar.resized, NULL);
}
