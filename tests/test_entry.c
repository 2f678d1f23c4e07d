/* Entries from C and options: every field's range, every type of option, the messages, the nearest name. */
#include "manifest_case.h"

/* ---- entries from C ---- */

static cadre_entry good_entry(void)
{
    cadre_entry entry = CADRE_ENTRY_INIT;
    entry.key = "k", entry.capability = CADRE_TEXT_TO_TEXT, entry.backend = "b";
    return entry;
}

#define CHECK(change, message)                                                                                                                                 \
    do {                                                                                                                                                       \
        cadre_entry e = good_entry();                                                                                                                          \
        row("%s", #change);                                                                                                                                    \
        change;                                                                                                                                                \
        snprintf(detail, sizeof detail, "-");                                                                                                                  \
        const char *expected = message;                                                                                                                        \
        int rc = cadre__entry_check(&e, false, 2, detail, sizeof detail);                                                                                      \
        assert_string_equal(detail, expected ? expected : "-");                                                                                                \
        assert_status(rc, expected ? CADRE_EINVAL : 0);                                                                                                        \
        row("%s", "");                                                                                                                                         \
    } while (0)

static void texts_of_an_entry_are_checked(void **state)
{
    (void)state;
    char text[300];
    memset(text, 'a', sizeof text);
    text[255] = '\0';
    CHECK((void)e, NULL);
    CHECK(e.key = NULL, "key is required");
    CHECK(e.key = "", "key is empty");
    CHECK(e.key = text, NULL);
    CHECK(e.name = e.provider = text, NULL);
    text[255] = 'a', text[256] = '\0';
    CHECK(e.key = text, "key is longer than 255 bytes");
    CHECK(e.name = text, "name is longer than 255 bytes");
    CHECK(e.provider = text, "provider is longer than 255 bytes");
    CHECK(e.license = text, "license is longer than 255 bytes");
    CHECK(e.license = "", NULL);
    CHECK(e.warm_up = text, NULL);
    text[64] = '\0';
    CHECK(e.backend = text, "backend is longer than 63 bytes");
    CHECK(e.backend = text + 1, NULL);
    CHECK(e.backend = NULL, "backend is required");
    CHECK(e.backend = "", "backend is empty");
    CHECK(e.backend = "a/b", "backend has a character that is not a letter, digit, '-' or '_'");
    CHECK(e.backend = "é", "backend has a character that is not a letter, digit, '-' or '_'");
    CHECK(e.backend = "aZ09-_", NULL);
    CHECK(e.key = "a\x7f", "key has a control character at byte 1");
    CHECK(e.key = "a\nb", "key has a control character at byte 1");
    CHECK(e.key = "ab\xc3", "key is not UTF-8 at byte 2");
    CHECK(e.name = "\xed\xa0\x80", "name is not UTF-8 at byte 0");
    CHECK(e.provider = "\x80", "provider is not UTF-8 at byte 0");
    CHECK(e.warm_up = "\xff", "warm_up is not UTF-8 at byte 0");
    CHECK(e.warm_up = "", "warm_up is empty");
    CHECK((e.warm_up = "x", e.capability = CADRE_VISION), "warm_up is for text-to-text, not for vision");
}

static void numbers_of_an_entry_are_checked(void **state)
{
    (void)state;
    CHECK(e.capability = CADRE_DEFAULT, "capability is required");
    CHECK(e.capability = CADRE_CAPABILITY_COUNT, "capability is 5, not within 0…4");
    CHECK(e.capability = -2, "capability is -2, not within 0…4");
    CHECK(e.loader = 3, "loader is 3, not within 0…2");
    CHECK(e.priority = 5, "priority is 5, not within 0…4");
    CHECK(e.pinned = 2, "pinned is 2, not within 0…1");
    CHECK(e.initial_workers = 0, "initial_workers is 0, not within 1…1024");
    CHECK(e.initial_workers = 5, "initial_workers is 5, above the maximum, 4 by default");
    CHECK((e.initial_workers = 5, e.max_workers = 5), NULL);
    CHECK((e.initial_workers = 2, e.max_workers = 1), "initial_workers is 2, above the maximum, 1");
    CHECK(e.min_workers = -2, "min_workers is -2, not within 0…1024");
    CHECK((e.min_workers = 2, e.max_workers = 1), "min_workers is 2, above the maximum, 1");
    CHECK(e.min_workers = 5, "min_workers is 5, above the maximum, 4 by default");
    CHECK(e.max_workers = 1, NULL);
    CHECK(e.max_workers = 0, "max_workers is 0, not within 1…1024");
    CHECK(e.max_workers = 1024, NULL);
    CHECK(e.max_workers = 1025, "max_workers is 1025, not within 1…1024");
    CHECK(e.idle_timeout_ms = 0, "idle_timeout_ms is 0, not at least 1");
    CHECK(e.idle_timeout_ms = CADRE_NEVER, NULL);
    CHECK(e.idle_timeout_ms = INT64_MIN, "idle_timeout_ms is -9223372036854775808, not at least 1");
    CHECK(e.min_residency_ms = 0, NULL);
    CHECK(e.min_residency_ms = -2, "min_residency_ms is -2, not at least 0");
    CHECK(e.min_residency_ms = CADRE_NEVER, "min_residency_ms is 9223372036854775807, above 9007199254740992");
    CHECK(e.load_retries = -2, "load_retries is -2, not at least 0");
    CHECK(e.load_retries = 0, NULL);
    CHECK(e.retry_delay_ms = 0, "retry_delay_ms is 0, not at least 1");
    CHECK(e.queue_capacity = 0, "queue_capacity is 0, not at least 1");
    CHECK(e.queue_capacity = INT32_MAX, NULL);
    CHECK(e.batch_window_us = 0, NULL);
    CHECK(e.batch_window_us = 60000001, "batch_window_us is 60000001, not within 0…60000000");
    CHECK(e.stream_window = 0, "stream_window is 0, not at least 1");
    CHECK(e.load_timeout_ms = CADRE_NEVER, NULL);
    CHECK(e.load_timeout_ms = 0, "load_timeout_ms is 0, not at least 1");
    CHECK(e.stall_timeout_ms = -5, "stall_timeout_ms is -5, not at least 1");
    CHECK(e.hang_timeout_ms = 0, "hang_timeout_ms is 0, not at least 1");
    CHECK(e.estimate_bytes = 1, NULL);
    CHECK(e.estimate_bytes = 0, "estimate_bytes is 0, not at least 1");
    CHECK(e.dimension = 4, "dimension is for embeddings, not for text-to-text");
    CHECK((e.dimension = 65536, e.capability = CADRE_IMAGE_EMBEDDING), NULL);
    CHECK((e.dimension = 65537, e.capability = CADRE_TEXT_EMBEDDING), "dimension is 65537, not within 1…65536");
    CHECK((e.dimension = 0, e.capability = CADRE_TEXT_EMBEDDING), "dimension is 0, not within 1…65536");
    CHECK(e.breaker_failures = 0, NULL);
    CHECK(e.breaker_failures = INT32_MIN, "breaker_failures is -2147483648, not at least 0");
    CHECK(e.breaker_open_ms = 0, "breaker_open_ms is 0, not at least 1");
    CHECK(e.breaker_probes = 0, "breaker_probes is 0, not at least 1");
    CHECK(e.breaker_successes = 0, "breaker_successes is 0, not at least 1");
}

static void memory_of_an_entry_is_checked(void **state)
{
    (void)state;
    const cadre_memory_need two[] = {{0, UINT64_MAX - 1, 0}, {1, 0, 1}}, wraps[] = {{0, UINT64_MAX, 0}, {1, 0, 1}}, same[] = {{1, 0, 0}, {1, 0, 0}};
    const cadre_memory_need alone = {0, UINT64_MAX, 1}, unknown = {2, 0, 0};
    const cadre_memory_need nine[9] = {{0, 0, 0}};
    CHECK((e.memory = two, e.memory_count = 2), NULL);
    CHECK((e.memory = wraps, e.memory_count = 2), "memory adds up to more than 64 bits hold");
    CHECK((e.memory = &alone, e.memory_count = 1), "memory adds up to more than 64 bits hold");
    CHECK((e.memory = same, e.memory_count = 2), "memory names device 1 twice");
    CHECK((e.memory = &unknown, e.memory_count = 1), "memory names device 2, of which the pool has 2");
    CHECK((e.memory = nine, e.memory_count = 9), "memory has 9 devices, more than 8");
    CHECK(e.memory_count = 1, "memory is NULL and memory_count is 1");
    CHECK((e.memory = &unknown, e.memory_count = 0), NULL);
}

static void files_of_an_entry_are_checked(void **state)
{
    (void)state;
    static char most[1025 + 1], name[] = "hf:a/b/\xc3";
    const char *good[] = {"hf:a/b/c", "hf:a/b@r/c/d", "hf:a/b/c d"};
    memset(most, 'x', 1025);
    memcpy(most, "hf:a/b/", 7);
    const char *many[257], *bad[] = {"hf:a/b/c", NULL};
    for (size_t i = 0; i < COUNT(many); i++) many[i] = "hf:a/b/c";
    CHECK((e.files = good, e.file_count = 3), NULL);
    CHECK((e.files = many, e.file_count = 256), NULL);
    CHECK((e.files = many, e.file_count = 257), "files has 257 files, more than 256");
    CHECK(e.file_count = 1, "files is NULL and file_count is 1");
    CHECK((e.files = bad, e.file_count = 2), "files[1] is NULL");
    static const char *const wrong[] = {"", "a/b/c", "HF:a/b/c", "hf:", "hf:a", "hf:a/b", "hf:a/b/", "hf:a//c", "hf:/b/c", "hf:a/b//c"};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        bad[1] = wrong[i];
        CHECK((e.files = bad, e.file_count = 2), "files[1] is not a reference, which begins with hf:OWNER/NAME/FILE");
    }
    bad[1] = most;
    CHECK((e.files = bad, e.file_count = 2), "files[1] is longer than 1024 bytes");
    bad[1] = name;
    CHECK((e.files = bad, e.file_count = 2), "files[1] is not UTF-8");
    bad[1] = "hf:a/b/c\n";
    CHECK((e.files = bad, e.file_count = 2), "files[1] has a control character");
}

