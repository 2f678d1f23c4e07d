#include "registry/fields.h"
#include "registry/suggest.h"

#include <stdio.h>

typedef struct reader {
    cadre__json json;
    const cadre_allocator *allocator;
    const char *folder;
    const char *const *device_names;
    size_t device_count;
    cadre__spec *first, **tail;
    size_t count;
} reader;

/* An entry while it is read. */
typedef struct entry_reader {
    reader *r;
    cadre__spec *spec;
    const cadre__node *node;
    size_t default_at[CADRE__DEFAULT_FIELDS]; /* likewise */
    size_t at[CADRE__FIELD_COUNT];            /* of the fields' values; 0: not given (the text's first byte is the root's) */
} entry_reader;

static int no_memory(reader *r)
{
    cadre__json_fault_at(&r->json, 0, "", "%s", cadre_strerror(CADRE_ENOMEM));
    return CADRE_ENOMEM;
}

/* Where a node stands; `member`: what its path goes on with. */
static int place_at(reader *r, const cadre__node *node, const char *member, cadre__place *place)
{
    char path[CADRE__DETAIL_SIZE];
    cadre__json_path(&r->json, node, path, sizeof path);
    snprintf(path + strlen(path), sizeof path - strlen(path), "%s", member);
    cadre__json_position(&r->json, node->at, &place->line, &place->column);
    place->file = cadre__strdup(r->allocator, r->json.file);
    place->path = cadre__strdup(r->allocator, path);
    return place->file && place->path ? CADRE_OK : no_memory(r);
}

/* ---- the values of an entry ---- */

static int read_text(entry_reader *e, const cadre__field *field, const cadre__node *node)
{
    int rc = cadre__json_type(&e->r->json, node, cJSON_String);
    if (rc != CADRE_OK) return rc;
    const char *text = cadre__strdup(e->r->allocator, node->item->valuestring);
    if (!text) return no_memory(e->r);
    memcpy((char *)&e->spec->entry + field->offset, &text, sizeof text);
    return CADRE_OK;
}

static int read_choice(entry_reader *e, const cadre__field *field, const cadre__node *node)
{
    char list[160] = "", quoted[CADRE__JSON_QUOTED];
    int rc = cadre__json_type(&e->r->json, node, cJSON_String);
    if (rc != CADRE_OK) return rc;
    const char *name = node->item->valuestring;
    size_t count = (size_t)field->most + 1;
    for (size_t i = 0, used = 0; i < count; i++) {
        if (strcmp(field->choices[i], name) == 0) {
            const int32_t value = (int32_t)i;
            memcpy((char *)&e->spec->entry + field->offset, &value, sizeof value);
            return CADRE_OK;
        }
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", field->choices[i]);
    }
    cadre__place_say(NULL, quoted, sizeof quoted, "%s", name);
    const char *near = cadre__nearest(name, field->choices, count);
    return cadre__json_fault(&e->r->json, node, "is \"%s\", not one of %s%s%s%s", quoted, list, near ? "; did you mean \"" : "", near ? near : "",
                             near ? "\"?" : "");
}

static int read_integer(entry_reader *e, const cadre__field *field, const cadre__node *node)
{
    int64_t value;
    char *out = (char *)&e->spec->entry + field->offset;
    if (field->type == CADRE__TYPE_TIME && cJSON_IsString(node->item)) {
        if (strcmp(node->item->valuestring, "never") != 0) return cadre__json_fault(&e->r->json, node, "is a string; write milliseconds or \"never\"");
        value = CADRE_NEVER;
    } else {
        int rc = cadre__json_integer(&e->r->json, node, field->least, field->most, &value);
        if (rc != CADRE_OK) return rc;
    }
    const int32_t narrow = (int32_t)value;
    if (field->type == CADRE__TYPE_INT)
        memcpy(out, &narrow, sizeof narrow);
    else
        memcpy(out, &value, sizeof value);
    return CADRE_OK;
}

