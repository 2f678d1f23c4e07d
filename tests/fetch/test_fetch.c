/* libcadre-fetch against a hub of the test's own: files come into the cache as the hub's own library lays them out, are found, and are not asked for again. */
#define TESTS_fetch(X)                                                                                                                                         \
    X(one_file_comes_and_is_found)                                                                                                                             \
    X(several_files_come_side_by_side)                                                                                                                         \
    X(a_split_gguf_comes_with_all_its_parts)                                                                                                                   \
    X(what_is_there_is_not_asked_for)                                                                                                                          \
    X(a_commit_is_a_revision)                                                                                                                                  \
    X(a_revision_that_moves_takes_all_files_along)                                                                                                             \
    X(a_revision_that_moves_between_two_questions)                                                                                                             \
    X(large_files_come_from_a_store_that_never_sees_the_token)                                                                                                 \
    X(a_renamed_repository_is_followed)                                                                                                                        \
    X(a_blob_of_another_revision_is_linked)                                                                                                                    \
    X(waiters_join_and_leave_on_their_own)                                                                                                                     \
    X(the_last_waiters_cancel_keeps_what_came)                                                                                                                 \
    X(a_close_in_the_midst_leaves_nothing)                                                                                                                     \
    X(offline_asks_nobody)                                                                                                                                     \
    X(no_references_is_an_answer)                                                                                                                              \
    X(too_many_files_are_refused)                                                                                                                              \
    X(bad_options_are_refused)

#include "rig.h"

#include <sys/stat.h>
#include <unistd.h>

static void one_file_comes_and_is_found(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    char etag[130], target[256], commit[64] = "";
    hub_file(r, "config.json", 1234, 1, "lfs", etag);
    rig_open(r);
    assert_null(found(r, "hf:o/n/config.json"));
    assert_status(fetch(r, &o, "hf:o/n/config.json"), 0);
    assert_content(r, "hf:o/n/config.json", etag);
    assert_contains(found(r, "hf:o/n/config.json"), "/models--o--n/snapshots/" COMMIT_1 "/config.json");
    ssize_t n = readlink(found(r, "hf:o/n/config.json"), target, sizeof target - 1);
    assert_true(n > 0);
    target[n] = '\0';
    assert_contains(target, "../../blobs/");
    assert_string_equal(target + strlen("../../blobs/"), etag);
    FILE *ref = fopen(below(r, "refs/main"), "r");
    assert_non_null(ref);
    assert_non_null(fgets(commit, sizeof commit, ref));
    fclose(ref);
    assert_string_equal(commit, COMMIT_1);
    assert_int_equal(file_size(below(r, "blobs/%s.incomplete", etag)), -1);
    assert_int_equal(hub_log(r, "HEAD", NULL), 1);
    assert_int_equal(hub_log(r, "GET", NULL), 1);
    assert_true(o.reports > 0);
    assert_string_equal(o.progress.stage, "download");
    assert_int_equal(o.progress.done_bytes, 1234);
    assert_int_equal(o.progress.total_bytes, 1234);
    rig_end(r);
}

static void several_files_come_side_by_side(void **state)
{
    (void)state;
    static const char *const kinds[] = {"lfs", "git", "weak"};
    rig *r = rig_begin();
    outcome o;
    char sha[9][65];
    for (unsigned i = 0; i < 9; i++) {
        const char *answer = hub_command(r, "file|o/n|main|" COMMIT_1 "|deep/er/file %u#?%%.bin|%zu|%u|%s", i, (size_t)i * 700001, i, kinds[i % 3]);
        memcpy(sha[i], answer, 64);
        sha[i][64] = '\0';
    }
    rig_open(r);
    fetch_begin(r, &o, "hf:o/n/deep/er/file 0#?%.bin", "hf:o/n/deep/er/file 1#?%.bin", "hf:o/n/deep/er/file 2#?%.bin", "hf:o/n/deep/er/file 3#?%.bin",
                "hf:o/n/deep/er/file 4#?%.bin", "hf:o/n/deep/er/file 5#?%.bin", "hf:o/n/deep/er/file 6#?%.bin", "hf:o/n/deep/er/file 7#?%.bin",
                "hf:o/n/deep/er/file 8#?%.bin", "hf:o/n/deep/er/file 8#?%.bin", NULL);
    assert_status(fetch_wait(r, &o), 0);
    for (unsigned i = 0; i < 9; i++) {
        char reference[64];
        snprintf(reference, sizeof reference, "hf:o/n/deep/er/file %u#?%%.bin", i);
        assert_content(r, reference, sha[i]);
    }
    assert_int_equal(o.progress.done_bytes, (uint64_t)36 * 700001);
    assert_int_equal(o.progress.total_bytes, (uint64_t)36 * 700001);
    assert_int_equal(hub_log(r, "GET", NULL), 8); /* an empty file is made without one */
    assert_contains(r->log, "no hash");
    rig_end(r);
}

