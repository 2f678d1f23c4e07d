/* libcadre-fetch and the cache: one that the hub's own package has made, one that cannot be written, a disk that is full, a file system without links; what the
 * environment says of it; and references that are none. */
#define TESTS_fetch_cache(X)                                                                                                                                   \
    X(references_are_checked)                                                                                                                                  \
    X(a_cache_of_the_hubs_own_package_is_used)                                                                                                                 \
    X(the_environment_names_the_cache)                                                                                                                         \
    X(a_read_only_cache_serves_and_says_so)                                                                                                                    \
    X(a_full_disk_is_told_before_a_byte)                                                                                                                       \
    X(a_small_disk_is_told_before_a_byte)                                                                                                                      \
    X(a_write_that_fails_keeps_what_came)                                                                                                                      \
    X(without_links_the_file_itself_is_there)                                                                                                                  \
    X(broken_links_and_refs_are_mended)                                                                                                                        \
    X(modes_follow_the_umask)                                                                                                                                  \
    X(a_file_where_a_folder_belongs_is_an_error)                                                                                                               \
    X(a_path_that_is_too_long_is_an_error)

#include "rig.h"

#include <dlfcn.h>
#include <errno.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static atomic_int no_links;

/* Instead of libc's, for the library too: a file system that knows no symbolic links. */
int symlink(const char *target, const char *path)
{
    int (*real)(const char *, const char *) = NULL;
    void *found_symbol = dlsym(RTLD_NEXT, "symlink");
    memcpy(&real, &found_symbol, sizeof real);
    if (!atomic_load(&no_links)) return real(target, path);
    errno = EPERM;
    return -1;
}

static void references_are_checked(void **state)
{
    (void)state;
    static const char *const good[] = {
        "hf:o/n/f",   "hf:o/n/a/b/c d.bin",           "hf:O-w_n.er1/N-a_m.e2/f",      "hf:o/n@v1.0/f", "hf:o/n@refs%2Fpr%2F1/f", "hf:gpt2@main/config.json",
        "hf:o/n/f@x", "hf:o/n/m-00002-of-00003.gguf", "hf:o/n/m-00001-of-00002.gguf", "hf:o/n/…"};
    static const char *const bad[] = {"",
                                      "o/n/f",
                                      "HF:o/n/f",
                                      "hf:",
                                      "hf:o",
                                      "hf:o/n",
                                      "hf:o/n/",
                                      "hf:/n/f",
                                      "hf:o//f",
                                      "hf:o/n//f",
                                      "hf:o/n/a//b",
                                      "hf:o/n/a/",
                                      "hf:o/n/../f",
                                      "hf:o/n/a/..",
                                      "hf:o/n/./f",
                                      "hf:../n/f",
                                      "hf:o/../f",
                                      "hf:o/n--x/f",
                                      "hf:o/n..x/f",
                                      "hf:-o/n/f",
                                      "hf:o/n./f",
                                      "hf:o/n.git/f",
                                      "hf:o/n x/f",
                                      "hf:o/n@/f",
                                      "hf:o/n@a%2F..%2Fb/f",
                                      "hf:o/n@%2Fa/f",
                                      "hf:o/n@a%2/f",
                                      "hf:o/n@a%00b/f",
                                      "hf:o/n/a\\b",
                                      "hf:o/n/a\nb",
                                      "hf:o/n/m-00001-of-99999.gguf"};
    rig *r = rig_begin();
    char path[4096], detail[512], text[2048];
    rig_open(r);
    for (size_t i = 0; i < COUNT(good); i++) {
        row("%s", good[i]);
        assert_status(r->files->find(r->files->self, good[i], path, sizeof path, detail, sizeof detail), UV_ENOENT);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        row("%s", bad[i]);
        assert_status(r->files->find(r->files->self, bad[i], path, sizeof path, detail, sizeof detail), CADRE_EINVAL);
        assert_true(detail[0]);
        assert_status(r->files->find(r->files->self, bad[i], path, sizeof path, NULL, 0), CADRE_EINVAL);
    }
    snprintf(text, sizeof text, "hf:o/%0*d/f", 97, 1);
    assert_status(r->files->find(r->files->self, text, path, sizeof path, detail, sizeof detail), CADRE_EINVAL);
    snprintf(text, sizeof text, "hf:o/n/%0*d", 256, 1);
    assert_status(r->files->find(r->files->self, text, path, sizeof path, detail, sizeof detail), CADRE_EINVAL);
    rig_end(r);
}

