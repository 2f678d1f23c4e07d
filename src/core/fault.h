/* Planted faults: each breaks one invariant, so that the tests can show that they would see it. Compiled in with CADRE__FAULTS alone (the simulator's own build
 * of the sources), where one at a time is chosen by name; elsewhere the condition is the constant false. */
#ifndef CADRE__FAULT_H
#define CADRE__FAULT_H

#define CADRE__FAULT_MAP(X)                                                                                                                                    \
    X(QUEUE_ORDER)     /* a priority heap that pops the lowest */                                                                                              \
    X(LOST_WAKE)       /* a call of the host's that wakes nobody */                                                                                            \
    X(LOST_RELEASE)    /* a reservation that is never given back */                                                                                            \
    X(DOUBLE_DONE)     /* an end that is told twice */                                                                                                         \
    X(DEPTH)           /* expiry that leaves the depth counter high */                                                                                         \
    X(HERD)            /* forty requests starting forty loads */                                                                                               \
    X(EVICT_BUSY)      /* an eviction that takes a busy worker */                                                                                              \
    X(EARLY_UNLOAD)    /* an unload that reports done before memory is back */                                                                                 \
    X(LOST_WAITERS)    /* waiters hanging after a failed load */                                                                                               \
    X(PROBES)          /* a half-open breaker without a bound */                                                                                               \
    X(FAILURES_STAY)   /* a breaker whose failures never reset */                                                                                              \
    X(CORES)           /* a fixed number of threads that takes no cores */                                                                                     \
    X(NO_HANG)         /* a hung worker that nobody sets aside */                                                                                              \
    X(CREDIT_COPY)     /* a guard that credits a copy of the counter */                                                                                        \
    X(ROOM_WRAPS)      /* limit − reserved that wraps around */                                                                                              \
    X(RELEASED_TWICE)  /* a reservation released twice after a failed load */                                                                                  \
    X(BUSY_IS_GONE)    /* a busy worker read as unavailable */                                                                                                 \
    X(READY_AT_ONCE)   /* ready before anything was loaded */                                                                                                  \
    X(STALE_VICTIM)    /* an eviction by a stale index, which takes another worker */                                                                          \
    X(DONE_AT_OPEN)    /* a request counted as done when it begins */                                                                                          \
    X(SLOT_FREE_EARLY) /* a time-out after which the slot is counted free while the work still runs */                                                         \
    X(ERROR_AS_RESULT) /* errors delivered as results */                                                                                                       \
    X(BATCH_DROPS)     /* a full batch that drops what does not fit */                                                                                         \
    X(LATE_JOINS)      /* requests that join just after a load failed and wait for ever */                                                                     \
    X(EVICT_LOADING)   /* a loading model evicted by the next request */                                                                                       \
    X(ONE_SERVED)      /* only one of two models ever served */                                                                                                \
    X(BEHIND_BIG)      /* a small load stuck behind a big one */                                                                                               \
    X(GRANT_EARLY)     /* memory that is not confirmed free before the grant */                                                                                \
    X(JOBS_LOST)       /* jobs not begun that are lost with their worker */                                                                                    \
    X(EVICT_PINNED)    /* an eviction of what is pinned */                                                                                                     \
    X(TURNS_STAY)      /* turns that stay ended when nobody waits any more */                                                                                  \
    X(TURN_IGNORED)    /* requests that came after the end of a turn and are served in it */

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
