/* Texts that llama.cpp's byte-level BPE must not be given.
 *
 * Before it looks for tokens, the engine cuts a text into words by what the file's key tokenizer.ggml.pre names. For some of them it has code of its own; for
 * the others it uses std::regex, which goes one call deeper for each character of a word: about 350 bytes of stack each, so some 23,000 letters in a row end
 * the process on a stack of 8 MiB. A text with a longer stretch than RUN_MAX is therefore refused.
 *
 * What counts as a stretch: letters (with marks, and all that is unknown), digits, white space, or others, as nearly all of the expressions separate them. Some
 * take letters, digits and signs together as one word: for these all that is not white space is one stretch. Two stretches may be one word (slashes behind
 * spaces, then signs), so RUN_MAX is well below half of what the stack bears. */
#ifndef CADRE_BACKENDS_RUNS_H
#define CADRE_BACKENDS_RUNS_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define CADRE__RUN_MAX 8192

typedef enum cadre__run_rule {
    CADRE__RUN_ANY,   /* no std::regex, or for single characters only */
    CADRE__RUN_KINDS, /* one of four kinds */
    CADRE__RUN_WORDS  /* white space, or all else */
} cadre__run_rule;

/* `pre` "" where the file does not say. Names are those of llama.cpp v0.5.0; one that is not known here is taken to use std::regex. */
static inline cadre__run_rule cadre__run_rule_of(const char *pre)
{
    static const char *const any[] = {"llama3",    "llama-v3", "llama-bpe", "qwen2",     "deepseek-r1-qwen", "qwen35", "gpt-2",      "dbrx",
                                      "smaug-bpe", "kimi-k2",  "smollm",    "starcoder", "stablelm2",        "glm4",   "chatglm-bpe"};
    static const char *const words[] = {"bloom", "poro-chat", "viking", "gpt3-finnish", "whitespace", "exaone-moe", "deepseek-llm"};
    for (size_t i = 0; i < sizeof(any) / sizeof(*any); i++)
        if (strcmp(pre, any[i]) == 0) return CADRE__RUN_ANY;
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
        if (strcmp(pre, words[i]) == 0) return CADRE__RUN_WORDS;
    return CADRE__RUN_KINDS;
}

enum { CADRE__RUN_SPACE, CADRE__RUN_DIGIT, CADRE__RUN_LETTER, CADRE__RUN_OTHER };

static inline int cadre__run_kind(unsigned c)
{
    if (c == ' ' || (c >= '\t' && c <= '\r') || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
        c == 0x202F || c == 0x205F || c == 0x3000)
        return CADRE__RUN_SPACE;
    if (c >= '0' && c <= '9') return CADRE__RUN_DIGIT;
    if (c < 0x80) return (c | 0x20) >= 'a' && (c | 0x20) <= 'z' ? CADRE__RUN_LETTER : CADRE__RUN_OTHER;
    bool sign = (c >= 0x2010 && c <= 0x205E) || (c >= 0x3001 && c <= 0x3003) || (c >= 0x3008 && c <= 0x3011) || (c >= 0xFF01 && c <= 0xFF0F) ||
                (c >= 0xFF1A && c <= 0xFF20);
    return sign ? CADRE__RUN_OTHER : CADRE__RUN_LETTER;
}

/* Slashes and ends of lines, which some expressions take behind signs, as part of one word. */
static inline bool cadre__run_joins(unsigned c)
{
    return c == '/' || c == '\n' || c == '\r';
}

/* Where the first stretch of more than CADRE__RUN_MAX characters begins in UTF-8; `length`: nowhere. */
static inline size_t cadre__run_find(cadre__run_rule rule, const char *text, size_t length)
{
    size_t begin = 0, count = 0;
    int last = -1;
    if (rule == CADRE__RUN_ANY || length <= CADRE__RUN_MAX) return length;
    for (size_t at = 0, size; at < length; at += size) {
        unsigned char lead = (unsigned char)text[at];
        size = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
        unsigned c = size == 1 ? lead : lead & (0x7Fu >> size);
        for (size_t i = 1; i < size && at + i < length; i++) c = c << 6 | ((unsigned char)text[at + i] & 0x3Fu);
        int kind = cadre__run_kind(c);
        if (rule == CADRE__RUN_WORDS)
            kind = kind == CADRE__RUN_SPACE;
        else if (cadre__run_joins(c) && (last == CADRE__RUN_SPACE || last == CADRE__RUN_OTHER))
            kind = last;
        if (kind != last) begin = at, count = 0;
        last = kind;
        if (++count > CADRE__RUN_MAX) return begin;
    }
    return length;
}

#endif
