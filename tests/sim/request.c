/* Requests: what is asked, what may be answered, and what is checked of every answer. */
#include "host.h"

#include "pool/model.h"

#include <stdlib.h>

/* ---- what the answer is made of ---- */

int piece_text(const sim_request *r, unsigned index, char *out, size_t size)
{
    return snprintf(out, size, "%u:%u;", r->number, index);
}

float row_value(const sim_request *r, unsigned row, unsigned column)
{
    return (float)((r->number * 31 + row * 7 + column) % 4096);
}

/* ---- what is heard ---- */

static bool explained(const sim_request *r, int status)
{
    const host *h = r->host;
    if (r->cancelled) return status == CADRE_ECANCELED;
    if (status == CADRE_OK) return r->fails_at < 0 && !r->any_failure;
    if (r->fails_at >= 0 && status == r->failure && (r->begun || r->rows)) return true;
    if (status == CADRE_ECANCELED && r->perhaps) return true;
    if (status == CADRE_ETIMEDOUT && r->due <= h->sim.now) return true;
    if (status == CADRE_ETIMEDOUT && h->sim.sticky && r->model->registered && !r->begun) return true; /* the load of the shared weights stands still */
    if (status == CADRE_EENGINE && r->any_failure) return true;
    if (status == CADRE_ECLOSED && h->closing) return true;
    if (status == CADRE_ENOMEM && h->out_of_memory) return true;
    const sim_model *m = r->model;
    if (status == CADRE_EWORKER && m->crashed && r->begun) return true;
    if (status == CADRE_EHUNG && m->hangs) return true;
    bool unknown = r->known_late && !r->begun && !h->fair;
    if (unknown && (status == CADRE_ENOENT || status == CADRE_EFORMAT || status == CADRE_EEXIST || status == CADRE_EMANIFEST || status == CADRE_EBUDGET ||
                    status == CADRE_ETHREAD || (status == CADRE_ECAPABILITY && r->as != m->capability)))
        return true;
    if (!m->registered) return !r->begun && (m->failed || m->crashed || m->hangs);
    if (h->fair || r->begun || status == CADRE_EWORKER) return false;
    if (m->turmoil || h->out_of_memory || h->sim.starts_fail) return true;
    return status == CADRE_ENOENT || status == CADRE_EBUDGET || status == CADRE_EBREAKER;
}

static void forget_input(sim_request *r)
{
    if (r->prompt) memset(r->prompt, '#', (ROWS_MAX + 1) * PROMPT_MAX);
    free(r->prompt);
    r->prompt = NULL;
}

static void on_release(void *data)
{
    sim_request *r = data;
    host *h = r->host;
    if (!r->lent || r->released) sim_violation(&h->sim, "request %u: released twice, or not lent", r->number);
    if (h->sim.current && !h->sim.current->abandoned) sim_violation(&h->sim, "request %u: released on another thread than the loop", r->number);
    sim_log(&h->sim, "q%u released", r->number);
    r->released = true;
    forget_input(r);
    if (r->accepted) host_reenter(h);
}

static sim_request *told(cadre_request *request)
{
    sim_request *r = cadre_request_data(request);
    host *h = r->host;
    if (h->sim.current) sim_violation(&h->sim, "request %u: a callback on another thread than the loop", r->number);
    if (!r->accepted) sim_violation(&h->sim, "request %u: a callback of a request that was refused, or from inside its call", r->number);
    if (r->done) sim_violation(&h->sim, "request %u: a callback after on_done", r->number);
    if (cadre_request_get_id(request) != r->id || (!r->stranger && strcmp(cadre_request_key(request), r->model->key) != 0) ||
        cadre_request_pool(request) != h->pool)
        sim_violation(&h->sim, "request %u: the callback's request is another", r->number);
    return r;
}

