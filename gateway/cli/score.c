/* convoy score - a dataset in, its scores out: upload, job, progress, download */
#include "gateway/cli/job.h"

#include "common/ids.h"
#include "gateway/cli/progress.h"

#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE_MS 600000 /* a job survives a restart of the gateway, so its watcher waits */

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

static void on_upload(void *arg, uint64_t done, uint64_t total)
{
    progress_show(arg, done, total, 0, NULL);
}

static enum status upload(struct client *client, const char *file, char id[static 64],
                          struct error *why)
{
    struct progress progress;
    json_t *answer;
    char *copy = xstrdup(file);
    char *name = client_escape(basename(copy));
    char *path = xasprintf("/v1/files?name=%s&purpose=batch", name);
    progress_start(&progress, "upload", true);
    enum status s = client_upload(client, path, file, on_upload, &progress, &answer, why);
    progress_clear(&progress);
    if (s == STATUS_OK) {
        const char *got = json_string_value(json_object_get(answer, "id"));
        text_copy(id, 64, got ? got : "");
        json_decref(answer);
    }
    free(path);
    free(name);
    free(copy);
    return s;
}

static char *endpoint_of(const char *model)
{
    char *copy = xstrdup(model), *slash = strchr(copy, '/');
    if (slash)
        *slash = '\0';
    char *name = client_escape(copy);
    char *endpoint = slash ? xasprintf("/v2/models/%s/versions/%s/infer", name, slash + 1)
                           : xasprintf("/v2/models/%s/infer", name);
    free(name);
    free(copy);
    return endpoint;
}

/* The job was there already and has its own copy. */
static void forget_upload(struct client *client, const char *file_id)
{
    struct error ignored;
    json_t *answer = NULL;
    char *path = xasprintf("/v1/files/%s", file_id);
    if (client_call(client, "DELETE", path, NULL, NULL, &answer, &ignored) == STATUS_OK)
        json_decref(answer);
    free(path);
}

static enum status create(struct client *client, const struct arguments *a, const char *file_id,
                          struct job *job, struct error *why)
{
    char key[ID_TEXT_SIZE];
    struct uuid uuid = id_random();
    json_t *answer;
    char *endpoint = endpoint_of(a->model);
    json_t *body = json_pack("{s:s, s:s, s:s, s:s}", "input_file_id", file_id, "endpoint", endpoint,
                             "completion_window", "24h", "output_format", format_of(a->output));
    if (a->chunk_rows)
        json_object_set_new(body, "chunk_rows", json_integer(a->chunk_rows));
    enum status s = client_call(client, "POST", "/v1/batches", body,
                                a->key ? a->key : id_text(key, &uuid), &answer, why);
    if (s == STATUS_OK) {
        if (!job_read(job, answer))
            s = fail(why, STATUS_INTERNAL, "the gateway's answer is no job");
        const char *input = json_string_value(json_object_get(answer, "input_file_id"));
        if (input && strcmp(input, file_id) != 0)
            forget_upload(client, file_id);
        json_decref(answer);
    }
    json_decref(body);
    free(endpoint);
    return s;
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
    char file_id[64];
    cli_parse(&argp, argc, argv, &a);
    if (a.output && job_output_check(a.output, &why) != STATUS_OK)
        return cli_fail(&why);
    cli_catch_interrupts();
    struct client *client = cli_connect(0);
    json_t *answer = NULL;
    enum status s = client_get(client, "/v2/health/live", &answer, &why);
    json_decref(answer);
    client_destroy(&client);
    if (s != STATUS_OK)
        return cli_fail(&why); /* nobody there at the start is an error; later it is a restart */
    client = cli_connect(PATIENCE_MS);
    s = upload(client, a.input, file_id, &why);
    if (s == STATUS_OK)
        s = create(client, &a, file_id, &job, &why);
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
