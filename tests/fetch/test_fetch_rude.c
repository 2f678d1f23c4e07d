/* libcadre-fetch against a hub that cuts, lies, refuses, corrupts and never ends: a file is whole and right in the end, or the error says what was wrong. */
#define TESTS_fetch_rude(X)                                                                                                                                    \
    X(a_cut_at_every_tenth_goes_on_where_it_ended)                                                                                                             \
    X(a_server_that_ignores_ranges_is_begun_anew)                                                                                                              \
    X(a_range_that_begins_elsewhere_is_not_taken)                                                                                                              \
    X(a_damaged_file_is_fetched_once_more)                                                                                                                     \
    X(a_file_that_stays_damaged_is_an_error)                                                                                                                   \
    X(a_wrong_old_part_is_found_out)                                                                                                                           \
    X(a_whole_old_file_that_is_wrong_goes)                                                                                                                     \
    X(an_empty_file_of_another_hash_is_an_error)                                                                                                               \
    X(an_old_part_that_is_too_long_goes)                                                                                                                       \
    X(lengths_that_lie_are_noticed)                                                                                                                            \
    X(an_endless_body_ends)                                                                                                                                    \
    X(another_etag_is_noticed)                                                                                                                                 \
    X(refusals_say_what_to_do)                                                                                                                                 \
    X(busy_servers_are_asked_again)                                                                                                                            \
    X(retries_have_an_end)                                                                                                                                     \
    X(a_416_begins_anew)                                                                                                                                       \
    X(a_stall_is_cut_and_goes_on)                                                                                                                              \
    X(heads_that_are_no_hubs_are_refused)                                                                                                                      \
    X(nobody_at_the_port_is_an_error)                                                                                                                          \
    X(one_missing_file_fails_the_fetch_and_stops_the_rest)                                                                                                     \
    X(a_token_is_in_no_text)

#include "rig.h"

#include <unistd.h>

#define SIZE 2000000

static void a_cut_at_every_tenth_goes_on_where_it_ended(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    char etag[130];
    hub_file(r, "a", SIZE, 1, "lfs", etag);
    for (int i = 0; i < 9; i++) hub_command(r, "fault|hub|GET|a|1|cut|%d", SIZE / 10);
    rig_open(r);
    assert_status(fetch(r, &o, "hf:o/n/a"), 0); /* nine cuts, five retries: each brought something */
    assert_content(r, "hf:o/n/a", etag);
    assert_int_equal(hub_log(r, "GET", NULL), 10);
    assert_int_equal(hub_sent(r, "/a"), SIZE);
    rig_end(r);
}

static void a_server_that_ignores_ranges_is_begun_anew(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    char etag[130];
    hub_file(r, "a", SIZE, 1, "lfs", etag);
    hub_command(r, "fault|hub|GET|a|1|cut|700000");
    hub_command(r, "fault|hub|GET|a|1|norange");
    rig_open(r);
    assert_status(fetch(r, &o, "hf:o/n/a"), 0);
    assert_content(r, "hf:o/n/a", etag);
    assert_int_equal(hub_log(r, "GET", NULL), 2);
    assert_int_equal(hub_sent(r, "/a"), SIZE + 700000);
    rig_end(r);
}

static void a_range_that_begins_elsewhere_is_not_taken(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    char etag[130];
    hub_file(r, "a", SIZE, 1, "lfs", etag);
    hub_command(r, "fault|hub|GET|a|1|cut|700000");
    hub_command(r, "fault|hub|GET|a|1|badrange");
    rig_open(r);
    assert_status(fetch(r, &o, "hf:o/n/a"), 0);
    assert_content(r, "hf:o/n/a", etag);
    assert_contains(r->log, "it answers with others");
    assert_int_equal(hub_log(r, "GET", NULL), 3);
    rig_end(r);
}

