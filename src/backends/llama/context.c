/* One engine context, its batch, and the running of decodes that can be stopped.
 *
 * Threads: made where it is loaded or on the worker's thread, used on the worker's. The engine asks `stop` between graph nodes on the thread that called it, so
 * the ops may be looked at there. */
#include "backend.h"

#include <stdio.h>
#include <string.h>
#include <uv.h>

#define NODES_PER_HEARTBEAT 8

static bool stop(void *data)
{
    cadre__llama_context *context = data;
    if (context->watched_count > 0 && ++context->asked % NODES_PER_HEARTBEAT == 0) cadre_op_heartbeat(context->watched[0]);
    for (size_t i = 0; i < context->watched_count; i++) {
        if (!cadre_op_cancelled(context->watched[i])) return false;
    }
    return context->watched_count > 0;
}

int cadre__llama_context_create(cadre__llama_context *context, const cadre__llama_weights *weights, struct llama_context_params params, char *detail,
                                size_t detail_size)
{
    params.abort_callback = stop;
    params.abort_callback_data = context;
    params.no_perf = true;
    /* For most architectures, DeepSeek's among them, the engine (v0.5.0) does not read these keys, which its own conversion writes. */
    if (weights->facts.yarn_beta_fast >= 0) params.yarn_beta_fast = weights->facts.yarn_beta_fast;
    if (weights->facts.yarn_beta_slow >= 0) params.yarn_beta_slow = weights->facts.yarn_beta_slow;
    cadre__llama_engine_forget();
    context->engine = llama_init_from_model(weights->model, params);
    if (!context->engine) {
        snprintf(detail, detail_size, "llama.cpp made no context for %u tokens: %s", params.n_ctx, cadre__llama_engine_said());
        return CADRE_EENGINE;
    }
    context->batch_tokens = (int32_t)params.n_batch;
    context->batch = llama_batch_init(context->batch_tokens, 0, 1);
    const struct llama_batch *batch = &context->batch;
    bool complete = batch->token && batch->pos && batch->n_seq_id && batch->seq_id && batch->logits && llama_n_batch(context->engine) >= params.n_batch;
    for (int32_t i = 0; complete && i < context->batch_tokens; i++) complete = batch->seq_id[i] != NULL;
    return complete ? CADRE_OK : CADRE_ENOMEM;
}

/* The engine's CPU functions live in the module that it has chosen for this machine. Writes a function pointer, or leaves NULL. */
static void cpu_function(const char *name, void *function, size_t size)
{
    ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    void *found = device ? ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(device), name) : NULL;
    if (found) memcpy(function, &found, size);
}

static void drop_threads(cadre__llama_context *context)
{
    void (*drop)(struct ggml_threadpool *) = NULL;
    if (context->threads) cpu_function("ggml_threadpool_free", &drop, sizeof drop);
    if (drop) drop(context->threads);
    context->threads = NULL;
    context->thread_count = 0;
}

/* A decode with one thread would still wake the others that are kept. */
static void use_threads(cadre__llama_context *context, bool use)
{
    use = use && context->threads;
    if (use == context->threads_attached) return;
    context->threads_attached = use;
    if (use)
        llama_attach_threadpool(context->engine, context->threads, context->threads);
    else
        llama_detach_threadpool(context->engine);
}

/* Without this the engine makes new threads for each decode. They look for work for a few milliseconds after one (poll 1), then sleep. */
static void keep_threads(cadre__llama_context *context, int32_t count)
{
    if (count <= 1 || count <= context->thread_count) {
        use_threads(context, count > 1);
        return;
    }
    struct ggml_threadpool *(*make)(struct ggml_threadpool_params *) = NULL;
    cpu_function("ggml_threadpool_new", &make, sizeof make);
    struct ggml_threadpool_params params = ggml_threadpool_params_default(count);
    params.poll = 1;
    use_threads(context, false);
    drop_threads(context);
    context->threads = make ? make(&params) : NULL;
    if (!context->threads) return;
    context->thread_count = count;
    use_threads(context, true);
}

void cadre__llama_context_clear(cadre__llama_context *context)
{
    if (context->engine) {
        llama_free(context->engine);
        drop_threads(context);
        llama_batch_free(context->batch);
    }
    memset(context, 0, sizeof(*context));
}

void cadre__llama_context_add(cadre__llama_context *context, llama_token token, llama_pos position, llama_seq_id sequence, bool output)
{
    struct llama_batch *batch = &context->batch;
    int32_t i = batch->n_tokens++;
    batch->token[i] = token;
    batch->pos[i] = position;
    batch->n_seq_id[i] = 1;
    batch->seq_id[i][0] = sequence;
    batch->logits[i] = output;
}

int cadre__llama_context_decode(cadre__llama_context *context, struct llama_batch batch, cadre_op *const *ops, size_t op_count, int32_t threads)
{
    bool chosen = threads <= 0;
    if (chosen) threads = cadre__llama_pace_choose(&context->pace, batch.n_tokens, (int32_t)cadre_op_threads(ops[0]));
    keep_threads(context, threads);
    llama_set_n_threads(context->engine, threads, threads);
    context->watched = ops;
    context->watched_count = op_count;
    cadre__llama_engine_forget();
    uint64_t start = uv_hrtime();
    int32_t rc = llama_decode(context->engine, batch);
    context->watched_count = 0;
    if (rc == 0 && chosen) cadre__llama_pace_note(&context->pace, batch.n_tokens, threads, uv_hrtime() - start);
    if (rc == 0) return CADRE_OK;
    if (rc == 2) return CADRE_ECANCELED;
    for (size_t i = 0; i < op_count; i++)
        cadre_op_fail(ops[i], CADRE_EENGINE, "llama_decode of %d tokens returned %d: %s", batch.n_tokens, rc, cadre__llama_engine_said());
    return CADRE_EENGINE;
}

int cadre__llama_context_run(cadre__llama_context *context, cadre_op *const *ops, size_t op_count, int32_t threads)
{
    return cadre__llama_context_decode(context, context->batch, ops, op_count, threads);
}
