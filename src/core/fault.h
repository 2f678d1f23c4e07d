/* Planted faults: each breaks one invariant, so that the tests can show that they would see it. Compiled in with CADRE__FAULTS alone (the simulator's own build
 * of the sources), where one at a time is chosen by name; elsewhere the condition is the constant false. */
#ifndef CADRE__FAULT_H
#define CADRE__FAULT_H

#define CADRE__FAULT_MAP(X)                                                                                                                                    \
    X(QUEUE_ORDER)  /* a priority heap that pops the lowest */                                                                                                 \
    X(LOST_WAKE)    /* a call of the host's that wakes nobody */                                                                                               \
    X(LOST_RELEASE) /* a reservation that is never given back */                                                                                               \
    X(DOUBLE_DONE)  /* an end that is told twice */                                                                                                            \
    X(DEPTH)        /* expiry that leaves the depth counter high */

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
