/* The catalogue's architectures on small weights (tests/weights/tiny_gguf.py): loaded by name and by their kind, held against a second implementation
 * (tests/weights/reference_gguf.py), unloaded and loaded again. */
#define TESTS_llama_catalogue(X)                                                                                                                               \
    X(greedy_answers_are_the_references)                                                                                                                       \
    X(vectors_are_the_references)                                                                                                                              \
    X(a_task_names_a_prompt)                                                                                                                                   \
    X(long_runs_are_refused_where_they_would_end_the_process)                                                                                                  \
    X(pooling_and_attention_are_each_workers_own)                                                                                                              \
    X(pooling_and_attention_are_the_entrys_where_it_says_them)                                                                                                 \
    X(prompts_that_cannot_be_are_refused)                                                                                                                      \
    X(a_spoilt_key_gives_other_answers)                                                                                                                        \
    X(what_the_engine_would_abort_on_is_refused)                                                                                                               \
    X(what_a_worker_takes_is_estimated)

#include "chat.h"
#include "reference/catalogue_gte_qwen2.h"
#include "reference/catalogue_jina_v2.h"
#include "reference/catalogue_text.h"

#include <math.h>

#define CHATS 4
#define ROWS_MAX 8
#define WIDTH_MAX REFERENCE_QWEN2_DIMENSION
#define LIKE 0.999

typedef struct chat_model {
    const char *variable, *architecture, *loader;
    const char *spoilt; /* a float in its header that the answers depend on */
} chat_model;

static const chat_model chat_models[] = {{"CADRE_TEST_KIMI_K2", "deepseek2", "sync", "deepseek2.rope.scaling.factor"},
                                         {"CADRE_TEST_QWEN3_MOE", "qwen3moe", "sync", "qwen3moe.rope.freq_base"},
                                         {"CADRE_TEST_PHI_4", "phi3", "async", "phi3.rope.freq_base"}};

/* One row of either reference. */
typedef struct expected {
    const char *task, *text;
    unsigned tokens;
    const short *vector;
} expected;

typedef struct vector_model {
    const char *variable, *architecture, *loader;
    const char *spoilt; /* likewise, and what takes its place */
    uint32_t bits;
    size_t width, count;
} vector_model;

#define TEN 0x41200000u /* 10.0 */

static const vector_model vector_models[] = {
    {"CADRE_TEST_GTE_QWEN2", "qwen2", "async", "qwen2.rope.freq_base", TEN, REFERENCE_QWEN2_DIMENSION, COUNT(reference_qwen2s)},
    {"CADRE_TEST_JINA_V2", "jina-bert-v2", "sync", "jina-bert-v2.pooling_type", 2, REFERENCE_JINA_BERT_V2_DIMENSION, COUNT(reference_jina_bert_v2s)},
};
#define GTE (&vector_models[0])

static expected expected_row(const vector_model *model, size_t i)
{
    if (model == GTE) {
        const struct reference_qwen2 *row = &reference_qwen2s[i];
        return (expected){row->task, row->text, row->tokens, row->vector};
    }
    const struct reference_jina_bert_v2 *row = &reference_jina_bert_v2s[i];
    return (expected){row->task, row->text, row->tokens, row->vector};
}

static const char *file_of(const char *variable)
{
    const char *path = getenv(variable);
    if (!path || !*path) fail_msg("%s must name a file: sh examples/weights.sh makes it", variable);
    return path;
}

static reply replies[CHATS]; /* they hold whole answers */

/* ---- calls that are answered later ---- */

typedef struct outcome {
    int done;
    int status;
    char detail[1024];
} outcome;

static void on_outcome(cadre_pool *pool, int status, const char *detail, void *data)
{
    outcome *to = data;
    (void)pool;
    to->status = status;
    snprintf(to->detail, sizeof to->detail, "%s", detail);
    to->done++;
}

static void unload(fixture *fx, const char *key)
{
    outcome of = {0};
    assert_status(cadre_model_unload(fx->pool, key, on_outcome, &of), 0);
    run_until_int(fx, &of.done, 1);
    assert_status(of.status, 0);
    assert_int_equal(charged(fx, CADRE_DEVICE_HOST), 0);
}

static fixture *registered(void)
{
    fixture *fx = chat_begin();
    assert_status(cadre_backend_register(fx->pool, cadre_llama_backend()), 0);
    return fx;
}

