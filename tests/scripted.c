/* The instances: what runs on the workers' threads. The loaders and the answers are in scripted_load.c and scripted_answer.c.
 *
 * An instance is touched by one thread at a time, which it checks; counters and statuses of the script are atomics, the trace has a lock of its own, and
 * everything else in a script is set before spawn. */
#include "scripted.h"

#include "scripted_model.h"

const char *op_name(script_op op)
{
    static const char *const names[OP_COUNT] = {"load", "attach", "generate", "begin", "step", "end", "embed", "destroy", "piece"};
    return names[op];
}

const char *kind_name(script_kind kind)
{
    static const char *const names[KIND_COUNT] = {"blocking", "async", "preloaded", "chained"};
    return names[kind];
}

bool capability_streams(cadre_capability capability)
{
    return capability == CADRE_TEXT_TO_TEXT || capability == CADRE_VISION;
}

script_op script_work(const script *s)
{
    if (s->capability == CADRE_TEXT_EMBEDDING || s->capability == CADRE_IMAGE_EMBEDDING) return OP_EMBED;
    return s->slots ? OP_STEP : OP_GENERATE;
}

float script_hash(const void *bytes, size_t length)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < length; i++) hash = (hash ^ ((const uint8_t *)bytes)[i]) * 16777619u;
    return (float)(hash % 65536u);
}

const char *script_answer(const script *s, const char *prompt, char *buffer, size_t size)
{
    size_t n = (size_t)snprintf(buffer, size, "%s", prompt);
    for (int i = 1; i < s->pieces && n < size; i++) n += (size_t)snprintf(buffer + n, size - n, " %d", i);
    return buffer;
}

void script_record(script *s, script_op op, const char *tag, size_t count)
{
    pthread_mutex_lock(&s->lock);
    if (s->traced < TRACE_MAX) {
        trace_entry *e = &s->trace[s->traced++];
        e->op = op;
        e->on_loop = fixture_on_loop(s->fx);
        e->count = count;
        snprintf(e->tag, sizeof e->tag, "%s", tag ? tag : "");
    }
    pthread_mutex_unlock(&s->lock);
    atomic_fetch_add(&s->begun[op], 1);
    fixture_wake(s->fx);
    gate_wait(&s->gates[op]);
}

static void script_leave(script *s, script_op op)
{
    atomic_fetch_add(&s->ended[op], 1);
    fixture_wake(s->fx);
}

const char *script_trace(script *s)
{
    static char text[1 << 16];
    size_t n = 0;
    text[0] = '\0';
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->traced && n < sizeof text; i++) {
        const trace_entry *e = &s->trace[i];
        if (e->op == OP_LOAD) continue;
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s%s%s", n ? " " : "", op_name(e->op), e->tag[0] ? ":" : "", e->tag);
    }
    pthread_mutex_unlock(&s->lock);
    return text;
}

size_t script_count(script *s, script_op op, const char *tag)
{
    size_t n = 0;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->traced; i++) n += s->trace[i].op == op && (!tag || strcmp(tag, s->trace[i].tag) == 0);
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* ---- one operation at a time, on the thread that attached ---- */

static instance *enter(void *self, const char *what)
{
    instance *m = self;
    if (m->magic != INSTANCE_MAGIC) {
        fixture_fault(m->s->fx, "%s on an instance that is gone", what);
        abort();
    }
    if (m->busy++) fixture_fault(m->s->fx, "%s while another op runs", what);
    if (!m->attached) fixture_fault(m->s->fx, "%s before attach", what);
    if (!pthread_equal(m->thread, pthread_self())) fixture_fault(m->s->fx, "%s on another thread than attach", what);
    return m;
}

static void check_op(instance *m, cadre_op *op)
{
    if (!op) {
        fixture_fault(m->s->fx, "no op");
        return;
    }
    uint32_t threads = cadre_op_threads(op);
    if (threads < 1) fixture_fault(m->s->fx, "cadre_op_threads is 0");
    atomic_store(&m->s->threads, (int)threads);
    if (cadre_op_cancelled(op)) atomic_fetch_add(&m->s->cancel_seen, 1);
}

static int scripted_failure(script *s, script_op at, cadre_op *op)
{
    int status = atomic_load(&s->status[at]);
    if (status == 0) return 0;
    return s->detail ? cadre_op_fail(op, status, "%s", s->detail) : status;
}

static int refuse(const char *text, int truncate, cadre_op *op)
{
    if (strncmp(text, "fail", 4) == 0) return cadre_op_fail(op, CADRE_EINPUT, "refused: %s", text);
    if (strncmp(text, "long", 4) == 0 && !truncate) return cadre_op_fail(op, CADRE_ETOOLONG, "too long: %s", text);
    return 0;
}

