/* A job: what crosses from the loop to a worker and back. The host's record of it is the cadre_request.
 *
 * While a worker has it, the worker writes everything but the fields marked "loop". The loop writes `cancelled` (release; the worker's relaxed loads see it
 * soon, and nothing else depends on it) and counts `pieces` down as the consumer takes them; the worker counts them up. Job and payload are freed on the loop
 * after the worker has sent them back, or by an abandoned thread itself when the pool is gone. */
#ifndef CADRE__JOB_H
#define CADRE__JOB_H

#include "core/heap.h"
#include "core/port.h"
#include "pool/executor.h"

struct cadre__runner;
struct cadre__worker;
struct cadre__model;

typedef enum cadre__job_state { CADRE__JOB_NEW, CADRE__JOB_BEGUN, CADRE__JOB_DONE } cadre__job_state;

/* A worker claims a job before it reads its payload; the loop takes back from a worker that hangs what is not claimed. Both by compare-and-swap, acq_rel: who
 * wins has the payload, and sees what the other wrote before. */
typedef enum cadre__claim { CADRE__CLAIM_NONE, CADRE__CLAIM_WORKER, CADRE__CLAIM_LOOP } cadre__claim;

struct cadre_op {
    cadre__message message;       /* first: to the worker, then back */
    cadre_request *request;       /* loop; NULL once the host was answered */
    struct cadre__runner *runner; /* the worker that has it; NULL before dispatch */
    struct cadre_op *batch;       /* the next job of the same batch */
    atomic_bool cancelled;
    atomic_uchar claim; /* who has it: cadre__claim; of a batch, its first job's */
    bool lent;          /* loop: its inputs are the host's: a cadre__lent stands at the end of the block */
    atomic_uint pieces; /* of text, sent and not consumed */
    uint32_t window;    /* at most so many */
    int32_t status;
    uint8_t head;          /* loop: counts as one of the worker's running jobs */
    uint8_t streams;       /* has an on_text */
    uint8_t accepts_steps; /* has an on_step */
    uint8_t state;
    uint32_t operations; /* calls and steps since the last report */
    char *detail;        /* CADRE__DETAIL_SIZE bytes, or NULL */
    size_t bytes;        /* of the block: the job, and behind it the capability's payload */
    const struct cadre__kind *kind;
};
typedef struct cadre_op cadre__job;

/* Whose inputs are lent, and how they go back; `release` NULL: they are not the library's yet, or no longer. */
typedef struct cadre__lent {
    void (*release)(void *data);
    void *data;
} cadre__lent;

/* A piece of text on its way to the loop. */
typedef struct cadre__piece {
    cadre__message message; /* first */
    cadre__job *job;
    size_t length;
    char text[]; /* NUL-terminated */
} cadre__piece;

void cadre__piece_free(const cadre_allocator *allocator, cadre__piece *piece);

/* What differs between capabilities. */
typedef struct cadre__kind {
    cadre_capability capability;
    bool batches;
    /* worker: runs a job and those batched with it, to the end; sets each status. Not for slots. */
    void (*run)(struct cadre__runner *runner, cadre__job *job);
    /* loop: tells the host. job is NULL when status < 0. */
    void (*finish)(cadre_request *request, cadre__job *job, int status);
    /* loop, or an abandoned thread: frees what the payload owns. */
    void (*dispose)(cadre__heap *heap, cadre__job *job);
    /* loop: points what lies in `from` at its copy in `to`, a copy of the block, and takes what the payload owns along; `from` owns nothing then. */
    void (*moved)(cadre__job *from, cadre__job *to);
    /* loop: its pictures; NULL: it has none. */
    struct cadre__images *(*images)(const cadre__job *job);
    /* loop, at dispatch: the entry's defaults stand in where the request left a field at its sentinel; may be NULL. */
    void (*adopt)(cadre__job *job, const cadre_request_defaults *defaults);
    /* loop, at dispatch: takes what the result needs, if it can; may be NULL. */
    void (*equip)(cadre__heap *heap, cadre__job *job, const struct cadre__model *model);
    /* loop, batches only: rows of the op's output, and whether b may go with a. */
    size_t (*rows)(const cadre__job *job);
    bool (*joins)(const cadre__job *a, const cadre__job *b);
} cadre__kind;

extern const cadre__kind cadre__kinds[CADRE_CAPABILITY_COUNT];

/* Loop: a job with room for a payload, which is zeroed up to `zeroed` bytes. NULL when out of memory. */
cadre__job *cadre__job_create(cadre__heap *heap, const cadre__kind *kind, size_t payload_bytes, size_t zeroed, bool lent);
void cadre__job_free(cadre__heap *heap, cadre__job *job);

static inline cadre__lent *cadre__job_lent(cadre__job *job)
{
    return job->lent ? (cadre__lent *)(void *)((char *)job + job->bytes - sizeof(cadre__lent)) : NULL;
}

static inline bool cadre__job_claim(cadre__job *job, cadre__claim claim)
{
    unsigned char none = CADRE__CLAIM_NONE;
    return atomic_compare_exchange_strong_explicit(&job->claim, &none, (unsigned char)claim, memory_order_acq_rel, memory_order_acquire);
}

/* A pointer into one job's block, as a pointer to the same place in its copy; others stay as they are. */
static inline const void *cadre__moved(const void *pointer, const cadre__job *from, const cadre__job *to)
{
    uintptr_t at = (uintptr_t)pointer, base = (uintptr_t)from;
    return at >= base && at < base + from->bytes ? (const char *)to + (at - base) : pointer;
}

static inline void *cadre__payload(const cadre__job *job)
{
    return (void *)(uintptr_t)(job + 1);
}

#endif
