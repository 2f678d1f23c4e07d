/* describe: a question about pictures, its answer streamed. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

static struct stream stream;

int describe_prepare(void)
{
    const struct options *options = &app.options;
    int rc = sampling_prepare();
    if (rc) return rc;
    if (options->question && !*options->question) return misuse("--question is empty");
    if (options->mmproj && !(app.model && app.model->options)) return misuse("--mmproj is for a MODEL that is a reference; a manifest names its own");
    if (options->word_count == 0) return misuse("PICTURE is missing");
    if (options->word_count > CADRE_DESCRIBE_IMAGES_MAX) return misuse("PICTURE: more than %d pictures", CADRE_DESCRIBE_IMAGES_MAX);
    for (size_t i = 0; rc == 0 && i < options->word_count; i++) rc = check_picture(options->words[i]);
    return rc;
}

static void on_text(cadre_request *request, const char *text, size_t length)
{
    (void)request;
    stream_text(&stream, text, length);
}

static void on_done(cadre_request *request, int status, const cadre_generation *result)
{
    app.request = 0;
    stream_end(&stream, request, status, result);
    if (status < 0)
        app_request_failed(request, status);
    else
        app_end(CLI_OK);
}

void describe_start(void)
{
    cadre_describe_params params = CADRE_DESCRIBE_PARAMS_INIT;
    cadre_image_input *pictures = allocate(app.options.word_count, sizeof *pictures);
    for (size_t i = 0; i < app.options.word_count; i++) pictures[i] = picture_input(app.options.words[i]);
    params.key = app.model->key;
    params.query = app.options.question ? app.options.question : "Describe the picture.";
    params.images = pictures;
    params.image_count = app.options.word_count;
    params.sampling = sampling_make();
    params.options = app_request_options();
    params.on_text = on_text;
    params.on_done = on_done;
    stream_begin(&stream);
    stream.trim = 1; /* such models begin with one */
    int rc = cadre_describe(app.pool, &params, &app.request);
    free(pictures); /* copied */
    if (rc != 0) app_refused(rc);
}
