/* A system that gives nothing more: threads that cannot be started, descriptors that run out, a loop that takes no handle, a small cgroup. The calls that the
 * library and libuv make are answered here when a test asks for it: an executable's own symbols come first. */
#include "scripted.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

/* ---- what the system answers ---- */

static atomic_int threads_asked, thread_fails_at, thread_fails_on, thread_failures; /* from 1; fails_on: and every later one */
static atomic_int epoll_fails;
static atomic_uint_fast64_t fake_total, fake_limit; /* bytes; 0: the machine's own */
static const char *fake_cpu_max, *fake_memory_max;  /* what these files of cgroup v2 say; NULL: as they are */

static void *next_symbol(const char *name)
{
    void *symbol = dlsym(RTLD_NEXT, name);
    if (!symbol) abort();
    return symbol;
}
#define NEXT(variable, name)                                                                                                                                   \
    do {                                                                                                                                                       \
        void *symbol_ = next_symbol(name);                                                                                                                     \
        memcpy(&(variable), &symbol_, sizeof symbol_);                                                                                                         \
    } while (0)

int uv_thread_create(uv_thread_t *thread, uv_thread_cb entry, void *argument)
{
    int (*next)(uv_thread_t *, uv_thread_cb, void *);
    int number = atomic_fetch_add(&threads_asked, 1) + 1, at = atomic_load(&thread_fails_at);
    if (at && (number == at || (number > at && atomic_load(&thread_fails_on)))) {
        atomic_fetch_add(&thread_failures, 1);
        return UV_EAGAIN;
    }
    NEXT(next, "uv_thread_create");
    return next(thread, entry, argument);
}

int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    int (*next)(int, int, int, struct epoll_event *);
    if (atomic_load(&epoll_fails) && operation == EPOLL_CTL_ADD) {
        errno = ENOSPC;
        return -1;
    }
    NEXT(next, "epoll_ctl");
    return next(epoll, operation, fd, event);
}

uint64_t uv_get_total_memory(void)
{
    uint64_t (*next)(void);
    NEXT(next, "uv_get_total_memory");
    uint64_t fake = atomic_load(&fake_total);
    return fake ? fake : next();
}

uint64_t uv_get_constrained_memory(void)
{
    uint64_t (*next)(void);
    NEXT(next, "uv_get_constrained_memory");
    return atomic_load(&fake_total) ? atomic_load(&fake_limit) : next();
}

FILE *fopen(const char *path, const char *mode)
{
    FILE *(*next)(const char *, const char *);
    const char *text = strcmp(path, "/sys/fs/cgroup/cpu.max") == 0 ? fake_cpu_max : strcmp(path, "/sys/fs/cgroup/memory.max") == 0 ? fake_memory_max : NULL;
    if (text) return fmemopen((void *)(uintptr_t)text, strlen(text), "r");
    NEXT(next, "fopen");
    return next(path, mode);
}

/* ---- threads ---- */

static bool clean(int status)
{
    return status == CADRE_ETHREAD || status == CADRE_ELOAD || status == CADRE_ENOENT || status == CADRE_EWORKER || status == CADRE_ENOMEM;
}

static bool nothing_charged(void *data)
{
    return charged(data, CADRE_DEVICE_HOST) == 0;
}

/* A worker of some kind and two requests: each ends well or says that there is no thread. */
static void serve(fixture *fx, script_kind kind)
{
    script *s = script_new(fx, CADRE_TEXT_EMBEDDING, kind, "m");
    answer *a[2] = {answer_new(fx), answer_new(fx)};
    int rc = script_spawn_with(s, reserve(fx, 100), NULL);
    if (rc != 0) {
        assert_true(clean(rc));
        return;
    }
    for (int i = 0; i < 2; i++) {
        rc = submit(s, a[i], "hello", NULL);
        assert_true(rc == 0 || clean(rc));
    }
    script_until_ready(s, 1);
    until_all_done(fx);
    if (s->ready_status != 0) {
        assert_true(clean(s->ready_status));
        assert_true(s->ready_detail[0] != '\0');
    }
    for (int i = 0; i < 2; i++)
        if (a[i]->rc == 0 && a[i]->status != 0) assert_true(clean(a[i]->status));
    if (s->ready_status == 0) assert_answered(s, a[0], "hello");
    if (s->ready_status != 0) run_until(fx, nothing_charged, fx); /* the model that it got is destroyed elsewhere */
}

