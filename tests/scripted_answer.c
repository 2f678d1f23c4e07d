/* The host's side of scripted models: answers (one per request) and the comparison of what arrives at an op with what was asked for.
 *
 * Answers belong to the loop thread. The checks run on workers' threads and read parameter structs that the test does not touch meanwhile. */
#include "scripted_model.h"

/* ---- comparing: the first field that differs, or NULL ---- */

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}
static bool same_float(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (a != a && b != b);
}

static const char *differs_sampling(const cadre_sampling *a, const cadre_sampling *b)
{
    if (a->size != sizeof *a) return "sampling.size";
    if (!same_float(a->temperature, b->temperature)) return "temperature";
    if (a->top_k != b->top_k) return "top_k";
    if (!same_float(a->top_p, b->top_p)) return "top_p";
    if (!same_float(a->min_p, b->min_p)) return "min_p";
    if (!same_float(a->repeat_penalty, b->repeat_penalty)) return "repeat_penalty";
    if (!same_float(a->frequency_penalty, b->frequency_penalty)) return "frequency_penalty";
    if (!same_float(a->presence_penalty, b->presence_penalty)) return "presence_penalty";
    if (a->seed != b->seed) return "seed";
    if (a->max_tokens != b->max_tokens) return "max_tokens";
    if (a->stop_count != b->stop_count) return "stop_count";
    for (size_t i = 0; i < a->stop_count; i++)
        if (!same_text(a->stop[i], b->stop[i])) return "stop";
    return same_text(a->grammar, b->grammar) ? NULL : "grammar";
}

static const char *differs_images(const cadre_image *images, size_t count, const cadre_image_input *inputs, size_t input_count)
{
    if (count != input_count) return "image_count";
    for (size_t i = 0; i < count; i++) {
        const cadre_image *a = &images[i], *b = &inputs[i].rgb8;
        if (a->size != sizeof *a) return "image.size";
        if (a->width != b->width || a->height != b->height) return "image's width or height";
        if (a->stride < (size_t)a->width * 3) return "image.stride";
        for (uint32_t y = 0; y < a->height; y++)
            if (memcmp(a->pixels + y * a->stride, b->pixels + y * b->stride, (size_t)a->width * 3) != 0) return "image.pixels";
    }
    return NULL;
}

static const char *differs_generation(const script *s, const cadre_generation_input *a, const void *expected)
{
    if (a->size != sizeof *a) return "size";
    if (s->capability == CADRE_VISION) {
        const cadre_describe_params *b = expected;
        if (!same_text(a->text, b->query)) return "query";
        if (a->message_count || a->raw) return "messages or raw of a vision request";
        const char *field = differs_images(a->images, a->image_count, b->images, b->image_count);
        return field ? field : differs_sampling(&a->sampling, &b->sampling);
    }
    const cadre_generate_params *b = expected;
    if (!same_text(a->text, b->text)) return "text";
    if (a->message_count != b->message_count) return "message_count";
    for (size_t i = 0; i < a->message_count; i++)
        if (!same_text(a->messages[i].role, b->messages[i].role) || !same_text(a->messages[i].content, b->messages[i].content)) return "messages";
    if (a->raw != b->raw) return "raw";
    if (a->image_count) return "images of a text request";
    return differs_sampling(&a->sampling, &b->sampling);
}

void check_generation(script *s, const cadre_generation_input *input)
{
    const char *field = NULL;
    for (size_t i = 0; i < s->expected_count; i++)
        if (!(field = differs_generation(s, input, s->expected[i]))) return;
    if (field) fixture_fault(s->fx, "a request arrives with another %s", field);
}

static const char *differs_embed(const char *text, const char *task, int truncate, const cadre_embed_params *b)
{
    bool known = b->text && same_text(text, b->text);
    for (size_t i = 0; b->texts && i < b->count; i++) known = known || same_text(text, b->texts[i]);
    if (!known) return "text";
    if (!same_text(task, b->task ? b->task : "")) return "task";
    return truncate == b->truncate ? NULL : "truncate";
}

