/* Weights: a file's session, made on a loader thread, tried with a small input, and measured.
 *
 * The trial finds what no header tells: whether the vocabulary fits the model, the dimension where the file leaves it open, and what a Run takes of memory. */
#include "backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRIAL_SHORT 128

/* What a load works on. */
typedef struct loading {
    cadre_load_context *context;
    const cadre__onnx_options *options;
    cadre__onnx_weights *weights;
    cadre__onnx_facts facts;
    char detail[CADRE__ONNX_DETAIL];
    char said[320];
} loading;

static int engine_error(loading *l, int error)
{
    return cadre_load_fail(l->context, error, "%.150s: %s", l->options->path, l->said);
}

/* ---- the session ---- */

static OrtStatus *set_options(const cadre__onnx_weights *w, GraphOptimizationLevel level, OrtSessionOptions *options)
{
    const OrtApi *api = w->api;
    OrtStatus *status = api->SetIntraOpNumThreads(options, w->thread_count);
    if (!status) status = api->SetInterOpNumThreads(options, 1);
    if (!status) status = api->SetSessionExecutionMode(options, ORT_SEQUENTIAL);
    if (!status) status = api->SetSessionGraphOptimizationLevel(options, level);
    if (!status) status = api->DisableMemPattern(options); /* a plan for each shape of a batch would stay for good */
    if (!status) status = api->AddSessionConfigEntry(options, "session.intra_op.allow_spinning", "0");
    if (!status) status = api->AddSessionConfigEntry(options, "session.use_env_allocators", "1");
    return status ? status : cadre__onnx_threads_use(w->threads, api, options);
}

static int make_session(loading *l, GraphOptimizationLevel level)
{
    cadre__onnx_weights *w = l->weights;
    OrtSessionOptions *options = NULL;
    cadre__onnx_engine_forget();
    OrtStatus *status = w->api->CreateSessionOptions(&options);
    if (!status) status = set_options(w, level, options);
    if (!status) {
        cadre_load_progress(l->context, 0.1, 0, 0, "session");
        cadre__onnx_watch_load(w->watch, l->context, options);
        status = w->api->CreateSession(cadre__onnx_engine_env(), l->options->path, options, &w->session);
        cadre__onnx_watch_loaded(w->watch);
    }
    bool failed = cadre__onnx_engine_failed(status, l->said, sizeof(l->said));
    if (options) w->api->ReleaseSessionOptions(options);
    if (cadre_load_cancelled(l->context)) return CADRE_ECANCELED;
    return failed ? engine_error(l, cadre__onnx_engine_error(CADRE_EFORMAT)) : CADRE_OK;
}

/* ---- the session's inputs and outputs ---- */

static OrtStatus *read_tensor_type(const OrtApi *api, const OrtTypeInfo *info, cadre__onnx_value *out)
{
    const OrtTensorTypeAndShapeInfo *tensor = NULL;
    ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    size_t rank = 0;
    OrtStatus *status = api->CastTypeInfoToTensorInfo(info, &tensor);
    if (status || !tensor) return status;
    status = api->GetTensorElementType(tensor, &type);
    if (!status) status = api->GetDimensionsCount(tensor, &rank);
    if (status || rank > CADRE__ONNX_RANK_MAX) return status;
    bool shaped = false; /* a scalar and a tensor without a shape both count no dimensions */
    status = api->GetDimensions(tensor, out->dims, rank);
    shaped = rank > 0;
    out->type = (int32_t)type;
    out->rank = shaped ? (int32_t)rank : -1;
    return status;
}

static OrtStatus *read_value(const cadre__onnx_weights *w, size_t index, bool input, cadre__onnx_value *out)
{
    const OrtApi *api = w->api;
    OrtAllocator *allocator = NULL;
    OrtTypeInfo *info = NULL;
    char *name = NULL;
    *out = (cadre__onnx_value){.rank = -1};
    OrtStatus *status = api->GetAllocatorWithDefaultOptions(&allocator);
    if (!status) status = (input ? api->SessionGetInputName : api->SessionGetOutputName)(w->session, index, allocator, &name);
    if (status) return status;
    snprintf(out->name, sizeof(out->name), "%s", name);
    bool cut = strlen(name) >= sizeof(out->name);
    status = api->AllocatorFree(allocator, name);
    if (!status) status = (input ? api->SessionGetInputTypeInfo : api->SessionGetOutputTypeInfo)(w->session, index, &info);
    if (!status) status = read_tensor_type(api, info, out);
    if (info) api->ReleaseTypeInfo(info);
    if (cut) out->type = 0; /* it cannot be named, so it does not fit */
    return status;
}

