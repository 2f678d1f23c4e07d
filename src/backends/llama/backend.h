/* What the files of this backend share.
 *
 * weights     a llama_model with the facts of its file: read once, then constant, so any number of workers on any threads may use it at once
 * generator   text-to-text: one llama_context around weights, one worker thread
 *             vision: the same with pictures among the tokens, and a vision tower (vision.h)
 * embedder    text embedding: likewise
 * entry       a model of the registry: its options and its file's facts, from which weights and models are made
 *
 * The engine is C++ behind a C interface: what it reports by NULL or a code becomes an error here, and what it would assert on or throw at (token ids, batch
 * sizes, empty vocabularies, unknown template names, dead grammars) is checked before the call. */
#ifndef CADRE_LLAMA_BACKEND_H
#define CADRE_LLAMA_BACKEND_H

#include <stdbool.h>

#include <cadre/llama.h>
#include <llama.h>

#include "vision.h"

/* ---- engine.c ---- */

/* Any thread but the loop's: it opens libraries. Starts the engine once for the process; the first call's `path` decides where the CPU modules are. On failure
 * `detail` says why, and the next call tries again. */
int cadre__llama_engine_start(const char *path, char *detail, size_t detail_size);

/* Any thread, any number of times: from the first on, the engine's log is heard here. */
void cadre__llama_engine_listen(void);
/* What a part of the engine logs on this thread. */
void cadre__llama_engine_hear(enum ggml_log_level level, const char *text);
/* The first error that the engine logged on this thread since _forget; "" when none. It only ever becomes a part of some error's detail. */
void cadre__llama_engine_forget(void);
const char *cadre__llama_engine_said(void);
/* The host memory of all buffers that the engine logged on this thread since _forget; 0: it named none. */
uint64_t cadre__llama_engine_buffers(void);

/* ---- options.c ---- */

/* The host's options, checked, completed and copied. */
struct cadre__llama_options {
    char *path;
    char *chat_template;
    char *engine_path;
    char *mmproj; /* NULL: none */
    cadre_named_text *prompts;
    size_t prompt_count;
    int32_t context_length; /* CADRE_DEFAULT: the model decides */
    int32_t slots;          /* CADRE_DEFAULT: the capability decides */
    int32_t batch_tokens;
    int32_t threads; /* 0: ask before each step */
    int32_t gpu_layers;
    bool use_mmap;
    int32_t pooling; /* enum llama_pooling_type; CADRE_DEFAULT: the file decides */
    int32_t causal;  /* likewise */
};

#define CADRE__LLAMA_TEXT_SLOTS 4
#define CADRE__LLAMA_EMBEDDING_SLOTS 32
#define CADRE__LLAMA_CONTEXT_DEFAULT 4096
#define CADRE__LLAMA_SLOTS_MAX 64
#define CADRE__LLAMA_BATCH_MIN 32
#define CADRE__LLAMA_BATCH_MAX 65536
#define CADRE__LLAMA_THREADS_MAX 512

/* "mean", "cls", "last"; false: none of them. */
bool cadre__llama_pooling_named(const char *name, int32_t *out);
int cadre__llama_options_create(const cadre_llama_options *from, bool path_needed, cadre__llama_options **out);
int cadre__llama_options_copy(const cadre__llama_options *from, cadre__llama_options **out);
void cadre__llama_options_destroy(cadre__llama_options *options);

/* ---- tasks.c ---- */

#define CADRE__LLAMA_PROMPTS_MAX 1024

/* Named, each name once. */
bool cadre__llama_prompts_sound(const cadre_named_text *prompts, size_t count);
/* One block, for free; NULL of none. false: out of memory. */
bool cadre__llama_prompts_copy(const cadre_named_text *from, size_t count, cadre_named_text **out);
/* What is put before a task's texts; NULL: nothing. CADRE_EINPUT, CADRE_ENOTSUP with each op's detail. */
int cadre__llama_prompt_of(const cadre__llama_options *options, cadre_op *const *ops, size_t count, const char *task, const char **out);

/* ---- file.c ---- */

