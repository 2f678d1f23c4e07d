/* What the parts of the target "api" share: everything that a host has asked for, and what it was told. */
#ifndef CADRE_FUZZ_API_H
#define CADRE_FUZZ_API_H

#include "fuzz.h"

#define KEYS 3
#define REQUESTS_MAX 48
#define WORKERS_MAX 12
#define PROMISES_MAX 8
#define RESERVATIONS_MAX 4

typedef struct api api;

typedef struct api_request {
    api *a;
    cadre_request_id id;
    uint8_t text[3];
    uint8_t pixels[3];
    int rc, done, released;
    bool in_call, lent, paused, silent;
} api_request;

typedef enum api_load { LOAD_BLOCKING, LOAD_READY, LOAD_PROMISE, LOAD_SHARED, LOAD_CHAINED, LOAD_FAILED, LOAD_NULL, LOAD_KINDS } api_load;

typedef struct api_worker {
    api *a;
    unsigned key;
    api_load kind;
    cadre_worker_id id;
    int rc, outcome, told, exited, released;
    bool ready, in_call;
} api_worker;

/* A promise and its future; either may be gone. */
typedef struct api_promise {
    cadre_promise *promise;
    cadre_future *future;
    bool weights;
    unsigned key;
} api_promise;

struct api {
    fuzz_host host;
    fuzz_bytes bytes;
    fuzz_model models[KEYS];
    api_request requests[REQUESTS_MAX];
    api_worker workers[WORKERS_MAX];
    api_promise promises[PROMISES_MAX];
    cadre_reservation *reservations[RESERVATIONS_MAX];
    cadre_weights *held; /* a reference of the host's */
    unsigned request_count, worker_count, depth;
    uint64_t posted, ran, waits_asked, waits_told, payloads_made, payloads_gone;
    uint64_t answers_asked, answers_told; /* of the registry's callbacks */
};

extern const char *const api_keys[KEYS];

/* From inside a callback: now and then does the next operation. */
void api_reenter(api *a);
/* The answer is one of those (0 ends the list), or CADRE_ENOMEM where allocations fail, or CADRE_ECLOSED after close. */
void api_check(const api *a, const char *what, int rc, const int *allowed);

/* fuzz_api_load.c: workers, promises, weights */
void api_spawn(api *a);
void api_act_on_worker(api *a);
void api_act_on_promise(api *a);
void api_act_on_weights(api *a);
cadre_reservation *api_reserve(api *a);
void api_let_go(api *a); /* of all that the host holds */
/* A future by one of the ways of loading; `outcome` of blocking loads lies in `worker`. */
cadre_future *api_load_future(cadre_load_context *context, void *worker);

/* fuzz_api_registry.c */
void api_act_on_registry(api *a);

#endif
