#include "support.h"

#include "scripted.h"

#include <dirent.h>
#include <dlfcn.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

/* The interposer's, when it is preloaded. */
static void call_hook(const char *name)
{
    void (*hook)(void) = NULL;
    void *symbol = dlsym(RTLD_DEFAULT, name);
    if (!symbol) return;
    memcpy(&hook, &symbol, sizeof hook);
    hook();
}

/* ---- rows, assertions, the watchdog ---- */

static char current_test[160], current_row[160];

void row(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(current_row, sizeof current_row, format, list);
    va_end(list);
}

void support_assert_status(int actual, int expected, const char *expression, const char *file, int line)
{
    if (actual == expected) return;
    print_error("%s is %s (%d), not %s (%d)\n", expression, cadre_err_name(actual), actual, cadre_err_name(expected), expected);
    _fail(file, line);
}

void support_assert_contains(const char *text, const char *part, const char *file, int line)
{
    if (text && strstr(text, part)) return;
    print_error("\"%s\" is not in \"%s\"\n", part, text ? text : "(null)");
    _fail(file, line);
}

static void put(const char *text)
{
    (void)!write(STDERR_FILENO, text, strlen(text));
}

static void on_alarm(int signal_number)
{
    (void)signal_number;
    put("watchdog: ");
    put(current_test);
    put(" [");
    put(current_row);
    put("] hangs\n");
    abort();
}

static void *nothing(void *data)
{
    return data;
}

int support_setup(void **state)
{
    /* ThreadSanitizer starts a thread of its own with the first one of ours; fixtures count from there. */
    pthread_t first;
    call_hook("interpose_reset");
    if (pthread_create(&first, NULL, nothing, NULL) == 0) pthread_join(first, NULL);
    snprintf(current_test, sizeof current_test, "%s", (const char *)*state);
    current_row[0] = '\0';
    signal(SIGALRM, on_alarm);
    const char *seconds = getenv("CADRE_TEST_WATCHDOG");
    alarm(seconds ? (unsigned)atoi(seconds) : WATCHDOG_S);
    return 0;
}

int support_teardown(void **state)
{
    (void)state;
    alarm(0);
    if (current_row[0]) print_error("in row [%s]\n", current_row);
    return 0;
}

/* ---- memory ---- */

typedef struct block {
    size_t bytes;
    uint64_t magic;
} block;
#define BLOCK_LIVE UINT64_C(0x600d600d600d600d)
#define BLOCK_DEAD UINT64_C(0xdeaddeaddeaddead)
_Static_assert(sizeof(block) % _Alignof(max_align_t) == 0, "blocks keep the alignment");

static void *memory_alloc(size_t bytes, void *data)
{
    test_memory *m = data;
    long number = (long)atomic_fetch_add_explicit(&m->allocations, 1, memory_order_relaxed) + 1;
    long fail_at = atomic_load_explicit(&m->fail_at, memory_order_relaxed);
    if (fail_at && (number == fail_at || (number > fail_at && atomic_load_explicit(&m->fail_all, memory_order_relaxed)))) {
        atomic_fetch_add_explicit(&m->failures, 1, memory_order_relaxed);
        return NULL;
    }
    if (bytes == 0) atomic_fetch_add_explicit(&m->faults, 1, memory_order_relaxed);
    block *b = malloc(sizeof *b + bytes);
    if (!b) abort();
    b->bytes = bytes;
    b->magic = BLOCK_LIVE;
    memset(b + 1, 0xa5, bytes);
    atomic_fetch_add_explicit(&m->blocks, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&m->bytes, (long)bytes, memory_order_relaxed);
    return b + 1;
}

