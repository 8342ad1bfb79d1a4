/* daemon - what every long-running program does at start, at signals and at the end
 *
 *   int main(int argc, char **argv)
 *   {
 *       static const struct daemon role = {
 *           .name = "broker",
 *           .purpose = "Matches tasks with workers; keeps nothing on disk.",
 *           .params = params, .nparams = ARRAY_LEN(params),
 *           .params_bytes = sizeof(struct broker_params),
 *           .start = broker_start, .step = broker_step, .drain = broker_drain, .stop = broker_stop,
 *       };
 *       return daemon_main(&role, argc, argv);
 *   }
 *
 * Life: parameters -> start -> "event=ready" -> step, step, ... -> first SIGTERM, SIGINT, or SIGHUP
 * where the role has nothing to reload: drain is asked before every step until it says done or
 * --drain-ms is over -> stop. The same signal again stops at once; another one does not, because
 * Ctrl-C reaches a whole terminal and a parent that hears it says SIGTERM as well. All callbacks
 * run on the main thread.
 *
 * Set for the role: signals are blocked in every thread and arrive on a descriptor, SIGPIPE is
 * ignored, czmq's handlers and log are off, the soft limit of open files is raised to the hard one.
 * Under systemd: READY=1, STOPPING=1 and, when asked for, WATCHDOG=1 on NOTIFY_SOCKET.
 *
 * Exit status: 0 ended on request (also when held work was given up), 64 wrong usage, 70 a bug, 75
 * cannot start now (address in use, file locked, disk full), 78 wrong configuration. */
#ifndef CONVOY_COMMON_DAEMON_H
#define CONVOY_COMMON_DAEMON_H

#include "common/params.h"
#include "common/status.h"

#include <sys/types.h>

/* The process as its role sees it; belongs to daemon_main and outlives the role. */
struct daemon_run;

struct daemon {
    const char *name;           /* "broker": the program is convoy-broker */
    const char *purpose;        /* one sentence for --help */
    const struct param *params; /* rows of the role's params.def */
    size_t nparams;             /* how many */
    size_t params_bytes;        /* sizeof the struct that the rows fill */

    /* Make *role and bind, or fail and leave *role for `stop` (NULL is fine). `params` points to
     * the role's filled struct and stays valid until the end. Name bound addresses by
     * daemon_endpoint. INVALID ends with 78, UNAVAILABLE, CONFLICT, BUSY, IO, STORAGE_FULL
     * or CANCELLED with 75. */
    enum status (*start)(void **role, const void *params, struct daemon_run *run,
                         struct error *why);

    /* Wait for events at most `timeout_ms` (0: do not wait) and do a bounded amount of work. The
     * role polls daemon_signal_fd(run) beside its own, so that a signal ends the wait; it does not
     * read it. Anything but OK ends the program with 70. */
    enum status (*step)(void *role, int timeout_ms, struct error *why);

    /* First call: refuse new work from now on. True as soon as nothing is held any more. NULL: done
     * at once. */
    bool (*drain)(void *role);

    /* SIGHUP came: begin to read again what can change while we run. False: there is nothing of the
     * kind, and SIGHUP drains as the others do. NULL: likewise. */
    bool (*reload)(void *role);

    /* Free everything in reverse order of start; *role may be NULL or half-made; sets it to NULL.
     */
    void (*stop)(void **role);

    /* A child process ended (waitpid's status). NULL: the role has no children, none is reaped. */
    void (*child)(void *role, pid_t pid, int wait_status);
};

/* Run the role to its end; returns the exit status for main. */
int daemon_main(const struct daemon *self, int argc, char **argv);

/* Readable when a signal waits: put it into the role's poll set for reading. Never read it. */
int daemon_signal_fd(const struct daemon_run *run);

/* During start: publish a bound address under a short name ("control", "data", "http"). It is
 * logged (event=bound) and stands in --ready-fd's line as NAME=ADDRESS, separated by one space.
 * Both texts are copied; at most 8 of them. */
void daemon_endpoint(struct daemon_run *run, const char *name, const char *address);

/* Begin to drain as if SIGTERM had come: the role itself wants to end. Main thread. */
void daemon_drain(struct daemon_run *run);

/* In a child between fork and exec: unblock signals and take SIGPIPE back to its default. */
void daemon_child_reset(void);

/* Deliver SIGTERM to this process when the thread that started it ends. False when the parent is no
 * longer `parent_pid`: it is gone already, so end at once. */
bool daemon_follow_parent(pid_t parent_pid);

#endif
