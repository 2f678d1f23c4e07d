/* One host from its first operation to its last byte. */
#include "host.h"

#include <stdlib.h>

static void close_pool(host *h);

/* ---- what the seed makes ---- */

static const int64_t choices_ms[] = {0, 1, 20, 1000, 10000};

static void make_model(host *h, unsigned index)
{
    simulator *sim = &h->sim;
    sim_model *m = &h->models[index];
    *m = (sim_model){.host = h, .capability = (cadre_capability)sim_below(sim, CADRE_CAPABILITY_COUNT), .options = CADRE_SPAWN_OPTIONS_INIT};
    snprintf(m->key, sizeof m->key, "m%u", index);
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
    sim_log(sim, "%s: %s, %u slots, batches of %u, capacity %d, window %lld us, %d pieces", m->key, cadre_capability_name(m->capability), m->slots,
            m->max_batch, m->options.queue_capacity, (long long)m->options.batch_window_us, m->options.stream_window);
}

static void make_pool(host *h)
{
    simulator *sim = &h->sim;
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    h->clock = (cadre_clock){sizeof h->clock, sim_clock, sim};
    h->decoder = (cadre_image_decoder){sizeof h->decoder, h, 1000, 1000, decode_picture};
    h->device_count = sim_below(sim, 3);
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

static void operation(host *h)
{
    if (!h->pool || h->closed) return;
    h->operations++;
    sim_model *m = &h->models[sim_below(&h->sim, h->model_count)];
    uint64_t what = sim_below(&h->sim, 100);
    if (what < 52)
        request_submit(h, m);
    else if (what < 60)
        load_spawn(h, m);
    else if (what < 85)
        request_act(h);
    else if (what < 93)
        load_act(h);
    else if (what < 96)
        h->posts_sent += cadre_port_post(h->port, posted, h) == CADRE_OK;
    else if (what < 97 && sim_one_in(&h->sim, 4))
        close_pool(h);
    else
        h->sim.now += sim_span(&h->sim, 20 * CADRE__NS_PER_MS);
}

void host_reenter(host *h)
{
    if (h->depth || h->closed || !sim_one_in(&h->sim, 8)) return;
    h->depth++;
    sim_log(&h->sim, "from inside a callback:");
    operation(h);
    h->depth--;
}

static void act(void *data)
{
    host *h = data;
    if (!h->pool || h->closed) return;
    operation(h);
    if (h->closing && sim_one_in(&h->sim, 10)) return; /* it goes quiet after a while */
    if (h->operations >= h->wanted && !h->closing) close_pool(h);
    static const uint64_t pauses[] = {20000, 500000, 20000000};
    sim_plan(&h->sim, sim_span(&h->sim, pauses[sim_below(&h->sim, 3)]), act, h);
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
    if (h->posts_sent != h->posts_run)
        sim_violation(sim, "%llu functions were posted, %llu ran", (unsigned long long)h->posts_sent, (unsigned long long)h->posts_run);
    if (!report->abandoned_threads && !report->held_promises && !report->held_weights) {
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
    if (!h->closing) h->patient_close = options.drain_ms == CADRE_NEVER || options.abandon_after_ms == CADRE_NEVER;
    h->closing = true;
}

void host_relent(host *h)
{
    h->relented = true;
    if (!h->closed) request_resume_all(h);
    load_settle_all(h);
    load_drop_weights(h);
    sim_unstick(&h->sim);
}

/* ---- the run ---- */

void host_run(host *h, uint64_t seed, FILE *text)
{
    *h = (host){0};
    simulator *sim = &h->sim;
    sim_open(sim, seed, text);
    memory_open(h);
    h->wanted = 20 + (unsigned)sim_span(sim, 600);
    h->model_count = 1 + (unsigned)sim_below(sim, MODELS_MAX);
    static const uint64_t lags[] = {0, 1000, 50000, 2000000}, ticks[] = {0, 0, 20, 8000};
    sim->lag = lags[sim_below(sim, 4)];
    sim->tick = ticks[sim_below(sim, 4)];
    sim->waits = sim_one_in(sim, 2);
    sim->starts_fail = sim_one_in(sim, 4) ? 10 : 0;
    for (unsigned i = 0; i < h->model_count; i++) make_model(h, i);
    make_pool(h);
    h->out_of_memory = sim_one_in(sim, 6) ? 200 : 0;
    for (unsigned i = 0; i < h->model_count; i++) load_spawn(h, &h->models[i]);
    sim_plan(sim, 0, act, h);
    while (!h->closed) {
        if (sim_step(sim)) {
            check_all(h);
        } else if (!h->relented) {
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
    memory_closed(h);
    sim_free(sim);
}
