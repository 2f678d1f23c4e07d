/* The sessions' memory. The engine's own arena grows by doubling and gives nothing back before the session goes, so a worker's size would be that of the
 * largest batch it ever saw, and unknown. This one is malloc with a count: a batch's memory goes when the batch is done, and what a load or a Run takes is
 * known exactly. Large pieces have pages of their own, since malloc would keep them, cut up, in the heap of each thread; up to 64 MiB of them in all are kept
 * for the next batch, whoever's it is, until a session goes, because fresh pages cost as much as a small model's work on them.
 *
 * Threads: any; one mutex around what is kept; the counts are each thread's own. The engine takes and gives back a session's weights on the thread that loads,
 * and a Run's memory on the thread that runs, so the difference of two readings on one thread is what happened between them. */
#include "backend.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define ALIGNMENT 64 /* as the engine's own: a cache line, and the widest vector register */

static _Thread_local int64_t held, peak;
static _Thread_local bool absurd; /* more was asked for than the machine has */

static OrtMemoryInfo *info;
static OrtAllocator *thrower; /* the engine's own */
static size_t most;           /* no single piece may be larger than the machine's memory: a wrong shape, not a model */

#define MAPPED ((size_t)1 << 20) /* from this size on */
#define KEPT_BYTES ((size_t)64 << 20)
#define KEPT_COUNT 32

/* In front of each piece. */
typedef struct head {
    size_t size; /* asked for */
    size_t room; /* of the whole block */
} head;

static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER;
static head *kept[KEPT_COUNT];
static size_t kept_count, kept_bytes;

/* The smallest of those kept that has room, and not much more. */
static head *find_kept(size_t room)
{
    head *found = NULL;
    pthread_mutex_lock(&kept_lock);
    size_t best = kept_count;
    for (size_t i = 0; i < kept_count; i++)
        if (kept[i]->room >= room && kept[i]->room <= room + room / 4 && (best == kept_count || kept[i]->room < kept[best]->room)) best = i;
    if (best < kept_count) {
        found = kept[best];
        kept_bytes -= found->room;
        kept[best] = kept[--kept_count];
    }
    pthread_mutex_unlock(&kept_lock);
    return found;
}

static bool keep(head *block)
{
    pthread_mutex_lock(&kept_lock);
    bool room = kept_count < KEPT_COUNT && block->room <= KEPT_BYTES - kept_bytes;
    if (room) {
        kept[kept_count++] = block;
        kept_bytes += block->room;
    }
    pthread_mutex_unlock(&kept_lock);
    return room;
}

void cadre__onnx_memory_trim(void)
{
    pthread_mutex_lock(&kept_lock);
    while (kept_count > 0) {
        head *block = kept[--kept_count];
        kept_bytes -= block->room;
        munmap(block, block->room);
    }
    pthread_mutex_unlock(&kept_lock);
}

static head *find_room(size_t size)
{
    size_t grain = size < MAPPED ? ALIGNMENT : 4096, room = (size + ALIGNMENT + grain - 1) / grain * grain;
    head *block = size < MAPPED ? NULL : find_kept(room);
    if (block) return block;
    void *pages = size < MAPPED ? aligned_alloc(ALIGNMENT, room) : mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!pages || pages == MAP_FAILED) return NULL;
    block = pages;
    block->room = room;
    return block;
}

static void *take(OrtAllocator *self, size_t size)
{
    (void)self;
    if (size > most) absurd = true;
    head *block = size <= most ? find_room(size) : NULL;
    if (!block) return thrower->Alloc(thrower, (size_t)1 << 62);
    block->size = size;
    held += (int64_t)size;
    if (held > peak) peak = held;
    return (char *)block + ALIGNMENT;
}

static void give(OrtAllocator *self, void *piece)
{
    (void)self;
    if (!piece) return;
    head *block = (head *)(void *)((char *)piece - ALIGNMENT);
    held -= (int64_t)block->size;
    if (block->size < MAPPED)
        free(block);
    else if (!keep(block))
        munmap(block, block->room);
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

void cadre__onnx_memory_forget(void)
{
    absurd = false;
}

bool cadre__onnx_memory_absurd(void)
{
    return absurd;
}

uint64_t cadre__onnx_memory_peak(void)
{
    return peak > 0 ? (uint64_t)peak : 0;
}

uint64_t cadre__onnx_memory_held(void)
{
    return held > 0 ? (uint64_t)held : 0;
}
