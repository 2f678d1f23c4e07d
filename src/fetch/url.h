/* URLs as libcurl's parser reads them, which is the one that connects; and the proxies of the environment. Any thread. */
#ifndef CADRE__FETCH_URL_H
#define CADRE__FETCH_URL_H

#include <cadre/fetch.h>
#include <curl/curl.h>
#include <stdbool.h>

#define CADRE__HOST 256 /* a name has at most 253 characters */

typedef struct cadre__url {
    CURLU *handle;
    bool secure;            /* https */
    char host[CADRE__HOST]; /* lower case; an IPv6 address without brackets */
    uint16_t port;
    bool numeric;                /* an IPv4 or IPv6 address */
    char name[CADRE__HOST + 16]; /* for people: "HOST", or "HOST:PORT" where the port is not the scheme's own */
} cadre__url;

/* Parses `text`; relative to `base`, if that is not NULL. 0; CADRE_EINPUT: *why says it in static storage, never with a part of the URL; CADRE_ENOMEM. */
int cadre__url_parse(cadre__url *out, const char *text, const cadre__url *base, const char **why);
void cadre__url_clear(cadre__url *url);
bool cadre__url_same_origin(const cadre__url *a, const cadre__url *b);

/* ---- url_proxy.c ---- */

typedef struct cadre__proxy {
    char *url; /* with its port; NULL: none */
    char host[CADRE__HOST];
    uint16_t port;
    bool numeric;
    bool wrong; /* the variable is set, but to no proxy's address */
} cadre__proxy;

typedef struct cadre__proxies {
    cadre__proxy plain, secure; /* for http and for https */
    char *except;               /* no_proxy */
} cadre__proxies;

/* Reads http_proxy, https_proxy, all_proxy and no_proxy (all but the first also in capitals, as curl does). 0 or CADRE_ENOMEM. */
int cadre__proxies_init(cadre__proxies *proxies);
void cadre__proxies_clear(cadre__proxies *proxies);
/* The proxy that a URL is asked for through; NULL: none. */
const cadre__proxy *cadre__proxy_for(const cadre__proxies *proxies, const cadre__url *url);

#endif
