/* Backend modules for test_registry, one per MODULE_* definition: a sound one, one without the function, one of another version, one of another name, one whose
 * table lacks what it must have. */
#include <cadre.h>

#ifndef MODULE_EMPTY
static int module_open(const cadre_backend *backend, cadre_backend_entry *entry, void **self)
{
    (void)backend, (void)entry;
    *self = NULL;
    return 0;
}

static int module_generate(void *self, cadre_op *op, const cadre_generation_input *input, cadre_generation_output *output)
{
    (void)self, (void)input, (void)output;
    return cadre_op_emit(op, "from a module", 13);
}

static int module_make(void *self, cadre_load_context *context, cadre_weights *source, cadre_any_model *out)
{
    static const cadre_generation_ops ops = {.size = sizeof ops, .generate = module_generate};
    (void)self, (void)context, (void)source;
    out->text_to_text.ops = &ops;
    return 0;
}

const cadre_backend *cadre_backend_module(uint32_t version)
{
    static const cadre_backend backend = {.version = CADRE_BACKEND_VERSION,
                                          .size = sizeof backend,
                                          .name = MODULE_NAME,
                                          .capabilities = 1u << CADRE_TEXT_TO_TEXT,
                                          .open = module_open,
                                          .make = MODULE_MAKE ? module_make : NULL};
    return version == MODULE_VERSION ? &backend : NULL;
}
#else
int module_nothing(void);
int module_nothing(void)
{
    return 0;
}
#endif
