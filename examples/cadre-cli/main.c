/* From the command line to the command. */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Before there is a loop nothing needs to be cleaned up. */
static void leave(int number)
{
    _exit(128 + number);
}

/* A closed standard descriptor would become one of the loop's, and libuv ends the process when it closes that. Those that are opened here instead fail when
 * they are used, as closed ones do. */
static void hold_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0) _exit(CLI_FAILED);
}

/* What stdio has printed (help, keys, scripts) is there, or the exit code says so. */
static int printed(int rc)
{
    errno = 0;
    if (rc != 0 || (fflush(stdout) == 0 && !ferror(stdout))) return rc;
    return complain(CLI_FAILED, "standard output: %s", errno ? strerror(errno) : "not all could be written");
}

static void early_signals(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = leave;
    sigaction(SIGINT, &action, NULL), sigaction(SIGTERM, &action, NULL);
    struct sigaction hangup;
    app.hears_hangup = sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN;
    if (app.hears_hangup) sigaction(SIGHUP, &action, NULL);
}

static int print_version(void)
{
    if (app.options.json)
        printf("{\"version\": \"%s\", \"library\": \"%s\", \"images\": %s, \"fetch\": %s}\n", CADRE_VERSION_STRING, cadre_version(),
               app_has_images ? "true" : "false", app_has_fetch ? "true" : "false");
    else
        printf("cadre-cli %s, libcadre %s, %s libcadre-images, %s libcadre-fetch\n", CADRE_VERSION_STRING, cadre_version(), app_has_images ? "with" : "without",
               app_has_fetch ? "with" : "without");
    return CLI_OK;
}

/* The library tells a timeline that cannot be written by its log alone. */
static int check_trace(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) return complain(CLI_USAGE, "--trace: %s: %s", path, strerror(errno));
    close(fd);
    return 0;
}

static int prepare(void)
{
    const struct command *command = app.command;
    int rc = 0;
    if (!command->start) return command->prepare();
    if (command->images && !app_has_images) return app_images(NULL);
    if (command->bit == FETCH && !app_has_fetch) return need_fetch(command->name);
    if (app.options.trace) rc = check_trace(app.options.trace);
    if (rc == 0) rc = manifest_read();
    if (rc || manifest.whole) return rc;
    if (command->capability >= 0) rc = manifest_choose();
    return rc ? rc : command->prepare();
}

int main(int argc, char **argv)
{
    const char *no_color = getenv("NO_COLOR");
    hold_descriptors();
    early_signals();
    app.color = !(no_color && *no_color);
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--no-color") == 0) app.color = 0; /* for messages about the command line too */
    int rc = parse_options(argc, argv, &app.options, &app.command);
    if (rc) return rc;
    if (app.options.help) return printed(print_help(app.command));
    if (app.options.version) return printed(print_version());
    if (!app.command) {
        complain(0, "no command");
        return fputs("Try \"cadre-cli --help\".\n", stderr), CLI_USAGE;
    }
    rc = prepare();
    if (rc || app.done || !app.command->start) return printed(rc);
    return app_run();
}
