/* daemon - parameters, signals, the loop around a role's step, the end; see daemon.h */
#include "common/daemon.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/notify.h"

#include <czmq.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#define ENDPOINTS_MAX    8
#define STEP_MS          1000 /* longest wait of a step: bounds how late timers here are seen */
#define STEP_DRAINING_MS 100

/* Blocks of megabytes come and go with every message. Kept by the allocator they cost a copy; given
 * back to the kernel each time, a page fault for every 4 KiB as well. */
#define HEAP_KEPT_BYTES (32 * (int)MIB)

struct daemon_params {
#define PARAM PARAM_FIELD
#include "common/daemon.def"
#undef PARAM
};

#define PARAMS_STRUCT struct daemon_params
static const struct param daemon_rows[] = {
#define PARAM PARAM_ROW
#include "common/daemon.def"
#undef PARAM
};
#undef PARAMS_STRUCT

struct endpoint_name {
    char name[32];     /* "control" */
    char address[256]; /* "tcp://127.0.0.1:5701" */
};

struct daemon_run {
    const struct daemon *self;
    void *role;                  /* what start made */
    struct daemon_params params; /* of daemon.def */
    void *role_params;           /* of the role's params.def */
    sigset_t signals;            /* blocked, and read from signal_fd */
    int signal_fd;               /* -1 until made */
    struct notify notify;        /* systemd, if it listens */
    struct endpoint_name endpoints[ENDPOINTS_MAX];
    size_t nendpoints;
    sigset_t seen;           /* signals that came: the same one again means stop_now */
    bool draining;           /* a signal came, or the role asked */
    bool stop_now;           /* a signal came again */
    uint64_t drain_until_ns; /* give up waiting for held work then */
};

/* --- parameters --- */
static void say_wish(const struct daemon_run *run, enum params_wish wish,
                     const struct param_group *groups, size_t ngroups)
{
    char *program = xasprintf("convoy-%s", run->self->name);
    if (wish == PARAMS_HELP)
        params_print_help(stdout, program, run->self->purpose, groups, ngroups);
    else if (wish == PARAMS_VERSION)
        printf("%s %s\n", program, CONVOY_VERSION);
    else
        params_print_config(stdout, groups, ngroups);
    free(program);
}

static int refuse(const struct daemon_run *run, int code, const char *text)
{
    fprintf(stderr, "convoy-%s: %s\n", run->self->name, text);
    return code;
}

/* -1: go on; anything else is the exit status. */
static int read_params(struct daemon_run *run, const struct param_group *groups, size_t ngroups,
                       int argc, char **argv)
{
    enum params_wish wish;
    enum log_level level;
    struct error why;
    if (params_load(groups, ngroups, argc, argv, &wish, &why) != STATUS_OK)
        return refuse(run, wish == PARAMS_WRONG_USAGE ? EX_USAGE : EX_CONFIG, why.text);
    if (wish != PARAMS_RUN) {
        say_wish(run, wish, groups, ngroups);
        return EX_OK;
    }
    if (!log_level_parse(&level, run->params.log_level))
        return refuse(run, EX_CONFIG, "log_level: expected error, warn, info or debug");
    log_start(run->self->name, level);
    return -1;
}

/* --- the process --- */
static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        LOG_WARN("file_limit_not_raised", "reason=%s", strerror(errno));
}

static void take_signals(struct daemon_run *run)
{
    sigemptyset(&run->seen);
    sigemptyset(&run->signals);
    sigaddset(&run->signals, SIGINT);
    sigaddset(&run->signals, SIGTERM);
    sigaddset(&run->signals, SIGHUP);
    if (run->self->child)
        sigaddset(&run->signals, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &run->signals, NULL) != 0)
        panic("signals cannot be blocked: %s", strerror(errno));
    run->signal_fd = signalfd(-1, &run->signals, SFD_NONBLOCK | SFD_CLOEXEC);
    if (run->signal_fd < 0)
        panic("no descriptor for signals: %s", strerror(errno));
    signal(SIGPIPE, SIG_IGN);
}

/* czmq would catch our signals and print on stdout otherwise. */
static void quieten_czmq(void)
{
    zsys_handler_set(NULL);
    zsys_set_logsystem(false);
    zsys_set_logstream(NULL);
}

bool daemon_follow_parent(pid_t parent_pid)
{
    return prctl(PR_SET_PDEATHSIG, SIGTERM) == 0 && getppid() == parent_pid;
}

