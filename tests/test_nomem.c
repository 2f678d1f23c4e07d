/* A host whose allocator fails: each scenario is run again and again, with the n-th allocation failing, until it passes without a failure. Each time: a clean
 * error or a completion, nothing leaked and nothing stuck. Once with only the n-th failing, and once with every one from the n-th on. SCENARIOS at the end says
 * which of the public functions that can want memory are met where. */
#include "scripted_model.h"

#include <unistd.h>

typedef void (*scenario)(fixture *fx);

/* Stops early when something was refused; fixture_end then checks that nothing is left. */
static script *spawned(fixture *fx, cadre_capability capability, script_kind kind, uint32_t slots, uint64_t bytes)
{
    script *s = script_new(fx, capability, kind, "m");
    s->slots = slots;
    cadre_memory_amount amount = {CADRE_DEVICE_HOST, bytes};
    cadre_reservation *owned = NULL;
    int rc = cadre_memory_try_reserve(fx->pool, &amount, 1, &owned);
    if (rc == 0) rc = script_spawn_with(s, owned, NULL);
    if (rc != 0) assert_status(rc, CADRE_ENOMEM);
    return rc == 0 ? s : NULL;
}

static bool no_memory(int status)
{
    return status == CADRE_ENOMEM || status == CADRE_ELOAD || status == CADRE_ETHREAD;
}

static bool became_ready(script *s)
{
    script_until_ready(s, 1);
    if (s->ready_status == 0) return true;
    if (!no_memory(s->ready_status) && s->ready_status != CADRE_EABANDONED) assert_status(s->ready_status, CADRE_ENOMEM);
    return false;
}

static void serve(fixture *fx, script *s)
{
    answer *a[5];
    for (int i = 0; i < 5; i++) {
        a[i] = answer_new(fx);
        a[i]->unstreamed = i == 3;
        int rc = submit(s, a[i], "hello", NULL);
        if (rc != 0 && rc != CADRE_ENOENT) assert_status(rc, CADRE_ENOMEM);
        if (rc == 0 && i == 4) cadre_request_cancel(fx->pool, a[i]->id);
    }
    until_all_done(fx);
    for (int i = 0; i < 5; i++) {
        if (a[i]->rc != 0) continue;
        if (a[i]->status == 0)
            assert_answered(s, a[i], "hello");
        else if (i == 4 && a[i]->status == CADRE_ECANCELED)
            continue;
        else
            assert_true(no_memory(a[i]->status) || a[i]->status == CADRE_EWORKER);
    }
}

#define SERVING(NAME, CAPABILITY, KIND, SLOTS)                                                                                                                 \
    static void NAME(fixture *fx)                                                                                                                              \
    {                                                                                                                                                          \
        script *s = spawned(fx, CAPABILITY, KIND, SLOTS, 100);                                                                                                 \
        if (s && became_ready(s)) serve(fx, s);                                                                                                                \
    }
SERVING(text_slots, CADRE_TEXT_TO_TEXT, KIND_BLOCKING, 2)
SERVING(text_generate, CADRE_TEXT_TO_TEXT, KIND_ASYNC, 0)
SERVING(vision, CADRE_VISION, KIND_PRELOADED, 3)
SERVING(text_vectors, CADRE_TEXT_EMBEDDING, KIND_CHAINED, 0)
SERVING(image_vectors, CADRE_IMAGE_EMBEDDING, KIND_PRELOADED, 0)
SERVING(painting, CADRE_TEXT_TO_IMAGE, KIND_BLOCKING, 0)

static void waiting_for_the_load(fixture *fx)
{
    script *s = spawned(fx, CADRE_TEXT_EMBEDDING, KIND_BLOCKING, 0, 10);
    if (s) serve(fx, s);
}

static void on_post(cadre_pool *pool, void *data)
{
    (void)pool;
    ++*(int *)data;
}

static void on_complete(cadre_future *future, int status, const char *detail, void *data)
{
    (void)future;
    (void)status;
    (void)detail;
    ++*(int *)data;
}

