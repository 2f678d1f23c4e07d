/* Vision on the real engine: pictures that are named, tokens as the bare engine's, pictures that slots and workers share and never mix up, and cancels that are
 * heard while a picture is encoded and while its answer is written. */
#define TESTS_llama_vision(X)                                                                                                                                  \
    X(pictures_are_named)                                                                                                                                      \
    X(answers_are_the_bare_engines)                                                                                                                            \
    X(pieces_make_the_whole_text)                                                                                                                              \
    X(rows_may_have_gaps)                                                                                                                                      \
    X(several_pictures_stand_where_the_text_says)                                                                                                              \
    X(markers_that_are_not_as_many_as_pictures_are_refused)                                                                                                    \
    X(a_picture_at_the_end_is_answered)                                                                                                                        \
    X(a_picture_that_is_kept_is_not_another)                                                                                                                   \
    X(twelve_requests_in_four_slots_answer_as_alone)                                                                                                           \
    X(pictures_longer_than_a_batch_are_the_same)                                                                                                               \
    X(two_workers_share_weights)                                                                                                                               \
    X(stop_strings_limits_and_grammars_end_an_answer)                                                                                                          \
    X(too_many_pictures_are_refused_with_numbers)                                                                                                              \
    X(a_cancel_stops_an_encoding_and_the_worker_goes_on)                                                                                                       \
    X(a_cancel_stops_an_answer_within_a_step)                                                                                                                  \
    X(a_paused_answer_goes_on)

#include "shapes.h"

#include <time.h>
#include <unistd.h>

static reply replies[12]; /* they hold whole answers */
static picture drawn[TEN];
static cadre_image_input images[TEN];

static void draw_ten(void)
{
    for (size_t i = 0; i < TEN; i++) images[i] = shape_draw(&drawn[i], &ten_shapes[i]);
}

static fixture *with_worker(const cadre_llama_options *options)
{
    spawned worker;
    fixture *fx = fixture_begin();
    draw_ten();
    shape_spawn(fx, &worker, "eyes", options, NULL);
    if (worker.status != 0) fail_msg("%s", worker.detail);
    return fx;
}

static void describe(fixture *fx, reply *r, size_t index)
{
    cadre_describe_params params = shape_question("eyes", WHAT, &images[index], 1);
    shape_ask_and_wait(fx, r, &params);
    if (r->status != 0) fail_msg("%s (%s)", cadre_err_name(r->status), r->detail);
}

/* ---- answers ---- */

static void pictures_are_named(void **state)
{
    (void)state;
    cadre_llama_options options = shape_options();
    fixture *fx = with_worker(&options);
    static const char *const queries[] = {WHAT, "Describe the picture."};
    for (size_t i = 0; i < 2 * TEN; i++) {
        const shape *of = &ten_shapes[i / 2];
        row("%s", queries[i % 2]);
        cadre_describe_params params = shape_question("eyes", queries[i % 2], &images[i / 2], 1);
        shape_ask_and_wait(fx, &replies[0], &params);
        assert_status(replies[0].status, 0);
        if (!strstr(replies[0].text, of->colour) || !strstr(replies[0].text, of->form)) fail_msg("a %s %s is \"%s\"", of->colour, of->form, replies[0].text);
        assert_int_equal(replies[0].usage.finish, CADRE_FINISH_STOP);
    }
    fixture_end(fx);
}

