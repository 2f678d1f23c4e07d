/* What this machine and its cgroup leave a process. Reads /proc and /sys; called when a pool is created. */
#ifndef CADRE__BUDGET_H
#define CADRE__BUDGET_H

#include <stdint.h>

/* 80 % of min(RAM, cgroup limit) less a reserve of 2 GiB, or of an eighth of it below 16 GiB. */
uint64_t cadre__default_budget(void);
/* The CPUs that this process may run on, less what a cgroup quota takes away; ≥ 1. */
uint32_t cadre__default_cores(void);

#endif
