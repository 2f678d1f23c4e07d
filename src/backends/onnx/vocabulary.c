/* WordPiece's vocabulary: one piece a line, its number being the line's. A table with open addressing over the file's own bytes. */
#include "backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX (UINT64_C(64) << 20)
#define NONE UINT32_MAX

typedef struct piece {
    uint32_t at, length; /* in the text, without "##" */
    bool inside;
} piece;

struct cadre__onnx_vocabulary {
    char *text;
    piece *pieces;
    uint32_t *slots;
    uint32_t count, mask;
    size_t longest, bytes;
    cadre__onnx_specials specials;
};

/* FNV-1a. */
static uint32_t hash(const char *text, size_t length, bool inside)
{
    uint32_t value = inside ? 2166136261u ^ 0x5bd1e995u : 2166136261u;
    for (size_t i = 0; i < length; i++) value = (value ^ (unsigned char)text[i]) * 16777619u;
    return value ^ value >> 15;
}

/* Where the piece is, or where it would be. */
static uint32_t slot_of(const cadre__onnx_vocabulary *v, const char *text, size_t length, bool inside)
{
    uint32_t slot = hash(text, length, inside) & v->mask;
    while (v->slots[slot] != NONE) {
        const piece *p = &v->pieces[v->slots[slot]];
        if (p->inside == inside && p->length == length && memcmp(v->text + p->at, text, length) == 0) break;
        slot = (slot + 1) & v->mask;
    }
    return slot;
}

int32_t cadre__onnx_vocabulary_find(const cadre__onnx_vocabulary *v, const char *text, size_t length, bool inside)
{
    if (length == 0 || length > v->longest) return -1;
    uint32_t at = v->slots[slot_of(v, text, length, inside)];
    return at == NONE ? -1 : (int32_t)at;
}

static int read_all(const char *path, cadre__onnx_vocabulary *v, size_t *size, char *detail, size_t detail_size)
{
    uint64_t bytes;
    int rc = cadre__onnx_file_length(path, &bytes, detail, detail_size);
    if (rc < 0) return rc;
    if (bytes > FILE_MAX) {
        snprintf(detail, detail_size, "%s: has %llu bytes, more than any vocabulary", path, (unsigned long long)bytes);
        return CADRE_EFORMAT;
    }
    v->text = malloc((size_t)bytes + 1);
    if (!v->text) return CADRE_ENOMEM;
    FILE *file = fopen(path, "rb");
    *size = file ? fread(v->text, 1, (size_t)bytes, file) : 0;
    bool whole = file && *size == bytes;
    if (file) fclose(file);
    if (whole) return CADRE_OK;
    snprintf(detail, detail_size, "%s: cannot be read", path);
    return CADRE_EFORMAT;
}

/* A line may end with CR LF. Of two that are alike the later one counts, as in the reference. */
static void add_line(cadre__onnx_vocabulary *v, size_t at, size_t end)
{
    if (end > at && v->text[end - 1] == '\r') end--;
    bool inside = end - at > 2 && v->text[at] == '#' && v->text[at + 1] == '#';
    if (inside) at += 2;
    piece *p = &v->pieces[v->count];
    *p = (piece){(uint32_t)at, (uint32_t)(end - at), inside};
    if (p->length > v->longest) v->longest = p->length;
    if (p->length > 0) v->slots[slot_of(v, v->text + at, p->length, inside)] = v->count;
    v->count++;
}

static int index_lines(cadre__onnx_vocabulary *v, size_t size)
{
    size_t lines = size > 0 && v->text[size - 1] != '\n' ? 1 : 0, slots = 16;
    for (size_t i = 0; i < size; i++) lines += v->text[i] == '\n';
    while (slots < 2 * lines) slots *= 2;
    v->mask = (uint32_t)slots - 1;
    v->pieces = malloc((lines + 1) * sizeof(*v->pieces));
    v->slots = malloc(slots * sizeof(*v->slots));
    if (!v->pieces || !v->slots) return CADRE_ENOMEM;
    memset(v->slots, 0xFF, slots * sizeof(*v->slots));
    v->bytes = sizeof(*v) + size + (lines + 1) * sizeof(*v->pieces) + slots * sizeof(*v->slots);
    for (size_t at = 0; at < size;) {
        const char *newline = memchr(v->text + at, '\n', size - at);
        size_t end = newline ? (size_t)(newline - v->text) : size;
        add_line(v, at, end);
        at = end + 1;
    }
    return CADRE_OK;
}

static int find_specials(const char *path, cadre__onnx_vocabulary *v, char *detail, size_t detail_size)
{
    static const char *const names[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]"};
    int32_t *to[] = {&v->specials.pad, &v->specials.unknown, &v->specials.first, &v->specials.last};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        *to[i] = cadre__onnx_vocabulary_find(v, names[i], strlen(names[i]), false);
        if (*to[i] >= 0) continue;
        snprintf(detail, detail_size, "%s: is not a WordPiece vocabulary: none of its %u lines is %s", path, v->count, names[i]);
        return CADRE_EFORMAT;
    }
    return CADRE_OK;
}

int cadre__onnx_vocabulary_read(const char *path, cadre__onnx_vocabulary **out, char *detail, size_t detail_size)
{
    size_t size = 0;
    cadre__onnx_vocabulary *v = calloc(1, sizeof(*v));
    if (!v) return CADRE_ENOMEM;
    int rc = read_all(path, v, &size, detail, detail_size);
    if (rc == CADRE_OK) rc = index_lines(v, size);
    if (rc == CADRE_OK) rc = find_specials(path, v, detail, detail_size);
    if (rc == CADRE_OK)
        *out = v;
    else
        cadre__onnx_vocabulary_destroy(v);
    return rc;
}

void cadre__onnx_vocabulary_destroy(cadre__onnx_vocabulary *v)
{
    if (!v) return;
    free(v->text);
    free(v->pieces);
    free(v->slots);
    free(v);
}

size_t cadre__onnx_vocabulary_bytes(const cadre__onnx_vocabulary *v)
{
    return v->bytes;
}

int32_t cadre__onnx_vocabulary_size(const cadre__onnx_vocabulary *v)
{
    return (int32_t)v->count;
}

size_t cadre__onnx_vocabulary_longest(const cadre__onnx_vocabulary *v)
{
    return v->longest;
}

const cadre__onnx_specials *cadre__onnx_vocabulary_specials(const cadre__onnx_vocabulary *v)
{
    return &v->specials;
}