static void answers_are_the_bare_engines(void **state)
{
    (void)state;
    static const char *const prompts[] = {WHAT, ABOUT("what colour is the shape?"), "<__media__>describe", "user: what <__media__>is this? assistant:"};
    static bare_answer expected;
    cadre_llama_options options = shape_options();
    options.slots = 1;
    fixture *fx = with_worker(&options);
    for (size_t i = 0; i < TEN; i++) {
        const char *prompt = prompts[i % COUNT(prompts)];
        row("picture %zu, %s", i, prompt);
        cadre_describe_params params = shape_question("eyes", prompt, &images[i], 1);
        params.sampling.max_tokens = CADRE_DEFAULT;
        shape_ask_and_wait(fx, &replies[0], &params);
        assert_status(replies[0].status, 0);
        bare_describe(&expected, prompt, &drawn[i], 1);
        assert_string_equal(replies[0].text, expected.text);
        assert_int_equal(replies[0].usage.prompt_tokens, expected.prompt_tokens);
        assert_int_equal(replies[0].usage.generated_tokens, expected.generated_tokens);
    }
    fixture_end(fx);
}

typedef struct whole {
    int done;
    int status;
    char text[256];
} whole;

static void on_whole(cadre_request *request, int status, const cadre_generation *result)
{
    whole *to = cadre_request_data(request);
    to->status = status;
    if (result) snprintf(to->text, sizeof to->text, "%s", result->text);
    to->done++;
}

static void pieces_make_the_whole_text(void **state)
{
    (void)state;
    cadre_llama_options options = shape_options();
    fixture *fx = with_worker(&options);
    whole of = {0};
    cadre_describe_params params = shape_question("eyes", WHAT, &images[0], 1);
    params.on_done = on_whole;
    params.data = &of;
    assert_status(cadre_describe(fx->pool, &params, NULL), 0);
    run_until_int(fx, &of.done, 1);
    assert_status(of.status, 0);
    describe(fx, &replies[0], 0);
    assert_true(replies[0].pieces > 1);
    assert_string_equal(replies[0].text, of.text);
    fixture_end(fx);
}

/* The core packs the rows of pixels that a host gives; those of its decoder come as they are. */
enum { STRIDE = SHAPE_SIDE * 3 + 29 };
static uint8_t wide[STRIDE * SHAPE_SIDE];

static void keep(void *data, size_t length)
{
    (void)data;
    (void)length;
}

static int decode_wide(void *self, cadre_op *op, const void *bytes, size_t length, uint64_t max_pixels, cadre_image *out, cadre_blob *pixels)
{
    (void)self;
    (void)op;
    (void)bytes;
    (void)length;
    (void)max_pixels;
    *out = (cadre_image){sizeof *out, SHAPE_SIDE, SHAPE_SIDE, STRIDE, wide};
    *pixels = (cadre_blob){wide, sizeof wide, keep};
    return CADRE_OK;
}

static void rows_may_have_gaps(void **state)
{
    (void)state;
    static const cadre_image_decoder decoder = {sizeof decoder, NULL, 1 << 20, 1 << 20, decode_wide};
    cadre_pool_options pool = CADRE_POOL_OPTIONS_INIT;
    cadre_llama_options options = shape_options();
    spawned worker;
    options.slots = 1;
    pool.decoder = &decoder;
    fixture *fx = fixture_begin_with(&pool);
    draw_ten();
    shape_spawn(fx, &worker, "eyes", &options, NULL);
    memset(wide, 0xEE, sizeof wide);
    for (size_t y = 0; y < SHAPE_SIDE; y++) memcpy(wide + y * STRIDE, drawn[3].pixels + y * SHAPE_SIDE * 3, SHAPE_SIDE * 3);
    cadre_image_input image = cadre_image_from_bytes("wide", 4);
    cadre_describe_params params = shape_question("eyes", WHAT, &image, 1);
    shape_ask_and_wait(fx, &replies[0], &params);
    if (replies[0].status != 0) fail_msg("%s", replies[0].detail);
    assert_contains(replies[0].text, "yellow circle");
    describe(fx, &replies[1], 3);
    assert_string_equal(replies[1].text, replies[0].text);
    /* It is the same picture: what the gaps hold is not looked at. */
    assert_int_equal(replies[1].usage.cached_tokens, replies[1].usage.prompt_tokens - 1);
    fixture_end(fx);
}

/* ---- several pictures ---- */

