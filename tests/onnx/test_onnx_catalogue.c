/* The catalogue's embedding models that run here because llama.cpp lacks their architecture, as small weights: NV-Embed, and stella in both sizes. Their
 * vectors are those of another implementation (tests/weights/reference_onnx.py). */
#define TESTS_onnx_catalogue(X)                                                                                                                                \
    X(each_model_answers_as_the_reference)                                                                                                                     \
    X(a_batch_answers_as_the_reference)                                                                                                                        \
    X(the_answers_are_the_same_after_an_unload)                                                                                                                \
    X(each_kind_of_loader_answers_alike)                                                                                                                       \
    X(what_does_not_count_is_left_out)                                                                                                                         \
    X(unknown_tasks_name_the_known_ones)                                                                                                                       \
    X(prompts_are_checked)                                                                                                                                     \
    X(workers_use_one_tokenizer_at_once)                                                                                                                       \
    X(long_texts_are_refused_or_cut_before_their_end_token)                                                                                                    \
    X(a_long_context_fits_into_the_memory_of_a_text)                                                                                                           \
    X(names_of_special_tokens_are_text)                                                                                                                        \
    X(long_runs_are_refused_where_they_would_end_the_process)                                                                                                  \
    X(the_estimate_covers_narrow_models)                                                                                                                       \
    X(the_last_token_is_pooled)                                                                                                                                \
    X(damaged_tokenizers_fail_the_load)                                                                                                                        \
    X(tokenizers_cut_short_fail_the_load)

#include "ask.h"

#include <unistd.h>

#define ALIKE 0.99999 /* cosine; the published aim is 0.999 */

static reply replies[24];

/* ---- the models ---- */

typedef struct model {
    const char *name;
    const char *file, *vocabulary; /* variables */
    size_t dimension;
    cadre_named_text prompts[2];
    size_t prompt_count;
    bool gguf;
} model;

#define STELLA_PROMPTS                                                                                                                                         \
    {{"s2p_query", "Instruct: Given a web search query, retrieve relevant passages that answer the query.\nQuery: "},                                          \
     {"s2s_query", "Instruct: Retrieve semantically similar text.\nQuery: "}},                                                                                 \
        2

static const model models[] = {
    {"nv-embed",
     "CADRE_TEST_NV_EMBED",
     "CADRE_TEST_MISTRAL_VOCABULARY",
     4096,
     {{"query", "Instruct: Given a question, retrieve passages that answer the question\nQuery: "}},
     1,
     true},
    {"stella-1.5b", "CADRE_TEST_STELLA_1_5B", "CADRE_TEST_QWEN2_VOCABULARY", 1024, STELLA_PROMPTS, true},
    {"stella-400m", "CADRE_TEST_STELLA_400M", "CADRE_TEST_STELLA_400M_VOCABULARY", 1024, STELLA_PROMPTS, false},
};

#ifdef CADRE_TEST_GGUF
#define RUNNABLE(m) ((void)(m), true)
#else
#define RUNNABLE(m) (!(m)->gguf)
#endif

static const char *path_of(const char *variable)
{
    const char *path = getenv(variable);
    if (!path || !*path) fail_msg("%s must name a file: sh examples/weights.sh makes it", variable);
    return path;
}

static cadre_onnx_options options_of(const model *m)
{
    cadre_onnx_options options = ask_options(path_of(m->file));
    options.vocabulary = path_of(m->vocabulary);
    options.context_length = 1024;
    options.prompts = m->prompts;
    options.prompt_count = m->prompt_count;
    return options;
}

/* The text as a JSON string's inside. */
static const char *escaped(const char *text, char *out, size_t size)
{
    size_t length = 0;
    for (; *text; text++) {
        assert_true(length + 3 < size);
        if (*text == '\n') out[length++] = '\\';
        out[length++] = *text == '\n' ? 'n' : *text;
    }
    out[length] = '\0';
    return out;
}

