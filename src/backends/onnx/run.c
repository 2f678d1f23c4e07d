/* One Run of the session. Any number of workers run one session at once; what is a worker's own are the run options, by which it is stopped. */
#include "backend.h"

#include <math.h>
#include <stdio.h>

int cadre__onnx_runner_create(cadre__onnx_runner *runner, const cadre__onnx_weights *weights)
{
    char said[64];
    runner->weights = weights;
    return cadre__onnx_engine_failed(weights->api->CreateRunOptions(&runner->options), said, sizeof(said)) ? CADRE_ENOMEM : CADRE_OK;
}

void cadre__onnx_runner_clear(cadre__onnx_runner *runner)
{
    if (runner->options) runner->weights->api->ReleaseRunOptions(runner->options);
    runner->options = NULL;
    cadre__onnx_memory_trim(); /* a worker goes, and what was charged for its batches */
}

typedef struct feed {
    const char *names[4];
    OrtValue *values[4];
    size_t count;
} feed;

static OrtStatus *add(feed *to, const cadre__onnx_weights *w, int32_t input, void *data, size_t element, const int64_t *dims, size_t rank)
{
    size_t count = element;
    for (size_t i = 0; i < rank; i++) count *= (size_t)dims[i];
    to->names[to->count] = w->signature->inputs[input].name;
    OrtStatus *status = w->api->CreateTensorWithDataAsOrtValue(
        cadre__onnx_memory_info(), data, count, dims, rank,
        element == sizeof(float) ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT : ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, &to->values[to->count]);
    if (!status) to->count++;
    return status;
}

static OrtStatus *fill(feed *to, const cadre__onnx_weights *w, const cadre__onnx_part *part)
{
    const cadre__onnx_plan *plan = &w->plan;
    if (plan->capability == CADRE_IMAGE_EMBEDDING) {
        const int64_t dims[] = {(int64_t)part->rows, 3, plan->image_size, plan->image_size};
        return add(to, w, plan->pixels, part->pixels, sizeof(float), dims, 4);
    }
    const int64_t dims[] = {(int64_t)part->rows, (int64_t)part->tokens};
    OrtStatus *status = add(to, w, plan->ids, part->ids, sizeof(int64_t), dims, 2);
    if (!status) status = add(to, w, plan->mask, part->mask, sizeof(int64_t), dims, 2);
    if (!status && plan->types >= 0) status = add(to, w, plan->types, part->types, sizeof(int64_t), dims, 2);
    if (!status && plan->pool >= 0) status = add(to, w, plan->pool, part->pool, sizeof(int64_t), dims, 2);
    return status;
}

/* Whether the result is what the plan said: float32 [rows, D] or [rows, tokens, D]. */
static OrtStatus *look_at(const cadre__onnx_weights *w, const cadre__onnx_part *part, OrtValue *result, const float **values, int32_t *dimension, bool *fits)
{
    OrtTensorTypeAndShapeInfo *info = NULL;
    ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    int64_t dims[3] = {0};
    size_t rank = 0, wanted = w->plan.per_token ? 3 : 2;
    void *data = NULL;
    OrtStatus *status = w->api->GetTensorTypeAndShape(result, &info);
    if (!status) status = w->api->GetTensorElementType(info, &type);
    if (!status) status = w->api->GetDimensionsCount(info, &rank);
    if (!status && rank == wanted) status = w->api->GetDimensions(info, dims, rank);
    if (info) w->api->ReleaseTensorTypeAndShapeInfo(info);
    int64_t last = dims[wanted - 1];
    *fits = !status && type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT && rank == wanted && dims[0] == (int64_t)part->rows && last > 0 && last <= INT32_MAX &&
            (wanted == 2 || dims[1] == (int64_t)part->tokens) && (w->plan.dimension == 0 || w->plan.dimension == last);
    if (!*fits) return status;
    *dimension = (int32_t)last;
    status = w->api->GetTensorMutableData(result, &data);
    *values = data;
    return status;
}

static int finish(cadre__onnx_runner *runner, const cadre__onnx_part *part, OrtStatus *status, bool stopped, OrtValue **result, const float **values,
                  int32_t *dimension, char *detail, size_t detail_size)
{
    const cadre__onnx_weights *w = runner->weights;
    bool fits = false;
    if (!status) status = look_at(w, part, *result, values, dimension, &fits);
    bool failed = cadre__onnx_engine_failed(status, detail, detail_size);
    if (!failed && fits) return CADRE_OK;
    if (!failed) snprintf(detail, detail_size, "the engine's answer has another shape than the file says");
    if (*result) w->api->ReleaseValue(*result);
    *result = NULL;
    if (stopped) return CADRE_ECANCELED;
    return failed ? cadre__onnx_engine_error(CADRE_EENGINE) : CADRE_EENGINE;
}

int cadre__onnx_run(cadre__onnx_runner *runner, const cadre__onnx_part *part, cadre_op *const *ops, size_t count, OrtValue **result, const float **values,
                    int32_t *dimension, char *detail, size_t detail_size)
{
    const cadre__onnx_weights *w = runner->weights;
    const char *const output = w->signature->outputs[w->plan.output].name;
    cadre__onnx_watched watched = {.ops = ops, .count = count, .load = runner->load, .run = runner->options};
    feed given = {.count = 0};
    *result = NULL;
    cadre__onnx_engine_forget();
    OrtStatus *status = fill(&given, w, part);
    if (!status) {
        cadre__onnx_watch_begin(w->watch, &watched);
        status = w->api->Run(w->session, runner->options, given.names, (const OrtValue *const *)given.values, given.count, &output, 1, result);
        cadre__onnx_watch_end(w->watch, &watched);
    }
    for (size_t i = 0; i < given.count; i++) w->api->ReleaseValue(given.values[i]);
    if (watched.fired) {
        OrtStatus *unset = w->api->RunOptionsUnsetTerminate(runner->options);
        if (unset) w->api->ReleaseStatus(unset);
    }
    return finish(runner, part, status, watched.fired, result, values, dimension, detail, detail_size);
}

bool cadre__onnx_store(const float *from, float *to, int32_t dimension, bool normalize)
{
    double sum = 0.0;
    for (int32_t i = 0; i < dimension; i++) sum += (double)from[i] * (double)from[i];
    if (!isfinite(sum)) return false;
    double scale = !normalize ? 1.0 : sum > 0.0 ? 1.0 / sqrt(sum) : 0.0;
    for (int32_t i = 0; i < dimension; i++) to[i] = (float)(from[i] * scale);
    return true;
}
