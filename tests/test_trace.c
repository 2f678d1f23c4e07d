/* The trace's file: what it holds, that viewers can read it, and that nothing else suffers when it cannot be written. */
#include "scripted.h"

#include <cjson/cJSON.h>
#include <sys/stat.h>
#include <unistd.h>

static char trace_path[64];

static cadre_pool_options traced(void)
{
    static unsigned number;
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    snprintf(trace_path, sizeof trace_path, "/tmp/cadre-trace-%d-%u.json", (int)getpid(), ++number);
    options.trace_path = trace_path;
    return options;
}

static const cJSON *at(const cJSON *json, const char *object, const char *field)
{
    return cJSON_GetObjectItemCaseSensitive(object ? cJSON_GetObjectItemCaseSensitive(json, object) : json, field);
}

static void on_event(cadre_pool *pool, const cadre_event *event, void *data)
{
    (void)pool, (void)event;
    ++*(int *)data;
}

/* The file, with `more` behind it. */
static cJSON *read_trace(const char *more)
{
    struct stat info;
    assert_int_equal(stat(trace_path, &info), 0);
    size_t size = (size_t)info.st_size;
    char *text = malloc(size + strlen(more) + 1);
    FILE *file = fopen(trace_path, "r");
    if (!text || !file || fread(text, 1, size, file) != size) abort();
    fclose(file);
    memcpy(text + size, more, strlen(more) + 1);
    cJSON *json = cJSON_Parse(text);
    free(text);
    return json;
}

/* The finished file, which goes. CADRE_TEST_TRACE names a path to keep the last one at. */
static cJSON *take_trace(void)
{
    cJSON *json = read_trace("");
    const char *kept = getenv("CADRE_TEST_TRACE");
    assert_true(cJSON_IsArray(json));
    assert_int_equal(kept ? rename(trace_path, kept) : unlink(trace_path), 0);
    return json;
}

/* Entries of a phase and a category; each has what its phase asks for. */
static size_t entries(const cJSON *trace, const char *phase, const char *category)
{
    size_t n = 0;
    const cJSON *entry;
    cJSON_ArrayForEach(entry, trace)
    {
        const cJSON *cat = at(entry, NULL, "cat"), *ph = at(entry, NULL, "ph");
        assert_true(cJSON_IsString(ph) && cJSON_IsString(at(entry, NULL, "name")) && cJSON_IsNumber(at(entry, NULL, "pid")));
        assert_true(cJSON_IsNumber(at(entry, NULL, "tid")));
        if (*ph->valuestring != 'M') assert_true(cJSON_IsNumber(at(entry, NULL, "ts")) && at(entry, NULL, "ts")->valuedouble >= 0);
        if (*ph->valuestring == 'X') assert_true(at(entry, NULL, "dur")->valuedouble >= 0);
        n += strcmp(ph->valuestring, phase) == 0 && (!category || (cat && strcmp(cat->valuestring, category) == 0));
    }
    return n;
}

/* Spans of one track are nested or apart. */
static void assert_apart(const cJSON *trace)
{
    const cJSON *a, *b;
    cJSON_ArrayForEach(a, trace)
    {
        if (*at(a, NULL, "ph")->valuestring != 'X') continue;
        double a_begin = at(a, NULL, "ts")->valuedouble, a_end = a_begin + at(a, NULL, "dur")->valuedouble;
        for (b = a->next; b; b = b->next) {
            if (*at(b, NULL, "ph")->valuestring != 'X' || at(b, NULL, "tid")->valueint != at(a, NULL, "tid")->valueint) continue;
            double b_begin = at(b, NULL, "ts")->valuedouble, b_end = b_begin + at(b, NULL, "dur")->valuedouble;
            assert_true(b_begin > a_end - 0.01 || a_begin > b_end - 0.01 || (b_begin <= a_begin && b_end >= a_end) || (a_begin <= b_begin && a_end >= b_end));
        }
    }
}

static bool names_track(const cJSON *trace, const char *name)
{
    const cJSON *entry;
    cJSON_ArrayForEach(entry, trace)
    {
        if (strcmp(at(entry, NULL, "name")->valuestring, "thread_name") != 0) continue;
        if (strncmp(at(entry, "args", "name")->valuestring, name, strlen(name)) == 0) return true;
    }
    return false;
}

