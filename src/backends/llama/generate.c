/* Text-to-text and vision: requests in slots, sequences in one engine context, one decode per step.
 *
 * Threads: attach, begin, step and end run on the worker's thread; creation on the loader's thread or the loop, destruction on the worker's or the reaper's.
 * Nothing is shared with other threads but the weights, which are constant.
 *
 * A slot is a request's seat; a sequence is a stretch of the engine's memory and outlives the requests in it. `begin` gives a slot the free sequence that has
 * the longest beginning of its prompt already, the first among equals.
 *
 * Each sequence has a cache of its own (kv_unified off): attention reads the sequence's own tokens and nothing of its neighbours or of what rests, and a
 * request always finds the room that context_length promises. Measured with SmolLM2-135M on one thread: eight sequences of 1,500 tokens give 74 tokens/s, 62
 * with one unified cache; one of them beside seven resting ones 75 against 55. The engine runs sequences with consecutive numbers together and starts a new run
 * at a gap, which is why lower sequences are taken first, and why a batch is filled in their order.
 *
 * Pictures are spans of tokens without a name among those of the text. A sequence whose next token is a picture's waits until a step encodes and decodes that
 * picture, whole, one picture a step; the batch of text that follows in the same step is for all. A picture that a sequence has already is told by its hash.
 *
 * A sequence knows all its tokens and how many of them are in the engine's memory. Whatever happens, its next step decodes some that are not, and samples when
 * none is left: prefill, decoding, and repair after a decode that was stopped are one case. */
#include "backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SLOTS CADRE__LLAMA_SLOTS_MAX

typedef struct sequence {
    llama_token *tokens;      /* context_length of them */
    cadre__llama_spans spans; /* pictures among them */
    int32_t count;
    int32_t decoded; /* of count; equal while the sequence is free */
    bool taken;
} sequence;

typedef struct slot {
    int32_t sequence;
    int32_t token_limit; /* of generated_tokens */
    cadre__llama_sampler sampler;
    cadre__llama_text text;
    struct mtmd_input_chunks *chunks; /* its pictures; NULL: none */
    cadre_generation_output output;
} slot;

typedef struct generator {
    cadre__llama_weights *weights;
    bool owns_weights;
    bool prepared; /* the context is there, and the vision tower */
    cadre_capability capability;
    cadre__llama_vision *vision; /* NULL in text-to-text */
    int32_t looked;              /* the sequence whose picture was the last */
    cadre__llama_options *options;
    const char *chat_template; /* NULL: none */
    int32_t context_length;
    int32_t slot_count;
    cadre__llama_context context;
    cadre__llama_tokens prompt;
    cadre__llama_spans prompt_spans;
    llama_token_data *scratch;
    char *piece;
    llama_token *memory; /* the tokens of all sequences */
    sequence sequences[MAX_SLOTS];
    slot slots[MAX_SLOTS];
} generator;

/* What one sequence does in a step. */
typedef struct part {
    cadre_slot_step *step; /* NULL: not in it */
    int32_t count;         /* tokens to decode */
    int32_t output;        /* index in the batch of the token whose logits are wanted, or negative */
} part;

/* ---- sequences ---- */

static void forget_from(generator *self, int32_t index, int32_t keep)
{
    sequence *seq = &self->sequences[index];
    llama_memory_t memory = llama_get_memory(self->context.engine);
    /* Models with a state instead of a cache cannot go back: they begin again. */
    if (!llama_memory_seq_rm(memory, index, cadre__llama_spans_position(&seq->spans, keep), -1)) {
        llama_memory_seq_rm(memory, index, -1, -1);
        keep = 0;
    }
    seq->decoded = keep;
}

/* How many tokens both have at `at`: one of text, all of a picture; 0: they differ. */
static int32_t common_part(const sequence *seq, const generator *self, int32_t at)
{
    const cadre__llama_span *mine = cadre__llama_spans_find(&seq->spans, at), *wanted = cadre__llama_spans_find(&self->prompt_spans, at);
    if (!mine && !wanted) return seq->tokens[at] == self->prompt.at[at];
    if (!mine || !wanted || mine->first != at || wanted->first != at || mine->count != wanted->count) return 0;
    return strcmp(mine->picture, wanted->picture) == 0 ? mine->count : 0;
}

