#include "chat.h"

#include <llama.h>

static const char *path_in(const char *variable)
{
    const char *path = getenv(variable);
    if (!path || !*path) fail_msg("%s must name a file: sh examples/weights.sh fetches it", variable);
    return path;
}

const char *smollm2(void)
{
    return path_in("CADRE_TEST_SMOLLM2");
}

const char *minilm(void)
{
    return path_in("CADRE_TEST_MINILM");
}

static void on_stat(uv_fs_t *fs)
{
    uv_fs_req_cleanup(fs);
}

fixture *chat_begin(void)
{
    uv_loop_t loop;
    uv_fs_t fs;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(uv_fs_stat(&loop, &fs, "/", on_stat), 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    options.memory_bytes = INT64_C(1) << 30;
    return fixture_begin_with(&options);
}

/* ---- spawning ---- */

cadre_llama_options chat_options(const char *path)
{
    cadre_llama_options options = CADRE_LLAMA_OPTIONS_INIT;
    options.path = path;
    options.threads = 1;
    options.context_length = 512;
    return options;
}

static void on_settled(cadre_pool *pool, cadre_worker_id worker, int status, const char *detail, void *data)
{
    spawned *to = data;
    (void)pool;
    (void)worker;
    to->status = status;
    snprintf(to->detail, sizeof to->detail, "%s", detail);
    to->settled++;
}

void chat_spawn_text(fixture *fx, spawned *worker, const char *key, const cadre_llama_options *options, cadre_weights_future *weights)
{
    cadre_text_to_text_loader loader;
    memset(worker, 0, sizeof *worker);
    assert_status(weights ? cadre_llama_text_to_text_shared(weights, options, &loader) : cadre_llama_text_to_text(options, &loader), 0);
    assert_status(cadre_spawn_text_to_text(fx->pool, key, &loader, NULL, NULL, on_settled, worker, &worker->id), 0);
    run_until_int(fx, &worker->settled, 1);
}

void chat_spawn_embedding(fixture *fx, spawned *worker, const char *key, const cadre_llama_options *options, cadre_weights_future *weights)
{
    cadre_text_embedding_loader loader;
    memset(worker, 0, sizeof *worker);
    assert_status(weights ? cadre_llama_text_embedding_shared(weights, options, &loader) : cadre_llama_text_embedding(options, &loader), 0);
    assert_status(cadre_spawn_text_embedding(fx->pool, key, &loader, NULL, NULL, on_settled, worker, &worker->id), 0);
    run_until_int(fx, &worker->settled, 1);
}

cadre_model_info chat_info(fixture *fx, const char *key)
{
    cadre_model_info info = CADRE_MODEL_INFO_INIT;
    assert_status(cadre_model_get_info(fx->pool, key, &info), 0);
    return info;
}

typedef struct quiet {
    fixture *fx;
    const char *key;
} quiet;

static bool is_quiet(void *data)
{
    quiet *of = data;
    cadre_model_info info = chat_info(of->fx, of->key);
    return info.queued + info.running + info.abandoned == 0;
}

void chat_until_quiet(fixture *fx, const char *key)
{
    quiet of = {fx, key};
    run_until(fx, is_quiet, &of);
}

/* ---- asking ---- */

void chat_on_text(cadre_request *request, const char *text, size_t length)
{
    reply *r = cadre_request_data(request);
    if (r->done || r->length + length >= sizeof r->text) {
        fixture_fault(r->fx, "a piece after the end, or too much text");
        return;
    }
    memcpy(r->text + r->length, text, length);
    r->length += length;
    r->text[r->length] = '\0';
    if (++r->pieces == r->cancel_at && cadre_request_cancel(cadre_request_pool(request), r->id) != 0) fixture_fault(r->fx, "cancelling");
}

void chat_on_done(cadre_request *request, int status, const cadre_generation *result)
{
    reply *r = cadre_request_data(request);
    r->status = status;
    snprintf(r->detail, sizeof r->detail, "%s", cadre_request_detail(request));
    if (result) r->usage = *result;
    r->done++;
}

cadre_generate_params chat_question(const char *key, const char *text, int32_t max_tokens)
{
    cadre_generate_params params = CADRE_GENERATE_PARAMS_INIT;
    params.key = key;
    params.text = text;
    params.sampling.temperature = 0;
    params.sampling.max_tokens = max_tokens;
    return params;
}

void chat_reply_begin(fixture *fx, reply *r)
{
    int cancel_at = r->cancel_at;
    memset(r, 0, sizeof *r);
    r->fx = fx;
    r->cancel_at = cancel_at;
}

void chat_reply_started(reply *r, int rc)
{
    if (rc == 0) return;
    r->status = rc;
    snprintf(r->detail, sizeof r->detail, "%s", cadre_pool_error_detail(r->fx->pool));
    r->done = 1;
}

void chat_ask(fixture *fx, reply *r, cadre_generate_params *params)
{
    chat_reply_begin(fx, r);
    params->on_text = chat_on_text;
    params->on_done = chat_on_done;
    params->data = r;
    chat_reply_started(r, cadre_generate(fx->pool, params, &r->id));
}

void chat_until_replied(fixture *fx, reply *replies, size_t count)
{
    for (size_t i = 0; i < count; i++) run_until_int(fx, &replies[i].done, 1);
}

void chat_ask_and_wait(fixture *fx, reply *r, cadre_generate_params *params)
{
    chat_ask(fx, r, params);
    chat_until_replied(fx, r, 1);
}

/* ---- files that are none ---- */

void chat_bad_file(const bad_file *bad)
{
    static char buffer[1 << 16];
    FILE *from = fopen(minilm(), "rb"), *to = fopen(bad->name, "wb");
    assert_non_null(from);
    assert_non_null(to);
    for (size_t at = 0; at < bad->bytes;) {
        size_t count = fread(buffer, 1, bad->bytes - at < sizeof buffer ? bad->bytes - at : sizeof buffer, from);
        assert_true(count > 0);
        for (size_t i = 0; i < count; i++) {
            if (at + i >= bad->spoilt_from && at + i < bad->spoilt_from + 64) buffer[i] = 0;
        }
        assert_size(fwrite(buffer, 1, count, to), count);
        at += count;
    }
    fclose(from);
    fclose(to);
}

/* ---- the engine alone ---- */

typedef struct bare_loop {
    const struct llama_vocab *vocab;
    struct llama_context *context;
    struct llama_batch batch;
    int32_t token_count;
    llama_pos position[BARE_MAX];
    llama_token next[BARE_MAX];
    int32_t output[BARE_MAX];
    bool ended[BARE_MAX];
} bare_loop;

static void bare_add(bare_loop *loop, size_t sequence, llama_token token, bool output)
{
    int32_t i = loop->batch.n_tokens++;
    loop->batch.token[i] = token;
    loop->batch.pos[i] = loop->position[sequence]++;
    loop->batch.n_seq_id[i] = 1;
    loop->batch.seq_id[i][0] = (llama_seq_id)sequence;
    loop->batch.logits[i] = output;
    if (output) loop->output[sequence] = i;
}

static void bare_prompt(bare_loop *loop, size_t sequence, const char *text)
{
    char prompt[1024];
    llama_token tokens[256];
    struct llama_chat_message message = {"user", text};
    const char *template = llama_model_chat_template(llama_get_model(loop->context), NULL);
    int32_t length = llama_chat_apply_template(template, &message, 1, true, prompt, sizeof prompt);
    assert_in_range(length, 1, sizeof prompt - 1);
    int32_t count = llama_tokenize(loop->vocab, prompt, length, tokens, COUNT(tokens), true, true);
    assert_in_range(count, 1, COUNT(tokens));
    for (int32_t i = 0; i < count; i++) bare_add(loop, sequence, tokens[i], i == count - 1);
}

static llama_token bare_likeliest(bare_loop *loop, size_t sequence)
{
    const float *logits = llama_get_logits_ith(loop->context, loop->output[sequence]);
    llama_token best = 0;
    for (llama_token token = 1; token < loop->token_count; token++) {
        if (logits[token] > logits[best]) best = token;
    }
    return best;
}

static void bare_take(bare_loop *loop, bare *out, size_t sequence, uint32_t max_tokens)
{
    llama_token token = bare_likeliest(loop, sequence);
    loop->ended[sequence] = llama_vocab_is_eog(loop->vocab, token);
    if (loop->ended[sequence]) return;
    size_t used = strlen(out->text[sequence]);
    int32_t length = llama_token_to_piece(loop->vocab, token, out->text[sequence] + used, (int32_t)(sizeof out->text[0] - used - 1), 0, false);
    assert_true(length >= 0);
    out->text[sequence][used + (size_t)length] = '\0';
    loop->next[sequence] = token;
    loop->ended[sequence] = ++out->generated[sequence] == max_tokens;
}

static void bare_decode(bare_loop *loop, bare *out, size_t count, uint32_t max_tokens)
{
    while (loop->batch.n_tokens > 0) {
        assert_int_equal(llama_decode(loop->context, loop->batch), 0);
        out->decodes++;
        for (size_t i = 0; i < count; i++) {
            if (!loop->ended[i]) bare_take(loop, out, i, max_tokens);
        }
        loop->batch.n_tokens = 0;
        for (size_t i = 0; i < count; i++) {
            if (!loop->ended[i]) bare_add(loop, i, loop->next[i], true);
        }
    }
}

void bare_run(bare *out, const char *const *questions, size_t count, uint32_t slots, uint32_t context_length, uint32_t max_tokens)
{
    struct llama_context_params params = llama_context_default_params();
    struct llama_model *model = llama_model_load_from_file(smollm2(), llama_model_default_params());
    assert_non_null(model);
    params.n_ctx = context_length * slots;
    params.n_seq_max = slots;
    params.n_batch = params.n_ubatch = 512;
    params.n_threads = params.n_threads_batch = 1;
    bare_loop loop = {.vocab = llama_model_get_vocab(model), .context = llama_init_from_model(model, params)};
    assert_non_null(loop.context);
    loop.batch = llama_batch_init(512, 0, 1);
    loop.token_count = llama_vocab_n_tokens(loop.vocab);
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < count; i++) bare_prompt(&loop, i, questions[i]);
    bare_decode(&loop, out, count, max_tokens);
    llama_batch_free(loop.batch);
    llama_free(loop.context);
    llama_model_free(model);
}
