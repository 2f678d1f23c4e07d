/* What a request carries arrives, what it borrows is given back, and what comes out is in order. */
#include "scripted.h"

/* Text that a host overwrites as soon as a call has returned. */
static char *mine(const char *text)
{
    static char pool[64][128];
    static unsigned next;
    char *slot = pool[next++ % COUNT(pool)];
    snprintf(slot, sizeof pool[0], "%s", text);
    return slot;
}
static void scribble(char *text)
{
    memset(text, 'x', strlen(text));
}

static script *loading(fixture *fx, cadre_capability capability, uint32_t slots)
{
    script *s = script_new(fx, capability, KIND_BLOCKING, "model");
    s->slots = slots;
    script_hold(s, OP_LOAD);
    script_spawn(s);
    return s;
}

static const char *const stops[] = {"\n\n", "END"};
static const cadre_sampling unusual = {sizeof unusual, 0.0f, 0, 0.5f, 0.25f, 1.5f, -2.0f, 2.0f, 0, 2, stops, 2, "root ::= \"yes\" | \"no\""};

static void every_field_of_a_text_request_arrives(void **state)
{
    (void)state;
    for (uint32_t slots = 0; slots < 3; slots++)
        for (int lent = 0; lent < 2; lent++) {
            row("slots %u, %s", slots, lent ? "lent" : "copied");
            fixture *fx = fixture_begin();
            script *s = loading(fx, CADRE_TEXT_TO_TEXT, slots);
            answer *a = answer_new(fx);
            cadre_generate_params p = CADRE_GENERATE_PARAMS_INIT, expected;
            p.text = "a prompt: \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80";
            p.raw = 1;
            p.sampling = unusual;
            p.on_text = answer_on_text;
            p.on_done = answer_on_generation;
            p.data = a;
            expected = p;
            script_expect(s, &expected);
            char *text = mine(p.text), *key = mine("model"), *grammar = mine(unusual.grammar), *stop[2] = {mine(stops[0]), mine(stops[1])};
            p.key = key;
            p.text = text;
            p.sampling.grammar = grammar;
            p.sampling.stop = (const char *const *)stop;
            if (lent) {
                p.options.release = answer_on_release;
                p.options.release_data = a;
                a->lent = true;
            }
            a->rc = cadre_generate(fx->pool, &p, &a->id);
            assert_status(a->rc, 0);
            memset(key, 'x', 5);
            if (!lent) {
                scribble(text);
                scribble(grammar);
                scribble(stop[0]);
                scribble(stop[1]);
                stop[0] = stop[1] = NULL;
            }
            memset(&p, 0xff, sizeof p);
            script_open(s, OP_LOAD);
            until_done(a);
            assert_status(a->status, 0);
            assert_int_equal(a->generation.finish, CADRE_FINISH_LENGTH);
            assert_size(a->generation.generated_tokens, 2);
            char whole[64];
            snprintf(whole, sizeof whole, "%s 1", expected.text);
            assert_string_equal(a->text, whole);
            settle(fx);
            assert_int_equal(a->releases, lent);
            fixture_end(fx);
        }
}

static void a_chat_arrives_message_by_message_and_defaults_as_sentinels(void **state)
{
    (void)state;
    static const cadre_chat_message chat[] = {{"system", "Be brief."}, {"user", "Name a colour."}, {"assistant", ""}, {"user", "Another."}};
    for (uint32_t slots = 0; slots < 2; slots++) {
        fixture *fx = fixture_begin();
        script *s = loading(fx, CADRE_TEXT_TO_TEXT, slots);
        answer *a = answer_new(fx);
        cadre_generate_params p = CADRE_GENERATE_PARAMS_INIT, expected;
        p.key = "model";
        p.messages = chat;
        p.message_count = COUNT(chat);
        p.on_text = answer_on_text;
        p.on_done = answer_on_generation;
        p.data = a;
        expected = p;
        script_expect(s, &expected);
        cadre_chat_message copy[COUNT(chat)];
        for (size_t i = 0; i < COUNT(chat); i++) copy[i] = (cadre_chat_message){mine(chat[i].role), mine(chat[i].content)};
        p.messages = copy;
        a->rc = cadre_generate(fx->pool, &p, NULL);
        assert_status(a->rc, 0);
        for (size_t i = 0; i < COUNT(chat); i++) {
            scribble((char *)(uintptr_t)copy[i].role);
            scribble((char *)(uintptr_t)copy[i].content);
        }
        memset(copy, 0, sizeof copy);
        script_open(s, OP_LOAD);
        until_done(a);
        assert_answered(s, a, "Another.");
        fixture_end(fx);
    }
}

