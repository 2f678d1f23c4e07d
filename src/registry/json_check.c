#include "registry/json.h"

typedef struct scan {
    const char *text;
    size_t length, at;
    unsigned depth;
    const char *what;
} scan;

static bool value(scan *s);

static bool fail(scan *s, const char *what)
{
    s->what = what;
    return false;
}

/* The byte here, or 0 at the end (a NUL in the text fits nowhere either). */
static char here(const scan *s)
{
    return s->at < s->length ? s->text[s->at] : '\0';
}

static void space(scan *s)
{
    for (char c = here(s); c == ' ' || c == '\t' || c == '\n' || c == '\r'; c = here(s)) s->at++;
}

/* Four hexadecimal digits, or -1. */
static int32_t hex4(const scan *s, size_t at)
{
    int32_t unit = 0;
    if (s->length < 4 || at > s->length - 4) return -1;
    for (size_t i = at; i < at + 4; i++) {
        char c = s->text[i];
        if (c >= '0' && c <= '9')
            unit = unit * 16 + (c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            unit = unit * 16 + ((c | 0x20) - 'a' + 10);
        else
            return -1;
    }
    return unit;
}

static bool escape(scan *s)
{
    char kind = s->length - s->at > 1 ? s->text[s->at + 1] : '\0';
    if (kind && strchr("\"\\/bfnrt", kind)) {
        s->at += 2;
        return true;
    }
    if (kind != 'u') return fail(s, "an escape that JSON does not have");
    int32_t unit = hex4(s, s->at + 2);
    if (unit < 0) return fail(s, "\\u without four hexadecimal digits");
    if (unit == 0) return fail(s, "\\u0000 inside of a string");
    if (unit < 0xd800 || unit > 0xdfff) {
        s->at += 6;
        return true;
    }
    size_t next = s->at + 6;
    int32_t low = s->length - next > 1 && s->text[next] == '\\' && s->text[next + 1] == 'u' ? hex4(s, next + 2) : -1;
    if (unit > 0xdbff || low < 0xdc00 || low > 0xdfff) return fail(s, "half of a surrogate pair");
    s->at += 12;
    return true;
}

static bool string(scan *s)
{
    size_t start = s->at++;
    while (s->at < s->length) {
        unsigned char c = (unsigned char)s->text[s->at];
        if (c == '"') {
            s->at++;
            return true;
        }
        if (c < 0x20) return fail(s, "a control character inside of a string; write it as an escape");
        if (c != '\\')
            s->at++;
        else if (!escape(s))
            return false;
    }
    s->at = start;
    return fail(s, "a string without its closing quote");
}

static bool digits(scan *s)
{
    if (here(s) < '0' || here(s) > '9') return fail(s, "expected a digit");
    while (here(s) >= '0' && here(s) <= '9') s->at++;
    return true;
}

static bool number(scan *s)
{
    size_t start = s->at;
    if (here(s) == '-') s->at++;
    size_t first = s->at;
    if (!digits(s)) return false;
    if (s->text[first] == '0' && s->at - first > 1) {
        s->at = start;
        return fail(s, "a number that begins with 0");
    }
    if (here(s) == '.') {
        s->at++;
        if (!digits(s)) return false;
    }
    if (here(s) == 'e' || here(s) == 'E') {
        s->at++;
        if (here(s) == '+' || here(s) == '-') s->at++;
        if (!digits(s)) return false;
    }
    if (s->at - start <= CADRE__JSON_NUMBER) return true;
    s->at = start;
    return fail(s, "a number of more than 63 characters");
}

static bool literal(scan *s, const char *word)
{
    size_t length = strlen(word);
    if (s->length - s->at < length || memcmp(s->text + s->at, word, length) != 0) return fail(s, "expected a value");
    s->at += length;
    return true;
}

static bool member(scan *s)
{
    space(s);
    if (here(s) != '"') return fail(s, "expected a name in quotes");
    if (!string(s)) return false;
    space(s);
    if (here(s) != ':') return fail(s, "expected ':'");
    s->at++;
    return value(s);
}

/* An object or an array. */
static bool container(scan *s, char end, bool (*element)(scan *), const char *expected)
{
    if (++s->depth > CADRE__JSON_DEPTH) return fail(s, "nested deeper than 64");
    s->at++;
    space(s);
    if (here(s) != end) {
        for (;;) {
            if (!element(s)) return false;
            space(s);
            if (here(s) != ',') break;
            s->at++;
        }
        if (here(s) != end) return fail(s, expected);
    }
    s->at++;
    s->depth--;
    return true;
}

static bool value(scan *s)
{
    space(s);
    switch (here(s)) {
    case '{': return container(s, '}', member, "expected ',' or '}'");
    case '[': return container(s, ']', value, "expected ',' or ']'");
    case '"': return string(s);
    case 't': return literal(s, "true");
    case 'f': return literal(s, "false");
    case 'n': return literal(s, "null");
    default: return here(s) == '-' || (here(s) >= '0' && here(s) <= '9') ? number(s) : fail(s, "expected a value");
    }
}

size_t cadre__json_check(const char *text, size_t length, const char **what)
{
    scan s = {.text = text, .length = length};
    bool valid = value(&s);
    if (valid) {
        space(&s);
        if (s.at == length) return SIZE_MAX;
        s.what = "text after the end";
    }
    *what = s.what;
    return s.at;
}