static void several_pictures_stand_where_the_text_says(void **state)
{
    (void)state;
    static const char *const prompts[] = {"user: <__media__>and <__media__>what is this? assistant:", "what is in the image?",
                                          "<__media__><__media__>what is in the image?"};
    static bare_answer expected[COUNT(prompts)];
    cadre_llama_options options = shape_options();
    options.slots = 1;
    fixture *fx = with_worker(&options);
    bare_describe(&expected[0], prompts[0], &drawn[4], 2);
    bare_describe(&expected[1], prompts[2], &drawn[4], 2); /* without markers they come first */
    expected[2] = expected[1];
    for (size_t i = 0; i < COUNT(prompts); i++) {
        row("%s", prompts[i]);
        cadre_describe_params params = shape_question("eyes", prompts[i], &images[4], 2);
        shape_ask_and_wait(fx, &replies[0], &params);
        assert_status(replies[0].status, 0);
        assert_int_equal(replies[0].usage.prompt_tokens, expected[i].prompt_tokens);
        assert_true(replies[0].usage.prompt_tokens > 2 * SHAPE_TOKENS);
        expected[i].text[strlen(replies[0].text)] = '\0';
        assert_string_equal(replies[0].text, expected[i].text);
    }
    fixture_end(fx);
}

static void markers_that_are_not_as_many_as_pictures_are_refused(void **state)
{
    (void)state;
    cadre_llama_options options = shape_options();
    fixture *fx = with_worker(&options);
    static const struct {
        const char *query;
        size_t pictures;
        const char *says;
    } cases[] = {{"<__media__> and <__media__>", 1, "2 times, and there are 1 pictures"}, {"<__media__>?", 3, "1 times, and there are 3 pictures"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        cadre_describe_params params = shape_question("eyes", cases[i].query, images, cases[i].pictures);
        shape_ask_and_wait(fx, &replies[0], &params);
        assert_status(replies[0].status, CADRE_EINPUT);
        assert_contains(replies[0].detail, cases[i].says);
    }
    describe(fx, &replies[0], 0);
    fixture_end(fx);
}

static void a_picture_at_the_end_is_answered(void **state)
{
    (void)state;
    cadre_llama_options options = shape_options();
    options.slots = 1;
    fixture *fx = with_worker(&options);
    cadre_describe_params params = shape_question("eyes", "what is <__media__>", &images[0], 1);
    for (size_t i = 0; i < 2; i++) {
        shape_ask_and_wait(fx, &replies[i], &params);
        assert_status(replies[i].status, 0);
        assert_true(replies[i].usage.generated_tokens > 0);
    }
    assert_string_equal(replies[1].text, replies[0].text);
    /* All of the picture is decoded again: its last token's logits are needed. */
    assert_int_equal(replies[1].usage.cached_tokens, replies[1].usage.prompt_tokens - SHAPE_TOKENS);
    fixture_end(fx);
}

/* ---- what is kept ---- */

static void a_picture_that_is_kept_is_not_another(void **state)
{
    (void)state;
    static picture nearly;
    cadre_llama_options options = shape_options();
    options.slots = 1;
    fixture *fx = with_worker(&options);
    describe(fx, &replies[0], 0);
    assert_int_equal(replies[0].usage.cached_tokens, 0);
    row("the same picture and question");
    describe(fx, &replies[1], 0);
    assert_string_equal(replies[1].text, replies[0].text);
    assert_int_equal(replies[1].usage.cached_tokens, replies[1].usage.prompt_tokens - 1);
    row("the same picture, another question");
    cadre_describe_params params = shape_question("eyes", ABOUT("describe this"), &images[0], 1);
    shape_ask_and_wait(fx, &replies[2], &params);
    assert_status(replies[2].status, 0);
    assert_true(replies[2].usage.cached_tokens > SHAPE_TOKENS);
    assert_contains(replies[2].text, ten_shapes[0].colour);
    row("the same question, another picture");
    describe(fx, &replies[3], 1);
    assert_true(replies[3].usage.cached_tokens < SHAPE_TOKENS);
    assert_contains(replies[3].text, ten_shapes[1].colour);
    row("a picture that differs by one in the last byte");
    nearly = drawn[1];
    nearly.pixels[sizeof nearly.pixels - 1]++;
    cadre_image_input image = cadre_image_from_rgb8(nearly.pixels, SHAPE_SIDE, SHAPE_SIDE);
    params = shape_question("eyes", WHAT, &image, 1);
    shape_ask_and_wait(fx, &replies[4], &params);
    assert_true(replies[4].usage.cached_tokens < SHAPE_TOKENS);
    fixture_end(fx);
}

static void twelve_requests_in_four_slots_answer_as_alone(void **state)
{
    (void)state;
    static bare_answer expected[COUNT(replies)];
    cadre_llama_options options = shape_options();
    fixture *fx = with_worker(&options);
    for (size_t i = 0; i < COUNT(replies); i++) {
        cadre_describe_params params = shape_question("eyes", WHAT, &images[i % TEN], 1);
        shape_ask(fx, &replies[i], &params);
    }
    chat_until_replied(fx, replies, COUNT(replies));
    for (size_t i = 0; i < COUNT(replies); i++) {
        row("picture %zu", i % TEN);
        bare_describe(&expected[i], WHAT, &drawn[i % TEN], 1);
        assert_status(replies[i].status, 0);
        assert_string_equal(replies[i].text, expected[i].text);
    }
    fixture_end(fx);
}

/* A tower of 400 tokens a picture, decoded in parts of 32 and at once. */
static void pictures_longer_than_a_batch_are_the_same(void **state)
{
    (void)state;
    static const char path[] = "vision-long.gguf";
    static const int32_t batches[] = {512, 32};
    tower_make(path, (tower){.blocks = 2, .side = 280, .output = 64});
    cadre_llama_options options = shape_options();
    options.mmproj = path;
    for (size_t i = 0; i < COUNT(batches); i++) {
        options.batch_tokens = batches[i];
        fixture *fx = with_worker(&options);
        cadre_describe_params params = shape_question("eyes", WHAT, &images[0], 1);
        shape_ask_and_wait(fx, &replies[i], &params);
        assert_status(replies[i].status, 0);
        assert_true(replies[i].usage.prompt_tokens > 400);
        fixture_end(fx);
    }
    unlink(path);
    assert_string_equal(replies[0].text, replies[1].text);
    assert_true(strlen(replies[0].text) > 0);
}

/* ---- workers ---- */

static void two_workers_share_weights(void **state)
{
    (void)state;
    static bare_answer expected[COUNT(replies)];
    fixture *fx = fixture_begin();
    cadre_llama_options options = shape_options(), weights_options = options;
    cadre_weights_future *weights;
    spawned workers[2];
    draw_ten();
    options.slots = 1;
    options.path = NULL;
    assert_status(cadre_llama_weights(fx->pool, &weights_options, NULL, &weights), 0);
    for (size_t i = 0; i < COUNT(workers); i++) {
        shape_spawn(fx, &workers[i], "eyes", &options, weights);
        if (workers[i].status != 0) fail_msg("%s", workers[i].detail);
    }
    cadre_weights_future_release(weights);
    assert_int_equal(chat_info(fx, "eyes").workers_ready, 2);
    for (size_t i = 0; i < COUNT(replies); i++) {
        cadre_describe_params params = shape_question("eyes", WHAT, &images[i % 5], 1);
        shape_ask(fx, &replies[i], &params);
    }
    chat_until_replied(fx, replies, COUNT(replies));
    for (size_t i = 0; i < COUNT(replies); i++) {
        if (i < 5) bare_describe(&expected[i], WHAT, &drawn[i], 1);
        assert_status(replies[i].status, 0);
        assert_string_equal(replies[i].text, expected[i % 5].text);
    }
    fixture_end(fx);
}

/* ---- limits ---- */

static void stop_strings_limits_and_grammars_end_an_answer(void **state)
{
    (void)state;
    static const char *const stop[] = {"circ"};
    cadre_llama_options options = shape_options();
    fixture *fx = with_worker(&options);
    cadre_describe_params params = shape_question("eyes", WHAT, &images[0], 1);
    params.sampling.stop = stop;
    params.sampling.stop_count = COUNT(stop);
    shape_ask_and_wait(fx, &replies[0], &params);
    assert_string_equal(replies[0].text, " a red ");
    assert_int_equal(replies[0].usage.finish, CADRE_FINISH_STOP);
    params = shape_question("eyes", WHAT, &images[0], 1);
    params.sampling.max_tokens = 2;
    shape_ask_and_wait(fx, &replies[0], &params);
    assert_string_equal(replies[0].text, " a red");
    assert_int_equal(replies[0].usage.finish, CADRE_FINISH_LENGTH);
    params = shape_question("eyes", WHAT, &images[0], 1);
    params.sampling.grammar = "root ::= \" a \" (\"green\" | \"blue\") \" triangle\"";
    params.sampling.repeat_penalty = 1.01f; /* the chain hears of the prompt's tokens, which a picture has none of */
    shape_ask_and_wait(fx, &replies[0], &params);
    assert_status(replies[0].status, 0);
    assert_contains(replies[0].text, " triangle");
    row("as far as the context goes");
    params = shape_question("eyes", WHAT, &images[0], 1);
    params.sampling.max_tokens = CADRE_DEFAULT;
    params.sampling.grammar = "root ::= [a-z ] root";
    shape_ask_and_wait(fx, &replies[0], &params);
    assert_status(replies[0].status, 0);
    assert_int_equal(replies[0].usage.finish, CADRE_FINISH_LENGTH);
    assert_int_equal(replies[0].usage.prompt_tokens + replies[0].usage.generated_tokens, 512);
    fixture_end(fx);
}

static void too_many_pictures_are_refused_with_numbers(void **state)
{
    (void)state;
    static cadre_image_input many[CADRE_DESCRIBE_IMAGES_MAX];
    cadre_llama_options options = shape_options();
    fixture *fx = with_worker(&options);
    for (size_t i = 0; i < COUNT(many); i++) many[i] = images[i % TEN];
    cadre_describe_params params = shape_question("eyes", "what is this?", many, COUNT(many));
    shape_ask_and_wait(fx, &replies[0], &params);
    assert_status(replies[0].status, CADRE_ETOOLONG);
    assert_contains(replies[0].detail, "1024 of them for 64 pictures; the context has room for 512");
    row("as many as fit");
    params.image_count = 30;
    shape_ask_and_wait(fx, &replies[0], &params);
    assert_status(replies[0].status, 0);
    assert_in_range(replies[0].usage.prompt_tokens, 30 * SHAPE_TOKENS + 1, 511);
    fixture_end(fx);
}

/* ---- cancels ---- */

/* The processor time of all threads but this one: the worker's. It does not depend on what else the machine does. */
static int64_t work_ns(void)
{
    struct timespec all, mine;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &all);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &mine);
    return (int64_t)(all.tv_sec - mine.tv_sec) * 1000000000 + (all.tv_nsec - mine.tv_nsec);
}

