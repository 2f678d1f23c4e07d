/* Streams: in order, held back by a slow consumer without holding others, silent after a cancel; and callbacks that call back in. */
#include "scripted.h"

static script *streamer(fixture *fx, cadre_capability capability, uint32_t slots, int pieces, int32_t window)
{
    script *s = script_new(fx, capability, KIND_BLOCKING, "m");
    cadre_spawn_options options = CADRE_SPAWN_OPTIONS_INIT;
    if (window) options.stream_window = window;
    s->slots = slots;
    s->pieces = pieces;
    assert_status(script_spawn_with(s, NULL, &options), 0);
    script_until_ready(s, 1);
    return s;
}

static const cadre_capability both[] = {CADRE_TEXT_TO_TEXT, CADRE_VISION};

static void pieces_arrive_in_order_and_complete(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT(both); k++)
        for (uint32_t slots = 0; slots <= 4; slots += 4)
            for (int32_t window = 1; window <= 64; window += 63) {
                row("%s slots %u window %d", cadre_capability_name(both[k]), slots, window);
                fixture *fx = fixture_begin();
                script *s = streamer(fx, both[k], slots, 200, window);
                static const char *const texts[] = {"a", "b", "c", "d", "e", "f"};
                answer *a[COUNT(texts)];
                for (size_t i = 0; i < COUNT(texts); i++) a[i] = ask(s, texts[i]);
                until_all_done(fx);
                for (size_t i = 0; i < COUNT(texts); i++) assert_answered(s, a[i], texts[i]);
                fixture_end(fx);
            }
}

static bool has_piece(void *data)
{
    return ((answer *)data)->pieces > 0;
}
static bool heard_one(void *data)
{
    return has_piece(data) || ((answer *)data)->steps > 0;
}
static void pause_it(answer *a)
{
    a->on_piece = NULL;
    a->silent = true;
    if (cadre_request_pause(a->fx->pool, a->id) != 0 || cadre_request_pause(a->fx->pool, a->id) != 0) fixture_fault(a->fx, "pausing, and pausing again");
}

static void a_paused_slot_rests_at_its_window_while_others_go_on(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT(both); k++)
        for (int32_t window = 1; window <= 9; window += 4) {
            row("%s window %d", cadre_capability_name(both[k]), window);
            fixture *fx = fixture_begin();
            script *s = streamer(fx, both[k], 3, 60, window);
            answer *slow = answer_new(fx);
            slow->on_piece = pause_it;
            assert_status(submit(s, slow, "slow", NULL), 0);
            run_until(fx, has_piece, slow);
            /* The paused slot is stepped until its window is full, then no more; the others run to their end. */
            answer *quick[3];
            for (int i = 0; i < 3; i++) quick[i] = ask(s, "quick");
            for (int i = 0; i < 3; i++) until_done(quick[i]);
            settle(fx);
            assert_false(slow->done);
            int slow_emitted = atomic_load(&s->emitted) - 3 * 60;
            if (slow_emitted > window + (int)slow->pieces)
                fail_msg("%d pieces of a paused stream with a window of %d, %u of them heard", slow_emitted, window, slow->pieces);
            slow->silent = false;
            assert_status(cadre_request_resume(fx->pool, slow->id), 0);
            assert_status(cadre_request_resume(fx->pool, slow->id), 0);
            until_done(slow);
            assert_answered(s, slow, "slow");
            for (int i = 0; i < 3; i++) assert_answered(s, quick[i], "quick");
            fixture_end(fx);
        }
}

/* A model that generates one at a time waits inside its emit. */
static void a_paused_generate_holds_at_most_its_window(void **state)
{
    (void)state;
    for (int32_t window = 1; window <= 9; window += 4) {
        fixture *fx = fixture_begin();
        script *s = streamer(fx, CADRE_TEXT_TO_TEXT, 0, 60, window);
        answer *slow = answer_new(fx);
        slow->on_piece = pause_it;
        assert_status(submit(s, slow, "slow", NULL), 0);
        run_until(fx, has_piece, slow);
        run_until_atomic(fx, &s->emitted, window); /* it comes as far as this */
        settle(fx);
        assert_true(atomic_load(&s->emitted) <= window + (int)slow->pieces);
        assert_false(slow->done);
        slow->silent = false;
        assert_status(cadre_request_resume(fx->pool, slow->id), 0);
        until_done(slow);
        assert_answered(s, slow, "slow");
        fixture_end(fx);
    }
}

