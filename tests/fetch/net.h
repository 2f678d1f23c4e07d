/* A loop with an HTTP layer and the tests' server; calls that remember what they were told. */
#ifndef CADRE_TESTS_FETCH_NET_H
#define CADRE_TESTS_FETCH_NET_H

#include "http.h"
#include "server.h"
#include "support.h"

#include <netinet/in.h>

typedef struct net {
    uv_loop_t loop;
    cadre__http *http;
    const server *at;
    int closed, inside; /* inside: a function that must not call back runs */
} net;

typedef struct call {
    net *net;
    cadre__http_request request;
    cadre__transfer *transfer;
    char url[1024];
    /* what it does */
    int pause_first;                   /* so many pieces are answered with CADRE_EAGAIN first */
    bool resume_at_once, resume_after; /* from within on_data; from on_pause's check */
    int fail_head, fail_data;
    bool cancel_head, cancel_data;
    struct call *cancel_other; /* in on_done */
    struct call *begin_other;
    bool close_net;
    /* what came */
    int heads, dones, pieces, pauses;
    long head_status;
    int64_t length, offset, total;
    char header[256], origin[320];
    const char *want_header;
    char *body;
    size_t bytes;
    const void *paused_at;
    size_t paused_length;
    char paused_copy[32];
    int error;
    long status;
    bool passes;
    int64_t retry_after;
    char detail[CADRE__HTTP_DETAIL];
} call;

void net_begin(net *n, const char *ca_file);
/* Nothing may hold the loop; closes, and asserts that nothing is left and that no name was looked up but by libuv. */
void net_end(net *n);

/* http://127.0.0.1:PORT + path; format may hold both. */
void call_init(call *c, net *n, const char *format, ...) CADRE_PRINTF(3, 4);
void call_start(call *c);
void call_run(call *c); /* start, and turn the loop until it holds nothing */
void call_free(call *c);
/* One request from beginning to end. */
void call_get(call *c, net *n, const char *format, ...) CADRE_PRINTF(3, 4);
/* Bytes from … of the server's file. */
void assert_body(const call *c, size_t from, size_t size);

/* Chooses what cadre__address_is_public says: the next n answers are true, whatever the address; −1: always. */
extern int public_answers;
extern int public_asked;

#endif
