/* The peer llama-server: a child process on a port of the loopback interface, and a client for it. One thread, plain sockets and poll, connections kept open:
 * on two cores the client must not take part in what it measures. */
#ifndef CADRE_BENCH_SERVER_H
#define CADRE_BENCH_SERVER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct server {
    pid_t pid;
    int port;
} server;

/* Starts `program` with the arguments (NULL-terminated, --host and --port are added), with what it prints in folder/server.log, and waits until GET /health
 * answers 200. passive: OMP_WAIT_POLICY=passive is set for it. It ends with this process at the latest. */
server server_start(const char *program, const char *const *arguments, int passive, const char *folder);
void server_stop(server *s);

typedef struct http_requests {
    const char *path;
    int clients;
    size_t count;
    /* Writes the JSON body of request `index` into buffer. */
    void (*body)(size_t index, void *data, char *buffer, size_t size);
    /* One answer with status 200; any other ends the program. */
    void (*answer)(size_t index, const char *body, size_t length, void *data);
    void *data;
} http_requests;

/* Sends `count` POST requests over `clients` connections, each as soon as its connection is free. Returns the wall time from the first request to the last
 * answer in ns. The connections are opened before and stay open. */
uint64_t http_run(const server *s, const http_requests *requests);

/* One request on a connection of its own. Returns the HTTP status; the answer, headers included, in `answer`; in *elapsed_ns (may be NULL) the time from
 * sending until the text `until` had arrived (NULL: all of it). An answer is always read to its end: llama-server's router takes 10 s to unload a model whose
 * client has hung up. */
int http_once(const server *s, const char *method, const char *path, const char *body, const char *until, char *answer, size_t size, uint64_t *elapsed_ns);

#endif
