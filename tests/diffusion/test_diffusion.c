/* Real pictures through the pool: small FLUX and SD 3.5 weights whose picture has the colour that the prompt names. */
#define TESTS_diffusion(X)                                                                                                                                     \
    X(the_prompt_decides_the_colour)                                                                                                                           \
    X(a_seed_decides_the_picture)                                                                                                                              \
    X(the_module_is_found_by_its_name)                                                                                                                         \
    X(each_kind_of_loader_draws_the_same_also_after_an_unload)                                                                                                 \
    X(spawned_workers_with_own_and_with_shared_weights)                                                                                                        \
    X(a_cancel_between_steps_leaves_the_next_picture_as_it_was)                                                                                                \
    X(a_cancel_while_it_loads)                                                                                                                                 \
    X(two_models_at_once_draw_what_each_draws_alone)                                                                                                           \
    X(two_workers_of_one_model_take_turns)                                                                                                                     \
    X(what_is_charged)                                                                                                                                         \
    X(wrong_requests_say_what_is_wrong)                                                                                                                        \
    X(prompts_of_all_kinds)                                                                                                                                    \
    X(options_are_checked)

#include "draw.h"

static picture pictures[8]; /* they hold pixels */

static void the_prompt_decides_the_colour(void **state)
{
    (void)state;
    static const char *const prompts[] = {"a red square", "a green square", "a blue square"};
    fixture *fx = draw_begin();
    draw_add(fx, "flux", FLUX, "sync", "1", "");
    draw_add(fx, "sd35", SD35, "sync", "1", "");
    for (int i = 0; i < 3; i++) {
        row("%s", prompts[i]);
        draw(fx, &pictures[0], "flux", prompts[i], 1);
        assert_colour(&pictures[0], i);
        assert_int_equal(pictures[0].width, SIDE);
        assert_int_equal(pictures[0].total, 4);
        assert_int_equal(pictures[0].backwards, 0);
        draw(fx, &pictures[1], "sd35", prompts[i], 1);
        assert_colour(&pictures[1], i);
    }
    fixture_end(fx);
}

static void a_seed_decides_the_picture(void **state)
{
    (void)state;
    fixture *fx = draw_begin();
    draw_add(fx, "flux", FLUX, "sync", "1", ", \"steps\": 2");
    draw(fx, &pictures[0], "flux", "a red square", 7);
    draw(fx, &pictures[1], "flux", "a red square", 7);
    draw(fx, &pictures[2], "flux", "a red square", 8);
    draw(fx, &pictures[3], "flux", "a red square", CADRE_DEFAULT);
    draw(fx, &pictures[4], "flux", "a red square", CADRE_DEFAULT);
    assert_true(same_picture(&pictures[0], &pictures[1]));
    assert_false(same_picture(&pictures[0], &pictures[2]));
    assert_false(same_picture(&pictures[3], &pictures[4]));
    row("other sides");
    outcome of = draw_add_text(fx,
                               "{\"models\": [{\"key\": \"wide\", \"capability\": \"text-to-image\", \"backend\": \"diffusion\", \"options\": "
                               "{\"diffusion_model\": \"%s\", \"clip_l\": \"%s\", \"taesd\": \"%s\", \"width\": 80, \"height\": 96, \"guidance\": 1}}]}",
                               FLUX, CLIP_L, TAESD);
    assert_status(of.status, 0);
    cadre_generate_image_params params = draw_params("wide", "a blue square", 7);
    params.width = 96;
    params.height = 80;
    params.steps = 3;
    draw_start(fx, &pictures[0], &params);
    draw_until(fx, pictures, 1);
    assert_status(pictures[0].status, 0);
    assert_int_equal(pictures[0].width, 96);
    assert_int_equal(pictures[0].height, 80);
    assert_int_equal(pictures[0].total, 3);
    assert_colour(&pictures[0], 2);
    fixture_end(fx);
}

/* Without cadre_backend_register. */
static void the_module_is_found_by_its_name(void **state)
{
    (void)state;
#ifdef CADRE_MODULE_FOLDER
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    options.memory_bytes = INT64_C(4) << 30;
    options.backend_path = CADRE_MODULE_FOLDER;
    fixture *fx = fixture_begin_with(&options);
    draw_add(fx, "flux", FLUX, "sync", "1", "");
    draw(fx, &pictures[0], "flux", "a green square", 1);
    assert_colour(&pictures[0], 1);
    fixture_end(fx);
#else
    skip(); /* a static build has none */
#endif
}

