/* What a host can see: the snapshot against what was done, events, Prometheus text, health. The trace is test_trace.c's. */
#include "scripted.h"

#include <cjson/cJSON.h>

/* ---- what is collected ---- */

typedef struct told {
    cadre_event_type type;
    cadre_worker_id worker;
    int status;
    char key[64], detail[512];
} told;

typedef struct listener {
    told events[64];
    size_t count;
    uint64_t latest_ns;
    fixture *fx;
} listener;

static void on_event(cadre_pool *pool, const cadre_event *event, void *data)
{
    listener *l = data;
    fixture *fx = cadre_pool_get_data(pool);
    l->fx = fx;
    if (!fixture_on_loop(fx) || fx->calling) fixture_fault(fx, "an event is told inside a call, or on another thread");
    if (fx->closed) fixture_fault(fx, "an event is told after the close callback");
    if (event->size != sizeof *event || !event->key || !event->detail) fixture_fault(fx, "an event has no size, key or detail");
    if (event->time_ns < l->latest_ns) fixture_fault(fx, "an event is older than the one before");
    l->latest_ns = event->time_ns;
    if (l->count == COUNT(l->events)) return;
    told *t = &l->events[l->count++];
    t->type = event->type;
    t->worker = event->worker;
    t->status = event->status;
    snprintf(t->key, sizeof t->key, "%s", event->key);
    snprintf(t->detail, sizeof t->detail, "%s", event->detail);
}

/* Where the first event of a type about a key is, from 1; 0: nowhere. */
static size_t place_of(const listener *l, cadre_event_type type, const char *key)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->events[i].type == type && strcmp(l->events[i].key, key) == 0) return i + 1;
    return 0;
}

typedef struct text {
    char *bytes;
    size_t length, pieces;
} text;

static void on_write(const char *bytes, size_t length, void *data)
{
    text *t = data;
    assert_true(length > 0 && length <= 1 << 16);
    t->bytes = realloc(t->bytes, t->length + length + 1);
    if (!t->bytes) abort();
    memcpy(t->bytes + t->length, bytes, length);
    t->length += length;
    t->bytes[t->length] = '\0';
    t->pieces++;
}

static cadre_snapshot snapshot(fixture *fx)
{
    cadre_snapshot now;
    memset(&now, 0xff, sizeof now);
    now.size = sizeof now;
    assert_status(cadre_pool_snapshot(fx->pool, &now), 0);
    return now;
}

static uint64_t sum_of(const cadre_histogram *h)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < CADRE_HISTOGRAM_BUCKETS; i++) sum += h->counts[i];
    return sum;
}

static void cancel(answer *a)
{
    assert_status(cadre_request_cancel(a->fx->pool, a->id), 0);
}

/* ---- the snapshot ---- */

static void events_have_names(void **state)
{
    (void)state;
    assert_string_equal(cadre_event_name(CADRE_EVENT_MODEL_ADDED), "model_added");
    assert_string_equal(cadre_event_name(CADRE_EVENT_WORKER_GONE), "worker_gone");
    assert_string_equal(cadre_event_name(CADRE_EVENT_PRESSURE), "pressure");
    assert_string_equal(cadre_event_name((cadre_event_type)CADRE_EVENT_COUNT), "unknown");
    assert_string_equal(cadre_event_name((cadre_event_type)-1), "unknown");
    for (int i = 0; i < CADRE_EVENT_COUNT; i++)
        for (int k = 0; k < i; k++) assert_string_not_equal(cadre_event_name((cadre_event_type)i), cadre_event_name((cadre_event_type)k));
}

static void what_is_not_a_pool_or_a_snapshot_is_refused(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    cadre_snapshot now = {.size = 0};
    text t = {0};
    assert_status(cadre_pool_snapshot(fx->pool, &now), CADRE_EINVAL);
    now.size = sizeof now + 1;
    assert_status(cadre_pool_snapshot(fx->pool, &now), CADRE_EINVAL);
    assert_status(cadre_pool_snapshot(fx->pool, NULL), CADRE_EINVAL);
    assert_status(cadre_pool_snapshot(NULL, &now), CADRE_EINVAL);
    assert_status(cadre_pool_prometheus(NULL, on_write, &t), CADRE_EINVAL);
    assert_status(cadre_pool_prometheus(fx->pool, NULL, &t), CADRE_EINVAL);
    assert_status(cadre_pool_health_json(NULL, on_write, &t), CADRE_EINVAL);
    assert_status(cadre_pool_health_json(fx->pool, NULL, &t), CADRE_EINVAL);
    struct { /* of an older header */
        size_t size;
        uint64_t models, models_ready, behind;
    } old = {offsetof(cadre_snapshot, workers_loading), 7, 7, 7};
    assert_status(cadre_pool_snapshot(fx->pool, (cadre_snapshot *)(void *)&old), 0);
    assert_size(old.models, 0);
    assert_size(old.behind, 7);
    fixture_end(fx);
}

