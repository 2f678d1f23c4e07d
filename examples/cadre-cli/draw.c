/* draw: a prompt, a picture, a file. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

static uint64_t begun;
static uint32_t width, height;

int draw_prepare(void)
{
    const struct options *options = &app.options;
    if (!options->output) return misuse("-o FILE is missing");
    if (options->word_count == 0) return misuse("PROMPT is missing");
    if (options->word_count > 1) return misuse("one PROMPT is expected, and \"%.60s\" is a second; put quotes around it", options->words[1]);
    if (!*options->words[0]) return misuse("PROMPT is empty");
    int rc = check_utf8("PROMPT", options->words[0], strlen(options->words[0]));
    return rc ? rc : save_check(options->output);
}

static void on_saved(int status, const char *detail)
{
    double seconds = (double)(uv_hrtime() - begun) / 1e9;
    if (app.ending) return;
    if (status < 0) {
        app_fail(CLI_FAILED, status, detail);
        return;
    }
    if (app.options.json) {
        struct buffer line = {NULL, 0, 0};
        buffer_print(&line, "{\"model\": ");
        buffer_json(&line, app.model->key);
        buffer_print(&line, ", \"file\": ");
        buffer_json(&line, app.options.output);
        buffer_print(&line, ", \"width\": %u, \"height\": %u, \"seconds\": %.3f}\n", width, height, seconds);
        out_buffer(&line);
    } else {
        note("%s: %u x %u pixels, %.1f s", app.options.output, width, height, seconds);
    }
    app_end(CLI_OK);
}

static void on_step(cadre_request *request, uint32_t done, uint32_t total)
{
    (void)request;
    progress_steps(done, total);
    if (app.options.verbose) note("%s: step %u of %u", app.model->key, done, total);
}

static void on_done(cadre_request *request, int status, const cadre_image *result)
{
    app.request = 0;
    progress_clear();
    if (status < 0) {
        app_request_failed(request, status);
        return;
    }
    width = result->width, height = result->height;
    save_picture(app.options.output, result, on_saved);
}

void draw_start(void)
{
    const struct options *options = &app.options;
    cadre_generate_image_params params = CADRE_GENERATE_IMAGE_PARAMS_INIT;
    params.key = app.model->key;
    params.prompt = options->words[0];
    params.negative_prompt = options->negative;
    params.width = (int32_t)options->width;
    params.height = (int32_t)options->height;
    params.steps = (int32_t)options->steps;
    params.guidance = (float)options->guidance;
    params.seed = options->seed;
    params.options = app_request_options();
    params.on_step = on_step;
    params.on_done = on_done;
    begun = uv_hrtime();
    int rc = cadre_generate_image(app.pool, &params, &app.request);
    if (rc != 0) app_refused(rc);
}
