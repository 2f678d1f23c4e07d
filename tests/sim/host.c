/* One host from its first operation to its last byte. */
#include "host.h"

#include "shrink.h"

#include <stdlib.h>

host *sim_host;

static void close_pool(host *h);

/* ---- what the seed makes ---- */

static const int64_t choices_ms[] = {0, 1, 20, 1000, 10000};

static void make_model(host *h, unsigned index)
{
    simulator *sim = &h->sim;
    sim_model *m = &h->models[index];
    *m = (sim_model){.host = h, .capability = (cadre_capability)sim_below(sim, CADRE_CAPABILITY_COUNT), .options = CADRE_SPAWN_OPTIONS_INIT};
    snprintf(m->key, sizeof m->key, "m%u", index);
    m->registered = h->registers && (h->fair || sim_below(sim, 4));
    m->greedy = sim_one_in(sim, 2);
    m->fragile = !h->fair && sim_one_in(sim, 6);
    m->threads = sim_one_in(sim, 3) ? 1 + (uint32_t)sim_below(sim, 4) : 0;
    m->slots = sim_one_in(sim, 3) ? 0 : 1 + (uint32_t)sim_below(sim, 8);
    m->max_batch = 1 + (uint32_t)sim_below(sim, 8);
    m->dimension = 1 + (uint32_t)sim_below(sim, 4);
    m->patient = sim_one_in(sim, 4);
    static const uint64_t steps_ns[] = {100, 5000, 200000, 5000000};
    m->step_ns = steps_ns[sim_below(sim, 4)];
    static const int64_t windows_us[] = {0, 100, 500, 20000};
    m->options.queue_capacity = 1 + (int32_t)sim_span(sim, 60);
    m->options.batch_window_us = windows_us[sim_below(sim, 4)];
    m->options.stream_window = 1 + (int32_t)sim_below(sim, 6);
    if (h->fair) m->step_ns = 20000000, m->options.queue_capacity = 50;
    if (!m->registered && sim_one_in(sim, 4)) m->options.hang_timeout_ms = 20 + (int64_t)sim_below(sim, 200);
    m->hangs = m->options.hang_timeout_ms > 0;
    sim_log(sim, "%s%s: %s, %u slots, batches of %u, capacity %d, window %lld us, %d pieces, %u threads", m->key, m->registered ? " (registry)" : "",
            cadre_capability_name(m->capability), m->slots, m->max_batch, m->options.queue_capacity, (long long)m->options.batch_window_us,
            m->options.stream_window, m->threads);
}

static void on_event(cadre_pool *pool, const cadre_event *event, void *data)
{
    host *h = data;
    if (pool != h->pool || h->sim.current) sim_violation(&h->sim, "an event is told on a thread");
    sim_log(&h->sim, "event %s %s: %s %s", cadre_event_name(event->type), event->key, cadre_err_name(event->status), event->detail);
    host_reenter(h);
}

static void make_pool(host *h)
{
    simulator *sim = &h->sim;
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    h->clock = (cadre_clock){sizeof h->clock, sim_clock, sim};
    h->decoder = (cadre_image_decoder){sizeof h->decoder, h, 1000, 1000, decode_picture};
    h->device_count = sim_below(sim, DEVICES_MAX);
    for (size_t i = 0; i < h->device_count; i++) h->devices[i] = (cadre_device){sizeof h->devices[i], i ? "npu" : "gpu", sim_below(sim, 20000)};
    if (!sim_one_in(sim, 3)) h->decoder.size = 0;
    options.allocator = &h->allocator;
    options.clock = &h->clock;
    options.cores = 1 + (int32_t)sim_below(sim, 8);
    options.memory_bytes = (int64_t)sim_below(sim, 30000);
    options.devices = h->devices;
    options.device_count = h->device_count;
    options.loads_at_once = 1 + (int32_t)sim_below(sim, 3);
    options.abandon_after_ms = choices_ms[sim_below(sim, 5)];
    options.aging_ms = choices_ms[sim_below(sim, 4)];
    options.seed = (int64_t)sim_below(sim, 1000000);
    options.on_event = on_event;
    options.event_data = h;
    if (h->fair) {
        options.memory_bytes = 3000;
        for (size_t i = 0; i < h->device_count; i++) h->devices[i].budget_bytes = 2000;
    }
    options.decoder = h->decoder.size ? &h->decoder : NULL;
    h->aging_ns = (uint64_t)options.aging_ms * CADRE__NS_PER_MS;
    int rc = cadre__pool_create_on(&h->pool, (uv_loop_t *)h, &options, &executor_sim, sim);
    if (rc != CADRE_OK) sim_violation(sim, "the pool cannot be made: %s", cadre_err_name(rc));
    h->port = cadre_pool_port(h->pool);
}

