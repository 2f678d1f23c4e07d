/* Text-to-image: the payload of its jobs, step reports, results. */
#ifndef CADRE__TEXT_TO_IMAGE_H
#define CADRE__TEXT_TO_IMAGE_H

#include "pool/job.h"
#include "pool/runner.h"

void cadre__text_to_image_run(cadre__runner *runner, cadre__job *job);
void cadre__text_to_image_finish(cadre_request *request, cadre__job *job, int status);
void cadre__text_to_image_dispose(cadre__heap *heap, cadre__job *job);
void cadre__text_to_image_moved(cadre__job *from, cadre__job *to);
void cadre__text_to_image_adopt(cadre__job *job, const cadre_request_defaults *defaults);

#endif
