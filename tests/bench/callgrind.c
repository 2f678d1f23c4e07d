#include "callgrind.h"

#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGUMENTS_MAX 16

typedef struct name_entry {
    unsigned long id;
    size_t function; /* index in the profile */
} name_entry;

typedef struct file_entry {
    unsigned long id;
    char name[160];
} file_entry;

typedef struct reader {
    callgrind_profile profile;
    size_t capacity;
    file_entry *files;
    size_t file_count, file_capacity;
    char file[160]; /* of the function that follows */
    name_entry *names;
    size_t name_count, name_capacity;
    size_t current;
    int skip; /* the next line is the cost of a call */
} reader;

static void run_valgrind(const char *output, const char *inside, const char *const *argv)
{
    char output_option[512], toggle_option[128];
    const char *command[ARGUMENTS_MAX + 8] = {"valgrind", "--quiet", "--tool=callgrind", "--separate-threads=yes"};
    size_t count = 4;
    snprintf(output_option, sizeof output_option, "--callgrind-out-file=%s", output);
    if (inside)
        snprintf(toggle_option, sizeof toggle_option, "--toggle-collect=%s", inside);
    else
        snprintf(toggle_option, sizeof toggle_option, "--collect-atstart=no");
    command[count++] = output_option;
    command[count++] = toggle_option;
    for (size_t i = 0; argv[i] && i < ARGUMENTS_MAX; i++) command[count++] = argv[i];
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        if (null >= 0) dup2(null, 1);
        execvp(command[0], (char *const *)command);
        fprintf(stderr, "bench: cannot run valgrind: %s\n", strerror(errno));
        _exit(127);
    }
    int status = -1;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) bench_fail("valgrind failed (status %d)", status);
}

static void *grow(void *array, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity) return array;
    *capacity = *capacity ? *capacity * 2 : 256;
    array = realloc(array, *capacity * size);
    if (!array) bench_fail("out of memory");
    return array;
}

/* "(3) path" defines file 3, "(3)" refers to it. `current`: where its name goes, or NULL. */
static void find_file(reader *r, const char *text, char current[160])
{
    char *end;
    unsigned long id = strtoul(text + (*text == '('), &end, 10);
    const char *name = strchr(end, ' ');
    size_t i = 0;
    while (i < r->file_count && r->files[i].id != id) i++;
    if (i == r->file_count) {
        r->files = grow(r->files, r->file_count, &r->file_capacity, sizeof *r->files);
        file_entry *file = &r->files[r->file_count++];
        file->id = id;
        snprintf(file->name, sizeof file->name, "%s", name ? name + 1 : "?");
        file->name[strcspn(file->name, "\n")] = '\0';
    }
    if (current) memcpy(current, r->files[i].name, sizeof r->files[i].name);
}

/* "(12) name" defines function 12, "(12)" refers to it; the same function may be defined for several files. */
static size_t find_function(reader *r, const char *text)
{
    char *end;
    unsigned long id = strtoul(text + (*text == '('), &end, 10);
    for (size_t i = 0; i < r->name_count; i++)
        if (r->names[i].id == id) return r->names[i].function;
    const char *name = strchr(end, ' ');
    r->profile.functions = grow(r->profile.functions, r->profile.count, &r->capacity, sizeof *r->profile.functions);
    r->names = grow(r->names, r->name_count, &r->name_capacity, sizeof *r->names);
    callgrind_function *function = &r->profile.functions[r->profile.count];
    snprintf(function->name, sizeof function->name, "%s", name ? name + 1 : "?");
    function->name[strcspn(function->name, "\n")] = '\0';
    snprintf(function->file, sizeof function->file, "%s", r->file);
    function->instructions = 0;
    r->names[r->name_count++] = (name_entry){id, r->profile.count};
    return r->profile.count++;
}

/* The lines that matter: fl= (the file of the function that follows; fi=, fe=, cfi= and cfl= may define one), fn= (whose cost follows), cfn= (may define a
 * name), calls= (the next line is the callee's cost), and "line cost", the line possibly relative or "*". */
static void read_line(reader *r, const char *line)
{
    if (strncmp(line, "fn=", 3) == 0) {
        r->current = find_function(r, line + 3);
        memcpy(r->profile.functions[r->current].file, r->file, sizeof r->file); /* a call may have come before it */
    } else if (strncmp(line, "fl=", 3) == 0) {
        find_file(r, line + 3, r->file);
    } else if (strncmp(line, "fi=", 3) == 0 || strncmp(line, "fe=", 3) == 0) {
        find_file(r, line + 3, NULL);
    } else if (strncmp(line, "cfi=", 4) == 0 || strncmp(line, "cfl=", 4) == 0) {
        find_file(r, line + 4, NULL);
    } else if (strncmp(line, "cfn=", 4) == 0) {
        find_function(r, line + 4);
    } else if (strncmp(line, "calls=", 6) == 0) {
        r->skip = 1;
    } else if (strchr("0123456789+-*", line[0]) && line[0] != '\0') {
        const char *cost = strchr(line, ' ');
        if (!r->skip && cost && r->profile.count > 0) r->profile.functions[r->current].instructions += strtoull(cost, NULL, 10);
        r->skip = 0;
    }
}

static int more_instructions(const void *a, const void *b)
{
    uint64_t x = ((const callgrind_function *)a)->instructions, y = ((const callgrind_function *)b)->instructions;
    return (x < y) - (x > y);
}

callgrind_profile callgrind_run(const char *folder, const char *inside, const char *const *argv)
{
    char output[400], path[416], line[4096];
    reader r = {0};
    snprintf(output, sizeof output, "%s/callgrind.%d", folder, (int)getpid());
    run_valgrind(output, inside, argv);
    snprintf(path, sizeof path, "%s-01", output);
    FILE *file = fopen(path, "r");
    if (!file) bench_fail("callgrind left no file %s", path);
    while (fgets(line, sizeof line, file)) read_line(&r, line);
    fclose(file);
    for (int thread = 0; thread < 100; thread++) { /* and the file without a number */
        snprintf(path, sizeof path, thread ? "%s-%02d" : "%s", output, thread);
        remove(path);
    }
    qsort(r.profile.functions, r.profile.count, sizeof *r.profile.functions, more_instructions);
    free(r.names);
    free(r.files);
    return r.profile;
}

void callgrind_free(callgrind_profile *profile)
{
    free(profile->functions);
    *profile = (callgrind_profile){0};
}