static outcome add(fixture *fx, const char *key, const char *capability, const char *loader, const char *path, const char *more)
{
    char json[4096];
    outcome of = {0};
    int length = snprintf(json, sizeof json,
                          "{\"models\": [{\"key\": \"%s\", \"capability\": \"%s\", \"backend\": \"llama\", \"loader\": \"%s\", "
                          "\"options\": {\"path\": \"%s\", \"threads\": 1%s}}]}",
                          key, capability, loader, path, more);
    assert_in_range(length, 1, sizeof json - 1);
    assert_status(cadre_registry_load_text(fx->pool, json, (size_t)length, NULL, on_outcome, &of), 0);
    run_until_int(fx, &of.done, 1);
    return of;
}

static void must_add(fixture *fx, const char *key, const char *capability, const char *loader, const char *path, const char *more)
{
    outcome of = add(fx, key, capability, loader, path, more);
    if (of.status != 0) fail_msg("%s: %s", path, of.detail);
}

static uint64_t resident(fixture *fx, const char *key)
{
    cadre_entry_info info = CADRE_ENTRY_INFO_INIT;
    assert_status(cadre_registry_get(fx->pool, key, &info), 0);
    return info.resident_bytes;
}

/* ---- text ---- */

/* The references of one architecture stand together. */
static const struct reference_text *texts_of(const char *architecture)
{
    for (size_t i = 0; i < COUNT(reference_texts); i++) {
        if (strcmp(reference_texts[i].architecture, architecture) == 0) return &reference_texts[i];
    }
    fail_msg("no reference for %s", architecture);
    return NULL;
}

static void ask(fixture *fx, reply *r, const char *key, const struct reference_text *of)
{
    cadre_chat_message messages[4];
    cadre_generate_params params = chat_question(key, NULL, REFERENCE_TOKENS);
    for (size_t i = 0; i < COUNT(messages) && of->messages[i].role; i++, params.message_count++)
        messages[i] = (cadre_chat_message){of->messages[i].role, of->messages[i].content};
    params.messages = messages;
    chat_ask(fx, r, &params);
}

static void assert_reference(const reply *r, const struct reference_text *of)
{
    if (r->status != 0) fail_msg("%s: %s (%s)", of->architecture, cadre_err_name(r->status), r->detail);
    assert_string_equal(r->text, of->answer);
    assert_int_equal(r->usage.generated_tokens, REFERENCE_TOKENS);
    assert_int_equal(r->usage.prompt_tokens, of->prompt_tokens);
}

/* One after another, then all at once. */
static void assert_references(fixture *fx, const char *key, const char *architecture)
{
    const struct reference_text *texts = texts_of(architecture);
    for (size_t i = 0; i < CHATS; i++) {
        row("%s, chat %zu", key, i);
        ask(fx, &replies[0], key, &texts[i]);
        chat_until_replied(fx, replies, 1);
        assert_reference(&replies[0], &texts[i]);
    }
    for (size_t i = 0; i < CHATS; i++) ask(fx, &replies[i], key, &texts[i]);
    chat_until_replied(fx, replies, CHATS);
    for (size_t i = 0; i < CHATS; i++) {
        row("%s, chat %zu of all at once", key, i);
        assert_reference(&replies[i], &texts[i]);
    }
}

static void greedy_answers_are_the_references(void **state)
{
    (void)state;
    fixture *fx = registered();
    for (size_t i = 0; i < COUNT(chat_models); i++) {
        const chat_model *model = &chat_models[i];
        must_add(fx, model->architecture, "text-to-text", model->loader, file_of(model->variable), ", \"context_length\": 512");
        assert_references(fx, model->architecture, model->architecture);
        unload(fx, model->architecture);
        assert_references(fx, model->architecture, model->architecture);
        unload(fx, model->architecture);
    }
    fixture_end(fx);
}

/* ---- vectors ---- */

typedef struct vectors {
    int done;
    int status;
    uint64_t tokens;
    char detail[512];
    float values[ROWS_MAX * WIDTH_MAX];
} vectors;

static vectors given; /* for which a stack is small */

