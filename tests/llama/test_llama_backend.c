/* The backend's table, as the registry calls it: what it says of itself, what an entry's options and files come to, and models made by its functions. */
#define TESTS_llama_backend(X)                                                                                                                                 \
    X(the_table_is_whole)                                                                                                                                      \
    X(the_ranges_are_those_of_the_options)                                                                                                                     \
    X(options_are_checked_when_an_entry_opens)                                                                                                                 \
    X(files_are_looked_at_when_an_entry_opens)                                                                                                                 \
    X(the_wrong_capability_is_refused_when_an_entry_opens)                                                                                                     \
    X(an_entry_needs_what_the_estimate_says)                                                                                                                   \
    X(the_kinds_of_load_make_the_same_model)                                                                                                                   \
    X(embedding_models_are_made)                                                                                                                               \
    X(models_of_other_weights_are_refused)                                                                                                                     \
    X(a_fixed_number_of_threads_is_declared)                                                                                                                   \
    X(a_fetch_reads_all_of_the_file)                                                                                                                           \
    X(a_fetch_reads_all_parts_of_a_split_file)                                                                                                                 \
    X(a_fetch_of_a_file_that_went_says_which)                                                                                                                  \
    X(a_cancelled_fetch_ends)                                                                                                                                  \
    X(a_fetch_ends_with_the_pool)                                                                                                                              \
    X(the_module_offers_the_table)

#include "chat.h"

#include <dlfcn.h>
#include <llama.h>
#include <sys/stat.h>
#include <unistd.h>

#define VALUES_MAX 16
#define MIB (1 << 20)

/* ---- entries ---- */

typedef struct given {
    cadre_option_value values[VALUES_MAX];
    cadre_backend_entry entry;
} given;

static cadre_option_value *value_of(given *g, const char *name)
{
    const cadre_backend *backend = cadre_llama_backend();
    for (size_t i = 0; i < backend->option_count; i++) {
        if (strcmp(backend->options[i].name, name) != 0) continue;
        g->values[i].given = 1;
        return &g->values[i];
    }
    fail_msg("no option %s", name);
    return NULL;
}

static void give_text(given *g, const char *name, const char *text)
{
    value_of(g, name)->string = text;
}

static void give_integer(given *g, const char *name, int64_t value)
{
    cadre_option_value *to = value_of(g, name);
    to->integer = value;
    to->number = (double)value;
}

static void give(given *g, cadre_capability capability, const char *path)
{
    static const char *const devices[] = {"host"};
    assert_true(cadre_llama_backend()->option_count <= VALUES_MAX);
    memset(g, 0, sizeof *g);
    g->entry.size = sizeof g->entry;
    g->entry.key = "model";
    g->entry.capability = capability;
    g->entry.options = g->values;
    g->entry.device_names = devices;
    g->entry.device_count = COUNT(devices);
    if (path) give_text(g, "path", path);
}

static int open_it(given *g, void **self)
{
    const cadre_backend *backend = cadre_llama_backend();
    *self = NULL;
    int rc = backend->open(backend, &g->entry, self);
    if (rc < 0) assert_null(*self);
    return rc;
}

static void *opened(given *g)
{
    void *self;
    assert_status(open_it(g, &self), 0);
    assert_string_equal(g->entry.detail, "");
    return self;
}

static void assert_refused(given *g, int error, const char *says)
{
    void *self;
    assert_status(open_it(g, &self), error);
    assert_contains(g->entry.detail, says);
}

/* ---- what the table says ---- */

static void the_table_is_whole(void **state)
{
    (void)state;
    const cadre_backend *backend = cadre_llama_backend();
    assert_int_equal(backend->version, CADRE_BACKEND_VERSION);
    assert_size(backend->size, sizeof *backend);
    assert_string_equal(backend->name, "llama");
    assert_int_equal(backend->capabilities, 1u << CADRE_TEXT_TO_TEXT | 1u << CADRE_TEXT_EMBEDDING | 1u << CADRE_VISION);
    assert_int_equal(backend->shares_weights, 1);
    assert_true(backend->open && backend->close && backend->fetch && backend->load && backend->make);
    for (size_t i = 0; i < backend->option_count; i++) {
        const cadre_option_spec *spec = &backend->options[i];
        row("%s", spec->name);
        assert_true(strlen(spec->help) > 0 && !strchr(spec->help, '\n'));
        assert_int_equal(spec->required, strcmp(spec->name, "path") == 0);
    }
}