static void defaults_of_an_entry_are_checked(void **state)
{
    (void)state;
    cadre_request_defaults d = CADRE_REQUEST_DEFAULTS_INIT;
    const cadre_request_defaults none = d;
    CHECK(e.defaults = &d, NULL);
    CHECK((e.defaults = &d, e.capability = CADRE_TEXT_EMBEDDING), NULL);
#define DEFAULT(capability_, change, message) CHECK((d = none, change, e.capability = capability_, e.defaults = &d), message)
    DEFAULT(CADRE_TEXT_TO_TEXT, d.temperature = 0, NULL);
    DEFAULT(CADRE_VISION, d.temperature = 1e6f, NULL);
    DEFAULT(CADRE_VISION, d.temperature = -1, "defaults.temperature is -1, not within 0…1e+06");
    DEFAULT(CADRE_VISION, d.temperature = 2e6f, "defaults.temperature is 2e+06, not within 0…1e+06");
    DEFAULT(CADRE_VISION, d.top_p = 1.5f, "defaults.top_p is 1.5, not within 0…1");
    DEFAULT(CADRE_VISION, d.min_p = -0.5f, "defaults.min_p is -0.5, not within 0…1");
    DEFAULT(CADRE_VISION, d.repeat_penalty = 1e-6f, NULL);
    DEFAULT(CADRE_VISION, d.repeat_penalty = 0, "defaults.repeat_penalty is 0, not within 1e-06…1e+06");
    DEFAULT(CADRE_VISION, d.top_k = 0, NULL);
    DEFAULT(CADRE_VISION, d.top_k = -2, "defaults.top_k is -2, not at least 0");
    DEFAULT(CADRE_VISION, d.max_tokens = 0, "defaults.max_tokens is 0, not at least 1");
    DEFAULT(CADRE_TEXT_TO_IMAGE, d.width = 16384, NULL);
    DEFAULT(CADRE_TEXT_TO_IMAGE, d.width = 16385, "defaults.width is 16385, not within 1…16384");
    DEFAULT(CADRE_TEXT_TO_IMAGE, d.height = 0, "defaults.height is 0, not within 1…16384");
    DEFAULT(CADRE_TEXT_TO_IMAGE, d.steps = 1001, "defaults.steps is 1001, not within 1…1000");
    DEFAULT(CADRE_TEXT_TO_IMAGE, d.guidance = 0, NULL);
    DEFAULT(CADRE_TEXT_TO_IMAGE, d.guidance = -1, "defaults.guidance is -1, not at least 0");
    DEFAULT(CADRE_TEXT_TO_IMAGE, d.guidance = (float)1e300, "defaults.guidance is inf, not finite");
    DEFAULT(CADRE_TEXT_TO_IMAGE, d.top_k = 1, "defaults.top_k is for text-to-text and vision, not for text-to-image");
    DEFAULT(CADRE_TEXT_TO_TEXT, d.steps = 1, "defaults.steps is for text-to-image, not for text-to-text");
    DEFAULT(CADRE_TEXT_EMBEDDING, d.min_p = 0, "defaults.min_p is for text-to-text and vision, not for text-embedding");
    DEFAULT(CADRE_VISION, d.size = 0, "defaults has a size that is not that of cadre_request_defaults");
    DEFAULT(CADRE_VISION, d.size = sizeof d + 1, "defaults has a size that is not that of cadre_request_defaults");
    DEFAULT(CADRE_VISION, (d.size = offsetof(cadre_request_defaults, top_p), d.top_p = 7), NULL); /* an older host's */
}

