/* What an entry says besides: the defaults of its requests, its vectors' dimension. */
#include "scripted_backend.h"

#define TEMPERATURE 0.25f
#define GUIDANCE 3.5f

static cadre_request_defaults text_defaults(void)
{
    cadre_request_defaults d = CADRE_REQUEST_DEFAULTS_INIT;
    d.temperature = TEMPERATURE, d.top_k = 40, d.top_p = 0.5f, d.min_p = 0.125f, d.repeat_penalty = 1.5f, d.max_tokens = 2;
    return d;
}

static void fill_sampling(cadre_sampling *s)
{
    s->temperature = TEMPERATURE, s->top_k = 40, s->top_p = 0.5f, s->min_p = 0.125f, s->repeat_penalty = 1.5f, s->max_tokens = 2;
}

static void zero_sampling(cadre_sampling *s)
{
    s->temperature = 0, s->top_k = 0, s->top_p = 0, s->min_p = 0, s->repeat_penalty = 2, s->max_tokens = 1;
}

static script *with_defaults(fixture *fx, cadre_capability capability, const cadre_request_defaults *defaults)
{
    script *s = script_new(fx, capability, KIND_BLOCKING, "m");
    cadre_entry entry = entry_of(s);
    entry.defaults = defaults;
    add(fx, &entry);
    return s;
}

/* Asks with this sampling; what arrives must be `arrives`. */
static void ask_text(script *s, const cadre_sampling *sampling, const cadre_sampling *arrives)
{
    const uint8_t pixel[3] = {1, 2, 3};
    const cadre_image_input image = cadre_image_from_rgb8(pixel, 1, 1);
    answer *a = answer_new(s->fx);
    cadre_generate_params p = CADRE_GENERATE_PARAMS_INIT, expected = CADRE_GENERATE_PARAMS_INIT;
    cadre_describe_params d = CADRE_DESCRIBE_PARAMS_INIT, expected_image = CADRE_DESCRIBE_PARAMS_INIT;
    p.key = d.key = s->key, p.text = d.query = expected.text = expected_image.query = "hello";
    d.images = expected_image.images = &image, d.image_count = expected_image.image_count = 1;
    p.sampling = d.sampling = *sampling, expected.sampling = expected_image.sampling = *arrives;
    p.on_text = d.on_text = answer_on_text, p.on_done = d.on_done = answer_on_generation, p.data = d.data = a;
    s->expected_count = 0;
    script_expect(s, s->capability == CADRE_VISION ? (const void *)&expected_image : &expected);
    a->rc = s->capability == CADRE_VISION ? cadre_describe(s->fx->pool, &d, &a->id) : cadre_generate(s->fx->pool, &p, &a->id);
    assert_status(a->rc, 0);
    until_done(a);
    assert_status(a->status, 0);
    int pieces = arrives->max_tokens != CADRE_DEFAULT && arrives->max_tokens < s->pieces ? arrives->max_tokens : s->pieces;
    assert_int_equal(a->generation.generated_tokens, pieces);
    s->expected_count = 0;
}

static void an_entrys_sampling_stands_in_where_a_request_has_none(void **state)
{
    (void)state;
    static const cadre_capability texts[] = {CADRE_TEXT_TO_TEXT, CADRE_VISION};
    for (size_t k = 0; k < COUNT(texts); k++)
        for (uint32_t slots = 0; slots < 3; slots += 2) {
            row("%s, %u slots", cadre_capability_name(texts[k]), slots);
            fixture *fx = registry_begin();
            cadre_request_defaults d = text_defaults();
            script *s = script_new(fx, texts[k], KIND_BLOCKING, "m");
            s->slots = slots;
            cadre_entry entry = entry_of(s);
            entry.defaults = &d;
            add(fx, &entry);
            memset(&d, 0x7f, sizeof d); /* it was copied */
            cadre_sampling none = CADRE_SAMPLING_INIT, filled = CADRE_SAMPLING_INIT, own = CADRE_SAMPLING_INIT;
            fill_sampling(&filled);
            ask_text(s, &none, &filled);
            zero_sampling(&own);
            ask_text(s, &own, &own); /* zero is a value */
            own = none;
            own.temperature = 0;
            cadre_sampling mixed = filled;
            mixed.temperature = 0;
            ask_text(s, &own, &mixed);
            own = none;
            own.max_tokens = 3, own.seed = 7;
            mixed = filled;
            mixed.max_tokens = 3, mixed.seed = 7;
            ask_text(s, &own, &mixed);
            fixture_end(fx);
        }
}

static void an_entry_may_have_some_defaults_or_none(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    cadre_request_defaults d = CADRE_REQUEST_DEFAULTS_INIT;
    cadre_sampling none = CADRE_SAMPLING_INIT, some = CADRE_SAMPLING_INIT;
    d.top_p = some.top_p = 0;
    script *s = with_defaults(fx, CADRE_TEXT_TO_TEXT, &d);
    ask_text(s, &none, &some);
    assert_status(remove_now(fx, "m").status, 0);
    cadre_entry entry = entry_of(s);
    add(fx, &entry);
    ask_text(s, &none, &none);
    fixture_end(fx);
}

static void paint(script *s, cadre_generate_image_params *p, const cadre_generate_image_params *arrives)
{
    answer *a = answer_new(s->fx);
    p->key = s->key, p->on_done = answer_on_image, p->data = a;
    s->expected_count = 0;
    script_expect(s, arrives);
    assert_status(a->rc = cadre_generate_image(s->fx->pool, p, &a->id), 0);
    until_done(a);
    assert_status(a->status, 0);
    s->expected_count = 0;
}