static int32_t *field_of(cadre_llama_options *options, const char *name)
{
    if (strcmp(name, "context_length") == 0) return &options->context_length;
    if (strcmp(name, "slots") == 0) return &options->slots;
    if (strcmp(name, "batch_tokens") == 0) return &options->batch_tokens;
    if (strcmp(name, "threads") == 0) return &options->threads;
    if (strcmp(name, "gpu_layers") == 0) return &options->gpu_layers;
    return strcmp(name, "use_mmap") == 0 ? &options->use_mmap : NULL;
}

static void assert_option(const char *name, int64_t value, int expected)
{
    cadre_text_to_text_loader loader;
    cadre_llama_options options = CADRE_LLAMA_OPTIONS_INIT;
    options.path = "model.gguf";
    *field_of(&options, name) = (int32_t)value;
    row("%s: %lld", name, (long long)value);
    assert_status(cadre_llama_text_to_text(&options, &loader), expected);
    if (expected == 0) loader.release(loader.data);
}

static void the_ranges_are_those_of_the_options(void **state)
{
    (void)state;
    const cadre_backend *backend = cadre_llama_backend();
    cadre_llama_options options;
    int numbers = 0;
    for (size_t i = 0; i < backend->option_count; i++) {
        const cadre_option_spec *spec = &backend->options[i];
        if (!field_of(&options, spec->name)) continue;
        int64_t least = (int64_t)spec->least, most = (int64_t)spec->most;
        numbers++;
        assert_int_equal(spec->type, strcmp(spec->name, "use_mmap") == 0 ? CADRE_OPTION_BOOLEAN : CADRE_OPTION_INTEGER);
        assert_option(spec->name, least, 0);
        assert_option(spec->name, most, 0);
        if (least - 1 != CADRE_DEFAULT) assert_option(spec->name, least - 1, CADRE_EINVAL);
        if (most < INT32_MAX) assert_option(spec->name, most + 1, CADRE_EINVAL);
    }
    assert_int_equal(numbers, 6);
}

/* ---- open ---- */

static void options_are_checked_when_an_entry_opens(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t value;
        const char *says;
    } numbers[] = {{"slots", 0, "options.slots is 0; it may be 1 to 64"},
                   {"slots", 65, "options.slots"},
                   {"batch_tokens", 31, "options.batch_tokens"},
                   {"threads", 513, "options.threads"},
                   {"context_length", INT64_C(1) << 32, "options.context_length"},
                   {"context_length", 8193, "was trained for 8192"},
                   {"gpu_layers", -1, "options.gpu_layers"},
                   {"use_mmap", 2, "options.use_mmap"}};
    given g;
    for (size_t i = 0; i < COUNT(numbers); i++) {
        row("%s: %lld", numbers[i].name, (long long)numbers[i].value);
        give(&g, CADRE_TEXT_TO_TEXT, smollm2());
        give_integer(&g, numbers[i].name, numbers[i].value);
        assert_refused(&g, CADRE_EINVAL, numbers[i].says);
    }
    row("a context that is too long: the file is named");
    give(&g, CADRE_TEXT_TO_TEXT, smollm2());
    give_integer(&g, "context_length", 8193);
    assert_refused(&g, CADRE_EINVAL, smollm2());
    row("an unknown template");
    give(&g, CADRE_TEXT_TO_TEXT, smollm2());
    give_text(&g, "chat_template", "no such template");
    assert_refused(&g, CADRE_EINVAL, "chat_template");
    row("no path");
    give(&g, CADRE_TEXT_TO_TEXT, NULL);
    assert_refused(&g, CADRE_EINVAL, "options.path");
    row("an empty path");
    give(&g, CADRE_TEXT_TO_TEXT, "");
    assert_refused(&g, CADRE_EINVAL, "options.path");
    row("a template that is known");
    give(&g, CADRE_TEXT_TO_TEXT, smollm2());
    give_text(&g, "chat_template", "chatml");
    cadre_llama_backend()->close(opened(&g));
}