static void an_entry_with_a_loader_needs_no_backend(void **state)
{
    (void)state;
    cadre_entry e = good_entry();
    e.backend = NULL;
    assert_status(cadre__entry_check(&e, true, 1, detail, sizeof detail), 0);
    e.backend = "not / looked at";
    assert_status(cadre__entry_check(&e, true, 1, detail, sizeof detail), 0);
    e.queue_capacity = 0;
    assert_status(cadre__entry_check(&e, true, 1, detail, sizeof detail), CADRE_EINVAL);
}

static void a_copy_of_an_entry_shares_nothing_with_it(void **state)
{
    (void)state;
    char key[] = "key", options[] = "{}", folder[] = "folder";
    cadre_memory_need need = {1, 2, 3};
    cadre_entry e = good_entry();
    e.key = key, e.options = options, e.folder = folder, e.memory = &need, e.memory_count = 1, e.max_workers = 7;
    char license[] = "MIT", file[] = "hf:a/b/c";
    const char *files[] = {file, "hf:d/e/f"};
    cadre_request_defaults d = CADRE_REQUEST_DEFAULTS_INIT;
    d.top_k = 9, d.size = offsetof(cadre_request_defaults, top_p), d.min_p = 1; /* what its size leaves out is not read */
    e.license = license, e.files = files, e.file_count = 2, e.defaults = &d, e.estimate_bytes = 77;
    begin();
    cadre__spec *spec = cadre__spec_copy(&allocator, &e);
    assert_non_null(spec);
    memset(key, 'x', 3), memset(options, 'x', 2), memset(folder, 'x', 6), memset(&need, 0, sizeof need);
    memset(license, 'x', 3), memset(file, 'x', 8), memset(files, 0, sizeof files), memset(&d, 0, sizeof d);
    assert_string_equal(spec->entry.license, "MIT");
    assert_true(spec->entry.file_count == 2 && spec->entry.estimate_bytes == 77);
    assert_string_equal(spec->entry.files[0], "hf:a/b/c");
    assert_string_equal(spec->entry.files[1], "hf:d/e/f");
    assert_true(spec->entry.defaults == &spec->defaults && spec->defaults.size == sizeof d && spec->defaults.top_k == 9);
    assert_true(spec->defaults.min_p != spec->defaults.min_p && spec->defaults.steps == CADRE_DEFAULT);
    assert_string_equal(spec->entry.key, "key");
    assert_string_equal(spec->entry.backend, "b");
    assert_string_equal(spec->entry.options, "{}");
    assert_string_equal(spec->entry.folder, "folder");
    assert_null(spec->entry.name);
    assert_true(spec->entry.memory == spec->memory && spec->memory[0].device == 1 && spec->memory[0].worker_bytes == 3);
    assert_int_equal(spec->entry.max_workers, 7);
    assert_null(spec->place.file);
    assert_null(spec->options.file);
    assert_string_equal(spec->options.path, "options");
    cadre__spec_free(spec);
    cadre__spec_free(NULL);
    end();
}

