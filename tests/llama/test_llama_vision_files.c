/* The two files of a vision model: entries by manifest, loads of every kind, what they are charged, and files that are damaged, swapped or of another model. */
#define TESTS_llama_vision_files(X)                                                                                                                            \
    X(a_manifest_a_picture_and_the_same_answer_after_an_unload)                                                                                                \
    X(each_kind_of_loader_answers_alike)                                                                                                                       \
    X(an_async_load_fetches_both_files)                                                                                                                        \
    X(two_workers_of_an_entry_share_weights)                                                                                                                   \
    X(what_is_charged_is_near_the_estimate)                                                                                                                    \
    X(a_tower_belongs_to_vision_alone)                                                                                                                         \
    X(bad_towers_are_errors_with_a_text)                                                                                                                       \
    X(damaged_language_models_are_errors_with_a_text)                                                                                                          \
    X(a_spoilt_header_never_ends_the_process)                                                                                                                  \
    X(a_load_may_be_stopped_at_any_time)

#include "shapes.h"

#include <llama.h>
#include <sys/stat.h>
#include <unistd.h>

static reply replies[4]; /* they hold whole answers */
static picture drawn[TEN];
static cadre_image_input images[TEN];

/* ---- entries ---- */

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

/* `more` continues the entry after its options' two files, beginning with what closes them or with a comma. */
static outcome add(fixture *fx, const char *key, const char *capability, const char *files, const char *more)
{
    char json[4096];
    outcome of = {0};
    int length = snprintf(json, sizeof json,
                          "{\"models\": [{\"key\": \"%s\", \"capability\": \"%s\", \"backend\": \"llama\", \"options\": {%s, \"context_length\": 512%s]}", key,
                          capability, files, more);
    assert_in_range(length, 1, sizeof json - 1);
    assert_status(cadre_registry_load_text(fx->pool, json, (size_t)length, NULL, on_outcome, &of), 0);
    run_until_int(fx, &of.done, 1);
    return of;
}

static const char *both(const char *path, const char *mmproj)
{
    static char text[2048];
    int length = snprintf(text, sizeof text, "\"path\": \"%s\", \"mmproj\": \"%s\"", path, mmproj);
    assert_in_range(length, 1, sizeof text - 1);
    return text;
}

static void unload(fixture *fx, const char *key)
{
    outcome of = {0};
    assert_status(cadre_model_unload(fx->pool, key, on_outcome, &of), 0);
    run_until_int(fx, &of.done, 1);
    assert_status(of.status, 0);
}

static fixture *registered(void)
{
    fixture *fx = chat_begin();
    for (size_t i = 0; i < TEN; i++) images[i] = shape_draw(&drawn[i], &ten_shapes[i]);
    assert_status(cadre_backend_register(fx->pool, cadre_llama_backend()), 0);
    return fx;
}

static void assert_sees(fixture *fx, const char *key, size_t index)
{
    cadre_describe_params params = shape_question(key, WHAT, &images[index], 1);
    shape_ask_and_wait(fx, &replies[0], &params);
    if (replies[0].status != 0) fail_msg("%s: %s (%s)", key, cadre_err_name(replies[0].status), replies[0].detail);
    assert_contains(replies[0].text, ten_shapes[index].colour);
    assert_contains(replies[0].text, ten_shapes[index].form);
}

static void a_manifest_a_picture_and_the_same_answer_after_an_unload(void **state)
{
    (void)state;
    static char first[sizeof replies[0].text];
    fixture *fx = registered();
    outcome of = add(fx, "eyes", "vision", both(llava(), llava_mmproj()), "}}");
    if (of.status != 0) fail_msg("%s", of.detail);
    assert_sees(fx, "eyes", 0);
    snprintf(first, sizeof first, "%s", replies[0].text);
    unload(fx, "eyes");
    assert_int_equal(charged(fx, CADRE_DEVICE_HOST), 0);
    assert_sees(fx, "eyes", 0);
    assert_string_equal(replies[0].text, first);
    fixture_end(fx);
}

static void each_kind_of_loader_answers_alike(void **state)
{
    (void)state;
    static const char *const kinds[] = {"sync", "async", "preloaded"};
    fixture *fx = registered();
    for (size_t i = 0; i < COUNT(kinds); i++) {
        char more[64];
        row("%s", kinds[i]);
        snprintf(more, sizeof more, "}, \"loader\": \"%s\"}", kinds[i]);
        outcome of = add(fx, kinds[i], "vision", both(llava(), llava_mmproj()), more);
        if (of.status != 0) fail_msg("%s", of.detail);
        assert_sees(fx, kinds[i], i);
        unload(fx, kinds[i]);
        assert_sees(fx, kinds[i], i + 1);
    }
    fixture_end(fx);
}

