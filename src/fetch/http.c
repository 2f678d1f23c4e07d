#include "http_state.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

/* A socket that libcurl wants to be watched. Its handle is closed when libcurl lets go of the socket; a new one may come for the same number at once. */
typedef struct watch {
    uv_poll_t poll;
    cadre__http *http;
    curl_socket_t socket;
} watch;

static void free_http(cadre__http *http)
{
    void (*cb)(void *) = http->on_close;
    void *data = http->on_close_data;
    cadre__proxies_clear(&http->proxies);
    free(http->ca_file);
    free(http);
    curl_global_cleanup();
    if (cb) cb(data);
}

void cadre__http_closed_one(cadre__http *http)
{
    if (http->closing && http->handles == 0 && http->lookups == 0) free_http(http);
}

static void on_handle_closed(uv_handle_t *handle)
{
    cadre__http *http = handle->data;
    http->handles--;
    cadre__http_closed_one(http);
}

static void on_watch_closed(uv_handle_t *handle)
{
    watch *w = handle->data;
    cadre__http *http = w->http;
    free(w);
    http->handles--;
    cadre__http_closed_one(http);
}

/* ---- libcurl and the loop ---- */

static void act(cadre__http *http, curl_socket_t socket, int events)
{
    int running;
    http->turn = 0;
    http->inside++;
    (void)curl_multi_socket_action(http->multi, socket, events, &running);
    http->inside--;
    cadre__http_settle(http);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    watch *w = poll->data;
    int what = status < 0 ? CURL_CSELECT_ERR : (events & UV_READABLE ? CURL_CSELECT_IN : 0) | (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0);
    act(w->http, w->socket, what);
}

static watch *watch_create(cadre__http *http, curl_socket_t socket)
{
    watch *w = malloc(sizeof *w);
    if (!w) return NULL;
    if (uv_poll_init_socket(http->loop, &w->poll, socket) < 0) {
        free(w);
        return NULL;
    }
    w->poll.data = w;
    w->http = http;
    w->socket = socket;
    http->handles++;
    return w;
}

/* A failure here fails one transfer; libcurl's own way, a non-zero return, would end them all. */
static int on_socket(CURL *easy, curl_socket_t socket, int what, void *data, void *own)
{
    cadre__http *http = data;
    watch *w = own;
    if (what == CURL_POLL_REMOVE) {
        if (w) uv_close((uv_handle_t *)&w->poll, on_watch_closed);
        (void)curl_multi_assign(http->multi, socket, NULL);
        return 0;
    }
    int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    if (!w) {
        w = watch_create(http, socket);
        if (w) (void)curl_multi_assign(http->multi, socket, w);
    }
    if (w && uv_poll_start(&w->poll, events, on_poll) == 0) return 0;
    cadre__transfer *transfer = NULL;
    if (curl_easy_getinfo(easy, CURLINFO_PRIVATE, &transfer) == CURLE_OK && transfer)
        cadre__transfer_fail(transfer, CADRE_ENOMEM, false, "its socket could not be watched");
    return 0;
}

static int on_curl_timer(CURLM *multi, long ms, void *data)
{
    cadre__http *http = data;
    (void)multi;
    http->curl_due = ms < 0 ? CADRE__NO_TIME : uv_now(http->loop) + (uint64_t)ms;
    cadre__http_arm(http);
    return 0;
}

/* ---- time ---- */

static void on_timer(uv_timer_t *timer)
{
    cadre__http *http = timer->data;
    uint64_t now = uv_now(http->loop);
    if (http->curl_due <= now) {
        http->curl_due = CADRE__NO_TIME;
        act(http, CURL_SOCKET_TIMEOUT, 0);
        if (http->closing) return;
    }
    for (cadre__transfer *t = http->transfers; t; t = t->next) cadre__transfer_check_time(t, now);
    cadre__http_settle(http);
}

/* While there is a transfer the timer is active, so that one which rests (paused, without deadlines) holds the loop too. */
void cadre__http_arm(cadre__http *http)
{
    uint64_t now = uv_now(http->loop), due = http->curl_due;
    if (http->closing) return;
    for (cadre__transfer *t = http->transfers; t; t = t->next) {
        uint64_t own = cadre__transfer_due(t);
        if (own < due) due = own;
    }
    if (!http->transfers) {
        (void)uv_timer_stop(&http->timer);
        return;
    }
    uint64_t wait = due <= now ? 0 : due - now;
    if (wait > 3600000) wait = 3600000;
    (void)uv_timer_start(&http->timer, on_timer, wait, 0);
}

/* ---- what is put off ---- */

static void go_on(cadre__http *http, cadre__transfer *t)
{
    t->paused = t->resume = false;
    t->rests = 0;
    cadre__transfer_moved(t);
    http->inside++;
    CURLcode code = curl_easy_pause(t->easy, CURLPAUSE_CONT);
    http->inside--;
    if (code == CURLE_OK) return;
    t->finished = true; /* on_body refused what was kept: libcurl says so here alone, and would not go on */
    t->code = code;
}

