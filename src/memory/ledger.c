/* Budgets, whole-or-nothing charges, release. */
#include "memory/ledger.h"

#include "memory/budget.h"
#include "memory/reserve.h"
#include "registry/entry.h"

int cadre__ledger_open(cadre_pool *pool, const cadre_pool_options *options)
{
    const cadre_allocator *allocator = cadre__pool_allocator(pool);
    pool->account_count = options->device_count + 1;
    pool->accounts = cadre__alloc(allocator, pool->account_count * sizeof *pool->accounts);
    if (!pool->accounts) {
        pool->account_count = 0;
        return CADRE_ENOMEM;
    }
    pool->accounts[0].budget = options->memory_bytes >= 0 ? (uint64_t)options->memory_bytes : cadre__default_budget();
    for (size_t i = 0; i < pool->account_count; i++) {
        cadre__account *account = &pool->accounts[i];
        if (i > 0) account->budget = options->devices[i - 1].budget_bytes;
        account->name = cadre__strdup(allocator, i > 0 ? options->devices[i - 1].name : "host");
        if (!account->name) return CADRE_ENOMEM;
    }
    return CADRE_OK;
}

void cadre__ledger_close(cadre_pool *pool)
{
    const cadre_allocator *allocator = cadre__pool_allocator(pool);
    for (size_t i = 0; i < pool->account_count; i++) cadre__strfree(allocator, pool->accounts[i].name);
    cadre__free(allocator, pool->accounts, pool->account_count * sizeof *pool->accounts);
}

int cadre__ledger_check(cadre_pool *pool, const cadre_memory_amount *amounts, size_t count)
{
    if (count && !amounts) return CADRE_EINVAL;
    if (count > CADRE__AMOUNTS_MAX) return cadre__pool_refuse(pool, CADRE_EINVAL, "count is %zu, above %d", count, CADRE__AMOUNTS_MAX);
    for (size_t i = 0; i < count; i++) {
        uint64_t sum = amounts[i].bytes;
        if (amounts[i].device >= pool->account_count)
            return cadre__pool_refuse(pool, CADRE_EINVAL, "amounts[%zu].device is %u, but the pool has devices 0…%zu", i, amounts[i].device,
                                      pool->account_count - 1);
        for (size_t k = 0; k < i; k++)
            if (amounts[k].device == amounts[i].device && __builtin_add_overflow(sum, amounts[k].bytes, &sum))
                return cadre__pool_refuse(pool, CADRE_EBUDGET, "the amounts of device %u overflow", amounts[i].device);
    }
    return CADRE_OK;
}

static void charge(cadre_pool *pool, cadre_reservation *reservation, uint32_t device, uint64_t bytes)
{
    pool->accounts[device].charged += bytes;
    if (reservation->entry) reservation->entry->charged[device] += bytes;
}

static void uncharge(cadre_pool *pool, cadre_reservation *reservation, uint32_t device, uint64_t bytes)
{
    cadre__account *account = &pool->accounts[device], copy = *account;
    (CADRE__FAULT(CREDIT_COPY) ? &copy : account)->charged -= bytes;
    if (reservation->entry) reservation->entry->charged[device] -= bytes;
}

cadre_reservation *cadre__ledger_charge(cadre_pool *pool, const cadre_memory_amount *amounts, size_t count, struct cadre__entry *entry)
{
    cadre_reservation *reservation = cadre__alloc(cadre__pool_allocator(pool), sizeof *reservation + count * sizeof *amounts);
    if (!reservation) return NULL;
    reservation->port = cadre_port_retain(pool->port);
    atomic_init(&reservation->refs, 1);
    reservation->entry = entry;
    if (entry && entry->reservations++ == 0) cadre__list_append(&pool->residents, &entry->resident);
    reservation->count = count;
    for (size_t i = 0; i < count; i++) {
        reservation->amounts[i].device = amounts[i].device; /* a device that is named again charges to its first place */
        size_t first = 0;
        while (amounts[first].device != amounts[i].device) first++;
        reservation->amounts[first].bytes += amounts[i].bytes;
        if (first == i) pool->accounts[amounts[i].device].reservations++;
        charge(pool, reservation, amounts[i].device, amounts[i].bytes);
    }
    cadre__pressure_update(pool);
    return reservation;
}

