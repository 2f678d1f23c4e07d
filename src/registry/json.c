#include "registry/json.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

/* cJSON writes a process-wide error position in every parse. Taken on the checks thread only, never on the loop. */
static pthread_mutex_t parsing = PTHREAD_MUTEX_INITIALIZER;

/* ---- messages ---- */

/* Cuts what does not fit, or is longer than a message repeats, before a code point. */
static size_t whole_code_points(const char *text, size_t bytes)
{
    size_t valid = cadre__utf8_invalid(text, bytes);
    return valid != SIZE_MAX && bytes - valid < 4 ? valid : bytes;
}

void cadre__place_vsay(const cadre__place *place, char *detail, size_t size, const char *format, va_list list)
{
    char what[CADRE__DETAIL_SIZE], position[32] = "";
    const char *file = place && place->file ? place->file : "", *path = place && place->path ? place->path : "";
    vsnprintf(what, sizeof what, format, list);
    if (*file) snprintf(position, sizeof position, ":%" PRIu32 ":%" PRIu32 ": ", place->line, place->column);
    int length = snprintf(detail, size, "%s%s%s%s%s", file, position, path, *path ? ": " : "", what);
    if (size == 0) return;
    if (length < 0) detail[0] = '\0';
    detail[whole_code_points(detail, strlen(detail))] = '\0';
    cadre__one_line(detail);
}

void cadre__place_say(const cadre__place *place, char *detail, size_t size, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    cadre__place_vsay(place, detail, size, format, list);
    va_end(list);
}

void cadre__json_position(cadre__json *json, size_t at, uint32_t *line, uint32_t *column)
{
    if (json->mark_line == 0 || at < json->mark) json->mark = 0, json->mark_line = json->line, json->mark_column = json->column;
    for (; json->mark < at; json->mark++) {
        json->mark_column++;
        if (json->text[json->mark] == '\n') json->mark_line++, json->mark_column = 1;
    }
    *line = json->mark_line, *column = json->mark_column;
}

static void say_at(cadre__json *json, size_t at, const char *path, const char *format, va_list list)
{
    char whole[] = "manifest", copy[CADRE__DETAIL_SIZE];
    cadre__place place = {.path = whole};
    if (*path) {
        snprintf(copy, sizeof copy, "%s", path);
        place.path = copy;
    }
    char file[CADRE__DETAIL_SIZE / 2];
    if (json->file) {
        snprintf(file, sizeof file, "%s", json->file);
        place.file = file;
        cadre__json_position(json, at, &place.line, &place.column);
    }
    cadre__place_vsay(&place, json->detail, json->size, format, list);
}

int cadre__json_fault_at(cadre__json *json, size_t at, const char *path, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    say_at(json, at, path, format, list);
    va_end(list);
    return json->error;
}

int cadre__json_fault(cadre__json *json, const cadre__node *node, const char *format, ...)
{
    char path[CADRE__DETAIL_SIZE];
    va_list list;
    cadre__json_path(json, node, path, sizeof path);
    va_start(list, format);
    say_at(json, node->at, path, format, list);
    va_end(list);
    return json->error;
}

int cadre__json_unknown(cadre__json *json, const cadre__node *node, const char *nearest)
{
    char path[CADRE__DETAIL_SIZE];
    cadre__json_path(json, node, path, sizeof path);
    if (nearest) return cadre__json_fault_at(json, node->name_at, path, "unknown field; did you mean \"%s\"?", nearest);
    return cadre__json_fault_at(json, node->name_at, path, "unknown field");
}

int cadre__json_twice(cadre__json *json, const cadre__node *node)
{
    char path[CADRE__DETAIL_SIZE];
    cadre__json_path(json, node, path, sizeof path);
    return cadre__json_fault_at(json, node->name_at, path, "is here twice; remove one of them");
}

/* Appends to `out`, whose `used` bytes are taken. */
static size_t path_of(const cadre__json *json, const cadre__node *node, char *out, size_t size)
{
    if (!node->parent) {
        snprintf(out, size, "%s", json->path);
        return strlen(out);
    }
    size_t used = path_of(json, node->parent, out, size);
    const char *name = node->item->string;
    if (!name) {
        snprintf(out + used, size - used, "[%zu]", node->index);
    } else {
        size_t length = strlen(name), shown = length > CADRE__JSON_QUOTED ? whole_code_points(name, CADRE__JSON_QUOTED) : length;
        snprintf(out + used, size - used, "%s%.*s%s", used ? "." : "", (int)shown, name, shown < length ? "…" : "");
    }
    return used + strlen(out + used);
}

void cadre__json_path(const cadre__json *json, const cadre__node *node, char *out, size_t size)
{
    path_of(json, node, out, size);
}

