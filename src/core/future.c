#include "core/future.h"

#include "core/weights.h"
#include "pool/pool.h"
#include "pool/reaper.h"

typedef struct waiter {
    cadre__list link;
    cadre_future_cb cb;
    void *data;
} waiter;

static void deliver_settle(cadre_pool *pool, cadre__message *message);
static void deliver_drop(cadre_pool *pool, cadre__message *message);
static void deliver_progress(cadre_pool *pool, cadre__message *message);
static void deliver_cancelling(cadre_pool *pool, cadre__message *message);
static void deliver_completing(cadre_pool *pool, cadre__message *message);
static void deadline_fired(cadre_pool *pool, cadre__deadline *deadline);

static void promise_unref(cadre_promise *promise)
{
    if (atomic_fetch_sub_explicit(&promise->refs, 1, memory_order_acq_rel) != 1) return;
    cadre_port *port = promise->port;
    if (promise->box) cadre__box_discard(promise->box);
    cadre__free(&port->allocator, promise, sizeof *promise);
    cadre_port_release(port);
}

static cadre_promise *promise_ref(cadre_promise *promise)
{
    atomic_fetch_add_explicit(&promise->refs, 1, memory_order_relaxed);
    return promise;
}

/* ---- making ---- */

static cadre_future *future_create(cadre_pool *pool, cadre_value_type type)
{
    const cadre_allocator *allocator = &pool->port->allocator;
    cadre_future *future = cadre__alloc(allocator, sizeof *future);
    if (!future) return NULL;
    future->port = cadre_port_retain(pool->port);
    future->refs = 1;
    future->type = type;
    future->completing.deliver = deliver_completing;
    future->deadline.fire = deadline_fired;
    cadre__list_init(&future->waiters);
    cadre__list_append(&pool->futures, &future->link);
    pool->pending_futures++;
    cadre__pool_touch(pool); /* the loop lives until it is settled */
    return future;
}

static cadre_promise *promise_create(cadre_pool *pool, cadre_value_type type)
{
    const cadre_allocator *allocator = &pool->port->allocator;
    cadre_promise *promise = cadre__alloc(allocator, sizeof *promise);
    cadre__box *box = promise ? cadre__box_create(pool->port, type) : NULL;
    if (!box) {
        cadre__free(allocator, promise, sizeof *promise);
        return NULL;
    }
    promise->port = cadre_port_retain(pool->port);
    promise->type = type;
    promise->box = box;
    atomic_init(&promise->refs, 1);
    atomic_init(&promise->handles, 1);
    promise->settle.deliver = deliver_settle;
    promise->drop.deliver = deliver_drop;
    promise->cancelling.deliver = deliver_cancelling;
    promise->meter.message.deliver = deliver_progress;
    return promise;
}

int cadre_promise_create(cadre_pool *pool, cadre_value_type type, cadre_promise **promise, cadre_future **future)
{
    if (promise) *promise = NULL;
    if (future) *future = NULL;
    if (!pool || !promise || !future || (unsigned)type > CADRE_VALUE_WEIGHTS) return CADRE_EINVAL;
    if (pool->closing && !pool->in_load) return CADRE_ECLOSED;
    cadre_promise *p = promise_create(pool, type);
    cadre_future *f = p ? future_create(pool, type) : NULL;
    if (!f) {
        if (p) promise_unref(p);
        return CADRE_ENOMEM;
    }
    pool->promises++;
    p->future = f;
    f->promise = promise_ref(p);
    *promise = p;
    *future = f;
    return CADRE_OK;
}

/* A value that nobody takes, without memory for a box: the pool keeps one for this. A second one before that is back is destroyed here and now. */
static void discard_value(cadre_pool *pool, cadre_value_type type, const void *value)
{
    cadre__box *box = pool->spare;
    pool->spare = NULL;
    if (box) {
        box->type = type;
        cadre__box_fill(box, value);
        cadre__box_discard(box);
        return;
    }
    cadre__box last = {.port = pool->port, .type = type};
    cadre__box_fill(&last, value);
    cadre__box_clear(&last);
}

