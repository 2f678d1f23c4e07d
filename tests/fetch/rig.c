#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

void process_start(process *p, char *const *arguments, const char *const *environment)
{
    int in[2], out[2];
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    p->pid = fork();
    assert_true(p->pid >= 0);
    if (p->pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        for (size_t i = 0; environment && environment[i]; i++) putenv((char *)(uintptr_t)environment[i]);
        execvp(arguments[0], arguments);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    p->to = fdopen(in[1], "w");
    p->from = fdopen(out[0], "r");
    assert_non_null(p->to);
    assert_non_null(p->from);
}

int process_end(process *p)
{
    int status = 0;
    if (p->to) fclose(p->to);
    if (p->from) fclose(p->from);
    p->to = p->from = NULL;
    while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR) continue;
    return status;
}

/* ---- the rig ---- */

static void on_log(cadre_log_level level, const char *message, void *data)
{
    rig *r = data;
    size_t used = strlen(r->log);
    (void)level;
    snprintf(r->log + used, sizeof r->log - used, "%s\n", message);
}

/* libuv's own threads come with the first name that is looked up, and stay: before a fixture counts threads. */
static void start_libuvs_threads(void)
{
    uv_loop_t loop;
    uv_fs_t request;
    uv_loop_init(&loop);
    uv_fs_stat(&loop, &request, "/", uv_fs_req_cleanup);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
}

rig *rig_begin(void)
{
    static const char *const names[] = {
        "HF_ENDPOINT",   "HF_HUB_CACHE",   "HUGGINGFACE_HUB_CACHE", "HF_HOME",    "XDG_CACHE_HOME", "HF_TOKEN",  "HUGGING_FACE_HUB_TOKEN",
        "HF_TOKEN_PATH", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE",  "http_proxy", "https_proxy",    "all_proxy", "ALL_PROXY",
        "HTTPS_PROXY",   "HTTP_PROXY"};
    char *arguments[] = {(char *)(uintptr_t)CADRE_PYTHON, (char *)(uintptr_t)CADRE_FETCH_TESTS "/hub.py", NULL};
    int hub_port = 0, store_port = 0;
    for (size_t i = 0; i < COUNT(names); i++) unsetenv(names[i]);
    signal(SIGPIPE, SIG_IGN);
    start_libuvs_threads();
    rig *r = calloc(1, sizeof *r);
    assert_non_null(r);
    process_start(&r->hub, arguments, NULL);
    assert_non_null(fgets(r->lines, sizeof r->lines, r->hub.from));
    assert_int_equal(sscanf(r->lines, "%d %d", &hub_port, &store_port), 2);
    snprintf(r->endpoint, sizeof r->endpoint, "http://127.0.0.1:%d", hub_port);
    snprintf(r->folder, sizeof r->folder, "/tmp/cadre-fetch-XXXXXX");
    assert_non_null(mkdtemp(r->folder));
    snprintf(r->cache, sizeof r->cache, "%s/hub", r->folder);
    r->options = (cadre_fetch_options)CADRE_FETCH_OPTIONS_INIT;
    r->options.endpoint = r->endpoint;
    r->options.cache = r->cache;
    r->options.token = "";
    r->options.retry_delay_ms = 1;
    r->options.keep_free_bytes = 0;
    r->options.log = on_log;
    r->options.log_data = r;
    return r;
}

void rig_open(rig *r)
{
    r->fx = fixture_begin();
    assert_status(cadre_fetcher_create(&r->fetcher, &r->fx->loop, &r->options), 0);
    r->files = cadre_fetcher_files(r->fetcher);
}

static void on_closed(void *data)
{
    (*(int *)data)++;
}

void rig_close(rig *r)
{
    r->closed = 0;
    if (!r->fx->closed) fixture_close(r->fx, NULL);
    guard_allow_join(), guard_allow_join(); /* of the disk threads, each after its last message */
    cadre_fetcher_close(r->fetcher, on_closed, &r->closed);
    run_until_int(r->fx, &r->closed, 1);
    fixture_end(r->fx);
    r->fx = NULL;
}

void rig_end(rig *r)
{
    char *arguments[] = {(char *)(uintptr_t) "rm", (char *)(uintptr_t) "-rf", r->folder, NULL};
    process remove;
    if (r->fx) rig_close(r);
    process_end(&r->hub);
    process_start(&remove, arguments, NULL);
    assert_int_equal(process_end(&remove), 0);
    free(r);
}

/* ---- the hub ---- */

static void send_command(rig *r, const char *format, va_list list)
{
    char text[1024];
    vsnprintf(text, sizeof text, format, list);
    for (char *p = text; *p; p++)
        if (*p == '|') *p = '\t'; /* easier to read in a test */
    fprintf(r->hub.to, "%s\n", text);
    fflush(r->hub.to);
}

const char *hub_command(rig *r, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    send_command(r, format, list);
    va_end(list);
    assert_non_null(fgets(r->lines, sizeof r->lines, r->hub.from));
    r->lines[strcspn(r->lines, "\n")] = '\0';
    assert_string_not_equal(r->lines, "unknown command");
    return r->lines;
}

void hub_file(rig *r, const char *path, size_t size, unsigned seed, const char *kind, char *etag)
{
    const char *answer = hub_command(r, "file|o/n|main|" COMMIT_1 "|%s|%zu|%u|%s", path, size, seed, kind);
    if (etag) snprintf(etag, 130, "%s", strchr(answer, ' ') + 1);
}

