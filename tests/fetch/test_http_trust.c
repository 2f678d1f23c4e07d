/* Whom the HTTP layer trusts with what: redirects, the token, addresses, proxies, certificates. */
#include "net.h"

#include <arpa/inet.h>
#define TESTS_http_trust(X)                                                                                                                                    \
    X(redirects)                                                                                                                                               \
    X(redirects_that_are_refused)                                                                                                                              \
    X(redirects_to_another_origin_as_the_answer)                                                                                                               \
    X(the_token_stays_at_its_origin)                                                                                                                           \
    X(a_token_that_cannot_be_sent)                                                                                                                             \
    X(addresses)                                                                                                                                               \
    X(private_addresses_are_refused)                                                                                                                           \
    X(each_redirect_is_looked_at)                                                                                                                              \
    X(the_address_that_is_connected_to_is_looked_at)                                                                                                           \
    X(connections_of_others_are_not_taken_over)                                                                                                                \
    X(proxies)                                                                                                                                                 \
    X(proxies_that_are_none)                                                                                                                                   \
    X(tls)

static void redirects(void **state)
{
    static const struct {
        const char *path;
        int hops;
    } rows[] = {
        {"/redirect/301?to=/file/16", 1},
        {"/redirect/302?to=../file/16", 1},
        {"/redirect/303?to=http://127.0.0.1:%d/file/16", 1},
        {"/redirect/307?to=//b.test:%d/file/16", 1},
        {"/redirect/308?to=http://a.test:%d/redirect/302%%3Fto=/file/16", 2},
        {"/longredirect", 1},
        {"/redirect/302?to=http://LOCALHOST:%d/file/16%%23part", 1},
    };
    net n;
    call c;
    (void)state;
    net_begin(&n, NULL);
    for (size_t i = 0; i < COUNT(rows); i++) {
        char path[256];
        row("%s", rows[i].path);
        server_reset();
        const char *mark = strstr(rows[i].path, "%d");
        snprintf(path, sizeof path, "%.*s", (int)(mark ? mark - rows[i].path : 200), rows[i].path);
        if (mark) snprintf(path + strlen(path), sizeof path - strlen(path), "%d%s", i == 2 || i == 4 ? n.at->plain : n.at->other, mark + 2);
        for (char *p = path; (p = strstr(p, "%%")) != NULL;) memmove(p, p + 1, strlen(p));
        call_get(&c, &n, "%s", path);
        assert_status(c.error, 0);
        assert_int_equal(c.heads, 1);
        assert_body(&c, 0, 16);
        assert_int_equal(server_count("GET"), rows[i].hops + 1);
        call_free(&c);
    }
    row("ten");
    call_get(&c, &n, "/loop/10");
    assert_status(c.error, 0);
    assert_string_equal(c.body, "there\n");
    call_free(&c);
    row("eleven");
    call_get(&c, &n, "/loop/11");
    assert_status(c.error, CADRE_EINPUT);
    assert_contains(c.detail, "more than 10 redirects");
    assert_int_equal(c.status, 302);
    row("nowhere: the answer");
    call_get(&c, &n, "/redirect/302");
    assert_status(c.error, 0);
    assert_int_equal(c.status, 302);
    assert_string_equal(c.body, "moved\n");
    call_free(&c);
    row("a range goes along");
    call_init(&c, &n, "/redirect/302?to=http://127.0.0.1:%d/file/100", n.at->other);
    c.request.from = 60;
    call_run(&c);
    assert_body(&c, 60, 100);
    call_free(&c);
    net_end(&n);
}

static void redirects_that_are_refused(void **state)
{
    static const char *const to[] = {"file:///etc/passwd", "ftp://127.0.0.1/", "http://secret:secret@127.0.0.1/", "http://",
                                     "javascript:secret",  "http://[::1"};
    net n;
    call c;
    (void)state;
    net_begin(&n, NULL);
    for (size_t i = 0; i < COUNT(to); i++) {
        row("%s", to[i]);
        call_get(&c, &n, "/redirect/302?to=%s", to[i]);
        assert_status(c.error, CADRE_EINPUT);
        assert_false(c.passes);
        assert_int_equal(c.heads, 0);
        assert_contains(c.detail, "redirects to a URL that is refused");
        assert_null(strstr(c.detail, "secret"));
    }
    net_end(&n);
}

