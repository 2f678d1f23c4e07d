/* What goes into the registry and out of it: manifests by file and by text, entries from C, everything that may be wrong with them, lookup, removal. */
#include "scripted_backend.h"

#include <sys/stat.h>
#include <unistd.h>

#define MODEL(key) "{\"key\": \"" key "\", \"capability\": \"text-to-text\", \"backend\": \"plain\"}"

/* ---- manifests ---- */

static char folder[64];

static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void make_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/cadre_registry_XXXXXX");
    assert_non_null(mkdtemp(folder));
}

static void write_text(const char *name, const char *text)
{
    FILE *file = fopen(path_of(name), "wb");
    assert_non_null(file);
    assert_size(fwrite(text, 1, strlen(text), file), strlen(text));
    fclose(file);
}

static told by_file(fixture *fx, const char *path)
{
    told t = {0};
    fx->calling++;
    t.status = cadre_registry_load(fx->pool, path, on_told, &t);
    fx->calling--;
    if (t.status == 0) run_until_int(fx, &t.count, 1);
    return t;
}

static told by_text(fixture *fx, const char *text)
{
    told t = {0};
    fx->calling++;
    t.status = cadre_registry_load_text(fx->pool, text, strlen(text), NULL, on_told, &t);
    fx->calling--;
    if (t.status == 0) run_until_int(fx, &t.count, 1);
    return t;
}

static void a_manifest_is_read_from_a_file_and_from_memory(void **state)
{
    (void)state;
    static const char text[] = "{\"version\": 1, \"models\": [" MODEL("a") ",\n" MODEL("b") "]}";
    for (int file = 0; file < 2; file++) {
        row("file %d", file);
        fixture *fx = registry_begin();
        script *a = text_script(fx, "a"), *b = text_script(fx, "b");
        make_folder();
        write_text("models.json", text);
        told t = file ? by_file(fx, path_of("models.json")) : by_text(fx, text);
        assert_status(t.status, 0);
        assert_int_equal(cadre_registry_list(fx->pool, NULL, NULL, NULL), 2);
        serve_once(a);
        serve_once(b);
        unlink(path_of("models.json"));
        rmdir(folder);
        fixture_end(fx);
    }
}

static void an_empty_manifest_adds_nothing(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    assert_status(by_text(fx, "{\"models\": []}").status, 0);
    assert_int_equal(cadre_registry_list(fx->pool, NULL, NULL, NULL), 0);
    assert_status(cadre_registry_load_text(fx->pool, "{\"models\": []}", 14, NULL, NULL, NULL), 0); /* nobody is told */
    settle(fx);
    fixture_end(fx);
}

/* ---- what is wrong ---- */

typedef struct bad {
    const char *name, *text;
    int status;
    const char *part[3];
} bad;