static int model_attach(void *self, cadre_op *op)
{
    instance *m = self;
    if (m->attached) fixture_fault(m->s->fx, "attached twice");
    if (fixture_on_loop(m->s->fx)) fixture_fault(m->s->fx, "attach on the loop");
    m->thread = pthread_self();
    script_record(m->s, OP_ATTACH, NULL, 0);
    m->attached = true;
    check_op(m, op);
    if (m->s->measured_attach) cadre_op_measured(op, CADRE_DEVICE_HOST, m->s->measured_attach);
    int rc = scripted_failure(m->s, OP_ATTACH, op);
    script_leave(m->s, OP_ATTACH);
    return rc;
}

void model_destroy(void *self)
{
    instance *m = self;
    script *s = m->s;
    if (m->magic != INSTANCE_MAGIC) fixture_fault(s->fx, "destroyed twice");
    if (fixture_on_loop(s->fx)) fixture_fault(s->fx, "a model is destroyed on the loop");
    if (m->attached && !pthread_equal(m->thread, pthread_self())) fixture_fault(s->fx, "destroy on another thread than attach");
    if (m->busy) fixture_fault(s->fx, "destroyed while an op runs");
    for (size_t i = 0; i < COUNT(m->slots); i++)
        if (m->slots[i].op) fixture_fault(s->fx, "slot %zu was not ended before destroy", i);
    if (s->weights_started && atomic_load(&s->payloads_destroyed) == atomic_load(&s->payloads_made))
        fixture_fault(s->fx, "the shared weights were destroyed before a model made from them");
    script_record(s, OP_DESTROY, NULL, 0);
    m->magic = 0;
    free(m);
    atomic_fetch_add(&s->destroyed, 1);
    script_leave(s, OP_DESTROY);
}

/* ---- text ---- */

static const char *prompt_of(const cadre_generation_input *input)
{
    if (input->text) return input->text;
    return input->message_count ? input->messages[input->message_count - 1].content : "";
}

static int piece_limit(const script *s, const cadre_sampling *sampling)
{
    return sampling->max_tokens != CADRE_DEFAULT && sampling->max_tokens < s->pieces ? sampling->max_tokens : s->pieces;
}

static int emit_piece(script *s, cadre_op *op, const char *prompt, int index)
{
    char text[32];
    if (index > 0) snprintf(text, sizeof text, " %d", index);
    const char *piece = index > 0 ? text : prompt;
    int rc = cadre_op_emit(op, piece, strlen(piece));
    if (rc == 0)
        atomic_fetch_add(&s->emitted, 1);
    else
        atomic_fetch_add(&s->emit_failed, 1);
    return rc;
}

static void fill_output(cadre_generation_output *output, const char *prompt, int emitted, int limit, const script *s)
{
    if (output->size != sizeof *output) fixture_fault(s->fx, "output.size is %zu", output->size);
    if (output->finish != CADRE_FINISH_STOP || output->prompt_tokens || output->cached_tokens || output->generated_tokens)
        fixture_fault(s->fx, "the output is not zeroed");
    output->finish = limit < s->pieces ? CADRE_FINISH_LENGTH : CADRE_FINISH_STOP;
    output->prompt_tokens = (uint32_t)strlen(prompt);
    output->cached_tokens = 1;
    output->generated_tokens = (uint32_t)emitted;
}

static int model_generate(void *self, cadre_op *op, const cadre_generation_input *input, cadre_generation_output *output)
{
    instance *m = enter(self, "generate");
    script *s = m->s;
    const char *prompt = prompt_of(input);
    check_generation(s, input);
    script_record(s, OP_GENERATE, prompt, 1);
    check_op(m, op);
    int rc = refuse(prompt, 0, op), i = 0, limit = piece_limit(s, &input->sampling);
    if (rc == 0) rc = scripted_failure(s, OP_GENERATE, op);
    for (; rc == 0 && i < limit; i++) {
        script_gate(s, OP_PIECE);
        check_op(m, op);
        script_leave(s, OP_PIECE);
        rc = cadre_op_cancelled(op) ? CADRE_ECANCELED : emit_piece(s, op, prompt, i);
    }
    fill_output(output, prompt, i, limit, s);
    m->busy--;
    script_leave(s, OP_GENERATE);
    return rc;
}

