/* What goes on, on stderr: a bar where that is a terminal, plain lines with --verbose, else nothing. The bar takes one line, is never as wide as the terminal,
 * and is taken away before anything else is written. A load's bar shows what the load reports, and moves to and fro where it reports no part.
 *
 * What is fetched may take hours: where there is no bar, a line tells now and then how far it is, unless --quiet is given. The rate is that of the last
 * seconds. */
#include "cli.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { FRAME_MS = 100, BAR_WIDTH = 24, BAR_LEAST = 10, LABEL_LEAST = 12, LINE_MOST = 100, SAMPLES = 16 };

#define NS_PER_S 1000000000ull
#define SAMPLE_NS (NS_PER_S / 4)
#define FIRST_LINE_NS NS_PER_S
#define LINE_NS (5 * NS_PER_S)    /* lines are at least so far apart, */
#define LINE_PART 0.1             /* and so much more has come, */
#define SILENT_NS (60 * NS_PER_S) /* or this long nothing was said */

static struct {
    uv_timer_t timer;
    uv_signal_t resized;
    int wanted, open;  /* a bar may be shown; its handles are open */
    int active, shown; /* something goes on; columns of what is on the screen */
    char label[300], tail[128];
    int key_at;        /* in the label */
    char loading[256]; /* the key of the model that loads, or "" */
    double fraction;   /* NaN: unknown */
    uint64_t begun;
    unsigned frame;
} bar;

/* What is fetched. */
static struct {
    int watching;  /* the registry is asked, frame by frame */
    char key[300]; /* whose files come, or "" */
    char stage[24];
    uint64_t done, total;
    struct {
        uint64_t ns, bytes;
    } samples[SAMPLES]; /* a ring */
    size_t sampled;
    double line_fraction; /* the latest line */
    uint64_t line_ns;
} fetched;

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

static void draw_bar(char out[BAR_WIDTH + 1], int width)
{
    int filled = isnan(bar.fraction) ? 0 : (int)(bar.fraction * width);
    int swing = width - 4, at = (int)(bar.frame % (unsigned)(2 * swing));
    if (at > swing) at = 2 * swing - at;
    for (int i = 0; i < width; i++) {
        int on = isnan(bar.fraction) ? i >= at && i < at + 4 : i < filled;
        out[i] = on ? '=' : ' ';
    }
    out[width] = '\0';
}

/* What does not fit is made shorter: the bar, then the label, then the end of the line. */
static int fit(char *line, size_t size, int width)
{
    char percent[16] = "", blocks[BAR_WIDTH + 1], tail[160];
    int label = (int)strlen(bar.label), blocks_width = BAR_WIDTH;
    if (!isnan(bar.fraction)) snprintf(percent, sizeof percent, " %3.0f %%", bar.fraction * 100);
    if (*fetched.key)
        snprintf(tail, sizeof tail, "%s", bar.tail);
    else
        snprintf(tail, sizeof tail, "%s%s%.1f s", bar.tail, *bar.tail ? ", " : "", (double)(uv_hrtime() - bar.begun) / 1e9);
    int rest = 5 + (int)strlen(percent) + (int)strlen(tail); /* " [", "]  " */
    if (label + blocks_width + rest > width) blocks_width = BAR_LEAST;
    if (label + blocks_width + rest > width) label = width - blocks_width - rest > LABEL_LEAST ? width - blocks_width - rest : LABEL_LEAST;
    draw_bar(blocks, blocks_width);
    int cut = label < (int)strlen(bar.label) ? label - bar.key_at - 2 : 0; /* the end of a key tells more than its beginning */
    if (cut >= 4)
        return snprintf(line, size, "\r%.*s..%s [%s]%s  %s", bar.key_at, bar.label, bar.label + strlen(bar.label) - (size_t)cut, blocks, percent, tail);
    return snprintf(line, size, "\r%.*s [%s]%s  %s", label, bar.label, blocks, percent, tail);
}

