/* Entries whose files are not here yet: references among the options, what is looked for, what is brought and when, and who hears of it. */
#include "scripted_files.h"

#include <fcntl.h>
#include <unistd.h>

#define A "hf:owner/name/a.gguf"
#define B "hf:owner/name@v2/deep/b.gguf"
#define PATH_A "{\"path\": \"" A "\"}"

static const char *const kinds[] = {"sync", "async", "preloaded"};

/* A text model of the key, of this loader, whose "path" is A. */
static cadre_entry entry_with(script *s, cadre_loader_kind loader)
{
    cadre_entry entry = entry_of(s);
    entry.backend = loader == CADRE_LOADER_PRELOADED ? "shared-files" : "plain-files";
    entry.loader = (int32_t)loader;
    entry.options = PATH_A;
    entry.load_retries = 0;
    return entry;
}

static script *add_with(fixture *fx, const char *key, cadre_loader_kind loader)
{
    script *s = text_script(fx, key);
    cadre_entry entry = entry_with(s, loader);
    add(fx, &entry);
    return s;
}

static void assert_failed(answer *a, int status, const char *part)
{
    until_done(a);
    assert_status(a->status, status);
    assert_contains(a->detail, part);
}

/* ---- additions ---- */

static void files_that_are_here_are_looked_at_by_the_addition(void **state)
{
    (void)state;
    for (int kind = CADRE_LOADER_SYNC; kind <= CADRE_LOADER_PRELOADED; kind++) {
        row("%s", kinds[kind]);
        scripted_files sf;
        char path[300];
        fixture *fx = files_begin(&sf, NULL);
        files_put(&sf, A);
        files_put(&sf, B);
        script *s = text_script(fx, "m");
        cadre_entry entry = entry_with(s, (cadre_loader_kind)kind);
        const char *const further[] = {B};
        entry.files = further, entry.file_count = 1, entry.license = "MIT";
        add(fx, &entry);
        assert_int_equal(atomic_load(&s->opened), 1);
        assert_string_equal(s->opened_path, files_path(&sf, A, path, sizeof path));
        assert_int_equal(info_of(fx, "m").missing, 0);
        assert_string_equal(info_of(fx, "m").license, "MIT");
        assert_int_equal(atomic_load(&sf.finds), 2);
        serve_once(s);
        assert_status(unload_now(fx, "m").status, 0);
        serve_once(s);
        assert_int_equal(sf.started, 0);
        assert_int_equal(atomic_load(&sf.finds), 2);                          /* they are looked for once */
        assert_int_equal(s->fetch_calls, kind == CADRE_LOADER_ASYNC ? 2 : 0); /* the backend's own asynchronous part */
        files_end(&sf);
    }
}

static void files_that_are_missing_leave_the_entry_unseen(void **state)
{
    (void)state;
    for (int kind = CADRE_LOADER_SYNC; kind <= CADRE_LOADER_PRELOADED; kind++) {
        row("%s", kinds[kind]);
        scripted_files sf;
        fixture *fx = files_begin(&sf, NULL);
        script *s = text_script(fx, "m");
        s->estimate[0] = (cadre_memory_need){CADRE_DEVICE_HOST, UINT64_MAX / 8, 1}; /* what open would say */
        s->estimate_count = 1;
        cadre_entry entry = entry_with(s, (cadre_loader_kind)kind);
        add(fx, &entry);
        cadre_entry_info info = info_of(fx, "m");
        assert_int_equal(info.missing, 1);
        assert_int_equal(info.fetching, 0);
        assert_string_equal(info.license, "");
        assert_state_of(fx, "m", CADRE_MODEL_COLD);
        assert_size(info.resident_bytes, 0);
        assert_int_equal(atomic_load(&s->opened), 0);
        assert_int_equal(sf.started, 0);
        assert_status(remove_now(fx, "m").status, 0);
        assert_int_equal(atomic_load(&s->closed), 0);
        files_end(&sf);
    }
}

static void a_reference_without_a_fetcher_is_refused(void **state)
{
    (void)state;
    fixture *fx = registry_begin();
    register_file_backends(fx);
    script *s = text_script(fx, "m");
    cadre_entry entry = entry_with(s, CADRE_LOADER_SYNC);
    told t = try_add(fx, &entry);
    assert_status(t.status, CADRE_ENOTSUP);
    assert_contains(t.detail, "m: options.path: \"" A "\"");
    const char *const further[] = {B};
    entry.options = "{\"path\": \"/tmp/there\"}", entry.files = further, entry.file_count = 1;
    t = try_add(fx, &entry);
    assert_status(t.status, CADRE_ENOTSUP);
    assert_contains(t.detail, "m: files[0]: \"" B "\"");
    fixture_end(fx);
}

