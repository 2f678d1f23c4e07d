#include "pool/pool.h"

#include "memory/budget.h"
#include "memory/ledger.h"
#include "memory/reserve.h"
#include "pool/close.h"
#include "pool/loader.h"
#include "pool/model.h"
#include "pool/reaper.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void *default_alloc(size_t bytes, void *data)
{
    (void)data;
    return malloc(bytes);
}

static void default_free(void *pointer, size_t bytes, void *data)
{
    (void)bytes;
    (void)data;
    free(pointer);
}

static int check_options(cadre_pool_options *options, const cadre_pool_options *theirs)
{
    *options = (cadre_pool_options)CADRE_POOL_OPTIONS_INIT;
    if (theirs && !cadre__overlay(options, sizeof *options, theirs)) return CADRE_EINVAL;
    if (options->cores == CADRE_DEFAULT) options->cores = (int32_t)cadre__default_cores();
    if (options->loads_at_once == CADRE_DEFAULT) options->loads_at_once = 2;
    if (options->abandon_after_ms == CADRE_DEFAULT) options->abandon_after_ms = 10000;
    if (options->aging_ms == CADRE_DEFAULT) options->aging_ms = 1000;
    if (options->log_level == CADRE_DEFAULT) options->log_level = CADRE_LOG_INFO;
    if (options->cores < 1 || options->loads_at_once < 1 || options->loads_at_once > 1024 || options->abandon_after_ms < 0 || options->aging_ms < 0 ||
        options->log_level < CADRE_LOG_ERROR || options->log_level > CADRE_LOG_DEBUG)
        return CADRE_EINVAL;
    if (options->memory_bytes < CADRE_DEFAULT || options->seed < CADRE_DEFAULT || (options->device_count && !options->devices) || options->device_count > 1024)
        return CADRE_EINVAL;
    for (size_t i = 0; i < options->device_count; i++)
        if (options->devices[i].size != sizeof(cadre_device) || !options->devices[i].name || !*options->devices[i].name) return CADRE_EINVAL;
    const cadre_allocator *allocator = options->allocator;
    if (allocator && (allocator->size != sizeof *allocator || !allocator->alloc || !allocator->free)) return CADRE_EINVAL;
    if (options->clock && (options->clock->size != sizeof *options->clock || !options->clock->now_ns)) return CADRE_EINVAL;
    if (options->decoder && (options->decoder->size != sizeof *options->decoder || !options->decoder->decode)) return CADRE_EINVAL;
    if (options->fetcher && (options->fetcher->size != sizeof *options->fetcher || !options->fetcher->fetch)) return CADRE_EINVAL;
    if (options->files && (options->files->size != sizeof *options->files || !options->files->find || !options->files->fetch)) return CADRE_EINVAL;
    return CADRE_OK;
}

static void fill_port(cadre_pool *pool, const cadre_pool_options *options)
{
    cadre_port *port = pool->port;
    port->pool = pool;
    port->clock = options->clock ? *options->clock : (cadre_clock){sizeof(cadre_clock), pool->executor->now, pool->executor_data};
    port->log = options->log;
    port->log_data = options->log_data;
    port->log_level = options->log_level;
    port->cores = (uint32_t)options->cores;
}

static void fill_pool(cadre_pool *pool, uv_loop_t *loop, const cadre_pool_options *options)
{
    pool->loop = loop;
    pool->data = options->data;
    pool->last = &pool->first;
    pool->armed = UINT64_MAX;
    pool->brisk_cpu = -1;
    pool->aging_ns = cadre__ms(options->aging_ms);
    pool->abandon_ns = cadre__ms(options->abandon_after_ms);
    pool->loader_count = (uint32_t)options->loads_at_once;
    pool->on_event = options->on_event;
    pool->event_data = options->event_data;
    pool->random = options->seed != CADRE_DEFAULT ? (uint64_t)options->seed : cadre__now(pool->port);
    if (options->decoder) pool->decoder = *options->decoder;
    if (options->fetcher) pool->fetcher = *options->fetcher;
    if (options->files) pool->files = *options->files;
    cadre__list *lists[] = {&pool->worker_list,  &pool->dirty,          &pool->publishing, &pool->futures,       &pool->loads_waiting,
                            &pool->threads_lost, &pool->checks_waiting, &pool->entries,    &pool->entries_dirty, &pool->residents,
                            &pool->reserves,     &pool->addition_list,  &pool->starved,    &pool->looks};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) cadre__list_init(lists[i]);
}

