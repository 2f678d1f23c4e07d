/* three_loaders EMBED.gguf: one embedding model, loaded in the three ways in which a loader can work, and asked the same question.
 *   blocking      everything on a loader thread
 *   asynchronous  libuv copies the file in pieces, with no loader thread busy meanwhile; then a loader thread opens the anonymous copy
 *   shared        the weights once, charged to the memory budget, for two workers (with one key they would serve one queue) */
#define _GNU_SOURCE 1
#include <cadre/llama.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <uv.h>

enum { BLOCKING, ASYNCHRONOUS, SHARED_1, SHARED_2, WORKERS, PIECE = 256 * 1024, MAX_DIMENSION = 4096 };
static const char *const keys[WORKERS] = {"blocking", "asynchronous", "shared-1", "shared-2"};
static cadre_pool *pool;
static cadre_llama_options options = CADRE_LLAMA_OPTIONS_INIT;
static float vectors[WORKERS][MAX_DIMENSION];
static size_t dimension;
static int loading = WORKERS, waiting = WORKERS, exit_code;
static struct
{
    uv_fs_t fs;
    int source, copy, pieces;
    int64_t bytes;
    cadre_weights_promise *promise;     /* of the weights that the loader below waits for */
    cadre_text_embedding_loader loader; /* the backend's, around promised weights */
    cadre_weights_future *loaded;       /* the weights that were loaded from the copy */
    cadre_weights *kept;
    char piece[PIECE];
} fetch = {.source = -1, .copy = -1};

static void stop(int rc, const char *what, const char *detail)
{
    if (rc < 0 && exit_code == 0) exit_code = 1, fprintf(stderr, "%s: %s: %s\n", what, cadre_err_name(rc), detail);
    cadre_pool_close(pool, NULL, NULL);
}

static void release_kept(void *payload) { (void)payload, cadre_weights_release(fetch.kept); } /* on the reaper thread */
/* Resolves the promise with the payload of the weights that were loaded, which live as long as it does; or fails it. */
static void fetch_end(int rc, const char *detail)
{
    cadre_weights_value value = CADRE_WEIGHTS_VALUE_INIT;
    if (rc == 0)
    {
        fetch.kept = cadre_weights_retain(cadre_weights_future_get(fetch.loaded));
        value.payload = cadre_weights_payload(fetch.kept), value.destroy = release_kept;
        rc = cadre_weights_promise_resolve(fetch.promise, &value);
        if (rc != 0 && rc != CADRE_EALREADY) cadre_weights_release(fetch.kept); /* not consumed */
    }
    else cadre_weights_promise_fail(fetch.promise, rc, detail);
    cadre_weights_promise_release(fetch.promise), cadre_weights_future_release(fetch.loaded);
    close(fetch.source), close(fetch.copy);
}

static void on_loaded(cadre_future *future, int rc, const char *detail, void *data) { (void)future, (void)data, fetch_end(rc, detail); }
static int load_copy(void)
{
    char path[64];
    cadre_llama_options copy = options;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fetch.copy), copy.path = path;
    printf("asynchronous: fetched %lld bytes in %d pieces\n", (long long)fetch.bytes, fetch.pieces);
    int rc = cadre_llama_weights(pool, &copy, NULL, &fetch.loaded);
    return rc == 0 ? cadre_future_on_complete(cadre_weights_future_untyped(fetch.loaded), on_loaded, NULL) : rc;
}

/* Open; then a read and a write in turns, until a read returns 0. */
static void on_fetch(uv_fs_t *fs)
{
    ssize_t n = fs->result;
    uv_fs_type type = fs->fs_type;
    uv_buf_t all = uv_buf_init(fetch.piece, PIECE), got = uv_buf_init(fetch.piece, (unsigned)(n > 0 ? n : 0));
    int rc = n < 0 ? (int)n : cadre_promise_cancelled(cadre_weights_promise_untyped(fetch.promise)) ? CADRE_ECANCELED : 0;
    uv_fs_req_cleanup(fs);
    if (type == UV_FS_OPEN) fetch.source = (uv_file)n;
    if (type == UV_FS_WRITE && n > 0) fetch.bytes += n, fetch.pieces++;
    if (rc == 0 && type == UV_FS_READ && fetch.bytes == 0 && (n < 4 || memcmp(fetch.piece, "GGUF", 4) != 0)) rc = CADRE_EFORMAT;
    if (rc == 0 && type != UV_FS_READ) rc = uv_fs_read(fs->loop, fs, fetch.source, &all, 1, fetch.bytes, on_fetch);
    else if (rc == 0) rc = n > 0 ? uv_fs_write(fs->loop, fs, fetch.copy, &got, 1, fetch.bytes, on_fetch) : load_copy();
    if (rc != 0) fetch_end(rc, "the fetch failed");
}

