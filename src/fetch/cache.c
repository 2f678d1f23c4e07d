#include "fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

int cadre__disk_error(int error, const char *what, const char *path, char *detail, size_t detail_size)
{
    int rc = uv_translate_sys_error(error);
    snprintf(detail, detail_size, "%s %s: %s", what, path, uv_strerror(rc));
    return rc;
}

int cadre__cache_path(const cadre__settings *settings, const cadre__reference *reference, cadre__place place, const char *a, const char *b, char *out)
{
    static const char *const folders[] = {[CADRE__BLOBS] = "/blobs", [CADRE__SNAPSHOTS] = "/snapshots", [CADRE__REFS] = "/refs", [CADRE__LOCKS] = ""};
    const char *slash = strchr(reference->repository, '/');
    int owner = slash ? (int)(slash - reference->repository) : 0;
    int n = snprintf(out, CADRE__FETCH_PATH, "%s%s/models--%.*s%s%s%s%s%s%s%s", settings->cache, place == CADRE__LOCKS ? "/.locks" : "", owner,
                     reference->repository, slash ? "--" : "", slash ? slash + 1 : reference->repository, folders[place], a ? "/" : "", a ? a : "",
                     b ? "/" : "", b ? b : "");
    return n < 0 || n >= CADRE__FETCH_PATH ? UV_ENAMETOOLONG : CADRE_OK;
}

static int too_long(char *detail, size_t detail_size, const cadre__settings *settings)
{
    snprintf(detail, detail_size, "below %.300s a path would be too long", settings->cache);
    return UV_ENAMETOOLONG;
}

/* refs/REVISION's text. UV_ENOENT: there is none, or what is there names no commit. */
static int read_ref(const cadre__settings *settings, const cadre__reference *reference, char *commit, char *detail, size_t detail_size)
{
    char path[CADRE__FETCH_PATH], text[128];
    size_t length = 0;
    if (cadre__cache_path(settings, reference, CADRE__REFS, reference->revision, NULL, path) < 0) return too_long(detail, detail_size, settings);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return errno == ENOENT || errno == ENOTDIR ? UV_ENOENT : cadre__disk_error(errno, "cannot open", path, detail, detail_size);
    while (length < sizeof text - 1) {
        ssize_t n = read(fd, text + length, sizeof text - 1 - length);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            int rc = errno == EISDIR ? UV_ENOENT : cadre__disk_error(errno, "cannot read", path, detail, detail_size);
            close(fd);
            return rc;
        }
        if (n == 0) break;
        length += (size_t)n;
    }
    close(fd);
    while (length && (text[length - 1] == '\n' || text[length - 1] == '\r' || text[length - 1] == ' ')) length--;
    text[length] = '\0';
    if (!cadre__is_commit(text)) return UV_ENOENT;
    memcpy(commit, text, CADRE__COMMIT + 1);
    return CADRE_OK;
}

int cadre__cache_find(const cadre__settings *settings, const cadre__reference *reference, char *out, uint64_t *size, char *detail, size_t detail_size)
{
    char commit[CADRE__COMMIT + 1];
    struct stat info;
    if (cadre__is_commit(reference->revision)) {
        memcpy(commit, reference->revision, sizeof commit);
    } else {
        int rc = read_ref(settings, reference, commit, detail, detail_size);
        if (rc < 0) return rc;
    }
    if (cadre__cache_path(settings, reference, CADRE__SNAPSHOTS, commit, reference->path, out) < 0) return too_long(detail, detail_size, settings);
    if (stat(out, &info) < 0) return errno == ENOENT || errno == ENOTDIR ? UV_ENOENT : cadre__disk_error(errno, "cannot look at", out, detail, detail_size);
    if (!S_ISREG(info.st_mode)) return cadre__disk_error(S_ISDIR(info.st_mode) ? EISDIR : EINVAL, "no file:", out, detail, detail_size);
    if (size) *size = (uint64_t)info.st_size;
    return CADRE_OK;
}

