#include "fuzz.h"

#include <stdarg.h>
#include <stdlib.h>

void fuzz_fail(const char *format, ...)
{
    va_list list;
    fprintf(stderr, "fuzz: ");
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    abort();
}

/* ---- bytes ---- */

uint8_t fuzz_byte(fuzz_bytes *b)
{
    if (!b->left) return 0;
    b->left--;
    return *b->at++;
}

uint32_t fuzz_below(fuzz_bytes *b, uint32_t n)
{
    return fuzz_byte(b) % n;
}

static uint64_t word(fuzz_bytes *b, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++) value = value << 8 | fuzz_byte(b);
    return value;
}

int64_t fuzz_integer(fuzz_bytes *b)
{
    static const int64_t limits[] = {
        CADRE_DEFAULT, 0,     1,     2,    -2, CADRE_NEVER, INT64_MIN, INT64_MIN + 1, INT64_MAX - 1, INT32_MAX, INT32_MIN, UINT32_MAX, UINT32_MAX + INT64_C(1),
        1000,          16384, 16385, 1001, 4,  5,           100};
    uint8_t choice = fuzz_byte(b);
    if (choice < 128) return limits[choice % COUNT(limits)];
    return choice < 224 ? (int64_t)word(b, 1) : choice < 240 ? (int64_t)word(b, 4) : (int64_t)word(b, 8);
}

int32_t fuzz_integer32(fuzz_bytes *b)
{
    int64_t value = fuzz_integer(b);
    return value < INT32_MIN ? INT32_MIN : value > INT32_MAX ? INT32_MAX : (int32_t)value;
}

