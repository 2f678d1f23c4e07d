/* Inside libcadre-fetch: what its parts share.
 *
 *   options.c    the environment and the host's options, once, as settings that never change
 *   reference.c  "hf:OWNER/NAME@REVISION/PATH": checked, taken apart, made into URLs
 *   hub.c        what the hub's answers say about a file
 *   cache.c      where things lie in the cache; find
 *   blob.c       one file's bytes on the disk: lock, .incomplete, hash, rename, link
 *   disk.c       two threads for all of that
 *   file.c       one file's way, step by step; transfer.c its GET
 *   fetch.c      a host's call for several files; fetcher.c the fetcher itself
 *
 * Threads. Files, fetches and the fetcher belong to the loop. A blob belongs to the disk thread while a chore of its file is under way and to the loop
 * otherwise; the disk's lock hands it over. Its `stop` alone is set while a chore runs. Settings and references do not change and may be read anywhere. */
#ifndef CADRE__FETCH_H
#define CADRE__FETCH_H

#include "http.h"

#include <limits.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <uv.h>

#define CADRE__FETCH_DETAIL 1024
#define CADRE__FETCH_PATH PATH_MAX
#define CADRE__ETAG_MAX 128
#define CADRE__PARTS_MAX 1024
#define CADRE__FILES_MAX 1024 /* of one fetch: its files are looked through one by one, on the loop */
#define CADRE__COMMIT 40

/* ---- options.c ---- */

typedef struct cadre__settings {
    char *endpoint;   /* without a slash at the end */
    char *cache;      /* the folder with the repositories */
    char *token;      /* NULL: none, or in token_path */
    char *token_path; /* NULL: not to be looked at */
    char *ca_file;    /* NULL: the system's */
    bool offline, allow_private;
    int32_t files_at_once, retries;
    int64_t connect_timeout_ms, stall_timeout_ms, retry_delay_ms, keep_free_bytes, image_timeout_ms;
    cadre_log_cb log;
    void *log_data;
} cadre__settings;

int cadre__settings_init(cadre__settings *settings, const cadre_fetch_options *options);
void cadre__settings_clear(cadre__settings *settings);
/* Disk thread: the token in token_path, without white space around it; NULL: there is none. The caller frees it. */
char *cadre__settings_read_token(const cadre__settings *settings);

/* ---- reference.c ---- */

typedef struct cadre__reference {
    char repository[97];   /* "OWNER/NAME", or "NAME" */
    char *revision, *path; /* in one allocation with the text */
    unsigned part, parts;  /* a split GGUF: 1 of N; else 1 of 1 */
} cadre__reference;

/* 0; CADRE_EINVAL with a detail; CADRE_ENOMEM. */
int cadre__reference_parse(cadre__reference *out, const char *text, char *detail, size_t detail_size);
/* The same with the number of another part (from 1). CADRE_ENOMEM. */
int cadre__reference_part(cadre__reference *out, const cadre__reference *first, unsigned part);
void cadre__reference_clear(cadre__reference *reference);
bool cadre__reference_equal(const cadre__reference *a, const cadre__reference *b);
bool cadre__is_commit(const char *revision);
/* "OWNER/NAME@REVISION: PATH", for people; cut where it is too long. */
void cadre__reference_print(const cadre__reference *reference, char *out, size_t size);
/* ENDPOINT/REPOSITORY/resolve/REVISION/PATH; the caller frees it. NULL: out of memory. */
char *cadre__reference_url(const cadre__reference *reference, const char *endpoint, const char *revision);

/* ---- hub.c ---- */

typedef struct cadre__meta {
    char commit[CADRE__COMMIT + 1];
    char etag[CADRE__ETAG_MAX + 1];
    uint64_t size;
} cadre__meta;

/* What the hub said when it refused. */
typedef struct cadre__refusal {
    long status;
    char code[64], message[256];
} cadre__refusal;