static cadre_text_embedding_future *fetch_load(cadre_load_context *context, void *data)
{
    cadre_weights_future *promised = NULL;
    cadre_text_embedding_future *model = NULL;
    int rc = cadre_weights_promise_create(cadre_load_pool(context), &fetch.promise, &promised);
    if (rc == 0 && (rc = cadre_llama_text_embedding_shared(promised, &options, &fetch.loader)) == 0)
        model = fetch.loader.load(context, fetch.loader.data);
    if (model && (fetch.copy = memfd_create("model", MFD_CLOEXEC)) < 0) rc = UV_EMFILE;
    if (model && rc == 0) rc = uv_fs_open(cadre_load_loop(context), &fetch.fs, data, O_RDONLY, 0, on_fetch);
    if (rc != 0 || !model) fetch_end(rc = rc != 0 ? rc : CADRE_ENOMEM, "the fetch did not start");
    cadre_weights_future_release(promised); /* the loader has its own reference: when it gives up, the promise is cancelled */
    return model ? model : cadre_text_embedding_future_failed(cadre_load_pool(context), rc, "the fetch did not start");
}

static void fetch_release(void *path) { (void)path, fetch.loader.release ? fetch.loader.release(fetch.loader.data) : (void)0; }
static void on_vector(cadre_request *request, int status, const cadre_embeddings *result)
{
    if (result) dimension = result->dimension < MAX_DIMENSION ? result->dimension : MAX_DIMENSION;
    if (result) memcpy(cadre_request_data(request), result->values, dimension * sizeof(float));
    else stop(status, cadre_request_key(request), cadre_request_detail(request));
    if (!result || --waiting > 0) return;
    float most = 0;
    for (int i = 1; i < WORKERS; i++)
        for (size_t k = 0; k < dimension; k++) most = fmaxf(most, fabsf(vectors[0][k] - vectors[i][k]));
    printf("4 vectors of %zu floats are %s (largest difference %g)\n", dimension, most < 1e-6f ? "equal" : "DIFFERENT", (double)most);
    stop(most < 1e-6f ? 0 : CADRE_EENGINE, "comparison", "the loads differ");
}

static void on_ready(cadre_pool *p, cadre_worker_id worker, int status, const char *detail, void *data)
{
    cadre_embed_params params = CADRE_EMBED_PARAMS_INIT;
    (void)worker;
    if (status < 0) stop(status, data, detail);
    if (status < 0 || --loading > 0) return;
    params.text = "The quick brown fox jumps over the lazy dog.", params.on_done = on_vector;
    for (int i = 0, rc; i < WORKERS; i++)
        if (params.key = keys[i], params.data = vectors[i], (rc = cadre_embed(p, &params, NULL)) != 0)
            stop(rc, keys[i], cadre_pool_error_detail(p));
}

static int spawn(int i, int rc, const cadre_text_embedding_loader *loader)
{
    return rc != 0 ? rc : cadre_spawn_text_embedding(pool, keys[i], loader, NULL, NULL, on_ready, (void *)(uintptr_t)keys[i], NULL);
}

int main(int argc, char **argv)
{
    uint64_t context;
    cadre_memory_amount weights = {CADRE_DEVICE_HOST, 0};
    cadre_reservation *paid = NULL;
    cadre_weights_future *shared = NULL;
    cadre_text_embedding_loader loader, async = {sizeof(async), fetch_load, argv[argc - 1], fetch_release};
    if (argc != 2) return fprintf(stderr, "usage: three_loaders EMBED.gguf\n"), 2;
    options.path = argv[1];
    int rc = cadre_llama_estimate(&options, &weights.bytes, &context); /* it reads the file's header; no loop runs yet */
    if (rc != 0 || (rc = cadre_pool_create(&pool, uv_default_loop(), NULL)) != 0) return fprintf(stderr, "%s\n", cadre_err_name(rc)), 1;
    rc = spawn(BLOCKING, cadre_llama_text_embedding(&options, &loader), &loader);
    if (rc == 0) rc = spawn(ASYNCHRONOUS, 0, &async);
    if (rc == 0) rc = cadre_memory_try_reserve(pool, &weights, 1, &paid);
    if (rc == 0) rc = cadre_llama_weights(pool, &options, paid, &shared);
    for (int i = SHARED_1; i < WORKERS && rc == 0; i++)
        rc = spawn(i, cadre_llama_text_embedding_shared(shared, &options, &loader), &loader);
    cadre_weights_future_release(shared); /* each loader has its own reference */
    if (rc != 0) stop(rc, "start", cadre_pool_error_detail(pool));
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    return uv_loop_close(uv_default_loop()) == 0 ? exit_code : 1;
}
