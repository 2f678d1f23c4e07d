#include "capability/images.h"

#include "pool/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the loop ---- */

static const char *check_image(const cadre_pool *pool, const cadre_image_input *image, int *error)
{
    *error = CADRE_EINVAL;
    if (image->size != sizeof *image) return "its size is not that of cadre_image_input";
    switch (image->form) {
    case CADRE_IMAGE_RGB8: {
        const cadre_image *rgb = &image->rgb8;
        size_t row, bytes;
        if (!rgb->pixels) return "rgb8.pixels is NULL";
        if (!rgb->width || !rgb->height) return "its width or height is 0";
        if (!cadre__mul(rgb->width, 3, &row) || rgb->stride < row) return "its stride is below 3 × width";
        if (!cadre__mul(rgb->stride, rgb->height, &bytes) || !cadre__mul(row, rgb->height, &bytes)) return "its size overflows";
        return NULL;
    }
    case CADRE_IMAGE_BYTES:
        if (!image->bytes || !image->length) return "bytes is NULL or length is 0";
        break;
    case CADRE_IMAGE_PATH:
    case CADRE_IMAGE_BASE64:
    case CADRE_IMAGE_URL:
        if (!image->string || !*image->string) return "string is NULL or empty";
        break;
    default: return "its form is not a cadre_image_form";
    }
    *error = CADRE_ENOTSUP;
    if (!pool->decoder.size) return "the pool has no image decoder";
    if (image->form == CADRE_IMAGE_URL && !pool->fetcher.size) return "the pool has no image fetcher";
    return NULL;
}

int cadre__images_check(cadre_pool *pool, const cadre_image_input *images, size_t count, size_t most)
{
    if (!images || count < 1 || count > most) return cadre__pool_refuse(pool, CADRE_EINVAL, "there are %zu images, not within 1…%zu", images ? count : 0, most);
    for (size_t i = 0; i < count; i++) {
        int error;
        const char *wrong = check_image(pool, &images[i], &error);
        if (wrong) return cadre__pool_refuse(pool, error, "images[%zu]: %s", i, wrong);
    }
    return CADRE_OK;
}

static bool copy_rgb(const cadre_allocator *allocator, cadre_image *to)
{
    size_t row = (size_t)to->width * 3;
    uint8_t *pixels = allocator->alloc(row * to->height, allocator->data);
    if (!pixels) return false;
    for (uint32_t y = 0; y < to->height; y++) memcpy(pixels + y * row, to->pixels + y * to->stride, row);
    to->pixels = pixels;
    to->stride = row;
    return true;
}

static bool copy_input(const cadre_allocator *allocator, cadre_image_input *to, const cadre_image_input *from)
{
    cadre_image_input copy = *from;
    bool done;
    if (from->form == CADRE_IMAGE_RGB8) {
        done = copy_rgb(allocator, &copy.rgb8);
    } else if (from->form == CADRE_IMAGE_BYTES) {
        void *bytes = allocator->alloc(from->length, allocator->data);
        if (bytes) memcpy(bytes, from->bytes, from->length);
        copy.bytes = bytes;
        done = bytes != NULL;
    } else {
        copy.string = cadre__strdup(allocator, from->string);
        done = copy.string != NULL;
    }
    if (done) *to = copy;
    return done;
}

int cadre__images_copy(const cadre_allocator *allocator, cadre__images *out, const cadre_image_input *images, size_t count, bool lent)
{
    *out = (cadre__images){.count = count, .lent = lent};
    out->inputs = cadre__alloc(allocator, count * sizeof *out->inputs);
    out->pixels = cadre__alloc(allocator, count * sizeof *out->pixels);
    out->blobs = cadre__alloc(allocator, count * sizeof *out->blobs);
    for (size_t i = 0; i < count; i++) out->pending += images[i].form == CADRE_IMAGE_URL;
    if (out->pending) out->sources = cadre__alloc(allocator, count * sizeof *out->sources);
    bool done = out->inputs && out->pixels && out->blobs && !out->sources == !out->pending;
    for (size_t i = 0; done && i < count; i++) {
        if (lent)
            out->inputs[i] = images[i];
        else
            done = copy_input(allocator, &out->inputs[i], &images[i]);
    }
    if (done) return CADRE_OK;
    cadre__images_free(allocator, out);
    return CADRE_ENOMEM;
}

