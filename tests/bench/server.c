#include "server.h"

#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS_MAX 64
#define ARGUMENTS_MAX 48
#define BODY_MAX 8192
#define START_SECONDS 120

/* ---- the process ---- */

static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) != 0 || getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        bench_fail("no free port: %s", strerror(errno));
    close(fd);
    return ntohs(address.sin_port);
}

_Noreturn static void become_server(const char *program, const char *const *arguments, int port, int passive, const char *log)
{
    const char *argv[ARGUMENTS_MAX + 6] = {program};
    char port_text[16];
    size_t count = 1;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (size_t i = 0; arguments[i] && i < ARGUMENTS_MAX; i++) argv[count++] = arguments[i];
    snprintf(port_text, sizeof port_text, "%d", port);
    argv[count++] = "--host";
    argv[count++] = "127.0.0.1";
    argv[count++] = "--port";
    argv[count++] = port_text;
    int fd = open(log, O_CREAT | O_WRONLY | O_APPEND, 0644);
    if (fd >= 0) {
        dup2(fd, 1);
        dup2(fd, 2);
    }
    if (passive) setenv("OMP_WAIT_POLICY", "passive", 1);
    execv(program, (char *const *)argv);
    fprintf(stderr, "bench: cannot run %s: %s\n", program, strerror(errno));
    _exit(127);
}

server server_start(const char *program, const char *const *arguments, int passive, const char *folder)
{
    char log[512], answer[4096];
    snprintf(log, sizeof log, "%s/server.log", folder);
    server s = {0, free_port()};
    s.pid = fork();
    if (s.pid < 0) bench_fail("fork: %s", strerror(errno));
    if (s.pid == 0) become_server(program, arguments, s.port, passive, log);
    uint64_t start = bench_now_ns();
    while (http_once(&s, "GET", "/health", "", NULL, answer, sizeof answer, NULL) != 200) {
        if (waitpid(s.pid, NULL, WNOHANG) == s.pid || bench_now_ns() - start > START_SECONDS * 1000000000ull)
            bench_fail("llama-server does not start: see %s", log);
        nanosleep(&(struct timespec){0, 50000000}, NULL); /* between two questions: it has no way to tell */
    }
    return s;
}

void server_stop(server *s)
{
    if (s->pid <= 0) return;
    kill(s->pid, SIGTERM);
    for (int i = 0; i < 100 && waitpid(s->pid, NULL, WNOHANG) == 0; i++) {
        nanosleep(&(struct timespec){0, 50000000}, NULL);
        if (i == 98) kill(s->pid, SIGKILL);
    }
    s->pid = 0;
}

/* ---- a connection ---- */

static int connect_to(const server *s)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)s->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) bench_fail("socket: %s", strerror(errno));
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static int send_request(int fd, const char *method, const char *path, const char *body)
{
    char text[BODY_MAX + 512];
    int length = snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", method,
                          path, strlen(body), body);
    if (length < 0 || (size_t)length >= sizeof text) bench_fail("a request is too long");
    return send(fd, text, (size_t)length, MSG_NOSIGNAL) == length ? 0 : -1;
}

/* A header's value (behind the name, the colon and blanks), or NULL; the headers end at `end`. */
static const char *header(const char *text, const char *end, const char *name)
{
    size_t length = strlen(name);
    for (const char *line = text; line < end; line = strstr(line, "\r\n") + 2) {
        if (strncasecmp(line, name, length) == 0 && line[length] == ':') return line + length + 1 + strspn(line + length + 1, " ");
    }
    return NULL;
}

/* The answer is all there: by its length, or by its last chunk. */
static int is_whole(const char *answer, size_t have)
{
    const char *end = strstr(answer, "\r\n\r\n");
    if (!end) return 0;
    const char *length = header(answer, end, "Content-Length");
    if (length) return have >= (size_t)(end + 4 - answer) + strtoul(length, NULL, 10);
    return have >= 7 && memcmp(answer + have - 7, "\r\n0\r\n\r\n", 7) == 0;
}

int http_once(const server *s, const char *method, const char *path, const char *body, const char *until, char *answer, size_t size, uint64_t *elapsed_ns)
{
    size_t have = 0;
    int fd = connect_to(s), status = 0;
    uint64_t start = bench_now_ns(), seen = 0;
    if (fd < 0) return -1;
    answer[0] = '\0';
    if (send_request(fd, method, path, body) == 0) {
        while (have + 1 < size) {
            ssize_t got = recv(fd, answer + have, size - 1 - have, 0);
            if (got <= 0) break;
            answer[have += (size_t)got] = '\0';
            if (!seen && until && strstr(answer, until)) seen = bench_now_ns();
            if (is_whole(answer, have)) break;
        }
    }
    if (elapsed_ns) *elapsed_ns = (seen ? seen : bench_now_ns()) - start;
    close(fd);
    if (sscanf(answer, "HTTP/1.1 %d", &status) != 1) return -1;
    return status;
}