static const bad texts[] = {
    {"not JSON", "{\"models\": [\n  {\"key\" \"a\"}]}", CADRE_EMANIFEST, {"manifest:2:10"}},
    {"cut", "{\"models\": [", CADRE_EMANIFEST, {"manifest:1:"}},
    {"nothing", "", CADRE_EMANIFEST, {"manifest:1:1"}},
    {"more behind it", "{\"models\": []}\n x", CADRE_EMANIFEST, {"manifest:2:2"}},
    {"a key twice", "{\"models\": [" MODEL("a") ",\n" MODEL("a") "]}", CADRE_EEXIST, {"manifest:2:", "models[1].key", "\"a\""}},
    {"a known key", "{\"models\": [" MODEL("a") ",\n" MODEL("there") "]}", CADRE_EEXIST, {"manifest:2:1: models[1]: ", "\"there\"", "already"}},
    {"a field twice", "{\"models\": [{\"key\": \"a\",\n\"key\": \"b\"}]}", CADRE_EMANIFEST, {"manifest:2:"}},
    {"an unknown backend",
     "{\"models\": [\n{\"key\": \"a\", \"capability\": \"vision\", \"backend\": \"plian\"}]}",
     CADRE_EBACKEND,
     {"manifest:2:1: models[0]: ", "no \"plian\" is registered", "did you mean \"plain\"?"}},
    {"a size that overflows",
     "{\"models\": [{\"key\": \"a\", \"capability\": \"vision\", \"backend\": \"plain\", \"memory\": {\"host\": {\"weights_bytes\": 1e30}}}]}",
     CADRE_EMANIFEST,
     {"manifest:1:", "models[0].memory.host.weights_bytes"}},
    {"a negative count",
     "{\"models\": [{\"key\": \"a\", \"capability\": \"vision\", \"backend\": \"plain\", \"workers\": {\"initial\": -1}}]}",
     CADRE_EMANIFEST,
     {"models[0].workers.initial"}},
    {"a minimum above the maximum",
     "{\"models\": [{\"key\": \"a\", \"capability\": \"vision\", \"backend\": \"plain\", \"workers\": {\"min\": 3, \"max\": 2}}]}",
     CADRE_EMANIFEST,
     {"models[0]", "min"}},
    {"a model larger than the budget",
     "{\"models\": [" MODEL(
         "a") ",\n{\"key\": \"there2\", \"capability\": \"text-to-text\", \"backend\": \"plain\", \"memory\": {\"host\": {\"worker_bytes\": 2000000}}}]}",
     CADRE_EBUDGET,
     {"manifest:2:1: models[1]: \"there2\"", "2000000 bytes of host", "the whole budget of 1048576"}},
    {"a minimum larger than the budget",
     "{\"models\": [{\"key\": \"there2\", \"capability\": \"text-to-text\", \"backend\": \"plain\", \"workers\": {\"min\": 3},"
     " \"memory\": {\"host\": {\"worker_bytes\": 400000}}}]}",
     CADRE_EBUDGET,
     {"1200000 bytes of host for 3 workers"}},
    {"a control character",
     "{\"models\": [{\"key\": \"a\\u0007\", \"capability\": \"vision\", \"backend\": \"plain\"}]}",
     CADRE_EMANIFEST,
     {"models[0].key", "control character"}},
    {"a capability that the backend lacks",
     "{\"models\": [{\"key\": \"a\", \"capability\": \"vision\", \"backend\": \"bare\"}]}",
     CADRE_ECAPABILITY,
     {"manifest:1:13: models[0]: ", "\"bare\" has no models of vision"}},
    {"async without fetch",
     "{\"models\": [{\"key\": \"a\", \"capability\": \"text-to-text\", \"backend\": \"bare\", \"loader\": \"async\"}]}",
     CADRE_ENOTSUP,
     {"manifest:1:13: models[0]: ", "no asynchronous loads"}},
    {"preloaded without shared weights",
     "{\"models\": [{\"key\": \"a\", \"capability\": \"text-to-text\", \"backend\": \"plain\", \"loader\": \"preloaded\"}]}",
     CADRE_ENOTSUP,
     {"cannot share weights"}},
    {"what the backend refuses",
     "{\"models\": [" MODEL("there2") ",\n" MODEL("nowhere") "]}",
     CADRE_EFORMAT,
     {"manifest:2:1: models[1]: there is no script \"nowhere\""}},
    {"an option that the backend does not have",
     "{\"models\": [{\"key\": \"there2\", \"capability\": \"text-to-text\", \"backend\": \"plain\",\n \"options\": {\"pth\": 1}}]}",
     CADRE_EMANIFEST,
     {"manifest:2:", "models[0].options.pth"}},
};

/* One entry is there, and stays as it is. */
static fixture *begin_with_one(const cadre_pool_options *options, script **out)
{
    fixture *fx = registry_begin_all(options);
    *out = added(fx, "there", 100);
    text_script(fx, "there2");
    text_script(fx, "a");
    settle(fx);
    return fx;
}

static void assert_unchanged(fixture *fx, script *there)
{
    settle(fx);
    assert_int_equal(cadre_registry_list(fx->pool, NULL, NULL, NULL), 1);
    assert_size(snapshot_of(fx).models, 1);
    serve_once(there);
    assert_size(charged(fx, 0), 100);
    answer *a = answer_new(fx);
    script *other = text_script(fx, "there2");
    assert_status(submit(other, a, "hello", NULL), CADRE_ENOENT);
}

static void each_wrong_manifest_is_told_with_its_place_and_changes_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        row("%s", texts[i].name);
        script *there;
        fixture *fx = begin_with_one(NULL, &there);
        told t = by_text(fx, texts[i].text);
        if (t.status != texts[i].status) print_error("%s\n", t.detail);
        assert_status(t.status, texts[i].status);
        for (size_t k = 0; k < 3 && texts[i].part[k]; k++) assert_contains(t.detail, texts[i].part[k]);
        assert_unchanged(fx, there);
        fixture_end(fx);
    }
}

