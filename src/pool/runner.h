/* Workers on the thread's side: attach the model, run jobs, destroy the model. The block is the thread's own; the loop reads only the atomics of its
 * cadre__thread and `nanoseconds`. */
#ifndef CADRE__RUNNER_H
#define CADRE__RUNNER_H

#include "core/future.h"
#include "pool/executor.h"
#include "pool/job.h"

typedef struct cadre__slot {
    cadre__job *job; /* NULL: free */
    uint64_t begun;
} cadre__slot;

typedef struct cadre__runner {
    cadre__thread thread; /* first */
    cadre_port *port;
    const cadre__kind *kind;
    cadre__box *box; /* the model */
    cadre_image_decoder decoder;
    struct cadre__worker *worker; /* the loop's, opaque here: comes back in messages */
    cadre__message attached;
    int status; /* of attach */
    cadre__task joining;
    _Atomic uint64_t beat;        /* the latest sign of life; relaxed, looked at when one is overdue */
    atomic_bool resting;          /* it waits for the loop, so it is not hung; relaxed */
    _Atomic uint64_t nanoseconds; /* a recent mean of what a job takes, per slot; relaxed, a hint for how far ahead to hand out jobs */

    /* the thread */
    bool tried, live, busy, stopping, broken; /* broken: an operation said so */
    cadre__job attach_op;                     /* the op of attach; not a request */
    char attach_detail[CADRE__DETAIL_SIZE];
    cadre__node *todo, **todo_last; /* jobs that came and are not begun, oldest first */
    cadre__node *done_newest, *done_oldest;
    uint64_t flushed;
    uint32_t slot_count, active;
    uint32_t operations;
    cadre__slot *slots;
    cadre_slot_step *steps;
    float *scratch; /* batches */
    size_t scratch_bytes;
} cadre__runner;

/* Loop: a runner for a full box, which it consumes on success. CADRE_ENOMEM, CADRE_ETHREAD. `port` and decoder come from the pool. */
int cadre__runner_start(cadre_pool *pool, struct cadre__worker *worker, const cadre__kind *kind, cadre__box *box,
                        void (*attached)(cadre_pool *pool, cadre__message *message), void (*exited)(cadre_pool *pool, cadre__message *message),
                        cadre__runner **out);

/* The thread: a job is over; it goes back with the next flush. */
void cadre__runner_complete(cadre__runner *runner, cadre__job *job, int status);
/* The thread: grows the scratch buffer to at least `bytes`; NULL when out of memory. */
void *cadre__runner_scratch(cadre__runner *runner, size_t bytes);

#endif
