/* An ONNX file before the engine sees it: is it one, is it whole, what goes in and out of it, and what lies beside it.
 *
 * The file is a protobuf message (the fields' numbers are those of onnx.proto of the ONNX project): this reader walks it by its lengths, reads what it needs
 * and skips the weights, so that a file of gigabytes takes a few reads. External data must be named as ONNX demands, by a path within the model's folder: the
 * engine would otherwise read whatever file a hostile model names. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "backend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_SIZE 4096
#define NESTING_MAX 32

enum { MODEL_IR_VERSION = 1, MODEL_GRAPH = 7, MODEL_FUNCTIONS = 25, FUNCTION_NODE = 7, FUNCTION_ATTRIBUTE = 11 };
enum { GRAPH_NODE = 1, GRAPH_INITIALIZER = 5, GRAPH_INPUT = 11, GRAPH_OUTPUT = 12, GRAPH_SPARSE = 15 };
enum {
    NODE_ATTRIBUTE = 5,
    ATTRIBUTE_TENSOR = 5,
    ATTRIBUTE_GRAPH = 6,
    ATTRIBUTE_TENSORS = 10,
    ATTRIBUTE_GRAPHS = 11,
    ATTRIBUTE_SPARSE = 22,
    ATTRIBUTE_SPARSES = 23
};
enum { TENSOR_DIMS = 1, TENSOR_TYPE = 2, TENSOR_NAME = 8, TENSOR_RAW = 9, TENSOR_EXTERNAL = 13, TENSOR_LOCATION = 14 };

typedef struct reader {
    int fd;
    uint64_t size, at;
    uint64_t buffer_at;
    size_t buffered;
    const char *path;
    cadre__onnx_facts *facts;
    cadre__onnx_external_cb external;
    void *data;
    char last_location[1024]; /* of external data; most tensors have the same */
    uint64_t last_bytes;
    char *detail;
    size_t detail_size;
    unsigned char buffer[8192];
} reader;

typedef struct field {
    uint32_t number, wire;
    uint64_t value;  /* of a number */
    uint64_t length; /* of what follows, else 0: the reader stands before it */
} field;

static int wrong(reader *r, const char *format, ...) CADRE_PRINTF(2, 3);
static int wrong(reader *r, const char *format, ...)
{
    char reason[360];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    snprintf(r->detail, r->detail_size, "%s: %s", r->path, reason);
    return CADRE_EFORMAT;
}

/* ---- the wire ---- */

static int read_bytes(reader *r, void *to, size_t count)
{
    unsigned char *out = to;
    while (count > 0) {
        if (r->at < r->buffer_at || r->at >= r->buffer_at + r->buffered) {
            ssize_t got = pread(r->fd, r->buffer, sizeof(r->buffer), (off_t)r->at);
            if (got <= 0) return wrong(r, got < 0 ? "cannot be read at byte %llu" : "is cut short at byte %llu", (unsigned long long)r->at);
            r->buffer_at = r->at;
            r->buffered = (size_t)got;
        }
        size_t offset = (size_t)(r->at - r->buffer_at), part = r->buffered - offset;
        if (part > count) part = count;
        memcpy(out, r->buffer + offset, part);
        out += part;
        r->at += part;
        count -= part;
    }
    return CADRE_OK;
}

static int read_number(reader *r, uint64_t end, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        unsigned char byte;
        if (r->at >= end) return wrong(r, "is not an ONNX file, or damaged: a number runs over its end at byte %llu", (unsigned long long)r->at);
        int rc = read_bytes(r, &byte, 1);
        if (rc < 0) return rc;
        *out |= (uint64_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80)) return CADRE_OK;
    }
    return wrong(r, "is not an ONNX file, or damaged: a number is too long before byte %llu", (unsigned long long)r->at);
}

