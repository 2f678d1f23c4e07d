/* The header of a safetensors file: eight bytes of length, then a JSON object that says type, shape and place of each tensor. The text is walked once, without
 * a tree: what matters are three members of each object, all else is skipped. */
#include "tensors.h"

#include <cadre/error.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_MAX (UINT64_C(100) << 20) /* of the format's own reader */
#define DEPTH_MAX 16

typedef struct text {
    cadre__source *source;
    const char *at, *end;
} text;

/* One member of the header. */
typedef struct entry {
    char type[16];
    uint64_t shape[8], place[2];
    unsigned dims, places;
    bool typed, shaped;
} entry;

static int bad(text *t, const char *begin, const char *what)
{
    return cadre__tensors_wrong(t->source, "its header is damaged at byte %llu: %s", (unsigned long long)(8 + (uint64_t)(t->at - begin)), what);
}

static void space(text *t)
{
    while (t->at < t->end && (*t->at == ' ' || *t->at == '\n' || *t->at == '\r' || *t->at == '\t')) t->at++;
}

static bool next_is(text *t, char c)
{
    space(t);
    if (t->at >= t->end || *t->at != c) return false;
    t->at++;
    return true;
}

/* Past four digits. */
static bool is_hexadecimal(text *t)
{
    for (int i = 0; i < 4; i++) {
        if (t->at >= t->end || !isxdigit((unsigned char)*t->at)) return false;
        t->at++;
    }
    return true;
}

/* Past a string; *out to its inside, which is as written. */
static bool string(text *t, const char **out, size_t *length)
{
    if (!next_is(t, '"')) return false;
    *out = t->at;
    while (t->at < t->end && *t->at != '"') {
        if ((unsigned char)*t->at < ' ') return false;
        if (*t->at++ != '\\') continue;
        if (t->at >= t->end || !*t->at || !strchr("\"\\/bfnrtu", *t->at)) return false;
        if (*t->at++ == 'u' && !is_hexadecimal(t)) return false;
    }
    if (t->at >= t->end) return false;
    *length = (size_t)(t->at - *out);
    t->at++;
    return true;
}

static bool number(text *t, uint64_t *out)
{
    uint64_t value = 0;
    space(t);
    const char *begin = t->at;
    for (; t->at < t->end && *t->at >= '0' && *t->at <= '9'; t->at++) {
        if (__builtin_mul_overflow(value, (uint64_t)10, &value) || __builtin_add_overflow(value, (uint64_t)(*t->at - '0'), &value)) return false;
    }
    *out = value;
    return t->at > begin && (t->at - begin == 1 || *begin != '0');
}

/* Past a list of at most `most` numbers. */
static bool numbers(text *t, uint64_t *out, unsigned most, unsigned *count)
{
    *count = 0;
    if (!next_is(t, '[')) return false;
    if (next_is(t, ']')) return true;
    do {
        if (*count >= most || !number(t, &out[(*count)++])) return false;
    } while (next_is(t, ','));
    return next_is(t, ']');
}

/* Past a string, a whole number, a list or an object: files have nothing else in their metadata. The engine takes what is no JSON to it for another format, so
 * no more is let through than it reads. */
static bool skip(text *t, unsigned depth)
{
    const char *inside;
    size_t length;
    space(t);
    if (t->at >= t->end || depth > DEPTH_MAX) return false;
    char open = *t->at;
    if (open == '"') return string(t, &inside, &length);
    if (open != '{' && open != '[') {
        uint64_t value;
        return number(t, &value);
    }
    char shut = open == '{' ? '}' : ']';
    t->at++;
    if (next_is(t, shut)) return true;
    do {
        if (open == '{' && (!string(t, &inside, &length) || !next_is(t, ':'))) return false;
        if (!skip(t, depth + 1)) return false;
    } while (next_is(t, ','));
    return next_is(t, shut);
}

static bool is(const char *inside, size_t length, const char *name)
{
    return length == strlen(name) && memcmp(inside, name, length) == 0;
}

static bool member(text *t, entry *out)
{
    const char *inside;
    size_t length;
    if (!string(t, &inside, &length) || !next_is(t, ':')) return false;
    if (is(inside, length, "shape")) {
        out->shaped = true;
        return numbers(t, out->shape, sizeof(out->shape) / sizeof(out->shape[0]), &out->dims);
    }
    if (is(inside, length, "data_offsets")) return numbers(t, out->place, 2, &out->places);
    if (!is(inside, length, "dtype")) return skip(t, 0);
    out->typed = string(t, &inside, &length) && length < sizeof(out->type);
    if (out->typed) memcpy(out->type, inside, length);
    return out->typed;
}

static bool read_entry(text *t, entry *out)
{
    memset(out, 0, sizeof(*out));
    if (!next_is(t, '{')) return false;
    do {
        if (!member(t, out)) return false;
    } while (next_is(t, ','));
    return next_is(t, '}') && out->typed && out->shaped && out->places == 2;
}

