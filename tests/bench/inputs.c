#include "inputs.h"

#include "bench.h"

#include <stdio.h>

static const char *const words[] = {
    "water", "small", "house", "river",  "above", "number", "light", "people",  "story", "learn", "plant",  "cover", "night",  "between",  "city",     "tree",
    "cross", "farm",  "hard",  "start",  "might", "paper",  "group", "always",  "music", "those", "both",   "mark",  "letter", "until",    "mile",     "sea",
    "car",   "feet",  "care",  "second", "book",  "carry",  "took",  "science", "eat",   "room",  "friend", "began", "idea",   "fish",     "mountain", "stop",
    "once",  "base",  "hear",  "horse",  "cut",   "sure",   "watch", "color",   "face",  "wood",  "main",   "open",  "seem",   "together", "next",     "white"};
#define WORDS (sizeof words / sizeof *words)

void input_prompt(size_t number, char *buffer, size_t size)
{
    int length = snprintf(buffer, size, "%zu %s and %s: once upon a time, in a %s by the %s, there lived a", number + 100, words[number % WORDS],
                          words[(number / WORDS + 7) % WORDS], words[(number * 5 + 3) % WORDS], words[(number * 11 + 1) % WORDS]);
    if (length < 0 || (size_t)length >= size) bench_fail("a prompt does not fit");
}

void input_text(size_t number, char *buffer, size_t size)
{
    uint32_t x = (uint32_t)number * 2654435761u + 12345;
    size_t count = 8 + number % 17, have = 0;
    for (size_t i = 0; i < count; i++) {
        x = x * 1664525u + 1013904223u;
        int length = snprintf(buffer + have, size - have, "%s%s", i ? " " : "", words[(x >> 16) % WORDS]);
        if (length < 0 || (size_t)length >= size - have) bench_fail("a text does not fit");
        have += (size_t)length;
    }
}
