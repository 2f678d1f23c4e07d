/* A file's bytes on the disk. Everything here blocks and belongs to a disk thread, one at a time for a blob. */
#include "fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define READ_BYTES ((size_t)256 << 10)

void cadre__blob_init(cadre__blob *blob, const cadre__settings *settings, const cadre__reference *reference)
{
    *blob = (cadre__blob){.settings = settings, .reference = reference, .fd = -1, .lock_fd = -1};
    atomic_init(&blob->stop, false);
}

cadre__digest cadre__blob_digest(const cadre__blob *blob)
{
    size_t length = strspn(blob->meta.etag, "0123456789abcdef");
    if (blob->meta.etag[length]) return CADRE__NO_DIGEST;
    return length == 64 ? CADRE__SHA256 : length == 40 ? CADRE__GIT_SHA1 : CADRE__NO_DIGEST;
}

static int fail(cadre__blob *blob, int error, const char *what, const char *path)
{
    return cadre__disk_error(error, what, path, blob->detail, sizeof blob->detail);
}

static int path_of(cadre__blob *blob, cadre__place place, const char *end, char *out)
{
    char name[CADRE__ETAG_MAX + 16];
    snprintf(name, sizeof name, "%s%s", blob->meta.etag, end);
    if (cadre__cache_path(blob->settings, blob->reference, place, name, NULL, out) < 0) return fail(blob, ENAMETOOLONG, "below", blob->settings->cache);
    return CADRE_OK;
}

/* A regular file's size; −1 where there is none. */
static int64_t size_of(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode) ? (int64_t)info.st_size : -1;
}

int cadre__blob_measure(cadre__blob *blob)
{
    char path[CADRE__FETCH_PATH];
    int rc = cadre__cache_path(blob->settings, blob->reference, CADRE__SNAPSHOTS, blob->meta.commit, blob->reference->path, path);
    if (rc < 0) return fail(blob, ENAMETOOLONG, "below", blob->settings->cache);
    blob->have = 0;
    blob->there = size_of(path) >= 0;
    if (blob->there) return CADRE_OK;
    if ((rc = path_of(blob, CADRE__BLOBS, "", path)) < 0) return rc;
    blob->there = size_of(path) >= 0;
    if (blob->there) return CADRE_OK;
    if ((rc = path_of(blob, CADRE__BLOBS, ".incomplete", path)) < 0) return rc;
    int64_t size = size_of(path);
    if (size > 0 && (uint64_t)size <= blob->meta.size) blob->have = (uint64_t)size;
    return CADRE_OK;
}

/* flock on the lock's file, as Python's filelock does it: the file stays. CADRE_EBUSY: another one has it. */
static int take_lock(cadre__blob *blob)
{
    char path[CADRE__FETCH_PATH];
    struct stat info;
    int rc = path_of(blob, CADRE__LOCKS, ".lock", path);
    if (rc == CADRE_OK) rc = cadre__cache_make_folders(blob->settings, path, blob->detail, sizeof blob->detail);
    if (rc < 0) return rc;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    if (fd < 0) return fail(blob, errno, "cannot open", path);
    int locked = flock(fd, LOCK_EX | LOCK_NB), error = errno;
    if (locked < 0 && (error == EWOULDBLOCK || error == EACCES || error == EINTR)) {
        close(fd);
        return CADRE_EBUSY;
    }
    if (locked < 0 && error != ENOSYS && error != ENOTSUP && error != ENOLCK) { /* a file system without locks: alone, one hopes */
        close(fd);
        return fail(blob, error, "cannot lock", path);
    }
    if (fstat(fd, &info) < 0 || info.st_nlink == 0) { /* it was removed meanwhile, and guards nothing */
        close(fd);
        return CADRE_EBUSY;
    }
    blob->lock_fd = fd;
    return CADRE_OK;
}

static int begin_hash(cadre__blob *blob)
{
    cadre__digest digest = cadre__blob_digest(blob);
    if (digest == CADRE__NO_DIGEST) return CADRE_OK;
    if (!blob->hash && !(blob->hash = EVP_MD_CTX_new())) return CADRE_ENOMEM;
    if (EVP_DigestInit_ex(blob->hash, digest == CADRE__SHA256 ? EVP_sha256() : EVP_sha1(), NULL) != 1) return CADRE_ENOMEM;
    if (digest == CADRE__GIT_SHA1) { /* git hashes a blob's kind and size before its bytes */
        char header[64];
        int n = snprintf(header, sizeof header, "blob %llu", (unsigned long long)blob->meta.size);
        if (EVP_DigestUpdate(blob->hash, header, (size_t)n + 1) != 1) return CADRE_ENOMEM;
    }
    return CADRE_OK;
}

static int update_hash(cadre__blob *blob, const void *bytes, size_t length)
{
    return blob->hash && EVP_DigestUpdate(blob->hash, bytes, length) != 1 ? CADRE_ENOMEM : CADRE_OK;
}

