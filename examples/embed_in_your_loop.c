/* embed_in_your_loop CHAT.gguf [PORT]: a line server on libuv that has been given a language model. A line is a question, its answer is streamed and ends
 * with a line "."; "ping" gets "pong", also during the load. A client that hangs up cancels its request. Ctrl-C: answers may end, then the server does. */
#include <cadre/llama.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>
enum { HIGH_WATER = 16384, LOW_WATER = 2048 }; /* bytes queued on a socket: above, its request is paused; below, resumed */
struct client {
    uv_tcp_t tcp;
    cadre_request_id request; /* 0: there is none */
    int gone;
    size_t used;
    char line[1024];
};
static cadre_pool *pool;
static int exit_code;

static void on_written(uv_write_t *write, int status)
{
    const struct client *client = write->handle->data;
    if (status == 0 && client->tcp.write_queue_size < LOW_WATER) cadre_request_resume(pool, client->request); /* not paused: does nothing */
    free(write);
}

static void send_text(struct client *client, const char *text, size_t length)
{
    uv_write_t *write = malloc(sizeof *write + length); /* with a copy: a piece of text is valid during on_text only */
    if (!write) return;
    uv_buf_t copy = uv_buf_init(memcpy(write + 1, text, length), (unsigned)length);
    if (uv_write(write, (uv_stream_t *)&client->tcp, &copy, 1, on_written) != 0) free(write);
}

static void end_answer(struct client *client, int rc, const char *detail)
{
    char text[640];
    send_text(client, text, (size_t)snprintf(text, sizeof text, rc < 0 ? "error: %s: %.511s\n.\n" : "\n.\n", cadre_err_name(rc), detail));
}

static void on_handle_closed(uv_handle_t *handle)
{
    free(handle->data); /* a client; NULL for the listener and the signal */
}
static void hang_up(struct client *client)
{
    client->gone = 1;
    uv_read_stop((uv_stream_t *)&client->tcp);
    if (client->request != 0) cadre_request_cancel(pool, client->request); /* its on_done, which always comes, hangs up once more */
    if (client->request == 0) uv_close((uv_handle_t *)&client->tcp, on_handle_closed);
}

static void on_text(cadre_request *request, const char *text, size_t length)
{
    struct client *client = cadre_request_data(request);
    send_text(client, text, length);
    if (client->tcp.write_queue_size > HIGH_WATER) cadre_request_pause(pool, client->request);
}

static void on_done(cadre_request *request, int status, const cadre_generation *result)
{
    struct client *client = cadre_request_data(request);
    client->request = 0;
    if (!client->gone) end_answer(client, result ? 0 : status, cadre_request_detail(request));
    if (client->gone) hang_up(client);
}

static void on_line(struct client *client)
{
    cadre_generate_params ask = CADRE_GENERATE_PARAMS_INIT;
    ask.key = "chat", ask.text = client->line, ask.sampling.max_tokens = 256; /* the text is copied by the call */
    ask.on_text = on_text, ask.on_done = on_done, ask.data = client;
    int ping = strcmp(client->line, "ping") == 0;
    if (ping) send_text(client, "pong\n", 5);
    int rc = ping ? 0 : client->request != 0 ? CADRE_EFULL : cadre_generate(pool, &ask, &client->request); /* one question at a time */
    if (rc < 0) end_answer(client, rc, cadre_strerror(rc));
}

static void on_alloc(uv_handle_t *handle, size_t hint, uv_buf_t *buf)
{
    struct client *client = handle->data;
    (void)hint, *buf = uv_buf_init(client->line + client->used, (unsigned)(sizeof client->line - client->used)); /* full: UV_ENOBUFS hangs up */
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    struct client *client = stream->data;
    (void)buf, client->used += nread > 0 ? (size_t)nread : 0;
    for (char *end; (end = memchr(client->line, '\n', client->used)) != NULL; memmove(client->line, end + 1, client->used)) {
        *end = '\0';
        on_line(client);
        client->used -= (size_t)(end + 1 - client->line);
    }
    if (nread < 0) hang_up(client);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct client *client = status == 0 ? calloc(1, sizeof *client) : NULL;
    if (!client) return;
    uv_tcp_init(listener->loop, &client->tcp), client->tcp.data = client;
    if (uv_accept(listener, (uv_stream_t *)&client->tcp) || uv_read_start((uv_stream_t *)&client->tcp, on_alloc, on_read)) hang_up(client);
}

static void close_handle(uv_handle_t *handle, void *data)
{
    (void)data;
    if (!uv_is_closing(handle)) uv_close(handle, on_handle_closed);
}

static void on_closed(cadre_pool *closed, const cadre_close_report *report, void *data)
{
    (void)report, uv_walk(cadre_pool_loop(closed), close_handle, data); /* by now the pool's are closed, and every on_done has run */
}

static void on_sigint(uv_signal_t *handle, int number)
{
    (void)handle, (void)number, cadre_pool_close(pool, NULL, on_closed);
}

static void on_ready(cadre_pool *of, cadre_worker_id worker, int status, const char *detail, void *data)
{
    (void)worker, (void)data;
    if (status < 0 && cadre_pool_close(of, NULL, on_closed) == 0) exit_code = 1, fprintf(stderr, "%s: %s\n", cadre_err_name(status), detail);
}

int main(int argc, char **argv)
{
    static uv_tcp_t listener;
    static uv_signal_t sigint;
    struct sockaddr_in address;
    int length = sizeof address;
    cadre_text_to_text_loader loader;
    cadre_llama_options options = CADRE_LLAMA_OPTIONS_INIT;
    if (argc < 2 || argc > 3) return fprintf(stderr, "usage: embed_in_your_loop CHAT.gguf [PORT]\n"), 2;
    options.path = argv[1];
    if (cadre_pool_create(&pool, uv_default_loop(), NULL) < 0 || cadre_llama_text_to_text(&options, &loader) < 0) return 1;
    signal(SIGPIPE, SIG_IGN); /* a write to a client that is gone is an error, not a signal */
    uv_signal_init(uv_default_loop(), &sigint), uv_signal_start(&sigint, on_sigint, SIGINT);
    uv_tcp_init(uv_default_loop(), &listener);
    uv_ip4_addr("127.0.0.1", argc == 3 ? atoi(argv[2]) : 7070, &address); /* 0: any port that is free */
    int rc = cadre_spawn_text_to_text(pool, "chat", &loader, NULL, NULL, on_ready, NULL, NULL);
    if (rc == 0) rc = uv_tcp_bind(&listener, (struct sockaddr *)&address, 0);
    if (rc == 0) rc = uv_listen((uv_stream_t *)&listener, 64, on_connection);
    if (rc == 0) rc = uv_tcp_getsockname(&listener, (struct sockaddr *)&address, &length);
    if (rc == 0) printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port)), fflush(stdout);
    if (rc != 0) on_ready(pool, 0, rc, cadre_strerror(rc), NULL);
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    return uv_loop_close(uv_default_loop()) == 0 ? exit_code : 1;
}
