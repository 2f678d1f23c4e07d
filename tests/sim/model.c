/* The scripted models: what they answer is a function of what they read, so that every answer can be checked; what they read must still be there, and theirs
 * alone. */
#include "host.h"

#include <stdlib.h>

/* ---- what every operation checks ---- */

static void enter(instance *self, const char *op)
{
    simulator *sim = &self->model->host->sim;
    if (!sim->current) sim_violation(sim, "%s of %s runs on the loop", op, self->model->key);
    if (!self->attached || self->gone) sim_violation(sim, "%s of %s on a model that is not attached, or destroyed", op, self->model->key);
    if (self->busy) sim_violation(sim, "%s of %s while another operation is running", op, self->model->key);
    self->busy = true;
}

static void work(instance *self)
{
    host *h = self->model->host;
    sim_busy(&h->sim, sim_span(&h->sim, self->model->step_ns));
    if (!self->busy || !self->model->hangs || h->calm || h->relented || !sim_one_in(&h->sim, 150)) return;
    sim_log(&h->sim, "a model of w%u hangs", self->worker->number);
    if (sim_one_in(&h->sim, 2))
        sim_stick(&h->sim);
    else
        sim_busy(&h->sim, sim_span(&h->sim, 2000 * CADRE__NS_PER_MS));
}

/* The request that an input names; it must be one that reads like what was asked. */
static sim_request *reading(instance *self, const char *prompt)
{
    host *h = self->model->host;
    if (strcmp(prompt, "warm") == 0) return &h->warm;
    unsigned number = (unsigned)strtoul(prompt + 1, NULL, 10);
    if (prompt[0] != 'q' || number >= h->request_count) sim_violation(&h->sim, "%s reads \"%.20s\", which nobody asked", self->model->key, prompt);
    sim_request *r = h->requests[number];
    char expected[PROMPT_MAX];
    snprintf(expected, sizeof expected, "q%u of %s", r->number, r->model->key);
    if (strncmp(prompt, expected, strlen(expected)) != 0) sim_violation(&h->sim, "request %u reads \"%.30s\"", number, prompt);
    if (r->model != self->model) sim_violation(&h->sim, "request %u is with %s but was for %s", number, self->model->key, r->model->key);
    if (r->lent && r->released) sim_violation(&h->sim, "request %u: a lent input is read after its release", number);
    return r;
}

static sim_request *reading_picture(instance *self, const cadre_image *image)
{
    char prompt[PROMPT_MAX] = {0};
    memcpy(prompt, image->pixels, (size_t)image->width * 3);
    return reading(self, prompt);
}

static void begin_once(sim_request *r)
{
    if (r->begun++ && r != &r->host->warm) sim_violation(&r->host->sim, "request %u is begun twice", r->number);
}

static int fail(cadre_op *op, const sim_request *r)
{
    if (r->failure == CADRE_EWORKER) r->model->crashed = true;
    return cadre_op_fail(op, r->failure, "request %u fails", r->number);
}

static int emit(cadre_op *op, const sim_request *r, unsigned piece)
{
    char text[PROMPT_MAX];
    int length = piece_text(r, piece, text, sizeof text);
    return cadre_op_emit(op, text, (size_t)length);
}

/* ---- life ---- */

static int attach(void *data, cadre_op *op)
{
    instance *self = data;
    simulator *sim = &self->model->host->sim;
    if (!sim->current || self->attached || self->gone) sim_violation(sim, "attach on the loop, or twice");
    work(self);
    host *h = self->model->host;
    if (!h->fair && !h->calm && sim_one_in(sim, 40)) {
        self->model->turmoil = true;
        return cadre_op_fail(op, CADRE_EENGINE, "attach fails");
    }
    if (!h->fair && !h->calm && !h->relented && sim_one_in(sim, 200)) {
        self->model->turmoil = true;
        sim_stick(sim);
    }
    const sim_entry *e = self->worker->entry;
    for (size_t i = 0; e && e->measures && i < e->need_count; i++)
        if (sim_one_in(sim, 2))
            cadre_op_measured(op, e->needs[i].device,
                              e->needs[i].worker_bytes / 2 + sim_below(sim, e->needs[i].worker_bytes * (sim_one_in(sim, 4) ? 4 : 1) + 1));
    self->attached = true;
    return CADRE_OK;
}

