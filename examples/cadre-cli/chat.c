/* chat: one question, its answer streamed. What describe shares: sampling, and the stream. */
#include "cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { GRAMMAR_MOST = 1 << 20, PROMPT_MOST = 64 << 20 };

static struct buffer grammar, prompt;
static struct stream stream;
static int interactive;

/* ---- sampling ---- */

int sampling_prepare(void)
{
    const char *path = app.options.grammar_file;
    if (!path) return 0;
    int rc = read_file("--grammar-file", path, GRAMMAR_MOST, &grammar);
    if (rc == 0) rc = check_utf8("--grammar-file", grammar.data, grammar.length);
    if (rc == 0 && grammar.length == 0) rc = complain(CLI_USAGE, "--grammar-file: %s is empty", path);
    return rc;
}

cadre_sampling sampling_make(void)
{
    const struct options *options = &app.options;
    cadre_sampling sampling = CADRE_SAMPLING_INIT;
    sampling.temperature = (float)options->temperature;
    sampling.top_p = (float)options->top_p;
    sampling.top_k = (int32_t)options->top_k;
    sampling.seed = options->seed;
    sampling.max_tokens = (int32_t)options->max_tokens;
    sampling.stop = options->stop.count ? options->stop.items : NULL;
    sampling.stop_count = options->stop.count;
    sampling.grammar = grammar.data;
    return sampling;
}

/* ---- the stream ---- */

void stream_begin(struct stream *out)
{
    *out = (struct stream){.begun = uv_hrtime()};
}

void stream_text(struct stream *out, const char *text, size_t length)
{
    if (length == 0) return;
    size_t spaces = out->trim && out->bytes == 0 ? strspn(text, " ") : 0;
    if (out->bytes == 0) out->first = uv_hrtime();
    out->bytes += length;
    out->open_line = text[length - 1] != '\n';
    if (app.options.json) {
        struct buffer line = {NULL, 0, 0};
        buffer_print(&line, "{\"type\": \"text\", \"text\": ");
        buffer_json(&line, text); /* NUL-terminated */
        buffer_add(&line, "}\n", 2);
        out_buffer(&line);
    } else {
        out_write(text + spaces, length - spaces);
    }
}

static const char *finish_name(cadre_finish finish)
{
    return finish == CADRE_FINISH_LENGTH ? "length" : "stop";
}

void stream_end(struct stream *out, const cadre_request *request, int status, const cadre_generation *result)
{
    double seconds = (double)(uv_hrtime() - out->begun) / 1e9;
    if (out->open_line && !app.options.json) out_text("\n");
    out->open_line = 0;
    if (status < 0) return;
    if (app.options.json) {
        struct buffer line = {NULL, 0, 0};
        buffer_print(&line, "{\"type\": \"done\", \"model\": ");
        buffer_json(&line, cadre_request_key(request));
        buffer_print(&line, ", \"finish\": \"%s\", \"prompt_tokens\": %u, \"cached_tokens\": %u, \"generated_tokens\": %u, \"seconds\": %.3f}\n",
                     finish_name(result->finish), result->prompt_tokens, result->cached_tokens, result->generated_tokens, seconds);
        out_buffer(&line);
    }
    if (app.options.verbose)
        note("%s: %u tokens of prompt (%u cached), %u generated, finish %s; first text after %.2f s, %.2f s in all", cadre_request_key(request),
             result->prompt_tokens, result->cached_tokens, result->generated_tokens, finish_name(result->finish),
             out->first ? (double)(out->first - out->begun) / 1e9 : seconds, seconds);
}

/* ---- the command ---- */

int chat_prepare(void)
{
    const struct options *options = &app.options;
    int from_input = options->word_count == 0 || strcmp(options->words[0], "-") == 0;
    int rc = sampling_prepare();
    if (rc) return rc;
    if (options->word_count > 1) return misuse("one PROMPT is expected, and \"%.60s\" is a second; put quotes around it", options->words[1]);
    interactive = options->word_count == 0 && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && !options->json;
    if (interactive) return 0;
    if (from_input) {
        rc = read_file("PROMPT", "-", PROMPT_MOST, &prompt);
        while (prompt.length > 0 && prompt.data[prompt.length - 1] == '\n') prompt.data[--prompt.length] = '\0';
    } else {
        buffer_add(&prompt, options->words[0], strlen(options->words[0]));
    }
    if (rc == 0 && prompt.length == 0) rc = misuse(from_input ? "PROMPT, from standard input, is empty" : "PROMPT is empty");
    return rc ? rc : check_utf8(from_input ? "PROMPT, from standard input," : "PROMPT", prompt.data, prompt.length);
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

void chat_start(void)
{
    cadre_generate_params params = CADRE_GENERATE_PARAMS_INIT;
    cadre_chat_message messages[2] = {{"system", app.options.system}, {"user", prompt.data}};
    if (interactive) {
        interactive_start();
        return;
    }
    params.key = app.model->key;
    params.messages = app.options.system ? messages : messages + 1;
    params.message_count = app.options.system ? 2 : 1;
    params.sampling = sampling_make();
    params.options = app_request_options();
    params.on_text = on_text;
    params.on_done = on_done;
    stream_begin(&stream);
    int rc = cadre_generate(app.pool, &params, &app.request);
    if (rc != 0) app_refused(rc);
}