static int make_folder(const char *path, char *detail, size_t detail_size)
{
    struct stat info;
    if (mkdir(path, 0777) == 0) return 1;
    int error = errno;
    if (stat(path, &info) == 0) {
        if (S_ISDIR(info.st_mode)) return 0;
        error = ENOTDIR;
    }
    return cadre__disk_error(error, "cannot make the folder", path, detail, detail_size);
}

/* Marks the folder for programs that make backups; of no consequence when it fails. */
static void write_tag(const cadre__settings *settings)
{
    static const char text[] = "Signature: 8a477f597d28d172789f06886806bc55\n# A cache of models' files. See https://bford.info/cachedir/\n";
    char path[CADRE__FETCH_PATH];
    int n = snprintf(path, sizeof path, "%s/CACHEDIR.TAG", settings->cache);
    if (n < 0 || (size_t)n >= sizeof path) return;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) return;
    ssize_t written = write(fd, text, sizeof text - 1);
    close(fd);
    if (written != (ssize_t)sizeof text - 1) unlink(path);
}

int cadre__cache_make_folders(const cadre__settings *settings, const char *path, char *detail, size_t detail_size)
{
    char folder[CADRE__FETCH_PATH];
    struct stat info;
    size_t cache = strlen(settings->cache), length = strlen(path);
    if (length >= sizeof folder) return too_long(detail, detail_size, settings);
    memcpy(folder, path, length + 1);
    char *last = strrchr(folder, '/');
    if (!last || last == folder) return CADRE_OK;
    *last = '\0';
    if (stat(folder, &info) == 0 && S_ISDIR(info.st_mode)) return CADRE_OK;
    for (char *slash = folder + 1;; slash++) {
        if (*slash && *slash != '/') continue;
        bool end = !*slash;
        *slash = '\0';
        int made = make_folder(folder, detail, detail_size);
        if (made < 0) return made;
        if (made && (size_t)(slash - folder) == cache) write_tag(settings);
        if (end) return CADRE_OK;
        *slash = '/';
    }
}

static int write_whole(const char *path, const char *text, size_t length)
{
    if (unlink(path) < 0 && errno != ENOENT) return errno;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666), error = 0; /* never through a link that somebody else has left there */
    if (fd < 0) return errno;
    for (size_t at = 0; at < length && !error;) {
        ssize_t n = write(fd, text + at, length - at);
        if (n > 0) at += (size_t)n;
        if (n < 0 && errno != EINTR) error = errno;
    }
    if (close(fd) < 0 && !error) error = errno;
    return error;
}

int cadre__cache_write_ref(const cadre__settings *settings, const cadre__reference *reference, const char *commit, bool keep, char *detail, size_t detail_size)
{
    char path[CADRE__FETCH_PATH], temporary[CADRE__FETCH_PATH], present[CADRE__COMMIT + 1];
    if (cadre__is_commit(reference->revision)) return CADRE_OK;
    int rc = read_ref(settings, reference, present, detail, detail_size);
    if (rc < 0 && rc != UV_ENOENT) return rc;
    if (rc == CADRE_OK && (keep || strcmp(present, commit) == 0)) return CADRE_OK;
    if (cadre__cache_path(settings, reference, CADRE__REFS, reference->revision, NULL, path) < 0) return too_long(detail, detail_size, settings);
    rc = cadre__cache_make_folders(settings, path, detail, detail_size);
    if (rc < 0) return rc;
    /* Its own name for each process and thread: two may write the same at once. */
    int n = snprintf(temporary, sizeof temporary, "%s.%lx.%lx", path, (unsigned long)getpid(), (unsigned long)pthread_self());
    if (n < 0 || (size_t)n >= sizeof temporary) return too_long(detail, detail_size, settings);
    int error = write_whole(temporary, commit, strlen(commit));
    if (!error && rename(temporary, path) < 0) error = errno;
    if (!error) return CADRE_OK;
    unlink(temporary);
    return cadre__disk_error(error, "cannot write", path, detail, detail_size);
}

