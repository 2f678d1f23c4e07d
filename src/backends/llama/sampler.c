/* How the next token is chosen.
 *
 * Without a grammar and penalties, temperature 0 is a scan for the largest logit. Everything else is a chain of the engine's samplers over an array of all
 * tokens. A grammar is costly over a whole vocabulary, so a token is chosen without it first and only tried against it; when it is refused, the grammar is
 * applied to all tokens and the choice made again. That draws from the same distribution: p(t) + (1 − p(allowed)) · p(t) / p(allowed) = p(t) / p(allowed). */
#include "backend.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PENALTY_TOKENS 64
#define GRAMMAR_BYTES (128 * 1024)
#define GRAMMAR_DEPTH 512

/* ---- parameters ---- */

/* What the model's file says, if it is a number from low to high. */
static float model_value(const struct llama_model *model, enum llama_model_meta_key key, float low, float high, float otherwise)
{
    char text[64], *end;
    const char *name = llama_model_meta_key_str(key);
    if (!name || llama_model_meta_val_str(model, name, text, sizeof(text)) <= 0) return otherwise;
    float value = strtof(text, &end);
    return end != text && value >= low && value <= high ? value : otherwise;
}

static float choose(float given, const struct llama_model *model, enum llama_model_meta_key key, float low, float high, float otherwise)
{
    return isnan(given) ? model_value(model, key, low, high, otherwise) : given;
}

static uint32_t choose_seed(int64_t given)
{
    if (given == CADRE_DEFAULT) return LLAMA_DEFAULT_SEED;
    /* The engine takes 2³² − 1 for "a random one"; a host that says so means that number. */
    return (uint32_t)given == LLAMA_DEFAULT_SEED ? LLAMA_DEFAULT_SEED - 1 : (uint32_t)given;
}

/* ---- the chain ---- */

static bool add(struct llama_sampler *chain, struct llama_sampler *link)
{
    if (link) llama_sampler_chain_add(chain, link);
    return link != NULL;
}

static bool add_choice(struct llama_sampler *chain, const struct llama_model *model, const cadre_sampling *sampling, float temperature)
{
    int32_t top_k = sampling->top_k;
    if (top_k == CADRE_DEFAULT) top_k = (int32_t)model_value(model, LLAMA_MODEL_META_KEY_SAMPLING_TOP_K, 0.0f, 1e6f, 40.0f);
    float top_p = choose(sampling->top_p, model, LLAMA_MODEL_META_KEY_SAMPLING_TOP_P, 0.0f, 1.0f, 0.95f);
    float min_p = choose(sampling->min_p, model, LLAMA_MODEL_META_KEY_SAMPLING_MIN_P, 0.0f, 1.0f, 0.05f);
    return add(chain, llama_sampler_init_top_k(top_k)) && add(chain, llama_sampler_init_top_p(top_p, 1)) && add(chain, llama_sampler_init_min_p(min_p, 1)) &&
           add(chain, llama_sampler_init_temp(temperature)) && add(chain, llama_sampler_init_dist(choose_seed(sampling->seed)));
}

/* *out stays NULL when the likeliest token is all that is asked for. */
static int make_chain(const cadre__llama_weights *weights, const cadre_sampling *sampling, struct llama_sampler **out)
{
    const struct llama_model *model = weights->model;
    float temperature = choose(sampling->temperature, model, LLAMA_MODEL_META_KEY_SAMPLING_TEMP, 0.0f, FLT_MAX, 0.8f);
    float repeat = choose(sampling->repeat_penalty, model, LLAMA_MODEL_META_KEY_SAMPLING_PENALTY_REPEAT, FLT_MIN, FLT_MAX, 1.0f);
    float frequency = isnan(sampling->frequency_penalty) ? 0.0f : sampling->frequency_penalty;
    float presence = isnan(sampling->presence_penalty) ? 0.0f : sampling->presence_penalty;
    bool penalties = repeat != 1.0f || frequency != 0.0f || presence != 0.0f;
    *out = NULL;
    if (temperature <= 0.0f && !penalties) return CADRE_OK;

    struct llama_sampler_chain_params params = llama_sampler_chain_default_params();
    struct llama_sampler *chain = llama_sampler_chain_init(params);
    if (!chain) return CADRE_ENOMEM;
    bool made = !penalties || add(chain, llama_sampler_init_penalties(weights->token_count, PENALTY_TOKENS, repeat, frequency, presence));
    made = made && (temperature > 0.0f ? add_choice(chain, model, sampling, temperature) : add(chain, llama_sampler_init_greedy()));
    if (!made) {
        llama_sampler_free(chain);
        return CADRE_ENOMEM;
    }
    *out = chain;
    return CADRE_OK;
}

/* ---- the grammar ---- */

/* The end of a literal or a character class that begins at `text`. */
static const char *skip_quoted(const char *text)
{
    char end = *text == '[' ? ']' : '"';
    for (text++; *text && *text != end; text++) {
        if (*text == '\\' && text[1]) text++;
    }
    return text;
}

/* The engine's parser recurses once per parenthesis and once per rule. */
static bool too_deep(const char *grammar)
{
    int depth = 0;
    for (const char *at = grammar; *at; at++) {
        if (*at == '"' || *at == '[') at = skip_quoted(at);
        if (!*at) break;
        if (*at == '(' && ++depth > GRAMMAR_DEPTH) return true;
        if (*at == ')') depth--;
    }
    return false;
}