static void a_split_gguf_comes_with_all_its_parts(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    char etag[3][130];
    for (unsigned i = 0; i < 3; i++) {
        char path[64];
        snprintf(path, sizeof path, "Q4/model-%05u-of-00003.gguf", i + 1);
        hub_file(r, path, 5000 + i, i, "lfs", etag[i]);
    }
    rig_open(r);
    assert_status(fetch(r, &o, "hf:o/n/Q4/model-00001-of-00003.gguf"), 0);
    assert_content(r, "hf:o/n/Q4/model-00001-of-00003.gguf", etag[0]);
    assert_content(r, "hf:o/n/Q4/model-00002-of-00003.gguf", etag[1]);
    assert_content(r, "hf:o/n/Q4/model-00003-of-00003.gguf", etag[2]);
    assert_int_equal(o.progress.total_bytes, 15003);
    /* One part gone: the whole is not there, the others are. */
    assert_int_equal(unlink(below(r, "snapshots/" COMMIT_1 "/Q4/model-00003-of-00003.gguf")), 0);
    assert_null(found(r, "hf:o/n/Q4/model-00001-of-00003.gguf"));
    assert_non_null(found(r, "hf:o/n/Q4/model-00002-of-00003.gguf"));
    assert_status(fetch(r, &o, "hf:o/n/Q4/model-00001-of-00003.gguf"), 0);
    assert_non_null(found(r, "hf:o/n/Q4/model-00001-of-00003.gguf"));
    assert_int_equal(hub_log(r, "GET", NULL), 3); /* its blob was there */
    rig_end(r);
}

static void what_is_there_is_not_asked_for(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    hub_file(r, "a", 100, 1, "lfs", NULL);
    rig_open(r);
    assert_status(fetch(r, &o, "hf:o/n/a"), 0);
    unsigned before = hub_log(r, NULL);
    assert_status(fetch(r, &o, "hf:o/n/a"), 0);
    assert_status(fetch(r, &o, "hf:o/n@main/a"), 0);
    assert_int_equal(hub_log(r, NULL), before);
    rig_end(r);
}

static void a_commit_is_a_revision(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    char etag[130], branch[130];
    hub_file(r, "a", 100, 1, "lfs", etag);
    snprintf(branch, sizeof branch, "%.64s", hub_command(r, "file|o/n|refs/pr/1|" COMMIT_2 "|a|200|2|lfs"));
    rig_open(r);
    assert_status(fetch(r, &o, "hf:o/n@" COMMIT_1 "/a"), 0);
    assert_content(r, "hf:o/n@" COMMIT_1 "/a", etag);
    assert_null(found(r, "hf:o/n/a")); /* nobody has said what main is */
    assert_int_equal(file_size(below(r, "refs")), -1);
    assert_status(fetch(r, &o, "hf:o/n@refs%2Fpr%2F1/a"), 0);
    assert_content(r, "hf:o/n@refs%2Fpr%2F1/a", branch);
    assert_true(file_size(below(r, "refs/refs/pr/1")) == 40);
    rig_end(r);
}

static void a_revision_that_moves_takes_all_files_along(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    char old_a[130], new_a[130], new_b[130];
    hub_file(r, "a", 100, 1, "lfs", old_a);
    rig_open(r);
    assert_status(fetch(r, &o, "hf:o/n/a"), 0);
    snprintf(new_a, sizeof new_a, "%.64s", hub_command(r, "file|o/n|main|" COMMIT_2 "|a|100|3|lfs"));
    snprintf(new_b, sizeof new_b, "%.64s", hub_command(r, "file|o/n|main|" COMMIT_2 "|b|100|4|lfs"));
    assert_status(fetch(r, &o, "hf:o/n/a"), 0); /* there: no question */
    assert_content(r, "hf:o/n/a", old_a);
    fetch_begin(r, &o, "hf:o/n/a", "hf:o/n/b", NULL); /* b is looked up, and main has moved */
    assert_status(fetch_wait(r, &o), 0);
    assert_content(r, "hf:o/n/a", new_a);
    assert_content(r, "hf:o/n/b", new_b);
    assert_content(r, "hf:o/n@" COMMIT_1 "/a", old_a);
    rig_end(r);
}