static void files_that_are_no_manifests_are_refused(void **state)
{
    (void)state;
    script *there;
    fixture *fx = begin_with_one(NULL, &there);
    make_folder();
    told t = by_file(fx, folder);
    assert_status(t.status, UV_EISDIR);
    assert_contains(t.detail, folder);
    t = by_file(fx, path_of("none.json"));
    assert_status(t.status, UV_ENOENT);
    assert_contains(t.detail, "none.json");
    write_text("big.json", "{");
    assert_int_equal(truncate(path_of("big.json"), 1 << 30), 0); /* a hole */
    t = by_file(fx, path_of("big.json"));
    assert_status(t.status, CADRE_EMANIFEST);
    assert_contains(t.detail, "larger than 4 MiB");
    assert_int_equal(mkfifo(path_of("fifo"), 0600), 0);
    t = by_file(fx, path_of("fifo"));
    assert_status(t.status, CADRE_EMANIFEST);
    assert_contains(t.detail, "not a regular file");
    write_text("secret.json", "{}");
    assert_int_equal(chmod(path_of("secret.json"), 0), 0);
    t = by_file(fx, path_of("secret.json"));
    if (geteuid() != 0) assert_status(t.status, UV_EACCES); /* root reads everything */
    assert_true(t.status < 0);
    static const char *const names[] = {"big.json", "fifo", "secret.json"};
    for (size_t i = 0; i < COUNT(names); i++) unlink(path_of(names[i]));
    rmdir(folder);
    assert_unchanged(fx, there);
    fixture_end(fx);
}

static void text_above_4_mib_is_refused_at_once(void **state)
{
    (void)state;
    script *there;
    fixture *fx = begin_with_one(NULL, &there);
    assert_status(cadre_registry_load_text(fx->pool, "{", (4u << 20) + 1, NULL, on_told, NULL), CADRE_EMANIFEST);
    assert_contains(cadre_pool_error_detail(fx->pool), "4 MiB");
    assert_status(cadre_registry_load_text(fx->pool, NULL, 0, NULL, on_told, NULL), CADRE_EINVAL);
    assert_status(cadre_registry_load(fx->pool, NULL, on_told, NULL), CADRE_EINVAL);
    assert_status(cadre_registry_load(fx->pool, "", on_told, NULL), CADRE_EINVAL);
    assert_status(cadre_registry_load(NULL, "x", on_told, NULL), CADRE_EINVAL);
    assert_status(cadre_registry_add(fx->pool, NULL, on_told, NULL), CADRE_EINVAL);
    assert_unchanged(fx, there);
    fixture_end(fx);
}

/* ---- entries from C ---- */

static void a_wrong_entry_from_c_is_refused_and_names_the_field(void **state)
{
    (void)state;
    static const cadre_memory_need overflow = {0, UINT64_MAX, UINT64_MAX}, huge = {0, UINT64_MAX / 2, 0}, device = {9, 1, 1};
    const struct {
        const char *name, *key;
        int32_t initial, least, most;
        const cadre_memory_need *memory;
        int32_t status_a, status_b;
    } rows[] = {
        {"no key", NULL, 1, 0, 4, NULL, CADRE_EINVAL, CADRE_EINVAL},
        {"an empty key", "", 1, 0, 4, NULL, CADRE_EINVAL, CADRE_EINVAL},
        {"a control character", "a\n", 1, 0, 4, NULL, CADRE_EINVAL, CADRE_EINVAL},
        {"not UTF-8", "a\xff", 1, 0, 4, NULL, CADRE_EINVAL, CADRE_EINVAL},
        {"negative initial", "a", -3, 0, 4, NULL, CADRE_EINVAL, CADRE_EINVAL},
        {"negative minimum", "a", 1, -3, 4, NULL, CADRE_EINVAL, CADRE_EINVAL},
        {"no maximum", "a", 1, 0, 0, NULL, CADRE_EINVAL, CADRE_EINVAL},
        {"minimum above maximum", "a", 1, 5, 4, NULL, CADRE_EINVAL, CADRE_EINVAL},
        {"sizes that overflow", "a", 1, 0, 4, &overflow, CADRE_EINVAL, CADRE_EBUDGET},
        {"larger than the budget", "a", 1, 0, 4, &huge, CADRE_EINVAL, CADRE_EBUDGET},
        {"an unknown device", "a", 1, 0, 4, &device, CADRE_EINVAL, CADRE_EINVAL},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        row("%s", rows[i].name);
        script *there;
        fixture *fx = begin_with_one(NULL, &there);
        cadre_entry entry = entry_of(there);
        entry.key = rows[i].key;
        entry.initial_workers = rows[i].initial;
        entry.min_workers = rows[i].least;
        entry.max_workers = rows[i].most;
        entry.memory = rows[i].memory;
        entry.memory_count = rows[i].memory != NULL;
        told t = try_add(fx, &entry);
        assert_true(t.status == rows[i].status_a || t.status == rows[i].status_b);
        assert_true(t.detail[0] != '\0');
        assert_unchanged(fx, there);
        fixture_end(fx);
    }
}