/* A tower of 100 blocks, which works for long. What is cancelled a quarter into it does not work to its end. */
static void a_cancel_stops_an_encoding_and_the_worker_goes_on(void **state)
{
    (void)state;
    static const char path[] = "vision-deep.gguf";
    tower_make(path, (tower){.blocks = 100, .side = 280, .output = 64});
    cadre_llama_options options = shape_options();
    options.mmproj = path;
    options.slots = 1;
    fixture *fx = with_worker(&options);
    cadre_describe_params params = shape_question("eyes", WHAT, &images[0], 1);
    params.sampling.max_tokens = 1;
    int64_t start = work_ns();
    shape_ask_and_wait(fx, &replies[0], &params);
    assert_status(replies[0].status, 0);
    chat_until_quiet(fx, "eyes");
    int64_t full = work_ns() - start;

    params.images = &images[1];
    start = work_ns();
    shape_ask(fx, &replies[1], &params);
    while (work_ns() - start < full / 4) fixture_turn(fx);
    assert_status(cadre_request_cancel(fx->pool, replies[1].id), 0);
    chat_until_replied(fx, &replies[1], 1);
    chat_until_quiet(fx, "eyes");
    int64_t part = work_ns() - start;
    assert_status(replies[1].status, CADRE_ECANCELED);
    if (part > full * 3 / 4) fail_msg("a cancelled encoding worked for %lld ns of %lld", (long long)part, (long long)full);

    row("nothing of it is kept");
    shape_ask_and_wait(fx, &replies[2], &params);
    assert_status(replies[2].status, 0);
    assert_true(replies[2].usage.cached_tokens < SHAPE_TOKENS);
    fixture_end(fx);
    unlink(path);
}

