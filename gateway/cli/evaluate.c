/* convoy evaluate - score a dataset by an ordinary job, and measure the answers by its labels */
#include "gateway/cli/answer.h"
#include "gateway/cli/job.h"
#include "gateway/cli/measure.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OPTION_DATA = 0x2000, OPTION_LABELS };

struct arguments {
    const char *model;  /* NAME or NAME/VERSION */
    const char *data;   /* file */
    const char *labels; /* file */
    const char *output; /* where the scores go; NULL: nowhere */
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case OPTION_DATA:
        a->data = argument;
        return 0;
    case OPTION_LABELS:
        a->labels = argument;
        return 0;
    case 'o':
        a->output = argument;
        return 0;
    case ARGP_KEY_ARG:
        if (a->model)
            argp_error(state, "one model; \"%s\" is too much", argument);
        a->model = argument;
        return 0;
    case ARGP_KEY_END:
        if (!a->model || !a->data || !a->labels)
            argp_error(state, "a model, its data and labels are needed: convoy evaluate MODEL "
                              "--data FILE --labels FILE");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* A file of our own for the scores, unless they are wanted. */
static enum status find_place(const struct arguments *a, char **path, struct error *why)
{
    const char *folder = getenv("TMPDIR");
    if (a->output) {
        *path = xstrdup(a->output);
        return job_output_check(a->output, why);
    }
    *path = xasprintf("%s/convoy-evaluate-XXXXXX", folder && *folder ? folder : "/tmp");
    int fd = mkstemp(*path);
    if (fd < 0)
        return fail(why, STATUS_IO, "%s cannot be made", *path);
    close(fd);
    return STATUS_OK;
}

/* With the list of rows that failed, if there were any. */
static void remove_place(const char *path)
{
    char *errors = xasprintf("%s.errors.jsonl", path);
    unlink(path);
    unlink(errors);
    free(errors);
}

static enum status score(struct client *client, const struct arguments *a, const char *path,
                         struct job *job, struct error *why)
{
    char file_id[JOB_ID_SIZE];
    const struct job_wish wish = {.model = a->model, .file_id = file_id, .format = "npy"};
    enum status s = job_upload(client, a->data, "batch", file_id, why);
    if (s == STATUS_OK)
        s = job_create(client, &wish, job, why);
    if (s == STATUS_OK)
        s = job_follow(client, job->id, job, why);
    if (s == STATUS_OK && strcmp(job->status, "completed") != 0)
        s = fail(why, STATUS_INVALID, "the job %s %s%s%s", job->id, job->status,
                 job->problem[0] ? ": " : "", job->problem);
    if (s == STATUS_OK)
        s = job_fetch(client, job, path, why);
    if (s == STATUS_OK) { /* what was scored and measured is not needed any more */
        job_forget_upload(client, file_id);
        job_forget_upload(client, job->output_file);
    }
    return s;
}

static void print(const struct measures *got, const struct job *job)
{
    if (cli_options.json) {
        json_t *object = json_pack(
            "{s:s, s:I, s:I, s:s, s:o, s:o, s:f}", "model", job->model, "rows",
            (json_int_t)got->rows, "failed", (json_int_t)job->failed, "loss_name", got->loss_name,
            "loss", isfinite(got->loss) ? json_real(got->loss) : json_null(), "accuracy",
            isnan(got->accuracy) ? json_null() : json_real(got->accuracy), "rows_per_second",
            job->rows_per_s);
        answer_print(object);
        json_decref(object);
        return;
    }
    printf("%s: rows %" PRIu64 " loss %.4f", job->model, got->rows, got->loss);
    if (!isnan(got->accuracy))
        printf(" accuracy %.4f", got->accuracy);
    printf(" rate %.0f rows/s", job->rows_per_s);
    if (job->failed)
        printf(" failed %" PRIu64, job->failed);
    putchar('\n');
}

static enum status evaluate(struct client *client, const struct arguments *a,
                            const struct measure_array *labels, const char *path, struct job *job,
                            struct error *why)
{
    struct measures got;
    struct measure_array outputs = {.values = NULL};
    enum status s = score(client, a, path, job, why);
    if (s == STATUS_OK)
        s = measure_read(&outputs, path, why);
    if (s == STATUS_OK)
        s = measure(&got, &outputs, labels, why);
    if (s == STATUS_OK)
        print(&got, job);
    measure_free(&outputs);
    return s;
}

int cli_evaluate(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"data", OPTION_DATA, "FILE", 0, "rows to score: .npy, idx, idx.gz, .jsonl", 0},
        {"labels", OPTION_LABELS, "FILE", 0, "what is right: .npy, idx, idx.gz", 0},
        {"output", 'o', "OUTPUT.npy", 0, "keep the scores", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "MODEL[/VERSION]",
        .doc = "Score FILE with MODEL as a dataset job, and measure loss and accuracy by the "
               "labels.\vWhole numbers are classes; as many numbers as the model has outputs are "
               "compared one by one.",
        .children = cli_globals,
    };
    struct arguments a = {.model = NULL};
    struct error why;
    struct job job = {.failed = 0};
    struct client *client = NULL;
    struct measure_array labels = {.values = NULL};
    char *path = NULL;
    cli_parse(&argp, argc, argv, &a);
    cli_catch_interrupts();
    enum status s = measure_read(&labels, a.labels, &why); /* before the work */
    if (s == STATUS_OK)
        s = find_place(&a, &path, &why);
    if (s == STATUS_OK)
        s = cli_connect_present(&client, &why);
    if (s == STATUS_OK)
        s = evaluate(client, &a, &labels, path, &job, &why);
    if (path && !a.output)
        remove_place(path);
    client_destroy(&client);
    measure_free(&labels);
    free(path);
    if (s != STATUS_OK)
        return cli_fail(&why);
    return job.failed ? CLI_EXIT_ROWS_FAILED : CLI_EXIT_OK;
}
