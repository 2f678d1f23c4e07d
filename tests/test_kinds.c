/* Every way into the registry × every capability × every call and form of input: after the load, nothing tells how the model came. */
#include "fetched.h"
#include "scripted_backend.h"

#include <unistd.h>

/* How a model comes to be. */
typedef struct way {
    const char *name, *backend; /* NULL: a typed loader, of this kind */
    cadre_loader_kind loader;
    script_kind kind;
    bool shares;
} way;

static const way ways[] = {
    {"backend, sync", "plain", CADRE_LOADER_SYNC, KIND_BLOCKING, false},
    {"backend, async", "plain", CADRE_LOADER_ASYNC, KIND_BLOCKING, false},
    {"shared weights, sync", "shared", CADRE_LOADER_SYNC, KIND_BLOCKING, true},
    {"shared weights, async", "shared", CADRE_LOADER_ASYNC, KIND_BLOCKING, true},
    {"shared weights, preloaded", "shared", CADRE_LOADER_PRELOADED, KIND_BLOCKING, true},
    {"typed, blocking", NULL, CADRE_LOADER_SYNC, KIND_BLOCKING, false},
    {"typed, async", NULL, CADRE_LOADER_SYNC, KIND_ASYNC, false},
    {"typed, preloaded", NULL, CADRE_LOADER_SYNC, KIND_PRELOADED, true},
    {"typed, chained", NULL, CADRE_LOADER_SYNC, KIND_CHAINED, false},
};

/* ---- pictures of the text "cat", in each form ---- */

static char picture_path[64];

static void free_bytes(void *data, size_t length)
{
    (void)length;
    free(data);
}

static int decode(void *self, cadre_op *op, const void *bytes, size_t length, uint64_t max_pixels, cadre_image *out, cadre_blob *pixels)
{
    (void)self, (void)max_pixels;
    if (length != 7 || memcmp(bytes, "PIC:cat", 7) != 0) return cadre_op_fail(op, CADRE_EINPUT, "not a picture");
    char *copy = malloc(3);
    if (!copy) return CADRE_ENOMEM;
    memcpy(copy, "cat", 3);
    *out = (cadre_image){sizeof *out, 1, 1, 3, (const uint8_t *)copy};
    *pixels = (cadre_blob){copy, 3, free_bytes};
    return 0;
}

static cadre_weights_future *fetch(void *self, cadre_pool *pool, const char *url, uint64_t max_bytes)
{
    (void)self, (void)url, (void)max_bytes;
    return fetched_now(pool, "PIC:cat", 7);
}

static fixture *begin(void)
{
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    cadre_image_decoder decoder = {sizeof decoder, NULL, 64, 4096, decode};
    cadre_image_fetcher fetcher = {sizeof fetcher, NULL, fetch};
    options.decoder = &decoder;
    options.fetcher = &fetcher;
    snprintf(picture_path, sizeof picture_path, "/tmp/cadre_kinds_%d", (int)getpid());
    FILE *file = fopen(picture_path, "wb");
    assert_non_null(file);
    fputs("PIC:cat", file);
    fclose(file);
    return registry_begin_all(&options);
}

static void end(fixture *fx)
{
    unlink(picture_path);
    fixture_end(fx);
}

#define FORMS 6
static cadre_image_input form(size_t i)
{
    switch (i) {
    case 0: return cadre_image_from_rgb8((const uint8_t *)"cat", 1, 1);
    case 1: return cadre_image_from_string(CADRE_IMAGE_PATH, picture_path);
    case 2: return cadre_image_from_bytes("PIC:cat", 7);
    case 3: return cadre_image_from_string(CADRE_IMAGE_BASE64, "UElDOmNhdA==");
    case 4: return cadre_image_from_string(CADRE_IMAGE_BASE64, "data:image/png;base64,UElDOmNhdA==");
    default: return cadre_image_from_string(CADRE_IMAGE_URL, "https://host/cat");
    }
}

/* ---- every call ---- */

