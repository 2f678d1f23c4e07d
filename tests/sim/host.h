/* A simulated host: what one seed makes, what it has asked for, and what it has been told. Everything it does is an operation; everything it is told is checked
 * at once, and the pool's insides after every event (check.c). */
#ifndef CADRE_SIM_HOST_H
#define CADRE_SIM_HOST_H

#include "executor_sim.h"

#include "registry/entry.h"

#define MODELS_MAX 6
#define PROMPT_MAX 64
#define ROWS_MAX 6
#define DEVICES_MAX 3 /* with the host's memory */
#define BACKENDS 3

typedef struct host host;
struct sim_entry;

/* What the host knows of one key. */
typedef struct sim_model {
    host *host;
    char key[16];
    cadre_capability capability;
    uint32_t slots; /* 0: generate, one at a time */
    uint32_t max_batch, dimension;
    bool patient; /* its operations do not look at cadre_op_cancelled */
    uint64_t step_ns;
    cadre_spawn_options options;
    cadre_weights_future *weights; /* shared by preloaded and chained loads; NULL: none yet */
    bool failed;                   /* a worker of it failed or was stopped: requests that no worker had may end with anything */
    bool crashed, hangs;           /* an operation has said that the model is broken; operations may give no sign of life */
    bool greedy, fragile;          /* its clients ask again at once; its requests often fail */
    uint32_t threads;              /* fixed; 0: it asks */
    /* of the registry */
    bool registered;
    struct sim_entry *entry; /* the addition that stands; NULL: none */
    unsigned adding;         /* additions of its key under way */
    bool paused;             /* a consumer of it has paused once */
    bool misnamed;           /* it was asked for as of another capability before it was known */
    bool turmoil;            /* something of the registry has failed for it: requests that no worker had may end with that */
    uint32_t instances;      /* alive and paid for by the registry */
} sim_model;

/* One addition to the registry: the host's record of it, the typed loader's data, the backend's configuration. */
typedef struct sim_entry {
    host *host;
    sim_model *model;
    unsigned number;
    int backend; /* −1: a typed loader */
    char options[40];
    cadre_entry asked;
    cadre_memory_need needs[DEVICES_MAX];
    size_t need_count;
    unsigned fails; /* one load in so many fails; 0: none */
    bool open_fails, permanent, sticks, measures;
    bool accepted, told, added, removed, opened, closed, released;
    unsigned instances, payloads, weights; /* alive; weights: of the payloads, those that are paid for */
    /* its breaker, counted again */
    cadre__breaker_state breaker;
    uint32_t failures, successes;
} sim_entry;

/* Somebody who waits for the registry or for memory. */
typedef enum wish_kind { WISH_LOAD, WISH_UNLOAD, WISH_REMOVE, WISH_RESERVE, WISH_TEXT } wish_kind;
typedef struct sim_wish {
    struct sim_wish *next;
    host *host;
    sim_model *model;
    sim_entry *entry;
    wish_kind kind;
    cadre_reserve_id id;
    bool told, cancelled, timed;
    int expected; /* of WISH_TEXT: 0, or an error */
} sim_wish;

typedef enum load_kind { LOAD_BLOCKING, LOAD_PROMISE, LOAD_SHARED, LOAD_CHAINED, LOAD_NULL, LOAD_READY, LOAD_FAILED, LOAD_KINDS } load_kind;

/* One reservation, from try_reserve until the allocator sees it freed. */
typedef struct sim_charge {
    cadre_reservation *handle; /* NULL: given back */
    bool own;                  /* the host's; else the registry's, or measured: what it says itself counts */
    size_t count;
    cadre_memory_amount amounts[3];
} sim_charge;

