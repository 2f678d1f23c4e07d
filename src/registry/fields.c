#include "registry/fields.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

static const char *const capabilities[] = {"text-to-text", "text-embedding", "image-embedding", "vision", "text-to-image"};
static const char *const loaders[] = {"sync", "async", "preloaded"};
static const char *const priorities[] = {"critical", "high", "normal", "low", "batch"};
_Static_assert(sizeof capabilities / sizeof *capabilities == CADRE_CAPABILITY_COUNT, "one name for each capability");
_Static_assert(sizeof loaders / sizeof *loaders == CADRE_LOADER_PRELOADED + 1, "one name for each kind of loader");
_Static_assert(sizeof priorities / sizeof *priorities == CADRE_PRIORITY_COUNT, "one name for each priority");

#define CHOICES(id)                                                                                                                                            \
    (CADRE__FIELD_##id == CADRE__FIELD_CAPABILITY ? capabilities                                                                                               \
     : CADRE__FIELD_##id == CADRE__FIELD_LOADER   ? loaders                                                                                                    \
     : CADRE__FIELD_##id == CADRE__FIELD_PRIORITY ? priorities                                                                                                 \
                                                  : NULL)
#define FIELD(id, type, group, member, name, least, most) {CADRE__TYPE_##type, group, member, #name, offsetof(cadre_entry, name), least, most, CHOICES(id)},
const cadre__field cadre__fields[CADRE__FIELD_COUNT] = {CADRE__FIELD_MAP(FIELD)};

#define TEXTS (1u << CADRE_TEXT_TO_TEXT | 1u << CADRE_VISION)
#define PICTURES (1u << CADRE_TEXT_TO_IMAGE)
#define STANDS(name, whole, capabilities, least, most)                                                                                                         \
    {                                                                                                                                                          \
#name, offsetof(cadre_request_defaults, name), whole, capabilities, least, most                                                                        \
    }
const cadre__default_field cadre__default_fields[CADRE__DEFAULT_FIELDS] = {STANDS(temperature, false, TEXTS, 0, 1e6),
                                                                           STANDS(top_k, true, TEXTS, 0, INT32_MAX),
                                                                           STANDS(top_p, false, TEXTS, 0, 1),
                                                                           STANDS(min_p, false, TEXTS, 0, 1),
                                                                           STANDS(repeat_penalty, false, TEXTS, 1e-6, 1e6),
                                                                           STANDS(max_tokens, true, TEXTS, 1, INT32_MAX),
                                                                           STANDS(width, true, PICTURES, 1, 16384),
                                                                           STANDS(height, true, PICTURES, 1, 16384),
                                                                           STANDS(steps, true, PICTURES, 1, 1000),
                                                                           STANDS(guidance, false, PICTURES, 0, FLT_MAX)};

static bool complain(cadre__complaint *out, size_t field, const char *format, ...) CADRE_PRINTF(3, 4);
static bool complain(cadre__complaint *out, size_t field, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(out->what, sizeof out->what, format, list);
    va_end(list);
    out->field = field;
    out->part = SIZE_MAX;
    out->member[0] = '\0';
    return true;
}

/* As above, about a part of the field. */
static bool complain_of(cadre__complaint *out, size_t field, size_t part, const char *member, const char *what)
{
    complain(out, field, "%s", what);
    out->part = part;
    snprintf(out->member, sizeof out->member, "%s", member);
    return true;
}

