#include "texts.h"

#include "inputs.h"

#include <cadre/llama.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define UNLOAD_SECONDS 30

const char *texts_name(int index, char buffer[24])
{
    snprintf(buffer, 24, "model-%d", index);
    return buffer;
}

static void link_file(const bench_args *args, int index, char *path, size_t size)
{
    char name[24], file[4096];
    if (!args->smollm2 || !realpath(args->smollm2, file)) bench_fail("this case needs --smollm2");
    int length = snprintf(path, size, "%s/%s.gguf", args->folder, texts_name(index, name));
    if (length < 0 || (size_t)length >= size) bench_fail("a path is too long");
    unlink(path);
    if (symlink(file, path) != 0 && errno != EEXIST) bench_fail("cannot make the link %s: %s", path, strerror(errno));
}

/* ---- ours ---- */

static cadre_llama_options options_of(const bench_args *args)
{
    cadre_llama_options options = CADRE_LLAMA_OPTIONS_INIT;
    options.path = args->smollm2;
    options.slots = TEXTS_SLOTS;
    options.context_length = TEXTS_CONTEXT;
    return options;
}

void texts_open(models_host *host, const bench_args *args, int room, uint64_t *budget)
{
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    if (!args->smollm2) bench_fail("this case needs --smollm2");
    if (room > 0) {
        cadre_llama_options llama = options_of(args);
        uint64_t weights, context;
        int rc = cadre_llama_estimate(&llama, &weights, &context);
        if (rc != 0) bench_fail("cadre_llama_estimate: %s", cadre_err_name(rc));
        options.memory_bytes = (int64_t)((weights + context) * (uint64_t)room + (weights + context) / 4);
        if (budget) *budget = (uint64_t)options.memory_bytes;
    }
    models_open(host, &options);
    int rc = cadre_backend_register(host->pool, cadre_llama_backend());
    if (rc != 0) bench_fail("cadre_backend_register: %s", cadre_err_name(rc));
}

void texts_add(models_host *host, const bench_args *args, int index, int queue_capacity)
{
    char name[24], path[2048], options[8192];
    cadre_entry entry = CADRE_ENTRY_INIT;
    link_file(args, index, path, sizeof path);
    int length = snprintf(options, sizeof options, "{\"path\": \"%s\", \"slots\": %d, \"context_length\": %d%s%s%s}", path, TEXTS_SLOTS, TEXTS_CONTEXT,
                          args->engine ? ", \"engine_path\": \"" : "", args->engine ? args->engine : "", args->engine ? "\"" : "");
    if (length < 0 || (size_t)length >= sizeof options) bench_fail("a path is too long");
    entry.key = texts_name(index, name);
    entry.capability = CADRE_TEXT_TO_TEXT;
    entry.backend = "llama";
    entry.options = options;
    entry.queue_capacity = queue_capacity;
    models_add(host, &entry, NULL);
}

/* ---- llama-server ---- */

server router_start(const bench_args *args, const router_options *options)
{
    char preset[4096], path[2048], threads[16], context[16], slots[16], most[16], name[24];
    const char *arguments[24] = {"--models-preset", preset, "--models-max", most, "-c", context, "-np", slots, "--no-ui"};
    size_t count = 9;
    snprintf(preset, sizeof preset, "%s/models.ini", args->folder);
    FILE *file = fopen(preset, "w");
    if (!file || fprintf(file, "version = 1\n") < 0) bench_fail("cannot write %s", preset);
    for (int i = 0; i < options->models; i++) {
        link_file(args, i, path, sizeof path);
        fprintf(file, "\n[%s]\nmodel = %s\n", texts_name(i, name), path);
    }
    if (fclose(file) != 0) bench_fail("cannot write %s", preset);
    snprintf(most, sizeof most, "%d", options->models_max);
    snprintf(context, sizeof context, "%d", TEXTS_SLOTS * TEXTS_CONTEXT);
    snprintf(slots, sizeof slots, "%d", TEXTS_SLOTS);
    snprintf(threads, sizeof threads, "%d", options->threads);
    if (options->threads > 0) {
        arguments[count++] = "-t";
        arguments[count++] = threads;
    }
    if (options->no_warmup) arguments[count++] = "--no-warmup";
    if (options->passive) {
        arguments[count++] = "--poll";
        arguments[count++] = "0";
    }
    return server_start(args->server, arguments, options->passive, args->folder);
}

const char *routers_name(int index)
{
    static const char *const names[ROUTERS] = {"its defaults", "one thread each", "passive waiting"};
    return names[index];
}

void routers_open(router_set *r, const bench_args *args, int models, int models_max)
{
    *r = (router_set){.args = args, .models = models};
    if (!args->server) return;
    for (; r->count < ROUTERS; r->count++) {
        router_options options = {.models = models, .models_max = models_max, .threads = r->count == 1, .no_warmup = r->count > 0, .passive = r->count == 2};
        r->servers[r->count] = router_start(args, &options);
    }
}

