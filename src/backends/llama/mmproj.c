/* The file with the vision tower, before the engine sees it: its header says what it is, and what libmtmd would assert on is refused here.
 *
 * Towers of the LLaVA kind (projector "mlp") are checked tensor by tensor as libmtmd's graph of them uses them. Of the other kinds the header's types and the
 * sizes are checked, and the width of what comes out where it is known from one tensor; for the rest libmtmd's own checks answer at load. */
#include "backend.h"

#include <stdio.h>
#include <string.h>

typedef struct reader {
    struct gguf_context *gguf;
    struct ggml_context *tensors; /* their shapes */
    const char *path;
    char *detail;
    size_t detail_size;
} reader;

#define WRONG(r, ...) cadre__llama_file_wrong((r)->detail, (r)->detail_size, (r)->path, __VA_ARGS__)

#define MOST_LAYERS 128
#define MOST_TILES 32u                        /* along one side */
#define MOST_TILED_PIXELS (UINT64_C(1) << 26) /* of all tiles together; libmtmd counts them in an int */

/* ---- keys ---- */

/* The engine asserts on a value of another type than it expects. */
static const struct {
    const char *name;
    enum gguf_type type;
} keys[] = {{"general.name", GGUF_TYPE_STRING},
            {"general.description", GGUF_TYPE_STRING},
            {"clip.has_vision_encoder", GGUF_TYPE_BOOL},
            {"clip.has_audio_encoder", GGUF_TYPE_BOOL},
            {"clip.has_gen_audio_encoder", GGUF_TYPE_BOOL},
            {"clip.use_gelu", GGUF_TYPE_BOOL},
            {"clip.use_silu", GGUF_TYPE_BOOL},
            {"clip.projector_type", GGUF_TYPE_STRING},
            {"clip.vision.projector_type", GGUF_TYPE_STRING},
            {"clip.vision.mm_patch_merge_type", GGUF_TYPE_STRING},
            {"clip.minicpmv_version", GGUF_TYPE_INT32},
            {"clip.minicpmv_query_num", GGUF_TYPE_UINT32},
            {"clip.vision.image_size", GGUF_TYPE_UINT32},
            {"clip.vision.patch_size", GGUF_TYPE_UINT32},
            {"clip.vision.image_min_pixels", GGUF_TYPE_UINT32},
            {"clip.vision.image_max_pixels", GGUF_TYPE_UINT32},
            {"clip.vision.embedding_length", GGUF_TYPE_UINT32},
            {"clip.vision.feed_forward_length", GGUF_TYPE_UINT32},
            {"clip.vision.block_count", GGUF_TYPE_UINT32},
            {"clip.vision.projection_dim", GGUF_TYPE_UINT32},
            {"clip.vision.attention.head_count", GGUF_TYPE_UINT32},
            {"clip.vision.attention.head_count_kv", GGUF_TYPE_UINT32},
            {"clip.vision.attention.head_dim", GGUF_TYPE_UINT32},
            {"clip.vision.attention.layer_norm_epsilon", GGUF_TYPE_FLOAT32},
            {"clip.vision.spatial_merge_size", GGUF_TYPE_UINT32},
            {"clip.vision.projector.scale_factor", GGUF_TYPE_UINT32},
            {"clip.vision.window_size", GGUF_TYPE_UINT32},
            {"clip.vision.n_wa_pattern", GGUF_TYPE_UINT32}};

static int check_types(const reader *r)
{
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        int64_t id = gguf_find_key(r->gguf, keys[i].name);
        enum gguf_type type = id < 0 ? keys[i].type : gguf_get_kv_type(r->gguf, id);
        bool number = keys[i].type == GGUF_TYPE_INT32 && type == GGUF_TYPE_UINT32; /* the same bits */
        if (type != keys[i].type && !number) return WRONG(r, "its %s is %s, not %s", keys[i].name, gguf_type_name(type), gguf_type_name(keys[i].type));
    }
    return CADRE_OK;
}

static bool flag(const reader *r, const char *name)
{
    int64_t id = gguf_find_key(r->gguf, name);
    return id >= 0 && gguf_get_val_bool(r->gguf, id);
}

static const char *text(const reader *r, const char *name)
{
    int64_t id = gguf_find_key(r->gguf, name);
    return id >= 0 ? gguf_get_val_str(r->gguf, id) : "";
}

