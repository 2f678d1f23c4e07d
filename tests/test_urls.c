/* Pictures by URL: brought on the loop before a worker is asked for, while the model is loaded; what becomes of the request when they do not come. */
#include "codec.h"

static cadre_image_input by_url(const char *url)
{
    return cadre_image_from_string(CADRE_IMAGE_URL, url);
}

/* Asks about one picture. */
static answer *look(script *s, const char *url)
{
    answer *a = answer_new(s->fx);
    cadre_image_input input = by_url(url);
    assert_status(look_at(s, a, &input, 1), 0);
    return a;
}

static script *vision_entry(fixture *fx, const char *key, int32_t queue_capacity)
{
    script *s = script_new(fx, CADRE_VISION, KIND_BLOCKING, key);
    cadre_entry entry = entry_of(s);
    entry.load_retries = 0;
    entry.breaker_failures = 1;
    entry.queue_capacity = queue_capacity;
    add(fx, &entry);
    return s;
}

static void until_downloads(fixture *fx, int n)
{
    run_until_int(fx, &download_count, n);
}

static void end(codec *c)
{
    let_go();
    settle(c->fx);
    assert_int_equal(atomic_load(&c->blobs), 0);
    run_until_atomic(c->fx, &c->destroyed, atomic_load(&c->brought));
    fixture_end(c->fx);
}

/* ---- in order ---- */

static void pictures_are_fetched_while_the_model_is_loaded(void **state)
{
    (void)state;
    codec c;
    fixture *fx = begin_registry(&c);
    script *s = vision_entry(fx, "m", CADRE_DEFAULT);
    answer *a = look(s, "https://later/cat");
    assert_int_equal(info_of(fx, "m").queued, 1);
    until_downloads(fx, 1);
    until_workers(fx, "m", 1);
    settle(fx);
    cadre_entry_info info = info_of(fx, "m");
    assert_int_equal(info.queued, 1);
    assert_int_equal(info.workers_busy, 0);
    assert_int_equal(snapshot_of(fx).requests_queued, 1);
    assert_int_equal(a->done, 0);
    answer *other = ask(s, "at once"); /* nobody waits behind a download */
    until_done(other);
    assert_int_equal(a->done, 0);
    arrive(&downloads[0]);
    until_done(a);
    assert_answered(s, a, "look");
    assert_int_equal(info_of(fx, "m").queued, 0);
    end(&c);
}

static void pictures_of_a_request_are_fetched_side_by_side(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT(both); k++) {
        codec c;
        fixture *fx = begin(&c, true, true);
        script *s = script_ready(fx, both[k], "m");
        uint8_t buffers[5][64];
        cadre_image_input inputs[5] = {by_url("https://later/a"), cadre_image_from_bytes("PIC:b", 5), by_url("https://later/c"), by_url("https://host/cat"),
                                       by_url("https://later/e")};
        static const char *const texts[5] = {"a", "b", "c", "cat", "e"};
        cadre_image_input expected_inputs[5];
        for (size_t i = 0; i < 5; i++) expected_inputs[i] = picture(texts[i], buffers[i], sizeof buffers[i]);
        cadre_describe_params expected = CADRE_DESCRIBE_PARAMS_INIT;
        expected.query = "look", expected.images = expected_inputs, expected.image_count = 5;
        if (both[k] == CADRE_VISION) script_expect(s, &expected);
        answer *a = answer_new(fx);
        assert_status(look_at(s, a, inputs, 5), 0);
        assert_int_equal(atomic_load(&c.fetched), 0); /* not inside the call */
        until_downloads(fx, 3);
        assert_int_equal(atomic_load(&c.fetched), 4);
        for (int i = 2; i >= 0; i--) {
            settle(fx);
            assert_int_equal(a->done, 0);
            assert_int_equal(model_info(fx, "m").running, 0);
            arrive(&downloads[i]);
        }
        until_done(a);
        assert_status(a->status, 0);
        for (size_t i = 0; i < 5 && both[k] == CADRE_IMAGE_EMBEDDING; i++)
            assert_true(a->values[i * a->dimension] >= script_hash(texts[i], strlen(texts[i])) &&
                        a->values[i * a->dimension] <= script_hash(texts[i], strlen(texts[i])));
        end(&c);
    }
}

