/* fetch: brings files ahead, one model after another, all files of one side by side. A model that fails leaves the others their turn. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

static struct {
    size_t next;      /* the word that comes next */
    const char *word; /* the one that is under way */
    uint64_t begun, bytes;
    int came; /* it was not here */
    cadre_weights_future *future;
    uv_check_t check; /* the registry tells progress to who asks, and a small file may come between two frames of the bar */
    int failed;
} fetch;

static void go_on(void);

static void on_timeout(void)
{
    app_fail(CLI_TIMEOUT, CADRE_ETIMEDOUT, "--timeout: fetching takes longer");
}

int fetch_prepare(void)
{
    const struct options *options = &app.options;
    int rc = 0;
    if (options->word_count == 0) return misuse("MODEL is missing");
    for (size_t i = 0; rc == 0 && i < options->word_count; i++) {
        struct model *model = is_reference(options->words[i]) ? NULL : manifest_find(options->words[i]);
        if (model)
            model->wanted = 1;
        else if (is_reference(options->words[i]))
            rc = check_utf8("MODEL", options->words[i], strlen(options->words[i]));
        else
            rc = unknown_model("", options->words[i]);
    }
    app.on_timeout = on_timeout;
    return rc;
}

/* ---- what is told ---- */

static void tell_json(const char *path)
{
    struct buffer line = {NULL, 0, 0};
    buffer_print(&line, "{\"type\": \"done\", \"key\": ");
    buffer_json(&line, fetch.word);
    buffer_print(&line, ", \"fetched\": %s, \"bytes\": %llu, \"seconds\": %.3f", fetch.came ? "true" : "false", (unsigned long long)fetch.bytes,
                 (double)(uv_hrtime() - fetch.begun) / 1e9);
    if (path) {
        buffer_print(&line, ", \"path\": ");
        buffer_json(&line, path);
    }
    buffer_print(&line, "}\n");
    out_buffer(&line);
}

/* `path`: of a reference, else NULL. */
static void tell(const char *path)
{
    char size[32];
    if (!fetch.came)
        note("%s: is here already", fetch.word);
    else
        note("%s: %s in %.1f s", fetch.word, human_bytes(fetch.bytes, size), (double)(uv_hrtime() - fetch.begun) / 1e9);
    if (app.options.json) {
        tell_json(path);
    } else if (path) {
        out_text(path);
        out_text("\n");
    }
}

static void tell_failure(int status, const char *detail)
{
    if (!detail || !*detail) detail = cadre_strerror(status);
    complain(0, "%s: %s (%s)", fetch.word, detail, cadre_err_name(status));
    if (fetch.failed == 0) fetch.failed = status == CADRE_EINVAL ? CLI_USAGE : CLI_LOAD;
    if (!app.options.json) return;
    struct buffer line = {NULL, 0, 0};
    buffer_print(&line, "{\"type\": \"error\", \"key\": ");
    buffer_json(&line, fetch.word);
    buffer_print(&line, ", \"error\": \"%s\", \"message\": ", cadre_err_name(status));
    buffer_json(&line, detail);
    buffer_print(&line, "}\n");
    out_buffer(&line);
}

/* ---- a model of the manifest ---- */

static void on_model(cadre_pool *pool, int status, const char *detail, void *data)
{
    (void)pool, (void)data;
    fetch.bytes = progress_fetched();
    if (app.ending) return;
    if (status == 0)
        tell(NULL);
    else
        tell_failure(status, detail);
    go_on();
}

/* 1: it is under way. */
static int fetch_model(const struct model *model)
{
    cadre_loader_kind loader;
    if (model->status < 0) {
        tell_failure(model->status, model->detail);
        return 0;
    }
    if (!lacks_files(model, &loader)) {
        tell(NULL);
        return 0;
    }
    fetch.came = 1;
    progress_watch();
    int rc = cadre_registry_fetch(app.pool, model->key, on_model, NULL);
    if (rc < 0) tell_failure(rc, cadre_pool_error_detail(app.pool));
    return rc == 0;
}

/* ---- a reference ---- */

static void on_progress(cadre_future *future, const cadre_progress *progress, void *data)
{
    (void)future, (void)data;
    if (!app.ending) progress_bytes(fetch.word, progress);
}

static void on_path(int status, const char *text)
{
    if (status == 0)
        tell(text);
    else
        tell_failure(status, text);
    go_on();
}

static void on_file(cadre_future *future, int status, const char *detail, void *data)
{
    (void)future, (void)data;
    fetch.bytes = progress_fetched();
    if (!app.ending && status == 0) status = fetcher_find(fetch.word, on_path), detail = "";
    if (!app.ending && status < 0) tell_failure(status, detail);
    cadre_weights_future_release(fetch.future), fetch.future = NULL;
    if (!app.ending && status < 0) go_on();
}

static void on_looked(int status, const char *text)
{
    if (status == UV_ENOENT) {
        fetch.came = 1;
        fetch.future = fetcher_fetch(fetch.word);
        status = fetch.future ? cadre_weights_future_on_complete(fetch.future, on_file, NULL) : CADRE_ENOMEM;
        if (status == 0) {
            cadre_weights_future_on_progress(fetch.future, on_progress, NULL);
            return;
        }
        cadre_weights_future_release(fetch.future), fetch.future = NULL;
        text = "";
    }
    on_path(status, text);
}

/* ---- one after another ---- */

static void go_on(void)
{
    int under_way = 0;
    while (!under_way && fetch.next < app.options.word_count) {
        fetch.word = app.options.words[fetch.next++];
        fetch.begun = uv_hrtime(), fetch.bytes = 0, fetch.came = 0;
        if (!is_reference(fetch.word)) {
            under_way = fetch_model(manifest_find(fetch.word));
        } else {
            int rc = fetcher_find(fetch.word, on_looked);
            if (rc < 0) tell_failure(rc, "");
            under_way = rc == 0;
        }
    }
    if (!under_way) app_end(fetch.failed);
}

static void on_turn(uv_check_t *check)
{
    (void)check;
    if (!app.ending) progress_poll();
}

static void on_end(void)
{
    uv_close((uv_handle_t *)&fetch.check, NULL);
    if (fetch.future) cadre_weights_future_cancel(fetch.future);
}

void fetch_start(void)
{
    uv_check_init(&app.loop, &fetch.check);
    uv_check_start(&fetch.check, on_turn);
    uv_unref((uv_handle_t *)&fetch.check);
    app.on_end = on_end;
    go_on();
}
