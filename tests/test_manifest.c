/* Manifests: what is read, every message with its place, no byte lost when memory runs out. The samples of tests/manifests are those of
 * manifest_schema.py. */
#include "manifest_case.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <sys/stat.h>

static const char *const devices[] = {"host", "gpu0"};

/* The text ends where its memory ends, so that a byte read beyond is seen. */
static int parse_bytes(const char *text, size_t length, const char *folder, cadre__spec **out)
{
    char *copy = malloc(length ? length : 1);
    assert_non_null(copy);
    memcpy(copy, text, length);
    int rc = cadre__manifest_parse(&allocator, "models.json", copy, length, folder, devices, COUNT(devices), out, detail, sizeof detail);
    free(copy);
    if (rc != CADRE_OK) assert_null(*out);
    if (rc == CADRE_OK) assert_string_equal(detail, "");
    return rc;
}

static int parse(const char *text, cadre__spec **out)
{
    return parse_bytes(text, strlen(text), NULL, out);
}

/* ---- what is read ---- */

static void everything_an_entry_says_arrives(void **state)
{
    (void)state;
    static const char text[] =
        "{\"version\": 1, \"models\": [\n"
        "  {\"key\": \"k\", \"capability\": \"text-to-text\", \"backend\": \"llama\", \"options\": {\"path\": \"a.gguf\"},\n"
        "   \"loader\": \"async\", \"name\": \"N\", \"provider\": \"P\", \"memory\": {\"gpu0\": {\"weights_bytes\": 9007199254740992}, \"host\": "
        "{\"worker_bytes\": 7}},\n"
        "   \"workers\": {\"initial\": 2, \"min\": 1, \"max\": 3}, \"idle_timeout_ms\": \"never\", \"min_residency_ms\": 0, \"pinned\": true,\n"
        "   \"priority\": \"batch\", \"warm_up\": \"Hi\", \"load_retries\": 0, \"retry_delay_ms\": 6, \"queue_capacity\": 1e3, \"batch_window_us\": 8,\n"
        "   \"stream_window\": 9, \"load_timeout_ms\": 10, \"stall_timeout_ms\": 11, \"hang_timeout_ms\": \"never\",\n"
        "   \"breaker\": {\"failures\": 0, \"open_ms\": 13, \"probes\": 14, \"successes\": 15}},\n"
        "  {\"key\": \"\\u00e4\\ud83d\\ude00\", \"capability\": \"vision\", \"backend\": \"b\", \"license\": \"MIT\", \"estimate_bytes\": 5e9,\n"
        "   \"files\": [\"hf:o/n/a\", \"hf:o/n@r/b/c\"], \"defaults\": {\"temperature\": 0, \"top_k\": 1, \"top_p\": 0.5, \"min_p\": 0.25,\n"
        "   \"repeat_penalty\": 1.5, \"max_tokens\": 2147483647}},\n"
        "  {\"key\": \"e\", \"capability\": \"image-embedding\", \"backend\": \"b\", \"dimension\": 512, \"defaults\": {}},\n"
        "  {\"key\": \"p\", \"capability\": \"text-to-image\", \"backend\": \"b\", \"defaults\": {\"width\": 16, \"height\": 8, \"steps\": 4, \"guidance\": "
        "3.5}}]}";
    cadre__spec *first;
    begin();
    assert_status(parse_bytes(text, sizeof text - 1, "/models", &first), 0);
    const cadre_entry *e = &first->entry;
    assert_size(e->size, sizeof *e);
    assert_string_equal(e->key, "k");
    assert_int_equal(e->capability, CADRE_TEXT_TO_TEXT);
    assert_string_equal(e->backend, "llama");
    assert_string_equal(e->options, "{\"path\": \"a.gguf\"}");
    assert_string_equal(e->folder, "/models");
    assert_int_equal(e->loader, CADRE_LOADER_ASYNC);
    assert_string_equal(e->name, "N");
    assert_string_equal(e->provider, "P");
    assert_size(e->memory_count, 2);
    assert_ptr_equal(e->memory, first->memory);
    assert_true(e->memory[0].device == 1 && e->memory[0].weights_bytes == UINT64_C(1) << 53 && e->memory[0].worker_bytes == 0);
    assert_true(e->memory[1].device == 0 && e->memory[1].weights_bytes == 0 && e->memory[1].worker_bytes == 7);
    assert_true(e->initial_workers == 2 && e->min_workers == 1 && e->max_workers == 3);
    assert_true(e->idle_timeout_ms == CADRE_NEVER && e->min_residency_ms == 0 && e->pinned == 1 && e->priority == CADRE_PRIORITY_BATCH);
    assert_string_equal(e->warm_up, "Hi");
    assert_true(e->load_retries == 0 && e->retry_delay_ms == 6 && e->queue_capacity == 1000 && e->batch_window_us == 8 && e->stream_window == 9);
    assert_true(e->load_timeout_ms == 10 && e->stall_timeout_ms == 11 && e->hang_timeout_ms == CADRE_NEVER);
    assert_true(e->breaker_failures == 0 && e->breaker_open_ms == 13 && e->breaker_probes == 14 && e->breaker_successes == 15);
    assert_string_equal(first->place.file, "models.json");
    assert_string_equal(first->place.path, "models[0]");
    assert_true(first->place.line == 2 && first->place.column == 3);
    assert_string_equal(first->options.path, "models[0].options");
    assert_true(first->options.line == 2 && first->options.column == 77);
    const cadre__spec *second = first->next;
    assert_string_equal(second->entry.key, "ä😀");
    assert_string_equal(second->options.path, "models[1].options");
    assert_true(second->place.line == 8 && second->place.column == 3 && second->options.line == 8 && second->options.column == 3);
    const cadre_request_defaults *d = second->entry.defaults;
    assert_string_equal(second->entry.license, "MIT");
    assert_true(second->entry.estimate_bytes == 5000000000 && second->entry.dimension == CADRE_DEFAULT && second->entry.file_count == 2);
    assert_string_equal(second->entry.files[0], "hf:o/n/a");
    assert_string_equal(second->entry.files[1], "hf:o/n@r/b/c");
    assert_true(d->size == sizeof *d && d->temperature == 0 && d->top_k == 1 && d->top_p == 0.5f && d->min_p == 0.25f);
    assert_true(d->repeat_penalty == 1.5f && d->max_tokens == INT32_MAX && d->width == CADRE_DEFAULT && d->guidance != d->guidance);
    const cadre__spec *third = second->next, *fourth = third->next;
    assert_true(third->entry.dimension == 512 && third->entry.defaults && third->entry.defaults->max_tokens == CADRE_DEFAULT);
    d = fourth->entry.defaults;
    assert_true(d->width == 16 && d->height == 8 && d->steps == 4 && d->guidance == 3.5f && d->temperature != d->temperature);
    assert_null(fourth->next);
    cadre__specs_free(first);
    end();
}

