/* The ONNX Runtime backend (libcadre-onnx): ONNX files for image embedding (CLIP vision towers) and text embedding (BERT and its relatives).
 *
 * The registry knows it as "onnx", and an entry's "options" are the fields of cadre_onnx_options: {"path": "clip-vision.onnx"}. It is found as the module
 * cadre-onnx.so; a host that links libcadre-onnx may register it instead (cadre_onnx_backend), or spawn from the typed loaders below.
 *
 * Which files fit
 *     image embedding   one float32 input [batch, 3, height, width] with the batch free, height = width fixed by the file (or options.image_size);
 *                       an output [batch, dimension], by name "image_embeds" if there is one of that name, else the first of that shape
 *     text embedding    int64 inputs [batch, tokens], both free, named input_ids and attention_mask, and token_type_ids and pool_mask or not; an output
 *                       [batch, dimension] ("sentence_embedding", or the first of that shape that is not "pooler_output", which is trained for another task),
 *                       else [batch, tokens, dimension] ("last_hidden_state"), which is pooled here
 * Vectors are L2-normalised unless options.normalize is 0. Pictures are resized so that the shorter side fits (bicubic with antialiasing), cropped at the
 * centre, scaled to 0…1, and normalised by CLIP's mean and deviation; bit for bit what transformers' CLIPImageProcessor gives on 8-bit RGB
 * pictures with Pillow up to 12.1 (later versions change the order of the two passes for tall pictures). Texts become tokens by BERT's WordPiece as the
 * tokenizers library makes them (BertNormalizer, BertPreTokenizer, WordPiece), [CLS] … [SEP]; the names of special tokens within a text are text.
 *
 * `vocabulary` may be a GGUF file instead, of a decoder's tokenizer (SentencePiece "llama" or byte-level BPE "gpt2"); any weights in it are left alone. Texts
 * then become tokens by llama.cpp, with the beginning and end tokens that the file's keys say; lower_case does nothing. It needs a cadre-onnx that was built
 * with the llama backend beside it; of another one such a file is CADRE_ENOTSUP. What cadre/llama.h says of long rows of characters of one kind holds here too.
 *
 * A request's task names one of `prompts`, whose text is put before each of the request's texts; without a task nothing is. A task that is none of them is
 * CADRE_EINPUT, or CADRE_ENOTSUP where the model has no prompts. The prompt's tokens count in the pooling like the others, unless the file has the input
 * pool_mask: that is 1 for each token which counts, and 0 for padding and for the first n, n being how many tokens the prompt alone has without special ones.
 * (So NV-Embed's own code counts. A beginning token is among the n, and the prompt's last token is not if it stays the same with the text behind it; a prompt
 * of SentencePiece that ends with a space has one token more alone, and then it is.)
 *
 * Weights are loaded once for an entry's workers, who all run the one session and share its threads; `threads` is fixed when it is loaded, and an operation is
 * admitted when so many cores are free. A load tries the model with the last of the vocabulary and as many tokens as context_length says (up to 2,048; a shared
 * loader's may be larger than that of the weights, and is not tried), which finds options that do not fit and measures what a batch takes. A cancelled load
 * stops within the engine; a running batch stops, within the engine too, when all of its requests are cancelled. There is no sign of life from within a batch,
 * so workers are never taken for hung (hang_timeout_ms is for those who know their batches). */
#ifndef CADRE_ONNX_H
#define CADRE_ONNX_H

#include <cadre.h>
#include <cadre/backend.h>

CADRE_BEGIN

