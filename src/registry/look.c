/* The checks thread's part of files that may not be here: see registry/files.h. Touches nothing of the pool's. */
#include "registry/files.h"

#include <stdio.h>

#define PATH_SIZE 4096

/* ---- references ---- */

bool cadre__config_refer(cadre__config *config, const cadre_entry *entry)
{
    const cadre_backend *backend = config->backend;
    size_t count = 0, bytes = 0;
    for (size_t i = 0; i < backend->option_count; i++)
        count += backend->options[i].type == CADRE_OPTION_PATH && config->values[i].given && cadre__is_reference(config->values[i].string);
    for (size_t i = 0; i < entry->file_count; i++)
        if (!cadre__add(bytes, strlen(entry->files[i]) + 1, &bytes)) return false;
    size_t table;
    if (!cadre__add(count, entry->file_count, &count) || !cadre__mul(count, sizeof(cadre__reference), &table) || !cadre__add(bytes, table, &bytes))
        return false;
    if (count == 0) return true;
    cadre__reference *references = cadre__alloc(&config->port->allocator, bytes);
    if (!references) return false;
    config->references = references;
    config->references_bytes = bytes;
    config->reference_count = count;
    for (size_t i = 0; i < backend->option_count; i++)
        if (backend->options[i].type == CADRE_OPTION_PATH && config->values[i].given && cadre__is_reference(config->values[i].string))
            *references++ = (cadre__reference){config->values[i].string, i, true};
    char *text = (char *)(config->references + count);
    for (size_t i = 0; i < entry->file_count; i++) {
        size_t length = strlen(entry->files[i]) + 1;
        *references++ = (cadre__reference){memcpy(text, entry->files[i], length), i, false};
        text += length;
    }
    return true;
}

void cadre__reference_field(const cadre__config *config, size_t i, char *out, size_t size)
{
    const cadre__reference *reference = &config->references[i];
    if (reference->option)
        snprintf(out, size, "options.%s", config->backend->options[reference->index].name);
    else
        snprintf(out, size, "files[%zu]", reference->index);
}

/* ---- looking ---- */

static int complain(cadre__inspection *ins, int status, const char *why)
{
    snprintf(ins->detail, sizeof ins->detail, "%s", why);
    return status;
}

/* A copy of the configuration whose paths are to be filled in. NULL: out of memory. */
static cadre__config *copy_of(cadre__config *origin)
{
    const cadre_allocator *allocator = &origin->port->allocator;
    cadre__config *copy = cadre__alloc(allocator, sizeof *copy);
    if (!copy) return NULL;
    atomic_init(&copy->refs, 1);
    copy->port = cadre_port_retain(origin->port);
    copy->backend = origin->backend;
    copy->capability = origin->capability;
    copy->kind = origin->kind;
    copy->origin = cadre__config_ref(origin);
    copy->value_count = origin->value_count;
    copy->values = cadre__alloc(allocator, copy->value_count * sizeof *copy->values);
    copy->path_count = origin->reference_count;
    copy->paths = cadre__alloc(allocator, copy->path_count * sizeof *copy->paths);
    if (copy->values && copy->paths) {
        memcpy(copy->values, origin->values, copy->value_count * sizeof *copy->values);
        return copy;
    }
    cadre__config_unref(copy);
    return NULL;
}

static int find_one(cadre__inspection *ins, size_t i, cadre__config *target)
{
    const cadre__reference *reference = &ins->config->references[i];
    char path[PATH_SIZE] = "", why[300] = "";
    int rc = ins->files.find(ins->files.self, reference->text, path, sizeof path, why, sizeof why);
    if (rc < 0) {
        if (rc == UV_ENOENT && ins->absent > 0) return rc; /* the first one is named */
        ins->at = i;
        why[sizeof why - 1] = '\0';
        snprintf(ins->detail, sizeof ins->detail, "\"%.180s\": %s", reference->text, *why ? why : cadre_strerror(rc));
        return rc;
    }
    ins->found[i] = true;
    if (!target || !reference->option) return CADRE_OK;
    path[sizeof path - 1] = '\0';
    target->paths[i] = cadre__strdup(&target->port->allocator, path);
    target->values[reference->index].string = target->paths[i];
    return target->paths[i] ? CADRE_OK : complain(ins, CADRE_ENOMEM, cadre_strerror(CADRE_ENOMEM));
}

