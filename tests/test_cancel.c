/* A request × every state it can be ended in × what ends it: the host hears at once and once, nothing is reported afterwards, the worker's late result is
 * dropped and the worker serves on. */
#include "scripted.h"

typedef enum stage { WAITING_FOR_LOAD, QUEUED, IN_MAILBOX, RUNNING, STREAMING, PAUSED, DONE, STAGE_COUNT } stage;
typedef enum ender { BY_CANCEL, BY_PORT, BY_DEADLINE, BY_STOP_AND_CLOSE, ENDER_COUNT } ender;
static const char *const stage_names[STAGE_COUNT] = {"waiting for load", "queued", "in the mailbox", "running", "streaming", "paused", "done"};
static const char *const ender_names[ENDER_COUNT] = {"cancel", "port", "deadline", "close"};

typedef struct scene {
    fixture *fx;
    script *s;
    answer *victim, *other;
    uint32_t slots;
    stage stage;
} scene;

static bool has_piece(void *data)
{
    return ((answer *)data)->pieces > 0;
}

static bool possible(cadre_capability capability, uint32_t slots, stage at)
{
    if (at == IN_MAILBOX) return slots > 1; /* begun by nobody, although a slot was free: the worker is inside a step */
    if (at == STREAMING || at == PAUSED) return capability_streams(capability);
    return true;
}

/* Brings a request into a stage and holds it there. */
static void set_up(scene *sc, cadre_capability capability, const cadre_request_options *options)
{
    fixture *fx = sc->fx;
    script *s = sc->s = script_new(fx, capability, KIND_BLOCKING, "m");
    script_op work = OP_LOAD;
    s->slots = sc->slots;
    s->pieces = 5;
    if (sc->stage == WAITING_FOR_LOAD) script_hold(s, OP_LOAD);
    script_spawn(s);
    work = script_work(s);
    if (sc->stage != WAITING_FOR_LOAD) script_until_ready(s, 1);
    if (sc->stage == QUEUED || sc->stage == IN_MAILBOX) {
        script_hold(s, work);
        sc->other = ask(s, "other");
        for (uint32_t i = 1; sc->stage == QUEUED && i < sc->slots; i++) ask(s, "filler");
        script_until(s, work, 1);
    } else if (sc->stage == RUNNING) {
        script_hold(s, work);
    } else if (sc->stage == STREAMING || sc->stage == PAUSED) {
        script_hold(s, sc->slots ? OP_STEP : OP_PIECE);
        script_pass(s, sc->slots ? OP_STEP : OP_PIECE, 1);
    }
    sc->victim = answer_new(fx);
    assert_status(submit(s, sc->victim, "victim", options), 0);
    if (sc->stage == RUNNING) script_until(s, work, 1);
    if (sc->stage == STREAMING || sc->stage == PAUSED) {
        run_until(fx, has_piece, sc->victim);
        script_until(s, sc->slots ? OP_STEP : OP_PIECE, 2);
    }
    if (sc->stage == PAUSED) {
        assert_status(cadre_request_pause(fx->pool, sc->victim->id), 0);
        sc->victim->silent = true;
        script_pass(s, sc->slots ? OP_STEP : OP_PIECE, 1);
    }
    if (sc->stage == DONE) until_done(sc->victim);
    settle(fx);
    if (sc->stage != DONE) assert_false(sc->victim->done);
    cadre_model_info info = model_info(fx, "m");
    if (sc->stage == WAITING_FOR_LOAD || sc->stage == QUEUED) assert_size(info.queued, 1);
    if (sc->stage == IN_MAILBOX) {
        assert_size(info.queued, 0);
        assert_size(info.running, 2);
        assert_size(script_count(s, OP_BEGIN, "victim"), 0);
    }
}

static void cancel_elsewhere(void *data)
{
    scene *sc = data;
    if (cadre_port_cancel(sc->fx->port, sc->victim->id) != 0) fixture_fault(sc->fx, "cadre_port_cancel refuses");
}

