/* What the files of this backend share.
 *
 * weights   one session of the engine with what is known of its file, and the vocabulary of a text model: constant once loaded, so that any number of workers
 *           on any threads run it at once
 * model     a worker's buffers and run options around weights: text.c, image.c
 * entry     a model of the registry: its options and its file's facts
 *
 * The engine is C++ behind a C interface that turns exceptions into statuses; what it would do that no status tells (reading data outside of the model's
 * folder, allocating what a wrong shape asks for) is checked before the call. */
#ifndef CADRE_ONNX_BACKEND_H
#define CADRE_ONNX_BACKEND_H

#include <stdbool.h>

#include <cadre/onnx.h>
#include <onnxruntime_c_api.h>

/* ---- engine.c ---- */

/* Any thread but the loop's, the first time: it makes the environment, which stays as long as the process. NULL with a detail, and
 * _error tells whether memory was short. */
const OrtApi *cadre__onnx_engine_start(char *detail, size_t detail_size);
OrtEnv *cadre__onnx_engine_env(void);
/* Consumes a status of the engine: its message becomes *said (cut at `size`), behind the first error logged on this thread if that says more. False: no error.
 */
bool cadre__onnx_engine_failed(OrtStatus *status, char *said, size_t size);
/* Right after a true answer: CADRE_ENOMEM where the machine's memory was short now, which another time may not be; else `otherwise`. */
int cadre__onnx_engine_error(int otherwise);
/* Before a call whose failure is to be explained. */
void cadre__onnx_engine_forget(void);

/* ---- memory.c ---- */

/* The allocator that sessions use instead of the engine's arena. NULL: out of memory. */
OrtAllocator *cadre__onnx_memory_allocator(const OrtApi *api);
const OrtMemoryInfo *cadre__onnx_memory_info(void);
/* What this thread holds by it more than it gave back, and the most since _mark. */
void cadre__onnx_memory_mark(void);
uint64_t cadre__onnx_memory_peak(void);
uint64_t cadre__onnx_memory_held(void);
/* Whether this thread asked for one piece larger than the machine's memory since _forget: what no retry helps. */
void cadre__onnx_memory_forget(void);
bool cadre__onnx_memory_absurd(void);
/* Any thread. Gives back what is kept for later batches. */
void cadre__onnx_memory_trim(void);

/* ---- options.c ---- */

typedef enum cadre__onnx_pooling { CADRE__ONNX_MEAN, CADRE__ONNX_FIRST, CADRE__ONNX_LAST } cadre__onnx_pooling;

typedef struct cadre__onnx_prompt {
    char *name, *text;
} cadre__onnx_prompt;

typedef struct cadre__onnx_options {
    char *path;
    char *vocabulary; /* NULL: beside the file */
    cadre__onnx_prompt *prompts;
    size_t prompt_count;
    int32_t threads; /* CADRE_DEFAULT: the cores of the process */
    int32_t max_batch;
    int32_t context_length;
    double text_bytes; /* infinite: no limit */
    bool truncate;
    bool lower_case;
    cadre__onnx_pooling pooling; /* of an output per token */
    bool normalize;
    int32_t image_size; /* 0: the file says */
    float image_mean[3];
    float image_deviation[3];
} cadre__onnx_options;

#define CADRE__ONNX_THREADS_MAX 512
#define CADRE__ONNX_BATCH_MAX 1024
#define CADRE__ONNX_CONTEXT_MIN 3
#define CADRE__ONNX_CONTEXT_MAX (1 << 20)
#define CADRE__ONNX_IMAGE_MAX 4096
#define CADRE__ONNX_PROMPTS_MAX 256
#define CADRE__ONNX_TEXT_BYTES_MIN (INT64_C(1) << 20)
#define CADRE__ONNX_TEXT_BYTES_MAX (INT64_C(1) << 50)

