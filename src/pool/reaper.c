/* Task threads: the turn that the loaders and the reaper share, and the reaper itself.
 *
 * The loop posts tasks; the thread runs one, sends it back, and looks at the next. A task that comes back to a pool that is gone is orphaned on the thread, and
 * so are those behind it. */
#include "pool/reaper.h"

#include "pool/pool.h"

static void run_task(cadre__task_thread *self, cadre__task *task)
{
    task->run(task);
    if (!cadre__port_send_to(self->thread.port, self->thread.home, &task->message.node, &task->message.node)) task->orphan(task);
}

static cadre__turn task_turn(cadre__thread *thread, cadre__node *work)
{
    cadre__task_thread *self = CADRE__CONTAINER(thread, cadre__task_thread, thread);
    cadre__node **end = &self->tasks;
    while (*end) end = &(*end)->next;
    *end = work;
    if (!self->tasks) return CADRE__TURN_WAIT;
    cadre__node *node = self->tasks;
    self->tasks = node->next;
    if (node == &thread->stop.node) {
        if (!self->tasks) return CADRE__TURN_EXIT;
        for (end = &self->tasks; *end;) end = &(*end)->next; /* what came behind it is done first */
        node->next = NULL;
        *end = node;
        return CADRE__TURN_AGAIN;
    }
    run_task(self, CADRE__CONTAINER(node, cadre__task, message.node));
    return self->tasks ? CADRE__TURN_AGAIN : CADRE__TURN_WAIT;
}

static void dispose(cadre__thread *thread)
{
    cadre__task_thread *self = CADRE__CONTAINER(thread, cadre__task_thread, thread);
    cadre_port *port = thread->port;
    /* An abandoned thread, to which tasks came while it ended. */
    for (cadre__node *node = cadre__inbox_take(&thread->inbox), *next; node; node = next) {
        next = node->next;
        if (node == &thread->stop.node) continue;
        cadre__task *task = CADRE__CONTAINER(node, cadre__task, message.node);
        task->run(task);
        task->orphan(task);
    }
    cadre__free(&port->allocator, self, sizeof *self);
    cadre_port_release(port);
}

cadre__task_thread *cadre__task_thread_create(cadre_pool *pool, const char *name, int niceness, cadre__inbox *home,
                                              void (*exited)(cadre_pool *pool, cadre__message *message))
{
    cadre__task_thread *self = cadre__alloc(cadre__pool_allocator(pool), sizeof *self);
    if (!self) return NULL;
    self->thread.port = cadre_port_retain(pool->port);
    self->thread.executor = pool->executor;
    self->thread.home = home;
    self->thread.name = name;
    self->thread.turn = task_turn;
    self->thread.dispose = dispose;
    self->thread.niceness = niceness;
    self->thread.exited.deliver = exited;
    if (pool->executor->thread_start(&self->thread) == CADRE_OK) return self;
    dispose(&self->thread);
    return NULL;
}

static void reaper_exited(cadre_pool *pool, cadre__message *message)
{
    cadre__thread *thread = CADRE__CONTAINER(message, cadre__thread, exited);
    pool->executor->thread_join(thread);
    cadre__node *late = cadre__inbox_take(&thread->inbox); /* what came while it ended */
    if (pool->reaper && thread == &pool->reaper->thread) pool->reaper = NULL;
    if (late && pool->closing == CADRE__REAPING) cadre__reaper_start(pool); /* the close tells it to end when that is done */
    while (late) {
        cadre__task *task = CADRE__CONTAINER(late, cadre__task, message.node);
        late = late->next;
        pool->reaping--;
        cadre__reap(pool, task);
    }
    thread->dispose(thread);
}

int cadre__reaper_start(cadre_pool *pool)
{
    pool->reaper = cadre__task_thread_create(pool, "cadre-reaper", 0, &pool->port->reaped, reaper_exited);
    return pool->reaper ? CADRE_OK : CADRE_ETHREAD;
}

void cadre__reap(cadre_pool *pool, cadre__task *task)
{
    pool->reaping++;
    if (!pool->reaper) { /* it was abandoned, and the pool is at its very end */
        task->run(task);
        task->message.deliver(pool, &task->message);
        return;
    }
    cadre__pool_touch(pool); /* the loop lives until it comes back */
    cadre__thread_post(&pool->reaper->thread, &task->message.node);
}