/* ---- the backend's table, by hand ---- */

static uint64_t file_bytes(const char *path)
{
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    return (uint64_t)status.st_size;
}

typedef struct given {
    cadre_option_value values[16];
    cadre_backend_entry entry;
} given;

static int open_entry(given *g, cadre_capability capability, const char *path, const char *mmproj, void **self)
{
    static const char *const devices[] = {"host"};
    const cadre_backend *backend = cadre_llama_backend();
    assert_true(backend->option_count <= COUNT(g->values));
    memset(g, 0, sizeof *g);
    for (size_t i = 0; i < backend->option_count; i++) {
        const char *text = strcmp(backend->options[i].name, "path") == 0 ? path : strcmp(backend->options[i].name, "mmproj") == 0 ? mmproj : NULL;
        if (text) g->values[i] = (cadre_option_value){.given = 1, .string = text};
    }
    g->entry = (cadre_backend_entry){
        .size = sizeof g->entry, .key = "eyes", .capability = capability, .options = g->values, .device_names = devices, .device_count = 1};
    *self = NULL;
    return backend->open(backend, &g->entry, self);
}

typedef struct fetched {
    void *self;
    uint64_t done_bytes, total_bytes;
    int done;
} fetched;

static void on_progress(cadre_future *future, const cadre_progress *progress, void *data)
{
    fetched *of = data;
    (void)future;
    of->done_bytes = progress->done_bytes;
    of->total_bytes = progress->total_bytes;
}

static int make_nothing(cadre_load_context *context, cadre_weights *source, void *data, cadre_vision_model *out)
{
    (void)source;
    (void)data;
    (void)out;
    return cadre_load_fail(context, CADRE_ENOTSUP, "fetched");
}

static cadre_vision_future *load_fetched(cadre_load_context *context, void *data)
{
    fetched *of = data;
    cadre_weights_future *both_files = cadre_llama_backend()->fetch(of->self, context);
    assert_non_null(both_files);
    cadre_weights_future_on_progress(both_files, on_progress, of);
    cadre_vision_future *model = cadre_vision_load_blocking(context, both_files, make_nothing, data);
    cadre_weights_future_release(both_files);
    return model;
}

static void on_settled(cadre_pool *pool, cadre_worker_id worker, int status, const char *detail, void *data)
{
    (void)pool;
    (void)worker;
    (void)detail;
    *(int *)data = status == 0 ? 1 : -status;
}

static void an_async_load_fetches_both_files(void **state)
{
    (void)state;
    given g;
    fetched of = {0};
    fixture *fx = chat_begin();
    assert_status(open_entry(&g, CADRE_VISION, llava(), llava_mmproj(), &of.self), 0);
    cadre_vision_loader loader = {sizeof loader, load_fetched, &of, NULL};
    assert_status(cadre_spawn_vision(fx->pool, "eyes", &loader, NULL, NULL, on_settled, &of.done, NULL), 0);
    run_until_int(fx, &of.done, 1);
    assert_status(-of.done, CADRE_ENOTSUP);
    assert_int_equal(of.total_bytes, file_bytes(llava()) + file_bytes(llava_mmproj()));
    assert_int_equal(of.done_bytes, of.total_bytes);
    fixture_end(fx);
    cadre_llama_backend()->close(of.self);
}

/* ---- memory ---- */

static void two_workers_of_an_entry_share_weights(void **state)
{
    (void)state;
    fixture *fx = registered();
    uint64_t weights, worker;
    cadre_llama_options options = shape_options();
    options.slots = 1;
    assert_status(cadre_llama_estimate(&options, &weights, &worker), 0);
    outcome of = add(fx, "eyes", "vision", both(llava(), llava_mmproj()),
                     ", \"slots\": 1}, \"loader\": \"preloaded\", \"workers\": {\"initial\": 2, \"min\": 2, \"max\": 2}}");
    if (of.status != 0) fail_msg("%s", of.detail);
    for (size_t i = 0; i < COUNT(replies); i++) {
        cadre_describe_params params = shape_question("eyes", WHAT, &images[i], 1);
        shape_ask(fx, &replies[i], &params);
    }
    chat_until_replied(fx, replies, COUNT(replies));
    for (size_t i = 0; i < COUNT(replies); i++) {
        assert_status(replies[i].status, 0);
        assert_contains(replies[i].text, ten_shapes[i].colour);
    }
    assert_true(charged(fx, CADRE_DEVICE_HOST) <= weights + 2 * worker);
    fixture_end(fx);
}

