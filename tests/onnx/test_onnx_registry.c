/* The registry's way to the ONNX Runtime backend: entries, kinds of loaders, evictions, what is charged. */
#define TESTS_onnx_registry(X)                                                                                                                                 \
    X(a_manifest_a_request_and_the_same_answer_after_an_unload)                                                                                                \
    X(the_module_is_found_by_its_name)                                                                                                                         \
    X(each_kind_of_loader_answers_alike)                                                                                                                       \
    X(preloaded_weights_are_charged_and_there_once)                                                                                                            \
    X(the_estimate_is_on_the_safe_side)                                                                                                                        \
    X(wrong_entries_say_what_is_wrong)                                                                                                                         \
    X(damaged_entries_are_refused)                                                                                                                             \
    X(an_entry_is_unloaded_in_the_middle_of_its_load)

#include "ask.h"
#include "minilm.h"

#include <unistd.h>

static reply replies[16];

static outcome add_text(fixture *fx, const char *key, const char *more, const char *options)
{
    return ask_add(
        fx, NULL,
        "{\"models\": [{\"key\": \"%s\", \"capability\": \"text-embedding\", \"backend\": \"onnx\"%s, \"options\": {\"path\": \"%s\", \"vocabulary\": "
        "\"%s\"%s}}]}",
        key, more, minilm(), vocabulary(), options);
}

static outcome add_image(fixture *fx, const char *key, const char *more, const char *options)
{
    return ask_add(fx, NULL,
                   "{\"models\": [{\"key\": \"%s\", \"capability\": \"image-embedding\", \"backend\": \"onnx\"%s, \"options\": {\"path\": \"%s\"%s}}]}", key,
                   more, clip(), options);
}

static void assert_added(outcome of)
{
    if (of.status != 0) fail_msg("%s: %s", cadre_err_name(of.status), of.detail);
}

static void assert_text(fixture *fx, const char *key)
{
    ask_text(fx, &replies[0], key, references[3].text);
    ask_answered(fx, &replies[0]);
    assert_true(ask_cosine(replies[0].values, references[3].vector, REFERENCE_DIMENSION) >= 0.9999);
}

static void answer_image(fixture *fx, const char *key, reply *r)
{
    uint8_t *pixels = ask_picture(300, 200, 3);
    cadre_image_input input = cadre_image_from_rgb8(pixels, 300, 200);
    ask_images(fx, r, key, &input, 1);
    ask_answered(fx, r);
    free(pixels);
}

static void a_manifest_a_request_and_the_same_answer_after_an_unload(void **state)
{
    (void)state;
    fixture *fx = ask_registered();
    assert_added(add_text(fx, "text", "", ", \"threads\": 1"));
    assert_added(add_image(fx, "image", "", ", \"threads\": 2"));
    assert_int_equal(ask_entry(fx, "text").state, CADRE_MODEL_COLD);
    assert_text(fx, "text");
    answer_image(fx, "image", &replies[1]);
    assert_int_equal(ask_entry(fx, "image").state, CADRE_MODEL_READY);
    assert_true(ask_entry(fx, "text").resident_bytes > 0 && ask_entry(fx, "image").resident_bytes > 0);
    ask_unload(fx, "text");
    ask_unload(fx, "image");
    assert_int_equal(charged(fx, CADRE_DEVICE_HOST), 0);
    assert_text(fx, "text");
    answer_image(fx, "image", &replies[2]);
    assert_true(ask_distance(replies[1].values, replies[2].values, replies[1].dimension) < 1e-6);
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
    assert_added(add_text(fx, "text", "", ", \"threads\": 1"));
    assert_text(fx, "text");
    fixture_end(fx);
#else
    skip(); /* a static build has none */
#endif
}

static void each_kind_of_loader_answers_alike(void **state)
{
    (void)state;
    static const char *const kinds[] = {"sync", "async", "preloaded"};
    fixture *fx = ask_registered();
    for (size_t i = 0; i < COUNT(kinds); i++) {
        char key[32], more[64];
        row("%s", kinds[i]);
        snprintf(more, sizeof more, ", \"loader\": \"%s\"", kinds[i]);
        assert_added(add_text(fx, kinds[i], more, ", \"threads\": 1"));
        assert_text(fx, kinds[i]);
        ask_unload(fx, kinds[i]);
        assert_text(fx, kinds[i]);
        snprintf(key, sizeof key, "image-%s", kinds[i]);
        assert_added(add_image(fx, key, more, ", \"threads\": 1"));
        answer_image(fx, key, &replies[1 + i]);
        assert_true(ask_distance(replies[1].values, replies[1 + i].values, replies[1].dimension) < 1e-6);
    }
    fixture_end(fx);
}