/* One of the tower's sizes, from 1 to `most`. */
static int size_of(const reader *r, const char *name, uint32_t most, uint32_t *out)
{
    char key[80];
    snprintf(key, sizeof(key), "clip.vision.%s", name);
    int64_t id = gguf_find_key(r->gguf, key);
    if (id < 0) return WRONG(r, "lacks %s", key);
    *out = gguf_get_val_u32(r->gguf, id);
    return *out >= 1 && *out <= most ? CADRE_OK : WRONG(r, "its %s is %u; it may be 1 to %u", key, *out, most);
}

static int check_epsilon(const reader *r)
{
    static const char key[] = "clip.vision.attention.layer_norm_epsilon";
    int64_t id = gguf_find_key(r->gguf, key);
    if (id < 0) return WRONG(r, "lacks %s", key);
    float epsilon = gguf_get_val_f32(r->gguf, id);
    return epsilon >= 0 && epsilon < 1 ? CADRE_OK : WRONG(r, "its %s is %g", key, (double)epsilon);
}

static int read_sizes(const reader *r, cadre__llama_mmproj *out)
{
    int rc = size_of(r, "image_size", 8192, &out->image_size);
    if (rc == CADRE_OK) rc = size_of(r, "patch_size", 1024, &out->patch_size);
    if (rc == CADRE_OK) rc = size_of(r, "embedding_length", 1 << 20, &out->width);
    if (rc == CADRE_OK) rc = size_of(r, "feed_forward_length", 1 << 22, &out->feed_forward);
    if (rc == CADRE_OK) rc = size_of(r, "attention.head_count", 1 << 16, &out->heads);
    if (rc == CADRE_OK) rc = size_of(r, "block_count", MOST_LAYERS, &out->layers);
    if (rc == CADRE_OK) rc = check_epsilon(r);
    if (rc < 0) return rc;
    if (out->patch_size > out->image_size) return WRONG(r, "its patches of %u are larger than its pictures of %u", out->patch_size, out->image_size);
    if (gguf_find_key(r->gguf, "clip.vision.attention.head_dim") < 0 && out->width % out->heads != 0)
        return WRONG(r, "its width %u is not divisible by its %u heads", out->width, out->heads);
    return CADRE_OK;
}

/* A list of the type that libmtmd takes; without it none. */
static int list_of(const reader *r, const char *key, const int32_t **values, size_t *count)
{
    int64_t id = gguf_find_key(r->gguf, key);
    *count = 0;
    if (id < 0) return CADRE_OK;
    if (gguf_get_kv_type(r->gguf, id) != GGUF_TYPE_ARRAY || gguf_get_arr_type(r->gguf, id) != GGUF_TYPE_INT32)
        return WRONG(r, "its %s is not a list of i32", key);
    *values = gguf_get_arr_data(r->gguf, id);
    *count = gguf_get_arr_n(r->gguf, id);
    return CADRE_OK;
}

/* Widths and heights that larger pictures are cut into tiles from: libmtmd ends the process where one is not made of whole tiles. */
static int check_tiles(const reader *r, const cadre__llama_mmproj *tower)
{
    static const char key[] = "clip.vision.image_grid_pinpoints";
    const int32_t *sides = NULL;
    size_t count;
    int rc = list_of(r, key, &sides, &count);
    if (rc < 0) return rc;
    if (count % 2 != 0) return WRONG(r, "its %s has %zu numbers, not pairs", key, count);
    for (size_t i = 0; i < count; i++) {
        uint32_t side = sides[i] < 0 ? 0 : (uint32_t)sides[i];
        if (side == 0 || side % tower->image_size != 0 || side / tower->image_size > MOST_TILES)
            return WRONG(r, "its %s[%zu] is %d, not 1 to %u times its image_size %u", key, i, sides[i], MOST_TILES, tower->image_size);
        if (i % 2 == 1 && (uint64_t)sides[i - 1] * side > MOST_TILED_PIXELS)
            return WRONG(r, "its %s[%zu] and the one before make pictures of %d × %d, more than can be cut", key, i, sides[i - 1], sides[i]);
    }
    return CADRE_OK;
}

/* ---- tensors ---- */

static const struct ggml_tensor *find(const reader *r, const char *name)
{
    return ggml_get_tensor(r->tensors, name);
}