/* ---- operations ---- */

static void posted(cadre_pool *pool, void *data)
{
    host *h = data;
    if (pool != h->pool || h->sim.current) sim_violation(&h->sim, "a posted function runs on a thread, or for another pool");
    h->posts_run++;
    host_reenter(h);
}

static void choose(host *h)
{
    sim_model *m = &h->models[sim_below(&h->sim, h->model_count)];
    uint64_t what = sim_below(&h->sim, 100);
    if (what < 52)
        request_submit(h, m);
    else if (what < 60 && h->registers)
        registry_act(h);
    else if (what < 60)
        load_spawn(h, m);
    else if (what < 70 && h->registers && sim_one_in(&h->sim, 2))
        registry_act(h);
    else if (what < 83)
        request_act(h);
    else if (what < 85 && !m->registered)
        load_spawn(h, m);
    else if (what < 93)
        load_act(h);
    else if (what < 96)
        h->posts_sent += cadre_port_post(h->port, posted, h) == CADRE_OK;
    else if (what < 97 && sim_one_in(&h->sim, 12))
        close_pool(h);
    else
        h->sim.now += sim_span(&h->sim, (h->registers ? 200 : 20) * CADRE__NS_PER_MS);
}

/* What an operation chooses depends on the seed and its number alone, so that others can be left out without changing it. */
static void operation(host *h, unsigned number)
{
    if (!h->pool || h->closed || h->calm) return;
    sim_watched->acts = h->acts;
    sim_watched->inner = h->inner;
    uint64_t random = h->sim.random;
    h->sim.random = (h->sim.seed * UINT64_C(0x2545f4914f6cdd1d)) ^ ((uint64_t)(number + 1) * UINT64_C(0x9e3779b97f4a7c15));
    bool skipped = number < SKIP_COUNT && h->skip && h->skip[number / 8] >> (number % 8) & 1;
    if (!skipped) sim_log(&h->sim, "-- operation %u", number);
    if (!skipped) choose(h);
    h->sim.random = random;
}

void host_reenter(host *h)
{
    if (h->depth || h->closed || h->fair || !sim_one_in(&h->sim, 8)) return;
    h->depth++;
    h->operations++;
    operation(h, SKIP_INNER + h->inner++);
    h->depth--;
}

/* ---- the end of what a host asks for: everything that it has asked for must be over some day ---- */

#define CALM_NS (UINT64_C(400000) * CADRE__NS_PER_MS)

static bool is_over(const host *h)
{
    for (const sim_wish *w = h->wishes; w; w = w->next)
        if (!w->told) return false;
    for (unsigned i = 0; i < h->model_count; i++)
        if (h->models[i].adding) return false;
    return !h->open_count;
}

static void look_whether_over(void *data)
{
    host *h = data;
    if (h->closed || h->closing) return;
    bool late = h->sim.now - h->calm_at > CALM_NS;
    bool over = is_over(h);
    if (late && !over) {
        for (unsigned i = 0; i < h->open_count; i++) sim_log(&h->sim, "q%u for %s waits", h->open[i]->number, h->open[i]->model->key);
        sim_violation(&h->sim, "%u requests, or a load, removal or reservation, are not over %llu s after the last was asked for", h->open_count,
                      (unsigned long long)(CALM_NS / 1000000000));
    }
    if (over && h->sim.held && late) sim_violation(&h->sim, "everything is over, and the pool keeps the loop alive");
    if (over && (!h->sim.held || late)) {
        close_pool(h);
        return;
    }
    sim_plan(&h->sim, late || h->sim.now - h->calm_at < 1000 * CADRE__NS_PER_MS ? 50 * CADRE__NS_PER_MS : 2000 * CADRE__NS_PER_MS, look_whether_over, h);
}

