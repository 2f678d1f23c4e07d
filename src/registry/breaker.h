/* A breaker: a model whose requests keep failing rests, then is tried with a few. Times in ns. Loop thread.
 *
 *     CLOSED ──failures in a row──▶ OPEN ──open_ns──▶ HALF_OPEN ──successes──▶ CLOSED
 *                                    ▲                    │
 *                                    └──a probe fails─────┘          any success resets the count of failures */
#ifndef CADRE__BREAKER_H
#define CADRE__BREAKER_H

#include "core/base.h"

typedef enum cadre__breaker_state { CADRE__BREAKER_CLOSED, CADRE__BREAKER_OPEN, CADRE__BREAKER_HALF_OPEN } cadre__breaker_state;

typedef struct cadre__breaker {
    uint32_t failures_max, probes_max, successes_max; /* failures_max 0: never opens */
    uint64_t open_ns;
    cadre__breaker_state state;
    uint32_t failures, successes, probes; /* probes: under way */
    uint64_t open_until;
} cadre__breaker;

/* Whether a request may go in now; *probe: it counts as one. May turn OPEN to HALF_OPEN (*changed). */
bool cadre__breaker_admit(cadre__breaker *breaker, uint64_t now, bool *probe, bool *changed);
/* A probe is over without having said anything (cancelled, refused). */
void cadre__breaker_forget(cadre__breaker *breaker);
/* A request succeeded or failed. True: the state changed. */
bool cadre__breaker_note(cadre__breaker *breaker, uint64_t now, bool success, bool probe);
/* Whether a failing status says something about the model. Bad input, cancels, closes and deadlines in the queue do not. */
bool cadre__breaker_counts(int status, bool ran);

#endif
