/* Boxes and meters: see core/future.h. */
#include "core/future.h"
#include "pool/pool.h"
#include "pool/reaper.h"
#include "registry/entry.h"

/* All ops tables begin alike. */
typedef struct common_ops {
    size_t size;
    int (*attach)(void *self, cadre_op *op);
    void (*destroy)(void *self);
} common_ops;

static size_t value_size(cadre_value_type type)
{
    static const size_t sizes[] = {sizeof(cadre_generation_model), sizeof(cadre_text_embedding_model), sizeof(cadre_image_embedding_model),
                                   sizeof(cadre_generation_model), sizeof(cadre_text_to_image_model),  sizeof(cadre_weights_value)};
    return sizes[type];
}

static const char *check_generation(const cadre_generation_model *m)
{
    if (!m->ops || m->ops->size != sizeof *m->ops) return "the model has no ops of this version";
    bool whole = m->ops->generate != NULL, slots = m->ops->begin && m->ops->step && m->ops->end;
    if (whole == slots) return "the model's ops must have either generate, or begin, step and end";
    if (m->slots < 1 || m->slots > 256 || (whole && m->slots != 1)) return "the model's slots are not within 1…256 (1 for generate)";
    return NULL;
}

const char *cadre__value_check(cadre_value_type type, const void *value)
{
    static const char no_ops[] = "the model has no ops of this version", no_batch[] = "the model's dimension and max_batch must be at least 1";
    if (!value) return "the value is NULL";
    size_t size;
    memcpy(&size, value, sizeof size);
    if (size != value_size(type)) return "the value's size is not that of its struct";
    switch ((int)type) {
    case CADRE_TEXT_TO_TEXT:
    case CADRE_VISION: return check_generation(value);
    case CADRE_TEXT_EMBEDDING: {
        const cadre_text_embedding_model *m = value;
        if (!m->ops || m->ops->size != sizeof *m->ops || !m->ops->embed) return no_ops;
        return m->dimension && m->max_batch ? NULL : no_batch;
    }
    case CADRE_IMAGE_EMBEDDING: {
        const cadre_image_embedding_model *m = value;
        if (!m->ops || m->ops->size != sizeof *m->ops || !m->ops->embed) return no_ops;
        return m->dimension && m->max_batch ? NULL : no_batch;
    }
    case CADRE_TEXT_TO_IMAGE: {
        const cadre_text_to_image_model *m = value;
        return m->ops && m->ops->size == sizeof *m->ops && m->ops->generate ? NULL : no_ops;
    }
    default: return NULL;
    }
}

static void run_clear(cadre__task *task)
{
    cadre__box_clear(CADRE__CONTAINER(task, cadre__box, task));
}

static void orphan(cadre__task *task)
{
    cadre__box_free(CADRE__CONTAINER(task, cadre__box, task));
}

static void deliver_cleared(cadre_pool *pool, cadre__message *message)
{
    pool->reaping--;
    cadre__box_free(CADRE__CONTAINER(message, cadre__box, task.message));
}

static void deliver_discard(cadre_pool *pool, cadre__message *message)
{
    cadre__box *box = CADRE__CONTAINER(message, cadre__box, task.message);
    message->deliver = deliver_cleared;
    cadre__reap(pool, &box->task);
}

cadre__box *cadre__box_create(cadre_port *port, cadre_value_type type)
{
    cadre__box *box = cadre__alloc(&port->allocator, sizeof *box);
    if (!box) return NULL;
    box->port = cadre_port_retain(port);
    box->type = type;
    box->task.run = run_clear;
    box->task.orphan = orphan;
    return box;
}

void cadre__box_fill(cadre__box *box, const void *value)
{
    memcpy(&box->value, value, value_size(box->type));
    box->full = true;
}

void cadre__box_clear(cadre__box *box)
{
    if (box->full) {
        box->full = false;
        if (box->type == CADRE_VALUE_WEIGHTS) {
            if (box->value.weights.destroy) box->value.weights.destroy(box->value.weights.payload);
        } else {
            /* size, ops and self lie alike in every model. */
            const common_ops *ops = (const common_ops *)(const void *)box->value.generation.ops;
            if (ops->destroy) ops->destroy(box->value.generation.self);
        }
    }
    cadre_weights_release(box->source);
    box->source = NULL;
}

void cadre__box_free(cadre__box *box)
{
    cadre_port *port = box->port;
    cadre_weights_release(box->source);
    if (!CADRE__FAULT(LOST_RELEASE)) cadre_reservation_release(box->charge);
    cadre__config_unref(box->config);
    cadre__free(&port->allocator, box, sizeof *box);
    cadre_port_release(port);
}

void cadre__box_discard(cadre__box *box)
{
    if (!box->full) {
        cadre__box_free(box);
        return;
    }
    cadre_pool *pool = cadre__port_pool_here(box->port);
    if (pool) {
        box->task.message.deliver = deliver_cleared;
        cadre__reap(pool, &box->task);
        return;
    }
    box->task.message.deliver = deliver_discard;
    if (cadre__port_send(box->port, &box->task.message)) return;
    cadre__box_clear(box);
    cadre__box_free(box);
}

bool cadre__meter_set(cadre__meter *meter, double fraction, uint64_t done, uint64_t total, const char *stage)
{
    uint64_t bits;
    memcpy(&bits, &fraction, sizeof bits);
    atomic_store_explicit(&meter->fraction, bits, memory_order_relaxed);
    atomic_store_explicit(&meter->done, done, memory_order_relaxed);
    atomic_store_explicit(&meter->total, total, memory_order_relaxed);
    atomic_store_explicit(&meter->stage, stage, memory_order_relaxed);
    return !atomic_exchange_explicit(&meter->sent, true, memory_order_acq_rel);
}

cadre_progress cadre__meter_take(cadre__meter *meter)
{
    atomic_exchange_explicit(&meter->sent, false, memory_order_acq_rel);
    cadre_progress progress = {.size = sizeof progress};
    uint64_t bits = atomic_load_explicit(&meter->fraction, memory_order_relaxed);
    memcpy(&progress.fraction, &bits, sizeof bits);
    progress.done_bytes = atomic_load_explicit(&meter->done, memory_order_relaxed);
    progress.total_bytes = atomic_load_explicit(&meter->total, memory_order_relaxed);
    progress.stage = atomic_load_explicit(&meter->stage, memory_order_relaxed);
    if (!progress.stage) progress.stage = "load";
    return progress;
}
