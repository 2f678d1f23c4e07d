/* embed: 32 clients at once, each sending one text of 8 to 24 words and its next one when it has the vector; every text is new.
 *
 *   texts_per_s_vs_bare          against a bare llama.cpp loop that takes 32 texts in one batch
 *   texts_per_s_vs_server        against llama-server's /v1/embeddings: a slot for each client and room for all in one batch
 *   texts_per_s_vs_server_same   the same with --server-same, a llama-server that computes with the CPU modules which the llama backend
 *                                uses: without the difference that two compilers make
 *
 * Of llama-server the better of its defaults and of passive waiting (OMP_WAIT_POLICY=passive, --poll 0) counts. All sides use the same
 * number of engine threads (--threads; by default the CPUs). Before anything is measured, the vectors of one text are compared. */
#include "bare.h"
#include "engine.h"
#include "inputs.h"
#include "server.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLIENTS 32
#define TEXTS (CLIENTS * 16)
#define TEXT_TOKENS 64
#define DIMENSION_MAX 4096

enum { OURS, BARE, SERVER, SERVER_PASSIVE, SAME, SAME_PASSIVE, SIDES };

typedef struct sides {
    const bench_args *args;
    engine_host host;
    bare *floor;
    server servers[SIDES]; /* from SERVER on; not started: pid 0 */
    /* the run in progress */
    size_t base; /* number of its first text */
    size_t started, finished, wanted;
    float vector[DIMENSION_MAX]; /* the last one that came */
} sides;

static size_t next_texts(sides *s, size_t count)
{
    size_t base = s->base;
    s->base += count;
    s->wanted = count;
    s->started = s->finished = 0;
    return base;
}

static double per_second(size_t count, uint64_t elapsed_ns)
{
    return (double)count / ((double)elapsed_ns / 1e9);
}

/* ---- ours ---- */

static void submit(sides *s);

static void on_done(cadre_request *request, int status, const cadre_embeddings *result)
{
    sides *s = cadre_request_data(request);
    if (status < 0) bench_fail("an embedding failed: %s (%s)", cadre_err_name(status), cadre_request_detail(request));
    memcpy(s->vector, result->values, (result->dimension < DIMENSION_MAX ? result->dimension : DIMENSION_MAX) * sizeof *s->vector);
    s->finished++;
    submit(s);
}

static void submit(sides *s)
{
    char text[512];
    cadre_embed_params params = CADRE_EMBED_PARAMS_INIT;
    if (s->started == s->wanted) return;
    input_text(s->base - s->wanted + s->started++, text, sizeof text);
    params.key = ENGINE_KEY;
    params.text = text;
    params.on_done = on_done;
    params.data = s;
    int rc = cadre_embed(s->host.pool, &params, NULL);
    if (rc != 0) bench_fail("cadre_embed: %s (%s)", cadre_err_name(rc), cadre_pool_error_detail(s->host.pool));
}

static double ours(void *data)
{
    sides *s = data;
    next_texts(s, TEXTS);
    uint64_t start = bench_now_ns();
    for (int i = 0; i < CLIENTS; i++) submit(s);
    while (s->finished < s->wanted) uv_run(&s->host.loop, UV_RUN_ONCE);
    return per_second(TEXTS, bench_now_ns() - start);
}

/* ---- bare ---- */

static double bare_loop(void *data)
{
    static float out[CLIENTS * DIMENSION_MAX];
    sides *s = data;
    char text[CLIENTS][512];
    const char *texts[CLIENTS];
    size_t base = next_texts(s, TEXTS);
    uint64_t start = bench_now_ns();
    for (size_t done = 0; done < TEXTS; done += CLIENTS) {
        for (size_t i = 0; i < CLIENTS; i++) {
            input_text(base + done + i, text[i], sizeof text[i]);
            texts[i] = text[i];
        }
        bare_embed(s->floor, texts, CLIENTS, out);
    }
    return per_second(TEXTS, bench_now_ns() - start);
}

/* ---- llama-server ---- */

static void server_body(size_t index, void *data, char *buffer, size_t size)
{
    char text[512];
    sides *s = data;
    input_text(s->base - s->wanted + index, text, sizeof text);
    snprintf(buffer, size, "{\"input\": \"%s\", \"encoding_format\": \"base64\"}", text);
}

static void server_answer(size_t index, const char *body, size_t length, void *data)
{
    (void)index, (void)data;
    if (length < 1000 || !strstr(body, "\"embedding\"")) bench_fail("llama-server gives no embedding: %.200s", body);
}

static double run_server(sides *s, int side)
{
    http_requests requests = {"/v1/embeddings", CLIENTS, TEXTS, server_body, server_answer, s};
    next_texts(s, TEXTS);
    return per_second(TEXTS, http_run(&s->servers[side], &requests));
}

