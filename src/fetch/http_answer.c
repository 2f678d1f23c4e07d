#include "http_state.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

void cadre__answer_clear(cadre__answer *answer)
{
    free(answer->head);
    memset(answer, 0, sizeof *answer);
    answer->body_length = -1;
}

/* ---- the head ---- */

static const char *find(const cadre__answer *answer, const char *name)
{
    if (!answer->head) return NULL;
    for (const char *at = answer->head, *end = at + answer->length; at < end;) {
        const char *value = at + strlen(at) + 1;
        if (strcasecmp(at, name) == 0) return value;
        at = value + strlen(value) + 1;
    }
    return NULL;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* "Name: value\r\n"; what is no such line (a folded one) is passed over. */
static bool keep_line(cadre__answer *answer, const char *line, size_t length)
{
    const char *colon = memchr(line, ':', length);
    if (!colon || colon == line || is_space(line[0])) return true;
    if (memchr(line, '\0', length)) return false;
    const char *value = colon + 1, *end = line + length;
    while (value < end && is_space(*value)) value++;
    while (end > value && is_space(end[-1])) end--;
    size_t name_length = (size_t)(colon - line), value_length = (size_t)(end - value), need = answer->length + name_length + value_length + 2;
    if (need > answer->capacity) {
        char *longer = realloc(answer->head, need + 1024);
        if (!longer) return false;
        answer->head = longer;
        answer->capacity = need + 1024;
    }
    char *to = answer->head + answer->length;
    memcpy(to, line, name_length);
    to[name_length] = '\0';
    memcpy(to + name_length + 1, value, value_length);
    to[name_length + 1 + value_length] = '\0';
    answer->length = need;
    return true;
}

static int64_t number(const char *text, const char **end)
{
    int64_t value = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (value > (INT64_MAX - (*at - '0')) / 10) return -1;
        value = value * 10 + (*at - '0');
    }
    *end = at;
    return at == text ? -1 : value;
}

static int64_t announced(const cadre__answer *answer)
{
    const char *length = find(answer, "Content-Length"), *end;
    if (!length || find(answer, "Transfer-Encoding")) return -1;
    int64_t value = number(length, &end);
    return value >= 0 && *end == '\0' ? value : -1;
}

