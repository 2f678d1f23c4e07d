/* What is read before the loop runs: files, and standard input. */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* `what` names the argument; NULL: no message. */
int read_file(const char *what, const char *path, size_t most, struct buffer *out)
{
    char bytes[65536];
    int is_input = strcmp(path, "-") == 0, rc = 0;
    int fd = is_input ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    ssize_t count = fd < 0 ? -1 : 0;
    while (fd >= 0 && out->length <= most) {
        count = read(fd, bytes, sizeof bytes);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) break;
        buffer_add(out, bytes, (size_t)count);
    }
    if (count < 0)
        rc = what ? complain(CLI_USAGE, "%s: %s: %s", what, is_input ? "standard input" : path, strerror(errno)) : CLI_USAGE;
    else if (out->length > most)
        rc = what ? complain(CLI_USAGE, "%s: %s: more than %zu bytes", what, is_input ? "standard input" : path, most) : CLI_USAGE;
    if (fd >= 0 && !is_input) close(fd);
    if (!out->data) buffer_add(out, "", 0);
    return rc;
}

int check_picture(const char *path)
{
    struct stat info;
    if (!*path) return misuse("PICTURE: the name is empty");
    if (is_url(path)) return need_fetch(path);
    if (strstr(path, "://")) return misuse("PICTURE: %s: only http and https addresses are fetched", path);
    if (stat(path, &info) != 0) return complain(CLI_USAGE, "PICTURE: %s: %s", path, strerror(errno));
    if (S_ISDIR(info.st_mode)) return complain(CLI_USAGE, "PICTURE: %s: is a directory", path);
    if (access(path, R_OK) != 0) return complain(CLI_USAGE, "PICTURE: %s: %s", path, strerror(errno));
    return 0;
}
