/* How a file's inputs and outputs are used, or why they cannot be. */
#include "backend.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* What the words of a detail are written to. */
typedef struct sink {
    char *at;
    size_t size, length;
} sink;

static void write_to(sink *to, const char *format, ...) CADRE_PRINTF(2, 3);
static void write_to(sink *to, const char *format, ...)
{
    if (to->length + 1 >= to->size) return;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(to->at + to->length, to->size - to->length, format, arguments);
    va_end(arguments);
    if (length > 0) to->length += (size_t)length;
}

static const char *type_name(int32_t type)
{
    static const char *const names[] = {"?",    "float32", "uint8",   "int8",   "uint16", "int16",     "int32",      "int64",   "string",
                                        "bool", "float16", "float64", "uint32", "uint64", "complex64", "complex128", "bfloat16"};
    return type > 0 && (size_t)type < sizeof(names) / sizeof(names[0]) ? names[type] : names[0];
}

static void write_values(sink *to, const cadre__onnx_value *values, size_t count)
{
    size_t written = 0;
    for (size_t i = 0; i < count && written < 4; i++) {
        const cadre__onnx_value *v = &values[i];
        if (v->initialized) continue;
        write_to(to, "%s%.40s %s", written++ ? ", " : "", v->name, type_name(v->type));
        for (int32_t d = 0; d < v->rank && d < CADRE__ONNX_RANK_MAX; d++)
            if (v->dims[d] < 0)
                write_to(to, "%s?", d ? ", " : " [");
            else
                write_to(to, "%s%lld", d ? ", " : " [", (long long)v->dims[d]);
        if (v->rank > 0) write_to(to, "]");
    }
    if (count > 4) write_to(to, ", …");
}

/* "it needs X; the file has …". */
static int refuse(const cadre__onnx_signature *s, bool inputs, const char *needs, char *detail, size_t detail_size)
{
    sink to = {detail, detail_size, 0};
    write_to(&to, "%s; the file has the %s ", needs, inputs ? "inputs" : "outputs");
    write_values(&to, inputs ? s->inputs : s->outputs, inputs ? s->input_count : s->output_count);
    return CADRE_ECAPABILITY;
}

static int32_t find_input(const cadre__onnx_signature *s, const char *name)
{
    for (size_t i = 0; i < s->input_count; i++)
        if (strcmp(s->inputs[i].name, name) == 0) return (int32_t)i;
    return -1;
}

static int32_t find_output(const cadre__onnx_signature *s, const char *name)
{
    for (size_t i = 0; i < s->output_count; i++)
        if (strcmp(s->outputs[i].name, name) == 0) return (int32_t)i;
    return -1;
}

/* int64 [free, free]. What a file does not say may be. */
static bool token_input(const cadre__onnx_value *v)
{
    return v->type == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 && (v->rank < 0 || (v->rank == 2 && v->dims[0] < 0 && v->dims[1] < 0));
}

/* float32 [free, …, D]. */
static bool vector_output(const cadre__onnx_value *v, int32_t rank)
{
    return v->type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT && v->rank == rank && v->dims[0] < 0 && v->dims[rank - 1] != 0 && v->dims[rank - 1] <= INT32_MAX &&
           (rank == 2 || v->dims[1] < 0);
}

/* That of the name, or the first that fits; `never` is not taken. */
static int32_t choose_output(const cadre__onnx_signature *s, const char *name, int32_t rank, const char *never)
{
    int32_t named = find_output(s, name);
    if (named >= 0 && vector_output(&s->outputs[named], rank)) return named;
    for (size_t i = 0; i < s->output_count; i++)
        if (vector_output(&s->outputs[i], rank) && !(never && strcmp(s->outputs[i].name, never) == 0)) return (int32_t)i;
    return -1;
}

static bool any_unsaid(const cadre__onnx_signature *s)
{
    for (size_t i = 0; i < s->output_count; i++)
        if (s->outputs[i].rank < 0) return true;
    return false;
}

static void take_dimension(const cadre__onnx_signature *s, cadre__onnx_plan *plan)
{
    const cadre__onnx_value *v = &s->outputs[plan->output];
    int64_t last = v->dims[v->rank - 1];
    plan->dimension = last > 0 ? (int32_t)last : 0;
}