/* The estimate is on the safe side of what the engine named when it made the worker, and not more than twice that. A larger tower takes more of both. */
static void what_is_charged_is_near_the_estimate(void **state)
{
    (void)state;
    static const char path[] = "vision-large.gguf";
    uint64_t measured[2];
    tower_make(path, (tower){.blocks = 60, .side = 280, .output = 64});
    for (int large = 0; large < 2; large++) {
        const char *mmproj = large ? path : llava_mmproj();
        given g;
        void *self;
        row("%s", mmproj);
        fixture *fx = registered();
        outcome of = add(fx, "eyes", "vision", both(llava(), mmproj), "}}");
        if (of.status != 0) fail_msg("%s", of.detail);
        cadre_describe_params params = shape_question("eyes", WHAT, &images[0], 1);
        shape_ask_and_wait(fx, &replies[0], &params);
        assert_status(replies[0].status, 0);
        assert_status(open_entry(&g, CADRE_VISION, llava(), mmproj, &self), 0);
        cadre_llama_backend()->close(self);
        uint64_t estimated = g.entry.needs[0].weights_bytes + g.entry.needs[0].worker_bytes;
        measured[large] = charged(fx, CADRE_DEVICE_HOST);
        printf("measured %llu, estimated %llu\n", (unsigned long long)measured[large], (unsigned long long)estimated);
        assert_true(measured[large] > file_bytes(llava()) * 9 / 10 + file_bytes(mmproj) * 9 / 10);
        assert_in_range(estimated, measured[large], 2 * measured[large]);
        fixture_end(fx);
    }
    assert_true(measured[1] > measured[0] + file_bytes(path) * 9 / 10);
    unlink(path);
}

/* ---- what does not belong together ---- */

static void a_tower_belongs_to_vision_alone(void **state)
{
    (void)state;
    given g;
    void *self;
    row("vision without it");
    assert_status(open_entry(&g, CADRE_VISION, llava(), NULL, &self), CADRE_EINVAL);
    assert_contains(g.entry.detail, "options.mmproj");
    row("an empty one");
    assert_status(open_entry(&g, CADRE_VISION, llava(), "", &self), CADRE_EINVAL);
    assert_contains(g.entry.detail, "options.mmproj");
    row("text-to-text with it");
    assert_status(open_entry(&g, CADRE_TEXT_TO_TEXT, llava(), llava_mmproj(), &self), CADRE_EINVAL);
    assert_contains(g.entry.detail, "options.mmproj");
    row("loaders");
    cadre_llama_options with = shape_options(), without = chat_options(llava());
    cadre_vision_loader eyes;
    cadre_text_to_text_loader chat;
    cadre_text_embedding_loader vectors;
    assert_status(cadre_llama_vision(&without, &eyes), CADRE_EINVAL);
    assert_status(cadre_llama_text_to_text(&with, &chat), CADRE_EINVAL);
    assert_status(cadre_llama_text_embedding(&with, &vectors), CADRE_EINVAL);
    assert_status(cadre_llama_vision(NULL, &eyes), CADRE_EINVAL);
    assert_status(cadre_llama_vision(&with, NULL), CADRE_EINVAL);
}

/* A copy of `from` with `bytes` of it (SIZE_MAX: all), the byte at `at` exchanged for another. */
static void copy_spoilt(const char *from, const char *to, size_t bytes, size_t at, unsigned char mask)
{
    static unsigned char buffer[1 << 20];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    assert_true(in && out);
    size_t count = fread(buffer, 1, bytes < sizeof buffer ? bytes : sizeof buffer, in);
    if (at < count) buffer[at] ^= mask;
    assert_size(fwrite(buffer, 1, count, out), count);
    fclose(in);
    fclose(out);
}

/* A copy with one number changed; an epsilon becomes negative. */
static void set_number(const char *from, const char *to, const char *key, uint32_t value)
{
    struct ggml_context *tensors;
    struct gguf_context *file = gguf_init_from_file(from, (struct gguf_init_params){.no_alloc = false, .ctx = &tensors}), *changed = gguf_init_empty();
    assert_true(file && changed);
    gguf_set_kv(changed, file);
    if (strstr(key, "epsilon"))
        gguf_set_val_f32(changed, key, -(float)value);
    else
        gguf_set_val_u32(changed, key, value);
    for (struct ggml_tensor *t = ggml_get_first_tensor(tensors); t; t = ggml_get_next_tensor(tensors, t)) {
        if (gguf_find_tensor(file, t->name) >= 0) gguf_add_tensor(changed, t);
    }
    assert_true(gguf_write_to_file(changed, to, false));
    gguf_free(changed);
    gguf_free(file);
    ggml_free(tensors);
}