static void a_trace_has_a_span_for_each_load_and_request(void **state)
{
    (void)state;
    cadre_pool_options options = traced();
    fixture *fx = fixture_begin_with(&options);
    script *s = script_new(fx, CADRE_TEXT_TO_TEXT, KIND_BLOCKING, "a \"key\""), *broken = script_new(fx, CADRE_TEXT_TO_TEXT, KIND_BLOCKING, "broken");
    atomic_store(&broken->status[OP_LOAD], CADRE_EFORMAT);
    broken->detail = "line 1\nline \"2\" \\ \001";
    s->slots = 3;
    script_hold(s, OP_LOAD);
    script_spawn(s);
    answer *first = ask(s, "first");
    script_until(s, OP_LOAD, 1);
    fixture_advance(fx, 30);
    script_open(s, OP_LOAD);
    until_done(first);
    script_spawn(broken);
    script_until_ready(broken, 1);
    script_hold(s, OP_STEP);
    for (int i = 0; i < 6; i++) {
        ask(s, i == 4 ? "fail" : "hello");
        fixture_advance(fx, 1);
        settle(fx);
    }
    script_open(s, OP_STEP);
    until_all_done(fx);
    fixture_close(fx, NULL);
    cJSON *trace = take_trace();
    assert_true(entries(trace, "X", "load") >= 1);
    assert_size(entries(trace, "X", "run"), 7);
    assert_size(entries(trace, "b", NULL), entries(trace, "e", NULL));
    assert_true(entries(trace, "i", "event") >= 2);
    assert_true(entries(trace, "C", NULL) >= 1);
    assert_true(names_track(trace, "pool") && names_track(trace, s->key));
    assert_apart(trace);
    cJSON_Delete(trace);
    fixture_end(fx);
}

static void a_trace_of_nothing_is_complete(void **state)
{
    (void)state;
    cadre_pool_options options = traced();
    fixture *fx = fixture_begin_with(&options);
    fixture_close(fx, NULL);
    cJSON *trace = take_trace();
    assert_true(names_track(trace, "pool"));
    cJSON_Delete(trace);
    fixture_end(fx);
}

static void a_trace_that_cannot_be_written_stops_alone(void **state)
{
    (void)state;
    char fifo[80];
    snprintf(fifo, sizeof fifo, "/tmp/cadre-fifo-%d", (int)getpid());
    assert_int_equal(mkfifo(fifo, 0600), 0);
    const char *const paths[] = {"/nonexistent/trace.json", "/tmp", "/dev/full", fifo, ""};
    for (size_t i = 0; i < COUNT(paths); i++) {
        row("%s", paths[i]);
        int told = 0;
        cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
        options.trace_path = paths[i];
        options.on_event = on_event;
        options.event_data = &told;
        fixture *fx = fixture_begin_with(&options);
        script *s = script_ready(fx, CADRE_TEXT_TO_TEXT, "m");
        for (int k = 0; k < 4; k++) {
            fixture_advance(fx, 2000); /* the chunk is handed over */
            answer *a = ask(s, "hello");
            until_done(a);
            assert_answered(s, a, "hello");
            settle(fx);
        }
        fixture_close(fx, NULL);
        assert_true(told > 0);
        fixture_end(fx);
    }
    unlink(fifo);
}

static bool trace_grew(void *data)
{
    struct stat info;
    return stat(trace_path, &info) == 0 && info.st_size > *(off_t *)data;
}

/* What a host that dies leaves behind: whole entries without the end. */
static void a_trace_without_its_end_can_be_read(void **state)
{
    (void)state;
    cadre_pool_options options = traced();
    fixture *fx = fixture_begin_with(&options);
    script *s = script_ready(fx, CADRE_TEXT_TO_TEXT, "m");
    fixture_advance(fx, 2000);
    until_done(ask(s, "hello"));
    off_t size = 0;
    run_until(fx, trace_grew, &size);
    settle(fx);
    assert_null(read_trace(""));
    cJSON *trace = read_trace("]");
    assert_true(cJSON_IsArray(trace));
    assert_size(entries(trace, "X", "load"), 1);
    cJSON_Delete(trace);
    fixture_close(fx, NULL);
    cJSON_Delete(take_trace());
    fixture_end(fx);
}