/* One of each end: 2 done, 1 failed, 2 cancelled (one with the worker, one in the queue), 1 timed out, 3 refused. */
static void each_end(fixture *fx, script *s)
{
    cadre_request_options soon = CADRE_REQUEST_OPTIONS_INIT, wrong = CADRE_REQUEST_OPTIONS_INIT;
    soon.timeout_ms = 1;
    wrong.priority = 77;
    script_hold(s, OP_GENERATE);
    answer *running = ask(s, "running");
    script_until(s, OP_GENERATE, 1);
    ask(s, "hello");
    ask(s, "fail");
    answer *queued = ask(s, "queued"), *late = answer_new(fx);
    assert_status(submit(s, late, "late", &soon), 0);
    assert_status(submit(s, answer_new(fx), "one too many", NULL), CADRE_EFULL);
    assert_status(submit(s, answer_new(fx), "wrong", &wrong), CADRE_EINVAL);
    settle(fx);
    cadre_snapshot now = snapshot(fx);
    assert_size(now.requests_queued, 4);
    assert_size(now.requests_running, 1);
    assert_size(now.workers_busy, 1);
    assert_size(now.workers_ready, 1);
    assert_size(now.cores_busy, 1);
    cancel(queued);
    cancel(running);
    fixture_advance(fx, 2);
    until_done(late);
    now = snapshot(fx);
    assert_size(now.requests_abandoned, 1);
    assert_size(now.requests_running, 0);
    script_open(s, OP_GENERATE);
    until_all_done(fx);
    answer *last = ask(s, "last");
    until_done(last);
}

static void a_snapshot_counts_what_was_done(void **state)
{
    (void)state;
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    options.cores = 3;
    options.memory_bytes = 1000;
    fixture *fx = fixture_begin_with(&options);
    script *s = script_new(fx, CADRE_TEXT_TO_TEXT, KIND_BLOCKING, "m"), *broken = script_new(fx, CADRE_TEXT_TO_TEXT, KIND_BLOCKING, "broken");
    cadre_spawn_options spawn = CADRE_SPAWN_OPTIONS_INIT;
    spawn.queue_capacity = 4;
    atomic_store(&broken->status[OP_LOAD], CADRE_EFORMAT);
    script_hold(s, OP_LOAD);
    assert_status(script_spawn_with(s, reserve(fx, 300), &spawn), 0);
    script_until(s, OP_LOAD, 1);
    cadre_snapshot now = snapshot(fx);
    assert_size(now.workers_loading, 1);
    assert_size(now.loads_running, 1);
    script_open(s, OP_LOAD);
    script_until_ready(s, 1);
    script_spawn(broken);
    script_until_ready(broken, 1);
    each_end(fx, s);
    assert_status(submit(broken, answer_new(fx), "nobody there", NULL), CADRE_ENOENT);
    now = snapshot(fx);
    assert_size(now.size, sizeof now);
    assert_size(now.models, 0);
    assert_size(now.workers_loading, 0);
    assert_size(now.workers_ready, 1);
    assert_size(now.workers_busy + now.requests_queued + now.requests_running + now.requests_abandoned, 0);
    assert_size(now.memory_budget_bytes, 1000);
    assert_size(now.memory_charged_bytes, 300);
    assert_size(now.cores, 3);
    assert_size(now.requests_accepted, 6);
    assert_size(now.requests_done, 2);
    assert_size(now.requests_failed, 1);
    assert_size(now.requests_cancelled, 2);
    assert_size(now.requests_timed_out, 1);
    assert_size(now.requests_refused, 3);
    assert_size(now.loads_started, now.loads_done + now.loads_failed);
    assert_size(now.evictions + now.workers_hung + now.loads_waiting_memory, 0);
    assert_size(now.request_wait.count, 4); /* those that a worker had */
    assert_size(now.request_run.count, 4);
    assert_size(sum_of(&now.request_wait), now.request_wait.count);
    assert_size(sum_of(&now.request_run), now.request_run.count);
    assert_size(sum_of(&now.loop_lag), now.loop_lag.count);
    fixture_end(fx);
}

