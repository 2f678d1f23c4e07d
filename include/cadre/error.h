/* Errors: one list makes the enum, the names and the messages.
 *
 * Every function that can fail returns 0 or a negative int. What a non-zero return means is the same everywhere: nothing was started, no callback will ever
 * run for this call, and everything that was passed with ownership (or with a release callback) has been released, once, before the return, and
 * every out parameter is 0 or NULL. (One exception says so itself: cadre_promise_resolve.)
 * The values lie apart from errno and from libuv's codes, so a loader may fail with UV_ENOENT and the host sees UV_ENOENT. */
#ifndef CADRE_ERROR_H
#define CADRE_ERROR_H

#include <cadre/platform.h>

#define CADRE_ERROR_MAP(X)                                                                                                                                     \
    X(EINVAL, -9001, "invalid argument")                                                                                                                       \
    X(ENOMEM, -9002, "the host's allocator returned no memory")                                                                                                \
    X(EBUDGET, -9003, "the memory budget has no room")                                                                                                         \
    X(ENOENT, -9004, "no such model")                                                                                                                          \
    X(ESTALE, -9005, "the handle's object is gone")                                                                                                            \
    X(EEXIST, -9006, "it exists already")                                                                                                                      \
    X(ECANCELED, -9007, "cancelled")                                                                                                                           \
    X(ETIMEDOUT, -9008, "the deadline passed")                                                                                                                 \
    X(EFULL, -9009, "the queue is full")                                                                                                                       \
    X(ECLOSED, -9010, "the pool is closing or closed")                                                                                                         \
    X(EABANDONED, -9011, "the promise was dropped unresolved")                                                                                                 \
    X(EALREADY, -9012, "it is settled already")                                                                                                                \
    X(ENOTSUP, -9013, "not supported")                                                                                                                         \
    X(ELOAD, -9014, "the model could not be loaded")                                                                                                           \
    X(EFORMAT, -9015, "the model's file is missing, damaged or of another format")                                                                             \
    X(ECAPABILITY, -9016, "the model does not have this capability")                                                                                           \
    X(EINPUT, -9017, "the model refuses the request's content")                                                                                                \
    X(ETOOLONG, -9018, "the input is longer than the model takes")                                                                                             \
    X(EENGINE, -9019, "the inference engine failed")                                                                                                           \
    X(EWORKER, -9020, "the worker is gone")                                                                                                                    \
    X(ETHREAD, -9021, "a thread could not be created")                                                                                                         \
    X(EAGAIN, -9022, "no room now; queue it again")                                                                                                            \
    X(EBUSY, -9023, "it is in use")                                                                                                                            \
    X(EMANIFEST, -9024, "the manifest is wrong")                                                                                                               \
    X(EBACKEND, -9025, "no such backend, or its module cannot be used")                                                                                        \
    X(EBREAKER, -9026, "the model failed too often and rests")                                                                                                 \
    X(EHUNG, -9027, "the worker gave no sign of life")

typedef enum cadre_error {
    CADRE_OK = 0,
#define CADRE_ERROR_ENUM(name, value, message) CADRE_##name = value,
    CADRE_ERROR_MAP(CADRE_ERROR_ENUM)
#undef CADRE_ERROR_ENUM
        CADRE_ERROR_END_ = -9999
} cadre_error;

CADRE_BEGIN

/* A sentence for any int: this library's errors, libuv's, 0 ("success"), or "unknown error". Any thread; static storage, never NULL. */
CADRE_EXTERN const char *cadre_strerror(int error);

/* The name with its prefix: "CADRE_EFULL", "UV_ENOENT", "CADRE_OK", or "unknown". Any thread; static storage, never NULL. */
CADRE_EXTERN const char *cadre_err_name(int error);

CADRE_END
#endif