static void read_log(rig *r)
{
    char line[1024];
    size_t used = 0;
    fputs("log\n", r->hub.to);
    fflush(r->hub.to);
    r->lines[0] = '\0';
    while (fgets(line, sizeof line, r->hub.from) && strcmp(line, ".\n") != 0) used += (size_t)snprintf(r->lines + used, sizeof r->lines - used, "%s", line);
    assert_true(used < sizeof r->lines);
}

unsigned hub_log(rig *r, ...)
{
    unsigned count = 0;
    read_log(r);
    for (char *line = r->lines, *end; *line; line = end) {
        bool all = true;
        end = line + strcspn(line, "\n");
        char kept = *end;
        *end = '\0';
        va_list list;
        va_start(list, r);
        for (const char *word; (word = va_arg(list, const char *));) all = all && strstr(line, word);
        va_end(list);
        *end = kept;
        if (kept) end++;
        count += all;
    }
    return count;
}

uint64_t hub_sent(rig *r, const char *path)
{
    uint64_t sum = 0;
    read_log(r);
    for (const char *line = r->lines; *line; line += strcspn(line, "\n") + (line[strcspn(line, "\n")] != '\0')) {
        char name[512];
        unsigned long long sent;
        if (sscanf(line, "%*s %*s %511s %*s %*s %*s %llu", name, &sent) == 2 && strstr(name, path)) sum += sent;
    }
    return sum;
}

/* ---- fetches ---- */

static void on_complete(cadre_future *future, int status, const char *detail, void *data)
{
    outcome *o = data;
    (void)future;
    o->settled++;
    o->status = status;
    snprintf(o->detail, sizeof o->detail, "%s", detail);
}

static void on_progress(cadre_future *future, const cadre_progress *progress, void *data)
{
    outcome *o = data;
    (void)future;
    o->reports++;
    o->progress = *progress;
}

void fetch_begin(rig *r, outcome *o, const char *reference, ...)
{
    const char *references[32] = {reference};
    size_t count = 0;
    va_list list;
    va_start(list, reference);
    while (references[count]) references[++count] = va_arg(list, const char *);
    va_end(list);
    *o = (outcome){0};
    o->future = r->files->fetch(r->files->self, r->fx->pool, references, count);
    assert_non_null(o->future);
    cadre_weights_future_on_progress(o->future, on_progress, o);
    assert_status(cadre_weights_future_on_complete(o->future, on_complete, o), 0);
}

int fetch_wait(rig *r, outcome *o)
{
    run_until_int(r->fx, &o->settled, 1);
    assert_int_equal(o->settled, 1);
    if (o->status == 0) assert_string_equal(o->detail, "");
    if (o->status < 0) assert_true(o->detail[0]);
    cadre_weights_future_release(o->future);
    o->future = NULL;
    return o->status;
}

int fetch(rig *r, outcome *o, const char *reference)
{
    fetch_begin(r, o, reference, NULL);
    return fetch_wait(r, o);
}

const char *found(rig *r, const char *reference)
{
    static char path[4096];
    char detail[1024] = "";
    int rc = r->files->find(r->files->self, reference, path, sizeof path, detail, sizeof detail);
    if (rc == UV_ENOENT) assert_true(detail[0]);
    return rc == 0 ? path : NULL;
}

void assert_file(const char *path, const char *sha)
{
    static unsigned char bytes[1 << 16];
    unsigned char digest[EVP_MAX_MD_SIZE];
    char text[65];
    unsigned length = 0;
    size_t n;
    FILE *file = fopen(path, "rb");
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    assert_non_null(file);
    EVP_DigestInit_ex(hash, EVP_sha256(), NULL);
    while ((n = fread(bytes, 1, sizeof bytes, file)) > 0) EVP_DigestUpdate(hash, bytes, n);
    EVP_DigestFinal_ex(hash, digest, &length);
    EVP_MD_CTX_free(hash);
    fclose(file);
    for (unsigned i = 0; i < 32; i++) snprintf(text + (size_t)2 * i, 3, "%02x", digest[i]);
    assert_string_equal(text, sha);
}

void assert_content(rig *r, const char *reference, const char *sha)
{
    const char *path = found(r, reference);
    assert_non_null(path);
    assert_file(path, sha);
}

const char *below(rig *r, const char *format, ...)
{
    static char path[4096];
    va_list list;
    int n = snprintf(path, sizeof path, "%s/models--o--n/", r->cache);
    va_start(list, format);
    vsnprintf(path + n, sizeof path - (size_t)n, format, list);
    va_end(list);
    return path;
}

int64_t file_size(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? (int64_t)info.st_size : -1;
}

void write_text(const char *path, const void *bytes, size_t length)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    fclose(file);
}

/* ---- the child ---- */

void child_start(rig *r, process *p, const char *reference, ...)
{
    char *arguments[36] = {(char *)(uintptr_t)CADRE_FETCH_CHILD, r->endpoint, r->cache};
    size_t count = 3;
    va_list list;
    va_start(list, reference);
    for (const char *next = reference; next && count < COUNT(arguments) - 1; next = va_arg(list, const char *)) arguments[count++] = (char *)(uintptr_t)next;
    va_end(list);
    process_start(p, arguments, NULL);
}

bool child_line(process *p, char *line, size_t size)
{
    if (!fgets(line, (int)size, p->from)) return false;
    line[strcspn(line, "\n")] = '\0';
    return true;
}
