/* The options, and how a command line is read. Help, both completions and the check of the man page come from this table. */
#include "cli.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FIELD(name) offsetof(struct options, name)
#define STREAMS (CHAT | DESCRIBE)

const struct option option_table[] = {
    {"temperature", 't', OPTION_NUMBER, "T", FIELD(temperature), 0, 1000, STREAMS, NULL, "0 always takes the likeliest token (default: the model's, else 0.8)"},
    {"top-p", 0, OPTION_NUMBER, "P", FIELD(top_p), 0, 1, STREAMS, NULL, "keep the likeliest tokens that together have probability P, 0 to 1"},
    {"top-k", 0, OPTION_INTEGER, "K", FIELD(top_k), 0, INT32_MAX, STREAMS, NULL, "keep the K likeliest tokens; 0: all"},
    {"max-tokens", 'n', OPTION_INTEGER, "N", FIELD(max_tokens), 1, INT32_MAX, STREAMS, NULL, "end the answer after N tokens"},
    {"seed", 0, OPTION_INTEGER, "N", FIELD(seed), 0, UINT32_MAX, STREAMS | DRAW, NULL, "the same number gives the same answer (default: a random one)"},
    {"system", 's', OPTION_TEXT, "TEXT", FIELD(system), 0, 0, CHAT, NULL, "the system message that the chat begins with"},
    {"stop", 0, OPTION_LIST, "TEXT", FIELD(stop), 0, STOPS_MAX, STREAMS, NULL, "end the answer before TEXT; up to 16 times"},
    {"grammar-file", 0, OPTION_FILE, "FILE", FIELD(grammar_file), 0, 0, STREAMS, "file", "a GBNF grammar that the answer must follow"},
    {"question", 'q', OPTION_TEXT, "TEXT", FIELD(question), 0, 0, DESCRIBE, NULL, "what to say about the pictures (default: \"Describe the picture.\")"},
    {"mmproj", 0, OPTION_TEXT, "REFERENCE", FIELD(mmproj), 0, 0, DESCRIBE, NULL,
     "the second file of a MODEL that is a reference: what looks at pictures (required then)"},
    {"allow-private", 0, OPTION_FLAG, NULL, FIELD(allow_private), 0, 0, DESCRIBE | EMBED_IMAGE, NULL, "pictures may come from private and local addresses"},
    {"vocabulary", 0, OPTION_TEXT, "REFERENCE", FIELD(vocabulary), 0, 0, EMBED, NULL, "the second file of a MODEL that is a reference to an ONNX file"},
    {"task", 0, OPTION_TEXT, "TEXT", FIELD(task), 0, 0, EMBED, NULL, "which of the model's prompts comes before each text (\"query\"); documents take none"},
    {"truncate", 0, OPTION_FLAG, NULL, FIELD(truncate), 0, 0, EMBED, NULL, "cut texts that are longer than the model takes"},
    {"similarity", 0, OPTION_FLAG, NULL, FIELD(similarity), 0, 0, EMBED | EMBED_IMAGE, NULL, "print the matrix of cosines instead of the vectors"},
    {"output", 'o', OPTION_FILE, "FILE", FIELD(output), 0, 0, DRAW, "file", "the PNG file to write (required)"},
    {"width", 0, OPTION_INTEGER, "PIXELS", FIELD(width), 1, 16384, DRAW, NULL, "of the picture (default: the model's)"},
    {"height", 0, OPTION_INTEGER, "PIXELS", FIELD(height), 1, 16384, DRAW, NULL, "of the picture (default: the model's)"},
    {"steps", 0, OPTION_INTEGER, "N", FIELD(steps), 1, 1000, DRAW, NULL, "sampling steps (default: the model's)"},
    {"guidance", 0, OPTION_NUMBER, "X", FIELD(guidance), 0, 1e6, DRAW, NULL, "how closely to follow the prompt (default: the model's)"},
    {"negative", 0, OPTION_TEXT, "TEXT", FIELD(negative), 0, 0, DRAW, NULL, "what should not be in the picture"},
    {"keys", 0, OPTION_FLAG, NULL, FIELD(keys), 0, 0, MODELS, NULL, "print the keys alone, one a line, without looking at files and backends"},
    {"capability", 0, OPTION_TEXT, "NAME", FIELD(capability), 0, 0, MODELS, "text-to-text text-embedding image-embedding vision text-to-image",
     "only models with this capability"},
    {"load", 'l', OPTION_LIST, "MODEL", FIELD(load), 0, LOADS_MAX, HEALTH, "model", "load this model first; may be repeated; \"all\" loads every one"},
    {"prometheus", 0, OPTION_FLAG, NULL, FIELD(prometheus), 0, 0, HEALTH, NULL, "print metrics in Prometheus' text format instead"},
    {"model", 'm', OPTION_TEXT, "MODEL", FIELD(model), 0, 0, CHAT | EMBED | EMBED_IMAGE | DESCRIBE | DRAW, "model",
     "the model's key, or a reference; with it, every other word is input"},

    {"models", 0, OPTION_FILE, "FILE", FIELD(models), 0, 0, EVERY, "file", "the manifest (default: $CADRE_MODELS, ./models.json, the user's, the catalogue)"},
    {"offline", 0, OPTION_FLAG, NULL, FIELD(offline), 0, 0, EVERY, NULL, "fetch no models: use what is here; so does $HF_HUB_OFFLINE"},
    {"cache", 0, OPTION_FILE, "FOLDER", FIELD(cache), 0, 0, EVERY, "file", "where fetched files lie (default: $HF_HUB_CACHE, ~/.cache/huggingface/hub)"},
    {"memory", 0, OPTION_SIZE, "SIZE", FIELD(memory), 1, 9007199254740992.0, EVERY, NULL, "what models may take of the memory: bytes, or with k, M, G, T"},
    {"cores", 0, OPTION_INTEGER, "N", FIELD(cores), 1, 512, EVERY, NULL, "how many cores to use (default: all that the process may use)"},
    {"timeout", 0, OPTION_NUMBER, "SECONDS", FIELD(timeout), 0.001, 1e9, EVERY, NULL, "give up after this, fetch and load counted; the exit code is 4"},
    {"json", 'j', OPTION_FLAG, NULL, FIELD(json), 0, 0, EVERY, NULL, "JSON on standard output: one document, or a line for each event of a stream"},
    {"quiet", 0, OPTION_FLAG, NULL, FIELD(quiet), 0, 0, EVERY, NULL, "no progress bars and no notes; errors are told"},
    {"verbose", 'v', OPTION_FLAG, NULL, FIELD(verbose), 0, 0, EVERY, NULL, "log, events and statistics as lines on standard error, instead of bars"},
    {"trace", 0, OPTION_FILE, "FILE", FIELD(trace), 0, 0, EVERY, "file", "write a timeline (Chrome's trace-event format) to FILE"},
    {"no-color", 0, OPTION_FLAG, NULL, FIELD(no_color), 0, 0, EVERY, NULL, "no colours; so does $NO_COLOR"},
    {"help", 'h', OPTION_FLAG, NULL, FIELD(help), 0, 0, EVERY, NULL, "this text"},
    {"version", 'V', OPTION_FLAG, NULL, FIELD(version), 0, 0, EVERY, NULL, "versions of the program and of the library"},
};
const size_t option_count = sizeof option_table / sizeof *option_table;

