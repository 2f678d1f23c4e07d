/* coldstart: a request for a model that is not loaded, until its first piece of text. The file is in the page cache.
 *
 *   first_token   against llama-server in router mode, which runs already and is made to load the same file by the request; the better of
 *                 its defaults and of --no-warmup counts
 *
 * Both sides: the same prompt, four slots of 1,024 tokens, the same number of engine threads. Between two rounds the model is unloaded on both. */
#include "engine.h"
#include "inputs.h"
#include "server.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SLOTS 4
#define CONTEXT 1024
#define UNLOAD_SECONDS 30

typedef struct sides {
    const bench_args *args;
    engine_host host;
    server routers[2]; /* its defaults, no warm-up */
    size_t number;     /* of the prompt */
    uint64_t first_ns;
    int done;
} sides;

/* ---- ours ---- */

static void on_text(cadre_request *request, const char *text, size_t length)
{
    sides *s = cadre_request_data(request);
    (void)text, (void)length;
    if (s->first_ns == 0) s->first_ns = bench_now_ns();
}

static void on_done(cadre_request *request, int status, const cadre_generation *result)
{
    sides *s = cadre_request_data(request);
    (void)result;
    if (status < 0) bench_fail("the request failed: %s (%s)", cadre_err_name(status), cadre_request_detail(request));
    s->done = 1;
}

static double ours(sides *s)
{
    char prompt[256];
    cadre_llama_options options = CADRE_LLAMA_OPTIONS_INIT;
    cadre_generate_params params = CADRE_GENERATE_PARAMS_INIT;
    options.path = s->args->smollm2;
    options.context_length = CONTEXT;
    options.slots = SLOTS;
    input_prompt(s->number, prompt, sizeof prompt);
    params.key = ENGINE_KEY;
    params.text = prompt;
    params.raw = 1;
    params.sampling.temperature = 0;
    params.sampling.max_tokens = 4;
    params.on_text = on_text;
    params.on_done = on_done;
    params.data = s;
    s->first_ns = 0;
    s->done = 0;
    uint64_t start = bench_now_ns();
    engine_spawn(&s->host, s->args, &options, CADRE_TEXT_TO_TEXT);
    int rc = cadre_generate(s->host.pool, &params, NULL);
    if (rc != 0) bench_fail("cadre_generate: %s (%s)", cadre_err_name(rc), cadre_pool_error_detail(s->host.pool));
    while (!s->done) uv_run(&s->host.loop, UV_RUN_ONCE);
    if (s->first_ns == 0) bench_fail("the request gave no text");
    engine_stop(&s->host);
    return (double)(s->first_ns - start) / 1e6;
}

/* ---- llama-server ---- */

static void unload(const server *router)
{
    char answer[65536];
    uint64_t start = bench_now_ns();
    http_once(router, "POST", "/models/unload", "{\"model\": \"" ENGINE_KEY "\"}", NULL, answer, sizeof answer, NULL);
    do {
        nanosleep(&(struct timespec){0, 100000000}, NULL); /* between two questions */
        if (http_once(router, "GET", "/models", "", NULL, answer, sizeof answer, NULL) != 200 || bench_now_ns() - start > UNLOAD_SECONDS * 1000000000ull)
            bench_fail("llama-server does not unload: %.300s", answer);
    } while (!strstr(answer, "\"unloaded\""));
}

static double peer(sides *s, int no_warmup)
{
    char prompt[256], body[512], answer[65536];
    uint64_t elapsed;
    input_prompt(s->number, prompt, sizeof prompt);
    snprintf(body, sizeof body, "{\"model\": \"" ENGINE_KEY "\", \"prompt\": \"%s\", \"max_tokens\": 4, \"temperature\": 0, \"stream\": true}", prompt);
    int status = http_once(&s->routers[no_warmup], "POST", "/v1/completions", body, "data: ", answer, sizeof answer, &elapsed);
    if (status != 200 || !strstr(answer, "data: ") || strstr(answer, "\"error\"")) bench_fail("llama-server: %.400s", answer);
    unload(&s->routers[no_warmup]);
    return (double)elapsed / 1e6;
}

/* One model, the same file, by a preset. */
static server start_router(const bench_args *args, int no_warmup)
{
    char preset[512], threads[16], context[16], slots[16];
    const char *arguments[16] = {"--models-preset", preset, "-t", threads, "-c", context, "-np", slots, "--no-ui", no_warmup ? "--no-warmup" : NULL};
    snprintf(preset, sizeof preset, "%s/models.ini", args->folder);
    FILE *file = fopen(preset, "w");
    if (!file || fprintf(file, "version = 1\n\n[" ENGINE_KEY "]\nmodel = %s\n", args->smollm2) < 0 || fclose(file) != 0) bench_fail("cannot write %s", preset);
    snprintf(threads, sizeof threads, "%d", args->threads);
    snprintf(context, sizeof context, "%d", SLOTS * CONTEXT);
    snprintf(slots, sizeof slots, "%d", SLOTS);
    return server_start(args->server, arguments, 0, args->folder);
}

int main(int argc, char **argv)
{
    bench_args args;
    bench_row row;
    sides s = {.args = &args};
    int no_warmup_won = 0;
    bench_parse(&args, argc, argv);
    engine_need(args.smollm2, "--smollm2");
    engine_open(&s.host, &args, NULL);
    for (int i = 0; args.server && i < 2; i++) s.routers[i] = start_router(&args, i);
    bench_row_init(&row, "coldstart", "ms", args.server ? "llama-server, router mode" : NULL, "ratio <= 0.5", "first_token");
    bench_note(&args, "%d engine threads on every side%s", args.threads, args.server ? "" : "; no llama-server: no ratio");
    for (int round = -1; round < args.rounds; round++) { /* the first one warms the page cache */
        double figures[3];
        s.number++;
        for (int i = 0; i < 3; i++) {
            int side = (i + round + 3) % 3;
            figures[side] = side == 0 ? ours(&s) : args.server ? peer(&s, side - 1) : NAN;
        }
        if (round < 0) continue;
        no_warmup_won += figures[2] < figures[1];
        bench_row_add(&row, figures[0], fmin(figures[1], figures[2]));
    }
    bench_row_print(&args, &row);
    if (args.server) bench_note(&args, "llama-server was faster without its warm-up in %d of %d rounds", no_warmup_won, args.rounds);
    for (int i = 0; i < 2; i++) server_stop(&s.routers[i]);
    engine_close(&s.host);
    bench_finish(&args);
    return 0;
}
