/* Files that are wrong: each load of one says why, and the process lives. */
#define TESTS_onnx_files(X)                                                                                                                                    \
    X(files_that_do_not_fit_say_why)                                                                                                                           \
    X(damaged_files_say_so)                                                                                                                                    \
    X(data_is_looked_at_wherever_it_is_named)                                                                                                                  \
    X(data_beside_the_file_is_looked_at)                                                                                                                       \
    X(shapes_beyond_the_machine_are_errors)                                                                                                                    \
    X(memory_that_is_short_is_no_fault_of_the_file)                                                                                                            \
    X(a_context_beyond_the_model_fails_the_load)                                                                                                               \
    X(a_vocabulary_that_is_too_large_fails_the_load)

#include "ask.h"

#include <sys/resource.h>
#include <unistd.h>

static void refused(fixture *fx, const char *path, bool text, int error, const char *says)
{
    spawned worker;
    cadre_onnx_options options = ask_options(path);
    ask_spawn_wait(fx, &worker, "wrong", text, &options, NULL);
    if (worker.status != error) print_message("%s\n", worker.detail);
    assert_status(worker.status, error);
    assert_contains(worker.detail, says);
}

/* A graph from one input to one output by Identity or Cast, whatever they are. */
static void make_pair(const char *path, value_of input, value_of output)
{
    made graph = {0};
    char to[32];
    made_value(&graph, true, input);
    made_value(&graph, false, output);
    snprintf(to, sizeof to, "to=%d", output.type);
    made_node(&graph, "Cast", input.name, output.name, to);
    made_write(&graph, path);
}

static void files_that_do_not_fit_say_why(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        bool text;
        value_of input, output;
        int error;
        const char *says;
    } cases[] = {{"no input_ids", true, {"ids", 7, 2, {-1, -1}}, {"out", 1, 2, {-1, -1}}, CADRE_ECAPABILITY, "the file has the inputs ids int64 [?, ?]"},
                 {"ids of another type", true, {"input_ids", 6, 2, {-1, -1}}, {"out", 1, 2, {-1, -1}}, CADRE_ECAPABILITY, "input_ids int32"},
                 {"two channels", false, {"pixels", 1, 4, {-1, 2, 8, 8}}, {"out", 1, 4, {-1, 2, 8, 8}}, CADRE_ECAPABILITY, "pixels float32 [?, 2, 8, 8]"},
                 {"a fixed batch", false, {"pixels", 1, 4, {1, 3, 8, 8}}, {"out", 1, 4, {1, 3, 8, 8}}, CADRE_ECAPABILITY, "[1, 3, 8, 8]"},
                 {"not square", false, {"pixels", 1, 4, {-1, 3, 8, 9}}, {"out", 1, 4, {-1, 3, 8, 9}}, CADRE_ECAPABILITY, "height = width"},
                 {"too large", false, {"pixels", 1, 4, {-1, 3, 8192, 8192}}, {"out", 1, 4, {-1, 3, 8192, 8192}}, CADRE_ECAPABILITY, "4096"},
                 {"of another type", false, {"pixels", 11, 4, {-1, 3, 8, 8}}, {"out", 1, 4, {-1, 3, 8, 8}}, CADRE_ECAPABILITY, "float64"},
                 {"no vector", false, {"pixels", 1, 4, {-1, 3, 8, 8}}, {"out", 1, 4, {-1, 3, 8, 8}}, CADRE_ECAPABILITY, "the outputs out float32 [?, 3, 8, 8]"},
                 {"a free size", false, {"pixels", 1, 4, {-1, 3, -1, -1}}, {"out", 1, 4, {-1, 3, -1, -1}}, CADRE_EINVAL, "image_size"}};
    fixture *fx = ask_begin();
    for (size_t i = 0; i < COUNT(cases); i++) {
        row("%s", cases[i].what);
        make_pair("pair.onnx", cases[i].input, cases[i].output);
        refused(fx, "pair.onnx", cases[i].text, cases[i].error, cases[i].says);
    }
    unlink("pair.onnx");
    row("pictures for texts");
    refused(fx, clip(), true, CADRE_ECAPABILITY, "input_ids");
    row("texts for pictures");
    refused(fx, minilm(), false, CADRE_ECAPABILITY, "height");
    fixture_end(fx);
}

