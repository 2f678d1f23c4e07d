/* A picture becomes a PNG file: encoded on a thread of libuv's, written through uv_fs under another name in the same folder, renamed when it is whole. One at a
 * time. Each step begins on the loop when the one before has ended there; the first that fails, or the end of the program, removes what was written. */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef CLI_IMAGES
#include <cadre/images.h>
#endif

static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash) return copy_bytes(".", 1);
    return copy_bytes(path, slash == path ? 1 : (size_t)(slash - path));
}

/* Where it is when links are followed: the file is replaced, and a link to it stays one. */
static char *true_path(const char *path)
{
    char *resolved = realpath(path, NULL);
    return resolved ? resolved : copy_bytes(path, strlen(path));
}

int save_check(const char *path)
{
    struct stat info;
    int rc = 0;
    char *target = true_path(path), *folder = folder_of(target);
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        rc = misuse("-o: %s is %s", path, S_ISDIR(info.st_mode) ? "a directory" : "not a regular file");
    else if (path[strlen(path) - 1] == '/')
        rc = misuse("-o: %s names a directory", path);
    else if (access(folder, W_OK | X_OK) != 0)
        rc = complain(CLI_USAGE, "-o: %s: cannot write into the folder %s: %s", path, folder, strerror(errno));
    free(folder);
    free(target);
    return rc;
}

#ifdef CLI_IMAGES

static struct {
    const char *path;
    char *target; /* where it is when links are followed */
    char *part;   /* the other name; NULL: no such file */
    int mode;     /* of the file that is replaced, or −1 */
    cadre_image picture;
    uint8_t *pixels;
    cadre_blob png;
    uv_work_t encode;
    uv_fs_t request;
    uv_file file;
    size_t written;
    int status, encoded;
    const char *step;
    void (*done)(int status, const char *detail);
} save;

void save_abort(void)
{
    if (save.part) unlink(save.part);
}

static void on_removed(uv_fs_t *request)
{
    char detail[512];
    uv_fs_req_cleanup(request);
    snprintf(detail, sizeof detail, "-o: %s: cannot %s: %s", save.path, save.step, cadre_strerror(save.status));
    if (save.png.free) save.png.free(save.png.data, save.png.length);
    free(save.part), save.part = NULL;
    free(save.target), save.target = NULL;
    free(save.pixels);
    save.done(save.status, save.status < 0 ? detail : "");
}

/* The one way out: what is written goes, unless it has its name. */
static void end(int status)
{
    uv_fs_t close_request;
    save.status = status;
    if (save.file >= 0) uv_fs_close(NULL, &close_request, save.file, NULL), uv_fs_req_cleanup(&close_request), save.file = -1;
    if (status == 0 || !save.part || uv_fs_unlink(&app.loop, &save.request, save.part, on_removed) != 0) on_removed(&save.request);
}

/* 1: the step has succeeded, and the program goes on. Else the end has begun. */
static int succeeded(uv_fs_t *request, const char *next)
{
    ssize_t result = request->result;
    uv_fs_req_cleanup(request);
    if (result < 0 || app.ending) {
        end(result < 0 ? (int)result : CADRE_ECANCELED);
        return 0;
    }
    save.step = next;
    return 1;
}

static void begun(int rc)
{
    if (rc != 0) end(rc);
}

static void on_renamed(uv_fs_t *request)
{
    if (!succeeded(request, "rename")) return;
    free(save.part), save.part = NULL;
    end(0);
}

static void on_closed(uv_fs_t *request)
{
    save.file = -1;
    if (succeeded(request, "rename")) begun(uv_fs_rename(&app.loop, &save.request, save.part, save.target, on_renamed));
}

static void on_synced(uv_fs_t *request)
{
    if (succeeded(request, "close")) begun(uv_fs_close(&app.loop, &save.request, save.file, on_closed));
}

static void on_written(uv_fs_t *request)
{
    ssize_t result = request->result;
    if (!succeeded(request, "write")) return;
    save.written += (size_t)result;
    if (save.written == save.png.length) {
        begun(uv_fs_fsync(&app.loop, &save.request, save.file, on_synced));
    } else {
        size_t left = save.png.length - save.written;
        uv_buf_t piece = uv_buf_init((char *)save.png.data + save.written, left > 1u << 20 ? 1u << 20 : (unsigned)left);
        begun(uv_fs_write(&app.loop, &save.request, save.file, &piece, 1, (int64_t)save.written, on_written));
    }
}

static void on_opened(uv_fs_t *request)
{
    ssize_t result = request->result;
    if (result < 0) {
        free(save.part), save.part = NULL;
    } else {
        save.file = (uv_file)result;
        uv_fs_t change; /* a file system without modes refuses it, and that is no reason to lose the picture */
        if (save.mode >= 0) uv_fs_fchmod(NULL, &change, save.file, save.mode, NULL), uv_fs_req_cleanup(&change);
    }
    request->result = result < 0 ? result : 0; /* nothing is written yet */
    on_written(request);
}

static void encode(uv_work_t *work)
{
    (void)work;
    save.encoded = cadre_images_encode_png(&save.picture, &save.png);
}

static void on_encoded(uv_work_t *work, int status)
{
    struct buffer part = {NULL, 0, 0};
    char *folder = folder_of(save.target);
    (void)work;
    save.step = "encode";
    if (status == 0) status = app.ending ? CADRE_ECANCELED : save.encoded;
    if (status == 0) {
        buffer_print(&part, "%s/.cadre-cli-%ld-%llx.part", folder, (long)getpid(), (unsigned long long)uv_hrtime());
        save.part = part.data;
        save.step = "create a file beside it";
        status = uv_fs_open(&app.loop, &save.request, save.part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, save.mode >= 0 ? save.mode : 0666, on_opened);
    }
    free(folder);
    begun(status);
}

void save_picture(const char *path, const cadre_image *picture, void (*done)(int status, const char *detail))
{
    size_t row = (size_t)picture->width * 3;
    struct stat info;
    save.path = path, save.done = done, save.file = -1;
    save.target = true_path(path);
    save.mode = stat(path, &info) == 0 ? (int)(info.st_mode & 0777) : -1;
    save.pixels = allocate(picture->height, row);
    for (uint32_t y = 0; y < picture->height; y++) memcpy(save.pixels + y * row, picture->pixels + y * picture->stride, row);
    save.picture = (cadre_image){sizeof(cadre_image), picture->width, picture->height, row, save.pixels};
    save.step = "encode";
    app.at_once = save_abort;
    begun(uv_queue_work(&app.loop, &save.encode, encode, on_encoded));
}

#else

void save_abort(void)
{
}

void save_picture(const char *path, const cadre_image *picture, void (*done)(int status, const char *detail))
{
    (void)path, (void)picture;
    done(CADRE_ENOTSUP, "built without libcadre-images");
}

#endif
