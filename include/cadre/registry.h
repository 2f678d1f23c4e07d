/* The registry: models by name. A host that uses it never calls spawn.
 *
 * An entry says what a model is and how its workers come to be. From then on requests name its key, and the library decides: a request for a cold model starts
 * its load and waits for it; more workers come while requests queue and go when they are idle; memory for a load is made by evicting what is idle; a load that
 * fails is tried again; a model that keeps failing rests. Nothing of this blocks the loop.
 *
 *     cadre_registry_load(pool, "models.json", NULL, NULL);                            a manifest, or
 *     cadre_entry entry = CADRE_ENTRY_INIT;                                            one entry from C
 *     entry.key = "smollm2", entry.capability = CADRE_TEXT_TO_TEXT, entry.backend = "llama", entry.options = "{\"path\": \"smollm2.gguf\"}";
 *     cadre_registry_add(pool, &entry, NULL, NULL);
 *
 * Adding is asynchronous (files are looked at on a thread of the library's own). Meanwhile requests for keys that nobody knows are accepted and wait; when the
 * last addition is over and their key is still unknown, they fail with CADRE_ENOENT, or with the error and detail of the latest addition that failed. At most
 * 1,000 unknown keys wait, each with the default queue capacity; beyond that CADRE_EFULL.
 *
 * The manifest is one JSON object of at most 4 MiB; docs/manifest.schema.json describes it:
 *
 *     {"models": [{"key": "smollm2", "capability": "text-to-text", "backend": "llama", "options": {"path": "smollm2.gguf", "slots": 4},
 *                  "loader": "sync", "workers": {"initial": 1, "min": 0, "max": 4}, "idle_timeout_ms": 60000}]}
 *
 * Its fields are those of cadre_entry; key, capability and backend are required. "defaults" is an object with the fields of cadre_request_defaults. Besides:
 * "workers": {"initial", "min", "max"}; "breaker": {"failures", "open_ms", "probes", "successes"}; "memory": {"DEVICE": {"weights_bytes", "worker_bytes"}}
 * ("host" is the host's memory); "options": the backend's own; "priority": "critical" … "batch"; "pinned": true or false; "never" for CADRE_NEVER. "$schema"
 * and "version": 1 may stand beside "models". An unknown field is an error that names the nearest known one. Entries do not share weights, also those of one
 * file.
 *
 * Files that are not here yet. A path among the options may be a reference to a file of a model hub, "hf:OWNER/NAME/FILE" or "hf:OWNER/NAME@REVISION/FILE", and
 * "files" may name more of them that belong to the model ("hf:OWNER/NAME/model.onnx_data"); the first part of a split GGUF stands for all parts. The pool's
 * file fetcher (cadre_pool_options.files; libcadre-fetch has one) finds what is in its cache and brings the rest. An entry whose files are all there is checked
 * at its addition like any other. One that lacks some is added unseen: an "async" one brings them when it is first loaded, on the loop, without a thread that
 * waits, before memory is reserved; of a "sync" or "preloaded" one the load looks once more and fails with UV_ENOENT, its detail saying what to fetch. Then the
 * backend looks at them, on the checks thread, and the load goes on as any. cadre_registry_fetch brings them ahead, whatever the loader; a load of any
 * kind joins one that is under way. load_timeout_ms limits the load that waits for files to be found or fetched,
 * and not the fetch of a host.
 *
 * When workers come and go. The first request of a cold model starts initial_workers. One more is started while what waits would take the present workers
 * twice as long as a load, at least 250 ms, all of them are busy and a core is free for it; it takes free memory only and evicts nobody. An idle worker goes
 * after idle_timeout_ms, down to min_workers (a pinned model keeps one). A load for which nobody waits any longer is cancelled after 5 s. All functions here:
 * loop thread; they may be called until the pool's close callback. */
#ifndef CADRE_REGISTRY_H
#define CADRE_REGISTRY_H

#include <cadre/backend.h>

CADRE_BEGIN

/* The sampling and picture parameters that a model is meant to be used with: one stands in where a request leaves the field of this name at its sentinel.
 * Ranges as there (cadre/generation.h, cadre/text_to_image.h); fields of other capabilities must stay at their sentinels. */
