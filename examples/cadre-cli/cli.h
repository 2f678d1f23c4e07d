/* cadre-cli: every capability of libcadre from a terminal. One process, one loop, one command; see cadre-cli.1.
 *
 * What happens in which order: options are parsed (options.c); the manifest is read and the model chosen (manifest.c); the command's `prepare` checks and reads
 * its inputs; only then a pool is made, the models that the command needs are added, and `start` runs on the loop (app.c). Up to there nothing is asynchronous,
 * and a signal simply ends the process. From there on nothing blocks: text goes out through output.c, a bar through progress.c. */
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
    const char *models, *trace, *model;
    int64_t memory, cores; /* CADRE_DEFAULT: not given; so with all numbers */
    double timeout;        /* seconds; NaN: none */
    int64_t json, quiet, verbose, no_color, help, version;
    double temperature, top_p;
    int64_t top_k, max_tokens, seed;
    const char *system, *grammar_file;
    struct list stop;
    const char *task;
    int64_t truncate, similarity;
    const char *question;
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

enum { CHAT = 1, EMBED = 2, EMBED_IMAGE = 4, DESCRIBE = 8, DRAW = 16, MODELS = 32, HEALTH = 64, COMPLETION = 128, HELP = 256, EVERY = 511 };

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
void app_loaded(void); /* the time so far does not count for the requests that come */
extern const int app_has_images;
int app_images(cadre_pool_options *options); /* images.c: the decoder, or an exit code after a message */

/* ---- manifest.c ---- */

struct model {
    const char *key, *backend, *provider, *loader, *name; /* as the manifest says; provider "" */
    int capability;                                       /* −1: unknown */
    size_t begin, end;                                    /* where its entry is in the text */
    int status;                                           /* of its addition; 0 before, too */
    char *detail;                                         /* why it failed */
};
struct manifest {
    char *path, *folder, *text;
    size_t length, count, waiting;
    struct model *models;
    int whole; /* this program cannot take it apart: the library says what is wrong */
};
extern struct manifest manifest;

int manifest_read(void);
struct model *manifest_find(const char *key);
/* Chooses app.model by --model, the first word, or as the only one; takes the word away. */
int manifest_choose(void);
/* On the loop: adds app.model, or all for the commands that want none, then calls app.command->start. */
void manifest_add(void);

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
