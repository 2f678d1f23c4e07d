/* The manifest: where it is, what is in it, and which of its entries the pool gets.
 *
 * The library adds a manifest whole or not at all, and begins to load what is preloaded or pinned in it. A command about one model wants neither: a backend
 * that is not installed, or weights that are not there, must not keep the other models from working, and asking one model is no reason to load another. So each
 * entry is added by itself, as a copy of the text in which the other entries are blank: line and column of messages stay true. What this program cannot take
 * apart is handed over whole, and the library says what is wrong with it.
 *
 * Where there is no manifest, the catalogue stands in: models whose files come from a hub. It is installed with the program, and lies beside it in a build. */
#include "cli.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MANIFEST_MOST = 4 << 20 };

struct manifest manifest;

/* ---- where it is ---- */

static char *user_manifest(void)
{
    struct buffer path = {NULL, 0, 0};
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    if (config && config[0] == '/')
        buffer_print(&path, "%s/cadre/models.json", config);
    else if (home && *home)
        buffer_print(&path, "%s/.config/cadre/models.json", home);
    return path.data;
}

static char *installed_catalogue(void)
{
    static const char *const places[] = {CLI_SHARE "/catalogue.json", "catalogue.json"};
    char program[4096];
    size_t size = sizeof program;
    if (!app_has_fetch || uv_exepath(program, &size) != 0) return NULL;
    const char *slash = strrchr(program, '/');
    for (size_t i = 0; slash && i < sizeof places / sizeof *places; i++) {
        struct buffer path = {NULL, 0, 0};
        buffer_print(&path, "%.*s/%s", (int)(slash - program), program, places[i]);
        char *resolved = realpath(path.data, NULL);
        free(path.data);
        if (resolved) return resolved;
    }
    return NULL;
}

static int find_manifest(void)
{
    const char *given = app.options.models, *variable = getenv("CADRE_MODELS");
    const char *from = given ? "--models" : "$CADRE_MODELS";
    char *user = user_manifest();
    if (given || (variable && *variable)) {
        manifest.path = copy_bytes(given ? given : variable, strlen(given ? given : variable));
        if (access(manifest.path, R_OK) != 0) complain(CLI_LOAD, "%s: %s: %s", from, manifest.path, strerror(errno)), free(manifest.path), manifest.path = NULL;
    } else if (access("models.json", F_OK) == 0) {
        manifest.path = copy_bytes("models.json", strlen("models.json"));
    } else if (user && access(user, F_OK) == 0) {
        manifest.path = user, user = NULL;
    } else if ((manifest.path = installed_catalogue()) == NULL) {
        complain(CLI_LOAD, "no manifest: $CADRE_MODELS is not set, and there is neither ./models.json nor %s%s; name one with --models FILE",
                 user ? user : "~/.config/cadre/models.json ($HOME is not set)",
                 app_has_fetch ? ", nor the catalogue that is installed with this program" : "");
    }
    free(user);
    return manifest.path ? 0 : CLI_LOAD;
}

/* ---- where its entries are: cJSON keeps no positions ---- */

static const char *skip_space(const char *p, const char *end)
{
    while (p < end && strchr(" \t\r\n", *p)) p++;
    return p;
}

/* Behind the value at `p`. The text is JSON: cJSON has read it. */
static const char *skip_value(const char *p, const char *end)
{
    int depth = 0, text = 0;
    for (; p < end; p++) {
        if (text) {
            if (*p == '\\')
                p++;
            else if (*p == '"')
                text = 0;
            if (!text && depth == 0) return p + 1;
        } else if (*p == '"') {
            text = 1;
        } else if (*p == '{' || *p == '[') {
            depth++;
        } else if (*p == '}' || *p == ']') {
            if (depth == 0) return p;
            if (--depth == 0) return p + 1;
        } else if (depth == 0 && strchr(", \t\r\n", *p)) {
            return p;
        }
    }
    return end;
}