static void a_damaged_file_is_fetched_once_more(void **state)
{
    (void)state;
    static const char *const kinds[] = {"lfs", "git"};
    for (size_t i = 0; i < COUNT(kinds); i++) {
        rig *r = rig_begin();
        outcome o;
        row("%s", kinds[i]);
        hub_file(r, "a", SIZE, 1, kinds[i], NULL);
        hub_command(r, "fault|hub|GET|a|1|corrupt|1234567");
        rig_open(r);
        assert_status(fetch(r, &o, "hf:o/n/a"), 0);
        assert_non_null(found(r, "hf:o/n/a"));
        assert_int_equal(hub_log(r, "GET", NULL), 2);
        assert_contains(r->log, "the hub promised");
        rig_end(r);
    }
}

static void a_file_that_stays_damaged_is_an_error(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    char etag[130];
    hub_file(r, "a", SIZE, 1, "lfs", etag);
    hub_command(r, "fault|hub|GET|a|9|corrupt|0");
    rig_open(r);
    assert_status(fetch(r, &o, "hf:o/n/a"), CADRE_EFORMAT);
    assert_contains(o.detail, "o/n: a");
    assert_contains(o.detail, etag);
    assert_int_equal(hub_log(r, "GET", NULL), 2);
    assert_null(found(r, "hf:o/n/a"));
    assert_int_equal(file_size(below(r, "blobs/%s", etag)), -1);
    assert_int_equal(file_size(below(r, "blobs/%s.incomplete", etag)), -1);
    rig_end(r);
}

/* Puts an .incomplete of so many zeros in place. */
static void leave_behind(rig *r, const char *etag, size_t size)
{
    outcome o;
    unsigned char *zeros = calloc(1, size);
    assert_non_null(zeros);
    hub_file(r, "first", 10, 99, "lfs", NULL); /* makes the folders */
    assert_status(fetch(r, &o, "hf:o/n/first"), 0);
    write_text(below(r, "blobs/%s.incomplete", etag), zeros, size);
    free(zeros);
}

static void a_wrong_old_part_is_found_out(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    char etag[130];
    hub_file(r, "a", SIZE, 1, "lfs", etag);
    rig_open(r);
    leave_behind(r, etag, 777777);
    unlink(below(r, "refs/main"));
    assert_status(fetch(r, &o, "hf:o/n/a"), 0);
    assert_content(r, "hf:o/n/a", etag);
    assert_int_equal(hub_log(r, "GET", "bytes=777777-", NULL), 1);
    assert_int_equal(hub_log(r, "GET", "/a\t-", NULL), 1);
    rig_end(r);
}

static void a_whole_old_file_that_is_wrong_goes(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    char etag[130];
    hub_file(r, "a", SIZE, 1, "lfs", etag);
    rig_open(r);
    leave_behind(r, etag, SIZE);
    assert_status(fetch(r, &o, "hf:o/n/a"), 0);
    assert_content(r, "hf:o/n/a", etag);
    assert_int_equal(hub_sent(r, "/a"), SIZE);
    rig_end(r);
}

static void an_empty_file_of_another_hash_is_an_error(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    hub_file(r, "a", 0, 1, "lfs", NULL);
    hub_command(r, "fault|hub|HEAD|a|9|etag|%064d", 7);
    rig_open(r);
    assert_status(fetch(r, &o, "hf:o/n/a"), CADRE_EFORMAT); /* nothing is left to come, so nothing can become better */
    assert_contains(o.detail, "the hub promised");
    assert_int_equal(hub_log(r, "GET", NULL), 0);
    rig_end(r);
}

static void an_old_part_that_is_too_long_goes(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    char etag[130];
    hub_file(r, "a", SIZE, 1, "lfs", etag);
    rig_open(r);
    leave_behind(r, etag, SIZE + 1);
    assert_status(fetch(r, &o, "hf:o/n/a"), 0);
    assert_content(r, "hf:o/n/a", etag);
    rig_end(r);
}

