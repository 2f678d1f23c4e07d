/* Text-to-text: requests in slots, sequences in one engine context, one decode per step.
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
 * A sequence knows all its tokens and how many of them are in the engine's memory. Whatever happens, its next step decodes some that are not, and samples when
 * none is left: prefill, decoding, and repair after a decode that was stopped are one case. */
#include "backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SLOTS CADRE__LLAMA_SLOTS_MAX

typedef struct sequence {
    llama_token *tokens; /* context_length of them */
    int32_t count;
    int32_t decoded; /* of count; equal while the sequence is free */
    bool taken;
} sequence;

typedef struct slot {
    int32_t sequence;
    int32_t token_limit; /* of generated_tokens */
    cadre__llama_sampler sampler;
    cadre__llama_text text;
    cadre_generation_output output;
} slot;

typedef struct generator {
    cadre__llama_weights *weights;
    bool owns_weights;
    bool prepared; /* the context is there */
    cadre__llama_options *options;
    const char *chat_template; /* NULL: none */
    int32_t context_length;
    int32_t slot_count;
    cadre__llama_context context;
    cadre__llama_tokens prompt;
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
    if (!llama_memory_seq_rm(memory, index, keep, -1)) {
        llama_memory_seq_rm(memory, index, -1, -1);
        keep = 0;
    }
    seq->decoded = keep;
}

static int32_t common_beginning(const sequence *seq, const cadre__llama_tokens *prompt)
{
    /* The last token is always decoded again: its logits are needed. */
    int32_t most = prompt->count - 1 < seq->count ? prompt->count - 1 : seq->count;
    int32_t same = 0;
    while (same < most && seq->tokens[same] == prompt->at[same]) same++;
    return same;
}

/* There is a free sequence for each free slot. */
static int32_t choose_sequence(const generator *self, const cadre__llama_tokens *prompt, int32_t *kept)
{
    int32_t best = -1;
    *kept = -1;
    for (int32_t i = 0; i < self->slot_count; i++) {
        if (self->sequences[i].taken) continue;
        int32_t same = common_beginning(&self->sequences[i], prompt);
        if (same > *kept) {
            *kept = same;
            best = i;
        }
    }
    return best;
}

static int32_t take_sequence(generator *self, const cadre__llama_tokens *prompt)
{
    int32_t kept;
    int32_t index = choose_sequence(self, prompt, &kept);
    if (index < 0) return index;
    sequence *seq = &self->sequences[index];
    seq->taken = true;
    if (kept < seq->decoded) forget_from(self, index, kept);
    memcpy(seq->tokens, prompt->at, (size_t)prompt->count * sizeof(*seq->tokens));
    seq->count = prompt->count;
    return index;
}

/* ---- begin and end ---- */