static void a_paused_generate_ends_by_cancel_deadline_and_close(void **state)
{
    (void)state;
    static const int statuses[] = {CADRE_ECANCELED, CADRE_ETIMEDOUT, CADRE_ECLOSED};
    for (uint32_t slots = 0; slots < 2; slots++)
        for (int by = 0; by < 3; by++) {
            row("slots %u, by %s", slots, cadre_err_name(statuses[by]));
            fixture *fx = fixture_begin();
            script *s = streamer(fx, CADRE_TEXT_TO_TEXT, slots, 60, 2);
            answer *slow = answer_new(fx);
            slow->on_piece = pause_it;
            cadre_request_options options = CADRE_REQUEST_OPTIONS_INIT;
            options.timeout_ms = by == 1 ? 5 : CADRE_NEVER;
            assert_status(submit(s, slow, "slow", &options), 0);
            run_until(fx, has_piece, slow);
            run_until_atomic(fx, &s->emitted, 2);
            settle(fx);
            if (by == 0) assert_status(cadre_request_cancel(fx->pool, slow->id), 0);
            if (by == 2) {
                cadre_close_options close = CADRE_CLOSE_OPTIONS_INIT;
                close.drain_ms = 5;
                fixture_start_close(fx, &close);
                settle(fx);
            }
            if (by > 0) fixture_advance(fx, 5);
            until_done(slow);
            assert_status(slow->status, statuses[by]);
            fixture_end(fx);
        }
}

static void a_pause_before_the_first_piece_holds_it_back(void **state)
{
    (void)state;
    for (uint32_t slots = 0; slots < 2; slots++) {
        fixture *fx = fixture_begin();
        script *s = streamer(fx, CADRE_TEXT_TO_TEXT, slots, 3, 64);
        answer *a = ask(s, "hello");
        assert_status(cadre_request_pause(fx->pool, a->id), 0);
        a->silent = true;
        run_until_atomic(fx, &s->emitted, 3); /* all of it fits the window */
        settle(fx);
        assert_false(a->done); /* on_done is not told before its text */
        a->silent = false;
        assert_status(cadre_request_resume(fx->pool, a->id), 0);
        until_done(a);
        assert_answered(s, a, "hello");
        fixture_end(fx);
    }
}

static void only_streams_can_be_paused(void **state)
{
    (void)state;
    for (int c = 0; c < CADRE_CAPABILITY_COUNT; c++) {
        row("%s", cadre_capability_name((cadre_capability)c));
        fixture *fx = fixture_begin();
        script *s = script_ready(fx, (cadre_capability)c, "m");
        script_hold(s, script_work(s));
        answer *a = answer_new(fx);
        a->unstreamed = true;
        assert_status(submit(s, a, "hello", NULL), 0);
        assert_status(cadre_request_pause(fx->pool, a->id), CADRE_ENOTSUP);
        assert_status(cadre_request_resume(fx->pool, a->id), CADRE_ENOTSUP);
        script_open(s, script_work(s));
        until_done(a);
        assert_answered(s, a, "hello");
        fixture_end(fx);
    }
}

static void cancel_it(answer *a)
{
    a->on_piece = NULL;
    a->silent = true;
    if (cadre_request_cancel(a->fx->pool, a->id) != 0) fixture_fault(a->fx, "a cancel from inside a callback");
    if (a->done) fixture_fault(a->fx, "on_done from inside the cancel");
}

