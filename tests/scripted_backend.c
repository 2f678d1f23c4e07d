#include "scripted_backend.h"

#include "scripted_model.h"

/* ---- what was said ---- */

void on_told(cadre_pool *pool, int status, const char *detail, void *data)
{
    told *t = data;
    fixture *fx = cadre_pool_get_data(pool);
    if (!fixture_on_loop(fx) || fx->calling) fixture_fault(fx, "a callback of the registry inside a call, or off the loop");
    if (!detail || (status == 0) != (detail[0] == '\0')) fixture_fault(fx, "the detail of %s is \"%s\"", cadre_err_name(status), detail ? detail : "(NULL)");
    t->count++;
    t->status = status;
    snprintf(t->detail, sizeof t->detail, "%s", detail ? detail : "");
}

seen_event events[EVENTS_MAX];
size_t event_count;

static void on_event(cadre_pool *pool, const cadre_event *event, void *data)
{
    fixture *fx = cadre_pool_get_data(pool);
    (void)data;
    if (!fixture_on_loop(fx) || fx->calling || event->size != sizeof *event || !event->key || !event->detail)
        fixture_fault(fx, "an event inside a call, off the loop, or not whole");
    if (event_count == EVENTS_MAX) return;
    seen_event *e = &events[event_count++];
    *e = (seen_event){event->type, "", "", event->status, event->bytes, event->ns, event->time_ns, event->worker};
    snprintf(e->key, sizeof e->key, "%s", event->key);
    snprintf(e->detail, sizeof e->detail, "%s", event->detail);
}

size_t event_after(cadre_event_type type, const char *key, size_t from)
{
    for (size_t i = from; i < event_count; i++)
        if (events[i].type == type && (!key || strcmp(events[i].key, key) == 0)) return i;
    return EVENTS_MAX;
}

size_t events_of(cadre_event_type type, const char *key, size_t from)
{
    size_t n = 0;
    while ((from = event_after(type, key, from)) < EVENTS_MAX) n++, from++;
    return n;
}

/* ---- the backends ---- */

static script *script_of(fixture *fx, const char *key)
{
    for (script *s = fx->scripts; s; s = s->next)
        if (strcmp(s->key, key) == 0) return s;
    return NULL;
}

static int backend_open(const cadre_backend *backend, cadre_backend_entry *entry, void **self)
{
    fixture *fx = backend->data;
    script *s = script_of(fx, entry->key);
    if (fixture_on_loop(fx)) fixture_fault(fx, "open runs on the loop");
    if (!s) return cadre_backend_fail(entry, CADRE_EFORMAT, "there is no script \"%s\"", entry->key);
    if (s->open_status < 0) return s->detail ? cadre_backend_fail(entry, s->open_status, "%s", s->detail) : s->open_status;
    if (entry->capability != s->capability) fixture_fault(fx, "open got another capability");
    if (entry->device_count < 1 || strcmp(entry->device_names[0], "host") != 0) fixture_fault(fx, "the first device is not the host");
    for (size_t i = 0; i < s->estimate_count; i++) entry->needs[i] = s->estimate[i];
    entry->need_count = s->estimate_count;
    if (backend->option_count) snprintf(s->opened_path, sizeof s->opened_path, "%s", entry->options[0].given ? entry->options[0].string : "");
    *self = s;
    atomic_fetch_add(&s->opened, 1);
    return 0;
}

static void backend_close(void *self)
{
    script *s = self;
    if (fixture_on_loop(s->fx) && !s->fx->closing) fixture_fault(s->fx, "close runs on the loop");
    bool last = atomic_fetch_add(&s->closed, 1) + 1 == atomic_load(&s->opened);
    if (last && atomic_load(&s->made) != atomic_load(&s->destroyed)) fixture_fault(s->fx, "a backend's entry is closed before its models are destroyed");
    fixture_wake(s->fx);
}

static cadre_weights_future *backend_fetch(void *self, cadre_load_context *context)
{
    script *s = self;
    cadre_weights_future *fetched = NULL;
    if (!fixture_on_loop(s->fx) || s->fx->calling) fixture_fault(s->fx, "fetch runs off the loop, or inside a call");
    s->fetch_calls++;
    if (s->load_null) return NULL;
    int rc = script_fetch(s, &fetched);
    if (rc < 0) cadre_load_fail(context, rc, "the fetch could not be started");
    return fetched;
}

static int backend_load(void *self, cadre_load_context *context, cadre_weights *fetched, cadre_weights_value *out)
{
    script *s = self;
    if (fetched && !script_owns(s, fetched)) fixture_fault(s->fx, "load got another payload");
    if (fixture_on_loop(s->fx)) fixture_fault(s->fx, "load runs on the loop");
    int rc = fetched ? 0 : script_load_here(s, context);
    if (rc == 0 && s->measured_load) cadre_load_measured(context, CADRE_DEVICE_HOST, s->measured_load);
    if (rc == 0) *out = script_payload(s);
    return rc;
}

