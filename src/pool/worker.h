/* Workers on the loop's side: spawn, load, attach, service, stop. Loop thread. The thread's side is pool/runner.h.
 *
 *     SPAWNING ─▶ LOADING ─▶ ATTACHING ─▶ READY ─▶ PROCESSING ⇄ IDLE ─▶ EVICTING ─▶ DEAD
 *         └──────────┴───────────┴─▶ FAILED ─▶ DEAD                 a thread that never returns: ABANDONED */
#ifndef CADRE__WORKER_H
#define CADRE__WORKER_H

#include "pool/loader.h"
#include "pool/model.h"
#include "pool/runner.h"

typedef cadre_future *(*cadre__load_call)(const void *loader, cadre_load_context *context);

/* A typed loader, as bytes, and how to call it. All five have the same members. */
typedef struct cadre__loader {
    size_t size;
    void (*load)(void);
    void *data;
    void (*release)(void *data);
} cadre__loader;

/* For whom a worker is spawned. */
typedef struct cadre__spawning {
    struct cadre__entry *entry; /* NULL: the host */
    bool cold;
    cadre__load_call call;
    cadre_worker_cb on_ready;
    void *data;
} cadre__spawning;

typedef struct cadre__worker {
    cadre_worker_id id;
    cadre_pool *pool;
    cadre__model *model;
    cadre_worker_state state;
    cadre__list link;      /* in pool->worker_list */
    cadre__list sibling;   /* in model->workers */
    cadre__list free_link; /* in model->free_workers */
    cadre__list publish_link;
    cadre__node *newest, *oldest;      /* jobs to publish */
    uint32_t running, capacity, ahead; /* jobs it has, may have, may have beyond that */
    uint32_t *counted;                 /* which of the model's counts it stands in */
    bool told, served, ended;          /* on_ready has run; it was ready; it was told to end */
    cadre_reservation *charge;
    cadre_spawn_options options;
    cadre_worker_cb on_ready;
    void *data;
    cadre__loader loader;
    cadre__load_call call;
    cadre_load_context *context; /* while loading */
    cadre_future *future;
    cadre__message starting;
    cadre__deadline stall;
    cadre__runner *runner; /* from attaching on */
    bool managed;          /* by the model's entry of the registry */
    bool cold;             /* its load read the weights too */
    bool hung;             /* set aside */
    bool planned;          /* scratch of a plan */
    bool exited;           /* its thread has ended, and is joined soon */
    bool detached;         /* its thread was let go of */
    uint64_t spawned_at, idle_since;
    uint64_t evicted_for;  /* the reservation that waits for its memory; 0: none */
    uint64_t hang_ns;      /* 0: never taken for hung */
    cadre__deadline watch; /* for signs of life, while it works */
    uint32_t threads;      /* fixed; 0: it asks */
    int status;            /* why it failed or died */
    char *detail;
} cadre__worker;

int cadre__spawn(cadre_pool *pool, cadre_capability capability, const char *key, const void *loader, cadre__load_call call, cadre_reservation *owned,
                 const cadre_spawn_options *options, cadre_worker_cb on_ready, void *data, cadre_worker_id *out);
/* The same for the host or an entry. */
int cadre__spawn_worker(cadre_pool *pool, cadre_capability capability, const char *key, const void *loader, const cadre__spawning *spawning,
                        cadre_reservation *owned, const cadre_spawn_options *options, cadre_worker_id *out);
/* Fills in the defaults for a capability, and checks. */
int cadre__spawn_options_check(cadre_pool *pool, cadre_capability capability, const cadre_spawn_options *theirs, cadre_spawn_options *options);
/* Its load moved on: a report to the host, and life for the stall timer. */
void cadre__worker_progress(cadre__worker *worker, const cadre_progress *progress);
/* Whether it may begin now: one with a fixed number of threads needs so many cores free, or nobody else of that sort at work. */
bool cadre__worker_has_cores(const cadre__worker *worker);
/* Hands a job to a worker; it is published at the end of the turn. */
void cadre__worker_give(cadre__worker *worker, cadre__job *job);
void cadre__worker_publish(cadre__worker *worker);
/* Whether somebody else may take what one worker could not begin. */
bool cadre__worker_others_serve(const cadre__model *model);
/* An operation said that the model is broken: no job goes there any more. */
void cadre__worker_broken(cadre__worker *worker, const char *detail);
/* What it turned out to take on a device. */
void cadre__worker_measured(cadre__worker *worker, uint32_t device, uint64_t bytes);
/* A job came back. */
void cadre__worker_taken(cadre__worker *worker, cadre__job *job);
/* Stops one in any state; status is what its callback hears if it is not ready yet. */
void cadre__worker_end(cadre__worker *worker, int status, const char *detail);
/* Part of the close: lets go of a thread that does not return. */
void cadre__worker_abandon(cadre__worker *worker);
void cadre__worker_forget(cadre__worker *worker);

#endif
