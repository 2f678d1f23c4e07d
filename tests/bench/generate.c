/* generate: 8 requests of 64 tokens, from 1, 4 or 8 clients at once, each client sending its next request when it has the answer to the one before. Greedy;
 * prompts of about 20 tokens are part of the time; every prompt is new.
 *
 *   tokens_per_s_vs_bare_N     against a bare llama_decode loop: N sequences in one batch, one after another where that takes several turns
 *   tokens_per_s_vs_server_N   against llama-server with as many slots, the better of its defaults and of passive waiting (OMP_WAIT_POLICY=passive, --poll 0)
 *
 * All sides use the same number of engine threads (--threads; by default the CPUs). Figures are tokens that were really generated. */
#include "bare.h"
#include "engine.h"
#include "inputs.h"
#include "server.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS 8
#define CONTEXT 256
#define TOKENS 64
#define REQUESTS 8

typedef struct sides {
    const bench_args *args;
    engine_host host;
    bare *floor;
    server servers[2]; /* its defaults, passive */
    int passive_won;
    int clients;
    /* the run in progress */
    size_t base; /* number of its first prompt */
    size_t started, finished, tokens, short_answers;
} sides;

static size_t next_prompts(sides *s)
{
    size_t base = s->base;
    s->base += REQUESTS;
    s->started = s->finished = s->tokens = 0;
    return base;
}

static double per_second(const sides *s, uint64_t elapsed_ns)
{
    return (double)s->tokens / ((double)elapsed_ns / 1e9);
}

/* ---- ours ---- */

static void submit(sides *s);

static void on_done(cadre_request *request, int status, const cadre_generation *result)
{
    sides *s = cadre_request_data(request);
    if (status < 0) bench_fail("a generation failed: %s (%s)", cadre_err_name(status), cadre_request_detail(request));
    s->tokens += result->generated_tokens;
    s->short_answers += result->generated_tokens < TOKENS;
    s->finished++;
    submit(s);
}

static void submit(sides *s)
{
    char prompt[256];
    cadre_generate_params params = CADRE_GENERATE_PARAMS_INIT;
    if (s->started == REQUESTS) return;
    input_prompt(s->base - REQUESTS + s->started++, prompt, sizeof prompt);
    params.key = ENGINE_KEY;
    params.text = prompt;
    params.raw = 1;
    params.sampling.temperature = 0;
    params.sampling.max_tokens = TOKENS;
    params.on_done = on_done;
    params.data = s;
    int rc = cadre_generate(s->host.pool, &params, NULL);
    if (rc != 0) bench_fail("cadre_generate: %s (%s)", cadre_err_name(rc), cadre_pool_error_detail(s->host.pool));
}

static double ours(void *data)
{
    sides *s = data;
    next_prompts(s);
    uint64_t start = bench_now_ns();
    for (int i = 0; i < s->clients; i++) submit(s);
    while (s->finished < REQUESTS) uv_run(&s->host.loop, UV_RUN_ONCE);
    return per_second(s, bench_now_ns() - start);
}

/* ---- bare ---- */

static double bare_loop(void *data)
{
    sides *s = data;
    char text[SLOTS][256];
    const char *prompts[SLOTS];
    size_t base = next_prompts(s);
    uint64_t start = bench_now_ns();
    for (size_t done = 0; done < REQUESTS; done += (size_t)s->clients) {
        for (int i = 0; i < s->clients; i++) {
            input_prompt(base + done + (size_t)i, text[i], sizeof text[i]);
            prompts[i] = text[i];
        }
        s->tokens += bare_generate(s->floor, prompts, s->clients, TOKENS);
    }
    return per_second(s, bench_now_ns() - start);
}

/* ---- llama-server ---- */

static void server_body(size_t index, void *data, char *buffer, size_t size)
{
    char prompt[256];
    sides *s = data;
    input_prompt(s->base - REQUESTS + index, prompt, sizeof prompt);
    snprintf(buffer, size, "{\"prompt\": \"%s\", \"n_predict\": %d, \"temperature\": 0, \"ignore_eos\": true, \"cache_prompt\": false}", prompt, TOKENS);
}