int routers_has(const router_set *r, int index)
{
    return index < r->count && r->servers[index].pid > 0;
}

void routers_keep(router_set *r, const double ms[ROUTERS])
{
    double best = NAN;
    for (int i = 0; i < r->count; i++) best = fmin(best, ms[i]);
    for (int i = 0; i < r->count; i++) {
        if (!routers_has(r, i)) continue;
        bench_note(r->args, "llama-server with %s, once: %.0f ms%s", routers_name(i), ms[i], ms[i] > 2 * best ? ", left out of the rounds" : "");
        if (ms[i] > 2 * best) server_stop(&r->servers[i]);
    }
}

void routers_close(router_set *r)
{
    for (int i = 0; i < r->count; i++) server_stop(&r->servers[i]);
}

void router_ask(const server *router, const char *verb, const char *name)
{
    char path[64], body[64], answer[4096];
    snprintf(path, sizeof path, "/models/%s", verb);
    snprintf(body, sizeof body, "{\"model\": \"%s\"}", name);
    http_once(router, "POST", path, body, NULL, answer, sizeof answer, NULL);
}

int router_count(const server *router, const char *state)
{
    static _Thread_local char answer[65536];
    char text[64];
    int count = 0;
    if (http_once(router, "GET", "/models", "", NULL, answer, sizeof answer, NULL) != 200) bench_fail("llama-server: %.300s", answer);
    snprintf(text, sizeof text, "\"status\":{\"value\":\"%s\"", state);
    for (const char *at = answer; (at = strstr(at, text)); at++) count++;
    return count;
}

void router_empty(const server *router, int models)
{
    char name[24];
    uint64_t start = bench_now_ns();
    for (int i = 0; i < models; i++) router_ask(router, "unload", texts_name(i, name));
    while (router_count(router, "unloaded") < models) {
        if (bench_now_ns() - start > UNLOAD_SECONDS * 1000000000ull) bench_fail("llama-server does not unload");
        nanosleep(&(struct timespec){0, 50000000}, NULL); /* between two questions */
    }
}

/* ---- requests ---- */

typedef struct ours {
    models_host *host;
    texts_batch *batch;
    size_t sent;
} ours;

static void send_one(ours *o);

static void on_done(cadre_request *request, int status, const cadre_generation *result)
{
    ours *o = cadre_request_data(request);
    if (status < 0) bench_fail("a request failed: %s (%s)", cadre_err_name(status), cadre_request_detail(request));
    o->batch->answered++;
    o->batch->generated += result->generated_tokens;
    if (o->sent < o->batch->count) send_one(o);
}

static void send_one(ours *o)
{
    char prompt[256], name[24];
    cadre_generate_params params = CADRE_GENERATE_PARAMS_INIT;
    size_t index = o->sent++;
    input_prompt(o->batch->number + index, prompt, sizeof prompt);
    params.key = texts_name((int)index % o->batch->models, name);
    params.text = prompt;
    params.raw = 1;
    params.sampling.temperature = 0;
    params.sampling.max_tokens = o->batch->tokens;
    params.on_done = on_done;
    params.data = o;
    int rc = cadre_generate(o->host->pool, &params, NULL);
    if (rc != 0) bench_fail("cadre_generate: %s (%s)", cadre_err_name(rc), cadre_pool_error_detail(o->host->pool));
}

static void begin(texts_batch *batch)
{
    batch->answered = batch->generated = 0;
    batch->number += batch->count;
}

double texts_ours(models_host *host, texts_batch *batch)
{
    ours o = {host, batch, 0};
    size_t clients = batch->clients ? (size_t)batch->clients : batch->count;
    begin(batch);
    uint64_t start = bench_now_ns();
    while (o.sent < clients) send_one(&o);
    while (batch->answered < batch->count) uv_run(&host->loop, UV_RUN_ONCE);
    return (double)(bench_now_ns() - start) / 1e6;
}

static void router_body(size_t index, void *data, char *buffer, size_t size)
{
    char prompt[256], name[24];
    const texts_batch *batch = data;
    input_prompt(batch->number + index, prompt, sizeof prompt);
    snprintf(buffer, size, "{\"model\": \"%s\", \"prompt\": \"%s\", \"max_tokens\": %d, \"temperature\": 0}", texts_name((int)index % batch->models, name),
             prompt, batch->tokens);
}

static void router_answer(size_t index, const char *body, size_t length, void *data)
{
    texts_batch *batch = data;
    const char *count = strstr(body, "\"completion_tokens\":");
    (void)index, (void)length;
    if (!count) bench_fail("llama-server does not say how many tokens it made: %.200s", body);
    batch->answered++;
    batch->generated += strtoul(count + strlen("\"completion_tokens\":"), NULL, 10);
}

double texts_router(const server *router, texts_batch *batch)
{
    int clients = batch->clients ? batch->clients : (int)batch->count;
    http_requests requests = {"/v1/completions", clients, batch->count, router_body, router_answer, batch};
    begin(batch);
    return (double)http_run(router, &requests) / 1e6;
}
