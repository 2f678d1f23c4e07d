/* CLIP's preprocessing: pixels in, the model's input tensor out. */
#ifndef CADRE_ONNX_PREPROCESS_H
#define CADRE_ONNX_PREPROCESS_H

#include <cadre/image.h>

/* The longest shorter side that is taken; beyond it 32 bits would not hold the sums of a filter for small `size`. */
#define CADRE__ONNX_SHORT_SIDE_MAX 1048576u

/* Any thread. As transformers' CLIPImageProcessor does it: the shorter side to `size` by Pillow's bicubic filter with antialiasing, the middle size × size,
 * then (v / 255 − mean) / deviation. out: 3 × size × size floats, channel by channel, row-major.
 *
 * Needs, beside `out`, 12 × size² + 128 × (shorter side + size) bytes or less.
 * CADRE_EINVAL: `size` is 0, no pixels, a stride below 3 × width, or a shorter side above CADRE__ONNX_SHORT_SIDE_MAX; CADRE_ENOMEM. */
int cadre__onnx_preprocess(const cadre_image *image, uint32_t size, const float mean[3], const float deviation[3], float *out);

#endif
