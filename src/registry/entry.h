/* Entries of the registry, and what keeps each of them in the state that its options and its requests ask for.
 *
 * An entry owns its model for as long as it stands. One function, cadre__entry_step, looks at what is there (workers, loads, the queue, failures, those who
 * wait for a load or an unload) and at what is wanted, and does the next thing: reserve memory, spawn, stop, retry, fail who waits. It runs in the turn for
 * each entry that something happened to, and when the entry's one deadline is due. Loop thread. */
#ifndef CADRE__ENTRY_H
#define CADRE__ENTRY_H

#include "memory/reserve.h"
#include "pool/worker.h"
#include "registry/breaker.h"
#include "registry/manifest.h"

/* A file of a model hub that an entry names (registry/files.h). */
typedef struct cadre__reference {
    const char *text;
    size_t index; /* of the option's value; else of entry.files */
    bool option;
} cadre__reference;

/* What makes an entry's models: a backend's configuration, or the host's loader. Counted: by the entry, by each load, and by each model until it is destroyed;
 * the last one has it closed on the reaper's thread (a host's loader is released on the loop). */
typedef struct cadre__config {
    atomic_uint refs;
    cadre_port *port; /* counted */
    const cadre_backend *backend;
    void *self;
    cadre__load_call call; /* the host's loader */
    cadre__loader loader;
    cadre_capability capability;
    cadre_loader_kind kind;
    cadre_option_value *values;
    size_t value_count;
    char *strings;
    size_t strings_bytes;
    bool opened; /* by its backend */
    cadre__reference *references;
    size_t reference_count, references_bytes;
    struct cadre__config *origin; /* counted: whose references are the paths here; NULL: there are none */
    char **paths;                 /* one per reference */
    size_t path_count;
    cadre__task closing;
} cadre__config;

cadre__config *cadre__config_ref(cadre__config *config);
void cadre__config_unref(cadre__config *config);

/* A host that waits for something to be over. */
typedef struct cadre__wish {
    struct cadre__wish *next;
    cadre_registry_cb cb;
    void *data;
    bool late; /* came while the model was being unloaded: it is for after that */
} cadre__wish;

typedef struct cadre__entry {
    cadre_pool *pool;
    cadre__spec *spec; /* its entry: all defaults filled in */
    cadre__model *model;
    cadre__config *config;
    cadre__list link, dirty, resident;
    cadre_memory_need needs[CADRE_MEMORY_NEEDS_MAX]; /* as estimated, then as measured */
    size_t need_count;
    cadre_spawn_options spawn;

    cadre__reserve reserve;                              /* for the next worker */
    cadre_memory_amount amounts[CADRE_MEMORY_NEEDS_MAX]; /* of that */
    bool reserving, reserving_weights;
    cadre_future *weights; /* shared ones: loading or loaded; counted */
    bool shares;           /* all workers use the same weights */
    bool weights_watched, preload;
    uint32_t reservations; /* live ones */
    uint64_t *charged;     /* by device */

    /* files that may not be here: see registry/files.h */
    struct cadre__look *look; /* under way */
    cadre_future *fetch;      /* under way; counted */
    cadre__deadline fetch_stall, fetch_limit;
    cadre__wish *fetches;  /* who waits for them alone */
    bool missing, doubted; /* so far as is known; a load has failed since they were looked at */
    bool fetched;          /* in this attempt */
    bool load_waits;       /* for the look or the fetch */

    bool pinned, removing, unloading, stopped; /* stopped: the pool is closing */
    cadre__wish *loads, *unloads, *removals;   /* who waits for a worker; for the memory to be free; for the entry to be gone */

    /* load failures */
    uint32_t failures; /* in a row */
    uint64_t retry_at; /* no load before this; 0: none failed */
    int status;        /* of the latest failure */
    char *detail;
    bool refused;           /* those who waited were told: until retry_at requests are refused with the reason */
    uint64_t lonely_since;  /* since when nobody waits for the load; 0: somebody does */
    uint64_t idle_check_at; /* when the first worker may have been idle for too long */

    cadre__breaker breaker;
    cadre__deadline due; /* always set */

    /* what it has learnt */
    cadre_progress progress;      /* the latest that a load of it reported */
    uint64_t load_ns, load_begun; /* a mean; of the load under way */
    uint64_t weights_since;       /* when the load of the weights began */
    uint64_t run_ns;              /* a mean over its requests, from dispatch to answer */
    uint64_t turn_since;          /* since when it has a worker that serves, or weights; 0: none */
    bool served;                  /* since then */
    uint64_t last_used;
    uint64_t heat, heat_epoch; /* how often it is asked for: see memory/evict.c */
    uint64_t evicted_for;      /* the reservation that waits for its weights */
    uint32_t extras;           /* scratch of a plan */
} cadre__entry;

