#include "capability/generation.h"

#include "pool/model.h"
#include "pool/pool.h"
#include "pool/request.h"

#define STOPS_MAX 16
#define MESSAGES_MAX 65536

typedef struct payload {
    cadre_generation_input input;
    cadre_generation_output output;
    cadre__images images;
    char *text; /* of a request without on_text */
    size_t text_length, text_capacity;
    size_t emitted;
} payload; /* copies of all that input points to lie behind it */

/* ---- checking ---- */

static int check_text(cadre_pool *pool, const char *field, const char *text)
{
    if (!text) return cadre__pool_refuse(pool, CADRE_EINVAL, "%s is NULL", field);
    size_t wrong = cadre__utf8_invalid(text, strlen(text));
    return wrong == SIZE_MAX ? CADRE_OK : cadre__pool_refuse(pool, CADRE_EINVAL, "%s is not UTF-8 at byte %zu", field, wrong);
}

static int check_range(cadre_pool *pool, const char *field, float value, double least, double most)
{
    if (isnan(value) || ((double)value >= least && (double)value <= most)) return CADRE_OK;
    return cadre__pool_refuse(pool, CADRE_EINVAL, "sampling.%s is %g, not within %g…%g", field, (double)value, least, most);
}

static int check_stops(cadre_pool *pool, const cadre_sampling *s)
{
    if (s->stop_count > STOPS_MAX || (s->stop_count && !s->stop))
        return cadre__pool_refuse(pool, CADRE_EINVAL, "sampling.stop has %zu entries, not within 0…%d", s->stop_count, STOPS_MAX);
    for (size_t i = 0; i < s->stop_count; i++) {
        if (!s->stop[i] || !*s->stop[i]) return cadre__pool_refuse(pool, CADRE_EINVAL, "sampling.stop[%zu] is NULL or empty", i);
        int rc = check_text(pool, "sampling.stop", s->stop[i]);
        if (rc != CADRE_OK) return rc;
    }
    return s->grammar ? check_text(pool, "sampling.grammar", s->grammar) : CADRE_OK;
}

static int check_sampling(cadre_pool *pool, const cadre_sampling *s)
{
    if (s->size != sizeof *s) return cadre__pool_refuse(pool, CADRE_EINVAL, "sampling.size is not that of cadre_sampling");
    const struct {
        const char *field;
        float value;
        double least, most;
    } ranges[] = {{"temperature", s->temperature, 0, 1e6},
                  {"top_p", s->top_p, 0, 1},
                  {"min_p", s->min_p, 0, 1},
                  {"repeat_penalty", s->repeat_penalty, 1e-6, 1e6},
                  {"frequency_penalty", s->frequency_penalty, -2, 2},
                  {"presence_penalty", s->presence_penalty, -2, 2}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        int rc = check_range(pool, ranges[i].field, ranges[i].value, ranges[i].least, ranges[i].most);
        if (rc != CADRE_OK) return rc;
    }
    if (s->top_k < CADRE_DEFAULT) return cadre__pool_refuse(pool, CADRE_EINVAL, "sampling.top_k is %d, not at least 0", s->top_k);
    if (s->seed < CADRE_DEFAULT || s->seed > (int64_t)UINT32_MAX)
        return cadre__pool_refuse(pool, CADRE_EINVAL, "sampling.seed is %lld, not within 0…4294967295", (long long)s->seed);
    if (s->max_tokens != CADRE_DEFAULT && s->max_tokens < 1)
        return cadre__pool_refuse(pool, CADRE_EINVAL, "sampling.max_tokens is %d, not at least 1", s->max_tokens);
    return check_stops(pool, s);
}

static int check_messages(cadre_pool *pool, const cadre__generation_request *r)
{
    if (r->message_count < 1 || r->message_count > MESSAGES_MAX)
        return cadre__pool_refuse(pool, CADRE_EINVAL, "message_count is %zu, not within 1…%d", r->message_count, MESSAGES_MAX);
    for (size_t i = 0; i < r->message_count; i++) {
        int rc = check_text(pool, "messages[].role", r->messages[i].role);
        if (rc == CADRE_OK) rc = check_text(pool, "messages[].content", r->messages[i].content);
        if (rc != CADRE_OK) return rc;
        if (!*r->messages[i].role) return cadre__pool_refuse(pool, CADRE_EINVAL, "messages[%zu].role is empty", i);
    }
    return CADRE_OK;
}

static int check(cadre_pool *pool, const cadre__generation_request *r)
{
    const char *field = r->capability == CADRE_VISION ? "query" : "text";
    if (!r->on_done) return cadre__pool_refuse(pool, CADRE_EINVAL, "on_done is NULL");
    if (!r->text == !r->messages) return cadre__pool_refuse(pool, CADRE_EINVAL, r->text ? "both text and messages are set" : "%s is NULL", field);
    int rc = r->text ? check_text(pool, field, r->text) : check_messages(pool, r);
    if (rc != CADRE_OK) return rc;
    if (r->text && !*r->text) return cadre__pool_refuse(pool, CADRE_EINVAL, "%s is empty", field);
    return check_sampling(pool, r->sampling);
}

