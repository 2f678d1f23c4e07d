/* Files that are fetched, with hosts that call anything from within: callbacks of the registry and of requests, and the fetcher itself. Fetchers fail in every
 * way, memory is short, and whatever is called, everybody is told once and nothing is left over (what the fixture looks at). */
#include "scripted_backend.h"

#define ENTRIES 5
#define REFERENCES 3
#define TOLDS 400
#define PENDING 64

static const char *const references[REFERENCES] = {"hf:o/n/a", "hf:o/n/b", "hf:o/n/c"};
static const char *const keys[ENTRIES] = {"m0", "m1", "m2", "m3", "m4"};

typedef struct world {
    fixture *fx;
    cadre_file_fetcher fetcher;
    atomic_bool here[REFERENCES];
    uint32_t seed;
    script *scripts[ENTRIES];
    told tolds[TOLDS];
    int told_count, depth, steps;
    cadre_weights_promise *pending[PENDING];
    bool closing;
} world;

static world *w;

static uint32_t draw(uint32_t below)
{
    w->seed = w->seed * 1664525u + 1013904223u;
    return (w->seed >> 16) % below;
}

static void act(void);

/* A host that goes on from what it was told. */
static void told_within(cadre_pool *pool, int status, const char *detail, void *data)
{
    on_told(pool, status, detail, data);
    if (draw(2)) act();
    if (draw(4) == 0) act();
}

static void answered(answer *a)
{
    (void)a;
    if (draw(3) == 0) act();
}

/* ---- the fetcher ---- */

static int find(void *self, const char *reference, char *path, size_t path_size, char *detail, size_t detail_size)
{
    (void)self;
    for (size_t i = 0; i < REFERENCES; i++) {
        if (strcmp(reference, references[i]) != 0) continue;
        if (!atomic_load(&w->here[i])) break;
        snprintf(path, path_size, "/cache/%zu", i);
        return 0;
    }
    snprintf(detail, detail_size, "is not in the cache");
    return UV_ENOENT;
}

static void bring(void)
{
    for (size_t i = 0; i < REFERENCES; i++)
        if (draw(8)) atomic_store(&w->here[i], true);
}

static cadre_weights_future *fetch(void *self, cadre_pool *pool, const char *const *wanted, size_t count)
{
    (void)self;
    const cadre_weights_value nothing = CADRE_WEIGHTS_VALUE_INIT;
    for (size_t i = 0; i < count; i++)
        if (strncmp(wanted[i], "hf:", 3) != 0) fixture_fault(w->fx, "the fetcher got no reference");
    if (draw(3) == 0) act();
    switch (draw(8)) {
    case 0: return NULL;
    case 1: return cadre_weights_future_failed(pool, UV_ECONNREFUSED, "nobody is there");
    case 2: bring(); return cadre_weights_future_ready(pool, &nothing);
    case 3: return cadre_weights_future_ready(pool, &nothing); /* it claims so */
    default: break;
    }
    size_t free = 0;
    while (free < PENDING && w->pending[free]) free++;
    cadre_weights_future *future = NULL;
    if (free == PENDING || cadre_weights_promise_create(pool, &w->pending[free], &future) != 0) return NULL;
    return future;
}

static void end_download(size_t i)
{
    const cadre_weights_value nothing = CADRE_WEIGHTS_VALUE_INIT;
    cadre_weights_promise *promise = w->pending[i];
    if (!promise) return;
    uint32_t how = draw(6);
    if (how == 5) {
        cadre_weights_promise_progress(promise, 0.5, 1, 2, "download");
        return;
    }
    w->pending[i] = NULL;
    if (how == 0) cadre_weights_promise_fail(promise, UV_ECONNRESET, "lost");
    if (how > 1) bring();
    if (how > 1) (void)cadre_weights_promise_resolve(promise, &nothing);
    cadre_weights_promise_release(promise);
}

/* ---- the host ---- */

static int put(uint32_t which, told *t)
{
    static const cadre_loader_kind loaders[ENTRIES] = {CADRE_LOADER_ASYNC, CADRE_LOADER_SYNC, CADRE_LOADER_PRELOADED, CADRE_LOADER_ASYNC, CADRE_LOADER_ASYNC};
    static const char *const options[ENTRIES] = {"{\"path\": \"hf:o/n/a\"}", "{\"path\": \"hf:o/n/a\", \"other\": \"hf:o/n/b\"}", "{\"path\": \"hf:o/n/b\"}",
                                                 "{\"path\": \"hf:o/n/c\", \"other\": \"hf:o/n/c\"}", "{\"path\": \"hf:o/n/b\"}"};
    cadre_memory_need need;
    cadre_entry entry = entry_of(w->scripts[which]);
    entry.backend = loaders[which] == CADRE_LOADER_PRELOADED ? "shared-files" : "plain-files";
    entry.loader = (int32_t)loaders[which];
    entry.options = options[which];
    entry.load_retries = (int32_t)draw(3);
    entry.load_timeout_ms = 20000;
    entry.stall_timeout_ms = 3000;
    entry.idle_timeout_ms = 4000;
    entry.min_residency_ms = 100;
    entry.pinned = which == 3 && draw(2);
    entry.min_workers = which == 4 && draw(2);
    if (draw(8) == 0) entry.estimate_bytes = INT64_C(1) << 40;
    if (draw(2)) entry_takes(&entry, &need, 0, 400);
    return cadre_registry_add(w->fx->pool, &entry, told_within, t);
}

