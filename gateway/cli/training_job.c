#include "gateway/cli/training_job.h"

#include "gateway/cli/answer.h"
#include "gateway/cli/progress.h"

#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASK_AGAIN_MS 100 /* while a job runs */

double training_number(const json_t *object, const char *group, const char *key)
{
    const json_t *in = group ? json_object_get(object, group) : object;
    const json_t *value = json_object_get(in, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

bool training_ended(const json_t *job)
{
    static const char *const ends[] = {"completed", "failed", "cancelled"};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++)
        if (strcmp(answer_text(job, "status"), ends[i]) == 0)
            return true;
    return false;
}

enum status training_ask(struct client *client, const char *id, const char *action, json_t **job,
                         struct error *why)
{
    return action ? answer_ask(client, "POST", TRAINING_JOBS "/", id, action, job, why)
                  : answer_ask(client, "GET", TRAINING_JOBS "/", id, "", job, why);
}

/* --- following ---------------------------------------------------------------------------------
 */
struct following {
    struct client *client;
    const char *id;           /* of the job */
    struct progress progress; /* the bar */
    double epochs_told;       /* epochs that have their line */
    char waiting[512];        /* what it waits for, as told last */
};

/* "  loss 0.4210 accuracy 0.8503", of what there is. */
static size_t add_metrics(char *into, size_t size, const json_t *metrics, const char *prefix)
{
    static const char *const names[] = {"loss", "accuracy"};
    char key[40];
    size_t used = 0;
    into[0] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(key, sizeof key, "%s%s", prefix, names[i]);
        double value = training_number(metrics, NULL, key);
        if (!isnan(value) && used < size)
            used += (size_t)snprintf(into + used, size - used, "%s%s %.4f", used ? " " : "",
                                     names[i], value);
    }
    return used;
}

static void tell_epoch(struct following *self, const json_t *end, double epochs)
{
    char trained[64], validated[64];
    double seconds = training_number(end, NULL, "seconds");
    if (cli_options.quiet)
        return;
    progress_clear(&self->progress);
    add_metrics(trained, sizeof trained, end, "");
    bool validation = add_metrics(validated, sizeof validated, end, "validation_") > 0;
    fprintf(stderr, "epoch %.0f/%.0f  %s%s%s", training_number(end, NULL, "epoch"), epochs, trained,
            validation ? "  validation " : "", validated);
    if (!isnan(seconds))
        fprintf(stderr, "  %.1f s", seconds);
    fputc('\n', stderr);
}

/* The epochs that ended since: the job's object has the last one only. */
static void tell_epochs(struct following *self, const json_t *job)
{
    double last = training_number(job, "metrics", "epoch");
    double epochs = training_number(job, "progress", "epochs");
    struct error ignored;
    char *path, *text = NULL;
    if (isnan(last) || last <= self->epochs_told)
        return;
    if (last == self->epochs_told + 1) {
        tell_epoch(self, json_object_get(job, "metrics"), epochs);
    } else {
        path = xasprintf(TRAINING_JOBS "/%s/history", self->id);
        if (client_text(self->client, path, &text, &ignored) != STATUS_OK)
            text = NULL;
        free(path);
    }
    for (char *line = text ? strtok(text, "\n") : NULL; line; line = strtok(NULL, "\n")) {
        json_t *report = json_loads(line, 0, NULL);
        const json_t *end = json_object_get(report, "epoch_end");
        double epoch = training_number(end, NULL, "epoch");
        if (epoch > self->epochs_told && epoch <= last)
            tell_epoch(self, end, epochs);
        json_decref(report);
    }
    free(text);
    self->epochs_told = last;
}

static void tell_waiting(struct following *self, const json_t *job)
{
    const char *waiting = answer_text(json_object_get(job, "convoy"), "waiting_for");
    if (strcmp(waiting, self->waiting) == 0)
        return;
    text_copy(self->waiting, sizeof self->waiting, waiting);
    if (!waiting[0] || cli_options.quiet)
        return;
    progress_clear(&self->progress);
    fprintf(stderr, "%s: %s\n", cli_command, waiting);
}

