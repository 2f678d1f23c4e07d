#include "http_state.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static uint64_t in(const cadre__http *http, int64_t ms)
{
    return ms == CADRE_NEVER ? CADRE__NO_TIME : uv_now(http->loop) + (uint64_t)(ms > 0 ? ms : 0);
}

void cadre__transfer_fail(cadre__transfer *transfer, int error, bool passes, const char *format, ...)
{
    if (transfer->over || transfer->cancelled) return;
    size_t used = 0;
    if (transfer->url.handle) used = (size_t)snprintf(transfer->detail, sizeof transfer->detail, "%s: ", transfer->url.name);
    va_list list;
    va_start(list, format);
    vsnprintf(transfer->detail + used, sizeof transfer->detail - used, format, list);
    va_end(list);
    transfer->error = error;
    transfer->passes = passes;
    transfer->over = true;
}

/* ---- one hop ---- */

static int before_request(void *data, char *peer, char *own, int peer_port, int own_port)
{
    cadre__transfer *t = data;
    (void)peer, (void)own, (void)peer_port, (void)own_port;
    t->connected = true;
    t->connect_due = CADRE__NO_TIME;
    cadre__transfer_moved(t);
    return t->over || t->cancelled ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

/* The second lock of public_only: the address that is really connected to. */
static curl_socket_t open_socket(void *data, curlsocktype purpose, struct curl_sockaddr *address)
{
    cadre__transfer *t = data;
    (void)purpose;
    if (t->request.public_only && !cadre__address_is_public(&address->addr)) {
        cadre__transfer_fail(t, CADRE_EINPUT, false, "its address is not public");
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* libcurl is about to look a name up itself, on a thread: it was given all names that it needs, so this is none of them. */
static int before_resolving(void *resolver, void *reserved, void *data)
{
    cadre__transfer *t = data;
    (void)resolver, (void)reserved;
    if (t->proxy ? t->proxy->numeric : t->url.numeric) return 0; /* no name, and no thread */
    cadre__transfer_fail(t, UV_EAI_FAIL, false, "its name was not handed over");
    return 1;
}

static bool add_header(cadre__transfer *t, const char *text)
{
    struct curl_slist *longer = curl_slist_append(t->headers, text);
    if (longer) t->headers = longer;
    return longer != NULL;
}

static bool make_headers(cadre__transfer *t)
{
    bool done = add_header(t, "Accept-Encoding: identity");
    if (done && t->token && !t->strayed) {
        size_t size = strlen(t->token) + sizeof "Authorization: Bearer ";
        char *line = malloc(size);
        if (line) snprintf(line, size, "Authorization: Bearer %s", t->token);
        done = line && add_header(t, line);
        if (line) memset(line, 0, size);
        free(line);
    }
    return done;
}

#define SET(option, value) (curl_easy_setopt(t->easy, option, value) == CURLE_OK)

static bool set_connection(cadre__transfer *t)
{
    const cadre__http *http = t->http;
    uint64_t now = uv_now(http->loop), left = t->connect_due == CADRE__NO_TIME ? 3600000 : t->connect_due > now ? t->connect_due - now : 1;
    if (left > 3600000) left = 3600000;
    bool done = SET(CURLOPT_CURLU, t->url.handle) && SET(CURLOPT_SHARE, t->names) && SET(CURLOPT_RESOLVE, t->resolve) &&
                SET(CURLOPT_CONNECTTIMEOUT_MS, (long)left) && SET(CURLOPT_PROTOCOLS_STR, "http,https") && SET(CURLOPT_NOPROXY, "") &&
                SET(CURLOPT_PROXY, t->proxy ? t->proxy->url : "") && SET(CURLOPT_PREREQFUNCTION, before_request) && SET(CURLOPT_PREREQDATA, t) &&
                SET(CURLOPT_OPENSOCKETFUNCTION, open_socket) && SET(CURLOPT_OPENSOCKETDATA, t) && SET(CURLOPT_RESOLVER_START_FUNCTION, before_resolving) &&
                SET(CURLOPT_RESOLVER_START_DATA, t);
    if (http->ca_file || http->ca_path)
        done = done && SET(CURLOPT_CAINFO, http->ca_file) && SET(CURLOPT_CAPATH, http->ca_path) && SET(CURLOPT_PROXY_CAINFO, http->ca_file) &&
               SET(CURLOPT_PROXY_CAPATH, http->ca_path);
    /* A connection that another transfer made, perhaps to an address that this one must not use, is not taken over. */
    if (t->fresh) done = done && SET(CURLOPT_FRESH_CONNECT, 1L);
    if (t->request.public_only) done = done && SET(CURLOPT_FRESH_CONNECT, 1L) && SET(CURLOPT_FORBID_REUSE, 1L);
    return done && SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) && SET(CURLOPT_TCP_KEEPALIVE, 1L);
}

/* HTTP/1.1 also where both sides know better: a body has its connection to itself, so several run side by side on several congestion windows, and one that
 * rests is held back by TCP alone, without frames to take apart or a window of many megabytes in memory. */
static bool set_request(cadre__transfer *t)
{
    char range[32];
    snprintf(range, sizeof range, "%llu-", (unsigned long long)t->request.from);
    return SET(CURLOPT_PRIVATE, t) && SET(CURLOPT_NOSIGNAL, 1L) && SET(CURLOPT_ERRORBUFFER, t->library) && SET(CURLOPT_FOLLOWLOCATION, 0L) &&
           SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) && SET(CURLOPT_USERAGENT, "cadre/" CADRE_VERSION_STRING) &&
           SET(CURLOPT_HTTPHEADER, t->headers) && SET(CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE) && SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L) &&
           SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED) && SET(CURLOPT_BUFFERSIZE, CADRE__HTTP_BUFFER) && SET(CURLOPT_NOBODY, t->request.head ? 1L : 0L) &&
           (t->request.from == 0 || t->request.head || SET(CURLOPT_RANGE, range)) && cadre__answer_options(t);
}

