/* usage: images_convert [IN OUT.png]...
 * Decodes each picture and writes it as PNG; the reason of a refusal goes to stderr, and the status is 1. */
#include <cadre/images.h>
#include <stdio.h>
#include <stdlib.h>

static void *read_file(const char *path, size_t *length)
{
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    long size = fseek(f, 0, SEEK_END) == 0 ? ftell(f) : -1;
    void *bytes = size > 0 ? malloc((size_t)size) : NULL;
    rewind(f);
    *length = bytes ? fread(bytes, 1, (size_t)size, f) : 0;
    fclose(f);
    return bytes;
}

static int convert(const char *from, const char *to)
{
    char detail[256] = "not read";
    cadre_image image = CADRE_IMAGE_INIT;
    cadre_blob pixels = {0}, file = {0};
    size_t length = 0;
    void *bytes = read_file(from, &length);
    int rc = bytes ? cadre_images_decode(NULL, bytes, length, &image, &pixels, detail, sizeof detail) : CADRE_EINPUT;
    free(bytes);
    if (rc == CADRE_OK) rc = cadre_images_encode_png(&image, &file);
    if (pixels.free) pixels.free(pixels.data, pixels.length);
    FILE *f = rc == CADRE_OK ? fopen(to, "wb") : NULL;
    int written = f && fwrite(file.data, 1, file.length, f) == file.length;
    if (f && fclose(f) != 0) written = 0;
    if (file.free) file.free(file.data, file.length);
    if (!written) fprintf(stderr, "%s: %s (%s)\n", from, detail, cadre_err_name(rc));
    return !written;
}

int main(int count, char **arguments)
{
    int failed = 0;
    for (int i = 1; i + 1 < count; i += 2) failed |= convert(arguments[i], arguments[i + 1]);
    return failed;
}
