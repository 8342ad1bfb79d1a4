/* notify - tell systemd how we are, by its datagram protocol (sd_notify(3)), without its library
 *
 * Without NOTIFY_SOCKET everything here does nothing. Main thread. Never fails: a lost datagram is
 * systemd's to notice. */
#ifndef CONVOY_COMMON_NOTIFY_H
#define CONVOY_COMMON_NOTIFY_H

#include "common/base.h"

struct notify {
    int fd;               /* datagram socket; -1: nobody listens */
    uint64_t watchdog_ns; /* send a sign of life this often; 0: not asked for */
    uint64_t due_ns;      /* next one, on the monotonic clock */
};

/* Read NOTIFY_SOCKET and WATCHDOG_USEC. */
struct notify notify_open(void);
void notify_close(struct notify *self);

/* "READY=1", "STOPPING=1", "STATUS=...". */
void notify_send(const struct notify *self, const char *state);

/* Send WATCHDOG=1 when it is due. */
void notify_alive(struct notify *self, uint64_t now_ns);

#endif
