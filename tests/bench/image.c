/* image: 32 pictures of 640 × 480 at once, a third of them each JPEG, PNG and WebP files, from bytes to vectors, decoding and preprocessing included.
 *
 *   images_per_s_vs_bare           one request of 32 pictures, against a bare ONNX Runtime loop: the same decoders and preprocessing on the calling thread,
 * then one run of 32; the better of the engine's defaults (its threads spin) and of no spinning images_per_s_vs_bare_singles   the same pictures as 32 requests
 * of one at once, against the same loop …_large                        the same with a vision tower of ViT-B/32's size (random weights), where the engine takes
 * most of the time; the small one makes decoding and preprocessing count
 *
 * All sides use the same number of engine threads (--threads; by default the CPUs). Before anything is measured, the vectors of all pictures are compared. */
#include "bare_onnx.h"
#include "engine.h"
#include "pictures.h"

#include <cadre/images.h>
#include <cadre/onnx.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/backends/onnx/preprocess.h"

#define COUNT 32
#define WIDTH 640
#define HEIGHT 480
#define SECONDS_EACH 1.0 /* a measurement repeats the pictures until it takes about so long */
#define REPEATS_MAX 50

enum { OURS, SINGLES, SPINNING, PASSIVE, SIDES };

typedef struct sides {
    const bench_args *args;
    engine_host host;
    bare_onnx *floors[SIDES]; /* SPINNING, PASSIVE */
    picture_file files[COUNT];
    cadre_image_input inputs[COUNT];
    size_t dimension;
    float *pixels;  /* of the bare loop */
    float *vectors; /* COUNT × dimension, the bare loop's */
    float *ours;    /* likewise, ours */
    int repeats;
    size_t finished;
    uint64_t decode_ns, prepare_ns, run_ns; /* of the bare loop, added up */
} sides;

/* ---- ours ---- */

static void on_done(cadre_request *request, int status, const cadre_embeddings *result)
{
    sides *s = cadre_request_data(request);
    if (status < 0) bench_fail("an embedding failed: %s (%s)", cadre_err_name(status), cadre_request_detail(request));
    if (result->dimension != s->dimension) bench_fail("vectors of %zu numbers where %zu were expected", (size_t)result->dimension, s->dimension);
    if (result->count == COUNT) memcpy(s->ours, result->values, COUNT * s->dimension * sizeof *s->ours);
    s->finished += result->count;
}

static void submit(sides *s, size_t first, size_t count)
{
    cadre_embed_images_params params = CADRE_EMBED_IMAGES_PARAMS_INIT;
    params.key = ENGINE_KEY;
    params.images = s->inputs + first;
    params.count = count;
    params.on_done = on_done;
    params.data = s;
    int rc = cadre_embed_images(s->host.pool, &params, NULL);
    if (rc != 0) bench_fail("cadre_embed_images: %s (%s)", cadre_err_name(rc), cadre_pool_error_detail(s->host.pool));
}

static void ours(sides *s, int singles)
{
    s->finished = 0;
    if (!singles) submit(s, 0, COUNT);
    for (size_t i = 0; singles && i < COUNT; i++) submit(s, i, 1);
    while (s->finished < COUNT) uv_run(&s->host.loop, UV_RUN_ONCE);
}

/* ---- bare ---- */

static void prepare(const cadre_image *image, uint32_t side, float *out)
{
    static const float mean[3] = {0.48145466F, 0.4578275F, 0.40821073F}, deviation[3] = {0.26862954F, 0.26130258F, 0.27577711F}; /* CLIP's */
    int rc = cadre__onnx_preprocess(image, side, mean, deviation, out);
    if (rc != 0) bench_fail("preprocessing: %s", cadre_err_name(rc));
}

static void bare_loop(sides *s, bare_onnx *floor)
{
    uint32_t side = (uint32_t)bare_onnx_side(floor);
    for (size_t i = 0; i < COUNT; i++) {
        cadre_image image = CADRE_IMAGE_INIT;
        cadre_blob blob = {0};
        char detail[256] = "";
        uint64_t start = bench_now_ns();
        int rc = cadre_images_decode(NULL, s->files[i].bytes, s->files[i].length, &image, &blob, detail, sizeof detail);
        if (rc != 0) bench_fail("cadre_images_decode: %s (%s)", cadre_err_name(rc), detail);
        uint64_t decoded = bench_now_ns();
        prepare(&image, side, s->pixels + i * 3 * side * side);
        blob.free(blob.data, blob.length);
        s->decode_ns += decoded - start;
        s->prepare_ns += bench_now_ns() - decoded;
    }
    uint64_t start = bench_now_ns();
    bare_onnx_images(floor, s->pixels, COUNT, s->vectors);
    s->run_ns += bench_now_ns() - start;
}

/* ---- rows ---- */

static void once(sides *s, int side)
{
    if (side == OURS || side == SINGLES)
        ours(s, side == SINGLES);
    else
        bare_loop(s, s->floors[side]);
}

static double measure(sides *s, int side)
{
    uint64_t start = bench_now_ns();
    for (int i = 0; i < s->repeats; i++) once(s, side);
    return (double)(COUNT * s->repeats) / ((double)(bench_now_ns() - start) / 1e9);
}

static double cosine(const float *a, const float *b, size_t count)
{
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < count; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return ab / sqrt(aa * bb);
}

