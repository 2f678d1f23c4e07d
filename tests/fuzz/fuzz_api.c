/* The public API as a sequence of calls, from the loop and from inside callbacks: requests, workers, promises and futures, weights, reservations, the port, the
 * registry, and close at any moment. Every accepted call is answered once, stale ids say so, the ledger is conserved, and nothing is left. */
#include "fuzz_api.h"

#include <stdlib.h>

const char *const api_keys[KEYS] = {"a", "b", "c"};

static void operation(api *a);

void api_reenter(api *a)
{
    if (a->depth || a->host.closed || !a->bytes.left || (fuzz_byte(&a->bytes) & 7)) return;
    a->depth++;
    operation(a);
    a->depth--;
}

void api_check(const api *a, const char *what, int rc, const int *allowed)
{
    if (rc == CADRE_OK || (rc == CADRE_ENOMEM && a->host.fail_every) || (rc == CADRE_ECLOSED && a->host.closing)) return;
    for (; *allowed; allowed++)
        if (rc == *allowed) return;
    fuzz_fail("%s answers %s: %s", what, cadre_err_name(rc), a->host.closed ? "" : cadre_pool_error_detail(a->host.pool));
}

/* ---- requests ---- */

static api_request *told(cadre_request *request)
{
    api_request *r = cadre_request_data(request);
    FUZZ_CHECK(!r->in_call && r->rc == CADRE_OK && !r->done, "a callback in the call, of a refused request, or after on_done");
    FUZZ_CHECK(cadre_request_get_id(request) == r->id && !r->a->host.sim.current && cadre_request_pool(request) == r->a->host.pool,
               "a callback of another request, or on a thread");
    return r;
}

static void finish(cadre_request *request, int status, bool result)
{
    api_request *r = told(request);
    FUZZ_CHECK(status <= 0 && result == (status == 0), "%s with%s a result", cadre_err_name(status), result ? "" : "out");
    FUZZ_CHECK(!status == !*cadre_request_detail(request), "%s with the detail \"%s\"", cadre_err_name(status), cadre_request_detail(request));
    FUZZ_CHECK(!r->silent || status == CADRE_ECANCELED || status == CADRE_EALREADY, "a cancelled request ends with %s", cadre_err_name(status));
    r->done++;
    FUZZ_CHECK(cadre_request_cancel(r->a->host.pool, r->id) == CADRE_ESTALE, "a request's id is not stale in on_done");
    api_reenter(r->a);
}

static void on_text(cadre_request *request, const char *text, size_t length)
{
    api_request *r = told(request);
    FUZZ_CHECK(!r->paused && !r->silent, "on_text while it is paused, or after a cancel");
    FUZZ_CHECK(strlen(text) == length && strcmp(text, (const char *)r->text) == 0, "a piece is another's");
    api_reenter(r->a);
}

static void on_step(cadre_request *request, uint32_t done, uint32_t total)
{
    api_request *r = told(request);
    FUZZ_CHECK(!r->silent && done <= total, "on_step after a cancel");
    api_reenter(r->a);
}

static void on_generation(cadre_request *request, int status, const cadre_generation *result)
{
    finish(request, status, result);
}

static void on_embeddings(cadre_request *request, int status, const cadre_embeddings *result)
{
    finish(request, status, result);
}

static void on_image(cadre_request *request, int status, const cadre_image *result)
{
    finish(request, status, result);
}

static void on_release(void *data)
{
    api_request *r = data;
    FUZZ_CHECK(r->lent && !r->released++, "an input is released twice, or was not lent");
    if (!r->in_call) api_reenter(r->a);
}

