/* The ONNX Runtime backend with real engine and weights: vectors, limits, files that are wrong, cancels, workers that share. */
#define TESTS_onnx(X)                                                                                                                                          \
    X(text_vectors_are_those_of_the_reference)                                                                                                                 \
    X(a_batch_of_texts_equals_single_texts)                                                                                                                    \
    X(tokens_are_pooled_by_their_mean_or_first)                                                                                                                \
    X(long_texts_are_refused_or_cut)                                                                                                                           \
    X(a_text_that_the_engine_cannot_take_fails_no_other)                                                                                                       \
    X(picture_vectors_are_those_of_the_bare_engine)                                                                                                            \
    X(a_batch_of_pictures_equals_single_pictures)                                                                                                              \
    X(pictures_are_normalised_as_the_options_say)                                                                                                              \
    X(options_are_checked)                                                                                                                                     \
    X(workers_run_shared_weights_at_once)                                                                                                                      \
    X(weights_of_another_kind_are_refused)                                                                                                                     \
    X(a_cancelled_load_stops)                                                                                                                                  \
    X(a_cancelled_batch_stops)                                                                                                                                 \
    X(a_batch_stops_only_when_all_are_cancelled)                                                                                                               \
    X(the_engine_threads_have_the_workers_priority)

#include "ask.h"
#include "minilm.h"

#include <dirent.h>
#include <math.h>
#include <onnxruntime_c_api.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

static reply replies[40]; /* they hold whole answers */

/* ---- texts ---- */

static void text_vectors_are_those_of_the_reference(void **state)
{
    (void)state;
    fixture *fx = ask_begin();
    cadre_onnx_options options = ask_options(minilm());
    ask_spawned(fx, "minilm", true, &options);
    for (size_t i = 0; i < COUNT(references); i++) {
        row("%s", references[i].text);
        ask_text(fx, &replies[0], "minilm", references[i].text);
        ask_answered(fx, &replies[0]);
        assert_size(replies[0].dimension, REFERENCE_DIMENSION);
        assert_int_equal(replies[0].tokens, references[i].tokens);
        assert_true(ask_cosine(replies[0].values, references[i].vector, REFERENCE_DIMENSION) >= 0.9999);
        assert_true(fabs(ask_cosine(replies[0].values, replies[0].values, REFERENCE_DIMENSION) - 1.0) < 1e-6);
    }
    fixture_end(fx);
}

/* Texts of very different lengths, in more parts than one: padding changes no row. */
static void a_batch_of_texts_equals_single_texts(void **state)
{
    (void)state;
    static char long_texts[24][1600];
    const char *texts[COUNT(long_texts)];
    for (size_t i = 0; i < COUNT(long_texts); i++) {
        size_t words = i * 37 % 300, length = 0;
        for (size_t w = 0; w < words; w++) length += (size_t)snprintf(long_texts[i] + length, sizeof long_texts[i] - length, "%s ", w % 3 ? "and" : "tree");
        snprintf(long_texts[i] + length, sizeof long_texts[i] - length, "number %zu", i);
        texts[i] = long_texts[i];
    }
    fixture *fx = ask_begin();
    cadre_onnx_options options = ask_options(minilm());
    ask_spawned(fx, "minilm", true, &options);
    ask_texts(fx, &replies[0], "minilm", texts, COUNT(long_texts), false);
    ask_answered(fx, &replies[0]);
    assert_size(replies[0].count, COUNT(long_texts));
    for (size_t i = 0; i < COUNT(long_texts); i++) {
        row("%zu", i);
        ask_text(fx, &replies[1], "minilm", texts[i]);
        ask_answered(fx, &replies[1]);
        assert_true(ask_distance(replies[1].values, replies[0].values + i * REFERENCE_DIMENSION, REFERENCE_DIMENSION) < 1e-5);
    }
    fixture_end(fx);
}