static void redirects_to_another_origin_as_the_answer(void **state)
{
    net n;
    call c;
    (void)state;
    net_begin(&n, NULL);
    for (int other = 0; other < 2; other++) {
        row("other %d", other);
        call_init(&c, &n, "/redirect/302?to=http://127.0.0.1:%d/file/16&h=X-Linked-Size:%%2016", other ? n.at->other : n.at->plain);
        c.request.follow = CADRE__FOLLOW_SAME_ORIGIN;
        c.request.head = true;
        c.want_header = "x-linked-size";
        call_run(&c);
        assert_status(c.error, 0);
        assert_int_equal(c.status, other ? 302 : 200);
        assert_string_equal(c.header, other ? "16" : "(none)");
        char origin[64];
        snprintf(origin, sizeof origin, "http://127.0.0.1:%d", n.at->plain);
        assert_string_equal(c.origin, origin);
    }
    net_end(&n);
}

static void the_token_stays_at_its_origin(void **state)
{
    net n;
    call c;
    (void)state;
    net_begin(&n, NULL);
    struct {
        const char *name;
        char to[512];
        bool sent;
    } rows[6] = {{"itself", "", true},          {"its own origin", "/echo", true},
                 {"another port", "", false},   {"another name of the same machine", "", false},
                 {"there and back", "", false}, {"the same, by its full URL", "", true}};
    snprintf(rows[2].to, sizeof rows[2].to, "http://127.0.0.1:%d/echo", n.at->other);
    snprintf(rows[3].to, sizeof rows[3].to, "http://localhost:%d/echo", n.at->plain);
    snprintf(rows[4].to, sizeof rows[4].to, "http://127.0.0.1:%d/redirect/302%%3Fto=http://127.0.0.1:%d/echo", n.at->other, n.at->plain);
    snprintf(rows[5].to, sizeof rows[5].to, "http://127.0.0.1:%d/echo", n.at->plain);
    for (size_t i = 0; i < COUNT(rows); i++) {
        row("%s", rows[i].name);
        server_reset();
        if (rows[i].to[0])
            call_init(&c, &n, "/redirect/302?to=%s", rows[i].to);
        else
            call_init(&c, &n, "/echo");
        c.request.token = "hf_Secret-1";
        call_run(&c);
        assert_status(c.error, 0);
        bool sent = strstr(c.body, "authorization: Bearer hf_Secret-1\n") != NULL;
        assert_int_equal(sent, rows[i].sent);
        if (!rows[i].sent) assert_null(strstr(c.body, "Secret"));
        assert_contains(server_log(), "Bearer_hf_Secret-1"); /* the first one had it */
        call_free(&c);
    }
    net_end(&n);
}

static void a_token_that_cannot_be_sent(void **state)
{
    static const char *const tokens[] = {"secret\r\nX-Evil: 1", "secret\n", "sec ret", "s\xc3\xa9"};
    net n;
    call c;
    (void)state;
    net_begin(&n, NULL);
    for (size_t i = 0; i < COUNT(tokens); i++) {
        row("%zu", i);
        call_init(&c, &n, "/echo");
        c.request.token = tokens[i];
        call_run(&c);
        assert_status(c.error, CADRE_EINVAL);
        assert_null(strstr(c.detail, "sec"));
    }
    assert_string_equal(server_log(), "");
    net_end(&n);
}

/* ---- addresses ---- */