static void memory_free(void *pointer, size_t bytes, void *data)
{
    test_memory *m = data;
    if (!pointer) {
        put("memory: free of NULL\n");
        atomic_fetch_add_explicit(&m->faults, 1, memory_order_relaxed);
        return;
    }
    block *b = (block *)pointer - 1;
    if (b->magic != BLOCK_LIVE || b->bytes != bytes) {
        fprintf(stderr, "memory: a block of %zu bytes is freed as %zu bytes%s\n", b->bytes, bytes, b->magic == BLOCK_LIVE ? "" : ", and it is not live");
        atomic_fetch_add_explicit(&m->faults, 1, memory_order_relaxed);
        if (b->magic != BLOCK_LIVE) return;
    }
    atomic_fetch_sub_explicit(&m->blocks, 1, memory_order_relaxed);
    memset(b + 1, 0xdd, b->bytes);
    b->magic = BLOCK_DEAD;
    /* Release, for fixture_end alone: nothing else acquires it, so no race is hidden. */
    atomic_fetch_sub_explicit(&m->bytes, (long)b->bytes, memory_order_release);
    free(b);
}

cadre_allocator test_allocator(test_memory *memory)
{
    cadre_allocator allocator = {sizeof allocator, memory_alloc, memory_free, memory};
    return allocator;
}

/* ---- gates and helpers ---- */

void gate_init(gate *g)
{
    memset(g, 0, sizeof *g);
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->changed, NULL);
}

void gate_destroy(gate *g)
{
    pthread_mutex_destroy(&g->lock);
    pthread_cond_destroy(&g->changed);
}

static void gate_set(gate *g, bool held, unsigned passes)
{
    pthread_mutex_lock(&g->lock);
    g->held = held;
    g->passes += passes;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
}

void gate_hold(gate *g)
{
    gate_set(g, true, 0);
}
void gate_open(gate *g)
{
    gate_set(g, false, 0);
}
void gate_pass(gate *g, unsigned n)
{
    gate_set(g, true, n);
}

void gate_wait(gate *g)
{
    pthread_mutex_lock(&g->lock);
    g->waiting++;
    while (g->held && g->passes == 0) pthread_cond_wait(&g->changed, &g->lock);
    if (g->held) g->passes--;
    g->waiting--;
    pthread_mutex_unlock(&g->lock);
}

unsigned gate_waiting(gate *g)
{
    pthread_mutex_lock(&g->lock);
    unsigned waiting = g->waiting;
    pthread_mutex_unlock(&g->lock);
    return waiting;
}

static void *helper_main(void *data)
{
    helper *h = data;
    h->run(h->data);
    return NULL;
}

void helper_start(helper *h, void (*run)(void *data), void *data)
{
    h->run = run;
    h->data = data;
    if (pthread_create(&h->thread, NULL, helper_main, h) != 0) abort();
}

void helper_join(helper *h)
{
    guard_leave();
    pthread_join(h->thread, NULL);
    guard_enter();
}

/* ---- the interposer's hooks ---- */

void guard_enter(void)
{
    call_hook("interpose_enter");
}
void guard_leave(void)
{
    call_hook("interpose_leave");
}
void guard_allow_join(void)
{
    call_hook("interpose_allow_join");
}

static int interposed_faults(void)
{
    int (*hook)(void) = NULL;
    void *symbol = dlsym(RTLD_DEFAULT, "interpose_take_faults");
    if (!symbol) return 0;
    memcpy(&hook, &symbol, sizeof hook);
    return hook();
}

/* ---- the fixture ---- */

bool several_fixtures;

static int count_threads(void)
{
    int n = 0;
    DIR *folder = opendir("/proc/self/task");
    if (!folder) return 0;
    for (struct dirent *e = readdir(folder); e; e = readdir(folder)) n += e->d_name[0] != '.';
    closedir(folder);
    return n;
}

static uint64_t fixture_now(void *data)
{
    fixture *fx = data;
    return atomic_load_explicit(&fx->now_ns, memory_order_relaxed);
}

static void fixture_log(cadre_log_level level, const char *message, void *data)
{
    if (level < CADRE_LOG_ERROR || level > CADRE_LOG_DEBUG) fixture_fault(data, "a log line has level %d", (int)level);
    if (!message || strchr(message, '\n')) fixture_fault(data, "a log line with a newline or none at all");
    if (getenv("CADRE_TEST_LOG")) fprintf(stderr, "log %d: %s\n", (int)level, message);
}

static void on_wake(uv_async_t *handle)
{
    (void)handle;
}

static void on_look(uv_prepare_t *handle)
{
    fixture *fx = handle->data;
    if (fx->holds && fx->holds(fx->holds_data)) fixture_wake(fx);
}