static size_t length_of(const char *path)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    long length = ftell(file);
    fclose(file);
    return (size_t)length;
}

static void make_noise(const char *path, uint32_t seed)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    for (int i = 0; i < 4096; i++) {
        seed = seed * 1664525u + 1013904223u;
        putc((int)(seed >> 24), file);
    }
    fclose(file);
}

/* Every load that fails says so; one of a file that is spoilt within its weights may succeed, as the file says nothing of those. */
static void damaged_files_say_so(void **state)
{
    (void)state;
    size_t length = length_of(clip());
    fixture *fx = ask_begin();
    for (size_t i = 0; i < 40; i++) {
        size_t bytes = i < 20 ? i * 7 : length - 1 - (i - 20) * length / 24;
        row("cut at %zu", bytes);
        made_cut(clip(), "damaged.onnx", bytes, SIZE_MAX);
        refused(fx, "damaged.onnx", false, CADRE_EFORMAT, "damaged.onnx");
    }
    for (uint32_t i = 0; i < 20; i++) {
        row("noise %u", i);
        make_noise("damaged.onnx", i);
        refused(fx, "damaged.onnx", false, CADRE_EFORMAT, "damaged.onnx");
    }
    for (size_t i = 0; i < 24; i++) {
        spawned worker;
        row("spoilt at %zu", i * 40);
        made_cut(clip(), "damaged.onnx", length, i * 40);
        cadre_onnx_options options = ask_options("damaged.onnx");
        ask_spawn_wait(fx, &worker, "spoilt", false, &options, NULL);
        if (worker.status == 0) {
            cadre_worker_stop(fx->pool, worker.id);
        } else {
            assert_true(worker.status == CADRE_EFORMAT || worker.status == CADRE_ECAPABILITY);
            assert_contains(worker.detail, "damaged.onnx");
        }
    }
    unlink("damaged.onnx");
    row("other files");
    refused(fx, vocabulary(), false, CADRE_EFORMAT, "not an ONNX file");
    refused(fx, "no-such.onnx", false, CADRE_EFORMAT, "no such file");
    refused(fx, ".", false, CADRE_EFORMAT, "directory");
    refused(fx, "/dev/zero", false, CADRE_EFORMAT, "not a regular file");
    fixture_end(fx);
}

/* [batch, 3, 4, 4] flattened, */
static void begin_graph(made *graph)
{
    made_value(graph, true, (value_of){"pixels", 1, 4, {-1, 3, 4, 4}});
    made_value(graph, false, (value_of){"out", 1, 2, {-1, 48}});
    made_node(graph, "Flatten", "pixels", "flat", "axis=1");
}

/* plus a tensor of 48 floats. */
static void begin_sum(made *graph)
{
    begin_graph(graph);
    made_node(graph, "Add", "flat,weights", "out", NULL);
}

