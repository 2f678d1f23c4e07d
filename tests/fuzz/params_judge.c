#include "params.h"

/* By the definition of the code points, not by a table of sequences. */
bool is_utf8(const char *text)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const uint8_t *s = (const uint8_t *)text;
    while (*s) {
        unsigned length = *s < 0x80 ? 1 : (*s & 0xe0) == 0xc0 ? 2 : (*s & 0xf0) == 0xe0 ? 3 : (*s & 0xf8) == 0xf0 ? 4 : 0;
        if (!length) return false;
        uint32_t point = length == 1 ? *s : *s & (0xffu >> (length + 1));
        for (unsigned i = 1; i < length; i++) {
            if ((s[i] & 0xc0) != 0x80) return false; /* the terminator too */
            point = point << 6 | (s[i] & 0x3f);
        }
        if (point < least[length] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) return false;
        s += length;
    }
    return true;
}

static bool is_text(const char *text, bool may_be_empty)
{
    return text && is_utf8(text) && (may_be_empty || *text);
}

static bool within(float value, float least, float most)
{
    return isnan(value) || (value >= least && value <= most);
}

static void judge_sampling(params_verdict *v, const cadre_sampling *s)
{
    bool good = s->size == sizeof *s && within(s->top_p, 0, 1) && within(s->min_p, 0, 1) && within(s->frequency_penalty, -2, 2) &&
                within(s->presence_penalty, -2, 2) && (isnan(s->temperature) || (s->temperature >= 0 && !isinf(s->temperature))) &&
                (isnan(s->repeat_penalty) || (s->repeat_penalty > 0 && !isinf(s->repeat_penalty))) && s->top_k >= CADRE_DEFAULT && s->seed >= CADRE_DEFAULT &&
                s->seed <= UINT32_MAX && (s->max_tokens == CADRE_DEFAULT || s->max_tokens >= 1) && s->stop_count <= 16 && (!s->stop_count || s->stop);
    for (size_t i = 0; good && i < s->stop_count; i++) good = is_text(s->stop[i], false);
    if (s->grammar && !is_utf8(s->grammar)) good = false;
    if (!good) v->invalid = true;
    /* Finite, and far from anything useful: it may be refused. */
    if (s->temperature > 1e6f || s->repeat_penalty > 1e6f || s->repeat_penalty < 1e-6f) v->unsure = true;
}

static void judge_options(params_verdict *v, const cadre_request_options *o)
{
    if (o->size != sizeof *o || o->priority < CADRE_DEFAULT || o->priority >= CADRE_PRIORITY_COUNT) v->invalid = true;
    if (o->timeout_ms != CADRE_DEFAULT && o->timeout_ms <= 0) v->invalid = true;
}

static bool overflows(const cadre_image *rgb)
{
    return rgb->stride > SIZE_MAX / rgb->height;
}

static void judge_images(params_verdict *v, const params_setup *setup, const cadre_image_input *images, size_t count, size_t most)
{
    if (!images || !count || count > most) {
        v->invalid = true;
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const cadre_image_input *image = &images[i];
        const cadre_image *rgb = &image->rgb8;
        if (image->size != sizeof *image || (int)image->form < 0 || (int)image->form > CADRE_IMAGE_URL) {
            v->invalid = true;
        } else if (image->form == CADRE_IMAGE_RGB8) {
            if (!rgb->pixels || !rgb->width || !rgb->height || rgb->stride / 3 < rgb->width || overflows(rgb)) v->invalid = true;
        } else if (image->form == CADRE_IMAGE_BYTES ? !image->bytes || !image->length : !image->string || !*image->string) {
            v->invalid = true;
        } else if (!setup->decoder || (image->form == CADRE_IMAGE_URL && !setup->fetcher)) {
            v->unsupported = true;
        }
    }
}

