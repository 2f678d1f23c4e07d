/* vision: one picture of the tower's own size and a question, one after the other, greedy, against llama-mtmd-cli on the same files. Every picture is new.
 *
 *   first_token           ms from the request, with the picture as pixels, to the first piece of text, against the program's own "prompt eval time", which
 *                         begins with the text before the picture and has the encoding in it. It leaves out preparing the picture, tokenising and sampling;
 *                         ours has them in
 *   first_token_decoding  the same with the picture as a PNG file, against the program's time from the end of its loading to its first character
 *   tokens_per_s          after the first one, against the program's own figure, which leaves out sampling and text
 *   answer                (of the small model, whose answers are a few tokens in less than a millisecond) ms from the request to its end, against the program's
 *                         two timings together
 *   …_own_build           the same with --mtmd-cli-own, a program whose CPU modules another compiler made
 *   …_large               the same with a LLaVA of random weights whose tower has LLaVA-1.5's 336 pixels and 576 tokens
 *
 * --mtmd-cli computes with the CPU modules which the llama backend uses. All sides use the same number of engine threads (one for the small model; --threads,
 * by default the CPUs, for the large one) and the chat template "vicuna". The program has --poll 0, without which the language model's waiting threads slow its
 * encoder down, and its defaults otherwise; it runs once for each figure. The answers are compared. */
#include "engine.h"
#include "pictures.h"
#include "program.h"

#include <cadre/images.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONTEXT_LARGE 2048
#define CONTEXT_SMALL 256
#define TEXT_MAX 4096
#define TRIES 5

enum { SAME, OWN, PEERS };
enum { PIXELS, PNG, FORMS };

typedef struct answer {
    double first_ms, done_ms; /* from the request */
    double first_wall_ms;     /* a program's: from the end of its loading */
    double per_s;
    uint32_t tokens, cached;
    char text[TEXT_MAX];
} answer;

typedef struct sides {
    const bench_args *args;
    engine_host host;
    const char *model, *mmproj, *suffix;
    int large, threads;
    uint32_t side; /* of the tower */
    int tokens, context;
    unsigned number; /* of the picture */
    int different;   /* answers */
    uint32_t cached;
    /* the request under way */
    uint64_t start_ns, first_ns;
    answer *into;
    size_t length;
    int done;
} sides;

static double ms_between(uint64_t from, uint64_t to)
{
    return (double)(to - from) / 1e6;
}

static void question(const sides *s, char *buffer, size_t size)
{
    snprintf(buffer, size, "what is in picture %u?", s->number);
}

/* ---- ours ---- */

static void on_text(cadre_request *request, const char *text, size_t length)
{
    sides *s = cadre_request_data(request);
    if (s->first_ns == 0) s->first_ns = bench_now_ns();
    if (s->length + length >= TEXT_MAX) return;
    memcpy(s->into->text + s->length, text, length);
    s->length += length;
}

static void on_done(cadre_request *request, int status, const cadre_generation *result)
{
    sides *s = cadre_request_data(request);
    uint64_t now = bench_now_ns();
    if (status < 0) bench_fail("a description failed: %s (%s)", cadre_err_name(status), cadre_request_detail(request));
    if (s->first_ns == 0) bench_fail("a description has no text");
    s->into->tokens = result->generated_tokens;
    s->into->cached = result->cached_tokens;
    s->into->first_ms = ms_between(s->start_ns, s->first_ns);
    s->into->done_ms = ms_between(s->start_ns, now);
    s->into->per_s = result->generated_tokens > 1 ? (result->generated_tokens - 1) * 1000.0 / ms_between(s->first_ns, now) : NAN;
    s->done = 1;
}

static void ours(sides *s, int form, answer *into)
{
    char query[64];
    cadre_describe_params params = CADRE_DESCRIBE_PARAMS_INIT;
    uint8_t *pixels = picture_draw(s->number, s->side, s->side);
    picture_file file = picture_encode(pixels, s->side, s->side, PICTURE_PNG);
    cadre_image_input input = form == PNG ? cadre_image_from_bytes(file.bytes, file.length) : cadre_image_from_rgb8(pixels, s->side, s->side);
    question(s, query, sizeof query);
    *into = (answer){0};
    s->into = into;
    s->first_ns = s->length = 0;
    s->done = 0;
    params.key = ENGINE_KEY;
    params.query = query;
    params.images = &input;
    params.image_count = 1;
    params.sampling.temperature = 0;
    params.sampling.max_tokens = s->tokens;
    params.on_text = on_text;
    params.on_done = on_done;
    params.data = s;
    s->start_ns = bench_now_ns();
    int rc = cadre_describe(s->host.pool, &params, NULL);
    if (rc != 0) bench_fail("cadre_describe: %s (%s)", cadre_err_name(rc), cadre_pool_error_detail(s->host.pool));
    while (!s->done) uv_run(&s->host.loop, UV_RUN_ONCE);
    if (into->cached > s->cached) s->cached = into->cached;
    picture_file_free(&file);
    free(pixels);
}