/* ---- copying: all strings and tables of the input in one block ---- */

typedef struct arena {
    char *base; /* NULL while measuring */
    size_t used;
} arena;

static void *arena_take(arena *a, const void *from, size_t bytes, size_t align)
{
    a->used = (a->used + align - 1) / align * align;
    char *to = a->base ? a->base + a->used : NULL;
    if (to && bytes) memcpy(to, from, bytes);
    a->used += bytes;
    return to;
}

static const char *arena_string(arena *a, const char *text)
{
    return text ? arena_take(a, text, strlen(text) + 1, 1) : NULL;
}

static void fill_arena(arena *a, const cadre__generation_request *r, cadre_generation_input *input)
{
    if (r->messages) {
        cadre_chat_message *messages = arena_take(a, r->messages, r->message_count * sizeof *messages, sizeof(void *));
        for (size_t i = 0; i < r->message_count; i++) {
            const char *role = arena_string(a, r->messages[i].role), *content = arena_string(a, r->messages[i].content);
            if (messages) messages[i] = (cadre_chat_message){role, content};
        }
        input->messages = messages;
    }
    input->text = arena_string(a, r->text);
    const cadre_sampling *s = r->sampling;
    const char **stops = s->stop_count ? arena_take(a, s->stop, s->stop_count * sizeof *stops, sizeof(void *)) : NULL;
    for (size_t i = 0; i < s->stop_count; i++) {
        const char *stop = arena_string(a, s->stop[i]);
        if (stops) stops[i] = stop;
    }
    input->sampling.stop = stops;
    input->sampling.grammar = arena_string(a, s->grammar);
}

static cadre__job *make_job(cadre_pool *pool, const cadre__generation_request *r)
{
    bool lent = r->options->release != NULL;
    cadre_generation_input input = {.size = sizeof input,
                                    .text = r->text,
                                    .messages = r->messages,
                                    .message_count = r->messages ? r->message_count : 0,
                                    .raw = r->raw,
                                    .sampling = *r->sampling};
    arena a = {0};
    if (!lent) fill_arena(&a, r, &input);
    cadre__job *job = cadre__job_create(&pool->heap, &cadre__kinds[r->capability], sizeof(payload) + a.used, sizeof(payload), lent);
    if (!job) return NULL;
    payload *p = cadre__payload(job);
    a = (arena){.base = (char *)(p + 1)};
    if (!lent) fill_arena(&a, r, &input);
    p->input = input;
    job->streams = r->on_text != NULL;
    if (r->image_count == 0 || cadre__images_copy(cadre__pool_allocator(pool), &p->images, r->images, r->image_count, lent) == CADRE_OK) return job;
    cadre__job_free(&pool->heap, job);
    return NULL;
}

int cadre__refuse_lent(const cadre_request_options *options, int error)
{
    if (options && options->size == sizeof *options && options->release) options->release(options->release_data);
    return error;
}

int cadre__generation_submit(cadre_pool *pool, const cadre__generation_request *r, cadre_request_id *out)
{
    cadre__submission submission = {.options = r->options, .data = r->data, .on_part.text = r->on_text, .on_done.generation = r->on_done};
    struct cadre__model *model = NULL;
    int rc = check(pool, r);
    if (rc == CADRE_OK && r->capability == CADRE_VISION) rc = cadre__images_check(pool, r->images, r->image_count, CADRE_DESCRIBE_IMAGES_MAX);
    if (rc == CADRE_OK) rc = cadre__request_admit(pool, r->capability, r->key, r->options, &model);
    if (rc != CADRE_OK) return cadre__refuse_lent(r->options, rc);
    submission.job = make_job(pool, r);
    rc = cadre__request_submit(pool, model, &submission, out);
    return rc == CADRE_OK ? rc : cadre__refuse_lent(r->options, rc);
}

/* ---- the worker ---- */

int cadre__generation_prepare(cadre__runner *runner, cadre__job *job)
{
    payload *p = cadre__payload(job);
    int rc = cadre__images_decode(runner, job, &p->images);
    p->input.images = p->images.pixels;
    p->input.image_count = p->images.count;
    return rc;
}

const cadre_generation_input *cadre__generation_input(const cadre__job *job)
{
    return &((const payload *)cadre__payload(job))->input;
}

int cadre__generation_emitted(cadre__job *job, const char *text, size_t length)
{
    payload *p = cadre__payload(job);
    p->emitted += length;
    if (job->streams) return CADRE_OK;
    const cadre_allocator *allocator = &job->runner->port->allocator;
    size_t needed;
    if (!cadre__add(p->text_length, length, &needed) || !cadre__add(needed, 1, &needed)) return CADRE_ENOMEM;
    if (needed > p->text_capacity) {
        size_t capacity = needed < 128 ? 256 : needed * 2;
        char *grown = cadre__alloc(allocator, capacity);
        if (!grown) return CADRE_ENOMEM;
        if (p->text_length) memcpy(grown, p->text, p->text_length);
        cadre__free(allocator, p->text, p->text_capacity);
        p->text = grown;
        p->text_capacity = capacity;
    }
    memcpy(p->text + p->text_length, text, length);
    p->text_length += length;
    p->text[p->text_length] = '\0';
    return CADRE_OK;
}