static const struct option *find_option(const char *name, size_t length, char letter)
{
    for (size_t i = 0; i < option_count; i++) {
        const struct option *option = &option_table[i];
        if (letter ? option->letter == letter : strlen(option->name) == length && strncmp(option->name, name, length) == 0) return option;
    }
    return NULL;
}

static int unknown_option(const char *given)
{
    char names[sizeof option_table / sizeof *option_table][64];
    const char *known[sizeof option_table / sizeof *option_table];
    size_t count = 0;
    for (size_t i = 0; i < option_count; i++) {
        if (app.command && !(option_table[i].commands & app.command->bit)) continue;
        snprintf(names[count], sizeof names[count], "--%s", option_table[i].name);
        known[count] = names[count], count++;
    }
    const char *near = nearest(given, known, count);
    return near ? misuse("unknown option %s; did you mean %s?", given, near) : misuse("unknown option %s", given);
}

/* ---- values ---- */

static int wrong_value(const struct option *option, const char *value, const char *what)
{
    return misuse("--%s: \"%.60s\" is %s", option->name, value, what);
}

static int out_of_range(const struct option *option, const char *value)
{
    return option->most > 1e9 && option->most != UINT32_MAX && option->most != INT32_MAX
               ? misuse("--%s: %.60s is out of range", option->name, value)
               : misuse("--%s: %.60s is not within %.10g to %.10g", option->name, value, option->least, option->most);
}

static int read_number(const struct option *option, const char *value, double *out)
{
    char *end;
    errno = 0;
    *out = strtod(value, &end);
    if (end == value || *end || strpbrk(value, "xXnN \t\n")) return wrong_value(option, value, "not a number");
    if (!isfinite(*out) || *out < option->least || *out > option->most) return out_of_range(option, value);
    return 0;
}

static int read_integer(const struct option *option, const char *value, int64_t *out)
{
    char *end;
    errno = 0;
    long long number = strtoll(value, &end, 10);
    if (end == value || *end || strchr(" \t\n", *value)) return wrong_value(option, value, "not a whole number");
    if (errno || (double)number < option->least || (double)number > option->most) return out_of_range(option, value);
    *out = number;
    return 0;
}

