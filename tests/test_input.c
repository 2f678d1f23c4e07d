/* Bad input: every public function with what it must refuse. A refusal leaves nothing behind, releases what was lent, and names the field. */
#include "scripted.h"

static int releases;
static void count_release(void *data)
{
    (void)data;
    releases++;
}

/* A key that no spawn can have taken: both answers are right. */
#define EINVAL_OR_ENOENT 1

static long blocks_before;
static void check_refusal(fixture *fx, int rc, int expected, const char *detail, int released)
{
    fx->calling--;
    if (expected == EINVAL_OR_ENOENT) expected = rc == CADRE_ENOENT ? CADRE_ENOENT : CADRE_EINVAL;
    assert_status(rc, expected);
    if (detail) assert_contains(cadre_pool_error_detail(fx->pool), detail);
    if (released >= 0) assert_int_equal(releases, released);
    assert_true(atomic_load(&fx->memory.blocks) == blocks_before);
    if (detail) row("%s", "");
}

static void before(fixture *fx, const char *what)
{
    row("%s", what);
    releases = 0;
    blocks_before = atomic_load(&fx->memory.blocks);
    fx->calling++;
}

/* One change of a valid struct p, one call. RELEASED: how often a release callback must have run; -1: the struct cannot be read. */
#define TRY(CHANGE, RC, DETAIL, RELEASED)                                                                                                                      \
    do {                                                                                                                                                       \
        PARAMS p = valid;                                                                                                                                      \
        CHANGE;                                                                                                                                                \
        before(fx, #CHANGE);                                                                                                                                   \
        check_refusal(fx, CALL(fx->pool, &p, NULL), RC, DETAIL, RELEASED);                                                                                     \
    } while (0)
#define REFUSES(CHANGE, DETAIL) TRY(CHANGE, CADRE_EINVAL, DETAIL, 1)

static char long_key[300];
static const char *const bad_keys[] = {NULL, "", long_key, "a\nb", "a\x01", "\x7f", "tab\there"};

#define REFUSES_COMMON                                                                                                                                         \
    REFUSES(p.key = NULL, "key");                                                                                                                              \
    for (size_t i = 1; i < COUNT(bad_keys); i++) TRY(p.key = bad_keys[i], EINVAL_OR_ENOENT, NULL, 1);                                                          \
    TRY(p.key = "nobody", CADRE_ENOENT, "nobody", 1);                                                                                                          \
    TRY(p.key = "other", CADRE_ECAPABILITY, "other", 1);                                                                                                       \
    TRY(p.size = 0, CADRE_EINVAL, "size", -1);                                                                                                                 \
    TRY(p.size = sizeof p + 1, CADRE_EINVAL, "size", -1);                                                                                                      \
    TRY(p.size = SIZE_MAX, CADRE_EINVAL, "size", -1);                                                                                                          \
    REFUSES(p.on_done = NULL, "on_done");                                                                                                                      \
    TRY(p.options.size = 0, CADRE_EINVAL, "options", -1);                                                                                                      \
    TRY(p.options.size++, CADRE_EINVAL, "options", -1);                                                                                                        \
    REFUSES(p.options.priority = 5, "priority");                                                                                                               \
    REFUSES(p.options.priority = -2, "priority");                                                                                                              \
    REFUSES(p.options.priority = INT32_MAX, "priority");                                                                                                       \
    REFUSES(p.options.timeout_ms = 0, "timeout_ms");                                                                                                           \
    REFUSES(p.options.timeout_ms = -2, "timeout_ms");                                                                                                          \
    REFUSES(p.options.timeout_ms = INT64_MIN, "timeout_ms")

#define REFUSES_FLOAT(FIELD, LOW, HIGH)                                                                                                                        \
    REFUSES(p.sampling.FIELD = LOW, #FIELD);                                                                                                                   \
    REFUSES(p.sampling.FIELD = HIGH, #FIELD);                                                                                                                  \
    REFUSES(p.sampling.FIELD = INFINITY, #FIELD);                                                                                                              \
    REFUSES(p.sampling.FIELD = -INFINITY, #FIELD)

static const char *const many_stops[17] = {"a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a"};
static const char *const empty_stop[1] = {""}, *const null_stop[1] = {NULL}, *const broken_stop[1] = {"\xff"};

#define REFUSES_SAMPLING                                                                                                                                       \
    TRY(p.sampling.size = 0, CADRE_EINVAL, "sampling", -1);                                                                                                    \
    TRY(p.sampling.size++, CADRE_EINVAL, "sampling", -1);                                                                                                      \
    REFUSES_FLOAT(temperature, -0.1f, -1.0f);                                                                                                                  \
    REFUSES_FLOAT(top_p, -0.1f, 1.5f);                                                                                                                         \
    REFUSES_FLOAT(min_p, -0.1f, 1.1f);                                                                                                                         \
    REFUSES_FLOAT(repeat_penalty, 0.0f, -1.0f);                                                                                                                \
    REFUSES_FLOAT(frequency_penalty, -2.1f, 2.1f);                                                                                                             \
    REFUSES_FLOAT(presence_penalty, -2.1f, 2.1f);                                                                                                              \
    REFUSES(p.sampling.top_k = -2, "top_k");                                                                                                                   \
    REFUSES(p.sampling.seed = -2, "seed");                                                                                                                     \
    REFUSES(p.sampling.seed = (int64_t)UINT32_MAX + 1, "seed");                                                                                                \
    REFUSES(p.sampling.max_tokens = 0, "max_tokens");                                                                                                          \
    REFUSES(p.sampling.max_tokens = -2, "max_tokens");                                                                                                         \
    REFUSES((p.sampling.stop = many_stops, p.sampling.stop_count = 17), "stop");                                                                               \
    REFUSES((p.sampling.stop = empty_stop, p.sampling.stop_count = 1), "stop");                                                                                \
    REFUSES((p.sampling.stop = null_stop, p.sampling.stop_count = 1), "stop");                                                                                 \
    REFUSES((p.sampling.stop = broken_stop, p.sampling.stop_count = 1), "stop");                                                                               \
    REFUSES(p.sampling.stop_count = 1, "stop");                                                                                                                \
    REFUSES(p.sampling.grammar = "\xc3", "grammar")

/* Each is not UTF-8: a lone continuation, a cut sequence, an overlong form, a surrogate, beyond U+10FFFF, Latin-1. */
static const char *const not_utf8[] = {"\x80",
                                       "a\xc3",
                                       "\xc0\xaf",
                                       "\xe0\x80\xaf",
                                       "\xed\xa0\x80",
                                       "\xf4\x90\x80\x80",
                                       "\xf5\x80\x80\x80",
                                       "Stra\xdf"
                                       "e",
                                       "\xe2\x82"};

static fixture *begin(cadre_capability capability)
{
    memset(long_key, 'k', 256);
    fixture *fx = fixture_begin();
    script_ready(fx, capability, "m");
    script_ready(fx, capability == CADRE_VISION ? CADRE_TEXT_TO_TEXT : CADRE_VISION, "other");
    settle(fx);
    return fx;
}

static void never_text(cadre_request *r, const char *text, size_t length)
{
    (void)r;
    (void)text;
    (void)length;
    abort();
}
static void never_generation(cadre_request *r, int status, const cadre_generation *result)
{
    (void)r;
    (void)status;
    (void)result;
    abort();
}
static void never_embeddings(cadre_request *r, int status, const cadre_embeddings *result)
{
    (void)r;
    (void)status;
    (void)result;
    abort();
}
static void never_image(cadre_request *r, int status, const cadre_image *result)
{
    (void)r;
    (void)status;
    (void)result;
    abort();
}

static void text_requests(void **state)
{
    (void)state;
#define PARAMS cadre_generate_params
#define CALL cadre_generate
    fixture *fx = begin(CADRE_TEXT_TO_TEXT);
    static const cadre_chat_message good[] = {{"user", "hi"}}, no_role[] = {{NULL, "hi"}}, no_content[] = {{"user", NULL}}, broken[] = {{"user", "\xff"}},
                                    broken_role[] = {{"\xff", "hi"}};
    PARAMS valid = CADRE_GENERATE_PARAMS_INIT;
    valid.key = "m";
    valid.text = "hello";
    valid.on_text = never_text;
    valid.on_done = never_generation;
    valid.options.release = count_release;
    REFUSES_COMMON;
    REFUSES_SAMPLING;
    REFUSES(p.text = NULL, "text");
    REFUSES(p.text = "", "text");
    for (size_t i = 0; i < COUNT(not_utf8); i++) REFUSES(p.text = not_utf8[i], "text");
    REFUSES((p.messages = good, p.message_count = 1), "messages"); /* both */
    REFUSES((p.text = NULL, p.messages = good, p.message_count = 0), "message");
    REFUSES((p.text = NULL, p.messages = NULL, p.message_count = 1), "text");
    REFUSES((p.text = NULL, p.messages = no_role, p.message_count = 1), "messages");
    REFUSES((p.text = NULL, p.messages = no_content, p.message_count = 1), "messages");
    REFUSES((p.text = NULL, p.messages = broken, p.message_count = 1), "messages");
    REFUSES((p.text = NULL, p.messages = broken_role, p.message_count = 1), "messages");
    assert_status(cadre_generate(fx->pool, NULL, NULL), CADRE_EINVAL);
    assert_status(cadre_generate(NULL, &valid, NULL), CADRE_EINVAL);
    fixture_end(fx);
#undef PARAMS
#undef CALL
}

static void vision_requests(void **state)
{
    (void)state;
#define PARAMS cadre_describe_params
#define CALL cadre_describe
    fixture *fx = begin(CADRE_VISION);
    uint8_t pixels[12] = {0};
    static cadre_image_input many[65];
    cadre_image_input image = cadre_image_from_rgb8(pixels, 2, 2), bad;
    for (size_t i = 0; i < COUNT(many); i++) many[i] = image;
    PARAMS valid = CADRE_DESCRIBE_PARAMS_INIT;
    valid.key = "m";
    valid.query = "hello";
    valid.images = &image;
    valid.image_count = 1;
    valid.on_text = never_text;
    valid.on_done = never_generation;
    valid.options.release = count_release;
    REFUSES_COMMON;
    REFUSES_SAMPLING;
    REFUSES(p.query = NULL, "query");
    REFUSES(p.query = "", "query");
    for (size_t i = 0; i < COUNT(not_utf8); i++) REFUSES(p.query = not_utf8[i], "query");
    REFUSES(p.images = NULL, "images");
    REFUSES(p.image_count = 0, "images");
    REFUSES((p.images = many, p.image_count = 65), "images");
    REFUSES(p.image_count = SIZE_MAX, "images");
#define BAD_IMAGE(CHANGE) REFUSES((bad = image, CHANGE, p.images = &bad), "images[0]")
    BAD_IMAGE(bad.size = 0);
    BAD_IMAGE(bad.size++);
    BAD_IMAGE(bad.form = (cadre_image_form)5);
    BAD_IMAGE(bad.form = (cadre_image_form)-1);
    BAD_IMAGE(bad.form = CADRE_IMAGE_PATH);
    BAD_IMAGE(bad.form = CADRE_IMAGE_BYTES);
    BAD_IMAGE(bad.form = CADRE_IMAGE_BASE64);
    BAD_IMAGE(bad.form = CADRE_IMAGE_URL);
    BAD_IMAGE(bad.rgb8.width = 0);
    BAD_IMAGE(bad.rgb8.height = 0);
    BAD_IMAGE(bad.rgb8.stride = 5);
    BAD_IMAGE(bad.rgb8.pixels = NULL);
    BAD_IMAGE((bad.rgb8.width = UINT32_MAX, bad.rgb8.stride = 6));
    BAD_IMAGE((bad.rgb8.height = UINT32_MAX, bad.rgb8.stride = SIZE_MAX / 2));
    fixture_end(fx);
#undef PARAMS
#undef CALL
}

static void embedding_requests(void **state)
{
    (void)state;
#define PARAMS cadre_embed_params
#define CALL cadre_embed
    fixture *fx = begin(CADRE_TEXT_EMBEDDING);
    static const char *texts[100000];
    for (size_t i = 0; i < COUNT(texts); i++) texts[i] = "t";
    static const char *const hole[] = {"a", NULL}, *const broken[] = {"a", "\xff"};
    PARAMS valid = CADRE_EMBED_PARAMS_INIT;
    valid.key = "m";
    valid.text = "hello";
    valid.on_done = never_embeddings;
    valid.options.release = count_release;
    REFUSES_COMMON;
    REFUSES(p.text = NULL, "text");
    for (size_t i = 0; i < COUNT(not_utf8); i++) REFUSES(p.text = not_utf8[i], "text");
    REFUSES((p.texts = texts, p.count = 1), "text");
    REFUSES((p.text = NULL, p.texts = texts, p.count = 0), "count");
    REFUSES((p.text = NULL, p.texts = NULL, p.count = 1), "text");
    REFUSES((p.text = NULL, p.texts = texts, p.count = 100000), "count");
    REFUSES((p.text = NULL, p.texts = texts, p.count = CADRE_EMBED_TEXTS_MAX + 1), "count");
    REFUSES((p.text = NULL, p.texts = texts, p.count = SIZE_MAX), "count");
    REFUSES((p.text = NULL, p.texts = hole, p.count = 2), "texts[1]");
    REFUSES((p.text = NULL, p.texts = broken, p.count = 2), "texts[1]");
    REFUSES(p.task = "\xff", "task");
    fixture_end(fx);
#undef PARAMS
#undef CALL
}

static void image_embedding_requests(void **state)
{
    (void)state;
#define PARAMS cadre_embed_images_params
#define CALL cadre_embed_images
    fixture *fx = begin(CADRE_IMAGE_EMBEDDING);
    uint8_t pixels[12] = {0};
    cadre_image_input image = cadre_image_from_rgb8(pixels, 2, 2), two[2] = {image, image};
    two[1].rgb8.width = 0;
    PARAMS valid = CADRE_EMBED_IMAGES_PARAMS_INIT;
    valid.key = "m";
    valid.images = &image;
    valid.count = 1;
    valid.on_done = never_embeddings;
    valid.options.release = count_release;
    REFUSES_COMMON;
    REFUSES(p.images = NULL, "images");
    REFUSES(p.count = 0, "images");
    REFUSES(p.count = CADRE_EMBED_IMAGES_MAX + 1, "images");
    REFUSES(p.count = SIZE_MAX, "images");
    REFUSES((p.images = two, p.count = 2), "images[1]");
    fixture_end(fx);
#undef PARAMS
#undef CALL
}

static void text_to_image_requests(void **state)
{
    (void)state;
#define PARAMS cadre_generate_image_params
#define CALL cadre_generate_image
    fixture *fx = begin(CADRE_TEXT_TO_IMAGE);
    PARAMS valid = CADRE_GENERATE_IMAGE_PARAMS_INIT;
    valid.key = "m";
    valid.prompt = "hello";
    valid.on_done = never_image;
    valid.options.release = count_release;
    REFUSES_COMMON;
    REFUSES(p.prompt = NULL, "prompt");
    REFUSES(p.prompt = "", "prompt");
    for (size_t i = 0; i < COUNT(not_utf8); i++) REFUSES(p.prompt = not_utf8[i], "prompt");
    REFUSES(p.negative_prompt = "\xff", "negative_prompt");
    static const int32_t bad[] = {0, -2, INT32_MIN};
    for (size_t i = 0; i < COUNT(bad); i++) {
        REFUSES(p.width = bad[i], "width");
        REFUSES(p.height = bad[i], "height");
        REFUSES(p.steps = bad[i], "steps");
    }
    REFUSES(p.width = 16385, "width");
    REFUSES(p.height = INT32_MAX, "height");
    REFUSES(p.steps = 1001, "steps");
    REFUSES(p.guidance = -0.1f, "guidance");
    REFUSES(p.guidance = INFINITY, "guidance");
    REFUSES(p.seed = -2, "seed");
    REFUSES(p.seed = (int64_t)UINT32_MAX + 1, "seed");
    fixture_end(fx);
#undef PARAMS
#undef CALL
}

/* ---- spawning ---- */

static cadre_text_embedding_future *never_load(cadre_load_context *context, void *data)
{
    (void)context;
    (void)data;
    abort();
}

static void spawns_consume_what_they_refuse(void **state)
{
    (void)state;
    fixture *fx = begin(CADRE_TEXT_EMBEDDING);
    const cadre_text_embedding_loader good = {sizeof good, never_load, NULL, count_release};
    const cadre_spawn_options valid = CADRE_SPAWN_OPTIONS_INIT;
#define SPAWN_REFUSED(CHANGE, RC, DETAIL, RELEASED)                                                                                                            \
    do {                                                                                                                                                       \
        cadre_text_embedding_loader loader = good, *l = &loader;                                                                                               \
        cadre_spawn_options o = valid;                                                                                                                         \
        const char *key = "new";                                                                                                                               \
        cadre_worker_id id = 0;                                                                                                                                \
        CHANGE;                                                                                                                                                \
        before(fx, #CHANGE);                                                                                                                                   \
        cadre_reservation *owned = reserve(fx, 100);                                                                                                           \
        check_refusal(fx, cadre_spawn_text_embedding(fx->pool, key, l, owned, &o, NULL, NULL, &id), RC, DETAIL, RELEASED);                                     \
        assert_size(charged(fx, 0), 0);                                                                                                                        \
    } while (0)
    for (size_t i = 0; i < COUNT(bad_keys); i++) SPAWN_REFUSED(key = bad_keys[i], CADRE_EINVAL, "registry_key", 1);
    SPAWN_REFUSED(key = "other", CADRE_ECAPABILITY, "other", 1);
    SPAWN_REFUSED(l = NULL, CADRE_EINVAL, "loader", 0);
    SPAWN_REFUSED(loader.size = 0, CADRE_EINVAL, "loader", -1);
    SPAWN_REFUSED(loader.size++, CADRE_EINVAL, "loader", -1);
    SPAWN_REFUSED(loader.load = NULL, CADRE_EINVAL, "load", 1);
    SPAWN_REFUSED(o.size = 0, CADRE_EINVAL, "options", 1);
    SPAWN_REFUSED(o.size++, CADRE_EINVAL, "options", 1);
    SPAWN_REFUSED(o.load_timeout_ms = -2, CADRE_EINVAL, "load_timeout_ms", 1);
    SPAWN_REFUSED(o.stall_timeout_ms = -2, CADRE_EINVAL, "stall_timeout_ms", 1);
    SPAWN_REFUSED(o.queue_capacity = -2, CADRE_EINVAL, "queue_capacity", 1);
    SPAWN_REFUSED(o.batch_window_us = -2, CADRE_EINVAL, "batch_window_us", 1);
    SPAWN_REFUSED(o.stream_window = 0, CADRE_EINVAL, "stream_window", 1);
    SPAWN_REFUSED(o.stream_window = -2, CADRE_EINVAL, "stream_window", 1);
    /* Keys at their limits are keys. */
    long_key[255] = '\0';
    cadre_text_embedding_loader null_loader = {sizeof null_loader, never_load, NULL, count_release};
    cadre_worker_id id = 0;
    assert_status(cadre_spawn_text_embedding(fx->pool, long_key, &null_loader, NULL, NULL, NULL, NULL, &id), 0);
    assert_status(cadre_worker_stop(fx->pool, id), 0);
    assert_status(cadre_spawn_text_embedding(NULL, "m", &good, NULL, NULL, NULL, NULL, NULL), CADRE_EINVAL);
    fixture_end(fx);
}

static void values_of_the_wrong_type_or_size_are_not_consumed(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    cadre_text_embedding_promise *promise = NULL;
    cadre_text_embedding_future *future = NULL;
    assert_status(cadre_text_embedding_promise_create(fx->pool, &promise, &future), 0);
    cadre_text_embedding_model model = CADRE_TEXT_EMBEDDING_MODEL_INIT;
    assert_status(cadre_text_embedding_promise_resolve(promise, NULL), CADRE_EINVAL);
    model.size = 0;
    assert_status(cadre_text_embedding_promise_resolve(promise, &model), CADRE_EINVAL);
    model.size = sizeof model + 8;
    assert_status(cadre_text_embedding_promise_resolve(promise, &model), CADRE_EINVAL);
    assert_status(cadre_promise_resolve(cadre_text_embedding_promise_untyped(promise), CADRE_VALUE_WEIGHTS, &model), CADRE_EINVAL);
    assert_status(cadre_text_embedding_promise_fail(promise, 0, NULL), CADRE_EINVAL);
    assert_status(cadre_text_embedding_promise_fail(promise, 1, NULL), CADRE_EINVAL);
    assert_status(cadre_text_embedding_future_status(future), CADRE_EAGAIN);
    assert_status(cadre_text_embedding_promise_fail(promise, CADRE_ELOAD, NULL), 0);
    cadre_text_embedding_promise_release(promise);
    cadre_text_embedding_future_release(future);
    fixture_end(fx);
}

/* ---- everything else ---- */

static void posted(cadre_pool *pool, void *data)
{
    (void)pool;
    (void)data;
}

static void nulls_and_stale_handles(void **state)
{
    (void)state;
    fixture *fx = begin(CADRE_TEXT_TO_TEXT);
    cadre_pool *pool = fx->pool, *made = (cadre_pool *)(uintptr_t)1;
    static const uint64_t ids[] = {0, 1, 42, UINT64_MAX, UINT64_C(1) << 32, UINT64_C(0xffffffff00000000)};
    cadre_worker_info worker = CADRE_WORKER_INFO_INIT;
    for (size_t i = 0; i < COUNT(ids); i++) {
        bool known = cadre_worker_get_info(pool, ids[i], &worker) == 0;
        if (!known) assert_status(cadre_worker_stop(pool, ids[i]), CADRE_ESTALE);
        assert_status(cadre_request_cancel(pool, ids[i]), CADRE_ESTALE);
        assert_status(cadre_request_pause(pool, ids[i]), CADRE_ESTALE);
        assert_status(cadre_request_resume(pool, ids[i]), CADRE_ESTALE);
        assert_status(cadre_port_cancel(fx->port, ids[i]), ids[i] ? 0 : CADRE_EINVAL);
    }
    settle(fx);
    assert_status(cadre_request_cancel(NULL, 1), CADRE_EINVAL);
    assert_status(cadre_request_pause(NULL, 1), CADRE_EINVAL);
    assert_status(cadre_request_resume(NULL, 1), CADRE_EINVAL);
    assert_status(cadre_worker_stop(NULL, 1), CADRE_EINVAL);
    assert_status(cadre_worker_get_info(pool, 1, NULL), CADRE_EINVAL);
    assert_status(cadre_worker_get_info(NULL, 1, &worker), CADRE_EINVAL);
    worker.size = 0;
    assert_status(cadre_worker_get_info(pool, fx->scripts->worker, &worker), CADRE_EINVAL);
    cadre_model_info model = CADRE_MODEL_INFO_INIT;
    assert_status(cadre_model_get_info(pool, "nobody", &model), CADRE_ENOENT);
    assert_status(cadre_model_get_info(pool, NULL, &model), CADRE_EINVAL);
    assert_status(cadre_model_get_info(pool, "m", NULL), CADRE_EINVAL);
    assert_status(cadre_model_get_info(NULL, "m", &model), CADRE_EINVAL);
    model.size++;
    assert_status(cadre_model_get_info(pool, "m", &model), CADRE_EINVAL);
    assert_status(cadre_port_post(NULL, posted, NULL), CADRE_EINVAL);
    assert_status(cadre_port_post(fx->port, NULL, NULL), CADRE_EINVAL);
    assert_status(cadre_port_cancel(NULL, 1), CADRE_EINVAL);
    cadre_port_release(NULL);
    cadre_promise_release(NULL);
    cadre_future_release(NULL);
    cadre_weights_release(NULL);
    cadre_reservation_release(NULL);
    cadre_reservation *r = NULL;
    cadre_memory_amount amount = {0, 1};
    assert_status(cadre_memory_try_reserve(NULL, &amount, 1, &r), CADRE_EINVAL);
    assert_status(cadre_memory_try_reserve(pool, NULL, 1, &r), CADRE_EINVAL);
    assert_status(cadre_memory_try_reserve(pool, &amount, 1, NULL), CADRE_EINVAL);
    cadre_memory_usage usage = CADRE_MEMORY_USAGE_INIT;
    assert_status(cadre_memory_get_usage(pool, 0, NULL), CADRE_EINVAL);
    assert_status(cadre_memory_get_usage(NULL, 0, &usage), CADRE_EINVAL);
    usage.size = 0;
    assert_status(cadre_memory_get_usage(pool, 0, &usage), CADRE_EINVAL);
    cadre_promise *promise = NULL;
    cadre_future *future = NULL;
    assert_status(cadre_promise_create(NULL, CADRE_VALUE_WEIGHTS, &promise, &future), CADRE_EINVAL);
    assert_status(cadre_promise_create(pool, (cadre_value_type)6, &promise, &future), CADRE_EINVAL);
    assert_status(cadre_promise_create(pool, CADRE_VALUE_WEIGHTS, NULL, &future), CADRE_EINVAL);
    assert_status(cadre_promise_create(pool, CADRE_VALUE_WEIGHTS, &promise, NULL), CADRE_EINVAL);
    assert_status(cadre_promise_create(pool, CADRE_VALUE_WEIGHTS, &promise, &future), 0);
    assert_status(cadre_future_on_complete(future, NULL, NULL), CADRE_EINVAL);
    assert_status(cadre_future_on_complete(NULL, NULL, NULL), CADRE_EINVAL);
    assert_status(cadre_future_set_deadline(future, -2), CADRE_EINVAL);
    assert_status(cadre_promise_on_cancel(promise, NULL, NULL), CADRE_EINVAL);
    cadre_promise_release(promise);
    cadre_future_release(future);
    cadre_weights_future *weights = NULL;
    before(fx, "weights without a load function");
    cadre_reservation *owned = reserve(fx, 7);
    check_refusal(fx, cadre_weights_load_blocking(pool, NULL, NULL, count_release, owned, &weights), CADRE_EINVAL, NULL, 1);
    assert_size(charged(fx, 0), 0);
    assert_null(weights);
    assert_status(cadre_weights_future_charge(NULL, reserve(fx, 7)), CADRE_EINVAL);
    assert_size(charged(fx, 0), 0);
    assert_status(cadre_pool_create(NULL, &fx->loop, NULL), CADRE_EINVAL);
    assert_status(cadre_pool_create(&made, NULL, NULL), CADRE_EINVAL);
    assert_null(made);
    assert_status(cadre_pool_close(NULL, NULL, NULL), CADRE_EINVAL);
    cadre_close_options close = CADRE_CLOSE_OPTIONS_INIT;
    close.size = 0;
    assert_status(cadre_pool_close(pool, &close, NULL), CADRE_EINVAL);
    close.size = sizeof close;
    close.drain_ms = -2;
    assert_status(cadre_pool_close(pool, &close, NULL), CADRE_EINVAL);
    close.drain_ms = 0;
    close.abandon_after_ms = -2;
    assert_status(cadre_pool_close(pool, &close, NULL), CADRE_EINVAL);
    fixture_end(fx);
}

static void pool_options_out_of_range(void **state)
{
    (void)state;
    static const cadre_device nameless = CADRE_DEVICE_INIT;
    cadre_device sizeless = {0, "gpu", 1};
    test_memory memory;
    memset(&memory, 0, sizeof memory);
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    cadre_allocator allocator = test_allocator(&memory), no_alloc = allocator, no_free = allocator, no_size = allocator;
    no_alloc.alloc = NULL;
    no_free.free = NULL;
    no_size.size = 0;
    cadre_clock no_clock = {sizeof no_clock, NULL, NULL};
    cadre_image_decoder decoder = {sizeof decoder, NULL, 1, 1, NULL};
    cadre_image_fetcher fetcher = {sizeof fetcher, NULL, NULL};
#define POOL_REFUSED(CHANGE)                                                                                                                                   \
    do {                                                                                                                                                       \
        cadre_pool_options o = CADRE_POOL_OPTIONS_INIT;                                                                                                        \
        cadre_pool *pool = (cadre_pool *)(uintptr_t)1;                                                                                                         \
        o.allocator = &allocator;                                                                                                                              \
        CHANGE;                                                                                                                                                \
        row("%s", #CHANGE);                                                                                                                                    \
        assert_status(cadre_pool_create(&pool, &loop, &o), CADRE_EINVAL);                                                                                      \
        assert_null(pool);                                                                                                                                     \
        assert_int_equal(atomic_load(&memory.blocks), 0);                                                                                                      \
    } while (0)
    POOL_REFUSED(o.size = 0);
    POOL_REFUSED(o.size++);
    POOL_REFUSED(o.allocator = &no_alloc);
    POOL_REFUSED(o.allocator = &no_free);
    POOL_REFUSED(o.allocator = &no_size);
    POOL_REFUSED(o.clock = &no_clock);
    POOL_REFUSED(o.log_level = 4);
    POOL_REFUSED(o.log_level = -2);
    POOL_REFUSED(o.cores = 0);
    POOL_REFUSED(o.cores = -2);
    POOL_REFUSED(o.memory_bytes = -2);
    POOL_REFUSED(o.loads_at_once = 0);
    POOL_REFUSED(o.loads_at_once = -2);
    POOL_REFUSED(o.abandon_after_ms = -2);
    POOL_REFUSED(o.aging_ms = -2);
    POOL_REFUSED(o.device_count = 1);
    POOL_REFUSED((o.devices = &nameless, o.device_count = 1));
    POOL_REFUSED((o.devices = &sizeless, o.device_count = 1));
    POOL_REFUSED(o.decoder = &decoder);
    POOL_REFUSED(o.fetcher = &fetcher);
    row("%s", "");
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void structs_of_an_older_header_are_accepted(void **state)
{
    (void)state;
    fixture *fx = begin(CADRE_TEXT_TO_TEXT);
    cadre_generate_params p = CADRE_GENERATE_PARAMS_INIT;
    answer *a = answer_new(fx);
    p.key = "m";
    p.text = "hello";
    p.on_text = answer_on_text;
    p.on_done = answer_on_generation;
    p.data = a;
    cadre_generate_params expected = CADRE_GENERATE_PARAMS_INIT;
    expected.text = "hello";
    script_expect(fx->scripts->next, &expected);
    a->rc = cadre_generate(fx->pool, &p, &a->id);
    assert_status(a->rc, 0);
    until_done(a);
    assert_status(a->status, 0);
    cadre_spawn_options o = CADRE_SPAWN_OPTIONS_INIT;
    script *s = script_new(fx, CADRE_TEXT_TO_IMAGE, KIND_BLOCKING, "older");
    o.size = offsetof(cadre_spawn_options, queue_capacity);
    o.queue_capacity = -99;
    assert_status(script_spawn_with(s, NULL, &o), 0);
    s->exit_untold = true; /* on_exit and on_progress lie behind the size */
    script_until_ready(s, 1);
    assert_size(model_info(fx, "older").queue_capacity, 20);
    fixture_end(fx);
}

static void an_error_detail_is_empty_before_the_first_error(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    assert_string_equal(cadre_pool_error_detail(fx->pool), "");
    assert_ptr_equal(cadre_pool_get_data(fx->pool), fx);
    assert_ptr_equal(cadre_pool_loop(fx->pool), &fx->loop);
    fixture_end(fx);
}

#define SUITE input
#include "suite.h"
