/* Errors, names, sentinels, sizes, and what the shared library exports. */
#include "support.h"

#include <unistd.h>

#define LISTED(name, value, message) {CADRE_##name, value, "CADRE_" #name, message},
static const struct {
    int error, value;
    const char *name, *message;
} listed[] = {CADRE_ERROR_MAP(LISTED)};

static void every_error_has_its_value_name_and_message(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(listed); i++) {
        assert_int_equal(listed[i].error, listed[i].value);
        assert_string_equal(cadre_err_name(listed[i].error), listed[i].name);
        assert_string_equal(cadre_strerror(listed[i].error), listed[i].message);
        for (size_t j = 0; j < i; j++) assert_int_not_equal(listed[i].error, listed[j].error);
        /* They lie apart from errno and from libuv's. */
        assert_true(listed[i].error < -9000);
    }
    assert_string_equal(cadre_strerror(0), "success");
    assert_string_equal(cadre_err_name(0), "CADRE_OK");
}

static void libuvs_errors_keep_their_names(void **state)
{
    (void)state;
#define UV_LISTED(name, message)                                                                                                                               \
    assert_string_equal(cadre_err_name(UV_##name), "UV_" #name);                                                                                               \
    assert_string_equal(cadre_strerror(UV_##name), message);
    UV_ERRNO_MAP(UV_LISTED)
}

static void strerror_is_safe_for_any_int(void **state)
{
    (void)state;
    static const int values[] = {1, -1000000, INT_MAX, INT_MIN, INT_MIN + 1, -9000, -9999, CADRE_ERROR_END_, 42};
    for (size_t i = 0; i < COUNT(values); i++) {
        assert_string_equal(cadre_strerror(values[i]), "unknown error");
        assert_string_equal(cadre_err_name(values[i]), "unknown");
    }
    for (int i = -20000; i < 300; i++) {
        assert_true(cadre_strerror(i)[0] != '\0');
        assert_true(cadre_err_name(i)[0] != '\0');
    }
}

static void capabilities_and_states_have_names(void **state)
{
    (void)state;
    static const char *const capabilities[] = {"text-to-text", "text-embedding", "image-embedding", "vision", "text-to-image"};
    for (int i = 0; i < CADRE_CAPABILITY_COUNT; i++) assert_string_equal(cadre_capability_name((cadre_capability)i), capabilities[i]);
    static const char *const states[] = {"spawning", "loading", "attaching", "ready", "processing", "idle", "evicting", "failed", "dead", "abandoned"};
    for (int i = CADRE_WORKER_SPAWNING; i <= CADRE_WORKER_ABANDONED; i++) assert_string_equal(cadre_worker_state_name((cadre_worker_state)i), states[i]);
    static const int outside[] = {-1, 5, 10, 99, INT_MAX, INT_MIN};
    for (size_t i = 0; i < COUNT(outside); i++) {
        if (outside[i] < 0 || outside[i] >= CADRE_CAPABILITY_COUNT) assert_string_equal(cadre_capability_name((cadre_capability)outside[i]), "unknown");
        if (outside[i] < 0 || outside[i] > CADRE_WORKER_ABANDONED) assert_string_equal(cadre_worker_state_name((cadre_worker_state)outside[i]), "unknown");
    }
}

static void the_version_is_the_headers(void **state)
{
    (void)state;
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", CADRE_VERSION_MAJOR, CADRE_VERSION_MINOR, CADRE_VERSION_PATCH);
    assert_string_equal(version, CADRE_VERSION_STRING);
    assert_string_equal(cadre_version(), CADRE_VERSION_STRING);
}

static void every_init_macro_fills_in_size_and_sentinels(void **state)
{
    (void)state;
#define SIZED(type, init)                                                                                                                                      \
    do {                                                                                                                                                       \
        type value = init;                                                                                                                                     \
        assert_size(value.size, sizeof(type));                                                                                                                 \
    } while (0)
    SIZED(cadre_pool_options, CADRE_POOL_OPTIONS_INIT);
    SIZED(cadre_close_options, CADRE_CLOSE_OPTIONS_INIT);
    SIZED(cadre_device, CADRE_DEVICE_INIT);
    SIZED(cadre_memory_usage, CADRE_MEMORY_USAGE_INIT);
    SIZED(cadre_weights_value, CADRE_WEIGHTS_VALUE_INIT);
    SIZED(cadre_spawn_options, CADRE_SPAWN_OPTIONS_INIT);
    SIZED(cadre_worker_info, CADRE_WORKER_INFO_INIT);
    SIZED(cadre_model_info, CADRE_MODEL_INFO_INIT);
    SIZED(cadre_request_options, CADRE_REQUEST_OPTIONS_INIT);
    SIZED(cadre_sampling, CADRE_SAMPLING_INIT);
    SIZED(cadre_image, CADRE_IMAGE_INIT);
    SIZED(cadre_image_input, CADRE_IMAGE_INPUT_INIT);
    SIZED(cadre_generation_model, CADRE_GENERATION_MODEL_INIT);
    SIZED(cadre_text_embedding_model, CADRE_TEXT_EMBEDDING_MODEL_INIT);
    SIZED(cadre_image_embedding_model, CADRE_IMAGE_EMBEDDING_MODEL_INIT);
    SIZED(cadre_text_to_image_model, CADRE_TEXT_TO_IMAGE_MODEL_INIT);
    SIZED(cadre_generate_params, CADRE_GENERATE_PARAMS_INIT);
    SIZED(cadre_embed_params, CADRE_EMBED_PARAMS_INIT);
    SIZED(cadre_embed_images_params, CADRE_EMBED_IMAGES_PARAMS_INIT);
    SIZED(cadre_describe_params, CADRE_DESCRIBE_PARAMS_INIT);
    SIZED(cadre_generate_image_params, CADRE_GENERATE_IMAGE_PARAMS_INIT);
    const cadre_sampling s = CADRE_SAMPLING_INIT;
    assert_true(isnan(s.temperature) && isnan(s.top_p) && isnan(s.min_p) && isnan(s.repeat_penalty) && isnan(s.frequency_penalty) && isnan(s.presence_penalty));
    assert_true(s.top_k == CADRE_DEFAULT && s.seed == CADRE_DEFAULT && s.max_tokens == CADRE_DEFAULT);
    const cadre_generate_image_params p = CADRE_GENERATE_IMAGE_PARAMS_INIT;
    assert_true(isnan(p.guidance) && p.width == CADRE_DEFAULT && p.height == CADRE_DEFAULT && p.steps == CADRE_DEFAULT && p.seed == CADRE_DEFAULT);
    const cadre_pool_options o = CADRE_POOL_OPTIONS_INIT;
    assert_true(o.log_level == CADRE_DEFAULT && o.cores == CADRE_DEFAULT && o.memory_bytes == CADRE_DEFAULT && o.loads_at_once == CADRE_DEFAULT);
    assert_true(o.abandon_after_ms == CADRE_DEFAULT && o.aging_ms == CADRE_DEFAULT);
}

/* The names nm lists as exported, one a line. */
static size_t foreign_names(FILE *list, char *first, size_t size)
{
    char line[512], name[512];
    size_t foreign = 0;
    while (fgets(line, sizeof line, list)) {
        char kind;
        if (sscanf(line, "%*x %c %511s", &kind, name) != 2 || kind == 'A') continue; /* A: the version's own name */
        if (strncmp(name, "cadre_", 6) == 0 && strncmp(name, "cadre__", 7) != 0) continue;
        if (foreign++ == 0) snprintf(first, size, "%s", name);
    }
    return foreign;
}

static void the_library_exports_only_its_public_names(void **state)
{
    (void)state;
    const char *library = getenv("CADRE_TEST_LIBRARY");
    char command[1024], first[512] = "";
    if (!library || !strstr(library, ".so")) {
        print_message("the library is static: nothing is exported\n");
        skip();
    }
    snprintf(command, sizeof command, "nm -D --defined-only '%s'", library);
    FILE *list = popen(command, "r");
    assert_non_null(list);
    size_t foreign = foreign_names(list, first, sizeof first);
    assert_int_equal(pclose(list), 0);
    if (foreign) fail_msg("%zu exported names are not the library's, the first is %s", foreign, first);
}

static void the_check_of_exports_sees_a_planted_name(void **state)
{
    (void)state;
    static const char text[] = "0000000000001130 T cadre_version\n0000000000001130 T cadre__turn\n0000000000001131 D stray\n";
    char first[64] = "";
    FILE *list = fmemopen((void *)(uintptr_t)text, sizeof text - 1, "r");
    assert_non_null(list);
    assert_size(foreign_names(list, first, sizeof first), 2);
    assert_string_equal(first, "cadre__turn");
    fclose(list);
}

#define SUITE errors
#include "suite.h"
