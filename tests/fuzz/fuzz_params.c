/* All five request functions, with parameters of any content that the contract lets a host pass: the call's answer is that of an independent reading of the
 * headers, what the model reads is what was asked, every accepted request ends once, and inputs that are copied are not touched after the call. */
#include "params.h"

#include <stdlib.h>

#define ASKED_MAX 6

typedef struct asked {
    fuzz_host *host;
    params_setup setup;
    any_params params;             /* as asked, for comparison; from the same bytes as what the library got */
    fuzz_scrap *expected, *passed; /* `passed` goes when the library must have done with it */
    cadre_request_id id;
    int rc, done, status, released;
    bool in_call, timed, lent;
} asked;

typedef struct run {
    fuzz_host host;
    fuzz_model model;
    asked asked[ASKED_MAX];
    unsigned count;
} run;

static run the_run;

/* ---- what is heard ---- */

/* A struct of an older header has no `data`. */
static asked *asked_by(const cadre_request *request)
{
    asked *a = cadre_request_data(request);
    for (unsigned i = 0; !a && i < the_run.count; i++)
        if (the_run.asked[i].id == cadre_request_get_id(request)) a = &the_run.asked[i];
    FUZZ_CHECK(a, "a callback of a request that nobody made");
    return a;
}

static asked *told(cadre_request *request)
{
    asked *a = asked_by(request);
    FUZZ_CHECK(!a->in_call && a->rc == CADRE_OK && !a->done, "a callback from inside the call, of a refused request, or after on_done");
    FUZZ_CHECK(cadre_request_get_id(request) == a->id && !a->host->sim.current, "a callback of another request, or on a thread");
    return a;
}

static void finish(cadre_request *request, int status, bool result)
{
    asked *a = told(request);
    FUZZ_CHECK(result == (status >= 0) && status <= 0, "status %d with%s a result", status, result ? "" : "out");
    FUZZ_CHECK(status == CADRE_OK || status == CADRE_EINPUT || (status == CADRE_ETIMEDOUT && a->timed), "a request ends with %s: %s", cadre_err_name(status),
               cadre_request_detail(request));
    a->done++;
    a->status = status;
}

static void on_text(cadre_request *request, const char *text, size_t length)
{
    told(request);
    FUZZ_CHECK(strlen(text) == length && is_utf8(text), "a piece of %zu bytes that is not terminated, or not UTF-8", length);
}

static void on_generation(cadre_request *request, int status, const cadre_generation *result)
{
    FUZZ_CHECK(!result || !result->text || strlen(result->text) == result->text_length, "text_length is not that of text");
    finish(request, status, result);
}

static void on_embeddings(cadre_request *request, int status, const cadre_embeddings *result)
{
    const asked *a = asked_by(request);
    const cadre_embed_params *p = &a->params.embed;
    size_t rows = a->setup.capability == CADRE_IMAGE_EMBEDDING ? a->params.embed_images.count : p->text ? 1 : p->count;
    FUZZ_CHECK(!result || (result->count == rows && result->dimension == 2), "%zu rows, not %zu", result->count, rows);
    for (size_t i = 0; result && a->setup.capability == CADRE_TEXT_EMBEDDING && i < rows; i++) {
        const char *text = p->text ? p->text : p->texts[i];
        FUZZ_CHECK(result->values[2 * i + 1] == (float)(fuzz_hash(text, strlen(text)) >> 8), "row %zu is another's", i);
    }
    finish(request, status, result);
}

static void on_step(cadre_request *request, uint32_t done, uint32_t total)
{
    told(request);
    FUZZ_CHECK(done >= 1 && done <= total, "step %u of %u", done, total);
}

static void on_image(cadre_request *request, int status, const cadre_image *result)
{
    const asked *a = asked_by(request);
    const char *prompt = a->params.generate_image.prompt;
    uint32_t hash = result ? fuzz_hash(prompt, strlen(prompt)) : 0;
    FUZZ_CHECK(!result || memcmp(result->pixels, &hash, 3) == 0, "the picture is another's");
    finish(request, status, result);
}

static void on_release(void *data)
{
    asked *a = data;
    FUZZ_CHECK(!a->released++ && !a->host->sim.current, "released twice, or on a thread");
    if (!a->in_call) fuzz_drop(&a->passed);
}

static void see(fuzz_model *m, const fuzz_seen *seen)
{
    const run *r = m->data;
    const char *field = "everything";
    for (unsigned i = 0; field && i < r->count; i++)
        if (r->asked[i].rc == CADRE_OK) field = params_differ(&r->asked[i].params, &r->asked[i].setup, seen);
    FUZZ_CHECK(!field, "a request arrives with another %s", field);
}

/* ---- asking ---- */

static int call(cadre_pool *pool, cadre_capability capability, const void *params, cadre_request_id *out)
{
    switch (capability) {
    case CADRE_TEXT_TO_TEXT: return cadre_generate(pool, params, out);
    case CADRE_TEXT_EMBEDDING: return cadre_embed(pool, params, out);
    case CADRE_IMAGE_EMBEDDING: return cadre_embed_images(pool, params, out);
    case CADRE_VISION: return cadre_describe(pool, params, out);
    default: return cadre_generate_image(pool, params, out);
    }
}