/* What a GGUF file says about itself. */
struct cadre__llama_facts {
    char architecture[64];
    bool causal;
    bool encoder;    /* it keeps no keys and values, and has no logits */
    int32_t pooling; /* enum llama_pooling_type */
    uint32_t context_length;
    uint32_t layers;
    uint32_t embedding;
    uint32_t feed_forward;
    uint32_t heads;
    uint32_t deepstack;   /* further embeddings that a picture's token brings, for the first layers */
    uint32_t key_width;   /* of one layer's cache, per token */
    uint32_t value_width; /* 0 where the keys hold the values too */
    uint32_t latent;      /* what keys and values are compressed to; 0: they are not */
    uint32_t experts_used;
    uint32_t expert_feed_forward;
    float yarn_beta_fast, yarn_beta_slow; /* negative: not said */
    uint32_t vocabulary;
    uint64_t tensor_bytes; /* over all parts of a split file, */
    uint64_t file_bytes;   /* likewise */
    int32_t parts;
};

/* Writes "PATH: what is wrong"; CADRE_EFORMAT. */
int cadre__llama_file_wrong(char *detail, size_t detail_size, const char *path, const char *format, ...) CADRE_PRINTF(4, 5);
/* Blocks. The file's length; CADRE_EFORMAT unless it is a regular file that begins as a GGUF file does. */
int cadre__llama_file_look(const char *path, uint64_t *bytes, char *detail, size_t detail_size);
/* All tensors lie within the file; their bytes are added to *total. */
int cadre__llama_file_measure(const struct gguf_context *gguf, const char *path, uint64_t file_bytes, uint64_t *total, char *detail, size_t detail_size);

/* Blocks. Reads the header and checks that all tensors lie within the file; pooling and attention are the options' where they say so. CADRE_EFORMAT with a
 * detail that names the path. */
int cadre__llama_file_read(const cadre__llama_options *options, cadre__llama_facts *out, char *detail, size_t detail_size);

/* Pooling and attention become the options' where they say so: of a worker around shared weights, too. */
void cadre__llama_facts_override(cadre__llama_facts *facts, const cadre__llama_options *options);

/* The path of part `index` of a file that is named `path` and has `parts` parts. CADRE_EFORMAT: it is not named as the first of them, or too long. */
int cadre__llama_part_path(const char *path, int32_t parts, int32_t index, char *out, size_t size);

/* How many tokens one request may use: what the host asked for, or the model's own up to CADRE__LLAMA_CONTEXT_DEFAULT. CADRE_EINVAL with a detail. */
int cadre__llama_context_length(const cadre__llama_facts *facts, const cadre__llama_options *options, int32_t *out, char *detail, size_t detail_size);

/* Whether the file and the options together make a model of this capability; *context_length as above. CADRE_ECAPABILITY or CADRE_EINVAL with a detail. */
int cadre__llama_check(const cadre__llama_facts *facts, const cadre__llama_options *options, cadre_capability capability, int32_t *context_length, char *detail,
                       size_t detail_size);

/* ---- words.c ---- */

/* The array of texts with this id has none of them twice. CADRE_EFORMAT with a detail that names the path; CADRE_ENOMEM. */
int cadre__llama_words_check(const struct gguf_context *gguf, int64_t id, const char *path, char *detail, size_t detail_size);

/* ---- weights.c ---- */

struct cadre__llama_weights {
    struct llama_model *model;
    const struct llama_vocab *vocab;
    int32_t token_count;   /* of the vocabulary */
    int32_t longest_piece; /* bytes of the longest token's text */
    int32_t run_rule;      /* cadre__run_rule */
    cadre__llama_facts facts;
};

/* Loader thread. A `capability` other than -1 is checked before the tensors are read. */
int cadre__llama_weights_load(cadre_load_context *context, const cadre__llama_options *options, int capability, cadre__llama_weights **out);
void cadre__llama_weights_destroy(void *weights);

/* ---- estimate.c ---- */

/* What a worker takes besides the weights, by what the file says. */
uint64_t cadre__llama_context_bytes(const cadre__llama_facts *facts, const cadre__llama_options *options, int32_t context_length);
/* The same for a worker with a vision tower, whose weights it has for itself. */
uint64_t cadre__llama_worker_bytes(const cadre__llama_facts *facts, const cadre__llama_mmproj *mmproj, const cadre__llama_options *options,
                                   int32_t context_length);
