/* The backend's own files without a pool: where a cancel takes effect, what memory is foreseen and taken, and files that the engine must not end the process
 * at. */
#define TESTS_diffusion_parts(X)                                                                                                                               \
    X(a_cancel_stops_before_the_next_step)                                                                                                                     \
    X(who_draws_uses_the_threads_of_those_that_wait)                                                                                                           \
    X(who_waits_gives_a_sign_of_life_when_the_one_that_draws_does)                                                                                             \
    X(broken_weights_end_the_worker)                                                                                                                           \
    X(what_a_worker_says_that_it_takes)                                                                                                                        \
    X(weights_are_foreseen_as_the_engine_takes_them)                                                                                                           \
    X(a_picture_is_foreseen_on_the_safe_side)                                                                                                                  \
    X(files_cut_at_any_length)                                                                                                                                 \
    X(files_with_bytes_changed)                                                                                                                                \
    X(files_of_random_bytes)                                                                                                                                   \
    X(numbers_that_overflow)                                                                                                                                   \
    X(headers_that_are_not_safetensors)                                                                                                                        \
    X(files_in_the_wrong_place)                                                                                                                                \
    X(a_tensor_that_is_missing_or_of_another_shape)

#include "draw.h"

#include "backend.h"
#include "tensors.h"

#include <sched.h>

/* ---- contexts of the test's own ---- */

struct cadre_op {
    int steps; /* reported */
    int cancel_at;
    uint32_t reached;
    uint32_t threads; /* what cadre_op_threads says; 0: 1 */
    int beats;
    uint64_t measured;
    void (*on_step)(cadre_op *op, void *data); /* may be NULL */
    void *data;
    char detail[512];
};

struct cadre_load_context {
    char detail[512];
};

static int looks; /* of who waits for its turn, at its cancel */

/* Cancelled after so many; `data` are weights of which somebody else gives a sign of life between. */
static int look_again(const cadre_op *op)
{
    if (op->data) cadre__diffusion_sign(op->data);
    return ++looks >= -op->cancel_at;
}

int cadre_op_cancelled(const cadre_op *op)
{
    if (op->cancel_at < 0) return look_again(op);
    return op->cancel_at > 0 && op->steps >= op->cancel_at;
}

void cadre_op_step(cadre_op *op, uint32_t done, uint32_t total)
{
    (void)total;
    op->reached = done;
    op->steps++;
    if (op->on_step) op->on_step(op, op->data);
}

void cadre_op_heartbeat(cadre_op *op)
{
    op->beats++;
}

void cadre_op_measured(cadre_op *op, uint32_t device, uint64_t bytes)
{
    assert_int_equal(device, CADRE_DEVICE_HOST);
    op->measured = bytes;
}

uint32_t cadre_op_threads(const cadre_op *op)
{
    return op->threads > 0 ? op->threads : 1;
}

int cadre_op_fail(cadre_op *op, int error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(op->detail, sizeof op->detail, format, arguments);
    va_end(arguments);
    return error;
}

int cadre_load_cancelled(const cadre_load_context *context)
{
    (void)context;
    return 0;
}

void cadre_load_progress(cadre_load_context *context, double fraction, uint64_t done_bytes, uint64_t total_bytes, const char *stage)
{
    (void)context;
    (void)fraction;
    (void)done_bytes;
    (void)total_bytes;
    (void)stage;
}

uint32_t cadre_load_threads(const cadre_load_context *context)
{
    (void)context;
    return 1;
}

uint32_t cadre_load_cores(const cadre_load_context *context)
{
    (void)context;
    return 3;
}

/* The engine's own, and the last number that it was given. */
void engine_set_threads(sd_ctx_t *context, int threads) __asm__("sd_ctx_set_n_threads");
static int threads_now;

void sd_ctx_set_n_threads(sd_ctx_t *context, int threads)
{
    threads_now = threads;
    engine_set_threads(context, threads);
}

void cadre_load_measured(cadre_load_context *context, uint32_t device, uint64_t bytes)
{
    (void)context;
    (void)device;
    (void)bytes;
}

int cadre_load_fail(cadre_load_context *context, int error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(context->detail, sizeof context->detail, format, arguments);
    va_end(arguments);
    return error;
}

/* ---- a model ---- */

typedef struct model {
    cadre__diffusion_weights *weights;
    cadre_text_to_image_model painter;
} model;