static void what_a_manifest_leaves_out_stands_at_its_default(void **state)
{
    (void)state;
    const cadre_entry defaults = CADRE_ENTRY_INIT;
    cadre__spec *spec;
    begin();
    assert_status(parse("{\"models\": [{\"key\": \"k\", \"capability\": \"vision\", \"backend\": \"b\"}]}", &spec), 0);
    assert_null(spec->next);
    const cadre_entry *e = &spec->entry;
#define SAME(field) assert_true(e->field == defaults.field)
    SAME(options), SAME(folder), SAME(loader), SAME(name), SAME(provider), SAME(memory), SAME(memory_count), SAME(initial_workers), SAME(min_workers);
    SAME(max_workers), SAME(idle_timeout_ms), SAME(min_residency_ms), SAME(pinned), SAME(priority), SAME(warm_up), SAME(load_retries), SAME(retry_delay_ms);
    SAME(queue_capacity), SAME(batch_window_us), SAME(stream_window), SAME(load_timeout_ms), SAME(stall_timeout_ms), SAME(hang_timeout_ms);
    SAME(license), SAME(files), SAME(file_count), SAME(estimate_bytes), SAME(dimension), SAME(defaults);
    SAME(breaker_failures), SAME(breaker_open_ms), SAME(breaker_probes), SAME(breaker_successes);
    cadre__specs_free(spec);
    assert_status(parse("{\"models\": []}", &spec), 0);
    assert_null(spec);
    end();
}

static void names_of_a_manifest_are_those_of_the_library(void **state)
{
    (void)state;
    begin();
    for (int i = 0; i < CADRE_CAPABILITY_COUNT; i++) {
        char text[256];
        cadre__spec *spec;
        snprintf(text, sizeof text, "{\"models\": [{\"key\": \"k\", \"capability\": \"%s\", \"backend\": \"b\"}]}", cadre_capability_name((cadre_capability)i));
        assert_status(parse(text, &spec), 0);
        assert_int_equal(spec->entry.capability, i);
        cadre__specs_free(spec);
    }
    end();
}