float fuzz_float(fuzz_bytes *b)
{
    static const float limits[] = {NAN, 0.0f, -0.0f, 1.0f, 1.5f, -1.0f, 2.0f, -2.0f, 2.5f, INFINITY, -INFINITY, 1e-30f, 1e30f, 0.5f, -1e-30f, 0.8f};
    uint8_t choice = fuzz_byte(b);
    if (choice < 160) return limits[choice % COUNT(limits)];
    if (choice < 224) return (float)fuzz_byte(b) / 16.0f;
    uint32_t bits = (uint32_t)word(b, 4);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

void *fuzz_take(fuzz_scrap **scraps, size_t bytes)
{
    fuzz_scrap *scrap = malloc(sizeof *scrap);
    if (!scrap) abort();
    *scrap = (fuzz_scrap){*scraps, malloc(bytes)};
    if (bytes && !scrap->block) abort();
    if (bytes) memset(scrap->block, 0, bytes);
    *scraps = scrap;
    return scrap->block;
}

void fuzz_drop(fuzz_scrap **scraps)
{
    while (*scraps) {
        fuzz_scrap *next = (*scraps)->next;
        free((*scraps)->block);
        free(*scraps);
        *scraps = next;
    }
}

char *fuzz_text(fuzz_bytes *b, fuzz_scrap **scraps)
{
    uint8_t choice = fuzz_byte(b);
    if (choice == 255) return NULL;
    size_t length = choice < 250 ? choice % 32 : choice == 250 ? 0 : fuzz_byte(b) * (size_t)(choice - 250);
    if (length > b->left) length = b->left;
    char *text = fuzz_take(scraps, length + 1);
    for (size_t i = 0; i < length; i++) {
        uint8_t c = fuzz_byte(b);
        text[i] = (char)(c ? c : ' ');
    }
    return text;
}

/* ---- memory ---- */

#define MAGIC UINT64_C(0xf022ed0ff022ed0f)
typedef struct block {
    uint64_t magic;
    size_t bytes;
} block;

static void *count_alloc(size_t bytes, void *data)
{
    fuzz_host *h = data;
    if (h->fail_every && h->pool && sim_one_in(&h->sim, h->fail_every)) return NULL;
    block *b = malloc(sizeof *b + bytes);
    if (!b) abort();
    *b = (block){MAGIC, bytes};
    memset(b + 1, 0xa5, bytes);
    h->blocks++;
    h->bytes += bytes;
    return b + 1;
}

static void count_free(void *pointer, size_t bytes, void *data)
{
    fuzz_host *h = data;
    block *b = (block *)pointer - 1;
    FUZZ_CHECK(b->magic == MAGIC, "a block is freed that is not the pool's, or twice");
    FUZZ_CHECK(b->bytes == bytes, "a block of %zu bytes is freed as %zu", b->bytes, bytes);
    b->magic = 0;
    h->blocks--;
    h->bytes -= bytes;
    free(b);
}

/* ---- the host ---- */

void fuzz_open(fuzz_host *h, uint64_t seed, const cadre_pool_options *options)
{
    *h = (fuzz_host){0};
    cadre_pool_options all = CADRE_POOL_OPTIONS_INIT;
    if (options) all = *options;
    sim_open(&h->sim, seed, getenv("CADRE_FUZZ_LOG") ? stderr : NULL);
    h->allocator = (cadre_allocator){sizeof h->allocator, count_alloc, count_free, h};
    h->clock = (cadre_clock){sizeof h->clock, sim_clock, &h->sim};
    all.allocator = &h->allocator;
    all.clock = &h->clock;
    if (all.memory_bytes == CADRE_DEFAULT) all.memory_bytes = 10000;
    if (all.cores == CADRE_DEFAULT) all.cores = 4;
    int rc = cadre__pool_create_on(&h->pool, (uv_loop_t *)h, &all, &executor_sim, &h->sim);
    FUZZ_CHECK(rc == CADRE_OK, "the pool cannot be made: %s", cadre_err_name(rc));
    h->port = cadre_pool_port(h->pool);
}

/* The sum of what is charged is never above the budget, and without reservations nothing is charged. */
static void check_ledger(const fuzz_host *h)
{
    cadre_memory_usage usage = CADRE_MEMORY_USAGE_INIT;
    if (!h->pool || h->sim.closing) return;
    for (uint32_t device = 0; cadre_memory_get_usage(h->pool, device, &usage) == CADRE_OK; device++) {
        FUZZ_CHECK(usage.charged_bytes <= usage.budget_bytes, "device %u: %llu bytes are charged of %llu", device, (unsigned long long)usage.charged_bytes,
                   (unsigned long long)usage.budget_bytes);
        FUZZ_CHECK(usage.reservation_count || !usage.charged_bytes, "device %u is charged by nobody", device);
    }
}

/* Whatever there is to do has a turn of the loop coming. */
static void check_awake(const fuzz_host *h)
{
    cadre_pool *pool = h->pool;
    if (!pool || h->sim.closing || h->sim.turn_at != UINT64_MAX) return;
    bool something = pool->first || !cadre__list_empty(&pool->dirty) || !cadre__list_empty(&pool->publishing) || !cadre__inbox_empty(&pool->port->inbox) ||
                     !cadre__inbox_empty(&pool->port->reaped);
    FUZZ_CHECK(!something, "there is something to do, and nobody wakes the loop");
}

bool fuzz_step(fuzz_host *h)
{
    check_awake(h);
    if (!sim_step(&h->sim)) return false;
    check_ledger(h);
    check_awake(h);
    return true;
}

void fuzz_settle(fuzz_host *h)
{
    while (fuzz_step(h)) continue;
}

static void on_close(cadre_pool *pool, const cadre_close_report *report, void *data)
{
    fuzz_host *h = data;
    FUZZ_CHECK(pool == h->pool && !h->closed && !h->sim.current, "the close callback runs twice, on a thread, or for another pool");
    h->report = *report;
    h->closed = true;
    if (report->abandoned_threads || report->held_promises || report->held_weights || h->reserved) return;
    for (uint32_t device = 0; device < pool->account_count; device++)
        FUZZ_CHECK(!pool->accounts[device].charged && !pool->accounts[device].reservations, "device %u is still charged at the close", device);
    FUZZ_CHECK(!h->instances, "%llu models are left at the close", (unsigned long long)h->instances);
}

void fuzz_close(fuzz_host *h, int64_t drain_ms, int64_t abandon_after_ms)
{
    cadre_close_options options = {sizeof options, drain_ms, abandon_after_ms, h};
    int rc = cadre_pool_close(h->pool, &options, on_close);
    FUZZ_CHECK(rc == (h->closing ? CADRE_EALREADY : CADRE_OK), "close answers %s", cadre_err_name(rc));
    h->closing = true;
}

void fuzz_end(fuzz_host *h)
{
    if (!h->closing) fuzz_close(h, CADRE_DEFAULT, CADRE_DEFAULT);
    while (!h->closed && fuzz_step(h)) continue;
    FUZZ_CHECK(h->closed, "the pool stands still in phase %d and does not close", (int)h->pool->closing);
    h->pool = NULL;
    fuzz_settle(h);
    cadre_port_release(h->port);
    sim_free(&h->sim);
    FUZZ_CHECK(!h->blocks && !h->bytes, "%llu blocks with %llu bytes are left after the close", (unsigned long long)h->blocks, (unsigned long long)h->bytes);
    FUZZ_CHECK(!h->instances && !h->pixels, "%llu models and %llu pictures are left", (unsigned long long)h->instances, (unsigned long long)h->pixels);
}

/* Under this name the simulator's executor ends the process. */
_Noreturn void cadre_fuzz_exit(int status);
void cadre_fuzz_exit(int status)
{
    (void)status;
    abort();
}