/* ---- llama-mtmd-cli ---- */

/* The time at which the program wrote a log line: "minutes.seconds.milliseconds.microseconds", in ms. */
static double stamp(const char *line)
{
    int minutes, seconds, ms, us;
    if (!line || sscanf(line, "%d.%d.%d.%d ", &minutes, &seconds, &ms, &us) != 4) return NAN;
    return (minutes * 60.0 + seconds) * 1000.0 + ms + us / 1000.0;
}

static double number_behind(const char *line, const char *text)
{
    const char *at = line ? strstr(line, text) : NULL;
    return at ? strtod(at + strlen(text), NULL) : NAN;
}

/* The answer, without the blanks around it. */
static void copy_trimmed(const char *from, char *to)
{
    while (isspace((unsigned char)*from)) from++;
    size_t length = strlen(from);
    while (length > 0 && isspace((unsigned char)from[length - 1])) length--;
    if (length >= TEXT_MAX) length = TEXT_MAX - 1;
    memcpy(to, from, length);
    to[length] = '\0';
}

/* 0: its log is not complete, which happens: it ends without waiting for the thread that writes it. */
static int read_output(const program_output *output, answer *into)
{
    uint64_t loaded_ns;
    double encode = stamp(program_line(output, "mtmd batch encoding done", NULL)) - stamp(program_line(output, "encoding mtmd batch", NULL));
    double prompt = number_behind(program_line(output, "prompt eval time =", NULL), "eval time =");
    const char *line = program_line(output, ":        eval time =", NULL);
    double eval = number_behind(line, "eval time ="), runs = number_behind(line, " ms /");
    if (!isfinite(encode + prompt + eval + runs) || !program_line(output, "main: loading model:", &loaded_ns) || output->out_first_ns == 0) return 0;
    /* The engine counts from the first part of a prompt that it is given to the moment at which it is waited for: the picture is encoded between the two. */
    into->first_ms = prompt > encode ? prompt : prompt + encode;
    into->done_ms = into->first_ms + eval;
    into->first_wall_ms = ms_between(loaded_ns, output->out_first_ns);
    into->tokens = (uint32_t)runs;
    into->per_s = runs * 1000.0 / eval;
    copy_trimmed(output->out, into->text);
    return 1;
}

static void write_picture(const sides *s, const char *path)
{
    uint8_t *pixels = picture_draw(s->number, s->side, s->side);
    picture_file picture = picture_encode(pixels, s->side, s->side, PICTURE_PNG);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(picture.bytes, 1, picture.length, file) != picture.length || fclose(file) != 0) bench_fail("cannot write %s", path);
    picture_file_free(&picture);
    free(pixels);
}

static void peer(sides *s, int which, answer *into)
{
    const char *program = which == SAME ? s->args->mtmd_cli : s->args->mtmd_cli_own;
    char picture[1024], query[64], threads[16], tokens[16], context[16];
    const char *arguments[] = {"-m", s->model, "--mmproj", s->mmproj, "--image", picture,           "-p",     query, "-t", threads, "--poll", "0", "--temp",
                               "0",  "-n",     tokens,     "-c",      context,   "--chat-template", "vicuna", "-lv", "4",  NULL};
    *into = (answer){.first_ms = NAN, .done_ms = NAN, .first_wall_ms = NAN, .per_s = NAN};
    if (!program) return;
    snprintf(picture, sizeof picture, "%s/vision.png", s->args->folder);
    snprintf(threads, sizeof threads, "%d", s->threads);
    snprintf(tokens, sizeof tokens, "%d", s->tokens);
    snprintf(context, sizeof context, "%d", s->context);
    question(s, query, sizeof query);
    write_picture(s, picture);
    for (int i = 0; i < TRIES; i++) {
        program_output output;
        program_run(program, arguments, &output);
        int whole = read_output(&output, into);
        if (!whole && i == TRIES - 1) bench_fail("llama-mtmd-cli (status %d): %.2000s", output.status, output.err);
        program_free(&output);
        if (whole) return;
    }
}

/* ---- rows ---- */

static void compare_answers(sides *s, const answer *mine, const answer *theirs)
{
    char text[TEXT_MAX];
    copy_trimmed(mine->text, text);
    if (theirs->text[0] == '\0' || strcmp(text, theirs->text) == 0) return;
    if (s->different++ == 0) bench_note(s->args, "another answer than llama-mtmd-cli's: \"%.60s\", \"%.60s\"", text, theirs->text);
}

typedef struct row_set {
    bench_row first[PEERS], decoding, per_s[PEERS], answer[PEERS];
} row_set;

