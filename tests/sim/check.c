/* The pool's insides after every event: every count is counted again, every list walked, and at the end of a turn nothing waits that could run. Violations name
 * the model or the worker. */
#include "host.h"

#include "pool/model.h"
#include "pool/request.h"
#include "pool/worker.h"

static void check_deadlines(host *h)
{
    const cadre__deadlines *all = &h->pool->deadlines;
    for (size_t i = 0; i < all->count; i++) {
        if (all->heap[i]->place != i + 1) sim_violation(&h->sim, "a deadline does not know its place");
        if (i && all->heap[(i - 1) / 2]->due > all->heap[i]->due) sim_violation(&h->sim, "the deadlines are not a heap");
    }
}

static bool serves(const cadre__worker *w)
{
    return w->state == CADRE_WORKER_READY || w->state == CADRE_WORKER_PROCESSING || w->state == CADRE_WORKER_IDLE;
}

typedef struct tally {
    uint64_t queued, running, ending, heads;
    uint32_t loading, ready, leaving, free;
} tally;

static void check_queue(host *h, const cadre__model *model, tally *t)
{
    for (uint8_t p = 0; p < CADRE_PRIORITY_COUNT; p++) {
        uint64_t since = 0;
        bool waits = !cadre__list_empty(&model->queues[p]);
        if (waits != (model->waiting >> p & 1)) sim_violation(&h->sim, "%s: its mask and its queue %u do not agree", model->key, p);
        CADRE__LIST_FOR (node, &model->queues[p]) {
            const cadre_request *r = CADRE__CONTAINER(node, cadre_request, link);
            if (r->state != CADRE__QUEUED || r->priority != p || r->model != model || !r->job || r->job->runner)
                sim_violation(&h->sim, "%s: its queue %u holds what does not wait there", model->key, p);
            if (r->queued_at < since) sim_violation(&h->sim, "%s: its queue %u is not first in, first out", model->key, p);
            since = r->queued_at;
            t->queued++;
        }
    }
}

static void check_requests(host *h, const cadre__model *model, tally *t)
{
    for (uint32_t i = 0; i < h->pool->requests.count; i++) {
        const cadre_request *r = h->pool->requests.slots[i].object;
        if (!r || r->model != model) continue;
        t->running += r->state == CADRE__RUNNING;
        t->ending += r->state == CADRE__ENDING || r->state == CADRE__HOLDING;
        if (r->state == CADRE__RUNNING && (!r->job || !r->job->runner || r->job->request != r))
            sim_violation(&h->sim, "%s: a running request and its job do not agree", model->key);
        if (r->state == CADRE__HOLDING && !r->held) sim_violation(&h->sim, "%s: a request holds its end back for no piece", model->key);
        if (r->held && !r->paused && !r->waking) sim_violation(&h->sim, "%s: pieces are held for nobody", model->key);
        if (r->state == CADRE__RUNNING && h->sim.waits && atomic_load(&r->job->pieces) > r->job->window)
            sim_violation(&h->sim, "%s: more pieces are under way than the window", model->key);
    }
}

static void check_worker(host *h, const cadre__worker *w, tally *t)
{
    const cadre__model *model = w->model;
    bool will_serve = w->state <= CADRE_WORKER_ATTACHING && !(w->managed && w->ended && w->state == CADRE_WORKER_ATTACHING);
    const uint32_t *expected = will_serve ? &model->loading : serves(w) ? &model->ready : &model->leaving;
    if (w->counted != expected) sim_violation(&h->sim, "%s: a worker that is %s is counted elsewhere", model->key, cadre_worker_state_name(w->state));
    t->loading += expected == &model->loading;
    t->ready += expected == &model->ready;
    t->leaving += expected == &model->leaving;
    bool room = serves(w) && w->running < w->capacity + w->ahead, is_free = !cadre__list_empty(&w->free_link);
    if (room != is_free)
        sim_violation(&h->sim, "%s: a worker has %u of %u + %u jobs, is %s, and stands%s among the free ones", model->key, w->running, w->capacity, w->ahead,
                      cadre_worker_state_name(w->state), is_free ? "" : " not");
    if (w->state == CADRE_WORKER_PROCESSING && !w->running) sim_violation(&h->sim, "%s: a worker is processing nothing", model->key);
    if ((w->state == CADRE_WORKER_READY || w->state == CADRE_WORKER_IDLE) && w->running)
        sim_violation(&h->sim, "%s: a worker is %s and has jobs", model->key, cadre_worker_state_name(w->state));
    if (cadre__table_get(&h->pool->workers, w->id) != w) sim_violation(&h->sim, "%s: a worker's id finds another", model->key);
    t->heads += w->running;
}