void check_embed(script *s, const char *text, const char *task, int truncate)
{
    const char *field = NULL;
    for (size_t i = 0; i < s->expected_count; i++)
        if (!(field = differs_embed(text, task, truncate, s->expected[i]))) return;
    if (field) fixture_fault(s->fx, "a text arrives with another %s", field);
}

static const char *differs_painting(const cadre_text_to_image_input *a, const cadre_generate_image_params *b)
{
    if (a->size != sizeof *a) return "size";
    if (!same_text(a->prompt, b->prompt)) return "prompt";
    if (!same_text(a->negative_prompt, b->negative_prompt ? b->negative_prompt : "")) return "negative_prompt";
    if (a->width != b->width || a->height != b->height) return "width or height";
    if (a->steps != b->steps) return "steps";
    if (!same_float(a->guidance, b->guidance)) return "guidance";
    return a->seed == b->seed ? NULL : "seed";
}

void check_image_input(script *s, const cadre_text_to_image_input *input)
{
    const char *field = NULL;
    for (size_t i = 0; i < s->expected_count; i++)
        if (!(field = differs_painting(input, s->expected[i]))) return;
    if (field) fixture_fault(s->fx, "a request arrives with another %s", field);
}

/* ---- pictures that carry a text ---- */

cadre_image_input picture(const char *text, uint8_t *buffer, size_t size)
{
    size_t pixels = (strlen(text) + 2) / 3;
    if (pixels == 0) pixels = 1;
    if (pixels * 3 > size) abort();
    memset(buffer, 0, pixels * 3);
    memcpy(buffer, text, strlen(text));
    return cadre_image_from_rgb8(buffer, (uint32_t)pixels, 1);
}

const char *image_text(const cadre_image *image, char *buffer, size_t size)
{
    size_t n = 0;
    for (uint32_t y = 0; y < image->height; y++)
        for (size_t x = 0; x < (size_t)image->width * 3 && n + 1 < size; x++)
            if (image->pixels[y * image->stride + x]) buffer[n++] = (char)image->pixels[y * image->stride + x];
    buffer[n] = '\0';
    return buffer;
}

/* ---- answers ---- */

answer *answer_new(fixture *fx)
{
    answer *a = calloc(1, sizeof *a);
    if (!a) abort();
    a->fx = fx;
    a->rc = CADRE_EINVAL;
    a->next = fx->answers;
    fx->answers = a;
    return a;
}

static answer *answer_of(cadre_request *request, const char *what)
{
    answer *a = cadre_request_data(request);
    fixture *fx = a->fx;
    if (!fixture_on_loop(fx)) fixture_fault(fx, "%s off the loop", what);
    if (fx->calling) fixture_fault(fx, "%s from inside a call", what);
    if (a->done) fixture_fault(fx, "%s after on_done", what);
    if (cadre_request_pool(request) != fx->pool) fixture_fault(fx, "%s with another pool", what);
    if (a->id && cadre_request_get_id(request) != a->id) fixture_fault(fx, "%s with another id", what);
    return a;
}

void answer_on_text(cadre_request *request, const char *text, size_t length)
{
    answer *a = answer_of(request, "on_text");
    if (a->silent) fixture_fault(a->fx, "on_text after a cancel, or while paused");
    if (text[length] != '\0') fixture_fault(a->fx, "a piece is not NUL-terminated");
    char *grown = realloc(a->text, a->length + length + 1);
    if (!grown) abort();
    a->text = grown;
    memcpy(a->text + a->length, text, length + 1);
    a->length += length;
    a->pieces++;
    if (a->on_piece) a->on_piece(a);
}

static answer *finish(cadre_request *request, int status, const void *result)
{
    answer *a = answer_of(request, "on_done");
    if (status > 0) fixture_fault(a->fx, "on_done's status is %d", status);
    if ((status < 0) != (result == NULL)) fixture_fault(a->fx, "on_done: %s with%s a result", cadre_err_name(status), result ? "" : "out");
    const char *detail = cadre_request_detail(request);
    if (!detail || (status == 0 && detail[0])) fixture_fault(a->fx, "the detail of %s is %s", cadre_err_name(status), detail ? detail : "NULL");
    a->done++;
    a->status = status;
    a->result = result != NULL;
    a->order = ++a->fx->calls;
    snprintf(a->detail, sizeof a->detail, "%s", detail ? detail : "(null)");
    return a;
}