int cadre__onnx_options_create(const cadre_onnx_options *from, bool path_needed, cadre__onnx_options **out);
int cadre__onnx_options_copy(const cadre__onnx_options *from, cadre__onnx_options **out);
void cadre__onnx_options_destroy(cadre__onnx_options *options);
/* Whether each prompt is there and has a name of its own. */
bool cadre__onnx_prompts_sound(const cadre_onnx_options *options);

/* ---- proto.c: an ONNX file before the engine sees it ---- */

#define CADRE__ONNX_INPUTS_MAX 16
#define CADRE__ONNX_OUTPUTS_MAX 64
#define CADRE__ONNX_RANK_MAX 8
#define CADRE__ONNX_DETAIL 480

typedef struct cadre__onnx_value {
    char name[128];
    int32_t type; /* ONNXTensorElementDataType; 0: no tensor, or not said */
    int32_t rank; /* negative: not said */
    int64_t dims[CADRE__ONNX_RANK_MAX];
    bool initialized; /* it has a default */
} cadre__onnx_value;  /* dims: negative where free */

typedef struct cadre__onnx_signature {
    cadre__onnx_value inputs[CADRE__ONNX_INPUTS_MAX];
    cadre__onnx_value outputs[CADRE__ONNX_OUTPUTS_MAX];
    size_t input_count, output_count; /* what is beyond the room is not counted */
    bool more_inputs;
} cadre__onnx_signature;

typedef struct cadre__onnx_facts {
    uint64_t file_bytes;     /* of the ONNX file, */
    uint64_t external_bytes; /* and of the data beside it that it uses */
    uint32_t width;          /* the widest of the hidden layers, as the matrices show; 0 unknown */
    uint32_t patch;          /* of a convolution over three channels; 0: there is none */
    cadre__onnx_signature signature;
} cadre__onnx_facts;

/* Called for each distinct file of external data, with its path. */
typedef int (*cadre__onnx_external_cb)(void *data, const char *path, uint64_t bytes);

/* Blocks. CADRE_EFORMAT with a detail that names the path: not a file, not ONNX, cut short, or data beside it that is missing, too short or elsewhere.
 * `external` may be NULL. */
int cadre__onnx_file_read(const char *path, cadre__onnx_facts *out, cadre__onnx_external_cb external, void *data, char *detail, size_t detail_size);
/* ---- path.c ---- */

/* The path of `name` in the folder of `path`; false: too long. */
bool cadre__onnx_beside(const char *path, const char *name, char *out, size_t size);
/* Whether external data lies below the model's folder, by the text of its location: no root, no "..", no drive, and no '*', by which the engine marks a
 * location that is an address in memory. */
bool cadre__onnx_inside(const char *location);
/* The length of a regular file that may be read; CADRE_EFORMAT with a detail. */
int cadre__onnx_file_length(const char *path, uint64_t *bytes, char *detail, size_t detail_size);

/* ---- plan.c: how a file's inputs and outputs are used ---- */

typedef struct cadre__onnx_plan {
    cadre_capability capability;
    int32_t ids, mask, types, pool; /* text: indices of the inputs; types, pool: negative where there is none */
    int32_t pixels;                 /* image: likewise */
    int32_t output;                 /* negative: not known before the engine has looked */
    bool per_token;                 /* the output has a vector for each token */
    int32_t dimension;              /* 0: not said */
    int32_t image_size;
} cadre__onnx_plan;

/* capability -1: text if there are input_ids, else image. CADRE_ECAPABILITY or CADRE_EINVAL with a detail that says what was expected and what was found. With
 * `certain`, as of a session, everything must be said. */
int cadre__onnx_plan_make(const cadre__onnx_signature *signature, int capability, const cadre__onnx_options *options, bool certain, cadre__onnx_plan *out,
                          char *detail, size_t detail_size);

/* ---- estimate.c ---- */

/* A text batch runs in parts of at most so many tokens, padding counted, or one text; a picture batch of so many bytes, the pixels counted, or
 * one picture. */
