#include "memory/reserve.h"

#include "memory/evict.h"
#include "memory/ledger.h"
#include "registry/entry.h"

#include <stdio.h>

#define GRANTS_A_STEP 64
#define LOOKS_A_STEP 32                                /* of those who wait, the first so many are looked at */
#define CLAIM_NS (UINT64_C(5000) * CADRE__NS_PER_MS)   /* who has waited for this gets what comes free, although it does not suffice yet */
#define REPLAN_NS (UINT64_C(10000) * CADRE__NS_PER_MS) /* victims that are not gone by then do not hold up a second plan */

uint64_t cadre__reserve_room(const cadre_pool *pool, uint32_t device)
{
    uint64_t room = cadre__ledger_room(pool, device), claimed = pool->accounts[device].claimed;
    return room > claimed ? room - claimed : 0;
}

static bool fits(const cadre_pool *pool, const cadre_memory_amount *amounts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t asked = 0;
        for (size_t k = 0; k < count; k++) asked += amounts[k].device == amounts[i].device ? amounts[k].bytes : 0;
        if (asked > cadre__reserve_room(pool, amounts[i].device)) return false;
    }
    return true;
}

cadre_reservation *cadre__reserve_now(cadre_pool *pool, const cadre_memory_amount *amounts, size_t count, struct cadre__entry *entry)
{
    return fits(pool, amounts, count) ? cadre__ledger_charge(pool, amounts, count, entry) : NULL;
}

/* Takes it out; what it had set aside is free again. */
static void leave(cadre__reserve *reserve)
{
    cadre_pool *pool = reserve->pool;
    cadre__list_remove(&reserve->link);
    cadre__deadline_clear(&pool->deadlines, &reserve->deadline);
    cadre__table_remove(&pool->reserve_ids, reserve->id);
    reserve->id = 0;
    pool->reserves_touched = true; /* although the list may be empty now: turns may have been ended for it */
    cadre__pool_touch(pool);
}

void cadre__reserve_cancel(cadre__reserve *reserve)
{
    if (reserve->id) leave(reserve);
}

/* "host: 734003200 bytes asked, 104857600 of 1073741824 free": the first device that has no room. */
static void tell_numbers(const cadre_pool *pool, const cadre__reserve *reserve, const char *why, char *out, size_t size)
{
    for (size_t i = 0; i < reserve->count; i++) {
        const cadre_memory_amount *amount = &reserve->amounts[i];
        const cadre__account *account = &pool->accounts[amount->device];
        if (amount->bytes <= cadre__ledger_room(pool, amount->device) && i + 1 < reserve->count) continue;
        snprintf(out, size, "%s: %s: %llu bytes asked, %llu of %llu free", why, account->name, (unsigned long long)amount->bytes,
                 (unsigned long long)cadre__ledger_room(pool, amount->device), (unsigned long long)account->budget);
        return;
    }
    snprintf(out, size, "%s", why);
}

static void fail(cadre__reserve *reserve, int status, const char *why)
{
    char detail[CADRE__DETAIL_SIZE];
    tell_numbers(reserve->pool, reserve, why, detail, sizeof detail);
    leave(reserve);
    reserve->over(reserve, status, NULL, detail);
}

static void timed_out(cadre_pool *pool, cadre__deadline *deadline)
{
    (void)pool;
    fail(CADRE__CONTAINER(deadline, cadre__reserve, deadline), CADRE_ETIMEDOUT, "the memory did not come free in time");
}

bool cadre__reserve_begin(cadre__reserve *reserve, uint64_t timeout_ns)
{
    cadre_pool *pool = reserve->pool;
    reserve->deadline = (cadre__deadline){.fire = timed_out};
    reserve->victims = 0;
    reserve->yields = false;
    reserve->arrived = cadre__pool_now(pool);
    reserve->id = cadre__table_add(&pool->reserve_ids, cadre__pool_allocator(pool), reserve);
    if (!reserve->id) return false;
    if (timeout_ns != UINT64_MAX && !cadre__pool_deadline(pool, &reserve->deadline, timeout_ns)) {
        cadre__table_remove(&pool->reserve_ids, reserve->id);
        reserve->id = 0;
        return false;
    }
    cadre__list *after = &pool->reserves; /* behind all that have its priority or a higher one */
    while (after->prev != &pool->reserves && CADRE__CONTAINER(after->prev, cadre__reserve, link)->priority > reserve->priority) after = after->prev;
    cadre__list_append(after, &reserve->link);
    cadre__reserves_touch(pool);
    return true;
}

