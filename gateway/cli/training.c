/* convoy training - list, show, watch and cancel training jobs */
#include "gateway/cli/table.h"
#include "gateway/cli/training_job.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct arguments {
    const char *verb; /* list, show, watch, cancel */
    const char *id;   /* of a job; NULL for list */
    long limit;       /* list: newest so many */
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct arguments *a = state->input;
    char *end = NULL;
    switch (key) {
    case 'n':
        a->limit = strtol(argument, &end, 10);
        if (*end || a->limit < 1 || a->limit > 100)
            argp_error(state, "--limit is \"%s\", expected 1 to 100", argument);
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

static void print_json(const json_t *answer)
{
    json_dumpf(answer, stdout, JSON_INDENT(2));
    putchar('\n');
}

static void cell(struct table *table, const char *format, double value)
{
    char text[32];
    snprintf(text, sizeof text, format, value);
    table_cell(table, "%s", isnan(value) ? "-" : text);
}

static void print_table(const json_t *jobs)
{
    size_t i;
    const json_t *job;
    struct table *table = table_new("ID", "STATUS", "DONE", "LOSS", "ACCURACY", "MODEL", NULL);
    json_array_foreach(jobs, i, job)
    {
        const char *version = training_text(job, "model_version");
        table_cell(table, "%s", training_text(job, "id"));
        table_cell(table, "%s", training_text(job, "status"));
        cell(table, "%3.0f %%",
             100 * training_number(job, "progress", "step") /
                 training_number(job, "progress", "steps"));
        cell(table, "%.4f", training_number(job, "progress", "loss"));
        cell(table, "%.4f", training_number(job, "progress", "accuracy"));
        table_cell(table, "%s%s%s", training_text(job, "name"), version[0] ? "/" : "", version);
    }
    if (json_array_size(jobs) == 0)
        puts("no training jobs yet; `convoy train NETWORK --data FILE --labels FILE --epochs N` "
             "starts one");
    table_print(table, stdout);
    table_destroy(&table);
}

static int training_list(struct client *client, const struct arguments *a)
{
    struct error why;
    json_t *answer;
    char path[64];
    snprintf(path, sizeof path, TRAINING_JOBS "?limit=%ld", a->limit);
    if (client_get(client, path, &answer, &why) != STATUS_OK)
        return cli_fail(&why);
    if (cli_options.json)
        print_json(answer);
    else
        print_table(json_object_get(answer, "data"));
    json_decref(answer);
    return CLI_EXIT_OK;
}

static int training_show(struct client *client, const struct arguments *a)
{
    struct error why;
    json_t *job;
    if (training_ask(client, a->id, NULL, &job, &why) != STATUS_OK)
        return cli_fail(&why);
    print_json(job);
    json_decref(job);
    return CLI_EXIT_OK;
}

static int training_cancel(struct client *client, const struct arguments *a)
{
    struct error why;
    json_t *job;
    if (training_ask(client, a->id, "cancel", &job, &why) != STATUS_OK)
        return cli_fail(&why);
    printf("%s %s\n", a->id, training_text(job, "status"));
    json_decref(job);
    return CLI_EXIT_OK;
}

static int training_watch(struct client *client, const struct arguments *a)
{
    struct error why;
    json_t *job = NULL;
    if (training_follow(client, a->id, &job, &why) != STATUS_OK)
        return cli_fail(&why);
    int code = training_conclude(job);
    json_decref(job);
    return code;
}

int cli_training(int argc, char **argv)
{
    static const struct {
        const char *verb;
        int (*run)(struct client *, const struct arguments *);
    } verbs[] = {{"list", training_list},
                 {"show", training_show},
                 {"watch", training_watch},
                 {"cancel", training_cancel}};
    static const struct argp_option options[] = {
        {"limit", 'n', "N", 0, "list: the newest N jobs (20)", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "list\nshow ID\nwatch ID\ncancel ID",
        .doc = "Look at training jobs, follow one to its end, or cancel it. LOSS and ACCURACY are "
               "those of the epoch so far; show and --json have all of it.",
        .children = cli_globals,
    };
    struct arguments a = {.limit = 20};
    cli_parse(&argp, argc, argv, &a);
    if (!a.verb)
        a.verb = "list";
    if (strcmp(a.verb, "list") != 0 && !a.id) {
        fprintf(stderr,
                "convoy training %s: a job's id is needed; `convoy training list` shows them\n",
                a.verb);
        return CLI_EXIT_USAGE;
    }
    cli_catch_interrupts();
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        if (strcmp(verbs[i].verb, a.verb) != 0)
            continue;
        bool watch = verbs[i].run == training_watch;
        struct client *client = cli_connect(watch ? CLI_PATIENCE_MS : 0);
        int code = verbs[i].run(client, &a);
        client_destroy(&client);
        return code;
    }
    fprintf(stderr, "convoy training: \"%s\" is none of list, show, watch, cancel\n", a.verb);
    return CLI_EXIT_USAGE;
}