/* ---- the text ---- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static size_t skip_space(const cadre__json *json, size_t at)
{
    while (at < json->length && is_space(json->text[at])) at++;
    return at;
}

static size_t skip_string(const cadre__json *json, size_t at)
{
    for (at++; json->text[at] != '"'; at++)
        if (json->text[at] == '\\') at++;
    return at + 1;
}

static size_t skip_value(const cadre__json *json, size_t at)
{
    size_t depth = 0;
    if (json->text[at] != '"' && json->text[at] != '{' && json->text[at] != '[') {
        for (char c = json->text[at]; !is_space(c) && c != ',' && c != ']' && c != '}'; c = at < json->length ? json->text[at] : ' ') at++;
        return at;
    }
    do {
        char c = json->text[at];
        if (c == '"') {
            at = skip_string(json, at);
            continue;
        }
        if (c == '{' || c == '[') depth++;
        if (c == '}' || c == ']') depth--;
        at++;
    } while (depth > 0);
    return at;
}

size_t cadre__json_extent(const cadre__json *json, const cadre__node *node)
{
    return skip_value(json, node->at) - node->at;
}

static bool arrive(const cadre__json *json, cadre__node *child, size_t at)
{
    child->at = child->name_at = at = skip_space(json, at);
    if (child->item->string) child->at = skip_space(json, skip_space(json, skip_string(json, at)) + 1);
    return true;
}

bool cadre__json_first(const cadre__json *json, const cadre__node *parent, cadre__node *child)
{
    *child = (cadre__node){.parent = parent, .item = parent->item->child};
    return child->item && arrive(json, child, parent->at + 1);
}

bool cadre__json_next(const cadre__json *json, cadre__node *child)
{
    child->item = child->item->next;
    child->index++;
    return child->item && arrive(json, child, skip_space(json, skip_value(json, child->at)) + 1);
}

int cadre__json_open(cadre__json *json, cadre__node *root)
{
    const char *what = NULL;
    size_t bad = cadre__utf8_invalid(json->text, json->length);
    if (bad != SIZE_MAX) return cadre__json_fault_at(json, bad, json->path, "is not UTF-8");
    if (skip_space(json, 0) == json->length) return cadre__json_fault_at(json, 0, json->path, "is empty");
    bad = cadre__json_check(json->text, json->length, &what);
    if (bad != SIZE_MAX) {
        const char *end = bad == json->length ? ", and the text ends" : "";
        if (json->file) return cadre__json_fault_at(json, bad, json->path, "is not JSON: %s%s", what, end);
        return cadre__json_fault_at(json, bad, json->path, "is not JSON: %s%s, at byte %zu", what, end, bad);
    }
    pthread_mutex_lock(&parsing);
    json->tree = cJSON_ParseWithLengthOpts(json->text, json->length, NULL, 0);
    pthread_mutex_unlock(&parsing);
    if (!json->tree) {
        cadre__json_fault_at(json, 0, json->path, "%s", cadre_strerror(CADRE_ENOMEM));
        return CADRE_ENOMEM;
    }
    *root = (cadre__node){.item = json->tree, .at = skip_space(json, 0)};
    root->name_at = root->at;
    return CADRE_OK;
}

void cadre__json_close(cadre__json *json)
{
    cJSON_Delete(json->tree);
    json->tree = NULL;
}

/* ---- values ---- */

static const char *kind_of(int type)
{
    switch (type & 0xff) {
    case cJSON_Object: return "an object";
    case cJSON_Array: return "an array";
    case cJSON_String: return "a string";
    case cJSON_Number: return "a number";
    case cJSON_NULL: return "null";
    default: return "a boolean";
    }
}

/* cJSON has two types for booleans. */
static bool is_type(const cJSON *item, int type)
{
    return type == (cJSON_True | cJSON_False) ? cJSON_IsBool(item) : (item->type & 0xff) == type;
}

int cadre__json_type(cadre__json *json, const cadre__node *node, int type)
{
    if (is_type(node->item, type)) return CADRE_OK;
    return cadre__json_fault(json, node, "is %s, not %s", kind_of(node->item->type), kind_of(type));
}

void cadre__range(char *out, size_t size, int64_t least, int64_t most, bool above)
{
    bool open = most == INT32_MAX || most >= CADRE__JSON_EXACT;
    if (least == most)
        snprintf(out, size, "not %" PRId64, least);
    else if (open && above)
        snprintf(out, size, "above %" PRId64, most);
    else if (open)
        snprintf(out, size, "not at least %" PRId64, least);
    else
        snprintf(out, size, "not within %" PRId64 "…%" PRId64, least, most);
}

/* The integer that a number's text says, exactly; saturates beyond 64 bits. False: it is none. */
static bool integer_of(const char *text, size_t length, double as_double, int64_t *out)
{
    bool negative = text[0] == '-';
    uint64_t value = 0;
    for (size_t i = negative; i < length; i++) {
        if (text[i] < '0' || text[i] > '9') {
            if (fabs(as_double) <= (double)CADRE__JSON_EXACT) return *out = (int64_t)as_double, as_double == floor(as_double);
            return *out = negative ? INT64_MIN : INT64_MAX, true;
        }
        if (value > (uint64_t)INT64_MAX / 10 - 1) return *out = negative ? INT64_MIN : INT64_MAX, true;
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    *out = negative ? -(int64_t)value : (int64_t)value;
    return true;
}

int cadre__json_integer(cadre__json *json, const cadre__node *node, int64_t least, int64_t most, int64_t *out)
{
    char range[96];
    if (!cJSON_IsNumber(node->item)) return cadre__json_fault(json, node, "is %s, not an integer", kind_of(node->item->type));
    const char *text = json->text + node->at;
    size_t length = cadre__json_extent(json, node);
    if (!integer_of(text, length, node->item->valuedouble, out)) return cadre__json_fault(json, node, "is %.*s, not an integer", (int)length, text);
    if (*out >= least && *out <= most) return CADRE_OK;
    cadre__range(range, sizeof range, least, most, *out > most);
    return cadre__json_fault(json, node, "is %.*s, %s", (int)length, text, range);
}

int cadre__json_number(cadre__json *json, const cadre__node *node, double least, double most, double *out)
{
    int rc = cadre__json_type(json, node, cJSON_Number);
    if (rc != CADRE_OK) return rc;
    *out = node->item->valuedouble;
    if (isfinite(*out) && *out >= least && *out <= most) return CADRE_OK;
    if (most >= (double)FLT_MAX && *out < least)
        return cadre__json_fault(json, node, "is %.*s, not at least %g", (int)cadre__json_extent(json, node), json->text + node->at, least);
    return cadre__json_fault(json, node, "is %.*s, not within %g…%g", (int)cadre__json_extent(json, node), json->text + node->at, least, most);
}
