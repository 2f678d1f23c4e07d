/* The catalogue: fourteen models of one manifest, each from a hub by its own kind of loader, asked, evicted, loaded again, and all of them in one host whose
 * budget fits five.
 *
 * catalogue.py lays out a local hub with small files of the same architectures under the names that the catalogue has, and serves it. What the
 * models answer is held against the stored references of tests/llama and tests/onnx. A wrapper around the file fetcher notes which entries were fetched, so a
 * kind that does not do what it says fails. Weights by the CADRE_TEST_ variables (examples/weights.sh --env). */
#define TESTS_catalogue(X)                                                                                                                                     \
    X(the_manifest_is_the_shipped_catalogue_of_fourteen)                                                                                                       \
    X(what_is_expected_not_to_fit_is_not_downloaded)                                                                                                           \
    X(every_entry_comes_by_its_own_kind_and_answers)                                                                                                           \
    X(what_was_evicted_is_loaded_again_and_answers_the_same)                                                                                                   \
    X(all_fourteen_live_in_a_budget_that_fits_five)

#include "../llama/reference/catalogue_gte_qwen2.h"
#include "../llama/reference/catalogue_jina_v2.h"
#include "../llama/reference/catalogue_text.h"
#include "../llama/reference/minilm.h"
#include "support.h"

#include <cadre/fetch.h>
#include <cadre/images.h>
#include <math.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (INT64_C(1) << 20)
#define ROOMY (INT64_C(1) << 40) /* what the published weights are expected to need fits; the small ones need little of it */
#define SIDE 336

typedef struct expectation {
    const char *key;
    cadre_capability capability;
    cadre_loader_kind kind;
    uint32_t dimension; /* embeddings */
    const char *architecture;
} expectation;

/* Design of the catalogue; the manifest is held against it. */
static const expectation models[] = {
    {"unsloth/Kimi-K2-Instruct-GGUF", CADRE_TEXT_TO_TEXT, CADRE_LOADER_SYNC, 0, "deepseek2"},
    {"unsloth/Qwen3-Coder-30B-A3B-Instruct-GGUF", CADRE_TEXT_TO_TEXT, CADRE_LOADER_SYNC, 0, "qwen3moe"},
    {"unsloth/Phi-4-reasoning-GGUF", CADRE_TEXT_TO_TEXT, CADRE_LOADER_ASYNC, 0, "phi3"},
    {"Alibaba-NLP/gte-Qwen2-1.5B-instruct", CADRE_TEXT_EMBEDDING, CADRE_LOADER_ASYNC, 1536, NULL},
    {"jinaai/jina-embeddings-v2-base-en", CADRE_TEXT_EMBEDDING, CADRE_LOADER_SYNC, 768, NULL},
    {"nvidia/NV-Embed-v2", CADRE_TEXT_EMBEDDING, CADRE_LOADER_SYNC, 4096, NULL},
    {"dunzhang/stella_en_400M_v5", CADRE_TEXT_EMBEDDING, CADRE_LOADER_ASYNC, 1024, NULL},
    {"dunzhang/stella_en_1.5B_v5", CADRE_TEXT_EMBEDDING, CADRE_LOADER_ASYNC, 1024, NULL},
    {"sentence-transformers/all-MiniLM-L6-v2", CADRE_TEXT_EMBEDDING, CADRE_LOADER_SYNC, 384, NULL},
    {"openai/clip-vit-base-patch32", CADRE_IMAGE_EMBEDDING, CADRE_LOADER_PRELOADED, 512, NULL},
    {"openai/clip-vit-large-patch14-336", CADRE_IMAGE_EMBEDDING, CADRE_LOADER_PRELOADED, 768, NULL},
    {"llava-hf/llava-1.5-7b-hf", CADRE_VISION, CADRE_LOADER_SYNC, 0, NULL},
    {"stabilityai/stable-diffusion-3.5-large-turbo", CADRE_TEXT_TO_IMAGE, CADRE_LOADER_PRELOADED, 0, NULL},
    {"black-forest-labs/FLUX.1-schnell", CADRE_TEXT_TO_IMAGE, CADRE_LOADER_PRELOADED, 0, NULL},
};
enum { KIMI, QWEN3, PHI, GTE, JINA, NV_EMBED, STELLA_400M, STELLA_15B, MINILM, CLIP_B, CLIP_L, LLAVA, SD35, FLUX, MODELS };