void cadre__reserves_touch(cadre_pool *pool)
{
    if (cadre__list_empty(&pool->reserves) || pool->reserves_touched) return;
    pool->reserves_touched = true;
    cadre__pool_touch(pool);
}

void cadre__reserves_look(cadre_pool *pool, cadre__deadline *deadline)
{
    cadre__deadline_set(&pool->deadlines, cadre__pool_allocator(pool), deadline, UINT64_MAX);
    cadre__reserves_touch(pool);
}

void cadre__reserve_victim_gone(cadre_pool *pool, uint64_t reserve_id)
{
    cadre__reserve *reserve = cadre__table_get(&pool->reserve_ids, reserve_id);
    if (!reserve || reserve->victims == 0) return;
    reserve->victims--;
    cadre__reserves_touch(pool);
}

static void claim(cadre_pool *pool, const cadre__reserve *reserve)
{
    for (size_t i = 0; i < reserve->count; i++) {
        uint64_t *claimed = &pool->accounts[reserve->amounts[i].device].claimed;
        if (__builtin_add_overflow(*claimed, reserve->amounts[i].bytes, claimed)) *claimed = UINT64_MAX;
    }
}

/* Looks at one that waits. True: it is over, and the list may have changed. */
static bool look(cadre_pool *pool, cadre__reserve *reserve, uint64_t *next)
{
    if (fits(pool, reserve->amounts, reserve->count) || (CADRE__FAULT(GRANT_EARLY) && reserve->victims)) {
        cadre_reservation *reservation = cadre__ledger_charge(pool, reserve->amounts, reserve->count, reserve->entry);
        leave(reserve);
        reserve->over(reserve, reservation ? CADRE_OK : CADRE_ENOMEM, reservation, reservation ? "" : cadre_strerror(CADRE_ENOMEM));
        return true;
    }
    if (reserve->victims == 0 || pool->now - reserve->planned_at >= REPLAN_NS) {
        uint64_t look_at = UINT64_MAX;
        reserve->planned_at = pool->now; /* whatever comes of it: the next look is REPLAN_NS away */
        cadre__evict_result result = cadre__evict_plan(reserve, &look_at);
        if (result == CADRE__EVICT_NEVER) {
            fail(reserve, CADRE_EBUDGET, "the memory cannot be made free");
            return true;
        }
        reserve->yields = result == CADRE__EVICT_YIELDS;
        if (look_at < *next) *next = look_at;
    }
    uint64_t claim_at = cadre__after(reserve->arrived, CLAIM_NS);
    if (reserve->victims || reserve->yields || pool->now >= claim_at || CADRE__FAULT(BEHIND_BIG))
        claim(pool, reserve);
    else if (claim_at < *next)
        *next = claim_at;
    if (reserve->victims && reserve->planned_at + REPLAN_NS < *next) *next = reserve->planned_at + REPLAN_NS;
    return false;
}

void cadre__reserves_step(cadre_pool *pool)
{
    if (!pool->reserves_touched) return;
    uint64_t next;
    bool yields, again;
    uint32_t over = 0;
    do {
        pool->reserves_touched = again = yields = false;
        next = UINT64_MAX;
        for (size_t i = 0; i < pool->account_count; i++) pool->accounts[i].claimed = 0;
        uint32_t looked = 0;
        CADRE__LIST_FOR (node, &pool->reserves) {
            cadre__reserve *reserve = CADRE__CONTAINER(node, cadre__reserve, link);
            if (looked++ == LOOKS_A_STEP) break;
            again = look(pool, reserve, &next);
            if (again) break;
            yields = yields || reserve->yields;
        }
    } while (again && ++over < GRANTS_A_STEP);
    if (again) { /* the next turn goes on */
        pool->reserves_touched = true;
        return;
    }
    if (!yields && !CADRE__FAULT(TURNS_STAY)) cadre__evict_forget_turns(pool);
    cadre__deadline_set(&pool->deadlines, cadre__pool_allocator(pool), &pool->reserves_due, next);
}

void cadre__reserves_close(cadre_pool *pool)
{
    while (!cadre__list_empty(&pool->reserves)) {
        cadre__reserve *reserve = CADRE__CONTAINER(pool->reserves.next, cadre__reserve, link);
        leave(reserve);
        reserve->over(reserve, CADRE_ECLOSED, NULL, "the pool was closed");
    }
    for (size_t i = 0; i < pool->account_count; i++) pool->accounts[i].claimed = 0;
}

