/* The header of a GGUF file (versions 2 and 3, little-endian): key-value pairs, of which two matter here, then the tensors. Tensors may lie on each other: the
 * engine reads such files. */
#include "tensors.h"

#include <cadre/error.h>
#include <stdlib.h>
#include <string.h>

#define KEY_MAX 4096
#define PAIRS_MAX 65536

enum { UINT32 = 4, STRING = 8, ARRAY = 9, TYPES = 13 };
static const uint8_t widths[TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

static int take32(cadre__source *source, uint32_t *out)
{
    unsigned char b[4];
    int rc = cadre__source_take(source, b, sizeof(b));
    if (rc == CADRE_OK) *out = (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
    return rc;
}

static int take64(cadre__source *source, uint64_t *out)
{
    uint32_t low = 0, high = 0;
    int rc = take32(source, &low);
    if (rc == CADRE_OK) rc = take32(source, &high);
    if (rc == CADRE_OK) *out = (uint64_t)high << 32 | low;
    return rc;
}

static int skip_string(cadre__source *source)
{
    uint64_t length = 0;
    int rc = take64(source, &length);
    return rc < 0 ? rc : cadre__source_skip(source, length);
}

static int skip_array(cadre__source *source)
{
    uint32_t type = 0;
    uint64_t count = 0;
    int rc = take32(source, &type);
    if (rc == CADRE_OK) rc = take64(source, &count);
    if (rc < 0) return rc;
    if (type >= TYPES || type == ARRAY) return cadre__tensors_wrong(source, "has an array of the unknown type %u", type);
    if (count > source->size) return cadre__tensors_wrong(source, "has an array of %llu values", (unsigned long long)count);
    if (type != STRING) return cadre__source_skip(source, count * widths[type]); /* count ≤ a file's length: no overflow */
    for (uint64_t i = 0; rc == CADRE_OK && i < count; i++) rc = skip_string(source);
    return rc;
}

static int read_architecture(cadre__source *source, cadre__tensors *out)
{
    uint64_t length = 0;
    int rc = take64(source, &length);
    if (rc < 0 || length >= sizeof(out->architecture)) return rc < 0 ? rc : cadre__source_skip(source, length);
    rc = cadre__source_take(source, out->architecture, length);
    out->architecture[rc < 0 ? 0 : length] = '\0';
    for (char *c = out->architecture; *c; c++) {
        if (*c < ' ' || *c > '~') *c = '?';
    }
    return rc;
}

static int read_pair(cadre__source *source, cadre__tensors *out, uint32_t *alignment)
{
    char key[KEY_MAX + 1];
    uint64_t length = 0;
    uint32_t type = 0;
    int rc = take64(source, &length);
    if (rc == CADRE_OK && length > KEY_MAX) return cadre__tensors_wrong(source, "has a key of %llu bytes", (unsigned long long)length);
    if (rc == CADRE_OK) rc = cadre__source_take(source, key, length);
    if (rc == CADRE_OK) rc = take32(source, &type);
    if (rc < 0) return rc;
    key[length] = '\0';
    if (type >= TYPES) return cadre__tensors_wrong(source, "has a value of the unknown type %u", type);
    if (strcmp(key, "general.architecture") == 0 && type == STRING) return read_architecture(source, out);
    if (strcmp(key, "general.alignment") == 0) {
        if (type != UINT32) return cadre__tensors_wrong(source, "states its alignment as another type than u32");
        rc = take32(source, alignment);
        if (rc == CADRE_OK && (*alignment < 1 || *alignment > 1u << 20 || (*alignment & (*alignment - 1)) != 0))
            return cadre__tensors_wrong(source, "states the alignment %u, which is no power of two", *alignment);
        return rc;
    }
    if (type == STRING) return skip_string(source);
    return type == ARRAY ? skip_array(source) : cadre__source_skip(source, widths[type]);
}

typedef struct info {
    char *name;
    uint32_t type, dims;
    uint64_t ne[CADRE__TENSOR_DIMS], offset;
} info;

static int read_info(cadre__source *source, info *out)
{
    uint64_t length = 0;
    int rc = take64(source, &length);
    if (rc < 0) return rc;
    if (length < 1 || length > CADRE__TENSOR_NAME_MAX) return cadre__tensors_wrong(source, "has a tensor name of %llu bytes", (unsigned long long)length);
    out->name = malloc((size_t)length + 1);
    if (!out->name) return CADRE_ENOMEM;
    rc = cadre__source_take(source, out->name, length);
    if (rc < 0) return rc;
    out->name[length] = '\0';
    if (strlen(out->name) != length) return cadre__tensors_wrong(source, "has a tensor name with a NUL in it");
    rc = take32(source, &out->dims);
    if (rc < 0) return rc;
    if (out->dims > CADRE__TENSOR_DIMS) return cadre__tensors_wrong(source, "its tensor %.128s has %u dimensions", out->name, out->dims);
    for (uint32_t i = 0; rc == CADRE_OK && i < out->dims; i++) rc = take64(source, &out->ne[i]);
    if (rc == CADRE_OK) rc = take32(source, &out->type);
    return rc < 0 ? rc : take64(source, &out->offset);
}

static int add_all(cadre__source *source, info *infos, uint64_t count, uint32_t alignment, cadre__tensors *out)
{
    uint64_t base = (source->position + alignment - 1) / alignment * alignment;
    for (uint64_t i = 0; i < count; i++) {
        info *from = &infos[i];
        uint64_t offset;
        if (__builtin_add_overflow(base, from->offset, &offset) || from->offset % alignment != 0)
            return cadre__tensors_wrong(source, "its tensor %.128s has the impossible offset %llu", from->name, (unsigned long long)from->offset);
        int rc = cadre__tensors_add(source, out, from->name, from->type, from->ne, from->dims, offset, 0);
        if (rc < 0) return rc;
        from->name = NULL;
    }
    return CADRE_OK;
}

int cadre__gguf_read(cadre__source *source, cadre__tensors *out)
{
    uint32_t magic = 0, version = 0, alignment = 32;
    uint64_t count = 0, pairs = 0;
    int rc = take32(source, &magic);
    if (rc == CADRE_OK) rc = take32(source, &version);
    if (rc == CADRE_OK) rc = take64(source, &count);
    if (rc == CADRE_OK) rc = take64(source, &pairs);
    if (rc < 0) return rc;
    if (version != 2 && version != 3) return cadre__tensors_wrong(source, "is GGUF of version %u; 2 and 3 are known", version);
    if (count > CADRE__TENSORS_MAX) return cadre__tensors_wrong(source, "has more than %d tensors", CADRE__TENSORS_MAX);
    if (pairs > PAIRS_MAX) return cadre__tensors_wrong(source, "has more than %d keys", PAIRS_MAX);
    for (uint64_t i = 0; rc == CADRE_OK && i < pairs; i++) rc = read_pair(source, out, &alignment);
    if (rc < 0) return rc;
    info *infos = calloc((size_t)count + 1, sizeof(*infos));
    if (!infos) return CADRE_ENOMEM;
    for (uint64_t i = 0; rc == CADRE_OK && i < count; i++) rc = read_info(source, &infos[i]);
    if (rc == CADRE_OK) rc = add_all(source, infos, count, alignment, out);
    for (uint64_t i = 0; i < count; i++) free(infos[i].name);
    free(infos);
    return rc;
}