static int32_t common_beginning(const sequence *seq, const generator *self)
{
    /* The last token is always decoded again: its logits are needed. */
    int32_t most = self->prompt.count - 1 < seq->count ? self->prompt.count - 1 : seq->count;
    int32_t same = 0, more;
    while (same < most && (more = common_part(seq, self, same)) > 0 && same + more <= most) same += more;
    return same;
}

/* There is a free sequence for each free slot. */
static int32_t choose_sequence(const generator *self, int32_t *kept)
{
    int32_t best = -1;
    *kept = -1;
    for (int32_t i = 0; i < self->slot_count; i++) {
        if (self->sequences[i].taken) continue;
        int32_t same = common_beginning(&self->sequences[i], self);
        if (same > *kept) {
            *kept = same;
            best = i;
        }
    }
    return best;
}

/* The sequence's number, or an error. */
static int32_t take_sequence(generator *self)
{
    int32_t kept;
    int32_t index = choose_sequence(self, &kept);
    if (index < 0) return CADRE_EAGAIN;
    sequence *seq = &self->sequences[index];
    if (kept < seq->decoded) forget_from(self, index, kept);
    seq->count = seq->decoded;
    cadre__llama_spans_cut(&seq->spans, seq->decoded);
    if (!cadre__llama_spans_copy(&seq->spans, &self->prompt_spans)) return CADRE_ENOMEM;
    memcpy(seq->tokens, self->prompt.at, (size_t)self->prompt.count * sizeof(*seq->tokens));
    seq->count = self->prompt.count;
    seq->taken = true;
    return index;
}

/* ---- begin and end ---- */

static int read_prompt(generator *self, cadre_op *op, const cadre_generation_input *input, slot *taken)
{
    const char *text;
    char *owned;
    if (self->vision)
        return cadre__llama_vision_prompt(self->vision, op, self->chat_template, input, self->context_length, &self->prompt, &self->prompt_spans,
                                          &taken->chunks);
    int rc = cadre__llama_prompt(op, self->chat_template, input, &text, &owned);
    if (rc == CADRE_OK) rc = cadre__llama_tokenize(self->weights, op, text, self->context_length, true, false, &self->prompt);
    free(owned);
    if (rc < 0) return rc;
    if (self->prompt.count == 0) return cadre_op_fail(op, CADRE_EINPUT, "the prompt has no tokens");
    if (self->prompt.count >= self->context_length)
        return cadre_op_fail(op, CADRE_ETOOLONG, "the prompt has %d tokens; the context has room for %d, of which the answer needs one at least",
                             self->prompt.count, self->context_length);
    return CADRE_OK;
}

static int check_stops(cadre_op *op, const cadre_sampling *sampling)
{
    for (size_t i = 0; i < sampling->stop_count; i++) {
        if (!cadre__llama_utf8_valid(sampling->stop[i], strlen(sampling->stop[i]))) return cadre_op_fail(op, CADRE_EINPUT, "stop string %zu is not UTF-8", i);
    }
    return CADRE_OK;
}

static void leave(slot *taken)
{
    cadre__llama_sampler_clear(&taken->sampler);
    cadre__llama_text_clear(&taken->text);
    cadre__llama_chunks_free(taken->chunks);
    taken->chunks = NULL;
}

static int begin(void *data, cadre_op *op, uint32_t index, const cadre_generation_input *input)
{
    generator *self = data;
    const cadre_sampling *sampling = &input->sampling;
    slot *taken = &self->slots[index];
    int rc = check_stops(op, sampling);
    taken->chunks = NULL;
    if (rc == CADRE_OK) rc = read_prompt(self, op, input, taken);
    if (rc == CADRE_OK) rc = cadre__llama_sampler_start(&taken->sampler, self->weights, op, sampling, &self->prompt);
    if (rc == CADRE_OK) rc = taken->sequence = take_sequence(self);
    if (rc < 0) {
        leave(taken);
        return rc;
    }
    cadre__llama_text_start(&taken->text, sampling->stop, sampling->stop_count);
    taken->token_limit = sampling->max_tokens == CADRE_DEFAULT ? INT32_MAX : sampling->max_tokens;
    taken->output = (cadre_generation_output){.size = sizeof(taken->output), .finish = CADRE_FINISH_STOP};
    taken->output.prompt_tokens = (uint32_t)self->prompt.count;
    taken->output.cached_tokens = (uint32_t)self->sequences[taken->sequence].decoded;
    return CADRE_OK;
}

