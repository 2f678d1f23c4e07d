/* The executor on libuv and threads of the host.
 *
 * Loop's side. A turn runs in `prepare` and in `check`, so once before and once after each poll. In prepare, after the turn, the loop announces that it sleeps
 * (inbox.asleep) and looks at the inbox once more; a sender that finds it asleep writes to the eventfd, which the poll watches. Between prepare and check the
 * pool is `parked`: a call of the host then asks for a turn by an idle handle, which makes the poll return at once. All handles but the poll are unreferenced;
 * the poll is referenced while the pool has work.
 *
 * Threads' side. A thread takes its inbox, runs its turn function, and sleeps on its `asleep` word (a futex; elsewhere a semaphore). The same protocol:
 * announce, look again, wait.
 *
 * Spinning, bounded to 20 µs, before either side sleeps: only when operations take microseconds (`brisk`), and only when the other side last ran on another
 * CPU. */
#define _GNU_SOURCE
#include "memory/reserve.h"
#include "pool/executor.h"
#include "pool/pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/futex.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#else
#include <fcntl.h>
#include <sys/resource.h>
#endif

#define SPIN_NS UINT64_C(20000)

typedef struct uv_side {
    cadre_pool *pool;
    uv_poll_t poll;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle;
    uv_timer_t timer;
    uv_poll_t pressure[CADRE__PRESSURE_SOURCES];
    int pressure_fds[CADRE__PRESSURE_SOURCES]; /* −1: none */
    int handles;                               /* open */
    bool idling;
    void (*done)(cadre_pool *pool);
} uv_side;

static uint64_t now_hrtime(void *data)
{
    (void)data;
    return uv_hrtime();
}

static int current_cpu(void)
{
#ifdef __linux__
    return sched_getcpu();
#else
    return -1;
#endif
}

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

/* True when the inbox has something, at the latest after SPIN_NS. */
static bool spin(cadre__inbox *inbox)
{
    uint64_t end = 0;
    do {
        for (int i = 0; i < 64; i++) {
            if (atomic_load_explicit(&inbox->head, memory_order_relaxed)) return true;
            relax();
        }
        uint64_t now = uv_hrtime();
        if (!end) end = now + SPIN_NS;
        if (now >= end) return false;
    } while (true);
}

/* ---- threads ---- */

static void wait_asleep(cadre__thread *thread)
{
#ifdef __linux__
    syscall(SYS_futex, &thread->inbox.asleep, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
#else
    uv_sem_wait(&thread->wake);
#endif
}

static void thread_wake(cadre__thread *thread)
{
#ifdef __linux__
    syscall(SYS_futex, &thread->inbox.asleep, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
#else
    uv_sem_post(&thread->wake);
#endif
}

/* Returns when there is a nudge (which the caller takes) or, if `inbox` says so, when something has come. */
static void sleep_until(cadre__thread *thread, bool inbox)
{
    atomic_store_explicit(&thread->inbox.asleep, 1, memory_order_seq_cst);
    while (!atomic_load_explicit(&thread->nudge, memory_order_seq_cst) && !(inbox && !cadre__inbox_empty(&thread->inbox))) {
        wait_asleep(thread);
        if (!inbox) atomic_store_explicit(&thread->inbox.asleep, 1, memory_order_seq_cst);
    }
    atomic_store_explicit(&thread->inbox.asleep, 0, memory_order_seq_cst);
}

static bool thread_wait(cadre__thread *thread)
{
    sleep_until(thread, false);
    return true;
}

static void idle_thread(cadre__thread *thread)
{
    int cpu = current_cpu();
    atomic_store_explicit(&thread->cpu, cpu, memory_order_relaxed);
    if (atomic_load_explicit(&thread->brisk, memory_order_relaxed) && cpu != atomic_load_explicit(&thread->port->loop_cpu, memory_order_relaxed) &&
        spin(&thread->inbox))
        return;
    sleep_until(thread, true);
}

static void thread_main(void *argument)
{
    cadre__thread *thread = argument;
#ifdef __linux__
    if (thread->niceness) setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), thread->niceness);
    pthread_setname_np(pthread_self(), thread->name);
#endif
    cadre__turn turn = CADRE__TURN_AGAIN;
    while (turn != CADRE__TURN_EXIT) {
        cadre__node *work = cadre__inbox_take(&thread->inbox);
        if (work || turn == CADRE__TURN_AGAIN || atomic_exchange_explicit(&thread->nudge, false, memory_order_seq_cst))
            turn = thread->turn(thread, work);
        else
            idle_thread(thread);
    }
    cadre_port *port = cadre_port_retain(thread->port);
    if (!cadre__port_send_to(port, thread->home, &thread->exited.node, &thread->exited.node)) thread->dispose(thread);
    cadre_port_release(port);
}

