/* The llama.cpp backend on the real engine: the tokens of the bare engine, decodes that requests share, prefixes that are kept, cancels that are heard, vectors
 * that are the model's, and bad input that is an error with a text. */
#define TESTS_llama(X)                                                                                                                                         \
    X(greedy_text_is_the_bare_engines_alone_and_among_seven_others)                                                                                            \
    X(eight_requests_share_their_decodes)                                                                                                                      \
    X(a_prompts_beginning_is_kept)                                                                                                                             \
    X(a_cancel_stops_a_generation_within_a_step)                                                                                                               \
    X(a_cancel_stops_a_running_decode_and_the_worker_goes_on)                                                                                                  \
    X(the_same_seed_gives_the_same_text)                                                                                                                       \
    X(stop_strings_limits_and_grammars_end_an_answer)                                                                                                          \
    X(a_full_context_ends_an_answer)                                                                                                                           \
    X(workers_share_weights)                                                                                                                                   \
    X(a_hosts_own_loader_makes_the_model)                                                                                                                      \
    X(vectors_are_the_references)                                                                                                                              \
    X(long_texts_are_refused_or_cut)                                                                                                                           \
    X(bad_files_are_errors_with_a_text)                                                                                                                        \
    X(the_wrong_capability_is_refused)                                                                                                                         \
    X(a_stopped_load_is_heard)                                                                                                                                 \
    X(bad_requests_are_errors_and_the_worker_goes_on)                                                                                                          \
    X(bad_options_are_refused)                                                                                                                                 \
    X(the_estimate_is_near)

#include "chat.h"
#include "reference/minilm.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const questions[] = {"Name three colours.",   "What is the capital of France?", "Write a haiku about the sea.", "Count from one to ten.",
                                        "Who was Ada Lovelace?", "Explain rain to a child.",       "Say hello in Spanish.",        "What is 2+2?"};
#define QUESTIONS COUNT(questions)

static reply replies[QUESTIONS]; /* they hold whole answers */

static cadre_llama_options eight_slots(void)
{
    cadre_llama_options options = chat_options(smollm2());
    options.slots = QUESTIONS;
    return options;
}

static void assert_as_bare(const reply *r, const bare *expected, size_t i)
{
    assert_status(r->status, 0);
    assert_string_equal(r->text, expected->text[i]);
    assert_int_equal(r->usage.generated_tokens, expected->generated[i]);
}

/* ---- generating ---- */

static void greedy_text_is_the_bare_engines_alone_and_among_seven_others(void **state)
{
    (void)state;
    static bare alone, together;
    fixture *fx = fixture_begin();
    cadre_llama_options options = eight_slots();
    spawned worker;
    chat_spawn_text(fx, &worker, "chat", &options, NULL);
    assert_status(worker.status, 0);
    bare_run(&together, questions, QUESTIONS, QUESTIONS, 512, 48);
    for (size_t i = 0; i < QUESTIONS; i++) {
        cadre_generate_params params = chat_question("chat", questions[i], 48);
        chat_ask(fx, &replies[i], &params);
    }
    chat_until_replied(fx, replies, QUESTIONS);
    for (size_t i = 0; i < QUESTIONS; i++) {
        row("%s", questions[i]);
        assert_as_bare(&replies[i], &together, i);
    }
    /* A fresh worker: nothing is kept from the others, as in the bare engine. */
    chat_spawn_text(fx, &worker, "alone", &options, NULL);
    assert_status(worker.status, 0);
    bare_run(&alone, &questions[4], 1, QUESTIONS, 512, 48);
    cadre_generate_params params = chat_question("alone", questions[4], 48);
    chat_ask_and_wait(fx, &replies[0], &params);
    assert_as_bare(&replies[0], &alone, 0);
    fixture_end(fx);
}

static void eight_requests_share_their_decodes(void **state)
{
    (void)state;
    static bare expected;
    fixture *fx = fixture_begin();
    cadre_llama_options options = eight_slots();
    spawned worker;
    chat_spawn_text(fx, &worker, "chat", &options, NULL);
    for (size_t i = 0; i < QUESTIONS; i++) {
        cadre_generate_params params = chat_question("chat", questions[i], 48);
        chat_ask(fx, &replies[i], &params);
    }
    chat_until_replied(fx, replies, QUESTIONS);
    bare_run(&expected, questions, QUESTIONS, QUESTIONS, 512, 48);
    assert_int_equal(chat_info(fx, "chat").operations, expected.decodes);
    fixture_end(fx);
}

