/* The filter is Keys' cubic convolution (a = −1/2, as in Pillow), widened by the scale when the picture shrinks. Pillow does it in two passes of integers,
 * first along the rows and then along the columns, each rounded to 8 bits; the same sums are made here, so that the results are equal bit for bit:
 *
 *     weight      round(2²² × w), w being the cubic at a pixel's distance from the centre, divided by the sum over the pixels within the picture
 *     pixel       clamp((Σ weight × pixel + 2²¹) >> 22)
 *
 * The rows always come first, as in Pillow up to 12.1, with which the vectors of the published models were made. Pillow 12.2 begins with the columns where the
 * height is more than 100 times the width, Pillow 13 where the height shrinks by more than twice as many pixels as the width; that changes values of the result
 * by a few steps of 1/255 (on noise of black and white, up to 23).
 *
 * Only the pixels of the crop are computed. A row is filtered along x as it is read and added, weighted, to the rows of the result that it is part of, so
 * the picture between the passes is never held: whatever the picture's shape, memory is that of the result and of a few rows.
 *
 * Along x the weights, of at most 23 bits and a sign, are split into two halves of 16 bits, and the channels lie apart: sums of products of 16 bits are what
 * compilers turn into the processor's instructions for just that. */
#include "preprocess.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#define BITS 22
#define HALF_BITS 11
#define LANES 8     /* weights of a row are padded with 0 to a multiple */
#define BLOCK 4096  /* 255 × 2¹¹ × 4096 < 2³¹ */
#define SUPPORT 2.0 /* the cubic is 0 from there on */

/* One axis of the picture: which pixels make up each of the `count` results, and with which weights. */
typedef struct axis {
    uint32_t count, taps;   /* taps: weights of each result, those that it does not have being 0 */
    uint32_t *first, *used; /* `count` each */
    int32_t *weights;       /* count × taps */
} axis;

static double cubic(double x)
{
    x = fabs(x);
    if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
    if (x < 2) return (((x - 5) * x + 8) * x - 4) * -0.5;
    return 0;
}

static void axis_free(axis *a)
{
    free(a->first);
    free(a->used);
    free(a->weights);
}

static bool axis_allocate(axis *a, uint32_t count, double support, double **scratch)
{
    size_t taps = ((size_t)ceil(support) * 2 + 1 + LANES - 1) / LANES * LANES; /* the shorter side is limited: it fits */
    *a = (axis){.count = count, .taps = (uint32_t)taps};
    if (taps > SIZE_MAX / sizeof(double) / count) return false;
    a->first = malloc(count * sizeof *a->first);
    a->used = malloc(count * sizeof *a->used);
    a->weights = calloc(taps * count, sizeof *a->weights);
    *scratch = malloc(taps * sizeof **scratch);
    return a->first && a->used && a->weights && *scratch;
}

/* From `from` pixels to `to`, of which those from `begin` on are wanted. */
static bool axis_make(axis *a, uint32_t from, uint64_t to, uint64_t begin, uint32_t count)
{
    double scale = (double)from / (double)to, widened = scale < 1 ? 1 : scale, support = SUPPORT * widened, *w = NULL;
    bool made = axis_allocate(a, count, support, &w);
    for (uint32_t i = 0; made && i < count; i++) {
        double centre = ((double)(begin + i) + 0.5) * scale, sum = 0;
        int64_t low = (int64_t)(centre - support + 0.5), high = (int64_t)(centre + support + 0.5);
        if (low < 0) low = 0;
        if (high > from) high = from;
        uint32_t used = (uint32_t)(high - low);
        for (uint32_t k = 0; k < used; k++) sum += w[k] = cubic(((double)(k + low) - centre + 0.5) * (1 / widened));
        for (uint32_t k = 0; k < used; k++) {
            double v = (sum != 0 ? w[k] / sum : w[k]) * (1 << BITS);
            a->weights[(size_t)i * a->taps + k] = (int32_t)(v < 0 ? v - 0.5 : v + 0.5);
        }
        a->first[i] = (uint32_t)low;
        a->used[i] = used;
    }
    free(w);
    return made;
}

/* The rows' pass. */
typedef struct row_filter {
    axis x;
    int16_t *high, *low;  /* the weights' halves, as in x.weights: weight = high × 2¹¹ + low */
    uint32_t begin, span; /* the columns that are read */
    int16_t *channels[3]; /* of one row: span, then LANES × 0 and more */
    uint8_t *result;      /* of one row: x.count × 3 */
} row_filter;

static void row_filter_free(row_filter *f)
{
    axis_free(&f->x);
    free(f->high);
    free(f->low);
    free(f->channels[0]);
    free(f->result);
}

