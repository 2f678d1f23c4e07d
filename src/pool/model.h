/* A model is a key: its queue, its workers, and the dispatch from one to the other. It exists while it has a worker or a request. Loop thread. */
#ifndef CADRE__MODEL_H
#define CADRE__MODEL_H

#include "pool/job.h"
#include "pool/pool.h"
#include "pool/request.h"

typedef struct cadre__model {
    char *key;
    uint64_t hash;
    struct cadre__model *next; /* in its bucket */
    const cadre__kind *kind;
    cadre_pool *pool;
    cadre__list queues[CADRE_PRIORITY_COUNT];
    uint32_t waiting;                                      /* bit i: queues[i] is not empty */
    uint64_t queued, running, abandoned, ending, capacity; /* queued: with those whose pictures are fetched; ending: answered, on_done on the way */
    uint64_t fetching;                                     /* of the queued: in no queue yet */
    uint32_t loading, ready, leaving;                      /* workers before, in and after service */
    cadre__list workers;                                   /* all that are not freed */
    cadre__list free_workers;                              /* ready, with room */
    cadre__list dirty;
    uint32_t stream_window;
    uint64_t window_ns; /* how long a batch may wait */
    uint64_t last_arrival, mean_gap;
    cadre__deadline window;
    bool window_over;     /* the wait is over: dispatch what there is */
    size_t window_rows;   /* how much there was when it began */
    uint32_t window_skip; /* a wait that brought nothing is not repeated for so many batches */
    uint32_t dimension, context_length, slots;
    uint64_t operations;
    struct cadre__entry *entry; /* of the registry; NULL: its workers were spawned by the host */
    bool unknown;               /* requests wait for an addition to name this key */
    bool detached;              /* no longer found by its key */
    bool next_probe;            /* the request that is being admitted is one of the breaker's */
    uint64_t turn_end;          /* what came after this waits for the model's next turn; 0: it has no end */
    bool behind;                /* more waits than its workers take, and its entry was told */
    cadre__list starved;        /* waits for cores */
    cadre__model_stats stats;
} cadre__model;

cadre__model *cadre__model_find(const cadre_pool *pool, const char *key);
/* Finds or makes; NULL when out of memory. */
cadre__model *cadre__model_get(cadre_pool *pool, const char *key, cadre_capability capability);
/* Frees it if nothing holds it. */
void cadre__model_settle(cadre__model *model);
/* Part of the close: frees those that jobs of abandoned threads still held. */
void cadre__models_free(cadre_pool *pool);

/* Whether requests may wait for an addition to name its key. */
void cadre__model_known(cadre__model *model);
void cadre__model_wait_to_be_known(cadre__model *model);
/* For the registry: finds or makes it; one of another capability, for which requests wait in vain, ends. NULL: out of memory. */
cadre__model *cadre__model_adopt(cadre_pool *pool, const char *key, cadre_capability capability);
/* No addition is under way any more: who waits for a key that is still unknown hears it. */
void cadre__models_forget_unknown(cadre_pool *pool, int status, const char *detail);
void cadre__model_set_options(cadre__model *model, const cadre_spawn_options *options);
/* Whether a request waits that came before the end of the model's turn. */
bool cadre__model_has_turn(const cadre__model *model);
void cadre__model_set_turn(cadre__model *model, uint64_t end);
/* Puts back a job that its worker had not begun, at its old place. */
void cadre__model_requeue(cadre_request *request);

void cadre__model_enqueue(cadre__model *model, cadre_request *request);
void cadre__model_unqueue(cadre_request *request);
/* One whose pictures must be fetched first waits as well, but in no queue; when they are here, it takes the place of its arrival. */
void cadre__model_fetch(cadre_request *request);
void cadre__model_fetched(cadre_request *request);
void cadre__model_unfetch(cadre_request *request);
/* Ends all that waits: no worker is left that can serve it. */
void cadre__model_fail_waiting(cadre__model *model, int status, const char *detail);
/* Has the turn look at it. */
void cadre__model_touch(cadre__model *model);
/* Part of the turn. */
void cadre__models_dispatch(cadre_pool *pool);

#endif
