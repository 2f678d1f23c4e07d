/* The first ledger: budgets, whole-or-nothing charges, release. `charged ≤ budget` always holds, so `budget − charged` cannot wrap. */
#include "memory/ledger.h"

#include "memory/budget.h"
#include "pool/pool.h"

struct cadre_reservation {
    cadre_port *port; /* counted; its pool may be gone */
    atomic_uint refs; /* atomic for abandoned threads alone: while there is a pool, the loop's */
    size_t count;
    cadre_memory_amount amounts[];
};

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
    for (size_t i = 0; i < options->device_count; i++) {
        cadre__account *account = &pool->accounts[i + 1];
        account->budget = options->devices[i].budget_bytes;
        account->name = cadre__strdup(allocator, options->devices[i].name);
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

/* Whether entry i is the first to name its device: a reservation counts once for each device. */
static bool names_first(const cadre_memory_amount *amounts, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (amounts[k].device == amounts[i].device) return false;
    return true;
}

static void uncharge(cadre_pool *pool, const cadre_memory_amount *amounts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        cadre__account *account = &pool->accounts[amounts[i].device];
        account->charged -= amounts[i].bytes;
        account->reservations -= names_first(amounts, i);
    }
}

int cadre_memory_try_reserve(cadre_pool *pool, const cadre_memory_amount *amounts, size_t count, cadre_reservation **out)
{
    if (out) *out = NULL;
    if (!pool || !out || (count && !amounts)) return CADRE_EINVAL;
    if (pool->closing) return CADRE_ECLOSED;
    for (size_t i = 0; i < count; i++)
        if (amounts[i].device >= pool->account_count)
            return cadre__pool_refuse(pool, CADRE_EINVAL, "amounts[%zu].device is %u, but the pool has devices 0…%zu", i, amounts[i].device,
                                      pool->account_count - 1);
    size_t bytes;
    if (!cadre__mul(count, sizeof *amounts, &bytes) || !cadre__add(bytes, sizeof(cadre_reservation), &bytes)) return CADRE_EINVAL;
    cadre_reservation *reservation = cadre__alloc(cadre__pool_allocator(pool), bytes);
    if (!reservation) return CADRE_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        cadre__account *account = &pool->accounts[amounts[i].device];
        uint64_t room = account->budget - account->charged;
        if (amounts[i].bytes > room) {
            uncharge(pool, amounts, i);
            cadre__free(cadre__pool_allocator(pool), reservation, bytes);
            return cadre__pool_refuse(pool, CADRE_EBUDGET, "device %u: %llu bytes asked, %llu of %llu free", amounts[i].device,
                                      (unsigned long long)amounts[i].bytes, (unsigned long long)room, (unsigned long long)account->budget);
        }
        account->charged += amounts[i].bytes;
        account->reservations += names_first(amounts, i);
        reservation->amounts[i] = amounts[i];
    }
    reservation->port = cadre_port_retain(pool->port);
    atomic_init(&reservation->refs, 1);
    reservation->count = count;
    *out = reservation;
    return CADRE_OK;
}

cadre_reservation *cadre__reservation_retain(cadre_reservation *reservation)
{
    if (reservation) atomic_fetch_add_explicit(&reservation->refs, 1, memory_order_relaxed);
    return reservation;
}

void cadre_reservation_release(cadre_reservation *owned)
{
    if (!owned || atomic_fetch_sub_explicit(&owned->refs, 1, memory_order_acq_rel) != 1) return;
    cadre_port *port = owned->port;
    if (cadre__port_on_loop(port) && port->pool) uncharge(port->pool, owned->amounts, owned->count); /* an abandoned thread has no pool */
    cadre__free(&port->allocator, owned, sizeof *owned + owned->count * sizeof *owned->amounts);
    cadre_port_release(port);
}

int cadre_memory_get_usage(const cadre_pool *pool, uint32_t device, cadre_memory_usage *out)
{
    if (!pool || !out || device >= pool->account_count) return CADRE_EINVAL;
    const cadre__account *account = &pool->accounts[device];
    cadre_memory_usage usage = {sizeof usage, account->budget, account->charged, account->reservations};
    return cadre__fill(out, &usage, sizeof usage) ? CADRE_OK : CADRE_EINVAL;
}
