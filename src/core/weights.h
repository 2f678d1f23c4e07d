/* Shared weights: a box with a count and a reservation. The count is any thread's; the rest is the loop's. */
#ifndef CADRE__WEIGHTS_H
#define CADRE__WEIGHTS_H

#include "core/future.h"

struct cadre_weights {
    atomic_uint refs;
    cadre_port *port; /* counted */
    cadre__box *box;
    cadre_reservation *charge; /* loop */
    cadre__message gone;
};

/* Loop: makes weights of a full box, consuming both; NULL (the box discarded, the charge given back) when out of memory. */
cadre_weights *cadre__weights_adopt(cadre_pool *pool, cadre__box *box, cadre_reservation *charge);

#endif
