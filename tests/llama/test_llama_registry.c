/* Real models by name: a manifest, the three kinds of loader, unloading and loading again. */
#define TESTS_llama_registry(X)                                                                                                                                \
    X(a_manifest_a_question_and_the_same_answer_after_an_unload)                                                                                               \
    X(the_module_is_found_by_its_name)                                                                                                                         \
    X(each_kind_of_loader_answers_alike)                                                                                                                       \
    X(two_workers_share_preloaded_weights)                                                                                                                     \
    X(embeddings_by_name)                                                                                                                                      \
    X(what_is_charged_is_what_was_measured)                                                                                                                    \
    X(wrong_entries_say_what_is_wrong)

#include "chat.h"
#include "reference/minilm.h"

#include <math.h>

#define QUESTION "What is the capital of France?"
#define ANSWER "The capital of France is Paris."

static reply replies[8]; /* they hold whole answers */

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

static outcome wait_for(fixture *fx, int rc, outcome *of)
{
    assert_status(rc, 0);
    run_until_int(fx, &of->done, 1);
    return *of;
}

static outcome add_text(fixture *fx, const char *folder, const char *format, ...) CADRE_PRINTF(3, 4);
static outcome add_text(fixture *fx, const char *folder, const char *format, ...)
{
    char json[8192];
    outcome of = {0};
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(json, sizeof json, format, arguments);
    va_end(arguments);
    assert_in_range(length, 1, sizeof json - 1);
    return wait_for(fx, cadre_registry_load_text(fx->pool, json, (size_t)length, folder, on_outcome, &of), &of);
}

static void unload(fixture *fx, const char *key)
{
    outcome of = {0};
    assert_status(wait_for(fx, cadre_model_unload(fx->pool, key, on_outcome, &of), &of).status, 0);
}

static cadre_entry_info entry_of(fixture *fx, const char *key)
{
    cadre_entry_info info = CADRE_ENTRY_INFO_INIT;
    assert_status(cadre_registry_get(fx->pool, key, &info), 0);
    return info;
}

static fixture *registered(void)
{
    fixture *fx = chat_begin();
    assert_status(cadre_backend_register(fx->pool, cadre_llama_backend()), 0);
    return fx;
}

static void assert_answers(fixture *fx, const char *key)
{
    cadre_generate_params params = chat_question(key, QUESTION, 32);
    chat_ask_and_wait(fx, &replies[0], &params);
    if (replies[0].status != 0) fail_msg("%s: %s (%s)", key, cadre_err_name(replies[0].status), replies[0].detail);
    assert_string_equal(replies[0].text, ANSWER);
}

/* ---- the tests ---- */

/* A file, and a path that is relative to it. */
static void a_manifest_a_question_and_the_same_answer_after_an_unload(void **state)
{
    (void)state;
    static const char manifest[] = "registry-models.json";
    char folder[4096];
    const char *slash = strrchr(smollm2(), '/');
    assert_non_null(slash);
    snprintf(folder, sizeof folder, "%.*s", (int)(slash - smollm2()), smollm2());
    FILE *file = fopen(manifest, "w");
    assert_non_null(file);
    fprintf(file,
            "{\"models\": [{\"key\": \"chat\", \"capability\": \"text-to-text\", \"backend\": \"llama\",\n"
            "  \"options\": {\"path\": \"%s\", \"context_length\": 512, \"slots\": 2}}]}\n",
            smollm2());
    assert_int_equal(fclose(file), 0);
    fixture *fx = registered();
    outcome of = {0};
    wait_for(fx, cadre_registry_load(fx->pool, manifest, on_outcome, &of), &of);
    remove(manifest);
    if (of.status != 0) fail_msg("%s", of.detail);
    assert_int_equal(entry_of(fx, "chat").state, CADRE_MODEL_COLD);
    assert_answers(fx, "chat");
    assert_int_equal(entry_of(fx, "chat").state, CADRE_MODEL_READY);
    assert_true(entry_of(fx, "chat").resident_bytes > 0);
    unload(fx, "chat");
    assert_int_equal(entry_of(fx, "chat").state, CADRE_MODEL_COLD);
    assert_int_equal(entry_of(fx, "chat").resident_bytes, 0);
    assert_int_equal(charged(fx, CADRE_DEVICE_HOST), 0);
    assert_answers(fx, "chat");
    row("a relative path");
    of = add_text(fx, folder,
                  "{\"models\": [{\"key\": \"relative\", \"capability\": \"text-to-text\", \"backend\": \"llama\", "
                  "\"options\": {\"path\": \"%s\", \"context_length\": 512}}]}",
                  slash + 1);
    if (of.status != 0) fail_msg("%s", of.detail);
    assert_answers(fx, "relative");
    fixture_end(fx);
}