static void every_field_of_a_vision_request_arrives(void **state)
{
    (void)state;
    for (uint32_t slots = 0; slots < 2; slots++)
        for (int lent = 0; lent < 2; lent++) {
            fixture *fx = fixture_begin();
            script *s = loading(fx, CADRE_VISION, slots);
            answer *a = answer_new(fx);
            uint8_t pixels[3][64], copies[3][64];
            for (size_t i = 0; i < sizeof pixels; i++) pixels[i / 64][i % 64] = (uint8_t)(i * 7);
            memcpy(copies, pixels, sizeof pixels);
            cadre_image_input inputs[3], lent_inputs[3];
            for (size_t i = 0; i < 3; i++) {
                inputs[i] = cadre_image_from_rgb8(pixels[i], (uint32_t)i + 1, 3);
                inputs[i].rgb8.stride = 16; /* padded rows */
                lent_inputs[i] = inputs[i];
                lent_inputs[i].rgb8.pixels = copies[i];
            }
            cadre_describe_params p = CADRE_DESCRIBE_PARAMS_INIT, expected;
            p.query = "what is in the second?";
            p.images = inputs;
            p.image_count = 3;
            p.sampling = unusual;
            p.on_text = answer_on_text;
            p.on_done = answer_on_generation;
            p.data = a;
            expected = p;
            script_expect(s, &expected);
            char *query = mine(p.query);
            p.key = "model";
            p.query = query;
            p.images = lent_inputs;
            if (lent) {
                p.options.release = answer_on_release;
                p.options.release_data = a;
                a->lent = true;
            }
            a->rc = cadre_describe(fx->pool, &p, &a->id);
            assert_status(a->rc, 0);
            if (!lent) {
                scribble(query);
                memset(copies, 0xff, sizeof copies);
                memset(lent_inputs, 0xff, sizeof lent_inputs);
            }
            script_open(s, OP_LOAD);
            until_done(a);
            assert_status(a->status, 0);
            settle(fx);
            assert_int_equal(a->releases, lent);
            fixture_end(fx);
        }
}

static void every_field_of_a_text_to_image_request_arrives_and_steps_are_told(void **state)
{
    (void)state;
    for (int defaults = 0; defaults < 2; defaults++) {
        fixture *fx = fixture_begin();
        script *s = loading(fx, CADRE_TEXT_TO_IMAGE, 0);
        answer *a = answer_new(fx);
        cadre_generate_image_params p = CADRE_GENERATE_IMAGE_PARAMS_INIT, expected;
        p.prompt = "a blue circle";
        if (!defaults) {
            p.negative_prompt = "red";
            p.width = 7;
            p.height = 5;
            p.steps = 9;
            p.guidance = 0;
            p.seed = UINT32_MAX;
        }
        p.on_step = answer_on_step;
        p.on_done = answer_on_image;
        p.data = a;
        expected = p;
        script_expect(s, &expected);
        char *prompt = mine(p.prompt), *negative = mine("red");
        p.key = "model";
        p.prompt = prompt;
        if (!defaults) p.negative_prompt = negative;
        a->rc = cadre_generate_image(fx->pool, &p, &a->id);
        assert_status(a->rc, 0);
        scribble(prompt);
        scribble(negative);
        script_open(s, OP_LOAD);
        until_done(a);
        assert_status(a->status, 0);
        assert_size(a->image.width, defaults ? 8 : 7);
        assert_size(a->image.height, defaults ? 4 : 5);
        assert_true(a->image.stride >= (size_t)a->image.width * 3);
        /* Coalesced: some steps are told, at most all of them, and the total is right. */
        assert_true(a->steps >= 1 && a->steps <= (defaults ? 4 : 9));
        assert_size(a->total_steps, defaults ? 4 : 9);
        settle(fx);
        assert_int_equal(atomic_load(&s->pixels_live), 0);
        fixture_end(fx);
    }
}