/* ---- the hub: catalogue.py, begun once ---- */

static struct {
    pid_t child;
    int input; /* it serves until this is closed, and removes its folder then */
    char folder[256], endpoint[64], cache[300], manifest[300];
} hub;

static void end_hub(void)
{
    close(hub.input);
    waitpid(hub.child, NULL, 0);
}

static const char *weights_folder(void)
{
    static char folder[4096];
    const char *path = getenv("CADRE_TEST_MINILM_ONNX"), *slash = path ? strrchr(path, '/') : NULL;
    if (!slash || (size_t)(slash - path) >= sizeof folder) fail_msg("CADRE_TEST_MINILM_ONNX must name a file: sh examples/weights.sh --env says which");
    snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
    return folder;
}

static void begin_hub(void)
{
    int in[2], out[2], port = 0;
    const char *weights = weights_folder();
    if (hub.child) return;
    assert_int_equal(pipe(in) | pipe(out), 0);
    hub.child = fork();
    assert_true(hub.child >= 0);
    if (hub.child == 0) {
        dup2(in[0], 0), dup2(out[1], 1);
        close(in[1]), close(out[0]);
        execl(CADRE_PYTHON, CADRE_PYTHON, "-B", CADRE_CATALOGUE_SCRIPT, CADRE_CATALOGUE, weights, (char *)NULL);
        _exit(127);
    }
    close(in[0]), close(out[1]);
    hub.input = in[1];
    FILE *from = fdopen(out[0], "r");
    if (!from || fscanf(from, "%d %255s", &port, hub.folder) != 2) fail_msg("%s did not start", CADRE_CATALOGUE_SCRIPT);
    fclose(from);
    snprintf(hub.endpoint, sizeof hub.endpoint, "http://127.0.0.1:%d", port);
    snprintf(hub.cache, sizeof hub.cache, "%s/cache", hub.folder);
    snprintf(hub.manifest, sizeof hub.manifest, "%s/models.json", hub.folder);
    atexit(end_hub);
}

/* ---- the host: its own loop, so that the fetcher is there before the pool ---- */

typedef struct host {
    uv_loop_t loop;
    cadre_fetcher *fetcher;
    cadre_pool *pool;
    const cadre_file_fetcher *files; /* the fetcher's; its table for the pool is `watched` */
    cadre_file_fetcher watched;
    int fetches; /* calls of it */
    bool closed;
} host;

static int find_file(void *self, const char *reference, char *path, size_t path_size, char *detail, size_t detail_size)
{
    const host *h = self;
    return h->files->find(h->files->self, reference, path, path_size, detail, detail_size);
}

static cadre_weights_future *fetch_files(void *self, cadre_pool *pool, const char *const *names, size_t count)
{
    host *h = self;
    assert_true(pool == h->pool && count > 0);
    for (size_t i = 0; i < count; i++) assert_memory_equal(names[i], "hf:", 3);
    h->fetches++;
    return h->files->fetch(h->files->self, pool, names, count);
}

typedef struct outcome {
    bool done;
    int status;
    char detail[1024];
} outcome;

static void on_outcome(cadre_pool *pool, int status, const char *detail, void *data)
{
    outcome *to = data;
    (void)pool;
    to->status = status;
    snprintf(to->detail, sizeof to->detail, "%s", detail);
    to->done = true;
}

static void run_until_true(host *h, const bool *done)
{
    while (!*done) uv_run(&h->loop, UV_RUN_ONCE);
}