static void a_fetched_request_takes_the_place_of_its_arrival(void **state)
{
    (void)state;
    codec c;
    fixture *fx = begin(&c, true, true);
    script *s = script_ready(fx, CADRE_VISION, "m");
    script_hold(s, OP_GENERATE);
    answer *first = ask(s, "first");
    script_until(s, OP_GENERATE, 1);
    answer *early = look(s, "https://later/cat");
    fixture_advance(fx, 1);
    answer *late = ask(s, "late");
    until_downloads(fx, 1);
    arrive(&downloads[0]);
    settle(fx);
    script_open(s, OP_GENERATE);
    until_all_done(fx);
    assert_true(first->order < early->order && early->order < late->order);
    end(&c);
}

static void encoded_bytes_go_when_they_are_decoded(void **state)
{
    (void)state;
    codec c;
    fixture *fx = begin(&c, true, true);
    script *s = script_ready(fx, CADRE_VISION, "m");
    script_hold(s, OP_GENERATE);
    answer *a = look(s, "https://host/cat");
    script_until(s, OP_GENERATE, 1);
    run_until_atomic(fx, &c.destroyed, 1);
    assert_int_equal(a->done, 0);
    script_open(s, OP_GENERATE);
    until_done(a);
    assert_answered(s, a, "look");
    end(&c);
}

static void lent_urls_are_given_back_once(void **state)
{
    (void)state;
    codec c;
    fixture *fx = begin(&c, true, true);
    script *s = script_ready(fx, CADRE_VISION, "m");
    for (int i = 0; i < 2; i++) {
        char url[] = "https://later/cat";
        cadre_image_input input = by_url(url);
        answer *a = answer_new(fx);
        cadre_describe_params p = CADRE_DESCRIBE_PARAMS_INIT;
        a->lent = true;
        p.key = s->key, p.query = "look", p.images = &input, p.image_count = 1, p.on_text = answer_on_text, p.on_done = answer_on_generation, p.data = a;
        p.options.release = answer_on_release, p.options.release_data = a;
        assert_status(a->rc = cadre_describe(fx->pool, &p, &a->id), 0);
        until_downloads(fx, i + 1);
        assert_int_equal(a->releases, 0);
        if (i == 0)
            arrive(&downloads[i]);
        else
            cadre_request_cancel(fx->pool, a->id);
        until_done(a);
        settle(fx);
        assert_int_equal(a->releases, 1);
    }
    end(&c);
}

/* ---- what does not come ---- */

static void the_first_failure_ends_the_request(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT(both); k++) {
        codec c;
        fixture *fx = begin(&c, true, true);
        script *s = script_ready(fx, both[k], "m");
        const cadre_image_input inputs[] = {by_url("https://later/a"), cadre_image_from_bytes("PIC:b", 5), by_url("https://later/c"), by_url("https://later/d"),
                                            by_url("https://later/e")};
        answer *a = answer_new(fx);
        assert_status(look_at(s, a, inputs, COUNT(inputs)), 0);
        until_downloads(fx, 4);
        arrive(&downloads[0]);
        break_off(&downloads[2], UV_ECONNREFUSED, "later: connection refused");
        break_off(&downloads[1], CADRE_EINPUT, "it comes too late to be told");
        until_done(a);
        assert_status(a->status, UV_ECONNREFUSED);
        assert_string_equal(a->detail, "images[3]: later: connection refused");
        run_until_atomic(fx, &c.cancelled, 1); /* the last one */
        assert_true(downloads[3].cancelled);
        settle(fx);
        assert_size(script_count(s, script_work(s), NULL), 0);
        end(&c);
    }
}