static int model_begin(void *self, cadre_op *op, uint32_t slot, const cadre_generation_input *input)
{
    instance *m = enter(self, "begin");
    script *s = m->s;
    const char *prompt = prompt_of(input);
    check_generation(s, input);
    int rc = 0;
    if (slot >= s->slots || m->slots[slot].op) {
        fixture_fault(s->fx, "begin in slot %u of %u, which is %s", slot, s->slots, slot < s->slots ? "taken" : "none");
        rc = CADRE_EENGINE;
    }
    script_record(s, OP_BEGIN, prompt, slot);
    check_op(m, op);
    if (rc == 0) rc = scripted_failure(s, OP_BEGIN, op);
    if (rc < 0) atomic_fetch_add(&s->begin_failed, 1);
    if (rc == 0 && m->active > 0 && atomic_load(&s->again_said) < s->begin_again) {
        atomic_fetch_add(&s->again_said, 1);
        rc = CADRE_EAGAIN;
    }
    if (rc == 0) {
        struct slot *t = &m->slots[slot];
        t->op = op;
        t->emitted = 0;
        t->limit = piece_limit(s, &input->sampling);
        snprintf(t->prompt, sizeof t->prompt, "%s", prompt);
        m->active++;
    }
    m->busy--;
    script_leave(s, OP_BEGIN);
    return rc;
}

static int model_step(void *self, cadre_slot_step *steps, size_t count)
{
    instance *m = enter(self, "step");
    script *s = m->s;
    char tag[32] = "";
    if (count == 0 || count > s->slots) fixture_fault(s->fx, "a step of %zu slots", count);
    for (size_t i = 0; i < count; i++) {
        if (steps[i].slot >= s->slots || m->slots[steps[i].slot].op != steps[i].op || !steps[i].op)
            fixture_fault(s->fx, "a step of slot %u, which it has not begun", steps[i].slot);
        if (steps[i].status != 0) fixture_fault(s->fx, "a step's status is %d on entry", steps[i].status);
        for (size_t j = 0; j < i; j++)
            if (steps[j].slot == steps[i].slot) fixture_fault(s->fx, "slot %u is twice in a step", steps[i].slot);
        size_t n = strlen(tag);
        snprintf(tag + n, sizeof tag - n, "%s%.6s", i ? "+" : "", m->slots[steps[i].slot].prompt);
    }
    script_record(s, OP_STEP, tag, count);
    int rc = atomic_load(&s->status[OP_STEP]);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        struct slot *t = &m->slots[steps[i].slot];
        check_op(m, t->op);
        int status = refuse(t->prompt, 0, t->op);
        if (status == 0) status = emit_piece(s, t->op, t->prompt, t->emitted);
        if (status == 0 && ++t->emitted >= t->limit) status = 1;
        steps[i].status = status;
    }
    for (size_t i = 0; rc < 0 && s->detail && i < count; i++) cadre_op_fail(m->slots[steps[i].slot].op, rc, "%s", s->detail);
    m->busy--;
    script_leave(s, OP_STEP);
    return rc;
}

static void model_end(void *self, cadre_op *op, uint32_t slot, cadre_generation_output *output)
{
    instance *m = enter(self, "end");
    script *s = m->s;
    if (slot >= s->slots || m->slots[slot].op != op || !op) fixture_fault(s->fx, "end of slot %u, which it has not begun", slot);
    if (!output) fixture_fault(s->fx, "end without an output");
    struct slot *t = &m->slots[slot % COUNT(m->slots)];
    script_record(s, OP_END, t->prompt, slot);
    if (output) fill_output(output, t->prompt, t->emitted, t->limit, s);
    t->op = NULL;
    m->active--;
    m->busy--;
    script_leave(s, OP_END);
}

/* ---- vectors ---- */

static int model_embed_texts(void *self, cadre_op *const *ops, const char *const *texts, size_t count, const char *task, int truncate, float *out,
                             uint32_t *tokens, int *status)
{
    instance *m = enter(self, "embed");
    script *s = m->s;
    if (count == 0 || count > s->max_batch) fixture_fault(s->fx, "a batch of %zu texts of at most %u", count, s->max_batch);
    if (!task) fixture_fault(s->fx, "the task is NULL");
    script_record(s, OP_EMBED, count ? texts[0] : "", count);
    int rc = scripted_failure(s, OP_EMBED, ops[0]);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        check_op(m, ops[i]);
        check_embed(s, texts[i], task, truncate);
        if (status[i] != 0) fixture_fault(s->fx, "status[%zu] is %d on entry", i, status[i]);
        status[i] = refuse(texts[i], truncate, ops[i]);
        tokens[i] = (uint32_t)strlen(texts[i]);
        for (size_t j = 0; j < s->dimension; j++) out[i * s->dimension + j] = script_hash(texts[i], strlen(texts[i])) + (float)j;
    }
    m->busy--;
    script_leave(s, OP_EMBED);
    return rc;
}

