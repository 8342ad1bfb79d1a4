/* child - see child.h */
#include "gateway/cli/child.h"

#include "common/clock.h"
#include "gateway/cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READY_FD    3     /* the child's end of the ready pipe */
#define PATIENCE_MS 30000 /* for the ready line */

extern char **environ;

void child_make(struct child *self, const char *name, const char *program, const char *log_folder)
{
    *self = (struct child){.ready_fd = -1};
    text_copy(self->name, sizeof self->name, name);
    self->log = xasprintf("%s/%s.log", log_folder, name);
    self->arguments[self->arguments_len++] = cli_sibling(program);
    child_add(self, "--ready-fd=%d", READY_FD);
    child_add(self, "--die-with-parent=%d", (int)getpid());
}

void child_add(struct child *self, const char *format, ...)
{
    va_list args;
    assert(self->arguments_len + 1 < CHILD_ARGUMENTS_MAX);
    va_start(args, format);
    if (vasprintf(&self->arguments[self->arguments_len], format, args) < 0)
        panic("out of memory formatting text");
    va_end(args);
    self->arguments_len++;
}

void child_free(struct child *self)
{
    for (size_t i = 0; i < self->arguments_len; i++)
        free(self->arguments[i]);
    free(self->log);
    if (self->ready_fd >= 0)
        close(self->ready_fd);
    *self = (struct child){.ready_fd = -1};
}

enum status child_start(struct child *self, struct error *why)
{
    int pipe_fds[2];
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    if (pipe2(pipe_fds, O_CLOEXEC) != 0)
        return fail(why, STATUS_IO, "no pipe for %s: %s", self->name, strerror(errno));
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, self->log,
                                     O_WRONLY | O_CREAT | O_APPEND, 0644);
    posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
    posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], READY_FD);
    /* A group of its own: Ctrl-C reaches us alone, and we end the children in order. */
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    int failed = posix_spawn(&self->pid, self->arguments[0], &actions, &attributes, self->arguments,
                             environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    close(pipe_fds[1]);
    if (failed) {
        self->pid = 0;
        close(pipe_fds[0]);
        return fail(why, STATUS_IO, "%s cannot be started: %s", self->arguments[0],
                    strerror(failed));
    }
    if (self->ready_fd >= 0)
        close(self->ready_fd);
    self->ready_fd = pipe_fds[0];
    self->started_ns = clock_mono_ns();
    self->starts++;
    return STATUS_OK;
}

/* The value of reason="..." in a log line, in place; the whole line when there is none. */
static char *reason_in(char *line)
{
    static const char key[] = " reason=\"";
    char *at = strstr(line, key), *to = line;
    if (!at)
        return line;
    for (at += sizeof key - 1; *at && *at != '"'; at++) {
        at += *at == '\\' && at[1];
        *to++ = *at;
    }
    *to = '\0';
    return line;
}

char *child_last_words(const struct child *self, char *into, size_t size)
{
    char tail[4096], *line = tail, *rest = tail, *next;
    FILE *log = fopen(self->log, "rb");
    text_copy(into, size, "its log is empty");
    if (!log)
        return into;
    if (fseek(log, -(long)sizeof tail + 1, SEEK_END) != 0)
        rewind(log);
    size_t length = fread(tail, 1, sizeof tail - 1, log);
    fclose(log);
    tail[length] = '\0';
    bool error = false; /* what is told while it cleans up is of less interest */
    while ((next = strsep(&rest, "\n"))) {
        bool worse = strstr(next, " level=error ") != NULL;
        if (*next && (worse || !error))
            line = next;
        error = error || worse;
    }
    if (length > 0)
        text_copy(into, size, reason_in(line));
    return into;
}

enum status child_ready(struct child *self, char line[static CHILD_READY_MAX], struct error *why)
{
    char words[512];
    size_t used = 0;
    uint64_t end_ns = clock_mono_ns() + PATIENCE_MS * NS_PER_MS;
    while (used < CHILD_READY_MAX - 1 && clock_mono_ns() < end_ns && !cli_interrupted(NULL)) {
        struct pollfd item = {self->ready_fd, POLLIN, 0};
        if (poll(&item, 1, 100) <= 0)
            continue;
        ssize_t got = read(self->ready_fd, line + used, CHILD_READY_MAX - 1 - used);
        if (got <= 0)
            break;
        used += (size_t)got;
        if (line[used - 1] == '\n')
            break;
    }
    line[used] = '\0';
    close(self->ready_fd);
    self->ready_fd = -1;
    if (used > 0 && line[used - 1] == '\n')
        return STATUS_OK;
    return fail(why, STATUS_IO, "%s does not start: %s (log: %s)", self->name,
                child_last_words(self, words, sizeof words), self->log);
}

char *child_endpoint(const char *line, const char *name, char *into, size_t size)
{
    size_t length = strlen(name);
    into[0] = '\0';
    for (const char *at = line; at; at = strchr(at, ' ')) {
        at += strspn(at, " ");
        if (strncmp(at, name, length) == 0 && at[length] == '=') {
            text_copy(into, size, at + length + 1);
            into[strcspn(into, " \n")] = '\0';
            return into;
        }
    }
    return into;
}
