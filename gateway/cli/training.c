/* convoy training - list, show, watch and cancel training jobs */
#include "gateway/cli/answer.h"
#include "gateway/cli/table.h"
#include "gateway/cli/training_job.h"
#include "gateway/cli/verbs.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct arguments {
    struct verb_words words; /* first */
    long limit;              /* list: newest so many */
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case 'n':
        a->limit = verbs_number(state, "--limit", argument, 1, 100);
        return 0;
    default:
        return verbs_parse(key, argument, state, &a->words);
    }
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
        const char *version = answer_text(job, "model_version");
        table_cell(table, "%s", answer_text(job, "id"));
        table_cell(table, "%s", answer_text(job, "status"));
        cell(table, "%3.0f %%",
             100 * training_number(job, "progress", "step") /
                 training_number(job, "progress", "steps"));
        cell(table, "%.4f", training_number(job, "progress", "loss"));
        cell(table, "%.4f", training_number(job, "progress", "accuracy"));
        table_cell(table, "%s%s%s", answer_text(job, "name"), version[0] ? "/" : "", version);
    }
    if (json_array_size(jobs) == 0)
        puts("no training jobs yet; `convoy train NETWORK --data FILE --labels FILE --epochs N` "
             "starts one");
    table_print(table, stdout);
    table_destroy(&table);
}

static enum status training_list(struct client *client, void *arguments, struct error *why)
{
    const struct arguments *a = arguments;
    char path[64];
    snprintf(path, sizeof path, TRAINING_JOBS "?limit=%ld", a->limit);
    return answer_list(client, path, "data", print_table, why);
}

static enum status training_show(struct client *client, void *arguments, struct error *why)
{
    const struct arguments *a = arguments;
    json_t *job;
    enum status s = training_ask(client, a->words.id, NULL, &job, why);
    if (s != STATUS_OK)
        return s;
    answer_print(job);
    json_decref(job);
    return STATUS_OK;
}

static enum status training_cancel(struct client *client, void *arguments, struct error *why)
{
    const struct arguments *a = arguments;
    json_t *job;
    enum status s = training_ask(client, a->words.id, "/cancel", &job, why);
    if (s != STATUS_OK)
        return s;
    printf("%s %s\n", a->words.id, answer_text(job, "status"));
    json_decref(job);
    return STATUS_OK;
}

static enum status training_watch(struct client *client, void *arguments, struct error *why)
{
    struct arguments *a = arguments;
    json_t *job = NULL;
    enum status s = training_follow(client, a->words.id, &job, why);
    if (s != STATUS_OK)
        return s;
    a->words.code = training_conclude(job);
    json_decref(job);
    return STATUS_OK;
}

int cli_training(int argc, char **argv)
{
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
    static const struct verb verbs[] = {
        {"list", NULL, false, training_list, 0},
        {"show", "a job's ID", false, training_show, 0},
        {"watch", "a job's ID", false, training_watch, CLI_PATIENCE_MS},
        {"cancel", "a job's ID", false, training_cancel, 0}};
    struct arguments a = {.limit = 20};
    cli_parse(&argp, argc, argv, &a);
    return verbs_run(verbs, ARRAY_LEN(verbs), &a);
}
