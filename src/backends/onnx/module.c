/* cadre-onnx.so: the one function by which the registry finds the backend. All else is in libcadre-onnx, which it links. */
#include <cadre/onnx.h>

CADRE_EXTERN const cadre_backend *cadre_backend_module(uint32_t version);

const cadre_backend *cadre_backend_module(uint32_t version)
{
    return version == CADRE_BACKEND_VERSION ? cadre_onnx_backend() : NULL;
}
