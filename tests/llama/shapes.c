#include "shapes.h"

#include <llama.h>
#include <mtmd.h>

static const char *path_in(const char *variable)
{
    const char *path = getenv(variable);
    if (!path || !*path) fail_msg("%s must name a file (see tests/run.sh)", variable);
    return path;
}

const char *llava(void)
{
    return path_in("CADRE_TEST_LLAVA");
}

const char *llava_mmproj(void)
{
    return path_in("CADRE_TEST_LLAVA_MMPROJ");
}

/* ---- pictures ---- */

const shape ten_shapes[TEN] = {{"red", "circle", 28, 28, 16, 130},    {"blue", "square", 24, 30, 15, 120},  {"green", "triangle", 30, 26, 18, 140},
                               {"yellow", "circle", 20, 34, 14, 125}, {"white", "square", 34, 22, 17, 118}, {"black", "triangle", 27, 29, 19, 135},
                               {"red", "square", 32, 32, 18, 128},    {"blue", "circle", 23, 24, 17, 132},  {"yellow", "triangle", 28, 30, 20, 122},
                               {"green", "circle", 33, 27, 15, 138}};

static const struct {
    const char *name;
    uint8_t rgb[3];
} colours[] = {{"red", {220, 20, 20}},     {"green", {20, 170, 30}},   {"blue", {20, 40, 220}},
               {"yellow", {240, 220, 20}}, {"white", {250, 250, 250}}, {"black", {10, 10, 10}}};

static bool inside(const shape *of, int x, int y)
{
    double dx = x - of->x, dy = y - of->y, r = of->radius;
    if (strcmp(of->form, "circle") == 0) return dx * dx + dy * dy < r * r;
    if (strcmp(of->form, "square") == 0) return dx * dx < r * r * 0.81 && dy * dy < r * r * 0.81;
    return dy < r * 0.8 && (dx < 0 ? -dx : dx) < (dy + r * 0.9) * 0.6;
}

cadre_image_input shape_draw(picture *to, const shape *of)
{
    const uint8_t *colour = NULL;
    for (size_t i = 0; i < COUNT(colours); i++) {
        if (strcmp(colours[i].name, of->colour) == 0) colour = colours[i].rgb;
    }
    assert_non_null(colour);
    for (int y = 0; y < SHAPE_SIDE; y++) {
        for (int x = 0; x < SHAPE_SIDE; x++) {
            uint8_t *pixel = to->pixels + (y * SHAPE_SIDE + x) * 3;
            for (int c = 0; c < 3; c++) pixel[c] = inside(of, x, y) ? colour[c] : (uint8_t)of->grey;
        }
    }
    return cadre_image_from_rgb8(to->pixels, SHAPE_SIDE, SHAPE_SIDE);
}

/* ---- models ---- */

cadre_llama_options shape_options(void)
{
    cadre_llama_options options = chat_options(llava());
    options.mmproj = llava_mmproj();
    return options;
}

static void on_settled(cadre_pool *pool, cadre_worker_id worker, int status, const char *detail, void *data)
{
    spawned *to = data;
    (void)pool;
    (void)worker;
    to->status = status;
    snprintf(to->detail, sizeof to->detail, "%s", detail);
    to->settled++;
}

void shape_spawn(fixture *fx, spawned *worker, const char *key, const cadre_llama_options *options, cadre_weights_future *weights)
{
    cadre_vision_loader loader;
    memset(worker, 0, sizeof *worker);
    assert_status(weights ? cadre_llama_vision_shared(weights, options, &loader) : cadre_llama_vision(options, &loader), 0);
    assert_status(cadre_spawn_vision(fx->pool, key, &loader, NULL, NULL, on_settled, worker, &worker->id), 0);
    run_until_int(fx, &worker->settled, 1);
}

