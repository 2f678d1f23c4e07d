/* The two files of a vision model: entries by manifest, loads of every kind, and what they are charged. */
#define TESTS_llama_vision_files(X)                                                                                                                            \
    X(a_manifest_a_picture_and_the_same_answer_after_an_unload)                                                                                                \
    X(each_kind_of_loader_answers_alike)                                                                                                                       \
    X(an_async_load_fetches_both_files)                                                                                                                        \
    X(two_workers_of_an_entry_share_weights)                                                                                                                   \
    X(what_is_charged_is_near_the_estimate)                                                                                                                    \
    X(a_load_may_be_stopped_at_any_time)

#include "shapes.h"

#include <sys/stat.h>
#include <unistd.h>

static reply replies[4]; /* they hold whole answers */
static picture drawn[TEN];
static cadre_image_input images[TEN];

/* ---- entries ---- */

typedef struct outcome {
    int done;
    int status;
    char detail[1024];
} outcome;

static void on_outcome(cadre_pool *pool, int status, const char *detail, void *data)
{
    outcome *to = data;
    (void)pool;
    to->status = status;
    snprintf(to->detail, sizeof to->detail, "%s", detail);
    to->done++;
}

/* `more` continues the entry after its options' two files, beginning with what closes them or with a comma. */
static outcome add(fixture *fx, const char *key, const char *capability, const char *files, const char *more)
{
    char json[4096];
    outcome of = {0};
    int length = snprintf(json, sizeof json,
                          "{\"models\": [{\"key\": \"%s\", \"capability\": \"%s\", \"backend\": \"llama\", \"options\": {%s, \"context_length\": 512%s]}", key,
                          capability, files, more);
    assert_in_range(length, 1, sizeof json - 1);
    assert_status(cadre_registry_load_text(fx->pool, json, (size_t)length, NULL, on_outcome, &of), 0);
    run_until_int(fx, &of.done, 1);
    return of;
}

static const char *both(const char *path, const char *mmproj)
{
    static char text[2048];
    int length = snprintf(text, sizeof text, "\"path\": \"%s\", \"mmproj\": \"%s\"", path, mmproj);
    assert_in_range(length, 1, sizeof text - 1);
    return text;
}

static void unload(fixture *fx, const char *key)
{
    outcome of = {0};
    assert_status(cadre_model_unload(fx->pool, key, on_outcome, &of), 0);
    run_until_int(fx, &of.done, 1);
    assert_status(of.status, 0);
}

static fixture *registered(void)
{
    fixture *fx = chat_begin();
    for (size_t i = 0; i < TEN; i++) images[i] = shape_draw(&drawn[i], &ten_shapes[i]);
    assert_status(cadre_backend_register(fx->pool, cadre_llama_backend()), 0);
    return fx;
}

static void assert_sees(fixture *fx, const char *key, size_t index)
{
    shape_assert_seen(fx, &replies[0], key, index);
}

static void a_manifest_a_picture_and_the_same_answer_after_an_unload(void **state)
{
    (void)state;
    static char first[sizeof replies[0].text];
    fixture *fx = registered();
    outcome of = add(fx, "eyes", "vision", both(llava(), llava_mmproj()), "}}");
    if (of.status != 0) fail_msg("%s", of.detail);
    assert_sees(fx, "eyes", 0);
    snprintf(first, sizeof first, "%s", replies[0].text);
    unload(fx, "eyes");
    assert_int_equal(charged(fx, CADRE_DEVICE_HOST), 0);
    assert_sees(fx, "eyes", 0);
    assert_string_equal(replies[0].text, first);
    fixture_end(fx);
}

static void each_kind_of_loader_answers_alike(void **state)
{
    (void)state;
    static const char *const kinds[] = {"sync", "async", "preloaded"};
    fixture *fx = registered();
    for (size_t i = 0; i < COUNT(kinds); i++) {
        char more[64];
        row("%s", kinds[i]);
        snprintf(more, sizeof more, "}, \"loader\": \"%s\"}", kinds[i]);
        outcome of = add(fx, kinds[i], "vision", both(llava(), llava_mmproj()), more);
        if (of.status != 0) fail_msg("%s", of.detail);
        assert_sees(fx, kinds[i], i);
        unload(fx, kinds[i]);
        assert_sees(fx, kinds[i], i + 1);
    }
    fixture_end(fx);
}

/* ---- the backend's table, by hand ---- */

static uint64_t file_bytes(const char *path)
{
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    return (uint64_t)status.st_size;
}

typedef struct fetched {
    void *self;
    uint64_t done_bytes, total_bytes;
    int done;
} fetched;

static void on_progress(cadre_future *future, const cadre_progress *progress, void *data)
{
    fetched *of = data;
    (void)future;
    of->done_bytes = progress->done_bytes;
    of->total_bytes = progress->total_bytes;
}

static int make_nothing(cadre_load_context *context, cadre_weights *source, void *data, cadre_vision_model *out)
{
    (void)source;
    (void)data;
    (void)out;
    return cadre_load_fail(context, CADRE_ENOTSUP, "fetched");
}

static cadre_vision_future *load_fetched(cadre_load_context *context, void *data)
{
    fetched *of = data;
    cadre_weights_future *both_files = cadre_llama_backend()->fetch(of->self, context);
    assert_non_null(both_files);
    cadre_weights_future_on_progress(both_files, on_progress, of);
    cadre_vision_future *model = cadre_vision_load_blocking(context, both_files, make_nothing, data);
    cadre_weights_future_release(both_files);
    return model;
}

