#include "fuzz.h"

#include <stdlib.h>

typedef struct instance {
    fuzz_model *model;
    bool attached, busy;
    struct {
        cadre_op *op;
        const cadre_generation_input *input;
        unsigned next;
    } slots[8];
} instance;

bool fuzz_refuses(uint8_t first)
{
    return first % 16 == 15;
}

unsigned fuzz_pieces(uint8_t first)
{
    return first % 5;
}

uint32_t fuzz_hash(const void *bytes, size_t length)
{
    uint32_t hash = UINT32_C(2166136261);
    for (size_t i = 0; i < length; i++) hash = (hash ^ ((const uint8_t *)bytes)[i]) * UINT32_C(16777619);
    return hash;
}

/* ---- what every operation does ---- */

static void enter(instance *self, const fuzz_seen *seen)
{
    fuzz_model *m = self->model;
    FUZZ_CHECK(m->host->sim.current, "an operation runs on the loop");
    FUZZ_CHECK(self->attached && !self->busy, "an operation before attach, or while another one runs");
    self->busy = true;
    if (m->see && seen) m->see(m, seen);
    sim_busy(&m->host->sim, sim_span(&m->host->sim, m->step_ns));
}

static uint8_t first_of(const cadre_generation_input *input)
{
    const char *text = input->text ? input->text : input->message_count ? input->messages[input->message_count - 1].content : "";
    return (uint8_t)text[0];
}

static int emit(cadre_op *op, const cadre_generation_input *input)
{
    const char *text = input->text ? input->text : "\xc3\xa9";
    return cadre_op_emit(op, text, strlen(text));
}

static int refuse(cadre_op *op)
{
    return cadre_op_fail(op, CADRE_EINPUT, "refused");
}

static int attach(void *data, cadre_op *op)
{
    instance *self = data;
    FUZZ_CHECK(self->model->host->sim.current && !self->attached, "attach on the loop, or twice");
    sim_busy(&self->model->host->sim, sim_span(&self->model->host->sim, self->model->step_ns));
    if (self->model->attach_status < 0) return cadre_op_fail(op, self->model->attach_status, "attach fails");
    self->attached = true;
    return CADRE_OK;
}

static void destroy(void *data)
{
    instance *self = data;
    FUZZ_CHECK(!self->busy, "a model is destroyed while it works");
    for (size_t i = 0; i < COUNT(self->slots); i++) FUZZ_CHECK(!self->slots[i].op, "slot %zu was not ended", i);
    bool anywhere = self->model->host->closing || self->model->host->fail_every; /* then it may be at once, in the worst case here */
    FUZZ_CHECK(self->model->host->sim.current || anywhere, "a model is destroyed on the loop");
    self->model->host->instances--;
    free(self);
}

/* ---- text ---- */

static int generate(void *data, cadre_op *op, const cadre_generation_input *input, cadre_generation_output *output)
{
    instance *self = data;
    enter(self, &(fuzz_seen){.generation = input});
    int rc = fuzz_refuses(first_of(input)) ? refuse(op) : CADRE_OK;
    unsigned pieces = fuzz_pieces(first_of(input));
    for (unsigned i = 0; rc == CADRE_OK && i < pieces; i++) {
        sim_busy(&self->model->host->sim, sim_span(&self->model->host->sim, self->model->step_ns));
        rc = !self->model->patient && cadre_op_cancelled(op) ? CADRE_ECANCELED : emit(op, input);
    }
    output->generated_tokens = pieces;
    self->busy = false;
    return rc;
}

static int begin(void *data, cadre_op *op, uint32_t slot, const cadre_generation_input *input)
{
    instance *self = data;
    enter(self, &(fuzz_seen){.generation = input});
    self->busy = false;
    FUZZ_CHECK(slot < self->model->slots && !self->slots[slot].op, "begin in slot %u, which is taken or none", slot);
    bool others = false;
    for (size_t i = 0; i < COUNT(self->slots); i++) others = others || self->slots[i].op;
    if (others && sim_one_in(&self->model->host->sim, 8)) return CADRE_EAGAIN;
    if (fuzz_refuses(first_of(input))) return refuse(op);
    self->slots[slot].op = op;
    self->slots[slot].input = input;
    self->slots[slot].next = 0;
    return CADRE_OK;
}

