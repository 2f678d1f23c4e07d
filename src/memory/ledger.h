/* The ledger: one account per device, charged by reservations. Loop thread. */
#ifndef CADRE__LEDGER_H
#define CADRE__LEDGER_H

#include "pool/pool.h"

#define CADRE__AMOUNTS_MAX 64 /* of one reservation */

struct cadre__entry;

struct cadre_reservation {
    cadre_port *port;           /* counted; its pool may be gone */
    atomic_uint refs;           /* atomic for abandoned threads alone: while there is a pool, the loop's */
    struct cadre__entry *entry; /* loop: of the registry, for which it is; NULL: the host's own */
    bool weights;               /* of its shared weights */
    size_t count;
    cadre_memory_amount amounts[]; /* no device twice */
};

int cadre__ledger_open(cadre_pool *pool, const cadre_pool_options *options);
void cadre__ledger_close(cadre_pool *pool);

/* What is free on a device: never wraps, also where a model turned out larger than its reservation. */
static inline uint64_t cadre__ledger_room(const cadre_pool *pool, uint32_t device)
{
    const cadre__account *account = &pool->accounts[device];
    return account->charged < account->budget || CADRE__FAULT(ROOM_WRAPS) ? account->budget - account->charged : 0;
}

/* 0, or CADRE_EINVAL with a detail: unknown devices, sums that overflow. */
int cadre__ledger_check(cadre_pool *pool, const cadre_memory_amount *amounts, size_t count);
/* Charges amounts whose room was made sure of; `entry` may be NULL. NULL: out of memory, nothing is charged. */
cadre_reservation *cadre__ledger_charge(cadre_pool *pool, const cadre_memory_amount *amounts, size_t count, struct cadre__entry *entry);
/* Sets what a reservation charges on one device to what was measured. */
void cadre__reservation_set(cadre_reservation *reservation, uint32_t device, uint64_t bytes);
/* What it charges over all devices. */
uint64_t cadre__reservation_bytes(const cadre_reservation *reservation);

/* One more holder: the charge stands until the last has released it. NULL gives NULL. */
cadre_reservation *cadre__reservation_retain(cadre_reservation *reservation);

#endif