/* A matrix or, with `rows` 1, a vector, which is in f32. */
static int check_tensor(const reader *r, const char *name, int64_t columns, int64_t rows, bool required)
{
    const struct ggml_tensor *tensor = find(r, name);
    if (!tensor) return required ? WRONG(r, "lacks the tensor %s", name) : CADRE_OK;
    if (tensor->ne[0] != columns || tensor->ne[1] != rows || tensor->ne[2] != 1 || tensor->ne[3] != 1)
        return WRONG(r, "its tensor %s has the shape %lld × %lld × %lld × %lld, not %lld × %lld", name, (long long)tensor->ne[0], (long long)tensor->ne[1],
                     (long long)tensor->ne[2], (long long)tensor->ne[3], (long long)columns, (long long)rows);
    if (rows == 1 && tensor->type != GGML_TYPE_F32) return WRONG(r, "its tensor %s is %s, not f32", name, ggml_type_name(tensor->type));
    return CADRE_OK;
}

/* A layer's weight and its bias. */
static int check_layer(const reader *r, const char *name, int64_t columns, int64_t rows, bool bias_required)
{
    char full[96];
    snprintf(full, sizeof(full), "%s.weight", name);
    int rc = check_tensor(r, full, columns, rows, true);
    snprintf(full, sizeof(full), "%s.bias", name);
    return rc < 0 ? rc : check_tensor(r, full, rows, 1, bias_required);
}

static int check_norm(const reader *r, const char *name, int64_t width, bool required)
{
    char full[96];
    snprintf(full, sizeof(full), "%s.weight", name);
    int rc = check_tensor(r, full, width, 1, required);
    snprintf(full, sizeof(full), "%s.bias", name);
    return rc < 0 ? rc : check_tensor(r, full, width, 1, required);
}

/* Old files call the second matrix "up"; the engine looks at the shape of "down". */
static int check_feed_forward(const reader *r, const char *block, int64_t width)
{
    char up[64], down[64], full[96];
    snprintf(up, sizeof(up), "%s.ffn_up", block);
    snprintf(down, sizeof(down), "%s.ffn_down", block);
    snprintf(full, sizeof(full), "%s.weight", down);
    const struct ggml_tensor *second = find(r, full);
    if (!second) return WRONG(r, "lacks the tensor %s", full);
    bool swapped = second->ne[0] == width;
    int64_t inner = swapped ? second->ne[1] : second->ne[0];
    int rc = check_layer(r, swapped ? down : up, width, inner, false);
    if (rc == CADRE_OK) rc = check_layer(r, swapped ? up : down, inner, width, false);
    snprintf(full, sizeof(full), "%s.ffn_gate.weight", block);
    return rc == CADRE_OK && find(r, full) ? WRONG(r, "its tensor %s is none of a tower of this kind", full) : rc;
}

static int check_block(const reader *r, uint32_t index, int64_t width)
{
    static const char *const projections[] = {"attn_q", "attn_k", "attn_v", "attn_out"};
    char block[32], name[64];
    int rc = CADRE_OK;
    snprintf(block, sizeof(block), "v.blk.%u", index);
    for (size_t i = 0; rc == CADRE_OK && i < sizeof(projections) / sizeof(projections[0]); i++) {
        snprintf(name, sizeof(name), "%s.%s", block, projections[i]);
        rc = check_layer(r, name, width, width, false);
    }
    for (int i = 1; rc == CADRE_OK && i <= 2; i++) {
        snprintf(name, sizeof(name), "%s.ln%d", block, i);
        rc = check_norm(r, name, width, true);
    }
    return rc < 0 ? rc : check_feed_forward(r, block, width);
}

/* Patches to vectors, and where they are. */
static int check_entrance(const reader *r, const cadre__llama_mmproj *tower)
{
    const struct ggml_tensor *patches = find(r, "v.patch_embd.weight"), *positions = find(r, "v.position_embd.weight");
    int64_t side = tower->image_size / tower->patch_size, patch = tower->patch_size, width = tower->width;
    if (!patches || !positions) return WRONG(r, "lacks the tensor %s", patches ? "v.position_embd.weight" : "v.patch_embd.weight");
    if (patches->ne[0] != patch || patches->ne[1] != patch || patches->ne[2] != 3 || patches->ne[3] != width)
        return WRONG(r, "its v.patch_embd.weight has the shape %lld × %lld × %lld × %lld, not %lld × %lld × 3 × %lld", (long long)patches->ne[0],
                     (long long)patches->ne[1], (long long)patches->ne[2], (long long)patches->ne[3], (long long)patch, (long long)patch, (long long)width);
    if (patches->type != GGML_TYPE_F16 && patches->type != GGML_TYPE_F32) return WRONG(r, "its v.patch_embd.weight is %s", ggml_type_name(patches->type));
    int64_t places = side * side + (find(r, "v.class_embd") ? 1 : 0);
    if (positions->ne[0] != width || positions->ne[1] < places || positions->ne[2] != 1)
        return WRONG(r, "its v.position_embd.weight has the shape %lld × %lld, not %lld × %lld", (long long)positions->ne[0], (long long)positions->ne[1],
                     (long long)width, (long long)places);
    int rc = check_tensor(r, "v.class_embd", width, 1, false);
    if (rc == CADRE_OK) rc = check_tensor(r, "v.patch_embd.bias", width, 1, false);
    return rc;
}

