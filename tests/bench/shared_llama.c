#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* dladdr */
#endif
#include "engine.h"
#include "inputs.h"
#include "shared.h"

#include <dlfcn.h>
#include <ggml-backend.h>
#include <llama.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS 4
#define CONTEXT 1024
#define BATCH 512
#define PROMPTS 24 /* sentences in a prompt: together more than a batch */

/* A copy that no other process maps: pages that are shared with others count in part. */
static const char *own_copy(const bench_args *args, char *path, size_t size)
{
    static char piece[1 << 20];
    size_t got;
    snprintf(path, size, "%s/shared.gguf", args->folder);
    FILE *from = fopen(args->smollm2, "rb"), *to = fopen(path, "wb");
    if (!from || !to) bench_fail("cannot copy %s to %s", args->smollm2, path);
    while ((got = fread(piece, 1, sizeof piece, from)) > 0)
        if (fwrite(piece, 1, got, to) != got) bench_fail("cannot write %s", path);
    fclose(from);
    if (fclose(to) != 0) bench_fail("cannot write %s", path);
    return path;
}

static void long_prompt(size_t number, char *buffer, size_t size)
{
    size_t have = 0;
    for (size_t i = 0; i < PROMPTS; i++) {
        if (size - have < 256) bench_fail("a prompt does not fit");
        input_prompt(number * PROMPTS + i, buffer + have, size - have);
        have += strlen(buffer + have);
        buffer[have++] = i + 1 < PROMPTS ? '\n' : '\0';
    }
}

/* ---- ours ---- */

static void on_done(cadre_request *request, int status, const cadre_generation *result)
{
    if (status < 0) bench_fail("a request failed: %s (%s)", cadre_err_name(status), cadre_request_detail(request));
    if (result->prompt_tokens < BATCH) bench_fail("a prompt has only %u tokens", result->prompt_tokens);
    *(int *)cadre_request_data(request) = 1;
}

static void ask(engine_host *host, const char *key, size_t number)
{
    char prompt[8192];
    int done = 0;
    cadre_generate_params params = CADRE_GENERATE_PARAMS_INIT;
    long_prompt(number, prompt, sizeof prompt);
    params.key = key;
    params.text = prompt;
    params.raw = 1;
    params.sampling.temperature = 0;
    params.sampling.max_tokens = 8;
    params.on_done = on_done;
    params.data = &done;
    int rc = cadre_generate(host->pool, &params, NULL);
    if (rc != 0) bench_fail("cadre_generate: %s (%s)", cadre_err_name(rc), cadre_pool_error_detail(host->pool));
    while (!done) uv_run(&host->loop, UV_RUN_ONCE);
}

static double charged(const engine_host *host)
{
    cadre_memory_usage usage = CADRE_MEMORY_USAGE_INIT;
    int rc = cadre_memory_get_usage(host->pool, CADRE_DEVICE_HOST, &usage);
    if (rc != 0) bench_fail("cadre_memory_get_usage: %s", cadre_err_name(rc));
    return (double)usage.charged_bytes / 1048576;
}

static void add_worker(engine_host *host, cadre_weights_future *weights, const cadre_llama_options *options, const char *key, uint64_t bytes)
{
    cadre_text_to_text_loader loader;
    cadre_reservation *room = NULL;
    cadre_memory_amount amount = {CADRE_DEVICE_HOST, bytes};
    cadre_spawn_options spawn = engine_spawning(host);
    int rc = cadre_memory_try_reserve(host->pool, &amount, 1, &room);
    if (rc == 0) rc = cadre_llama_text_to_text_shared(weights, options, &loader);
    if (rc == 0) rc = cadre_spawn_text_to_text(host->pool, key, &loader, room, &spawn, engine_on_ready, host, NULL);
    engine_spawned(host, rc);
    engine_wait_ready(host);
}

void shared_llama_ours(const bench_args *args, shared_sample *out)
{
    engine_host host;
    cadre_llama_options options = CADRE_LLAMA_OPTIONS_INIT;
    cadre_weights_future *weights;
    char path[1024];
    uint64_t weights_bytes, context_bytes;
    double after_first = 0;
    options.path = own_copy(args, path, sizeof path);
    options.engine_path = args->engine;
    options.slots = SLOTS;
    options.context_length = CONTEXT;
    options.batch_tokens = BATCH;
    engine_open(&host, args, NULL);
    int rc = cadre_llama_estimate(&options, &weights_bytes, &context_bytes);
    if (rc == 0) rc = cadre_llama_weights(host.pool, &options, NULL, &weights);
    if (rc != 0) bench_fail("loading the weights: %s (%s)", cadre_err_name(rc), cadre_pool_error_detail(host.pool));
    for (int i = 0; i < SHARED_WORKERS; i++) {
        char key[24];
        snprintf(key, sizeof key, "model-%d", i);
        add_worker(&host, weights, &options, key, context_bytes);
        ask(&host, key, (size_t)i);
        out->pss[i] = shared_pss();
        if (i == 0) after_first = charged(&host);
    }
    out->own = (charged(&host) - after_first) / (SHARED_WORKERS - 1);
}

/* ---- bare ---- */

/* "llama_kv_cache:        CPU KV buffer size =   360.00 MiB": what a context consists of. */
static void on_log(enum ggml_log_level level, const char *text, void *data)
{
    static const char size_is[] = " buffer size = ";
    const char *at = strstr(text, size_is);
    (void)level;
    if (at) *(double *)data += strtod(at + sizeof size_is - 1, NULL);
}

static void load_modules(const bench_args *args)
{
    Dl_info info;
    char folder[4096];
    const char *slash = dladdr(llama_version(), &info) && info.dli_fname ? strrchr(info.dli_fname, '/') : NULL;
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - info.dli_fname) : 1, slash ? info.dli_fname : ".");
    ggml_backend_load_all_from_path(args->engine ? args->engine : folder);
    llama_backend_init();
}

static void decode(struct llama_context *context, const struct llama_vocab *vocab, size_t number)
{
    char prompt[8192];
    llama_token tokens[2 * CONTEXT];
    long_prompt(number, prompt, sizeof prompt);
    int32_t count = llama_tokenize(vocab, prompt, (int32_t)strlen(prompt), tokens, 2 * CONTEXT, true, true);
    if (count < BATCH) bench_fail("llama_tokenize: %d", (int)count);
    if (llama_decode(context, llama_batch_get_one(tokens, BATCH)) != 0) bench_fail("llama_decode failed");
}

void shared_llama_bare(const bench_args *args, shared_sample *out)
{
    double named = 0;
    char path[1024];
    llama_log_set(on_log, &named);
    load_modules(args);
    struct llama_model *model = llama_model_load_from_file(own_copy(args, path, sizeof path), llama_model_default_params());
    if (!model) bench_fail("llama.cpp cannot load %s", args->smollm2);
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = SLOTS * CONTEXT;
    params.n_seq_max = SLOTS;
    params.n_batch = params.n_ubatch = BATCH;
    params.n_outputs_max = SLOTS;
    params.kv_unified = false;
    params.n_threads = params.n_threads_batch = args->threads;
    for (int i = 0; i < SHARED_WORKERS; i++) {
        named = 0;
        struct llama_context *context = llama_init_from_model(model, params);
        if (!context) bench_fail("llama.cpp makes no context");
        out->own = named;
        decode(context, llama_model_get_vocab(model), (size_t)i);
        out->pss[i] = shared_pss();
    }
}