static host *host_begin(int64_t memory)
{
    static cadre_image_decoder decoder;
    host *h = calloc(1, sizeof *h);
    cadre_fetch_options fetching = CADRE_FETCH_OPTIONS_INIT;
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    assert_non_null(h);
    begin_hub();
    assert_int_equal(uv_loop_init(&h->loop), 0);
    fetching.endpoint = hub.endpoint;
    fetching.cache = hub.cache;
    fetching.token = "";
    fetching.offline = 0;
    assert_status(cadre_fetcher_create(&h->fetcher, &h->loop, &fetching), 0);
    h->files = cadre_fetcher_files(h->fetcher);
    h->watched = (cadre_file_fetcher){sizeof h->watched, h, find_file, fetch_files};
    assert_status(cadre_images_decoder(NULL, &decoder), 0);
    options.memory_bytes = memory;
    options.backend_path = CADRE_MODULE_FOLDER;
    options.decoder = &decoder;
    options.files = &h->watched;
    assert_status(cadre_pool_create(&h->pool, &h->loop, &options), 0);
    outcome of = {0};
    assert_status(cadre_registry_load(h->pool, hub.manifest, on_outcome, &of), 0);
    run_until_true(h, &of.done);
    if (of.status != 0) fail_msg("%s", of.detail);
    return h;
}

static void on_fetcher_closed(void *data)
{
    *(bool *)data = true;
}

static void on_closed(cadre_pool *pool, const cadre_close_report *report, void *data)
{
    host *h = data;
    (void)pool;
    assert_int_equal(report->abandoned_threads | report->held_promises | report->held_weights, 0);
    cadre_fetcher_close(h->fetcher, on_fetcher_closed, &h->closed);
}

static void host_end(host *h)
{
    cadre_close_options options = CADRE_CLOSE_OPTIONS_INIT;
    options.data = h;
    assert_status(cadre_pool_close(h->pool, &options, on_closed), 0);
    run_until_true(h, &h->closed);
    uv_run(&h->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&h->loop), 0);
    free(h);
}

static cadre_entry_info entry_of(const host *h, int model)
{
    cadre_entry_info info = CADRE_ENTRY_INFO_INIT;
    assert_status(cadre_registry_get(h->pool, models[model].key, &info), 0);
    return info;
}

/* ---- questions ---- */

#define TEXTS 2 /* of an embedding request */

typedef struct question {
    bool done;
    int status;
    char detail[1024];
    char text[1024];
    size_t length;
    size_t count, dimension;
    float *values; /* count × dimension */
    uint32_t width, height;
    double mean[3];
    char digest[64]; /* of the picture */
} question;

static void settled(cadre_request *request, int status)
{
    question *q = cadre_request_data(request);
    q->status = status;
    snprintf(q->detail, sizeof q->detail, "%s", cadre_request_detail(request));
    q->done = true;
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

static void on_vectors(cadre_request *request, int status, const cadre_embeddings *result)
{
    question *q = cadre_request_data(request);
    if (result) {
        size_t bytes = result->count * result->dimension * sizeof *q->values;
        q->count = result->count, q->dimension = result->dimension;
        q->values = malloc(bytes);
        if (q->values) memcpy(q->values, result->values, bytes);
    }
    settled(request, status);
}

static void on_picture(cadre_request *request, int status, const cadre_image *result)
{
    question *q = cadre_request_data(request);
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
    for (uint32_t y = 0; result && y < result->height; y++)
        for (uint32_t x = 0; x < result->width * 3; x++) {
            uint8_t value = result->pixels[y * result->stride + x];
            q->mean[x % 3] += value / ((double)result->width * result->height);
            hash = (hash ^ value) * UINT64_C(1099511628211);
        }
    if (result) q->width = result->width, q->height = result->height;
    snprintf(q->digest, sizeof q->digest, "%016llx", (unsigned long long)hash);
    settled(request, status);
}

/* A disc on grey, as the models of shapes were trained on; 56 pixels a side fit the vision model, 336 the larger CLIP. */
static void draw(uint8_t *pixels, int side, int red, int green, int blue)
{
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++) {
            int dx = x - side / 2, dy = y - side / 2;
            bool inside = dx * dx + dy * dy <= side * side / 16;
            uint8_t *p = pixels + (y * side + x) * 3;
            p[0] = (uint8_t)(inside ? red : 128), p[1] = (uint8_t)(inside ? green : 128), p[2] = (uint8_t)(inside ? blue : 128);
        }
}

