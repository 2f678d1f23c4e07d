/* cadre-cli: every capability of libcadre from a terminal. One process, one loop, one command; see cadre-cli.1.
 *
 * What happens in which order: options are parsed (options.c); the manifest is read and the model chosen (manifest.c); the command's `prepare` checks and reads
 * its inputs; only then a pool is made, the models that the command needs are added, and `start` runs on the loop (app.c). Up to there nothing is asynchronous,
 * and a signal simply ends the process. From there on nothing blocks: text goes out through output.c, a bar through progress.c.
 *
 * Files that are not here come through libcadre-fetch (fetcher.c): of an async model with its first request, of any by `fetch`. A model may also be named by a
 * reference to its file, "hf:OWNER/NAME/FILE", without a manifest (reference.c). */
#ifndef CLI_H
#define CLI_H

#include <cadre.h>
#include <stdint.h>
#include <stdio.h>
#include <uv.h>

enum exit_code {
    CLI_OK = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2,
    CLI_LOAD = 3,
    CLI_TIMEOUT = 4,
    CLI_HUNG_UP = 129,
    CLI_INTERRUPTED = 130,
    CLI_CLOSED_STDOUT = 141,
    CLI_TERMINATED = 143
};

/* ---- text.c: memory, text, messages ---- */

struct buffer {
    char *data; /* NUL-terminated once something was added */
    size_t length, capacity;
};

/* End the process with a message when there is no memory. */
void *allocate(size_t count, size_t size);
void *grow(void *pointer, size_t count, size_t size);
char *copy_bytes(const char *text, size_t length);
void buffer_add(struct buffer *buffer, const char *bytes, size_t length);
void buffer_print(struct buffer *buffer, const char *format, ...) CADRE_PRINTF(2, 3);
void buffer_json(struct buffer *buffer, const char *text); /* a JSON string, with its quotes */

/* The known name that looks most like `word`, or NULL where none is near. */
const char *nearest(const char *word, const char *const *names, size_t count);
/* 0; or CLI_USAGE after a message that names `what`, the byte and its offset. A NUL byte is wrong too. */
int check_utf8(const char *what, const char *bytes, size_t length);
/* "98.2 MB" */
const char *human_bytes(uint64_t bytes, char out[32]);

/* One line on stderr behind "cadre-cli: "; takes a progress bar away first. Both return `code`. */
int complain(int code, const char *format, ...) CADRE_PRINTF(2, 3);
/* A usage error: the same, and where help is to be found. Returns CLI_USAGE. */
int misuse(const char *format, ...) CADRE_PRINTF(1, 2);
void note(const char *format, ...) CADRE_PRINTF(1, 2); /* unless --quiet */

/* ---- options.c: the table, the parser; help.c, completion.c: what is made of the table ---- */

enum { STOPS_MAX = 16, LOADS_MAX = 64 };

struct list {
    const char *items[LOADS_MAX];
    size_t count;
};

struct options {
    const char *models, *trace, *model, *cache;
    int64_t memory, cores; /* CADRE_DEFAULT: not given; so with all numbers */
    double timeout;        /* seconds; NaN: none */
    int64_t json, quiet, verbose, no_color, help, version, offline;
    double temperature, top_p;
    int64_t top_k, max_tokens, seed;
    const char *system, *grammar_file;
    struct list stop;
    const char *task, *vocabulary;
    int64_t truncate, similarity;
    const char *question, *mmproj;
    int64_t allow_private;
    const char *output, *negative;
    int64_t width, height, steps;
    double guidance;
    int64_t keys, prometheus;
    const char *capability;
    struct list load;
    char **words; /* what is no option, after the command */
    size_t word_count;
};

enum option_kind { OPTION_FLAG, OPTION_TEXT, OPTION_FILE, OPTION_INTEGER, OPTION_NUMBER, OPTION_SIZE, OPTION_LIST };

struct option {
    const char *name;
    char letter;            /* 0: none */
    enum option_kind kind;  /* decides the type of the field at `offset` */
    const char *argument;   /* as help shows it; NULL for flags */
    size_t offset;          /* into struct options */
    double least, most;     /* numbers; a list: how many */
    uint32_t commands;      /* who takes it; EVERY: all */
    const char *completion; /* the argument: NULL, "file", "model", or words */
    const char *help;
};
extern const struct option option_table[];
extern const size_t option_count;

enum { CHAT = 1, EMBED = 2, EMBED_IMAGE = 4, DESCRIBE = 8, DRAW = 16, MODELS = 32, HEALTH = 64, COMPLETION = 128, HELP = 256, FETCH = 512, EVERY = 1023 };

struct command {
    const char *name;
    uint32_t bit;
    int capability; /* of the model that it wants; −1: it wants none */
    int images;     /* it needs libcadre-images */
    const char *arguments, *completion, *summary, *description;
    int (*prepare)(void); /* before the loop: an exit code */
    void (*start)(void);  /* on the loop, when its models are in the registry; NULL: nothing to do there */
};
extern const struct command command_table[];
extern const size_t command_count;

const struct command *find_command(const char *name);
/* 0, or an exit code after a message. *command may be NULL: none was named. */
int parse_options(int argc, char **argv, struct options *out, const struct command **command);
int print_help(const struct command *command); /* NULL: the overview */
int help_prepare(void);
int completion_prepare(void);

/* ---- app.c: the loop, the pool, signals, the end ---- */

struct model;