static void count_destroy(void *payload)
{
    atomic_fetch_add((atomic_int *)payload, 1);
}

static void futures_and_posts(fixture *fx)
{
    int posts = 0, accepted = 0, heard = 0, expected = 0;
    for (int i = 0; i < 3; i++) accepted += cadre_port_post(fx->port, on_post, &posts) == 0;
    static atomic_int destroyed;
    atomic_store(&destroyed, 0);
    cadre_weights_value value = {sizeof value, &destroyed, count_destroy, NULL};
    cadre_weights_promise *promise = NULL;
    cadre_weights_future *future = NULL;
    int values = 0;
    int rc = cadre_weights_promise_create(fx->pool, &promise, &future);
    if (rc == 0) {
        for (int i = 0; i < 2; i++) expected += cadre_future_on_complete(cadre_weights_future_untyped(future), on_complete, &heard) == 0;
        (void)cadre_future_set_deadline(cadre_weights_future_untyped(future), 1000000);
        cadre_promise_progress(cadre_weights_promise_untyped(promise), 0.5, 0, 0, "read");
        assert_status(cadre_weights_promise_resolve(promise, &value), 0); /* memory for it was taken when the promise was made */
        values++;
        rc = cadre_weights_promise_resolve(promise, &value); /* a second one needs memory to be destroyed elsewhere */
        if (rc == CADRE_EALREADY)
            values++;
        else
            assert_status(rc, CADRE_ENOMEM);
    } else {
        assert_status(rc, CADRE_ENOMEM);
        assert_null(promise);
        assert_null(future);
    }
    cadre_weights_promise_release(promise);
    cadre_weights_future *ready = cadre_weights_future_ready(fx->pool, &value);
    values++; /* consumed all the same */
    cadre_weights_future *failed = cadre_weights_future_failed(fx->pool, CADRE_ELOAD, "a detail");
    run_until_int(fx, &posts, accepted);
    run_until_int(fx, &heard, expected);
    cadre_weights_future_release(future);
    cadre_weights_future_release(ready);
    cadre_weights_future_release(failed);
    fixture_close(fx, NULL);
    assert_int_equal(atomic_load(&destroyed), values);
    assert_int_equal(heard, expected);
    assert_int_equal(posts, accepted);
}

static void cancelled_loads(fixture *fx)
{
    script *s = script_new(fx, CADRE_TEXT_TO_TEXT, KIND_CHAINED, "m");
    script_hold(s, OP_LOAD);
    int rc = script_spawn_with(s, NULL, NULL);
    if (rc != 0) return;
    settle(fx);
    (void)cadre_worker_stop(fx->pool, s->worker);
    script_until_ready(s, 1);
}

/* Requests that are held, cancelled from elsewhere, timed out, lent, and that fail with words. */
static void troubled_requests(fixture *fx)
{
    script *s = spawned(fx, CADRE_TEXT_TO_TEXT, KIND_BLOCKING, 2, 1);
    if (!s || !became_ready(s)) return;
    static const char *const texts[] = {"hello", "hello", "hello", "fail", "hello"};
    answer *a[COUNT(texts)];
    for (size_t i = 0; i < COUNT(texts); i++) {
        a[i] = answer_new(fx);
        cadre_request_options options = CADRE_REQUEST_OPTIONS_INIT;
        if (i == 2) options.timeout_ms = 1;
        if (i == 4) options.release = answer_on_release, options.release_data = a[i];
        if (submit(s, a[i], texts[i], &options) != 0) assert_status(a[i]->rc, CADRE_ENOMEM);
    }
    if (a[0]->rc == 0) {
        assert_status(cadre_request_pause(fx->pool, a[0]->id), 0);
        settle(fx);
        (void)cadre_request_resume(fx->pool, a[0]->id);
    }
    if (a[1]->rc == 0) {
        int rc = cadre_port_cancel(fx->port, a[1]->id);
        assert_true(rc == 0 || rc == CADRE_ENOMEM);
    }
    fixture_advance(fx, 2);
    until_all_done(fx);
    if (a[3]->rc == 0) assert_true(a[3]->status == CADRE_EINPUT || no_memory(a[3]->status));
}

