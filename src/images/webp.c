/* WebP by libwebp, lossy and lossless; of an animation the first frame.
 *
 * The container (RIFF) is walked here: it names the canvas, the EXIF block and the first frame, and says whether the file is whole. libwebp gets the file, or
 * that frame's own bytes. It is fed in slices, between which a cancel is seen. */
#include "picture.h"

#include <stdlib.h>
#include <webp/decode.h>

#define HEADER 12 /* "RIFF", size, "WEBP" */
#define CHUNK 8   /* type, size */
#define FRAME 16  /* of an ANMF chunk, before the frame's own chunks */
#define TABLES ((size_t)2 << 20)
#define SLICE ((size_t)16 << 10)

/* Where the picture lies in the file, and in the canvas. */
typedef struct layout {
    const uint8_t *bytes;
    size_t length;
    uint32_t x, y, width, height;
    bool alpha;
    bool animated;
} layout;

static uint32_t read_u24(const uint8_t *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16;
}

static uint32_t read_u32(const uint8_t *at)
{
    return read_u24(at) | (uint32_t)at[3] << 24;
}

static int read_chunk(cadre__picture *p, size_t at, const uint8_t *chunk, uint32_t size, layout *out)
{
    if (memcmp(chunk, "VP8X", 4) == 0 && size >= 10 && at == HEADER) {
        out->animated = (chunk[CHUNK] & 2) != 0;
        return cadre__images_check_size(p, (uint64_t)read_u24(chunk + CHUNK + 4) + 1, (uint64_t)read_u24(chunk + CHUNK + 7) + 1);
    }
    if (memcmp(chunk, "EXIF", 4) == 0) p->orientation = cadre__images_exif_orientation(chunk + CHUNK, size);
    if (memcmp(chunk, "ANMF", 4) != 0 || !out->animated || out->bytes) return CADRE_OK;
    if (size < FRAME) return cadre__images_fail(p, CADRE_EINPUT, "the WebP frame at byte %zu has %u bytes, too few for its header", at, (unsigned)size);
    const uint8_t *frame = chunk + CHUNK;
    *out = (layout){frame + FRAME, size - FRAME, read_u24(frame) * 2, read_u24(frame + 3) * 2, read_u24(frame + 6) + 1, read_u24(frame + 9) + 1, false, true};
    if ((uint64_t)out->x + out->width > p->width || (uint64_t)out->y + out->height > p->height)
        return cadre__images_fail(p, CADRE_EINPUT, "the WebP frame at byte %zu does not lie within the canvas", at);
    return CADRE_OK;
}

static int read_layout(cadre__picture *p, layout *out)
{
    uint64_t said = (uint64_t)read_u32(p->bytes + 4) + 8;
    if (said > p->length) return cadre__images_fail(p, CADRE_EINPUT, "the WebP file says %llu bytes, and %zu are there", (unsigned long long)said, p->length);
    size_t end = (size_t)said;
    for (size_t at = HEADER; at < end;) {
        uint32_t size = end - at >= CHUNK ? read_u32(p->bytes + at + 4) : 0;
        if (end - at < CHUNK || size > end - at - CHUNK)
            return cadre__images_fail(p, CADRE_EINPUT, "the WebP chunk at byte %zu does not end within the file's %zu bytes", at, end);
        int rc = read_chunk(p, at, p->bytes + at, size, out);
        if (rc != CADRE_OK) return rc;
        at += CHUNK + (size_t)size;
        at += size & 1 && at < end; /* padded to even */
    }
    if (!out->animated) *out = (layout){.bytes = p->bytes, .length = end};
    return out->bytes ? CADRE_OK : cadre__images_fail(p, CADRE_EINPUT, "the WebP animation has no frame");
}

