/* A GGUF file before the engine sees it: is it one, is it whole, what does it hold. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "backend.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int cadre__llama_file_wrong(char *detail, size_t detail_size, const char *path, const char *format, ...)
{
    char reason[320];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    snprintf(detail, detail_size, "%s: %s", path, reason);
    return CADRE_EFORMAT;
}

int cadre__llama_file_look(const char *path, uint64_t *bytes, char *detail, size_t detail_size)
{
    struct stat status;
    char magic[4] = {0};
    if (stat(path, &status) != 0)
        return cadre__llama_file_wrong(detail, detail_size, path, "%s", errno == ENOENT ? "there is no such file" : "cannot be looked at");
    if (S_ISDIR(status.st_mode)) return cadre__llama_file_wrong(detail, detail_size, path, "is a directory");
    if (!S_ISREG(status.st_mode)) return cadre__llama_file_wrong(detail, detail_size, path, "is not a regular file");
    FILE *file = fopen(path, "rb");
    if (!file) return cadre__llama_file_wrong(detail, detail_size, path, "%s", errno == EACCES ? "may not be read" : "cannot be opened");
    size_t count = fread(magic, 1, sizeof(magic), file);
    fclose(file);
    if (count < sizeof(magic) || memcmp(magic, "GGUF", sizeof(magic)) != 0) return cadre__llama_file_wrong(detail, detail_size, path, "is not a GGUF file");
    *bytes = (uint64_t)status.st_size;
    return CADRE_OK;
}

int cadre__llama_file_measure(const struct gguf_context *gguf, const char *path, uint64_t file_bytes, uint64_t *total, char *detail, size_t detail_size)
{
    uint64_t base = gguf_get_data_offset(gguf);
    int64_t count = gguf_get_n_tensors(gguf);
    for (int64_t i = 0; i < count; i++) {
        uint64_t size = gguf_get_tensor_size(gguf, i), end;
        if (__builtin_add_overflow(base, (uint64_t)gguf_get_tensor_offset(gguf, i), &end) || __builtin_add_overflow(end, size, &end) || end > file_bytes)
            return cadre__llama_file_wrong(detail, detail_size, path, "is cut short: its tensor %.64s lies beyond its %llu bytes",
                                           gguf_get_tensor_name(gguf, i), (unsigned long long)file_bytes);
        *total += size;
    }
    return CADRE_OK;
}

/* ---- keys ---- */

static int64_t find(const struct gguf_context *gguf, const cadre__llama_facts *facts, const char *name)
{
    char key[160];
    snprintf(key, sizeof(key), "%s.%s", facts->architecture, name);
    return gguf_find_key(gguf, key);
}

static uint32_t number_of(const struct gguf_context *gguf, int64_t id, uint32_t otherwise)
{
    switch (gguf_get_kv_type(gguf, id)) {
    case GGUF_TYPE_UINT32: return gguf_get_val_u32(gguf, id);
    case GGUF_TYPE_INT32: return (uint32_t)gguf_get_val_i32(gguf, id);
    case GGUF_TYPE_UINT64: return (uint32_t)gguf_get_val_u64(gguf, id);
    case GGUF_TYPE_UINT16: return gguf_get_val_u16(gguf, id);
    case GGUF_TYPE_UINT8: return gguf_get_val_u8(gguf, id);
    default: return otherwise;
    }
}

/* A number of the architecture; of a list with one entry per layer, the largest. */
static uint32_t number(const struct gguf_context *gguf, const cadre__llama_facts *facts, const char *name, uint32_t otherwise)
{
    int64_t id = find(gguf, facts, name);
    if (id < 0) return otherwise;
    if (gguf_get_kv_type(gguf, id) != GGUF_TYPE_ARRAY) return number_of(gguf, id, otherwise);
    enum gguf_type type = gguf_get_arr_type(gguf, id);
    if (type != GGUF_TYPE_UINT32 && type != GGUF_TYPE_INT32) return otherwise;
    const uint32_t *list = gguf_get_arr_data(gguf, id);
    size_t count = gguf_get_arr_n(gguf, id);
    uint32_t largest = count > 0 ? 0 : otherwise;
    for (size_t i = 0; i < count; i++) {
        if (list[i] > largest && list[i] <= INT32_MAX) largest = list[i];
    }
    return largest;
}