/* The next field of a message that ends at `end`. */
static int next_field(reader *r, uint64_t end, field *out)
{
    uint64_t start = r->at, tag;
    int rc = read_number(r, end, &tag);
    if (rc < 0) return rc;
    *out = (field){.number = (uint32_t)(tag >> 3), .wire = (uint32_t)(tag & 7)};
    if (tag >> 3 == 0 || tag > UINT32_MAX) out->wire = 7;
    switch (out->wire) {
    case 0: return read_number(r, end, &out->value);
    case 1: out->length = 8; break;
    case 2: rc = read_number(r, end, &out->length); break;
    case 5: out->length = 4; break;
    default: return wrong(r, "is not an ONNX file, or damaged: no field at byte %llu", (unsigned long long)start);
    }
    if (rc < 0) return rc;
    if (out->length <= end - r->at) return CADRE_OK;
    return wrong(r, "is cut short or damaged: what begins at byte %llu has %llu bytes and ends beyond its place", (unsigned long long)start,
                 (unsigned long long)out->length);
}

/* A string, cut at the room. */
static int read_string(reader *r, uint64_t length, char *out, size_t size)
{
    uint64_t end = r->at + length;
    size_t take = length < size - 1 ? (size_t)length : size - 1;
    int rc = read_bytes(r, out, take);
    out[rc < 0 ? 0 : take] = '\0';
    r->at = end;
    return rc;
}

/* ---- inputs and outputs ---- */

static int read_dimension(reader *r, uint64_t end, cadre__onnx_value *value)
{
    int64_t size = -1;
    while (r->at < end) {
        field f;
        int rc = next_field(r, end, &f);
        if (rc < 0) return rc;
        if (f.number == 1 && f.wire == 0) size = (int64_t)f.value;
        r->at += f.length;
    }
    if (value->rank < CADRE__ONNX_RANK_MAX) value->dims[value->rank] = size;
    value->rank++;
    return CADRE_OK;
}

static int read_shape(reader *r, uint64_t end, cadre__onnx_value *value)
{
    value->rank = 0;
    while (r->at < end) {
        field f;
        int rc = next_field(r, end, &f);
        if (rc < 0) return rc;
        uint64_t after = r->at + f.length;
        if (f.number == 1 && f.wire == 2) rc = read_dimension(r, after, value);
        if (rc < 0) return rc;
        r->at = after;
    }
    return CADRE_OK;
}

/* TypeProto (level 0) and its tensor_type (1). */
static int read_type(reader *r, uint64_t end, cadre__onnx_value *value, int level)
{
    while (r->at < end) {
        field f;
        int rc = next_field(r, end, &f);
        if (rc < 0) return rc;
        uint64_t after = r->at + f.length;
        if (level == 0 && f.number == 1 && f.wire == 2)
            rc = read_type(r, after, value, 1);
        else if (level == 1 && f.number == 1 && f.wire == 0)
            value->type = (int32_t)f.value;
        else if (level == 1 && f.number == 2 && f.wire == 2)
            rc = read_shape(r, after, value);
        if (rc < 0) return rc;
        r->at = after;
    }
    return CADRE_OK;
}

static int read_value(reader *r, uint64_t end, cadre__onnx_value *value)
{
    *value = (cadre__onnx_value){.rank = -1};
    while (r->at < end) {
        field f;
        int rc = next_field(r, end, &f);
        if (rc < 0) return rc;
        uint64_t after = r->at + f.length;
        if (f.number == 1 && f.wire == 2) rc = read_string(r, f.length, value->name, sizeof(value->name));
        if (f.number == 2 && f.wire == 2) rc = read_type(r, after, value, 0);
        if (rc < 0) return rc;
        r->at = after;
    }
    return CADRE_OK;
}

static int read_input(reader *r, uint64_t end)
{
    cadre__onnx_signature *s = &r->facts->signature;
    if (s->input_count < CADRE__ONNX_INPUTS_MAX) return read_value(r, end, &s->inputs[s->input_count++]);
    s->more_inputs = true;
    return CADRE_OK;
}

static int read_output(reader *r, uint64_t end)
{
    cadre__onnx_signature *s = &r->facts->signature;
    return s->output_count < CADRE__ONNX_OUTPUTS_MAX ? read_value(r, end, &s->outputs[s->output_count++]) : CADRE_OK;
}

/* ---- tensors ---- */

typedef struct tensor {
    char name[128];
    char location[1024];
    uint64_t offset, length; /* of external data; length 0: to the file's end */
    uint64_t dims[CADRE__ONNX_RANK_MAX];
    uint32_t rank;
    uint64_t elements;
    int32_t type;
    bool external, raw;
    uint64_t raw_bytes;
} tensor;

