#include "registry/manifest.h"

/* The strings of an entry. */
static const size_t strings[] = {offsetof(cadre_entry, key),  offsetof(cadre_entry, backend),  offsetof(cadre_entry, options), offsetof(cadre_entry, folder),
                                 offsetof(cadre_entry, name), offsetof(cadre_entry, provider), offsetof(cadre_entry, warm_up), offsetof(cadre_entry, license)};
#define STRINGS (sizeof strings / sizeof *strings)

static void place_free(const cadre_allocator *allocator, cadre__place *place)
{
    cadre__strfree(allocator, place->file);
    cadre__strfree(allocator, place->path);
}

void cadre__spec_free(cadre__spec *spec)
{
    if (!spec) return;
    const cadre_allocator allocator = spec->allocator;
    for (size_t i = 0; i < STRINGS; i++) {
        char *text;
        memcpy(&text, (char *)&spec->entry + strings[i], sizeof text);
        cadre__strfree(&allocator, text);
    }
    cadre__free(&allocator, (void *)(uintptr_t)spec->entry.files, spec->files_bytes);
    place_free(&allocator, &spec->place);
    place_free(&allocator, &spec->options);
    cadre__free(&allocator, spec, sizeof *spec);
}

void cadre__specs_free(cadre__spec *first)
{
    while (first) {
        cadre__spec *next = first->next;
        cadre__spec_free(first);
        first = next;
    }
}

bool cadre__spec_set_files(cadre__spec *spec, const char *const *files, size_t count)
{
    size_t bytes = count * sizeof *files;
    for (size_t i = 0; i < count; i++) bytes += strlen(files[i]) + 1;
    const char **table = cadre__alloc(&spec->allocator, bytes);
    if (!table) return false;
    char *end = (char *)(table + count);
    for (size_t i = 0; i < count; i++) {
        table[i] = end;
        end = stpcpy(end, files[i]) + 1;
    }
    spec->entry.files = table;
    spec->entry.file_count = count;
    spec->files_bytes = bytes;
    return true;
}

cadre__spec *cadre__spec_copy(const cadre_allocator *allocator, const cadre_entry *entry)
{
    cadre__spec *spec = cadre__alloc(allocator, sizeof *spec);
    if (!spec) return NULL;
    spec->allocator = *allocator;
    spec->entry = *entry;
    spec->entry.memory = NULL;
    for (size_t i = 0; i < STRINGS; i++) memcpy((char *)&spec->entry + strings[i], &(const char *){NULL}, sizeof(const char *));
    if (entry->memory_count > CADRE_MEMORY_NEEDS_MAX) spec->entry.memory_count = CADRE_MEMORY_NEEDS_MAX;
    if (entry->memory && spec->entry.memory_count) {
        memcpy(spec->memory, entry->memory, spec->entry.memory_count * sizeof *spec->memory);
        spec->entry.memory = spec->memory;
    }
    spec->entry.files = NULL;
    spec->entry.file_count = 0;
    spec->entry.defaults = NULL;
    spec->defaults = (cadre_request_defaults)CADRE_REQUEST_DEFAULTS_INIT;
    if (entry->defaults && cadre__overlay(&spec->defaults, sizeof spec->defaults, entry->defaults)) spec->entry.defaults = &spec->defaults;
    bool whole = (spec->options.path = cadre__strdup(allocator, "options")) != NULL;
    for (size_t i = 0; i < STRINGS && whole; i++) {
        const char *text;
        memcpy(&text, (const char *)entry + strings[i], sizeof text);
        if (!text) continue;
        text = cadre__strdup(allocator, text);
        memcpy((char *)&spec->entry + strings[i], &text, sizeof text);
        whole = text != NULL;
    }
    if (whole && entry->file_count) whole = cadre__spec_set_files(spec, entry->files, entry->file_count);
    if (whole) return spec;
    cadre__spec_free(spec);
    return NULL;
}
