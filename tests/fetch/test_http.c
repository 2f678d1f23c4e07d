/* The HTTP layer as it should go: files, heads, ranges, answers of every status, pauses, cancels, many at once. */
#include "net.h"
#define TESTS_http(X)                                                                                                                                          \
    X(files_come_whole)                                                                                                                                        \
    X(heads_bring_no_body)                                                                                                                                     \
    X(ranges)                                                                                                                                                  \
    X(answers_of_every_status)                                                                                                                                 \
    X(retry_after_is_seconds_or_a_date)                                                                                                                        \
    X(headers_are_found_by_any_case)                                                                                                                           \
    X(what_is_sent)                                                                                                                                            \
    X(a_paused_piece_comes_again)                                                                                                                              \
    X(a_paused_transfer_holds_the_loop_and_does_not_stall)                                                                                                     \
    X(cancelled_at_every_moment)                                                                                                                               \
    X(callbacks_end_a_transfer)                                                                                                                                \
    X(on_done_may_do_anything)                                                                                                                                 \
    X(fifty_side_by_side)                                                                                                                                      \
    X(bad_urls)                                                                                                                                                \
    X(names_are_looked_up_by_libuv)

static void files_come_whole(void **state)
{
    static const struct {
        const char *path;
        size_t size;
        int64_t length;
    } rows[] = {
        {"/file/0", 0, 0},
        {"/file/1", 1, 1},
        {"/file/16384", 16384, 16384},
        {"/file/5000001", 5000001, 5000001},
        {"/nolength/100003", 100003, -1},
        {"/chunked/100003/1000", 100003, -1},
        {"/chunked/70000/70000", 70000, -1},
        {"/chunked/0/1", 0, -1},
        {"/excess/1000/1500", 1000, 1000},
    };
    net n;
    (void)state;
    net_begin(&n, NULL);
    for (size_t i = 0; i < COUNT(rows); i++) {
        call c;
        row("%s", rows[i].path);
        call_get(&c, &n, "%s", rows[i].path);
        assert_status(c.error, 0);
        assert_int_equal(c.status, 200);
        assert_int_equal(c.heads, 1);
        assert_int_equal(c.length, rows[i].length);
        assert_int_equal(c.offset, 0);
        assert_body(&c, 0, rows[i].size);
        assert_contains(c.detail, "200 OK");
        assert_false(uv_loop_alive(&n.loop)); /* a connection that rests does not hold it */
        call_free(&c);
    }
    net_end(&n);
}

static void heads_bring_no_body(void **state)
{
    net n;
    call c;
    (void)state;
    net_begin(&n, NULL);
    call_init(&c, &n, "/file/123456");
    c.request.head = true;
    c.request.max_bytes = 10; /* of a body */
    call_run(&c);
    assert_status(c.error, 0);
    assert_int_equal(c.length, 123456);
    assert_int_equal(c.pieces, 0);
    assert_int_equal(server_count("HEAD /file/123456"), 1);
    net_end(&n);
}

static void ranges(void **state)
{
    static const struct {
        const char *path;
        uint64_t from;
        long status;
        int64_t offset, total;
        size_t first, end;
    } rows[] = {
        {"/file/1000", 0, 200, 0, 1000, 0, 1000},      {"/file/1000", 400, 206, 400, 1000, 400, 1000}, {"/file/1000", 1000, 416, 0, 1000, 0, 0},
        {"/norange/1000", 400, 200, 0, 1000, 0, 1000}, {"/badrange/1000", 400, 206, 4, 1000, 4, 1000},
    };
    net n;
    (void)state;
    net_begin(&n, NULL);
    for (size_t i = 0; i < COUNT(rows); i++) {
        call c;
        row("%s from %d", rows[i].path, (int)rows[i].from);
        call_init(&c, &n, "%s", rows[i].path);
        c.request.from = rows[i].from;
        call_run(&c);
        assert_status(c.error, 0);
        assert_int_equal(c.status, rows[i].status);
        assert_int_equal(c.offset, rows[i].offset);
        assert_int_equal(c.total, rows[i].total);
        assert_body(&c, rows[i].first, rows[i].end);
        call_free(&c);
    }
    net_end(&n);
}