static int read_size(const struct option *option, const char *value, int64_t *out)
{
    static const char units[] = "kMGT";
    char *end;
    double number = strtod(value, &end), factor = 1;
    const char *unit = *end ? strchr(units, *end == 'K' ? 'k' : *end) : NULL;
    if (end == value || strpbrk(value, "xXnN \t\n-")) return wrong_value(option, value, "not a size, such as 800M or 1.5G");
    for (const char *u = units; unit && u <= unit; u++) factor *= 1024;
    if (*end && (!unit || (end[1] && strcmp(end + 1, "iB") != 0 && strcmp(end + 1, "B") != 0)))
        return wrong_value(option, value, "not a size, such as 800M or 1.5G");
    number *= factor;
    if (!(number >= option->least && number <= option->most)) return out_of_range(option, value);
    *out = (int64_t)number;
    return 0;
}

static int read_value(const struct option *option, const char *value, struct options *out)
{
    void *field = (char *)out + option->offset;
    char what[80];
    snprintf(what, sizeof what, "--%s", option->name);
    switch (option->kind) {
    case OPTION_FLAG: *(int64_t *)field = 1; return 0;
    case OPTION_INTEGER: return read_integer(option, value, field);
    case OPTION_NUMBER: return read_number(option, value, field);
    case OPTION_SIZE: return read_size(option, value, field);
    case OPTION_FILE:
        if (!*value) return misuse("%s: the name is empty", what);
        *(const char **)field = value;
        return 0;
    case OPTION_LIST: {
        struct list *list = field;
        if (!*value) return misuse("%s: the text is empty", what);
        if (list->count >= (size_t)option->most) return misuse("%s: more than %.0f of them", what, option->most);
        list->items[list->count++] = value;
        return check_utf8(what, value, strlen(value));
    }
    case OPTION_TEXT: *(const char **)field = value; return check_utf8(what, value, strlen(value));
    }
    return 0;
}

/* ---- the command line ---- */

static void set_defaults(struct options *out)
{
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < option_count; i++) {
        void *field = (char *)out + option_table[i].offset;
        if (option_table[i].kind == OPTION_INTEGER || option_table[i].kind == OPTION_SIZE) *(int64_t *)field = CADRE_DEFAULT;
        if (option_table[i].kind == OPTION_NUMBER) *(double *)field = NAN;
    }
}

/* One argument that begins with '-', and its value where it has one. Returns how many arguments it took, or −exit code. */
static int read_option(const char *given, const char *next, struct options *out)
{
    int is_long = given[1] == '-';
    const char *equals = is_long ? strchr(given, '=') : NULL;
    char shown[64];
    snprintf(shown, sizeof shown, "%.*s", is_long ? (int)(equals ? equals - given : 62) : 2, given);
    const struct option *option = is_long ? find_option(given + 2, equals ? (size_t)(equals - given - 2) : strlen(given + 2), 0)
                                          : find_option(NULL, 0, given[1]);
    if (!option) return -unknown_option(shown);
    if (app.command && !(option->commands & app.command->bit)) return -misuse("%s is no option of \"%s\"", shown, app.command->name);
    const char *value = is_long ? (equals ? equals + 1 : NULL) : given[2] ? given + 2 : NULL;
    int rc, took = 1;
    if (option->kind == OPTION_FLAG) {
        if (value) return -misuse("%s takes no value", shown);
    } else if (!value) {
        if (!next) return -misuse("%s: %s is missing", shown, option->argument);
        value = next, took = 2;
    }
    rc = read_value(option, value, out);
    return rc ? -rc : took;
}

/* The command is the first word that is no option and no option's value. */
static int choose_command(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *given = argv[i];
        if (given[0] == '-' && given[1]) {
            if (strcmp(given, "--") == 0) return 0;
            const struct option *option = given[1] == '-' ? find_option(given + 2, strcspn(given + 2, "="), 0) : find_option(NULL, 0, given[1]);
            int joined = given[1] == '-' ? strchr(given, '=') != NULL : given[2] != '\0';
            if (option && option->kind != OPTION_FLAG && !joined) i++;
            continue;
        }
        app.command = find_command(given);
        if (app.command) return 0;
        const char *names[32];
        size_t count = 0;
        for (; count < command_count && count < 32; count++) names[count] = command_table[count].name;
        const char *near = nearest(given, names, count);
        return near ? misuse("unknown command \"%.60s\"; did you mean \"%s\"?", given, near) : misuse("unknown command \"%.60s\"", given);
    }
    return 0;
}

int parse_options(int argc, char **argv, struct options *out, const struct command **command)
{
    int literal = 0, named = 0;
    set_defaults(out);
    out->words = allocate((size_t)argc + 1, sizeof *out->words);
    int rc = choose_command(argc, argv);
    *command = app.command;
    if (rc) return rc;
    for (int i = 1; i < argc;) {
        const char *given = argv[i];
        if (!literal && strcmp(given, "--") == 0) {
            literal = 1, i++;
        } else if (!literal && given[0] == '-' && given[1]) {
            rc = read_option(given, i + 1 < argc ? argv[i + 1] : NULL, out);
            if (rc < 0) return -rc;
            i += rc;
        } else if (!named && app.command && !literal) {
            named = 1, i++;
        } else {
            out->words[out->word_count++] = argv[i++];
        }
    }
    return 0;
}
