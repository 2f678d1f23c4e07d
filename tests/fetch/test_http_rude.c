/* Servers that behave badly: cuts, lies about lengths, what is no HTTP, stalls, too much of everything. */
#include "net.h"

#include <unistd.h>

#define TESTS_http_rude(X)                                                                                                                                     \
    X(cuts)                                                                                                                                                    \
    X(heads_that_are_none)                                                                                                                                     \
    X(stalls)                                                                                                                                                  \
    X(no_connection)                                                                                                                                           \
    X(a_host_that_holds_its_loop_makes_no_stall)                                                                                                               \
    X(nor_do_transfers_that_wait_for_their_turn)                                                                                                               \
    X(a_trickle_ends_by_its_whole_time)                                                                                                                        \
    X(too_large)                                                                                                                                               \
    X(refusals_are_bounded)                                                                                                                                    \
    X(an_encoding_that_was_not_asked_for)

typedef struct rude {
    const char *path;
    int error;
    long status;
    bool passes;
    size_t body;
    const char *detail;
} rude;

static void run_rows(const rude *rows, size_t count)
{
    net n;
    net_begin(&n, NULL);
    for (size_t i = 0; i < count; i++) {
        call c;
        row("%s", rows[i].path);
        call_init(&c, &n, "%s?token=secret", rows[i].path);
        c.request.token = "secret";
        call_run(&c);
        assert_status(c.error, rows[i].error);
        if (rows[i].status >= 0) assert_int_equal(c.status, rows[i].status); /* a reset may overtake the head */
        assert_int_equal(c.passes, rows[i].passes);
        if (rows[i].body != SIZE_MAX) assert_body(&c, 0, rows[i].body);
        assert_contains(c.detail, "127.0.0.1");
        assert_contains(c.detail, rows[i].detail);
        assert_null(strstr(c.detail, "secret"));
        call_free(&c);
    }
    net_end(&n);
}

static void cuts(void **state)
{
    static const rude rows[] = {
        {"/cut/0/100", UV_ECONNRESET, 200, true, 0, "after 0 of 100 bytes"},
        {"/cut/99/100", UV_ECONNRESET, 200, true, 99, "after 99 of 100 bytes"},
        {"/cut/100000/1000000", UV_ECONNRESET, 200, true, 100000, "after 100000 of 1000000 bytes"},
        {"/rst/0/1000", UV_ECONNRESET, -1, true, 0, "the connection was reset"},
        {"/chunked/1000/100/cut", UV_ECONNRESET, 200, true, 1000, "after 1000 bytes"},
        {"/chunked/1000/100/garbage", UV_ECONNRESET, 200, true, 1000, "after 1000 bytes"},
        {"/raw/empty", UV_ECONNRESET, 0, true, 0, "before an answer"},
        {"/raw/hugelength", UV_ECONNRESET, 200, true, SIZE_MAX, "after 1 of 9223372036854775807"},
    };
    (void)state;
    run_rows(rows, COUNT(rows));
}

static void heads_that_are_none(void **state)
{
    static const rude rows[] = {
        {"/raw/garbage", UV_EPROTO, 0, false, 0, "not HTTP"},
        {"/raw/old", UV_EPROTO, 0, false, 0, "not HTTP"},
        {"/raw/status", UV_EPROTO, 0, false, 0, "not HTTP"},
        {"/raw/length", UV_EPROTO, 0, false, 0, "not HTTP"},
        {"/raw/minus", UV_EPROTO, 0, false, 0, "not HTTP"},
        {"/raw/nul", UV_EPROTO, 0, false, 0, "127.0.0.1"},
        {"/hugehead/line", UV_EPROTO, 0, false, 0, "head of its answer"},
        {"/hugehead/many", UV_EPROTO, 0, false, 0, "longer than 102400 bytes"},
        {"/hugehead/endless", UV_EPROTO, 0, false, 0, "longer than 102400 bytes"},
    };
    (void)state;
    run_rows(rows, COUNT(rows));
}

