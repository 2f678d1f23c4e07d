/* Text to tokens. */
#include "../runs.h"
#include "backend.h"

#include <stdlib.h>
#include <string.h>

/* Whether each byte of a text becomes part of some token: then `n` tokens hold at most n × longest_piece bytes. Other tokenizers drop white space. */
static bool keeps_every_byte(const cadre__llama_weights *weights)
{
    enum llama_vocab_type type = llama_vocab_type(weights->vocab);
    return type == LLAMA_VOCAB_TYPE_BPE || type == LLAMA_VOCAB_TYPE_SPM;
}

/* The last place not after `length` where a code point begins. */
static size_t code_point_start(const char *text, size_t length)
{
    while (length > 0 && ((unsigned char)text[length] & 0xC0) == 0x80) length--;
    return length;
}

static bool reserve(cadre__llama_tokens *tokens, int32_t capacity)
{
    if (capacity <= tokens->capacity) return true;
    llama_token *at = realloc(tokens->at, (size_t)capacity * sizeof(*at));
    if (!at) return false;
    tokens->at = at;
    tokens->capacity = capacity;
    return true;
}

int cadre__llama_text_check(const cadre__llama_weights *weights, cadre_op *op, const char *text, size_t length, int32_t limit)
{
    if (!cadre__llama_utf8_valid(text, strlen(text))) return cadre_op_fail(op, CADRE_EINPUT, "the text is not UTF-8");
    if (length <= (size_t)limit * (size_t)weights->longest_piece || !keeps_every_byte(weights)) return CADRE_OK;
    return cadre_op_fail(op, CADRE_ETOOLONG, "the text of %zu bytes has at least %zu tokens; there is room for %d", length,
                         length / (size_t)weights->longest_piece, limit);
}

int cadre__llama_runs_check(const cadre__llama_weights *weights, cadre_op *op, const char *text, size_t length)
{
    size_t at = cadre__run_find((cadre__run_rule)weights->run_rule, text, length);
    if (at == length) return CADRE_OK;
    return cadre_op_fail(op, CADRE_EINPUT, "the text has more than %d characters of one kind in a row, from its byte %zu on, which the tokenizer does not take",
                         CADRE__RUN_MAX, at);
}

int cadre__llama_tokenize(const cadre__llama_weights *weights, cadre_op *op, const char *text, int32_t limit, bool special, bool truncate,
                          cadre__llama_tokens *out)
{
    size_t length = strlen(text);
    size_t most = (size_t)limit * (size_t)weights->longest_piece;
    out->count = 0;
    int rc = cadre__llama_text_check(weights, op, text, truncate ? 0 : length, limit);
    if (rc < 0) return rc;
    if (length > most && keeps_every_byte(weights)) length = code_point_start(text, most);
    if (length > INT32_MAX) return cadre_op_fail(op, CADRE_ETOOLONG, "the text has %zu bytes; the engine takes %d", length, INT32_MAX);
    rc = cadre__llama_runs_check(weights, op, text, length);
    if (rc < 0) return rc;
    for (;;) {
        int32_t count = llama_tokenize(weights->vocab, text, (int32_t)length, out->at, out->capacity, true, special);
        if (count >= 0) {
            out->count = count;
            return CADRE_OK;
        }
        if (count == INT32_MIN) return cadre_op_fail(op, CADRE_ETOOLONG, "the text of %zu bytes has too many tokens to count", length);
        if (!reserve(out, -count)) return CADRE_ENOMEM;
    }
}

void cadre__llama_tokens_clear(cadre__llama_tokens *tokens)
{
    free(tokens->at);
    memset(tokens, 0, sizeof(*tokens));
}