/* ---- messages ---- */

#define ENTRY(fields) "{\"models\": [\n {\"key\": \"k\", \"capability\": \"text-to-text\", \"backend\": \"b\",\n  " fields "}]}"
#define MANIFEST(text, message)                                                                                                                                \
    {                                                                                                                                                          \
        text, sizeof text - 1, CADRE_EMANIFEST, "models.json:" message                                                                                         \
    }
#define LONG_NAME "abcdefghabcdefghabcdefghabcdefghabcdefghabcdefghabcdefghabcdefg"

static const struct {
    const char *text;
    size_t length;
    int rc;
    const char *message;
} wrong[] = {
    /* not JSON */
    MANIFEST("", "1:1: manifest: is empty"),
    MANIFEST(" \n ", "1:1: manifest: is empty"),
    MANIFEST("\0", "1:1: manifest: is not JSON: expected a value"),
    MANIFEST("{\"models\": []", "1:14: manifest: is not JSON: expected ',' or '}', and the text ends"),
    MANIFEST("{\"models\": [\n  1 2]}", "2:5: manifest: is not JSON: expected ',' or ']'"),
    MANIFEST("{\"models\": []}\n\n  x", "3:3: manifest: is not JSON: text after the end"),
    MANIFEST("{\"models\": [],}", "1:15: manifest: is not JSON: expected a name in quotes"),
    MANIFEST("{\"models\" []}", "1:11: manifest: is not JSON: expected ':'"),
    MANIFEST("{\"models\": [tru]}", "1:13: manifest: is not JSON: expected a value"),
    MANIFEST("{\"models\": [01]}", "1:13: manifest: is not JSON: a number that begins with 0"),
    MANIFEST("{\"models\": [1.]}", "1:15: manifest: is not JSON: expected a digit"),
    MANIFEST("{\"models\": [1e]}", "1:15: manifest: is not JSON: expected a digit"),
    MANIFEST("{\"models\": [-]}", "1:14: manifest: is not JSON: expected a digit"),
    MANIFEST("{\"models\": [1000000000000000000000000000000000000000000000000000000000000000]}",
             "1:13: manifest: is not JSON: a number of more than 63 characters"),
    MANIFEST("{\"models\": [\"a\nb\"]}", "1:15: manifest: is not JSON: a control character inside of a string; write it as an escape"),
    MANIFEST("{\"models\": [\n\"ab]}", "2:1: manifest: is not JSON: a string without its closing quote"),
    MANIFEST("{\"models\": [\"\\a\"]}", "1:14: manifest: is not JSON: an escape that JSON does not have"),
    MANIFEST("{\"models\": [\"\\u00g0\"]}", "1:14: manifest: is not JSON: \\u without four hexadecimal digits"),
    MANIFEST("{\"models\": [\"\\u00", "1:14: manifest: is not JSON: \\u without four hexadecimal digits"),
    MANIFEST("{\"models\": [\"x\\u0000\"]}", "1:15: manifest: is not JSON: \\u0000 inside of a string"),
    MANIFEST("{\"models\": [\"\\ud800\"]}", "1:14: manifest: is not JSON: half of a surrogate pair"),
    MANIFEST("{\"models\": [\"\\udc00\"]}", "1:14: manifest: is not JSON: half of a surrogate pair"),
    MANIFEST("{\"models\": [\"\\ud800\\u0041\"]}", "1:14: manifest: is not JSON: half of a surrogate pair"),
    MANIFEST("{\"models\":\n[\"\xff\"]}", "2:3: manifest: is not UTF-8"),
    MANIFEST("\xef\xbb\xbf{]", "1:2: manifest: is not JSON: expected a name in quotes"),
    MANIFEST("\xef\xbb\xbf", "1:1: manifest: is empty"),
    MANIFEST("[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "1:65: manifest: is not JSON: nested deeper than 64"),
    /* the top */
    MANIFEST("\n []", "2:2: manifest: is an array, not an object"),
    MANIFEST("{}", "1:1: models: is required; write {\"models\": []}"),
    MANIFEST("{\"modules\": []}", "1:2: modules: unknown field; did you mean \"models\"?"),
    MANIFEST("{\"x\": []}", "1:2: x: unknown field"),
    MANIFEST("{\"\": []}", "1:2: manifest: unknown field"),
    MANIFEST("{\"" LONG_NAME "ä\": []}", "1:2: " LONG_NAME "…: unknown field"),
    MANIFEST("{\"a\\u001b\\n\": []}", "1:2: a??: unknown field"),
    MANIFEST("{\"models\": {}}", "1:12: models: is an object, not an array"),
    MANIFEST("{\"models\": [], \"models\": []}", "1:16: models: is here twice; remove one of them"),
    MANIFEST("{\"version\": 2, \"models\": []}", "1:13: version: is 2, not 1"),
    MANIFEST("{\"version\": 0, \"models\": []}", "1:13: version: is 0, not 1"),
    MANIFEST("{\"models\": [], \"version\": \"1\"}", "1:27: version: is a string, not an integer"),
    MANIFEST("{\"$schema\": 1, \"models\": []}", "1:13: $schema: is a number, not a string"),
    MANIFEST("{\"models\": [\n7]}", "2:1: models[0]: is a number, not an object"),
    /* an entry */
    MANIFEST("{\"models\": [\n {}]}", "2:2: models[0].key: is required"),
    MANIFEST("{\"models\": [\n {\"key\": \"k\"}]}", "2:2: models[0].capability: is required"),
    MANIFEST("{\"models\": [\n {\"key\": \"k\", \"capability\": \"vision\"}]}", "2:2: models[0].backend: is required"),
    MANIFEST("{\"models\": [{\"key\": \"a\\u0001\"}]}", "1:21: models[0].key: has a control character at byte 1"),
    MANIFEST("{\"models\": [{\"key\": \"\"}]}", "1:21: models[0].key: is empty"),
    MANIFEST("{\"models\": [{\"key\": null}]}", "1:21: models[0].key: is null, not a string"),
    MANIFEST("{\"models\": [{\"key\": \"k\", \"capability\": \"text-to-txt\"}]}",
             "1:40: models[0].capability: is \"text-to-txt\", not one of text-to-text, text-embedding, image-embedding, vision, text-to-image; did you mean "
             "\"text-to-text\"?"),
    MANIFEST("{\"models\": [{\"capability\": 1}]}", "1:28: models[0].capability: is a number, not a string"),
    MANIFEST("{\"models\": [{\"backend\": \"../x\", \"key\": \"k\", \"capability\": \"vision\"}]}",
             "1:25: models[0].backend: has a character that is not a letter, digit, '-' or '_'"),
    MANIFEST(ENTRY("\"idle_timeout\": 5"), "3:3: models[0].idle_timeout: unknown field; did you mean \"idle_timeout_ms\"?"),
    MANIFEST(ENTRY("\"key\": \"k\""), "3:3: models[0].key: is here twice; remove one of them"),
    MANIFEST(ENTRY("\"k\\u0065y\": \"k\""), "3:3: models[0].key: is here twice; remove one of them"),
    MANIFEST(ENTRY("\"size\": 1"), "3:3: models[0].size: unknown field"),
    MANIFEST(ENTRY("\"loader\": \"sink\""), "3:13: models[0].loader: is \"sink\", not one of sync, async, preloaded"),
    MANIFEST(ENTRY("\"priority\": \"hi\""), "3:15: models[0].priority: is \"hi\", not one of critical, high, normal, low, batch"),
    MANIFEST(ENTRY("\"pinned\": 1"), "3:13: models[0].pinned: is a number, not a boolean"),
    MANIFEST(ENTRY("\"options\": [1]"), "3:14: models[0].options: is an array, not an object"),
    MANIFEST(ENTRY("\"idle_timeout_ms\": 0"), "3:22: models[0].idle_timeout_ms: is 0, not at least 1"),
    MANIFEST(ENTRY("\"idle_timeout_ms\": -1"), "3:22: models[0].idle_timeout_ms: is -1, not at least 1"),
    MANIFEST(ENTRY("\"idle_timeout_ms\": \"soon\""), "3:22: models[0].idle_timeout_ms: is a string; write milliseconds or \"never\""),
    MANIFEST(ENTRY("\"idle_timeout_ms\": 9223372036854775807"), "3:22: models[0].idle_timeout_ms: is 9223372036854775807, above 9007199254740992"),
    MANIFEST(ENTRY("\"min_residency_ms\": \"never\""), "3:23: models[0].min_residency_ms: is a string, not an integer"),
    MANIFEST(ENTRY("\"retry_delay_ms\": 1.5"), "3:21: models[0].retry_delay_ms: is 1.5, not an integer"),
    MANIFEST(ENTRY("\"retry_delay_ms\": 1e-3"), "3:21: models[0].retry_delay_ms: is 1e-3, not an integer"),
    MANIFEST(ENTRY("\"queue_capacity\": 1e300"), "3:21: models[0].queue_capacity: is 1e300, above 2147483647"),
    MANIFEST(ENTRY("\"queue_capacity\": -1e999"), "3:21: models[0].queue_capacity: is -1e999, not at least 1"),
    MANIFEST(ENTRY("\"batch_window_us\": 60000001"), "3:22: models[0].batch_window_us: is 60000001, not within 0…60000000"),
    MANIFEST(ENTRY("\"stream_window\": true"), "3:20: models[0].stream_window: is a boolean, not an integer"),
    MANIFEST(ENTRY("\"warm_up\": \"\""), "3:14: models[0].warm_up: is empty"),
    MANIFEST("{\"models\": [{\"warm_up\": \"Hi\", \"key\": \"k\", \"capability\": \"vision\", \"backend\": \"b\"}]}",
             "1:25: models[0].warm_up: is for text-to-text, not for vision"),
    /* its groups */
    MANIFEST(ENTRY("\"workers\": 4"), "3:14: models[0].workers: is a number, not an object"),
    MANIFEST(ENTRY("\"workers\": {\"mix\": 4}"), "3:15: models[0].workers.mix: unknown field; did you mean \"min\"?"),
    MANIFEST(ENTRY("\"workers\": {\n\"max\": 0}"), "4:8: models[0].workers.max: is 0, not within 1…1024"),
    MANIFEST(ENTRY("\"workers\": {\"max\": 1, \"max\": 1}"), "3:25: models[0].workers.max: is here twice; remove one of them"),
    MANIFEST(ENTRY("\"workers\": {}, \"workers\": {}"), "3:18: models[0].workers: is here twice; remove one of them"),
    MANIFEST(ENTRY("\"workers\": {\"min\": 3, \"max\": 2}"), "3:22: models[0].workers.min: is 3, above the maximum, 2"),
    MANIFEST(ENTRY("\"workers\": {\"min\": 5}"), "3:22: models[0].workers.min: is 5, above the maximum, 4 by default"),
    MANIFEST(ENTRY("\"workers\": {\"initial\": 3, \"max\": 2}"), "3:26: models[0].workers.initial: is 3, above the maximum, 2"),
    MANIFEST(ENTRY("\"breaker\": {\"open_ms\": \"never\"}"), "3:26: models[0].breaker.open_ms: is a string, not an integer"),
    MANIFEST(ENTRY("\"breaker\": {\"failures\": -1}"), "3:27: models[0].breaker.failures: is -1, not at least 0"),
    MANIFEST(ENTRY("\"memory\": {\"hots\": {}}"), "3:14: models[0].memory.hots: unknown device; did you mean \"host\"?"),
    MANIFEST(ENTRY("\"memory\": {\"tpu\": {}}"), "3:14: models[0].memory.tpu: unknown device; the host's memory is \"host\""),
    MANIFEST(ENTRY("\"memory\": {\"host\": {}, \"host\": {}}"), "3:26: models[0].memory.host: is here twice; remove one of them"),
    MANIFEST(ENTRY("\"memory\": {\"gpu0\": 5}"), "3:22: models[0].memory.gpu0: is a number, not an object"),
    MANIFEST(ENTRY("\"memory\": {\"gpu0\": {\"weight_bytes\": 5}}"),
             "3:23: models[0].memory.gpu0.weight_bytes: unknown field; did you mean \"weights_bytes\"?"),
    MANIFEST(ENTRY("\"memory\": {\"gpu0\": {\"worker_bytes\": 1, \"worker_bytes\": 1}}"),
             "3:42: models[0].memory.gpu0.worker_bytes: is here twice; remove one of them"),
    MANIFEST(ENTRY("\"memory\": {\"gpu0\": {\"worker_bytes\": 9007199254740993}}"),
             "3:39: models[0].memory.gpu0.worker_bytes: is 9007199254740993, above 9007199254740992"),
    MANIFEST(ENTRY("\"memory\": {\"gpu0\": {\"worker_bytes\": 18446744073709551617}}"),
             "3:39: models[0].memory.gpu0.worker_bytes: is 18446744073709551617, above 9007199254740992"),
    /* what it says besides */
    MANIFEST(ENTRY("\"licence\": \"MIT\""), "3:3: models[0].licence: unknown field; did you mean \"license\"?"),
    MANIFEST(ENTRY("\"license\": 3"), "3:14: models[0].license: is a number, not a string"),
    MANIFEST(ENTRY("\"estimate_bytes\": 0"), "3:21: models[0].estimate_bytes: is 0, not at least 1"),
    MANIFEST(ENTRY("\"files\": {}"), "3:12: models[0].files: is an object, not an array"),
    MANIFEST(ENTRY("\"files\": [\"hf:a/b/c\", 7]"), "3:25: models[0].files[1]: is a number, not a string"),
    MANIFEST(ENTRY("\"files\": [\"hf:a/b/c\",\n \"a/b/c\"]"), "4:2: models[0].files[1]: is not a reference, which begins with hf:OWNER/NAME/FILE"),
    MANIFEST(ENTRY("\"files\": [\"hf:a/b\"]"), "3:13: models[0].files[0]: is not a reference, which begins with hf:OWNER/NAME/FILE"),
    MANIFEST(ENTRY("\"files\": [\"hf:a/b/c\\u001f\"]"), "3:13: models[0].files[0]: has a control character"),
    MANIFEST(ENTRY("\"dimension\": 8"), "3:16: models[0].dimension: is for embeddings, not for text-to-text"),
    MANIFEST(ENTRY("\"dimension\": 65537"), "3:16: models[0].dimension: is 65537, not within 1…65536"),
    MANIFEST(ENTRY("\"defaults\": 1"), "3:15: models[0].defaults: is a number, not an object"),
    MANIFEST(ENTRY("\"defaults\": {\"temprature\": 1}"), "3:16: models[0].defaults.temprature: unknown field; did you mean \"temperature\"?"),
    MANIFEST(ENTRY("\"defaults\": {\"seed\": 1}"), "3:16: models[0].defaults.seed: unknown field"),
    MANIFEST(ENTRY("\"defaults\": {\"top_k\": 1,\n\"top_k\": 1}"), "4:1: models[0].defaults.top_k: is here twice; remove one of them"),
    MANIFEST(ENTRY("\"defaults\": {\"top_k\": -1}"), "3:25: models[0].defaults.top_k: is -1, not at least 0"),
    MANIFEST(ENTRY("\"defaults\": {\"top_p\": 1.5}"), "3:25: models[0].defaults.top_p: is 1.5, not within 0…1"),
    MANIFEST(ENTRY("\"defaults\": {\"temperature\": \"0\"}"), "3:31: models[0].defaults.temperature: is a string, not a number"),
    MANIFEST(ENTRY("\"defaults\": {\"guidance\": -1}"), "3:28: models[0].defaults.guidance: is -1, not at least 0"),
    MANIFEST(ENTRY("\"defaults\": {\"guidance\": 1e39}"), "3:28: models[0].defaults.guidance: is 1e39, not within 0…3.40282e+38"),
    MANIFEST(ENTRY("\"defaults\": {\"top_k\": 1,\n\"steps\": 4}"), "4:10: models[0].defaults.steps: is for text-to-image, not for text-to-text"),
    MANIFEST("{\"models\": [{\"defaults\": {\"top_k\": 4}, \"key\": \"k\", \"capability\": \"text-embedding\", \"backend\": \"b\"}]}",
             "1:36: models[0].defaults.top_k: is for text-to-text and vision, not for text-embedding"),
    /* keys */
    {"{\"models\": [\n{\"key\": \"a\", \"capability\": \"vision\", \"backend\": \"b\"},\n{\"key\": \"c\", \"capability\": \"vision\", \"backend\": \"b\"},\n"
     "{\"capability\": \"vision\", \"backend\": \"b\", \"key\": \"\\u0061\"}]}",
     sizeof "{\"models\": [\n{\"key\": \"a\", \"capability\": \"vision\", \"backend\": \"b\"},\n{\"key\": \"c\", \"capability\": \"vision\", \"backend\": "
            "\"b\"},\n"
            "{\"capability\": \"vision\", \"backend\": \"b\", \"key\": \"\\u0061\"}]}" -
         1,
     CADRE_EEXIST, "models.json:4:49: models[2].key: \"a\" is the key of models[0] already, at 2:9"},
};

static void every_message_of_a_manifest_says_where(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(wrong); i++) {
        cadre__spec *specs = (cadre__spec *)&memory; /* anything but NULL */
        row("%s", wrong[i].message);
        begin();
        int rc = parse_bytes(wrong[i].text, wrong[i].length, "/folder", &specs);
        assert_string_equal(detail, wrong[i].message);
        assert_status(rc, wrong[i].rc);
        end();
    }
    row("%s", "");
}

