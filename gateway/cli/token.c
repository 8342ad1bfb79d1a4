/* convoy token - make, list and remove the lines that let new machines join */
#include "gateway/cli/answer.h"
#include "gateway/cli/table.h"
#include "gateway/cli/verbs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define USES_MAX 1000000

struct arguments {
    struct verb_words words; /* first */
    const char *role;        /* create: worker or gateway */
    const char *host; /* create: our name for the new machine; NULL: as the gateway knows it */
    long uses;        /* create: nodes that it admits */
    long long ttl_s;  /* create: how long */
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case 't':
        a->ttl_s = cli_seconds(argument);
        if (a->ttl_s < 0)
            argp_error(state, "--ttl is \"%s\", expected a time like 90s, 30m, 1h or 7d", argument);
        return 0;
    case 'n':
        a->uses = verbs_number(state, "--uses", argument, 1, USES_MAX);
        return 0;
    case 'r':
        a->role = argument;
        return 0;
    case 'H':
        a->host = argument;
        return 0;
    default:
        return verbs_parse(key, argument, state, &a->words);
    }
}

/* "12m": what is left until then, or "-". */
static const char *left_text(char *into, size_t size, int64_t until)
{
    long long left = until - (long long)time(NULL);
    if (left <= 0)
        snprintf(into, size, "-");
    else if (left < 120)
        snprintf(into, size, "%llds", left);
    else if (left < 7200)
        snprintf(into, size, "%lldm", left / 60);
    else
        snprintf(into, size, "%lldh", left / 3600);
    return into;
}

/* On stderr, so that the line alone can be taken by a script. */
static void explain(const json_t *token)
{
    size_t i;
    json_t *broker;
    char left[32];
    json_int_t uses = json_integer_value(json_object_get(token, "uses"));
    const char *role = answer_text(token, "role");
    if (cli_options.quiet)
        return;
    fprintf(stderr,
            "admits %" JSON_INTEGER_FORMAT " %s%s within %s; on the new machine:\n"
            "  convoy-%s --join TOKEN\n",
            uses, role, uses == 1 ? "" : "s",
            left_text(left, sizeof left, json_integer_value(json_object_get(token, "expires_at"))),
            role);
    json_array_foreach(json_object_get(token, "brokers"), i, broker)
    {
        const char *address = json_string_value(broker);
        if (strstr(address, "//127.") || strstr(address, "//localhost") || strstr(address, "[::1]"))
            fprintf(stderr,
                    "note: it names the broker %s, which only this machine reaches; --host NAME "
                    "puts in another name for it\n",
                    address);
    }
}

static enum status token_create(struct client *client, void *arguments, struct error *why)
{
    const struct arguments *a = arguments;
    json_t *answer;
    json_t *body = json_pack("{s:s, s:I, s:I}", "role", a->role, "uses", (json_int_t)a->uses,
                             "ttl_s", (json_int_t)a->ttl_s);
    if (a->host)
        json_object_set_new(body, "host", json_string(a->host));
    enum status s = client_call(client, "POST", "/v1/tokens", body, NULL, &answer, why);
    json_decref(body);
    if (s != STATUS_OK)
        return s;
    if (cli_options.json) {
        answer_print(answer);
    } else {
        puts(answer_text(answer, "token"));
        explain(answer);
    }
    json_decref(answer);
    return s;
}

static void print_tokens(const json_t *list)
{
    size_t i;
    json_t *token;
    struct table *table = table_new("ID", "ADMITS", "USED", "OF", "STATE", "LEFT", NULL);
    json_array_foreach(list, i, token)
    {
        char left[32];
        table_cell(table, "%s", answer_text(token, "id"));
        table_cell(table, "%ss", answer_text(token, "role"));
        table_number(table, json_integer_value(json_object_get(token, "used")));
        table_number(table, json_integer_value(json_object_get(token, "uses")));
        table_cell(table, "%s", answer_text(token, "state"));
        table_cell(
            table, "%s",
            left_text(left, sizeof left, json_integer_value(json_object_get(token, "expires_at"))));
    }
    if (json_array_size(list) == 0)
        puts("no tokens; `convoy token create` makes one");
    table_print(table, stdout);
    table_destroy(&table);
}

static enum status token_list(struct client *client, void *arguments, struct error *why)
{
    (void)arguments;
    return answer_list(client, "/v1/tokens", "data", print_tokens, why);
}

static enum status token_rm(struct client *client, void *arguments, struct error *why)
{
    const struct arguments *a = arguments;
    json_t *answer;
    enum status s = answer_ask(client, "DELETE", "/v1/tokens/", a->words.id, "", &answer, why);
    if (s == STATUS_OK)
        json_decref(answer);
    return s;
}

int cli_token(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"ttl", 't', "TIME", 0, "create: how long it admits, like 30m or 7d (1h)", 0},
        {"role", 'r', "ROLE", 0, "create: what it admits, worker or gateway (worker)", 0},
        {"uses", 'n', "N", 0, "create: how many nodes it admits (1)", 0},
        {"host", 'H', "HOST", 0,
         "create: name or address by which the new machine reaches a broker "
         "that this machine knows as 127.0.0.1",
         0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "create [--ttl TIME] [--role ROLE] [--uses N]\nlist\nrm ID",
        .doc =
            "Make the one line that lets a new machine join: there, `convoy-worker --join LINE`. "
            "Whoever has the line can join: treat it as a password.",
        .children = cli_globals,
    };
    static const struct verb verbs[] = {{"list", NULL, false, token_list, 0},
                                        {"create", NULL, false, token_create, 0},
                                        {"rm", "a token's ID", false, token_rm, 0}};
    struct arguments a = {.role = "worker", .uses = 1, .ttl_s = 3600};
    cli_parse(&argp, argc, argv, &a);
    return verbs_run(verbs, ARRAY_LEN(verbs), &a);
}