/* ---- memory ---- */

/* Proportional set size of the process. */
static uint64_t resident(void)
{
    char line[256];
    unsigned long long kilobytes = 0;
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) && sscanf(line, "Pss: %llu", &kilobytes) != 1) {
    }
    fclose(file);
    return kilobytes * 1024;
}

static uint64_t file_bytes(void)
{
    return UINT64_C(90000000); /* all-MiniLM-L6-v2 has 22.7 million weights of 4 bytes */
}

static bool four_ready(void *data)
{
    return ask_info(data, "text").workers_ready == 4;
}

static void preloaded_weights_are_charged_and_there_once(void **state)
{
    (void)state;
    fixture *fx = ask_registered();
    assert_added(
        add_text(fx, "text", ", \"loader\": \"preloaded\", \"workers\": {\"initial\": 1, \"min\": 1, \"max\": 1}", ", \"threads\": 1, \"max_batch\": 2"));
    assert_text(fx, "text");
    uint64_t one = charged(fx, CADRE_DEVICE_HOST), with_one = resident();
    outcome of = {0};
    assert_status(cadre_registry_remove(fx->pool, "text", ask_outcome, &of), 0);
    run_until_int(fx, &of.done, 1);
    assert_added(
        add_text(fx, "text", ", \"loader\": \"preloaded\", \"workers\": {\"initial\": 4, \"min\": 4, \"max\": 4}", ", \"threads\": 1, \"max_batch\": 2"));
    for (size_t i = 0; i < COUNT(replies); i++) ask_text(fx, &replies[i], "text", references[3].text);
    for (size_t i = 0; i < COUNT(replies); i++) {
        ask_answered(fx, &replies[i]);
        assert_true(ask_cosine(replies[i].values, references[3].vector, REFERENCE_DIMENSION) >= 0.9999);
    }
    run_until(fx, four_ready, fx);
    uint64_t four = charged(fx, CADRE_DEVICE_HOST), worker = (four - one) / 3, weights = one - worker;
    uint64_t with_four = resident();
    print_message("weights %llu, worker %llu; resident with one %llu, with four %llu\n", (unsigned long long)weights, (unsigned long long)worker,
                  (unsigned long long)with_one, (unsigned long long)with_four);
    assert_true(weights >= file_bytes() && weights < file_bytes() * 5 / 4);
    assert_true(worker > 0 && worker < file_bytes());
    if (!SANITIZED) assert_true(with_four < with_one + 3 * worker); /* they add memory of their own */
    fixture_end(fx);
}

/* What `open` says before anything is loaded, and what is charged once a worker has been measured. */
static void the_estimate_is_on_the_safe_side(void **state)
{
    (void)state;
    const cadre_backend *backend = cadre_onnx_backend();
    static const char *const devices[] = {"host"};
    fixture *fx = ask_registered();
    for (int i = 0; i < 2; i++) {
        cadre_option_value values[32] = {0};
        cadre_backend_entry entry = {.size = sizeof entry, .key = "m", .capability = i ? CADRE_IMAGE_EMBEDDING : CADRE_TEXT_EMBEDDING};
        void *self = NULL;
        entry.options = values;
        entry.device_names = devices;
        entry.device_count = 1;
        values[0] = (cadre_option_value){.given = 1, .string = i ? clip() : minilm()};
        values[1] = (cadre_option_value){.given = !i, .string = vocabulary()};
        row("%s", values[0].string);
        assert_status(backend->open(backend, &entry, &self), 0);
        backend->close(self);
        uint64_t estimate = entry.needs[0].weights_bytes + entry.needs[0].worker_bytes;
        if (i) {
            assert_added(add_image(fx, "image", "", ""));
            answer_image(fx, "image", &replies[0]);
        } else {
            assert_added(add_text(fx, "text", "", ""));
            assert_text(fx, "text");
        }
        uint64_t measured = ask_entry(fx, i ? "image" : "text").resident_bytes;
        print_message("estimate %llu, measured %llu\n", (unsigned long long)estimate, (unsigned long long)measured);
        assert_true(measured <= estimate);
        assert_true(measured > estimate / 8);
    }
    assert_int_equal(charged(fx, CADRE_DEVICE_HOST), ask_entry(fx, "text").resident_bytes + ask_entry(fx, "image").resident_bytes);
    fixture_end(fx);
}

