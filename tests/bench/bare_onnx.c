#include "bare_onnx.h"

#include "bench.h"

#include <onnxruntime_c_api.h>
#include <stdlib.h>
#include <string.h>

#define INPUTS_MAX 4

struct bare_onnx {
    const OrtApi *api;
    OrtEnv *env;
    OrtSession *session;
    OrtMemoryInfo *memory;
    OrtAllocator *allocator;
    char *inputs[INPUTS_MAX];
    size_t input_count;
    char *output;
    int64_t side;
    size_t dimension;
};

static void check(const bare_onnx *b, OrtStatus *status, const char *what)
{
    if (status) bench_fail("ONNX Runtime: %s: %s", what, b->api->GetErrorMessage(status));
}

static int64_t last_dimension(const bare_onnx *b, OrtTypeInfo *type)
{
    const OrtTensorTypeAndShapeInfo *shape = NULL;
    size_t rank = 0;
    int64_t dims[8] = {0};
    check(b, b->api->CastTypeInfoToTensorInfo(type, &shape), "an input is no tensor");
    check(b, b->api->GetDimensionsCount(shape, &rank), "a shape");
    if (rank < 1 || rank > 8) bench_fail("a tensor of %zu dimensions", rank);
    check(b, b->api->GetDimensions(shape, dims, rank), "a shape");
    b->api->ReleaseTypeInfo(type);
    return dims[rank - 1];
}

static void learn(bare_onnx *b)
{
    OrtTypeInfo *type;
    check(b, b->api->SessionGetInputCount(b->session, &b->input_count), "the inputs");
    if (b->input_count > INPUTS_MAX) bench_fail("an ONNX file with %zu inputs", b->input_count);
    for (size_t i = 0; i < b->input_count; i++) check(b, b->api->SessionGetInputName(b->session, i, b->allocator, &b->inputs[i]), "an input's name");
    check(b, b->api->SessionGetOutputName(b->session, 0, b->allocator, &b->output), "the output's name");
    check(b, b->api->SessionGetInputTypeInfo(b->session, 0, &type), "an input");
    b->side = last_dimension(b, type);
    check(b, b->api->SessionGetOutputTypeInfo(b->session, 0, &type), "the output");
    int64_t dimension = last_dimension(b, type);
    if (dimension < 1) bench_fail("an ONNX file does not say how long its vectors are");
    b->dimension = (size_t)dimension;
}

bare_onnx *bare_onnx_open(const char *path, int threads, int spinning)
{
    bare_onnx *b = calloc(1, sizeof *b);
    OrtSessionOptions *options;
    if (!b) bench_fail("out of memory");
    b->api = OrtGetApiBase()->GetApi(ORT_API_VERSION);
    if (!b->api) bench_fail("ONNX Runtime is older than its header");
    check(b, b->api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "bench", &b->env), "the environment");
    check(b, b->api->CreateSessionOptions(&options), "options");
    check(b, b->api->SetIntraOpNumThreads(options, threads), "threads");
    check(b, b->api->SetSessionGraphOptimizationLevel(options, ORT_ENABLE_ALL), "options");
    if (!spinning) check(b, b->api->AddSessionConfigEntry(options, "session.intra_op.allow_spinning", "0"), "options");
    check(b, b->api->CreateSession(b->env, path, options, &b->session), path);
    b->api->ReleaseSessionOptions(options);
    check(b, b->api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &b->memory), "memory");
    check(b, b->api->GetAllocatorWithDefaultOptions(&b->allocator), "memory");
    learn(b);
    return b;
}

void bare_onnx_close(bare_onnx *b)
{
    for (size_t i = 0; i < b->input_count; i++) b->allocator->Free(b->allocator, b->inputs[i]);
    b->allocator->Free(b->allocator, b->output);
    b->api->ReleaseMemoryInfo(b->memory);
    b->api->ReleaseSession(b->session);
    b->api->ReleaseEnv(b->env);
    free(b);
}

int64_t bare_onnx_side(const bare_onnx *b)
{
    return b->side;
}

size_t bare_onnx_dimension(const bare_onnx *b)
{
    return b->dimension;
}

static OrtValue *tensor(const bare_onnx *b, void *data, size_t bytes, const int64_t *dims, size_t rank, ONNXTensorElementDataType type)
{
    OrtValue *value = NULL;
    check(b, b->api->CreateTensorWithDataAsOrtValue(b->memory, data, bytes, dims, rank, type, &value), "a tensor");
    return value;
}

static OrtValue *run(const bare_onnx *b, OrtValue *const *values)
{
    OrtValue *result = NULL;
    check(b,
          b->api->Run(b->session, NULL, (const char *const *)b->inputs, (const OrtValue *const *)values, b->input_count, (const char *const *)&b->output, 1,
                      &result),
          "a run");
    return result;
}

void bare_onnx_images(bare_onnx *b, float *pixels, size_t count, float *out)
{
    int64_t dims[4] = {(int64_t)count, 3, b->side, b->side};
    size_t bytes = count * 3 * (size_t)b->side * (size_t)b->side * sizeof *pixels;
    OrtValue *input = tensor(b, pixels, bytes, dims, 4, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
    OrtValue *result = run(b, &input);
    float *values = NULL;
    check(b, b->api->GetTensorMutableData(result, (void **)&values), "the output");
    memcpy(out, values, count * b->dimension * sizeof *out);
    b->api->ReleaseValue(result);
    b->api->ReleaseValue(input);
}

void bare_onnx_texts(bare_onnx *b, int64_t *ids, size_t rows, size_t tokens)
{
    int64_t dims[2] = {(int64_t)rows, (int64_t)tokens};
    size_t count = rows * tokens;
    int64_t *ones = malloc(count * sizeof *ones), *zeros = calloc(count, sizeof *zeros);
    OrtValue *values[INPUTS_MAX];
    if (!ones || !zeros) bench_fail("out of memory");
    for (size_t i = 0; i < count; i++) ones[i] = 1;
    for (size_t i = 0; i < b->input_count; i++) {
        int64_t *data = strcmp(b->inputs[i], "input_ids") == 0 ? ids : strcmp(b->inputs[i], "attention_mask") == 0 ? ones : zeros;
        values[i] = tensor(b, data, count * sizeof *data, dims, 2, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64);
    }
    b->api->ReleaseValue(run(b, values));
    for (size_t i = 0; i < b->input_count; i++) b->api->ReleaseValue(values[i]);
    free(ones);
    free(zeros);
}