static void draw(void)
{
    char line[1024];
    int width = columns() - 3; /* a "^C" that the terminal adds must not wrap it */
    if (!bar.wanted || !bar.active || app.ending) return;
    if (width > LINE_MOST) width = LINE_MOST;
    int length = fit(line, sizeof line, width);
    if (length > width + 1) length = width + 1; /* all is ASCII: it is cut anywhere */
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

static void say_fetched(void);

static void on_frame(uv_timer_t *timer)
{
    (void)timer;
    bar.frame++;
    if (!app.ending) progress_poll(), say_fetched(), look();
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
    snprintf(bar.label, sizeof bar.label, "%s %.256s", what, key);
    bar.key_at = (int)strlen(what) + 1;
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
    fetched.key[0] = '\0';
    if (bar.open && !fetched.watching) uv_timer_stop(&bar.timer);
    progress_clear();
}

/* ---- what is fetched ---- */

/* Bytes a second, over the samples; 0: not known yet. */
static double rate(uint64_t now)
{
    size_t count = fetched.sampled < SAMPLES ? fetched.sampled : SAMPLES, oldest = (fetched.sampled - count) % SAMPLES;
    if (count == 0 || now - fetched.samples[oldest].ns < SAMPLE_NS || fetched.done < fetched.samples[oldest].bytes) return 0;
    return (double)(fetched.done - fetched.samples[oldest].bytes) * 1e9 / (double)(now - fetched.samples[oldest].ns);
}

static void sample(uint64_t now)
{
    if (fetched.sampled > 0 && now - fetched.samples[(fetched.sampled - 1) % SAMPLES].ns < SAMPLE_NS) return;
    fetched.samples[fetched.sampled % SAMPLES].ns = now, fetched.samples[fetched.sampled % SAMPLES].bytes = fetched.done;
    fetched.sampled++;
}

static const char *human_time(double seconds, char out[32])
{
    if (seconds < 90)
        snprintf(out, 32, "%.0f s", ceil(seconds));
    else if (seconds < 5400)
        snprintf(out, 32, "%.0f min", seconds / 60);
    else
        snprintf(out, 32, "%.1f h", seconds / 3600 < 9999 ? seconds / 3600 : 9999);
    return out;
}

/* "45.0 MB of 98.2 MB, 12.3 MB/s, 5 s left" */
static void say_bytes(uint64_t now)
{
    char done[32], total[32], per_second[32], left[32];
    double speed = rate(now);
    struct buffer text = {NULL, 0, 0};
    if (strcmp(fetched.stage, "download") != 0 && *fetched.stage) buffer_print(&text, "%s ", fetched.stage);
    buffer_print(&text, "%s", human_bytes(fetched.done, done));
    if (fetched.total) buffer_print(&text, " of %s", human_bytes(fetched.total, total));
    if (speed > 0) buffer_print(&text, ", %s/s", human_bytes((uint64_t)speed, per_second));
    if (speed > 0 && fetched.total > fetched.done) buffer_print(&text, ", %s left", human_time((double)(fetched.total - fetched.done) / speed, left));
    snprintf(bar.tail, sizeof bar.tail, "%s", text.data);
    free(text.data);
}

/* Where there is no bar. */
static void say_line(uint64_t now)
{
    uint64_t silent = now - fetched.line_ns;
    int more = !isnan(bar.fraction) && bar.fraction - fetched.line_fraction >= LINE_PART && silent >= (fetched.line_fraction > 0 ? LINE_NS : FIRST_LINE_NS);
    if (bar.wanted || app.options.quiet || (!more && silent < SILENT_NS)) return;
    fetched.line_ns = now, fetched.line_fraction = isnan(bar.fraction) ? 0 : bar.fraction;
    if (isnan(bar.fraction))
        note("%s: %s", fetched.key, bar.tail);
    else
        note("%s: %.0f %%, %s", fetched.key, bar.fraction * 100, bar.tail);
}

/* Frame by frame, whether or not something has come. */
static void say_fetched(void)
{
    uint64_t now = uv_hrtime();
    if (!*fetched.key) return;
    if (!isnan(bar.fraction)) sample(now);
    say_bytes(now);
    say_line(now);
}

void progress_bytes(const char *what, const cadre_progress *progress)
{
    if (strcmp(fetched.key, what) != 0 || !bar.active) {
        finish();
        snprintf(fetched.key, sizeof fetched.key, "%s", what);
        begin("fetching", what, "");
        fetched.done = fetched.total = 0, fetched.sampled = 0;
        fetched.line_ns = bar.begun, fetched.line_fraction = 0;
        uv_timer_start(&bar.timer, on_frame, FRAME_MS, FRAME_MS);
    }
    snprintf(fetched.stage, sizeof fetched.stage, "%s", progress->stage ? progress->stage : "");
    if (progress->done_bytes == 0 && progress->total_bytes == 0) return;
    fetched.done = progress->done_bytes, fetched.total = progress->total_bytes;
    bar.fraction = fetched.total ? (double)fetched.done / (double)fetched.total : NAN;
    sample(uv_hrtime());
}

/* Which of the models the command wants is being fetched, or NULL. */
static const struct model *look_for_fetch(cadre_entry_info *info)
{
    for (size_t i = 0; i < manifest.count; i++) {
        const struct model *model = &manifest.models[i];
        if (!model->wanted || model->status < 0) continue;
        if (cadre_registry_get(app.pool, model->key, info) == 0 && info->fetching) return model;
    }
    return NULL;
}

void progress_poll(void)
{
    cadre_entry_info info = CADRE_ENTRY_INFO_INIT;
    if (!fetched.watching) return;
    const struct model *model = look_for_fetch(&info);
    if (model)
        progress_bytes(model->key, &info.progress);
    else if (*fetched.key)
        finish();
}

void progress_watch(void)
{
    fetched.watching = 1;
    uv_timer_start(&bar.timer, on_frame, FRAME_MS, FRAME_MS);
}

int progress_fetching(void)
{
    cadre_entry_info info = CADRE_ENTRY_INFO_INIT;
    return *fetched.key || (app.pool && fetched.watching && look_for_fetch(&info));
}

uint64_t progress_fetched(void)
{
    uint64_t bytes = fetched.total > fetched.done ? fetched.total : fetched.done;
    fetched.done = fetched.total = 0;
    fetched.watching = 0;
    finish();
    return bytes;
}

void progress_event(const cadre_event *event)
{
    char size[32];
    if ((event->type == CADRE_EVENT_LOAD_STARTED || event->type == CADRE_EVENT_LOAD_WAITS) && *fetched.key) finish();
    if (event->type == CADRE_EVENT_LOAD_STARTED)
        begin("loading", event->key, event->bytes ? human_bytes(event->bytes, size) : ""), snprintf(bar.loading, sizeof bar.loading, "%s", event->key);
    else if (event->type == CADRE_EVENT_LOAD_WAITS)
        begin("loading", event->key, "waits for memory");
    else if (event->type == CADRE_EVENT_LOAD_FAILED)
        finish(); /* it may be tried again */
    else if (event->type == CADRE_EVENT_WORKER_READY)
        fetched.watching = 0, finish();
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
    fetched.watching = 0;
    finish();
    if (!bar.open) return;
    bar.open = 0;
    uv_close((uv_handle_t *)&bar.timer, NULL);
    uv_close((uv_handle_t *)&bar.resized, NULL);
}
