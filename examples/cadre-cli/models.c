/* models and health: what is there, and how it is. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

/* ---- models ---- */

static int wanted_capability = -1;

static int wanted(const struct model *model)
{
    return wanted_capability < 0 || model->capability == wanted_capability;
}

int models_prepare(void)
{
    const struct options *options = &app.options;
    const char *names[CADRE_CAPABILITY_COUNT];
    if (options->word_count > 0) return misuse("\"%.60s\": no argument is expected", options->words[0]);
    for (int i = 0; i < CADRE_CAPABILITY_COUNT; i++) {
        names[i] = cadre_capability_name((cadre_capability)i);
        if (options->capability && strcmp(options->capability, names[i]) == 0) wanted_capability = i;
    }
    if (options->capability && wanted_capability < 0) {
        const char *near = nearest(options->capability, names, CADRE_CAPABILITY_COUNT);
        return misuse("--capability: unknown: \"%.60s\"; did you mean \"%s\"?", options->capability, near ? near : names[0]);
    }
    for (size_t i = 0; i < manifest.count; i++) manifest.models[i].wanted = 1;
    if (!options->keys) return 0;
    for (size_t i = 0; i < manifest.count; i++)
        if (wanted(&manifest.models[i])) puts(manifest.models[i].key);
    app.done = 1;
    return 0;
}

enum { COLUMNS = 9 };
static const char *const titles[COLUMNS] = {"KEY", "CAPABILITY", "BACKEND", "LOADER", "FILES", "STATE", "WORKERS", "MEMORY", "LICENSE"};

/* The license is of interest to --verbose alone. */
static size_t columns(void)
{
    return app.options.verbose ? COLUMNS : COLUMNS - 1;
}

static void fill_row(const struct model *model, char row[COLUMNS][300])
{
    cadre_entry_info info = CADRE_ENTRY_INFO_INIT;
    char size[32];
    int usable = model->status == 0 && cadre_registry_get(app.pool, model->key, &info) == 0;
    snprintf(row[0], 300, "%s", model->key);
    snprintf(row[1], 300, "%s", cadre_capability_name((cadre_capability)model->capability));
    snprintf(row[2], 300, "%.140s%s%.140s", model->provider, *model->provider ? "/" : "", model->backend);
    snprintf(row[3], 300, "%s", model->loader);
    snprintf(row[4], 300, "%s", !usable ? "-" : info.missing ? "missing" : "here");
    snprintf(row[5], 300, "%s", usable ? cadre_model_state_name(info.state) : "unusable");
    snprintf(row[6], 300, "%u", usable ? info.workers : 0);
    snprintf(row[7], 300, "%s", human_bytes(usable ? info.resident_bytes : 0, size));
    snprintf(row[8], 300, "%s", *model->license ? model->license : "-");
}

static void print_table(void)
{
    char row[COLUMNS][300];
    size_t widths[COLUMNS];
    struct buffer out = {NULL, 0, 0};
    size_t count = columns();
    for (size_t c = 0; c < count; c++) widths[c] = strlen(titles[c]);
    for (size_t i = 0; i < manifest.count; i++) {
        if (!wanted(&manifest.models[i])) continue;
        fill_row(&manifest.models[i], row);
        for (size_t c = 0; c < count; c++)
            if (strlen(row[c]) > widths[c]) widths[c] = strlen(row[c]);
    }
    for (size_t c = 0; c < count; c++) buffer_print(&out, "%-*s%s", c + 1 < count ? (int)widths[c] : 0, titles[c], c + 1 < count ? "  " : "\n");
    for (size_t i = 0; i < manifest.count; i++) {
        if (!wanted(&manifest.models[i])) continue;
        fill_row(&manifest.models[i], row);
        for (size_t c = 0; c < count; c++) buffer_print(&out, "%-*s%s", c + 1 < count ? (int)widths[c] : 0, row[c], c + 1 < count ? "  " : "\n");
    }
    out_buffer(&out);
}

static void json_field(struct buffer *out, const char *name, const char *value)
{
    buffer_print(out, "\"%s\": ", name);
    buffer_json(out, value);
    buffer_add(out, ", ", 2);
}