/* The same picture in each form of input but the URL's, and one of another colour. */
#define FORMS 3
static size_t picture_forms(cadre_image_input *out)
{
    static uint8_t red[SIDE * SIDE * 3], blue[SIDE * SIDE * 3];
    static void *encoded;
    static size_t length;
    static char path[300];
    if (!encoded) {
        cadre_blob blob;
        cadre_image image = CADRE_IMAGE_INIT;
        draw(red, SIDE, 220, 30, 30), draw(blue, SIDE, 30, 30, 220);
        image.width = image.height = SIDE, image.stride = SIDE * 3, image.pixels = red;
        assert_status(cadre_images_encode_png(&image, &blob), 0);
        encoded = blob.data, length = blob.length; /* until the process ends */
        snprintf(path, sizeof path, "%s/red.png", hub.folder);
        FILE *file = fopen(path, "wb");
        assert_non_null(file);
        assert_int_equal(fwrite(encoded, 1, length, file), length);
        fclose(file);
    }
    out[0] = cadre_image_from_rgb8(red, SIDE, SIDE);
    out[1] = cadre_image_from_bytes(encoded, length);
    out[2] = cadre_image_from_string(CADRE_IMAGE_PATH, path);
    out[3] = cadre_image_from_rgb8(blue, SIDE, SIDE);
    return FORMS + 1;
}

/* ---- what the embedding models must say ---- */

typedef struct expected_vector {
    char task[32];
    const char *text;
    float *values;
} expected_vector;

static float *widened(const short *from, size_t count)
{
    float *to = malloc(count * sizeof *to);
    assert_non_null(to);
    for (size_t i = 0; i < count; i++) to[i] = from[i];
    return to;
}

/* Records of tests/weights/reference_onnx.py, which says how they are written. */
static size_t read_records(const char *name, size_t dimension, expected_vector *out, size_t most)
{
    char path[4096];
    size_t count = 0, length, tokens, width;
    snprintf(path, sizeof path, "%s/%s.bin", CADRE_ONNX_REFERENCES, name);
    FILE *file = fopen(path, "rb");
    if (!file) fail_msg("%s cannot be read", path);
    while (count < most && fscanf(file, "%31s %zu %zu %zu", out[count].task, &length, &tokens, &width) == 4) {
        char *text = calloc(length + 1, 1);
        short *values = calloc(dimension, sizeof *values);
        assert_int_equal(width, dimension);
        assert_true(text && values && fgetc(file) == '\n');
        assert_int_equal(fread(text, 1, length, file), length);
        assert_int_equal(fgetc(file), '\n');
        assert_int_equal(fread(values, sizeof *values, dimension, file), dimension);
        if (strcmp(out[count].task, "-") == 0) out[count].task[0] = '\0';
        out[count].text = text, out[count].values = widened(values, dimension);
        free(values);
        count++;
    }
    fclose(file);
    return count;
}

#define EXPECTED_MAX 24
static expected_vector expected[MODELS][EXPECTED_MAX];
static size_t expected_count[MODELS];

static void expect(int model, const char *task, const char *text, float *values)
{
    expected_vector *e = &expected[model][expected_count[model]++];
    snprintf(e->task, sizeof e->task, "%s", task);
    e->text = text, e->values = values;
}