void fixture_wake(fixture *fx)
{
    uv_async_send(&fx->wake);
}
bool fixture_on_loop(const fixture *fx)
{
    return pthread_equal(fx->loop_thread, pthread_self()) != 0;
}

void fixture_fault(fixture *fx, const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    fprintf(stderr, "fault in %s [%s]: %s\n", current_test, current_row, text);
    atomic_fetch_add(&fx->faults, 1);
}

int fixture_try_begin(const cadre_pool_options *options, long fail_at, bool fail_all, fixture **out)
{
    fixture *fx = calloc(1, sizeof *fx);
    if (!fx) abort();
    assert_int_equal(uv_loop_init(&fx->loop), 0);
    assert_int_equal(uv_async_init(&fx->loop, &fx->wake, on_wake), 0);
    uv_unref((uv_handle_t *)&fx->wake);
    /* libuv runs prepare handles in the reverse of the order in which they were started. */
    assert_int_equal(uv_prepare_init(&fx->loop, &fx->look), 0);
    fx->look.data = fx;
    assert_int_equal(uv_prepare_start(&fx->look, on_look), 0);
    uv_unref((uv_handle_t *)&fx->look);
    fx->loop_thread = pthread_self();
    fx->threads = several_fixtures ? INT_MAX : count_threads();
    atomic_store(&fx->now_ns, UINT64_C(1000000000000));
    atomic_store(&fx->memory.fail_at, fail_at);
    atomic_store(&fx->memory.fail_all, fail_all);
    fx->report.size = sizeof fx->report;
    cadre_pool_options all = CADRE_POOL_OPTIONS_INIT;
    if (options) all = *options;
    cadre_allocator allocator = test_allocator(&fx->memory);
    cadre_clock clock = {sizeof clock, fixture_now, fx};
    all.allocator = &allocator;
    all.clock = &clock;
    all.log = fixture_log;
    all.log_data = fx;
    all.log_level = CADRE_LOG_DEBUG;
    if (!all.data) all.data = fx;
    if (all.memory_bytes == CADRE_DEFAULT) all.memory_bytes = 1 << 20;
    guard_enter();
    int rc = cadre_pool_create(&fx->pool, &fx->loop, &all);
    if (rc == 0) {
        fx->port = cadre_pool_port(fx->pool);
    } else {
        assert_null(fx->pool);
        fx->closed = true;
    }
    *out = fx;
    return rc;
}

fixture *fixture_begin_with(const cadre_pool_options *options)
{
    fixture *fx;
    assert_status(fixture_try_begin(options, 0, false, &fx), 0);
    assert_non_null(fx->port);
    return fx;
}

fixture *fixture_begin(void)
{
    return fixture_begin_with(NULL);
}

static void on_closed(cadre_pool *pool, const cadre_close_report *report, void *data)
{
    fixture *fx = data;
    if (fx->closed) fixture_fault(fx, "the close callback ran twice");
    if (pool != fx->pool || cadre_pool_loop(pool) != &fx->loop) fixture_fault(fx, "the close callback got another pool");
    if (!fixture_on_loop(fx) || fx->calling) fixture_fault(fx, "the close callback ran inside a call, or on another thread");
    if (report->size != sizeof *report) fixture_fault(fx, "the close report has size %zu", report->size);
    fx->report = *report;
    fx->closed = true;
    fx->pool = NULL;
}

void fixture_start_close(fixture *fx, const cadre_close_options *options)
{
    cadre_close_options all = CADRE_CLOSE_OPTIONS_INIT;
    if (options) all = *options;
    all.data = fx;
    guard_allow_join();
    fx->calling++;
    assert_status(cadre_pool_close(fx->pool, &all, on_closed), 0);
    fx->calling--;
    assert_false(fx->closed);
    fx->closing = true;
}

static bool is_closed(void *data)
{
    return ((fixture *)data)->closed;
}

void fixture_close(fixture *fx, const cadre_close_options *options)
{
    if (!fx->closing) fixture_start_close(fx, options);
    run_until(fx, is_closed, fx);
}

