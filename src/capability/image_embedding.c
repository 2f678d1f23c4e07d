#include "capability/typed.h"

CADRE__TYPED(cadre_image_embedding, cadre_spawn_image_embedding, cadre_registry_add_image_embedding, cadre_image_embedding_model, CADRE_IMAGE_EMBEDDING)
