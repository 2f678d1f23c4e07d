/* embed_in_your_loop CHAT.gguf [PORT | --self-test]: a line server on libuv that has been given a language model. A line is a question, its
 * answer is streamed and ends with a line "."; "ping" gets "pong", also during the load. A client that hangs up cancels its request. */
#include <cadre/llama.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

enum { HIGH_WATER = 16384, LOW_WATER = 2048 }; /* bytes queued on a socket: above, its request is paused; below, resumed */
struct write { uv_write_t req; char bytes[]; };
struct client { uv_tcp_t tcp; cadre_request_id request; int paused, gone; size_t used; char line[1024]; }; /* request 0: there is none */
static struct { cadre_pool *pool; cadre_port *port; uv_tcp_t listener; uv_signal_t sigint; struct sockaddr_in address; int exit_code; } app;
static atomic_int loaded; /* tells the self-test's thread */

static void on_written(uv_write_t *req, int status)
{
    struct client *client = req->handle->data;
    if (status == 0 && client->paused && uv_stream_get_write_queue_size(req->handle) < LOW_WATER)
        client->paused = 0, cadre_request_resume(app.pool, client->request);
    free(req);
}

static void send_text(struct client *client, const char *text, size_t length)
{
    struct write *write = malloc(sizeof(*write) + length); /* a piece of text is valid during on_text only */
    if (!write) return;
    uv_buf_t buf = uv_buf_init(memcpy(write->bytes, text, length), (unsigned)length);
    if (uv_write(&write->req, (uv_stream_t *)&client->tcp, &buf, 1, on_written) != 0) free(write);
}

static void end_answer(struct client *client, int rc, const char *detail)
{
    char text[640];
    int length = snprintf(text, sizeof(text), rc ? "error: %s: %.511s\n.\n" : "\n.\n", cadre_err_name(rc), detail);
    send_text(client, text, (size_t)length);
}

static void on_client_closed(uv_handle_t *handle) { free(handle->data); }
/* A client with a request stays until on_done, which always comes. */
static void hang_up(struct client *client)
{
    client->gone = 1;
    uv_read_stop((uv_stream_t *)&client->tcp);
    if (client->request) cadre_request_cancel(app.pool, client->request);
    else if (!uv_is_closing((uv_handle_t *)&client->tcp)) uv_close((uv_handle_t *)&client->tcp, on_client_closed);
}

static void on_text(cadre_request *request, const char *text, size_t length)
{
    struct client *client = cadre_request_data(request);
    send_text(client, text, length);
    if (!client->paused && uv_stream_get_write_queue_size((uv_stream_t *)&client->tcp) > HIGH_WATER)
        client->paused = cadre_request_pause(app.pool, client->request) == 0;
}

static void on_done(cadre_request *request, int status, const cadre_generation *result)
{
    struct client *client = cadre_request_data(request);
    client->request = 0, client->paused = 0;
    if (client->gone) hang_up(client);
    else end_answer(client, result ? 0 : status, cadre_request_detail(request));
}

static void on_line(struct client *client)
{
    cadre_generate_params params = CADRE_GENERATE_PARAMS_INIT;
    cadre_request_id id = 0;
    int rc = CADRE_EFULL; /* one question at a time */
    params.key = "chat", params.text = client->line, params.sampling.max_tokens = 256; /* the text is copied by the call */
    params.on_text = on_text, params.on_done = on_done, params.data = client;
    if (strcmp(client->line, "ping") == 0) send_text(client, "pong\n", 5);
    else if (client->request || (rc = cadre_generate(app.pool, &params, &id)) != 0) end_answer(client, rc, cadre_strerror(rc));
    else client->request = id;
}

static void on_alloc(uv_handle_t *handle, size_t hint, uv_buf_t *buf)
{
    struct client *client = handle->data;
    (void)hint;
    *buf = uv_buf_init(client->line + client->used, (unsigned)(sizeof(client->line) - client->used)); /* full: UV_ENOBUFS hangs up */
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    struct client *client = stream->data;
    (void)buf;
    if (nread < 0) hang_up(client);
    client->used += nread > 0 ? (size_t)nread : 0;
    for (char *end; nread > 0 && (end = memchr(client->line, '\n', client->used)) != NULL; memmove(client->line, end + 1, client->used))
    {
        *end = '\0';
        on_line(client);
        client->used -= (size_t)(end + 1 - client->line);
    }
}

static void on_connection(uv_stream_t *server, int status)
{
    struct client *client = status == 0 ? calloc(1, sizeof(*client)) : NULL;
    if (!client) return;
    uv_tcp_init(server->loop, &client->tcp), client->tcp.data = client;
    if (uv_accept(server, (uv_stream_t *)&client->tcp) || uv_read_start((uv_stream_t *)&client->tcp, on_alloc, on_read)) hang_up(client);
}

