/* convoy nodes - who may take part: list, show, revoke, drain, resume, rotate */
#include "gateway/cli/cli.h"

#include "gateway/cli/table.h"

#include "common/clock.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROTATE_MS 15000 /* for a node to take its new key */
#define LOOK_MS   200   /* between two looks whether it has */

struct arguments {
    const char *verb; /* of the table below */
    const char *name; /* of the node */
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct arguments *a = state->input;
    if (key != ARGP_KEY_ARG)
        return ARGP_ERR_UNKNOWN;
    if (a->verb && a->name)
        argp_error(state, "\"%s\" is too much", argument);
    *(a->verb ? &a->name : &a->verb) = argument;
    return 0;
}

static const char *text_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* What the registry says of it, or, of a member, whether it is there. */
static const char *state_text(const json_t *node)
{
    const json_t *connected = json_object_get(node, "connected");
    const char *state = text_at(node, "state");
    if (json_object_get(node, "ends_at"))
        return strcmp(state, "revoked") == 0 ? state : "replaced";
    if (strcmp(state, "member") != 0 || !connected)
        return state;
    return json_is_true(connected) ? "connected" : "away";
}

static void date_text(char *into, size_t size, const json_t *node, const char *key)
{
    time_t when = (time_t)json_integer_value(json_object_get(node, key));
    struct tm local;
    localtime_r(&when, &local);
    strftime(into, size, "%Y-%m-%d %H:%M", &local);
}

static void print_nodes(const json_t *list)
{
    size_t i;
    json_t *node;
    struct table *table = table_new("NAME", "ROLE", "STATE", "KEY", "JOINED", NULL);
    json_array_foreach(list, i, node)
    {
        char joined[32];
        date_text(joined, sizeof joined, node, "joined_at");
        table_cell(table, "%s", text_at(node, "name"));
        table_cell(table, "%s", text_at(node, "role"));
        table_cell(table, "%s", state_text(node));
        table_cell(table, "%s", text_at(node, "fingerprint"));
        table_cell(table, "%s", joined);
    }
    if (json_array_size(list) == 0)
        puts("no nodes yet; `convoy token create` makes a line that lets one join");
    table_print(table, stdout);
    table_destroy(&table);
}

static enum status nodes_list(struct client *client, const char *name, struct error *why)
{
    json_t *answer;
    (void)name;
    enum status s = client_get(client, "/v1/nodes", &answer, why);
    if (s != STATUS_OK)
        return s;
    if (cli_options.json)
        json_dumpf(answer, stdout, JSON_INDENT(2)), putchar('\n');
    else
        print_nodes(json_object_get(answer, "data"));
    json_decref(answer);
    return s;
}

static enum status get(struct client *client, const char *name, json_t **answer, struct error *why)
{
    char *escaped = client_escape(name);
    char *path = xasprintf("/v1/nodes/%s", escaped);
    enum status s = client_get(client, path, answer, why);
    free(path);
    free(escaped);
    return s;
}

static enum status nodes_show(struct client *client, const char *name, struct error *why)
{
    json_t *answer;
    enum status s = get(client, name, &answer, why);
    if (s != STATUS_OK)
        return s;
    json_dumpf(answer, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(answer);
    return s;
}

static enum status post(struct client *client, const char *name, const char *what, json_t **answer,
                        struct error *why)
{
    char *escaped = client_escape(name);
    char *path = xasprintf("/v1/nodes/%s/%s", escaped, what);
    enum status s = client_call(client, "POST", path, NULL, NULL, answer, why);
    free(path);
    free(escaped);
    return s;
}

static enum status change(struct client *client, const char *name, const char *what,
                          struct error *why)
{
    json_t *answer;
    enum status s = post(client, name, what, &answer, why);
    if (s != STATUS_OK)
        return s;
    printf("%s is %s now\n", text_at(answer, "name"), text_at(answer, "state"));
    json_decref(answer);
    return s;
}

static enum status nodes_revoke(struct client *client, const char *name, struct error *why)
{
    return change(client, name, "revoke", why);
}

static enum status nodes_drain(struct client *client, const char *name, struct error *why)
{
    return change(client, name, "drain", why);
}

static enum status nodes_resume(struct client *client, const char *name, struct error *why)
{
    return change(client, name, "resume", why);
}

/* Ask for a new key and wait until the node has it. */
static enum status nodes_rotate(struct client *client, const char *name, struct error *why)
{
    json_t *answer;
    enum status s = post(client, name, "rotate", &answer, why);
    if (s != STATUS_OK)
        return s;
    char *before = xstrdup(text_at(answer, "fingerprint"));
    char *full = xstrdup(text_at(answer, "name")); /* the fingerprint would find the old key */
    json_decref(answer);
    uint64_t end_ns = clock_mono_ns() + ROTATE_MS * NS_PER_MS;
    bool done = false;
    while (s == STATUS_OK && !done && clock_mono_ns() < end_ns && !cli_interrupted(NULL)) {
        poll(NULL, 0, LOOK_MS);
        s = get(client, full, &answer, why);
        if (s != STATUS_OK)
            break;
        done = strcmp(text_at(answer, "fingerprint"), before) != 0;
        if (done)
            printf("%s has a new key, %s; the old one ends within a minute\n", full,
                   text_at(answer, "fingerprint"));
        json_decref(answer);
    }
    if (s == STATUS_OK && !done)
        s = fail(why, STATUS_BUSY,
                 "%s took no new key within %d s: is it connected? it may still do so", full,
                 ROTATE_MS / 1000);
    free(before);
    free(full);
    return s;
}

int cli_nodes(int argc, char **argv)
{
    static const struct argp argp = {
        .parser = parse,
        .args_doc = "list\nshow NODE\nrevoke NODE\ndrain NODE\nresume NODE\nrotate NODE",
        .doc = "Look at the nodes that may take part, and change that. NODE is a name or a key's "
               "fingerprint. revoke: refused from now on, cut off at once. drain: finishes what it "
               "has, then ends; resume takes that back. rotate: makes itself a new key.",
        .children = cli_globals,
    };
    static const struct {
        const char *verb;
        enum status (*run)(struct client *, const char *, struct error *);
    } verbs[] = {
        {"list", nodes_list},   {"show", nodes_show},     {"revoke", nodes_revoke},
        {"drain", nodes_drain}, {"resume", nodes_resume}, {"rotate", nodes_rotate},
    };
    struct arguments a = {.verb = NULL};
    struct error why;
    cli_parse(&argp, argc, argv, &a);
    if (!a.verb)
        a.verb = "list";
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        if (strcmp(verbs[i].verb, a.verb) != 0)
            continue;
        if (i > 0 && !a.name) {
            fprintf(stderr, "convoy nodes %s: a node is needed; `convoy nodes list` shows them\n",
                    a.verb);
            return CLI_EXIT_USAGE;
        }
        cli_catch_interrupts();
        struct client *client = cli_connect(0);
        enum status s = verbs[i].run(client, a.name, &why);
        client_destroy(&client);
        return s == STATUS_OK ? CLI_EXIT_OK : cli_fail(&why);
    }
    fprintf(stderr, "convoy nodes: \"%s\" is none of list, show, revoke, drain, resume, rotate\n",
            a.verb);
    return CLI_EXIT_USAGE;
}
