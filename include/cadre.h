/* libcadre: a pool of model workers on the host's libuv loop. This header includes all of the core; backends have their own (cadre/llama.h).
 *
 *   cadre/pool.h      create, options, close, the port for other threads
 *   cadre/registry.h  models by name, from a manifest or from C; loaded, scaled, evicted and retried by the library
 *   cadre/backend.h   how an engine offers models to the registry
 *   cadre/observe.h   events, snapshot, Prometheus, health, timeline
 *   cadre/worker.h    what loaders and operations may call, spawn options, worker and model information
 *   cadre/request.h   what all requests share; then one header per capability:
 *   cadre/text_to_text.h  cadre/text_embedding.h  cadre/image_embedding.h  cadre/vision.h  cadre/text_to_image.h
 *   cadre/future.h  cadre/weights.h  cadre/memory.h  cadre/error.h
 *
 * A host includes <uv.h> itself, whose declarations need POSIX: compile with -std=gnu11, or the compiler's default. */
#ifndef CADRE_H
#define CADRE_H

#include <cadre/error.h>
#include <cadre/future.h>
#include <cadre/image_embedding.h>
#include <cadre/memory.h>
#include <cadre/observe.h>
#include <cadre/pool.h>
#include <cadre/registry.h>
#include <cadre/text_embedding.h>
#include <cadre/text_to_image.h>
#include <cadre/text_to_text.h>
#include <cadre/vision.h>
#include <cadre/weights.h>
#include <cadre/worker.h>

#endif