static int step(void *data, cadre_slot_step *steps, size_t count)
{
    instance *self = data;
    enter(self, NULL);
    FUZZ_CHECK(count && count <= self->model->slots, "a step of %zu slots", count);
    for (size_t i = 0; i < count; i++) {
        FUZZ_CHECK(self->slots[steps[i].slot].op == steps[i].op && !steps[i].status, "a step of a slot that was not begun");
        const cadre_generation_input *input = self->slots[steps[i].slot].input;
        unsigned pieces = fuzz_pieces(first_of(input));
        if (self->slots[steps[i].slot].next++ < pieces) emit(steps[i].op, input);
        steps[i].status = self->slots[steps[i].slot].next >= pieces;
    }
    self->busy = false;
    return CADRE_OK;
}

static void end(void *data, cadre_op *op, uint32_t slot, cadre_generation_output *output)
{
    instance *self = data;
    FUZZ_CHECK(slot < self->model->slots && self->slots[slot].op == op && output, "end of slot %u, which was not begun", slot);
    self->slots[slot].op = NULL;
}

/* ---- vectors, pictures ---- */

static int embed_texts(void *data, cadre_op *const *ops, const char *const *texts, size_t count, const char *task, int truncate, float *out, uint32_t *tokens,
                       int *status)
{
    instance *self = data;
    enter(self, NULL);
    FUZZ_CHECK(count && count <= self->model->max_batch, "a batch of %zu texts of at most %u", count, self->model->max_batch);
    for (size_t i = 0; i < count; i++) {
        if (self->model->see) self->model->see(self->model, &(fuzz_seen){.text = texts[i], .task = task, .truncate = truncate});
        if (fuzz_refuses((uint8_t)texts[i][0])) status[i] = refuse(ops[i]);
        for (uint32_t k = 0; k < self->model->dimension; k++) out[i * self->model->dimension + k] = (float)(fuzz_hash(texts[i], strlen(texts[i])) >> 8);
        tokens[i] = 1;
    }
    self->busy = false;
    return CADRE_OK;
}

static int embed_images(void *data, cadre_op *const *ops, const cadre_image *images, size_t count, float *out, int *status)
{
    instance *self = data;
    enter(self, NULL);
    FUZZ_CHECK(count && count <= self->model->max_batch, "a batch of %zu pictures of at most %u", count, self->model->max_batch);
    for (size_t i = 0; i < count; i++) {
        if (self->model->see) self->model->see(self->model, &(fuzz_seen){.image = &images[i]});
        if (fuzz_refuses(images[i].pixels[0])) status[i] = refuse(ops[i]);
        for (uint32_t k = 0; k < self->model->dimension; k++) out[i * self->model->dimension + k] = (float)images[i].pixels[0];
    }
    self->busy = false;
    return CADRE_OK;
}

typedef struct pixels {
    fuzz_host *host;
    uint8_t bytes[4];
} pixels;

static void free_pixels(void *data, size_t length)
{
    FUZZ_CHECK(length == sizeof(pixels), "a blob of %zu bytes is freed as %zu", sizeof(pixels), length);
    ((pixels *)data)->host->pixels--;
    free(data);
}

static void make_pixels(fuzz_host *host, uint32_t value, cadre_image *out, cadre_blob *blob)
{
    pixels *p = malloc(sizeof *p);
    if (!p) abort();
    p->host = host;
    memcpy(p->bytes, &value, sizeof p->bytes);
    host->pixels++;
    *out = (cadre_image){sizeof *out, 1, 1, 3, p->bytes};
    *blob = (cadre_blob){p, sizeof *p, free_pixels};
}

static int paint(void *data, cadre_op *op, const cadre_text_to_image_input *input, cadre_image *out, cadre_blob *blob)
{
    instance *self = data;
    enter(self, &(fuzz_seen){.painting = input});
    uint8_t first = (uint8_t)input->prompt[0];
    int rc = fuzz_refuses(first) ? refuse(op) : CADRE_OK;
    for (unsigned i = 0; rc == CADRE_OK && i < fuzz_pieces(first); i++) {
        sim_busy(&self->model->host->sim, sim_span(&self->model->host->sim, self->model->step_ns));
        cadre_op_step(op, i + 1, fuzz_pieces(first));
        if (!self->model->patient && cadre_op_cancelled(op)) rc = CADRE_ECANCELED;
    }
    if (rc == CADRE_OK) make_pixels(self->model->host, fuzz_hash(input->prompt, strlen(input->prompt)), out, blob);
    self->busy = false;
    return rc;
}

int fuzz_decode(void *host, cadre_op *op, const void *bytes, size_t length, uint64_t max_pixels, cadre_image *out, cadre_blob *blob)
{
    fuzz_host *h = host;
    (void)max_pixels;
    FUZZ_CHECK(h->sim.current, "a picture is decoded on the loop");
    if (!length) return cadre_op_fail(op, CADRE_EINPUT, "no picture");
    make_pixels(h, fuzz_hash(bytes, length), out, blob);
    return CADRE_OK;
}