static int thread_start(cadre__thread *thread)
{
    /* Signals are the host's: its loop's thread takes them. */
    sigset_t all, old;
    sigfillset(&all);
    atomic_init(&thread->cpu, -1);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = uv_thread_create(&thread->handle, thread_main, thread);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc == 0 ? CADRE_OK : CADRE_ETHREAD;
}

static void thread_join(cadre__thread *thread)
{
    if (!thread->abandoned) uv_thread_join(&thread->handle);
}

static void thread_detach(cadre__thread *thread)
{
    thread->abandoned = true;
    pthread_detach(thread->handle);
}

/* ---- the loop ---- */

static void signal_loop(cadre_port *port)
{
    uint64_t one = 1;
    ssize_t written;
    do {
        written = write(port->write_fd, &one, sizeof one);
    } while (written < 0 && errno == EINTR);
}

static void idle_cb(uv_idle_t *idle)
{
    (void)idle;
}

static void want_turn(uv_side *side)
{
    if (side->idling) return;
    side->idling = true;
    uv_idle_start(&side->idle, idle_cb);
}

static void soon(cadre_pool *pool)
{
    want_turn(pool->executor_data);
}

static void poll_cb(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    uv_side *side = poll->data;
    uint64_t count;
    while (read(side->pool->port->read_fd, &count, sizeof count) > 0) continue;
}

static void pressure_cb(uv_poll_t *poll, int status, int events)
{
    uv_side *side = poll->data;
    int source = (int)(poll - side->pressure);
    if (status < 0 || (events & UV_DISCONNECT))
        uv_poll_stop(poll);
    else
        cadre__pressure_read(side->pool, source, side->pressure_fds[source]);
}

/* What cannot be watched is left out. */
static void open_pressure(uv_side *side, uv_loop_t *loop)
{
    cadre__pressure_open(side->pool, side->pressure_fds);
    for (int i = 0; i < CADRE__PRESSURE_SOURCES; i++) {
        uv_poll_t *poll = &side->pressure[i];
        if (side->pressure_fds[i] >= 0 && uv_poll_init(loop, poll, side->pressure_fds[i]) < 0) {
            close(side->pressure_fds[i]);
            side->pressure_fds[i] = -1;
        }
        if (side->pressure_fds[i] < 0) continue;
        poll->data = side;
        uv_poll_start(poll, i == 0 ? UV_PRIORITIZED : UV_READABLE, pressure_cb);
        uv_unref((uv_handle_t *)poll);
        side->handles++;
    }
}

static bool peer_is_elsewhere(cadre_pool *pool)
{
    int cpu = atomic_load_explicit(&pool->port->loop_cpu, memory_order_relaxed);
    return pool->brisk_cpu >= 0 && pool->brisk_cpu != cpu;
}

static void prepare_cb(uv_prepare_t *prepare)
{
    uv_side *side = prepare->data;
    cadre_pool *pool = side->pool;
    cadre__inbox *inbox = &pool->port->inbox;
    atomic_store_explicit(&pool->port->loop_cpu, current_cpu(), memory_order_relaxed);
    uint64_t delivered = pool->delivered;
    bool more = cadre__pool_turn(pool) || pool->delivered != delivered; /* host callbacks ran: let the loop see what they did */
    if (pool->closing == CADRE__CLOSED) return;                         /* the handles are closing */
    if (!more && pool->jobs_out && peer_is_elsewhere(pool) && spin(inbox)) {
        cadre__pool_turn(pool);
        if (pool->closing == CADRE__CLOSED) return;
        more = true;
    }
    if (!more) {
        atomic_store_explicit(&inbox->asleep, 1, memory_order_seq_cst);
        if (cadre__inbox_empty(inbox) && cadre__inbox_empty(&pool->port->reaped)) {
            pool->parked = true;
            return;
        }
        atomic_store_explicit(&inbox->asleep, 0, memory_order_relaxed);
    }
    pool->parked = true;
    want_turn(side);
}

static void check_cb(uv_check_t *check)
{
    uv_side *side = check->data;
    atomic_store_explicit(&side->pool->port->inbox.asleep, 0, memory_order_relaxed);
    side->pool->parked = false;
    if (side->idling) {
        side->idling = false;
        uv_idle_stop(&side->idle);
    }
    if (cadre__pool_turn(side->pool)) want_turn(side);
}

static void timer_cb(uv_timer_t *timer)
{
    uv_side *side = timer->data;
    side->pool->armed = UINT64_MAX; /* prepare follows, with the turn */
}

