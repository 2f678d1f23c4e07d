/* What the tests of the stable-diffusion.cpp backend share: models by manifest, pictures that are drawn and looked at, files that are spoilt. */
#ifndef CADRE_TESTS_DIFFUSION_DRAW_H
#define CADRE_TESTS_DIFFUSION_DRAW_H

#include "support.h"

#include <cadre/diffusion.h>

#define SIDE 64 /* of the tests' pictures */

/* The small weights, which draw the colour that the prompt names (see tests/run.sh). A test fails where they are not named. */
const char *weights_file(const char *variable);
#define FLUX weights_file("CADRE_TEST_FLUX")
#define SD35 weights_file("CADRE_TEST_SD35")
#define CLIP_L weights_file("CADRE_TEST_CLIP_L")
#define TAESD weights_file("CADRE_TEST_TAESD")

fixture *draw_begin(void);
cadre_diffusion_options draw_options(const char *transformer);

/* ---- models ---- */
typedef struct outcome {
    int done;
    int status;
    char detail[1024];
} outcome;
void on_outcome(cadre_pool *pool, int status, const char *detail, void *data);

/* An entry with these files and `more` options (", \"steps\": 2"); it must be accepted. */
void draw_add(fixture *fx, const char *key, const char *transformer, const char *loader, const char *workers, const char *more);
outcome draw_add_text(fixture *fx, const char *format, ...) CADRE_PRINTF(2, 3);
void draw_unload(fixture *fx, const char *key);

/* ---- pictures ---- */
typedef struct picture {
    fixture *fx;
    cadre_request_id id;
    int done;
    int status;
    char detail[512];
    uint32_t width, height;
    uint8_t pixels[4 * SIDE * SIDE * 3];
    int reports;
    uint32_t reached, total; /* of the last report */
    int backwards;           /* a report said less than the one before */
    int cancel_at;           /* once so many steps are reported; 0: never */
} picture;

cadre_generate_image_params draw_params(const char *key, const char *prompt, int64_t seed);
void draw_start(fixture *fx, picture *p, cadre_generate_image_params *params);
void draw_until(fixture *fx, picture *pictures, size_t count);
void draw(fixture *fx, picture *p, const char *key, const char *prompt, int64_t seed);
void draw_until_quiet(fixture *fx, const char *key);
/* 0 red, 1 green, 2 blue: the mean of this channel is the largest by far. */
void assert_colour(const picture *p, int channel);
bool same_picture(const picture *a, const picture *b);

/* ---- files ---- */
typedef struct content {
    unsigned char *bytes;
    size_t length;
} content;
content read_content(const char *path);
void write_content(const char *path, const void *bytes, size_t length);

#endif