static void a_reference_that_is_wrong_is_refused_with_its_place(void **state)
{
    (void)state;
    static const char manifest[] = "{\"models\": [\n {\"key\": \"m\", \"capability\": \"text-to-text\", \"backend\": \"plain-files\",\n"
                                   "  \"options\": {\"path\": \"hf:only\"}}]}";
    scripted_files sf;
    fixture *fx = files_begin(&sf, NULL);
    text_script(fx, "m");
    told t = {0};
    assert_status(cadre_registry_load_text(fx->pool, manifest, strlen(manifest), NULL, on_told, &t), 0);
    run_until_int(fx, &t.count, 1);
    assert_status(t.status, CADRE_EINVAL);
    assert_contains(t.detail, "manifest:3:14: models[0].options.path: \"hf:only\": a reference has an owner");
    script *s = text_script(fx, "n");
    cadre_entry entry = entry_with(s, CADRE_LOADER_SYNC);
    atomic_store(&sf.find_status, UV_EACCES); /* the system's */
    t = try_add(fx, &entry);
    assert_status(t.status, UV_EACCES);
    assert_contains(t.detail, "the cache cannot be read");
    assert_size(cadre_registry_list(fx->pool, NULL, NULL, NULL), 0);
    files_end(&sf);
}

static void a_fetcher_that_is_not_whole_makes_no_pool(void **state)
{
    (void)state;
    uv_loop_t loop;
    cadre_pool *pool;
    cadre_file_fetcher fetcher = {sizeof fetcher, NULL, NULL, NULL};
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    options.files = &fetcher;
    assert_status(uv_loop_init(&loop), 0);
    assert_status(cadre_pool_create(&pool, &loop, &options), CADRE_EINVAL);
    assert_status(uv_loop_close(&loop), 0);
}

/* ---- loads ---- */

static void an_async_entry_brings_what_is_missing_without_a_thread(void **state)
{
    (void)state;
    scripted_files sf;
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    options.loads_at_once = 1;
    fixture *fx = files_begin(&sf, &options);
    script *s = text_script(fx, "m"), *other = added(fx, "other", 100);
    cadre_entry entry = entry_with(s, CADRE_LOADER_ASYNC);
    entry.options = "{\"path\": \"" A "\", \"other\": \"" B "\"}";
    s->estimate[0] = (cadre_memory_need){CADRE_DEVICE_HOST, 70, 7};
    s->estimate_count = 1;
    files_put(&sf, A);
    add(fx, &entry);
    answer *first = ask(s, "hello"), *second = ask(s, "again");
    files_until_started(&sf, 1);
    assert_string_equal(files_pending(&sf)->references, B " ");
    files_progress(&sf, 30, 120);
    cadre_entry_info info = info_of(fx, "m");
    assert_state_of(fx, "m", CADRE_MODEL_LOADING);
    assert_int_equal(info.fetching, 1);
    assert_int_equal(info.missing, 1);
    assert_size(info.progress.done_bytes, 30);
    assert_size(info.progress.total_bytes, 120);
    assert_string_equal(info.progress.stage, "download");
    assert_size(charged(fx, 0), 0); /* nothing is reserved for it yet */
    serve_once(other);              /* by the one loader thread */
    assert_int_equal(s->fetch_calls + atomic_load(&s->opened) + atomic_load(&s->begun[OP_LOAD]), 0);
    files_arrive(&sf);
    until_done(first);
    until_done(second);
    assert_answered(s, first, "hello");
    assert_int_equal(atomic_load(&s->opened), 1);
    assert_int_equal(s->fetch_calls, 1);
    info = info_of(fx, "m");
    assert_int_equal(info.fetching + info.missing, 0);
    assert_size(info.resident_bytes, 77);
    assert_status(unload_now(fx, "m").status, 0); /* the files stay */
    serve_once(s);
    assert_int_equal(sf.started, 1);
    files_end(&sf);
}

static void what_is_larger_than_the_budget_is_not_downloaded(void **state)
{
    (void)state;
    scripted_files sf;
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    options.memory_bytes = 1000;
    fixture *fx = files_begin(&sf, &options);
    script *s = text_script(fx, "m");
    cadre_entry entry = entry_with(s, CADRE_LOADER_ASYNC);
    entry.estimate_bytes = 1001, entry.load_retries = 5;
    add(fx, &entry);
    answer *a = ask(s, "hello");
    assert_failed(a, CADRE_EBUDGET, "1001 bytes, which is more than the whole budget of 1000; nothing was downloaded");
    assert_int_equal(sf.started, 0);
    assert_state_of(fx, "m", CADRE_MODEL_FAILED);
    assert_refused(s, CADRE_EBUDGET, "1001");
    told t = {0}; /* who wants the files alone gets them */
    assert_status(cadre_registry_fetch(fx->pool, "m", on_told, &t), 0);
    files_until_started(&sf, 1);
    files_arrive(&sf);
    run_until_int(fx, &t.count, 1);
    assert_status(t.status, 0);
    serve_once(s); /* they turned out smaller */
    files_end(&sf);
}

