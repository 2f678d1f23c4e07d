/* The loop, the pool, signals, and the end.
 *
 * The end begins in app_end: the request is cancelled, the pool closed without draining, the command closes its handles. What is left then keeps the loop alive
 * by itself: the pool until its threads are back, output until it is written. Signal handles and the bar's timer do not (uv_unref), so uv_run returns when all
 * is done, and up to then a second Ctrl-C is heard. */
#include "cli.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct app app;

static uv_signal_t sigint, sigterm, sighup;
static uv_timer_t deadline; /* up to the first request; a request has its own */
static uv_thread_t loop_thread;
static int abandoned;

/* ---- the end ---- */

static void on_closed(cadre_pool *pool, const cadre_close_report *report, void *data)
{
    (void)pool, (void)data;
    app.pool = NULL;
    fetcher_close();
    abandoned = report->abandoned_threads > 0;
    if (abandoned) note("%u threads of a load did not return in time", report->abandoned_threads);
}

void app_end(int exit_code)
{
    cadre_close_options options = CADRE_CLOSE_OPTIONS_INIT;
    if (app.ending) return;
    if (exit_code >= CLI_TIMEOUT && progress_fetching()) note("what has come is kept, and the next run goes on from there");
    app.ending = 1;
    app.exit_code = exit_code;
    progress_clear();
    if (app.on_end) app.on_end();
    if (!app.pool) return;
    if (app.request) cadre_request_cancel(app.pool, app.request);
    options.drain_ms = 0;
    cadre_pool_close(app.pool, &options, on_closed);
}

static void leave_at_once(int exit_code)
{
    app.ending = 1;
    progress_clear();
    if (app.at_once) app.at_once();
    _exit(exit_code);
}

static void on_signal(uv_signal_t *handle, int number)
{
    (void)handle;
    if (app.signals > 0) leave_at_once(128 + number);
    if (!app.ending && number == SIGINT && app.on_interrupt && app.on_interrupt()) return;
    app.signals++;
    if (app.ending && app.exit_code == 0) app.exit_code = 128 + number;
    app_end(128 + number);
}

/* ---- failures ---- */

void app_fail(int code, int status, const char *detail)
{
    if (app.ending) return;
    if (!detail || !*detail) detail = cadre_strerror(status);
    complain(0, "%s%s%s (%s)", app.model ? app.model->key : "", app.model ? ": " : "", detail, cadre_err_name(status));
    if (status == CADRE_ETIMEDOUT) code = CLI_TIMEOUT;
    if (app.options.json) {
        struct buffer line = {NULL, 0, 0};
        buffer_print(&line, "{\"type\": \"error\", \"error\": \"%s\", \"message\": ", cadre_err_name(status));
        buffer_json(&line, detail);
        buffer_add(&line, "}\n", 2);
        out_buffer(&line);
    }
    app_end(code);
}

/* A load's error can be any: what tells it from an answer's is that no load has made a worker yet. A picture's names the picture. */
static int code_of(int status, const char *detail)
{
    cadre_entry_info info = CADRE_ENTRY_INFO_INIT;
    if (status == CADRE_EINVAL) return CLI_USAGE;
    if (strncmp(detail, "images[", 7) == 0) return CLI_FAILED;
    if (status == CADRE_ENOTSUP || status == CADRE_EINPUT || status == CADRE_ETOOLONG || status == CADRE_ECANCELED) return CLI_FAILED;
    if (app.model && app.pool && cadre_registry_get(app.pool, app.model->key, &info) == 0 && info.loads == 0) return CLI_LOAD;
    return CLI_FAILED;
}

void app_request_failed(const cadre_request *request, int status)
{
    const char *detail = cadre_request_detail(request);
    app_fail(code_of(status, detail), status, detail);
}

void app_refused(int status)
{
    const char *detail = cadre_pool_error_detail(app.pool);
    app_fail(code_of(status, detail), status, detail);
}

cadre_request_options app_request_options(void)
{
    cadre_request_options options = CADRE_REQUEST_OPTIONS_INIT;
    if (isnan(app.options.timeout)) return options;
    options.timeout_ms = (int64_t)(app.options.timeout * 1000 + 0.5);
    if (uv_is_active((uv_handle_t *)&deadline)) {
        uint64_t left = uv_timer_get_due_in(&deadline);
        uv_timer_stop(&deadline);
        options.timeout_ms = left > 0 ? (int64_t)left : 1;
    }
    return options;
}

void app_loaded(void)
{
    uv_timer_stop(&deadline);
}

static void on_deadline(uv_timer_t *timer)
{
    (void)timer;
    if (app.ending) return;
    if (app.on_timeout)
        app.on_timeout();
    else
        app_fail(CLI_TIMEOUT, CADRE_ETIMEDOUT, "--timeout: loading takes longer");
}