void daemon_child_reset(void)
{
    sigset_t none;
    sigemptyset(&none);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* -1: go on; anything else is the exit status. */
static int prepare(struct daemon_run *run)
{
    int ready_fd = (int)run->params.ready_fd;
    take_signals(run);
    quieten_czmq();
    raise_file_limit();
    umask(077); /* keys, the ledger and what people sent are for our own user */
    if (ready_fd && fcntl(ready_fd, F_SETFD, FD_CLOEXEC) != 0)
        return refuse(run, EX_USAGE, "--ready-fd: expected an open descriptor");
    if (run->params.die_with_parent && !daemon_follow_parent((pid_t)run->params.die_with_parent))
        return refuse(run, EX_TEMPFAIL, "--die-with-parent: this is not the parent, or it is gone");
    run->notify = notify_open();
    return -1;
}

/* --- ready --- */
void daemon_endpoint(struct daemon_run *run, const char *name, const char *address)
{
    assert(run->nendpoints < ENDPOINTS_MAX);
    struct endpoint_name *endpoint = &run->endpoints[run->nendpoints++];
    text_copy(endpoint->name, sizeof endpoint->name, name);
    text_copy(endpoint->address, sizeof endpoint->address, address);
}

int daemon_signal_fd(const struct daemon_run *run)
{
    return run->signal_fd;
}

/* One write, so that the reader gets the whole line or nothing. */
static void tell_ready_fd(const struct daemon_run *run)
{
    char line[ENDPOINTS_MAX * sizeof(struct endpoint_name)];
    size_t used = 0;
    int fd = (int)run->params.ready_fd;
    for (size_t i = 0; i < run->nendpoints; i++)
        used += (size_t)snprintf(line + used, sizeof line - used, "%s%s=%s", i ? " " : "",
                                 run->endpoints[i].name, run->endpoints[i].address);
    line[used++] = '\n';
    if (write(fd, line, used) != (ssize_t)used)
        LOG_WARN("ready_fd_failed", "fd=%d", fd);
    close(fd);
}

static void tell_ready(const struct daemon_run *run)
{
    for (size_t i = 0; i < run->nendpoints; i++)
        LOG_INFO("bound", "name=%s address=%s", run->endpoints[i].name, run->endpoints[i].address);
    LOG_INFO("ready", "pid=%d version=%s", (int)getpid(), CONVOY_VERSION);
    notify_send(&run->notify, "READY=1");
    if (run->params.ready_fd)
        tell_ready_fd(run);
}

/* --- the loop --- */
void daemon_drain(struct daemon_run *run)
{
    if (run->draining)
        return;
    run->draining = true;
    run->drain_until_ns = clock_mono_ns() + run->params.drain_ms * NS_PER_MS;
    LOG_INFO("draining", "drain_ms=%u", run->params.drain_ms);
    notify_send(&run->notify, "STOPPING=1");
}

static void reap_children(struct daemon_run *run)
{
    int wait_status;
    pid_t pid;
    while ((pid = waitpid(-1, &wait_status, WNOHANG)) > 0)
        run->self->child(run->role, pid, wait_status);
}

static void read_signals(struct daemon_run *run)
{
    struct signalfd_siginfo info;
    while (read(run->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD) {
            reap_children(run);
            continue;
        }
        LOG_INFO("signal", "number=%u from_pid=%u", info.ssi_signo, info.ssi_pid);
        if (info.ssi_signo == SIGHUP && run->self->reload && run->self->reload(run->role))
            continue;
        run->stop_now |= sigismember(&run->seen, (int)info.ssi_signo) == 1;
        sigaddset(&run->seen, (int)info.ssi_signo);
        daemon_drain(run);
    }
}

/* Whether the role may end now. */
static bool drained(struct daemon_run *run)
{
    if (!run->draining)
        return false;
    if (!run->self->drain || run->self->drain(run->role))
        return true;
    if (clock_mono_ns() < run->drain_until_ns)
        return false;
    LOG_WARN("drain_given_up", "drain_ms=%u", run->params.drain_ms);
    return true;
}

static int loop(struct daemon_run *run)
{
    struct error why = {.status = STATUS_OK};
    for (;;) {
        read_signals(run);
        if (run->stop_now || drained(run))
            return EX_OK;
        uint64_t wait_ms = run->draining ? STEP_DRAINING_MS : STEP_MS;
        if (run->notify.watchdog_ns)
            wait_ms = MIN(wait_ms, run->notify.watchdog_ns / NS_PER_MS);
        if (run->self->step(run->role, (int)wait_ms, &why) != STATUS_OK) {
            LOG_ERROR("failed", "status=%s reason=%s", status_name(why.status), why.text);
            return EX_SOFTWARE;
        }
        notify_alive(&run->notify, clock_mono_ns());
    }
}

/* --- the whole life --- */
static int exit_status_of(enum status status)
{
    switch (status) {
    case STATUS_UNAVAILABLE:
    case STATUS_CONFLICT:
    case STATUS_BUSY:
    case STATUS_IO:
    case STATUS_STORAGE_FULL:
    case STATUS_CANCELLED:
        return EX_TEMPFAIL;
    case STATUS_INTERNAL:
        return EX_SOFTWARE;
    default: /* whatever else a start can say is about what it was told to do */
        return EX_CONFIG;
    }
}

static int live(struct daemon_run *run)
{
    struct error why = {.status = STATUS_OK};
    int code;
    enum status status = run->self->start(&run->role, run->role_params, run, &why);
    if (status != STATUS_OK) {
        LOG_ERROR("start_failed", "status=%s reason=%s", status_name(status), why.text);
        code = exit_status_of(status);
    } else {
        tell_ready(run);
        code = loop(run);
    }
    run->self->stop(&run->role);
    if (status == STATUS_OK)
        LOG_INFO("stopped", "exit_status=%d", code);
    return code;
}

int daemon_main(const struct daemon *self, int argc, char **argv)
{
    struct daemon_run run = {.self = self, .signal_fd = -1, .notify = {.fd = -1}};
    mallopt(M_MMAP_THRESHOLD, HEAP_KEPT_BYTES);
    mallopt(M_TRIM_THRESHOLD, HEAP_KEPT_BYTES);
    run.role_params = xcalloc(1, self->params_bytes);
    const struct param_group groups[] = {
        {"Parameters of this program", self->params, self->nparams, run.role_params},
        {"Parameters of every daemon", daemon_rows, ARRAY_LEN(daemon_rows), &run.params},
    };
    int code = read_params(&run, groups, ARRAY_LEN(groups), argc, argv);
    if (code < 0)
        code = prepare(&run);
    if (code < 0)
        code = live(&run);
    log_flush();
    notify_close(&run.notify);
    if (run.signal_fd >= 0)
        close(run.signal_fd);
    params_free(groups, ARRAY_LEN(groups));
    free(run.role_params);
    return code;
}