static void what_a_fetcher_brings_is_checked(void **state)
{
    (void)state;
    static const struct {
        const char *url, *detail;
        int status;
    } rows[] = {{"https://host/null", "images[1]: the fetcher brought nothing", CADRE_EINPUT},
                {"https://host/empty", "images[1]: the fetcher brought nothing", CADRE_EINPUT},
                {"https://host/long", "images[1]: the fetcher brought more bytes than it was asked for", CADRE_EINPUT},
                {"https://host/none", "images[1]: host answers 404", CADRE_EINPUT},
                {"https://host/no-memory", "images[1]: the host's allocator returned no memory", CADRE_ENOMEM}};
    for (size_t k = 0; k < COUNT(both); k++)
        for (size_t i = 0; i < COUNT(rows); i++) {
            row("%s", rows[i].url);
            codec c;
            fixture *fx = begin(&c, true, true);
            script *s = script_ready(fx, both[k], "m");
            const cadre_image_input inputs[] = {by_url("https://later/cat"), by_url(rows[i].url), by_url("https://later/dog")};
            answer *a = answer_new(fx);
            assert_status(look_at(s, a, inputs, COUNT(inputs)), 0);
            until_done(a);
            assert_status(a->status, rows[i].status);
            assert_string_equal(a->detail, rows[i].detail);
            settle(fx);
            assert_int_equal(atomic_load(&c.cancelled), download_count);
            assert_int_equal(atomic_load(&c.decoded), 0);
            assert_size(script_count(s, script_work(s), NULL), 0);
            end(&c);
        }
}

static void failures_of_fetching_are_not_the_models(void **state)
{
    (void)state;
    codec c;
    fixture *fx = begin_registry(&c);
    script *s = vision_entry(fx, "m", CADRE_DEFAULT); /* one failure of the model's would make it rest */
    serve_once(s);
    for (int i = 0; i < 4; i++) {
        answer *a = look(s, i % 2 ? "https://host/none" : "https://later/cat");
        if (i % 2 == 0) {
            run_until_int(fx, &download_count, i / 2 + 1);
            break_off(&downloads[i / 2], i ? UV_ETIMEDOUT : CADRE_ELOAD, "the network");
        }
        until_done(a);
        assert_true(a->status < 0);
        assert_state_of(fx, "m", CADRE_MODEL_READY);
    }
    serve_once(s);
    end(&c);
}

/* ---- cancel, deadline, capacity ---- */

static void fetching_requests_fill_the_queue(void **state)
{
    (void)state;
    codec c;
    fixture *fx = begin_registry(&c);
    script *s = vision_entry(fx, "m", 2);
    answer *a = look(s, "https://later/a"), *b = look(s, "https://later/b"), *full = answer_new(fx);
    const cadre_image_input input = by_url("https://later/c");
    assert_status(look_at(s, full, &input, 1), CADRE_EFULL);
    until_downloads(fx, 2);
    until_workers(fx, "m", 1);
    settle(fx);
    assert_status(look_at(s, full, &input, 1), CADRE_EFULL);
    assert_status(submit(s, full, "plain", NULL), CADRE_EFULL);
    assert_int_equal(info_of(fx, "m").queued, 2);
    assert_status(cadre_request_cancel(fx->pool, a->id), 0);
    assert_int_equal(info_of(fx, "m").queued, 1);
    answer *room = ask(s, "plain");
    until_done(room);
    arrive(&downloads[1]);
    until_done(b);
    assert_answered(s, b, "look");
    assert_status(a->status, CADRE_ECANCELED);
    assert_int_equal(info_of(fx, "m").queued, 0);
    end(&c);
}

