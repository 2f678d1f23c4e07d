/* Small ONNX files: protobuf by hand, with the fields' numbers of onnx.proto. */
#include "ask.h"

static void put(made *to, const void *data, size_t length)
{
    if (to->length + length > to->capacity) {
        to->capacity = 2 * (to->length + length);
        to->data = realloc(to->data, to->capacity);
        assert_non_null(to->data);
    }
    if (length > 0) memcpy(to->data + to->length, data, length);
    to->length += length;
}

static void put_varint(made *to, uint64_t value)
{
    do {
        unsigned char byte = (unsigned char)((value & 0x7F) | (value > 0x7F ? 0x80 : 0));
        put(to, &byte, 1);
        value >>= 7;
    } while (value);
}

static void put_number(made *to, unsigned field, uint64_t value)
{
    put_varint(to, field << 3);
    put_varint(to, value);
}

static void put_bytes(made *to, unsigned field, const void *data, size_t length)
{
    put_varint(to, field << 3 | 2);
    put_varint(to, length);
    put(to, data, length);
}

static void put_text(made *to, unsigned field, const char *text)
{
    put_bytes(to, field, text, strlen(text));
}

/* Moves a message into another. */
static void put_message(made *to, unsigned field, made *message)
{
    put_bytes(to, field, message->data, message->length);
    free(message->data);
    *message = (made){0};
}

void made_value(made *graph, bool input, value_of value)
{
    made shape = {0}, tensor = {0}, type = {0}, info = {0};
    for (int i = 0; i < value.rank; i++) {
        made dim = {0};
        if (value.dims[i] < 0)
            put_text(&dim, 2, i == 0 ? "batch" : "free");
        else
            put_number(&dim, 1, (uint64_t)value.dims[i]);
        put_message(&shape, 1, &dim);
    }
    put_number(&tensor, 1, (uint64_t)value.type);
    put_message(&tensor, 2, &shape);
    put_message(&type, 1, &tensor);
    put_text(&info, 1, value.name);
    put_message(&info, 2, &type);
    put_message(graph, input ? 11 : 12, &info);
}

static void put_names(made *node, unsigned field, const char *names)
{
    for (const char *at = names; *at;) {
        size_t length = strcspn(at, ",");
        put_bytes(node, field, at, length);
        at += length + (at[length] == ',');
    }
}

void made_node(made *graph, const char *type, const char *inputs, const char *outputs, const char *attributes)
{
    made node = {0};
    put_names(&node, 1, inputs);
    put_names(&node, 2, outputs);
    put_text(&node, 4, type);
    for (const char *at = attributes ? attributes : ""; *at;) {
        made attribute = {0};
        size_t name = strcspn(at, "="), length = strcspn(at, ",");
        put_bytes(&attribute, 1, at, name);
        put_number(&attribute, 3, (uint64_t)strtoll(at + name + 1, NULL, 10));
        put_number(&attribute, 20, 2);
        put_message(&node, 5, &attribute);
        at += length + (at[length] == ',');
    }
    put_message(graph, 1, &node);
}

void made_int64(made *graph, const char *name, const int64_t *values, int64_t count)
{
    made tensor = {0};
    put_number(&tensor, 1, (uint64_t)count);
    put_number(&tensor, 2, 7);
    put_text(&tensor, 8, name);
    put_bytes(&tensor, 9, values, (size_t)count * sizeof *values);
    put_message(graph, 5, &tensor);
}

void made_floats(made *graph, const char *name, const int64_t *dims, int rank, size_t bytes)
{
    made tensor = {0};
    void *zeros = calloc(bytes + 1, 1);
    for (int i = 0; i < rank; i++) put_number(&tensor, 1, (uint64_t)dims[i]);
    put_number(&tensor, 2, 1);
    put_text(&tensor, 8, name);
    put_bytes(&tensor, 9, zeros, bytes);
    put_message(graph, 5, &tensor);
    free(zeros);
}

static void put_pair(made *tensor, const char *key, const char *value)
{
    made pair = {0};
    if (!value) return;
    put_text(&pair, 1, key);
    put_text(&pair, 2, value);
    put_message(tensor, 13, &pair);
}

static made external_tensor(const char *name, int64_t count, const char *location, const char *offset, const char *length)
{
    made tensor = {0};
    put_number(&tensor, 1, (uint64_t)count);
    put_number(&tensor, 2, 1);
    put_text(&tensor, 8, name);
    put_pair(&tensor, "location", location);
    put_pair(&tensor, "offset", offset);
    put_pair(&tensor, "length", length);
    put_number(&tensor, 14, 1);
    return tensor;
}