static void files_are_looked_at_when_an_entry_opens(void **state)
{
    (void)state;
    static const bad_file made[] = {{"entry-empty.gguf", 0, SIZE_MAX, "not a GGUF"},
                                    {"entry-magic.gguf", 4096, 0, "not a GGUF"},
                                    {"entry-header.gguf", 1000, SIZE_MAX, "damaged"},
                                    {"entry-short.gguf", 8 * MIB, SIZE_MAX, "cut short"}};
    static const bad_file there[] = {{"no-such-entry.gguf", 0, 0, "no such file"}, {".", 0, 0, "directory"}, {"/dev/null", 0, 0, "not a regular file"}};
    for (size_t i = 0; i < COUNT(made) + COUNT(there); i++) {
        const bad_file *bad = i < COUNT(made) ? &made[i] : &there[i - COUNT(made)];
        given g;
        row("%s", bad->name);
        if (i < COUNT(made)) chat_bad_file(bad);
        give(&g, CADRE_TEXT_EMBEDDING, bad->name);
        assert_refused(&g, CADRE_EFORMAT, bad->says);
        assert_contains(g.entry.detail, bad->name);
        if (i < COUNT(made)) unlink(bad->name);
    }
}

static void the_wrong_capability_is_refused_when_an_entry_opens(void **state)
{
    (void)state;
    given g;
    give(&g, CADRE_TEXT_TO_TEXT, minilm());
    assert_refused(&g, CADRE_ECAPABILITY, minilm());
    assert_contains(g.entry.detail, "bert");
    give(&g, CADRE_TEXT_EMBEDDING, smollm2());
    assert_refused(&g, CADRE_ECAPABILITY, smollm2());
    assert_contains(g.entry.detail, "pooling");
    give(&g, CADRE_IMAGE_EMBEDDING, smollm2());
    assert_refused(&g, CADRE_ECAPABILITY, "image-embedding");
    give(&g, CADRE_VISION, smollm2());
#ifdef CADRE_LLAMA_VISION
    assert_refused(&g, CADRE_EINVAL, "options.mmproj");
#else
    assert_refused(&g, CADRE_ENOTSUP, "libmtmd");
#endif
    give(&g, (cadre_capability)99, smollm2());
    assert_refused(&g, CADRE_ECAPABILITY, "llama");
}

static void assert_needs(given *g, cadre_llama_options *options)
{
    uint64_t weights, context;
    void *self = opened(g);
    assert_status(cadre_llama_estimate(options, &weights, &context), 0);
    assert_size(g->entry.need_count, 1);
    assert_int_equal(g->entry.needs[0].device, CADRE_DEVICE_HOST);
    assert_int_equal(g->entry.needs[0].weights_bytes, weights);
    assert_int_equal(g->entry.needs[0].worker_bytes, context);
    assert_true(weights > 0 && context > 0);
    cadre_llama_backend()->close(self);
}

static void an_entry_needs_what_the_estimate_says(void **state)
{
    (void)state;
    given g;
    cadre_llama_options options = CADRE_LLAMA_OPTIONS_INIT;
    options.path = smollm2();
    give(&g, CADRE_TEXT_TO_TEXT, smollm2());
    assert_needs(&g, &options);
    options.slots = 7;
    options.context_length = 777;
    options.batch_tokens = 99;
    give_integer(&g, "slots", options.slots);
    give_integer(&g, "context_length", options.context_length);
    give_integer(&g, "batch_tokens", options.batch_tokens);
    assert_needs(&g, &options);
    options = (cadre_llama_options)CADRE_LLAMA_OPTIONS_INIT;
    options.path = minilm();
    give(&g, CADRE_TEXT_EMBEDDING, minilm());
    assert_needs(&g, &options);
}

/* ---- loads ---- */

/* One spawn by the table, and the fetch before it as the test sees it. */
typedef struct table_load {
    void *self;
    cadre_weights_future *source; /* shared weights; NULL: an own copy */
    bool fetches, fetch_only;
    bool stops; /* cancels the load at the fetch's first report */
    spawned worker;
    cadre_text_embedding_model embedder; /* what was made, for the test to look at */
    cadre_text_to_text_model generator;
    int reports;
    uint64_t done_bytes, total_bytes;
} table_load;

