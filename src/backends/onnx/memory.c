/* The sessions' memory. The engine's own arena grows by doubling and gives nothing back before the session goes, so a worker's size would be that of the
 * largest batch it ever saw, and unknown. This one is malloc with a count: a batch's memory goes when the batch is done, and what a load or a Run takes is
 * known exactly.
 *
 * Threads: any; the counts are each thread's own. The engine takes and gives back a session's weights on the thread that loads, and a Run's memory on the
 * thread that runs, so the difference of two readings on one thread is what happened between them. */
#include "backend.h"

#include <stdlib.h>
#include <unistd.h>

#define ALIGNMENT 64 /* as the engine's own: a cache line, and the widest vector register */

static _Thread_local int64_t held, peak;

static OrtMemoryInfo *info;
static OrtAllocator *thrower; /* the engine's own */
static size_t most;           /* no single piece may be larger than the machine's memory: a wrong shape, not a model */

static void *take(OrtAllocator *self, size_t size)
{
    (void)self;
    char *block = size <= most ? aligned_alloc(ALIGNMENT, (size + 2 * ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT) : NULL;
    if (!block) return thrower->Alloc(thrower, (size_t)1 << 62);
    *(size_t *)(void *)block = size;
    held += (int64_t)size;
    if (held > peak) peak = held;
    return block + ALIGNMENT;
}

static void give(OrtAllocator *self, void *piece)
{
    (void)self;
    if (!piece) return;
    char *block = (char *)piece - ALIGNMENT;
    held -= (int64_t) * (size_t *)(void *)block;
    free(block);
}

static const OrtMemoryInfo *tell(const OrtAllocator *self)
{
    (void)self;
    return info;
}

OrtAllocator *cadre__onnx_memory_allocator(const OrtApi *api)
{
    static OrtAllocator allocator = {22, take, give, tell, take};
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    most = pages > 0 && page > 0 ? (size_t)pages * (size_t)page : SIZE_MAX / 2;
    if (info) return &allocator;
    OrtStatus *status = api->GetAllocatorWithDefaultOptions(&thrower);
    if (!status) status = api->CreateMemoryInfo("Cpu", OrtDeviceAllocator, 0, OrtMemTypeDefault, &info);
    if (!status) return &allocator;
    api->ReleaseStatus(status);
    return NULL;
}

const OrtMemoryInfo *cadre__onnx_memory_info(void)
{
    return info;
}

void cadre__onnx_memory_mark(void)
{
    held = peak = 0;
}

uint64_t cadre__onnx_memory_peak(void)
{
    return peak > 0 ? (uint64_t)peak : 0;
}

uint64_t cadre__onnx_memory_held(void)
{
    return held > 0 ? (uint64_t)held : 0;
}
