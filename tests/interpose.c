/* Preloaded into the suites: sees every blocking call that the loop thread enters, and how often that thread gives the processor up outside the poll.
 *
 * A thread is guarded between interpose_enter() and interpose_leave() (tests/support.c calls them: from the pool's creation to the fixture's end, except while
 * a test joins a thread of its own). What is recorded is thread-local or atomic; nothing here takes a lock. The poll (epoll_wait, epoll_pwait) is where the
 * loop may wait. */
#include <dlfcn.h>
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

static _Thread_local int guarded, running, joins_allowed;
static _Thread_local long switches_at_entry, switches_in_poll;
static atomic_int faults;
static atomic_long polls, switches_outside;

void interpose_enter(void);
void interpose_leave(void);
int interpose_take_faults(void);
long interpose_polls(void);
long interpose_switches_outside(void);
void interpose_allow_join(void);
void interpose_reset(void);

static long voluntary_switches(void)
{
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nvcsw;
}

void interpose_enter(void)
{
    if (guarded++ == 0) {
        switches_in_poll = 0;
        switches_at_entry = voluntary_switches();
    }
}

void interpose_leave(void)
{
    if (guarded && --guarded == 0) atomic_fetch_add(&switches_outside, voluntary_switches() - switches_at_entry - switches_in_poll);
}

/* The one wait that the loop may do: joining the reaper of a pool that closes, after its last message. */
void interpose_allow_join(void)
{
    joins_allowed++;
}
/* After a test that failed in the middle. */
void interpose_reset(void)
{
    guarded = joins_allowed = 0;
    atomic_store(&faults, 0);
}
int interpose_take_faults(void)
{
    return atomic_exchange(&faults, 0);
}
long interpose_polls(void)
{
    return atomic_load(&polls);
}
/* Of the guarded times that have ended. */
long interpose_switches_outside(void)
{
    return atomic_exchange(&switches_outside, 0);
}

static void seen(const char *name)
{
    char text[96];
    if (!guarded) return;
    atomic_fetch_add(&faults, 1);
    int n = snprintf(text, sizeof text, "interposer: the loop thread calls %s\n", name);
    (void)!write(STDERR_FILENO, text, (size_t)n);
}

static void *next(const char *name)
{
    void *symbol = dlsym(RTLD_NEXT, name);
    if (!symbol) {
        (void)!write(STDERR_FILENO, name, strlen(name));
        _exit(98);
    }
    return symbol;
}

/* A forwarder of `name`; the real function is looked up once a thread. */
#define FORWARD(TYPE, NAME, PARAMETERS, ARGUMENTS)                                                                                                             \
    TYPE NAME PARAMETERS                                                                                                                                       \
    {                                                                                                                                                          \
        static _Thread_local TYPE(*real) PARAMETERS;                                                                                                           \
        if (!real) *(void **)&real = next(#NAME);                                                                                                              \
        seen(#NAME);                                                                                                                                           \
        return real ARGUMENTS;                                                                                                                                 \
    }

FORWARD(int, pthread_cond_wait, (pthread_cond_t * c, pthread_mutex_t *m), (c, m))
FORWARD(int, pthread_cond_timedwait, (pthread_cond_t *restrict c, pthread_mutex_t *restrict m, const struct timespec *restrict t), (c, m, t))
FORWARD(int, pthread_cond_clockwait, (pthread_cond_t * c, pthread_mutex_t *m, clockid_t k, const struct timespec *t), (c, m, k, t))
FORWARD(int, pthread_timedjoin_np, (pthread_t thread, void **result, const struct timespec *t), (thread, result, t))
FORWARD(int, pthread_barrier_wait, (pthread_barrier_t * b), (b))
FORWARD(int, sem_wait, (sem_t * s), (s))
FORWARD(int, sem_timedwait, (sem_t *restrict s, const struct timespec *restrict t), (s, t))
FORWARD(int, nanosleep, (const struct timespec *t, struct timespec *left), (t, left))
FORWARD(int, clock_nanosleep, (clockid_t k, int flags, const struct timespec *t, struct timespec *left), (k, flags, t, left))
FORWARD(int, usleep, (useconds_t t), (t))
FORWARD(unsigned, sleep, (unsigned t), (t))
/* Without a time to wait it only asks, as libcurl does. */
int poll(struct pollfd *fds, nfds_t n, int ms)
{
    static _Thread_local int (*real)(struct pollfd *, nfds_t, int);
    if (!real) *(void **)&real = next("poll");
    if (ms != 0) seen("poll");
    return real(fds, n, ms);
}
FORWARD(int, ppoll, (struct pollfd * fds, nfds_t n, const struct timespec *t, const sigset_t *s), (fds, n, t, s))
FORWARD(int, select, (int n, fd_set *restrict r, fd_set *restrict w, fd_set *restrict e, struct timeval *restrict t), (n, r, w, e, t))
FORWARD(int, cnd_wait, (cnd_t * c, mtx_t *m), (c, m))
FORWARD(int, cnd_timedwait, (cnd_t *restrict c, mtx_t *restrict m, const struct timespec *restrict t), (c, m, t))
FORWARD(int, thrd_join, (thrd_t thread, int *result), (thread, result))
FORWARD(int, uv_queue_work, (uv_loop_t * loop, uv_work_t *work, uv_work_cb a, uv_after_work_cb b), (loop, work, a, b))

int pthread_join(pthread_t thread, void **result)
{
    static _Thread_local int (*real)(pthread_t, void **);
    if (!real) *(void **)&real = next("pthread_join");
    if (guarded && joins_allowed > 0)
        joins_allowed--;
    else
        seen("pthread_join");
    return real(thread, result);
}

/* Waiting on a futex by hand. The arguments of any system call fit six longs. */
long syscall(long number, ...)
{
    static _Thread_local long (*real)(long, ...);
    long a[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
    va_end(list);
    if (!real) *(void **)&real = next("syscall");
    if (number == SYS_futex) {
        long operation = a[1] & FUTEX_CMD_MASK;
        if (operation == FUTEX_WAIT || operation == FUTEX_WAIT_BITSET || operation == FUTEX_LOCK_PI || operation == FUTEX_WAIT_REQUEUE_PI) seen("futex wait");
    }
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* A loop inside a loop waits. */
int uv_run(uv_loop_t *loop, uv_run_mode mode)
{
    static _Thread_local int (*real)(uv_loop_t *, uv_run_mode);
    if (!real) *(void **)&real = next("uv_run");
    if (running) seen("uv_run inside uv_run");
    running++;
    int rc = real(loop, mode);
    running--;
    return rc;
}

/* ---- the poll ---- */

static long before_poll(void)
{
    atomic_fetch_add(&polls, guarded > 0);
    return guarded ? voluntary_switches() : 0;
}

static void after_poll(long before)
{
    int error = errno;
    if (guarded) switches_in_poll += voluntary_switches() - before;
    errno = error;
}

int epoll_wait(int fd, struct epoll_event *events, int count, int ms)
{
    static _Thread_local int (*real)(int, struct epoll_event *, int, int);
    if (!real) *(void **)&real = next("epoll_wait");
    long before = before_poll();
    int rc = real(fd, events, count, ms);
    after_poll(before);
    return rc;
}

int epoll_pwait(int fd, struct epoll_event *events, int count, int ms, const sigset_t *signals)
{
    static _Thread_local int (*real)(int, struct epoll_event *, int, int, const sigset_t *);
    if (!real) *(void **)&real = next("epoll_pwait");
    long before = before_poll();
    int rc = real(fd, events, count, ms, signals);
    after_poll(before);
    return rc;
}
