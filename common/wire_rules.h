/* wire_rules - the check of a decoded map against wire.def; private to wire*.c
 *
 * Pure. Any thread. */
#ifndef CONVOY_COMMON_WIRE_RULES_H
#define CONVOY_COMMON_WIRE_RULES_H

#include "common/wire.h"

enum value_type {
    VALUE_U64,
    VALUE_TEXT,
    VALUE_BIN,
    VALUE_UUID,
    VALUE_DIGEST,
    VALUE_NUMBERS,
    VALUE_MAPS
};

/* Is `code` a message of wire.def? */
bool rules_type_known(unsigned code);

/* The type of a key's value; panics for a key that is not in the list: our own mistake. */
enum value_type rules_key_type(enum wire_key key);

/* Walk packed bytes before they are decoded: every count is at most what is left, depth is bounded,
 * no ext types, exactly one object. */
bool rules_walk(const uint8_t *bytes, size_t size);

/* Check a decoded object against the fields of a message type or group, lists and all. */
enum status rules_check(const msgpack_object *object, int owner, struct error *why);

/* The value of `key` in a map, NULL when absent. */
const msgpack_object *rules_find(const msgpack_object *object, enum wire_key key);

#endif
