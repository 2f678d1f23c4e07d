/* minimal [MANIFEST]: a complete host. It asks the model "smollm2" of the manifest a question and streams the answer to stdout. */
#include <cadre.h>
#include <stdio.h>
#include <uv.h>
static int failed;
static void on_text(cadre_request *request, const char *text, size_t length)
{
    (void)request, fwrite(text, 1, length, stdout), fflush(stdout);
}
static void on_done(cadre_request *request, int status, const cadre_generation *result)
{
    (void)result;
    failed = status < 0;
    fprintf(failed ? stderr : stdout, "%s%s\n", failed ? "error: " : "", cadre_request_detail(request)); /* detail: "" on success */
    cadre_pool_close(cadre_request_pool(request), NULL, NULL);
}
int main(int argc, char **argv)
{
    cadre_pool *pool;
    cadre_generate_params ask = CADRE_GENERATE_PARAMS_INIT;
    ask.key = "smollm2", ask.text = "Name three colours.", ask.on_text = on_text, ask.on_done = on_done;
    if (cadre_pool_create(&pool, uv_default_loop(), NULL) < 0) return 1;
    int rc = cadre_registry_load(pool, argc > 1 ? argv[1] : "models.json", NULL, NULL);
    if (rc == 0) rc = cadre_generate(pool, &ask, NULL);
    if (rc < 0) failed = 1, fprintf(stderr, "error: %s\n", cadre_pool_error_detail(pool)), cadre_pool_close(pool, NULL, NULL);
    return uv_run(uv_default_loop(), UV_RUN_DEFAULT) || uv_loop_close(uv_default_loop()) || failed;
}