static void answered(sim_request *r, cadre_request *request, int status, bool result)
{
    host *h = r->host;
    sim_log(&h->sim, "q%u done: %s", r->number, cadre_err_name(status));
    r->done = true;
    h->open[r->place] = h->open[--h->open_count];
    h->open[r->place]->place = r->place;
    if (!explained(r, status))
        sim_violation(&h->sim, "request %u (%s) ends with %s, \"%s\", for no reason", r->number, r->model->key, cadre_err_name(status),
                      cadre_request_detail(request));
    if (result != (status >= 0)) sim_violation(&h->sim, "request %u: a result with %s", r->number, cadre_err_name(status));
    if (r->lent && r->released && status == 0) sim_violation(&h->sim, "request %u: released before its answer", r->number);
    if (cadre_request_cancel(h->pool, r->id) != CADRE_ESTALE) sim_violation(&h->sim, "request %u: its id is not stale in on_done", r->number);
    if (r->paused && status == CADRE_OK && r->streams && r->heard < r->pieces)
        sim_violation(&h->sim, "request %u: on_done overtakes pieces that are held", r->number);
    breaker_answered(r, request, status);
    if (h->fair && h->sim.now < h->fair_until) request_again(r->model);
    host_reenter(h);
}

static void on_text(cadre_request *request, const char *text, size_t length)
{
    sim_request *r = told(request);
    host *h = r->host;
    char expected[PROMPT_MAX];
    int expected_length = piece_text(r, r->heard, expected, sizeof expected);
    if (r->silent) sim_violation(&h->sim, "request %u: on_text after its cancel", r->number);
    if (r->paused) sim_violation(&h->sim, "request %u: on_text while it is paused", r->number);
    if (length != (size_t)expected_length || memcmp(text, expected, length + 1) != 0)
        sim_violation(&h->sim, "request %u: piece %u is \"%.30s\"", r->number, r->heard, text);
    sim_log(&h->sim, "q%u piece %u", r->number, r->heard);
    r->heard++;
    host_reenter(h);
}

static void on_step(cadre_request *request, uint32_t done, uint32_t total)
{
    sim_request *r = told(request);
    if (r->silent) sim_violation(&r->host->sim, "request %u: on_step after its cancel", r->number);
    if (done <= r->stepped || done > total || total != r->pieces)
        sim_violation(&r->host->sim, "request %u: step %u of %u after %u", r->number, done, total, r->stepped);
    r->stepped = done;
    host_reenter(r->host);
}

static void on_generation(cadre_request *request, int status, const cadre_generation *result)
{
    sim_request *r = told(request);
    char whole[PROMPT_MAX * 16] = "";
    size_t length = 0;
    for (unsigned i = 0; i < r->pieces; i++) length += (size_t)piece_text(r, i, whole + length, sizeof whole - length);
    if (result) {
        bool complete = result->text_length == length && result->generated_tokens == r->pieces;
        complete = complete && (r->streams ? r->heard == r->pieces && !result->text : result->text && strcmp(result->text, whole) == 0);
        if (!complete)
            sim_violation(&r->host->sim, "request %u: %u of %u pieces came, the result has %zu bytes of %zu", r->number, r->heard, r->pieces,
                          result->text_length, length);
    }
    answered(r, request, status, result);
}

static void on_embeddings(cadre_request *request, int status, const cadre_embeddings *result)
{
    sim_request *r = told(request);
    if (result && (result->count != r->rows || result->dimension != r->model->dimension))
        sim_violation(&r->host->sim, "request %u: %zu rows of %zu", r->number, result->count, result->dimension);
    for (unsigned i = 0; result && i < r->rows; i++)
        for (unsigned k = 0; k < result->dimension; k++)
            if (result->values[i * result->dimension + k] != row_value(r, i, k)) sim_violation(&r->host->sim, "request %u: row %u is another's", r->number, i);
    answered(r, request, status, result);
}

static void on_image(cadre_request *request, int status, const cadre_image *result)
{
    sim_request *r = told(request);
    if (result && result->pixels[0] != (r->number & 0xff)) sim_violation(&r->host->sim, "request %u: the picture is another's", r->number);
    answered(r, request, status, result);
}

/* ---- submission ---- */

