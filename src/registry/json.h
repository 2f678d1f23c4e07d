/* JSON with places: a text is checked against RFC 8259, parsed by cJSON, and walked as a tree whose nodes know where in the text they stand.
 *
 * cJSON is lenient (raw control characters, "01", text after the end) and tells neither names from values nor where anything was, so the text is checked here
 * first; what then fails in cJSON is memory. Its children come in the order of the text, so a walk moves a cursor through the text beside the tree, and a
 * fault counts lines from the last place that was asked for. */
#ifndef CADRE__JSON_H
#define CADRE__JSON_H

#include "registry/manifest.h"

#include <cjson/cJSON.h>
#include <stdarg.h>

#define CADRE__JSON_DEPTH 64  /* objects and arrays inside each other; cJSON's own limit is 1,000 */
#define CADRE__JSON_NUMBER 63 /* characters of a number: cJSON's buffer */
#define CADRE__JSON_EXACT (INT64_C(1) << 53)
#define CADRE__JSON_QUOTED 64 /* bytes of the text that a message repeats */

typedef struct cadre__json {
    const char *text; /* need not end in a NUL */
    size_t length;
    const char *file;      /* as in cadre__place */
    uint32_t line, column; /* of the text's first byte */
    const char *path;      /* of the root; "" for a manifest */
    int error;             /* what a fault returns */
    char *detail;          /* where faults are written */
    size_t size;
    cJSON *tree;
    size_t mark; /* its line and column are known */
    uint32_t mark_line, mark_column;
} cadre__json;

typedef struct cadre__node {
    const struct cadre__node *parent; /* NULL: the root */
    const cJSON *item;
    size_t index;   /* among its siblings */
    size_t name_at; /* of its name; of its value where it has none */
    size_t at;      /* of its value */
} cadre__node;

/* Offset of the first byte that is no valid JSON, with `what` it is; SIZE_MAX when all of it is valid. The text is UTF-8. */
size_t cadre__json_check(const char *text, size_t length, const char **what);

/* Checks, parses, and fills in the root. CADRE_OK, the error of a fault, or CADRE_ENOMEM; with a detail. Closed in any case. */
int cadre__json_open(cadre__json *json, cadre__node *root);
void cadre__json_close(cadre__json *json);

/* Walks the members of an object or array. False: no more. */
bool cadre__json_first(const cadre__json *json, const cadre__node *parent, cadre__node *child);
bool cadre__json_next(const cadre__json *json, cadre__node *child);
/* The length of a node's text. */
size_t cadre__json_extent(const cadre__json *json, const cadre__node *node);
void cadre__json_path(const cadre__json *json, const cadre__node *node, char *out, size_t size);
void cadre__json_position(cadre__json *json, size_t at, uint32_t *line, uint32_t *column);

/* Write the detail; all return json->error. */
int cadre__json_fault_at(cadre__json *json, size_t at, const char *path, const char *format, ...) CADRE_PRINTF(4, 5);
int cadre__json_fault(cadre__json *json, const cadre__node *node, const char *format, ...) CADRE_PRINTF(3, 4); /* about its value */
int cadre__json_unknown(cadre__json *json, const cadre__node *node, const char *nearest);                      /* about its name; nearest may be NULL */
int cadre__json_twice(cadre__json *json, const cadre__node *node);                                             /* likewise */

/* What a value is; a fault when it is something else. */
int cadre__json_type(cadre__json *json, const cadre__node *node, int type);
int cadre__json_integer(cadre__json *json, const cadre__node *node, int64_t least, int64_t most, int64_t *out);
int cadre__json_number(cadre__json *json, const cadre__node *node, double least, double most, double *out);

void cadre__place_vsay(const cadre__place *place, char *detail, size_t size, const char *format, va_list list);

/* "not within 1…1024", "not at least 1", "above 2147483647". */
void cadre__range(char *out, size_t size, int64_t least, int64_t most, bool above);

#endif
