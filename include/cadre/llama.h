/* The llama.cpp backend (libcadre-llama): GGUF files for text-to-text, text embedding and, with libmtmd, vision.
 *
 * The registry knows it as "llama", and an entry's "options" are the fields of cadre_llama_options: {"path": "smollm2.gguf", "slots": 4}. It is found as the
 * module cadre-llama.so; a host that links libcadre-llama may register it instead. A host without a registry makes a typed loader from a path and options and
 * passes it to a spawn function:
 *
 *     cadre_backend_register(pool, cadre_llama_backend());    or
 *
 *     cadre_llama_options options = CADRE_LLAMA_OPTIONS_INIT;
 *     options.path = "SmolLM2-135M-Instruct.Q4_1.gguf";
 *     cadre_text_to_text_loader loader;
 *     if (cadre_llama_text_to_text(&options, &loader) == 0)
 *         cadre_spawn_text_to_text(pool, "smollm2", &loader, NULL, NULL, on_ready, NULL, NULL);
 *
 * Vision takes two files: the language model (`path`) and the vision tower with its projector (`mmproj`). A query's pictures come before its text, in their
 * order, or where the text has the marker "<__media__>", once for each picture. The query is put into the model's chat template; where the model has none, or
 * one that llama.cpp does not recognise, the query is the whole prompt, and the host writes the roles into it. Encoding a picture stops when its request is
 * cancelled. One picture is encoded at a time in a worker; its other requests go on between two pictures.
 *
 * Answers are the model's tokens as they are: they may begin with a space, as the tokens of many models do.
 *
 * Text embedding knows tasks by prompts, {"prompts": {"query": "search_query: "}}: the text of the prompt that a request's `task` names is put before each of
 * its texts, and nothing without a task. A task that is not among them is CADRE_EINPUT, and CADRE_ENOTSUP where there are no prompts.
 *
 * Each loader reads its own copy of the weights on a loader thread. To let several workers share one copy, load the weights once and make shared loaders from
 * them. Embeddings are pooled as the file or `pooling` says (mean, CLS, last) and L2-normalised. Loads report progress and can be cancelled; a cancelled
 * request stops a running decode, and one that runs gives signs of life between its graph nodes: after 60 s without any the worker counts as hung. With
 * gpu_layers the memory of loads is not measured, and what an entry needs is said to be the host's: its own "memory" says better. Bad files, unknown
 * architectures and over-long prompts are errors with a text, never an abort. So is a text with more than 8,192 letters, digits, spaces or signs in a row
 * (CADRE_EINPUT) for a byte-level BPE tokenizer whose words llama.cpp finds by std::regex, which would take more stack than there is: tekken's, GPT-4o's,
 * DeepSeek's and others'; those of Llama 3, Qwen 2 and 3, Phi-4, Kimi K2, GPT-2 and SmolLM take any. */
#ifndef CADRE_LLAMA_H
#define CADRE_LLAMA_H

#include <cadre.h>

CADRE_BEGIN

typedef struct cadre_llama_options {
    size_t size;
    const char *path;       /* a GGUF file; copied */
    int32_t context_length; /* tokens one request may use in all; default: the model's own, at most 4,096; more than the model was trained for is CADRE_EINVAL
                               at load */
    int32_t slots;          /* text-to-text and vision: requests one worker runs together, 1 … 64; default 4. Text embedding: texts per batch; default 32 */
    int32_t batch_tokens;   /* tokens one step may process, ≥ 32; default 512 (text embedding: at least one whole text) */
    int32_t threads;        /* fixed number; default: what cadre_op_threads() says at each step */
    int32_t gpu_layers;     /* layers to put on a GPU; default 0 */
    int32_t use_mmap;       /* 1: map the file (default); 0: read it into memory */
    const char *chat_template; /* instead of the model's own: a name or a Jinja text that llama.cpp recognises; NULL: the model's own; copied */
    const char *engine_path;   /* folder of llama.cpp's CPU modules; NULL: beside the engine's library; copied; the first load of the process decides */
    const char *mmproj; /* vision: a GGUF file with the vision tower and its projector; copied; each worker has its own copy of it. NULL for the others */
    const cadre_named_text *prompts; /* text embedding: what is put before a text whose request names a task of this name; copied. Names unique, none empty */
    size_t prompt_count;             /* 0 … 1,024; 0 for the others */
    const char *pooling; /* text embedding: "mean", "cls" or "last", where the file says none or another than its model card; NULL: as the file says (a shared
                            loader: as its weights). CADRE_EINVAL for the others */
    int32_t causal;      /* text embedding: 0: every token sees all of the text, as gte-Qwen2 and others want it whose files do not say so; 1: only what comes
                            before it; default: as the file says (a shared loader: as its weights). Without a meaning for encoders, whose tokens always see all.
                            CADRE_EINVAL for the others */
} cadre_llama_options;
#define CADRE_LLAMA_OPTIONS_INIT                                                                                                                               \
    {                                                                                                                                                          \
        sizeof(cadre_llama_options), NULL, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT, NULL, NULL, NULL, NULL,   \
            0, NULL, CADRE_DEFAULT                                                                                                                             \
    }

