#include "url.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define URL_MAX 16384

static int refuse(const char **why, const char *reason)
{
    *why = reason;
    return CADRE_EINPUT;
}

static int refuse_part(const char **why, CURLUcode code)
{
    switch (code) {
    case CURLUE_OUT_OF_MEMORY: *why = "out of memory"; return CADRE_ENOMEM;
    case CURLUE_UNSUPPORTED_SCHEME: return refuse(why, "its scheme is not http or https");
    case CURLUE_BAD_SCHEME: return refuse(why, "it has no scheme");
    case CURLUE_USER_NOT_ALLOWED: return refuse(why, "it holds a user's name or password");
    case CURLUE_NO_HOST:
    case CURLUE_BAD_HOSTNAME:
    case CURLUE_BAD_IPV6: return refuse(why, "its host is not valid");
    case CURLUE_BAD_PORT_NUMBER: return refuse(why, "its port is not valid");
    default: return refuse(why, "it is not a valid URL");
    }
}

/* Letters, digits, '-', '.', '_'; or an IPv6 address in brackets. What libcurl would still change (names in other scripts) is refused: the name that is looked
 * up here must be the one that libcurl looks for in what it is given. */
static bool take_host(cadre__url *out, const char *host)
{
    size_t length = strlen(host);
    bool six = length > 2 && host[0] == '[' && host[length - 1] == ']';
    if (six) host++, length -= 2;
    if (length < 1 || length > 253) return false;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)host[i];
        if (c >= 0x80 || !(isalnum(c) || c == '.' || (six ? c == ':' : c == '-' || c == '_'))) return false;
        out->host[i] = (char)tolower(c);
    }
    out->host[length] = '\0';
    unsigned char address[16];
    out->numeric = inet_pton(six ? AF_INET6 : AF_INET, out->host, address) == 1;
    return !six || out->numeric;
}

static int take_parts(cadre__url *out, const char **why)
{
    char *scheme = NULL, *host = NULL, *port = NULL, *zone = NULL;
    CURLUcode code = curl_url_get(out->handle, CURLUPART_SCHEME, &scheme, 0);
    if (code == CURLUE_OK) code = curl_url_get(out->handle, CURLUPART_HOST, &host, 0);
    if (code == CURLUE_OK) code = curl_url_get(out->handle, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT);
    CURLUcode zoned = code == CURLUE_OK ? curl_url_get(out->handle, CURLUPART_ZONEID, &zone, 0) : CURLUE_NO_ZONEID;
    int rc = CADRE_OK;
    if (code != CURLUE_OK) {
        rc = refuse_part(why, code);
    } else if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0) {
        rc = refuse(why, "its scheme is not http or https");
    } else if (zoned != CURLUE_NO_ZONEID) {
        rc = refuse(why, "its address names a network interface");
    } else if (!take_host(out, host)) {
        rc = refuse(why, "its host is not valid (names in other scripts are written in their ASCII form, xn--…)");
    } else {
        unsigned long number = strtoul(port, NULL, 10);
        out->secure = scheme[4] == 's';
        out->port = (uint16_t)number;
        if (number < 1 || number > 65535) rc = refuse(why, "its port is not valid");
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_free(zone);
    return rc;
}

int cadre__url_parse(cadre__url *out, const char *text, const cadre__url *base, const char **why)
{
    memset(out, 0, sizeof *out);
    *why = "out of memory";
    if (!text || !*text) return refuse(why, "it is empty");
    if (strlen(text) > URL_MAX) return refuse(why, "it is longer than 16 KiB");
    out->handle = base ? curl_url_dup(base->handle) : curl_url();
    if (!out->handle) return CADRE_ENOMEM;
    CURLUcode code = curl_url_set(out->handle, CURLUPART_URL, text, CURLU_DISALLOW_USER | CURLU_URLENCODE);
    int rc = code == CURLUE_OK ? take_parts(out, why) : refuse_part(why, code);
    if (rc != CADRE_OK) {
        cadre__url_clear(out);
        return rc;
    }
    bool six = strchr(out->host, ':') != NULL;
    if (out->port == (out->secure ? 443 : 80))
        snprintf(out->name, sizeof out->name, six ? "[%s]" : "%s", out->host);
    else
        snprintf(out->name, sizeof out->name, six ? "[%s]:%u" : "%s:%u", out->host, (unsigned)out->port);
    return CADRE_OK;
}

void cadre__url_clear(cadre__url *url)
{
    curl_url_cleanup(url->handle);
    memset(url, 0, sizeof *url);
}

bool cadre__url_same_origin(const cadre__url *a, const cadre__url *b)
{
    return a->secure == b->secure && a->port == b->port && strcmp(a->host, b->host) == 0;
}
