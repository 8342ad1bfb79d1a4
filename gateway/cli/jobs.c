/* convoy jobs - list, show, watch and cancel dataset jobs */
#include "gateway/cli/job.h"

#include "gateway/cli/table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct arguments {
    const char *verb;   /* list, show, watch, cancel */
    const char *id;     /* of a job; NULL for list and for --all */
    const char *output; /* watch: fetch the output there at the end */
    bool all;           /* cancel: every job that has not ended */
    long limit;         /* list: newest so many */
};

enum { OPTION_ALL = 0x2000 };

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct arguments *a = state->input;
    char *end = NULL;
    switch (key) {
    case 'o':
        a->output = argument;
        return 0;
    case 'n':
        a->limit = strtol(argument, &end, 10);
        if (*end || a->limit < 1 || a->limit > 100)
            argp_error(state, "--limit is \"%s\", expected 1 to 100", argument);
        return 0;
    case OPTION_ALL:
        a->all = true;
        return 0;
    case ARGP_KEY_ARG:
        if (a->verb && a->id)
            argp_error(state, "\"%s\" is too much", argument);
        *(a->verb ? &a->id : &a->verb) = argument;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static enum status list_page(struct client *client, long limit, json_t **answer, struct error *why)
{
    char path[64];
    snprintf(path, sizeof path, "/v1/batches?limit=%ld", limit);
    return client_get(client, path, answer, why);
}

/* Rows that have their result, of all. */
static void cell_done(struct table *table, const struct job *job)
{
    if (job->total > 0)
        table_cell(table, "%3u %%",
                   (unsigned)(100.0 * (double)job->completed / (double)job->total));
    else
        table_cell(table, "    -");
}

static enum status jobs_list(struct client *client, const struct arguments *a, struct error *why)
{
    size_t i;
    json_t *answer, *entry;
    enum status s = list_page(client, a->limit, &answer, why);
    if (s != STATUS_OK)
        return s;
    if (cli_options.json) {
        json_dumpf(answer, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(answer);
        return STATUS_OK;
    }
    struct table *table = table_new("ID", "STATUS", "DONE", "MODEL", NULL);
    json_array_foreach(json_object_get(answer, "data"), i, entry)
    {
        struct job job;
        if (!job_read(&job, entry))
            continue;
        table_cell(table, "%s", job.id);
        table_cell(table, "%s", job.status);
        cell_done(table, &job);
        table_cell(table, "%s", job.model);
    }
    if (json_array_size(json_object_get(answer, "data")) == 0)
        puts("no jobs yet; `convoy score MODEL INPUT -o OUTPUT` starts one");
    table_print(table, stdout);
    table_destroy(&table);
    json_decref(answer);
    return STATUS_OK;
}

static enum status jobs_show(struct client *client, const struct arguments *a, struct error *why)
{
    json_t *answer;
    char *escaped = client_escape(a->id);
    char *path = xasprintf("/v1/batches/%s", escaped);
    enum status s = client_get(client, path, &answer, why);
    if (s == STATUS_OK) {
        json_dumpf(answer, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(answer);
    }
    free(path);
    free(escaped);
    return s;
}

static enum status cancel_one(struct client *client, const char *id, struct error *why)
{
    json_t *answer;
    char *escaped = client_escape(id);
    char *path = xasprintf("/v1/batches/%s/cancel", escaped);
    enum status s = client_call(client, "POST", path, NULL, NULL, &answer, why);
    if (s == STATUS_OK) {
        const char *status = json_string_value(json_object_get(answer, "status"));
        printf("%s %s\n", id, status ? status : "?");
        json_decref(answer);
    }
    free(path);
    free(escaped);
    return s;
}

static enum status jobs_cancel(struct client *client, const struct arguments *a, struct error *why)
{
    size_t i;
    json_t *answer, *entry;
    if (!a->all)
        return cancel_one(client, a->id, why);
    enum status s = list_page(client, 100, &answer, why);
    if (s != STATUS_OK)
        return s;
    json_array_foreach(json_object_get(answer, "data"), i, entry)
    {
        struct job job;
        if (s == STATUS_OK && job_read(&job, entry) && !job_ended(&job))
            s = cancel_one(client, job.id, why);
    }
    json_decref(answer);
    return s;
}

static int jobs_watch(struct client *client, const struct arguments *a)
{
    struct job job;
    struct error why;
    if (a->output && job_output_check(a->output, &why) != STATUS_OK)
        return cli_fail(&why);
    enum status s = job_follow(client, a->id, &job, &why);
    if (s == STATUS_OK && a->output)
        s = job_fetch(client, &job, a->output, &why);
    return s == STATUS_OK ? job_conclude(&job, a->output) : cli_fail(&why);
}

static int dispatch(struct client *client, const struct arguments *a)
{
    static const struct {
        const char *verb;
        enum status (*run)(struct client *, const struct arguments *, struct error *);
    } verbs[] = {{"list", jobs_list}, {"show", jobs_show}, {"cancel", jobs_cancel}};
    struct error why;
    if (strcmp(a->verb, "watch") == 0)
        return jobs_watch(client, a);
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        if (strcmp(verbs[i].verb, a->verb) != 0)
            continue;
        enum status s = verbs[i].run(client, a, &why);
        return s == STATUS_OK ? CLI_EXIT_OK : cli_fail(&why);
    }
    fprintf(stderr, "convoy jobs: \"%s\" is none of list, show, watch, cancel\n", a->verb);
    return CLI_EXIT_USAGE;
}

int cli_jobs(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"output", 'o', "OUTPUT", 0, "watch: fetch the scores there when the job has ended", 0},
        {"limit", 'n', "N", 0, "list: the newest N jobs (20)", 0},
        {"all", OPTION_ALL, NULL, 0, "cancel: every job that has not ended", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "list\nshow ID\nwatch ID [-o OUTPUT]\ncancel ID|--all",
        .doc = "Look at dataset jobs, follow one to its end, or cancel. DONE is the share of rows "
               "that have a result; show and --json have all counts and times.",
        .children = cli_globals,
    };
    struct arguments a = {.limit = 20};
    cli_parse(&argp, argc, argv, &a);
    if (!a.verb)
        a.verb = "list";
    if (strcmp(a.verb, "list") != 0 && !a.id && !a.all) {
        fprintf(stderr, "convoy jobs %s: a job's id is needed; `convoy jobs list` shows them\n",
                a.verb);
        return CLI_EXIT_USAGE;
    }
    cli_catch_interrupts();
    struct client *client = cli_connect(strcmp(a.verb, "watch") == 0 ? CLI_PATIENCE_MS : 0);
    int code = dispatch(client, &a);
    client_destroy(&client);
    return code;
}
