/* What libcadre-fetch reads before a byte is written: references, URLs, and heads of answers. The first byte says which.
 *
 * A reference that is accepted is a path below the cache and a URL below the endpoint, and both say all of it. A head goes line by line to the function that
 * libcurl calls; what is then found in it (ETag, lengths, Content-Range, Retry-After, the hub's own headers, Location) is compared with a reader of this file's
 * own, which keeps nothing. No loop runs, and nothing is connected to. */
#include "fuzz.h"

#include <fetch/http_answer.c>

#include <fetch/fetch.h>
#include <netinet/in.h>
#include <string.h>

#define CACHE "/cache"
#define ENDPOINT "https://hub.example:8443/base"
#define TOKEN "hf_TokenThatNobodyMaySee"

static const cadre__settings settings = {.endpoint = (char *)(uintptr_t)ENDPOINT, .cache = (char *)(uintptr_t)CACHE, .token = (char *)(uintptr_t)TOKEN};

static char *copy_text(const uint8_t *bytes, size_t length)
{
    char *text = malloc(length + 1);
    if (!text) abort();
    memcpy(text, bytes, length);
    text[length] = '\0';
    return text;
}

/* ---- references ---- */

/* A path that stays where it is: no empty part, no "." or "..". */
static void check_path(const char *path, const char *below)
{
    FUZZ_CHECK(strncmp(path, below, strlen(below)) == 0 && path[strlen(below)] == '/', "\"%s\" is not below \"%s\"", path, below);
    for (const char *part = path + 1;; part += strcspn(part, "/") + 1) {
        size_t length = strcspn(part, "/");
        FUZZ_CHECK(length > 0 && length <= 512 && strncmp(part, ".", length) != 0 && strncmp(part, "..", length) != 0, "the path \"%s\"", path);
        if (!part[length]) return;
    }
}

static int digit(char c)
{
    const char *all = "0123456789ABCDEF", *at = c ? strchr(all, c) : NULL;
    return at ? (int)(at - all) : -1;
}

/* The URL's text, percent signs taken out, is the endpoint and all parts of the reference. */
static void check_url(const cadre__reference *r)
{
    char *url = cadre__reference_url(r, ENDPOINT, r->revision), plain[4096], expected[4096];
    size_t n = 0;
    if (!url) abort();
    for (const char *c = url; *c; c++) {
        FUZZ_CHECK(*c > ' ' && *c < 127 && !strchr("\"<>\\^`{|}?#", *c) && n < sizeof plain - 1, "the URL \"%s\"", url);
        plain[n++] = *c;
        if (*c != '%') continue;
        FUZZ_CHECK(digit(c[1]) >= 0 && digit(c[2]) >= 0, "the URL \"%s\"", url);
        plain[n - 1] = (char)(digit(c[1]) * 16 + digit(c[2]));
        c += 2;
    }
    plain[n] = '\0';
    snprintf(expected, sizeof expected, ENDPOINT "/%s/resolve/%s/%s", r->repository, r->revision, r->path);
    FUZZ_CHECK(strcmp(plain, expected) == 0, "\"%s\" is \"%s\"", url, expected);
    free(url);
}

static void check_parts(const cadre__reference *r)
{
    FUZZ_CHECK(r->part == 1 && r->parts >= 1 && r->parts <= CADRE__PARTS_MAX, "part %u of %u", r->part, r->parts);
    for (unsigned i = 1; i <= 2; i++) {
        cadre__reference part, again;
        unsigned number = i == 1 ? 1 : r->parts;
        char text[4096], detail[CADRE__FETCH_DETAIL];
        if (cadre__reference_part(&part, r, number) != CADRE_OK) abort();
        FUZZ_CHECK(strlen(part.path) == strlen(r->path) && (number > 1 || cadre__reference_equal(&part, r)), "part %u is \"%s\"", number, part.path);
        snprintf(text, sizeof text, "hf:%s@main/%s", r->repository, part.path);
        if (number > 1 && cadre__reference_parse(&again, text, detail, sizeof detail) == CADRE_OK) {
            FUZZ_CHECK(again.parts == 1, "part %u is the first of %u", number, again.parts);
            cadre__reference_clear(&again);
        }
        cadre__reference_clear(&part);
    }
}

