#include "fuzz_api.h"

#include <stdlib.h>

/* ---- weights ---- */

static void payload_destroy(void *payload)
{
    ((api *)payload)->payloads_gone++;
}

static cadre_weights_value payload_make(api *a)
{
    a->payloads_made++;
    return (cadre_weights_value){sizeof(cadre_weights_value), a, payload_destroy, api_keys};
}

static int load_weights(cadre_load_context *context, void *data, cadre_weights_value *out)
{
    api *a = data;
    FUZZ_CHECK(a->host.sim.current, "weights are loaded on the loop");
    sim_busy(&a->host.sim, sim_span(&a->host.sim, CADRE__NS_PER_MS));
    cadre_load_progress(context, 0.5, 1, 2, "read");
    if (cadre_load_cancelled(context)) return CADRE_ECANCELED;
    *out = payload_make(a);
    return CADRE_OK;
}

/* One of the host's, pending or settled; makes one if there is none. */
static cadre_weights_future *some_weights(api *a)
{
    for (unsigned i = 0; i < PROMISES_MAX; i++)
        if (a->promises[i].weights && a->promises[i].future) return (cadre_weights_future *)a->promises[i].future;
    cadre_weights_future *future = NULL;
    int rc = cadre_weights_load_blocking(a->host.pool, load_weights, a, NULL, api_reserve(a), &future);
    api_check(a, "weights_load_blocking", rc, (const int[]){0});
    FUZZ_CHECK((rc == CADRE_OK) == (future != NULL), "weights: %s and a future do not go together", cadre_err_name(rc));
    for (unsigned i = 0; future && i < PROMISES_MAX; i++)
        if (!a->promises[i].promise && !a->promises[i].future) {
            a->promises[i] = (api_promise){NULL, (cadre_future *)future, true, 0};
            return future;
        }
    cadre_weights_future_release(future);
    return NULL;
}

void api_act_on_weights(api *a)
{
    uint8_t what = fuzz_byte(&a->bytes);
    if (what % 4 == 0 || (!a->held && what % 4 == 1)) {
        if (a->host.closed) return;
        cadre_weights_future *future = some_weights(a);
        cadre_weights *weights = future && cadre_weights_future_status(future) == CADRE_OK ? cadre_weights_future_get(future) : NULL;
        if (weights && !a->held) a->held = cadre_weights_retain(weights);
    } else if (a->held && what % 4 == 1) {
        FUZZ_CHECK(cadre_weights_payload(a->held) == a && cadre_weights_type(a->held) == api_keys, "the weights are others");
    } else {
        cadre_weights_release(a->held);
        a->held = NULL;
    }
}

/* ---- loads ---- */

static int make(cadre_load_context *context, cadre_weights *source, void *data, fuzz_value *out)
{
    api_worker *w = data;
    fuzz_host *h = &w->a->host;
    FUZZ_CHECK((h->sim.current != NULL) == (w->kind != LOAD_SHARED), "a model is made on the wrong side");
    FUZZ_CHECK((source != NULL) == (w->kind == LOAD_SHARED || w->kind == LOAD_CHAINED), "a load has another source than it asked for");
    sim_busy(&h->sim, sim_span(&h->sim, 5 * CADRE__NS_PER_MS));
    cadre_load_progress(context, 0.5, 1, 2, "read");
    if (w->outcome < 0) return cadre_load_fail(context, w->outcome, "the load fails");
    if (cadre_load_cancelled(context)) return CADRE_ECANCELED;
    fuzz_make(&w->a->models[w->key], out);
    return CADRE_OK;
}

#define FAMILY(NAME)                                                                                                                                           \
    static int NAME##_make(cadre_load_context *context, cadre_weights *source, void *data, NAME##_model *out)                                                  \
    {                                                                                                                                                          \
        fuzz_value value;                                                                                                                                      \
        int rc = make(context, source, data, &value);                                                                                                          \
        if (rc == CADRE_OK) memcpy(out, &value, sizeof *out);                                                                                                  \
        return rc;                                                                                                                                             \
    }                                                                                                                                                          \
    static cadre_future *NAME##_future_of(cadre_load_context *context, cadre_weights_future *source, bool shared, void *data)                                  \
    {                                                                                                                                                          \
        return NAME##_future_untyped(shared ? NAME##_load_shared(context, source, NAME##_make, data)                                                           \
                                            : NAME##_load_blocking(context, source, NAME##_make, data));                                                       \
    }
FAMILY(cadre_text_to_text)
FAMILY(cadre_text_embedding)
FAMILY(cadre_image_embedding)
FAMILY(cadre_vision)
FAMILY(cadre_text_to_image)

static cadre_future *(*const families[])(cadre_load_context *, cadre_weights_future *, bool, void *) = {
    cadre_text_to_text_future_of, cadre_text_embedding_future_of, cadre_image_embedding_future_of, cadre_vision_future_of, cadre_text_to_image_future_of};

