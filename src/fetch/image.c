/* Pictures by URL: one transfer (up to three attempts) into memory.
 *
 * A fetch lives until its future has an end: it settles the promise itself, or the pool has settled the future first (cancel, deadline, close) and tells so by
 * on_cancel. Once the future is settled by others, on_cancel is sure to come, so the fetch waits for it; otherwise it is sure not to. */
#include "http_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ATTEMPTS 3
#define FIRST_BYTES ((size_t)1 << 20)

typedef struct cadre__picture_fetch {
    struct cadre__image_source *source; /* not looked at once it has stopped */
    struct cadre__picture_fetch *next, **link;
    cadre_weights_promise *promise;
    cadre__transfer *transfer;
    char *url;
    uint64_t max_bytes, due; /* ms of the loop */
    int attempts;
    char *bytes;
    size_t length, capacity;
} picture_fetch;

static void leave(picture_fetch *fetch)
{
    if (fetch->transfer) cadre__http_cancel(fetch->transfer);
    fetch->transfer = NULL;
    if (!fetch->link) return;
    *fetch->link = fetch->next;
    if (fetch->next) fetch->next->link = fetch->link;
    fetch->link = NULL;
}

static void drop(picture_fetch *fetch)
{
    leave(fetch);
    cadre_weights_promise_release(fetch->promise);
    free(fetch->bytes);
    free(fetch->url);
    free(fetch);
}

static void on_cancel(void *data)
{
    drop(data);
}

static void fail(picture_fetch *fetch, int error, const char *detail)
{
    if (cadre_weights_promise_cancelled(fetch->promise)) {
        leave(fetch);
        return;
    }
    (void)cadre_weights_promise_fail(fetch->promise, error, detail);
    drop(fetch);
}

/* ---- the blob ---- */

static void free_bytes(void *data, size_t length)
{
    (void)length;
    free(data);
}

static void destroy_blob(void *payload)
{
    cadre_blob *blob = payload;
    if (blob->free) blob->free(blob->data, blob->length);
    free(blob);
}

static void succeed(picture_fetch *fetch)
{
    if (cadre_weights_promise_cancelled(fetch->promise)) {
        leave(fetch);
        return;
    }
    cadre_blob *blob = malloc(sizeof *blob);
    if (!blob) {
        fail(fetch, CADRE_ENOMEM, "no memory for the picture");
        return;
    }
    *blob = (cadre_blob){fetch->bytes, fetch->length, free_bytes};
    fetch->bytes = NULL;
    cadre_weights_value value = CADRE_WEIGHTS_VALUE_INIT;
    value.payload = blob;
    value.destroy = destroy_blob;
    if (cadre_weights_promise_resolve(fetch->promise, &value) != CADRE_OK) destroy_blob(blob); /* the pool is gone, and consumed nothing */
    drop(fetch);
}

/* ---- the transfer ---- */

static bool make_room(picture_fetch *fetch, size_t need)
{
    if (need <= fetch->capacity) return true;
    size_t capacity = fetch->capacity > SIZE_MAX / 2 ? need : fetch->capacity * 2;
    if (capacity < need) capacity = need;
    char *longer = realloc(fetch->bytes, capacity);
    if (!longer) return false;
    fetch->bytes = longer;
    fetch->capacity = capacity;
    return true;
}

static int on_head(cadre__transfer *transfer, long status, void *data)
{
    picture_fetch *fetch = data;
    int64_t length = cadre__http_length(transfer);
    if (status < 200 || status > 299 || length <= 0) return 0;
    /* What is announced need not come: memory follows what came. */
    return make_room(fetch, (uint64_t)length < FIRST_BYTES ? (size_t)length : FIRST_BYTES) ? 0 : CADRE_ENOMEM;
}

static int on_data(cadre__transfer *transfer, const void *bytes, size_t length, void *data)
{
    picture_fetch *fetch = data;
    (void)transfer;
    if (length > SIZE_MAX - fetch->length || !make_room(fetch, fetch->length + length)) return CADRE_ENOMEM;
    memcpy(fetch->bytes + fetch->length, bytes, length);
    fetch->length += length;
    return 0;
}

