/* Pictures that the tests draw, questions about them, and vision towers that are made from the one there is. */
#ifndef CADRE_TESTS_LLAMA_SHAPES_H
#define CADRE_TESTS_LLAMA_SHAPES_H

#include "chat.h"

/* The language model and its tower; a test fails where they are not named. */
const char *llava(void);
const char *llava_mmproj(void);

#define SHAPE_SIDE 56
#define SHAPE_TOKENS 16 /* of one picture */

typedef struct shape {
    const char *colour; /* red, green, blue, yellow, white, black */
    const char *form;   /* square, circle, triangle */
    int x, y, radius;   /* of SHAPE_SIDE */
    int grey;           /* of the background */
} shape;

typedef struct picture {
    uint8_t pixels[SHAPE_SIDE * SHAPE_SIDE * 3];
} picture;

#define TEN 10
extern const shape ten_shapes[TEN];

cadre_image_input shape_draw(picture *to, const shape *of);

/* One of the forms that the weights were trained on; the engine does not know their chat template, so this is the whole prompt. */
#define ABOUT(question) "user: <__media__>" question " assistant:"
#define WHAT ABOUT("what is in the image?")

cadre_llama_options shape_options(void);
void shape_spawn(fixture *fx, spawned *worker, const char *key, const cadre_llama_options *options, cadre_weights_future *weights);
cadre_describe_params shape_question(const char *key, const char *query, const cadre_image_input *images, size_t count);
void shape_ask(fixture *fx, reply *r, cadre_describe_params *params);
void shape_ask_and_wait(fixture *fx, reply *r, cadre_describe_params *params);

/* Asks about one of the ten, and fails where the answer does not name its colour and form. */
void shape_assert_seen(fixture *fx, reply *r, const char *key, size_t index);

/* The backend's `open`, by hand. */
typedef struct shape_given {
    cadre_option_value values[16];
    cadre_backend_entry entry;
} shape_given;
int shape_entry(shape_given *g, cadre_capability capability, const char *path, const char *mmproj, void **self);

/* A tower like llava_mmproj()'s with other numbers; its weights are the first block's, again and again. */
typedef struct tower {
    uint32_t blocks;
    uint32_t side;    /* of its pictures, in pixels */
    uint32_t output;  /* width of an embedding; 64 is the language model's */
    uint32_t stacked; /* layers' outputs that its projector takes side by side; 0: one */
} tower;
void tower_make(const char *path, tower like);

/* Copies of a file: `bytes` of it (SIZE_MAX: all) with the byte at `at` exchanged for another; with one number changed (an epsilon becomes negative); with a
 * list of i32 put in. */
void file_spoil(const char *from, const char *to, size_t bytes, size_t at, unsigned char mask);
void file_set_number(const char *from, const char *to, const char *key, uint32_t value);
void file_set_list(const char *from, const char *to, const char *key, const int32_t *list, size_t count);

/* The engine alone: libmtmd and llama_decode in a plain loop, the likeliest token until the end. The engine must have been started by a load. */
typedef struct bare_answer {
    char text[1024];
    uint32_t prompt_tokens;
    uint32_t generated_tokens;
} bare_answer;
void bare_describe(bare_answer *out, const char *prompt, const picture *pictures, size_t count);

#endif