cadre_describe_params shape_question(const char *key, const char *query, const cadre_image_input *images, size_t count)
{
    cadre_describe_params params = CADRE_DESCRIBE_PARAMS_INIT;
    params.key = key;
    params.query = query;
    params.images = images;
    params.image_count = count;
    params.sampling.temperature = 0;
    params.sampling.max_tokens = 24;
    return params;
}

void shape_ask(fixture *fx, reply *r, cadre_describe_params *params)
{
    chat_reply_begin(fx, r);
    params->on_text = chat_on_text;
    params->on_done = chat_on_done;
    params->data = r;
    chat_reply_started(r, cadre_describe(fx->pool, params, &r->id));
}

void shape_ask_and_wait(fixture *fx, reply *r, cadre_describe_params *params)
{
    shape_ask(fx, r, params);
    chat_until_replied(fx, r, 1);
}

void shape_assert_seen(fixture *fx, reply *r, const char *key, size_t index)
{
    static picture drawn;
    const cadre_image_input image = shape_draw(&drawn, &ten_shapes[index]);
    cadre_describe_params params = shape_question(key, WHAT, &image, 1);
    shape_ask_and_wait(fx, r, &params);
    if (r->status != 0) fail_msg("%s: %s (%s)", key, cadre_err_name(r->status), r->detail);
    assert_contains(r->text, ten_shapes[index].colour);
    assert_contains(r->text, ten_shapes[index].form);
}

int shape_entry(shape_given *g, cadre_capability capability, const char *path, const char *mmproj, void **self)
{
    static const char *const devices[] = {"host"};
    const cadre_backend *backend = cadre_llama_backend();
    assert_true(backend->option_count <= COUNT(g->values));
    memset(g, 0, sizeof *g);
    for (size_t i = 0; i < backend->option_count; i++) {
        const char *text = strcmp(backend->options[i].name, "path") == 0 ? path : strcmp(backend->options[i].name, "mmproj") == 0 ? mmproj : NULL;
        if (text) g->values[i] = (cadre_option_value){.given = 1, .string = text};
    }
    g->entry = (cadre_backend_entry){
        .size = sizeof g->entry, .key = "eyes", .capability = capability, .options = g->values, .device_names = devices, .device_count = 1};
    *self = NULL;
    return backend->open(backend, &g->entry, self);
}

/* ---- towers ---- */

static struct ggml_tensor *add_tensor(struct ggml_context *memory, struct gguf_context *file, const struct ggml_tensor *like, const char *name, int dimension,
                                      int64_t length)
{
    int64_t lengths[GGML_MAX_DIMS];
    memcpy(lengths, like->ne, sizeof lengths);
    if (dimension >= 0) lengths[dimension] = length;
    struct ggml_tensor *tensor = ggml_new_tensor(memory, like->type, ggml_n_dims(like), lengths);
    size_t bytes = ggml_nbytes(tensor), given = ggml_nbytes(like);
    for (size_t at = 0; at < bytes; at += given) memcpy((char *)tensor->data + at, like->data, bytes - at < given ? bytes - at : given);
    ggml_set_name(tensor, name);
    gguf_add_tensor(file, tensor);
    return tensor;
}

static void add_blocks(struct ggml_context *memory, struct gguf_context *file, const struct ggml_tensor *like, uint32_t blocks)
{
    char name[64];
    for (uint32_t i = 0; i < blocks; i++) {
        snprintf(name, sizeof name, "v.blk.%u.%s", i, like->name + strlen("v.blk.0."));
        add_tensor(memory, file, like, name, -1, 0);
    }
}