static void free_picture(void *data, size_t length)
{
    (void)length;
    free(data);
}

static int decode_picture(void *self, cadre_op *op, const void *bytes, size_t length, uint64_t max_pixels, cadre_image *out, cadre_blob *pixels)
{
    (void)self, (void)op, (void)max_pixels;
    uint8_t *copy = calloc(1, 3);
    if (!copy) abort();
    memcpy(copy, bytes, length < 3 ? length : 3);
    *pixels = (cadre_blob){copy, 3, free_picture};
    *out = (cadre_image){sizeof *out, 1, 1, 3, copy};
    return 0;
}

static const cadre_image_decoder decoder = {sizeof decoder, NULL, 64, 4096, decode_picture};

static void forms_of_pictures(fixture *fx)
{
    script *s = spawned(fx, CADRE_VISION, KIND_BLOCKING, 0, 1);
    if (!s || !became_ready(s)) return;
    const uint8_t pixels[6] = {1, 2, 3, 4, 5, 6};
    const cadre_image_input images[] = {cadre_image_from_rgb8(pixels, 2, 1), cadre_image_from_bytes("abc", 3),
                                        cadre_image_from_string(CADRE_IMAGE_BASE64, "YWJj"), cadre_image_from_string(CADRE_IMAGE_PATH, "/proc/self/exe")};
    static const char *const stops[] = {"never", "again"};
    cadre_describe_params p = CADRE_DESCRIBE_PARAMS_INIT;
    p.key = s->key, p.query = "look", p.images = images, p.on_done = answer_on_generation;
    p.sampling.stop = stops, p.sampling.stop_count = COUNT(stops), p.sampling.grammar = "root ::= [a-z]";
    for (size_t count = 3; count <= COUNT(images); count++) { /* the fourth is larger than the decoder takes */
        answer *a = answer_new(fx);
        a->unstreamed = true;
        p.image_count = count, p.data = a;
        a->rc = cadre_describe(fx->pool, &p, &a->id);
        if (a->rc != 0) assert_status(a->rc, CADRE_ENOMEM);
    }
    until_all_done(fx);
}

static atomic_int urls_brought, urls_freed;
static void free_brought(void *payload)
{
    (void)payload;
    atomic_fetch_add(&urls_freed, 1);
}

/* At once, or on a later turn. */
static cadre_weights_future *fetch(void *self, cadre_pool *pool, const char *url, uint64_t max_bytes)
{
    (void)self, (void)max_bytes;
    static char bytes[] = "abc";
    static cadre_blob blob = {bytes, 3, NULL};
    const cadre_weights_value value = {sizeof value, &blob, free_brought, NULL};
    if (strcmp(url, "now") == 0) {
        atomic_fetch_add(&urls_brought, 1);
        return cadre_weights_future_ready(pool, &value);
    }
    cadre_weights_promise *promise;
    cadre_weights_future *future;
    if (cadre_weights_promise_create(pool, &promise, &future) != 0) return NULL;
    atomic_fetch_add(&urls_brought, 1);
    assert_status(cadre_weights_promise_resolve(promise, &value), 0);
    cadre_weights_promise_release(promise);
    return future;
}

static void pictures_by_url(fixture *fx)
{
    atomic_store(&urls_brought, 0);
    atomic_store(&urls_freed, 0);
    script *s = spawned(fx, CADRE_IMAGE_EMBEDDING, KIND_BLOCKING, 0, 1);
    if (!s || !became_ready(s)) return;
    const cadre_image_input images[] = {cadre_image_from_string(CADRE_IMAGE_URL, "now"), cadre_image_from_bytes("abc", 3),
                                        cadre_image_from_string(CADRE_IMAGE_URL, "later")};
    for (size_t count = 1; count <= COUNT(images); count++) {
        answer *a = answer_new(fx);
        cadre_embed_images_params p = CADRE_EMBED_IMAGES_PARAMS_INIT;
        p.key = s->key, p.images = images, p.count = count, p.on_done = answer_on_embeddings, p.data = a;
        a->rc = cadre_embed_images(fx->pool, &p, &a->id);
        if (a->rc != 0) assert_status(a->rc, CADRE_ENOMEM);
    }
    until_all_done(fx);
    for (answer *a = fx->answers; a; a = a->next)
        if (a->rc == 0 && a->status != 0) assert_status(a->status, CADRE_ENOMEM);
    fixture_close(fx, NULL);
    assert_int_equal(atomic_load(&urls_freed), atomic_load(&urls_brought));
}