static void check_model(host *h, const cadre__model *model)
{
    tally t = {0};
    check_queue(h, model, &t);
    check_requests(h, model, &t);
    CADRE__LIST_FOR (node, &h->pool->worker_list) {
        const cadre__worker *w = CADRE__CONTAINER(node, cadre__worker, link);
        if (w->model == model) check_worker(h, w, &t);
    }
    CADRE__LIST_FOR (node, &model->free_workers) {
        if (CADRE__CONTAINER(node, cadre__worker, free_link)->model != model) sim_violation(&h->sim, "%s: another's worker is among its free ones", model->key);
    }
    if (model->queued != t.queued)
        sim_violation(&h->sim, "%s: %llu requests wait, but its depth says %llu", model->key, (unsigned long long)t.queued, (unsigned long long)model->queued);
    if (model->running != t.running || model->ending != t.ending)
        sim_violation(&h->sim, "%s: %llu run and %llu end, but it counts %llu and %llu", model->key, (unsigned long long)t.running,
                      (unsigned long long)t.ending, (unsigned long long)model->running, (unsigned long long)model->ending);
    if (model->loading != t.loading || model->ready != t.ready || model->leaving != t.leaving)
        sim_violation(&h->sim, "%s: its workers are counted wrongly", model->key);
    if (t.heads > model->running + model->abandoned)
        sim_violation(&h->sim, "%s: its workers have %llu jobs, but it knows of %llu", model->key, (unsigned long long)t.heads,
                      (unsigned long long)(model->running + model->abandoned));
}