static void end(void *data, cadre_op *op, uint32_t index, cadre_generation_output *output)
{
    generator *self = data;
    slot *taken = &self->slots[index];
    sequence *seq = &self->sequences[taken->sequence];
    (void)op;
    seq->count = seq->decoded;
    cadre__llama_spans_cut(&seq->spans, seq->decoded);
    seq->taken = false;
    output->finish = taken->output.finish;
    output->prompt_tokens = taken->output.prompt_tokens;
    output->cached_tokens = taken->output.cached_tokens;
    output->generated_tokens = taken->output.generated_tokens;
    leave(taken);
}

/* ---- planning a step ---- */

/* Tokens to decode before the sequence's end or its next picture; 0: a picture is next. */
static int32_t pending(const sequence *seq)
{
    return cadre__llama_spans_text(&seq->spans, seq->decoded, seq->count);
}

/* Who is in the step, by sequence. Cancelled ones are not. */
static void gather(generator *self, cadre_slot_step *steps, size_t count, part *parts)
{
    memset(parts, 0, (size_t)self->slot_count * sizeof(*parts));
    for (size_t i = 0; i < count; i++) {
        steps[i].status = cadre_op_cancelled(steps[i].op) ? CADRE_ECANCELED : CADRE_OK;
        if (steps[i].status == CADRE_OK) parts[self->slots[steps[i].slot].sequence].step = &steps[i];
    }
}

/* A token for each that decodes; what is left of the batch in equal parts for prompts, and what the shorter ones do not need for those that follow. */
static void share(const generator *self, part *parts)
{
    int32_t room = self->context.batch_tokens, prompts = 0;
    for (int32_t i = 0; i < self->slot_count; i++) {
        if (!parts[i].step) continue;
        if (pending(&self->sequences[i]) == 1) {
            parts[i].count = 1;
            room--;
        } else {
            prompts++;
        }
    }
    for (int32_t i = 0; i < self->slot_count && prompts > 0; i++) {
        if (!parts[i].step || parts[i].count == 1) continue;
        int32_t wanted = pending(&self->sequences[i]), fair = room / prompts; /* none where a picture is next */
        parts[i].count = wanted < fair ? wanted : fair;
        room -= parts[i].count;
        prompts--;
    }
}

static size_t fill(generator *self, part *parts, cadre_op **ops)
{
    size_t count = 0;
    self->context.batch.n_tokens = 0;
    for (int32_t i = 0; i < self->slot_count; i++) {
        const sequence *seq = &self->sequences[i];
        parts[i].output = -1;
        if (parts[i].count == 0) continue;
        ops[count++] = parts[i].step->op;
        int32_t last = seq->decoded + parts[i].count - 1;
        if (last == seq->count - 1) parts[i].output = self->context.batch.n_tokens + parts[i].count - 1;
        for (int32_t at = seq->decoded; at <= last; at++) {
            llama_pos position = cadre__llama_spans_position(&seq->spans, at);
            cadre__llama_context_add(&self->context, seq->tokens[at], position, i, at == seq->count - 1);
        }
    }
    return count;
}

/* ---- after the decode ---- */

static int append_piece(generator *self, cadre_slot_step *step, slot *running, llama_token token)
{
    int32_t length = llama_token_to_piece(self->weights->vocab, token, self->piece, self->weights->longest_piece, 0, false);
    if (length < 0) return cadre_op_fail(step->op, CADRE_EENGINE, "token %d has no text", token);
    return cadre__llama_text_push(&running->text, step->op, self->piece, (size_t)length);
}

/* The answer ends: 1, or why it failed. */
static int finish(cadre_slot_step *step, slot *running, cadre_finish how)
{
    int rc = cadre__llama_text_finish(&running->text, step->op, how == CADRE_FINISH_LENGTH);
    running->output.finish = rc > 0 ? CADRE_FINISH_STOP : how;
    return rc < 0 ? rc : 1;
}