static void read_expected(void)
{
    if (expected_count[GTE]) return;
    for (size_t i = 0; i < COUNT(reference_qwen2s) && i < EXPECTED_MAX; i++)
        expect(GTE, reference_qwen2s[i].task, reference_qwen2s[i].text, widened(reference_qwen2s[i].vector, 1536));
    for (size_t i = 0; i < COUNT(reference_jina_bert_v2s) && i < EXPECTED_MAX; i++)
        expect(JINA, reference_jina_bert_v2s[i].task, reference_jina_bert_v2s[i].text, widened(reference_jina_bert_v2s[i].vector, 768));
    expected_count[NV_EMBED] = read_records("nv-embed", 4096, expected[NV_EMBED], EXPECTED_MAX);
    expected_count[STELLA_400M] = read_records("stella-400m", 1024, expected[STELLA_400M], EXPECTED_MAX);
    expected_count[STELLA_15B] = read_records("stella-1.5b", 1024, expected[STELLA_15B], EXPECTED_MAX);
    for (size_t i = 0; i < COUNT(references) && i < EXPECTED_MAX; i++) {
        float *values = malloc(sizeof references[i].vector);
        assert_non_null(values);
        memcpy(values, references[i].vector, sizeof references[i].vector);
        expect(MINILM, "", references[i].text, values);
    }
}

static double cosine(const float *a, const float *b, size_t count)
{
    double dot = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < count; i++) dot += (double)a[i] * (double)b[i], aa += (double)a[i] * (double)a[i], bb += (double)b[i] * (double)b[i];
    return dot / sqrt(aa * bb);
}

/* The rows of one task, in one request or in several. */
static size_t rows_of(int model, const char *task, const char **texts, const float **vectors)
{
    size_t count = 0;
    for (size_t i = 0; i < expected_count[model]; i++)
        if (strcmp(expected[model][i].task, task) == 0) texts[count] = expected[model][i].text, vectors[count++] = expected[model][i].values;
    return count;
}

/* ---- asking ---- */

static const struct reference_text *chat_of(const char *architecture)
{
    size_t i = 0;
    while (i < COUNT(reference_texts) && strcmp(reference_texts[i].architecture, architecture) != 0) i++;
    assert_true(i < COUNT(reference_texts));
    return &reference_texts[i];
}

static int ask_chat(host *h, question *q, int model)
{
    const struct reference_text *of = chat_of(models[model].architecture);
    cadre_chat_message messages[4];
    cadre_generate_params p = CADRE_GENERATE_PARAMS_INIT;
    for (size_t i = 0; i < COUNT(messages) && of->messages[i].role; i++, p.message_count++)
        messages[i] = (cadre_chat_message){of->messages[i].role, of->messages[i].content};
    p.key = models[model].key, p.messages = messages, p.sampling.max_tokens = REFERENCE_TOKENS;
    if (model == QWEN3) p.sampling.temperature = 0; /* the others' entries say so */
    p.on_text = on_text, p.on_done = on_generation, p.data = q;
    return cadre_generate(h->pool, &p, NULL);
}

static int ask_vectors(host *h, question *q, int model, const char *task, const char *const *texts, size_t count)
{
    cadre_embed_params p = CADRE_EMBED_PARAMS_INIT;
    p.key = models[model].key, p.on_done = on_vectors, p.data = q;
    p.task = *task ? task : NULL;
    if (count == 1)
        p.text = texts[0];
    else
        p.texts = texts, p.count = count;
    return cadre_embed(h->pool, &p, NULL);
}