static int model_embed_images(void *self, cadre_op *const *ops, const cadre_image *images, size_t count, float *out, int *status)
{
    instance *m = enter(self, "embed");
    script *s = m->s;
    char text[64];
    if (count == 0 || count > s->max_batch) fixture_fault(s->fx, "a batch of %zu pictures of at most %u", count, s->max_batch);
    script_record(s, OP_EMBED, count ? image_text(&images[0], text, sizeof text) : "", count);
    int rc = scripted_failure(s, OP_EMBED, ops[0]);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        check_op(m, ops[i]);
        image_text(&images[i], text, sizeof text);
        if (images[i].size != sizeof images[i]) fixture_fault(s->fx, "images[%zu].size is %zu", i, images[i].size);
        if (status[i] != 0) fixture_fault(s->fx, "status[%zu] is %d on entry", i, status[i]);
        status[i] = refuse(text, 0, ops[i]);
        for (size_t j = 0; j < s->dimension; j++) out[i * s->dimension + j] = script_hash(text, strlen(text)) + (float)j;
    }
    m->busy--;
    script_leave(s, OP_EMBED);
    return rc;
}

/* ---- pictures ---- */

typedef struct pixels {
    script *s;
    uint8_t bytes[];
} pixels;

static void free_pixels(void *data, size_t length)
{
    pixels *p = data;
    (void)length;
    atomic_fetch_sub(&p->s->pixels_live, 1);
    free(p);
}

static int model_generate_image(void *self, cadre_op *op, const cadre_text_to_image_input *input, cadre_image *out, cadre_blob *blob)
{
    instance *m = enter(self, "generate");
    script *s = m->s;
    check_image_input(s, input);
    script_record(s, OP_GENERATE, input->prompt, 1);
    check_op(m, op);
    int rc = refuse(input->prompt, 0, op);
    if (rc == 0) rc = scripted_failure(s, OP_GENERATE, op);
    uint32_t steps = input->steps == CADRE_DEFAULT ? 4 : (uint32_t)input->steps;
    for (uint32_t i = 1; rc == 0 && i <= steps; i++) {
        script_gate(s, OP_PIECE);
        cadre_op_step(op, i, steps);
        atomic_fetch_add(&s->emitted, 1);
        if (cadre_op_cancelled(op)) rc = CADRE_ECANCELED;
    }
    if (rc == 0) {
        uint32_t width = input->width == CADRE_DEFAULT ? 8 : (uint32_t)input->width, height = input->height == CADRE_DEFAULT ? 4 : (uint32_t)input->height;
        size_t length = sizeof(pixels) + (size_t)width * height * 3;
        pixels *p = calloc(1, length);
        if (!p) abort();
        p->s = s;
        memcpy(p->bytes, input->prompt, strlen(input->prompt) < (size_t)width * height * 3 ? strlen(input->prompt) : (size_t)width * height * 3);
        atomic_fetch_add(&s->pixels_live, 1);
        atomic_fetch_add(&s->pixels_made, 1);
        *out = (cadre_image){sizeof *out, width, height, (size_t)width * 3, p->bytes};
        *blob = (cadre_blob){p, length, free_pixels};
    }
    m->busy--;
    script_leave(s, OP_GENERATE);
    return rc;
}

/* ---- the values a loader hands over ---- */

void script_fill(script *s, model_value *out)
{
    static const cadre_generation_ops one = {sizeof one, model_attach, model_destroy, model_generate, NULL, NULL, NULL};
    static const cadre_generation_ops slots = {sizeof slots, model_attach, model_destroy, NULL, model_begin, model_step, model_end};
    static const cadre_text_embedding_ops texts = {sizeof texts, model_attach, model_destroy, model_embed_texts};
    static const cadre_image_embedding_ops images = {sizeof images, model_attach, model_destroy, model_embed_images};
    static const cadre_text_to_image_ops painter = {sizeof painter, model_attach, model_destroy, model_generate_image};
    instance *m = calloc(1, sizeof *m);
    if (!m) abort();
    m->s = s;
    m->magic = INSTANCE_MAGIC;
    atomic_fetch_add(&s->made, 1);
    switch (s->capability) {
    case CADRE_TEXT_TO_TEXT:
    case CADRE_VISION:
        out->generation = (cadre_generation_model){sizeof out->generation, s->slots ? &slots : &one, m, s->slots ? s->slots : 1, s->context_length, 0, 0};
        break;
    case CADRE_TEXT_EMBEDDING:
        out->texts = (cadre_text_embedding_model){sizeof out->texts, &texts, m, s->dimension, s->max_batch, s->context_length, 0, 0};
        break;
    case CADRE_IMAGE_EMBEDDING: out->images = (cadre_image_embedding_model){sizeof out->images, &images, m, s->dimension, s->max_batch, 0, 0}; break;
    case CADRE_TEXT_TO_IMAGE: out->painter = (cadre_text_to_image_model){sizeof out->painter, &painter, m, 0, 0}; break;
    }
}
