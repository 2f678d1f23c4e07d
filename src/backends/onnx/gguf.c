/* The tokenizer of a GGUF file, by llama.cpp: its vocabulary is loaded without the weights.
 *
 * llama.cpp throws, asserts and aborts where a file is not what it expects, and an exception out of its C interface ends the process. So the header is looked
 * at first: a known kind of tokenizer, a list of texts each of which is there once, a token for every byte where the tokenizer falls back to bytes, and the
 * special tokens that are to be added. Texts are checked to be UTF-8.
 *
 * Threads: read on a loader thread, constant afterwards, and llama_tokenize may run on it on any threads at once. The engine's log is one for the process, and
 * the llama backend may listen to it too: what it says on a thread while that is in here is kept by the thread, all else goes on to whoever listened before.
 * Who listens later takes it over, and a failure is then told without the engine's own words. */
#include "backend.h"

#include "../runs.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef CADRE_ONNX_GGUF

#include <gguf.h>
#include <llama.h>
#include <pthread.h>
#include <utf8proc.h>

struct cadre__onnx_gguf {
    struct llama_model *model;
    const struct llama_vocab *vocab;
    size_t longest; /* bytes of a token */
    cadre__run_rule run_rule;
};

/* ---- the engine's log ---- */

static ggml_log_callback heard_before;
static void *heard_data;
static _Thread_local bool listening;
static _Thread_local char said[200];

/* The first error is the nearest to the cause. */
static void hear(enum ggml_log_level level, const char *text, void *data)
{
    (void)data;
    if (!listening) {
        if (heard_before) heard_before(level, text, heard_data);
        return;
    }
    if (level != GGML_LOG_LEVEL_ERROR || said[0]) return;
    snprintf(said, sizeof(said), "%s", text);
    said[strcspn(said, "\n")] = '\0';
}

static void listen_once(void)
{
    llama_log_get(&heard_before, &heard_data);
    llama_log_set(hear, NULL);
}

static void listen_begin(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, listen_once);
    said[0] = '\0';
    listening = true;
}

static void listen_end(void)
{
    listening = false;
}

/* ---- the header ---- */

typedef struct header {
    const struct gguf_context *gguf;
    const char *path;
    const char **words; /* in their order as texts */
    size_t count;
    uint64_t bytes; /* of all texts */
    char *detail;
    size_t detail_size;
} header;

static int wrong(const header *h, const char *format, ...) CADRE_PRINTF(2, 3);
static int wrong(const header *h, const char *format, ...)
{
    int length = snprintf(h->detail, h->detail_size, "%.200s: ", h->path);
    va_list arguments;
    va_start(arguments, format);
    if (length > 0 && (size_t)length < h->detail_size) vsnprintf(h->detail + length, h->detail_size - (size_t)length, format, arguments);
    va_end(arguments);
    return CADRE_EFORMAT;
}

/* Of a list of texts; negative: there is none. */
static int64_t find_texts(const header *h, const char *key)
{
    int64_t id = gguf_find_key(h->gguf, key);
    bool texts = id >= 0 && gguf_get_kv_type(h->gguf, id) == GGUF_TYPE_ARRAY && gguf_get_arr_type(h->gguf, id) == GGUF_TYPE_STRING;
    return texts ? id : -1;
}

