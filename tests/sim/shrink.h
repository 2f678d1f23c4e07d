/* Hosts in child processes: what one has come to is seen from outside, also when it crashes; and a history that violates an invariant is shrunk by leaving
 * operations out while it still does. */
#ifndef CADRE_SIM_SHRINK_H
#define CADRE_SIM_SHRINK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Shared with the parent. */
typedef struct sim_watch {
    uint64_t seed, operations, events, hosts;
    unsigned acts, inner; /* operations of the host that runs, by itself and from inside callbacks */
    char what[160];       /* the violation, without its numbers */
} sim_watch;
extern sim_watch *sim_watched;

/* Memory that parent and children share. */
void watch_open(void);
/* Prints how far it is, every few seconds, until the child has ended. Returns its wait status. */
int watch_child(int child, uint64_t wanted);
/* How a child's end is told: its violation, or its signal. */
const char *watch_verdict(int status, char *out, size_t size);
/* Finds few operations of the seed's host that violate the same invariant, and prints their log. `verdict` is what it must end with. */
void shrink(uint64_t seed, const char *verdict, unsigned seconds);

#endif
