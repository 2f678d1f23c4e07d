/* Futures, promises, and the box that carries a value.
 *
 * A promise block is shared: the future (loop) holds one reference, all the host's promise handles together hold one, and each message under way holds one. Who
 * settles first is decided on the loop alone, by the order in which messages are delivered; `claimed` only lets a second resolve or fail answer CADRE_EALREADY
 * at once. A box is made together with its promise, so that handing over a value cannot fail for want of memory; whoever holds the box owns the value. */
#ifndef CADRE__FUTURE_H
#define CADRE__FUTURE_H

#include "core/deadline.h"
#include "core/port.h"
#include "pool/task.h"

/* A detached value on its way: what it is, how it is destroyed, what must outlive it. */
typedef struct cadre__box {
    cadre__task task; /* first; for its destruction on the reaper */
    cadre_port *port; /* counted */
    cadre_value_type type;
    bool full;
    union {
        cadre_generation_model generation;
        cadre_text_embedding_model text_embedding;
        cadre_image_embedding_model image_embedding;
        cadre_text_to_image_model text_to_image;
        cadre_weights_value weights;
    } value;
    cadre_weights *source;        /* counted; shared weights that the value is made around */
    cadre_reservation *charge;    /* counted; what pays for the value until it is destroyed */
    struct cadre__config *config; /* counted; of the registry's entry that made it; NULL: none */
} cadre__box;

cadre__box *cadre__box_create(cadre_port *port, cadre_value_type type);
/* What is wrong with a value of this type (static text), or NULL. */
const char *cadre__value_check(cadre_value_type type, const void *value);
/* Copies a checked value in; the box owns it. */
void cadre__box_fill(cadre__box *box, const void *value);
/* The thread that may block: runs the value's destructor; the box is empty then. */
void cadre__box_clear(cadre__box *box);
void cadre__box_free(cadre__box *box);
/* Any thread: has a full box cleared and freed on the reaper, through the loop; an empty one is freed at once; after the pool's close this thread does it. */
void cadre__box_discard(cadre__box *box);

/* How far something is: written by any thread, reported on the loop, at most one message under way. The words are relaxed: a report may mix two of them, the
 * next one mends it. */
typedef struct cadre__meter {
    cadre__message message;
    atomic_bool sent;
    _Atomic uint64_t fraction; /* bits of a double */
    _Atomic uint64_t done, total;
    _Atomic(const char *) stage;
} cadre__meter;

/* True: the caller sends meter->message. */
bool cadre__meter_set(cadre__meter *meter, double fraction, uint64_t done, uint64_t total, const char *stage);
/* On the loop: from now on a new report makes a new message. */
cadre_progress cadre__meter_take(cadre__meter *meter);

struct cadre_promise {
    cadre_port *port; /* counted */
    atomic_uint refs, handles;
    atomic_bool claimed, cancelled;
    cadre_value_type type;
    cadre__box *box;  /* the claimer's, then the loop's */
    atomic_int error; /* of a fail; the loop may look before it is delivered */
    char detail[CADRE__DETAIL_SIZE];
    cadre__message settle, drop;
    cadre__meter meter;
    /* loop only */
    cadre_future *future; /* NULL once it is settled or gone */
    cadre_cancel_cb on_cancel;
    void *on_cancel_data;
    cadre__message cancelling;
};

struct cadre_future {
    cadre_port *port; /* counted; its pool is gone for a future that the host kept */
    uint32_t refs;
    cadre_value_type type;
    int status; /* 0 pending, 1 resolved, negative */
    char *detail;
    cadre__box *box;           /* the value, until somebody takes it */
    cadre_weights *weights;    /* of a resolved weights future */
    cadre_reservation *charge; /* of a pending weights future */
    cadre_promise *promise;    /* counted, while pending */
    cadre__list waiters;
    cadre__message completing;
    bool announcing;
    cadre__deadline deadline;
    cadre_future_progress_cb on_progress;
    void *on_progress_data;
    cadre__list link; /* in the pool's pending futures */
};

/* Loop: settles with a full box (consumed), or with an error. A settled future destroys what comes late. */
void cadre__future_settle(cadre_future *future, int status, cadre__box *box, const char *detail);
/* Loop: the value leaves a resolved future, which then only knows that it was resolved. */
cadre__box *cadre__future_take(cadre_future *future);
/* Loop: forgets a waiter that was added with this pair. */
void cadre__future_forget(cadre_future *future, cadre_future_cb cb, void *data);

#endif
