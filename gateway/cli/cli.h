/* cli - what every command of `convoy` shares: the list of commands, options, errors, exit codes
 *
 * A command prints results on stdout, everything else on stderr, and returns an exit code of the
 * list below. It adds cli_globals to its argp, so that --gateway works everywhere. One thread. */
#ifndef CONVOY_GATEWAY_CLI_CLI_H
#define CONVOY_GATEWAY_CLI_CLI_H

#include "gateway/client/client.h"

#include <argp.h>

/* Exit codes, for scripts; README and `convoy help` print this list. */
#define CLI_EXITS(X)                                                                               \
    X(OK, 0, "it worked")                                                                          \
    X(ROWS_FAILED, 1, "the job ended, but some rows failed, or it failed or was cancelled")        \
    X(USAGE, 2, "wrong arguments")                                                                 \
    X(BAD_MODEL, 3, "the model cannot run; the operators or the reason are named")                 \
    X(UNREACHABLE, 4, "the gateway cannot be reached")                                             \
    X(REFUSED, 5, "the gateway refused the request, or an input file is wrong")                    \
    X(LOCAL, 6, "something on this machine failed: a file, a port, a program")                     \
    X(INTERRUPTED, 130, "interrupted by Ctrl-C")

enum cli_exit {
#define X(name, code, meaning) CLI_EXIT_##name = code,
    CLI_EXITS(X)
#undef X
};

struct cli_options {
    const char *gateway; /* URL: --gateway, else CONVOY_GATEWAY, else http://127.0.0.1:8000 */
    const char *ca;      /* PEM file: --ca, else CONVOY_CA; NULL: what the system trusts */
    const char
        *key_file; /* --key-file: its first line is the API key; NULL: CONVOY_API_KEY is it */
    bool json;     /* --json: machine-readable output where a command has one */
    bool quiet;    /* --quiet: no progress */
};
extern struct cli_options cli_options;

/* To be a command's argp children: --gateway, --json, --quiet. */
extern const struct argp_child cli_globals[];

/* Name of the running command for messages ("convoy score"); set by main. */
extern const char *cli_command;

/* A client for cli_options.gateway. `patience_ms` as in client_config. Exits with a message when
 * the URL is none. */
struct client *cli_connect(uint32_t patience_ms);

#define CLI_PATIENCE_MS 600000 /* jobs survive a restart of the gateway: so long it may take */

/* The same for what outlives a restart of the gateway: it is asked whether it is there, which must
 * be so now; later its absence is waited out. */
enum status cli_connect_present(struct client **out, struct error *why);

/* Print "convoy score: <sentence>" and the hint that belongs to it; returns the exit code. */
int cli_fail(const struct error *why);

/* "90s", "30m", "1h" or "7d" in seconds; -1: it is none, or more than 100 years. */
long long cli_seconds(const char *text);

/* Ctrl-C: the first sets a flag that clients and loops look at; the second ends at once. */
void cli_catch_interrupts(void);

/* common/LIMITS.md. */
void cli_print_limits(void);
bool cli_interrupted(void *arg);

/* Run argp over the arguments; like argp_parse, with a usage error exiting CLI_EXIT_USAGE. */
void cli_parse(const struct argp *argp, int argc, char **argv, void *input);

/* Path of a program that was installed beside this one; the caller frees it. */
char *cli_sibling(const char *program);

/* Become convoy-run, the worker's engine, which this program does not contain: argv[1] on are its
 * arguments. Returns an exit code when it cannot be started. */
int cli_engine(char **argv);

/* The commands. argv[0] is the command's name. */
#define COMMAND(name, arguments, summary) int cli_##name(int argc, char **argv);
#include "gateway/cli/commands.def"
#undef COMMAND

#endif
