/* cadre-llama.so: the one function by which the registry finds the backend. All else is in libcadre-llama, which it links. */
#include <cadre/llama.h>

CADRE_EXTERN const cadre_backend *cadre_backend_module(uint32_t version);

const cadre_backend *cadre_backend_module(uint32_t version)
{
    return version == CADRE_BACKEND_VERSION ? cadre_llama_backend() : NULL;
}