/* What pays for a model and what it is made around stay until it is destroyed. */
static void still_paid(const instance *self, const char *when)
{
    host *h = self->model->host;
    if (!self->unpaid && !memory_charged(h, self->worker->charge))
        sim_violation(&h->sim, "w%u: a model's reservation is given back %s", self->worker->number, when);
    if (self->payload && self->payload->gone) sim_violation(&h->sim, "w%u: a model's weights are destroyed %s", self->worker->number, when);
}

static void forget(instance *self)
{
    if (self->payload) self->payload->users--;
    if (self->worker->entry) self->worker->entry->instances--;
    if (self->paid) self->model->instances--;
    self->worker->instances--;
    self->model->host->instances--;
}

static void destroy(void *data)
{
    instance *self = data;
    host *h = self->model->host;
    if (self->gone) sim_violation(&h->sim, "a model is destroyed twice");
    if (self->busy || self->active) sim_violation(&h->sim, "a model is destroyed while it works");
    if (!h->sim.current && !h->closed && !self->anywhere) sim_violation(&h->sim, "a model is destroyed on the loop");
    still_paid(self, "before it is destroyed");
    self->gone = true;
    work(self);
    if (!h->fair && !h->calm && !h->relented && sim_one_in(&h->sim, 200)) sim_stick(&h->sim);
    still_paid(self, "while it is being destroyed");
    forget(self);
    sim_log(&h->sim, "a model of w%u is destroyed", self->worker->number);
    free(self);
}

/* ---- generation ---- */

static int generate(void *data, cadre_op *op, const cadre_generation_input *input, cadre_generation_output *output)
{
    instance *self = data;
    enter(self, "generate");
    sim_request *r = reading(self, input->text);
    begin_once(r);
    sim_log(&r->host->sim, "q%u generates", r->number);
    int rc = CADRE_OK;
    for (unsigned i = 0; rc == CADRE_OK && i < r->pieces; i++) {
        work(self);
        if (reading(self, input->text) != r) sim_violation(&r->host->sim, "request %u: its input has changed", r->number);
        for (size_t k = 0; k < input->image_count; k++) reading_picture(self, &input->images[k]);
        if (!self->model->patient && cadre_op_cancelled(op)) rc = CADRE_ECANCELED;
        if (rc == CADRE_OK && r->fails_at == (int)i) rc = fail(op, r);
        if (rc == CADRE_OK) rc = emit(op, r, i);
        if (rc == CADRE_ECANCELED && self->model->patient) rc = CADRE_OK;
    }
    output->generated_tokens = r->pieces;
    self->busy = false;
    return rc;
}

static int begin(void *data, cadre_op *op, uint32_t slot, const cadre_generation_input *input)
{
    instance *self = data;
    (void)op;
    enter(self, "begin");
    host *h = self->model->host;
    sim_request *r = reading(self, input->text);
    if (slot >= self->model->slots || self->slots[slot].request) sim_violation(&h->sim, "begin in a slot that is taken or none");
    self->busy = false;
    if (self->active && sim_one_in(&h->sim, 6)) return CADRE_EAGAIN;
    begin_once(r);
    if (r->fails_at == 0) return fail(op, r);
    sim_log(&h->sim, "q%u begins in slot %u", r->number, slot);
    self->slots[slot].request = r;
    self->slots[slot].next = 0;
    self->active++;
    return CADRE_OK;
}