static void calm_down(host *h)
{
    sim_log(&h->sim, "the host asks for nothing more");
    h->calm = true;
    h->calm_at = h->sim.now;
    host_relent(h);
    h->relented = false;
    registry_rest(h);
    look_whether_over(h);
}

static void act(void *data)
{
    host *h = data;
    if (!h->pool || h->closed) return;
    uint64_t random = h->sim.random;
    h->sim.random = h->sim.seed ^ ((uint64_t)h->acts * UINT64_C(0xd1342543de82ef95));
    static const uint64_t pauses[] = {20000, 500000, 20000000};
    uint64_t pause = sim_span(&h->sim, pauses[sim_below(&h->sim, 3)]);
    h->sim.random = random;
    h->operations++;
    operation(h, h->acts++);
    if (h->closing && sim_one_in(&h->sim, 10)) return; /* it goes quiet after a while */
    if (h->operations >= h->wanted && !h->closing) {
        if (h->calms)
            calm_down(h);
        else
            close_pool(h);
        if (h->calm) return;
    }
    sim_plan(&h->sim, pause, act, h);
}

/* Clients that ask again and again, of models that do not fit together: none may wait for ever. */
static void be_fair(void *data)
{
    host *h = data;
    if (h->closed || h->closing) return;
    for (unsigned i = 0; i < h->open_count; i++)
        if (h->sim.now - h->open[i]->submitted > h->fair_bound)
            sim_violation(&h->sim, "request %u for %s waits since %.3f ms", h->open[i]->number, h->open[i]->model->key, (double)h->open[i]->submitted / 1e6);
    if (h->sim.now >= h->fair_until && !h->calm) {
        calm_down(h);
        return;
    }
    sim_plan(&h->sim, 100 * CADRE__NS_PER_MS, be_fair, h);
}

static void start_fair(host *h)
{
    h->fair_until = h->sim.now + 8000 * CADRE__NS_PER_MS;
    h->fair_bound = 5000 * CADRE__NS_PER_MS;
    for (unsigned i = 0; i < h->model_count; i++)
        for (uint64_t k = 1 + sim_below(&h->sim, 3); k; k--) request_again(&h->models[i]);
    be_fair(h);
}

/* ---- close ---- */

static void on_close(cadre_pool *pool, const cadre_close_report *report, void *data)
{
    host *h = data;
    simulator *sim = &h->sim;
    sim_log(sim, "closed: %u threads abandoned, %u promises and %u weights held", report->abandoned_threads, report->held_promises, report->held_weights);
    if (pool != h->pool || h->closed || sim->current) sim_violation(sim, "the close callback runs twice, on a thread, or for another pool");
    h->report = *report;
    request_check_closed(h);
    load_check_closed(h);
    registry_check_closed(h);
    if (h->posts_sent != h->posts_run)
        sim_violation(sim, "%llu functions were posted, %llu ran", (unsigned long long)h->posts_sent, (unsigned long long)h->posts_run);
    bool holds = false;
    for (size_t i = 0; i < sizeof h->held / sizeof *h->held; i++) holds = holds || h->held[i];
    if (!report->abandoned_threads && !report->held_promises && !report->held_weights && !holds) {
        for (size_t i = 0; i < pool->account_count; i++)
            if (pool->accounts[i].charged || pool->accounts[i].reservations) sim_violation(sim, "device %zu is still charged at the close", i);
        if (h->instances) sim_violation(sim, "%llu models are left at the close", (unsigned long long)h->instances);
    }
    h->closed = true;
}

