/* libcadre-fetch and other processes: one that is killed in the midst goes on from there, two that want the same file bring it once, and a lock that another
 * program holds is waited for. */
#define TESTS_fetch_kill(X)                                                                                                                                    \
    X(a_process_killed_at_every_tenth_goes_on)                                                                                                                 \
    X(two_processes_fetch_a_file_once)                                                                                                                         \
    X(the_second_process_goes_on_where_the_first_was_killed)                                                                                                   \
    X(a_lock_of_another_program_is_waited_for)

#include "rig.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE ((size_t)10 << 20)
#define TENTH (SIZE / 10)
#define UNWRITTEN ((size_t)256 << 10) /* at most this has come and is not on the disk yet: a piece */

/* Reads the child's lines until it has so many bytes. */
static void wait_for_bytes(process *p, uint64_t bytes)
{
    char line[2048];
    unsigned long long done = 0;
    while (done < bytes) {
        assert_true(child_line(p, line, sizeof line));
        assert_null(strstr(line, "end "));
        assert_int_equal(sscanf(line, "progress %llu", &done), 1);
    }
}

static void wait_for_end(process *p, int status)
{
    char line[2048], expected[32];
    snprintf(expected, sizeof expected, "end %d ", status);
    do assert_true(child_line(p, line, sizeof line));
    while (strncmp(line, "end ", 4) != 0);
    assert_int_equal(strncmp(line, expected, strlen(expected)), 0);
    assert_int_equal(process_end(p), 0);
}

static void kill_child(process *p)
{
    assert_int_equal(kill(p->pid, SIGKILL), 0);
    int status = process_end(p);
    assert_true(WIFSIGNALED(status));
}

static void a_process_killed_at_every_tenth_goes_on(void **state)
{
    (void)state;
    rig *r = rig_begin();
    process child;
    char etag[130];
    uint64_t have = 0, overlap = 0, sent = 0;
    hub_file(r, "model.gguf", SIZE, 1, "lfs", etag);
    for (int i = 1; i < 10; i++) {
        row("%d tenths", i);
        hub_command(r, "fault|hub|GET|*|1|hold|%zu", TENTH);
        child_start(r, &child, "hf:o/n/model.gguf", NULL);
        hub_command(r, "held|%d", i); /* all of the tenth is on its way */
        wait_for_bytes(&child, have + TENTH - UNWRITTEN);
        kill_child(&child);
        sent = have + TENTH;
        have = (uint64_t)file_size(below(r, "blobs/%s.incomplete", etag));
        assert_in_range(have, sent - UNWRITTEN, sent);
        overlap += sent - have;
    }
    child_start(r, &child, "hf:o/n/model.gguf", NULL);
    wait_for_end(&child, 0);
    assert_file(below(r, "snapshots/" COMMIT_1 "/model.gguf"), etag);
    /* Every attempt asked for what the one before it had not written, and for no more. */
    assert_int_equal(hub_log(r, "GET", NULL), 1); /* those that were killed are held still */
    char range[64];
    snprintf(range, sizeof range, "bytes=%llu-", (unsigned long long)have);
    assert_int_equal(hub_log(r, "GET", range, NULL), 1);
    assert_true(overlap <= 9 * UNWRITTEN);
    assert_int_equal(hub_sent(r, "/model.gguf"), SIZE - have);
    hub_command(r, "release");
    rig_end(r);
}

static void two_processes_fetch_a_file_once(void **state)
{
    (void)state;
    rig *r = rig_begin();
    process first, second;
    char etag[130];
    hub_file(r, "model.gguf", SIZE, 1, "lfs", etag);
    hub_command(r, "fault|hub|GET|*|1|hold|%zu", TENTH);
    child_start(r, &first, "hf:o/n/model.gguf", NULL);
    wait_for_bytes(&first, TENTH - UNWRITTEN);
    child_start(r, &second, "hf:o/n/model.gguf", NULL);
    wait_for_bytes(&second, TENTH - UNWRITTEN); /* it sees how far the other one is */
    hub_command(r, "release");
    wait_for_end(&first, 0);
    wait_for_end(&second, 0);
    assert_file(below(r, "blobs/%s", etag), etag);
    assert_int_equal(hub_log(r, "GET", NULL), 1);
    assert_int_equal(hub_sent(r, "/model.gguf"), SIZE);
    rig_end(r);
}

static void the_second_process_goes_on_where_the_first_was_killed(void **state)
{
    (void)state;
    rig *r = rig_begin();
    process first, second;
    char etag[130];
    hub_file(r, "model.gguf", SIZE, 1, "lfs", etag);
    hub_command(r, "fault|hub|GET|*|1|hold|%zu", 5 * TENTH);
    child_start(r, &first, "hf:o/n/model.gguf", NULL);
    hub_command(r, "held|1");
    wait_for_bytes(&first, 5 * TENTH - UNWRITTEN);
    child_start(r, &second, "hf:o/n/model.gguf", NULL);
    wait_for_bytes(&second, 5 * TENTH - UNWRITTEN);
    kill_child(&first);
    wait_for_end(&second, 0);
    assert_file(below(r, "blobs/%s", etag), etag);
    assert_true(hub_sent(r, "/model.gguf") <= 5 * TENTH + UNWRITTEN); /* the first one's answer is held still, and not counted */
    hub_command(r, "release");
    rig_end(r);
}

/* As Python's filelock, and so the hub's own library, locks on Linux. */
static const char locker[] = "import fcntl, os, sys\n"
                             "os.makedirs(os.path.dirname(sys.argv[1]), exist_ok=True)\n"
                             "fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)\n"
                             "fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
                             "print('locked', flush=True)\n"
                             "sys.stdin.read()\n";

static bool waits_at_5(void *data)
{
    outcome *o = data;
    return o->settled || o->progress.done_bytes == 5;
}

static bool waits_at_7(void *data)
{
    outcome *o = data;
    return o->settled || o->progress.done_bytes == 7;
}

static void a_lock_of_another_program_is_waited_for(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    process python;
    char etag[130], lock[512], line[64];
    hub_file(r, "a", 12, 1, "lfs", etag);
    hub_file(r, "first", 12, 2, "lfs", NULL);
    rig_open(r);
    assert_status(fetch(r, &o, "hf:o/n/first"), 0);
    snprintf(lock, sizeof lock, "%s/.locks/models--o--n/%s.lock", r->cache, etag);
    char *arguments[] = {(char *)(uintptr_t)CADRE_PYTHON, (char *)(uintptr_t) "-c", (char *)(uintptr_t)locker, lock, NULL};
    process_start(&python, arguments, NULL);
    assert_true(child_line(&python, line, sizeof line));
    assert_string_equal(line, "locked");
    write_text(below(r, "blobs/%s.incomplete", etag), "12345", 5); /* what that program has so far */
    fetch_begin(r, &o, "hf:o/n/a", NULL);
    run_until(r->fx, waits_at_5, &o);
    write_text(below(r, "blobs/%s.incomplete", etag), "1234567", 7);
    run_until(r->fx, waits_at_7, &o);
    assert_int_equal(o.settled, 0);
    assert_int_equal(unlink(below(r, "blobs/%s.incomplete", etag)), 0);
    assert_int_equal(hub_log(r, "GET", "/a", NULL), 0);
    assert_int_equal(process_end(&python), 0); /* it lets go */
    assert_status(fetch_wait(r, &o), 0);
    assert_content(r, "hf:o/n/a", etag);
    rig_end(r);
}

#define SUITE fetch_kill
#include "suite.h"
