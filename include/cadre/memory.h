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
    uint64_t charged_bytes;     /* above budget_bytes only where a model turned out larger than what was reserved for it */
    uint64_t reservation_count; /* live reservations that charge this device */
} cadre_memory_usage;
#define CADRE_MEMORY_USAGE_INIT                                                                                                                                \
    {                                                                                                                                                          \
        sizeof(cadre_memory_usage), 0, 0, 0                                                                                                                    \
    }

typedef struct cadre_reservation cadre_reservation;

/* Charges every amount or none and answers at once. A device named twice is charged the sum. On 0, *out is owned by the caller: pass it to a spawn or to
 * weights, which consume it, or release it. A count of 0 makes an empty reservation; at most 64.
 * CADRE_EBUDGET: at least one device has no room (nothing was charged); CADRE_EINVAL: unknown device, or a NULL; CADRE_ENOMEM; CADRE_ECLOSED. */
CADRE_EXTERN int cadre_memory_try_reserve(cadre_pool *pool, const cadre_memory_amount *amounts, size_t count, cadre_reservation **out);

/* Gives back a reservation that nothing has consumed. NULL is allowed. */
CADRE_EXTERN void cadre_reservation_release(cadre_reservation *owned);

/* Names a reservation that waits; never 0. */
typedef uint64_t cadre_reserve_id;

/* Loop thread, once for each cadre_memory_reserve that returned 0. status 0: the memory is free and charged, `owned` is yours. Else NULL, and detail says why,
 * with the numbers: CADRE_EBUDGET (it cannot be made free), CADRE_ETIMEDOUT, CADRE_ECANCELED, CADRE_ECLOSED. */
typedef void (*cadre_reserve_cb)(cadre_pool *pool, int status, cadre_reservation *owned, const char *detail, void *data);

typedef struct cadre_reserve_options {
    size_t size;
    int32_t priority;   /* cadre_priority (0 critical … 4 batch); default normal (2) */
    int64_t timeout_ms; /* default CADRE_NEVER */
} cadre_reserve_options;
#define CADRE_RESERVE_OPTIONS_INIT                                                                                                                             \
    {                                                                                                                                                          \
        sizeof(cadre_reserve_options), CADRE_DEFAULT, CADRE_DEFAULT                                                                                            \
    }

/* As try_reserve, but makes room: models of the registry that are idle are evicted, those first whose return is the least likely and the cheapest, and only if
 * all of the plan suffices; pinned models, min_workers and what the host reserved itself are never touched. Busy models end their turn when they have been
 * there for min_residency_ms: what had come before is served, what came after waits for their next turn. The callback runs when the memory is really free.
 * Those who wait are served in order of priority, then arrival; a later one that fits goes ahead as long as it takes nothing from an earlier one.
 * CADRE_EBUDGET: more than could ever be made free (the detail has the numbers); CADRE_EINVAL; CADRE_ENOMEM; CADRE_ECLOSED. `options` and `out` may be NULL. */
CADRE_EXTERN int cadre_memory_reserve(cadre_pool *pool, const cadre_memory_amount *amounts, size_t count, const cadre_reserve_options *options,
                                      cadre_reserve_cb cb, void *data, cadre_reserve_id *out);
/* Its callback follows with CADRE_ECANCELED. CADRE_ESTALE. */
CADRE_EXTERN int cadre_memory_cancel(cadre_pool *pool, cadre_reserve_id id);

/* Writes what a reservation of these amounts would meet now, as lines of text: what is asked, what is free, who was considered, and why each was or was not
 * chosen. Returns the length that it has (snprintf's rule: cut and terminated at `size`), or CADRE_EINVAL. Changes nothing. */
CADRE_EXTERN int64_t cadre_memory_explain(cadre_pool *pool, const cadre_memory_amount *amounts, size_t count, char *out, size_t size);

/* What a device holds now. CADRE_EINVAL: unknown device or wrong size. */
CADRE_EXTERN int cadre_memory_get_usage(const cadre_pool *pool, uint32_t device, cadre_memory_usage *out);

CADRE_END
#endif
