#include "program.h"

#include "bench.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGUMENTS_MAX 64
#define RUN_SECONDS 600

typedef struct stream {
    int fd;
    char *text;
    size_t length, capacity;
    size_t line; /* where the last incomplete line begins */
} stream;

_Noreturn static void become(const char *program, const char *const *arguments, int out, int err)
{
    const char *argv[ARGUMENTS_MAX + 2] = {program};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (size_t i = 0; arguments[i] && i < ARGUMENTS_MAX; i++) argv[i + 1] = arguments[i];
    dup2(out, 1);
    dup2(err, 2);
    execv(program, (char *const *)argv);
    fprintf(stderr, "bench: cannot run %s: %s\n", program, strerror(errno));
    _exit(127);
}

static void add_mark(program_output *output, uint64_t ns, int is_err, size_t begin)
{
    program_mark *marks = realloc(output->marks, (output->mark_count + 1) * sizeof *marks);
    if (!marks) bench_fail("out of memory");
    output->marks = marks;
    output->marks[output->mark_count++] = (program_mark){ns, is_err, begin};
}

/* 0 at its end. */
static int receive(program_output *output, stream *s, int is_err)
{
    if (s->capacity - s->length < 4096) {
        s->capacity = s->capacity ? s->capacity * 2 : 65536;
        s->text = realloc(s->text, s->capacity);
        if (!s->text) bench_fail("out of memory");
    }
    ssize_t got = read(s->fd, s->text + s->length, s->capacity - s->length - 1);
    uint64_t now = bench_now_ns();
    if (got <= 0) return got < 0 && errno == EINTR;
    for (size_t i = s->length; i < s->length + (size_t)got; i++) {
        if (!is_err && output->out_first_ns == 0 && !isspace((unsigned char)s->text[i])) output->out_first_ns = now;
        if (s->text[i] != '\n') continue;
        add_mark(output, now, is_err, s->line);
        s->line = i + 1;
    }
    s->length += (size_t)got;
    s->text[s->length] = '\0';
    return 1;
}

static void read_all(program_output *output, stream streams[2], pid_t pid)
{
    uint64_t start = bench_now_ns();
    while (streams[0].fd >= 0 || streams[1].fd >= 0) {
        struct pollfd fds[2] = {{streams[0].fd, POLLIN, 0}, {streams[1].fd, POLLIN, 0}};
        if (bench_now_ns() - start > RUN_SECONDS * 1000000000ull) {
            kill(pid, SIGKILL);
            bench_fail("a peer does not end");
        }
        if (poll(fds, 2, 1000) < 0 && errno != EINTR) bench_fail("poll: %s", strerror(errno));
        for (int i = 0; i < 2; i++) {
            if (!fds[i].revents || receive(output, &streams[i], i)) continue;
            close(streams[i].fd);
            streams[i].fd = -1;
        }
    }
}

void program_run(const char *program, const char *const *arguments, program_output *output)
{
    int out[2], err[2];
    *output = (program_output){0};
    if (pipe(out) != 0 || pipe(err) != 0) bench_fail("pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid < 0) bench_fail("fork: %s", strerror(errno));
    if (pid == 0) become(program, arguments, out[1], err[1]);
    close(out[1]);
    close(err[1]);
    stream streams[2] = {{.fd = out[0]}, {.fd = err[0]}};
    read_all(output, streams, pid);
    while (waitpid(pid, &output->status, 0) < 0 && errno == EINTR) continue;
    for (int i = 0; i < 2; i++) {
        if (!streams[i].text) streams[i].text = calloc(1, 1);
        if (!streams[i].text) bench_fail("out of memory");
    }
    output->out = streams[0].text;
    output->out_length = streams[0].length;
    output->err = streams[1].text;
    output->err_length = streams[1].length;
    if (WIFEXITED(output->status) && WEXITSTATUS(output->status) == 127) bench_fail("%s", output->err);
}

void program_free(program_output *output)
{
    free(output->out);
    free(output->err);
    free(output->marks);
    *output = (program_output){0};
}

const char *program_line(const program_output *output, const char *text, uint64_t *ns)
{
    for (size_t i = 0; i < output->mark_count; i++) {
        const program_mark *mark = &output->marks[i];
        const char *line = (mark->is_err ? output->err : output->out) + mark->begin, *found = strstr(line, text);
        if (!found || found >= line + strcspn(line, "\n")) continue;
        if (ns) *ns = mark->ns;
        return line;
    }
    return NULL;
}