/* ---- modules ---- */

static void a_module_is_found_by_its_name(void **state)
{
    (void)state;
    for (int environment = 0; environment < 2; environment++) {
        row("environment %d", environment);
        cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
        if (environment)
            setenv("CADRE_BACKEND_PATH", "/nowhere:" CADRE_MODULES, 1);
        else
            options.backend_path = "/nowhere::" CADRE_MODULES;
        fixture *fx = registry_begin_all(&options);
        assert_status(by_text(fx, "{\"models\": [{\"key\": \"m\", \"capability\": \"text-to-text\", \"backend\": \"good\"}]}").status, 0);
        script *s = text_script(fx, "m"); /* only to ask by */
        answer *a = ask(s, "hello");
        until_done(a);
        assert_status(a->status, 0);
        assert_string_equal(a->text, "from a module");
        assert_string_equal(info_of(fx, "m").backend, "good");
        fixture_end(fx);
        unsetenv("CADRE_BACKEND_PATH");
    }
}

static void what_is_no_module_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *backend, *part;
    } rows[] = {
        {"none", "has no cadre_backend_module()"}, {"old", "does not speak version"}, {"renamed", "is not a sound backend of the name \"renamed\""},
        {"unsound", "is not a sound backend"},     {"text", "cannot be opened"},      {"absent", "there is no cadre-absent.so in " CADRE_MODULES},
        {"../modules/cadre-good", "models[0]"},
    };
    FILE *file = fopen(CADRE_MODULES "/cadre-text.so", "wb");
    assert_non_null(file);
    fputs("this is no module", file);
    fclose(file);
    for (size_t i = 0; i < COUNT(rows); i++) {
        row("%s", rows[i].backend);
        cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
        script *there;
        options.backend_path = CADRE_MODULES;
        fixture *fx = begin_with_one(&options, &there);
        char text[256];
        snprintf(text, sizeof text, "{\"models\": [{\"key\": \"m\", \"capability\": \"text-to-text\", \"backend\": \"%s\"}]}", rows[i].backend);
        told t = by_text(fx, text);
        assert_true(t.status == CADRE_EBACKEND || (t.status == CADRE_EMANIFEST && strchr(rows[i].backend, '/')));
        assert_contains(t.detail, rows[i].part);
        assert_contains(t.detail, "manifest:1:");
        assert_unchanged(fx, there);
        fixture_end(fx);
    }
}

static void a_backend_is_checked_when_it_is_registered(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    cadre_backend b = {.version = CADRE_BACKEND_VERSION, .size = sizeof b, .name = "x", .capabilities = 1};
    assert_status(cadre_backend_register(fx->pool, &b), CADRE_EINVAL); /* no open, no make */
    assert_status(cadre_backend_register(fx->pool, NULL), CADRE_EINVAL);
    assert_status(cadre_backend_register(NULL, &b), CADRE_EINVAL);
    b.version++;
    assert_status(cadre_backend_register(fx->pool, &b), CADRE_EINVAL);
    assert_true(cadre_pool_error_detail(fx->pool)[0] != '\0');
    fixture_start_close(fx, NULL);
    assert_status(cadre_backend_register(fx->pool, &b), CADRE_ECLOSED);
    fixture_end(fx);
}

/* ---- lookup ---- */

typedef struct listing {
    char keys[128];
    int stop_at, seen;
} listing;

static int visit(const cadre_entry_info *entry, void *data)
{
    listing *l = data;
    size_t n = strlen(l->keys);
    snprintf(l->keys + n, sizeof l->keys - n, "%s ", entry->key);
    return ++l->seen == l->stop_at;
}