static void finished(answer *a)
{
    if (a->then) a->then(a);
}

void answer_on_generation(cadre_request *request, int status, const cadre_generation *result)
{
    answer *a = finish(request, status, result);
    if (result) {
        if (result->size != sizeof *result) fixture_fault(a->fx, "generation.size is %zu", result->size);
        a->generation = *result;
        if (a->unstreamed) {
            if (!result->text || strlen(result->text) != result->text_length) {
                fixture_fault(a->fx, "an unstreamed answer has no text, or one of another length");
            } else {
                a->text = strdup(result->text);
                a->length = result->text_length;
            }
        } else if (result->text) {
            fixture_fault(a->fx, "a streamed answer has a text in on_done");
        } else if (result->text_length != a->length) {
            fixture_fault(a->fx, "text_length is %zu after %zu bytes of pieces", result->text_length, a->length);
        }
        a->generation.text = NULL;
    }
    finished(a);
}

void answer_on_embeddings(cadre_request *request, int status, const cadre_embeddings *result)
{
    answer *a = finish(request, status, result);
    if (result) {
        if (result->size != sizeof *result) fixture_fault(a->fx, "embeddings.size is %zu", result->size);
        a->count = result->count;
        a->dimension = result->dimension;
        a->tokens = result->tokens;
        a->values = malloc(result->count * result->dimension * sizeof(float));
        if (!a->values) abort();
        memcpy(a->values, result->values, result->count * result->dimension * sizeof(float));
    }
    finished(a);
}

void answer_on_image(cadre_request *request, int status, const cadre_image *result)
{
    answer *a = finish(request, status, result);
    if (result) {
        uint8_t *pixels = malloc(result->stride * result->height);
        if (!pixels) abort();
        memcpy(pixels, result->pixels, result->stride * result->height);
        a->image = *result;
        a->image.pixels = pixels;
    }
    finished(a);
}

void answer_on_step(cadre_request *request, uint32_t done, uint32_t total)
{
    answer *a = answer_of(request, "on_step");
    if (a->silent) fixture_fault(a->fx, "on_step after a cancel");
    if (done < a->last_step) fixture_fault(a->fx, "step %u is reported after step %u", done, a->last_step);
    a->steps++;
    a->last_step = done;
    a->total_steps = total;
    if (a->on_piece) a->on_piece(a);
}

void answer_on_release(void *data)
{
    answer *a = data;
    if (!fixture_on_loop(a->fx)) fixture_fault(a->fx, "a request's release runs off the loop");
    a->releases++;
}

/* ---- asking ---- */

static int submit_text(script *s, answer *a, const char *text, const cadre_request_options *options)
{
    cadre_generate_params p = CADRE_GENERATE_PARAMS_INIT;
    p.key = s->key;
    p.text = text;
    p.options = *options;
    p.on_text = a->unstreamed ? NULL : answer_on_text;
    p.on_done = answer_on_generation;
    p.data = a;
    return cadre_generate(s->fx->pool, &p, &a->id);
}

static int submit_embed(script *s, answer *a, const char *text, const cadre_request_options *options)
{
    cadre_embed_params p = CADRE_EMBED_PARAMS_INIT;
    p.key = s->key;
    p.text = text;
    p.options = *options;
    p.on_done = answer_on_embeddings;
    p.data = a;
    return cadre_embed(s->fx->pool, &p, &a->id);
}

static int submit_embed_image(script *s, answer *a, const char *text, const cadre_request_options *options)
{
    uint8_t pixels[96];
    cadre_image_input input = picture(text, pixels, sizeof pixels);
    cadre_embed_images_params p = CADRE_EMBED_IMAGES_PARAMS_INIT;
    p.key = s->key;
    p.images = &input;
    p.count = 1;
    p.options = *options;
    p.on_done = answer_on_embeddings;
    p.data = a;
    return cadre_embed_images(s->fx->pool, &p, &a->id);
}