static OrtStatus *read_signature(const cadre__onnx_weights *w)
{
    cadre__onnx_signature *s = w->signature;
    size_t inputs = 0, outputs = 0;
    OrtStatus *status = w->api->SessionGetInputCount(w->session, &inputs);
    if (!status) status = w->api->SessionGetOutputCount(w->session, &outputs);
    s->more_inputs = inputs > CADRE__ONNX_INPUTS_MAX;
    s->input_count = s->more_inputs ? CADRE__ONNX_INPUTS_MAX : inputs;
    s->output_count = outputs > CADRE__ONNX_OUTPUTS_MAX ? CADRE__ONNX_OUTPUTS_MAX : outputs;
    for (size_t i = 0; i < s->input_count && !status; i++) status = read_value(w, i, true, &s->inputs[i]);
    for (size_t i = 0; i < s->output_count && !status; i++) status = read_value(w, i, false, &s->outputs[i]);
    return status;
}

static int plan(loading *l, int capability)
{
    cadre__onnx_weights *w = l->weights;
    w->signature = calloc(1, sizeof(*w->signature));
    if (!w->signature) return CADRE_ENOMEM;
    if (cadre__onnx_engine_failed(read_signature(w), l->said, sizeof(l->said))) return engine_error(l, cadre__onnx_engine_error(CADRE_EENGINE));
    int rc = cadre__onnx_plan_make(w->signature, capability, l->options, true, &w->plan, l->detail, sizeof(l->detail));
    return rc < 0 ? cadre_load_fail(l->context, rc, "%.150s: %s", l->options->path, l->detail) : CADRE_OK;
}

/* ---- the trial ---- */

/* Runs one row and tells what it took; the vocabulary's last piece shows whether the model has as many. */
static int try_row(loading *l, size_t tokens, double *bytes)
{
    cadre__onnx_weights *w = l->weights;
    bool text = w->plan.capability == CADRE_TEXT_EMBEDDING;
    size_t pixels = text ? 1 : (size_t)3 * (size_t)w->plan.image_size * (size_t)w->plan.image_size;
    int64_t *numbers = text ? calloc(tokens, 4 * sizeof(*numbers)) : NULL;
    float *picture = text ? NULL : calloc(pixels, sizeof(*picture));
    cadre__onnx_part part = {.rows = 1, .tokens = tokens, .pixels = picture};
    if (numbers) {
        part.ids = numbers;
        part.mask = numbers + tokens;
        part.types = numbers + 2 * tokens;
        part.pool = numbers + 3 * tokens;
    }
    for (size_t i = 0; numbers && i < tokens; i++) {
        part.ids[i] = cadre__onnx_tokenizer_size(w->tokenizer) - 1;
        part.mask[i] = part.pool[i] = 1;
    }
    cadre__onnx_runner runner = {.load = l->context};
    OrtValue *result = NULL;
    const float *values;
    int32_t dimension = 0;
    int rc = numbers || picture ? cadre__onnx_runner_create(&runner, w) : CADRE_ENOMEM;
    if (rc == CADRE_OK) {
        cadre__onnx_memory_mark();
        rc = cadre__onnx_run(&runner, &part, NULL, 0, &result, &values, &dimension, l->detail, sizeof(l->detail));
        *bytes = (double)cadre__onnx_memory_peak();
        if (result) w->api->ReleaseValue(result);
    }
    cadre__onnx_runner_clear(&runner);
    free(picture);
    free(numbers);
    w->plan.dimension = rc == CADRE_OK ? dimension : 0;
    return rc;
}

/* After a failure that *detail tells of: whether it was the length. */
static bool takes_less(loading *l, size_t tokens)
{
    double bytes;
    return tokens > CADRE__ONNX_CONTEXT_MIN && try_row(l, CADRE__ONNX_CONTEXT_MIN, &bytes) == CADRE_OK;
}

static int try_out(loading *l)
{
    cadre__onnx_weights *w = l->weights;
    double little = 0, more = 0;
    cadre_load_progress(l->context, 0.9, 0, 0, "try");
    if (w->plan.capability == CADRE_IMAGE_EMBEDDING) {
        int rc = try_row(l, 0, &w->cost.picture);
        return rc == CADRE_EENGINE ? cadre_load_fail(l->context, CADRE_EFORMAT, "%.150s: it fails with a black picture: %s", l->options->path, l->detail) : rc;
    }
    size_t longest = (size_t)l->options->context_length, brief = longest < TRIAL_SHORT ? longest : TRIAL_SHORT;
    if (longest > CADRE__ONNX_PART_TOKENS) longest = CADRE__ONNX_PART_TOKENS;
    size_t tried = brief;
    int rc = try_row(l, brief, &little);
    if (rc == CADRE_OK && longest > brief) rc = try_row(l, tried = longest, &more);
    if (rc == CADRE_EENGINE && takes_less(l, tried))
        return cadre_load_fail(l->context, CADRE_EINVAL, "%.150s: context_length is %d, and the model fails with a text of %zu tokens: %s", l->options->path,
                               l->options->context_length, tried, l->detail);
    if (rc == CADRE_EENGINE)
        return cadre_load_fail(l->context, CADRE_EFORMAT, "%.150s: it fails with the last of the vocabulary's %d pieces: %s", l->options->path,
                               cadre__onnx_tokenizer_size(w->tokenizer), l->detail);
    if (rc < 0) return rc;
    /* n × (token + pair × n), through both points. */
    double at_brief = little / (double)brief, at_longest = longest > brief ? more / (double)longest : at_brief;
    double pair = longest > brief ? (at_longest - at_brief) / (double)(longest - brief) : 0;
    w->cost.pair = pair > 0 ? pair : 0;
    w->cost.token = pair > 0 ? at_brief - pair * (double)brief : at_longest;
    return CADRE_OK;
}

