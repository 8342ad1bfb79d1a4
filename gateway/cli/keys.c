/* convoy keys - make, list and revoke keys of the HTTP API */
#include "gateway/cli/cli.h"

#include "gateway/cli/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct arguments {
    const char *verb;   /* create, list, revoke */
    const char *which;  /* name of a new key; name or id of one to revoke */
    const char *tenant; /* create: NULL: the name */
    const char *scopes; /* create: separated by commas */
    long long ttl_s;    /* create: 0: it does not expire */
    bool surely;        /* revoke: the last admin key, too */
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
    case ARGP_KEY_ARG:
        if (a->verb && a->which)
            argp_error(state, "\"%s\" is too much", argument);
        *(a->verb ? &a->which : &a->verb) = argument;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "-";
}

static void print_json(const json_t *answer)
{
    json_dumpf(answer, stdout, JSON_INDENT(2));
    putchar('\n');
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
        json_pack("{s:s,s:o,s:s?}", "name", a->which, "scopes", scopes, "tenant", a->tenant);
    if (a->ttl_s)
        json_object_set_new(wish, "expires_in", json_integer(a->ttl_s));
    return wish;
}

/* The key alone goes to stdout, so that KEY=$(convoy keys create NAME) works. */
static enum status create(struct client *client, const struct arguments *a, struct error *why)
{
    json_t *answer, *wish = wish_json(a);
    enum status s = client_call(client, "POST", "/v1/keys", wish, NULL, &answer, why);
    json_decref(wish);
    if (s != STATUS_OK)
        return s;
    if (cli_options.json)
        print_json(answer);
    else
        puts(text_of(answer, "key"));
    if (!cli_options.json && !cli_options.quiet)
        fprintf(stderr,
                "key \"%s\" of tenant \"%s\" may do %s; it is shown this once, use it as "
                "CONVOY_API_KEY\n",
                text_of(answer, "name"), text_of(answer, "tenant"), a->scopes);
    json_decref(answer);
    return STATUS_OK;
}

/* --- list and revoke -------------------------------------------------------------------------- */
/* The time of today's, the date of the others. */
static void cell_date(struct table *table, const json_t *seconds, const char *never)
{
    char text[32];
    time_t at = (time_t)json_integer_value(seconds), now = time(NULL);
    struct tm then, today;
    localtime_r(&at, &then);
    localtime_r(&now, &today);
    bool same = then.tm_year == today.tm_year && then.tm_yday == today.tm_yday;
    strftime(text, sizeof text, same ? "%H:%M:%S" : "%Y-%m-%d", &then);
    table_cell(table, "%s", at ? text : never);
}

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
        table_cell(table, "%s", text_of(key, "name"));
        table_cell(table, "%s", text_of(key, "tenant"));
        cell_scopes(table, json_object_get(key, "scopes"));
        table_cell(table, "%s", text_of(key, "status"));
        cell_date(table, json_object_get(key, "expires_at"), "never");
        cell_date(table, json_object_get(key, "last_used_at"), "-");
    }
    table_print(table, stdout);
    table_destroy(&table);
    if (json_array_size(list) == 0)
        puts("no keys; `convoy keys create NAME` makes one");
}

static enum status list(struct client *client, const struct arguments *a, struct error *why)
{
    json_t *answer;
    (void)a;
    enum status s = client_get(client, "/v1/keys", &answer, why);
    if (s != STATUS_OK)
        return s;
    if (cli_options.json)
        print_json(answer);
    else
        print_keys(json_object_get(answer, "data"));
    json_decref(answer);
    return STATUS_OK;
}

static enum status revoke(struct client *client, const struct arguments *a, struct error *why)
{
    json_t *answer;
    char *name = client_escape(a->which),
         *path = xasprintf("/v1/keys/%s%s", name, a->surely ? "?surely=true" : "");
    enum status s = client_call(client, "DELETE", path, NULL, NULL, &answer, why);
    free(path);
    free(name);
    if (s != STATUS_OK)
        return s;
    if (cli_options.json)
        print_json(answer);
    else
        printf("key \"%s\" opens nothing any more\n", text_of(answer, "name"));
    json_decref(answer);
    return STATUS_OK;
}

/* --- the command ------------------------------------------------------------------------------ */
static const struct {
    const char *verb;
    bool which; /* it needs a name or id */
    enum status (*run)(struct client *client, const struct arguments *a, struct error *why);
} verbs[] = {{"create", true, create}, {"list", false, list}, {"revoke", true, revoke}};

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
    struct arguments a = {.scopes = "infer,batch"};
    struct error why;
    cli_parse(&argp, argc, argv, &a);
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        if (!a.verb || strcmp(verbs[i].verb, a.verb) != 0 || verbs[i].which != (a.which != NULL))
            continue;
        struct client *client = cli_connect(0);
        enum status s = verbs[i].run(client, &a, &why);
        client_destroy(&client);
        return s == STATUS_OK ? CLI_EXIT_OK : cli_fail(&why);
    }
    fprintf(stderr, "%s: expected create NAME, list, or revoke NAME|ID; --help says more\n",
            cli_command);
    return CLI_EXIT_USAGE;
}
