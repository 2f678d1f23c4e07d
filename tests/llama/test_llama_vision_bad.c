/* Files of a vision model that are damaged, swapped or of another model: errors with a text, and the process lives. */
#define TESTS_llama_vision_bad(X)                                                                                                                              \
    X(a_tower_belongs_to_vision_alone)                                                                                                                         \
    X(bad_towers_are_errors_with_a_text)                                                                                                                       \
    X(lists_in_a_tower_are_checked)                                                                                                                            \
    X(damaged_language_models_are_errors_with_a_text)                                                                                                          \
    X(a_spoilt_header_never_ends_the_process)

#include "shapes.h"

#include <llama.h>
#include <unistd.h>

static reply replies[1]; /* it holds a whole answer */

static void a_tower_belongs_to_vision_alone(void **state)
{
    (void)state;
    shape_given g;
    void *self;
    row("vision without it");
    assert_status(shape_entry(&g, CADRE_VISION, llava(), NULL, &self), CADRE_EINVAL);
    assert_contains(g.entry.detail, "options.mmproj");
    row("an empty one");
    assert_status(shape_entry(&g, CADRE_VISION, llava(), "", &self), CADRE_EINVAL);
    assert_contains(g.entry.detail, "options.mmproj");
    row("text-to-text with it");
    assert_status(shape_entry(&g, CADRE_TEXT_TO_TEXT, llava(), llava_mmproj(), &self), CADRE_EINVAL);
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

/* Told when the entry opens, and when a host's own loader loads it. */
static void assert_bad(fixture *fx, const char *path, const char *mmproj, const char *says)
{
    shape_given g;
    void *self;
    spawned worker;
    assert_status(shape_entry(&g, CADRE_VISION, path, mmproj, &self), CADRE_EFORMAT);
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
    fixture *fx = chat_begin();
    for (size_t i = 0; i < COUNT(cut); i++) {
        row("%zu bytes", cut[i].bytes);
        file_spoil(llava_mmproj(), made, cut[i].bytes, cut[i].at, 0xFF);
        assert_bad(fx, llava(), made, cut[i].says);
        assert_bad(fx, llava(), made, made);
    }
    for (size_t i = 0; i < COUNT(numbers); i++) {
        row("%s = %u", numbers[i].key, numbers[i].value);
        file_set_number(llava_mmproj(), made, numbers[i].key, numbers[i].value);
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
    cadre_llama_options options = shape_options();
    spawned worker;
    shape_spawn(fx, &worker, "eyes", &options, NULL);
    if (worker.status != 0) fail_msg("%s", worker.detail);
    shape_assert_seen(fx, &replies[0], "eyes", 0);
    fixture_end(fx);
}

#define TILES "clip.vision.image_grid_pinpoints"
#define FEATURES "clip.vision.feature_layer"

static void assert_bad_list(fixture *fx, const char *from, const char *key, const int32_t *list, size_t count, const char *says)
{
    static const char made[] = "vision-list.gguf";
    row("%s: %zu numbers, \"%s\"", key, count, says);
    file_set_list(from, made, key, list, count);
    assert_bad(fx, llava(), made, says);
    unlink(made);
}

/* Pictures wider than the tower's, which are cut into tiles where it has a list of their sizes; and one of the ten, which is not cut. */
static void assert_sees_wide(fixture *fx, const char *from, const char *key, const int32_t *list, size_t count, bool trained)
{
    static const char made[] = "vision-list.gguf";
    static uint8_t pixels[2 * SHAPE_SIDE * SHAPE_SIDE * 3];
    static const uint32_t sizes[][2] = {{2 * SHAPE_SIDE, SHAPE_SIDE}, {1, 6000}, {6000, 1}};
    cadre_llama_options options = shape_options();
    spawned worker;
    row("%s: %zu numbers, sound", key, count);
    file_set_list(from, made, key, list, count);
    options.mmproj = made;
    shape_spawn(fx, &worker, "listed", &options, NULL);
    if (worker.status != 0) fail_msg("%s", worker.detail);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        const cadre_image_input wide = cadre_image_from_rgb8(pixels, sizes[i][0], sizes[i][1]);
        cadre_describe_params params = shape_question("listed", WHAT, &wide, 1);
        shape_ask_and_wait(fx, &replies[0], &params);
        assert_status(replies[0].status, 0);
    }
    if (trained) shape_assert_seen(fx, &replies[0], "listed", 0);
    assert_status(cadre_worker_stop(fx->pool, worker.id), 0);
    unlink(made);
}

#define LIST(...) (const int32_t[]){__VA_ARGS__}, COUNT(((const int32_t[]){__VA_ARGS__}))

/* What libmtmd would end the process at, when it loads the tower or only when it cuts a picture. */
static void lists_in_a_tower_are_checked(void **state)
{
    (void)state;
    static const char stacked[] = "vision-stacked.gguf";
    fixture *fx = chat_begin();
    const char *plain = llava_mmproj();
    assert_bad_list(fx, plain, TILES, LIST(84, 84), "[0] is 84, not 1 to 32 times its image_size 56");
    assert_bad_list(fx, plain, TILES, LIST(56, 112, 56, 57), "[3] is 57");
    assert_bad_list(fx, plain, TILES, LIST(0, 0), "[0] is 0");
    assert_bad_list(fx, plain, TILES, LIST(56, -56), "[1] is -56");
    assert_bad_list(fx, plain, TILES, LIST(56, 33 * 56), "[1] is 1848");
    assert_bad_list(fx, plain, TILES, LIST(INT32_MAX, INT32_MAX), "[0] is 2147483647");
    assert_bad_list(fx, plain, TILES, LIST(56, 56, 112), "3 numbers, not pairs");
    tower_make(stacked, (tower){.blocks = 3, .side = 280, .output = 64});
    assert_bad_list(fx, stacked, TILES, LIST(32 * 280, 32 * 280), "8960 × 8960, more than can be cut");
    assert_bad_list(fx, plain, FEATURES, LIST(4), "[0] is 4, not 0 to 3");
    assert_bad_list(fx, plain, FEATURES, LIST(2, -1), "[1] is -1");
    assert_bad_list(fx, plain, FEATURES, LIST(0, 1), "its tensor mm.0.weight has the shape");
    assert_bad_list(fx, plain, FEATURES, LIST(1, 2, 1), "its tensor mm.0.weight has the shape");
    row("other types");
    file_set_number(plain, stacked, TILES, 56);
    assert_bad(fx, llava(), stacked, "image_grid_pinpoints is not a list");
    file_set_number(plain, stacked, FEATURES, 1);
    assert_bad(fx, llava(), stacked, "feature_layer is not a list");

    assert_sees_wide(fx, plain, TILES, LIST(112, 56, 56, 112), true);
    assert_sees_wide(fx, plain, TILES, LIST(56, 56), true);
    assert_sees_wide(fx, plain, FEATURES, LIST(2, 2), true); /* as without the list */
    assert_sees_wide(fx, plain, FEATURES, LIST(0), false);
    tower_make(stacked, (tower){.blocks = 3, .side = 56, .output = 64, .stacked = 2});
    assert_sees_wide(fx, stacked, FEATURES, LIST(0, 3, 0), false);
    assert_bad_list(fx, stacked, FEATURES, LIST(1), "its tensor mm.0.weight has the shape");
    assert_bad(fx, llava(), stacked, "its tensor mm.0.weight has the shape");
    unlink(stacked);
    fixture_end(fx);
}

static void damaged_language_models_are_errors_with_a_text(void **state)
{
    (void)state;
    static const char made[] = "vision-language.gguf";
    static const size_t lengths[] = {0, 100, 5000, 60000, 200000};
    fixture *fx = chat_begin();
    for (size_t i = 0; i < COUNT(lengths); i++) {
        row("%zu bytes", lengths[i]);
        file_spoil(llava(), made, lengths[i], SIZE_MAX, 0);
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
        file_set_number(llava(), made, numbers[i].key, numbers[i].value);
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
    row("and a long one, which is shown as whole code points");
    char word[80];
    snprintf(word, sizeof word, "%063d\xC3\xA9", 7);
    const char *const pair[] = {word, word};
    header = gguf_init_from_file(llava(), (struct gguf_init_params){.no_alloc = true, .ctx = NULL}), twice = gguf_init_empty();
    gguf_set_kv(twice, header);
    gguf_set_arr_str(twice, "tokenizer.ggml.tokens", (const char **)(uintptr_t)pair, COUNT(pair));
    assert_true(gguf_write_to_file(twice, made, true));
    gguf_free(twice);
    gguf_free(header);
    assert_bad(fx, made, llava_mmproj(), "0007\" twice");
    row("one that makes vectors");
    shape_given g;
    void *self;
    assert_status(shape_entry(&g, CADRE_VISION, minilm(), llava_mmproj(), &self), CADRE_ECAPABILITY);
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
    static picture drawn[2];
    const cadre_image_input images[] = {shape_draw(&drawn[0], &ten_shapes[0]), shape_draw(&drawn[1], &ten_shapes[1])};
    static const char made[] = "vision-spoilt.gguf";
    struct gguf_context *header = gguf_init_from_file(llava_mmproj(), (struct gguf_init_params){.no_alloc = true, .ctx = NULL});
    size_t length = gguf_get_data_offset(header);
    gguf_free(header);
    fixture *fx = chat_begin();
    cadre_llama_options options = shape_options();
    options.mmproj = made;
    options.slots = 1;
    int refused = 0, loaded = 0;
    for (size_t at = 0; at < length; at += SPOILT_STEP) {
        spawned worker;
        row("byte %zu", at);
        file_spoil(llava_mmproj(), made, SIZE_MAX, at, SPOILT_MASK);
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

#define SUITE llama_vision_bad
#include "suite.h"