static void check_reference(const cadre__reference *r)
{
    static const cadre__place places[] = {CADRE__BLOBS, CADRE__SNAPSHOTS, CADRE__REFS, CADRE__LOCKS};
    static const char commit[] = "0123456789abcdef0123456789abcdef01234567";
    char path[CADRE__FETCH_PATH], folder[256], print[CADRE__FETCH_DETAIL], *slash;
    snprintf(folder, sizeof folder, "models--%s", r->repository);
    slash = strchr(folder, '/');
    if (slash) memmove(slash + 2, slash + 1, strlen(slash)), memcpy(slash, "--", 2);
    FUZZ_CHECK(!strchr(folder, '/'), "the repository \"%s\"", r->repository);
    for (size_t i = 0; i < COUNT(places); i++) {
        bool snapshot = places[i] == CADRE__SNAPSHOTS, ref = places[i] == CADRE__REFS;
        int rc = cadre__cache_path(&settings, r, places[i], snapshot ? commit : ref ? r->revision : "etag", snapshot ? r->path : NULL, path);
        FUZZ_CHECK(rc == CADRE_OK, "no path: %s", cadre_err_name(rc));
        check_path(path, CACHE);
        FUZZ_CHECK(strstr(path, folder) != NULL, "\"%s\" is not of \"%s\"", path, r->repository);
        if (snapshot) FUZZ_CHECK(strcmp(path + strlen(path) - strlen(r->path), r->path) == 0, "\"%s\" is not the file \"%s\"", path, r->path);
        if (ref) FUZZ_CHECK(strcmp(path + strlen(path) - strlen(r->revision), r->revision) == 0, "\"%s\" is not the revision \"%s\"", path, r->revision);
    }
    cadre__reference_print(r, print, sizeof print);
    FUZZ_CHECK(strstr(print, r->repository) == print && strlen(print) < sizeof print, "printed as \"%s\"", print);
    check_url(r);
    check_parts(r);
}

static void try_reference(const uint8_t *bytes, size_t length)
{
    char *text = copy_text(bytes, length), detail[CADRE__FETCH_DETAIL] = "";
    cadre__reference reference;
    int rc = cadre__reference_parse(&reference, text, detail, sizeof detail);
    FUZZ_CHECK(rc == CADRE_OK || (rc == CADRE_EINVAL && detail[0]), "\"%s\": %s", text, cadre_err_name(rc));
    if (rc == CADRE_OK) {
        check_reference(&reference);
        cadre__reference_clear(&reference);
    }
    free(text);
}

/* ---- URLs ---- */

static void check_parsed(const cadre__url *url)
{
    FUZZ_CHECK(url->handle && url->port > 0 && url->host[0] && strstr(url->name, url->host), "a URL to \"%s\", port %u", url->name, (unsigned)url->port);
    for (const char *c = url->host; *c; c++)
        FUZZ_CHECK(*c > ' ' && *c < 127 && !strchr("/\\@?#%[]", *c) && !(*c >= 'A' && *c <= 'Z'), "the host \"%s\"", url->host);
    FUZZ_CHECK(cadre__url_same_origin(url, url), "it is not of its own origin");
}

/* A base, a line's end, and what it is followed by. */
static void try_urls(const uint8_t *bytes, size_t length)
{
    const uint8_t *newline = length ? memchr(bytes, '\n', length) : NULL;
    size_t first = newline ? (size_t)(newline - bytes) : length;
    char *base = copy_text(bytes, first), *onward = copy_text(bytes + first + (newline != NULL), length - first - (newline != NULL));
    const char *why = "";
    cadre__url a, b;
    int rc = cadre__url_parse(&a, base, NULL, &why);
    FUZZ_CHECK(rc == CADRE_OK || (rc == CADRE_EINPUT && *why), "\"%s\": %s", base, cadre_err_name(rc));
    if (rc == CADRE_OK) {
        check_parsed(&a);
        rc = cadre__url_parse(&b, onward, &a, &why);
        FUZZ_CHECK(rc == CADRE_OK || (rc == CADRE_EINPUT && *why), "\"%s\" after \"%s\": %s", onward, base, cadre_err_name(rc));
        if (rc == CADRE_OK) {
            check_parsed(&b);
            bool same = cadre__url_same_origin(&a, &b), absolute = strstr(onward, "//") || strchr(onward, ':') || strchr(onward, '\\');
            FUZZ_CHECK(same == cadre__url_same_origin(&b, &a) && (same || absolute), "\"%s\" leaves \"%s\"", onward, base);
            cadre__url_clear(&b);
        }
        cadre__url_clear(&a);
    }
    free(base);
    free(onward);
}