static void close_mine(uv_handle_t *handle, void *arg)
{
    if (handle->type == UV_TCP && handle->data) hang_up(handle->data); /* by now every on_done has run: no client has a request */
    else if (handle == arg || handle == (uv_handle_t *)&app.sigint) uv_close(handle, NULL);
}

static void on_closed(cadre_pool *pool, const cadre_close_report *report, void *listener)
{
    (void)report, uv_walk(cadre_pool_loop(pool), close_mine, listener);
}

static void stop(int exit_code)
{
    cadre_close_options options = CADRE_CLOSE_OPTIONS_INIT;
    options.drain_ms = 0, options.data = &app.listener;
    if (cadre_pool_close(app.pool, &options, on_closed) == 0) app.exit_code = exit_code;
}

static void on_sigint(uv_signal_t *handle, int number) { (void)handle, (void)number, stop(0); }
static void on_ready(cadre_pool *pool, cadre_worker_id worker, int status, const char *detail, void *data)
{
    (void)pool, (void)worker, (void)data, atomic_store(&loaded, 1);
    if (status < 0) fprintf(stderr, "%s: %s\n", cadre_err_name(status), detail), stop(1);
}

/* A thread with a blocking socket: pings until the model is loaded, then a question; the port takes the result to the loop. */
static void on_tested(cadre_pool *pool, void *answer) { (void)pool, stop(answer ? 0 : 1); }
static void self_test(void *arg)
{
    static char got[8192];
    uint64_t start, slowest = 0;
    int pings = 0, fd = socket(AF_INET, SOCK_STREAM, 0), ok = connect(fd, arg, sizeof(app.address)) == 0;
    for (; ok && !atomic_load(&loaded); pings++, usleep(1000))
    {
        start = uv_hrtime();
        ok = write(fd, "ping\n", 5) == 5 && read(fd, got, 5) == 5;
        if (uv_hrtime() - start > slowest) slowest = uv_hrtime() - start;
    }
    memset(got, 0, sizeof(got));
    ok = ok && write(fd, "Name three colours.\n", 20) == 20;
    for (size_t used = 0; ok && !strstr(got, "\n.\n"); used = strlen(got)) ok = read(fd, got + used, sizeof(got) - 1 - used) > 0;
    printf("%d pings during the load, the slowest %.2f ms; the answer: %s", pings, (double)slowest / 1e6, got);
    close(fd), cadre_port_post(app.port, on_tested, ok && pings > 0 && strncmp(got, "error", 5) != 0 ? got : NULL);
}

int main(int argc, char **argv)
{
    int testing = argc == 3 && strcmp(argv[2], "--self-test") == 0, length = sizeof(app.address), rc;
    if (argc < 2 || argc > 3) return fprintf(stderr, "usage: embed_in_your_loop CHAT.gguf [PORT | --self-test]\n"), 2;
    uv_loop_t *loop = uv_default_loop();
    uv_thread_t thread;
    cadre_llama_options options = CADRE_LLAMA_OPTIONS_INIT;
    cadre_text_to_text_loader loader;
    struct sockaddr *address = (struct sockaddr *)&app.address;
    options.path = argv[1];
    if ((rc = cadre_pool_create(&app.pool, loop, NULL)) != 0) return fprintf(stderr, "%s\n", cadre_err_name(rc)), 1;
    app.port = cadre_pool_port(app.pool);
    uv_signal_init(loop, &app.sigint), uv_signal_start(&app.sigint, on_sigint, SIGINT);
    uv_tcp_init(loop, &app.listener), uv_ip4_addr("127.0.0.1", testing ? 0 : argc == 3 ? atoi(argv[2]) : 7070, &app.address);
    if ((rc = uv_tcp_bind(&app.listener, address, 0)) != 0 || (rc = uv_listen((uv_stream_t *)&app.listener, 64, on_connection)) != 0 ||
        (rc = uv_tcp_getsockname(&app.listener, address, &length)) != 0 || (rc = cadre_llama_text_to_text(&options, &loader)) != 0 ||
        (rc = cadre_spawn_text_to_text(app.pool, "chat", &loader, NULL, NULL, on_ready, NULL, NULL)) != 0 ||
        (testing && (rc = uv_thread_create(&thread, self_test, address)) != 0))
        fprintf(stderr, "%s: %s\n", cadre_err_name(rc), cadre_strerror(rc)), stop(1), testing = 0;
    else printf("listening on 127.0.0.1:%d\n", ntohs(app.address.sin_port));
    uv_run(loop, UV_RUN_DEFAULT);
    if (testing) uv_thread_join(&thread);
    cadre_port_release(app.port);
    return uv_loop_close(loop) == 0 ? app.exit_code : 1;
}