static void end_it(scene *sc, ender by)
{
    cadre_pool *pool = sc->fx->pool;
    answer *a = sc->victim;
    helper h;
    switch (by) {
    case BY_CANCEL:
        sc->fx->calling++;
        assert_status(cadre_request_cancel(pool, a->id), 0);
        sc->fx->calling--;
        a->silent = true;
        assert_false(a->done);
        assert_status(cadre_request_cancel(pool, a->id), CADRE_EALREADY);
        break;
    case BY_PORT:
        helper_start(&h, cancel_elsewhere, sc);
        helper_join(&h);
        break;
    case BY_DEADLINE:
        fixture_advance(sc->fx, 4);
        settle(sc->fx);
        assert_false(a->done);
        fixture_advance(sc->fx, 1);
        break;
    default: {
        cadre_close_options close = CADRE_CLOSE_OPTIONS_INIT;
        close.drain_ms = 5;
        fixture_start_close(sc->fx, &close);
        settle(sc->fx);
        /* A load that an accepted request waits for goes on, and so does everything that runs. */
        assert_false(a->done);
        fixture_advance(sc->fx, 5);
        break;
    }
    }
}

static void ended_in_each_stage(ender by)
{
    static const int statuses[ENDER_COUNT] = {CADRE_ECANCELED, CADRE_ECANCELED, CADRE_ETIMEDOUT, CADRE_ECLOSED};
    for (int c = 0; c < CADRE_CAPABILITY_COUNT; c++)
        for (uint32_t slots = 0; slots < (capability_streams((cadre_capability)c) ? 3u : 1u); slots += 2)
            for (int at = 0; at < DONE; at++) {
                if (!possible((cadre_capability)c, slots, (stage)at)) continue;
                row("%s slots %u, %s while %s", cadre_capability_name((cadre_capability)c), slots, ender_names[by], stage_names[at]);
                scene sc = {.fx = fixture_begin(), .slots = slots, .stage = (stage)at};
                cadre_request_options options = CADRE_REQUEST_OPTIONS_INIT;
                if (by == BY_DEADLINE) options.timeout_ms = 5;
                set_up(&sc, (cadre_capability)c, &options);
                end_it(&sc, by);
                until_done(sc.victim); /* everything is still held */
                assert_status(sc.victim->status, statuses[by]);
                assert_true(sc.victim->detail[0] != '\0');
                if (by != BY_STOP_AND_CLOSE) {
                    assert_status(cadre_request_cancel(sc.fx->pool, sc.victim->id), CADRE_ESTALE);
                    settle(sc.fx);
                    cadre_model_info info = model_info(sc.fx, "m");
                    assert_size(info.queued, 0); /* the depth goes down with it */
                    assert_size(info.running, at == QUEUED && slots > 1 ? slots : sc.other != NULL);
                    if (at == PAUSED)
                        assert_true(info.abandoned <= 1); /* a wait for the consumer ends with the cancel, now or in a moment */
                    else
                        assert_size(info.abandoned, at >= IN_MAILBOX);
                    scripts_open(sc.fx);
                    answer *next = ask(sc.s, "next");
                    until_all_done(sc.fx);
                    assert_answered(sc.s, next, "next");
                    if (sc.other) assert_answered(sc.s, sc.other, "other");
                    settle(sc.fx);
                    assert_size(model_info(sc.fx, "m").abandoned, 0);
                }
                scripts_open(sc.fx);
                if (at <= IN_MAILBOX) {
                    /* Nobody works for a request that has ended. */
                    fixture_close(sc.fx, NULL);
                    assert_size(script_count(sc.s, script_work(sc.s) == OP_STEP ? OP_BEGIN : script_work(sc.s), "victim"), 0);
                }
                fixture_end(sc.fx);
            }
}

static void a_cancel_is_heard_at_once_in_every_state(void **state)
{
    (void)state;
    ended_in_each_stage(BY_CANCEL);
}

static void a_cancel_by_the_port_is_heard_in_every_state(void **state)
{
    (void)state;
    ended_in_each_stage(BY_PORT);
}

static void a_deadline_is_heard_at_once_in_every_state(void **state)
{
    (void)state;
    ended_in_each_stage(BY_DEADLINE);
}

static void the_end_of_a_drain_is_heard_in_every_state(void **state)
{
    (void)state;
    ended_in_each_stage(BY_STOP_AND_CLOSE);
}

