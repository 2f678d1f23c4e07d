/* Scripted models as entries of the registry: backends whose models are scripts of the entry's key, and what a test of the registry looks at (what callbacks
 * said, events, infos).
 *
 * Three backends: "plain" loads each worker on its own and can do so asynchronously, "shared" loads weights once for all workers, "bare" is as "plain" without
 * asynchronous loads. A script must be there before its entry is added. */
#ifndef CADRE_TESTS_SCRIPTED_BACKEND_H
#define CADRE_TESTS_SCRIPTED_BACKEND_H

#include "scripted.h"

/* ---- what a callback of the registry said ---- */
typedef struct told {
    int count, status;
    char detail[600];
} told;
void on_told(cadre_pool *pool, int status, const char *detail, void *data);

/* ---- events ---- */
typedef struct seen_event {
    cadre_event_type type;
    char key[64], detail[256];
    int status;
    uint64_t bytes, ns, time_ns;
    cadre_worker_id worker;
} seen_event;
#define EVENTS_MAX 4096
extern seen_event events[EVENTS_MAX];
extern size_t event_count;
/* How many of a type, for a key (NULL: any), from the event with this index on. */
size_t events_of(cadre_event_type type, const char *key, size_t from);
/* The index of the first such event at or after `from`; EVENTS_MAX: none. */
size_t event_after(cadre_event_type type, const char *key, size_t from);

/* ---- the fixture ---- */
/* With the three backends, a recorder of events and a fixed seed. */
fixture *registry_begin(void);
fixture *registry_begin_with(int64_t memory_bytes, int32_t cores);
fixture *registry_begin_all(const cadre_pool_options *options);
/* Two more: "plain-files" and "shared-files", which have the options "path" and "other". */
void register_file_backends(fixture *fx);
/* Moves the clock, and lets what was due happen. */
void pass_time(fixture *fx, int64_t ms);

/* ---- entries ---- */
/* Key and capability of the script, backend "plain", no batch window; bytes of host memory for each worker (0: none is asked). */
cadre_entry entry_of(const script *s);
void entry_takes(cadre_entry *entry, cadre_memory_need *need, uint64_t weights, uint64_t worker);
/* A script of this key, one at a time, of text-to-text. */
script *text_script(fixture *fx, const char *key);
told try_add(fixture *fx, const cadre_entry *entry);
void add(fixture *fx, const cadre_entry *entry);
/* A text model that takes so much memory for each worker, with all else at its default. */
script *added(fixture *fx, const char *key, uint64_t bytes);
told load_now(fixture *fx, const char *key);
/* Loaded, and it has served a request. */
void serve_once(script *s);
told fetch_now(fixture *fx, const char *key);
told unload_now(fixture *fx, const char *key);
told remove_now(fixture *fx, const char *key);
cadre_entry_info info_of(fixture *fx, const char *key);
cadre_snapshot snapshot_of(fixture *fx);
void until_workers(fixture *fx, const char *key, uint32_t workers);
void until_state(fixture *fx, const char *key, cadre_model_state state);
void until_charged(fixture *fx, uint64_t bytes);
void assert_state_of(fixture *fx, const char *key, cadre_model_state state);
/* The same, asked with a deadline. */
answer *ask_within(script *s, const char *text, int64_t timeout_ms);
/* Refused at once: asserts the error, and that the detail contains a part. */
void assert_refused(script *s, int status, const char *part);

#endif
