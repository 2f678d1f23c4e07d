/* A fiber: a function with a stack of its own that runs until it yields. The simulator's threads are fibers of its one thread, so an operation can stand still
 * in the middle for as long as the simulation likes. Known to AddressSanitizer and ThreadSanitizer. */
#ifndef CADRE_SIM_FIBER_H
#define CADRE_SIM_FIBER_H

#include <stddef.h>
#include <ucontext.h>

typedef struct fiber {
    ucontext_t here, caller;
    void (*run)(void *data);
    void *data;
    char *stack;
    void *tsan, *tsan_caller;
    void *fake, *fake_caller; /* AddressSanitizer's */
    const void *caller_stack;
    size_t caller_size;
    int done;
} fiber;

/* The stack comes from a small store that keeps those of ended fibers. */
void fiber_start(fiber *f, void (*run)(void *data), void *data);
/* Runs it until it yields or its function returns. */
void fiber_resume(fiber *f);
/* From inside. */
void fiber_yield(fiber *f);
/* After its end, or to drop one that will never go on. */
void fiber_free(fiber *f);
void fiber_free_stacks(void);

#endif
