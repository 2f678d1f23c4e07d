/* The trace: Chrome trace-event JSON in its array form, which viewers also read when the end is missing (the process died).
 * Format: "Trace Event Format", https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU.
 *
 * Viewers want the spans of one track to be nested or apart. Requests of one worker overlap, so each worker, and the pool, has as many lanes as it needs, each
 * with its own name; waits, and spans beyond LANES, are asynchronous ones. Loop thread; the file is trace_file.c's. */
#include "observe/observe.h"
#include "observe/text.h"
#include "observe/trace_file.h"
#include "pool/model.h"
#include "pool/worker.h"

#define LANES 32
#define ENTRY_BYTES 8192
#define COUNT_EVERY_NS UINT64_C(1000000)
#define DEVICES_COUNTED 8

typedef struct track {
    uint32_t generation; /* of the worker; 0: the pool's track */
    uint32_t number, lanes;
    uint32_t tids[LANES];
    uint64_t ends[LANES]; /* of the last span in each lane */
} track;

struct cadre__trace {
    cadre__trace_file *file;
    uint64_t base; /* when the pool was made */
    uint64_t dropped;
    track pool;
    track **workers; /* by the worker's index */
    uint32_t worker_capacity, numbers, tids;
    uint64_t spans; /* asynchronous: their ids */
    uint64_t counted_at, charged, open;
    bool counted;
};

/* ---- entries ---- */

typedef struct entry {
    cadre__text text;
    char buffer[ENTRY_BYTES];
} entry;

static uint64_t since(const struct cadre__trace *trace, uint64_t ns)
{
    return ns > trace->base ? ns - trace->base : 0;
}

static void number(entry *e, const char *before, uint64_t value)
{
    cadre__text_add(&e->text, before);
    cadre__text_uint(&e->text, value);
}

static void word(entry *e, const char *before, const char *string)
{
    cadre__text_add(&e->text, before);
    cadre__text_json(&e->text, string);
}

static void begin(entry *e, const char *name, const char *phase)
{
    e->text = (cadre__text){e->buffer, sizeof e->buffer, 0, NULL, NULL, false};
    word(e, ",\n{\"name\":", name);
    word(e, ",\"ph\":", phase);
    cadre__text_add(&e->text, ",\"pid\":1");
}

static void stamp(entry *e, const struct cadre__trace *trace, uint64_t at, uint32_t tid)
{
    cadre__text_add(&e->text, ",\"ts\":");
    cadre__text_micros(&e->text, since(trace, at));
    number(e, ",\"tid\":", tid);
}

static void note_dropped(entry *e, const struct cadre__trace *trace, uint64_t now)
{
    begin(e, "dropped", "i");
    stamp(e, trace, now, 1);
    number(e, ",\"s\":\"g\",\"args\":{\"entries\":", trace->dropped);
    cadre__text_add(&e->text, "}}");
}

/* False: it did not fit, and is counted. */
static bool put(cadre_pool *pool, const entry *e)
{
    struct cadre__trace *trace = pool->trace;
    if (trace->dropped) {
        entry note;
        note_dropped(&note, trace, cadre__pool_now(pool));
        if (cadre__trace_file_add(pool, trace->file, note.buffer, note.text.used)) trace->dropped = 0;
    }
    if (!e->text.cut && cadre__trace_file_add(pool, trace->file, e->buffer, e->text.used)) return true;
    trace->dropped++;
    return false;
}

/* ---- tracks ---- */

static track *worker_track(cadre_pool *pool, uint32_t index)
{
    struct cadre__trace *trace = pool->trace;
    const cadre_allocator *allocator = cadre__pool_allocator(pool);
    if (index >= trace->worker_capacity) {
        size_t capacity = trace->worker_capacity ? trace->worker_capacity : 8, bytes;
        while (capacity <= index) capacity *= 2;
        track **workers = cadre__mul(capacity, sizeof *workers, &bytes) && capacity <= UINT32_MAX ? cadre__alloc(allocator, bytes) : NULL;
        if (!workers) return NULL;
        if (trace->workers) memcpy(workers, trace->workers, trace->worker_capacity * sizeof *workers);
        cadre__free(allocator, trace->workers, trace->worker_capacity * sizeof *workers);
        trace->workers = workers;
        trace->worker_capacity = (uint32_t)capacity;
    }
    if (!trace->workers[index]) trace->workers[index] = cadre__alloc(allocator, sizeof(track));
    return trace->workers[index];
}