static const char *find_text(const header *h, const char *key)
{
    int64_t id = gguf_find_key(h->gguf, key);
    return id >= 0 && gguf_get_kv_type(h->gguf, id) == GGUF_TYPE_STRING ? gguf_get_val_str(h->gguf, id) : "";
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool has_word(const header *h, const char *word)
{
    return bsearch(&word, h->words, h->count, sizeof(*h->words), by_text) != NULL;
}

/* A text's byte that forms no token with others must be one itself. */
static int check_bytes(const header *h)
{
    for (int byte = 1; byte < 256; byte++) {
        char hexadecimal[8], itself[2] = {(char)byte, '\0'};
        snprintf(hexadecimal, sizeof(hexadecimal), "<0x%02X>", byte);
        if (!has_word(h, hexadecimal) && !has_word(h, itself)) return wrong(h, "its vocabulary has no token for the byte %s", hexadecimal);
    }
    return CADRE_OK;
}

/* The engine counts its words by their texts, and gives empty ones names of its own. */
static int check_words(header *h)
{
    int64_t id = find_texts(h, "tokenizer.ggml.tokens");
    bool empty = false, named = false;
    h->count = id < 0 ? 0 : gguf_get_arr_n(h->gguf, id);
    if (h->count == 0) return wrong(h, "has no vocabulary");
    if (h->count > INT32_MAX / 4) return wrong(h, "its vocabulary has %zu words", h->count);
    h->words = calloc(h->count, sizeof(*h->words));
    if (!h->words) return CADRE_ENOMEM;
    for (size_t i = 0; i < h->count; i++) {
        h->words[i] = gguf_get_arr_str(h->gguf, id, i);
        h->bytes += strlen(h->words[i]);
        if (!h->words[i][0]) empty = true;
        if (strncmp(h->words[i], "[EMPTY_", 7) == 0) named = true;
    }
    qsort(h->words, h->count, sizeof(*h->words), by_text);
    for (size_t i = 1; i < h->count; i++)
        if (h->words[i][0] && strcmp(h->words[i], h->words[i - 1]) == 0) return wrong(h, "its vocabulary has the word \"%.64s\" twice", h->words[i]);
    return empty && named ? wrong(h, "its vocabulary has an empty word beside one that is called [EMPTY_…]") : CADRE_OK;
}

static int check(header *h)
{
    const char *kind = find_text(h, "tokenizer.ggml.model");
    bool pieces = strcmp(kind, "llama") == 0, pairs = strcmp(kind, "gpt2") == 0;
    if (!pieces && !pairs)
        return wrong(h, "its tokenizer is \"%.64s\"; it may be \"llama\" (SentencePiece) or \"gpt2\" (byte-level BPE); for WordPiece name a vocab.txt", kind);
    int64_t merges = find_texts(h, "tokenizer.ggml.merges");
    if (pairs && merges < 0) return wrong(h, "its tokenizer has no merges");
    /* Raw text instead of bytes that are written as letters: the engine aborts at two spaces in a row. */
    const char *pre = find_text(h, "tokenizer.ggml.pre");
    if (strcmp(pre, "whitespace") == 0 || strcmp(pre, "gemma4") == 0 || strcmp(pre, "sarvam-moe") == 0)
        return wrong(h, "its tokenizer cuts words as \"%s\" does, which is not supported here", pre);
    for (size_t i = 0; pairs && i < gguf_get_arr_n(h->gguf, merges); i++) h->bytes += strlen(gguf_get_arr_str(h->gguf, merges, i)) + 96;
    int rc = check_words(h);
    return rc == CADRE_OK && pieces ? check_bytes(h) : rc;
}

int cadre__onnx_gguf_look(const char *path, uint64_t *bytes, char *detail, size_t detail_size)
{
    header h = {.path = path, .detail = detail, .detail_size = detail_size};
    struct gguf_init_params params = {.no_alloc = true, .ctx = NULL};
    listen_begin();
    struct gguf_context *gguf = gguf_init_from_file(path, params);
    h.gguf = gguf;
    int rc = gguf ? check(&h) : wrong(&h, "is a damaged GGUF file: %s", said);
    *bytes = 3 * h.bytes + h.count * 192; /* each text is in two tables and in a cache of pieces */
    free(h.words);
    gguf_free(gguf);
    listen_end();
    return rc;
}

/* ---- the vocabulary ---- */

static bool lacks(bool added, llama_token token)
{
    return added && token == LLAMA_TOKEN_NULL;
}

static int load(const header *h, cadre__onnx_gguf *self)
{
    static ggml_backend_dev_t none[] = {NULL}; /* the engine's list of devices has no lock, and the llama backend may be filling it on another thread */
    struct llama_model_params params = llama_model_default_params();
    params.vocab_only = true;
    params.devices = none;
    self->model = llama_model_load_from_file(h->path, params);
    if (!self->model) return wrong(h, "llama.cpp does not take its vocabulary: %s", said[0] ? said : "it said nothing");
    self->vocab = llama_model_get_vocab(self->model);
    if (lacks(llama_vocab_get_add_bos(self->vocab), llama_vocab_bos(self->vocab)) ||
        lacks(llama_vocab_get_add_eos(self->vocab), llama_vocab_eos(self->vocab)) || lacks(llama_vocab_get_add_sep(self->vocab), llama_vocab_sep(self->vocab)))
        return wrong(h, "wants a special token added and does not say which");
    char pre[64] = "";
    if (llama_model_meta_val_str(self->model, "tokenizer.ggml.pre", pre, sizeof(pre)) < 0) pre[0] = '\0';
    self->run_rule = llama_vocab_type(self->vocab) == LLAMA_VOCAB_TYPE_BPE ? cadre__run_rule_of(pre) : CADRE__RUN_ANY;
    for (int32_t i = 0; i < llama_vocab_n_tokens(self->vocab); i++) {
        size_t length = strlen(llama_vocab_get_text(self->vocab, i));
        if (length > self->longest) self->longest = length;
    }
    return CADRE_OK;
}

int cadre__onnx_gguf_read(const char *path, cadre__onnx_gguf **out, char *detail, size_t detail_size)
{
    const header h = {.path = path, .detail = detail, .detail_size = detail_size};
    cadre__onnx_gguf *self = calloc(1, sizeof(*self));
    if (!self) return CADRE_ENOMEM;
    listen_begin();
    int rc = load(&h, self);
    listen_end();
    if (rc == CADRE_OK)
        *out = self;
    else
        cadre__onnx_gguf_destroy(self);
    return rc;
}

void cadre__onnx_gguf_destroy(cadre__onnx_gguf *self)
{
    if (!self) return;
    if (self->model) llama_model_free(self->model);
    free(self);
}

int32_t cadre__onnx_gguf_size(const cadre__onnx_gguf *self)
{
    return llama_vocab_n_tokens(self->vocab);
}

/* ---- texts ---- */

static bool is_utf8(const char *text, size_t size)
{
    utf8proc_int32_t c;
    utf8proc_ssize_t length = 1;
    for (size_t at = 0; at < size && length > 0; at += (size_t)(length > 0 ? length : 0))
        length = utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(size - at), &c);
    return length > 0;
}