/* More keys than the table of models begins with, and two workers of each. */
static void many_keys(fixture *fx)
{
    script *all[12];
    for (size_t i = 0; i < COUNT(all); i++) {
        char key[8];
        snprintf(key, sizeof key, "k%zu", i / 2);
        all[i] = script_new(fx, CADRE_TEXT_EMBEDDING, i % 3 ? KIND_BLOCKING : KIND_ASYNC, key);
        if (i == 7) {
            atomic_store(&all[i]->status[OP_LOAD], CADRE_EFORMAT);
            all[i]->detail = "not a model";
        }
        int rc = script_spawn_with(all[i], NULL, NULL);
        if (rc != 0) assert_status(rc, CADRE_ENOMEM);
    }
    for (size_t i = 0; i < COUNT(all); i++)
        if (all[i]->spawned_ok) script_until_ready(all[i], 1);
    answer *a = answer_new(fx);
    int rc = submit(all[0], a, "hello", NULL);
    if (rc != 0) assert_true(rc == CADRE_ENOMEM || rc == CADRE_ENOENT);
    until_all_done(fx);
}

static void count_cancel(void *data)
{
    ++*(int *)data;
}

static int load_weights(cadre_load_context *context, void *data, cadre_weights_value *out)
{
    (void)context;
    *out = (cadre_weights_value){sizeof *out, data, count_destroy, NULL};
    return 0;
}

static int fail_weights(cadre_load_context *context, void *data, cadre_weights_value *out)
{
    (void)data, (void)out;
    return cadre_load_fail(context, CADRE_EFORMAT, "a detail");
}

static void weights_and_promises(fixture *fx)
{
    static atomic_int destroyed;
    static const cadre_weights_load_cb loads[] = {load_weights, fail_weights};
    cadre_memory_amount amount = {CADRE_DEVICE_HOST, 10};
    atomic_store(&destroyed, 0);
    for (size_t i = 0; i < COUNT(loads); i++) {
        cadre_reservation *owned = NULL;
        cadre_weights_future *future = NULL;
        int heard = 0;
        (void)cadre_memory_try_reserve(fx->pool, &amount, 1, &owned);
        int rc = cadre_weights_load_blocking(fx->pool, loads[i], &destroyed, NULL, owned, &future);
        if (rc != 0) {
            assert_true(no_memory(rc));
            continue;
        }
        rc = cadre_weights_future_on_complete(future, on_complete, &heard);
        if (rc == 0) run_until_int(fx, &heard, 1);
        cadre_weights_future_release(future);
    }
    cadre_weights_promise *promise = NULL;
    cadre_weights_future *future = NULL;
    int cancels = 0, rc = cadre_weights_promise_create(fx->pool, &promise, &future);
    if (rc == 0) {
        cadre_reservation *owned = NULL;
        (void)cadre_memory_try_reserve(fx->pool, &amount, 1, &owned);
        if (owned) assert_status(cadre_weights_future_charge(future, owned), 0);
        (void)cadre_weights_promise_on_cancel(promise, count_cancel, &cancels);
        rc = cadre_weights_promise_fail(promise, CADRE_ELOAD, "a detail");
        assert_true(rc == 0 || rc == CADRE_ENOMEM);
    }
    cadre_weights_promise_release(promise);
    cadre_weights_future_release(future);
    settle(fx);
}

/* ---- the registry ---- */

typedef struct heard {
    int count, status;
} heard;

static void on_registry(cadre_pool *pool, int status, const char *detail, void *data)
{
    (void)pool, (void)detail;
    heard *h = data;
    h->count++;
    h->status = status;
}