/* One spawn, also the loader's data. */
typedef struct sim_worker {
    host *host;
    sim_model *model;
    sim_entry *entry; /* of the registry, whose load this is; NULL: a spawn */
    unsigned number;
    load_kind kind;
    cadre_worker_id id;
    int rc;
    int charge;         /* index, or −1 */
    unsigned instances; /* made and not destroyed */
    bool refused, released, told, ready, exited, stopped;
    int outcome;                 /* of the load: 0 or an error */
    bool wrong;                  /* it returns a model that is none */
    bool sticks, again;          /* never returns; settles twice */
    cadre_load_context *context; /* while it is certainly alive */
    cadre_promise *promise;
} sim_worker;

/* Weights, and the load that made them. */
typedef struct sim_payload {
    struct sim_payload *next;
    host *host;
    sim_entry *entry; /* whose weights, or what was fetched for them */
    int charge, outcome;
    bool blocking, made, gone, released;
    unsigned users;
    cadre_promise *promise;
} sim_payload;

/* One model that a load has made. */
typedef struct instance {
    sim_worker *worker;
    sim_model *model;
    struct sim_payload *payload; /* the weights that it is made around */
    bool attached, gone, busy;
    bool paid;     /* by the registry */
    bool unpaid;   /* of a second resolve: no reservation is for it */
    bool anywhere; /* it may be destroyed on the loop */
    uint32_t active;
    struct {
        struct sim_request *request;
        unsigned next;
    } slots[8];
} instance;

typedef struct sim_request {
    host *host;
    sim_model *model;
    unsigned number;
    cadre_request_id id;
    int rc;
    /* what was asked */
    uint8_t priority;
    cadre_capability as;
    unsigned place; /* in host.open */
    unsigned pieces, rows;
    int fails_at, failure; /* the step at which it fails (−1: never), and with what */
    uint64_t submitted, due;
    bool lent, streams, steps;
    bool known_late, stranger; /* its key was not known yet; it is none of the host's models */
    char *prompt;              /* lent: until release; else until submit has returned */
    uint8_t *pixels;           /* likewise */
    const char *texts[ROWS_MAX];
    cadre_image_input images[ROWS_MAX];
    /* what happened */
    bool accepted, dispatched, done, released, cancelled, perhaps, silent, paused, any_failure; /* perhaps: a cancel is on its way through the port */
    unsigned begun, heard, stepped;                                                             /* times a model has got it; pieces that came; the last step */
} sim_request;

struct host {
    simulator sim;
    cadre_pool *pool;
    cadre_port *port;
    cadre_allocator allocator;
    cadre_clock clock;
    cadre_image_decoder decoder;
    cadre_device devices[DEVICES_MAX - 1];
    size_t device_count;
    uint64_t aging_ns;
    unsigned out_of_memory; /* one allocation in so many fails; 0: none */
    bool registers;         /* it uses the registry */
    bool fair;              /* nothing fails, and clients ask again and again: nobody may starve */
    bool warms;             /* workers may have a first request of the library's own, which takes no heed of cores */
    bool measures;          /* loads turn out larger or smaller */

    sim_model models[MODELS_MAX];
    unsigned model_count;
    sim_worker **workers;
    unsigned worker_count, worker_capacity;
    sim_request **requests;
    unsigned request_count, request_capacity;
    sim_request warm;   /* what a worker is asked first */
    sim_request **open; /* those that were accepted and are not answered */
    unsigned open_count, open_capacity;
    sim_charge *charges;
    unsigned charge_count, charge_capacity;
    unsigned *live_charges;
    unsigned live_charge_count, live_charge_capacity;
    sim_payload *payloads;
    sim_entry **entries;
    unsigned entry_count, entry_capacity;
    sim_wish *wishes;
    cadre_backend backends[BACKENDS];
    cadre_reservation *held[8]; /* of the host's own, to be given back some day */

