/* fetch: four files of 256 MiB of random bytes from a hub on this machine (see hub.h), by libcadre-fetch into an empty cache of its own, checked by SHA-256 as
 * they come, against curl's own tool with four parallel transfers and then sha256sum of the four. Both write to the same file system, find nothing there, and
 * run beside a probe on the loop (a timer of 1 ms and a uv_fs_stat at each tick), which for curl is a loop that has nothing else to do.
 *
 *   bytes_per_s               of the four files, until they are in the cache and known to be right
 *   bytes_per_s_synced        against curl, sha256sum and sync of the four: what the fetcher has done when it says so
 *   bytes_per_s_openssl       against curl and `openssl dgst`, whose SHA-256 is that of libcrypto as the fetcher's is
 *   bytes_per_s_curl_alone    against curl, nothing checked
 *   timer_lag_p99, _p99_9     from the time a tick is due to its callback, against the same loop, idle, as in stall
 *   timer_lag_p99_beside_curl likewise, the peer being the loop that is idle while curl, sha256sum and the others run
 *   callback_longest          the longest library callback in CPU time of the loop's thread (see interpose.h)
 *   timer_lag_p99_1_gbit, callback_longest_1_gbit   the same while two of the files come at 62.5 MB/s each, as over a line of 1 Gbit/s: above, nothing but this
 *                             machine's CPUs holds the bytes back, and the loop, two threads that hash and write, and the server want them all */
#include "hub.h"
#include "interpose.h"
#include "probe.h"

#include <cadre/fetch.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES 4
#define PACED_FILES 2
#define FILE_BYTES (UINT64_C(256) << 20)
#define CHUNK (1u << 20)

typedef struct run {
    uv_loop_t loop;
    cadre_pool *pool;
    hub_file files[FILES];
    hub hub;
    char cache[512], copies[512], sums[600];
    double seconds, curl, sha256sum, sync, openssl; /* of the last run of each */
    double fsync_ms;
} run;

/* ---- what the fetcher's fsync takes ---- */

static _Atomic uint64_t fsync_ns;

static int timed_sync(const char *name, int fd)
{
    int (*function)(int);
    void *symbol = dlsym(RTLD_NEXT, name);
    uint64_t start = bench_now_ns();
    memcpy(&function, &symbol, sizeof function);
    int rc = function(fd);
    atomic_fetch_add_explicit(&fsync_ns, bench_now_ns() - start, memory_order_relaxed);
    return rc;
}

/* The library's calls come here. */
int fsync(int fd)
{
    return timed_sync("fsync", fd);
}

int fdatasync(int fd)
{
    return timed_sync("fdatasync", fd);
}

/* ---- files ---- */

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *at)
{
    (void)status, (void)type, (void)at;
    if (remove(path) != 0) bench_fail("cannot remove %s: %s", path, strerror(errno));
    return 0;
}

static void empty_folder(const char *path)
{
    struct stat status;
    if (stat(path, &status) == 0) nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    if (mkdir(path, 0755) != 0) bench_fail("cannot make %s: %s", path, strerror(errno));
}

/* splitmix64. */
static void make_file(const hub_file *file, uint64_t seed)
{
    struct stat status;
    if (stat(file->path, &status) == 0 && (uint64_t)status.st_size == file->bytes) return;
    FILE *out = fopen(file->path, "wb");
    uint64_t *chunk = malloc(CHUNK), x = seed << 56;
    if (!out || !chunk) bench_fail("cannot write %s: %s", file->path, strerror(errno));
    for (uint64_t left = file->bytes; left > 0; left -= CHUNK) {
        for (size_t i = 0; i < CHUNK / sizeof *chunk; i++) {
            uint64_t z = x += 0x9e3779b97f4a7c15u;
            z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
            z = (z ^ z >> 27) * 0x94d049bb133111ebu;
            chunk[i] = z ^ z >> 31;
        }
        if (fwrite(chunk, CHUNK, 1, out) != 1) bench_fail("cannot write %s: %s", file->path, strerror(errno));
    }
    free(chunk);
    if (fclose(out) != 0) bench_fail("cannot write %s: %s", file->path, strerror(errno));
}

/* ---- programs beside the loop ---- */

typedef struct program {
    uv_process_t process;
    int64_t status;
    int done;
} program;

static void on_exit_program(uv_process_t *process, int64_t status, int signal)
{
    program *p = process->data;
    p->status = signal ? -1 : status;
    p->done = 1;
}

