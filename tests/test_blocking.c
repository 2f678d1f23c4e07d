/* The loop never blocks: a scan of the sources, and what the interposer saw (tests/interpose.c, when it is preloaded). Each checker is shown to catch a planted
 * fault. */
#include "scripted.h"

#include <ctype.h>
#include <dirent.h>
#include <dlfcn.h>
#include <poll.h>
#include <semaphore.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/futex.h>
#endif

/* ---- the scan ---- */

static const char *const blocking_names[] = {
    "pthread_join",
    "pthread_timedjoin_np",
    "thrd_join",
    "uv_thread_join",
    "pthread_cond_wait",
    "pthread_cond_timedwait",
    "pthread_cond_clockwait",
    "cnd_wait",
    "cnd_timedwait",
    "uv_cond_wait",
    "uv_cond_timedwait",
    "sem_wait",
    "sem_timedwait",
    "sem_clockwait",
    "uv_sem_wait",
    "pthread_barrier_wait",
    "uv_barrier_wait",
    "uv_run",
    "uv_queue_work",
    "sleep",
    "usleep",
    "nanosleep",
    "clock_nanosleep",
    "thrd_sleep",
    "uv_sleep",
    "poll",
    "ppoll",
    "select",
    "pselect",
    "epoll_wait",
    "epoll_pwait",
    "waitpid",
    "wait",
    "flock",
    "getaddrinfo",
    "FUTEX_WAIT",
    "FUTEX_WAIT_PRIVATE",
    "pthread_mutex_lock",
    "uv_mutex_lock",
    "mtx_lock",
    "uv_rwlock_rdlock",
    "uv_rwlock_wrlock",
};

static bool is_blocking_name(const char *word, size_t length)
{
    for (size_t i = 0; i < COUNT(blocking_names); i++)
        if (strlen(blocking_names[i]) == length && memcmp(blocking_names[i], word, length) == 0) return true;
    return false;
}

/* Blanks comments, strings and character constants, so that only code is left. */
static void blank(char *text)
{
    enum { CODE, LINE, COMMENT, STRING, CHARACTER } in = CODE;
    for (char *c = text; *c; c++) {
        char here = *c, after = c[1];
        if (in == CODE) {
            if (here == '/' && after == '/')
                in = LINE;
            else if (here == '/' && after == '*')
                in = COMMENT;
            else if (here == '"')
                in = STRING;
            else if (here == '\'')
                in = CHARACTER;
            if (in == LINE || in == COMMENT) *c++ = ' ';
            if (in != CODE) *c = ' ';
            continue;
        }
        bool ends = (in == LINE && here == '\n') || (in == COMMENT && here == '*' && after == '/') || (in == STRING && here == '"') ||
                    (in == CHARACTER && here == '\'');
        bool escapes = (in == STRING || in == CHARACTER) && here == '\\' && after;
        if (here != '\n') *c = ' ';
        if (escapes || (ends && in == COMMENT)) *++c = ' ';
        if (ends) in = CODE;
    }
}

/* Synchronous calls of uv_fs_*: those whose last argument is NULL. */
static bool is_synchronous_fs(const char *after)
{
    int depth = 0;
    const char *last = NULL;
    while (*after && isspace((unsigned char)*after)) after++;
    if (*after != '(') return false;
    for (const char *c = after; *c; c++) {
        if (*c == '(') depth++;
        if ((*c == ',' && depth == 1) || (*c == '(' && depth == 1)) last = c + 1;
        if (*c == ')' && --depth == 0) break;
    }
    while (last && isspace((unsigned char)*last)) last++;
    return last && strncmp(last, "NULL", 4) == 0;
}

/* The number of blocking names in a source text; the first is written down as name:line. */
static int scan(char *text, char *first, size_t size)
{
    int found = 0, line = 1;
    blank(text);
    for (char *c = text; *c;) {
        if (*c == '\n') line++;
        if (!isalpha((unsigned char)*c) && *c != '_') {
            c++;
            continue;
        }
        char *word = c;
        while (isalnum((unsigned char)*c) || *c == '_') c++;
        size_t length = (size_t)(c - word);
        bool member = word > text && (word[-1] == '.' || (word[-1] == '>' && word > text + 1 && word[-2] == '-'));
        bool fs = length > 6 && memcmp(word, "uv_fs_", 6) == 0 && is_synchronous_fs(c);
        if ((member || !is_blocking_name(word, length)) && !fs) continue;
        const char *after = c;
        while (isspace((unsigned char)*after)) after++;
        if (*after != '(' && !fs && memcmp(word, "FUTEX", 5) != 0) continue;
        if (found++ == 0) snprintf(first, size, "%.*s:%d", (int)length, word, line);
    }
    return found;
}

/* Where threads wait: the executors, the backends' operations, which run on workers, the disk threads of the fetcher, and the lock around cJSON's parser, which runs on the checks thread. */
static bool may_block(const char *path)
{
    return strstr(path, "/executor_") || strstr(path, "thread") || strstr(path, "/backends/") || strstr(path, "/fetch/disk.c") || strstr(path, "/fetch/blob.c") ||
           strstr(path, "/registry/json.c");
}