/* A model whose vectors are the ids themselves. */
static void tokens_are_pooled_by_their_mean_or_first(void **state)
{
    (void)state;
    static const struct {
        const char *key, *pooling;
        int32_t normalize, types;
        float expected; /* of "a b": [CLS] 101, a 1037, b 1038, [SEP] 102 */
    } cases[] = {{"mean", NULL, 0, 0, 569.5f}, {"named", "mean", 0, 1, 569.5f}, {"first", "cls", 0, 1, 101.0f}, {"unit", "mean", 1, 0, 1.0f}};
    static const char *const texts[] = {"a b", "a b c d e f"};
    fixture *fx = ask_begin();
    for (size_t i = 0; i < COUNT(cases); i++) {
        row("%s", cases[i].key);
        make_ids("ids.onnx", cases[i].types);
        cadre_onnx_options options = ask_options("ids.onnx");
        options.pooling = cases[i].pooling;
        options.normalize = cases[i].normalize;
        ask_spawned(fx, cases[i].key, true, &options);
        ask_texts(fx, &replies[0], cases[i].key, texts, COUNT(texts), false);
        ask_answered(fx, &replies[0]);
        assert_size(replies[0].dimension, 1);
        assert_true(fabsf(replies[0].values[0] - cases[i].expected) < 1e-3f);
    }
    unlink("ids.onnx");
    fixture_end(fx);
}

static void on_refused(cadre_request *request, int status, const cadre_embeddings *result)
{
    reply *r = cadre_request_data(request);
    (void)result;
    r->status = status;
    r->done++;
}

/* Texts of several requests in one part of one call. */
static void a_text_that_the_engine_cannot_take_fails_no_other(void **state)
{
    (void)state;
    static const char *const texts[] = {"a c", "a b", "b b", "b c", "c c"};
    static const float means[] = {(101 + 1037 + 1039 + 102) / 4.0f, 0, 0, 0, (101 + 1039 + 1039 + 102) / 4.0f};
    fixture *fx = ask_begin();
    make_picky("picky.onnx", 1038); /* b */
    cadre_onnx_options options = ask_options("picky.onnx");
    options.normalize = 0;
    ask_spawned(fx, "picky", true, &options);
    ask_text(fx, &replies[COUNT(texts)], "picky", texts[0]); /* the others wait for it, and come together */
    uv_run(&fx->loop, UV_RUN_NOWAIT);
    for (size_t i = 0; i < COUNT(texts); i++) ask_text(fx, &replies[i], "picky", texts[i]);
    for (size_t i = 0; i < COUNT(texts); i++) {
        row("%s", texts[i]);
        ask_wait(fx, &replies[i]);
        assert_status(replies[i].status, means[i] > 0 ? CADRE_OK : CADRE_EENGINE);
        if (means[i] > 0)
            assert_true(fabsf(replies[i].values[0] - means[i]) < 1e-3f);
        else
            assert_contains(replies[i].detail, "Gather");
    }
    unlink("picky.onnx");
    fixture_end(fx);
}

static void long_texts_are_refused_or_cut(void **state)
{
    (void)state;
    fixture *fx = ask_begin();
    cadre_onnx_options options = ask_options(minilm());
    options.context_length = 6;
    ask_spawned(fx, "six", true, &options);
    ask_text(fx, &replies[0], "six", "one two three four five");
    ask_wait(fx, &replies[0]);
    assert_status(replies[0].status, CADRE_ETOOLONG);
    assert_contains(replies[0].detail, "7 tokens; the model takes 6");
    row("the others of its batch are answered");
    ask_text(fx, &replies[0], "six", "one two three four five");
    ask_text(fx, &replies[1], "six", "one two three four");
    ask_wait(fx, &replies[0]);
    ask_answered(fx, &replies[1]);
    assert_status(replies[0].status, CADRE_ETOOLONG);
    row("the request's cut");
    static const char *const one[] = {"one two three four five"};
    ask_texts(fx, &replies[2], "six", one, 1, true);
    ask_answered(fx, &replies[2]);
    assert_int_equal(replies[2].tokens, 6);
    assert_true(ask_distance(replies[2].values, replies[1].values, REFERENCE_DIMENSION) < 1e-5);
    row("the option's cut");
    options.truncate = 1;
    ask_spawned(fx, "cut", true, &options);
    ask_text(fx, &replies[3], "cut", one[0]);
    ask_answered(fx, &replies[3]);
    assert_true(ask_distance(replies[3].values, replies[1].values, REFERENCE_DIMENSION) < 1e-5);
    row("a task");
    cadre_embed_params params = CADRE_EMBED_PARAMS_INIT;
    params.key = "six";
    params.text = "one";
    params.task = "query";
    params.on_done = on_refused;
    params.data = &replies[0];
    replies[0].done = 0;
    assert_status(cadre_embed(fx->pool, &params, NULL), 0);
    ask_wait(fx, &replies[0]);
    assert_status(replies[0].status, CADRE_ENOTSUP);
    fixture_end(fx);
}

