/* job - a dataset job as the commands score, evaluate and jobs see it
 *
 * Uploads its input, makes it, reads the gateway's batch object into plain fields, follows a job to
 * its end with a progress bar, and fetches what it leaves. One thread. */
#ifndef CONVOY_GATEWAY_CLI_JOB_H
#define CONVOY_GATEWAY_CLI_JOB_H

#include "gateway/cli/cli.h"

struct job {
    char id[64];
    char status[24];      /* "in_progress", ... */
    char model[160];      /* from the endpoint: NAME or NAME/VERSION */
    char output_file[64]; /* id; "" while there is none */
    char error_file[64];  /* id; "" when no row failed */
    uint64_t total;       /* rows; 0 while they are being counted */
    uint64_t completed;   /* rows with an output */
    uint64_t failed;      /* rows in the error file */
    uint64_t redelivered; /* chunks that were started more than once */
    uint64_t workers;     /* that computed rows of it */
    double rows_per_s;    /* since it began to compute; 0: not known */
    double eta_s;         /* < 0: not known */
    double elapsed_s;     /* from start to end or now; < 0: not known */
    char problem[512];    /* the first error of a failed job; "" when there is none */
};

#define JOB_ID_SIZE 64 /* of a job or file, and NUL */

/* PUT a file as an upload, with a bar; `purpose`: "batch" or "train". */
enum status job_upload(struct client *client, const char *file, const char *purpose,
                       char id[static JOB_ID_SIZE], struct error *why);

/* Delete an upload that turned out to be one too many. */
void job_forget_upload(struct client *client, const char *file_id);

/* What a dataset job is asked for. */
struct job_wish {
    const char *model;   /* NAME or NAME/VERSION */
    const char *file_id; /* the upload */
    const char *format;  /* "npy" or "jsonl" */
    long chunk_rows;     /* 0: the gateway chooses */
    const char *key;     /* of the job, so that another run finds it; NULL: this run's own */
};
enum status job_create(struct client *client, const struct job_wish *wish, struct job *job,
                       struct error *why);

/* False when the object is not a batch. */
bool job_read(struct job *job, const json_t *object);

/* Its end states. */
bool job_ended(const struct job *job);

/* Ask once. */
enum status job_get(struct client *client, const char *id, struct job *job, struct error *why);

/* Follow it to its end, with a bar on stderr. CANCELLED when Ctrl-C was pressed: it goes on. */
enum status job_follow(struct client *client, const char *id, struct job *job, struct error *why);

/* Is there room for a file of this name? Asked before the work, which may take hours. */
enum status job_output_check(const char *output, struct error *why);

/* Download the output to `output` and, when rows failed, the error file to `output`.errors.jsonl.
 */
enum status job_fetch(struct client *client, const struct job *job, const char *output,
                      struct error *why);

/* One line that says how it ended; returns the exit code that belongs to it. */
int job_conclude(const struct job *job, const char *output);

#endif