void cadre__generation_ended(cadre__job *job, const cadre_generation_output *output)
{
    ((payload *)cadre__payload(job))->output = *output;
}

void cadre__generation_run(cadre__runner *runner, cadre__job *job)
{
    payload *p = cadre__payload(job);
    cadre_generation_output output = {.size = sizeof output};
    int rc = cadre__generation_prepare(runner, job);
    const cadre_generation_model *model = &runner->box->value.generation;
    runner->operations++;
    if (rc == CADRE_OK) rc = model->ops->generate(model->self, job, &p->input, &output);
    p->output = output;
    if (rc >= 0 && job->status < 0) rc = job->status;
    cadre__runner_complete(runner, job, rc < 0 ? rc : CADRE_OK);
}

/* ---- the loop ---- */

void cadre__generation_finish(cadre_request *request, cadre__job *job, int status)
{
    cadre_generation result = {.size = sizeof result};
    if (status >= 0) {
        const payload *p = cadre__payload(job);
        result.finish = p->output.finish;
        result.text = job->streams ? NULL : p->text ? p->text : "";
        result.text_length = p->emitted;
        result.prompt_tokens = p->output.prompt_tokens;
        result.cached_tokens = p->output.cached_tokens;
        result.generated_tokens = p->output.generated_tokens;
        request->model->stats.tokens_in += result.prompt_tokens;
        request->model->stats.tokens_out += result.generated_tokens;
    }
    request->on_done.generation(request, status, status < 0 ? NULL : &result);
}

cadre__images *cadre__generation_images(const cadre__job *job)
{
    return &((payload *)cadre__payload(job))->images;
}

void cadre__generation_adopt(cadre__job *job, const cadre_request_defaults *defaults)
{
    cadre_sampling *s = &((payload *)cadre__payload(job))->input.sampling;
    if (isnan(s->temperature)) s->temperature = defaults->temperature;
    if (isnan(s->top_p)) s->top_p = defaults->top_p;
    if (isnan(s->min_p)) s->min_p = defaults->min_p;
    if (isnan(s->repeat_penalty)) s->repeat_penalty = defaults->repeat_penalty;
    if (s->top_k == CADRE_DEFAULT) s->top_k = defaults->top_k;
    if (s->max_tokens == CADRE_DEFAULT) s->max_tokens = defaults->max_tokens;
}

void cadre__generation_dispose(cadre__heap *heap, cadre__job *job)
{
    payload *p = cadre__payload(job);
    cadre__images_free(&heap->allocator, &p->images);
    cadre__free(&heap->allocator, p->text, p->text_capacity);
}

void cadre__generation_moved(cadre__job *from, cadre__job *to)
{
    payload *old = cadre__payload(from), *p = cadre__payload(to);
    cadre_generation_input *input = &p->input;
    input->text = cadre__moved(input->text, from, to);
    input->sampling.grammar = cadre__moved(input->sampling.grammar, from, to);
    const void *messages = cadre__moved(input->messages, from, to), *stops = cadre__moved(input->sampling.stop, from, to);
    if (messages != input->messages) { /* ours, so we may write there */
        cadre_chat_message *ours = (cadre_chat_message *)(uintptr_t)messages;
        for (size_t i = 0; i < input->message_count; i++)
            ours[i] = (cadre_chat_message){cadre__moved(ours[i].role, from, to), cadre__moved(ours[i].content, from, to)};
        input->messages = ours;
    }
    if (stops != input->sampling.stop) {
        const char **ours = (const char **)(uintptr_t)stops;
        for (size_t i = 0; i < input->sampling.stop_count; i++) ours[i] = cadre__moved(ours[i], from, to);
        input->sampling.stop = ours;
    }
    old->images = (cadre__images){0};
    old->text = NULL;
    old->text_capacity = 0;
}

cadre__job *cadre__generation_warm_up(cadre_pool *pool, const cadre__kind *kind, const char *text)
{
    static const cadre_request_options options = CADRE_REQUEST_OPTIONS_INIT;
    cadre_sampling sampling = CADRE_SAMPLING_INIT;
    sampling.max_tokens = 1;
    sampling.temperature = 0;
    cadre__generation_request request = {.capability = CADRE_TEXT_TO_TEXT, .text = text, .sampling = &sampling, .options = &options};
    cadre__job *job = kind->capability == CADRE_TEXT_TO_TEXT ? make_job(pool, &request) : NULL;
    if (job) job->window = 1; /* a slot without a window rests for ever */
    return job;
}
