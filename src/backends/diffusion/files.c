/* The files before the engine sees them: which family, are all parts there, and are those sizes right from which the engine computes without looking.
 *
 * The engine itself checks that every tensor of a part is there and has the shape that follows from these. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "backend.h"
#include "tensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCKS_MAX 64
#define HIDDEN_MAX 16384
#define ENCODER_WIDTH 4096 /* of T5, and what CLIP's are filled up to */

/* One tensor of any file. */
typedef struct item {
    cadre__part part; /* whose it is; CADRE__PART_ALL: nobody's */
    cadre__part file;
    const char *name; /* within the part */
    const cadre__tensor *tensor;
} item;

typedef struct look {
    const cadre__diffusion_options *options;
    cadre__tensors files[CADRE__PARTS];
    item *items; /* sorted */
    size_t count;
    bool has[CADRE__PARTS];
    char *detail;
    size_t detail_size;
} look;

static int wrong(look *self, const char *path, const char *format, ...) CADRE_PRINTF(3, 4);
static int wrong(look *self, const char *path, const char *format, ...)
{
    char reason[320];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    snprintf(self->detail, self->detail_size, "%.160s: %s", path, reason);
    return CADRE_EFORMAT;
}

/* ---- reading ---- */

static int read_file(look *self, cadre__part part)
{
    const char *path = self->options->paths[part];
    struct stat status;
    char reason[320];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* not a FIFO's open that waits */
    if (fd < 0) return wrong(self, path, "%s", errno == ENOENT ? "there is no such file" : errno == EACCES ? "may not be read" : "cannot be opened");
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        close(fd);
        return wrong(self, path, "is not a regular file");
    }
    FILE *file = fdopen(fd, "rb");
    if (!file) {
        close(fd);
        return CADRE_ENOMEM;
    }
    int rc = cadre__tensors_read(file, (uint64_t)status.st_size, &self->files[part], reason, sizeof(reason));
    fclose(file);
    return rc == CADRE_EFORMAT ? wrong(self, path, "%s", reason) : rc;
}

/* How the engine calls the parts; the first of each is what it puts before the names of the part's own file. */
static const struct {
    cadre__part part;
    const char *prefix;
} prefixes[] = {
    {CADRE__PART_TRANSFORMER, "model.diffusion_model."},
    {CADRE__PART_CLIP_L, "text_encoders.clip_l.transformer."},
    {CADRE__PART_CLIP_G, "text_encoders.clip_g.transformer."},
    {CADRE__PART_T5XXL, "text_encoders.t5xxl.transformer."},
    {CADRE__PART_VAE, "vae."},
    {CADRE__PART_VAE, "first_stage_model."},
    {CADRE__PART_TAESD, "tae."},
};

static item place(cadre__part file, const cadre__tensor *tensor)
{
    item out = {file, file, tensor->name, tensor};
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        size_t length = strlen(prefixes[i].prefix);
        if ((file != CADRE__PART_ALL && file != prefixes[i].part) || strncmp(tensor->name, prefixes[i].prefix, length) != 0) continue;
        out.part = prefixes[i].part;
        out.name += length;
        break;
    }
    return out;
}

/* By these, anywhere in a name of any file, the engine takes the whole for a family that is not offered here, or makes an encoder that is not there. */
static const char *const foreign[] = {"nerf_final_layer_conv.",
                                      "img_mod.1.weight",
                                      "llm_adapter.",
                                      "double_stream_modulation",
                                      ".gate_proj.",
                                      "cap_embedder.",
                                      "adaLN_sa_ln.",
                                      "cross_attn.",
                                      "input_blocks.",
                                      "unet.",
                                      "pmid.",
                                      "distilled_guidance_layer.",
                                      "__x0__",
                                      "__32x32__",
                                      "img_in_patch.",
                                      "time_mixer.",
                                      "conditioner.embedders."};
static const char *const outside[] = {"model.diffusion_model.", "text_encoders.", "cond_stage_model", "double_blocks.", "single_blocks.", "joint_blocks."};