cadre_future *cadre_future_ready(cadre_pool *pool, cadre_value_type type, const void *value)
{
    if (!pool || (unsigned)type > CADRE_VALUE_WEIGHTS || cadre__value_check(type, value)) return NULL;
    if (!pool->spare) pool->spare = cadre__box_create(pool->port, type);
    cadre__box *box = cadre__box_create(pool->port, type);
    if (!box) {
        discard_value(pool, type, value);
        return NULL;
    }
    cadre__box_fill(box, value);
    cadre_future *future = future_create(pool, type);
    if (!future) {
        cadre__box_discard(box);
        return NULL;
    }
    cadre__future_settle(future, 1, box, NULL);
    return future;
}

cadre_future *cadre_future_failed(cadre_pool *pool, cadre_value_type type, int error, const char *detail)
{
    if (!pool || (unsigned)type > CADRE_VALUE_WEIGHTS) return NULL;
    cadre_future *future = future_create(pool, type);
    if (future) cadre__future_settle(future, error < 0 ? error : CADRE_EINVAL, NULL, detail);
    return future;
}

/* ---- the loop's side ---- */

/* The pool's pending futures no longer count it; its maker learns that nobody waits, if it does not know. */
static void leave_pending(cadre_future *future, bool tell)
{
    cadre_pool *pool = future->port->pool;
    cadre__list_remove(&future->link);
    pool->pending_futures--;
    cadre__deadline_clear(&pool->deadlines, &future->deadline);
    cadre_promise *promise = future->promise;
    if (!promise) return;
    future->promise = NULL;
    promise->future = NULL;
    if (tell) atomic_store_explicit(&promise->cancelled, true, memory_order_release);
    if (tell && promise->on_cancel && !atomic_load_explicit(&promise->claimed, memory_order_acquire)) {
        promise_ref(promise);
        cadre__pool_defer(pool, &promise->cancelling);
    }
    promise_unref(promise);
}

static void announce(cadre_future *future)
{
    if (future->announcing || cadre__list_empty(&future->waiters)) return;
    future->announcing = true;
    future->refs++;
    cadre__pool_defer(future->port->pool, &future->completing);
}

void cadre__future_settle(cadre_future *future, int status, cadre__box *box, const char *detail)
{
    if (future->status != 0) {
        future->port->pool->late_values++;
        if (box) cadre__box_discard(box);
        return;
    }
    if (status > 0 && future->type == CADRE_VALUE_WEIGHTS) {
        future->weights = cadre__weights_adopt(future->port->pool, box, future->charge);
        future->charge = NULL;
        if (!future->weights) status = CADRE_ENOMEM;
    } else if (status > 0) {
        future->box = box;
    }
    future->status = status;
    if (status < 0) {
        future->detail = cadre__strdup(&future->port->allocator, detail && *detail ? detail : cadre_strerror(status));
        /* What is still being loaded is paid for until it is destroyed: the value's box takes the charge along. */
        cadre__box *late = future->charge && future->promise && !future->promise->error ? future->promise->box : NULL;
        if (late && !late->charge)
            late->charge = future->charge;
        else
            cadre_reservation_release(future->charge);
        future->charge = NULL;
    }
    leave_pending(future, status < 0);
    announce(future);
}

cadre__box *cadre__future_take(cadre_future *future)
{
    cadre__box *box = future->box;
    future->box = NULL;
    return box;
}

static void deliver_completing(cadre_pool *pool, cadre__message *message)
{
    cadre_future *future = CADRE__CONTAINER(message, cadre_future, completing);
    cadre__list ready;
    cadre__list_init(&ready);
    CADRE__LIST_FOR (node, &future->waiters) {
        cadre__list_remove(node);
        cadre__list_append(&ready, node);
    }
    future->announcing = false;
    while (!cadre__list_empty(&ready)) {
        waiter *w = CADRE__CONTAINER(ready.next, waiter, link);
        waiter copy = *w;
        cadre__list_remove(&w->link);
        cadre__free(&pool->port->allocator, w, sizeof *w);
        copy.cb(future, future->status < 0 ? future->status : CADRE_OK, cadre_future_detail(future), copy.data);
        cadre_future_release(future);
    }
    cadre_future_release(future);
}