/* "../../blobs/ETAG" as seen from snapshots/COMMIT/PATH. */
static int relative_target(const cadre__reference *reference, const cadre__meta *meta, char *out, size_t size)
{
    size_t used = 0, depth = 2;
    for (const char *p = reference->path; *p; p++) depth += *p == '/';
    if (depth * 3 + sizeof "blobs/" + CADRE__ETAG_MAX > size) return UV_ENAMETOOLONG;
    for (; depth; depth--, used += 3) snprintf(out + used, size - used, "../");
    snprintf(out + used, size - used, "blobs/%s", meta->etag);
    return CADRE_OK;
}

static int move_blob(const cadre__settings *settings, const cadre__reference *reference, const cadre__meta *meta, const char *path, int why, char *detail,
                     size_t detail_size)
{
    char blob[CADRE__FETCH_PATH];
    if (cadre__cache_path(settings, reference, CADRE__BLOBS, meta->etag, NULL, blob) < 0) return too_long(detail, detail_size, settings);
    if (rename(blob, path) == 0) return CADRE_OK;
    return cadre__disk_error(errno == ENOENT ? why : errno, "cannot link or move to", path, detail, detail_size);
}

int cadre__cache_link(const cadre__settings *settings, const cadre__reference *reference, const cadre__meta *meta, char *detail, size_t detail_size)
{
    char path[CADRE__FETCH_PATH], target[CADRE__FETCH_PATH];
    struct stat info;
    if (cadre__cache_path(settings, reference, CADRE__SNAPSHOTS, meta->commit, reference->path, path) < 0 ||
        relative_target(reference, meta, target, sizeof target) < 0)
        return too_long(detail, detail_size, settings);
    if (stat(path, &info) == 0 && S_ISREG(info.st_mode)) return CADRE_OK;
    int rc = cadre__cache_make_folders(settings, path, detail, detail_size);
    if (rc < 0) return rc;
    for (int attempt = 0; attempt < 2; attempt++) {
        if (symlink(target, path) == 0) return CADRE_OK;
        if (errno != EEXIST) break;
        if (stat(path, &info) == 0 && S_ISREG(info.st_mode)) return CADRE_OK;                               /* another process was faster */
        if (unlink(path) < 0) return cadre__disk_error(errno, "cannot replace", path, detail, detail_size); /* it leads nowhere */
        errno = EEXIST;
    }
    if (errno == EPERM || errno == ENOSYS || errno == EOPNOTSUPP || errno == EINVAL)
        return move_blob(settings, reference, meta, path, errno, detail, detail_size);
    return cadre__disk_error(errno, "cannot make the link", path, detail, detail_size);
}

int cadre__cache_free_bytes(const cadre__settings *settings, uint64_t *out, char *detail, size_t detail_size)
{
    char path[CADRE__FETCH_PATH];
    struct statvfs info;
    size_t length = strlen(settings->cache);
    if (length >= sizeof path) return too_long(detail, detail_size, settings);
    memcpy(path, settings->cache, length + 1);
    while (statvfs(path, &info) < 0) { /* the folder that is there already */
        if (errno == EINTR) continue;
        char *slash = errno == ENOENT ? strrchr(path, '/') : NULL;
        if (errno != ENOENT || (!slash && strcmp(path, ".") == 0) || (slash == path && !path[1]))
            return cadre__disk_error(errno, "cannot look at", path, detail, detail_size);
        if (!slash)
            path[0] = '.', path[1] = '\0';
        else
            slash[slash == path] = '\0';
    }
    uint64_t unit = info.f_frsize ? info.f_frsize : info.f_bsize, blocks = info.f_bavail;
    *out = blocks > UINT64_MAX / (unit ? unit : 1) ? UINT64_MAX : blocks * unit;
    return CADRE_OK;
}