/* The pool's for no worker, for one whose place another has by now, and when memory is short. */
static track *track_of(cadre_pool *pool, cadre_worker_id id)
{
    struct cadre__trace *trace = pool->trace;
    uint32_t generation = (uint32_t)(id >> 32);
    track *found = id ? worker_track(pool, (uint32_t)id) : NULL;
    if (!found || found->generation > generation) return &trace->pool;
    if (found->generation < generation) {
        memset(found, 0, sizeof *found);
        found->generation = generation;
        found->number = ++trace->numbers;
    }
    return found;
}

static bool add_lane(cadre_pool *pool, track *t, const char *key)
{
    struct cadre__trace *trace = pool->trace;
    uint32_t tid = trace->tids + 1;
    char name[300];
    cadre__text text = {name, sizeof name - 1, 0, NULL, NULL, false};
    cadre__text_add(&text, t->generation ? key : "pool");
    if (t->generation) cadre__text_add(&text, " #"), cadre__text_uint(&text, t->number);
    if (t->lanes) cadre__text_add(&text, " +"), cadre__text_uint(&text, t->lanes);
    name[text.used] = '\0';
    entry e;
    begin(&e, "thread_name", "M");
    number(&e, ",\"tid\":", tid);
    word(&e, ",\"args\":{\"name\":", name);
    cadre__text_add(&e.text, "}},\n{\"name\":\"thread_sort_index\",\"ph\":\"M\",\"pid\":1");
    number(&e, ",\"tid\":", tid);
    number(&e, ",\"args\":{\"sort_index\":", (uint64_t)t->number * LANES + t->lanes);
    cadre__text_add(&e.text, "}}");
    if (!put(pool, &e)) return false;
    trace->tids = tid;
    t->ends[t->lanes] = 0;
    t->tids[t->lanes++] = tid;
    return true;
}

/* A lane that is free from begin on; 0: there is none. */
static uint32_t lane_for(cadre_pool *pool, track *t, const char *key, uint64_t from, uint64_t to)
{
    uint32_t i = 0;
    while (i < t->lanes && t->ends[i] > from) i++;
    if (i == t->lanes && (i == LANES || !add_lane(pool, t, key))) return 0;
    t->ends[i] = to;
    return t->tids[i];
}

/* ---- counters ---- */

static void count(cadre_pool *pool, uint64_t now, bool at_once)
{
    struct cadre__trace *trace = pool->trace;
    uint64_t charged = 0;
    size_t devices = pool->account_count < DEVICES_COUNTED ? pool->account_count : DEVICES_COUNTED;
    for (size_t i = 0; i < devices; i++) charged += pool->accounts[i].charged;
    entry e;
    if (!trace->counted || charged != trace->charged) {
        begin(&e, "charged memory", "C");
        stamp(&e, trace, now, 1);
        for (size_t i = 0; i < devices; i++) {
            word(&e, i ? "," : ",\"args\":{", i ? pool->accounts[i].name : "host");
            number(&e, ":", pool->accounts[i].charged);
        }
        cadre__text_add(&e.text, devices ? "}}" : "}");
        put(pool, &e);
        trace->charged = charged;
    }
    bool due = at_once || !trace->counted || now - trace->counted_at >= COUNT_EVERY_NS;
    if (due && (!trace->counted || pool->open_requests != trace->open)) {
        begin(&e, "open requests", "C");
        stamp(&e, trace, now, 1);
        number(&e, ",\"args\":{\"requests\":", pool->open_requests);
        cadre__text_add(&e.text, "}}");
        put(pool, &e);
        trace->open = pool->open_requests;
        trace->counted_at = now;
    }
    trace->counted = true;
}

/* ---- spans and instants ---- */

bool cadre__trace_live(const cadre_pool *pool)
{
    return pool->trace && cadre__trace_file_live(pool->trace->file);
}

static const char *key_of(const cadre_pool *pool, cadre_worker_id id)
{
    const cadre__worker *worker = id ? cadre__table_get(&pool->workers, id) : NULL;
    return worker ? worker->model->key : "worker";
}

static void put_span(cadre_pool *pool, const char *name, const char *category, const char *phase, uint64_t at, uint64_t ns, uint32_t tid, const char *args)
{
    entry e;
    begin(&e, name, phase);
    word(&e, ",\"cat\":", category);
    stamp(&e, pool->trace, at, tid);
    if (*phase == 'X') {
        cadre__text_add(&e.text, ",\"dur\":");
        cadre__text_micros(&e.text, ns);
    } else {
        number(&e, ",\"id\":", pool->trace->spans);
    }
    cadre__text_add(&e.text, ",\"args\":{");
    cadre__text_add(&e.text, args);
    cadre__text_add(&e.text, "}}");
    put(pool, &e);
}