static int step(void *data, cadre_slot_step *steps, size_t count)
{
    instance *self = data;
    enter(self, "step");
    host *h = self->model->host;
    work(self);
    bool all_fail = !h->fair && !h->calm && sim_one_in(&h->sim, 300);
    for (size_t i = 0; i < count; i++) {
        sim_request *r = self->slots[steps[i].slot].request;
        if (!r) sim_violation(&h->sim, "a step of a slot that is free");
        if (r->lent && r->released) sim_violation(&h->sim, "request %u: stepped after its release", r->number);
        if (all_fail) r->any_failure = true;
        unsigned piece = self->slots[steps[i].slot].next++;
        if (r->fails_at == (int)piece) {
            steps[i].status = fail(steps[i].op, r);
            continue;
        }
        if (piece < r->pieces) emit(steps[i].op, r, piece);
        steps[i].status = piece + (r->number & 1) >= r->pieces;
    }
    self->busy = false;
    return all_fail ? CADRE_EENGINE : CADRE_OK;
}

static void end(void *data, cadre_op *op, uint32_t slot, cadre_generation_output *output)
{
    instance *self = data;
    (void)op;
    enter(self, "end");
    sim_request *r = slot < self->model->slots ? self->slots[slot].request : NULL;
    if (!r) sim_violation(&self->model->host->sim, "end of a slot that is free");
    output->generated_tokens = r->pieces;
    self->slots[slot].request = NULL;
    self->active--;
    self->busy = false;
}

/* ---- embeddings, pictures ---- */

static unsigned row_of(const char *prompt)
{
    const char *row = strrchr(prompt, '.');
    return row ? (unsigned)strtoul(row + 1, NULL, 10) : 0;
}

static int embed_row(instance *self, cadre_op *op, const char *prompt, float *out, int *status)
{
    sim_request *r = reading(self, prompt);
    unsigned row = row_of(prompt);
    if (row == 0) begin_once(r);
    if (r->fails_at == (int)row) *status = fail(op, r);
    for (unsigned k = 0; k < self->model->dimension; k++) out[k] = row_value(r, row, k);
    return CADRE_OK;
}

static int embed_texts(void *data, cadre_op *const *ops, const char *const *texts, size_t count, const char *task, int truncate, float *out, uint32_t *tokens,
                       int *status)
{
    instance *self = data;
    enter(self, "embed");
    host *h = self->model->host;
    if (count < 1 || count > self->model->max_batch) sim_violation(&h->sim, "a batch of %zu, where %u is the most", count, self->model->max_batch);
    work(self);
    for (size_t i = 0; i < count; i++) {
        sim_request *r = reading(self, texts[i]);
        if ((r->number & 1) != (unsigned)truncate || strcmp(task, r->number & 2 ? "query" : "") != 0)
            sim_violation(&h->sim, "request %u is in a batch of another task", r->number);
        embed_row(self, ops[i], texts[i], out + i * self->model->dimension, &status[i]);
        tokens[i] = 1;
    }
    bool fails = !h->fair && !h->calm && sim_one_in(&h->sim, 200);
    for (size_t i = 0; fails && i < count; i++) reading(self, texts[i])->any_failure = true;
    self->busy = false;
    return fails ? CADRE_EENGINE : CADRE_OK;
}

static int embed_images(void *data, cadre_op *const *ops, const cadre_image *images, size_t count, float *out, int *status)
{
    instance *self = data;
    enter(self, "embed");
    if (count < 1 || count > self->model->max_batch)
        sim_violation(&self->model->host->sim, "a batch of %zu, where %u is the most", count, self->model->max_batch);
    work(self);
    for (size_t i = 0; i < count; i++) {
        char prompt[PROMPT_MAX] = {0};
        memcpy(prompt, images[i].pixels, (size_t)images[i].width * 3);
        embed_row(self, ops[i], prompt, out + i * self->model->dimension, &status[i]);
    }
    self->busy = false;
    return CADRE_OK;
}

static void free_blob(void *data, size_t length)
{
    (void)length;
    free(data);
}