static bool reserve(cadre__onnx_tokens *tokens, size_t more)
{
    if (more <= tokens->capacity - tokens->count) return true;
    size_t capacity = tokens->count + more;
    int32_t *grown = realloc(tokens->at, capacity * sizeof(*grown));
    if (!grown) return false;
    tokens->at = grown;
    tokens->capacity = capacity;
    return true;
}

/* Appends the tokens. INT32_MIN is the engine's word for too many to count. */
static int64_t append(const cadre__onnx_gguf *self, const char *text, size_t length, bool special, cadre__onnx_tokens *out)
{
    listen_begin();
    for (;;) {
        size_t room = out->capacity - out->count;
        int32_t count = llama_tokenize(self->vocab, text, (int32_t)length, room ? out->at + out->count : NULL, room > INT32_MAX ? INT32_MAX : (int32_t)room,
                                       special, false);
        if (count < 0 && count != INT32_MIN && reserve(out, (size_t)-count)) continue;
        listen_end();
        if (count < 0) return CADRE_ENOMEM;
        out->count += (size_t)count;
        return count;
    }
}

/* A text without any token, of a tokenizer that adds none, is its end-of-text or beginning-of-text token. */
static int64_t stand_in(const cadre__onnx_gguf *self, cadre__onnx_tokens *out)
{
    llama_token token = llama_vocab_eos(self->vocab);
    if (token == LLAMA_TOKEN_NULL) token = llama_vocab_bos(self->vocab);
    if (!reserve(out, 1)) return CADRE_ENOMEM;
    out->at[out->count++] = token == LLAMA_TOKEN_NULL ? 0 : token;
    return 1;
}

int64_t cadre__onnx_gguf_tokenize(const cadre__onnx_gguf *self, const char *text, size_t limit, bool cut, cadre__onnx_tokens *out)
{
    size_t length = strlen(text), most = limit * self->longest, before = out->count;
    if (!is_utf8(text, length)) return CADRE_EINPUT;
    if (length > most && !cut) return (int64_t)(length / self->longest + 1); /* each token holds at most `longest` bytes */
    if (length > most)
        for (length = most; length > 0 && ((unsigned char)text[length] & 0xC0) == 0x80; length--) {
        }
    if (length > INT32_MAX) length = INT32_MAX; /* with the longest contexts of the longest tokens; the cut is far behind the limit */
    if (cadre__run_find(self->run_rule, text, length) < length) return CADRE_ENOTSUP;
    int64_t count = append(self, text, length, true, out);
    if (count == 0) return stand_in(self, out);
    if (count <= (int64_t)limit) return count;
    int32_t last = out->at[out->count - 1];
    out->count = before + limit;
    if (llama_vocab_get_add_eos(self->vocab)) out->at[out->count - 1] = last;
    return count;
}

int64_t cadre__onnx_gguf_count(const cadre__onnx_gguf *self, const char *text)
{
    cadre__onnx_tokens tokens = {0};
    size_t length = strlen(text);
    if (length > INT32_MAX || !is_utf8(text, length)) return CADRE_EINPUT;
    if (cadre__run_find(self->run_rule, text, length) < length) return CADRE_ENOTSUP;
    int64_t count = append(self, text, length, false, &tokens);
    free(tokens.at);
    return count;
}

#else

int cadre__onnx_gguf_look(const char *path, uint64_t *bytes, char *detail, size_t detail_size)
{
    *bytes = 0;
    snprintf(detail, detail_size, "%.200s: is a GGUF file, whose tokenizer needs llama.cpp: cadre-onnx was built without it (CADRE_BACKENDS lacks llama)",
             path);
    return CADRE_ENOTSUP;
}

int cadre__onnx_gguf_read(const char *path, cadre__onnx_gguf **out, char *detail, size_t detail_size)
{
    uint64_t bytes;
    *out = NULL;
    return cadre__onnx_gguf_look(path, &bytes, detail, detail_size);
}

void cadre__onnx_gguf_destroy(cadre__onnx_gguf *self)
{
    (void)self;
}

int32_t cadre__onnx_gguf_size(const cadre__onnx_gguf *self)
{
    (void)self;
    return 0;
}

int64_t cadre__onnx_gguf_tokenize(const cadre__onnx_gguf *self, const char *text, size_t limit, bool cut, cadre__onnx_tokens *out)
{
    (void)self, (void)text, (void)limit, (void)cut, (void)out;
    return CADRE_ENOTSUP;
}

int64_t cadre__onnx_gguf_count(const cadre__onnx_gguf *self, const char *text)
{
    (void)self, (void)text;
    return CADRE_ENOTSUP;
}

#endif
