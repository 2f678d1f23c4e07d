/* Prompts and texts, the same for every side of a comparison: a function of their number. Plain ASCII without quotes, so that they go into JSON as they are. */
#ifndef CADRE_BENCH_INPUTS_H
#define CADRE_BENCH_INPUTS_H

#include <stddef.h>

/* About 20 tokens, to be continued without a chat template; no two begin alike, so that no side can keep a prompt's beginning. SmolLM2 continues each for more
 * than 64 tokens. */
void input_prompt(size_t number, char *buffer, size_t size);
/* A sentence of 8 to 24 words. */
void input_text(size_t number, char *buffer, size_t size);

#endif
