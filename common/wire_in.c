/* wire_in - messages as they arrive: frames, checks, accessors; see wire.h */
#include "common/wire_rules.h"

#include "common/crc32c.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct wire_store {
    zmq_msg_t head;                    /* the 16 octets */
    zmq_msg_t map;                     /* packed map: strings of the object point into it */
    zmq_msg_t bodies[WIRE_FRAMES_MAX]; /* the first bodies_len are in use */
    size_t bodies_len;                 /* frames that must be closed */
    msgpack_zone zone;                 /* the decoded object's memory, reused */
    msgpack_object object;             /* the decoded map */
};

static struct wire_store *store_new(void)
{
    struct wire_store *store = xcalloc(1, sizeof *store);
    zmq_msg_init(&store->head);
    zmq_msg_init(&store->map);
    if (!msgpack_zone_init(&store->zone, MSGPACK_ZONE_CHUNK_SIZE))
        panic("out of memory for a message");
    return store;
}

static void store_empty(struct wire_in *in)
{
    struct wire_store *store = in->store;
    for (size_t i = 0; i < store->bodies_len; i++)
        zmq_msg_close(&store->bodies[i]);
    store->bodies_len = 0;
    msgpack_zone_clear(&store->zone);
    in->map = (struct wire_map){NULL};
    in->bodies = store->bodies;
    in->bodies_len = 0;
    in->bodies_bytes = 0;
    in->route_len = 0;
    in->fd = -1;
    in->user[0] = '\0';
    in->overrun = false;
    in->why.status = STATUS_OK;
    in->why.text[0] = '\0';
}

void wire_in_clear(struct wire_in *in)
{
    if (!in->store)
        return;
    store_empty(in);
    zmq_msg_close(&in->store->head);
    zmq_msg_close(&in->store->map);
    msgpack_zone_destroy(&in->store->zone);
    free(in->store);
    *in = (struct wire_in){0};
}

/* --- checks on the parts ------------------------------------------------------------------------
 */

static uint32_t le32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void put_le32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static enum status check_head(const uint8_t *head, size_t size, const void *map, size_t map_size,
                              struct error *why)
{
    if (size != WIRE_HEAD || memcmp(head, "CVY1", 4) != 0)
        return fail(why, STATUS_MALFORMED, "the first frame is not a Convoy header");
    if (head[4] != WIRE_MAJOR) {
        fail(why, STATUS_VERSION,
             "the peer speaks wire %u, this side wire %u: run the same major version on both",
             head[4], WIRE_MAJOR);
        return STATUS_MALFORMED;
    }
    if (!rules_type_known(head[5]))
        return fail(why, STATUS_MALFORMED, "message type 0x%02x is not known", head[5]);
    uint64_t limit =
        wire_plane((enum wire_type)head[5]) == WIRE_CONTROL ? WIRE_CONTROL_MAX : WIRE_MAP_MAX;
    if (map_size > limit)
        return fail(why, STATUS_MALFORMED, "the map has %zu octets, at most %" PRIu64, map_size,
                    limit);
    uint32_t sum = crc32c(0, map, map_size);
    if (sum != le32(head + 12))
        return fail(why, STATUS_MALFORMED, "the map's crc32c is %08x, the header says %08x", sum,
                    le32(head + 12));
    return STATUS_OK;
}

static enum status decode(const void *bytes, size_t size, int owner, msgpack_zone *zone,
                          msgpack_object *object, struct error *why)
{
    size_t offset = 0;
    if (!rules_walk(bytes, size))
        return fail(why, STATUS_MALFORMED, "the map is not well-formed msgpack within the limits");
    msgpack_unpack_return got = msgpack_unpack(bytes, size, &offset, zone, object);
    if (got != MSGPACK_UNPACK_SUCCESS)
        return fail(why, STATUS_MALFORMED, "the map is not well-formed msgpack");
    return rules_check(object, owner, why);
}