void cadre__trace_span(cadre_pool *pool, cadre_worker_id worker, const char *name, const char *category, uint64_t begin_ns, uint64_t end_ns, const char *args)
{
    if (!cadre__trace_live(pool)) return;
    if (end_ns < begin_ns) end_ns = begin_ns;
    track *t = track_of(pool, worker);
    bool apart = strcmp(category, "wait") == 0;
    uint32_t tid = apart ? 0 : lane_for(pool, t, key_of(pool, worker), begin_ns, end_ns);
    if (tid) {
        put_span(pool, name, category, "X", begin_ns, since(pool->trace, end_ns) - since(pool->trace, begin_ns), tid, args ? args : "");
    } else {
        pool->trace->spans++;
        put_span(pool, name, category, "b", begin_ns, 0, t->lanes ? t->tids[0] : 1, args ? args : "");
        put_span(pool, name, category, "e", end_ns, 0, t->lanes ? t->tids[0] : 1, "");
    }
    count(pool, cadre__pool_now(pool), false);
}

void cadre__trace_event(cadre_pool *pool, const cadre_event *event)
{
    if (!cadre__trace_live(pool)) return;
    track *t = track_of(pool, event->worker);
    if (!t->lanes && !add_lane(pool, t, event->key)) return;
    entry e;
    begin(&e, cadre_event_name(event->type), "i");
    stamp(&e, pool->trace, event->time_ns, t->tids[0]);
    cadre__text_add(&e.text, event->worker ? ",\"s\":\"t\"" : ",\"s\":\"p\"");
    word(&e, ",\"cat\":\"event\",\"args\":{\"key\":", event->key);
    if (event->status) word(&e, ",\"status\":", cadre_err_name(event->status));
    if (*event->detail) word(&e, ",\"detail\":", event->detail);
    if (event->bytes) number(&e, ",\"bytes\":", event->bytes);
    if (event->ns) number(&e, ",\"ns\":", event->ns);
    cadre__text_add(&e.text, "}}");
    put(pool, &e);
    count(pool, event->time_ns, false);
}

/* ---- begin and end ---- */

int cadre__trace_create(cadre_pool *pool, const char *path)
{
    const cadre_allocator *allocator = cadre__pool_allocator(pool);
    if (!path) return CADRE_OK;
    struct cadre__trace *trace = cadre__alloc(allocator, sizeof *trace);
    if (!trace) return CADRE_ENOMEM;
    trace->file = cadre__trace_file_create(pool, path);
    static const char head[] = "[\n{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":1,\"tid\":1,\"args\":{\"name\":\"cadre " CADRE_VERSION_STRING "\"}}";
    trace->base = cadre__pool_now(pool);
    if (trace->file && cadre__trace_file_add(pool, trace->file, head, sizeof head - 1)) {
        pool->trace = trace;
        if (add_lane(pool, &trace->pool, "")) return CADRE_OK;
        pool->trace = NULL;
    }
    if (trace->file) cadre__trace_file_free(pool, trace->file);
    cadre__free(allocator, trace, sizeof *trace);
    return CADRE_ENOMEM;
}

void cadre__trace_finish(cadre_pool *pool)
{
    struct cadre__trace *trace = pool->trace;
    static const char end[] = "\n]\n";
    if (!cadre__trace_live(pool)) return;
    count(pool, cadre__pool_now(pool), true);
    entry e = {.text = {e.buffer, sizeof e.buffer, 0, NULL, NULL, false}};
    if (trace->dropped) note_dropped(&e, trace, cadre__pool_now(pool));
    cadre__text_add(&e.text, end);
    cadre__trace_file_finish(pool, trace->file, e.buffer, e.text.used);
}

void cadre__trace_free(cadre_pool *pool)
{
    struct cadre__trace *trace = pool->trace;
    const cadre_allocator *allocator = cadre__pool_allocator(pool);
    if (!trace) return;
    cadre__trace_file_free(pool, trace->file);
    for (uint32_t i = 0; i < trace->worker_capacity; i++) cadre__free(allocator, trace->workers[i], sizeof(track));
    cadre__free(allocator, trace->workers, trace->worker_capacity * sizeof *trace->workers);
    cadre__free(allocator, trace, sizeof *trace);
    pool->trace = NULL;
}