static void a_request_that_is_done_is_stale(void **state)
{
    (void)state;
    for (int c = 0; c < CADRE_CAPABILITY_COUNT; c++) {
        scene sc = {.fx = fixture_begin(), .stage = DONE};
        set_up(&sc, (cadre_capability)c, NULL);
        assert_answered(sc.s, sc.victim, "victim");
        cadre_pool *pool = sc.fx->pool;
        assert_status(cadre_request_cancel(pool, sc.victim->id), CADRE_ESTALE);
        assert_status(cadre_request_pause(pool, sc.victim->id), CADRE_ESTALE);
        assert_status(cadre_request_resume(pool, sc.victim->id), CADRE_ESTALE);
        assert_status(cadre_port_cancel(sc.fx->port, sc.victim->id), 0); /* ignored there */
        /* The place of a finished request is used again, under another id. */
        answer *next = ask(sc.s, "next");
        assert_true(next->id != sc.victim->id);
        settle(sc.fx);
        until_done(next);
        assert_answered(sc.s, next, "next");
        fixture_end(sc.fx);
    }
}

static void a_cancelled_operation_sees_it(void **state)
{
    (void)state;
    for (int c = 0; c < CADRE_CAPABILITY_COUNT; c++) {
        row("%s", cadre_capability_name((cadre_capability)c));
        scene sc = {.fx = fixture_begin(), .stage = RUNNING};
        set_up(&sc, (cadre_capability)c, NULL);
        assert_int_equal(atomic_load(&sc.s->cancel_seen), 0);
        assert_status(cadre_request_cancel(sc.fx->pool, sc.victim->id), 0);
        until_done(sc.victim);
        scripts_open(sc.fx);
        answer *next = ask(sc.s, "next");
        until_done(next);
        assert_true(atomic_load(&sc.s->cancel_seen) > 0);
        assert_answered(sc.s, next, "next");
        fixture_end(sc.fx);
    }
}

static void one_cancelled_slot_leaves_the_others_alone(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    script *s = script_new(fx, CADRE_TEXT_TO_TEXT, KIND_BLOCKING, "m");
    s->slots = 4;
    s->pieces = 20;
    script_spawn(s);
    script_until_ready(s, 1);
    script_hold(s, OP_STEP);
    static const char *const texts[] = {"a", "b", "c", "d"};
    answer *a[4];
    for (int i = 0; i < 4; i++) a[i] = ask(s, texts[i]);
    script_pass(s, OP_STEP, 5);
    run_until(fx, has_piece, a[3]);
    assert_status(cadre_request_cancel(fx->pool, a[1]->id), 0);
    a[1]->silent = true;
    script_open(s, OP_STEP);
    until_all_done(fx);
    for (int i = 0; i < 4; i++)
        if (i == 1)
            assert_status(a[i]->status, CADRE_ECANCELED);
        else
            assert_answered(s, a[i], texts[i]);
    fixture_end(fx);
}

/* A request of many batches: the ones not begun are never begun. */
static void a_cancelled_batch_request_stops_between_its_batches(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    script *s = script_ready(fx, CADRE_TEXT_EMBEDDING, "m");
    script_hold(s, OP_EMBED);
    const char *texts[40];
    for (int i = 0; i < 40; i++) texts[i] = "t";
    answer *a = answer_new(fx);
    cadre_embed_params p = CADRE_EMBED_PARAMS_INIT;
    p.key = "m";
    p.texts = texts;
    p.count = 40;
    p.on_done = answer_on_embeddings;
    p.data = a;
    a->rc = cadre_embed(fx->pool, &p, &a->id);
    assert_status(a->rc, 0);
    script_until(s, OP_EMBED, 1);
    assert_status(cadre_request_cancel(fx->pool, a->id), 0);
    until_done(a);
    assert_status(a->status, CADRE_ECANCELED);
    script_open(s, OP_EMBED);
    answer *next = ask(s, "next");
    until_done(next);
    assert_answered(s, next, "next");
    assert_size(script_count(s, OP_EMBED, "t"), 1);
    fixture_end(fx);
}

#define SUITE cancel
#include "suite.h"
