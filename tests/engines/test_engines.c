/* All engines in one process, found as modules by a host that links none of them: five capabilities from one cold manifest, evicted and loaded again, cancelled
 * and asked side by side. Weights by the CADRE_TEST_ variables (examples/weights.sh --env). */
#define TESTS_engines(X)                                                                                                                                       \
    X(every_capability_answers_from_one_cold_manifest)                                                                                                         \
    X(what_was_evicted_answers_the_same)                                                                                                                       \
    X(loads_and_work_of_every_engine_can_be_cancelled)                                                                                                         \
    X(workers_of_every_engine_run_side_by_side)                                                                                                                \
    X(the_first_question_to_every_model_comes_while_all_of_them_load)

#include "support.h"

#include <cadre/images.h>
#include <math.h>

#define MIB (INT64_C(1) << 20)
#define SIDE 56

enum { CHAT, TEXTS, TEXTS_ONNX, PICTURES, LOOK, DRAW, DRAW_SD, MODELS };

static const char *const keys[MODELS] = {"chat", "texts", "texts-onnx", "pictures", "look", "draw", "draw-sd"};

static const char *env(const char *variable)
{
    const char *path = getenv(variable);
    if (!path || !*path) fail_msg("%s must name a file: sh examples/weights.sh --env says which", variable);
    return path;
}

/* ---- the host ---- */

typedef struct outcome {
    int done, status;
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

static fixture *host_begin(int64_t memory)
{
    static cadre_image_decoder decoder;
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    assert_status(cadre_images_decoder(NULL, &decoder), 0);
    options.memory_bytes = memory;
    options.backend_path = CADRE_MODULE_FOLDER;
    options.decoder = &decoder;
    return fixture_begin_with(&options);
}

static void add_models(fixture *fx, const char *workers)
{
    char json[8192];
    snprintf(json, sizeof json,
             "{\"models\": [\n"
             "{\"key\": \"chat\", \"capability\": \"text-to-text\", \"backend\": \"llama\", \"workers\": %s,\n"
             "  \"options\": {\"path\": \"%s\", \"context_length\": 512, \"threads\": 1}},\n"
             "{\"key\": \"texts\", \"capability\": \"text-embedding\", \"backend\": \"llama\", \"workers\": %s, \"options\": {\"path\": \"%s\"}},\n"
             "{\"key\": \"texts-onnx\", \"capability\": \"text-embedding\", \"backend\": \"onnx\", \"workers\": %s,\n"
             "  \"options\": {\"path\": \"%s\", \"vocabulary\": \"%s\", \"threads\": 1}},\n"
             "{\"key\": \"pictures\", \"capability\": \"image-embedding\", \"backend\": \"onnx\", \"workers\": %s,\n"
             "  \"options\": {\"path\": \"%s\", \"threads\": 1}},\n"
             "{\"key\": \"look\", \"capability\": \"vision\", \"backend\": \"llama\", \"workers\": %s, \"options\": {\"path\": \"%s\", \"mmproj\": \"%s\"}},\n"
             "{\"key\": \"draw\", \"capability\": \"text-to-image\", \"backend\": \"diffusion\", \"workers\": %s,\n"
             "  \"options\": {\"diffusion_model\": \"%s\", \"clip_l\": \"%s\", \"taesd\": \"%s\", \"width\": 64, \"height\": 64, \"threads\": 1}},\n"
             "{\"key\": \"draw-sd\", \"capability\": \"text-to-image\", \"backend\": \"diffusion\", \"workers\": %s,\n"
             "  \"options\": {\"diffusion_model\": \"%s\", \"clip_l\": \"%s\", \"taesd\": \"%s\", \"width\": 64, \"height\": 64, \"threads\": 1}}]}",
             workers, env("CADRE_TEST_SMOLLM2"), workers, env("CADRE_TEST_MINILM"), workers, env("CADRE_TEST_MINILM_ONNX"), env("CADRE_TEST_MINILM_VOCAB"),
             workers, env("CADRE_TEST_CLIP_ONNX"), workers, env("CADRE_TEST_LLAVA"), env("CADRE_TEST_LLAVA_MMPROJ"), workers, env("CADRE_TEST_FLUX"),
             env("CADRE_TEST_CLIP_L"), env("CADRE_TEST_TAESD"), workers, env("CADRE_TEST_SD35"), env("CADRE_TEST_CLIP_L"), env("CADRE_TEST_TAESD3"));
    outcome of = {0};
    assert_status(cadre_registry_load_text(fx->pool, json, strlen(json), NULL, on_outcome, &of), 0);
    run_until_int(fx, &of.done, 1);
    if (of.status != 0) fail_msg("%s", of.detail);
}

/* ---- one question to each model ---- */

typedef struct question {
    int done, status;
    char detail[1024];
    char text[256];
    size_t length;
    float vector[2048];
    size_t dimension;
    uint8_t pixels[64 * 64 * 3];
    cadre_request_id id;
} question;

static void settled(cadre_request *request, int status)
{
    question *q = cadre_request_data(request);
    q->status = status;
    snprintf(q->detail, sizeof q->detail, "%s", cadre_request_detail(request));
    q->done++;
}

static void on_text(cadre_request *request, const char *text, size_t length)
{
    question *q = cadre_request_data(request);
    if (q->length + length >= sizeof q->text) return;
    memcpy(q->text + q->length, text, length);
    q->length += length;
}

static void on_generation(cadre_request *request, int status, const cadre_generation *result)
{
    (void)result;
    settled(request, status);
}

static void on_vector(cadre_request *request, int status, const cadre_embeddings *result)
{
    question *q = cadre_request_data(request);
    if (result && result->dimension <= COUNT(q->vector)) {
        q->dimension = result->dimension;
        memcpy(q->vector, result->values, result->dimension * sizeof *q->vector);
    }
    settled(request, status);
}

static void on_picture(cadre_request *request, int status, const cadre_image *result)
{
    question *q = cadre_request_data(request);
    for (uint32_t y = 0; result && result->width == 64 && result->height == 64 && y < 64; y++)
        memcpy(q->pixels + y * 192, result->pixels + y * result->stride, 192);
    settled(request, status);
}

/* A red disc on grey, as the vision model was trained on. */
static cadre_image_input red_circle(void)
{
    static uint8_t pixels[SIDE * SIDE * 3];
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            bool inside = (x - 28) * (x - 28) + (y - 28) * (y - 28) <= 14 * 14;
            uint8_t *p = pixels + (y * SIDE + x) * 3;
            p[0] = inside ? 220 : 128, p[1] = inside ? 30 : 128, p[2] = inside ? 30 : 128;
        }
    return cadre_image_from_rgb8(pixels, SIDE, SIDE);
}

