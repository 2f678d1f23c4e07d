/* Weights: a file's model, loaded on a loader thread. */
#include "../runs.h"
#include "backend.h"

#include <stdlib.h>
#include <string.h>

#define DETAIL_SIZE 480

/* Runs on the loading thread between tensors; false stops the load. */
static bool on_progress(float fraction, void *data)
{
    cadre_load_context *context = data;
    cadre_load_progress(context, fraction, 0, 0, "read");
    return !cadre_load_cancelled(context);
}

/* The longest text of any token: the number of tokens that a text has at the least follows from it. */
static int32_t longest_piece(const struct llama_vocab *vocab, int32_t token_count)
{
    char none[1];
    int32_t longest = 1;
    for (llama_token token = 0; token < token_count; token++) {
        int32_t length = -llama_token_to_piece(vocab, token, none, 0, 0, true);
        if (length > longest) longest = length;
    }
    return longest;
}

static int32_t run_rule(const struct llama_model *model, const struct llama_vocab *vocab)
{
    char pre[64] = "";
    if (llama_vocab_type(vocab) != LLAMA_VOCAB_TYPE_BPE) return CADRE__RUN_ANY;
    if (llama_model_meta_val_str(model, "tokenizer.ggml.pre", pre, sizeof(pre)) < 0) pre[0] = '\0';
    return (int32_t)cadre__run_rule_of(pre);
}

/* Words of raw text, which only the engine's tokenizer "whitespace" finds: with "gpt2" it aborts at two spaces in a row. */
static bool cuts_raw_text(const struct llama_model *model)
{
    char kind[32], pre[32];
    return llama_model_meta_val_str(model, "tokenizer.ggml.model", kind, sizeof(kind)) >= 0 && strcmp(kind, "gpt2") == 0 &&
           llama_model_meta_val_str(model, "tokenizer.ggml.pre", pre, sizeof(pre)) >= 0 && strcmp(pre, "whitespace") == 0;
}

static int read_model(cadre_load_context *context, const cadre__llama_options *options, cadre__llama_weights *weights)
{
    struct llama_model_params params = llama_model_default_params();
    params.n_gpu_layers = options->gpu_layers;
    params.load_mode = options->use_mmap ? LLAMA_LOAD_MODE_MMAP : LLAMA_LOAD_MODE_NONE;
    params.progress_callback = on_progress;
    params.progress_callback_user_data = context;
    cadre__llama_engine_forget();
    weights->model = llama_model_load_from_file(options->path, params);
    if (cadre_load_cancelled(context)) return CADRE_ECANCELED;
    if (!weights->model) return cadre_load_fail(context, CADRE_EFORMAT, "%s: %s", options->path, cadre__llama_engine_said());
    weights->vocab = llama_model_get_vocab(weights->model);
    weights->token_count = llama_vocab_n_tokens(weights->vocab);
    if (llama_vocab_type(weights->vocab) == LLAMA_VOCAB_TYPE_NONE || weights->token_count < 1)
        return cadre_load_fail(context, CADRE_EFORMAT, "%s: has no vocabulary", options->path);
    weights->longest_piece = longest_piece(weights->vocab, weights->token_count);
    if (cuts_raw_text(weights->model))
        return cadre_load_fail(context, CADRE_EFORMAT, "%s: its tokenizer is \"gpt2\" and cuts words as \"whitespace\"", options->path);
    weights->run_rule = run_rule(weights->model, weights->vocab);
    return CADRE_OK;
}

static int load(cadre_load_context *context, const cadre__llama_options *options, int capability, cadre__llama_weights *weights)
{
    char detail[DETAIL_SIZE] = "";
    int32_t context_length;
    int rc = cadre__llama_engine_start(options->engine_path, detail, sizeof(detail));
    if (rc == CADRE_OK) rc = cadre__llama_file_read(options, &weights->facts, detail, sizeof(detail));
    if (rc == CADRE_OK && capability >= 0)
        rc = cadre__llama_check(&weights->facts, options, (cadre_capability)capability, &context_length, detail, sizeof(detail));
    else if (rc == CADRE_OK)
        rc = cadre__llama_context_length(&weights->facts, options, &context_length, detail, sizeof(detail));
    if (rc < 0) return cadre_load_fail(context, rc, "%s", detail);
    return cadre_load_cancelled(context) ? CADRE_ECANCELED : read_model(context, options, weights);
}

int cadre__llama_weights_load(cadre_load_context *context, const cadre__llama_options *options, int capability, cadre__llama_weights **out)
{
    cadre__llama_weights *weights = calloc(1, sizeof(*weights));
    if (!weights) return CADRE_ENOMEM;
    int rc = load(context, options, capability, weights);
    if (rc < 0)
        cadre__llama_weights_destroy(weights);
    else
        *out = weights;
    return rc;
}

void cadre__llama_weights_destroy(void *payload)
{
    cadre__llama_weights *weights = payload;
    if (!weights) return;
    if (weights->model) llama_model_free(weights->model);
    free(weights);
}