/* ---- pictures ---- */

/* The engine alone, with one thread, and its own defaults; pictures of the model's size, so that nothing is scaled. */
static void bare_run(const char *path, const uint8_t *pixels, int64_t side, float *out, size_t dimension)
{
    static const float mean[] = {0.48145466f, 0.4578275f, 0.40821073f}, deviation[] = {0.26862954f, 0.26130258f, 0.27577711f};
    const OrtApi *api = OrtGetApiBase()->GetApi(22);
    OrtEnv *env = NULL;
    OrtSessionOptions *options = NULL;
    OrtSession *session = NULL;
    OrtMemoryInfo *info = NULL;
    OrtValue *input = NULL, *output = NULL;
    OrtAllocator *allocator = NULL;
    char *in = NULL, *name = NULL;
    void *values = NULL;
    const int64_t dims[] = {1, 3, side, side};
    size_t plane = (size_t)(side * side);
    float *tensor = malloc(3 * plane * sizeof *tensor);
    for (size_t i = 0; i < 3 * plane; i++) tensor[i % 3 * plane + i / 3] = ((float)pixels[i] / 255.0f - mean[i % 3]) / deviation[i % 3];
    assert_null(api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "bare", &env));
    assert_null(api->CreateSessionOptions(&options));
    assert_null(api->SetIntraOpNumThreads(options, 1));
    assert_null(api->CreateSession(env, path, options, &session));
    assert_null(api->GetAllocatorWithDefaultOptions(&allocator));
    assert_null(api->SessionGetInputName(session, 0, allocator, &in));
    assert_null(api->SessionGetOutputName(session, 0, allocator, &name));
    assert_null(api->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &info));
    assert_null(api->CreateTensorWithDataAsOrtValue(info, tensor, 3 * plane * sizeof *tensor, dims, 4, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &input));
    assert_null(api->Run(session, NULL, (const char *const *)&in, (const OrtValue *const *)&input, 1, (const char *const *)&name, 1, &output));
    assert_null(api->GetTensorMutableData(output, &values));
    memcpy(out, values, dimension * sizeof *out);
    assert_null(api->AllocatorFree(allocator, in));
    assert_null(api->AllocatorFree(allocator, name));
    api->ReleaseValue(input);
    api->ReleaseValue(output);
    api->ReleaseMemoryInfo(info);
    api->ReleaseSession(session);
    api->ReleaseSessionOptions(options);
    api->ReleaseEnv(env);
    free(tensor);
}

#define SIDE 224

static void picture_vectors_are_those_of_the_bare_engine(void **state)
{
    (void)state;
    static float expected[4096];
    fixture *fx = ask_begin();
    cadre_onnx_options options = ask_options(clip());
    ask_spawned(fx, "clip", false, &options);
    for (uint32_t i = 0; i < 4; i++) {
        row("%u", i);
        uint8_t *pixels = ask_picture(SIDE, SIDE, i);
        cadre_image_input input = cadre_image_from_rgb8(pixels, SIDE, SIDE);
        ask_images(fx, &replies[i], "clip", &input, 1);
        ask_answered(fx, &replies[i]);
        bare_run(clip(), pixels, SIDE, expected, replies[i].dimension);
        assert_true(ask_cosine(replies[i].values, expected, replies[i].dimension) >= 0.999999);
        if (i > 0) assert_true(ask_distance(replies[i].values, replies[0].values, replies[0].dimension) > 1e-4);
        free(pixels);
    }
    fixture_end(fx);
}