static void add(fixture *fx, const model *m, const char *key, const char *more)
{
    char prompts[512] = "", text[256];
    for (size_t i = 0, length = 0; i < m->prompt_count; i++)
        length += (size_t)snprintf(prompts + length, sizeof prompts - length, "%s\"%s\": \"%s\"", i ? ", " : "", m->prompts[i].name,
                                   escaped(m->prompts[i].text, text, sizeof text));
    outcome of = ask_add(fx, "/",
                         "{\"models\": [{\"key\": \"%s\", \"capability\": \"text-embedding\", \"backend\": \"onnx\"%s, \"options\": {\"path\": \"%s\", "
                         "\"vocabulary\": \"%s\", \"threads\": 1, \"context_length\": 1024, \"prompts\": {%s}}}]}",
                         key, more, path_of(m->file), path_of(m->vocabulary), prompts);
    if (RUNNABLE(m)) {
        if (of.status != 0) fail_msg("%s: %s", cadre_err_name(of.status), of.detail);
    } else {
        assert_status(of.status, CADRE_ENOTSUP);
        assert_contains(of.detail, "llama");
    }
}

/* ---- the reference ---- */

#define RECORDS_MAX 32

typedef struct record {
    char task[32];
    char *text;
    size_t tokens, dimension;
    float *vector;
} record;

typedef struct reference {
    record at[RECORDS_MAX];
    size_t count;
} reference;

static bool read_record(FILE *file, record *r)
{
    size_t length;
    if (fscanf(file, "%31s %zu %zu %zu", r->task, &length, &r->tokens, &r->dimension) != 4) return false;
    assert_int_equal(fgetc(file), '\n');
    assert_in_range(r->dimension, 1, 8192);
    r->text = calloc(length + 1, 1);
    r->vector = calloc(r->dimension, sizeof *r->vector);
    int16_t *values = calloc(r->dimension, sizeof *values);
    assert_true(r->text && r->vector && values);
    assert_int_equal(fread(r->text, 1, length, file), length);
    assert_int_equal(fgetc(file), '\n');
    assert_int_equal(fread(values, sizeof *values, r->dimension, file), r->dimension);
    for (size_t i = 0; i < r->dimension; i++) r->vector[i] = values[i];
    free(values);
    if (strcmp(r->task, "-") == 0) r->task[0] = '\0';
    return true;
}

static reference *read_reference(const model *m)
{
    char path[4096];
    reference *of = calloc(1, sizeof *of);
    assert_non_null(of);
    snprintf(path, sizeof path, "%s/%s.bin", CADRE_REFERENCES, m->name);
    FILE *file = fopen(path, "rb");
    if (!file) fail_msg("%s cannot be read", path);
    while (of->count < RECORDS_MAX && read_record(file, &of->at[of->count])) of->count++;
    fclose(file);
    assert_int_equal(of->count, 6 * (m->prompt_count + 1));
    return of;
}

static void free_reference(reference *of)
{
    for (size_t i = 0; i < of->count; i++) {
        free(of->at[i].text);
        free(of->at[i].vector);
    }
    free(of);
}

static const record *find(const reference *of, const char *task, const char *text)
{
    for (size_t i = 0; i < of->count; i++)
        if (strcmp(of->at[i].task, task) == 0 && strcmp(of->at[i].text, text) == 0) return &of->at[i];
    fail_msg("no record of \"%s\"", text);
    return NULL;
}

static void assert_alike(const record *r, const float *values, size_t dimension)
{
    assert_size(dimension, r->dimension);
    double cosine = ask_cosine(values, r->vector, dimension), length = ask_cosine(values, values, dimension);
    if (cosine < ALIKE) fail_msg("cosine %.7f", cosine);
    assert_true(length > 0.999 && length < 1.001);
}

/* ---- asking ---- */

static void ask_task(fixture *fx, reply *r, const char *key, const char *task, const char *const *texts, size_t count, int truncate)
{
    cadre_embed_params params = CADRE_EMBED_PARAMS_INIT;
    r->done = r->status = 0;
    r->count = 0;
    params.key = key;
    params.texts = texts;
    params.count = count;
    params.task = task;
    params.truncate = truncate;
    params.on_done = ask_on_done;
    params.data = r;
    assert_status(cadre_embed(fx->pool, &params, &r->id), 0);
}

