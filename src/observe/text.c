#include "observe/text.h"

void cadre__text_flush(cadre__text *text)
{
    if (!text->write) return;
    if (text->used) text->write(text->buffer, text->used, text->data);
    text->used = 0;
}

void cadre__text_bytes(cadre__text *text, const char *bytes, size_t length)
{
    if (length > text->size - text->used) cadre__text_flush(text);
    if (length > text->size - text->used) {
        if (text->write)
            text->write(bytes, length, text->data);
        else
            text->cut = true;
        return;
    }
    memcpy(text->buffer + text->used, bytes, length);
    text->used += length;
}

void cadre__text_uint(cadre__text *text, uint64_t value)
{
    char digits[20], *first = digits + sizeof digits;
    do {
        *--first = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    cadre__text_bytes(text, first, (size_t)(digits + sizeof digits - first));
}

void cadre__text_int(cadre__text *text, int64_t value)
{
    if (value < 0) cadre__text_add(text, "-");
    cadre__text_uint(text, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

/* value / 10^places, with at least `shown` decimals. */
static void decimals(cadre__text *text, uint64_t value, int places, int shown)
{
    char digits[10] = ".";
    uint64_t unit = 1;
    for (int i = 0; i < places; i++) unit *= 10;
    uint64_t part = value % unit;
    for (int i = places; i > 0; i--, part /= 10) digits[i] = (char)('0' + part % 10);
    int length = places;
    while (length > shown && digits[length] == '0') length--;
    cadre__text_uint(text, value / unit);
    if (length) cadre__text_bytes(text, digits, (size_t)length + 1);
}

void cadre__text_seconds(cadre__text *text, uint64_t ns)
{
    decimals(text, ns, 9, 0);
}

void cadre__text_micros(cadre__text *text, uint64_t ns)
{
    decimals(text, ns, 3, 3);
}

static void escape(cadre__text *text, const char *bytes, size_t length, bool json)
{
    static const char hex[] = "0123456789abcdef";
    size_t from = 0;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)bytes[i];
        bool control = json ? c < 0x20 : c == '\n';
        if (c != '"' && c != '\\' && !control) continue;
        cadre__text_bytes(text, bytes + from, i - from);
        from = i + 1;
        char code[6] = {'\\', (char)c, '0', '0'};
        size_t size = 2;
        if (c == '\n') {
            code[1] = 'n';
        } else if (control) {
            code[1] = 'u', code[4] = hex[c >> 4], code[5] = hex[c & 15];
            size = 6;
        }
        cadre__text_bytes(text, code, size);
    }
    cadre__text_bytes(text, bytes + from, length - from);
}

static void quote(cadre__text *text, const char *string, bool json)
{
    size_t left = strlen(string), bad;
    cadre__text_add(text, "\"");
    while ((bad = cadre__utf8_invalid(string, left)) != SIZE_MAX) {
        escape(text, string, bad, json);
        cadre__text_add(text, "\xef\xbf\xbd");
        string += bad + 1;
        left -= bad + 1;
    }
    escape(text, string, left, json);
    cadre__text_add(text, "\"");
}

void cadre__text_json(cadre__text *text, const char *string)
{
    quote(text, string, true);
}

void cadre__text_label(cadre__text *text, const char *string)
{
    quote(text, string, false);
}