/* The reaper stands in the destructor of a model that came too late. */
static script *hold_reaper(fixture *fx)
{
    script *late = script_new(fx, CADRE_TEXT_TO_TEXT, KIND_BLOCKING, "late");
    script_hold(late, OP_LOAD);
    script_hold(late, OP_DESTROY);
    script_spawn(late);
    script_until(late, OP_LOAD, 1);
    assert_status(cadre_worker_stop(fx->pool, late->worker), 0);
    script_open(late, OP_LOAD);
    script_until(late, OP_DESTROY, 1);
    return late;
}

/* More is told than is kept: requests go on, and the file says what it lacks. */
static void what_a_trace_cannot_keep_is_dropped_and_counted(void **state)
{
    (void)state;
    enum { REQUESTS = 12000, AT_ONCE = 50 };
    cadre_pool_options options = traced();
    fixture *fx = fixture_begin_with(&options);
    script *s = script_ready(fx, CADRE_TEXT_EMBEDDING, "m"), *late = hold_reaper(fx);
    for (int i = 0; i < REQUESTS; i += AT_ONCE) {
        for (int k = 0; k < AT_ONCE; k++) ask(s, "hello");
        fixture_advance(fx, 1);
        until_all_done(fx);
    }
    script_open(late, OP_DESTROY);
    fixture_close(fx, NULL);
    cJSON *trace = take_trace();
    size_t dropped = 0, kept = entries(trace, "X", "run") + entries(trace, "b", "run");
    const cJSON *entry;
    cJSON_ArrayForEach(entry, trace) if (strcmp(at(entry, NULL, "name")->valuestring, "dropped") == 0)
        dropped += (size_t)at(entry, "args", "entries")->valueint;
    assert_true(dropped > 0 && kept > 0 && kept < REQUESTS && kept + dropped >= REQUESTS);
    cJSON_Delete(trace);
    fixture_end(fx);
}

/* A close that gives the reaper up: nothing waits for the file, and the thread frees what it has when it returns. */
static void a_trace_ends_with_an_abandoned_reaper(void **state)
{
    (void)state;
    for (int handed = 0; handed < 2; handed++) {
        row(handed ? "a chunk is with the reaper" : "no chunk is with the reaper");
        cadre_pool_options options = traced();
        fixture *fx = fixture_begin_with(&options);
        script *s = script_ready(fx, CADRE_TEXT_TO_TEXT, "m");
        hold_reaper(fx)->abandoned = true;
        if (handed) fixture_advance(fx, 2000);
        until_done(ask(s, "hello"));
        cadre_close_options close = CADRE_CLOSE_OPTIONS_INIT;
        close.abandon_after_ms = 5;
        fixture_start_close(fx, &close);
        while (!fx->closed) {
            settle(fx);
            if (!fx->closed) fixture_advance(fx, 5);
        }
        assert_true(fx->report.abandoned_threads >= 1);
        fx->expect_report = true;
        fixture_end(fx); /* lets it go */
        unlink(trace_path);
    }
}

/* Every allocation of a pool that is traced and listened to fails once. */
static void seeing_inside_survives_a_want_of_memory(void **state)
{
    (void)state;
    int failures = 1;
    for (long n = 1; failures; n++) {
        row("allocation %ld", n);
        int told = 0;
        cadre_pool_options options = traced();
        options.on_event = on_event;
        options.event_data = &told;
        fixture *fx;
        int rc = fixture_try_begin(&options, n, false, &fx);
        if (rc == 0) {
            script *s = script_new(fx, CADRE_TEXT_TO_TEXT, KIND_BLOCKING, "m");
            if (script_spawn_with(s, NULL, NULL) == 0) script_until_ready(s, 1);
            if (s->ready_ok) submit(s, answer_new(fx), "hello", NULL);
            until_all_done(fx);
            fixture_close(fx, NULL);
            cJSON_Delete(take_trace());
        } else if (rc != CADRE_ETHREAD) {
            assert_status(rc, CADRE_ENOMEM);
        }
        failures = atomic_load(&fx->memory.failures);
        fixture_end(fx);
    }
}

#define SUITE trace
#include "suite.h"
