/* convoy keys - make, list and revoke keys of the HTTP API */
#include "gateway/cli/answer.h"
#include "gateway/cli/table.h"
#include "gateway/cli/verbs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct arguments {
    struct verb_words words; /* first; id: name of a new key, name or id of one to revoke */
    const char *tenant;      /* create: NULL: the name */
    const char *scopes;      /* create: separated by commas */
    long long ttl_s;         /* create: 0: it does not expire */
    bool surely;             /* revoke: the last admin key, too */
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case 't':
        a->tenant = argument;
        return 0;
    case 's':
        a->scopes = argument;
        return 0;
    case 'e':
        a->ttl_s = cli_seconds(argument);
        if (a->ttl_s < 0)
            argp_error(state, "--ttl is \"%s\", expected a time like 12h, 30d or 365d", argument);
        return 0;
    case 'y':
        a->surely = true;
        return 0;
    default:
        return verbs_parse(key, argument, state, &a->words);
    }
}

/* --- create ----------------------------------------------------------------------------------- */
static json_t *wish_json(const struct arguments *a)
{
    json_t *scopes = json_array();
    char *copy = xstrdup(a->scopes), *rest = copy;
    for (char *word; (word = strsep(&rest, ","));)
        json_array_append_new(scopes, json_string(word));
    free(copy);
    json_t *wish =
        json_pack("{s:s,s:o,s:s?}", "name", a->words.id, "scopes", scopes, "tenant", a->tenant);
    if (a->ttl_s)
        json_object_set_new(wish, "expires_in", json_integer(a->ttl_s));
    return wish;
}

/* The key alone goes to stdout, so that KEY=$(convoy keys create NAME) works. */
static enum status create(struct client *client, void *arguments, struct error *why)
{
    const struct arguments *a = arguments;
    json_t *answer, *wish = wish_json(a);
    enum status s = client_call(client, "POST", "/v1/keys", wish, NULL, &answer, why);
    json_decref(wish);
    if (s != STATUS_OK)
        return s;
    if (cli_options.json)
        answer_print(answer);
    else
        puts(answer_text(answer, "key"));
    if (!cli_options.json && !cli_options.quiet)
        fprintf(stderr,
                "key \"%s\" of tenant \"%s\" may do %s; it is shown this once, use it as "
                "CONVOY_API_KEY\n",
                answer_text(answer, "name"), answer_text(answer, "tenant"), a->scopes);
    json_decref(answer);
    return STATUS_OK;
}

/* --- list and revoke -------------------------------------------------------------------------- */
static void cell_scopes(struct table *table, const json_t *scopes)
{
    size_t i;
    json_t *word;
    char text[128] = "";
    size_t used = 0;
    json_array_foreach(scopes, i, word)
    {
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%.32s", i ? "," : "",
                                 json_string_value(word));
        used = MIN(used, sizeof text - 1);
    }
    table_cell(table, "%s", text);
}

static void print_keys(const json_t *list)
{
    size_t i;
    json_t *key;
    struct table *table =
        table_new("NAME", "TENANT", "SCOPES", "STATE", "EXPIRES", "LAST USED", NULL);
    json_array_foreach(list, i, key)
    {
        table_cell(table, "%s", answer_text(key, "name"));
        table_cell(table, "%s", answer_text(key, "tenant"));
        cell_scopes(table, json_object_get(key, "scopes"));
        table_cell(table, "%s", answer_text(key, "status"));
        table_date(table, json_integer_value(json_object_get(key, "expires_at")), "never");
        table_date(table, json_integer_value(json_object_get(key, "last_used_at")), "-");
    }
    table_print(table, stdout);
    table_destroy(&table);
    if (json_array_size(list) == 0)
        puts("no keys; `convoy keys create NAME` makes one");
}

static enum status list(struct client *client, void *arguments, struct error *why)
{
    (void)arguments;
    return answer_list(client, "/v1/keys", "data", print_keys, why);
}

static enum status revoke(struct client *client, void *arguments, struct error *why)
{
    const struct arguments *a = arguments;
    json_t *answer;
    enum status s = answer_ask(client, "DELETE", "/v1/keys/", a->words.id,
                               a->surely ? "?surely=true" : "", &answer, why);
    if (s != STATUS_OK)
        return s;
    if (cli_options.json)
        answer_print(answer);
    else
        printf("key \"%s\" opens nothing any more\n", answer_text(answer, "name"));
    json_decref(answer);
    return STATUS_OK;
}

/* --- the command ------------------------------------------------------------------------------ */
int cli_keys(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"scope", 's', "LIST", 0,
         "create: what it may do, of infer,batch,train,models,admin (infer,batch)", 0},
        {"tenant", 't', "NAME", 0, "create: who is charged; sees its own files and jobs (the name)",
         0},
        {"ttl", 'e', "TIME", 0, "create: how long it is good, like 12h or 90d (until revoked)", 0},
        {"yes", 'y', NULL, 0, "revoke: even the last admin key", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "create NAME\nlist\nrevoke NAME|ID",
        .doc =
            "Make, list and revoke keys of the HTTP API. A key is printed once, when it is made; "
            "ids and times of making are in list --json. "
            "Needs a key with the scope admin where the gateway asks for keys.",
        .children = cli_globals,
    };
    static const struct verb verbs[] = {{"list", NULL, false, list, 0},
                                        {"create", "a name", false, create, 0},
                                        {"revoke", "a key's name or id", false, revoke, 0}};
    struct arguments a = {.scopes = "infer,batch"};
    cli_parse(&argp, argc, argv, &a);
    return verbs_run(verbs, ARRAY_LEN(verbs), &a);
}