static void lengths_that_lie_are_noticed(void **state)
{
    (void)state;
    static const int differences[] = {-1000, 1000};
    for (size_t i = 0; i < COUNT(differences); i++) {
        rig *r = rig_begin();
        outcome o;
        char etag[130];
        row("%d", differences[i]);
        hub_file(r, "a", SIZE, 1, "lfs", etag);
        hub_command(r, "fault|hub|GET|a|1|length|%d", differences[i]);
        rig_open(r);
        assert_status(fetch(r, &o, "hf:o/n/a"), 0);
        assert_content(r, "hf:o/n/a", etag);
        rig_close(r);
        hub_file(r, "b", SIZE, 2, "lfs", etag);
        hub_command(r, "fault|hub|GET|b|99|length|%d", differences[i]);
        rig_open(r);
        assert_status(fetch(r, &o, "hf:o/n/b"), CADRE_EFORMAT);
        assert_contains(o.detail, "length");
        rig_end(r);
    }
}

static void an_endless_body_ends(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    char etag[130];
    hub_file(r, "a", SIZE, 1, "lfs", etag);
    hub_file(r, "weak", SIZE, 2, "weak", NULL);
    hub_command(r, "fault|hub|GET|*|99|endless");
    rig_open(r);
    assert_status(fetch(r, &o, "hf:o/n/a"), 0); /* what was promised came, and is right */
    assert_content(r, "hf:o/n/a", etag);
    assert_status(fetch(r, &o, "hf:o/n/weak"), CADRE_EFORMAT); /* nothing says that it is */
    assert_contains(o.detail, "more comes");
    rig_end(r);
}

static void another_etag_is_noticed(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    char etag[130];
    hub_file(r, "a", SIZE, 1, "lfs", etag);
    hub_command(r, "fault|hub|GET|a|1|etag|0123456789");
    rig_open(r);
    assert_status(fetch(r, &o, "hf:o/n/a"), 0);
    assert_content(r, "hf:o/n/a", etag);
    assert_contains(r->log, "the ETag");
    assert_int_equal(hub_log(r, "HEAD", NULL), 2); /* the hub was asked anew */
    rig_end(r);
}

static void refusals_say_what_to_do(void **state)
{
    (void)state;
    static const struct {
        const char *fault;
        int status;
        const char *words[2];
    } rows[] = {
        {"status|401|X-Error-Code: GatedRepo|X-Error-Message: Access is restricted", UV_EACCES, {"gated: set HF_TOKEN", "Access is restricted"}},
        {"status|403|X-Error-Code: GatedRepo", UV_EACCES, {"gated", "/o/n"}},
        {"status|401", UV_EACCES, {"HF_TOKEN", "401"}},
        {"status|403", UV_EACCES, {"403", "do not exist"}},
        {"status|404|X-Error-Code: EntryNotFound", UV_ENOENT, {"no such file", "404"}},
        {"status|404|X-Error-Code: RevisionNotFound", UV_ENOENT, {"no such revision", "404"}},
        {"status|404|X-Error-Code: RepoNotFound", UV_ENOENT, {"no such repository", "404"}},
        {"status|404", UV_ENOENT, {"no such repository, revision or file", "404"}},
        {"status|400", CADRE_ELOAD, {"400", "127.0.0.1"}},
    };
    static const char *const methods[] = {"HEAD", "GET"};
    rig *r = rig_begin();
    hub_file(r, "a", SIZE, 1, "lfs", NULL);
    rig_open(r);
    for (size_t i = 0; i < COUNT(rows) * COUNT(methods); i++) {
        outcome o;
        size_t at = i / COUNT(methods);
        row("%s %s", methods[i % COUNT(methods)], rows[at].fault);
        hub_command(r, "fault|hub|%s|a|1|%s", methods[i % COUNT(methods)], rows[at].fault);
        assert_status(fetch(r, &o, "hf:o/n/a"), rows[at].status);
        assert_contains(o.detail, "o/n: a");
        assert_contains(o.detail, rows[at].words[0]);
        assert_contains(o.detail, rows[at].words[1]);
    }
    rig_end(r);
}