/* Bodies must be what the map says: tasks count their frames, a blob has at most one. */
static enum status check_bodies(const struct wire_in *in, struct error *why)
{
    uint64_t expected = 0;
    if (in->type == WIRE_PROGRESS)
        return STATUS_OK;
    if (in->type == WIRE_BLOB_CHUNK || in->type == WIRE_BLOB_PUT)
        expected = MIN(in->bodies_len, 1);
    for (size_t i = 0; i < wire_len(in->map, KEY_TASKS); i++)
        expected += wire_u64(wire_at(in->map, KEY_TASKS, i), KEY_FRAMES);
    if (expected == in->bodies_len)
        return STATUS_OK;
    return fail(why, STATUS_MALFORMED, "%s has %zu body frames, its map says %" PRIu64,
                wire_name(in->type), in->bodies_len, expected);
}

enum status wire_check(const void *head, size_t head_size, const void *map, size_t map_size,
                       struct error *why)
{
    msgpack_zone zone;
    msgpack_object object;
    enum status s = check_head(head, head_size, map, map_size, why);
    if (s != STATUS_OK)
        return s;
    if (!msgpack_zone_init(&zone, MSGPACK_ZONE_CHUNK_SIZE))
        panic("out of memory for a message");
    s = decode(map, map_size, ((const uint8_t *)head)[5], &zone, &object, why);
    msgpack_zone_destroy(&zone);
    return s;
}

enum status wire_unpack(const void *bytes, size_t size, enum wire_group group,
                        struct wire_unpacked *arena, struct wire_map *map, struct error *why)
{
    *map = (struct wire_map){NULL};
    if (size == 0)
        return fail(why, STATUS_MALFORMED, "a packed map is empty");
    if (!arena->zone)
        arena->zone = msgpack_zone_new(MSGPACK_ZONE_CHUNK_SIZE);
    if (!arena->zone)
        panic("out of memory for a message");
    msgpack_zone_clear(arena->zone);
    enum status s = decode(bytes, size, (int)group, arena->zone, &arena->object, why);
    if (s == STATUS_OK)
        map->object = &arena->object;
    return s;
}

void wire_unpacked_free(struct wire_unpacked *arena)
{
    if (arena->zone)
        msgpack_zone_free(arena->zone);
    *arena = (struct wire_unpacked){0};
}

/* --- receiving ----------------------------------------------------------------------------------
 */

static bool is_router(void *socket)
{
    int type = 0;
    size_t size = sizeof type;
    return zmq_getsockopt(socket, ZMQ_TYPE, &type, &size) == 0 && type == ZMQ_ROUTER;
}

static bool take(void *socket, zmq_msg_t *frame, int flags)
{
    int got;
    do
        got = zmq_msg_recv(frame, socket, flags);
    while (got < 0 && errno == EINTR);
    return got >= 0;
}

/* Read what is left of a message that is refused already. */
static void drop_rest(void *socket, bool more)
{
    zmq_msg_t frame;
    zmq_msg_init(&frame);
    while (more && take(socket, &frame, ZMQ_DONTWAIT))
        more = zmq_msg_more(&frame);
    zmq_msg_close(&frame);
}

/* Take the body frames after the map; false when they break a bound. */
static bool take_bodies(void *socket, struct wire_in *in, bool more)
{
    struct wire_store *store = in->store;
    while (more) {
        if (store->bodies_len == WIRE_FRAMES_MAX) {
            drop_rest(socket, true);
            return false;
        }
        zmq_msg_t *frame = &store->bodies[store->bodies_len];
        zmq_msg_init(frame);
        store->bodies_len++;
        if (!take(socket, frame, ZMQ_DONTWAIT))
            return false;
        more = zmq_msg_more(frame);
        in->bodies_bytes += zmq_msg_size(frame);
        if (zmq_msg_size(frame) > WIRE_FRAME_MAX || in->bodies_bytes > WIRE_MESSAGE_MAX) {
            drop_rest(socket, more);
            return false;
        }
    }
    in->bodies_len = store->bodies_len;
    return true;
}

/* Take head and map, and the route before them on a ROUTER. BUSY: nothing there. */
static enum status take_parts(void *socket, struct wire_in *in, bool *more)
{
    struct wire_store *store = in->store;
    if (!take(socket, &store->head, ZMQ_DONTWAIT))
        return errno == EAGAIN ? STATUS_BUSY : STATUS_UNAVAILABLE;
    *more = zmq_msg_more(&store->head);
    if (is_router(socket)) {
        in->route_len = MIN(zmq_msg_size(&store->head), (size_t)WIRE_ROUTE_MAX);
        memcpy(in->route, zmq_msg_data(&store->head), in->route_len);
        if (!*more || !take(socket, &store->head, ZMQ_DONTWAIT))
            return fail(&in->why, STATUS_MALFORMED, "a message without frames");
        *more = zmq_msg_more(&store->head);
    }
    if (!*more || !take(socket, &store->map, ZMQ_DONTWAIT))
        return fail(&in->why, STATUS_MALFORMED, "a message of one frame, expected at least two");
    *more = zmq_msg_more(&store->map);
    return STATUS_OK;
}