/* Runs it while the loop runs; returns seconds. `out`: a file for what it prints, or NULL. */
static double run_program(run *r, const char *const *argv, const char *out)
{
    program p = {.process.data = &p};
    uv_stdio_container_t stdio[3] = {{.flags = UV_IGNORE}, {.flags = UV_IGNORE}, {.flags = UV_INHERIT_FD, .data.fd = 2}};
    uv_process_options_t options = {.exit_cb = on_exit_program, .file = argv[0], .args = (char **)(uintptr_t)argv, .stdio_count = 3, .stdio = stdio};
    int fd = out ? open(out, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644) : -1;
    if (out && fd < 0) bench_fail("cannot write %s: %s", out, strerror(errno));
    if (out) stdio[1] = (uv_stdio_container_t){.flags = UV_INHERIT_FD, .data.fd = fd};
    uint64_t start = bench_now_ns();
    int rc = uv_spawn(&r->loop, &p.process, &options);
    if (rc != 0) bench_fail("cannot run %s: %s", argv[0], uv_strerror(rc));
    while (!p.done) uv_run(&r->loop, UV_RUN_ONCE);
    double seconds = (double)(bench_now_ns() - start) / 1e9;
    if (p.status != 0) bench_fail("%s failed (%" PRId64 ")", argv[0], p.status);
    if (fd >= 0) close(fd);
    uv_close((uv_handle_t *)&p.process, NULL);
    uv_run(&r->loop, UV_RUN_NOWAIT);
    return seconds;
}

/* ---- the two sides ---- */

static double run_curl(run *r)
{
    char urls[FILES][256], paths[FILES][600];
    const char *argv[5 + 3 * FILES + 1] = {"curl", "--no-progress-meter", "--show-error", "--fail", "--parallel"};
    size_t n = 5;
    for (size_t i = 0; i < FILES; i++) {
        snprintf(urls[i], sizeof urls[i], "http://127.0.0.1:%d/" HUB_REPOSITORY "/resolve/main/%s", r->hub.port, r->files[i].name);
        snprintf(paths[i], sizeof paths[i], "%s/%s", r->copies, r->files[i].name);
        argv[n++] = "--output";
        argv[n++] = paths[i];
        argv[n++] = urls[i];
    }
    return run_program(r, argv, NULL);
}

/* A program with the paths of the four copies. */
static double run_over_copies(run *r, const char *const *words)
{
    char paths[FILES][600];
    const char *argv[4 + FILES + 1] = {NULL};
    size_t n = 0;
    for (; words[n]; n++) argv[n] = words[n];
    for (size_t i = 0; i < FILES; i++) {
        snprintf(paths[i], sizeof paths[i], "%s/%s", r->copies, r->files[i].name);
        argv[n++] = paths[i];
    }
    return run_program(r, argv, NULL);
}

static void by_curl(run *r)
{
    static const char *const sync_words[] = {"sync", NULL}, *const openssl_words[] = {"openssl", "dgst", "-sha256", NULL};
    const char *const check[] = {"sha256sum", "--check", "--status", "--strict", r->sums, NULL};
    r->curl = run_curl(r);
    r->sha256sum = run_program(r, check, NULL);
    r->sync = run_over_copies(r, sync_words);
    r->openssl = run_over_copies(r, openssl_words);
}

static void check_found(run *r, const cadre_file_fetcher *files, const char *reference, const hub_file *file)
{
    char path[4096], detail[512];
    struct stat status;
    int rc = files->find(files->self, reference, path, sizeof path, detail, sizeof detail);
    if (rc != 0) bench_fail("%s is not in the cache: %s (%s)", reference, cadre_err_name(rc), detail);
    if (stat(path, &status) != 0 || (uint64_t)status.st_size != file->bytes) bench_fail("%s has not the right size", path);
    const char *const compare[] = {"cmp", "--silent", path, file->path, NULL};
    run_program(r, compare, NULL);
}

static void on_closed(void *data)
{
    *(int *)data = 1;
}

