/* What the tests of libcadre-fetch share: a hub of their own (hub.py), an empty cache, a pool and a fetcher; and, where another process is wanted, fetch_child.
 * Nothing waits for time: a test waits for an answer, a line from the hub or a line from the child. */
#ifndef CADRE_TESTS_FETCH_RIG_H
#define CADRE_TESTS_FETCH_RIG_H

#include "support.h"

#include <cadre/fetch.h>
#include <sys/types.h>

#define COMMIT_1 "1111111111111111111111111111111111111111"
#define COMMIT_2 "2222222222222222222222222222222222222222"

typedef struct process {
    pid_t pid;
    FILE *to, *from;
} process;
/* Both ends of its standard input and output. */
void process_start(process *p, char *const *arguments, const char *const *environment);
/* Waits for its end; the status as waitpid gives it. */
int process_end(process *p);

typedef struct rig {
    process hub;
    char endpoint[64], folder[64], cache[96];
    cadre_fetch_options options;
    fixture *fx;
    cadre_fetcher *fetcher;
    const struct cadre_file_fetcher *files;
    int closed;
    char log[32768];   /* what the fetcher logged */
    char lines[65536]; /* the hub's log, after hub_log */
} rig;

rig *rig_begin(void); /* the hub and the folder */
void rig_open(rig *r);
/* The pool, then the fetcher; the loop must close and nothing be left. */
void rig_close(rig *r);
void rig_end(rig *r);

/* A command to the hub; its answer is valid until the next. */
const char *hub_command(rig *r, const char *format, ...) CADRE_PRINTF(2, 3);
/* A file of "o/n" at "main" and COMMIT_1; the ETag into etag[130], which may be NULL. */
void hub_file(rig *r, const char *path, size_t size, unsigned seed, const char *kind, char *etag);
/* Fills r->lines. How many of them contain all the words (NULL at the end). */
unsigned hub_log(rig *r, ...);
/* The bytes that the hub and its store sent in bodies of this path. */
uint64_t hub_sent(rig *r, const char *path);

typedef struct outcome {
    cadre_weights_future *future;
    int settled, status, reports;
    char detail[1600];
    cadre_progress progress;
} outcome;
void fetch_begin(rig *r, outcome *o, const char *reference, ...); /* NULL at the end */
int fetch_wait(rig *r, outcome *o);
/* One reference: begun and waited for. */
int fetch(rig *r, outcome *o, const char *reference);
/* find, into a static buffer; NULL: not there. */
const char *found(rig *r, const char *reference);
/* The bytes of what `reference` is are those of the hub (whose SHA-256 is `sha`, 64 digits). */
void assert_content(rig *r, const char *reference, const char *sha);
void assert_file(const char *path, const char *sha);

/* The path below the cache's repository o/n. */
const char *below(rig *r, const char *format, ...) CADRE_PRINTF(2, 3);
int64_t file_size(const char *path); /* −1: there is none */
void write_text(const char *path, const void *bytes, size_t length);

/* fetch_child, told where the hub and the cache are. */
void child_start(rig *r, process *p, const char *reference, ...);
/* The next line: "progress DONE TOTAL" or "end STATUS DETAIL"; false: no more. */
bool child_line(process *p, char *line, size_t size);

#endif
