#include "hub.h"

#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define HEAD_MAX 8192
#define COMMIT "0123456789abcdef0123456789abcdef01234567"
#define PACED_COMMIT "76543210fedcba9876543210fedcba9876543210" /* which the hub's clients name once they know it */

/* Of the server's process. */
static const hub_file *served;
static size_t served_count;

typedef struct connection {
    int fd;
    size_t length;
    char head[HEAD_MAX + 1];
} connection;

static const hub_file *find_file(const char *path)
{
    static const char prefix[] = "/" HUB_REPOSITORY "/resolve/";
    const char *name = strrchr(path, '/');
    if (strncmp(path, prefix, strlen(prefix)) != 0) return NULL;
    for (size_t i = 0; i < served_count; i++)
        if (strcmp(served[i].name, name + 1) == 0) return &served[i];
    return NULL;
}

static int send_all(int fd, const char *bytes, size_t length, int flags)
{
    while (length > 0) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL | flags);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return -1;
        bytes += sent;
        length -= (size_t)sent;
    }
    return 0;
}

static int send_body(int fd, const hub_file *file, uint64_t from)
{
    int source = open(file->path, O_RDONLY | O_CLOEXEC);
    off_t at = (off_t)from;
    if (source < 0) return -1;
    while ((uint64_t)at < file->bytes) {
        ssize_t sent = sendfile(fd, source, &at, (size_t)(file->bytes - (uint64_t)at));
        if (sent < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (sent <= 0) break;
    }
    close(source);
    return (uint64_t)at == file->bytes ? 0 : -1;
}

/* Where a request's "Range: bytes=N-" begins; 0: it has none. */
static uint64_t range_of(const char *head)
{
    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line + 2, "\r\n")) {
        uint64_t from;
        if (strncasecmp(line + 2, "range:", 6) == 0 && sscanf(line + 8, " bytes=%" SCNu64 "-", &from) == 1) return from;
    }
    return 0;
}

static int answer(connection *c)
{
    char method[8], path[1024], head[1024];
    if (sscanf(c->head, "%7s %1023s HTTP/1.1", method, path) != 2) return -1;
    path[strcspn(path, "?")] = '\0';
    const hub_file *file = find_file(path);
    uint64_t from = range_of(c->head);
    int body = strcmp(method, "HEAD") != 0, length;
    int paced = strstr(path, "/" HUB_PACED "/") || strstr(path, "/" PACED_COMMIT "/");
    if (!file || from >= file->bytes) {
        length = snprintf(head, sizeof head, "HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n", file ? "416 Range Not Satisfiable" : "404 Not Found");
        return send_all(c->fd, head, (size_t)length, 0);
    }
    length = snprintf(
        head, sizeof head,
        "HTTP/1.1 %s\r\nContent-Type: application/octet-stream\r\nAccept-Ranges: bytes\r\nETag: \"%s\"\r\nX-Repo-Commit: %s\r\nContent-Length: %" PRIu64 "\r\n",
        from ? "206 Partial Content" : "200 OK", file->sha256, paced ? PACED_COMMIT : COMMIT, file->bytes - from);
    if (from)
        length += snprintf(head + length, sizeof head - (size_t)length, "Content-Range: bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64 "\r\n", from, file->bytes - 1,
                           file->bytes);
    length += snprintf(head + length, sizeof head - (size_t)length, "\r\n");
    unsigned pace = paced ? HUB_PACE : ~0u;
    setsockopt(c->fd, SOL_SOCKET, SO_MAX_PACING_RATE, &pace, sizeof pace);
    if (send_all(c->fd, head, (size_t)length, body ? MSG_MORE : 0) != 0) return -1;
    return body ? send_body(c->fd, file, from) : 0;
}

static void *serve_connection(void *data)
{
    connection *c = data;
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    for (;;) {
        char *end;
        c->head[c->length] = '\0';
        while (!(end = strstr(c->head, "\r\n\r\n"))) {
            ssize_t got = c->length < HEAD_MAX ? recv(c->fd, c->head + c->length, HEAD_MAX - c->length, 0) : -1;
            if (got <= 0) goto out;
            c->length += (size_t)got;
            c->head[c->length] = '\0';
        }
        end[2] = '\0';
        if (answer(c) != 0) goto out;
        size_t used = (size_t)(end - c->head) + 4;
        memmove(c->head, c->head + used, c->length - used);
        c->length -= used;
    }
out:
    close(c->fd);
    free(c);
    return NULL;
}

_Noreturn static void serve(int listener)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        pthread_t thread;
        connection *c = calloc(1, sizeof *c);
        if (!c) bench_fail("out of memory");
        c->fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (c->fd < 0 || pthread_create(&thread, NULL, serve_connection, c) != 0) bench_fail("the hub: %s", strerror(errno));
        pthread_detach(thread);
    }
}

hub hub_start(const hub_file *files, size_t count)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) != 0 || listen(listener, 64) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) != 0)
        bench_fail("the hub: %s", strerror(errno));
    served = files;
    served_count = count;
    hub h = {fork(), ntohs(address.sin_port)};
    if (h.pid < 0) bench_fail("fork: %s", strerror(errno));
    if (h.pid == 0) serve(listener);
    close(listener);
    return h;
}

void hub_stop(hub *h)
{
    kill(h->pid, SIGKILL);
    while (waitpid(h->pid, NULL, 0) < 0 && errno == EINTR) continue;
}