static void on_vectors(cadre_request *request, int status, const cadre_embeddings *result)
{
    vectors *v = cadre_request_data(request);
    v->status = status;
    snprintf(v->detail, sizeof v->detail, "%s", cadre_request_detail(request));
    if (result) {
        v->tokens = result->tokens;
        assert_in_range(result->count * result->dimension, 1, COUNT(v->values));
        memcpy(v->values, result->values, result->count * result->dimension * sizeof(float));
    }
    v->done = 1;
}

static void embed(fixture *fx, const char *key, const char *const *texts, size_t count, const char *task)
{
    cadre_embed_params params = CADRE_EMBED_PARAMS_INIT;
    memset(&given, 0, sizeof given);
    params.key = key;
    if (count == 1)
        params.text = texts[0];
    else
        params.texts = texts;
    params.count = count == 1 ? 0 : count;
    params.task = task;
    params.on_done = on_vectors;
    params.data = &given;
    assert_status(cadre_embed(fx->pool, &params, NULL), 0);
    run_until_int(fx, &given.done, 1);
}

static double cosine(const float *a, const short *b, size_t width)
{
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < width; i++) {
        ab += (double)a[i] * b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * b[i];
    }
    return ab / sqrt(aa * bb);
}

static void assert_like(const float *vector, const expected *of, size_t width)
{
    double like = cosine(vector, of->vector, width);
    if (!(like >= LIKE)) fail_msg("\"%.40s\": cosine %.6f", of->text, like);
}

/* The rows of one task, one by one and as a batch. */
static void assert_vectors(fixture *fx, const char *key, const vector_model *model, const char *task)
{
    const char *texts[ROWS_MAX];
    expected rows[ROWS_MAX];
    size_t count = 0;
    uint64_t tokens = 0;
    for (size_t i = 0; i < model->count; i++) {
        rows[count] = expected_row(model, i);
        if (strcmp(rows[count].task, task) != 0) continue;
        texts[count] = rows[count].text;
        tokens += rows[count++].tokens;
    }
    for (size_t i = 0; i < count; i++) {
        row("%s, text %zu", key, i);
        embed(fx, key, &texts[i], 1, *task ? task : NULL);
        if (given.status != 0) fail_msg("%s: %s", cadre_err_name(given.status), given.detail);
        assert_int_equal(given.tokens, rows[i].tokens);
        assert_like(given.values, &rows[i], model->width);
    }
    row("%s, all texts", key);
    embed(fx, key, texts, count, *task ? task : NULL);
    assert_status(given.status, 0);
    assert_int_equal(given.tokens, tokens);
    for (size_t i = 0; i < count; i++) assert_like(given.values + i * model->width, &rows[i], model->width);
}

static void vectors_are_the_references(void **state)
{
    (void)state;
    fixture *fx = registered();
    for (size_t i = 0; i < COUNT(vector_models); i++) {
        const vector_model *model = &vector_models[i];
        cadre_entry_info info = CADRE_ENTRY_INFO_INIT;
        must_add(fx, model->architecture, "text-embedding", model->loader, file_of(model->variable), ", \"context_length\": 1024");
        assert_vectors(fx, model->architecture, model, "");
        assert_int_equal(chat_info(fx, model->architecture).dimension, model->width);
        assert_status(cadre_registry_get(fx->pool, model->architecture, &info), 0);
        unload(fx, model->architecture);
        assert_vectors(fx, model->architecture, model, "");
        unload(fx, model->architecture);
    }
    fixture_end(fx);
}

/* ---- planted faults ---- */

/* A copy of the file in the working folder whose header has `bits` for a number: the key's text is followed by its type and four bytes. */
static void write_spoilt(const char *path, const char *name, const char *key, uint32_t bits)
{
    static unsigned char bytes[16u << 20];
    FILE *from = fopen(path, "rb"), *to = fopen(name, "wb");
    assert_non_null(from);
    assert_non_null(to);
    size_t count = fread(bytes, 1, sizeof bytes, from), at = 0, length = strlen(key);
    assert_in_range(count, 1, sizeof bytes - 1);
    /* Not a longer key that begins so: after the text comes the type, four bytes of which three are 0. */
    while (at + length + 8 < count && (memcmp(bytes + at, key, length) != 0 || bytes[at + length + 1] != 0)) at++;
    assert_true(at + length + 8 < count);
    memcpy(bytes + at + length + 4, &bits, sizeof bits);
    assert_size(fwrite(bytes, 1, count, to), count);
    fclose(from);
    fclose(to);
}

