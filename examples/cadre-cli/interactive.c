/* chat on a terminal: turn by turn, with what was said before. Lines come from the terminal as it edits them. While an answer runs nothing is read; what is
 * typed meanwhile waits in the terminal. Loop thread alone. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_MOST = 1 << 20 };

static const char *const slash_commands[] = {"/quit", "/reset", "/system", "/help"};

static struct {
    uv_tty_t terminal;
    int open, reading, cancelled;
    char piece[4096];
    struct buffer typed, answer;
    char *system;
    cadre_chat_message *turns; /* user, assistant, user, …; the contents are owned. Place 0 is kept for the system message */
    size_t count, capacity;
    struct stream stream;
} chat;

static void read_on(void);

/* ---- what was said ---- */

static void add_turn(const char *role, const char *content, size_t length)
{
    if (chat.count + 2 > chat.capacity) {
        chat.capacity = chat.capacity ? chat.capacity * 2 : 16;
        chat.turns = grow(chat.turns, chat.capacity, sizeof *chat.turns);
    }
    chat.count++;
    chat.turns[chat.count] = (cadre_chat_message){role, copy_bytes(content, length)};
}

static void drop_turns(size_t keep)
{
    while (chat.count > keep) free((char *)chat.turns[chat.count--].content);
}

/* ---- a turn ---- */

static void on_text(cadre_request *request, const char *text, size_t length)
{
    (void)request;
    stream_text(&chat.stream, text, length);
    buffer_add(&chat.answer, text, length);
}

static void on_done(cadre_request *request, int status, const cadre_generation *result)
{
    app.request = 0;
    if (status == CADRE_ECANCELED && chat.stream.bytes == 0) out_text("\n"); /* the terminal shows ^C */
    stream_end(&chat.stream, request, status, result);
    if (app.ending) return;
    if (chat.answer.length > 0 && (status == 0 || status == CADRE_ECANCELED))
        add_turn("assistant", chat.answer.data, chat.answer.length);
    else
        drop_turns(chat.count - 1);
    if (status == CADRE_ETOOLONG)
        complain(0, "%s; /reset begins anew", cadre_request_detail(request));
    else if (status < 0 && status != CADRE_ECANCELED)
        complain(0, "%s (%s)", *cadre_request_detail(request) ? cadre_request_detail(request) : cadre_strerror(status), cadre_err_name(status));
    read_on();
}

static void ask(const char *line, size_t length)
{
    cadre_generate_params params = CADRE_GENERATE_PARAMS_INIT;
    add_turn("user", line, length);
    if (chat.system) chat.turns[0] = (cadre_chat_message){"system", chat.system};
    chat.answer.length = 0;
    params.key = app.model->key;
    params.messages = chat.turns + (chat.system ? 0 : 1);
    params.message_count = chat.count + (chat.system ? 1 : 0);
    params.sampling = sampling_make();
    params.options = app_request_options();
    params.on_text = on_text;
    params.on_done = on_done;
    chat.cancelled = 0;
    stream_begin(&chat.stream);
    int rc = cadre_generate(app.pool, &params, &app.request);
    if (rc == 0) return;
    complain(0, "%s (%s)", *cadre_pool_error_detail(app.pool) ? cadre_pool_error_detail(app.pool) : cadre_strerror(rc), cadre_err_name(rc));
    drop_turns(chat.count - 1);
}

static void obey(const char *line)
{
    size_t name = strcspn(line, " \t");
    const char *rest = line + name + strspn(line + name, " \t");
    char word[64];
    snprintf(word, sizeof word, "%.*s", (int)(name < sizeof word ? name : sizeof word - 1), line);
    if (strcmp(word, "/quit") == 0) {
        app_end(CLI_OK);
    } else if (strcmp(word, "/reset") == 0) {
        drop_turns(0);
        note("what was said is forgotten");
    } else if (strcmp(word, "/system") == 0) {
        free(chat.system);
        chat.system = *rest ? copy_bytes(rest, strlen(rest)) : NULL;
        note(*rest ? "the system message is set" : "there is no system message now");
    } else if (strcmp(word, "/help") == 0) {
        out_text("/quit ends the chat, as Ctrl-D does; /reset forgets what was said; /system TEXT sets the system message.\n"
                 "Ctrl-C stops an answer.\n");
    } else {
        const char *near = nearest(word, slash_commands, sizeof slash_commands / sizeof *slash_commands);
        complain(0, near ? "unknown command %s; did you mean %s?" : "unknown command %s; known: /quit, /reset, /system, /help", word, near);
    }
}

