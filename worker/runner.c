/* runner - the agent's side: start, watch, replace; see runner.h */
#include "worker/runner.h"

#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAUSE_FIRST_NS (50 * NS_PER_MS)
#define PAUSE_MAX_NS   (5 * NS_PER_S)

struct runner {
    struct runner_config config;
    pid_t pid;         /* 0: no child */
    int pidfd;         /* -1: no child */
    uint64_t start_ns; /* no child: not before */
    uint64_t pause_ns; /* after the next death without a batch */
    char reason[256];  /* why we killed it; "" when we did not */
};

struct runner *runner_new(const struct runner_config *config)
{
    struct runner *self = xcalloc(1, sizeof *self);
    self->config = *config;
    self->pidfd = -1;
    return self;
}

static void let_go(struct runner *self)
{
    if (self->pidfd >= 0)
        close(self->pidfd);
    self->pidfd = -1;
    self->pid = 0;
}

void runner_destroy(struct runner **self_p)
{
    struct runner *self = *self_p;
    if (!self)
        return;
    if (self->pid > 0) {
        kill(self->pid, SIGKILL);
        while (waitpid(self->pid, NULL, 0) < 0 && errno == EINTR)
            ;
        let_go(self);
    }
    free(self);
    *self_p = NULL;
}

/* The environment, with OpenMP's threads asleep between kernels where the user has not said
 * otherwise: broker, gateway and other workers need the same cores. Measured on 2 busy cores, a
 * batch of 256 images by 2 threads: 19 ms, spinning 1000 times 21 ms, 20000 times 65 ms. */
static char **child_environment(void)
{
    static const char *const ours[] = {"OMP_WAIT_POLICY=passive", "OMP_DYNAMIC=false"};
    size_t len = 0, used = 0;
    while (environ[len])
        len++;
    char **list = xcalloc(len + ARRAY_LEN(ours) + 1, sizeof *list);
    for (; used < len; used++)
        list[used] = environ[used];
    if (!getenv("OMP_WAIT_POLICY") && !getenv("GOMP_SPINCOUNT"))
        list[used++] = (char *)(uintptr_t)ours[0];
    if (!getenv("OMP_DYNAMIC"))
        list[used++] = (char *)(uintptr_t)ours[1];
    return list;
}

/* Start the program again with these arguments; signals as they are by default, none blocked. */
static int spawn(struct runner *self, char *const *argv)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    char **environment = child_environment();
    int memory_fd = ring_memory_fd(self->config.ring), bell_fd = ring_bell_fd(self->config.ring);
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, memory_fd, memory_fd); /* clears close-on-exec */
    posix_spawn_file_actions_adddup2(&files, bell_fd, bell_fd);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int error = posix_spawn(&self->pid, "/proc/self/exe", &files, &attributes, argv, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    free(environment);
    return error;
}

enum status runner_start(struct runner *self, uint64_t now_ns, struct error *why)
{
    char memory[16], bell[16], parent[16], threads[16], bytes[32];
    if (self->pid > 0 || now_ns < self->start_ns)
        return STATUS_OK;
    ring_reset(self->config.ring);
    snprintf(memory, sizeof memory, "%d", ring_memory_fd(self->config.ring));
    snprintf(bell, sizeof bell, "%d", ring_bell_fd(self->config.ring));
    snprintf(parent, sizeof parent, "%d", (int)getpid());
    snprintf(threads, sizeof threads, "%" PRIu32, self->config.threads);
    snprintf(bytes, sizeof bytes, "%" PRIu64, self->config.model_bytes_max);
    char *argv[] = {
        "convoy-runner", RUNNER_ARGUMENT, memory, bell, parent, (char *)(uintptr_t)self->config.isa,
        threads,         bytes,           NULL};
    self->reason[0] = '\0';
    int error = spawn(self, argv);
    if (error != 0) {
        self->pid = 0;
        self->start_ns = now_ns + PAUSE_MAX_NS;
        return fail(why, STATUS_UNAVAILABLE, "cannot start the runner process: %s",
                    strerror(error));
    }
    self->pidfd = pidfd_open(self->pid, 0);
    if (self->pidfd < 0)
        panic("no descriptor for the runner %d: %s", (int)self->pid, strerror(errno));
    return STATUS_OK;
}

bool runner_alive(const struct runner *self)
{
    return self->pid > 0;
}

uint64_t runner_start_ns(const struct runner *self)
{
    return self->pid > 0 ? 0 : self->start_ns;
}

pid_t runner_pid(const struct runner *self)
{
    return self->pid;
}

int runner_fd(const struct runner *self)
{
    return self->pidfd;
}

static void describe_end(const struct runner *self, const siginfo_t *end, char *text, size_t size)
{
    if (self->reason[0])
        snprintf(text, size, "%s", self->reason);
    else if (end->si_code == CLD_EXITED)
        snprintf(text, size, "ended with exit status %d", end->si_status);
    else
        snprintf(text, size, "killed by signal %d (%s)", end->si_status, strsignal(end->si_status));
}

bool runner_ended(struct runner *self, uint64_t now_ns, char *text, size_t size)
{
    siginfo_t end = {0};
    if (self->pid <= 0 || waitid(P_PIDFD, (id_t)self->pidfd, &end, WEXITED | WNOHANG) != 0 ||
        end.si_pid == 0)
        return false;
    describe_end(self, &end, text, size);
    let_go(self);
    bool worked = ring_completed(self->config.ring) > 0;
    self->start_ns = worked ? now_ns : now_ns + self->pause_ns;
    self->pause_ns = worked ? 0 : MIN(MAX(2 * self->pause_ns, PAUSE_FIRST_NS), PAUSE_MAX_NS);
    return true;
}

void runner_kill(struct runner *self, const char *why)
{
    if (self->pid <= 0)
        return;
    text_copy(self->reason, sizeof self->reason, why);
    kill(self->pid, SIGKILL);
}