static void ask(fixture *fx, question *q, int model)
{
    cadre_image_input picture = red_circle();
    int rc;
    memset(q, 0, sizeof *q);
    switch (model) {
    case CHAT: {
        cadre_generate_params p = CADRE_GENERATE_PARAMS_INIT;
        p.key = keys[model], p.text = "What is the capital of France?", p.sampling.temperature = 0, p.sampling.max_tokens = 16;
        p.on_text = on_text, p.on_done = on_generation, p.data = q;
        rc = cadre_generate(fx->pool, &p, &q->id);
        break;
    }
    case TEXTS:
    case TEXTS_ONNX: {
        cadre_embed_params p = CADRE_EMBED_PARAMS_INIT;
        p.key = keys[model], p.text = "A man is playing a guitar.", p.on_done = on_vector, p.data = q;
        rc = cadre_embed(fx->pool, &p, &q->id);
        break;
    }
    case PICTURES: {
        cadre_embed_images_params p = CADRE_EMBED_IMAGES_PARAMS_INIT;
        p.key = keys[model], p.images = &picture, p.count = 1, p.on_done = on_vector, p.data = q;
        rc = cadre_embed_images(fx->pool, &p, &q->id);
        break;
    }
    case LOOK: {
        cadre_describe_params p = CADRE_DESCRIBE_PARAMS_INIT;
        p.key = keys[model], p.query = "What is in the picture?", p.images = &picture, p.image_count = 1, p.sampling.temperature = 0;
        p.sampling.max_tokens = 8, p.on_text = on_text, p.on_done = on_generation, p.data = q;
        rc = cadre_describe(fx->pool, &p, &q->id);
        break;
    }
    default: {
        cadre_generate_image_params p = CADRE_GENERATE_IMAGE_PARAMS_INIT;
        p.key = keys[model], p.prompt = "a red square", p.seed = 7, p.on_done = on_picture, p.data = q;
        rc = cadre_generate_image(fx->pool, &p, &q->id);
    }
    }
    if (rc < 0) fail_msg("%s: %s: %s", keys[model], cadre_err_name(rc), cadre_pool_error_detail(fx->pool));
}

static void assert_red(const uint8_t *pixels, const char *key)
{
    double mean[3] = {0};
    for (size_t i = 0; i < 64 * 64 * 3; i++) mean[i % 3] += pixels[i] / (64.0 * 64.0);
    if (!(mean[0] > mean[1] + 40 && mean[0] > mean[2] + 40)) fail_msg("%s: \"a red square\" is %.0f, %.0f, %.0f", key, mean[0], mean[1], mean[2]);
}

static void assert_answered(const question *q, int model)
{
    if (q->status != 0) fail_msg("%s: %s: %s", keys[model], cadre_err_name(q->status), q->detail);
    switch (model) {
    case CHAT: assert_contains(q->text, "Paris"); break;
    case LOOK:
        assert_contains(q->text, "red");
        assert_contains(q->text, "circle");
        break;
    case DRAW:
    case DRAW_SD: assert_red(q->pixels, keys[model]); break;
    default: {
        double square = 0;
        for (size_t i = 0; i < q->dimension; i++) square += (double)q->vector[i] * (double)q->vector[i];
        assert_true(q->dimension > 0);
        assert_true(fabs(square - 1) < 1e-3);
    }
    }
}