static void answers_of_every_status(void **state)
{
    static const struct {
        int status;
        bool passes;
        const char *text;
    } rows[] = {
        {400, false, "400 Bad Request"},
        {401, false, "401 Unauthorized"},
        {403, false, "403 Forbidden"},
        {404, false, "404 Not Found"},
        {408, true, "408 Request Timeout"},
        {416, false, "416 Range Not Satisfiable"},
        {429, true, "429 Too Many"},
        {500, true, "500 Internal Server Error"},
        {503, true, "503 Service Unavailable"},
        {504, true, "504 Gateway"},
        {300, false, "300 Multiple"},
        {599, true, "127.0.0.1"},
        {418, false, "418"},
        {302, false, "302 Found"},
    };
    net n;
    (void)state;
    net_begin(&n, NULL);
    for (size_t i = 0; i < COUNT(rows); i++) {
        call c;
        row("%d", rows[i].status);
        call_get(&c, &n, "/status/%d", rows[i].status);
        assert_status(c.error, 0);
        assert_int_equal(c.status, rows[i].status);
        assert_int_equal(c.head_status, rows[i].status);
        assert_int_equal(c.passes, rows[i].passes);
        assert_contains(c.detail, rows[i].text);
        assert_int_equal(c.retry_after, -1);
        assert_string_equal(c.body, "what went wrong\n");
        call_free(&c);
    }
    net_end(&n);
}

static void retry_after_is_seconds_or_a_date(void **state)
{
    static const struct {
        const char *value;
        int64_t least, most;
    } rows[] = {
        {"17", 17000, 17000},
        {"0", 0, 0},
        {"soon", -1, -1},
        {"-5", -1, -1},
        {"9999999", 86400000, 86400000},
        {"Fri,%2031%20Dec%202100%2023:59:59%20GMT", 86400000, 86400000},
        {"Sat,%2001%20Jan%202000%2000:00:00%20GMT", 0, 0},
    };
    net n;
    call c;
    char date[64];
    (void)state;
    net_begin(&n, NULL);
    for (size_t i = 0; i < COUNT(rows); i++) {
        row("%s", rows[i].value);
        call_get(&c, &n, "/status/503?h=Retry-After:%s", rows[i].value);
        assert_int_equal(c.status, 503);
        assert_in_range(c.retry_after + 1, rows[i].least + 1, rows[i].most + 1);
        call_free(&c);
    }
    time_t then = time(NULL) + 5000;
    strftime(date, sizeof date, "%a,%%20%d%%20%b%%20%Y%%20%H:%M:%S%%20GMT", gmtime(&then));
    row("%s", date);
    call_get(&c, &n, "/status/429?h=Retry-After:%s", date);
    assert_in_range(c.retry_after, 1, 5000 * 1000);
    call_free(&c);
    net_end(&n);
}

static void headers_are_found_by_any_case(void **state)
{
    net n;
    call c;
    (void)state;
    net_begin(&n, NULL);
    call_init(&c, &n, "/raw/lower");
    c.want_header = "ETag";
    call_run(&c);
    assert_status(c.error, 0);
    assert_string_equal(c.header, "\"abc\"");
    assert_int_equal(c.length, 2);
    call_free(&c);
    call_init(&c, &n, "/raw/lower");
    c.want_header = "x-empty";
    call_run(&c);
    assert_string_equal(c.header, "");
    call_free(&c);
    call_init(&c, &n, "/raw/interim"); /* of the last head alone */
    c.want_header = "Link";
    call_run(&c);
    assert_status(c.error, 0);
    assert_string_equal(c.header, "(none)");
    assert_string_equal(c.body, "ok");
    assert_int_equal(c.heads, 1);
    call_free(&c);
    net_end(&n);
}

static void what_is_sent(void **state)
{
    net n;
    call c;
    (void)state;
    net_begin(&n, NULL);
    call_get(&c, &n, "/echo");
    assert_contains(c.body, "accept-encoding: identity\n");
    assert_contains(c.body, "user-agent: cadre/" CADRE_VERSION_STRING "\n");
    assert_null(strstr(c.body, "authorization"));
    assert_null(strstr(c.body, "range"));
    call_free(&c);
    net_end(&n);
}

static void a_paused_piece_comes_again(void **state)
{
    static const char *const paths[] = {"/file/3000001", "/chunked/3000001/5000", "/nolength/3000001", "/file/1"};
    net n;
    (void)state;
    net_begin(&n, NULL);
    for (size_t i = 0; i < 2 * COUNT(paths); i++) {
        call c;
        row("%s%s", paths[i / 2], i % 2 ? ", resumed at once" : "");
        call_init(&c, &n, "%s", paths[i / 2]);
        c.pause_first = 9;
        c.resume_at_once = i % 2;
        call_start(&c);
        for (int pauses = 0; !c.dones;) { /* from outside, one turn later */
            uv_run(&n.loop, UV_RUN_ONCE);
            if (c.pauses == pauses || c.resume_at_once || c.dones) continue;
            pauses = c.pauses;
            n.inside++;
            cadre__http_resume(c.transfer);
            n.inside--;
        }
        assert_status(c.error, 0);
        assert_int_equal(c.pauses, 9);
        assert_body(&c, 0, i / 2 == 3 ? 1 : 3000001);
        uv_run(&n.loop, UV_RUN_DEFAULT);
        call_free(&c);
    }
    net_end(&n);
}