static void a_prompts_beginning_is_kept(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    cadre_llama_options options = eight_slots();
    spawned worker;
    chat_spawn_text(fx, &worker, "chat", &options, NULL);
    cadre_generate_params params = chat_question("chat", questions[0], 16);
    chat_ask_and_wait(fx, &replies[0], &params);
    assert_int_equal(replies[0].usage.cached_tokens, 0);
    /* The same again: all but the token whose logits are needed. */
    chat_ask_and_wait(fx, &replies[1], &params);
    assert_int_equal(replies[1].usage.cached_tokens, replies[0].usage.prompt_tokens - 1);
    assert_string_equal(replies[1].text, replies[0].text);
    /* The chat goes on: its beginning, and the answer. */
    const cadre_chat_message messages[] = {{"user", questions[0]}, {"assistant", replies[0].text}, {"user", "And two more?"}};
    params = chat_question("chat", NULL, 16);
    params.messages = messages;
    params.message_count = COUNT(messages);
    chat_ask_and_wait(fx, &replies[2], &params);
    assert_status(replies[2].status, 0);
    assert_true(replies[2].usage.cached_tokens >= replies[0].usage.prompt_tokens);
    /* Another one has only what the template begins with. */
    params = chat_question("chat", questions[5], 16);
    chat_ask_and_wait(fx, &replies[3], &params);
    assert_true(replies[3].usage.cached_tokens < replies[0].usage.prompt_tokens - 1);
    fixture_end(fx);
}

static void on_ready(cadre_pool *pool, cadre_worker_id worker, int status, const char *detail, void *data)
{
    (void)pool;
    (void)worker;
    (void)detail;
    *(int *)data = status == 0 ? 1 : 2;
}

/* With a window of one piece the worker is one step ahead of what was heard, and one more when the piece was taken while it stepped. */
static void a_cancel_stops_a_generation_within_a_step(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    cadre_llama_options options = chat_options(smollm2());
    cadre_spawn_options spawn = CADRE_SPAWN_OPTIONS_INIT;
    cadre_text_to_text_loader loader;
    int ready = 0;
    spawn.stream_window = 1;
    assert_status(cadre_llama_text_to_text(&options, &loader), 0);
    assert_status(cadre_spawn_text_to_text(fx->pool, "chat", &loader, NULL, &spawn, on_ready, &ready, NULL), 0);
    run_until_int(fx, &ready, 1);
    cadre_generate_params params = chat_question("chat", "Write a long story about a dragon.", 400);
    replies[0].cancel_at = 3;
    chat_ask_and_wait(fx, &replies[0], &params);
    replies[0].cancel_at = 0;
    assert_status(replies[0].status, CADRE_ECANCELED);
    chat_until_quiet(fx, "chat");
    assert_in_range(chat_info(fx, "chat").operations, 3, 5);
    chat_ask_and_wait(fx, &replies[1], &params);
    assert_status(replies[1].status, 0);
    assert_true(replies[1].usage.generated_tokens > 100);
    fixture_end(fx);
}

/* Cancels a request that its worker has, `later` turns of the loop after it was handed over. The loop must not wait for anything here: the next that it would
 * hear of is the answer. */
static void start_and_cancel(fixture *fx, cadre_generate_params *params, size_t later)
{
    chat_ask(fx, &replies[0], params);
    while (chat_info(fx, "chat").running == 0) fixture_turn(fx);
    for (size_t i = 0; i < later; i++) fixture_turn(fx);
    assert_status(cadre_request_cancel(fx->pool, replies[0].id), 0);
    chat_until_replied(fx, replies, 1);
    assert_status(replies[0].status, CADRE_ECANCELED);
    chat_until_quiet(fx, "chat");
}

