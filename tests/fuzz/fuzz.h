/* What the fuzz targets share: bytes read as values, a pool on the simulator's executor (one thread, virtual clock: see sim/executor_sim.h), a counting
 * allocator, and small models of all five capabilities.
 *
 * A target is LLVMFuzzerTestOneInput. It opens a host, does what the bytes say, and ends the host, which closes the pool and checks that nothing is left. The
 * same bytes always give the same run. What is wrong goes through fuzz_fail, which aborts. */
#ifndef CADRE_FUZZ_H
#define CADRE_FUZZ_H

#include "executor_sim.h"

#include <cadre.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

_Noreturn void fuzz_fail(const char *format, ...) CADRE_PRINTF(1, 2);
#define FUZZ_CHECK(condition, ...) ((condition) ? (void)0 : fuzz_fail(__VA_ARGS__))

/* ---- bytes ---- */

typedef struct fuzz_bytes {
    const uint8_t *at;
    size_t left;
} fuzz_bytes;

uint8_t fuzz_byte(fuzz_bytes *b); /* 0 when nothing is left */
uint32_t fuzz_below(fuzz_bytes *b, uint32_t n);
/* Often one that stands at a limit. */
int64_t fuzz_integer(fuzz_bytes *b);
int32_t fuzz_integer32(fuzz_bytes *b);
float fuzz_float(fuzz_bytes *b);

/* Blocks that live as long as an input does: each of exactly its size, so that a read beyond it is seen. */
typedef struct fuzz_scrap {
    struct fuzz_scrap *next;
    void *block;
} fuzz_scrap;
void *fuzz_take(fuzz_scrap **scraps, size_t bytes);
void fuzz_drop(fuzz_scrap **scraps);
/* A string of bytes: NULL, empty, ASCII, or whatever comes. */
char *fuzz_text(fuzz_bytes *b, fuzz_scrap **scraps);

/* ---- the host ---- */

typedef struct fuzz_host {
    simulator sim;
    cadre_pool *pool;
    cadre_port *port;
    cadre_allocator allocator;
    cadre_clock clock;
    uint64_t blocks, bytes; /* of the core's that live */
    uint64_t instances, pixels;
    unsigned fail_every; /* one allocation in so many fails; 0: none */
    unsigned reserved;   /* reservations that the target holds itself */
    bool closing, closed;
    cadre_close_report report;
} fuzz_host;

/* `options`: allocator and clock are filled in; may be NULL. */
void fuzz_open(fuzz_host *h, uint64_t seed, const cadre_pool_options *options);
/* One event; false when nothing moves by itself. */
bool fuzz_step(fuzz_host *h);
/* Until nothing moves by itself. */
void fuzz_settle(fuzz_host *h);
/* Starts the close, or makes it shorter. */
void fuzz_close(fuzz_host *h, int64_t drain_ms, int64_t abandon_after_ms);
/* Closes, if that was not done, and runs to the end; nothing may be left. */
void fuzz_end(fuzz_host *h);

/* ---- models ---- */

/* What an operation reads; the members of its capability are set. */
typedef struct fuzz_seen {
    const cadre_generation_input *generation;
    const char *text, *task;
    int truncate;
    const cadre_image *image;
    const cadre_text_to_image_input *painting;
} fuzz_seen;

/* The first byte of a prompt, a text or a picture says what becomes of it: how many pieces, or a failure (fuzz_refuses). */
typedef struct fuzz_model {
    fuzz_host *host;
    cadre_capability capability;
    uint32_t slots; /* 0: one at a time */
    uint32_t max_batch, dimension;
    uint64_t step_ns;
    bool patient; /* its operations do not look at cadre_op_cancelled */
    int attach_status;
    void (*see)(struct fuzz_model *m, const fuzz_seen *seen); /* may be NULL */
    void *data;
} fuzz_model;

typedef union fuzz_value {
    size_t size;
    cadre_generation_model generation;
    cadre_text_embedding_model texts;
    cadre_image_embedding_model images;
    cadre_text_to_image_model painter;
} fuzz_value;

bool fuzz_refuses(uint8_t first);
unsigned fuzz_pieces(uint8_t first);
void fuzz_make(fuzz_model *m, fuzz_value *out);
/* The model was not consumed. */
void fuzz_unmake(fuzz_model *m, const fuzz_value *value);
/* Any loader: `load` returns a future of any value. */
int fuzz_spawn(fuzz_host *h, cadre_capability capability, const char *key, cadre_future *(*load)(cadre_load_context *context, void *data), void *data,
               void (*release)(void *data), cadre_reservation *owned, const cadre_spawn_options *options, cadre_worker_cb on_ready, cadre_worker_id *out);
/* Spawns one worker whose load is settled from the start; `m` outlives the host. */
void fuzz_spawn_ready(fuzz_model *m, const char *key);
/* A picture of 1 × 1 that holds a hash of what was decoded. */
int fuzz_decode(void *host, cadre_op *op, const void *bytes, size_t length, uint64_t max_pixels, cadre_image *out, cadre_blob *pixels);
uint32_t fuzz_hash(const void *bytes, size_t length);

#endif
