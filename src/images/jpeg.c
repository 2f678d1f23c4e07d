/* JPEG by libjpeg-turbo, baseline, progressive and arithmetic-coded.
 *
 * libjpeg reports errors by a callback that must not return: here a longjmp to decode(), which keeps no local variables, so that none is lost. Whatever was
 * allocated hangs on the job. libjpeg goes on after a warning (it fills what is missing with gray); here a warning ends the decoding. */
#include "picture.h"

#include <limits.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

#include <jerror.h>

/* The most that an honest encoder writes is one scan per component and bit, well below this. Each scan of a few bytes may cost a pass over all coefficients. */
#define SCANS_MAX 100

typedef struct job {
    struct jpeg_decompress_struct info;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf end;
    cadre__picture *picture;
    int rc;
    uint8_t *row; /* of a CMYK picture */
} job;

static _Noreturn void end_with(job *j, int rc)
{
    j->rc = rc;
    longjmp(j->end, 1);
}

static void on_error(j_common_ptr info)
{
    job *j = (job *)(void *)info; /* its first member */
    char message[JMSG_LENGTH_MAX];
    if (info->err->msg_code == JERR_OUT_OF_MEMORY) end_with(j, cadre__images_fail(j->picture, CADRE_ENOMEM, "no memory to decode the JPEG file"));
    info->err->format_message(info, message);
    if (info->err->msg_code == JERR_NO_BACKING_STORE) snprintf(message, sizeof message, "it needs more memory than a picture of its size should");
    end_with(j, cadre__images_fail(j->picture, CADRE_EINPUT, "the JPEG file is damaged or of an unknown kind: %s", message));
}

static void on_message(j_common_ptr info, int level)
{
    int code = info->err->msg_code; /* a newer version of JFIF is no damage, and cameras leave bytes between the parts of a file */
    if (level < 0 && code != JWRN_JFIF_MAJOR && code != JWRN_EXTRANEOUS_DATA) on_error(info);
}

static void on_output(j_common_ptr info)
{
    (void)info;
}

/* Between rows of blocks, and between scans. */
static void on_progress(j_common_ptr info)
{
    job *j = (job *)(void *)info;
    if (cadre__images_cancelled(j->picture)) end_with(j, CADRE_ECANCELED);
    if (j->info.input_scan_number > SCANS_MAX) end_with(j, cadre__images_fail(j->picture, CADRE_EINPUT, "the JPEG file has more than %d scans", SCANS_MAX));
}

/* libjpeg holds all coefficients of a progressive picture: at most 4 components of 2 bytes, in blocks that reach over the edge. More than that is not honest.
 */
static long memory_limit(const struct jpeg_decompress_struct *info)
{
    uint64_t bytes = ((uint64_t)info->image_width + 64) * ((uint64_t)info->image_height + 64) * 8 + (UINT64_C(16) << 20);
    return bytes < LONG_MAX ? (long)bytes : LONG_MAX;
}

/* round((255 − ink) × (255 − black) / 255); `a` and `b` are the differences. */
static uint8_t times(uint32_t a, uint32_t b)
{
    return (uint8_t)((a * b + 127) / 255);
}

static void convert_cmyk(const job *j, uint8_t *to)
{
    const uint8_t *from = j->row;
    uint8_t turn = j->info.saw_Adobe_marker ? 0 : 255; /* Adobe's values are 255 − ink already */
    for (uint32_t x = 0; x < j->picture->width; x++, from += 4, to += 3)
        for (int c = 0; c < 3; c++) to[c] = times(from[c] ^ turn, from[3] ^ turn);
}

static void start(job *j)
{
    struct jpeg_decompress_struct *info = &j->info;
    cadre__picture *p = j->picture;
    jpeg_create_decompress(info);
    info->progress = &j->progress;
    jpeg_mem_src(info, p->bytes, p->length);
    jpeg_read_header(info, TRUE);
    int rc = cadre__images_check_size(p, info->image_width, info->image_height);
    if (rc != CADRE_OK) end_with(j, rc);
    info->mem->max_memory_to_use = memory_limit(info);
    bool cmyk = info->jpeg_color_space == JCS_CMYK || info->jpeg_color_space == JCS_YCCK;
    if (info->jpeg_color_space == JCS_UNKNOWN)
        end_with(j, cadre__images_fail(p, CADRE_EINPUT, "the JPEG file has %d components, which are no known colours", info->num_components));
    info->out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    info->dct_method = JDCT_ISLOW;
    jpeg_start_decompress(info);
    rc = cadre__images_allocate(p, 3, false);
    if (rc != CADRE_OK) end_with(j, rc);
    if (!cmyk) return;
    j->row = malloc((size_t)p->width * 4);
    if (!j->row) end_with(j, cadre__images_fail(p, CADRE_ENOMEM, "no memory for a row of the JPEG file"));
}

static void decode(job *j)
{
    if (setjmp(j->end)) return;
    start(j);
    while (j->info.output_scanline < j->info.output_height) {
        uint8_t *to = j->picture->pixels + (size_t)j->info.output_scanline * j->picture->width * 3;
        JSAMPROW row = j->row ? j->row : to;
        on_progress((j_common_ptr)&j->info);
        jpeg_read_scanlines(&j->info, &row, 1);
        if (j->row) convert_cmyk(j, to);
    }
    jpeg_finish_decompress(&j->info); /* reads on to the end of the picture */
}

/* The first APP1 segment with an EXIF block. Segments up to the first scan are 0xFF, a marker, and a length that includes itself. */
static int find_orientation(const uint8_t *bytes, size_t length)
{
    for (size_t at = 2; length - at >= 4;) {
        if (bytes[at] != 0xff) return 1;
        uint8_t marker = bytes[at + 1];
        if (marker == 0xff) { /* padding */
            at++;
            continue;
        }
        size_t size = (size_t)bytes[at + 2] << 8 | bytes[at + 3];
        if (marker == 0xda || size < 2 || length - at - 2 < size) return 1;
        if (marker == 0xe1 && size >= 8 && memcmp(bytes + at + 4, "Exif\0\0", 6) == 0) return cadre__images_exif_orientation(bytes + at + 4, size - 2);
        at += 2 + size;
    }
    return 1;
}

int cadre__images_jpeg(cadre__picture *p)
{
    job *j = calloc(1, sizeof *j);
    if (!j) return cadre__images_fail(p, CADRE_ENOMEM, "no memory to decode the JPEG file");
    j->picture = p;
    j->info.err = jpeg_std_error(&j->errors);
    j->errors.error_exit = on_error;
    j->errors.emit_message = on_message;
    j->errors.output_message = on_output;
    j->progress.progress_monitor = on_progress;
    p->orientation = find_orientation(p->bytes, p->length);
    decode(j);
    int rc = j->rc;
    jpeg_destroy_decompress(&j->info);
    free(j->row);
    free(j);
    return rc;
}
