#include "fetch.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPLIT_END "-00001-of-00001.gguf" /* how a part's name ends, with other digits */
#define SPLIT_LENGTH (sizeof SPLIT_END - 1)

static int wrong(char *detail, size_t size, const char *text, const char *why)
{
    if (detail && size) snprintf(detail, size, "\"%.200s\": %s", text, why);
    return CADRE_EINVAL;
}

/* What the hub allows in a repository's name. */
static const char *name_fault(const char *name, size_t length)
{
    if (length == 0 || length > 96) return "a repository's owner and name have 1 to 96 characters";
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c > 0x7e || !(isalnum(c) || c == '-' || c == '_' || c == '.'))
            return "a repository's owner and name are made of letters, digits, \"-\", \"_\" and \".\"";
        if (i && (c == '-' || c == '.') && name[i - 1] == (char)c) return "a repository's owner and name contain no \"--\" and no \"..\"";
    }
    if (strchr("-.", name[0]) || strchr("-.", name[length - 1])) return "a repository's owner and name do not begin or end with \"-\" or \".\"";
    if (length >= 4 && memcmp(name + length - 4, ".git", 4) == 0) return "a repository's name does not end in \".git\"";
    return NULL;
}

/* Revisions and paths become files' names below the cache. */
static const char *parts_fault(const char *text)
{
    const char *part = text;
    for (const char *p = text;; p++) {
        unsigned char c = (unsigned char)*p;
        if (c && (c < ' ' || c == 0x7f || c == '\\')) return "control characters and backslashes are not allowed";
        if (c && c != '/') continue;
        size_t length = (size_t)(p - part);
        if (length == 0) return "it has an empty part";
        if (length > 255) return "it has a part of more than 255 bytes";
        if ((length == 1 && part[0] == '.') || (length == 2 && part[0] == '.' && part[1] == '.')) return "the parts \".\" and \"..\" are not allowed";
        if (!c) return p - text > 1024 ? "it is longer than 1024 bytes" : NULL;
        part = p + 1;
    }
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* A revision may contain slashes, which are written %2F in a reference. False: not two hexadecimal digits, or a NUL. */
static bool decode(char *text)
{
    char *to = text;
    for (const char *from = text; *from; from++) {
        if (*from != '%') {
            *to++ = *from;
            continue;
        }
        int high = hex(from[1]), low = high < 0 ? -1 : hex(from[2]);
        if (low < 0 || (high == 0 && low == 0)) return false;
        *to++ = (char)(high * 16 + low);
        from += 2;
    }
    *to = '\0';
    return true;
}

static unsigned digits(const char *text)
{
    unsigned value = 0;
    for (int i = 0; i < 5; i++) {
        if (!isdigit((unsigned char)text[i])) return 0;
        value = value * 10 + (unsigned)(text[i] - '0');
    }
    return value;
}

static const char *read_split(cadre__reference *r)
{
    size_t length = strlen(r->path);
    r->part = r->parts = 1;
    if (length <= SPLIT_LENGTH) return NULL;
    const char *end = r->path + length - SPLIT_LENGTH;
    if (end[0] != '-' || memcmp(end + 6, "-of-", 4) != 0 || strcmp(end + 15, ".gguf") != 0 || digits(end + 1) != 1) return NULL;
    unsigned parts = digits(end + 10);
    if (parts > CADRE__PARTS_MAX) return "it has more than 1024 parts";
    if (parts) r->parts = parts;
    return NULL;
}

static const char *take_apart(cadre__reference *r, char *text)
{
    char *path = strchr(text, '/'), *at = strchr(text, '@');
    size_t owner = path ? (size_t)(path - text) : 0;
    if (path && !(at && at < path)) path = strchr(path + 1, '/'); /* "hf:NAME@REVISION/PATH" alone has one part before the path */
    if (!path) return "it must be \"hf:OWNER/NAME/PATH\" or \"hf:OWNER/NAME@REVISION/PATH\"";
    *path++ = '\0';
    r->revision = (char *)(uintptr_t) "main";
    if (at && at < path) {
        *at = '\0';
        r->revision = at + 1;
        if (!decode(r->revision)) return "after a \"%\" in a revision come two hexadecimal digits";
    }
    const char *fault = NULL;
    size_t length = strlen(text), first = owner < length ? owner : 0;
    if (first) fault = name_fault(text, first);
    if (!fault) fault = name_fault(text + (first ? first + 1 : 0), length - (first ? first + 1 : 0));
    if (fault) return fault;
    if (length > 96) return "a repository's owner and name together have at most 96 characters";
    memcpy(r->repository, text, length + 1);
    r->path = path;
    if ((fault = parts_fault(r->revision)) || (fault = parts_fault(r->path))) return fault;
    return read_split(r);
}

int cadre__reference_parse(cadre__reference *out, const char *text, char *detail, size_t detail_size)
{
    *out = (cadre__reference){0};
    if (!text || strncmp(text, "hf:", 3) != 0) return wrong(detail, detail_size, text ? text : "", "a reference begins with \"hf:\"");
    char *copy = strdup(text + 3);
    if (!copy) return CADRE_ENOMEM;
    cadre__reference parsed = {0};
    const char *fault = take_apart(&parsed, copy);
    int rc = fault ? wrong(detail, detail_size, text, fault) : CADRE_OK;
    if (rc == CADRE_OK) {
        size_t revision = strlen(parsed.revision) + 1, path = strlen(parsed.path) + 1;
        *out = parsed;
        out->revision = malloc(revision + path);
        if (out->revision) {
            memcpy(out->revision, parsed.revision, revision);
            out->path = memcpy(out->revision + revision, parsed.path, path);
        } else {
            rc = CADRE_ENOMEM;
            *out = (cadre__reference){0};
        }
    }
    free(copy);
    return rc;
}

int cadre__reference_part(cadre__reference *out, const cadre__reference *first, unsigned part)
{
    size_t revision = strlen(first->revision) + 1, path = strlen(first->path) + 1;
    *out = *first;
    out->part = part;
    out->revision = malloc(revision + path);
    if (!out->revision) return CADRE_ENOMEM;
    memcpy(out->revision, first->revision, revision);
    out->path = memcpy(out->revision + revision, first->path, path);
    if (first->parts > 1) {
        char number[16];
        snprintf(number, sizeof number, "%05u", part);
        memcpy(out->path + path - 1 - SPLIT_LENGTH + 1, number, 5);
    }
    return CADRE_OK;
}

void cadre__reference_clear(cadre__reference *reference)
{
    free(reference->revision);
    *reference = (cadre__reference){0};
}

bool cadre__reference_equal(const cadre__reference *a, const cadre__reference *b)
{
    return strcmp(a->repository, b->repository) == 0 && strcmp(a->revision, b->revision) == 0 && strcmp(a->path, b->path) == 0;
}

bool cadre__is_commit(const char *revision)
{
    size_t n = strspn(revision, "0123456789abcdef");
    return n == CADRE__COMMIT && !revision[n];
}

void cadre__reference_print(const cadre__reference *reference, char *out, size_t size)
{
    if (strcmp(reference->revision, "main") == 0)
        snprintf(out, size, "%s: %.300s", reference->repository, reference->path);
    else
        snprintf(out, size, "%s@%.100s: %.300s", reference->repository, reference->revision, reference->path);
}

/* Everything but RFC 3986's unreserved characters, and slashes where `slashes` says so. */
static char *escape(char *to, const char *text, bool slashes)
{
    static const char digit[] = "0123456789ABCDEF";
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if ((c < 0x80 && isalnum(c)) || strchr("-._~", c) || (slashes && c == '/')) {
            *to++ = (char)c;
        } else {
            *to++ = '%';
            *to++ = digit[c >> 4];
            *to++ = digit[c & 15];
        }
    }
    *to = '\0';
    return to;
}

char *cadre__reference_url(const cadre__reference *reference, const char *endpoint, const char *revision)
{
    size_t size = strlen(endpoint) + strlen(reference->repository) + 3 * (strlen(revision) + strlen(reference->path)) + 16;
    char *url = malloc(size);
    if (!url) return NULL;
    int n = snprintf(url, size, "%s/%s/resolve/", endpoint, reference->repository);
    char *to = escape(url + n, revision, false);
    *to++ = '/';
    escape(to, reference->path, true);
    return url;
}