static model load(cadre_diffusion_options options)
{
    cadre_load_context context = {""};
    cadre__diffusion_options *copy;
    model out = {NULL, CADRE_TEXT_TO_IMAGE_MODEL_INIT};
    assert_status(cadre__diffusion_options_create(&options, true, &copy, NULL, 0), 0);
    int rc = cadre__diffusion_weights_load(&context, copy, &out.weights);
    if (rc < 0) fail_msg("%s: %s", cadre_err_name(rc), context.detail);
    assert_status(cadre__diffusion_painter_create(&context, out.weights, true, &copy, &out.painter), 0);
    return out;
}

static void unload(model *of)
{
    of->painter.ops->destroy(of->painter.self);
}

/* Status; the picture is the caller's when it is 0. */
static int paint(const model *of, cadre_op *op, int32_t side, int32_t steps, cadre_image *out, cadre_blob *pixels)
{
    cadre_text_to_image_input input = {sizeof input, "a red square", "", side, side, steps, CADRE_DEFAULT_FLOAT, 5};
    memset(out, 0, sizeof *out);
    memset(pixels, 0, sizeof *pixels);
    return of->painter.ops->generate(of->painter.self, op, &input, out, pixels);
}

static void a_cancel_stops_before_the_next_step(void **state)
{
    (void)state;
    const char *const files[] = {FLUX, SD35};
    for (size_t k = 0; k < COUNT(files); k++) {
        model of = load(draw_options(files[k]));
        cadre_image first, image;
        cadre_blob kept, pixels;
        cadre_op op = {0};
        assert_status(paint(&of, &op, SIDE, 4, &first, &kept), 0);
        assert_int_equal(op.steps, 5); /* 0 … 4 */
        assert_int_equal(op.reached, 4);
        for (int cancel_at = 1; cancel_at <= 5; cancel_at++) {
            row("%s, cancelled at report %d", files[k], cancel_at);
            cadre_op stopped = {.cancel_at = cancel_at};
            assert_status(paint(&of, &stopped, SIDE, 4, &image, &pixels), CADRE_ECANCELED);
            assert_int_equal(stopped.steps, cancel_at);
            assert_null(pixels.data);
            cadre_op again = {0};
            assert_status(paint(&of, &again, SIDE, 4, &image, &pixels), 0);
            assert_int_equal(pixels.length, kept.length);
            assert_memory_equal(pixels.data, kept.data, kept.length);
            pixels.free(pixels.data, pixels.length);
        }
        kept.free(kept.data, kept.length);
        unload(&of);
    }
}

/* ---- turns ---- */

typedef struct queue {
    model of;
    pthread_t thread;
    cadre_op second; /* it waits while the first draws */
    int status;
    int seen[8]; /* threads at the first's reports */
    size_t reports;
} queue;

static void *draw_second(void *data)
{
    queue *q = data;
    cadre_image image;
    cadre_blob pixels;
    q->status = paint(&q->of, &q->second, SIDE, 1, &image, &pixels);
    if (q->status == 0) pixels.free(pixels.data, pixels.length);
    return NULL;
}

static void start_second(cadre_op *op, void *data)
{
    queue *q = data;
    if (q->reports < COUNT(q->seen)) q->seen[q->reports++] = threads_now;
    if (op->steps != 1) return;
    assert_int_equal(pthread_create(&q->thread, NULL, draw_second, q), 0);
    while (atomic_load(&q->of.weights->waiting) == 0) sched_yield();
}

static void who_draws_uses_the_threads_of_those_that_wait(void **state)
{
    (void)state;
    static queue q;
    cadre_diffusion_options given = draw_options(FLUX);
    cadre_image image;
    cadre_blob pixels;
    for (uint32_t threads = 1; threads <= 2; threads++) {
        given.threads = CADRE_DEFAULT;
        memset(&q, 0, sizeof q);
        q.of = load(given);
        cadre_op op = {.threads = threads, .on_step = start_second, .data = &q};
        assert_status(paint(&q.of, &op, SIDE, 3, &image, &pixels), 0);
        pixels.free(pixels.data, pixels.length);
        assert_int_equal(pthread_join(q.thread, NULL), 0);
        assert_status(q.status, 0);
        assert_int_equal(q.seen[0], threads);
        assert_int_equal(q.seen[1], threads == 1 ? 2 : 3); /* there are 3 cores */
        assert_int_equal(threads_now, 1);                  /* of the second, alone */
        assert_int_equal(atomic_load(&q.of.weights->waiting), 0);
        unload(&q.of);
    }
}

