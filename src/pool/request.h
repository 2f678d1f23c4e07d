/* Requests on the loop's side: admission, ends, pieces of text. Loop thread.
 *
 *     FETCHING ──its pictures came──▶ QUEUED ──dispatch──▶ RUNNING ──worker's answer──▶ (on_done, freed)
 *        │                               │                    │ │
 *        │ a picture that did not come   │ cancel, deadline   │ └─answer while paused with pieces held──▶ HOLDING ──resume──▶ (on_done, freed)
 *        └──────────────────┬────────────┴────────────────────┘
 *                           ▼
 *                        ENDING ──next delivery──▶ (on_done, freed)
 *
 * A request with pictures by URL begins in FETCHING, every other one in QUEUED. FETCHING counts as queued, so that the model is loaded meanwhile.
 *
 * An end that the worker has not answered detaches the job: it comes back later, is counted as abandoned until then, and is dropped. */
#ifndef CADRE__REQUEST_H
#define CADRE__REQUEST_H

#include "pool/job.h"
#include "pool/pool.h"

typedef enum cadre__request_state { CADRE__FETCHING, CADRE__QUEUED, CADRE__RUNNING, CADRE__HOLDING, CADRE__ENDING } cadre__request_state;

typedef union cadre__on_part {
    cadre_text_cb text;
    cadre_step_cb step;
} cadre__on_part;

typedef union cadre__on_done {
    cadre_generation_cb generation;
    cadre_embeddings_cb embeddings;
    cadre_image_cb image;
} cadre__on_done;

/* 128 bytes: a million may wait. */
struct cadre_request {
    cadre_request_id id;
    struct cadre__model *model;
    union {
        cadre__list link;    /* QUEUED: in its model's queue */
        cadre__message wake; /* before and later, deferred: starts to fetch its pictures, ends it, or hands out held pieces */
    };
    cadre__deadline deadline;
    uint64_t queued_at;
    cadre__job *job;
    void *data;
    cadre__on_part on_part;
    cadre__on_done on_done;
    cadre__node *held; /* pieces that wait for resume: the newest, in a ring */
    char *detail;
    int32_t status;
    uint32_t waited_us; /* from then to a worker */
    uint8_t state, priority;
    bool begun, paused, waking, probe; /* begun: a worker got it; probe: of a breaker that is half open */
};
_Static_assert(sizeof(void *) > 8 || sizeof(struct cadre_request) <= 128, "a request's record has grown");

/* What a capability hands in: a job whose payload is checked and made. */
typedef struct cadre__submission {
    cadre__job *job;                      /* NULL: it could not be made for want of memory */
    const cadre_request_options *options; /* checked */
    void *data;
    cadre__on_part on_part;
    cadre__on_done on_done;
} cadre__submission;

/* Notes that a worker has got it. */
void cadre__request_begun(cadre_request *request);

/* The first half of a request function: the options are sane, the key is served by this capability, the queue has room. Nothing is consumed. */
int cadre__request_admit(cadre_pool *pool, cadre_capability capability, const char *key, const cadre_request_options *options, struct cadre__model **model);
/* The second: queues it. Consumes the job; on failure too. */
int cadre__request_submit(cadre_pool *pool, struct cadre__model *model, const cadre__submission *submission, cadre_request_id *out);

/* From the worker: a piece of text; a job that came back. */
void cadre__deliver_piece(cadre_pool *pool, cadre__message *message);
void cadre__deliver_done(cadre_pool *pool, cadre__message *message);

/* Takes back what its worker, which hangs, has not begun: the request waits again. False: it has begun it, or memory is short. */
bool cadre__job_steal(cadre_request *request);

/* Its pictures are here: it is queued. */
void cadre__request_fetched(cadre_request *request);
/* Decides a request's end before its worker has answered; on_done follows from the pool's line. detail may be NULL. */
void cadre__request_end(cadre_request *request, int status, const char *detail);

#endif
