#include "params.h"

#include <stdlib.h>

/* ---- reading ---- */

static const size_t sizes_of[CADRE_CAPABILITY_COUNT] = {sizeof(cadre_generate_params), sizeof(cadre_embed_params), sizeof(cadre_embed_images_params),
                                                        sizeof(cadre_describe_params), sizeof(cadre_generate_image_params)};

/* Older headers end between two fields. */
static size_t read_size(fuzz_bytes *b, cadre_capability capability)
{
    static const size_t ends[CADRE_CAPABILITY_COUNT][4] = {
        {offsetof(cadre_generate_params, text), offsetof(cadre_generate_params, sampling), offsetof(cadre_generate_params, on_text),
         offsetof(cadre_generate_params, data)},
        {offsetof(cadre_embed_params, texts), offsetof(cadre_embed_params, task), offsetof(cadre_embed_params, options), offsetof(cadre_embed_params, data)},
        {offsetof(cadre_embed_images_params, images), offsetof(cadre_embed_images_params, options), offsetof(cadre_embed_images_params, on_done),
         offsetof(cadre_embed_images_params, data)},
        {offsetof(cadre_describe_params, query), offsetof(cadre_describe_params, sampling), offsetof(cadre_describe_params, on_text),
         offsetof(cadre_describe_params, data)},
        {offsetof(cadre_generate_image_params, negative_prompt), offsetof(cadre_generate_image_params, guidance),
         offsetof(cadre_generate_image_params, options), offsetof(cadre_generate_image_params, data)}};
    uint8_t choice = fuzz_byte(b);
    if (choice < 224) return sizes_of[capability];
    if (choice < 244) return ends[capability][choice % 4];
    static const size_t odd[] = {0, 1, 7, SIZE_MAX, SIZE_MAX / 2};
    return choice % 6 < 5 ? odd[choice % 6] : sizes_of[capability] + 8;
}

static void read_sampling(fuzz_bytes *b, fuzz_scrap **scraps, cadre_sampling *s)
{
    uint8_t fields = fuzz_byte(b);
    if (fields & 1) s->temperature = fuzz_float(b);
    if (fields & 2) s->top_k = fuzz_integer32(b);
    if (fields & 4) s->top_p = fuzz_float(b), s->min_p = fuzz_float(b);
    if (fields & 8) s->repeat_penalty = fuzz_float(b);
    if (fields & 16) s->frequency_penalty = fuzz_float(b), s->presence_penalty = fuzz_float(b);
    if (fields & 32) s->seed = fuzz_integer(b), s->max_tokens = fuzz_integer32(b);
    if (fields & 64) {
        uint8_t count = fuzz_byte(b) % 20;
        const char **stop = fuzz_take(scraps, count * sizeof *stop);
        for (uint8_t i = 0; i < count; i++) stop[i] = fuzz_text(b, scraps);
        s->stop = fuzz_byte(b) % 16 ? stop : NULL;
        s->stop_count = count;
        if (fuzz_byte(b) == 7) s->stop_count = SIZE_MAX;
    }
    if (fields & 128) s->grammar = fuzz_text(b, scraps);
    if (fields == 255) s->size = (size_t)fuzz_integer(b);
}

static void read_options(fuzz_bytes *b, const params_setup *setup, cadre_request_options *o)
{
    uint8_t fields = fuzz_byte(b);
    if (fields & 1) o->priority = fuzz_integer32(b);
    if (fields & 2) o->timeout_ms = fuzz_integer(b);
    if (fields & 4) o->release = setup->release, o->release_data = setup->data;
    if (fields == 255) o->size = (size_t)fuzz_integer(b);
}

static cadre_image_input read_rgb(fuzz_bytes *b, fuzz_scrap **scraps)
{
    uint32_t width = 1 + fuzz_below(b, 8), height = 1 + fuzz_below(b, 8);
    cadre_image_input image = cadre_image_from_rgb8(NULL, width, height);
    image.rgb8.stride += fuzz_byte(b) % 5;
    uint8_t *pixels = fuzz_take(scraps, image.rgb8.stride * height);
    for (size_t i = 0; i < image.rgb8.stride * height; i++) pixels[i] = fuzz_byte(b);
    image.rgb8.pixels = pixels;
    switch (fuzz_byte(b)) { /* none of these may be read */
    case 1: image.rgb8.pixels = NULL; break;
    case 2: image.rgb8.width = 0; break;
    case 3: image.rgb8.height = 0; break;
    case 4: image.rgb8.stride = (size_t)width * 3 - 1; break;
    case 5: image.rgb8.stride = SIZE_MAX, image.rgb8.height = 2 + height; break;
    case 6: image.rgb8 = (cadre_image){sizeof image.rgb8, UINT32_MAX, UINT32_MAX, (size_t)UINT32_MAX * 3, pixels}; break;
    case 7: image.rgb8.stride = 0; break;
    default: break;
    }
    return image;
}

