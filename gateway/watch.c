#include "gateway/watch.h"

#include <stdlib.h>

void watchers_add(struct watcher **list, struct watcher *watcher)
{
    watcher->next = *list;
    *list = watcher;
}

void watchers_remove(struct watcher **list, const struct watcher *watcher)
{
    for (; *list; list = &(*list)->next) {
        if (*list != watcher)
            continue;
        *list = watcher->next;
        return;
    }
}

void watchers_tell(struct watcher *list)
{
    struct watcher *next;
    for (; list; list = next) {
        next = list->next;
        list->changed(list->arg);
    }
}

void waiters_add(struct commit_waiter **list, waiter_call *call, void *arg)
{
    if (!call)
        return;
    while (*list)
        list = &(*list)->next;
    *list = xcalloc(1, sizeof **list);
    **list = (struct commit_waiter){.call = call, .arg = arg};
}

void waiters_tell(struct commit_waiter *list, enum status status, const struct error *why)
{
    while (list) {
        struct commit_waiter *waiter = list;
        list = waiter->next;
        waiter->call(waiter->arg, status, why);
        free(waiter);
    }
}