static void an_entrys_picture_parameters_stand_in(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    cadre_request_defaults d = CADRE_REQUEST_DEFAULTS_INIT;
    d.width = 1024, d.height = 512, d.steps = 4, d.guidance = GUIDANCE;
    script *s = with_defaults(fx, CADRE_TEXT_TO_IMAGE, &d);
    cadre_generate_image_params p = CADRE_GENERATE_IMAGE_PARAMS_INIT, arrives = CADRE_GENERATE_IMAGE_PARAMS_INIT;
    p.prompt = arrives.prompt = "a lake";
    arrives.width = 1024, arrives.height = 512, arrives.steps = 4, arrives.guidance = GUIDANCE;
    paint(s, &p, &arrives);
    p.guidance = arrives.guidance = 0; /* zero is a value */
    p.width = arrives.width = 16;
    paint(s, &p, &arrives);
    p.height = arrives.height = 8, p.steps = arrives.steps = 1;
    paint(s, &p, &arrives);
    fixture_end(fx);
}

static void defaults_are_those_of_a_key_that_was_not_known_yet(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    const cadre_request_defaults d = text_defaults();
    script *s = script_new(fx, CADRE_TEXT_TO_TEXT, KIND_BLOCKING, "m");
    cadre_entry entry = entry_of(s);
    entry.defaults = &d;
    told t = {0};
    assert_status(cadre_registry_add(fx->pool, &entry, on_told, &t), 0);
    cadre_sampling none = CADRE_SAMPLING_INIT, filled = CADRE_SAMPLING_INIT;
    fill_sampling(&filled);
    ask_text(s, &none, &filled); /* in the turn of the addition */
    assert_status(t.status, 0);
    fixture_end(fx);
}

static void defaults_of_a_manifest_and_of_a_typed_loader_stand_in(void **state)
{
    (void)state;
    static const char manifest[] =
        "{\"models\": [{\"key\": \"m\", \"capability\": \"text-to-text\", \"backend\": \"plain\", \"license\": \"MIT\", \"defaults\": "
        "{\"temperature\": 0.25, \"top_k\": 40, \"top_p\": 0.5, \"min_p\": 0.125, \"repeat_penalty\": 1.5, \"max_tokens\": 2}}]}";
    cadre_sampling none = CADRE_SAMPLING_INIT, filled = CADRE_SAMPLING_INIT;
    fill_sampling(&filled);
    fixture *fx = registry_begin();
    script *s = script_new(fx, CADRE_TEXT_TO_TEXT, KIND_BLOCKING, "m");
    told t = {0};
    assert_status(cadre_registry_load_text(fx->pool, manifest, sizeof manifest - 1, NULL, on_told, &t), 0);
    run_until_int(fx, &t.count, 1);
    assert_string_equal(t.detail, "");
    ask_text(s, &none, &filled);
    script *typed = script_new(fx, CADRE_TEXT_TO_TEXT, KIND_ASYNC, "typed");
    cadre_entry entry = CADRE_ENTRY_INIT;
    const cadre_request_defaults d = text_defaults();
    entry.key = "typed", entry.defaults = &d;
    t = (told){0};
    assert_status(script_add_typed(typed, &entry, on_told, &t), 0);
    run_until_int(fx, &t.count, 1);
    assert_status(t.status, 0);
    ask_text(typed, &none, &filled);
    fixture_end(fx);
}

/* ---- dimension ---- */

static void a_model_must_have_the_dimension_that_its_entry_says(void **state)
{
    (void)state;
    static const cadre_capability vectors[] = {CADRE_TEXT_EMBEDDING, CADRE_IMAGE_EMBEDDING};
    static const char *const backends[] = {"plain", "shared"};
    for (size_t k = 0; k < COUNT(vectors); k++)
        for (size_t b = 0; b < COUNT(backends); b++) {
            row("%s, %s", cadre_capability_name(vectors[k]), backends[b]);
            fixture *fx = registry_begin();
            script *s = script_new(fx, vectors[k], KIND_BLOCKING, "m"), *right = script_new(fx, vectors[k], KIND_BLOCKING, "right");
            s->dimension = 5;
            right->dimension = 6;
            cadre_entry entry = entry_of(s), good = entry_of(right);
            cadre_memory_need need, other;
            entry.dimension = good.dimension = 6;
            entry.backend = good.backend = backends[b];
            entry_takes(&entry, &need, 10, 20);
            entry_takes(&good, &other, 0, 7);
            add(fx, &entry);
            add(fx, &good);
            answer *a = ask(s, "hello");
            until_done(a);
            assert_status(a->status, CADRE_EFORMAT);
            assert_string_equal(a->detail, "gives vectors of 5, the entry says 6");
            told t = load_now(fx, "m");
            assert_status(t.status, CADRE_EFORMAT);
            assert_contains(t.detail, "gives vectors of 5, the entry says 6");
            assert_state_of(fx, "m", CADRE_MODEL_FAILED);
            run_until_atomic(fx, &s->destroyed, atomic_load(&s->made)); /* and its memory comes back */
            assert_status(load_now(fx, "right").status, 0);
            serve_once(right);
            assert_status(remove_now(fx, "m").status, 0);
            until_charged(fx, 7);
            fixture_end(fx);
        }
}

#define SUITE defaults
#include "suite.h"
