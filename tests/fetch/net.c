#include "net.h"

#include <dlfcn.h>
#include <netdb.h>

/* ---- libcurl must not look names up, or make threads; names below "test" mean 127.0.0.1 ---- */

static atomic_int lookups_by_libuv, lookups_by_others, threads_by_libcurl;

static bool caller_is(void *address, const char *library)
{
    Dl_info info;
    return dladdr(address, &info) && info.dli_fname && strstr(info.dli_fname, library);
}

int getaddrinfo(const char *restrict node, const char *restrict service, const struct addrinfo *restrict hints, struct addrinfo **restrict out)
{
    static _Thread_local int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    atomic_fetch_add(caller_is(__builtin_return_address(0), "libcurl") ? &lookups_by_others : &lookups_by_libuv, 1);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    size_t length = node ? strlen(node) : 0;
    if (length && node[length - 1] == '.') length--;
    return real(length > 5 && strncasecmp(node + length - 5, ".test", 5) == 0 ? "127.0.0.1" : node, service, hints, out);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attributes, void *(*run)(void *), void *restrict data)
{
    static _Thread_local int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (caller_is(__builtin_return_address(0), "libcurl")) atomic_fetch_add(&threads_by_libcurl, 1);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    return real(thread, attributes, run, data);
}
#endif

/* ---- which addresses are public ---- */

int public_answers, public_asked;
bool __real_cadre__address_is_public(const struct sockaddr *address);
bool __wrap_cadre__address_is_public(const struct sockaddr *address);
bool __wrap_cadre__address_is_public(const struct sockaddr *address)
{
    public_asked++;
    if (public_answers == 0) return __real_cadre__address_is_public(address);
    if (public_answers > 0) public_answers--;
    return true;
}

/* ---- the net ---- */

void net_begin(net *n, const char *ca_file)
{
    memset(n, 0, sizeof *n);
    n->at = server_here();
    if (!n->at) fail_msg("the server did not start");
    server_reset();
    public_answers = public_asked = 0;
    atomic_store(&lookups_by_libuv, 0);
    assert_int_equal(uv_loop_init(&n->loop), 0);
    assert_status(cadre__http_create(&n->http, &n->loop, ca_file), 0);
    assert_false(uv_loop_alive(&n->loop));
}

static void on_closed(void *data)
{
    net *n = data;
    n->closed++;
    if (n->inside) fail_msg("close calls back from inside");
}

void net_end(net *n)
{
    assert_false(uv_run(&n->loop, UV_RUN_NOWAIT)); /* nothing holds it */
    n->inside++;
    if (n->http) cadre__http_close(n->http, on_closed, n);
    n->inside--;
    n->http = NULL;
    uv_run(&n->loop, UV_RUN_DEFAULT);
    assert_int_equal(n->closed, 1);
    assert_int_equal(uv_loop_close(&n->loop), 0);
    assert_int_equal(atomic_exchange(&lookups_by_others, 0), 0);
    assert_int_equal(atomic_exchange(&threads_by_libcurl, 0), 0);
}

/* ---- calls ---- */

static int on_head(cadre__transfer *transfer, long status, void *data)
{
    call *c = data;
    if (transfer != c->transfer || c->net->inside || c->dones) fail_msg("on_head comes at a wrong time");
    c->heads++;
    c->head_status = status;
    c->length = cadre__http_length(transfer);
    c->offset = cadre__http_offset(transfer, &c->total);
    const char *value = c->want_header ? cadre__http_header(transfer, c->want_header) : NULL;
    snprintf(c->header, sizeof c->header, "%s", value ? value : "(none)");
    snprintf(c->origin, sizeof c->origin, "%s", cadre__http_origin(transfer));
    if (c->cancel_head) {
        c->transfer = NULL;
        cadre__http_cancel(transfer);
    }
    return c->fail_head;
}