static void addresses(void **state)
{
    static const struct {
        const char *address;
        bool is_public;
    } rows[] = {
        {"0.0.0.0", false},
        {"0.255.255.255", false},
        {"1.0.0.0", true},
        {"1.1.1.1", true},
        {"8.8.8.8", true},
        {"9.255.255.255", true},
        {"10.0.0.0", false},
        {"10.255.255.255", false},
        {"11.0.0.0", true},
        {"100.63.255.255", true},
        {"100.64.0.0", false},
        {"100.127.255.255", false},
        {"100.128.0.0", true},
        {"126.255.255.255", true},
        {"127.0.0.1", false},
        {"127.255.255.255", false},
        {"128.0.0.0", true},
        {"169.253.255.255", true},
        {"169.254.0.0", false},
        {"169.254.169.254", false},
        {"169.255.0.0", true},
        {"172.15.255.255", true},
        {"172.16.0.0", false},
        {"172.31.255.255", false},
        {"172.32.0.0", true},
        {"192.0.0.0", false},
        {"192.0.0.255", false},
        {"192.0.1.0", true},
        {"192.0.2.1", false},
        {"192.0.3.0", true},
        {"192.88.99.1", false},
        {"192.167.255.255", true},
        {"192.168.0.0", false},
        {"192.168.255.255", false},
        {"192.169.0.0", true},
        {"198.17.255.255", true},
        {"198.18.0.0", false},
        {"198.19.255.255", false},
        {"198.20.0.0", true},
        {"198.51.100.7", false},
        {"203.0.113.7", false},
        {"203.0.114.0", true},
        {"223.255.255.255", true},
        {"224.0.0.1", false},
        {"239.255.255.255", false},
        {"240.0.0.1", false},
        {"255.255.255.255", false},
        {"::", false},
        {"::1", false},
        {"::127.0.0.1", false},
        {"::8.8.8.8", false},
        {"::ffff:127.0.0.1", false},
        {"::ffff:10.1.2.3", false},
        {"::ffff:8.8.8.8", true},
        {"::ffff:0:8.8.8.8", false},
        {"64:ff9b::8.8.8.8", true},
        {"64:ff9b::10.0.0.1", false},
        {"64:ff9b:1::8.8.8.8", false},
        {"100::1", false},
        {"1fff::1", false},
        {"2000::1", true},
        {"2001::1", false},
        {"2001:0:4136:e378::1", false},
        {"2001:2::1", false},
        {"2001:10::1", false},
        {"2001:20::1", false},
        {"2001:1ff:ffff::1", false},
        {"2001:200::1", true},
        {"2001:4860:4860::8888", true},
        {"2001:db8::1", false},
        {"2001:db9::1", true},
        {"2002:7f00:1::1", false},
        {"2002:a00:1::1", false},
        {"2002:808:808::1", true},
        {"2606:4700::1111", true},
        {"3ffe::1", true},
        {"3fff::1", false},
        {"3fff:fff::1", false},
        {"3fff:1000::1", true},
        {"4000::1", false},
        {"5f00::1", false},
        {"fc00::1", false},
        {"fdff::1", false},
        {"fe80::1", false},
        {"fec0::1", false},
        {"ff02::1", false},
    };
    (void)state;
    public_answers = 0;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct sockaddr_storage storage = {0};
        row("%s", rows[i].address);
        if (strchr(rows[i].address, ':'))
            assert_int_equal(uv_ip6_addr(rows[i].address, 80, (struct sockaddr_in6 *)&storage), 0);
        else
            assert_int_equal(uv_ip4_addr(rows[i].address, 80, (struct sockaddr_in *)&storage), 0);
        assert_int_equal(cadre__address_is_public((struct sockaddr *)&storage), rows[i].is_public);
    }
    struct sockaddr other = {.sa_family = AF_UNIX};
    assert_false(cadre__address_is_public(&other));
}

static void private_addresses_are_refused(void **state)
{
    static const char *const hosts[] = {"127.0.0.1",
                                        "localhost",
                                        "a.test",
                                        "127.1",
                                        "0x7f.1",
                                        "2130706433",
                                        "[::1]",
                                        "10.0.0.1",
                                        "0.0.0.0",
                                        "169.254.169.254",
                                        "[::ffff:127.0.0.1]",
                                        "[::ffff:7f00:1]",
                                        "[64:ff9b::7f00:1]",
                                        "[fd00::1]",
                                        "017700000001"};
    net n;
    call c;
    (void)state;
    net_begin(&n, NULL);
    for (size_t i = 0; i < COUNT(hosts); i++) {
        row("%s", hosts[i]);
        call_init(&c, &n, "http://%s:%d/echo", hosts[i], n.at->plain);
        c.request.public_only = true;
        call_run(&c);
        assert_status(c.error, CADRE_EINPUT);
        assert_false(c.passes);
        assert_contains(c.detail, "not public");
    }
    assert_string_equal(server_log(), "");
    net_end(&n);
}

