#include "core/port.h"

#include "pool/pool.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

cadre_port *cadre__port_create(const cadre_allocator *allocator)
{
    cadre_port *port = cadre__alloc(allocator, sizeof *port);
    if (!port) return NULL;
    atomic_init(&port->refs, 1);
    atomic_init(&port->open, true);
    port->allocator = *allocator;
    port->loop_thread = uv_thread_self();
    port->read_fd = port->write_fd = -1;
    atomic_init(&port->loop_cpu, -1);
    return port;
}

bool cadre__port_on_loop(const cadre_port *port)
{
    uv_thread_t self = uv_thread_self();
    return uv_thread_equal(&self, &port->loop_thread);
}

cadre_pool *cadre__port_pool_here(const cadre_port *port)
{
    return cadre__port_on_loop(port) && port->pool && port->pool->reaper ? port->pool : NULL;
}

cadre_port *cadre_port_retain(cadre_port *port)
{
    if (port) atomic_fetch_add_explicit(&port->refs, 1, memory_order_relaxed);
    return port;
}

void cadre_port_release(cadre_port *port)
{
    if (!port || atomic_fetch_sub_explicit(&port->refs, 1, memory_order_acq_rel) != 1) return;
    if (port->read_fd >= 0) close(port->read_fd);
    if (port->write_fd >= 0 && port->write_fd != port->read_fd) close(port->write_fd);
    cadre_allocator allocator = port->allocator;
    cadre__free(&allocator, port, sizeof *port);
}

typedef struct post {
    cadre__message message;
    cadre_post_cb cb;
    void *data;
    cadre_request_id request;
} post;

static void deliver_post(cadre_pool *pool, cadre__message *message)
{
    post *p = CADRE__CONTAINER(message, post, message);
    post copy = *p;
    cadre__free(&pool->port->allocator, p, sizeof *p);
    if (copy.cb)
        copy.cb(pool, copy.data);
    else
        cadre_request_cancel(pool, copy.request);
}

static int send_post(cadre_port *port, cadre_post_cb cb, void *data, cadre_request_id request)
{
    post *p = cadre__alloc(&port->allocator, sizeof *p);
    if (!p) return CADRE_ENOMEM;
    *p = (post){.message.deliver = deliver_post, .cb = cb, .data = data, .request = request};
    if (cadre__port_send(port, &p->message)) return CADRE_OK;
    cadre__free(&port->allocator, p, sizeof *p);
    return CADRE_ECLOSED;
}

int cadre_port_post(cadre_port *port, cadre_post_cb cb, void *data)
{
    return port && cb ? send_post(port, cb, data, 0) : CADRE_EINVAL;
}

int cadre_port_cancel(cadre_port *port, cadre_request_id request)
{
    return port && request ? send_post(port, NULL, NULL, request) : CADRE_EINVAL;
}

void cadre__log(const cadre_port *port, cadre_log_level level, const char *format, ...)
{
    if (!port->log || (int32_t)level > port->log_level) return;
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    cadre__one_line(line);
    port->log(level, line, port->log_data);
}
