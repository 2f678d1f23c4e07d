/* The floor of the image and shared cases: ONNX Runtime called directly, on the calling thread, with its own ways of taking memory and making threads. */
#ifndef CADRE_BENCH_BARE_ONNX_H
#define CADRE_BENCH_BARE_ONNX_H

#include <stddef.h>
#include <stdint.h>

typedef struct bare_onnx bare_onnx;

/* `spinning`: the engine's threads look for work for a while before they sleep, which is its default. Ends the program on an error, as all of these do. */
bare_onnx *bare_onnx_open(const char *path, int threads, int spinning);
void bare_onnx_close(bare_onnx *b);
/* What the file says of its first input's last dimension: the side of a picture. */
int64_t bare_onnx_side(const bare_onnx *b);
size_t bare_onnx_dimension(const bare_onnx *b);

/* One run: count × 3 × side × side floats in; out takes count × dimension floats. */
void bare_onnx_images(bare_onnx *b, float *pixels, size_t count, float *out);
/* One run of rows × tokens ids, all of them counted; what comes out is not looked at. Several threads may call it at once. */
void bare_onnx_texts(bare_onnx *b, int64_t *ids, size_t rows, size_t tokens);

#endif