/* From the tower's vectors to the language model's: two layers with a GELU between, or those with norms after each. */
static int check_projector(const reader *r, cadre__llama_mmproj *tower, int64_t width)
{
    const struct ggml_tensor *first = find(r, "mm.0.weight"), *last = find(r, "mm.3.weight");
    const char *name = last ? "mm.3" : "mm.2";
    if (!last) last = find(r, "mm.2.weight");
    if (!first || !last) return WRONG(r, "lacks the tensor %s", first ? "mm.2.weight" : "mm.0.weight");
    int rc = check_layer(r, "mm.0", width, first->ne[1], true);
    if (rc == CADRE_OK) rc = check_layer(r, name, first->ne[1], last->ne[1], true);
    if (rc == CADRE_OK && name[3] == '3') rc = check_norm(r, "mm.1", first->ne[1], true);
    if (rc == CADRE_OK && name[3] == '3') rc = check_norm(r, "mm.4", last->ne[1], true);
    if (rc == CADRE_OK) tower->output = (uint32_t)last->ne[1];
    return rc;
}

/* Which layers' outputs the projector takes side by side (granite's towers name several), and how many blocks that needs. */
static int read_features(const reader *r, const cadre__llama_mmproj *tower, uint32_t *blocks, uint32_t *stacked)
{
    static const char key[] = "clip.vision.feature_layer";
    const int32_t *layers = NULL;
    size_t length;
    bool named[MOST_LAYERS + 1] = {false}; /* 0 is what goes into the first */
    uint32_t deepest = 0, count = 0;
    int rc = list_of(r, key, &layers, &length);
    if (rc < 0) return rc;
    for (size_t i = 0; i < length; i++) {
        if (layers[i] < 0 || (uint32_t)layers[i] > tower->layers) return WRONG(r, "its %s[%zu] is %d, not 0 to %u", key, i, layers[i], tower->layers);
        if (!named[layers[i]]) count++;
        named[layers[i]] = true;
        if ((uint32_t)layers[i] > deepest) deepest = (uint32_t)layers[i];
    }
    *blocks = count > 0 ? deepest : tower->layers - 1; /* without a list the last one is not used */
    *stacked = count > 0 ? count : 1;
    return CADRE_OK;
}

static int check_llava(const reader *r, cadre__llama_mmproj *tower, uint32_t blocks, uint32_t stacked)
{
    int rc = check_entrance(r, tower);
    static const char *const norms[] = {"v.pre_ln", "v.post_ln"};
    char name[32];
    for (size_t i = 0; rc == CADRE_OK && i < sizeof(norms) / sizeof(norms[0]); i++) {
        snprintf(name, sizeof(name), "%s.weight", norms[i]);
        rc = check_norm(r, norms[i], tower->width, find(r, name) != NULL);
    }
    for (uint32_t i = 0; rc == CADRE_OK && i < blocks; i++) rc = check_block(r, i, tower->width);
    return rc < 0 ? rc : check_projector(r, tower, (int64_t)tower->width * stacked);
}

