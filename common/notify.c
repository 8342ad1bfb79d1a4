/* notify - one datagram a state; see notify.h */
#include "common/notify.h"

#include "common/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Half of what systemd allows, as sd_watchdog_enabled(3) advises. */
static uint64_t watchdog_ns(void)
{
    const char *text = getenv("WATCHDOG_USEC");
    const char *pid = getenv("WATCHDOG_PID");
    if (!text || (pid && strtol(pid, NULL, 10) != getpid()))
        return 0;
    errno = 0;
    uint64_t us = strtoull(text, NULL, 10);
    return errno || us > UINT64_MAX / 1000 ? 0 : us * 1000 / 2;
}

struct notify notify_open(void)
{
    struct notify self = {.fd = -1};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = getenv("NOTIFY_SOCKET");
    if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof address.sun_path)
        return self;
    size_t length = strlen(path);
    memcpy(address.sun_path, path, length);
    if (path[0] == '@') /* an abstract address has a NUL there */
        address.sun_path[0] = '\0';
    self.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (self.fd < 0)
        return self;
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    if (connect(self.fd, (const struct sockaddr *)&address, size) != 0) {
        notify_close(&self);
        return self;
    }
    self.watchdog_ns = watchdog_ns();
    self.due_ns = clock_mono_ns() + self.watchdog_ns;
    return self;
}

void notify_close(struct notify *self)
{
    if (self->fd >= 0)
        close(self->fd);
    *self = (struct notify){.fd = -1};
}

void notify_send(const struct notify *self, const char *state)
{
    if (self->fd >= 0 && send(self->fd, state, strlen(state), MSG_NOSIGNAL) < 0)
        return; /* see notify.h */
}

void notify_alive(struct notify *self, uint64_t now_ns)
{
    if (self->watchdog_ns == 0 || now_ns < self->due_ns)
        return;
    notify_send(self, "WATCHDOG=1");
    self->due_ns = now_ns + self->watchdog_ns;
}