typedef struct cadre_request_defaults {
    size_t size;
    float temperature;
    int32_t top_k;
    float top_p, min_p, repeat_penalty;
    int32_t max_tokens;
    int32_t width, height, steps;
    float guidance;
} cadre_request_defaults;
#define CADRE_REQUEST_DEFAULTS_INIT                                                                                                                            \
    {                                                                                                                                                          \
        sizeof(cadre_request_defaults), CADRE_DEFAULT_FLOAT, CADRE_DEFAULT, CADRE_DEFAULT_FLOAT, CADRE_DEFAULT_FLOAT, CADRE_DEFAULT_FLOAT, CADRE_DEFAULT,      \
            CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT_FLOAT                                                                                   \
    }

typedef struct cadre_entry {
    size_t size;
    const char *key;                 /* 1 to 255 bytes of UTF-8 without control characters; what requests name */
    int32_t capability;              /* cadre_capability; required */
    const char *backend;             /* its name; NULL for the functions that take a loader */
    const char *options;             /* the backend's, a JSON object; NULL: {} */
    const char *folder;              /* where relative paths in `options` begin; NULL: the working directory. Not in manifests */
    int32_t loader;                  /* cadre_loader_kind; default sync */
    const char *name;                /* for people and for lookup; NULL: the key */
    const char *provider;            /* likewise; NULL: "" */
    const cadre_memory_need *memory; /* what a load reserves; default: the backend's estimate; with a typed loader: nothing */
    size_t memory_count;
    int32_t initial_workers;  /* started together for the first request; default 1 */
    int32_t min_workers;      /* kept always, from the addition on; default 0 */
    int32_t max_workers;      /* default 4 */
    int64_t idle_timeout_ms;  /* a worker above min_workers that was idle for this goes; default 60,000; CADRE_NEVER */
    int64_t min_residency_ms; /* a model is not evicted for another before it was there for this, unless it has served and is idle; default 5,000 */
    int32_t pinned;           /* 1: loaded at the addition, never evicted, no idle timeout; default 0 */
    int32_t priority;         /* cadre_priority of its loads when memory is short; default normal */
    const char *warm_up;      /* text models: a request with this text comes first on each new worker, its answer is dropped; NULL: none */
    int32_t load_retries;     /* after a load that failed in a way that may pass, while somebody waits; default 2 */
    int64_t retry_delay_ms;   /* before the first of them, doubling to 60 s, ± 25 %; default 500 */
    int32_t queue_capacity;   /* as in cadre_spawn_options, with the same defaults */
    int64_t batch_window_us;
    int32_t stream_window;
    int64_t load_timeout_ms;
    int64_t stall_timeout_ms;
    int64_t hang_timeout_ms;
    int32_t breaker_failures;  /* consecutive failures that make the model rest; default 5; 0: never */
    int64_t breaker_open_ms;   /* for this long; default 60,000 */
    int32_t breaker_probes;    /* then so many requests at a time are let through; default 3 */
    int32_t breaker_successes; /* until so many have succeeded; default 3 */
    const char *license;       /* for people: an SPDX name, or another; NULL: "" */
    const char *const *files;  /* further references that belong to the model; the backend does not look at them; CADRE_ENOTSUP with a typed loader */
    size_t file_count;
    int64_t estimate_bytes; /* what it is expected to need, > 0: of use before its files are here. A load that would need more than the whole budget then fails
                               with CADRE_EBUDGET before anything is downloaded; default: not known */
    int32_t dimension;      /* embeddings: what the model must give; one that gives another fails its load with CADRE_EFORMAT; default: whatever it gives */
    const cadre_request_defaults *defaults; /* what requests take that leave a field at its sentinel; NULL: the model's own */
} cadre_entry;
#define CADRE_ENTRY_INIT                                                                                                                                       \
    {                                                                                                                                                          \
        sizeof(cadre_entry), NULL, CADRE_DEFAULT, NULL, NULL, NULL, CADRE_DEFAULT, NULL, NULL, NULL, 0, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT,           \
            CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT, NULL, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT,       \
            CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT, NULL, NULL, 0, CADRE_DEFAULT,             \
            CADRE_DEFAULT, NULL                                                                                                                                \
    }

/* Loop thread, once for each call below that returned 0. status 0: done; negative: nothing was changed, and detail says what was wrong and where:
 * "models.json:12:9: models[2].options.pth: unknown field; did you mean \"path\"?". Valid during the call. */
typedef void (*cadre_registry_cb)(cadre_pool *pool, int status, const char *detail, void *data);

/* Adds every entry of a manifest, or none: one that is wrong, or larger than the whole budget, refuses them all. `path` is read on a thread of the library's
 * own. `cb` may be NULL (the log tells a failure). An immediate error (CADRE_EINVAL, CADRE_ENOMEM, CADRE_ECLOSED) as everywhere; by cb: UV_ENOENT, UV_EACCES,
 * UV_EISDIR, …; CADRE_EMANIFEST: not JSON, unknown or wrong fields, over 4 MiB; CADRE_EEXIST: a key twice, or known already; CADRE_EBACKEND; CADRE_ECAPABILITY:
 * the backend lacks it; CADRE_EBUDGET: larger than the whole budget; or the backend's own error. */
