#include "registry/fields.h"

#include <inttypes.h>
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

static bool complain(cadre__complaint *out, size_t field, const char *format, ...) CADRE_PRINTF(3, 4);
static bool complain(cadre__complaint *out, size_t field, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(out->what, sizeof out->what, format, list);
    va_end(list);
    out->field = field;
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
        case CADRE__TYPE_OPTIONS: continue;
        default:
            if (bad_number(entry, i, out)) return true;
        }
    }
    if (!entry->backend && !has_loader) return complain(out, CADRE__FIELD_BACKEND, "is required");
    if (bad_workers(entry, out) || bad_memory(entry, device_count, out)) return true;
    if (entry->warm_up && entry->capability != CADRE_TEXT_TO_TEXT)
        return complain(out, CADRE__FIELD_WARM_UP, "is for text-to-text, not for %s", capabilities[entry->capability]);
    return false;
}

int cadre__entry_check(const cadre_entry *entry, bool has_loader, size_t device_count, char *detail, size_t size)
{
    cadre__complaint complaint;
    if (!cadre__entry_complaint(entry, has_loader, device_count, &complaint)) return CADRE_OK;
    cadre__place_say(NULL, detail, size, "%s %s", cadre__fields[complaint.field].name, complaint.what);
    return CADRE_EINVAL;
}