#define CADRE__ONNX_PART_TOKENS 2048
#define CADRE__ONNX_PART_BYTES (UINT64_C(256) << 20)

/* What one Run takes besides the weights, in bytes: of a text of n tokens  n × (token + pair × n);  of a picture  picture. */
typedef struct cadre__onnx_cost {
    double token, pair;
    double picture;
} cadre__onnx_cost;

/* From what a file says, on the safe side. */
void cadre__onnx_cost_guess(const cadre__onnx_facts *facts, const cadre__onnx_plan *plan, cadre__onnx_cost *out);
/* UINT64_MAX where it does not fit. */
uint64_t cadre__onnx_sum(uint64_t a, uint64_t b);
uint64_t cadre__onnx_weights_guess(const cadre__onnx_facts *facts);
/* The most tokens that a text may have: context_length, or as many as text_bytes are enough for. */
int32_t cadre__onnx_longest(const cadre__onnx_cost *cost, const cadre__onnx_options *options);
/* What a worker takes at most. */
uint64_t cadre__onnx_worker_bytes(const cadre__onnx_cost *cost, const cadre__onnx_plan *plan, const cadre__onnx_options *options);
/* Pictures in one Run. */
int32_t cadre__onnx_pictures(const cadre__onnx_cost *cost, const cadre__onnx_plan *plan, const cadre__onnx_options *options);

/* ---- vocabulary.c ---- */

typedef struct cadre__onnx_vocabulary cadre__onnx_vocabulary;

/* Blocks. CADRE_EFORMAT with a detail: not readable, or without one of [PAD] [UNK] [CLS] [SEP]; CADRE_ENOMEM. */
int cadre__onnx_vocabulary_read(const char *path, cadre__onnx_vocabulary **out, char *detail, size_t detail_size);
void cadre__onnx_vocabulary_destroy(cadre__onnx_vocabulary *vocabulary);
size_t cadre__onnx_vocabulary_bytes(const cadre__onnx_vocabulary *vocabulary);
int32_t cadre__onnx_vocabulary_size(const cadre__onnx_vocabulary *vocabulary);
/* The number of a piece; `inside`: one that continues a word ("##" before it in the file). Negative: none. */
int32_t cadre__onnx_vocabulary_find(const cadre__onnx_vocabulary *vocabulary, const char *piece, size_t length, bool inside);
size_t cadre__onnx_vocabulary_longest(const cadre__onnx_vocabulary *vocabulary); /* bytes of a piece */

typedef struct cadre__onnx_specials {
    int32_t pad, unknown, first, last; /* [PAD] [UNK] [CLS] [SEP] */
} cadre__onnx_specials;
const cadre__onnx_specials *cadre__onnx_vocabulary_specials(const cadre__onnx_vocabulary *vocabulary);

/* ---- wordpiece.c ---- */

typedef struct cadre__onnx_tokens {
    int32_t *at;
    size_t count, capacity;
} cadre__onnx_tokens;

/* Any thread. Appends [CLS], the text's tokens and [SEP], at most `limit` in all, [SEP] being the last always. Returns how many there are without the limit;
 * with `stop`, which must not be NULL where the text may be long, it ends early (CADRE_ECANCELED) when that returns true, and with `cut` as soon as the limit
 * is reached. CADRE_EINPUT: not UTF-8; CADRE_ENOMEM. */
int64_t cadre__onnx_wordpiece(const cadre__onnx_vocabulary *vocabulary, const char *text, bool lower_case, size_t limit, bool cut, bool (*stop)(void *data),
                              void *data, cadre__onnx_tokens *out);
void cadre__onnx_tokens_clear(cadre__onnx_tokens *tokens);

/* ---- gguf.c: the tokenizer of a GGUF file, by llama.cpp itself; where that is not built, such a file is CADRE_ENOTSUP ---- */

typedef struct cadre__onnx_gguf cadre__onnx_gguf;