static void each_kind_of_loader_draws_the_same_also_after_an_unload(void **state)
{
    (void)state;
    static const char *const kinds[] = {"sync", "preloaded"};
    fixture *fx = draw_begin();
    for (size_t i = 0; i < COUNT(kinds); i++) {
        row("%s", kinds[i]);
        draw_add(fx, kinds[i], FLUX, kinds[i], "1", "");
        draw(fx, &pictures[2 * i], kinds[i], "a red square", 3);
        draw_unload(fx, kinds[i]);
        if (i == 0) assert_int_equal(charged(fx, CADRE_DEVICE_HOST), 0);
        draw(fx, &pictures[2 * i + 1], kinds[i], "a red square", 3);
        assert_true(same_picture(&pictures[2 * i], &pictures[2 * i + 1]));
        assert_true(same_picture(&pictures[0], &pictures[2 * i]));
    }
    outcome of = draw_add_text(fx,
                               "{\"models\": [{\"key\": \"async\", \"capability\": \"text-to-image\", \"backend\": \"diffusion\", \"loader\": \"async\", "
                               "\"options\": {\"diffusion_model\": \"%s\"}}]}",
                               FLUX);
    assert_status(of.status, CADRE_ENOTSUP);
    fixture_end(fx);
}

static void spawn(fixture *fx, const char *key, const cadre_diffusion_options *options, cadre_weights_future *weights)
{
    cadre_text_to_image_loader loader;
    cadre_worker_id id;
    assert_status(weights ? cadre_diffusion_text_to_image_shared(weights, options, &loader) : cadre_diffusion_text_to_image(options, &loader), 0);
    assert_status(cadre_spawn_text_to_image(fx->pool, key, &loader, NULL, NULL, NULL, NULL, &id), 0);
}

static void spawned_workers_with_own_and_with_shared_weights(void **state)
{
    (void)state;
    cadre_weights_future *weights;
    cadre_diffusion_options options = draw_options(FLUX);
    fixture *fx = draw_begin();
    spawn(fx, "own", &options, NULL);
    draw(fx, &pictures[0], "own", "a blue square", 5);
    assert_status(cadre_diffusion_weights(fx->pool, &options, NULL, &weights), 0);
    options.steps = 2;
    spawn(fx, "shared", &options, weights);
    options.steps = CADRE_DEFAULT;
    spawn(fx, "shared too", &options, weights);
    draw(fx, &pictures[1], "shared", "a blue square", 5);
    draw(fx, &pictures[2], "shared too", "a blue square", 5);
    assert_int_equal(pictures[1].total, 2);
    assert_true(same_picture(&pictures[0], &pictures[2]));
    cadre_weights_future_release(weights);
    fixture_end(fx);
}

static void a_cancel_between_steps_leaves_the_next_picture_as_it_was(void **state)
{
    (void)state;
    fixture *fx = draw_begin();
    draw_add(fx, "flux", FLUX, "sync", "1", "");
    draw(fx, &pictures[0], "flux", "a red square", 11);
    for (int i = 0; i < 3; i++) {
        cadre_generate_image_params params = draw_params("flux", "a blue square", 12);
        params.steps = 1000; /* as good as never done, were it not stopped */
        pictures[1].cancel_at = 1 + i;
        draw_start(fx, &pictures[1], &params);
        draw_until(fx, &pictures[1], 1);
        assert_status(pictures[1].status, CADRE_ECANCELED);
        draw_until_quiet(fx, "flux");
        draw(fx, &pictures[2], "flux", "a red square", 11);
        assert_true(same_picture(&pictures[0], &pictures[2]));
    }
    fixture_end(fx);
}

static bool is_loading(void *data)
{
    cadre_model_info info = CADRE_MODEL_INFO_INIT;
    fixture *fx = data;
    return cadre_model_get_info(fx->pool, "flux", &info) == 0 && info.workers_loading > 0;
}