static bool is_redirect(long status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

static bool stopped(const cadre__transfer *t)
{
    return t->over || t->cancelled;
}

/* False: the transfer is over. */
static bool head_complete(cadre__transfer *t)
{
    cadre__answer *answer = &t->answer;
    const char *location = is_redirect(answer->status) ? find(answer, "Location") : NULL, *encoding = find(answer, "Content-Encoding");
    answer->complete = true;
    if (location && cadre__transfer_redirect(t, location)) return !stopped(t);
    bool file = answer->status >= 200 && answer->status <= 299;
    answer->final = true;
    answer->body_length = announced(answer);
    if (file && encoding && *encoding && strcasecmp(encoding, "identity") != 0) {
        cadre__transfer_fail(t, UV_EPROTO, false, "the answer comes in an encoding that was not asked for");
    } else if (file && !t->request.head && answer->body_length >= 0 && (uint64_t)answer->body_length > t->request.max_bytes) {
        cadre__transfer_fail(t, CADRE_EINPUT, false, "%lld bytes, above the limit of %llu", (long long)answer->body_length,
                             (unsigned long long)t->request.max_bytes);
    } else if (t->request.on_head) {
        int rc = t->request.on_head(t, answer->status, t->request.data);
        if (rc != 0) cadre__transfer_fail(t, rc, false, "%s", cadre_strerror(rc));
    }
    return !stopped(t);
}

static size_t on_header(char *line, size_t one, size_t count, void *data)
{
    cadre__transfer *t = data;
    cadre__answer *answer = &t->answer;
    size_t length = one * count, seen = answer->seen + length;
    if (stopped(t)) return 0;
    cadre__transfer_moved(t);
    if (seen > CADRE__HEAD_MAX) {
        cadre__transfer_fail(t, UV_EPROTO, false, "the head of its answer is longer than %d bytes", CADRE__HEAD_MAX);
        return 0;
    }
    if (answer->complete) { /* trailers of a body in chunks */
        answer->seen = seen;
        return length;
    }
    if (length > 5 && memcmp(line, "HTTP/", 5) == 0) { /* the first head, or the one after an interim one */
        cadre__answer_clear(answer);
        answer->begun = true;
        (void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &answer->status);
    } else if (length > 0 && (line[0] == '\r' || line[0] == '\n')) {
        answer->seen = seen;
        if (answer->status >= 200 && !head_complete(t)) return 0;
        return length;
    } else if (!keep_line(answer, line, length)) {
        cadre__transfer_fail(t, UV_EPROTO, false, "the head of its answer could not be kept");
        return 0;
    }
    answer->seen = seen;
    return length;
}

/* ---- the body ---- */

/* libcurl reads on for as long as its socket has something, up to 100 buffers: a fast line would keep the loop's thread for milliseconds. What the buffer still
 * holds comes all the same. */
static void rest(cadre__transfer *t)
{
    if (t->rests || curl_easy_pause(t->easy, CURLPAUSE_RECV) != CURLE_OK) return;
    t->rests = ++t->http->rests;
    cadre__http_put_off(t->http);
}

static size_t on_body(char *bytes, size_t one, size_t count, void *data)
{
    cadre__transfer *t = data;
    cadre__answer *answer = &t->answer;
    size_t length = one * count, use = length;
    if (stopped(t)) return 0;
    cadre__transfer_moved(t);
    bool file = answer->final && answer->status >= 200 && answer->status <= 299;
    if (file && length > t->request.max_bytes - answer->body) {
        cadre__transfer_fail(t, CADRE_EINPUT, false, "more than the limit of %llu bytes", (unsigned long long)t->request.max_bytes);
        return 0;
    }
    if (!file && use > CADRE__REFUSAL_MAX - answer->body) {
        use = CADRE__REFUSAL_MAX - (size_t)answer->body;
        t->enough = true;
    }
    int rc = answer->final && use && t->request.on_data ? t->request.on_data(t, bytes, use, t->request.data) : 0;
    if (stopped(t)) return 0;
    if (rc == CADRE_EAGAIN) {
        t->paused = true;
        t->enough = false;
        return CURL_WRITEFUNC_PAUSE;
    }
    if (rc < 0) {
        cadre__transfer_fail(t, rc, false, "%s", cadre_strerror(rc));
        return 0;
    }
    answer->body += use;
    t->http->turn += length;
    if (t->http->turn >= CADRE__HTTP_TURN) rest(t);
    return t->enough ? 0 : length;
}

#define SET(option, value) (curl_easy_setopt(t->easy, option, value) == CURLE_OK)

bool cadre__answer_options(cadre__transfer *t)
{
    return SET(CURLOPT_HEADERFUNCTION, on_header) && SET(CURLOPT_HEADERDATA, t) && SET(CURLOPT_WRITEFUNCTION, on_body) && SET(CURLOPT_WRITEDATA, t);
}

/* ---- what callbacks ask ---- */

const char *cadre__http_header(cadre__transfer *transfer, const char *name)
{
    return transfer->answer.final ? find(&transfer->answer, name) : NULL;
}

int64_t cadre__http_length(cadre__transfer *transfer)
{
    return transfer->answer.final ? transfer->answer.body_length : -1;
}

int64_t cadre__http_offset(cadre__transfer *transfer, int64_t *total)
{
    const cadre__answer *answer = &transfer->answer;
    if (total) *total = -1;
    if (answer->final && answer->status == 416) { /* the whole length after the slash */
        const char *range = find(answer, "Content-Range"), *slash = range ? strchr(range, '/') : NULL, *end;
        if (slash && total) *total = number(slash + 1, &end);
        return 0;
    }
    if (!answer->final || answer->status != 206) {
        if (total) *total = answer->body_length;
        return 0;
    }
    const char *range = find(answer, "Content-Range"), *end;
    if (!range || strncasecmp(range, "bytes", 5) != 0) return -1;
    range += 5 + strspn(range + 5, " ");
    int64_t from = number(range, &end);
    if (from < 0 || *end != '-') return -1;
    const char *slash = strchr(end, '/');
    if (slash && total) *total = number(slash + 1, &end);
    return from;
}