static int read_flag(entry_reader *e, const cadre__field *field, const cadre__node *node)
{
    int rc = cadre__json_type(&e->r->json, node, cJSON_True | cJSON_False);
    const int32_t value = cJSON_IsTrue(node->item);
    if (rc == CADRE_OK) memcpy((char *)&e->spec->entry + field->offset, &value, sizeof value);
    return rc;
}

static int read_need(reader *r, const cadre__node *device, cadre_memory_need *need)
{
    static const char *const names[] = {"weights_bytes", "worker_bytes"};
    bool given[2] = {false, false};
    cadre__json *json = &r->json;
    cadre__node child;
    int rc = cadre__json_type(json, device, cJSON_Object);
    if (rc != CADRE_OK) return rc;
    for (bool more = cadre__json_first(json, device, &child); more; more = cadre__json_next(json, &child)) {
        int64_t bytes;
        size_t which = strcmp(child.item->string, names[0]) == 0 ? 0 : strcmp(child.item->string, names[1]) == 0 ? 1 : 2;
        if (which == 2) return cadre__json_unknown(json, &child, cadre__nearest(child.item->string, names, 2));
        if (given[which]) return cadre__json_twice(json, &child);
        given[which] = true;
        rc = cadre__json_integer(json, &child, 0, CADRE__JSON_EXACT, &bytes);
        if (rc != CADRE_OK) return rc;
        *(which == 0 ? &need->weights_bytes : &need->worker_bytes) = (uint64_t)bytes;
    }
    return CADRE_OK;
}

static int read_memory(entry_reader *e, const cadre__node *node)
{
    reader *r = e->r;
    cadre_entry *entry = &e->spec->entry;
    cadre__node child;
    int rc = cadre__json_type(&r->json, node, cJSON_Object);
    if (rc != CADRE_OK) return rc;
    for (bool more = cadre__json_first(&r->json, node, &child); more; more = cadre__json_next(&r->json, &child)) {
        uint32_t device = 0;
        while (device < r->device_count && strcmp(r->device_names[device], child.item->string) != 0) device++;
        if (device == r->device_count) {
            const char *near = cadre__nearest(child.item->string, r->device_names, r->device_count);
            char path[CADRE__DETAIL_SIZE];
            cadre__json_path(&r->json, &child, path, sizeof path);
            return cadre__json_fault_at(&r->json, child.name_at, path, "unknown device; %s \"%s\"%s", near ? "did you mean" : "the host's memory is",
                                        near ? near : r->device_names[0], near ? "?" : "");
        }
        for (size_t i = 0; i < entry->memory_count; i++)
            if (e->spec->memory[i].device == device) return cadre__json_twice(&r->json, &child);
        if (entry->memory_count == CADRE_MEMORY_NEEDS_MAX) return cadre__json_fault(&r->json, &child, "is one device more than %d", CADRE_MEMORY_NEEDS_MAX);
        cadre_memory_need *need = &e->spec->memory[entry->memory_count++];
        need->device = device;
        rc = read_need(r, &child, need);
        if (rc != CADRE_OK) return rc;
        entry->memory = e->spec->memory;
    }
    return CADRE_OK;
}

/* Keeps the object's text as it stands, so that a place in it is a place in the manifest. */
static int read_options(entry_reader *e, const cadre__node *node)
{
    int rc = cadre__json_type(&e->r->json, node, cJSON_Object);
    if (rc == CADRE_OK) rc = place_at(e->r, node, "", &e->spec->options);
    if (rc != CADRE_OK) return rc;
    size_t length = cadre__json_extent(&e->r->json, node);
    char *text = cadre__alloc(e->r->allocator, length + 1);
    if (!text) return no_memory(e->r);
    memcpy(text, e->r->json.text + node->at, length);
    e->spec->entry.options = text;
    return CADRE_OK;
}

