/* Pictures by URL: the table that libcadre-fetch gives a pool, on a pool's loop. */
#include "net.h"
#define TESTS_image_urls(X)                                                                                                                                    \
    X(pictures_come_whole)                                                                                                                                     \
    X(what_goes_wrong)                                                                                                                                         \
    X(private_addresses)                                                                                                                                       \
    X(attempts)                                                                                                                                                \
    X(releasing_cancels)                                                                                                                                       \
    X(cancelled_and_done_in_one_turn)                                                                                                                          \
    X(stop_ends_what_is_under_way)                                                                                                                             \
    X(the_pool_closes_first)                                                                                                                                   \
    X(out_of_memory)

typedef struct place {
    fixture *fx;
    cadre__http *http;
    struct cadre__image_source source;
    cadre_image_fetcher fetcher;
    const server *at;
    int closed;
} place;

typedef struct picture_call {
    cadre_weights_future *future;
    int done, status;
    char detail[600];
} picture_call;

/* libuv's own threads, which stay, are there before the fixture counts. */
static void nothing(uv_work_t *work)
{
    (void)work;
}

static void start_threads(void)
{
    uv_loop_t loop;
    uv_work_t work;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(uv_queue_work(&loop, &work, nothing, NULL), 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void begin(place *p)
{
    memset(p, 0, sizeof *p);
    start_threads();
    p->at = server_here();
    if (!p->at) fail_msg("the server did not start");
    server_reset();
    public_answers = 0;
    p->fx = fixture_begin();
    assert_status(cadre__http_create(&p->http, &p->fx->loop, NULL), 0);
    p->source = (struct cadre__image_source){
        .http = p->http, .allow_private = true, .connect_timeout_ms = CADRE_NEVER, .stall_timeout_ms = CADRE_NEVER, .timeout_ms = CADRE_NEVER};
    cadre__image_fetcher_init(&p->fetcher, &p->source);
}

static void on_closed(void *data)
{
    ((place *)data)->closed++;
}

static void end(place *p)
{
    if (!p->fx->closed) fixture_close(p->fx, NULL);
    cadre__image_fetcher_stop(&p->source);
    cadre__http_close(p->http, on_closed, p);
    run_until_int(p->fx, &p->closed, 1);
    fixture_end(p->fx);
}

static void on_complete(cadre_future *future, int status, const char *detail, void *data)
{
    picture_call *c = data;
    (void)future;
    c->done++;
    c->status = status;
    snprintf(c->detail, sizeof c->detail, "%s", detail);
}

static void start(place *p, picture_call *c, uint64_t max_bytes, const char *format, ...) CADRE_PRINTF(4, 5);
static void start(place *p, picture_call *c, uint64_t max_bytes, const char *format, ...)
{
    char rest[256], url[320];
    va_list list;
    va_start(list, format);
    vsnprintf(rest, sizeof rest, format, list);
    va_end(list);
    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", p->at->plain, rest);
    memset(c, 0, sizeof *c);
    c->future = p->fetcher.fetch(p->fetcher.self, p->fx->pool, rest[0] == '/' ? url : rest, max_bytes);
    memset(url, 'x', sizeof url - 1); /* it was copied */
    assert_non_null(c->future);
    assert_status(cadre_weights_future_on_complete(c->future, on_complete, c), 0);
}

static void wait_for(place *p, picture_call *c)
{
    run_until_int(p->fx, &c->done, 1);
    assert_int_equal(c->done, 1);
}

/* The server has the request and holds it. */
static void wait_held(place *p)
{
    while (server_count("GET /stall") == 0) uv_run(&p->fx->loop, UV_RUN_NOWAIT);
    server_held(1);
}

static void pictures_come_whole(void **state)
{
    static const struct {
        const char *path;
        size_t size;
    } rows[] = {{"/file/1", 1}, {"/file/3000003", 3000003}, {"/chunked/3000003/7777", 3000003}, {"/nolength/50000", 50000}, {"/redirect/302?to=/file/5", 5}};
    place p;
    picture_call c;
    (void)state;
    begin(&p);
    for (size_t i = 0; i < COUNT(rows); i++) {
        row("%s", rows[i].path);
        start(&p, &c, 4000000, "%s", rows[i].path);
        wait_for(&p, &c);
        assert_status(c.status, 0);
        const cadre_blob *blob = cadre_weights_payload(cadre_weights_future_get(c.future));
        assert_size(blob->length, rows[i].size);
        const unsigned char *bytes = blob->data;
        for (size_t k = 0; k < blob->length; k++) assert_int_equal(bytes[k], (unsigned char)((k / 4) >> (24 - k % 4 * 8)));
        cadre_weights_future_release(c.future);
    }
    end(&p);
}

static void what_goes_wrong(void **state)
{
    static const struct {
        const char *url;
        int error;
        const char *detail;
    } rows[] = {
        {"/status/404?secret", CADRE_EINPUT, "404 Not Found"},
        {"/status/403?secret", CADRE_EINPUT, "403 Forbidden"},
        {"/status/304?secret", CADRE_EINPUT, "304"},
        {"/status/429?secret", CADRE_ELOAD, "429 Too Many Requests"},
        {"/status/503?secret", CADRE_ELOAD, "503 Service Unavailable"},
        {"/file/0?secret", CADRE_EINPUT, "without a body"},
        {"/file/100001?secret", CADRE_EINPUT, "limit of 100000"},
        {"/endless?secret", CADRE_EINPUT, "limit of 100000"},
        {"/cut/10/20?secret", UV_ECONNRESET, "after 10 of 20 bytes"},
        {"/stall/body/10?secret", UV_ETIMEDOUT, "no byte for 200 ms"},
        {"/loop/11?secret", CADRE_EINPUT, "redirects"},
        {"/raw/garbage?secret", UV_EPROTO, "not HTTP"},
        {"file:///etc/secret", CADRE_EINPUT, "refused"},
        {"http://user:secret@127.0.0.1/", CADRE_EINPUT, "refused"},
        {"secret", CADRE_EINPUT, "refused"},
    };
    place p;
    picture_call c;
    (void)state;
    begin(&p);
    p.source.stall_timeout_ms = 200;
    for (size_t i = 0; i < COUNT(rows); i++) {
        row("%s", rows[i].url);
        start(&p, &c, 100000, "%s", rows[i].url);
        wait_for(&p, &c);
        assert_status(c.status, rows[i].error);
        assert_contains(c.detail, rows[i].detail);
        assert_null(strstr(c.detail, "secret"));
        cadre_weights_future_release(c.future);
    }
    row("the whole time");
    p.source.stall_timeout_ms = CADRE_NEVER;
    p.source.timeout_ms = 200;
    start(&p, &c, 1 << 30, "/trickle");
    wait_for(&p, &c);
    assert_status(c.status, UV_ETIMEDOUT);
    cadre_weights_future_release(c.future);
    end(&p);
}

static void private_addresses(void **state)
{
    place p;
    picture_call c;
    (void)state;
    begin(&p);
    p.source.allow_private = false;
    start(&p, &c, 1000, "/file/10");
    wait_for(&p, &c);
    assert_status(c.status, CADRE_EINPUT);
    assert_contains(c.detail, "not public");
    cadre_weights_future_release(c.future);
    start(&p, &c, 1000, "http://a.test:%d/file/10", p.at->plain);
    wait_for(&p, &c);
    assert_status(c.status, CADRE_EINPUT);
    cadre_weights_future_release(c.future);
    assert_string_equal(server_log(), "");
    end(&p);
}

static void attempts(void **state)
{
    static const struct {
        const char *path;
        int times;
    } rows[] = {{"/raw/empty", 3}, {"/status/503", 1}, {"/cut/0/10", 1}, {"/raw/garbage", 1}};
    place p;
    picture_call c;
    (void)state;
    begin(&p);
    for (size_t i = 0; i < COUNT(rows); i++) {
        row("%s", rows[i].path);
        server_reset();
        start(&p, &c, 1000, "%s", rows[i].path);
        wait_for(&p, &c);
        assert_true(c.status < 0);
        assert_int_equal(server_count("GET"), rows[i].times);
        cadre_weights_future_release(c.future);
    }
    end(&p);
}

static void releasing_cancels(void **state)
{
    place p;
    (void)state;
    begin(&p);
    for (int moment = 0; moment < 3; moment++) {
        row("moment %d", moment);
        server_reset();
        cadre_weights_future *future = p.fetcher.fetch(p.fetcher.self, p.fx->pool, moment == 2 ? "file:///x" : "http://a.test:1/", 100);
        assert_non_null(future);
        if (moment == 1) settle(p.fx);
        cadre_weights_future_release(future);
        settle(p.fx);
    }
    picture_call c;
    start(&p, &c, 1000000, "/stall/body/5000");
    wait_held(&p);
    settle(p.fx);
    cadre_weights_future_cancel(c.future);
    wait_for(&p, &c);
    assert_status(c.status, CADRE_ECANCELED);
    cadre_weights_future_release(c.future);
    settle(p.fx);
    assert_null(p.source.running);
    end(&p);
}

/* The future is cancelled in the same turn in which the transfer ends, in either order. */
static void cancelled_and_done_in_one_turn(void **state)
{
    place p;
    picture_call c;
    (void)state;
    begin(&p);
    for (int turns = 0; turns < 40; turns++) {
        row("after %d turns", turns);
        start(&p, &c, 1000000, "/file/100");
        for (int i = 0; i < turns && !c.done; i++) uv_run(&p.fx->loop, UV_RUN_NOWAIT);
        cadre_weights_future_cancel(c.future);
        wait_for(&p, &c);
        assert_true(c.status == 0 || c.status == CADRE_ECANCELED);
        cadre_weights_future_release(c.future);
    }
    settle(p.fx);
    assert_null(p.source.running);
    end(&p);
}

static void stop_ends_what_is_under_way(void **state)
{
    place p;
    picture_call c[3];
    (void)state;
    begin(&p);
    start(&p, &c[0], 1000000, "/stall/body/5000");
    wait_held(&p);
    settle(p.fx);
    start(&p, &c[1], 1000000, "/file/10");
    start(&p, &c[2], 1000000, "/file/10");
    cadre_weights_future_cancel(c[2].future);
    cadre__image_fetcher_stop(&p.source);
    for (int i = 0; i < 3; i++) {
        wait_for(&p, &c[i]);
        assert_status(c[i].status, i == 2 ? CADRE_ECANCELED : CADRE_ECLOSED);
        cadre_weights_future_release(c[i].future);
    }
    start(&p, &c[0], 1000000, "/file/10");
    wait_for(&p, &c[0]);
    assert_status(c[0].status, CADRE_ECLOSED);
    cadre_weights_future_release(c[0].future);
    end(&p);
}

static void the_pool_closes_first(void **state)
{
    place p;
    picture_call c;
    cadre_close_options options = CADRE_CLOSE_OPTIONS_INIT;
    (void)state;
    begin(&p);
    start(&p, &c, 1000000, "/stall/body/5000");
    wait_held(&p);
    options.drain_ms = 0;
    fixture_close(p.fx, &options);
    assert_int_equal(c.done, 1);
    assert_true(c.status == CADRE_ECLOSED || c.status == CADRE_ECANCELED);
    cadre_weights_future_release(c.future);
    assert_null(p.source.running);
    end(&p);
}

/* Of the pool's memory; the fetcher's own is the system's. */
static void out_of_memory(void **state)
{
    place p;
    (void)state;
    begin(&p);
    for (long n = 1; n < 6; n++) {
        char url[64];
        row("allocation %ld", n);
        snprintf(url, sizeof url, "http://127.0.0.1:%d/file/10", p.at->plain);
        atomic_store(&p.fx->memory.fail_at, (long)atomic_load(&p.fx->memory.allocations) + n);
        cadre_weights_future *future = p.fetcher.fetch(p.fetcher.self, p.fx->pool, url, 100);
        atomic_store(&p.fx->memory.fail_at, 0);
        if (future) cadre_weights_future_release(future);
        settle(p.fx);
        assert_null(p.source.running);
    }
    end(&p);
}

#define SUITE image_urls
#include "suite.h"
