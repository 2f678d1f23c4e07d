#include "ask.h"

#include <math.h>

static const char *path_in(const char *variable)
{
    const char *path = getenv(variable);
    if (!path || !*path) fail_msg("%s must name a file: sh examples/weights.sh makes it", variable);
    return path;
}

const char *minilm(void)
{
    return path_in("CADRE_TEST_MINILM_ONNX");
}

const char *vocabulary(void)
{
    return path_in("CADRE_TEST_MINILM_VOCAB");
}

const char *clip(void)
{
    return path_in("CADRE_TEST_CLIP_ONNX");
}

static void on_stat(uv_fs_t *fs)
{
    uv_fs_req_cleanup(fs);
}

static fixture *begin(void)
{
    uv_loop_t loop;
    uv_fs_t fs;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(uv_fs_stat(&loop, &fs, "/", on_stat), 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    options.memory_bytes = INT64_C(1) << 30;
    options.cores = 2;
    return fixture_begin_with(&options);
}

fixture *ask_begin(void)
{
    return begin();
}

/* ---- spawning ---- */

cadre_onnx_options ask_options(const char *path)
{
    cadre_onnx_options options = CADRE_ONNX_OPTIONS_INIT;
    options.path = path;
    options.vocabulary = vocabulary();
    options.threads = 1;
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

void ask_spawn(fixture *fx, spawned *worker, const char *key, bool text, const cadre_onnx_options *options, cadre_weights_future *weights)
{
    memset(worker, 0, sizeof *worker);
    if (text) {
        cadre_text_embedding_loader loader;
        assert_status(weights ? cadre_onnx_text_embedding_shared(weights, options, &loader) : cadre_onnx_text_embedding(options, &loader), 0);
        assert_status(cadre_spawn_text_embedding(fx->pool, key, &loader, NULL, NULL, on_settled, worker, &worker->id), 0);
    } else {
        cadre_image_embedding_loader loader;
        assert_status(weights ? cadre_onnx_image_embedding_shared(weights, options, &loader) : cadre_onnx_image_embedding(options, &loader), 0);
        assert_status(cadre_spawn_image_embedding(fx->pool, key, &loader, NULL, NULL, on_settled, worker, &worker->id), 0);
    }
}

void ask_spawn_wait(fixture *fx, spawned *worker, const char *key, bool text, const cadre_onnx_options *options, cadre_weights_future *weights)
{
    ask_spawn(fx, worker, key, text, options, weights);
    run_until_int(fx, &worker->settled, 1);
}

void ask_spawned(fixture *fx, const char *key, bool text, const cadre_onnx_options *options)
{
    spawned worker;
    ask_spawn_wait(fx, &worker, key, text, options, NULL);
    if (worker.status != 0) fail_msg("%s: %s (%s)", key, cadre_err_name(worker.status), worker.detail);
}

cadre_model_info ask_info(fixture *fx, const char *key)
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
    cadre_model_info info = ask_info(of->fx, of->key);
    return info.queued + info.running + info.abandoned == 0;
}

void ask_until_quiet(fixture *fx, const char *key)
{
    quiet of = {fx, key};
    run_until(fx, is_quiet, &of);
}

/* ---- asking ---- */

void ask_on_done(cadre_request *request, int status, const cadre_embeddings *result)
{
    reply *r = cadre_request_data(request);
    r->status = status;
    snprintf(r->detail, sizeof r->detail, "%s", cadre_request_detail(request));
    if (result) {
        r->count = result->count;
        r->dimension = result->dimension;
        r->tokens = result->tokens;
        size_t count = result->count * result->dimension;
        memcpy(r->values, result->values, (count < VALUES_MAX ? count : VALUES_MAX) * sizeof *r->values);
    }
    r->done++;
}

static void begin_reply(reply *r)
{
    r->done = r->status = 0;
    r->count = r->dimension = 0;
    r->tokens = 0;
    r->detail[0] = '\0';
}

void ask_texts(fixture *fx, reply *r, const char *key, const char *const *texts, size_t count, bool truncate)
{
    cadre_embed_params params = CADRE_EMBED_PARAMS_INIT;
    begin_reply(r);
    params.key = key;
    params.texts = texts;
    params.count = count;
    params.truncate = truncate;
    params.on_done = ask_on_done;
    params.data = r;
    assert_status(cadre_embed(fx->pool, &params, &r->id), 0);
}

void ask_text(fixture *fx, reply *r, const char *key, const char *text)
{
    ask_texts(fx, r, key, &text, 1, false);
}

void ask_images(fixture *fx, reply *r, const char *key, const cadre_image_input *images, size_t count)
{
    cadre_embed_images_params params = CADRE_EMBED_IMAGES_PARAMS_INIT;
    begin_reply(r);
    params.key = key;
    params.images = images;
    params.count = count;
    params.on_done = ask_on_done;
    params.data = r;
    assert_status(cadre_embed_images(fx->pool, &params, &r->id), 0);
}

void ask_wait(fixture *fx, reply *r)
{
    run_until_int(fx, &r->done, 1);
}

void ask_answered(fixture *fx, reply *r)
{
    ask_wait(fx, r);
    if (r->status != 0) fail_msg("%s (%s)", cadre_err_name(r->status), r->detail);
    assert_in_range(r->count * r->dimension, 1, VALUES_MAX);
}

double ask_cosine(const float *a, const float *b, size_t count)
{
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < count; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return ab / sqrt(aa * bb);
}

double ask_distance(const float *a, const float *b, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++) most = fmax(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

uint8_t *ask_picture(uint32_t width, uint32_t height, uint32_t seed)
{
    uint8_t *pixels = malloc((size_t)width * height * 3);
    uint32_t state = seed * 2654435761u + 1;
    assert_non_null(pixels);
    for (size_t i = 0; i < (size_t)width * height * 3; i++) {
        state = state * 1664525u + 1013904223u;
        pixels[i] = (uint8_t)((state >> 26) + (i / 3 % width) * 128 / width + seed * 16 % 64);
    }
    return pixels;
}

/* ---- entries ---- */

void ask_outcome(cadre_pool *pool, int status, const char *detail, void *data)
{
    outcome *to = data;
    (void)pool;
    to->status = status;
    snprintf(to->detail, sizeof to->detail, "%s", detail);
    to->done++;
}

fixture *ask_registered(void)
{
    fixture *fx = begin();
    assert_status(cadre_backend_register(fx->pool, cadre_onnx_backend()), 0);
    return fx;
}

outcome ask_add(fixture *fx, const char *folder, const char *format, ...)
{
    char json[8192];
    outcome of = {0};
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(json, sizeof json, format, arguments);
    va_end(arguments);
    assert_in_range(length, 1, sizeof json - 1);
    assert_status(cadre_registry_load_text(fx->pool, json, (size_t)length, folder, ask_outcome, &of), 0);
    run_until_int(fx, &of.done, 1);
    return of;
}

void ask_unload(fixture *fx, const char *key)
{
    outcome of = {0};
    assert_status(cadre_model_unload(fx->pool, key, ask_outcome, &of), 0);
    run_until_int(fx, &of.done, 1);
    assert_status(of.status, 0);
}

cadre_entry_info ask_entry(fixture *fx, const char *key)
{
    cadre_entry_info info = CADRE_ENTRY_INFO_INIT;
    assert_status(cadre_registry_get(fx->pool, key, &info), 0);
    return info;
}
