#include "server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static server here;
static bool started;
static FILE *to, *from;
static pid_t child, owner;
static char folder[256], text[1 << 20];

static void stop(void)
{
    char command[512];
    if (getpid() != owner) return;
    if (to) fclose(to);
    if (from) fclose(from);
    if (child > 0) (void)waitpid(child, NULL, 0);
    if (!folder[0]) return;
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    (void)!system(command);
}

/* An authority for localhost and 127.0.0.1, for some days. */
static bool make_certificates(void)
{
    char command[4096];
    snprintf(folder, sizeof folder, "%s/cadre-http-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (!mkdtemp(folder)) {
        folder[0] = '\0';
        return false;
    }
    snprintf(command, sizeof command,
             "cd '%s' && exec 2>/dev/null >/dev/null && openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 30 -subj /CN=cadre-tests && "
             "openssl req -newkey rsa:2048 -nodes -keyout key.pem -out request.pem -subj /CN=localhost && "
             "printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\\n' >extra && "
             "openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile extra -out cert.pem",
             folder);
    if (system(command) != 0) return false;
    snprintf(here.certificate, sizeof here.certificate, "%s/ca.pem", folder);
    return true;
}

static void run_child(int in, int out, bool tls)
{
    char certificate[512], key[512];
    snprintf(certificate, sizeof certificate, "%s/cert.pem", folder);
    snprintf(key, sizeof key, "%s/key.pem", folder);
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    if (tls)
        execl(CADRE_PYTHON, "python3", CADRE_SERVER, certificate, key, (char *)NULL);
    else
        execl(CADRE_PYTHON, "python3", CADRE_SERVER, (char *)NULL);
    _exit(127);
}

const server *server_here(void)
{
    int in[2], out[2];
    if (started) return from ? &here : NULL;
    started = true;
    owner = getpid();
    (void)atexit(stop);
    bool tls = make_certificates();
    if (pipe(in) != 0 || pipe(out) != 0) return NULL;
    child = fork();
    if (child == 0) {
        close(in[1]);
        close(out[0]);
        run_child(in[0], out[1], tls);
    }
    close(in[0]);
    close(out[1]);
    to = fdopen(in[1], "w");
    from = fdopen(out[0], "r");
    if (child > 0 && to && from && fscanf(from, "%d %d %d %d %d", &here.plain, &here.other, &here.full, &here.blunt, &here.tls) == 5) {
        (void)fgets(text, sizeof text, from);
        return &here;
    }
    from = NULL;
    return NULL;
}

static void ask(const char *command)
{
    fprintf(to, "%s\n", command);
    fflush(to);
}

void server_reset(void)
{
    if (!server_here()) return;
    ask("reset");
    (void)fgets(text, sizeof text, from);
}

void server_held(int count)
{
    char command[32];
    snprintf(command, sizeof command, "held %d", count);
    ask(command);
    (void)fgets(text, sizeof text, from);
}

int server_holding(void)
{
    ask("holding");
    return fgets(text, sizeof text, from) ? atoi(text) : 0;
}

const char *server_log(void)
{
    size_t length = 0;
    ask("log");
    text[0] = '\0';
    while (length < sizeof text - 1024 && fgets(text + length, (int)(sizeof text - length), from)) {
        if (strcmp(text + length, ".\n") == 0) break;
        length += strlen(text + length);
    }
    text[length] = '\0';
    return text;
}

int server_count(const char *start)
{
    int count = 0;
    for (const char *line = server_log(); *line; line = strchr(line, '\n') + 1) count += strncmp(line, start, strlen(start)) == 0;
    return count;
}
