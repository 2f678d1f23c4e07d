/* The engine's threads. It wants them when a session is made, which is on a loader thread, whose low priority they would inherit for good. So the engine's
 * request is noted, and the first worker that attaches starts them, from its own thread. Until then the engine does all of its work on the thread that calls
 * it: work that nobody took is done by who offered it.
 *
 * Threads: _use's callbacks run on the thread that makes or ends the session; _start on workers, one at a time by the lock. */
#include "backend.h"

#include <pthread.h>
#include <stdlib.h>

typedef struct late {
    struct late *next;
    cadre__onnx_threads *of;
    OrtThreadWorkerFn run;
    void *data;
    pthread_t thread;
    bool started;
} late;

struct cadre__onnx_threads {
    pthread_mutex_t lock;
    late *first; /* those that have not been joined */
};

int cadre__onnx_threads_create(cadre__onnx_threads **out)
{
    cadre__onnx_threads *threads = calloc(1, sizeof(*threads));
    if (!threads) return CADRE_ENOMEM;
    if (pthread_mutex_init(&threads->lock, NULL) != 0) {
        free(threads);
        return CADRE_ENOMEM;
    }
    *out = threads;
    return CADRE_OK;
}

void cadre__onnx_threads_destroy(cadre__onnx_threads *threads)
{
    if (!threads) return;
    pthread_mutex_destroy(&threads->lock);
    free(threads);
}

static void *run_thread(void *data)
{
    late *self = data;
    self->run(self->data);
    return NULL;
}

static OrtCustomThreadHandle note(void *data, OrtThreadWorkerFn run, void *argument)
{
    cadre__onnx_threads *threads = data;
    late *self = calloc(1, sizeof(*self));
    if (!self) return NULL;
    self->of = threads;
    self->run = run;
    self->data = argument;
    pthread_mutex_lock(&threads->lock);
    self->next = threads->first;
    threads->first = self;
    pthread_mutex_unlock(&threads->lock);
    return (OrtCustomThreadHandle)(void *)self;
}

/* One that was never started has what the engine gave it to free: it runs now, and finds that all is over. */
static void join(OrtCustomThreadHandle handle)
{
    late *self = (late *)(void *)handle;
    pthread_mutex_lock(&self->of->lock);
    late **place = &self->of->first;
    while (*place && *place != self) place = &(*place)->next;
    if (*place) *place = self->next;
    pthread_mutex_unlock(&self->of->lock);
    if (self->started)
        pthread_join(self->thread, NULL);
    else
        self->run(self->data);
    free(self);
}

OrtStatus *cadre__onnx_threads_use(cadre__onnx_threads *threads, const OrtApi *api, OrtSessionOptions *options)
{
    OrtStatus *status = api->SessionOptionsSetCustomCreateThreadFn(options, note);
    if (!status) status = api->SessionOptionsSetCustomThreadCreationOptions(options, threads);
    if (!status) status = api->SessionOptionsSetCustomJoinThreadFn(options, join);
    return status;
}

int cadre__onnx_threads_start(cadre__onnx_threads *threads)
{
    int rc = CADRE_OK;
    pthread_mutex_lock(&threads->lock);
    for (late *each = threads->first; each && rc == CADRE_OK; each = each->next) {
        if (each->started) continue;
        each->started = pthread_create(&each->thread, NULL, run_thread, each) == 0;
        if (!each->started) rc = CADRE_ETHREAD;
    }
    pthread_mutex_unlock(&threads->lock);
    return rc;
}
