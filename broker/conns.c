/* conns - entries by number and numbers by descriptor; see conns.h */
#include "broker/conns.h"

#include "common/netopts.h"

#include <stdlib.h>
#include <string.h>

#define NS_PER_MS UINT64_C(1000000)

static bool conn_same(const void *owner, uint32_t id, const void *key)
{
    return ((const struct conns *)owner)->entries[id].key == *(const uint64_t *)key;
}

void conns_open(struct conns *self, uint32_t max, int fds_max)
{
    *self = (struct conns){.max = max, .fds_max = fds_max};
    self->entries = xcalloc(max, sizeof(struct conn));
    self->free = xcalloc(max, sizeof(uint32_t));
    self->fds = xcalloc((size_t)fds_max, sizeof(uint64_t));
    map_open(&self->by_key, max, self, conn_same);
}

void conns_close(struct conns *self)
{
    if (!self->entries)
        return;
    map_close(&self->by_key);
    free(self->entries);
    free(self->free);
    free(self->fds);
    *self = (struct conns){0};
}

/* --- numbers: port + 1, length, octets ----------------------------------------------------------
 */

uint64_t conn_key(uint32_t port, const uint8_t *route, size_t len)
{
    uint64_t key = (uint64_t)(port + 1) << 4 | len;
    if (len == 0 || len > CONN_ROUTE_MAX)
        return 0;
    for (size_t i = 0; i < CONN_ROUTE_MAX; i++)
        key = key << 8 | (i < len ? route[i] : 0);
    return key;
}

uint32_t conn_port(uint64_t key)
{
    return (uint32_t)(key >> (8 * CONN_ROUTE_MAX + 4)) - 1;
}

size_t conn_route(uint64_t key, uint8_t route[static CONN_ROUTE_MAX])
{
    for (size_t i = 0; i < CONN_ROUTE_MAX; i++)
        route[i] = (uint8_t)(key >> (8 * (CONN_ROUTE_MAX - 1 - i)));
    return (size_t)(key >> (8 * CONN_ROUTE_MAX)) & 15;
}

/* --- entries -----------------------------------------------------------------------------------
 */

static uint32_t find(const struct conns *self, uint64_t key)
{
    return map_find(&self->by_key, map_mix(key), &key);
}

struct conn *conns_find(struct conns *self, uint64_t key)
{
    uint32_t id = find(self, key);
    return id == NONE ? NULL : &self->entries[id];
}

void conns_forget(struct conns *self, uint64_t key)
{
    uint32_t id = find(self, key);
    if (id == NONE)
        return;
    struct conn *conn = &self->entries[id];
    if (conn->fd >= 0 && self->fds[conn->fd] == key)
        self->fds[conn->fd] = 0;
    self->kicks -= conn->kick_ns ? 1 : 0;
    map_remove(&self->by_key, map_mix(key), id);
    *conn = (struct conn){0};
    self->free[self->free_len++] = id;
}

/* The one that nothing else would ever remove: no descriptor, silent longest. */
static uint64_t stalest(const struct conns *self)
{
    const struct conn *worst = &self->entries[0];
    for (uint32_t i = 1; i < self->used; i++) {
        const struct conn *conn = &self->entries[i];
        if ((conn->fd < 0) > (worst->fd < 0) ||
            ((conn->fd < 0) == (worst->fd < 0) && conn->heard_ns < worst->heard_ns))
            worst = conn;
    }
    return worst->key;
}

struct conn *conns_meet(struct conns *self, uint64_t key, uint64_t now_ns)
{
    struct conn *conn = conns_find(self, key);
    assert(self->entries);
    if (!conn) {
        if (self->free_len == 0 && self->used == self->max)
            conns_forget(self, stalest(self));
        uint32_t id = self->free_len ? self->free[--self->free_len] : self->used++;
        conn = &self->entries[id];
        *conn = (struct conn){.key = key, .fd = -1};
        map_put(&self->by_key, map_mix(key), id);
    }
    conn->heard_ns = now_ns;
    return conn;
}

/* --- descriptors -------------------------------------------------------------------------------
 */

void conns_tie(struct conns *self, struct conn *conn, int fd)
{
    if (fd < 0 || fd >= self->fds_max || self->fds[fd] == conn->key)
        return;
    struct conn *before = self->fds[fd] ? conns_find(self, self->fds[fd]) : NULL;
    if (before)
        before->fd = -1;
    if (conn->fd >= 0)
        self->fds[conn->fd] = 0;
    conn->fd = fd;
    self->fds[fd] = conn->key;
}

uint64_t conns_untie(struct conns *self, int fd)
{
    if (fd < 0 || fd >= self->fds_max)
        return 0;
    uint64_t key = self->fds[fd];
    struct conn *conn = key ? conns_find(self, key) : NULL;
    self->fds[fd] = 0;
    if (conn)
        conn->fd = -1;
    return key;
}

/* --- manners -----------------------------------------------------------------------------------
 */

bool conn_strike(struct conn *conn, uint64_t now_ns)
{
    if (conn->strikes == 0 || now_ns - conn->strike_ns > CONN_STRIKE_MS * NS_PER_MS) {
        conn->strikes = 0;
        conn->strike_ns = now_ns;
    }
    return ++conn->strikes >= CONN_STRIKES;
}

bool conn_may_complain(struct conn *conn, uint64_t now_ns)
{
    if (conn->error_ns && now_ns - conn->error_ns < CONN_ERROR_MS * NS_PER_MS)
        return false;
    conn->error_ns = now_ns;
    return true;
}

bool conn_clogged(struct conn *conn, uint64_t octets)
{
    if (conn->given + octets - conn->arrived > UNSENT_RESULTS_MAX) {
        uint64_t acked = net_delivered(conn->fd);
        conn->beside = MAX(conn->beside, acked - MIN(acked, conn->given));
        conn->arrived = acked ? acked - conn->beside : conn->given;
        if (conn->given > conn->arrived &&
            conn->given + octets - conn->arrived > UNSENT_RESULTS_MAX)
            return true;
    }
    conn->given += octets;
    return false;
}

void conns_kick_later(struct conns *self, struct conn *conn, uint64_t now_ns)
{
    if (conn->kick_ns)
        return;
    conn->kick_ns = now_ns + CONN_FAREWELL_MS * NS_PER_MS;
    self->kicks++;
}

int conns_next_kick(struct conns *self, uint64_t now_ns)
{
    for (uint32_t i = 0; self->kicks > 0 && i < self->used; i++) {
        struct conn *conn = &self->entries[i];
        if (conn->kick_ns == 0 || conn->kick_ns > now_ns)
            continue;
        conn->kick_ns = 0;
        self->kicks--;
        if (conn->fd >= 0)
            return conn->fd;
    }
    return -1;
}