static bool bad_text(const cadre_entry *entry, size_t field, cadre__complaint *out)
{
    const cadre__field *f = &cadre__fields[field];
    const char *text;
    memcpy(&text, (const char *)entry + f->offset, sizeof text);
    if (!text) return false;
    size_t length = strnlen(text, (size_t)f->most + 1);
    if (length < (size_t)f->least) return complain(out, field, "is empty");
    if (length > (size_t)f->most) return complain(out, field, "is longer than %" PRId64 " bytes", f->most);
    size_t bad = cadre__utf8_invalid(text, length);
    if (bad != SIZE_MAX) return complain(out, field, "is not UTF-8 at byte %zu", bad);
    for (size_t i = 0; i < length && field == CADRE__FIELD_KEY; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) return complain(out, field, "has a control character at byte %zu", i);
    /* A module's file is named by it. */
    if (field == CADRE__FIELD_BACKEND && text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")])
        return complain(out, field, "has a character that is not a letter, digit, '-' or '_'");
    return false;
}

static int64_t number_of(const cadre_entry *entry, const cadre__field *f)
{
    int64_t wide;
    int32_t narrow;
    const char *at = (const char *)entry + f->offset;
    if (f->type == CADRE__TYPE_WIDE || f->type == CADRE__TYPE_TIME) return memcpy(&wide, at, sizeof wide), wide;
    return memcpy(&narrow, at, sizeof narrow), narrow;
}

static bool bad_number(const cadre_entry *entry, size_t field, cadre__complaint *out)
{
    char range[96];
    const cadre__field *f = &cadre__fields[field];
    int64_t value = number_of(entry, f);
    if (value == CADRE_DEFAULT && field != CADRE__FIELD_CAPABILITY) return false;
    if (value == CADRE_DEFAULT) return complain(out, field, "is required");
    if (value >= f->least && (value <= f->most || f->type == CADRE__TYPE_TIME)) return false;
    cadre__range(range, sizeof range, f->least, f->most, value > f->most);
    return complain(out, field, "is %" PRId64 ", %s", value, range);
}

static bool bad_workers(const cadre_entry *entry, cadre__complaint *out)
{
    bool given = entry->max_workers != CADRE_DEFAULT;
    int32_t most = given ? entry->max_workers : CADRE__WORKERS_DEFAULT;
    const char *which = given ? "" : " by default";
    if (entry->min_workers > most) return complain(out, CADRE__FIELD_MIN, "is %" PRId32 ", above the maximum, %" PRId32 "%s", entry->min_workers, most, which);
    if (entry->initial_workers > most)
        return complain(out, CADRE__FIELD_INITIAL, "is %" PRId32 ", above the maximum, %" PRId32 "%s", entry->initial_workers, most, which);
    return false;
}

static bool bad_memory(const cadre_entry *entry, size_t device_count, cadre__complaint *out)
{
    uint64_t sum = 0;
    if (entry->memory_count > CADRE_MEMORY_NEEDS_MAX)
        return complain(out, CADRE__FIELD_MEMORY, "has %zu devices, more than %d", entry->memory_count, CADRE_MEMORY_NEEDS_MAX);
    if (entry->memory_count && !entry->memory) return complain(out, CADRE__FIELD_MEMORY, "is NULL and memory_count is %zu", entry->memory_count);
    for (size_t i = 0; i < entry->memory_count; i++) {
        const cadre_memory_need *need = &entry->memory[i];
        if (need->device >= device_count)
            return complain(out, CADRE__FIELD_MEMORY, "names device %" PRIu32 ", of which the pool has %zu", need->device, device_count);
        for (size_t j = 0; j < i; j++)
            if (entry->memory[j].device == need->device) return complain(out, CADRE__FIELD_MEMORY, "names device %" PRIu32 " twice", need->device);
        if (__builtin_add_overflow(sum, need->weights_bytes, &sum) || __builtin_add_overflow(sum, need->worker_bytes, &sum))
            return complain(out, CADRE__FIELD_MEMORY, "adds up to more than 64 bits hold");
    }
    return false;
}

static size_t part_of(const char *text, bool last)
{
    return last ? strlen(text) : strcspn(text, "/");
}

const char *cadre__reference_fault(const char *reference)
{
    size_t length = strnlen(reference, CADRE__REFERENCE_MAX + 1);
    if (length > CADRE__REFERENCE_MAX) return "is longer than 1024 bytes";
    if (cadre__utf8_invalid(reference, length) != SIZE_MAX) return "is not UTF-8";
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)reference[i] < 0x20 || reference[i] == 0x7f) return "has a control character";
    bool whole = cadre__is_reference(reference);
    const char *part = whole ? reference + 3 : "";
    for (int i = 0; whole && i < 3; i++) {
        size_t bytes = part_of(part, i == 2);
        whole = bytes > 0 && part[0] != '/' && (i == 2 || part[bytes] == '/');
        part += whole ? bytes + 1 : 0;
    }
    return whole ? NULL : "is not a reference, which begins with hf:OWNER/NAME/FILE";
}

static bool bad_files(const cadre_entry *entry, cadre__complaint *out)
{
    char member[32];
    if (entry->file_count > CADRE__FILES_MAX) return complain(out, CADRE__FIELD_FILES, "has %zu files, more than %d", entry->file_count, CADRE__FILES_MAX);
    if (entry->file_count && !entry->files) return complain(out, CADRE__FIELD_FILES, "is NULL and file_count is %zu", entry->file_count);
    for (size_t i = 0; i < entry->file_count; i++) {
        const char *fault = entry->files[i] ? cadre__reference_fault(entry->files[i]) : "is NULL";
        if (!fault) continue;
        snprintf(member, sizeof member, "[%zu]", i);
        return complain_of(out, CADRE__FIELD_FILES, i, member, fault);
    }
    return false;
}