/* ---- options ---- */

enum { PATH, SLOTS, SCALE, MMAP, TEMPLATE, OFFSET, PROMPTS, MORE };
static const cadre_option_spec specs[] = {
    {"path", CADRE_OPTION_PATH, 1, 0, 0, "the file"},          {"slots", CADRE_OPTION_INTEGER, 0, 1, 64, "at once"},
    {"scale", CADRE_OPTION_NUMBER, 0, -0.5, 1.5, "a factor"},  {"use_mmap", CADRE_OPTION_BOOLEAN, 0, 0, 0, "map it"},
    {"template", CADRE_OPTION_STRING, 0, 0, 0, "chat format"}, {"offset", CADRE_OPTION_INTEGER, 0, -9007199254740992.0, 9007199254740992.0, "any"},
    {"prompts", CADRE_OPTION_TEXTS, 0, 0, 0, "by task"},       {"more", CADRE_OPTION_TEXTS, 0, 0, 0, "others"},
};
static cadre_option_value values[COUNT(specs)];
static char *strings;
static size_t strings_bytes;

static int read_options(const cadre__place *place, const char *json, const char *folder)
{
    memset(values, 0xff, sizeof values);
    strings = detail, strings_bytes = 1;
    int rc = cadre__options_read(&allocator, place, json, specs, COUNT(specs), folder, values, &strings, &strings_bytes, detail, sizeof detail);
    if (rc == CADRE_OK) return rc;
    assert_null(strings);
    assert_size(strings_bytes, 0);
    for (size_t i = 0; i < COUNT(values); i++) assert_true(!values[i].given && !values[i].string && values[i].integer == 0 && values[i].number == 0);
    for (size_t i = 0; i < COUNT(values); i++) assert_true(!values[i].texts && values[i].text_count == 0);
    return rc;
}

