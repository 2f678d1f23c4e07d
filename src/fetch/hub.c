#include "fetch.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool cadre__hub_etag(const char *header, char *out)
{
    if (!header) return false;
    if (header[0] == 'W' && header[1] == '/') header += 2;
    size_t length = strlen(header);
    if (length >= 2 && header[0] == '"' && header[length - 1] == '"') header++, length -= 2;
    if (length == 0 || length > CADRE__ETAG_MAX || header[0] == '.') return false;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)header[i];
        if (c > 0x7e || !(isalnum(c) || strchr("-_.+=:~", c))) return false;
    }
    if (length > 11 && memcmp(header + length - 11, ".incomplete", 11) == 0) return false; /* another file's name */
    memcpy(out, header, length);
    out[length] = '\0';
    return true;
}

static bool read_size(const char *text, uint64_t *out)
{
    char *end;
    if (!text || !isdigit((unsigned char)*text)) return false;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || *end || value > INT64_MAX) return false;
    *out = value;
    return true;
}

int cadre__hub_read(cadre__transfer *transfer, cadre__meta *out, char *detail, size_t detail_size)
{
    const char *commit = cadre__http_header(transfer, "X-Repo-Commit"), *etag = cadre__http_header(transfer, "X-Linked-Etag"),
               *size = cadre__http_header(transfer, "X-Linked-Size");
    const char *lacks = NULL;
    bool redirect = cadre__http_header(transfer, "Location") != NULL; /* whose own ETag and length are not the file's */
    if (!etag && !redirect) etag = cadre__http_header(transfer, "ETag");
    if (!size && !redirect) size = cadre__http_header(transfer, "Content-Length");
    *out = (cadre__meta){0};
    if (!commit || !cadre__is_commit(commit))
        lacks = "X-Repo-Commit";
    else if (!cadre__hub_etag(etag, out->etag))
        lacks = redirect ? "X-Linked-Etag" : "ETag";
    else if (!read_size(size, &out->size))
        lacks = redirect ? "X-Linked-Size" : "X-Linked-Size or Content-Length";
    if (lacks) {
        snprintf(detail, detail_size, "%s: the answer has no usable %s: this is not a hub's", cadre__http_origin(transfer), lacks);
        return CADRE_EFORMAT;
    }
    memcpy(out->commit, commit, CADRE__COMMIT);
    return CADRE_OK;
}

/* What a server says may be anything: printable ASCII of it goes into texts. */
static void copy_printable(char *out, size_t size, const char *text)
{
    size_t n = 0;
    for (; text && *text && n + 1 < size; text++)
        if (*text >= ' ' && *text < 0x7f) out[n++] = *text;
    out[n] = '\0';
}

void cadre__hub_read_refusal(cadre__transfer *transfer, long status, cadre__refusal *out)
{
    out->status = status;
    copy_printable(out->code, sizeof out->code, cadre__http_header(transfer, "X-Error-Code"));
    copy_printable(out->message, sizeof out->message, cadre__http_header(transfer, "X-Error-Message"));
}

bool cadre__hub_passes(long status)
{
    return status == 408 || status == 425 || status == 429 || status >= 500;
}

static const char *not_there(const cadre__refusal *refusal)
{
    return strcmp(refusal->code, "EntryNotFound") == 0      ? "the repository has no such file"
           : strcmp(refusal->code, "RevisionNotFound") == 0 ? "the repository has no such revision"
           : strcmp(refusal->code, "RepoNotFound") == 0     ? "there is no such repository, or it is private and the token may not see it"
                                                            : "there is no such repository, revision or file";
}

/* A server that prints the request's headers back must not bring the token into a text, nor its beginning where the message was cut. */
static bool repeats(const char *message, size_t most, const char *token)
{
    if (strstr(message, token)) return true;
    if (strlen(message) < most) return false;
    for (const char *end = message; *end; end++)
        if (strncmp(end, token, strlen(end)) == 0) return true;
    return false;
}

int cadre__hub_refused(const cadre__settings *settings, const cadre__reference *reference, bool has_token, const cadre__refusal *refusal, const char *detail,
                       char *out, size_t size)
{
    const char *token = has_token ? "the token may not, or has expired" : "set HF_TOKEN, or log in";
    bool gated = strcmp(refusal->code, "GatedRepo") == 0;
    bool tells = refusal->message[0] && !(settings->token && repeats(refusal->message, sizeof refusal->message - 1, settings->token));
    int n = snprintf(out, size, "%s%s%s%s", detail, tells ? " (" : "", tells ? refusal->message : "", tells ? ")" : "");
    size_t used = n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1;
    if (refusal->status == 401 || refusal->status == 403) {
        if (gated)
            snprintf(out + used, size - used, ": gated: %s, and accept the terms at %s/%s", has_token ? "use a token that may" : "set HF_TOKEN",
                     settings->endpoint, reference->repository);
        else
            snprintf(out + used, size - used, ": %s; the hub answers so for repositories that do not exist, too", token);
        return UV_EACCES;
    }
    if (refusal->status == 404 || refusal->status == 410) {
        snprintf(out + used, size - used, ": %s", not_there(refusal));
        return UV_ENOENT;
    }
    return CADRE_ELOAD;
}
