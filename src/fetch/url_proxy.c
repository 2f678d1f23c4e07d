/* The proxies of the environment. libcurl would read the same variables itself, but then it would also look up the proxy's name, on a thread of its own whose
 * cancel joins it; so the choice is made here, and libcurl is told. */
#include "url.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *variable(const char *small, const char *capital)
{
    const char *value = getenv(small);
    if ((!value || !*value) && capital) value = getenv(capital);
    return value && *value ? value : NULL;
}

/* A SOCKS proxy is asked to look names up itself: else libcurl would. */
static bool scheme_fits(CURLU *handle, const char *scheme)
{
    static const char *const ways[][2] = {{"http", "http"},      {"https", "https"},     {"socks5h", "socks5h"},
                                          {"socks5", "socks5h"}, {"socks4a", "socks4a"}, {"socks4", "socks4a"}};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        if (strcasecmp(scheme, ways[i][0]) == 0) return curl_url_set(handle, CURLUPART_SCHEME, ways[i][1], CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK;
    return false;
}

static bool proxy_host(cadre__proxy *proxy, const char *host)
{
    size_t length = strlen(host);
    bool six = length > 2 && host[0] == '[' && host[length - 1] == ']';
    if (six) host++, length -= 2;
    if (length < 1 || length > 253) return false;
    snprintf(proxy->host, sizeof proxy->host, "%.*s", (int)length, host);
    unsigned char address[16];
    proxy->numeric = inet_pton(six ? AF_INET6 : AF_INET, proxy->host, address) == 1;
    return true;
}

static void proxy_parse(cadre__proxy *proxy, const char *text)
{
    char *scheme = NULL, *host = NULL, *port = NULL;
    CURLU *handle = curl_url();
    proxy->wrong = true;
    if (handle && curl_url_set(handle, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME | CURLU_GUESS_SCHEME) == CURLUE_OK &&
        curl_url_get(handle, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK && scheme_fits(handle, scheme) &&
        curl_url_get(handle, CURLUPART_HOST, &host, 0) == CURLUE_OK && proxy_host(proxy, host)) {
        if (curl_url_get(handle, CURLUPART_PORT, &port, 0) == CURLUE_OK)
            proxy->port = (uint16_t)strtoul(port, NULL, 10);
        else
            proxy->port = strcasecmp(scheme, "https") == 0 ? 443 : 1080; /* as libcurl's default is */
        char number[8];
        snprintf(number, sizeof number, "%u", (unsigned)proxy->port);
        proxy->wrong = proxy->port == 0 || curl_url_set(handle, CURLUPART_PORT, number, 0) != CURLUE_OK ||
                       curl_url_get(handle, CURLUPART_URL, &proxy->url, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK;
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(handle);
}

int cadre__proxies_init(cadre__proxies *proxies)
{
    memset(proxies, 0, sizeof *proxies);
    const char *all = variable("all_proxy", "ALL_PROXY"), *plain = variable("http_proxy", NULL), *secure = variable("https_proxy", "HTTPS_PROXY");
    if (plain || all) proxy_parse(&proxies->plain, plain ? plain : all);
    if (secure || all) proxy_parse(&proxies->secure, secure ? secure : all);
    const char *except = variable("no_proxy", "NO_PROXY");
    if (except) proxies->except = strdup(except);
    if (!except || proxies->except) return CADRE_OK;
    cadre__proxies_clear(proxies);
    return CADRE_ENOMEM;
}

void cadre__proxies_clear(cadre__proxies *proxies)
{
    curl_free(proxies->plain.url);
    curl_free(proxies->secure.url);
    free(proxies->except);
    memset(proxies, 0, sizeof *proxies);
}

/* An address, or a range of them: "10.1.2.3", "10.0.0.0/8", "fd00::/8". */
static bool in_range(const char *host, const char *range)
{
    char text[64];
    unsigned char a[16], b[16];
    const char *slash = strchr(range, '/');
    int family = strchr(host, ':') ? AF_INET6 : AF_INET, most = family == AF_INET ? 32 : 128, bits = slash ? atoi(slash + 1) : most;
    size_t length = slash ? (size_t)(slash - range) : strlen(range);
    if (length > 1 && range[0] == '[' && range[length - 1] == ']') range++, length -= 2;
    if (bits < 0 || bits > most || length >= sizeof text) return false;
    memcpy(text, range, length);
    text[length] = '\0';
    if (inet_pton(family, host, a) != 1 || inet_pton(family, text, b) != 1) return false;
    if (memcmp(a, b, (size_t)bits / 8) != 0) return false;
    return bits % 8 == 0 || (a[bits / 8] ^ b[bits / 8]) >> (8 - bits % 8) == 0;
}

/* "example.com" and ".example.com" both mean the domain and all below it. */
static bool in_domain(const char *host, const char *domain)
{
    if (*domain == '.') domain++;
    size_t h = strlen(host), d = strlen(domain);
    if (h && host[h - 1] == '.') h--;
    if (d && domain[d - 1] == '.') d--;
    if (d == 0 || d > h || strncasecmp(host + h - d, domain, d) != 0) return false;
    return d == h || host[h - d - 1] == '.';
}

static bool excepted(const char *list, const cadre__url *url)
{
    char item[CADRE__HOST];
    for (const char *at = list; at && *at;) {
        size_t length = strcspn(at, ", \t");
        if (length > 0 && length < sizeof item) {
            memcpy(item, at, length);
            item[length] = '\0';
            if (strcmp(item, "*") == 0) return true;
            if (url->numeric ? in_range(url->host, item) : in_domain(url->host, item)) return true;
        }
        at += length;
        at += strspn(at, ", \t");
    }
    return false;
}

const cadre__proxy *cadre__proxy_for(const cadre__proxies *proxies, const cadre__url *url)
{
    const cadre__proxy *proxy = url->secure ? &proxies->secure : &proxies->plain;
    if ((!proxy->url && !proxy->wrong) || excepted(proxies->except, url)) return NULL;
    return proxy;
}