static void drop_lists(cadre__transfer *t)
{
    curl_slist_free_all(t->headers);
    curl_slist_free_all(t->resolve);
    t->headers = t->resolve = NULL;
}

static void connect_to(cadre__transfer *t)
{
    if (!t->names) {
        t->names = curl_share_init();
        if (t->names && curl_share_setopt(t->names, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS) != CURLSHE_OK) {
            curl_share_cleanup(t->names);
            t->names = NULL;
        }
    }
    if (t->easy)
        curl_easy_reset(t->easy);
    else
        t->easy = curl_easy_init();
    t->library[0] = '\0';
    t->added = t->names && t->easy && make_headers(t) && set_connection(t) && set_request(t) && curl_multi_add_handle(t->http->multi, t->easy) == CURLM_OK;
    if (!t->added) cadre__transfer_fail(t, CADRE_ENOMEM, false, "out of memory");
}

static void on_addresses(void *data, int status, const struct addrinfo *addresses)
{
    cadre__transfer *t = data;
    const char *host = t->proxy ? t->proxy->host : t->url.host;
    uint16_t port = t->proxy ? t->proxy->port : t->url.port;
    t->lookup = NULL;
    if (status < 0) {
        cadre__transfer_fail(t, status, status == UV_EAI_AGAIN, "%s could not be looked up: %s", t->proxy ? "its proxy's name" : "its name",
                             uv_strerror(status));
        return;
    }
    for (const struct addrinfo *a = addresses; a && t->request.public_only; a = a->ai_next) {
        if (cadre__address_is_public(a->ai_addr)) continue;
        cadre__transfer_fail(t, CADRE_EINPUT, false, "its address is not public");
        return;
    }
    if (!(t->proxy ? t->proxy->numeric : t->url.numeric)) {
        t->resolve = cadre__lookup_list(host, port, addresses);
        if (!t->resolve) {
            cadre__transfer_fail(t, UV_EADDRNOTAVAIL, false, "its name has no address that can be used");
            return;
        }
    }
    connect_to(t);
}

