/* How tight memory is: the ledger's level, and what the system says.
 *
 * The levels begin at 50, 70 and 85 % of the host's budget. The ledger's own level is only told: its budget is never exceeded by much, and evicting at 85 % of
 * it would make the budget a smaller one. What evicts is the system's critical level: the cgroup's memory.events (its `high` or `max` count rose, told by
 * inotify), or a stall of memory that the kernel measures (PSI, a trigger of 100 ms in one second on the cgroup's or the system's file). Nothing is polled. */
#define _GNU_SOURCE
#include "memory/evict.h"
#include "memory/reserve.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/inotify.h>
#endif

#define HOLD_NS (UINT64_C(10000) * CADRE__NS_PER_MS)

static const char *level_name(cadre_pressure level)
{
    static const char *const names[] = {"low", "normal", "high", "critical"};
    return names[level];
}

static cadre_pressure ledger_level(const cadre_pool *pool)
{
    const cadre__account *host = &pool->accounts[CADRE_DEVICE_HOST];
    uint64_t part = host->budget / 100;
    if (host->charged > part * 85) return host->charged ? CADRE_PRESSURE_CRITICAL : CADRE_PRESSURE_LOW;
    return host->charged > part * 70 ? CADRE_PRESSURE_HIGH : host->charged > part * 50 ? CADRE_PRESSURE_NORMAL : CADRE_PRESSURE_LOW;
}

void cadre__pressure_update(cadre_pool *pool)
{
    if (pool->pressure_touched) return;
    pool->pressure_touched = true;
    cadre__pool_touch(pool);
}

void cadre__pressure_step(cadre_pool *pool)
{
    pool->pressure_touched = false;
    cadre_pressure level = ledger_level(pool);
    if (pool->system_pressure > level) level = pool->system_pressure;
    if (level == pool->pressure) return;
    pool->pressure = level;
    cadre__event(pool, CADRE_EVENT_PRESSURE, "", 0, CADRE_OK, pool->accounts[CADRE_DEVICE_HOST].charged, 0, "%s", level_name(level));
}

void cadre__pressure_system(cadre_pool *pool, cadre_pressure level)
{
    if (pool->closing) return;
    pool->system_pressure = level;
    cadre__deadline_set(&pool->deadlines, cadre__pool_allocator(pool), &pool->pressure_due, cadre__after(cadre__pool_now(pool), HOLD_NS));
    cadre__pressure_update(pool);
    cadre__pool_touch(pool); /* the timer must be set */
    if (level != CADRE_PRESSURE_CRITICAL) return;
    if (!pool->in_turn) pool->now = cadre__now(pool->port);
    cadre__evict_one(pool, "evicted: the system is short of memory");
}

void cadre__pressure_forget(cadre_pool *pool, cadre__deadline *deadline)
{
    cadre__deadline_set(&pool->deadlines, cadre__pool_allocator(pool), deadline, UINT64_MAX);
    pool->system_pressure = CADRE_PRESSURE_LOW;
    cadre__pressure_update(pool);
}

#ifdef __linux__
static int open_stall(void)
{
    static const char trigger[] = "full 100000 1000000"; /* µs of a stall of all tasks, in a window of µs */
    static const char *const paths[] = {"/sys/fs/cgroup/memory.pressure", "/proc/pressure/memory"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        int fd = open(paths[i], O_RDWR | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0) continue;
        if (write(fd, trigger, sizeof trigger) == (ssize_t)sizeof trigger) return fd;
        close(fd);
    }
    return -1;
}

static int open_events(void)
{
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (fd < 0) return -1;
    if (inotify_add_watch(fd, "/sys/fs/cgroup/memory.events.local", IN_MODIFY) >= 0 || inotify_add_watch(fd, "/sys/fs/cgroup/memory.events", IN_MODIFY) >= 0)
        return fd;
    close(fd);
    return -1;
}

/* How often the cgroup was throttled or refused for its memory, in all. */
static uint64_t count_events(void)
{
    char line[64];
    unsigned long long value;
    uint64_t sum = 0;
    FILE *file = fopen("/sys/fs/cgroup/memory.events.local", "re");
    if (!file) file = fopen("/sys/fs/cgroup/memory.events", "re");
    if (!file) return 0;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "high %llu", &value) == 1 || sscanf(line, "max %llu", &value) == 1 || sscanf(line, "oom %llu", &value) == 1) sum += value;
    fclose(file);
    return sum;
}

void cadre__pressure_open(cadre_pool *pool, int fds[CADRE__PRESSURE_SOURCES])
{
    fds[0] = open_stall();
    fds[1] = open_events();
    pool->pressure_seen = count_events();
}

void cadre__pressure_read(cadre_pool *pool, int source, int fd)
{
    char events[1024];
    if (source == 1) {
        while (read(fd, events, sizeof events) > 0) continue;
        uint64_t count = count_events(), seen = pool->pressure_seen;
        pool->pressure_seen = count;
        if (count <= seen) return;
    }
    cadre__pressure_system(pool, CADRE_PRESSURE_CRITICAL);
}
#else
void cadre__pressure_open(cadre_pool *pool, int fds[CADRE__PRESSURE_SOURCES])
{
    (void)pool;
    for (int i = 0; i < CADRE__PRESSURE_SOURCES; i++) fds[i] = -1;
}

void cadre__pressure_read(cadre_pool *pool, int source, int fd)
{
    (void)source;
    (void)fd;
    cadre__pressure_system(pool, CADRE_PRESSURE_CRITICAL);
}
#endif