static void read_image(fuzz_bytes *b, fuzz_scrap **scraps, cadre_image_input *image)
{
    static const char *const paths[] = {"/nonexistent/picture", "/", "/dev/null", "/proc/self/fd"};
    uint8_t form = fuzz_byte(b);
    *image = (cadre_image_input)CADRE_IMAGE_INPUT_INIT;
    switch (form % 8) {
    case 0:
    case 1:
    case 2: *image = read_rgb(b, scraps); break;
    case 3: *image = cadre_image_from_string(CADRE_IMAGE_PATH, paths[fuzz_below(b, 4)]); break;
    case 4: {
        char *text = fuzz_text(b, scraps);
        *image = cadre_image_from_bytes(text, text ? strlen(text) : 0);
        break;
    }
    case 5: *image = cadre_image_from_string(CADRE_IMAGE_BASE64, fuzz_text(b, scraps)); break;
    case 6: *image = cadre_image_from_string(CADRE_IMAGE_URL, fuzz_text(b, scraps)); break;
    default: image->form = (cadre_image_form)fuzz_integer32(b); image->string = fuzz_text(b, scraps);
    }
    if (form == 254) image->size = (size_t)fuzz_integer(b);
}

static const cadre_image_input *read_images(fuzz_bytes *b, fuzz_scrap **scraps, size_t *count)
{
    *count = fuzz_byte(b) % (PICTURES_MAX + 1);
    cadre_image_input *images = fuzz_take(scraps, *count * sizeof *images);
    for (size_t i = 0; i < *count; i++) read_image(b, scraps, &images[i]);
    switch (fuzz_byte(b)) {
    case 1: return NULL;
    case 2: *count = CADRE_EMBED_IMAGES_MAX + 1; break; /* refused before any is looked at */
    case 3: *count = SIZE_MAX; break;
    default: break;
    }
    return images;
}

static const char *read_key(fuzz_bytes *b, const params_setup *setup, fuzz_scrap **scraps)
{
    return fuzz_byte(b) < 230 ? setup->key : fuzz_text(b, scraps);
}

static void read_generate(fuzz_bytes *b, const params_setup *setup, fuzz_scrap **scraps, cadre_generate_params *p)
{
    uint8_t what = fuzz_byte(b);
    *p = (cadre_generate_params)CADRE_GENERATE_PARAMS_INIT;
    p->key = read_key(b, setup, scraps);
    if (what % 4 < 2 || what == 254) p->text = fuzz_text(b, scraps);
    if (what % 4 == 2 || what == 253) {
        size_t count = fuzz_byte(b) % 6;
        cadre_chat_message *messages = fuzz_take(scraps, count * sizeof *messages);
        for (size_t i = 0; i < count; i++) messages[i].role = fuzz_text(b, scraps), messages[i].content = fuzz_text(b, scraps);
        p->messages = messages;
        p->message_count = what == 250 ? SIZE_MAX : what == 246 ? 65537 : count;
    }
    p->raw = what & 8;
    read_sampling(b, scraps, &p->sampling);
    read_options(b, setup, &p->options);
    p->on_text = what & 16 ? setup->on_text : NULL;
    p->on_done = fuzz_byte(b) % 32 ? setup->on_generation : NULL;
    p->data = setup->data;
}

static void read_embed(fuzz_bytes *b, const params_setup *setup, fuzz_scrap **scraps, cadre_embed_params *p)
{
    uint8_t what = fuzz_byte(b);
    *p = (cadre_embed_params)CADRE_EMBED_PARAMS_INIT;
    p->key = read_key(b, setup, scraps);
    if (what % 4 < 2 || what == 254) p->text = fuzz_text(b, scraps);
    if (what % 4 == 2 || what == 253) {
        size_t count = fuzz_byte(b) % 40;
        const char **texts = fuzz_take(scraps, count * sizeof *texts);
        for (size_t i = 0; i < count; i++) texts[i] = fuzz_text(b, scraps);
        p->texts = texts;
        p->count = what == 250 ? SIZE_MAX : what == 246 ? CADRE_EMBED_TEXTS_MAX + 1 : count;
    }
    if (what & 16) p->task = fuzz_text(b, scraps);
    p->truncate = what & 8;
    read_options(b, setup, &p->options);
    p->on_done = fuzz_byte(b) % 32 ? setup->on_embeddings : NULL;
    p->data = setup->data;
}

