/* What a fetcher of pictures brings: bytes as weights. */
#ifndef CADRE_TESTS_FETCHED_H
#define CADRE_TESTS_FETCHED_H

#include <cadre.h>
#include <stdlib.h>
#include <string.h>

static inline void fetched_free(void *payload)
{
    cadre_blob *blob = payload;
    if (blob->free) blob->free(blob->data, blob->length);
    free(blob);
}

static inline void fetched_free_bytes(void *data, size_t length)
{
    memset(data, 0xdd, length);
    free(data);
}

/* The value, which owns a copy of the bytes. */
static inline cadre_weights_value fetched_value(const void *bytes, size_t length)
{
    cadre_weights_value value = CADRE_WEIGHTS_VALUE_INIT;
    cadre_blob *blob = malloc(sizeof *blob);
    if (!blob) abort();
    *blob = (cadre_blob){malloc(length ? length : 1), length, fetched_free_bytes};
    if (!blob->data) abort();
    if (length) memcpy(blob->data, bytes, length);
    value.payload = blob;
    value.destroy = fetched_free;
    return value;
}

/* A future that is resolved from the start. */
static inline cadre_weights_future *fetched_now(cadre_pool *pool, const void *bytes, size_t length)
{
    cadre_weights_value value = fetched_value(bytes, length);
    return cadre_weights_future_ready(pool, &value);
}

#endif
