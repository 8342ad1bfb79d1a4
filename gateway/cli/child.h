/* child - a program of the fleet that `convoy up` runs
 *
 * Started beside this program's own file, with its log in a file, told to end when we do. */
#ifndef CONVOY_GATEWAY_CLI_CHILD_H
#define CONVOY_GATEWAY_CLI_CHILD_H

#include "common/status.h"

#include <sys/types.h>

#define CHILD_ARGUMENTS_MAX 32
#define CHILD_READY_MAX     512

struct child {
    char name[32];                        /* "worker-1" */
    char *arguments[CHILD_ARGUMENTS_MAX]; /* ours, ended by NULL; [0] is the program's path */
    size_t arguments_len;
    char *log;           /* path of its log */
    pid_t pid;           /* 0: not running */
    int ready_fd;        /* its ready line comes here; -1: it came */
    uint64_t started_ns; /* when it was started last */
    unsigned starts;     /* how often */
};

/* Name the program and its log; add arguments by child_add. */
void child_make(struct child *self, const char *name, const char *program, const char *log_folder);
void child_add(struct child *self, const char *format, ...) PRINTF_LIKE(2, 3);
void child_free(struct child *self);

/* Start it (again). */
enum status child_start(struct child *self, struct error *why);

/* Wait until it is ready and give its line, "control=tcp://... data=...": UNAVAILABLE when it ended
 * instead, with the last line of its log in the text. */
enum status child_ready(struct child *self, char line[static CHILD_READY_MAX], struct error *why);

/* The value of NAME= in a ready line; "" when it is not there. */
char *child_endpoint(const char *line, const char *name, char *into, size_t size);

/* Why it ended: the reason of the last error in its log, else the log's last line. */
char *child_last_words(const struct child *self, char *into, size_t size);

#endif
