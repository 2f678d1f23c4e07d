/* Who looks at cancels while the engine works: it asks nobody, but lets itself be told from another thread.
 *
 * Threads: one watcher for each session. While a load or a Run is under way it looks every few milliseconds at what the load's context or the ops say, which
 * are atomic flags, alive until _loaded or _end returns; both take the lock, so the watcher never looks at what has ended. When nothing is under way it sleeps,
 * after one more round: a busy worker's next Run need not wake it. A load that computes shows that as progress, by the processor time of its thread. */
#include "backend.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define LOOK_NS 5000000L
#define LOOKS_PER_SIGN 200

struct cadre__onnx_watch {
    const OrtApi *api;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    bool sleeping, stop;
    cadre__onnx_watched *first;
    cadre_load_context *load;
    OrtSessionOptions *options; /* of the load; NULL once it was told */
    clockid_t clock;            /* of the load's thread */
    struct timespec shown;
    unsigned looks;
};

static void ignore(const OrtApi *api, OrtStatus *status)
{
    if (status) api->ReleaseStatus(status);
}

static bool all_cancelled(const cadre__onnx_watched *w)
{
    if (w->load) return cadre_load_cancelled(w->load);
    for (size_t i = 0; i < w->count; i++)
        if (!cadre_op_cancelled(w->ops[i])) return false;
    return w->count > 0;
}

static void look_at_load(cadre__onnx_watch *w)
{
    if (w->options && cadre_load_cancelled(w->load)) {
        ignore(w->api, w->api->SessionOptionsSetLoadCancellationFlag(w->options, true));
        w->options = NULL;
    }
    if (++w->looks % LOOKS_PER_SIGN != 0) return;
    struct timespec now;
    if (clock_gettime(w->clock, &now) != 0 || (now.tv_sec == w->shown.tv_sec && now.tv_nsec == w->shown.tv_nsec)) return;
    w->shown = now;
    cadre_load_progress(w->load, 0.1, 0, 0, "session");
}

static void look(cadre__onnx_watch *w)
{
    if (w->load) look_at_load(w);
    for (cadre__onnx_watched *each = w->first; each; each = each->next) {
        if (each->fired || !all_cancelled(each)) continue;
        each->fired = true;
        ignore(w->api, w->api->RunOptionsSetTerminate(each->run));
    }
}

static void *run_watch(void *data)
{
    cadre__onnx_watch *w = data;
    bool quiet = true;
    pthread_mutex_lock(&w->lock);
    while (!w->stop) {
        bool idle = !w->first && !w->load;
        if (idle && quiet) {
            w->sleeping = true;
            pthread_cond_wait(&w->wake, &w->lock);
            w->sleeping = false;
            quiet = false;
            continue;
        }
        quiet = idle;
        struct timespec due;
        clock_gettime(CLOCK_MONOTONIC, &due);
        due.tv_nsec += LOOK_NS;
        if (due.tv_nsec >= 1000000000L) {
            due.tv_nsec -= 1000000000L;
            due.tv_sec++;
        }
        while (!w->stop && pthread_cond_timedwait(&w->wake, &w->lock, &due) != ETIMEDOUT) {
        }
        look(w);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

int cadre__onnx_watch_create(const OrtApi *api, cadre__onnx_watch **out)
{
    cadre__onnx_watch *w = calloc(1, sizeof(*w));
    pthread_condattr_t monotonic;
    if (!w) return CADRE_ENOMEM;
    w->api = api;
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&w->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pthread_create(&w->thread, NULL, run_watch, w) == 0) {
        *out = w;
        return CADRE_OK;
    }
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w);
    return CADRE_ETHREAD;
}

void cadre__onnx_watch_destroy(cadre__onnx_watch *w)
{
    if (!w) return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

/* The lock is held. */
static void rouse(cadre__onnx_watch *w)
{
    if (w->sleeping) pthread_cond_signal(&w->wake);
}

void cadre__onnx_watch_load(cadre__onnx_watch *w, cadre_load_context *context, OrtSessionOptions *options)
{
    pthread_mutex_lock(&w->lock);
    w->load = context;
    w->options = options;
    if (pthread_getcpuclockid(pthread_self(), &w->clock) != 0) w->clock = CLOCK_MONOTONIC;
    rouse(w);
    pthread_mutex_unlock(&w->lock);
}

void cadre__onnx_watch_loaded(cadre__onnx_watch *w)
{
    pthread_mutex_lock(&w->lock);
    w->load = NULL;
    w->options = NULL;
    pthread_mutex_unlock(&w->lock);
}

void cadre__onnx_watch_begin(cadre__onnx_watch *w, cadre__onnx_watched *watched)
{
    pthread_mutex_lock(&w->lock);
    watched->fired = false;
    watched->next = w->first;
    w->first = watched;
    rouse(w);
    pthread_mutex_unlock(&w->lock);
}

void cadre__onnx_watch_end(cadre__onnx_watch *w, cadre__onnx_watched *watched)
{
    pthread_mutex_lock(&w->lock);
    cadre__onnx_watched **place = &w->first;
    while (*place != watched) place = &(*place)->next;
    *place = watched->next;
    pthread_mutex_unlock(&w->lock);
}