/* A load that failed is tried again after a while; its clock is this one. */
static void pass_time(fixture *fx, const int *count)
{
    for (int i = 0; i < 20 && !*count; i++) {
        settle(fx);
        if (!*count) fixture_advance(fx, 1000);
    }
}

/* Waits for the answer of a call; whether all went well. */
static bool went(fixture *fx, int rc, heard *h)
{
    if (rc != 0) {
        assert_true(no_memory(rc) || rc == CADRE_ENOENT || rc == CADRE_EBUSY);
        return false;
    }
    pass_time(fx, &h->count);
    run_until_int(fx, &h->count, 1);
    if (h->status != 0) assert_true(no_memory(h->status) || h->status == CADRE_EBACKEND || h->status == CADRE_ENOENT || h->status == CADRE_EWORKER);
    bool well = h->status == 0;
    *h = (heard){0};
    return well;
}

static int make_entry_model(cadre_load_context *context, cadre_weights *source, void *data, cadre_text_embedding_model *out)
{
    (void)context, (void)source;
    model_value value;
    script_fill(data, &value);
    *out = value.texts;
    return 0;
}

static cadre_text_embedding_future *load_entry_model(cadre_load_context *context, void *data)
{
    return cadre_text_embedding_load_blocking(context, NULL, make_entry_model, data);
}

static void serve_entry(fixture *fx, script *s)
{
    answer *a[3];
    for (size_t i = 0; i < COUNT(a); i++) {
        a[i] = answer_new(fx);
        if (submit(s, a[i], "hello", NULL) != 0) assert_true(no_memory(a[i]->rc) || a[i]->rc == CADRE_ENOENT);
    }
    until_all_done(fx);
    for (size_t i = 0; i < COUNT(a); i++)
        if (a[i]->rc == 0 && a[i]->status != 0) assert_true(no_memory(a[i]->status) || a[i]->status == CADRE_EWORKER || a[i]->status == CADRE_ENOENT);
}

static void write_nothing(const char *text, size_t length, void *data)
{
    (void)text, (void)length, (void)data;
}

static void look_inside(fixture *fx)
{
    char text[512];
    cadre_memory_amount amount = {CADRE_DEVICE_HOST, 10};
    cadre_snapshot snapshot = {.size = sizeof snapshot};
    assert_status(cadre_pool_snapshot(fx->pool, &snapshot), 0);
    assert_status(cadre_pool_prometheus(fx->pool, write_nothing, NULL), 0);
    assert_status(cadre_pool_health_json(fx->pool, write_nothing, NULL), 0);
    int64_t length = cadre_memory_explain(fx->pool, &amount, 1, text, sizeof text);
    assert_true(length > 0 || length == CADRE_ENOMEM);
    assert_true(cadre_registry_list(fx->pool, NULL, NULL, NULL) >= 0);
}

static void registry_entry(fixture *fx)
{
    heard h = {0};
    script *s = script_new(fx, CADRE_TEXT_EMBEDDING, KIND_BLOCKING, "m");
    cadre_entry entry = CADRE_ENTRY_INIT;
    const cadre_text_embedding_loader loader = {sizeof loader, load_entry_model, s, NULL};
    const cadre_memory_need need = {CADRE_DEVICE_HOST, 100, 10};
    entry.key = "m", entry.capability = CADRE_TEXT_EMBEDDING, entry.memory = &need, entry.memory_count = 1, entry.load_retries = 0;
    if (!went(fx, cadre_registry_add_text_embedding(fx->pool, &entry, &loader, on_registry, &h), &h)) return;
    serve_entry(fx, s);
    (void)went(fx, cadre_model_load(fx->pool, "m", on_registry, &h), &h);
    look_inside(fx);
    int rc = cadre_model_pin(fx->pool, "m", 1);
    assert_true(rc == 0 || no_memory(rc));
    (void)cadre_model_pin(fx->pool, "m", 0);
    (void)went(fx, cadre_model_unload(fx->pool, "m", on_registry, &h), &h);
    (void)went(fx, cadre_registry_remove(fx->pool, "m", on_registry, &h), &h);
}