/* ---- lines ---- */

static void prompt(void)
{
    out_text(app.color ? "\033[1m> \033[0m" : "> ");
}

/* Takes lines until one is a question. */
static void take_lines(void)
{
    while (!app.request && !app.ending) {
        char *newline = chat.typed.length ? memchr(chat.typed.data, '\n', chat.typed.length) : NULL;
        if (!newline) return;
        size_t length = (size_t)(newline - chat.typed.data);
        char *line = copy_bytes(chat.typed.data, length);
        chat.typed.length -= length + 1;
        memmove(chat.typed.data, newline + 1, chat.typed.length + 1);
        if (check_utf8("the line", line, length) == 0) {
            if (line[0] == '/')
                obey(line);
            else if (line[strspn(line, " \t\r")] != '\0')
                ask(line, length);
        }
        free(line);
        if (!app.request && !app.ending) prompt();
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    (void)handle, (void)suggested;
    *out = uv_buf_init(chat.piece, sizeof chat.piece);
}

static void on_read(uv_stream_t *terminal, ssize_t count, const uv_buf_t *piece)
{
    if (count == 0 || app.ending) return;
    if (count < 0) { /* Ctrl-D, or the terminal is gone */
        if (count == UV_EOF) out_text("\n");
        app_end(CLI_OK);
        return;
    }
    buffer_add(&chat.typed, piece->base, (size_t)count);
    if (chat.typed.length > LINE_MOST) {
        complain(0, "a line of more than %d bytes is dropped", LINE_MOST);
        chat.typed.length = 0;
    }
    take_lines();
    if (app.request && chat.reading) uv_read_stop(terminal), chat.reading = 0;
}

/* After an answer: the prompt, then lines that are here already, then the terminal. */
static void read_on(void)
{
    prompt();
    take_lines();
    if (app.request || app.ending || chat.reading) return;
    int rc = uv_read_start((uv_stream_t *)&chat.terminal, on_alloc, on_read);
    chat.reading = rc == 0;
    if (rc != 0) complain(0, "the terminal: %s", uv_strerror(rc)), app_end(CLI_FAILED);
}

/* ---- the beginning and the end ---- */

static int on_interrupt(void)
{
    if (!app.request || chat.cancelled) return 0;
    chat.cancelled = 1;
    cadre_request_cancel(app.pool, app.request);
    return 1;
}

static void on_end(void)
{
    if (chat.open) uv_close((uv_handle_t *)&chat.terminal, NULL);
    chat.open = 0;
    if (app.signals && !app.request) out_text("\n");
}

static void on_loaded(cadre_pool *pool, int status, const char *detail, void *data)
{
    (void)pool, (void)data;
    if (app.ending) return;
    app_loaded();
    if (status < 0) {
        app_fail(CLI_LOAD, status, detail);
        return;
    }
    note("%s; /help lists commands", app.model->key);
    read_on();
}

void interactive_start(void)
{
    int rc = uv_tty_init(&app.loop, &chat.terminal, STDIN_FILENO, 0);
    if (rc != 0) {
        complain(0, "the terminal: %s", uv_strerror(rc));
        app_end(CLI_FAILED);
        return;
    }
    chat.open = 1;
    app.on_end = on_end;
    app.on_interrupt = on_interrupt;
    if (app.options.system) chat.system = copy_bytes(app.options.system, strlen(app.options.system));
    rc = cadre_model_pin(app.pool, app.model->key, 1); /* it stays while somebody thinks about the next question */
    if (rc == 0) rc = cadre_model_load(app.pool, app.model->key, on_loaded, NULL);
    if (rc != 0) app_refused(rc);
}