void cadre__future_forget(cadre_future *future, cadre_future_cb cb, void *data)
{
    CADRE__LIST_FOR (node, &future->waiters) {
        waiter *w = CADRE__CONTAINER(node, waiter, link);
        if (w->cb != cb || w->data != data) continue;
        cadre__list_remove(&w->link);
        cadre__free(&future->port->allocator, w, sizeof *w);
        cadre_future_release(future);
        return;
    }
}

static void deadline_fired(cadre_pool *pool, cadre__deadline *deadline)
{
    (void)pool;
    cadre_future *future = CADRE__CONTAINER(deadline, cadre_future, deadline);
    cadre__future_settle(future, CADRE_ETIMEDOUT, NULL, NULL);
}

cadre_future *cadre_future_retain(cadre_future *future)
{
    if (future) future->refs++;
    return future;
}

void cadre_future_release(cadre_future *future)
{
    if (!future || --future->refs > 0) return;
    if (future->status == 0) {
        future->refs++;
        cadre__future_settle(future, CADRE_ECANCELED, NULL, NULL);
        future->refs--;
    }
    if (future->box) cadre__box_discard(future->box);
    cadre_weights_release(future->weights);
    cadre_port *port = future->port;
    cadre__strfree(&port->allocator, future->detail);
    cadre__free(&port->allocator, future, sizeof *future);
    cadre_port_release(port);
}

int cadre_future_status(const cadre_future *future)
{
    return !future ? CADRE_EINVAL : future->status == 0 ? CADRE_EAGAIN : future->status > 0 ? CADRE_OK : future->status;
}

const char *cadre_future_detail(const cadre_future *future)
{
    if (!future || future->status >= 0) return "";
    return future->detail ? future->detail : cadre_strerror(future->status);
}

int cadre_future_on_complete(cadre_future *future, cadre_future_cb cb, void *data)
{
    if (!future || !cb) return CADRE_EINVAL;
    if (!future->port->pool || future->port->pool->closing == CADRE__CLOSED) return CADRE_ECLOSED;
    waiter *w = cadre__alloc(&future->port->allocator, sizeof *w);
    if (!w) return CADRE_ENOMEM;
    w->cb = cb;
    w->data = data;
    cadre__list_append(&future->waiters, &w->link);
    future->refs++;
    if (future->status != 0) announce(future);
    return CADRE_OK;
}

void cadre_future_on_progress(cadre_future *future, cadre_future_progress_cb cb, void *data)
{
    if (!future) return;
    future->on_progress = cb;
    future->on_progress_data = data;
}

void cadre_future_cancel(cadre_future *future)
{
    if (future && future->status == 0) cadre__future_settle(future, CADRE_ECANCELED, NULL, NULL);
}

int cadre_future_set_deadline(cadre_future *future, int64_t ms)
{
    if (!future || ms < 0) return CADRE_EINVAL;
    if (future->status != 0) return CADRE_EALREADY;
    cadre_pool *pool = future->port->pool;
    if (ms == CADRE_NEVER) {
        cadre__deadline_clear(&pool->deadlines, &future->deadline);
        return CADRE_OK;
    }
    return cadre__pool_deadline(pool, &future->deadline, cadre__ms(ms)) ? CADRE_OK : CADRE_ENOMEM;
}

/* ---- the promise's side ---- */

cadre_promise *cadre_promise_retain(cadre_promise *promise)
{
    if (promise) atomic_fetch_add_explicit(&promise->handles, 1, memory_order_relaxed);
    return promise;
}

void cadre_promise_release(cadre_promise *promise)
{
    if (!promise || atomic_fetch_sub_explicit(&promise->handles, 1, memory_order_acq_rel) != 1) return;
    if (!cadre__port_send(promise->port, &promise->drop)) promise_unref(promise);
}

static void deliver_drop(cadre_pool *pool, cadre__message *message)
{
    cadre_promise *promise = CADRE__CONTAINER(message, cadre_promise, drop);
    pool->promises--;
    if (promise->future) cadre__future_settle(promise->future, CADRE_EABANDONED, NULL, NULL);
    promise_unref(promise);
}

