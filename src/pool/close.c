/* Closing a pool, without waiting anywhere: each step goes on as far as it can and is taken up again in a later turn.
 *
 *   DRAINING    accepted requests and the loads they wait for go on; loads for nobody are cancelled
 *   CANCELLING  every request, load and future is ended, every worker told to stop
 *   STOPPING    until workers, loads, promises and weights are gone, or abandon_after_ms have passed; then the loaders are told to end
 *   REAPING     the port refuses; what it took is delivered and destroyed; then the reaper is told to end, and the loop's handles are closed
 *   CLOSED      the callback; the pool is freed */
#include "pool/close.h"

#include "memory/reserve.h"
#include "pool/model.h"
#include "pool/reaper.h"
#include "pool/worker.h"
#include "registry/registry.h"

int cadre_pool_close(cadre_pool *pool, const cadre_close_options *theirs, cadre_close_cb cb)
{
    if (!pool) return CADRE_EINVAL;
    cadre_close_options options = CADRE_CLOSE_OPTIONS_INIT;
    if (theirs && !cadre__overlay(&options, sizeof options, theirs)) return CADRE_EINVAL;
    if (options.drain_ms == CADRE_DEFAULT) options.drain_ms = 5000;
    if (options.abandon_after_ms == CADRE_DEFAULT) options.abandon_after_ms = 10000;
    if (options.drain_ms < 0 || options.abandon_after_ms < 0) return CADRE_EINVAL;
    if (pool->closing) {
        uint64_t due = cadre__after(cadre__now(pool->port), cadre__ms(options.drain_ms));
        if (pool->closing == CADRE__DRAINING && due < pool->close_deadline.due) cadre__pool_deadline(pool, &pool->close_deadline, cadre__ms(options.drain_ms));
        return CADRE_EALREADY;
    }
    pool->closing = CADRE__DRAINING;
    pool->close_cb = cb;
    pool->close_data = options.data;
    pool->close_abandon_ns = cadre__ms(options.abandon_after_ms);
    pool->report.size = sizeof pool->report;
    CADRE__LIST_FOR (node, &pool->worker_list) {
        cadre__worker *worker = CADRE__CONTAINER(node, cadre__worker, link);
        if (!worker->told && !worker->model->queued) cadre__worker_end(worker, CADRE_ECLOSED, "the pool was closed while the model was loading");
    }
    CADRE__LIST_FOR (node, &pool->entries) cadre__entry_touch(CADRE__CONTAINER(node, cadre__entry, link)); /* loads that were asked for by hand end */
    cadre__pool_deadline(pool, &pool->close_deadline, cadre__ms(options.drain_ms));
    /* The next turn must come, also when nothing else happens. */
    cadre__pool_touch(pool);
    if (!pool->in_turn) pool->executor->soon(pool);
    return CADRE_OK;
}

void cadre__close_due(cadre_pool *pool, cadre__deadline *deadline)
{
    pool->close_expired = true;
    cadre__deadline_set(&pool->deadlines, cadre__pool_allocator(pool), deadline, UINT64_MAX);
}

static void cancel_everything(cadre_pool *pool)
{
    cadre__reserves_close(pool);
    cadre__entries_stop(pool);
    for (uint32_t i = 0; i < pool->requests.count; i++) {
        cadre_request *request = pool->requests.slots[i].object;
        if (request) cadre__request_end(request, CADRE_ECLOSED, "the pool was closed");
    }
    CADRE__LIST_FOR (node, &pool->worker_list) {
        cadre__worker_end(CADRE__CONTAINER(node, cadre__worker, link), CADRE_ECLOSED, "the pool was closed");
    }
    while (!cadre__list_empty(&pool->futures))
        cadre__future_settle(CADRE__CONTAINER(pool->futures.next, cadre_future, link), CADRE_ECLOSED, NULL, "the pool was closed");
}