static void a_cancel_and_a_deadline_let_go_of_what_is_fetched(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT(both); k++) {
        codec c;
        fixture *fx = begin(&c, true, true);
        script *s = script_ready(fx, both[k], "m");
        answer *cancelled = look(s, "https://later/a"), *early = look(s, "https://later/b"), *late = answer_new(fx);
        assert_status(cadre_request_cancel(fx->pool, early->id), 0); /* before its fetch has begun */
        const cadre_image_input input = by_url("https://later/c");
        cadre_request_options options = CADRE_REQUEST_OPTIONS_INIT;
        options.timeout_ms = 5;
        cadre_describe_params d = CADRE_DESCRIBE_PARAMS_INIT;
        cadre_embed_images_params e = CADRE_EMBED_IMAGES_PARAMS_INIT;
        d.key = e.key = s->key, d.query = "look", d.images = e.images = &input, d.image_count = e.count = 1, d.options = e.options = options;
        d.on_done = answer_on_generation, d.on_text = answer_on_text, e.on_done = answer_on_embeddings, d.data = e.data = late;
        late->rc = both[k] == CADRE_VISION ? cadre_describe(fx->pool, &d, &late->id) : cadre_embed_images(fx->pool, &e, &late->id);
        assert_status(late->rc, 0);
        until_downloads(fx, 2);
        assert_int_equal(atomic_load(&c.cancelled), 0);
        assert_status(cadre_request_cancel(fx->pool, cancelled->id), 0);
        assert_status(cadre_request_cancel(fx->pool, cancelled->id), CADRE_EALREADY);
        until_done(cancelled);
        assert_status(cancelled->status, CADRE_ECANCELED);
        run_until_atomic(fx, &c.cancelled, 1);
        fixture_advance(fx, 6);
        until_done(late);
        assert_status(late->status, CADRE_ETIMEDOUT);
        assert_string_equal(late->detail, "the deadline passed while the pictures were fetched");
        run_until_atomic(fx, &c.cancelled, 2);
        until_done(early);
        assert_status(early->status, CADRE_ECANCELED);
        assert_int_equal(atomic_load(&c.fetched), 2);
        settle(fx);
        assert_int_equal(model_info(fx, "m").queued, 0);
        end(&c);
    }
}

static void cancel_it(cadre_pool *pool, void *data)
{
    answer *a = data;
    (void)cadre_request_cancel(pool, a->id);
}

/* The fetch is settled, its request not told yet, and in between comes a cancel; and the other way round. */
static void a_cancel_in_the_turn_in_which_a_fetch_ends_is_told_once(void **state)
{
    (void)state;
    for (int failure = 0; failure < 2; failure++)
        for (int first = 0; first < 2; first++) {
            row("failure %d, cancel first %d", failure, first);
            codec c;
            fixture *fx = begin(&c, true, true);
            script *s = script_ready(fx, CADRE_VISION, "m");
            answer *a = look(s, "https://later/cat");
            until_downloads(fx, 1);
            if (first) assert_status(cadre_port_post(fx->port, cancel_it, a), 0);
            if (failure)
                break_off(&downloads[0], CADRE_EINPUT, "gone");
            else
                arrive(&downloads[0]);
            if (!first) assert_status(cadre_port_post(fx->port, cancel_it, a), 0);
            until_done(a);
            settle(fx);
            assert_int_equal(a->done, 1);
            assert_status(a->status, CADRE_ECANCELED);
            assert_int_equal(model_info(fx, "m").queued, 0);
            assert_size(script_count(s, OP_GENERATE, NULL), 0);
            end(&c);
        }
}

static void cancel_inside(codec *c)
{
    c->in_fetch = NULL;
    assert_status(cadre_request_cancel(c->fx->pool, c->victim), 0);
}

static void close_inside(codec *c)
{
    c->in_fetch = NULL;
    cadre_close_options options = CADRE_CLOSE_OPTIONS_INIT;
    options.drain_ms = 0;
    fixture_start_close(c->fx, &options);
}

static void a_fetcher_may_end_the_request_or_close_the_pool(void **state)
{
    (void)state;
    for (int closes = 0; closes < 2; closes++) {
        codec c;
        fixture *fx = begin(&c, true, true);
        script *s = script_ready(fx, CADRE_VISION, "m");
        const cadre_image_input inputs[] = {by_url("https://later/a"), by_url("https://later/b")};
        answer *a = answer_new(fx);
        assert_status(look_at(s, a, inputs, 2), 0);
        c.victim = a->id;
        c.in_fetch = closes ? close_inside : cancel_inside;
        until_done(a);
        assert_status(a->status, closes ? CADRE_ECLOSED : CADRE_ECANCELED);
        if (!closes) assert_int_equal(atomic_load(&c.fetched), 1);
        let_go();
        if (closes) fixture_close(fx, NULL);
        end(&c);
    }
}

