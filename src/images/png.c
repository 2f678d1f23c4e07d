/* PNG by libspng.
 *
 * The file's chunks are walked here first: that every one is whole and its checksum right, up to IEND, and where an eXIf chunk lies. libspng then reads a
 * stream of the chunks that make the picture and nothing else: no text, no profile, no animation is ever unpacked, and an odd one does not refuse the picture.
 */
#include "picture.h"

#include <spng.h>
#include <stdlib.h>
#include <zlib.h>

#define SIGNATURE 8
#define AROUND 12 /* length, type and checksum of a chunk */
#define CHUNK_MAX 0x7fffffffu
#define TYPE(a, b, c, d) ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (uint32_t)(d))
#define IHDR TYPE('I', 'H', 'D', 'R')
#define PLTE TYPE('P', 'L', 'T', 'E')
#define TRNS TYPE('t', 'R', 'N', 'S')
#define IDAT TYPE('I', 'D', 'A', 'T')
#define IEND TYPE('I', 'E', 'N', 'D')
#define EXIF TYPE('e', 'X', 'I', 'f')
#define ANCILLARY 0x20000000u /* a small first letter */

/* What libspng reads: [at, end) is left of the chunk that it is in. */
typedef struct stream {
    const uint8_t *bytes;
    size_t at, end, last; /* last: where IEND ends */
} stream;

static uint32_t read_u32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static bool is_wanted(uint32_t type)
{
    return !(type & ANCILLARY) || type == TRNS;
}

/* One chunk at `at`; *length is that of its data. */
static int check_chunk(cadre__picture *p, size_t at, uint32_t *type, uint32_t *length)
{
    const uint8_t *chunk = p->bytes + at;
    size_t left = p->length - at;
    if (left < AROUND) return cadre__images_fail(p, CADRE_EINPUT, "the PNG file ends at byte %zu, within or before a chunk", p->length);
    *length = read_u32(chunk);
    *type = read_u32(chunk + 4);
    for (int i = 4; i < 8; i++)
        if ((chunk[i] | 0x20) < 'a' || (chunk[i] | 0x20) > 'z') return cadre__images_fail(p, CADRE_EINPUT, "the PNG file has no chunk at byte %zu", at);
    if (*length > CHUNK_MAX || *length > left - AROUND)
        return cadre__images_fail(p, CADRE_EINPUT, "the PNG chunk %.4s at byte %zu says %u bytes, and %zu are left", (const char *)chunk + 4, at,
                                  (unsigned)*length, left - AROUND);
    uLong sum = crc32(0, chunk + 4, (uInt)*length + 4);
    if (sum != read_u32(chunk + 8 + *length))
        return cadre__images_fail(p, CADRE_EINPUT, "the checksum of the PNG chunk %.4s at byte %zu is wrong", (const char *)chunk + 4, at);
    return CADRE_OK;
}

/* All chunks up to IEND, which ends at *last. *transparent: there is a tRNS chunk. */
static int check_chunks(cadre__picture *p, size_t *last, bool *transparent)
{
    uint32_t type = 0, length = 0;
    size_t at = SIGNATURE;
    for (; type != IEND; at += AROUND + length) {
        if (cadre__images_cancelled(p)) return CADRE_ECANCELED;
        int rc = check_chunk(p, at, &type, &length);
        if (rc != CADRE_OK) return rc;
        if (type == TRNS) *transparent = true;
        if (type == EXIF) p->orientation = cadre__images_exif_orientation(p->bytes + at + 8, length);
    }
    *last = at;
    return CADRE_OK;
}

static int read_stream(spng_ctx *ctx, void *user, void *out, size_t length)
{
    stream *s = user;
    uint8_t *to = out;
    (void)ctx;
    while (length > 0) {
        while (s->at == s->end) { /* check_chunks has been here: up to `last` all chunks are whole */
            if (s->at >= s->last) return SPNG_IO_EOF;
            const uint8_t *chunk = s->bytes + s->at;
            s->end = s->at + AROUND + read_u32(chunk);
            if (!is_wanted(read_u32(chunk + 4))) s->at = s->end;
        }
        size_t n = s->end - s->at < length ? s->end - s->at : length;
        memcpy(to, s->bytes + s->at, n);
        s->at += n;
        to += n;
        length -= n;
    }
    return 0;
}