/* Blocks. Looks at the header alone: CADRE_EFORMAT with a detail for what llama.cpp does not take, above all for what it would end the process at. */
int cadre__onnx_gguf_look(const char *path, uint64_t *bytes, char *detail, size_t detail_size);
/* Blocks. */
int cadre__onnx_gguf_read(const char *path, cadre__onnx_gguf **out, char *detail, size_t detail_size);
void cadre__onnx_gguf_destroy(cadre__onnx_gguf *gguf);
int32_t cadre__onnx_gguf_size(const cadre__onnx_gguf *gguf);
/* Any thread. As cadre__onnx_wordpiece, with the special tokens that the file's keys say, and never none: an empty text that gets no token is the end-of-text
 * token. What is returned may be less than there are, where that is more than `limit`. */
int64_t cadre__onnx_gguf_tokenize(const cadre__onnx_gguf *gguf, const char *text, size_t limit, bool cut, cadre__onnx_tokens *out);
/* The text's tokens without special ones; CADRE_EINPUT, CADRE_ENOMEM. */
int64_t cadre__onnx_gguf_count(const cadre__onnx_gguf *gguf, const char *text);

/* ---- tokenizer.c: of either kind ---- */

typedef struct cadre__onnx_tokenizer cadre__onnx_tokenizer;

/* Blocks. A GGUF file by its first bytes, else WordPiece's vocab.txt. Where `out` is NULL it only looks, as `open` does. CADRE_EFORMAT or CADRE_ENOTSUP with a
 * detail; CADRE_ENOMEM. *bytes: the memory that it takes. */
int cadre__onnx_tokenizer_read(const char *path, cadre__onnx_tokenizer **out, uint64_t *bytes, char *detail, size_t detail_size);
void cadre__onnx_tokenizer_destroy(cadre__onnx_tokenizer *tokenizer);
int32_t cadre__onnx_tokenizer_size(const cadre__onnx_tokenizer *tokenizer);
int32_t cadre__onnx_tokenizer_pad(const cadre__onnx_tokenizer *tokenizer);
/* As cadre__onnx_wordpiece. */
int64_t cadre__onnx_tokenize(const cadre__onnx_tokenizer *tokenizer, const char *text, bool lower_case, size_t limit, bool cut, bool (*stop)(void *data),
                             void *data, cadre__onnx_tokens *out);
/* The text's tokens without special ones; CADRE_EINPUT, CADRE_ENOMEM. */
int64_t cadre__onnx_tokenizer_count(const cadre__onnx_tokenizer *tokenizer, const char *text, bool lower_case);

/* ---- threads.c: the engine's threads, started by a worker ---- */

typedef struct cadre__onnx_threads cadre__onnx_threads;

int cadre__onnx_threads_create(cadre__onnx_threads **out);
OrtStatus *cadre__onnx_threads_use(cadre__onnx_threads *threads, const OrtApi *api, OrtSessionOptions *options);
/* Worker thread: starts those that have not been. CADRE_ETHREAD. */
int cadre__onnx_threads_start(cadre__onnx_threads *threads);
/* After the session is gone. */
void cadre__onnx_threads_destroy(cadre__onnx_threads *threads);

/* ---- watch.c: who looks at cancels while the engine works ---- */

typedef struct cadre__onnx_watch cadre__onnx_watch;

typedef struct cadre__onnx_watched {
    struct cadre__onnx_watched *next;
    cadre_op *const *ops;
    size_t count;
    const cadre_load_context *load; /* instead of ops: a Run within a load */
    OrtRunOptions *run;
    bool fired;
} cadre__onnx_watched;