static void ask_record(fixture *fx, reply *r, const char *key, const record *of)
{
    const char *text = of->text;
    ask_task(fx, r, key, of->task, &text, 1, 0);
}

static void answer_all(fixture *fx, const char *key, const reference *of)
{
    for (size_t i = 0; i < of->count; i++) {
        row("%s: %s: %.40s", key, of->at[i].task, of->at[i].text);
        ask_record(fx, &replies[0], key, &of->at[i]);
        ask_answered(fx, &replies[0]);
        assert_int_equal(replies[0].tokens, of->at[i].tokens);
        assert_alike(&of->at[i], replies[0].values, replies[0].dimension);
    }
}

/* ---- answers ---- */

static void each_model_answers_as_the_reference(void **state)
{
    (void)state;
    fixture *fx = ask_registered();
    for (size_t m = 0; m < COUNT(models); m++) {
        reference *of = read_reference(&models[m]);
        row("%s", models[m].name);
        add(fx, &models[m], models[m].name, "");
        if (RUNNABLE(&models[m])) answer_all(fx, models[m].name, of);
        free_reference(of);
    }
    fixture_end(fx);
}

/* Texts of very different lengths, the empty one among them: padding changes none, nor do the others' prompts. */
static void a_batch_answers_as_the_reference(void **state)
{
    (void)state;
    fixture *fx = ask_registered();
    for (size_t m = 0; m < COUNT(models); m++) {
        reference *of = read_reference(&models[m]);
        add(fx, &models[m], models[m].name, "");
        for (size_t t = 0; RUNNABLE(&models[m]) && t <= models[m].prompt_count; t++) {
            const record *first = &of->at[6 * t];
            const char *texts[6];
            uint64_t tokens = 0;
            for (size_t i = 0; i < COUNT(texts); i++) texts[i] = first[i].text;
            for (size_t i = 0; i < COUNT(texts); i++) tokens += first[i].tokens;
            ask_task(fx, &replies[0], models[m].name, first->task, texts, COUNT(texts), 0);
            ask_answered(fx, &replies[0]);
            assert_size(replies[0].count, COUNT(texts));
            assert_int_equal(replies[0].tokens, tokens);
            for (size_t i = 0; i < COUNT(texts); i++) {
                row("%s: %s: %.40s", models[m].name, first->task, texts[i]);
                assert_alike(&first[i], replies[0].values + i * replies[0].dimension, replies[0].dimension);
            }
        }
        free_reference(of);
    }
    fixture_end(fx);
}

static void the_answers_are_the_same_after_an_unload(void **state)
{
    (void)state;
    fixture *fx = ask_registered();
    for (size_t m = 0; m < COUNT(models); m++) {
        if (!RUNNABLE(&models[m])) continue;
        reference *of = read_reference(&models[m]);
        row("%s", models[m].name);
        add(fx, &models[m], models[m].name, "");
        for (int again = 0; again < 2; again++) {
            ask_record(fx, &replies[again], models[m].name, &of->at[8]);
            ask_answered(fx, &replies[again]);
            ask_unload(fx, models[m].name);
            assert_int_equal(charged(fx, CADRE_DEVICE_HOST), 0);
        }
        assert_alike(&of->at[8], replies[0].values, replies[0].dimension);
        assert_true(ask_distance(replies[0].values, replies[1].values, replies[0].dimension) < 1e-6);
        free_reference(of);
    }
    fixture_end(fx);
}