/* An address within another is as public as it is itself. */
static void try_address(const uint8_t *bytes, size_t length)
{
    if (length < 4) return;
    struct sockaddr_in four = {.sin_family = AF_INET};
    struct sockaddr_in6 mapped = {.sin6_family = AF_INET6, .sin6_addr.s6_addr = {[10] = 0xff, [11] = 0xff}};
    memcpy(&four.sin_addr, bytes, 4);
    memcpy(mapped.sin6_addr.s6_addr + 12, bytes, 4);
    bool is_public = cadre__address_is_public((struct sockaddr *)&four);
    if (is_public) FUZZ_CHECK(bytes[0] != 0 && bytes[0] != 10 && bytes[0] != 127 && bytes[0] < 224, "%u.%u.… is public", bytes[0], bytes[1]);
    FUZZ_CHECK(!cadre__address_is_public((struct sockaddr *)&mapped) || is_public, "an address is public within one of IPv6 alone");
}

/* ---- heads ---- */

typedef struct head {
    const char *text; /* all lines that were handed over */
    size_t length;
    bool asked;
} head;

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool next_line(const head *h, size_t *at, const char **line, size_t *length)
{
    if (*at >= h->length) return false;
    const char *newline = memchr(h->text + *at, '\n', h->length - *at);
    *line = h->text + *at;
    *length = newline ? (size_t)(newline - *line) + 1 : h->length - *at;
    *at += *length;
    return true;
}

/* Of the last head that has begun; false: it has no such header. */
static bool expected(const head *h, const char *name, char *out, size_t size)
{
    const char *line;
    bool found = false;
    for (size_t at = 0, length; next_line(h, &at, &line, &length);) {
        size_t begin = strlen(name) + 1;
        if (length > 5 && memcmp(line, "HTTP/", 5) == 0) found = false;
        if (found || length < begin || line[begin - 1] != ':' || strncasecmp(line, name, begin - 1) != 0) continue;
        while (begin < length && blank(line[begin])) begin++;
        while (length > begin && blank(line[length - 1])) length--;
        FUZZ_CHECK(length - begin < size, "a header too long for this test");
        memcpy(out, line + begin, length - begin);
        out[length - begin] = '\0';
        found = true;
    }
    return found;
}

static void check_meta(cadre__transfer *t)
{
    char detail[CADRE__FETCH_DETAIL] = "", path[CADRE__FETCH_PATH];
    cadre__meta meta;
    cadre__reference reference = {.repository = "owner/name", .revision = (char *)(uintptr_t) "main", .path = (char *)(uintptr_t) "file"};
    cadre__refusal refusal;
    int rc = cadre__hub_read(t, &meta, detail, sizeof detail);
    FUZZ_CHECK(rc == CADRE_OK || (rc == CADRE_EFORMAT && detail[0]), "the head is read with %s", cadre_err_name(rc));
    if (rc == CADRE_OK) {
        FUZZ_CHECK(cadre__is_commit(meta.commit) && meta.size <= INT64_MAX && meta.etag[0] && !strchr(meta.etag, '/'), "the ETag \"%s\"", meta.etag);
        FUZZ_CHECK(cadre__cache_path(&settings, &reference, CADRE__BLOBS, meta.etag, NULL, path) == CADRE_OK, "no path");
        check_path(path, CACHE);
        FUZZ_CHECK(strcmp(strrchr(path, '/') + 1, meta.etag) == 0 && !strstr(path, ".incomplete"), "a blob called \"%s\"", path);
    }
    cadre__hub_read_refusal(t, t->answer.status, &refusal);
    cadre__hub_refused(&settings, &reference, true, &refusal, "hub.example: 403 Forbidden", detail, sizeof detail);
    for (const char *c = detail; *c; c++) FUZZ_CHECK(*c >= ' ' && *c < 127, "a refusal's text");
    FUZZ_CHECK(!strstr(detail, TOKEN), "the token is in \"%s\"", detail);
}

static void check_offset(cadre__transfer *t, const head *h)
{
    char range[4096];
    int64_t total, at = cadre__http_offset(t, &total), length = cadre__http_length(t);
    FUZZ_CHECK(at >= -1 && total >= -1 && length >= -1, "a body of %lld at %lld of %lld", (long long)length, (long long)at, (long long)total);
    if (t->answer.status == 206 && at >= 0) {
        FUZZ_CHECK(expected(h, "Content-Range", range, sizeof range), "a range from nowhere");
        unsigned long long from;
        FUZZ_CHECK(sscanf(range, "%*[bytesBYTES] %llu-", &from) == 1 && (int64_t)from == at, "\"%s\" begins at %lld", range, (long long)at);
    }
    if (t->answer.status != 206) FUZZ_CHECK(at == 0, "a whole body at %lld", (long long)at);
}

