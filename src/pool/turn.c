/* The loop's turn: deliver, fire deadlines, dispatch, publish, go on closing. It is capped in count and time, so that a burst never holds the loop. */
#include "memory/reserve.h"
#include "pool/close.h"
#include "pool/model.h"
#include "pool/pool.h"
#include "pool/worker.h"
#include "registry/entry.h"

#define TURN_NS UINT64_C(100000) /* of deliveries in one turn */
#define CLOCK_EVERY 16           /* deliveries between two looks at the clock */
#define DELIVERIES_A_TURN 1024
#define DEADLINES_A_TURN 256

void cadre__pool_touch(cadre_pool *pool)
{
    if (pool->in_turn) return;
    if (!pool->held) {
        pool->held = true;
        pool->executor->hold(pool, true);
    }
    if (pool->parked && !CADRE__FAULT(LOST_WAKE)) pool->executor->soon(pool);
}

void cadre__pool_defer(cadre_pool *pool, cadre__message *message)
{
    message->node.next = NULL;
    *pool->last = &message->node;
    pool->last = &message->node.next;
    cadre__pool_touch(pool);
}

bool cadre__pool_deadline(cadre_pool *pool, cadre__deadline *deadline, uint64_t delta)
{
    if (!cadre__deadline_set(&pool->deadlines, cadre__pool_allocator(pool), deadline, cadre__after(cadre__now(pool->port), delta))) return false;
    cadre__pool_touch(pool);
    return true;
}

void cadre__pool_line_up(cadre_pool *pool, cadre__node *node)
{
    if (!node) return;
    *pool->last = node;
    while (node->next) node = node->next;
    pool->last = &node->next;
}

static void deliver(cadre_pool *pool)
{
    uint64_t end = pool->now + TURN_NS;
    for (uint32_t count = 1; pool->first && count <= DELIVERIES_A_TURN; count++) {
        cadre__node *node = pool->first;
        pool->first = node->next;
        if (!pool->first) pool->last = &pool->first;
        cadre__message *message = CADRE__CONTAINER(node, cadre__message, node);
        pool->delivered++;
        message->deliver(pool, message);
        if (count % CLOCK_EVERY == 0) {
            pool->now = cadre__now(pool->port);
            if (pool->now >= end) return;
        }
    }
}

static bool fire_deadlines(cadre_pool *pool)
{
    for (int i = 0; i < DEADLINES_A_TURN; i++) {
        cadre__deadline *deadline = cadre__deadlines_pop(&pool->deadlines, pool->now);
        if (!deadline) return false;
        if (i == 0) cadre__histogram_note(&pool->stats.lag, pool->now - deadline->due);
        pool->delivered++;
        deadline->fire(pool, deadline);
    }
    return true;
}

static void publish(cadre_pool *pool)
{
    while (!cadre__list_empty(&pool->publishing)) {
        cadre__worker *worker = CADRE__CONTAINER(pool->publishing.next, cadre__worker, publish_link);
        cadre__list_remove(&worker->publish_link);
        cadre__worker_publish(worker);
    }
}

/* How long ago another thread woke the loop for this turn. */
static void note_signal(cadre_pool *pool)
{
    uint64_t at = atomic_load_explicit(&pool->port->signalled_at, memory_order_relaxed);
    if (!at) return;
    atomic_store_explicit(&pool->port->signalled_at, 0, memory_order_relaxed);
    cadre__histogram_note(&pool->stats.lag, pool->now > at ? pool->now - at : 0);
}

static bool has_work(const cadre_pool *pool)
{
    return pool->first || pool->open_requests || pool->jobs_out || pool->transitions || pool->pending_futures || pool->reaping || pool->wishes ||
           pool->additions || !cadre__list_empty(&pool->looks) || pool->closing;
}

bool cadre__pool_turn(cadre_pool *pool)
{
    if (pool->in_turn || pool->closing == CADRE__CLOSED) return false;
    cadre__pool_line_up(pool, cadre__inbox_take(&pool->port->inbox));
    cadre__pool_line_up(pool, cadre__inbox_take(&pool->port->reaped));
    uint64_t next = cadre__deadlines_next(&pool->deadlines);
    bool quiet = !pool->first && cadre__list_empty(&pool->dirty) && cadre__list_empty(&pool->publishing) && cadre__list_empty(&pool->loads_waiting) &&
                 cadre__list_empty(&pool->checks_waiting) && cadre__list_empty(&pool->entries_dirty) && !pool->reserves_touched && !pool->pressure_touched &&
                 !pool->closing;
    if (quiet && next == UINT64_MAX && pool->armed == UINT64_MAX && (pool->held == has_work(pool))) return false;
    pool->turns++;
    pool->in_turn = true;
    pool->now = cadre__now(pool->port);
    note_signal(pool);
    deliver(pool);
    bool more = fire_deadlines(pool);
    cadre__entries_step(pool);
    cadre__reserves_step(pool);
    if (pool->pressure_touched) cadre__pressure_step(pool);
    cadre__models_dispatch(pool);
    publish(pool);
    cadre__loaders_feed(pool);
    if (pool->closing) cadre__close_step(pool);
    pool->in_turn = false;
    if (pool->closing == CADRE__CLOSED) return false;
    more = more || pool->first || !cadre__list_empty(&pool->dirty) || !cadre__list_empty(&pool->entries_dirty) || pool->reserves_touched ||
           pool->pressure_touched;
    next = cadre__deadlines_next(&pool->deadlines);
    if (next != pool->armed) {
        pool->armed = next;
        pool->executor->arm(pool, next);
    }
    bool hold = has_work(pool);
    if (hold != pool->held) {
        pool->held = hold;
        pool->executor->hold(pool, hold);
    }
    return more;
}
