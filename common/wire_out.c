/* wire_out - messages as they are built and sent; see wire.h */
#include "common/wire_rules.h"

#include "common/crc32c.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* An open map or list whose count is patched when it closes. */
struct level {
    size_t count_at; /* place of its 16-bit count in the buffer */
    uint32_t count;  /* pairs or elements so far */
    bool list;       /* elements are maps */
};

struct wire_out {
    enum wire_type type;    /* of the message being built */
    msgpack_sbuffer buffer; /* the map so far */
    msgpack_packer packer;  /* writes into buffer */
    struct level levels[WIRE_DEPTH_MAX + 1];
    size_t depth;                      /* levels in use; 1: only the message's map */
    zmq_msg_t bodies[WIRE_FRAMES_MAX]; /* the first bodies_len are in use */
    size_t bodies_len;
    uint64_t bodies_bytes;
    struct wire_out *spec; /* packs SPECs on the side; made when first needed */
};

struct wire_out *wire_out_new(void)
{
    struct wire_out *self = xcalloc(1, sizeof *self);
    msgpack_sbuffer_init(&self->buffer);
    msgpack_packer_init(&self->packer, &self->buffer, msgpack_sbuffer_write);
    return self;
}

static void drop_bodies(struct wire_out *self)
{
    for (size_t i = 0; i < self->bodies_len; i++)
        zmq_msg_close(&self->bodies[i]);
    self->bodies_len = 0;
    self->bodies_bytes = 0;
}

void wire_out_destroy(struct wire_out **self_p)
{
    struct wire_out *self = *self_p;
    if (!self)
        return;
    drop_bodies(self);
    wire_out_destroy(&self->spec);
    msgpack_sbuffer_destroy(&self->buffer);
    free(self);
    *self_p = NULL;
}

/* --- the map ------------------------------------------------------------------------------------
 */

static void open_level(struct wire_out *self, uint8_t lead, bool list)
{
    const char head[3] = {(char)lead, 0, 0};
    assert(self->depth <= WIRE_DEPTH_MAX);
    msgpack_sbuffer_write(&self->buffer, head, sizeof head);
    self->levels[self->depth++] = (struct level){self->buffer.size - 2, 0, list};
}

static void close_level(struct wire_out *self)
{
    struct level *level = &self->levels[--self->depth];
    assert(level->count <= UINT16_MAX);
    self->buffer.data[level->count_at] = (char)(level->count >> 8);
    self->buffer.data[level->count_at + 1] = (char)level->count;
}

void wire_begin(struct wire_out *self, enum wire_type type)
{
    assert(rules_type_known((unsigned)type));
    drop_bodies(self);
    msgpack_sbuffer_clear(&self->buffer);
    self->type = type;
    self->depth = 0;
    open_level(self, 0xde, false);
}

static void put_key(struct wire_out *self, enum wire_key key, enum value_type type)
{
    struct level *level = &self->levels[self->depth - 1];
    assert(rules_key_type(key) == type && !level->list);
    level->count++;
    msgpack_pack_uint64(&self->packer, (uint64_t)key);
}

void wire_put_u64(struct wire_out *self, enum wire_key key, uint64_t value)
{
    put_key(self, key, VALUE_U64);
    msgpack_pack_uint64(&self->packer, value);
}

void wire_put_text(struct wire_out *self, enum wire_key key, const char *text)
{
    size_t length = strlen(text);
    put_key(self, key, VALUE_TEXT);
    msgpack_pack_str(&self->packer, length);
    msgpack_pack_str_body(&self->packer, text, length);
}

static void put_bin(struct wire_out *self, const void *bytes, size_t size)
{
    msgpack_pack_bin(&self->packer, size);
    msgpack_pack_bin_body(&self->packer, bytes, size);
}

void wire_put_bytes(struct wire_out *self, enum wire_key key, const void *bytes, size_t size)
{
    put_key(self, key, VALUE_BIN);
    put_bin(self, bytes, size);
}

void wire_put_uuid(struct wire_out *self, enum wire_key key, const struct uuid *uuid)
{
    put_key(self, key, VALUE_UUID);
    put_bin(self, uuid, sizeof *uuid);
}

void wire_put_digest(struct wire_out *self, enum wire_key key, const struct digest *digest)
{
    put_key(self, key, VALUE_DIGEST);
    put_bin(self, digest, sizeof *digest);
}

