/* Two threads for what blocks on the disk.
 *
 * The loop appends chores, a thread takes the oldest, runs it and appends it to what is done; both lists lie under one lock, which is held for a few
 * instructions only. The async handle brings what is done back to the loop; it holds the loop while chores are under way, or threads are waited for at the end.
 * Threads are made when chores come and none sleeps, and end after a while without work, or at the close. A thread's last message says so, and then it touches
 * nothing any more: the loop joins it at once. A chore belongs to the thread that runs it, and otherwise to the loop; the lock orders the two. */
#include "fetch.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NICENESS 10
#define IDLE_MS 5000

static void push_done(cadre__disk *disk, cadre__chore *chore)
{
    chore->next = NULL;
    *disk->done_last = chore;
    disk->done_last = &chore->next;
}

/* With the lock. False: nothing came for as long as a thread stays. */
static bool wait_for_work(cadre__disk *disk)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(disk->idle_ms / 1000);
    until.tv_nsec += (long)(disk->idle_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
    disk->sleeping++;
    int rc = 0;
    while (!disk->first && !disk->ending && rc != ETIMEDOUT) rc = pthread_cond_timedwait(&disk->wake, &disk->lock, &until);
    disk->sleeping--;
    return disk->first != NULL;
}

static void *work(void *data)
{
    cadre__disk_thread *thread = data;
    cadre__disk *disk = thread->disk;
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICENESS);
    pthread_mutex_lock(&disk->lock);
    while (disk->first || wait_for_work(disk)) {
        cadre__chore *chore = disk->first;
        disk->first = chore->next;
        if (!disk->first) disk->last = &disk->first;
        pthread_mutex_unlock(&disk->lock);
        chore->run(chore);
        pthread_mutex_lock(&disk->lock);
        push_done(disk, chore);
        uv_async_send(&disk->async);
    }
    thread->state = CADRE__THREAD_ENDED;
    uv_async_send(&disk->async);
    pthread_mutex_unlock(&disk->lock);
    return NULL;
}

/* Loop, with the lock. */
static bool start_thread(cadre__disk *disk, cadre__disk_thread *thread)
{
    sigset_t all, before;
    sigfillset(&all); /* the host's signals are its own threads' */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread->disk = disk;
    int rc = pthread_create(&thread->thread, NULL, work, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0) thread->state = CADRE__THREAD_RUNS;
    return rc == 0;
}

/* Loop, with the lock: so a thread whose last word was said has let go of it. The number of threads that live. */
static unsigned join_ended(cadre__disk *disk)
{
    unsigned alive = 0;
    for (size_t i = 0; i < CADRE__DISK_THREADS; i++) {
        cadre__disk_thread *thread = &disk->threads[i];
        alive += thread->state == CADRE__THREAD_RUNS;
        if (thread->state != CADRE__THREAD_ENDED) continue;
        pthread_join(thread->thread, NULL);
        thread->state = CADRE__THREAD_NONE;
    }
    return alive;
}

static void on_closed(uv_handle_t *handle)
{
    cadre__disk *disk = handle->data;
    pthread_cond_destroy(&disk->wake);
    pthread_mutex_destroy(&disk->lock);
    disk->closed(disk->data);
}

static void deliver(cadre__disk *disk)
{
    pthread_mutex_lock(&disk->lock);
    cadre__chore *chore = disk->done_first;
    disk->done_first = NULL;
    disk->done_last = &disk->done_first;
    pthread_mutex_unlock(&disk->lock);
    while (chore) {
        cadre__chore *next = chore->next;
        disk->under_way--;
        chore->done(chore);
        chore = next;
    }
}

static void on_async(uv_async_t *async)
{
    cadre__disk *disk = async->data;
    deliver(disk);
    pthread_mutex_lock(&disk->lock);
    unsigned alive = join_ended(disk);
    pthread_mutex_unlock(&disk->lock);
    if (uv_is_closing((uv_handle_t *)async)) return;
    if (disk->ending && !alive && !disk->under_way)
        uv_close((uv_handle_t *)async, on_closed);
    else if (!disk->under_way && !disk->ending)
        uv_unref((uv_handle_t *)async);
}

int cadre__disk_init(cadre__disk *disk, uv_loop_t *loop)
{
    pthread_condattr_t attributes;
    *disk = (cadre__disk){.idle_ms = IDLE_MS};
    disk->last = &disk->first;
    disk->done_last = &disk->done_first;
    if (pthread_mutex_init(&disk->lock, NULL) != 0) return CADRE_ENOMEM;
    int rc = pthread_condattr_init(&attributes) != 0 ? CADRE_ENOMEM : CADRE_OK;
    if (rc == CADRE_OK) {
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        if (pthread_cond_init(&disk->wake, &attributes) != 0) rc = CADRE_ENOMEM;
        pthread_condattr_destroy(&attributes);
        if (rc == CADRE_OK && (rc = uv_async_init(loop, &disk->async, on_async)) < 0) pthread_cond_destroy(&disk->wake);
    }
    if (rc < 0) {
        pthread_mutex_destroy(&disk->lock);
        return rc;
    }
    disk->async.data = disk;
    uv_unref((uv_handle_t *)&disk->async);
    return CADRE_OK;
}

void cadre__disk_post(cadre__disk *disk, cadre__chore *chore)
{
    chore->next = NULL;
    chore->status = CADRE_OK;
    if (disk->under_way++ == 0) uv_ref((uv_handle_t *)&disk->async);
    pthread_mutex_lock(&disk->lock);
    unsigned alive = join_ended(disk);
    *disk->last = chore;
    disk->last = &chore->next;
    if (!disk->sleeping || alive == 0) {
        for (size_t i = 0; i < CADRE__DISK_THREADS; i++)
            if (disk->threads[i].state == CADRE__THREAD_NONE) {
                alive += start_thread(disk, &disk->threads[i]);
                break;
            }
    } else {
        pthread_cond_signal(&disk->wake);
    }
    if (alive == 0) { /* nobody will ever run it */
        disk->first = NULL;
        disk->last = &disk->first;
        chore->status = CADRE_ETHREAD;
        push_done(disk, chore);
        uv_async_send(&disk->async);
    }
    pthread_mutex_unlock(&disk->lock);
}

void cadre__disk_close(cadre__disk *disk, void (*closed)(void *data), void *data)
{
    disk->closed = closed;
    disk->data = data;
    pthread_mutex_lock(&disk->lock);
    disk->ending = true;
    pthread_cond_broadcast(&disk->wake);
    pthread_mutex_unlock(&disk->lock);
    uv_ref((uv_handle_t *)&disk->async);
    uv_async_send(&disk->async);
}