static void hop(cadre__transfer *t)
{
    t->proxy = t->request.public_only ? NULL : cadre__proxy_for(&t->http->proxies, &t->url);
    snprintf(t->origin, sizeof t->origin, "%s://%s", t->url.secure ? "https" : "http", t->url.name);
    t->connect_due = in(t->http, t->request.connect_timeout_ms);
    t->stall_due = CADRE__NO_TIME;
    t->late = 0;
    if (t->proxy && t->proxy->wrong) {
        cadre__transfer_fail(t, CADRE_EINVAL, false, "the environment names a proxy (%s) that is not understood", t->url.secure ? "https_proxy" : "http_proxy");
        return;
    }
    int error;
    t->lookup = cadre__lookup_begin(t->http, t->proxy ? t->proxy->host : t->url.host, t->proxy ? t->proxy->port : t->url.port, on_addresses, t, &error);
    if (!t->lookup) cadre__transfer_fail(t, error, false, "its name could not be looked up: %s", cadre_strerror(error));
}

void cadre__transfer_begin(cadre__transfer *t)
{
    const char *why;
    int rc = cadre__url_parse(&t->url, t->text, NULL, &why);
    if (rc != CADRE_OK) {
        cadre__transfer_fail(t, rc, false, "the URL is refused: %s", why);
        return;
    }
    t->first.secure = t->url.secure;
    t->first.port = t->url.port;
    memcpy(t->first.host, t->url.host, sizeof t->first.host);
    for (const char *c = t->token; c && *c; c++)
        if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 0x7f) {
            cadre__transfer_fail(t, CADRE_EINVAL, false, "the token holds a character that cannot be sent");
            return;
        }
    hop(t);
}

/* ---- redirects ---- */

static bool at_first_origin(const cadre__transfer *t, const cadre__url *url)
{
    return t->first.secure == url->secure && t->first.port == url->port && strcmp(t->first.host, url->host) == 0;
}

bool cadre__transfer_redirect(cadre__transfer *t, const char *location)
{
    const char *why;
    cadre__url_clear(&t->onward);
    int rc = cadre__url_parse(&t->onward, location, &t->url, &why);
    if (rc != CADRE_OK) {
        cadre__transfer_fail(t, rc, false, "it redirects to a URL that is refused: %s", why);
        return true;
    }
    if (t->request.follow == CADRE__FOLLOW_SAME_ORIGIN && !cadre__url_same_origin(&t->url, &t->onward)) {
        cadre__url_clear(&t->onward);
        return false;
    }
    if (t->url.secure && !t->onward.secure) {
        cadre__transfer_fail(t, CADRE_EINPUT, false, "it redirects from https to http (%s), which is refused", t->onward.name);
    } else if (t->redirects >= CADRE__HTTP_REDIRECTS) {
        cadre__transfer_fail(t, CADRE_EINPUT, false, "more than %d redirects", CADRE__HTTP_REDIRECTS);
    } else {
        t->redirecting = true;
    }
    return true;
}

static void leave_multi(cadre__transfer *t)
{
    if (t->added) {
        t->http->inside++; /* sockets are let go meanwhile */
        (void)curl_multi_remove_handle(t->http->multi, t->easy);
        t->http->inside--;
    }
    t->added = t->connected = t->paused = t->enough = false;
    t->rests = 0;
}

static void go_on(cadre__transfer *t)
{
    leave_multi(t);
    drop_lists(t);
    t->redirects++;
    t->redirecting = false;
    cadre__url_clear(&t->url);
    t->url = t->onward;
    memset(&t->onward, 0, sizeof t->onward);
    if (!at_first_origin(t, &t->url)) t->strayed = true;
    cadre__answer_clear(&t->answer);
    hop(t);
}

void cadre__transfer_finished(cadre__transfer *t, CURLcode code)
{
    bool died = code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR || code == CURLE_GOT_NOTHING;
    if (died && !t->answer.begun && !t->fresh && cadre__connection_was_old(t)) {
        leave_multi(t);
        drop_lists(t);
        t->fresh = true;
        hop(t);
        return;
    }
    bool refusal = t->answer.final && (t->answer.status < 200 || t->answer.status > 299);
    if (t->redirecting && (code == CURLE_OK || t->enough)) {
        go_on(t);
        return;
    }
    /* Of an answer that refuses, the head is what counts. */
    if (code == CURLE_OK && t->answer.final)
        t->over = true;
    else if (refusal)
        t->over = true;
    else
        cadre__result_of_code(t, code);
    leave_multi(t);
}