/* The '[' of "models", or NULL. */
static const char *find_array(const char *text, const char *end)
{
    const char *p = skip_space(text, end);
    if (p == end || *p++ != '{') return NULL;
    while ((p = skip_space(p, end)) < end && *p == '"') {
        const char *name = p;
        p = skip_space(skip_value(p, end), end);
        if (p == end || *p != ':') return NULL;
        p = skip_space(p + 1, end);
        if (strncmp(name, "\"models\"", 8) == 0) return p < end && *p == '[' ? p : NULL;
        p = skip_space(skip_value(p, end), end);
        if (p < end && *p == ',') p++;
    }
    return NULL;
}

/* 1: as many entries as cJSON saw, each with its place. */
static int place_entries(void)
{
    const char *end = manifest.text + manifest.length, *p = find_array(manifest.text, end);
    if (!p) return 0;
    p = skip_space(p + 1, end);
    for (size_t i = 0; i < manifest.count; i++) {
        if (p == end || *p != '{') return 0;
        manifest.models[i].begin = (size_t)(p - manifest.text);
        p = skip_value(p, end);
        manifest.models[i].end = (size_t)(p - manifest.text);
        p = skip_space(p, end);
        if (p < end && *p == ',') p = skip_space(p + 1, end);
    }
    return p < end && *p == ']';
}

/* ---- what is in it ---- */

static const char *copy_field(const cJSON *entry, const char *name, const char *otherwise)
{
    const cJSON *field = cJSON_GetObjectItemCaseSensitive(entry, name);
    const char *value = cJSON_IsString(field) ? field->valuestring : otherwise;
    return value ? copy_bytes(value, strlen(value)) : NULL;
}

static int capability_of(const cJSON *entry)
{
    const cJSON *field = cJSON_GetObjectItemCaseSensitive(entry, "capability");
    for (int i = 0; cJSON_IsString(field) && i < CADRE_CAPABILITY_COUNT; i++)
        if (strcmp(field->valuestring, cadre_capability_name((cadre_capability)i)) == 0) return i;
    return -1;
}

/* 1: every entry has what this program goes by. */
static int take_apart(const cJSON *root)
{
    const cJSON *models = cJSON_GetObjectItemCaseSensitive(root, "models"), *entry;
    if (!cJSON_IsArray(models)) return 0;
    size_t count = (size_t)cJSON_GetArraySize(models);
    manifest.models = allocate(count, sizeof *manifest.models);
    cJSON_ArrayForEach(entry, models)
    {
        struct model *model = &manifest.models[manifest.count];
        model->key = copy_field(entry, "key", NULL), model->backend = copy_field(entry, "backend", NULL);
        model->name = copy_field(entry, "name", model->key), model->provider = copy_field(entry, "provider", "");
        model->loader = copy_field(entry, "loader", "sync"), model->license = copy_field(entry, "license", ""), model->capability = capability_of(entry);
        manifest.count++;
        if (!model->key || !model->backend || model->capability < 0) return 0;
        for (size_t i = 0; i + 1 < manifest.count; i++)
            if (strcmp(manifest.models[i].key, model->key) == 0) return 0;
    }
    return place_entries();
}

/* The word that may name a model, or NULL. */
static const char *model_word(void)
{
    const struct options *options = &app.options;
    return options->model ? options->model : options->word_count > 0 ? options->words[0] : NULL;
}

/* 1: references name all that the command is about, and no manifest is needed. */
static int references_alone(void)
{
    const struct options *options = &app.options;
    size_t count = 0;
    if (app.command->bit != FETCH) return 0;
    while (count < options->word_count && is_reference(options->words[count])) count++;
    return count == options->word_count;
}