static int make_text(cadre_load_context *context, cadre_weights *source, void *data, cadre_text_to_text_model *out)
{
    table_load *load = data;
    cadre_any_model model = {.text_to_text = CADRE_GENERATION_MODEL_INIT};
    if (load->fetch_only) return cadre_load_fail(context, CADRE_ENOTSUP, "fetched");
    int rc = cadre_llama_backend()->make(load->self, context, load->fetches ? NULL : source, &model);
    if (rc == 0) *out = load->generator = model.text_to_text;
    return rc;
}

static int make_embedding(cadre_load_context *context, cadre_weights *source, void *data, cadre_text_embedding_model *out)
{
    table_load *load = data;
    cadre_any_model model = {.text_embedding = CADRE_TEXT_EMBEDDING_MODEL_INIT};
    int rc = cadre_llama_backend()->make(load->self, context, source, &model);
    if (rc == 0) *out = load->embedder = model.text_embedding;
    return rc;
}

static void on_report(cadre_future *future, const cadre_progress *progress, void *data)
{
    table_load *load = data;
    assert_true(progress->fraction > 0 && progress->fraction <= 1);
    assert_string_equal(progress->stage, "read");
    load->reports++;
    load->done_bytes = progress->done_bytes;
    load->total_bytes = progress->total_bytes;
    if (load->stops) cadre_future_cancel(future);
}

static cadre_text_to_text_future *load_text(cadre_load_context *context, void *data)
{
    table_load *load = data;
    if (load->source) return cadre_text_to_text_load_shared(context, load->source, make_text, data);
    if (!load->fetches) return cadre_text_to_text_load_blocking(context, NULL, make_text, data);
    cadre_weights_future *fetched = cadre_llama_backend()->fetch(load->self, context);
    assert_non_null(fetched);
    cadre_weights_future_on_progress(fetched, on_report, load);
    cadre_text_to_text_future *model = cadre_text_to_text_load_blocking(context, fetched, make_text, data);
    cadre_weights_future_release(fetched);
    return model;
}

