#include "core/weights.h"

#include "pool/loader.h"
#include "pool/pool.h"
#include "pool/reaper.h"

static void deliver_gone(cadre_pool *pool, cadre__message *message);

cadre_weights *cadre__weights_adopt(cadre_pool *pool, cadre__box *box, cadre_reservation *charge)
{
    cadre_weights *weights = cadre__alloc(&pool->port->allocator, sizeof *weights);
    if (!weights) {
        if (box->charge)
            cadre_reservation_release(charge);
        else
            box->charge = charge; /* until the value is destroyed */
        cadre__box_discard(box);
        return NULL;
    }
    atomic_init(&weights->refs, 1);
    weights->port = cadre_port_retain(pool->port);
    weights->box = box;
    weights->charge = charge;
    weights->gone.deliver = deliver_gone;
    pool->weights++;
    return weights;
}

static void weights_free(cadre_weights *weights)
{
    cadre_port *port = weights->port;
    cadre_reservation_release(weights->charge);
    cadre__free(&port->allocator, weights, sizeof *weights);
    cadre_port_release(port);
}

static void orphan(cadre__task *task)
{
    cadre_weights *weights = task->context;
    cadre__box_free(weights->box);
    weights_free(weights);
}

static void deliver_destroyed(cadre_pool *pool, cadre__message *message)
{
    cadre_weights *weights = CADRE__CONTAINER(message, cadre__box, task.message)->task.context;
    cadre__box_free(weights->box);
    weights_free(weights);
    pool->reaping--;
    pool->weights--;
}

static void deliver_gone(cadre_pool *pool, cadre__message *message)
{
    cadre_weights *weights = CADRE__CONTAINER(message, cadre_weights, gone);
    weights->box->task.context = weights;
    weights->box->task.orphan = orphan;
    weights->box->task.message.deliver = deliver_destroyed;
    cadre__reap(pool, &weights->box->task);
}

void cadre_weights_release(cadre_weights *weights)
{
    if (!weights || atomic_fetch_sub_explicit(&weights->refs, 1, memory_order_acq_rel) != 1) return;
    cadre_pool *pool = cadre__port_pool_here(weights->port);
    if (pool) {
        deliver_gone(pool, &weights->gone);
        return;
    }
    if (cadre__port_send(weights->port, &weights->gone)) return;
    cadre__box_clear(weights->box);
    cadre__box_free(weights->box);
    weights_free(weights);
}

cadre_weights *cadre_weights_retain(cadre_weights *weights)
{
    if (weights) atomic_fetch_add_explicit(&weights->refs, 1, memory_order_relaxed);
    return weights;
}

void *cadre_weights_payload(const cadre_weights *weights)
{
    return weights ? weights->box->value.weights.payload : NULL;
}

const void *cadre_weights_type(const cadre_weights *weights)
{
    return weights ? weights->box->value.weights.type : NULL;
}

cadre_weights *cadre_weights_future_get(const cadre_weights_future *future)
{
    return future ? ((const cadre_future *)(const void *)future)->weights : NULL;
}

int cadre_weights_future_charge(cadre_weights_future *future, cadre_reservation *owned)
{
    cadre_future *f = (cadre_future *)(void *)future;
    cadre_reservation **place = !f ? NULL : f->status == 0 ? &f->charge : f->weights ? &f->weights->charge : NULL;
    if (place && !*place) {
        *place = owned;
        return CADRE_OK;
    }
    cadre_reservation_release(owned);
    return place ? CADRE_EALREADY : f ? CADRE_EALREADY : CADRE_EINVAL;
}
