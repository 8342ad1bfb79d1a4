/* endless - messages without an end: libzmq keeps a message's parts until the last one is there
 *
 * A peer may send parts for ever, and nothing in libzmq bounds them: its size limit is of a part,
 * its high-water mark counts whole messages, and the reader sees nothing before the last part. So
 * the kernel is asked how many octets came over each connection. One over which more came than a
 * message may have, and no whole message, is shut down, and libzmq frees what it kept of it: up to
 * 21 times as much as came, where parts have one octet. Before HELLO little may come anywhere.
 *
 * Asking about thousands of connections several times a second would cost more than they do: they
 * are asked about only after the process has grown. What fits into memory that it had before needs
 * no guard. */
#ifndef CONVOY_BROKER_ENDLESS_H
#define CONVOY_BROKER_ENDLESS_H

#include "broker/conns.h"

struct endless_link {
    uint64_t max;   /* octets without a whole message; 0: not open */
    uint64_t since; /* octets that had come when the last whole message was seen */
};

struct endless {
    struct endless_link *links; /* by descriptor */
    int links_max;              /* descriptors below */
    int top;                    /* none is open from here on */
    uint64_t looked_ns;         /* last look at all of them */
    uint64_t weighed_ns;        /* last look at the process */
    uint64_t rss;               /* its resident octets at the last look at all, or less since */
    int statm_fd;               /* where the kernel tells them; -1: nowhere */
};

void endless_open(struct endless *self, int fds_max);
void endless_close(struct endless *self);

/* A connection came, on which more than `max` octets without a whole message are too many; it went.
 */
void endless_came(struct endless *self, int fd, uint64_t max);
void endless_went(struct endless *self, int fd);

/* Look at all of them when it is time, after the sockets were read. The number of connections that
 * were shut down. */
size_t endless_look(struct endless *self, struct conns *conns, uint64_t now_ns);

/* When to look next; UINT64_MAX: nobody is connected. */
uint64_t endless_next_ns(const struct endless *self);

#endif