static int read_prompt(generator *self, cadre_op *op, const cadre_generation_input *input)
{
    const char *text;
    char *owned;
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

static int begin(void *data, cadre_op *op, uint32_t index, const cadre_generation_input *input)
{
    generator *self = data;
    const cadre_sampling *sampling = &input->sampling;
    slot *taken = &self->slots[index];
    int rc = check_stops(op, sampling);
    if (rc == CADRE_OK) rc = read_prompt(self, op, input);
    if (rc == CADRE_OK) rc = cadre__llama_sampler_start(&taken->sampler, self->weights, op, sampling, &self->prompt);
    if (rc < 0) return rc;
    taken->sequence = take_sequence(self, &self->prompt);
    if (taken->sequence < 0) {
        cadre__llama_sampler_clear(&taken->sampler);
        return CADRE_EAGAIN;
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
    seq->taken = false;
    output->finish = taken->output.finish;
    output->prompt_tokens = taken->output.prompt_tokens;
    output->cached_tokens = taken->output.cached_tokens;
    output->generated_tokens = taken->output.generated_tokens;
    cadre__llama_sampler_clear(&taken->sampler);
    cadre__llama_text_clear(&taken->text);
}

/* ---- planning a step ---- */

static int32_t pending(const sequence *seq)
{
    return seq->count - seq->decoded;
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
        int32_t wanted = pending(&self->sequences[i]), fair = room / prompts;
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
        for (int32_t at = seq->decoded; at <= last; at++) cadre__llama_context_add(&self->context, seq->tokens[at], at, i, at == seq->count - 1);
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

static int step(void *data, cadre_slot_step *steps, size_t count)
{
    generator *self = data;
    part parts[MAX_SLOTS];
    cadre_op *ops[MAX_SLOTS];
    gather(self, steps, count, parts);
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
static int prepare(generator *self, char *detail, size_t detail_size, uint64_t *bytes)
{
    self->scratch = calloc((size_t)self->weights->token_count, sizeof(*self->scratch));
    self->piece = malloc((size_t)self->weights->longest_piece);
    self->memory = calloc((size_t)self->slot_count * (size_t)self->context_length, sizeof(*self->memory));
    if (!self->scratch || !self->piece || !self->memory) return CADRE_ENOMEM;
    for (int32_t i = 0; i < self->slot_count; i++) self->sequences[i].tokens = self->memory + (size_t)i * (size_t)self->context_length;
    int rc = cadre__llama_context_create(&self->context, self->weights, context_params(self), detail, detail_size);
    self->prepared = rc == CADRE_OK;
    *bytes = rc == CADRE_OK ? cadre__llama_measured(self->weights, self->owns_weights, self->options, self->context_length) : 0;
    return rc;
}

static int attach(void *data, cadre_op *op)
{
    generator *self = data;
    char detail[480] = "";
    uint64_t bytes = 0;
    if (self->prepared) return CADRE_OK;
    int rc = prepare(self, detail, sizeof(detail), &bytes);
    if (bytes) cadre_op_measured(op, CADRE_DEVICE_HOST, bytes);
    return rc < 0 && *detail ? cadre_op_fail(op, rc, "%s", detail) : rc;
}

static void destroy(void *data)
{
    generator *self = data;
    for (int32_t i = 0; i < self->slot_count; i++) {
        cadre__llama_sampler_clear(&self->slots[i].sampler);
        cadre__llama_text_clear(&self->slots[i].text);
    }
    cadre__llama_context_clear(&self->context);
    cadre__llama_tokens_clear(&self->prompt);
    free(self->scratch);
    free(self->piece);
    free(self->memory);
    if (self->owns_weights) cadre__llama_weights_destroy(self->weights);
    cadre__llama_options_destroy(self->options);
    free(self);
}

static const cadre_generation_ops ops = {.size = sizeof(ops), .attach = attach, .destroy = destroy, .begin = begin, .step = step, .end = end};

int cadre__llama_generator_create(cadre_load_context *context, cadre__llama_weights *weights, bool owned, cadre__llama_options **options,
                                  cadre_generation_model *out)
{
    char detail[480] = "";
    generator *self = calloc(1, sizeof(*self));
    if (!self) {
        if (owned) cadre__llama_weights_destroy(weights);
        return CADRE_ENOMEM;
    }
    self->weights = weights;
    self->owns_weights = owned;
    int rc = cadre__llama_check(&weights->facts, *options, CADRE_TEXT_TO_TEXT, &self->context_length, detail, sizeof(detail));
    if (rc < 0) {
        destroy(self);
        return cadre_load_fail(context, rc, "%s", detail);
    }
    self->slot_count = (*options)->slots == CADRE_DEFAULT ? CADRE__LLAMA_TEXT_SLOTS : (*options)->slots;
    /* The model's own template is tried when it is needed, since raw text goes without. */
    self->chat_template = (*options)->chat_template ? (*options)->chat_template : llama_model_chat_template(weights->model, NULL);
    self->options = *options;
    *options = NULL;
    uint64_t bytes = 0;
    if (cadre_load_may_block(context)) rc = prepare(self, detail, sizeof(detail), &bytes);
    if (rc < 0) {
        destroy(self);
        return *detail ? cadre_load_fail(context, rc, "%s", detail) : rc;
    }
    if (bytes) cadre_load_measured(context, CADRE_DEVICE_HOST, bytes);
    *out = (cadre_generation_model){.size = sizeof(*out),
                                    .ops = &ops,
                                    .self = self,
                                    .slots = (uint32_t)self->slot_count,
                                    .context_length = (uint32_t)self->context_length,
                                    .heartbeat_ms = CADRE__LLAMA_HEARTBEAT_MS,
                                    .threads = (uint32_t)self->options->threads};
    return CADRE_OK;
}