static int check_name(look *self, const item *at)
{
    const char *path = self->options->paths[at->file];
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
        if (strstr(at->tensor->name, foreign[i])) return wrong(self, path, "is not a part of a FLUX or SD 3 model (it has %.128s)", at->tensor->name);
    }
    for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
        if (at->part != CADRE__PART_TRANSFORMER && strstr(at->name, outside[i]))
            return wrong(self, path, "as %s it may not have %.128s", cadre__part_names[at->file], at->tensor->name);
    }
    if (at->part != CADRE__PART_ALL && !at->tensor->weight_type && !strstr(at->name, "position_ids"))
        return wrong(self, path, "its tensor %.128s is of integers", at->tensor->name);
    return CADRE_OK;
}

static int compare(const void *a, const void *b)
{
    const item *left = a, *right = b;
    if (left->part != right->part) return left->part < right->part ? -1 : 1;
    return strcmp(left->name, right->name);
}

static int collect(look *self)
{
    size_t total = 0;
    for (int part = 0; part < CADRE__PARTS; part++) total += self->files[part].count;
    self->items = malloc((total + 1) * sizeof(*self->items));
    if (!self->items) return CADRE_ENOMEM;
    for (int file = 0; file < CADRE__PARTS; file++) {
        for (size_t i = 0; i < self->files[file].count; i++) {
            item at = place((cadre__part)file, &self->files[file].at[i]);
            int rc = check_name(self, &at);
            if (rc < 0) return rc;
            self->has[at.part] = true;
            self->items[self->count++] = at;
        }
    }
    qsort(self->items, self->count, sizeof(*self->items), compare);
    for (size_t i = 1; i < self->count; i++) {
        const item *at = &self->items[i];
        if (at->part != CADRE__PART_ALL && compare(at - 1, at) == 0)
            return wrong(self, self->options->paths[at->file], "the tensor %.128s is there twice", at->tensor->name);
    }
    return CADRE_OK;
}

static const cadre__tensor *find(const look *self, cadre__part part, const char *name)
{
    item key = {.part = part, .name = name};
    const item *found = bsearch(&key, self->items, self->count, sizeof(*self->items), compare);
    return found ? found->tensor : NULL;
}

static const char *path_of(const look *self, cadre__part part)
{
    const char *path = self->options->paths[part];
    return path ? path : self->options->paths[CADRE__PART_ALL];
}

/* ---- checks ---- */

/* A tensor of that shape; 0: any. */
static int need(look *self, cadre__part part, const char *what, const char *name, uint64_t ne0, uint64_t ne1)
{
    const cadre__tensor *tensor = find(self, part, name);
    if (!tensor) return wrong(self, path_of(self, part), "is not %s (it has no %s)", what, name);
    if ((ne0 && tensor->ne[0] != ne0) || (ne1 && tensor->ne[1] != ne1))
        return wrong(self, path_of(self, part), "is not %s: %s is %llu × %llu, not %llu × %llu", what, name, (unsigned long long)tensor->ne[0],
                     (unsigned long long)tensor->ne[1], (unsigned long long)(ne0 ? ne0 : tensor->ne[0]), (unsigned long long)(ne1 ? ne1 : tensor->ne[1]));
    return CADRE_OK;
}

/* How many blocks there are: one more than the largest number that follows `before` in a name. Every one of them must have `inside`. */
static int count_blocks(look *self, cadre__part part, const char *what, const char *before, const char *inside, uint64_t ne0, uint64_t ne1, uint32_t *out)
{
    char name[128];
    uint32_t count = 0;
    for (size_t i = 0; i < self->count; i++) {
        const char *at = self->items[i].part == part ? strstr(self->items[i].name, before) : NULL;
        if (!at) continue;
        unsigned long number = strtoul(at + strlen(before), NULL, 10);
        if (number >= BLOCKS_MAX) return wrong(self, path_of(self, part), "has more than %d blocks (%.128s)", BLOCKS_MAX, self->items[i].name);
        if (number + 1 > count) count = (uint32_t)number + 1;
    }
    for (uint32_t i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "%s%u.%s", before, i, inside);
        int rc = need(self, part, what, name, ne0, ne1);
        if (rc < 0) return rc;
    }
    *out = count;
    return CADRE_OK;
}

