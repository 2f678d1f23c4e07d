#include "interpose.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define ENTRIES_MAX 4096

typedef void (*any_function)(void);

typedef struct entry {
    void *handle;
    any_function callback;
    any_function close;
    int mine;
} entry;

/* The loop's thread only. */
static entry entries[ENTRIES_MAX];
static size_t entry_count;
static int mine_now;
static int depth;
static uint64_t started_ns;
static bench_samples samples;

static any_function real(const char *name)
{
    void *symbol = dlsym(RTLD_NEXT, name);
    any_function function;
    if (!symbol) bench_fail("%s is not in a shared library: the stall case needs libuv as one", name);
    memcpy(&function, &symbol, sizeof function);
    return function;
}

static entry *find(const void *handle)
{
    for (size_t i = 0; i < entry_count; i++)
        if (entries[i].handle == handle) return &entries[i];
    return NULL;
}

static entry *add(void *handle)
{
    if (entry_count == ENTRIES_MAX) bench_fail("too many handles");
    entry *e = &entries[entry_count++];
    *e = (entry){.handle = handle};
    return e;
}

void interpose_mine(int mine)
{
    mine_now = mine;
}

void interpose_begin(void)
{
    if (depth++ == 0) started_ns = bench_thread_cpu_ns();
}

void interpose_end(void)
{
    if (--depth == 0) bench_samples_add(&samples, (double)(bench_thread_cpu_ns() - started_ns) / 1000);
}

bench_samples interpose_take(void)
{
    bench_samples taken = samples;
    samples = (bench_samples){0};
    return taken;
}

/* 1: the bench's own handle, or a callback that is wrapped already (libuv starts a repeating timer again by its public function). */
static int pass_through(void *handle, any_function callback, any_function timed)
{
    entry *e = find(handle);
    if (!callback || callback == timed || (e && e->mine)) return 1;
    if (!e) e = add(handle);
    e->callback = callback;
    e->mine = mine_now;
    return mine_now;
}

/* One pair for each kind of handle: the callback that libuv gets, and the function that the library calls. */
#define INTERPOSE(KIND, START, PARAMETERS, ARGUMENTS, CB, CB_PARAMETERS, CB_ARGUMENTS)                                                                         \
    static void timed_##KIND CB_PARAMETERS                                                                                                                     \
    {                                                                                                                                                          \
        CB callback = (CB)find(handle)->callback;                                                                                                              \
        interpose_begin();                                                                                                                                     \
        callback CB_ARGUMENTS;                                                                                                                                 \
        interpose_end();                                                                                                                                       \
    }                                                                                                                                                          \
    int START PARAMETERS                                                                                                                                       \
    {                                                                                                                                                          \
        static int(*function) PARAMETERS;                                                                                                                      \
        if (!function) function = (int(*) PARAMETERS)real(#START);                                                                                             \
        if (!pass_through(handle, (any_function)cb, (any_function)timed_##KIND)) cb = timed_##KIND;                                                            \
        return function ARGUMENTS;                                                                                                                             \
    }

INTERPOSE(poll, uv_poll_start, (uv_poll_t * handle, int events, uv_poll_cb cb), (handle, events, cb), uv_poll_cb, (uv_poll_t * handle, int status, int events),
          (handle, status, events))
INTERPOSE(prepare, uv_prepare_start, (uv_prepare_t * handle, uv_prepare_cb cb), (handle, cb), uv_prepare_cb, (uv_prepare_t * handle), (handle))
INTERPOSE(check, uv_check_start, (uv_check_t * handle, uv_check_cb cb), (handle, cb), uv_check_cb, (uv_check_t * handle), (handle))
INTERPOSE(idle, uv_idle_start, (uv_idle_t * handle, uv_idle_cb cb), (handle, cb), uv_idle_cb, (uv_idle_t * handle), (handle))
INTERPOSE(timer, uv_timer_start, (uv_timer_t * handle, uv_timer_cb cb, uint64_t timeout, uint64_t repeat), (handle, cb, timeout, repeat), uv_timer_cb,
          (uv_timer_t * handle), (handle))
INTERPOSE(async, uv_async_init, (uv_loop_t * loop, uv_async_t *handle, uv_async_cb cb), (loop, handle, cb), uv_async_cb, (uv_async_t * handle), (handle))

static void timed_close(uv_handle_t *handle)
{
    entry *e = find(handle);
    uv_close_cb callback = (uv_close_cb)e->close;
    int mine = e->mine;
    *e = entries[--entry_count]; /* before the callback, which may free the handle */
    if (!mine) interpose_begin();
    if (callback) callback(handle);
    if (!mine) interpose_end();
}

void uv_close(uv_handle_t *handle, uv_close_cb cb)
{
    static void (*function)(uv_handle_t *, uv_close_cb);
    if (!function) function = (void (*)(uv_handle_t *, uv_close_cb))real("uv_close");
    entry *e = find(handle);
    if (e) {
        e->close = (any_function)cb;
        cb = timed_close;
    }
    function(handle, cb);
}