static void tick(uv_timer_t *timer)
{
    ++*(int *)timer->data;
}

/* So many timers of the loop's own have run. */
static void turn_for(net *n, int ticks)
{
    uv_timer_t timer;
    int seen = 0;
    uv_timer_init(&n->loop, &timer);
    timer.data = &seen;
    uv_timer_start(&timer, tick, 10, 10);
    while (seen < ticks) uv_run(&n->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&n->loop, UV_RUN_NOWAIT);
}

static void a_paused_transfer_holds_the_loop_and_does_not_stall(void **state)
{
    net n;
    call c;
    (void)state;
    net_begin(&n, NULL);
    call_init(&c, &n, "/bulk/3000001");
    c.pause_first = 1;
    c.request.stall_timeout_ms = 1000;
    call_start(&c);
    while (!c.pauses && !c.dones) uv_run(&n.loop, UV_RUN_ONCE);
    turn_for(&n, 150);
    assert_int_equal(c.dones, 0);
    assert_true(uv_loop_alive(&n.loop));
    cadre__http_resume(c.transfer);
    uv_run(&n.loop, UV_RUN_DEFAULT);
    assert_status(c.error, 0);
    assert_size(c.bytes, 3000001);
    call_free(&c);
    net_end(&n);
}

static void cancelled_at_every_moment(void **state)
{
    static const char *const moments[] = {"begun", "a turn later", "in on_head", "in on_data", "held", "paused", "connecting", "paused and resumed"};
    net n;
    (void)state;
    net_begin(&n, NULL);
    for (size_t i = 0; i < COUNT(moments); i++) {
        call c;
        row("%s", moments[i]);
        server_reset();
        if (i == 6)
            call_init(&c, &n, "http://127.0.0.1:%d/", n.at->full);
        else
            call_init(&c, &n, i == 4 ? "/stall/head" : "/file/1000000");
        c.cancel_head = i == 2;
        c.cancel_data = i == 3;
        c.pause_first = i == 5 || i == 7;
        call_start(&c);
        if (i == 1) uv_run(&n.loop, UV_RUN_NOWAIT);
        if (i == 2 || i == 3) uv_run(&n.loop, UV_RUN_DEFAULT);
        while (i == 4 && server_holding() < 1) turn_for(&n, 1);
        while ((i == 5 || i == 7) && !c.pauses && !c.dones) uv_run(&n.loop, UV_RUN_ONCE);
        if (i == 6) turn_for(&n, 3);
        if (i == 7) cadre__http_resume(c.transfer);
        n.inside++;
        if (c.transfer) cadre__http_cancel(c.transfer);
        n.inside--;
        uv_run(&n.loop, UV_RUN_DEFAULT);
        assert_int_equal(c.dones, 0);
        assert_int_equal(c.heads, i == 2 || i == 3 || i == 5 || i == 7);
        assert_int_equal(c.pieces, i == 3);
        call_free(&c);
    }
    net_end(&n);
}

static void callbacks_end_a_transfer(void **state)
{
    net n;
    call c;
    (void)state;
    net_begin(&n, NULL);
    call_init(&c, &n, "/file/1000000");
    c.fail_head = UV_ENOSPC;
    call_run(&c);
    assert_status(c.error, UV_ENOSPC);
    assert_int_equal(c.pieces, 0);
    assert_false(c.passes);
    assert_int_equal(c.status, 200);
    call_init(&c, &n, "/file/1000000");
    c.fail_data = CADRE_EFORMAT;
    call_run(&c);
    assert_status(c.error, CADRE_EFORMAT);
    assert_int_equal(c.pieces, 1);
    call_free(&c);
    net_end(&n);
}

static void on_done_may_do_anything(void **state)
{
    net n;
    call first, second, third;
    (void)state;
    net_begin(&n, NULL);
    call_init(&first, &n, "/file/10");
    call_init(&second, &n, "/stall/head");
    call_init(&third, &n, "/file/20");
    first.cancel_other = &second;
    first.begin_other = &third;
    third.close_net = true;
    call_start(&second);
    call_start(&first);
    uv_run(&n.loop, UV_RUN_DEFAULT);
    assert_int_equal(first.dones, 1);
    assert_int_equal(second.dones, 0);
    assert_int_equal(third.dones, 1);
    assert_body(&third, 0, 20);
    assert_int_equal(n.closed, 1);
    call_free(&first);
    call_free(&third);
    net_end(&n);
}

