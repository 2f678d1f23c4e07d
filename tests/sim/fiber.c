#include "fiber.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

#define STACK_BYTES ((size_t)256 << 10)
#define STORE_MAX 256

static char *store[STORE_MAX];
static size_t stored;

static void leave(void **fake, const void *stack, size_t size)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(fake, stack, size);
#else
    (void)fake;
    (void)stack;
    (void)size;
#endif
}

static void arrive(void *fake, const void **stack, size_t *size)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fake, stack, size);
#else
    (void)fake;
    (void)stack;
    (void)size;
#endif
}

static void switch_tsan(void *to)
{
#ifdef __SANITIZE_THREAD__
    __tsan_switch_to_fiber(to, 0);
#else
    (void)to;
#endif
}

static void fiber_main(unsigned high, unsigned low)
{
    fiber *f = (fiber *)((uintptr_t)high << 32 | low);
    arrive(NULL, &f->caller_stack, &f->caller_size);
    f->run(f->data);
    f->done = 1;
    leave(NULL, f->caller_stack, f->caller_size);
    switch_tsan(f->tsan_caller);
    setcontext(&f->caller);
}

void fiber_start(fiber *f, void (*run)(void *data), void *data)
{
    memset(f, 0, sizeof *f);
    f->run = run;
    f->data = data;
    f->stack = stored ? store[--stored] : malloc(STACK_BYTES);
    if (!f->stack) abort();
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(f->stack, STACK_BYTES);
#endif
#ifdef __SANITIZE_THREAD__
    f->tsan = __tsan_create_fiber(0);
#endif
    getcontext(&f->here);
    f->here.uc_stack.ss_sp = f->stack;
    f->here.uc_stack.ss_size = STACK_BYTES;
    f->here.uc_link = NULL;
    uintptr_t self = (uintptr_t)f;
    makecontext(&f->here, (void (*)(void))fiber_main, 2, (unsigned)(self >> 32), (unsigned)self);
}

void fiber_resume(fiber *f)
{
#ifdef __SANITIZE_THREAD__
    f->tsan_caller = __tsan_get_current_fiber();
#endif
    leave(&f->fake_caller, f->stack, STACK_BYTES);
    switch_tsan(f->tsan);
    swapcontext(&f->caller, &f->here);
    arrive(f->fake_caller, NULL, NULL);
}

void fiber_yield(fiber *f)
{
    leave(&f->fake, f->caller_stack, f->caller_size);
    switch_tsan(f->tsan_caller);
    swapcontext(&f->here, &f->caller);
    arrive(f->fake, &f->caller_stack, &f->caller_size);
}

void fiber_free(fiber *f)
{
    if (!f->stack) return;
    if (stored < STORE_MAX)
        store[stored++] = f->stack;
    else
        free(f->stack);
    f->stack = NULL;
#ifdef __SANITIZE_THREAD__
    __tsan_destroy_fiber(f->tsan);
#endif
}

void fiber_free_stacks(void)
{
    while (stored) free(store[--stored]);
}
