/* The engine's process-wide part: its table of functions, its environment and its log.
 *
 * Threads: loader threads meet in _start, one mutex lets the first of them make the environment. The log function runs on whichever thread calls the engine,
 * and writes only to that thread's own buffer. The environment is never destroyed: other code of the process may share it, and static destructors of a library
 * that is still in use would run in no order. */
#include "backend.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define API_VERSION 22 /* of the header in include/ */

static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER;
static const OrtApi *api;
static OrtEnv *environment;

static _Thread_local char logged[256];
static _Thread_local bool starved;

void cadre__onnx_engine_forget(void)
{
    logged[0] = '\0';
    starved = false;
    cadre__onnx_memory_forget();
}

/* Keeps the first error, which is the nearest to the cause. */
static void on_log(void *data, OrtLoggingLevel level, const char *category, const char *id, const char *location, const char *message)
{
    (void)data;
    (void)category;
    (void)id;
    (void)location;
    if (level < ORT_LOGGING_LEVEL_ERROR || logged[0] || !message) return;
    snprintf(logged, sizeof(logged), "%.*s", (int)strcspn(message, "\n"), message);
}

bool cadre__onnx_engine_failed(OrtStatus *status, char *said, size_t size)
{
    if (!status) return false;
    const char *message = api->GetErrorMessage(status);
    starved = strstr(message, "bad_alloc") && !cadre__onnx_memory_absurd();
    bool more = logged[0] && !strstr(message, logged);
    snprintf(said, size, "%.*s%s%s", (int)strcspn(message, "\n"), message, more ? "; before: " : "", more ? logged : "");
    api->ReleaseStatus(status);
    return true;
}

int cadre__onnx_engine_error(int otherwise)
{
    return starved ? CADRE_ENOMEM : otherwise;
}

static int start(char *detail, size_t detail_size)
{
    const OrtApiBase *base = OrtGetApiBase();
    const OrtApi *table = base ? base->GetApi(API_VERSION) : NULL;
    if (!table) {
        snprintf(detail, detail_size, "ONNX Runtime %s does not offer API %d: version 1.%d or newer is needed", base ? base->GetVersionString() : "(unknown)",
                 API_VERSION, API_VERSION);
        return CADRE_EENGINE;
    }
    api = table;
    OrtEnv *made = NULL;
    OrtStatus *status = table->CreateEnvWithCustomLogger(on_log, NULL, ORT_LOGGING_LEVEL_ERROR, "cadre", &made);
    if (!status) status = table->DisableTelemetryEvents(made);
    OrtAllocator *allocator = status ? NULL : cadre__onnx_memory_allocator(table);
    if (!status && !allocator) starved = true;
    if (!status && allocator) status = table->RegisterAllocator(made, allocator);
    if (cadre__onnx_engine_failed(status, detail, detail_size) || !allocator) {
        if (made) table->ReleaseEnv(made);
        return CADRE_EENGINE;
    }
    environment = made;
    return CADRE_OK;
}

const OrtApi *cadre__onnx_engine_start(char *detail, size_t detail_size)
{
    int rc = CADRE_OK;
    cadre__onnx_engine_forget();
    pthread_mutex_lock(&start_lock);
    if (!environment) rc = start(detail, detail_size);
    pthread_mutex_unlock(&start_lock);
    return rc == CADRE_OK ? api : NULL;
}

OrtEnv *cadre__onnx_engine_env(void)
{
    return environment;
}