/* What an earlier attempt has brought goes through the hash. */
static int hash_present(cadre__blob *blob, uint64_t size, const char *path)
{
    int rc = CADRE_OK;
    if (!blob->hash) {
        blob->have = size;
        return rc;
    }
    unsigned char *bytes = malloc(READ_BYTES);
    if (!bytes) return CADRE_ENOMEM;
    while (rc == CADRE_OK && blob->have < size) {
        uint64_t left = size - blob->have;
        ssize_t n = pread(blob->fd, bytes, left < READ_BYTES ? (size_t)left : READ_BYTES, (off_t)blob->have);
        if (n < 0 && errno == EINTR) continue;
        if (atomic_load_explicit(&blob->stop, memory_order_relaxed))
            rc = CADRE_ECANCELED;
        else if (n < 0)
            rc = fail(blob, errno, "cannot read", path);
        else if (n == 0)
            break; /* it became shorter */
        else if ((rc = update_hash(blob, bytes, (size_t)n)) == CADRE_OK)
            blob->have += (uint64_t)n;
    }
    free(bytes);
    return rc;
}

static int open_incomplete(cadre__blob *blob)
{
    char path[CADRE__FETCH_PATH];
    struct stat info;
    int rc = path_of(blob, CADRE__BLOBS, ".incomplete", path);
    if (rc == CADRE_OK) rc = cadre__cache_make_folders(blob->settings, path, blob->detail, sizeof blob->detail);
    if (rc < 0) return rc;
    blob->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (blob->fd < 0) return fail(blob, errno, "cannot open", path);
    if (fstat(blob->fd, &info) < 0) return fail(blob, errno, "cannot look at", path);
    if (!S_ISREG(info.st_mode)) return fail(blob, EINVAL, "no file:", path);
    if ((uint64_t)info.st_size > blob->meta.size) return cadre__blob_restart(blob);
    rc = begin_hash(blob);
    return rc < 0 ? rc : hash_present(blob, (uint64_t)info.st_size, path);
}

int cadre__blob_open(cadre__blob *blob)
{
    blob->there = false;
    blob->have = 0;
    int rc = take_lock(blob);
    if (rc == CADRE_EBUSY) {
        int measured = cadre__blob_measure(blob); /* how far the other one is */
        return measured < 0 ? measured : CADRE_EBUSY;
    }
    if (rc == CADRE_OK) rc = cadre__blob_measure(blob); /* another one may have brought it before the lock was ours */
    if (rc == CADRE_OK && !blob->there) {
        blob->have = 0;
        rc = open_incomplete(blob);
    }
    return rc;
}

int cadre__blob_restart(cadre__blob *blob)
{
    blob->have = 0;
    if (ftruncate(blob->fd, 0) < 0) return fail(blob, errno, "cannot empty", "the .incomplete file");
    return begin_hash(blob);
}

int cadre__blob_write(cadre__blob *blob, const cadre__piece *pieces)
{
    for (const cadre__piece *piece = pieces; piece; piece = piece->next) {
        for (size_t at = 0; at < piece->length;) {
            ssize_t n = pwrite(blob->fd, piece->bytes + at, piece->length - at, (off_t)blob->have);
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) {
                int error = n < 0 ? errno : ENOSPC;
                char path[CADRE__FETCH_PATH];
                return path_of(blob, CADRE__BLOBS, ".incomplete", path) < 0 ? UV_ENAMETOOLONG : fail(blob, error, "cannot write", path);
            }
            int rc = update_hash(blob, piece->bytes + at, (size_t)n);
            if (rc < 0) return rc;
            at += (size_t)n;
            blob->have += (uint64_t)n;
        }
    }
    return CADRE_OK;
}

static int check_hash(cadre__blob *blob, const char *path)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    char text[2 * EVP_MAX_MD_SIZE + 1] = "";
    unsigned length = 0;
    if (!blob->hash) return CADRE_OK;
    if (EVP_DigestFinal_ex(blob->hash, digest, &length) != 1) return CADRE_ENOMEM;
    for (unsigned i = 0; i < length; i++) snprintf(text + (size_t)2 * i, 3, "%02x", digest[i]);
    if (strcmp(text, blob->meta.etag) == 0) return CADRE_OK;
    if (unlink(path) < 0) (void)!ftruncate(blob->fd, 0); /* in a folder of others it may be written but not removed */
    snprintf(blob->detail, sizeof blob->detail, "what came has the %s %s, the hub promised %s", length == 32 ? "SHA-256" : "git hash", text, blob->meta.etag);
    return CADRE_EFORMAT;
}

int cadre__blob_finish(cadre__blob *blob)
{
    char from[CADRE__FETCH_PATH], to[CADRE__FETCH_PATH];
    int rc = path_of(blob, CADRE__BLOBS, ".incomplete", from);
    if (rc == CADRE_OK) rc = path_of(blob, CADRE__BLOBS, "", to);
    if (rc == CADRE_OK) rc = check_hash(blob, from);
    if (rc < 0) return rc;
    if (fdatasync(blob->fd) < 0 && errno != EINVAL && errno != ENOSYS) return fail(blob, errno, "cannot write", from);
    if (rename(from, to) < 0) return fail(blob, errno, "cannot rename", from);
    blob->there = true;
    return CADRE_OK;
}

void cadre__blob_close(cadre__blob *blob)
{
    if (blob->fd >= 0) close(blob->fd);
    if (blob->lock_fd >= 0) {
        flock(blob->lock_fd, LOCK_UN); /* a child of the host's may have inherited it */
        close(blob->lock_fd);
    }
    blob->fd = blob->lock_fd = -1;
    EVP_MD_CTX_free(blob->hash);
    blob->hash = NULL;
}
