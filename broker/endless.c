/* endless - octets by connection, as the kernel counts them; see endless.h */
#include "broker/endless.h"

#include "common/limits.h"
#include "common/log.h"
#include "common/netopts.h"

#include <inttypes.h>
#include <stdlib.h>

#define NS_PER_MS UINT64_C(1000000)

void endless_open(struct endless *self, int fds_max)
{
    *self = (struct endless){.links_max = fds_max};
    self->links = xcalloc((size_t)fds_max, sizeof(struct endless_link));
}

void endless_close(struct endless *self)
{
    free(self->links);
    *self = (struct endless){0};
}

void endless_came(struct endless *self, int fd, uint64_t max)
{
    if (fd < 0 || fd >= self->links_max)
        return;
    self->links[fd] = (struct endless_link){.max = max};
    self->top = MAX(self->top, fd + 1);
}

void endless_went(struct endless *self, int fd)
{
    if (fd < 0 || fd >= self->links_max)
        return;
    self->links[fd].max = 0;
    while (self->top > 0 && self->links[self->top - 1].max == 0)
        self->top--;
}

/* Of a descriptor from which HELLO came; NULL: a stranger's. */
static const struct conn *conn_of(struct conns *conns, int fd)
{
    return conns->fds[fd] ? conns_find(conns, conns->fds[fd]) : NULL;
}

size_t endless_look(struct endless *self, struct conns *conns, uint64_t now_ns)
{
    size_t cut = 0;
    if (now_ns < endless_next_ns(self))
        return 0;
    for (int fd = 0; fd < self->top; fd++) {
        struct endless_link *link = &self->links[fd];
        if (link->max == 0)
            continue;
        uint64_t octets = net_received(fd);
        const struct conn *conn = conn_of(conns, fd);
        uint64_t max = conn ? link->max : MIN(link->max, (uint64_t)ENDLESS_CONTROL_MAX);
        if (conn && conn->heard_ns >= self->looked_ns)
            link->since = octets;
        if (octets <= link->since || octets - link->since <= max)
            continue;
        char address[NET_PEER_SIZE];
        LOG_WARN("message_endless", "address=%s octets=%" PRIu64 " max=%" PRIu64,
                 net_peer_address(fd, address), octets - link->since, max);
        endless_went(self, fd);
        net_kick(fd);
        cut++;
    }
    self->looked_ns = now_ns;
    return cut;
}

uint64_t endless_next_ns(const struct endless *self)
{
    return self->top == 0 ? UINT64_MAX : self->looked_ns + ENDLESS_LOOK_MS * NS_PER_MS;
}
