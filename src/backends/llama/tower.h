/* What vision.c and pictures.c share: the inside of a worker's vision tower. */
#ifndef CADRE_LLAMA_TOWER_H
#define CADRE_LLAMA_TOWER_H

#include "backend.h"

#include <mtmd.h>

#define CADRE__LLAMA_MARKER "<__media__>"

struct cadre__llama_vision {
    const cadre__llama_weights *weights;
    struct mtmd_context *engine;
    int32_t threads;       /* 0: ask before each picture */
    int32_t fixed_threads; /* of an encoder that cannot be told */
    int32_t width;         /* floats of one token's embedding */
    cadre__llama_pace pace;
    cadre__llama_hash_key key;
    /* the picture that is encoded */
    cadre_op *op;
    bool stopped;
    uint32_t nodes;
    /* a batch of embeddings */
    int32_t batch_tokens;
    llama_seq_id sequence;
    llama_pos *positions;
    int32_t *sequence_counts;
    llama_seq_id **sequences;
    int8_t *outputs;
};

#endif
