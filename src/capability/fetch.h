/* Pictures by URL: brought on the loop before their request is queued, all at once, so that no worker waits for the network. Loop thread.
 *
 * A source belongs to its job. While the request is FETCHING, the loop alone has it, and a pending source holds its future, of which the request is told once
 * or which it forgets; afterwards a source holds the weights that came, which go with the job to the worker, and are released as soon as they are decoded. */
#ifndef CADRE__FETCH_H
#define CADRE__FETCH_H

#include "pool/job.h"

/* Whether a job has pictures that must be brought first. */
bool cadre__fetch_wanted(const cadre__job *job);
/* Starts all of them; the request is queued when they are here, or ends with the first failure. */
void cadre__fetch_start(cadre_request *request);
/* Lets go of what is still under way. */
void cadre__fetch_drop(const cadre__job *job);

#endif
