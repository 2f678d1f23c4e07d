#include <cadre/llama.h> /* minimal MODEL.gguf: a complete host; one question, the answer streamed to stdout */
#include <stdio.h>
#include <uv.h>
static int failed;
static void on_text(cadre_request *request, const char *text, size_t length)
{
    (void)request, fwrite(text, 1, length, stdout), fflush(stdout);
}
static void on_done(cadre_request *request, int status, const cadre_generation *result)
{
    fprintf((failed = !result) ? stderr : stdout, "%s%s\n", status ? "error: " : "", cadre_request_detail(request)); /* detail: "" on success */
    cadre_pool_close(cadre_request_pool(request), NULL, NULL);
}
int main(int argc, char **argv)
{
    cadre_pool *pool;
    cadre_text_to_text_loader loader;
    cadre_llama_options model = CADRE_LLAMA_OPTIONS_INIT;
    cadre_generate_params ask = CADRE_GENERATE_PARAMS_INIT;
    model.path = argc > 1 ? argv[1] : "chat.gguf", ask.key = "chat", ask.text = "Name three colours.", ask.on_text = on_text, ask.on_done = on_done;
    if (cadre_pool_create(&pool, uv_default_loop(), NULL) < 0 || cadre_llama_text_to_text(&model, &loader) < 0) return 1;
    if (cadre_spawn_text_to_text(pool, "chat", &loader, NULL, NULL, NULL, NULL, NULL) < 0 || cadre_generate(pool, &ask, NULL) < 0)
        failed = 1, fprintf(stderr, "error: %s\n", cadre_pool_error_detail(pool)), cadre_pool_close(pool, NULL, NULL);
    return uv_run(uv_default_loop(), UV_RUN_DEFAULT) || uv_loop_close(uv_default_loop()) || failed;
}
