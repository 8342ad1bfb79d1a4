/* fuzz_wire - one message from a peer, from its frames to the last value inside
 *
 * Input: the type, a flag octet, then the map; with flag 1 what follows 0xc1 (which msgpack never
 * uses) is body frames of 64 octets. The head is made with the right checksum, which no fuzzer
 * guesses, unless flag 2 says that the first 16 octets are the head. Every value that the checks
 * let through is read, by the accessors that the roles use. */
#include <stdio.h>
#include <string.h>

#include "common/crc32c.h"
#include "common/wire_rules.h"
#include "tests/fuzz/fuzz.h"

#define FLAG_BODIES 1
#define FLAG_HEAD   2
#define BODY_BYTES  64

static const struct {
    enum wire_key key;
    enum value_type type;
} keys[] = {
#define KEY(name, code, type, meaning) {KEY_##name, VALUE_##type},
#include "common/wire.def"
};

static void read_spec(struct wire_map map, enum wire_key key);

/* Everything in a map; a value that was let through must keep its promises. */
static void read_map(struct wire_map map)
{
    char text[64];
    size_t size;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        enum wire_key key = keys[i].key;
        if (!wire_has(map, key))
            continue;
        switch (keys[i].type) {
        case VALUE_U64:
            (void)wire_u64(map, key);
            break;
        case VALUE_TEXT:
            wire_text(map, key, text, sizeof text);
            assert(strlen(text) < sizeof text);
            break;
        case VALUE_UUID:
            (void)wire_uuid(map, key);
            break;
        case VALUE_DIGEST:
            (void)wire_digest(map, key);
            break;
        case VALUE_BIN:
            assert(wire_bytes(map, key, &size));
            read_spec(map, key);
            break;
        case VALUE_NUMBERS:
            for (size_t k = 0; k < wire_len(map, key); k++)
                (void)wire_number(map, key, k);
            break;
        case VALUE_MAPS:
            for (size_t k = 0; k < wire_len(map, key); k++)
                read_map(wire_at(map, key, k));
            break;
        }
    }
}

static void read_spec(struct wire_map map, enum wire_key key)
{
    struct wire_unpacked arena = {0};
    struct wire_map inner;
    struct error why;
    size_t size;
    const void *packed = wire_bytes(map, key, &size);
    if (key == KEY_SPEC && wire_unpack(packed, size, WIRE_SPEC, &arena, &inner, &why) == STATUS_OK)
        read_map(inner);
    wire_unpacked_free(&arena);
}

static void send_frame(void *socket, const void *bytes, size_t size, bool more)
{
    if (zmq_send(socket, bytes, size, ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0)) < 0)
        panic("zmq_send: %s", zmq_strerror(errno));
}

static void send_message(void *socket, const uint8_t *head, const uint8_t *map, size_t map_size,
                         const uint8_t *bodies, size_t bodies_size)
{
    send_frame(socket, head, WIRE_HEAD, true);
    send_frame(socket, map, map_size, bodies_size > 0);
    for (size_t at = 0; at < bodies_size; at += BODY_BYTES)
        send_frame(socket, bodies + at, MIN(BODY_BYTES, bodies_size - at),
                   at + BODY_BYTES < bodies_size);
}

static void make_head(uint8_t *head, uint8_t type, const uint8_t *map, size_t map_size)
{
    uint32_t crc = crc32c(0, map, map_size);
    memcpy(head, "CVY1", 4);
    head[4] = WIRE_MAJOR;
    head[5] = type;
    head[8] = 1;
    for (int i = 0; i < 4; i++)
        head[12 + i] = (uint8_t)(crc >> (8 * i));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void *from, *to;
    static struct wire_in in;
    uint8_t head[WIRE_HEAD] = {0};
    if (!from) {
        void *context = zmq_ctx_new();
        from = zmq_socket(context, ZMQ_DEALER);
        to = zmq_socket(context, ZMQ_DEALER);
        if (zmq_bind(to, "inproc://wire") != 0 || zmq_connect(from, "inproc://wire") != 0)
            panic("inproc: %s", zmq_strerror(errno));
    }
    if (size < 2 || (data[1] & FLAG_HEAD && size < 2 + WIRE_HEAD))
        return 0;
    const uint8_t *map = data + 2, *end = data + size;
    if (data[1] & FLAG_HEAD) {
        memcpy(head, map, WIRE_HEAD);
        map += WIRE_HEAD;
    }
    const uint8_t *cut = data[1] & FLAG_BODIES ? memchr(map, 0xc1, (size_t)(end - map)) : NULL;
    const uint8_t *bodies = cut ? cut + 1 : end;
    size_t map_size = (size_t)((cut ? cut : end) - map);
    if (!(data[1] & FLAG_HEAD))
        make_head(head, data[0], map, map_size);
    send_message(from, head, map, map_size, bodies, (size_t)(end - bodies));
    enum status status = wire_recv(to, &in);
    assert(status == STATUS_OK || status == STATUS_MALFORMED || status == STATUS_VERSION);
    if (status == STATUS_OK)
        read_map(in.map);
    else
        assert(in.why.text[0]);
    assert(wire_recv(to, &in) == STATUS_BUSY);
    return 0;
}
