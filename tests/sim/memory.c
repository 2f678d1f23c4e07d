/* The counting allocator, and the ledger seen from outside: a reservation lives until the allocator sees its block freed, so the sum of the live ones must be
 * what the pool has charged. */
#include "host.h"

#include <stdlib.h>

#define MAGIC UINT64_C(0x51c0de5ca1ab1e00)

typedef struct block {
    uint64_t magic;
    size_t bytes;
} block;

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

static void count_free(void *pointer, size_t bytes, void *data)
{
    host *h = data;
    block *b = (block *)pointer - 1;
    if (b->magic != MAGIC) sim_violation(&h->sim, "a block is freed that is not the pool's, or twice");
    if (b->bytes != bytes) sim_violation(&h->sim, "a block of %zu bytes is freed as %zu", b->bytes, bytes);
    b->magic = 0;
    h->live_bytes -= bytes;
    h->live_blocks--;
    for (unsigned i = 0; i < h->charge_count; i++) {
        if (h->charges[i].handle != pointer) continue;
        h->charges[i].handle = NULL;
        sim_log(&h->sim, "reservation %u is given back", i);
    }
    free(b);
}

void memory_open(host *h)
{
    h->allocator = (cadre_allocator){sizeof h->allocator, count_alloc, count_free, h};
}

cadre_reservation *memory_reserve(host *h, int *index)
{
    *index = -1;
    sim_charge charge = {.count = sim_below(&h->sim, h->device_count + 2)};
    for (size_t i = 0; i < charge.count; i++)
        charge.amounts[i] = (cadre_memory_amount){(uint32_t)sim_below(&h->sim, h->device_count + 1), sim_below(&h->sim, 2000)};
    if (sim_one_in(&h->sim, 50) && charge.count) charge.amounts[0].bytes = UINT64_MAX - sim_below(&h->sim, 10);
    uint64_t asked[3] = {0};
    bool room = true;
    for (size_t i = 0; i < charge.count; i++) {
        const cadre__account *account = &h->pool->accounts[charge.amounts[i].device];
        uint64_t *sum = &asked[charge.amounts[i].device];
        if (charge.amounts[i].bytes > account->budget - account->charged - *sum)
            room = false;
        else
            *sum += charge.amounts[i].bytes;
    }
    int rc = cadre_memory_try_reserve(h->pool, charge.amounts, charge.count, &charge.handle);
    sim_log(&h->sim, "reserve of %zu: %s", charge.count, cadre_err_name(rc));
    if (rc != CADRE_OK) {
        if (charge.handle) sim_violation(&h->sim, "a refused reservation has a handle");
        bool expected = (rc == CADRE_EBUDGET && !room) || (rc == CADRE_ECLOSED && h->closing) || (rc == CADRE_ENOMEM && h->out_of_memory);
        if (!expected) sim_violation(&h->sim, "a reservation %s room answers %s", room ? "with" : "without", cadre_err_name(rc));
        return NULL;
    }
    if (!room) sim_violation(&h->sim, "a reservation without room is granted");
    if (h->charge_count == h->charge_capacity) {
        h->charge_capacity = h->charge_capacity ? h->charge_capacity * 2 : 16;
        h->charges = realloc(h->charges, h->charge_capacity * sizeof *h->charges);
        if (!h->charges) abort();
    }
    *index = (int)h->charge_count;
    h->charges[h->charge_count++] = charge;
    return charge.handle;
}

bool memory_charged(const host *h, int index)
{
    return index < 0 || h->charges[index].handle;
}

void memory_check(host *h)
{
    uint64_t bytes[3] = {0}, count[3] = {0};
    for (unsigned i = 0; i < h->charge_count; i++) {
        const sim_charge *c = &h->charges[i];
        for (size_t k = 0; c->handle && k < c->count; k++) {
            bytes[c->amounts[k].device] += c->amounts[k].bytes;
            bool again = false; /* a device counts once */
            for (size_t j = 0; j < k; j++) again = again || c->amounts[j].device == c->amounts[k].device;
            count[c->amounts[k].device] += !again;
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
        if (account->charged > account->budget) sim_violation(&h->sim, "device %zu: more is charged than the budget", d);
    }
}

void memory_closed(host *h)
{
    for (unsigned i = 0; i < h->charge_count; i++)
        if (h->charges[i].handle) sim_violation(&h->sim, "reservation %u is never given back", i);
    if (h->live_blocks || h->live_bytes)
        sim_violation(&h->sim, "%llu blocks with %llu bytes are left after the close", (unsigned long long)h->live_blocks, (unsigned long long)h->live_bytes);
    free(h->charges);
}
