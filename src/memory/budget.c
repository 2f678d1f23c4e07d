#define _GNU_SOURCE
#include "memory/budget.h"

#include <inttypes.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <uv.h>

/* cgroup v2's quota for the group that the process sees as its root: "max 100000" or "200000 100000". */
static double cgroup_cpus(void)
{
    double cpus = 0;
    uint64_t quota, period;
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (!file) return 0;
    if (fscanf(file, "%" SCNu64 " %" SCNu64, &quota, &period) == 2 && period > 0) cpus = (double)quota / (double)period;
    fclose(file);
    return cpus;
}

/* cgroup v2's limit, which libuv before 1.45 does not read: "max" or bytes. 0: none. */
static uint64_t cgroup_memory(void)
{
    uint64_t limit = 0;
    FILE *file = fopen("/sys/fs/cgroup/memory.max", "re");
    if (!file) return 0;
    if (fscanf(file, "%" SCNu64, &limit) != 1) limit = 0;
    fclose(file);
    return limit;
}

uint64_t cadre__default_budget(void)
{
    uint64_t total = uv_get_total_memory(), limit = uv_get_constrained_memory(), group = cgroup_memory();
    if (limit > 0 && limit < total) total = limit;
    if (group > 0 && group < total) total = group;
    uint64_t reserve = UINT64_C(2) << 30;
    if (total < UINT64_C(16) << 30) reserve = total / 8;
    return total / 5 * 4 - reserve;
}

uint32_t cadre__default_cores(void)
{
    uint32_t cores = 0;
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) cores = (uint32_t)CPU_COUNT(&set);
#endif
    if (cores == 0) {
        uv_cpu_info_t *info;
        int count = 0;
        if (uv_cpu_info(&info, &count) == 0) uv_free_cpu_info(info, count);
        cores = count > 0 ? (uint32_t)count : 1;
    }
    double quota = cgroup_cpus();
    if (quota > 0 && quota < cores) cores = (uint32_t)quota;
    return cores > 0 ? cores : 1;
}
