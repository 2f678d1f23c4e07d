/* The floor of the generate and embed cases: llama.cpp called directly, one batch at a time, on the calling thread. */
#ifndef CADRE_BENCH_BARE_H
#define CADRE_BENCH_BARE_H

#include <stddef.h>

typedef struct bare bare;

/* sequences: how many run together; each has context_length tokens. With `own_threads` the engine gets a thread pool that lives as long as this, as its own
 * programs make one; otherwise it makes threads for each graph. Ends the program on an error. The engine's modules must have been loaded
 * (by a cadre model, say). */
bare *bare_open(const char *path, int sequences, int context_length, int threads, int embeddings, int own_threads);
void bare_close(bare *b);

/* Greedy, n tokens each whatever they are, no text made of them. Prompts are tokenised with the special tokens the model asks for. Returns the tokens
 * generated. */
size_t bare_generate(bare *b, const char *const *prompts, int count, int n);

/* count texts in one batch; out takes count × dimension floats, normalised. Returns the dimension. */
size_t bare_embed(bare *b, const char *const *texts, int count, float *out);

#endif