void fixture_end(fixture *fx)
{
    scripts_open(fx);
    if (!fx->closed) {
        scripts_let_go(fx);
        fixture_close(fx, NULL);
    }
    scripts_join(fx);
    cadre_port_release(fx->port);
    guard_leave();
    /* Threads that close had to abandon, or that end at this moment: the watchdog ends this if they never do. */
    while (fx->threads < INT_MAX && count_threads() > fx->threads) sched_yield();
    (void)atomic_load_explicit(&fx->memory.bytes, memory_order_acquire); /* what abandoned threads did last */
    uv_close((uv_handle_t *)&fx->wake, NULL);
    uv_close((uv_handle_t *)&fx->look, NULL);
    uv_run(&fx->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&fx->loop), 0);
    scripts_finish(fx);
    if (!fx->expect_report) {
        assert_size(fx->report.abandoned_threads, 0);
        assert_size(fx->report.held_promises, 0);
        assert_size(fx->report.held_weights, 0);
    }
    assert_int_equal(interposed_faults(), 0);
    assert_int_equal(atomic_load(&fx->memory.faults), 0);
    assert_int_equal(atomic_load(&fx->memory.blocks), 0);
    assert_int_equal(atomic_load(&fx->memory.bytes), 0);
    assert_int_equal(atomic_load(&fx->faults), 0);
    free(fx);
    if (current_row[0]) current_row[0] = '\0';
}

void fixture_advance(fixture *fx, int64_t ms)
{
    atomic_fetch_add(&fx->now_ns, (uint64_t)ms * 1000000);
    fixture_wake(fx);
}

void fixture_turn(fixture *fx)
{
    uv_ref((uv_handle_t *)&fx->wake); /* a loop that nothing keeps alive would not turn */
    uv_run(&fx->loop, UV_RUN_NOWAIT);
    uv_unref((uv_handle_t *)&fx->wake);
}

void run_until(fixture *fx, condition holds, void *data)
{
    fx->holds = holds;
    fx->holds_data = data;
    uv_ref((uv_handle_t *)&fx->wake);
    while (!holds(data)) uv_run(&fx->loop, UV_RUN_ONCE);
    fx->holds = NULL;
    uv_unref((uv_handle_t *)&fx->wake);
}

struct at_least {
    const int *value;
    atomic_int *atomic;
    int n;
};
static bool is_at_least(void *data)
{
    struct at_least *a = data;
    return (a->atomic ? atomic_load(a->atomic) : *a->value) >= a->n;
}

void run_until_int(fixture *fx, const int *value, int n)
{
    struct at_least a = {value, NULL, n};
    run_until(fx, is_at_least, &a);
}

void run_until_atomic(fixture *fx, atomic_int *value, int n)
{
    struct at_least a = {NULL, value, n};
    run_until(fx, is_at_least, &a);
}

static void on_settled(cadre_pool *pool, void *data)
{
    (void)pool;
    ++*(int *)data;
}

void settle(fixture *fx)
{
    for (int i = 0; i < 8; i++) {
        int served = 0;
        if (fx->closed || cadre_port_post(fx->port, on_settled, &served) != 0) {
            fixture_turn(fx);
            continue;
        }
        run_until_int(fx, &served, 1);
        fixture_turn(fx);
    }
}

uint64_t charged(fixture *fx, uint32_t device)
{
    cadre_memory_usage usage = CADRE_MEMORY_USAGE_INIT;
    assert_status(cadre_memory_get_usage(fx->pool, device, &usage), 0);
    assert_true(usage.charged_bytes <= usage.budget_bytes);
    return usage.charged_bytes;
}

uint64_t reservations(fixture *fx, uint32_t device)
{
    cadre_memory_usage usage = CADRE_MEMORY_USAGE_INIT;
    assert_status(cadre_memory_get_usage(fx->pool, device, &usage), 0);
    return usage.reservation_count;
}

cadre_reservation *reserve(fixture *fx, uint64_t bytes)
{
    cadre_memory_amount amount = {CADRE_DEVICE_HOST, bytes};
    cadre_reservation *reservation = NULL;
    assert_status(cadre_memory_try_reserve(fx->pool, &amount, 1, &reservation), 0);
    assert_non_null(reservation);
    return reservation;
}