void wire_put_numbers(struct wire_out *self, enum wire_key key, const uint64_t *numbers, size_t len)
{
    put_key(self, key, VALUE_NUMBERS);
    msgpack_pack_array(&self->packer, len);
    for (size_t i = 0; i < len; i++)
        msgpack_pack_uint64(&self->packer, numbers[i]);
}

void wire_list_open(struct wire_out *self, enum wire_key key)
{
    put_key(self, key, VALUE_MAPS);
    open_level(self, 0xdc, true);
}

void wire_list_close(struct wire_out *self)
{
    assert(self->levels[self->depth - 1].list);
    close_level(self);
}

void wire_map_open(struct wire_out *self)
{
    assert(self->levels[self->depth - 1].list);
    self->levels[self->depth - 1].count++;
    open_level(self, 0xde, false);
}

void wire_map_close(struct wire_out *self)
{
    assert(self->depth > 1 && !self->levels[self->depth - 1].list);
    close_level(self);
}

void wire_put_set(struct wire_out *self, const struct uuid *gateway, const struct taskset *set,
                  size_t *next, size_t ranges_max)
{
    size_t len = MIN(set->len - *next, ranges_max);
    wire_map_open(self);
    wire_put_uuid(self, KEY_GATEWAY, gateway);
    put_key(self, KEY_RANGES, VALUE_NUMBERS);
    msgpack_pack_array(&self->packer, 2 * len);
    for (size_t i = 0; i < len; i++) {
        msgpack_pack_uint64(&self->packer, set->ranges[*next + i].first);
        msgpack_pack_uint64(&self->packer, set->ranges[*next + i].count);
    }
    wire_map_close(self);
    *next += len;
}

void wire_put_id(struct wire_out *self, enum wire_key key, const struct uuid *gateway,
                 uint64_t task)
{
    wire_list_open(self, key);
    wire_map_open(self);
    wire_put_uuid(self, KEY_GATEWAY, gateway);
    wire_put_numbers(self, KEY_RANGES, (const uint64_t[]){task, 1}, 2);
    wire_map_close(self);
    wire_list_close(self);
}

/* A SPEC is packed on its own and then travels as octets, so that a broker need not look inside. */
void wire_put_spec(struct wire_out *self, const struct tensor *tensors, size_t len)
{
    if (!self->spec)
        self->spec = wire_out_new();
    struct wire_out *spec = self->spec;
    msgpack_sbuffer_clear(&spec->buffer);
    open_level(spec, 0xde, false);
    wire_list_open(spec, KEY_TENSORS);
    for (size_t i = 0; i < len; i++) {
        uint64_t dims[TENSOR_RANK_MAX];
        for (uint32_t d = 0; d < tensors[i].rank; d++)
            dims[d] = (uint64_t)tensors[i].dims[d];
        wire_map_open(spec);
        wire_put_text(spec, KEY_NAME, tensors[i].name);
        wire_put_u64(spec, KEY_DTYPE, tensors[i].dtype);
        wire_put_numbers(spec, KEY_DIMS, dims, tensors[i].rank);
        wire_put_u64(spec, KEY_BYTES, tensors[i].bytes);
        wire_map_close(spec);
    }
    wire_list_close(spec);
    close_level(spec);
    wire_put_bytes(self, KEY_SPEC, spec->buffer.data, spec->buffer.size);
}

/* --- bodies -------------------------------------------------------------------------------------
 */

static zmq_msg_t *next_body(struct wire_out *self, size_t size)
{
    assert(self->bodies_len < WIRE_FRAMES_MAX && size <= WIRE_FRAME_MAX);
    self->bodies_bytes += size;
    return &self->bodies[self->bodies_len++];
}

void wire_body_move(struct wire_out *self, zmq_msg_t *frame)
{
    zmq_msg_t *body = next_body(self, zmq_msg_size(frame));
    zmq_msg_init(body);
    zmq_msg_move(body, frame);
}

void wire_body_share(struct wire_out *self, zmq_msg_t *frame)
{
    zmq_msg_t *body = next_body(self, zmq_msg_size(frame));
    zmq_msg_init(body);
    zmq_msg_copy(body, frame);
}

size_t wire_frames_of(uint64_t size)
{
    return (size_t)((size + WIRE_FRAME_MAX - 1) / WIRE_FRAME_MAX);
}