static server start_server(const bench_args *args, int side)
{
    int passive = side == SERVER_PASSIVE || side == SAME_PASSIVE;
    const char *program = side == SAME || side == SAME_PASSIVE ? args->server_same : args->server;
    if (!program) return (server){0};
    char threads[16], tokens[16], slots[16];
    const char *arguments[24] = {"-m",   args->minilm, "--embeddings", "-t",  threads, "-c",          tokens, "-b",
                                 tokens, "-ub",        tokens,         "-np", slots,   "--cache-ram", "0",    "--no-ui"};
    snprintf(threads, sizeof threads, "%d", args->threads);
    snprintf(tokens, sizeof tokens, "%d", CLIENTS * TEXT_TOKENS);
    snprintf(slots, sizeof slots, "%d", CLIENTS);
    for (size_t i = 0; passive && i < 24; i++) {
        if (arguments[i]) continue;
        arguments[i] = "--poll";
        arguments[i + 1] = "0";
        break;
    }
    return server_start(program, arguments, passive, args->folder);
}

/* ---- the same vectors ---- */

static double cosine(const float *a, const float *b, size_t count)
{
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < count; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return ab / sqrt(aa * bb);
}

/* The numbers of the first JSON array behind "embedding" (which may be an array of arrays). */
static void read_vector(const char *answer, float *out, size_t count)
{
    const char *at = strstr(answer, "\"embedding\"");
    if (!at || !(at = strchr(at, '['))) bench_fail("llama-server gives no embedding: %.200s", answer);
    at += strspn(at, "[ ");
    for (size_t i = 0; i < count; i++) {
        char *end;
        out[i] = strtof(at, &end);
        if (end == at) bench_fail("llama-server's vector is too short");
        at = end + strspn(end, ", ");
    }
}

static void compare_vectors(sides *s)
{
    static float floor_vector[DIMENSION_MAX], server_vector[DIMENSION_MAX];
    static char answer[1 << 17];
    char text[512], body[640];
    const char *texts[1] = {text};
    input_text(next_texts(s, 1), text, sizeof text);
    submit(s);
    while (s->finished < 1) uv_run(&s->host.loop, UV_RUN_ONCE);
    size_t dimension = bare_embed(s->floor, texts, 1, floor_vector);
    double same = cosine(s->vector, floor_vector, dimension), same_server = 1;
    if (s->args->server) {
        snprintf(body, sizeof body, "{\"input\": \"%s\"}", text);
        if (http_once(&s->servers[SERVER], "POST", "/v1/embeddings", body, NULL, answer, sizeof answer, NULL) != 200)
            bench_fail("llama-server: %.300s", answer);
        read_vector(answer, server_vector, dimension);
        same_server = cosine(s->vector, server_vector, dimension);
    }
    if (same < 0.999 || same_server < 0.999) bench_fail("the sides do not compute the same: cosine %f to bare, %f to llama-server", same, same_server);
}

/* ---- rows ---- */

static double measure(sides *s, int side)
{
    if (side == OURS) return ours(s);
    if (side == BARE) return bare_loop(s);
    return s->servers[side].pid > 0 ? run_server(s, side) : NAN;
}

static void measure_all(sides *s)
{
    const bench_args *args = s->args;
    bench_row rows[3];
    int passive_won = 0, row_count = args->server_same ? 3 : args->server ? 2 : 1;
    bench_row_init(&rows[0], "embed", "texts/s", "bare llama.cpp, batches of 32", "ratio >= 0.95", "texts_per_s_vs_bare");
    bench_row_init(&rows[1], "embed", "texts/s", "llama-server, 32 slots", "ratio >= 1.2", "texts_per_s_vs_server");
    bench_row_init(&rows[2], "embed", "texts/s", "llama-server, the same CPU modules", "none", "texts_per_s_vs_server_same");
    for (int round = -1; round < args->rounds; round++) { /* the first one warms up */
        double figures[SIDES];
        for (int i = 0; i < SIDES; i++) {
            int side = (i + round + SIDES) % SIDES;
            figures[side] = measure(s, side);
        }
        if (round < 0) continue;
        bench_row_add(&rows[0], figures[OURS], figures[BARE]);
        bench_row_add(&rows[1], figures[OURS], fmax(figures[SERVER], figures[SERVER_PASSIVE]));
        bench_row_add(&rows[2], figures[OURS], fmax(figures[SAME], figures[SAME_PASSIVE]));
        passive_won += figures[SERVER_PASSIVE] > figures[SERVER];
    }
    for (int i = 0; i < row_count; i++) bench_row_print(args, &rows[i]);
    if (args->server) bench_note(args, "llama-server was faster with passive waiting in %d of %d rounds", passive_won, args->rounds);
}

int main(int argc, char **argv)
{
    bench_args args;
    sides s = {.args = &args};
    cadre_llama_options options = CADRE_LLAMA_OPTIONS_INIT;
    bench_parse(&args, argc, argv);
    options.path = engine_need(args.minilm, "--minilm");
    engine_open(&s.host, &args, NULL);
    engine_spawn(&s.host, &args, &options, CADRE_TEXT_EMBEDDING);
    engine_wait_ready(&s.host);
    s.floor = bare_open(args.minilm, CLIENTS, TEXT_TOKENS, args.threads, 1, 0);
    for (int side = SERVER; side < SIDES; side++) s.servers[side] = start_server(&args, side);
    bench_note(&args, "%d engine threads on every side", args.threads);
    if (!args.server) bench_note(&args, "no llama-server: no row against it");
    compare_vectors(&s);
    measure_all(&s);
    for (int side = SERVER; side < SIDES; side++) server_stop(&s.servers[side]);
    bare_close(s.floor);
    engine_close(&s.host);
    bench_finish(&args);
    return 0;
}