/* The whole prompt is one decode. Stopped, it leaves nothing behind: the same prompt is not found there afterwards, and answers as it should. */
static void a_cancel_stops_a_running_decode_and_the_worker_goes_on(void **state)
{
    (void)state;
    static bare expected;
    static char prompt[8192];
    fixture *fx = fixture_begin();
    cadre_llama_options options = chat_options(smollm2());
    options.context_length = 2048;
    options.batch_tokens = 2048;
    options.slots = 1;
    spawned worker;
    chat_spawn_text(fx, &worker, "chat", &options, NULL);
    for (size_t i = 0; i < 1500; i++) memcpy(prompt + 5 * i, i % 2 ? "snow " : "rain ", 6);
    cadre_generate_params params = chat_question("chat", prompt, 1);
    params.raw = 1;
    /* Later and later, until the step had begun. */
    for (size_t later = 64; chat_info(fx, "chat").operations == 0; later *= 2) start_and_cancel(fx, &params, later);
    prompt[5 * 400] = '\0';
    chat_ask_and_wait(fx, &replies[1], &params);
    assert_status(replies[1].status, 0);
    assert_int_equal(replies[1].usage.cached_tokens, 0);
    params = chat_question("chat", questions[1], 32);
    chat_ask_and_wait(fx, &replies[2], &params);
    bare_run(&expected, &questions[1], 1, 1, 2048, 32);
    assert_as_bare(&replies[2], &expected, 0);
    fixture_end(fx);
}

static void the_same_seed_gives_the_same_text(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    cadre_llama_options options = chat_options(smollm2());
    options.slots = 1; /* the second finds the first one's cache */
    spawned worker;
    chat_spawn_text(fx, &worker, "chat", &options, NULL);
    cadre_generate_params params = chat_question("chat", "Invent a name for a boat.", 24);
    params.sampling.temperature = 1.2f;
    params.sampling.repeat_penalty = 1.1f;
    for (size_t i = 0; i < 4; i++) {
        params.sampling.seed = i < 3 ? 11 : 12;
        chat_ask_and_wait(fx, &replies[i], &params);
        assert_status(replies[i].status, 0);
    }
    assert_string_equal(replies[1].text, replies[2].text);
    assert_string_not_equal(replies[2].text, replies[3].text);
    fixture_end(fx);
}

static void stop_strings_limits_and_grammars_end_an_answer(void **state)
{
    (void)state;
    static const char *const stop[] = {"zebra", "capital of Fr"};
    fixture *fx = fixture_begin();
    cadre_llama_options options = chat_options(smollm2());
    spawned worker;
    chat_spawn_text(fx, &worker, "chat", &options, NULL);

    cadre_generate_params params = chat_question("chat", questions[1], 32);
    params.sampling.stop = stop;
    params.sampling.stop_count = COUNT(stop);
    chat_ask_and_wait(fx, &replies[0], &params);
    assert_status(replies[0].status, 0);
    assert_int_equal(replies[0].usage.finish, CADRE_FINISH_STOP);
    assert_string_equal(replies[0].text, "The ");

    params = chat_question("chat", questions[1], 3);
    chat_ask_and_wait(fx, &replies[0], &params);
    assert_int_equal(replies[0].usage.finish, CADRE_FINISH_LENGTH);
    assert_int_equal(replies[0].usage.generated_tokens, 3);
    assert_string_equal(replies[0].text, "The capital of");

    params = chat_question("chat", questions[1], 32);
    params.sampling.grammar = "root ::= \"Rome\" | \"Paris\" | \"Bern\"";
    for (int greedy = 0; greedy < 2; greedy++) {
        params.sampling.temperature = greedy ? 0.0f : 0.7f;
        chat_ask_and_wait(fx, &replies[0], &params);
        assert_status(replies[0].status, 0);
        assert_int_equal(replies[0].usage.finish, CADRE_FINISH_STOP);
        assert_true(strcmp(replies[0].text, "Paris") == 0 || (!greedy && strlen(replies[0].text) >= 4));
    }
    fixture_end(fx);
}

