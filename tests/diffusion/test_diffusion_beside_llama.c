/* Two engines with two versions of ggml in one process, both found as modules: a text and a picture at once. */
#define TESTS_diffusion_beside_llama(X) X(a_text_and_a_picture_at_once)

#include "draw.h"

typedef struct text {
    int done;
    int status;
    char detail[512];
    char answer[512];
} text;

static picture pictures[4];

static void on_text(cadre_request *request, int status, const cadre_generation *result)
{
    text *t = cadre_request_data(request);
    t->status = status;
    snprintf(t->detail, sizeof t->detail, "%s", cadre_request_detail(request));
    if (result && result->text) snprintf(t->answer, sizeof t->answer, "%s", result->text);
    t->done++;
}

static void ask(fixture *fx, text *t)
{
    cadre_generate_params params = CADRE_GENERATE_PARAMS_INIT;
    memset(t, 0, sizeof *t);
    params.key = "chat";
    params.text = "What is the capital of France?";
    params.sampling.temperature = 0;
    params.sampling.max_tokens = 32;
    params.on_done = on_text;
    params.data = t;
    assert_status(cadre_generate(fx->pool, &params, NULL), 0);
}

static void a_text_and_a_picture_at_once(void **state)
{
    (void)state;
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    text texts[4];
    options.memory_bytes = INT64_C(4) << 30;
    options.cores = 2;
    options.backend_path = CADRE_MODULE_FOLDER;
    fixture *fx = fixture_begin_with(&options);
    draw_add(fx, "flux", FLUX, "sync", "1", "");
    outcome of = draw_add_text(fx,
                               "{\"models\": [{\"key\": \"chat\", \"capability\": \"text-to-text\", \"backend\": \"llama\", "
                               "\"options\": {\"path\": \"%s\", \"context_length\": 512, \"threads\": 1}}]}",
                               weights_file("CADRE_TEST_SMOLLM2"));
    if (of.status != 0) fail_msg("%s", of.detail);
    for (int i = 0; i < 4; i++) { /* the first two load at once */
        cadre_generate_image_params params = draw_params("flux", "a blue square", 1);
        draw_start(fx, &pictures[i], &params);
        ask(fx, &texts[i]);
    }
    for (int i = 0; i < 4; i++) {
        draw_until(fx, &pictures[i], 1);
        run_until_int(fx, &texts[i].done, 1);
        if (pictures[i].status != 0) fail_msg("%s", pictures[i].detail);
        if (texts[i].status != 0) fail_msg("%s", texts[i].detail);
        assert_colour(&pictures[i], 2);
        assert_true(same_picture(&pictures[0], &pictures[i]));
        assert_string_equal(texts[i].answer, "The capital of France is Paris.");
    }
    fixture_end(fx);
}

#define SUITE diffusion_beside_llama
#include "suite.h"