static void on_reserved(cadre_pool *pool, int status, cadre_reservation *owned, const char *detail, void *data)
{
    (void)pool, (void)detail;
    cadre_reservation_release(owned);
    on_registry(pool, status == CADRE_ECANCELED ? 0 : status, detail, data);
}

static void reservations_that_wait(fixture *fx)
{
    heard first = {0}, second = {0};
    cadre_reserve_id id = 0;
    const cadre_memory_amount amount = {CADRE_DEVICE_HOST, 1 << 19}, all = {CADRE_DEVICE_HOST, 1 << 20};
    cadre_reservation *held = NULL;
    int rc = cadre_memory_try_reserve(fx->pool, &amount, 1, &held);
    if (rc != 0) return;
    rc = cadre_memory_reserve(fx->pool, &all, 1, NULL, on_reserved, &first, &id);
    bool waits = rc == 0;
    if (!waits) assert_true(no_memory(rc) || rc == CADRE_EBUDGET);
    if (waits) assert_status(cadre_memory_cancel(fx->pool, id), 0);
    cadre_reservation_release(held);
    if (waits) (void)went(fx, 0, &first);
    (void)went(fx, cadre_memory_reserve(fx->pool, &all, 1, NULL, on_reserved, &second, NULL), &second);
}

static int backend_open(const cadre_backend *backend, cadre_backend_entry *entry, void **self)
{
    entry->need_count = 1;
    entry->needs[0] = (cadre_memory_need){CADRE_DEVICE_HOST, 10, 1};
    *self = backend->data;
    return 0;
}

static void backend_close(void *self)
{
    (void)self;
}

static int backend_load(void *self, cadre_load_context *context, cadre_weights *fetched, cadre_weights_value *out)
{
    (void)self, (void)context, (void)fetched;
    static atomic_int destroyed;
    *out = (cadre_weights_value){sizeof *out, &destroyed, count_destroy, NULL};
    return 0;
}

static int backend_make(void *self, cadre_load_context *context, cadre_weights *source, cadre_any_model *out)
{
    return make_entry_model(context, source, self, &out->text_embedding);
}

static void registry_manifest(fixture *fx)
{
    static const char manifest[] = "{\"models\": [{\"key\": \"m\", \"capability\": \"text-embedding\", \"backend\": \"fake\", \"load_retries\": 0,"
                                   " \"options\": {\"path\": \"weights\", \"size\": 3}, \"loader\": \"preloaded\"}]}";
    static const cadre_option_spec specs[] = {{"path", CADRE_OPTION_PATH, 1, 0, 0, "the file"}, {"size", CADRE_OPTION_INTEGER, 0, 0, 10, "how many"}};
    heard h = {0};
    script *s = script_new(fx, CADRE_TEXT_EMBEDDING, KIND_BLOCKING, "m");
    const cadre_backend backend = {.version = CADRE_BACKEND_VERSION,
                                   .size = sizeof backend,
                                   .name = "fake",
                                   .capabilities = 1u << CADRE_TEXT_EMBEDDING,
                                   .shares_weights = 1,
                                   .options = specs,
                                   .option_count = COUNT(specs),
                                   .open = backend_open,
                                   .close = backend_close,
                                   .load = backend_load,
                                   .make = backend_make,
                                   .data = s};
    int rc = cadre_backend_register(fx->pool, &backend);
    if (rc != 0) assert_status(rc, CADRE_ENOMEM);
    if (rc == 0 && went(fx, cadre_registry_load_text(fx->pool, manifest, strlen(manifest), "/tmp", on_registry, &h), &h)) serve_entry(fx, s);
    cadre_entry entry = CADRE_ENTRY_INIT;
    entry.key = "again", entry.capability = CADRE_TEXT_EMBEDDING, entry.backend = "fake", entry.options = "{\"path\": \"other\"}", entry.load_retries = 0;
    (void)went(fx, rc == 0 ? cadre_registry_add(fx->pool, &entry, on_registry, &h) : CADRE_ENOMEM, &h);
    rc = cadre_registry_load(fx->pool, "/nonexistent/models.json", on_registry, &h);
    if (rc == 0) run_until_int(fx, &h.count, 1);
    fixture_close(fx, NULL); /* the backend lives on this stack */
}

