/* What the pool tells an entry: requests that come and go, workers that are ready, fail or leave, memory that is free. */
#include "core/weights.h"
#include "memory/evict.h"
#include "memory/ledger.h"
#include "registry/entry.h"

#include <stdio.h>

#define BACKOFF_MAX_NS (UINT64_C(60000) * CADRE__NS_PER_MS)

/* ---- requests ---- */

static void fail_waiting(cadre__entry *entry, int status, const char *detail)
{
    cadre__model_fail_waiting(entry->model, status, detail);
}

/* When the load that is under way, or the next one, can be over; 0: not known. */
static uint64_t load_left(const cadre__entry *entry, uint64_t now)
{
    if (!entry->load_ns) return 0;
    uint64_t left = entry->load_ns;
    if (entry->model->loading) {
        uint64_t gone = now > entry->load_begun ? now - entry->load_begun : 0;
        return left > gone ? left - gone : 1;
    }
    return entry->retry_at > now ? left + (entry->retry_at - now) : left;
}

static int64_t to_ms(uint64_t ns)
{
    return ns == 0 ? 0 : (int64_t)((ns + CADRE__NS_PER_MS - 1) / CADRE__NS_PER_MS);
}

int64_t cadre__entry_retry_after(const cadre__entry *entry)
{
    uint64_t now = cadre__pool_now(entry->pool);
    const cadre__model *model = entry->model;
    if (entry->breaker.state == CADRE__BREAKER_OPEN && entry->breaker.open_until > now) return to_ms(entry->breaker.open_until - now);
    if (entry->refused && entry->retry_at > now) return to_ms(entry->retry_at - now);
    if (!model->ready) return to_ms(load_left(entry, now));
    return entry->run_ns ? to_ms(entry->run_ns / ((uint64_t)(model->slots ? model->slots : 1) * model->ready) + 1) : 0;
}

static int refuse(cadre__entry *entry, int error, const char *format, const char *detail)
{
    int64_t after = cadre__entry_retry_after(entry);
    int rc = cadre__pool_refuse(entry->pool, error, format, entry->model->key, detail);
    entry->pool->retry_after_ms = after;
    return rc;
}

int cadre__entry_admit(cadre__entry *entry, uint64_t timeout_ns, bool *probe)
{
    uint64_t now = cadre__pool_now(entry->pool);
    bool changed;
    *probe = false;
    if (CADRE__FAULT(BUSY_IS_GONE) && entry->model->ready && cadre__list_empty(&entry->model->free_workers)) return CADRE_EWORKER;
    if (entry->removing) return cadre__pool_refuse(entry->pool, CADRE_ENOENT, "\"%.200s\" is being removed", entry->model->key);
    if (entry->refused && !entry->model->ready && !entry->model->loading && !entry->reserving) {
        if (now < entry->retry_at)
            return refuse(entry, entry->status, "\"%.200s\" could not be loaded a moment ago: %.200s", entry->detail ? entry->detail : "");
        entry->refused = false;
    }
    if (!entry->model->ready && load_left(entry, now) > timeout_ns)
        return refuse(entry, CADRE_ETIMEDOUT, "\"%.200s\" is not loaded, and loading it takes longer than the request's deadline leaves%.1s", "");
    if (entry->breaker.state == CADRE__BREAKER_CLOSED) return CADRE_OK;
    if (!cadre__breaker_admit(&entry->breaker, now, probe, &changed))
        return refuse(entry, CADRE_EBREAKER, "\"%.200s\" rests after repeated failures: %.200s", entry->detail ? entry->detail : "");
    if (changed) cadre__event(entry->pool, CADRE_EVENT_BREAKER_HALF_OPEN, entry->model->key, 0, CADRE_OK, 0, 0, "%s", "");
    return CADRE_OK;
}

void cadre__entry_asked(cadre__entry *entry)
{
    cadre__evict_heat(entry, cadre__pool_now(entry->pool));
    if (CADRE__FAULT(LATE_JOINS) && entry->retry_at) return;
    if (!entry->model->ready || cadre__list_empty(&entry->model->free_workers)) cadre__entry_touch(entry);
}

