/* The part that GGUF and safetensors have in common, and which of them a file is. */
#include "tensors.h"

#include <cadre/error.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ggml's types: elements and bytes of a block. Numbers that are not here were given up, or are not what a file may hold. */
typedef struct layout {
    uint16_t elements, bytes;
    bool weight;
} layout;

static const layout layouts[] = {
    [0] = {1, 4, true},     [1] = {1, 2, true},      [2] = {32, 18, true},    [3] = {32, 20, true},    [6] = {32, 22, true},    [7] = {32, 24, true},
    [8] = {32, 34, true},   [10] = {256, 84, true},  [11] = {256, 110, true}, [12] = {256, 144, true}, [13] = {256, 176, true}, [14] = {256, 210, true},
    [16] = {256, 66, true}, [17] = {256, 74, true},  [18] = {256, 98, true},  [19] = {256, 50, true},  [20] = {32, 18, true},   [21] = {256, 110, true},
    [22] = {256, 82, true}, [23] = {256, 136, true}, [24] = {1, 1, false},    [25] = {1, 2, false},    [26] = {1, 4, false},    [27] = {1, 8, false},
    [28] = {1, 8, false},   [29] = {256, 56, true},  [30] = {1, 2, true},     [34] = {256, 54, true},  [35] = {256, 66, true},  [39] = {32, 17, true},
};

static const layout *layout_of(uint32_t type)
{
    return type < sizeof(layouts) / sizeof(layouts[0]) && layouts[type].elements ? &layouts[type] : NULL;
}

uint64_t cadre__tensor_bytes(uint32_t type, uint64_t row, uint64_t elements)
{
    const layout *of = layout_of(type);
    if (!of || row % of->elements != 0) return 0;
    return elements / of->elements * of->bytes;
}

int cadre__tensors_wrong(cadre__source *source, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(source->reason, source->reason_size, format, arguments);
    va_end(arguments);
    return CADRE_EFORMAT;
}

static int cut_short(cadre__source *source)
{
    return cadre__tensors_wrong(source, "is cut short: its header goes beyond its %llu bytes", (unsigned long long)source->size);
}

int cadre__source_take(cadre__source *source, void *out, uint64_t length)
{
    if (length > source->size - source->position || fread(out, 1, (size_t)length, source->file) != length) return cut_short(source);
    source->position += length;
    return CADRE_OK;
}

int cadre__source_skip(cadre__source *source, uint64_t length)
{
    if (length > source->size - source->position || fseeko(source->file, (off_t)(source->position + length), SEEK_SET) != 0) return cut_short(source);
    source->position += length;
    return CADRE_OK;
}

static int grow(cadre__tensors *tensors)
{
    if (tensors->count < tensors->capacity) return CADRE_OK;
    size_t capacity = tensors->capacity ? tensors->capacity * 2 : 256;
    cadre__tensor *at = realloc(tensors->at, capacity * sizeof(*at));
    if (!at) return CADRE_ENOMEM;
    tensors->at = at;
    char **names = realloc(tensors->names, capacity * sizeof(*names));
    if (!names) return CADRE_ENOMEM;
    tensors->names = names;
    tensors->capacity = capacity;
    return CADRE_OK;
}

int cadre__tensors_add(cadre__source *source, cadre__tensors *tensors, char *name, uint32_t type, const uint64_t *ne, unsigned dims, uint64_t offset,
                       uint64_t stored)
{
    cadre__tensor tensor = {.name = name, .type = type, .ne = {1, 1, 1, 1}, .elements = 1};
    const layout *of = layout_of(type);
    uint64_t end;
    for (const char *c = name; *c; c++) {
        if (*c <= ' ' || *c > '~') return cadre__tensors_wrong(source, "its tensor %zu has an impossible name", tensors->count);
    }
    if (!of) return cadre__tensors_wrong(source, "its tensor %.128s has the unknown type %u", name, type);
    if (dims > CADRE__TENSOR_DIMS) return cadre__tensors_wrong(source, "its tensor %.128s has %u dimensions", name, dims);
    for (unsigned i = 0; i < dims; i++) {
        tensor.ne[i] = ne[i];
        if (ne[i] < 1 || __builtin_mul_overflow(tensor.elements, ne[i], &tensor.elements) || tensor.elements > INT32_MAX)
            return cadre__tensors_wrong(source, "its tensor %.128s has an impossible shape", name);
    }
    tensor.bytes = cadre__tensor_bytes(type, tensor.ne[0], tensor.elements);
    if (tensor.bytes == 0) return cadre__tensors_wrong(source, "its tensor %.128s has rows that are not whole blocks of its type", name);
    if (__builtin_add_overflow(offset, stored ? stored : tensor.bytes, &end) || end > source->size)
        return cadre__tensors_wrong(source, "is cut short: its tensor %.128s lies beyond its %llu bytes", name, (unsigned long long)source->size);
    if (tensors->count >= CADRE__TENSORS_MAX) return cadre__tensors_wrong(source, "has more than %d tensors", CADRE__TENSORS_MAX);
    if (grow(tensors) < 0) return CADRE_ENOMEM;
    tensor.weight_type = of->weight;
    tensors->names[tensors->count] = name;
    tensors->at[tensors->count++] = tensor;
    return CADRE_OK;
}

int cadre__tensors_read(FILE *file, uint64_t size, cadre__tensors *out, char *reason, size_t reason_size)
{
    cadre__source source = {.file = file, .size = size, .reason = reason, .reason_size = reason_size};
    unsigned char magic[9];
    memset(out, 0, sizeof(*out));
    reason[0] = '\0';
    if (size < sizeof(magic) || cadre__source_take(&source, magic, sizeof(magic)) < 0)
        return cadre__tensors_wrong(&source, "is neither a GGUF nor a safetensors file");
    rewind(file);
    source.position = 0;
    int rc;
    if (memcmp(magic, "GGUF", 4) == 0)
        rc = cadre__gguf_read(&source, out);
    else if (magic[8] == '{')
        rc = cadre__safetensors_read(&source, out);
    else
        rc = cadre__tensors_wrong(&source, "is neither a GGUF nor a safetensors file");
    if (rc == CADRE_OK && out->count == 0) rc = cadre__tensors_wrong(&source, "has no tensors");
    if (rc < 0) cadre__tensors_clear(out);
    return rc;
}

void cadre__tensors_clear(cadre__tensors *tensors)
{
    for (size_t i = 0; i < tensors->count; i++) free(tensors->names[i]);
    free(tensors->names);
    free(tensors->at);
    memset(tensors, 0, sizeof(*tensors));
}

bool cadre__utf8_valid(const char *text, size_t length)
{
    const unsigned char *at = (const unsigned char *)text, *end = at + length;
    while (at < end) {
        unsigned first = *at++, more = first < 0x80 ? 0 : first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
        uint32_t code = more == 0 ? first : first & (0x3Fu >> more);
        if ((first >= 0x80 && first < 0xC2) || first > 0xF4 || more > (size_t)(end - at)) return false;
        for (unsigned i = 0; i < more; i++) {
            if ((*at & 0xC0) != 0x80) return false;
            code = code << 6 | (*at++ & 0x3Fu);
        }
        if ((more == 2 && (code < 0x800 || (code >= 0xD800 && code <= 0xDFFF))) || (more == 3 && (code < 0x10000 || code > 0x10FFFF))) return false;
    }
    return true;
}
