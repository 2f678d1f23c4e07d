/* What the tests of the llama.cpp backend share: models that are spawned, questions that are asked, and the engine alone to compare with. */
#ifndef CADRE_TESTS_LLAMA_CHAT_H
#define CADRE_TESTS_LLAMA_CHAT_H

#include "support.h"

#include <cadre/llama.h>

#define ANSWER_BYTES 65536

/* The files; a test fails where they are not named. */
const char *smollm2(void);
const char *minilm(void);

/* A fixture for tests that fetch: libuv's own threads, which stay, are there before it counts those of the process. */
fixture *chat_begin(void);

/* ---- spawning ---- */
typedef struct spawned {
    cadre_worker_id id;
    int settled;
    int status;
    char detail[512];
} spawned;

cadre_llama_options chat_options(const char *path);
/* Spawns and turns the loop until it is ready or has failed. `weights` NULL: an own copy. */
void chat_spawn_text(fixture *fx, spawned *worker, const char *key, const cadre_llama_options *options, cadre_weights_future *weights);
void chat_spawn_embedding(fixture *fx, spawned *worker, const char *key, const cadre_llama_options *options, cadre_weights_future *weights);
cadre_model_info chat_info(fixture *fx, const char *key);
/* Turns the loop until no worker of the key has anything to do. */
void chat_until_quiet(fixture *fx, const char *key);

/* ---- asking ---- */
typedef struct reply {
    fixture *fx;
    cadre_request_id id;
    int cancel_at; /* pieces after which the test cancels; 0: never */
    int pieces;
    int done;
    int status;
    char detail[512];
    cadre_generation usage;
    char text[ANSWER_BYTES];
    size_t length;
} reply;

/* What a request's callbacks write to its reply, for questions of any kind: begin before the request is started, started with what that returned. */
void chat_reply_begin(fixture *fx, reply *r);
void chat_reply_started(reply *r, int rc);
void chat_on_text(cadre_request *request, const char *text, size_t length);
void chat_on_done(cadre_request *request, int status, const cadre_generation *result);

/* Greedy, at most `max_tokens`. */
cadre_generate_params chat_question(const char *key, const char *text, int32_t max_tokens);
/* submit's error, if any, is the reply's status. */
void chat_ask(fixture *fx, reply *r, cadre_generate_params *params);
void chat_until_replied(fixture *fx, reply *replies, size_t count);
void chat_ask_and_wait(fixture *fx, reply *r, cadre_generate_params *params);

/* ---- files that are none ---- */
typedef struct bad_file {
    const char *name;
    size_t bytes; /* of MiniLM's file; 0: none */
    size_t spoilt_from;
    const char *says; /* what the error's detail has in it */
} bad_file;

/* A file in the working folder of the first `bytes` of MiniLM's, with zeros from `spoilt_from` on for 64 bytes. */
void chat_bad_file(const bad_file *bad);

/* ---- the engine alone ---- */
#define BARE_MAX 8
typedef struct bare {
    char text[BARE_MAX][4096];
    uint32_t generated[BARE_MAX];
    uint64_t decodes;
} bare;

/* A plain loop over llama_decode: all prompts in the first batch, then one token each; the likeliest token, until the end of generation or `max_tokens`.
 * Context as the backend's with `count` or more slots. The engine must have been started by a load. */
void bare_run(bare *out, const char *const *questions, size_t count, uint32_t slots, uint32_t context_length, uint32_t max_tokens);

#endif