static void after_a_cancel_no_piece_and_no_step_is_told(void **state)
{
    (void)state;
    static const cadre_capability streaming[] = {CADRE_TEXT_TO_TEXT, CADRE_VISION, CADRE_TEXT_TO_IMAGE};
    for (size_t k = 0; k < COUNT(streaming); k++)
        for (uint32_t slots = 0; slots < (streaming[k] == CADRE_TEXT_TO_IMAGE ? 1u : 3u); slots += 2) {
            row("%s slots %u", cadre_capability_name(streaming[k]), slots);
            fixture *fx = fixture_begin();
            script *s = streamer(fx, streaming[k], slots, 100, 0);
            /* Hold the first piece back from the end, so that a cancel always comes before it. */
            if (streaming[k] == CADRE_TEXT_TO_IMAGE) {
                script_hold(s, OP_PIECE);
                script_pass(s, OP_PIECE, 1);
            }
            answer *a = answer_new(fx);
            a->on_piece = cancel_it;
            assert_status(submit(s, a, "hello", NULL), 0);
            until_done(a);
            assert_status(a->status, CADRE_ECANCELED);
            scripts_open(fx);
            answer *next = ask(s, "next");
            until_done(next);
            assert_answered(s, next, "next");
            fixture_end(fx);
        }
}

/* ---- callbacks that call back in ---- */

static void ask_from_here(answer *a)
{
    a->on_piece = NULL;
    a->then = NULL;
    answer *next = answer_new(a->fx);
    if (submit(a->data, next, "next", NULL) != 0) fixture_fault(a->fx, "a submit from inside a callback");
}

static void stop_from_here(answer *a)
{
    a->on_piece = NULL;
    a->then = NULL;
    script *s = a->data;
    if (cadre_worker_stop(a->fx->pool, s->worker) != 0) fixture_fault(a->fx, "a stop from inside a callback");
}

static void close_from_here(answer *a)
{
    a->on_piece = NULL;
    a->then = NULL;
    fixture_start_close(a->fx, NULL);
}

static void callbacks_may_submit_stop_and_close(void **state)
{
    (void)state;
    static void (*const calls[])(answer *) = {ask_from_here, stop_from_here, close_from_here, cancel_it, pause_it};
    static const char *const names[] = {"submit", "stop", "close", "cancel", "pause"};
    for (int c = 0; c < CADRE_CAPABILITY_COUNT; c++)
        for (uint32_t slots = 0; slots < (capability_streams((cadre_capability)c) ? 3u : 1u); slots += 2)
            for (size_t i = 0; i < COUNT(calls); i++)
                for (int from_piece = 0; from_piece < 2; from_piece++) {
                    if (from_piece ? script_work(&(script){.capability = (cadre_capability)c}) == OP_EMBED : i >= 3) continue;
                    if (i == 4 && !capability_streams((cadre_capability)c)) continue;
                    row("%s slots %u: %s from %s", cadre_capability_name((cadre_capability)c), slots, names[i], from_piece ? "on_text or on_step" : "on_done");
                    fixture *fx = fixture_begin();
                    script *s = streamer(fx, (cadre_capability)c, slots, 5, 0);
                    if (from_piece) script_hold(s, OP_PIECE);
                    script_pass(s, OP_PIECE, 1);
                    answer *a = answer_new(fx), *beside = answer_new(fx);
                    a->data = s;
                    if (from_piece)
                        a->on_piece = calls[i];
                    else
                        a->then = calls[i];
                    assert_status(submit(s, a, "hello", NULL), 0);
                    assert_status(submit(s, beside, "beside", NULL), 0);
                    if (from_piece) run_until(fx, heard_one, a);
                    scripts_open(fx);
                    if (i == 4) {
                        settle(fx);
                        a->silent = false;
                        assert_status(cadre_request_resume(fx->pool, a->id), 0);
                    }
                    until_all_done(fx);
                    if (i == 3)
                        assert_status(a->status, CADRE_ECANCELED);
                    else
                        assert_answered(s, a, "hello");
                    /* A close drains: who was accepted is served. A stop finishes what runs, and fails what waits. */
                    if (i == 1 && beside->status != 0)
                        assert_status(beside->status, CADRE_EWORKER);
                    else
                        assert_answered(s, beside, "beside");
                    fixture_end(fx);
                }
}

#define SUITE stream
#include "suite.h"