/* Told when the entry opens, and when a host's own loader loads it. */
static void assert_bad(fixture *fx, const char *path, const char *mmproj, const char *says)
{
    given g;
    void *self;
    spawned worker;
    assert_status(open_entry(&g, CADRE_VISION, path, mmproj, &self), CADRE_EFORMAT);
    assert_contains(g.entry.detail, says);
    cadre_llama_options options = shape_options();
    options.path = path;
    options.mmproj = mmproj;
    shape_spawn(fx, &worker, "bad", &options, NULL);
    assert_status(worker.status, CADRE_EFORMAT);
    assert_contains(worker.detail, says);
}

static void bad_towers_are_errors_with_a_text(void **state)
{
    (void)state;
    static const char made[] = "vision-bad.gguf";
    static const struct {
        size_t bytes, at;
        const char *says;
    } cut[] = {{0, SIZE_MAX, "not a GGUF file"}, {3, SIZE_MAX, "not a GGUF file"},      {4096, 0, "not a GGUF file"},         {300, SIZE_MAX, "damaged"},
               {3000, SIZE_MAX, "damaged"},      {100000, SIZE_MAX, "lies beyond its"}, {302000, SIZE_MAX, "lies beyond its"}};
    static const struct {
        const char *key;
        uint32_t value;
        const char *says;
    } numbers[] = {{"clip.vision.image_size", 0, "image_size is 0"},
                   {"clip.vision.image_size", 112, "v.position_embd.weight"},
                   {"clip.vision.patch_size", 0, "patch_size is 0"},
                   {"clip.vision.patch_size", 28, "v.patch_embd.weight"},
                   {"clip.vision.embedding_length", 128, "v.patch_embd.weight"},
                   {"clip.vision.attention.head_count", 3, "not divisible by its 3 heads"},
                   {"clip.vision.attention.head_count", 0, "head_count is 0"},
                   {"clip.vision.block_count", 9, "lacks the tensor v.blk.3"},
                   {"clip.vision.block_count", 100000, "block_count is 100000"},
                   {"clip.has_vision_encoder", 1, "has_vision_encoder is u32"},
                   {"clip.projector_type", 1, "projector_type is u32"},
                   {"clip.vision.attention.layer_norm_epsilon", 1, "layer_norm_epsilon is -1"}};
    fixture *fx = registered();
    for (size_t i = 0; i < COUNT(cut); i++) {
        row("%zu bytes", cut[i].bytes);
        copy_spoilt(llava_mmproj(), made, cut[i].bytes, cut[i].at, 0xFF);
        assert_bad(fx, llava(), made, cut[i].says);
        assert_bad(fx, llava(), made, made);
    }
    for (size_t i = 0; i < COUNT(numbers); i++) {
        row("%s = %u", numbers[i].key, numbers[i].value);
        set_number(llava_mmproj(), made, numbers[i].key, numbers[i].value);
        assert_bad(fx, llava(), made, numbers[i].says);
    }
    row("another width");
    tower_make(made, (tower){.blocks = 3, .side = 56, .output = 96});
    assert_bad(fx, llava(), made, "embeddings of 96 numbers, the language model takes 64");
    unlink(made);
    row("another language model");
    assert_bad(fx, smollm2(), llava_mmproj(), "embeddings of 64 numbers, the language model takes 576");
    row("the language model in its place");
    assert_bad(fx, llava(), llava(), "architecture llama");
    row("in the language model's place");
    assert_bad(fx, llava_mmproj(), llava_mmproj(), "has no vocabulary");
    row("missing, a folder, a device");
    assert_bad(fx, llava(), "no-such-tower.gguf", "no such file");
    assert_bad(fx, llava(), ".", "directory");
    assert_bad(fx, llava(), "/dev/null", "not a regular file");
    row("afterwards");
    outcome of = add(fx, "eyes", "vision", both(llava(), llava_mmproj()), "}}");
    assert_status(of.status, 0);
    assert_sees(fx, "eyes", 0);
    fixture_end(fx);
}

