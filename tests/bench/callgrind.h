/* Instructions of one thread, by function, as valgrind's callgrind counts them. */
#ifndef CADRE_BENCH_CALLGRIND_H
#define CADRE_BENCH_CALLGRIND_H

#include <stddef.h>
#include <stdint.h>

typedef struct callgrind_function {
    char name[96];
    char file[160];        /* its source's, "???" where there is no -g */
    uint64_t instructions; /* its own, without its callees' */
} callgrind_function;

typedef struct callgrind_profile {
    callgrind_function *functions; /* most instructions first */
    size_t count;
} callgrind_profile;

/* Runs argv (NULL-terminated, argv[0] a path) under callgrind and reads what its first thread spent inside the function `inside` and its callees; NULL:
 * between the program's own CALLGRIND_TOGGLE_COLLECT, for one that switches stacks.
 * `folder` takes callgrind's files, which are removed. Ends the program when valgrind is missing or fails. */
callgrind_profile callgrind_run(const char *folder, const char *inside, const char *const *argv);
void callgrind_free(callgrind_profile *profile);

#endif
