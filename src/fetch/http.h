/* HTTP transfers on the loop: libcurl's multi interface driven by the loop's polls and one timer, names looked up by uv_getaddrinfo.
 *
 * Loop thread. One transfer is one answer: redirects are followed here, attempts after a failure are the caller's. No callback runs from inside begin, resume
 * or cancel; after cancel none runs at all. */
#ifndef CADRE__FETCH_HTTP_H
#define CADRE__FETCH_HTTP_H

#include <cadre/fetch.h>
#include <stdbool.h>

#define CADRE__HTTP_DETAIL 512
#define CADRE__HTTP_REDIRECTS 10

typedef struct cadre__http cadre__http;
typedef struct cadre__transfer cadre__transfer;

/* 0, or an error. ca_file may be NULL. An http that has no transfer holds neither the loop nor a connection that wakes it. */
int cadre__http_create(cadre__http **out, uv_loop_t *loop, const char *ca_file);
/* All transfers must be over or cancelled. cb runs when its handles are closed (name lookups that were cancelled are waited for, without blocking). */
void cadre__http_close(cadre__http *http, void (*cb)(void *data), void *data);

typedef enum cadre__follow {
    CADRE__FOLLOW_ALL = 0,
    CADRE__FOLLOW_SAME_ORIGIN = 1 /* a redirect to another scheme, host or port is the answer (a hub tells a file's hash in the head of such a one) */
} cadre__follow;

/* What on_done is told. */
typedef struct cadre__http_result {
    int error;   /* 0: an answer came, whole (its status may be any); else UV_…, CADRE_EINPUT (a refused URL or address, too large), CADRE_ENOMEM, or what a
                    callback returned */
    long status; /* of the last answer; 0: none came */
    bool passes; /* trying again may help: the network, a cut, 408, 429, 5xx, a length that was not what was promised */
    int64_t retry_after_ms; /* what the server asked for; −1: nothing */
    const char
        *detail; /* "HOST: 503 Service Unavailable", "HOST: the connection was reset after 1234 of 5678 bytes"; never a token, a query or a user's name */
} cadre__http_result;

typedef struct cadre__http_request {
    const char *url; /* copied, like all strings; one with a user's name is refused */
    bool head;
    cadre__follow follow;
    const char *token;  /* sent as "Authorization: Bearer TOKEN" to the URL's own origin (scheme, host, port) alone, until a redirect leaves it; NULL: none */
    uint64_t from;      /* > 0: Range: bytes=from− */
    bool public_only;   /* refuse addresses that are not public, and use no proxy */
    uint64_t max_bytes; /* of the body; more, announced or not, is CADRE_EINPUT; UINT64_MAX: any */
    int64_t connect_timeout_ms, stall_timeout_ms, timeout_ms; /* CADRE_NEVER: none. A paused transfer does not stall */
    /* The head of the final answer is here, before its body. Non-zero ends the transfer with that error. May be NULL. */
    int (*on_head)(cadre__transfer *transfer, long status, void *data);
    /* A piece (≤ 16 KiB) of the body of a final answer, of any status; of one that is not 2xx the first 64 KiB. 0; CADRE_EAGAIN: not now, the same bytes come
     * again after resume, perhaps with more after them; negative: ends the transfer with that error. May be NULL. */
    int (*on_data)(cadre__transfer *transfer, const void *bytes, size_t length, void *data);
    /* Once; the transfer is gone after it. */
    void (*on_done)(cadre__transfer *transfer, const cadre__http_result *result, void *data);
    void *data;
} cadre__http_request;

/* NULL: out of memory. What is wrong with the URL is told by on_done. */
cadre__transfer *cadre__http_begin(cadre__http *http, const cadre__http_request *request);
void cadre__http_resume(cadre__transfer *transfer);
void cadre__http_cancel(cadre__transfer *transfer);

/* From on_head on, on_done included: a header of the answer by its name, any case; NULL: it has none, or no head came. Valid during the callback. */
const char *cadre__http_header(cadre__transfer *transfer, const char *name);
/* From on_head on: what the body will have; −1: the answer does not say. */
int64_t cadre__http_length(cadre__transfer *transfer);
/* From on_head on: where in the file the body begins: 0 for any status but 206, which says it by Content-Range; −1: a 206 that does not say. A server may
 * answer a Range with 200 and the whole, or with 206 and another range: the caller looks. *total (may be NULL): the whole file's length, −1 where it is not
 * known. */
int64_t cadre__http_offset(cadre__transfer *transfer, int64_t *total);
/* "https://HOST[:PORT]" of the answer. */
const char *cadre__http_origin(cadre__transfer *transfer);

/* address.c: false for loopback, private, link-local, multicast, documentation, reserved and unspecified addresses, IPv4 ones within IPv6 ones too. */
struct sockaddr;
bool cadre__address_is_public(const struct sockaddr *address);

/* image.c: the table for cadre_pool_options.fetcher. The first five fields are set before; init sets the others. */
struct cadre__image_source {
    cadre__http *http;
    bool allow_private;
    int64_t connect_timeout_ms, stall_timeout_ms, timeout_ms;
    struct cadre__picture_fetch *running; /* image.c's */
    bool stopped;
};
void cadre__image_fetcher_init(cadre_image_fetcher *out, struct cadre__image_source *source);
/* Ends those that are under way with CADRE_ECLOSED. */
void cadre__image_fetcher_stop(struct cadre__image_source *source);

#endif