static int scanned;
static void scan_folder(const char *folder)
{
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        char path[1024], first[160];
        struct stat info;
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (stat(path, &info) != 0) continue;
        if (S_ISDIR(info.st_mode)) scan_folder(path);
        const char *dot = strrchr(e->d_name, '.');
        if (!S_ISREG(info.st_mode) || !dot || (strcmp(dot, ".c") != 0 && strcmp(dot, ".h") != 0) || may_block(path)) continue;
        FILE *f = fopen(path, "rb");
        char *text = calloc(1, (size_t)info.st_size + 2);
        assert_non_null(f);
        assert_non_null(text);
        assert_size(fread(text, 1, (size_t)info.st_size, f), info.st_size);
        fclose(f);
        int found = scan(text, first, sizeof first);
        free(text);
        scanned++;
        if (found) fail_msg("%s has %d calls that block, the first is %s", path, found, first);
    }
    closedir(d);
}

static void no_source_outside_the_executors_names_a_blocking_call(void **state)
{
    (void)state;
    scanned = 0;
    scan_folder(CADRE_SOURCE_DIR);
    assert_true(scanned > 10);
}

static void the_scan_sees_planted_calls(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int found;
        const char *first;
    } cases[] = {
        {"void f(void) {\n  pthread_join(t, NULL);\n}", 1, "pthread_join:2"},
        {"uv_run (loop, UV_RUN_ONCE); usleep(3);", 2, "uv_run:1"},
        {"uv_fs_stat(loop, &r, path, NULL);", 1, "uv_fs_stat:1"},
        {"uv_fs_open(loop, &r, f(a, NULL),\n 0, 0, NULL);", 1, "uv_fs_open:1"},
        {"uv_fs_stat(loop, &r, NULL, on_stat);", 0, NULL},
        {"/* pthread_join(t) */ // sem_wait(s)\nchar *s = \"uv_run(\\\"x\\\")\"; char c = '\\''; my_sleep(1);", 0, NULL},
        {"syscall(SYS_futex, &w, FUTEX_WAIT_PRIVATE, 1, NULL);", 1, "FUTEX_WAIT_PRIVATE:1"},
        {"executor->wait(x); ops.poll(y); sleeping(z); int sleep = 3;", 0, NULL},
        {"/* a\n * b */ sem_wait(\n&s);", 1, "sem_wait:2"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[256], first[64] = "";
        snprintf(text, sizeof text, "%s", cases[i].text);
        row("%s", cases[i].text);
        assert_int_equal(scan(text, first, sizeof first), cases[i].found);
        if (cases[i].first) assert_string_equal(first, cases[i].first);
    }
    row("%s", "");
}

/* ---- the interposer ---- */

static long call_long(const char *name)
{
    long (*hook)(void) = NULL;
    void *symbol = dlsym(RTLD_DEFAULT, name);
    if (!symbol) return -1;
    memcpy(&hook, &symbol, sizeof hook);
    return hook();
}

static int take_faults(void)
{
    int (*hook)(void) = NULL;
    void *symbol = dlsym(RTLD_DEFAULT, "interpose_take_faults");
    if (!symbol) return -1;
    memcpy(&hook, &symbol, sizeof hook);
    return hook();
}

static bool is_interposed(void)
{
    return dlsym(RTLD_DEFAULT, "interpose_enter") != NULL;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition_variable = PTHREAD_COND_INITIALIZER;
static const struct timespec no_time = {0, 0}, past = {1, 0};

static void plant_cond(void)
{
    pthread_mutex_lock(&lock);
    pthread_cond_timedwait(&condition_variable, &lock, &past);
    pthread_mutex_unlock(&lock);
}
static void plant_sem(void)
{
    sem_t s;
    sem_init(&s, 0, 1);
    sem_wait(&s);
    sem_destroy(&s);
}
static void nothing(void *data)
{
    (void)data;
}
static void plant_join(void)
{
    helper h;
    helper_start(&h, nothing, NULL);
    pthread_join(h.thread, NULL);
}
static void plant_uv_join(void)
{
    uv_thread_t t;
    uv_thread_create(&t, nothing, NULL);
    uv_thread_join(&t);
}
static void plant_sleep(void)
{
    nanosleep(&no_time, NULL);
}
static void plant_uv_sleep(void)
{
    uv_sleep(0);
}
static void plant_poll(void)
{
    poll(NULL, 0, 1);
}
static void plant_futex(void)
{
    static int word;
    syscall(SYS_futex, &word, FUTEX_WAIT, 1, NULL, NULL, 0);
}
static void plant_barrier(void)
{
    uv_barrier_t b;
    uv_barrier_init(&b, 1);
    uv_barrier_wait(&b);
    uv_barrier_destroy(&b);
}
static void plant_nested_run(void)
{
    uv_loop_t loop;
    uv_loop_init(&loop);
    uv_run(&loop, UV_RUN_NOWAIT);
    uv_loop_close(&loop);
}

static void (*planted)(void);
static void on_posted(cadre_pool *pool, void *data)
{
    (void)pool;
    if (planted) planted();
    ++*(int *)data;
}

static void the_interposer_sees_each_blocking_call_on_the_loop_and_none_elsewhere(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        void (*run)(void);
    } plants[] = {{"pthread_cond_timedwait", plant_cond},
                  {"sem_wait", plant_sem},
                  {"pthread_join", plant_join},
                  {"uv_thread_join", plant_uv_join},
                  {"nanosleep", plant_sleep},
                  {"uv_sleep", plant_uv_sleep},
                  {"poll", plant_poll},
                  {"futex", plant_futex},
                  {"uv_barrier_wait", plant_barrier},
                  {"a nested uv_run", plant_nested_run}};
    if (!is_interposed()) skip();
    for (size_t i = 0; i < COUNT(plants); i++) {
        row("%s", plants[i].name);
        fixture *fx = fixture_begin();
        int ran = 0;
        planted = NULL;
        assert_status(cadre_port_post(fx->port, on_posted, &ran), 0);
        run_until_int(fx, &ran, 1);
        assert_int_equal(take_faults(), 0);
        planted = plants[i].run;
        assert_status(cadre_port_post(fx->port, on_posted, &ran), 0);
        run_until_int(fx, &ran, 2);
        assert_true(take_faults() >= 1);
        fixture_end(fx);
    }
}

