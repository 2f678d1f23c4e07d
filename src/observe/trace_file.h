/* The trace's file: chunks are filled on the loop and written, one at a time, by a task on the reaper.
 *
 * Crossing: the task with its chunk, descriptor and error is the thread's from cadre__reap until its message is delivered, and the loop's otherwise; `out` says
 * which. Nothing else is shared. When the reaper had to be abandoned inside a write, its thread frees the task itself. The descriptor does not block, so a pipe
 * that nobody reads ends the trace and not the reaper; SIGPIPE is blocked on all threads of the library. */
#ifndef CADRE__TRACE_FILE_H
#define CADRE__TRACE_FILE_H

#include "core/base.h"

typedef struct cadre__trace_file cadre__trace_file;

/* NULL: out of memory. */
cadre__trace_file *cadre__trace_file_create(cadre_pool *pool, const char *path);
/* Appends an entry. False: it is not taken, because too much waits, memory is short, or the file has ended. */
bool cadre__trace_file_add(cadre_pool *pool, cadre__trace_file *file, const char *entry, size_t length);
/* Whether entries are still taken. */
bool cadre__trace_file_live(const cadre__trace_file *file);
/* Hands the rest over, with `tail` (at most CADRE__TRACE_TAIL bytes) behind it. */
#define CADRE__TRACE_TAIL 512
void cadre__trace_file_finish(cadre_pool *pool, cadre__trace_file *file, const char *tail, size_t length);
void cadre__trace_file_free(cadre_pool *pool, cadre__trace_file *file);

#endif