static void a_manifest_without_a_name_is_called_manifest(void **state)
{
    (void)state;
    cadre__spec *specs;
    begin();
    assert_status(cadre__manifest_parse(&allocator, NULL, "{\"x\": 1}", 8, NULL, devices, 2, &specs, detail, sizeof detail), CADRE_EMANIFEST);
    assert_string_equal(detail, "manifest:1:2: x: unknown field");
    end();
}

static void messages_are_cut_at_a_code_point(void **state)
{
    (void)state;
    cadre__spec *specs;
    begin();
    for (size_t size = 0; size < 60; size++) {
        char small[64];
        static const char text[] = "{\"ääääääääääää\": 1}";
        memset(small, 'x', sizeof small);
        assert_status(cadre__manifest_parse(&allocator, "ö", text, sizeof text - 1, NULL, devices, 2, &specs, small, size), CADRE_EMANIFEST);
        assert_int_equal(small[size], 'x');
        if (size == 0) continue;
        assert_true(strlen(small) < size);
        assert_size(cadre__utf8_invalid(small, strlen(small)), SIZE_MAX);
    }
    end();
}

static void the_largest_manifest_is_4_mib(void **state)
{
    (void)state;
    static const char text[] = "{\"models\": []}";
    const size_t most = CADRE__MANIFEST_MAX;
    char *large = malloc(most + 1);
    cadre__spec *specs;
    begin();
    assert_non_null(large);
    memset(large, ' ', most + 1);
    memcpy(large + most + 1 - sizeof text, text, sizeof text - 1);
    assert_status(parse_bytes(large, most, NULL, &specs), 0);
    assert_null(specs);
    assert_status(parse_bytes(large, most + 1, NULL, &specs), CADRE_EMANIFEST);
    assert_string_equal(detail, "models.json:1:1: manifest: has 4194305 bytes, more than 4194304");
    free(large);
    end();
}

