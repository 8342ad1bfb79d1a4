/* watch - who wants to hear of a job: of every change, or of the next commit
 *
 * Lists inside the job's struct. Front thread. */
#ifndef CONVOY_GATEWAY_WATCH_H
#define CONVOY_GATEWAY_WATCH_H

#include "common/status.h"

/* Lives inside its owner, until it is removed. */
struct watcher {
    void (*changed)(void *arg); /* something that clients see changed, or the job ended */
    void *arg;                  /* for changed */
    struct watcher *next;       /* of the job */
};

void watchers_add(struct watcher **list, struct watcher *watcher);
void watchers_remove(struct watcher **list, const struct watcher *watcher);

/* Each may remove itself meanwhile. */
void watchers_tell(struct watcher *list);

typedef void waiter_call(void *arg, enum status status, const struct error *why);

struct commit_waiter {
    waiter_call *call;          /* once, after the commit */
    void *arg;                  /* for call */
    struct commit_waiter *next; /* of the same commit */
};

/* At the end of the list; nothing when `call` is NULL. */
void waiters_add(struct commit_waiter **list, waiter_call *call, void *arg);

/* Call and free them all; the list is not looked at again after the first call. */
void waiters_tell(struct commit_waiter *list, enum status status, const struct error *why);

#endif
