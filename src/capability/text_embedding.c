#include "capability/typed.h"

CADRE__TYPED(cadre_text_embedding, cadre_spawn_text_embedding, cadre_registry_add_text_embedding, cadre_text_embedding_model, CADRE_TEXT_EMBEDDING)
