/* The shrinking is ddmin (Zeller and Hildebrandt, 2002) without its complements of single parts: parts of a halving size are left out as long as that works. */
#include "shrink.h"

#include "host.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROGRESS_SECONDS 5
#define ONE_RUN_SECONDS 10

void watch_open(void)
{
    void *shared = mmap(NULL, sizeof *sim_watched, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) abort();
    sim_watched = shared;
}

int watch_child(int child, uint64_t wanted)
{
    int status = 0;
    time_t begun = time(NULL), told = begun;
    while (waitpid(child, &status, WNOHANG) != child) {
        usleep(20000);
        if (time(NULL) - told < PROGRESS_SECONDS) continue;
        told = time(NULL);
        printf("sim: %llu of %llu operations, %llu events, seed %llu, %ld s\n", (unsigned long long)sim_watched->operations, (unsigned long long)wanted,
               (unsigned long long)sim_watched->events, (unsigned long long)sim_watched->seed, (long)(told - begun));
        fflush(stdout);
    }
    return status;
}

const char *watch_verdict(int status, char *out, size_t size)
{
    if (WIFSIGNALED(status))
        snprintf(out, size, "signal %d", WTERMSIG(status));
    else
        snprintf(out, size, "%s", WEXITSTATUS(status) == 0 ? "" : sim_watched->what[0] ? sim_watched->what : "an error");
    return out;
}

typedef struct shrinking {
    uint64_t seed;
    const char *verdict;
    uint8_t skip[SKIP_COUNT / 8];
    unsigned *left, count; /* numbers of the operations that are not left out */
    time_t end;
} shrinking;

static int run_child(const shrinking *s, bool log)
{
    fflush(NULL);
    memset(sim_watched->what, 0, sizeof sim_watched->what);
    pid_t child = fork();
    if (child < 0) abort();
    if (child == 0) {
        alarm(ONE_RUN_SECONDS);
        host *h = malloc(sizeof *h);
        if (!h || (!log && (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr)))) _exit(2);
        host_run(h, s->seed, log ? stdout : NULL, s->skip);
        fflush(NULL);
        _exit(0);
    }
    int status = 0;
    if (waitpid(child, &status, 0) != child) abort();
    return status;
}

static void set_skip(shrinking *s, unsigned first, unsigned count, bool skip)
{
    for (unsigned i = first; i < first + count; i++) {
        unsigned number = s->left[i];
        if (skip)
            s->skip[number / 8] |= (uint8_t)(1u << number % 8);
        else
            s->skip[number / 8] &= (uint8_t) ~(1u << number % 8);
    }
}

static bool violates(const shrinking *s)
{
    char verdict[200];
    return strcmp(watch_verdict(run_child(s, false), verdict, sizeof verdict), s->verdict) == 0;
}

/* Leaves out parts of so many, one after the other. */
static void pass(shrinking *s, unsigned size)
{
    for (unsigned at = 0; at < s->count && time(NULL) < s->end;) {
        unsigned n = s->count - at < size ? s->count - at : size;
        set_skip(s, at, n, true);
        if (violates(s)) {
            memmove(s->left + at, s->left + at + n, (s->count - at - n) * sizeof *s->left);
            s->count -= n;
        } else {
            set_skip(s, at, n, false);
            at += n;
        }
    }
}

void shrink(uint64_t seed, const char *verdict, unsigned seconds)
{
    shrinking *s = calloc(1, sizeof *s);
    unsigned acts = sim_watched->acts < SKIP_INNER ? sim_watched->acts : SKIP_INNER, inner = sim_watched->inner;
    if (inner > SKIP_COUNT - SKIP_INNER) inner = SKIP_COUNT - SKIP_INNER;
    if (s) s->left = malloc((acts + inner + 1) * sizeof *s->left);
    if (!s || !s->left) abort();
    s->seed = seed;
    s->verdict = verdict;
    s->end = time(NULL) + seconds;
    for (unsigned i = 0; i < acts; i++) s->left[s->count++] = i;
    for (unsigned i = 0; i < inner; i++) s->left[s->count++] = SKIP_INNER + i;
    unsigned before = s->count;
    for (unsigned size = s->count; size && time(NULL) < s->end; size /= 2) pass(s, size);
    for (unsigned last = 0; last != s->count && time(NULL) < s->end;) { /* one may go now because another has gone */
        last = s->count;
        pass(s, 1);
    }
    printf("sim: seed %llu, %u of %u operations are enough:\n", (unsigned long long)seed, s->count, before);
    run_child(s, true);
    free(s->left);
    free(s);
}