typedef struct cadre_onnx_options {
    size_t size;
    const char *path;         /* an ONNX file; external data lies beside it; copied */
    const char *vocabulary;   /* text: WordPiece's vocab.txt, one token a line, or a GGUF file; NULL: "vocab.txt" in path's folder; copied */
    int32_t threads;          /* 1 … 512; default: the pool's cores */
    int32_t max_batch;        /* inputs per call of the engine, 1 … 1,024; default 32 */
    int32_t context_length;   /* text: tokens one text may have, [CLS] and [SEP] counted, 3 … 1,048,576; default 512. A longer text is CADRE_ETOOLONG */
    int32_t truncate;         /* text: 1: a longer text is cut to context_length instead; default 0 */
    int32_t lower_case;       /* text: 1: lower case and without accents, as "uncased" models want; default 1 */
    const char *pooling;      /* text, for an output per token: "mean" (of those that count; default), "cls" (the first) or "last"; copied */
    int32_t normalize;        /* 1: vectors of length 1 (default); 0: as the model gives them */
    int32_t image_size;       /* image, for a file that leaves height and width free: pixels a side, 1 … 4,096; no default */
    float image_mean[3];      /* image, R G B, on the scale 0…1; default CLIP's 0.48145466, 0.4578275, 0.40821073 */
    float image_deviation[3]; /* image, > 0; default CLIP's 0.26862954, 0.26130258, 0.27577711 */
    const cadre_named_text *prompts; /* text: what a request's task names, at most 256; names are unique and not empty; copied */
    size_t prompt_count;
    int64_t text_bytes; /* text: memory that one text may take while it runs, 1 MiB … 2⁵⁰: where context_length tokens would take more, by what the load
                           measures, a text may have so many fewer; default: no limit, and a worker is charged for a text of context_length */
} cadre_onnx_options;
#define CADRE_ONNX_OPTIONS_INIT                                                                                                                                \
    {                                                                                                                                                          \
        sizeof(cadre_onnx_options), NULL, NULL, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT, NULL, CADRE_DEFAULT, CADRE_DEFAULT, \
            {CADRE_DEFAULT_FLOAT, CADRE_DEFAULT_FLOAT, CADRE_DEFAULT_FLOAT}, {CADRE_DEFAULT_FLOAT, CADRE_DEFAULT_FLOAT, CADRE_DEFAULT_FLOAT}, NULL, 0,         \
            CADRE_DEFAULT                                                                                                                                      \
    }

/* Any thread; static storage. For cadre_backend_register. In a manifest the mean and deviation are six numbers: image_mean_r, …, image_deviation_b. Errors of
 * an entry: CADRE_EFORMAT, CADRE_ECAPABILITY, CADRE_EINVAL, with a detail that names the file or the option. */
CADRE_EXTERN const cadre_backend *cadre_onnx_backend(void);

/* Any thread. Make a loader that serves one spawn (consumed by it, also when it fails). CADRE_EINVAL: a NULL, a wrong size, or an option out of range;
 * CADRE_ENOMEM. What is wrong with the file is told by the load. */
CADRE_EXTERN int cadre_onnx_text_embedding(const cadre_onnx_options *options, cadre_text_embedding_loader *out);
CADRE_EXTERN int cadre_onnx_image_embedding(const cadre_onnx_options *options, cadre_image_embedding_loader *out);

/* Loop thread. Loads the weights once, on a loader thread, for any number of shared loaders. `owned` (may be NULL) is consumed and pays for the weights.
 * CADRE_EINVAL, CADRE_ENOMEM, CADRE_ECLOSED. */
CADRE_EXTERN int cadre_onnx_weights(cadre_pool *pool, const cadre_onnx_options *options, cadre_reservation *owned, cadre_weights_future **out);

/* Loop thread. Loaders around shared weights, which may still be pending; each takes a reference of its own, until its release. options->path, vocabulary,
 * threads and image_size are those of the weights. Weights that cadre_onnx_weights did not make fail the load with CADRE_EINVAL, those of the other capability
 * with CADRE_ECAPABILITY. */
CADRE_EXTERN int cadre_onnx_text_embedding_shared(cadre_weights_future *weights, const cadre_onnx_options *options, cadre_text_embedding_loader *out);
CADRE_EXTERN int cadre_onnx_image_embedding_shared(cadre_weights_future *weights, const cadre_onnx_options *options, cadre_image_embedding_loader *out);

CADRE_END
#endif