static void write_input(sim_request *r, bool encoded)
{
    r->prompt = calloc(ROWS_MAX + 1, PROMPT_MAX);
    if (!r->prompt) abort();
    snprintf(r->prompt, PROMPT_MAX, "q%u of %s", r->number, r->model->key);
    for (unsigned i = 0; i < ROWS_MAX; i++) {
        char *row = r->prompt + (i + 1) * PROMPT_MAX;
        size_t length = (size_t)snprintf(row, PROMPT_MAX, "q%u of %s.%u", r->number, r->model->key, i);
        r->texts[i] = row;
        length = (length + 2) / 3 * 3;
        r->images[i] = encoded ? cadre_image_from_bytes(row, length) : cadre_image_from_rgb8((const uint8_t *)row, (uint32_t)(length / 3), 1);
    }
}

static int send_generation(sim_request *r, cadre_capability as, const char *key, const cadre_request_options *options)
{
    if (as == CADRE_TEXT_TO_TEXT) {
        cadre_generate_params p = CADRE_GENERATE_PARAMS_INIT;
        p.key = key;
        p.text = r->prompt;
        p.options = *options;
        p.on_text = r->streams ? on_text : NULL;
        p.on_done = on_generation;
        p.data = r;
        return cadre_generate(r->host->pool, &p, &r->id);
    }
    cadre_describe_params p = CADRE_DESCRIBE_PARAMS_INIT;
    p.key = key;
    p.query = r->prompt;
    p.images = r->images;
    p.image_count = r->rows ? r->rows : 1;
    p.options = *options;
    p.on_text = r->streams ? on_text : NULL;
    p.on_done = on_generation;
    p.data = r;
    return cadre_describe(r->host->pool, &p, &r->id);
}

static int send_embedding(sim_request *r, cadre_capability as, const char *key, const cadre_request_options *options)
{
    if (as == CADRE_TEXT_EMBEDDING) {
        cadre_embed_params p = CADRE_EMBED_PARAMS_INIT;
        p.key = key;
        p.texts = r->texts;
        p.count = r->rows;
        p.truncate = r->number & 1;
        p.task = r->number & 2 ? "query" : NULL;
        p.options = *options;
        p.on_done = on_embeddings;
        p.data = r;
        return cadre_embed(r->host->pool, &p, &r->id);
    }
    cadre_embed_images_params p = CADRE_EMBED_IMAGES_PARAMS_INIT;
    p.key = key;
    p.images = r->images;
    p.count = r->rows;
    p.options = *options;
    p.on_done = on_embeddings;
    p.data = r;
    return cadre_embed_images(r->host->pool, &p, &r->id);
}

static int ask(sim_request *r, cadre_capability as, const char *key, const cadre_request_options *options)
{
    if (as == CADRE_TEXT_TO_TEXT || as == CADRE_VISION) return send_generation(r, as, key, options);
    if (as != CADRE_TEXT_TO_IMAGE) return send_embedding(r, as, key, options);
    cadre_generate_image_params p = CADRE_GENERATE_IMAGE_PARAMS_INIT;
    p.key = key;
    p.prompt = r->prompt;
    p.options = *options;
    p.on_step = r->steps ? on_step : NULL;
    p.on_done = on_image;
    p.data = r;
    return cadre_generate_image(r->host->pool, &p, &r->id);
}

static sim_request *request_new(host *h, sim_model *m)
{
    sim_request *r = calloc(1, sizeof *r);
    if (!r) abort();
    if (h->request_count == h->request_capacity) {
        h->request_capacity = h->request_capacity ? h->request_capacity * 2 : 64;
        h->requests = realloc(h->requests, h->request_capacity * sizeof *h->requests);
        if (!h->requests) abort();
    }
    *r = (sim_request){.host = h, .model = m, .number = h->request_count, .fails_at = -1};
    h->requests[h->request_count++] = r;
    simulator *sim = &h->sim;
    r->as = m->capability;
    bool embeds = m->capability == CADRE_TEXT_EMBEDDING || m->capability == CADRE_IMAGE_EMBEDDING;
    r->rows = embeds ? 1 + (unsigned)sim_below(sim, sim_one_in(sim, 2) ? 1 : ROWS_MAX) : (unsigned)sim_below(sim, 3);
    r->pieces = m->capability == CADRE_TEXT_TO_IMAGE ? 1 + (unsigned)sim_below(sim, 4) : (unsigned)sim_below(sim, sim_one_in(sim, 6) ? 14 : 5);
    if (sim_one_in(sim, m->fragile ? 2 : 10)) r->fails_at = (int)sim_below(sim, embeds ? r->rows : r->pieces);
    if (r->fails_at >= 0 && !embeds && !r->pieces) r->fails_at = -1;
    static const int failures[] = {CADRE_EINPUT, CADRE_ETOOLONG, CADRE_EENGINE, CADRE_EENGINE, CADRE_EENGINE, CADRE_EWORKER};
    r->failure = failures[sim_below(sim, sizeof failures / sizeof *failures)];
    if (h->fair || h->calm) r->fails_at = -1;
    r->priority = (uint8_t)sim_below(sim, CADRE_PRIORITY_COUNT);
    r->lent = sim_one_in(sim, 3);
    r->streams = sim_below(sim, 4) > 0;
    r->steps = sim_one_in(sim, 2);
    return r;
}

