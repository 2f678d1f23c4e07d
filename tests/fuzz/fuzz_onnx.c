/* ONNX files before the engine sees them. What the reader accepts is read once more, in memory, by a walker of this file's own, which knows where every message
 * ends: each tensor has the bytes of its type and shape, within the file or within one of two files of external data beside it; what the reader says of sizes,
 * inputs and outputs is what is there. Then the plan and the estimates are made of it.
 *
 * The files are memfds at fixed descriptors, so that "/proc/self/fd/" is the model's folder and nothing is left on a disk. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memfd_create */
#endif
#include "fuzz.h"

#include <backend.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER "/proc/self/fd/"
#define MODEL_FD 202
#define NUMBER_BYTES 10

/* ---- the walker ---- */

typedef struct message {
    const uint8_t *at, *end;
} message;

typedef struct field {
    uint64_t number, wire, value;
    message inside; /* of wire type 2 */
} field;

static uint64_t take_number(message *m)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < NUMBER_BYTES; i++) {
        FUZZ_CHECK(m->at < m->end, "a number runs over the end of its message");
        uint64_t byte = *m->at++;
        value |= (byte & 127) << 7 * i;
        if (byte < 128) return value;
    }
    fuzz_fail("a number of more than 10 bytes");
}

static bool take(message *m, field *f)
{
    if (m->at == m->end) return false;
    uint64_t tag = take_number(m), skip = 0;
    *f = (field){.number = tag >> 3, .wire = tag & 7};
    FUZZ_CHECK(f->number > 0 && f->number < 1 << 29, "the field %llu", (unsigned long long)f->number);
    switch (f->wire) {
    case 0: f->value = take_number(m); break;
    case 1: skip = 8; break;
    case 2: skip = take_number(m); break;
    case 5: skip = 4; break;
    default: fuzz_fail("the wire type %llu", (unsigned long long)f->wire);
    }
    FUZZ_CHECK(skip <= (uint64_t)(m->end - m->at), "a field of %llu bytes ends beyond its message", (unsigned long long)skip);
    f->inside = (message){m->at, m->at + skip};
    m->at += skip;
    return true;
}

static bool is(const field *f, uint64_t number, uint64_t wire)
{
    return f->number == number && f->wire == wire;
}

/* As a C string in `room` bytes. */
static void take_text(const field *f, char *out, size_t room)
{
    size_t length = (size_t)(f->inside.end - f->inside.at);
    if (length > room - 1) length = room - 1;
    memcpy(out, f->inside.at, length);
    out[length] = '\0';
}

typedef struct totals {
    uint64_t external;
    unsigned tensors, graphs, inputs, outputs;
} totals;

static unsigned bytes_of(int32_t type)
{
    switch (type) {
    case 2:
    case 3:
    case 9:
    case 17:
    case 18:
    case 19:
    case 20: return 1;
    case 4:
    case 5:
    case 10:
    case 16: return 2;
    case 1:
    case 6:
    case 12: return 4;
    case 7:
    case 11:
    case 13:
    case 14: return 8;
    case 15: return 16;
    default: return 0; /* strings, and less than a byte */
    }
}

static void check_external(const char *location, uint64_t offset, uint64_t length, uint64_t needed, totals *t)
{
    char path[1200];
    struct stat status;
    snprintf(path, sizeof path, FOLDER "%s/", location);
    FUZZ_CHECK(*location && *location != '/' && *location != '*' && !strstr(path, "/../"), "external data at \"%s\"", location);
    path[strlen(path) - 1] = '\0';
    FUZZ_CHECK(stat(path, &status) == 0 && S_ISREG(status.st_mode), "external data at \"%s\", where no file is", location);
    uint64_t size = (uint64_t)status.st_size;
    FUZZ_CHECK(offset <= size, "external data at %llu of %llu", (unsigned long long)offset, (unsigned long long)size);
    if (!length) length = size - offset;
    FUZZ_CHECK(length <= size - offset && needed <= length, "external data of %llu at %llu of %llu bytes, %llu needed", (unsigned long long)length,
               (unsigned long long)offset, (unsigned long long)size, (unsigned long long)needed);
    t->external += length;
}

static void check_tensor(message m, totals *t)
{
    field f, g;
    char key[32], value[1024], location[1024] = "";
    uint64_t elements = 1, offset = 0, length = 0, raw = 0, size;
    bool overflow = false, has_raw = false, external = false;
    int32_t type = 0;
    while (take(&m, &f)) {
        if (is(&f, 1, 0)) overflow |= __builtin_mul_overflow(elements, f.value, &elements);
        if (is(&f, 1, 2))
            for (message dims = f.inside; dims.at < dims.end;) overflow |= __builtin_mul_overflow(elements, take_number(&dims), &elements);
        if (is(&f, 2, 0)) type = (int32_t)f.value;
        if (is(&f, 9, 2)) has_raw = true, raw = (uint64_t)(f.inside.end - f.inside.at);
        if (is(&f, 14, 0)) external = f.value == 1;
        if (!is(&f, 13, 2)) continue;
        for (key[0] = value[0] = '\0'; take(&f.inside, &g);) {
            if (is(&g, 1, 2)) take_text(&g, key, sizeof key);
            if (is(&g, 2, 2)) take_text(&g, value, sizeof value);
        }
        if (!strcmp(key, "location")) strcpy(location, value);
        if (!strcmp(key, "offset")) offset = strtoull(value, NULL, 10);
        if (!strcmp(key, "length")) length = strtoull(value, NULL, 10);
    }
    FUZZ_CHECK(!overflow && !__builtin_mul_overflow(elements, bytes_of(type), &size), "a tensor that cannot be counted");
    t->tensors++;
    if (external || *location)
        check_external(location, offset, length, size, t);
    else if (has_raw && size)
        FUZZ_CHECK(raw == size, "a tensor of %llu bytes in %llu", (unsigned long long)size, (unsigned long long)raw);
}

