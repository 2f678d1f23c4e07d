/* The fetcher: what a host holds. Its close ends all fetches, waits for the chores that are under way, and then closes the disk's threads, the HTTP side and
 * the timer, one after another, each by its callback; nothing is waited for on the loop. Whatever ends on the way (cadre__fetcher_ended) looks whether it was
 * the last. The close begins on a later turn, from the timer: it may have been called from a log's line in the midst of things. */
#include "fetch.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void cadre__fetcher_log(cadre_fetcher *fetcher, cadre_log_level level, const char *format, ...)
{
    char line[CADRE__FETCH_DETAIL + 1024];
    va_list arguments;
    if (!fetcher->settings.log) return;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    fetcher->settings.log(level, line, fetcher->settings.log_data);
}

/* ---- the end ---- */

static void on_timer_closed(uv_handle_t *handle)
{
    cadre_fetcher *fetcher = handle->data;
    cadre_fetcher_close_cb cb = fetcher->close_cb;
    void *data = fetcher->close_data;
    cadre__settings_clear(&fetcher->settings);
    free(fetcher);
    if (cb) cb(data);
}

static void on_http_closed(void *data)
{
    cadre_fetcher *fetcher = data;
    uv_close((uv_handle_t *)&fetcher->timer, on_timer_closed);
}

static void on_disk_closed(void *data)
{
    cadre_fetcher *fetcher = data;
    cadre__http_close(fetcher->http, on_http_closed, fetcher);
}

void cadre__fetcher_ended(cadre_fetcher *fetcher)
{
    if (!fetcher->winding_up || fetcher->files || fetcher->fetches) return;
    fetcher->winding_up = false;
    cadre__disk_close(&fetcher->disk, on_disk_closed, fetcher);
}

static void wind_up(cadre_fetcher *fetcher)
{
    cadre__image_fetcher_stop(&fetcher->image_source);
    fetcher->winding_up = true;
    for (cadre__fetch *fetch = fetcher->fetches, *next; fetch; fetch = next) {
        next = fetch->next;
        cadre__fetch_fail(fetch, CADRE_ECLOSED, "the fetcher is closed");
    }
    cadre__fetcher_ended(fetcher);
}

void cadre_fetcher_close(cadre_fetcher *fetcher, cadre_fetcher_close_cb cb, void *data)
{
    if (!fetcher || fetcher->closing) return;
    fetcher->closing = true;
    fetcher->close_cb = cb;
    fetcher->close_data = data;
    cadre__fetcher_arm(fetcher);
}

/* ---- pauses ---- */

static void on_timer(uv_timer_t *timer)
{
    cadre_fetcher *fetcher = timer->data;
    uint64_t now = uv_now(fetcher->loop);
    if (fetcher->closing) {
        wind_up(fetcher);
        return;
    }
    for (cadre__file *file = fetcher->files; file;) {
        bool due = file->step == CADRE__FILE_PAUSED && file->due <= now;
        if (due) cadre__file_wake(file);
        file = due ? fetcher->files : file->next; /* one that fails may take others with it */
    }
    cadre__fetcher_arm(fetcher);
    cadre__files_go_on(fetcher);
}

void cadre__fetcher_arm(cadre_fetcher *fetcher)
{
    uint64_t now = uv_now(fetcher->loop), due = UINT64_MAX;
    if (fetcher->closing) {
        uv_timer_start(&fetcher->timer, on_timer, 0, 0);
        return;
    }
    for (const cadre__file *file = fetcher->files; file; file = file->next)
        if (file->step == CADRE__FILE_PAUSED && file->due < due) due = file->due;
    if (due == UINT64_MAX)
        uv_timer_stop(&fetcher->timer);
    else
        uv_timer_start(&fetcher->timer, on_timer, due > now ? due - now : 0, 0);
}

/* ---- the tables ---- */

static int find(void *self, const char *reference, char *path, size_t path_size, char *detail, size_t detail_size)
{
    cadre_fetcher *fetcher = self;
    cadre__reference first, part;
    char found[CADRE__FETCH_PATH];
    if (detail && detail_size) *detail = '\0';
    char text[CADRE__FETCH_DETAIL] = "";
    int rc = cadre__reference_parse(&first, reference, text, sizeof text);
    for (unsigned i = 1; rc == CADRE_OK && i <= first.parts; i++) {
        rc = cadre__reference_part(&part, &first, first.parts > 1 ? i : first.part);
        if (rc < 0) break;
        rc = cadre__cache_find(&fetcher->settings, &part, found, NULL, text, sizeof text);
        if (rc == UV_ENOENT) snprintf(text, sizeof text, "%s: %.300s is not in the cache %.300s", part.repository, part.path, fetcher->settings.cache);
        cadre__reference_clear(&part);
        if (rc == CADRE_OK && i == 1 && snprintf(path, path_size, "%s", found) >= (int)(path_size < INT_MAX ? path_size : INT_MAX)) {
            snprintf(text, sizeof text, "the path %.300s is too long", found);
            rc = UV_ENAMETOOLONG;
        }
    }
    cadre__reference_clear(&first);
    if (rc < 0 && detail && detail_size) snprintf(detail, detail_size, "%s", text[0] ? text : cadre_strerror(rc));
    return rc;
}

static cadre_weights_future *fetch(void *self, cadre_pool *pool, const char *const *references, size_t count)
{
    return cadre__fetch_begin(self, pool, references, count);
}

const struct cadre_file_fetcher *cadre_fetcher_files(cadre_fetcher *fetcher)
{
    return &fetcher->table;
}

const struct cadre_image_fetcher *cadre_fetcher_images(cadre_fetcher *fetcher)
{
    return &fetcher->images;
}

/* ---- the beginning ---- */

int cadre_fetcher_create(cadre_fetcher **out, uv_loop_t *loop, const cadre_fetch_options *options)
{
    if (out) *out = NULL;
    if (!out || !loop) return CADRE_EINVAL;
    cadre_fetcher *fetcher = calloc(1, sizeof *fetcher);
    if (!fetcher) return CADRE_ENOMEM;
    int rc = cadre__settings_init(&fetcher->settings, options);
    if (rc < 0) goto fail;
    rc = cadre__http_create(&fetcher->http, loop, fetcher->settings.ca_file);
    if (rc < 0) goto fail;
    rc = cadre__disk_init(&fetcher->disk, loop);
    if (rc < 0) {
        cadre__http_close(fetcher->http, NULL, NULL);
        goto fail;
    }
    uv_timer_init(loop, &fetcher->timer);
    fetcher->timer.data = fetcher;
    fetcher->loop = loop;
    fetcher->random = uv_hrtime() | 1;
    fetcher->table = (cadre_file_fetcher){.size = sizeof fetcher->table, .self = fetcher, .find = find, .fetch = fetch};
    fetcher->image_source = (struct cadre__image_source){.http = fetcher->http,
                                                         .allow_private = fetcher->settings.allow_private,
                                                         .connect_timeout_ms = fetcher->settings.connect_timeout_ms,
                                                         .stall_timeout_ms = fetcher->settings.stall_timeout_ms,
                                                         .timeout_ms = fetcher->settings.image_timeout_ms};
    cadre__image_fetcher_init(&fetcher->images, &fetcher->image_source);
    *out = fetcher;
    return CADRE_OK;
fail:
    cadre__settings_clear(&fetcher->settings);
    free(fetcher);
    return rc;
}
