#include "fetch.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define TOKEN_MAX 4096

static bool within(int64_t value, int64_t low, int64_t high)
{
    return value == CADRE_DEFAULT || (value >= low && value <= high);
}

static int64_t or_default(int64_t value, int64_t otherwise)
{
    return value == CADRE_DEFAULT ? otherwise : value;
}

/* NULL where it is empty too: as good as not set. */
static const char *environment(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static char *join(const char *folder, const char *name)
{
    size_t size = strlen(folder) + strlen(name) + 2;
    char *path = malloc(size);
    if (path) snprintf(path, size, "%s/%s", folder, name);
    return path;
}

/* A "~" at the start is the home folder, as the hub's own library takes it. */
static char *expand(const char *path)
{
    if (path[0] != '~' || (path[1] && path[1] != '/')) return strdup(path);
    const char *home = environment("HOME");
    return join(home ? home : "/", path[1] ? path + 2 : "");
}

static char *home_folder(void)
{
    const char *named = environment("HF_HOME"), *caches = environment("XDG_CACHE_HOME");
    if (named) return expand(named);
    char *folder = caches ? expand(caches) : expand("~/.cache"), *home = folder ? join(folder, "huggingface") : NULL;
    free(folder);
    return home;
}

static char *cache_folder(const char *home)
{
    const char *named = environment("HF_HUB_CACHE");
    if (!named) named = environment("HUGGINGFACE_HUB_CACHE");
    return named ? expand(named) : join(home, "hub");
}

static bool is_true(const char *value)
{
    static const char *const words[] = {"1", "ON", "YES", "TRUE"};
    for (size_t i = 0; value && i < sizeof words / sizeof *words; i++)
        if (strcasecmp(value, words[i]) == 0) return true;
    return false;
}

/* Without white space around it; NULL: nothing is left. */
static char *clean_token(const char *text, size_t length)
{
    while (length && isspace((unsigned char)*text)) text++, length--;
    while (length && isspace((unsigned char)text[length - 1])) length--;
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] <= ' ' || text[i] == 0x7f) return NULL; /* it would break the header that it goes into */
    return length ? strndup(text, length) : NULL;
}

static int set_token(cadre__settings *s, const char *given, const char *home)
{
    if (given) {
        s->token = clean_token(given, strlen(given));
        return CADRE_OK;
    }
    const char *token = environment("HF_TOKEN"), *path = environment("HF_TOKEN_PATH");
    if (!token) token = environment("HUGGING_FACE_HUB_TOKEN");
    if (token) s->token = clean_token(token, strlen(token));
    if (s->token) return CADRE_OK;
    s->token_path = path ? expand(path) : join(home, "token");
    return s->token_path ? CADRE_OK : CADRE_ENOMEM;
}

static int set_endpoint(cadre__settings *s, const char *given)
{
    const char *endpoint = given ? given : environment("HF_ENDPOINT");
    if (!endpoint) endpoint = "https://huggingface.co";
    size_t scheme = strncasecmp(endpoint, "https://", 8) == 0 ? 8 : strncasecmp(endpoint, "http://", 7) == 0 ? 7 : 0, length = strlen(endpoint);
    while (length > scheme && endpoint[length - 1] == '/') length--;
    if (!scheme || length == scheme) return CADRE_EINVAL;
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)endpoint[i] <= ' ' || endpoint[i] == 0x7f || strchr("?#@\\", endpoint[i])) return CADRE_EINVAL;
    s->endpoint = strndup(endpoint, length);
    return s->endpoint ? CADRE_OK : CADRE_ENOMEM;
}

static int set_strings(cadre__settings *s, const cadre_fetch_options *o)
{
    const char *ca_file = o->ca_file ? o->ca_file : environment("SSL_CERT_FILE");
    char *home = home_folder();
    int rc = home ? set_endpoint(s, o->endpoint) : CADRE_ENOMEM;
    if (rc == CADRE_OK) rc = set_token(s, o->token, home);
    if (rc == CADRE_OK && !(s->cache = o->cache ? strdup(o->cache) : cache_folder(home))) rc = CADRE_ENOMEM;
    if (rc == CADRE_OK && ca_file && !(s->ca_file = strdup(ca_file))) rc = CADRE_ENOMEM;
    if (rc == CADRE_OK && !*s->cache) rc = CADRE_EINVAL;
    free(home);
    return rc;
}

int cadre__settings_init(cadre__settings *settings, const cadre_fetch_options *options)
{
    cadre_fetch_options o = CADRE_FETCH_OPTIONS_INIT;
    if (options) {
        if (options->size < sizeof options->size || options->size > sizeof o) return CADRE_EINVAL;
        memcpy(&o, options, options->size);
    }
    if (!within(o.offline, 0, 1) || !within(o.files_at_once, 1, 1024) || !within(o.connect_timeout_ms, 1, CADRE_NEVER) ||
        !within(o.stall_timeout_ms, 1, CADRE_NEVER) || !within(o.retries, 0, 1000) || !within(o.retry_delay_ms, 0, 300000) ||
        !within(o.keep_free_bytes, 0, INT64_MAX) || !within(o.image_timeout_ms, 1, CADRE_NEVER) || !within(o.allow_private_addresses, 0, 1))
        return CADRE_EINVAL;
    const char *offline = environment("HF_HUB_OFFLINE");
    *settings = (cadre__settings){
        .offline = o.offline == CADRE_DEFAULT ? is_true(offline ? offline : environment("TRANSFORMERS_OFFLINE")) : o.offline == 1,
        .allow_private = o.allow_private_addresses == 1,
        .files_at_once = (int32_t)or_default(o.files_at_once, 4),
        .retries = (int32_t)or_default(o.retries, 5),
        .connect_timeout_ms = or_default(o.connect_timeout_ms, 10000),
        .stall_timeout_ms = or_default(o.stall_timeout_ms, 30000),
        .retry_delay_ms = or_default(o.retry_delay_ms, 500),
        .keep_free_bytes = or_default(o.keep_free_bytes, (int64_t)64 << 20),
        .image_timeout_ms = or_default(o.image_timeout_ms, 30000),
        .log = o.log,
        .log_data = o.log_data,
    };
    int rc = set_strings(settings, &o);
    if (rc != CADRE_OK) cadre__settings_clear(settings);
    return rc;
}

static void forget(char *secret)
{
    if (secret) OPENSSL_cleanse(secret, strlen(secret));
    free(secret);
}

void cadre__settings_clear(cadre__settings *settings)
{
    free(settings->endpoint);
    free(settings->cache);
    forget(settings->token);
    free(settings->token_path);
    free(settings->ca_file);
    *settings = (cadre__settings){0};
}

char *cadre__settings_read_token(const cadre__settings *settings)
{
    char text[TOKEN_MAX], *token = NULL;
    size_t length = 0;
    if (!settings->token_path) return NULL;
    int fd = open(settings->token_path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return NULL;
    while (length < sizeof text) {
        ssize_t n = read(fd, text + length, sizeof text - length);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        length += (size_t)n;
    }
    close(fd);
    if (length < sizeof text) token = clean_token(text, length);
    OPENSSL_cleanse(text, sizeof text);
    return token;
}