static int make_grammar(const cadre__llama_weights *weights, cadre_op *op, const char *grammar, struct llama_sampler **out)
{
    *out = NULL;
    if (!grammar || !*grammar) return CADRE_OK;
    if (strlen(grammar) > GRAMMAR_BYTES || too_deep(grammar))
        return cadre_op_fail(op, CADRE_EINPUT, "the grammar is longer than %d bytes or nested deeper than %d", GRAMMAR_BYTES, GRAMMAR_DEPTH);
    cadre__llama_engine_forget();
    *out = llama_sampler_init_grammar(weights->vocab, grammar, "root");
    return *out ? CADRE_OK : cadre_op_fail(op, CADRE_EINPUT, "the grammar cannot be used: %s", cadre__llama_engine_said());
}

int cadre__llama_sampler_start(cadre__llama_sampler *sampler, const cadre__llama_weights *weights, cadre_op *op, const cadre_sampling *sampling,
                               const cadre__llama_tokens *prompt)
{
    int32_t first = prompt->count > PENALTY_TOKENS ? prompt->count - PENALTY_TOKENS : 0;
    sampler->vocab = weights->vocab;
    int rc = make_grammar(weights, op, sampling->grammar, &sampler->grammar);
    if (rc < 0) return rc;
    rc = make_chain(weights, sampling, &sampler->chain);
    if (rc < 0) cadre__llama_sampler_clear(sampler);
    for (int32_t i = first; sampler->chain && i < prompt->count; i++) {
        if (prompt->at[i] >= 0) llama_sampler_accept(sampler->chain, prompt->at[i]); /* not a picture's */
    }
    return rc;
}

/* ---- choosing ---- */

static llama_token likeliest(const float *logits, int32_t count)
{
    llama_token best = -1;
    float most = -INFINITY;
    for (llama_token token = 0; token < count; token++) {
        if (logits[token] > most) {
            most = logits[token];
            best = token;
        }
    }
    return best;
}

/* Fills the array, lets the grammar strike out what it refuses, and drops what is impossible: the chain never sees a token that cannot come. */
static llama_token_data_array candidates(const float *logits, struct llama_sampler *grammar, llama_token_data *scratch, int32_t count)
{
    llama_token_data_array all = {.data = scratch, .size = (size_t)count, .selected = -1, .sorted = false};
    for (llama_token token = 0; token < count; token++) scratch[token] = (llama_token_data){token, logits[token], 0.0f};
    if (grammar) llama_sampler_apply(grammar, &all);
    size_t kept = 0;
    for (size_t i = 0; i < all.size; i++) {
        if (all.data[i].logit > -INFINITY) all.data[kept++] = all.data[i];
    }
    all.size = kept;
    return all;
}

static llama_token pick(const cadre__llama_sampler *sampler, const float *logits, struct llama_sampler *grammar, llama_token_data *scratch, int32_t count)
{
    if (!sampler->chain && !grammar) return likeliest(logits, count);
    llama_token_data_array all = candidates(logits, grammar, scratch, count);
    if (all.size == 0) return -1;
    if (sampler->chain) {
        llama_sampler_apply(sampler->chain, &all);
    } else {
        all.selected = 0;
        for (size_t i = 1; i < all.size; i++) {
            if (all.data[i].logit > all.data[all.selected].logit) all.selected = (int64_t)i;
        }
    }
    return all.selected >= 0 && (size_t)all.selected < all.size ? all.data[all.selected].id : -1;
}

static bool allowed(struct llama_sampler *grammar, llama_token token)
{
    llama_token_data one = {token, 1.0f, 0.0f};
    llama_token_data_array all = {.data = &one, .size = 1, .selected = -1, .sorted = false};
    llama_sampler_apply(grammar, &all);
    return one.logit > -INFINITY;
}

llama_token cadre__llama_sampler_next(cadre__llama_sampler *sampler, float *logits, llama_token_data *scratch, int32_t token_count)
{
    int32_t suppressed_count = 0;
    const llama_token *suppressed = llama_vocab_get_suppress_tokens(sampler->vocab, &suppressed_count);
    for (int32_t i = 0; i < suppressed_count; i++) {
        if (suppressed[i] >= 0 && suppressed[i] < token_count) logits[suppressed[i]] = -INFINITY;
    }
    llama_token token = pick(sampler, logits, NULL, scratch, token_count);
    if (token >= 0 && sampler->grammar && !allowed(sampler->grammar, token)) token = pick(sampler, logits, sampler->grammar, scratch, token_count);
    /* An accepted end of generation would end the process where the grammar is not at an end. */
    if (token < 0 || llama_vocab_is_eog(sampler->vocab, token)) return token;
    if (sampler->grammar) llama_sampler_accept(sampler->grammar, token);
    if (sampler->chain) llama_sampler_accept(sampler->chain, token);
    return token;
}

void cadre__llama_sampler_clear(cadre__llama_sampler *sampler)
{
    if (sampler->chain) llama_sampler_free(sampler->chain);
    if (sampler->grammar) llama_sampler_free(sampler->grammar);
    memset(sampler, 0, sizeof(*sampler));
}