/* Rows that have been learnt from, of all epochs' rows. */
static uint64_t rows_of(const json_t *job, uint64_t *total)
{
    double step = training_number(job, "progress", "step");
    double steps = training_number(job, "progress", "steps");
    double all =
        training_number(job, "progress", "rows") * training_number(job, "progress", "epochs");
    bool known = steps > 0 && all > 0 && step >= 0;
    *total = known ? (uint64_t)all : 0;
    return known ? (uint64_t)(all * fmin(step / steps, 1)) : 0;
}

static void show(struct following *self, const json_t *job, bool last)
{
    uint64_t total, done = rows_of(job, &total);
    double rate = training_number(job, "progress", "rows_s");
    double epoch = training_number(job, "progress", "epoch");
    char metrics[64], extra[160] = "";
    add_metrics(metrics, sizeof metrics, json_object_get(job, "progress"), "");
    if (!isnan(epoch))
        snprintf(extra, sizeof extra, "epoch %.0f/%.0f%s%s", epoch,
                 training_number(job, "progress", "epochs"), metrics[0] ? " " : "", metrics);
    rate = isnan(rate) ? 0 : rate;
    if (last)
        progress_end(&self->progress, done, total, rate, extra);
    else
        progress_show(&self->progress, done, total, rate, extra);
}

enum status training_follow(struct client *client, const char *id, json_t **job, struct error *why)
{
    struct following self = {.client = client, .id = id};
    progress_start(&self.progress, "train", false);
    for (;;) {
        enum status s = training_ask(client, id, NULL, job, why);
        if (s != STATUS_OK) {
            progress_clear(&self.progress);
            return s;
        }
        tell_epochs(&self, *job);
        tell_waiting(&self, *job);
        if (training_ended(*job)) {
            show(&self, *job, true);
            return STATUS_OK;
        }
        show(&self, *job, false);
        json_decref(*job);
        *job = NULL;
        if (cli_interrupted(NULL)) {
            progress_clear(&self.progress);
            return fail(why, STATUS_CANCELLED, "interrupted");
        }
        poll(NULL, 0, ASK_AGAIN_MS);
    }
}

/* --- the end -----------------------------------------------------------------------------------
 */
static void print_line(const json_t *job)
{
    char metrics[64], validation[64];
    const json_t *end = json_object_get(job, "metrics");
    const char *version = answer_text(job, "model_version");
    add_metrics(metrics, sizeof metrics, end, "");
    bool validated = add_metrics(validation, sizeof validation, end, "validation_") > 0;
    printf("%s %s: %s%s%s steps %.0f%s%s%s%s redelivered %.0f\n", answer_text(job, "id"),
           answer_text(job, "status"), answer_text(job, "name"), version[0] ? "/" : "", version,
           fmax(training_number(job, "progress", "step"), 0), metrics[0] ? " " : "", metrics,
           validated ? " validation " : "", validation,
           fmax(training_number(job, "convoy", "redelivered"), 0));
}

int training_conclude(const json_t *job)
{
    const json_t *errors = json_object_get(json_object_get(job, "errors"), "data");
    const char *problem = answer_text(json_array_get(errors, 0), "message");
    bool good = strcmp(answer_text(job, "status"), "completed") == 0;
    if (cli_options.json) {
        answer_print(job);
    } else {
        print_line(job);
    }
    if (problem[0])
        fprintf(stderr, "%s: %s\n", cli_command, problem);
    if (good && !cli_options.quiet)
        fprintf(stderr,
                "the model answers as %s/%s; its curve is %s/v2/models/%s/versions/%s/curve.svg\n",
                answer_text(job, "name"), answer_text(job, "model_version"), cli_options.gateway,
                answer_text(job, "name"), answer_text(job, "model_version"));
    return good ? CLI_EXIT_OK : CLI_EXIT_ROWS_FAILED;
}

void training_say_how_to_go_on(const char *id)
{
    fprintf(stderr,
            "the job %s goes on without this program:\n"
            "  convoy training watch %s\n"
            "  convoy training cancel %s\n",
            id, id, id);
}