void tower_make(const char *path, tower like)
{
    struct ggml_context *from, *memory = ggml_init((struct ggml_init_params){.mem_size = 64u << 20});
    struct gguf_context *whole = gguf_init_from_file(llava_mmproj(), (struct gguf_init_params){.no_alloc = false, .ctx = &from}), *file = gguf_init_empty();
    assert_true(whole && file && memory);
    gguf_set_kv(file, whole);
    gguf_set_val_u32(file, "clip.vision.image_size", like.side);
    gguf_set_val_u32(file, "clip.vision.block_count", like.blocks);
    for (struct ggml_tensor *t = ggml_get_first_tensor(from); t; t = ggml_get_next_tensor(from, t)) {
        if (gguf_find_tensor(whole, t->name) < 0) continue; /* the loader's own tensor around all data */
        if (strncmp(t->name, "v.blk.0.", 8) == 0) add_blocks(memory, file, t, like.blocks);
        if (strncmp(t->name, "v.blk.", 6) == 0) continue;
        int dimension = strcmp(t->name, "mm.2.weight") == 0              ? 1
                        : strcmp(t->name, "mm.2.bias") == 0              ? 0
                        : strcmp(t->name, "v.position_embd.weight") == 0 ? 1
                                                                         : -1;
        if (like.stacked > 1 && strcmp(t->name, "mm.0.weight") == 0) {
            add_tensor(memory, file, t, t->name, 0, like.stacked * t->ne[0]);
            continue;
        }
        int64_t side = like.side / 14, length = strncmp(t->name, "mm.2", 4) == 0 ? (int64_t)like.output : side * side + 1;
        add_tensor(memory, file, t, t->name, dimension, length);
    }
    assert_true(gguf_write_to_file(file, path, false));
    gguf_free(file);
    gguf_free(whole);
    ggml_free(from);
    ggml_free(memory);
}

/* ---- files ---- */

void file_spoil(const char *from, const char *to, size_t bytes, size_t at, unsigned char mask)
{
    static unsigned char buffer[1 << 20];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    assert_true(in && out);
    size_t count = fread(buffer, 1, bytes < sizeof buffer ? bytes : sizeof buffer, in);
    if (at < count) buffer[at] ^= mask;
    assert_size(fwrite(buffer, 1, count, out), count);
    fclose(in);
    fclose(out);
}

static void copy_with(const char *from, const char *to, const char *key, uint32_t value, const int32_t *list, size_t count)
{
    struct ggml_context *tensors;
    struct gguf_context *file = gguf_init_from_file(from, (struct gguf_init_params){.no_alloc = false, .ctx = &tensors}), *changed = gguf_init_empty();
    assert_true(file && changed);
    gguf_set_kv(changed, file);
    if (list)
        gguf_set_arr_data(changed, key, GGUF_TYPE_INT32, list, count);
    else if (strstr(key, "epsilon"))
        gguf_set_val_f32(changed, key, -(float)value);
    else
        gguf_set_val_u32(changed, key, value);
    for (struct ggml_tensor *t = ggml_get_first_tensor(tensors); t; t = ggml_get_next_tensor(tensors, t)) {
        if (gguf_find_tensor(file, t->name) >= 0) gguf_add_tensor(changed, t);
    }
    assert_true(gguf_write_to_file(changed, to, false));
    gguf_free(changed);
    gguf_free(file);
    ggml_free(tensors);
}

void file_set_number(const char *from, const char *to, const char *key, uint32_t value)
{
    copy_with(from, to, key, value, NULL, 0);
}

void file_set_list(const char *from, const char *to, const char *key, const int32_t *list, size_t count)
{
    copy_with(from, to, key, 0, list, count);
}

/* ---- the engine alone ---- */

typedef struct bare_vision {
    struct llama_model *model;
    struct llama_context *context;
    mtmd_context *tower;
    llama_pos position;
} bare_vision;

static void bare_text(bare_vision *engine, const llama_token *tokens, size_t count)
{
    struct llama_batch batch = llama_batch_init((int32_t)count, 0, 1);
    for (int32_t i = 0; i < (int32_t)count; i++) {
        batch.token[i] = tokens[i];
        batch.pos[i] = engine->position++;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = i == (int32_t)count - 1;
    }
    batch.n_tokens = (int32_t)count;
    assert_int_equal(llama_decode(engine->context, batch), 0);
    llama_batch_free(batch);
}