static bool beats_by_looks(cadre__diffusion_weights *weights, cadre_op *op, bool sign)
{
    looks = 0;
    op->beats = 0;
    weights->taken = true;
    if (sign) op->data = weights;
    op->cancel_at = -5; /* after so many looks */
    assert_status(cadre__diffusion_take(weights, op), CADRE_ECANCELED);
    assert_int_equal(looks, 5);
    return op->beats > 0;
}

static void who_waits_gives_a_sign_of_life_when_the_one_that_draws_does(void **state)
{
    (void)state;
    model of = load(draw_options(FLUX));
    cadre_op op = {0};
    assert_false(beats_by_looks(of.weights, &op, false));
    assert_true(beats_by_looks(of.weights, &op, true));
    of.weights->taken = false;
    unload(&of);
}

static void broken_weights_end_the_worker(void **state)
{
    (void)state;
    model of = load(draw_options(FLUX));
    cadre_diffusion_options given = draw_options(FLUX);
    cadre__diffusion_options *copy;
    cadre_load_context context = {""};
    cadre_text_to_image_model painter = CADRE_TEXT_TO_IMAGE_MODEL_INIT;
    cadre_image image;
    cadre_blob pixels;
    cadre_op op = {0};
    of.weights->broken = true;
    assert_status(paint(&of, &op, SIDE, 1, &image, &pixels), CADRE_EWORKER);
    assert_contains(op.detail, "loaded again");
    assert_status(cadre__diffusion_options_create(&given, true, &copy, NULL, 0), 0);
    assert_status(cadre__diffusion_painter_create(&context, of.weights, false, &copy, &painter), CADRE_EWORKER);
    assert_contains(context.detail, "gave up");
    cadre__diffusion_options_destroy(copy);
    of.weights->broken = false;
    unload(&of);
}

/* ---- memory ---- */

static void what_a_worker_says_that_it_takes(void **state)
{
    (void)state;
    model of = load(draw_options(FLUX));
    cadre_load_context context = {""};
    cadre__diffusion_options *copy;
    cadre_op op = {0};
    uint64_t params = (uint64_t)(of.weights->params_mib * 1024 * 1024), one = cadre__diffusion_picture_bytes(&of.weights->facts, SIDE, SIDE, false);
    assert_int_equal(of.weights->bytes, params + one);
    assert_status(of.painter.ops->attach(of.painter.self, &op), 0);
    assert_int_equal(op.measured, params + one + CADRE__DIFFUSION_WORKER_BYTES);
    for (int32_t side = SIDE; side <= 2 * SIDE; side *= 2) {
        cadre_text_to_image_model painter = CADRE_TEXT_TO_IMAGE_MODEL_INIT;
        cadre_diffusion_options given = draw_options(FLUX);
        row("shared, %d pixels", (int)side);
        given.width = given.height = side;
        assert_status(cadre__diffusion_options_create(&given, true, &copy, NULL, 0), 0);
        assert_status(cadre__diffusion_painter_create(&context, of.weights, false, &copy, &painter), 0);
        assert_status(painter.ops->attach(painter.self, &op), 0);
        uint64_t own = cadre__diffusion_picture_bytes(&of.weights->facts, (uint32_t)side, (uint32_t)side, false) - one;
        assert_int_equal(op.measured, own + CADRE__DIFFUSION_WORKER_BYTES);
        painter.ops->destroy(painter.self);
    }
    unload(&of);
}

static void weights_are_foreseen_as_the_engine_takes_them(void **state)
{
    (void)state;
    const char *const files[] = {FLUX, SD35};
    for (size_t i = 0; i < COUNT(files); i++) {
        row("%s", files[i]);
        model of = load(draw_options(files[i]));
        double foreseen = (double)of.weights->facts.weights_bytes / 1024 / 1024;
        print_message("weights: %.1f MiB foreseen, %.1f taken\n", foreseen, of.weights->params_mib);
        assert_true(of.weights->params_mib > 0);
        assert_true(foreseen > of.weights->params_mib * 0.98 && foreseen < of.weights->params_mib * 1.05);
        unload(&of);
    }
}