static void check_answer(const asked *a)
{
    params_verdict v = params_judge(&a->params, &a->setup);
    if (v.unsure && a->rc == CADRE_EINVAL) return;
    bool expected = a->rc == CADRE_EINVAL    ? v.invalid
                    : a->rc == CADRE_ENOTSUP ? v.unsupported
                    : a->rc == CADRE_ENOENT  ? v.unknown_key
                                             : a->rc == CADRE_OK && !v.invalid && !v.unsupported && !v.unknown_key;
    FUZZ_CHECK(expected, "%s answers %s (%s), where it is%s%s%s", cadre_capability_name(a->setup.capability), cadre_err_name(a->rc),
               cadre_pool_error_detail(a->host->pool), v.invalid ? " invalid" : "", v.unsupported ? " unsupported" : "",
               v.unknown_key ? " for an unknown key" : "");
    FUZZ_CHECK(a->rc == CADRE_OK || is_utf8(cadre_pool_error_detail(a->host->pool)) || v.unknown_key, "the detail is not UTF-8");
    FUZZ_CHECK((a->rc == CADRE_OK) == (a->id != 0), "%s and an id do not go together", cadre_err_name(a->rc));
}

static void ask(run *r, fuzz_bytes *b, const params_setup *setup)
{
    asked *a = &r->asked[r->count];
    *a = (asked){.host = &r->host, .setup = *setup, .rc = 1};
    a->setup.data = a;
    fuzz_bytes again = *b;
    any_params params;
    params_read(b, &a->setup, &a->expected, &a->params);
    params_read(&again, &a->setup, &a->passed, &params);
    const cadre_request_options *options = params_options(&a->params, setup->capability);
    a->timed = options && options->timeout_ms != CADRE_DEFAULT;
    a->lent = options && options->size == sizeof *options && options->release;
    r->count++;
    /* The caller's own block, as long as its size says; or a whole one, when that cannot be. */
    size_t length = options ? params.size : sizeof params;
    void *block = malloc(length);
    if (!block) abort();
    memcpy(block, &params, length);
    a->in_call = true;
    a->rc = call(r->host.pool, setup->capability, block, &a->id);
    a->in_call = false;
    free(block);
    check_answer(a);
    FUZZ_CHECK(a->released == (a->lent && a->rc != CADRE_OK), "%s: released %d times in the call", cadre_err_name(a->rc), a->released);
    if (!a->lent || a->rc != CADRE_OK) fuzz_drop(&a->passed);
}

static void free_fetched(void *payload)
{
    cadre_blob *blob = payload;
    free(blob->data);
    free(blob);
}

/* What a URL brings is its own text: at once, or, where it has an even number of bytes, on a later turn. */
static cadre_weights_future *fetch(void *self, cadre_pool *pool, const char *url, uint64_t max_bytes)
{
    (void)self;
    size_t length = strlen(url);
    if (length > max_bytes) return cadre_weights_future_failed(pool, CADRE_EINPUT, "too long");
    cadre_blob *blob = malloc(sizeof *blob);
    if (!blob) abort();
    *blob = (cadre_blob){malloc(length), length, NULL};
    if (!blob->data) abort();
    memcpy(blob->data, url, length);
    cadre_weights_value value = {sizeof value, blob, free_fetched, NULL};
    if (length % 2) return cadre_weights_future_ready(pool, &value);
    cadre_weights_promise *promise;
    cadre_weights_future *future;
    int rc = cadre_weights_promise_create(pool, &promise, &future);
    FUZZ_CHECK(rc == CADRE_OK, "a fetch cannot have its promise: %s", cadre_err_name(rc));
    cadre_weights_promise_resolve(promise, &value);
    cadre_weights_promise_release(promise);
    return future;
}

/* Opens the host with one ready model. */
static params_setup open_run(run *r, fuzz_bytes *b)
{
    uint8_t first = fuzz_byte(b), second = fuzz_byte(b);
    r->count = 0;
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    const cadre_image_decoder decoder = {sizeof decoder, &r->host, 1000, 100, fuzz_decode};
    const cadre_image_fetcher fetcher = {sizeof fetcher, NULL, fetch};
    params_setup setup = {.capability = (cadre_capability)(first % 5), .decoder = second & 1, .fetcher = second & 2, .key = "m", .on_text = on_text};
    setup.on_generation = on_generation, setup.on_embeddings = on_embeddings, setup.on_step = on_step, setup.on_image = on_image, setup.release = on_release;
    if (setup.decoder) options.decoder = &decoder;
    if (setup.fetcher) options.fetcher = &fetcher;
    fuzz_open(&r->host, second, &options);
    r->model = (fuzz_model){&r->host, setup.capability, first & 64 ? 3 : 0, 3, 2, 1000, false, CADRE_OK, see, r};
    fuzz_spawn_ready(&r->model, "m");
    if (second & 4) fuzz_settle(&r->host);
    return setup;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    run *r = &the_run;
    fuzz_bytes b = {data, size};
    params_setup setup = open_run(r, &b);
    while (b.left && r->count < ASKED_MAX) {
        ask(r, &b, &setup);
        if (fuzz_byte(&b) & 1) fuzz_settle(&r->host);
    }
    fuzz_settle(&r->host);
    for (unsigned i = 0; i < r->count; i++) FUZZ_CHECK(r->asked[i].done == (r->asked[i].rc == CADRE_OK), "an accepted request ends %d times", r->asked[i].done);
    fuzz_end(&r->host);
    for (unsigned i = 0; i < r->count; i++) {
        asked *a = &r->asked[i];
        FUZZ_CHECK(a->released == a->lent, "lent inputs are released %d times", a->released);
        fuzz_drop(&a->expected);
        fuzz_drop(&a->passed);
    }
    return 0;
}