static enum status understand(struct wire_in *in)
{
    struct wire_store *store = in->store;
    const uint8_t *head = zmq_msg_data(&store->head);
    const void *map = zmq_msg_data(&store->map);
    size_t map_size = zmq_msg_size(&store->map);
    enum status s = check_head(head, zmq_msg_size(&store->head), map, map_size, &in->why);
    if (s != STATUS_OK)
        return s;
    in->type = (enum wire_type)head[5];
    in->sequence = le32(head + 8);
    s = decode(map, map_size, head[5], &store->zone, &store->object, &in->why);
    if (s != STATUS_OK)
        return s;
    in->map.object = &store->object;
    return check_bodies(in, &in->why);
}

/* Who it came from. From the payload: libzmq 4.3.4 loses both properties of the identity frame when
 * the socket was polled before. */
static void identify(struct wire_in *in)
{
    const char *user = zmq_msg_gets(&in->store->head, "User-Id");
    in->fd = zmq_msg_get(&in->store->head, ZMQ_SRCFD);
    if (user && !text_copy(in->user, sizeof in->user, user))
        in->user[0] = '\0'; /* none that our ZAP handler gave */
}

enum status wire_recv(void *socket, struct wire_in *in)
{
    bool more = false;
    if (!in->store)
        in->store = store_new();
    store_empty(in);
    enum status s = take_parts(socket, in, &more);
    if (s == STATUS_OK && !take_bodies(socket, in, more)) {
        in->overrun = true;
        s = fail(&in->why, STATUS_MALFORMED, "a message over the limit of %d frames and %d octets",
                 WIRE_FRAMES_MAX, WIRE_MESSAGE_MAX);
    } else if (s == STATUS_MALFORMED) {
        drop_rest(socket, more);
    }
    if (s == STATUS_OK)
        s = understand(in);
    if (s == STATUS_MALFORMED ||
        (s == STATUS_OK && (in->type == WIRE_HELLO || in->type == WIRE_ENROL)))
        identify(in);
    if (s != STATUS_OK)
        in->map.object = NULL;
    return s;
}