/* ---- all of it ---- */

static int read_vocabulary(loading *l, uint64_t *bytes)
{
    char path[4096];
    const char *named = l->options->vocabulary;
    if (!named && !cadre__onnx_beside(l->options->path, "vocab.txt", path, sizeof(path)))
        return cadre_load_fail(l->context, CADRE_EFORMAT, "the path of the vocabulary is too long");
    int rc = cadre__onnx_tokenizer_read(named ? named : path, &l->weights->tokenizer, bytes, l->detail, sizeof(l->detail));
    return rc == CADRE_EFORMAT || rc == CADRE_ENOTSUP ? cadre_load_fail(l->context, rc, "%s", l->detail) : rc;
}

static int prepare(loading *l)
{
    cadre__onnx_weights *w = l->weights;
    w->api = cadre__onnx_engine_start(l->detail, sizeof(l->detail));
    if (!w->api) return cadre_load_fail(l->context, cadre__onnx_engine_error(CADRE_EENGINE), "%s", l->detail);
    int rc = cadre__onnx_file_read(l->options->path, &l->facts, NULL, NULL, l->detail, sizeof(l->detail));
    if (rc == CADRE_EFORMAT) return cadre_load_fail(l->context, rc, "%s", l->detail);
    w->thread_count = l->options->threads == CADRE_DEFAULT ? (int32_t)cadre_load_cores(l->context) : l->options->threads;
    if (rc == CADRE_OK) rc = cadre__onnx_threads_create(&w->threads);
    if (rc == CADRE_OK) rc = cadre__onnx_watch_create(w->api, &w->watch);
    return rc;
}

static int load(loading *l, int capability)
{
    int rc = prepare(l);
    if (rc == CADRE_OK && cadre_load_cancelled(l->context)) rc = CADRE_ECANCELED;
    cadre__onnx_memory_mark();
    if (rc == CADRE_OK) rc = make_session(l, ORT_ENABLE_ALL);
    /* What folds constants does not ask the sessions' allocator: a session without it tells by its trial whether the file wants what no machine has. */
    bool starved = rc == CADRE_ENOMEM && l->weights->watch;
    if (starved) rc = make_session(l, ORT_DISABLE_ALL);
    /* What was packed lies in the allocator; what was not is as large as it was in the file. */
    uint64_t held = cadre__onnx_memory_held(), filed = cadre__onnx_sum(l->facts.file_bytes, l->facts.external_bytes), words = 0;
    if (rc == CADRE_OK) rc = plan(l, capability);
    if (rc == CADRE_OK && l->weights->plan.capability == CADRE_TEXT_EMBEDDING) rc = read_vocabulary(l, &words);
    if (rc == CADRE_OK) rc = try_out(l);
    if (rc == CADRE_OK && starved) rc = CADRE_ENOMEM;
    l->weights->bytes = cadre__onnx_sum(held > filed ? held : filed, words);
    return rc == CADRE_OK && cadre_load_cancelled(l->context) ? CADRE_ECANCELED : rc;
}

int cadre__onnx_weights_load(cadre_load_context *context, const cadre__onnx_options *options, int capability, cadre__onnx_weights **out)
{
    loading *l = calloc(1, sizeof(*l));
    cadre__onnx_weights *weights = calloc(1, sizeof(*weights));
    int rc = CADRE_ENOMEM;
    if (l && weights) {
        l->context = context;
        l->options = options;
        l->weights = weights;
        rc = load(l, capability);
    }
    free(l);
    if (rc == CADRE_OK)
        *out = weights;
    else
        cadre__onnx_weights_destroy(weights);
    return rc;
}

void cadre__onnx_weights_destroy(void *payload)
{
    cadre__onnx_weights *w = payload;
    if (!w) return;
    if (w->session) w->api->ReleaseSession(w->session);
    cadre__onnx_memory_trim();
    cadre__onnx_watch_destroy(w->watch);
    cadre__onnx_threads_destroy(w->threads);
    cadre__onnx_tokenizer_destroy(w->tokenizer);
    free(w->signature);
    free(w);
}