static void arm(cadre_pool *pool, uint64_t due)
{
    uv_side *side = pool->executor_data;
    if (due == UINT64_MAX) {
        uv_timer_stop(&side->timer);
        return;
    }
    uint64_t now = cadre__now(pool->port), ms = due > now ? (due - now + CADRE__NS_PER_MS - 1) / CADRE__NS_PER_MS : 0;
    /* libuv counts from the time at which this iteration began. */
    uint64_t lag = uv_hrtime() / CADRE__NS_PER_MS - uv_now(pool->loop);
    uv_timer_start(&side->timer, timer_cb, ms > UINT64_MAX / 4 ? UINT64_MAX / 4 : ms + (lag < 60000 ? lag : 0), 0);
}

static void hold(cadre_pool *pool, bool on)
{
    uv_side *side = pool->executor_data;
    if (on)
        uv_ref((uv_handle_t *)&side->poll);
    else
        uv_unref((uv_handle_t *)&side->poll);
}

static void closed_cb(uv_handle_t *handle)
{
    uv_side *side = handle->data;
    for (int i = 0; i < CADRE__PRESSURE_SOURCES; i++)
        if (handle == (uv_handle_t *)&side->pressure[i]) close(side->pressure_fds[i]);
    if (--side->handles > 0) return;
    cadre_pool *pool = side->pool;
    void (*done)(cadre_pool *) = side->done;
    cadre_port *port = pool->port;
    cadre__free(&port->allocator, side, sizeof *side);
    done(pool);
}

static void close_side(cadre_pool *pool, void (*done)(cadre_pool *pool))
{
    uv_side *side = pool->executor_data;
    side->done = done;
    uv_handle_t *handles[] = {(uv_handle_t *)&side->poll, (uv_handle_t *)&side->prepare, (uv_handle_t *)&side->check, (uv_handle_t *)&side->idle,
                              (uv_handle_t *)&side->timer};
    for (size_t i = 0; i < sizeof handles / sizeof *handles; i++) uv_close(handles[i], closed_cb);
    for (int i = 0; i < CADRE__PRESSURE_SOURCES; i++)
        if (side->pressure_fds[i] >= 0) uv_close((uv_handle_t *)&side->pressure[i], closed_cb);
}

static int open_signal(cadre_port *port)
{
#ifdef __linux__
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0) return uv_translate_sys_error(errno);
    port->read_fd = port->write_fd = fd;
#else
    int fds[2];
    if (pipe(fds) < 0) return uv_translate_sys_error(errno);
    port->read_fd = fds[0];
    port->write_fd = fds[1];
    for (int i = 0; i < 2; i++) {
        fcntl(fds[i], F_SETFL, O_NONBLOCK);
        fcntl(fds[i], F_SETFD, FD_CLOEXEC);
    }
#endif
    port->signal = signal_loop;
    return CADRE_OK;
}

static int prepare_side(cadre_pool *pool)
{
    int rc = open_signal(pool->port);
    if (rc != CADRE_OK) return rc;
    pool->executor_data = cadre__alloc(&pool->port->allocator, sizeof(uv_side));
    return pool->executor_data ? CADRE_OK : CADRE_ENOMEM;
}

static void unprepare_side(cadre_pool *pool)
{
    cadre__free(&pool->port->allocator, pool->executor_data, sizeof(uv_side));
    pool->executor_data = NULL;
}

static int open_side(cadre_pool *pool, uv_loop_t *loop)
{
    uv_side *side = pool->executor_data;
    int rc = uv_poll_init(loop, &side->poll, pool->port->read_fd);
    if (rc < 0) return rc;
    /* These and the starts below cannot fail. */
    uv_prepare_init(loop, &side->prepare);
    uv_check_init(loop, &side->check);
    uv_idle_init(loop, &side->idle);
    uv_timer_init(loop, &side->timer);
    side->pool = pool;
    side->handles = 5;
    side->poll.data = side->prepare.data = side->check.data = side->idle.data = side->timer.data = side;
    uv_poll_start(&side->poll, UV_READABLE, poll_cb);
    uv_prepare_start(&side->prepare, prepare_cb);
    uv_check_start(&side->check, check_cb);
    uv_unref((uv_handle_t *)&side->poll);
    uv_unref((uv_handle_t *)&side->prepare);
    uv_unref((uv_handle_t *)&side->check);
    uv_unref((uv_handle_t *)&side->idle);
    uv_unref((uv_handle_t *)&side->timer);
    open_pressure(side, loop);
    return CADRE_OK;
}

const cadre__executor cadre__executor_uv = {
    .thread_start = thread_start,
    .thread_join = thread_join,
    .thread_detach = thread_detach,
    .thread_wake = thread_wake,
    .thread_wait = thread_wait,
    .prepare = prepare_side,
    .unprepare = unprepare_side,
    .open = open_side,
    .close = close_side,
    .hold = hold,
    .soon = soon,
    .arm = arm,
    .now = now_hrtime,
};