static void data_beside_the_file_is_looked_at(void **state)
{
    (void)state;
    static const struct {
        const char *location, *offset, *length, *says;
    } cases[] = {{"beside.bin", NULL, NULL, NULL},
                 {"beside.bin", "64", "192", NULL},
                 {"no-such.bin", NULL, NULL, "no-such.bin: there is no such file"},
                 {"../beside.bin", NULL, NULL, "not within the model's folder"},
                 {"sub/../../beside.bin", NULL, NULL, "not within the model's folder"},
                 {"/etc/passwd", NULL, NULL, "not within the model's folder"},
                 {"..", NULL, NULL, "not within the model's folder"},
                 {"", NULL, NULL, "not within the model's folder"},
                 {"*/_ORT_MEM_ADDR_/*", "4096", "192", "not within the model's folder"},
                 {".", NULL, NULL, "directory"},
                 {"beside.bin", "65", "192", "beyond the 256 bytes"},
                 {"beside.bin", "18446744073709551615", "192", "beyond"},
                 {"beside.bin", "0", "191", "192 bytes by its shape"},
                 {"beside.bin", "-1", NULL, "the offset of its external data is \"-1\""},
                 {"beside.bin", "0", "99999999999999999999", "the length of its external data"}};
    fixture *fx = ask_begin();
    made_cut("/dev/zero", "beside.bin", 256, SIZE_MAX);
    for (size_t i = 0; i < COUNT(cases); i++) {
        made graph = {0};
        row("%zu %s", i, cases[i].location);
        begin_sum(&graph);
        made_external(&graph, "weights", 48, cases[i].location, cases[i].offset, cases[i].length);
        made_write(&graph, "beside.onnx");
        cadre_onnx_options options = ask_options("beside.onnx");
        if (cases[i].says)
            refused(fx, "beside.onnx", false, CADRE_EFORMAT, cases[i].says);
        else
            ask_spawned(fx, i == 0 ? "whole" : "part", false, &options);
    }
    unlink("beside.bin");
    row("shapes");
    static const struct {
        int64_t dims[4];
        int rank;
        const char *says;
    } shapes[] = {{{INT64_C(1) << 62, 4}, 2, "more elements"},
                  {{INT64_C(1) << 62, 1}, 2, "more bytes"},
                  {{-1}, 1, "more elements"},
                  {{49}, 1, "196 bytes by its shape"},
                  {{INT64_C(1) << 40}, 1, "bytes by its shape"}};
    for (size_t i = 0; i < COUNT(shapes); i++) {
        made graph = {0};
        row("shape %zu", i);
        begin_sum(&graph);
        made_floats(&graph, "weights", shapes[i].dims, shapes[i].rank, 192);
        made_write(&graph, "beside.onnx");
        refused(fx, "beside.onnx", false, CADRE_EFORMAT, shapes[i].says);
    }
    unlink("beside.onnx");
    fixture_end(fx);
}

static void write_function(const char *location)
{
    made graph = {0};
    begin_graph(&graph);
    made_write_function(&graph, "weights", 48, location, "named.onnx");
}

/* Every place of a file that may name external data: the engine reads what nobody has looked at. */
static void data_is_looked_at_wherever_it_is_named(void **state)
{
    (void)state;
    static const char *const locations[] = {"../hidden.bin", "*/_ORT_MEM_ADDR_/*"};
    static const unsigned attributes[] = {0, 22, 23};
    fixture *fx = ask_begin();
    made_cut("/dev/zero", "beside.bin", 192, SIZE_MAX);
    for (size_t i = 0; i < COUNT(locations); i++) {
        for (size_t k = 0; k < COUNT(attributes); k++) {
            made graph = {0};
            row("%s in sparse weights, field %u", locations[i], attributes[k]);
            begin_graph(&graph);
            made_sparse(&graph, "weights", 48, locations[i], attributes[k]);
            made_node(&graph, "Add", "flat,weights", "out", NULL);
            made_write(&graph, "named.onnx");
            refused(fx, "named.onnx", false, CADRE_EFORMAT, "sparse weights");
        }
        row("%s in a function", locations[i]);
        write_function(locations[i]);
        refused(fx, "named.onnx", false, CADRE_EFORMAT, "not within the model's folder");
    }
    row("a function's data beside the file");
    write_function("beside.bin");
    cadre_onnx_options options = ask_options("named.onnx");
    ask_spawned(fx, "function", false, &options);
    unlink("named.onnx");
    unlink("beside.bin");
    fixture_end(fx);
}

/* A tensor that the graph makes while it runs, or while the engine folds constants. */
static void make_huge(const char *path, int64_t side, bool folded)
{
    made graph = {0};
    const int64_t shape[] = {side, side}, zero = 0, one = 1;
    made_value(&graph, true, (value_of){"pixels", 1, 4, {-1, 3, 4, 4}});
    made_value(&graph, false, (value_of){"out", 1, 2, {-1, 48}});
    made_int64(&graph, "shape", shape, 2);
    made_int64(&graph, "zero", &zero, 1);
    made_int64(&graph, "one", &one, 1);
    made_node(&graph, "Flatten", "pixels", "flat", "axis=1");
    if (folded) {
        made_node(&graph, "ConstantOfShape", "shape", "huge", NULL);
    } else {
        made_node(&graph, "Slice", "flat,zero,one,one", "number", NULL);
        made_node(&graph, "Expand", "number,shape", "huge", NULL);
    }
    made_node(&graph, "ReduceSum", "huge", "sum", "keepdims=0");
    made_node(&graph, "Add", "flat,sum", "out", NULL);
    made_write(&graph, path);
}

