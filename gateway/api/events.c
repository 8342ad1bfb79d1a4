/* events - GET /v1/batches/{id}/events: a batch's progress as server-sent events
 *
 * Each event is named "batch" and has the batch object as data; the stream ends with the batch. */
#include "gateway/api/jobs_api.h"

#include "common/clock.h"

#include <stdlib.h>
#include <string.h>

#define PAUSE_MS 100 /* between two events, unless the batch ends */

struct events {
    struct jobs *jobs;          /* whose batch */
    struct uuid id;             /* of the batch */
    struct job_watcher watcher; /* in the job's list */
    struct http_stream *stream; /* the reply */
    char *text;                 /* the event that is being sent; NULL: none */
    size_t size, sent;          /* of it */
    bool changed;               /* there is news */
    bool last;                  /* the event that is being sent is the last one */
    uint64_t made_ns;           /* when the last event was made */
};

static void on_changed(void *arg)
{
    struct events *self = arg;
    const struct job *job = jobs_job(self->jobs, &self->id);
    bool soon = clock_mono_ns() - self->made_ns < PAUSE_MS * NS_PER_MS;
    if (soon && job && !job_over(job) && !self->jobs->draining)
        return;
    self->changed = true;
    if (self->stream)
        http_stream_wake(self->stream);
}

static void make_event(struct events *self)
{
    const struct job *job = jobs_job(self->jobs, &self->id);
    json_t *object = job_json(job);
    char *data = json_dumps(object, JSON_COMPACT);
    self->text = xasprintf("event: batch\ndata: %s\n\n", data);
    self->size = strlen(self->text);
    self->sent = 0;
    self->changed = false;
    self->last = job_over(job);
    self->made_ns = clock_mono_ns();
    free(data);
    json_decref(object);
}

static int64_t pull(void *arg, void *into, size_t max)
{
    struct events *self = arg;
    if (!self->text) {
        if (self->last || self->jobs->draining)
            return HTTP_STREAM_END;
        if (!self->changed)
            return HTTP_STREAM_WAIT;
        make_event(self);
    }
    size_t size = MIN(max, self->size - self->sent);
    memcpy(into, self->text + self->sent, size);
    self->sent += size;
    if (self->sent == self->size) {
        free(self->text);
        self->text = NULL;
    }
    return (int64_t)size;
}

static void done(void *arg)
{
    struct events *self = arg;
    struct job *job = self->jobs->closed ? NULL : jobs_job(self->jobs, &self->id);
    for (struct job_watcher **at = job ? &job->watchers : NULL; at && *at; at = &(*at)->next) {
        if (*at != &self->watcher)
            continue;
        *at = self->watcher.next;
        break;
    }
    free(self->text);
    free(self);
}

void batches_events(struct http_request *request, void *owner)
{
    struct job *job = api_job(owner, request);
    if (!job)
        return;
    struct events *self = xcalloc(1, sizeof(*self));
    struct http_source source = {.pull = pull, .done = done, .arg = self};
    self->jobs = owner;
    self->id = job->record.id;
    self->changed = true;
    self->watcher = (struct job_watcher){on_changed, self, job->watchers};
    job->watchers = &self->watcher;
    http_reply_header(request, "Cache-Control", "no-store");
    struct http_stream *stream =
        http_reply_stream(request, 200, "text/event-stream", UINT64_MAX, &source);
    if (stream)
        self->stream = stream; /* NULL: done() has freed everything */
}