static int fail(cadre__picture *p, VP8StatusCode status)
{
    if (status == VP8_STATUS_OUT_OF_MEMORY) return cadre__images_fail(p, CADRE_ENOMEM, "no memory to decode the WebP file");
    bool cut = status == VP8_STATUS_SUSPENDED || status == VP8_STATUS_NOT_ENOUGH_DATA;
    return cadre__images_fail(p, CADRE_EINPUT, "the WebP file is %s (libwebp's status is %d)", cut ? "truncated" : "damaged", (int)status);
}

/* The picture's own header: its size must be the frame's; without an animation it is the canvas. */
static int read_features(cadre__picture *p, layout *l)
{
    WebPBitstreamFeatures features;
    VP8StatusCode status = WebPGetFeatures(l->bytes, l->length, &features);
    if (status != VP8_STATUS_OK) return fail(p, status);
    if (features.has_animation || features.width < 1 || features.height < 1) return fail(p, VP8_STATUS_BITSTREAM_ERROR);
    l->alpha = features.has_alpha;
    uint32_t width = (uint32_t)features.width, height = (uint32_t)features.height;
    if (!l->animated) {
        l->width = width;
        l->height = height;
        return cadre__images_check_size(p, width, height);
    }
    if (width != l->width || height != l->height)
        return cadre__images_fail(p, CADRE_EINPUT, "the first WebP frame is %u × %u pixels in its own header and %u × %u in the file's", (unsigned)width,
                                  (unsigned)height, (unsigned)l->width, (unsigned)l->height);
    return CADRE_OK;
}

/* Where libwebp finds no memory it often says that the file is damaged (and 1.2.4 does not check each of its small allocations). So as much as it needs, 4
 * bytes a pixel and its tables, is asked for here first. */
static int check_memory(cadre__picture *p, const layout *l)
{
    uint64_t bytes = (uint64_t)l->width * l->height * 4 + TABLES;
    void *trial = bytes <= SIZE_MAX ? malloc((size_t)bytes) : NULL;
    free(trial);
    return trial ? CADRE_OK : fail(p, VP8_STATUS_OUT_OF_MEMORY);
}

static int decode_slices(cadre__picture *p, const layout *l, WebPIDecoder *decoder)
{
    VP8StatusCode status = VP8_STATUS_SUSPENDED;
    for (size_t fed = 0; fed < l->length && status == VP8_STATUS_SUSPENDED;) {
        if (cadre__images_cancelled(p)) return CADRE_ECANCELED;
        fed = l->length - fed > SLICE ? fed + SLICE : l->length;
        status = WebPIUpdate(decoder, l->bytes, fed);
    }
    return status == VP8_STATUS_OK ? CADRE_OK : fail(p, status);
}

int cadre__images_webp(cadre__picture *p)
{
    layout l = {0};
    WebPDecoderConfig config;
    int rc = read_layout(p, &l);
    if (rc == CADRE_OK) rc = read_features(p, &l);
    if (rc != CADRE_OK) return rc;
    if (!WebPInitDecoderConfig(&config)) return cadre__images_fail(p, CADRE_ENOTSUP, "libwebp has another version than its header");

    bool partial = l.width != p->width || l.height != p->height; /* the rest of the canvas is transparent black */
    bool compose = p->background != CADRE_DEFAULT && (l.alpha || partial);
    uint32_t channels = compose ? 4 : 3;
    rc = cadre__images_allocate(p, channels, partial);
    if (rc == CADRE_OK) rc = check_memory(p, &l);
    if (rc != CADRE_OK) return rc;
    size_t row = (size_t)p->width * channels, first = l.y * row + (size_t)l.x * channels;
    config.output.colorspace = compose ? MODE_RGBA : MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = p->pixels + first;
    config.output.u.RGBA.stride = (int)row;
    config.output.u.RGBA.size = p->capacity - first;
    WebPIDecoder *decoder = WebPIDecode(NULL, 0, &config);
    rc = decoder ? decode_slices(p, &l, decoder) : fail(p, VP8_STATUS_OUT_OF_MEMORY);
    WebPIDelete(decoder);
    if (rc == CADRE_OK && compose) cadre__images_compose(p);
    return rc;
}