static void shapes_beyond_the_machine_are_errors(void **state)
{
    (void)state;
    if (SANITIZED) skip(); /* their allocators end the process where others throw */
    static const int64_t sides[] = {INT64_C(1) << 20, INT64_C(1) << 31, INT64_C(1) << 40, INT64_C(1) << 62};
    fixture *fx = ask_begin();
    for (size_t i = 0; i < 2 * COUNT(sides); i++) {
        row("%lld, %s", (long long)sides[i / 2], i % 2 ? "folded" : "at run time");
        make_huge("huge.onnx", sides[i / 2], i % 2);
        refused(fx, "huge.onnx", false, CADRE_EFORMAT, "huge.onnx");
    }
    unlink("huge.onnx");
    row("the engine goes on");
    cadre_onnx_options options = ask_options(clip());
    ask_spawned(fx, "clip", false, &options);
    fixture_end(fx);
}

/* A GiB where this process may take half of one: another time it may be there, so that the load may be tried again. */
static void memory_that_is_short_is_no_fault_of_the_file(void **state)
{
    (void)state;
    if (SANITIZED) skip(); /* their shadow is larger than any limit */
    for (int folded = 0; folded < 2; folded++) {
        struct rlimit before, tight;
        spawned worker;
        long pages = 0;
        row("%s", folded ? "folded" : "at run time");
        fixture *fx = ask_begin();
        make_huge("short.onnx", 1 << 14, folded);
        FILE *file = fopen("/proc/self/statm", "r");
        assert_non_null(file);
        assert_int_equal(fscanf(file, "%ld", &pages), 1);
        fclose(file);
        assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
        tight = before;
        tight.rlim_cur = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + ((rlim_t)512 << 20);
        cadre_onnx_options options = ask_options("short.onnx");
        assert_int_equal(setrlimit(RLIMIT_AS, &tight), 0);
        ask_spawn_wait(fx, &worker, "short", false, &options, NULL);
        assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
        assert_status(worker.status, CADRE_ENOMEM);
        unlink("short.onnx");
        fixture_end(fx);
    }
}

/* Positions that the model does not have. */
static void a_context_beyond_the_model_fails_the_load(void **state)
{
    (void)state;
    static const struct {
        bool made;
        int32_t context_length;
        const char *says;
    } cases[] = {{false, 1024, "context_length is 1024, and the model fails with a text of 1024 tokens"},
                 {false, 1 << 20, "context_length is 1048576, and the model fails with a text of 2048 tokens"},
                 {true, CADRE_DEFAULT, "context_length is 512, and the model fails with a text of 128 tokens"},
                 {true, 65, "context_length is 65, and the model fails with a text of 65 tokens"},
                 {true, 64, NULL}};
    fixture *fx = ask_begin();
    make_limited("limited.onnx", 64);
    for (size_t i = 0; i < COUNT(cases); i++) {
        spawned worker;
        cadre_onnx_options options = ask_options(cases[i].made ? "limited.onnx" : minilm());
        row("%s, %d", options.path, cases[i].context_length);
        options.context_length = cases[i].context_length;
        options.max_batch = 1;
        ask_spawn_wait(fx, &worker, "long", true, &options, NULL);
        assert_status(worker.status, cases[i].says ? CADRE_EINVAL : CADRE_OK);
        if (cases[i].says) assert_contains(worker.detail, cases[i].says);
    }
    unlink("limited.onnx");
    fixture_end(fx);
}

/* One line more than the model has words. */
static void a_vocabulary_that_is_too_large_fails_the_load(void **state)
{
    (void)state;
    spawned worker;
    fixture *fx = ask_begin();
    made_cut(vocabulary(), "words.txt", SIZE_MAX, SIZE_MAX);
    FILE *file = fopen("words.txt", "ab");
    fputs("onetoomany\n", file);
    fclose(file);
    cadre_onnx_options options = ask_options(minilm());
    options.vocabulary = "words.txt";
    ask_spawn_wait(fx, &worker, "minilm", true, &options, NULL);
    assert_status(worker.status, CADRE_EFORMAT);
    assert_contains(worker.detail, "the last of the vocabulary's 30523 pieces");
    unlink("words.txt");
    fixture_end(fx);
}

#define SUITE onnx_files
#include "suite.h"