static void a_picture_is_foreseen_on_the_safe_side(void **state)
{
    (void)state;
    static const int32_t sides[] = {64, 128, 256};
    const char *const files[] = {FLUX, SD35};
    for (size_t i = 0; i < COUNT(files); i++) {
        cadre_diffusion_options given = draw_options(files[i]);
        given.width = given.height = sides[COUNT(sides) - 1];
        model of = load(given);
        for (size_t k = 0; k < COUNT(sides); k++) {
            cadre_image image;
            cadre_blob pixels;
            cadre_op op = {0};
            row("%s, %d pixels", files[i], (int)sides[k]);
            of.weights->compute_mib = 0;
            assert_status(paint(&of, &op, sides[k], 1, &image, &pixels), 0);
            pixels.free(pixels.data, pixels.length);
            double foreseen = (double)cadre__diffusion_picture_bytes(&of.weights->facts, (uint32_t)sides[k], (uint32_t)sides[k], false) / 1024 / 1024;
            print_message("%d: %.1f MiB foreseen, %.1f taken by the largest stage\n", (int)sides[k], foreseen, of.weights->compute_mib);
            assert_true(of.weights->compute_mib > 0);
            assert_true(foreseen > of.weights->compute_mib);
            assert_true(foreseen < of.weights->compute_mib * 3 + 64);
        }
        unload(&of);
    }
}

/* ---- files ---- */

#define SPOILT "diffusion-spoilt.bin"

typedef struct kind {
    const char *name, *path;
    const char **field; /* of `options` */
} kind;

static cadre_diffusion_options options;
static kind kinds[4];

static void list_kinds(void)
{
    options = draw_options(FLUX);
    kinds[0] = (kind){"FLUX", FLUX, &options.diffusion_model};
    kinds[1] = (kind){"SD 3.5", SD35, &options.diffusion_model};
    kinds[2] = (kind){"CLIP-L", CLIP_L, &options.clip_l};
    kinds[3] = (kind){"TAESD", TAESD, &options.taesd};
}

/* Looks, and loads what passes; the status and its detail. */
static int try_options(char detail[512])
{
    cadre__diffusion_options *copy;
    cadre__diffusion_facts facts;
    cadre__diffusion_weights *weights;
    cadre_load_context context = {""};
    detail[0] = '\0';
    assert_status(cadre__diffusion_options_create(&options, true, &copy, NULL, 0), 0);
    int rc = cadre__diffusion_look(copy, &facts, detail, 512);
    if (rc == 0) {
        rc = cadre__diffusion_weights_load(&context, copy, &weights);
        if (rc == 0) cadre__diffusion_weights_destroy(weights);
        snprintf(detail, 512, "%s", context.detail);
    }
    cadre__diffusion_options_destroy(copy);
    return rc;
}

/* One kind of file as these bytes. */
static int try_bytes(size_t which, const void *bytes, size_t length, char detail[512])
{
    list_kinds();
    write_content(SPOILT, bytes, length);
    *kinds[which].field = SPOILT;
    int rc = try_options(detail);
    remove(SPOILT);
    return rc;
}

/* An error of the file, which is named. */
static void refuse(size_t which, const void *bytes, size_t length)
{
    char detail[512];
    int rc = try_bytes(which, bytes, length, detail);
    if (rc != CADRE_EFORMAT) fail_msg("%s: %s (%s)", kinds[which].name, cadre_err_name(rc), detail);
    assert_contains(detail, SPOILT);
}

/* Past a GGUF's pairs, which are texts and 32-bit numbers, none longer than 255 bytes. */
static size_t first_tensor(const content *of)
{
    size_t at = 24;
    for (size_t i = 0; i < of->bytes[16]; i++) {
        at += 8 + (size_t)of->bytes[at];
        at += of->bytes[at] == 8 ? 12 + (size_t)of->bytes[at + 4] : 8;
    }
    return at;
}

/* Past the description of a GGUF's tensor. */
static size_t next_tensor(const content *of, size_t at)
{
    at += 8 + (size_t)of->bytes[at];
    return at + 4 + 8 * (size_t)of->bytes[at] + 12;
}