/* ---- the host's own ---- */

typedef struct host_reserve {
    cadre__reserve reserve; /* first */
    cadre_reserve_cb cb;
    void *data;
    cadre__message cancelling;
    cadre_memory_amount amounts[];
} host_reserve;

static void host_free(host_reserve *own)
{
    cadre__free(cadre__pool_allocator(own->reserve.pool), own, sizeof *own + own->reserve.count * sizeof *own->amounts);
}

static void host_over(cadre__reserve *reserve, int status, cadre_reservation *reservation, const char *detail)
{
    host_reserve *own = CADRE__CONTAINER(reserve, host_reserve, reserve);
    cadre_pool *pool = reserve->pool;
    cadre_reserve_cb cb = own->cb;
    void *data = own->data;
    pool->wishes--;
    host_free(own);
    cb(pool, status, reservation, detail, data);
}

static void deliver_cancelling(cadre_pool *pool, cadre__message *message)
{
    (void)pool;
    host_reserve *own = CADRE__CONTAINER(message, host_reserve, cancelling);
    host_over(&own->reserve, CADRE_ECANCELED, NULL, "cancelled by the host");
}

int cadre_memory_reserve(cadre_pool *pool, const cadre_memory_amount *amounts, size_t count, const cadre_reserve_options *theirs, cadre_reserve_cb cb,
                         void *data, cadre_reserve_id *out)
{
    if (out) *out = 0;
    if (!pool || !cb) return CADRE_EINVAL;
    cadre_reserve_options options = CADRE_RESERVE_OPTIONS_INIT;
    if (theirs && !cadre__overlay(&options, sizeof options, theirs)) return cadre__pool_refuse(pool, CADRE_EINVAL, "options.size is wrong");
    if (options.priority == CADRE_DEFAULT) options.priority = CADRE_PRIORITY_NORMAL;
    if (options.timeout_ms == CADRE_DEFAULT) options.timeout_ms = CADRE_NEVER;
    if (options.priority < 0 || options.priority >= CADRE_PRIORITY_COUNT || options.timeout_ms <= 0)
        return cadre__pool_refuse(pool, CADRE_EINVAL, "options.priority or timeout_ms is out of range");
    if (pool->closing) return cadre__pool_refuse(pool, CADRE_ECLOSED, "the pool is closing");
    int rc = cadre__ledger_check(pool, amounts, count);
    if (rc != CADRE_OK) return rc;
    host_reserve *own = cadre__alloc(cadre__pool_allocator(pool), sizeof *own + count * sizeof *amounts);
    if (!own) return cadre__pool_refuse(pool, CADRE_ENOMEM, "out of memory");
    if (count) memcpy(own->amounts, amounts, count * sizeof *amounts);
    own->cb = cb;
    own->data = data;
    own->cancelling.deliver = deliver_cancelling;
    own->reserve = (cadre__reserve){.pool = pool, .priority = options.priority, .amounts = own->amounts, .count = count, .over = host_over};
    rc = !cadre__evict_possible(pool, amounts, count, NULL) ? CADRE_EBUDGET : CADRE_OK;
    if (rc == CADRE_EBUDGET) tell_numbers(pool, &own->reserve, "the memory cannot be made free", pool->error_detail, sizeof pool->error_detail);
    if (rc == CADRE_OK && !cadre__reserve_begin(&own->reserve, options.timeout_ms == CADRE_NEVER ? UINT64_MAX : cadre__ms(options.timeout_ms)))
        rc = cadre__pool_refuse(pool, CADRE_ENOMEM, "out of memory");
    if (rc != CADRE_OK) {
        host_free(own);
        return rc;
    }
    pool->wishes++;
    if (out) *out = own->reserve.id;
    return CADRE_OK;
}

int cadre_memory_cancel(cadre_pool *pool, cadre_reserve_id id)
{
    if (!pool) return CADRE_EINVAL;
    cadre__reserve *reserve = cadre__table_get(&pool->reserve_ids, id);
    if (!reserve || reserve->over != host_over) return CADRE_ESTALE;
    leave(reserve);
    cadre__pool_defer(pool, &CADRE__CONTAINER(reserve, host_reserve, reserve)->cancelling);
    return CADRE_OK;
}