/* From the answer to a HEAD. CADRE_EFORMAT with a detail: it is none of a hub. */
int cadre__hub_read(cadre__transfer *transfer, cadre__meta *out, char *detail, size_t detail_size);
void cadre__hub_read_refusal(cadre__transfer *transfer, long status, cadre__refusal *out);
/* "etag" without W/ and quotes into out[CADRE__ETAG_MAX + 1]; false: it cannot be a file's name. */
bool cadre__hub_etag(const char *header, char *out);
/* The error and the words for an answer that is none. `detail` is the transfer's own. */
int cadre__hub_refused(const cadre__settings *settings, const cadre__reference *reference, bool has_token, const cadre__refusal *refusal, const char *detail,
                       char *out, size_t size);
bool cadre__hub_passes(long status);

/* ---- cache.c: disk threads, and the caller's of find ---- */

typedef enum cadre__place { CADRE__BLOBS, CADRE__SNAPSHOTS, CADRE__REFS, CADRE__LOCKS } cadre__place;

/* CACHE/models--OWNER--NAME/PLACE[/a][/b]; of CADRE__LOCKS CACHE/.locks/models--OWNER--NAME[/a][/b]. UV_ENAMETOOLONG. */
int cadre__cache_path(const cadre__settings *settings, const cadre__reference *reference, cadre__place place, const char *a, const char *b, char *out);
/* The path of one part of a file. 0, UV_ENOENT, or the system's error with a detail. */
int cadre__cache_find(const cadre__settings *settings, const cadre__reference *reference, char *out, uint64_t *size, char *detail, size_t detail_size);
/* Makes the folders above `path`; the cache's own gets a CACHEDIR.TAG when it is new. */
int cadre__cache_make_folders(const cadre__settings *settings, const char *path, char *detail, size_t detail_size);
/* refs/REVISION. `keep`: one that is there stays. Nothing to do for a commit. */
int cadre__cache_write_ref(const cadre__settings *settings, const cadre__reference *reference, const char *commit, bool keep, char *detail, size_t detail_size);
/* snapshots/COMMIT/PATH, a relative link to blobs/ETAG; where links cannot be made, the file itself. */
int cadre__cache_link(const cadre__settings *settings, const cadre__reference *reference, const cadre__meta *meta, char *detail, size_t detail_size);
/* Bytes free for this user on the cache's disk. */
int cadre__cache_free_bytes(const cadre__settings *settings, uint64_t *out, char *detail, size_t detail_size);
/* Writes "what PATH: why" and returns libuv's error of `error` (an errno). */
int cadre__disk_error(int error, const char *what, const char *path, char *detail, size_t detail_size);

/* ---- blob.c: disk threads ---- */

typedef struct cadre__piece {
    struct cadre__piece *next;
    size_t length;
    unsigned char bytes[];
} cadre__piece;
#define CADRE__PIECE_BYTES ((size_t)256 << 10)
#define CADRE__PIECES 16 /* of a transfer, at most */

typedef enum cadre__digest { CADRE__NO_DIGEST, CADRE__SHA256, CADRE__GIT_SHA1 } cadre__digest;

typedef struct cadre__blob {
    const cadre__settings *settings;
    const cadre__reference *reference;
    cadre__meta meta;
    uint64_t have; /* bytes of .incomplete; hashed, once it is open */
    bool there;    /* whole, in blobs/ or where the snapshot's file is */
    int fd, lock_fd;
    EVP_MD_CTX *hash;
    atomic_bool stop; /* any time: leave what is read through again */
    char detail[CADRE__FETCH_DETAIL];
} cadre__blob;

void cadre__blob_init(cadre__blob *blob, const cadre__settings *settings, const cadre__reference *reference);
cadre__digest cadre__blob_digest(const cadre__blob *blob);
/* Is it here for this commit, or some of it? Sets there and have. */
int cadre__blob_measure(cadre__blob *blob);
/* Locks, opens and hashes what is there. CADRE_EBUSY: another process or fetcher holds the lock; `have` then says how far it is. CADRE_ECANCELED: stop. */
int cadre__blob_open(cadre__blob *blob);
/* From byte 0 again. */
int cadre__blob_restart(cadre__blob *blob);
int cadre__blob_write(cadre__blob *blob, const cadre__piece *pieces);
/* Checks the hash, renames. CADRE_EFORMAT: it is wrong, and .incomplete is gone. */
int cadre__blob_finish(cadre__blob *blob);
/* Lets go of everything; what has come stays. */
void cadre__blob_close(cadre__blob *blob);