static enum status forward_frames(struct wire_in *in, void *socket, const void *route,
                                  size_t route_len)
{
    struct wire_store *store = in->store;
    int sent;
    do
        sent = zmq_send(socket, route, route_len, ZMQ_SNDMORE | ZMQ_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return errno == EAGAIN ? STATUS_BUSY : STATUS_UNAVAILABLE;
    int more = in->bodies_len > 0 ? ZMQ_SNDMORE : 0;
    if (zmq_msg_send(&store->head, socket, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0 ||
        zmq_msg_send(&store->map, socket, more | ZMQ_DONTWAIT) < 0)
        return STATUS_UNAVAILABLE;
    for (size_t i = 0; i < in->bodies_len; i++) {
        more = i + 1 < in->bodies_len ? ZMQ_SNDMORE : 0;
        if (zmq_msg_send(&in->bodies[i], socket, more | ZMQ_DONTWAIT) < 0)
            return STATUS_UNAVAILABLE;
    }
    return STATUS_OK;
}

enum status wire_forward(struct wire_in *in, void *socket, const void *route, size_t route_len,
                         uint32_t *sequence)
{
    assert(in->store && in->map.object && route);
    uint8_t head[WIRE_HEAD];
    memcpy(head, zmq_msg_data(&in->store->head), sizeof head);
    put_le32(head + 8, ++*sequence);
    /* A fresh frame: the old one may be shared with the network's buffer. */
    zmq_msg_close(&in->store->head);
    if (zmq_msg_init_size(&in->store->head, sizeof head) != 0)
        panic("out of memory for a frame of %zu octets", sizeof head);
    memcpy(zmq_msg_data(&in->store->head), head, sizeof head);
    enum status s = forward_frames(in, socket, route, route_len);
    store_empty(in);
    return s;
}

bool wire_gather(zmq_msg_t *frames, size_t frames_len, void *into, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < frames_len; i++) {
        size_t part = zmq_msg_size(&frames[i]);
        if (part > size - used)
            return false;
        memcpy((char *)into + used, zmq_msg_data(&frames[i]), part);
        used += part;
    }
    return used == size;
}

/* --- accessors ----------------------------------------------------------------------------------
 */

/* The value of a key. NULL when it is absent, and when it has another type than the key: a message
 * may hold keys that wire.def does not list for it, which nobody has checked. */
static const msgpack_object *value_of(struct wire_map map, enum wire_key key)
{
    static const msgpack_object_type types[] = {
        [VALUE_U64] = MSGPACK_OBJECT_POSITIVE_INTEGER,
        [VALUE_TEXT] = MSGPACK_OBJECT_STR,
        [VALUE_BIN] = MSGPACK_OBJECT_BIN,
        [VALUE_UUID] = MSGPACK_OBJECT_BIN,
        [VALUE_DIGEST] = MSGPACK_OBJECT_BIN,
        [VALUE_NUMBERS] = MSGPACK_OBJECT_ARRAY,
        [VALUE_MAPS] = MSGPACK_OBJECT_ARRAY,
    };
    const msgpack_object *value = rules_find(map.object, key);
    return value && value->type == types[rules_key_type(key)] ? value : NULL;
}

bool wire_has(struct wire_map map, enum wire_key key)
{
    return value_of(map, key) != NULL;
}

uint64_t wire_u64(struct wire_map map, enum wire_key key)
{
    const msgpack_object *value = value_of(map, key);
    assert(rules_key_type(key) == VALUE_U64);
    return value ? value->via.u64 : 0;
}

const void *wire_bytes(struct wire_map map, enum wire_key key, size_t *size)
{
    const msgpack_object *value = value_of(map, key);
    *size = 0;
    if (!value)
        return NULL;
    if (value->type == MSGPACK_OBJECT_STR) {
        *size = value->via.str.size;
        return value->via.str.ptr;
    }
    assert(value->type == MSGPACK_OBJECT_BIN);
    *size = value->via.bin.size;
    return value->via.bin.ptr;
}

char *wire_text(struct wire_map map, enum wire_key key, char *into, size_t size)
{
    size_t length;
    const char *text = wire_bytes(map, key, &length);
    assert(size > 0);
    length = MIN(length, size - 1);
    for (size_t i = 0; i < length; i++)
        into[i] = text[i] ? text[i] : '?';
    into[length] = '\0';
    text_clean(into);
    return into;
}

struct uuid wire_uuid(struct wire_map map, enum wire_key key)
{
    size_t size;
    struct uuid uuid = {{0}};
    const void *bytes = wire_bytes(map, key, &size);
    if (size == sizeof uuid)
        memcpy(&uuid, bytes, sizeof uuid);
    return uuid;
}

struct digest wire_digest(struct wire_map map, enum wire_key key)
{
    size_t size;
    struct digest digest = {{0}};
    const void *bytes = wire_bytes(map, key, &size);
    if (size == sizeof digest)
        memcpy(&digest, bytes, sizeof digest);
    return digest;
}

size_t wire_len(struct wire_map map, enum wire_key key)
{
    const msgpack_object *value = value_of(map, key);
    return value ? value->via.array.size : 0;
}

struct wire_map wire_at(struct wire_map map, enum wire_key key, size_t index)
{
    const msgpack_object *value = value_of(map, key);
    assert(rules_key_type(key) == VALUE_MAPS && value && index < value->via.array.size);
    const msgpack_object *element = &value->via.array.ptr[index];
    return (struct wire_map){element->type == MSGPACK_OBJECT_MAP ? element : NULL};
}

uint64_t wire_number(struct wire_map map, enum wire_key key, size_t index)
{
    const msgpack_object *value = value_of(map, key);
    assert(rules_key_type(key) == VALUE_NUMBERS && value && index < value->via.array.size);
    const msgpack_object *element = &value->via.array.ptr[index];
    return element->type == MSGPACK_OBJECT_POSITIVE_INTEGER ? element->via.u64 : 0;
}