static void what_turns_out_larger_than_the_budget_is_told_after_the_download(void **state)
{
    (void)state;
    scripted_files sf;
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    options.memory_bytes = 1000;
    fixture *fx = files_begin(&sf, &options);
    script *s = text_script(fx, "m");
    s->estimate[0] = (cadre_memory_need){CADRE_DEVICE_HOST, 0, 1001};
    s->estimate_count = 1;
    cadre_entry entry = entry_with(s, CADRE_LOADER_ASYNC);
    entry.estimate_bytes = 1000;
    add(fx, &entry);
    answer *a = ask(s, "hello");
    files_until_started(&sf, 1);
    files_arrive(&sf);
    assert_failed(a, CADRE_EBUDGET, "needs 1001 bytes of host");
    assert_int_equal(info_of(fx, "m").missing, 0);
    files_end(&sf);
}

static void other_kinds_never_download_and_say_what_to_do(void **state)
{
    (void)state;
    for (int kind = CADRE_LOADER_SYNC; kind <= CADRE_LOADER_PRELOADED; kind += 2) {
        row("%s", kinds[kind]);
        scripted_files sf;
        fixture *fx = files_begin(&sf, NULL);
        script *s = add_with(fx, "m", (cadre_loader_kind)kind);
        int looked = atomic_load(&sf.finds);
        answer *a = ask(s, "hello");
        assert_failed(a, UV_ENOENT, A " is not in the cache; bring it with cadre_registry_fetch (cadre-cli fetch m), or make the entry \"async\"");
        assert_int_equal(atomic_load(&sf.finds), looked + 1); /* once more */
        assert_int_equal(sf.started + s->fetch_calls + atomic_load(&s->opened), 0);
        files_put(&sf, A); /* somebody else brought it */
        assert_status(load_now(fx, "m").status, 0);
        serve_once(s);
        assert_int_equal(info_of(fx, "m").missing, 0);
        assert_int_equal(sf.started + s->fetch_calls, 0);
        files_end(&sf);
    }
}

static void a_pinned_entry_fetches_when_it_is_added(void **state)
{
    (void)state;
    scripted_files sf;
    fixture *fx = files_begin(&sf, NULL);
    script *s = text_script(fx, "m");
    cadre_entry entry = entry_with(s, CADRE_LOADER_ASYNC);
    entry.pinned = 1;
    add(fx, &entry);
    files_until_started(&sf, 1);
    files_arrive(&sf);
    until_workers(fx, "m", 1);
    files_end(&sf);
}

/* ---- by hand ---- */

static void a_fetch_by_hand_brings_the_files_and_loads_nothing(void **state)
{
    (void)state;
    for (int kind = CADRE_LOADER_SYNC; kind <= CADRE_LOADER_PRELOADED; kind++) {
        row("%s", kinds[kind]);
        scripted_files sf;
        fixture *fx = files_begin(&sf, NULL);
        script *s = add_with(fx, "m", (cadre_loader_kind)kind);
        if (kind != CADRE_LOADER_ASYNC) assert_failed(ask(s, "too early"), UV_ENOENT, "not in the cache");
        told t[3] = {{0}};
        for (size_t i = 0; i < 2; i++) assert_status(cadre_registry_fetch(fx->pool, "m", on_told, &t[i]), 0);
        files_until_started(&sf, 1);
        assert_status(cadre_registry_fetch(fx->pool, "m", on_told, &t[2]), 0);
        settle(fx);
        assert_int_equal(info_of(fx, "m").fetching, 1);
        assert_int_equal(info_of(fx, "m").state == CADRE_MODEL_LOADING, 0);
        pass_time(fx, 60000); /* somebody waits: it goes on */
        assert_int_equal(t[0].count + t[1].count + t[2].count, 0);
        files_arrive(&sf);
        for (size_t i = 0; i < 3; i++) run_until_int(fx, &t[i].count, 1);
        settle(fx);
        for (size_t i = 0; i < 3; i++) assert_status(t[i].status, 0);
        for (size_t i = 0; i < 3; i++) assert_int_equal(t[i].count, 1);
        assert_int_equal(sf.started, 1);
        assert_size(snapshot_of(fx).loads_started, 0);
        assert_int_equal(info_of(fx, "m").missing, 0);
        if (kind == CADRE_LOADER_PRELOADED) script_until(s, OP_LOAD, 1); /* now that it can */
        serve_once(s);                                                   /* at once: what failed before is forgotten */
        assert_int_equal(fetch_now(fx, "m").status, 0);
        assert_int_equal(sf.started, 1);
        files_end(&sf);
    }
}

static void a_fetch_of_what_has_no_files_is_told_on_a_later_turn(void **state)
{
    (void)state;
    scripted_files sf;
    fixture *fx = files_begin(&sf, NULL);
    added(fx, "m", 0);
    assert_status(fetch_now(fx, "m").status, 0);
    assert_status(cadre_registry_fetch(fx->pool, "nobody", on_told, NULL), CADRE_ENOENT);
    assert_status(cadre_registry_fetch(NULL, "m", on_told, NULL), CADRE_EINVAL);
    assert_int_equal(atomic_load(&sf.finds), 0);
    files_end(&sf);
}

