#include "capability/fetch.h"

#include "capability/images.h"
#include "core/weights.h"
#include "pool/model.h"
#include "pool/request.h"

#include <stdio.h>

static cadre__images *images_of(const cadre__job *job)
{
    return job->kind->images ? job->kind->images(job) : NULL;
}

bool cadre__fetch_wanted(const cadre__job *job)
{
    const cadre__images *images = images_of(job);
    return images && images->sources;
}

static void end(cadre__source *source, int status, const char *why)
{
    char detail[CADRE__DETAIL_SIZE];
    cadre_request *request = source->request;
    snprintf(detail, sizeof detail, "images[%td]: %s", source - images_of(request->job)->sources, why);
    cadre__request_end(request, status, detail);
}

static void brought(cadre_future *future, int status, const char *detail, void *data)
{
    cadre__source *source = data;
    if (source->future != future) return; /* dropped by whoever was told just before */
    cadre_request *request = source->request;
    cadre__images *images = images_of(request->job);
    const uint64_t most = request->model->pool->decoder.max_encoded_bytes;
    source->future = NULL;
    source->weights = cadre_weights_retain(future->weights);
    cadre_future_release(future);
    const cadre_blob *blob = cadre_weights_payload(source->weights);
    if (status < 0)
        end(source, status, detail);
    else if (!blob || !blob->data || blob->length == 0)
        end(source, CADRE_EINPUT, "the fetcher brought nothing");
    else if (blob->length > most)
        end(source, CADRE_EINPUT, "the fetcher brought more bytes than it was asked for");
    else if (--images->pending == 0)
        cadre__request_fetched(request);
}

void cadre__fetch_drop(const cadre__job *job)
{
    cadre__images *images = images_of(job);
    for (size_t i = 0; images->pending && i < images->count; i++) {
        cadre__source *source = &images->sources[i];
        cadre_future *future = source->future;
        if (!future) continue;
        source->future = NULL;
        cadre__future_forget(future, brought, source);
        cadre_future_release(future);
    }
    images->pending = 0;
}

/* The fetcher is the host's and may call anything, also end the request or close the pool. */
static void start_one(cadre_request *request, cadre__source *source, const char *url)
{
    cadre_pool *pool = request->model->pool;
    bool in_load = pool->in_load;
    source->request = request;
    pool->in_load = true;
    cadre_future *future = (cadre_future *)(void *)pool->fetcher.fetch(pool->fetcher.self, pool, url, pool->decoder.max_encoded_bytes);
    pool->in_load = in_load;
    if (request->state != CADRE__FETCHING) {
        cadre_future_release(future);
    } else if (!future || cadre_future_on_complete(future, brought, source) != CADRE_OK) {
        cadre_future_release(future);
        end(source, CADRE_ENOMEM, cadre_strerror(CADRE_ENOMEM));
    } else {
        source->future = future;
    }
}

void cadre__fetch_start(cadre_request *request)
{
    cadre__images *images = images_of(request->job);
    for (size_t i = 0; i < images->count && request->state == CADRE__FETCHING; i++)
        if (images->inputs[i].form == CADRE_IMAGE_URL) start_one(request, &images->sources[i], images->inputs[i].string);
}