/* The host keeps the promise, and settles it by a later operation. */
static cadre_future *load_by_promise(api *a, unsigned key)
{
    for (unsigned i = 0; i < PROMISES_MAX; i++) {
        api_promise *p = &a->promises[i];
        cadre_future *future = NULL;
        if (p->promise || p->future) continue;
        int rc = cadre_promise_create(a->host.pool, (cadre_value_type)a->models[key].capability, &p->promise, &future);
        api_check(a, "promise_create", rc, (const int[]){0});
        p->weights = false;
        p->key = key;
        return future;
    }
    return NULL;
}

cadre_future *api_load_future(cadre_load_context *context, void *data)
{
    api_worker *w = data;
    api *a = w->a;
    fuzz_model *m = &a->models[w->key];
    FUZZ_CHECK(!a->host.sim.current && !w->in_call, "a loader runs on a thread, or from inside its spawn");
    FUZZ_CHECK(strcmp(cadre_load_key(context), api_keys[w->key]) == 0, "a loader is told another key");
    switch (w->kind) {
    case LOAD_BLOCKING: return families[m->capability](context, NULL, false, w);
    case LOAD_PROMISE: return load_by_promise(a, w->key);
    case LOAD_SHARED:
    case LOAD_CHAINED: {
        cadre_weights_future *source = some_weights(a);
        return source ? families[m->capability](context, source, w->kind == LOAD_SHARED, w) : NULL;
    }
    case LOAD_READY: {
        fuzz_value value;
        fuzz_make(m, &value);
        return cadre_future_ready(a->host.pool, (cadre_value_type)m->capability, &value);
    }
    case LOAD_FAILED: return cadre_future_failed(a->host.pool, (cadre_value_type)m->capability, CADRE_EFORMAT, "it failed before");
    default: return NULL;
    }
}

/* ---- workers ---- */

static void on_ready(cadre_pool *pool, cadre_worker_id worker, int status, const char *detail, void *data)
{
    api_worker *w = data;
    FUZZ_CHECK(pool == w->a->host.pool && !w->in_call && !w->a->host.sim.current && worker == w->id, "on_ready in the call, on a thread, or of another worker");
    FUZZ_CHECK(!w->told++ && !status == !*detail, "on_ready twice, or %s with the detail \"%s\"", cadre_err_name(status), detail);
    w->ready = status == CADRE_OK;
    api_reenter(w->a);
}

static void on_exit_of(cadre_pool *pool, cadre_worker_id worker, int status, void *data)
{
    api_worker *w = data;
    (void)pool, (void)status;
    FUZZ_CHECK(worker == w->id && w->ready && !w->exited++, "on_exit twice, or of a worker that never was ready");
    api_reenter(w->a);
}

static void on_progress(cadre_pool *pool, cadre_worker_id worker, const cadre_progress *progress, void *data)
{
    api_worker *w = data;
    (void)pool;
    FUZZ_CHECK(worker == w->id && !w->told && progress->stage, "a report after the worker's callback");
    api_reenter(w->a);
}

static void release(void *data)
{
    api_worker *w = data;
    FUZZ_CHECK(!w->released++, "a loader is released twice");
}

void api_spawn(api *a)
{
    if (a->worker_count == WORKERS_MAX) return;
    api_worker *w = &a->workers[a->worker_count++];
    uint8_t what = fuzz_byte(&a->bytes), how = fuzz_byte(&a->bytes);
    *w = (api_worker){.a = a, .key = what % KEYS, .kind = (api_load)(how % LOAD_KINDS), .outcome = how > 220 ? CADRE_EFORMAT : CADRE_OK};
    cadre_spawn_options options = CADRE_SPAWN_OPTIONS_INIT;
    options.on_exit = on_exit_of;
    options.on_progress = on_progress;
    if (what & 8) options.load_timeout_ms = 1 + fuzz_byte(&a->bytes);
    if (what & 16) options.stall_timeout_ms = 1 + fuzz_byte(&a->bytes);
    if (what & 32) options.queue_capacity = 1 + fuzz_byte(&a->bytes) % 4;
    if (what & 64) options.stream_window = 1 + fuzz_byte(&a->bytes) % 3;
    cadre_reservation *owned = what & 128 ? api_reserve(a) : NULL;
    w->in_call = true;
    w->rc = fuzz_spawn(&a->host, a->models[w->key].capability, api_keys[w->key], api_load_future, w, release, owned, &options, on_ready, &w->id);
    w->in_call = false;
    api_check(a, "spawn", w->rc, (const int[]){CADRE_ECAPABILITY, CADRE_EEXIST, 0});
    FUZZ_CHECK((w->rc == CADRE_OK) == (w->id != 0) && w->released == (w->rc != CADRE_OK), "spawn: %s, and released %d times", cadre_err_name(w->rc),
               w->released);
}