static void many_models_are_read_in_order(void **state)
{
    (void)state;
    enum { MANY = 20000 };
    char *text = malloc(MANY * 80);
    size_t used = 0;
    cadre__spec *first;
    begin();
    assert_non_null(text);
    used += (size_t)sprintf(text, "{\"models\": [");
    for (int i = 0; i < MANY; i++)
        used += (size_t)sprintf(text + used, "%s\n{\"key\": \"%d\", \"capability\": \"vision\", \"backend\": \"b\"}", i ? "," : "", i);
    used += (size_t)sprintf(text + used, "]}");
    assert_status(parse_bytes(text, used, NULL, &first), 0);
    uint32_t index = 0;
    for (const cadre__spec *spec = first; spec; spec = spec->next, index++) {
        assert_int_equal(atoi(spec->entry.key), index);
        assert_true(spec->place.line == index + 2 && spec->place.column == 1);
    }
    assert_int_equal(index, MANY);
    cadre__specs_free(first);
    free(text);
    end();
}

/* Options that are read where the manifest has them; an error has its place there. */
static int read_path(const cadre__spec *spec)
{
    static const cadre_option_spec path = {"path", CADRE_OPTION_PATH, 1, 0, 0, "the file"};
    cadre_option_value value;
    char *strings;
    size_t bytes;
    int rc = cadre__options_read(&allocator, &spec->options, spec->entry.options, &path, 1, NULL, &value, &strings, &bytes, detail, sizeof detail);
    cadre__free(&allocator, strings, bytes);
    return rc;
}

