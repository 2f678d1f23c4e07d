/* own_model: a model of the host's own in the registry, without a backend. It counts words in 16 buckets; everything around that is what any engine needs. The
 * first load fails on purpose: the library tries again while the request waits. */
#include <cadre.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

enum { DIMENSION = 16 };

typedef struct counter {
    uint32_t seed;
} counter;

static struct {
    uint32_t seed;
    int attempts, failed;
} host = {.seed = 2166136261u, .failed = 1};

/* ---- the model: its worker's thread ---- */

static int embed(void *self, cadre_op *const *ops, const char *const *texts, size_t count, const char *task, int truncate, float *out, uint32_t *tokens,
                 int *status)
{
    const counter *model = self;
    (void)task, (void)truncate;
    for (size_t i = 0; i < count; i++) {
        float *row = out + i * DIMENSION;
        if (cadre_op_cancelled(ops[i])) status[i] = CADRE_ECANCELED;
        for (int d = 0; d < DIMENSION; d++) row[d] = 0;
        tokens[i] = 0;
        for (const char *c = texts[i]; *c; tokens[i]++) {
            uint32_t hash = model->seed;
            for (; *c && *c != ' '; c++) hash = (hash ^ (unsigned char)*c) * 16777619u;
            row[hash % DIMENSION] += 1;
            while (*c == ' ') c++;
        }
    }
    return 0;
}

static const cadre_text_embedding_ops operations = {.size = sizeof operations, .destroy = free, .embed = embed};

/* ---- its loader ---- */

/* A loader thread: it may block. */
static int make(cadre_load_context *context, cadre_weights *source, void *data, cadre_text_embedding_model *out)
{
    (void)source;
    counter *model = malloc(sizeof *model);
    if (!model) return cadre_load_fail(context, CADRE_ENOMEM, "no memory for the counter");
    model->seed = *(const uint32_t *)data;
    out->ops = &operations;
    out->self = model;
    out->dimension = DIMENSION;
    out->max_batch = 8;
    return 0;
}

/* The loop's thread, once for each attempt. */
static cadre_text_embedding_future *load(cadre_load_context *context, void *data)
{
    if (++host.attempts == 1) return cadre_text_embedding_future_failed(cadre_load_pool(context), CADRE_ELOAD, "the first attempt fails on purpose");
    return cadre_text_embedding_load_blocking(context, NULL, make, data);
}

/* ---- the host ---- */

static void stop(cadre_pool *pool, int status, const char *detail)
{
    host.failed = status < 0;
    if (status < 0) fprintf(stderr, "%s: %s\n", cadre_err_name(status), detail);
    cadre_pool_close(pool, NULL, NULL);
}

static void on_event(cadre_pool *pool, const cadre_event *event, void *data)
{
    (void)pool, (void)data;
    printf("%s: %s%s%s\n", event->key, cadre_event_name(event->type), *event->detail ? ": " : "", event->detail);
}

static void on_removed(cadre_pool *pool, int status, const char *detail, void *data)
{
    (void)data;
    stop(pool, status, detail);
}

static void on_done(cadre_request *request, int status, const cadre_embeddings *result)
{
    cadre_pool *pool = cadre_request_pool(request);
    for (size_t i = 0; result && i < result->count; i++)
        for (size_t d = 1; d <= DIMENSION; d++) printf("%g%c", (double)result->values[i * DIMENSION + d - 1], d < DIMENSION ? ' ' : '\n');
    if (status == 0) status = cadre_registry_remove(pool, cadre_request_key(request), on_removed, NULL);
    if (status < 0) stop(pool, status, cadre_request_detail(request));
}

int main(void)
{
    static const char *const texts[] = {"the red house", "the blue house"};
    cadre_pool *pool;
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    options.on_event = on_event;
    if (cadre_pool_create(&pool, uv_default_loop(), &options) < 0) return 1;

    cadre_memory_need need = {CADRE_DEVICE_HOST, 0, sizeof(counter)};
    cadre_text_embedding_loader loader = {.size = sizeof loader, .load = load, .data = &host.seed};
    cadre_entry entry = CADRE_ENTRY_INIT;
    entry.key = "words", entry.memory = &need, entry.memory_count = 1;
    entry.retry_delay_ms = 50;
    int rc = cadre_registry_add_text_embedding(pool, &entry, &loader, NULL, NULL);

    cadre_embed_params params = CADRE_EMBED_PARAMS_INIT;
    params.key = "words", params.texts = texts, params.count = 2, params.on_done = on_done;
    if (rc == 0) rc = cadre_embed(pool, &params, NULL);
    if (rc < 0) stop(pool, rc, cadre_pool_error_detail(pool));
    return uv_run(uv_default_loop(), UV_RUN_DEFAULT) || uv_loop_close(uv_default_loop()) || host.failed;
}
