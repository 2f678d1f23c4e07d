/* libcadre-fetch: models' files from a hub, and pictures from URLs, over HTTP(S) on the host's own loop.
 *
 *     cadre_fetcher *fetcher;
 *     cadre_fetcher_create(&fetcher, loop, NULL);
 *     cadre_pool_options options = CADRE_POOL_OPTIONS_INIT;
 *     options.files = cadre_fetcher_files(fetcher);       references in manifests: "hf:OWNER/NAME/FILE"
 *     options.fetcher = cadre_fetcher_images(fetcher);    pictures by URL, where the host wants them
 *     ...
 *     cadre_fetcher_close(fetcher, NULL, NULL);           in the pool's close callback, or later
 *
 * Files lie in the layout of the Hugging Face cache, so that caches which other programs have made are used as they are, and the other way round:
 * CACHE/models--OWNER--NAME/ with blobs/, snapshots/COMMIT/FILE (links to the blobs) and refs/REVISION. A file is asked for at
 * ENDPOINT/OWNER/NAME/resolve/REVISION/FILE; its ETag, size and commit come from the response's headers (X-Linked-Etag or ETag, X-Linked-Size or
 * Content-Length, X-Repo-Commit). What comes is written to blobs/ETAG.incomplete, hashed as it comes (SHA-256, or git's SHA-1 of small files, whichever the
 * ETag is), and renamed when it is whole and right. A transfer that was cut goes on where it ended, in this process or a later one. Two processes that want the
 * same file fetch it once: .locks/models--OWNER--NAME/ETAG.lock is locked as the hub's own library does it. Disk space is looked at first.
 *
 * A reference is "hf:OWNER/NAME/FILE" or "hf:OWNER/NAME@REVISION/FILE" (slashes of a revision are written %2F; a repository of one part needs its revision:
 * "hf:gpt2@main/config.json"). A file that ends in -00001-of-000NN.gguf stands for all its parts, at most 1,024; a fetch has at most 1,024 files
 * (CADRE_EINVAL). A fetch brings nothing before it knows how large all of its
 * files are; refs/REVISION moves on when the last of them is there.
 *
 * A revision is looked up at the hub each time that something is missing; a file that is in the cache for the revision's last known commit counts as there,
 * without a question to the hub.
 *
 * Threads: all functions belong to the loop's thread, but for what cadre_file_fetcher says of `find`. Names are looked up by uv_getaddrinfo, connections run on
 * the loop by libcurl's multi interface; hashing and the disk are work of two threads of the fetcher's own, at low priority, which are there while something is
 * fetched. A fetcher that has nothing to do does not hold the loop.
 *
 * Trust. TLS certificates are checked. A token is sent to the endpoint's own scheme, host and port alone, never along a redirect to another, and is in no log,
 * error text or progress report. Redirects: at most 10, never from https to http. A picture's URL must be http or https, and none of the addresses that its
 * host (or that of a redirect) resolves to may be private, loopback, link-local, multicast or reserved, unless allow_private_addresses is set; the address that
 * was checked is the one that is connected to. Proxies (https_proxy, no_proxy, …) are used for models' files, never for pictures.
 *
 * Errors, as futures fail with them: CADRE_EINPUT (pictures: refused, 4xx), UV_ENOENT (404: no such repository, revision or file), UV_EACCES (401, 403: a token
 * is missing or may not), UV_ENOSPC, UV_EROFS, … (the disk), UV_ETIMEDOUT (no byte for stall_timeout_ms), UV_ECONNREFUSED, … (the network), CADRE_EFORMAT (what
 * came has another hash), UV_ENETUNREACH (offline is set), CADRE_ELOAD (429, 5xx: the server, after all retries), CADRE_ECLOSED. Details name repository, file,
 * host and status. */
#ifndef CADRE_FETCH_H
#define CADRE_FETCH_H

#include <cadre.h>

CADRE_BEGIN

typedef struct cadre_fetcher cadre_fetcher;

typedef struct cadre_fetch_options {
    size_t size;
    const char *endpoint; /* NULL: $HF_ENDPOINT, else https://huggingface.co */
    const char *cache; /* NULL: $HF_HUB_CACHE, else $HF_HOME/hub, else $XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub; made when it is needed */
    const char *token; /* NULL: $HF_TOKEN, else the file $HF_TOKEN_PATH or $HF_HOME/token (which `huggingface-cli login` writes), else none; "": none */
    const char *ca_file;        /* certificates in PEM; NULL: $SSL_CERT_FILE, else the system's */
    int32_t offline;            /* 1: nothing but the cache; default: $HF_HUB_OFFLINE is 1, ON, YES or TRUE */
    int32_t files_at_once;      /* ≥ 1; default 4 */
    int64_t connect_timeout_ms; /* for a name and a connection; default 10,000 */
    int64_t stall_timeout_ms;   /* a transfer that brings no byte for this is cut, and tried again; default 30,000 */
    int32_t retries;            /* attempts after the first, each time from where the last one ended; one that brought bytes starts the count anew; default 5 */
    int64_t retry_delay_ms;     /* before the first, doubling to 30 s, ± 25 %; what Retry-After says comes first, up to 5 min; default 500 */
    int64_t keep_free_bytes;    /* of the cache's disk; default 64 MiB */
    int64_t image_timeout_ms;   /* a picture, whole; default 30,000 */
    int32_t allow_private_addresses; /* 1: pictures may come from private and local addresses; default 0 */
    cadre_log_cb log;                /* NULL: silent; loop thread */
    void *log_data;
} cadre_fetch_options;
#define CADRE_FETCH_OPTIONS_INIT                                                                                                                               \
    {                                                                                                                                                          \
        sizeof(cadre_fetch_options), NULL, NULL, NULL, NULL, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT,         \
            CADRE_DEFAULT, CADRE_DEFAULT, CADRE_DEFAULT, NULL, NULL                                                                                            \
    }

/* Makes a fetcher on `loop`, which must outlive it. The environment is read here, once. `options` may be NULL. It opens no connection, file or thread yet.
 * CADRE_EINVAL: a NULL, an option out of range, or an endpoint that is no http(s) URL; CADRE_ENOMEM; or libuv's error. */
CADRE_EXTERN int cadre_fetcher_create(cadre_fetcher **out, uv_loop_t *loop, const cadre_fetch_options *options);

/* For cadre_pool_options.files; valid until the fetcher is closed. */
CADRE_EXTERN const struct cadre_file_fetcher *cadre_fetcher_files(cadre_fetcher *fetcher);
/* For cadre_pool_options.fetcher; likewise. */
CADRE_EXTERN const struct cadre_image_fetcher *cadre_fetcher_images(cadre_fetcher *fetcher);

/* Loop thread, once; the fetcher is gone. */
typedef void (*cadre_fetcher_close_cb)(void *data);

/* Ends what is under way with CADRE_ECLOSED, and closes its handles and threads without waiting for them. Every pool that uses it must have been closed (its
 * callback has run). `cb` may be NULL. After it nothing is left, and uv_loop_close() returns 0. NULL is allowed. */
CADRE_EXTERN void cadre_fetcher_close(cadre_fetcher *fetcher, cadre_fetcher_close_cb cb, void *data);

CADRE_END
#endif