static void times_fall_into_the_buckets_that_the_header_says(void **state)
{
    (void)state;
    static const struct {
        uint64_t ns;
        int bucket;
    } rows[] = {{0, 0},     {1, 0},         {10000, 0},     {10001, 1},       {20000, 1},       {20001, 2},        {40000, 2},
                {40001, 3}, {10240000, 10}, {10240001, 11}, {2621440000, 18}, {2621440001, 19}, {60000000000u, 19}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        row("%llu ns", (unsigned long long)rows[i].ns);
        fixture *fx = fixture_begin();
        script *s = script_ready(fx, CADRE_TEXT_TO_TEXT, "m");
        script_hold(s, OP_GENERATE);
        answer *first = ask(s, "first");
        script_until(s, OP_GENERATE, 1);
        atomic_fetch_add(&fx->now_ns, rows[i].ns);
        script_open(s, OP_GENERATE);
        until_done(first);
        cadre_snapshot now = snapshot(fx);
        assert_size(now.request_run.count, 1);
        assert_size(now.request_run.sum_ns, rows[i].ns);
        assert_size(now.request_run.counts[rows[i].bucket], 1);
        assert_size(now.request_wait.counts[0], 1);
        fixture_end(fx);
    }
}

/* ---- events ---- */

static fixture *listened_to(listener *l)
{
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    options.on_event = on_event;
    options.event_data = l;
    return fixture_begin_with(&options);
}

static void the_end_of_a_worker_is_told_in_order_and_never_inside_a_call(void **state)
{
    (void)state;
    listener l = {.count = 0};
    fixture *fx = listened_to(&l);
    script *s = script_ready(fx, CADRE_TEXT_TO_TEXT, "m");
    fx->calling++;
    assert_status(cadre_worker_stop(fx->pool, s->worker), 0);
    fx->calling--;
    run_until_int(fx, &s->exited, 1);
    settle(fx);
    size_t ready = place_of(&l, CADRE_EVENT_WORKER_READY, "m"), stopping = place_of(&l, CADRE_EVENT_WORKER_STOPPING, "m");
    size_t gone = place_of(&l, CADRE_EVENT_WORKER_GONE, "m");
    assert_true(ready < stopping && stopping < gone);
    assert_true(l.events[stopping - 1].worker == s->worker && l.events[gone - 1].worker == s->worker);
    fixture_end(fx);
}

static void a_close_tells_of_its_workers_before_its_callback(void **state)
{
    (void)state;
    listener l = {.count = 0};
    fixture *fx = listened_to(&l);
    script_ready(fx, CADRE_TEXT_TO_TEXT, "m");
    fixture_close(fx, NULL);
    assert_true(place_of(&l, CADRE_EVENT_WORKER_STOPPING, "m") != 0);
    assert_true(place_of(&l, CADRE_EVENT_WORKER_STOPPING, "m") < place_of(&l, CADRE_EVENT_WORKER_GONE, "m"));
    fixture_end(fx);
}

/* ---- Prometheus and health ---- */

/* With CADRE_TEST_SHOW, for people. */
static void show(const text *t)
{
    if (getenv("CADRE_TEST_SHOW")) fwrite(t->bytes, 1, t->length, stdout);
}

static text prometheus(fixture *fx)
{
    text t = {0};
    assert_status(cadre_pool_prometheus(fx->pool, on_write, &t), 0);
    show(&t);
    return t;
}

/* Runs a shell command with a text as its input; its exit status. */
static int piped(const char *command, const text *t)
{
    guard_leave();
    FILE *pipe = popen(command, "w");
    assert_non_null(pipe);
    if (t) assert_size(fwrite(t->bytes, 1, t->length, pipe), t->length);
    int rc = pclose(pipe);
    guard_enter();
    return rc;
}

#define CHECK "env -u LD_PRELOAD python3 " CADRE_TESTS_DIR "/prometheus_check.py"
#define DOCUMENTED " --in " CADRE_TESTS_DIR "/../docs/timeline.md"
#define PROMTOOL "if command -v promtool >/dev/null; then env -u LD_PRELOAD promtool check metrics; else cat >/dev/null; fi"