static int submit_describe(script *s, answer *a, const char *text, const cadre_request_options *options)
{
    uint8_t pixels[96];
    cadre_image_input input = picture("dot", pixels, sizeof pixels);
    cadre_describe_params p = CADRE_DESCRIBE_PARAMS_INIT;
    p.key = s->key;
    p.query = text;
    p.images = &input;
    p.image_count = 1;
    p.options = *options;
    p.on_text = a->unstreamed ? NULL : answer_on_text;
    p.on_done = answer_on_generation;
    p.data = a;
    return cadre_describe(s->fx->pool, &p, &a->id);
}

static int submit_paint(script *s, answer *a, const char *text, const cadre_request_options *options)
{
    cadre_generate_image_params p = CADRE_GENERATE_IMAGE_PARAMS_INIT;
    p.key = s->key;
    p.prompt = text;
    p.options = *options;
    p.on_step = answer_on_step;
    p.on_done = answer_on_image;
    p.data = a;
    return cadre_generate_image(s->fx->pool, &p, &a->id);
}

int submit(script *s, answer *a, const char *text, const cadre_request_options *options)
{
    static int (*const by_capability[CADRE_CAPABILITY_COUNT])(script *, answer *, const char *, const cadre_request_options *) = {
        submit_text, submit_embed, submit_embed_image, submit_describe, submit_paint};
    cadre_request_options all = CADRE_REQUEST_OPTIONS_INIT;
    if (options) all = *options;
    a->lent = all.release == answer_on_release;
    fixture *fx = s->fx;
    fx->calling++;
    a->rc = by_capability[s->capability](s, a, text, &all);
    fx->calling--;
    if (a->rc == 0 && a->id == 0) fixture_fault(fx, "a request's id is 0");
    if (a->rc != 0 && a->rc > 0) fixture_fault(fx, "a request is refused with %d", a->rc);
    return a->rc;
}

answer *ask(script *s, const char *text)
{
    answer *a = answer_new(s->fx);
    assert_status(submit(s, a, text, NULL), 0);
    return a;
}

void until_done(answer *a)
{
    run_until_int(a->fx, &a->done, 1);
}

static bool all_done(void *data)
{
    fixture *fx = data;
    for (answer *a = fx->answers; a; a = a->next)
        if (a->rc == 0 && !a->done) return false;
    return true;
}

void until_all_done(fixture *fx)
{
    run_until(fx, all_done, fx);
}

void assert_answered(const script *s, const answer *a, const char *text)
{
    char expected[1024];
    assert_size(a->done, 1);
    if (a->status < 0) print_error("%s: %s\n", cadre_err_name(a->status), a->detail);
    assert_status(a->status, 0);
    switch (s->capability) {
    case CADRE_TEXT_TO_TEXT:
    case CADRE_VISION:
        assert_string_equal(a->text, script_answer(s, text, expected, sizeof expected));
        assert_size(a->generation.prompt_tokens, strlen(text));
        assert_size(a->generation.cached_tokens, 1);
        assert_size(a->generation.generated_tokens, s->pieces);
        assert_int_equal(a->generation.finish, CADRE_FINISH_STOP);
        break;
    case CADRE_TEXT_EMBEDDING:
    case CADRE_IMAGE_EMBEDDING:
        assert_size(a->count, 1);
        assert_size(a->dimension, s->dimension);
        for (size_t j = 0; j < a->dimension; j++) assert_true(a->values[j] == script_hash(text, strlen(text)) + (float)j);
        assert_size(a->tokens, s->capability == CADRE_TEXT_EMBEDDING ? strlen(text) : 0);
        break;
    case CADRE_TEXT_TO_IMAGE:
        assert_size(a->image.width, 8);
        assert_size(a->image.height, 4);
        assert_string_equal(image_text(&a->image, expected, sizeof expected), text);
        break;
    }
}

cadre_model_info model_info(fixture *fx, const char *key)
{
    cadre_model_info info = CADRE_MODEL_INFO_INIT;
    assert_status(cadre_model_get_info(fx->pool, key, &info), 0);
    return info;
}
