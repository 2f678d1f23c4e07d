/* Image embedding: pictures are scaled, cropped and normalised into one tensor, which runs in parts that need no more memory than was reserved.
 *
 * Threads: as text.c. */
#include "backend.h"
#include "preprocess.h"

#include <stdlib.h>

typedef struct embedder {
    cadre__onnx_weights *weights;
    bool owns_weights;
    cadre__onnx_options *options;
    cadre__onnx_runner runner;
    int32_t part;   /* pictures in one Run at most */
    float *pixels;  /* of a part; made when the first picture comes */
    cadre_op **ops; /* of the part that runs, */
    size_t *rows;   /* and which pictures they are of */
} embedder;

/* One call of embed. */
typedef struct call {
    cadre_op *const *ops;
    float *out;
    int *status;
} call;

static size_t picture_floats(const embedder *self)
{
    size_t side = (size_t)self->weights->plan.image_size;
    return 3 * side * side;
}

static void run_part(embedder *self, const call *now, size_t count)
{
    const cadre__onnx_part part = {.rows = count, .pixels = self->pixels};
    OrtValue *result = NULL;
    const float *values = NULL;
    int32_t dimension = self->weights->plan.dimension;
    char detail[CADRE__ONNX_DETAIL] = "";
    if (count == 0) return;
    int rc = cadre__onnx_run(&self->runner, &part, self->ops, count, &result, &values, &dimension, detail, sizeof(detail));
    for (size_t i = 0; i < count; i++) {
        size_t row = self->rows[i];
        if (rc == CADRE_OK && cadre__onnx_store(values + i * (size_t)dimension, now->out + row * (size_t)dimension, dimension, self->options->normalize))
            continue;
        now->status[row] = rc < 0 ? rc : CADRE_EENGINE;
        if (rc != CADRE_ECANCELED) cadre_op_fail(now->ops[row], now->status[row], "%s", rc < 0 ? detail : "the engine gave no number");
    }
    if (result) self->weights->api->ReleaseValue(result);
}

static int read_picture(embedder *self, cadre_op *op, const cadre_image *image, size_t place)
{
    const cadre__onnx_options *o = self->options;
    if (cadre_op_cancelled(op)) return CADRE_ECANCELED;
    float *to = self->pixels + place * picture_floats(self);
    int rc = cadre__onnx_preprocess(image, (uint32_t)self->weights->plan.image_size, o->image_mean, o->image_deviation, to);
    if (rc != CADRE_EINVAL) return rc;
    return cadre_op_fail(op, CADRE_EINPUT, "the picture of %u x %u pixels cannot be scaled", image->width, image->height);
}

static int embed(void *data, cadre_op *const *ops, const cadre_image *images, size_t count, float *out, int *status)
{
    embedder *self = data;
    const call now = {ops, out, status};
    size_t taken = 0;
    if (!self->pixels) self->pixels = malloc((size_t)self->part * picture_floats(self) * sizeof(float));
    if (!self->pixels) return CADRE_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        status[i] = read_picture(self, ops[i], &images[i], taken);
        if (status[i] < 0) continue;
        self->ops[taken] = ops[i];
        self->rows[taken++] = i;
        if (taken < (size_t)self->part) continue;
        run_part(self, &now, taken);
        taken = 0;
    }
    run_part(self, &now, taken);
    return CADRE_OK;
}

/* ---- life ---- */

static int attach(void *data, cadre_op *op)
{
    embedder *self = data;
    uint64_t own = cadre__onnx_worker_bytes(&self->weights->cost, &self->weights->plan, self->options);
    cadre_op_measured(op, CADRE_DEVICE_HOST, cadre__onnx_sum(own, self->owns_weights ? self->weights->bytes : 0));
    int rc = cadre__onnx_threads_start(self->weights->threads);
    return rc < 0 ? cadre_op_fail(op, rc, "the engine's %d threads could not be started", self->weights->thread_count) : CADRE_OK;
}

static void destroy(void *data)
{
    embedder *self = data;
    cadre__onnx_runner_clear(&self->runner);
    free(self->pixels);
    free(self->ops);
    free(self->rows);
    if (self->owns_weights) cadre__onnx_weights_destroy(self->weights);
    cadre__onnx_options_destroy(self->options);
    free(self);
}

static const cadre_image_embedding_ops ops_table = {sizeof(ops_table), attach, destroy, embed};

int cadre__onnx_image_create(cadre_load_context *context, cadre__onnx_weights *weights, bool owned, cadre__onnx_options **options,
                             cadre_image_embedding_model *out)
{
    embedder *self = calloc(1, sizeof(*self));
    if (!self) {
        if (owned) cadre__onnx_weights_destroy(weights);
        return CADRE_ENOMEM;
    }
    self->weights = weights;
    self->owns_weights = owned;
    self->part = cadre__onnx_pictures(&weights->cost, &weights->plan, *options);
    int rc = weights->tokenizer ? cadre_load_fail(context, CADRE_ECAPABILITY, "these weights are a model of texts, not of pictures")
                                : cadre__onnx_runner_create(&self->runner, weights);
    self->ops = calloc((size_t)self->part, sizeof(*self->ops));
    self->rows = calloc((size_t)self->part, sizeof(*self->rows));
    if (rc == CADRE_OK && (!self->ops || !self->rows)) rc = CADRE_ENOMEM;
    if (rc < 0) {
        destroy(self);
        return rc;
    }
    self->options = *options;
    *options = NULL;
    out->size = sizeof(*out);
    out->ops = &ops_table;
    out->self = self;
    out->dimension = (uint32_t)weights->plan.dimension;
    out->max_batch = (uint32_t)self->options->max_batch;
    out->heartbeat_ms = 0; /* the engine gives no sign within a Run */
    out->threads = (uint32_t)weights->thread_count;
    return CADRE_OK;
}