static void read_embed_images(fuzz_bytes *b, const params_setup *setup, fuzz_scrap **scraps, cadre_embed_images_params *p)
{
    *p = (cadre_embed_images_params)CADRE_EMBED_IMAGES_PARAMS_INIT;
    p->key = read_key(b, setup, scraps);
    p->images = read_images(b, scraps, &p->count);
    read_options(b, setup, &p->options);
    p->on_done = fuzz_byte(b) % 32 ? setup->on_embeddings : NULL;
    p->data = setup->data;
}

static void read_describe(fuzz_bytes *b, const params_setup *setup, fuzz_scrap **scraps, cadre_describe_params *p)
{
    *p = (cadre_describe_params)CADRE_DESCRIBE_PARAMS_INIT;
    p->key = read_key(b, setup, scraps);
    p->query = fuzz_text(b, scraps);
    p->images = read_images(b, scraps, &p->image_count);
    read_sampling(b, scraps, &p->sampling);
    read_options(b, setup, &p->options);
    p->on_text = fuzz_byte(b) % 2 ? setup->on_text : NULL;
    p->on_done = fuzz_byte(b) % 32 ? setup->on_generation : NULL;
    p->data = setup->data;
}

static void read_generate_image(fuzz_bytes *b, const params_setup *setup, fuzz_scrap **scraps, cadre_generate_image_params *p)
{
    uint8_t what = fuzz_byte(b);
    *p = (cadre_generate_image_params)CADRE_GENERATE_IMAGE_PARAMS_INIT;
    p->key = read_key(b, setup, scraps);
    p->prompt = fuzz_text(b, scraps);
    if (what & 1) p->negative_prompt = fuzz_text(b, scraps);
    if (what & 2) p->width = fuzz_integer32(b), p->height = fuzz_integer32(b);
    if (what & 4) p->steps = fuzz_integer32(b);
    if (what & 8) p->guidance = fuzz_float(b);
    if (what & 16) p->seed = fuzz_integer(b);
    read_options(b, setup, &p->options);
    p->on_step = what & 32 ? setup->on_step : NULL;
    p->on_done = fuzz_byte(b) % 32 ? setup->on_image : NULL;
    p->data = setup->data;
}

void params_read(fuzz_bytes *b, const params_setup *setup, fuzz_scrap **scraps, any_params *out)
{
    any_params full, defaults;
    memset(&full, 0, sizeof full);
    memset(&defaults, 0, sizeof defaults);
    size_t size = read_size(b, setup->capability);
    switch (setup->capability) {
    case CADRE_TEXT_TO_TEXT:
        defaults.generate = (cadre_generate_params)CADRE_GENERATE_PARAMS_INIT;
        read_generate(b, setup, scraps, &full.generate);
        break;
    case CADRE_TEXT_EMBEDDING:
        defaults.embed = (cadre_embed_params)CADRE_EMBED_PARAMS_INIT;
        read_embed(b, setup, scraps, &full.embed);
        break;
    case CADRE_IMAGE_EMBEDDING:
        defaults.embed_images = (cadre_embed_images_params)CADRE_EMBED_IMAGES_PARAMS_INIT;
        read_embed_images(b, setup, scraps, &full.embed_images);
        break;
    case CADRE_VISION:
        defaults.describe = (cadre_describe_params)CADRE_DESCRIBE_PARAMS_INIT;
        read_describe(b, setup, scraps, &full.describe);
        break;
    case CADRE_TEXT_TO_IMAGE:
        defaults.generate_image = (cadre_generate_image_params)CADRE_GENERATE_IMAGE_PARAMS_INIT;
        read_generate_image(b, setup, scraps, &full.generate_image);
        break;
    }
    size_t known = size < sizes_of[setup->capability] ? size : sizes_of[setup->capability];
    *out = defaults;
    if (known > sizeof size) memcpy(out, &full, known);
    out->size = size;
}
