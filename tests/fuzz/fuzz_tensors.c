/* The headers of files of tensors, GGUF and safetensors: whatever is said to be there lies within the file, and has the size that its type and shape say. */
#include "fuzz.h"

#include "../../src/backends/diffusion/tensors.h"

#include <stdlib.h>

static void check(const cadre__tensors *tensors, size_t size)
{
    FUZZ_CHECK(tensors->count > 0 && tensors->count <= CADRE__TENSORS_MAX, "%zu tensors", tensors->count);
    for (size_t i = 0; i < tensors->count; i++) {
        const cadre__tensor *at = &tensors->at[i];
        uint64_t elements = 1;
        for (int k = 0; k < CADRE__TENSOR_DIMS; k++) {
            FUZZ_CHECK(at->ne[k] >= 1, "a dimension of 0");
            elements *= at->ne[k];
        }
        FUZZ_CHECK(elements == at->elements && elements <= INT32_MAX, "elements");
        FUZZ_CHECK(at->bytes == cadre__tensor_bytes(at->type, at->ne[0], elements) && at->bytes > 0, "bytes");
        FUZZ_CHECK(at->bytes <= (uint64_t)size * 2, "a tensor of %llu bytes in %zu", (unsigned long long)at->bytes, size); /* 8-bit floats become 16-bit ones */
        FUZZ_CHECK(at->name == tensors->names[i] && strlen(at->name) >= 1 && strlen(at->name) <= CADRE__TENSOR_NAME_MAX, "a name");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cadre__tensors tensors;
    char reason[320];
    if (size == 0) return 0;
    FILE *file = fmemopen((void *)(uintptr_t)data, size, "rb");
    if (!file) return 0;
    int rc = cadre__tensors_read(file, size, &tensors, reason, sizeof(reason));
    fclose(file);
    if (rc == 0) {
        check(&tensors, size);
        cadre__tensors_clear(&tensors);
    } else {
        FUZZ_CHECK(rc == CADRE_ENOMEM || (rc == CADRE_EFORMAT && reason[0]), "the error %d, \"%s\"", rc, reason);
        FUZZ_CHECK(tensors.count == 0 && !tensors.at, "something is left");
    }
    return 0;
}
