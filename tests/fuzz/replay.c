/* Runs a target over files and folders of inputs: what the fuzzer has found once is tested in every build. A target that finds a fault aborts. */
#include "fuzz.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>

static unsigned count;

static void run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) fuzz_fail("%s cannot be read", path);
    static uint8_t buffer[1 << 16];
    size_t size = fread(buffer, 1, sizeof buffer, file);
    fclose(file);
    uint8_t *data = malloc(size ? size : 1);
    if (!data) abort();
    memcpy(data, buffer, size);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    count++;
}

static void run_path(const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0) fuzz_fail("%s is not there", path);
    if (!S_ISDIR(info.st_mode)) {
        run_file(path);
        return;
    }
    DIR *folder = opendir(path);
    if (!folder) fuzz_fail("%s cannot be listed", path);
    for (struct dirent *e = readdir(folder); e; e = readdir(folder)) {
        char name[4096];
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        if (e->d_name[0] != '.') run_file(name);
    }
    closedir(folder);
}

int main(int arguments, char **words)
{
    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    for (int i = 1; i < arguments; i++) run_path(words[i]);
    fiber_free_stacks();
    printf("replay: %u inputs\n", count);
    return 0;
}
