#include "http_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The server's own words are not repeated: they could be anything, its copy of a token too. */
const char *cadre__status_text(long status)
{
    static const struct {
        long status;
        const char *text;
    } known[] = {
        {200, "OK"},
        {201, "Created"},
        {204, "No Content"},
        {206, "Partial Content"},
        {300, "Multiple Choices"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {402, "Payment Required"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {407, "Proxy Authentication Required"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {412, "Precondition Failed"},
        {416, "Range Not Satisfiable"},
        {421, "Misdirected Request"},
        {429, "Too Many Requests"},
        {451, "Unavailable For Legal Reasons"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].status == status) return known[i].text;
    return "";
}

static int system_error(const cadre__transfer *t, int otherwise)
{
    long number = 0;
    if (curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &number) != CURLE_OK || number <= 0) return otherwise;
    int error = uv_translate_sys_error((int)number);
    return error == UV_EAGAIN ? otherwise : error;
}

/* Another answer's rest may have lain in a connection that was used before. */
bool cadre__connection_was_old(const cadre__transfer *t)
{
    long made = 1;
    return curl_easy_getinfo(t->easy, CURLINFO_NUM_CONNECTS, &made) == CURLE_OK && made == 0;
}

static void cut(cadre__transfer *t, int error, const char *what)
{
    unsigned long long body = t->answer.body;
    if (!t->answer.final)
        cadre__transfer_fail(t, error, true, "%s before an answer came", what);
    else if (t->answer.body_length >= 0)
        cadre__transfer_fail(t, error, true, "%s after %llu of %lld bytes", what, body, (long long)t->answer.body_length);
    else
        cadre__transfer_fail(t, error, true, "%s after %llu bytes", what, body);
}

void cadre__result_of_code(cadre__transfer *t, CURLcode code)
{
    switch (code) {
    case CURLE_OK: cadre__transfer_fail(t, UV_EPROTO, false, "it sent no whole answer"); break;
    case CURLE_COULDNT_CONNECT: {
        int error = system_error(t, UV_ECONNREFUSED);
        cadre__transfer_fail(t, error, true, "no connection%s: %s", t->proxy ? " to its proxy" : "", uv_strerror(error));
        break;
    }
    case CURLE_OPERATION_TIMEDOUT: cadre__transfer_fail(t, UV_ETIMEDOUT, true, "no connection within %lld ms", (long long)t->request.connect_timeout_ms); break;
    case CURLE_GOT_NOTHING: cut(t, UV_ECONNRESET, "the connection ended"); break;
    case CURLE_PARTIAL_FILE: cut(t, UV_ECONNRESET, "the connection ended"); break;
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR: cut(t, UV_ECONNRESET, "the connection was reset"); break;
    case CURLE_SSL_CONNECT_ERROR: cadre__transfer_fail(t, UV_EPROTO, true, "no TLS connection%s%s", t->library[0] ? ": " : "", t->library); break;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_INVALIDCERTSTATUS: cadre__transfer_fail(t, UV_EPROTO, false, "its certificate is refused%s%s", t->library[0] ? ": " : "", t->library); break;
    case CURLE_SSL_CACERT_BADFILE: cadre__transfer_fail(t, UV_EIO, false, "the file with trusted certificates cannot be read"); break;
    case CURLE_COULDNT_RESOLVE_PROXY: cadre__transfer_fail(t, UV_EAI_FAIL, false, "its proxy's name could not be looked up"); break;
    case CURLE_PROXY: cadre__transfer_fail(t, UV_ECONNREFUSED, true, "its proxy refuses the connection"); break;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING: cadre__transfer_fail(t, UV_EPROTO, cadre__connection_was_old(t), "what it sends is not HTTP"); break;
    case CURLE_OUT_OF_MEMORY:
        /* libcurl says so of a line of the head above its limit of 100 KiB too */
        if (t->connected && !t->answer.complete)
            cadre__transfer_fail(t, UV_EPROTO, false, "the head of its answer has too long a line, or memory is out");
        else
            cadre__transfer_fail(t, CADRE_ENOMEM, false, "out of memory");
        break;
    default: cadre__transfer_fail(t, UV_EIO, true, "%s, after %llu bytes", curl_easy_strerror(code), (unsigned long long)t->answer.body); break;
    }
}

#define RETRY_MOST_S 86400

/* Seconds, or a date. */
static int64_t retry_after(const char *text)
{
    if (!text || !*text) return -1;
    int64_t seconds;
    if (strspn(text, "0123456789") == strlen(text)) {
        seconds = strlen(text) > 6 ? RETRY_MOST_S : atol(text);
    } else {
        time_t then = curl_getdate(text, NULL), now = time(NULL);
        if (then == (time_t)-1) return -1;
        seconds = then > now ? (int64_t)then - (int64_t)now : 0;
    }
    return (seconds > RETRY_MOST_S ? RETRY_MOST_S : seconds) * 1000;
}

void cadre__result_make(cadre__transfer *t, cadre__http_result *out)
{
    long status = t->answer.complete ? t->answer.status : 0;
    *out = (cadre__http_result){.error = t->error, .status = status, .passes = t->passes, .retry_after_ms = -1, .detail = t->detail};
    if (t->answer.complete) out->retry_after_ms = retry_after(cadre__http_header(t, "Retry-After"));
    if (t->error) return;
    out->passes = status == 408 || status == 429 || status >= 500;
    snprintf(t->detail, sizeof t->detail, "%s: %ld %s", t->url.name, status, cadre__status_text(status));
    size_t length = strlen(t->detail);
    if (t->detail[length - 1] == ' ') t->detail[length - 1] = '\0';
}
