/* The simulator: hosts, each made by one seed, until so many operations are done. See usage below.
 *
 * Seeds are S, S + 1, …; a host runs to its end, so the number of operations is reached and a little more. It runs in a child process, so that a crash too has
 * a seed; the history of a violation is shrunk to few operations, and their log printed. */
#include "host.h"
#include "shrink.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static const char usage[] =
    "usage: sim [--operations N] [--seed S] [--log] [--twice] [--no-shrink] [--fault NAME]\n"
    "  --operations N   until so many operations are done (10,000)\n"
    "  --seed S         of the first host (1); the next has S + 1\n"
    "  --log            prints every event\n"
    "  --twice          runs everything twice and compares the two logs\n"
    "  --no-shrink      on a violation, only its seed\n"
    "  --fault NAME     in the build with planted faults (src/core/fault.h): succeeds if the run with this one fails, in whatever way\n";

typedef struct arguments {
    uint64_t operations, seed;
    FILE *log;
    bool twice, shrinks, help;
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
    *a = (arguments){.operations = 10000, .seed = 1, .shrinks = true};
    for (int i = 1; i < count; i++) {
        if (strcmp(words[i], "--operations") == 0 && i + 1 < count)
            a->operations = strtoull(words[++i], NULL, 10);
        else if (strcmp(words[i], "--seed") == 0 && i + 1 < count)
            a->seed = strtoull(words[++i], NULL, 10);
        else if (strcmp(words[i], "--log") == 0)
            a->log = stdout;
        else if (strcmp(words[i], "--twice") == 0)
            a->twice = true;
        else if (strcmp(words[i], "--no-shrink") == 0)
            a->shrinks = false;
        else if (strcmp(words[i], "--help") == 0)
            a->help = true;
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
        *sim_watched = (sim_watch){.seed = a->seed + hosts, .operations = done, .events = events, .hosts = hosts};
        host_run(h, a->seed + hosts, a->log, NULL);
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

/* In a child process. Its wait status. */
static int run_apart(const arguments *a)
{
    fflush(NULL);
    pid_t child = fork();
    if (child < 0) abort();
    if (child == 0) {
        run(a);
        fflush(NULL);
        _exit(0);
    }
    return watch_child(child, a->operations);
}

static int run_expecting(const arguments *a)
{
    char verdict[200];
#ifdef CADRE__FAULTS
    cadre__planted = a->fault;
#endif
    int status = run_apart(a);
    printf("sim: the planted fault %s after %" PRIu64 " operations: %s\n", status ? "was found" : "was NOT found",
           sim_watched->operations + sim_watched->acts + sim_watched->inner, watch_verdict(status, verdict, sizeof verdict));
    return status ? 0 : 1;
}

int main(int count, char **words)
{
    arguments a;
    if (!parse(&a, count, words) || a.help) {
        fputs(usage, a.help ? stdout : stderr);
        return a.help ? 0 : 2;
    }
    watch_open();
    if (a.fault) return run_expecting(&a);
    if (a.twice || a.log) {
        uint64_t hash = run(&a);
        if (!a.twice || run(&a) == hash) return 0;
        fprintf(stderr, "sim: two runs of one seed differ\n");
        return 1;
    }
    int status = run_apart(&a);
    if (!status) return 0;
    char verdict[200];
    watch_verdict(status, verdict, sizeof verdict);
    printf("sim: seed %" PRIu64 ": %s\n", sim_watched->seed, verdict);
    if (a.shrinks) shrink(sim_watched->seed, verdict, 60);
    return 1;
}