static const char *listed(fixture *fx, int32_t capability, const char *provider, const char *name, int stop_at, int64_t expected)
{
    static listing l;
    cadre_entry_filter filter = CADRE_ENTRY_FILTER_INIT;
    filter.capability = capability;
    filter.provider = provider;
    filter.name = name;
    l = (listing){.stop_at = stop_at};
    assert_int_equal(cadre_registry_list(fx->pool, &filter, visit, &l), expected);
    return l.keys;
}

static void entries_are_found_by_what_they_are(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    static const char *const keys[] = {"c", "a", "b"};
    for (int i = 0; i < 3; i++) {
        script *s = script_new(fx, i == 2 ? CADRE_VISION : CADRE_TEXT_TO_TEXT, KIND_BLOCKING, keys[i]);
        cadre_entry entry = entry_of(s);
        entry.provider = i == 0 ? NULL : "acme";
        entry.name = i == 1 ? "Alpha" : NULL;
        add(fx, &entry);
    }
    assert_string_equal(listed(fx, CADRE_DEFAULT, NULL, NULL, 0, 3), "c a b ");
    assert_string_equal(listed(fx, CADRE_VISION, NULL, NULL, 0, 1), "b ");
    assert_string_equal(listed(fx, CADRE_DEFAULT, "acme", NULL, 0, 2), "a b ");
    assert_string_equal(listed(fx, CADRE_DEFAULT, "", NULL, 0, 1), "c ");
    assert_string_equal(listed(fx, CADRE_DEFAULT, NULL, "Alpha", 0, 1), "a ");
    assert_string_equal(listed(fx, CADRE_DEFAULT, NULL, "c", 0, 1), "c ");
    assert_string_equal(listed(fx, CADRE_TEXT_EMBEDDING, NULL, NULL, 0, 0), "");
    assert_string_equal(listed(fx, CADRE_DEFAULT, NULL, NULL, 2, 2), "c a ");
    cadre_entry_info info = CADRE_ENTRY_INFO_INIT;
    cadre_entry_filter filter = CADRE_ENTRY_FILTER_INIT;
    assert_status(cadre_registry_get(fx->pool, "nobody", &info), CADRE_ENOENT);
    assert_status(cadre_registry_get(fx->pool, NULL, &info), CADRE_EINVAL);
    assert_status(cadre_registry_get(fx->pool, "a", NULL), CADRE_EINVAL);
    info.size = 3;
    assert_status(cadre_registry_get(fx->pool, "a", &info), CADRE_EINVAL);
    filter.size = 1;
    assert_int_equal(cadre_registry_list(fx->pool, &filter, NULL, NULL), CADRE_EINVAL);
    assert_int_equal(cadre_registry_list(NULL, NULL, NULL, NULL), CADRE_EINVAL);
    assert_string_equal(cadre_model_state_name(CADRE_MODEL_RESTING), "resting");
    assert_string_equal(cadre_model_state_name((cadre_model_state)99), "unknown");
    assert_string_equal(info_of(fx, "c").name, "c");
    assert_string_equal(info_of(fx, "c").provider, "");
    fixture_end(fx);
}

static void a_key_has_one_owner(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    script *entry_first = added(fx, "m", 0), *spawned = script_new(fx, CADRE_TEXT_TO_TEXT, KIND_BLOCKING, "w");
    script *intruder = script_new(fx, CADRE_TEXT_TO_TEXT, KIND_BLOCKING, "m");
    assert_status(script_spawn_with(intruder, NULL, NULL), CADRE_EEXIST);
    intruder->spawned = atomic_load(&intruder->released);
    script_hold(spawned, OP_LOAD);
    script_spawn(spawned);
    cadre_entry entry = entry_of(spawned);
    told t = try_add(fx, &entry);
    assert_status(t.status, CADRE_EEXIST);
    assert_contains(t.detail, "spawned by the host");
    run_until_atomic(fx, &spawned->closed, 1);
    script *other = script_new(fx, CADRE_TEXT_EMBEDDING, KIND_BLOCKING, "m");
    answer *a = answer_new(fx);
    assert_status(submit(other, a, "hello", NULL), CADRE_ECAPABILITY);
    script_open(spawned, OP_LOAD);
    script_until_ready(spawned, 1);
    serve_once(entry_first);
    fixture_end(fx);
}

#define SUITE registry
#include "suite.h"