static script *weird_names(fixture **out)
{
    static const char key[] = "a \"key\" \\ n\303\244me";
    static const cadre_device devices[] = {{sizeof(cadre_device), "gpu\n\"0\"", 77}, {sizeof(cadre_device), "gpu\n\"0\"", 78}};
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    options.devices = devices;
    options.device_count = COUNT(devices);
    *out = fixture_begin_with(&options);
    script *s = script_ready(*out, CADRE_TEXT_TO_TEXT, key);
    until_done(ask(s, "hello"));
    until_done(ask(s, "fail"));
    return s;
}

static void prometheus_text_is_valid_and_true(void **state)
{
    (void)state;
    fixture *fx;
    weird_names(&fx);
    text t = prometheus(fx);
    assert_int_equal(piped(CHECK DOCUMENTED, &t), 0);
    assert_int_equal(piped(PROMTOOL, &t), 0);
    assert_contains(t.bytes, "\ncadre_requests_accepted_total 2\n");
    assert_contains(t.bytes, "\ncadre_requests_completed_total{outcome=\"done\"} 1\n");
    assert_contains(t.bytes, "\ncadre_workers{state=\"idle\"} 1\n");
    assert_contains(t.bytes, "\ncadre_memory_budget_bytes{device=\"2\",name=\"gpu\\n\\\"0\\\"\"} 78\n");
    assert_contains(t.bytes, "\ncadre_model_requests_completed_total{key=\"a \\\"key\\\" \\\\ n\303\244me\",outcome=\"failed\"} 1\n");
    assert_contains(t.bytes, "\ncadre_request_run_seconds_bucket{le=\"0.00001\"} 2\n");
    assert_contains(t.bytes, "\ncadre_request_run_seconds_bucket{le=\"2.62144\"} 2\n");
    assert_contains(t.bytes, "\ncadre_request_run_seconds_count 2\n");
    free(t.bytes);
    fixture_end(fx);
}

static void the_check_of_prometheus_text_sees_planted_faults(void **state)
{
    (void)state;
    assert_int_equal(piped(CHECK " --planted", NULL), 0);
}

static cJSON *health(fixture *fx)
{
    text t = {0};
    assert_status(cadre_pool_health_json(fx->pool, on_write, &t), 0);
    show(&t);
    cJSON *json = cJSON_Parse(t.bytes);
    if (!json) print_error("not JSON: %s\n", t.bytes);
    assert_non_null(json);
    free(t.bytes);
    return json;
}

static const cJSON *at(const cJSON *json, const char *object, const char *field)
{
    return cJSON_GetObjectItemCaseSensitive(object ? cJSON_GetObjectItemCaseSensitive(json, object) : json, field);
}

static void health_is_true(void **state)
{
    (void)state;
    fixture *fx;
    script *s = weird_names(&fx), *loading = script_new(fx, CADRE_TEXT_EMBEDDING, KIND_BLOCKING, "loading");
    script_hold(loading, OP_LOAD);
    script_spawn(loading);
    ask(loading, "waits");
    script_until(loading, OP_LOAD, 1);
    cJSON *json = health(fx);
    const cJSON *models = cJSON_GetObjectItemCaseSensitive(json, "models"), *memory = cJSON_GetObjectItemCaseSensitive(json, "memory");
    assert_string_equal(at(json, NULL, "status")->valuestring, "ok");
    assert_int_equal(at(json, "workers", "ready")->valueint, 1);
    assert_int_equal(at(json, "workers", "loading")->valueint, 1);
    assert_int_equal(at(json, "requests", "queued")->valueint, 1);
    assert_int_equal(cJSON_GetArraySize(memory), 3);
    assert_string_equal(at(cJSON_GetArrayItem(memory, 2), NULL, "device")->valuestring, "gpu\n\"0\"");
    assert_int_equal(cJSON_GetArraySize(models), 2);
    const cJSON *model;
    cJSON_ArrayForEach(model, models)
    {
        bool ready = strcmp(at(model, NULL, "key")->valuestring, s->key) == 0;
        if (!ready) assert_string_equal(at(model, NULL, "key")->valuestring, "loading");
        assert_string_equal(at(model, NULL, "state")->valuestring, ready ? "ready" : "loading");
        assert_int_equal(at(model, NULL, "workers")->valueint, ready);
    }
    cJSON_Delete(json);
    script_open(loading, OP_LOAD);
    until_all_done(fx);
    fixture_start_close(fx, NULL);
    json = health(fx);
    assert_string_equal(at(json, NULL, "status")->valuestring, "closing");
    cJSON_Delete(json);
    fixture_end(fx);
}

