#include "registry/breaker.h"

bool cadre__breaker_admit(cadre__breaker *breaker, uint64_t now, bool *probe, bool *changed)
{
    *probe = *changed = false;
    if (breaker->state == CADRE__BREAKER_CLOSED) return true;
    if (breaker->state == CADRE__BREAKER_OPEN) {
        if (now < breaker->open_until) return false;
        breaker->state = CADRE__BREAKER_HALF_OPEN;
        breaker->successes = 0; /* probes of an earlier round that still run count on */
        *changed = true;
    }
    if (breaker->probes >= breaker->probes_max && !CADRE__FAULT(PROBES)) return false;
    breaker->probes++;
    *probe = true;
    return true;
}

void cadre__breaker_forget(cadre__breaker *breaker)
{
    if (breaker->probes > 0) breaker->probes--;
}

bool cadre__breaker_note(cadre__breaker *breaker, uint64_t now, bool success, bool probe)
{
    if (probe) cadre__breaker_forget(breaker);
    if (success) {
        if (!CADRE__FAULT(FAILURES_STAY)) breaker->failures = 0;
        if (breaker->state != CADRE__BREAKER_HALF_OPEN || !probe) return false;
        if (++breaker->successes < breaker->successes_max) return false;
        breaker->state = CADRE__BREAKER_CLOSED;
        return true;
    }
    breaker->failures++;
    bool opens = breaker->state == CADRE__BREAKER_CLOSED ? breaker->failures_max && breaker->failures >= breaker->failures_max
                                                         : breaker->state == CADRE__BREAKER_HALF_OPEN && probe;
    if (!opens) return false;
    breaker->state = CADRE__BREAKER_OPEN;
    breaker->open_until = cadre__after(now, breaker->open_ns);
    return true;
}

bool cadre__breaker_counts(int status, bool ran)
{
    switch (status) {
    case CADRE_EINVAL:
    case CADRE_EINPUT:
    case CADRE_ETOOLONG:
    case CADRE_ENOTSUP:
    case CADRE_ECANCELED:
    case CADRE_ECLOSED:
    case CADRE_ENOENT:
    case CADRE_EBREAKER:
    case CADRE_EBUDGET: return false;
    default: return status < 0 && ran;
    }
}
