/* Between the parts of the scripted models. */
#ifndef CADRE_TESTS_SCRIPTED_MODEL_H
#define CADRE_TESTS_SCRIPTED_MODEL_H

#include "scripted.h"

#define INSTANCE_MAGIC 0x5c819720u
typedef struct instance {
    script *s;
    uint32_t magic;
    pthread_t thread; /* that attached it */
    bool attached;
    int busy, active;
    struct slot {
        cadre_op *op;
        int emitted, limit;
        char prompt[256];
    } slots[16];
} instance;

typedef union model_value {
    cadre_generation_model generation;
    cadre_text_embedding_model texts;
    cadre_image_embedding_model images;
    cadre_text_to_image_model painter;
} model_value;

void script_record(script *s, script_op op, const char *tag, size_t count);
void script_gate(script *s, script_op op);
void script_fill(script *s, model_value *out);
void model_destroy(void *self);

/* On a loader thread: a blocking load's gate, progress and status. */
int script_load_here(script *s, cadre_load_context *context);
/* Loop thread: a promise of weights that a thread of the test's own keeps. */
int script_fetch(script *s, cadre_weights_future **out);
cadre_weights_value script_payload(script *s);
bool script_owns(script *s, cadre_weights *weights);

/* Any thread: a fault unless the input equals one of the script's expected parameters. */
void check_generation(script *s, const cadre_generation_input *input);
void check_embed(script *s, const char *text, const char *task, int truncate);
void check_image_input(script *s, const cadre_text_to_image_input *input);

#endif
