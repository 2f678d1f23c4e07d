/* The tests' web server (server.py), one for a program, begun when it is first asked for. Its path and Python's come from CMake. */
#ifndef CADRE_TESTS_FETCH_SERVER_H
#define CADRE_TESTS_FETCH_SERVER_H

#include <stdbool.h>
#include <stddef.h>

typedef struct server {
    int plain, other, full, blunt, tls; /* ports of 127.0.0.1; tls: 0 where there is no openssl program */
    char certificate[512];              /* of the authority that has signed TLS's */
} server;

/* NULL: it did not start. */
const server *server_here(void);
void server_reset(void);
/* Waits until N connections are held. */
void server_held(int count);
/* How many are held now: for tests whose loop must go on turning. */
int server_holding(void);
/* The log since the reset, lines with newlines; valid until the next call. */
const char *server_log(void);
/* Lines of the log that begin with `text`. */
int server_count(const char *text);

#endif