static int read_files(entry_reader *e, const cadre__node *node)
{
    cadre__json *json = &e->r->json;
    const char *files[CADRE__FILES_MAX];
    size_t count = 0;
    cadre__node child;
    int rc = cadre__json_type(json, node, cJSON_Array);
    for (bool more = rc == CADRE_OK && cadre__json_first(json, node, &child); more && rc == CADRE_OK; more = cadre__json_next(json, &child)) {
        if (count == CADRE__FILES_MAX) return cadre__json_fault(json, &child, "is one file more than %d", CADRE__FILES_MAX);
        rc = cadre__json_type(json, &child, cJSON_String);
        const char *fault = rc == CADRE_OK ? cadre__reference_fault(child.item->valuestring) : NULL;
        if (fault) rc = cadre__json_fault(json, &child, "%s", fault);
        files[count++] = child.item->valuestring;
    }
    if (rc != CADRE_OK || count == 0) return rc;
    return cadre__spec_set_files(e->spec, files, count) ? CADRE_OK : no_memory(e->r);
}

static int read_default(entry_reader *e, const cadre__default_field *field, const cadre__node *node)
{
    char *out = (char *)&e->spec->defaults + field->offset;
    int64_t integer;
    double number;
    int rc = field->whole ? cadre__json_integer(&e->r->json, node, (int64_t)field->least, (int64_t)field->most, &integer)
                          : cadre__json_number(&e->r->json, node, field->least, field->most, &number);
    if (rc != CADRE_OK) return rc;
    if (field->whole)
        memcpy(out, &(int32_t){(int32_t)integer}, sizeof(int32_t));
    else
        memcpy(out, &(float){(float)number}, sizeof(float));
    return CADRE_OK;
}

static int read_defaults(entry_reader *e, const cadre__node *node)
{
    cadre__json *json = &e->r->json;
    cadre__node child;
    int rc = cadre__json_type(json, node, cJSON_Object);
    for (bool more = rc == CADRE_OK && cadre__json_first(json, node, &child); more && rc == CADRE_OK; more = cadre__json_next(json, &child)) {
        const char *name = child.item->string;
        size_t which = 0;
        while (which < CADRE__DEFAULT_FIELDS && strcmp(cadre__default_fields[which].name, name) != 0) which++;
        if (which == CADRE__DEFAULT_FIELDS)
            return cadre__json_unknown(json, &child, cadre__nearest_of(name, &cadre__default_fields->name, sizeof *cadre__default_fields, which));
        if (e->default_at[which]) return cadre__json_twice(json, &child);
        e->default_at[which] = child.at;
        rc = read_default(e, &cadre__default_fields[which], &child);
    }
    e->spec->entry.defaults = &e->spec->defaults;
    return rc;
}

static int read_group(entry_reader *e, const cadre__node *object, const char *group);

static int read_field(entry_reader *e, const cadre__field *field, const cadre__node *node)
{
    switch (field->type) {
    case CADRE__TYPE_TEXT: return read_text(e, field, node);
    case CADRE__TYPE_CHOICE: return read_choice(e, field, node);
    case CADRE__TYPE_FLAG: return read_flag(e, field, node);
    case CADRE__TYPE_MEMORY: return read_memory(e, node);
    case CADRE__TYPE_OPTIONS: return read_options(e, node);
    case CADRE__TYPE_FILES: return read_files(e, node);
    case CADRE__TYPE_DEFAULTS: return read_defaults(e, node);
    case CADRE__TYPE_GROUP: return read_group(e, node, field->member);
    default: return read_integer(e, field, node);
    }
}

/* The members of an entry (group NULL) or of one of its groups. */
static int read_group(entry_reader *e, const cadre__node *object, const char *group)
{
    cadre__json *json = &e->r->json;
    const char *names[CADRE__FIELD_COUNT];
    size_t fields[CADRE__FIELD_COUNT], count = 0;
    cadre__node child;
    int rc = cadre__json_type(json, object, cJSON_Object);
    if (rc != CADRE_OK) return rc;
    for (size_t i = 0; i < CADRE__FIELD_COUNT; i++) {
        const cadre__field *field = &cadre__fields[i];
        if ((group == NULL) != (field->group == NULL) || (group && strcmp(group, field->group) != 0)) continue;
        names[count] = field->member;
        fields[count++] = i;
    }
    for (bool more = cadre__json_first(json, object, &child); more; more = cadre__json_next(json, &child)) {
        size_t which = 0;
        while (which < count && strcmp(names[which], child.item->string) != 0) which++;
        if (which == count) return cadre__json_unknown(json, &child, cadre__nearest(child.item->string, names, count));
        if (e->at[fields[which]]) return cadre__json_twice(json, &child);
        e->at[fields[which]] = child.at;
        rc = read_field(e, &cadre__fields[fields[which]], &child);
        if (rc != CADRE_OK) return rc;
    }
    return CADRE_OK;
}