/* The second file's head is of before the move, and the whole of it is in the cache for that commit. */
static void a_revision_that_moves_between_two_questions(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    hub_command(r, "file|o/n|main|" COMMIT_1 "|b|100|2|lfs");
    hub_command(r, "file|o/n|main|" COMMIT_2 "|a|100|1|lfs");
    hub_command(r, "file|o/n|main|" COMMIT_2 "|b|100|2|lfs");
    hub_command(r, "fault|hub|HEAD|b|1|header|X-Repo-Commit|" COMMIT_1);
    rig_open(r);
    fetch_begin(r, &o, "hf:o/n/a", "hf:o/n/b", NULL);
    assert_status(fetch_wait(r, &o), 0);
    assert_contains(found(r, "hf:o/n/a"), COMMIT_2);
    assert_contains(found(r, "hf:o/n/b"), COMMIT_2);
    rig_end(r);
}

static void large_files_come_from_a_store_that_never_sees_the_token(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    char etag[130];
    hub_file(r, "a", 3000000, 1, "lfs", etag);
    hub_command(r, "switch|redirect|1");
    hub_command(r, "switch|gated|s3cret-t0ken");
    r->options.token = "s3cret-t0ken";
    rig_open(r);
    hub_command(r, "fault|store|GET|*|1|cut|1000000");
    assert_status(fetch(r, &o, "hf:o/n/a"), 0);
    assert_content(r, "hf:o/n/a", etag);
    assert_int_equal(hub_log(r, "GET", "\tstore", NULL), 2);
    assert_int_equal(hub_log(r, "\tstore", "s3cret", NULL), 0);
    assert_int_equal(hub_log(r, "\thub", "Bearer_s3cret-t0ken", NULL), hub_log(r, "\thub", NULL));
    assert_null(strstr(r->log, "s3cret"));
    assert_null(strstr(r->log, "signature"));
    rig_end(r);
}

static void a_renamed_repository_is_followed(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    char sha[65];
    snprintf(sha, sizeof sha, "%s", hub_command(r, "file|new/n|main|" COMMIT_1 "|a|100|1|lfs"));
    hub_command(r, "switch|relative|1");
    rig_open(r);
    assert_status(fetch(r, &o, "hf:old/n/a"), 0);
    assert_content(r, "hf:old/n/a", sha);
    rig_end(r);
}

static void a_blob_of_another_revision_is_linked(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    char etag[130];
    hub_file(r, "a", 100, 1, "lfs", etag);
    hub_command(r, "file|o/n|v2|" COMMIT_2 "|renamed|100|1|lfs");
    rig_open(r);
    assert_status(fetch(r, &o, "hf:o/n/a"), 0);
    assert_status(fetch(r, &o, "hf:o/n@v2/renamed"), 0);
    assert_content(r, "hf:o/n@v2/renamed", etag);
    assert_int_equal(hub_log(r, "GET", NULL), 1);
    rig_end(r);
}

static bool half(void *data)
{
    outcome *o = data;
    return o->settled || o->progress.done_bytes >= 1000000;
}

static void waiters_join_and_leave_on_their_own(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome a, b;
    char etag[130];
    hub_file(r, "a", 4000000, 1, "lfs", etag);
    hub_command(r, "fault|hub|GET|a|1|hold|2000000");
    rig_open(r);
    fetch_begin(r, &a, "hf:o/n/a", NULL);
    fetch_begin(r, &b, "hf:o/n/a", NULL);
    run_until(r->fx, half, &a);
    cadre_weights_future_cancel(a.future);
    assert_status(fetch_wait(r, &a), CADRE_ECANCELED);
    hub_command(r, "release");
    assert_status(fetch_wait(r, &b), 0);
    assert_content(r, "hf:o/n/a", etag);
    assert_int_equal(hub_log(r, "GET", NULL), 1);
    rig_end(r);
}

static void the_last_waiters_cancel_keeps_what_came(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome a, b;
    char etag[130];
    hub_file(r, "a", 4000000, 1, "lfs", etag);
    hub_command(r, "fault|hub|GET|a|1|hold|2000000");
    rig_open(r);
    fetch_begin(r, &a, "hf:o/n/a", NULL);
    fetch_begin(r, &b, "hf:o/n/a", NULL);
    run_until(r->fx, half, &a);
    cadre_weights_future_cancel(a.future);
    cadre_weights_future_release(b.future); /* completes it too */
    b.future = NULL;
    assert_status(fetch_wait(r, &a), CADRE_ECANCELED);
    rig_close(r);
    int64_t kept = file_size(below(r, "blobs/%s.incomplete", etag));
    assert_in_range(kept, 1000000, 2000000);
    assert_int_equal(hub_log(r, "GET", "Range", NULL), 0);
    hub_command(r, "release");
    rig_open(r);
    assert_status(fetch(r, &a, "hf:o/n/a"), 0);
    assert_content(r, "hf:o/n/a", etag);
    char range[64];
    snprintf(range, sizeof range, "bytes=%lld-", (long long)kept);
    assert_int_equal(hub_log(r, "GET", range, NULL), 1);
    rig_end(r);
}

