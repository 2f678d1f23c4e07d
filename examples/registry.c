/* registry [OPTION…] [MANIFEST]: more models than there is memory for, all asked at once. The program only names them: what is loaded, what is evicted to make
 * room, and when, is the library's business. It is told here as it happens. */
#include <cadre.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { ROUNDS = 2, QUESTIONS = 3, MEMORY_MB = 300, MORE_MB = 160, GO_ON = -1, WRONG_ARGUMENTS = 2, INTERRUPTED = 130 };
static const char usage[] = "usage: registry [--memory MB] [--metrics] [--health] [--trace FILE] [MANIFEST]\n"
                            "  MANIFEST      the models (default: registry.json)\n"
                            "  --memory MB   what models may take of the host's memory, in MiB (default: 300)\n"
                            "  --metrics     print Prometheus' text at the end\n"
                            "  --health      print health as JSON at the end\n"
                            "  --trace FILE  write a timeline for https://ui.perfetto.dev\n"
                            "Ctrl-C lets the answers that are under way end, for two seconds; a second one does not wait.\n"
                            "exit code: 0 every request was answered, 1 something failed, 2 wrong arguments, 130 interrupted\n";

static const char *const questions[QUESTIONS] = {"What is the capital of France?", "Name three colours.", "How many legs does a spider have?"};

static struct {
    cadre_pool *pool;
    uv_signal_t sigint;
    const char *manifest;
    unsigned requests, answered, failed; /* accepted, and how they ended */
    int metrics, health, round, interrupted, closing, exit_code;
    uint64_t started;
} app;

static void print_time(uint64_t now)
{
    printf("%9.1f ms  ", (double)(now - app.started) / 1e6);
}

static double megabytes(uint64_t bytes)
{
    return (double)bytes / (1024.0 * 1024.0);
}

/* What happens to models and workers, in the order in which it happens. */
static void on_event(cadre_pool *pool, const cadre_event *event, void *data)
{
    (void)pool, (void)data;
    if (event->type == CADRE_EVENT_PRESSURE) return; /* of little interest where the budget is meant to be full */
    print_time(event->time_ns);
    if (event->type == CADRE_EVENT_EVICTED)
        printf("%-12s  evicted, to make room for %s", event->key, event->detail);
    else
        printf("%-12s  %s", event->key, cadre_event_name(event->type));
    if (event->type == CADRE_EVENT_WORKER_READY) printf(" after %.0f ms", (double)event->ns / 1e6);
    if (event->bytes) printf(", %.1f MB", megabytes(event->bytes));
    if (event->type != CADRE_EVENT_EVICTED && *event->detail) printf(": %s", event->detail);
    puts("");
}

static int print_model(const cadre_entry_info *model, void *data)
{
    (void)data;
    printf("%-13s  %-14s  %-7s  %5u  %5u  %9u  %8u  %11.1f  %7u\n", model->key, cadre_capability_name(model->capability), cadre_model_state_name(model->state),
           model->workers, (unsigned)model->loads, (unsigned)model->evictions, (unsigned)model->requests_done, megabytes(model->resident_bytes),
           (unsigned)model->load_ms);
    return 0;
}

static void print_table(void)
{
    char text[2048];
    cadre_memory_amount more = {CADRE_DEVICE_HOST, (uint64_t)MORE_MB << 20};
    puts("\nmodel          capability      state    ready  loads  evictions  answered  resident MB  load ms");
    cadre_registry_list(app.pool, NULL, print_model, NULL);
    if (cadre_memory_explain(app.pool, &more, 1, text, sizeof text) >= 0) printf("\nwhat a load of %d MB would meet now:\n%s\n", MORE_MB, text);
}

static void on_log(cadre_log_level level, const char *message, void *data)
{
    (void)level, (void)data, fprintf(stderr, "%s\n", message); /* any thread */
}

static void print_piece(const char *text, size_t length, void *data)
{
    (void)data, fwrite(text, 1, length, stdout);
}

/* ---- the end ---- */

static void on_closed(cadre_pool *pool, const cadre_close_report *report, void *data)
{
    (void)pool, (void)data;
    if (report->abandoned_threads) app.exit_code = 1, fprintf(stderr, "%u threads did not return\n", report->abandoned_threads);
    uv_close((uv_handle_t *)&app.sigint, NULL);
}

static void close_pool(int64_t drain_ms)
{
    cadre_close_options options = CADRE_CLOSE_OPTIONS_INIT;
    options.drain_ms = drain_ms;
    app.closing = 1;
    cadre_pool_close(app.pool, &options, on_closed); /* a second call shortens the drain */
}

static void on_sigint(uv_signal_t *handle, int number)
{
    (void)handle, (void)number;
    close_pool(app.interrupted ? 0 : 2000);
    app.interrupted = 1;
}

static void finish(void)
{
    print_table();
    if (app.metrics) cadre_pool_prometheus(app.pool, print_piece, NULL);
    if (app.health) cadre_pool_health_json(app.pool, print_piece, NULL), puts("");
    if (!app.closing) close_pool(CADRE_DEFAULT);
}

/* ---- requests and answers ---- */

static void ask_all(void);

