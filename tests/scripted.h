/* Scripted models for all five capabilities and all three kinds of loader: they record what reaches them, verify every field of every request, stand at gates
 * until the test lets them on, and answer what the test says.
 *
 * A script is one model: what its loader does and what each instance (one per worker) answers. Its prompts steer it: "fail …" is refused with CADRE_EINPUT,
 * "long …" is CADRE_ETOOLONG unless it may be truncated. An answer is the prompt, then " 1", " 2", … , one piece each. A vector is script_hash(text) + index.
 * Behaviour is set before spawn, or while a gate holds the model; atomics and the gates may be moved at any time. */
#ifndef CADRE_TESTS_SCRIPTED_H
#define CADRE_TESTS_SCRIPTED_H

#include "support.h"

/* Chained: an asynchronous fetch of weights, then a blocking load of what it fetched. */
typedef enum script_kind { KIND_BLOCKING, KIND_ASYNC, KIND_PRELOADED, KIND_CHAINED, KIND_COUNT } script_kind;
/* PIECE is before each emit of a one-at-a-time model; it is not in the trace. */
typedef enum script_op { OP_LOAD, OP_ATTACH, OP_GENERATE, OP_BEGIN, OP_STEP, OP_END, OP_EMBED, OP_DESTROY, OP_PIECE, OP_COUNT } script_op;
typedef enum script_settle { SETTLE_RESOLVE, SETTLE_TWICE, SETTLE_DROP } script_settle; /* asynchronous loads and weights by promise */

typedef struct trace_entry {
    script_op op;
    bool on_loop;
    size_t count; /* slots of a step, texts of a batch */
    char tag[32]; /* the first bytes of the prompt, the text, the picture */
} trace_entry;
#define TRACE_MAX 4096

typedef struct script {
    fixture *fx;
    struct script *next;
    char key[32];
    cadre_capability capability;
    script_kind kind;

    uint32_t slots; /* 0: generate, one at a time; else begin, step and end */
    uint32_t context_length, dimension, max_batch;

    atomic_int status[OP_COUNT]; /* what the op returns; for loads, the failure */
    const char *detail;          /* said when an op fails by `status` */
    int pieces;                  /* of an answer */
    int begin_again;             /* so many begins answer CADRE_EAGAIN while another slot runs */
    int make_status;             /* preloaded and chained: what the make function returns */
    bool load_null, obey_cancel; /* the loader returns NULL; a load that sees that it is cancelled stops */
    bool weights_promise;        /* preloaded: the weights come by a promise from a thread of the test's, not from load_blocking */
    bool keep_weights;           /* the test releases the weights itself */
    bool exit_untold;            /* on_exit is not called */
    bool abandoned;              /* the load's thread is given up: release may run on it */
    bool registered;             /* an entry of the registry: its loader is called for each worker */
    /* what only tests/scripted_backend.c reads */
    cadre_memory_need estimate[2]; /* said by open */
    size_t estimate_count;
    uint64_t measured_load, measured_attach; /* what it turns out to take on the host; 0: it does not say */
    uint32_t heartbeat_ms, fixed_threads;
    int open_status;
    atomic_int opened, closed; /* its backend's calls */
    int fetch_calls;           /* loop: likewise */
    char opened_path[300];     /* what the latest open got as "path" */
    script_settle settle;
    gate gates[OP_COUNT];
    const void *expected[8]; /* parameter structs of which each input must equal one */
    size_t expected_count;

    pthread_mutex_t lock; /* of the trace */
    trace_entry trace[TRACE_MAX];
    size_t traced;
    atomic_int begun[OP_COUNT], ended[OP_COUNT];
    atomic_int made, destroyed, payloads_made, payloads_destroyed;
    atomic_int emitted, emit_failed, cancel_seen, load_cancel_seen, again_said, begin_failed, pixels_live, pixels_made, threads;
    atomic_int promise_answers[3]; /* 0, CADRE_EALREADY, CADRE_ECLOSED */

    int spawned, spawned_ok, weights_started, load_calls, cancels;
    atomic_int released, weights_released;
    cadre_weights_future *weights;
    struct fetch *fetches;

    cadre_worker_id worker; /* of the last spawn */
    int ready, ready_ok, ready_status, exited, exit_status, progressed;
    char ready_detail[512];
    double last_fraction;
    void (*on_ready)(struct script *s);
    void *data;
} script;

