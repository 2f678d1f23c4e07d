/* minimal MODEL.gguf: one model, one question; the answer is streamed to stdout. */
#include <cadre/llama.h>
#include <stdio.h>
#include <uv.h>
static int rc;
static void on_text(cadre_request *r, const char *text, size_t length) { (void)r, fwrite(text, 1, length, stdout), fflush(stdout); }
static void on_done(cadre_request *request, int status, const cadre_generation *result)
{
    if ((rc = status) < 0 || !result) fprintf(stderr, "%s: %s\n", cadre_err_name(status), cadre_request_detail(request));
}
int main(int argc, char **argv)
{
    cadre_pool *pool = NULL;
    cadre_text_to_text_loader loader;
    cadre_llama_options model = CADRE_LLAMA_OPTIONS_INIT;
    cadre_generate_params ask = CADRE_GENERATE_PARAMS_INIT;
    model.path = argc > 1 ? argv[1] : "", ask.key = "smollm2", ask.text = "Name three colours.", ask.on_text = on_text;
    ask.on_done = on_done, ask.sampling.max_tokens = 100;
    if ((rc = cadre_pool_create(&pool, uv_default_loop(), NULL)) || (rc = cadre_llama_text_to_text(&model, &loader)) ||
        (rc = cadre_spawn_text_to_text(pool, ask.key, &loader, NULL, NULL, NULL, NULL, NULL)) || (rc = cadre_generate(pool, &ask, NULL)))
        fprintf(stderr, "%s: %s\n", cadre_err_name(rc), pool ? cadre_pool_error_detail(pool) : cadre_strerror(rc));
    uv_run(uv_default_loop(), UV_RUN_DEFAULT); /* returns after on_done: a pool without work does not keep the loop alive */
    if (pool && cadre_pool_close(pool, NULL, NULL) == 0) uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    return puts(""), uv_loop_close(uv_default_loop()) != 0 || rc != 0;
}