static void every_type_of_option_arrives(void **state)
{
    (void)state;
    begin();
    assert_status(
        read_options(NULL,
                     "{\"offset\": -9007199254740992, \"template\": \"\", \"path\": \"a/b.gguf\", \"slots\": 6.4e1, \"scale\": 1.5, \"use_mmap\": true, "
                     "\"prompts\": {\"query\": \"Q: \", \"\": \"\\u00e4\"}, \"more\": {\"x\": \"\"}}",
                     "/models/"),
        0);
    for (size_t i = 0; i < COUNT(values); i++) assert_int_equal(values[i].given, 1);
    assert_string_equal(values[PATH].string, "/models/a/b.gguf");
    assert_string_equal(values[TEMPLATE].string, "");
    assert_true(values[SLOTS].integer == 64 && values[SLOTS].number == 64.0);
    assert_true(values[SCALE].number == 1.5 && values[MMAP].integer == 1);
    assert_true(values[OFFSET].integer == -(INT64_C(1) << 53));
    assert_true(values[PROMPTS].text_count == 2 && values[MORE].text_count == 1 && (uintptr_t)values[PROMPTS].texts % sizeof(void *) == 0);
    assert_string_equal(values[PROMPTS].texts[0].name, "query");
    assert_string_equal(values[PROMPTS].texts[0].text, "Q: ");
    assert_string_equal(values[PROMPTS].texts[1].name, "");
    assert_string_equal(values[PROMPTS].texts[1].text, "ä");
    assert_string_equal(values[MORE].texts[0].name, "x");
    assert_string_equal(values[MORE].texts[0].text, "");
    assert_string_equal(values[TEMPLATE].string, "");
    cadre__free(&allocator, strings, strings_bytes);
    assert_status(read_options(NULL, "{\"path\": \"x\", \"use_mmap\": false}", NULL), 0);
    assert_true(!values[PROMPTS].given && !values[PROMPTS].texts && values[PROMPTS].text_count == 0);
    assert_true(values[MMAP].given && values[MMAP].integer == 0 && !values[SLOTS].given && !values[TEMPLATE].string);
    cadre__free(&allocator, strings, strings_bytes);
    assert_status(cadre__options_read(&allocator, NULL, NULL, NULL, 0, NULL, NULL, &strings, &strings_bytes, detail, sizeof detail), 0);
    assert_null(strings);
    end();
}

