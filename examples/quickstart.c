/* quickstart CHAT.gguf EMBED.gguf: two models load at the same time on one uv loop while the host's own 1 ms timer keeps ticking on it.
 * A chat answer is streamed, six sentences are embedded as one request; the last line says how late the ticks were. Ctrl-C cancels. */
#include <cadre/llama.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>
enum { BEFORE, DURING, AFTER, PHASES, IDLE_MS = 500, MAX_TICKS = 1 << 18, SENTENCES = 6 };
static const char *const phases[PHASES] = {"before", "during", "after"};
static const char *const sentences[SENTENCES] = {"A dog runs across the meadow.",     "The bank raised its interest rates.", "Rain is expected all weekend.",
                                                 "A puppy is racing over the grass.", "She plays the violin in a quartet.",  "The train leaves at noon."};
static struct model {
    const char *key;
    int percent;
} chat = {"smollm2", -1}, minilm = {"minilm", -1}; /* percent: loaded, as printed */
static uint32_t late_us[PHASES][MAX_TICKS];
static struct {
    cadre_pool *pool;
    uv_timer_t timer;
    uv_signal_t sigint;
    char **paths;
    int phase, tick_phase; /* now; and at the previous tick, to which the time since then is charged */
    size_t ticks[PHASES], alike[2];
    uint64_t started, last_tick;
    double cosine;
    int loading, waiting, exit_code;
} app = {.cosine = -2, .loading = 2, .waiting = 2};

static void on_closed(cadre_pool *pool, const cadre_close_report *report, void *data)
{
    (void)pool, (void)report, (void)data;
    uv_close((uv_handle_t *)&app.timer, NULL), uv_close((uv_handle_t *)&app.sigint, NULL);
}
static void stop(int exit_code)
{
    cadre_close_options options = CADRE_CLOSE_OPTIONS_INIT;
    options.drain_ms = 0;
    if (cadre_pool_close(app.pool, &options, on_closed) == 0) app.exit_code = exit_code;
}
static void on_sigint(uv_signal_t *handle, int number)
{
    (void)handle, stop(128 + number);
}
static void failed(const char *what, int rc, const char *detail)
{
    if (app.exit_code == 0) fprintf(stderr, "%s: %s: %s\n", what, cadre_err_name(rc), *detail ? detail : cadre_strerror(rc));
    stop(1);
}

static void on_progress(cadre_pool *pool, cadre_worker_id worker, const cadre_progress *progress, void *data)
{
    struct model *model = data;
    int percent = progress->fraction >= 0 ? (int)(progress->fraction * 10) * 10 : -1; /* NaN: unknown */
    if (pool && worker && percent > model->percent) printf("%s: %s %d %%\n", model->key, progress->stage, model->percent = percent);
}
static void on_ready(cadre_pool *pool, cadre_worker_id worker, int status, const char *detail, void *data)
{
    const struct model *model = data;
    (void)pool, (void)worker;
    if (status < 0) failed(model->key, status, detail);
    if (status == 0) printf("%s: ready after %.2f s\n", model->key, (double)(uv_hrtime() - app.started) / 1e9 - IDLE_MS / 1e3);
    if (status == 0 && --app.loading == 0) app.phase = AFTER;
}

static void on_text(cadre_request *request, const char *text, size_t length)
{
    (void)request, fwrite(text, 1, length, stdout), fflush(stdout);
}
static void done(cadre_request *request, int status)
{
    if (status < 0) failed(cadre_request_key(request), status, cadre_request_detail(request));
    if (status == 0 && --app.waiting == 0) stop(0);
}
static void on_answer(cadre_request *request, int status, const cadre_generation *result)
{
    (void)result, puts(""), done(request, status);
}
static void on_embeddings(cadre_request *request, int status, const cadre_embeddings *result)
{
    for (size_t i = 0; result && i < SENTENCES; i++)
        for (size_t j = 0; j < i; j++) {
            const float *a = result->values + i * result->dimension, *b = result->values + j * result->dimension;
            double cosine = 0; /* the vectors have length 1 */
            for (size_t k = 0; k < result->dimension; k++) cosine += (double)a[k] * b[k];
            if (cosine > app.cosine) app.cosine = cosine, app.alike[0] = j, app.alike[1] = i;
        }
    done(request, status);
}