static void options_of_a_manifest_keep_their_place(void **state)
{
    (void)state;
    cadre__spec *first;
    begin();
    assert_status(parse("{\"models\": [\n  {\"key\": \"a\", \"capability\": \"vision\", \"backend\": \"b\"},\n  {\"options\": {\n    \"pth\": \"x\"},\n"
                        "\"key\": \"k\", \"capability\": \"vision\", \"backend\": \"b\"}]}",
                        &first),
                  0);
    const cadre__spec *second = first->next;
    assert_status(read_path(second), CADRE_EMANIFEST);
    assert_string_equal(detail, "models.json:4:5: models[1].options.pth: unknown field; did you mean \"path\"?");
    assert_status(read_path(first), CADRE_EMANIFEST);
    assert_string_equal(detail, "models.json:2:3: models[0].options.path: is required");
    cadre__specs_free(first);
    end();
}

/* ---- samples ---- */

static int each_sample(const char *folder, void (*visit)(const char *name, const char *text, size_t length))
{
    char path[1024];
    int count = 0;
    snprintf(path, sizeof path, "%s/%s", CADRE_MANIFESTS, folder);
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        struct stat info;
        if (!strstr(e->d_name, ".json")) continue;
        snprintf(path, sizeof path, "%s/%s/%s", CADRE_MANIFESTS, folder, e->d_name);
        row("%s/%s", folder, e->d_name);
        assert_int_equal(stat(path, &info), 0);
        char *text = malloc((size_t)info.st_size + 1);
        FILE *f = fopen(path, "rb");
        assert_true(text && f);
        assert_size(fread(text, 1, (size_t)info.st_size, f), info.st_size);
        fclose(f);
        visit(e->d_name, text, (size_t)info.st_size);
        free(text);
        count++;
    }
    closedir(d);
    row("%s", "");
    return count;
}