static int ask(api_request *r, cadre_capability capability, const char *key, const cadre_request_options *options, bool streams)
{
    cadre_pool *pool = r->a->host.pool;
    const char *text = (const char *)r->text;
    cadre_image_input image = cadre_image_from_rgb8(r->pixels, 1, 1);
    switch (capability) {
    case CADRE_TEXT_TO_TEXT: {
        cadre_generate_params p = CADRE_GENERATE_PARAMS_INIT;
        p.key = key, p.text = text, p.options = *options, p.on_text = streams ? on_text : NULL, p.on_done = on_generation, p.data = r;
        return cadre_generate(pool, &p, &r->id);
    }
    case CADRE_TEXT_EMBEDDING: {
        cadre_embed_params p = CADRE_EMBED_PARAMS_INIT;
        p.key = key, p.text = text, p.options = *options, p.on_done = on_embeddings, p.data = r;
        return cadre_embed(pool, &p, &r->id);
    }
    case CADRE_IMAGE_EMBEDDING: {
        cadre_embed_images_params p = CADRE_EMBED_IMAGES_PARAMS_INIT;
        p.key = key, p.images = &image, p.count = 1, p.options = *options, p.on_done = on_embeddings, p.data = r;
        p.options.release = NULL; /* the input would have to live longer */
        return cadre_embed_images(pool, &p, &r->id);
    }
    case CADRE_VISION: {
        cadre_describe_params p = CADRE_DESCRIBE_PARAMS_INIT;
        p.key = key, p.query = text, p.images = &image, p.image_count = 1, p.options = *options, p.on_text = streams ? on_text : NULL;
        p.on_done = on_generation, p.data = r, p.options.release = NULL;
        return cadre_describe(pool, &p, &r->id);
    }
    default: {
        cadre_generate_image_params p = CADRE_GENERATE_IMAGE_PARAMS_INIT;
        p.key = key, p.prompt = text, p.options = *options, p.on_step = streams ? on_step : NULL, p.on_done = on_image, p.data = r;
        return cadre_generate_image(pool, &p, &r->id);
    }
    }
}

/* Requests that a worker gave back, or that came before the model was known, may wait above the capacity; a new one may not. */
static void check_room(const api *a, const char *key)
{
    cadre_model_info info = CADRE_MODEL_INFO_INIT;
    if (cadre_model_get_info(a->host.pool, key, &info) == CADRE_OK)
        FUZZ_CHECK(info.queued <= info.queue_capacity, "a request was accepted above the capacity: %llu wait", (unsigned long long)info.queued);
}

static void submit(api *a)
{
    if (a->request_count == REQUESTS_MAX) return;
    api_request *r = &a->requests[a->request_count++];
    uint8_t what = fuzz_byte(&a->bytes), first = fuzz_byte(&a->bytes) & 0x7f;
    *r = (api_request){.a = a, .text = {first ? first : 'x', (uint8_t)('0' + a->request_count)}, .in_call = true, .rc = 1};
    cadre_request_options options = CADRE_REQUEST_OPTIONS_INIT;
    const char *key = what % 16 == 15 ? "nobody" : api_keys[what % KEYS];
    cadre_capability as = what > 250 ? (cadre_capability)(what % 5) : a->models[what % KEYS].capability;
    if (what & 16) options.timeout_ms = 1 + fuzz_byte(&a->bytes);
    if (what & 32) options.priority = fuzz_byte(&a->bytes) % CADRE_PRIORITY_COUNT;
    r->lent = (what & 64) && as != CADRE_IMAGE_EMBEDDING && as != CADRE_VISION;
    if (r->lent) options.release = on_release, options.release_data = r;
    r->rc = ask(r, as, key, &options, what & 128);
    r->in_call = false;
    if (r->rc == CADRE_OK) check_room(a, key);
    api_check(a, "a request", r->rc,
              (const int[]){CADRE_ENOENT, CADRE_ECAPABILITY, CADRE_EFULL, CADRE_ETIMEDOUT, CADRE_EBREAKER, CADRE_ELOAD, CADRE_EFORMAT, CADRE_EBUDGET,
                            CADRE_ETHREAD, CADRE_EENGINE, CADRE_EABANDONED, CADRE_ECANCELED, 0});
    FUZZ_CHECK((r->rc == CADRE_OK) == (r->id != 0), "a request: %s and an id do not go together", cadre_err_name(r->rc));
    FUZZ_CHECK(r->released == (r->lent && r->rc != CADRE_OK), "a request: %s, and released %d times", cadre_err_name(r->rc), r->released);
}

