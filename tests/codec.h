/* A scripted decoder and a scripted fetcher. The decoder knows one format: "PIC:" and a text, which becomes the picture that carries it. Of the fetcher, URLs
 * say what comes of them. */
#ifndef CADRE_TESTS_CODEC_H
#define CADRE_TESTS_CODEC_H

#include "fetched.h"
#include "scripted_backend.h"

typedef struct codec {
    fixture *fx;
    atomic_int decoded, fetched, blobs;
    atomic_int cancelled, brought, destroyed; /* fetches; what they brought */
    void (*in_fetch)(struct codec *c);
    cadre_request_id victim;
} codec;

typedef struct blob_head {
    codec *codec;
    size_t length;
} blob_head;

static inline void *blob_new(codec *c, size_t length, cadre_blob *out, void (*release)(void *, size_t))
{
    blob_head *h = malloc(sizeof *h + length);
    if (!h) abort();
    *h = (blob_head){c, length};
    atomic_fetch_add(&c->blobs, 1);
    *out = (cadre_blob){h + 1, length, release};
    return h + 1;
}

static inline void blob_free(void *data, size_t length)
{
    blob_head *h = (blob_head *)data - 1;
    if (h->length != length) fixture_fault(h->codec->fx, "a blob of %zu bytes is freed as %zu", h->length, length);
    atomic_fetch_sub(&h->codec->blobs, 1);
    memset(data, 0xdd, length);
    free(h);
}

static inline int decode(void *self, cadre_op *op, const void *bytes, size_t length, uint64_t max_pixels, cadre_image *out, cadre_blob *pixels)
{
    codec *c = self;
    char text[64];
    atomic_fetch_add(&c->decoded, 1);
    if (fixture_on_loop(c->fx)) fixture_fault(c->fx, "a picture is decoded on the loop");
    if (max_pixels != 64) fixture_fault(c->fx, "max_pixels is %llu", (unsigned long long)max_pixels);
    if (length < 4 || length >= sizeof text || memcmp(bytes, "PIC:", 4) != 0) return cadre_op_fail(op, CADRE_EINPUT, "no picture in %zu bytes", length);
    memcpy(text, (const char *)bytes + 4, length - 4);
    text[length - 4] = '\0';
    if ((strlen(text) + 2) / 3 > max_pixels) return cadre_op_fail(op, CADRE_EINPUT, "too many pixels");
    uint8_t *buffer = blob_new(c, 64, pixels, blob_free);
    *out = picture(text, buffer, 64).rgb8;
    return 0;
}

/* A fetch that the test ends. */
typedef struct download {
    char url[64];
    codec *codec;
    cadre_weights_promise *promise;
    bool cancelled;
} download;
#define DOWNLOADS_MAX 64
static download downloads[DOWNLOADS_MAX];
static int download_count;

static inline void on_cancelled(void *data)
{
    download *d = data;
    d->cancelled = true;
    atomic_fetch_add(&d->codec->cancelled, 1);
}

static inline void encoded_free(void *payload)
{
    codec *c = *(codec **)((char *)payload + sizeof(cadre_blob));
    atomic_fetch_add(&c->destroyed, 1);
    fixture_wake(c->fx);
    if (fixture_on_loop(c->fx)) fixture_fault(c->fx, "what was fetched is destroyed on the loop");
    cadre_blob *blob = payload;
    if (blob->free) blob->free(blob->data, blob->length);
    free(payload);
}

static inline cadre_weights_value encoded_value(codec *c, const void *bytes, size_t length)
{
    cadre_blob *blob = malloc(sizeof *blob + sizeof c);
    if (!blob) abort();
    *blob = (cadre_blob){malloc(length ? length : 1), length, fetched_free_bytes};
    if (!blob->data) abort();
    if (length) memcpy(blob->data, bytes, length);
    memcpy(blob + 1, &c, sizeof c);
    atomic_fetch_add(&c->brought, 1);
    return (cadre_weights_value){sizeof(cadre_weights_value), blob, encoded_free, NULL};
}