/* ---- disk.c ---- */

#define CADRE__DISK_THREADS 2

typedef struct cadre__chore {
    struct cadre__chore *next;
    void (*run)(struct cadre__chore *chore);  /* a disk thread */
    void (*done)(struct cadre__chore *chore); /* loop; the chore may be used again, or freed */
    int status;                               /* CADRE_ETHREAD: no thread could be made, run was not called; else what run leaves */
} cadre__chore;

typedef struct cadre__disk_thread {
    pthread_t thread;
    enum { CADRE__THREAD_NONE = 0, CADRE__THREAD_RUNS, CADRE__THREAD_ENDED } state;
    struct cadre__disk *disk;
} cadre__disk_thread;

typedef struct cadre__disk {
    uv_async_t async;
    size_t under_way; /* loop: chores whose done has not run */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    cadre__chore *first, **last;           /* to do */
    cadre__chore *done_first, **done_last; /* done */
    unsigned sleeping;
    bool ending;
    cadre__disk_thread threads[CADRE__DISK_THREADS];
    int64_t idle_ms; /* a thread without work ends after this */
    void (*closed)(void *data);
    void *data;
} cadre__disk;

int cadre__disk_init(cadre__disk *disk, uv_loop_t *loop);
void cadre__disk_post(cadre__disk *disk, cadre__chore *chore);
/* No chore may be under way. closed runs when the threads have ended and the handle is closed. */
void cadre__disk_close(cadre__disk *disk, void (*closed)(void *data), void *data);

/* ---- file.c, transfer.c: loop ---- */

typedef enum cadre__step {
    CADRE__FILE_NEW,     /* wants to be looked for */
    CADRE__FILE_LOOKING, /* chore: in the cache? */
    CADRE__FILE_ASKING,  /* HEAD */
    CADRE__FILE_MEASURING,
    CADRE__FILE_SIZED,   /* until the fetch has looked at the disk's space */
    CADRE__FILE_CLEARED, /* waits for its turn */
    CADRE__FILE_OPENING,
    CADRE__FILE_BRINGING, /* GET */
    CADRE__FILE_FINISHING,
    CADRE__FILE_PAUSED, /* until `due`, then `next` */
    CADRE__FILE_DONE,
    CADRE__FILE_FAILED, /* until the last of its waiters, who have been told, has left */
    CADRE__FILE_STOPPED /* nobody waits: lets go of the disk, then goes */
} cadre__step;

typedef struct cadre__file {
    struct cadre__file *next;
    cadre_fetcher *fetcher;
    cadre__reference reference;
    unsigned waiters;
    cadre__step step, after; /* after a pause; CADRE__FILE_STOPPED: it fails for want of memory */
    uint64_t due;
    uint64_t size, here, reached; /* as the loop knows them: of how many bytes so many are here; the most that ever were */
    int attempts, digests_wrong;  /* attempts since the last progress; files that came whole and wrong */
    /* HEAD and GET */
    cadre__transfer *transfer;
    cadre__refusal refusal;
    uint64_t dropped; /* bytes of a refusal's body */
    int why, error;   /* what ended the transfer from its callbacks; how it ended */
    int64_t retry_after_ms;
    /* what comes */
    uint64_t received; /* bytes taken, written or not */
    cadre__piece *pieces, **pieces_last, *filling, *writing, *spare;
    uint64_t flushed_at;
    unsigned piece_count;
    bool old_wrong;           /* all of it was here once, and wrong */
    bool sized, busy, opened; /* the size is known; a chore is under way; the blob holds files */
    bool passes;              /* another attempt may help */
    bool restart;             /* before the next piece is written, begin at 0; the blob's side clears it */
    bool ended;               /* the transfer is over, what is left is written */
    bool paused;              /* it waits for room */
    bool wants_token;         /* a look reads the token's file */
    /* the disk */
    cadre__chore chore;
    cadre__blob blob;
    char *token;
    char detail[CADRE__FETCH_DETAIL];
    char cached[CADRE__FETCH_PATH];
} cadre__file;