int cadre__onnx_watch_create(const OrtApi *api, cadre__onnx_watch **out);
void cadre__onnx_watch_destroy(cadre__onnx_watch *watch);
/* Loader thread, around the making of a session. */
void cadre__onnx_watch_load(cadre__onnx_watch *watch, cadre_load_context *context, OrtSessionOptions *options);
void cadre__onnx_watch_loaded(cadre__onnx_watch *watch);
/* Worker thread, around a Run: `watched` is the caller's; `fired` may be read after _end. */
void cadre__onnx_watch_begin(cadre__onnx_watch *watch, cadre__onnx_watched *watched);
void cadre__onnx_watch_end(cadre__onnx_watch *watch, cadre__onnx_watched *watched);

/* ---- weights.c ---- */

typedef struct cadre__onnx_weights {
    const OrtApi *api;
    OrtSession *session;
    cadre__onnx_signature *signature; /* as the session has it */
    cadre__onnx_plan plan;
    cadre__onnx_cost cost; /* measured */
    uint64_t bytes;        /* likewise: what the session and the tokenizer hold */
    int32_t thread_count;
    cadre__onnx_threads *threads;
    cadre__onnx_watch *watch;
    cadre__onnx_tokenizer *tokenizer; /* NULL: pictures */
} cadre__onnx_weights;

/* Loader thread. capability -1: what the file is for. */
int cadre__onnx_weights_load(cadre_load_context *context, const cadre__onnx_options *options, int capability, cadre__onnx_weights **out);
void cadre__onnx_weights_destroy(void *weights);

/* ---- run.c ---- */

/* One worker's way to run the session. */
typedef struct cadre__onnx_runner {
    const cadre__onnx_weights *weights;
    OrtRunOptions *options;
    const cadre_load_context *load; /* whose cancel stops a Run; NULL: that of the Run's ops */
} cadre__onnx_runner;

int cadre__onnx_runner_create(cadre__onnx_runner *runner, const cadre__onnx_weights *weights);
void cadre__onnx_runner_clear(cadre__onnx_runner *runner);

/* A text part is `rows` × `tokens` ids and mask, zeros for types, and pool, the mask without what does not count in the pooling; a picture part `rows`
 * pictures of floats. */
typedef struct cadre__onnx_part {
    size_t rows, tokens;
    int64_t *ids, *mask, *types, *pool;
    float *pixels;
} cadre__onnx_part;

/* Runs a part. 0: *values is the engine's output of `rows` (× tokens, where it is per token) × *dimension floats, alive until *result is released. Else
 * CADRE_ECANCELED: all ops were cancelled; CADRE_EENGINE or CADRE_ENOMEM with *detail. */
int cadre__onnx_run(cadre__onnx_runner *runner, const cadre__onnx_part *part, cadre_op *const *ops, size_t count, OrtValue **result, const float **values,
                    int32_t *dimension, char *detail, size_t detail_size);
/* A unit vector, or with `normalize` false a copy; false where the engine gave something that is no number. Zero stays zero. */
bool cadre__onnx_store(const float *from, float *to, int32_t dimension, bool normalize);

/* ---- loader.c ---- */

int cadre__onnx_share_weights(cadre_load_context *context, const cadre__onnx_options *options, int capability, cadre_weights_value *out);
/* A model around shared weights (does not block) or, where `shared` is NULL, around its own copy (loader thread). Takes over *options on success. */
int cadre__onnx_text_around(cadre_load_context *context, cadre_weights *shared, cadre__onnx_options **options, cadre_text_embedding_model *out);
int cadre__onnx_image_around(cadre_load_context *context, cadre_weights *shared, cadre__onnx_options **options, cadre_image_embedding_model *out);

/* ---- text.c, image.c ---- */

/* Makes a model around weights; with `owned` they are destroyed with it, on failure too. Takes over *options on success. Any thread. */
int cadre__onnx_text_create(cadre_load_context *context, cadre__onnx_weights *weights, bool owned, cadre__onnx_options **options,
                            cadre_text_embedding_model *out);
int cadre__onnx_image_create(cadre_load_context *context, cadre__onnx_weights *weights, bool owned, cadre__onnx_options **options,
                             cadre_image_embedding_model *out);

#endif