/* What the engine makes of a type: it reads 8-bit floats as F16, doubles as F32. `width`: bytes of an element in the file. */
static bool type_of(const char *name, uint32_t *type, uint64_t *width)
{
    static const struct {
        const char *name;
        uint32_t type;
        uint64_t width;
    } types[] = {{"F32", CADRE__F32, 4},     {"F16", CADRE__F16, 2},     {"BF16", CADRE__BF16, 2}, {"F64", CADRE__F32, 8},
                 {"F8_E4M3", CADRE__F16, 1}, {"F8_E5M2", CADRE__F16, 1}, {"I32", 26, 4},           {"I64", 26, 8}};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (strcmp(types[i].name, name) != 0) continue;
        *type = types[i].type;
        *width = types[i].width;
        return true;
    }
    return false;
}

static int add(cadre__source *source, cadre__tensors *out, const char *inside, size_t length, const entry *from, uint64_t base)
{
    uint64_t ne[CADRE__TENSOR_DIMS], width, size = 1, offset;
    uint32_t type;
    if (strcmp(from->type, "U8") == 0) return CADRE_OK; /* the engine leaves them out */
    if (!type_of(from->type, &type, &width))
        return cadre__tensors_wrong(source, "its tensor %.*s has the unknown type %s", (int)(length > 128 ? 128 : length), inside, from->type);
    if (from->dims > CADRE__TENSOR_DIMS)
        return cadre__tensors_wrong(source, "its tensor %.*s has %u dimensions", (int)(length > 128 ? 128 : length), inside, from->dims);
    for (unsigned i = 0; i < from->dims; i++) {
        ne[i] = from->shape[from->dims - 1 - i];
        if (__builtin_mul_overflow(size, ne[i], &size)) size = UINT64_MAX / 8;
    }
    if (from->place[0] > from->place[1] || size > UINT64_MAX / 8 || from->place[1] - from->place[0] != size * width)
        return cadre__tensors_wrong(source, "its tensor %.*s has another length than its shape says", (int)(length > 128 ? 128 : length), inside);
    if (__builtin_add_overflow(base, from->place[0], &offset)) offset = UINT64_MAX;
    char *name = malloc(length + 1);
    if (!name) return CADRE_ENOMEM;
    memcpy(name, inside, length);
    name[length] = '\0';
    int rc = cadre__tensors_add(source, out, name, type, ne, from->dims, offset, size * width);
    if (rc < 0) free(name);
    return rc;
}

static int walk(text *t, uint64_t base, cadre__tensors *out)
{
    const char *begin = t->at, *inside;
    size_t length;
    entry found;
    if (!next_is(t, '{')) return bad(t, begin, "no object");
    if (next_is(t, '}')) return CADRE_OK;
    do {
        if (!string(t, &inside, &length) || !next_is(t, ':')) return bad(t, begin, "no name");
        if (is(inside, length, "__metadata__")) {
            if (!skip(t, 0)) return bad(t, begin, "the metadata");
            continue;
        }
        if (length < 1 || length > CADRE__TENSOR_NAME_MAX || memchr(inside, '\\', length)) return bad(t, begin, "a tensor's name");
        if (!read_entry(t, &found)) return bad(t, begin, "a tensor needs dtype, shape and two data_offsets");
        int rc = add(t->source, out, inside, length, &found, base);
        if (rc < 0) return rc;
    } while (next_is(t, ','));
    if (!next_is(t, '}')) return bad(t, begin, "the object does not end");
    space(t);
    return t->at == t->end ? CADRE_OK : bad(t, begin, "something follows the object");
}

int cadre__safetensors_read(cadre__source *source, cadre__tensors *out)
{
    unsigned char b[8];
    uint64_t length = 0;
    int rc = cadre__source_take(source, b, sizeof(b));
    if (rc < 0) return rc;
    for (unsigned i = 0; i < 8; i++) length |= (uint64_t)b[i] << (8 * i);
    if (length > HEADER_MAX || length > source->size - source->position)
        return cadre__tensors_wrong(source, "is neither a GGUF nor a safetensors file, or it is cut short: its header would have %llu bytes",
                                    (unsigned long long)length);
    char *header = malloc((size_t)length + 1);
    if (!header) return CADRE_ENOMEM;
    rc = cadre__source_take(source, header, length);
    text t = {source, header, header + length};
    if (rc == CADRE_OK) header[length] = '\0';
    if (rc == CADRE_OK && !cadre__utf8_valid(header, (size_t)length)) rc = cadre__tensors_wrong(source, "its header is not UTF-8");
    if (rc == CADRE_OK) rc = walk(&t, 8 + length, out);
    free(header);
    return rc;
}