/* reference/cache.txt as a tree below the cache's folder. */
static void build_reference(rig *r)
{
    char line[1024], what[16], name[512], rest[256], path[1024];
    FILE *file = fopen(CADRE_FETCH_TESTS "/reference/cache.txt", "r");
    unsigned lines = 0;
    assert_non_null(file);
    assert_int_equal(mkdir(r->cache, 0777), 0);
    while (fgets(line, sizeof line, file)) {
        rest[0] = '\0';
        if (line[0] == '#') continue;
        assert_true(sscanf(line, "%15s %511s %255s", what, name, rest) >= 2);
        snprintf(path, sizeof path, "%s/%s", r->cache, name);
        lines++;
        if (strcmp(what, "folder") == 0) {
            assert_int_equal(mkdir(path, 0777), 0);
        } else if (strcmp(what, "link") == 0) {
            assert_int_equal(symlink(rest, path), 0);
        } else {
            unsigned char bytes[128];
            size_t length = strlen(rest) / 2;
            for (size_t i = 0; i < length; i++) {
                unsigned value;
                assert_int_equal(sscanf(rest + 2 * i, "%2x", &value), 1);
                bytes[i] = (unsigned char)value;
            }
            write_text(path, bytes, length);
        }
    }
    fclose(file);
    assert_true(lines > 20);
}

static void a_cache_of_the_hubs_own_package_is_used(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    build_reference(r);
    hub_file(r, "new.bin", 5000, 7, "lfs", NULL);
    rig_open(r);
    assert_int_equal(file_size(found(r, "hf:o/n/config.json")), 24);
    assert_int_equal(file_size(found(r, "hf:o/n@refs%2Fpr%2F1/config.json")), 20);
    assert_int_equal(file_size(found(r, "hf:o/n@" COMMIT_2 "/onnx/model.onnx")), 24);
    assert_content(r, "hf:o/n/onnx/model.onnx", "9c19a4e772774a496ed4f11e4500e90dbef7d824a3fc5cff56e52413583871fd");
    fetch_begin(r, &o, "hf:o/n/config.json", "hf:o/n/q-00001-of-00002.gguf", "hf:o/n/onnx/model.onnx", NULL);
    assert_status(fetch_wait(r, &o), 0);
    assert_int_equal(o.progress.total_bytes, 96);
    assert_int_equal(hub_log(r, NULL), 0);
    assert_status(fetch(r, &o, "hf:o/n/new.bin"), 0); /* one more beside them */
    assert_non_null(found(r, "hf:o/n/config.json"));
    rig_end(r);
}

static void the_environment_names_the_cache(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value, *cache;
    } rows[] = {{"HF_HUB_CACHE", "", ""},
                {"HUGGINGFACE_HUB_CACHE", "", ""},
                {"HF_HOME", "", "/hub"},
                {"XDG_CACHE_HOME", "", "/huggingface/hub"},
                {"HOME", "", "/.cache/huggingface/hub"},
                {"HF_HOME", "~/x", "/x/hub"}};
    rig *r = rig_begin();
    char *home = strdup(getenv("HOME"));
    hub_file(r, "a", 100, 1, "lfs", NULL);
    setenv("HF_ENDPOINT", r->endpoint, 1);
    r->options.endpoint = r->options.cache = NULL;
    for (size_t i = 0; i < COUNT(rows); i++) {
        outcome o;
        char base[128], expected[256];
        row("%s", rows[i].name);
        snprintf(base, sizeof base, "%s/%zu", r->folder, i);
        snprintf(expected, sizeof expected, "%s%s/models--o--n/", base, rows[i].cache);
        if (rows[i].value[0]) setenv("HOME", base, 1);
        setenv(rows[i].name, rows[i].value[0] ? rows[i].value : base, 1);
        rig_open(r);
        assert_status(fetch(r, &o, "hf:o/n/a"), 0);
        assert_int_equal(strncmp(found(r, "hf:o/n/a"), expected, strlen(expected)), 0);
        rig_close(r);
        if (strcmp(rows[i].name, "HOME") != 0) unsetenv(rows[i].name);
        setenv("HOME", home, 1);
    }
    free(home);
    unsetenv("HF_ENDPOINT");
    rig_end(r);
}