static void server_answer(size_t index, const char *body, size_t length, void *data)
{
    sides *s = data;
    const char *count = strstr(body, "\"tokens_predicted\":");
    (void)index, (void)length;
    if (!count) bench_fail("llama-server does not say how many tokens it made: %.200s", body);
    s->tokens += strtoul(count + strlen("\"tokens_predicted\":"), NULL, 10);
}

static double run_server(sides *s, int passive)
{
    http_requests requests = {"/completion", s->clients, REQUESTS, server_body, server_answer, s};
    next_prompts(s);
    return per_second(s, http_run(&s->servers[passive], &requests));
}

static server start_server(const bench_args *args, int passive)
{
    char threads[16], context[16], slots[16];
    const char *arguments[24] = {"-m", args->smollm2, "-t", threads, "-c", context, "-np", slots, "--cache-ram", "0", "--no-ui"};
    snprintf(threads, sizeof threads, "%d", args->threads);
    snprintf(context, sizeof context, "%d", SLOTS * CONTEXT);
    snprintf(slots, sizeof slots, "%d", SLOTS);
    for (size_t i = 0; passive && i < 24; i++) {
        if (arguments[i]) continue;
        arguments[i] = "--poll";
        arguments[i + 1] = "0";
        break;
    }
    return server_start(args->server, arguments, passive, args->folder);
}

/* ---- rows ---- */

static void measure_clients(sides *s, int clients)
{
    const bench_args *args = s->args;
    bench_row bare_row, server_row;
    char peer[64];
    int passive_won = 0;
    s->clients = clients;
    snprintf(peer, sizeof peer, "llama-server, %d slots", SLOTS);
    bench_row_init(&bare_row, "generate", "tokens/s", "bare llama_decode loop", "ratio >= 0.95", "tokens_per_s_vs_bare_%d", clients);
    bench_row_init(&server_row, "generate", "tokens/s", peer, "ratio >= 1.0", "tokens_per_s_vs_server_%d", clients);
    for (int round = 0; round < args->rounds; round++) {
        double figures[4];
        for (int i = 0; i < 4; i++) {
            int side = (i + round) % 4;
            figures[side] = side == 0 ? ours(s) : side == 1 ? bare_loop(s) : args->server ? run_server(s, side - 2) : NAN;
        }
        bench_row_add(&bare_row, figures[0], figures[1]);
        passive_won += figures[3] > figures[2];
        if (args->server) bench_row_add(&server_row, figures[0], fmax(figures[2], figures[3]));
    }
    bench_row_print(args, &bare_row);
    bench_row_print(args, &server_row);
    if (args->server) bench_note(args, "llama-server was faster with passive waiting in %d of %d rounds", passive_won, args->rounds);
}

int main(int argc, char **argv)
{
    static const int clients[] = {1, 4, 8};
    bench_args args;
    sides s = {.args = &args};
    cadre_llama_options options = CADRE_LLAMA_OPTIONS_INIT;
    bench_parse(&args, argc, argv);
    options.path = engine_need(args.smollm2, "--smollm2");
    options.context_length = CONTEXT;
    options.slots = SLOTS;
    engine_open(&s.host, &args, NULL);
    engine_spawn(&s.host, &args, &options, CADRE_TEXT_TO_TEXT);
    engine_wait_ready(&s.host);
    s.floor = bare_open(args.smollm2, SLOTS, CONTEXT, args.threads, 0, 0);
    for (int i = 0; args.server && i < 2; i++) s.servers[i] = start_server(&args, i);
    bench_note(&args, "%d engine threads on every side", args.threads);
    if (!args.server) bench_note(&args, "no llama-server: no rows against it");
    s.clients = SLOTS; /* each side once, to warm up */
    ours(&s);
    bare_loop(&s);
    for (int i = 0; args.server && i < 2; i++) run_server(&s, i);
    s.short_answers = 0;
    for (size_t i = 0; i < sizeof clients / sizeof *clients; i++) measure_clients(&s, clients[i]);
    if (s.short_answers) bench_note(&args, "%zu of our answers ended before %d tokens", s.short_answers, TOKENS);
    for (int i = 0; i < 2; i++) server_stop(&s.servers[i]);
    bare_close(s.floor);
    engine_close(&s.host);
    bench_finish(&args);
    return 0;
}