static void loads_and_fetches_by_hand_share_one_download(void **state)
{
    (void)state;
    for (int kind = CADRE_LOADER_SYNC; kind <= CADRE_LOADER_ASYNC; kind++) {
        row("%s", kinds[kind]);
        scripted_files sf;
        fixture *fx = files_begin(&sf, NULL);
        script *s = add_with(fx, "m", (cadre_loader_kind)kind);
        told t = {0};
        assert_status(cadre_registry_fetch(fx->pool, "m", on_told, &t), 0);
        files_until_started(&sf, 1);
        answer *a = ask(s, "hello");
        settle(fx);
        assert_state_of(fx, "m", CADRE_MODEL_LOADING);
        files_arrive(&sf);
        until_done(a);
        assert_answered(s, a, "hello");
        assert_status(t.status, 0);
        assert_int_equal(t.count, 1);
        assert_int_equal(sf.started, 1);
        files_end(&sf);
    }
}

static void an_unload_a_removal_and_the_close_end_a_download(void **state)
{
    (void)state;
    static const char *const ends[] = {"unload", "removal", "close"};
    for (int end = 0; end < 3; end++) {
        row("%s", ends[end]);
        scripted_files sf;
        fixture *fx = files_begin(&sf, NULL);
        script *s = add_with(fx, "m", CADRE_LOADER_ASYNC);
        told fetches[2] = {{0}}, over = {0};
        for (size_t i = 0; i < 2; i++) assert_status(cadre_registry_fetch(fx->pool, "m", on_told, &fetches[i]), 0);
        files_until_started(&sf, 1);
        if (end == 0) assert_status(cadre_model_unload(fx->pool, "m", on_told, &over), 0);
        if (end == 1) assert_status(cadre_registry_remove(fx->pool, "m", on_told, &over), 0);
        if (end == 2) fixture_close(fx, NULL);
        if (end < 2) run_until_int(fx, &over.count, 1);
        for (size_t i = 0; i < 2; i++) {
            assert_int_equal(fetches[i].count, 1);
            assert_status(fetches[i].status, end == 2 ? CADRE_ECLOSED : CADRE_ECANCELED);
        }
        if (end < 2) settle(fx);
        assert_int_equal(sf.cancelled, 1);
        if (end == 0) { /* and it can begin anew */
            answer *a = ask(s, "hello");
            files_until_started(&sf, 2);
            assert_status(cadre_registry_remove(fx->pool, "m", NULL, NULL), CADRE_EBUSY); /* a load */
            files_arrive(&sf);
            until_done(a);
            assert_answered(s, a, "hello");
        }
        files_end(&sf);
    }
}

static void a_close_ends_what_a_request_waits_for(void **state)
{
    (void)state;
    for (int arrives = 0; arrives < 2; arrives++) {
        row("arrives %d", arrives);
        scripted_files sf;
        fixture *fx = files_begin(&sf, NULL);
        script *s = add_with(fx, "m", CADRE_LOADER_ASYNC);
        answer *a = ask(s, "hello");
        files_until_started(&sf, 1);
        fixture_start_close(fx, NULL);
        settle(fx);
        assert_int_equal(a->done, 0); /* accepted: it is served while there is time */
        if (arrives)
            files_arrive(&sf);
        else
            fixture_advance(fx, 5001);
        until_done(a);
        if (arrives)
            assert_answered(s, a, "hello");
        else
            assert_status(a->status, CADRE_ECLOSED);
        fixture_close(fx, NULL);
        assert_int_equal(sf.cancelled, !arrives);
        files_end(&sf);
    }
}

static void a_download_for_nobody_is_cancelled_after_the_grace(void **state)
{
    (void)state;
    scripted_files sf;
    fixture *fx = files_begin(&sf, NULL);
    script *s = add_with(fx, "m", CADRE_LOADER_ASYNC);
    answer *a = ask(s, "hello");
    files_until_started(&sf, 1);
    cadre_request_cancel(fx->pool, a->id);
    until_done(a);
    settle(fx);
    pass_time(fx, 4000);
    assert_int_equal(sf.cancelled, 0);
    a = ask(s, "back"); /* within the grace */
    settle(fx);
    pass_time(fx, 6000);
    assert_int_equal(sf.cancelled, 0);
    cadre_request_cancel(fx->pool, a->id);
    until_done(a);
    settle(fx);
    pass_time(fx, 5001);
    assert_int_equal(sf.cancelled, 1);
    assert_int_equal(info_of(fx, "m").fetching, 0);
    assert_state_of(fx, "m", CADRE_MODEL_COLD);
    assert_size(snapshot_of(fx).loads_failed, 0);
    files_end(&sf);
}

/* ---- what fails ---- */