static void a_batch_of_texts_is_cut_and_put_together_in_order(void **state)
{
    (void)state;
    static const size_t counts[] = {1, 4, 5, 10};
    for (size_t k = 0; k < COUNT(counts); k++)
        for (int truncate = 0; truncate < 2; truncate++) {
            row("%zu texts, truncate %d", counts[k], truncate);
            fixture *fx = fixture_begin();
            script *s = loading(fx, CADRE_TEXT_EMBEDDING, 0);
            answer *a = answer_new(fx);
            const char *texts[10] = {"zero", "one", "", "three", "four", "five \xc3\xa4", "six", "seven", "eight", "nine"};
            char *copies[10];
            uint64_t tokens = 0;
            for (size_t i = 0; i < 10; i++) copies[i] = mine(texts[i]);
            for (size_t i = 0; i < counts[k]; i++) tokens += strlen(texts[i]);
            cadre_embed_params p = CADRE_EMBED_PARAMS_INIT, expected;
            p.texts = texts;
            p.count = counts[k];
            p.task = truncate ? "query" : NULL;
            p.truncate = truncate;
            p.on_done = answer_on_embeddings;
            p.data = a;
            expected = p;
            script_expect(s, &expected);
            char *task = mine("query");
            p.key = "model";
            p.texts = (const char *const *)copies;
            if (truncate) p.task = task;
            a->rc = cadre_embed(fx->pool, &p, &a->id);
            assert_status(a->rc, 0);
            for (size_t i = 0; i < 10; i++) scribble(copies[i]);
            scribble(task);
            memset(copies, 0, sizeof copies);
            script_open(s, OP_LOAD);
            until_done(a);
            assert_status(a->status, 0);
            assert_size(a->count, counts[k]);
            assert_size(a->dimension, 3);
            assert_true(a->tokens == tokens);
            for (size_t i = 0; i < counts[k]; i++)
                for (size_t j = 0; j < 3; j++) assert_true(a->values[i * 3 + j] == script_hash(texts[i], strlen(texts[i])) + (float)j);
            assert_size(model_info(fx, "model").operations, (counts[k] + 3) / 4);
            fixture_end(fx);
        }
}

static void a_batch_of_pictures_is_cut_and_put_together_in_order(void **state)
{
    (void)state;
    for (size_t n = 1; n <= 10; n += 3) {
        fixture *fx = fixture_begin();
        script *s = loading(fx, CADRE_IMAGE_EMBEDDING, 0);
        answer *a = answer_new(fx);
        uint8_t pixels[10][36];
        cadre_image_input inputs[10];
        char text[32];
        for (size_t i = 0; i < n; i++) {
            snprintf(text, sizeof text, "picture %zu", i);
            inputs[i] = picture(text, pixels[i], sizeof pixels[i]);
        }
        cadre_embed_images_params p = CADRE_EMBED_IMAGES_PARAMS_INIT;
        p.key = "model";
        p.images = inputs;
        p.count = n;
        p.on_done = answer_on_embeddings;
        p.data = a;
        a->rc = cadre_embed_images(fx->pool, &p, &a->id);
        assert_status(a->rc, 0);
        memset(pixels, 0, sizeof pixels);
        script_open(s, OP_LOAD);
        until_done(a);
        assert_status(a->status, 0);
        assert_size(a->count, n);
        assert_true(a->tokens == 0);
        for (size_t i = 0; i < n; i++) {
            snprintf(text, sizeof text, "picture %zu", i);
            for (size_t j = 0; j < 3; j++) assert_true(a->values[i * 3 + j] == script_hash(text, strlen(text)) + (float)j);
        }
        fixture_end(fx);
    }
}