static void a_full_context_ends_an_answer(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    cadre_llama_options options = chat_options(smollm2());
    options.context_length = 64;
    spawned worker;
    chat_spawn_text(fx, &worker, "chat", &options, NULL);
    cadre_generate_params params = chat_question("chat", "1 2 3 4 5 6 7 8 9 10", CADRE_DEFAULT);
    params.raw = 1;
    chat_ask_and_wait(fx, &replies[0], &params);
    assert_status(replies[0].status, 0);
    assert_int_equal(replies[0].usage.finish, CADRE_FINISH_LENGTH);
    assert_int_equal(replies[0].usage.prompt_tokens + replies[0].usage.generated_tokens, 64);
    fixture_end(fx);
}

/* ---- loading ---- */

static void workers_share_weights(void **state)
{
    (void)state;
    static bare expected;
    fixture *fx = fixture_begin();
    cadre_llama_options options = chat_options(smollm2());
    options.slots = 1;
    cadre_weights_future *weights;
    spawned workers[2];
    assert_status(cadre_llama_weights(fx->pool, &options, NULL, &weights), 0);
    options.path = NULL;
    for (size_t i = 0; i < COUNT(workers); i++) {
        chat_spawn_text(fx, &workers[i], "chat", &options, weights);
        assert_status(workers[i].status, 0);
    }
    cadre_weights_future_release(weights);
    assert_int_equal(chat_info(fx, "chat").workers_ready, 2);
    for (size_t i = 0; i < QUESTIONS; i++) {
        cadre_generate_params params = chat_question("chat", questions[3], 24);
        chat_ask(fx, &replies[i], &params);
    }
    chat_until_replied(fx, replies, QUESTIONS);
    bare_run(&expected, &questions[3], 1, 1, 512, 24);
    for (size_t i = 0; i < QUESTIONS; i++) assert_as_bare(&replies[i], &expected, 0);
    fixture_end(fx);
}

static cadre_text_to_text_future *own_load(cadre_load_context *context, void *data)
{
    return cadre_text_to_text_load_blocking(context, NULL, cadre_llama_text_to_text_make, data);
}

static void a_hosts_own_loader_makes_the_model(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    cadre_llama_options options = chat_options(smollm2());
    cadre_text_to_text_loader loader = {sizeof loader, own_load, &options, NULL};
    int ready = 0;
    assert_status(cadre_spawn_text_to_text(fx->pool, "chat", &loader, NULL, NULL, on_ready, &ready, NULL), 0);
    run_until_int(fx, &ready, 1);
    assert_int_equal(ready, 1);
    cadre_generate_params params = chat_question("chat", questions[1], 32);
    chat_ask_and_wait(fx, &replies[0], &params);
    assert_string_equal(replies[0].text, "The capital of France is Paris.");
    fixture_end(fx);
}

static void bad_files_are_errors_with_a_text(void **state)
{
    (void)state;
    static const bad_file made[] = {{"bad-empty.gguf", 0, SIZE_MAX, "not a GGUF"},
                                    {"bad-magic.gguf", 4096, 0, "not a GGUF"},
                                    {"bad-keys.gguf", 1 << 20, 24, "damaged"},
                                    {"bad-header.gguf", 1000, SIZE_MAX, "damaged"},
                                    {"bad-short.gguf", 8 << 20, SIZE_MAX, "cut short"}};
    static const bad_file there[] = {{"no-such-file.gguf", 0, 0, "no such file"}, {".", 0, 0, "directory"}, {"/dev/null", 0, 0, "not a regular file"}};
    fixture *fx = fixture_begin();
    for (size_t i = 0; i < COUNT(made) + COUNT(there); i++) {
        const bad_file *bad = i < COUNT(made) ? &made[i] : &there[i - COUNT(made)];
        row("%s", bad->name);
        if (i < COUNT(made)) chat_bad_file(bad);
        cadre_llama_options options = chat_options(bad->name);
        spawned worker;
        chat_spawn_embedding(fx, &worker, "vectors", &options, NULL);
        assert_status(worker.status, CADRE_EFORMAT);
        assert_contains(worker.detail, bad->name);
        assert_contains(worker.detail, bad->says);
        uint64_t weights, context;
        assert_status(cadre_llama_estimate(&options, &weights, &context), CADRE_EFORMAT);
        if (i < COUNT(made)) unlink(bad->name);
    }
    fixture_end(fx);
}

