/* The commands. */
#include "cli.h"

#include <string.h>

#define NONE (-1)

const struct command command_table[] = {
    {"models", MODELS, NONE, 0, "", NULL, "list the models of the manifest",
     "Prints a table: key, capability, provider or backend, loader, state, workers, and the memory that the model takes now. Each entry is checked by its\n"
     "backend; one that cannot be used is in state \"unusable\", and why is told on standard error.",
     models_prepare, models_start},
    {"chat", CHAT, CADRE_TEXT_TO_TEXT, 0, "[MODEL] [PROMPT]", "model", "ask a language model",
     "Streams the answer to one question. Without PROMPT (or with \"-\") standard input is the question; if that is a terminal, as standard output is, a chat\n"
     "begins: /quit ends it, /reset forgets what was said, /system TEXT sets the system message, /help lists these. Ctrl-C stops an answer, and at the\n"
     "prompt the chat; so does Ctrl-D.",
     chat_prepare, chat_start},
    {"embed", EMBED, CADRE_TEXT_EMBEDDING, 0, "[MODEL] [TEXT...]", "model", "turn texts into vectors",
     "Prints one vector a line, its numbers separated by spaces. Without TEXT every line of standard input is a text.", embed_prepare, embed_start},
    {"embed-image", EMBED_IMAGE, CADRE_IMAGE_EMBEDDING, 1, "[MODEL] FILE...", "model file", "turn pictures into vectors",
     "Prints one vector a line, its numbers separated by spaces, in the order of the files (PNG, JPEG, WebP).", embed_image_prepare, embed_image_start},
    {"describe", DESCRIBE, CADRE_VISION, 1, "[MODEL] FILE...", "model file", "ask a model about pictures",
     "Streams the answer to one question about one or several pictures (PNG, JPEG, WebP).", describe_prepare, describe_start},
    {"draw", DRAW, CADRE_TEXT_TO_IMAGE, 1, "[MODEL] PROMPT -o FILE", "model", "draw a picture",
     "Writes a PNG file. It appears under its name when it is whole, and not before.", draw_prepare, draw_start},
    {"health", HEALTH, NONE, 0, "", NULL, "health of the pool, or metrics",
     "Prints health as JSON, or with --prometheus metrics, after loading what --load names. Health of a model that fails to load is printed too; the exit "
     "code\n"
     "is then 3.",
     health_prepare, health_start},
    {"completion", COMPLETION, NONE, 0, "bash|zsh", "bash zsh", "print a completion script for a shell",
     "For bash: source <(cadre-cli completion bash). For zsh: put the output into a file \"_cadre-cli\" in a folder of $fpath.", completion_prepare, NULL},
    {"help", HELP, NONE, 0, "[COMMAND]", "models chat embed embed-image describe draw health completion", "explain a command", "Prints what --help prints.",
     help_prepare, NULL},
};
const size_t command_count = sizeof command_table / sizeof *command_table;

const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < command_count; i++)
        if (strcmp(command_table[i].name, name) == 0) return &command_table[i];
    return NULL;
}