static answer *embed_task(script *s, const char *text, const char *task, int truncate)
{
    answer *a = answer_new(s->fx);
    cadre_embed_params p = CADRE_EMBED_PARAMS_INIT;
    p.key = s->key;
    p.text = text;
    p.task = task;
    p.truncate = truncate;
    p.on_done = answer_on_embeddings;
    p.data = a;
    a->rc = cadre_embed(s->fx->pool, &p, &a->id);
    assert_status(a->rc, 0);
    return a;
}

static void small_requests_of_one_task_share_a_batch(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    script *s = script_ready(fx, CADRE_TEXT_EMBEDDING, "m");
    script_hold(s, OP_EMBED);
    answer *first = embed_task(s, "first", NULL, 0);
    script_until(s, OP_EMBED, 1);
    answer *plain[5], *query = embed_task(s, "query", "query", 0), *cut = embed_task(s, "cut", NULL, 1);
    char text[5][4] = {"p0", "p1", "p2", "p3", "p4"};
    for (int i = 0; i < 5; i++) plain[i] = embed_task(s, text[i], i % 2 ? "" : NULL, 0); /* no task and an empty task are one */
    settle(fx);
    script_open(s, OP_EMBED);
    until_all_done(fx);
    assert_answered(s, first, "first");
    assert_answered(s, query, "query");
    assert_answered(s, cut, "cut");
    for (int i = 0; i < 5; i++) assert_answered(s, plain[i], text[i]);
    /* first; query; cut; four of p; one of p */
    assert_size(model_info(fx, "m").operations, 5);
    fixture_end(fx);
}

/* The window is counted by the pool's clock: a worker that is free waits at most this long for company, a full batch not at all, and 0 never. */
static void a_batch_waits_at_most_its_window(void **state)
{
    (void)state;
    for (int64_t window = 0; window <= 5000; window += 5000) {
        fixture *fx = fixture_begin();
        script *s = script_new(fx, CADRE_TEXT_EMBEDDING, KIND_BLOCKING, "m");
        cadre_spawn_options options = CADRE_SPAWN_OPTIONS_INIT;
        options.batch_window_us = window;
        assert_status(script_spawn_with(s, NULL, &options), 0);
        script_until_ready(s, 1);
        for (int round = 0; round < 20; round++) {
            answer *a[4];
            int n = round % 5; /* 0: four at once, a full batch */
            for (int i = 0; i < (n ? n : 4); i++) a[i] = ask(s, "hello");
            if (n && window) {
                settle(fx);
                fixture_advance(fx, 5);
            }
            until_all_done(fx);
            for (int i = 0; i < (n ? n : 4); i++) assert_answered(s, a[i], "hello");
        }
        fixture_end(fx);
    }
}

static void a_text_that_fails_fails_its_own_request_only(void **state)
{
    (void)state;
    static const cadre_capability both[] = {CADRE_TEXT_EMBEDDING, CADRE_IMAGE_EMBEDDING};
    for (size_t i = 0; i < COUNT(both); i++) {
        fixture *fx = fixture_begin();
        script *s = script_ready(fx, both[i], "m");
        script_hold(s, OP_EMBED);
        answer *first = ask(s, "first");
        script_until(s, OP_EMBED, 1);
        answer *a = ask(s, "fine"), *b = ask(s, "fail b"), *c = ask(s, "also fine");
        script_open(s, OP_EMBED);
        until_all_done(fx);
        assert_answered(s, first, "first");
        assert_answered(s, a, "fine");
        assert_answered(s, c, "also fine");
        assert_status(b->status, CADRE_EINPUT);
        assert_contains(b->detail, "refused: fail b");
        fixture_end(fx);
    }
}

static void a_text_that_is_too_long_is_an_error_unless_it_may_be_cut(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    script *s = script_ready(fx, CADRE_TEXT_EMBEDDING, "m");
    answer *refused = embed_task(s, "long one", NULL, 0), *cut = embed_task(s, "long one", NULL, 1);
    until_all_done(fx);
    assert_status(refused->status, CADRE_ETOOLONG);
    assert_contains(refused->detail, "too long: long one");
    assert_answered(s, cut, "long one");
    fixture_end(fx);
}

