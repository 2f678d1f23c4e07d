/* Loads: contexts, loader threads, and the helpers that make a future of a blocking or shared load. Loop thread, but for what cadre/worker.h says of contexts.
 */
#ifndef CADRE__LOADER_H
#define CADRE__LOADER_H

#include "core/future.h"
#include "pool/task.h"

/* One load. Counted: the worker until its load is over, a task that runs on a loader thread, a progress message. The last one runs the loader's release. */
struct cadre_load_context {
    atomic_uint refs;
    cadre_port *port; /* counted */
    cadre_worker_id worker;
    char *key;
    struct cadre__entry *weights_of; /* loop: of the registry, whose shared weights these are */
    atomic_bool cancelled;
    void *data;
    void (*release)(void *data);
    bool may_block;         /* written before its function is called, by the thread that calls it */
    cadre_promise *promise; /* of a load of weights: takes the progress; alive while the load's function runs */
    cadre__meter meter;
    void (*on_progress)(cadre_pool *pool, cadre_load_context *context, const cadre_progress *progress); /* loop; NULL once nobody listens */
    void *owner;                                                                                        /* loop; whose progress it is */
    char detail[CADRE__DETAIL_SIZE]; /* written by whoever runs the load, read once it is over */
};

cadre_load_context *cadre__load_create(cadre_pool *pool, const char *key, void *data, void (*release)(void *data));
cadre_load_context *cadre__load_ref(cadre_load_context *context);
void cadre__load_unref(cadre_load_context *context);

/* Makes a typed value: what stands behind the five make callbacks and the weights' load callback. */
typedef void (*cadre__make_fn)(void);
typedef int (*cadre__make_call)(cadre__make_fn function, cadre_load_context *context, cadre_weights *source, void *data, void *value);

cadre_future *cadre__load_blocking(cadre_load_context *context, cadre_value_type type, cadre_future *source, cadre__make_call call, cadre__make_fn function,
                                   void *data);
cadre_future *cadre__load_shared(cadre_load_context *context, cadre_value_type type, cadre_future *source, cadre__make_call call, cadre__make_fn function,
                                 void *data);

/* Loop: has a task done by the checks thread, which looks at manifests and files' headers and never waits behind a load. */
void cadre__check_run(cadre_pool *pool, cadre__task *task);
/* Loop: a task came back from a loader or the checks thread; the thread is free. */
void cadre__loader_done(cadre_pool *pool, const cadre__task *task);
/* Gives waiting tasks to threads that are free, making threads as needed. */
void cadre__loaders_feed(cadre_pool *pool);
/* pool->abandon: replaces loaders whose load was given up and has not returned. */
void cadre__loaders_give_up(cadre_pool *pool, cadre__deadline *deadline);
/* Part of the close: tells the idle ones to end; true when none is left. */
bool cadre__loaders_stop(cadre_pool *pool);
/* Part of the close: lets go of those that do not return; how many. */
uint32_t cadre__loaders_abandon(cadre_pool *pool);

#endif