/* Its key is free: what is left of it are requests that were answered. */
static bool is_over(const cadre__model *model)
{
    return !model || (!model->loading && !model->ready && !model->leaving && !model->entry && !model->unknown);
}

/* What the call must answer. */
static int expected_answer(const host *h, cadre_capability as, const char *key, const cadre_request_options *options, int *also)
{
    const cadre__model *model = cadre__model_find(h->pool, key);
    if (options->timeout_ms == 0 || options->priority >= CADRE_PRIORITY_COUNT) return CADRE_EINVAL;
    if (h->pool->closing) return CADRE_ECLOSED;
    if (!model && h->pool->additions) return CADRE_OK;
    bool may_come = is_over(model) && h->pool->additions;
    if (!model || (!model->loading && !model->ready && !model->entry && !model->unknown && !may_come)) return CADRE_ENOENT;
    if (model->kind->capability != as) return CADRE_ECAPABILITY;
    if (model->queued >= model->capacity) return CADRE_EFULL;
    return model->entry ? expected_of_entry(h, model->entry, also) : CADRE_OK;
}

static void keep_open(host *h, sim_request *r)
{
    if (h->open_count == h->open_capacity) {
        h->open_capacity = h->open_capacity ? h->open_capacity * 2 : 64;
        h->open = realloc(h->open, h->open_capacity * sizeof(sim_request *));
        if (!h->open) abort();
    }
    r->place = h->open_count;
    h->open[h->open_count++] = r;
}

static void again(void *data)
{
    sim_model *m = data;
    host *h = m->host;
    if (h->closed || h->closing || h->sim.now >= h->fair_until) return;
    h->operations++;
    request_submit(h, m);
}

void request_again(sim_model *m)
{
    host *h = m->host;
    sim_plan(&h->sim, m->greedy ? 0 : sim_span(&h->sim, 300 * CADRE__NS_PER_MS), again, m);
}

void request_submit(host *h, sim_model *m)
{
    simulator *sim = &h->sim;
    sim_request *r = request_new(h, m);
    cadre_request_options options = CADRE_REQUEST_OPTIONS_INIT;
    options.priority = r->priority;
    r->due = UINT64_MAX;
    if (sim_one_in(sim, 3) && !h->fair) {
        options.timeout_ms = 1 + (int64_t)sim_span(sim, 200);
        r->due = cadre__pool_now(h->pool) + (uint64_t)options.timeout_ms * CADRE__NS_PER_MS;
    }
    if (sim_one_in(sim, 80) && !h->fair) options.timeout_ms = 0;
    if (sim_one_in(sim, 80) && !h->fair) options.priority = CADRE_PRIORITY_COUNT;
    if (r->lent) {
        options.release = on_release;
        options.release_data = r;
    }
    const char *key = sim_one_in(sim, 60) && !h->fair ? "nobody" : m->key;
    cadre_capability as = sim_one_in(sim, 60) && !h->fair ? (cadre_capability)sim_below(sim, CADRE_CAPABILITY_COUNT) : m->capability;
    if (as != m->capability && !r->rows) r->rows = 1;
    write_input(r, h->decoder.size && sim_one_in(sim, 2));
    r->as = as;
    const cadre__model *known = cadre__model_find(h->pool, key);
    r->known_late = h->pool->additions && (is_over(known) || known->unknown);
    if (strcmp(key, m->key) != 0) r->stranger = true;
    if (as != m->capability) m->misnamed = true;
    int also = 1, expected = expected_answer(h, as, key, &options, &also);
    bool slow = known && known->entry && !known->ready && known->entry->load_ns; /* by the mean of its loads, an estimate of the library's */
    r->submitted = sim->now;
    int rc = ask(r, as, key, &options);
    sim_log(sim, "q%u for %s, priority %d, timeout %lld, %u pieces, %u rows: %s", r->number, key, options.priority, (long long)options.timeout_ms, r->pieces,
            r->rows, cadre_err_name(rc));
    if (rc != expected && rc != also && !(slow && rc == CADRE_ETIMEDOUT && options.timeout_ms > 0) && !(rc == CADRE_ENOMEM && h->out_of_memory))
        sim_violation(sim, "request %u is answered with %s, not %s", r->number, cadre_err_name(rc), cadre_err_name(expected));
    if ((rc == CADRE_OK) != (r->id != 0)) sim_violation(sim, "request %u: %s and an id do not go together", r->number, cadre_err_name(rc));
    if (rc != CADRE_OK && r->lent && !r->released) sim_violation(sim, "request %u: refused, but its input is not released", r->number);
    if (rc == CADRE_OK && r->released) sim_violation(sim, "request %u: released inside its submission", r->number);
    r->rc = rc;
    r->accepted = rc == CADRE_OK;
    if (r->accepted) keep_open(h, r);
    if (!r->lent) forget_input(r);
}