/* Of those that rest the one that does so longest goes on, and one in a turn: libcurl reads for all of them at once. */
static void on_later(uv_idle_t *later)
{
    cadre__http *http = later->data;
    cadre__transfer *longest = NULL;
    unsigned resting = 0;
    (void)uv_idle_stop(later);
    http->turn = 0;
    for (cadre__transfer *t = http->transfers; t; t = t->next) {
        bool resume = t->resume;
        t->resume = false;
        if (t->over || t->cancelled || !t->added) continue;
        if (t->paused && resume) go_on(http, t);
        if (t->paused || !t->rests) continue;
        resting++;
        if (!longest || t->rests < longest->rests) longest = t;
    }
    if (longest) go_on(http, longest);
    if (resting > 1) cadre__http_put_off(http);
    cadre__http_settle(http);
}

void cadre__http_put_off(cadre__http *http)
{
    (void)uv_idle_start(&http->later, on_later);
}

static void take_finished(cadre__http *http)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(http->multi, &left)) != NULL) {
        cadre__transfer *transfer = NULL;
        if (message->msg != CURLMSG_DONE || curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer) != CURLE_OK || !transfer) continue;
        transfer->finished = true;
        transfer->code = message->data.result;
    }
}

static cadre__transfer *marked(cadre__http *http)
{
    for (cadre__transfer *t = http->transfers; t; t = t->next)
        if (t->cancelled || t->over || t->finished || t->begin) return t;
    return NULL;
}

void cadre__http_settle(cadre__http *http)
{
    if (http->inside || http->closing) return;
    http->inside++; /* callbacks come here again: they only mark */
    for (;;) {
        take_finished(http);
        cadre__transfer *t = marked(http);
        if (!t) break;
        if (t->cancelled) {
            cadre__transfer_free(t);
        } else if (t->over) {
            cadre__transfer_end(t);
            if (http->closing) break;
        } else if (t->finished) {
            t->finished = false;
            cadre__transfer_finished(t, t->code);
        } else {
            t->begin = false;
            cadre__transfer_begin(t);
        }
    }
    http->inside--;
    if (!http->closing) cadre__http_arm(http);
}

/* ---- create, close ---- */

/* Debian's libcurl knows a file with all certificates and a folder that holds them by hash. Reading the file takes tens of milliseconds of the loop; of the
 * folder one small file is read. */
static const char *certificate_folder(void)
{
    const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);
    const char *folder = info->age >= CURLVERSION_SEVENTH ? info->capath : NULL, *ssl = info->ssl_version ? info->ssl_version : "";
    if (!folder || strncmp(ssl, "OpenSSL", 7) != 0) return NULL;
    DIR *open = opendir(folder);
    bool hashed = false;
    for (struct dirent *e = open ? readdir(open) : NULL; e && !hashed; e = readdir(open)) {
        const char *dot = strchr(e->d_name, '.');
        hashed = dot && dot - e->d_name == 8 && strspn(e->d_name, "0123456789abcdef") == 8 && strspn(dot + 1, "0123456789") == strlen(dot + 1) && dot[1];
    }
    if (open) closedir(open);
    return hashed ? folder : NULL;
}

static int begin_handles(cadre__http *http)
{
    int rc = uv_timer_init(http->loop, &http->timer);
    if (rc == 0) rc = uv_idle_init(http->loop, &http->later); /* neither of the two can fail */
    http->timer.data = http->later.data = http;
    http->handles = 2;
    return rc;
}

int cadre__http_create(cadre__http **out, uv_loop_t *loop, const char *ca_file)
{
    *out = NULL;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) return CADRE_ENOMEM;
    cadre__http *http = calloc(1, sizeof *http);
    if (!http) {
        curl_global_cleanup();
        return CADRE_ENOMEM;
    }
    http->loop = loop;
    http->curl_due = CADRE__NO_TIME;
    http->multi = curl_multi_init();
    if (ca_file) http->ca_file = strdup(ca_file);
    int rc = http->multi && (!ca_file || http->ca_file) ? cadre__proxies_init(&http->proxies) : CADRE_ENOMEM;
    if (rc == CADRE_OK) rc = begin_handles(http);
    if (rc != CADRE_OK) {
        curl_multi_cleanup(http->multi);
        free_http(http);
        return rc;
    }
    http->ca_path = ca_file ? NULL : certificate_folder();
    (void)curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    (void)curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
    (void)curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    (void)curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
    (void)curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, 8L);
    *out = http;
    return CADRE_OK;
}

void cadre__http_close(cadre__http *http, void (*cb)(void *data), void *data)
{
    while (http->transfers) cadre__transfer_free(http->transfers); /* those that were cancelled a moment ago */
    http->on_close = cb;
    http->on_close_data = data;
    http->closing = true;
    (void)curl_multi_cleanup(http->multi); /* idle connections; on_socket closes their handles */
    http->multi = NULL;
    uv_close((uv_handle_t *)&http->timer, on_handle_closed);
    uv_close((uv_handle_t *)&http->later, on_handle_closed);
}
