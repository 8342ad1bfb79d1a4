/* events - see events.h */
#include "gateway/api/events.h"

#include "common/clock.h"

#include <stdlib.h>
#include <string.h>

#define PAUSE_MS 100 /* between two events, unless the job ends */

struct events {
    const struct events_kind *kind; /* of the job */
    void *owner;                    /* whose job */
    struct uuid id;                 /* of the job */
    struct watcher watcher;         /* in the job's list */
    struct http_stream *stream;     /* the reply */
    char *text;                     /* the event that is being sent; NULL: none */
    size_t size, sent;              /* of it */
    bool changed;                   /* there is news */
    bool last;                      /* the event that is being sent is the last one */
    uint64_t made_ns;               /* when the last event was made */
};

static void on_changed(void *arg)
{
    struct events *self = arg;
    const struct events_kind *kind = self->kind;
    bool soon = clock_mono_ns() - self->made_ns < PAUSE_MS * NS_PER_MS;
    if (soon && !kind->over(self->owner, &self->id) && !kind->ending(self->owner))
        return;
    self->changed = true;
    if (self->stream)
        http_stream_wake(self->stream);
}

static void make_event(struct events *self)
{
    json_t *object = self->kind->show(self->owner, &self->id);
    char *data = json_dumps(object, JSON_COMPACT);
    self->text = xasprintf("event: %s\ndata: %s\n\n", self->kind->name, data);
    self->size = strlen(self->text);
    self->sent = 0;
    self->changed = false;
    self->last = self->kind->over(self->owner, &self->id);
    self->made_ns = clock_mono_ns();
    free(data);
    json_decref(object);
}

static int64_t pull(void *arg, void *into, size_t max)
{
    struct events *self = arg;
    if (!self->text) {
        if (self->last || self->kind->ending(self->owner))
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
    struct watcher **list = self->kind->watchers(self->owner, &self->id);
    if (list)
        watchers_remove(list, &self->watcher);
    free(self->text);
    free(self);
}

void events_reply(struct http_request *request, const struct events_kind *kind, void *owner,
                  const struct uuid *id)
{
    struct events *self = xcalloc(1, sizeof(*self));
    struct http_source source = {.pull = pull, .done = done, .arg = self};
    self->kind = kind;
    self->owner = owner;
    self->id = *id;
    self->changed = true;
    self->watcher = (struct watcher){.changed = on_changed, .arg = self};
    watchers_add(kind->watchers(owner, id), &self->watcher);
    http_reply_header(request, "Cache-Control", "no-store");
    struct http_stream *stream =
        http_reply_stream(request, 200, "text/event-stream", UINT64_MAX, &source);
    if (stream)
        self->stream = stream; /* NULL: done() has freed everything */
}
