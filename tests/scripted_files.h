/* A file fetcher whose cache and downloads are the test's: a table of references that are here, and downloads that end when the test says so. */
#ifndef CADRE_TESTS_SCRIPTED_FILES_H
#define CADRE_TESTS_SCRIPTED_FILES_H

#include "scripted_backend.h"

#define FILES_MAX 32
#define DOWNLOADS_MAX 16

typedef struct download {
    cadre_weights_promise *promise; /* NULL: it is over */
    char references[600];           /* with a blank behind each */
    bool cancelled;
} download;

typedef struct scripted_files {
    fixture *fx;
    cadre_file_fetcher fetcher;
    pthread_mutex_t lock; /* of what is here */
    char here[FILES_MAX][200];
    size_t here_count;
    char version; /* part of the paths */
    atomic_int finds, find_status;
    gate finding;
    /* loop */
    download downloads[DOWNLOADS_MAX];
    int started, cancelled;
    bool start_fails;
} scripted_files;

/* A registry's fixture with this fetcher and the two backends that have paths. Anything else of `options` may be set. */
fixture *files_begin(scripted_files *sf, const cadre_pool_options *options);
void files_end(scripted_files *sf);
void files_put(scripted_files *sf, const char *reference);
void files_remove(scripted_files *sf, const char *reference);
/* The local path of a reference, in a buffer of the test's. */
const char *files_path(scripted_files *sf, const char *reference, char *path, size_t size);
/* Loop: the number of the latest download; the test fails if none is pending. */
download *files_pending(scripted_files *sf);
void files_until_started(scripted_files *sf, int n);
void files_progress(scripted_files *sf, uint64_t done, uint64_t total);
/* The pending download puts what it was asked for into the cache and ends. */
void files_arrive(scripted_files *sf);
/* It ends, and the cache stays as it is. status 0: it claims to be done. */
void files_fail(scripted_files *sf, int status, const char *detail);

#endif