static cadre_text_embedding_future *load_embedding(cadre_load_context *context, void *data)
{
    return cadre_text_embedding_load_shared(context, ((table_load *)data)->source, make_embedding, data);
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

static void start_text(fixture *fx, table_load *load, const char *key)
{
    cadre_text_to_text_loader loader = {sizeof loader, load_text, load, NULL};
    load->worker = (spawned){0};
    assert_status(cadre_spawn_text_to_text(fx->pool, key, &loader, NULL, NULL, on_settled, &load->worker, &load->worker.id), 0);
}

static void spawn_text(fixture *fx, table_load *load, const char *key)
{
    start_text(fx, load, key);
    run_until_int(fx, &load->worker.settled, 1);
}

static int load_weights(cadre_load_context *context, void *data, cadre_weights_value *out)
{
    return cadre_llama_backend()->load(data, context, NULL, out);
}

static cadre_weights_future *shared_weights(fixture *fx, void *self)
{
    cadre_weights_future *weights;
    assert_status(cadre_weights_load_blocking(fx->pool, load_weights, self, NULL, NULL, &weights), 0);
    return weights;
}

static void assert_answers(fixture *fx, const char *key)
{
    static reply r;
    cadre_generate_params params = chat_question(key, "What is the capital of France?", 32);
    chat_ask_and_wait(fx, &r, &params);
    assert_status(r.status, 0);
    assert_string_equal(r.text, "The capital of France is Paris.");
}

static void *open_chat(given *g)
{
    give(g, CADRE_TEXT_TO_TEXT, smollm2());
    give_integer(g, "context_length", 512);
    give_integer(g, "threads", 1);
    return opened(g);
}

static void the_kinds_of_load_make_the_same_model(void **state)
{
    (void)state;
    given g;
    fixture *fx = chat_begin();
    void *self = open_chat(&g);
    table_load sync = {.self = self}, async = {.self = self, .fetches = true}, shared[2] = {{.self = self}, {.self = self}};
    shared[0].source = shared[1].source = shared_weights(fx, self);
    spawn_text(fx, &sync, "sync");
    spawn_text(fx, &async, "async");
    for (size_t i = 0; i < COUNT(shared); i++) spawn_text(fx, &shared[i], i == 0 ? "shared" : "shared too");
    cadre_weights_future_release(shared[0].source);
    assert_answers(fx, "sync");
    assert_answers(fx, "async");
    assert_answers(fx, "shared");
    assert_answers(fx, "shared too");
    fixture_end(fx);
    cadre_llama_backend()->close(self);
}

static void note_vectors(cadre_request *request, int status, const cadre_embeddings *result)
{
    int *done = cadre_request_data(request);
    *done = status == 0 && result->count == 1 && result->dimension == 384 ? 1 : 2;
}

static void embedding_models_are_made(void **state)
{
    (void)state;
    given g;
    fixture *fx = chat_begin();
    give(&g, CADRE_TEXT_EMBEDDING, minilm());
    void *self = opened(&g);
    table_load load = {.self = self, .source = shared_weights(fx, self)};
    cadre_text_embedding_loader loader = {sizeof loader, load_embedding, &load, NULL};
    assert_status(cadre_spawn_text_embedding(fx->pool, "vectors", &loader, NULL, NULL, on_settled, &load.worker, NULL), 0);
    run_until_int(fx, &load.worker.settled, 1);
    assert_status(load.worker.status, 0);
    assert_int_equal(load.embedder.dimension, 384);
    assert_int_equal(load.embedder.threads, 0);
    assert_int_equal(load.embedder.heartbeat_ms, 60000);
    cadre_weights_future_release(load.source);
    int done = 0;
    cadre_embed_params params = CADRE_EMBED_PARAMS_INIT;
    params.key = "vectors";
    params.text = "A man is eating food.";
    params.on_done = note_vectors;
    params.data = &done;
    assert_status(cadre_embed(fx->pool, &params, NULL), 0);
    run_until_int(fx, &done, 1);
    assert_int_equal(done, 1);
    fixture_end(fx);
    cadre_llama_backend()->close(self);
}

static void models_of_other_weights_are_refused(void **state)
{
    (void)state;
    given g;
    int other = 0;
    fixture *fx = chat_begin();
    void *self = open_chat(&g);
    cadre_weights_value value = CADRE_WEIGHTS_VALUE_INIT;
    value.payload = &other;
    table_load load = {.self = self, .source = cadre_weights_future_ready(fx->pool, &value)};
    spawn_text(fx, &load, "foreign");
    assert_status(load.worker.status, CADRE_EINVAL);
    cadre_weights_future_release(load.source);
    fixture_end(fx);
    cadre_llama_backend()->close(self);
}

static void a_fixed_number_of_threads_is_declared(void **state)
{
    (void)state;
    given g;
    fixture *fx = chat_begin();
    void *self = open_chat(&g);
    table_load load = {.self = self};
    spawn_text(fx, &load, "chat");
    assert_status(load.worker.status, 0);
    assert_int_equal(load.generator.threads, 1);
    assert_int_equal(load.generator.heartbeat_ms, 60000);
    assert_int_equal(load.generator.slots, 4);
    assert_int_equal(load.generator.context_length, 512);
    fixture_end(fx);
    cadre_llama_backend()->close(self);
}

/* ---- fetches ---- */

static uint64_t file_bytes(const char *path)
{
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    return (uint64_t)status.st_size;
}

static void a_fetch_reads_all_of_the_file(void **state)
{
    (void)state;
    given g;
    fixture *fx = chat_begin();
    void *self = open_chat(&g);
    table_load load = {.self = self, .fetches = true, .fetch_only = true};
    spawn_text(fx, &load, "chat");
    assert_status(load.worker.status, CADRE_ENOTSUP);
    assert_contains(load.worker.detail, "fetched");
    assert_true(load.reports > 0);
    assert_int_equal(load.done_bytes, file_bytes(smollm2()));
    assert_int_equal(load.total_bytes, load.done_bytes);
    fixture_end(fx);
    cadre_llama_backend()->close(self);
}

#define FIRST_PART "split-00001-of-00002.gguf"
#define SECOND_PART "split-00002-of-00002.gguf"

/* The first part has SmolLM2's keys and no tensors; the second is never opened by the engine. */
static void make_split(void)
{
    struct gguf_init_params params = {.no_alloc = true, .ctx = NULL};
    struct gguf_context *whole = gguf_init_from_file(smollm2(), params), *first = gguf_init_empty();
    assert_non_null(whole);
    gguf_set_kv(first, whole);
    gguf_set_val_u16(first, "split.count", 2);
    assert_true(gguf_write_to_file(first, FIRST_PART, true));
    gguf_free(first);
    gguf_free(whole);
    chat_bad_file(&(bad_file){SECOND_PART, 3 * MIB + 7, SIZE_MAX, ""});
}

static void a_fetch_reads_all_parts_of_a_split_file(void **state)
{
    (void)state;
    given g;
    fixture *fx = chat_begin();
    make_split();
    uint64_t bytes = file_bytes(FIRST_PART) + file_bytes(SECOND_PART);
    give(&g, CADRE_TEXT_TO_TEXT, FIRST_PART);
    void *self = opened(&g);
    assert_int_equal(g.entry.needs[0].weights_bytes, 3 * MIB + 7);
    table_load load = {.self = self, .fetches = true, .fetch_only = true};
    spawn_text(fx, &load, "chat");
    assert_contains(load.worker.detail, "fetched");
    assert_int_equal(load.done_bytes, bytes);
    assert_int_equal(load.total_bytes, bytes);
    row("without its second part");
    unlink(SECOND_PART);
    spawn_text(fx, &load, "chat");
    assert_status(load.worker.status, UV_ENOENT);
    assert_contains(load.worker.detail, SECOND_PART);
    unlink(FIRST_PART);
    fixture_end(fx);
    cadre_llama_backend()->close(self);
}

static void a_fetch_of_a_file_that_went_says_which(void **state)
{
    (void)state;
    given g;
    fixture *fx = chat_begin();
    unlink("gone.gguf");
    assert_int_equal(symlink(smollm2(), "gone.gguf"), 0);
    give(&g, CADRE_TEXT_TO_TEXT, "gone.gguf");
    void *self = opened(&g);
    unlink("gone.gguf");
    table_load load = {.self = self, .fetches = true};
    spawn_text(fx, &load, "chat");
    assert_status(load.worker.status, UV_ENOENT);
    assert_contains(load.worker.detail, "gone.gguf");
    assert_contains(load.worker.detail, uv_strerror(UV_ENOENT));
    row("a folder in its place");
    assert_int_equal(mkdir("gone.gguf", 0700), 0);
    spawn_text(fx, &load, "chat");
    rmdir("gone.gguf");
    assert_status(load.worker.status, UV_EISDIR);
    assert_contains(load.worker.detail, "gone.gguf");
    fixture_end(fx);
    cadre_llama_backend()->close(self);
}

/* The entry may be closed while the last read is under way: the fetch does not look at it. */
static void a_cancelled_fetch_ends(void **state)
{
    (void)state;
    given g;
    fixture *fx = chat_begin();
    void *self = open_chat(&g);
    table_load load = {.self = self, .fetches = true, .fetch_only = true, .stops = true};
    spawn_text(fx, &load, "chat");
    cadre_llama_backend()->close(self);
    assert_status(load.worker.status, CADRE_ECANCELED);
    assert_int_equal(load.reports, 1);
    assert_true(load.done_bytes < load.total_bytes);
    fixture_end(fx);
}

static bool reported(void *data)
{
    return ((table_load *)data)->reports > 0;
}

static void a_fetch_ends_with_the_pool(void **state)
{
    (void)state;
    given g;
    fixture *fx = chat_begin();
    void *self = open_chat(&g);
    table_load load = {.self = self, .fetches = true, .fetch_only = true};
    start_text(fx, &load, "chat");
    run_until(fx, reported, &load);
    fixture_close(fx, NULL);
    assert_true(load.worker.status < 0);
    fixture_end(fx);
    cadre_llama_backend()->close(self);
}

/* ---- the module ---- */

static void the_module_offers_the_table(void **state)
{
    (void)state;
#ifdef CADRE_MODULE
    const cadre_backend *(*entry)(uint32_t version);
    void *module = dlopen(CADRE_MODULE, RTLD_NOW | RTLD_LOCAL);
    if (!module) fail_msg("%s", dlerror());
    void *found = dlsym(module, CADRE_BACKEND_MODULE);
    assert_non_null(found);
    memcpy(&entry, &found, sizeof entry);
    assert_ptr_equal(entry(CADRE_BACKEND_VERSION), cadre_llama_backend());
    assert_null(entry(CADRE_BACKEND_VERSION + 1));
    assert_null(entry(0));
    dlclose(module);
#else
    skip(); /* a static build has none */
#endif
}

#define SUITE llama_backend
#include "suite.h"