static void ask_model(host *h, question *q, int model)
{
    cadre_image_input pictures[FORMS + 1];
    size_t forms = picture_forms(pictures);
    const char *texts[EXPECTED_MAX];
    const float *vectors[EXPECTED_MAX];
    int rc;
    memset(q, 0, sizeof *q);
    switch (models[model].capability) {
    case CADRE_TEXT_TO_TEXT: rc = ask_chat(h, q, model); break;
    case CADRE_TEXT_EMBEDDING: rc = ask_vectors(h, q, model, "", texts, rows_of(model, "", texts, vectors)); break;
    case CADRE_IMAGE_EMBEDDING: {
        cadre_embed_images_params p = CADRE_EMBED_IMAGES_PARAMS_INIT;
        p.key = models[model].key, p.images = pictures, p.count = forms, p.on_done = on_vectors, p.data = q;
        rc = cadre_embed_images(h->pool, &p, NULL);
        break;
    }
    case CADRE_VISION: {
        cadre_describe_params p = CADRE_DESCRIBE_PARAMS_INIT;
        p.key = models[model].key, p.query = "What is in the picture?", p.images = pictures, p.image_count = 1;
        p.sampling.temperature = 0, p.sampling.max_tokens = 8;
        p.on_text = on_text, p.on_done = on_generation, p.data = q;
        rc = cadre_describe(h->pool, &p, NULL);
        break;
    }
    default: {
        cadre_generate_image_params p = CADRE_GENERATE_IMAGE_PARAMS_INIT;
        p.key = models[model].key, p.prompt = "a red square", p.seed = 7, p.on_done = on_picture, p.data = q;
        rc = cadre_generate_image(h->pool, &p, NULL);
    }
    }
    if (rc < 0) fail_msg("%s: %s: %s", models[model].key, cadre_err_name(rc), cadre_pool_error_detail(h->pool));
}

static void assert_vectors(const question *q, int model, const char *task)
{
    const char *texts[EXPECTED_MAX];
    const float *vectors[EXPECTED_MAX];
    size_t count = rows_of(model, task, texts, vectors);
    assert_int_equal(q->count, count);
    assert_int_equal(q->dimension, models[model].dimension);
    for (size_t i = 0; i < count; i++) {
        double alike = cosine(q->values + i * q->dimension, vectors[i], q->dimension);
        if (!(alike >= 0.999)) fail_msg("%s: task \"%s\", text %zu (\"%.40s\"): cosine %.6f", models[model].key, task, i, texts[i], alike);
    }
}

static void assert_answered(const question *q, int model)
{
    if (q->status != 0) fail_msg("%s: %s: %s", models[model].key, cadre_err_name(q->status), q->detail);
    switch (models[model].capability) {
    case CADRE_TEXT_TO_TEXT: assert_string_equal(q->text, chat_of(models[model].architecture)->answer); break;
    case CADRE_TEXT_EMBEDDING: assert_vectors(q, model, ""); break;
    case CADRE_IMAGE_EMBEDDING:
        assert_int_equal(q->count, FORMS + 1);
        assert_int_equal(q->dimension, models[model].dimension);
        for (size_t i = 1; i < FORMS; i++) assert_true(cosine(q->values, q->values + i * q->dimension, q->dimension) > 0.99999);
        assert_true(cosine(q->values, q->values + FORMS * q->dimension, q->dimension) < 0.7); /* another colour: 1/2 */
        break;
    case CADRE_VISION:
        assert_contains(q->text, "red");
        assert_contains(q->text, "circle");
        break;
    default:
        assert_int_equal(q->width, 64); /* the entry's */
        assert_int_equal(q->height, 64);
        if (!(q->mean[0] > q->mean[1] + 40 && q->mean[0] > q->mean[2] + 40))
            fail_msg("%s: \"a red square\" is %.0f, %.0f, %.0f", models[model].key, q->mean[0], q->mean[1], q->mean[2]);
    }
}

static void assert_same(const question *a, const question *b, int model)
{
    assert_string_equal(a->text, b->text);
    assert_string_equal(a->digest, b->digest);
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count * a->dimension; i++)
        if (!(fabsf(a->values[i] - b->values[i]) <= 1e-5f)) fail_msg("%s: value %zu differs", models[model].key, i);
}

static void forget(question *q)
{
    free(q->values);
    q->values = NULL;
}

/* ---- the tests ---- */

static question answers[MODELS], again[MODELS];