/* After a context was made on this thread: what it took of the host's memory, with weights of its own if it has them. 0: not known (gpu_layers). */
uint64_t cadre__llama_measured(const cadre__llama_weights *weights, bool owned, const cadre__llama_options *options, int32_t context_length);

/* ---- tokens.c ---- */

struct cadre__llama_tokens {
    llama_token *at;
    int32_t count;
    int32_t capacity;
};

/* Any thread. CADRE_EINPUT: not UTF-8; CADRE_ETOOLONG: of so many bytes it cannot have as few as `limit` tokens. */
int cadre__llama_text_check(const cadre__llama_weights *weights, cadre_op *op, const char *text, size_t length, int32_t limit);
/* Any thread. CADRE_EINPUT: so many characters of one kind in a row that the engine would run out of stack. Of UTF-8. */
int cadre__llama_runs_check(const cadre__llama_weights *weights, cadre_op *op, const char *text, size_t length);
/* Any thread. Fails with CADRE_ETOOLONG before reading a text that cannot have as few as `limit` tokens, unless `truncate`: then so much of the text is read
 * that at least `limit` tokens come out. CADRE_EINPUT: not UTF-8, or as cadre__llama_runs_check; CADRE_ENOMEM. */
int cadre__llama_tokenize(const cadre__llama_weights *weights, cadre_op *op, const char *text, int32_t limit, bool special, bool truncate,
                          cadre__llama_tokens *out);
void cadre__llama_tokens_clear(cadre__llama_tokens *tokens);

/* ---- prompt.c ---- */

/* 1: the template can be applied by the engine. */
int cadre__llama_template_known(const char *chat_template);

/* The prompt's text: with `chat_template` the chat in its form, else the text as it is. *owned is freed by the caller, and NULL where *out is the input's own.
 */
int cadre__llama_prompt(cadre_op *op, const char *chat_template, const cadre_generation_input *input, const char **out, char **owned);

/* ---- text.c ---- */

/* Turns the pieces of tokens into whole code points, and holds back what may be the beginning of a stop string. */
typedef struct cadre__llama_text {
    const char *const *stop; /* the input's, alive until `end` */
    size_t stop_count;
    char *held; /* valid UTF-8, not emitted yet */
    size_t length;
    size_t capacity;
    unsigned char partial[4]; /* of a code point that is not complete yet */
    size_t partial_length;
} cadre__llama_text;

bool cadre__llama_utf8_valid(const char *text, size_t length);
/* How many bytes of it a detail shows: at most so many, and no part of a code point. For "%.*s". */
int cadre__llama_text_cut(const char *text, int most);
void cadre__llama_text_start(cadre__llama_text *text, const char *const *stop, size_t stop_count);
/* Emits what can be emitted. 0; 1: a stop string came, everything before it has been emitted; or emit's error, CADRE_ENOMEM. */
int cadre__llama_text_push(cadre__llama_text *text, cadre_op *op, const char *bytes, size_t length);
/* Emits the rest: the answer is over. A code point that is not complete is dropped if the answer was `cut` there, else it becomes U+FFFD. As above. */
int cadre__llama_text_finish(cadre__llama_text *text, cadre_op *op, bool cut);
void cadre__llama_text_clear(cadre__llama_text *text);

/* ---- sampler.c ---- */

typedef struct cadre__llama_sampler {
    const struct llama_vocab *vocab;
    struct llama_sampler *chain;   /* NULL: the likeliest token */
    struct llama_sampler *grammar; /* NULL: none */
} cadre__llama_sampler;

/* `prompt` are the tokens that the penalties begin with. CADRE_EINPUT: the grammar; CADRE_EENGINE. On failure nothing is left to clear. */
int cadre__llama_sampler_start(cadre__llama_sampler *sampler, const cadre__llama_weights *weights, cadre_op *op, const cadre_sampling *sampling,
                               const cadre__llama_tokens *prompt);