CADRE_EXTERN int cadre_registry_load(cadre_pool *pool, const char *path, cadre_registry_cb cb, void *data);
/* As above, from memory (copied). `folder` (may be NULL) is where relative paths begin; messages name the place as "manifest:LINE:COLUMN". */
CADRE_EXTERN int cadre_registry_load_text(cadre_pool *pool, const char *json, size_t length, const char *folder, cadre_registry_cb cb, void *data);

/* Adds one entry (everything is copied). */
CADRE_EXTERN int cadre_registry_add(cadre_pool *pool, const cadre_entry *entry, cadre_registry_cb cb, void *data);

/* Adds one entry whose models come from the host's own loader (cadre/worker.h), without a backend: `load` is called once for each attempt at a worker, and
 * makes a future in any of the three ways; `release` runs once, when the entry is gone. The loader is consumed on success and failure alike. entry->backend,
 * options and folder are not used; entry->memory says what each worker is charged (weights_bytes + worker_bytes). */
CADRE_EXTERN int cadre_registry_add_text_to_text(cadre_pool *pool, const cadre_entry *entry, const cadre_text_to_text_loader *loader, cadre_registry_cb cb,
                                                 void *data);
CADRE_EXTERN int cadre_registry_add_text_embedding(cadre_pool *pool, const cadre_entry *entry, const cadre_text_embedding_loader *loader, cadre_registry_cb cb,
                                                   void *data);
CADRE_EXTERN int cadre_registry_add_image_embedding(cadre_pool *pool, const cadre_entry *entry, const cadre_image_embedding_loader *loader,
                                                    cadre_registry_cb cb, void *data);
CADRE_EXTERN int cadre_registry_add_vision(cadre_pool *pool, const cadre_entry *entry, const cadre_vision_loader *loader, cadre_registry_cb cb, void *data);
CADRE_EXTERN int cadre_registry_add_text_to_image(cadre_pool *pool, const cadre_entry *entry, const cadre_text_to_image_loader *loader, cadre_registry_cb cb,
                                                  void *data);

/* Takes an entry out. New requests answer CADRE_ENOENT at once; accepted ones are served, then its workers go; cb runs when its memory is free again.
 * CADRE_ENOENT; CADRE_EBUSY: its first worker is loading (or the files are brought that it waits for), or it is being removed. */
CADRE_EXTERN int cadre_registry_remove(cadre_pool *pool, const char *key, cadre_registry_cb cb, void *data);

/* ---- files ---- */

/* How references become files. Both functions may be called by several pools. `self` lives until the pool's close callback; where that reports abandoned
 * threads, one `find` may still be running. */
typedef struct cadre_file_fetcher {
    size_t size;
    void *self;
    /* Checks thread; may block; no network. Writes the local path of the file that the reference names. 0; UV_ENOENT: it, or a further part of it, is not in
     * the cache; CADRE_EINVAL: no reference, detail says why; or the system's error with a detail. */
    int (*find)(void *self, const char *reference, char *path, size_t path_size, char *detail, size_t detail_size);
    /* Loop thread; must not block. Brings the files (and the further parts of split ones) into the cache; the future resolves, to weights without a payload
     * (CADRE_WEIGHTS_VALUE_INIT), when `find` has them all. Progress in bytes, stage "download". The references are valid during the call. NULL: out of memory.
     * Releasing the future cancels; what has come is kept for the next time. */
    cadre_weights_future *(*fetch)(void *self, cadre_pool *pool, const char *const *references, size_t count);
} cadre_file_fetcher;

/* Brings an entry's missing files; cb runs when they are here (at once, on a later turn, if nothing is missing), or with the reason. Nothing is loaded but
 * the shared weights of a "preloaded" entry, which follow as after its addition. CADRE_ENOENT; CADRE_ENOMEM; CADRE_ECLOSED; CADRE_EINVAL. By cb besides what
 * the fetcher says: CADRE_ECANCELED: the model was unloaded or removed meanwhile; CADRE_ECLOSED: the pool is closing. */
CADRE_EXTERN int cadre_registry_fetch(cadre_pool *pool, const char *key, cadre_registry_cb cb, void *data);

/* ---- one model ---- */