/* Of different sizes, and with more than one part. */
static void a_batch_of_pictures_equals_single_pictures(void **state)
{
    (void)state;
    enum { PICTURES = 40 };
    cadre_image_input inputs[PICTURES];
    uint8_t *pixels[PICTURES];
    fixture *fx = ask_begin();
    cadre_onnx_options options = ask_options(clip());
    options.max_batch = 16;
    ask_spawned(fx, "clip", false, &options);
    for (uint32_t i = 0; i < PICTURES; i++) {
        uint32_t width = 100 + i * 53 % 300, height = 100 + i * 31 % 300;
        pixels[i] = ask_picture(width, height, i);
        inputs[i] = cadre_image_from_rgb8(pixels[i], width, height);
    }
    ask_images(fx, &replies[0], "clip", inputs, PICTURES);
    ask_answered(fx, &replies[0]);
    assert_size(replies[0].count, PICTURES);
    for (size_t i = 0; i < PICTURES; i++) {
        row("%zu", i);
        ask_images(fx, &replies[1], "clip", &inputs[i], 1);
        ask_answered(fx, &replies[1]);
        assert_true(ask_distance(replies[1].values, replies[0].values + i * replies[1].dimension, replies[1].dimension) < 1e-5);
        free(pixels[i]);
    }
    fixture_end(fx);
}

/* A model whose vector is its tensor. */
static void pictures_are_normalised_as_the_options_say(void **state)
{
    (void)state;
    uint8_t *pixels = ask_picture(4, 4, 7);
    cadre_image_input input = cadre_image_from_rgb8(pixels, 4, 4);
    fixture *fx = ask_begin();
    make_flat("flat.onnx");
    cadre_onnx_options options = ask_options("flat.onnx");
    options.normalize = 0;
    for (int i = 0; i < 3; i++) {
        options.image_mean[i] = 0.1f * (float)(i + 1);
        options.image_deviation[i] = 0.5f + 0.1f * (float)i;
    }
    ask_spawned(fx, "flat", false, &options);
    ask_images(fx, &replies[0], "flat", &input, 1);
    ask_answered(fx, &replies[0]);
    assert_size(replies[0].dimension, 48);
    for (size_t i = 0; i < 48; i++) {
        size_t channel = i / 16;
        float expected = ((float)pixels[i % 16 * 3 + channel] / 255.0f - options.image_mean[channel]) / options.image_deviation[channel];
        row("%zu", i);
        assert_true(fabsf(replies[0].values[i] - expected) < 1e-6f);
    }
    unlink("flat.onnx");
    free(pixels);
    fixture_end(fx);
}

/* ---- options, weights ---- */