/* Bytes of an element; 0: another type, or less than one. */
static unsigned element_bytes(int32_t type)
{
    static const unsigned char bytes[] = {0, 4, 1, 1, 2, 2, 4, 8, 0, 1, 2, 8, 4, 8, 8, 16, 2, 1, 1, 1, 1};
    return type > 0 && (size_t)type < sizeof(bytes) ? bytes[type] : 0;
}

static int add_dimension(reader *r, tensor *t, uint64_t size)
{
    if (size > INT64_MAX || __builtin_mul_overflow(t->elements, size, &t->elements))
        return wrong(r, "the tensor \"%.64s\" declares more elements than can be counted", t->name);
    if (t->rank < CADRE__ONNX_RANK_MAX) t->dims[t->rank] = size;
    t->rank++;
    return CADRE_OK;
}

static int read_dims(reader *r, uint64_t end, const field *f, tensor *t)
{
    if (f->wire == 0) return add_dimension(r, t, f->value);
    int rc = CADRE_OK;
    while (f->wire == 2 && r->at < end && rc == CADRE_OK) {
        uint64_t size;
        rc = read_number(r, end, &size);
        if (rc == CADRE_OK) rc = add_dimension(r, t, size);
    }
    return rc;
}

static int read_count(reader *r, const tensor *t, const char *key, const char *text, uint64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 10);
    if (text[0] >= '0' && text[0] <= '9' && !*end && errno == 0) return CADRE_OK;
    return wrong(r, "the tensor \"%.64s\": the %s of its external data is \"%.32s\"", t->name, key, text);
}

static int read_external(reader *r, uint64_t end, tensor *t)
{
    char key[32] = "", value[sizeof(t->location)] = "";
    bool cut = false;
    while (r->at < end) {
        field f;
        int rc = next_field(r, end, &f);
        if (rc < 0) return rc;
        uint64_t after = r->at + f.length;
        if (f.number == 1 && f.wire == 2) rc = read_string(r, f.length, key, sizeof(key));
        if (f.number == 2 && f.wire == 2) {
            cut = f.length >= sizeof(value);
            rc = read_string(r, f.length, value, sizeof(value));
            if (rc == CADRE_OK && strlen(value) != f.length) cut = true;
        }
        if (rc < 0) return rc;
        r->at = after;
    }
    if (strcmp(key, "offset") == 0) return read_count(r, t, key, value, &t->offset);
    if (strcmp(key, "length") == 0) return read_count(r, t, key, value, &t->length);
    if (strcmp(key, "location") != 0) return CADRE_OK;
    if (cut) return wrong(r, "the tensor \"%.64s\": the name of its external data is too long", t->name);
    memcpy(t->location, value, sizeof(value));
    return CADRE_OK;
}

static int look_beside(reader *r, const tensor *t)
{
    char path[PATH_SIZE];
    if (!cadre__onnx_inside(t->location))
        return wrong(r, "the tensor \"%.64s\": its external data \"%.128s\" is not within the model's folder", t->name, t->location);
    if (strcmp(t->location, r->last_location) == 0) return CADRE_OK;
    if (!cadre__onnx_beside(r->path, t->location, path, sizeof(path))) return wrong(r, "the path of its external data is too long");
    char why[CADRE__ONNX_DETAIL];
    int rc = cadre__onnx_file_length(path, &r->last_bytes, why, sizeof(why));
    if (rc < 0) {
        snprintf(r->detail, r->detail_size, "%.200s: its external data: %.260s", r->path, why);
        return rc;
    }
    memcpy(r->last_location, t->location, sizeof(t->location));
    return r->external ? r->external(r->data, path, r->last_bytes) : CADRE_OK;
}