static void fifty_side_by_side(void **state)
{
    static call calls[50];
    net n;
    (void)state;
    net_begin(&n, NULL);
    for (size_t i = 0; i < COUNT(calls); i++) {
        call_init(&calls[i], &n, "/file/%zu", 10000 * i + i);
        calls[i].pause_first = i % 3 == 0;
        calls[i].resume_at_once = true;
        calls[i].request.stall_timeout_ms = 100000;
        call_start(&calls[i]);
    }
    for (size_t i = 0; i < COUNT(calls); i += 7) {
        cadre__http_cancel(calls[i].transfer);
        calls[i].transfer = NULL;
    }
    uv_run(&n.loop, UV_RUN_DEFAULT);
    for (size_t i = 0; i < COUNT(calls); i++) {
        row("call %zu", i);
        assert_int_equal(calls[i].dones, i % 7 != 0);
        if (i % 7) assert_body(&calls[i], 0, 10000 * i + i);
        call_free(&calls[i]);
    }
    net_end(&n);
}

static void bad_urls(void **state)
{
    static const char *const urls[] = {"",
                                       "nothing",
                                       "//127.0.0.1/x",
                                       "file:///etc/passwd",
                                       "ftp://127.0.0.1/x",
                                       "gopher://127.0.0.1/x",
                                       "http://",
                                       "http://?q=secret",
                                       "http://127.0.0.1:0/secret",
                                       "http://127.0.0.1:70000/secret",
                                       "http://127.0.0.1:x/secret",
                                       "http://secret:secret@127.0.0.1/",
                                       "http://secret@127.0.0.1/",
                                       "http://[::1/secret",
                                       "http://[fe80::1%25eth0]/secret",
                                       "http://a\xc3\xbc.example/secret",
                                       "http://a%20b.example/secret",
                                       "http://a b/secret",
                                       "http://127.0.0.1/\x01secret",
                                       "http://127.0.0.1/\r\nX: secret",
                                       "data:text/plain,secret"};
    net n;
    (void)state;
    net_begin(&n, NULL);
    for (size_t i = 0; i <= COUNT(urls); i++) {
        call c;
        row("%zu", i);
        call_init(&c, &n, "%s", "x");
        if (i < COUNT(urls)) snprintf(c.url, sizeof c.url, "%s", urls[i]);
        char *big = i < COUNT(urls) ? NULL : malloc(40000);
        if (big) {
            memset(big, 'a', 39999);
            memcpy(big, "http://127.0.0.1/", 17);
            big[39999] = '\0';
            c.request.url = big;
        }
        call_run(&c);
        assert_status(c.error, CADRE_EINPUT);
        assert_false(c.passes);
        assert_int_equal(c.status, 0);
        assert_int_equal(c.heads, 0);
        assert_contains(c.detail, "URL is refused");
        assert_null(strstr(c.detail, "secret"));
        free(big);
    }
    assert_string_equal(server_log(), "");
    net_end(&n);
}

/* net_end() looks whether libcurl called getaddrinfo or made a thread. */
static void names_are_looked_up_by_libuv(void **state)
{
    static const char *const hosts[] = {"localhost", "LocalHost", "a.test", "a.test.", "A_b-c.Test", "127.0.0.1", "127.1", "0x7f000001", "2130706433"};
    net n;
    call c;
    (void)state;
    net_begin(&n, NULL);
    for (size_t i = 0; i < COUNT(hosts); i++) {
        row("%s", hosts[i]);
        call_get(&c, &n, "http://%s:%d/file/10?q=1", hosts[i], n.at->plain);
        assert_status(c.error, 0);
        assert_body(&c, 0, 10);
        call_free(&c);
    }
    row("a name that nobody has");
    call_get(&c, &n, "http://no-such-host.invalid/secret?secret");
    assert_true(c.error == UV_EAI_NONAME || c.error == UV_EAI_AGAIN || c.error == UV_EAI_FAIL || c.error == UV_EAI_NODATA);
    assert_contains(c.detail, "no-such-host.invalid: its name could not be looked up");
    assert_null(strstr(c.detail, "secret"));
    net_end(&n);
}

#define SUITE http
#include "suite.h"