static void judge_generate(params_verdict *v, const cadre_generate_params *p)
{
    if (!p->on_done || !p->text == !p->messages) v->invalid = true;
    if (p->text && !is_text(p->text, false)) v->invalid = true;
    if (p->messages && (p->message_count < 1 || p->message_count > 65536)) v->invalid = true;
    for (size_t i = 0; p->messages && !v->invalid && i < p->message_count; i++)
        if (!is_text(p->messages[i].role, false) || !is_text(p->messages[i].content, true)) v->invalid = true;
    judge_sampling(v, &p->sampling);
}

static void judge_embed(params_verdict *v, const cadre_embed_params *p)
{
    if (!p->on_done || !p->text == !p->texts || (p->task && !is_utf8(p->task)) || (p->text && !is_utf8(p->text))) v->invalid = true;
    if (p->texts && (p->count < 1 || p->count > CADRE_EMBED_TEXTS_MAX)) v->invalid = true;
    for (size_t i = 0; p->texts && !v->invalid && i < p->count; i++)
        if (!is_text(p->texts[i], true)) v->invalid = true;
}

static void judge_painting(params_verdict *v, const cadre_generate_image_params *p)
{
    const int32_t sides[] = {p->width, p->height};
    if (!p->on_done || !is_text(p->prompt, false) || (p->negative_prompt && !is_utf8(p->negative_prompt))) v->invalid = true;
    for (int i = 0; i < 2; i++)
        if (sides[i] != CADRE_DEFAULT && (sides[i] < 1 || sides[i] > 16384)) v->invalid = true;
    if (p->steps != CADRE_DEFAULT && (p->steps < 1 || p->steps > 1000)) v->invalid = true;
    if (p->seed < CADRE_DEFAULT || p->seed > UINT32_MAX) v->invalid = true;
    if (!isnan(p->guidance) && (p->guidance < 0 || isinf(p->guidance))) v->invalid = true;
}

const cadre_request_options *params_options(const any_params *p, cadre_capability capability)
{
    const size_t sizes[] = {sizeof p->generate, sizeof p->embed, sizeof p->embed_images, sizeof p->describe, sizeof p->generate_image};
    const cadre_request_options *options[] = {&p->generate.options, &p->embed.options, &p->embed_images.options, &p->describe.options,
                                              &p->generate_image.options};
    return p->size < sizeof(size_t) || p->size > sizes[capability] ? NULL : options[capability];
}

params_verdict params_judge(const any_params *p, const params_setup *setup)
{
    params_verdict v = {0};
    const char *key = NULL;
    const cadre_request_options *options = params_options(p, setup->capability);
    if (!options) return (params_verdict){.invalid = true};
    switch (setup->capability) {
    case CADRE_TEXT_TO_TEXT:
        key = p->generate.key;
        judge_generate(&v, &p->generate);
        break;
    case CADRE_TEXT_EMBEDDING:
        key = p->embed.key;
        judge_embed(&v, &p->embed);
        break;
    case CADRE_IMAGE_EMBEDDING:
        key = p->embed_images.key;
        if (!p->embed_images.on_done) v.invalid = true;
        judge_images(&v, setup, p->embed_images.images, p->embed_images.count, CADRE_EMBED_IMAGES_MAX);
        break;
    case CADRE_VISION:
        key = p->describe.key;
        if (!p->describe.on_done || !is_text(p->describe.query, false)) v.invalid = true;
        judge_images(&v, setup, p->describe.images, p->describe.image_count, CADRE_DESCRIBE_IMAGES_MAX);
        judge_sampling(&v, &p->describe.sampling);
        break;
    case CADRE_TEXT_TO_IMAGE:
        key = p->generate_image.key;
        judge_painting(&v, &p->generate_image);
        break;
    }
    judge_options(&v, options);
    if (!key)
        v.invalid = true;
    else
        v.unknown_key = strcmp(key, setup->key) != 0;
    return v;
}

/* ---- what arrives ---- */