static float real(const struct gguf_context *gguf, const cadre__llama_facts *facts, const char *name, float otherwise)
{
    int64_t id = find(gguf, facts, name);
    return id >= 0 && gguf_get_kv_type(gguf, id) == GGUF_TYPE_FLOAT32 ? gguf_get_val_f32(gguf, id) : otherwise;
}

static bool flag(const struct gguf_context *gguf, const cadre__llama_facts *facts, const char *name, bool otherwise)
{
    int64_t id = find(gguf, facts, name);
    return id >= 0 && gguf_get_kv_type(gguf, id) == GGUF_TYPE_BOOL ? gguf_get_val_bool(gguf, id) : otherwise;
}

#define LAYERS_MAX 512
#define EXPERTS_MAX 1024

/* The engine asserts on a norm's epsilon below zero. */
static bool sound_epsilon(const struct gguf_context *gguf, const cadre__llama_facts *facts, const char *name)
{
    int64_t id = find(gguf, facts, name);
    if (id < 0 || gguf_get_kv_type(gguf, id) != GGUF_TYPE_FLOAT32) return true;
    float epsilon = gguf_get_val_f32(gguf, id);
    return epsilon >= 0 && epsilon < 1;
}

/* How many of a head's values are turned by their position; some architectures turn all or abort, and Phi-3's hangs with none. */
static bool sound_rotation(const struct gguf_context *gguf, const cadre__llama_facts *facts)
{
    static const char *const whole[] = {"qwen2", "qwen2moe", "qwen3", "qwen3moe"};
    uint32_t head = number(gguf, facts, "attention.key_length", facts->embedding / facts->heads), turned = number(gguf, facts, "rope.dimension_count", head);
    if (turned == head && find(gguf, facts, "rope.dimension_count") < 0) return true;
    for (size_t i = 0; i < sizeof(whole) / sizeof(*whole); i++) {
        if (strcmp(facts->architecture, whole[i]) == 0 && turned != head) return false;
    }
    return turned % 2 == 0 && turned <= head && (turned > 0 || strcmp(facts->architecture, "phi3") != 0);
}

#define GATING_MAX 4

/* Experts in groups, and how they are chosen. */
static bool sound_experts(const struct gguf_context *gguf, const cadre__llama_facts *facts)
{
    uint32_t experts = number(gguf, facts, "expert_count", 0), groups = number(gguf, facts, "expert_group_count", 0);
    uint32_t used = number(gguf, facts, "expert_group_used_count", 0);
    if (number(gguf, facts, "expert_gating_func", 0) > GATING_MAX) return false;
    if (groups <= 1) return groups == 0 || experts > 1;
    return groups < experts && experts % groups == 0 && used > 0 && used < groups;
}

/* With latent attention the sizes of a head follow from each other. */
static bool sound_latent(const struct gguf_context *gguf, const cadre__llama_facts *facts)
{
    uint32_t head = number(gguf, facts, "attention.key_length_mla", 0), turned = number(gguf, facts, "rope.dimension_count", 0);
    if (strcmp(facts->architecture, "deepseek2") != 0) return true;
    if (head == 0) return turned < number(gguf, facts, "attention.key_length", facts->embedding / facts->heads);
    uint32_t rank = number(gguf, facts, "attention.kv_lora_rank", 0);
    return turned < head && number(gguf, facts, "attention.head_count_kv", 0) == 1 && number(gguf, facts, "attention.value_length", 0) == rank &&
           (uint64_t)number(gguf, facts, "attention.key_length", 0) == (uint64_t)rank + turned;
}

