/* What the seed makes of an entry: where its models come from, what they need, and all its options. */
#include "host.h"

#include <stdlib.h>

static sim_entry *entry_new(host *h, sim_model *m)
{
    sim_entry *e = calloc(1, sizeof *e);
    if (!e) abort();
    if (h->entry_count == h->entry_capacity) {
        h->entry_capacity = h->entry_capacity ? h->entry_capacity * 2 : 16;
        h->entries = realloc(h->entries, h->entry_capacity * sizeof *h->entries);
        if (!h->entries) abort();
    }
    *e = (sim_entry){.host = h, .model = m, .number = h->entry_count, .backend = -1, .asked = CADRE_ENTRY_INIT};
    h->entries[h->entry_count++] = e;
    return e;
}

/* Each fits the budgets alone; of the fair host's, few fit together. */
static void draw_needs(host *h, sim_entry *e)
{
    simulator *sim = &h->sim;
    for (uint32_t d = 0; d <= h->device_count; d++) {
        if (d && sim_one_in(sim, 2)) continue;
        uint64_t budget = h->pool->accounts[d].budget, part = sim_one_in(sim, 4) ? budget : budget / 3;
        if (h->fair) part = budget * 2 / 3;
        cadre_memory_need need = {d, sim_below(sim, part / 2 + 1), sim_below(sim, part / 2 + 1)};
        if (h->fair && sim_one_in(sim, 2)) need.weights_bytes = part - need.worker_bytes;
        e->needs[e->need_count++] = need;
    }
    if (!h->fair && sim_one_in(sim, 30) && e->need_count) e->needs[0].weights_bytes = h->pool->accounts[e->needs[0].device].budget + 1;
}

static int64_t one_of(simulator *sim, const int64_t *choices, size_t count)
{
    return choices[sim_below(sim, count)];
}
#define ONE_OF(...) one_of(sim, (const int64_t[]){__VA_ARGS__}, sizeof(int64_t[]){__VA_ARGS__} / sizeof(int64_t))

static void draw_workers(simulator *sim, cadre_entry *a)
{
    a->max_workers = sim_one_in(sim, 3) ? CADRE_DEFAULT : 1 + (int32_t)sim_below(sim, 5);
    int32_t most = a->max_workers == CADRE_DEFAULT ? 4 : a->max_workers;
    if (sim_one_in(sim, 2)) a->initial_workers = 1 + (int32_t)sim_below(sim, (uint64_t)most);
    if (sim_one_in(sim, 6)) a->min_workers = (int32_t)sim_below(sim, (uint64_t)most + 1);
    if (sim_one_in(sim, 10)) a->pinned = 1;
}

static void draw_times(simulator *sim, cadre_entry *a)
{
    a->idle_timeout_ms = ONE_OF(CADRE_DEFAULT, CADRE_NEVER, 1, 50, 1000);
    a->min_residency_ms = ONE_OF(CADRE_DEFAULT, 0, 5, 200);
    a->priority = sim_one_in(sim, 2) ? CADRE_DEFAULT : (int32_t)sim_below(sim, CADRE_PRIORITY_COUNT);
    a->load_retries = (int32_t)ONE_OF(CADRE_DEFAULT, 0, 1, 3);
    a->retry_delay_ms = ONE_OF(CADRE_DEFAULT, 1, 20, 400);
    if (sim_one_in(sim, 4)) a->load_timeout_ms = 1 + (int64_t)sim_span(sim, 100);
    if (sim_one_in(sim, 4)) a->stall_timeout_ms = 1 + (int64_t)sim_span(sim, 100);
    a->hang_timeout_ms = ONE_OF(CADRE_DEFAULT, CADRE_DEFAULT, CADRE_NEVER, 20, 100, 500);
    a->breaker_failures = (int32_t)ONE_OF(CADRE_DEFAULT, 0, 1, 2, 3);
    a->breaker_open_ms = ONE_OF(CADRE_DEFAULT, 1, 10, 200);
    a->breaker_probes = (int32_t)ONE_OF(CADRE_DEFAULT, 1, 2);
    a->breaker_successes = (int32_t)ONE_OF(CADRE_DEFAULT, 1, 2);
}

static void draw_fair(simulator *sim, cadre_entry *a)
{
    a->max_workers = 1 + (int32_t)sim_below(sim, 2);
    a->min_residency_ms = ONE_OF(0, 100, 300);
    a->idle_timeout_ms = ONE_OF(CADRE_DEFAULT, 1000, CADRE_NEVER);
}

sim_entry *entry_make(host *h, sim_model *m)
{
    simulator *sim = &h->sim;
    sim_entry *e = entry_new(h, m);
    cadre_entry *a = &e->asked;
    a->key = m->key;
    a->capability = (int32_t)m->capability;
    if (sim_one_in(sim, 2)) e->backend = (int)sim_below(sim, BACKENDS);
    draw_needs(h, e);
    a->queue_capacity = m->options.queue_capacity;
    a->batch_window_us = m->options.batch_window_us;
    a->stream_window = m->options.stream_window;
    if (h->fair) {
        draw_fair(sim, a);
    } else {
        draw_workers(sim, a);
        draw_times(sim, a);
        e->fails = sim_one_in(sim, 2) ? 0 : 2 + (unsigned)sim_below(sim, 6);
        e->permanent = sim_one_in(sim, 4);
        e->sticks = sim_one_in(sim, 5);
        e->measures = h->measures && sim_one_in(sim, 2);
        e->open_fails = sim_one_in(sim, 12);
        if (m->capability == CADRE_TEXT_TO_TEXT && sim_one_in(sim, 3)) a->warm_up = "warm", h->warms = true;
    }
    m->hangs = m->hangs || a->hang_timeout_ms > 0;
    if (e->backend >= 0) {
        snprintf(e->options, sizeof e->options, "{\"number\": %u}", e->number);
        a->backend = h->backends[e->backend].name;
        a->options = e->options;
        if (e->backend == 0) a->loader = (int32_t)ONE_OF(CADRE_LOADER_SYNC, CADRE_LOADER_ASYNC, CADRE_LOADER_PRELOADED);
        if (e->backend == 1) a->loader = (int32_t)ONE_OF(CADRE_LOADER_SYNC, CADRE_LOADER_ASYNC);
    }
    if (e->backend < 0 || sim_one_in(sim, 4)) { /* else the backend says it */
        a->memory = e->needs;
        a->memory_count = e->need_count;
    }
    return e;
}