/* Both requests are submitted at once: each waits for its model's load. */
static void start(void)
{
    cadre_llama_options options = CADRE_LLAMA_OPTIONS_INIT;
    cadre_spawn_options spawn = CADRE_SPAWN_OPTIONS_INIT;
    cadre_generate_params ask = CADRE_GENERATE_PARAMS_INIT;
    cadre_embed_params compare = CADRE_EMBED_PARAMS_INIT;
    cadre_text_to_text_loader chat_loader;
    cadre_text_embedding_loader embed_loader;
    spawn.on_progress = on_progress, ask.on_text = on_text, ask.on_done = on_answer, compare.on_done = on_embeddings;
    ask.key = chat.key, ask.text = "Why is the sky blue? Answer in three sentences.", ask.sampling.temperature = 0, ask.sampling.max_tokens = 150;
    compare.key = minilm.key, compare.texts = sentences, compare.count = SENTENCES;
    options.path = app.paths[0];
    int rc = cadre_llama_text_to_text(&options, &chat_loader);
    if (rc == 0) rc = cadre_spawn_text_to_text(app.pool, chat.key, &chat_loader, NULL, &spawn, on_ready, &chat, NULL);
    options.path = app.paths[1];
    if (rc == 0) rc = cadre_llama_text_embedding(&options, &embed_loader);
    if (rc == 0) rc = cadre_spawn_text_embedding(app.pool, minilm.key, &embed_loader, NULL, &spawn, on_ready, &minilm, NULL);
    if (rc == 0) rc = cadre_generate(app.pool, &ask, NULL);
    if (rc == 0) rc = cadre_embed(app.pool, &compare, NULL);
    if (rc != 0) failed("start", rc, cadre_pool_error_detail(app.pool));
}

/* libuv's timers count whole milliseconds, so up to 1 ms of lag is there on an idle loop too: that is what "before" shows. */
static void on_tick(uv_timer_t *timer)
{
    uint64_t now = uv_hrtime(), us = (now - app.last_tick) / 1000;
    size_t *ticks = &app.ticks[app.tick_phase];
    if (*ticks < MAX_TICKS) late_us[app.tick_phase][(*ticks)++] = (uint32_t)(us > 1000 ? us - 1000 : 0);
    if (app.phase == BEFORE && now - app.started >= IDLE_MS * 1000000ull) app.phase = DURING, start();
    (void)timer, app.tick_phase = app.phase, app.last_tick = now;
}

static int by_value(const void *a, const void *b)
{
    return (*(const uint32_t *)a > *(const uint32_t *)b) - (*(const uint32_t *)a < *(const uint32_t *)b);
}

int main(int argc, char **argv)
{
    uv_loop_t *loop = uv_default_loop();
    int rc, help = argc == 2 && strcmp(argv[1], "--help") == 0;
    if (argc != 3) return fprintf(help ? stdout : stderr, "usage: quickstart CHAT.gguf EMBED.gguf\n"), help ? 0 : 2;
    if ((rc = cadre_pool_create(&app.pool, loop, NULL)) != 0) return fprintf(stderr, "%s\n", cadre_err_name(rc)), 1;
    app.paths = argv + 1, app.started = app.last_tick = uv_hrtime();
    uv_timer_init(loop, &app.timer), uv_timer_start(&app.timer, on_tick, 1, 1);
    uv_signal_init(loop, &app.sigint), uv_signal_start(&app.sigint, on_sigint, SIGINT);
    uv_run(loop, UV_RUN_DEFAULT);
    if (app.cosine > -2) printf("most alike (%.3f): \"%s\" and \"%s\"\n", app.cosine, sentences[app.alike[0]], sentences[app.alike[1]]);
    printf("loop lag, ms (p50 p99 max):");
    for (int phase = BEFORE; phase < PHASES; phase++) {
        const uint32_t *us = late_us[phase];
        size_t n = app.ticks[phase];
        qsort(late_us[phase], n, sizeof *us, by_value);
        if (n > 0) printf("  %s %.2f %.2f %.2f", phases[phase], us[n / 2] / 1e3, us[n * 99 / 100] / 1e3, us[n - 1] / 1e3);
    }
    return puts(""), uv_loop_close(loop) == 0 ? app.exit_code : 1;
}