static void damaged_language_models_are_errors_with_a_text(void **state)
{
    (void)state;
    static const char made[] = "vision-language.gguf";
    static const size_t lengths[] = {0, 100, 5000, 60000, 200000};
    fixture *fx = registered();
    for (size_t i = 0; i < COUNT(lengths); i++) {
        row("%zu bytes", lengths[i]);
        copy_spoilt(llava(), made, lengths[i], SIZE_MAX, 0);
        assert_bad(fx, made, llava_mmproj(), made);
    }
    static const struct {
        const char *key;
        uint32_t value;
        const char *says;
    } numbers[] = {{"llama.block_count", 513, "513 layers"},
                   {"llama.expert_count", 8, "0 of 8 experts"},
                   {"llama.nextn_predict_layers", 3, "more layers"},
                   {"llama.attention.layer_norm_rms_epsilon", 1, "epsilon"}};
    for (size_t i = 0; i < COUNT(numbers); i++) {
        row("%s = %u", numbers[i].key, numbers[i].value);
        set_number(llava(), made, numbers[i].key, numbers[i].value);
        assert_bad(fx, made, llava_mmproj(), numbers[i].says);
    }
    row("a word twice");
    struct gguf_context *header = gguf_init_from_file(llava(), (struct gguf_init_params){.no_alloc = true, .ctx = NULL}), *twice = gguf_init_empty();
    static const char *const words[] = {"a", "b", "a"};
    gguf_set_kv(twice, header);
    gguf_set_arr_str(twice, "tokenizer.ggml.tokens", (const char **)(uintptr_t)words, COUNT(words));
    assert_true(gguf_write_to_file(twice, made, true));
    gguf_free(twice);
    gguf_free(header);
    assert_bad(fx, made, llava_mmproj(), "\"a\" twice");
    row("one that makes vectors");
    given g;
    void *self;
    assert_status(open_entry(&g, CADRE_VISION, minilm(), llava_mmproj(), &self), CADRE_ECAPABILITY);
    fixture_end(fx);
    unlink(made);
}

/* Many bytes of the tower's header, one at a time. What still loads must still answer. */
#ifndef SPOILT_STEP
#define SPOILT_STEP 11
#define SPOILT_MASK 0x55
#endif
static void a_spoilt_header_never_ends_the_process(void **state)
{
    (void)state;
    static const char made[] = "vision-spoilt.gguf";
    struct gguf_context *header = gguf_init_from_file(llava_mmproj(), (struct gguf_init_params){.no_alloc = true, .ctx = NULL});
    size_t length = gguf_get_data_offset(header);
    gguf_free(header);
    fixture *fx = registered();
    cadre_llama_options options = shape_options();
    options.mmproj = made;
    options.slots = 1;
    int refused = 0, loaded = 0;
    for (size_t at = 0; at < length; at += SPOILT_STEP) {
        spawned worker;
        row("byte %zu", at);
        copy_spoilt(llava_mmproj(), made, SIZE_MAX, at, SPOILT_MASK);
        shape_spawn(fx, &worker, "spoilt", &options, NULL);
        if (worker.status < 0) {
            assert_true(strlen(worker.detail) > 0);
            refused++;
            continue;
        }
        loaded++;
        cadre_describe_params params = shape_question("spoilt", WHAT, images, 2);
        params.query = "user: <__media__><__media__>what is this?";
        shape_ask_and_wait(fx, &replies[0], &params);
        assert_true(replies[0].status == 0 || strlen(replies[0].detail) > 0);
        assert_status(cadre_worker_stop(fx->pool, worker.id), 0);
    }
    assert_true(refused > 20 && loaded > 20);
    fixture_end(fx);
    unlink(made);
}

/* ---- stopping ---- */

static void a_load_may_be_stopped_at_any_time(void **state)
{
    (void)state;
    static const char path[] = "vision-stop.gguf";
    tower_make(path, (tower){.blocks = 60, .side = 56, .output = 64});
    fixture *fx = registered();
    cadre_llama_options options = shape_options();
    options.mmproj = path;
    bool became_ready = false;
    int stopped = 0;
    for (int turns = 1; !became_ready; turns += turns) {
        cadre_vision_loader loader;
        cadre_worker_id id;
        int settled = 0;
        assert_status(cadre_llama_vision(&options, &loader), 0);
        assert_status(cadre_spawn_vision(fx->pool, "eyes", &loader, NULL, NULL, on_settled, &settled, &id), 0);
        for (int i = 0; i < turns && !settled; i++) fixture_turn(fx);
        became_ready = settled == 1;
        assert_status(cadre_worker_stop(fx->pool, id), 0);
        run_until_int(fx, &settled, 1);
        if (!became_ready) assert_status(-settled, CADRE_ECANCELED);
        stopped += !became_ready;
    }
    assert_true(stopped > 2);
    fixture_end(fx);
    unlink(path);
}

#define SUITE llama_vision_files
#include "suite.h"
