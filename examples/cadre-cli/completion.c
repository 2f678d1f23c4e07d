/* Completion scripts for bash and zsh, from the tables. The models come from the manifest, by `cadre-cli models --keys`. */
#include "cli.h"

#include <string.h>

/* How a model's name is asked for: those with the command's capability. */
static void print_models_of(const struct command *command)
{
    printf("_cadre_cli_models%s%s", command->capability >= 0 ? " --capability " : "",
           command->capability >= 0 ? cadre_capability_name((cadre_capability)command->capability) : "");
}

/* ---- bash ---- */

static void bash_values(const struct command *command)
{
    for (size_t i = 0; i < option_count; i++) {
        const struct option *option = &option_table[i];
        if (!(option->commands & command->bit) || option->kind == OPTION_FLAG) continue;
        printf("        %s:--%s", command->name, option->name);
        if (option->letter) printf("|%s:-%c", command->name, option->letter);
        printf(") ");
        if (!option->completion)
            printf("return ;;\n");
        else if (strcmp(option->completion, "file") == 0)
            printf("COMPREPLY=($(compgen -f -- \"$word\")); return ;;\n");
        else if (strcmp(option->completion, "model") == 0)
            print_models_of(command), puts("; return ;;");
        else
            printf("COMPREPLY=($(compgen -W \"%s\" -- \"$word\")); return ;;\n", option->completion);
    }
}

static void bash_words(const struct command *command)
{
    printf("    %s)\n        if [[ $word == -* ]]; then COMPREPLY=($(compgen -W \"", command->name);
    for (size_t i = 0; i < option_count; i++)
        if (option_table[i].commands & command->bit) printf("%s--%s", i ? " " : "", option_table[i].name);
    printf("\" -- \"$word\")); return; fi\n");
    if (command->completion && strncmp(command->completion, "model", 5) == 0 && command->completion[5] != 's') {
        printf("        "), print_models_of(command), puts("");
        if (strstr(command->completion, "file")) puts("        COMPREPLY+=($(compgen -f -- \"$word\"))");
    } else if (command->completion) {
        printf("        COMPREPLY=($(compgen -W \"%s\" -- \"$word\"))\n", command->completion);
    }
    puts("        ;;");
}

static void print_bash(void)
{
    puts("# bash completion for cadre-cli, made by \"cadre-cli completion bash\"\n"
         "# Keys are text of a file: they are compared, never expanded.\n"
         "_cadre_cli_models()\n{\n    local i key manifest=()\n"
         "    for ((i = 1; i < ${#COMP_WORDS[@]} - 1; i++)); do\n"
         "        [[ ${COMP_WORDS[i]} == --models ]] && manifest=(--models \"${COMP_WORDS[i + 1]}\")\n"
         "    done\n    while IFS= read -r key; do\n        [[ $key == \"$word\"* ]] && COMPREPLY+=(\"$key\")\n"
         "    done < <(\"${COMP_WORDS[0]}\" \"${manifest[@]}\" --quiet models --keys \"$@\" 2>/dev/null)\n}\n\n"
         "_cadre_cli()\n{\n    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command= i\n    COMPREPLY=()\n"
         "    for ((i = 1; i < COMP_CWORD; i++)); do\n        case ${COMP_WORDS[i]} in");
    printf("        ");
    for (size_t i = 0; i < command_count; i++) printf("%s%s", i ? " | " : "", command_table[i].name);
    puts(") command=${COMP_WORDS[i]}; break ;;\n        esac\n    done\n    case ${command:-help}:$before in");
    for (size_t i = 0; i < command_count; i++) bash_values(&command_table[i]);
    printf("    esac\n    case $command in\n    '')\n        COMPREPLY=($(compgen -W \"");
    for (size_t i = 0; i < command_count; i++) printf("%s ", command_table[i].name);
    for (size_t i = 0; i < option_count; i++)
        if (option_table[i].commands == EVERY) printf("--%s ", option_table[i].name);
    puts("\" -- \"$word\"))\n        ;;");
    for (size_t i = 0; i < command_count; i++) bash_words(&command_table[i]);
    puts("    esac\n}\ncomplete -o filenames -F _cadre_cli cadre-cli");
}

/* ---- zsh ---- */

/* Inside '…[…]': brackets and quotes are special to _arguments and to the shell. */
static void zsh_text(const char *text)
{
    for (; *text; text++) {
        if (*text == '\'')
            printf("'\\''");
        else if (strchr("[]:\\", *text))
            printf("\\%c", *text);
        else
            putchar(*text);
    }
}

static void zsh_option(const struct option *option)
{
    printf("            '%s", option->kind == OPTION_LIST ? "*" : "");
    printf("--%s%s[", option->name, option->kind == OPTION_FLAG ? "" : "=");
    zsh_text(option->help);
    printf("]");
    if (option->kind != OPTION_FLAG) {
        printf(":%s:", option->argument);
        if (option->completion && strcmp(option->completion, "file") == 0)
            printf("_files");
        else if (option->completion && strcmp(option->completion, "model") == 0)
            printf("_cadre_cli_models");
        else if (option->completion)
            printf("(%s)", option->completion);
    }
    puts("' \\");
}

static void print_zsh(void)
{
    puts(
        "#compdef cadre-cli\n# zsh completion for cadre-cli, made by \"cadre-cli completion zsh\"\n"
        "_cadre_cli_models()\n{\n    local -a keys manifest\n"
        "    local i=${words[(i)--models]}\n    (( i < ${#words} )) && manifest=(--models ${words[i+1]})\n"
        "    keys=(${(f)\"$(cadre-cli $manifest --quiet models --keys ${=_cadre_cli_capability} 2>/dev/null)\"})\n"
        "    compadd -a keys\n}\n\n_cadre_cli()\n{\n    local curcontext=$curcontext state line _cadre_cli_capability=\n    local -a commands\n    commands=(");
    for (size_t i = 0; i < command_count; i++) {
        printf("        '%s:", command_table[i].name);
        zsh_text(command_table[i].summary);
        puts("'");
    }
    puts("    )\n    local command=${words[(r)(${(j:|:)${commands%%:*}})]}\n    case $command in");
    for (size_t i = 0; i < command_count; i++) {
        const struct command *command = &command_table[i];
        printf("    %s)\n", command->name);
        if (command->capability >= 0) printf("        _cadre_cli_capability='--capability %s'\n", cadre_capability_name((cadre_capability)command->capability));
        puts("        _arguments \\");
        for (size_t j = 0; j < option_count; j++)
            if (option_table[j].commands & command->bit) zsh_option(&option_table[j]);
        if (command->capability >= 0 || command->bit == FETCH)
            printf("            '1:command:' '*:argument:%s'\n",
                   strstr(command->completion, "file") ? "{_alternative \"models:model:_cadre_cli_models\" \"files:file:_files\"}" : "_cadre_cli_models");
        else
            printf("            '1:command:' '*:argument:(%s)'\n", command->completion ? command->completion : "");
        puts("        ;;");
    }
    puts("    *) _describe command commands ;;\n    esac\n}\n_cadre_cli \"$@\"");
}

int completion_prepare(void)
{
    const struct options *options = &app.options;
    if (options->word_count != 1) return misuse("name one shell: bash or zsh");
    if (strcmp(options->words[0], "bash") == 0)
        print_bash();
    else if (strcmp(options->words[0], "zsh") == 0)
        print_zsh();
    else
        return misuse("unknown shell \"%.60s\"; known: bash, zsh", options->words[0]);
    return CLI_OK;
}