int manifest_read(void)
{
    struct buffer text = {NULL, 0, 0};
    const char *word = app.command->capability >= 0 ? model_word() : NULL;
    if (word && is_reference(word)) return reference_model(word);
    manifest.path = references_alone() ? copy_bytes("", 0) : NULL;
    if (manifest.path) return 0;
    int rc = find_manifest();
    if (rc) return rc;
    const char *slash = strrchr(manifest.path, '/');
    manifest.folder = slash ? copy_bytes(manifest.path, slash == manifest.path ? 1 : (size_t)(slash - manifest.path)) : copy_bytes(".", 1);
    manifest.whole = read_file(NULL, manifest.path, MANIFEST_MOST, &text) != 0;
    manifest.text = text.data, manifest.length = text.length;
    if (text.length >= 3 && memcmp(text.data, "\xef\xbb\xbf", 3) == 0) memmove(text.data, text.data + 3, (manifest.length -= 3) + 1); /* a byte order mark */
    if (manifest.whole) return 0;
    cJSON *root = cJSON_ParseWithLength(manifest.text, manifest.length);
    manifest.whole = !root || !take_apart(root);
    cJSON_Delete(root);
    return 0;
}

/* ---- the model of a command ---- */

struct model *manifest_find(const char *key)
{
    for (size_t i = 0; i < manifest.count; i++)
        if (strcmp(manifest.models[i].key, key) == 0) return &manifest.models[i];
    return NULL;
}

static const char *near_key(const char *key)
{
    const char **keys = allocate(manifest.count, sizeof *keys);
    size_t count = 0;
    for (; count < manifest.count; count++) keys[count] = manifest.models[count].key;
    const char *near = nearest(key, keys, count);
    free(keys);
    return near;
}

int unknown_model(const char *what, const char *key)
{
    const char *near = near_key(key);
    return near ? misuse("%sno model \"%.255s\" in %s; did you mean \"%s\"?", what, key, manifest.path, near)
                : misuse("%sno model \"%.255s\" in %s", what, key, manifest.path);
}

/* The keys of one capability, with commas. */
static char *keys_of(int capability, size_t *count, struct model **last)
{
    struct buffer keys = {NULL, 0, 0};
    *count = 0;
    for (size_t i = 0; i < manifest.count; i++)
        if (manifest.models[i].capability == capability)
            buffer_print(&keys, "%s%s", (*count)++ ? ", " : "", manifest.models[i].key), *last = &manifest.models[i];
    return keys.data;
}

int manifest_choose(void)
{
    struct options *options = &app.options;
    const char *wanted = cadre_capability_name((cadre_capability)app.command->capability), *key = options->model;
    struct model *only = NULL;
    size_t count;
    int rc = 0;
    char *keys = keys_of(app.command->capability, &count, &only);
    if (key) {
        app.model = manifest_find(key);
        if (!app.model) rc = unknown_model("", key);
    } else if (options->word_count > 0 && (app.model = manifest_find(options->words[0])) != NULL) {
        options->words++, options->word_count--;
    } else if (count == 1) {
        app.model = only;
        if (options->word_count > 1 && (app.command->bit & (CHAT | DRAW)) && near_key(options->words[0])) rc = unknown_model("", options->words[0]);
    } else if (count == 0) {
        rc = misuse("%s has no %s model, which \"%s\" needs", manifest.path, wanted, app.command->name);
    } else if (options->word_count > 0 && near_key(options->words[0])) {
        rc = unknown_model("", options->words[0]);
    } else {
        rc = misuse("which model? %s has %s", manifest.path, keys);
    }
    if (rc == 0 && app.model->capability != app.command->capability)
        rc = misuse("\"%s\" is a %s model; \"%s\" needs a %s model%s%s", app.model->key, cadre_capability_name((cadre_capability)app.model->capability),
                    app.command->name, wanted, keys ? ": " : "", keys ? keys : "");
    free(keys);
    return rc;
}

/* ---- into the registry ---- */

