/* The ledger: one budget per device, charged by reservations.
 *
 * A reservation is taken before a load begins and travels with what it pays for: spawn consumes it and the worker gives it back when its model's `destroy`
 * has returned, not earlier. The sum of live reservations equals the charged bytes at any time. All functions here: loop thread only. */
#ifndef CADRE_MEMORY_H
#define CADRE_MEMORY_H

#include <cadre/platform.h>

CADRE_BEGIN

/* Device 0 is host memory; device k (1 ≤ k) is entry k − 1 of cadre_pool_options.devices. */
#define CADRE_DEVICE_HOST 0u

typedef struct cadre_device {
    size_t size;
    const char *name;      /* not empty; copied */
    uint64_t budget_bytes; /* what models may take of it */
} cadre_device;
#define CADRE_DEVICE_INIT                                                                                                                                      \
    {                                                                                                                                                          \
        sizeof(cadre_device), NULL, 0                                                                                                                          \
    }

typedef struct cadre_memory_amount {
    uint32_t device;
    uint64_t bytes;
} cadre_memory_amount;

typedef struct cadre_memory_usage {
    size_t size; /* set by the caller */
    uint64_t budget_bytes;
    uint64_t charged_bytes;     /* ≤ budget_bytes */
    uint64_t reservation_count; /* live reservations that charge this device */
} cadre_memory_usage;
#define CADRE_MEMORY_USAGE_INIT                                                                                                                                \
    {                                                                                                                                                          \
        sizeof(cadre_memory_usage), 0, 0, 0                                                                                                                    \
    }

typedef struct cadre_reservation cadre_reservation;

/* Charges every amount or none and answers at once. A device named twice is charged the sum. On 0, *out is owned by the caller: pass it to a spawn or to
 * weights, which consume it, or release it. A count of 0 makes an empty reservation.
 * CADRE_EBUDGET: at least one device has no room (nothing was charged); CADRE_EINVAL: unknown device, or a NULL; CADRE_ENOMEM; CADRE_ECLOSED. */
CADRE_EXTERN int cadre_memory_try_reserve(cadre_pool *pool, const cadre_memory_amount *amounts, size_t count, cadre_reservation **out);

/* Gives back a reservation that nothing has consumed. NULL is allowed. */
CADRE_EXTERN void cadre_reservation_release(cadre_reservation *owned);

/* What a device holds now. CADRE_EINVAL: unknown device or wrong size. */
CADRE_EXTERN int cadre_memory_get_usage(const cadre_pool *pool, uint32_t device, cadre_memory_usage *out);

CADRE_END
#endif
