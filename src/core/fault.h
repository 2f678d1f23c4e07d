/* Planted faults: each breaks one invariant, so that the tests can show that they would see it. Compiled in with CADRE__FAULTS alone (the simulator's own build
 * of the sources), where one at a time is chosen by name; elsewhere the condition is the constant false. */
#ifndef CADRE__FAULT_H
#define CADRE__FAULT_H

#define CADRE__FAULT_MAP(X)                                                                                                                                    \
    X(QUEUE_ORDER)   /* a priority heap that pops the lowest */                                                                                                \
    X(LOST_WAKE)     /* a call of the host's that wakes nobody */                                                                                              \
    X(LOST_RELEASE)  /* a reservation that is never given back */                                                                                              \
    X(DOUBLE_DONE)   /* an end that is told twice */                                                                                                           \
    X(DEPTH)         /* expiry that leaves the depth counter high */                                                                                           \
    X(HERD)          /* forty requests starting forty loads */                                                                                                 \
    X(EVICT_BUSY)    /* an eviction that takes a busy worker */                                                                                                \
    X(EARLY_UNLOAD)  /* an unload that reports done before memory is back */                                                                                   \
    X(LOST_WAITERS)  /* waiters hanging after a failed load */                                                                                                 \
    X(PROBES)        /* a half-open breaker without a bound */                                                                                                 \
    X(FAILURES_STAY) /* a breaker whose failures never reset */                                                                                                \
    X(CORES)         /* a fixed number of threads that takes no cores */                                                                                       \
    X(NO_HANG)       /* a hung worker that nobody sets aside */

#ifdef CADRE__FAULTS
enum {
    CADRE__FAULT_NONE,
#define CADRE__FAULT_ENUM(name) CADRE__FAULT_##name,
    CADRE__FAULT_MAP(CADRE__FAULT_ENUM)
#undef CADRE__FAULT_ENUM
};
extern int cadre__planted; /* defined by the tests */
#define CADRE__FAULT(name) (cadre__planted == CADRE__FAULT_##name)
#else
#define CADRE__FAULT(name) (0)
#endif

#endif