static void on_settled(cadre_pool *pool, cadre_worker_id worker, int status, const char *detail, void *data)
{
    (void)pool;
    (void)worker;
    (void)detail;
    *(int *)data = status == 0 ? 1 : -status;
}

static void an_async_load_fetches_both_files(void **state)
{
    (void)state;
    shape_given g;
    fetched of = {0};
    fixture *fx = chat_begin();
    assert_status(shape_entry(&g, CADRE_VISION, llava(), llava_mmproj(), &of.self), 0);
    cadre_vision_loader loader = {sizeof loader, load_fetched, &of, NULL};
    assert_status(cadre_spawn_vision(fx->pool, "eyes", &loader, NULL, NULL, on_settled, &of.done, NULL), 0);
    run_until_int(fx, &of.done, 1);
    assert_status(-of.done, CADRE_ENOTSUP);
    assert_int_equal(of.total_bytes, file_bytes(llava()) + file_bytes(llava_mmproj()));
    assert_int_equal(of.done_bytes, of.total_bytes);
    fixture_end(fx);
    cadre_llama_backend()->close(of.self);
}

/* ---- memory ---- */

static void two_workers_of_an_entry_share_weights(void **state)
{
    (void)state;
    fixture *fx = registered();
    uint64_t weights, worker;
    cadre_llama_options options = shape_options();
    options.slots = 1;
    assert_status(cadre_llama_estimate(&options, &weights, &worker), 0);
    outcome of = add(fx, "eyes", "vision", both(llava(), llava_mmproj()),
                     ", \"slots\": 1}, \"loader\": \"preloaded\", \"workers\": {\"initial\": 2, \"min\": 2, \"max\": 2}}");
    if (of.status != 0) fail_msg("%s", of.detail);
    for (size_t i = 0; i < COUNT(replies); i++) {
        cadre_describe_params params = shape_question("eyes", WHAT, &images[i], 1);
        shape_ask(fx, &replies[i], &params);
    }
    chat_until_replied(fx, replies, COUNT(replies));
    for (size_t i = 0; i < COUNT(replies); i++) {
        assert_status(replies[i].status, 0);
        assert_contains(replies[i].text, ten_shapes[i].colour);
    }
    assert_true(charged(fx, CADRE_DEVICE_HOST) <= weights + 2 * worker);
    fixture_end(fx);
}

/* The estimate is on the safe side of what the engine named when it made the worker, and not more than twice that. A larger tower takes more of both. */
static void what_is_charged_is_near_the_estimate(void **state)
{
    (void)state;
    static const char path[] = "vision-large.gguf";
    uint64_t measured[2];
    tower_make(path, (tower){.blocks = 60, .side = 280, .output = 64});
    for (int large = 0; large < 2; large++) {
        const char *mmproj = large ? path : llava_mmproj();
        shape_given g;
        void *self;
        row("%s", mmproj);
        fixture *fx = registered();
        outcome of = add(fx, "eyes", "vision", both(llava(), mmproj), "}}");
        if (of.status != 0) fail_msg("%s", of.detail);
        cadre_describe_params params = shape_question("eyes", WHAT, &images[0], 1);
        shape_ask_and_wait(fx, &replies[0], &params);
        assert_status(replies[0].status, 0);
        assert_status(shape_entry(&g, CADRE_VISION, llava(), mmproj, &self), 0);
        cadre_llama_backend()->close(self);
        uint64_t estimated = g.entry.needs[0].weights_bytes + g.entry.needs[0].worker_bytes;
        measured[large] = charged(fx, CADRE_DEVICE_HOST);
        printf("measured %llu, estimated %llu\n", (unsigned long long)measured[large], (unsigned long long)estimated);
        assert_true(measured[large] > file_bytes(llava()) * 9 / 10 + file_bytes(mmproj) * 9 / 10);
        assert_in_range(estimated, measured[large], 2 * measured[large]);
        fixture_end(fx);
    }
    assert_true(measured[1] > measured[0] + file_bytes(path) * 9 / 10);
    unlink(path);
}

/* ---- stopping ---- */

static void a_load_may_be_stopped_at_any_time(void **state)
{
    (void)state;
    static const char path[] = "vision-stop.gguf";
    tower_make(path, (tower){.blocks = 60, .side = 56, .output = 64});
    fixture *fx = registered();
    cadre_llama_options options = shape_options();
    options.mmproj = path;
    bool became_ready = false;
    int stopped = 0;
    for (int turns = 1; !became_ready; turns += turns) {
        cadre_vision_loader loader;
        cadre_worker_id id;
        int settled = 0;
        assert_status(cadre_llama_vision(&options, &loader), 0);
        assert_status(cadre_spawn_vision(fx->pool, "eyes", &loader, NULL, NULL, on_settled, &settled, &id), 0);
        for (int i = 0; i < turns && !settled; i++) fixture_turn(fx);
        became_ready = settled == 1;
        assert_status(cadre_worker_stop(fx->pool, id), 0);
        run_until_int(fx, &settled, 1);
        if (!became_ready) assert_status(-settled, CADRE_ECANCELED);
        stopped += !became_ready;
    }
    assert_true(stopped > 2);
    fixture_end(fx);
    unlink(path);
}

#define SUITE llama_vision_files
#include "suite.h"