static void init_deadline(void)
{
    uv_timer_init(&app.loop, &deadline);
    if (!isnan(app.options.timeout)) uv_timer_start(&deadline, on_deadline, (uint64_t)(app.options.timeout * 1000 + 0.5), 0);
    uv_unref((uv_handle_t *)&deadline);
}

/* ---- what the pool tells ---- */

/* The log alone tells that the timeline is not written; all else that goes wrong is told by whom it concerns. */
static int told_by_log_alone(const char *message)
{
    size_t length = app.options.trace ? strlen(app.options.trace) : 0;
    return length > 0 && strncmp(message, app.options.trace, length) == 0 && strncmp(message + length, ": the trace", 11) == 0;
}

/* Any thread; one call writes the whole line. The bar is the loop's. */
void app_log(cadre_log_level level, const char *message, void *data)
{
    static const char *const levels[] = {"error", "warning", "info", "debug"};
    uv_thread_t self = uv_thread_self();
    struct buffer line = {NULL, 0, 0};
    (void)data;
    if (!app.options.verbose && !told_by_log_alone(message)) return;
    buffer_print(&line, "cadre-cli: %s: %s\n", levels[(unsigned)level < 4 ? level : 3], message);
    if (uv_thread_equal(&self, &loop_thread))
        out_message(line.data, line.length);
    else
        fwrite(line.data, 1, line.length, stderr);
    free(line.data);
}

static void on_event(cadre_pool *pool, const cadre_event *event, void *data)
{
    char size[32];
    (void)pool, (void)data;
    if (app.options.verbose) {
        struct buffer line = {NULL, 0, 0};
        buffer_print(&line, "cadre-cli: event: %s%s%s", cadre_event_name(event->type), *event->key ? " " : "", event->key);
        if (event->type == CADRE_EVENT_WORKER_READY) buffer_print(&line, " after %.0f ms", (double)event->ns / 1e6);
        if (event->bytes) buffer_print(&line, ", %s", human_bytes(event->bytes, size));
        buffer_print(&line, "%s%s\n", *event->detail ? ": " : "", event->detail);
        out_message(line.data, line.length);
        free(line.data);
    }
    if (!app.ending && (!app.model || strcmp(event->key, app.model->key) == 0)) progress_event(event);
}

/* ---- the run ---- */

static void init_signal(uv_signal_t *handle, int number)
{
    uv_signal_init(&app.loop, handle);
    uv_signal_start(handle, on_signal, number);
    uv_unref((uv_handle_t *)handle);
}

static int make_pool(void)
{
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    options.on_event = on_event;
    options.log = app_log;
    if (!app.options.verbose) options.log_level = CADRE_LOG_WARN;
    if (app.options.memory > 0) options.memory_bytes = app.options.memory;
    if (app.options.cores > 0) options.cores = (int32_t)app.options.cores;
    options.trace_path = app.options.trace;
    int rc = app.command->images ? app_images(&options) : 0;
    if (rc == 0) rc = fetcher_open(&options);
    if (rc) return rc;
    rc = cadre_pool_create(&app.pool, &app.loop, &options);
    if (rc != 0) fetcher_close();
    return rc == 0 ? 0 : complain(CLI_FAILED, "no pool: %s (%s)", cadre_strerror(rc), cadre_err_name(rc));
}

int app_run(void)
{
    int rc = uv_loop_init(&app.loop);
    if (rc != 0) return complain(CLI_FAILED, "no loop: %s", uv_strerror(rc));
    signal(SIGPIPE, SIG_IGN);
    loop_thread = uv_thread_self();
    init_signal(&sigint, SIGINT), init_signal(&sigterm, SIGTERM);
    if (app.hears_hangup) init_signal(&sighup, SIGHUP);
    progress_init();
    init_deadline();
    app.exit_code = make_pool();
    if (app.pool) manifest_add();
    uv_run(&app.loop, UV_RUN_DEFAULT);
    progress_close();
    uv_close((uv_handle_t *)&sigint, NULL), uv_close((uv_handle_t *)&sigterm, NULL), uv_close((uv_handle_t *)&deadline, NULL);
    if (app.hears_hangup) uv_close((uv_handle_t *)&sighup, NULL);
    uv_run(&app.loop, UV_RUN_DEFAULT);
    if (abandoned) _exit(app.exit_code); /* its thread may still be at work */
    rc = uv_loop_close(&app.loop);
    return rc == 0 ? app.exit_code : complain(CLI_FAILED, "the loop has handles left: %s", uv_strerror(rc));
}