static void options_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t field;
        int32_t least, most;
    } numbers[] = {{"threads", offsetof(cadre_onnx_options, threads), 1, 512},
                   {"max_batch", offsetof(cadre_onnx_options, max_batch), 1, 1024},
                   {"context_length", offsetof(cadre_onnx_options, context_length), 3, 1 << 20},
                   {"truncate", offsetof(cadre_onnx_options, truncate), 0, 1},
                   {"lower_case", offsetof(cadre_onnx_options, lower_case), 0, 1},
                   {"normalize", offsetof(cadre_onnx_options, normalize), 0, 1},
                   {"image_size", offsetof(cadre_onnx_options, image_size), 1, 4096}};
    cadre_text_embedding_loader loader;
    cadre_onnx_options options = ask_options("model.onnx");
    for (size_t i = 0; i < COUNT(numbers); i++) {
        const int32_t values[] = {numbers[i].least, numbers[i].most, numbers[i].least == 0 ? -2 : numbers[i].least - 2, numbers[i].most + 1};
        for (size_t k = 0; k < COUNT(values); k++) {
            row("%s %d", numbers[i].name, values[k]);
            options = ask_options("model.onnx");
            memcpy((char *)&options + numbers[i].field, &values[k], sizeof values[k]);
            bool good = k < 2 || values[k] == CADRE_DEFAULT;
            assert_status(cadre_onnx_text_embedding(&options, &loader), good ? 0 : CADRE_EINVAL);
            if (good) loader.release(loader.data);
        }
    }
    row("texts and channels");
    options = ask_options("model.onnx");
    options.pooling = "max";
    assert_status(cadre_onnx_text_embedding(&options, &loader), CADRE_EINVAL);
    options = ask_options("model.onnx");
    options.image_deviation[1] = 0;
    assert_status(cadre_onnx_text_embedding(&options, &loader), CADRE_EINVAL);
    options = ask_options("");
    assert_status(cadre_onnx_text_embedding(&options, &loader), CADRE_EINVAL);
    options = ask_options("model.onnx");
    options.size = 3;
    assert_status(cadre_onnx_text_embedding(&options, &loader), CADRE_EINVAL);
    assert_status(cadre_onnx_text_embedding(NULL, &loader), CADRE_EINVAL);
    options = ask_options("model.onnx");
    assert_status(cadre_onnx_image_embedding(&options, NULL), CADRE_EINVAL);
}

static bool have_values(const reply *r, const reply *as, size_t count)
{
    return ask_distance(r->values, as->values, count) == 0;
}

static void workers_run_shared_weights_at_once(void **state)
{
    (void)state;
    enum { WORKERS = 4, REQUESTS = 32 };
    spawned workers[WORKERS];
    cadre_weights_future *weights;
    fixture *fx = ask_begin();
    cadre_onnx_options options = ask_options(minilm());
    options.max_batch = 1;
    assert_status(cadre_onnx_weights(fx->pool, &options, NULL, &weights), 0);
    for (size_t i = 0; i < WORKERS; i++) ask_spawn(fx, &workers[i], "minilm", true, &options, weights);
    for (size_t i = 0; i < WORKERS; i++) {
        run_until_int(fx, &workers[i].settled, 1);
        assert_status(workers[i].status, 0);
    }
    cadre_weights_future_release(weights);
    for (size_t i = 0; i < REQUESTS; i++) ask_text(fx, &replies[i], "minilm", references[i % 2].text);
    for (size_t i = 0; i < REQUESTS; i++) {
        ask_answered(fx, &replies[i]);
        assert_true(have_values(&replies[i], &replies[i % 2], REFERENCE_DIMENSION));
    }
    assert_int_equal(ask_info(fx, "minilm").workers_ready, WORKERS);
    fixture_end(fx);
}

static int make_nothing(cadre_load_context *context, void *data, cadre_weights_value *out)
{
    static int nothing;
    (void)context;
    (void)data;
    *out = (cadre_weights_value){sizeof *out, &nothing, NULL, &nothing};
    return 0;
}

static void weights_of_another_kind_are_refused(void **state)
{
    (void)state;
    spawned worker;
    cadre_weights_future *weights;
    fixture *fx = ask_begin();
    cadre_onnx_options options = ask_options(clip());
    row("not of this backend");
    assert_status(cadre_weights_load_blocking(fx->pool, make_nothing, NULL, NULL, NULL, &weights), 0);
    ask_spawn_wait(fx, &worker, "a", true, &options, weights);
    assert_status(worker.status, CADRE_EINVAL);
    assert_contains(worker.detail, "cadre_onnx_weights");
    cadre_weights_future_release(weights);
    row("of pictures");
    assert_status(cadre_onnx_weights(fx->pool, &options, NULL, &weights), 0);
    ask_spawn_wait(fx, &worker, "b", true, &options, weights);
    assert_status(worker.status, CADRE_ECAPABILITY);
    cadre_weights_future_release(weights);
    fixture_end(fx);
}