static void free_input(const cadre_allocator *allocator, cadre_image_input *input)
{
    if (!input->size) return;
    if (input->form == CADRE_IMAGE_RGB8)
        cadre__free(allocator, (void *)(uintptr_t)input->rgb8.pixels, input->rgb8.stride * input->rgb8.height);
    else if (input->form == CADRE_IMAGE_BYTES)
        cadre__free(allocator, (void *)(uintptr_t)input->bytes, input->length);
    else
        cadre__strfree(allocator, (char *)(uintptr_t)input->string);
}

void cadre__images_free(const cadre_allocator *allocator, cadre__images *images)
{
    for (size_t i = 0; i < images->count; i++) {
        if (images->inputs && !images->lent) free_input(allocator, &images->inputs[i]);
        if (images->sources) cadre_weights_release(images->sources[i].weights);
        if (images->blobs && images->blobs[i].free) images->blobs[i].free(images->blobs[i].data, images->blobs[i].length);
    }
    cadre__free(allocator, images->inputs, images->count * sizeof *images->inputs);
    cadre__free(allocator, images->pixels, images->count * sizeof *images->pixels);
    cadre__free(allocator, images->blobs, images->count * sizeof *images->blobs);
    cadre__free(allocator, images->sources, images->count * sizeof *images->sources);
    *images = (cadre__images){0};
}

/* ---- the worker ---- */

typedef struct encoded {
    const void *bytes;
    size_t length;
    void *owned; /* of the core's allocator, owned_bytes long */
    size_t owned_bytes;
} encoded;

static int read_file(cadre__runner *runner, cadre__job *job, const char *path, encoded *out)
{
    const cadre_allocator *allocator = &runner->port->allocator;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return cadre_op_fail(job, CADRE_EINPUT, "%s: %s", path, strerror(errno));
    struct stat info;
    int rc = CADRE_OK;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
        rc = cadre_op_fail(job, CADRE_EINPUT, "%s: not a regular file", path);
    else if (info.st_size <= 0 || (uint64_t)info.st_size > runner->decoder.max_encoded_bytes)
        rc = cadre_op_fail(job, CADRE_EINPUT, "%s: %lld bytes, not within 1…%llu", path, (long long)info.st_size,
                           (unsigned long long)runner->decoder.max_encoded_bytes);
    if (rc == CADRE_OK) {
        out->owned_bytes = (size_t)info.st_size;
        out->owned = allocator->alloc(out->owned_bytes, allocator->data);
        if (!out->owned) rc = CADRE_ENOMEM;
    }
    while (rc == CADRE_OK && out->length < out->owned_bytes) {
        ssize_t got = read(fd, (char *)out->owned + out->length, out->owned_bytes - out->length);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) rc = cadre_op_fail(job, CADRE_EINPUT, "%s: %s", path, got < 0 ? strerror(errno) : "it shrank while it was read");
        if (got > 0) out->length += (size_t)got;
    }
    close(fd);
    out->bytes = out->owned;
    return rc;
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* RFC 4648, section 4, padding required. Returns the bytes written, or −1 − the offset of what is wrong. */
static int64_t base64_decode(const char *text, size_t length, uint8_t *out)
{
    size_t n = 0;
    if (length % 4) return -1 - (int64_t)length;
    for (size_t i = 0; i < length; i += 4) {
        int pad = i + 4 < length ? 0 : (text[i + 3] == '=') + (text[i + 3] == '=' && text[i + 2] == '=');
        uint32_t word = 0;
        for (size_t k = 0; k < 4; k++) {
            int value = k >= (size_t)(4 - pad) ? 0 : base64_value(text[i + k]);
            if (value < 0) return -1 - (int64_t)(i + k);
            word = word << 6 | (uint32_t)value;
        }
        for (int k = 0; k < 3 - pad; k++) out[n++] = (uint8_t)(word >> (16 - 8 * k));
    }
    return (int64_t)n;
}