/* "manifest:12:9: models[0].options" becomes "models.json:12:9: models[3].options". */
static char *true_place(const char *detail, size_t index)
{
    struct buffer text = {NULL, 0, 0};
    const char *entry;
    size_t key = strlen(manifest.models[index].key);
    if (manifest.models[index].options && strncmp(detail, manifest.models[index].key, key) == 0 && strncmp(detail + key, ": ", 2) == 0) detail += key + 2;
    if (strncmp(detail, "manifest:", 9) == 0) {
        buffer_add(&text, manifest.path, strlen(manifest.path));
        detail += 8;
    }
    entry = strstr(detail, "models[0]");
    if (entry) {
        buffer_add(&text, detail, (size_t)(entry - detail));
        buffer_print(&text, "models[%zu]", index);
        detail = entry + strlen("models[0]");
    }
    buffer_add(&text, detail, strlen(detail));
    return text.data;
}

int lacks_files(const struct model *model, cadre_loader_kind *loader)
{
    cadre_entry_info info = CADRE_ENTRY_INFO_INIT;
    if (model->status < 0 || cadre_registry_get(app.pool, model->key, &info) < 0) return 0;
    *loader = info.loader;
    return info.missing;
}

/* The files of an async model come with its first request; of any other somebody must have asked for them. */
static void all_added(void)
{
    struct model *model = app.model;
    cadre_loader_kind loader;
    char detail[400];
    if (model && model->status < 0) {
        app_fail(CLI_LOAD, model->status, model->detail);
        return;
    }
    if (model && lacks_files(model, &loader)) {
        if (loader != CADRE_LOADER_ASYNC) {
            snprintf(detail, sizeof detail, "its files are not all here; run \"cadre-cli fetch %.255s\" first", model->key);
            app_fail(CLI_LOAD, UV_ENOENT, detail);
            return;
        }
        progress_watch();
    }
    app.command->start();
}

static void on_added(cadre_pool *pool, int status, const char *detail, void *data)
{
    struct model *model = data;
    (void)pool;
    model->status = status;
    if (status < 0) model->detail = true_place(*detail ? detail : cadre_strerror(status), (size_t)(model - manifest.models));
    if (--manifest.waiting == 0 && !app.ending) all_added();
}

static void on_whole(cadre_pool *pool, int status, const char *detail, void *data)
{
    (void)pool, (void)data;
    if (app.ending) return;
    if (status == 0) status = CADRE_EMANIFEST, detail = "the manifest cannot be taken apart";
    app_fail(CLI_LOAD, status, *detail ? detail : cadre_strerror(status));
}

static int add_one(struct model *model)
{
    if (model->options) return reference_add(model, on_added);
    char *text = copy_bytes(manifest.text, manifest.length);
    const char *array = find_array(manifest.text, manifest.text + manifest.length), *end = skip_value(array, manifest.text + manifest.length);
    for (size_t i = (size_t)(array - manifest.text) + 1; i + 1 < (size_t)(end - manifest.text); i++)
        if ((i < model->begin || i >= model->end) && text[i] != '\n' && text[i] != '\r') text[i] = ' ';
    int rc = cadre_registry_load_text(app.pool, text, manifest.length, manifest.folder, on_added, model);
    free(text);
    return rc;
}

void manifest_add(void)
{
    int rc = 0;
    if (manifest.whole) {
        rc = cadre_registry_load(app.pool, manifest.path, on_whole, NULL);
        if (rc != 0) app_fail(CLI_LOAD, rc, cadre_pool_error_detail(app.pool));
        return;
    }
    if (app.model) app.model->wanted = 1;
    for (size_t i = 0; i < manifest.count; i++) manifest.waiting += manifest.models[i].wanted != 0;
    if (manifest.waiting == 0) {
        app.command->start();
        return;
    }
    for (size_t i = 0; rc == 0 && i < manifest.count; i++)
        if (manifest.models[i].wanted) rc = add_one(&manifest.models[i]);
    if (rc != 0) app_fail(CLI_LOAD, rc, cadre_pool_error_detail(app.pool));
}