/* The host hears at once; the load goes on, and serves who comes next, or ends with the pool. */
static void a_cancel_while_it_loads(void **state)
{
    (void)state;
    fixture *fx = draw_begin();
    draw_add(fx, "flux", FLUX, "sync", "1", "");
    cadre_generate_image_params params = draw_params("flux", "a red square", 1);
    draw_start(fx, &pictures[0], &params);
    run_until(fx, is_loading, fx);
    assert_status(cadre_request_cancel(fx->pool, pictures[0].id), 0);
    draw_until(fx, pictures, 1);
    assert_status(pictures[0].status, CADRE_ECANCELED);
    draw(fx, &pictures[1], "flux", "a red square", 1);
    assert_colour(&pictures[1], 0);
    row("a close");
    draw_unload(fx, "flux");
    draw_start(fx, &pictures[0], &params);
    run_until(fx, is_loading, fx);
    cadre_close_options now = CADRE_CLOSE_OPTIONS_INIT;
    now.drain_ms = 0;
    fixture_close(fx, &now);
    assert_true(pictures[0].status < 0);
    fixture_end(fx);
}

static void two_models_at_once_draw_what_each_draws_alone(void **state)
{
    (void)state;
    static const char *const keys[] = {"flux", "sd35"};
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    options.memory_bytes = INT64_C(4) << 30;
    options.cores = 2; /* or they would wait for each other's core */
    fixture *fx = fixture_begin_with(&options);
    assert_status(cadre_backend_register(fx->pool, cadre_diffusion_backend()), 0);
    draw_add(fx, "flux", FLUX, "sync", "1", ", \"steps\": 20");
    draw_add(fx, "sd35", SD35, "sync", "1", ", \"steps\": 15");
    for (int i = 0; i < 2; i++) draw(fx, &pictures[i], keys[i], "a green square", 2);
    for (int i = 0; i < 6; i++) {
        cadre_generate_image_params params = draw_params(keys[i % 2], "a green square", 2);
        draw_start(fx, &pictures[2 + i], &params);
    }
    draw_until(fx, pictures + 2, 6);
    for (int i = 0; i < 6; i++) {
        row("picture %d", i);
        assert_status(pictures[2 + i].status, 0);
        assert_true(same_picture(&pictures[i % 2], &pictures[2 + i]));
        assert_int_equal(pictures[2 + i].total, i % 2 ? 15 : 20);
        assert_int_equal(pictures[2 + i].backwards, 0);
    }
    fixture_end(fx);
}

static void two_workers_of_one_model_take_turns(void **state)
{
    (void)state;
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    options.memory_bytes = INT64_C(4) << 30;
    options.cores = 2;
    fixture *fx = fixture_begin_with(&options);
    assert_status(cadre_backend_register(fx->pool, cadre_diffusion_backend()), 0);
    draw_add(fx, "flux", FLUX, "sync", "2, \"initial\": 2, \"min\": 2", "");
    draw(fx, &pictures[0], "flux", "a green square", 2);
    for (int i = 1; i < 8; i++) {
        cadre_generate_image_params params = draw_params("flux", "a green square", 2);
        draw_start(fx, &pictures[i], &params);
    }
    draw_until(fx, pictures, 8);
    for (int i = 1; i < 8; i++) {
        assert_status(pictures[i].status, 0);
        assert_true(same_picture(&pictures[0], &pictures[i]));
    }
    row("a cancel of one that waits for its turn");
    cadre_generate_image_params params = draw_params("flux", "a green square", 2);
    params.steps = 1000;
    draw_start(fx, &pictures[1], &params);
    draw_start(fx, &pictures[2], &params);
    while (pictures[1].reports == 0 && pictures[2].reports == 0) fixture_turn(fx);
    int waits = pictures[1].reports > 0 ? 2 : 1;
    assert_status(cadre_request_cancel(fx->pool, pictures[waits].id), 0);
    draw_until(fx, &pictures[waits], 1);
    assert_int_equal(pictures[waits].reports, 0);
    assert_status(cadre_request_cancel(fx->pool, pictures[3 - waits].id), 0);
    draw_until_quiet(fx, "flux");
    draw(fx, &pictures[3], "flux", "a green square", 2);
    assert_true(same_picture(&pictures[0], &pictures[3]));
    fixture_end(fx);
}

