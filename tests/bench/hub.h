/* A hub to fetch from, as fast as this machine allows: a process of its own that speaks as much HTTP/1.1 as the hub's clients ask for (HEAD, GET, Range,
 * ETag, X-Repo-Commit, connections that stay open). A thread for each connection; bodies go from the page cache to the socket by sendfile, which copies nothing
 * in the server. Client and server share this machine's CPUs, whoever the client is. */
#ifndef CADRE_BENCH_HUB_H
#define CADRE_BENCH_HUB_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define HUB_REPOSITORY "bench/files"
#define HUB_PACED "paced"
#define HUB_PACE 62500000u /* two of them fill a line of 1 Gbit/s */

typedef struct hub_file {
    char name[32];
    char path[512];
    char sha256[65];
    uint64_t bytes;
} hub_file;

typedef struct hub {
    pid_t pid;
    int port; /* of 127.0.0.1 */
} hub;

/* Serves the files at /bench/files/resolve/REVISION/NAME; of the revision HUB_PACED each connection at HUB_PACE bytes a second. Call it while the program has
 * one thread. */
hub hub_start(const hub_file *files, size_t count);
/* Waits for its end, so that its CPU time counts as a child's. */
void hub_stop(hub *h);

#endif