/* The next token, accepted; negative: no token is possible. `logits` may be changed; `scratch` has room for the vocabulary. */
llama_token cadre__llama_sampler_next(cadre__llama_sampler *sampler, float *logits, llama_token_data *scratch, int32_t token_count);
void cadre__llama_sampler_clear(cadre__llama_sampler *sampler);

/* ---- context.c ---- */

/* Worker thread: the engine's compute threads are made by its first decode, from the thread that decodes. */
/* pace.c: one worker's experience with threads, for batches of about one size. */
typedef struct cadre__llama_lane {
    int32_t share;  /* which this is about */
    double cost[2]; /* ns per token with one thread, with the share; 0: not known */
    bool single;    /* one thread is better */
    bool trying;    /* the other way, this once */
    uint32_t left;  /* decodes until the next try */
    uint32_t interval;
} cadre__llama_lane;

typedef struct cadre__llama_pace {
    cadre__llama_lane lanes[5];
} cadre__llama_pace;

int32_t cadre__llama_pace_choose(cadre__llama_pace *pace, int32_t tokens, int32_t share);
void cadre__llama_pace_note(cadre__llama_pace *pace, int32_t tokens, int32_t threads, uint64_t nanoseconds);

struct cadre__llama_context {
    struct llama_context *engine;
    struct llama_batch batch; /* room for batch_tokens */
    int32_t batch_tokens;
    cadre__llama_pace pace;
    struct ggml_threadpool *threads; /* the engine's, kept between decodes; NULL until more than one is wanted */
    int32_t thread_count;            /* of those */
    bool threads_attached;           /* the engine uses them */
    cadre_op *const *watched;        /* whose cancel stops the decode that runs */
    size_t watched_count;
    uint32_t asked; /* how often the engine asked whether to stop */
};

/* A decode gives a sign of life every few graph nodes. One node of the largest models with a whole batch takes seconds on a slow machine. */
#define CADRE__LLAMA_HEARTBEAT_MS 60000

/* Any thread but the loop's; it takes a while. An error writes a detail. */
int cadre__llama_context_create(cadre__llama_context *context, const cadre__llama_weights *weights, struct llama_context_params params, char *detail,
                                size_t detail_size);
void cadre__llama_context_clear(cadre__llama_context *context);
void cadre__llama_context_add(cadre__llama_context *context, llama_token token, llama_pos position, llama_seq_id sequence, bool output);
/* Decodes what was added. 0; CADRE_ECANCELED: all ops were cancelled, the decode was stopped; CADRE_EENGINE with each op's detail. After either the caller
 * repairs the engine's memory. */
int cadre__llama_context_run(cadre__llama_context *context, cadre_op *const *ops, size_t op_count, int32_t threads);
/* The same with a batch of the caller's. */
int cadre__llama_context_decode(cadre__llama_context *context, struct llama_batch batch, cadre_op *const *ops, size_t op_count, int32_t threads);

/* ---- loader.c ---- */

/* Loader thread: weights that any number of workers share. `capability` as for cadre__llama_weights_load. */
int cadre__llama_share_weights(cadre_load_context *context, const cadre__llama_options *options, int capability, cadre_weights_value *out);
/* A model around shared weights (does not block) or, where `shared` is NULL, around its own copy (loader thread). Takes over *options on success. */
int cadre__llama_text_around(cadre_load_context *context, cadre_weights *shared, cadre__llama_options **options, cadre_text_to_text_model *out);
int cadre__llama_vision_around(cadre_load_context *context, cadre_weights *shared, cadre__llama_options **options, cadre_vision_model *out);
int cadre__llama_embedding_around(cadre_load_context *context, cadre_weights *shared, cadre__llama_options **options, cadre_text_embedding_model *out);

/* ---- generate.c, embed.c ---- */

/* Makes a model around weights; with `owned` they are destroyed with it, on failure too. Takes over *options on success. Any thread. `capability`: text-to-text
 * or vision. */
int cadre__llama_generator_create(cadre_load_context *context, cadre__llama_weights *weights, bool owned, cadre_capability capability,
                                  cadre__llama_options **options, cadre_generation_model *out);
int cadre__llama_embedder_create(cadre_load_context *context, cadre__llama_weights *weights, bool owned, cadre__llama_options **options,
                                 cadre_text_embedding_model *out);

#endif
