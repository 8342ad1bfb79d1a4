/* training_job - a training job as the commands train and training see it
 *
 * Follows a job to its end with a bar and a line for each epoch. One thread. */
#ifndef CONVOY_GATEWAY_CLI_TRAINING_JOB_H
#define CONVOY_GATEWAY_CLI_TRAINING_JOB_H

#include "gateway/cli/cli.h"

#define TRAINING_JOBS "/v1/training/jobs"

/* A number in "{...}" of the API, in the object `group` of it unless that is NULL; NAN: it is not
 * there. */
double training_number(const json_t *object, const char *group, const char *key);

/* It has come to its end, whichever. */
bool training_ended(const json_t *job);

/* GET the job, or POST what may be done to it: `action` NULL or "/cancel". The caller owns *job. */
enum status training_ask(struct client *client, const char *id, const char *action, json_t **job,
                         struct error *why);

/* Follow it to its end; *job is what it was last. CANCELLED when Ctrl-C was pressed: it goes on. */
enum status training_follow(struct client *client, const char *id, json_t **job, struct error *why);

/* How it ended, on stdout, and why not; returns the exit code that belongs to it. */
int training_conclude(const json_t *job);

/* After Ctrl-C. */
void training_say_how_to_go_on(const char *id);

#endif
