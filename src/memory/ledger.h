/* The ledger. Loop thread. */
#ifndef CADRE__LEDGER_H
#define CADRE__LEDGER_H

#include "core/port.h"

int cadre__ledger_open(cadre_pool *pool, const cadre_pool_options *options);
void cadre__ledger_close(cadre_pool *pool);

/* One more holder: the charge stands until the last has released it. NULL gives NULL. */
cadre_reservation *cadre__reservation_retain(cadre_reservation *reservation);

#endif