static void a_close_in_the_midst_leaves_nothing(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    hub_file(r, "a", 4000000, 1, "lfs", NULL);
    hub_file(r, "b", 4000000, 2, "lfs", NULL);
    hub_command(r, "fault|hub|GET|*|2|hold|2000000");
    rig_open(r);
    fetch_begin(r, &o, "hf:o/n/a", "hf:o/n/b", NULL);
    run_until(r->fx, half, &o);
    cadre_fetcher_close(r->fetcher, NULL, NULL); /* before its pool: what is under way fails */
    assert_status(fetch_wait(r, &o), CADRE_ECLOSED);
    fixture_end(r->fx); /* asserts that the loop closes */
    r->fx = NULL;
    rig_end(r);
}

static void offline_asks_nobody(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    hub_file(r, "a", 100, 1, "lfs", NULL);
    hub_file(r, "b", 100, 1, "lfs", NULL);
    rig_open(r);
    assert_status(fetch(r, &o, "hf:o/n/a"), 0);
    rig_close(r);
    unsigned before = hub_log(r, NULL);
    setenv("HF_HUB_OFFLINE", "yes", 1);
    rig_open(r);
    assert_status(fetch(r, &o, "hf:o/n/a"), 0);
    assert_status(fetch(r, &o, "hf:o/n/b"), UV_ENETUNREACH);
    assert_contains(o.detail, "offline");
    assert_contains(o.detail, "o/n: b");
    assert_int_equal(hub_log(r, NULL), before);
    unsetenv("HF_HUB_OFFLINE");
    rig_end(r);
}

static void no_references_is_an_answer(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    rig_open(r);
    o = (outcome){0};
    fetch_begin(r, &o, NULL, NULL);
    assert_status(fetch_wait(r, &o), 0);
    assert_status(fetch(r, &o, "hf:o/../a"), CADRE_EINVAL);
    assert_contains(o.detail, "hf:o/../a");
    rig_end(r);
}

static void too_many_files_are_refused(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    rig_open(r);
    assert_status(fetch(r, &o, "hf:o/n/a-00001-of-01025.gguf"), CADRE_EINVAL);
    assert_contains(o.detail, "1024 parts");
    fetch_begin(r, &o, "hf:o/n/a-00001-of-01024.gguf", "hf:o/n/b-00001-of-01024.gguf", NULL);
    assert_status(fetch_wait(r, &o), CADRE_EINVAL);
    assert_contains(o.detail, "1024 files");
    assert_int_equal(hub_log(r, NULL), 0);
    rig_end(r);
}

static void bad_options_are_refused(void **state)
{
    (void)state;
    static const char *const endpoints[] = {"", "https://", "ftp://x", "huggingface.co", "http://a b", "https://h/?q", "http://user@h"};
    uv_loop_t loop;
    cadre_fetcher *fetcher;
    uv_loop_init(&loop);
    assert_status(cadre_fetcher_create(NULL, &loop, NULL), CADRE_EINVAL);
    assert_status(cadre_fetcher_create(&fetcher, NULL, NULL), CADRE_EINVAL);
    for (size_t i = 0; i < COUNT(endpoints); i++) {
        cadre_fetch_options options = CADRE_FETCH_OPTIONS_INIT;
        options.endpoint = endpoints[i];
        row("%s", endpoints[i]);
        assert_status(cadre_fetcher_create(&fetcher, &loop, &options), CADRE_EINVAL);
        assert_null(fetcher);
    }
    for (int i = 0; i < 6; i++) {
        cadre_fetch_options options = CADRE_FETCH_OPTIONS_INIT;
        if (i == 0) options.size = sizeof options + 8;
        if (i == 1) options.files_at_once = 0;
        if (i == 2) options.retries = -2;
        if (i == 3) options.stall_timeout_ms = 0;
        if (i == 4) options.keep_free_bytes = -5;
        if (i == 5) options.offline = 2;
        assert_status(cadre_fetcher_create(&fetcher, &loop, &options), CADRE_EINVAL);
    }
    assert_status(cadre_fetcher_create(&fetcher, &loop, NULL), 0);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0); /* it does not hold the loop */
    cadre_fetcher_close(fetcher, NULL, NULL);
    cadre_fetcher_close(NULL, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

#define SUITE fetch
#include "suite.h"
