/* Texts to tokens, by WordPiece or by what a GGUF file says. */
#include "backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cadre__onnx_tokenizer {
    cadre__onnx_vocabulary *words; /* one of the two */
    cadre__onnx_gguf *gguf;
};

/* A file that cannot be read is nobody's: the reader of vocab.txt says why. */
static bool is_gguf(const char *path)
{
    char magic[4] = {0};
    uint64_t bytes;
    char detail[CADRE__ONNX_DETAIL];
    if (cadre__onnx_file_length(path, &bytes, detail, sizeof(detail)) < 0) return false; /* a device might block */
    FILE *file = fopen(path, "rb");
    size_t count = file ? fread(magic, 1, sizeof(magic), file) : 0;
    if (file) fclose(file);
    return count == sizeof(magic) && memcmp(magic, "GGUF", sizeof(magic)) == 0;
}

static int read_words(const char *path, cadre__onnx_tokenizer *into, uint64_t *bytes, char *detail, size_t detail_size)
{
    int rc = cadre__onnx_vocabulary_read(path, &into->words, detail, detail_size);
    if (rc == CADRE_OK) *bytes = cadre__onnx_vocabulary_bytes(into->words);
    return rc;
}

static int read_gguf(const char *path, cadre__onnx_tokenizer *into, bool look, uint64_t *bytes, char *detail, size_t detail_size)
{
    int rc = cadre__onnx_gguf_look(path, bytes, detail, detail_size);
    return rc == CADRE_OK && !look ? cadre__onnx_gguf_read(path, &into->gguf, detail, detail_size) : rc;
}

int cadre__onnx_tokenizer_read(const char *path, cadre__onnx_tokenizer **out, uint64_t *bytes, char *detail, size_t detail_size)
{
    cadre__onnx_tokenizer *self = calloc(1, sizeof(*self));
    if (!self) return CADRE_ENOMEM;
    int rc = is_gguf(path) ? read_gguf(path, self, out == NULL, bytes, detail, detail_size) : read_words(path, self, bytes, detail, detail_size);
    if (rc == CADRE_OK && out)
        *out = self;
    else
        cadre__onnx_tokenizer_destroy(self);
    return rc;
}

void cadre__onnx_tokenizer_destroy(cadre__onnx_tokenizer *self)
{
    if (!self) return;
    cadre__onnx_vocabulary_destroy(self->words);
    cadre__onnx_gguf_destroy(self->gguf);
    free(self);
}

int32_t cadre__onnx_tokenizer_size(const cadre__onnx_tokenizer *self)
{
    return self->words ? cadre__onnx_vocabulary_size(self->words) : cadre__onnx_gguf_size(self->gguf);
}

/* What stands behind a text that is shorter than others; the mask hides it, so any token will do. */
int32_t cadre__onnx_tokenizer_pad(const cadre__onnx_tokenizer *self)
{
    return self->words ? cadre__onnx_vocabulary_specials(self->words)->pad : 0;
}

int64_t cadre__onnx_tokenize(const cadre__onnx_tokenizer *self, const char *text, bool lower_case, size_t limit, bool cut, bool (*stop)(void *data), void *data,
                             cadre__onnx_tokens *out)
{
    if (self->words) return cadre__onnx_wordpiece(self->words, text, lower_case, limit, cut, stop, data, out);
    return cadre__onnx_gguf_tokenize(self->gguf, text, limit, cut, out);
}

int64_t cadre__onnx_tokenizer_count(const cadre__onnx_tokenizer *self, const char *text, bool lower_case)
{
    if (!self->words) return cadre__onnx_gguf_count(self->gguf, text);
    cadre__onnx_tokens tokens = {0};
    int64_t count = cadre__onnx_wordpiece(self->words, text, lower_case, CADRE__ONNX_CONTEXT_MIN, false, NULL, NULL, &tokens);
    cadre__onnx_tokens_clear(&tokens);
    return count < 0 ? count : count - 2; /* [CLS] and [SEP] */
}