static void assert_same(const question *a, const question *b, int model)
{
    assert_string_equal(a->text, b->text);
    assert_int_equal(a->dimension, b->dimension);
    for (size_t i = 0; i < a->dimension; i++)
        if (fabsf(a->vector[i] - b->vector[i]) > 1e-6f) fail_msg("%s: value %zu differs", keys[model], i);
    assert_memory_equal(a->pixels, b->pixels, sizeof a->pixels);
}

static cadre_entry_info entry_of(fixture *fx, const char *key)
{
    cadre_entry_info info = CADRE_ENTRY_INFO_INIT;
    assert_status(cadre_registry_get(fx->pool, key, &info), 0);
    return info;
}

/* ---- the tests ---- */

static question questions[MODELS], again[MODELS * 3];

static void every_capability_answers_from_one_cold_manifest(void **state)
{
    (void)state;
    fixture *fx = host_begin(4096 * MIB);
    add_models(fx, "{}");
    for (int i = 0; i < MODELS; i++) {
        row("%s", keys[i]);
        assert_int_equal(entry_of(fx, keys[i]).state, CADRE_MODEL_COLD);
        ask(fx, &questions[i], i);
        run_until_int(fx, &questions[i].done, 1);
        assert_answered(&questions[i], i);
    }
    double dot = 0; /* two engines, two file formats, one model */
    for (size_t i = 0; i < questions[TEXTS].dimension; i++) dot += (double)questions[TEXTS].vector[i] * (double)questions[TEXTS_ONNX].vector[i];
    assert_true(dot > 0.999);
    fixture_end(fx);
}

/* Every model is unloaded, and its memory is back, before the second question loads it again. */
static void what_was_evicted_answers_the_same(void **state)
{
    (void)state;
    fixture *fx = host_begin(4096 * MIB);
    add_models(fx, "{}");
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < MODELS; i++) {
            row("%s, pass %d", keys[i], pass);
            question *q = pass ? &again[i] : &questions[i];
            ask(fx, q, i);
            run_until_int(fx, &q->done, 1);
            assert_answered(q, i);
            outcome of = {0};
            assert_status(cadre_model_unload(fx->pool, keys[i], on_outcome, &of), 0);
            run_until_int(fx, &of.done, 1);
            assert_status(of.status, 0);
            assert_int_equal(entry_of(fx, keys[i]).resident_bytes, 0);
            assert_int_equal(charged(fx, CADRE_DEVICE_HOST), 0);
        }
    for (int i = 0; i < MODELS; i++) assert_same(&questions[i], &again[i], i);
    fixture_end(fx);
}

/* Twice: while it loads, and when it is loaded. Whatever a cancelled request did, the next one is answered. */
static void loads_and_work_of_every_engine_can_be_cancelled(void **state)
{
    (void)state;
    fixture *fx = host_begin(4096 * MIB);
    add_models(fx, "{}");
    for (int i = 0; i < MODELS; i++)
        for (int pass = 0; pass < 2; pass++) {
            row("%s, %s", keys[i], pass ? "loaded" : "loading");
            ask(fx, &questions[i], i);
            for (int turn = 0; turn < 20 && !questions[i].done; turn++) fixture_turn(fx);
            int rc = cadre_request_cancel(fx->pool, questions[i].id);
            run_until_int(fx, &questions[i].done, 1);
            assert_true(rc == 0 ? questions[i].status == CADRE_ECANCELED : questions[i].status == 0);
            ask(fx, &again[i], i);
            run_until_int(fx, &again[i].done, 1);
            assert_answered(&again[i], i);
        }
    fixture_end(fx);
}

static void workers_of_every_engine_run_side_by_side(void **state)
{
    (void)state;
    fixture *fx = host_begin(6144 * MIB);
    add_models(fx, "{\"initial\": 2, \"min\": 2, \"max\": 2}");
    for (int i = 0; i < MODELS * 3; i++) ask(fx, &again[i], i % MODELS);
    for (int i = 0; i < MODELS * 3; i++) {
        row("%s, request %d", keys[i % MODELS], i);
        run_until_int(fx, &again[i].done, 1);
        assert_answered(&again[i], i % MODELS);
        assert_same(&again[i], &again[i % MODELS], i % MODELS);
    }
    fixture_end(fx);
}

static void the_first_question_to_every_model_comes_while_all_of_them_load(void **state)
{
    (void)state;
    fixture *fx = host_begin(600 * MIB); /* room for some of them */
    add_models(fx, "{}");
    for (int i = 0; i < MODELS; i++) ask(fx, &questions[i], i);
    for (int i = 0; i < MODELS; i++) {
        row("%s", keys[i]);
        run_until_int(fx, &questions[i].done, 1);
        assert_answered(&questions[i], i);
        assert_true(charged(fx, CADRE_DEVICE_HOST) <= (uint64_t)(600 * MIB));
    }
    fixture_end(fx);
}

#define SUITE engines
#include "suite.h"
