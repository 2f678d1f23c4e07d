/* fetch_child ENDPOINT CACHE REFERENCE…: fetches, and tells how far it is, line by line: "progress DONE TOTAL", then "end STATUS DETAIL". Its end of standard
 * input is not looked at: a test kills it. "-" stands for what the environment says. */
#include <cadre.h>
#include <cadre/fetch.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <uv.h>

typedef struct state {
    cadre_pool *pool;
    cadre_fetcher *fetcher;
    cadre_weights_future *future;
    int status;
} state;

static void on_progress(cadre_future *future, const cadre_progress *progress, void *data)
{
    (void)future;
    (void)data;
    printf("progress %llu %llu\n", (unsigned long long)progress->done_bytes, (unsigned long long)progress->total_bytes);
    fflush(stdout);
}

static void on_pool_closed(cadre_pool *pool, const cadre_close_report *report, void *data)
{
    (void)pool;
    (void)report;
    cadre_fetcher_close(((state *)data)->fetcher, NULL, NULL);
}

static void on_complete(cadre_future *future, int status, const char *detail, void *data)
{
    state *s = data;
    cadre_close_options options = CADRE_CLOSE_OPTIONS_INIT;
    (void)future;
    s->status = status;
    printf("end %d %s\n", status, detail);
    fflush(stdout);
    cadre_weights_future_release(s->future);
    options.data = s;
    (void)cadre_pool_close(s->pool, &options, on_pool_closed);
}

int main(int count, char **arguments)
{
    state s = {0};
    uv_loop_t *loop = uv_default_loop();
    cadre_fetch_options options = CADRE_FETCH_OPTIONS_INIT;
    const char *limit = getenv("CADRE_TEST_FILE_LIMIT");
    if (count < 4) return 2;
    if (limit) { /* writes fail beyond it, as on a full disk */
        struct rlimit most = {strtoul(limit, NULL, 10), strtoul(limit, NULL, 10)};
        signal(SIGXFSZ, SIG_IGN);
        if (setrlimit(RLIMIT_FSIZE, &most) < 0) return 2;
    }
    if (strcmp(arguments[1], "-") != 0) options.endpoint = arguments[1];
    if (strcmp(arguments[2], "-") != 0) options.cache = arguments[2];
    options.retry_delay_ms = 1;
    options.keep_free_bytes = 0;
    if (cadre_fetcher_create(&s.fetcher, loop, &options) < 0 || cadre_pool_create(&s.pool, loop, NULL) < 0) return 2;
    const cadre_file_fetcher *files = cadre_fetcher_files(s.fetcher);
    s.future = files->fetch(files->self, s.pool, (const char *const *)(arguments + 3), (size_t)count - 3);
    if (!s.future) return 2;
    cadre_weights_future_on_progress(s.future, on_progress, &s);
    if (cadre_weights_future_on_complete(s.future, on_complete, &s) < 0) return 2;
    uv_run(loop, UV_RUN_DEFAULT);
    return uv_loop_close(loop) < 0 ? 3 : s.status < 0;
}
