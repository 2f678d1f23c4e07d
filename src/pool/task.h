/* A piece of work that may block, done by a loader thread or the reaper, and handed back to the loop by a message. */
#ifndef CADRE__TASK_H
#define CADRE__TASK_H

#include "core/port.h"

typedef struct cadre__task {
    cadre__message message;                                                                    /* first; deliver runs on the loop when the work is done */
    void (*run)(struct cadre__task *task);                                                     /* the thread */
    void (*orphan)(struct cadre__task *task);                                                  /* the thread: the pool was gone when the work was done */
    void (*refuse)(cadre_pool *pool, struct cadre__task *task, int error, const char *detail); /* loop: no thread will run it */
    void *context;                                                                             /* the owner's */
    cadre__list link;                                                                          /* loop: in the queue of those that wait for a thread */
} cadre__task;

#endif