script *script_new(fixture *fx, cadre_capability capability, script_kind kind, const char *key);
/* `owned` and `options` may be NULL. Fills in on_exit and on_progress. */
int script_spawn_with(script *s, cadre_reservation *owned, const cadre_spawn_options *options);
void script_spawn(script *s);                                                    /* without a reservation; asserts 0 */
script *script_ready(fixture *fx, cadre_capability capability, const char *key); /* blocking kind, spawned and ready */
void script_until_ready(script *s, int n);
void script_until(script *s, script_op op, int begun); /* until an op has been begun so often */
void script_until_ended(script *s, script_op op, int ended);
void script_hold(script *s, script_op op);
void script_pass(script *s, script_op op, unsigned n);
void script_open(script *s, script_op op);
void script_expect(script *s, const void *params);
/* "attach generate:hello destroy"; in the script's buffer. Loads are left out: they are what differs between the kinds. */
const char *script_trace(script *s);
size_t script_count(script *s, script_op op, const char *tag);
/* Adds it to the registry by its typed loader. Consumes one release, as a spawn does. */
int script_add_typed(script *s, const cadre_entry *entry, cadre_registry_cb cb, void *data);
float script_hash(const void *bytes, size_t length);
/* The answer to a prompt, into buffer. */
const char *script_answer(const script *s, const char *prompt, char *buffer, size_t size);
const char *op_name(script_op op);
const char *kind_name(script_kind kind);
bool capability_streams(cadre_capability capability);
/* The op that does a request's work: OP_STEP, OP_GENERATE or OP_EMBED. */
script_op script_work(const script *s);

void scripts_open(fixture *fx);
void scripts_let_go(fixture *fx);
void scripts_join(fixture *fx);
void scripts_finish(fixture *fx);

/* ---- answers ---- */

typedef struct answer {
    fixture *fx;
    struct answer *next;
    cadre_request_id id;
    int rc, done, status;
    unsigned order; /* among all of the fixture's answers, from 1 */
    unsigned pieces, steps, last_step, total_steps, releases;
    char *text;
    size_t length;
    char detail[512];
    bool result; /* there was one */
    cadre_generation generation;
    float *values;
    size_t count, dimension;
    uint64_t tokens;
    cadre_image image; /* pixels copied */
    bool silent;       /* a piece or a step from here on is a fault */
    bool unstreamed;   /* submit without on_text */
    bool lent;         /* answer_on_release must run once */
    void (*on_piece)(struct answer *a);
    void (*then)(struct answer *a);
    void *data;
} answer;

answer *answer_new(fixture *fx);
/* Submits one text (or prompt, or picture made of the text) to the script's model, whatever its capability. Returns the library's answer; a refusal leaves no
 * answer open. */
int submit(script *s, answer *a, const char *text, const cadre_request_options *options);
answer *ask(script *s, const char *text); /* asserts 0 */
void until_done(answer *a);
void until_all_done(fixture *fx);
void assert_answered(const script *s, const answer *a, const char *text); /* status 0 and the right content */
void answer_on_text(cadre_request *request, const char *text, size_t length);
void answer_on_generation(cadre_request *request, int status, const cadre_generation *result);
void answer_on_embeddings(cadre_request *request, int status, const cadre_embeddings *result);
void answer_on_image(cadre_request *request, int status, const cadre_image *result);
void answer_on_step(cadre_request *request, uint32_t done, uint32_t total);
void answer_on_release(void *data); /* data: the answer */
cadre_model_info model_info(fixture *fx, const char *key);
/* Rows of `length` bytes as a picture: three bytes a pixel, the last one padded with zeros. */
cadre_image_input picture(const char *text, uint8_t *buffer, size_t size);
const char *image_text(const cadre_image *image, char *buffer, size_t size); /* the inverse */

#endif