/* ---- time ---- */

void cadre__transfer_moved(cadre__transfer *t)
{
    t->late = 0;
    t->stall_due = in(t->http, t->request.stall_timeout_ms);
}

static uint64_t waiting_due(const cadre__transfer *t)
{
    return !t->connected ? t->connect_due : t->paused || t->rests ? CADRE__NO_TIME : t->stall_due;
}

uint64_t cadre__transfer_due(const cadre__transfer *t)
{
    uint64_t due = t->late ? t->late : waiting_due(t);
    return due < t->all_due ? due : t->all_due;
}

void cadre__transfer_check_time(cadre__transfer *t, uint64_t now)
{
    if (t->all_due <= now) {
        cadre__transfer_fail(t, UV_ETIMEDOUT, true, "not done within %lld ms, %llu bytes came", (long long)t->request.timeout_ms,
                             (unsigned long long)t->answer.body);
    } else if (waiting_due(t) > now) {
        t->late = 0;
    } else if (!t->late) {
        t->late = now + 1;
    } else if (t->late <= now) {
        if (t->connected)
            cadre__transfer_fail(t, UV_ETIMEDOUT, true, "no byte for %lld ms, after %llu", (long long)t->request.stall_timeout_ms,
                                 (unsigned long long)t->answer.body);
        else
            cadre__transfer_fail(t, UV_ETIMEDOUT, true, "no connection within %lld ms", (long long)t->request.connect_timeout_ms);
    }
}

/* ---- beginning and end ---- */

cadre__transfer *cadre__http_begin(cadre__http *http, const cadre__http_request *request)
{
    cadre__transfer *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->http = http;
    t->request = *request;
    t->text = strdup(request->url ? request->url : "");
    if (request->token && *request->token) t->token = strdup(request->token);
    if (!t->text || (request->token && *request->token && !t->token)) {
        free(t->text);
        free(t->token);
        free(t);
        return NULL;
    }
    t->request.url = t->request.token = NULL;
    t->connect_due = t->stall_due = CADRE__NO_TIME;
    t->all_due = in(http, request->timeout_ms);
    t->answer.body_length = -1;
    t->begin = true;
    t->next = http->transfers;
    t->link = &http->transfers;
    if (t->next) t->next->link = &t->next;
    http->transfers = t;
    cadre__http_put_off(http);
    return t;
}

void cadre__http_resume(cadre__transfer *transfer)
{
    transfer->resume = true;
    cadre__http_put_off(transfer->http);
}

void cadre__http_cancel(cadre__transfer *transfer)
{
    cadre__http *http = transfer->http;
    transfer->cancelled = true;
    if (http->inside) return;
    cadre__transfer_free(transfer);
    cadre__http_arm(http);
}

static void detach(cadre__transfer *t)
{
    leave_multi(t);
    if (t->lookup) cadre__lookup_cancel(t->lookup);
    t->lookup = NULL;
    if (t->link) *t->link = t->next;
    if (t->link && t->next) t->next->link = t->link;
    t->link = NULL;
}

void cadre__transfer_free(cadre__transfer *t)
{
    detach(t);
    curl_easy_cleanup(t->easy);
    if (t->names) curl_share_cleanup(t->names);
    drop_lists(t);
    cadre__url_clear(&t->url);
    cadre__url_clear(&t->onward);
    cadre__answer_clear(&t->answer);
    if (t->token) memset(t->token, 0, strlen(t->token));
    free(t->token);
    free(t->text);
    free(t);
}

void cadre__transfer_end(cadre__transfer *t)
{
    cadre__http_result result;
    detach(t);
    cadre__result_make(t, &result);
    t->request.on_done(t, &result, t->request.data);
    cadre__transfer_free(t);
}

const char *cadre__http_origin(cadre__transfer *transfer)
{
    return transfer->origin;
}
