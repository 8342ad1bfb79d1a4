/* events - a job's progress as server-sent events
 *
 * Each event has the job's object as data; the stream ends with the job, or with the gateway. */
#ifndef CONVOY_GATEWAY_API_EVENTS_H
#define CONVOY_GATEWAY_API_EVENTS_H

#include "gateway/http/server.h"
#include "gateway/watch.h"

/* A kind of job. `owner` is who keeps them; the job is on record as long as it is open. */
struct events_kind {
    const char *name;                                                 /* of each event */
    struct watcher **(*watchers)(void *owner, const struct uuid *id); /* NULL: owner is closed */
    json_t *(*show)(void *owner, const struct uuid *id);              /* its object */
    bool (*over)(void *owner, const struct uuid *id);                 /* nothing will change */
    bool (*ending)(void *owner);                                      /* the gateway drains */
};

/* Reply with the events of this job from now on. `kind` outlives the reply. */
void events_reply(struct http_request *request, const struct events_kind *kind, void *owner,
                  const struct uuid *id);

#endif
