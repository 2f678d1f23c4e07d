/* The simulator: hosts, each made by one seed, until so many operations are done.
 *
 *     sim [--operations N] [--seed S] [--log] [--twice] [--fault NAME]
 *
 * Seeds are S, S + 1, …; a host runs to its end, so the number of operations is reached and a little more. A violation names the seed that shows it again.
 *   --log               prints every event
 *   --twice             runs everything twice and compares the two logs
 *   --fault NAME        for the build with planted faults (src/core/fault.h): succeeds if the run with this one fails, in whatever way */
#include "host.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct arguments {
    uint64_t operations, seed;
    FILE *log;
    bool twice;
    int fault; /* 0: none */
} arguments;

#ifdef CADRE__FAULTS
int cadre__planted;
#endif

/* Its number, or 0 when there is none of this name (or in this build). */
static int fault_number(const char *name)
{
    (void)name;
#ifdef CADRE__FAULTS
#define FAULT_NAME(fault) #fault,
    static const char *const names[] = {CADRE__FAULT_MAP(FAULT_NAME)};
    for (int i = 0; i < (int)(sizeof names / sizeof *names); i++)
        if (strcmp(names[i], name) == 0) return i + 1;
#endif
    return 0;
}

static bool parse(arguments *a, int count, char **words)
{
    *a = (arguments){.operations = 10000, .seed = 1};
    for (int i = 1; i < count; i++) {
        if (strcmp(words[i], "--operations") == 0 && i + 1 < count)
            a->operations = strtoull(words[++i], NULL, 10);
        else if (strcmp(words[i], "--seed") == 0 && i + 1 < count)
            a->seed = strtoull(words[++i], NULL, 10);
        else if (strcmp(words[i], "--log") == 0)
            a->log = stdout;
        else if (strcmp(words[i], "--twice") == 0)
            a->twice = true;
        else if (strcmp(words[i], "--fault") == 0 && i + 1 < count && fault_number(words[i + 1]))
            a->fault = fault_number(words[++i]);
        else
            return false;
    }
    return true;
}

/* The hash of all logs. */
static uint64_t run(const arguments *a)
{
    uint64_t done = 0, events = 0, hash = 0, hosts = 0;
    host *h = malloc(sizeof *h);
    if (!h) abort();
    for (; done < a->operations; hosts++) {
        host_run(h, a->seed + hosts, a->log);
        done += h->operations;
        events += h->sim.steps;
        hash = hash * 31 + h->sim.hash;
    }
    free(h);
    fiber_free_stacks();
    printf("sim: %" PRIu64 " operations, %" PRIu64 " events, %" PRIu64 " hosts from seed %" PRIu64 ", log %016" PRIx64 "\n", done, events, hosts, a->seed,
           hash);
    fflush(stdout);
    return hash;
}

static int run_expecting(const arguments *a)
{
    int status = 0;
    pid_t child = fork();
    if (child < 0) return 2;
    if (child == 0) {
#ifdef CADRE__FAULTS
        cadre__planted = a->fault;
#endif
        run(a);
        _exit(0);
    }
    if (waitpid(child, &status, 0) != child) return 2;
    bool found = !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    printf("sim: the planted fault %s\n", found ? "was found" : "was NOT found");
    return found ? 0 : 1;
}

int main(int count, char **words)
{
    arguments a;
    if (!parse(&a, count, words)) {
        fprintf(stderr, "usage: sim [--operations N] [--seed S] [--log] [--twice] [--fault NAME]\n");
        return 2;
    }
    if (a.fault) return run_expecting(&a);
    uint64_t hash = run(&a);
    if (a.twice && run(&a) != hash) {
        fprintf(stderr, "sim: two runs of one seed differ\n");
        return 1;
    }
    return 0;
}
