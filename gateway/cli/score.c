/* convoy score - a dataset in, its scores out: upload, job, progress, download */
#include "gateway/cli/job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct arguments {
    const char *model;  /* NAME or NAME/VERSION */
    const char *input;  /* file */
    const char *output; /* file */
    long chunk_rows;    /* 0: the gateway chooses */
    bool detach;        /* do not wait */
    const char *key;    /* of the job, so that another run finds it; NULL: this run's own */
};

enum { OPTION_CHUNK_ROWS = 0x2000, OPTION_DETACH, OPTION_KEY };

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct arguments *a = state->input;
    char *end = NULL;
    switch (key) {
    case 'o':
        a->output = argument;
        return 0;
    case OPTION_CHUNK_ROWS:
        a->chunk_rows = strtol(argument, &end, 10);
        if (*end || a->chunk_rows < 1 || a->chunk_rows > 1000000)
            argp_error(state, "--chunk-rows is \"%s\", expected 1 to 1000000", argument);
        return 0;
    case OPTION_DETACH:
        a->detach = true;
        return 0;
    case OPTION_KEY:
        a->key = argument;
        return 0;
    case ARGP_KEY_ARG:
        if (a->model && a->input)
            argp_error(state, "one model and one input; \"%s\" is too much", argument);
        *(a->model ? &a->input : &a->model) = argument;
        return 0;
    case ARGP_KEY_END:
        if (!a->input)
            argp_error(state,
                       "a model and an input are needed: convoy score MODEL INPUT -o OUTPUT");
        if (!a->output && !a->detach)
            argp_error(state, "-o OUTPUT is needed (or --detach)");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The output's name says its format. */
static const char *format_of(const char *output)
{
    size_t length = output ? strlen(output) : 0;
    if (length > 6 && strcmp(output + length - 6, ".jsonl") == 0)
        return "jsonl";
    return "npy";
}

static void say_how_to_go_on(const struct job *job, const char *output)
{
    fprintf(stderr,
            "the job %s goes on without this program:\n"
            "  convoy jobs watch %s -o %s\n"
            "  convoy jobs cancel %s\n",
            job->id, job->id, output ? output : "OUTPUT", job->id);
}

int cli_score(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"output", 'o', "OUTPUT", 0, "where the scores go: .npy, or .jsonl for JSON Lines", 0},
        {"chunk-rows", OPTION_CHUNK_ROWS, "N", 0, "rows that travel together at most", 0},
        {"detach", OPTION_DETACH, NULL, 0, "start the job, print its id and leave", 0},
        {"idempotency-key", OPTION_KEY, "KEY", 0, "runs with the same KEY share one job", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "MODEL INPUT",
        .doc = "Score every row of INPUT (.npy, idx, idx.gz, .jsonl) with MODEL as an asynchronous "
               "job "
               "that survives restarts.\vRows that cannot be scored end with their reason in "
               "OUTPUT.errors.jsonl and nowhere else; the exit code is then 1.",
        .children = cli_globals,
    };
    struct arguments a = {0};
    struct error why;
    struct job job;
    char file_id[JOB_ID_SIZE];
    cli_parse(&argp, argc, argv, &a);
    if (a.output && job_output_check(a.output, &why) != STATUS_OK)
        return cli_fail(&why);
    cli_catch_interrupts();
    const struct job_wish wish = {.model = a.model,
                                  .file_id = file_id,
                                  .format = format_of(a.output),
                                  .chunk_rows = a.chunk_rows,
                                  .key = a.key};
    struct client *client;
    enum status s = cli_connect_present(&client, &why);
    if (s != STATUS_OK)
        return cli_fail(&why);
    s = job_upload(client, a.input, "batch", file_id, &why);
    if (s == STATUS_OK)
        s = job_create(client, &wish, &job, &why);
    bool running = s == STATUS_OK;
    if (running && a.detach) {
        puts(job.id);
        client_destroy(&client);
        return CLI_EXIT_OK;
    }
    if (running)
        s = job_follow(client, job.id, &job, &why);
    if (s == STATUS_OK)
        s = job_fetch(client, &job, a.output, &why);
    client_destroy(&client);
    if (s == STATUS_OK)
        return job_conclude(&job, a.output);
    if (running)
        say_how_to_go_on(&job, a.output);
    return cli_fail(&why);
}
