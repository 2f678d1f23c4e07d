/* Base64 and data: URLs as a picture comes in them: up to 16 lines, each a picture of one request, with a decoder that takes anything and keeps what it got.
 * Compared with a decoder written for this alone, which looks every character up and collects bits. */
#include "fuzz.h"

#include <stdlib.h>

#define LINES_MAX 16

typedef struct line {
    struct run *run;
    char *text;       /* of exactly its length */
    uint8_t *decoded; /* what the picture decoder got */
    size_t length;
    bool called;
    int done, status;
} line;

typedef struct run {
    fuzz_host host;
    fuzz_model model;
    uint64_t most;
    line lines[LINES_MAX];
    unsigned count, next; /* next: of the lines in the order in which the worker decodes them */
} run;

/* ---- the reference ---- */

static int value_of(char c)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(alphabet, c) : NULL;
    return at ? (int)(at - alphabet) : -1;
}

/* Where the base64 begins, or NULL for a data: URL of something else (RFC 2397). */
static const char *payload_of(const char *text)
{
    static const char mark[] = ";base64";
    if (strncmp(text, "data:", 5) != 0) return text;
    const char *comma = strchr(text, ',');
    if (!comma) return NULL;
    size_t head = (size_t)(comma - text) - 5;
    if (head < strlen(mark) || memcmp(comma - strlen(mark), mark, strlen(mark)) != 0) return NULL;
    return comma + 1;
}

/* RFC 4648, section 4. Returns the length, or −1. */
static long reference(const char *text, uint8_t *out)
{
    const char *s = payload_of(text);
    if (!s || strlen(s) % 4) return -1;
    size_t length = strlen(s), padding = 0;
    while (padding < 2 && padding < length && s[length - 1 - padding] == '=') padding++;
    uint32_t bits = 0;
    int held = 0;
    long n = 0;
    for (size_t i = 0; i < length - padding; i++) {
        int value = value_of(s[i]);
        if (value < 0) return -1;
        bits = (bits << 6 | (uint32_t)value) & 0xffff;
        held += 6;
        if (held < 8) continue;
        held -= 8;
        out[n++] = (uint8_t)(bits >> held);
    }
    return n;
}

/* ---- the run ---- */

/* One worker, one picture a batch: what is decoded comes in the order of the requests. */
static int decode(void *self, cadre_op *op, const void *bytes, size_t length, uint64_t max_pixels, cadre_image *out, cadre_blob *pixels)
{
    run *r = self;
    uint8_t expected[4096];
    while (r->next < r->count) { /* those before were refused by the core */
        line *l = &r->lines[r->next++];
        if (l->done) continue;
        long n = reference(l->text, expected);
        if (n < 0 || (uint64_t)n > r->most) continue;
        FUZZ_CHECK((size_t)n == length && (!length || memcmp(expected, bytes, length) == 0), "\"%s\" is decoded to %zu bytes, which are not the %ld expected",
                   l->text, length, n);
        l->called = true;
        if (!length) return cadre_op_fail(op, CADRE_EINPUT, "empty");
        return fuzz_decode(&r->host, op, bytes, length, max_pixels, out, pixels);
    }
    fuzz_fail("%zu bytes are decoded from a text that should be refused", length);
}

static void on_done(cadre_request *request, int status, const cadre_embeddings *result)
{
    line *l = cadre_request_data(request);
    (void)result;
    l->done++;
    l->status = status;
}

static void ask(run *r, line *l)
{
    cadre_image_input image = cadre_image_from_string(CADRE_IMAGE_BASE64, l->text);
    cadre_embed_images_params p = CADRE_EMBED_IMAGES_PARAMS_INIT;
    p.key = "m";
    p.images = &image;
    p.count = 1;
    p.on_done = on_done;
    p.data = l;
    int rc = cadre_embed_images(r->host.pool, &p, NULL);
    FUZZ_CHECK(rc == (*l->text ? CADRE_OK : CADRE_EINVAL), "a picture is answered with %s", cadre_err_name(rc));
    l->done = rc == CADRE_OK ? 0 : -1;
}

static void check(const run *r, const line *l)
{
    uint8_t expected[4096];
    long n = reference(l->text, expected);
    bool readable = *l->text && n >= 0 && (uint64_t)n <= r->most;
    FUZZ_CHECK(l->done == (*l->text ? 1 : -1), "a picture ends %d times", l->done);
    FUZZ_CHECK(l->called == readable, "\"%s\" is %sdecoded", l->text, l->called ? "" : "not ");
    if (*l->text) FUZZ_CHECK(l->status == CADRE_EINPUT || (l->status == CADRE_OK && readable && n), "\"%s\" ends with %s", l->text, cadre_err_name(l->status));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static run r;
    fuzz_bytes b = {data, size > 4096 ? 4096 : size};
    r.count = r.next = 0;
    r.most = fuzz_byte(&b);
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    const cadre_image_decoder decoder = {sizeof decoder, &r, 1000, r.most, decode};
    options.decoder = &decoder;
    fuzz_open(&r.host, 1, &options);
    r.model = (fuzz_model){&r.host, CADRE_IMAGE_EMBEDDING, 0, 1, 1, 100, false, CADRE_OK, NULL, NULL};
    fuzz_spawn_ready(&r.model, "m");
    while (b.left && r.count < LINES_MAX) {
        size_t length = 0;
        while (length < b.left && b.at[length] != '\n' && b.at[length]) length++;
        line *l = &r.lines[r.count++];
        *l = (line){.run = &r, .text = malloc(length + 1)};
        if (!l->text) abort();
        memcpy(l->text, b.at, length);
        l->text[length] = '\0';
        b.at += length;
        b.left -= length;
        fuzz_byte(&b);
    }
    for (unsigned i = 0; i < r.count; i++) ask(&r, &r.lines[i]);
    fuzz_end(&r.host);
    for (unsigned i = 0; i < r.count; i++) {
        check(&r, &r.lines[i]);
        free(r.lines[i].text);
    }
    return 0;
}