/* The first hop is taken for public, the second is not. A hop asks twice: what the name means, and what is connected to. */
static void each_redirect_is_looked_at(void **state)
{
    net n;
    call c;
    (void)state;
    net_begin(&n, NULL);
    for (int twice = 0; twice < 2; twice++) {
        row(twice ? "all of it public" : "the second private");
        server_reset();
        call_init(&c, &n, "/redirect/302?to=http://a.test:%d/echo", n.at->other);
        c.request.public_only = true;
        public_answers = twice ? -1 : 2;
        public_asked = 0;
        call_run(&c);
        assert_status(c.error, twice ? 0 : CADRE_EINPUT);
        assert_int_equal(public_asked, twice ? 4 : 3);
        assert_int_equal(server_count("GET /redirect"), 1);
        assert_int_equal(server_count("GET /echo"), twice);
        if (!twice) assert_contains(c.detail, "a.test");
        call_free(&c);
    }
    public_answers = 0;
    net_end(&n);
}

static void the_address_that_is_connected_to_is_looked_at(void **state)
{
    net n;
    call c;
    (void)state;
    net_begin(&n, NULL);
    call_init(&c, &n, "http://a.test:%d/echo", n.at->plain);
    c.request.public_only = true;
    public_answers = 1; /* the lookup's check passes; the socket's does not */
    call_run(&c);
    assert_status(c.error, CADRE_EINPUT);
    assert_contains(c.detail, "not public");
    assert_string_equal(server_log(), "");
    net_end(&n);
}

/* A connection that rests from a transfer which may go anywhere. */
static void connections_of_others_are_not_taken_over(void **state)
{
    net n;
    call c;
    (void)state;
    net_begin(&n, NULL);
    call_get(&c, &n, "/file/1");
    assert_status(c.error, 0);
    call_free(&c);
    call_init(&c, &n, "/file/2");
    c.request.public_only = true;
    public_answers = 1;
    call_run(&c);
    assert_status(c.error, CADRE_EINPUT);
    assert_int_equal(server_count("GET /file/2"), 0);
    net_end(&n);
}

/* ---- proxies ---- */

static void unset_proxies(void)
{
    static const char *const names[] = {"http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"};
    for (size_t i = 0; i < COUNT(names); i++) unsetenv(names[i]);
}

static void proxies(void **state)
{
    static const struct {
        const char *proxy, *except, *host;
        bool through, public_only;
    } rows[] = {
        {"http://127.0.0.1:%d", NULL, "nowhere.invalid", true, false},
        {"http://proxy.test:%d/", NULL, "nowhere.invalid", true, false},
        {"proxy.test:%d", NULL, "nowhere.invalid", true, false},
        {"http://user:secret@proxy.test:%d", NULL, "nowhere.invalid", true, false},
        {"http://proxy.test:%d", "a.test", "a.test", false, false},
        {"http://proxy.test:%d", "x.y, .test", "a.test", false, false},
        {"http://proxy.test:%d", "est", "a.test", true, false},
        {"http://proxy.test:%d", "*", "a.test", false, false},
        {"http://proxy.test:%d", "10.0.0.0/8,127.0.0.0/8", "127.0.0.1", false, false},
        {"http://proxy.test:%d", "10.0.0.0/8,127.0.0.2", "127.0.0.1", true, false},
        {"http://proxy.test:%d", NULL, "a.test", false, true},
    };
    net n;
    call c;
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char proxy[128];
        const server *at = server_here();
        row("%s except %s: %s", rows[i].proxy, rows[i].except ? rows[i].except : "none", rows[i].host);
        const char *mark = strstr(rows[i].proxy, "%d");
        snprintf(proxy, sizeof proxy, "%.*s%d%s", (int)(mark - rows[i].proxy), rows[i].proxy, at->other, mark + 2);
        unset_proxies();
        setenv("http_proxy", proxy, 1);
        if (rows[i].except) setenv("no_proxy", rows[i].except, 1);
        net_begin(&n, NULL);
        call_init(&c, &n, "http://%s:%d/file/10", rows[i].host, at->plain);
        c.request.public_only = rows[i].public_only;
        public_answers = rows[i].public_only ? -1 : 0;
        call_run(&c);
        assert_status(c.error, 0);
        assert_body(&c, 0, 10);
        assert_int_equal(server_count("GET http://"), rows[i].through);
        call_free(&c);
        net_end(&n);
    }
    unset_proxies();
}

