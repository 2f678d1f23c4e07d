#include "capability/text_to_image.h"

#include "capability/generation.h"
#include "capability/typed.h"
#include "pool/pool.h"
#include "pool/request.h"

CADRE__TYPED(cadre_text_to_image, cadre_spawn_text_to_image, cadre_registry_add_text_to_image, cadre_text_to_image_model, CADRE_TEXT_TO_IMAGE)

/* Step reports: the words are relaxed, at most one message is under way, and it lies before the job's own in the inbox. */
typedef struct payload {
    cadre_text_to_image_input input;
    cadre_image image;
    cadre_blob pixels;
    cadre__message report;
    cadre__job *job;
    atomic_bool sent;
    atomic_uint done, total;
    char strings[];
} payload;

static int check(cadre_pool *pool, const cadre_generate_image_params *p)
{
    const struct {
        const char *field, *text;
    } texts[] = {{"prompt", p->prompt}, {"negative_prompt", p->negative_prompt ? p->negative_prompt : ""}};
    if (!p->on_done) return cadre__pool_refuse(pool, CADRE_EINVAL, "on_done is NULL");
    for (size_t i = 0; i < 2; i++) {
        if (!texts[i].text) return cadre__pool_refuse(pool, CADRE_EINVAL, "%s is NULL", texts[i].field);
        size_t wrong = cadre__utf8_invalid(texts[i].text, strlen(texts[i].text));
        if (wrong != SIZE_MAX) return cadre__pool_refuse(pool, CADRE_EINVAL, "%s is not UTF-8 at byte %zu", texts[i].field, wrong);
    }
    if (!*p->prompt) return cadre__pool_refuse(pool, CADRE_EINVAL, "prompt is empty");
    const struct {
        const char *field;
        int64_t value, least, most;
    } ranges[] = {{"width", p->width, 1, 16384}, {"height", p->height, 1, 16384}, {"steps", p->steps, 1, 1000}, {"seed", p->seed, 0, UINT32_MAX}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (ranges[i].value != CADRE_DEFAULT && (ranges[i].value < ranges[i].least || ranges[i].value > ranges[i].most))
            return cadre__pool_refuse(pool, CADRE_EINVAL, "%s is %lld, not within %lld…%lld", ranges[i].field, (long long)ranges[i].value,
                                      (long long)ranges[i].least, (long long)ranges[i].most);
    if (!isnan(p->guidance) && (!(p->guidance >= 0) || isinf(p->guidance)))
        return cadre__pool_refuse(pool, CADRE_EINVAL, "guidance is %g, not at least 0", (double)p->guidance);
    return CADRE_OK;
}

static void deliver_report(cadre_pool *pool, cadre__message *message)
{
    (void)pool;
    payload *p = CADRE__CONTAINER(message, payload, report);
    atomic_exchange_explicit(&p->sent, false, memory_order_acq_rel);
    cadre_request *request = p->job->request;
    if (request) request->on_part.step(request, atomic_load_explicit(&p->done, memory_order_relaxed), atomic_load_explicit(&p->total, memory_order_relaxed));
}

static cadre__job *make_job(cadre_pool *pool, const cadre_generate_image_params *params)
{
    const char *negative = params->negative_prompt ? params->negative_prompt : "";
    bool lent = params->options.release != NULL;
    size_t strings = lent ? 0 : strlen(params->prompt) + strlen(negative) + 2;
    cadre__job *job = cadre__job_create(&pool->heap, &cadre__kinds[CADRE_TEXT_TO_IMAGE], sizeof(payload) + strings, sizeof(payload), lent);
    if (!job) return NULL;
    payload *p = cadre__payload(job);
    job->accepts_steps = params->on_step != NULL;
    p->job = job;
    p->report.deliver = deliver_report;
    p->input = (cadre_text_to_image_input){sizeof p->input, params->prompt, negative,         params->width,
                                           params->height,  params->steps,  params->guidance, params->seed};
    if (lent) return job;
    p->input.prompt = p->strings;
    p->input.negative_prompt = strcpy(stpcpy(p->strings, params->prompt) + 1, negative);
    return job;
}

int cadre_generate_image(cadre_pool *pool, const cadre_generate_image_params *theirs, cadre_request_id *out)
{
    if (out) *out = 0;
    if (!pool || !theirs) return CADRE_EINVAL;
    static const cadre_generate_image_params defaults = CADRE_GENERATE_IMAGE_PARAMS_INIT;
    cadre_generate_image_params old;
    const cadre_generate_image_params *params = cadre__view(theirs, &old, &defaults, sizeof old);
    if (!params) return cadre__pool_refuse(pool, CADRE_EINVAL, "params.size is not that of cadre_generate_image_params");
    cadre__submission submission = {.options = &params->options, .data = params->data, .on_part.step = params->on_step, .on_done.image = params->on_done};
    struct cadre__model *model = NULL;
    int rc = check(pool, params);
    if (rc == CADRE_OK) rc = cadre__request_admit(pool, CADRE_TEXT_TO_IMAGE, params->key, &params->options, &model);
    if (rc != CADRE_OK) return cadre__refuse_lent(&params->options, rc);
    submission.job = make_job(pool, params);
    rc = cadre__request_submit(pool, model, &submission, out);
    return rc == CADRE_OK ? rc : cadre__refuse_lent(&params->options, rc);
}

void cadre_op_step(cadre_op *op, uint32_t done, uint32_t total)
{
    cadre_op_heartbeat(op);
    if (!op->accepts_steps) return;
    payload *p = cadre__payload(op);
    atomic_store_explicit(&p->done, done, memory_order_relaxed);
    atomic_store_explicit(&p->total, total, memory_order_relaxed);
    if (!atomic_exchange_explicit(&p->sent, true, memory_order_acq_rel)) cadre__port_send(op->runner->port, &p->report);
}

void cadre__text_to_image_run(cadre__runner *runner, cadre__job *job)
{
    payload *p = cadre__payload(job);
    const cadre_text_to_image_model *model = &runner->box->value.text_to_image;
    p->image = (cadre_image)CADRE_IMAGE_INIT;
    runner->operations++;
    int rc = model->ops->generate(model->self, job, &p->input, &p->image, &p->pixels);
    if (rc >= 0 && (!p->image.pixels || !p->image.width || !p->image.height || p->image.stride / 3 < p->image.width))
        rc = cadre_op_fail(job, CADRE_EENGINE, "the model returned no picture");
    cadre__runner_complete(runner, job, rc < 0 ? rc : CADRE_OK);
}

void cadre__text_to_image_finish(cadre_request *request, cadre__job *job, int status)
{
    request->on_done.image(request, status, status < 0 ? NULL : &((const payload *)cadre__payload(job))->image);
}

void cadre__text_to_image_dispose(cadre__heap *heap, cadre__job *job)
{
    (void)heap;
    payload *p = cadre__payload(job);
    if (p->pixels.free) p->pixels.free(p->pixels.data, p->pixels.length);
}

void cadre__text_to_image_adopt(cadre__job *job, const cadre_request_defaults *defaults)
{
    cadre_text_to_image_input *input = &((payload *)cadre__payload(job))->input;
    if (input->width == CADRE_DEFAULT) input->width = defaults->width;
    if (input->height == CADRE_DEFAULT) input->height = defaults->height;
    if (input->steps == CADRE_DEFAULT) input->steps = defaults->steps;
    if (isnan(input->guidance)) input->guidance = defaults->guidance;
}

void cadre__text_to_image_moved(cadre__job *from, cadre__job *to)
{
    payload *p = cadre__payload(to);
    p->input.prompt = cadre__moved(p->input.prompt, from, to);
    p->input.negative_prompt = cadre__moved(p->input.negative_prompt, from, to);
    p->job = to;
}