static void each_kind_of_loader_answers_alike(void **state)
{
    (void)state;
    static const char *const kinds[] = {"sync", "async", "preloaded"};
    fixture *fx = ask_registered();
    for (size_t i = 0; i < COUNT(models) * COUNT(kinds); i++) {
        const model *m = &models[i % COUNT(models)];
        char key[64], more[64];
        if (!RUNNABLE(m)) continue;
        reference *of = read_reference(m);
        snprintf(key, sizeof key, "%s-%s", m->name, kinds[i / COUNT(models)]);
        snprintf(more, sizeof more, ", \"loader\": \"%s\"", kinds[i / COUNT(models)]);
        row("%s", key);
        add(fx, m, key, more);
        ask_record(fx, &replies[0], key, &of->at[7]);
        ask_answered(fx, &replies[0]);
        assert_alike(&of->at[7], replies[0].values, replies[0].dimension);
        free_reference(of);
    }
    fixture_end(fx);
}

/* The same tokens as with the task, all of which count: the vectors tell. */
static void what_does_not_count_is_left_out(void **state)
{
    (void)state;
    const model *m = &models[0];
    if (!RUNNABLE(m)) skip();
    fixture *fx = ask_registered();
    reference *of = read_reference(m);
    add(fx, m, "nv-embed", "");
    const record *with = find(of, "query", "a red circle");
    char text[256];
    const char *whole = text;
    snprintf(text, sizeof text, "%s%s", m->prompts[0].text, with->text);
    ask_task(fx, &replies[0], "nv-embed", NULL, &whole, 1, 0);
    ask_answered(fx, &replies[0]);
    assert_int_equal(replies[0].tokens, with->tokens);
    assert_true(ask_cosine(replies[0].values, with->vector, with->dimension) < 0.99);
    ask_record(fx, &replies[0], "nv-embed", with);
    ask_answered(fx, &replies[0]);
    assert_alike(with, replies[0].values, replies[0].dimension);
    free_reference(of);
    fixture_end(fx);
}

/* ---- tasks ---- */

static void unknown_tasks_name_the_known_ones(void **state)
{
    (void)state;
    const model *m = &models[2];
    const char *text = "a";
    fixture *fx = ask_begin();
    cadre_onnx_options options = options_of(m);
    ask_spawned(fx, "stella", true, &options);
    ask_task(fx, &replies[0], "stella", "passage", &text, 1, 0);
    ask_wait(fx, &replies[0]);
    assert_status(replies[0].status, CADRE_EINPUT);
    assert_contains(replies[0].detail, "\"passage\"");
    assert_contains(replies[0].detail, "\"s2p_query\", \"s2s_query\"");
    options.prompt_count = 0;
    ask_spawned(fx, "bare", true, &options);
    ask_task(fx, &replies[0], "bare", "s2p_query", &text, 1, 0);
    ask_wait(fx, &replies[0]);
    assert_status(replies[0].status, CADRE_ENOTSUP);
    assert_contains(replies[0].detail, "s2p_query");
    fixture_end(fx);
}

static void prompts_are_checked(void **state)
{
    (void)state;
    static cadre_named_text many[257];
    static char names[257][8];
    const cadre_named_text twice[] = {{"a", "x"}, {"a", "y"}}, unnamed[] = {{"", "x"}}, nothing[] = {{"a", NULL}}, other[] = {{"a", "\xff"}};
    cadre_text_embedding_loader loader;
    cadre_onnx_options options = options_of(&models[2]);
    for (size_t i = 0; i < COUNT(many); i++) {
        snprintf(names[i], sizeof names[i], "%zu", i);
        many[i] = (cadre_named_text){names[i], ""};
    }
    const struct {
        const cadre_named_text *prompts;
        size_t count;
    } cases[] = {{twice, 2}, {unnamed, 1}, {nothing, 1}, {NULL, 1}, {many, COUNT(many)}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        row("%zu", i);
        options.prompts = cases[i].prompts;
        options.prompt_count = cases[i].count;
        assert_status(cadre_onnx_text_embedding(&options, &loader), CADRE_EINVAL);
    }
    if (!RUNNABLE(&models[0])) return;
    fixture *fx = ask_begin();
    spawned worker;
    options = options_of(&models[0]); /* which counts a prompt's tokens */
    options.prompts = other;
    ask_spawn_wait(fx, &worker, "other", true, &options, NULL);
    assert_status(worker.status, CADRE_EINVAL);
    assert_contains(worker.detail, "UTF-8");
    fixture_end(fx);
}

