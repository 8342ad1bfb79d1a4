/* wire - Convoy wire 1: one message as frames, checked on the way in, built on the way out
 *
 * A message is [16 octets: "CVY1", major, type, flags, sequence, crc32c of the map][msgpack map]
 * [raw body frames of at most 1 MiB]. wire.def lists messages, keys and bounds; PROTOCOL.md tells
 * the story. Whatever a peer sends, nothing here asserts: a message is either whole, known and
 * within every bound of wire.def, or it is MALFORMED with a sentence that says why.
 *
 * One thread per object. Frames of 8 KiB and more are moved by reference, never copied. */
#ifndef CONVOY_COMMON_WIRE_H
#define CONVOY_COMMON_WIRE_H

#include "common/digest.h"
#include "common/ids.h"
#include "common/limits.h"
#include "common/status.h"
#include "common/taskset.h"
#include "common/tensor.h"

#include <msgpack.h>
#include <zmq.h>

#define WIRE_MAJOR     1
#define WIRE_MINOR     2
#define WIRE_HEAD      16 /* octets of the first frame */
#define WIRE_ROUTE_MAX 32 /* octets of a routing id */
#define WIRE_USER_SIZE 41 /* a CURVE public key in Z85, and NUL */

enum wire_role { WIRE_GATEWAY = 1, WIRE_WORKER = 2, WIRE_BROKER = 4 };
enum wire_plane { WIRE_CONTROL = 0, WIRE_DATA = 1 };
/* What a task asks for; a peer that takes it speaks at least the minor of wire_kind_minor(). */
enum wire_kind {
#define KIND(name, code, minor, meaning) WIRE_KIND_##name = code,
#include "common/wire.def"
};
enum wire_flag { WIRE_FLAG_RESENT = 1, WIRE_FLAG_ALONE = 2, WIRE_FLAG_AGAIN = 4 };
enum wire_what { WIRE_WHAT_WORKERS = 1, WIRE_WHAT_COUNTERS = 2 };
enum wire_standing { WIRE_MEMBER = 1, WIRE_REVOKED = 2, WIRE_DRAINING = 3 };

enum wire_type {
#define MESSAGE(name, code, plane, from, purpose) WIRE_##name = code,
#include "common/wire.def"
    WIRE_TYPES_END
};

/* Nested maps have rules of their own; they share the number space of types, from 0x80 up. */
enum wire_group {
    WIRE_GROUP_FIRST = 0x7f,
#define GROUP(name) WIRE_##name,
#include "common/wire.def"
    WIRE_GROUPS_END
};

enum wire_key {
#define KEY(name, code, type, meaning) KEY_##name = code,
#include "common/wire.def"
    WIRE_KEYS_END
};

/* The first minor version with tasks of this kind; UINT32_MAX: this version knows no such kind. */
uint32_t wire_kind_minor(uint64_t kind);

/* "SUBMIT"; "UNKNOWN" for a code that is not in the list. */
const char *wire_name(enum wire_type type);
enum wire_plane wire_plane(enum wire_type type);
bool wire_may_send(enum wire_type type, enum wire_role role);

/* --- reading ----------------------------------------------------------------------------------
 * A map that passed the checks: a required key is there, with its type and inside its bounds, so
 * the accessors cannot fail. An absent optional key reads as 0, "", NULL or an empty list. */
struct wire_map {
    const msgpack_object *object; /* NULL: an empty map */
};

bool wire_has(struct wire_map map, enum wire_key key);
uint64_t wire_u64(struct wire_map map, enum wire_key key);
/* Pointer into the message, not ended by NUL; valid as long as the message. */
const void *wire_bytes(struct wire_map map, enum wire_key key, size_t *size);
/* Copy of a TEXT, cut to fit, ended by NUL, control characters replaced by '?'. Returns `into`. */
char *wire_text(struct wire_map map, enum wire_key key, char *into, size_t size);
struct uuid wire_uuid(struct wire_map map, enum wire_key key);
struct digest wire_digest(struct wire_map map, enum wire_key key);
/* Lists: elements of MAPS and of NUMBERS. */
size_t wire_len(struct wire_map map, enum wire_key key);
struct wire_map wire_at(struct wire_map map, enum wire_key key, size_t index);
uint64_t wire_number(struct wire_map map, enum wire_key key, size_t index);

/* A received message. Zero it before first use; wire_recv() reuses it; wire_in_clear() when done.
 */
struct wire_in {
    enum wire_type type;           /* one of wire.def */
    uint32_t sequence;             /* counts the sender's messages on this connection */
    uint8_t route[WIRE_ROUTE_MAX]; /* ROUTER only: whom it came from */
    size_t route_len;              /* 0 on a DEALER */
    int fd;                        /* TCP descriptor it came through, -1 unknown: a hint */
    char user[WIRE_USER_SIZE];     /* HELLO and ENROL: User-Id that ZAP gave the sender; "" none */
    struct wire_map map;           /* checked against wire.def */
    zmq_msg_t *bodies;             /* body frames; take one by zmq_msg_move */
    size_t bodies_len;             /* how many there are */
    uint64_t bodies_bytes;         /* their octets together */
    struct error why;              /* after MALFORMED: what was wrong; VERSION: another major */
    bool overrun;                  /* after MALFORMED: it broke a size limit; ban the sender */
    struct wire_store *store;      /* private: owns frames and the decoded map */
};

