/* draw: one picture after the other, against the engine's own command-line program (sd-cli) on the same files, its loading left out.
 *
 *   seconds_per_image         of a worker that has drawn before; the program's time goes from its line "generate_image" to "generate_image completed"
 *   seconds_per_first_image   the first picture of a worker that has just been loaded, as the program's is
 *   …_sd35                    the same with Stable Diffusion 3.5; without it FLUX
 *   …_large                   256 × 256 instead of 64 × 64
 *
 * Both sides: the same prompt, seed, size, steps, guidance and threads (--threads; by default the CPUs); the program runs once for each figure and has its
 * defaults otherwise. The pictures are compared. */
#include "engine.h"
#include "program.h"

#include <cadre/diffusion.h>
#include <cadre/images.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS 4
#define SMALL 64
#define LARGE 256
#define PROMPT "a photo of a red house"

enum { FIRST, AGAIN, PEER, SIDES };

typedef struct sides {
    const bench_args *args;
    engine_host host;
    const char *diffusion_model, *clip_g, *taesd; /* clip_g may be NULL */
    float guidance;
    uint32_t size;
    int64_t seed;
    int done;
    uint8_t *pixels; /* size² × 3: ours, of the latest picture */
    int compared, different, largest_difference;
} sides;

/* ---- ours ---- */

static void on_done(cadre_request *request, int status, const cadre_image *result)
{
    sides *s = cadre_request_data(request);
    if (status < 0) bench_fail("a picture failed: %s (%s)", cadre_err_name(status), cadre_request_detail(request));
    if (result->width != s->size || result->height != s->size) bench_fail("a picture of %u x %u", result->width, result->height);
    for (uint32_t y = 0; y < s->size; y++) memcpy(s->pixels + (size_t)y * s->size * 3, result->pixels + y * result->stride, (size_t)s->size * 3);
    s->done = 1;
}

static double draw(sides *s)
{
    cadre_generate_image_params params = CADRE_GENERATE_IMAGE_PARAMS_INIT;
    params.key = ENGINE_KEY;
    params.prompt = PROMPT;
    params.width = params.height = (int32_t)s->size;
    params.steps = STEPS;
    params.guidance = s->guidance;
    params.seed = s->seed;
    params.on_done = on_done;
    params.data = s;
    s->done = 0;
    uint64_t start = bench_now_ns();
    int rc = cadre_generate_image(s->host.pool, &params, NULL);
    if (rc != 0) bench_fail("cadre_generate_image: %s (%s)", cadre_err_name(rc), cadre_pool_error_detail(s->host.pool));
    while (!s->done) uv_run(&s->host.loop, UV_RUN_ONCE);
    return (double)(bench_now_ns() - start) / 1e9;
}

static void start_worker(sides *s)
{
    cadre_diffusion_options options = CADRE_DIFFUSION_OPTIONS_INIT;
    cadre_text_to_image_loader loader;
    cadre_spawn_options spawn = engine_spawning(&s->host);
    options.diffusion_model = s->diffusion_model;
    options.clip_l = s->args->clip_l;
    options.clip_g = s->clip_g;
    options.taesd = s->taesd;
    options.threads = s->args->threads;
    int rc = cadre_diffusion_text_to_image(&options, &loader);
    if (rc == 0) rc = cadre_spawn_text_to_image(s->host.pool, ENGINE_KEY, &loader, NULL, &spawn, engine_on_ready, &s->host, NULL);
    engine_spawned(&s->host, rc);
    engine_wait_ready(&s->host);
}

/* ---- sd-cli ---- */

static void compare_pictures(sides *s, const char *path)
{
    static uint8_t bytes[LARGE * LARGE * 4 + 65536];
    cadre_image image = CADRE_IMAGE_INIT;
    cadre_blob blob = {0};
    char detail[256] = "";
    FILE *file = fopen(path, "rb");
    size_t length = file ? fread(bytes, 1, sizeof bytes, file) : 0;
    if (file) fclose(file);
    int rc = cadre_images_decode(NULL, bytes, length, &image, &blob, detail, sizeof detail);
    if (rc != 0) bench_fail("%s: %s (%s)", path, cadre_err_name(rc), detail);
    if (image.width != s->size || image.height != s->size) bench_fail("%s: %u x %u", path, image.width, image.height);
    int largest = 0;
    for (uint32_t y = 0; y < s->size; y++) {
        const uint8_t *theirs = image.pixels + y * image.stride, *mine = s->pixels + (size_t)y * s->size * 3;
        for (uint32_t i = 0; i < s->size * 3; i++) largest = abs(theirs[i] - mine[i]) > largest ? abs(theirs[i] - mine[i]) : largest;
    }
    blob.free(blob.data, blob.length);
    s->compared++;
    s->different += largest > 0;
    if (largest > s->largest_difference) s->largest_difference = largest;
}

