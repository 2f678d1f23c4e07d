/* The reaper: one thread that destroys what must not be destroyed on the loop, and joins threads that have ended. Loop thread. */
#ifndef CADRE__REAPER_H
#define CADRE__REAPER_H

#include "pool/task.h"

int cadre__reaper_start(cadre_pool *pool);
/* Hands a task over; task->message.deliver runs when it is done and must count pool->reaping down. */
void cadre__reap(cadre_pool *pool, cadre__task *task);

/* The turn of a thread that runs tasks one after the other: the reaper's and the loaders'. */
struct cadre__thread;
struct cadre__task_thread *cadre__task_thread_create(cadre_pool *pool, const char *name, int niceness, cadre__inbox *home,
                                                     void (*exited)(cadre_pool *pool, cadre__message *message));

#endif