static void proxies_that_are_none(void **state)
{
    static const char *const wrong[] = {"ftp://secret.example", "http://", "http://[::1", "http://a:99999", "socks9://secret"};
    net n;
    call c;
    (void)state;
    for (size_t i = 0; i < COUNT(wrong); i++) {
        row("%s", wrong[i]);
        unset_proxies();
        setenv("all_proxy", wrong[i], 1);
        net_begin(&n, NULL);
        call_get(&c, &n, "/file/10");
        assert_status(c.error, CADRE_EINVAL);
        assert_contains(c.detail, "proxy");
        assert_null(strstr(c.detail, "secret"));
        net_end(&n);
    }
    unset_proxies();
}

/* ---- TLS ---- */

static void tls(void **state)
{
    net n;
    call c;
    (void)state;
    const server *at = server_here();
    if (!at || !at->tls) skip();
    unset_proxies();
    row("an authority that nobody knows");
    net_begin(&n, NULL);
    call_get(&c, &n, "https://localhost:%d/file/10", at->tls);
    assert_status(c.error, UV_EPROTO);
    assert_contains(c.detail, "certificate");
    assert_false(c.passes);
    net_end(&n);
    row("an authority that is trusted");
    net_begin(&n, at->certificate);
    call_get(&c, &n, "https://localhost:%d/file/3000000", at->tls);
    assert_status(c.error, 0);
    assert_body(&c, 0, 3000000);
    call_free(&c);
    row("another name");
    call_get(&c, &n, "https://a.test:%d/file/10", at->tls);
    assert_status(c.error, UV_EPROTO);
    assert_contains(c.detail, "certificate");
    row("not TLS at all");
    call_init(&c, &n, "https://localhost:%d/file/10", at->plain);
    c.request.connect_timeout_ms = 300; /* each waits for the other's next word */
    call_run(&c);
    assert_true(c.error == UV_ETIMEDOUT || c.error == UV_EPROTO); /* or the server has seen soon enough that it is no HTTP */
    assert_contains(c.detail, c.error == UV_EPROTO ? "no TLS connection" : "no connection within 300 ms");
    row("TLS that is answered with something else");
    call_get(&c, &n, "https://localhost:%d/", at->blunt);
    assert_status(c.error, UV_EPROTO);
    assert_contains(c.detail, "no TLS connection");
    assert_true(c.passes);
    row("from https to http");
    call_init(&c, &n, "https://localhost:%d/redirect/302?to=http://localhost:%d/echo", at->tls, at->plain);
    c.request.token = "secret";
    call_run(&c);
    assert_status(c.error, CADRE_EINPUT);
    assert_contains(c.detail, "from https to http");
    assert_int_equal(server_count("GET /echo"), 0);
    row("from http to https, without the token");
    call_init(&c, &n, "http://localhost:%d/redirect/302?to=https://localhost:%d/echo", at->plain, at->tls);
    c.request.token = "secret";
    call_run(&c);
    assert_status(c.error, 0);
    assert_null(strstr(c.body, "secret"));
    call_free(&c);
    net_end(&n);
    row("through a proxy");
    char proxy[64];
    snprintf(proxy, sizeof proxy, "proxy.test:%d", at->other);
    setenv("https_proxy", proxy, 1);
    net_begin(&n, at->certificate);
    call_init(&c, &n, "https://localhost:%d/echo", at->tls);
    c.request.token = "secret";
    c.want_header = "X-Proxy";
    call_run(&c);
    assert_status(c.error, 0);
    assert_contains(c.body, "Bearer secret");
    assert_string_equal(c.header, "(none)");
    assert_int_equal(server_count("CONNECT"), 1);
    for (const char *line = server_log(); *line; line = strchr(line, '\n') + 1)
        if (strncmp(line, "CONNECT", 7) == 0) assert_true(strstr(line, "secret") == NULL || strstr(line, "secret") > strchr(line, '\n'));
    call_free(&c);
    net_end(&n);
    unset_proxies();
    row("certificates that are none");
    net_begin(&n, "/dev/null/nothing.pem");
    call_get(&c, &n, "https://localhost:%d/file/10", at->tls);
    assert_status(c.error, UV_EIO);
    net_end(&n);
}

#define SUITE http_trust
#include "suite.h"