static void check_pool(host *h)
{
    cadre_pool *pool = h->pool;
    uint64_t jobs = 0, models = 0, live = 0, transitions = 0, pending = 0;
    for (size_t i = 0; i < pool->model_buckets; i++) {
        for (const cadre__model *model = pool->models[i]; model; model = model->next) {
            check_model(h, model);
            jobs += model->running + model->abandoned;
            models++;
        }
    }
    for (uint32_t i = 0; i < pool->requests.count; i++) live += pool->requests.slots[i].object != NULL;
    CADRE__LIST_FOR (node, &pool->worker_list) {
        const cadre__worker *w = CADRE__CONTAINER(node, cadre__worker, link);
        transitions += !serves(w) && !(w->state == CADRE_WORKER_ABANDONED && w->served && !w->ended);
    }
    CADRE__LIST_FOR (node, &pool->futures) {
        if (CADRE__CONTAINER(node, cadre_future, link)->status != 0) sim_violation(&h->sim, "a settled future is among the pending ones");
        pending++;
    }
    const struct {
        const char *what;
        uint64_t counted, real;
    } counts[] = {{"models", pool->model_count, models},
                  {"open requests", pool->open_requests, live},
                  {"jobs out", pool->jobs_out, jobs},
                  {"workers on their way", pool->transitions, transitions},
                  {"pending futures", pool->pending_futures, pending}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (counts[i].counted != counts[i].real)
            sim_violation(&h->sim, "%llu %s, but the pool counts %llu", (unsigned long long)counts[i].real, counts[i].what,
                          (unsigned long long)counts[i].counted);
    if (pool->promises > 1000000 || pool->weights > 1000000 || pool->reaping > 1000000 || pool->threads_leaving > 1000000)
        sim_violation(&h->sim, "a count has wrapped around");
}

static void check_host_requests(host *h)
{
    for (unsigned i = 0; i < h->open_count; i++)
        if (!cadre__table_get(&h->pool->requests, h->open[i]->id)) sim_violation(&h->sim, "request %u: the pool has lost it", h->open[i]->number);
    if (h->open_count != h->pool->open_requests)
        sim_violation(&h->sim, "%u requests are open, the pool has %llu", h->open_count, (unsigned long long)h->pool->open_requests);
}

static void check_stats(host *h)
{
    const cadre__stats *s = &h->pool->stats;
    uint64_t ended = s->done + s->failed + s->cancelled + s->timed_out;
    if (s->accepted != ended + h->open_count)
        sim_violation(&h->sim, "%llu requests were accepted, %llu are counted as over, %u are open", (unsigned long long)s->accepted, (unsigned long long)ended,
                      h->open_count);
}

/* The cores of workers with a fixed number of threads, and who is at work. */
static void check_cores(host *h)
{
    const cadre_pool *pool = h->pool;
    uint32_t fixed = 0, workers = 0, busy = 0;
    CADRE__LIST_FOR (node, &pool->worker_list) {
        const cadre__worker *w = CADRE__CONTAINER(node, cadre__worker, link);
        if (w->runner && !w->detached) busy += w->runner->busy;
        if (!w->threads || !w->running) continue;
        fixed += w->threads;
        workers++;
    }
    if (pool->fixed_cores != fixed || atomic_load(&pool->port->fixed_cores) != fixed || atomic_load(&pool->port->fixed_busy) != workers)
        sim_violation(&h->sim, "%u cores are taken by %u workers with fixed threads, but %u are counted", fixed, workers, pool->fixed_cores);
    if (fixed > pool->port->cores && !h->warms) sim_violation(&h->sim, "%u cores are taken of %u", fixed, pool->port->cores);
    if (pool->closing < CADRE__STOPPING && atomic_load(&pool->port->busy) != busy)
        sim_violation(&h->sim, "%u workers are busy, but %u are counted", busy, atomic_load(&pool->port->busy));
}

/* ---- after a turn that wants no other ---- */

static uint64_t rank(const host *h, const cadre_request *r)
{
    uint64_t waited = h->pool->now > r->queued_at ? h->pool->now - r->queued_at : 0, risen = h->aging_ns ? waited / h->aging_ns : 0;
    return risen >= r->priority ? 0 : r->priority - risen;
}

/* What this turn has handed out came before everything that waits still. */
static void check_order(host *h)
{
    for (unsigned i = 0; i < h->open_count; i++) {
        sim_request *r = h->open[i];
        if (r->dispatched) continue;
        const cadre_request *given = cadre__table_get(&h->pool->requests, r->id);
        if (!given || given->state == CADRE__QUEUED) continue;
        r->dispatched = true;
        if (given->state != CADRE__RUNNING) continue;
        if (given->model->turn_end && given->queued_at > given->model->turn_end)
            sim_violation(&h->sim, "%s: request %u came after the end of the turn, and is served in it", r->model->key, r->number);
        for (unsigned k = 0; k < h->open_count; k++) {
            const sim_request *other = h->open[k];
            const cadre_request *waits = other->model == r->model ? cadre__table_get(&h->pool->requests, other->id) : NULL;
            if (!waits || waits->state != CADRE__QUEUED || waits->model != given->model) continue;
            if (given->model->turn_end && waits->queued_at > given->model->turn_end) continue;
            uint64_t a = rank(h, given), b = rank(h, waits);
            if (b < a || (b == a && waits->queued_at < given->queued_at))
                sim_violation(&h->sim, "%s: request %u (priority %u) was taken before request %u (priority %u)", r->model->key, r->number, given->priority,
                              other->number, waits->priority);
        }
    }
}

/* Free workers may only wait for cores that others are using, and will give back. */
static void check_starved(host *h, const cadre__model *model)
{
    const cadre_pool *pool = h->pool;
    CADRE__LIST_FOR (node, &model->free_workers) {
        const cadre__worker *w = CADRE__CONTAINER(node, cadre__worker, free_link);
        if (!w->threads || w->running || !pool->fixed_cores || pool->fixed_cores + w->threads <= pool->port->cores)
            sim_violation(&h->sim, "%s: a request waits and a worker is free", model->key);
    }
    if (cadre__list_empty(&model->starved)) sim_violation(&h->sim, "%s: it waits for cores, and nobody will tell it", model->key);
    bool used = false;
    CADRE__LIST_FOR (node, &pool->worker_list) {
        const cadre__worker *w = CADRE__CONTAINER(node, cadre__worker, link);
        used = used || (w->threads && w->running && !w->hung);
    }
    if (!used) sim_violation(&h->sim, "%s: it waits for cores that only workers have that hang", model->key);
}

/* Who gives no sign of life is set aside in time. */
static void check_signs(host *h)
{
    CADRE__LIST_FOR (node, &h->pool->worker_list) {
        const cadre__worker *w = CADRE__CONTAINER(node, cadre__worker, link);
        if (!w->hang_ns || !w->running || w->hung || w->detached || !w->runner || h->out_of_memory) continue;
        bool paused = false; /* whose consumers pause rests, and does not hang */
        for (unsigned k = 0; k < h->model_count; k++) paused = paused || (h->models[k].paused && strcmp(h->models[k].key, w->model->key) == 0);
        if (!w->watch.place || w->watch.due <= h->pool->now) sim_violation(&h->sim, "%s: a worker works, and nobody watches it", w->model->key);
        if (!paused && !atomic_load(&w->runner->resting) && cadre__after(atomic_load(&w->runner->beat), w->hang_ns) < h->pool->now)
            sim_violation(&h->sim, "%s: a worker hangs, and stays", w->model->key);
    }
}

static void check_idle(host *h)
{
    cadre_pool *pool = h->pool;
    for (size_t i = 0; i < pool->model_buckets; i++) {
        for (const cadre__model *model = pool->models[i]; model; model = model->next) {
            bool over = model->turn_end && !cadre__model_has_turn(model);
            if (model->queued && !cadre__list_empty(&model->free_workers) && !model->window.place && !over) check_starved(h, model);
            if (model->queued && !model->loading && !model->ready && !model->entry && !(model->unknown && pool->additions))
                sim_violation(&h->sim, "%s: a request waits for nobody", model->key);
        }
    }
    if (!cadre__list_empty(&pool->dirty) || !cadre__list_empty(&pool->publishing) || pool->first)
        sim_violation(&h->sim, "a turn has left something to do and wants no other");
    uint64_t next = cadre__deadlines_next(&pool->deadlines);
    if (next != pool->armed) sim_violation(&h->sim, "the timer is not set to the next deadline");
    bool work = pool->open_requests || pool->jobs_out || pool->transitions || pool->pending_futures || pool->reaping || pool->wishes || pool->additions ||
                pool->closing;
    if (pool->held != work || h->sim.held != work)
        sim_violation(&h->sim, "the pool %s the loop alive, %s work", h->sim.held ? "keeps" : "does not keep", work ? "with" : "without");
}

/* While the loop sleeps: whatever there is to do has a turn coming, and the loop lives as long as there is work. */
static void check_awake(host *h)
{
    cadre_pool *pool = h->pool;
    bool something = pool->first || !cadre__list_empty(&pool->dirty) || !cadre__list_empty(&pool->publishing) || !cadre__inbox_empty(&pool->port->inbox) ||
                     !cadre__inbox_empty(&pool->port->reaped);
    if (something && h->sim.turn_at == UINT64_MAX) sim_violation(&h->sim, "there is something to do, and nobody wakes the loop");
    if (cadre__deadlines_next(&pool->deadlines) < pool->armed && h->sim.turn_at == UINT64_MAX) sim_violation(&h->sim, "a deadline is set, and no timer");
    bool work = pool->first || pool->open_requests || pool->jobs_out || pool->transitions || pool->pending_futures || pool->reaping || pool->wishes ||
                pool->additions || pool->closing;
    if (work && !h->sim.held) sim_violation(&h->sim, "there is work, and the loop may end");
}

void check_all(host *h)
{
    if (!h->pool || h->sim.closing) return;
    check_awake(h);
    check_deadlines(h);
    check_pool(h);
    memory_check(h);
    check_host_requests(h);
    check_stats(h);
    check_cores(h);
    check_registry(h);
    check_order(h);
    if (!h->sim.turned) return;
    check_idle(h);
    check_signs(h);
    check_registry_idle(h);
}