static void check_value(message m, const cadre__onnx_value *value)
{
    field f, g, h, dimension, d;
    char name[128] = "";
    int32_t type = 0, rank = -1;
    int64_t dims[CADRE__ONNX_RANK_MAX] = {0};
    while (take(&m, &f)) {
        if (is(&f, 1, 2)) take_text(&f, name, sizeof name);
        while (is(&f, 2, 2) && take(&f.inside, &g))
            while (is(&g, 1, 2) && take(&g.inside, &h)) {
                if (is(&h, 1, 0)) type = (int32_t)h.value;
                if (is(&h, 2, 2)) rank = 0;
                while (is(&h, 2, 2) && take(&h.inside, &dimension)) {
                    int64_t free_or_size = -1;
                    if (!is(&dimension, 1, 2)) continue;
                    while (take(&dimension.inside, &d))
                        if (is(&d, 1, 0)) free_or_size = (int64_t)d.value;
                    if (rank < CADRE__ONNX_RANK_MAX) dims[rank] = free_or_size;
                    rank++;
                }
            }
    }
    FUZZ_CHECK(!strcmp(name, value->name) && type == value->type && rank == value->rank, "\"%s\", type %d, rank %d is read as \"%s\", %d, %d", name, (int)type,
               (int)rank, value->name, (int)value->type, (int)value->rank);
    for (int32_t i = 0; i < rank && i < CADRE__ONNX_RANK_MAX; i++) FUZZ_CHECK(dims[i] == value->dims[i], "a dimension of \"%s\"", name);
}

static void check_graph(message m, const cadre__onnx_signature *s, totals *t);

/* Of nodes, and of functions, which have their own numbers for the same. */
static void check_attribute(message m, totals *t)
{
    field f;
    while (take(&m, &f)) {
        if (is(&f, 5, 2) || is(&f, 10, 2)) check_tensor(f.inside, t);
        if (is(&f, 6, 2) || is(&f, 11, 2)) check_graph(f.inside, NULL, t);
        FUZZ_CHECK(!is(&f, 22, 2) && !is(&f, 23, 2), "sparse weights");
    }
}

static void check_node(message m, totals *t)
{
    field f;
    while (take(&m, &f))
        if (is(&f, 5, 2)) check_attribute(f.inside, t);
}

/* `s`: of the model's own graph. */
static void check_graph(message m, const cadre__onnx_signature *s, totals *t)
{
    field f;
    while (take(&m, &f)) {
        if (is(&f, 1, 2)) check_node(f.inside, t);
        if (is(&f, 5, 2)) check_tensor(f.inside, t);
        FUZZ_CHECK(!is(&f, 15, 2), "sparse weights");
        if (s && is(&f, 11, 2) && t->inputs++ < CADRE__ONNX_INPUTS_MAX) check_value(f.inside, &s->inputs[t->inputs - 1]);
        if (s && is(&f, 12, 2) && t->outputs++ < CADRE__ONNX_OUTPUTS_MAX) check_value(f.inside, &s->outputs[t->outputs - 1]);
    }
}

static void check_facts(const uint8_t *data, size_t size, const cadre__onnx_facts *facts)
{
    const cadre__onnx_signature *s = &facts->signature;
    totals t = {0};
    field f, g;
    bool version = false;
    for (message m = {data, data + size}; take(&m, &f);) {
        version |= is(&f, 1, 0);
        if (is(&f, 7, 2)) t.graphs++, check_graph(f.inside, s, &t);
        while (is(&f, 25, 2) && take(&f.inside, &g)) {
            if (is(&g, 7, 2)) check_node(g.inside, &t);
            if (is(&g, 11, 2)) check_attribute(g.inside, &t);
        }
    }
    FUZZ_CHECK(version && t.graphs == 1, "%u graphs are accepted", t.graphs);
    FUZZ_CHECK(facts->file_bytes == size && facts->external_bytes == t.external, "%llu bytes and %llu beside, which are %zu and %llu",
               (unsigned long long)facts->file_bytes, (unsigned long long)facts->external_bytes, size, (unsigned long long)t.external);
    FUZZ_CHECK(s->input_count == (t.inputs < CADRE__ONNX_INPUTS_MAX ? t.inputs : CADRE__ONNX_INPUTS_MAX), "%zu of %u inputs", s->input_count, t.inputs);
    FUZZ_CHECK(s->output_count == (t.outputs < CADRE__ONNX_OUTPUTS_MAX ? t.outputs : CADRE__ONNX_OUTPUTS_MAX), "%zu of %u outputs", s->output_count, t.outputs);
    FUZZ_CHECK(s->more_inputs == (t.inputs > CADRE__ONNX_INPUTS_MAX), "more inputs");
    FUZZ_CHECK(facts->width <= 65536 && facts->patch <= CADRE__ONNX_IMAGE_MAX, "a width of %u, a patch of %u", facts->width, facts->patch);
}

