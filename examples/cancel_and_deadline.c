/* cancel_and_deadline CHAT.gguf: five requests, one after the other, and the ways in which a request can end or rest. */
#include <cadre/llama.h>
#include <stdio.h>
#include <uv.h>

enum { CANCELLED, DEADLINE, OTHER_THREAD, PAUSED, COMPLETE, CASES, PIECES = 5, PAUSE_MS = 500 };
static const struct {
    const char *name;
    int expected; /* on_done's status */
    int32_t max_tokens;
    int64_t timeout_ms;
} cases[CASES] = {
    {"cancelled after the fifth piece", CADRE_ECANCELED, CADRE_DEFAULT, CADRE_DEFAULT},
    {"a deadline of 300 ms", CADRE_ETIMEDOUT, CADRE_DEFAULT, 300},
    {"cancelled from another thread", CADRE_ECANCELED, CADRE_DEFAULT, CADRE_DEFAULT},
    {"paused for 500 ms", CADRE_OK, 40, CADRE_DEFAULT},
    {"left alone", CADRE_OK, 40, CADRE_DEFAULT},
};

static struct {
    cadre_pool *pool;
    cadre_port *port;
    uv_timer_t timer;
    uv_thread_t thread;
    cadre_request_id request;
    int current, pieces, paused, pieces_while_paused, has_thread, exit_code;
    uint64_t started;
} app;

static void next(void);

static void on_closed(cadre_pool *pool, const cadre_close_report *report, void *data)
{
    (void)pool, (void)data;
    if (report->abandoned_threads || report->held_promises || report->held_weights) app.exit_code = 1;
    uv_close((uv_handle_t *)&app.timer, NULL);
}

static void stop(int rc, const char *detail)
{
    if (rc < 0) app.exit_code = 1, fprintf(stderr, "%s: %s\n", cadre_err_name(rc), detail);
    cadre_pool_close(app.pool, NULL, on_closed); /* CADRE_EALREADY, should it be closing */
}

/* Not the loop thread: of the library only the port may be used here. A request that is over by then has a stale id: no harm. */
static void canceller(void *data)
{
    int rc = cadre_port_cancel(app.port, *(cadre_request_id *)data);
    if (rc != 0) fprintf(stderr, "port: %s\n", cadre_err_name(rc));
}

static void on_resume(uv_timer_t *timer)
{
    (void)timer;
    app.paused = 0;
    cadre_request_resume(app.pool, app.request); /* CADRE_ESTALE, should it have ended meanwhile */
}

static void on_text(cadre_request *request, const char *text, size_t length)
{
    (void)text, (void)length;
    app.pieces_while_paused += app.paused;
    if (++app.pieces != PIECES) return;
    if (app.current == CANCELLED) cadre_request_cancel(app.pool, cadre_request_get_id(request));
    if (app.current == OTHER_THREAD) app.has_thread = uv_thread_create(&app.thread, canceller, &app.request) == 0;
    if (app.current != PAUSED || cadre_request_pause(app.pool, app.request) != 0) return;
    app.paused = 1;
    uv_timer_start(&app.timer, on_resume, PAUSE_MS, 0);
}

static void on_done(cadre_request *request, int status, const cadre_generation *result)
{
    double ms = (double)(uv_hrtime() - app.started) / 1e6;
    printf("%s: %s after %d pieces and %.0f ms", cases[app.current].name, cadre_err_name(status), app.pieces, ms);
    if (result) printf(", %u tokens, %s", result->generated_tokens, result->finish == CADRE_FINISH_STOP ? "model stopped" : "max_tokens");
    if (app.current == PAUSED) printf(", %d pieces while it was paused", app.pieces_while_paused);
    printf("%s%s\n", status < 0 ? ": " : "", cadre_request_detail(request));
    uv_timer_stop(&app.timer), app.paused = 0;
    if (app.has_thread) uv_thread_join(&app.thread), app.has_thread = 0; /* it has at most to return */
    if (status != cases[app.current].expected || app.pieces_while_paused) app.exit_code = 1;
    if (++app.current == CASES)
        stop(0, "");
    else
        next();
}

static void next(void)
{
    cadre_generate_params params = CADRE_GENERATE_PARAMS_INIT;
    params.key = "chat";
    params.text = "Tell me a very long story about a lighthouse keeper and the sea.";
    params.sampling.max_tokens = cases[app.current].max_tokens;
    params.options.timeout_ms = cases[app.current].timeout_ms;
    params.on_text = on_text;
    params.on_done = on_done;
    app.pieces = 0;
    app.started = uv_hrtime();
    int rc = cadre_generate(app.pool, &params, &app.request);
    if (rc != 0) stop(rc, cadre_pool_error_detail(app.pool));
}

/* The first request is submitted here and not earlier, so that the load is not charged to its deadline. */
static void on_ready(cadre_pool *pool, cadre_worker_id worker, int status, const char *detail, void *data)
{
    (void)pool, (void)worker, (void)data;
    if (status < 0)
        stop(status, detail);
    else
        next();
}

int main(int argc, char **argv)
{
    if (argc != 2) return fprintf(stderr, "usage: cancel_and_deadline CHAT.gguf\n"), 2;
    uv_loop_t *loop = uv_default_loop();
    cadre_llama_options options = CADRE_LLAMA_OPTIONS_INIT;
    cadre_text_to_text_loader loader;
    options.path = argv[1];
    int rc = cadre_pool_create(&app.pool, loop, NULL);
    if (rc != 0) return fprintf(stderr, "%s\n", cadre_err_name(rc)), 1;
    app.port = cadre_pool_port(app.pool);
    uv_timer_init(loop, &app.timer);
    rc = cadre_llama_text_to_text(&options, &loader);
    if (rc == 0) rc = cadre_spawn_text_to_text(app.pool, "chat", &loader, NULL, NULL, on_ready, NULL, NULL);
    if (rc != 0) stop(rc, cadre_pool_error_detail(app.pool));
    uv_run(loop, UV_RUN_DEFAULT);
    cadre_port_release(app.port); /* the port outlives its pool */
    return uv_loop_close(loop) == 0 ? app.exit_code : 1;
}
