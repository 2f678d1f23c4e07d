/* What needs libcadre-fetch: the fetcher, which brings models' files and pictures. Without that library references say that this program cannot fetch.
 *
 * Whether a file is here is looked up on a thread of libuv's; the fetcher is closed when the pool is gone and no such look-up runs any more. Loop thread. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

int is_url(const char *word)
{
    return strncasecmp(word, "http://", 7) == 0 || strncasecmp(word, "https://", 8) == 0;
}

cadre_image_input picture_input(const char *word)
{
    return cadre_image_from_string(is_url(word) ? CADRE_IMAGE_URL : CADRE_IMAGE_PATH, word);
}

#ifdef CLI_FETCH
#include <cadre/fetch.h>

const int app_has_fetch = 1;

static struct {
    cadre_fetcher *fetcher;
    uv_work_t work;
    int looking, closing;
    const char *reference;
    int status;
    char path[4096], detail[1024];
    void (*found)(int status, const char *text);
} net;

int need_fetch(const char *what)
{
    (void)what;
    return 0;
}

/* A wrong $HF_ENDPOINT is of no concern to a command that fetches nothing. */
static int is_needed(void)
{
    int needed = app.command->bit == FETCH || (app.model && app.model->options) || (manifest.text && strstr(manifest.text, "\"hf:"));
    for (size_t i = 0; i < app.options.word_count; i++) needed |= is_url(app.options.words[i]);
    return needed;
}

int fetcher_open(cadre_pool_options *pool_options)
{
    cadre_fetch_options options = CADRE_FETCH_OPTIONS_INIT;
    options.cache = app.options.cache;
    if (app.options.offline) options.offline = 1;
    if (app.options.allow_private) options.allow_private_addresses = 1;
    options.log = app_log;
    int rc = cadre_fetcher_create(&net.fetcher, &app.loop, &options);
    if (rc == 0) {
        pool_options->files = cadre_fetcher_files(net.fetcher);
        pool_options->fetcher = cadre_fetcher_images(net.fetcher);
    } else if (is_needed()) {
        return complain(CLI_LOAD, "no fetcher: %s (%s)%s", cadre_strerror(rc), cadre_err_name(rc),
                        rc == CADRE_EINVAL ? "; $HF_ENDPOINT must be an http or https URL" : "");
    }
    return 0;
}

void fetcher_close(void)
{
    net.closing = 1;
    if (net.looking || !net.fetcher) return;
    cadre_fetcher_close(net.fetcher, NULL, NULL);
    net.fetcher = NULL;
}

static void look(uv_work_t *work)
{
    const cadre_file_fetcher *files = cadre_fetcher_files(net.fetcher);
    (void)work;
    net.detail[0] = '\0';
    net.status = files->find(files->self, net.reference, net.path, sizeof net.path, net.detail, sizeof net.detail);
}

static void on_looked(uv_work_t *work, int status)
{
    (void)work;
    net.looking = 0;
    if (net.closing) fetcher_close();
    if (status == 0) status = net.status;
    if (!app.ending) net.found(status, status == 0 ? net.path : net.detail);
}

int fetcher_find(const char *reference, void (*found)(int status, const char *text))
{
    net.reference = reference, net.found = found;
    int rc = uv_queue_work(&app.loop, &net.work, look, on_looked);
    net.looking = rc == 0;
    return rc;
}

cadre_weights_future *fetcher_fetch(const char *reference)
{
    const cadre_file_fetcher *files = cadre_fetcher_files(net.fetcher);
    return files->fetch(files->self, app.pool, &reference, 1);
}

#else

const int app_has_fetch = 0;

int need_fetch(const char *what)
{
    return complain(CLI_FAILED, "%.255s: fetching needs libcadre-fetch, which this program was built without (cmake -DCADRE_FETCH=ON)", what);
}

int fetcher_open(cadre_pool_options *options)
{
    (void)options;
    return 0;
}

void fetcher_close(void)
{
}

int fetcher_find(const char *reference, void (*found)(int status, const char *text))
{
    (void)reference, (void)found;
    return CADRE_ENOTSUP;
}

cadre_weights_future *fetcher_fetch(const char *reference)
{
    (void)reference;
    return NULL;
}

#endif