/* What the engine asserts on, in numbers of the header. */
static int check_limits(const struct gguf_context *gguf, const char *path, const cadre__llama_facts *facts, char *detail, size_t detail_size)
{
    uint32_t experts = number(gguf, facts, "expert_count", 0), used = number(gguf, facts, "expert_used_count", 0);
    if (facts->layers > LAYERS_MAX) return cadre__llama_file_wrong(detail, detail_size, path, "has %u layers; the engine takes %d", facts->layers, LAYERS_MAX);
    if (used > experts || experts > EXPERTS_MAX || (experts > 1 && used == 0))
        return cadre__llama_file_wrong(detail, detail_size, path, "uses %u of %u experts; the engine takes 1 to all of at most %d", used, experts, EXPERTS_MAX);
    if (facts->pooling < LLAMA_POOLING_TYPE_UNSPECIFIED || facts->pooling > LLAMA_POOLING_TYPE_RANK)
        return cadre__llama_file_wrong(detail, detail_size, path, "its pooling_type is %d, which the engine does not know", facts->pooling);
    if (!sound_rotation(gguf, facts)) return cadre__llama_file_wrong(detail, detail_size, path, "its rope.dimension_count does not fit its heads, or is odd");
    if (!sound_experts(gguf, facts)) return cadre__llama_file_wrong(detail, detail_size, path, "its experts' groups or gating are none that the engine knows");
    if (!sound_latent(gguf, facts)) return cadre__llama_file_wrong(detail, detail_size, path, "its latent attention's sizes do not fit each other");
    if (number(gguf, facts, "nextn_predict_layers", 0) > facts->layers)
        return cadre__llama_file_wrong(detail, detail_size, path, "has more layers that predict further tokens than layers");
    if (!sound_epsilon(gguf, facts, "attention.layer_norm_rms_epsilon") || !sound_epsilon(gguf, facts, "attention.layer_norm_epsilon"))
        return cadre__llama_file_wrong(detail, detail_size, path, "its norms' epsilon is below 0 or not below 1");
    return CADRE_OK;
}

/* The architectures for which the engine makes no memory. */
static bool is_encoder(const char *architecture)
{
    static const char *const encoders[] = {"bert",     "jina-bert-v2", "jina-bert-v3", "nomic-bert",     "nomic-bert-moe",
                                           "neo-bert", "eurobert",     "modern-bert",  "gemma-embedding"};
    for (size_t i = 0; i < sizeof(encoders) / sizeof(*encoders); i++) {
        if (strcmp(architecture, encoders[i]) == 0) return true;
    }
    return false;
}

/* Keys and values of a layer as the engine keeps them. With latent attention (the file has key_length_mla) one compressed row stands for all heads' keys and
 * values; an older file of the same architecture has neither the split tensors nor this key, and is kept in full. */
static void read_attention(const struct gguf_context *gguf, cadre__llama_facts *out)
{
    out->heads = number(gguf, out, "attention.head_count", 1);
    if (out->heads == 0) out->heads = 1;
    uint32_t cache_heads = number(gguf, out, "attention.head_count_kv", out->heads);
    out->key_width = cache_heads * number(gguf, out, "attention.key_length", out->embedding / out->heads);
    out->value_width = cache_heads * number(gguf, out, "attention.value_length", out->embedding / out->heads);
    if (number(gguf, out, "attention.key_length_mla", 0) == 0) return;
    out->latent = number(gguf, out, "attention.kv_lora_rank", 0);
    out->value_width = 0;
}