void made_external(made *graph, const char *name, int64_t count, const char *location, const char *offset, const char *length)
{
    made tensor = external_tensor(name, count, location, offset, length);
    put_message(graph, 5, &tensor);
}

/* Of a tensor's values and the places 0, 1, …: as sparse as it gets. */
static made sparse_tensor(const char *name, int64_t count, const char *location)
{
    made sparse = {0}, places = {0}, values = external_tensor(name, count, location, "0", NULL);
    put_message(&sparse, 1, &values);
    put_number(&places, 1, (uint64_t)count);
    put_number(&places, 2, 7);
    put_text(&places, 8, "places");
    made raw = {0};
    for (int64_t i = 0; i < count; i++) put(&raw, &i, sizeof i);
    put_message(&places, 9, &raw);
    put_message(&sparse, 2, &places);
    put_number(&sparse, 3, (uint64_t)count);
    return sparse;
}

void made_sparse(made *graph, const char *name, int64_t count, const char *location, unsigned attribute)
{
    made sparse = sparse_tensor(name, count, location);
    if (attribute == 0) {
        put_message(graph, 15, &sparse);
        return;
    }
    made node = {0}, given = {0};
    put_text(&given, 1, attribute == 22 ? "sparse_value" : "sparse_values");
    put_message(&given, attribute, &sparse);
    put_number(&given, 20, attribute == 22 ? 11 : 12);
    put_text(&node, 2, name);
    put_text(&node, 4, "Constant");
    put_message(&node, 5, &given);
    put_message(graph, 1, &node);
}

/* The function F() = Constant(value = k), and the model's other operators, whose version its functions need. */
static made make_function(const char *name, int64_t count, const char *location)
{
    made function = {0}, node = {0}, given = {0}, opset = {0}, attribute = {0}, tensor = external_tensor(name, count, location, "0", NULL);
    put_text(&function, 1, "F");
    put_text(&function, 5, "made");
    put_text(&given, 1, "value");
    put_text(&given, 21, "k");
    put_number(&given, 20, 4);
    put_text(&node, 2, "made");
    put_text(&node, 4, "Constant");
    put_message(&node, 5, &given);
    put_message(&function, 7, &node);
    put_text(&opset, 1, "");
    put_number(&opset, 2, 17);
    put_message(&function, 9, &opset);
    put_text(&function, 10, "own");
    put_text(&attribute, 1, "k");
    put_message(&attribute, 5, &tensor);
    put_number(&attribute, 20, 4);
    put_message(&function, 11, &attribute);
    return function;
}

static void write_model(made *graph, made *function, const char *path)
{
    made model = {0}, opset = {0};
    put_text(graph, 2, "made");
    put_number(&model, 1, function ? 9 : 8); /* functions' attributes have defaults since */
    put_message(&model, 7, graph);
    put_text(&opset, 1, "");
    put_number(&opset, 2, 17);
    put_message(&model, 8, &opset);
    if (function) {
        put_text(&opset, 1, "own");
        put_number(&opset, 2, 1);
        put_message(&model, 8, &opset);
        put_message(&model, 25, function);
    }
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(model.data, 1, model.length, file), model.length);
    assert_int_equal(fclose(file), 0);
    free(model.data);
}

void made_write(made *graph, const char *path)
{
    write_model(graph, NULL, path);
}

void made_write_function(made *graph, const char *name, int64_t count, const char *location, const char *path)
{
    made call = {0}, function = make_function(name, count, location);
    put_text(&call, 2, name);
    put_text(&call, 4, "F");
    put_text(&call, 7, "own");
    put_message(graph, 1, &call);
    made_node(graph, "Add", "flat,weights", "out", NULL);
    write_model(graph, &function, path);
}

