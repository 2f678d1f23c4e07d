#include "draw.h"

const char *weights_file(const char *variable)
{
    const char *path = getenv(variable);
    if (!path || !*path) fail_msg("%s must name a file (see tests/run.sh)", variable);
    return path;
}

fixture *draw_begin(void)
{
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    options.memory_bytes = INT64_C(4) << 30;
    fixture *fx = fixture_begin_with(&options);
    assert_status(cadre_backend_register(fx->pool, cadre_diffusion_backend()), 0);
    return fx;
}

cadre_diffusion_options draw_options(const char *transformer)
{
    cadre_diffusion_options options = CADRE_DIFFUSION_OPTIONS_INIT;
    options.diffusion_model = transformer;
    options.clip_l = CLIP_L;
    options.taesd = TAESD;
    options.threads = 1;
    options.width = options.height = SIDE;
    options.guidance = 1;
    return options;
}

/* ---- models ---- */

void on_outcome(cadre_pool *pool, int status, const char *detail, void *data)
{
    outcome *to = data;
    (void)pool;
    to->status = status;
    snprintf(to->detail, sizeof to->detail, "%s", detail);
    to->done++;
}

outcome draw_add_text(fixture *fx, const char *format, ...)
{
    char json[8192];
    outcome of = {0};
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(json, sizeof json, format, arguments);
    va_end(arguments);
    assert_in_range(length, 1, sizeof json - 1);
    assert_status(cadre_registry_load_text(fx->pool, json, (size_t)length, NULL, on_outcome, &of), 0);
    run_until_int(fx, &of.done, 1);
    return of;
}

void draw_add(fixture *fx, const char *key, const char *transformer, const char *loader, const char *workers, const char *more)
{
    outcome of = draw_add_text(fx,
                               "{\"models\": [{\"key\": \"%s\", \"capability\": \"text-to-image\", \"backend\": \"diffusion\", \"loader\": \"%s\", "
                               "\"workers\": {\"max\": %s}, \"options\": {\"diffusion_model\": \"%s\", \"clip_l\": \"%s\", \"taesd\": \"%s\", "
                               "\"threads\": 1, \"width\": 64, \"height\": 64, \"guidance\": 1%s}}]}",
                               key, loader, workers, transformer, CLIP_L, TAESD, more);
    if (of.status != 0) fail_msg("%s: %s", key, of.detail);
}

void draw_unload(fixture *fx, const char *key)
{
    outcome of = {0};
    assert_status(cadre_model_unload(fx->pool, key, on_outcome, &of), 0);
    run_until_int(fx, &of.done, 1);
    assert_status(of.status, 0);
}

/* ---- pictures ---- */

static void on_step(cadre_request *request, uint32_t done, uint32_t total)
{
    picture *p = cadre_request_data(request);
    if (p->done) fixture_fault(p->fx, "a step after the end");
    if (p->reports > 0 && done < p->reached) p->backwards++;
    p->reached = done;
    p->total = total;
    p->reports++;
    if (p->cancel_at == 0 || done < (uint32_t)p->cancel_at) return;
    p->cancel_at = 0;
    if (cadre_request_cancel(cadre_request_pool(request), p->id) != 0) fixture_fault(p->fx, "cancelling");
}

static void on_picture(cadre_request *request, int status, const cadre_image *result)
{
    picture *p = cadre_request_data(request);
    p->status = status;
    snprintf(p->detail, sizeof p->detail, "%s", cadre_request_detail(request));
    if (result && (size_t)result->width * result->height * 3 <= sizeof p->pixels) {
        p->width = result->width;
        p->height = result->height;
        for (uint32_t y = 0; y < result->height; y++)
            memcpy(p->pixels + (size_t)y * result->width * 3, result->pixels + y * result->stride, (size_t)result->width * 3);
    }
    p->done++;
}

cadre_generate_image_params draw_params(const char *key, const char *prompt, int64_t seed)
{
    cadre_generate_image_params params = CADRE_GENERATE_IMAGE_PARAMS_INIT;
    params.key = key;
    params.prompt = prompt;
    params.seed = seed;
    params.on_step = on_step;
    params.on_done = on_picture;
    return params;
}

void draw_start(fixture *fx, picture *p, cadre_generate_image_params *params)
{
    int cancel_at = p->cancel_at;
    memset(p, 0, sizeof *p);
    p->fx = fx;
    p->cancel_at = cancel_at;
    params->data = p;
    assert_status(cadre_generate_image(fx->pool, params, &p->id), 0);
}

void draw_until(fixture *fx, picture *pictures, size_t count)
{
    for (size_t i = 0; i < count; i++) run_until_int(fx, &pictures[i].done, 1);
}

void draw(fixture *fx, picture *p, const char *key, const char *prompt, int64_t seed)
{
    cadre_generate_image_params params = draw_params(key, prompt, seed);
    draw_start(fx, p, &params);
    draw_until(fx, p, 1);
    if (p->status != 0) fail_msg("%s: %s (%s)", key, cadre_err_name(p->status), p->detail);
}

typedef struct quiet {
    fixture *fx;
    const char *key;
} quiet;

static bool is_quiet(void *data)
{
    quiet *of = data;
    cadre_model_info info = CADRE_MODEL_INFO_INIT;
    assert_status(cadre_model_get_info(of->fx->pool, of->key, &info), 0);
    return info.queued + info.running + info.abandoned == 0;
}

void draw_until_quiet(fixture *fx, const char *key)
{
    quiet of = {fx, key};
    run_until(fx, is_quiet, &of);
}

void assert_colour(const picture *p, int channel)
{
    double mean[3] = {0};
    size_t count = (size_t)p->width * p->height;
    assert_true(count > 0);
    for (size_t i = 0; i < count * 3; i++) mean[i % 3] += p->pixels[i] / (double)count;
    for (int c = 0; c < 3; c++) {
        if (c != channel && mean[channel] < mean[c] + 60)
            fail_msg("the mean colour is %.0f %.0f %.0f, and should be mostly channel %d", mean[0], mean[1], mean[2], channel);
    }
}

bool same_picture(const picture *a, const picture *b)
{
    assert_true(a->width > 0 && b->width > 0);
    return a->width == b->width && a->height == b->height && memcmp(a->pixels, b->pixels, (size_t)a->width * a->height * 3) == 0;
}

/* ---- files ---- */

content read_content(const char *path)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    content of = {NULL, (size_t)ftell(file)};
    rewind(file);
    of.bytes = malloc(of.length + 1);
    assert_non_null(of.bytes);
    assert_int_equal(fread(of.bytes, 1, of.length, file), of.length);
    fclose(file);
    return of;
}

void write_content(const char *path, const void *bytes, size_t length)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}