static int decode_base64(cadre__runner *runner, cadre__job *job, const char *text, encoded *out)
{
    const cadre_allocator *allocator = &runner->port->allocator;
    if (strncmp(text, "data:", 5) == 0) { /* RFC 2397 */
        const char *comma = strchr(text, ',');
        if (!comma || comma - text < 12 || strncmp(comma - 7, ";base64", 7) != 0) return cadre_op_fail(job, CADRE_EINPUT, "the data: URL is not base64");
        text = comma + 1;
    }
    size_t length = strlen(text), padding = length >= 2 ? (size_t)(text[length - 1] == '=') + (text[length - 2] == '=') : 0;
    if (length / 4 * 3 > padding && length / 4 * 3 - padding > runner->decoder.max_encoded_bytes)
        return cadre_op_fail(job, CADRE_EINPUT, "the base64 picture is larger than %llu bytes", (unsigned long long)runner->decoder.max_encoded_bytes);
    out->owned_bytes = length / 4 * 3 + 3;
    out->owned = allocator->alloc(out->owned_bytes, allocator->data);
    if (!out->owned) return CADRE_ENOMEM;
    int64_t n = base64_decode(text, length, out->owned);
    if (n < 0) return cadre_op_fail(job, CADRE_EINPUT, "the base64 picture is damaged at byte %lld", (long long)(-1 - n));
    out->bytes = out->owned;
    out->length = (size_t)n;
    return CADRE_OK;
}

static int get_encoded(cadre__runner *runner, cadre__job *job, const cadre_image_input *input, const cadre__source *source, encoded *out)
{
    switch (input->form) {
    case CADRE_IMAGE_PATH: return read_file(runner, job, input->string, out);
    case CADRE_IMAGE_BASE64: return decode_base64(runner, job, input->string, out);
    case CADRE_IMAGE_URL: {
        const cadre_blob *blob = source ? cadre_weights_payload(source->weights) : NULL;
        if (!blob) return cadre_op_fail(job, CADRE_EINPUT, "the picture was not fetched");
        out->bytes = blob->data;
        out->length = blob->length;
        return CADRE_OK;
    }
    default:
        out->bytes = input->bytes;
        out->length = input->length;
        return CADRE_OK;
    }
}

static int decode_one(cadre__runner *runner, cadre__job *job, cadre__images *images, size_t i)
{
    const cadre_image_input *input = &images->inputs[i];
    cadre__source *source = images->sources ? &images->sources[i] : NULL;
    cadre_image *pixels = &images->pixels[i];
    if (input->form == CADRE_IMAGE_RGB8) {
        *pixels = input->rgb8;
        return CADRE_OK;
    }
    encoded e = {0};
    int rc = get_encoded(runner, job, input, source, &e);
    if (rc == CADRE_OK) {
        *pixels = (cadre_image)CADRE_IMAGE_INIT;
        rc = runner->decoder.decode(runner->decoder.self, job, e.bytes, e.length, runner->decoder.max_pixels, pixels, &images->blobs[i]);
    }
    if (rc == CADRE_OK && (!pixels->pixels || !pixels->width || !pixels->height || pixels->stride / 3 < pixels->width))
        rc = cadre_op_fail(job, CADRE_EINPUT, "the decoder returned no picture");
    cadre__free(&runner->port->allocator, e.owned, e.owned_bytes);
    if (source) { /* the encoded bytes go early */
        cadre_weights_release(source->weights);
        source->weights = NULL;
    }
    return rc;
}

int cadre__images_decode(cadre__runner *runner, cadre__job *job, cadre__images *images)
{
    for (size_t i = 0; i < images->count; i++) {
        if (cadre_op_cancelled(job)) return CADRE_ECANCELED;
        if (images->pixels[i].pixels) continue; /* a request that was queued again */
        int rc = decode_one(runner, job, images, i);
        if (rc < 0) return rc;
    }
    return CADRE_OK;
}