static int look_at_flux(look *self, cadre__diffusion_facts *out)
{
    static const char what[] = "a FLUX transformer";
    const cadre__part part = CADRE__PART_TRANSFORMER;
    const cadre__tensor *text = find(self, part, "txt_in.weight");
    uint64_t hidden = text ? text->ne[1] : 0;
    uint32_t single = 0;
    out->family = CADRE__FAMILY_FLUX;
    out->most = CADRE__DIFFUSION_SIZE_MAX;
    int rc = need(self, part, what, "txt_in.weight", ENCODER_WIDTH, 0);
    if (rc == CADRE_OK && (hidden % 128 != 0 || hidden < 128 || hidden > HIDDEN_MAX))
        return wrong(self, path_of(self, part), "is not %s: its width %llu is not a multiple of 128 up to %d", what, (unsigned long long)hidden, HIDDEN_MAX);
    if (rc == CADRE_OK) rc = need(self, part, what, "img_in.weight", 64, hidden);
    if (rc == CADRE_OK) rc = need(self, part, what, "vector_in.in_layer.weight", 768, hidden);
    if (rc == CADRE_OK) rc = need(self, part, what, "time_in.in_layer.weight", 256, hidden);
    if (rc == CADRE_OK) rc = need(self, part, what, "final_layer.linear.weight", hidden, 64);
    if (rc == CADRE_OK) rc = need(self, part, what, "double_blocks.0.txt_attn.norm.key_norm.scale", 128, 1);
    if (rc == CADRE_OK) rc = count_blocks(self, part, what, "double_blocks.", "img_attn.qkv.weight", hidden, 3 * hidden, &out->depth);
    if (rc == CADRE_OK) rc = count_blocks(self, part, what, "single_blocks.", "linear1.weight", hidden, 7 * hidden, &single);
    if (rc == CADRE_OK && single > 0) rc = need(self, part, what, "single_blocks.0.norm.key_norm.scale", 128, 1);
    out->hidden = (uint32_t)hidden;
    out->heads = (uint32_t)(hidden / 128);
    out->guided = find(self, part, "guidance_in.in_layer.weight") != NULL;
    return rc;
}

static int look_at_sd3(look *self, cadre__diffusion_facts *out)
{
    static const char what[] = "an SD 3 transformer";
    const cadre__part part = CADRE__PART_TRANSFORMER;
    uint64_t side = 192; /* the learned positions: of patches of 16 pixels */
    for (size_t i = 0; i < self->count; i++) {
        if (self->items[i].part == part && strstr(self->items[i].name, "attn2")) side = 384;
    }
    out->family = CADRE__FAMILY_SD3;
    int rc = count_blocks(self, part, what, "joint_blocks.", "x_block.attn.qkv.weight", 0, 0, &out->depth);
    if (rc < 0) return rc;
    uint64_t hidden = 64 * (uint64_t)out->depth;
    rc = count_blocks(self, part, what, "joint_blocks.", "x_block.attn.qkv.weight", hidden, 3 * hidden, &out->depth);
    if (rc == CADRE_OK) rc = need(self, part, what, "pos_embed", hidden, side * side);
    if (rc == CADRE_OK) rc = need(self, part, what, "x_embedder.proj.weight", 2, 2);
    if (rc == CADRE_OK) rc = need(self, part, what, "context_embedder.weight", ENCODER_WIDTH, hidden);
    if (rc == CADRE_OK) rc = need(self, part, what, "y_embedder.mlp.0.weight", 2048, hidden);
    if (rc == CADRE_OK) rc = need(self, part, what, "final_layer.linear.weight", hidden, 64);
    out->hidden = (uint32_t)hidden;
    out->heads = out->depth;
    out->most = (uint32_t)(side * 16 < CADRE__DIFFUSION_SIZE_MAX ? side * 16 : CADRE__DIFFUSION_SIZE_MAX);
    return rc;
}