static void stalls(void **state)
{
    static const struct {
        const char *path;
        long status;
        size_t body;
    } rows[] = {{"/stall/head", 0, 0}, {"/stall/line", 0, 0}, {"/stall/body/0", 200, 0}, {"/stall/body/5000", 200, 5000}};
    net n;
    (void)state;
    net_begin(&n, NULL);
    for (size_t i = 0; i < COUNT(rows); i++) {
        call c;
        row("%s", rows[i].path);
        call_init(&c, &n, "%s", rows[i].path);
        c.request.stall_timeout_ms = 200;
        call_run(&c);
        assert_status(c.error, UV_ETIMEDOUT);
        assert_int_equal(c.status, rows[i].status);
        assert_true(c.passes);
        assert_contains(c.detail, "no byte for 200 ms");
        call_free(&c);
    }
    net_end(&n);
}

static void no_connection(void **state)
{
    net n;
    call c;
    struct sockaddr_in closed = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof closed;
    int fd = socket(AF_INET, SOCK_STREAM, 0); /* bound, not listening */
    (void)state;
    assert_int_equal(bind(fd, (struct sockaddr *)&closed, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&closed, &size), 0);
    net_begin(&n, NULL);
    row("nobody listens");
    call_get(&c, &n, "http://a.test:%d/?secret", ntohs(closed.sin_port));
    assert_status(c.error, UV_ECONNREFUSED);
    assert_true(c.passes);
    assert_contains(c.detail, "a.test:");
    assert_contains(c.detail, "connection refused");
    assert_null(strstr(c.detail, "secret"));
    row("a full queue");
    call_init(&c, &n, "http://127.0.0.1:%d/", n.at->full);
    c.request.connect_timeout_ms = 150;
    call_run(&c);
    assert_status(c.error, UV_ETIMEDOUT);
    assert_true(c.passes);
    assert_contains(c.detail, "no connection within 150 ms");
    row("the whole time");
    call_init(&c, &n, "http://127.0.0.1:%d/", n.at->full);
    c.request.timeout_ms = 100;
    call_run(&c);
    assert_status(c.error, UV_ETIMEDOUT);
    assert_contains(c.detail, "not done within 100 ms");
    close(fd);
    net_end(&n);
}

/* The host computes on the loop for longer than the deadline, and the answer lies in the socket. */
static void a_host_that_holds_its_loop_makes_no_stall(void **state)
{
    net n;
    call c;
    (void)state;
    net_begin(&n, NULL);
    call_init(&c, &n, "/file/1000");
    c.request.stall_timeout_ms = 500;
    call_start(&c);
    while (server_count("GET /file/1000") == 0) uv_run(&n.loop, UV_RUN_ONCE);
    for (uint64_t until = uv_hrtime() + UINT64_C(700000000); uv_hrtime() < until;) {
    }
    uv_run(&n.loop, UV_RUN_DEFAULT);
    assert_int_equal(c.dones, 1);
    assert_status(c.error, 0);
    assert_body(&c, 0, 1000);
    call_free(&c);
    net_end(&n);
}

typedef struct busy_host {
    uv_prepare_t prepare;
    call calls[6];
    int holds;
} busy_host;

/* Once the heads of all have come, so that what comes is more than a turn's share. */
static void hold(uv_prepare_t *prepare)
{
    busy_host *h = prepare->data;
    for (size_t i = 0; i < COUNT(h->calls); i++)
        if (!h->calls[i].heads) return;
    if (h->holds-- > 0) uv_sleep(600);
}

