/* The counting allocator, and the ledger seen from outside: a reservation lives until the allocator sees its block freed, so the sum of the live ones must be
 * what the pool has charged. */
#include "host.h"

#include "memory/ledger.h"

#include <stdlib.h>

#define MAGIC UINT64_C(0x51c0de5ca1ab1e00)

typedef struct block {
    uint64_t magic;
    size_t bytes;
} block;

#define POISON 0xdd
#define POISONED_MAX 2048 /* of a block: so much is looked at */

static void *count_alloc(size_t bytes, void *data)
{
    host *h = data;
    if (h->out_of_memory && h->pool && sim_one_in(&h->sim, h->out_of_memory)) {
        sim_log(&h->sim, "no memory for %zu bytes", bytes);
        return NULL;
    }
    block *b = malloc(sizeof *b + bytes);
    if (!b) abort();
    *b = (block){MAGIC, bytes};
    memset(b + 1, 0xa5, bytes);
    h->live_bytes += bytes;
    h->live_blocks++;
    return b + 1;
}

/* Nobody may have written there since. */
static void really_free(host *h, unsigned at)
{
    block *b = h->freed[at].block;
    h->freed[at].block = NULL;
    if (!b) return;
    const unsigned char *bytes = (const unsigned char *)(b + 1);
    for (size_t i = 0; i < h->freed[at].bytes && i < POISONED_MAX; i++)
        if (bytes[i] != POISON) sim_violation(&h->sim, "a block of %zu bytes was written to after it was freed", h->freed[at].bytes);
    free(b);
}

static void count_free(void *pointer, size_t bytes, void *data)
{
    host *h = data;
    block *b = (block *)pointer - 1;
    if (b->magic != MAGIC) sim_violation(&h->sim, "a block is freed that is not the pool's, or twice");
    if (b->bytes != bytes) sim_violation(&h->sim, "a block of %zu bytes is freed as %zu", b->bytes, bytes);
    b->magic = 0;
    h->live_bytes -= bytes;
    h->live_blocks--;
    for (unsigned i = 0; i < h->live_charge_count; i++) {
        sim_charge *charge = &h->charges[h->live_charges[i]];
        if (charge->handle != pointer) continue;
        sim_log(&h->sim, "reservation %u is given back", h->live_charges[i]);
        charge->handle = NULL;
        h->live_charges[i--] = h->live_charges[--h->live_charge_count];
    }
    memset(pointer, POISON, bytes);
    unsigned at = h->freed_at++ % (sizeof h->freed / sizeof *h->freed);
    really_free(h, at);
    h->freed[at].block = b;
    h->freed[at].bytes = bytes;
}

/* ---- reservations ---- */

static int record(host *h, const sim_charge *charge)
{
    if (h->charge_count == h->charge_capacity) {
        h->charge_capacity = h->charge_capacity ? h->charge_capacity * 2 : 16;
        h->charges = realloc(h->charges, h->charge_capacity * sizeof *h->charges);
        if (!h->charges) abort();
    }
    if (h->live_charge_count == h->live_charge_capacity) {
        h->live_charge_capacity = h->live_charge_capacity ? h->live_charge_capacity * 2 : 16;
        h->live_charges = realloc(h->live_charges, h->live_charge_capacity * sizeof *h->live_charges);
        if (!h->live_charges) abort();
    }
    h->charges[h->charge_count] = *charge;
    h->live_charges[h->live_charge_count++] = h->charge_count;
    return (int)h->charge_count++;
}

int memory_index(const host *h, const cadre_reservation *handle)
{
    for (unsigned i = 0; handle && i < h->live_charge_count; i++)
        if (h->charges[h->live_charges[i]].handle == handle) return (int)h->live_charges[i];
    return -1;
}

/* What is charged on a device, counted from the live reservations. */
static uint64_t charged_on(const host *h, uint32_t device)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < h->live_charge_count; i++) {
        const sim_charge *c = &h->charges[h->live_charges[i]];
        size_t count = c->own ? c->count : c->handle->count;
        const cadre_memory_amount *amounts = c->own ? c->amounts : c->handle->amounts;
        for (size_t k = 0; k < count; k++) sum += amounts[k].device == device ? amounts[k].bytes : 0;
    }
    return sum;
}

/* The linker puts this before the ledger's own, for callers in other files: the reservations that the registry makes, and those that were waited for. */
__typeof__(cadre__ledger_charge) __real_cadre__ledger_charge, __wrap_cadre__ledger_charge;
cadre_reservation *__wrap_cadre__ledger_charge(cadre_pool *pool, const cadre_memory_amount *amounts, size_t count, cadre__entry *entry)
{
    host *h = sim_host;
    for (size_t i = 0; i < count; i++) {
        uint64_t asked = 0, charged = charged_on(h, amounts[i].device), budget = pool->accounts[amounts[i].device].budget;
        for (size_t k = 0; k < count; k++) asked += amounts[k].device == amounts[i].device ? amounts[k].bytes : 0;
        if (asked && (charged > budget || asked > budget - charged))
            sim_violation(&h->sim, "device %u: %llu bytes are granted, but %llu of %llu are taken", amounts[i].device, (unsigned long long)asked,
                          (unsigned long long)charged, (unsigned long long)budget);
    }
    sim_charge charge = {.handle = __real_cadre__ledger_charge(pool, amounts, count, entry)};
    if (charge.handle) record(h, &charge);
    return charge.handle;
}

