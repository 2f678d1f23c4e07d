/* A file's vocabulary before the engine reads it: texts, each of them once. The engine ends the process at anything else. */
#include "backend.h"

#include <stdlib.h>
#include <string.h>

/* FNV-1a. */
static uint64_t hash_of(const char *text)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (; *text; text++) hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    return hash ^ hash >> 29;
}

/* The first word that was there before, or an empty text. Empty words are renamed by the engine. */
static const char *find_double(const struct gguf_context *gguf, int64_t id, size_t count, uint32_t *table, size_t mask)
{
    for (size_t i = 0; i < count; i++) {
        const char *word = gguf_get_arr_str(gguf, id, i);
        size_t at = (size_t)hash_of(word) & mask;
        if (!*word) continue;
        for (; table[at] != 0; at = (at + 1) & mask) {
            if (strcmp(gguf_get_arr_str(gguf, id, table[at] - 1), word) == 0) return word;
        }
        table[at] = (uint32_t)i + 1;
    }
    return "";
}

int cadre__llama_words_check(const struct gguf_context *gguf, int64_t id, const char *path, char *detail, size_t detail_size)
{
    size_t count = gguf_get_arr_n(gguf, id), size = 1024;
    if (gguf_get_arr_type(gguf, id) != GGUF_TYPE_STRING) return cadre__llama_file_wrong(detail, detail_size, path, "its vocabulary is not a list of texts");
    if (count > INT32_MAX / 4) return cadre__llama_file_wrong(detail, detail_size, path, "its vocabulary has %zu words", count);
    while (size < 2 * count) size *= 2;
    uint32_t *table = calloc(size, sizeof(*table));
    if (!table) return CADRE_ENOMEM;
    const char *word = find_double(gguf, id, count, table, size - 1);
    free(table);
    if (!*word) return CADRE_OK;
    return cadre__llama_file_wrong(detail, detail_size, path, "its vocabulary has the word \"%.*s\" twice", cadre__llama_text_cut(word, 64), word);
}
