/* A host of the registry that links libcadre alone; install.py builds it against the installed package, which has the backend as a module. registry_host MODEL */
#include <cadre.h>
#include <stdio.h>
#include <uv.h>

static int pieces, status_at_end = -1;

static void on_text(cadre_request *request, const char *text, size_t length)
{
    (void)request;
    pieces++;
    fwrite(text, 1, length, stdout);
}

static void on_done(cadre_request *request, int status, const cadre_generation *result)
{
    status_at_end = status;
    if (!result) fprintf(stderr, "%s: %s\n", cadre_err_name(status), cadre_request_detail(request));
    cadre_pool_close(cadre_request_pool(request), NULL, NULL);
}

int main(int argc, char **argv)
{
    uv_loop_t loop;
    cadre_pool *pool;
    char options[1024];
    cadre_entry entry = CADRE_ENTRY_INIT;
    cadre_generate_params ask = CADRE_GENERATE_PARAMS_INIT;
    if (argc != 2 || uv_loop_init(&loop) != 0 || cadre_pool_create(&pool, &loop, NULL) < 0) return 2;
    snprintf(options, sizeof options, "{\"path\": \"%s\", \"slots\": 1}", argv[1]);
    entry.key = ask.key = "model", entry.capability = CADRE_TEXT_TO_TEXT, entry.backend = "llama", entry.options = options;
    ask.text = "Write a sentence about the sea.", ask.on_text = on_text, ask.on_done = on_done;
    if (cadre_registry_add(pool, &entry, NULL, NULL) < 0 || cadre_generate(pool, &ask, NULL) < 0) return 1;
    uv_run(&loop, UV_RUN_DEFAULT);
    printf("\n%d pieces\n", pieces);
    return uv_loop_close(&loop) != 0 || status_at_end != 0;
}