static void act_on_request(api *a)
{
    if (!a->request_count) return;
    uint8_t what = fuzz_byte(&a->bytes);
    api_request *r = &a->requests[fuzz_byte(&a->bytes) % a->request_count];
    bool stale = r->rc != CADRE_OK || r->done;
    int rc;
    switch (what % 5) {
    case 0:
        rc = cadre_request_cancel(a->host.pool, r->id);
        FUZZ_CHECK(stale ? rc == CADRE_ESTALE : rc == CADRE_OK || rc == CADRE_EALREADY, "cancel answers %s", cadre_err_name(rc));
        r->silent = r->silent || rc == CADRE_OK;
        break;
    case 1:
        rc = cadre_request_pause(a->host.pool, r->id);
        FUZZ_CHECK(stale ? rc == CADRE_ESTALE : rc == CADRE_OK || rc == CADRE_ENOTSUP, "pause answers %s", cadre_err_name(rc));
        if (rc == CADRE_OK) r->paused = true;
        break;
    case 2:
        rc = cadre_request_resume(a->host.pool, r->id);
        FUZZ_CHECK(stale ? rc == CADRE_ESTALE : rc == CADRE_OK || rc == CADRE_ENOTSUP, "resume answers %s", cadre_err_name(rc));
        if (rc == CADRE_OK) r->paused = false;
        break;
    case 3:
        if (r->id) api_check(a, "port_cancel", cadre_port_cancel(a->host.port, r->id), (const int[]){0});
        break;
    default: {
        cadre_request_id id = (cadre_request_id)fuzz_integer(&a->bytes) | UINT64_C(1) << 62; /* nobody's */
        FUZZ_CHECK(cadre_request_cancel(a->host.pool, id) == CADRE_ESTALE && cadre_request_pause(a->host.pool, id) == CADRE_ESTALE,
                   "an id that was never given is not stale");
    }
    }
}

/* ---- the rest ---- */

cadre_reservation *api_reserve(api *a)
{
    cadre_memory_amount amounts[2] = {{fuzz_byte(&a->bytes) % 3, fuzz_byte(&a->bytes) * UINT64_C(8)}, {CADRE_DEVICE_HOST, fuzz_byte(&a->bytes)}};
    cadre_reservation *out = NULL;
    if (a->host.closed) return NULL;
    int rc = cadre_memory_try_reserve(a->host.pool, amounts, 1 + (amounts[1].bytes & 1), &out);
    api_check(a, "memory_try_reserve", rc, amounts[0].device > 1 ? (const int[]){CADRE_EINVAL, 0} : (const int[]){CADRE_EBUDGET, 0});
    FUZZ_CHECK((rc == CADRE_OK) == (out != NULL), "a reservation: %s and a handle do not go together", cadre_err_name(rc));
    return out;
}

static void hold_reservation(api *a)
{
    cadre_reservation **slot = &a->reservations[fuzz_byte(&a->bytes) % RESERVATIONS_MAX];
    if (*slot) {
        cadre_reservation_release(*slot);
        *slot = NULL;
        a->host.reserved--;
    } else if ((*slot = api_reserve(a))) {
        a->host.reserved++;
    }
}

static void posted(cadre_pool *pool, void *data)
{
    api *a = data;
    FUZZ_CHECK(pool == a->host.pool && !a->host.sim.current, "a post runs on a thread, or for another pool");
    a->ran++;
    api_reenter(a);
}

static void use_port(api *a)
{
    int rc = cadre_port_post(a->host.port, posted, a);
    api_check(a, "port_post", rc, (const int[]){0});
    a->posted += rc == CADRE_OK;
    cadre_port_release(cadre_port_retain(a->host.port));
}

static void look(api *a)
{
    cadre_model_info info = CADRE_MODEL_INFO_INIT;
    int rc = cadre_model_get_info(a->host.pool, api_keys[fuzz_byte(&a->bytes) % KEYS], &info);
    FUZZ_CHECK(rc == CADRE_OK || rc == CADRE_ENOENT, "model_get_info answers %s", cadre_err_name(rc));
    FUZZ_CHECK(strlen(cadre_pool_error_detail(a->host.pool)) < 512, "the error's detail is not terminated");
}

static void close_pool(api *a)
{
    static const int64_t times[] = {0, 1, 100, 5000, CADRE_NEVER};
    uint8_t what = fuzz_byte(&a->bytes);
    if (what & 0xc0) return; /* seldom */
    fuzz_close(&a->host, times[what % 5], times[what / 5 % 5]);
}

static void pass_time(api *a)
{
    static const uint64_t ns[] = {1000, 1000000, 100000000, UINT64_C(20000000000)};
    uint8_t what = fuzz_byte(&a->bytes);
    if (a->depth) return;
    if (what & 4) a->host.sim.now += ns[what % 4];
    for (unsigned i = what / 8; i > 0 && fuzz_step(&a->host); i--) continue;
    for (unsigned i = 0; what > 250 && i < 3000 && fuzz_step(&a->host); i++) continue;
}

