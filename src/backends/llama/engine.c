/* The engine's process-wide part: its log and its CPU modules.
 *
 * Threads: loader threads meet here, one mutex lets the first of them start the engine. The log callback runs on whichever thread calls the engine and writes
 * only to that thread's own buffer. Nothing is ever stopped again: other contexts may live as long as the process. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* dladdr */
#endif
#include "backend.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER;
static bool started;

static _Thread_local char said[256];
static _Thread_local double buffer_mib;

void cadre__llama_engine_forget(void)
{
    said[0] = '\0';
    buffer_mib = 0;
}

const char *cadre__llama_engine_said(void)
{
    return said;
}

uint64_t cadre__llama_engine_buffers(void)
{
    return (uint64_t)(buffer_mib * 1024 * 1024);
}

/* "llama_kv_cache:        CPU KV buffer size =   360.00 MiB". The engine has no call for C that tells the sizes of a context's buffers; its log has them, each
 * once, with the device's name before. Those of other devices' memory ("CUDA0") are not counted, those of the host's that they reach ("CUDA_Host") are. */
static void note_buffer(const char *text)
{
    static const char size_is[] = " buffer size = ";
    const char *at = strstr(text, size_is), *name = strchr(text, ':');
    if (!at || !name || name > at) return;
    name += 1 + strspn(name + 1, " ");
    size_t length = strcspn(name, " ");
    bool host = strncmp(name, "CPU", 3) == 0 || (length > 5 && strncmp(name + length - 5, "_Host", 5) == 0);
    double mib = strtod(at + sizeof(size_is) - 1, NULL);
    if (host && mib > 0 && mib < 1e9) buffer_mib += mib;
}

/* Keeps the first error, which is the nearest to the cause: those that follow it only say which of the engine's functions it went through. */
void cadre__llama_engine_hear(enum ggml_log_level level, const char *text)
{
    if (level == GGML_LOG_LEVEL_INFO && text) note_buffer(text);
    if (level != GGML_LOG_LEVEL_ERROR || !text || said[0]) return;
    size_t length = strcspn(text, "\n");
    if (length >= sizeof(said)) length = sizeof(said) - 1;
    memcpy(said, text, length);
    said[length] = '\0';
}

static void on_log(enum ggml_log_level level, const char *text, void *data)
{
    (void)data;
    cadre__llama_engine_hear(level, text);
}

static void listen_once(void)
{
    llama_log_set(on_log, NULL);
}

void cadre__llama_engine_listen(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, listen_once);
}

/* The folder of the library that holds the engine's version string: no function pointer has to become an object pointer. */
static int engine_folder(char *out, size_t size)
{
    Dl_info info;
    const char *inside = llama_version();
    if (!dladdr(inside, &info) || !info.dli_fname) return CADRE_ELOAD;
    const char *slash = strrchr(info.dli_fname, '/');
    size_t length = slash ? (size_t)(slash - info.dli_fname) : 0;
    if (length == 0 || length >= size) return CADRE_ELOAD;
    memcpy(out, info.dli_fname, length);
    out[length] = '\0';
    return CADRE_OK;
}

static bool has_cpu(void)
{
    return ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU) != NULL;
}

static int start(const char *path, char *detail, size_t detail_size)
{
    char folder[4096];
    cadre__llama_engine_listen();
    if (!has_cpu()) {
        if (!path && engine_folder(folder, sizeof(folder)) == CADRE_OK) path = folder;
        if (path)
            ggml_backend_load_all_from_path(path);
        else
            ggml_backend_load_all();
    }
    if (!has_cpu()) {
        snprintf(detail, detail_size, "llama.cpp: no module for this CPU in %s", path ? path : "its default folders");
        return CADRE_ELOAD;
    }
    llama_backend_init();
    return CADRE_OK;
}

int cadre__llama_engine_start(const char *path, char *detail, size_t detail_size)
{
    int rc = CADRE_OK;
    pthread_mutex_lock(&start_lock);
    if (!started) rc = start(path, detail, detail_size);
    if (rc == CADRE_OK) started = true;
    pthread_mutex_unlock(&start_lock);
    return rc;
}