/* ---- cancel, pause, resume ---- */

static sim_request *live(host *h)
{
    return h->open_count ? h->open[sim_below(&h->sim, h->open_count)] : NULL;
}

static void pause_or_resume(sim_request *r, bool pauses)
{
    host *h = r->host;
    int rc = pauses ? cadre_request_pause(h->pool, r->id) : cadre_request_resume(h->pool, r->id);
    bool streamed = r->streams && (r->as == CADRE_TEXT_TO_TEXT || r->as == CADRE_VISION);
    sim_log(&h->sim, "%s of q%u: %s", pauses ? "pause" : "resume", r->number, cadre_err_name(rc));
    if (rc != (streamed ? CADRE_OK : CADRE_ENOTSUP)) sim_violation(&h->sim, "request %u: pause or resume answers %s", r->number, cadre_err_name(rc));
    if (streamed) r->paused = pauses;
    if (streamed && pauses) r->model->paused = true;
}

void request_act(host *h)
{
    sim_request *r = live(h);
    if (!r) return;
    uint64_t what = sim_below(&h->sim, 10);
    if (what < 2 && !h->relented) {
        pause_or_resume(r, true);
    } else if (what < 7) {
        pause_or_resume(r, false);
    } else if (what < 8) {
        int rc = cadre_port_cancel(h->port, r->id);
        if (rc == CADRE_OK) r->perhaps = true;
    } else {
        int rc = cadre_request_cancel(h->pool, r->id);
        sim_log(&h->sim, "cancel of q%u: %s", r->number, cadre_err_name(rc));
        if (rc != CADRE_OK && rc != CADRE_EALREADY) sim_violation(&h->sim, "request %u: cancel answers %s", r->number, cadre_err_name(rc));
        if (rc == CADRE_OK) r->cancelled = true;
        r->silent = true;
    }
}

void request_resume_all(host *h)
{
    for (unsigned i = 0; i < h->open_count; i++)
        if (h->open[i]->paused) pause_or_resume(h->open[i], false);
}

void request_check_closed(host *h)
{
    for (unsigned i = 0; i < h->request_count; i++) {
        const sim_request *r = h->requests[i];
        if (r->accepted && !r->done) sim_violation(&h->sim, "request %u is never answered", r->number);
        if (r->lent && !r->released && !h->report.abandoned_threads) sim_violation(&h->sim, "request %u: its input is not released at the close", r->number);
    }
}

void request_check_end(host *h)
{
    for (unsigned i = 0; i < h->request_count; i++) {
        sim_request *r = h->requests[i];
        if (r->lent && !r->released) sim_violation(&h->sim, "request %u: its input is never released", r->number);
        forget_input(r);
        free(r);
    }
    free(h->requests);
    free(h->open);
}