int cadre_memory_try_reserve(cadre_pool *pool, const cadre_memory_amount *amounts, size_t count, cadre_reservation **out)
{
    if (out) *out = NULL;
    if (!pool || !out || (count && !amounts)) return CADRE_EINVAL;
    if (pool->closing) return CADRE_ECLOSED;
    int rc = cadre__ledger_check(pool, amounts, count);
    if (rc != CADRE_OK) return rc;
    for (size_t i = 0; i < count; i++) {
        uint64_t asked = 0, room = cadre__reserve_room(pool, amounts[i].device);
        for (size_t k = 0; k < count; k++) asked += amounts[k].device == amounts[i].device ? amounts[k].bytes : 0;
        if (asked > room)
            return cadre__pool_refuse(pool, CADRE_EBUDGET, "device %u: %llu bytes asked, %llu of %llu free", amounts[i].device, (unsigned long long)asked,
                                      (unsigned long long)room, (unsigned long long)pool->accounts[amounts[i].device].budget);
    }
    *out = cadre__ledger_charge(pool, amounts, count, NULL);
    return *out ? CADRE_OK : CADRE_ENOMEM;
}

cadre_reservation *cadre__reservation_retain(cadre_reservation *reservation)
{
    if (reservation) atomic_fetch_add_explicit(&reservation->refs, 1, memory_order_relaxed);
    return reservation;
}

static void give_back(cadre_pool *pool, cadre_reservation *owned)
{
    for (size_t i = 0; i < owned->count; i++) {
        bool first = true;
        for (size_t k = 0; k < i; k++) first = first && owned->amounts[k].device != owned->amounts[i].device;
        if (first) pool->accounts[owned->amounts[i].device].reservations--;
        uncharge(pool, owned, owned->amounts[i].device, owned->amounts[i].bytes);
    }
    if (owned->entry) {
        if (--owned->entry->reservations == 0) cadre__list_remove(&owned->entry->resident);
        cadre__entry_uncharged(owned->entry, owned->weights);
    }
    cadre__reserves_touch(pool);
    cadre__pressure_update(pool);
}

void cadre_reservation_release(cadre_reservation *owned)
{
    if (!owned || atomic_fetch_sub_explicit(&owned->refs, 1, memory_order_acq_rel) != 1) return;
    cadre_port *port = owned->port;
    if (cadre__port_on_loop(port) && port->pool && !port->pool->emptied) give_back(port->pool, owned); /* an abandoned thread has no pool */
    cadre__free(&port->allocator, owned, sizeof *owned + owned->count * sizeof *owned->amounts);
    cadre_port_release(port);
}

void cadre__reservation_set(cadre_reservation *reservation, uint32_t device, uint64_t bytes)
{
    if (!reservation || !reservation->port->pool) return;
    cadre_pool *pool = reservation->port->pool;
    for (size_t i = 0; i < reservation->count; i++) {
        cadre_memory_amount *amount = &reservation->amounts[i];
        if (amount->device != device) continue;
        uint64_t charged = pool->accounts[device].charged - amount->bytes;
        if (bytes > UINT64_MAX / 2 - (charged < UINT64_MAX / 2 ? charged : UINT64_MAX / 2)) return; /* nonsense: keep the estimate */
        uncharge(pool, reservation, device, amount->bytes);
        amount->bytes = bytes;
        charge(pool, reservation, device, bytes);
        cadre__reserves_touch(pool);
        cadre__pressure_update(pool);
        return;
    }
}

uint64_t cadre__reservation_bytes(const cadre_reservation *reservation)
{
    uint64_t sum = 0;
    for (size_t i = 0; reservation && i < reservation->count; i++) sum += reservation->amounts[i].bytes;
    return sum;
}

int cadre_memory_get_usage(const cadre_pool *pool, uint32_t device, cadre_memory_usage *out)
{
    if (!pool || !out || device >= pool->account_count) return CADRE_EINVAL;
    const cadre__account *account = &pool->accounts[device];
    cadre_memory_usage usage = {sizeof usage, account->budget, account->charged, account->reservations};
    return cadre__fill(out, &usage, sizeof usage) ? CADRE_OK : CADRE_EINVAL;
}