/* "https://host/cat" comes at once, "https://later/…" when the test says so; the others are wrong in the way that they name. */
static inline cadre_weights_future *fetch(void *self, cadre_pool *pool, const char *url, uint64_t max_bytes)
{
    static const char long_bytes[4097] = "PIC:";
    codec *c = self;
    cadre_weights_value value = CADRE_WEIGHTS_VALUE_INIT;
    atomic_fetch_add(&c->fetched, 1);
    if (!fixture_on_loop(c->fx) || c->fx->calling) fixture_fault(c->fx, "a URL is fetched off the loop, or inside a call");
    if (max_bytes != 4096) fixture_fault(c->fx, "max_bytes is %llu", (unsigned long long)max_bytes);
    if (c->in_fetch) c->in_fetch(c);
    if (strcmp(url, "https://host/no-memory") == 0) return NULL;
    if (strcmp(url, "https://host/null") == 0) return cadre_weights_future_ready(pool, &value);
    if (strcmp(url, "https://host/cat") == 0)
        value = encoded_value(c, "PIC:cat", 7);
    else if (strcmp(url, "https://host/empty") == 0)
        value = encoded_value(c, "", 0);
    else if (strcmp(url, "https://host/long") == 0)
        value = encoded_value(c, long_bytes, sizeof long_bytes);
    if (value.payload) return cadre_weights_future_ready(pool, &value);
    if (strncmp(url, "https://later/", 14) != 0) return cadre_weights_future_failed(pool, CADRE_EINPUT, "host answers 404");
    cadre_weights_future *future = NULL;
    download *d = &downloads[download_count];
    if (download_count == DOWNLOADS_MAX || cadre_weights_promise_create(pool, &d->promise, &future) != 0) return NULL;
    download_count++;
    d->codec = c;
    d->cancelled = false;
    snprintf(d->url, sizeof d->url, "%s", url);
    cadre_weights_promise_on_cancel(d->promise, on_cancelled, d);
    return future;
}

/* It has come: what the URL names after "later/". */
static inline void arrive(download *d)
{
    char bytes[64];
    snprintf(bytes, sizeof bytes, "PIC:%.50s", d->url + 14);
    cadre_weights_value value = encoded_value(d->codec, bytes, strlen(bytes));
    cadre_weights_promise_resolve(d->promise, &value);
    cadre_weights_promise_release(d->promise);
    d->promise = NULL;
}

static inline void break_off(download *d, int error, const char *detail)
{
    cadre_weights_promise_fail(d->promise, error, detail);
    cadre_weights_promise_release(d->promise);
    d->promise = NULL;
}

static inline void let_go(void)
{
    for (int i = 0; i < download_count; i++) cadre_weights_promise_release(downloads[i].promise), downloads[i].promise = NULL;
    download_count = 0;
}

static inline void set_codec(codec *c, cadre_pool_options *options, cadre_image_decoder *decoder, cadre_image_fetcher *fetcher)
{
    memset(c, 0, sizeof *c);
    download_count = 0;
    *decoder = (cadre_image_decoder){sizeof *decoder, c, 64, 4096, decode};
    *fetcher = (cadre_image_fetcher){sizeof *fetcher, c, fetch};
    options->decoder = decoder;
    options->fetcher = fetcher;
}

static inline fixture *begin(codec *c, bool with_decoder, bool with_fetcher)
{
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    cadre_image_decoder decoder;
    cadre_image_fetcher fetcher;
    set_codec(c, &options, &decoder, &fetcher);
    if (!with_decoder) options.decoder = NULL;
    if (!with_fetcher) options.fetcher = NULL;
    c->fx = fixture_begin_with(&options);
    return c->fx;
}

/* With the backends of scripted models. */
static inline fixture *begin_registry(codec *c)
{
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    cadre_image_decoder decoder;
    cadre_image_fetcher fetcher;
    set_codec(c, &options, &decoder, &fetcher);
    c->fx = registry_begin_all(&options);
    return c->fx;
}

/* Asks about pictures; for a vision model, the query is "look". */
static inline int look_at(script *s, answer *a, const cadre_image_input *images, size_t count)
{
    if (s->capability == CADRE_VISION) {
        cadre_describe_params p = CADRE_DESCRIBE_PARAMS_INIT;
        p.key = s->key;
        p.query = "look";
        p.images = images;
        p.image_count = count;
        p.on_text = answer_on_text;
        p.on_done = answer_on_generation;
        p.data = a;
        return a->rc = cadre_describe(s->fx->pool, &p, &a->id);
    }
    cadre_embed_images_params p = CADRE_EMBED_IMAGES_PARAMS_INIT;
    p.key = s->key;
    p.images = images;
    p.count = count;
    p.on_done = answer_on_embeddings;
    p.data = a;
    return a->rc = cadre_embed_images(s->fx->pool, &p, &a->id);
}

static const cadre_capability both[] = {CADRE_VISION, CADRE_IMAGE_EMBEDDING};

#endif
