/* Generating text: parameters, result, and the operations a model must offer. Shared by text-to-text and vision. */
#ifndef CADRE_GENERATION_H
#define CADRE_GENERATION_H

#include <cadre/image.h>
#include <cadre/request.h>
#include <cadre/worker.h>

CADRE_BEGIN

typedef struct cadre_chat_message {
    const char *role;    /* "system", "user", "assistant", … as the model's template knows them */
    const char *content; /* UTF-8 */
} cadre_chat_message;

/* How the next token is chosen. Every default is the model's own where it states one, else the value given here. Out of range, infinite (or NaN by another way
 * than the default) is CADRE_EINVAL. */
typedef struct cadre_sampling {
    size_t size;
    float temperature;       /* ≥ 0; 0: always the likeliest token; default 0.8 */
    int32_t top_k;           /* keep the k likeliest; 0: all; default 40 */
    float top_p;             /* 0…1: keep the likeliest that together have probability p; default 0.95 */
    float min_p;             /* 0…1: keep those with at least this part of the likeliest's probability; default 0.05 */
    float repeat_penalty;    /* > 0; 1: none; over the last 64 tokens; default 1 */
    float frequency_penalty; /* −2…2; default 0 */
    float presence_penalty;  /* −2…2; default 0 */
    int64_t seed;            /* 0…2³²−1; default: a random one */
    int32_t max_tokens;      /* ≥ 1; default: until the model stops or its context is full */
    const char *const *stop; /* the text ends before the first of these; at most 16, none empty */
    size_t stop_count;
    const char *grammar; /* GBNF, passed to the engine; NULL: none */
} cadre_sampling;
#define CADRE_SAMPLING_INIT                                                                                                                                    \
    {                                                                                                                                                          \
        sizeof(cadre_sampling), CADRE_DEFAULT_FLOAT, CADRE_DEFAULT, CADRE_DEFAULT_FLOAT, CADRE_DEFAULT_FLOAT, CADRE_DEFAULT_FLOAT, CADRE_DEFAULT_FLOAT,        \
            CADRE_DEFAULT_FLOAT, CADRE_DEFAULT, CADRE_DEFAULT, NULL, 0, NULL                                                                                   \
    }

typedef enum cadre_finish {
    CADRE_FINISH_STOP = 0,  /* the model ended its answer, or a stop string came */
    CADRE_FINISH_LENGTH = 1 /* max_tokens, or the context was full */
} cadre_finish;

/* Valid during on_done. */
typedef struct cadre_generation {
    size_t size;
    cadre_finish finish;
    const char *text;          /* the whole answer, NUL-terminated, when the request had no on_text; else NULL */
    size_t text_length;        /* bytes of the answer, streamed or not */
    uint32_t prompt_tokens;    /* all of the prompt, */
    uint32_t cached_tokens;    /* of which so many were still in the slot from an earlier request */
    uint32_t generated_tokens; /* the end-of-generation token not counted */
} cadre_generation;

/* Loop thread. A piece of text: whole UTF-8 code points, `length` ≥ 1 bytes, NUL-terminated, valid during the call. */
typedef void (*cadre_text_cb)(cadre_request *request, const char *text, size_t length);
/* Loop thread, exactly once. result is NULL when status < 0. */
typedef void (*cadre_generation_cb)(cadre_request *request, int status, const cadre_generation *result);

/* ---- for those who write models ---- */

/* What a generate operation reads; valid until it returns (for slots: until `end`). */
typedef struct cadre_generation_input {
    size_t size;
    const char *text;                   /* one user message, or, with `raw`, the prompt itself; NULL when there are messages */
    const cadre_chat_message *messages; /* a chat, oldest first */
    size_t message_count;
    int raw;                   /* 1: text is taken as it is, without the model's chat template */
    cadre_sampling sampling;   /* checked; defaults still as sentinels: the model knows its own */
    const cadre_image *images; /* vision: decoded, in order */
    size_t image_count;
} cadre_generation_input;

/* What it writes; zeroed (finish: stop) before. The text itself goes through cadre_op_emit. */
typedef struct cadre_generation_output {
    size_t size;
    cadre_finish finish;
    uint32_t prompt_tokens;
    uint32_t cached_tokens;
    uint32_t generated_tokens;
} cadre_generation_output;

/* One slot in a step. */
typedef struct cadre_slot_step {
    uint32_t slot;
    cadre_op *op; /* the request in it */
    int status;   /* set by step: 0 goes on, 1 finished, negative failed */
} cadre_slot_step;

/* Worker thread, all of them, one at a time. A model has either generate, or begin, step and end. */
typedef struct cadre_generation_ops {
    size_t size;
    int (*attach)(void *self, cadre_op *op); /* before the first operation: thread-bound state and compute threads are made here; may be NULL */
    void (*destroy)(void *self);             /* on the worker's thread (after a failed attach too), or on the reaper's when it never had one; may be NULL */
    int (*generate)(void *self, cadre_op *op, const cadre_generation_input *input, cadre_generation_output *output);
    /* Takes a request into a free slot (0 … slots − 1). Only records it: the work is step's. CADRE_EAGAIN: no room while others run, queue it again. Any other
     * error fails the request. */
    int (*begin)(void *self, cadre_op *op, uint32_t slot, const cadre_generation_input *input);
    /* One step for these slots together: a chunk of prompt or one token each. Slots that rest (a paused consumer) are not among them, and keep what they have.
     * Negative: the step failed for all of them. */
    int (*step)(void *self, cadre_slot_step *slots, size_t count);
    /* The slot is free again: finished, failed, or cancelled at any point after begin. output is never NULL. */
    void (*end)(void *self, cadre_op *op, uint32_t slot, cadre_generation_output *output);
} cadre_generation_ops;

/* A model of text-to-text or vision: what a loader resolves to. */
typedef struct cadre_generation_model {
    size_t size;
    const cadre_generation_ops *ops; /* static, or alive until destroy has returned */
    void *self;                      /* owned by the model; freed by ops->destroy */
    uint32_t slots;                  /* 1 … 256; 1 for `generate` */
    uint32_t context_length;         /* tokens one request may use in all; 0 unknown */
    uint32_t heartbeat_ms;           /* a working operation gives a sign of life at least this often; 0: it declares nothing and is never taken for hung */
    uint32_t threads;                /* fixed when it was loaded: an operation starts when so many cores are free; 0: it asks cadre_op_threads() */
} cadre_generation_model;
#define CADRE_GENERATION_MODEL_INIT                                                                                                                            \
    {                                                                                                                                                          \
        sizeof(cadre_generation_model), NULL, NULL, 1, 0, 0, 0                                                                                                 \
    }

CADRE_END
#endif