/* The comparisons above would see a wrong number in the header, or an engine that reads it otherwise. */
static void a_spoilt_key_gives_other_answers(void **state)
{
    (void)state;
    static const char name[] = "catalogue-spoilt.gguf";
    fixture *fx = registered();
    for (size_t i = 0; i < COUNT(chat_models); i++) {
        const chat_model *model = &chat_models[i];
        row("%s", model->spoilt);
        write_spoilt(file_of(model->variable), name, model->spoilt, TEN);
        must_add(fx, model->architecture, "text-to-text", "sync", name, ", \"context_length\": 512");
        ask(fx, &replies[0], model->architecture, &texts_of(model->architecture)[1]);
        chat_until_replied(fx, replies, 1);
        assert_status(replies[0].status, 0);
        assert_string_not_equal(replies[0].text, texts_of(model->architecture)[1].answer);
        unload(fx, model->architecture);
    }
    for (size_t i = 0; i < COUNT(vector_models); i++) {
        const vector_model *model = &vector_models[i];
        expected of = expected_row(model, 4);
        row("%s", model->spoilt);
        write_spoilt(file_of(model->variable), name, model->spoilt, model->bits);
        must_add(fx, model->architecture, "text-embedding", "sync", name, ", \"context_length\": 1024");
        embed(fx, model->architecture, &of.text, 1, NULL);
        assert_status(given.status, 0);
        double like = cosine(given.values, of.vector, model->width);
        if (!(like < LIKE)) fail_msg("cosine %.6f", like);
        unload(fx, model->architecture);
    }
    remove(name);
    fixture_end(fx);
}

/* Numbers at which the engine itself ends the process, or never returns. */
static void what_the_engine_would_abort_on_is_refused(void **state)
{
    (void)state;
    static const char name[] = "catalogue-refused.gguf";
    const struct {
        const char *variable, *capability, *key;
        uint32_t value;
        const char *says;
    } cases[] = {{"CADRE_TEST_KIMI_K2", "text-to-text", "deepseek2.attention.head_count_kv", 4, "latent attention"},
                 {"CADRE_TEST_KIMI_K2", "text-to-text", "deepseek2.attention.key_length", 33, "latent attention"},
                 {"CADRE_TEST_KIMI_K2", "text-to-text", "deepseek2.attention.key_length_mla", 16, "latent attention"},
                 {"CADRE_TEST_KIMI_K2", "text-to-text", "deepseek2.expert_gating_func", 7, "gating"},
                 {"CADRE_TEST_KIMI_K2", "text-to-text", "deepseek2.expert_group_count", 7, "groups"},
                 {"CADRE_TEST_PHI_4", "text-to-text", "phi3.rope.dimension_count", 0, "rope.dimension_count"},
                 {"CADRE_TEST_PHI_4", "text-to-text", "phi3.rope.dimension_count", 3, "rope.dimension_count"},
                 {"CADRE_TEST_PHI_4", "text-to-text", "phi3.rope.dimension_count", 64, "rope.dimension_count"},
                 {"CADRE_TEST_GTE_QWEN2", "text-embedding", "qwen2.pooling_type", 33, "pooling_type"},
                 {"CADRE_TEST_JINA_V2", "text-embedding", "jina-bert-v2.pooling_type", 33, "pooling_type"}};
    fixture *fx = registered();
    for (size_t i = 0; i < COUNT(cases); i++) {
        row("%s = %u", cases[i].key, cases[i].value);
        write_spoilt(file_of(cases[i].variable), name, cases[i].key, cases[i].value);
        outcome of = add(fx, "spoilt", cases[i].capability, "sync", name, "");
        assert_status(of.status, CADRE_EFORMAT);
        assert_contains(of.detail, cases[i].says);
    }
    remove(name);
    fixture_end(fx);
}

/* ---- tasks ---- */

#define QUERY "Instruct: Given a web search query, retrieve relevant passages that answer the query\\nQuery: "