/* A turn of the loop brings a part of one of them, and the host takes longer than their deadline. */
static void nor_do_transfers_that_wait_for_their_turn(void **state)
{
    static busy_host h;
    net n;
    (void)state;
    net_begin(&n, NULL);
    h.holds = 3;
    h.prepare.data = &h;
    uv_prepare_init(&n.loop, &h.prepare);
    uv_prepare_start(&h.prepare, hold);
    uv_unref((uv_handle_t *)&h.prepare);
    for (size_t i = 0; i < COUNT(h.calls); i++) {
        call_init(&h.calls[i], &n, "/bulk/3000000");
        h.calls[i].request.stall_timeout_ms = 500;
        call_start(&h.calls[i]);
    }
    uv_run(&n.loop, UV_RUN_DEFAULT);
    assert_true(h.holds < 0);
    for (size_t i = 0; i < COUNT(h.calls); i++) {
        row("call %zu", i);
        assert_status(h.calls[i].error, 0);
        assert_int_equal(h.calls[i].bytes, 3000000);
        call_free(&h.calls[i]);
    }
    uv_close((uv_handle_t *)&h.prepare, NULL);
    uv_run(&n.loop, UV_RUN_NOWAIT);
    net_end(&n);
}

static void a_trickle_ends_by_its_whole_time(void **state)
{
    net n;
    call c;
    (void)state;
    net_begin(&n, NULL);
    call_init(&c, &n, "/trickle");
    c.request.stall_timeout_ms = 100000;
    c.request.timeout_ms = 300;
    call_run(&c);
    assert_status(c.error, UV_ETIMEDOUT);
    assert_contains(c.detail, "not done within 300 ms");
    call_free(&c);
    net_end(&n);
}

static void too_large(void **state)
{
    static const struct {
        const char *path;
        uint64_t limit;
        int error, heads;
    } rows[] = {
        {"/file/1000", 1000, 0, 1},
        {"/file/1001", 1000, CADRE_EINPUT, 0},
        {"/nolength/1000", 1000, 0, 1},
        {"/nolength/1001", 1000, CADRE_EINPUT, 1},
        {"/chunked/1001/7", 1000, CADRE_EINPUT, 1},
        {"/endless", 1 << 20, CADRE_EINPUT, 1},
        {"/file/0", 0, 0, 1},
        {"/file/1", 0, CADRE_EINPUT, 0},
        {"/raw/hugelength", 1 << 20, CADRE_EINPUT, 0},
        {"/raw/overlength", 0, CADRE_EINPUT, 1},
    };
    net n;
    (void)state;
    net_begin(&n, NULL);
    for (size_t i = 0; i < COUNT(rows); i++) {
        call c;
        row("%s within %d", rows[i].path, (int)rows[i].limit);
        call_init(&c, &n, "%s", rows[i].path);
        c.request.max_bytes = rows[i].limit;
        call_run(&c);
        assert_status(c.error, rows[i].error);
        assert_int_equal(c.heads, rows[i].heads);
        assert_true(c.bytes <= rows[i].limit);
        assert_false(c.passes);
        if (c.error) assert_contains(c.detail, "limit of");
        call_free(&c);
    }
    net_end(&n);
}

static void refusals_are_bounded(void **state)
{
    static const struct {
        const char *path;
        long status;
        size_t body;
    } rows[] = {{"/endless/503", 503, 65536}, {"/endless/404", 404, 65536}};
    net n;
    (void)state;
    net_begin(&n, NULL);
    for (size_t i = 0; i < COUNT(rows); i++) {
        call c;
        row("%s", rows[i].path);
        call_init(&c, &n, "%s", rows[i].path);
        c.request.max_bytes = 10; /* of a file */
        c.pause_first = 2;
        c.resume_at_once = true;
        call_run(&c);
        assert_status(c.error, 0);
        assert_int_equal(c.status, rows[i].status);
        assert_size(c.bytes, rows[i].body);
        call_free(&c);
    }
    net_end(&n);
}

static void an_encoding_that_was_not_asked_for(void **state)
{
    net n;
    call c;
    (void)state;
    net_begin(&n, NULL);
    call_get(&c, &n, "/gzip");
    assert_status(c.error, UV_EPROTO);
    assert_contains(c.detail, "encoding");
    net_end(&n);
}

#define SUITE http_rude
#include "suite.h"