/* Without cadre_backend_register. */
static void the_module_is_found_by_its_name(void **state)
{
    (void)state;
#ifdef CADRE_MODULE_FOLDER
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    options.memory_bytes = INT64_C(1) << 30;
    options.backend_path = CADRE_MODULE_FOLDER;
    fixture *fx = fixture_begin_with(&options);
    outcome of = add_text(fx, NULL,
                          "{\"models\": [{\"key\": \"chat\", \"capability\": \"text-to-text\", \"backend\": \"llama\", "
                          "\"options\": {\"path\": \"%s\", \"context_length\": 512}}]}",
                          smollm2());
    if (of.status != 0) fail_msg("%s", of.detail);
    assert_answers(fx, "chat");
    fixture_end(fx);
#else
    skip(); /* a static build has none */
#endif
}

static void each_kind_of_loader_answers_alike(void **state)
{
    (void)state;
    static const char *const kinds[] = {"sync", "async", "preloaded"};
    fixture *fx = registered();
    for (size_t i = 0; i < COUNT(kinds); i++) {
        row("%s", kinds[i]);
        outcome of = add_text(fx, NULL,
                              "{\"models\": [{\"key\": \"%s\", \"capability\": \"text-to-text\", \"backend\": \"llama\", \"loader\": \"%s\", "
                              "\"options\": {\"path\": \"%s\", \"context_length\": 512, \"threads\": 1}}]}",
                              kinds[i], kinds[i], smollm2());
        if (of.status != 0) fail_msg("%s", of.detail);
        assert_answers(fx, kinds[i]);
        unload(fx, kinds[i]);
        assert_answers(fx, kinds[i]);
    }
    fixture_end(fx);
}

static void two_workers_share_preloaded_weights(void **state)
{
    (void)state;
    uint64_t weights, context;
    cadre_llama_options options = chat_options(smollm2());
    options.slots = 1;
    assert_status(cadre_llama_estimate(&options, &weights, &context), 0);
    fixture *fx = registered();
    outcome of = add_text(fx, NULL,
                          "{\"models\": [{\"key\": \"chat\", \"capability\": \"text-to-text\", \"backend\": \"llama\", \"loader\": \"preloaded\", "
                          "\"workers\": {\"initial\": 2, \"min\": 2, \"max\": 2}, "
                          "\"options\": {\"path\": \"%s\", \"context_length\": 512, \"slots\": 1, \"threads\": 1}}]}",
                          smollm2());
    if (of.status != 0) fail_msg("%s", of.detail);
    for (size_t i = 0; i < COUNT(replies); i++) {
        cadre_generate_params params = chat_question("chat", QUESTION, 32);
        chat_ask(fx, &replies[i], &params);
    }
    chat_until_replied(fx, replies, COUNT(replies));
    for (size_t i = 0; i < COUNT(replies); i++) {
        assert_status(replies[i].status, 0);
        assert_string_equal(replies[i].text, ANSWER);
    }
    assert_int_equal(entry_of(fx, "chat").workers, 2);
    /* One copy of the weights and two contexts, where two copies would be more. */
    assert_true(charged(fx, CADRE_DEVICE_HOST) < 2 * weights + context);
    fixture_end(fx);
}

typedef struct vector {
    int done;
    int status;
    float values[REFERENCE_DIMENSION];
} vector;

static void on_vector(cadre_request *request, int status, const cadre_embeddings *result)
{
    vector *v = cadre_request_data(request);
    v->status = status;
    if (result && result->dimension == REFERENCE_DIMENSION) memcpy(v->values, result->values, sizeof v->values);
    v->done = 1;
}

