/* The thread of a worker. Its turn: take what came, attach first if it has not, begin jobs, do one portion of work, send back what is done.
 *
 * Everything here but start and dispose runs on the worker's thread. It shares with the loop only what job.h, inbox.h and port.h name. When a send finds the
 * pool gone (the thread was abandoned), the thread frees its jobs and its model itself and ends. */
#include "pool/runner.h"

#include "capability/generation.h"
#include "pool/pool.h"
#include "pool/request.h"
#include "pool/worker.h"

#include <stdarg.h>
#include <stdio.h>

#define FLUSH_NS UINT64_C(20000) /* finished jobs wait at most about this long for others to go back with */
#define BRISK_NS UINT64_C(20000)

/* ---- start and dispose ---- */

static void dispose(cadre__thread *thread)
{
    cadre__runner *runner = CADRE__CONTAINER(thread, cadre__runner, thread);
    cadre_port *port = runner->port;
    const cadre_allocator *allocator = &port->allocator;
    cadre__box_free(runner->box);
    cadre__free(allocator, runner->slots, runner->slot_count * sizeof *runner->slots);
    cadre__free(allocator, runner->steps, runner->slot_count * sizeof *runner->steps);
    cadre__free(allocator, runner->scratch, runner->scratch_bytes);
    cadre__free(allocator, runner, sizeof *runner);
    cadre_port_release(port);
}

static const cadre_generation_ops *slot_ops(const cadre__runner *runner)
{
    if (!cadre__is_generation(runner->kind)) return NULL;
    const cadre_generation_ops *ops = runner->box->value.generation.ops;
    return ops->begin ? ops : NULL;
}

static cadre__turn runner_turn(cadre__thread *thread, cadre__node *work);

int cadre__runner_start(cadre_pool *pool, struct cadre__worker *worker, const cadre__kind *kind, cadre__box *box,
                        void (*attached)(cadre_pool *pool, cadre__message *message), void (*exited)(cadre_pool *pool, cadre__message *message),
                        cadre__runner **out)
{
    const cadre_allocator *allocator = cadre__pool_allocator(pool);
    cadre__runner *runner = cadre__alloc(allocator, sizeof *runner);
    if (!runner) return CADRE_ENOMEM;
    runner->port = cadre_port_retain(pool->port);
    runner->kind = kind;
    runner->box = box;
    runner->worker = worker;
    runner->decoder = pool->decoder;
    runner->attached.deliver = attached;
    runner->attach_op.runner = runner;
    runner->todo_last = &runner->todo;
    runner->thread = (cadre__thread){
        .port = pool->port, .home = &pool->port->inbox, .executor = pool->executor, .name = "cadre-worker", .turn = runner_turn, .dispose = dispose};
    runner->thread.exited.deliver = exited;
    int rc = CADRE_OK;
    if (slot_ops(runner)) {
        runner->slot_count = box->value.generation.slots;
        runner->slots = cadre__alloc(allocator, runner->slot_count * sizeof *runner->slots);
        runner->steps = cadre__alloc(allocator, runner->slot_count * sizeof *runner->steps);
        if (!runner->slots || !runner->steps) rc = CADRE_ENOMEM;
    }
    if (rc == CADRE_OK) rc = pool->executor->thread_start(&runner->thread);
    if (rc == CADRE_OK) {
        *out = runner;
        return CADRE_OK;
    }
    runner->box = cadre__box_create(pool->port, box->type); /* dispose frees a box; the caller keeps its own */
    if (!runner->box) {
        cadre__free(allocator, runner->slots, runner->slot_count * sizeof *runner->slots);
        cadre__free(allocator, runner->steps, runner->slot_count * sizeof *runner->steps);
        cadre_port_release(runner->port);
        cadre__free(allocator, runner, sizeof *runner);
        return rc;
    }
    dispose(&runner->thread);
    return rc;
}

/* ---- what comes and what goes ---- */

static cadre__job *as_job(cadre__node *node)
{
    return CADRE__CONTAINER(node, cadre__job, message.node);
}

static void take(cadre__runner *runner, cadre__node *work)
{
    while (work) {
        cadre__node *next = work->next;
        if (work == &runner->thread.stop.node) {
            runner->stopping = true;
        } else {
            work->next = NULL;
            *runner->todo_last = work;
            runner->todo_last = &work->next;
        }
        work = next;
    }
}

static cadre__job *pop(cadre__runner *runner)
{
    cadre__node *node = runner->todo;
    if (!node) return NULL;
    runner->todo = node->next;
    if (!runner->todo) runner->todo_last = &runner->todo;
    return as_job(node);
}