static bool attempt(picture_fetch *fetch);

static void on_done(cadre__transfer *transfer, const cadre__http_result *result, void *data)
{
    picture_fetch *fetch = data;
    (void)transfer;
    fetch->transfer = NULL;
    long status = result->status;
    if (result->error) {
        bool again = result->passes && status == 0 && fetch->attempts < ATTEMPTS && uv_now(fetch->source->http->loop) < fetch->due;
        if (!again || !attempt(fetch)) fail(fetch, result->error, result->detail);
    } else if (status == 429 || status >= 500) {
        fail(fetch, CADRE_ELOAD, result->detail);
    } else if (status < 200 || status > 203) {
        fail(fetch, CADRE_EINPUT, result->detail);
    } else if (fetch->length == 0) {
        char detail[CADRE__HTTP_DETAIL + 32];
        snprintf(detail, sizeof detail, "%s, without a body", result->detail);
        fail(fetch, CADRE_EINPUT, detail);
    } else {
        succeed(fetch);
    }
}

static bool attempt(picture_fetch *fetch)
{
    const struct cadre__image_source *source = fetch->source;
    uint64_t now = uv_now(source->http->loop);
    cadre__http_request request = {.url = fetch->url,
                                   .public_only = !source->allow_private,
                                   .max_bytes = fetch->max_bytes,
                                   .connect_timeout_ms = source->connect_timeout_ms,
                                   .stall_timeout_ms = source->stall_timeout_ms,
                                   .timeout_ms = CADRE_NEVER,
                                   .on_head = on_head,
                                   .on_data = on_data,
                                   .on_done = on_done,
                                   .data = fetch};
    if (fetch->due != CADRE__NO_TIME) request.timeout_ms = fetch->due > now ? (int64_t)(fetch->due - now) : 0;
    fetch->length = 0;
    fetch->attempts++;
    fetch->transfer = cadre__http_begin(source->http, &request);
    return fetch->transfer != NULL;
}

static picture_fetch *create(struct cadre__image_source *source, const char *url, uint64_t max_bytes)
{
    picture_fetch *fetch = calloc(1, sizeof *fetch);
    if (!fetch) return NULL;
    fetch->url = strdup(url);
    if (!fetch->url) {
        free(fetch);
        return NULL;
    }
    fetch->source = source;
    fetch->max_bytes = max_bytes;
    fetch->due = source->timeout_ms == CADRE_NEVER ? CADRE__NO_TIME : uv_now(source->http->loop) + (uint64_t)source->timeout_ms;
    fetch->next = source->running;
    fetch->link = &source->running;
    if (fetch->next) fetch->next->link = &fetch->next;
    source->running = fetch;
    return fetch;
}

static cadre_weights_future *fetch_picture(void *self, cadre_pool *pool, const char *url, uint64_t max_bytes)
{
    struct cadre__image_source *source = self;
    if (source->stopped) return cadre_weights_future_failed(pool, CADRE_ECLOSED, "the fetcher is closed");
    picture_fetch *fetch = create(source, url, max_bytes);
    if (!fetch) return NULL;
    cadre_weights_future *future = NULL;
    int rc = cadre_weights_promise_create(pool, &fetch->promise, &future);
    if (rc == CADRE_OK && !attempt(fetch)) rc = CADRE_ENOMEM;
    if (rc == CADRE_OK) rc = cadre_weights_promise_on_cancel(fetch->promise, on_cancel, fetch);
    if (rc == CADRE_OK) return future;
    drop(fetch);
    cadre_weights_future_release(future);
    return NULL;
}

void cadre__image_fetcher_init(cadre_image_fetcher *out, struct cadre__image_source *source)
{
    source->running = NULL;
    source->stopped = false;
    *out = (cadre_image_fetcher){sizeof *out, source, fetch_picture};
}

void cadre__image_fetcher_stop(struct cadre__image_source *source)
{
    source->stopped = true;
    while (source->running) fail(source->running, CADRE_ECLOSED, "the fetcher is closed");
}
