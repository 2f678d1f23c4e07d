/* How many workers an entry should have now, and getting them. Loop thread. */
#ifndef CADRE__SCALE_H
#define CADRE__SCALE_H

#include "registry/entry.h"

/* *check_at: look again then, if that is earlier. */
uint32_t cadre__scale_wanted(cadre__entry *entry, uint64_t *check_at);
/* Starts loads until so many workers are there or on their way, or until there is something to wait for. */
void cadre__scale_up(cadre__entry *entry, uint32_t wanted, uint64_t *check_at);

#endif