void made_cut(const char *from, const char *path, size_t bytes, size_t spoilt_from)
{
    FILE *in = fopen(from, "rb"), *out = fopen(path, "wb");
    assert_true(in && out);
    for (size_t at = 0; at < bytes; at++) {
        int byte = getc(in);
        if (byte == EOF) break;
        putc(at >= spoilt_from && at < spoilt_from + 64 ? 0 : byte, out);
    }
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

void make_flat(const char *path)
{
    made graph = {0};
    made_value(&graph, true, (value_of){"pixels", 1, 4, {-1, 3, 4, 4}});
    made_value(&graph, false, (value_of){"out", 1, 2, {-1, 48}});
    made_node(&graph, "Flatten", "pixels", "out", "axis=1");
    made_write(&graph, path);
}

void make_ids(const char *path, bool types)
{
    made graph = {0};
    static const int64_t last = 2;
    made_value(&graph, true, (value_of){"input_ids", 7, 2, {-1, -1}});
    made_value(&graph, true, (value_of){"attention_mask", 7, 2, {-1, -1}});
    if (types) made_value(&graph, true, (value_of){"token_type_ids", 7, 2, {-1, -1}});
    made_value(&graph, false, (value_of){"last_hidden_state", 1, 3, {-1, -1, 1}});
    made_int64(&graph, "last", &last, 1);
    made_node(&graph, "Cast", "input_ids", "numbers", "to=1");
    made_node(&graph, "Unsqueeze", "numbers,last", "last_hidden_state", NULL);
    made_write(&graph, path);
}

void make_limited(const char *path, int64_t limit)
{
    made graph = {0};
    static const int64_t zero = 0, one = 1, last = 2;
    const int64_t dims[] = {1, limit};
    made_value(&graph, true, (value_of){"input_ids", 7, 2, {-1, -1}});
    made_value(&graph, true, (value_of){"attention_mask", 7, 2, {-1, -1}});
    made_value(&graph, false, (value_of){"last_hidden_state", 1, 3, {-1, -1, 1}});
    made_int64(&graph, "zero", &zero, 1);
    made_int64(&graph, "one", &one, 1);
    made_int64(&graph, "last", &last, 1);
    made_floats(&graph, "positions", dims, 2, (size_t)limit * sizeof(float));
    made_node(&graph, "Cast", "input_ids", "numbers", "to=1");
    made_node(&graph, "Shape", "input_ids", "shape", NULL);
    made_node(&graph, "Slice", "shape,one,last", "tokens", NULL);
    made_node(&graph, "Slice", "positions,zero,tokens,one", "used", NULL);
    made_node(&graph, "Add", "numbers,used", "sums", NULL);
    made_node(&graph, "Unsqueeze", "sums,last", "last_hidden_state", NULL);
    made_write(&graph, path);
}

void make_picky(const char *path, int64_t id)
{
    made graph = {0};
    static const int64_t last = 2, one = 1;
    made_value(&graph, true, (value_of){"input_ids", 7, 2, {-1, -1}});
    made_value(&graph, true, (value_of){"attention_mask", 7, 2, {-1, -1}});
    made_value(&graph, false, (value_of){"last_hidden_state", 1, 3, {-1, -1, 1}});
    made_int64(&graph, "last", &last, 1);
    made_int64(&graph, "id", &id, 1);
    made_floats(&graph, "table", &one, 1, sizeof(float));
    made_node(&graph, "Equal", "input_ids,id", "equal", NULL);
    made_node(&graph, "Cast", "equal", "places", "to=7");
    made_node(&graph, "Gather", "table,places", "found", NULL);
    made_node(&graph, "Cast", "input_ids", "numbers", "to=1");
    made_node(&graph, "Add", "numbers,found", "sums", NULL);
    made_node(&graph, "Unsqueeze", "sums,last", "last_hidden_state", NULL);
    made_write(&graph, path);
}

void make_slow(const char *path)
{
    made graph = {0};
    static const int64_t zero = 0, one = 1, rows = 64;
    char from[16] = "m0", with[40], to[16];
    made_value(&graph, true, (value_of){"pixels", 1, 4, {-1, 3, 4, 4}});
    made_value(&graph, false, (value_of){"out", 1, 2, {-1, 48}});
    made_int64(&graph, "zero", &zero, 1);
    made_int64(&graph, "one", &one, 1);
    made_int64(&graph, "rows", &rows, 1);
    made_node(&graph, "Flatten", "pixels", "flat", "axis=1");
    made_node(&graph, "Shape", "pixels", "shape", NULL);
    made_node(&graph, "Slice", "shape,zero,one", "batch", NULL);
    made_node(&graph, "Mul", "batch,rows", "side", NULL);
    made_node(&graph, "Concat", "side,side", "square", "axis=0");
    made_node(&graph, "ConstantOfShape", "square", "m0", NULL);
    for (int i = 1; i <= 500; i++) {
        snprintf(with, sizeof with, "%s,%s", from, from);
        snprintf(to, sizeof to, "m%d", i);
        made_node(&graph, "MatMul", with, to, NULL);
        memcpy(from, to, sizeof from);
    }
    made_node(&graph, "ReduceSum", from, "sum", "keepdims=0");
    made_node(&graph, "Add", "flat,sum", "out", NULL);
    made_write(&graph, path);
}