static void push_front(cadre__runner *runner, cadre__job *job)
{
    job->message.node.next = runner->todo;
    if (!runner->todo) runner->todo_last = &job->message.node.next;
    runner->todo = &job->message.node;
}

static void free_chain(const cadre__runner *runner, cadre__node *node)
{
    cadre__heap heap = {.allocator = runner->port->allocator};
    while (node) {
        cadre__job *job = as_job(node);
        node = node->next;
        cadre__job_free(&heap, job);
    }
}

static void flush(cadre__runner *runner)
{
    if (!runner->done_newest) return;
    cadre__node *newest = runner->done_newest, *oldest = runner->done_oldest;
    runner->done_newest = runner->done_oldest = NULL;
    as_job(newest)->operations = runner->operations;
    runner->operations = 0;
    if (cadre__port_send_chain(runner->port, newest, oldest)) return;
    oldest->next = NULL;
    free_chain(runner, newest);
    runner->stopping = true;
}

void cadre__runner_complete(cadre__runner *runner, cadre__job *job, int status)
{
    job->status = status;
    if (job->state == CADRE__JOB_BEGUN) job->state = CADRE__JOB_DONE;
    if (status == CADRE_EWORKER && job->state == CADRE__JOB_DONE) runner->broken = true;
    if (!runner->done_oldest) runner->done_oldest = &job->message.node;
    job->message.node.next = runner->done_newest;
    runner->done_newest = &job->message.node;
}

static void complete_batch(cadre__runner *runner, cadre__job *job, int status)
{
    while (job) {
        cadre__job *next = job->batch;
        cadre__runner_complete(runner, job, status);
        job = next;
    }
}

/* Notes how long a job took (per slot), for the loop to see. */
static void note_time(cadre__runner *runner, uint64_t taken)
{
    uint64_t mean = atomic_load_explicit(&runner->nanoseconds, memory_order_relaxed);
    mean = mean == 0 || taken > mean * 4 ? taken : (mean * 7 + taken) / 8;
    if (mean == 0) mean = 1;
    atomic_store_explicit(&runner->nanoseconds, mean, memory_order_relaxed);
    atomic_store_explicit(&runner->thread.brisk, mean < BRISK_NS, memory_order_relaxed);
}

void *cadre__runner_scratch(cadre__runner *runner, size_t bytes)
{
    if (bytes <= runner->scratch_bytes) return runner->scratch;
    const cadre_allocator *allocator = &runner->port->allocator;
    float *scratch = cadre__alloc(allocator, bytes);
    if (!scratch) return NULL;
    cadre__free(allocator, runner->scratch, runner->scratch_bytes);
    runner->scratch = scratch;
    runner->scratch_bytes = bytes;
    return scratch;
}

static void set_busy(cadre__runner *runner, bool busy)
{
    if (runner->busy == busy) return;
    runner->busy = busy;
    if (busy)
        atomic_fetch_add_explicit(&runner->port->busy, 1, memory_order_relaxed);
    else
        atomic_fetch_sub_explicit(&runner->port->busy, 1, memory_order_relaxed);
}

/* ---- work ---- */

static void attach(cadre__runner *runner)
{
    runner->tried = true;
    int (*function)(void *, cadre_op *) = runner->box->value.generation.ops->attach; /* lies alike in all ops tables */
    runner->status = function ? function(runner->box->value.generation.self, &runner->attach_op) : CADRE_OK;
    runner->live = runner->status >= 0;
    if (!cadre__port_send(runner->port, &runner->attached)) runner->stopping = true;
}

static void give_up(cadre__runner *runner);

/* One job, or one batch, after the other, to the end. */
static void run_whole(cadre__runner *runner)
{
    cadre__job *job;
    uint64_t now = cadre__now(runner->port);
    runner->flushed = now;
    while ((job = pop(runner))) {
        if (!cadre__job_claim(job, CADRE__CLAIM_WORKER)) {
            complete_batch(runner, job, CADRE_EWORKER);
            continue;
        }
        if (!job->batch && cadre_op_cancelled(job)) {
            cadre__runner_complete(runner, job, CADRE_ECANCELED);
            continue;
        }
        for (cadre__job *each = job; each; each = each->batch) each->state = CADRE__JOB_BEGUN;
        atomic_store_explicit(&runner->beat, now, memory_order_relaxed);
        runner->kind->run(runner, job);
        uint64_t end = cadre__now(runner->port);
        if (runner->broken) {
            runner->live = false;
            give_up(runner);
            return;
        }
        note_time(runner, end - now);
        now = end;
        if (now - runner->flushed > FLUSH_NS) {
            flush(runner);
            runner->flushed = now;
        }
    }
}

