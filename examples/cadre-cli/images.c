/* What needs libcadre-images: the decoder for pictures that come in. Without that library the commands about pictures say so. */
#include "cli.h"

#ifdef CLI_IMAGES
#include <cadre/images.h>

const int app_has_images = 1;

int app_images(cadre_pool_options *options)
{
    static cadre_image_decoder decoder;
    int rc = cadre_images_decoder(NULL, &decoder);
    if (rc != 0) return complain(CLI_FAILED, "no decoder for pictures: %s (%s)", cadre_strerror(rc), cadre_err_name(rc));
    options->decoder = &decoder;
    return 0;
}
#else
const int app_has_images = 0;

int app_images(cadre_pool_options *options)
{
    (void)options;
    return complain(CLI_FAILED, "\"%s\" needs libcadre-images, which this program was built without (cmake -DCADRE_IMAGES=ON)", app.command->name);
}
#endif
