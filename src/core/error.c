#include <cadre.h>
#include <uv.h>

const char *cadre_strerror(int error)
{
    switch (error) {
    case CADRE_OK: return "success";
#define CADRE_ERROR_CASE(name, value, message)                                                                                                                 \
    case CADRE_##name: return message;
        CADRE_ERROR_MAP(CADRE_ERROR_CASE)
#undef CADRE_ERROR_CASE
#define UV_ERROR_CASE(name, message)                                                                                                                           \
    case UV_##name: return message;
        UV_ERRNO_MAP(UV_ERROR_CASE)
#undef UV_ERROR_CASE
    default: return "unknown error";
    }
}

const char *cadre_err_name(int error)
{
    switch (error) {
    case CADRE_OK: return "CADRE_OK";
#define CADRE_ERROR_CASE(name, value, message)                                                                                                                 \
    case CADRE_##name: return "CADRE_" #name;
        CADRE_ERROR_MAP(CADRE_ERROR_CASE)
#undef CADRE_ERROR_CASE
#define UV_ERROR_CASE(name, message)                                                                                                                           \
    case UV_##name: return "UV_" #name;
        UV_ERRNO_MAP(UV_ERROR_CASE)
#undef UV_ERROR_CASE
    default: return "unknown";
    }
}

const char *cadre_version(void)
{
    return CADRE_VERSION_STRING;
}

const char *cadre_capability_name(cadre_capability capability)
{
    static const char *const names[CADRE_CAPABILITY_COUNT] = {"text-to-text", "text-embedding", "image-embedding", "vision", "text-to-image"};
    return (unsigned)capability < CADRE_CAPABILITY_COUNT ? names[capability] : "unknown";
}

const char *cadre_worker_state_name(cadre_worker_state state)
{
    static const char *const names[] = {"spawning", "loading", "attaching", "ready", "processing", "idle", "evicting", "failed", "dead", "abandoned"};
    return (unsigned)state < sizeof names / sizeof *names ? names[state] : "unknown";
}