static answer *text_call(script *s, bool messages, bool raw, bool streamed, int32_t max_tokens)
{
    static const cadre_chat_message chat[] = {{"system", "be brief"}, {"user", "hello"}};
    answer *a = answer_new(s->fx);
    cadre_generate_params p = CADRE_GENERATE_PARAMS_INIT;
    p.key = s->key;
    if (messages) {
        p.messages = chat;
        p.message_count = COUNT(chat);
    } else {
        p.text = "hello";
    }
    p.raw = raw;
    p.sampling.max_tokens = max_tokens;
    p.on_text = streamed ? answer_on_text : NULL;
    p.on_done = answer_on_generation;
    p.data = a;
    a->unstreamed = !streamed;
    a->rc = cadre_generate(s->fx->pool, &p, &a->id);
    assert_status(a->rc, 0);
    return a;
}

static void check_text(const answer *a, const char *text)
{
    assert_status(a->status, 0);
    assert_string_equal(a->text, text);
}

static void every_text_call(script *s)
{
    answer *a[] = {text_call(s, false, false, true, CADRE_DEFAULT), text_call(s, false, false, false, CADRE_DEFAULT),
                   text_call(s, true, false, true, CADRE_DEFAULT),  text_call(s, true, false, false, CADRE_DEFAULT),
                   text_call(s, false, true, true, CADRE_DEFAULT),  text_call(s, false, false, true, 1)};
    until_all_done(s->fx);
    for (size_t i = 0; i < COUNT(a); i++) {
        check_text(a[i], i + 1 < COUNT(a) ? "hello 1 2" : "hello");
        assert_size(a[i]->pieces, a[i]->unstreamed ? 0 : i + 1 < COUNT(a) ? 3 : 1);
    }
}

static answer *vision_call(script *s, const cadre_image_input *images, size_t count, bool streamed)
{
    answer *a = answer_new(s->fx);
    cadre_describe_params p = CADRE_DESCRIBE_PARAMS_INIT;
    p.key = s->key;
    p.query = "what is it";
    p.images = images;
    p.image_count = count;
    p.on_text = streamed ? answer_on_text : NULL;
    p.on_done = answer_on_generation;
    p.data = a;
    a->unstreamed = !streamed;
    a->rc = cadre_describe(s->fx->pool, &p, &a->id);
    assert_status(a->rc, 0);
    return a;
}

static void every_vision_call(script *s)
{
    cadre_image_input all[FORMS];
    answer *a[FORMS + 2];
    for (size_t i = 0; i < FORMS; i++) {
        all[i] = form(i);
        a[i] = vision_call(s, &all[i], 1, true);
    }
    a[FORMS] = vision_call(s, all, FORMS, true);
    a[FORMS + 1] = vision_call(s, all, 2, false);
    until_all_done(s->fx);
    for (size_t i = 0; i < COUNT(a); i++) check_text(a[i], "what is it 1 2");
}

static answer *embed_call(script *s, const char *const *texts, size_t count)
{
    answer *a = answer_new(s->fx);
    cadre_embed_params p = CADRE_EMBED_PARAMS_INIT;
    p.key = s->key;
    p.text = count ? NULL : texts[0];
    p.texts = count ? texts : NULL;
    p.count = count;
    p.on_done = answer_on_embeddings;
    p.data = a;
    a->rc = cadre_embed(s->fx->pool, &p, &a->id);
    assert_status(a->rc, 0);
    return a;
}

static void check_rows(const script *s, const answer *a, const char *const *texts, size_t count)
{
    assert_status(a->status, 0);
    assert_size(a->count, count);
    assert_size(a->dimension, s->dimension);
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < s->dimension; j++) assert_true(a->values[i * s->dimension + j] == script_hash(texts[i], strlen(texts[i])) + (float)j);
}

static void every_embed_call(script *s)
{
    static const char *const texts[] = {"one", "two", "", "four", "five", "six", "seven", "eight", "nine", "ten"};
    answer *single = embed_call(s, texts, 0), *one = embed_call(s, texts, 1), *batch = embed_call(s, texts, COUNT(texts)), *more = embed_call(s, texts + 3, 5);
    until_all_done(s->fx);
    check_rows(s, single, texts, 1);
    check_rows(s, one, texts, 1);
    check_rows(s, batch, texts, COUNT(texts));
    check_rows(s, more, texts + 3, 5);
}

