/* A manifest from anywhere: it is read, and then the options of each of its models by a table such as a backend's; or it is refused with a message. Either way
 * nothing is left, and every message is UTF-8 in one line. */
#include "registry/manifest.h"

#include <stdlib.h>

static size_t held;

static void *take(size_t bytes, void *data)
{
    (void)data;
    held += bytes;
    return malloc(bytes);
}

static void give_back(void *pointer, size_t bytes, void *data)
{
    (void)data;
    held -= bytes;
    free(pointer);
}

static const cadre_allocator allocator = {sizeof allocator, take, give_back, NULL};
static const char *const devices[] = {"host", "gpu0", "gpu1"};
static const cadre_option_spec specs[] = {
    {"path", CADRE_OPTION_PATH, 1, 0, 0, "the file"},
    {"context_length", CADRE_OPTION_INTEGER, 0, 1, 1048576, "tokens of a request"},
    {"slots", CADRE_OPTION_INTEGER, 0, 1, 64, "requests at once"},
    {"gpu_layers", CADRE_OPTION_INTEGER, 0, 0, 9007199254740992.0, "layers on a GPU"},
    {"rope_scale", CADRE_OPTION_NUMBER, 0, 0.001, 1000, "a factor"},
    {"use_mmap", CADRE_OPTION_BOOLEAN, 0, 0, 0, "map the file"},
    {"chat_template", CADRE_OPTION_STRING, 0, 0, 0, "instead of the model's own"},
    {"prompts", CADRE_OPTION_TEXTS, 0, 0, 0, "texts by task"},
};
#define SPECS (sizeof specs / sizeof *specs)

static void check(int holds)
{
    if (!holds) abort();
}

static void check_message(int rc, const char *detail)
{
    size_t length = strnlen(detail, CADRE__DETAIL_SIZE);
    check(rc == CADRE_OK ? length == 0 : length > 0 && length < CADRE__DETAIL_SIZE);
    check(cadre__utf8_invalid(detail, length) == SIZE_MAX);
    check(strpbrk(detail, "\n\r\t") == NULL);
}

static void read_options(const cadre__place *place, const char *json, const char *folder)
{
    char detail[CADRE__DETAIL_SIZE], *strings;
    size_t bytes;
    cadre_option_value values[SPECS];
    int rc = cadre__options_read(&allocator, place, json, specs, SPECS, folder, values, &strings, &bytes, detail, sizeof detail);
    check(rc == CADRE_OK || rc == (place ? CADRE_EMANIFEST : CADRE_EINVAL));
    check_message(rc, detail);
    check(rc != CADRE_OK || (values[0].given && values[0].string));
    for (size_t i = 0; rc == CADRE_OK && i < values[SPECS - 1].text_count; i++) {
        const cadre_named_text *text = &values[SPECS - 1].texts[i];
        check(text->name >= strings && text->name + strlen(text->name) < text->text && text->text + strlen(text->text) < strings + bytes);
    }
    cadre__free(&allocator, strings, bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    char detail[CADRE__DETAIL_SIZE];
    cadre__spec *first;
    int rc = cadre__manifest_parse(&allocator, "fuzz.json", (const char *)bytes, length, "/folder", devices, 3, &first, detail, sizeof detail);
    check(rc == CADRE_OK || rc == CADRE_EMANIFEST || rc == CADRE_EEXIST);
    check_message(rc, detail);
    for (const cadre__spec *spec = first; spec; spec = spec->next) {
        check(cadre__entry_check(&spec->entry, false, 3, detail, sizeof detail) == CADRE_OK);
        read_options(&spec->options, spec->entry.options, spec->entry.folder);
    }
    cadre__specs_free(first);
    char *text = malloc(length + 1); /* the same bytes as one entry's options from C */
    if (text) {
        if (length) memcpy(text, bytes, length);
        text[length] = '\0';
        read_options(NULL, text, NULL);
        free(text);
    }
    check(held == 0);
    return 0;
}