int cadre_promise_cancelled(const cadre_promise *promise)
{
    return promise ? atomic_load_explicit(&promise->cancelled, memory_order_acquire) : 1;
}

void cadre_promise_progress(cadre_promise *promise, double fraction, uint64_t done_bytes, uint64_t total_bytes, const char *stage)
{
    if (!promise || !cadre__meter_set(&promise->meter, fraction, done_bytes, total_bytes, stage)) return;
    promise_ref(promise);
    if (!cadre__port_send(promise->port, &promise->meter.message)) promise_unref(promise);
}

static void deliver_progress(cadre_pool *pool, cadre__message *message)
{
    (void)pool;
    cadre_promise *promise = CADRE__CONTAINER(message, cadre_promise, meter.message);
    cadre_progress progress = cadre__meter_take(&promise->meter);
    cadre_future *future = promise->future;
    if (future && future->on_progress) future->on_progress(future, &progress, future->on_progress_data);
    promise_unref(promise);
}

/* Hands the claimed promise to the loop. On failure the pool is gone and nothing was consumed. */
static int send_settle(cadre_promise *promise)
{
    promise_ref(promise);
    if (cadre__port_send(promise->port, &promise->settle)) return CADRE_OK;
    atomic_store_explicit(&promise->claimed, false, memory_order_release);
    promise_unref(promise);
    return CADRE_ECLOSED;
}

static bool claim(cadre_promise *promise)
{
    return !atomic_exchange_explicit(&promise->claimed, true, memory_order_acq_rel);
}

int cadre_promise_fail(cadre_promise *promise, int error, const char *detail)
{
    if (!promise || error >= 0) return CADRE_EINVAL;
    if (!claim(promise)) return CADRE_EALREADY;
    promise->error = error;
    if (detail) strncpy(promise->detail, detail, sizeof promise->detail - 1);
    return send_settle(promise);
}

static int resolve_late(cadre_promise *promise, const void *value)
{
    cadre__box *box = cadre__box_create(promise->port, promise->type);
    if (!box) return CADRE_ENOMEM;
    cadre__box_fill(box, value);
    cadre__box_discard(box);
    return CADRE_EALREADY;
}

int cadre_promise_resolve(cadre_promise *promise, cadre_value_type type, const void *value)
{
    if (!promise || type != promise->type || cadre__value_check(type, value)) return CADRE_EINVAL;
    if (!claim(promise)) return resolve_late(promise, value);
    cadre__box_fill(promise->box, value);
    int rc = send_settle(promise);
    if (rc != CADRE_OK) promise->box->full = false;
    return rc;
}

static void deliver_settle(cadre_pool *pool, cadre__message *message)
{
    cadre_promise *promise = CADRE__CONTAINER(message, cadre_promise, settle);
    cadre_future *future = promise->future;
    cadre__box *box = promise->error ? NULL : promise->box;
    if (box) promise->box = NULL;
    if (future)
        cadre__future_settle(future, promise->error ? promise->error : 1, box, promise->detail);
    else {
        pool->late_values++;
        if (box) cadre__box_discard(box);
    }
    promise_unref(promise);
}

int cadre_promise_on_cancel(cadre_promise *promise, cadre_cancel_cb cb, void *data)
{
    if (!promise || !cb || promise->on_cancel) return CADRE_EINVAL;
    if (!promise->port->pool || promise->port->pool->closing == CADRE__CLOSED) return CADRE_ECLOSED;
    promise->on_cancel = cb;
    promise->on_cancel_data = data;
    if (cadre_promise_cancelled(promise)) cadre__pool_defer(promise->port->pool, &promise_ref(promise)->cancelling);
    return CADRE_OK;
}

static void deliver_cancelling(cadre_pool *pool, cadre__message *message)
{
    (void)pool;
    cadre_promise *promise = CADRE__CONTAINER(message, cadre_promise, cancelling);
    if (promise->on_cancel) promise->on_cancel(promise->on_cancel_data);
    promise_unref(promise);
}