static int visit_entry(const cadre_entry_info *info, void *data)
{
    int *seen = data;
    assert_true(*seen < MODELS);
    const expectation *of = &models[*seen];
    row("%s", of->key);
    assert_string_equal(info->key, of->key);
    assert_int_equal(info->capability, of->capability);
    assert_int_equal(info->loader, of->kind);
    assert_true(*info->provider && *info->license && *info->name);
    ++*seen;
    return 0;
}

static void load(host *h, int model, outcome *of)
{
    *of = (outcome){0};
    assert_status(cadre_model_load(h->pool, models[model].key, on_outcome, of), 0);
    run_until_true(h, &of->done);
}

static void the_manifest_is_the_shipped_catalogue_of_fourteen(void **state)
{
    (void)state;
    host *h = host_begin(8192 * MIB);
    int seen = 0;
    assert_int_equal(cadre_registry_list(h->pool, NULL, visit_entry, &seen), MODELS);
    assert_int_equal(seen, MODELS);
    for (int i = 0; i < MODELS; i++) assert_true(entry_of(h, i).missing);
    assert_int_equal(h->fetches, 0); /* nothing comes before it is wanted */
    host_end(h);
}

static void what_is_expected_not_to_fit_is_not_downloaded(void **state)
{
    (void)state;
    host *h = host_begin(8192 * MIB);
    outcome of;
    load(h, PHI, &of);
    assert_status(of.status, CADRE_EBUDGET);
    assert_contains(of.detail, "16500000000");
    assert_int_equal(h->fetches, 0);
    host_end(h);
}

static void fetch_by_hand(host *h, int model)
{
    outcome of = {0};
    assert_status(cadre_registry_fetch(h->pool, models[model].key, on_outcome, &of), 0);
    run_until_true(h, &of.done);
    if (of.status != 0) fail_msg("%s: %s", models[model].key, of.detail);
    assert_false(entry_of(h, model).missing);
}

/* "sync": nothing is fetched by a load; without its files it says what to do. */
static void comes_by_sync(host *h, int model)
{
    outcome of;
    load(h, model, &of);
    assert_status(of.status, UV_ENOENT);
    assert_contains(of.detail, "hf:");
    assert_contains(of.detail, "fetch");
    assert_int_equal(h->fetches, 0);
    fetch_by_hand(h, model);
    assert_int_equal(entry_of(h, model).resident_bytes, 0);
    h->fetches = 0;
    load(h, model, &of);
    if (of.status != 0) fail_msg("%s: %s", models[model].key, of.detail);
    assert_int_equal(h->fetches, 0);
}

/* "async": the load brings the files, and until they are here no worker loads and no memory is charged. */
static void comes_by_async(host *h, int model)
{
    outcome of = {0};
    bool fetched = false;
    assert_status(cadre_model_load(h->pool, models[model].key, on_outcome, &of), 0);
    while (!of.done) {
        uv_run(&h->loop, UV_RUN_ONCE);
        cadre_entry_info info = entry_of(h, model);
        if (!info.fetching) continue;
        fetched = true;
        assert_int_equal(info.state, CADRE_MODEL_LOADING);
        assert_int_equal(info.workers_loading, 0);
        assert_int_equal(info.resident_bytes, 0);
    }
    if (of.status != 0) fail_msg("%s: %s", models[model].key, of.detail);
    assert_true(fetched);
    assert_int_equal(h->fetches, 1);
}

/* "preloaded": once the files are here its weights are loaded without a request, and stay when the workers go. */
static void comes_by_preload(host *h, int model)
{
    outcome of;
    load(h, model, &of);
    assert_status(of.status, UV_ENOENT);
    assert_int_equal(h->fetches, 0);
    fetch_by_hand(h, model);
    while (entry_of(h, model).load_ms == 0) uv_run(&h->loop, UV_RUN_ONCE);
    assert_true(entry_of(h, model).resident_bytes > 0);
    assert_int_equal(entry_of(h, model).workers + entry_of(h, model).workers_loading, 0);
    load(h, model, &of);
    if (of.status != 0) fail_msg("%s: %s", models[model].key, of.detail);
}