struct app {
    uv_loop_t loop;
    cadre_pool *pool;
    struct options options;
    const struct command *command;
    struct model *model; /* the one that the command is about, or NULL */
    cadre_request_id request;
    int exit_code, ending, color;
    int signals;
    int done;                  /* `prepare` did it all */
    int hears_hangup;          /* SIGHUP is not ignored, as nohup has it */
    int (*on_interrupt)(void); /* 1: it was for the command alone, and the program goes on */
    void (*on_end)(void);      /* the command closes its handles */
    void (*on_timeout)(void);  /* instead of the failure: --timeout is over before a request has been made */
    void (*at_once)(void);     /* before the process ends at once: removes what must not stay */
};
extern struct app app;

int app_run(void);
/* Begins the end; the first call's code counts. What is still to be written is written. */
void app_end(int exit_code);
/* Tells what failed, also as JSON if that is wanted, and ends. The code: CLI_TIMEOUT, or `code`. */
void app_fail(int code, int status, const char *detail);
/* For on_done, and for a refused request: the right code for `status`. */
void app_request_failed(const cadre_request *request, int status);
void app_refused(int status);
/* The deadline is what --timeout leaves. From then on each request has its own, and nothing else has one. */
cadre_request_options app_request_options(void);
void app_loaded(void);                                                /* the time so far does not count for the requests that come */
void app_log(cadre_log_level level, const char *message, void *data); /* any thread */
extern const int app_has_images;
int app_images(cadre_pool_options *options); /* images.c: the decoder, or an exit code after a message */

/* ---- fetcher.c: what comes over the network ---- */

extern const int app_has_fetch;
/* Before the loop: 0, or an exit code after a message: this program cannot fetch what `what` names. */
int need_fetch(const char *what);
/* On the loop: the fetcher, where there is one, or an exit code after a message. */
int fetcher_open(cadre_pool_options *options);
void fetcher_close(void); /* after the pool */
/* The file that a reference names, if it is here. found(0, path), or found(error, detail), on the loop. 0, or an error: it will not run. */
int fetcher_find(const char *reference, void (*found)(int status, const char *text));
cadre_weights_future *fetcher_fetch(const char *reference); /* NULL: no memory */
int is_url(const char *word);                               /* http or https */
cadre_image_input picture_input(const char *word);

/* ---- manifest.c ---- */

struct model {
    const char *key, *backend, *provider, *loader, *name, *license; /* as the manifest says; provider and license "" */
    int capability;                                                 /* −1: unknown */
    size_t begin, end;                                              /* where its entry is in the text */
    char *options;                                                  /* of one that a reference names: there is no text */
    int wanted;                                                     /* by the command: it is added to the registry */
    int status;                                                     /* of its addition; 0 before, too */
    char *detail;                                                   /* why it failed */
};
struct manifest {
    char *path, *folder, *text; /* "" and NULL where references name the models */
    size_t length, count, waiting;
    struct model *models;
    int whole; /* this program cannot take it apart: the library says what is wrong */
};
extern struct manifest manifest;

int manifest_read(void);
struct model *manifest_find(const char *key);
int unknown_model(const char *what, const char *key); /* CLI_USAGE, after a message */
/* Chooses app.model by --model, the first word, or as the only one; takes the word away. */
int manifest_choose(void);
/* On the loop: adds the models that are wanted, then calls app.command->start. */
void manifest_add(void);
/* 1: of this model, which is in the registry, files are not here. */
int lacks_files(const struct model *model, cadre_loader_kind *loader);

/* ---- reference.c ---- */

int is_reference(const char *word);
/* Makes the model that `word` names the only one there is. 0, or an exit code after a message. */
int reference_model(const char *word);
int reference_add(struct model *model, cadre_registry_cb added);

/* ---- input.c: what is read before the loop ---- */

int read_file(const char *what, const char *path, size_t most, struct buffer *out); /* "-": standard input */
int check_picture(const char *path);

/* ---- output.c: stdout, never blocking the loop ---- */

void out_write(const char *bytes, size_t length);
void out_text(const char *text);
void out_buffer(struct buffer *buffer);             /* and empties it */
void out_message(const char *bytes, size_t length); /* to standard error, in order */

/* ---- progress.c ---- */

void progress_init(void);
void progress_event(const cadre_event *event);
void progress_steps(uint32_t done, uint32_t total);
void progress_watch(void);   /* looks from now on whether files of wanted models are fetched, until a worker is ready */
void progress_poll(void);    /* looks now */
int progress_fetching(void); /* 1: they are, now */
void progress_bytes(const char *what, const cadre_progress *progress); /* what is fetched without the registry */
uint64_t progress_fetched(void);                                       /* ends the fetch's bar; how many bytes there were */
void progress_clear(void);
void progress_close(void);

/* ---- the commands ---- */

struct stream { /* an answer that comes piece by piece: chat.c */
    size_t bytes;
    int open_line; /* the last byte was no newline */
    int trim;      /* as text, spaces at its beginning are left out */
    uint64_t begun, first;
};
void stream_begin(struct stream *stream);
void stream_text(struct stream *stream, const char *text, size_t length);
/* The newline that is missing, what --json and --verbose tell. */
void stream_end(struct stream *stream, const cadre_request *request, int status, const cadre_generation *result);
int sampling_prepare(void);
cadre_sampling sampling_make(void);

int fetch_prepare(void);
void fetch_start(void);
int chat_prepare(void);
void chat_start(void);
void interactive_start(void);
int embed_prepare(void);
void embed_start(void);
int embed_image_prepare(void);
void embed_image_start(void);
int describe_prepare(void);
void describe_start(void);
int draw_prepare(void);
void draw_start(void);
int models_prepare(void);
void models_start(void);
void health_start(void);
int health_prepare(void);

/* save.c: FILE is written under another name beside it, then renamed. `picture` is copied. done(0) or done(error), on the loop. */
int save_check(const char *path);
void save_picture(const char *path, const cadre_image *picture, void (*done)(int status, const char *detail));
void save_abort(void); /* removes what is half written, now */

#endif