static void busy_servers_are_asked_again(void **state)
{
    (void)state;
    static const char *const methods[] = {"HEAD", "GET"};
    static const int statuses[] = {429, 500, 503, 408};
    rig *r = rig_begin();
    rig_open(r);
    for (size_t i = 0; i < COUNT(methods) * COUNT(statuses); i++) {
        outcome o;
        char etag[130], path[8], reference[32];
        row("%s %d", methods[i % 2], statuses[i / 2]);
        snprintf(path, sizeof path, "f%zu", i);
        snprintf(reference, sizeof reference, "hf:o/n/%s", path);
        hub_file(r, path, 5000, (unsigned)i, "lfs", etag);
        hub_command(r, "fault|hub|%s|%s|4|status|%d", methods[i % 2], path, statuses[i / 2]);
        hub_command(r, "fault|hub|%s|%s|1|status|%d|Retry-After: 0", methods[i % 2], path, statuses[i / 2]);
        assert_status(fetch(r, &o, reference), 0);
        assert_content(r, reference, etag);
    }
    rig_end(r);
}

static void retries_have_an_end(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    hub_file(r, "a", SIZE, 1, "lfs", NULL);
    hub_file(r, "b", SIZE, 1, "lfs", NULL);
    hub_command(r, "fault|hub|HEAD|a|99|status|503");
    hub_command(r, "fault|hub|GET|b|99|cut|0");
    r->options.retries = 3;
    rig_open(r);
    assert_status(fetch(r, &o, "hf:o/n/a"), CADRE_ELOAD);
    assert_contains(o.detail, "503");
    assert_int_equal(hub_log(r, "HEAD", "/a", NULL), 4);
    assert_true(fetch(r, &o, "hf:o/n/b") < 0);
    assert_int_equal(hub_log(r, "GET", "/b", NULL), 4);
    rig_end(r);
}

static void a_416_begins_anew(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    char etag[130];
    hub_file(r, "a", SIZE, 1, "lfs", etag);
    hub_command(r, "fault|hub|GET|a|1|cut|700000");
    hub_command(r, "fault|hub|GET|a|1|status|416");
    rig_open(r);
    assert_status(fetch(r, &o, "hf:o/n/a"), 0);
    assert_content(r, "hf:o/n/a", etag);
    assert_int_equal(hub_sent(r, "/a"), SIZE + 700000);
    rig_end(r);
}

static void a_stall_is_cut_and_goes_on(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    char etag[130];
    hub_file(r, "a", SIZE, 1, "lfs", etag);
    hub_command(r, "fault|hub|GET|a|1|hold|700000");
    r->options.stall_timeout_ms = 50;
    rig_open(r);
    assert_status(fetch(r, &o, "hf:o/n/a"), 0);
    assert_content(r, "hf:o/n/a", etag);
    assert_true(hub_log(r, "GET", "bytes=", NULL) >= 1);
    hub_command(r, "release");
    rig_end(r);
}