static double peer(sides *s, const char *picture)
{
    char size[16], seed[24], steps[16], threads[16], guidance[16];
    const char *arguments[] = {"--diffusion-model",
                               s->diffusion_model,
                               "--clip_l",
                               s->args->clip_l,
                               "--taesd",
                               s->taesd,
                               "-p",
                               PROMPT,
                               "-W",
                               size,
                               "-H",
                               size,
                               "--steps",
                               steps,
                               "--cfg-scale",
                               guidance,
                               "--seed",
                               seed,
                               "-t",
                               threads,
                               "-o",
                               picture,
                               s->clip_g ? "--clip_g" : NULL,
                               s->clip_g,
                               NULL};
    program_output output;
    uint64_t begun = 0, ended = 0;
    snprintf(size, sizeof size, "%u", s->size);
    snprintf(steps, sizeof steps, "%d", STEPS);
    snprintf(seed, sizeof seed, "%lld", (long long)s->seed);
    snprintf(threads, sizeof threads, "%d", s->args->threads);
    snprintf(guidance, sizeof guidance, "%g", (double)s->guidance);
    remove(picture);
    program_run(s->args->sd_cli, arguments, &output);
    const char *line = program_line(&output, "generate_image completed in", &ended);
    char begin[32];
    snprintf(begin, sizeof begin, "generate_image %ux%u", s->size, s->size);
    if (!line || !program_line(&output, begin, &begun)) bench_fail("sd-cli (status %d): %.3000s%.1000s", output.status, output.out, output.err);
    double seconds = (double)(ended - begun) / 1e9, said = strtod(strstr(line, "completed in") + strlen("completed in"), NULL);
    if (fabs(seconds - said) > 0.05) bench_note(s->args, "sd-cli says %.2f s, its lines came %.3f s apart", said, seconds);
    program_free(&output);
    return seconds;
}

/* ---- rows ---- */

static void mine(sides *s, double figures[SIDES])
{
    start_worker(s);
    figures[FIRST] = draw(s);
    figures[AGAIN] = draw(s);
    engine_stop(&s->host);
}

static void measure_round(sides *s, int round, double figures[SIDES])
{
    char picture[1024];
    snprintf(picture, sizeof picture, "%s/draw.png", s->args->folder);
    s->seed = 100 + round;
    if (round % 2 == 0) mine(s, figures);
    figures[PEER] = peer(s, picture);
    if (round % 2 != 0) mine(s, figures);
    compare_pictures(s, picture);
}

static void measure_model(sides *s, const char *suffix, uint32_t size)
{
    const bench_args *args = s->args;
    bench_row again, first;
    s->size = size;
    s->compared = s->different = s->largest_difference = 0;
    s->pixels = malloc((size_t)size * size * 3);
    if (!s->pixels) bench_fail("out of memory");
    bench_row_init(&again, "draw", "s", "sd-cli, loading left out", "ratio <= 1.05", "seconds_per_image%s", suffix);
    bench_row_init(&first, "draw", "s", "sd-cli, loading left out", "none", "seconds_per_first_image%s", suffix);
    for (int round = 0; round < args->rounds; round++) {
        double figures[SIDES];
        measure_round(s, round, figures);
        bench_row_add(&again, figures[AGAIN], figures[PEER]);
        bench_row_add(&first, figures[FIRST], figures[PEER]);
    }
    bench_row_print(args, &again);
    bench_row_print(args, &first);
    if (s->different)
        bench_note(args, "%d of %d pictures differ from sd-cli's, by at most %d of 255", s->different, s->compared, s->largest_difference);
    else
        bench_note(args, "all %d pictures are sd-cli's, byte for byte", s->compared);
    free(s->pixels);
}

int main(int argc, char **argv)
{
    bench_args args;
    sides s = {.args = &args};
    bench_parse(&args, argc, argv);
    engine_need(args.sd_cli, "--sd-cli");
    engine_need(args.clip_l, "--clip-l");
    engine_open(&s.host, &args, NULL);
    bench_note(&args, "%d engine threads on every side; %d steps; sd-cli --diffusion-model --clip_l (--clip_g) --taesd -W -H --steps --cfg-scale --seed -t",
               args.threads, STEPS);
    s.diffusion_model = engine_need(args.flux, "--flux");
    s.taesd = engine_need(args.taesd, "--taesd");
    s.guidance = 1;
    measure_model(&s, "", SMALL);
    measure_model(&s, "_large", LARGE);
    if (args.sd35) {
        s.diffusion_model = args.sd35;
        s.clip_g = args.clip_g;
        s.taesd = engine_need(args.taesd3, "--taesd3");
        s.guidance = 3.5F;
        measure_model(&s, "_sd35", SMALL);
    } else {
        bench_note(&args, "no --sd35: no row with Stable Diffusion 3.5");
    }
    engine_close(&s.host);
    bench_finish(&args);
    return 0;
}