static int on_data(cadre__transfer *transfer, const void *bytes, size_t length, void *data)
{
    call *c = data;
    if (transfer != c->transfer || c->net->inside || c->dones || !c->heads || length == 0 || length > 16384) fail_msg("on_data comes at a wrong time");
    size_t start = length < sizeof c->paused_copy ? length : sizeof c->paused_copy;
    if (c->paused_length) { /* the same piece comes again, perhaps with more after it */
        assert_true(length >= c->paused_length);
        assert_memory_equal(bytes, c->paused_copy, start < c->paused_length ? start : c->paused_length);
        c->paused_length = 0;
    }
    if (c->pause_first > 0) {
        c->pause_first--;
        c->pauses++;
        c->paused_length = length;
        memcpy(c->paused_copy, bytes, start);
        if (c->resume_at_once) cadre__http_resume(transfer);
        return CADRE_EAGAIN;
    }
    c->pieces++;
    c->body = realloc(c->body, c->bytes + length + 1);
    assert_non_null(c->body);
    memcpy(c->body + c->bytes, bytes, length);
    c->bytes += length;
    c->body[c->bytes] = '\0';
    if (c->cancel_data) {
        c->transfer = NULL;
        cadre__http_cancel(transfer);
    }
    return c->fail_data;
}

static void on_done(cadre__transfer *transfer, const cadre__http_result *result, void *data)
{
    call *c = data;
    if (transfer != c->transfer || c->net->inside) fail_msg("on_done comes at a wrong time");
    c->dones++;
    c->transfer = NULL;
    c->error = result->error;
    c->status = result->status;
    c->passes = result->passes;
    c->retry_after = result->retry_after_ms;
    snprintf(c->detail, sizeof c->detail, "%s", result->detail);
    if (getenv("CADRE_TEST_LOG")) print_message("%s %ld %s\n", cadre_err_name(c->error), c->status, c->detail);
    if (c->cancel_other && c->cancel_other->transfer) {
        cadre__transfer *other = c->cancel_other->transfer;
        c->cancel_other->transfer = NULL;
        cadre__http_cancel(other);
    }
    if (c->begin_other) call_start(c->begin_other);
    if (c->close_net) {
        cadre__http *http = c->net->http;
        c->net->http = NULL;
        c->net->inside++;
        cadre__http_close(http, on_closed, c->net);
        c->net->inside--;
    }
}

static void init(call *c, net *n, const char *format, va_list list)
{
    memset(c, 0, sizeof *c);
    c->net = n;
    char rest[900];
    vsnprintf(rest, sizeof rest, format, list);
    if (rest[0] == '/')
        snprintf(c->url, sizeof c->url, "http://127.0.0.1:%d%s", n->at->plain, rest);
    else
        snprintf(c->url, sizeof c->url, "%s", rest);
    c->request = (cadre__http_request){.url = c->url,
                                       .max_bytes = UINT64_MAX,
                                       .connect_timeout_ms = CADRE_NEVER,
                                       .stall_timeout_ms = CADRE_NEVER,
                                       .timeout_ms = CADRE_NEVER,
                                       .on_head = on_head,
                                       .on_data = on_data,
                                       .on_done = on_done,
                                       .data = c};
}

void call_init(call *c, net *n, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    init(c, n, format, list);
    va_end(list);
}

void call_start(call *c)
{
    c->net->inside++;
    c->transfer = cadre__http_begin(c->net->http, &c->request);
    c->net->inside--;
    assert_non_null(c->transfer);
    assert_true(uv_loop_alive(&c->net->loop));
}

void call_run(call *c)
{
    call_start(c);
    uv_run(&c->net->loop, UV_RUN_DEFAULT);
    assert_int_equal(c->dones, 1);
}

void call_free(call *c)
{
    free(c->body);
    c->body = NULL;
}

void call_get(call *c, net *n, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    init(c, n, format, list);
    va_end(list);
    call_run(c);
}

void assert_body(const call *c, size_t from, size_t size)
{
    assert_size(c->bytes, size - from);
    for (size_t i = 0; i < c->bytes; i++) {
        size_t at = from + i;
        unsigned char expected = (unsigned char)((at / 4) >> (24 - at % 4 * 8));
        if ((unsigned char)c->body[i] != expected) fail_msg("byte %zu is wrong", at);
    }
}