static void a_download_that_fails_is_tried_again_while_somebody_waits(void **state)
{
    (void)state;
    scripted_files sf;
    fixture *fx = files_begin(&sf, NULL);
    script *s = text_script(fx, "m");
    cadre_entry entry = entry_with(s, CADRE_LOADER_ASYNC);
    entry.load_retries = 1, entry.retry_delay_ms = 100;
    add(fx, &entry);
    answer *a = ask(s, "hello");
    files_until_started(&sf, 1);
    told t = {0};
    assert_status(cadre_registry_fetch(fx->pool, "m", on_told, &t), 0);
    settle(fx);
    files_fail(&sf, UV_ECONNRESET, "the hub hung up");
    run_until_int(fx, &t.count, 1); /* who fetches by hand hears it at once */
    assert_status(t.status, UV_ECONNRESET);
    assert_contains(t.detail, "the hub hung up");
    assert_int_equal(a->done, 0);
    assert_size(events_of(CADRE_EVENT_LOAD_FAILED, "m", 0), 1);
    pass_time(fx, 126);
    files_until_started(&sf, 2);
    files_fail(&sf, UV_ECONNRESET, "the hub hung up again");
    assert_failed(a, UV_ECONNRESET, "again");
    assert_int_equal(t.count, 1);
    assert_state_of(fx, "m", CADRE_MODEL_FAILED);
    pass_time(fx, 300);
    a = ask(s, "once more");
    files_until_started(&sf, 3);
    files_fail(&sf, UV_EACCES, "the hub wants a token"); /* this would not change */
    assert_failed(a, UV_EACCES, "token");
    assert_int_equal(sf.started, 3);
    files_end(&sf);
}

static void a_download_that_claims_too_much_is_found_out(void **state)
{
    (void)state;
    scripted_files sf;
    fixture *fx = files_begin(&sf, NULL);
    script *s = add_with(fx, "m", CADRE_LOADER_ASYNC);
    answer *a = ask(s, "hello");
    files_until_started(&sf, 1);
    files_fail(&sf, 0, NULL);
    assert_failed(a, UV_ENOENT, "it was fetched, and is not in the cache all the same");
    assert_int_equal(sf.started, 1);
    sf.start_fails = true;
    told t = fetch_now(fx, "m");
    assert_status(t.status, CADRE_ENOMEM);
    files_end(&sf);
}

static void a_download_obeys_the_time_limits_of_loads(void **state)
{
    (void)state;
    scripted_files sf;
    fixture *fx = files_begin(&sf, NULL);
    script *s = text_script(fx, "m");
    cadre_entry entry = entry_with(s, CADRE_LOADER_ASYNC);
    entry.stall_timeout_ms = 1000, entry.load_timeout_ms = 5000;
    add(fx, &entry);
    answer *a = ask(s, "stalls");
    files_until_started(&sf, 1);
    pass_time(fx, 1500); /* silent so far */
    files_progress(&sf, 1, 9);
    pass_time(fx, 900);
    files_progress(&sf, 2, 9);
    pass_time(fx, 900);
    assert_int_equal(a->done, 0);
    pass_time(fx, 101);
    assert_failed(a, CADRE_ETIMEDOUT, "no progress for stall_timeout_ms");
    assert_int_equal(sf.cancelled, 1);
    pass_time(fx, 1000);
    a = ask(s, "takes too long");
    files_until_started(&sf, 2);
    told t = {0};
    assert_status(cadre_registry_fetch(fx->pool, "m", on_told, &t), 0);
    pass_time(fx, 5001);
    assert_failed(a, CADRE_ETIMEDOUT, "longer than load_timeout_ms");
    assert_int_equal(sf.cancelled, 1); /* who fetches by hand has time */
    assert_int_equal(t.count, 0);
    pass_time(fx, 2000);
    a = ask(s, "waits for the same");
    files_arrive(&sf);
    until_done(a);
    assert_answered(s, a, "waits for the same");
    assert_status(t.status, 0);
    assert_status(unload_now(fx, "m").status, 0);
    files_end(&sf);
}

static void files_that_went_are_looked_for_again(void **state)
{
    (void)state;
    for (int kind = CADRE_LOADER_SYNC; kind <= CADRE_LOADER_PRELOADED; kind++) {
        row("%s", kinds[kind]);
        scripted_files sf;
        char path[300];
        fixture *fx = files_begin(&sf, NULL);
        files_put(&sf, A);
        script *s = add_with(fx, "m", (cadre_loader_kind)kind);
        serve_once(s);
        assert_status(unload_now(fx, "m").status, 0);
        files_remove(&sf, A);
        atomic_store(&s->status[OP_LOAD], UV_ENOENT);
        s->detail = "the file went";
        assert_failed(ask(s, "hello"), UV_ENOENT, "the file went"); /* as the backend says */
        atomic_store(&s->status[OP_LOAD], 0);
        pass_time(fx, 1000);
        answer *a = ask(s, "again");
        sf.version = '2'; /* the cache names it otherwise now */
        if (kind == CADRE_LOADER_ASYNC) {
            files_until_started(&sf, 1);
            files_arrive(&sf);
        } else {
            assert_failed(a, UV_ENOENT, "is not in the cache; bring it");
            files_put(&sf, A);
            pass_time(fx, 2000);
            a = ask(s, "again");
        }
        until_done(a);
        assert_answered(s, a, "again");
        assert_string_equal(s->opened_path, files_path(&sf, A, path, sizeof path));
        assert_int_equal(sf.started, kind == CADRE_LOADER_ASYNC);
        files_end(&sf);
    }
}

