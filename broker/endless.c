/* endless - octets by connection, as the kernel counts them; see endless.h */
#include "broker/endless.h"

#include "common/limits.h"
#include "common/log.h"
#include "common/netopts.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define NS_PER_MS UINT64_C(1000000)

void endless_open(struct endless *self, int fds_max)
{
    *self = (struct endless){.links_max = fds_max};
    self->statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    self->links = xcalloc((size_t)fds_max, sizeof(struct endless_link));
}

void endless_close(struct endless *self)
{
    if (self->links && self->statm_fd >= 0)
        close(self->statm_fd);
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

/* Resident octets of this process; UINT64_MAX: not known. */
static uint64_t resident(const struct endless *self)
{
    char text[128] = "";
    unsigned long long all, pages;
    if (self->statm_fd < 0 || pread(self->statm_fd, text, sizeof text - 1, 0) <= 0 ||
        sscanf(text, "%llu %llu", &all, &pages) != 2)
        return UINT64_MAX;
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Is there more than at the last look at all connections, by as much as one of them may send? */
static bool has_grown(struct endless *self)
{
    uint64_t now = resident(self);
    bool grown = now == UINT64_MAX || now > self->rss + ENDLESS_CONTROL_MAX;
    self->rss = grown ? now : MIN(self->rss, now);
    return grown;
}

size_t endless_look(struct endless *self, struct conns *conns, uint64_t now_ns)
{
    size_t cut = 0;
    if (now_ns < endless_next_ns(self))
        return 0;
    self->weighed_ns = now_ns;
    if (!has_grown(self))
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
    return self->top == 0 ? UINT64_MAX : self->weighed_ns + ENDLESS_LOOK_MS * NS_PER_MS;
}