/* Chooses a sequence's next token. 0: it goes on, 1: it is finished. */
static int advance(generator *self, part *at, int32_t index)
{
    sequence *seq = &self->sequences[index];
    slot *running = &self->slots[at->step->slot];
    float *logits = llama_get_logits_ith(self->context.engine, at->output);
    llama_token token = logits ? cadre__llama_sampler_next(&running->sampler, logits, self->scratch, self->weights->token_count) : -1;
    if (token < 0) return cadre_op_fail(at->step->op, CADRE_EENGINE, "no token is possible after %d (does the grammar have a dead end?)", seq->count);
    if (llama_vocab_is_eog(self->weights->vocab, token)) return finish(at->step, running, CADRE_FINISH_STOP);

    seq->tokens[seq->count++] = token;
    running->output.generated_tokens++;
    int rc = append_piece(self, at->step, running, token);
    if (rc != 0) {
        running->output.finish = CADRE_FINISH_STOP;
        return rc;
    }
    bool full = seq->count >= self->context_length || running->output.generated_tokens >= (uint32_t)running->token_limit;
    return full ? finish(at->step, running, CADRE_FINISH_LENGTH) : 0;
}

/* The engine may have taken none, some or all of a failed batch. */
static void repair(generator *self, const part *parts)
{
    for (int32_t i = 0; i < self->slot_count; i++) {
        if (parts[i].count > 0) forget_from(self, i, self->sequences[i].decoded);
    }
}

/* Whose picture is next: they take turns. Negative: nobody's. */
static int32_t next_picture(const generator *self, const part *parts)
{
    for (int32_t n = 1; n <= self->slot_count; n++) {
        int32_t i = (self->looked + n) % self->slot_count;
        if (parts[i].step && pending(&self->sequences[i]) == 0) return i;
    }
    return -1;
}

/* One sequence's next picture; who fails at it, or is finished after it, is not in the rest of the step. */
static void look(generator *self, part *parts)
{
    int32_t index = self->vision ? next_picture(self, parts) : -1;
    if (index < 0) return;
    sequence *seq = &self->sequences[index];
    part *at = &parts[index];
    const cadre__llama_span *span = cadre__llama_spans_find(&seq->spans, seq->decoded);
    bool last = span->first + span->count == seq->count;
    self->looked = index;
    int rc = cadre__llama_vision_see(self->vision, &self->context, at->step->op, self->slots[at->step->slot].chunks, span, index,
                                     cadre__llama_spans_position(&seq->spans, seq->decoded), last, &at->output);
    if (rc < 0)
        forget_from(self, index, seq->decoded);
    else
        seq->decoded += span->count;
    if (rc == CADRE_OK && last) rc = advance(self, at, index);
    at->step->status = rc;
    if (rc != CADRE_OK) at->step = NULL;
}

static int step(void *data, cadre_slot_step *steps, size_t count)
{
    generator *self = data;
    part parts[MAX_SLOTS];
    cadre_op *ops[MAX_SLOTS];
    gather(self, steps, count, parts);
    look(self, parts);
    share(self, parts);
    size_t op_count = fill(self, parts, ops);
    if (op_count == 0) return CADRE_OK;

    int rc = cadre__llama_context_run(&self->context, ops, op_count, self->options->threads);
    if (rc < 0) repair(self, parts);
    for (int32_t i = 0; i < self->slot_count; i++) {
        if (parts[i].count == 0) continue;
        if (rc < 0) {
            parts[i].step->status = rc;
            continue;
        }
        self->sequences[i].decoded += parts[i].count;
        if (parts[i].output >= 0) parts[i].step->status = advance(self, &parts[i], i);
    }
    return CADRE_OK;
}

/* ---- life ---- */

static struct llama_context_params context_params(const generator *self)
{
    struct llama_context_params params = llama_context_default_params();
    int32_t batch = self->options->batch_tokens;
    /* However many decode, a prompt gets on as well. */
    if (batch < 2 * self->slot_count) batch = 2 * self->slot_count;
    int32_t padded = (self->context_length + 255) / 256 * 256; /* as the engine does it */
    params.n_ctx = (uint32_t)padded * (uint32_t)self->slot_count;
    params.n_seq_max = (uint32_t)self->slot_count;
    params.n_batch = params.n_ubatch = (uint32_t)batch < params.n_ctx ? (uint32_t)batch : params.n_ctx;
    params.n_outputs_max = params.n_seq_max;
    params.kv_unified = false;
    params.swa_full = true; /* a sliding window forgets what a common beginning needs */
    params.pooling_type = LLAMA_POOLING_TYPE_NONE;
    return params;
}