static bool are_three(void *data)
{
    cadre_model_info info = CADRE_MODEL_INFO_INIT;
    fixture *fx = data;
    assert_status(cadre_model_get_info(fx->pool, "three", &info), 0);
    return info.workers_ready == 3;
}

static void three_ready(fixture *fx)
{
    draw(fx, &pictures[0], "three", "a red square", 1);
    run_until(fx, are_three, fx);
}

/* The weights as they were measured, and a picture as it was estimated. */
static void what_is_charged(void **state)
{
    (void)state;
    fixture *fx = draw_begin();
    draw_add(fx, "flux", FLUX, "sync", "1", "");
    draw(fx, &pictures[0], "flux", "a red square", 1);
    cadre_entry_info info = CADRE_ENTRY_INFO_INIT;
    assert_status(cadre_registry_get(fx->pool, "flux", &info), 0);
    assert_int_equal(info.resident_bytes, charged(fx, CADRE_DEVICE_HOST));
    uint64_t one = charged(fx, CADRE_DEVICE_HOST);
    print_message("one worker is charged %.1f MiB\n", (double)one / 1024 / 1024);
    assert_in_range(one, 64u << 20, 320u << 20);
    draw_unload(fx, "flux");
    assert_int_equal(charged(fx, CADRE_DEVICE_HOST), 0);
    row("workers that draw in turn need room for one picture");
    draw_add(fx, "three", FLUX, "sync", "3, \"initial\": 3, \"min\": 3", "");
    three_ready(fx);
    assert_int_equal(charged(fx, CADRE_DEVICE_HOST), one + (2u << 20));
    outcome of = {0};
    assert_status(cadre_registry_remove(fx->pool, "three", on_outcome, &of), 0); /* min_workers: an unload is refused */
    run_until_int(fx, &of.done, 1);
    assert_int_equal(charged(fx, CADRE_DEVICE_HOST), 0);
    row("an own copy that was promised to take less");
    cadre_text_to_image_loader loader;
    cadre_diffusion_options options = draw_options(FLUX);
    assert_status(cadre_diffusion_text_to_image(&options, &loader), 0);
    assert_status(cadre_spawn_text_to_image(fx->pool, "own", &loader, reserve(fx, 1 << 20), NULL, NULL, NULL, NULL), 0);
    draw(fx, &pictures[0], "own", "a red square", 1);
    assert_int_equal(charged(fx, CADRE_DEVICE_HOST), one);
    fixture_end(fx);
}

static void wrong_requests_say_what_is_wrong(void **state)
{
    (void)state;
    static char long_prompt[2050];
    memset(long_prompt, 'a', sizeof long_prompt - 1);
    const struct {
        const char *what, *prompt, *negative;
        int32_t width, height;
        int error;
        const char *says;
    } cases[] = {{"a width that is no multiple", "x", "", 72, 64, CADRE_EINPUT, "width is 72"},
                 {"a small height", "x", "", 64, 48, CADRE_EINPUT, "height is 48"},
                 {"a large width", "x", "", 4112, 64, CADRE_EINPUT, "4096"},
                 {"more pixels than it was loaded for", "x", "", 64, 80, CADRE_EINPUT, "a picture of 64 × 80"},
                 {"many more pixels", "x", "", 1024, 1024, CADRE_EINPUT, "this model was loaded for 64 × 64"},
                 {"a negative prompt", "x", "y", 64, 64, CADRE_EINPUT, "negative prompt"},
                 {"a long prompt", long_prompt, "", 64, 64, CADRE_ETOOLONG, "2048"}};
    fixture *fx = draw_begin();
    draw_add(fx, "flux", FLUX, "sync", "1", "");
    draw_add(fx, "sd35", SD35, "sync", "1", "");
    for (size_t i = 0; i < COUNT(cases); i++) {
        row("%s", cases[i].what);
        cadre_generate_image_params params = draw_params(i % 2 ? "sd35" : "flux", cases[i].prompt, 1);
        params.negative_prompt = cases[i].negative;
        params.width = cases[i].width;
        params.height = cases[i].height;
        draw_start(fx, &pictures[0], &params);
        draw_until(fx, pictures, 1);
        assert_status(pictures[0].status, cases[i].error);
        assert_contains(pictures[0].detail, cases[i].says);
    }
    row("SD 3's positions end at 3072 pixels");
    cadre_generate_image_params params = draw_params("sd35", "x", 1);
    params.width = 3088;
    draw_start(fx, &pictures[0], &params);
    draw_until(fx, pictures, 1);
    assert_status(pictures[0].status, CADRE_EINPUT);
    assert_contains(pictures[0].detail, "3072");
    row("a negative prompt with guidance");
    params = draw_params("sd35", "a red square", 1);
    params.negative_prompt = "a blue square";
    params.guidance = 1.5f;
    draw_start(fx, &pictures[0], &params);
    draw_until(fx, pictures, 1);
    assert_status(pictures[0].status, 0);
    fixture_end(fx);
}

