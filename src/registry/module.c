/* Backends: registered ones, and modules found by name. */
#define _GNU_SOURCE
#include "registry/registry.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef const cadre_backend *(*module_fn)(uint32_t version);

int cadre__backend_check(const cadre_backend *backend)
{
    if (!backend || backend->version != CADRE_BACKEND_VERSION || backend->size != sizeof *backend || !backend->name || !*backend->name) return CADRE_EINVAL;
    for (const char *c = backend->name; *c; c++)
        if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || *c == '-' || *c == '_')) return CADRE_EINVAL;
    if (!backend->capabilities || backend->capabilities >= 1u << CADRE_CAPABILITY_COUNT) return CADRE_EINVAL;
    if (!backend->open || !backend->make || (backend->shares_weights && !backend->load)) return CADRE_EINVAL;
    if (backend->option_count > 1024 || (backend->option_count && !backend->options)) return CADRE_EINVAL;
    for (size_t i = 0; i < backend->option_count; i++)
        if (!backend->options[i].name || (unsigned)backend->options[i].type > CADRE_OPTION_TEXTS) return CADRE_EINVAL;
    return CADRE_OK;
}

int cadre_backend_fail(cadre_backend_entry *entry, int error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(entry->detail, sizeof entry->detail, format, arguments);
    va_end(arguments);
    return error;
}

int cadre_backend_register(cadre_pool *pool, const cadre_backend *backend)
{
    if (!pool) return CADRE_EINVAL;
    if (pool->closing) return cadre__pool_refuse(pool, CADRE_ECLOSED, "the pool is closing");
    if (cadre__backend_check(backend) != CADRE_OK)
        return cadre__pool_refuse(pool, CADRE_EINVAL, "the backend is NULL, of another version, or lacks what it says it has");
    for (size_t i = 0; i < pool->backend_count; i++)
        if (strcmp(pool->backends[i]->name, backend->name) == 0) return cadre__pool_refuse(pool, CADRE_EEXIST, "a backend \"%s\" is registered", backend->name);
    const cadre_allocator *allocator = cadre__pool_allocator(pool);
    const cadre_backend **grown = cadre__alloc(allocator, (pool->backend_count + 1) * sizeof *grown);
    if (!grown) return cadre__pool_refuse(pool, CADRE_ENOMEM, "out of memory");
    if (pool->backend_count) memcpy(grown, pool->backends, pool->backend_count * sizeof *grown);
    grown[pool->backend_count] = backend;
    cadre__free(allocator, pool->backends, pool->backend_count * sizeof *grown);
    pool->backends = grown;
    pool->backend_count++;
    return CADRE_OK;
}

/* ---- the checks thread ---- */

/* The folder `cadre` beside this library. */
static bool own_folder(char *out, size_t size)
{
    Dl_info info;
    if (!dladdr((const void *)(uintptr_t)cadre__backend_check, &info) || !info.dli_fname) return false;
    const char *slash = strrchr(info.dli_fname, '/');
    return slash ? snprintf(out, size, "%.*s/cadre", (int)(slash - info.dli_fname), info.dli_fname) < (int)size : snprintf(out, size, "./cadre") < (int)size;
}

/* NULL: `detail` says why. Modules stay open for the life of the process: their engines have threads and exit handlers of their own. */
static const cadre_backend *open_module(const char *path, const char *name, char *detail, size_t size)
{
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!module) {
        snprintf(detail, size, "the backend's module cannot be opened: %s", dlerror());
        return NULL;
    }
    module_fn function = (module_fn)(uintptr_t)dlsym(module, CADRE_BACKEND_MODULE);
    const cadre_backend *backend = function ? function(CADRE_BACKEND_VERSION) : NULL;
    if (!function)
        snprintf(detail, size, "%s is no backend: it has no " CADRE_BACKEND_MODULE "()", path);
    else if (!backend)
        snprintf(detail, size, "%s does not speak version %u of the interface", path, CADRE_BACKEND_VERSION);
    else if (cadre__backend_check(backend) != CADRE_OK || strcmp(backend->name, name) != 0)
        snprintf(detail, size, "%s is not a sound backend of the name \"%s\"", path, name);
    else
        return backend;
    dlclose(module);
    return NULL;
}

/* The first cadre-NAME.so in the folders of `path`. False: there is none. */
static bool find_module(const char *path, const char *name, char *out, size_t size)
{
    while (path && *path) {
        size_t length = strcspn(path, ":");
        if (length && snprintf(out, size, "%.*s/cadre-%s.so", (int)length, path, name) < (int)size && access(out, R_OK) == 0) return true;
        path += length + (path[length] == ':');
    }
    return false;
}

static bool is_name(const char *name)
{
    for (const char *c = name; *c; c++)
        if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || *c == '-' || *c == '_')) return false;
    return *name != '\0';
}

const cadre_backend *cadre__backend_find(const cadre__addition *addition, const char *name, char *detail, size_t size)
{
    char file[1024], own[900] = "";
    const char *names[64];
    size_t count = 0;
    for (size_t i = 0; i < addition->backend_count; i++) {
        if (strcmp(addition->backends[i]->name, name) == 0) return addition->backends[i];
        if (count < 64) names[count++] = addition->backends[i]->name;
    }
    const char *path = addition->backend_path ? addition->backend_path : getenv("CADRE_BACKEND_PATH");
    bool found = is_name(name) && find_module(path, name, file, sizeof file);
    if (!found && !addition->backend_path && own_folder(own, sizeof own)) found = is_name(name) && find_module(own, name, file, sizeof file);
    if (found) return open_module(file, name, detail, size);
    const char *near = cadre__nearest(name, names, count);
    snprintf(detail, size, "backend: no \"%.64s\" is registered, and there is no cadre-%.64s.so in %.200s%s%.200s%s%s%s", name, name, path ? path : "",
             path && *own ? ":" : "", own, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    return NULL;
}
