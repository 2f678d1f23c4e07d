/* Inside the HTTP layer.
 *
 *   http.c           libcurl on the loop: polls, the one timer, what is put off until libcurl has returned
 *   http_transfer.c  a transfer's way: name, connection, redirects, deadlines, end
 *   http_answer.c    what comes: head, body
 *   http_result.c    what a transfer's end is called
 *   resolve.c        names, by uv_getaddrinfo
 *
 * All of it on the loop's thread. libcurl calls back from inside curl_multi_socket_action and curl_easy_pause; meanwhile (`inside`) no handle may be taken out
 * of the multi, so a callback only marks the transfer, and cadre__http_settle() does the rest when libcurl has returned. on_done is called from there alone,
 * and looks everything up again after each, since a host may begin and cancel transfers in it, and close. The struct itself outlives that: it is freed by the
 * close callback of its last handle. */
#ifndef CADRE__FETCH_HTTP_STATE_H
#define CADRE__FETCH_HTTP_STATE_H

#include "http.h"
#include "url.h"

#include <uv.h>

#define CADRE__HEAD_MAX (100 * 1024)    /* of an answer's head */
#define CADRE__REFUSAL_MAX (64 * 1024)  /* of a body that is no file: of an error, of a redirect */
#define CADRE__HTTP_BUFFER (64l * 1024) /* what libcurl reads at once */
#define CADRE__HTTP_TURN (64 * 1024) /* bytes of bodies after which transfers rest until the next turn of the loop; what libcurl has read by then comes still  \
                                      */
#define CADRE__NO_TIME UINT64_MAX

typedef struct cadre__lookup cadre__lookup;

struct cadre__http {
    uv_loop_t *loop;
    CURLM *multi;
    uv_timer_t timer;
    uv_idle_t later; /* active while a transfer is marked outside of libcurl */
    char *ca_file;
    const char *ca_path; /* libcurl's own folder of certificates by their hashes, if it has one that can be used */
    cadre__proxies proxies;
    cadre__transfer *transfers;
    uint64_t curl_due; /* when libcurl wants to be called; CADRE__NO_TIME */
    int inside;
    size_t turn;               /* bytes of bodies that this turn has brought */
    uint64_t rests;            /* of transfers, so far */
    unsigned handles, lookups; /* what close waits for */
    bool closing;
    void (*on_close)(void *data);
    void *on_close_data;
};

typedef struct cadre__answer {
    long status;
    bool begun, complete, final; /* a status line came; the head is here; it is the answer and no redirect or interim head */
    char *head;                  /* "name\0value\0" … */
    size_t length, capacity, seen;
    int64_t body_length; /* −1: not said */
    uint64_t body;       /* bytes that came */
} cadre__answer;

struct cadre__transfer {
    cadre__http *http;
    cadre__transfer *next, **link;
    cadre__http_request request;
    char *text, *token;     /* the request's strings */
    cadre__url url, onward; /* of this hop, of the next */
    struct cadre__origin {
        bool secure;
        uint16_t port;
        char host[CADRE__HOST];
    } first;
    char origin[CADRE__HOST + 24];
    CURL *easy;
    CURLSH *names; /* what this transfer's host names resolve to: no other transfer sees it */
    struct curl_slist *resolve, *headers;
    cadre__lookup *lookup;
    const cadre__proxy *proxy;
    cadre__answer answer;
    int redirects;
    bool redirecting;                         /* the head says so; its body is dropped */
    bool strayed;                             /* a redirect has left the first URL's origin */
    bool added, connected;                    /* in the multi; its request goes out */
    bool fresh;                               /* a connection that rested had ended meanwhile: this one makes its own */
    uint64_t rests;                           /* the number of its rest, until a later turn of the loop; 0: it does not rest */
    bool paused, resume;                      /* on_data said so; resume was called since */
    bool enough;                              /* of a body that nobody needs whole */
    bool begin, over, cancelled, finished;    /* marks for settle */
    CURLcode code;                            /* with `finished` */
    uint64_t connect_due, stall_due, all_due; /* ms of the loop; CADRE__NO_TIME */
    uint64_t late; /* a deadline has passed: the loop polls once more before it counts, so that a host which held its loop makes no stall; 0: none has */
    int error;     /* with `over` */
    bool passes;
    char detail[CADRE__HTTP_DETAIL], library[CURL_ERROR_SIZE];
};

/* ---- http.c ---- */
void cadre__http_arm(cadre__http *http);
void cadre__http_put_off(cadre__http *http);
void cadre__http_settle(cadre__http *http);
void cadre__http_closed_one(cadre__http *http); /* a handle or a lookup that close may wait for is gone */

/* ---- http_transfer.c ---- */
void cadre__transfer_begin(cadre__transfer *transfer);
void cadre__transfer_finished(cadre__transfer *transfer, CURLcode code);
/* Marks it as ended, once; the first error stays. */
void cadre__transfer_fail(cadre__transfer *transfer, int error, bool passes, const char *format, ...) CADRE_PRINTF(4, 5);
void cadre__transfer_end(cadre__transfer *transfer); /* calls on_done and frees it */
void cadre__transfer_free(cadre__transfer *transfer);
uint64_t cadre__transfer_due(const cadre__transfer *transfer);
void cadre__transfer_check_time(cadre__transfer *transfer, uint64_t now);
void cadre__transfer_moved(cadre__transfer *transfer); /* a byte came */
/* The head is a redirect: false: it is the answer all the same. */
bool cadre__transfer_redirect(cadre__transfer *transfer, const char *location);

/* ---- http_answer.c ---- */
bool cadre__answer_options(cadre__transfer *transfer); /* sets libcurl's callbacks */
void cadre__answer_clear(cadre__answer *answer);

/* ---- http_result.c ---- */
void cadre__result_of_code(cadre__transfer *transfer, CURLcode code);
void cadre__result_make(cadre__transfer *transfer, cadre__http_result *out);
const char *cadre__status_text(long status);
bool cadre__connection_was_old(const cadre__transfer *transfer); /* another transfer used it before */

/* ---- resolve.c ---- */
/* One name. cb runs once on a later turn, unless cancelled. NULL and *error: it could not be begun. */
typedef void (*cadre__lookup_cb)(void *data, int status, const struct addrinfo *addresses);
cadre__lookup *cadre__lookup_begin(cadre__http *http, const char *host, uint16_t port, cadre__lookup_cb cb, void *data, int *error);
void cadre__lookup_cancel(cadre__lookup *lookup);
/* "HOST:PORT:ADDRESS,…", as CURLOPT_RESOLVE takes it. NULL: out of memory, or there is no address that can be used. */
struct curl_slist *cadre__lookup_list(const char *host, uint16_t port, const struct addrinfo *addresses);

#endif
