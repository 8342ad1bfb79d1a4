#include "gateway/cli/verbs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

error_t verbs_parse(int key, char *argument, struct argp_state *state, struct verb_words *words)
{
    if (key == VERBS_OPTION_ALL)
        words->all = true;
    else if (key != ARGP_KEY_ARG)
        return ARGP_ERR_UNKNOWN;
    else if (words->verb && words->id)
        argp_error(state, "\"%s\" is too much", argument);
    else
        *(words->verb ? &words->id : &words->verb) = argument;
    return 0;
}

long verbs_number(struct argp_state *state, const char *option, const char *text, long least,
                  long most)
{
    char *end = NULL;
    long number = strtol(text, &end, 10);
    if (end == text || *end || number < least || number > most)
        argp_error(state, "%s is \"%s\", expected %ld to %ld", option, text, least, most);
    return number;
}

static int unknown(const struct verb *verbs, size_t len, const char *verb)
{
    fprintf(stderr, "%s: \"%s\" is none of ", cli_command, verb);
    for (size_t i = 0; i < len; i++)
        fprintf(stderr, "%s%s", i ? ", " : "", verbs[i].name);
    fputc('\n', stderr);
    return CLI_EXIT_USAGE;
}

/* False, and said on stderr: the words are not those that the verb takes. */
static bool fits(const struct verb *verb, const struct verb_words *words)
{
    bool all = words->all && verb->or_all;
    if (words->all && !verb->or_all)
        fprintf(stderr, "%s %s: --all does not go with it\n", cli_command, verb->name);
    else if (words->id && (!verb->needs || all))
        fprintf(stderr, "%s %s: \"%s\" is too much\n", cli_command, verb->name, words->id);
    else if (!words->id && verb->needs && !all)
        fprintf(stderr, "%s %s: expected %s%s; `%s list` shows what is there\n", cli_command,
                verb->name, verb->needs, verb->or_all ? " or --all" : "", cli_command);
    else
        return true;
    return false;
}

int verbs_run(const struct verb *verbs, size_t len, void *arguments)
{
    struct verb_words *words = arguments;
    struct error why;
    size_t i = 0;
    while (words->verb && i < len && strcmp(verbs[i].name, words->verb) != 0)
        i++;
    if (i == len)
        return unknown(verbs, len, words->verb);
    if (!fits(&verbs[i], words))
        return CLI_EXIT_USAGE;
    cli_catch_interrupts();
    struct client *client = cli_connect(verbs[i].patience_ms);
    enum status s = verbs[i].run(client, arguments, &why);
    client_destroy(&client);
    return s == STATUS_OK ? words->code : cli_fail(&why);
}