static void operation(api *a)
{
    uint8_t what = fuzz_byte(&a->bytes) % 20;
    if (what >= 18) {
        api_act_on_promise(a); /* these may outlive the pool */
    } else if (what == 17) {
        api_act_on_weights(a);
    } else if (what == 16) {
        use_port(a);
    } else if (what >= 13) {
        pass_time(a);
    } else if (!a->host.closed) {
        static void (*const operations[])(api *) = {
            submit, submit, submit, submit, act_on_request, act_on_request, api_spawn, api_spawn, api_act_on_worker, hold_reservation, look, close_pool};
        if (what == 12) {
            api_act_on_registry(a);
            return;
        }
        operations[what % COUNT(operations)](a);
    }
}

static void open_pool(api *a)
{
    uint8_t first = fuzz_byte(&a->bytes), second = fuzz_byte(&a->bytes);
    static const cadre_device gpu = {sizeof gpu, "gpu", 1500};
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    options.memory_bytes = 4000, options.devices = &gpu, options.device_count = 1;
    options.loads_at_once = 1 + first % 2, options.cores = 1 + first / 2 % 4, options.aging_ms = first & 8 ? 0 : 5,
    options.abandon_after_ms = first & 16 ? 10 : 10000;
    options.seed = 1;
    fuzz_open(&a->host, second, &options);
    a->host.sim.waits = second & 1;
    a->host.sim.lag = second & 2 ? 50000 : 0;
    a->host.sim.starts_fail = second & 4 ? 10 : 0;
    a->host.sim.tick = second & 8 ? 20 : 0;
    a->host.fail_every = (first & 0xe0) == 0xe0 ? 100 : 0;
    for (unsigned i = 0; i < KEYS; i++) {
        uint8_t what = fuzz_byte(&a->bytes);
        a->models[i] = (fuzz_model){
            .host = &a->host, .capability = (cadre_capability)(what % 5), .slots = what / 5 % 4, .max_batch = 1 + what / 20 % 4, .dimension = 2};
        a->models[i].step_ns = what & 1 ? 100 : 300000;
        a->models[i].patient = what & 2;
        a->models[i].attach_status = what > 230 ? CADRE_EENGINE : CADRE_OK;
    }
}

static void check_end(const api *a)
{
    for (unsigned i = 0; i < a->request_count; i++) {
        const api_request *r = &a->requests[i];
        FUZZ_CHECK(r->done == (r->rc == CADRE_OK), "request %u: %s, and ends %d times", i, cadre_err_name(r->rc), r->done);
        FUZZ_CHECK(r->released == r->lent, "request %u: its input is released %d times", i, r->released);
    }
    for (unsigned i = 0; i < a->worker_count; i++) {
        const api_worker *w = &a->workers[i];
        FUZZ_CHECK(w->released == 1, "worker %u: its loader is released %d times", i, w->released);
        if (w->rc == CADRE_OK) FUZZ_CHECK(w->told == 1 && w->exited == w->ready, "worker %u: told %d times, exited %d times", i, w->told, w->exited);
    }
    FUZZ_CHECK(a->posted == a->ran, "%llu posts, %llu ran", (unsigned long long)a->posted, (unsigned long long)a->ran);
    FUZZ_CHECK(a->waits_asked == a->waits_told, "%llu waiters, %llu told", (unsigned long long)a->waits_asked, (unsigned long long)a->waits_told);
    FUZZ_CHECK(a->payloads_made == a->payloads_gone, "%llu payloads, %llu destroyed", (unsigned long long)a->payloads_made,
               (unsigned long long)a->payloads_gone);
    FUZZ_CHECK(a->answers_asked == a->answers_told, "%llu calls of the registry, %llu answered", (unsigned long long)a->answers_asked,
               (unsigned long long)a->answers_told);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static api state;
    api *a = &state;
    memset(a, 0, sizeof *a);
    a->bytes = (fuzz_bytes){data, size > 1024 ? 1024 : size};
    open_pool(a);
    while (a->bytes.left) operation(a);
    if (!a->host.closed)
        for (unsigned i = 0; i < a->request_count; i++) {
            a->requests[i].paused = false;
            (void)cadre_request_resume(a->host.pool, a->requests[i].id);
        }
    api_let_go(a);
    if (!a->host.closed && !a->host.closing) fuzz_close(&a->host, CADRE_DEFAULT, CADRE_DEFAULT);
    for (unsigned i = 0; !a->host.closed && i < 100000 && fuzz_step(&a->host); i++) api_let_go(a); /* a loader may still make a promise */
    api_let_go(a);
    fuzz_end(&a->host);
    check_end(a);
    return 0;
}