size_t wire_body_bytes(struct wire_out *self, const void *bytes, size_t size)
{
    size_t frames = wire_frames_of(size);
    for (size_t i = 0; i < frames; i++) {
        size_t at = i * WIRE_FRAME_MAX;
        size_t part = MIN(size - at, (size_t)WIRE_FRAME_MAX);
        zmq_msg_t *body = next_body(self, part);
        if (zmq_msg_init_size(body, part) != 0)
            panic("out of memory for a frame of %zu octets", part);
        memcpy(zmq_msg_data(body), (const char *)bytes + at, part);
    }
    return frames;
}

/* Bytes that several frames show; the last one to go calls release, on ZeroMQ's thread. */
struct loan {
    atomic_size_t frames;
    void (*release)(void *hint);
    void *hint;
};

static void loan_return(void *bytes, void *hint)
{
    struct loan *loan = hint;
    (void)bytes;
    if (atomic_fetch_sub(&loan->frames, 1) > 1)
        return;
    loan->release(loan->hint);
    free(loan);
}

size_t wire_body_borrow(struct wire_out *self, void *bytes, size_t size,
                        void (*release)(void *hint), void *hint)
{
    size_t frames = wire_frames_of(size);
    if (frames == 0) {
        release(hint);
        return 0;
    }
    struct loan *loan = xmalloc(sizeof *loan);
    loan->release = release;
    loan->hint = hint;
    atomic_init(&loan->frames, frames);
    for (size_t i = 0; i < frames; i++) {
        size_t at = i * WIRE_FRAME_MAX;
        size_t part = MIN(size - at, (size_t)WIRE_FRAME_MAX);
        zmq_msg_t *body = next_body(self, part);
        if (zmq_msg_init_data(body, (char *)bytes + at, part, loan_return, loan) != 0)
            panic("out of memory for a frame of %zu octets", part);
    }
    return frames;
}

uint64_t wire_out_bytes(const struct wire_out *self)
{
    return self->bodies_bytes;
}

enum wire_type wire_out_type(const struct wire_out *self)
{
    return self->type;
}

/* --- sending ------------------------------------------------------------------------------------
 */

static void put_le32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static int send_bytes(void *socket, const void *bytes, size_t size, int flags)
{
    int sent;
    do
        sent = zmq_send(socket, bytes, size, flags | ZMQ_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    return sent;
}

static enum status send_frames(struct wire_out *self, void *socket, const void *route,
                               size_t route_len, const uint8_t *head)
{
    if (route && send_bytes(socket, route, route_len, ZMQ_SNDMORE) < 0)
        return errno == EAGAIN ? STATUS_BUSY : STATUS_UNAVAILABLE;
    if (send_bytes(socket, head, WIRE_HEAD, ZMQ_SNDMORE) < 0)
        return errno == EAGAIN ? STATUS_BUSY : STATUS_UNAVAILABLE;
    if (send_bytes(socket, self->buffer.data, self->buffer.size,
                   self->bodies_len ? ZMQ_SNDMORE : 0) < 0)
        return STATUS_UNAVAILABLE;
    for (size_t i = 0; i < self->bodies_len; i++) {
        int more = i + 1 < self->bodies_len ? ZMQ_SNDMORE : 0;
        if (zmq_msg_send(&self->bodies[i], socket, more | ZMQ_DONTWAIT) < 0)
            return STATUS_UNAVAILABLE;
    }
    return STATUS_OK;
}

enum status wire_send(struct wire_out *self, void *socket, const void *route, size_t route_len,
                      uint32_t *sequence)
{
    uint8_t head[WIRE_HEAD] = {'C', 'V', 'Y', '1', WIRE_MAJOR, (uint8_t)self->type, 0, 0};
    assert(self->depth == 1);
    close_level(self);
    assert(self->buffer.size <=
           (wire_plane(self->type) == WIRE_CONTROL ? WIRE_CONTROL_MAX : WIRE_MAP_MAX));
    assert(self->bodies_bytes <= WIRE_MESSAGE_MAX);
    put_le32(head + 8, ++*sequence);
    put_le32(head + 12, crc32c(0, self->buffer.data, self->buffer.size));
    enum status s = send_frames(self, socket, route, route_len, head);
    drop_bodies(self);
    return s;
}
