/* Close: see contract of cadre_pool_close. Loop thread. */
#ifndef CADRE__CLOSE_H
#define CADRE__CLOSE_H

#include "pool/pool.h"

/* Part of the turn of a pool that is closing: goes on as far as it can. */
void cadre__close_step(cadre_pool *pool);
/* pool->close_deadline */
void cadre__close_due(cadre_pool *pool, cadre__deadline *deadline);

#endif