static void act(void)
{
    cadre_pool *pool = w->fx->pool;
    if (w->depth == 4 || w->told_count == TOLDS || ++w->steps > 600) return;
    w->depth++;
    uint32_t which = draw(ENTRIES);
    told *t = &w->tolds[w->told_count++];
    int rc = -1;
    switch (draw(16)) {
    case 0:
    case 1:
    case 2: {
        answer *a = answer_new(w->fx);
        a->then = answered;
        (void)submit(w->scripts[which], a, "hello", NULL);
        break;
    }
    case 3:
    case 4: rc = cadre_registry_fetch(pool, keys[which], told_within, t); break;
    case 5: rc = cadre_model_load(pool, keys[which], told_within, t); break;
    case 6: rc = cadre_model_unload(pool, keys[which], told_within, t); break;
    case 7: rc = cadre_registry_remove(pool, keys[which], told_within, t); break;
    case 8: rc = put(which, t); break;
    case 9: (void)cadre_model_pin(pool, keys[which], (int)draw(2)); break;
    case 10:
        for (answer *a = w->fx->answers; a; a = a->next)
            if (a->rc == 0 && !a->done && draw(2)) (void)cadre_request_cancel(pool, a->id);
        break;
    case 11: atomic_store(&w->here[draw(REFERENCES)], draw(2)); break;
    case 12:
    case 13: end_download(draw(4)); break;
    case 14: atomic_store(&w->scripts[which]->status[OP_LOAD], draw(3) ? 0 : CADRE_EENGINE); break;
    default: {
        cadre_entry_info info = CADRE_ENTRY_INFO_INIT;
        (void)cadre_registry_get(pool, keys[which], &info);
        if (draw(40) == 0 && w->steps > 200 && !w->closing) {
            cadre_close_options soon = CADRE_CLOSE_OPTIONS_INIT;
            soon.drain_ms = draw(2) ? 0 : 50;
            w->closing = true;
            fixture_start_close(w->fx, &soon);
        }
    }
    }
    if (rc != 0) t->count = 1; /* it was refused */
    w->depth--;
}

typedef struct hasty {
    told load, fetch, removal;
    int rc[3];
} hasty;

/* Told of the unload, a host asks for the model again, and then changes its mind. */
static void on_unloaded(cadre_pool *pool, int status, const char *detail, void *data)
{
    hasty *h = data;
    assert_status(status, CADRE_ECANCELED);
    assert_string_equal(detail, "the model was unloaded");
    h->rc[0] = cadre_model_load(pool, "m", on_told, &h->load);
    h->rc[1] = cadre_registry_fetch(pool, "m", on_told, &h->fetch);
    h->rc[2] = cadre_registry_remove(pool, "m", on_told, &h->removal);
}

static void who_asks_within_an_unload_hears_that_the_model_was_removed(void **state)
{
    (void)state;
    for (int fetches = 0; fetches < 2; fetches++) {
        row("fetches %d", fetches);
        fixture *fx = registry_begin();
        hasty h = {0};
        told unload = {0};
        added(fx, "m", 0);
        if (fetches)
            assert_status(cadre_registry_fetch(fx->pool, "m", on_unloaded, &h), 0);
        else
            assert_status(cadre_model_load(fx->pool, "m", on_unloaded, &h), 0);
        assert_status(cadre_model_unload(fx->pool, "m", on_told, &unload), 0);
        run_until_int(fx, &h.removal.count, 1);
        settle(fx);
        for (size_t i = 0; i < COUNT(h.rc); i++) assert_status(h.rc[i], 0);
        assert_status(h.removal.status, 0);
        assert_int_equal(unload.count, 1);
        assert_int_equal(h.load.count, 1);
        assert_status(h.load.status, CADRE_ECANCELED);
        assert_int_equal(h.fetch.count, 1);
        assert_status(h.fetch.status, CADRE_ECANCELED);
        fixture_end(fx);
    }
}

static void whatever_is_called_from_within_everybody_is_told_once(void **state)
{
    (void)state;
    static world here;
    uint32_t seeds = getenv("CADRE_TEST_SEEDS") ? (uint32_t)atoi(getenv("CADRE_TEST_SEEDS")) : 100;
    for (uint32_t seed = 1; seed <= seeds; seed++) {
        row("seed %u", seed);
        memset(&here, 0, sizeof here);
        w = &here;
        w->seed = seed * 7919;
        w->fetcher = (cadre_file_fetcher){sizeof w->fetcher, w, find, fetch};
        cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
        options.files = &w->fetcher;
        options.memory_bytes = 1000;
        fixture *fx = w->fx = registry_begin_all(&options);
        register_file_backends(fx);
        for (size_t i = 0; i < ENTRIES; i++) w->scripts[i] = text_script(fx, keys[i]);
        for (uint32_t i = 0; i < ENTRIES; i++) (void)put(i, &w->tolds[w->told_count++]);
        settle(fx);
        while (w->steps < 400 && w->told_count < TOLDS - 20 && !w->closing) {
            act();
            if (draw(3) == 0) settle(fx);
            if (draw(3) == 0) pass_time(fx, draw(3000));
        }
        w->steps = 1000; /* enough */
        cadre_close_options now = CADRE_CLOSE_OPTIONS_INIT;
        now.drain_ms = 0;
        if (!w->closing) fixture_start_close(fx, &now);
        if (w->closing) fixture_advance(fx, 51);
        settle(fx);
        for (size_t i = 0; i < PENDING; i++) cadre_weights_promise_release(w->pending[i]);
        fixture_close(fx, NULL);
        for (int i = 0; i < w->told_count; i++) assert_int_equal(w->tolds[i].count, 1);
        fixture_end(fx);
    }
}

#define SUITE files_within
#include "suite.h"