static void what_the_backend_says_of_fetched_files_fails_the_load(void **state)
{
    (void)state;
    scripted_files sf;
    fixture *fx = files_begin(&sf, NULL);
    script *s = add_with(fx, "m", CADRE_LOADER_ASYNC);
    s->open_status = CADRE_EFORMAT;
    s->detail = "no magic";
    told t = {0};
    assert_status(cadre_registry_fetch(fx->pool, "m", on_told, &t), 0);
    files_until_started(&sf, 1);
    files_arrive(&sf);
    run_until_int(fx, &t.count, 1);
    assert_status(t.status, 0); /* they are here */
    assert_failed(ask(s, "hello"), CADRE_EFORMAT, "no magic");
    s->open_status = 0;
    pass_time(fx, 1000);
    serve_once(s);
    files_end(&sf);
}

static void a_look_that_never_returns_does_not_hold_up_the_close(void **state)
{
    (void)state;
    scripted_files sf;
    fixture *fx = files_begin(&sf, NULL);
    script *s = add_with(fx, "m", CADRE_LOADER_ASYNC);
    gate_hold(&sf.finding);
    int looked = atomic_load(&sf.finds);
    answer *a = ask(s, "hello");
    while (atomic_load(&sf.finds) == looked) settle(fx);
    cadre_close_options options = CADRE_CLOSE_OPTIONS_INIT;
    options.drain_ms = 0;
    options.abandon_after_ms = 50;
    fixture_start_close(fx, &options);
    until_done(a);
    assert_status(a->status, CADRE_ECLOSED);
    fixture_advance(fx, 51);
    fixture_close(fx, NULL);
    assert_size(fx->report.abandoned_threads, 1);
    fx->expect_report = true;
    files_put(&sf, A);
    gate_open(&sf.finding);
    while (atomic_load(&s->opened) != atomic_load(&s->closed)) fixture_turn(fx);
    files_end(&sf);
}

static void a_look_that_takes_too_long_fails_the_load(void **state)
{
    (void)state;
    for (int kind = CADRE_LOADER_SYNC; kind <= CADRE_LOADER_PRELOADED; kind++) {
        row("%s", kinds[kind]);
        scripted_files sf;
        fixture *fx = files_begin(&sf, NULL);
        script *s = text_script(fx, "m");
        cadre_entry entry = entry_with(s, (cadre_loader_kind)kind);
        entry.load_timeout_ms = 100;
        add(fx, &entry);
        gate_hold(&sf.finding);
        int looked = atomic_load(&sf.finds);
        answer *a = ask(s, "hello");
        while (atomic_load(&sf.finds) == looked) settle(fx);
        pass_time(fx, 99);
        assert_int_equal(a->done, 0);
        pass_time(fx, 2);
        assert_failed(a, CADRE_ETIMEDOUT, "looking at the files took longer than load_timeout_ms");
        assert_state_of(fx, "m", CADRE_MODEL_FAILED);
        pass_time(fx, 1000);
        a = ask(s, "hello"); /* the next attempt has a time of its own */
        pass_time(fx, 99);
        assert_int_equal(a->done, 0);
        files_put(&sf, A);
        gate_open(&sf.finding);
        until_done(a);
        assert_answered(s, a, "hello");
        assert_int_equal(sf.started, 0);
        files_end(&sf);
    }
}

static void a_look_whose_entry_goes_is_forgotten(void **state)
{
    (void)state;
    for (int removed = 0; removed < 2; removed++) {
        row("removed %d", removed);
        scripted_files sf;
        fixture *fx = files_begin(&sf, NULL);
        script *s = add_with(fx, "m", CADRE_LOADER_ASYNC);
        files_put(&sf, A);
        gate_hold(&sf.finding);
        int looked = atomic_load(&sf.finds);
        told t = {0}, over = {0};
        assert_status(cadre_registry_fetch(fx->pool, "m", on_told, &t), 0);
        while (atomic_load(&sf.finds) == looked) settle(fx);
        if (removed)
            assert_status(cadre_registry_remove(fx->pool, "m", on_told, &over), 0);
        else
            assert_status(cadre_model_unload(fx->pool, "m", on_told, &over), 0);
        run_until_int(fx, &over.count, 1);
        assert_status(t.status, CADRE_ECANCELED);
        gate_open(&sf.finding);
        run_until_atomic(fx, &s->closed, 1); /* what it opened is closed by the reaper */
        if (!removed) serve_once(s);
        assert_int_equal(sf.started, 0);
        files_end(&sf);
    }
}

