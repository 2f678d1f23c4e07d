/* What test_evict and test_reserve share: models that are idle or busy, and reservations of the host's. */
#ifndef CADRE_TESTS_ROOM_H
#define CADRE_TESTS_ROOM_H

#include "scripted_backend.h"

typedef struct room {
    int count, status;
    unsigned order;
    cadre_reservation *owned;
    cadre_reserve_id id;
    char detail[512];
    fixture *fx;
} room;

static inline void on_room(cadre_pool *pool, int status, cadre_reservation *owned, const char *detail, void *data)
{
    room *r = data;
    fixture *fx = cadre_pool_get_data(pool);
    if (!fixture_on_loop(fx) || fx->calling) fixture_fault(fx, "a reservation is told inside a call, or off the loop");
    if ((status == 0) != (owned != NULL)) fixture_fault(fx, "%s with%s a reservation", cadre_err_name(status), owned ? "" : "out");
    r->count++;
    r->status = status;
    r->owned = owned;
    r->order = ++fx->calls;
    snprintf(r->detail, sizeof r->detail, "%s", detail);
}

static inline int ask_room(fixture *fx, room *r, uint64_t bytes, int32_t priority, int64_t timeout_ms)
{
    cadre_memory_amount amount = {CADRE_DEVICE_HOST, bytes};
    cadre_reserve_options options = CADRE_RESERVE_OPTIONS_INIT;
    options.priority = priority;
    options.timeout_ms = timeout_ms;
    *r = (room){.fx = fx};
    fx->calling++;
    int rc = cadre_memory_reserve(fx->pool, &amount, 1, &options, on_room, r, &r->id);
    fx->calling--;
    return rc;
}

/* An entry with more to it than added() has. */
static inline script *added_as(fixture *fx, const char *key, uint64_t bytes, void (*change)(cadre_entry *entry))
{
    script *s = text_script(fx, key);
    cadre_entry entry = entry_of(s);
    cadre_memory_need need;
    entry_takes(&entry, &need, 0, bytes);
    entry.idle_timeout_ms = CADRE_NEVER;
    entry.load_retries = 0;
    if (change) change(&entry);
    add(fx, &entry);
    return s;
}

static inline script *idle_model(fixture *fx, const char *key, uint64_t bytes)
{
    script *s = added_as(fx, key, bytes, NULL);
    serve_once(s);
    return s;
}

/* It has a worker, which stands at a gate; the answer is open. */
static inline script *busy_model(fixture *fx, const char *key, uint64_t bytes)
{
    script *s = added_as(fx, key, bytes, NULL);
    script_hold(s, OP_GENERATE);
    ask(s, "busy");
    script_until(s, OP_GENERATE, 1);
    settle(fx);
    return s;
}

static inline void serve(script *s)
{
    answer *a = ask(s, "serve");
    until_done(a);
    assert_answered(s, a, "serve");
}

#endif
