/* Events: recorded where they happen, told on a later delivery. */
#include "observe/observe.h"

#include "pool/pool.h"

#include <stdarg.h>
#include <stdio.h>

typedef struct event_message {
    cadre__message message; /* first */
    size_t bytes;           /* of the block */
    cadre_event event;      /* its strings lie behind it */
} event_message;

const char *cadre_event_name(cadre_event_type type)
{
    static const char *const names[CADRE_EVENT_COUNT] = {"model_added",       "model_removed",   "load_waits",  "load_started", "load_failed",
                                                         "worker_ready",      "worker_stopping", "worker_gone", "worker_hung",  "breaker_opened",
                                                         "breaker_half_open", "breaker_closed",  "pressure",    "evicted"};
    return (unsigned)type < CADRE_EVENT_COUNT ? names[type] : "unknown";
}

static void deliver_event(cadre_pool *pool, cadre__message *message)
{
    event_message *told = CADRE__CONTAINER(message, event_message, message);
    cadre__trace_event(pool, &told->event);
    if (pool->on_event) pool->on_event(pool, &told->event, pool->event_data);
    cadre__free(cadre__pool_allocator(pool), told, told->bytes);
}

void cadre__event(cadre_pool *pool, cadre_event_type type, const char *key, cadre_worker_id worker, int status, uint64_t bytes, uint64_t ns, const char *format,
                  ...)
{
    char detail[CADRE__DETAIL_SIZE] = "";
    if (!pool->on_event && !cadre__trace_live(pool)) return;
    if (format) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(detail, sizeof detail, format, arguments);
        va_end(arguments);
        cadre__one_line(detail);
    }
    if (!key) key = "";
    size_t key_size = strlen(key) + 1, detail_size = strlen(detail) + 1, size;
    event_message *told = NULL;
    if (cadre__add(sizeof *told, detail_size, &size) && cadre__add(size, key_size, &size)) told = cadre__alloc(cadre__pool_allocator(pool), size);
    if (!told) {
        cadre__log(pool->port, CADRE_LOG_WARN, "out of memory: nobody is told of %s %s", cadre_event_name(type), key);
        return;
    }
    char *strings = (char *)(told + 1);
    memcpy(strings, key, key_size);
    memcpy(strings + key_size, detail, detail_size);
    told->message.deliver = deliver_event;
    told->bytes = size;
    told->event = (cadre_event){.size = sizeof told->event,
                                .type = type,
                                .time_ns = cadre__pool_now(pool),
                                .key = strings,
                                .worker = worker,
                                .status = status,
                                .detail = strings + key_size,
                                .bytes = bytes,
                                .ns = ns};
    cadre__pool_defer(pool, &told->message);
}
