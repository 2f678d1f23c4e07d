/* A peer that is a command-line program: run once, with what it prints, line by line, and when each line came. */
#ifndef CADRE_BENCH_PROGRAM_H
#define CADRE_BENCH_PROGRAM_H

#include <stddef.h>
#include <stdint.h>

typedef struct program_output {
    char *out; /* NUL-terminated; to be freed by program_free */
    char *err;
    size_t out_length, err_length;
    uint64_t out_first_ns; /* when the first character came that is no white space; 0: none did */
    struct program_mark *marks;
    size_t mark_count;
    int status; /* of waitpid */
} program_output;

/* When a line was complete. */
typedef struct program_mark {
    uint64_t ns;
    int is_err;
    size_t begin; /* of the line, in out or err */
} program_mark;

/* Runs `program` (with NULL-terminated arguments, its own name not among them) and waits for its end, for 600 s at the longest. Ends the bench if it cannot be
 * run. */
void program_run(const char *program, const char *const *arguments, program_output *output);
void program_free(program_output *output);

/* The beginning of the first line that has `text` in it, or NULL; *ns (may be NULL) is when it came. */
const char *program_line(const program_output *output, const char *text, uint64_t *ns);

#endif