/* Where the header ends, by the reader's own count of what it took. */
static size_t header_length(const content *of)
{
    if (memcmp(of->bytes, "GGUF", 4) != 0) return 8 + (size_t)of->bytes[0] + ((size_t)of->bytes[1] << 8) + ((size_t)of->bytes[2] << 16);
    size_t at = first_tensor(of), count = of->bytes[8] + ((size_t)of->bytes[9] << 8);
    for (size_t i = 0; i < count; i++) at = next_tensor(of, at);
    return at;
}

static void files_cut_at_any_length(void **state)
{
    (void)state;
    list_kinds();
    for (size_t which = 0; which < COUNT(kinds); which++) {
        content of = read_content(kinds[which].path);
        size_t header = header_length(&of);
        for (size_t length = 0; length < of.length; length += length < 64 ? 1 : length < header ? 37 : of.length / 50 + 1) {
            row("%s cut at %zu of %zu", kinds[which].name, length, of.length);
            refuse(which, of.bytes, length);
        }
        refuse(which, of.bytes, of.length - 1);
        free(of.bytes);
        list_kinds();
    }
}

static uint32_t noise(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* Any byte of a header: an error, or a model that loads, but never the end of the process. */
static void files_with_bytes_changed(void **state)
{
    (void)state;
    uint32_t seed = 7;
    int refused = 0, loaded = 0;
    char detail[512];
    list_kinds();
    for (size_t which = 0; which < COUNT(kinds); which++) {
        content of = read_content(kinds[which].path);
        size_t header = header_length(&of);
        for (int i = 0; i < 40; i++) {
            size_t at = i < 10 ? (size_t)i : noise(&seed) % header;
            unsigned char before = of.bytes[at];
            of.bytes[at] ^= (unsigned char)(1 + noise(&seed) % 255);
            row("%s with byte %zu as %d", kinds[which].name, at, of.bytes[at]);
            int rc = try_bytes(which, of.bytes, of.length, detail);
            if (rc == 0)
                loaded++;
            else if (rc == CADRE_EFORMAT && detail[0])
                refused++;
            else
                fail_msg("%s (%s)", cadre_err_name(rc), detail);
            of.bytes[at] = before;
        }
        free(of.bytes);
        list_kinds();
    }
    print_message("%d refused, %d loaded\n", refused, loaded);
    assert_true(refused > 40);
}

static void files_of_random_bytes(void **state)
{
    (void)state;
    unsigned char bytes[4096];
    uint32_t seed = 11;
    for (size_t i = 0; i < 200; i++) {
        for (size_t k = 0; k < sizeof bytes; k++) bytes[k] = (unsigned char)noise(&seed);
        if (i % 3 == 1) memcpy(bytes, "GGUF\3\0\0\0\2\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 24);
        if (i % 3 == 2) memcpy(bytes, "\x80\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"F32\",\"shape\":[", 38);
        row("random file %zu", i);
        refuse(i % COUNT(kinds), bytes, 1 + noise(&seed) % sizeof bytes);
    }
}

/* ---- small GGUF files, written here ---- */

typedef struct writer {
    unsigned char bytes[2048];
    size_t length;
} writer;

static void put(writer *w, uint64_t value, size_t width)
{
    assert_true(w->length + width <= sizeof w->bytes);
    for (size_t i = 0; i < width; i++) w->bytes[w->length++] = (unsigned char)(value >> (8 * i));
}

static void put_string(writer *w, const char *text)
{
    put(w, strlen(text), 8);
    for (; *text; text++) put(w, (unsigned char)*text, 1);
}

static writer gguf(uint64_t tensors, uint64_t pairs)
{
    writer w = {.length = 0};
    put(&w, 0x46554747, 4);
    put(&w, 3, 4);
    put(&w, tensors, 8);
    put(&w, pairs, 8);
    return w;
}

static void put_tensor(writer *w, const char *name, uint32_t dims, uint64_t ne0, uint64_t ne1, uint32_t type, uint64_t offset)
{
    put_string(w, name);
    put(w, dims, 4);
    for (uint32_t i = 0; i < dims && i < 4; i++) put(w, i == 0 ? ne0 : i == 1 ? ne1 : 1, 8);
    put(w, type, 4);
    put(w, offset, 8);
}

static void refuse_gguf(const char *what, const writer *w, const char *says)
{
    char detail[512];
    row("%s", what);
    int rc = try_bytes(0, w->bytes, w->length, detail);
    assert_status(rc, CADRE_EFORMAT);
    assert_contains(detail, says);
}

static void numbers_that_overflow(void **state)
{
    (void)state;
    const struct {
        const char *what;
        uint64_t tensors, pairs;
        const char *says;
    } counts[] = {{"tensors", UINT64_MAX, 0, "tensors"},
                  {"half of them", UINT64_C(1) << 63, 0, "tensors"},
                  {"pairs", 0, UINT64_MAX, "keys"},
                  {"none", 0, 0, "no tensors"}};
    for (size_t i = 0; i < COUNT(counts); i++) {
        writer w = gguf(counts[i].tensors, counts[i].pairs);
        refuse_gguf(counts[i].what, &w, counts[i].says);
    }
    const struct {
        const char *what;
        uint32_t dims;
        uint64_t ne0, ne1;
        uint32_t type;
        uint64_t offset;
        const char *says;
    } tensors[] = {{"elements", 2, UINT64_C(1) << 32, UINT64_C(1) << 32, 0, 0, "impossible shape"},
                   {"elements that wrap to 4", 2, (UINT64_C(1) << 63) + 2, 2, 0, 0, "impossible shape"},
                   {"no elements", 2, 4, 0, 0, 0, "impossible shape"},
                   {"dimensions", UINT32_MAX, 1, 1, 0, 0, "dimensions"},
                   {"five dimensions", 5, 1, 1, 0, 0, "dimensions"},
                   {"an offset", 1, 4, 1, 0, UINT64_MAX - 31, "impossible offset"},
                   {"an offset beyond", 1, 4, 1, 0, UINT64_C(1) << 40, "beyond"},
                   {"an odd offset", 1, 4, 1, 0, 3, "impossible offset"},
                   {"a type", 1, 4, 1, 77, 0, "unknown type"},
                   {"a type that was given up", 1, 4, 1, 4, 0, "unknown type"},
                   {"a broken row", 1, 33, 1, 2, 0, "whole blocks"}};
    for (size_t i = 0; i < COUNT(tensors); i++) {
        writer w = gguf(1, 0);
        put_tensor(&w, "x", tensors[i].dims, tensors[i].ne0, tensors[i].ne1, tensors[i].type, tensors[i].offset);
        for (int k = 0; k < 64; k++) put(&w, 0, 1);
        refuse_gguf(tensors[i].what, &w, tensors[i].says);
    }
    const struct {
        const char *what;
        uint32_t type;
        uint64_t value, count;
        const char *says;
    } values[] = {{"a string's length", 8, UINT64_MAX, 0, "cut short"},
                  {"an array's length", 9, 0, UINT64_MAX, "array"},
                  {"an array of arrays", 9, 9, 1, "array"},
                  {"an array of strings", 9, 8, 1000, "array"},
                  {"an array of three strings", 9, 8, 3, "cut short"},
                  {"an array of doubles", 9, 12, 1000, "array"},
                  {"an unknown type", 13, 0, 0, "unknown type"},
                  {"an array's unknown type", 9, 4000000000u, 1, "array"}};
    for (size_t i = 0; i < COUNT(values); i++) {
        writer w = gguf(1, 1);
        put_string(&w, "key");
        put(&w, values[i].type, 4);
        put(&w, values[i].value, values[i].type == 9 ? 4 : 8);
        if (values[i].type == 9) put(&w, values[i].count, 8);
        refuse_gguf(values[i].what, &w, values[i].says);
    }
    writer w = gguf(1, 1);
    put_string(&w, "general.alignment");
    put(&w, 4, 4);
    put(&w, 0, 4);
    refuse_gguf("an alignment of 0", &w, "alignment");
}

static void headers_that_are_not_safetensors(void **state)
{
    (void)state;
    static const char *const headers[] = {"{",
                                          "{}",
                                          "{\"a\"}",
                                          "{\"a\":1}",
                                          "{\"a\":{}}",
                                          "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}",
                                          "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}",
                                          "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}",
                                          "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[18446744073709551612,18446744073709551616]}}",
                                          "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[18446744073709551608,18446744073709551612]}}",
                                          "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}",
                                          "{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}",
                                          "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}",
                                          "{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}",
                                          "{\"a\":{\"dtype\":\"X9\",\"shape\":[1],\"data_offsets\":[0,4]}}",
                                          "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}",
                                          "{\"a\\u0000\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
                                          "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}} x",
                                          "{\"__metadata__\":[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]],\"a\":1}",
                                          "[]"};
    for (size_t i = 0; i < COUNT(headers); i++) {
        unsigned char bytes[512] = {0};
        size_t length = strlen(headers[i]);
        row("%s", headers[i]);
        bytes[0] = (unsigned char)length;
        memcpy(bytes + 8, headers[i], length);
        refuse(0, bytes, 8 + length + 4);
        bytes[7] = 0x80;
        refuse(0, bytes, 8 + length + 4);
    }
}

static void files_in_the_wrong_place(void **state)
{
    (void)state;
    const char *llm = getenv("CADRE_TEST_SMOLLM2");
    char detail[512];
    struct {
        const char *what;
        cadre_diffusion_options options;
        const char *says;
    } cases[14];
    size_t n = 0;
#define CASE(name, text)                                                                                                                                       \
    cases[n].what = name;                                                                                                                                      \
    cases[n].says = text;                                                                                                                                      \
    cases[n].options = draw_options(FLUX);                                                                                                                     \
    n++;                                                                                                                                                       \
    cases[n - 1].options
    CASE("no encoder", "no text encoder").clip_l = NULL;
    CASE("no decoder", "vae or taesd").taesd = NULL;
    CASE("CLIP-L as T5", "T5-XXL").t5xxl = CLIP_L;
    CASE("CLIP-L as CLIP-G", "CLIP-G").clip_g = CLIP_L;
    CASE("FLUX as CLIP-L", "as clip_l it may not have").clip_l = FLUX;
    CASE("SD 3.5 beside FLUX", "diffusion_model").taesd = SD35;
    CASE("TAESD as the transformer", "not a FLUX or SD 3 transformer").diffusion_model = TAESD;
    CASE("TAESD as a VAE", "autoencoder").vae = TAESD;
    cases[n - 1].options.taesd = NULL;
    CASE("a missing file", "there is no such file").clip_l = "no-such-file";
    CASE("a folder", "regular file").clip_l = "/";
    CASE("a device", "regular file").clip_l = "/dev/zero";
    if (llm) {
        CASE("a language model", "architecture is llama").diffusion_model = llm;
    }
#undef CASE
    for (size_t i = 0; i < n; i++) {
        row("%s", cases[i].what);
        options = cases[i].options;
        int rc = try_options(detail);
        if (rc != CADRE_EFORMAT) fail_msg("%s (%s)", cadre_err_name(rc), detail);
        assert_contains(detail, cases[i].says);
    }
}

/* What the checks leave to the engine: tensors in turn under another name, and with its first two dimensions changed for each other. */
static void a_tensor_that_is_missing_or_of_another_shape(void **state)
{
    (void)state;
    char detail[512];
    list_kinds();
    for (size_t which = 0; which < 3; which++) {
        content of = read_content(kinds[which].path);
        size_t at = first_tensor(&of), count = of.bytes[8] + ((size_t)of.bytes[9] << 8);
        for (size_t i = 0; i < count; i++) {
            unsigned char *name = of.bytes + at + 8, first[8], second[8];
            size_t length = of.bytes[at];
            unsigned char *dims = name + length;
            row("%s without %.*s", kinds[which].name, (int)length, name);
            name[length - 1] ^= 1;
            int rc = try_bytes(which, of.bytes, of.length, detail);
            if (rc != CADRE_EFORMAT) fail_msg("%s (%s)", cadre_err_name(rc), detail);
            name[length - 1] ^= 1;
            memcpy(first, dims + 4, 8);
            memcpy(second, dims + 12, 8);
            if (dims[0] >= 2 && memcmp(first, second, 8) != 0) {
                memcpy(dims + 4, second, 8);
                memcpy(dims + 12, first, 8);
                row("%s with %.*s transposed", kinds[which].name, (int)length, name);
                rc = try_bytes(which, of.bytes, of.length, detail);
                if (rc != CADRE_EFORMAT) fail_msg("%s (%s)", cadre_err_name(rc), detail);
                memcpy(dims + 4, first, 8);
                memcpy(dims + 12, second, 8);
            }
            at = next_tensor(&of, at);
            /* many are alike */
            for (size_t skip = which == 2 ? 28 : 6; skip > 0 && i + 1 < count; skip--, i++) at = next_tensor(&of, at);
        }
        free(of.bytes);
        list_kinds();
    }
}

#define SUITE diffusion_parts
#include "suite.h"