static bool same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_float(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

static const char *differ_sampling(const cadre_sampling *a, const cadre_sampling *b)
{
    bool numbers = same_float(a->temperature, b->temperature) && a->top_k == b->top_k && same_float(a->top_p, b->top_p) && same_float(a->min_p, b->min_p) &&
                   same_float(a->repeat_penalty, b->repeat_penalty) && same_float(a->frequency_penalty, b->frequency_penalty) &&
                   same_float(a->presence_penalty, b->presence_penalty) && a->seed == b->seed && a->max_tokens == b->max_tokens;
    if (!numbers) return "sampling";
    if (a->stop_count != b->stop_count || !same(a->grammar, b->grammar)) return "stop_count or grammar";
    for (size_t i = 0; i < a->stop_count; i++)
        if (!same(a->stop[i], b->stop[i])) return "stop";
    return NULL;
}

static const char *differ_image(const cadre_image *a, const cadre_image_input *b)
{
    if (b->form == CADRE_IMAGE_RGB8) {
        if (a->width != b->rgb8.width || a->height != b->rgb8.height) return "width or height";
        for (uint32_t y = 0; y < a->height; y++)
            if (memcmp(a->pixels + y * a->stride, b->rgb8.pixels + y * b->rgb8.stride, (size_t)a->width * 3) != 0) return "pixels";
        return NULL;
    }
    uint32_t hash = b->form == CADRE_IMAGE_BYTES ? fuzz_hash(b->bytes, b->length) : b->form == CADRE_IMAGE_URL ? fuzz_hash(b->string, strlen(b->string)) : 0;
    if (a->width != 1 || a->height != 1) return "decoded picture";
    return hash && memcmp(&hash, a->pixels, 3) != 0 ? "decoded bytes" : NULL;
}

static const char *differ_embed(const cadre_embed_params *p, const fuzz_seen *seen)
{
    bool known = p->text && same(p->text, seen->text);
    for (size_t i = 0; p->texts && !known && i < p->count; i++) known = same(p->texts[i], seen->text);
    if (!known) return "text";
    return same(p->task ? p->task : "", seen->task) && !p->truncate == !seen->truncate ? NULL : "task or truncate";
}

static const char *differ_painting(const cadre_generate_image_params *p, const cadre_text_to_image_input *a)
{
    if (!same(a->prompt, p->prompt) || !same(a->negative_prompt, p->negative_prompt ? p->negative_prompt : "")) return "prompt";
    bool numbers = a->width == p->width && a->height == p->height && a->steps == p->steps && same_float(a->guidance, p->guidance) && a->seed == p->seed;
    return numbers ? NULL : "a number";
}

const char *params_differ(const any_params *p, const params_setup *setup, const fuzz_seen *seen)
{
    const cadre_generation_input *g = seen->generation;
    switch (setup->capability) {
    case CADRE_TEXT_TO_TEXT: {
        const cadre_generate_params *q = &p->generate;
        if (!same(g->text, q->text) || !g->raw != !q->raw || g->image_count) return "text or raw";
        if (g->message_count != (q->messages ? q->message_count : 0)) return "message_count";
        for (size_t i = 0; i < g->message_count; i++)
            if (!same(g->messages[i].role, q->messages[i].role) || !same(g->messages[i].content, q->messages[i].content)) return "messages";
        return differ_sampling(&g->sampling, &q->sampling);
    }
    case CADRE_VISION: {
        const cadre_describe_params *q = &p->describe;
        if (!same(g->text, q->query) || g->message_count || g->image_count != q->image_count) return "query or image_count";
        for (size_t i = 0; i < g->image_count; i++) {
            const char *field = differ_image(&g->images[i], &q->images[i]);
            if (field) return field;
        }
        return differ_sampling(&g->sampling, &q->sampling);
    }
    case CADRE_TEXT_EMBEDDING: return differ_embed(&p->embed, seen);
    case CADRE_IMAGE_EMBEDDING: {
        const char *field = "no image";
        for (size_t i = 0; field && i < p->embed_images.count; i++) field = differ_image(seen->image, &p->embed_images.images[i]);
        return field;
    }
    default: return differ_painting(&p->generate_image, seen->painting);
    }
}