/* ---- the model ---- */

static void a_close_drains_and_cancels_fetches(void **state)
{
    (void)state;
    for (int drains = 0; drains < 2; drains++) {
        codec c;
        fixture *fx = begin_registry(&c);
        script *s = vision_entry(fx, "m", CADRE_DEFAULT);
        answer *a = look(s, "https://later/cat");
        cadre_close_options options = CADRE_CLOSE_OPTIONS_INIT;
        options.drain_ms = drains ? 1000 : 0;
        fixture_start_close(fx, &options); /* before the fetch has begun */
        if (drains) {
            until_downloads(fx, 1);
            settle(fx);
            assert_int_equal(a->done, 0);
            arrive(&downloads[0]);
        }
        until_done(a);
        if (drains)
            assert_answered(s, a, "look");
        else
            assert_status(a->status, CADRE_ECLOSED);
        let_go();
        run_until_atomic(fx, &c.destroyed, atomic_load(&c.brought));
        fixture_end(fx);
    }
}

static void a_load_that_fails_ends_who_fetches(void **state)
{
    (void)state;
    codec c;
    fixture *fx = begin_registry(&c);
    script *s = vision_entry(fx, "m", CADRE_DEFAULT);
    atomic_store(&s->status[OP_LOAD], CADRE_EFORMAT);
    s->detail = "damaged";
    answer *a = look(s, "https://later/cat");
    until_done(a);
    assert_status(a->status, CADRE_EFORMAT);
    assert_contains(a->detail, "damaged");
    run_until_atomic(fx, &c.cancelled, download_count);
    end(&c);
    fx = begin(&c, true, true); /* and of a worker that the host spawned, the last one's end */
    s = script_ready(fx, CADRE_VISION, "m");
    a = look(s, "https://later/cat");
    until_downloads(fx, 1);
    assert_status(cadre_worker_stop(fx->pool, s->worker), 0);
    until_done(a);
    assert_status(a->status, CADRE_EWORKER);
    run_until_atomic(fx, &c.cancelled, 1);
    arrive(&downloads[0]);
    settle(fx);
    assert_int_equal(atomic_load(&c.decoded), 0);
    end(&c);
}

static void a_removal_serves_who_was_accepted(void **state)
{
    (void)state;
    codec c;
    fixture *fx = begin_registry(&c);
    script *s = vision_entry(fx, "m", CADRE_DEFAULT);
    answer *served = look(s, "https://later/cat"), *ended = look(s, "https://later/dog");
    until_downloads(fx, 2);
    told t = {0};
    until_workers(fx, "m", 1); /* until then a removal is refused */
    assert_status(cadre_registry_remove(fx->pool, "m", on_told, &t), 0);
    settle(fx);
    assert_int_equal(t.count, 0);
    answer *late = answer_new(fx);
    const cadre_image_input input = by_url("https://later/bird");
    assert_status(look_at(s, late, &input, 1), CADRE_ENOENT);
    arrive(&downloads[0]);
    until_done(served);
    assert_answered(s, served, "look");
    settle(fx);
    assert_int_equal(t.count, 0);
    assert_status(cadre_request_cancel(fx->pool, ended->id), 0);
    run_until_int(fx, &t.count, 1);
    assert_status(t.status, 0);
    arrive(&downloads[1]);
    settle(fx);
    assert_int_equal(atomic_load(&c.decoded), 1);
    end(&c);
}