/* ---- all of it, in any order ---- */

static uint32_t draw(uint32_t *seed, uint32_t below)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 16) % below;
}

static void stir(scripted_files *sf, script **scripts, told *tolds, int *told_count, uint32_t *seed)
{
    static const char *const keys[] = {"m0", "m1", "m2"};
    fixture *fx = sf->fx;
    uint32_t which = draw(seed, 3);
    told *t = &tolds[*told_count];
    int rc = -1;
    download *d = sf->started ? &sf->downloads[sf->started - 1] : NULL;
    switch (draw(seed, 9)) {
    case 0: (void)submit(scripts[which], answer_new(fx), "hello", NULL); break;
    case 1: rc = cadre_registry_fetch(fx->pool, keys[which], on_told, t); break;
    case 2: rc = cadre_model_load(fx->pool, keys[which], on_told, t); break;
    case 3: rc = cadre_model_unload(fx->pool, keys[which], on_told, t); break;
    case 4:
        for (answer *a = fx->answers; a; a = a->next)
            if (a->rc == 0 && !a->done) cadre_request_cancel(fx->pool, a->id);
        break;
    case 5:
        if (d && d->promise) files_arrive(sf);
        break;
    case 6:
        if (d && d->promise) files_fail(sf, draw(seed, 2) ? UV_ECONNRESET : 0, "lost");
        break;
    case 7: (draw(seed, 2) ? files_put : files_remove)(sf, draw(seed, 2) ? A : B); break;
    default: pass_time(fx, draw(seed, 4000));
    }
    if (rc == 0) ++*told_count;
    if (draw(seed, 3) == 0) settle(fx);
}

static void everybody_is_told_once_whatever_happens(void **state)
{
    (void)state;
    for (uint32_t first = 1; first <= 60; first++) {
        row("seed %u", first);
        uint32_t seed = first * 7919;
        scripted_files sf;
        static told tolds[80];
        int told_count = 0;
        memset(tolds, 0, sizeof tolds);
        fixture *fx = files_begin(&sf, NULL);
        script *scripts[3];
        for (int i = 0; i < 3; i++) {
            char key[8];
            snprintf(key, sizeof key, "m%d", i);
            scripts[i] = text_script(fx, key);
            cadre_entry entry = entry_with(scripts[i], (cadre_loader_kind)i);
            entry.options = "{\"path\": \"" A "\", \"other\": \"" B "\"}";
            entry.load_retries = 1;
            add(fx, &entry);
        }
        for (int i = 0; i < 70 && sf.started < DOWNLOADS_MAX - 2; i++) stir(&sf, scripts, tolds, &told_count, &seed);
        cadre_close_options now = CADRE_CLOSE_OPTIONS_INIT; /* the clock stands still */
        now.drain_ms = 0;
        fixture_close(fx, &now);
        for (int i = 0; i < told_count; i++) assert_int_equal(tolds[i].count, 1);
        files_end(&sf);
    }
}

/* ---- files read ahead ---- */

typedef struct ahead {
    fixture *fx;
    const char *paths[3];
    size_t count;
    bool cancels;
    int done, status, reports;
    uint64_t total, most;
    char detail[512];
    cadre_weights_future *future;
} ahead;

static void on_read(cadre_future *future, int status, const char *detail, void *data)
{
    ahead *r = data;
    (void)future;
    r->done++;
    r->status = status;
    snprintf(r->detail, sizeof r->detail, "%s", detail);
    fixture_wake(r->fx);
}

static void on_read_progress(cadre_future *future, const cadre_progress *progress, void *data)
{
    ahead *r = data;
    r->reports++;
    if (r->reports == 1) r->total = progress->total_bytes; /* known from the first on */
    if (progress->done_bytes > r->most) r->most = progress->done_bytes;
    if (strcmp(progress->stage, "read") != 0) fixture_fault(r->fx, "the stage is \"%s\"", progress->stage);
    if (r->cancels) cadre_future_cancel(future);
}

static cadre_text_to_text_future *load_ahead(cadre_load_context *context, void *data)
{
    ahead *r = data;
    r->future = cadre_load_read_files(context, r->paths, r->count);
    if (!r->future) return NULL;
    cadre_future *future = cadre_weights_future_untyped(r->future);
    assert_status(cadre_future_on_complete(future, on_read, r), 0);
    cadre_future_on_progress(future, on_read_progress, r);
    return NULL; /* the read goes on alone: the context is gone before it ends */
}

