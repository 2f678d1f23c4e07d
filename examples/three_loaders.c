/* three_loaders EMBED.gguf: one embedding model, loaded in the three ways in which a loader can work, and asked the same question.
 *   blocking      everything on a loader thread
 *   asynchronous  libuv copies the file in pieces, with no loader thread busy meanwhile; then a loader thread opens the copy
 *   preloaded     the weights once, charged to the memory budget, for two workers */
#define _GNU_SOURCE
#include <cadre/llama.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <uv.h>

enum { BLOCKING, ASYNCHRONOUS, SHARED_1, SHARED_2, WORKERS, PIECE = 1024 * 1024, DIMENSION = 384 };
static const char *const keys[WORKERS] = {"blocking", "asynchronous", "shared-1", "shared-2"};
static cadre_llama_options options = CADRE_LLAMA_OPTIONS_INIT;
static float vectors[WORKERS][DIMENSION];
static int loading = WORKERS, waiting = WORKERS, failed;

static void stop(cadre_pool *pool, int status, const char *what, const char *detail)
{
    if (status < 0) failed = 1, fprintf(stderr, "%s: %s: %s\n", what, cadre_err_name(status), detail);
    cadre_pool_close(pool, NULL, NULL);
}

/* ---- asynchronous: a fetch that resolves a promise of weights, whose payload is the copy ---- */

static struct fetch {
    uv_fs_t fs;
    uv_file source, copy;
    int64_t bytes;
    int pieces;
    cadre_weights_promise *promise;
    char piece[PIECE];
} fetch;

static void close_copy(void *payload)
{
    close(((struct fetch *)payload)->copy);
}

static void fetch_end(int status, const char *detail)
{
    cadre_weights_value value = {sizeof value, &fetch, close_copy, NULL};
    if (status == 0) printf("asynchronous: fetched %lld bytes in %d pieces\n", (long long)fetch.bytes, fetch.pieces);
    int rc = status < 0 ? cadre_weights_promise_fail(fetch.promise, status, detail) : cadre_weights_promise_resolve(fetch.promise, &value);
    if (status < 0 || (rc != 0 && rc != CADRE_EALREADY)) close_copy(&fetch); /* the promise did not take it */
    cadre_weights_promise_release(fetch.promise);
    close(fetch.source);
}

/* A read and a write in turns, until a read returns 0. The promise, not the loader's context, says whether anybody still waits. */
static void on_fetch(uv_fs_t *fs)
{
    ssize_t n = fs->result;
    uv_buf_t all = uv_buf_init(fetch.piece, PIECE), got = uv_buf_init(fetch.piece, n > 0 ? (unsigned)n : 0);
    int was_read = fs->fs_type == UV_FS_READ;
    uv_fs_req_cleanup(fs);
    if (n < 0 || cadre_weights_promise_cancelled(fetch.promise)) {
        fetch_end(n < 0 ? (int)n : CADRE_ECANCELED, "the fetch stopped");
    } else if (was_read && n > 0) {
        uv_fs_write(fs->loop, fs, fetch.copy, &got, 1, fetch.bytes, on_fetch);
    } else if (was_read) {
        fetch_end(0, NULL);
    } else {
        fetch.bytes += n;
        fetch.pieces += n > 0;
        uv_fs_read(fs->loop, fs, fetch.source, &all, 1, fetch.bytes, on_fetch);
    }
}

/* The second step of the chain, on a loader thread. */
static int open_copy(cadre_load_context *context, cadre_weights *source, void *data, cadre_text_embedding_model *out)
{
    char path[64];
    cadre_llama_options copy = *(cadre_llama_options *)data;
    snprintf(path, sizeof path, "/proc/self/fd/%d", ((struct fetch *)cadre_weights_payload(source))->copy);
    copy.path = path;
    return cadre_llama_text_embedding_make(context, NULL, &copy, out);
}

