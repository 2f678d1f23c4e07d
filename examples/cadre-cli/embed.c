/* embed and embed-image: vectors, or how alike they are. */
#include "cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { INPUT_MOST = 256 << 20 };

static const char **texts;
static cadre_image_input *pictures;
static size_t count;
static uint64_t begun;

/* ---- what is printed ---- */

static double cosine(const float *a, const float *b, size_t dimension)
{
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < dimension; i++) ab += (double)a[i] * b[i], aa += (double)a[i] * a[i], bb += (double)b[i] * b[i];
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
}

/* `cell` prints entry (row, column): a number. */
static void print_rows(struct buffer *out, size_t rows, size_t columns, void (*cell)(struct buffer *, const cadre_embeddings *, size_t, size_t),
                       const cadre_embeddings *result)
{
    int json = app.options.json != 0;
    for (size_t i = 0; i < rows; i++) {
        if (json) buffer_print(out, i ? ",\n  [" : "\n  [");
        for (size_t j = 0; j < columns; j++) {
            if (j) buffer_print(out, json ? ", " : " ");
            cell(out, result, i, j);
        }
        buffer_print(out, json ? "]" : "\n");
    }
}

static void print_value(struct buffer *out, const cadre_embeddings *result, size_t row, size_t column)
{
    float value = result->values[row * result->dimension + column];
    buffer_print(out, "%.9g", isfinite(value) ? (double)value : 0.0);
}

static void print_cosine(struct buffer *out, const cadre_embeddings *result, size_t row, size_t column)
{
    const float *a = result->values + row * result->dimension, *b = result->values + column * result->dimension;
    buffer_print(out, app.options.json ? "%.6f" : "%7.4f", cosine(a, b, result->dimension));
}

static void on_done(cadre_request *request, int status, const cadre_embeddings *result)
{
    struct buffer out = {NULL, 0, 0};
    const char *name = app.options.similarity ? "similarity" : "embeddings";
    app.request = 0;
    if (status < 0) {
        app_request_failed(request, status);
        return;
    }
    if (app.options.json) {
        buffer_print(&out, "{\"model\": ");
        buffer_json(&out, cadre_request_key(request));
        buffer_print(&out, ", \"count\": %zu, \"dimension\": %zu, \"tokens\": %llu, \"%s\": [", result->count, result->dimension,
                     (unsigned long long)result->tokens, name);
    }
    if (app.options.similarity)
        print_rows(&out, result->count, result->count, print_cosine, result);
    else
        print_rows(&out, result->count, result->dimension, print_value, result);
    if (app.options.json) buffer_print(&out, "\n]}\n");
    out_buffer(&out);
    if (app.options.verbose)
        note("%s: %zu vectors of %zu numbers, %llu tokens, %.2f s", app.model->key, result->count, result->dimension, (unsigned long long)result->tokens,
             (double)(uv_hrtime() - begun) / 1e9);
    app_end(CLI_OK);
}

/* ---- texts ---- */

/* Every line is a text; what follows the last newline too, if there is anything. */
static int lines_of_input(void)
{
    static struct buffer input; /* the texts lie in it */
    size_t capacity = 0;
    int rc = read_file("TEXT", "-", INPUT_MOST, &input);
    if (rc == 0) rc = check_utf8("TEXT, from standard input,", input.data, input.length);
    for (char *line = input.data, *end = input.data + input.length; rc == 0 && line < end; count++) {
        char *newline = memchr(line, '\n', (size_t)(end - line));
        if (count == capacity) capacity = capacity ? capacity * 2 : 64, texts = grow(texts, capacity, sizeof *texts);
        texts[count] = line;
        if (newline && newline > line && newline[-1] == '\r') newline[-1] = '\0';
        if (newline) *newline = '\0';
        line = newline ? newline + 1 : end;
    }
    if (rc == 0 && count == 0) rc = misuse("TEXT: standard input is empty");
    return rc;
}

int embed_prepare(void)
{
    const struct options *options = &app.options;
    char what[32];
    int rc = 0;
    if (options->vocabulary && !app.model->options) return misuse("--vocabulary is for a MODEL that is a reference; a manifest names its own");
    if (options->word_count == 0 || (options->word_count == 1 && strcmp(options->words[0], "-") == 0)) {
        rc = lines_of_input();
    } else {
        texts = allocate(options->word_count, sizeof *texts);
        for (; rc == 0 && count < options->word_count; count++) {
            texts[count] = options->words[count];
            snprintf(what, sizeof what, "TEXT %zu", count + 1);
            rc = *texts[count] ? check_utf8(what, texts[count], strlen(texts[count])) : misuse("%s is empty", what);
        }
    }
    if (rc == 0 && count > CADRE_EMBED_TEXTS_MAX) rc = misuse("TEXT: %zu texts, more than %d", count, CADRE_EMBED_TEXTS_MAX);
    return rc;
}

void embed_start(void)
{
    cadre_embed_params params = CADRE_EMBED_PARAMS_INIT;
    params.key = app.model->key;
    params.texts = texts;
    params.count = count;
    params.task = app.options.task;
    params.truncate = app.options.truncate != 0;
    params.options = app_request_options();
    params.on_done = on_done;
    begun = uv_hrtime();
    int rc = cadre_embed(app.pool, &params, &app.request);
    free(texts); /* copied */
    if (rc != 0) app_refused(rc);
}

/* ---- pictures ---- */

int embed_image_prepare(void)
{
    const struct options *options = &app.options;
    int rc = 0;
    if (options->word_count == 0) return misuse("PICTURE is missing");
    if (options->word_count > CADRE_EMBED_IMAGES_MAX) return misuse("PICTURE: more than %d pictures", CADRE_EMBED_IMAGES_MAX);
    for (size_t i = 0; rc == 0 && i < options->word_count; i++) rc = check_picture(options->words[i]);
    return rc;
}

void embed_image_start(void)
{
    cadre_embed_images_params params = CADRE_EMBED_IMAGES_PARAMS_INIT;
    count = app.options.word_count;
    pictures = allocate(count, sizeof *pictures);
    for (size_t i = 0; i < count; i++) pictures[i] = picture_input(app.options.words[i]);
    params.key = app.model->key;
    params.images = pictures;
    params.count = count;
    params.options = app_request_options();
    params.on_done = on_done;
    begun = uv_hrtime();
    int rc = cadre_embed_images(app.pool, &params, &app.request);
    free(pictures); /* copied */
    if (rc != 0) app_refused(rc);
}