static int on_head(cadre__transfer *t, long status, void *data)
{
    static const char *const names[] = {"ETag",          "X-Linked-ETag", "content-length", "X-LINKED-SIZE",
                                        "X-Repo-Commit", "Retry-After",   "Content-Range",  "X-Error-Message"};
    head *h = data;
    char value[4096];
    h->asked = true;
    FUZZ_CHECK(status == t->answer.status && status >= 200, "the status %ld", status);
    for (size_t i = 0; i < COUNT(names); i++) {
        const char *is = cadre__http_header(t, names[i]);
        bool has = expected(h, names[i], value, sizeof value);
        FUZZ_CHECK(has == (is != NULL) && (!has || strcmp(is, value) == 0), "%s is \"%s\" and not \"%s\"", names[i], is ? is : "(none)",
                   has ? value : "(none)");
    }
    check_meta(t);
    check_offset(t, h);
    return 0;
}

static void check_end(cadre__transfer *t, const head *h)
{
    cadre__http_result result;
    if (t->redirecting) {
        check_parsed(&t->onward);
        FUZZ_CHECK(t->onward.secure || !t->url.secure, "a redirect from https to http");
        FUZZ_CHECK(t->request.follow == CADRE__FOLLOW_ALL || cadre__url_same_origin(&t->url, &t->onward), "a redirect to another origin");
        FUZZ_CHECK(!h->asked, "a redirect is an answer");
    }
    if (t->over) FUZZ_CHECK(t->error < 0 && t->detail[0], "it ends with %d", t->error);
    cadre__result_make(t, &result);
    FUZZ_CHECK(result.retry_after_ms >= -1 && result.retry_after_ms <= 86400000, "again after %lld ms", (long long)result.retry_after_ms);
    FUZZ_CHECK(result.detail && *result.detail && strlen(result.detail) < CADRE__HTTP_DETAIL && !strstr(result.detail, TOKEN), "the detail \"%s\"",
               result.detail);
}

static void on_done(cadre__transfer *t, const cadre__http_result *result, void *data)
{
    (void)t, (void)result, (void)data;
    fuzz_fail("a cancelled transfer ends");
}

static cadre__http *get_http(void)
{
    static uv_loop_t loop;
    static cadre__http *http;
    if (!http && (uv_loop_init(&loop) != 0 || cadre__http_create(&http, &loop, NULL) != 0)) fuzz_fail("no HTTP");
    return http;
}

/* Two bytes of options; the head. libcurl hands over whole lines of at most 100 KiB. */
static void try_head(fuzz_bytes *b)
{
    static const char *const bases[] = {"http://127.0.0.1:8080/a/b?c", "https://hub.example/a", "http://[::1]/", "https://hub.example:8443/x/y"};
    static const long statuses[] = {100, 200, 206, 301, 302, 307, 308, 401, 403, 404, 416, 429, 500, 503, 200, 302};
    uint8_t status = fuzz_byte(b), options = fuzz_byte(b);
    char *text = copy_text(b->at, b->left);
    head h = {.text = text};
    const char *why, *line;
    cadre__http_request request = {.url = bases[options & 3], .head = options & 4, .follow = options & 8 ? CADRE__FOLLOW_SAME_ORIGIN : CADRE__FOLLOW_ALL};
    request.token = TOKEN;
    request.max_bytes = options & 16 ? 1000 : UINT64_MAX;
    request.connect_timeout_ms = request.stall_timeout_ms = request.timeout_ms = CADRE_NEVER;
    request.on_head = on_head;
    request.on_done = on_done;
    request.data = &h;
    cadre__transfer *t = cadre__http_begin(get_http(), &request);
    if (!t || cadre__url_parse(&t->url, bases[options & 3], NULL, &why) != CADRE_OK) fuzz_fail("no transfer");
    const head whole = {.text = text, .length = b->left};
    for (size_t at = 0, length; next_line(&whole, &at, &line, &length);) {
        char *exact = malloc(length);
        if (!exact) abort();
        memcpy(exact, line, length);
        h.length = at;
        if (length <= 5 || memcmp(line, "HTTP/", 5) != 0) t->answer.status = statuses[status % COUNT(statuses)];
        size_t taken = on_header(exact, 1, length, t);
        free(exact);
        FUZZ_CHECK(taken == length || (taken == 0 && t->over), "%zu of %zu bytes are taken", taken, length);
        if (taken == 0 || t->answer.complete) break;
    }
    check_end(t, &h);
    cadre__http_cancel(t);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_bytes b = {data, size > 4000 ? 4000 : size};
    switch (fuzz_byte(&b) % 4) {
    case 0: try_reference(b.at, b.left); break;
    case 1: try_urls(b.at, b.left); break;
    case 2: try_head(&b); break;
    default: try_address(b.at, b.left); break;
    }
    return 0;
}
