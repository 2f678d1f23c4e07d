/* Help, from the tables. */
#include "cli.h"

static const char exit_codes[] = "Exit codes: 0 done; 1 the request failed; 2 the command line is wrong; 3 the manifest or the model cannot be loaded;\n"
                                 "4 timed out; 129 hung up; 130 Ctrl-C; 143 terminated; 141 standard output was closed.\n";

/* Those of one command alone (bit), or those of every command (EVERY). */
static void print_options(uint32_t bit, const char *title)
{
    int titled = 0;
    for (size_t i = 0; i < option_count; i++) {
        const struct option *option = &option_table[i];
        char left[64];
        if (!(option->commands & bit) || (option->commands == EVERY) != (bit == EVERY)) continue;
        if (!titled) printf("\n%s\n", title);
        titled = 1;
        snprintf(left, sizeof left, "%c%c%c --%s%s%s", option->letter ? '-' : ' ', option->letter ? option->letter : ' ', option->letter ? ',' : ' ',
                 option->name, option->argument ? " " : "", option->argument ? option->argument : "");
        printf("  %-26s %s\n", left, option->help);
    }
}

int print_help(const struct command *command)
{
    if (command) {
        printf("usage: cadre-cli %s [OPTION...]%s%s\n\n%s\n", command->name, *command->arguments ? " " : "", command->arguments, command->description);
        if (command->capability >= 0)
            puts("\nMODEL is a key of the manifest; it may be left out when that has one model of this kind. MODEL may also be a reference to its file at a "
                 "hub,\n"
                 "hf:OWNER/NAME/FILE or hf:OWNER/NAME@REVISION/FILE, which is fetched with the first use; no manifest is looked at then.");
        print_options(command->bit, "Options:");
    } else {
        puts("usage: cadre-cli COMMAND [OPTION...] [ARGUMENT...]\n\nRuns the models of a manifest, or of a hub, from a terminal.\n\nCommands:");
        for (size_t i = 0; i < command_count; i++) {
            char left[64];
            snprintf(left, sizeof left, "%s %s", command_table[i].name, command_table[i].arguments);
            printf("  %-30s %s\n", left, command_table[i].summary);
        }
    }
    print_options(EVERY, "Options of every command:");
    printf("\n%s", exit_codes);
    if (!command) puts("\"cadre-cli help COMMAND\" explains one command; the manual page is cadre-cli(1).");
    return CLI_OK;
}

int help_prepare(void)
{
    const struct options *options = &app.options;
    if (options->word_count > 1) return misuse("help takes one command");
    if (options->word_count == 0) return print_help(NULL);
    const struct command *command = find_command(options->words[0]);
    if (command) return print_help(command);
    const char *names[32];
    size_t count = 0;
    for (; count < command_count && count < 32; count++) names[count] = command_table[count].name;
    const char *near = nearest(options->words[0], names, count);
    return near ? misuse("unknown command \"%.60s\"; did you mean \"%s\"?", options->words[0], near) : misuse("unknown command \"%.60s\"", options->words[0]);
}