static void the_wrong_capability_is_refused(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    cadre_llama_options chat = chat_options(smollm2()), vectors = chat_options(minilm());
    cadre_weights_future *chat_weights, *vector_weights;
    spawned worker;
    chat_spawn_text(fx, &worker, "a", &vectors, NULL);
    assert_status(worker.status, CADRE_ECAPABILITY);
    assert_contains(worker.detail, "bert");
    chat_spawn_embedding(fx, &worker, "b", &chat, NULL);
    assert_status(worker.status, CADRE_ECAPABILITY);
    assert_contains(worker.detail, "llama");
    assert_status(cadre_llama_weights(fx->pool, &chat, NULL, &chat_weights), 0);
    assert_status(cadre_llama_weights(fx->pool, &vectors, NULL, &vector_weights), 0);
    chat_spawn_text(fx, &worker, "c", &chat, vector_weights);
    assert_status(worker.status, CADRE_ECAPABILITY);
    chat_spawn_embedding(fx, &worker, "d", &vectors, chat_weights);
    assert_status(worker.status, CADRE_ECAPABILITY);
    cadre_weights_future_release(chat_weights);
    cadre_weights_future_release(vector_weights);
    /* Weights of somebody else's. */
    int other = 0;
    cadre_weights_value value = CADRE_WEIGHTS_VALUE_INIT;
    value.payload = &other;
    cadre_weights_future *foreign = cadre_weights_future_ready(fx->pool, &value);
    chat_spawn_text(fx, &worker, "e", &chat, foreign);
    assert_status(worker.status, CADRE_EINVAL);
    cadre_weights_future_release(foreign);
    fixture_end(fx);
}

static void stop_it(cadre_pool *pool, cadre_worker_id worker, const cadre_progress *progress, void *data)
{
    (void)progress;
    (void)data;
    (void)cadre_worker_stop(pool, worker);
}

static void note_end(cadre_pool *pool, cadre_worker_id worker, int status, const char *detail, void *data)
{
    (void)pool;
    (void)worker;
    (void)detail;
    *(int *)data = status < 0 ? -status : 1;
}

static void a_stopped_load_is_heard(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    cadre_llama_options options = chat_options(smollm2());
    options.use_mmap = 0;
    cadre_text_to_text_loader loader;
    cadre_spawn_options spawn = CADRE_SPAWN_OPTIONS_INIT;
    spawn.on_progress = stop_it;
    int ended = 0;
    assert_status(cadre_llama_text_to_text(&options, &loader), 0);
    assert_status(cadre_spawn_text_to_text(fx->pool, "chat", &loader, NULL, &spawn, note_end, &ended, NULL), 0);
    run_until_int(fx, &ended, 1);
    /* A load that is over before its first report has been heard ends well. */
    assert_true(ended == 1 || ended == -CADRE_ECANCELED);
    fixture_end(fx);
}

/* ---- vectors ---- */

typedef struct vectors {
    int done;
    int status;
    char detail[512];
    float values[COUNT(references) * REFERENCE_DIMENSION];
    size_t count;
    uint64_t tokens;
} vectors;

static void on_vectors(cadre_request *request, int status, const cadre_embeddings *result)
{
    vectors *v = cadre_request_data(request);
    v->status = status;
    snprintf(v->detail, sizeof v->detail, "%s", cadre_request_detail(request));
    if (result) {
        v->count = result->count;
        v->tokens = result->tokens;
        memcpy(v->values, result->values, result->count * result->dimension * sizeof(float));
    }
    v->done = 1;
}

static void embed(fixture *fx, vectors *v, const char *const *texts, size_t count, int truncate)
{
    cadre_embed_params params = CADRE_EMBED_PARAMS_INIT;
    memset(v, 0, sizeof *v);
    params.key = "vectors";
    params.texts = texts;
    params.count = count;
    params.truncate = truncate;
    params.on_done = on_vectors;
    params.data = v;
    v->status = cadre_embed(fx->pool, &params, NULL);
    if (v->status == 0) run_until_int(fx, &v->done, 1);
}