/* False: it stands at its sentinel. */
static bool default_given(const cadre_request_defaults *defaults, const cadre__default_field *field, double *value)
{
    int32_t whole;
    float real;
    const char *at = (const char *)defaults + field->offset;
    if (field->whole) return memcpy(&whole, at, sizeof whole), *value = whole, whole != CADRE_DEFAULT;
    return memcpy(&real, at, sizeof real), *value = (double)real, !isnan(real);
}

static void say_range(const cadre__default_field *field, double value, char *what, size_t size)
{
    char range[96];
    if (field->whole)
        cadre__range(range, sizeof range, (int64_t)field->least, (int64_t)field->most, value > field->most);
    else if (field->most >= (double)FLT_MAX)
        snprintf(range, sizeof range, value > field->most ? "not finite" : "not at least %g", field->least);
    else
        snprintf(range, sizeof range, "not within %g…%g", field->least, field->most);
    snprintf(what, size, "is %g, %s", value, range);
}

static bool bad_defaults(const cadre_entry *entry, cadre__complaint *out)
{
    static const cadre_request_defaults none = CADRE_REQUEST_DEFAULTS_INIT;
    cadre_request_defaults old = none;
    if (!entry->defaults) return false;
    const cadre_request_defaults *defaults = cadre__view(entry->defaults, &old, &none, sizeof old);
    if (!defaults) return complain(out, CADRE__FIELD_DEFAULTS, "has a size that is not that of cadre_request_defaults");
    for (size_t i = 0; i < CADRE__DEFAULT_FIELDS; i++) {
        const cadre__default_field *field = &cadre__default_fields[i];
        char member[32], what[160];
        double value;
        if (!default_given(defaults, field, &value)) continue;
        bool theirs = field->capabilities & (1u << entry->capability);
        if (theirs && value >= (double)(float)field->least && value <= field->most) continue;
        if (theirs)
            say_range(field, value, what, sizeof what);
        else
            snprintf(what, sizeof what, "is for %s, not for %s", field->capabilities == PICTURES ? "text-to-image" : "text-to-text and vision",
                     capabilities[entry->capability]);
        snprintf(member, sizeof member, ".%s", field->name);
        return complain_of(out, CADRE__FIELD_DEFAULTS, i, member, what);
    }
    return false;
}

bool cadre__entry_complaint(const cadre_entry *entry, bool has_loader, size_t device_count, cadre__complaint *out)
{
    if (!entry->key) return complain(out, CADRE__FIELD_KEY, "is required");
    for (size_t i = 0; i < CADRE__FIELD_COUNT; i++) {
        switch (cadre__fields[i].type) {
        case CADRE__TYPE_TEXT:
            if (has_loader && i == CADRE__FIELD_BACKEND) continue;
            if (bad_text(entry, i, out)) return true;
            continue;
        case CADRE__TYPE_GROUP:
        case CADRE__TYPE_MEMORY:
        case CADRE__TYPE_FILES:
        case CADRE__TYPE_DEFAULTS:
        case CADRE__TYPE_OPTIONS: continue;
        default:
            if (bad_number(entry, i, out)) return true;
        }
    }
    if (!entry->backend && !has_loader) return complain(out, CADRE__FIELD_BACKEND, "is required");
    if (bad_workers(entry, out) || bad_memory(entry, device_count, out) || bad_files(entry, out) || bad_defaults(entry, out)) return true;
    if (entry->dimension != CADRE_DEFAULT && entry->capability != CADRE_TEXT_EMBEDDING && entry->capability != CADRE_IMAGE_EMBEDDING)
        return complain(out, CADRE__FIELD_DIMENSION, "is for embeddings, not for %s", capabilities[entry->capability]);
    if (entry->warm_up && entry->capability != CADRE_TEXT_TO_TEXT)
        return complain(out, CADRE__FIELD_WARM_UP, "is for text-to-text, not for %s", capabilities[entry->capability]);
    return false;
}

int cadre__entry_check(const cadre_entry *entry, bool has_loader, size_t device_count, char *detail, size_t size)
{
    cadre__complaint complaint;
    if (!cadre__entry_complaint(entry, has_loader, device_count, &complaint)) return CADRE_OK;
    cadre__place_say(NULL, detail, size, "%s%s %s", cadre__fields[complaint.field].name, complaint.member, complaint.what);
    return CADRE_EINVAL;
}