#define BUSY 3000
/* A busy scripted suite on a loop of its own, without anything of the test's that waits: no gates, no traces beyond their room. Returns the loop's voluntary
 * switches outside the poll. */
static long switches_of_a_busy_pool(void (*plant)(void))
{
    fixture *fx = fixture_begin();
    planted = plant;
    script *text = script_new(fx, CADRE_TEXT_TO_TEXT, KIND_BLOCKING, "text"), *vectors = script_new(fx, CADRE_TEXT_EMBEDDING, KIND_BLOCKING, "vectors");
    text->slots = 4;
    cadre_spawn_options options = CADRE_SPAWN_OPTIONS_INIT;
    options.queue_capacity = BUSY;
    options.batch_window_us = 0;
    assert_status(script_spawn_with(text, NULL, &options), 0);
    assert_status(script_spawn_with(vectors, NULL, &options), 0);
    int ran = 0;
    for (int i = 0; i < BUSY; i++) {
        ask(i % 2 ? text : vectors, "hello");
        assert_status(cadre_port_post(fx->port, on_posted, &ran), 0);
        if (i % 8 == 0) fixture_turn(fx);
    }
    until_all_done(fx);
    run_until_int(fx, &ran, BUSY);
    call_long("interpose_switches_outside");
    fixture_end(fx);
    return call_long("interpose_switches_outside");
}

static void give_up_the_processor(void)
{
    static const struct timespec a_moment = {0, 1};
    clock_nanosleep(CLOCK_MONOTONIC, 0, &a_moment, NULL);
}

static void the_loop_gives_the_processor_up_in_the_poll_only(void **state)
{
    (void)state;
    if (!is_interposed()) skip();
    long outside = switches_of_a_busy_pool(NULL);
    print_message("voluntary switches of the loop thread outside the poll: %ld, after %ld polls\n", outside, call_long("interpose_polls"));
    /* The kernel and the allocator may make a thread wait for their own locks now and then; one wait a request would be thousands. */
    assert_true(outside <= BUSY / 50);
    planted = NULL;
}

static void the_count_of_switches_sees_a_planted_wait(void **state)
{
    (void)state;
    if (!is_interposed()) skip();
    fixture *fx = fixture_begin();
    int ran = 0;
    call_long("interpose_switches_outside");
    planted = give_up_the_processor;
    for (int i = 0; i < 200; i++) assert_status(cadre_port_post(fx->port, on_posted, &ran), 0);
    run_until_int(fx, &ran, 200);
    planted = NULL;
    assert_true(take_faults() >= 200);
    fixture_end(fx);
    assert_true(call_long("interpose_switches_outside") >= 100);
}

/* ---- the other checkers of the suites ---- */

static void the_allocator_sees_a_leak_and_a_wrong_size(void **state)
{
    (void)state;
    test_memory m;
    memset(&m, 0, sizeof m);
    cadre_allocator a = test_allocator(&m);
    void *p = a.alloc(24, a.data);
    assert_int_equal(atomic_load(&m.blocks), 1);
    assert_int_equal(atomic_load(&m.bytes), 24);
    print_message("(the next complaint is planted)\n");
    a.free(p, 23, a.data);
    assert_int_equal(atomic_load(&m.faults), 1);
    assert_int_equal(atomic_load(&m.blocks), 0);
    atomic_store(&m.fail_at, 2);
    assert_null(a.alloc(1, a.data));
    assert_int_equal(atomic_load(&m.failures), 1);
}

#define SUITE blocking
#include "suite.h"