extern const cadre_progress cadre__no_progress;

/* Something happened to it: have the turn look. */
void cadre__entry_touch(cadre__entry *entry);
/* Part of the turn. */
void cadre__entries_step(cadre_pool *pool);
/* Makes an entry of checked parts; consumes spec and config, on failure too. NULL: out of memory. It is in no list yet. */
cadre__entry *cadre__entry_create(cadre_pool *pool, cadre__spec *spec, cadre__config *config, const cadre_memory_need *needs, size_t need_count);
/* Takes its model, or makes it. False: out of memory. */
bool cadre__entry_find_model(cadre__entry *entry);
/* Puts it to work: from here on requests find it. */
void cadre__entry_install(cadre__entry *entry);
/* One that was not installed gives its model back. */
void cadre__entry_free(cadre__entry *entry);
/* Part of the close: nothing more is loaded, and who waits hears CADRE_ECLOSED. */
void cadre__entries_stop(cadre_pool *pool);
/* Part of the close: their configurations are closed by the reaper while there is one. */
void cadre__entries_let_go(cadre_pool *pool);
/* Part of the close's end. */
void cadre__entries_free(cadre_pool *pool);

/* ---- what the pool tells it ---- */

/* A request wants in; 0, or an error that was told (cadre__pool_refuse). timeout_ns: UINT64_MAX: none. *probe: it is one of the breaker's. */
int cadre__entry_admit(cadre__entry *entry, uint64_t timeout_ns, bool *probe);
/* A request was queued. */
void cadre__entry_asked(cadre__entry *entry);
/* A request is over. ran: its worker had begun it, for run_ns. */
void cadre__entry_answered(cadre__entry *entry, int status, const char *detail, bool ran, uint64_t run_ns, bool probe);
void cadre__entry_worker_ready(cadre__entry *entry, cadre__worker *worker);
/* One that was to serve will not. */
void cadre__entry_worker_failed(cadre__entry *entry, cadre__worker *worker, int status, const char *detail);
void cadre__entry_worker_idle(cadre__entry *entry);
/* A worker that served is leaving, or has left. */
void cadre__entry_worker_leaving(cadre__entry *entry);
/* One of its reservations was given back; weights: that of its shared ones. */
void cadre__entry_uncharged(cadre__entry *entry, bool weights);
/* Its weights or its worker took this much. */
void cadre__entry_measured(cadre__entry *entry, bool weights, uint32_t device, uint64_t bytes);

/* ---- eviction ---- */

/* Stops an idle worker (NULL: there is none), and with the last one drops the shared weights, for who waits for the memory. */
void cadre__entry_evict(cadre__entry *entry, cadre__worker *worker, bool last, const char *by, const char *reason);

/* When it makes sense to come back, in ms; 0: not known. */
int64_t cadre__entry_retry_after(const cadre__entry *entry);
cadre_model_state cadre__entry_state(const cadre__entry *entry);
/* What its shared weights are charged; 0: there are none. */
uint64_t cadre__entry_weights_bytes(const cadre__entry *entry);

/* ---- between its files ---- */

/* Remembers who waits for it. False: out of memory. */
bool cadre__entry_wish(cadre__entry *entry, cadre__wish **list, cadre_registry_cb cb, void *data);
void cadre__entry_grant_loads(cadre__entry *entry, int status, const char *detail);
void cadre__entry_grant_fetches(cadre__entry *entry, int status, const char *detail);
void cadre__entry_drop_weights(cadre__entry *entry);
/* A load that came to no worker: counted, then as below. */
void cadre__entry_no_load(cadre__entry *entry, int status, const char *detail);
/* A load failed: retry, or tell who waits. */
void cadre__entry_load_failed(cadre__entry *entry, int status, const char *detail);

static inline bool cadre__entry_shares(const cadre__entry *entry)
{
    return entry->shares;
}
/* registry/load.c: starts the load of the shared weights; consumes owned. 0, or an error with a detail: it could not be started. */
int cadre__entry_load_weights(cadre__entry *entry, cadre_reservation *owned, char detail[CADRE__DETAIL_SIZE]);
void cadre__entry_forget_weights(cadre__entry *entry, cadre_future *weights);
/* Spawns one worker; consumes owned. cold: its load reads the weights too. 0 or an error. */
int cadre__entry_spawn(cadre__entry *entry, cadre_reservation *owned, bool cold);

#endif