void cadre__pool_free(cadre_pool *pool)
{
    cadre_port *port = pool->port;
    const cadre_allocator *allocator = &port->allocator;
    if (pool->spare) cadre__box_free(pool->spare);
    cadre__heap_close(&pool->heap);
    cadre__ledger_close(pool);
    cadre__trace_free(pool);
    cadre__free(allocator, pool->backends, pool->backend_count * sizeof *pool->backends);
    cadre__strfree(allocator, pool->backend_path);
    cadre__table_free(&pool->reserve_ids, allocator);
    cadre__table_free(&pool->workers, allocator);
    cadre__table_free(&pool->requests, allocator);
    cadre__deadlines_free(&pool->deadlines, allocator);
    cadre__free(allocator, pool->models, pool->model_buckets * sizeof(struct cadre__model *));
    cadre__free(allocator, pool->loaders, (pool->loader_count + 1) * sizeof(cadre__task_thread *));
    cadre__free(allocator, pool, sizeof *pool);
    port->pool = NULL;
    cadre_port_release(port);
}

int cadre__pool_create_on(cadre_pool **out, uv_loop_t *loop, const cadre_pool_options *theirs, const cadre__executor *executor, void *executor_data)
{
    cadre_pool_options options;
    int rc = check_options(&options, theirs);
    if (rc != CADRE_OK) return rc;
    cadre_allocator allocator = {sizeof allocator, default_alloc, default_free, NULL};
    if (options.allocator) allocator = *options.allocator;
    cadre_pool *pool = cadre__alloc(&allocator, sizeof *pool);
    if (!pool) return CADRE_ENOMEM;
    pool->port = cadre__port_create(&allocator);
    if (!pool->port) {
        cadre__free(&allocator, pool, sizeof *pool);
        return CADRE_ENOMEM;
    }
    pool->executor = executor;
    pool->executor_data = executor_data;
    cadre__heap_open(&pool->heap, &allocator);
    fill_port(pool, &options);
    fill_pool(pool, loop, &options);
    pool->loaders = cadre__alloc(&allocator, (pool->loader_count + 1) * sizeof(cadre__task_thread *));
    pool->spare = cadre__box_create(pool->port, CADRE_VALUE_WEIGHTS);
    rc = pool->loaders && pool->spare ? cadre__ledger_open(pool, &options) : CADRE_ENOMEM;
    pool->abandon.fire = cadre__loaders_give_up;
    pool->close_deadline.fire = cadre__close_due;
    pool->reserves_due.fire = cadre__reserves_look;
    pool->pressure_due.fire = cadre__pressure_forget;
    cadre__deadline *always[] = {&pool->abandon, &pool->close_deadline, &pool->reserves_due, &pool->pressure_due};
    for (size_t i = 0; i < sizeof always / sizeof *always && rc == CADRE_OK; i++)
        if (!cadre__deadline_set(&pool->deadlines, &allocator, always[i], UINT64_MAX)) rc = CADRE_ENOMEM;
    if (rc == CADRE_OK) rc = cadre__trace_create(pool, options.trace_path);
    if (rc == CADRE_OK && options.backend_path && !(pool->backend_path = cadre__strdup(&allocator, options.backend_path))) rc = CADRE_ENOMEM;
    if (rc == CADRE_OK && executor->prepare) rc = executor->prepare(pool);
    if (rc == CADRE_OK) rc = cadre__reaper_start(pool);
    if (rc == CADRE_OK) {
        rc = executor->open(pool, loop);
        if (rc != CADRE_OK) { /* nothing that can fail in practice is left for it */
            cadre__thread_stop(&pool->reaper->thread);
            executor->thread_join(&pool->reaper->thread);
            pool->reaper->thread.dispose(&pool->reaper->thread);
        }
    }
    if (rc != CADRE_OK) {
        if (executor->unprepare) executor->unprepare(pool);
        cadre__pool_free(pool);
        return rc;
    }
    *out = pool;
    return CADRE_OK;
}

int cadre_pool_create(cadre_pool **out, uv_loop_t *loop, const cadre_pool_options *options)
{
    if (out) *out = NULL;
    if (!out || !loop) return CADRE_EINVAL;
    return cadre__pool_create_on(out, loop, options, &cadre__executor_uv, NULL);
}

uv_loop_t *cadre_pool_loop(const cadre_pool *pool)
{
    return pool ? pool->loop : NULL;
}

void *cadre_pool_get_data(const cadre_pool *pool)
{
    return pool ? pool->data : NULL;
}

cadre_port *cadre_pool_port(cadre_pool *pool)
{
    return pool ? cadre_port_retain(pool->port) : NULL;
}

const char *cadre_pool_error_detail(const cadre_pool *pool)
{
    return pool ? pool->error_detail : "";
}

int64_t cadre_pool_retry_after_ms(const cadre_pool *pool)
{
    return pool ? pool->retry_after_ms : 0;
}

int cadre__pool_refuse(cadre_pool *pool, int error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(pool->error_detail, sizeof pool->error_detail, format, arguments);
    va_end(arguments);
    cadre__one_line(pool->error_detail);
    pool->retry_after_ms = 0;
    cadre__log(pool->port, CADRE_LOG_DEBUG, "refused with %s: %s", cadre_err_name(error), pool->error_detail);
    return error;
}