static int look_at_transformer(look *self, cadre__diffusion_facts *out)
{
    const cadre__part part = CADRE__PART_TRANSFORMER;
    const cadre__part file = self->options->paths[part] ? part : CADRE__PART_ALL;
    bool flux = false, sd3 = false;
    for (size_t i = 0; i < self->count; i++) {
        if (self->items[i].part != part) continue;
        flux = flux || strstr(self->items[i].name, "double_blocks.");
        sd3 = sd3 || strstr(self->items[i].name, "joint_blocks.");
    }
    if (flux != sd3) return flux ? look_at_flux(self, out) : look_at_sd3(self, out);
    if (self->files[file].architecture[0])
        return wrong(self, path_of(self, part), "is not a FLUX or SD 3 transformer (its architecture is %s)", self->files[file].architecture);
    return wrong(self, path_of(self, part), "is not a FLUX or SD 3 transformer%s",
                 file == CADRE__PART_ALL ? " (as one part it belongs into diffusion_model)" : "");
}

/* An encoder by its vocabulary, in one of the two ways to name it, and its layers. */
static int look_at_encoder(look *self, cadre__part part, const char *what, const char *const *vocabulary, const char *const *layers, uint64_t width,
                           uint64_t words, uint32_t depth)
{
    char name[128];
    if (!self->has[part]) return CADRE_OK;
    int way = find(self, part, vocabulary[0]) || !vocabulary[1] ? 0 : find(self, part, vocabulary[1]) ? 1 : 0;
    int rc = need(self, part, what, vocabulary[way], width, words);
    for (uint32_t i = 0; rc == CADRE_OK && i < depth; i++) {
        snprintf(name, sizeof(name), layers[way], i);
        rc = need(self, part, what, name, width, 0);
    }
    return rc;
}

static int look_at_encoders(look *self, cadre__diffusion_facts *out)
{
    static const char *const clip[] = {"text_model.embeddings.token_embedding.weight", NULL};
    static const char *const clip_layers[] = {"text_model.encoder.layers.%u.mlp.fc1.weight", NULL};
    static const char *const t5[] = {"shared.weight", "token_embd.weight"};
    static const char *const t5_layers[] = {"encoder.block.%u.layer.0.SelfAttention.q.weight", "enc.blk.%u.attn_q.weight"};
    int rc = look_at_encoder(self, CADRE__PART_CLIP_L, "the text encoder CLIP-L", clip, clip_layers, 768, 49408, 12);
    if (rc == CADRE_OK) rc = look_at_encoder(self, CADRE__PART_CLIP_G, "the text encoder CLIP-G", clip, clip_layers, 1280, 49408, 32);
    if (rc == CADRE_OK) rc = look_at_encoder(self, CADRE__PART_T5XXL, "the text encoder T5-XXL", t5, t5_layers, 4096, 32128, 24);
    if (rc < 0) return rc;
    out->t5 = self->has[CADRE__PART_T5XXL];
    if (self->has[CADRE__PART_CLIP_L] || out->t5 || (out->family == CADRE__FAMILY_SD3 && self->has[CADRE__PART_CLIP_G])) return CADRE_OK;
    return wrong(self, path_of(self, CADRE__PART_TRANSFORMER), "no text encoder: %s",
                 out->family == CADRE__FAMILY_FLUX ? "FLUX needs clip_l or t5xxl" : "SD 3 needs clip_l, clip_g or t5xxl");
}