static double dot(const float *a, const float *b)
{
    double sum = 0;
    for (size_t i = 0; i < REFERENCE_DIMENSION; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

static void assert_is_reference(const float *vector, size_t i)
{
    double norm = sqrt(dot(vector, vector)), cosine = dot(vector, references[i].vector) / sqrt(dot(references[i].vector, references[i].vector)) / norm;
    if (fabs(norm - 1.0) > 1e-5 || cosine < 0.999) fail_msg("text %zu: norm %.6f, cosine with the reference %.6f", i, norm, cosine);
}

static void vectors_are_the_references(void **state)
{
    (void)state;
    static vectors v;
    const char *texts[COUNT(references)];
    uint64_t tokens = 0;
    fixture *fx = fixture_begin();
    cadre_llama_options options = chat_options(minilm());
    spawned worker;
    for (size_t i = 0; i < COUNT(references); i++) {
        texts[i] = references[i].text;
        tokens += references[i].tokens;
    }
    for (int32_t batch = 1; batch <= 16; batch *= 4) {
        row("%d texts a batch", batch);
        options.slots = batch;
        chat_spawn_embedding(fx, &worker, "vectors", &options, NULL);
        assert_status(worker.status, 0);
        assert_int_equal(chat_info(fx, "vectors").dimension, REFERENCE_DIMENSION);
        embed(fx, &v, texts, COUNT(texts), 0);
        assert_status(v.status, 0);
        assert_int_equal(v.tokens, tokens);
        for (size_t i = 0; i < COUNT(texts); i++) assert_is_reference(v.values + i * REFERENCE_DIMENSION, i);
        assert_status(cadre_worker_stop(fx->pool, worker.id), 0);
    }
    fixture_end(fx);
}

static void long_texts_are_refused_or_cut(void **state)
{
    (void)state;
    static vectors v, cut;
    static char text[10 << 20];
    fixture *fx = fixture_begin();
    cadre_llama_options options = chat_options(minilm());
    spawned worker;
    chat_spawn_embedding(fx, &worker, "vectors", &options, NULL);
    assert_status(worker.status, 0);
    for (size_t i = 0; i + 5 < sizeof text; i += 5) memcpy(text + i, "rain ", 6);
    const char *one = text;
    embed(fx, &v, &one, 1, 0);
    assert_status(v.status, CADRE_ETOOLONG);
    assert_contains(v.detail, "512");
    embed(fx, &v, &one, 1, 1);
    assert_status(v.status, 0);
    assert_int_equal(v.tokens, 512);
    /* What is cut off makes no difference. */
    text[5 * 510] = '\0';
    embed(fx, &cut, &one, 1, 0);
    assert_status(cut.status, 0);
    assert_true(dot(v.values, cut.values) > 0.99999);
    fixture_end(fx);
}

/* ---- bad input ---- */

static void bad_requests_are_errors_and_the_worker_goes_on(void **state)
{
    (void)state;
    static char huge[10 << 20], longer[4096];
    static const char *const bad_stop[] = {"\xFF"};
    fixture *fx = fixture_begin();
    cadre_llama_options options = chat_options(smollm2());
    spawned worker;
    chat_spawn_text(fx, &worker, "chat", &options, NULL);
    memset(huge, 'a', sizeof huge - 1);
    for (size_t i = 0; i < 600; i++) memcpy(longer + 5 * i, "rain ", 6);
    cadre_sampling usual = chat_question("chat", "", 8).sampling, penalty = usual, negative = usual, infinite = usual, above = usual, grammar = usual,
                   loop = usual, deep = usual, stop = usual;
    static char nested[4096] = "root ::= ";
    memset(nested + 9, '(', sizeof nested - 10);
    penalty.repeat_penalty = -1.0f;
    negative.temperature = -1.0f;
    infinite.temperature = INFINITY;
    above.top_p = 1.5f;
    grammar.grammar = "root ::= \"unfinished";
    loop.grammar = "root ::= root \"a\"";
    deep.grammar = nested;
    stop.stop = bad_stop;
    stop.stop_count = 1;
    const struct {
        const char *what, *text;
        const cadre_sampling *sampling;
        int error;
        const char *says;
    } cases[] = {{"empty", "", &usual, CADRE_EINVAL, "text"},
                 {"not UTF-8", "caf\xE9", &usual, CADRE_EINVAL, "UTF-8"},
                 {"10 MB", huge, &usual, CADRE_ETOOLONG, "512"},
                 {"longer than the context", longer, &usual, CADRE_ETOOLONG, "512"},
                 {"negative temperature", "hi", &negative, CADRE_EINVAL, "temperature"},
                 {"infinite temperature", "hi", &infinite, CADRE_EINVAL, "temperature"},
                 {"top_p above 1", "hi", &above, CADRE_EINVAL, "top_p"},
                 {"negative penalty", "hi", &penalty, CADRE_EINVAL, "repeat_penalty"},
                 {"unfinished grammar", "hi", &grammar, CADRE_EINPUT, "grammar"},
                 {"left-recursive grammar", "hi", &loop, CADRE_EINPUT, "recursion"},
                 {"deep grammar", "hi", &deep, CADRE_EINPUT, "nested"},
                 {"stop string that is not UTF-8", "hi", &stop, 0, ""}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        row("%s", cases[i].what);
        cadre_generate_params params = chat_question("chat", cases[i].text, 8);
        params.sampling = *cases[i].sampling;
        chat_ask_and_wait(fx, &replies[0], &params);
        if (cases[i].error != 0)
            assert_status(replies[0].status, cases[i].error);
        else
            assert_true(replies[0].status == CADRE_EINVAL || replies[0].status == CADRE_EINPUT);
        assert_contains(replies[0].detail, cases[i].says);
    }
    row("afterwards");
    cadre_generate_params params = chat_question("chat", questions[1], 32);
    chat_ask_and_wait(fx, &replies[0], &params);
    assert_string_equal(replies[0].text, "The capital of France is Paris.");
    fixture_end(fx);
}

static void bad_options_are_refused(void **state)
{
    (void)state;
    cadre_text_to_text_loader loader;
    cadre_llama_options good = chat_options(smollm2());
    cadre_llama_options bad[9];
    for (size_t i = 0; i < COUNT(bad); i++) bad[i] = good;
    bad[0].path = NULL;
    bad[1].path = "";
    bad[2].slots = 65;
    bad[3].slots = 0;
    bad[4].batch_tokens = 31;
    bad[5].threads = 0;
    bad[6].context_length = 0;
    bad[7].use_mmap = 2;
    bad[8].size = sizeof good + 8;
    for (size_t i = 0; i < COUNT(bad); i++) {
        row("case %zu", i);
        assert_status(cadre_llama_text_to_text(&bad[i], &loader), CADRE_EINVAL);
    }
    assert_status(cadre_llama_text_to_text(NULL, &loader), CADRE_EINVAL);
    assert_status(cadre_llama_text_to_text(&good, NULL), CADRE_EINVAL);
    /* These can only be told with the file. */
    fixture *fx = fixture_begin();
    spawned worker;
    good.context_length = 1 << 20;
    chat_spawn_text(fx, &worker, "chat", &good, NULL);
    assert_status(worker.status, CADRE_EINVAL);
    assert_contains(worker.detail, "8192");
    good.context_length = 512;
    good.chat_template = "no such template";
    chat_spawn_text(fx, &worker, "chat", &good, NULL);
    assert_status(worker.status, CADRE_EINVAL);
    assert_contains(worker.detail, "chat_template");
    fixture_end(fx);
}

static void the_estimate_is_near(void **state)
{
    (void)state;
    cadre_llama_options options = chat_options(smollm2());
    uint64_t weights = 0, context = 0, wider = 0;
    struct stat file;
    assert_int_equal(stat(smollm2(), &file), 0);
    assert_status(cadre_llama_estimate(&options, &weights, &context), 0);
    assert_in_range(weights, (uint64_t)file.st_size * 9 / 10, (uint64_t)file.st_size);
    options.context_length = 1024;
    assert_status(cadre_llama_estimate(&options, &weights, &wider), 0);
    /* 30 layers of 2 × 3 heads of 64 in f16, in four slots. */
    assert_true(wider - context >= (uint64_t)4 * 512 * 30 * 2 * 3 * 64 * 2);
}

#define SUITE llama
#include "suite.h"
