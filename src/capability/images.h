/* Pictures of a request: checked and copied on the loop, decoded on the worker. */
#ifndef CADRE__IMAGES_H
#define CADRE__IMAGES_H

#include "pool/job.h"
#include "pool/runner.h"

/* A picture by URL on its way: see capability/fetch.h. */
typedef struct cadre__source {
    cadre_request *request;
    cadre_future *future;   /* loop, counted: pending */
    cadre_weights *weights; /* counted: it came; until it is decoded */
} cadre__source;

typedef struct cadre__images {
    size_t count;
    bool lent;
    cadre_image_input *inputs; /* what the request named; owned copies unless lent */
    cadre_image *pixels;       /* from decode on */
    cadre_blob *blobs;         /* what owns those pixels that were decoded */
    cadre__source *sources;    /* one for each picture if one of them is a URL, else NULL */
    size_t pending;            /* loop: sources that have not come */
} cadre__images;

/* Loop. Says in the pool's error detail which picture is wrong, and how. */
int cadre__images_check(cadre_pool *pool, const cadre_image_input *images, size_t count, size_t most);
int cadre__images_copy(const cadre_allocator *allocator, cadre__images *out, const cadre_image_input *images, size_t count, bool lent);
/* Worker. Afterwards pixels[0 … count − 1] are there. */
int cadre__images_decode(cadre__runner *runner, cadre__job *job, cadre__images *images);
/* Loop, or an abandoned thread. */
void cadre__images_free(const cadre_allocator *allocator, cadre__images *images);

#endif