static void on_ready(cadre_pool *pool, cadre_worker_id worker, int status, const char *detail, void *data)
{
    (void)pool;
    (void)worker;
    (void)detail;
    *(int *)data = status == 0 ? 1 : 2;
}

static fixture *with_window(int32_t window)
{
    fixture *fx = fixture_begin();
    cadre_llama_options options = shape_options();
    cadre_spawn_options spawn = CADRE_SPAWN_OPTIONS_INIT;
    cadre_vision_loader loader;
    int ready = 0;
    draw_ten();
    spawn.stream_window = window;
    assert_status(cadre_llama_vision(&options, &loader), 0);
    assert_status(cadre_spawn_vision(fx->pool, "eyes", &loader, NULL, &spawn, on_ready, &ready, NULL), 0);
    run_until_int(fx, &ready, 1);
    assert_int_equal(ready, 1);
    return fx;
}

static cadre_describe_params endless(size_t index)
{
    cadre_describe_params params = shape_question("eyes", WHAT, &images[index], 1);
    params.sampling.max_tokens = CADRE_DEFAULT;
    params.sampling.grammar = "root ::= [a-z ] root";
    return params;
}

static void a_cancel_stops_an_answer_within_a_step(void **state)
{
    (void)state;
    fixture *fx = with_window(1);
    cadre_describe_params params = endless(0);
    replies[0].cancel_at = 3;
    shape_ask_and_wait(fx, &replies[0], &params);
    replies[0].cancel_at = 0;
    assert_status(replies[0].status, CADRE_ECANCELED);
    chat_until_quiet(fx, "eyes");
    /* One for the text before the picture, one for the picture and what follows, one for each piece; and those that were under way. */
    assert_in_range(chat_info(fx, "eyes").operations, 4, 7);
    describe(fx, &replies[1], 0);
    assert_contains(replies[1].text, "red circle");
    fixture_end(fx);
}

static void a_paused_answer_goes_on(void **state)
{
    (void)state;
    fixture *fx = with_window(2);
    cadre_describe_params params = endless(0);
    params.sampling.max_tokens = 40;
    shape_ask(fx, &replies[0], &params);
    run_until_int(fx, &replies[0].pieces, 1);
    assert_status(cadre_request_pause(fx->pool, replies[0].id), 0);
    int pieces = replies[0].pieces;
    row("another one is served meanwhile");
    describe(fx, &replies[1], 1);
    assert_contains(replies[1].text, "blue square");
    assert_int_equal(replies[0].pieces, pieces);
    assert_status(cadre_request_resume(fx->pool, replies[0].id), 0);
    chat_until_replied(fx, replies, 1);
    assert_status(replies[0].status, 0);
    assert_int_equal(replies[0].usage.generated_tokens, 40);
    fixture_end(fx);
}

#define SUITE llama_vision
#include "suite.h"