static double cosine(const float *a, const float *b)
{
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < REFERENCE_DIMENSION; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return ab / sqrt(aa * bb);
}

static void embeddings_by_name(void **state)
{
    (void)state;
    static const char *const kinds[] = {"sync", "async", "preloaded"};
    fixture *fx = registered();
    for (size_t i = 0; i < COUNT(kinds); i++) {
        row("%s", kinds[i]);
        outcome of = add_text(fx, NULL,
                              "{\"models\": [{\"key\": \"%s\", \"capability\": \"text-embedding\", \"backend\": \"llama\", \"loader\": \"%s\", "
                              "\"options\": {\"path\": \"%s\"}}]}",
                              kinds[i], kinds[i], minilm());
        if (of.status != 0) fail_msg("%s", of.detail);
        vector v = {0};
        cadre_embed_params params = CADRE_EMBED_PARAMS_INIT;
        params.key = kinds[i];
        params.text = references[0].text;
        params.on_done = on_vector;
        params.data = &v;
        assert_status(cadre_embed(fx->pool, &params, NULL), 0);
        run_until_int(fx, &v.done, 1);
        assert_status(v.status, 0);
        assert_true(cosine(v.values, references[0].vector) > 0.999);
    }
    fixture_end(fx);
}

/* The estimate is on the safe side; what the engine named when it made the context is less, and more than the weights. */
static void what_is_charged_is_what_was_measured(void **state)
{
    (void)state;
    uint64_t weights, context;
    cadre_llama_options options = chat_options(smollm2());
    assert_status(cadre_llama_estimate(&options, &weights, &context), 0);
    fixture *fx = registered();
    outcome of = add_text(fx, NULL,
                          "{\"models\": [{\"key\": \"chat\", \"capability\": \"text-to-text\", \"backend\": \"llama\", "
                          "\"options\": {\"path\": \"%s\", \"context_length\": 512}}]}",
                          smollm2());
    if (of.status != 0) fail_msg("%s", of.detail);
    assert_answers(fx, "chat");
    assert_true(charged(fx, CADRE_DEVICE_HOST) > weights);
    assert_true(charged(fx, CADRE_DEVICE_HOST) < weights + context);
    assert_int_equal(entry_of(fx, "chat").resident_bytes, charged(fx, CADRE_DEVICE_HOST));
    fixture_end(fx);
}

static void wrong_entries_say_what_is_wrong(void **state)
{
    (void)state;
    const struct {
        const char *what, *capability, *path, *more;
        int error;
        const char *says;
    } cases[] = {{"a missing file", "text-to-text", "no-such-file.gguf", "", CADRE_EFORMAT, "no-such-file.gguf"},
                 {"the wrong capability", "text-to-text", minilm(), "", CADRE_ECAPABILITY, "bert"},
                 {"a capability that the backend lacks", "image-embedding", smollm2(), "", CADRE_ECAPABILITY, "image-embedding"},
                 {"a tower for a model without", "text-to-text", smollm2(), ", \"mmproj\": \"x.gguf\"", CADRE_EINVAL, "options.mmproj"},
                 {"too long a context", "text-to-text", smollm2(), ", \"context_length\": 9000", CADRE_EINVAL, "8192"},
                 {"an option out of range", "text-to-text", smollm2(), ", \"slots\": 65", CADRE_EMANIFEST, "slots"},
                 {"an unknown option", "text-to-text", smollm2(), ", \"slot\": 4", CADRE_EMANIFEST, "slots"}};
    fixture *fx = registered();
    for (size_t i = 0; i < COUNT(cases); i++) {
        row("%s", cases[i].what);
        outcome of = add_text(fx, NULL,
                              "{\"models\": [{\"key\": \"chat\", \"capability\": \"%s\", \"backend\": \"llama\", \"options\": {\"path\": \"%s\"%s}}]}",
                              cases[i].capability, cases[i].path, cases[i].more);
        assert_status(of.status, cases[i].error);
        assert_contains(of.detail, cases[i].says);
    }
    cadre_entry_info info = CADRE_ENTRY_INFO_INIT;
    assert_status(cadre_registry_get(fx->pool, "chat", &info), CADRE_ENOENT);
    fixture_end(fx);
}

#define SUITE llama_registry
#include "suite.h"
