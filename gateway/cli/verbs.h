/* verbs - commands of the form `convoy jobs VERB [ID]`
 *
 * Such a command's arguments begin with a struct verb_words, its parser hands what is no option of
 * its own to verbs_parse, and verbs_run finds the verb's row, says what is wrong with the words, or
 * runs it with a client. One thread. */
#ifndef CONVOY_GATEWAY_CLI_VERBS_H
#define CONVOY_GATEWAY_CLI_VERBS_H

#include "gateway/cli/cli.h"

struct verb_words {
    const char *verb; /* NULL: the first of the list */
    const char *id;   /* what it is for; NULL: nothing was named */
    bool all;         /* --all: for each of them */
    int code;         /* the exit code when it worked; CLI_EXIT_OK unless the verb sets another */
};

struct verb {
    const char *name;
    const char *needs; /* what follows it: "a job's ID"; NULL: nothing does */
    bool or_all;       /* or --all */
    enum status (*run)(struct client *client, void *arguments, struct error *why);
    uint32_t patience_ms; /* as in client_config */
};

enum { VERBS_OPTION_ALL = 0x2f00 }; /* of a command that has --all */

/* Takes the verb, what it is for, and --all. */
error_t verbs_parse(int key, char *argument, struct argp_state *state, struct verb_words *words);

/* A number of an option from `least` to `most`; a usage error says otherwise. */
long verbs_number(struct argp_state *state, const char *option, const char *text, long least,
                  long most);

/* `arguments` begins with its struct verb_words. Returns the exit code. */
int verbs_run(const struct verb *verbs, size_t len, void *arguments);

#endif
