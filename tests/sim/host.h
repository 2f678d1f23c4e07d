/* A simulated host: what one seed makes, what it has asked for, and what it has been told. Everything it does is an operation; everything it is told is checked
 * at once, and the pool's insides after every event (check.c). */
#ifndef CADRE_SIM_HOST_H
#define CADRE_SIM_HOST_H

#include "executor_sim.h"

#define MODELS_MAX 6
#define PROMPT_MAX 64
#define ROWS_MAX 6

typedef struct host host;

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
} sim_model;

typedef enum load_kind { LOAD_BLOCKING, LOAD_PROMISE, LOAD_SHARED, LOAD_CHAINED, LOAD_NULL, LOAD_READY, LOAD_FAILED, LOAD_KINDS } load_kind;

/* One reservation, from try_reserve until the allocator sees it freed. */
typedef struct sim_charge {
    cadre_reservation *handle; /* NULL: given back */
    size_t count;
    cadre_memory_amount amounts[3];
} sim_charge;

/* One spawn, also the loader's data. */
typedef struct sim_worker {
    host *host;
    sim_model *model;
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
    unsigned pieces, rows;
    int fails_at, failure; /* the step at which it fails (−1: never), and with what */
    uint64_t submitted, due;
    bool lent, streams, steps, bad;
    char *prompt;    /* lent: until release; else until submit has returned */
    uint8_t *pixels; /* likewise */
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
    cadre_device devices[2];
    size_t device_count;
    uint64_t aging_ns;
    unsigned out_of_memory; /* one allocation in so many fails; 0: none */

    sim_model models[MODELS_MAX];
    unsigned model_count;
    sim_worker **workers;
    unsigned worker_count, worker_capacity;
    sim_request **requests;
    unsigned request_count, request_capacity;
    sim_charge *charges;
    unsigned charge_count, charge_capacity;
    sim_payload *payloads;

    uint64_t live_bytes, live_blocks, instances;
    uint64_t waits_asked, waits_told;
    uint64_t posts_sent, posts_run;
    unsigned operations, wanted;    /* done, and how many before it closes */
    unsigned depth;                 /* of callbacks that call back in */
    bool patient_close;             /* it waits for ever for something */
    bool closing, closed, relented; /* relented: whatever stood still on purpose goes on */
    cadre_close_report report;
};

/* host.c */
void host_run(host *h, uint64_t seed, FILE *text);
/* From inside a callback: now and then does something. */
void host_reenter(host *h);
/* Everything that stands still on purpose goes on. */
void host_relent(host *h);

/* memory.c: the counting allocator, reservations */
void memory_open(host *h);
cadre_reservation *memory_reserve(host *h, int *index);
void memory_check(host *h);
void memory_closed(host *h);
bool memory_charged(const host *h, int index);

/* load.c */
void load_spawn(host *h, sim_model *m);
void load_act(host *h);          /* something with a worker, a load or weights */
void load_drop_weights(host *h); /* the host lets go of all weights */
void load_settle_all(host *h);   /* and of all promises */
void load_check_closed(host *h); /* in the close callback */
void load_check_end(host *h);    /* when everything is over; frees the records */

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
void request_act(host *h); /* cancels, pauses, resumes one */
void request_resume_all(host *h);
void request_check_closed(host *h);
void request_check_end(host *h);
/* What the answer to a request is made of. */
int piece_text(const sim_request *r, unsigned index, char *out, size_t size);
float row_value(const sim_request *r, unsigned row, unsigned column);

/* check.c */
void check_all(host *h);

#endif
