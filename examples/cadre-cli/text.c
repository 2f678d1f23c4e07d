/* Memory, text and messages. */
#include "cli.h"

#include <cjson/cJSON.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void out_of_memory(void)
{
    static const char message[] = "cadre-cli: out of memory\n";
    progress_clear();
    if (app.at_once) app.at_once();
    if (write(STDERR_FILENO, message, sizeof message - 1) < 0) _exit(CLI_FAILED);
    _exit(CLI_FAILED);
}

void *allocate(size_t count, size_t size)
{
    void *pointer = calloc(count ? count : 1, size ? size : 1);
    if (!pointer) out_of_memory();
    return pointer;
}

void *grow(void *pointer, size_t count, size_t size)
{
    void *moved = size && count > SIZE_MAX / size ? NULL : realloc(pointer, count * size);
    if (!moved) out_of_memory();
    return moved;
}

char *copy_bytes(const char *text, size_t length)
{
    char *copy = allocate(length + 1, 1);
    memcpy(copy, text, length);
    return copy;
}

void buffer_add(struct buffer *buffer, const char *bytes, size_t length)
{
    if (length >= SIZE_MAX / 2 - buffer->length) out_of_memory();
    if (buffer->length + length + 1 > buffer->capacity) {
        size_t capacity = buffer->capacity ? buffer->capacity : 256;
        while (capacity < buffer->length + length + 1) capacity *= 2;
        buffer->data = grow(buffer->data, capacity, 1);
        buffer->capacity = capacity;
    }
    if (length) memcpy(buffer->data + buffer->length, bytes, length);
    buffer->length += length;
    buffer->data[buffer->length] = '\0';
}

static void buffer_vprint(struct buffer *buffer, const char *format, va_list list)
{
    va_list again;
    va_copy(again, list);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (length < 0) return;
    char *text = allocate((size_t)length + 1, 1);
    vsnprintf(text, (size_t)length + 1, format, list);
    buffer_add(buffer, text, (size_t)length);
    free(text);
}

void buffer_print(struct buffer *buffer, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    buffer_vprint(buffer, format, list);
    va_end(list);
}

void buffer_json(struct buffer *buffer, const char *text)
{
    cJSON *string = cJSON_CreateString(text);
    char *printed = string ? cJSON_PrintUnformatted(string) : NULL;
    if (!printed) out_of_memory();
    buffer_add(buffer, printed, strlen(printed));
    cJSON_free(printed);
    cJSON_Delete(string);
}

/* ---- names ---- */

enum { NAME_MAX_LENGTH = 63 };

/* Levenshtein's distance, a swap of neighbours counting once; names are short. */
static size_t distance(const char *a, const char *b)
{
    size_t rows[3][NAME_MAX_LENGTH + 2], n = strlen(b);
    size_t *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= n; j++) last[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1 < best) best = last[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best) best = before[j - 2] + 1;
            row[j] = best;
        }
        size_t *free_row = before;
        before = last, last = row, row = free_row;
    }
    return last[n];
}

const char *nearest(const char *word, const char *const *names, size_t count)
{
    const char *best = NULL;
    size_t least = SIZE_MAX, length = strlen(word);
    if (length > NAME_MAX_LENGTH) return NULL;
    for (size_t i = 0; i < count; i++) {
        size_t away, longer = strlen(names[i]);
        if (longer > NAME_MAX_LENGTH) continue;
        away = distance(word, names[i]);
        if (length >= 3 && strncmp(names[i], word, length) == 0) away = 1; /* its beginning */
        if (longer < length) longer = length;
        if (away < least && away * 2 <= longer) least = away, best = names[i];
    }
    return best;
}

/* ---- UTF-8 ---- */

/* How many bytes the code point at `p` has; 0: wrong. */
static size_t code_point(const unsigned char *p, size_t left)
{
    size_t length = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3 : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;
    if (length == 0 || length > left) return 0;
    for (size_t i = 1; i < length; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f)) return 0;
    return length;
}

int check_utf8(const char *what, const char *bytes, size_t length)
{
    const unsigned char *p = (const unsigned char *)bytes;
    for (size_t i = 0, step; i < length; i += step) {
        step = code_point(p + i, length - i);
        if (step == 0) return complain(CLI_USAGE, "%s is not UTF-8: byte 0x%02x at offset %zu", what, p[i], i);
        if (p[i] == 0) return complain(CLI_USAGE, "%s has a NUL byte at offset %zu", what, i);
    }
    return 0;
}

const char *human_bytes(uint64_t bytes, char out[32])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 999.95 && unit + 1 < sizeof units / sizeof *units) value /= 1000, unit++;
    snprintf(out, 32, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return out;
}

/* ---- messages ---- */

static void message(const char *color, const char *format, va_list list)
{
    struct buffer text = {NULL, 0, 0};
    int colored = app.color && isatty(STDERR_FILENO);
    buffer_print(&text, "%scadre-cli:%s ", colored ? color : "", colored ? "\033[0m" : "");
    buffer_vprint(&text, format, list);
    buffer_add(&text, "\n", 1);
    out_message(text.data, text.length);
    free(text.data);
}

int complain(int code, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    message("\033[1;31m", format, list);
    va_end(list);
    return code;
}

int misuse(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    message("\033[1;31m", format, list);
    va_end(list);
    fprintf(stderr, "Try \"cadre-cli %s%s\".\n", app.command ? app.command->name : "", app.command ? " --help" : "--help");
    return CLI_USAGE;
}

void note(const char *format, ...)
{
    va_list list;
    if (app.options.quiet) return;
    va_start(list, format);
    message("\033[1m", format, list);
    va_end(list);
}