/* CADRE_OK: all are here. */
static int find_all(cadre__inspection *ins, cadre__config *target)
{
    for (size_t i = 0; i < ins->config->reference_count; i++) {
        /* A thread that was abandoned leaves the host's fetcher alone as soon as it can. */
        if (!atomic_load_explicit(&ins->config->port->open, memory_order_acquire)) return complain(ins, CADRE_ECLOSED, "the pool was closed");
        int rc = find_one(ins, i, target);
        if (rc == UV_ENOENT)
            ins->absent++;
        else if (rc < 0)
            return rc;
    }
    return ins->absent ? UV_ENOENT : CADRE_OK;
}

/* What is reserved: the entry's own numbers, or the backend's. */
static int take_needs(cadre__inspection *ins, const cadre_backend_entry *said)
{
    const cadre_memory_need *needs = ins->own_count ? ins->own : said->needs;
    size_t count = ins->own_count ? ins->own_count : said->need_count;
    if (count > CADRE_MEMORY_NEEDS_MAX) return complain(ins, CADRE_EBACKEND, "the backend's estimate names too many devices");
    for (size_t i = 0; i < count; i++) {
        uint64_t sum;
        if (needs[i].device >= ins->device_count) return complain(ins, CADRE_EBACKEND, "the backend's estimate names an unknown device");
        if (__builtin_add_overflow(needs[i].weights_bytes, needs[i].worker_bytes, &sum) || sum > UINT64_MAX / 4)
            return complain(ins, CADRE_EBUDGET, "the memory that the model needs overflows");
        for (size_t k = 0; k < i; k++)
            if (needs[k].device == needs[i].device) return complain(ins, CADRE_EBACKEND, "a device is named twice in the memory that it needs");
        ins->needs[i] = needs[i];
    }
    ins->need_count = count;
    return CADRE_OK;
}

static int open_config(cadre__inspection *ins, cadre__config *config)
{
    cadre_backend_entry entry = {.size = sizeof entry,
                                 .key = ins->key,
                                 .capability = config->capability,
                                 .kind = config->kind,
                                 .options = config->values,
                                 .device_names = ins->device_names,
                                 .device_count = ins->device_count};
    if (!config->backend) return take_needs(ins, &entry); /* a loader of the host's */
    int rc = config->backend->open(config->backend, &entry, &config->self);
    if (rc < 0) {
        config->self = NULL;
        entry.detail[sizeof entry.detail - 1] = '\0';
        return complain(ins, rc, entry.detail[0] ? entry.detail : cadre_strerror(rc));
    }
    config->opened = true;
    return take_needs(ins, &entry);
}

static int inspect(cadre__inspection *ins)
{
    cadre__config *config = ins->config, *target = NULL;
    const cadre_backend_entry nothing = {.size = sizeof nothing};
    if (config->reference_count) {
        ins->found = cadre__alloc(&config->port->allocator, config->reference_count * sizeof *ins->found);
        if (!ins->found) return complain(ins, CADRE_ENOMEM, cadre_strerror(CADRE_ENOMEM));
    }
    if (ins->open) {
        target = config->reference_count ? copy_of(config) : cadre__config_ref(config);
        if (!target) return complain(ins, CADRE_ENOMEM, cadre_strerror(CADRE_ENOMEM));
    }
    int rc = find_all(ins, target);
    ins->here = rc == CADRE_OK;
    if (ins->here && target) {
        ins->at = SIZE_MAX;
        rc = open_config(ins, target);
    } else if (rc == UV_ENOENT) {
        int fault = take_needs(ins, &nothing);
        if (fault != CADRE_OK) rc = fault;
    }
    if (rc == CADRE_OK || (target && target->opened)) /* the loop has the reaper close it */
        ins->opened = target;
    else
        cadre__config_unref(target);
    return rc;
}

void cadre__inspect(cadre__inspection *inspection)
{
    inspection->at = SIZE_MAX;
    inspection->status = inspect(inspection);
    cadre__one_line(inspection->detail);
}

void cadre__inspection_end(cadre__inspection *inspection)
{
    if (inspection->found)
        cadre__free(&inspection->config->port->allocator, inspection->found, inspection->config->reference_count * sizeof *inspection->found);
    cadre__config_unref(inspection->opened);
    inspection->found = NULL;
    inspection->opened = NULL;
}