static int check_external(reader *r, const tensor *t, uint64_t needed)
{
    int rc = look_beside(r, t);
    if (rc < 0) return rc;
    uint64_t have = t->offset <= r->last_bytes ? r->last_bytes - t->offset : 0, length = t->length ? t->length : have;
    if (length > have || t->offset > r->last_bytes)
        return wrong(r, "the tensor \"%.64s\" lies beyond the %llu bytes of \"%.128s\"", t->name, (unsigned long long)r->last_bytes, t->location);
    if (needed && (needed > length || (t->length && needed != length)))
        return wrong(r, "the tensor \"%.64s\" has %llu bytes by its shape, and %llu in \"%.128s\"", t->name, (unsigned long long)needed,
                     (unsigned long long)length, t->location);
    if (__builtin_add_overflow(r->facts->external_bytes, length, &r->facts->external_bytes)) r->facts->external_bytes = UINT64_MAX;
    return CADRE_OK;
}

/* What the shapes of weights tell: a matrix' lesser side is the width of a layer, or less (vocabularies are the other side). */
static void note_shape(cadre__onnx_facts *facts, const tensor *t)
{
    uint64_t least = t->rank == 2 ? (t->dims[0] < t->dims[1] ? t->dims[0] : t->dims[1]) : 0;
    if (least > facts->width && least <= 65536) facts->width = (uint32_t)least;
    if (t->rank == 4 && t->dims[1] == 3 && t->dims[2] == t->dims[3] && t->dims[2] > facts->patch && t->dims[2] <= CADRE__ONNX_IMAGE_MAX)
        facts->patch = (uint32_t)t->dims[2];
}

static void note_initializer(cadre__onnx_signature *signature, const char *name)
{
    for (size_t i = 0; i < signature->input_count; i++) {
        if (strcmp(signature->inputs[i].name, name) == 0) signature->inputs[i].initialized = true;
    }
}

static int read_tensor(reader *r, uint64_t end, bool initializer)
{
    tensor t = {.elements = 1};
    while (r->at < end) {
        field f;
        int rc = next_field(r, end, &f);
        if (rc < 0) return rc;
        uint64_t after = r->at + f.length;
        if (f.number == TENSOR_DIMS) rc = read_dims(r, after, &f, &t);
        if (f.number == TENSOR_TYPE && f.wire == 0) t.type = (int32_t)f.value;
        if (f.number == TENSOR_NAME && f.wire == 2) rc = read_string(r, f.length, t.name, sizeof(t.name));
        if (f.number == TENSOR_RAW && f.wire == 2) t.raw = true, t.raw_bytes = f.length;
        if (f.number == TENSOR_EXTERNAL && f.wire == 2) rc = read_external(r, after, &t);
        if (f.number == TENSOR_LOCATION && f.wire == 0) t.external = f.value == 1;
        if (rc < 0) return rc;
        r->at = after;
    }
    uint64_t needed = 0;
    if (__builtin_mul_overflow(t.elements, element_bytes(t.type), &needed))
        return wrong(r, "the tensor \"%.64s\" declares more bytes than can be counted", t.name);
    if (initializer) {
        note_shape(r->facts, &t);
        note_initializer(&r->facts->signature, t.name);
    }
    if (t.external || t.location[0]) return check_external(r, &t, needed);
    if (t.raw && needed && needed != t.raw_bytes)
        return wrong(r, "the tensor \"%.64s\" has %llu bytes by its shape, and %llu in the file", t.name, (unsigned long long)needed,
                     (unsigned long long)t.raw_bytes);
    return CADRE_OK;
}

/* ---- graphs ---- */

static int read_graph(reader *r, uint64_t end, int depth);

static int read_attribute(reader *r, uint64_t end, int depth)
{
    while (r->at < end) {
        field f;
        int rc = next_field(r, end, &f);
        if (rc < 0) return rc;
        uint64_t after = r->at + f.length;
        if (f.wire == 2 && (f.number == ATTRIBUTE_TENSOR || f.number == ATTRIBUTE_TENSORS)) rc = read_tensor(r, after, false);
        if (f.wire == 2 && (f.number == ATTRIBUTE_SPARSE || f.number == ATTRIBUTE_SPARSES)) return wrong(r, "has sparse weights, which are not read here");
        if (f.wire == 2 && (f.number == ATTRIBUTE_GRAPH || f.number == ATTRIBUTE_GRAPHS)) rc = read_graph(r, after, depth + 1);
        if (rc < 0) return rc;
        r->at = after;
    }
    return CADRE_OK;
}

