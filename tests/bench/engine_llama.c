#include "engine.h"

void engine_spawn(engine_host *host, const bench_args *args, const cadre_llama_options *options, cadre_capability capability)
{
    cadre_llama_options with_engine = *options;
    cadre_spawn_options spawn = engine_spawning(host);
    cadre_text_to_text_loader text;
    cadre_text_embedding_loader embedding;
    cadre_vision_loader vision;
    int rc;
    with_engine.engine_path = args->engine;
    if (capability == CADRE_TEXT_EMBEDDING) {
        rc = cadre_llama_text_embedding(&with_engine, &embedding);
        if (rc == 0) rc = cadre_spawn_text_embedding(host->pool, ENGINE_KEY, &embedding, NULL, &spawn, engine_on_ready, host, NULL);
    } else if (capability == CADRE_VISION) {
        rc = cadre_llama_vision(&with_engine, &vision);
        if (rc == 0) rc = cadre_spawn_vision(host->pool, ENGINE_KEY, &vision, NULL, &spawn, engine_on_ready, host, NULL);
    } else {
        rc = cadre_llama_text_to_text(&with_engine, &text);
        if (rc == 0) rc = cadre_spawn_text_to_text(host->pool, ENGINE_KEY, &text, NULL, &spawn, engine_on_ready, host, NULL);
    }
    engine_spawned(host, rc);
}