static int read_facts(const struct gguf_context *gguf, const char *path, cadre__llama_facts *out, char *detail, size_t detail_size)
{
    int64_t id = gguf_find_key(gguf, "general.architecture");
    if (id < 0 || gguf_get_kv_type(gguf, id) != GGUF_TYPE_STRING) return cadre__llama_file_wrong(detail, detail_size, path, "does not name its architecture");
    snprintf(out->architecture, sizeof(out->architecture), "%s", gguf_get_val_str(gguf, id));
    out->causal = flag(gguf, out, "attention.causal", true);
    out->pooling = (int32_t)number(gguf, out, "pooling_type", (uint32_t)LLAMA_POOLING_TYPE_UNSPECIFIED);
    out->context_length = number(gguf, out, "context_length", 0);
    out->layers = number(gguf, out, "block_count", 0);
    out->embedding = number(gguf, out, "embedding_length", 0);
    out->feed_forward = number(gguf, out, "feed_forward_length", 0);
    out->deepstack = number(gguf, out, "n_deepstack_layers", 0);
    out->experts_used = number(gguf, out, "expert_used_count", 0);
    out->expert_feed_forward = number(gguf, out, "expert_feed_forward_length", 0);
    out->yarn_beta_fast = real(gguf, out, "rope.scaling.yarn_beta_fast", -1);
    out->yarn_beta_slow = real(gguf, out, "rope.scaling.yarn_beta_slow", -1);
    out->encoder = is_encoder(out->architecture);
    read_attention(gguf, out);
    int64_t tokens = gguf_find_key(gguf, "tokenizer.ggml.tokens");
    if (tokens >= 0 && gguf_get_kv_type(gguf, tokens) == GGUF_TYPE_ARRAY) out->vocabulary = (uint32_t)gguf_get_arr_n(gguf, tokens);
    if (out->vocabulary == 0) return cadre__llama_file_wrong(detail, detail_size, path, "has no vocabulary (is it a projector or an adapter?)");
    if (out->context_length == 0 || out->context_length > INT32_MAX || out->layers == 0 || out->embedding == 0)
        return cadre__llama_file_wrong(detail, detail_size, path, "lacks the sizes of its architecture %s", out->architecture);
    int rc = cadre__llama_words_check(gguf, tokens, path, detail, detail_size);
    return rc < 0 ? rc : check_limits(gguf, path, out, detail, detail_size);
}

/* ---- split files ---- */

int cadre__llama_part_path(const char *path, int32_t parts, int32_t index, char *out, size_t size)
{
    char prefix[4096];
    if (llama_split_prefix(prefix, sizeof(prefix), path, 0, parts) <= 0) return CADRE_EFORMAT;
    return llama_split_path(out, size, prefix, index, parts) > 0 ? CADRE_OK : CADRE_EFORMAT;
}

/* Adds the lengths of the other parts, which are nearly all tensors. */
static int add_parts(const struct gguf_context *gguf, const char *path, cadre__llama_facts *out, char *detail, size_t detail_size)
{
    int64_t id = gguf_find_key(gguf, "split.count");
    int count = id < 0 ? 1 : (int)(number_of(gguf, id, 1) & 0xFFFF);
    char part[4096 + 32];
    out->parts = count < 2 ? 1 : count;
    for (int i = 1; i < count; i++) {
        uint64_t bytes = 0;
        if (cadre__llama_part_path(path, count, i, part, sizeof(part)) < 0)
            return cadre__llama_file_wrong(detail, detail_size, path, "is one of %d parts, and not named as the first (NAME-00001-of-%05d.gguf)", count, count);
        int rc = cadre__llama_file_look(part, &bytes, detail, detail_size);
        if (rc < 0) return rc;
        out->tensor_bytes += bytes;
        out->file_bytes += bytes;
    }
    return CADRE_OK;
}

void cadre__llama_facts_override(cadre__llama_facts *facts, const cadre__llama_options *options)
{
    if (options->pooling != CADRE_DEFAULT) facts->pooling = options->pooling;
    if (options->causal != CADRE_DEFAULT && !facts->encoder) facts->causal = options->causal != 0;
}

int cadre__llama_file_read(const cadre__llama_options *options, cadre__llama_facts *out, char *detail, size_t detail_size)
{
    struct gguf_init_params params = {.no_alloc = true, .ctx = NULL};
    const char *path = options->path;
    memset(out, 0, sizeof(*out));
    int rc = cadre__llama_file_look(path, &out->file_bytes, detail, detail_size);
    if (rc < 0) return rc;
    cadre__llama_engine_listen();
    cadre__llama_engine_forget();
    struct gguf_context *gguf = gguf_init_from_file(path, params);
    if (!gguf) return cadre__llama_file_wrong(detail, detail_size, path, "is a damaged GGUF file: %s", cadre__llama_engine_said());
    rc = read_facts(gguf, path, out, detail, detail_size);
    if (rc == CADRE_OK) rc = cadre__llama_file_measure(gguf, path, out->file_bytes, &out->tensor_bytes, detail, detail_size);
    if (rc == CADRE_OK) rc = add_parts(gguf, path, out, detail, detail_size);
    gguf_free(gguf);
    cadre__llama_facts_override(out, options);
    return rc;
}