/* heartbeat_ms and threads end every model. */
static size_t fill_any(script *s, cadre_any_model *out)
{
    model_value value;
    script_fill(s, &value);
    size_t size = value.generation.size; /* lies alike in all */
    if (out->size != size) fixture_fault(s->fx, "the model to make has size %zu, not %zu", out->size, size);
    memcpy(out, &value, size);
    uint32_t *heartbeat = s->capability == CADRE_TEXT_EMBEDDING    ? &out->text_embedding.heartbeat_ms
                          : s->capability == CADRE_IMAGE_EMBEDDING ? &out->image_embedding.heartbeat_ms
                          : s->capability == CADRE_TEXT_TO_IMAGE   ? &out->text_to_image.heartbeat_ms
                                                                   : &out->text_to_text.heartbeat_ms;
    heartbeat[0] = s->heartbeat_ms;
    uint32_t *threads = s->capability == CADRE_TEXT_EMBEDDING    ? &out->text_embedding.threads
                        : s->capability == CADRE_IMAGE_EMBEDDING ? &out->image_embedding.threads
                        : s->capability == CADRE_TEXT_TO_IMAGE   ? &out->text_to_image.threads
                                                                 : &out->text_to_text.threads;
    *threads = s->fixed_threads;
    return size;
}

static int make_alone(void *self, cadre_load_context *context, cadre_weights *source, cadre_any_model *out)
{
    script *s = self;
    if (fixture_on_loop(s->fx)) fixture_fault(s->fx, "a make that may block runs on the loop");
    if (source && !script_owns(s, source)) fixture_fault(s->fx, "make got another payload");
    if (cadre_load_worker(context) == 0 || strcmp(cadre_load_key(context), s->key) != 0) fixture_fault(s->fx, "make's context is wrong");
    int rc = source ? 0 : script_load_here(s, context);
    if (rc < 0) return rc;
    if (s->make_status < 0) return s->detail ? cadre_load_fail(context, s->make_status, "%s", s->detail) : s->make_status;
    if (s->measured_load) cadre_load_measured(context, CADRE_DEVICE_HOST, s->measured_load);
    fill_any(s, out);
    return 0;
}

static int make_around(void *self, cadre_load_context *context, cadre_weights *source, cadre_any_model *out)
{
    script *s = self;
    if (fixture_on_loop(s->fx) || !cadre_load_may_block(context)) fixture_fault(s->fx, "a make around shared weights runs on the loop");
    if (!script_owns(s, source)) fixture_fault(s->fx, "make got another payload, or none");
    if (s->make_status < 0) return s->detail ? cadre_load_fail(context, s->make_status, "%s", s->detail) : s->make_status;
    fill_any(s, out);
    return 0;
}

#define ALL_CAPABILITIES ((1u << CADRE_CAPABILITY_COUNT) - 1)
static cadre_backend plain = {CADRE_BACKEND_VERSION, sizeof plain,  "plain", ALL_CAPABILITIES, 0,   NULL, 0, backend_open,
                              backend_close,         backend_fetch, NULL,    make_alone,       NULL};
static cadre_backend shared = {CADRE_BACKEND_VERSION, sizeof shared, "shared",      ALL_CAPABILITIES, 1,           NULL, 0,
                               backend_open,          backend_close, backend_fetch, backend_load,     make_around, NULL};
static cadre_backend bare = {
    CADRE_BACKEND_VERSION, sizeof bare, "bare", 1u << CADRE_TEXT_TO_TEXT, 0, NULL, 0, backend_open, backend_close, NULL, NULL, make_alone, NULL};

/* Likewise, with files. */
static const cadre_option_spec paths[] = {{"path", CADRE_OPTION_PATH, 0, 0, 0, "a file"}, {"other", CADRE_OPTION_PATH, 0, 0, 0, "another"}};
static cadre_backend plain_files, shared_files;

void register_file_backends(fixture *fx)
{
    plain_files = plain, shared_files = shared;
    plain_files.name = "plain-files", shared_files.name = "shared-files";
    plain_files.options = shared_files.options = paths;
    plain_files.option_count = shared_files.option_count = COUNT(paths);
    assert_status(cadre_backend_register(fx->pool, &plain_files), 0);
    assert_status(cadre_backend_register(fx->pool, &shared_files), 0);
}

/* ---- the fixture ---- */

fixture *registry_begin_all(const cadre_pool_options *options)
{
    cadre_pool_options all = CADRE_POOL_OPTIONS_INIT;
    if (options) all = *options;
    event_count = 0;
    all.on_event = on_event;
    if (all.seed == CADRE_DEFAULT) all.seed = 1;
    fixture *fx = fixture_begin_with(&all);
    plain.data = shared.data = bare.data = fx;
    assert_status(cadre_backend_register(fx->pool, &plain), 0);
    assert_status(cadre_backend_register(fx->pool, &shared), 0);
    assert_status(cadre_backend_register(fx->pool, &bare), 0);
    return fx;
}

fixture *registry_begin_with(int64_t memory_bytes, int32_t cores)
{
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    options.memory_bytes = memory_bytes;
    options.cores = cores;
    return registry_begin_all(&options);
}

fixture *registry_begin(void)
{
    return registry_begin_all(NULL);
}