/* SD 3's and FLUX's latents have 16 channels; others' have 4. */
static int look_at_decoder(look *self, cadre__diffusion_facts *out)
{
    cadre__part part = self->has[CADRE__PART_TAESD] ? CADRE__PART_TAESD : CADRE__PART_VAE;
    const char *name = part == CADRE__PART_TAESD ? "decoder.layers.0.weight" : "decoder.conv_in.weight";
    const char *what = part == CADRE__PART_TAESD ? "a TAESD for 16 channels" : "an autoencoder for 16 channels";
    out->tiny = part == CADRE__PART_TAESD;
    if (!self->has[part]) return wrong(self, path_of(self, CADRE__PART_TRANSFORMER), "nothing decodes its pictures: vae or taesd is needed");
    int rc = need(self, part, what, name, 3, 3);
    if (rc < 0) return rc;
    const cadre__tensor *tensor = find(self, part, name);
    uint64_t channels = tensor->ne[3];
    if (tensor->ne[2] != 16) return wrong(self, path_of(self, part), "is not %s but for %llu", what, (unsigned long long)tensor->ne[2]);
    if (out->tiny ? channels == 64 : channels % 128 == 0 && channels <= 4096) return CADRE_OK;
    return wrong(self, path_of(self, part), "is not %s: %s has %llu channels", what, name, (unsigned long long)channels);
}

/* ---- memory ---- */

/* As the engine keeps a tensor: vectors, positions and SD 3's embedders in F32, convolutions in F16, embeddings in types that it can look rows up in, all else
 * as it is. */
static uint64_t kept(const cadre__tensor *tensor, const char *name)
{
    static const uint32_t row_types[] = {1, 2, 3, 6, 7, 8};
    uint64_t single = tensor->elements * 4;
    if (tensor->ne[1] == 1 && tensor->ne[2] == 1 && tensor->ne[3] == 1) return single;
    if (strstr(name, "pos_embed") || strstr(name, "position_embedding") || strstr(name, "text_projection")) return single;
    if (strstr(name, "t_embedder.") || strstr(name, "y_embedder.") || strstr(name, "context_embedder.")) return single;
    if (tensor->ne[2] > 1 || tensor->ne[3] > 1) return tensor->elements * 2;
    if (!strstr(name, "token_emb") && strcmp(name, "shared.weight") != 0) return tensor->bytes;
    for (size_t i = 0; i < sizeof(row_types) / sizeof(row_types[0]); i++) {
        if (tensor->type == row_types[i]) return tensor->bytes;
    }
    return single;
}

static uint64_t weights_bytes(const look *self, const cadre__diffusion_facts *facts)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < self->count; i++) {
        const item *at = &self->items[i];
        bool decoder = at->part == CADRE__PART_VAE || at->part == CADRE__PART_TAESD;
        if (at->part == CADRE__PART_ALL || (at->part == CADRE__PART_VAE && facts->tiny)) continue;
        if (decoder && (strncmp(at->name, "encoder.", 8) == 0 || strncmp(at->name, "quant_conv.", 11) == 0)) continue;
        bytes += kept(at->tensor, at->name);
    }
    return bytes;
}

int cadre__diffusion_look(const cadre__diffusion_options *options, cadre__diffusion_facts *out, char *detail, size_t detail_size)
{
    look self = {.options = options, .detail = detail, .detail_size = detail_size};
    int rc = CADRE_OK;
    memset(out, 0, sizeof(*out));
    for (int part = 0; rc == CADRE_OK && part < CADRE__PARTS; part++) {
        if (options->paths[part]) rc = read_file(&self, (cadre__part)part);
    }
    if (rc == CADRE_OK) rc = collect(&self);
    if (rc == CADRE_OK) rc = look_at_transformer(&self, out);
    if (rc == CADRE_OK) rc = look_at_encoders(&self, out);
    if (rc == CADRE_OK) rc = look_at_decoder(&self, out);
    if (rc == CADRE_OK) out->weights_bytes = weights_bytes(&self, out);
    for (int part = 0; part < CADRE__PARTS; part++) cadre__tensors_clear(&self.files[part]);
    free(self.items);
    return rc;
}