static answer *embed_images_call(script *s, const cadre_image_input *images, size_t count)
{
    answer *a = answer_new(s->fx);
    cadre_embed_images_params p = CADRE_EMBED_IMAGES_PARAMS_INIT;
    p.key = s->key;
    p.images = images;
    p.count = count;
    p.on_done = answer_on_embeddings;
    p.data = a;
    a->rc = cadre_embed_images(s->fx->pool, &p, &a->id);
    assert_status(a->rc, 0);
    return a;
}

static void every_embed_images_call(script *s)
{
    static const char *const cats[] = {"cat", "cat", "cat", "cat", "cat", "cat"};
    cadre_image_input all[FORMS];
    answer *a[FORMS];
    for (size_t i = 0; i < FORMS; i++) {
        all[i] = form(i);
        a[i] = embed_images_call(s, &all[i], 1);
    }
    answer *batch = embed_images_call(s, all, FORMS);
    until_all_done(s->fx);
    for (size_t i = 0; i < FORMS; i++) check_rows(s, a[i], cats, 1);
    check_rows(s, batch, cats, FORMS);
}

static void every_paint_call(script *s)
{
    answer *plain = ask(s, "a cat"), *sized = answer_new(s->fx);
    cadre_generate_image_params p = CADRE_GENERATE_IMAGE_PARAMS_INIT;
    p.key = s->key;
    p.prompt = "a dog";
    p.negative_prompt = "cats";
    p.width = 16;
    p.height = 2;
    p.steps = 7;
    p.guidance = 1.5f;
    p.seed = 42;
    p.on_step = answer_on_step;
    p.on_done = answer_on_image;
    p.data = sized;
    sized->rc = cadre_generate_image(s->fx->pool, &p, &sized->id);
    assert_status(sized->rc, 0);
    until_all_done(s->fx);
    assert_answered(s, plain, "a cat");
    assert_status(sized->status, 0);
    assert_size(sized->image.width, 16);
    assert_size(sized->image.height, 2);
    assert_size(sized->total_steps, 7);
}

static void every_call(script *s)
{
    static void (*const calls[CADRE_CAPABILITY_COUNT])(script *) = {every_text_call, every_embed_call, every_embed_images_call, every_vision_call,
                                                                    every_paint_call};
    calls[s->capability](s);
}

/* ---- the matrix ---- */

static script *begin_way(fixture *fx, const way *w, cadre_capability capability, uint32_t slots)
{
    script *s = script_new(fx, capability, w->kind, "m");
    s->slots = slots;
    cadre_entry entry = entry_of(s);
    cadre_memory_need need;
    entry_takes(&entry, &need, 1000, 100);
    entry.loader = (int32_t)w->loader;
    entry.backend = w->backend;
    entry.name = "A model";
    entry.provider = "somebody";
    if (w->backend) {
        add(fx, &entry);
        return s;
    }
    told t = {0};
    assert_status(script_add_typed(s, &entry, on_told, &t), 0);
    run_until_int(fx, &t.count, 1);
    assert_status(t.status, 0);
    return s;
}

static void for_all(void (*run)(fixture *fx, const way *w, script *s))
{
    for (size_t i = 0; i < COUNT(ways); i++)
        for (int capability = 0; capability < CADRE_CAPABILITY_COUNT; capability++)
            for (uint32_t slots = 0; slots <= (capability_streams((cadre_capability)capability) ? 3u : 0u); slots += 3) {
                row("%s, %s, %u slots", ways[i].name, cadre_capability_name((cadre_capability)capability), slots);
                fixture *fx = begin();
                run(fx, &ways[i], begin_way(fx, &ways[i], (cadre_capability)capability, slots));
                end(fx);
            }
}

static void serve_every_call(fixture *fx, const way *w, script *s)
{
    every_call(s); /* cold */
    every_call(s); /* ready */
    assert_size(info_of(fx, "m").workers, 1);
    assert_size(charged(fx, 0), 1100);
    assert_int_equal(atomic_load(&s->made), 1);
    assert_string_equal(info_of(fx, "m").name, "A model");
    assert_string_equal(info_of(fx, "m").provider, "somebody");
    assert_int_equal(info_of(fx, "m").capability, s->capability);
    if (w->backend)
        assert_string_equal(info_of(fx, "m").backend, w->backend);
    else
        assert_null(info_of(fx, "m").backend);
    assert_status(unload_now(fx, "m").status, 0);
    assert_size(charged(fx, 0), 0);
    every_call(s); /* once more */
    assert_int_equal(atomic_load(&s->made), 2);
    if (w->backend) assert_int_equal(atomic_load(&s->begun[OP_LOAD]), 2);
}

