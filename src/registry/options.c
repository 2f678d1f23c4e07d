#include "registry/json.h"
#include "registry/suggest.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

#define TEXTS_MAX 64
#define TEXT_MAX 65536 /* bytes */

typedef struct reader {
    cadre__json json;
    const cadre_option_spec *specs;
    size_t count;
    const char *folder;
    cadre_option_value *values;
} reader;

/* A bound of integers, which doubles hold exactly up to 2^53. */
static int64_t bound(double value)
{
    return value >= (double)CADRE__JSON_EXACT ? CADRE__JSON_EXACT : value > -(double)CADRE__JSON_EXACT ? (int64_t)value : -CADRE__JSON_EXACT;
}

static bool unlimited(const cadre_option_spec *spec)
{
    return !(spec->least < 0 || spec->least > 0) && !(spec->most < 0 || spec->most > 0);
}

/* Only what the texts say is looked at here; they stay the tree's until they are gathered. */
static int check_texts(reader *r, const cadre__node *node, size_t *count)
{
    cadre__json *json = &r->json;
    cadre__node child;
    int rc = cadre__json_type(json, node, cJSON_Object);
    *count = 0;
    for (bool more = rc == CADRE_OK && cadre__json_first(json, node, &child); more && rc == CADRE_OK; more = cadre__json_next(json, &child), ++*count) {
        if (*count == TEXTS_MAX) return cadre__json_fault(json, &child, "is one text more than %d", TEXTS_MAX);
        rc = cadre__json_type(json, &child, cJSON_String);
        if (rc == CADRE_OK && strlen(child.item->valuestring) > TEXT_MAX) rc = cadre__json_fault(json, &child, "is longer than %d bytes", TEXT_MAX);
        for (const cJSON *earlier = node->item->child; rc == CADRE_OK && earlier != child.item; earlier = earlier->next)
            if (strcmp(earlier->string, child.item->string) == 0) rc = cadre__json_twice(json, &child);
    }
    return rc;
}

static int read_value(reader *r, const cadre__node *node, const cadre_option_spec *spec, cadre_option_value *value)
{
    int rc;
    switch (spec->type) {
    case CADRE_OPTION_INTEGER:
        rc = cadre__json_integer(&r->json, node, unlimited(spec) ? -CADRE__JSON_EXACT : bound(ceil(spec->least)),
                                 unlimited(spec) ? CADRE__JSON_EXACT : bound(floor(spec->most)), &value->integer);
        value->number = (double)value->integer;
        break;
    case CADRE_OPTION_NUMBER:
        rc = cadre__json_number(&r->json, node, unlimited(spec) ? -DBL_MAX : spec->least, unlimited(spec) ? DBL_MAX : spec->most, &value->number);
        break;
    case CADRE_OPTION_BOOLEAN:
        rc = cadre__json_type(&r->json, node, cJSON_True | cJSON_False);
        value->integer = cJSON_IsTrue(node->item);
        break;
    case CADRE_OPTION_TEXTS: rc = check_texts(r, node, &value->text_count); break;
    default:
        rc = cadre__json_type(&r->json, node, cJSON_String);
        if (rc != CADRE_OK) break;
        value->string = node->item->valuestring; /* the tree's, until the strings are gathered */
        if (spec->type == CADRE_OPTION_PATH && !*value->string) rc = cadre__json_fault(&r->json, node, "is empty");
    }
    value->given = rc == CADRE_OK;
    return rc;
}

static int read_members(reader *r, const cadre__node *root)
{
    cadre__node child;
    int rc = cadre__json_type(&r->json, root, cJSON_Object);
    for (bool more = rc == CADRE_OK && cadre__json_first(&r->json, root, &child); more && rc == CADRE_OK; more = cadre__json_next(&r->json, &child)) {
        size_t i = 0;
        while (i < r->count && strcmp(r->specs[i].name, child.item->string) != 0) i++;
        if (i == r->count) {
            const char *near = r->count ? cadre__nearest_of(child.item->string, &r->specs->name, sizeof *r->specs, r->count) : NULL;
            return cadre__json_unknown(&r->json, &child, near);
        }
        if (r->values[i].given) return cadre__json_twice(&r->json, &child);
        rc = read_value(r, &child, &r->specs[i], &r->values[i]);
    }
    for (size_t i = 0; rc == CADRE_OK && i < r->count; i++) {
        char path[CADRE__DETAIL_SIZE];
        if (!r->specs[i].required || r->values[i].given) continue;
        snprintf(path, sizeof path, "%s.%s", r->json.path, r->specs[i].name);
        rc = cadre__json_fault_at(&r->json, root->at, path, "is required");
    }
    return rc;
}