/* ---- long runs ---- */

/* A copy whose words are cut in another way; the file is one of a vocabulary alone, so nothing behind it has to be aligned. */
static void write_pre(const char *from, const char *to, const char *pre)
{
    static const char key[] = "tokenizer.ggml.pre", own[] = "qwen2";
    static char bytes[1 << 20];
    FILE *file = fopen(from, "rb");
    assert_non_null(file);
    size_t length = fread(bytes, 1, sizeof bytes, file), at = 0;
    fclose(file);
    assert_true(length < sizeof bytes);
    while (at + sizeof key + 16 < length && memcmp(bytes + at, key, strlen(key)) != 0) at++;
    at += strlen(key) + 12;
    assert_true(at + 5 < length);
    assert_memory_equal(bytes + at, own, 5);
    bytes[at - 8] = (char)strlen(pre); /* the least byte of its length */
    file = fopen(to, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, at, file), at);
    assert_int_equal(fwrite(pre, 1, strlen(pre), file), strlen(pre));
    assert_int_equal(fwrite(bytes + at + 5, 1, length - at - 5, file), length - at - 5);
    fclose(file);
}

static void long_runs_are_refused_where_they_would_end_the_process(void **state)
{
    (void)state;
    static const char name[] = "onnx-regex.gguf";
    static char letters[200001];
    const model *m = &models[1];
    if (!RUNNABLE(m)) skip();
    const char *text = letters;
    fixture *fx = ask_begin();
    cadre_onnx_options options = options_of(m);
    ask_spawned(fx, "own code", true, &options);
    write_pre(path_of(m->vocabulary), name, "tekken"); /* for which the engine uses std::regex */
    options.vocabulary = name;
    options.context_length = 32768;
    ask_spawned(fx, "regex", true, &options);
    for (int truncate = 0; truncate < 2; truncate++) {
        row("%d", truncate);
        memset(letters, 'a', sizeof letters - 1);
        ask_task(fx, &replies[0], "regex", NULL, &text, 1, truncate);
        ask_wait(fx, &replies[0]);
        assert_status(replies[0].status, CADRE_EINPUT);
        assert_contains(replies[0].detail, "in a row");
    }
    for (size_t i = 8192; i < sizeof letters - 1; i += 8193) letters[i] = ' ';
    ask_task(fx, &replies[0], "regex", NULL, &text, 1, 0);
    ask_wait(fx, &replies[0]);
    assert_status(replies[0].status, CADRE_ETOOLONG);
    memset(letters, 'a', sizeof letters - 1);
    ask_task(fx, &replies[0], "own code", NULL, &text, 1, 1);
    ask_answered(fx, &replies[0]);
    unlink(name);
    fixture_end(fx);
}

/* ---- memory ---- */

/* What `open` says, against what is charged once a worker was measured; their heads are of 16 numbers, which no header tells. */
static void the_estimate_covers_narrow_models(void **state)
{
    (void)state;
    const cadre_backend *backend = cadre_onnx_backend();
    static const char *const devices[] = {"host"};
    fixture *fx = ask_registered();
    for (size_t m = 1; m < COUNT(models); m++) {
        if (!RUNNABLE(&models[m])) continue;
        row("%s", models[m].name);
        cadre_option_value values[32] = {0};
        cadre_backend_entry entry = {.size = sizeof entry, .key = "m", .capability = CADRE_TEXT_EMBEDDING, .options = values};
        void *self = NULL;
        const char *text = "a";
        entry.device_names = devices;
        entry.device_count = 1;
        values[0] = (cadre_option_value){.given = 1, .string = path_of(models[m].file)};
        values[1] = (cadre_option_value){.given = 1, .string = path_of(models[m].vocabulary)};
        values[4] = (cadre_option_value){.given = 1, .integer = 2048};
        assert_string_equal(backend->options[4].name, "context_length");
        assert_status(backend->open(backend, &entry, &self), 0);
        backend->close(self);
        uint64_t estimate = entry.needs[0].weights_bytes + entry.needs[0].worker_bytes;
        outcome added = ask_add(fx, "/",
                                "{\"models\": [{\"key\": \"%s\", \"capability\": \"text-embedding\", \"backend\": \"onnx\", \"options\": {\"path\": \"%s\", "
                                "\"vocabulary\": \"%s\", \"context_length\": 2048}}]}",
                                models[m].name, values[0].string, values[1].string);
        if (added.status < 0) fail_msg("%s", added.detail);
        ask_task(fx, &replies[0], models[m].name, NULL, &text, 1, 0);
        ask_answered(fx, &replies[0]);
        uint64_t measured = ask_entry(fx, models[m].name).resident_bytes;
        print_message("estimate %llu, measured %llu\n", (unsigned long long)estimate, (unsigned long long)measured);
        assert_true(measured <= estimate && measured > estimate / 4);
    }
    fixture_end(fx);
}