static void set_detail(cadre__entry *entry, int status, const char *detail)
{
    const cadre_allocator *allocator = cadre__pool_allocator(entry->pool);
    cadre__strfree(allocator, entry->detail);
    entry->status = status;
    entry->detail = cadre__strdup(allocator, detail && *detail ? detail : cadre_strerror(status));
}

void cadre__entry_answered(cadre__entry *entry, int status, const char *detail, bool ran, uint64_t run_ns, bool probe)
{
    cadre_pool *pool = entry->pool;
    if (entry->removing || entry->unloading) cadre__entry_touch(entry);
    if (ran) {
        entry->served = true;
        entry->last_used = cadre__pool_now(pool);
        if (status >= 0) entry->run_ns = entry->run_ns ? (entry->run_ns * 7 + run_ns) / 8 : run_ns + 1;
    }
    if (status < 0 && !cadre__breaker_counts(status, ran)) {
        if (probe) cadre__breaker_forget(&entry->breaker);
        return;
    }
    if (!cadre__breaker_note(&entry->breaker, cadre__pool_now(pool), status >= 0, probe)) return;
    if (entry->breaker.state == CADRE__BREAKER_OPEN) {
        char why[CADRE__DETAIL_SIZE];
        set_detail(entry, status, detail);
        cadre__one_line(entry->detail ? entry->detail : (char[]){""});
        cadre__event(pool, CADRE_EVENT_BREAKER_OPENED, entry->model->key, 0, status, 0, 0, "%s", entry->detail ? entry->detail : "");
        snprintf(why, sizeof why, "the model rests after repeated failures: %.400s", entry->detail ? entry->detail : cadre_strerror(status));
        fail_waiting(entry, CADRE_EBREAKER, why);
    } else {
        cadre__event(pool, CADRE_EVENT_BREAKER_CLOSED, entry->model->key, 0, CADRE_OK, 0, 0, "%s", "");
    }
}

/* ---- loads ---- */

/* A failure that another attempt would only repeat. */
static bool is_permanent(int status)
{
    switch (status) {
    case CADRE_EINVAL:
    case CADRE_EFORMAT:
    case CADRE_ECAPABILITY:
    case CADRE_ENOTSUP:
    case CADRE_EBACKEND:
    case CADRE_EBUDGET:
    case UV_ENOENT:
    case UV_EACCES:
    case UV_EISDIR: return true;
    default: return false;
    }
}

static uint64_t jittered(cadre_pool *pool, uint64_t ns)
{
    uint64_t z = pool->random += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 (Steele, Lea, Flood, 2014) */
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return ns - ns / 4 + z % (ns / 2 + 1);
}

void cadre__entry_load_failed(cadre__entry *entry, int status, const char *detail)
{
    cadre_pool *pool = entry->pool;
    cadre__model *model = entry->model;
    set_detail(entry, status, detail);
    entry->doubted = true;
    cadre__entry_touch(entry);
    if (model->loading) { /* the last one decides; until then no further one is tried */
        entry->retry_at = cadre__after(pool->now, jittered(pool, cadre__ms(entry->spec->entry.retry_delay_ms)));
        return;
    }
    entry->failures++;
    uint64_t backoff = cadre__ms(entry->spec->entry.retry_delay_ms);
    for (uint32_t i = 1; i < entry->failures && backoff < BACKOFF_MAX_NS; i++) backoff *= 2;
    entry->retry_at = cadre__after(pool->now, jittered(pool, backoff < BACKOFF_MAX_NS ? backoff : BACKOFF_MAX_NS));
    if (model->ready || entry->reserving) return; /* somebody may still serve */
    if (!is_permanent(status) && entry->failures <= (uint32_t)entry->spec->entry.load_retries && !pool->closing) return;
    if (CADRE__FAULT(LOST_WAITERS)) return;
    entry->refused = true;
    fail_waiting(entry, status, entry->detail ? entry->detail : cadre_strerror(status));
    cadre__entry_grant_loads(entry, status, entry->detail ? entry->detail : cadre_strerror(status));
}

void cadre__entry_no_load(cadre__entry *entry, int status, const char *detail)
{
    entry->pool->stats.loads_failed++;
    entry->model->stats.loads_failed++;
    cadre__event(entry->pool, CADRE_EVENT_LOAD_FAILED, entry->model->key, 0, status, 0, 0, "%s", detail);
    cadre__entry_load_failed(entry, status, detail);
}

