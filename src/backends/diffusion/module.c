/* cadre-diffusion.so: the one function by which the registry finds the backend. All else is in libcadre-diffusion, which it links. */
#include <cadre/diffusion.h>

CADRE_EXTERN const cadre_backend *cadre_backend_module(uint32_t version);

const cadre_backend *cadre_backend_module(uint32_t version)
{
    return version == CADRE_BACKEND_VERSION ? cadre_diffusion_backend() : NULL;
}