void pass_time(fixture *fx, int64_t ms)
{
    fixture_advance(fx, ms);
    settle(fx);
}

/* ---- entries ---- */

cadre_entry entry_of(const script *s)
{
    cadre_entry entry = CADRE_ENTRY_INIT;
    entry.key = s->key;
    entry.capability = (int32_t)s->capability;
    entry.backend = "plain";
    entry.batch_window_us = 0;
    return entry;
}

void entry_takes(cadre_entry *entry, cadre_memory_need *need, uint64_t weights, uint64_t worker)
{
    *need = (cadre_memory_need){CADRE_DEVICE_HOST, weights, worker};
    entry->memory = need;
    entry->memory_count = 1;
}

script *text_script(fixture *fx, const char *key)
{
    return script_new(fx, CADRE_TEXT_TO_TEXT, KIND_BLOCKING, key);
}

told try_add(fixture *fx, const cadre_entry *entry)
{
    told t = {0};
    fx->calling++;
    int rc = cadre_registry_add(fx->pool, entry, on_told, &t);
    fx->calling--;
    if (rc < 0) {
        t.status = rc;
        snprintf(t.detail, sizeof t.detail, "%s", cadre_pool_error_detail(fx->pool));
        return t;
    }
    run_until_int(fx, &t.count, 1);
    settle(fx);
    assert_int_equal(t.count, 1);
    return t;
}

void add(fixture *fx, const cadre_entry *entry)
{
    told t = try_add(fx, entry);
    if (t.status < 0) print_error("%s\n", t.detail);
    assert_status(t.status, 0);
}

script *added(fixture *fx, const char *key, uint64_t bytes)
{
    script *s = text_script(fx, key);
    cadre_entry entry = entry_of(s);
    cadre_memory_need need;
    if (bytes) entry_takes(&entry, &need, 0, bytes);
    add(fx, &entry);
    return s;
}

static told now(fixture *fx, const char *key, int (*function)(cadre_pool *, const char *, cadre_registry_cb, void *))
{
    told t = {0};
    fx->calling++;
    int rc = function(fx->pool, key, on_told, &t);
    fx->calling--;
    if (rc < 0) {
        t.status = rc;
        return t;
    }
    run_until_int(fx, &t.count, 1);
    settle(fx);
    assert_int_equal(t.count, 1);
    return t;
}

told load_now(fixture *fx, const char *key)
{
    return now(fx, key, cadre_model_load);
}
told fetch_now(fixture *fx, const char *key)
{
    return now(fx, key, cadre_registry_fetch);
}
told unload_now(fixture *fx, const char *key)
{
    return now(fx, key, cadre_model_unload);
}
told remove_now(fixture *fx, const char *key)
{
    return now(fx, key, cadre_registry_remove);
}

void serve_once(script *s)
{
    answer *a = ask(s, "once");
    until_done(a);
    assert_answered(s, a, "once");
    settle(s->fx);
}

cadre_entry_info info_of(fixture *fx, const char *key)
{
    cadre_entry_info info = CADRE_ENTRY_INFO_INIT;
    assert_status(cadre_registry_get(fx->pool, key, &info), 0);
    return info;
}

cadre_snapshot snapshot_of(fixture *fx)
{
    cadre_snapshot out = {.size = sizeof out};
    assert_status(cadre_pool_snapshot(fx->pool, &out), 0);
    return out;
}

struct wanted {
    fixture *fx;
    const char *key;
    uint64_t value;
};

static bool has_workers(void *data)
{
    struct wanted *w = data;
    return info_of(w->fx, w->key).workers == w->value;
}
static bool has_state(void *data)
{
    struct wanted *w = data;
    return info_of(w->fx, w->key).state == (cadre_model_state)w->value;
}
static bool has_charged(void *data)
{
    struct wanted *w = data;
    return charged(w->fx, CADRE_DEVICE_HOST) == w->value;
}

void until_workers(fixture *fx, const char *key, uint32_t workers)
{
    struct wanted w = {fx, key, workers};
    run_until(fx, has_workers, &w);
}
void until_state(fixture *fx, const char *key, cadre_model_state state)
{
    struct wanted w = {fx, key, (uint64_t)state};
    run_until(fx, has_state, &w);
}
void until_charged(fixture *fx, uint64_t bytes)
{
    struct wanted w = {fx, NULL, bytes};
    run_until(fx, has_charged, &w);
}

void assert_state_of(fixture *fx, const char *key, cadre_model_state state)
{
    assert_string_equal(cadre_model_state_name(info_of(fx, key).state), cadre_model_state_name(state));
}

answer *ask_within(script *s, const char *text, int64_t timeout_ms)
{
    cadre_request_options options = CADRE_REQUEST_OPTIONS_INIT;
    options.timeout_ms = timeout_ms;
    answer *a = answer_new(s->fx);
    assert_status(submit(s, a, text, &options), 0);
    return a;
}

void assert_refused(script *s, int status, const char *part)
{
    answer *a = answer_new(s->fx);
    assert_status(submit(s, a, "refused", NULL), status);
    assert_contains(cadre_pool_error_detail(s->fx->pool), part);
}