static void print_json(void)
{
    struct buffer out = {NULL, 0, 0};
    int some = 0;
    buffer_print(&out, "{");
    json_field(&out, "manifest", manifest.path);
    buffer_print(&out, "\"models\": [");
    for (size_t i = 0; i < manifest.count; i++) {
        const struct model *model = &manifest.models[i];
        cadre_entry_info info = CADRE_ENTRY_INFO_INIT;
        if (!wanted(model)) continue;
        int usable = model->status == 0 && cadre_registry_get(app.pool, model->key, &info) == 0;
        buffer_print(&out, "%s\n  {", some++ ? "," : "");
        json_field(&out, "key", model->key), json_field(&out, "name", model->name);
        json_field(&out, "capability", cadre_capability_name((cadre_capability)model->capability));
        json_field(&out, "provider", model->provider), json_field(&out, "backend", model->backend), json_field(&out, "loader", model->loader);
        json_field(&out, "license", model->license), json_field(&out, "files", !usable ? "" : info.missing ? "missing" : "here");
        json_field(&out, "state", usable ? cadre_model_state_name(info.state) : "unusable");
        json_field(&out, "error", model->status ? cadre_err_name(model->status) : ""), json_field(&out, "detail", model->detail ? model->detail : "");
        buffer_print(&out, "\"workers\": %u, \"workers_loading\": %u, \"memory_bytes\": %llu}", usable ? info.workers : 0, usable ? info.workers_loading : 0,
                     (unsigned long long)(usable ? info.resident_bytes : 0));
    }
    buffer_print(&out, "\n]}\n");
    out_buffer(&out);
}

/* What is wrong with the manifest itself is an error; a backend or a file that is not there leaves the other models usable. */
void models_start(void)
{
    int code = CLI_OK;
    for (size_t i = 0; i < manifest.count; i++) {
        const struct model *model = &manifest.models[i];
        if (model->status == 0) continue;
        if (wanted(model)) complain(0, "%s: %s (%s)", model->key, model->detail, cadre_err_name(model->status));
        if (model->status == CADRE_EMANIFEST) code = CLI_LOAD;
    }
    if (app.options.json)
        print_json();
    else
        print_table();
    app_end(code);
}

/* ---- health ---- */

static size_t loads;
static int failed;

static void on_timeout(void);

int health_prepare(void)
{
    const struct options *options = &app.options;
    int rc = 0;
    if (options->word_count > 0) rc = misuse("\"%.60s\": no argument is expected; models are named by --load", options->words[0]);
    for (size_t i = 0; rc == 0 && i < options->load.count; i++) {
        const char *key = options->load.items[i];
        if (strcmp(key, "all") == 0 || manifest_find(key)) continue;
        rc = unknown_model("--load: ", key);
    }
    for (size_t i = 0; i < manifest.count; i++) manifest.models[i].wanted = 1;
    app.on_timeout = on_timeout;
    return rc;
}

static void print_piece(const char *text, size_t length, void *data)
{
    buffer_add(data, text, length);
}

static void print_health(void)
{
    struct buffer out = {NULL, 0, 0};
    if (app.options.prometheus) {
        cadre_pool_prometheus(app.pool, print_piece, &out);
    } else {
        cadre_pool_health_json(app.pool, print_piece, &out);
        if (out.length > 0 && out.data[out.length - 1] != '\n') buffer_add(&out, "\n", 1);
    }
    out_buffer(&out);
    app_end(failed);
}

static void load_failed(const struct model *model, int status, const char *detail)
{
    complain(0, "%s: %s (%s)", model->key, detail && *detail ? detail : cadre_strerror(status), cadre_err_name(status));
    failed = CLI_LOAD;
}

static void on_loaded(cadre_pool *pool, int status, const char *detail, void *data)
{
    (void)pool;
    if (app.ending) return;
    if (status < 0) load_failed(data, status, detail);
    if (--loads == 0) print_health();
}

static void on_timeout(void)
{
    complain(0, "--timeout: the loads take longer");
    failed = CLI_TIMEOUT;
    print_health();
}

static int asked_for(const char *key)
{
    const struct list *list = &app.options.load;
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i], "all") == 0 || strcmp(list->items[i], key) == 0) return 1;
    return 0;
}

void health_start(void)
{
    for (size_t i = 0; i < manifest.count; i++) {
        struct model *model = &manifest.models[i];
        if (!asked_for(model->key)) continue;
        cadre_loader_kind loader;
        if (lacks_files(model, &loader) && loader == CADRE_LOADER_ASYNC) progress_watch();
        int rc = model->status ? model->status : cadre_model_load(app.pool, model->key, on_loaded, model);
        if (rc == 0)
            loads++;
        else
            load_failed(model, rc, model->status ? model->detail : cadre_pool_error_detail(app.pool));
    }
    if (loads == 0) print_health();
}