static void every_call_of_every_capability_is_served_by_every_kind(void **state)
{
    (void)state;
    for_all(serve_every_call);
}

static void remove_way(fixture *fx, const way *w, script *s)
{
    answer *a = ask(s, "hello");
    until_done(a);
    assert_answered(s, a, "hello");
    assert_int_equal(atomic_load(&s->released) + atomic_load(&s->closed), 0);
    told t = remove_now(fx, "m");
    assert_status(t.status, 0);
    assert_size(charged(fx, 0), 0);
    assert_int_equal(atomic_load(&s->destroyed), 1);
    run_until_atomic(fx, w->backend ? &s->closed : &s->released, 1);
    answer *gone = answer_new(fx);
    assert_status(submit(s, gone, "hello", NULL), CADRE_ENOENT);
    assert_size(snapshot_of(fx).models, 0);
}

static void a_removal_closes_every_kind(void **state)
{
    (void)state;
    for_all(remove_way);
}

static void fail_way(fixture *fx, const way *w, script *s)
{
    if (w->loader == CADRE_LOADER_PRELOADED || w->kind == KIND_PRELOADED) return;
    atomic_store(&s->status[OP_LOAD], CADRE_EFORMAT);
    s->detail = "no magic";
    answer *one = ask(s, "one"), *two = ask(s, "two");
    until_done(one);
    until_done(two);
    assert_status(one->status, CADRE_EFORMAT);
    assert_status(two->status, CADRE_EFORMAT);
    assert_contains(one->detail, "no magic");
    until_charged(fx, 0);
    assert_int_equal(atomic_load(&s->made), 0);
    atomic_store(&s->status[OP_LOAD], 0);
    pass_time(fx, 1000);
    until_done(two = ask(s, "three"));
    assert_answered(s, two, "three");
}

static void a_failed_load_of_every_kind_is_told_and_tried_again(void **state)
{
    (void)state;
    for_all(fail_way);
}

static void close_while_loading(fixture *fx, const way *w, script *s)
{
    (void)w;
    s->obey_cancel = true;
    script_hold(s, OP_LOAD);
    ask(s, "hello");
    if (s->kind != KIND_PRELOADED && w->loader != CADRE_LOADER_PRELOADED) script_until(s, OP_LOAD, 1);
    cadre_close_options options = CADRE_CLOSE_OPTIONS_INIT;
    options.drain_ms = 0;
    fixture_start_close(fx, &options);
    until_all_done(fx);
    scripts_open(fx);
    scripts_let_go(fx);
}

static void a_close_ends_a_load_of_every_kind(void **state)
{
    (void)state;
    for_all(close_while_loading);
}

/* ---- workers of one model ---- */

static void share_way(fixture *fx, const way *w, script *s)
{
    cadre_entry_info info = info_of(fx, "m");
    assert_size(info.workers, 0);
    assert_status(remove_now(fx, "m").status, 0);
    script *many = script_new(fx, s->capability, w->kind, "many");
    cadre_entry entry = entry_of(many);
    cadre_memory_need need;
    entry_takes(&entry, &need, 1000, 100);
    entry.loader = (int32_t)w->loader;
    entry.backend = w->backend;
    entry.initial_workers = 3;
    told t = {0};
    script_hold(many, OP_LOAD);
    if (w->backend)
        assert_status(cadre_registry_add(fx->pool, &entry, on_told, &t), 0);
    else
        assert_status(script_add_typed(many, &entry, on_told, &t), 0);
    run_until_int(fx, &t.count, 1);
    answer *a = ask(many, "hello");
    settle(fx);
    script_open(many, OP_LOAD);
    until_workers(fx, "many", 3);
    until_done(a);
    assert_answered(many, a, "hello");
    assert_int_equal(atomic_load(&many->begun[OP_LOAD]), w->shares ? 1 : 3);
    assert_size(charged(fx, 0), w->shares && w->backend ? 1300 : 3300);
}

static void several_workers_share_weights_or_do_not(void **state)
{
    (void)state;
    for_all(share_way);
}

#define SUITE kinds
#include "suite.h"
