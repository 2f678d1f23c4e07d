/* fetch REFERENCE [QUESTION]: a host whose model comes over the network. "hf:OWNER/NAME/FILE.gguf" is brought when it is first used, and kept. */
#include <cadre/fetch.h>
#include <stdio.h>
#include <uv.h>
static cadre_pool *pool;
static cadre_fetcher *fetcher;
static uv_timer_t timer;
static int failed;
static void on_tick(uv_timer_t *tick)
{
    cadre_entry_info info = CADRE_ENTRY_INFO_INIT;
    if ((void)tick, cadre_registry_get(pool, "model", &info) < 0 || !info.fetching || !info.progress.total_bytes) return;
    fprintf(stderr, "%s: %.1f of %.1f MB\n", info.progress.stage, (double)info.progress.done_bytes / 1e6, (double)info.progress.total_bytes / 1e6);
}
static void on_text(cadre_request *request, const char *text, size_t length)
{
    (void)request, fwrite(text, 1, length, stdout), fflush(stdout);
}
static void on_closed(cadre_pool *closed, const cadre_close_report *report, void *data)
{
    (void)closed, (void)report, (void)data;
    uv_close((uv_handle_t *)&timer, NULL), cadre_fetcher_close(fetcher, NULL, NULL);
}
static void on_done(cadre_request *request, int status, const cadre_generation *result)
{
    (void)result, failed = status < 0;
    fprintf(failed ? stderr : stdout, "%s%s\n", failed ? "error: " : "", cadre_request_detail(request)); /* detail: "" on success */
    cadre_pool_close(pool, NULL, on_closed);
}
int main(int argc, char **argv)
{
    char json[1024];
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    cadre_entry entry = CADRE_ENTRY_INIT;
    cadre_generate_params ask = CADRE_GENERATE_PARAMS_INIT;
    if (argc < 2 || snprintf(json, sizeof json, "{\"path\": \"%s\"}", argv[1]) >= (int)sizeof json) return puts("usage: fetch REFERENCE [QUESTION]"), 2;
    entry.key = ask.key = "model", entry.capability = CADRE_TEXT_TO_TEXT, entry.backend = "llama", entry.options = json, entry.loader = CADRE_LOADER_ASYNC;
    ask.text = argc > 2 ? argv[2] : "Name three colours.", ask.on_text = on_text, ask.on_done = on_done;
    if (cadre_fetcher_create(&fetcher, uv_default_loop(), NULL) < 0) return 1;
    options.files = cadre_fetcher_files(fetcher);
    if (cadre_pool_create(&pool, uv_default_loop(), &options) < 0) return 1;
    uv_timer_init(uv_default_loop(), &timer), uv_timer_start(&timer, on_tick, 500, 500);
    if (cadre_registry_add(pool, &entry, NULL, NULL) < 0 || cadre_generate(pool, &ask, NULL) < 0) failed = 1, cadre_pool_close(pool, NULL, on_closed);
    return uv_run(uv_default_loop(), UV_RUN_DEFAULT) || uv_loop_close(uv_default_loop()) || failed;
}
