/* Export macros, version, sentinels and the ids that every header uses. */
#ifndef CADRE_PLATFORM_H
#define CADRE_PLATFORM_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#define CADRE_VERSION_MAJOR 0
#define CADRE_VERSION_MINOR 1
#define CADRE_VERSION_PATCH 0
#define CADRE_VERSION_STRING "0.1.0"

#if defined(__GNUC__)
#define CADRE_EXTERN __attribute__((visibility("default")))
#define CADRE_PRINTF(string, first) __attribute__((format(printf, string, first)))
#else
#define CADRE_EXTERN
#define CADRE_PRINTF(string, first)
#endif

#ifdef __cplusplus
#define CADRE_BEGIN extern "C" {
#define CADRE_END }
#else
#define CADRE_BEGIN
#define CADRE_END
#endif

/* "Let the library choose", for every integer field of an options or parameter struct. Zero is always a value (temperature 0, seed 0, no time).
 * Floating-point fields use CADRE_DEFAULT_FLOAT, a NaN. Structs are set up with their _INIT macro, which fills in both; a struct whose `size` is smaller
 * than this library's was compiled against an older header and is accepted: the fields it lacks take their defaults. A size of 0, or one larger than this
 * library knows, is CADRE_EINVAL. This holds for structs that are passed by pointer; those that are nested by value or lie in arrays (cadre_sampling,
 * cadre_request_options, cadre_image, cadre_device, cadre_chat_message, …) never grow within a major version. */
#define CADRE_DEFAULT (-1)
#define CADRE_DEFAULT_FLOAT NAN
/* "Never", for fields in milliseconds. */
#define CADRE_NEVER INT64_MAX

CADRE_BEGIN

/* As in <uv.h>, which a host includes itself: it does not compile under a strict -std=c11, so these headers do without. */
typedef struct uv_loop_s uv_loop_t;

/* A pool of workers on one uv_loop_t. See cadre/pool.h. */
typedef struct cadre_pool cadre_pool;
/* A pool's inbox for other threads. See cadre/pool.h. */
typedef struct cadre_port cadre_port;

/* Handles: an index and a generation, never 0 (0 is "none"). A handle whose object is gone is answered with CADRE_ESTALE, never followed. */
typedef uint64_t cadre_worker_id;
typedef uint64_t cadre_request_id;

typedef enum cadre_capability {
    CADRE_TEXT_TO_TEXT = 0,
    CADRE_TEXT_EMBEDDING = 1,
    CADRE_IMAGE_EMBEDDING = 2,
    CADRE_VISION = 3,
    CADRE_TEXT_TO_IMAGE = 4
} cadre_capability;
#define CADRE_CAPABILITY_COUNT 5

/* "text-to-text", "text-embedding", "image-embedding", "vision", "text-to-image"; "unknown" for any other value. Any thread; static storage. */
CADRE_EXTERN const char *cadre_capability_name(cadre_capability capability);

/* The version of the library that is linked, as "major.minor.patch". Any thread; static storage. */
CADRE_EXTERN const char *cadre_version(void);

CADRE_END
#endif
