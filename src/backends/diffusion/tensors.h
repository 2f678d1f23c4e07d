/* What a file of tensors says about itself: names, types, shapes and places, of a GGUF or a safetensors file. */
#ifndef CADRE_DIFFUSION_TENSORS_H
#define CADRE_DIFFUSION_TENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CADRE__TENSOR_DIMS 4
#define CADRE__TENSORS_MAX 65536
#define CADRE__TENSOR_NAME_MAX 255

/* Types, as ggml numbers them; safetensors' own are given the one that the engine makes of them. */
enum {
    CADRE__F32 = 0,
    CADRE__F16 = 1,
    CADRE__BF16 = 30,
};

typedef struct cadre__tensor {
    const char *name;
    uint32_t type;
    bool weight_type;                /* what a matrix may be of: floating point or a quantised form, not integers */
    uint64_t ne[CADRE__TENSOR_DIMS]; /* the fastest dimension first; 1 beyond the last */
    uint64_t elements;               /* ≤ INT32_MAX */
    uint64_t bytes;                  /* in the type that the engine makes of it */
} cadre__tensor;

typedef struct cadre__tensors {
    cadre__tensor *at;
    size_t count;
    size_t capacity;
    char **names;          /* owned */
    char architecture[64]; /* GGUF's general.architecture; "" */
} cadre__tensors;

/* Reads the header of an open file that is `size` bytes long, and checks that every tensor lies within it. Only the header is read. 0; CADRE_EFORMAT with a
 * reason; CADRE_ENOMEM. On failure nothing is left to clear. */
int cadre__tensors_read(FILE *file, uint64_t size, cadre__tensors *out, char *reason, size_t reason_size);
void cadre__tensors_clear(cadre__tensors *tensors);

/* The bytes of so many elements of a ggml type, rows being `row` long; 0: no such type, or a row is not made of whole blocks. */
uint64_t cadre__tensor_bytes(uint32_t type, uint64_t row, uint64_t elements);

bool cadre__utf8_valid(const char *text, size_t length);

/* ---- between tensors.c and its two formats ---- */

typedef struct cadre__source {
    FILE *file;
    uint64_t size;
    uint64_t position;
    char *reason;
    size_t reason_size;
} cadre__source;

int cadre__tensors_wrong(cadre__source *source, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* 0, or CADRE_EFORMAT: the file ends before. */
int cadre__source_take(cadre__source *source, void *out, uint64_t length);
int cadre__source_skip(cadre__source *source, uint64_t length);
/* Checks the shape, and takes over `name` on success. `stored` bytes lie at `offset` of the file; GGUF leaves 0: what the type says. */
int cadre__tensors_add(cadre__source *source, cadre__tensors *tensors, char *name, uint32_t type, const uint64_t *ne, unsigned dims, uint64_t offset,
                       uint64_t stored);
int cadre__gguf_read(cadre__source *source, cadre__tensors *out);
int cadre__safetensors_read(cadre__source *source, cadre__tensors *out);

#endif
