#include "capability/embedding.h"
#include "capability/generation.h"
#include "capability/text_to_image.h"

const cadre__kind cadre__kinds[CADRE_CAPABILITY_COUNT] = {
    [CADRE_TEXT_TO_TEXT] = {CADRE_TEXT_TO_TEXT, false, cadre__generation_run, cadre__generation_finish, cadre__generation_dispose, NULL, NULL},
    [CADRE_TEXT_EMBEDDING] = {CADRE_TEXT_EMBEDDING, true, cadre__text_embedding_run, cadre__embedding_finish, cadre__embedding_dispose, cadre__embedding_rows,
                              cadre__embedding_joins},
    [CADRE_IMAGE_EMBEDDING] = {CADRE_IMAGE_EMBEDDING, true, cadre__image_embedding_run, cadre__embedding_finish, cadre__embedding_dispose,
                               cadre__embedding_rows, cadre__embedding_joins},
    [CADRE_VISION] = {CADRE_VISION, false, cadre__generation_run, cadre__generation_finish, cadre__generation_dispose, NULL, NULL},
    [CADRE_TEXT_TO_IMAGE] = {CADRE_TEXT_TO_IMAGE, false, cadre__text_to_image_run, cadre__text_to_image_finish, cadre__text_to_image_dispose, NULL, NULL},
};