    uint64_t live_bytes, live_blocks, instances;
    struct {
        void *block;
        size_t bytes;
    } freed[16]; /* not given back yet, to see whether somebody still writes there */
    unsigned freed_at;
    uint64_t waits_asked, waits_told;
    uint64_t posts_sent, posts_run;
    unsigned operations, wanted; /* done, and how many before it ends */
    unsigned acts, inner;        /* of those: by itself, from inside callbacks */
    const uint8_t *skip;         /* operations that are left out: bits by number, those from inside callbacks behind SKIP_INNER */
    unsigned relents;
    unsigned depth; /* of callbacks that call back in */
    uint64_t close_at, calm_at, fair_until, fair_bound;
    bool patient_close;             /* it waits for ever for something */
    bool closing, closed, relented; /* relented: whatever stood still on purpose goes on */
    bool calms, calm;               /* calm: the host asks for nothing more, and nothing fails; calms: before it closes */
    cadre_close_report report;
};
#define SKIP_INNER 100000u
#define SKIP_COUNT 200000u

/* The host that runs now. */
extern host *sim_host;

/* host.c */
void host_run(host *h, uint64_t seed, FILE *text, const uint8_t *skip);
/* From inside a callback: now and then does something. */
void host_reenter(host *h);
/* Everything that stands still on purpose goes on. */
void host_relent(host *h);

/* memory.c: the counting allocator, reservations */
void memory_open(host *h);
cadre_reservation *memory_reserve(host *h, int *index);
/* The record of a reservation that the registry made; −1: none. */
int memory_index(const host *h, const cadre_reservation *handle);
void memory_release_held(host *h);
void memory_check(host *h);
void memory_closed(host *h);
bool memory_charged(const host *h, int index);

/* weights.c */
void load_weights(host *h, sim_model *m);
sim_payload *payload_new(host *h);
void weights_settle(void *payload);
int weights_fill(sim_payload *p, cadre_weights_value *out);
void use_weights(host *h, sim_model *m);
void load_drop_weights(host *h); /* the host lets go of all weights */

/* load.c */
void load_spawn(host *h, sim_model *m);
void load_act(host *h);                                                     /* something with a worker, a load or weights */
void load_settle_all(host *h);                                              /* the host lets go of all promises */
void load_check_closed(host *h);                                            /* in the close callback */
void load_check_end(host *h);                                               /* when everything is over; frees the records */
sim_worker *load_attempt(sim_entry *e, cadre_worker_id worker);             /* one load for an entry begins */
int load_add(sim_entry *e, const cadre_entry *entry, cadre_registry_cb cb); /* an entry with a typed loader */

/* registry.c */
void registry_open(host *h);
void registry_add(host *h, sim_model *m);
void registry_act(host *h);
void registry_rest(host *h); /* lets go of what the host holds of the registry's memory */
void registry_check_closed(host *h);
void registry_check_end(host *h);
void registry_released(void *entry);

/* entry.c: what the seed makes of one */
sim_entry *entry_make(host *h, sim_model *m);

/* backend.c */
void backend_open(host *h);

/* breaker.c */
void breaker_answered(sim_request *r, const cadre_request *request, int status);
/* What an entry must answer to a request now. *also: an answer that is as good, where the look at the clock decides. */
int expected_of_entry(const host *h, const struct cadre__entry *entry, int *also);

/* model.c */
typedef union model_value {
    size_t size;
    cadre_generation_model generation;
    cadre_text_embedding_model texts;
    cadre_image_embedding_model images;
    cadre_text_to_image_model painter;
} model_value;
instance *model_make(sim_worker *w, sim_payload *payload, model_value *out);
/* The model was not consumed. */
void model_unmake(const model_value *value);
int decode_picture(void *self, cadre_op *op, const void *bytes, size_t length, uint64_t max_pixels, cadre_image *out, cadre_blob *pixels);

/* request.c */
void request_submit(host *h, sim_model *m);
void request_again(sim_model *m); /* a client of the fair host asks once more, soon */
void request_act(host *h);        /* cancels, pauses, resumes one */
void request_resume_all(host *h);
void request_check_closed(host *h);
void request_check_end(host *h);
/* What the answer to a request is made of. */
int piece_text(const sim_request *r, unsigned index, char *out, size_t size);
float row_value(const sim_request *r, unsigned row, unsigned column);

/* check.c */
void check_all(host *h);
void check_registry(host *h); /* check_registry.c */
void check_registry_idle(host *h);

#endif