/* Any thread; static storage. The backend for cadre_backend_register: text-to-text, text embedding and vision, weights shared by an entry's workers. Loader
 * kind "async" reads the file (all parts of a split one) once through libuv before the load, which then finds it in memory. Errors of an entry: CADRE_EFORMAT,
 * CADRE_ECAPABILITY, CADRE_EINVAL, with a detail that names the file or the option. */
CADRE_EXTERN const cadre_backend *cadre_llama_backend(void);

/* Any thread. Make a loader that serves one spawn (spawn consumes it, also when it fails; a loader that is not spawned is given back by its release(data)).
 * CADRE_EINVAL: a NULL, a wrong size, or an option out of range; CADRE_ENOMEM. What is wrong with the file is told by the load. */
CADRE_EXTERN int cadre_llama_text_to_text(const cadre_llama_options *options, cadre_text_to_text_loader *out);
CADRE_EXTERN int cadre_llama_text_embedding(const cadre_llama_options *options, cadre_text_embedding_loader *out);
CADRE_EXTERN int cadre_llama_vision(const cadre_llama_options *options, cadre_vision_loader *out);

/* Loop thread. Loads the weights once, on a loader thread, for any number of shared loaders. `owned` (may be NULL) is consumed and pays for the weights.
 * CADRE_EINVAL, CADRE_ENOMEM, CADRE_ECLOSED. */
CADRE_EXTERN int cadre_llama_weights(cadre_pool *pool, const cadre_llama_options *options, cadre_reservation *owned, cadre_weights_future **out);

/* Loop thread. As above, but the worker only makes its own context around the shared weights (which it keeps alive). `weights` may still be pending; the loader
 * takes a reference of its own, until its release. options->path is not used (mmproj is); pooling and causal are each worker's own, where it says them. Weights
 * that cadre_llama_weights did not make fail the load with CADRE_EINVAL. */
CADRE_EXTERN int cadre_llama_text_to_text_shared(cadre_weights_future *weights, const cadre_llama_options *options, cadre_text_to_text_loader *out);
CADRE_EXTERN int cadre_llama_text_embedding_shared(cadre_weights_future *weights, const cadre_llama_options *options, cadre_text_embedding_loader *out);
CADRE_EXTERN int cadre_llama_vision_shared(cadre_weights_future *weights, const cadre_llama_options *options, cadre_vision_loader *out);

/* In the form that NAME_load_blocking and NAME_load_shared take, for loaders of the host's own: `data` is a const cadre_llama_options *, which stays valid
 * until the load is over. Without a source the file is read (loader thread, blocks); with one from cadre_llama_weights the model is made around it (does not
 * block). An asynchronous loader fetches first, and calls this from the function it chains. Errors as the loaders. */
CADRE_EXTERN int cadre_llama_text_to_text_make(cadre_load_context *context, cadre_weights *source, void *data, cadre_text_to_text_model *out);
CADRE_EXTERN int cadre_llama_text_embedding_make(cadre_load_context *context, cadre_weights *source, void *data, cadre_text_embedding_model *out);
CADRE_EXTERN int cadre_llama_vision_make(cadre_load_context *context, cadre_weights *source, void *data, cadre_vision_model *out);

/* Any thread; reads the file's header, so it blocks: not for the loop. The bytes that the weights and one worker's context need. CADRE_EFORMAT, CADRE_EINVAL,
 * CADRE_ENOMEM; CADRE_ENOTSUP: an mmproj in a build without vision. */
CADRE_EXTERN int cadre_llama_estimate(const cadre_llama_options *options, uint64_t *weights_bytes, uint64_t *context_bytes);

CADRE_END
#endif