static void who_only_fetches_gives_its_memory_to_who_works(void **state)
{
    (void)state;
    codec c;
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    cadre_image_decoder decoder;
    cadre_image_fetcher fetcher;
    set_codec(&c, &options, &decoder, &fetcher);
    options.memory_bytes = 100;
    fixture *fx = c.fx = registry_begin_all(&options);
    script *s = script_new(fx, CADRE_VISION, KIND_BLOCKING, "m"), *other = text_script(fx, "other");
    cadre_entry entries[] = {entry_of(s), entry_of(other)};
    cadre_memory_need needs[2];
    for (int i = 0; i < 2; i++) {
        entry_takes(&entries[i], &needs[i], 0, 80);
        add(fx, &entries[i]);
    }
    serve_once(s);
    answer *a = look(s, "https://later/cat");
    until_downloads(fx, 1);
    serve_once(other);
    assert_int_equal(a->done, 0);
    assert_size(events_of(CADRE_EVENT_EVICTED, "m", 0), 1);
    until_workers(fx, "m", 1); /* and it is there again when its picture comes */
    assert_int_equal(a->done, 0);
    arrive(&downloads[0]);
    until_done(a);
    assert_answered(s, a, "look");
    end(&c);
}

static void who_waits_for_a_key_fetches_meanwhile(void **state)
{
    (void)state;
    codec c;
    fixture *fx = begin_registry(&c);
    script *s = script_new(fx, CADRE_VISION, KIND_BLOCKING, "m"), *wrong = script_new(fx, CADRE_VISION, KIND_BLOCKING, "wrong");
    wrong->open_status = CADRE_EFORMAT;
    wrong->detail = "no such model";
    told t = {0}, u = {0};
    cadre_entry entry = entry_of(s), bad = entry_of(wrong);
    assert_status(cadre_registry_add(fx->pool, &entry, on_told, &t), 0);
    assert_status(cadre_registry_add(fx->pool, &bad, on_told, &u), 0);
    answer *a = look(s, "https://later/cat"), *b = look(wrong, "https://later/dog");
    until_done(b);
    assert_status(b->status, CADRE_EFORMAT);
    assert_contains(b->detail, "no such model");
    until_downloads(fx, 1);
    for (int i = 0; i < download_count; i++)
        if (strcmp(downloads[i].url, "https://later/cat") == 0) arrive(&downloads[i]);
    until_done(a);
    assert_answered(s, a, "look");
    end(&c);
}

/* What a worker with slots has and has not begun when it hangs, breaks, or has no room. */
static void jobs_that_are_queued_again_keep_their_pictures(void **state)
{
    (void)state;
    enum { HANGS, BREAKS, NO_ROOM, WAYS };
    for (int way = 0; way < WAYS; way++) {
        row("way %d", way);
        codec c;
        fixture *fx = begin_registry(&c);
        script *s = script_new(fx, CADRE_VISION, KIND_BLOCKING, "m");
        s->heartbeat_ms = 100;
        s->slots = 4;
        cadre_entry entry = entry_of(s);
        entry.max_workers = 1;
        add(fx, &entry);
        serve_once(s);
        script_hold(s, OP_BEGIN);
        int begun = atomic_load(&s->begun[OP_BEGIN]);
        s->begin_again = way == NO_ROOM ? 2 : 0;
        answer *first = ask(s, "first"), *others[3];
        script_until(s, OP_BEGIN, begun + 1);
        for (int i = 0; i < 3; i++) others[i] = look(s, "https://host/cat");
        settle(fx);
        assert_int_equal(info_of(fx, "m").queued, 0); /* the worker has them all */
        if (way == BREAKS) atomic_store(&s->status[OP_BEGIN], CADRE_EWORKER);
        if (way == HANGS) pass_time(fx, 101);
        if (way == BREAKS) script_pass(s, OP_BEGIN, 1);
        if (way != NO_ROOM) {
            until_done(first);
            assert_status(first->status, way == HANGS ? CADRE_EHUNG : CADRE_EWORKER);
            script_until(s, OP_BEGIN, begun + 2); /* another worker has the others */
            atomic_store(&s->status[OP_BEGIN], 0);
        }
        script_open(s, OP_BEGIN);
        for (int i = 0; i < 3; i++) {
            until_done(others[i]);
            assert_answered(s, others[i], "look");
        }
        assert_int_equal(atomic_load(&c.fetched), 3);
        assert_int_equal(atomic_load(&c.decoded), 3);
        end(&c);
    }
}

#define SUITE urls
#include "suite.h"