static cadre_text_embedding_future *load_asynchronously(cadre_load_context *context, void *data)
{
    cadre_weights_future *fetched;
    fetch.source = open(options.path, O_RDONLY | O_CLOEXEC);
    fetch.copy = memfd_create("model", MFD_CLOEXEC);
    if (fetch.source < 0 || fetch.copy < 0) return cadre_text_embedding_future_failed(cadre_load_pool(context), CADRE_EFORMAT, "the file could not be opened");
    int rc = cadre_weights_promise_create(cadre_load_pool(context), &fetch.promise, &fetched);
    if (rc < 0) return cadre_text_embedding_future_failed(cadre_load_pool(context), rc, "no promise");
    cadre_text_embedding_future *model = cadre_text_embedding_load_blocking(context, fetched, open_copy, data);
    cadre_weights_future_release(fetched); /* the chain has its own reference; when it gives up, the promise is cancelled */
    uv_buf_t all = uv_buf_init(fetch.piece, PIECE);
    uv_fs_read(cadre_load_loop(context), &fetch.fs, fetch.source, &all, 1, 0, on_fetch);
    return model;
}

/* ---- the same question for all ---- */

static void on_vector(cadre_request *request, int status, const cadre_embeddings *result)
{
    float most = 0;
    if (status < 0 || result->dimension != DIMENSION) {
        stop(cadre_request_pool(request), status < 0 ? status : CADRE_EENGINE, cadre_request_key(request), cadre_request_detail(request));
        return;
    }
    memcpy(cadre_request_data(request), result->values, sizeof *vectors);
    if (--waiting > 0) return;
    for (int i = 1; i < WORKERS; i++)
        for (int k = 0; k < DIMENSION; k++) most = fmaxf(most, fabsf(vectors[0][k] - vectors[i][k]));
    printf("4 vectors of %d floats are %s (largest difference %g)\n", DIMENSION, most < 1e-6f ? "equal" : "DIFFERENT", (double)most);
    stop(cadre_request_pool(request), most < 1e-6f ? 0 : CADRE_EENGINE, "comparison", "the loads differ");
}

static void on_ready(cadre_pool *pool, cadre_worker_id worker, int status, const char *detail, void *data)
{
    (void)worker;
    if (status < 0) stop(pool, status, data, detail);
    if (status < 0 || --loading > 0) return;
    for (int i = 0; i < WORKERS; i++) {
        cadre_embed_params params = CADRE_EMBED_PARAMS_INIT;
        params.key = keys[i], params.text = "The quick brown fox jumps over the lazy dog.", params.on_done = on_vector, params.data = vectors[i];
        if (cadre_embed(pool, &params, NULL) < 0) stop(pool, CADRE_EINVAL, keys[i], cadre_pool_error_detail(pool));
    }
}

int main(int argc, char **argv)
{
    cadre_pool *pool;
    uint64_t context;
    cadre_memory_amount weights = {CADRE_DEVICE_HOST, 0};
    cadre_reservation *paid = NULL;
    cadre_weights_future *shared = NULL;
    cadre_text_embedding_loader loaders[WORKERS] = {{0}};
    if (argc != 2) return fprintf(stderr, "usage: three_loaders EMBED.gguf\n"), 2;
    options.path = argv[1];
    int rc = cadre_llama_estimate(&options, &weights.bytes, &context); /* reads the file's header: before the loop runs */
    if (rc < 0 || (rc = cadre_pool_create(&pool, uv_default_loop(), NULL)) < 0) return fprintf(stderr, "%s: %s\n", argv[1], cadre_strerror(rc)), 1;
    rc = cadre_llama_text_embedding(&options, &loaders[BLOCKING]);
    loaders[ASYNCHRONOUS] = (cadre_text_embedding_loader){sizeof *loaders, load_asynchronously, &options, NULL};
    if (rc == 0) rc = cadre_memory_try_reserve(pool, &weights, 1, &paid);
    if (rc == 0) rc = cadre_llama_weights(pool, &options, paid, &shared);
    for (int i = SHARED_1; i <= SHARED_2 && rc == 0; i++) rc = cadre_llama_text_embedding_shared(shared, &options, &loaders[i]);
    cadre_weights_future_release(shared); /* each loader has its own reference */
    for (int i = 0; i < WORKERS && rc == 0; i++)
        rc = cadre_spawn_text_embedding(pool, keys[i], &loaders[i], NULL, NULL, on_ready, (void *)(uintptr_t)keys[i], NULL);
    if (rc < 0) stop(pool, rc, "start", cadre_pool_error_detail(pool));
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    return uv_loop_close(uv_default_loop()) != 0 || failed;
}
