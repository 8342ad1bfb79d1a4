/* convoy nodes - who may take part: list, show, revoke, drain, resume, rotate */
#include "gateway/cli/answer.h"
#include "gateway/cli/table.h"
#include "gateway/cli/verbs.h"

#include "common/clock.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROTATE_MS 15000 /* for a node to take its new key */
#define LOOK_MS   200   /* between two looks whether it has */

#define NODES "/v1/nodes"

static error_t parse(int key, char *argument, struct argp_state *state)
{
    return verbs_parse(key, argument, state, state->input);
}

/* What the registry says of it, or, of a member, whether it is there. */
static const char *state_text(const json_t *node)
{
    const json_t *connected = json_object_get(node, "connected");
    const char *state = answer_text(node, "state");
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
        table_cell(table, "%s", answer_text(node, "name"));
        table_cell(table, "%s", answer_text(node, "role"));
        table_cell(table, "%s", state_text(node));
        table_cell(table, "%s", answer_text(node, "fingerprint"));
        table_cell(table, "%s", joined);
    }
    if (json_array_size(list) == 0)
        puts("no nodes yet; `convoy token create` makes a line that lets one join");
    table_print(table, stdout);
    table_destroy(&table);
}

static enum status nodes_list(struct client *client, void *words, struct error *why)
{
    (void)words;
    return answer_list(client, NODES, "data", print_nodes, why);
}

static enum status nodes_show(struct client *client, void *words, struct error *why)
{
    json_t *answer;
    const char *name = ((const struct verb_words *)words)->id;
    enum status s = answer_ask(client, "GET", NODES "/", name, "", &answer, why);
    if (s != STATUS_OK)
        return s;
    answer_print(answer);
    json_decref(answer);
    return s;
}

/* revoke, drain and resume */
static enum status nodes_change(struct client *client, void *arguments, struct error *why)
{
    json_t *answer;
    const struct verb_words *words = arguments;
    char *what = xasprintf("/%s", words->verb);
    enum status s = answer_ask(client, "POST", NODES "/", words->id, what, &answer, why);
    free(what);
    if (s != STATUS_OK)
        return s;
    printf("%s is %s now\n", answer_text(answer, "name"), answer_text(answer, "state"));
    json_decref(answer);
    return s;
}

/* Ask for a new key and wait until the node has it. */
static enum status nodes_rotate(struct client *client, void *words, struct error *why)
{
    json_t *answer;
    const char *name = ((const struct verb_words *)words)->id;
    enum status s = answer_ask(client, "POST", NODES "/", name, "/rotate", &answer, why);
    if (s != STATUS_OK)
        return s;
    char *before = xstrdup(answer_text(answer, "fingerprint"));
    char *full = xstrdup(answer_text(answer, "name")); /* the fingerprint would find the old key */
    json_decref(answer);
    uint64_t end_ns = clock_mono_ns() + ROTATE_MS * NS_PER_MS;
    bool done = false;
    while (s == STATUS_OK && !done && clock_mono_ns() < end_ns && !cli_interrupted(NULL)) {
        poll(NULL, 0, LOOK_MS);
        s = answer_ask(client, "GET", NODES "/", full, "", &answer, why);
        if (s != STATUS_OK)
            break;
        done = strcmp(answer_text(answer, "fingerprint"), before) != 0;
        if (done)
            printf("%s has a new key, %s; the old one ends within a minute\n", full,
                   answer_text(answer, "fingerprint"));
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
    static const struct verb verbs[] = {
        {"list", NULL, false, nodes_list, 0},
        {"show", "a node's name or fingerprint", false, nodes_show, 0},
        {"revoke", "a node's name or fingerprint", false, nodes_change, 0},
        {"drain", "a node's name or fingerprint", false, nodes_change, 0},
        {"resume", "a node's name or fingerprint", false, nodes_change, 0},
        {"rotate", "a node's name or fingerprint", false, nodes_rotate, 0},
    };
    struct verb_words words = {.verb = NULL};
    cli_parse(&argp, argc, argv, &words);
    return verbs_run(verbs, ARRAY_LEN(verbs), &words);
}
