/* The typed family of one capability, made from its names: the spawn function, the registry's addition and the two load helpers. Each casts a callback back to
 * the type it came with before it calls it. */
#ifndef CADRE__TYPED_H
#define CADRE__TYPED_H

#include "pool/worker.h"
#include "registry/registry.h"

#define CADRE__TYPED(NAME, SPAWN, ADD, MODEL, CAPABILITY)                                                                                                      \
    static cadre_future *call_load(const void *loader, cadre_load_context *context)                                                                            \
    {                                                                                                                                                          \
        NAME##_loader typed;                                                                                                                                   \
        memcpy(&typed, loader, sizeof typed);                                                                                                                  \
        return NAME##_future_untyped(typed.load(context, typed.data));                                                                                         \
    }                                                                                                                                                          \
    int SPAWN(cadre_pool *pool, const char *registry_key, const NAME##_loader *loader, cadre_reservation *owned, const cadre_spawn_options *options,           \
              cadre_worker_cb on_ready, void *data, cadre_worker_id *out)                                                                                      \
    {                                                                                                                                                          \
        _Static_assert(sizeof(NAME##_loader) == sizeof(cadre__loader), "a typed loader has the members of cadre__loader");                                     \
        return cadre__spawn(pool, CAPABILITY, registry_key, loader, call_load, owned, options, on_ready, data, out);                                           \
    }                                                                                                                                                          \
    int ADD(cadre_pool *pool, const cadre_entry *entry, const NAME##_loader *loader, cadre_registry_cb cb, void *data)                                         \
    {                                                                                                                                                          \
        return cadre__registry_add_loader(pool, entry, CAPABILITY, loader, call_load, cb, data);                                                               \
    }                                                                                                                                                          \
    static int call_make(cadre__make_fn function, cadre_load_context *context, cadre_weights *source, void *data, void *value)                                 \
    {                                                                                                                                                          \
        return ((NAME##_make_cb)function)(context, source, data, (MODEL *)value);                                                                              \
    }                                                                                                                                                          \
    NAME##_future *NAME##_load_blocking(cadre_load_context *context, cadre_weights_future *source, NAME##_make_cb function, void *data)                        \
    {                                                                                                                                                          \
        return (NAME##_future *)cadre__load_blocking(context, (cadre_value_type)CAPABILITY, (cadre_future *)source, call_make, (cadre__make_fn)function,       \
                                                     data);                                                                                                    \
    }                                                                                                                                                          \
    NAME##_future *NAME##_load_shared(cadre_load_context *context, cadre_weights_future *source, NAME##_make_cb function, void *data)                          \
    {                                                                                                                                                          \
        return (NAME##_future *)cadre__load_shared(context, (cadre_value_type)CAPABILITY, (cadre_future *)source, call_make, (cadre__make_fn)function, data);  \
    }

#endif