/* ---- tokenizers ---- */

static void workers_use_one_tokenizer_at_once(void **state)
{
    (void)state;
    fixture *fx = ask_begin();
    for (size_t m = 0; m < COUNT(models); m++) {
        if (!RUNNABLE(&models[m])) continue;
        row("%s", models[m].name);
        reference *of = read_reference(&models[m]);
        cadre_onnx_options options = options_of(&models[m]);
        cadre_weights_future *weights;
        spawned workers[2];
        options.max_batch = 1;
        assert_status(cadre_onnx_weights(fx->pool, &options, NULL, &weights), 0);
        for (size_t i = 0; i < COUNT(workers); i++) ask_spawn(fx, &workers[i], models[m].name, true, &options, weights);
        for (size_t i = 0; i < COUNT(workers); i++) run_until_int(fx, &workers[i].settled, 1);
        for (size_t i = 0; i < COUNT(workers); i++) assert_status(workers[i].status, 0);
        for (size_t i = 0; i < COUNT(replies); i++) ask_record(fx, &replies[i], models[m].name, &of->at[i % of->count]);
        for (size_t i = 0; i < COUNT(replies); i++) {
            ask_answered(fx, &replies[i]);
            assert_alike(&of->at[i % of->count], replies[i].values, replies[i].dimension);
        }
        cadre_future_release(cadre_weights_future_untyped(weights));
        free_reference(of);
    }
    fixture_end(fx);
}

static void long_texts_are_refused_or_cut_before_their_end_token(void **state)
{
    (void)state;
    static char text[200000];
    const char *texts[] = {text, "a red circle"};
    fixture *fx = ask_begin();
    memset(text, 'x', sizeof text - 1);
    memcpy(text, "a red circle ", 13);
    for (size_t m = 0; m < COUNT(models); m++) {
        if (!RUNNABLE(&models[m])) continue;
        row("%s", models[m].name);
        reference *of = read_reference(&models[m]);
        const record *whole = find(of, "", "a red circle");
        cadre_onnx_options options = options_of(&models[m]);
        options.context_length = (int32_t)whole->tokens;
        ask_spawned(fx, models[m].name, true, &options);
        ask_task(fx, &replies[0], models[m].name, NULL, texts, 1, 0);
        ask_wait(fx, &replies[0]);
        assert_status(replies[0].status, CADRE_ETOOLONG);
        /* What is cut is then the same text; but WordPiece has words that long unknown, and of a decoder's tokens the cut takes the last. */
        ask_task(fx, &replies[1], models[m].name, NULL, texts, 2, 1);
        ask_answered(fx, &replies[1]);
        assert_int_equal(replies[1].tokens, 2 * whole->tokens);
        assert_alike(whole, replies[1].values, replies[1].dimension);
        assert_alike(whole, replies[1].values + replies[1].dimension, replies[1].dimension);
        free_reference(of);
    }
    fixture_end(fx);
}