/* ---- what is made of it ---- */

static bool within(int32_t index, size_t count)
{
    return index < 0 || (size_t)index < count;
}

static void check_plan(const cadre__onnx_facts *facts, int capability, const cadre__onnx_options *options, bool certain)
{
    const cadre__onnx_signature *s = &facts->signature;
    cadre__onnx_plan plan;
    cadre__onnx_cost cost;
    char detail[CADRE__ONNX_DETAIL] = "";
    int rc = cadre__onnx_plan_make(s, capability, options, certain, &plan, detail, sizeof detail);
    FUZZ_CHECK(rc == CADRE_OK || ((rc == CADRE_ECAPABILITY || rc == CADRE_EINVAL) && detail[0]), "a plan ends with %s, \"%s\"", cadre_err_name(rc), detail);
    if (rc < 0) return;
    bool text = plan.capability == CADRE_TEXT_EMBEDDING, seen = certain || !s->more_inputs;
    FUZZ_CHECK(capability < 0 || (int)plan.capability == capability, "another capability");
    FUZZ_CHECK(within(plan.ids, s->input_count) && within(plan.mask, s->input_count) && within(plan.types, s->input_count) &&
                   within(plan.pixels, s->input_count) && within(plan.output, s->output_count),
               "an index is beyond the inputs or outputs");
    FUZZ_CHECK(plan.dimension >= 0 && (!certain || plan.output >= 0), "a plan without its output");
    if (seen && text) FUZZ_CHECK(plan.ids >= 0 && plan.mask >= 0, "a plan for text without its inputs");
    if (seen && !text) FUZZ_CHECK(plan.pixels >= 0 && plan.image_size >= 1 && plan.image_size <= CADRE__ONNX_IMAGE_MAX, "a plan for pictures without a size");
    cadre__onnx_cost_guess(facts, &plan, &cost);
    FUZZ_CHECK(cadre__onnx_weights_guess(facts) > facts->file_bytes && cadre__onnx_worker_bytes(&cost, &plan, options) > 0, "an estimate of nothing");
    int32_t pictures = cadre__onnx_pictures(&cost, &plan, options);
    FUZZ_CHECK(pictures >= 1 && pictures <= options->max_batch, "%d pictures at once", (int)pictures);
}

static void check_plans(const cadre__onnx_facts *facts)
{
    static const int capabilities[] = {-1, CADRE_TEXT_EMBEDDING, CADRE_IMAGE_EMBEDDING};
    cadre__onnx_options options = {.max_batch = CADRE__ONNX_BATCH_MAX, .context_length = CADRE__ONNX_CONTEXT_MAX};
    for (size_t i = 0; i < COUNT(capabilities); i++)
        for (int k = 0; k < 4; k++) {
            options.image_size = k & 1 ? 224 : 0;
            check_plan(facts, capabilities[i], &options, k & 2);
        }
}

static int hear_external(void *data, const char *path, uint64_t bytes)
{
    (void)bytes;
    FUZZ_CHECK(strncmp(path, FOLDER, strlen(FOLDER)) == 0, "external data at \"%s\"", path);
    ++*(unsigned *)data;
    return CADRE_OK;
}

static void make_file(int fd, off_t bytes)
{
    int made = memfd_create("fuzz", MFD_CLOEXEC);
    if (made < 0 || dup2(made, fd) < 0 || ftruncate(fd, bytes) != 0) fuzz_fail("no file in memory can be made");
    close(made);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    static cadre__onnx_facts facts;
    char path[64], detail[CADRE__ONNX_DETAIL] = "";
    unsigned external = 0;
    if (!ready) {
        make_file(200, 64);
        make_file(201, 4096);
        make_file(MODEL_FD, 0);
        ready = true;
    }
    if (ftruncate(MODEL_FD, 0) != 0 || (size && pwrite(MODEL_FD, data, size, 0) != (ssize_t)size)) fuzz_fail("the file cannot be written");
    snprintf(path, sizeof path, FOLDER "%d", MODEL_FD);
    int rc = cadre__onnx_file_read(path, &facts, hear_external, &external, detail, sizeof detail);
    FUZZ_CHECK(rc == CADRE_OK || rc == CADRE_ENOMEM || (rc == CADRE_EFORMAT && strncmp(detail, path, strlen(path)) == 0), "the reader ends with %s, \"%s\"",
               cadre_err_name(rc), detail);
    if (rc < 0) return 0;
    check_facts(data, size, &facts);
    check_plans(&facts);
    return 0;
}