static void an_operation_that_fails_tells_why_and_the_worker_goes_on(void **state)
{
    (void)state;
    for (int c = 0; c < CADRE_CAPABILITY_COUNT; c++)
        for (uint32_t slots = 0; slots < (capability_streams((cadre_capability)c) ? 3u : 1u); slots += 2) {
            row("%s slots %u", cadre_capability_name((cadre_capability)c), slots);
            fixture *fx = fixture_begin();
            script *s = loading(fx, (cadre_capability)c, slots);
            s->detail = "cuda error 700";
            atomic_store(&s->status[script_work(s)], CADRE_EENGINE);
            script_open(s, OP_LOAD);
            answer *a = ask(s, "hello");
            until_done(a);
            assert_status(a->status, CADRE_EENGINE);
            assert_contains(a->detail, "cuda error 700");
            assert_size(a->pieces, 0); /* an error is never delivered as text */
            atomic_store(&s->status[script_work(s)], 0);
            answer *refused = ask(s, "fail this"), *fine = ask(s, "hello");
            until_all_done(fx);
            assert_status(refused->status, CADRE_EINPUT);
            assert_contains(refused->detail, "refused: fail this");
            assert_answered(s, fine, "hello");
            fixture_end(fx);
        }
}

static void an_unstreamed_answer_comes_whole(void **state)
{
    (void)state;
    static const cadre_capability both[] = {CADRE_TEXT_TO_TEXT, CADRE_VISION};
    for (size_t i = 0; i < COUNT(both); i++)
        for (uint32_t slots = 0; slots < 2; slots++) {
            fixture *fx = fixture_begin();
            script *s = loading(fx, both[i], slots);
            s->pieces = 300;
            script_open(s, OP_LOAD);
            answer *a = answer_new(fx), *empty = answer_new(fx);
            a->unstreamed = empty->unstreamed = true;
            assert_status(submit(s, a, "count", NULL), 0);
            until_done(a);
            char expected[2048];
            assert_string_equal(a->text, script_answer(s, "count", expected, sizeof expected));
            assert_size(a->generation.generated_tokens, 300);
            fixture_end(fx);
        }
}

static void lent_inputs_are_given_back_once_after_the_workers_last_read(void **state)
{
    (void)state;
    for (int c = 0; c < CADRE_CAPABILITY_COUNT; c++) {
        row("%s", cadre_capability_name((cadre_capability)c));
        fixture *fx = fixture_begin();
        script *s = script_ready(fx, (cadre_capability)c, "m");
        answer *a[4];
        cadre_request_options options = CADRE_REQUEST_OPTIONS_INIT;
        options.release = answer_on_release;
        /* The inputs are literals and, for pictures, this frame's. */
        uint8_t pixels[24];
        cadre_image_input input = picture("lent", pixels, sizeof pixels);
        for (int i = 0; i < 4; i++) {
            a[i] = answer_new(fx);
            options.release_data = a[i];
            a[i]->lent = true;
            if (i == 0) script_hold(s, script_work(s));
            if (c == CADRE_IMAGE_EMBEDDING) {
                cadre_embed_images_params p = CADRE_EMBED_IMAGES_PARAMS_INIT;
                p.key = "m";
                p.images = &input;
                p.count = 1;
                p.options = options;
                p.on_done = answer_on_embeddings;
                p.data = a[i];
                a[i]->rc = cadre_embed_images(fx->pool, &p, &a[i]->id);
            } else if (c == CADRE_VISION) {
                cadre_describe_params p = CADRE_DESCRIBE_PARAMS_INIT;
                p.key = "m";
                p.query = "lent";
                p.images = &input;
                p.image_count = 1;
                p.options = options;
                p.on_text = answer_on_text;
                p.on_done = answer_on_generation;
                p.data = a[i];
                a[i]->rc = cadre_describe(fx->pool, &p, &a[i]->id);
            } else {
                submit(s, a[i], "lent", &options);
            }
            assert_status(a[i]->rc, 0);
            if (i == 0) script_until(s, script_work(s), 1);
        }
        /* Running and cancelled: the host hears at once, its memory is still being read. */
        assert_status(cadre_request_cancel(fx->pool, a[0]->id), 0);
        until_done(a[0]);
        settle(fx);
        assert_size(a[0]->releases, 0);
        /* Queued and cancelled: nobody reads it. */
        assert_status(cadre_request_cancel(fx->pool, a[1]->id), 0);
        until_done(a[1]);
        settle(fx);
        assert_size(a[1]->releases, 1);
        script_open(s, script_work(s));
        until_all_done(fx);
        for (int i = 2; i < 4; i++) assert_answered(s, a[i], "lent");
        settle(fx);
        fixture_end(fx);
    }
}