/* ---- cancels ---- */

/* A load that, left alone, takes longer than the watchdog waits: the trial runs a picture through a thousand large products. */
static void make_endless(const char *path)
{
    made graph = {0};
    static const int64_t side[] = {2048, 2048}, zero = 0, one = 1;
    char from[16] = "m0", with[40], to[16];
    made_value(&graph, true, (value_of){"pixels", 1, 4, {-1, 3, 4, 4}});
    made_value(&graph, false, (value_of){"out", 1, 2, {-1, 48}});
    made_int64(&graph, "side", side, 2);
    made_int64(&graph, "zero", &zero, 1);
    made_int64(&graph, "one", &one, 1);
    made_node(&graph, "Flatten", "pixels", "flat", "axis=1");
    made_node(&graph, "Slice", "flat,zero,one,one", "number", NULL);
    made_node(&graph, "Expand", "number,side", "m0", NULL);
    for (int i = 1; i <= 1000; i++) {
        snprintf(with, sizeof with, "%s,%s", from, from);
        snprintf(to, sizeof to, "m%d", i);
        made_node(&graph, "MatMul", with, to, NULL);
        memcpy(from, to, sizeof from);
    }
    made_node(&graph, "ReduceSum", from, "sum", "keepdims=0");
    made_node(&graph, "Add", "flat,sum", "out", NULL);
    made_write(&graph, path);
}

static void on_progress(cadre_pool *pool, cadre_worker_id worker, const cadre_progress *progress, void *data)
{
    spawned *to = data;
    (void)pool;
    (void)worker;
    if (strcmp(progress->stage, "try") == 0) to->detail[0] = 't';
}

static void on_ready(cadre_pool *pool, cadre_worker_id worker, int status, const char *detail, void *data)
{
    spawned *to = data;
    (void)pool;
    (void)worker;
    (void)detail;
    to->status = status;
    to->settled++;
}

static bool is_trying(void *data)
{
    return ((spawned *)data)->detail[0] == 't';
}

static void a_cancelled_load_stops(void **state)
{
    (void)state;
    spawned worker = {0};
    cadre_image_embedding_loader loader;
    cadre_spawn_options spawn = CADRE_SPAWN_OPTIONS_INIT;
    fixture *fx = ask_begin();
    make_endless("endless.onnx");
    cadre_onnx_options options = ask_options("endless.onnx");
    spawn.on_progress = on_progress;
    row("while the model is tried");
    assert_status(cadre_onnx_image_embedding(&options, &loader), 0);
    assert_status(cadre_spawn_image_embedding(fx->pool, "endless", &loader, NULL, &spawn, on_ready, &worker, &worker.id), 0);
    run_until(fx, is_trying, &worker);
    assert_status(cadre_worker_stop(fx->pool, worker.id), 0);
    run_until_int(fx, &worker.settled, 1);
    assert_status(worker.status, CADRE_ECANCELED);
    unlink("endless.onnx");
    row("while the session is made");
    memset(&worker, 0, sizeof worker);
    options = ask_options(minilm());
    ask_spawn(fx, &worker, "minilm", true, &options, NULL);
    fixture_turn(fx);
    assert_status(cadre_worker_stop(fx->pool, worker.id), 0);
    run_until_int(fx, &worker.settled, 1);
    assert_status(worker.status, CADRE_ECANCELED);
    fixture_end(fx); /* the close waits for the loader's thread */
}

typedef struct started {
    fixture *fx;
    const char *key;
    uint64_t count;
} started;

static bool is_started(void *data)
{
    started *of = data;
    return ask_info(of->fx, of->key).running >= of->count;
}