static void end_slot(cadre__runner *runner, uint32_t index, int status)
{
    cadre__slot *slot = &runner->slots[index];
    cadre__job *job = slot->job;
    cadre_generation_output output = {.size = sizeof output};
    slot_ops(runner)->end(runner->box->value.generation.self, job, index, &output);
    slot->job = NULL;
    runner->active--;
    note_time(runner, (cadre__now(runner->port) - slot->begun) / runner->slot_count);
    cadre__generation_ended(job, &output);
    cadre__runner_complete(runner, job, status < 0 ? status : job->status < 0 ? job->status : CADRE_OK);
}

static void begin_slots(cadre__runner *runner)
{
    void *self = runner->box->value.generation.self;
    for (uint32_t i = 0; i < runner->slot_count && runner->todo && !runner->broken; i++) {
        if (runner->slots[i].job) continue;
        cadre__job *job = pop(runner);
        if (!cadre__job_claim(job, CADRE__CLAIM_WORKER)) {
            cadre__runner_complete(runner, job, CADRE_EWORKER);
            i--;
            continue;
        }
        atomic_store_explicit(&runner->beat, cadre__now(runner->port), memory_order_relaxed);
        int rc = cadre_op_cancelled(job) ? CADRE_ECANCELED : cadre__generation_prepare(runner, job);
        if (rc == CADRE_OK) rc = slot_ops(runner)->begin(self, job, i, cadre__generation_input(job));
        if (rc == CADRE_EAGAIN && runner->active > 0) {
            atomic_store_explicit(&job->claim, CADRE__CLAIM_NONE, memory_order_release);
            push_front(runner, job);
            return;
        }
        if (rc < 0) {
            job->state = CADRE__JOB_BEGUN;
            if (rc == CADRE_EAGAIN) rc = cadre_op_fail(job, CADRE_EENGINE, "the model has no room for the request although nothing else runs");
            cadre__runner_complete(runner, job, rc);
            i--;
            continue;
        }
        job->state = CADRE__JOB_BEGUN;
        runner->slots[i] = (cadre__slot){job, cadre__now(runner->port)};
        runner->active++;
    }
}

/* One step of all slots whose consumers keep up. False: all of them rest. */
static bool step_slots(cadre__runner *runner)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < runner->slot_count; i++) {
        cadre__job *job = runner->slots[i].job;
        if (!job) continue;
        if (cadre_op_cancelled(job))
            end_slot(runner, i, CADRE_ECANCELED);
        else if (atomic_load_explicit(&job->pieces, memory_order_seq_cst) < job->window)
            runner->steps[count++] = (cadre_slot_step){i, job, 0};
    }
    if (count == 0) return false;
    runner->operations++;
    atomic_store_explicit(&runner->beat, cadre__now(runner->port), memory_order_relaxed);
    int rc = slot_ops(runner)->step(runner->box->value.generation.self, runner->steps, count);
    for (uint32_t i = 0; i < count; i++) {
        int status = rc < 0 ? rc : runner->steps[i].status;
        if (status == 0 && runner->steps[i].op->status < 0) status = runner->steps[i].op->status; /* a piece could not be sent */
        if (status != 0) end_slot(runner, runner->steps[i].slot, status);
    }
    return true;
}

static void give_up(cadre__runner *runner)
{
    for (uint32_t i = 0; i < runner->slot_count; i++)
        if (runner->slots[i].job) end_slot(runner, i, CADRE_EWORKER);
    cadre__job *job;
    while ((job = pop(runner))) complete_batch(runner, job, CADRE_EWORKER);
    flush(runner);
}

static cadre__turn runner_turn(cadre__thread *thread, cadre__node *work)
{
    cadre__runner *runner = CADRE__CONTAINER(thread, cadre__runner, thread);
    take(runner, work);
    atomic_store_explicit(&runner->resting, false, memory_order_relaxed);
    set_busy(runner, true);
    if (!runner->tried) attach(runner);
    bool stepped = false;
    if (runner->broken) runner->live = false;
    if (!runner->live) {
        give_up(runner);
    } else if (slot_ops(runner)) {
        begin_slots(runner);
        uint32_t active = runner->active;
        stepped = runner->broken || step_slots(runner);
        if (runner->todo && runner->active < active) stepped = true; /* a slot came free without a step */
    } else {
        run_whole(runner);
    }
    flush(runner);
    if (stepped) return CADRE__TURN_AGAIN;
    if (!runner->stopping || runner->active || runner->todo) {
        set_busy(runner, false);
        atomic_store_explicit(&runner->resting, true, memory_order_relaxed);
        return CADRE__TURN_WAIT;
    }
    if (!cadre__inbox_empty(&thread->inbox)) return CADRE__TURN_AGAIN; /* the pool is gone, and jobs came before `stop` */
    cadre__box_clear(runner->box);
    set_busy(runner, false);
    return CADRE__TURN_EXIT;
}

