#include "capability/embedding.h"
#include "capability/generation.h"
#include "capability/text_to_image.h"

#define TEXT                                                                                                                                                   \
    .adopt = cadre__generation_adopt, .images = cadre__generation_images, .run = cadre__generation_run, .finish = cadre__generation_finish,                    \
    .dispose = cadre__generation_dispose, .moved = cadre__generation_moved
#define VECTORS                                                                                                                                                \
    .batches = true, .finish = cadre__embedding_finish, .dispose = cadre__embedding_dispose, .equip = cadre__embedding_equip, .rows = cadre__embedding_rows,   \
    .joins = cadre__embedding_joins, .moved = cadre__embedding_moved, .images = cadre__embedding_images

const cadre__kind cadre__kinds[CADRE_CAPABILITY_COUNT] = {
    [CADRE_TEXT_TO_TEXT] = {.capability = CADRE_TEXT_TO_TEXT, TEXT},
    [CADRE_TEXT_EMBEDDING] = {.capability = CADRE_TEXT_EMBEDDING, .run = cadre__text_embedding_run, VECTORS},
    [CADRE_IMAGE_EMBEDDING] = {.capability = CADRE_IMAGE_EMBEDDING, .run = cadre__image_embedding_run, VECTORS},
    [CADRE_VISION] = {.capability = CADRE_VISION, TEXT},
    [CADRE_TEXT_TO_IMAGE] = {.capability = CADRE_TEXT_TO_IMAGE,
                             .run = cadre__text_to_image_run,
                             .finish = cadre__text_to_image_finish,
                             .dispose = cadre__text_to_image_dispose,
                             .moved = cadre__text_to_image_moved,
                             .adopt = cadre__text_to_image_adopt},
};