/* Loads it now: cb runs when a worker is ready (at once, on a later turn, if one is), or with the reason when no load is left that could make one.
 * CADRE_ENOENT; CADRE_ENOMEM; CADRE_ECLOSED. */
CADRE_EXTERN int cadre_model_load(cadre_pool *pool, const char *key, cadre_registry_cb cb, void *data);
/* Stops its workers as they finish what they run, and drops its weights; cb runs when the memory is free. Requests that wait, or come later, load it again.
 * CADRE_ENOENT; CADRE_EBUSY: it is pinned, or has min_workers. */
CADRE_EXTERN int cadre_model_unload(cadre_pool *pool, const char *key, cadre_registry_cb cb, void *data);
/* 1: loads it and keeps it; 0: lets it go as any other. CADRE_ENOENT. */
CADRE_EXTERN int cadre_model_pin(cadre_pool *pool, const char *key, int pinned);

/* ---- lookup ---- */

typedef enum cadre_model_state {
    CADRE_MODEL_COLD = 0,    /* no worker; the next request loads it */
    CADRE_MODEL_WAITING = 1, /* its load waits for memory */
    CADRE_MODEL_LOADING = 2,
    CADRE_MODEL_READY = 3,   /* at least one worker serves */
    CADRE_MODEL_FAILED = 4,  /* its load failed; requests are refused with the reason until the next attempt is due */
    CADRE_MODEL_RESTING = 5, /* its breaker is open */
    CADRE_MODEL_REMOVING = 6
} cadre_model_state;

/* "cold", …; "unknown". Any thread; static storage. */
CADRE_EXTERN const char *cadre_model_state_name(cadre_model_state state);

/* What an entry is. The strings are valid until the loop turns. */
typedef struct cadre_entry_info {
    size_t size; /* set by the caller */
    const char *key, *name, *provider;
    const char *backend; /* NULL: a loader of the host's */
    cadre_capability capability;
    cadre_loader_kind loader;
    cadre_model_state state;
    int pinned;
    int status;         /* FAILED: why */
    const char *detail; /* likewise, else "" */
    uint32_t workers;   /* ready */
    uint32_t workers_loading, workers_busy;
    uint64_t queued;                          /* requests that no worker has */
    uint64_t loads, load_failures, evictions; /* so far; loads: that made a worker */
    uint64_t requests_done, requests_failed;  /* so far */
    uint64_t resident_bytes;                  /* charged to it now, over all devices */
    int64_t retry_after_ms;                   /* FAILED, RESTING: when it makes sense to come back; else 0 */
    uint64_t load_ms;                         /* a recent mean of what a load took; 0: not known */
    cadre_progress progress; /* while something of it loads or is fetched: the latest that was reported (fraction NaN: nothing yet, stage "") */
    const char *license;
    int missing;  /* 1: its files are not all here, so far as is known */
    int fetching; /* 1: they are being brought; `state` is COLD unless a load waits for them */
} cadre_entry_info;
#define CADRE_ENTRY_INFO_INIT                                                                                                                                  \
    {                                                                                                                                                          \
        sizeof(cadre_entry_info), NULL, NULL, NULL, NULL, CADRE_TEXT_TO_TEXT, CADRE_LOADER_SYNC, CADRE_MODEL_COLD, 0, 0, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,   \
            0, 0, {sizeof(cadre_progress), 0, 0, 0, NULL}, NULL, 0, 0                                                                                          \
    }

/* CADRE_ENOENT; CADRE_EINVAL. */
CADRE_EXTERN int cadre_registry_get(const cadre_pool *pool, const char *key, cadre_entry_info *out);

/* NULL, or CADRE_DEFAULT, matches all. */
typedef struct cadre_entry_filter {
    size_t size;
    int32_t capability;
    const char *provider, *name;
} cadre_entry_filter;
#define CADRE_ENTRY_FILTER_INIT                                                                                                                                \
    {                                                                                                                                                          \
        sizeof(cadre_entry_filter), CADRE_DEFAULT, NULL, NULL                                                                                                  \
    }

/* Inside cadre_registry_list. Must not add or remove. Non-zero ends the listing. */
typedef int (*cadre_entry_visit_cb)(const cadre_entry_info *entry, void *data);

/* Visits what matches, in the order of addition; `filter` and `visit` may be NULL. Returns how many match (up to where it ended), or CADRE_EINVAL. */
CADRE_EXTERN int64_t cadre_registry_list(const cadre_pool *pool, const cadre_entry_filter *filter, cadre_entry_visit_cb visit, void *data);

CADRE_END
#endif