/* The folder that comes before a value's string, or "". */
static const char *folder_of(const reader *r, size_t i)
{
    const char *path = r->values[i].string;
    return r->specs[i].type == CADRE_OPTION_PATH && path[0] != '/' && !cadre__is_reference(path) && r->folder ? r->folder : "";
}

/* The first of the texts that value i has. */
static const cJSON *texts_of(const reader *r, size_t i)
{
    return r->values[i].text_count ? cJSON_GetObjectItemCaseSensitive(r->json.tree, r->specs[i].name)->child : NULL;
}

static size_t measure(const reader *r)
{
    size_t bytes = 0;
    for (size_t i = 0; i < r->count; i++) {
        if (r->values[i].string) bytes += strlen(folder_of(r, i)) + strlen(r->values[i].string) + 2; /* a folder, a slash, the string, a NUL */
        for (const cJSON *text = texts_of(r, i); text; text = text->next)
            bytes += sizeof(cadre_named_text) + strlen(text->string) + strlen(text->valuestring) + 2;
    }
    return bytes;
}

/* The tables come first in the block, where they are aligned. Returns the bytes taken. */
static size_t gather_texts(reader *r, char *block)
{
    cadre_named_text *table = (cadre_named_text *)(void *)block;
    size_t count = 0;
    for (size_t i = 0; i < r->count; i++) count += r->values[i].text_count;
    char *end = (char *)(table + count);
    for (size_t i = 0; i < r->count; i++) {
        const cJSON *text = texts_of(r, i);
        if (text) r->values[i].texts = table;
        for (; text; text = text->next, table++) {
            table->name = end;
            end = stpcpy(end, text->string) + 1;
            table->text = end;
            end = stpcpy(end, text->valuestring) + 1;
        }
    }
    return (size_t)(end - block);
}

/* Copies the strings from the tree into one block. */
static int gather(reader *r, const cadre_allocator *allocator, char **strings, size_t *strings_bytes)
{
    const size_t bytes = measure(r);
    if (bytes == 0) return CADRE_OK;
    char *block = cadre__alloc(allocator, bytes);
    if (!block) {
        cadre__json_fault_at(&r->json, 0, r->json.path, "%s", cadre_strerror(CADRE_ENOMEM));
        return CADRE_ENOMEM;
    }
    size_t used = gather_texts(r, block);
    for (size_t i = 0; i < r->count; i++) {
        if (!r->values[i].string) continue;
        const char *folder = folder_of(r, i);
        size_t length = strlen(folder);
        int written = snprintf(block + used, bytes - used, "%s%s%s", folder, length && folder[length - 1] != '/' ? "/" : "", r->values[i].string);
        r->values[i].string = block + used;
        used += (size_t)written + 1;
    }
    *strings = block;
    *strings_bytes = bytes;
    return CADRE_OK;
}

int cadre__options_read(const cadre_allocator *allocator, const cadre__place *place, const char *json, const cadre_option_spec *specs, size_t count,
                        const char *folder, cadre_option_value *values, char **strings, size_t *strings_bytes, char *detail, size_t size)
{
    const bool in_file = place && place->file;
    reader r = {.specs = specs, .count = count, .folder = folder, .values = values};
    cadre__node root;
    if (!json) json = "{}";
    r.json = (cadre__json){.text = json, .length = strlen(json), .path = place && place->path ? place->path : "options", .error = CADRE_EINVAL};
    r.json.detail = detail, r.json.size = size;
    if (in_file) r.json.file = place->file, r.json.line = place->line, r.json.column = place->column, r.json.error = CADRE_EMANIFEST;
    if (size) detail[0] = '\0';
    *strings = NULL;
    *strings_bytes = 0;
    for (size_t i = 0; i < count; i++) values[i] = (cadre_option_value){0};
    int rc;
    if (r.json.length > CADRE__MANIFEST_MAX)
        rc = cadre__json_fault_at(&r.json, 0, r.json.path, "has %zu bytes, more than %llu", r.json.length, (unsigned long long)CADRE__MANIFEST_MAX);
    else
        rc = cadre__json_open(&r.json, &root);
    if (rc == CADRE_OK) rc = read_members(&r, &root);
    if (rc == CADRE_OK) rc = gather(&r, allocator, strings, strings_bytes);
    cadre__json_close(&r.json);
    for (size_t i = 0; rc != CADRE_OK && i < count; i++) values[i] = (cadre_option_value){0};
    return rc;
}