/* A waiter more. NULL: out of memory. Consumes the reference, always. */
cadre__file *cadre__file_join(cadre_fetcher *fetcher, cadre__reference *reference);
/* A waiter less; the last one stops it. */
void cadre__file_leave(cadre__file *file);
/* Done, but not any longer where it was. */
void cadre__file_look_again(cadre__file *file);
/* Starts what may start. */
void cadre__files_go_on(cadre_fetcher *fetcher);
/* A pause is over. */
void cadre__file_wake(cadre__file *file);
bool cadre__file_unfinished(const cadre__file *file);
uint64_t cadre__file_here(const cadre__file *file);
/* Between file.c and transfer.c. */
void cadre__file_post(cadre__file *file, void (*run)(cadre__chore *), void (*done)(cadre__chore *));
void cadre__file_fail(cadre__file *file, int status, const char *detail);
void cadre__file_retry(cadre__file *file, cadre__step step, int status, int64_t after_ms, const char *detail);
void cadre__file_no_memory(cadre__file *file);
void cadre__file_release_disk(cadre__file *file); /* of a stopped file */
void cadre__file_finished(cadre__file *file, int status);
void cadre__transfer_start(cadre__file *file);
void cadre__transfer_drop(cadre__file *file);
bool cadre__transfer_flush(cadre__file *file, bool all); /* true: a chore is under way */

/* ---- fetch.c: loop ---- */

#define CADRE__FETCH_ROUNDS 4

typedef struct cadre__wanted {
    cadre__file *file;              /* NULL: left */
    char commit[CADRE__COMMIT + 1]; /* for the check's chore: what the hub said; "": it was not asked */
} cadre__wanted;

typedef struct cadre__fetch {
    struct cadre__fetch *next;
    cadre_fetcher *fetcher;
    cadre_weights_promise *promise; /* NULL: settled; gone when its chore is back */
    cadre__wanted *files;
    size_t count;
    unsigned rounds;
    cadre__chore chore;
    bool busy;
    uint64_t need, free_bytes; /* of the space chore */
    size_t missing;            /* of the check: the first file that is not there; count: none */
    char detail[CADRE__FETCH_DETAIL];
} cadre__fetch;

cadre_weights_future *cadre__fetch_begin(cadre_fetcher *fetcher, cadre_pool *pool, const char *const *references, size_t count);
/* Ends it. It may be gone after the call. */
void cadre__fetch_fail(cadre__fetch *fetch, int status, const char *detail);
/* A file has got further: sized, done, or some bytes. */
void cadre__fetches_look(cadre__file *file);
void cadre__fetches_progress(cadre__file *file);
void cadre__fetches_fail(cadre__file *file, int status, const char *detail);

/* ---- fetcher.c ---- */

struct cadre_fetcher {
    uv_loop_t *loop;
    cadre__settings settings;
    bool token_known;
    cadre__http *http;
    cadre__disk disk;
    uv_timer_t timer; /* of the earliest pause */
    cadre__file *files;
    cadre__fetch *fetches;
    uint64_t random;
    cadre_file_fetcher table;
    cadre_image_fetcher images;
    struct cadre__image_source image_source;
    bool closing, winding_up;
    cadre_fetcher_close_cb close_cb;
    void *close_data;
};

void cadre__fetcher_log(cadre_fetcher *fetcher, cadre_log_level level, const char *format, ...) CADRE_PRINTF(3, 4);
void cadre__fetcher_arm(cadre_fetcher *fetcher);
/* Something has ended: a fetcher that closes may be done. */
void cadre__fetcher_ended(cadre_fetcher *fetcher);

#endif