/* The end of a request, whatever it is: its on_done comes exactly once. */
static void end_request(cadre_request *request, int status, const char *text)
{
    print_time(uv_hrtime());
    if (status == 0) {
        app.answered++;
        printf("%-12s  answers: ", cadre_request_key(request));
        for (; *text; text++) putchar(*text == '\n' ? ' ' : *text);
        puts("");
    } else {
        app.failed++;
        printf("%-12s  fails with %s: %s\n", cadre_request_key(request), cadre_err_name(status), cadre_request_detail(request));
    }
    if (app.answered + app.failed < app.requests) return;
    if (++app.round < ROUNDS && !app.closing)
        ask_all();
    else
        finish();
}

static void on_answer(cadre_request *request, int status, const cadre_generation *result)
{
    end_request(request, status, result ? result->text : "");
}

static void on_vectors(cadre_request *request, int status, const cadre_embeddings *result)
{
    char text[64] = "";
    if (result) snprintf(text, sizeof text, "%zu vectors of %zu floats", result->count, result->dimension);
    end_request(request, status, text);
}

static void count(const cadre_entry_info *model, int rc)
{
    if (rc == 0) {
        app.requests++;
    } else {
        app.exit_code = 1;
        fprintf(stderr, "%s: refused with %s: %s\n", model->key, cadre_err_name(rc), cadre_pool_error_detail(app.pool));
    }
}

/* A chat model gets each question as a request of its own, an embedding model all of them as one. */
static int ask(const cadre_entry_info *model, void *data)
{
    (void)data;
    if (model->capability == CADRE_TEXT_TO_TEXT) {
        cadre_generate_params params = CADRE_GENERATE_PARAMS_INIT;
        params.key = model->key, params.on_done = on_answer; /* no on_text: the whole text comes with on_done */
        params.sampling.temperature = 0, params.sampling.max_tokens = 24;
        for (int i = 0; i < QUESTIONS; i++) {
            params.text = questions[i];
            count(model, cadre_generate(app.pool, &params, NULL));
        }
    } else if (model->capability == CADRE_TEXT_EMBEDDING) {
        cadre_embed_params params = CADRE_EMBED_PARAMS_INIT;
        params.key = model->key, params.on_done = on_vectors;
        params.texts = questions, params.count = QUESTIONS;
        count(model, cadre_embed(app.pool, &params, NULL));
    }
    return 0;
}

static void ask_all(void)
{
    unsigned before = app.requests;
    cadre_registry_list(app.pool, NULL, ask, NULL);
    print_time(uv_hrtime());
    printf("round %d: %u requests\n", app.round + 1, app.requests - before);
    if (app.requests == before) finish();
}

static void on_manifest(cadre_pool *pool, int status, const char *detail, void *data)
{
    (void)pool, (void)detail, (void)data; /* the log has it too: with the line and column of what is wrong */
    if (status == 0) {
        ask_all();
    } else {
        app.exit_code = 1;
        close_pool(0);
    }
}

/* ---- the start ---- */

/* GO_ON, or the exit code. */
static int read_arguments(int argc, char **argv, cadre_pool_options *options)
{
    app.manifest = "registry.json";
    options->memory_bytes = (int64_t)MEMORY_MB << 20;
    for (int i = 1; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--help") == 0) return fputs(usage, stdout), 0;
        if (strcmp(argv[i], "--metrics") == 0) {
            app.metrics = 1;
        } else if (strcmp(argv[i], "--health") == 0) {
            app.health = 1;
        } else if (strcmp(argv[i], "--trace") == 0 && next) {
            options->trace_path = next, i++;
        } else if (strcmp(argv[i], "--memory") == 0 && next && atoi(next) > 0) {
            options->memory_bytes = (int64_t)atoi(next) << 20, i++;
        } else if (argv[i][0] != '-' && i + 1 == argc) {
            app.manifest = argv[i];
        } else {
            return fprintf(stderr, "%s: not understood\n%s", argv[i], usage), WRONG_ARGUMENTS;
        }
    }
    return GO_ON;
}

int main(int argc, char **argv)
{
    uv_loop_t *loop = uv_default_loop();
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    int rc = read_arguments(argc, argv, &options);
    if (rc != GO_ON) return rc;
    setvbuf(stdout, NULL, _IOLBF, 0); /* line by line, also into a pipe */
    app.started = uv_hrtime();        /* the clock of events too */
    options.on_event = on_event, options.log = on_log, options.log_level = CADRE_LOG_WARN;
    rc = cadre_pool_create(&app.pool, loop, &options);
    if (rc != 0) return fprintf(stderr, "%s: %s\n", cadre_err_name(rc), cadre_strerror(rc)), 1;
    uv_signal_init(loop, &app.sigint), uv_signal_start(&app.sigint, on_sigint, SIGINT);
    rc = cadre_registry_load(app.pool, app.manifest, on_manifest, NULL);
    if (rc != 0) on_log(CADRE_LOG_ERROR, cadre_pool_error_detail(app.pool), NULL), on_manifest(app.pool, rc, "", NULL);
    uv_run(loop, UV_RUN_DEFAULT);
    unsigned ended = app.answered + app.failed;
    printf("\n%u requests, %u answered, %u failed, %s lost\n", app.requests, app.answered, app.failed, ended == app.requests ? "nothing" : "SOMETHING");
    if (app.failed || ended != app.requests || uv_loop_close(loop) != 0) app.exit_code = 1;
    return app.interrupted ? INTERRUPTED : app.exit_code;
}