static void a_task_names_a_prompt(void **state)
{
    (void)state;
    fixture *fx = registered();
    must_add(fx, "gte", "text-embedding", "async", file_of(GTE->variable),
             ", \"context_length\": 1024, \"prompts\": {\"document\": \"\", \"query\": \"" QUERY "\"}");
    assert_vectors(fx, "gte", GTE, "");
    assert_vectors(fx, "gte", GTE, "query");
    const char *text = expected_row(GTE, 1).text;
    embed(fx, "gte", &text, 1, "document"); /* its prompt is empty */
    assert_status(given.status, 0);
    expected plain = expected_row(GTE, 1);
    assert_like(given.values, &plain, GTE->width);
    embed(fx, "gte", &text, 1, "poem");
    assert_status(given.status, CADRE_EINPUT);
    assert_contains(given.detail, "\"poem\"");
    assert_contains(given.detail, "\"document\", \"query\"");
    unload(fx, "gte");
    must_add(fx, "bare", "text-embedding", "async", file_of(GTE->variable), ", \"context_length\": 1024");
    embed(fx, "bare", &text, 1, "query");
    assert_status(given.status, CADRE_ENOTSUP);
    assert_contains(given.detail, "\"query\"");
    fixture_end(fx);
}

/* As converted files often are: another pooling, and nothing about attention, which is causal then. */
static void write_unsaid(const char *path, const char *name)
{
    static const char key[] = "qwen2.attention.causal";
    char byte;
    write_spoilt(path, name, "qwen2.pooling_type", 1 /* mean */);
    FILE *file = fopen(name, "r+b");
    assert_non_null(file);
    for (size_t at = 0; at < strlen(key);) {
        assert_int_equal(fread(&byte, 1, 1, file), 1);
        at = byte == key[at] ? at + 1 : byte == key[0];
    }
    assert_int_equal(fseek(file, -1, SEEK_CUR), 0);
    assert_int_equal(fwrite("?", 1, 1, file), 1); /* a key that nobody knows */
    fclose(file);
}

static void pooling_and_attention_are_the_entrys_where_it_says_them(void **state)
{
    (void)state;
    static const char name[] = "catalogue-unsaid.gguf";
    static const struct {
        const char *more;
        bool alike;
    } cases[] = {{"\"pooling\": \"last\", \"causal\": false", true},
                 {"\"pooling\": \"last\"", false},
                 {"\"causal\": false", false},
                 {"\"pooling\": \"cls\", \"causal\": false", false}};
    fixture *fx = registered();
    expected of = expected_row(GTE, 4);
    static const char *const keys[] = {"a", "b", "c", "d"};
    char more[128];
    write_unsaid(file_of(GTE->variable), name);
    for (size_t i = 0; i < COUNT(cases); i++) {
        row("%s", cases[i].more);
        snprintf(more, sizeof more, ", \"context_length\": 1024, %s", cases[i].more);
        must_add(fx, keys[i], "text-embedding", "preloaded", name, more);
        embed(fx, keys[i], &of.text, 1, NULL);
        assert_status(given.status, 0);
        double like = cosine(given.values, of.vector, GTE->width);
        if ((like >= LIKE) != cases[i].alike) fail_msg("cosine %.6f", like);
        unload(fx, keys[i]);
    }
    outcome no = add(fx, "no", "text-embedding", "sync", name, ", \"pooling\": \"rank\"");
    assert_status(no.status, CADRE_EINVAL);
    assert_contains(no.detail, "options.pooling");
    static const struct {
        const char *more, *says;
    } others[] = {{", \"causal\": true", "options.causal is for text embedding"},
                  {", \"causal\": false", "options.causal is for text embedding"},
                  {", \"pooling\": \"mean\"", "options.pooling is for text embedding"},
                  {", \"mmproj\": \"no-such-file.gguf\"", "options.mmproj is for vision models"}};
    for (size_t i = 0; i < COUNT(others); i++) {
        row("%s", others[i].more);
        no = add(fx, "no", "text-to-text", "sync", file_of("CADRE_TEST_PHI_4"), others[i].more);
        assert_status(no.status, CADRE_EINVAL);
        assert_contains(no.detail, others[i].says);
    }
    remove(name);
    fixture_end(fx);
}