/* ---- memory: where zlib finds none in the midst of its stream, libspng says that the stream is damaged; so a failure is noted, on the thread that decodes
 * ---- */

static _Thread_local bool starved;

static void *noted(void *block)
{
    starved = starved || !block;
    return block;
}

static void *noted_malloc(size_t size)
{
    return noted(malloc(size));
}

static void *noted_realloc(void *block, size_t size)
{
    return noted(realloc(block, size));
}

static void *noted_calloc(size_t count, size_t size)
{
    return noted(calloc(count, size));
}

static int fail(cadre__picture *p, int error)
{
    if (starved || error == SPNG_EMEM) return cadre__images_fail(p, CADRE_ENOMEM, "no memory to decode the PNG file");
    return cadre__images_fail(p, CADRE_EINPUT, "the PNG file is damaged: %s", spng_strerror(error));
}

/* ---- decoding ---- */

static int decode_rows(cadre__picture *p, spng_ctx *ctx, bool alpha)
{
    size_t row = (size_t)p->width * (alpha ? 4 : 3), size = 0;
    int format = alpha ? SPNG_FMT_RGBA8 : SPNG_FMT_RGB8;
    int error = spng_decoded_image_size(ctx, format, &size);
    if (error) return fail(p, error);
    int rc = cadre__images_allocate(p, alpha ? 4 : 3, false);
    if (rc != CADRE_OK) return rc;
    if (size != p->capacity) return cadre__images_fail(p, CADRE_EINPUT, "the PNG file is of a kind that libspng does not turn into RGB");
    error = spng_decode_image(ctx, NULL, 0, format, SPNG_DECODE_PROGRESSIVE | (alpha ? SPNG_DECODE_TRNS : 0));
    while (!error) {
        struct spng_row_info info;
        if (cadre__images_cancelled(p)) return CADRE_ECANCELED;
        error = spng_get_row_info(ctx, &info);
        if (!error) error = spng_decode_row(ctx, p->pixels + info.row_num * row, row);
    }
    if (error == SPNG_EOI) error = spng_decode_chunks(ctx); /* reads on to IEND */
    if (error) return fail(p, error);
    if (alpha) cadre__images_compose(p);
    return CADRE_OK;
}

int cadre__images_png(cadre__picture *p)
{
    const uint8_t *header = p->bytes + SIGNATURE;
    if (p->length < SIGNATURE + 16 || read_u32(header) != 13 || read_u32(header + 4) != IHDR)
        return cadre__images_fail(p, CADRE_EINPUT, "the PNG file does not begin with a whole IHDR chunk");
    int rc = cadre__images_check_size(p, read_u32(header + 8), read_u32(header + 12));
    if (rc != CADRE_OK) return rc;
    bool transparent = false;
    stream s = {p->bytes, 0, SIGNATURE, 0};
    rc = check_chunks(p, &s.last, &transparent);
    if (rc != CADRE_OK) return rc;

    struct spng_alloc memory = {noted_malloc, noted_realloc, noted_calloc, free};
    starved = false;
    spng_ctx *ctx = spng_ctx_new2(&memory, 0);
    if (!ctx) return fail(p, SPNG_EMEM);
    struct spng_ihdr ihdr;
    int error = spng_set_image_limits(ctx, p->max_side, p->max_side);
    if (!error) error = spng_set_chunk_limits(ctx, 4096, 4096); /* of what it would keep; PLTE and tRNS have their own */
    if (!error) error = spng_set_crc_action(ctx, SPNG_CRC_USE, SPNG_CRC_USE);
    if (!error) error = spng_set_png_stream(ctx, read_stream, &s);
    if (!error) error = spng_get_ihdr(ctx, &ihdr);
    if (error)
        rc = fail(p, error);
    else
        rc = decode_rows(p, ctx, p->background != CADRE_DEFAULT && (transparent || ihdr.color_type & 4));
    spng_ctx_free(ctx);
    return rc;
}