static void compare_vectors(sides *s)
{
    double least = 1;
    once(s, OURS);
    once(s, PASSIVE);
    for (size_t i = 0; i < COUNT; i++) least = fmin(least, cosine(s->ours + i * s->dimension, s->vectors + i * s->dimension, s->dimension));
    if (!(least > 0.9999)) bench_fail("the sides do not compute the same: a cosine of %f", least);
}

static void find_repeats(sides *s)
{
    double slowest = 0;
    for (int side = 0; side < SIDES; side++) { /* once more, warm */
        uint64_t start = bench_now_ns();
        once(s, side);
        slowest = fmax(slowest, (double)(bench_now_ns() - start) / 1e9);
    }
    s->repeats = (int)fmax(1, fmin(REPEATS_MAX, SECONDS_EACH / slowest));
    s->decode_ns = s->prepare_ns = s->run_ns = 0;
}

static void measure_all(sides *s, const char *suffix)
{
    const bench_args *args = s->args;
    bench_row rows[2];
    int spinning_won = 0;
    bench_row_init(&rows[0], "image", "images/s", "bare ONNX Runtime, one batch of 32", "ratio >= 0.95", "images_per_s_vs_bare%s", suffix);
    bench_row_init(&rows[1], "image", "images/s", "bare ONNX Runtime, one batch of 32", "ratio >= 0.95", "images_per_s_vs_bare_singles%s", suffix);
    for (int round = 0; round < args->rounds; round++) {
        double figures[SIDES];
        for (int i = 0; i < SIDES; i++) {
            int side = (i + round) % SIDES;
            figures[side] = measure(s, side);
        }
        double best = fmax(figures[SPINNING], figures[PASSIVE]);
        spinning_won += figures[SPINNING] > figures[PASSIVE];
        for (int i = 0; i < 2; i++) bench_row_add(&rows[i], figures[i], best);
    }
    for (int i = 0; i < 2; i++) bench_row_print(args, &rows[i]);
    double total = (double)(s->decode_ns + s->prepare_ns + s->run_ns) / 100;
    bench_note(args, "of the bare loop's time, decoding takes %.0f %%, preprocessing %.0f %%, the engine %.0f %%; spinning threads won %d of %d rounds",
               (double)s->decode_ns / total, (double)s->prepare_ns / total, (double)s->run_ns / total, spinning_won, args->rounds);
}

static float *floats(size_t count)
{
    float *values = malloc(count * sizeof *values);
    if (!values) bench_fail("out of memory");
    return values;
}

static void measure_model(sides *s, const char *path, const char *suffix)
{
    const bench_args *args = s->args;
    cadre_image_decoder decoder;
    cadre_onnx_options options = CADRE_ONNX_OPTIONS_INIT;
    cadre_image_embedding_loader loader;
    int rc = cadre_images_decoder(NULL, &decoder);
    if (rc != 0) bench_fail("cadre_images_decoder: %s", cadre_err_name(rc));
    engine_open(&s->host, args, &decoder);
    options.path = path;
    options.threads = args->threads;
    options.max_batch = COUNT;
    cadre_spawn_options spawn = engine_spawning(&s->host);
    rc = cadre_onnx_image_embedding(&options, &loader);
    if (rc == 0) rc = cadre_spawn_image_embedding(s->host.pool, ENGINE_KEY, &loader, NULL, &spawn, engine_on_ready, &s->host, NULL);
    engine_spawned(&s->host, rc);
    engine_wait_ready(&s->host);
    for (int side = SPINNING; side <= PASSIVE; side++) s->floors[side] = bare_onnx_open(path, args->threads, side == SPINNING);
    size_t side = (size_t)bare_onnx_side(s->floors[PASSIVE]);
    s->dimension = bare_onnx_dimension(s->floors[PASSIVE]);
    s->pixels = floats(COUNT * 3 * side * side);
    s->vectors = floats(COUNT * s->dimension);
    s->ours = floats(COUNT * s->dimension);
    compare_vectors(s);
    find_repeats(s);
    measure_all(s, suffix);
    free(s->pixels);
    free(s->vectors);
    free(s->ours);
    for (int i = SPINNING; i <= PASSIVE; i++) bare_onnx_close(s->floors[i]);
    engine_close(&s->host);
}

int main(int argc, char **argv)
{
    bench_args args;
    sides s = {.args = &args};
    size_t bytes = 0;
    bench_parse(&args, argc, argv);
    engine_need(args.clip_onnx, "--clip-onnx");
    for (size_t i = 0; i < COUNT; i++) {
        uint8_t *pixels = picture_draw((unsigned)i, WIDTH, HEIGHT);
        s.files[i] = picture_encode(pixels, WIDTH, HEIGHT, (picture_format)(i % PICTURE_FORMATS));
        s.inputs[i] = cadre_image_from_bytes(s.files[i].bytes, s.files[i].length);
        bytes += s.files[i].length;
        free(pixels);
    }
    bench_note(&args, "%d engine threads on every side; %d pictures of %d x %d, %zu KB on average", args.threads, COUNT, WIDTH, HEIGHT, bytes / COUNT / 1000);
    measure_model(&s, args.clip_onnx, "");
    if (args.clip_onnx_large)
        measure_model(&s, args.clip_onnx_large, "_large");
    else
        bench_note(&args, "no --clip-onnx-large: no row with a large tower");
    for (size_t i = 0; i < COUNT; i++) picture_file_free(&s.files[i]);
    bench_finish(&args);
    return 0;
}