static int64_t nanoseconds(clockid_t clock)
{
    struct timespec t;
    assert_int_equal(clock_gettime(clock, &t), 0);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* Until the other threads have computed for so long: the engine is at work. */
static void until_at_work(fixture *fx, int64_t ms)
{
    int64_t start = nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - nanoseconds(CLOCK_THREAD_CPUTIME_ID);
    while (nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - nanoseconds(CLOCK_THREAD_CPUTIME_ID) < start + ms * 1000000) {
        fixture_turn(fx);
        sched_yield();
    }
}

static void slow_worker(fixture *fx, cadre_image_input *inputs, uint8_t **pixels)
{
    make_slow("slow.onnx");
    cadre_onnx_options options = ask_options("slow.onnx");
    ask_spawned(fx, "slow", false, &options);
    unlink("slow.onnx");
    *pixels = ask_picture(4, 4, 1);
    for (int i = 0; i < 32; i++) inputs[i] = cadre_image_from_rgb8(*pixels, 4, 4);
}

static void a_cancelled_batch_stops(void **state)
{
    (void)state;
    cadre_image_input inputs[32];
    uint8_t *pixels;
    fixture *fx = ask_begin();
    slow_worker(fx, inputs, &pixels);
    ask_images(fx, &replies[0], "slow", inputs, 32);
    started of = {fx, "slow", 1};
    run_until(fx, is_started, &of);
    until_at_work(fx, 100);
    assert_int_equal(replies[0].done, 0);
    assert_status(cadre_request_cancel(fx->pool, replies[0].id), 0);
    ask_wait(fx, &replies[0]);
    assert_status(replies[0].status, CADRE_ECANCELED);
    ask_until_quiet(fx, "slow"); /* after minutes, if the engine were not stopped */
    row("the worker goes on");
    ask_images(fx, &replies[1], "slow", inputs, 1);
    ask_answered(fx, &replies[1]);
    free(pixels);
    fixture_end(fx);
}

/* Two requests in one batch: one cancel alone leaves the other its answer. */
static void a_batch_stops_only_when_all_are_cancelled(void **state)
{
    (void)state;
    cadre_image_input inputs[32];
    uint8_t *pixels;
    fixture *fx = ask_begin();
    slow_worker(fx, inputs, &pixels);
    ask_images(fx, &replies[0], "slow", inputs, 1);
    ask_images(fx, &replies[1], "slow", inputs, 5);
    ask_images(fx, &replies[2], "slow", inputs, 2);
    started of = {fx, "slow", 2};
    run_until(fx, is_started, &of);
    assert_status(cadre_request_cancel(fx->pool, replies[1].id), 0);
    for (int i = 0; i < 3; i++) ask_wait(fx, &replies[i]);
    assert_status(replies[1].status, CADRE_ECANCELED);
    assert_status(replies[0].status, 0);
    assert_status(replies[2].status, 0);
    assert_size(replies[2].count, 2);
    free(pixels);
    fixture_end(fx);
}

/* ---- threads ---- */

/* How many threads the process has with a lower priority than this one. */
static int low_threads(int *count)
{
    DIR *folder = opendir("/proc/self/task");
    int low = 0, mine = getpriority(PRIO_PROCESS, 0);
    assert_non_null(folder);
    *count = 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (entry->d_name[0] == '.') continue;
        (*count)++;
        low += getpriority(PRIO_PROCESS, (id_t)atoi(entry->d_name)) > mine;
    }
    closedir(folder);
    return low;
}

/* The loader's threads and the watcher have a low priority. */
static void the_engine_threads_have_the_workers_priority(void **state)
{
    (void)state;
    spawned worker;
    int before, count, low;
    fixture *fx = ask_begin();
    cadre_onnx_options options = ask_options(clip());
    ask_spawned(fx, "one", false, &options);
    low = low_threads(&before);
    options.threads = 5;
    ask_spawn_wait(fx, &worker, "five", false, &options, NULL);
    assert_status(worker.status, 0);
    int now = low_threads(&count);
    assert_true(count - now >= before - low + 4 + 1); /* the engine's four, the worker's own */
    fixture_end(fx);
}

#define SUITE onnx
#include "suite.h"
