/* Files that may have to be fetched before an entry can be loaded.
 *
 * An entry whose options or "files" hold references has two configurations: the origin, which is made at the addition, holds the references and is never opened
 * or changed, and the one that its loads use, which is a copy with local paths and is made each time the files were found. A look (registry/look.c) is done on
 * the checks thread and touches nothing but its own block, the origin and the port; the loop (registry/files.c) decides what comes of it:
 *
 *     look ── all here ──> open ──> the load goes on as any
 *      ^  └── some missing ──> fetch, by the pool's file fetcher, on the loop; only for "async" entries and for cadre_registry_fetch
 *      └───────────────────────┘ once; what is still missing then is an error
 *
 * Nobody waiting any more, an unload, a removal and the close end a fetch by releasing its future, and a look by forgetting it: its result is then dropped. */
#ifndef CADRE__FILES_H
#define CADRE__FILES_H

#include "registry/entry.h"

/* One look at an entry's files. */
typedef struct cadre__inspection {
    cadre__config *config; /* with the references, or without any; borrowed */
    cadre_file_fetcher files;
    const char *key;
    const char *const *device_names;
    size_t device_count;
    cadre_memory_need own[CADRE_MEMORY_NEEDS_MAX]; /* what the entry itself says that it needs */
    size_t own_count;
    bool open; /* have the backend look at them if all are here */
    /* what came out */
    bool *found;           /* one per reference; freed with the inspection */
    size_t absent;         /* how many are not here */
    bool here;             /* all were found */
    cadre__config *opened; /* counted, and the caller's; may be `config` if that has no references */
    cadre_memory_need needs[CADRE_MEMORY_NEEDS_MAX];
    size_t need_count;
    int status; /* UV_ENOENT with absent > 0: not here */
    size_t at;  /* the reference that the status is about; SIZE_MAX: none */
    char detail[CADRE__DETAIL_SIZE];
} cadre__inspection;

/* ---- registry/look.c: the checks thread ---- */

/* Lists the references of a configuration whose options are read. False: out of memory. */
bool cadre__config_refer(cadre__config *config, const cadre_entry *entry);
/* The field that holds a reference: "options.path", "files[2]". */
void cadre__reference_field(const cadre__config *config, size_t i, char *out, size_t size);
void cadre__inspect(cadre__inspection *inspection);
void cadre__inspection_end(cadre__inspection *inspection);

/* ---- registry/files.c: the loop ---- */

/* Part of the entry's step: looks and fetches as they are wanted. True: a load may start now. */
bool cadre__files_here(cadre__entry *entry, uint32_t wanted);
/* Ends the look and the fetch that are under way, if any. */
void cadre__files_stop(cadre__entry *entry);

#endif