/* An own file system at the cache's folder. False: this machine does not let us. */
static bool mount_cache(rig *r, const char *options)
{
    return mkdir(r->cache, 0777) == 0 && mount("tmpfs", r->cache, "tmpfs", 0, options) == 0;
}

static void a_read_only_cache_serves_and_says_so(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    hub_file(r, "a", 5000, 1, "lfs", NULL);
    hub_file(r, "b", 5000, 2, "lfs", NULL);
    bool mounted = mount_cache(r, "size=1m");
    rig_open(r);
    assert_status(fetch(r, &o, "hf:o/n/a"), 0);
    if (mounted)
        assert_int_equal(mount(NULL, r->cache, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
    else if (geteuid() != 0)
        assert_int_equal(chmod(below(r, "blobs"), 0555) | chmod(below(r, "../.locks/models--o--n"), 0555), 0);
    if (mounted || geteuid() != 0) {
        assert_status(fetch(r, &o, "hf:o/n/a"), 0);
        assert_status(fetch(r, &o, "hf:o/n/b"), mounted ? UV_EROFS : UV_EACCES);
        assert_contains(o.detail, r->cache);
        assert_int_equal(hub_log(r, "GET", "/b", NULL), 0);
    } else {
        print_message("neither mount nor modes can make a folder read-only here\n");
    }
    rig_close(r);
    if (mounted)
        assert_int_equal(umount(r->cache), 0);
    else
        assert_int_equal(chmod(below(r, "blobs"), 0777) | chmod(below(r, "../.locks/models--o--n"), 0777), 0);
    rig_end(r);
}

static void a_full_disk_is_told_before_a_byte(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    hub_file(r, "a", 5000, 1, "lfs", NULL);
    hub_file(r, "b", 6000, 2, "lfs", NULL);
    r->options.keep_free_bytes = INT64_MAX;
    rig_open(r);
    fetch_begin(r, &o, "hf:o/n/a", "hf:o/n/b", NULL);
    assert_status(fetch_wait(r, &o), UV_ENOSPC);
    assert_contains(o.detail, "11000 bytes");
    assert_contains(o.detail, "9223372036854775807");
    assert_int_equal(hub_log(r, "GET", NULL), 0);
    rig_end(r);
}

static void a_small_disk_is_told_before_a_byte(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    hub_file(r, "a", 700000, 1, "lfs", NULL);
    hub_file(r, "b", 700000, 2, "lfs", NULL);
    if (mount_cache(r, "size=1m")) {
        rig_open(r);
        fetch_begin(r, &o, "hf:o/n/a", "hf:o/n/b", NULL);
        assert_status(fetch_wait(r, &o), UV_ENOSPC); /* each would fit, both do not */
        assert_int_equal(hub_log(r, "GET", NULL), 0);
        assert_status(fetch(r, &o, "hf:o/n/a"), 0);
        rig_close(r);
        assert_int_equal(umount(r->cache), 0);
    } else {
        print_message("no file system can be mounted here\n");
    }
    rig_end(r);
}

static void a_write_that_fails_keeps_what_came(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    process child;
    char etag[130], line[2048] = "", *end;
    hub_file(r, "a", 2000000, 1, "lfs", etag);
    setenv("CADRE_TEST_FILE_LIMIT", "1000000", 1);
    child_start(r, &child, "hf:o/n/a", NULL);
    while (child_line(&child, line, sizeof line) && strncmp(line, "end ", 4) != 0) continue;
    unsetenv("CADRE_TEST_FILE_LIMIT");
    assert_int_equal(WEXITSTATUS(process_end(&child)), 1);
    assert_int_equal(strtol(line + 4, &end, 10), UV_EFBIG);
    assert_contains(line, ".incomplete");
    assert_int_equal(file_size(below(r, "blobs/%s.incomplete", etag)), 1000000);
    rig_open(r);
    assert_status(fetch(r, &o, "hf:o/n/a"), 0);
    assert_content(r, "hf:o/n/a", etag);
    assert_int_equal(hub_log(r, "GET", "bytes=1000000-", NULL), 1);
    rig_end(r);
}

static void without_links_the_file_itself_is_there(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    struct stat info;
    char etag[130];
    hub_file(r, "a/b", 5000, 1, "lfs", etag);
    atomic_store(&no_links, 1);
    rig_open(r);
    assert_status(fetch(r, &o, "hf:o/n/a/b"), 0);
    atomic_store(&no_links, 0);
    assert_content(r, "hf:o/n/a/b", etag);
    assert_int_equal(lstat(found(r, "hf:o/n/a/b"), &info), 0);
    assert_true(S_ISREG(info.st_mode));
    assert_status(fetch(r, &o, "hf:o/n/a/b"), 0);
    assert_int_equal(hub_log(r, "GET", NULL), 1);
    rig_end(r);
}

static void broken_links_and_refs_are_mended(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    char etag[130];
    hub_file(r, "a", 5000, 1, "lfs", etag);
    rig_open(r);
    assert_status(fetch(r, &o, "hf:o/n/a"), 0);
    assert_int_equal(unlink(below(r, "blobs/%s", etag)), 0); /* the link leads nowhere */
    assert_null(found(r, "hf:o/n/a"));
    assert_status(fetch(r, &o, "hf:o/n/a"), 0);
    assert_content(r, "hf:o/n/a", etag);
    write_text(below(r, "refs/main"), "../../../etc", 12);
    assert_null(found(r, "hf:o/n/a"));
    assert_status(fetch(r, &o, "hf:o/n/a"), 0);
    assert_content(r, "hf:o/n/a", etag);
    assert_int_equal(hub_log(r, "GET", NULL), 2);
    rig_end(r);
}

static void modes_follow_the_umask(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    struct stat info;
    char etag[130];
    hub_file(r, "a", 5000, 1, "lfs", etag);
    mode_t before = umask(027);
    rig_open(r);
    assert_status(fetch(r, &o, "hf:o/n/a"), 0);
    umask(before);
    assert_int_equal(stat(below(r, "blobs/%s", etag), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640);
    assert_int_equal(stat(below(r, "blobs"), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0750);
    assert_int_equal(stat(below(r, "refs/main"), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640);
    char tag[128];
    snprintf(tag, sizeof tag, "%s/CACHEDIR.TAG", r->cache);
    assert_true(file_size(tag) > 43);
    rig_end(r);
}

static void a_file_where_a_folder_belongs_is_an_error(void **state)
{
    (void)state;
    rig *r = rig_begin();
    outcome o;
    hub_file(r, "a", 5000, 1, "lfs", NULL);
    write_text(r->cache, "x", 1);
    rig_open(r);
    assert_status(fetch(r, &o, "hf:o/n/a"), UV_ENOTDIR);
    assert_contains(o.detail, r->cache);
    rig_end(r);
}

static void a_path_that_is_too_long_is_an_error(void **state)
{
    (void)state;
    static char cache[5000];
    rig *r = rig_begin();
    outcome o;
    memset(cache, 'x', sizeof cache - 1);
    memcpy(cache, "/tmp/", 5);
    r->options.cache = cache;
    hub_file(r, "a", 5000, 1, "lfs", NULL);
    rig_open(r);
    assert_status(fetch(r, &o, "hf:o/n/a"), UV_ENAMETOOLONG);
    rig_end(r);
}

#define SUITE fetch_cache
#include "suite.h"