/* ---- making and spawning ---- */

static const cadre_generation_ops whole_ops = {sizeof whole_ops, attach, destroy, generate, NULL, NULL, NULL};
static const cadre_generation_ops slot_ops = {sizeof slot_ops, attach, destroy, NULL, begin, step, end};
static const cadre_text_embedding_ops text_ops = {sizeof text_ops, attach, destroy, embed_texts};
static const cadre_image_embedding_ops image_ops = {sizeof image_ops, attach, destroy, embed_images};
static const cadre_text_to_image_ops paint_ops = {sizeof paint_ops, attach, destroy, paint};

void fuzz_make(fuzz_model *m, fuzz_value *out)
{
    instance *self = calloc(1, sizeof *self);
    if (!self) abort();
    self->model = m;
    m->host->instances++;
    switch (m->capability) {
    case CADRE_TEXT_TO_TEXT:
    case CADRE_VISION:
        out->generation = (cadre_generation_model){sizeof out->generation, m->slots ? &slot_ops : &whole_ops, self, m->slots ? m->slots : 1, 0, 0, 0};
        break;
    case CADRE_TEXT_EMBEDDING: out->texts = (cadre_text_embedding_model){sizeof out->texts, &text_ops, self, m->dimension, m->max_batch, 0, 0, 0}; break;
    case CADRE_IMAGE_EMBEDDING: out->images = (cadre_image_embedding_model){sizeof out->images, &image_ops, self, m->dimension, m->max_batch, 0, 0}; break;
    case CADRE_TEXT_TO_IMAGE: out->painter = (cadre_text_to_image_model){sizeof out->painter, &paint_ops, self, 0, 0}; break;
    }
}

void fuzz_unmake(fuzz_model *m, const fuzz_value *value)
{
    m->host->instances--;
    free(value->generation.self); /* lies alike in all of them */
}

/* The five families, each called as its own type. */
typedef struct caller {
    cadre_future *(*load)(cadre_load_context *context, void *data);
    void (*release)(void *data);
    void *data;
} caller;

static cadre_future *call_load(cadre_load_context *context, void *data)
{
    const caller *c = data;
    return c->load(context, c->data);
}

static void call_release(void *data)
{
    caller *c = data;
    if (c->release) c->release(c->data);
    free(c);
}

#define FAMILY(NAME)                                                                                                                                           \
    static NAME##_future *NAME##_call(cadre_load_context *context, void *data)                                                                                 \
    {                                                                                                                                                          \
        return (NAME##_future *)call_load(context, data);                                                                                                      \
    }
FAMILY(cadre_text_to_text)
FAMILY(cadre_text_embedding)
FAMILY(cadre_image_embedding)
FAMILY(cadre_vision)
FAMILY(cadre_text_to_image)

#define SPAWN(NAME)                                                                                                                                            \
    {                                                                                                                                                          \
        const cadre_##NAME##_loader loader = {sizeof loader, cadre_##NAME##_call, c, call_release};                                                            \
        return cadre_spawn_##NAME(h->pool, key, &loader, owned, options, on_ready, data, out);                                                                 \
    }

int fuzz_spawn(fuzz_host *h, cadre_capability capability, const char *key, cadre_future *(*load)(cadre_load_context *context, void *data), void *data,
               void (*release)(void *data), cadre_reservation *owned, const cadre_spawn_options *options, cadre_worker_cb on_ready, cadre_worker_id *out)
{
    caller *c = malloc(sizeof *c);
    if (!c) abort();
    *c = (caller){load, release, data};
    switch (capability) {
    case CADRE_TEXT_TO_TEXT: SPAWN(text_to_text)
    case CADRE_TEXT_EMBEDDING: SPAWN(text_embedding)
    case CADRE_IMAGE_EMBEDDING: SPAWN(image_embedding)
    case CADRE_VISION: SPAWN(vision)
    default: SPAWN(text_to_image)
    }
}

static cadre_future *load_ready(cadre_load_context *context, void *data)
{
    fuzz_model *m = data;
    fuzz_value value;
    fuzz_make(m, &value);
    return cadre_future_ready(cadre_load_pool(context), (cadre_value_type)m->capability, &value);
}

void fuzz_spawn_ready(fuzz_model *m, const char *key)
{
    int rc = fuzz_spawn(m->host, m->capability, key, load_ready, m, NULL, NULL, NULL, NULL, NULL);
    FUZZ_CHECK(rc == CADRE_OK, "spawn answers %s", cadre_err_name(rc));
}