static void accept_sample(const char *name, const char *text, size_t length)
{
    cadre__spec *specs;
    (void)name;
    begin();
    int rc = parse_bytes(text, length, NULL, &specs);
    assert_string_equal(detail, "");
    assert_status(rc, 0);
    cadre__specs_free(specs);
    end();
}

static void refuse_sample(const char *name, const char *text, size_t length)
{
    cadre__spec *specs;
    unsigned line, column;
    int parsed = 0;
    begin();
    int rc = parse_bytes(text, length, NULL, &specs);
    assert_true(rc == CADRE_EMANIFEST || (rc == CADRE_EEXIST && strstr(name, "key_twice")));
    assert_int_equal(sscanf(detail, "models.json:%u:%u: %n", &line, &column, &parsed), 2);
    assert_true(line >= 1 && column >= 1 && parsed > 0);
    assert_non_null(strstr(detail + parsed, ": "));
    end();
}

static void the_schema_and_the_library_agree_on_the_samples(void **state)
{
    (void)state;
    assert_true(each_sample("good", accept_sample) > 10);
    assert_true(each_sample("bad", refuse_sample) > 100);
    assert_true(each_sample("beyond", refuse_sample) > 5);
}

/* ---- without memory ---- */

static void without_memory_a_manifest_fails_cleanly(void **state)
{
    (void)state;
    static const char text[] = ENTRY(
        "\"options\": {\"path\": \"p\"}, \"name\": \"n\", \"provider\": \"p\", \"warm_up\": \"w\", \"memory\": {\"host\": {}}, \"license\": \"l\", \"files\": "
        "[\"hf:a/b/c\"], \"defaults\": {\"top_k\": 1}") "";
    long n = 0;
    for (int rc = CADRE_ENOMEM; rc != CADRE_OK;) {
        cadre__spec *out;
        row("allocation %ld", ++n);
        begin();
        atomic_store(&memory.fail_at, n);
        rc = parse_bytes(text, sizeof text - 1, "/folder", &out);
        if (rc == CADRE_OK) {
            assert_int_equal(atomic_load(&memory.failures), 0);
            cadre__specs_free(out);
        } else {
            assert_status(rc, CADRE_ENOMEM);
            assert_string_equal(detail, "models.json:1:1: manifest: the host's allocator returned no memory");
        }
        end();
        assert_true(n < 100);
    }
    assert_true(n > 10);
    row("%s", "");
}

static int trees_left;
static void *few(size_t bytes)
{
    return trees_left-- > 0 ? malloc(bytes) : NULL;
}

static void without_memory_for_the_tree_a_manifest_fails_cleanly(void **state)
{
    (void)state;
    cJSON_Hooks hooks = {few, free};
    cJSON_InitHooks(&hooks);
    int n = 0;
    for (int rc = CADRE_ENOMEM; rc != CADRE_OK; n++) {
        cadre__spec *out;
        begin();
        trees_left = n;
        rc = parse("{\"models\": []}", &out);
        if (rc != CADRE_OK) {
            assert_status(rc, CADRE_ENOMEM);
            assert_string_equal(detail, "models.json:1:1: manifest: the host's allocator returned no memory");
        }
        end();
        assert_true(n < 20);
    }
    cJSON_InitHooks(NULL);
    assert_true(n > 2);
}

#define SUITE manifest
#include "suite.h"