void cadre__entry_worker_failed(cadre__entry *entry, cadre__worker *worker, int status, const char *detail)
{
    if (entry->weights && entry->weights->status < 0) cadre__entry_drop_weights(entry);
    if (status == CADRE_ETIMEDOUT && entry->weights && entry->weights->status == 0) { /* their load stands still: the next one begins anew */
        cadre_future_cancel(entry->weights);
        cadre__entry_drop_weights(entry);
    }
    if ((worker->ended && (worker->status == CADRE_ECANCELED || worker->status == CADRE_ECLOSED)) || entry->stopped) { /* it was told to end */
        cadre__entry_touch(entry);
        return;
    }
    cadre__entry_load_failed(entry, status, detail);
}

void cadre__entry_worker_ready(cadre__entry *entry, cadre__worker *worker)
{
    cadre_pool *pool = entry->pool;
    uint64_t taken = pool->now > worker->spawned_at ? pool->now - worker->spawned_at : 1;
    entry->failures = 0;
    entry->retry_at = 0;
    entry->refused = false;
    if (worker->cold) entry->load_ns = entry->load_ns ? (entry->load_ns + taken) / 2 : taken;
    if (!entry->turn_since) {
        entry->turn_since = pool->now ? pool->now : 1;
        entry->served = false;
    }
    if (pool->now + cadre__ms(entry->spec->entry.idle_timeout_ms) < entry->idle_check_at && entry->spec->entry.idle_timeout_ms != CADRE_NEVER)
        entry->idle_check_at = cadre__after(pool->now, cadre__ms(entry->spec->entry.idle_timeout_ms));
    cadre__entry_touch(entry);
    cadre__reserves_touch(pool);
    cadre__entry_grant_loads(entry, CADRE_OK, "");
}

void cadre__entry_worker_idle(cadre__entry *entry)
{
    cadre_pool *pool = entry->pool;
    cadre__reserves_touch(pool);
    if (entry->idle_check_at != UINT64_MAX || entry->spec->entry.idle_timeout_ms == CADRE_NEVER) return;
    entry->idle_check_at = cadre__after(pool->now, cadre__ms(entry->spec->entry.idle_timeout_ms));
    cadre__entry_touch(entry);
}

void cadre__entry_worker_leaving(cadre__entry *entry)
{
    if (!entry->model->ready) {
        entry->turn_since = 0;
        cadre__model_set_turn(entry->model, 0);
    }
    cadre__entry_touch(entry);
}

/* ---- memory ---- */

void cadre__entry_uncharged(cadre__entry *entry, bool weights)
{
    cadre__entry_touch(entry);
    if (!entry->reservations) { /* also of a model whose workers never came to serve */
        entry->turn_since = 0;
        cadre__model_set_turn(entry->model, 0);
    }
    if (!weights || !entry->evicted_for) return;
    cadre__reserve_victim_gone(entry->pool, entry->evicted_for);
    entry->evicted_for = 0;
}

void cadre__entry_measured(cadre__entry *entry, bool weights, uint32_t device, uint64_t bytes)
{
    for (size_t i = 0; i < entry->need_count; i++) {
        cadre_memory_need *need = &entry->needs[i];
        if (need->device != device) continue;
        if (weights)
            need->weights_bytes = bytes;
        else
            need->worker_bytes = bytes;
        if (!cadre__entry_shares(entry)) need->weights_bytes = 0; /* a worker's own copy is in what was measured */
        return;
    }
}

/* ---- what it is ---- */

cadre_model_state cadre__entry_state(const cadre__entry *entry)
{
    const cadre__model *model = entry->model;
    uint64_t now = cadre__pool_now(entry->pool);
    if (entry->removing) return CADRE_MODEL_REMOVING;
    if (entry->breaker.state == CADRE__BREAKER_OPEN && now < entry->breaker.open_until) return CADRE_MODEL_RESTING;
    if (model->ready) return CADRE_MODEL_READY;
    if (model->loading || entry->load_waits) return CADRE_MODEL_LOADING;
    if (entry->reserving) return CADRE_MODEL_WAITING;
    return entry->failures && now < entry->retry_at ? CADRE_MODEL_FAILED : CADRE_MODEL_COLD;
}