/* Files that come in two steps: the first look finds none. */
typedef struct hub {
    atomic_bool here;
} hub;

static int hub_find(void *self, const char *reference, char *path, size_t path_size, char *detail, size_t detail_size)
{
    (void)reference, (void)detail, (void)detail_size;
    snprintf(path, path_size, "/dev/null");
    return atomic_load(&((hub *)self)->here) ? 0 : UV_ENOENT;
}

static cadre_weights_future *hub_fetch(void *self, cadre_pool *pool, const char *const *references, size_t count)
{
    (void)references, (void)count;
    const cadre_weights_value nothing = CADRE_WEIGHTS_VALUE_INIT;
    atomic_store(&((hub *)self)->here, true);
    return cadre_weights_future_ready(pool, &nothing);
}

static hub the_hub;
static const cadre_file_fetcher hub_files = {sizeof hub_files, &the_hub, hub_find, hub_fetch};

static cadre_weights_future *backend_read(void *self, cadre_load_context *context)
{
    (void)self;
    static const char *const paths[] = {"/dev/null", "/dev/null"};
    return cadre_load_read_files(context, paths, COUNT(paths));
}

static void registry_files(fixture *fx)
{
    static const cadre_option_spec specs[] = {{"path", CADRE_OPTION_PATH, 1, 0, 0, "the file"}};
    static const char *const further[] = {"hf:o/n/f.data"};
    heard h = {0};
    script *s = script_new(fx, CADRE_TEXT_EMBEDDING, KIND_BLOCKING, "m");
    const cadre_backend backend = {.version = CADRE_BACKEND_VERSION,
                                   .size = sizeof backend,
                                   .name = "fake",
                                   .capabilities = 1u << CADRE_TEXT_EMBEDDING,
                                   .options = specs,
                                   .option_count = COUNT(specs),
                                   .open = backend_open,
                                   .close = backend_close,
                                   .fetch = backend_read,
                                   .make = backend_make,
                                   .data = s};
    cadre_entry entry = CADRE_ENTRY_INIT;
    atomic_store(&the_hub.here, false);
    entry.key = "m", entry.capability = CADRE_TEXT_EMBEDDING, entry.backend = "fake", entry.options = "{\"path\": \"hf:o/n/f\"}", entry.load_retries = 0;
    entry.loader = CADRE_LOADER_ASYNC, entry.files = further, entry.file_count = 1, entry.stall_timeout_ms = 1000, entry.load_timeout_ms = 1000;
    bool known = cadre_backend_register(fx->pool, &backend) == 0 && went(fx, cadre_registry_add(fx->pool, &entry, on_registry, &h), &h);
    if (known && went(fx, cadre_registry_fetch(fx->pool, "m", on_registry, &h), &h)) serve_entry(fx, s);
    atomic_store(&the_hub.here, false);
    if (known) (void)went(fx, cadre_model_unload(fx->pool, "m", on_registry, &h), &h);
    if (known) (void)went(fx, cadre_registry_fetch(fx->pool, "m", on_registry, &h), &h);
    fixture_close(fx, NULL); /* the backend lives on this stack */
}

static void on_stat(uv_fs_t *fs)
{
    uv_fs_req_cleanup(fs);
}

