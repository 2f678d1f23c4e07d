/* The commands. */
#include "cli.h"

#include <string.h>

#define NONE (-1)

const struct command command_table[] = {
    {"models", MODELS, NONE, 0, "", NULL, "list the models of the manifest",
     "Prints a table: key, capability, provider and backend, loader, whether its files are here, state, workers, the memory that the model takes now, and\n"
     "with --verbose its license. Each entry whose files are here is checked by its backend; one that cannot be used is in state \"unusable\", and why is\n"
     "told on standard error. Where there is no manifest, the catalogue is shown that is installed with this program.",
     models_prepare, models_start},
    {"fetch", FETCH, NONE, 0, "MODEL...", "model", "bring the files of models",
     "Brings what is missing of the models' files from their hub. What has come of a file is kept when it is interrupted, and the next run goes on from "
     "there.\n"
     "MODEL is a key, or a reference to one file, hf:OWNER/NAME/FILE or hf:OWNER/NAME@REVISION/FILE, whose place is then printed. A model whose loader is\n"
     "\"async\" needs no fetch: its files come when it is first used.",
     fetch_prepare, fetch_start},
    {"chat", CHAT, CADRE_TEXT_TO_TEXT, 0, "[MODEL] [PROMPT]", "model", "ask a language model",
     "Streams the answer to one question. Without PROMPT (or with \"-\") standard input is the question; if that is a terminal, as standard output is, a chat\n"
     "begins: /quit ends it, /reset forgets what was said, /system TEXT sets the system message, /help lists these. Ctrl-C stops an answer, and at the\n"
     "prompt the chat; so does Ctrl-D.",
     chat_prepare, chat_start},
    {"embed", EMBED, CADRE_TEXT_EMBEDDING, 0, "[MODEL] [TEXT...]", "model", "turn texts into vectors",
     "Prints one vector a line, its numbers separated by spaces. Without TEXT every line of standard input is a text.", embed_prepare, embed_start},
    {"embed-image", EMBED_IMAGE, CADRE_IMAGE_EMBEDDING, 1, "[MODEL] PICTURE...", "model file", "turn pictures into vectors",
     "Prints one vector a line, its numbers separated by spaces, in the order of the pictures (PNG, JPEG, WebP), which are files or http(s) addresses.",
     embed_image_prepare, embed_image_start},
    {"describe", DESCRIBE, CADRE_VISION, 1, "[MODEL] PICTURE...", "model file", "ask a model about pictures",
     "Streams the answer to one question about one or several pictures (PNG, JPEG, WebP), which are files or http(s) addresses.", describe_prepare,
     describe_start},
    {"draw", DRAW, CADRE_TEXT_TO_IMAGE, 1, "[MODEL] PROMPT -o FILE", "model", "draw a picture",
     "Writes a PNG file. It appears under its name when it is whole, and not before.", draw_prepare, draw_start},
    {"health", HEALTH, NONE, 0, "", NULL, "health of the pool, or metrics",
     "Prints health as JSON, or with --prometheus metrics, after loading what --load names. Health of a model that fails to load is printed too; the exit "
     "code\n"
     "is then 3.",
     health_prepare, health_start},
    {"completion", COMPLETION, NONE, 0, "bash|zsh", "bash zsh", "print a completion script for a shell",
     "For bash: source <(cadre-cli completion bash). For zsh: put the output into a file \"_cadre-cli\" in a folder of $fpath.", completion_prepare, NULL},
    {"help", HELP, NONE, 0, "[COMMAND]", "models fetch chat embed embed-image describe draw health completion", "explain a command",
     "Prints what --help prints.", help_prepare, NULL},
};
const size_t command_count = sizeof command_table / sizeof *command_table;

const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < command_count; i++)
        if (strcmp(command_table[i].name, name) == 0) return &command_table[i];
    return NULL;
}