static void bare_image(bare_vision *engine, const mtmd_input_chunk *chunk)
{
    int32_t count = (int32_t)mtmd_input_chunk_get_n_tokens(chunk), width = llama_model_n_embd(engine->model);
    struct llama_batch batch = llama_batch_init(count, width, 1);
    assert_int_equal(mtmd_encode_chunk(engine->tower, chunk), 0);
    memcpy(batch.embd, mtmd_get_output_embd(engine->tower), (size_t)count * (size_t)width * sizeof(float));
    for (int32_t i = 0; i < count; i++) {
        batch.pos[i] = engine->position++;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = 0;
    }
    batch.n_tokens = count;
    assert_int_equal(llama_decode(engine->context, batch), 0);
    llama_batch_free(batch);
}

static void bare_prompt(bare_vision *engine, const char *prompt, const picture *pictures, size_t count)
{
    mtmd_bitmap *bitmaps[8];
    assert_true(count <= COUNT(bitmaps));
    for (size_t i = 0; i < count; i++) bitmaps[i] = mtmd_bitmap_init(SHAPE_SIDE, SHAPE_SIDE, pictures[i].pixels);
    mtmd_input_chunks *chunks = mtmd_input_chunks_init();
    struct mtmd_input_text text = {.text = prompt, .text_len = strlen(prompt), .add_special = true, .parse_special = true};
    assert_int_equal(mtmd_tokenize(engine->tower, chunks, &text, (const mtmd_bitmap *const *)bitmaps, count), 0);
    for (size_t i = 0; i < mtmd_input_chunks_size(chunks); i++) {
        const mtmd_input_chunk *chunk = mtmd_input_chunks_get(chunks, i);
        size_t length = 0;
        const llama_token *tokens = mtmd_input_chunk_get_tokens_text(chunk, &length);
        if (mtmd_input_chunk_get_type(chunk) == MTMD_INPUT_CHUNK_TYPE_IMAGE)
            bare_image(engine, chunk);
        else
            bare_text(engine, tokens, length);
    }
    mtmd_input_chunks_free(chunks);
    for (size_t i = 0; i < count; i++) mtmd_bitmap_free(bitmaps[i]);
}

static void bare_generate(bare_vision *engine, bare_answer *out)
{
    const struct llama_vocab *vocab = llama_model_get_vocab(engine->model);
    for (;;) {
        const float *logits = llama_get_logits_ith(engine->context, -1);
        llama_token best = 0;
        for (llama_token token = 1; token < llama_vocab_n_tokens(vocab); token++) best = logits[token] > logits[best] ? token : best;
        if (llama_vocab_is_eog(vocab, best)) return;
        size_t used = strlen(out->text);
        int32_t length = llama_token_to_piece(vocab, best, out->text + used, (int32_t)(sizeof out->text - used - 1), 0, false);
        assert_true(length >= 0);
        out->text[used + (size_t)length] = '\0';
        out->generated_tokens++;
        bare_text(engine, &best, 1);
    }
}

void bare_describe(bare_answer *out, const char *prompt, const picture *pictures, size_t count)
{
    struct llama_context_params params = llama_context_default_params();
    struct mtmd_context_params eyes = mtmd_context_params_default();
    bare_vision engine = {.model = llama_model_load_from_file(llava(), llama_model_default_params())};
    assert_non_null(engine.model);
    params.n_ctx = params.n_batch = params.n_ubatch = 512;
    params.n_threads = params.n_threads_batch = eyes.n_threads = 1;
    eyes.use_gpu = eyes.print_timings = false;
    engine.context = llama_init_from_model(engine.model, params);
    engine.tower = mtmd_init_from_file(llava_mmproj(), engine.model, eyes);
    assert_true(engine.context && engine.tower);
    memset(out, 0, sizeof *out);
    bare_prompt(&engine, prompt, pictures, count);
    out->prompt_tokens = (uint32_t)engine.position;
    bare_generate(&engine, out);
    mtmd_free(engine.tower);
    llama_free(engine.context);
    llama_model_free(engine.model);
}