static void a_refused_request_gives_its_inputs_back_before_the_return(void **state)
{
    (void)state;
    for (int c = 0; c < CADRE_CAPABILITY_COUNT; c++) {
        fixture *fx = fixture_begin();
        script nobody = {.fx = fx, .capability = (cadre_capability)c, .key = "nobody"};
        answer *a = answer_new(fx);
        cadre_request_options options = CADRE_REQUEST_OPTIONS_INIT;
        options.release = answer_on_release;
        options.release_data = a;
        assert_status(submit(&nobody, a, "hello", &options), CADRE_ENOENT);
        assert_size(a->releases, 1);
        assert_contains(cadre_pool_error_detail(fx->pool), "nobody");
        fixture_end(fx);
    }
}

static void a_key_of_another_capability_is_refused(void **state)
{
    (void)state;
    for (int c = 0; c < CADRE_CAPABILITY_COUNT; c++)
        for (int other = 0; other < CADRE_CAPABILITY_COUNT; other++) {
            if (c == other) continue;
            fixture *fx = fixture_begin();
            script *s = loading(fx, (cadre_capability)c, 0);
            script wrong = {.fx = fx, .capability = (cadre_capability)other, .key = "model"};
            answer *a = answer_new(fx);
            assert_status(submit(&wrong, a, "hello", NULL), CADRE_ECAPABILITY);
            script *second = script_new(fx, (cadre_capability)other, KIND_BLOCKING, "model");
            assert_status(script_spawn_with(second, reserve(fx, 10), NULL), CADRE_ECAPABILITY);
            assert_size(charged(fx, 0), 0);
            script_open(s, OP_LOAD);
            fixture_end(fx);
        }
}

static void the_busy_workers_share_the_cores(void **state)
{
    (void)state;
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    options.cores = 4;
    fixture *fx = fixture_begin_with(&options);
    script *a = script_ready(fx, CADRE_TEXT_TO_TEXT, "a"), *b = script_ready(fx, CADRE_TEXT_TO_TEXT, "b");
    until_done(ask(a, "alone"));
    assert_int_equal(atomic_load(&a->threads), 4);
    script *both[] = {a, b};
    for (int i = 0; i < 2; i++) {
        script_hold(both[i], OP_GENERATE);
        script_hold(both[i], OP_PIECE);
    }
    answer *first = ask(a, "first"), *second = ask(b, "second");
    for (int i = 0; i < 2; i++) script_until(both[i], OP_GENERATE, 2 - i);
    for (int i = 0; i < 2; i++) script_open(both[i], OP_GENERATE);
    script_until(a, OP_PIECE, 4);
    script_until(b, OP_PIECE, 1);
    assert_int_equal(atomic_load(&a->threads), 2);
    assert_int_equal(atomic_load(&b->threads), 2);
    script_open(a, OP_PIECE);
    until_done(first);
    assert_false(second->done);
    settle(fx);
    script_pass(b, OP_PIECE, 1);
    script_until_ended(b, OP_PIECE, 1);
    assert_int_equal(atomic_load(&b->threads), 4);
    fixture_end(fx);
}

#define SUITE requests
#include "suite.h"