/* ---- what an operation may call ---- */

int cadre_op_cancelled(const cadre_op *op)
{
    return atomic_load_explicit(&op->cancelled, memory_order_relaxed);
}

/* Until the consumer has taken a piece, or nobody wants the rest. */
static void wait_for_window(cadre_op *op)
{
    cadre__thread *thread = &op->runner->thread;
    while (!cadre_op_cancelled(op) && atomic_load_explicit(&op->pieces, memory_order_seq_cst) >= op->window) {
        atomic_store_explicit(&op->runner->resting, true, memory_order_relaxed);
        bool waited = thread->executor->thread_wait(thread);
        cadre_op_heartbeat(op);
        atomic_store_explicit(&op->runner->resting, false, memory_order_relaxed);
        if (!waited) return;
        atomic_store_explicit(&thread->nudge, false, memory_order_seq_cst);
    }
}

int cadre_op_emit(cadre_op *op, const char *text, size_t length)
{
    if (!op || !cadre__is_generation(op->kind) || (!text && length)) return CADRE_EINVAL;
    if (cadre_op_cancelled(op)) return CADRE_ECANCELED;
    cadre_op_heartbeat(op);
    if (length == 0) return CADRE_OK;
    int rc = cadre__generation_emitted(op, text, length);
    if (rc != CADRE_OK || !op->streams) return rc < 0 ? (op->status = rc) : rc;
    if (!slot_ops(op->runner)) wait_for_window(op);
    const cadre_allocator *allocator = &op->runner->port->allocator;
    size_t bytes;
    cadre__piece *piece = cadre__add(length, sizeof *piece + 1, &bytes) ? cadre__alloc(allocator, bytes) : NULL;
    if (!piece) return op->status = CADRE_ENOMEM;
    piece->message.deliver = cadre__deliver_piece;
    piece->job = op;
    piece->length = length;
    memcpy(piece->text, text, length);
    atomic_fetch_add_explicit(&op->pieces, 1, memory_order_seq_cst);
    if (cadre__port_send(op->runner->port, &piece->message)) return CADRE_OK;
    cadre__piece_free(allocator, piece);
    return CADRE_ECANCELED;
}

uint32_t cadre_op_threads(const cadre_op *op)
{
    const cadre_port *port = op->runner->port;
    uint32_t busy = atomic_load_explicit(&port->busy, memory_order_relaxed), cores = port->cores;
    uint32_t taken = atomic_load_explicit(&port->fixed_cores, memory_order_relaxed), by = atomic_load_explicit(&port->fixed_busy, memory_order_relaxed);
    taken += atomic_load_explicit(&port->loads, memory_order_relaxed); /* threads at a barrier must not wait for one that a load has driven off its core */
    cores = cores > taken ? cores - taken : 1;
    busy = busy > by ? busy - by : 1;
    uint32_t share = cores / busy;
    return share > 0 ? share : 1;
}

void cadre_op_heartbeat(cadre_op *op)
{
    atomic_store_explicit(&op->runner->beat, cadre__now(op->runner->port), memory_order_relaxed);
}

typedef struct measure {
    cadre__message message;
    cadre__runner *runner; /* lives until the loop has its last message, which comes later */
    uint32_t device;
    uint64_t bytes;
} measure;

static void deliver_measure(cadre_pool *pool, cadre__message *message)
{
    measure *m = CADRE__CONTAINER(message, measure, message);
    measure copy = *m;
    cadre__free(cadre__pool_allocator(pool), m, sizeof *m);
    if (copy.runner->worker) cadre__worker_measured(copy.runner->worker, copy.device, copy.bytes);
}

void cadre_op_measured(cadre_op *op, uint32_t device, uint64_t bytes)
{
    const cadre_allocator *allocator = &op->runner->port->allocator;
    measure *m = cadre__alloc(allocator, sizeof *m);
    if (!m) return; /* the estimate stands */
    *m = (measure){.message.deliver = deliver_measure, .runner = op->runner, .device = device, .bytes = bytes};
    if (!cadre__port_send(op->runner->port, &m->message)) cadre__free(allocator, m, sizeof *m);
}

int cadre_op_fail(cadre_op *op, int error, const char *format, ...)
{
    char *detail = op->detail;
    if (op == &op->runner->attach_op)
        detail = op->runner->attach_detail;
    else if (!detail)
        detail = op->detail = cadre__alloc(&op->runner->port->allocator, CADRE__DETAIL_SIZE);
    if (!detail) return error;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(detail, CADRE__DETAIL_SIZE, format, arguments);
    va_end(arguments);
    return error;
}
