/* Backends: how an engine offers models to the registry. One table of functions, linked in or found as a module.
 *
 * A backend is registered in C (cadre_backend_register) or found by its name: the first `cadre-NAME.so` in pool_options.backend_path that exports
 *
 *     const cadre_backend *cadre_backend_module(uint32_t version);   // NULL: the module does not speak this version
 *
 * Modules are opened on a loader thread, with their symbols hidden from each other, and stay open. A module links against libcadre and its own engine.
 *
 * The way of an entry, and on which thread each function runs:
 *
 *     open   checks thread    once per entry, when its files are here: looks at the options and the files, says what memory it needs
 *     fetch  loop             loader kind "async": starts the asynchronous part and returns its future
 *     load   loader thread    backends that share weights: reads them, once for all workers
 *     make   loader thread    one worker's model, around the shared weights if there are any; contexts and buffers are made here, at the low priority of loads
 *     ...                     the model's own operations, on the worker's thread; `attach` makes what belongs to that thread, and compute threads
 *     close  reaper thread    once, when the entry is gone and nothing that was made by it is left
 *
 * What open returns as `self` is used by several loads on several threads at once: constant after open, or locked. Of what open is given, the strings of
 * `options` live until close; the rest is gone when it returns. An "async" entry of a backend without `fetch`, or a "preloaded" one of a backend that does not
 * share weights, is refused with CADRE_ENOTSUP. */
#ifndef CADRE_BACKEND_H
#define CADRE_BACKEND_H

#include <cadre/image_embedding.h>
#include <cadre/text_embedding.h>
#include <cadre/text_to_image.h>
#include <cadre/text_to_text.h>
#include <cadre/vision.h>

CADRE_BEGIN

#define CADRE_BACKEND_VERSION 1u

typedef enum cadre_loader_kind {
    CADRE_LOADER_SYNC = 0,     /* "sync": load and make block on a loader thread */
    CADRE_LOADER_ASYNC = 1,    /* "async": fetch first, on the loop, then as sync */
    CADRE_LOADER_PRELOADED = 2 /* "preloaded": the weights are loaded when the entry is added, if memory is free, and stay when its workers go; a worker only
                                  attaches to them. Needs a backend that shares weights */
} cadre_loader_kind;

typedef enum cadre_option_type {
    CADRE_OPTION_STRING = 0,
    CADRE_OPTION_PATH = 1, /* a string; one that is relative is taken from the manifest's folder, and arrives joined with it; one that is a reference
                              (cadre/registry.h) arrives as the local path of what was fetched */
    CADRE_OPTION_INTEGER = 2,
    CADRE_OPTION_NUMBER = 3,
    CADRE_OPTION_BOOLEAN = 4,
    CADRE_OPTION_TEXTS = 5 /* an object whose values are strings: prompts by their names */
} cadre_option_type;

/* One field of an entry's "options". The library checks types, ranges and names, and points at the place in the manifest. */
typedef struct cadre_option_spec {
    const char *name;
    cadre_option_type type;
    int required;
    double least, most; /* integers (exact to 2⁵³) and numbers; both 0: no limits */
    const char *help;   /* one line */
} cadre_option_spec;

/* What the entry says; in the order of the backend's specs. */
typedef struct cadre_option_value {
    int given;                            /* 0: the entry does not name it */
    const char *string;                   /* STRING, PATH: UTF-8; alive until `close` */
    int64_t integer;                      /* INTEGER; BOOLEAN: 0 or 1 */
    double number;                        /* NUMBER and INTEGER */
    const struct cadre_named_text *texts; /* TEXTS: in their order, names unique; alive until `close` */
    size_t text_count;
} cadre_option_value;

/* What a model needs on one device. */
typedef struct cadre_memory_need {
    uint32_t device;        /* CADRE_DEVICE_HOST, … */
    uint64_t weights_bytes; /* shared: once for all workers; else for each */
    uint64_t worker_bytes;  /* for each worker besides: context, caches, compute buffers */
} cadre_memory_need;
#define CADRE_MEMORY_NEEDS_MAX 8

typedef struct cadre_backend_entry {
    size_t size;
    const char *key;
    cadre_capability capability;
    cadre_loader_kind kind;
    const cadre_option_value *options; /* one per spec */
    const char *const *device_names;   /* of the pool; entry 0 is "host" */
    size_t device_count;
    /* to be filled in; what the entry's own "memory" says overrides it */
    cadre_memory_need needs[CADRE_MEMORY_NEEDS_MAX];
    size_t need_count;
    char detail[512]; /* why open fails */
} cadre_backend_entry;

/* One model of any capability; `make` fills in the member of the entry's, which comes as its _INIT makes it, with `size` set: set fields, do not assign the
 * whole. */
typedef union cadre_any_model {
    size_t size;
    cadre_text_to_text_model text_to_text;
    cadre_text_embedding_model text_embedding;
    cadre_image_embedding_model image_embedding;
    cadre_vision_model vision;
    cadre_text_to_image_model text_to_image;
} cadre_any_model;

typedef struct cadre_backend {
    uint32_t version; /* CADRE_BACKEND_VERSION */
    size_t size;
    const char *name;      /* "llama"; letters, digits, '-' and '_' */
    uint32_t capabilities; /* 1u << cadre_capability, of each that it has */
    int shares_weights;    /* 1: `load` is there and `make` takes its weights */
    const cadre_option_spec *options;
    size_t option_count;
    /* Checks the entry and makes its configuration. May block and read files' headers. An error: entry->detail says why, nothing is kept. */
    int (*open)(const struct cadre_backend *backend, cadre_backend_entry *entry, void **self);
    void (*close)(void *self);
    /* May be NULL: the backend has no asynchronous loads. NULL as a result fails the load. What it fetched reaches `load` as `fetched`, or `make` as `source`
     * where the backend does not share weights. */
    cadre_weights_future *(*fetch)(void *self, cadre_load_context *context);
    int (*load)(void *self, cadre_load_context *context, cadre_weights *fetched, cadre_weights_value *out);
    int (*make)(void *self, cadre_load_context *context, cadre_weights *source, cadre_any_model *out);
    void *data; /* the backend's own */
} cadre_backend;

/* The name of a module's one exported function. */
#define CADRE_BACKEND_MODULE "cadre_backend_module"
CADRE_EXTERN const struct cadre_backend *cadre_backend_module(uint32_t version);

/* In `open`: says why (entry->detail) and returns `error`. */
CADRE_EXTERN int cadre_backend_fail(cadre_backend_entry *entry, int error, const char *format, ...) CADRE_PRINTF(3, 4);

/* Loop thread. Makes a backend known to this pool; static storage, or alive until the pool's close callback. A name that is registered comes before modules.
 * CADRE_EINVAL: a NULL, a wrong version, or a table that lacks what it says it has; CADRE_EEXIST; CADRE_ENOMEM; CADRE_ECLOSED. */
CADRE_EXTERN int cadre_backend_register(cadre_pool *pool, const cadre_backend *backend);

CADRE_END
#endif