static void init_rows(const sides *s, row_set *rows)
{
    static const char *const names[PEERS] = {"llama-mtmd-cli, the same CPU modules", "llama-mtmd-cli, its own build"};
    static const char *const ends[PEERS] = {"", "_own_build"};
    for (int i = 0; i < PEERS; i++) {
        bench_row_init(&rows->first[i], "vision", "ms", names[i], i ? "none" : "ratio <= 1.0", "first_token%s%s", ends[i], s->suffix);
        bench_row_init(&rows->per_s[i], "vision", "tokens/s", names[i], i ? "none" : "ratio >= 1.0", "tokens_per_s%s%s", ends[i], s->suffix);
        bench_row_init(&rows->answer[i], "vision", "ms", names[i], "none", "answer%s%s", ends[i], s->suffix);
    }
    bench_row_init(&rows->decoding, "vision", "ms", "llama-mtmd-cli, loading left out", "none", "first_token_decoding%s", s->suffix);
}

static void measure_round(sides *s, int round, row_set *rows)
{
    answer mine[FORMS], theirs[PEERS];
    unsigned base = s->number;
    for (int i = 0; i < FORMS + PEERS; i++) {
        int side = (i + round + FORMS + PEERS) % (FORMS + PEERS);
        s->number = base + (side == PNG); /* its own picture: the beginning of a prompt may be kept */
        if (side < FORMS)
            ours(s, side, &mine[side]);
        else
            peer(s, side - FORMS, &theirs[side - FORMS]);
    }
    s->number = base + FORMS;
    if (round < 0) return;
    for (int i = 0; i < PEERS; i++) {
        compare_answers(s, &mine[PIXELS], &theirs[i]);
        bench_row_add(&rows->first[i], mine[PIXELS].first_ms, theirs[i].first_ms);
        bench_row_add(&rows->per_s[i], mine[PIXELS].per_s, theirs[i].per_s);
        bench_row_add(&rows->answer[i], mine[PIXELS].done_ms, theirs[i].done_ms);
    }
    bench_row_add(&rows->decoding, mine[PNG].first_ms, theirs[SAME].first_wall_ms);
}

static void print_rows(const sides *s, const row_set *rows)
{
    const bench_args *args = s->args;
    int peers = args->mtmd_cli_own ? PEERS : 1;
    for (int i = 0; i < peers; i++) bench_row_print(args, &rows->first[i]);
    bench_row_print(args, &rows->decoding);
    for (int i = 0; i < peers; i++) bench_row_print(args, s->large ? &rows->per_s[i] : &rows->answer[i]);
    if (s->different) bench_note(args, "%d of %d answers differ from llama-mtmd-cli's", s->different, args->rounds * peers);
    if (s->cached) bench_note(args, "up to %u tokens of a prompt were kept from the one before", s->cached);
}

static void measure_model(sides *s)
{
    static row_set rows;
    cadre_llama_options options = CADRE_LLAMA_OPTIONS_INIT;
    cadre_image_decoder decoder;
    int rc = cadre_images_decoder(NULL, &decoder);
    if (rc != 0) bench_fail("cadre_images_decoder: %s", cadre_err_name(rc));
    s->threads = s->large ? s->args->threads : 1;
    s->suffix = s->large ? "_large" : "";
    s->side = s->large ? 336 : 56;
    s->tokens = s->large ? 64 : 24;
    s->context = s->large ? CONTEXT_LARGE : CONTEXT_SMALL;
    s->number = 1;
    s->different = 0;
    s->cached = 0;
    options.path = s->model;
    options.mmproj = s->mmproj;
    options.context_length = s->context;
    options.slots = 1;
    if (!s->large) options.threads = s->threads;
    options.chat_template = "vicuna";
    engine_open(&s->host, s->args, &decoder);
    engine_spawn(&s->host, s->args, &options, CADRE_VISION);
    engine_wait_ready(&s->host);
    init_rows(s, &rows);
    for (int round = -1; round < s->args->rounds; round++) measure_round(s, round, &rows); /* the first one warms up */
    print_rows(s, &rows);
    engine_close(&s->host);
}

int main(int argc, char **argv)
{
    bench_args args;
    bench_parse(&args, argc, argv);
    engine_need(args.mtmd_cli, "--mtmd-cli");
    sides s = {.args = &args, .model = engine_need(args.llava, "--llava"), .mmproj = engine_need(args.llava_mmproj, "--llava-mmproj")};
    bench_note(&args, "1 engine thread for the small model, %d for the large one; llama-mtmd-cli -c N -t N --poll 0 --temp 0 --chat-template vicuna",
               args.threads);
    measure_model(&s);
    if (args.llava_large) {
        s.large = 1;
        s.model = args.llava_large;
        s.mmproj = engine_need(args.llava_large_mmproj, "--llava-large-mmproj");
        measure_model(&s);
    } else {
        bench_note(&args, "no --llava-large: no row with a large model");
    }
    bench_finish(&args);
    return 0;
}
