/* The fields of an entry, once: their names in C and in a manifest, types and ranges. */
#ifndef CADRE__FIELDS_H
#define CADRE__FIELDS_H

#include "registry/json.h"

#define CADRE__WORKERS_MAX 1024
#define CADRE__WORKERS_DEFAULT 4
#define CADRE__FILES_MAX 256
#define CADRE__REFERENCE_MAX 1024 /* bytes */

/* id, type, group in a manifest (NULL: the entry itself), name there, member of cadre_entry, least, most (texts: bytes) */
#define CADRE__FIELD_MAP(X)                                                                                                                                    \
    X(KEY, TEXT, NULL, "key", key, 1, 255)                                                                                                                     \
    X(CAPABILITY, CHOICE, NULL, "capability", capability, 0, CADRE_CAPABILITY_COUNT - 1)                                                                       \
    X(BACKEND, TEXT, NULL, "backend", backend, 1, 63)                                                                                                          \
    X(OPTIONS, OPTIONS, NULL, "options", options, 0, 0)                                                                                                        \
    X(LOADER, CHOICE, NULL, "loader", loader, 0, CADRE_LOADER_PRELOADED)                                                                                       \
    X(NAME, TEXT, NULL, "name", name, 0, 255)                                                                                                                  \
    X(PROVIDER, TEXT, NULL, "provider", provider, 0, 255)                                                                                                      \
    X(LICENSE, TEXT, NULL, "license", license, 0, 255)                                                                                                         \
    X(FILES, FILES, NULL, "files", files, 0, CADRE__FILES_MAX)                                                                                                 \
    X(ESTIMATE, WIDE, NULL, "estimate_bytes", estimate_bytes, 1, CADRE__JSON_EXACT)                                                                            \
    X(DIMENSION, INT, NULL, "dimension", dimension, 1, 65536)                                                                                                  \
    X(DEFAULTS, DEFAULTS, NULL, "defaults", defaults, 0, 0)                                                                                                    \
    X(MEMORY, MEMORY, NULL, "memory", memory, 0, 0)                                                                                                            \
    X(WORKERS, GROUP, NULL, "workers", size, 0, 0)                                                                                                             \
    X(INITIAL, INT, "workers", "initial", initial_workers, 1, CADRE__WORKERS_MAX)                                                                              \
    X(MIN, INT, "workers", "min", min_workers, 0, CADRE__WORKERS_MAX)                                                                                          \
    X(MAX, INT, "workers", "max", max_workers, 1, CADRE__WORKERS_MAX)                                                                                          \
    X(IDLE, TIME, NULL, "idle_timeout_ms", idle_timeout_ms, 1, CADRE__JSON_EXACT)                                                                              \
    X(RESIDENCY, WIDE, NULL, "min_residency_ms", min_residency_ms, 0, CADRE__JSON_EXACT)                                                                       \
    X(PINNED, FLAG, NULL, "pinned", pinned, 0, 1)                                                                                                              \
    X(PRIORITY, CHOICE, NULL, "priority", priority, 0, CADRE_PRIORITY_COUNT - 1)                                                                               \
    X(WARM_UP, TEXT, NULL, "warm_up", warm_up, 1, INT32_MAX)                                                                                                   \
    X(RETRIES, INT, NULL, "load_retries", load_retries, 0, INT32_MAX)                                                                                          \
    X(RETRY_DELAY, WIDE, NULL, "retry_delay_ms", retry_delay_ms, 1, CADRE__JSON_EXACT)                                                                         \
    X(QUEUE, INT, NULL, "queue_capacity", queue_capacity, 1, INT32_MAX)                                                                                        \
    X(WINDOW, WIDE, NULL, "batch_window_us", batch_window_us, 0, 60000000)                                                                                     \
    X(STREAM, INT, NULL, "stream_window", stream_window, 1, INT32_MAX)                                                                                         \
    X(LOAD_TIMEOUT, TIME, NULL, "load_timeout_ms", load_timeout_ms, 1, CADRE__JSON_EXACT)                                                                      \
    X(STALL_TIMEOUT, TIME, NULL, "stall_timeout_ms", stall_timeout_ms, 1, CADRE__JSON_EXACT)                                                                   \
    X(HANG_TIMEOUT, TIME, NULL, "hang_timeout_ms", hang_timeout_ms, 1, CADRE__JSON_EXACT)                                                                      \
    X(BREAKER, GROUP, NULL, "breaker", size, 0, 0)                                                                                                             \
    X(FAILURES, INT, "breaker", "failures", breaker_failures, 0, INT32_MAX)                                                                                    \
    X(OPEN, WIDE, "breaker", "open_ms", breaker_open_ms, 1, CADRE__JSON_EXACT)                                                                                 \
    X(PROBES, INT, "breaker", "probes", breaker_probes, 1, INT32_MAX)                                                                                          \
    X(SUCCESSES, INT, "breaker", "successes", breaker_successes, 1, INT32_MAX)

enum {
#define CADRE__FIELD_ENUM(id, type, group, member, name, least, most) CADRE__FIELD_##id,
    CADRE__FIELD_MAP(CADRE__FIELD_ENUM)
#undef CADRE__FIELD_ENUM
        CADRE__FIELD_COUNT
};

typedef enum cadre__field_type {
    CADRE__TYPE_TEXT,
    CADRE__TYPE_CHOICE, /* int32_t; in a manifest its name */
    CADRE__TYPE_INT,    /* int32_t */
    CADRE__TYPE_WIDE,   /* int64_t */
    CADRE__TYPE_TIME,   /* int64_t, or CADRE_NEVER; in a manifest "never" */
    CADRE__TYPE_FLAG,   /* int32_t, 0 or 1; in a manifest a boolean */
    CADRE__TYPE_GROUP,  /* an object of a manifest that C does not have */
    CADRE__TYPE_MEMORY,
    CADRE__TYPE_FILES,
    CADRE__TYPE_DEFAULTS,
    CADRE__TYPE_OPTIONS
} cadre__field_type;

typedef struct cadre__field {
    cadre__field_type type;
    const char *group, *member; /* in a manifest */
    const char *name;           /* in cadre_entry */
    size_t offset;              /* there */
    int64_t least, most;
    const char *const *choices; /* CHOICE: most + 1 names */
} cadre__field;

extern const cadre__field cadre__fields[CADRE__FIELD_COUNT];

/* What is wrong with an entry: the number of a field and a text that follows its name. */
typedef struct cadre__complaint {
    size_t field;
    size_t part;     /* which of the files, or of the defaults; SIZE_MAX: the field itself */
    char member[32]; /* that part, as a path goes on: "[2]", ".top_p"; else "" */
    char what[256];
} cadre__complaint;

/* A field of cadre_request_defaults. */
typedef struct cadre__default_field {
    const char *name;
    size_t offset;
    bool whole;            /* an int32_t, else a float */
    uint32_t capabilities; /* those that have it: bit i is capability i */
    double least, most;
} cadre__default_field;

#define CADRE__DEFAULT_FIELDS 10
extern const cadre__default_field cadre__default_fields[CADRE__DEFAULT_FIELDS];

/* What is wrong with a reference of "files", or NULL. */
const char *cadre__reference_fault(const char *reference);

/* True: there is something wrong. */
bool cadre__entry_complaint(const cadre_entry *entry, bool has_loader, size_t device_count, cadre__complaint *out);

#endif
