/* The checks thread's part of an addition: read, parse, ask the backends. Touches nothing of the pool's. */
#include "registry/files.h"
#include "registry/registry.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const cadre_allocator *allocator_of(const cadre__addition *addition)
{
    return &addition->port->allocator;
}

static int fail(cadre__addition *addition, int status, const char *what, const char *why)
{
    snprintf(addition->detail, sizeof addition->detail, "%s: %s", what, why);
    return status;
}

/* ---- the file ---- */

static int read_all(cadre__addition *addition, int fd, size_t size)
{
    char *text = cadre__alloc(allocator_of(addition), size + 1);
    size_t length = 0;
    if (!text) return CADRE_ENOMEM;
    addition->text = text;
    addition->text_length = size;
    while (length < size) {
        ssize_t n = read(fd, text + length, size - length);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail(addition, uv_translate_sys_error(errno), addition->path, strerror(errno));
        if (n == 0) break;
        length += (size_t)n;
    }
    memset(text + length, ' ', size - length); /* it became shorter while it was read */
    return CADRE_OK;
}

static int read_file(cadre__addition *addition)
{
    struct stat info;
    int fd = open(addition->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return fail(addition, uv_translate_sys_error(errno), addition->path, strerror(errno));
    int rc = CADRE_OK;
    if (fstat(fd, &info) < 0)
        rc = fail(addition, uv_translate_sys_error(errno), addition->path, strerror(errno));
    else if (S_ISDIR(info.st_mode))
        rc = fail(addition, UV_EISDIR, addition->path, "is a directory, not a manifest");
    else if (!S_ISREG(info.st_mode))
        rc = fail(addition, CADRE_EMANIFEST, addition->path, "is not a regular file");
    else if ((uint64_t)info.st_size > CADRE__MANIFEST_MAX)
        rc = fail(addition, CADRE_EMANIFEST, addition->path, "is larger than 4 MiB");
    else
        rc = read_all(addition, fd, (size_t)info.st_size);
    close(fd);
    return rc;
}

/* Where relative paths begin: the manifest's folder. NULL: out of memory. */
static char *folder_of(cadre__addition *addition)
{
    const char *slash = strrchr(addition->path, '/'), *from = slash == addition->path ? "/" : slash ? addition->path : ".";
    size_t length = slash && slash != addition->path ? (size_t)(slash - addition->path) : 1;
    char *folder = cadre__alloc(allocator_of(addition), length + 1); /* strings are freed by their length */
    return folder ? memcpy(folder, from, length) : NULL;
}

static int parse(cadre__addition *addition)
{
    int rc = CADRE_OK;
    if (addition->path) {
        rc = read_file(addition);
        if (rc == CADRE_OK && !(addition->folder = folder_of(addition))) rc = CADRE_ENOMEM;
    }
    if (rc != CADRE_OK) return rc;
    if (!addition->text) return CADRE_OK; /* one entry from C */
    return cadre__manifest_parse(allocator_of(addition), addition->path ? addition->path : "manifest", addition->text, addition->text_length, addition->folder,
                                 addition->device_names, addition->device_count, &addition->specs, addition->detail, sizeof addition->detail);
}

/* ---- the backends ---- */

/* "models.json:3:5: models[1]: " */
static void say_place(const cadre__spec *spec, char *out, size_t size)
{
    const cadre__place *place = &spec->place;
    if (place->file)
        snprintf(out, size, "%s:%u:%u: %s: ", place->file, place->line, place->column, place->path ? place->path : "");
    else
        snprintf(out, size, "%s: ", spec->entry.key);
}

static int refuse(cadre__addition *addition, const cadre__spec *spec, int status, const char *why)
{
    char place[300];
    say_place(spec, place, sizeof place);
    snprintf(addition->detail, sizeof addition->detail, "%s%s", place, why);
    return status;
}

static const char *kind_fault(const cadre_backend *backend, int32_t kind)
{
    if (kind == CADRE_LOADER_ASYNC && !backend->fetch) return "the backend has no asynchronous loads (\"loader\": \"async\")";
    if (kind == CADRE_LOADER_PRELOADED && !backend->shares_weights) return "the backend cannot share weights (\"loader\": \"preloaded\")";
    return NULL;
}

/* A reference that cannot be taken. In a manifest the position is that of the options, or of the entry. */
static int refuse_reference(cadre__addition *addition, const cadre__spec *spec, const cadre__config *config, size_t i, int status, const char *why)
{
    char field[300];
    cadre__reference_field(config, i, field, sizeof field);
    const cadre__place *place = config->references[i].option && spec->options.file ? &spec->options : &spec->place;
    if (place->file)
        snprintf(addition->detail, sizeof addition->detail, "%s:%u:%u: %s.%s: %s", place->file, place->line, place->column,
                 spec->place.path ? spec->place.path : "", field, why);
    else
        snprintf(addition->detail, sizeof addition->detail, "%s: %s: %s", spec->entry.key, field, why);
    return status;
}

/* Has the backend look at what the entry names, if that is here. */
static int inspect(cadre__addition *addition, const cadre__spec *spec, cadre__prepared *out)
{
    cadre__config *config = out->config;
    const cadre_entry *e = &spec->entry;
    cadre__inspection ins = {.config = config,
                             .files = addition->files,
                             .key = e->key,
                             .device_names = addition->device_names,
                             .device_count = addition->device_count,
                             .own_count = e->memory_count,
                             .open = true};
    for (size_t i = 0; i < e->memory_count && i < CADRE_MEMORY_NEEDS_MAX; i++) ins.own[i] = e->memory[i];
    if (config->reference_count && !addition->files.find) {
        char why[CADRE__DETAIL_SIZE];
        snprintf(why, sizeof why, "\"%.300s\" is a file of a model hub, and the pool has no file fetcher", config->references[0].text);
        return refuse_reference(addition, spec, config, 0, CADRE_ENOTSUP, why);
    }
    cadre__inspect(&ins);
    int rc = ins.status;
    if (rc == UV_ENOENT && ins.absent) rc = CADRE_OK; /* not here yet */
    if (rc != CADRE_OK && ins.at != SIZE_MAX)
        refuse_reference(addition, spec, config, ins.at, rc, ins.detail);
    else if (rc != CADRE_OK)
        refuse(addition, spec, rc, ins.detail);
    if (ins.opened) {
        cadre__config_unref(config);
        out->config = ins.opened;
        ins.opened = NULL;
    }
    memcpy(out->needs, ins.needs, sizeof out->needs);
    out->need_count = ins.need_count;
    cadre__inspection_end(&ins);
    return rc;
}

static int open_backend(cadre__addition *addition, cadre__spec *spec, cadre__prepared *out)
{
    char detail[CADRE__DETAIL_SIZE] = "";
    cadre__config *config = out->config;
    const cadre_entry *e = &spec->entry;
    const cadre_backend *backend = cadre__backend_find(addition, e->backend, detail, sizeof detail);
    if (!backend) return refuse(addition, spec, CADRE_EBACKEND, detail);
    if (!(backend->capabilities & (1u << e->capability))) {
        snprintf(detail, sizeof detail, "the backend \"%s\" has no models of %s", backend->name, cadre_capability_name((cadre_capability)e->capability));
        return refuse(addition, spec, CADRE_ECAPABILITY, detail);
    }
    const char *fault = kind_fault(backend, e->loader);
    if (fault) return refuse(addition, spec, CADRE_ENOTSUP, fault);
    config->backend = backend;
    config->value_count = backend->option_count ? backend->option_count : 1;
    config->values = cadre__alloc(allocator_of(addition), config->value_count * sizeof *config->values);
    if (!config->values) return CADRE_ENOMEM;
    const char *folder = e->folder ? e->folder : addition->folder;
    int rc = cadre__options_read(allocator_of(addition), &spec->options, e->options, backend->options, backend->option_count, folder, config->values,
                                 &config->strings, &config->strings_bytes, addition->detail, sizeof addition->detail);
    if (rc != CADRE_OK) return rc;
    if (!cadre__config_refer(config, e)) return CADRE_ENOMEM;
    return inspect(addition, spec, out);
}

/* What the entry leaves to the library. */
static void fill_defaults(cadre_entry *e)
{
    const struct {
        int32_t *field, value;
    } small[] = {{&e->loader, CADRE_LOADER_SYNC}, {&e->min_workers, 0},      {&e->pinned, 0},         {&e->priority, CADRE_PRIORITY_NORMAL},
                 {&e->load_retries, 2},           {&e->breaker_failures, 5}, {&e->breaker_probes, 3}, {&e->breaker_successes, 3}};
    const struct {
        int64_t *field, value;
    } times[] = {{&e->idle_timeout_ms, 60000}, {&e->min_residency_ms, 5000}, {&e->retry_delay_ms, 500}, {&e->breaker_open_ms, 60000}};
    for (size_t i = 0; i < sizeof small / sizeof *small; i++)
        if (*small[i].field == CADRE_DEFAULT) *small[i].field = small[i].value;
    for (size_t i = 0; i < sizeof times / sizeof *times; i++)
        if (*times[i].field == CADRE_DEFAULT) *times[i].field = times[i].value;
    if (e->max_workers == CADRE_DEFAULT) e->max_workers = 4;
    if (e->initial_workers == CADRE_DEFAULT) e->initial_workers = e->min_workers > 1 ? e->min_workers : 1;
}

static int prepare(cadre__addition *addition, cadre__spec *spec, cadre__prepared *out)
{
    fill_defaults(&spec->entry);
    if (!out->config) { /* else one with a loader of the host's */
        out->config = cadre__alloc(allocator_of(addition), sizeof *out->config);
        if (!out->config) return CADRE_ENOMEM;
        atomic_init(&out->config->refs, 1);
        out->config->port = cadre_port_retain(addition->port);
    }
    out->config->capability = (cadre_capability)spec->entry.capability;
    out->config->kind = (cadre_loader_kind)spec->entry.loader;
    if (!out->config->call) return open_backend(addition, spec, out);
    if (spec->entry.file_count) return refuse(addition, spec, CADRE_ENOTSUP, "files: only entries of a backend have files that are fetched");
    return inspect(addition, spec, out);
}

void cadre__addition_check(cadre__addition *addition)
{
    int rc = parse(addition);
    size_t count = 0;
    for (const cadre__spec *spec = addition->specs; spec; spec = spec->next) count++;
    if (rc == CADRE_OK && !addition->prepared && count) {
        addition->prepared = cadre__alloc(allocator_of(addition), count * sizeof *addition->prepared);
        addition->prepared_count = addition->prepared ? count : 0;
        if (!addition->prepared) rc = CADRE_ENOMEM;
    }
    cadre__prepared *out = addition->prepared;
    for (cadre__spec *spec = addition->specs; spec && rc == CADRE_OK; spec = spec->next) rc = prepare(addition, spec, out++);
    addition->status = rc;
    if (rc != CADRE_OK && !addition->detail[0]) snprintf(addition->detail, sizeof addition->detail, "%s", cadre_strerror(rc));
    cadre__one_line(addition->detail);
}