/* Take one message if there is one. OK: `in` holds it. BUSY: nothing there. MALFORMED: a message
 * was there and was dropped; route, why and overrun are set. UNAVAILABLE: the context ends. */
enum status wire_recv(void *socket, struct wire_in *in);
void wire_in_clear(struct wire_in *in);

/* Check and open a SPEC (or any packed map) of `group`. The view lives in *arena, which must be
 * freed by wire_unpacked_free() and starts zeroed; `bytes` must stay. */
struct wire_unpacked {
    msgpack_zone *zone;    /* private */
    msgpack_object object; /* private */
};
enum status wire_unpack(const void *bytes, size_t size, enum wire_group group,
                        struct wire_unpacked *arena, struct wire_map *map, struct error *why);
void wire_unpacked_free(struct wire_unpacked *arena);

/* The same checks on a message's three parts in memory, for fuzzers and tests. */
enum status wire_check(const void *head, size_t head_size, const void *map, size_t map_size,
                       struct error *why);

/* --- writing ----------------------------------------------------------------------------------
 * Puts go in any order; a list is opened, filled with maps and closed. Our own mistakes (a key of
 * the wrong type, a body over the limit) assert. Reuse one wire_out for many messages. */
struct wire_out;

struct wire_out *wire_out_new(void);
void wire_out_destroy(struct wire_out **self_p);

void wire_begin(struct wire_out *self, enum wire_type type);
void wire_put_u64(struct wire_out *self, enum wire_key key, uint64_t value);
void wire_put_text(struct wire_out *self, enum wire_key key, const char *text);
void wire_put_bytes(struct wire_out *self, enum wire_key key, const void *bytes, size_t size);
void wire_put_uuid(struct wire_out *self, enum wire_key key, const struct uuid *uuid);
void wire_put_digest(struct wire_out *self, enum wire_key key, const struct digest *digest);
void wire_put_numbers(struct wire_out *self, enum wire_key key, const uint64_t *numbers,
                      size_t len);
void wire_list_open(struct wire_out *self, enum wire_key key); /* MAPS */
void wire_map_open(struct wire_out *self);                     /* an element of the open list */
void wire_map_close(struct wire_out *self);
void wire_list_close(struct wire_out *self);

/* One element of group SET in the open list: ids of one gateway. At most `ranges_max` ranges of
 * `set` from range index *next on; *next moves. Callers loop over messages when a set is long. */
void wire_put_set(struct wire_out *self, const struct uuid *gateway, const struct taskset *set,
                  size_t *next, size_t ranges_max);
/* A whole list of one SET with a single id: the common case of ACCEPTED, STARTED, ... */
void wire_put_id(struct wire_out *self, enum wire_key key, const struct uuid *gateway,
                 uint64_t task);

/* SPEC of these tensors (names, types, shapes, octets; not the data). */
void wire_put_spec(struct wire_out *self, const struct tensor *tensors, size_t len);

/* Append a body frame: by move (the caller's frame becomes empty), by reference to the same
 * bytes, or by copy. A tensor's octets are cut into frames of WIRE_FRAME_MAX; each tensor starts a
 * new frame; a tensor of 0 octets has none. wire_body_bytes cuts for you and returns the frames. */
void wire_body_move(struct wire_out *self, zmq_msg_t *frame);
void wire_body_share(struct wire_out *self, zmq_msg_t *frame);
size_t wire_body_bytes(struct wire_out *self, const void *bytes, size_t size);
/* Without copying: `release(hint)` is called once, on ZeroMQ's thread, when all frames are gone. */
size_t wire_body_borrow(struct wire_out *self, void *bytes, size_t size,
                        void (*release)(void *hint), void *hint);

/* Frames that `size` octets of a tensor take. */
size_t wire_frames_of(uint64_t size);
uint64_t wire_out_bytes(const struct wire_out *self);
enum wire_type wire_out_type(const struct wire_out *self);

/* Send what was built and empty it; never blocks. `route` is NULL on a DEALER. *sequence counts.
 * BUSY: the high-water mark is reached (a credit bug); UNAVAILABLE: that peer is gone. In every
 * case the message is consumed. */
enum status wire_send(struct wire_out *self, void *socket, const void *route, size_t route_len,
                      uint32_t *sequence);

/* Send a received message on as it came, unknown keys and all, with our own sequence: nothing is
 * packed or copied again. `in` is used up, whatever the outcome, which is as of wire_send. */
enum status wire_forward(struct wire_in *in, void *socket, const void *route, size_t route_len,
                         uint32_t *sequence);

/* Copy the octets of `frames` body frames, one after the other, into `into`; false unless their
 * sizes add up to exactly `size`. */
bool wire_gather(zmq_msg_t *frames, size_t frames_len, void *into, size_t size);

#endif