/* The published context: attention over so long a text would take a hundred gigabytes, so a text may have what the given memory is enough for. */
static void a_long_context_fits_into_the_memory_of_a_text(void **state)
{
    (void)state;
    static char text[60001];
    const char *texts[] = {text, "a red circle"};
    const model *m = &models[0];
    cadre_text_embedding_loader loader;
    cadre_onnx_options options = options_of(m);
    options.text_bytes = (INT64_C(1) << 20) - 1;
    assert_status(cadre_onnx_text_embedding(&options, &loader), CADRE_EINVAL);
    if (!RUNNABLE(m)) return;
    for (size_t i = 0; i + 1 < sizeof text; i += 2) memcpy(text + i, "a ", 2);
    fixture *fx = ask_registered(); /* of 1 GiB */
    reference *of = read_reference(m);
    for (int limited = 0; limited < 2; limited++) {
        char key[16];
        snprintf(key, sizeof key, "%s", limited ? "limited" : "free");
        row("%s", key);
        outcome added = ask_add(fx, "/",
                                "{\"models\": [{\"key\": \"%s\", \"capability\": \"text-embedding\", \"backend\": \"onnx\", \"options\": {\"path\": "
                                "\"%s\", \"vocabulary\": \"%s\", \"threads\": 1, \"context_length\": 32768%s}}]}",
                                key, path_of(m->file), path_of(m->vocabulary), limited ? ", \"text_bytes\": 134217728" : "");
        assert_status(added.status, limited ? CADRE_OK : CADRE_EBUDGET);
        if (!limited) continue;
        ask_task(fx, &replies[0], key, NULL, texts, 1, 0); /* 30,002 tokens */
        ask_wait(fx, &replies[0]);
        assert_status(replies[0].status, CADRE_ETOOLONG);
        assert_contains(replies[0].detail, "text_bytes");
        ask_task(fx, &replies[0], key, NULL, texts, 2, 1);
        ask_answered(fx, &replies[0]);
        assert_in_range(replies[0].tokens, 1000, 30000);
        assert_alike(find(of, "", texts[1]), replies[0].values + replies[0].dimension, replies[0].dimension);
        print_message("%llu tokens, %llu bytes\n", (unsigned long long)replies[0].tokens, (unsigned long long)charged(fx, CADRE_DEVICE_HOST));
    }
    free_reference(of);
    fixture_end(fx);
}

static void names_of_special_tokens_are_text(void **state)
{
    (void)state;
    const struct {
        int model;
        const char *text;
        uint64_t tokens;
    } cases[] = {{0, "a</s>", 7}, {0, "<s>", 6}, {1, "a<|endoftext|>", 15}, {2, "[SEP]", 7}};
    fixture *fx = ask_begin();
    for (size_t i = 0; i < COUNT(cases); i++) {
        const model *m = &models[cases[i].model];
        char key[32];
        if (!RUNNABLE(m)) continue;
        row("%s: %s", m->name, cases[i].text);
        snprintf(key, sizeof key, "%zu", i);
        cadre_onnx_options options = options_of(m);
        ask_spawned(fx, key, true, &options);
        ask_text(fx, &replies[0], key, cases[i].text);
        ask_answered(fx, &replies[0]);
        assert_int_equal(replies[0].tokens, cases[i].tokens);
    }
    fixture_end(fx);
}

/* A model whose vectors are the ids themselves. */
static void the_last_token_is_pooled(void **state)
{
    (void)state;
    static const char *const texts[] = {"a b", "a b c d e f"};
    fixture *fx = ask_begin();
    make_ids("last.onnx", true);
    cadre_onnx_options options = ask_options("last.onnx");
    options.pooling = "last";
    options.normalize = 0;
    ask_spawned(fx, "last", true, &options);
    ask_texts(fx, &replies[0], "last", texts, COUNT(texts), false);
    ask_answered(fx, &replies[0]);
    assert_true(replies[0].values[0] == 102 && replies[0].values[1] == 102); /* [SEP], padding behind the shorter one */
    unlink("last.onnx");
    fixture_end(fx);
}