static int plan_text(const cadre__onnx_signature *s, bool certain, cadre__onnx_plan *plan, char *detail, size_t detail_size)
{
    static const char needs[] = "text embedding needs int64 inputs [batch, tokens], both free, named input_ids, attention_mask and perhaps token_type_ids and "
                                "pool_mask, and no other";
    plan->ids = find_input(s, "input_ids");
    plan->mask = find_input(s, "attention_mask");
    plan->types = find_input(s, "token_type_ids");
    plan->pool = find_input(s, "pool_mask");
    if (plan->ids < 0 || plan->mask < 0 || !token_input(&s->inputs[plan->ids]) || !token_input(&s->inputs[plan->mask]) ||
        (plan->types >= 0 && !token_input(&s->inputs[plan->types])) || (plan->pool >= 0 && !token_input(&s->inputs[plan->pool])))
        return refuse(s, true, needs, detail, detail_size);
    for (int32_t i = 0; i < (int32_t)s->input_count; i++)
        if (i != plan->ids && i != plan->mask && i != plan->types && i != plan->pool && !s->inputs[i].initialized)
            return refuse(s, true, needs, detail, detail_size);
    plan->output = choose_output(s, "sentence_embedding", 2, "pooler_output");
    if (plan->output < 0) {
        plan->per_token = true;
        plan->output = choose_output(s, "last_hidden_state", 3, NULL);
    }
    if (plan->output >= 0)
        take_dimension(s, plan);
    else if (certain || !any_unsaid(s))
        return refuse(s, false, "text embedding needs a float32 output [batch, dimension] or [batch, tokens, dimension]", detail, detail_size);
    return CADRE_OK;
}

/* The side, or 0. *free: the file leaves it. */
static int32_t side_of(const cadre__onnx_value *v, bool *free_size)
{
    *free_size = v->dims[2] < 0 && v->dims[3] < 0;
    return !*free_size && v->dims[2] == v->dims[3] && v->dims[2] >= 1 && v->dims[2] <= CADRE__ONNX_IMAGE_MAX ? (int32_t)v->dims[2] : 0;
}

static int plan_image(const cadre__onnx_signature *s, const cadre__onnx_options *options, bool certain, cadre__onnx_plan *plan, char *detail,
                      size_t detail_size)
{
    static const char needs[] =
        "image embedding needs one float32 input [batch, 3, height, width] with the batch free and height = width of at most 4096, and no "
        "other";
    bool free_size = false;
    for (size_t i = 0; i < s->input_count; i++) {
        if (s->inputs[i].initialized) continue;
        if (plan->pixels >= 0) return refuse(s, true, needs, detail, detail_size);
        plan->pixels = (int32_t)i;
    }
    const cadre__onnx_value *v = plan->pixels >= 0 ? &s->inputs[plan->pixels] : NULL;
    if (!v || v->type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT || v->rank != 4 || v->dims[0] >= 0 || (v->dims[1] >= 0 && v->dims[1] != 3))
        return refuse(s, true, needs, detail, detail_size);
    plan->image_size = side_of(v, &free_size);
    if (free_size && !options->image_size) {
        snprintf(detail, detail_size, "the file leaves height and width of pictures free: the option image_size must say them");
        return CADRE_EINVAL;
    }
    if (!free_size && plan->image_size && options->image_size && options->image_size != plan->image_size) {
        snprintf(detail, detail_size, "the option image_size is %d, and the file wants %d", options->image_size, plan->image_size);
        return CADRE_EINVAL;
    }
    if (free_size) plan->image_size = options->image_size;
    if (!plan->image_size) return refuse(s, true, needs, detail, detail_size);
    plan->output = choose_output(s, "image_embeds", 2, NULL);
    if (plan->output >= 0)
        take_dimension(s, plan);
    else if (certain || !any_unsaid(s))
        return refuse(s, false, "image embedding needs a float32 output [batch, dimension]", detail, detail_size);
    return CADRE_OK;
}

int cadre__onnx_plan_make(const cadre__onnx_signature *signature, int capability, const cadre__onnx_options *options, bool certain, cadre__onnx_plan *out,
                          char *detail, size_t detail_size)
{
    *out = (cadre__onnx_plan){.ids = -1, .mask = -1, .types = -1, .pool = -1, .pixels = -1, .output = -1};
    if (capability < 0) capability = find_input(signature, "input_ids") >= 0 ? CADRE_TEXT_EMBEDDING : CADRE_IMAGE_EMBEDDING;
    out->capability = (cadre_capability)capability;
    if (signature->more_inputs && !certain) return CADRE_OK; /* an old file, whose weights are inputs, too: the engine tells them apart */
    if (signature->more_inputs) {
        snprintf(detail, detail_size, "the file has more than %d inputs", CADRE__ONNX_INPUTS_MAX);
        return CADRE_ECAPABILITY;
    }
    if (out->capability == CADRE_TEXT_EMBEDDING) return plan_text(signature, certain, out, detail, detail_size);
    return plan_image(signature, options, certain, out, detail, detail_size);
}