/* Everything that a close waits for is counted, so what others still post (they may never stop) does not hold it up. */
static bool is_quiet(const cadre_pool *pool)
{
    return !pool->open_requests && !pool->jobs_out && cadre__list_empty(&pool->worker_list) && !pool->pending_futures && !pool->promises && !pool->weights &&
           !pool->reaping && !pool->additions && cadre__list_empty(&pool->looks) && !pool->wishes && cadre__list_empty(&pool->loads_waiting) &&
           cadre__list_empty(&pool->checks_waiting);
}

static void abandon(cadre_pool *pool)
{
    cadre_close_report *report = &pool->report;
    CADRE__LIST_FOR (node, &pool->worker_list) {
        cadre__worker *worker = CADRE__CONTAINER(node, cadre__worker, link);
        if (worker->detached || worker->exited) continue;
        if (worker->runner) report->abandoned_threads++;
        cadre__worker_abandon(worker);
    }
    cadre__additions_close(pool);
    cadre__loaders_stop(pool); /* those that are idle end by themselves */
    report->abandoned_threads += cadre__loaders_abandon(pool);
    report->held_promises = (uint32_t)(pool->promises - pool->own_promises);
    report->held_weights = (uint32_t)pool->weights;
}

static void deliver_rest(cadre_pool *pool)
{
    while (pool->first) {
        cadre__node *node = pool->first;
        pool->first = node->next;
        if (!pool->first) pool->last = &pool->first;
        cadre__message *message = CADRE__CONTAINER(node, cadre__message, node);
        message->deliver(pool, message);
    }
}

static void closed(cadre_pool *pool)
{
    pool->in_turn = true; /* the loop's side is gone: nothing may ask it for a turn */
    cadre__pool_line_up(pool, cadre__inbox_close(&pool->port->reaped));
    deliver_rest(pool);
    while (!cadre__list_empty(&pool->worker_list)) cadre__worker_forget(CADRE__CONTAINER(pool->worker_list.next, cadre__worker, link));
    cadre__entries_free(pool);
    cadre__models_free(pool);
    deliver_rest(pool); /* events */
    pool->emptied = true;
    if (pool->close_cb) pool->close_cb(pool, &pool->report, pool->close_data);
    cadre__pool_free(pool);
}

static void finish(cadre_pool *pool)
{
    pool->closing = CADRE__CLOSED;
    pool->executor->close(pool, closed);
}

void cadre__close_step(cadre_pool *pool)
{
    if (pool->closing == CADRE__DRAINING && (pool->open_requests == 0 || pool->close_expired)) {
        pool->closing = CADRE__CANCELLING;
        pool->close_expired = false;
        cancel_everything(pool);
        cadre__deadline_set(&pool->deadlines, cadre__pool_allocator(pool), &pool->close_deadline, cadre__after(pool->now, pool->close_abandon_ns));
    }
    if (pool->closing == CADRE__CANCELLING && pool->open_requests == 0) pool->closing = CADRE__STOPPING;
    if (pool->closing == CADRE__STOPPING) {
        bool quiet = is_quiet(pool);
        if (!quiet && !pool->close_expired) return;
        if (!quiet) abandon(pool);
        if (!cadre__loaders_stop(pool)) return;
        /* From here on the port refuses. What it took is still delivered, and destroyed on the reaper. */
        atomic_store_explicit(&pool->port->open, false, memory_order_release);
        cadre__pool_line_up(pool, cadre__inbox_close(&pool->port->inbox));
        cadre__entries_let_go(pool);
        pool->closing = CADRE__REAPING;
        pool->close_expired = false;
        cadre__deadline_set(&pool->deadlines, cadre__pool_allocator(pool), &pool->close_deadline, cadre__after(pool->now, pool->close_abandon_ns));
    }
    if (pool->closing == CADRE__REAPING) {
        if (pool->reaper && !pool->first && !pool->reaping) cadre__trace_finish(pool);
        if (pool->reaper && !pool->first && !pool->reaping) cadre__thread_stop(&pool->reaper->thread);
        if (pool->reaper && !pool->close_expired) return;
        if (pool->reaper) { /* a destructor does not return */
            pool->report.abandoned_threads++;
            cadre__thread_stop(&pool->reaper->thread);
            pool->executor->thread_detach(&pool->reaper->thread);
            pool->reaper = NULL;
        }
        finish(pool);
    }
}