static bool row_filter_make(row_filter *f, uint32_t width, uint64_t to, uint64_t begin, uint32_t count)
{
    if (!axis_make(&f->x, width, to, begin, count)) return false;
    size_t weights = (size_t)count * f->x.taps;
    f->begin = f->x.first[0];
    f->span = f->x.first[count - 1] + f->x.used[count - 1] - f->begin;
    size_t line = (size_t)f->span + f->x.taps; /* the padding of the last one's weights reads so far */
    f->high = malloc(weights * sizeof *f->high);
    f->low = malloc(weights * sizeof *f->low);
    f->channels[0] = calloc(line, 3 * sizeof *f->channels[0]);
    f->result = malloc((size_t)count * 3);
    if (!f->high || !f->low || !f->channels[0] || !f->result) return false;
    f->channels[1] = f->channels[0] + line;
    f->channels[2] = f->channels[1] + line;
    for (size_t i = 0; i < weights; i++) {
        int32_t weight = f->x.weights[i];
        f->low[i] = (int16_t)(weight & ((1 << HALF_BITS) - 1));
        f->high[i] = (int16_t)((weight - f->low[i]) / (1 << HALF_BITS));
    }
    return true;
}

static uint8_t to_byte(int64_t sum)
{
    sum >>= BITS;
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

static int32_t dot(const int16_t *a, const int16_t *b, uint32_t count)
{
    int32_t sum = 0;
    for (uint32_t i = 0; i < count; i++) sum += a[i] * b[i];
    return sum;
}

static void filter_row(const row_filter *f, const uint8_t *pixels)
{
    int16_t *red = f->channels[0], *green = f->channels[1], *blue = f->channels[2];
    const uint8_t *from = pixels + (size_t)f->begin * 3;
    for (uint32_t x = 0; x < f->span; x++) {
        red[x] = from[(size_t)x * 3];
        green[x] = from[(size_t)x * 3 + 1];
        blue[x] = from[(size_t)x * 3 + 2];
    }
    for (uint32_t i = 0; i < f->x.count; i++) {
        size_t weights = (size_t)i * f->x.taps;
        uint32_t taps = (f->x.used[i] + LANES - 1) / LANES * LANES;
        for (int c = 0; c < 3; c++) {
            const int16_t *values = f->channels[c] + (f->x.first[i] - f->begin);
            int64_t sum = 1 << (BITS - 1);
            for (uint32_t k = 0; k < taps; k += BLOCK) {
                uint32_t n = taps - k < BLOCK ? taps - k : BLOCK;
                sum += (int64_t)dot(values + k, f->high + weights + k, n) * (1 << HALF_BITS) + dot(values + k, f->low + weights + k, n);
            }
            f->result[(size_t)i * 3 + (size_t)c] = to_byte(sum);
        }
    }
}

static void add_row(int32_t *to, const uint8_t *row, int32_t weight, size_t count)
{
    for (size_t i = 0; i < count; i++) to[i] += row[i] * weight;
}

/* Row by row of the source; sums: the columns' pass, y.count rows of 3 × size. Rows of the result begin and end in order. */
static void filter_rows(const row_filter *f, const axis *y, const cadre_image *image, int32_t *sums)
{
    size_t line = (size_t)f->x.count * 3;
    uint32_t done = 0; /* results whose last row has been read */
    uint32_t last = y->first[y->count - 1] + y->used[y->count - 1];
    for (size_t i = 0; i < line * y->count; i++) sums[i] = 1 << (BITS - 1);
    for (uint32_t r = y->first[0]; r < last; r++) {
        filter_row(f, image->pixels + r * image->stride);
        while (done < y->count && y->first[done] + y->used[done] <= r) done++;
        for (uint32_t j = done; j < y->count && y->first[j] <= r; j++)
            add_row(sums + j * line, f->result, y->weights[(size_t)j * y->taps + (r - y->first[j])], line);
    }
}

/* As numpy does it there: the pixel, times 1/255 as a double, rounded to a float; the rest in floats. */
static void normalise(const int32_t *sums, uint32_t size, const float mean[3], const float deviation[3], float *out)
{
    float values[3][256];
    size_t plane = (size_t)size * size;
    for (int c = 0; c < 3; c++)
        for (int v = 0; v < 256; v++) values[c][v] = ((float)(v * (1 / 255.0)) - mean[c]) / deviation[c];
    for (size_t i = 0; i < plane; i++)
        for (size_t c = 0; c < 3; c++) out[c * plane + i] = values[c][to_byte(sums[i * 3 + c])];
}

int cadre__onnx_preprocess(const cadre_image *image, uint32_t size, const float mean[3], const float deviation[3], float *out)
{
    if (!size || !image->pixels || !image->width || !image->height || image->stride / 3 < image->width) return CADRE_EINVAL;
    uint64_t width = image->width, height = image->height, shorter = width < height ? width : height;
    if (shorter > CADRE__ONNX_SHORT_SIDE_MAX) return CADRE_EINVAL;
    uint64_t to_width = size * width / shorter, to_height = size * height / shorter; /* rounded down, as there */
    if (size > SIZE_MAX / size || (size_t)size * size > SIZE_MAX / (3 * sizeof(int32_t))) return CADRE_ENOMEM;

    row_filter f = {0};
    axis y = {0};
    int32_t *sums = malloc((size_t)size * size * 3 * sizeof *sums);
    int rc = CADRE_ENOMEM;
    if (sums && row_filter_make(&f, image->width, to_width, (to_width - size) / 2, size) &&
        axis_make(&y, image->height, to_height, (to_height - size) / 2, size)) {
        filter_rows(&f, &y, image, sums);
        normalise(sums, size, mean, deviation, out);
        rc = CADRE_OK;
    }
    row_filter_free(&f);
    axis_free(&y);
    free(sums);
    return rc;
}