/* libuv's own threads come with the first file request and stay: before a fixture counts. */
static void start_uv_threads(void)
{
    uv_loop_t loop;
    uv_fs_t fs;
    assert_status(uv_loop_init(&loop), 0);
    assert_status(uv_fs_stat(&loop, &fs, "/", on_stat), 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_status(uv_loop_close(&loop), 0);
}

static void run_scenario(const char *name, scenario run)
{
    start_uv_threads();
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    const cadre_image_fetcher fetcher = {sizeof fetcher, NULL, fetch};
    options.decoder = &decoder;
    options.files = &hub_files;
    options.fetcher = &fetcher;
    for (int all = 0; all < 2; all++)
        for (long n = 1;; n++) {
            row("%s, allocation %ld fails%s", name, n, all ? " and all later ones" : "");
            fixture *fx = NULL;
            int rc = fixture_try_begin(&options, n, all, &fx);
            if (rc == 0)
                run(fx);
            else
                assert_true(no_memory(rc));
            bool failed = atomic_load(&fx->memory.failures) > 0;
            fixture_end(fx);
            if (!failed) break; /* it has fewer than n allocations */
            assert_true(n < 5000);
        }
}

/* TEST, SCENARIO, and the functions that want memory in it; cadre_pool_create and cadre_pool_close are in all of them. */
#define SCENARIOS(X)                                                                                                                                           \
    X(without_memory_futures_and_posts_fail_cleanly, futures_and_posts,                                                                                        \
      "port_post promise_create promise_resolve future_ready future_failed future_on_complete future_set_deadline")                                            \
    X(without_memory_text_by_slots_fails_cleanly, text_slots, "spawn_text_to_text text_to_text_load_blocking memory_try_reserve generate op_emit")             \
    X(without_memory_text_one_at_a_time_fails_cleanly, text_generate, "spawn_text_to_text generate op_emit")                                                   \
    X(without_memory_vision_fails_cleanly, vision, "spawn_vision vision_load_shared weights_load_blocking describe")                                           \
    X(without_memory_text_embedding_fails_cleanly, text_vectors, "spawn_text_embedding text_embedding_load_blocking promise_on_cancel embed")                  \
    X(without_memory_image_embedding_fails_cleanly, image_vectors, "spawn_image_embedding image_embedding_load_shared embed_images")                           \
    X(without_memory_text_to_image_fails_cleanly, painting, "spawn_text_to_image text_to_image_load_blocking generate_image op_step")                          \
    X(without_memory_waiting_for_a_load_fails_cleanly, waiting_for_the_load, "embed")                                                                          \
    X(without_memory_a_cancelled_load_fails_cleanly, cancelled_loads, "worker_stop")                                                                           \
    X(without_memory_troubled_requests_fail_cleanly, troubled_requests, "port_cancel request_cancel request_pause request_resume op_fail")                     \
    X(without_memory_forms_of_pictures_fail_cleanly, forms_of_pictures, "describe")                                                                            \
    X(without_memory_pictures_by_url_fail_cleanly, pictures_by_url, "embed_images")                                                                            \
    X(without_memory_many_keys_fail_cleanly, many_keys, "spawn_text_embedding load_fail load_progress")                                                        \
    X(without_memory_weights_and_promises_fail_cleanly, weights_and_promises,                                                                                  \
      "weights_load_blocking weights_future_charge promise_fail promise_on_cancel load_fail memory_try_reserve")
#define REGISTRY_SCENARIOS(X)                                                                                                                                  \
    X(without_memory_a_registry_entry_fails_cleanly, registry_entry,                                                                                           \
      "registry_add_text_embedding model_load model_pin model_unload registry_remove pool_snapshot pool_prometheus pool_health_json memory_explain")           \
    X(without_memory_reservations_that_wait_fail_cleanly, reservations_that_wait, "memory_reserve memory_cancel")                                              \
    X(without_memory_a_manifest_fails_cleanly, registry_manifest, "backend_register registry_load registry_load_text registry_add")                            \
    X(without_memory_files_that_are_fetched_fail_cleanly, registry_files, "registry_fetch load_read_files weights_future_ready")

#define NOMEM_TEST(NAME, SCENARIO, FUNCTIONS)                                                                                                                  \
    static void NAME(void **state)                                                                                                                             \
    {                                                                                                                                                          \
        (void)state;                                                                                                                                           \
        (void)FUNCTIONS;                                                                                                                                       \
        run_scenario(#SCENARIO, SCENARIO);                                                                                                                     \
    }
SCENARIOS(NOMEM_TEST)
REGISTRY_SCENARIOS(NOMEM_TEST)

#define SUITE nomem
#include "suite.h"