/* Another name for how the tokenizer cuts words, as long as its own, for which the engine uses std::regex. */
static void write_regex(const char *path, const char *name)
{
    static const char key[] = "tokenizer.ggml.pre";
    char value[17];
    write_spoilt(path, name, "qwen2.pooling_type", 3 /* last */);
    FILE *file = fopen(name, "r+b");
    assert_non_null(file);
    char byte;
    for (size_t at = 0; at < strlen(key);) {
        assert_int_equal(fread(&byte, 1, 1, file), 1);
        at = byte == key[at] ? at + 1 : byte == key[0];
    }
    assert_int_equal(fread(value, 1, sizeof value, file), sizeof value); /* type, length, text */
    assert_memory_equal(value + 12, "qwen2", 5);
    assert_int_equal(fseek(file, -5, SEEK_CUR), 0);
    assert_int_equal(fwrite("youtu", 1, 5, file), 5);
    fclose(file);
}

static void long_runs_are_refused_where_they_would_end_the_process(void **state)
{
    (void)state;
    static const char name[] = "catalogue-regex.gguf";
    static const struct {
        const char *what, *unit;
        size_t count;
        int status;
    } cases[] = {{"letters", "a", 8193, CADRE_EINPUT},
                 {"as many as may be", "a", 8192, CADRE_ETOOLONG},
                 {"spaces", " ", 8193, CADRE_EINPUT},
                 {"signs", "!", 8193, CADRE_EINPUT},
                 {"slashes and lines", "/\n", 4100, CADRE_EINPUT},
                 {"letters of two bytes", "\xC3\xA9", 8193, CADRE_EINPUT},
                 {"words", "aaaaaaaa ", 1100, CADRE_ETOOLONG},
                 {"far too many", "a", 1000000, CADRE_ETOOLONG}};
    fixture *fx = registered();
    write_regex(file_of(GTE->variable), name);
    must_add(fx, "regex", "text-embedding", "async", name, ", \"context_length\": 2048");
    must_add(fx, "own code", "text-embedding", "async", file_of(GTE->variable), ", \"context_length\": 2048");
    for (size_t i = 0; i < COUNT(cases); i++) {
        row("%s", cases[i].what);
        size_t length = strlen(cases[i].unit);
        char *text = calloc(cases[i].count, length + 1);
        const char *given_text = text;
        assert_non_null(text);
        for (size_t k = 0; k < cases[i].count; k++) memcpy(text + k * length, cases[i].unit, length);
        embed(fx, "regex", &given_text, 1, NULL);
        assert_status(given.status, cases[i].status);
        if (cases[i].status == CADRE_EINPUT) assert_contains(given.detail, "in a row, from its byte 0 on");
        embed(fx, "own code", &given_text, 1, NULL);
        assert_status(given.status, CADRE_ETOOLONG);
        free(text);
    }
    remove(name);
    fixture_end(fx);
}

static double likeness(fixture *fx, const char *key, const expected *of)
{
    embed(fx, key, &of->text, 1, NULL);
    assert_status(given.status, 0);
    return cosine(given.values, of->vector, GTE->width);
}

/* Around one copy of the weights, whose options say something else, or nothing. */
static void pooling_and_attention_are_each_workers_own(void **state)
{
    (void)state;
    static const char name[] = "catalogue-shared.gguf";
    fixture *fx = chat_begin();
    expected of = expected_row(GTE, 4);
    cadre_llama_options options;
    cadre_weights_future *weights;
    cadre_text_to_text_loader chat;
    spawned worker;
    write_unsaid(file_of(GTE->variable), name);
    options = chat_options(name);
    options.context_length = 1024;
    options.pooling = "cls";
    assert_status(cadre_llama_weights(fx->pool, &options, NULL, &weights), 0);
    options.pooling = NULL;
    chat_spawn_embedding(fx, &worker, "as the weights", &options, weights);
    assert_status(worker.status, 0);
    options.pooling = "last";
    chat_spawn_embedding(fx, &worker, "pooling", &options, weights);
    assert_status(worker.status, 0);
    options.causal = 0;
    chat_spawn_embedding(fx, &worker, "both", &options, weights);
    assert_status(worker.status, 0);
    assert_true(likeness(fx, "as the weights", &of) < LIKE);
    assert_true(likeness(fx, "pooling", &of) < LIKE);
    assert_true(likeness(fx, "both", &of) >= LIKE);
    assert_status(cadre_llama_text_to_text_shared(weights, &options, &chat), CADRE_EINVAL);
    cadre_weights_future_release(weights);
    remove(name);
    fixture_end(fx);
}