static void every_entry_comes_by_its_own_kind_and_answers(void **state)
{
    (void)state;
    host *h = host_begin(ROOMY);
    read_expected();
    for (int i = 0; i < MODELS; i++) {
        row("%s", models[i].key);
        h->fetches = 0;
        switch (models[i].kind) {
        case CADRE_LOADER_SYNC: comes_by_sync(h, i); break;
        case CADRE_LOADER_ASYNC: comes_by_async(h, i); break;
        default: comes_by_preload(h, i);
        }
        ask_model(h, &answers[i], i);
        run_until_true(h, &answers[i].done);
        assert_answered(&answers[i], i);
    }
    /* Single requests, and every task. */
    for (int i = 0; i < MODELS; i++) {
        if (models[i].capability != CADRE_TEXT_EMBEDDING) continue;
        for (size_t k = 0; k < expected_count[i]; k++) {
            const expected_vector *e = &expected[i][k];
            question q = {0};
            row("%s, task \"%s\", text %zu", models[i].key, e->task, k);
            assert_status(ask_vectors(h, &q, i, e->task, &e->text, 1), 0);
            run_until_true(h, &q.done);
            if (q.status != 0) fail_msg("%s", q.detail);
            assert_true(cosine(q.values, e->values, q.dimension) >= 0.999);
            forget(&q);
        }
    }
    host_end(h);
}

static uint64_t peak_bytes[MODELS];

static void unload(host *h, int model)
{
    outcome of = {0};
    assert_status(cadre_model_unload(h->pool, models[model].key, on_outcome, &of), 0);
    run_until_true(h, &of.done);
    assert_status(of.status, 0);
    assert_int_equal(entry_of(h, model).resident_bytes, 0);
}

static void what_was_evicted_is_loaded_again_and_answers_the_same(void **state)
{
    (void)state;
    host *h = host_begin(ROOMY);
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < MODELS; i++) {
            row("%s, pass %d", models[i].key, pass);
            ask_model(h, &again[i], i);
            run_until_true(h, &again[i].done);
            assert_answered(&again[i], i);
            assert_same(&answers[i], &again[i], i);
            forget(&again[i]);
            peak_bytes[i] = entry_of(h, i).resident_bytes;
            assert_true(peak_bytes[i] > 0);
            unload(h, i);
        }
    assert_int_equal(h->fetches, 0); /* the files are here */
    host_end(h);
}

static uint64_t charged_now(const host *h)
{
    cadre_memory_usage usage = CADRE_MEMORY_USAGE_INIT;
    assert_status(cadre_memory_get_usage(h->pool, CADRE_DEVICE_HOST, &usage), 0);
    return usage.charged_bytes;
}

/* Room for five of mean size. Everyone is asked over and over; whoever has no place evicts the idle ones. */
static void all_fourteen_live_in_a_budget_that_fits_five(void **state)
{
    (void)state;
    uint64_t budget = 0;
    for (int i = 0; i < MODELS; i++) budget += peak_bytes[i];
    budget = budget * 5 / MODELS;
    host *h = host_begin((int64_t)budget);
    for (int pass = 0; pass < 3; pass++) {
        for (int i = 0; i < MODELS; i++) ask_model(h, &again[i], i);
        for (int i = 0; i < MODELS; i++) {
            row("%s, pass %d", models[i].key, pass);
            while (!again[i].done) {
                uv_run(&h->loop, UV_RUN_ONCE);
                assert_true(charged_now(h) <= budget + budget / 4); /* above it only where a model is measured larger than it was estimated */
            }
            assert_answered(&again[i], i);
            assert_same(&answers[i], &again[i], i);
            forget(&again[i]);
        }
    }
    uint64_t evictions = 0;
    for (int i = 0; i < MODELS; i++) evictions += entry_of(h, i).evictions;
    assert_true(evictions >= MODELS); /* over three passes */
    host_end(h);
    for (int i = 0; i < MODELS; i++) forget(&answers[i]);
}

#define SUITE catalogue
#include "suite.h"