static int paint(void *data, cadre_op *op, const cadre_text_to_image_input *input, cadre_image *out, cadre_blob *pixels)
{
    instance *self = data;
    enter(self, "paint");
    sim_request *r = reading(self, input->prompt);
    begin_once(r);
    int rc = CADRE_OK;
    for (unsigned i = 0; rc == CADRE_OK && i < r->pieces; i++) {
        work(self);
        if (reading(self, input->prompt) != r) sim_violation(&r->host->sim, "request %u: its input has changed", r->number);
        if (!self->model->patient && cadre_op_cancelled(op)) rc = CADRE_ECANCELED;
        if (rc == CADRE_OK && r->fails_at == (int)i) rc = fail(op, r);
        if (rc == CADRE_OK) cadre_op_step(op, i + 1, r->pieces);
    }
    if (rc == CADRE_OK) {
        *pixels = (cadre_blob){malloc(3), 3, free_blob};
        if (!pixels->data) abort();
        memset(pixels->data, (int)(r->number & 0xff), 3);
        out->width = out->height = 1;
        out->stride = 3;
        out->pixels = pixels->data;
    }
    self->busy = false;
    return rc;
}

int decode_picture(void *data, cadre_op *op, const void *bytes, size_t length, uint64_t max_pixels, cadre_image *out, cadre_blob *pixels)
{
    host *h = data;
    (void)max_pixels;
    if (!h->sim.current) sim_violation(&h->sim, "a picture is decoded on the loop");
    if (length % 3) return cadre_op_fail(op, CADRE_EINPUT, "not a picture");
    *pixels = (cadre_blob){malloc(length), length, free_blob};
    if (!pixels->data) abort();
    memcpy(pixels->data, bytes, length);
    out->width = (uint32_t)(length / 3);
    out->height = 1;
    out->stride = length;
    out->pixels = pixels->data;
    return CADRE_OK;
}

/* ---- making one ---- */

static const cadre_generation_ops whole_ops = {sizeof whole_ops, attach, destroy, generate, NULL, NULL, NULL};
static const cadre_generation_ops slot_ops = {sizeof slot_ops, attach, destroy, NULL, begin, step, end};
static const cadre_text_embedding_ops text_ops = {sizeof text_ops, attach, destroy, embed_texts};
static const cadre_image_embedding_ops image_ops = {sizeof image_ops, attach, destroy, embed_images};
static const cadre_text_to_image_ops paint_ops = {sizeof paint_ops, attach, destroy, paint};

instance *model_make(sim_worker *w, sim_payload *payload, model_value *out)
{
    instance *self = calloc(1, sizeof *self);
    if (!self) abort();
    sim_model *m = w->model;
    self->worker = w;
    self->model = m;
    self->payload = payload;
    if (payload) payload->users++;
    w->instances++;
    w->host->instances++;
    if (w->entry) w->entry->instances++;
    self->paid = w->entry && w->charge >= 0;
    if (self->paid) m->instances++;
    switch (m->capability) {
    case CADRE_TEXT_TO_TEXT:
    case CADRE_VISION:
        out->generation = (cadre_generation_model){sizeof out->generation, m->slots ? &slot_ops : &whole_ops, self, m->slots ? m->slots : 1, 0, 0, m->threads};
        break;
    case CADRE_TEXT_EMBEDDING:
        out->texts = (cadre_text_embedding_model){sizeof out->texts, &text_ops, self, m->dimension, m->max_batch, 0, 0, m->threads};
        break;
    case CADRE_IMAGE_EMBEDDING:
        out->images = (cadre_image_embedding_model){sizeof out->images, &image_ops, self, m->dimension, m->max_batch, 0, m->threads};
        break;
    case CADRE_TEXT_TO_IMAGE: out->painter = (cadre_text_to_image_model){sizeof out->painter, &paint_ops, self, 0, m->threads}; break;
    }
    return self;
}

void model_unmake(const model_value *value)
{
    instance *self = value->generation.self; /* lies alike in all of them */
    forget(self);
    free(self);
}