static void read_ahead(ahead *r)
{
    const cadre_text_to_text_loader loader = {sizeof loader, load_ahead, r, NULL};
    assert_status(cadre_spawn_text_to_text(r->fx->pool, "m", &loader, NULL, NULL, NULL, NULL, NULL), 0);
    run_until_int(r->fx, &r->done, 1);
    assert_int_equal(r->done, 1);
    cadre_weights *weights = cadre_weights_future_get(r->future);
    assert_int_equal(weights != NULL, r->status == 0);
    if (weights) assert_null(cadre_weights_payload(weights));
    cadre_weights_future_release(r->future);
    settle(r->fx);
}

static void on_stat(uv_fs_t *fs)
{
    uv_fs_req_cleanup(fs);
}

/* libuv's own threads come with the first file request and stay: before the fixture counts. */
static void start_uv_threads(void)
{
    uv_loop_t loop;
    uv_fs_t fs;
    assert_status(uv_loop_init(&loop), 0);
    assert_status(uv_fs_stat(&loop, &fs, "/", on_stat), 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_status(uv_loop_close(&loop), 0);
}

static void make_file(const char *path, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    for (size_t i = 0; i < bytes; i++) putc((int)(i & 0xff), file);
    assert_int_equal(fclose(file), 0);
}

static void wait_at_gate(uv_work_t *work)
{
    gate_wait(work->data);
}

static void no_more(uv_work_t *work, int status)
{
    (void)work, (void)status;
}

/* All of libuv's threads have other work. */
static void a_read_that_does_not_end_does_not_hold_up_the_close(void **state)
{
    (void)state;
    start_uv_threads();
    uv_loop_t other;
    uv_work_t works[8]; /* more than there are threads */
    gate busy;
    gate_init(&busy);
    gate_hold(&busy);
    assert_status(uv_loop_init(&other), 0);
    for (size_t i = 0; i < COUNT(works); i++) {
        works[i].data = &busy;
        assert_status(uv_queue_work(&other, &works[i], wait_at_gate, no_more), 0);
    }
    ahead r = {.fx = fixture_begin(), .count = 1, .paths = {"/dev/null"}};
    const cadre_text_to_text_loader loader = {sizeof loader, load_ahead, &r, NULL};
    assert_status(cadre_spawn_text_to_text(r.fx->pool, "m", &loader, NULL, NULL, NULL, NULL, NULL), 0);
    settle(r.fx);
    assert_int_equal(r.done, 0);
    cadre_close_options options = CADRE_CLOSE_OPTIONS_INIT;
    options.drain_ms = 0;
    options.abandon_after_ms = 50;
    fixture_start_close(r.fx, &options);
    run_until_int(r.fx, &r.done, 1);
    assert_status(r.status, CADRE_ECLOSED);
    cadre_weights_future_release(r.future);
    fixture_advance(r.fx, 51);
    fixture_close(r.fx, NULL);
    gate_open(&busy);
    uv_run(&other, UV_RUN_DEFAULT);
    assert_status(uv_loop_close(&other), 0);
    gate_destroy(&busy);
    uv_run(&r.fx->loop, UV_RUN_DEFAULT);        /* the read comes back to a pool that is gone */
    assert_size(r.fx->report.held_promises, 0); /* it is not the host's */
    assert_size(r.fx->report.abandoned_threads, 0);
    fixture_end(r.fx);
}

static void files_are_read_ahead_of_a_load(void **state)
{
    (void)state;
    char folder[] = "/tmp/cadre-read-XXXXXX", one[64], two[64];
    start_uv_threads();
    assert_non_null(mkdtemp(folder));
    snprintf(one, sizeof one, "%s/one", folder);
    snprintf(two, sizeof two, "%s/two", folder);
    make_file(one, (3 << 20) + 5);
    make_file(two, 7);
    const struct {
        const char *paths[3];
        size_t count;
        bool cancels;
        int status;
        const char *part;
    } rows[] = {
        {{one, two, one}, 3, false, 0, ""},
        {{two}, 1, false, 0, ""},
        {{NULL}, 0, false, 0, ""},
        {{one, "/nowhere/at all"}, 2, false, UV_ENOENT, "/nowhere/at all: "},
        {{folder}, 1, false, UV_EISDIR, folder},
        {{"/dev/zero"}, 1, true, CADRE_ECANCELED, ""},
        {{one, NULL}, 2, false, CADRE_EINVAL, "NULL"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        row("row %zu", i);
        ahead r = {.fx = fixture_begin(), .count = rows[i].count, .cancels = rows[i].cancels};
        memcpy(r.paths, rows[i].paths, sizeof r.paths);
        read_ahead(&r);
        assert_status(r.status, rows[i].status);
        assert_contains(r.detail, rows[i].part);
        if (i == 0) assert_size(r.total, 2 * ((3 << 20) + 5) + 7);
        if (i == 0) assert_size(r.most, r.total);
        if (r.cancels) assert_int_equal(r.reports, 1);
        fixture_end(r.fx);
    }
    unlink(one);
    unlink(two);
    rmdir(folder);
}

#define SUITE files
#include "suite.h"
