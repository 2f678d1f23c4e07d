/* Manifests and options: JSON into plain structs, with messages that say where. Runs on the checks thread; touches no pool.
 *
 * cJSON parses, behind one private lock of this file (it keeps a process-wide error position); its own tree comes from its own hooks, everything else from the
 * host's. Line and column come from scanning the text once more along the field's path. */
#ifndef CADRE__MANIFEST_H
#define CADRE__MANIFEST_H

#include "core/base.h"

#define CADRE__MANIFEST_MAX (UINT64_C(4) << 20)

/* Where a piece of JSON stands, for messages: "models.json:12:9: models[2].options.pth: unknown field; did you mean \"path\"?". */
typedef struct cadre__place {
    char *file;            /* "models.json", "manifest"; NULL: messages have no position (options from C) */
    uint32_t line, column; /* of the first byte; from 1 */
    char *path;            /* "models[2].options", or "options"; NULL: messages have none (an entry from C) */
} cadre__place;

/* Writes "FILE:LINE:COLUMN: PATH: what", as far as the place has them; the message is cut at a whole code point. */
void cadre__place_say(const cadre__place *place, char *detail, size_t size, const char *format, ...) CADRE_PRINTF(4, 5);

/* Whether a path is the name of a file that a hub has. */
static inline bool cadre__is_reference(const char *path)
{
    return strncmp(path, "hf:", 3) == 0;
}

/* One entry: all strings of `entry` (and `memory`, `files`, `defaults`) belong to the spec. What the manifest does not say stands at its sentinel. */
typedef struct cadre__spec {
    struct cadre__spec *next;
    cadre_allocator allocator;
    cadre_entry entry; /* options: the JSON text of the object, or NULL */
    cadre_memory_need memory[CADRE_MEMORY_NEEDS_MAX];
    cadre_request_defaults defaults;
    size_t files_bytes;   /* of the block that `files` is, the references behind the table */
    cadre__place place;   /* of the entry's object */
    cadre__place options; /* of its options */
} cadre__spec;

/* A copy of what a host passed to cadre_registry_add (already overlaid on the defaults). NULL: out of memory. */
cadre__spec *cadre__spec_copy(const cadre_allocator *allocator, const cadre_entry *entry);
/* Gives it a copy of `files`. False: out of memory. */
bool cadre__spec_set_files(cadre__spec *spec, const char *const *files, size_t count);
void cadre__spec_free(cadre__spec *spec);   /* one; NULL is allowed */
void cadre__specs_free(cadre__spec *first); /* a chain */

/* Whether the numbers and texts of an entry make sense (ranges, minimum above maximum, the key's bytes, capability, UTF-8). 0, or CADRE_EINVAL with the field
 * in `detail`. `has_loader`: it comes with a typed loader, so no backend is needed. Any thread. */
int cadre__entry_check(const cadre_entry *entry, bool has_loader, size_t device_count, char *detail, size_t size);

/* Parses a manifest. file: for messages; folder: for relative paths, may be NULL; device_names: entry 0 is "host". On 0 *out is a chain of specs in order (may
 * be NULL: no models), each checked as above and no key twice. CADRE_EMANIFEST, CADRE_EEXIST (a key twice) or CADRE_ENOMEM with a detail that begins with
 * "FILE:LINE:COLUMN: PATH: ". */
int cadre__manifest_parse(const cadre_allocator *allocator, const char *file, const char *text, size_t length, const char *folder,
                          const char *const *device_names, size_t device_count, cadre__spec **out, char *detail, size_t size);

/* Reads an entry's options object by a backend's specs. json NULL is {}. values: one per spec, filled in; the strings (and the tables of texts) lie in
 * *strings, one block that the caller frees by cadre__free(allocator, *strings, *strings_bytes). A path that is a reference stays as it is. CADRE_EMANIFEST
 * (with a place) or CADRE_EINVAL (without), CADRE_ENOMEM. */
int cadre__options_read(const cadre_allocator *allocator, const cadre__place *place, const char *json, const cadre_option_spec *specs, size_t count,
                        const char *folder, cadre_option_value *values, char **strings, size_t *strings_bytes, char *detail, size_t size);

/* The name of `names` (count of them) that is nearest to `name`, or NULL when none is near: Damerau-Levenshtein distance at most a third of the longer. */
const char *cadre__nearest(const char *name, const char *const *names, size_t count);

#endif