void api_act_on_worker(api *a)
{
    if (!a->worker_count) return;
    uint8_t what = fuzz_byte(&a->bytes);
    const api_worker *w = &a->workers[fuzz_byte(&a->bytes) % a->worker_count];
    cadre_worker_id id = what > 240 ? fuzz_byte(&a->bytes) : w->id;
    cadre_worker_info info = CADRE_WORKER_INFO_INIT;
    int rc = cadre_worker_get_info(a->host.pool, id, &info);
    FUZZ_CHECK(rc == CADRE_OK ? info.id == id : rc == CADRE_ESTALE, "worker_get_info answers %s", cadre_err_name(rc));
    FUZZ_CHECK(id != w->id || !w->exited || rc == CADRE_ESTALE, "a worker that is gone has information");
    if (what & 1) api_check(a, "worker_stop", cadre_worker_stop(a->host.pool, id), (const int[]){CADRE_ESTALE, CADRE_EALREADY, 0});
}

/* ---- promises and futures ---- */

static void on_complete(cadre_future *future, int status, const char *detail, void *data)
{
    api *a = data;
    FUZZ_CHECK(cadre_future_status(future) == status && !status == !*detail && !a->host.sim.current, "a future's callback and its status differ");
    a->waits_told++;
    api_reenter(a);
}

static void on_future_progress(cadre_future *future, const cadre_progress *progress, void *data)
{
    FUZZ_CHECK(progress->stage && cadre_future_status(future) == CADRE_EAGAIN, "a report of a settled future");
    api_reenter(data);
}

static void on_cancel(void *data)
{
    api_reenter(data);
}

static void settle(api *a, api_promise *p)
{
    fuzz_value model;
    cadre_weights_value weights;
    bool elsewhere = fuzz_byte(&a->bytes) & 1;
    if (p->weights)
        weights = payload_make(a);
    else
        fuzz_make(&a->models[p->key], &model);
    sim_elsewhere(&a->host.sim, elsewhere);
    int rc = p->weights ? cadre_promise_resolve(p->promise, CADRE_VALUE_WEIGHTS, &weights)
                        : cadre_promise_resolve(p->promise, (cadre_value_type)a->models[p->key].capability, &model);
    sim_elsewhere(&a->host.sim, false);
    api_check(a, "promise_resolve", rc, (const int[]){CADRE_EALREADY, 0});
    if (rc == CADRE_OK || rc == CADRE_EALREADY) return;
    if (p->weights)
        payload_destroy(a);
    else
        fuzz_unmake(&a->models[p->key], &model);
}

static void act_on_future(api *a, api_promise *p, uint8_t what)
{
    if (a->host.closed) return;
    switch (what) {
    case 0: cadre_future_cancel(p->future); break;
    case 1: (void)cadre_future_set_deadline(p->future, fuzz_integer(&a->bytes)); break;
    case 2: cadre_future_on_progress(p->future, fuzz_byte(&a->bytes) & 1 ? on_future_progress : NULL, a); break;
    case 3: cadre_future_release(cadre_future_retain(p->future)); break;
    case 4:
        if (p->weights) (void)cadre_weights_future_charge((cadre_weights_future *)p->future, api_reserve(a));
        break;
    case 5:
        cadre_future_release(p->future);
        p->future = NULL;
        break;
    default: {
        int rc = cadre_future_on_complete(p->future, on_complete, a);
        api_check(a, "future_on_complete", rc, (const int[]){0});
        a->waits_asked += rc == CADRE_OK;
    }
    }
}

void api_act_on_promise(api *a)
{
    uint8_t what = fuzz_byte(&a->bytes);
    api_promise *p = &a->promises[fuzz_byte(&a->bytes) % PROMISES_MAX];
    if (!p->promise && !p->future) {
        if (a->host.closed) return;
        int rc = cadre_promise_create(a->host.pool, CADRE_VALUE_WEIGHTS, &p->promise, &p->future);
        api_check(a, "promise_create", rc, (const int[]){0});
        p->weights = true;
        return;
    }
    if (p->future && (what & 1)) {
        act_on_future(a, p, what / 2 % 8);
        return;
    }
    if (!p->promise) return;
    switch (what / 2 % 8) {
    case 0: cadre_promise_release(cadre_promise_retain(p->promise)); break;
    case 1: cadre_promise_progress(p->promise, NAN, 1, 2, "read"); break;
    case 2: api_check(a, "promise_fail", cadre_promise_fail(p->promise, CADRE_ELOAD, "it fails"), (const int[]){CADRE_EALREADY, 0}); break;
    case 3:
        if (!a->host.closed) (void)cadre_promise_on_cancel(p->promise, on_cancel, a);
        break;
    case 4:
        cadre_promise_release(p->promise);
        p->promise = NULL;
        break;
    case 5: (void)cadre_promise_cancelled(p->promise); break;
    default: settle(a, p);
    }
}

void api_let_go(api *a)
{
    for (unsigned i = 0; i < PROMISES_MAX; i++) {
        cadre_promise_release(a->promises[i].promise);
        cadre_future_release(a->promises[i].future);
        a->promises[i] = (api_promise){0};
    }
    cadre_weights_release(a->held);
    a->held = NULL;
    for (unsigned i = 0; i < RESERVATIONS_MAX; i++) {
        cadre_reservation_release(a->reservations[i]);
        a->reservations[i] = NULL;
    }
    a->host.reserved = 0;
}