/* By a host that has no registry. */
static void prompts_that_cannot_be_are_refused(void **state)
{
    (void)state;
    static const cadre_named_text nameless[] = {{"", "x"}}, twice[] = {{"a", "x"}, {"b", "y"}, {"a", "z"}}, textless[] = {{"a", NULL}}, good[] = {{"a", "x"}};
    const struct {
        const char *what;
        const cadre_named_text *prompts;
        size_t count;
    } cases[] = {{"an empty name", nameless, 1}, {"a name twice", twice, 3}, {"no text", textless, 1}, {"no array", NULL, 1}, {"too many", good, 1025}};
    cadre_llama_options options = chat_options(file_of(GTE->variable));
    cadre_text_embedding_loader loader;
    cadre_text_to_text_loader chat;
    for (size_t i = 0; i < COUNT(cases); i++) {
        row("%s", cases[i].what);
        options.prompts = cases[i].prompts;
        options.prompt_count = cases[i].count;
        assert_status(cadre_llama_text_embedding(&options, &loader), CADRE_EINVAL);
    }
    options.prompts = NULL;
    options.prompt_count = 0;
    options.pooling = "mean";
    assert_status(cadre_llama_text_to_text(&options, &chat), CADRE_EINVAL);
    options.pooling = NULL;
    options.causal = 1;
    assert_status(cadre_llama_text_to_text(&options, &chat), CADRE_EINVAL);
    options.causal = CADRE_DEFAULT;
    options.prompts = good;
    options.prompt_count = 1;
    assert_status(cadre_llama_text_to_text(&options, &chat), CADRE_EINVAL);
    assert_status(cadre_llama_text_embedding(&options, &loader), 0);
    loader.release(loader.data);
    fixture *fx = registered();
    outcome of = add(fx, "chat", "text-to-text", "sync", file_of("CADRE_TEST_PHI_4"), ", \"prompts\": {\"query\": \"\"}");
    assert_status(of.status, CADRE_EINVAL);
    assert_contains(of.detail, "options.prompts");
    fixture_end(fx);
}

/* ---- memory ---- */

#define OWN_PAGES (9u << 20) /* what the estimate adds for what the engine does not name */

/* What the engine says that it took lies under the estimate, and not far: also for a cache of compressed rows, for experts, and where each token has logits. */
static void assert_estimate(fixture *fx, const char *key, const char *path, int32_t context_length, int32_t slots)
{
    uint64_t weights, context, took = resident(fx, key);
    cadre_llama_options options = chat_options(path);
    options.context_length = context_length;
    options.slots = slots;
    assert_status(cadre_llama_estimate(&options, &weights, &context), 0);
    row("%s: %llu bytes of weights and %llu of context, %llu taken", key, (unsigned long long)weights, (unsigned long long)context, (unsigned long long)took);
    assert_true(took > weights);
    assert_true(took <= weights + context);
    assert_true(2 * (took - weights - OWN_PAGES) > context - OWN_PAGES);
}

static void what_a_worker_takes_is_estimated(void **state)
{
    (void)state;
    fixture *fx = registered();
    for (size_t i = 0; i < COUNT(chat_models); i++) {
        const chat_model *model = &chat_models[i];
        must_add(fx, model->architecture, "text-to-text", "sync", file_of(model->variable), ", \"context_length\": 8192, \"slots\": 4");
        ask(fx, &replies[0], model->architecture, texts_of(model->architecture));
        chat_until_replied(fx, replies, 1);
        assert_reference(&replies[0], texts_of(model->architecture));
        assert_estimate(fx, model->architecture, file_of(model->variable), 8192, 4);
        unload(fx, model->architecture);
    }
    for (size_t i = 0; i < COUNT(vector_models); i++) {
        const vector_model *model = &vector_models[i];
        const char *text = expected_row(model, 1).text;
        must_add(fx, model->architecture, "text-embedding", "sync", file_of(model->variable), ", \"context_length\": 4096, \"slots\": 8");
        embed(fx, model->architecture, &text, 1, NULL);
        assert_status(given.status, 0);
        assert_estimate(fx, model->architecture, file_of(model->variable), 4096, 8);
        unload(fx, model->architecture);
    }
    fixture_end(fx);
}

#define SUITE llama_catalogue
#include "suite.h"