/* ---- the registry ---- */

static int plain_generate(void *self, cadre_op *op, const cadre_generation_input *input, cadre_generation_output *output)
{
    (void)self, (void)input, (void)output;
    return cadre_op_emit(op, "yes", 3);
}

static int plain_make(cadre_load_context *context, cadre_weights *source, void *data, cadre_generation_model *out)
{
    static const cadre_generation_ops ops = {.size = sizeof ops, .generate = plain_generate};
    (void)source;
    if (strcmp(data, "broken") == 0) return cadre_load_fail(context, CADRE_EFORMAT, "bad \"magic\"");
    *out = (cadre_generation_model)CADRE_GENERATION_MODEL_INIT;
    out->ops = &ops;
    return 0;
}

static cadre_text_to_text_future *plain_load(cadre_load_context *context, void *data)
{
    return cadre_text_to_text_load_blocking(context, NULL, plain_make, data);
}

static void on_registry(cadre_pool *pool, int status, const char *detail, void *data)
{
    (void)pool, (void)detail, (void)status;
    ++*(int *)data;
}

static void add_plain(fixture *fx, const char *key)
{
    cadre_entry entry = CADRE_ENTRY_INIT;
    cadre_text_to_text_loader loader = {sizeof loader, plain_load, (void *)(uintptr_t)key, NULL};
    int done = 0;
    entry.key = key;
    entry.capability = CADRE_TEXT_TO_TEXT;
    entry.load_retries = 0;
    assert_status(cadre_registry_add_text_to_text(fx->pool, &entry, &loader, on_registry, &done), 0);
    run_until_int(fx, &done, 1);
    done = 0;
    assert_status(cadre_model_load(fx->pool, key, on_registry, &done), 0);
    run_until_int(fx, &done, 1);
    settle(fx);
}

static void loads_of_the_registry_are_seen_everywhere(void **state)
{
    (void)state;
    listener l = {.count = 0};
    fixture *fx = listened_to(&l);
    add_plain(fx, "plain");
    cJSON *json = health(fx);
    assert_string_equal(at(json, NULL, "status")->valuestring, "ok");
    cJSON_Delete(json);
    add_plain(fx, "broken");
    json = health(fx);
    const cJSON *failed = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(json, "models"), 1);
    assert_string_equal(at(json, NULL, "status")->valuestring, "degraded");
    assert_string_equal(at(failed, NULL, "state")->valuestring, "failed");
    assert_string_equal(at(failed, NULL, "error")->valuestring, "CADRE_EFORMAT");
    assert_contains(at(failed, NULL, "detail")->valuestring, "bad \"magic\"");
    cJSON_Delete(json);
    cadre_snapshot now = snapshot(fx);
    assert_size(now.models, 2);
    assert_size(now.models_ready, 1);
    assert_size(now.loads_started, 2);
    assert_size(now.loads_done, 1);
    assert_size(now.loads_failed, 1);
    text t = prometheus(fx);
    assert_int_equal(piped(CHECK DOCUMENTED, &t), 0);
    assert_int_equal(piped(PROMTOOL, &t), 0);
    assert_contains(t.bytes, "\ncadre_model_state{key=\"plain\",state=\"ready\"} 1\n");
    assert_contains(t.bytes, "\ncadre_model_state{key=\"broken\",state=\"failed\"} 1\n");
    assert_contains(t.bytes, "\ncadre_model_loads_failed_total{key=\"broken\"} 1\n");
    free(t.bytes);
    size_t added = place_of(&l, CADRE_EVENT_MODEL_ADDED, "plain"), started = place_of(&l, CADRE_EVENT_LOAD_STARTED, "plain");
    size_t ready = place_of(&l, CADRE_EVENT_WORKER_READY, "plain"), told_failed = place_of(&l, CADRE_EVENT_LOAD_FAILED, "broken");
    assert_true(added && added < started && started < ready && told_failed);
    assert_status(l.events[told_failed - 1].status, CADRE_EFORMAT);
    assert_contains(l.events[told_failed - 1].detail, "bad \"magic\"");
    fixture_end(fx);
}

#define SUITE observe
#include "suite.h"