/* The memory and the context, which take a while: made by the load where that may block, at its low priority, else by attach. */
static int prepare(generator *self, cadre_load_context *load, char *detail, size_t detail_size, uint64_t *bytes)
{
    self->scratch = calloc((size_t)self->weights->token_count, sizeof(*self->scratch));
    self->piece = malloc((size_t)self->weights->longest_piece);
    self->memory = calloc((size_t)self->slot_count * (size_t)self->context_length, sizeof(*self->memory));
    if (!self->scratch || !self->piece || !self->memory) return CADRE_ENOMEM;
    for (int32_t i = 0; i < self->slot_count; i++) self->sequences[i].tokens = self->memory + (size_t)i * (size_t)self->context_length;
    int rc = cadre__llama_context_create(&self->context, self->weights, context_params(self), detail, detail_size);
    *bytes = rc == CADRE_OK ? cadre__llama_measured(self->weights, self->owns_weights, self->options, self->context_length) : 0;
    uint64_t tower = 0;
    if (rc == CADRE_OK && self->capability == CADRE_VISION)
        rc = cadre__llama_vision_create(load, self->weights, self->options, &self->vision, &tower, detail, detail_size);
    self->prepared = rc == CADRE_OK;
    if (*bytes) *bytes += tower;
    return rc;
}

static int attach(void *data, cadre_op *op)
{
    generator *self = data;
    char detail[480] = "";
    uint64_t bytes = 0;
    if (self->prepared) return CADRE_OK;
    int rc = prepare(self, NULL, detail, sizeof(detail), &bytes);
    if (bytes) cadre_op_measured(op, CADRE_DEVICE_HOST, bytes);
    return rc < 0 && *detail ? cadre_op_fail(op, rc, "%s", detail) : rc;
}

static void destroy(void *data)
{
    generator *self = data;
    for (int32_t i = 0; i < self->slot_count; i++) {
        leave(&self->slots[i]);
        cadre__llama_spans_clear(&self->sequences[i].spans);
    }
    cadre__llama_vision_destroy(self->vision);
    cadre__llama_context_clear(&self->context);
    cadre__llama_tokens_clear(&self->prompt);
    cadre__llama_spans_clear(&self->prompt_spans);
    free(self->scratch);
    free(self->piece);
    free(self->memory);
    if (self->owns_weights) cadre__llama_weights_destroy(self->weights);
    cadre__llama_options_destroy(self->options);
    free(self);
}

static const cadre_generation_ops ops = {.size = sizeof(ops), .attach = attach, .destroy = destroy, .begin = begin, .step = step, .end = end};

/* The model's own template is tried when it is needed, since raw text goes without. A query about pictures cannot be raw, so there a template that is missing
 * or that the engine does not know leaves the query as it is. */
static const char *choose_template(const generator *self, const cadre__llama_options *options)
{
    const char *own = llama_model_chat_template(self->weights->model, NULL);
    if (options->chat_template) return options->chat_template;
    return self->capability == CADRE_VISION && own && !cadre__llama_template_known(own) ? NULL : own;
}

int cadre__llama_generator_create(cadre_load_context *context, cadre__llama_weights *weights, bool owned, cadre_capability capability,
                                  cadre__llama_options **options, cadre_generation_model *out)
{
    char detail[480] = "";
    generator *self = calloc(1, sizeof(*self));
    if (!self) {
        if (owned) cadre__llama_weights_destroy(weights);
        return CADRE_ENOMEM;
    }
    self->weights = weights;
    self->owns_weights = owned;
    self->capability = capability;
    int rc = cadre__llama_check(&weights->facts, *options, capability, &self->context_length, detail, sizeof(detail));
    if (rc < 0) {
        destroy(self);
        return cadre_load_fail(context, rc, "%s", detail);
    }
    self->slot_count = (*options)->slots == CADRE_DEFAULT ? CADRE__LLAMA_TEXT_SLOTS : (*options)->slots;
    self->chat_template = choose_template(self, *options);
    self->options = *options;
    *options = NULL;
    uint64_t bytes = 0;
    if (cadre_load_may_block(context)) rc = prepare(self, context, detail, sizeof(detail), &bytes);
    if (rc < 0) {
        destroy(self);
        return *detail ? cadre_load_fail(context, rc, "%s", detail) : rc;
    }
    if (bytes) cadre_load_measured(context, CADRE_DEVICE_HOST, bytes);
    out->ops = &ops;
    out->self = self;
    out->slots = (uint32_t)self->slot_count;
    out->context_length = (uint32_t)self->context_length;
    out->heartbeat_ms = CADRE__LLAMA_HEARTBEAT_MS;
    out->threads = (uint32_t)self->options->threads;
    return CADRE_OK;
}
