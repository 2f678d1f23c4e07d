#include "http_state.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ADDRESSES_MAX 32

struct cadre__lookup {
    uv_getaddrinfo_t request;
    cadre__http *http;
    cadre__lookup_cb cb; /* NULL: cancelled; a lookup that runs already cannot be taken back, only be forgotten */
    void *data;
};

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *addresses)
{
    cadre__lookup *lookup = request->data;
    cadre__http *http = lookup->http;
    if (lookup->cb) lookup->cb(lookup->data, status, addresses);
    uv_freeaddrinfo(addresses);
    free(lookup);
    http->lookups--;
    cadre__http_settle(http);
    cadre__http_closed_one(http);
}

cadre__lookup *cadre__lookup_begin(cadre__http *http, const char *host, uint16_t port, cadre__lookup_cb cb, void *data, int *error)
{
    cadre__lookup *lookup = malloc(sizeof *lookup);
    *error = CADRE_ENOMEM;
    if (!lookup) return NULL;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    char service[8];
    snprintf(service, sizeof service, "%u", (unsigned)port);
    *lookup = (cadre__lookup){.request = {.data = lookup}, .http = http, .cb = cb, .data = data};
    *error = uv_getaddrinfo(http->loop, &lookup->request, on_resolved, host, service, &hints);
    if (*error == UV_ENOMEM) *error = CADRE_ENOMEM;
    if (*error < 0) {
        free(lookup);
        return NULL;
    }
    http->lookups++;
    return lookup;
}

void cadre__lookup_cancel(cadre__lookup *lookup)
{
    lookup->cb = NULL;
    (void)uv_cancel((uv_req_t *)&lookup->request);
}

/* Link-local addresses need the interface besides, which libcurl's list has no place for. */
static bool print_address(const struct sockaddr *address, char *out, size_t size)
{
    char text[INET6_ADDRSTRLEN];
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof in);
        if (uv_ip4_name(&in, text, sizeof text) < 0) return false;
        snprintf(out, size, "%s", text);
        return true;
    }
    struct sockaddr_in6 in6;
    if (address->sa_family != AF_INET6) return false;
    memcpy(&in6, address, sizeof in6);
    if (in6.sin6_scope_id || uv_ip6_name(&in6, text, sizeof text) < 0) return false;
    snprintf(out, size, "[%s]", text);
    return true;
}

struct curl_slist *cadre__lookup_list(const char *host, uint16_t port, const struct addrinfo *addresses)
{
    char list[CADRE__HOST + 8 + ADDRESSES_MAX * (INET6_ADDRSTRLEN + 3)], one[INET6_ADDRSTRLEN + 2];
    int length = snprintf(list, sizeof list, "%s:%u:", host, (unsigned)port), count = 0;
    for (const struct addrinfo *a = addresses; a && count < ADDRESSES_MAX; a = a->ai_next)
        if (print_address(a->ai_addr, one, sizeof one)) length += snprintf(list + length, sizeof list - (size_t)length, count++ ? ",%s" : "%s", one);
    return count ? curl_slist_append(NULL, list) : NULL;
}