/* A node, or with another number a function: what holds attributes or nodes. */
static int read_node(reader *r, uint64_t end, int depth)
{
    while (r->at < end) {
        field f;
        int rc = next_field(r, end, &f);
        if (rc < 0) return rc;
        uint64_t after = r->at + f.length;
        if (f.number == NODE_ATTRIBUTE && f.wire == 2) rc = read_attribute(r, after, depth);
        if (rc < 0) return rc;
        r->at = after;
    }
    return CADRE_OK;
}

static int read_function(reader *r, uint64_t end)
{
    while (r->at < end) {
        field f;
        int rc = next_field(r, end, &f);
        if (rc < 0) return rc;
        uint64_t after = r->at + f.length;
        if (f.number == FUNCTION_NODE && f.wire == 2) rc = read_node(r, after, 1);
        if (f.number == FUNCTION_ATTRIBUTE && f.wire == 2) rc = read_attribute(r, after, 1); /* with a default */
        if (rc < 0) return rc;
        r->at = after;
    }
    return CADRE_OK;
}

static int read_graph_field(reader *r, const field *f, uint64_t after, int depth)
{
    if (f->wire != 2) return CADRE_OK;
    switch (f->number) {
    case GRAPH_NODE: return read_node(r, after, depth);
    case GRAPH_INITIALIZER: return read_tensor(r, after, depth == 0);
    case GRAPH_INPUT: return depth == 0 ? read_input(r, after) : CADRE_OK;
    case GRAPH_OUTPUT: return depth == 0 ? read_output(r, after) : CADRE_OK;
    case GRAPH_SPARSE: return wrong(r, "has sparse weights, which are not read here");
    default: return CADRE_OK;
    }
}

/* `depth` 0: the model's own graph. Its inputs come first in a second pass, so that its initializers can be told from what is fed. */
static int read_graph(reader *r, uint64_t end, int depth)
{
    uint64_t begin = r->at;
    if (depth > NESTING_MAX) return wrong(r, "has graphs nested deeper than %d", NESTING_MAX);
    for (int pass = depth == 0 ? 0 : 1; pass < 2; pass++) {
        r->at = begin;
        while (r->at < end) {
            field f;
            int rc = next_field(r, end, &f);
            if (rc < 0) return rc;
            uint64_t after = r->at + f.length;
            bool value = f.number == GRAPH_INPUT || f.number == GRAPH_OUTPUT;
            if (depth > 0 || value == (pass == 0)) rc = read_graph_field(r, &f, after, depth);
            if (rc < 0) return rc;
            r->at = after;
        }
    }
    return CADRE_OK;
}

static int read_model(reader *r)
{
    bool version = false, graph = false;
    while (r->at < r->size) {
        field f;
        int rc = next_field(r, r->size, &f);
        if (rc < 0) return rc;
        uint64_t after = r->at + f.length;
        if (f.number == MODEL_IR_VERSION && f.wire == 0) version = true;
        if (f.number == MODEL_GRAPH && f.wire == 2) {
            if (graph) return wrong(r, "has two graphs");
            graph = true;
            rc = read_graph(r, after, 0);
        }
        if (f.number == MODEL_FUNCTIONS && f.wire == 2) rc = read_function(r, after);
        if (rc < 0) return rc;
        r->at = after;
    }
    if (!version || !graph) return wrong(r, "is not an ONNX file: it has no %s", version ? "graph" : "version");
    return CADRE_OK;
}

int cadre__onnx_file_read(const char *path, cadre__onnx_facts *out, cadre__onnx_external_cb external, void *data, char *detail, size_t detail_size)
{
    memset(out, 0, sizeof(*out));
    int rc = cadre__onnx_file_length(path, &out->file_bytes, detail, detail_size);
    if (rc < 0) return rc;
    reader *r = calloc(1, sizeof(*r));
    if (!r) return CADRE_ENOMEM;
    r->path = path;
    r->facts = out;
    r->size = out->file_bytes;
    r->external = external;
    r->data = data;
    r->detail = detail;
    r->detail_size = detail_size;
    r->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    rc = r->fd < 0 ? wrong(r, "cannot be opened") : read_model(r);
    if (r->fd >= 0) close(r->fd);
    free(r);
    return rc;
}