/* ---- what is wrong ---- */

static void wrong_entries_say_what_is_wrong(void **state)
{
    (void)state;
    const struct {
        const char *what, *capability, *path, *more;
        int error;
        const char *says;
    } cases[] = {{"a missing file", "image-embedding", "no-such-file.onnx", "", CADRE_EFORMAT, "no-such-file.onnx"},
                 {"a text file", "image-embedding", vocabulary(), "", CADRE_EFORMAT, "not an ONNX file"},
                 {"the wrong capability", "text-embedding", clip(), "", CADRE_ECAPABILITY, "input_ids"},
                 {"the other way round", "image-embedding", minilm(), "", CADRE_ECAPABILITY, "input_ids int64"},
                 {"a capability that the backend lacks", "vision", clip(), "", CADRE_ECAPABILITY, "vision"},
                 {"no vocabulary", "text-embedding", minilm(), ", \"vocabulary\": \"no-such-words.txt\"", CADRE_EFORMAT, "no-such-words.txt"},
                 {"a vocabulary that is none", "text-embedding", minilm(), ", \"vocabulary\": \"/proc/self/cmdline\"", CADRE_EFORMAT, "[PAD]"},
                 {"another size", "image-embedding", clip(), ", \"image_size\": 336", CADRE_EINVAL, "224"},
                 {"an option out of range", "image-embedding", clip(), ", \"max_batch\": 1025", CADRE_EMANIFEST, "max_batch"},
                 {"an unknown pooling", "text-embedding", minilm(), ", \"pooling\": \"max\"", CADRE_EINVAL, "\"max\""},
                 {"a deviation of nothing", "image-embedding", clip(), ", \"image_deviation_g\": 0", CADRE_EMANIFEST, "image_deviation_g"},
                 {"an unknown option", "image-embedding", clip(), ", \"batch\": 4", CADRE_EMANIFEST, "batch"}};
    fixture *fx = ask_registered();
    for (size_t i = 0; i < COUNT(cases); i++) {
        row("%s", cases[i].what);
        outcome of = ask_add(fx, "/", "{\"models\": [{\"key\": \"m\", \"capability\": \"%s\", \"backend\": \"onnx\", \"options\": {\"path\": \"%s\"%s}}]}",
                             cases[i].capability, cases[i].path, cases[i].more);
        assert_status(of.status, cases[i].error);
        assert_contains(of.detail, cases[i].says);
    }
    fixture_end(fx);
}

/* Without the engine: `open` reads the file itself. */
static void damaged_entries_are_refused(void **state)
{
    (void)state;
    char folder[4096];
    assert_non_null(getcwd(folder, sizeof folder));
    fixture *fx = ask_registered();
    for (size_t i = 0; i < 24; i++) {
        row("%zu", i);
        made_cut(clip(), "entry.onnx", i * i * 1000 + i, SIZE_MAX);
        outcome of = ask_add(fx, folder,
                             "{\"models\": [{\"key\": \"m\", \"capability\": \"image-embedding\", \"backend\": \"onnx\", \"options\": {\"path\": "
                             "\"entry.onnx\"}}]}");
        assert_status(of.status, CADRE_EFORMAT);
        assert_contains(of.detail, "entry.onnx");
    }
    unlink("entry.onnx");
    fixture_end(fx);
}

static void an_entry_is_unloaded_in_the_middle_of_its_load(void **state)
{
    (void)state;
    fixture *fx = ask_registered();
    assert_added(add_text(fx, "text", "", ", \"threads\": 1"));
    for (int i = 0; i < 4; i++) {
        row("%d", i);
        ask_text(fx, &replies[0], "text", "a");
        for (int turns = 0; turns < i; turns++) fixture_turn(fx);
        assert_status(cadre_request_cancel(fx->pool, replies[0].id), 0);
        ask_wait(fx, &replies[0]);
        assert_status(replies[0].status, CADRE_ECANCELED);
        outcome of = {0};
        if (cadre_model_unload(fx->pool, "text", ask_outcome, &of) == 0) run_until_int(fx, &of.done, 1);
    }
    assert_text(fx, "text");
    fixture_end(fx);
}

#define SUITE onnx_registry
#include "suite.h"