/* The engine parses prompts: brackets, weights, its own tokens; long ones by recursion. */
static void prompts_of_all_kinds(void **state)
{
    (void)state;
    static char brackets[2049], spaces[2049], words[2049], weighted[2049], letters[2049], commas[2049];
    for (size_t i = 0; i < sizeof brackets - 1; i++) {
        brackets[i] = "(["[i % 2];
        spaces[i] = ' ';
        words[i] = "a b"[i % 3];
        weighted[i] = "(1:.5)"[i % 6];
        letters[i] = 'x';
        commas[i] = " ,"[i % 2];
    }
    const struct {
        const char *text;
        int status;
    } prompts[] = {{"(a red:1.5) square", 0},
                   {"(x:99999999999999999999999999999999999999999999999)", CADRE_EINPUT},
                   {"(x:.)", CADRE_EINPUT},
                   {"(x:1.2.3)", 0},
                   {"(x:+-1)", 0},
                   {"[[x]]", 0},
                   {")))", 0},
                   {":::", 0},
                   {"BREAK BREAK", 0},
                   {"<lora:x:1>", 0},
                   {"\\(\\)", 0},
                   {"\\", 0},
                   {"<|endoftext|>", 0},
                   {"日本語の正方形 🟥", 0},
                   {brackets, 0},
                   {spaces, 0},
                   {words, 0},
                   {weighted, 0},
                   {letters, 0},
                   {commas, 0}};
    fixture *fx = draw_begin();
    draw_add(fx, "flux", FLUX, "sync", "1", ", \"steps\": 1");
    draw_add(fx, "sd35", SD35, "sync", "1", ", \"steps\": 1");
    for (size_t i = 0; i < COUNT(prompts) * 2; i++) {
        row("%s, %.40s", i % 2 ? "sd35" : "flux", prompts[i / 2].text);
        cadre_generate_image_params params = draw_params(i % 2 ? "sd35" : "flux", prompts[i / 2].text, 1);
        draw_start(fx, &pictures[0], &params);
        draw_until(fx, pictures, 1);
        if (pictures[0].status != prompts[i / 2].status) print_error("%s\n", pictures[0].detail);
        assert_status(pictures[0].status, prompts[i / 2].status);
    }
    fixture_end(fx);
}

static void options_are_checked(void **state)
{
    (void)state;
    cadre_text_to_image_loader loader;
    fixture *fx = draw_begin();
    for (int i = 0; i < 10; i++) {
        cadre_diffusion_options options = draw_options("x");
        row("case %d", i);
        if (i == 0) options.diffusion_model = NULL;
        if (i == 1) options.path = "y";
        if (i == 2) options.threads = 0;
        if (i == 3) options.width = 72;
        if (i == 4) options.height = 4112;
        if (i == 5) options.steps = 0;
        if (i == 6) options.guidance = -1;
        if (i == 7) options.vae_tiling = 2;
        if (i == 8) options.size = 0;
        if (i == 9) options.size = sizeof options + 8;
        assert_status(cadre_diffusion_text_to_image(&options, &loader), CADRE_EINVAL);
    }
    assert_status(cadre_diffusion_text_to_image(NULL, &loader), CADRE_EINVAL);
    cadre_weights_future *weights;
    assert_status(cadre_diffusion_weights(fx->pool, NULL, reserve(fx, 100), &weights), CADRE_EINVAL);
    assert_int_equal(charged(fx, CADRE_DEVICE_HOST), 0);
    fixture_end(fx);
}

#define SUITE diffusion
#include "suite.h"
