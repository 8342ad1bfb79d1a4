/* convoy jobs - list, show, watch and cancel dataset jobs */
#include "gateway/cli/answer.h"
#include "gateway/cli/job.h"
#include "gateway/cli/table.h"
#include "gateway/cli/verbs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOBS "/v1/batches"
#define PAGE 100 /* jobs of one answer */

struct arguments {
    struct verb_words words; /* first */
    const char *output;      /* watch: fetch the output there at the end */
    long limit;              /* list: newest so many */
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case 'o':
        a->output = argument;
        return 0;
    case 'n':
        a->limit = verbs_number(state, "--limit", argument, 1, PAGE);
        return 0;
    default:
        return verbs_parse(key, argument, state, &a->words);
    }
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

static void print_jobs(const json_t *list)
{
    size_t i;
    json_t *entry;
    struct table *table = table_new("ID", "STATUS", "DONE", "MODEL", NULL);
    json_array_foreach(list, i, entry)
    {
        struct job job;
        if (!job_read(&job, entry))
            continue;
        table_cell(table, "%s", job.id);
        table_cell(table, "%s", job.status);
        cell_done(table, &job);
        table_cell(table, "%s", job.model);
    }
    if (json_array_size(list) == 0)
        puts("no jobs yet; `convoy score MODEL INPUT -o OUTPUT` starts one");
    table_print(table, stdout);
    table_destroy(&table);
}

static enum status jobs_list(struct client *client, void *arguments, struct error *why)
{
    const struct arguments *a = arguments;
    char path[64];
    snprintf(path, sizeof path, JOBS "?limit=%ld", a->limit);
    return answer_list(client, path, "data", print_jobs, why);
}

static enum status jobs_show(struct client *client, void *arguments, struct error *why)
{
    const struct arguments *a = arguments;
    json_t *answer;
    enum status s = answer_ask(client, "GET", JOBS "/", a->words.id, "", &answer, why);
    if (s != STATUS_OK)
        return s;
    answer_print(answer);
    json_decref(answer);
    return STATUS_OK;
}

static enum status cancel_one(struct client *client, const char *id, struct error *why)
{
    json_t *answer;
    enum status s = answer_ask(client, "POST", JOBS "/", id, "/cancel", &answer, why);
    if (s != STATUS_OK)
        return s;
    printf("%s %s\n", id, answer_text(answer, "status"));
    json_decref(answer);
    return STATUS_OK;
}

static enum status jobs_cancel(struct client *client, void *arguments, struct error *why)
{
    const struct arguments *a = arguments;
    size_t i;
    json_t *answer, *entry;
    char path[64];
    if (!a->words.all)
        return cancel_one(client, a->words.id, why);
    snprintf(path, sizeof path, JOBS "?limit=%d", PAGE);
    enum status s = client_get(client, path, &answer, why);
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

static enum status jobs_watch(struct client *client, void *arguments, struct error *why)
{
    struct arguments *a = arguments;
    struct job job;
    enum status s = a->output ? job_output_check(a->output, why) : STATUS_OK;
    if (s == STATUS_OK)
        s = job_follow(client, a->words.id, &job, why);
    if (s == STATUS_OK && a->output)
        s = job_fetch(client, &job, a->output, why);
    if (s == STATUS_OK)
        a->words.code = job_conclude(&job, a->output);
    return s;
}

int cli_jobs(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"output", 'o', "OUTPUT", 0, "watch: fetch the scores there when the job has ended", 0},
        {"limit", 'n', "N", 0, "list: the newest N jobs (20)", 0},
        {"all", VERBS_OPTION_ALL, NULL, 0, "cancel: every job that has not ended", 0},
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
    static const struct verb verbs[] = {{"list", NULL, false, jobs_list, 0},
                                        {"show", "a job's ID", false, jobs_show, 0},
                                        {"watch", "a job's ID", false, jobs_watch, CLI_PATIENCE_MS},
                                        {"cancel", "a job's ID", true, jobs_cancel, 0}};
    struct arguments a = {.limit = 20};
    cli_parse(&argp, argc, argv, &a);
    return verbs_run(verbs, ARRAY_LEN(verbs), &a);
}