static void threads_that_cannot_be_started_fail_cleanly(void **state)
{
    (void)state;
    for (int kind = 0; kind < KIND_COUNT; kind++)
        for (int on = 0; on < 2; on++)
            for (int n = 1;; n++) {
                row("%s, thread %d cannot be started%s", kind_name((script_kind)kind), n, on ? ", nor any later one" : "");
                fixture *fx = NULL;
                atomic_store(&threads_asked, 0);
                atomic_store(&thread_failures, 0);
                atomic_store(&thread_fails_on, on);
                atomic_store(&thread_fails_at, n);
                int rc = fixture_try_begin(NULL, 0, false, &fx);
                if (rc == 0)
                    serve(fx, (script_kind)kind);
                else
                    assert_status(rc, CADRE_ETHREAD);
                atomic_store(&thread_fails_at, 0);
                fixture_end(fx);
                if (!atomic_load(&thread_failures)) break;
                assert_true(n < 100);
            }
}

static void a_pool_without_a_thread_works_again_when_there_are_some(void **state)
{
    (void)state;
    fixture *fx = fixture_begin();
    script *s = script_new(fx, CADRE_TEXT_TO_TEXT, KIND_BLOCKING, "m");
    atomic_store(&threads_asked, 0);
    atomic_store(&thread_fails_on, 1);
    atomic_store(&thread_fails_at, 1);
    int rc = script_spawn_with(s, NULL, NULL);
    if (rc == 0) {
        script_until_ready(s, 1);
        rc = s->ready_status;
    }
    assert_true(clean(rc));
    atomic_store(&thread_fails_at, 0);
    script *again = script_ready(fx, CADRE_TEXT_TO_TEXT, "again");
    answer *a = ask(again, "hello");
    until_done(a);
    assert_answered(again, a, "hello");
    fixture_end(fx);
}

/* ---- descriptors ---- */

/* No descriptor can be opened from here on; returns the limit as it was. */
static struct rlimit exhaust(void)
{
    struct rlimit limit, lower;
    int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(next >= 0);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    lower = limit;
    lower.rlim_cur = (rlim_t)next;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &lower), 0);
    return limit;
}

static void restore(const struct rlimit *limit)
{
    assert_int_equal(setrlimit(RLIMIT_NOFILE, limit), 0);
}