static void relative_paths_begin_at_the_folder(void **state)
{
    (void)state;
    static const struct {
        const char *folder, *path, *joined;
    } rows[] = {{NULL, "a", "a"},
                {"", "a", "a"},
                {"/m", "a", "/m/a"},
                {"/m/", "a", "/m/a"},
                {"/", "a", "/a"},
                {"/m", "../a", "/m/../a"},
                {"/m", "/a", "/a"},
                {"m", "./a", "m/./a"},
                {"/m", "hf:a/b/c", "hf:a/b/c"},
                {"/m", "hf", "/m/hf"},
                {"/m", "./hf:a", "/m/./hf:a"}};
    begin();
    for (size_t i = 0; i < COUNT(rows); i++) {
        char json[64];
        row("%s", rows[i].joined);
        snprintf(json, sizeof json, "{\"path\": \"%s\", \"template\": \"%s\"}", rows[i].path, rows[i].path);
        assert_status(read_options(NULL, json, rows[i].folder), 0);
        assert_string_equal(values[PATH].string, rows[i].joined);
        assert_string_equal(values[TEMPLATE].string, rows[i].path);
        cadre__free(&allocator, strings, strings_bytes);
    }
    row("%s", "");
    end();
}

static void every_message_of_options_says_where(void **state)
{
    (void)state;
    char file[] = "models.json", path[] = "models[2].options";
    const cadre__place place = {file, 12, 9, path};
    static const struct {
        const char *json, *message, *from_c;
    } rows[] = {
        {"{\"pth\": \"a\"}", "12:10: models[2].options.pth: unknown field; did you mean \"path\"?", "options.pth: unknown field; did you mean \"path\"?"},
        {"{\n  \"zzzz\": 1}", "13:3: models[2].options.zzzz: unknown field", "options.zzzz: unknown field"},
        {"{}", "12:9: models[2].options.path: is required", "options.path: is required"},
        {"[]", "12:9: models[2].options: is an array, not an object", "options: is an array, not an object"},
        {"{\"path\": 5}", "12:18: models[2].options.path: is a number, not a string", "options.path: is a number, not a string"},
        {"{\"path\": \"\"}", "12:18: models[2].options.path: is empty", "options.path: is empty"},
        {"{\"path\": \"a\",\n\"path\": \"a\"}", "13:1: models[2].options.path: is here twice; remove one of them",
         "options.path: is here twice; remove one of them"},
        {"{\"slots\": 65}", "12:19: models[2].options.slots: is 65, not within 1…64", "options.slots: is 65, not within 1…64"},
        {"{\"slots\": 1.5}", "12:19: models[2].options.slots: is 1.5, not an integer", "options.slots: is 1.5, not an integer"},
        {"{\"offset\": 9007199254740993}", "12:20: models[2].options.offset: is 9007199254740993, above 9007199254740992",
         "options.offset: is 9007199254740993, above 9007199254740992"},
        {"{\"scale\": 1e999}", "12:19: models[2].options.scale: is 1e999, not within -0.5…1.5", "options.scale: is 1e999, not within -0.5…1.5"},
        {"{\"scale\": \"1\"}", "12:19: models[2].options.scale: is a string, not a number", "options.scale: is a string, not a number"},
        {"{\"use_mmap\": 1}", "12:22: models[2].options.use_mmap: is a number, not a boolean", "options.use_mmap: is a number, not a boolean"},
        {"{\"template\": {}}", "12:22: models[2].options.template: is an object, not a string", "options.template: is an object, not a string"},
        {"{\"prompts\": []}", "12:21: models[2].options.prompts: is an array, not an object", "options.prompts: is an array, not an object"},
        {"{\"prompts\": {\"a\": 1}}", "12:27: models[2].options.prompts.a: is a number, not a string", "options.prompts.a: is a number, not a string"},
        {"{\"prompts\": {\"a\": \"\",\n\"\\u0061\": \"\"}}", "13:1: models[2].options.prompts.a: is here twice; remove one of them",
         "options.prompts.a: is here twice; remove one of them"},
        {"{\"path\" 1}", "12:17: models[2].options: is not JSON: expected ':'", "options: is not JSON: expected ':', at byte 8"},
        {"", "12:9: models[2].options: is empty", "options: is empty"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char expected[256];
        row("%s", rows[i].message);
        snprintf(expected, sizeof expected, "models.json:%s", rows[i].message);
        begin();
        assert_status(read_options(&place, rows[i].json, NULL), CADRE_EMANIFEST);
        assert_string_equal(detail, expected);
        assert_status(read_options(NULL, rows[i].json, NULL), CADRE_EINVAL);
        assert_string_equal(detail, rows[i].from_c);
        end();
    }
    row("%s", "");
}

static void texts_are_64_of_64_kib(void **state)
{
    (void)state;
    static char json[70000 + 65 * 16];
    begin();
    for (int count = 64; count < 66; count++) {
        size_t used = (size_t)sprintf(json, "{\"path\": \"p\", \"prompts\": {");
        for (int i = 0; i < count; i++) used += (size_t)sprintf(json + used, "%s\"%d\": \"t%d\"", i ? ", " : "", i, i);
        sprintf(json + used, "}}");
        assert_status(read_options(NULL, json, NULL), count == 64 ? 0 : CADRE_EINVAL);
        if (count == 64) assert_string_equal(values[PROMPTS].texts[63].text, "t63");
        if (count == 65) assert_string_equal(detail, "options.prompts.64: is one text more than 64");
        if (count == 64) cadre__free(&allocator, strings, strings_bytes);
    }
    for (size_t length = 65536; length < 65538; length++) {
        size_t used = (size_t)sprintf(json, "{\"path\": \"p\", \"prompts\": {\"a\": \"");
        memset(json + used, 'x', length);
        sprintf(json + used + length, "\"}}");
        assert_status(read_options(NULL, json, NULL), length == 65536 ? 0 : CADRE_EINVAL);
        if (length == 65536) assert_size(strlen(values[PROMPTS].texts[0].text), length);
        if (length > 65536) assert_string_equal(detail, "options.prompts.a: is longer than 65536 bytes");
        if (length == 65536) cadre__free(&allocator, strings, strings_bytes);
    }
    end();
}

/* ---- suggestions ---- */

static void the_nearest_name_is_at_most_a_third_away(void **state)
{
    (void)state;
    static const char *const names[] = {"path", "slots", "context_length", "batch_tokens", "ab"};
    static const struct {
        const char *name, *nearest;
    } rows[] = {{"path", "path"},
                {"pth", "path"},
                {"paht", "path"},
                {"pat", "path"},
                {"pa", NULL},
                {"apth", "path"},
                {"paths", "path"},
                {"slot", "slots"},
                {"solts", "slots"},
                {"sl", NULL},
                {"ba", NULL},
                {"abc", "ab"},
                {"abcd", NULL},
                {"", NULL},
                {"context_lenght", "context_length"},
                {"ctx_len", NULL},
                {"contextlen", "context_length"},
                {"batch-token", "batch_tokens"},
                {"a_name_that_is_longer_than_those_that_anybody_would_compare_with_a_list", NULL}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        const char *nearest = cadre__nearest(rows[i].name, names, COUNT(names));
        row("%s", rows[i].name);
        if (rows[i].nearest)
            assert_true(nearest && strcmp(nearest, rows[i].nearest) == 0);
        else
            assert_null(nearest);
    }
    row("%s", "");
    assert_null(cadre__nearest("path", NULL, 0));
}

static void without_memory_options_and_copies_fail_cleanly(void **state)
{
    (void)state;
    cadre_entry e = good_entry();
    static const char *const files[] = {"hf:a/b/c"};
    e.name = "n", e.folder = "f", e.license = "l", e.files = files, e.file_count = 1;
    begin();
    atomic_store(&memory.fail_at, 1);
    assert_status(read_options(NULL, "{\"path\": \"x\"}", "/m"), CADRE_ENOMEM);
    assert_string_equal(detail, "options: the host's allocator returned no memory");
    end();
    for (long n = 1; n < 9; n++) {
        begin();
        atomic_store(&memory.fail_at, n);
        assert_null(cadre__spec_copy(&allocator, &e));
        assert_int_equal(atomic_load(&memory.failures), 1);
        end();
    }
}

#define SUITE entry
#include "suite.h"