/* A fetcher for each round, so that it finds no open connections. `whole`: compares what it brought, byte by byte; its time is not counted. */
static void by_fetcher(run *r, const char *revision, size_t count, int whole)
{
    char endpoint[64], references[FILES][64];
    const char *pointers[FILES];
    cadre_fetcher *fetcher;
    cadre_fetch_options options = CADRE_FETCH_OPTIONS_INIT;
    int rc, closed = 0;
    snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%d", r->hub.port);
    for (size_t i = 0; i < count; i++) {
        snprintf(references[i], sizeof references[i], "hf:" HUB_REPOSITORY "@%.8s/%.31s", revision, r->files[i].name);
        pointers[i] = references[i];
    }
    options.endpoint = endpoint;
    options.cache = r->cache;
    options.token = "";
    options.offline = 0;
    atomic_store(&fsync_ns, 0);
    uint64_t start = bench_now_ns();
    rc = cadre_fetcher_create(&fetcher, &r->loop, &options);
    if (rc != 0) bench_fail("making a fetcher: %s", cadre_err_name(rc));
    const cadre_file_fetcher *files = cadre_fetcher_files(fetcher);
    interpose_begin();
    cadre_weights_future *future = files->fetch(files->self, r->pool, pointers, count);
    interpose_end();
    if (!future) bench_fail("out of memory");
    while ((rc = cadre_weights_future_status(future)) == CADRE_EAGAIN) uv_run(&r->loop, UV_RUN_ONCE);
    r->seconds = (double)(bench_now_ns() - start) / 1e9;
    r->fsync_ms = (double)atomic_load(&fsync_ns) / 1e6;
    if (rc != 0) bench_fail("fetching: %s (%s)", cadre_err_name(rc), cadre_weights_future_detail(future));
    cadre_weights_future_release(future);
    if (whole)
        for (size_t i = 0; i < count; i++) check_found(r, files, references[i], &r->files[i]);
    cadre_fetcher_close(fetcher, on_closed, &closed);
    while (!closed) uv_run(&r->loop, UV_RUN_ONCE);
}

/* ---- rounds ---- */

typedef struct rows {
    bench_row rate, synced, openssl, alone, lag, lag999, beside, longest, paced, paced_longest;
} rows;

static void init_rows(rows *r)
{
    static const char *const name = "fetch", *const idle = "the same loop, idle";
    bench_row_init(&r->rate, name, "bytes/s", "curl --parallel, then sha256sum", "ratio >= 1.0", "bytes_per_s");
    bench_row_init(&r->synced, name, "bytes/s", "the same, then sync", "none", "bytes_per_s_synced");
    bench_row_init(&r->openssl, name, "bytes/s", "curl --parallel, then openssl dgst", "none", "bytes_per_s_openssl");
    bench_row_init(&r->alone, name, "bytes/s", "curl --parallel, unchecked", "none", "bytes_per_s_curl_alone");
    bench_row_init(&r->lag, name, "us p99", idle, "ratio <= 1.1", "timer_lag_p99");
    bench_row_init(&r->lag999, name, "us p99.9", idle, "at most 1000 us above the peer", "timer_lag_p99_9");
    bench_row_init(&r->beside, name, "us p99", "an idle loop beside curl and sha256sum", "none", "timer_lag_p99_beside_curl");
    bench_row_init(&r->longest, name, "us CPU", NULL, "value <= 200", "callback_longest");
    bench_row_init(&r->paced, name, "us p99", idle, "ratio <= 1.1", "timer_lag_p99_1_gbit");
    bench_row_init(&r->paced_longest, name, "us CPU", NULL, "value <= 200", "callback_longest_1_gbit");
}

enum { WAY_IDLE, WAY_FETCHER, WAY_PACED, WAY_CURL, WAY_COUNT };

static figures measure(run *r, int way)
{
    probe p;
    double seconds = 0;
    empty_folder(r->cache); /* not beside the probe: removing takes the loop's thread long */
    empty_folder(r->copies);
    probe_start(&p, &r->loop, r->files[0].path);
    switch (way) {
    case WAY_FETCHER: by_fetcher(r, "main", FILES, 0); break;
    case WAY_PACED: by_fetcher(r, HUB_PACED, PACED_FILES, 0); break;
    case WAY_CURL: by_curl(r); break;
    default: seconds = probe_idle(&r->loop); break;
    }
    return probe_stop(&p, seconds);
}