static void heads_that_are_no_hubs_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *fault, *word;
    } rows[] = {{"nohead|X-Repo-Commit", "X-Repo-Commit"},
                {"header|X-Repo-Commit|../../../tmp", "X-Repo-Commit"},
                {"header|ETag|\"../../evil\"", "ETag"},
                {"header|ETag|\"..\"", "ETag"},
                {"header|ETag|\"x.incomplete\"", "ETag"},
                {"nohead|ETag", "ETag"},
                {"nohead|Content-Length", "Content-Length"},
                {"header|X-Linked-Size|-5", "X-Linked-Size"},
                {"header|X-Linked-Size|99999999999999999999", "X-Linked-Size"}};
    rig *r = rig_begin();
    hub_file(r, "a", SIZE, 1, "lfs", NULL);
    rig_open(r);
    for (size_t i = 0; i < COUNT(rows); i++) {
        outcome o;
        row("%s", rows[i].fault);
        hub_command(r, "fault|hub|HEAD|a|1|%s", rows[i].fault);
        assert_status(fetch(r, &o, "hf:o/n/a"), CADRE_EFORMAT);
        assert_contains(o.detail, rows[i].word);
    }
    static const char *const linked[] = {"X-Linked-Size", "X-Linked-Etag"};
    hub_command(r, "switch|redirect|1");
    for (size_t i = 0; i < COUNT(linked); i++) { /* a redirect has a length and an ETag of its own */
        outcome o;
        row("%s", linked[i]);
        hub_command(r, "fault|hub|HEAD|a|1|nohead|%s", linked[i]);
        assert_status(fetch(r, &o, "hf:o/n/a"), CADRE_EFORMAT);
        assert_contains(o.detail, linked[i]);
    }
    assert_int_equal(hub_log(r, "GET", NULL), 0);
    rig_end(r);
}

static void nobody_at_the_port_is_an_error(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    r->options.endpoint = "http://127.0.0.1:1";
    r->options.retries = 1;
    rig_open(r);
    assert_status(fetch(r, &o, "hf:o/n/a"), UV_ECONNREFUSED);
    assert_contains(o.detail, "127.0.0.1");
    rig_end(r);
}

static void one_missing_file_fails_the_fetch_and_stops_the_rest(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    hub_file(r, "a", SIZE, 1, "lfs", NULL);
    rig_open(r);
    fetch_begin(r, &o, "hf:o/n/a", "hf:o/n/missing", NULL);
    assert_status(fetch_wait(r, &o), UV_ENOENT);
    assert_contains(o.detail, "missing");
    assert_int_equal(hub_log(r, "GET", NULL), 0); /* not a byte before all are known */
    rig_end(r);
}

static void a_token_is_in_no_text(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    char path[128];
    snprintf(path, sizeof path, "%s/token", r->folder);
    write_text(path, "  hf_F1leT0ken\n", 15);
    setenv("HF_TOKEN_PATH", path, 1);
    r->options.token = NULL;
    hub_file(r, "a", 100, 1, "lfs", NULL);
    hub_file(r, "b", 100, 1, "lfs", NULL);
    hub_file(r, "c", 100, 1, "lfs", NULL);
    rig_open(r);
    hub_command(r, "switch|gated|hf_F1leT0ken");
    assert_status(fetch(r, &o, "hf:o/n/a"), 0);
    hub_command(r, "fault|hub|HEAD|b|1|status|403|X-Error-Message: Bearer hf_F1leT0ken may not|X-Error-Code: hf_F1leT0ken");
    assert_status(fetch(r, &o, "hf:o/n/b"), UV_EACCES);
    assert_null(strstr(o.detail, "F1leT0ken"));
    hub_command(r, "fault|hub|HEAD|b|1|status|500|X-Error-Message: Bearer hf_F1leT0ken may not");
    assert_status(fetch(r, &o, "hf:o/n/b"), 0);
    hub_command(r, "fault|hub|HEAD|c|1|status|403|X-Error-Message: %0245dhf_F1leT0ken may not", 1); /* cut in its midst */
    assert_status(fetch(r, &o, "hf:o/n/c"), UV_EACCES);
    assert_null(strstr(o.detail, "hf_F1"));
    assert_null(strstr(r->log, "F1leT0ken"));
    assert_contains(r->log, "500");
    assert_int_equal(hub_log(r, "Bearer_hf_F1leT0ken", NULL), hub_log(r, NULL));
    unsetenv("HF_TOKEN_PATH");
    rig_end(r);
}

#define SUITE fetch_rude
#include "suite.h"