/* ---- entries ---- */

/* What only the whole entry shows, told at the field that it is about. */
static int check_entry(entry_reader *e)
{
    cadre__complaint complaint;
    if (!cadre__entry_complaint(&e->spec->entry, false, e->r->device_count, &complaint)) return CADRE_OK;
    char path[CADRE__DETAIL_SIZE];
    const cadre__field *field = &cadre__fields[complaint.field];
    cadre__json_path(&e->r->json, e->node, path, sizeof path);
    size_t used = strlen(path), at = e->at[complaint.field];
    if (complaint.field == CADRE__FIELD_DEFAULTS && complaint.part < CADRE__DEFAULT_FIELDS) at = e->default_at[complaint.part];
    snprintf(path + used, sizeof path - used, ".%s%s%s%s", field->group ? field->group : "", field->group ? "." : "", field->member, complaint.member);
    return cadre__json_fault_at(&e->r->json, at ? at : e->node->at, path, "%s", complaint.what);
}

static int read_entry(reader *r, const cadre__node *node)
{
    entry_reader e = {.r = r, .node = node};
    cadre__spec *spec = e.spec = cadre__alloc(r->allocator, sizeof *spec);
    if (!spec) return no_memory(r);
    spec->allocator = *r->allocator;
    spec->entry = (cadre_entry)CADRE_ENTRY_INIT;
    spec->defaults = (cadre_request_defaults)CADRE_REQUEST_DEFAULTS_INIT;
    *r->tail = spec;
    r->tail = &spec->next;
    r->count++;
    int rc = cadre__json_type(&r->json, node, cJSON_Object);
    if (rc == CADRE_OK) rc = place_at(r, node, "", &spec->place);
    if (rc == CADRE_OK) rc = read_group(&e, node, NULL);
    if (rc == CADRE_OK) rc = check_entry(&e);
    if (rc != CADRE_OK) return rc;
    if (!spec->options.path && place_at(r, node, ".options", &spec->options) != CADRE_OK) return CADRE_ENOMEM;
    if (r->folder && !(spec->entry.folder = cadre__strdup(r->allocator, r->folder))) return no_memory(r);
    return CADRE_OK;
}

/* ---- keys ---- */

/* Where the key of models[index] stands. */
static size_t key_at(reader *r, const cadre__node *models, size_t index)
{
    cadre__node entry, child;
    bool more = cadre__json_first(&r->json, models, &entry);
    while (more && entry.index < index) more = cadre__json_next(&r->json, &entry);
    for (more = cadre__json_first(&r->json, &entry, &child); more; more = cadre__json_next(&r->json, &child))
        if (strcmp(child.item->string, "key") == 0) return child.at;
    return entry.at;
}

static int same_key(reader *r, const cadre__node *models, const char *key, size_t earlier, size_t later)
{
    char path[64];
    uint32_t line, column;
    size_t at = key_at(r, models, later);
    cadre__json_position(&r->json, key_at(r, models, earlier), &line, &column);
    snprintf(path, sizeof path, "models[%zu].key", later);
    cadre__json_fault_at(&r->json, at, path, "\"%s\" is the key of models[%zu] already, at %u:%u", key, earlier, line, column);
    return CADRE_EEXIST;
}

