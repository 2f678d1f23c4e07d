/* Paths and what lies there. */
#include "backend.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool cadre__onnx_beside(const char *path, const char *name, char *out, size_t size)
{
    const char *slash = strrchr(path, '/');
    int folder = slash ? (int)(slash - path) + 1 : 0;
    int length = snprintf(out, size, "%.*s%s", folder, path, name);
    return length >= 0 && (size_t)length < size;
}

bool cadre__onnx_inside(const char *location)
{
    if (!*location || *location == '/' || *location == '*' || strchr(location, '\\')) return false;
    for (const char *part = location; part; part = strchr(part, '/') ? strchr(part, '/') + 1 : NULL) {
        size_t length = strcspn(part, "/");
        if (length == 2 && part[0] == '.' && part[1] == '.') return false;
    }
    return true;
}

int cadre__onnx_file_length(const char *path, uint64_t *bytes, char *detail, size_t detail_size)
{
    struct stat status;
    const char *problem = NULL;
    if (stat(path, &status) != 0)
        problem = errno == ENOENT ? "there is no such file" : "cannot be looked at";
    else if (S_ISDIR(status.st_mode))
        problem = "is a directory";
    else if (!S_ISREG(status.st_mode))
        problem = "is not a regular file";
    else if (access(path, R_OK) != 0)
        problem = "may not be read";
    if (problem) {
        snprintf(detail, detail_size, "%s: %s", path, problem);
        return CADRE_EFORMAT;
    }
    *bytes = (uint64_t)status.st_size;
    return CADRE_OK;
}