void memory_open(host *h)
{
    h->allocator = (cadre_allocator){sizeof h->allocator, count_alloc, count_free, h};
}

cadre_reservation *memory_reserve(host *h, int *index)
{
    *index = -1;
    sim_charge charge = {.own = true, .count = sim_below(&h->sim, h->device_count + 2)};
    for (size_t i = 0; i < charge.count; i++)
        charge.amounts[i] = (cadre_memory_amount){(uint32_t)sim_below(&h->sim, h->device_count + 1), sim_below(&h->sim, 2000)};
    if (sim_one_in(&h->sim, 50) && charge.count) charge.amounts[0].bytes = UINT64_MAX - sim_below(&h->sim, 10);
    uint64_t asked[DEVICES_MAX] = {0};
    bool room = true, claimed = false;
    for (size_t i = 0; i < charge.count; i++) {
        const cadre__account *account = &h->pool->accounts[charge.amounts[i].device];
        uint64_t *sum = &asked[charge.amounts[i].device];
        claimed = claimed || account->claimed;
        uint64_t left = account->budget > account->charged ? account->budget - account->charged : 0;
        if (left < *sum || charge.amounts[i].bytes > left - *sum)
            room = false;
        else
            *sum += charge.amounts[i].bytes;
    }
    int rc = cadre_memory_try_reserve(h->pool, charge.amounts, charge.count, &charge.handle);
    sim_log(&h->sim, "reserve of %zu: %s", charge.count, cadre_err_name(rc));
    if (rc != CADRE_OK) {
        if (charge.handle) sim_violation(&h->sim, "a refused reservation has a handle");
        bool expected = (rc == CADRE_EBUDGET && (!room || claimed)) || (rc == CADRE_ECLOSED && h->closing) || (rc == CADRE_ENOMEM && h->out_of_memory);
        if (!expected) sim_violation(&h->sim, "a reservation %s room answers %s", room ? "with" : "without", cadre_err_name(rc));
        return NULL;
    }
    if (!room) sim_violation(&h->sim, "a reservation without room is granted");
    *index = record(h, &charge);
    return charge.handle;
}

bool memory_charged(const host *h, int index)
{
    return index < 0 || h->charges[index].handle;
}

void memory_release_held(host *h)
{
    for (size_t i = 0; i < sizeof h->held / sizeof *h->held; i++) {
        cadre_reservation *held = h->held[i];
        h->held[i] = NULL;
        cadre_reservation_release(held);
    }
}

void memory_check(host *h)
{
    uint64_t bytes[DEVICES_MAX] = {0}, count[DEVICES_MAX] = {0};
    for (unsigned i = 0; i < h->live_charge_count; i++) {
        const sim_charge *c = &h->charges[h->live_charges[i]];
        size_t amount_count = c->own ? c->count : c->handle->count;
        const cadre_memory_amount *amounts = c->own ? c->amounts : c->handle->amounts;
        for (size_t k = 0; k < amount_count; k++) {
            bytes[amounts[k].device] += amounts[k].bytes;
            bool again = false; /* a device counts once */
            for (size_t j = 0; j < k; j++) again = again || amounts[j].device == amounts[k].device;
            count[amounts[k].device] += !again;
        }
    }
    for (size_t d = 0; d < h->pool->account_count; d++) {
        const cadre__account *account = &h->pool->accounts[d];
        /* What a thread gives back after the port has closed is not told to a pool that ends. */
        bool ends = h->pool->closing >= CADRE__REAPING && account->charged >= bytes[d] && account->reservations >= count[d];
        if (!ends && (account->charged != bytes[d] || account->reservations != count[d]))
            sim_violation(&h->sim, "device %zu: %llu bytes charged by %llu, but live reservations are %llu bytes by %llu", d,
                          (unsigned long long)account->charged, (unsigned long long)account->reservations, (unsigned long long)bytes[d],
                          (unsigned long long)count[d]);
        if (account->charged > account->budget && !h->measures) sim_violation(&h->sim, "device %zu: more is charged than the budget", d);
    }
}

void memory_closed(host *h)
{
    if (h->live_charge_count) sim_violation(&h->sim, "reservation %u is never given back", h->live_charges[0]);
    for (unsigned i = 0; i < sizeof h->freed / sizeof *h->freed; i++) really_free(h, i);
    if (h->live_blocks || h->live_bytes)
        sim_violation(&h->sim, "%llu blocks with %llu bytes are left after the close", (unsigned long long)h->live_blocks, (unsigned long long)h->live_bytes);
    free(h->charges);
    free(h->live_charges);
}
