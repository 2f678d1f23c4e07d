/* Embeddings, of texts and of pictures: the payload of their jobs, batching, results. */
#ifndef CADRE__EMBEDDING_H
#define CADRE__EMBEDDING_H

#include "pool/job.h"
#include "pool/runner.h"

void cadre__text_embedding_run(cadre__runner *runner, cadre__job *job);
void cadre__image_embedding_run(cadre__runner *runner, cadre__job *job);
void cadre__embedding_finish(cadre_request *request, cadre__job *job, int status);
void cadre__embedding_dispose(cadre__heap *heap, cadre__job *job);
void cadre__embedding_moved(cadre__job *from, cadre__job *to);
struct cadre__images *cadre__embedding_images(const cadre__job *job);
void cadre__embedding_equip(cadre__heap *heap, cadre__job *job, const struct cadre__model *model);
size_t cadre__embedding_rows(const cadre__job *job);
bool cadre__embedding_joins(const cadre__job *a, const cadre__job *b);

#endif