/* ---- what the facts allow ---- */

static bool pooled(const cadre__llama_facts *facts)
{
    return facts->pooling == LLAMA_POOLING_TYPE_MEAN || facts->pooling == LLAMA_POOLING_TYPE_CLS || facts->pooling == LLAMA_POOLING_TYPE_LAST;
}

/* An encoder that states no pooling is taken by its mean; a generative model must state that it makes vectors. */
static bool embeds(const cadre__llama_facts *facts)
{
    return pooled(facts) || (!facts->causal && facts->pooling != LLAMA_POOLING_TYPE_RANK);
}

/* 0, or CADRE_ECAPABILITY with a detail. */
static int check_capability(const cadre__llama_facts *facts, cadre_capability capability, char *detail, size_t detail_size)
{
    bool encoder_decoder = strcmp(facts->architecture, "t5") == 0 || strcmp(facts->architecture, "t5encoder") == 0;
    const char *problem = NULL;
    bool writes = capability == CADRE_TEXT_TO_TEXT || capability == CADRE_VISION;
    if (writes && encoder_decoder)
        problem = "has an encoder apart from its decoder";
    else if (writes && !facts->causal)
        problem = "is an encoder: it makes vectors, not text";
    else if (writes && (pooled(facts) || facts->pooling == LLAMA_POOLING_TYPE_RANK))
        problem = "is made for vectors (it states a pooling), not for text";
    else if (capability == CADRE_TEXT_EMBEDDING && (encoder_decoder || !embeds(facts)))
        problem = "states no pooling of its tokens into one vector: it is not an embedding model";
    if (!problem) return CADRE_OK;
    snprintf(detail, detail_size, "the model (architecture %s) %s", facts->architecture, problem);
    return CADRE_ECAPABILITY;
}

int cadre__llama_context_length(const cadre__llama_facts *facts, const cadre__llama_options *options, int32_t *out, char *detail, size_t detail_size)
{
    int32_t most = (int32_t)facts->context_length;
    *out = options->context_length;
    if (*out == CADRE_DEFAULT) *out = most < CADRE__LLAMA_CONTEXT_DEFAULT ? most : CADRE__LLAMA_CONTEXT_DEFAULT;
    if (*out <= most) return CADRE_OK;
    snprintf(detail, detail_size, "context_length is %d, the model was trained for %d", *out, most);
    return CADRE_EINVAL;
}

int cadre__llama_check(const cadre__llama_facts *facts, const cadre__llama_options *options, cadre_capability capability, int32_t *context_length, char *detail,
                       size_t detail_size)
{
    int rc = check_capability(facts, capability, detail, detail_size);
    if (rc == CADRE_OK) rc = cadre__llama_context_length(facts, options, context_length, detail, detail_size);
    if (rc < 0 || capability == CADRE_TEXT_EMBEDDING) return rc;
    if (options->chat_template && !cadre__llama_template_known(options->chat_template)) {
        snprintf(detail, detail_size, "chat_template is not one that llama.cpp knows");
        return CADRE_EINVAL;
    }
    int32_t slots = options->slots == CADRE_DEFAULT ? CADRE__LLAMA_TEXT_SLOTS : options->slots;
    if ((int64_t)*context_length * slots <= INT32_MAX - CADRE__LLAMA_SLOTS_MAX * 256) return CADRE_OK;
    snprintf(detail, detail_size, "%d slots of %d tokens are more than llama.cpp counts", slots, *context_length);
    return CADRE_EINVAL;
}