static void measure_round(run *r, rows *to, double *fsync_ms, int round)
{
    const double bytes = (double)FILES * (double)FILE_BYTES;
    figures f[WAY_COUNT];
    bench_samples callbacks = {0}, paced_callbacks = {0};
    double seconds = 0, fsync_spent = 0;
    for (int i = 0; i < WAY_COUNT; i++) {
        int way = (i + round) % WAY_COUNT;
        bench_samples before = interpose_take();
        bench_samples_free(&before);
        f[way] = measure(r, way);
        if (way == WAY_PACED) paced_callbacks = interpose_take();
        if (way != WAY_FETCHER) continue;
        callbacks = interpose_take();
        seconds = r->seconds;
        fsync_spent = r->fsync_ms;
    }
    double rate = bytes / seconds;
    bench_row_add(&to->rate, rate, bytes / (r->curl + r->sha256sum));
    bench_row_add(&to->synced, rate, bytes / (r->curl + r->sha256sum + r->sync));
    bench_row_add(&to->openssl, rate, bytes / (r->curl + r->openssl));
    bench_row_add(&to->alone, rate, bytes / r->curl);
    bench_row_add(&to->lag, f[WAY_FETCHER].lag_p99, f[WAY_IDLE].lag_p99);
    bench_row_add(&to->lag999, f[WAY_FETCHER].lag_p999, f[WAY_IDLE].lag_p999);
    bench_row_add(&to->beside, f[WAY_FETCHER].lag_p99, f[WAY_CURL].lag_p99);
    bench_row_add(&to->longest, bench_percentile(&callbacks, 1), 0);
    bench_row_add(&to->paced, f[WAY_PACED].lag_p99, f[WAY_IDLE].lag_p99);
    bench_row_add(&to->paced_longest, bench_percentile(&paced_callbacks, 1), 0);
    fsync_ms[round] = fsync_spent;
    bench_samples_free(&callbacks);
    bench_samples_free(&paced_callbacks);
}

static void open_run(run *r, const bench_args *args)
{
    char folder[400];
    const char *argv[1 + FILES + 1] = {"sha256sum"};
    if (!realpath(args->folder, folder) || strlen(folder) > 380) bench_fail("the folder %s: %s", args->folder, strerror(errno));
    snprintf(r->cache, sizeof r->cache, "%s/fetch.cache", folder);
    snprintf(r->copies, sizeof r->copies, "%s/fetch.copies", folder);
    snprintf(r->sums, sizeof r->sums, "%s/fetch.sums", folder);
    for (size_t i = 0; i < FILES; i++) {
        hub_file *file = &r->files[i];
        snprintf(file->name, sizeof file->name, "part-%zu.bin", i);
        snprintf(file->path, sizeof file->path, "%s/fetch.%zu.256MiB", folder, i);
        file->bytes = FILE_BYTES;
        make_file(file, i + 1);
        argv[1 + i] = file->path;
    }
    run_program(r, argv, r->sums);
    FILE *sums = fopen(r->sums, "r");
    for (size_t i = 0; i < FILES; i++)
        if (!sums || fscanf(sums, "%64s %*s", r->files[i].sha256) != 1) bench_fail("sha256sum says nothing");
    fclose(sums);
    sums = fopen(r->sums, "w"); /* as --check wants them, of the copies */
    if (!sums) bench_fail("cannot write %s: %s", r->sums, strerror(errno));
    for (size_t i = 0; i < FILES; i++) fprintf(sums, "%s  %s/%s\n", r->files[i].sha256, r->copies, r->files[i].name);
    fclose(sums);
    r->hub = hub_start(r->files, FILES);
}

static void print_rows(const bench_args *args, const run *r, const rows *to, const double *fsync_ms)
{
    const bench_row *const all[] = {&to->rate,   &to->synced, &to->openssl, &to->alone, &to->lag,
                                    &to->lag999, &to->beside, &to->longest, &to->paced, &to->paced_longest};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) bench_row_print(args, all[i]);
    bench_note(args, "the fetcher's fsync took %.0f ms in all (median; of its own threads' time), sync of curl's files %.0f ms in the last round",
               bench_median(fsync_ms, args->rounds), r->sync * 1e3);
    bench_note(args, "the last round: curl %.2f s, sha256sum %.2f s, openssl %.2f s; the server shares these CPUs with both sides", r->curl, r->sha256sum,
               r->openssl);
}

int main(int argc, char **argv)
{
    bench_args args;
    rows to;
    static run r;
    double fsync_ms[BENCH_ROUNDS_MAX];
    bench_parse(&args, argc, argv);
    int rc = uv_loop_init(&r.loop);
    if (rc != 0) bench_fail("a loop: %s", uv_strerror(rc));
    open_run(&r, &args);
    rc = cadre_pool_create(&r.pool, &r.loop, NULL);
    if (rc != 0) bench_fail("making a pool: %s", cadre_err_name(rc));
    init_rows(&to);
    empty_folder(r.cache);
    by_fetcher(&r, "main", FILES, 1);
    for (int round = 0; round < args.rounds; round++) measure_round(&r, &to, fsync_ms, round);
    empty_folder(r.cache);
    empty_folder(r.copies);
    print_rows(&args, &r, &to, fsync_ms);
    hub_stop(&r.hub);
    rc = cadre_pool_close(r.pool, NULL, NULL);
    uv_run(&r.loop, UV_RUN_DEFAULT);
    if (rc != 0 || uv_loop_close(&r.loop) != 0) bench_fail("closing the pool");
    bench_finish(&args);
    return 0;
}