/* Which dimension of which tensor says how wide the embeddings are. */
static void find_output(const reader *r, cadre__llama_mmproj *tower)
{
    static const struct {
        const char *projector, *tensor;
        int dimension;
    } known[] = {{"mlp", "mm.2.weight", 1},
                 {"pixtral", "mm.2.weight", 1},
                 {"phi4", "mm.2.weight", 1},
                 {"lightonocr", "mm.2.weight", 1},
                 {"dots_ocr", "mm.2.weight", 1},
                 {"lfm2", "mm.2.weight", 1},
                 {"kimivl", "mm.2.weight", 1},
                 {"qwen2vl_merger", "mm.2.bias", 0},
                 {"qwen2.5vl_merger", "mm.2.bias", 0},
                 {"gemma3", "mm.input_projection.weight", 0},
                 {"idefics3", "mm.model.fc.weight", 1},
                 {"llama4", "mm.model.fc.weight", 1},
                 {"internvl", "mm.model.mlp.3.weight", 1}};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        const struct ggml_tensor *tensor = strcmp(known[i].projector, tower->projector) == 0 ? find(r, known[i].tensor) : NULL;
        if (tensor) tower->output = (uint32_t)tensor->ne[known[i].dimension];
    }
}

/* ---- the file ---- */

static int read_header(const reader *r, cadre__llama_mmproj *out)
{
    int64_t id = gguf_find_key(r->gguf, "general.architecture");
    if (id < 0 || gguf_get_kv_type(r->gguf, id) != GGUF_TYPE_STRING) return WRONG(r, "does not name its architecture");
    if (strcmp(gguf_get_val_str(r->gguf, id), "clip") != 0)
        return WRONG(r, "is not a vision tower with its projector (architecture clip), but a model of architecture %.*s",
                     cadre__llama_text_cut(gguf_get_val_str(r->gguf, id), 40), gguf_get_val_str(r->gguf, id));
    uint32_t blocks, stacked;
    int rc = check_types(r);
    if (rc < 0) return rc;
    if (!flag(r, "clip.has_vision_encoder")) return WRONG(r, "has no vision encoder");
    const char *projector = text(r, "clip.projector_type");
    snprintf(out->projector, sizeof(out->projector), "%s", *projector ? projector : text(r, "clip.vision.projector_type"));
    if (!out->projector[0]) return WRONG(r, "does not name its projector (clip.projector_type)");
    rc = read_sizes(r, out);
    if (rc < 0) return rc;
    rc = check_tiles(r, out);
    if (rc < 0) return rc;
    find_output(r, out);
    rc = read_features(r, out, &blocks, &stacked);
    if (rc < 0) return rc;
    return strcmp(out->projector, "mlp") == 0 ? check_llava(r, out, blocks, stacked) : CADRE_OK;
}

int cadre__llama_mmproj_read(const char *path, cadre__llama_mmproj *out, char *detail, size_t detail_size)
{
    reader r = {.path = path, .detail = detail, .detail_size = detail_size};
    struct gguf_init_params params = {.no_alloc = true, .ctx = &r.tensors};
    memset(out, 0, sizeof(*out));
    int rc = cadre__llama_file_look(path, &out->file_bytes, detail, detail_size);
    if (rc < 0) return rc;
    cadre__llama_engine_listen();
    cadre__llama_engine_forget();
    r.gguf = gguf_init_from_file(path, params);
    if (!r.gguf) return WRONG(&r, "is a damaged GGUF file: %s", cadre__llama_engine_said());
    rc = cadre__llama_file_measure(r.gguf, path, out->file_bytes, &out->tensor_bytes, detail, detail_size);
    if (rc == CADRE_OK) rc = read_header(&r, out);
    ggml_free(r.tensors);
    gguf_free(r.gguf);
    return rc;
}

int cadre__llama_mmproj_check(const cadre__llama_options *options, const cadre__llama_facts *facts, cadre__llama_mmproj *out, char *detail, size_t detail_size)
{
#ifndef CADRE_LLAMA_VISION
    (void)options, (void)facts, (void)out;
    snprintf(detail, detail_size, "this build of the llama backend has no vision: its llama.cpp came without libmtmd");
    return CADRE_ENOTSUP;
#else
    if (!options->mmproj) {
        snprintf(detail, detail_size, "mmproj is missing: a vision model needs the file of its vision tower and projector");
        return CADRE_EINVAL;
    }
    int rc = cadre__llama_mmproj_read(options->mmproj, out, detail, detail_size);
    if (rc < 0) return rc;
    uint64_t wanted = (uint64_t)facts->embedding * (1u + facts->deepstack);
    if (out->output == 0 || out->output == wanted) return CADRE_OK;
    return cadre__llama_file_wrong(detail, detail_size, options->mmproj,
                                   "makes embeddings of %u numbers, the language model takes %llu: they do not belong together", out->output,
                                   (unsigned long long)wanted);
#endif
}