/* ---- many requests ---- */

typedef struct client {
    int fd;
    size_t index; /* of the request under way */
    int busy;
    char *buffer;
    size_t have, capacity;
} client;

typedef struct run {
    const server *s;
    const http_requests *requests;
    size_t started, finished;
    client clients[CLIENTS_MAX];
} run;

static void start_request(run *r, client *c)
{
    char body[BODY_MAX];
    if (r->started == r->requests->count) return;
    c->index = r->started++;
    c->have = 0;
    c->busy = 1;
    r->requests->body(c->index, r->requests->data, body, sizeof body);
    if (c->fd < 0) c->fd = connect_to(r->s);
    if (c->fd < 0 || send_request(c->fd, "POST", r->requests->path, body) != 0) bench_fail("the server does not take a request: %s", strerror(errno));
}

/* Takes out what lies between the chunks of a body; returns its length. */
static size_t join_chunks(char *body)
{
    size_t length = 0;
    for (char *at = body;;) {
        char *data;
        size_t size = strtoul(at, &data, 16);
        if (size == 0 || strncmp(data, "\r\n", 2) != 0) break;
        memmove(body + length, data + 2, size);
        length += size;
        at = data + 2 + size + 2;
    }
    body[length] = '\0';
    return length;
}

/* 1 when the answer is complete. */
static int complete(run *r, client *c)
{
    const char *end = strstr(c->buffer, "\r\n\r\n");
    if (!end) return 0;
    if (strncmp(c->buffer, "HTTP/1.1 200", 12) != 0) bench_fail("the server answers: %.400s", c->buffer);
    if (!is_whole(c->buffer, c->have)) return 0;
    const char *length_text = header(c->buffer, end, "Content-Length");
    size_t length = length_text ? strtoul(length_text, NULL, 10) : join_chunks(c->buffer + (end + 4 - c->buffer));
    r->requests->answer(c->index, end + 4, length, r->requests->data);
    const char *connection = header(c->buffer, end, "Connection");
    if (connection && strncasecmp(connection, "close", 5) == 0) { /* it limits the requests of a connection */
        close(c->fd);
        c->fd = -1;
    }
    return 1;
}

static void receive(run *r, client *c)
{
    if (c->capacity - c->have < 4096) {
        c->capacity = c->capacity ? c->capacity * 2 : 32768;
        c->buffer = realloc(c->buffer, c->capacity);
        if (!c->buffer) bench_fail("out of memory");
    }
    ssize_t got = recv(c->fd, c->buffer + c->have, c->capacity - 1 - c->have, 0);
    if (got <= 0) bench_fail("the server closed a connection: %s", got < 0 ? strerror(errno) : "early");
    c->buffer[c->have += (size_t)got] = '\0';
    if (!complete(r, c)) return;
    c->busy = 0;
    r->finished++;
    start_request(r, c);
}

uint64_t http_run(const server *s, const http_requests *requests)
{
    run r = {.s = s, .requests = requests};
    struct pollfd fds[CLIENTS_MAX];
    int count = requests->clients;
    if (count > CLIENTS_MAX) bench_fail("too many clients");
    for (int i = 0; i < count; i++) r.clients[i].fd = connect_to(s);
    uint64_t start = bench_now_ns();
    for (int i = 0; i < count; i++) start_request(&r, &r.clients[i]);
    while (r.finished < requests->count) {
        for (int i = 0; i < count; i++) fds[i] = (struct pollfd){.fd = r.clients[i].busy ? r.clients[i].fd : -1, .events = POLLIN};
        if (poll(fds, (nfds_t)count, -1) < 0 && errno != EINTR) bench_fail("poll: %s", strerror(errno));
        for (int i = 0; i < count; i++)
            if (fds[i].revents) receive(&r, &r.clients[i]);
    }
    uint64_t elapsed = bench_now_ns() - start;
    for (int i = 0; i < count; i++) {
        if (r.clients[i].fd >= 0) close(r.clients[i].fd);
        free(r.clients[i].buffer);
    }
    return elapsed;
}