static void close_pool(host *h)
{
    simulator *sim = &h->sim;
    cadre_close_options options = CADRE_CLOSE_OPTIONS_INIT;
    options.drain_ms = sim_one_in(sim, 5) ? CADRE_NEVER : choices_ms[sim_below(sim, 5)];
    options.abandon_after_ms = sim_one_in(sim, 5) ? CADRE_NEVER : choices_ms[sim_below(sim, 5)];
    options.data = h;
    int rc = cadre_pool_close(h->pool, &options, on_close);
    sim_log(sim, "close, drain %lld ms, abandon after %lld ms: %s", (long long)options.drain_ms, (long long)options.abandon_after_ms, cadre_err_name(rc));
    if (rc != (h->closing ? CADRE_EALREADY : CADRE_OK)) sim_violation(sim, "close answers %s", cadre_err_name(rc));
    if (!h->closing) h->close_at = sim->now;
    if (!h->closing) h->patient_close = options.drain_ms == CADRE_NEVER || options.abandon_after_ms == CADRE_NEVER;
    h->closing = true;
}

void host_relent(host *h)
{
    h->relented = true;
    h->relents++;
    if (!h->closed) request_resume_all(h);
    load_settle_all(h);
    load_drop_weights(h);
    registry_rest(h);
    sim_unstick(&h->sim);
}

/* ---- the run ---- */

static void make_host(host *h)
{
    simulator *sim = &h->sim;
    h->fair = sim_one_in(sim, 60);
    h->registers = h->fair || sim_below(sim, 4);
    h->measures = h->registers && !h->fair && sim_one_in(sim, 3);
    h->calms = sim_one_in(sim, 2);
    h->wanted = 20 + (unsigned)sim_span(sim, h->registers ? 2000 : 600);
    h->model_count = (h->fair ? 2 : 1) + (unsigned)sim_below(sim, h->fair ? 3 : MODELS_MAX);
    static const uint64_t lags[] = {0, 1000, 50000, 2000000}, ticks[] = {0, 0, 20, 8000};
    sim->lag = lags[sim_below(sim, h->fair ? 3 : 4)];
    sim->tick = ticks[sim_below(sim, h->fair ? 3 : 4)];
    sim->waits = sim_one_in(sim, 2);
    sim->starts_fail = sim_one_in(sim, 4) && !h->fair ? 10 : 0;
    for (unsigned i = 0; i < h->model_count; i++) make_model(h, i);
    make_pool(h);
    h->warm = (sim_request){.host = h, .fails_at = -1};
    if (h->registers) backend_open(h);
    h->out_of_memory = sim_one_in(sim, 6) && !h->fair ? 200 : 0;
    if (h->registers) registry_open(h);
    for (unsigned i = 0; i < h->model_count; i++)
        if (!h->models[i].registered) load_spawn(h, &h->models[i]);
    if (h->fair)
        start_fair(h);
    else
        sim_plan(sim, 0, act, h);
}

#define PATIENCE_NS (UINT64_C(600000) * CADRE__NS_PER_MS)

void host_run(host *h, uint64_t seed, FILE *text, const uint8_t *skip)
{
    *h = (host){.skip = skip};
    simulator *sim = &h->sim;
    sim_host = h;
    sim_open(sim, seed, text);
    memory_open(h);
    make_host(h);
    while (!h->closed) {
        if (h->patient_close && !h->relented && h->closing && sim->now - h->close_at > PATIENCE_NS) host_relent(h); /* what moves may be timers alone */
        if (sim_step(sim)) {
            check_all(h);
        } else if (h->relents < 4) { /* more than once: a load that went on may have taken something again */
            if (!h->patient_close) sim_violation(sim, "all deadlines of the close have passed in phase %d, and it has not ended", h->pool->closing);
            sim_log(sim, "nothing moves by itself any more");
            host_relent(h);
        } else {
            sim_violation(sim, "the pool stands still in phase %d and does not close", h->pool->closing);
        }
    }
    h->pool = NULL;
    host_relent(h);
    while (sim_step(sim)) continue;
    cadre_port_release(h->port);
    request_check_end(h);
    load_check_end(h);
    registry_check_end(h);
    memory_closed(h);
    sim_free(sim);
}
