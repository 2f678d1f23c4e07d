/* The registry's additions: what happens between a host's call and the entries. Loop thread, but for what says otherwise. */
#ifndef CADRE__REGISTRY_H
#define CADRE__REGISTRY_H

#include "registry/entry.h"

/* One addition: a manifest, or one entry. A task of the checks thread reads and checks, the loop then makes the change whole or not at all. The block is
 * self-contained: a checks thread that was abandoned touches nothing of the pool's. */
typedef struct cadre__addition {
    cadre__task task; /* first */
    cadre_port *port; /* counted */
    cadre__list link; /* loop: in pool->addition_list, until its host was told */
    cadre_registry_cb cb;
    void *data;
    bool told;
    /* what is to be added */
    char *path; /* a manifest's file; or */
    char *text; /* its text; or one entry: `specs` */
    size_t text_length;
    char *folder; /* of the manifest */
    /* what the thread may know of the pool */
    char *backend_path;
    const cadre_backend **backends;
    size_t backend_count;
    const char **device_names; /* of the pool's accounts, copied */
    size_t device_count;
    cadre_file_fetcher files; /* size 0: none */
    /* what came out */
    cadre__spec *specs;
    struct cadre__prepared *prepared; /* one per spec */
    size_t prepared_count;
    int status;
    char detail[CADRE__DETAIL_SIZE * 2];
} cadre__addition;

/* One entry, checked by its backend. */
typedef struct cadre__prepared {
    cadre__config *config;
    cadre_memory_need needs[CADRE_MEMORY_NEEDS_MAX];
    size_t need_count;
} cadre__prepared;

/* registry/check.c, the checks thread: fills in specs and prepared, or status and detail. */
void cadre__addition_check(cadre__addition *addition);
/* registry/module.c, the checks thread: a backend by its name. NULL: detail says why. */
const cadre_backend *cadre__backend_find(const cadre__addition *addition, const char *name, char *detail, size_t size);

/* A request names a key that nobody knows while additions are under way: it may wait. */
int cadre__registry_unknown(cadre_pool *pool, const char *key, cadre_capability capability, cadre__model **out);
/* Part of the close: those that are under way are told; their threads' blocks stay their own. */
void cadre__additions_close(cadre_pool *pool);

/* Adds an entry whose models come from a typed loader (as bytes); consumes it. */
int cadre__registry_add_loader(cadre_pool *pool, const cadre_entry *entry, cadre_capability capability, const void *loader, cadre__load_call call,
                               cadre_registry_cb cb, void *data);

/* A copy of the names of the pool's accounts, one per account. NULL: out of memory. */
const char **cadre__device_names_copy(const cadre_pool *pool);
void cadre__device_names_free(const cadre_allocator *allocator, const char **names, size_t count);
/* Whether the least that a model needs is more than a whole budget; then detail says so. */
bool cadre__needs_exceed(const cadre_pool *pool, const cadre_entry *entry, bool shares, const cadre_memory_need *needs, size_t count, char *detail,
                         size_t size);

int cadre__backend_check(const cadre_backend *backend);

#endif