/* ---- files that are wrong ---- */

/* A copy of a file, cut to `bytes`, in which the n-th place of a text is another of the same length. */
static void damage(const char *from, const char *to, const char *text, const char *other, int which, size_t bytes)
{
    static char data[65536];
    FILE *file = fopen(from, "rb");
    assert_non_null(file);
    size_t length = fread(data, 1, sizeof data, file);
    fclose(file);
    assert_in_range(length, 1, sizeof data - 1);
    char *at = data;
    for (int i = 0; text && i <= which; i++, at++) {
        at = memmem(at, length - (size_t)(at - data), text, strlen(text));
        if (!at) fail_msg("there is no \"%s\" %d", text, which);
    }
    if (text) memcpy(at - 1, other, strlen(other));
    file = fopen(to, "wb");
    assert_non_null(file);
    size_t kept = bytes < length ? bytes : length;
    assert_int_equal(fwrite(data, 1, kept, file), kept);
    fclose(file);
}

static void assert_refused(fixture *fx, const model *m, const char *says)
{
    spawned worker;
    cadre_onnx_options options = options_of(m);
    options.vocabulary = "damaged.gguf";
    ask_spawn_wait(fx, &worker, m->name, true, &options, NULL);
    assert_status(worker.status, RUNNABLE(m) ? CADRE_EFORMAT : CADRE_ENOTSUP);
    assert_contains(worker.detail, "damaged.gguf");
    if (RUNNABLE(m)) assert_contains(worker.detail, says);
}

static void damaged_tokenizers_fail_the_load(void **state)
{
    (void)state;
    const struct {
        int model; /* 0: SentencePiece, 1: byte-level BPE */
        const char *text, *other;
        int which;
        const char *says;
    } cases[] = {{1, "gpt2", "gptx", 0, "\"gptx\""},
                 {1, "gpt2", "bert", 0, "vocab.txt"},
                 {1, "qwen2", "qwenx", 0, "qwenx"}, /* the architecture, */
                 {1, "qwen2", "qwenx", 2, "qwenx"}, /* and how texts are split */
                 {1, "ggml.merges", "ggml.merged", 0, "no merges"},
                 {1, "ggml.tokens", "ggml.tokenz", 0, "no vocabulary"},
                 {0, "<0x41>", "<0x42>", 0, "\"<0x42>\" twice"},
                 {0, "<0x0A>", "<0xZZ>", 0, "<0x0A>"},
                 {0, "ggml.model", "ggml.modem", 0, "tokenizer is \"\""},
                 {0, "llama", "clip!", 0, "clip!"},
                 {0, "general.architecture", "general.architectura", 0, "llama.cpp"}};
    fixture *fx = ask_begin();
    for (size_t i = 0; i < COUNT(cases); i++) {
        const model *m = &models[cases[i].model];
        row("%s → %s", cases[i].text, cases[i].other);
        damage(path_of(m->vocabulary), "damaged.gguf", cases[i].text, cases[i].other, cases[i].which, SIZE_MAX);
        assert_refused(fx, m, cases[i].says);
    }
    static const char *const raw[] = {"whitespace", "gemma4", "sarvam-moe"};
    for (size_t i = 0; i < COUNT(raw); i++) {
        row("%s", raw[i]);
        write_pre(path_of(models[1].vocabulary), "damaged.gguf", raw[i]);
        assert_refused(fx, &models[1], raw[i]);
    }
    unlink("damaged.gguf");
    fixture_end(fx);
}

static void tokenizers_cut_short_fail_the_load(void **state)
{
    (void)state;
    fixture *fx = ask_begin();
    for (size_t i = 0; i < 40; i++) {
        const model *m = &models[i % 2];
        row("%zu", i);
        damage(path_of(m->vocabulary), "damaged.gguf", NULL, NULL, 0, 4 + i * i * 6);
        assert_refused(fx, m, "damaged GGUF");
    }
    unlink("damaged.gguf");
    fixture_end(fx);
}

#define SUITE onnx_catalogue
#include "suite.h"