static void without_descriptors_no_pool_is_made(void **state)
{
    (void)state;
    uv_loop_t loop;
    cadre_pool *pool = NULL;
    assert_int_equal(uv_loop_init(&loop), 0);
    struct rlimit limit = exhaust();
    int rc = cadre_pool_create(&pool, &loop, NULL);
    restore(&limit);
    assert_status(rc, UV_EMFILE);
    assert_null(pool);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void a_loop_that_takes_no_handle_makes_no_pool(void **state)
{
    (void)state;
    fixture *fx = NULL;
    guard_allow_join(); /* of the reaper, which has nothing to do yet */
    atomic_store(&epoll_fails, 1);
    int rc = fixture_try_begin(NULL, 0, false, &fx);
    atomic_store(&epoll_fails, 0);
    assert_status(rc, UV_ENOSPC);
    fixture_end(fx);
}

static int decode_nothing(void *self, cadre_op *op, const void *bytes, size_t length, uint64_t max_pixels, cadre_image *out, cadre_blob *pixels)
{
    (void)self, (void)bytes, (void)length, (void)max_pixels, (void)out, (void)pixels;
    return cadre_op_fail(op, CADRE_EINPUT, "it knows no pictures");
}

static void a_pool_that_is_there_lives_without_descriptors(void **state)
{
    (void)state;
    cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
    const cadre_image_decoder decoder = {sizeof decoder, NULL, 64, 4096, decode_nothing};
    options.decoder = &decoder;
    fixture *fx = fixture_begin_with(&options);
    script *pictures = script_ready(fx, CADRE_IMAGE_EMBEDDING, "pictures");
    struct rlimit limit = exhaust();
    script *s = script_ready(fx, CADRE_TEXT_TO_TEXT, "m"); /* needs threads and memory alone */
    answer *words = ask(s, "hello"), *file = answer_new(fx);
    cadre_image_input image = cadre_image_from_string(CADRE_IMAGE_PATH, "/dev/null");
    cadre_embed_images_params p = CADRE_EMBED_IMAGES_PARAMS_INIT;
    p.key = pictures->key, p.images = &image, p.count = 1, p.on_done = answer_on_embeddings, p.data = file;
    file->rc = cadre_embed_images(fx->pool, &p, &file->id);
    assert_status(file->rc, 0);
    until_all_done(fx);
    assert_answered(s, words, "hello");
    assert_status(file->status, CADRE_EINPUT);
    assert_contains(file->detail, strerror(EMFILE));
    fixture_close(fx, NULL);
    restore(&limit);
    fixture_end(fx);
}

/* ---- cgroups ---- */

static uint64_t default_budget(void)
{
    uv_loop_t loop;
    cadre_pool *pool = NULL;
    cadre_memory_usage usage = CADRE_MEMORY_USAGE_INIT;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_status(cadre_pool_create(&pool, &loop, NULL), 0);
    assert_status(cadre_memory_get_usage(pool, CADRE_DEVICE_HOST, &usage), 0);
    assert_status(cadre_pool_close(pool, NULL, NULL), 0);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
    return usage.budget_bytes;
}

#define GIB (UINT64_C(1) << 30)

static void the_default_budget_is_a_part_of_the_cgroups_memory(void **state)
{
    (void)state;
    static const struct {
        uint64_t total, limit, usable;
        const char *file; /* of cgroup v2 */
    } rows[] = {
        {64 * GIB, 0, 64 * GIB, NULL},
        {64 * GIB, UINT64_C(0x7ffffffffffff000), 64 * GIB, NULL}, /* cgroup v1 without a limit */
        {64 * GIB, UINT64_MAX, 64 * GIB, NULL},
        {64 * GIB, 32 * GIB, 32 * GIB, NULL},
        {64 * GIB, 8 * GIB, 8 * GIB, NULL},
        {4 * GIB, 8 * GIB, 4 * GIB, NULL},
        {64 * GIB, 1 << 20, 1 << 20, NULL},
        {64 * GIB, 4096, 4096, NULL},
#ifdef CADRE_TEST_CGROUP2 /* libuv before 1.45 knows cgroup v1 alone */
        {64 * GIB, 0, 64 * GIB, "max\n"},
        {64 * GIB, 0, 8 * GIB, "8589934592\n"},
        {64 * GIB, 32 * GIB, 8 * GIB, "8589934592\n"},
#endif
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        row("%zu: %llu bytes, limit %llu, %s", i, (unsigned long long)rows[i].total, (unsigned long long)rows[i].limit, rows[i].file ? rows[i].file : "-");
        atomic_store(&fake_limit, rows[i].limit);
        atomic_store(&fake_total, rows[i].total);
        fake_memory_max = rows[i].file ? rows[i].file : "max\n";
        uint64_t usable = rows[i].usable, reserve = usable < 16 * GIB ? usable / 8 : 2 * GIB, budget = default_budget();
        atomic_store(&fake_total, 0);
        fake_memory_max = NULL;
        assert_true(budget <= usable / 5 * 4 - reserve && budget + 8 > usable / 5 * 4 - reserve);
    }
    row("%s", "");
}

static void the_cores_are_a_part_of_the_cgroups_quota(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        int most; /* 0: as without */
    } rows[] = {{"max 100000\n", 0}, {"100000 100000\n", 1}, {"50000 100000\n", 1}, {"190000 100000\n", 1}, {"900000000 100000\n", 0}, {"100000 0\n", 0},
                {"?\n", 0}};
    int without = 0;
    for (size_t i = 0; i < COUNT(rows); i++) {
        row("cpu.max is %.10s", rows[i].file);
        fake_cpu_max = rows[i].file;
        fixture *fx = fixture_begin();
        fake_cpu_max = NULL;
        script *s = script_ready(fx, CADRE_TEXT_EMBEDDING, "m");
        answer *a = ask(s, "hello");
        until_done(a);
        int threads = atomic_load(&s->threads);
        if (i == 0) without = threads;
        assert_int_equal(threads, rows[i].most ? rows[i].most : without);
        fixture_end(fx);
    }
}

#define SUITE system
#include "suite.h"