/* A hash table of all keys, open and at most half full. */
static int check_keys(reader *r, const cadre__node *models)
{
    struct slot {
        const char *key;
        size_t index;
    } * slots;
    size_t size = 2, index = 0;
    int rc = CADRE_OK;
    while (size < r->count * 2) size *= 2;
    slots = cadre__alloc(r->allocator, size * sizeof *slots);
    if (!slots) return no_memory(r);
    for (const cadre__spec *spec = r->first; spec && rc == CADRE_OK; spec = spec->next, index++) {
        uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
        for (const char *c = spec->entry.key; *c; c++) hash = (hash ^ (unsigned char)*c) * UINT64_C(1099511628211);
        size_t i = (size_t)hash & (size - 1);
        while (slots[i].key && strcmp(slots[i].key, spec->entry.key) != 0) i = (i + 1) & (size - 1);
        if (slots[i].key) rc = same_key(r, models, spec->entry.key, slots[i].index, index);
        slots[i] = (struct slot){spec->entry.key, index};
    }
    cadre__free(r->allocator, slots, size * sizeof *slots);
    return rc;
}

/* ---- the whole ---- */

static int read_models(reader *r, const cadre__node *models)
{
    cadre__node entry;
    int rc = cadre__json_type(&r->json, models, cJSON_Array);
    for (bool more = rc == CADRE_OK && cadre__json_first(&r->json, models, &entry); more && rc == CADRE_OK; more = cadre__json_next(&r->json, &entry))
        rc = read_entry(r, &entry);
    return rc == CADRE_OK && r->count ? check_keys(r, models) : rc;
}

static int read_root(reader *r, const cadre__node *root)
{
    static const char *const names[] = {"models", "version", "$schema"};
    enum { MODELS, VERSION, SCHEMA, COUNT };
    bool given[COUNT] = {false};
    int64_t version;
    cadre__node child, models = {.parent = root};
    int rc = cadre__json_type(&r->json, root, cJSON_Object);
    for (bool more = rc == CADRE_OK && cadre__json_first(&r->json, root, &child); more && rc == CADRE_OK; more = cadre__json_next(&r->json, &child)) {
        size_t which = 0;
        while (which < COUNT && strcmp(names[which], child.item->string) != 0) which++;
        if (which == COUNT) return cadre__json_unknown(&r->json, &child, cadre__nearest(child.item->string, names, COUNT));
        if (given[which]) return cadre__json_twice(&r->json, &child);
        given[which] = true;
        if (which == MODELS)
            models = child;
        else if (which == VERSION)
            rc = cadre__json_integer(&r->json, &child, 1, 1, &version);
        else
            rc = cadre__json_type(&r->json, &child, cJSON_String);
    }
    if (rc != CADRE_OK) return rc;
    if (!given[MODELS]) return cadre__json_fault_at(&r->json, root->at, "models", "is required; write {\"models\": []}");
    return read_models(r, &models);
}

int cadre__manifest_parse(const cadre_allocator *allocator, const char *file, const char *text, size_t length, const char *folder,
                          const char *const *device_names, size_t device_count, cadre__spec **out, char *detail, size_t size)
{
    reader r = {.allocator = allocator, .folder = folder, .device_names = device_names, .device_count = device_count};
    cadre__node root;
    r.tail = &r.first;
    r.json = (cadre__json){.file = file ? file : "manifest", .line = 1, .column = 1, .path = "", .error = CADRE_EMANIFEST, .detail = detail, .size = size};
    *out = NULL;
    if (size) detail[0] = '\0';
    if (length > CADRE__MANIFEST_MAX)
        return cadre__json_fault_at(&r.json, 0, "", "has %zu bytes, more than %llu", length, (unsigned long long)CADRE__MANIFEST_MAX);
    size_t mark = length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0; /* a byte order mark; columns do not count it */
    r.json.text = length ? text + mark : "";
    r.json.length = length - mark;
    int rc = cadre__json_open(&r.json, &root);
    if (rc == CADRE_OK) rc = read_root(&r, &root);
    cadre__json_close(&r.json);
    if (rc == CADRE_OK)
        *out = r.first;
    else
        cadre__specs_free(r.first);
    return rc;
}
